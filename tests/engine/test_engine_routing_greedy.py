"""The plain router that plans are compared with, against one too simple to be wrong."""

from decimal import Context, Decimal

from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.venue import FeeIn, Fees
from hean_router.engine.money import pays_quote
from hean_router.engine.routing import greedy_px
from hean_router.route import VenueBook

WIDE = Context(prec=200)
PRECISE = Context(prec=28)


def simple(books, side, qty, fees):
    """Level by level, cheapest as displayed first, ties by venue name; in decimals throughout."""
    buying = side is Side.BUY
    levels = [
        (one.instrument.px_decimal(px) * (1 if buying else -1), one.venue,
         one.instrument.qty_decimal(size))
        for one in books
        for px, size in (one.asks if buying else one.bids)
    ]  # fmt: skip
    left, quote, net = qty, Decimal(0), Decimal(0)
    for px, venue, size in sorted(levels):
        take = min(left, size)
        fee = fees[venue].taker if buying else -fees[venue].taker
        worth = WIDE.multiply(take, abs(px))
        if pays_quote(fees[venue], side):
            quote, net = WIDE.add(quote, WIDE.multiply(worth, 1 + fee)), net + take
        else:
            quote, net = WIDE.add(quote, worth), WIDE.add(net, WIDE.multiply(take, 1 - fee))
        left -= take
        if not left:
            return PRECISE.divide(quote, net)
    return None


@st.composite
def markets(draw):
    """Up to four venues on grids of their own; a side may be empty."""
    books, fees = [], {}
    for name in draw(st.lists(st.sampled_from("abcd"), min_size=1, unique=True)):
        px_decimals, qty_decimals = draw(st.integers(0, 3)), draw(st.integers(1, 4))
        of = Instrument(
            venue=VenueId(name), pair=Pair("BTC", "USDT"), symbol="x",
            px_decimals=px_decimals, qty_decimals=qty_decimals,
        )  # fmt: skip
        one = 10**px_decimals
        sizes = st.integers(1, 3 * 10**qty_decimals)
        asks = draw(st.dictionaries(st.integers(100 * one, 110 * one), sizes, max_size=5))
        bids = draw(st.dictionaries(st.integers(90 * one, 99 * one), sizes, max_size=5))
        books.append(
            VenueBook(of, bids=sorted(bids.items(), reverse=True), asks=sorted(asks.items()))
        )
        fees[of.venue] = Fees(
            taker=Decimal(draw(st.integers(-20, 300))) / 100_000,
            maker=Decimal(0),
            fee_in=draw(st.sampled_from(FeeIn)),
        )
    return books, fees


@given(markets(), st.sampled_from(Side), st.integers(1, 200))
def test_greedy_takes_what_is_displayed_cheapest(market, side, tenths):
    books, fees = market
    qty = Decimal(tenths) / 10
    assert greedy_px(books, side, qty, fees) == simple(books, side, qty, fees)
