"""The checker is checked: each bug, planted on purpose, is caught by the trials that found none."""

from collections.abc import Callable

import pytest

from connectors.binance.feed import Feed as BinanceFeed
from connectors.bybit.feed import Feed as BybitFeed
from connectors.kraken.feed import Feed as KrakenFeed
from hean_router.book import Book, BookState
from hean_router.domain.feed import Delta
from hean_router.venue import FeedSession
from tests.integrity.harness import FalseAlarm, Missed, storm
from tests.integrity.streams import LINEAR, SPOT, simulated

pytestmark = pytest.mark.slow  # make test is a user's command; check-all runs these

_straddles, _snapshot, _delta, _moved = Book._straddles, Book.snapshot, Book.delta, Book._moved
_enter, _lose = Book.enter, FeedSession._lose
_on_malformed, _on_fetched = FeedSession._on_malformed, FeedSession._on_fetched


def gap_rule_off(patch):
    """Every change is applied, whatever it builds on."""
    patch.setattr(Book, "_straddles", lambda *_: True)


def old_news_forgiven(patch):
    """What lies behind is passed over: after a lost reset the book is dead and says nothing."""

    def forgiving(book, new):
        return False if new.seq <= book.seq else _straddles(book, new)

    patch.setattr(Book, "_straddles", forgiving)


def draining_never_ends(patch):
    """Behind a fetched snapshot old events are forgiven for ever, and holes straddled."""

    def delta(book, new, now_ns):
        draining = book._draining
        applied = _delta(book, new, now_ns)
        book._draining = draining
        return applied

    patch.setattr(Book, "delta", delta)


def repeats_are_gaps(patch):
    """An exact repeat is taken for a break."""

    def unforgiving(book, new):
        book._last = None
        return _straddles(book, new)

    patch.setattr(Book, "_straddles", unforgiving)


def truncation_off(patch):
    """Levels that fall off the end stay, and come back as ghosts."""

    def moved(book, sent_ns, now_ns):
        depth, book.depth = book.depth, 0
        _moved(book, sent_ns, now_ns)
        book.depth = depth

    patch.setattr(Book, "_moved", moved)


def checksum_ignored(patch):
    patch.setattr(FeedSession, "_digest_holds", lambda *_: True)


def snapshot_merged(patch):
    """The new book is laid over the old one: ccxt/ccxt#29210."""

    def merged(book, new, now_ns):
        ghosts = list(book.bids), list(book.asks)
        _snapshot(book, new, now_ns)
        for side, old in zip((book.bids, book.asks), ghosts, strict=True):
            side.apply([level for level in old if not side.qty_at(level[0])])

    patch.setattr(Book, "snapshot", merged)


def quantities_added(patch):
    """A level's new quantity is added to the old one."""

    def added(book, new, now_ns):
        def sums(side, levels):
            return [(px, qty and qty + side.qty_at(px)) for px, qty in levels]

        wrong = Delta(
            new.instrument, sums(book.bids, new.bids), sums(book.asks, new.asks),
            new.seq, new.prev_seq, new.sent_ns, new.checksum,
        )  # fmt: skip
        return _delta(book, wrong, now_ns)

    patch.setattr(Book, "delta", added)


def crossed_is_readable(patch):
    patch.setattr(Book, "crossed", False)


def broken_frames_are_passed_over(patch):
    def counted(session, data, fault, now_ns, events):
        session.counts.malformed += 1

    patch.setattr(FeedSession, "_on_malformed", counted)


def broken_frames_lose_another_book(patch):
    """Whose frame it was is guessed wrong."""

    def wrong(session, data, fault, now_ns, events):
        _on_malformed(session, b"", fault, now_ns, events)
        session._lose = lambda *_: None

    def about(codec, data):
        return list(codec._by_symbol.values())[-1]

    patch.setattr(BybitFeed, "about", about)


def a_lost_book_stays_readable(patch):
    """Its state says LOST, its reader reads on: thrasher-corp/gocryptotrader#2255."""

    def enter(book, state, reason, now_ns):
        if state in {BookState.LOST, BookState.SYNCING} and book.live is not None:
            changed = state is not book.state
            book.state, book.reason = state, reason
            return changed
        return _enter(book, state, reason, now_ns)

    patch.setattr(Book, "enter", enter)


