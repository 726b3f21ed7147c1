"""Metrics as Prometheus reads them.

Hot counters are plain integers that live where they are counted; they are read when somebody
scrapes.  Nothing here runs between two scrapes but `Timing.observe`.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from hean_router.book import BookState
from hean_router.domain.instrument import Instrument
from hean_router.venue import BookCounts, SessionCounts, StateChanged

STALL_NS = 250_000_000  # a stall: decisions must not be older than this when they leave
REASONS_MAX = 64  # kinds of reason told apart per venue: a venue's text is no memory leak
_NUMBER = re.compile(r"\d+(?:[.:]\d+)*")
_STRANGE = re.compile(r"[^\x20-\x7e]+")

# ns; from 10 µs, as fine as the hot path needs, to where something is plainly wrong
BOUNDS_NS = tuple(step * 10**power for power in (4, 5, 6, 7, 8) for step in (1, 2, 5))


class Timing:
    """A histogram of durations in plain integers; 0.2 µs an observation.

    >>> timing = Timing()
    >>> timing.observe(15_000); timing.observe(3_000_000_000)
    >>> timing.count, timing.buckets()[1], timing.buckets()[-1]
    (2, ('2e-05', 1), ('+Inf', 2))
    """

    __slots__ = ("_bounds", "_counts", "total_ns")

    def __init__(self, bounds: Sequence[int] = BOUNDS_NS) -> None:
        self._bounds = bounds  # ns, rising
        self._counts = [0] * (len(bounds) + 1)
        self.total_ns = 0

    def observe(self, took_ns: int) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._bounds, took_ns)] += 1
        self.total_ns += took_ns

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self._counts)

    def buckets(self) -> Sequence[tuple[str, int]]:
        """Cumulative counts by upper bound in seconds, as Prometheus wants them."""
        bounds = [*(repr(bound / 1e9) for bound in self._bounds), "+Inf"]
        running, out = 0, []
        for bound, count in zip(bounds, self._counts, strict=True):
            running += count
            out.append((bound, running))
        return out

    def quantile_ns(self, share: float) -> int:
        """Upper bound of the bucket in which `share` of the observations lie; 0 without any."""
        wanted, running = share * self.count, 0
        last = self._bounds[-1] * 10
        for bound, count in zip((*self._bounds, last), self._counts, strict=True):
            running += count
            if running and running >= wanted:
                return bound
        return 0


def kind_of(reason: str) -> str:
    """What reasons of one kind have in common: no numbers, no details behind a colon, plain text.

    >>> kind_of("message 90..95 does not build on 89"), kind_of("refused: 30001 no such pair")
    ('message # does not build on #', 'refused')
    """
    head = _STRANGE.sub("?", reason.partition(": ")[0][:200])
    return _NUMBER.sub("#", head).replace("#..#", "#")[:40].strip()


class BookReading(Struct, frozen=True):
    """One book at one moment."""

    instrument: Instrument
    state: BookState
    confirmed_ns: int
    counts: BookCounts


class FeedReading(Struct, frozen=True):
    """One venue part at one moment, as whoever runs it reads it off."""

    venue: str
    part: str
    totals: SessionCounts  # over all its connections, past and present
    books: Sequence[BookReading]
    queued: int  # frames received by the sockets and not yet read
    connects: int
    failures: int
    reconnects: int
    rotations: int
    faults: int


class Collected(Protocol):
    """Whatever else stands on the page."""

    def collect(self) -> Iterable[Metric]:
        """Read everything off."""
        ...


class Metrics(Collector):
    """The collector behind `/metrics`.  `read` gives the feeds as they stand, `now_ns` the time."""

    def __init__(
        self, read: Callable[[], Iterable[FeedReading]], now_ns: Callable[[], int]
    ) -> None:
        self.apply = Timing()  # one frame: decode, apply, pass on
        self.loop_lag = Timing()  # how late the event loop was
        self.stalls = self.worst_lag_ns = 0  # how often it was later than `STALL_NS`, and how late
        self._read, self._now_ns = read, now_ns
        self._changes: Counter[tuple[str, str, str, str]] = Counter()
        self._reasons: dict[str, set[str]] = {}  # by venue
        self._others: list[Collected] = []
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def lag(self, late_ns: int) -> None:
        """Count how late the event loop was this time."""
        self.loop_lag.observe(late_ns)
        self.stalls += late_ns >= STALL_NS
        self.worst_lag_ns = max(self.worst_lag_ns, late_ns)

    def add(self, other: Collected) -> None:
        """Put the families of `other` on the page too, such as `OrderMetrics`."""
        self._others.append(other)

    def readings(self) -> list[FeedReading]:
        """The feeds as they stand."""
        return list(self._read())

    def changed(self, change: StateChanged) -> None:
        """Count a change of a book's state, by its kind of reason."""
        instrument = change.instrument
        reasons = self._reasons.setdefault(instrument.venue, set())
        reason = kind_of(change.reason)
        if reason not in reasons and len(reasons) >= REASONS_MAX:
            reason = "other"
        reasons.add(reason)
        self._changes[instrument.venue, str(instrument.pair), change.new.value, reason] += 1

    def text(self) -> bytes:
        """The page."""
        return generate_latest(self.registry)

    def collect(self) -> Iterator[Metric]:
        """Read everything off."""
        feeds = self.readings()
        yield from self._connections(feeds)
        yield from self._books(feeds)
        changes = CounterMetricFamily(
            "hean_book_state_changes",
            "Changes of a book's state",
            labels=("venue", "symbol", "state", "reason"),
        )
        for labels, count in sorted(self._changes.items()):
            changes.add_metric(labels, count)
        yield changes
        for name, text, timing in (
            ("hean_apply_seconds", "One frame: decode, apply, pass on", self.apply),
            ("hean_loop_lag_seconds", "How late the event loop was", self.loop_lag),
        ):
            yield HistogramMetricFamily(
                name, text, buckets=timing.buckets(), sum_value=timing.total_ns / 1e9
            )
        yield CounterMetricFamily(
            "hean_loop_stalls", "Times that the event loop stood for 250 ms or more", self.stalls
        )
        yield GaugeMetricFamily(
            "hean_loop_lag_worst_seconds",
            "The longest that the event loop stood",
            value=self.worst_lag_ns / 1e9,
        )
        for other in self._others:
            yield from other.collect()

    def _connections(self, feeds: Sequence[FeedReading]) -> Iterator[Metric]:
        labels = ("venue", "part")
        for name, text in (
            ("frames", "Frames received"),
            ("bytes", "Bytes received"),
            ("malformed", "Frames that could not be read"),
            ("notices", "Notices from the venue"),
        ):
            family = CounterMetricFamily(f"hean_feed_{name}", text, labels=labels)
            for feed in feeds:
                family.add_metric((feed.venue, feed.part), getattr(feed.totals, name))
            yield family
        queued = GaugeMetricFamily(
            "hean_feed_queue_frames", "Frames that wait in the sockets", labels=labels
        )
        for feed in feeds:
            queued.add_metric((feed.venue, feed.part), feed.queued)
        yield queued
        for name, text in (
            ("connects", "Connections tried"),
            ("failures", "Connections that could not be opened"),
            ("reconnects", "Connections lost"),
            ("rotations", "Connections changed in time, without a gap"),
            ("faults", "Faults of our own: each is a bug"),
        ):
            family = CounterMetricFamily(f"hean_feed_{name}", text, labels=labels)
            for feed in feeds:
                family.add_metric((feed.venue, feed.part), getattr(feed, name))
            yield family

    def _books(self, feeds: Sequence[FeedReading]) -> Iterator[Metric]:
        labels = ("venue", "symbol")
        now_ns = self._now_ns()
        books = [book for feed in feeds for book in feed.books]
        live = GaugeMetricFamily("hean_book_live", "1 if the book may be read", labels=labels)
        age = GaugeMetricFamily(
            "hean_book_age_seconds", "Since something proved the book current", labels=labels
        )
        for book in books:
            key = (book.instrument.venue, str(book.instrument.pair))
            live.add_metric(key, book.state is BookState.LIVE)
            if book.confirmed_ns:
                age.add_metric(key, max(0, now_ns - book.confirmed_ns) / 1e9)
        yield live
        yield age
        for name, text in (
            ("snapshots", "Whole books received"),
            ("deltas", "Changes received"),
            ("trades", "Trades received"),
            ("gaps", "Broken sequences"),
            ("checksums_ok", "Checksums that held"),
            ("checksums_bad", "Checksums that did not"),
            ("crossed", "Times a book crossed itself"),
            ("resyncs", "Times a book was asked for anew"),
        ):
            family = CounterMetricFamily(f"hean_book_{name}", text, labels=labels)
            for book in books:
                key = (book.instrument.venue, str(book.instrument.pair))
                family.add_metric(key, getattr(book.counts, name))
            yield family
