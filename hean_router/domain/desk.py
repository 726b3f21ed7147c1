"""What an account at a venue tells the engine: answers to what was asked, and what it says itself.

The engine asks by `OrderDesk` (`venue/gateway.py`), which never waits; everything comes back as
one of these values, in the order in which it was learned.
"""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Instrument
from hean_router.domain.order import (
    Balance,
    Fill,
    OrderReport,
    Outcome,
    Permissions,
)
from hean_router.domain.venue import Fees


class DeskStanding(Struct, frozen=True, kw_only=True):
    """Whether orders can be sent there now.

    `why` names the step that is missing (login, private stream, clock, permissions, keys); empty
    when ready.  Told whenever it changes; `fresh` after a private stream stood anew, so that
    everything must be asked for.
    """

    ready: bool
    why: str = ""
    fresh: bool = False
    clock_offset_ns: int = 0
    clock_bound_ns: int = 0


class Sent(Struct, frozen=True):
    """The bytes of an order have been handed to the system; for telemetry alone."""

    key: str
    built_ns: int
    at_ns: int


class PlaceAnswered(Struct, frozen=True, kw_only=True):
    """What became of a placement.

    `until_ns`, of our clock: later than that the venue can not carry the request out (request
    deadline, clock bound and the engine's own time-out in).
    """

    key: str
    outcome: Outcome
    until_ns: int


class NotSent(Struct, frozen=True):
    """A placement that certainly never left: no budget, no socket, too late.  `code` is stable."""

    key: str
    code: str
    why: str


class CancelAnswered(Struct, frozen=True, kw_only=True):
    """What became of a cancel; an `Outcome` about the request, not about the order."""

    key: str
    outcome: Outcome


class Told(Struct, frozen=True):
    """The private stream said so."""

    event: OrderReport | Fill | Balance


class StreamLost(Struct, frozen=True):
    """Private messages may have been missed: everything must be asked for anew.

    `lie`: one was whole and said what cannot be; a person should hear of it.
    """

    why: str
    lie: bool = False


class OrderSeen(Struct, frozen=True, kw_only=True):
    """The answer to `ask_order`; `report` None: not found at that moment.

    `asked_ns` is when the question left, our clock.
    """

    instrument: Instrument
    key: str
    report: OrderReport | None
    asked_ns: int


class OpenSeen(Struct, frozen=True, kw_only=True):
    """Every open order of the account on `instruments`, foreign ones too."""

    instruments: Sequence[Instrument]
    reports: Sequence[OrderReport]
    asked_ns: int


class FillsSeen(Struct, frozen=True, kw_only=True):
    """Every trade of the account on `instrument` since then."""

    instrument: Instrument
    since_ns: int
    fills: Sequence[Fill]
    asked_ns: int


class BalancesSeen(Struct, frozen=True, kw_only=True):
    """All balances of the account."""

    balances: Sequence[Balance]
    asked_ns: int


class FeesSeen(Struct, frozen=True):
    """The account's own rates, by venue symbol."""

    fees: Mapping[str, Fees]


class PermissionsSeen(Struct, frozen=True):
    """What the key may do."""

    permissions: Permissions


class AskFailed(Struct, frozen=True, kw_only=True):
    """A question was not answered; `what` is order, open, fills, balances, fees or permissions."""

    what: str
    why: str
    key: str = ""
    instrument: Instrument | None = None


class NonceMoved(Struct, frozen=True):
    """The nonce lane needs room: `below` must be on disk before it is used."""

    below: int


DeskEvent: TypeAlias = (
    DeskStanding
    | Sent
    | PlaceAnswered
    | NotSent
    | CancelAnswered
    | Told
    | StreamLost
    | OrderSeen
    | OpenSeen
    | FillsSeen
    | BalancesSeen
    | FeesSeen
    | PermissionsSeen
    | AskFailed
    | NonceMoved
)


class Budget(Struct, frozen=True):
    """How many placements could leave at once now, and why no more."""

    orders: int
    why: str = ""
