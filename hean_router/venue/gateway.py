"""What the runtime drives of a venue: events out."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from hean_router.domain.instrument import Instrument, Part, VenueId
from hean_router.venue.feed_events import SessionEvent

# Called synchronously, in order, with what happened and when.
EventSink: TypeAlias = Callable[[Sequence[SessionEvent], int], None]


class VenueGateway(Protocol):
    """One part of one venue, behind whatever speaks to it: sessions and codecs, or a library."""

    id: VenueId
    part: Part

    async def instruments(self) -> Sequence[Instrument]:
        """What the venue lists in this part.  Raises `VenueError`."""
        ...

    async def run(self, instruments: Sequence[Instrument], sink: EventSink) -> None:
        """Keep the books of `instruments` and tell `sink`, until cancelled."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
