"""Bybit's order book streams: one sequence per topic, the same for all who listen.

`u` counts a topic's messages; `seq` is the engine's, shared by all topics of a symbol.  A delta
keeps the window at exactly its depth: what enters or leaves it is said.  Recorded: who subscribes
gets a snapshot up to some seconds old, then every delta since, in one burst.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from hean_router.sim.contract import MS, SECOND, FrameKind
from hean_router.sim.exchange import Exchange, Level, Side
from hean_router.sim.faces.bybit.facts import BOOK_NS, Instrument

Rung: TypeAlias = tuple[int, int]
"""Price in ticks, size in lots."""

_BASE_AGE_NS = 2 * SECOND  # how old the snapshot for newcomers may grow; recorded: 1 to 3 s


class Stamp(NamedTuple):
    """What a message says besides levels; `time_ns` when said, `moved_ns` when the engine moved."""

    u: int
    seq: int
    time_ns: int
    moved_ns: int


class Picture(NamedTuple):
    """A book as a topic tells it, best first."""

    bids: Sequence[Rung]
    asks: Sequence[Rung]
    stamp: Stamp


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a topic, for everybody who listens."""

    topic: str
    text: str
    kind: FrameKind
    reset: bool = False


class BookStream:
    """`orderbook.{depth}.{symbol}`.

    Asleep while nobody listens; `u` then runs on by the beats slept through.  Level 1 has no
    deltas: every message is a snapshot.
    """

    def __init__(
        self, exchange: Exchange, instrument: Instrument, depth: int, first_u: int
    ) -> None:
        self.topic = f"orderbook.{depth}.{instrument.name}"
        self.depth = depth
        self.interval_ns = BOOK_NS[depth]
        self.awake = False
        self._exchange = exchange
        self._instrument = instrument
        # On spot, and at level 1, `ts` comes before `type`; elsewhere after it (recorded).
        self._ts_first = instrument.spot or depth == 1
        self._stamp = Stamp(first_u, 0, 0, 0)
        self._told: dict[Side, dict[int, int]] = {side: {} for side in Side}
        self._touched: dict[Side, dict[int, int]] = {side: {} for side in Side}
        self._edges: dict[Side, int | None] = dict.fromkeys(Side)  # worst price of a full window
        # For newcomers: an older state, and the deltas since.
        self._base = Picture((), (), self._stamp)
        self._since: list[Message] = []

    # What it says

    def join(self, now_ns: int, moved_ns: int) -> list[Message]:
        """What a newcomer is told: a snapshot, and the deltas since."""
        self.wake(now_ns, moved_ns)
        return [self._snapshot(self._base), *self._since]

    def advance(self, now_ns: int, moved_ns: int) -> Message | None:
        """The next message; None if nothing in the window changed."""
        old = self._stamp
        rebase = self.depth > 1 and now_ns - self._base.stamp.time_ns >= _BASE_AGE_NS
        before = self._picture(old._replace(time_ns=now_ns)) if rebase else self._base
        bids, asks = self._changes()
        if not bids and not asks:
            return None
        seq = self._exchange.update_id(self._symbol)
        self._stamp = Stamp(old.u + 1, seq, now_ns, moved_ns)
        if self.depth == 1:
            return self._rebase()
        if rebase:
            self._base = before
            self._since.clear()
        text = self._text("delta", Picture(bids, asks, self._stamp))
        message = Message(self.topic, text, FrameKind.DELTA)
        self._since.append(message)
        return message

    def repeat(self, now_ns: int) -> Message:
        """Level 1 unchanged for 3 s: the last snapshot again, under the same `u`."""
        assert self.depth == 1, "only level 1 repeats itself"
        self._stamp = self._stamp._replace(time_ns=now_ns)
        return self._rebase()

    def snapshot(self, now_ns: int, moved_ns: int) -> Message:
        """A snapshot in mid-stream; it takes the next `u`."""
        self._fill(self._stamp.u + 1, now_ns, moved_ns)
        return self._rebase()

    def restart(self, now_ns: int, moved_ns: int, *, as_delta: bool) -> Message:
        """The service restarted: the whole book under `u` 1, whatever its `type` says."""
        self._fill(1, now_ns, moved_ns)
        message = self._rebase()
        text = self._text("delta", self._base) if as_delta and self.depth != 1 else message.text
        return Message(self.topic, text, message.kind, reset=True)

    def touch(self, levels: Iterable[Level]) -> bool:
        """Note changes of the engine's book; whether any can be seen in the window."""
        seen = False
        for side, px, qty, _, _ in levels:
            edge = self._edges[side]
            if edge is None or (px >= edge if side is Side.BUY else px <= edge):
                self._touched[side][px] = qty
                seen = True
        return seen

    # Sleep

    def wake(self, now_ns: int, moved_ns: int) -> None:
        """Be up to date, if it slept."""
        if self.awake:
            return
        self.awake = True
        old = self._stamp
        if old.u == 0 or old.seq != self._exchange.update_id(self._symbol):
            # A topic that was never heard of has slept since an unknown time: any `u` is good.
            slept_ns = now_ns - old.time_ns if old.u and old.time_ns else 0
            self._fill(old.u + 1 + slept_ns // self.interval_ns, now_ns, moved_ns)
        self._rebase()

    def sleep(self, *, forget: bool = False) -> None:
        """Nobody listens any more.  `forget`: the service stops too, `u` begins again at 1."""
        self.awake = False
        self._since.clear()
        if forget:
            self._stamp = self._stamp._replace(u=0)

    def picture(self, now_ns: int, moved_ns: int) -> Picture:
        """The book as last told, or as it stands if it sleeps."""
        if self.awake:
            return self._picture(self._stamp)
        self.wake(now_ns, moved_ns)
        self.sleep()
        return self._base

    # State

    def _changes(self) -> tuple[list[Rung], list[Rung]]:
        """What differs from what was told, best price first; size 0 left the window."""
        touched, self._touched = self._touched, {side: {} for side in Side}
        for side, told in self._told.items():
            if len(told) == self.depth or self._exchange.depth(self._symbol, side) > self.depth:
                # Levels may enter or leave at the window's edge: nothing but reading it tells.
                touched = self._read()
                for other, now in touched.items():
                    now.update(dict.fromkeys(self._told[other].keys() - now.keys(), 0))
                break
        bids, asks = (self._tell(side, touched[side]) for side in Side)
        bids.reverse()
        return bids, asks

    def _tell(self, side: Side, touched: Mapping[int, int]) -> list[Rung]:
        """Take over what is new on a side; returns it by price ascending."""
        told = self._told[side]
        changed = sorted((px, qty) for px, qty in touched.items() if told.get(px, 0) != qty)
        for px, qty in changed:
            if qty:
                told[px] = qty
            else:
                del told[px]
        self._set_edge(side)
        return changed

    def _fill(self, u: int, now_ns: int, moved_ns: int) -> None:
        """Be what the engine's book is."""
        self._told = self._read()
        self._touched = {side: {} for side in Side}
        for side in Side:
            self._set_edge(side)
        seq = self._exchange.update_id(self._symbol)
        self._stamp = Stamp(u, seq, now_ns, moved_ns)

    def _read(self) -> dict[Side, dict[int, int]]:
        book = self._exchange.book(self._symbol, self.depth)
        return {
            side: {level.px: level.qty for level in levels}
            for side, levels in zip(Side, book, strict=True)
        }

    def _set_edge(self, side: Side) -> None:
        told, edge = self._told[side], None
        assert len(told) <= self.depth, "the window is exact"
        if len(told) == self.depth:
            edge = min(told) if side is Side.BUY else max(told)
        self._edges[side] = edge

    @property
    def _symbol(self) -> str:
        return self._instrument.symbol

    def _picture(self, stamp: Stamp) -> Picture:
        bids, asks = (sorted(self._told[side].items()) for side in Side)
        bids.reverse()
        return Picture(bids, asks, stamp)

    def _rebase(self) -> Message:
        self._base = self._picture(self._stamp)
        self._since.clear()
        return self._snapshot(self._base)

    # Words

    def _snapshot(self, picture: Picture) -> Message:
        return Message(self.topic, self._text("snapshot", picture), FrameKind.SNAPSHOT)

    def _text(self, type_: str, picture: Picture) -> str:
        bids, asks, stamp = picture
        ts = stamp.time_ns // MS
        head = f'"ts":{ts},"type":"{type_}"' if self._ts_first else f'"type":"{type_}","ts":{ts}'
        return (
            f'{{"topic":"{self.topic}",{head},"data":{{"s":"{self._instrument.name}",'
            f'"b":{levels_text(self._instrument, bids)},"a":{levels_text(self._instrument, asks)},'
            f'"u":{stamp.u},"seq":{stamp.seq}}},"cts":{stamp.moved_ns // MS}}}'
        )


def levels_text(instrument: Instrument, levels: Iterable[Rung]) -> str:
    """Levels as JSON, in the order given."""
    px_text, qty_text = instrument.px, instrument.qty
    pairs = ",".join([f'["{px_text(px)}","{qty_text(qty)}"]' for px, qty in levels])
    return f"[{pairs}]"
