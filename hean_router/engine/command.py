"""All that the engine asks of the world, and what it answers."""

from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Instrument
from hean_router.domain.order import Approved
from hean_router.domain.record import ChildIntended, Row


class PlaceOrder(Struct, frozen=True):
    """Send it, once its row is on disk and the gate has passed it."""

    intended: ChildIntended
    approved: Approved


class CancelOrder(Struct, frozen=True, kw_only=True):
    """Cancel one order of ours."""

    venue: str
    account: str
    instrument: Instrument
    key: str
    venue_order_id: str


class AskDesk(Struct, frozen=True, kw_only=True):
    """Ask a venue: order, open, fills or balances."""

    venue: str
    account: str
    what: str
    instrument: Instrument | None = None
    key: str = ""
    venue_order_id: str = ""
    since_ns: int = 0


class GrantNonces(Struct, frozen=True):
    """Nonces below that are on disk as reserved."""

    venue: str
    account: str
    below: int


class SetGate(Struct, frozen=True):
    """Open a desk's gate (`why` empty), or shut it."""

    venue: str
    account: str
    why: str


Command: TypeAlias = PlaceOrder | CancelOrder | AskDesk | GrantNonces | SetGate


class Placed(Struct, frozen=True):
    """Parents that were accepted, in the order of the intents; `existing`: they had been before."""

    parents: tuple[str, ...]
    existing: bool = False


class Refused(Struct, frozen=True, kw_only=True):
    """Why nothing was accepted.  `code` is stable; `fix` says what to do, when we know."""

    code: str
    reason: str
    fix: str = ""


Answer: TypeAlias = Placed | Refused | bool | None


class Step(Struct, frozen=True, kw_only=True):
    """What one event led to: rows to commit first, then commands."""

    rows: tuple[Row, ...]
    commands: tuple[Command, ...]
    answer: Answer
    wake_at_ns: int
