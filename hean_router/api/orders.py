"""Orders and fills.  Every search begins with an account."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Path, Query
from starlette.responses import Response

from hean_router.api import earlier, stored, views
from hean_router.api.access import account_of
from hean_router.api.errors import ApiError, answer, seen
from hean_router.api.office import Desk
from hean_router.api.preview import preview
from hean_router.api.routing import (
    AccountAsked,
    DeskIn,
    Key,
    Page,
    Routes,
    body_of,
)
from hean_router.api.schemas import (
    CancelledOut,
    FillsOut,
    OrderIn,
    OrderOut,
    OrdersOut,
    PreviewOut,
    SymbolIn,
    TimeIn,
)
from hean_router.domain.errors import CommandError, HeanError
from hean_router.domain.parent import Intent, Status
from hean_router.domain.record import Filled
from hean_router.engine import Refused
from hean_router.oms import Child, Parent
from hean_router.store.lines import Filter
from hean_router.store.query import QueryStore

routes = Routes("orders")
STORE_S = 3.0  # a database that takes longer is as good as gone

OrderBody = Annotated[OrderIn, body_of(OrderIn)]
StrategyAsked = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]{0,64}$")]
SymbolAsked = Annotated[SymbolIn | None, Query()]
SinceAsked = Annotated[TimeIn | None, Query(description="Not before; RFC 3339 with a zone.")]
OrderId = Annotated[str, Path(min_length=1, max_length=64)]
Source = Annotated[
    Literal["memory", "store"],
    Query(description="memory is never behind; store is the query tables, and may be a moment."),
]
By = Annotated[
    Literal["id", "client"], Query(description="Whether the path names our id or client_order_id.")
]


@routes.add(
    "POST",
    "/v1/orders",
    "trade",
    OrderOut,
    status=201,
    also={200: OrderOut | PreviewOut},  # type: ignore[dict-item]  # a union documents both
    fails=(409, 503),
    body=OrderIn,
)
async def place_order(
    body: OrderBody,
    key: Key,
    desk: DeskIn,
    wait_ms: Annotated[
        int, Query(ge=0, le=60_000, description="Wait so long for a terminal status.")
    ] = 0,
) -> Response:
    """Place an order: 201 once it is on disk, 200 if this very order was placed before.

    With `dry_run` nothing is placed: 200 and what would be done.
    """
    intent = body.intent(key.account)
    if body.dry_run:
        return _preview(desk, intent)
    placed = desk.trading.submit([intent], key.key_id)
    if isinstance(placed, Refused):
        raise refusal(placed)
    parent = earlier.parent(desk, placed.parents[0])
    assert parent is not None, "what was placed is in memory or in the journal"
    if wait_ms and not parent.status.is_final:
        await desk.trading.wait(parent.id, wait_ms / 1000)
    return answer(views.order(parent), 200 if placed.existing else 201)


@routes.add("POST", "/v1/orders/preview", "read", PreviewOut, fails=(409, 503), body=OrderIn)
async def preview_order(body: OrderBody, key: Key, desk: DeskIn) -> Response:
    """What would be done now.  Nothing is placed, kept or reserved."""
    return _preview(desk, body.intent(key.account))


def _preview(desk: Desk, intent: Intent) -> Response:
    found = preview(desk.trading.engine.core, intent, desk.clock())
    if isinstance(found, Refused):
        raise refusal(found)
    return answer(views.preview(found))


def refusal(refused: Refused) -> ApiError:
    """Why the engine did not take it."""
    headers = {"Retry-After": "1"} if refused.code == "limit_order_rate" else None
    return ApiError(refused.code, refused.reason, refused.fix, headers=headers)


def _store(desk: Desk) -> QueryStore:
    if desk.store is None:
        raise ApiError("store_unavailable", "there is no query store", "leave out source=store")
    return desk.store


@asynccontextmanager
async def _asked() -> AsyncIterator[None]:
    """A database that is gone or slow is told as such; orders do not know of it."""
    try:
        async with asyncio.timeout(STORE_S):
            yield
    except CommandError as fault:
        raise ApiError("invalid_query", str(fault), fault.fix) from None
    except (HeanError, TimeoutError) as fault:
        why = str(fault) or f"no answer within {STORE_S:g} s"
        raise ApiError("store_unavailable", why, "leave out source=store") from None


@routes.add("GET", "/v1/orders", "read", OrdersOut, fails=(503,))
async def list_orders(
    key: Key,
    desk: DeskIn,
    status: Annotated[Status | None, Query()] = None,
    symbol: SymbolAsked = None,
    strategy: StrategyAsked = None,
    since: SinceAsked = None,
    cursor: Annotated[str | None, Query(pattern=r"^([0-9a-z]{8}|[0-9]{1,19}[.])$")] = None,
    limit: Page = 100,
    account: AccountAsked = None,
    source: Source = "memory",
) -> Response:
    """Orders, the latest first.  `next_cursor` goes into `cursor` for the next page."""
    if source == "store":
        which = Filter(
            symbol=symbol or "",
            strategy=strategy or "",
            status=() if status is None else (status.value,),
            since_ns=since,
        )
        return await _stored_orders(desk, account_of(key, account), which, cursor, limit)
    fits = _fits(symbol, strategy, status)
    whose = account_of(key, account)
    page = await earlier.parents(
        desk, whose, fits, symbol, strategy, status, cursor=cursor, since_ns=since, limit=limit
    )
    return answer(
        {
            "orders": [views.order(parent) for parent in page.parents],
            "next_cursor": page.next,
        }
    )


async def _stored_orders(
    desk: Desk, account: str, which: Filter, cursor: str | None, limit: int
) -> Response:
    store = _store(desk)
    async with _asked():
        page = await store.orders(account, which, cursor=cursor or "", limit=limit)
        found = [await stored.one(store, account, line.id, "id") for line in page.lines]
    orders = [views.order(parent) for parent in found if parent is not None]
    return answer({"orders": orders, "next_cursor": page.next or None})


def _fits(
    symbol: str | None, strategy: str | None, status: Status | None
) -> Callable[[Parent], bool]:
    def fits(parent: Parent) -> bool:
        intent = parent.intent
        return (
            symbol in {None, intent.symbol}
            and strategy in {None, intent.strategy}
            and (status is None or parent.status is status)
        )

    return fits


def _find(desk: Desk, account: str, order_id: str, by: str) -> Parent:
    if by == "client":
        parent = earlier.named(desk, account, order_id)
    else:
        parent = earlier.parent(desk, order_id)
    # Another account's order is answered like one that never was.
    if parent is None or parent.intent.account != account:
        raise _no_order(order_id)
    return parent


def _no_order(order_id: str) -> ApiError:
    return ApiError("unknown_order", f"there is no order {seen(order_id)}", "see GET /v1/orders")


@routes.add("GET", "/v1/orders/{order_id}", "read", OrderOut, fails=(404, 503))
async def get_order(
    order_id: OrderId,
    key: Key,
    desk: DeskIn,
    by: By = "id",
    account: AccountAsked = None,
    source: Source = "memory",
) -> Response:
    """One order, with its children and the decisions behind them."""
    if source == "store":
        async with _asked():
            found = await stored.one(_store(desk), account_of(key, account), order_id, by)
        if found is None:
            raise _no_order(order_id)
        return answer(views.order(found))
    return answer(views.order(_find(desk, account_of(key, account), order_id, by)))


@routes.add("DELETE", "/v1/orders/{order_id}", "cancel", OrderOut, fails=(404, 409))
async def cancel_order(order_id: OrderId, key: Key, desk: DeskIn, by: By = "id") -> Response:
    """Begin to cancel what is left.  Asked again it answers the same, until the order has ended."""
    parent = _find(desk, key.account, order_id, by)
    if parent.ended is None and parent.cancel is None:
        desk.trading.cancel(parent.id, key.key_id, "asked by the API")
    elif parent.ended is not None and parent.cancel is None:
        raise ApiError(
            "order_ended",
            f"order {parent.id} has ended: {parent.status.value}",
            "nothing is left to cancel",
        )
    return answer(views.order(parent))


@routes.add("DELETE", "/v1/orders", "cancel", CancelledOut)
async def cancel_orders(
    key: Key, desk: DeskIn, symbol: SymbolAsked = None, strategy: StrategyAsked = None
) -> Response:
    """Begin to cancel every working order that fits; without a filter, all of this account's."""
    fits = _fits(symbol, strategy, None)
    working = [
        parent
        for parent in list(desk.trading.engine.oms.working.values())
        if parent.intent.account == key.account and parent.cancel is None and fits(parent)
    ]
    done = [
        parent.id
        for parent in working
        if desk.trading.cancel(parent.id, key.key_id, "asked by the API")
    ]
    return answer({"cancelled": done})


