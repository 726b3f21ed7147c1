"""What a quantity costs at one venue: a convex curve, and the box that rules and money allow.

All whole numbers on scales that one plan shares (`Scales`); exact.  A book's levels stand best
first, so the cost of sweeping them is convex and piecewise linear in the quantity: that is all the
split (`route/split`) needs to know about a venue.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import accumulate
from operator import mul, neg
from typing import NamedTuple

from hean_router.book.all_in import Charge, charge, fee_in_base
from hean_router.book.sweep import scaled
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Side, Trading
from hean_router.domain.scale import plain
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

    `px` best first, `rise` the same with the sign that makes it rise; `cum[i]` and `worth[i]` are
    the quantity and the notional of the first `i` levels.  `lo` and `hi` are multiples of `lot`:
    0 or lo..hi may be taken.  `hi_why` says what `hi` comes from.
    """

    __slots__ = (
        "book",
        "charge",
        "cum",
        "fee_in_base",
        "fees",
        "hi",
        "hi_why",
        "lo",
        "lot",
        "next_px",
        "px",
        "rise",
        "sign",
        "worth",
    )

    def __init__(self, ask: "Ask", book: VenueBook, fees: Fees) -> None:
        side, part = ask.order.side, book.instrument.part
        self.book, self.fees, self.sign = book, fees, ask.sign
        self.charge: Charge = charge(fees, side, part, ask.scales.fee)
        self.fee_in_base = fee_in_base(fees.fee_in, side, part)
        self.px: Sequence[int] = ()
        self.rise: Sequence[int] = ()
        self.cum: list[int] = [0]
        self.worth: list[int] = [0]
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
    curve = Curve(ask, book, fees)
    levels = book.asks if side is Side.BUY else book.bids
    if not levels:
        return f"no {'asks' if side is Side.BUY else 'bids'}"
    if not _load(curve, ask, levels):
        limit = ask.order.limit_px
        return "no depth within the price band" if limit is None else _no_depth(ask, curve, limit)
    curve.lot = of.lot * 10 ** (scales.qty - of.qty_decimals)
    _cap(curve, ask, balances)
    curve.hi -= curve.hi % curve.lot
    return _floor(curve, ask) or curve


def _load(curve: Curve, ask: Ask, levels: Sequence[Level]) -> bool:
    """Read the levels within the limit, no deeper than the order; False if there are none."""
    of, scales = curve.book.instrument, ask.scales
    qty_mul, px_mul = 10 ** (scales.qty - of.qty_decimals), 10 ** (scales.px - of.px_decimals)
    prices, sizes = zip(*levels, strict=True)
    within = _within(curve, ask, prices)
    cum = list(accumulate(sizes[:within], initial=0))
    used = min(bisect_left(cum, -(-ask.qty // qty_mul)), within)
    if used < within:
        curve.next_px = prices[used] * px_mul
    if not used:
        return False
    prices, cum = prices[:used], cum[: used + 1]
    if px_mul != 1:
        prices = tuple([px * px_mul for px in prices])
    worth = list(accumulate(map(mul, prices, sizes), initial=0))
    if qty_mul != 1:
        cum, worth = [qty * qty_mul for qty in cum], [value * qty_mul for value in worth]
    curve.px, curve.cum, curve.worth = prices, cum, worth
    curve.rise = prices if curve.sign > 0 else [-px for px in prices]
    return True


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


def _cap(curve: Curve, ask: Ask, balances: Mapping[str, Decimal] | None) -> None:
    """Set `hi`, not yet on the lot grid, and `hi_why`; the first of equal bounds is told."""
    of, scales = curve.book.instrument, ask.scales
    hi, why = ask.qty, ""
    if ask.share is not None and ask.share < hi:
        hi, why = ask.share, "its largest share of the order"
    if of.max_qty is not None:
        most = of.max_qty * 10 ** (scales.qty - of.qty_decimals)
        if most < hi:
            hi, why = most, f"its maximum of {plain(of.qty_decimal(of.max_qty))} an order"
    if of.max_notional is not None:
        most = curve.most_for(scaled(of.max_notional, scales.notional, up=False))
        if most < hi and most < curve.cum[-1]:
            hi, why = most, f"its maximum notional of {plain(of.max_notional)} an order"
    if balances is not None:
        asset, most = affordable(curve, ask, balances)
        if (most < hi and most < curve.cum[-1]) or not most:
            hi, why = most, ""
            if have := balances.get(asset):
                why = f"what its balance of {plain(have)} {asset} pays for"
            else:
                why = f"no {asset} balance"
    if curve.cum[-1] < hi:
        limited = ask.order.limit_px is not None
        hi, why = curve.cum[-1], "all its depth" + (" within the limit" if limited else "")
    curve.hi, curve.hi_why = hi, why


def affordable(curve: Curve, ask: Ask, balances: Mapping[str, Decimal]) -> tuple[str, int]:
    """The asset that is given, and the quantity that its balance pays for, fee in.

    A buy gives quote, a sell base; a perpetual takes its settlement asset both ways (leverage 1).
    A rebate pays for nothing: it comes afterwards.
    """
    pair, scales, cost = curve.book.instrument.pair, ask.scales, curve.charge
    one = 10**scales.fee
    if ask.sign > 0 or pair.settle:
        asset = pair.settle or pair.quote
        rate = one if curve.fee_in_base else one + max(0, curve.sign * (cost.quote - one))
        have = scaled(balances.get(asset, _NONE), scales.notional + scales.fee, up=False)
        return asset, curve.most_for(have // rate)
    rate = max(one, cost.base)
    have = scaled(balances.get(pair.base, _NONE), scales.qty + scales.fee, up=False)
    return pair.base, have // rate


_NONE = Decimal(0)


def _floor(curve: Curve, ask: Ask) -> str:
    """Set `lo`; what stands against taking anything at all, "" if nothing."""
    of, lot = curve.book.instrument, curve.lot
    least = max(of.min_qty * 10 ** (ask.scales.qty - of.qty_decimals), lot)
    if of.min_notional:
        floor = scaled(of.min_notional, ask.scales.notional, up=True)
        worth = curve.least_for(floor)
        least = max(least, curve.hi + 1 if worth is None else worth)
    curve.lo = least + -least % lot
    return "" if curve.lo <= curve.hi else _too_small(curve, ask)


def _too_small(curve: Curve, ask: Ask) -> str:
    """What its cap falls short of."""
    of, whose = curve.book.instrument, curve.hi_why or "the order"
    if whose.startswith("no "):
        return whose
    if not curve.hi:
        return f"{whose} is less than its lot {plain(of.qty_decimal(of.lot))}"
    if curve.hi < of.min_qty * 10 ** (ask.scales.qty - of.qty_decimals):
        return f"{whose} is below its minimum quantity {plain(of.qty_decimal(of.min_qty))}"
    return f"{whose} is below its minimum notional {plain(of.min_notional)}"
