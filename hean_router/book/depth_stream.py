"""A consolidated book for clients: one snapshot, then changes that each name what they build on.

Messages are plain values with decimal text, so that they mean the same on any wire and after any
change of scales.  `DepthFeed` makes them, `DepthFollower` is the client: it rebuilds the published
view exactly, and when a message is missing it says so instead of guessing.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from hean_router.book.consolidated import ConsolidatedBook
from hean_router.domain.errors import CommandError, NotLive
from hean_router.domain.instrument import Instrument, Side, VenueId
from hean_router.domain.scale import plain

Row: TypeAlias = tuple[str, str, str]  # price, quantity ("0" removes), venue
_Key: TypeAlias = tuple[VenueId, int]  # of a published level: venue, instrument's px


class VenueMark(Struct, frozen=True):
    """A LIVE venue in the view: version of its book, and our clock when it was proved current."""

    version: int
    seen_ns: int


class VenueWeights(Struct, frozen=True):
    """How a venue's levels are ordered: all-in price = price × weight / the snapshot's unit."""

    buy: str
    sell: str


class DepthSnapshot(Struct, frozen=True, tag="snapshot"):
    """The whole published view.  `bids` and `asks` stand best all-in first."""

    epoch: str  # of the feed: versions of different epochs do not compare
    symbol: str
    version: int
    depth: int  # levels a side; 0 = all
    bids: Sequence[Row]
    asks: Sequence[Row]
    weights: Mapping[str, VenueWeights]
    buy_unit: str
    sell_unit: str
    venues: Mapping[str, VenueMark]
    left_out: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values for any JSON writer."""
        return _plain_values(self)


