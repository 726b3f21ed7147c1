"""What a quantity costs at one venue: a convex curve, and the box that rules and money allow.

All whole numbers on scales that one plan shares (`Scales`); exact.  A book's levels stand best
first, so the cost of sweeping them is convex and piecewise linear in the quantity: that is all the
split (`route/split`) needs to know about a venue.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from operator import mul, neg
from typing import NamedTuple

from hean_router.book.all_in import Charge, charge, fee_in_base
from hean_router.book.sweep import scaled
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Side, Trading
from hean_router.domain.scale import plain, to_decimal
from hean_router.domain.venue import Fees
from hean_router.route.model import ParentOrder, VenueBook


class Scales(NamedTuple):
    """Decimals that a plan counts prices, quantities and fees in."""

    px: int
    qty: int
    fee: int

    @property
    def notional(self) -> int:
        """Decimals of price × quantity."""
        return self.px + self.qty


class Curve:
    """One venue's side: cumulative quantity and notional by level, and how much may be taken.

    `px` best first; `cum[i]` and `worth[i]` are the quantity and the notional of the first `i`
    levels.  `lo` and `hi` are multiples of `lot`: 0 or lo..hi may be taken.  `hi_why` says what
    `hi` comes from.
    """

    __slots__ = (
        "book",
        "charge",
        "cum",
        "fees",
        "hi",
        "hi_why",
        "keys",
        "lo",
        "lot",
        "next_px",
        "px",
        "sign",
        "worth",
    )

    def __init__(self, book: VenueBook, fees: Fees, cost: Charge, sign: int) -> None:
        self.book, self.fees, self.charge, self.sign = book, fees, cost, sign
        self.px: Sequence[int] = ()
        self.cum: list[int] = [0]
        self.worth: list[int] = [0]
        self.keys: list[int] = []  # objective per unit by level, set for each search
        self.lot = self.lo = 1
        self.hi = 0
        self.hi_why = ""
        self.next_px: int | None = None  # the level behind the last one read

    def notional(self, qty: int) -> int:
        """Price × quantity of the first `qty` units."""
        level = bisect_left(self.cum, qty)
        if not level:
            return 0
        return self.worth[level - 1] + (qty - self.cum[level - 1]) * self.px[level - 1]

    def quote(self, qty: int) -> int:
        """Quote paid or got for the first `qty` units, quote fee in (scale: notional and fee)."""
        return self.notional(qty) * self.charge.quote

    def most_for(self, notional: int) -> int:
        """Largest quantity that is not worth more than `notional`."""
        level = bisect_right(self.worth, notional) - 1
        if level == len(self.px):
            return self.cum[level]
        return self.cum[level] + (notional - self.worth[level]) // self.px[level]

    def least_for(self, notional: int) -> int | None:
        """Smallest quantity worth at least `notional`; None if the levels are not."""
        level = bisect_left(self.worth, notional)
        if level == len(self.worth):
            return None
        if not level:
            return 0
        missing = notional - self.worth[level - 1]
        return self.cum[level - 1] - (-missing // self.px[level - 1])

    def worst_px(self, qty: int) -> int:
        """Price of the level that the unit `qty` is taken from."""
        return self.px[bisect_left(self.cum, qty) - 1]

    def after(self, qty: int) -> int | None:
        """Price at which the next unit would be taken, None when the levels are used up."""
        level = bisect_right(self.cum, qty) - 1
        return self.px[level] if level < len(self.px) else self.next_px


class Ask(NamedTuple):
    """An order on the plan's scales, with what bounds every venue alike."""

    order: ParentOrder
    scales: Scales
    qty: int  # rounded down to the scale
    share: int | None  # most at one venue

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sell: prices times it rise from level to level."""
        return 1 if self.order.side is Side.BUY else -1


def curve_of(
    ask: Ask, book: VenueBook, fees: Fees, balances: Mapping[str, Decimal] | None
) -> Curve | str:
    """The venue's curve for the order, or why it can take nothing.

    `balances` None means not limited by money.
    """
    of, side, scales = book.instrument, ask.order.side, ask.scales
    if of.trading is not Trading.OPEN:
        return f"not trading: {of.trading.value}"
    if not ask.qty:
        return f"the order is less than its lot {plain(of.qty_decimal(of.lot))}"
    cost = charge(fees, side, of.part, scales.fee)
    curve = Curve(book, fees, cost, ask.sign)
    levels = book.asks if side is Side.BUY else book.bids
    if not levels:
        return f"no {'asks' if side is Side.BUY else 'bids'}"
    if not _load(curve, ask, levels):
        limit = ask.order.limit_px
        return "no depth within the price band" if limit is None else _no_depth(ask, curve, limit)
    curve.lot = of.lot * 10 ** (scales.qty - of.qty_decimals)
    caps = _caps(curve, ask, balances)
    most, curve.hi_why = min(caps, key=lambda cap: cap[0])
    curve.hi = most - most % curve.lot
    return _floor(curve, ask) or curve


def _load(curve: Curve, ask: Ask, levels: Sequence[Level]) -> bool:
    """Read the levels within the limit, no deeper than the order; False if there are none."""
    of, scales = curve.book.instrument, ask.scales
    px_all, qty_all = zip(*levels, strict=True)
    qty_mul, px_mul = 10 ** (scales.qty - of.qty_decimals), 10 ** (scales.px - of.px_decimals)
    if qty_mul != 1:
        qty_all = tuple([qty * qty_mul for qty in qty_all])
    within = _within(curve, ask, px_all)
    cum = list(accumulate(qty_all[:within], initial=0))
    used = min(bisect_left(cum, ask.qty), within)
    if used < within:
        curve.next_px = px_all[used] * px_mul
    px_all = px_all[:used]
    if px_mul != 1:
        px_all = tuple([px * px_mul for px in px_all])
    curve.px, curve.cum = px_all, cum[: used + 1]
    curve.worth = list(accumulate(map(mul, px_all, qty_all), initial=0))
    return bool(px_all)


def _within(curve: Curve, ask: Ask, px_all: Sequence[int]) -> int:
    """How many levels are no worse than the order's limit and inside the venue's band."""
    of, buying = curve.book.instrument, ask.sign > 0
    edge = of.px_max if buying else of.px_min or None
    if (limit := ask.order.limit_px) is not None:
        if ask.order.limit_all_in:
            # px × quote / base must not pass the limit: the displayed price that just does not.
            whole = scaled(limit, of.px_decimals + DEEP, up=not buying) * curve.charge.base
            step = curve.charge.quote * 10**DEEP
            own = whole // step if buying else -(-whole // step)
        else:
            own = scaled(limit, of.px_decimals, up=not buying)
        edge = own if edge is None else (min if buying else max)(own, edge)
    if edge is None:
        return len(px_all)
    return bisect_right(px_all, edge) if buying else bisect_right(px_all, -edge, key=neg)


DEEP = 24  # decimals kept of an all-in limit beyond the price's own: more than a limit can have


def _no_depth(ask: Ask, curve: Curve, limit: Decimal) -> str:
    levels = curve.book.asks if ask.sign > 0 else curve.book.bids
    best = plain(curve.book.instrument.px_decimal(levels[0][0]))
    kind = "all-in limit" if ask.order.limit_all_in else "limit"
    return f"no depth within the {kind} {plain(limit)}: its best is {best}"


def _caps(
    curve: Curve, ask: Ask, balances: Mapping[str, Decimal] | None
) -> Iterable[tuple[int, str]]:
    """What bounds the quantity from above, each with its name; the first of equals is told."""
    of, scales = curve.book.instrument, ask.scales
    more = 10 ** (scales.qty - of.qty_decimals)
    yield ask.qty, ""
    if ask.share is not None:
        yield ask.share, "its largest share of the order"
    if of.max_qty is not None:
        yield of.max_qty * more, f"its maximum of {plain(of.qty_decimal(of.max_qty))} an order"
    if of.max_notional is not None:
        top = scaled(of.max_notional, scales.notional, up=False)
        yield curve.most_for(top), f"its maximum notional of {plain(of.max_notional)} an order"
    if balances is not None:
        yield affordable(curve, ask, balances)
    if curve.cum[-1] < ask.qty:
        limited = ask.order.limit_px is not None
        yield curve.cum[-1], "all its depth" + (" within the limit" if limited else "")


def affordable(curve: Curve, ask: Ask, balances: Mapping[str, Decimal]) -> tuple[int, str]:
    """What `balances` pay for, fee in.  A rebate pays for nothing: it comes afterwards.

    A buy needs quote, a sell base; a perpetual needs its settlement asset both ways (leverage 1).
    """
    of, side, scales = curve.book.instrument, ask.order.side, ask.scales
    pair, one = of.pair, 10**scales.fee
    fee = max(0, scaled(curve.fees.taker, scales.fee, up=True))
    in_base = fee_in_base(curve.fees.fee_in, side, of.part)
    if side is Side.BUY or pair.settle:
        asset = pair.settle or pair.quote
        have = balances.get(asset, Decimal(0))
        rate = one if in_base else one + fee
        most = curve.most_for(scaled(have, scales.notional + scales.fee, up=False) // rate)
    else:
        asset = pair.base
        have = balances.get(asset, Decimal(0))
        rate = one + fee if in_base else one
        most = scaled(have, scales.qty + scales.fee, up=False) // rate
    return most, f"its balance of {plain(have)} {asset}" if have else f"no {asset} balance"


def _floor(curve: Curve, ask: Ask) -> str:
    """Set `lo`; what stands against taking anything at all, "" if nothing."""
    of, lot = curve.book.instrument, curve.lot
    more = 10 ** (ask.scales.qty - of.qty_decimals)
    if not curve.hi:
        if curve.hi_why.startswith("no "):
            return curve.hi_why
        return f"{curve.hi_why or 'the order'} is less than its lot {_qty(ask, lot)}"
    least, why = (
        max(of.min_qty * more, lot),
        f"minimum quantity {plain(of.qty_decimal(of.min_qty))}",
    )
    if of.min_notional:
        needed = curve.least_for(scaled(of.min_notional, ask.scales.notional, up=True))
        if needed is None or needed > least:
            least = curve.hi + 1 if needed is None else needed
            why = f"minimum notional {plain(of.min_notional)}"
    curve.lo = least + -least % lot
    if curve.lo <= curve.hi:
        return ""
    return f"{curve.hi_why or 'the order'} is below its {why}"


def _qty(ask: Ask, qty: int) -> str:
    return plain(to_decimal(qty, ask.scales.qty))
