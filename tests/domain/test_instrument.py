"""Pairs as ccxt spells them; instruments and their units."""

import sys
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import _MEMO_MAX, Digits, Instrument, Pair, Part, VenueId
from hean_router.domain.scale import TooFine, to_scaled


def instrument(**changes):
    facts = {
        "venue": VenueId("okx"),
        "pair": Pair("BTC", "USDT", "USDT"),
        "symbol": "BTC-USDT-SWAP",
        "px_decimals": 1,
        "qty_decimals": 4,
        "contract_size": Decimal("0.01"),
    }
    return Instrument(**{**facts, **changes})


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("BTC/USDT", Pair("BTC", "USDT")),
        ("btc/usdt", Pair("BTC", "USDT")),  # people type it so
        ("BTC/USDT:USDT", Pair("BTC", "USDT", "USDT")),
        ("BTC/USD:BTC-220527", Pair("BTC", "USD", "BTC-220527")),  # a dated future, as ccxt has it
        ("1000SATS/USDT", Pair("1000SATS", "USDT")),
    ],
)
def test_symbols_are_read_as_ccxt_writes_them(text, pair):
    assert Pair.parse(text) == pair
    assert Pair.parse(str(pair)) == pair


@pytest.mark.parametrize("text", ["", "BTCUSDT", "BTC-USDT", "BTC/", "/USDT", "A/B/C", "BTC/US DT"])
def test_what_is_no_symbol_says_how_to_write_one(text):
    with pytest.raises(CommandError) as caught:
        Pair.parse(text)
    assert "BTC/USDT" in caught.value.fix


def test_a_perpetual_is_another_market():
    assert Pair.parse("BTC/USDT").part is Part.SPOT
    assert Pair.parse("BTC/USDT:USDT").part is Part.LINEAR


@pytest.mark.parametrize(
    ("contract_size", "qty_decimals", "text", "qty"),
    [
        ("0.01", 4, "12.34", 1234),  # 0.1234 BTC
        ("1", 2, "12.34", 1234),  # spot: what is written is base
        ("10", 1, "1.5", 150),  # 15.0 base
        ("1000", 0, "3", 3000),  # a contract of a thousand
        ("0.001", 3, "7", 7),
    ],
)
def test_contracts_become_base_when_read(contract_size, qty_decimals, text, qty):
    found = instrument(contract_size=Decimal(contract_size), qty_decimals=qty_decimals)
    assert found.qty(text) == qty
    assert found.qty_decimal(qty) == Decimal(text) * Decimal(contract_size)


def test_a_scale_that_hides_the_contract_size_is_a_bug():
    with pytest.raises(AssertionError):
        instrument(contract_size=Decimal("0.001"), qty_decimals=2)


def test_a_finer_price_than_the_rules_allow_is_an_error():
    with pytest.raises(TooFine):
        instrument().px("61800.25")


def test_the_memo_is_bounded_and_never_remembers_a_fault(monkeypatch):
    monkeypatch.setattr("hean_router.domain.instrument._MEMO_MAX", 3)
    digits = Digits(1)
    for value in range(10):
        assert digits[f"{value}.5"] == value * 10 + 5
        assert len(digits) <= 3
    with pytest.raises(ValueError, match="not a plain decimal"):
        digits["x"]
    assert "x" not in digits


def test_the_memos_of_four_hundred_columns_fit_into_a_quarter_of_a_gigabyte():
    """A soak found them: quantities that never come again were kept by the ten thousand."""
    digits = Digits(8)
    largest = 0
    for value in range(3 * _MEMO_MAX):
        digits[f"{value}.12345678"]
        if len(digits) == _MEMO_MAX:
            texts = sum(sys.getsizeof(text) + sys.getsizeof(px) for text, px in digits.items())
            largest = max(largest, sys.getsizeof(digits) + texts)
    assert 0 < largest < 256_000_000 / 400


def read(convert, text):
    try:
        return convert(text)
    except ValueError as fault:
        return type(fault), str(fault)


@given(st.text("0123456789.-+_ e\u0665", max_size=12), st.integers(0, 9), st.integers(1, 200))
@example("1.50", 2, 1)
@example("1.500", 2, 1)
@example("1.501", 2, 1)
@example("7", 3, 10)
@example(".5", 1, 1)
@example("5.", 1, 1)
@example("1.\u0665", 1, 1)
def test_digits_reads_what_to_scaled_reads(text, decimals, factor):
    """Its shorter way for usual texts is no other way."""
    digits = Digits(decimals, factor)
    assert read(digits.__getitem__, text) == read(
        lambda text: to_scaled(text, decimals) * factor, text
    )
    assert list(digits) == ([text] if isinstance(read(digits.get, text), int) else [])
