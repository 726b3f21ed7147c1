"""The gap rule and what a book may be read as."""

import pytest

from hean_router.book import Book, BookState
from hean_router.domain.errors import Desync, NotLive
from hean_router.domain.feed import Delta, Snapshot
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId

BTC = Instrument(
    venue=VenueId("x"), pair=Pair("BTC", "USDT"), symbol="BTCUSDT", px_decimals=0, qty_decimals=0
)


def standing_at_100(*, fetched=False):
    book = Book(BTC)
    book.snapshot(Snapshot(BTC, [(10, 1)], [(12, 1)], seq=100, fetched=fetched), 0)
    return book


def delta(prev_seq, seq, bids=(), asks=()):
    return Delta(BTC, bids, asks, seq=seq, prev_seq=prev_seq)


@pytest.mark.parametrize(
    ("prev_seq", "seq", "streamed", "fetched"),
    [  # the book stands at 100; True applied, False rightly passed over
        (100, 105, True, True),  # the next one
        (100, 100, True, True),  # OKX's sign of life
        (100, 3, True, True),  # OKX's reset: it builds on us, so it counts
        (90, 95, Desync, False),  # old: only behind a fetched snapshot may it be under way still
        (90, 100, Desync, False),
        (95, 105, Desync, True),  # straddles: behind a fetched snapshot it is applied once
        (101, 105, Desync, Desync),  # one is missing
        (200, 205, Desync, Desync),
        (1, 2, Desync, False),  # the first after a lost reset: a streamed book must notice
    ],
)
def test_builds_on(prev_seq, seq, streamed, fetched):
    for outcome, book in ((streamed, standing_at_100()), (fetched, standing_at_100(fetched=True))):
        if outcome is Desync:
            with pytest.raises(Desync):
                book.delta(delta(prev_seq, seq, [(10, 5)]), 1)
            assert book.bids.qty_at(10) == 1
        else:
            assert book.delta(delta(prev_seq, seq, [(10, 5)]), 1) is outcome
            assert book.bids.qty_at(10) == (5 if outcome else 1)
            assert book.seq == (seq if outcome else 100)


def test_an_exact_repeat_of_the_last_message_is_passed_over():
    book = standing_at_100()
    assert book.delta(delta(100, 105, [(10, 5)]), 1)
    assert book.delta(delta(100, 105, [(10, 5)]), 2) is False
    with pytest.raises(Desync):  # the same numbers, other words: altered
        book.delta(delta(100, 105, [(10, 6)]), 3)


def test_once_an_event_has_been_applied_nothing_old_is_forgiven():
    book = standing_at_100(fetched=True)
    assert book.delta(delta(95, 105), 1)
    with pytest.raises(Desync):
        book.delta(delta(90, 95), 2)


def test_without_a_sequence_every_delta_builds_on_the_book():
    book = Book(BTC, depth=2)
    book.snapshot(Snapshot(BTC, [(10, 1)], [(12, 1)], seq=None), 0)
    assert book.delta(Delta(BTC, [(9, 1), (8, 1)], [(13, 1)], seq=None, prev_seq=None), 1)
    assert list(book.bids) == [(10, 1), (9, 1)]  # cut to the depth, as Kraken wants it


def test_only_a_live_book_can_be_read():
    book = standing_at_100()
    assert book.live is None
    assert book.enter(BookState.LIVE, "whole", 1)
    reader = book.live
    assert reader.best(Side.BUY) == (12, 1)
    assert reader.best(Side.SELL) == (10, 1)
    for state in (BookState.SYNCING, BookState.STALE, BookState.CROSSED, BookState.LOST):
        book.enter(BookState.LIVE, "whole", 2)
        reader = book.live
        book.enter(state, "why", 3)
        assert book.live is None
        reads = [
            lambda r: r.best(Side.BUY),
            lambda r: r.facing(Side.BUY),
            lambda r: r.bids(1),
            lambda r: r.asks(1),
            lambda r: (r.version, r.seq),
            lambda r: r.seq,
            lambda r: r.sent_ns,
            lambda r: r.changed_ns,
            lambda r: r.confirmed_ns,
        ]
        for read in reads:
            with pytest.raises(NotLive):
                read(reader)
        assert not reader.usable


def test_a_reader_does_not_come_back_to_life():
    book = standing_at_100()
    book.enter(BookState.LIVE, "whole", 1)
    old = book.live
    book.enter(BookState.LOST, "gap", 2)
    book.enter(BookState.LIVE, "whole", 3)
    assert book.live is not old
    with pytest.raises(NotLive):
        old.best(Side.BUY)


@pytest.mark.parametrize(
    ("bid", "ask", "crossed"),
    [(10, 12, False), (12, 12, True), (13, 12, True), (None, 12, False), (10, None, False)],
)
def test_crossed_or_locked(bid, ask, crossed):
    book = Book(BTC)
    bids, asks = ([(px, 1)] if px else [] for px in (bid, ask))
    book.snapshot(Snapshot(BTC, bids, asks, seq=1), 0)
    assert book.crossed is crossed


@pytest.mark.parametrize(
    ("levels", "window", "known"),
    [
        (3, 0, 1 << 30),  # not asked for in part: all of it is known
        (3, 5, 1 << 30),  # asked for five, three came: there are no more
        (5, 5, 5),  # asked for five, five came: there may be more beyond
    ],
)
def test_how_much_of_a_fetched_book_is_known(levels, window, known):
    book = Book(BTC)
    bids = [(100 - i, 1) for i in range(levels)]
    asks = [(101 + i, 1) for i in range(levels)]
    book.snapshot(Snapshot(BTC, bids, asks, seq=1, fetched=True, window=window), 0)
    assert book.within_window() == known
    book.delta(delta(1, 2, bids=[(100, 0), (99, 0)]), 1)
    assert book.within_window() == (known - 2 if known < 100 else known)


def test_check_finds_a_readable_book_that_is_not_live():
    book = standing_at_100()
    book.enter(BookState.LIVE, "whole", 1)
    book.check()
    book.state = BookState.LOST  # a bug that goes around `enter`
    with pytest.raises(AssertionError):
        book.check()
