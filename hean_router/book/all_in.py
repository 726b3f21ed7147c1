"""What a taker fee does to a price, exactly.

A fee is taken from the quote side, from the base side, or from whatever is received.  So a fill of
one base unit at `px` moves `px × quote` of the quote asset and `1 × base` of the base asset, and
what compares across venues is their ratio: quote paid per unit that *arrives* (a buy), quote got
per unit that is *given* (a sell).

    side   fee in           quote    base     all-in price
    buy    quote            1 + f    1        px (1 + f)
    buy    base, received   1        1 - f    px / (1 - f)
    sell   quote, received  1 - f    1        px (1 - f)
    sell   base             1        1 + f    px / (1 + f)

Nothing is rounded: factors are counts of 10**-decimals, and ratios are compared over a common
multiple (`weights`).  A price rounded to ticks after the fee would make different fees equal.
"""

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from math import lcm

from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Part, Side
from hean_router.domain.scale import decimals_of, plain, to_scaled
from hean_router.domain.venue import FeeIn, Fees

FEE_DECIMALS = 8  # 1e-8 of notional: what venues quote fits; a finer fee raises the scale for all
FEE_DECIMALS_MAX = 18
FEE_MAX = Decimal("0.5")  # a "fee" at or beyond it is a percentage somebody forgot to divide


class Charge(Struct, frozen=True):
    """Quote and base that one unit moves, in 10**-decimals (see the table above)."""

    quote: int
    base: int
    decimals: int


_remembered = lru_cache(1_024)  # fees are few, and asked about at every plan


def check_fee(fee: Decimal, whose: str) -> None:
    """Raise `CommandError` unless `fee` is a fraction of notional that can be kept exactly."""
    if wrong := _wrong_with(fee):
        what, fix = wrong
        raise CommandError(f"{whose}: {what}", fix)


@_remembered
def _wrong_with(fee: Decimal) -> tuple[str, str] | None:
    if not fee.is_finite() or abs(fee) >= FEE_MAX:
        return f"a fee of {fee} is not a plausible fraction of notional", "write 0.1 % as 0.001"
    if decimals_of(fee) > FEE_DECIMALS_MAX:
        return f"a fee with more than {FEE_DECIMALS_MAX} decimals", "shorten the fee"
    return None


def fee_decimals(fees: Sequence[Decimal]) -> int:
    """Decimals on which all of `fees` are whole numbers; at least 8, so that most share a scale.

    >>> fee_decimals([Decimal("0.001")]), fee_decimals([Decimal("0.0000000005")])
    (8, 10)
    """
    return max(FEE_DECIMALS, *map(_decimals, fees)) if fees else FEE_DECIMALS


_decimals = _remembered(decimals_of)


@_remembered
def charge(fees: Fees, side: Side, part: Part, decimals: int) -> Charge:
    """The factors of a taker's fill on `side`; exact.

    A perpetual is charged in its settlement asset, which is its quote, whatever `fee_in` says.
    Raises `TooFine` if the fee has more than `decimals` decimals: ask `fee_decimals` first.

    >>> fees = Fees(taker=Decimal("0.001"), maker=Decimal(0), fee_in=FeeIn.RECEIVED)
    >>> charge(fees, Side.BUY, Part.SPOT, 8)
    Charge(quote=100000000, base=99900000, decimals=8)
    >>> charge(fees, Side.SELL, Part.SPOT, 8)
    Charge(quote=99900000, base=100000000, decimals=8)
    """
    one = 10**decimals
    fee = to_scaled(plain(abs(fees.taker)), decimals)
    if fees.taker < 0:
        fee = -fee
    buying = side is Side.BUY
    if fee_in_base(fees.fee_in, side, part):
        return Charge(one, one - fee if buying else one + fee, decimals)
    return Charge(one + fee if buying else one - fee, one, decimals)


def fee_in_base(fee_in: FeeIn, side: Side, part: Part) -> bool:
    """Whether the fee of a fill on `side` is taken in the base asset; else it is in quote."""
    if part is Part.LINEAR:
        return False
    return fee_in is FeeIn.BASE or (fee_in is FeeIn.RECEIVED and side is Side.BUY)


def weights(charges: Sequence[Charge]) -> tuple[list[int], int]:
    """Whole `(weights, unit)` such that all-in price = px × weight / unit for each charge.

    `px × weight` is the exact order key of DESIGN section 6 (`px × (10⁸ ± fee)` where every fee is
    in quote), carried over to fees in base by the least common multiple of their denominators.

    >>> weights([Charge(1001, 1000, 3), Charge(1000, 999, 3)])
    ([999999, 1000000], 999000)
    """
    unit = lcm(*(one.base for one in charges))
    return [one.quote * (unit // one.base) for one in charges], unit
