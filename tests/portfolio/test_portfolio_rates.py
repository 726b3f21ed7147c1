"""Rates: the fewest books, named, as old as the oldest; nothing is ever taken as 1."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.instrument import Pair
from hean_router.portfolio import rates

D = Decimal


def mids(**books):
    """BTC_USDT=(60000, 5)"""
    return {Pair(*name.split("_")): (D(px), at_ns) for name, (px, at_ns) in books.items()}


@pytest.mark.parametrize(
    ("books", "asset", "px", "at_ns", "via"),
    [
        ({}, "USD", "1", 100, ""),  # needs no book, is never old
        ({}, "USDT", None, 0, ""),  # a stablecoin is no dollar
        ({"BTC_USD": (60000, 5)}, "BTC", "60000", 5, "BTC/USD"),
        ({"USD_JPY": (200, 5)}, "JPY", "0.005", 5, "USD/JPY"),  # inverse
        # Two books: as old as the older.
        (
            {"BTC_USDT": (60000, 5), "USDT_USD": ("0.999", 4)},
            "BTC", "59940", 4, "BTC/USDT USDT/USD",
        ),
        # The straight way wins over the better known one.
        (
            {"BTC_USD": (1, 1), "BTC_USDT": (60000, 5), "USDT_USD": (1, 5)},
            "BTC", "1", 1, "BTC/USD",
        ),
        # Equally far: the books' names decide, whatever the order in which they came.
        (
            {"X_USDT": (3, 9), "USDT_USD": (1, 9), "X_EUR": (2, 9), "EUR_USD": (1, 9)},
            "X", "2", 9, "X/EUR EUR/USD",
        ),
        ({"BTC_USD": (0, 5)}, "BTC", None, 0, ""),  # no price
        ({"BTC_USD": ("NaN", 5)}, "BTC", None, 0, ""),
    ],
)  # fmt: skip
def test_a_rate(books, asset, px, at_ns, via):
    found = rates(mids(**books), now_ns=100).get(asset)
    if px is None:
        assert found is None
    else:
        assert (found.px, found.at_ns, found.via) == (D(px), at_ns, via)


def test_perpetuals_are_no_conversion():
    assert set(rates({Pair("BTC", "USD", "USD"): (D(1), 1)}, now_ns=1)) == {"USD"}


def test_a_young_way_round_is_taken_before_an_old_straight_one_and_the_old_before_none():
    books = mids(BTC_USD=(1, 1), BTC_USDT=(60000, 90), USDT_USD=(1, 95), ETH_USD=(7, 2))
    found = rates(books, now_ns=100, max_age_ns=20)
    assert (found["BTC"].via, found["BTC"].at_ns) == ("BTC/USDT USDT/USD", 90)
    assert (found["ETH"].px, found["ETH"].at_ns) == (7, 2)


NAMES = ["USD", "USDT", "BTC", "ETH", "EUR"]
books = st.dictionaries(
    st.sampled_from([Pair(a, b) for a, b in permutations(NAMES, 2)]),
    st.tuples(st.decimals("0.0001", "99999", places=4), st.integers(1, 99)),
    max_size=8,
)


def naive(known, asset):
    """Every way there is, tried."""
    ways = []
    others = [name for name in NAMES if name not in {asset, "USD"}]
    for length in range(len(others) + 1):
        for stops in permutations(others, length):
            chain = [asset, *stops, "USD"]
            options = [()]
            for here, there in pairwise(chain):
                step = [p for p in (Pair(here, there), Pair(there, here)) if p in known]
                options = [(*way, pair) for way in options for pair in step]
            ways += [(way, chain) for way in options]
    if not ways:
        return None
    way, chain = min(ways, key=lambda one: (len(one[0]), [str(pair) for pair in one[0]]))
    px = Fraction(1)
    for pair, here in zip(way, chain, strict=False):
        mid = Fraction(known[pair][0])
        px *= mid if pair.base == here else 1 / mid
    return px, min(known[pair][1] for pair in way), " ".join(map(str, way))


@given(books)
def test_rates_agree_with_trying_every_way(known):
    found = rates(known, now_ns=100)
    assert found.pop("USD").px == 1
    for asset in NAMES[1:]:
        expected = naive(known, asset)
        assert (asset in found) == (expected is not None)
        if expected is not None:
            px, at_ns, via = expected
            rate = found[asset]
            assert (rate.at_ns, rate.via) == (at_ns, via)
            assert abs(Fraction(rate.px) / px - 1) <= Fraction(1, 10**27)
