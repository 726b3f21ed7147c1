"""What to do about a leg that stands alone: complete it, hedge it elsewhere, reverse it, keep it.

Pure.  Every way is priced by the same rule, in quote against the present mid: what the ladder
there costs for that size, fees in, and what the price may do until that venue answers.  The
cheapest within the loss bound is taken; after the deadline any venue will do, up to that bound.
"""

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.book.sweep import PRECISE
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.scale import ceil_to, floor_to
from hean_router.strategy.contract import View
from hean_router.strategy.legs import (
    BPS,
    DOWN,
    ONE,
    ZERO,
    Leg,
    floor_lot,
    legs,
    refused_by,
    taking,
)
from hean_router.strategy.opportunity import SECOND, ScanParams
from hean_router.strategy.params import of


class RepairParams(ScanParams, frozen=True, kw_only=True):
    """How long and at what price a leg that stands alone is mended."""

    deadline_ms: Annotated[
        int, of("ms", "10", "600000", "after it a leg that stands alone is closed at any venue")
    ] = 3_000
    leg_ms: Annotated[
        int, of("ms", "1", "600000", "a leg that works longer is cancelled, then counted")
    ] = 500
    again_ms: Annotated[int, of("ms", "1", "60000", "between two repairs of one cycle")] = 100
    max_loss_bps: Annotated[
        Decimal, of("bps of the mid", "0", "10000", "what a repair may cost at most")
    ] = Decimal(100)
    max_inventory_quote: Annotated[
        Decimal, of("quote", "0", "1e9", "what may be kept instead of being repaired")
    ] = ZERO
    keep_bps: Annotated[
        Decimal, of("bps of the mid", "0", "10000", "what keeping inventory is taken to cost")
    ] = Decimal(10)


class Way(Struct, frozen=True, kw_only=True):
    """One way out: `cost` is quote against the mid, risk in; `venue` empty: any (or none)."""

    what: str  # complete, hedge, reverse, keep, deadline
    venue: str
    side: Side
    qty: Decimal
    limit: Decimal
    cost: Decimal


def too_small(view: View, pair: Pair, excess: Decimal, mid: Decimal) -> bool:
    """Whether no venue takes an order as small as that: it is carried, not repaired."""
    # A sell may go to a hundredth below the mid, and be valued there.
    px, size = mid * Decimal("0.99"), abs(excess)
    rules = view.instruments(pair)
    return all(
        bool(refused_by(one, floor_lot(one, size), _tick(one, px))) for one in rules.values()
    )


def _tick(rules: Instrument, px: Decimal) -> Decimal:
    return px.quantize(Decimal(1).scaleb(-rules.px_decimals), ROUND_FLOOR)


def ways(
    view: View,
    params: RepairParams,
    account: str,
    pair: Pair,
    excess: Decimal,
    *,
    short_venue: str,
    long_venue: str,
) -> list[Way]:
    """Every way that is open now, cheapest first.

    `excess` base is too much (sell it) or too little (buy it).  `short_venue` is where the leg fell
    short, `long_venue` where the other one traded: completing and reversing.
    """
    book = view.book(pair)
    if book is None or (mid := book.mid()) is None:
        return []
    side = Side.SELL if excess > 0 else Side.BUY
    found = []
    for leg in legs(book)[side]:
        what = {short_venue: "complete", long_venue: "reverse"}.get(leg.venue, "hedge")
        if (way := _at(view, params, account, leg, abs(excess), mid, what)) is not None:
            found.append(way)
    worth = abs(excess) * mid
    if worth <= params.max_inventory_quote:
        cost = worth * params.keep_bps / BPS
        found.append(Way(what="keep", venue="", side=side, qty=abs(excess), limit=mid, cost=cost))
    return sorted(found, key=lambda way: (way.cost / way.qty, way.what, way.venue))


