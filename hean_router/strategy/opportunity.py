"""What could be earned now by buying at one venue and selling at another, and why it is not.

Pure: books, fees, rules, balances and parameters in, one `Opportunity` per ordered venue pair out.
The size is the largest whose marginal all-in edge still exceeds the hurdle: both ladders are
walked in units of base that really changes hands (fees in base are inside), with whole numbers.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from msgspec import Struct

from hean_router.book.sweep import PRECISE, scaled
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.scale import ceil_to, floor_to, plain, to_decimal
from hean_router.strategy.contract import View
from hean_router.strategy.legs import (
    BPS,
    DOWN,
    ONE,
    UP,
    ZERO,
    Leg,
    best_px,
    floor_lot,
    legs,
    refused_by,
    taking,
    top_px,
    walk,
)
from hean_router.strategy.params import of

SECOND = Decimal(1_000_000_000)


class ScanParams(Struct, frozen=True, kw_only=True):
    """What a cross-venue trade must bring, and what is too good or too old to be believed."""

    pairs: tuple[Pair, ...] = (Pair("BTC", "USDT"),)
    rebalance_bps: Annotated[
        Decimal, of("bps of the buying price", "0", "1000", "cost of moving the inventory back")
    ] = Decimal(1)
    z: Annotated[Decimal, of("deviations", "0", "10", "how much of the latency risk counts")] = ONE
    sigma_bps: Annotated[
        Decimal, of("bps over one second", "0", "1000", "deviation of the mid")
    ] = Decimal("0.5")
    latency_ms: Annotated[
        Decimal, of("ms", "0", "60000", "assumed of a venue that has not answered an order yet")
    ] = Decimal(100)
    haircut_bps: Annotated[
        Decimal, of("bps of the buying price", "0", "1000", "for the peg, and for carrying both")
    ] = ZERO
    slip_bps: Annotated[
        Decimal, of("bps of the price", "0", "100", "how far limits go beyond the worst level")
    ] = Decimal(1)
    min_profit_quote: Annotated[
        Decimal, of("quote", "0", "1e9", "a cycle that promises less is not begun")
    ] = ZERO
    max_notional_quote: Annotated[
        Decimal, of("quote", "0", "1e9", "spent at most in one cycle")
    ] = Decimal(10_000)
    too_good_bps: Annotated[
        Decimal, of("bps of the buying price", "1", "10000", "an edge beyond it is an error")
    ] = Decimal(500)
    max_age_ms: Annotated[
        Decimal, of("ms", "1", "600000", "a book proved current longer ago is not used")
    ] = Decimal(3_000)
    off_median_bps: Annotated[
        Decimal, of("bps", "1", "10000", "a venue's mid further from the median is not used")
    ] = Decimal(300)


class Room(NamedTuple):
    """What the runner's own state allows: base carried from earlier cycles, and quote to spend."""

    carry: Decimal = ZERO
    quote: Decimal | None = None
    why: str = ""  # what `quote` comes from


NO_BOUND = Room()


class Opportunity(Struct, frozen=True, kw_only=True):
    """One ordered pair of venues at one moment.

    `buy_px`, `sell_px` are displayed: the worst levels of the size, or the bests where there is no
    size.  `edge_quote` is what the size should bring, `edge_bps` the same per quote spent, both
    net of fees; `gross_bps` and `net_bps` are of the best levels, before and after fees, and
    `hurdle_bps` is what a unit must bring beyond fees.  `capacity` is base until the marginal edge
    meets the hurdle, whatever money and limits say.  `qty` is what would be bought, `sell_qty`
    what would be sold of it.  `taken` says that nothing speaks against it; else `code`, `why_not`.
    """

    pair: Pair
    buy_venue: str
    sell_venue: str
    qty: Decimal
    sell_qty: Decimal
    buy_px: Decimal
    sell_px: Decimal
    buy_limit: Decimal
    sell_limit: Decimal
    edge_quote: Decimal
    edge_bps: Decimal
    gross_bps: Decimal
    net_bps: Decimal
    hurdle_bps: Decimal
    capacity: Decimal
    limited_by: str
    buy_age_ms: int
    sell_age_ms: int
    taken: bool
    code: str = ""
    why_not: str = ""

    def to_json(self) -> dict[str, Any]:
        """For programs: decimals are plain text."""
        out: dict[str, Any] = {"symbol": str(self.pair)}
        for name in self.__struct_fields__[1:]:
            value = getattr(self, name)
            out[name] = plain(value) if isinstance(value, Decimal) else value
        return out


