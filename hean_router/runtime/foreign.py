"""What is counted of a gateway over somebody else's library, for `/metrics`."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from hean_router.domain.instrument import Instrument, Part, VenueId
from hean_router.telemetry import BookReading, FeedReading
from hean_router.venue import BookCounts, FeedSession, SessionCounts


class Stream(Protocol):
    """One book of such a gateway: its session now, and what its sessions have counted."""

    @property
    def instrument(self) -> Instrument:
        """What it follows, under the rules of now."""

    @property
    def session(self) -> FeedSession:
        """Its present session."""

    def totals(self) -> SessionCounts:
        """Over all its sessions."""

    def book_totals(self) -> BookCounts:
        """Of its book, over all sessions."""


@runtime_checkable
class Counted(Protocol):
    """A gateway whose books are judged by sessions, one each."""

    id: VenueId
    part: Part
    connects: int
    failures: int
    faults: int

    @property
    def streams(self) -> Sequence[Stream]:
        """Every book's."""


def reading(gateway: Counted) -> FeedReading:
    """Everything counted so far, and how the books stand."""
    totals = SessionCounts()
    books = []
    for stream in gateway.streams:
        totals.add(stream.totals())
        book = stream.session.book(stream.instrument)
        books.append(
            BookReading(stream.instrument, book.state, book.confirmed_ns, stream.book_totals())
        )
    return FeedReading(
        venue=gateway.id,
        part=gateway.part.value,
        totals=totals,
        books=books,
        queued=0,  # ccxt's own business
        connects=gateway.connects,
        failures=gateway.failures,
        reconnects=max(0, gateway.connects - 1),
        rotations=0,
        faults=gateway.faults,
    )
