"""Decimal text and scaled integers, against `Decimal`, which is too well known to be wrong."""

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.scale import (
    Amounts,
    BelowZero,
    TooFine,
    amount,
    ceil_to,
    decimals_of,
    floor_to,
    plain,
    to_decimal,
    to_scaled,
    to_text,
)

numbers = st.integers(min_value=-(10**30), max_value=10**30)
scales = st.integers(min_value=0, max_value=18)


@given(st.integers(min_value=0, max_value=10**30), scales)
def test_text_comes_back(value, decimals):
    assert to_scaled(to_text(value, decimals), decimals) == value


@given(numbers, scales)
def test_text_is_the_number(value, decimals):
    assert Decimal(to_text(value, decimals)) == to_decimal(value, decimals)


@given(st.integers(min_value=0, max_value=10**20), scales, st.integers(min_value=0, max_value=6))
def test_a_finer_scale_holds_the_same_number(value, decimals, more):
    text = to_text(value, decimals)
    assert to_scaled(text, decimals + more) == value * 10**more


@pytest.mark.parametrize(
    ("text", "decimals", "outcome"),
    [
        ("1.50", 1, 15),  # zeros beyond the scale say nothing
        ("1.55", 1, TooFine),  # a digit beyond it does: our rules are out of date
        ("0.00000001", 8, 1),
        ("00.5", 1, 5),  # odd, but a plain decimal
        ("", 2, ValueError),
        (".5", 2, ValueError),  # no venue writes it; one that does has changed its protocol
        ("5.", 2, ValueError),
        ("-1", 2, BelowZero),  # a negative price or quantity is damage
        ("-1.5", 2, BelowZero),
        ("-1.5.", 2, ValueError),
        ("-", 2, ValueError),
        ("+1", 2, ValueError),
        ("1e5", 2, ValueError),
        ("1_000", 2, ValueError),  # int() alone would take it
        (" 1", 2, ValueError),  # and this
        ("1 ", 2, ValueError),
        ("١", 0, ValueError),  # an Arabic one: int() would take it too
        ("1.٢", 1, ValueError),
        ("1..2", 2, ValueError),
        ("NaN", 2, ValueError),
        ("Infinity", 2, ValueError),
    ],
)
def test_what_is_a_plain_decimal(text, decimals, outcome):
    if isinstance(outcome, int):
        assert to_scaled(text, decimals) == outcome
    else:
        with pytest.raises(outcome):
            to_scaled(text, decimals)


@given(numbers, st.integers(min_value=1, max_value=10**9))
def test_rounding_has_a_direction(value, step):
    low, high = floor_to(value, step), ceil_to(value, step)
    assert low <= value <= high
    assert low % step == high % step == 0
    assert value - low < step
    assert high - value < step


@given(st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=-(10**12)))
def test_plain_is_the_same_number_without_ornament(number):
    text = plain(number)
    assert Decimal(text) == number
    assert "e" not in text.lower()
    assert "." not in text or text[-1] not in ".0"


@given(numbers, scales)
def test_decimals_of_is_the_least_that_holds_the_number(value, decimals):
    number, exact = to_decimal(value, decimals), Fraction(value, 10**decimals)
    least = decimals_of(number)
    assert least <= decimals
    assert (exact * 10**least).denominator == 1
    assert least == 0 or (exact * 10 ** (least - 1)).denominator != 1


AMOUNTS = [  # what a venue says of a balance or a fee, and what it is
    ("-0.10", Decimal("-0.10"), "either sign"),
    ("0", Decimal(0), "nothing"),
    ("1E-8", Decimal("1E-8"), "some spell small ones so"),
    ("9" * 40, Decimal("9" * 40), "as much as there is"),
    ("NaN", None, "it spoils whatever it meets"),
    ("sNaN", None, "or stops it"),
    ("-Infinity", None, "no end"),
    ("1E+40", None, "more than there is"),
    ("1E-41", None, "less than anybody counts"),
    ("1E+999999", None, "a million digits to work with"),
    ("", None, "nothing said"),
    ("x", None, "no number"),
]


@pytest.mark.parametrize(("said", "expected", "why"), AMOUNTS)
def test_an_amount_is_a_number_of_this_world(said, expected, why):
    class Message(Amounts):
        fee: Decimal
        asset: str = ""

    if expected is not None:
        assert amount(said) == expected, why
        assert msgspec.convert({"fee": said}, Message).fee == expected, why
        return
    with pytest.raises(ValueError, match=r"amount|finite|number"):
        amount(said)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"fee": said}, Message)
