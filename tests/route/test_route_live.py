"""The router reads LIVE books and no others, and says what it left out."""

from decimal import Decimal

import pytest

from hean_router.book import Book, BookState, ConsolidatedBook
from hean_router.domain.errors import NotLive
from hean_router.domain.feed import Snapshot
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.venue import FeeIn, Fees
from hean_router.route import ParentOrder, live_books, plan
from hean_router.route.live import venue_book

BTC = Pair.parse("BTC/USDT")
TIER = Fees(taker=Decimal("0.001"), maker=Decimal(0), fee_in=FeeIn.RECEIVED)


def book_of(venue: str, px: int) -> Book:
    of = Instrument(venue=VenueId(venue), pair=BTC, symbol="X", px_decimals=1, qty_decimals=3)
    book = Book(of)
    asks = [(px + i, 1000) for i in range(20)]
    bids = [(px - 1 - i, 1000) for i in range(20)]
    book.snapshot(Snapshot(of, bids, asks, seq=1), 1)
    book.enter(BookState.LIVE, "", 1)
    return book


def view_of(*books: Book) -> ConsolidatedBook:
    view = ConsolidatedBook(BTC)
    for book in books:
        view.add(book, TIER)
    return view


def route(view: ConsolidatedBook, side: str, qty: str):
    order = ParentOrder.parse("BTC/USDT", side, qty)
    return plan(order, live_books(view, order), None, view.fees())


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_plan_from_live_books_is_the_sweep_of_the_consolidated_book(side):
    view = view_of(book_of("a", 1000), book_of("b", 1002))
    result = route(view, side, "7.5")
    sweep = view.price_for_size(Side(side), Decimal("7.5"))
    assert {child.venue: child.qty for child in result.children} == sweep.venues
    assert (result.quote, result.net_qty) == (sweep.quote, sweep.net_qty)


@pytest.mark.parametrize("state", [one for one in BookState if one is not BookState.LIVE])
def test_a_book_that_is_not_live_gets_nothing_and_is_named(state):
    good, bad = book_of("a", 1000), book_of("b", 900)
    view = view_of(good, bad)
    assert [child.venue for child in route(view, "buy", "1").children] == ["b"]
    bad.enter(state, "the reason", 2)
    result = route(view, "buy", "1")
    assert [child.venue for child in result.children] == ["a"]
    assert result.venues["b"] == f"not live: {state.value}, the reason"


def test_a_revoked_book_cannot_be_read_by_the_router():
    book = book_of("a", 1000)
    live = book.live
    assert live is not None
    book.enter(BookState.STALE, "no news", 2)
    with pytest.raises(NotLive):
        venue_book(live, Side.BUY, Decimal(1))


def test_levels_are_read_no_deeper_than_the_order():
    view = view_of(book_of("a", 1000))
    order = ParentOrder.parse("BTC/USDT", "buy", "2.5")
    (book,) = live_books(view, order)
    assert len(book.asks) == 4  # three to fill it, one to say what the next would cost
    assert book.bids == ()


def test_without_any_live_book_everything_stays():
    book = book_of("a", 1000)
    view = view_of(book)
    book.enter(BookState.LOST, "gap", 2)
    result = route(view, "buy", "1")
    assert result.unallocated == 1
    assert "a: not live: lost, gap" in result.unallocated_reason