def loss_noticed_one_frame_late(patch):
    """A gap is acted upon with the next frame only."""
    waiting = []

    def lose(session, slot, reason, now_ns, events):
        if "does not build" in reason and slot not in waiting:
            waiting.append(slot)
            return
        _lose(session, slot, reason, now_ns, events)
        waiting[:] = [other for other in waiting if other is not slot]

    patch.setattr(FeedSession, "_lose", lose)


def nobody_asks_again(patch):
    patch.setattr(FeedSession, "_plan_resync", lambda *_: None)


def backlog_forgotten(patch):
    """What came while the snapshot was under way is thrown away: bmoscon/cryptofeed#1016."""

    def fetched(session, slot, new, now_ns, events):
        slot.backlog.clear()
        _on_fetched(session, slot, new, now_ns, events)

    patch.setattr(FeedSession, "_on_fetched", fetched)


def any_age_is_good(patch):
    """A snapshot from a cache is laid under a backlog that does not link to it."""
    patch.setattr(FeedSession, "_is_old", lambda *_: False)


def reset_taken_for_a_change(patch):
    """Bybit's `u` of 1 under the type `delta` is read as a delta."""
    book = BybitFeed._book

    def misread(codec, frame, instrument):
        for event in book(codec, frame, instrument):
            if frame.type == "delta":
                yield Delta(instrument, event.bids, event.asks, event.seq, event.seq - 1)
            else:
                yield event

    patch.setattr(BybitFeed, "_book", misread)


def futures_read_as_spot(patch):
    """`pu` is not looked at."""
    depth = BinanceFeed._depth

    def misread(codec, event):
        event.pu = event.U - 1
        return depth(codec, event)

    patch.setattr(BinanceFeed, "_depth", misread)


def zeros_stripped(patch):
    """knowm/XChange#4571: trailing zeros are cut before the sum."""
    from zlib import crc32

    def checksum(codec, book):
        levels = book.asks.top(10) + book.bids.top(10)
        words = "".join(f"{px}{qty}".rstrip("0") for px, qty in levels)
        return crc32(words.encode())

    patch.setattr(KrakenFeed, "checksum", checksum)


STREAMS = {
    "binance": ("binance", SPOT),
    "binance linear": ("binance", LINEAR),
    "bybit": ("bybit", SPOT),
    "okx": ("okx", SPOT),
    "kraken": ("kraken", SPOT),
    "kraken depth 10": ("kraken", SPOT, 10),
}
CHAINS = ["binance", "binance linear", "bybit", "okx"]
ALL = [*CHAINS, "kraken", "kraken depth 10"]
BUGS: list[tuple[Callable, list[str]]] = [
    (gap_rule_off, CHAINS),
    (old_news_forgiven, CHAINS),
    (draining_never_ends, ["binance", "binance linear"]),
    (repeats_are_gaps, CHAINS),
    (truncation_off, ["kraken depth 10"]),
    (checksum_ignored, ["kraken", "kraken depth 10"]),
    (snapshot_merged, ALL),
    (quantities_added, ALL),
    (crossed_is_readable, CHAINS),  # at Kraken the checksum is quicker
    (broken_frames_are_passed_over, ALL),
    (broken_frames_lose_another_book, ["bybit"]),
    (a_lost_book_stays_readable, ALL),
    (loss_noticed_one_frame_late, CHAINS),
    (nobody_asks_again, ALL),
    (backlog_forgotten, ["binance", "binance linear"]),
    (any_age_is_good, ["binance", "binance linear"]),
    (reset_taken_for_a_change, ["bybit"]),
    (futures_read_as_spot, ["binance linear"]),
    (zeros_stripped, ["kraken", "kraken depth 10"]),
]


@pytest.mark.parametrize(
    ("bug", "where"),
    [pytest.param(bug, where, id=f"{bug.__name__} {where}") for bug, on in BUGS for where in on],
)
def test_a_planted_bug_is_caught(bug, where, monkeypatch):
    stream = simulated(*STREAMS[where])
    bug(monkeypatch)
    with pytest.raises((Missed, FalseAlarm)) as caught:
        storm(stream, 4_000, digits=True)
    assert "HEAN_INTEGRITY_SEED=" in caught.value.__notes__[-1]


@pytest.mark.parametrize("where", ALL)
def test_without_a_bug_the_same_trials_find_none(where):
    tally = storm(simulated(*STREAMS[where]), 4_000, digits=True)
    assert tally.kinds["digits"] > 300
