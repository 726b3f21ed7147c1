"""What goes in and out of a feed session: its waits, its commands, its events, its counts."""

from typing import TypeAlias

from msgspec import Struct

from hean_router.book import BookState, LiveBook
from hean_router.domain.feed import Notice, Trade
from hean_router.domain.instrument import Instrument
from hean_router.venue.contract import Frame

MS = 1_000_000
SECOND = 1_000 * MS


class Freshness(Struct, frozen=True, kw_only=True):
    """When a book that says nothing is doubted, and when it is given up.

    A book is *in doubt* when it has been silent four times longer than it usually is, within the
    two bounds; then its top is asked for.  A dead subscription on a live socket is therefore found
    within `doubt_max_ns` + 2 x `again_ns` + two round trips: 35 s at worst, 8 s where the book is
    lively.  A quiet book is confirmed by the same question and stays LIVE.
    """

    doubt_min_ns: int = 3 * SECOND
    doubt_max_ns: int = 30 * SECOND
    again_ns: int = 2 * SECOND  # between two questions; and how long a top may contradict the book
    stale_ns: int = 60 * SECOND  # nothing has proved it current, and nobody answers
    sync_ns: int = 10 * SECOND  # from asking to having the book
    crossed_ns: int = SECOND  # quarantine before it is asked for anew
    late_ns: int = 2 * SECOND  # behind the venue's clock; 0 = do not look (recorded time)
    stall_ns: int = 2 * SECOND  # we ourselves slept: what waits in the socket is old


class Policy(Struct, frozen=True, kw_only=True):
    """The waits of a session, each with jitter."""

    fresh: Freshness = Freshness()
    retry_ns: int = SECOND  # second attempt at a resync; doubles
    retry_max_ns: int = 60 * SECOND
    settle_ns: int = 30 * SECOND  # LIVE this long: the next resync starts from the first attempt


# ------------------------------------------------------------------------------ what comes out


class Send(Struct, frozen=True, eq=False):
    """Write this frame now."""

    frame: Frame


class FetchBook(Struct, frozen=True, eq=False):
    """Run `codec.snapshot(instrument)` and hand the result to `fetched` or `failed`."""

    instrument: Instrument


class ProbeTop(Struct, frozen=True, eq=False):
    """Run `codec.probe(instrument)` and hand the result to `probed` or `failed_probe`."""

    instrument: Instrument


class Drop(Struct, frozen=True, eq=False):
    """Close the connection: it cannot be trusted any more."""

    reason: str


class Relist(Struct, frozen=True, eq=False):
    """The instrument's rules have changed under us: ask for the list again."""

    instrument: Instrument


Command: TypeAlias = Send | FetchBook | ProbeTop | Drop | Relist


class BookMoved(Struct, frozen=True, eq=False):
    """A LIVE book has changed, or has become LIVE."""

    instrument: Instrument
    book: LiveBook


class StateChanged(Struct, frozen=True, eq=False):
    """A book went from one state to another, and why."""

    instrument: Instrument
    old: BookState
    new: BookState
    reason: str
    at_ns: int


SessionEvent: TypeAlias = BookMoved | StateChanged | Trade | Notice


class Counts(Struct):
    """Plain integers that only rise; read when somebody scrapes."""

    def add(self, other: "Counts") -> None:
        """Add what another of the same kind has counted."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class BookCounts(Counts):
    """What happened to one book."""

    snapshots: int = 0
    deltas: int = 0  # all seen, those older than the snapshot too
    trades: int = 0
    tops: int = 0
    passed_over: int = 0  # repeats, and events older than a fetched snapshot
    early: int = 0  # deltas for a book that waits for its snapshot
    gaps: int = 0
    checksums_ok: int = 0
    checksums_bad: int = 0
    crossed: int = 0
    resyncs: int = 0


class SessionCounts(Counts):
    """What happened on one connection."""

    frames: int = 0
    bytes: int = 0
    malformed: int = 0
    notices: int = 0
