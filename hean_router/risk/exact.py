"""Sums and products of money without rounding: every entry of this package runs within `exactly`.

Python rounds decimals to 28 digits unless told otherwise; a reservation must come back to zero.
"""

from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal, getcontext, setcontext
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

ZERO = Decimal(0)
ONE = Decimal(1)
_PREC = 400  # no sum or product of money reaches it; quotients are rounded by the functions below
_UP = Context(prec=40, rounding=ROUND_CEILING)
_DOWN = Context(prec=40, rounding=ROUND_FLOOR)
_CENT = Decimal("1E-8")


def exactly(work: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run `work` in a context that rounds no sum and no product."""
    context = Context(prec=_PREC)

    @wraps(work)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        before = getcontext()
        setcontext(context)
        try:
            return work(*args, **kwargs)
        finally:
            setcontext(before)

    return inside


def share_up(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    """`whole` x `part` / `of`, rounded up in the 40th digit; exact at both ends.

    >>> share_up(Decimal(10), Decimal(1), Decimal(4))
    Decimal('2.5')
    """
    if not part:
        return ZERO
    return whole if part == of else _UP.divide(whole * part, of)


def share_down(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    """`whole` x `part` / `of`, rounded down in the 40th digit."""
    return _DOWN.divide(whole * part, of)


def money_up(amount: Decimal) -> Decimal:
    """`amount` rounded up to 1E-8, so that what is stored stays short."""
    return amount.quantize(_CENT, ROUND_CEILING)
