"""Requests and answers, without whoever carries them: the same for both clients."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import quote

import httpx
import orjson
from msgspec import Struct

from hean_router.domain.errors import CommandError, HeanError
from hean_router.domain.scale import plain

Number: TypeAlias = Decimal | str | int


class ApiError(HeanError):
    """The router refused; `code` is stable, `status` is HTTP's, `details` what else it said."""

    def __init__(
        self, code: str, what: str, fix: str = "", status: int = 0, details: Any = None
    ) -> None:
        super().__init__(what, fix)
        self.code, self.status, self.details = code, status, details


class NotRunning(HeanError):
    """Nobody answered at the router's address.

    `sent`: the request may have arrived, and what was asked may have been done.  An order is asked
    about, or placed, by the same `client_order_id`, which makes nothing twice.
    """

    def __init__(
        self, what: str, fix: str = "", *, sent: bool = False, client_order_id: str = ""
    ) -> None:
        super().__init__(what, fix)
        self.sent, self.client_order_id = sent, client_order_id


class Call(Struct, frozen=True, kw_only=True):
    """One request."""

    method: str
    path: str
    query: Mapping[str, str] = {}
    body: Any = None
    as_text: bool = False

    @property
    def content(self) -> bytes | None:
        """The body as bytes."""
        return None if self.body is None else orjson.dumps(self.body)


def answer_of(response: httpx.Response, *, as_text: bool = False) -> Any:
    """What the router answered; raises `ApiError`."""
    if as_text and response.is_success:
        return response.text
    try:
        found = orjson.loads(response.content) if response.content else None
    except orjson.JSONDecodeError:
        found = None
    if response.is_success:
        return found
    raise_error(found, response.status_code)
    raise ApiError(
        f"http_{response.status_code}",
        f"the router answered {response.status_code}",
        "see that the address is a router's",
        response.status_code,
    )


def raise_error(found: Any, status: int = 0) -> None:
    """Raise the `ApiError` that the router told, if this is one."""
    if not isinstance(found, dict) or not isinstance(error := found.get("error"), dict):
        return
    raise ApiError(
        str(error.get("code") or f"http_{status}"),
        str(error.get("message") or f"the router answered {status}"),
        str(error.get("fix") or ""),
        status,
        error.get("details"),
    )


def text(number: Number, what: str) -> str:
    """A number as the API takes it; floats are refused, for they are not what was typed."""
    if isinstance(number, bool | float):
        raise CommandError(
            f"{what} is {number!r}, not exact", f'give {what} as text or Decimal: "{number}"'
        )
    return plain(number) if isinstance(number, Decimal) else str(number)


def order_body(
    symbol: str,
    side: str,
    *,
    client_order_id: str,
    quantity: Number | None = None,
    quote_quantity: Number | None = None,
    limit_price: Number | None = None,
    type: str | None = None,
    time_in_force: str | None = None,
    post_only: bool = False,
    expire_time: datetime | str | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_share: Number | None = None,
    strategy: str | None = None,
    dry_run: bool = False,
) -> dict[str, Any]:
    """The body of `POST /v1/orders`; what was not given is left out."""
    kind = type or ("market" if limit_price is None else "limit")
    body: dict[str, Any] = {
        "client_order_id": client_order_id,
        "symbol": symbol,
        "side": side,
        "type": kind,
    }
    for name, number in (
        ("quantity", quantity),
        ("quote_quantity", quote_quantity),
        ("limit_price", limit_price),
    ):
        if number is not None:
            body[name] = text(number, name)
    if time_in_force is not None:
        body["time_in_force"] = time_in_force.upper()
    if post_only:
        body["post_only"] = True
    if expire_time is not None:
        body["expire_time"] = (
            expire_time if isinstance(expire_time, str) else expire_time.isoformat()
        )
    venues: dict[str, Any] = {}
    if include:
        venues["include"] = list(include)
    if exclude:
        venues["exclude"] = list(exclude)
    if max_share is not None:
        venues["max_share"] = text(max_share, "max_share")
    if venues:
        body["venues"] = venues
    if strategy is not None:
        body["strategy"] = strategy
    if dry_run:
        body["dry_run"] = True
    return body


def submit(body: dict[str, Any], wait_ms: int) -> Call:
    """Place an order."""
    query = {"wait_ms": str(wait_ms)} if wait_ms else {}
    return Call(method="POST", path="/v1/orders", query=query, body=body)


def _query(asked: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in asked.items()
        if value is not None
    }


def get(path: str, **query: Any) -> Call:
    """Read something; what is None is left out."""
    return Call(method="GET", path=path, query=_query(query))


def post(path: str, body: Any = None) -> Call:
    """Do something."""
    return Call(method="POST", path=path, body={} if body is None else body)


def delete(path: str, **query: Any) -> Call:
    """Cancel something."""
    return Call(method="DELETE", path=path, query=_query(query))


def part(word: str) -> str:
    """A word as one part of a path; symbols with a dash."""
    return quote(word.replace("/", "-"), safe="")
