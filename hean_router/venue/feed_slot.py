"""One book of a session, and what its session knows about it."""

from collections import deque

from hean_router.book import Book
from hean_router.domain.feed import Delta
from hean_router.domain.instrument import Instrument
from hean_router.venue.feed_events import BookCounts, BookMoved


class Slot:
    """State of one book's care; only `FeedSession` reads and writes it."""

    __slots__ = (
        "asked_ns",
        "attempts",
        "backlog",
        "book",
        "contradicted_ns",
        "counts",
        "gap_ns",
        "inbound",
        "moved",
        "outdated",
        "probe_after_ns",
        "probed_version",
        "probing",
        "renew",
        "retry_ns",
        "seen_ns",
        "suspicions",
        "whole_ns",
        "why",
    )

    def __init__(self, instrument: Instrument, depth: int) -> None:
        self.book = Book(instrument, depth)
        self.counts = BookCounts()
        self.backlog: deque[Delta] = deque()
        self.inbound = False  # a snapshot is under way: deltas are kept
        self.asked_ns = 0  # when the book was asked for; 0 = not waiting
        self.retry_ns = 0  # when to ask again; 0 = no plan
        self.attempts = 0
        self.outdated = 0  # fetched books in a row that were older than ours
        self.why = ""  # why it is being asked for
        self.renew = False  # its subscription is in doubt too, not only its book
        self.whole_ns = 0  # since when it needs no resync; 0 = it does
        self.gap_ns = 0  # how long it is usually silent: the longest of late, fading
        self.seen_ns = 0  # its last change when we last looked
        self.probing = False
        self.probe_after_ns = 0
        self.probed_version = 0
        self.suspicions = 0  # probes in a row that contradicted a book that had not moved
        self.contradicted_ns = 0  # since when a second stream contradicts it
        self.moved: BookMoved | None = None
