"""Small sums about orders that several parts of the engine do."""

from decimal import ROUND_FLOOR, Decimal

from hean_router.book.sweep import EXACT, scaled
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.scale import ceil_to, floor_to
from hean_router.domain.venue import FeeIn, Fees

BPS = Decimal(10_000)


def pays_quote(fees: Fees, side: Side) -> bool:
    """Whether the fee of a fill on `side` is taken in the quote."""
    return fees.fee_in is FeeIn.QUOTE or (fees.fee_in is FeeIn.RECEIVED and side is Side.SELL)


def spends(pair: Pair, side: Side) -> str:
    """The asset that an order on `side` gives."""
    return pair.quote if side is Side.BUY else pair.base


def reserve_of(side: Side, qty: Decimal, px: Decimal, fees: Fees) -> Decimal:
    """Worst case of what an order gives, fee in: quote for a buy, base for a sell; exact."""
    fee = max(Decimal(0), fees.taker, fees.maker)
    given = EXACT.multiply(qty, px) if side is Side.BUY else qty
    in_given = pays_quote(fees, side) if side is Side.BUY else fees.fee_in is FeeIn.BASE
    return EXACT.multiply(given, EXACT.add(Decimal(1), fee)) if in_given else given


def collared(mid: Decimal, side: Side, bps: int) -> Decimal:
    """The worst price that a market order may pay: `bps` beyond the mid; 28 digits."""
    way = bps if side is Side.BUY else -bps
    return mid * (BPS + way) / BPS


def tick_px(of: Instrument, px: Decimal, side: Side) -> int:
    """`px` on the tick, never worse than said: down for a buy, up for a sell."""
    if side is Side.BUY:
        return floor_to(scaled(px, of.px_decimals, up=False), of.tick)
    return ceil_to(scaled(px, of.px_decimals, up=True), of.tick)


def lot_qty(of: Instrument, qty: Decimal) -> int:
    """`qty` on the lot, rounded down; no more than the venue takes at once."""
    found = floor_to(scaled(qty, of.qty_decimals, up=False), of.lot)
    return found if of.max_qty is None else min(found, floor_to(of.max_qty, of.lot))


def qty_for(of: Instrument, money: Decimal, px: Decimal) -> int:
    """Units of quantity that `money` of the quote pays for at `px`, on the lot, rounded down.

    No fee; `px` above 0.
    """
    if money <= 0:
        return 0
    return floor_to(int(EXACT.divide_int(EXACT.scaleb(money, of.qty_decimals), px)), of.lot)


def smallest(of: Instrument, px: Decimal) -> Decimal:
    """The least that `of` takes at `px`: its minimum quantity and notional, on the lot."""
    least = max(of.min_qty, of.lot)
    if of.min_notional and px > 0:
        least = max(least, scaled(of.min_notional / px, of.qty_decimals, up=True))
    return of.qty_decimal(ceil_to(least, of.lot))


def fits(of: Instrument, qty: int, px: Decimal) -> str:
    """Why the venue would refuse that size at that price; empty if it would not."""
    if qty <= 0 or qty < of.min_qty:
        return f"below its minimum of {of.qty_decimal(max(of.min_qty, of.lot))}"
    notional = EXACT.multiply(of.qty_decimal(qty), px)
    if notional < of.min_notional:
        return f"worth less than its minimum of {of.min_notional}"
    if of.max_notional is not None and notional > of.max_notional:
        return f"worth more than its maximum of {of.max_notional}"
    least, most = of.px_decimal(of.px_min), of.px_max
    if px < least or (most is not None and px > of.px_decimal(most)):
        return f"at {px}, outside the prices it takes"
    return ""


def floored(qty: Decimal, decimals: int) -> Decimal:
    """`qty` with so many decimals, rounded down."""
    return qty.quantize(Decimal(1).scaleb(-decimals), ROUND_FLOOR, EXACT)
