"""What a strategy is told, what it may look at, and what it may answer.

    (event, view)  ->  Reaction: groups of parents (each all or none), cancels, a wake-up, a note

A strategy decides and does nothing else: it waits for nothing, reads no clock and sends no order.
The engine admits, reserves and journals each group in one transaction before a leg of it leaves.

* **Told again.**  `ParentMoved` and `ParentDone` carry sums from the parent's beginning, so being
  told twice, or of a late fill after the end, changes nothing that was counted once.
* **Remembering.**  The last `Reaction.note` is on disk before the orders it came with, and comes
  back in `Started`.  What happened to a parent after the note is found by `View.parent`.
* **Ids.**  `Intent.client_order_id` is made by the strategy from a counter in its note: the same
  decision can not become two orders.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Protocol, TypeAlias

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.parent import Intent, Status
from hean_router.domain.rates import Rates
from hean_router.domain.venue import Fees


class ParentView(Struct, frozen=True, kw_only=True):
    """A parent of the strategy as it stands.  Quantities are base, `notional` is quote; exact.

    `net` is base with the fees in base: what a buy has received, what a sell has given.  `fees` is
    by asset, what was charged.  `status` UNKNOWN: more may have traded than is counted here.
    """

    id: str
    client_order_id: str
    group: str
    symbol: str
    side: Side
    venues: tuple[str, ...]  # `Intent.venues.include`
    qty: Decimal
    filled: Decimal
    net: Decimal
    notional: Decimal
    avg_px: Decimal | None
    fees: Mapping[str, Decimal]
    status: Status
    why: str = ""


class View(Protocol):
    """What a strategy may see.  Read within the step; nothing of it is to be kept."""

    @property
    def now_ns(self) -> int:
        """The step's time."""
        ...

    def book(self, pair: Pair) -> ConsolidatedBook | None:
        """All venues' books of `pair` as one; None for a pair that is not followed."""
        ...

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        """How each venue lists it."""
        ...

    def fees(self, pair: Pair) -> Mapping[str, Fees]:
        """Our tier by venue."""
        ...

    def free(self, venue: str, account: str, asset: str) -> Decimal | None:
        """Balance minus what is reserved; None while it is not known."""
        ...

    def why_not(self, venue: str, account: str) -> str:
        """Why no order can be sent there; empty if one can."""
        ...

    def rates(self) -> Rates:
        """What assets are worth in the reporting currency."""
        ...

    def latency_ns(self, venue: str) -> int:
        """How long that venue takes to answer an order, p95; 0 while unknown."""
        ...

    def parent(self, account: str, client_order_id: str) -> ParentView | None:
        """The parent of that id as it stands now; None if there never was one."""
        ...


# ------------------------------------------------------------------------- what it is told


class BookMoved(Struct, frozen=True):
    """The consolidated book of `pair` has changed."""

    pair: Pair


class ParentMoved(Struct, frozen=True):
    """A parent of the strategy goes on: acknowledged, filled in part, of unknown fate."""

    parent: ParentView


class ParentDone(Struct, frozen=True):
    """A parent can trade no more.  Told again if a fill comes later still."""

    parent: ParentView


class Refused(Struct, frozen=True):
    """A group was not admitted: nothing of it was placed.  `code` is stable."""

    group: str
    code: str
    reason: str


class Woke(Struct, frozen=True):
    """The time of `Reaction.wake_at_ns` has come.  May be told too early and too often."""


class Started(Struct, frozen=True):
    """It runs from here; told once, with its last note (empty: there is none)."""

    state: str


class Stopping(Struct, frozen=True):
    """It is told nothing more after this; what it has out runs to its end."""


Event: TypeAlias = BookMoved | ParentMoved | ParentDone | Refused | Woke | Started | Stopping


# ------------------------------------------------------------------------- what it answers


class Group(Struct, frozen=True):
    """Parents that are admitted, reserved and journaled together or not at all.

    `name` is `Intent.group` of each leg; a strategy uses it once.
    """

    name: str
    legs: tuple[Intent, ...]


class Reaction(Struct, frozen=True, kw_only=True):
    """What a strategy wants done.  Carried out in this order: note, cancels, groups, wake-up."""

    groups: tuple[Group, ...] = ()
    cancels: tuple[str, ...] = ()  # ids of parents
    wake_at_ns: int | None = None  # None leaves earlier wake-ups as they are
    note: str | None = None  # its state as JSON, to be kept; None leaves the last one


NOTHING = Reaction()


class Strategy(Protocol):
    """One running opinion: an instance with a name, an account and parameters."""

    @property
    def name(self) -> str:
        """The instance's name: `Intent.strategy` of all its parents."""
        ...

    @property
    def account(self) -> str:
        """Whose money it trades."""
        ...

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Whose books it wants to hear of, by its present parameters."""
        ...

    def configure(self, params: Mapping[str, str]) -> None:
        """Take parameters over the defaults, before `Started`; raises `CommandError`."""
        ...

    def on_event(self, event: Event, view: View) -> Reaction:
        """Decide.  An exception stops the strategy and is an incident."""
        ...

    def status(self) -> Mapping[str, object]:
        """For people and the API: state, parameters, budget used, PnL, counts; JSON's types."""
        ...
