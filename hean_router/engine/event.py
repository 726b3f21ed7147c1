"""What the engine is told: by people, by strategies, by desks, by the shell."""

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.desk import DeskEvent
from hean_router.domain.instrument import Pair
from hean_router.domain.parent import Intent, Status
from hean_router.domain.record import Incident


class Started(Struct, frozen=True, kw_only=True):
    """The process has read its journal and owns it; told once, first."""

    epoch: int
    tag: str
    version: str
    config_digest: str
    mode: str
    limits_digest: str = ""


class Ending(Struct, frozen=True, kw_only=True):
    """The process winds up: nothing more is planned; with `done`, and a row says what was left.

    `orders`: `cancel` takes ours back first, `leave` lets them rest.
    """

    orders: str
    done: bool = False
    why: str = ""


class Submit(Struct, frozen=True):
    """Parents to place, all or none.  Answered by `Placed` or `Refused`."""

    intents: tuple[Intent, ...]
    by: str  # an API key's id, or a strategy's name


class CancelParent(Struct, frozen=True, kw_only=True):
    """Cancel what is left of a parent; answered by True if there was anything left."""

    parent: str
    why: str
    by: str
    becomes: Status = Status.CANCELED


class DeskTold(Struct, frozen=True):
    """An account's desk at a venue told something."""

    venue: str
    account: str
    event: DeskEvent


class BooksMoved(Struct, frozen=True):
    """These pairs' consolidated books have changed."""

    pairs: tuple[Pair, ...]


class Due(Struct, frozen=True):
    """Nothing but time has passed."""


class GateRefused(Struct, frozen=True):
    """The gate let a committed order not through."""

    key: str
    verdict: str  # "code: reason"


class GateFound(Struct, frozen=True):
    """A count of what is on disk does not add up: a person must look at it.

    `shuts`: nothing is planned there until then.
    """

    incidents: tuple[Incident, ...]
    shuts: bool = True


class JournalBack(Struct, frozen=True):
    """Everything that could not be written has been."""


class DeskFailed(Struct, frozen=True, kw_only=True):
    """A desk could not be told something, by a fault of our own; `key`: the order it was about."""

    venue: str
    account: str
    why: str
    key: str = ""


class TaskDied(Struct, frozen=True, kw_only=True):
    """A task of ours ended by a fault and was started again; `often`: again and again."""

    name: str
    why: str
    often: bool = False


class CommitFailed(Struct, frozen=True):
    """The rows of a step could not be written; its orders never left."""

    keys: tuple[str, ...]
    parents: tuple[str, ...]
    why: str


class SetRisk(Struct, frozen=True, kw_only=True):
    """Set the risk state: halted is the kill switch, normal resets it."""

    state: str
    reason: str
    by: str


class StartStrategy(Struct, frozen=True, kw_only=True):
    """Run a strategy, with these parameters over its own."""

    strategy: str
    params: Mapping[str, str]
    by: str


class StopStrategy(Struct, frozen=True, kw_only=True):
    """Let a strategy place nothing more; what it has out runs to its end."""

    strategy: str
    by: str
    why: str = ""


class AddKey(Struct, frozen=True, kw_only=True):
    """An API key was made; only its hash comes here."""

    key_id: str
    digest: str
    account: str
    scopes: tuple[str, ...]
    name: str = ""


class DropKey(Struct, frozen=True):
    """An API key is good no more."""

    key_id: str
    why: str = ""


Event: TypeAlias = (
    Started
    | Ending
    | Submit
    | CancelParent
    | DeskTold
    | BooksMoved
    | Due
    | GateRefused
    | GateFound
    | CommitFailed
    | JournalBack
    | DeskFailed
    | TaskDied
    | SetRisk
    | StartStrategy
    | StopStrategy
    | AddKey
    | DropKey
)
