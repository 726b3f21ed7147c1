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
from hean_router.domain.instrument import Part, Side, Trading
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
    the quantity and the notional of the first `i` levels.  These lists are in the instrument's own
    units, `px_mul` and `qty_mul` away from the plan's; everything else is on the plan's scales.
    `lo` and `hi` are multiples of `lot`: 0 or lo..hi may be taken.  `hi_why` says what `hi` comes
    from.
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
        "px",
        "px_behind",
        "px_mul",
        "qty_mul",
        "rise",
        "sign",
        "worth",
    )

    px: Sequence[int]
    rise: Sequence[int]
    cum: Sequence[int]
    worth: Sequence[int]

    def __init__(self, ask: "Ask", book: VenueBook, fees: Fees) -> None:
        of, side, scales = book.instrument, ask.order.side, ask.scales
        part = Part.LINEAR if of.pair.settle else Part.SPOT
        self.book, self.fees, self.sign = book, fees, ask.sign
        self.charge: Charge = charge(fees, side, part, scales.fee)
        self.fee_in_base = fee_in_base(fees.fee_in, side, part)
        self.px_mul: int = 10 ** (scales.px - of.px_decimals)
        self.qty_mul: int = 10 ** (scales.qty - of.qty_decimals)
        self.px_behind: int | None = None  # of the level behind the last one read
        self.lot = of.lot * self.qty_mul
        self.lo = self.hi = 0
        self.hi_why = ""

    @property
    def depth(self) -> int:
        """Quantity of all levels read."""
        return self.cum[-1] * self.qty_mul

    @property
    def best_px(self) -> int:
        """Price of the first level, on the plan's scale."""
        return self.px[0] * self.px_mul

    @property
    def first_qty(self) -> int:
        """Quantity of the first level, on the plan's scale."""
        return self.cum[1] * self.qty_mul

    def reached(self, qty: int) -> int:
        """The level that the unit `qty` is taken from; -1 for none."""
        return bisect_left(self.cum, -(-qty // self.qty_mul)) - 1

    def reaching(self, qty: int) -> int:
        """The level that the unit after `qty` would be taken from; one too many if none is left."""
        return bisect_right(self.cum, qty // self.qty_mul) - 1

    def notional(self, qty: int) -> int:
        """Price × quantity of the first `qty` units."""
        level = self.reached(qty)
        if level < 0:
            return 0
        full = self.worth[level] * self.px_mul * self.qty_mul
        return full + (qty - self.cum[level] * self.qty_mul) * self.px[level] * self.px_mul

    def quote(self, qty: int) -> int:
        """Quote paid or got for the first `qty` units, quote fee in (scale: notional and fee)."""
        return self.notional(qty) * self.charge.quote

    def most_for(self, notional: int) -> int:
        """Largest quantity that is not worth more than `notional`."""
        unit = self.px_mul * self.qty_mul
        level = bisect_right(self.worth, notional // unit) - 1
        full = self.cum[level] * self.qty_mul
        if level == len(self.px):
            return full
        return full + (notional - self.worth[level] * unit) // (self.px[level] * self.px_mul)

    def least_for(self, notional: int) -> int | None:
        """Smallest quantity worth at least `notional`; None if the levels are not."""
        unit = self.px_mul * self.qty_mul
        level = bisect_left(self.worth, -(-notional // unit)) - 1
        if level == len(self.px):
            return None
        if level < 0:
            return 0
        missing = notional - self.worth[level] * unit
        return self.cum[level] * self.qty_mul - (-missing // (self.px[level] * self.px_mul))

    def worst_px(self, qty: int) -> int:
        """Price of the level that the unit `qty` is taken from; `qty` is not 0."""
        return self.px[self.reached(qty)] * self.px_mul

    def after(self, qty: int) -> int | None:
        """Price at which the next unit would be taken, None when the levels are used up."""
        level = self.reaching(qty)
        px = self.px[level] if level < len(self.px) else self.px_behind
        return None if px is None else px * self.px_mul


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
    of, side = book.instrument, ask.order.side
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
    _cap(curve, ask, balances)
    curve.hi -= curve.hi % curve.lot
    return _floor(curve, ask) or curve


def _load(curve: Curve, ask: Ask, levels: Sequence[Level]) -> bool:
    """Read the levels within the limit, no deeper than the order; False if there are none."""
    prices, sizes = zip(*levels, strict=True)
    of = curve.book.instrument
    within = len(prices)
    if ask.order.limit_px is not None or of.px_min or of.px_max is not None:
        within = _within(curve, ask, prices)
    cum = list(accumulate(sizes if within == len(sizes) else sizes[:within], initial=0))
    used = min(bisect_left(cum, -(-ask.qty // curve.qty_mul)), within)
    if not used:
        return False
    if used < within:
        curve.px_behind = prices[used]
    if used < len(prices):
        prices, cum = prices[:used], cum[: used + 1]
    curve.px, curve.cum = prices, cum
    curve.worth = list(accumulate(map(mul, prices, sizes), initial=0))
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
    of, hi, why, depth = curve.book.instrument, ask.qty, "", curve.depth
    if ask.share is not None and ask.share < hi:
        hi, why = ask.share, "its largest share of the order"
    if of.max_qty is not None and of.max_qty * curve.qty_mul < hi:
        hi = of.max_qty * curve.qty_mul
        why = f"its maximum of {plain(of.qty_decimal(of.max_qty))} an order"
    if of.max_notional is not None:
        most = curve.most_for(scaled(of.max_notional, ask.scales.notional, up=False))
        if most < hi and most < depth:
            hi, why = most, f"its maximum notional of {plain(of.max_notional)} an order"
    if balances is not None:
        asset, most = affordable(curve, ask, balances)
        if (most < hi and most < depth) or not most:
            hi, have = most, balances.get(asset)
            why = f"what its balance of {plain(have)} {asset} pays for" if have else _no(asset)
    if depth < hi:
        limited = ask.order.limit_px is not None
        hi, why = depth, "all its depth" + (" within the limit" if limited else "")
    curve.hi, curve.hi_why = hi, why


def _no(asset: str) -> str:
    return f"no {asset} balance"


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
    least = max(of.min_qty * curve.qty_mul, lot)
    if of.min_notional:
        floor = scaled(of.min_notional, ask.scales.notional, up=True)
        worth = curve.least_for(floor)
        least = max(least, curve.hi + 1 if worth is None else worth)
    curve.lo = least + -least % lot
    return "" if curve.lo <= curve.hi else _too_small(curve)


def _too_small(curve: Curve) -> str:
    """What its cap falls short of."""
    of, whose = curve.book.instrument, curve.hi_why or "the order"
    if whose.startswith("no "):
        return whose
    if not curve.hi:
        return f"{whose} is less than its lot {plain(of.qty_decimal(of.lot))}"
    if curve.hi < of.min_qty * curve.qty_mul:
        return f"{whose} is below its minimum quantity {plain(of.qty_decimal(of.min_qty))}"
    return f"{whose} is below its minimum notional {plain(of.min_notional)}"
