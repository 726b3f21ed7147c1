"""What the engine may look at beside its own state: books, rules, fees, room at the venues."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.domain.desk import Budget
from hean_router.domain.instrument import Instrument, Pair


class World(Protocol):
    """Read within one step; nothing of it is kept."""

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair with a consolidated book."""
        ...

    def book(self, pair: Pair) -> ConsolidatedBook | None:
        """All venues' books of `pair` as one; None for a pair that is not followed."""
        ...

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        """How each venue lists `pair`, as far as they have answered."""
        ...

    def unlisted(self, venue: str, pair: Pair) -> Instrument | None:
        """What to ask and cancel with where `venue` has answered and does not list `pair`."""
        ...

    def budget(self, venue: str, account: str, instrument: Instrument) -> Budget:
        """How many orders could leave at once."""
        ...

    def visibility_ns(self, venue: str) -> int:
        """How late an accepted order may first be seen by a question."""
        ...

    def flight_ns(self, venue: str) -> int:
        """How long after it was decided the venue may carry an order out, at most."""
        ...

    def question_ns(self, venue: str) -> int:
        """How far apart questions about one order are to be, at least: 0 where they are cheap."""
        ...


class Policy(Struct, frozen=True, kw_only=True):
    """Bounds of the engine's patience; every one has a reason.

    `pause_ns` is between two rounds: a book shows what we took of it only some time later.
    `rounds_max` and `work_ns` bound what an immediate order tries; `repost_max` and `reroute_max`
    what a resting one does; `again_ns` is between two tries of anything.
    """

    rounds_max: int = 5
    work_ns: int = 5_000_000_000
    pause_ns: int = 100_000_000
    repost_max: int = 10
    reroute_max: int = 50
    again_ns: int = 1_000_000_000
    # An order of unknown fate keeps the gate of its venue shut no longer than this after a start:
    # most are found or proven absent by then, and the others stay reserved at their worst.
    unknown_ns: int = 5_000_000_000
    # Fills are asked for again from so long before the oldest order that may have some: no trade is
    # older than its order, so this has to cover no more than two clocks that differ (by less than
    # a second, or nothing is sent) and a venue that shows a trade late (seconds); it is far more.
    # What a venue tells again of older ones is looked up in the journal.
    overlap_ns: int = 600_000_000_000
    balances_every_ns: int = 30_000_000_000
    # Open orders and trades are asked for now and then though a stream tells of them: two cheap
    # questions a minute, from so long before the last look.
    look_every_ns: int = 60_000_000_000
    look_overlap_ns: int = 60_000_000_000
    quiet_ns: int = 3_000_000_000  # nothing happened for this long: balances can be compared
    reference_ns: int = 1_000_000_000  # how old the reference price is at least
    collar_bps: int = 100  # a market order goes no further from the mid than this
    child_max: int = 200  # children of one parent
