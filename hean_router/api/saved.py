"""What routing has saved: realised all-in averages against the decisions' alternatives."""

from collections.abc import Callable
from decimal import Decimal

from msgspec import Struct

from hean_router.api.stored import StoredChild, StoredParent
from hean_router.book.sweep import EXACT, PRECISE
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.record import Decided
from hean_router.oms import Child, Parent

ZERO = Decimal(0)


class Saved(Struct, frozen=True):
    """`quote` is positive when we did better; `bps` is of what the alternative would have been.

    None where there was no alternative, nothing has filled, or a fee was taken in an asset that is
    neither base nor quote.  `qty` is the base quantity, fees in, that was compared.
    """

    quote: Decimal | None
    bps: Decimal | None
    qty: Decimal


def saved(parent: Parent | StoredParent, against: Callable[[Decided], Decimal | None]) -> Saved:
    """Compare the fills of each round with that round's alternative, and add up.

    `against` is the alternative's all-in price per unit received or given.  Exact but for `bps`,
    which has 28 digits.
    """
    side, pair = parent.intent.side, parent.intent.pair
    prices = {one.round: px for one in parent.decisions if (px := against(one)) is not None}
    gain = other = units = ZERO
    for child in parent.children:
        px = prices.get(child.intended.round)
        if px is None or not child.filled:
            continue
        moved = _moved(child, pair, side)
        if moved is None:
            return Saved(None, None, ZERO)
        net, quote = moved
        worth = EXACT.multiply(px, net)
        better = EXACT.subtract(worth, quote)
        gain = EXACT.add(gain, better if side is Side.BUY else EXACT.minus(better))
        other, units = EXACT.add(other, worth), EXACT.add(units, net)
    if not units or not other:
        return Saved(None, None, ZERO)
    return Saved(gain, PRECISE.divide(EXACT.multiply(gain, Decimal(10_000)), other), units)


def _moved(child: Child | StoredChild, pair: Pair, side: Side) -> tuple[Decimal, Decimal] | None:
    """Base received or given and quote paid or got, fees in; None for a fee in a third asset."""
    if any(fee for asset, fee in child.fees.items() if asset not in {pair.base, pair.quote}):
        return None
    base, quote = child.fees.get(pair.base, ZERO), child.fees.get(pair.quote, ZERO)
    if side is Side.BUY:
        return EXACT.subtract(child.filled, base), EXACT.add(child.notional, quote)
    return EXACT.add(child.filled, base), EXACT.subtract(child.notional, quote)