class DepthDelta(Struct, frozen=True, tag="delta"):
    """What changed between two published views; levels that left the depth are removed by name.

    `venues` and `left_out` are whole, not changes: they are small.  A heartbeat builds on the
    version that it has itself, and changes the marks alone.
    """

    epoch: str
    symbol: str
    version: int
    prev_version: int
    bids: Sequence[Row]
    asks: Sequence[Row]
    venues: Mapping[str, VenueMark]
    left_out: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain values for any JSON writer."""
        return _plain_values(self)


DepthMessage: TypeAlias = DepthSnapshot | DepthDelta


def _plain_values(message: DepthMessage) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(message)
    return values


def depth_message(values: Any) -> DepthMessage:
    """The message in what `to_json` made; raises `CommandError` if it is none."""
    try:
        message: DepthMessage = msgspec.convert(values, DepthSnapshot | DepthDelta)
    except msgspec.ValidationError as error:
        raise CommandError(f"not a depth message: {error}") from error
    return message


class _Published:
    """One side as clients have it: quantities by level, in all-in order."""

    __slots__ = ("instruments", "rows")

    def __init__(self) -> None:
        self.rows: dict[_Key, int] = {}
        self.instruments: dict[VenueId, Instrument] = {}

    def text(self, key: _Key, qty: int) -> Row:
        instrument = self.instruments[key[0]]
        return (
            plain(instrument.px_decimal(key[1])),
            plain(instrument.qty_decimal(qty)) if qty else "0",
            key[0],
        )

    def replace(self, book: ConsolidatedBook, side: Side, depth: int) -> list[Row]:
        """Take over what `book` holds now; what that changes, best first, removals behind."""
        fresh: dict[_Key, int] = {}
        known = dict(self.instruments)
        for _, _, px, qty, member in islice(book.ranked(side), depth or None):
            instrument = member.instrument
            fresh[instrument.venue, px] = qty
            known[instrument.venue] = instrument
        old, self.rows, self.instruments = self.rows, fresh, known
        changed = [self.text(key, qty) for key, qty in fresh.items() if old.get(key) != qty]
        return changed + [self.text(key, 0) for key in old if key not in fresh]

    def forget(self) -> None:
        self.rows, self.instruments = {}, {}

    def all(self) -> list[Row]:
        return [self.text(key, qty) for key, qty in self.rows.items()]


class DepthFeed:
    """Publishes a consolidated book, to `depth` levels a side (0 = all), when asked to.

    It keeps what it published last, in the instruments' units, to tell what changed; never for
    reading prices.  `epoch` names this feed's life (versions start anew with the process).
    """

    def __init__(self, book: ConsolidatedBook, epoch: str, depth: int = 0) -> None:
        assert depth >= 0, f"depth {depth}"
        self._book, self._epoch, self._depth = book, epoch, depth
        self._bids, self._asks = _Published(), _Published()
        self._layout = -1
        self._looked = -1  # version of the book when we looked last
        self._head: DepthSnapshot | None = None  # as published last, but for its levels

    def poll(self, *, heartbeat: bool = False) -> DepthMessage | None:
        """What to send to every client now: None if nothing that they see has changed.

        A change of members, fees or instruments is a snapshot: the order itself has changed.  With
        `heartbeat` there is always an answer: quiet venues are proved current too, and clients
        should see it in their ages.
        """
        book = self._book
        version = book.version
        if version == self._looked and not heartbeat:
            return None
        self._looked = version
        head = self._head
        anew = head is None or book.layout != self._layout
        if anew:
            self._layout = book.layout
            self._bids.forget()
            self._asks.forget()
        bids = self._bids.replace(book, Side.SELL, self._depth)
        asks = self._asks.replace(book, Side.BUY, self._depth)
        fresh = self._make_head(version)
        if head is None or anew:
            self._head = fresh
            return self.snapshot()
        if not (bids or asks or fresh.left_out != head.left_out):
            if not heartbeat:
                return None
            fresh = msgspec.structs.replace(fresh, version=head.version)
        self._head = fresh
        return DepthDelta(
            epoch=fresh.epoch,
            symbol=fresh.symbol,
            version=fresh.version,
            prev_version=head.version,
            bids=bids,
            asks=asks,
            venues=fresh.venues,
            left_out=fresh.left_out,
        )

    def snapshot(self) -> DepthSnapshot:
        """The view as published last, for one client that joins late or lost its way.

        The next `poll` builds on it.
        """
        if self._head is None:
            self.poll()
            assert self._head is not None, "the first poll publishes"
        return msgspec.structs.replace(self._head, bids=self._bids.all(), asks=self._asks.all())

    def _make_head(self, version: int) -> DepthSnapshot:
        book = self._book
        weights = {
            str(venue): VenueWeights(str(buy), str(sell))
            for venue, (buy, sell) in book.order_weights().items()
        }
        return DepthSnapshot(
            epoch=self._epoch,
            symbol=str(book.pair),
            version=version,
            depth=self._depth,
            bids=(),
            asks=(),
            weights=weights,
            buy_unit=str(book.units[Side.BUY]),
            sell_unit=str(book.units[Side.SELL]),
            venues={
                str(venue): VenueMark(live.version, live.confirmed_ns)
                for venue, live in book.live().items()
            },
            left_out={str(venue): reason for venue, reason in book.left_out().items()},
        )


class Took(Enum):
    """What a follower did with a message."""

    APPLIED = "applied"
    OLD = "old"  # ends at or before where the view stands: passed over
    GAP = "gap"  # builds on something we never saw: ask for a snapshot


class DepthFollower:
    """A client's copy.  Between a gap and the next snapshot it cannot be read."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.epoch = ""
        self.version = -1
        self.needs_snapshot = True
        self.venues: Mapping[str, VenueMark] = {}
        self.left_out: Mapping[str, str] = {}
        self._weights: dict[Side, dict[str, int]] = {}
        self._rows: dict[Side, dict[tuple[str, str], str]] = {Side.BUY: {}, Side.SELL: {}}

    def take(self, message: DepthMessage) -> Took:
        """Apply one message of the stream, or a snapshot that was asked for."""
        if message.symbol != self.symbol:
            raise CommandError(f"a message about {message.symbol}, not {self.symbol}")
        if isinstance(message, DepthSnapshot):
            return self._restart(message)
        if self.needs_snapshot:
            return Took.GAP
        beat = message.prev_version == message.version == self.version
        if message.epoch == self.epoch and message.version <= self.version and not beat:
            return Took.OLD
        if message.epoch != self.epoch or message.prev_version != self.version:
            self.needs_snapshot = True
            return Took.GAP
        self._apply(Side.SELL, message.bids)
        self._apply(Side.BUY, message.asks)
        self._stand(message)
        return Took.APPLIED

    def _restart(self, message: DepthSnapshot) -> Took:
        behind = message.epoch == self.epoch and message.version < self.version
        if behind and not self.needs_snapshot:
            return Took.OLD  # asked for twice, or overtaken by what we already have
        self._weights = {
            Side.BUY: {venue: int(one.buy) for venue, one in message.weights.items()},
            Side.SELL: {venue: int(one.sell) for venue, one in message.weights.items()},
        }
        self._rows = {Side.BUY: {}, Side.SELL: {}}
        self._apply(Side.SELL, message.bids)
        self._apply(Side.BUY, message.asks)
        self.needs_snapshot = False
        self._stand(message)
        return Took.APPLIED

    def _apply(self, side: Side, rows: Sequence[Row]) -> None:
        held = self._rows[side]
        for px, qty, venue in rows:
            if qty == "0":
                held.pop((venue, px), None)
            else:
                held[venue, px] = qty

    def _stand(self, message: DepthMessage) -> None:
        self.epoch, self.version = message.epoch, message.version
        self.venues, self.left_out = message.venues, message.left_out

    def bids(self) -> list[Row]:
        """Bids, best all-in first, as the feed published them."""
        return self._ordered(Side.SELL)

    def asks(self) -> list[Row]:
        """Asks, likewise."""
        return self._ordered(Side.BUY)

    def _ordered(self, side: Side) -> list[Row]:
        if self.needs_snapshot:
            raise NotLive(f"{self.symbol}: a message was missed; a snapshot is needed")
        weights, sign = self._weights[side], 1 if side is Side.BUY else -1
        ranked = sorted(
            (sign * Decimal(px) * weights[venue], venue, px, qty)
            for (venue, px), qty in self._rows[side].items()
        )
        return [(px, qty, venue) for _, venue, px, qty in ranked]