def hurdle_bps(params: ScanParams, view: View, buy: str, sell: str) -> Decimal:
    """Rebalancing + z σ √(τ_i + τ_j) + haircuts, in bps of the buying price; 28 digits."""
    tau = ZERO
    for venue in (buy, sell):
        ns = view.latency_ns(venue)
        tau += Decimal(ns) / SECOND if ns else params.latency_ms / 1000
    risk = params.z * params.sigma_bps * PRECISE.sqrt(tau)
    return params.rebalance_bps + risk + params.haircut_bps


def scan(
    pair: Pair,
    view: View,
    params: ScanParams,
    account: str,
    *,
    room: Room = NO_BOUND,
    crossed_only: bool = False,
) -> list[Opportunity]:
    """Every ordered pair of LIVE venues, best net edge first.

    With `crossed_only`, only those of which one bids more than the other asks, fees apart or in.
    """
    book = view.book(pair)
    if book is None:
        return []
    sides = legs(book)
    asks, bids = sides[Side.BUY], sides[Side.SELL]
    outliers = off_median(asks, bids, params.off_median_bps)
    found = []
    for buy in asks:
        for sell in bids:
            if buy.venue == sell.venue:
                continue
            if crossed_only and not _crossed(buy, sell):
                continue
            found.append(_judge(pair, view, params, account, room, buy, sell, outliers))
    return sorted(found, key=lambda one: (-one.net_bps, one.buy_venue, one.sell_venue))


