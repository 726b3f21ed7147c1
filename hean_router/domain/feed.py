"""What a venue's market data says, whoever says it.

Levels are `(px, qty)` in the instrument's units; quantity 0 removes the level.  `sent_ns` is the
venue's clock (epoch), 0 where it does not say.
"""

from collections.abc import Sequence
from enum import Enum
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Instrument, Side

Level: TypeAlias = tuple[int, int]


class Snapshot(Struct, frozen=True, eq=False):
    """A whole book (to the subscribed depth), replacing whatever was there.

    `seq` is None where integrity is a checksum.  `fetched` marks an answer to a request: events
    that were sent before it may still be under way.  `window` is how many levels a side were asked
    for, 0 for all: a fetched book that long may go on beyond what we see.  `depth` is for venues
    that do not say which levels fall off the end: how many a side this stream keeps, 0 for what
    the codec says.
    """

    instrument: Instrument
    bids: Sequence[Level]
    asks: Sequence[Level]
    seq: int | None
    sent_ns: int = 0
    checksum: int | None = None
    fetched: bool = False
    window: int = 0
    depth: int = 0


class Delta(Struct, frozen=True, eq=False):
    """Changes that lead from the book at `prev_seq` to the book at `seq`.

    Where integrity is a checksum both are None.
    """

    instrument: Instrument
    bids: Sequence[Level]
    asks: Sequence[Level]
    seq: int | None
    prev_seq: int | None
    sent_ns: int = 0
    checksum: int | None = None


class Trade(Struct, frozen=True, eq=False):
    """A trade printed by the venue; `side` is the taker's."""

    instrument: Instrument
    px: int
    qty: int
    side: Side
    sent_ns: int
    trade_id: str = ""


class Top(Struct, frozen=True, eq=False):
    """Best bid and ask from another source than the book's stream: evidence, never a level.

    A side without orders is None.
    """

    instrument: Instrument
    bid: Level | None
    ask: Level | None
    sent_ns: int = 0


class NoticeKind(Enum):
    """What a notice asks of us."""

    INFO = "info"
    CLOSING = "closing"  # this socket will be closed: open another first
    HALTED = "halted"  # the venue, or the instrument named, takes no orders
    RESUMED = "resumed"
    REFUSED = "refused"  # a request of ours on this socket was refused
    SUBSCRIBED = "subscribed"  # an acknowledgement


class Notice(Struct, frozen=True, eq=False):
    """Anything a venue tells beside data; about one instrument, or the whole socket."""

    kind: NoticeKind
    text: str
    instrument: Instrument | None = None


FeedEvent: TypeAlias = Snapshot | Delta | Trade | Top | Notice
