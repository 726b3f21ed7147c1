"""The application: routes, the wall before them, and one shape for whatever goes wrong."""

import logging
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

import hean_router
from hean_router.api import control, docs, market, money, orders, stream
from hean_router.api.access import Caps, Shell, Wall, need
from hean_router.api.errors import ApiError, answer, seen
from hean_router.api.office import Desk
from hean_router.api.routing import errors, invalid
from hean_router.api.schemas import HealthOut, KeyIn, OrderIn, ReadyOut, ReasonIn, StartIn, StopIn

log = logging.getLogger(__name__)

BODIES: Final[tuple[type[BaseModel], ...]] = (OrderIn, ReasonIn, StartIn, StopIn, KeyIn)
LOOPBACK: Final = frozenset({"127.0.0.1", "::1"})


def make_app(desk: Desk, caps: Caps | None = None, *, with_docs: bool = True) -> FastAPI:
    """The API over `desk`.  It starts nothing and keeps nothing but counts of who asks."""
    caps = caps or Caps()
    app = FastAPI(
        title="HEAN Router",
        version=hean_router.__version__,
        description="Open smart order router: orders in, fills, positions and exposure out.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json" if with_docs else None,
        redirect_slashes=False,
    )
    app.state.desk, app.state.wall = desk, Wall(desk, caps)
    for part in (orders, market, money, control):
        app.include_router(part.routes.router)
    app.include_router(stream.router)
    _open_routes(app)
    if with_docs:
        app.include_router(docs.router)
    _faults(app)
    _documented(app)
    app.add_middleware(Shell, caps=caps, failed=_failed)
    return app


def _failed(fault: Exception) -> None:
    log.error("a fault of our own in the API", exc_info=fault)


def _open_routes(app: FastAPI) -> None:
    """What needs no key, and tells of no account."""

    @app.get(
        "/health", tags=["process"], response_model=None, responses={200: {"model": HealthOut}}
    )
    async def health(request: Request) -> Response:
        """The process answers."""
        found: Desk = request.app.state.desk
        told = found.trading.health()
        return answer(
            {
                "status": "ok",
                "mode": found.mode,
                "ready": not found.trading.ready(),
                "journal_sync": str(told["journal"]["sync"]),
            }
        )

    @app.get(
        "/ready",
        tags=["process"],
        response_model=None,
        responses={200: {"model": ReadyOut}, **errors(503)},
    )
    async def ready(request: Request) -> Response:
        """200 once reconciled and a book is LIVE; else 503."""
        found: Desk = request.app.state.desk
        if found.trading.ready():
            raise ApiError("not_ready", "orders are not taken now", "see /v1/venues with a key")
        return answer({"ready": True})

    @app.get(
        "/metrics",
        tags=["process"],
        response_model=None,
        responses={200: {"content": {"text/plain": {}}}, **errors(401, 403, 429)},
    )
    async def metrics(request: Request) -> Response:
        """For Prometheus: from this machine without a key, from elsewhere with one."""
        if request.client is None or request.client.host not in LOOPBACK:
            wall: Wall = request.app.state.wall
            need(wall.enter(request), "read")
        found: Desk = request.app.state.desk
        return Response(found.metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _faults(app: FastAPI) -> None:
    """Replace every answer of the framework's own by ours."""

    @app.exception_handler(ApiError)
    async def ours(_: Request, fault: ApiError) -> Response:
        return fault.response()

    @app.exception_handler(RequestValidationError)
    async def fields(_: Request, fault: RequestValidationError) -> Response:
        return invalid(fault.errors(), "the request").response()

    @app.exception_handler(HTTPException)
    async def framework(request: Request, fault: HTTPException) -> Response:
        if fault.status_code == 404:
            wrong = ApiError("not_found", f"there is no {seen(request.url.path)}", "see /docs")
        elif fault.status_code == 405:
            allowed = ", ".join(sorted(_methods(app, request)))
            wrong = ApiError(
                "method_not_allowed",
                f"{seen(request.method)[1:-1]} is no method of this path",
                f"use {allowed}",
                headers={"Allow": allowed},
            )
        else:
            wrong = ApiError("malformed_request", "the request cannot be read")
        return wrong.response()


def _methods(app: FastAPI, request: Request) -> set[str]:
    """Every method that this path takes, over all its routes."""
    found: set[str] = set()
    for path, methods in app.openapi()["paths"].items():
        if compile_path(path)[0].fullmatch(request.url.path):
            found |= {method.upper() for method in methods}
    return found or {"GET"}  # the pages that are not documented


def _documented(app: FastAPI) -> None:
    """Add to the generated description what it cannot know: bodies, the key, the form of errors."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
            )
            parts = found.setdefault("components", {})
            for model in BODIES:
                schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
                inner = schema.pop("$defs", {})
                parts.setdefault("schemas", {}).update(inner)
                parts["schemas"][model.__name__] = schema
            parts["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            for unused in ("HTTPValidationError", "ValidationError"):
                parts["schemas"].pop(unused, None)
            app.openapi_schema = found
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
