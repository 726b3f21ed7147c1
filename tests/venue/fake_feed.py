"""A venue that says what a test puts into its mouth, and a session that hears it."""

from collections.abc import Sequence
from random import Random

from hean_router.book import BookState
from hean_router.domain.feed import Delta, FeedEvent, Snapshot, Top, Trade
from hean_router.domain.instrument import Instrument, Pair, Part, Side, VenueId
from hean_router.domain.venue import RateLimit, VenueSpec
from hean_router.venue import FeedSession, Policy
from hean_router.venue.contract import FeedCodec, Frame
from hean_router.venue.feed_events import (
    MS,
    SECOND,
    BookMoved,
    Drop,
    FetchBook,
    ProbeTop,
    Send,
    StateChanged,
)

START = 1_700_000_000 * SECOND
LIVE, STALE, LOST = BookState.LIVE, BookState.STALE, BookState.LOST
SYNCING, CROSSED = BookState.SYNCING, BookState.CROSSED


def listed(base: str) -> Instrument:
    pair = Pair(base, "USD")
    return Instrument(
        venue=VenueId("fake"), pair=pair, symbol=f"{base}USD", px_decimals=0, qty_decimals=0
    )


A, B = listed("AAA"), listed("BBB")
SIDES = {"bids": [(10, 1), (9, 1)], "asks": [(12, 1), (13, 1)]}


def spec(**facts) -> VenueSpec:
    return VenueSpec(
        **{
            "id": VenueId("fake"),
            "name": "Fake",
            "parts": frozenset({Part.SPOT}),
            "hosts": {},
            "fees": {},
            "rest_limits": {},
            "connects": RateLimit(1, 1_000),
            "frames": RateLimit(100, 1_000),
            "topics_max": 100,
            "ping_every_ms": 0,
            "silence_ms": 0,
        }
        | facts
    )


class FakeCodec(FeedCodec):
    """Frames are numbers of what was put in; anything else is malformed."""

    def __init__(self, *, fetches: bool = False, window_min: int = 0, chunk: int = 50) -> None:
        self.fetches, self.window_min, self.chunk = fetches, window_min, chunk
        self.said: dict[bytes, Sequence[FeedEvent] | Exception] = {}

    def frame(self, *events: FeedEvent) -> bytes:
        data = b"frame %d" % len(self.said)
        self.said[data] = events
        return data

    def broken(self, fault: Exception, text: str = "") -> bytes:
        data = f"broken {len(self.said)} {text}".encode()
        self.said[data] = fault
        return data

    def decode(self, data: bytes) -> Sequence[FeedEvent]:
        what = self.said[data]
        if isinstance(what, Exception):
            raise what
        return what

    def about(self, data: bytes) -> Instrument | None:
        named = [each for each in (A, B) if each.symbol.encode() in data]
        return named[0] if len(named) == 1 else None

    def subscribe(self, instruments: Sequence[Instrument]) -> Sequence[Frame]:
        some = [instruments[at : at + self.chunk] for at in range(0, len(instruments), self.chunk)]
        return [Frame(" ".join(["sub", *(i.symbol for i in chunk)]).encode()) for chunk in some]

    def resubscribe(self, instrument: Instrument) -> Sequence[Frame]:
        symbol = instrument.symbol.encode()
        return [Frame(b"off " + symbol), Frame(b"on " + symbol)]

    def ping(self) -> Frame:
        return Frame(b"ping", cost=0)

    def checksum(self, book) -> int:
        """Sum of the best prices: wrong as soon as the top is."""
        return (book.bids.best_px() or 0) + (book.asks.best_px() or 0)


