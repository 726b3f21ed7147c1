"""Bybit's order book streams: one sequence per topic, the same for all who listen.

`u` counts a topic's messages; `seq` is the engine's, shared by all topics of a symbol.  A delta
keeps the window at exactly its depth: what enters or leaves it is said.  Recorded: who subscribes
gets a snapshot up to some seconds old, then every delta since, in one burst.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hean_router.sim.contract import MS, SECOND, FrameKind
from hean_router.sim.exchange import BookLevel, Exchange, Level, Side
from hean_router.sim.faces.bybit.facts import BOOK_NS, Instrument

_BASE_AGE_NS = 2 * SECOND  # how old the snapshot for newcomers may grow; recorded: 1 to 3 s


class Picture(NamedTuple):
    """A book as a topic tells it: best first, `time_ns` when told, `moved_ns` when it changed."""

    bids: Sequence[BookLevel]
    asks: Sequence[BookLevel]
    u: int
    seq: int
    time_ns: int
    moved_ns: int


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
        self._picture = Picture((), (), first_u, 0, 0, 0)
        self._base = self._picture
        self._since: list[Message] = []  # deltas after the base
        self._edges: dict[Side, int | None] = {}

    # What it says

    def join(self, now_ns: int, moved_ns: int) -> list[Message]:
        """What a newcomer is told: a snapshot, and the deltas since."""
        self.wake(now_ns, moved_ns)
        return [self._snapshot(self._base), *self._since]

    def advance(self, now_ns: int, moved_ns: int) -> Message | None:
        """The next message; None if nothing in the window changed."""
        old = self._picture
        bids, asks = self._read()
        changed = (_changes(old.bids, bids), _changes(old.asks, asks))
        if changed == ([], []):
            return None
        seq = self._exchange.update_id(self._instrument.symbol)
        self._picture = new = Picture(bids, asks, old.u + 1, seq, now_ns, moved_ns)
        if self.depth == 1:
            return self._rebase(new)
        if now_ns - self._base.time_ns >= _BASE_AGE_NS:
            self._base = old._replace(time_ns=now_ns)
            self._since.clear()
        changed[0].reverse()  # bids best first, as in a snapshot
        text = self._text("delta", new._replace(bids=changed[0], asks=changed[1]))
        message = Message(self.topic, text, FrameKind.DELTA)
        self._since.append(message)
        return message

    def repeat(self, now_ns: int) -> Message:
        """Level 1 unchanged for 3 s: the last snapshot again, under the same `u`."""
        assert self.depth == 1, "only level 1 repeats itself"
        self._picture = self._picture._replace(time_ns=now_ns)
        return self._rebase(self._picture)

    def snapshot(self, now_ns: int, moved_ns: int) -> Message:
        """A snapshot in mid-stream; it takes the next `u`."""
        self._fill(self._picture.u + 1, now_ns, moved_ns)
        return self._rebase(self._picture)

    def restart(self, now_ns: int, moved_ns: int, *, as_delta: bool) -> Message:
        """The service restarted: the whole book under `u` 1, whatever its `type` says."""
        self._fill(1, now_ns, moved_ns)
        message = self._rebase(self._picture)
        if as_delta and self.depth != 1:
            message = Message(self.topic, self._text("delta", self._picture), message.kind)
        return Message(message.topic, message.text, message.kind, reset=True)

    # Sleep

    def wake(self, now_ns: int, moved_ns: int) -> None:
        """Be up to date, if it slept."""
        if self.awake:
            return
        self.awake = True
        old = self._picture
        if old.u == 0 or old.seq != self._exchange.update_id(self._instrument.symbol):
            # A topic that was never heard of has slept since an unknown time: any `u` is good.
            slept_ns = now_ns - old.time_ns if old.u and old.time_ns else 0
            self._fill(old.u + 1 + slept_ns // self.interval_ns, now_ns, moved_ns)
        self._rebase(self._picture)

    def sleep(self, *, forget: bool = False) -> None:
        """Nobody listens any more.  `forget`: the service stops too, `u` begins again at 1."""
        self.awake = False
        self._since.clear()
        if forget:
            self._picture = self._picture._replace(u=0)

    def picture(self, now_ns: int, moved_ns: int) -> Picture:
        """The book as last told, or as it stands if it sleeps."""
        if not self.awake:
            self.wake(now_ns, moved_ns)
            self.sleep()
        return self._picture

    def shows(self, level: Level) -> bool:
        """Whether a change of this level can be seen in the window."""
        edge = self._edges.get(level.side)
        if edge is None:
            return True
        return level.px >= edge if level.side is Side.BUY else level.px <= edge

    def _fill(self, u: int, now_ns: int, moved_ns: int) -> None:
        bids, asks = self._read()
        seq = self._exchange.update_id(self._instrument.symbol)
        self._picture = Picture(bids, asks, u, seq, now_ns, moved_ns)

    def _read(self) -> tuple[list[BookLevel], list[BookLevel]]:
        bids, asks = self._exchange.book(self._instrument.symbol, self.depth)
        for side, levels in ((Side.BUY, bids), (Side.SELL, asks)):
            self._edges[side] = levels[-1].px if len(levels) == self.depth else None
        return bids, asks

    def _rebase(self, picture: Picture) -> Message:
        self._base = picture
        self._since.clear()
        return self._snapshot(picture)

    # Words

    def _snapshot(self, picture: Picture) -> Message:
        return Message(self.topic, self._text("snapshot", picture), FrameKind.SNAPSHOT)

    def _text(self, type_: str, picture: Picture) -> str:
        ts = picture.time_ns // MS
        head = f'"ts":{ts},"type":"{type_}"' if self._ts_first else f'"type":"{type_}","ts":{ts}'
        return (
            f'{{"topic":"{self.topic}",{head},"data":{{"s":"{self._instrument.name}",'
            f'"b":{levels_text(self._instrument, picture.bids)},'
            f'"a":{levels_text(self._instrument, picture.asks)},'
            f'"u":{picture.u},"seq":{picture.seq}}},"cts":{picture.moved_ns // MS}}}'
        )


def levels_text(instrument: Instrument, levels: Iterable[BookLevel]) -> str:
    """Levels as JSON, in the order given."""
    px, qty = instrument.px, instrument.qty
    pairs = ",".join([f'["{px(level.px)}","{qty(level.qty)}"]' for level in levels])
    return f"[{pairs}]"


def _changes(old: Sequence[BookLevel], new: Sequence[BookLevel]) -> list[BookLevel]:
    """Levels of one side that differ in size, by price ascending; size 0 left the window."""
    before = {level.px: level.qty for level in old}
    after = {level.px: level.qty for level in new}
    changed = [BookLevel(px, qty, 0) for px, qty in after.items() if before.get(px) != qty]
    changed += [BookLevel(px, 0, 0) for px in before if px not in after]
    changed.sort()
    return changed
