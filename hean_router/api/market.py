"""What is listed, charged, standing: instruments, fees, books, venues."""

from typing import Annotated

from fastapi import Path, Query
from starlette.responses import Response

from hean_router.api import views
from hean_router.api.access import account_of
from hean_router.api.errors import ApiError, answer, seen
from hean_router.api.reading import symbol_in
from hean_router.api.routing import AccountAsked, DeskIn, Key, Routes
from hean_router.api.schemas import (
    BookOut,
    FeesOut,
    InstrumentsOut,
    OpportunitiesOut,
    SymbolIn,
    VenuesListOut,
)
from hean_router.domain.scale import plain, to_decimal

routes = Routes("market")

SymbolAsked = Annotated[SymbolIn | None, Query()]


@routes.add("GET", "/v1/instruments", "read", InstrumentsOut)
async def list_instruments(desk: DeskIn, symbol: SymbolAsked = None) -> Response:
    """How every venue lists every pair that is followed."""
    listed = desk.trading.market.listed
    found = [
        of
        for _, of in sorted(listed.items(), key=lambda one: one[0][::-1])
        if symbol in {None, str(of.pair)}
    ]
    return answer({"instruments": [views.instrument(of) for of in found]})


@routes.add("GET", "/v1/fees", "read", FeesOut)
async def list_fees(desk: DeskIn, symbol: SymbolAsked = None) -> Response:
    """Our tier, as plans count it."""
    market = desk.trading.market
    return answer(
        {
            "fees": [
                {
                    "venue": venue,
                    "symbol": str(pair),
                    "taker": plain(tier.taker),
                    "maker": plain(tier.maker),
                    "fee_in": tier.fee_in.value,
                }
                for pair in market.pairs
                if symbol in {None, str(pair)}
                for venue, tier in sorted(market.book(pair).fees().items())
            ]
        }
    )


@routes.add("GET", "/v1/books/{symbol}", "read", BookOut, fails=(404,))
async def get_book(
    symbol: Annotated[str, Path(max_length=64, description="BASE-QUOTE, or BASE/QUOTE encoded.")],
    desk: DeskIn,
    depth: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Response:
    """All venues' books of a pair as one, best all-in price first."""
    try:
        pair = desk.pair(symbol_in(symbol))
    except ValueError as fault:
        raise ApiError("unknown_symbol", f"symbol {seen(symbol)}: {fault}") from None
    if pair is None:
        raise ApiError("not_found", f"{seen(symbol)} is not followed here", "see /v1/instruments")
    market = desk.trading.market
    return answer(views.book(market.book(pair), depth, desk.clock(), market.standing(pair)))


@routes.add("GET", "/v1/venues", "read", VenuesListOut)
async def list_venues(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """Where this account can send orders, and why not where it cannot."""
    whose, market = account_of(key, account), desk.trading.market
    standing = {str(pair): market.standing(pair) for pair in market.pairs}
    return answer(
        {
            "venues": [
                {
                    "venue": venue,
                    "account": name,
                    "ready": not health.why,
                    "why": health.why,
                    "clock_offset_ms": plain(to_decimal(health.clock_offset_ns, 6)),
                    "clock_bound_ms": plain(to_decimal(health.clock_bound_ns, 6)),
                    "books": {
                        symbol: str(states[venue])  # type: ignore[index]  # names are text
                        for symbol, states in standing.items()
                        if venue in states
                    },
                }
                for (venue, name), health in sorted(desk.trading.engine.core.desks.items())
                if name == whose
            ]
        }
    )


@routes.add("GET", "/v1/arbitrage/opportunities", "read", OpportunitiesOut)
async def list_opportunities(key: Key, desk: DeskIn, account: AccountAsked = None) -> Response:
    """Where the books cross, what would be left after fees, and why it is not taken."""
    return answer({"opportunities": list(desk.opportunities(account_of(key, account)))})