class Rig:
    """A session with a clock of its own; everything it says is kept."""

    def __init__(self, instruments=(A,), policy=None, seed=1, codec=None, facts=None, **kinds):
        self.codec = codec or FakeCodec(**kinds)
        self.rng = Random(seed)
        self.session = FeedSession(
            spec(**(facts or {})), self.codec, list(instruments), self.rng, policy or Policy()
        )
        self.now = START
        self.events: list[object] = []
        self.commands: list[tuple[int, object]] = []
        self.deaf = False  # whether probes and fetches stay unanswered
        self.note(self.session.opened(self.now))

    # ------------------------------------------------------------------ in

    def note(self, events):
        self.events += events
        self.commands += [(self.now, command) for command in self.session.take()]
        for instrument in self.session.instruments:
            self.session.book(instrument).check()
        return list(events)

    def hear(self, *events, after_s=0.0):
        self.now += round(after_s * SECOND)
        return self.note(self.session.received(self.codec.frame(*events), self.now))

    def hear_broken(self, fault=None, text=""):
        data = self.codec.broken(fault or ValueError("nonsense"), text)
        return self.note(self.session.received(data, self.now))

    def wait(self, seconds, *, until=None):
        """Let time pass, looking at the timers as often as the session wants; `until` stops it."""
        end = self.now + round(seconds * SECOND)
        while self.session.wake_at_ns <= end:
            self.now = max(self.now, self.session.wake_at_ns)
            self.note(self.session.due(self.now))
            if until is not None and until():
                return self.now
        self.now = end
        return self.now

    def sleep(self, seconds):
        """Let time pass without looking."""
        self.now += round(seconds * SECOND)

    def fetched(self, **facts):
        return self.note(self.session.fetched(snapshot(fetched=True, **facts), self.now))

    def failed(self, instrument=A, why="503"):
        return self.note(self.session.failed(instrument, why, self.now))

    def probed(self, bid=10, ask=12, instrument=A):
        return self.note(self.session.probed(top(bid, ask, instrument), self.now))

    def probe_failed(self, instrument=A, why="503"):
        return self.note(self.session.probe_failed(instrument, why, self.now))

    def close(self, reason="cut"):
        return self.note(self.session.closed(reason, self.now))

    # ------------------------------------------------------------------ out

    def state(self, instrument=A):
        return self.session.book(instrument).state

    def counts(self, instrument=A):
        return self.session.book_counts(instrument)

    def changes(self, instrument=A):
        told = (e for e in self.events if isinstance(e, StateChanged))
        return [change for change in told if change.instrument is instrument]

    def states(self, instrument=A):
        return [change.new for change in self.changes(instrument)]

    def moves(self, instrument=A):
        return [e for e in self.events if isinstance(e, BookMoved) and e.instrument is instrument]

    def sent(self):
        return [c.frame.data.decode() for _, c in self.commands if isinstance(c, Send)]

    def count(self, kind, instrument=None):
        return len(self.times(kind, instrument))

    def times(self, kind, instrument=None):
        return [
            at
            for at, c in self.commands
            if isinstance(c, kind) and (instrument is None or c.instrument is instrument)
        ]

    def asks(self, instrument=A):
        """When the book was asked for (after the first subscription of a streamed one)."""
        if self.codec.fetches:
            return self.times(FetchBook, instrument)
        on = f"on {instrument.symbol}".encode()
        return [at for at, c in self.commands if isinstance(c, Send) and c.frame.data == on]

    def drops(self):
        return [c.reason for _, c in self.commands if isinstance(c, Drop)]

    def probes(self, instrument=A):
        return self.times(ProbeTop, instrument)


def snapshot(seq=100, instrument=A, **facts) -> Snapshot:
    return Snapshot(**({"instrument": instrument, "seq": seq} | SIDES | facts))


def delta(prev_seq, seq, bids=((10, 5),), asks=(), instrument=A, **facts) -> Delta:
    return Delta(instrument, list(bids), list(asks), seq, prev_seq, **facts)


def top(bid=10, ask=12, instrument=A, sent_ns=0) -> Top:
    return Top(instrument, bid and (bid, 1), ask and (ask, 1), sent_ns)


def trade(instrument=A) -> Trade:
    return Trade(instrument, 10, 1, Side.BUY, START)


def levels(book):
    return list(book.bids), list(book.asks)


def live_streamed(**facts) -> Rig:
    rig = Rig(**facts)
    rig.hear(snapshot())
    assert rig.state() is LIVE
    return rig


def live_fetched(**facts) -> Rig:
    rig = Rig(fetches=True, **facts)
    rig.hear(delta(95, 99))
    rig.fetched()
    assert rig.state() is LIVE
    return rig


__all__ = ["MS", "SECOND"]
