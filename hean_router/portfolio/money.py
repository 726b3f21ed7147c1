"""How money is counted here: sums and products are exact or an error; quotients are rounded."""

from collections.abc import Iterable, Mapping
from decimal import (
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    Inexact,
    InvalidOperation,
    Overflow,
)
from typing import TypeAlias

ZERO = Decimal(0)
COST_UNIT = Decimal("1E-24")  # of quote: the only rounding in the ledger, and it cancels out

_FAULTS = [InvalidOperation, DivisionByZero, Overflow]
# Raises `Inexact` rather than round: the default context would do so silently at 28 digits.
EXACT = Context(prec=400, rounding=ROUND_HALF_EVEN, traps=[Inexact, *_FAULTS])
PRECISE = Context(prec=28, rounding=ROUND_HALF_EVEN, traps=_FAULTS)  # for quotients that are shown
_WIDE = Context(prec=100, rounding=ROUND_HALF_EVEN, traps=_FAULTS)

# By symbol as ccxt spells it: mid price in quote, and when it was seen, our clock.
Marks: TypeAlias = Mapping[str, tuple[Decimal, int]]


def total(numbers: Iterable[Decimal]) -> Decimal:
    """Their exact sum; 0 of none.

    >>> total([Decimal("1E+20"), Decimal("1E-20")])
    Decimal('100000000000000000000.00000000000000000001')
    """
    out = ZERO
    for number in numbers:
        out = EXACT.add(out, number)
    return out


def add_to(sums: dict[str, Decimal], name: str, number: Decimal) -> None:
    """Add `number` to what stands under `name`; exact."""
    sums[name] = EXACT.add(sums.get(name, ZERO), number)


def part_of(whole: Decimal, share: Decimal, of: Decimal) -> Decimal:
    """`whole` × `share` / `of`, to a unit of 1e-24, half to even.

    >>> part_of(Decimal(10), Decimal(1), Decimal(3))
    Decimal('3.333333333333333333333333')
    """
    return _WIDE.quantize(_WIDE.divide(EXACT.multiply(whole, share), of), COST_UNIT)
