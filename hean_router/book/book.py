"""One venue's book of one instrument, and when to trust it."""

from collections.abc import Iterator
from enum import Enum

from hean_router.book.twin import Ladder
from hean_router.domain.errors import Desync, NotLive
from hean_router.domain.feed import Delta, Level, Snapshot
from hean_router.domain.instrument import Instrument, Side


class BookState(Enum):
    """Whether a book may be used; only LIVE may."""

    SYNCING = "syncing"  # asked for, not whole yet
    LIVE = "live"
    STALE = "stale"  # whole, but nothing has proved lately that it is current
    CROSSED = "crossed"  # whole, but its best bid meets its best ask: quarantined
    LOST = "lost"  # its proof failed, or its source is gone


class LiveBook:
    """A book that may be read: the only way to its levels.

    Handed out by `Book` while it is LIVE and revoked when it stops being so; a reader who kept it
    gets `NotLive`, never an old price.
    """

    __slots__ = ("_book", "instrument")

    def __init__(self, book: "Book") -> None:
        self._book: Book | None = book
        self.instrument = book.instrument

    def _held(self) -> "Book":
        if self._book is None:
            raise NotLive(f"{self.instrument.venue} {self.instrument.pair}: book is not live")
        return self._book

    def revoke(self) -> None:
        """From now on every read raises `NotLive`."""
        self._book = None

    @property
    def usable(self) -> bool:
        """Whether it may still be read."""
        return self._book is not None

    @property
    def version(self) -> int:
        """Rises with every change; a decision records the versions it saw."""
        return self._held().version

    @property
    def seq(self) -> int | None:
        """The venue's sequence number, None where integrity is a checksum."""
        return self._held().seq

    @property
    def sent_ns(self) -> int:
        """Venue's clock at the last change, 0 where it does not say."""
        return self._held().sent_ns

    @property
    def changed_ns(self) -> int:
        """Our clock at the last message that concerned it."""
        return self._held().changed_ns

    @property
    def confirmed_ns(self) -> int:
        """Our clock when something last proved it current: a change, a probe, a second stream."""
        return self._held().confirmed_ns

    def best(self, side: Side) -> Level | None:
        """What an order on `side` would meet first: the best ask for a buy."""
        if (book := self._book) is None:
            book = self._held()
        return book.asks.best() if side is Side.BUY else book.bids.best()

    def facing(self, side: Side) -> Iterator[Level]:
        """Levels that an order on `side` would meet, best first, lazily.

        Raises `NotLive` where the book has changed since: half of one and half of another is none.
        """
        return self._walk(self._held(), side)

    def _walk(self, book: "Book", side: Side) -> Iterator[Level]:
        version = book.version
        for level in book.asks if side is Side.BUY else book.bids:
            yield level
            if book.version != version or self._book is None:
                self._held()
                raise NotLive(f"{self.instrument.venue} {self.instrument.pair}: changed while read")

    def bids(self, depth: int) -> list[Level]:
        """The best `depth` bids, best first."""
        return self._held().bids.top(depth)

    def asks(self, depth: int) -> list[Level]:
        """The best `depth` asks, best first."""
        return self._held().asks.top(depth)


