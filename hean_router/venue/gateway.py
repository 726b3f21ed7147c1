"""What the runtime drives of a venue: events out, orders in."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from hean_router.domain.desk import Budget, DeskEvent
from hean_router.domain.instrument import Instrument, Part, VenueId
from hean_router.domain.order import Approved
from hean_router.venue.feed_events import SessionEvent

# Called synchronously, in order, with what happened and when.
EventSink: TypeAlias = Callable[[Sequence[SessionEvent], int], None]
# Called synchronously with each thing that an account's desk learned.
DeskSink: TypeAlias = Callable[[DeskEvent], None]


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


class OrderDesk(Protocol):
    """One account at one venue, behind whatever speaks to it: sockets and REST, or a simulation.

    Nothing here waits or raises for what a venue does: every call is answered by exactly one event
    at the sink (`place` by `PlaceAnswered` or `NotSent`), later and never within the call.
    """

    venue: VenueId
    account: str

    def place(self, order: Approved) -> None:
        """Send an order whose intent is on disk.  One that cannot leave in time is `NotSent`."""
        ...

    def cancel(self, instrument: Instrument, key: str, venue_order_id: str) -> None:
        """Cancel one order of ours; repeated by whoever asked, not here."""
        ...

    def ask_order(self, instrument: Instrument, key: str, venue_order_id: str) -> None:
        """Ask where one order stands -> `OrderSeen`."""
        ...

    def ask_open(self, instruments: Sequence[Instrument]) -> None:
        """Ask for every open order -> `OpenSeen`."""
        ...

    def ask_fills(self, instrument: Instrument, since_ns: int) -> None:
        """Ask for our trades since then -> `FillsSeen`."""
        ...

    def ask_balances(self) -> None:
        """Ask what we have -> `BalancesSeen`."""
        ...

    def budget(self, instrument: Instrument) -> Budget:
        """What could be placed on `instrument` at once now."""
        ...

    def grant_nonces(self, below: int) -> None:
        """Nonces below that are on disk as reserved, and may be used."""
        ...

    def doubt_clock(self) -> None:
        """A clock was moved: trust no offset before it has been measured anew."""
        ...

    @property
    def visibility_ns(self) -> int:
        """How late an accepted order may first be seen by a question."""
        ...

    @property
    def flight_ns(self) -> int:
        """How long after `place` the venue may carry an order out, at most.

        The wait to leave, the longest deadline, what our clock may be off and the engine's own
        time-out.
        """
        ...

    @property
    def question_ns(self) -> int:
        """How far apart questions about one order are to be, at least: 0 where they are cheap."""
        ...

    def relist(self, instrument: Instrument) -> None:
        """How the venue lists a pair now: rules anew, on the list again, or off it."""
        ...

    async def run(self, instruments: Sequence[Instrument], sink: DeskSink) -> None:
        """Stay connected and tell `sink`, until cancelled."""
        ...
