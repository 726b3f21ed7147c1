"""What we have and what it is worth: exposure, positions, balances, key figures."""

from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from hean_router.api import views
from hean_router.api.access import account_of
from hean_router.api.errors import answer
from hean_router.api.reading import time_out
from hean_router.api.routing import AccountAsked, DeskIn, Key, Routes
from hean_router.api.schemas import BalancesOut, ExposureOut, KpisOut, PositionsOut, SymbolIn
from hean_router.book.sweep import EXACT
from hean_router.domain.scale import plain
from hean_router.portfolio import View, exposure, to_json

routes = Routes("portfolio")


@routes.add("GET", "/v1/portfolio/exposure", "read", ExposureOut)
async def get_exposure(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """By asset, venue, symbol, account and strategy; each with the age of its rate."""
    core = desk.trading.engine.core
    found = exposure(
        core.ledger,
        core.rates(),
        desk.marks(),
        desk.clock(),
        account=account_of(key, account),
        reporting=core.reporting,
    )
    return answer(to_json(found))


@routes.add("GET", "/v1/portfolio/positions", "read", PositionsOut)
async def list_positions(
    key: Key,
    desk: DeskIn,
    by: Annotated[Literal["venue", "strategy", "symbol"], Query()] = "venue",
    symbol: Annotated[SymbolIn | None, Query()] = None,
    strategy: Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = None,
    account: AccountAsked = None,
) -> Response:
    """What our fills add up to, by average cost, marked to the consolidated mid."""
    lines = desk.trading.engine.ledger.pnl(
        desk.marks(),
        View(by),
        account=account_of(key, account),
        symbol=symbol,
        strategy=strategy,
    )
    return answer({"positions": [views.position(line) for line in lines]})


@routes.add("GET", "/v1/portfolio/balances", "read", BalancesOut)
async def list_balances(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """What we have at each venue; `reserved` is the worst case of what is open or unknown."""
    whose, engine = account_of(key, account), desk.trading.engine
    known = engine.ledger.balances()
    out: list[dict[str, Any]] = []
    for (venue, name), held in sorted(known.items()):
        if name != whose:
            continue
        set_ns = engine.ledger.balances_set_ns(venue, name)
        for asset, total in sorted(held.items()):
            reserved = engine.risk.reserved(venue, name, asset)
            out.append(
                {
                    "venue": venue,
                    "account": name,
                    "asset": asset,
                    "total": plain(total),
                    "reserved": plain(reserved),
                    "free": plain(EXACT.subtract(total, reserved)),
                    "at": None if set_ns is None else time_out(set_ns),
                }
            )
    unread = sorted(
        venue for venue, name in engine.core.desks if name == whose and (venue, name) not in known
    )
    return answer({"balances": out, "unread": unread})


@routes.add("GET", "/v1/kpis", "read", KpisOut)
async def list_kpis(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """The figures that one looks at every day."""
    found = desk.kpis(account_of(key, account))
    return answer(
        {
            "kpis": [
                {
                    "name": one.name,
                    "value": views.text(one.value),
                    "unit": one.unit,
                    "window": one.window,
                    "samples": one.samples,
                    "note": one.note,
                }
                for one in found
            ]
        }
    )
