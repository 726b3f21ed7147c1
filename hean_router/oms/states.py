"""The life of a child as a table: status x what is learned of it -> status.

What is not in the table is a contradiction of the venue or a bug of ours: it changes nothing and
is told as an incident.  Three statuses live; the other six are ends, and no end leads back (I4).
Of two ends that a venue tells, the later line of `ChildStatus` stands, so that the order in which
they are learned does not matter.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType

from hean_router.domain.order import OrderState


class ChildStatus(StrEnum):
    """Where one order stands, as we know it."""

    INTENDED = "intended"  # on disk, not answered: may exist
    UNKNOWN = "unknown"  # may exist, and whoever should have said so did not
    OPEN = "open"  # acknowledged, reported or filled: it exists
    WITHDRAWN = "withdrawn"  # never left us
    ABSENT = "absent"  # left us and, by proof, never came to exist
    REJECTED = "rejected"
    CANCELED = "canceled"
    EXPIRED = "expired"
    FILLED = "filled"


class Learned(Enum):
    """What a row says about a child."""

    ACKED = "the request was taken"
    REJECTED = "the request was refused for sure"
    WITHDRAWN = "it never left"
    UNKNOWN = "nobody knows"
    ABSENT = "proven never to have existed"
    FILL = "a trade, not the last"
    LAST_FILL = "a trade after which nothing is left"
    SAW_OPEN = "told to be open"
    SAW_FILLED = "told to be filled"
    SAW_CANCELED = "told to be cancelled"
    SAW_EXPIRED = "told to be expired"
    SAW_REJECTED = "told to be rejected by the venue's engine"


SAW: Mapping[OrderState, Learned] = MappingProxyType(
    {
        OrderState.OPEN: Learned.SAW_OPEN,
        OrderState.FILLED: Learned.SAW_FILLED,
        OrderState.CANCELED: Learned.SAW_CANCELED,
        OrderState.EXPIRED: Learned.SAW_EXPIRED,
        OrderState.REJECTED: Learned.SAW_REJECTED,
    }
)

LIVE = frozenset({ChildStatus.INTENDED, ChildStatus.UNKNOWN, ChildStatus.OPEN})
# Ends that say "it never stood in a book": whatever is heard of such an order is a surprise.
NEVER_STOOD = frozenset({ChildStatus.WITHDRAWN, ChildStatus.ABSENT, ChildStatus.REJECTED})

_S, _L = ChildStatus, Learned

_TOLD_LIVE = {
    # A report may overtake the ack, a fill may overtake both, and FILLED may overtake its fills.
    _L.ACKED: _S.OPEN,
    _L.FILL: _S.OPEN,
    _L.LAST_FILL: _S.FILLED,
    _L.SAW_OPEN: _S.OPEN,
    _L.SAW_FILLED: _S.FILLED,
    _L.SAW_CANCELED: _S.CANCELED,
    _L.SAW_EXPIRED: _S.EXPIRED,
    _L.SAW_REJECTED: _S.REJECTED,
    _L.UNKNOWN: _S.UNKNOWN,
}


def _ended(status: ChildStatus, *, stood: bool) -> dict[Learned, ChildStatus]:
    """From an end: late acks and fills are kept for the accounts, a higher end replaces it."""
    rank = list(ChildStatus).index
    told = {
        # Terminal never lives again: told to be open, it stays ended and is cancelled there.
        _L.ACKED: status,
        _L.FILL: status,
        _L.LAST_FILL: _S.FILLED,
        _L.SAW_OPEN: status,
    }
    for learned, end in (
        (_L.SAW_FILLED, _S.FILLED),
        (_L.SAW_CANCELED, _S.CANCELED),
        (_L.SAW_EXPIRED, _S.EXPIRED),
    ):
        told[learned] = max(status, end, key=rank)
    if not stood:
        told[_L.SAW_REJECTED] = max(status, _S.REJECTED, key=rank)
        told[_L.REJECTED] = max(status, _S.REJECTED, key=rank)
    return told


NEXT: Mapping[ChildStatus, Mapping[Learned, ChildStatus]] = MappingProxyType(
    {
        # Only what has not been answered can still be withdrawn or refused.
        _S.INTENDED: _TOLD_LIVE | {_L.REJECTED: _S.REJECTED, _L.WITHDRAWN: _S.WITHDRAWN},
        # Absence is proven of the unknown alone: its last moment is on disk.
        _S.UNKNOWN: _TOLD_LIVE | {_L.REJECTED: _S.REJECTED, _L.ABSENT: _S.ABSENT},
        # It exists: to be refused, withdrawn or absent now would contradict what we saw.
        _S.OPEN: _TOLD_LIVE,
        _S.WITHDRAWN: _ended(_S.WITHDRAWN, stood=False) | {_L.WITHDRAWN: _S.WITHDRAWN},
        _S.ABSENT: _ended(_S.ABSENT, stood=False) | {_L.ABSENT: _S.ABSENT},
        _S.REJECTED: _ended(_S.REJECTED, stood=False),
        _S.CANCELED: _ended(_S.CANCELED, stood=True),
        _S.EXPIRED: _ended(_S.EXPIRED, stood=True),
        _S.FILLED: _ended(_S.FILLED, stood=True),
    }
)


def after(status: ChildStatus, learned: Learned) -> ChildStatus | None:
    """Where a child stands after that; None if the table does not know it."""
    return NEXT[status].get(learned)