@routes.add("GET", "/v1/fills", "read", FillsOut, fails=(503,))
async def list_fills(
    key: Key,
    desk: DeskIn,
    order_id: Annotated[str | None, Query(max_length=64)] = None,
    venue: Annotated[str | None, Query(max_length=64)] = None,
    symbol: SymbolAsked = None,
    strategy: StrategyAsked = None,
    since: SinceAsked = None,
    cursor: Annotated[int | None, Query(ge=1, le=10**15)] = None,
    limit: Page = 100,
    account: AccountAsked = None,
    source: Source = "memory",
) -> Response:
    """Trades, the latest first."""
    if source == "store":
        which = Filter(
            symbol=symbol or "",
            strategy=strategy or "",
            venue=venue or "",
            order=order_id or "",
            since_ns=since,
        )
        whose, after = account_of(key, account), "" if cursor is None else f"{cursor}."
        async with _asked():
            lines = await _store(desk).fills(whose, which, cursor=after, limit=limit)
        mark = lines.next.removesuffix(".") or None
        rows = [views.fill(stored.fill_of(line)) for line in lines.lines]
        return answer({"fills": rows, "next_cursor": mark})

    oms = desk.trading.engine.oms

    def of(row: Filled) -> Child | None:
        return oms.find(row.venue, row.account, row.symbol, row.key, row.venue_order_id)

    def fits(row: Filled) -> bool:
        child = None if order_id is None else of(row)
        return (
            order_id in {None, row.parent if child is None else child.parent.id}
            and venue in {None, row.venue}
            and symbol in {None, row.symbol}
            and strategy in {None, row.strategy}
            and (since is None or row.at_ns >= since)
        )

    page, more = await earlier.fills(desk, account_of(key, account), fits, cursor, limit)
    body: dict[str, Any] = {
        "fills": [views.fill(row, of(row)) for row in page],
        "next_cursor": None if more is None else str(more),
    }
    return answer(body)
