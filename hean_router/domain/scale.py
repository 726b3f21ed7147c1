"""Decimal text <-> scaled integer.  Rounding has a direction in its name; excess digits are errors.

>>> to_scaled("65114.20", 2), to_scaled("0.00100000", 5), to_text(6511420, 2)
(6511420, 100, '65114.20')
"""

from decimal import Decimal, InvalidOperation
from typing import Final

from msgspec import Struct

DIGITS_MAX: Final = 40  # before the point and behind it, of any amount that there is


class BelowZero(ValueError):
    """A price or a quantity with a minus sign: a message that is whole, and that lies."""


class TooFine(ValueError):
    """A number has more decimals than its scale: the rules we hold are out of date."""


def amount(said: object) -> Decimal:
    """What a venue says of a balance, a fee or a rate: finite, of either sign, exact.

    Raises `ValueError` on what is no number, and on one of more than 40 digits either way.

    >>> amount("-0.10")
    Decimal('-0.10')
    """
    try:
        number = Decimal(str(said))
    except InvalidOperation:
        raise ValueError(f"not a number: {str(said)[:40]!r}") from None
    return _of_this_world(number)


def _of_this_world(number: Decimal) -> Decimal:
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int):  # NaN, or without an end: each spoils whatever it meets
        raise ValueError(f"not finite: {number}")
    if exponent < -DIGITS_MAX or number.adjusted() >= DIGITS_MAX:
        raise ValueError(f"no amount that there is: {number:.3E}")
    return number


class Amounts(Struct):
    """A message whose decimals are held to what `amount` is."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if isinstance(one := getattr(self, name), Decimal):
                _of_this_world(one)


def to_scaled(text: str, decimals: int) -> int:
    """Count of 10**-`decimals` in plain decimal `text`; exact.

    Signs, exponents, blanks and a bare dot raise `ValueError`: no venue sends them for a price or
    a quantity; `BelowZero` what would be one but for its minus.  Non-zero digits beyond `decimals`
    raise `TooFine`.

    >>> to_scaled("1.5", 0)
    Traceback (most recent call last):
    hean_router.domain.scale.TooFine: 1.5 has more than 0 decimals
    """
    whole, dot, part = text.partition(".")
    digits = whole + part
    # Both are asked: other alphabets have decimal digits too.
    if not (whole and (part or not dot) and digits.isdecimal() and digits.isascii()):
        bare = text[1:].replace(".", "", 1)
        if text[:1] == "-" and bare.isdecimal() and bare.isascii():
            raise BelowZero(f"{text[:40]} is below zero")
        raise ValueError(f"not a plain decimal: {text[:40]!r}")
    missing = decimals - len(part)
    if missing >= 0:
        factor: int = 10**missing
        return int(digits) * factor
    if part[decimals:].strip("0"):
        raise TooFine(f"{text} has more than {decimals} decimals")
    return int(whole + part[:decimals])


def to_text(value: int, decimals: int) -> str:
    """Plain decimal text of `value` x 10**-`decimals`, with exactly that many decimals.

    >>> to_text(-5, 2), to_text(7, 0)
    ('-0.05', '7')
    """
    if not decimals:
        return str(value)
    digits = str(abs(value)).rjust(decimals + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-decimals]}.{digits[-decimals:]}"


def to_decimal(value: int, decimals: int) -> Decimal:
    """The same number as a `Decimal`; exact.

    >>> to_decimal(6511420, 2)
    Decimal('65114.20')
    """
    # From text, which no context rounds; `scaleb` would round to 28 digits.
    return Decimal(f"{value}E-{decimals}")


def plain(number: Decimal) -> str:
    """Plain decimal text without exponent and trailing zeros, for people and for our own JSON.

    >>> plain(Decimal("65114.20")), plain(Decimal("1E+2")), plain(Decimal("0.00"))
    ('65114.2', '100', '0')
    """
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def decimals_of(number: Decimal) -> int:
    """Decimals that `number` needs; trailing zeros do not count.

    >>> decimals_of(Decimal("0.0100")), decimals_of(Decimal("5E+1"))
    (2, 0)
    """
    assert number.is_finite(), "not a finite number"
    # Over the text: `normalize` would first round to the context's 28 digits.
    return len(plain(number).partition(".")[2])


def floor_to(value: int, step: int) -> int:
    """Largest multiple of `step` at or below `value`.

    >>> floor_to(17, 5), floor_to(-1, 5)
    (15, -5)
    """
    return value // step * step


def ceil_to(value: int, step: int) -> int:
    """Smallest multiple of `step` at or above `value`.

    >>> ceil_to(17, 5), ceil_to(15, 5)
    (20, 15)
    """
    return -(-value // step) * step