class Book:
    """Ladders, sequence and state.  Says itself when it must not be trusted; knows no venue.

    The gap rule: a delta applies if it builds on exactly where the book stands.  Anything else is
    a `Desync`, with two exceptions: an exact repeat of the last message, and, behind a *fetched*
    snapshot, events that end at or before it (dropped) or straddle it (applied once).  "Old news"
    in general is no exception: after a reset that we missed every later delta would look old and
    the book would be silently dead.
    """

    __slots__ = (
        "_draining",
        "_last",
        "asks",
        "bids",
        "changed_ns",
        "confirmed_ns",
        "depth",
        "instrument",
        "live",
        "reason",
        "sent_ns",
        "seq",
        "since_ns",
        "state",
        "version",
        "window",
    )

    def __init__(self, instrument: Instrument, depth: int = 0) -> None:
        self.instrument = instrument
        self.depth = depth  # cut to it after every message; 0 = the venue removes levels itself
        self.bids, self.asks = Ladder(bids=True), Ladder(bids=False)
        self.state, self.reason = BookState.SYNCING, "not asked for yet"
        self.seq: int | None = None
        self.version = 0
        self.sent_ns = self.changed_ns = self.confirmed_ns = self.since_ns = 0
        self.window: tuple[int, int] | None = None  # worst bid and ask a fetched book reached
        self.live: LiveBook | None = None
        self._last: Delta | None = None
        self._draining = False

    def enter(self, state: BookState, reason: str, now_ns: int) -> bool:
        """Go to `state`; True if that is a change.  Leaving LIVE revokes the `LiveBook`."""
        changed = state is not self.state
        if changed:
            self.since_ns = now_ns
        self.state, self.reason = state, reason
        if state is BookState.LIVE:
            if self.live is None:
                self.live = LiveBook(self)
        elif self.live is not None:
            self.live.revoke()
            self.live = None
        return changed

    def snapshot(self, new: Snapshot, now_ns: int) -> None:
        """Replace everything.  The caller verifies the checksum and sets the state."""
        if new.depth:
            self.depth = new.depth
        self.bids.replace(new.bids)
        self.asks.replace(new.asks)
        self.seq, self._last, self._draining = new.seq, None, new.fetched
        self.window = None
        if new.window:
            low = min((px for px, _ in new.bids), default=0) if len(new.bids) >= new.window else 0
            high = max((px for px, _ in new.asks), default=0) if len(new.asks) >= new.window else 0
            self.window = (low, high)
        self._moved(new.sent_ns, now_ns)

    def delta(self, new: Delta, now_ns: int) -> bool:
        """Apply `new`; False if it was rightly passed over.  Raises `Desync`."""
        if new.prev_seq != self.seq and not self._straddles(new):
            return False
        self.bids.apply(new.bids)
        self.asks.apply(new.asks)
        self.seq, self._last, self._draining = new.seq, new, False
        self._moved(new.sent_ns, now_ns)
        return True

    def _straddles(self, new: Delta) -> bool:
        """Whether a delta that does not build on `seq` may be applied; False passes it over."""
        last, seq, prev = self._last, new.seq, new.prev_seq
        assert self.seq is not None, "the book has a sequence or its deltas have none"
        assert seq is not None, "a delta names both its numbers or neither"
        assert prev is not None, "a delta names both its numbers or neither"
        if self._draining:
            if seq <= self.seq:
                return False
            if prev < self.seq:
                return True
        elif (
            last is not None
            and (seq, prev) == (last.seq, last.prev_seq)
            and list(new.bids) == list(last.bids)
            and list(new.asks) == list(last.asks)
        ):
            return False
        raise Desync(f"message {prev}..{seq} does not build on {self.seq}")

    def _moved(self, sent_ns: int, now_ns: int) -> None:
        if self.depth:
            self.bids.cut(self.depth)
            self.asks.cut(self.depth)
        self.version += 1
        if sent_ns:
            self.sent_ns = sent_ns
        self.changed_ns = self.confirmed_ns = now_ns

    @property
    def crossed(self) -> bool:
        """Whether the best bid meets the best ask; no venue shows that after a whole message."""
        bid, ask = self.bids.best_px(), self.asks.best_px()
        return bid is not None and ask is not None and bid >= ask

    @property
    def beyond_window(self) -> bool:
        """Whether the best bid or ask has left what a fetched snapshot vouches for.

        Then better levels may stand that were never told.
        """
        if self.window is None:
            return False
        low, high = self.window
        bid, ask = self.bids.best_px(), self.asks.best_px()
        return bool((low and (bid is None or bid < low)) or (high and (ask is None or ask > high)))

    def within_window(self) -> int:
        """Levels on the shorter side that a fetched snapshot vouches for; large where all are."""
        if self.window is None:
            return 1 << 30
        low, high = self.window
        return min(
            self.bids.better_than(low) if low else 1 << 30,
            self.asks.better_than(high) if high else 1 << 30,
        )

    def check(self) -> None:
        """Assert every invariant.  O(n log n); for tests."""
        self.bids.check()
        self.asks.check()
        assert (self.live is not None) == (self.state is BookState.LIVE), "live, or not live"
        assert self.live is None or not self.crossed, "a crossed book is readable"
