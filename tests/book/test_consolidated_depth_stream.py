"""A client that follows the stream has the view exactly, whatever is lost on the way."""

from decimal import Decimal
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from hean_router.book import (
    Book,
    BookState,
    ConsolidatedBook,
    DepthDelta,
    DepthFeed,
    DepthFollower,
    DepthSnapshot,
    Took,
    depth_message,
)
from hean_router.domain.errors import CommandError, NotLive
from hean_router.domain.feed import Snapshot
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.scale import plain
from hean_router.domain.venue import FeeIn, Fees

BTC = Pair.parse("BTC/USDT")
NAMES = ("a", "b", "c")
LEVELS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 4)), max_size=4)


def listing(venue: str, decimals: int) -> Instrument:
    return Instrument(
        venue=VenueId(venue), pair=BTC, symbol="X", px_decimals=decimals, qty_decimals=decimals
    )


def tier(fee: int, fee_in: FeeIn) -> Fees:
    return Fees(taker=Decimal(fee) / 1000, maker=Decimal(0), fee_in=fee_in)


def view_of(view: ConsolidatedBook, side: Side, depth: int) -> list[tuple[str, str, str]]:
    levels = islice(view.priced(side), depth or None)
    return [(plain(one.price), plain(one.quantity), one.venue) for one in levels]


class Streaming(RuleBasedStateMachine):
    """Books move, die and recover; the wire loses, repeats and delays; clients come and go."""

    @initialize(depth=st.sampled_from([0, 1, 3]))
    def begin(self, depth):
        self.depth, self.now = depth, 0
        self.view = ConsolidatedBook(BTC)
        self.books = {}
        for name in NAMES:
            self.list_anew(name, 0, 1, FeeIn.QUOTE)
        self.feed = DepthFeed(self.view, "one", depth)
        self.faithful, self.lossy = DepthFollower("BTC/USDT"), DepthFollower("BTC/USDT")
        self.kept = []  # sent to the lossy client, not delivered yet
        self.true = None  # the view as it was when published last

    @rule(
        name=st.sampled_from(NAMES),
        decimals=st.integers(0, 2),
        fee=st.integers(-2, 3),
        fee_in=st.sampled_from(FeeIn),
    )
    def list_anew(self, name, decimals, fee, fee_in):
        self.books[name] = Book(listing(name, decimals))
        self.view.add(self.books[name], tier(fee, fee_in))

    @rule(name=st.sampled_from(NAMES), bids=LEVELS, asks=LEVELS)
    def move(self, name, bids, asks):
        self.now += 1
        book = self.books[name]
        book.snapshot(Snapshot(book.instrument, bids, asks, seq=self.now), self.now)
        book.enter(BookState.CROSSED if book.crossed else BookState.LIVE, "", self.now)

    @rule(name=st.sampled_from(NAMES), px=st.integers(1, 30), qty=st.integers(0, 4))
    def nudge(self, name, px, qty):
        book = self.books[name]
        if book.state is BookState.LIVE and book.asks.best_px():
            book.asks.apply([(book.asks.best_px() + px, qty)])
            book.version += 1

    @rule(name=st.sampled_from(NAMES))
    def lose(self, name):
        self.books[name].enter(BookState.LOST, "gap", self.now)

    @rule(name=st.sampled_from(NAMES))
    def delist(self, name):
        self.view.remove(VenueId(name), "delisted")

    @rule(heartbeat=st.booleans())
    def publish(self, heartbeat):
        self.view.check()
        message = self.feed.poll(heartbeat=heartbeat)
        self.true = (
            view_of(self.view, Side.SELL, self.depth),
            view_of(self.view, Side.BUY, self.depth),
            dict(self.view.left_out()),
        )
        if message is not None:
            message = depth_message(message.to_json())  # as over a wire
            assert self.faithful.take(message) is Took.APPLIED
            self.kept.append(message)
        else:
            assert not heartbeat

    @rule(data=st.data())
    def deliver(self, data):
        """The lossy wire: any waiting message, dropped, repeated, or out of order."""
        if self.kept:
            at = data.draw(st.integers(0, len(self.kept) - 1))
            self.lossy.take(self.kept[at])
            del self.kept[: data.draw(st.integers(0, at + 1))]

    @rule()
    def recover(self):
        """The lossy client notices and asks; then all that is under way arrives in order."""
        if self.true is None:
            return
        for message in self.kept:
            self.lossy.take(message)
        self.kept.clear()
        if self.lossy.needs_snapshot or self.lossy.version != self.faithful.version:
            # A loss at the very end shows with the next message only; asking is always allowed.
            assert self.lossy.take(self.feed.snapshot()) is Took.APPLIED
        assert (self.lossy.bids(), self.lossy.asks(), self.lossy.left_out) == self.true

    @rule()
    def join_late(self):
        if self.true is not None:
            late = DepthFollower("BTC/USDT")
            late.take(self.feed.snapshot())
            assert (late.bids(), late.asks(), late.left_out) == self.true
            assert late.version == self.faithful.version
            assert late.venues == self.faithful.venues

    @invariant()
    def the_client_that_lost_nothing_has_it_all(self):
        if getattr(self, "true", None) is not None:
            mine = (self.faithful.bids(), self.faithful.asks(), dict(self.faithful.left_out))
            assert mine == self.true

    @invariant()
    def a_client_at_the_same_version_has_the_same_view(self):
        lossy = getattr(self, "lossy", None)
        readable = lossy is not None and not lossy.needs_snapshot
        if readable and lossy.version == self.faithful.version:
            assert lossy.bids() == self.faithful.bids()
            assert lossy.asks() == self.faithful.asks()