def _at(
    view: View,
    params: RepairParams,
    account: str,
    leg: Leg,
    size: Decimal,
    mid: Decimal,
    what: str,
) -> Way | None:
    if view.why_not(leg.venue, account):
        return None
    if view.now_ns - leg.live.confirmed_ns > params.max_age_ms * 1_000_000:
        return None
    buying = leg.side is Side.BUY
    want = DOWN.divide(size, leg.base_factor)
    free = view.free(leg.venue, account, leg.of.pair.quote if buying else leg.of.pair.base)
    if free is None:
        return None
    bound = _bound(mid, leg.side, params.max_loss_bps)
    if buying:
        want = min(want, DOWN.divide(free, bound * max(ONE, leg.quote_factor)))
    else:
        want = min(want, DOWN.divide(free, max(ONE, leg.base_factor)))
    qty = floor_lot(leg.of, want)
    if not qty:
        return None
    there = taking(leg, qty)
    qty = floor_lot(leg.of, there.qty)
    if not qty:
        return None
    there = taking(leg, qty)
    limit = _slipped(leg, there.worst, params.slip_bps)
    if (limit > bound if buying else limit < bound) or refused_by(leg.of, qty, limit):
        return None
    moved = qty * leg.base_factor
    cost = there.quote - moved * mid if buying else moved * mid - there.quote
    ns = view.latency_ns(leg.venue)
    tau = Decimal(ns) / SECOND if ns else params.latency_ms / 1000
    cost += params.z * params.sigma_bps * PRECISE.sqrt(tau) / BPS * moved * mid
    return Way(what=what, venue=leg.venue, side=leg.side, qty=qty, limit=limit, cost=cost)


def _bound(mid: Decimal, side: Side, bps: Decimal) -> Decimal:
    """The worst displayed price that the loss bound allows."""
    return mid * (BPS + bps if side is Side.BUY else BPS - bps) / BPS


def _slipped(leg: Leg, worst: Decimal, bps: Decimal) -> Decimal:
    rules, buying = leg.of, leg.side is Side.BUY
    px = worst * (BPS + bps if buying else BPS - bps) / BPS
    units = px.scaleb(rules.px_decimals)
    if buying:
        ticks = floor_to(int(units.to_integral_value(ROUND_FLOOR)), rules.tick)
        return max(worst, rules.px_decimal(ticks))
    ticks = ceil_to(int(units.to_integral_value(ROUND_CEILING)), rules.tick)
    return min(worst, rules.px_decimal(ticks))


def last_way(
    view: View, params: RepairParams, account: str, pair: Pair, excess: Decimal
) -> Way | None:
    """After the deadline: all of it, anywhere, up to the loss bound; None if that cannot be."""
    book = view.book(pair)
    if book is None or (mid := book.mid()) is None:
        return None
    side = Side.SELL if excess > 0 else Side.BUY
    can, lots = ZERO, list[Instrument]()
    bound = _bounded(book, mid, side, params.max_loss_bps)
    for leg in legs(book)[side]:
        if view.why_not(leg.venue, account):
            continue
        asset = pair.quote if side is Side.BUY else pair.base
        free = view.free(leg.venue, account, asset) or ZERO
        unit = bound * max(ONE, leg.quote_factor) if side is Side.BUY else ONE
        can += DOWN.divide(free, unit * max(ONE, leg.base_factor))
        lots.append(leg.of)
    if not lots:
        return None
    finest = min(lots, key=lambda rules: rules.qty_decimal(rules.lot))
    qty = floor_lot(finest, min(abs(excess), can))
    if not qty or all(refused_by(one, floor_lot(one, qty), bound) for one in lots):
        return None
    return Way(what="deadline", venue="", side=side, qty=qty, limit=bound, cost=ZERO)


def _bounded(book: ConsolidatedBook, mid: Decimal, side: Side, bps: Decimal) -> Decimal:
    """The loss bound with the book's decimals, rounded to the safe side."""
    rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
    return _bound(mid, side, bps).quantize(Decimal(1).scaleb(-book.px_decimals), rounding)
