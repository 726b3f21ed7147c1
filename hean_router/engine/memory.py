"""What the engine lets go of, and when: memory must not grow with what has ended.

Forgetting is a row, so that reading the journal again forgets the same.  What comes back of it
later (an order's id, a trade) is looked up in the journal before anything is made of it.
"""

from collections import deque
from collections.abc import Sequence

from msgspec import Struct, structs

from hean_router.domain.desk import FillsSeen, StreamLost, Told
from hean_router.domain.errors import HeanError
from hean_router.domain.order import Fill
from hean_router.domain.record import Checkpoint, ParentEnded, Row
from hean_router.engine.core import Core
from hean_router.engine.event import DeskTold
from hean_router.engine.past import NoPast
from hean_router.oms.saved import packed

SECOND = 1_000_000_000
# A trade's own time is the venue's; its clock may be so far from ours, at most, that orders could
# be sent at all.
CLOCKS_APART_NS = 60 * SECOND
PACKED_AT_ONCE = 100  # 10 us each
SOON_NS = SECOND // 20


class Keep(Struct, frozen=True, kw_only=True):
    """How much is kept.

    `parents` that have ended last are kept, and any for `parent_ns` after the last that was
    learned of it: longer than a desk answers late.  Ids of trades are kept for `trade_ns`, longer
    than what venues are asked for again as a rule; for what is older the journal is asked, at
    some 20 us a trade.  A row forgets `at_once` parents at most, so that no step takes long; it is
    written for that many, every `rows` rows, and every `every_ns` while there is anything.
    """

    parents: int = 2_000
    parent_ns: int = 120 * SECOND
    trade_ns: int = 1_200 * SECOND
    at_once: int = 500
    rows: int = 20_000
    every_ns: int = 600 * SECOND


class Memory:
    """Writes `Checkpoint` rows, and keeps what was forgotten from being taken for new."""

    def __init__(self, core: Core, keep: Keep) -> None:
        self.core, self.keep = core, keep
        self.rows, self.last_ns = 0, 0  # since the last checkpoint; when it was
        self._unpacked: deque[str] = deque(maxlen=4 * keep.parents)  # of those that have ended

    def fold(self, row: Row) -> None:
        """Count a row."""
        self.rows += 1
        if isinstance(row, Checkpoint) or not self.last_ns:
            self.last_ns = row.at_ns
        if isinstance(row, Checkpoint):
            self.rows = 0
        elif isinstance(row, ParentEnded):
            self._unpacked.append(row.parent)

    def due(self) -> None:
        """Write a checkpoint if it is time for one."""
        core, keep = self.core, self.keep
        self._pack()
        if core.closed or isinstance(core.past, NoPast):
            return  # what nobody could tell later is not forgotten
        spare = len(core.oms.past) - keep.parents
        late = core.now_ns - self.last_ns >= keep.every_ns
        if spare < keep.at_once and self.rows < keep.rows and not late:
            return
        found = self._forgettable(spare)
        if not (len(found) >= keep.at_once or self.rows >= keep.rows or (found and late)):
            return
        core.write(
            Checkpoint(
                at_ns=core.now_ns,
                parents=tuple(found),
                trades_before_ns=max(0, core.now_ns - keep.trade_ns),
            )
        )
        if spare - len(found) >= keep.at_once and found:  # of a journal from before checkpoints
            core.wake(core.now_ns + SOON_NS, "")

    def _pack(self) -> None:
        """Make what has ended ready to be saved, a few at a time: a state is taken in one go."""
        for _ in range(min(PACKED_AT_ONCE, len(self._unpacked))):
            if (parent := self.core.oms.past.get(self._unpacked.popleft())) is not None:
                packed(parent)

    def _forgettable(self, spare: int) -> list[str]:
        """The oldest that have ended, all but those that are kept."""
        oms, found = self.core.oms, list[str]()
        before_ns = self.core.now_ns - self.keep.parent_ns
        most = min(spare, self.keep.at_once)
        if most <= 0:
            return found
        for name, parent in oms.past.items():
            if parent.ended is None or parent.ended.at_ns > before_ns:
                break  # they stand in the order of their ends
            if parent.updated_ns <= before_ns and oms.may_forget(parent):
                found.append(name)
                if len(found) == most:
                    break
        return found

    def unseen(self, told: DeskTold) -> DeskTold | None:
        """`told` without trades that are booked and forgotten; None if that is all of it."""
        event = told.event
        fills: Sequence[Fill]
        if isinstance(event, Told) and isinstance(event.event, Fill):
            fills = (event.event,)
        elif isinstance(event, FillsSeen):
            fills = event.fills
        else:
            return told
        if not self.core.oms.trades_before_ns:
            return told
        try:
            new = [fill for fill in fills if not self._booked(told.venue, told.account, fill)]
        except HeanError as fault:  # not to be taken for new, nor for old: asked for again
            why = f"the journal could not be read: {fault}"
            return DeskTold(told.venue, told.account, StreamLost(why))
        if len(new) == len(fills):
            return told
        if isinstance(event, FillsSeen):
            return DeskTold(told.venue, told.account, structs.replace(event, fills=new))
        return None

    def _booked(self, venue: str, account: str, fill: Fill) -> bool:
        """Whether it was booked so long ago that its id is no longer in memory."""
        oms, symbol = self.core.oms, str(fill.instrument.pair)
        if (venue, account, symbol, fill.trade_id) in oms.fills:
            return False  # known: whoever reads it sees that himself
        if fill.sent_ns >= oms.trades_before_ns + CLOCKS_APART_NS:
            return False  # booked since, if at all
        return self.core.past.trade(venue, account, symbol, fill.trade_id)
