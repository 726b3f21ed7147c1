"""How a route is declared: its scope, what it reads and what it answers, in one place."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from hean_router.api.access import scoped
from hean_router.api.errors import ApiError, seen
from hean_router.api.office import Desk
from hean_router.api.reading import read_json
from hean_router.api.schemas import ErrorOut
from hean_router.engine.keyring import KeyInfo

_B = TypeVar("_B", bound=BaseModel)

Endpoint = Callable[..., Awaitable[Any]]
AccountAsked = Annotated[
    str | None,
    Query(
        pattern=r"^[A-Za-z0-9._:-]{1,64}$",
        description="An admin's key may read another account; every other key its own alone.",
    ),
]
Page = Annotated[int, Query(ge=1, le=500, description="How many at most.")]

_WHY = {
    400: "The request cannot be read.",
    401: "No key, or a bad one.",
    403: "The key may not do this.",
    404: "There is no such thing, or it is another account's.",
    405: "There is no such method here.",
    409: "It contradicts what is there.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A field will not do, or a rule refuses it.",
    429: "Too much was asked: see Retry-After.",
    500: "A fault of our own.",
    503: "Not now: see the message.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Documented answers of the common shape."""
    return {status: {"model": ErrorOut, "description": _WHY[status]} for status in statuses}


class Routes:
    """Routes of one topic.  Nothing can be added without saying which scope it needs."""

    def __init__(self, tag: str) -> None:
        self.router = APIRouter(tags=[tag])

    def add(
        self,
        method: str,
        path: str,
        scope: str,
        out: type[BaseModel],
        *,
        status: int = 200,
        also: Mapping[int, type[BaseModel]] | None = None,
        fails: tuple[int, ...] = (),
        body: type[BaseModel] | None = None,
    ) -> Callable[[Endpoint], Endpoint]:
        """Declare an endpoint.  `fails` beside what every route may answer."""
        responses: dict[int | str, dict[str, Any]] = {status: {"model": out}}
        responses |= {code: {"model": model} for code, model in (also or {}).items()}
        with_body = (413, 415) if body is not None else ()
        responses |= errors(*sorted({400, 401, 403, 405, 413, 422, 429, 500, *with_body, *fails}))
        schema = {"$ref": f"#/components/schemas/{body.__name__}"} if body is not None else {}
        extra: dict[str, Any] = {"security": [{"bearer": [scope]}], "x-scope": scope}
        if body is not None:
            extra["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema}},
            }

        def take(endpoint: Endpoint) -> Endpoint:
            self.router.add_api_route(
                path,
                endpoint,
                methods=[method],
                status_code=status,
                response_model=None,
                responses=responses,
                openapi_extra=extra,
                dependencies=[Depends(scoped(scope)), Depends(only_known_parameters)],
                operation_id=endpoint.__name__,
            )
            return endpoint

        return take


def body_of(model: type[_B]) -> Any:
    """The body, as a parameter: read strictly, validated once."""

    async def read(request: Request) -> _B:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(
                "not_json",
                f"the body is {seen(kind) if kind else 'of no type'}",
                "send Content-Type: application/json",
            )
        try:
            sent = await request.body()
        except ClientDisconnect:  # nobody is left to tell; nothing has been done
            raise ApiError(
                "malformed_request", "the connection ended before the body", "send it again"
            ) from None
        found = read_json(sent)
        if not isinstance(found, dict):
            raise ApiError("malformed_json", "the body is no JSON object", "send an object")
        try:
            return model.model_validate(found)
        except ValidationError as fault:
            raise invalid(fault.errors(include_url=False), "body") from None

    return Depends(read)


def invalid(faults: Any, where: str = "") -> ApiError:
    """All that is wrong with the fields, the first of it as the message."""
    details = []
    for fault in faults[:20]:
        path = [str(part) for part in fault["loc"] if part not in {"body", "query", "path"}]
        name = ".".join(part[:60] for part in path) or where
        why = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            why = "there is no such field"
        elif fault["type"] == "missing":
            why = "it is required"
        details.append({"field": ascii(name)[1:-1], "message": why[:300]})
    first = details[0]
    return ApiError(
        "invalid_field",
        f"{first['field']}: {first['message']}",
        "see /docs for the fields and their forms",
        details=details,
    )


async def only_known_parameters(request: Request) -> None:
    """Refuse a query parameter that the route does not know: a filter misspelled is no filter."""
    if not request.query_params:
        return
    known = known_parameters(request.scope["route"])
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if name not in known:
            raise ApiError(
                "unknown_parameter",
                f"there is no query parameter {seen(name)} here",
                f"known: {', '.join(sorted(known)) or 'none'}",
            )
        if names.count(name) > 1:
            raise ApiError("unknown_parameter", f"{name} is given twice", "give it once")


def known_parameters(route: Any) -> frozenset[str]:
    """Names of the query parameters that `route` reads."""
    known: frozenset[str] | None = getattr(route, "hean_known", None)
    if known is None:
        known = route.hean_known = frozenset(_names(route.dependant))
    return known


def _names(dependant: Any) -> set[str]:
    names = {field.alias for field in dependant.query_params}
    for inner in dependant.dependencies:
        names |= _names(inner)
    return names


def desk_of(request: Request) -> Desk:
    """The router behind this app."""
    desk: Desk = request.app.state.desk
    return desk


async def _desk(request: Request) -> Desk:
    return desk_of(request)


async def _key(request: Request) -> KeyInfo:
    key: KeyInfo = request.state.key
    return key


DeskIn = Annotated[Desk, Depends(_desk)]
Key = Annotated[KeyInfo, Depends(_key)]  # the one that asks; the route has checked its scope