Streaming.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestStreaming = Streaming.TestCase


def start() -> tuple[Book, DepthFeed, DepthFollower]:
    book, view = Book(listing("a", 1)), ConsolidatedBook(BTC)
    view.add(book, tier(1, FeeIn.QUOTE))
    move(book, 100)
    feed, client = DepthFeed(view, "one", depth=2), DepthFollower("BTC/USDT")
    first = feed.poll()
    assert isinstance(first, DepthSnapshot)
    assert client.take(first) is Took.APPLIED
    return book, feed, client


def move(book: Book, px: int) -> None:
    book.snapshot(Snapshot(book.instrument, [(px - 1, 5)], [(px, 5), (px + 1, 6)], seq=px), px)
    book.enter(BookState.LIVE, "", px)


def test_a_gap_is_said_and_the_copy_cannot_be_read_until_a_snapshot():
    book, feed, client = start()
    move(book, 101)
    assert feed.poll() is not None  # lost on the way
    move(book, 102)
    late = feed.poll()
    assert isinstance(late, DepthDelta)
    assert client.take(late) is Took.GAP
    assert client.needs_snapshot
    with pytest.raises(NotLive):
        client.asks()
    assert client.take(late) is Took.GAP
    assert client.take(feed.snapshot()) is Took.APPLIED
    assert client.asks() == [("10.2", "0.5", "a"), ("10.3", "0.6", "a")]
    assert client.take(late) is Took.OLD


def test_a_restarted_feed_is_a_gap_even_where_its_versions_fit():
    book, feed, client = start()
    move(book, 101)
    message = feed.poll()
    assert isinstance(message, DepthDelta)
    stranger = depth_message({**message.to_json(), "epoch": "two"})
    assert client.take(stranger) is Took.GAP


def test_what_nobody_sees_is_not_sent():
    book, feed, _ = start()
    assert feed.poll() is None
    book.asks.apply([(900, 1)])  # beyond two levels
    book.version += 1
    assert feed.poll() is None


def test_a_heartbeat_refreshes_ages_and_nothing_else():
    book, feed, client = start()
    book.confirmed_ns = 999
    message = feed.poll(heartbeat=True)
    assert message is not None
    version = client.version
    assert client.take(message) is Took.APPLIED
    assert (client.venues["a"].seen_ns, client.version) == (999, version)


def test_messages_are_read_strictly():
    with pytest.raises(CommandError):
        depth_message({"type": "delta", "version": 1})
    _, feed, _ = start()
    with pytest.raises(CommandError):
        DepthFollower("ETH/USDT").take(feed.snapshot())


@given(st.integers(1, 5))
def test_depth_cuts_both_sides(depth):
    book, view = Book(listing("a", 0)), ConsolidatedBook(BTC)
    view.add(book, tier(0, FeeIn.QUOTE))
    book.snapshot(Snapshot(book.instrument, [(px, 1) for px in range(1, 9)], [(9, 1)], seq=1), 1)
    book.enter(BookState.LIVE, "", 1)
    snapshot = DepthFeed(view, "one", depth).snapshot()
    assert len(snapshot.bids) == depth
    assert snapshot.bids[0] == ("8", "1", "a")