def off_median(
    asks: Sequence[Leg], bids: Sequence[Leg], most_bps: Decimal
) -> Mapping[str, Decimal]:
    """Venues whose mid is further than `most_bps` from the median of at least three, and how far.

    Twice the mid, on the pair scale; the lower of two middle ones is the median.
    """
    bid_of = {leg.venue: best_px(leg) for leg in bids}
    mids = {leg.venue: best_px(leg) + bid_of[leg.venue] for leg in asks if leg.venue in bid_of}
    if len(mids) < 3:
        return {}
    middle = sorted(mids.values())[(len(mids) - 1) // 2]
    away = {venue: BPS * abs(mid - middle) / middle for venue, mid in mids.items()}
    return {venue: bps for venue, bps in away.items() if bps > most_bps}


def _crossed(buy: Leg, sell: Leg) -> bool:
    """Whether the one's bid is above the other's ask, as displayed or with both fees in."""
    ask, bid, cost, gain = best_px(buy), best_px(sell), buy.charge, sell.charge
    return bid > ask or bid * gain.quote * cost.base > ask * cost.quote * gain.base


class Refusal(Exception):
    """Inside `_judge`: why not."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Sized(NamedTuple):
    """Quantities and prices that were decided on."""

    buy: Decimal
    sell: Decimal
    buy_px: Decimal
    sell_px: Decimal
    buy_limit: Decimal
    sell_limit: Decimal
    edge: Decimal
    spent: Decimal
    limited_by: str


def _judge(
    pair: Pair,
    view: View,
    params: ScanParams,
    account: str,
    room: Room,
    buy: Leg,
    sell: Leg,
    outliers: Mapping[str, Decimal],
) -> Opportunity:
    book = view.book(pair)
    assert book is not None, "it was read a moment ago"
    hurdle = hurdle_bps(params, view, buy.venue, sell.venue)
    ask, bid = top_px(buy), top_px(sell)
    ask_in = PRECISE.divide(ask * buy.quote_factor, buy.base_factor)
    bid_in = PRECISE.divide(bid * sell.quote_factor, sell.base_factor)
    gross, net = BPS * (bid - ask) / ask, BPS * (bid_in - ask_in) / ask_in
    ages = {leg.venue: (view.now_ns - leg.live.confirmed_ns) // 1_000_000 for leg in (buy, sell)}
    found = walk(buy, sell, hurdle)
    capacity = to_decimal(found.net, book.qty_decimals + book.fee_decimals)
    sized, code, why = None, "", ""
    try:
        if not found.net:
            raise _no_edge(gross, net, hurdle)
        sized = _size(pair, view, params, account, room, buy, sell, capacity, found.ended)
        _guard(params, net, ages, outliers)
        _check(view, params, account, buy, sell, sized)
    except Refusal as refusal:
        code, why = refusal.code, str(refusal)
    if sized is None:
        sized = Sized(ZERO, ZERO, ask, bid, ask, bid, ZERO, ZERO, "")
    return Opportunity(
        pair=pair,
        buy_venue=buy.venue,
        sell_venue=sell.venue,
        qty=sized.buy,
        sell_qty=sized.sell,
        buy_px=sized.buy_px,
        sell_px=sized.sell_px,
        buy_limit=sized.buy_limit,
        sell_limit=sized.sell_limit,
        edge_quote=sized.edge,
        edge_bps=BPS * sized.edge / sized.spent if sized.spent else ZERO,
        gross_bps=gross,
        net_bps=net,
        hurdle_bps=hurdle,
        capacity=capacity,
        limited_by=sized.limited_by,
        buy_age_ms=ages[buy.venue],
        sell_age_ms=ages[sell.venue],
        taken=not code,
        code=code,
        why_not=why,
    )


def _no_edge(gross: Decimal, net: Decimal, hurdle: Decimal) -> Refusal:
    if gross <= 0:
        return Refusal("not_crossed", f"bid is {_bps(-gross)} bps below ask")
    if net <= 0:
        return Refusal("fees", f"{_bps(gross)} bps apart, fees take {_bps(gross - net)}")
    return Refusal("hurdle", f"{_bps(net)} bps after fees do not exceed {_bps(hurdle)}")


def _bps(number: Decimal) -> str:
    return plain(round(number, 2))


def _guard(
    params: ScanParams,
    net: Decimal,
    ages: Mapping[str, int],
    outliers: Mapping[str, Decimal],
) -> None:
    """Refuse what is too good, or seen too long ago, to be true."""
    for venue, age in ages.items():
        if age > params.max_age_ms:
            raise Refusal("aged", f"{venue}'s book was last proved current {age} ms ago")
        if venue in outliers:
            raise Refusal(
                "off_median", f"{venue} is {_bps(outliers[venue])} bps off the venues' median"
            )
    if net > params.too_good_bps:
        raise Refusal("too_good", f"{_bps(net)} bps: more than {_bps(params.too_good_bps)}")


def _size(
    pair: Pair,
    view: View,
    params: ScanParams,
    account: str,
    room: Room,
    buy: Leg,
    sell: Leg,
    capacity: Decimal,
    ended: str,
) -> Sized:
    """Whole lots at both venues within capacity, money and rules; raises `Refusal`."""
    caps = [(params.max_notional_quote, "max_notional_quote")]
    if room.quote is not None:
        caps.append((room.quote, room.why))
    if (free := view.free(buy.venue, account, pair.quote)) is not None:
        caps.append((free, f"{pair.quote} at {buy.venue}"))
    quote, quote_why = min(caps)
    limited = ended
    buy_max = floor_lot(buy.of, DOWN.divide(capacity, buy.base_factor))
    sell_max = floor_lot(sell.of, DOWN.divide(capacity, sell.base_factor))
    base = view.free(sell.venue, account, pair.base)
    # A fee in base is taken beside what is sold.
    if base is not None and (
        can := floor_lot(sell.of, DOWN.divide(base, max(ONE, sell.base_factor)))
    ) < (sell_max):
        sell_max, limited = can, f"{pair.base} at {sell.venue}"
    for leg, most in ((buy, buy_max), (sell, sell_max)):
        biggest = _biggest(leg)
        if biggest is not None and biggest < most:
            limited = f"largest order at {leg.venue}"
            if leg is buy:
                buy_max = biggest
            else:
                sell_max = biggest
    for _ in range(3):  # a smaller size may need a better limit; never a worse one
        buy_qty, sell_qty = whole_lots(buy, sell, buy_max, sell_max, room.carry)
        if buy_qty <= 0 or sell_qty <= 0:
            break
        bought, sold = taking(buy, buy_qty), taking(sell, sell_qty)
        buy_limit, sell_limit = limits(buy, sell, bought.worst, sold.worst, params.slip_bps)
        unit = buy_limit * max(ONE, buy.quote_factor)  # what is reserved for a unit
        if buy_qty * unit <= quote:
            edge = sold.quote - bought.quote
            # What is bought beyond what is sold stays, at what it cost.
            kept = buy_qty * buy.base_factor - sell_qty * sell.base_factor
            edge += PRECISE.divide(kept * bought.quote, buy_qty * buy.base_factor)
            return Sized(
                buy_qty,
                sell_qty,
                bought.worst,
                sold.worst,
                buy_limit,
                sell_limit,
                edge,
                bought.quote,
                limited,
            )
        buy_max, limited = floor_lot(buy.of, DOWN.divide(quote, unit)), quote_why
    raise Refusal("below_lot", f"less than a lot is left: limited by {limited}")


def _biggest(leg: Leg) -> Decimal | None:
    """The largest order that the venue takes: quantity, and notional at its best price."""
    caps = []
    if leg.of.max_qty is not None:
        caps.append(floor_lot(leg.of, leg.of.qty_decimal(leg.of.max_qty)))
    if leg.of.max_notional is not None:
        # Limits may be dearer than the best ask: a hundredth of room, checked exactly later.
        px = top_px(leg) * Decimal("1.01")
        caps.append(floor_lot(leg.of, DOWN.divide(leg.of.max_notional, px)))
    return min(caps, default=None)


def whole_lots(
    buy: Leg, sell: Leg, buy_max: Decimal, sell_max: Decimal, carry: Decimal
) -> tuple[Decimal, Decimal]:
    """The largest `(buy, sell)` in lots, such that base is flat to one lot of the buying venue.

    What is sold is what is received (and `carry`, left over before); the rest of a lot stays.
    Never sells more than it then has, so that `carry` stays from 0 to one lot.
    """
    has = buy_max * buy.base_factor + carry
    sells = min(sell_max, floor_lot(sell.of, DOWN.divide(max(ZERO, has), sell.base_factor)))
    needs = max(ZERO, sells * sell.base_factor - carry)
    lots = UP.divide(UP.divide(needs, buy.base_factor), buy.lot)
    buys = min(buy_max, lots.to_integral_value("ROUND_CEILING") * buy.lot)
    return buys, sells


def limits(
    buy: Leg, sell: Leg, buy_px: Decimal, sell_px: Decimal, slip_bps: Decimal
) -> tuple[Decimal, Decimal]:
    """Limits a little beyond the worst levels, both on the tick, never together below edge 0."""
    buy_weight = PRECISE.divide(buy.quote_factor, buy.base_factor)
    sell_weight = PRECISE.divide(sell.quote_factor, sell.base_factor)
    half = max(ZERO, (sell_px * sell_weight - buy_px * buy_weight) / 2)
    up = buy_px + min(buy_px * slip_bps / BPS, half / buy_weight)
    down = sell_px - min(sell_px * slip_bps / BPS, half / sell_weight)
    buy_units = floor_to(scaled(up, buy.of.px_decimals, up=False), buy.of.tick)
    sell_units = ceil_to(scaled(down, sell.of.px_decimals, up=True), sell.of.tick)
    return (
        max(buy_px, buy.of.px_decimal(buy_units)),
        min(sell_px, sell.of.px_decimal(sell_units)),
    )


def _check(view: View, params: ScanParams, account: str, buy: Leg, sell: Leg, sized: Sized) -> None:
    """Both legs, before the first leaves: rules, promise, access, money; raises `Refusal`."""
    for leg, qty, limit, worst in (
        (buy, sized.buy, sized.buy_limit, sized.buy_px),
        (sell, sized.sell, sized.sell_limit, sized.sell_px),
    ):
        # At both prices: venues value an order by its limit, by the best, or by an average.
        if why := refused_by(leg.of, qty, limit) or refused_by(leg.of, qty, min(limit, worst)):
            raise Refusal("rules", f"{leg.venue}: {plain(qty)} is {why}")
    if sized.edge <= 0 or sized.edge < params.min_profit_quote:
        raise Refusal("min_profit", f"promises {plain(round(sized.edge, 8))} only")
    for leg in (buy, sell):
        if why := view.why_not(leg.venue, account):
            raise Refusal("venue", f"{leg.venue}: {why}")
    for leg, asset in ((buy, buy.of.pair.quote), (sell, sell.of.pair.base)):
        if view.free(leg.venue, account, asset) is None:
            raise Refusal("balance_unknown", f"{asset} at {leg.venue} is not known")
