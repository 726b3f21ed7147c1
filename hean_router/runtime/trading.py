"""The shell around the engine: commit, then the gate, then the wire; and who waits for what.

Everything happens on one loop, one step at a time, so that what a step sees never depends on
scheduling.  The order within a step is the protocol (I9): no byte of an order leaves before its
row is on disk, and the gate has counted it from there.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from hean_router.domain.desk import Budget, DeskEvent, FeesSeen, PermissionsSeen, Sent
from hean_router.domain.errors import HeanError
from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.domain.parent import Intent
from hean_router.domain.record import ChildIntended, ParentEnded, ParentPlaced, Row
from hean_router.engine import (
    AddKey,
    Answer,
    AskDesk,
    BooksMoved,
    CancelOrder,
    CancelParent,
    CommitFailed,
    DeskTold,
    DropKey,
    Due,
    Engine,
    Event,
    GateFound,
    GateRefused,
    GrantNonces,
    Placed,
    PlaceOrder,
    Refused,
    SetGate,
    SetRisk,
    Started,
    StartStrategy,
    Step,
    StopStrategy,
    Submit,
)
from hean_router.engine.keyring import RANDOM_BYTES, checked_scopes, digest_of, make_token
from hean_router.gate import Gate
from hean_router.runtime.clock import Clock
from hean_router.runtime.market import Market
from hean_router.venue.gateway import OrderDesk

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
QUEUE_MAX = 10_000  # rows a subscriber may lag behind before it is cut


class Log(Protocol):
    """The journal, as far as the shell needs it."""

    sync: str

    def append(self, rows: Sequence[Row]) -> int:
        """Write them in one transaction; raises `HeanError` and then has written none."""
        ...


class MarketWorld:
    """What the engine may look at, read from the market and the desks."""

    def __init__(self, market: Market, desks: Mapping[tuple[str, str], OrderDesk]) -> None:
        self._market, self._desks = market, desks
        self.pairs: tuple[Pair, ...] = tuple(market.pairs)

    def book(self, pair: Pair):  # type: ignore[no-untyped-def]  # noqa: ANN201 - as `World` says
        """All venues' books of `pair` as one; None for a pair that is not followed."""
        return self._market.book(pair) if pair in self.pairs else None

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        """How each venue lists `pair`."""
        return self._market.listing(pair)

    def budget(self, venue: str, account: str, instrument: Instrument) -> Budget:
        """How many orders could leave at once."""
        desk = self._desks.get((venue, account))
        return Budget(0, "no account there") if desk is None else desk.budget(instrument)

    def visibility_ns(self, venue: str) -> int:
        """The latest that any of the venue's desks says."""
        return max(
            (desk.visibility_ns for (name, _), desk in self._desks.items() if name == venue),
            default=SECOND,
        )


class Subscription:
    """Rows as they are committed; ends when the reader lags too far behind."""

    def __init__(self, leave: Callable[["Subscription"], None]) -> None:
        self._queue: asyncio.Queue[Row | None] = asyncio.Queue(QUEUE_MAX)
        self._leave = leave
        self.cut = ""  # why it was ended, if not by the reader

    def tell(self, row: Row) -> None:
        """Queue a row; a reader that is too slow is cut."""
        if self.cut:
            return
        try:
            self._queue.put_nowait(row)
        except asyncio.QueueFull:
            self.cut = f"more than {QUEUE_MAX} rows behind"

    async def __aiter__(self) -> AsyncIterator[Row]:
        try:
            while not self.cut or not self._queue.empty():
                row = await self._queue.get()
                if row is None:
                    return
                yield row
        finally:
            self._leave(self)

    def close(self) -> None:
        """End it."""
        self.cut = self.cut or "closed"
        if not self._queue.full():
            self._queue.put_nowait(None)
        self._leave(self)


class Trading:
    """A running order side: one engine, its journal, its gate, its desks."""

    def __init__(
        self,
        market: Market,
        engine: Engine,
        journal: Log,
        desks: Mapping[tuple[str, str], OrderDesk],
        clock: Clock,
        *,
        hear: Callable[[Row, int], None] | None = None,
        sent: Callable[[Sent, int], None] | None = None,
        fees: Callable[[str, str, FeesSeen], None] | None = None,
        timing: Callable[[str, int], None] | None = None,
        committed: Callable[[int], None] | None = None,
        denied: Callable[[str], None] | None = None,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._entropy = entropy  # for API keys: the system's own, but for simulations
        self.market, self.engine, self.journal, self.clock = market, engine, journal, clock
        self.gate = Gate()
        self.desks = desks
        self.journal_why = ""  # why rows cannot be written now
        self.started = False
        self._hear, self._sent, self._fees = hear, sent, fees
        self._committed = committed or (lambda _seq: None)
        self._denied = denied or (lambda _code: None)
        self._timing = timing or (lambda _stage, _ns: None)
        self._busy = False
        self._queue: deque[Event] = deque()
        self._unwritten: list[Row] = []
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._subscriptions: list[Subscription] = []
        self._ticks: dict[str, int] = {}  # order -> when the frame was read that led to it
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    # ------------------------------------------------------------------------- the start

    def recover(self, rows: Sequence[Row]) -> None:
        """Take in the journal, before anything else."""
        self.engine.replay(rows)
        for row in rows:
            self.gate.apply(row)
        self.gate.take_incidents()  # told when they were new

    def start(self, started: Started) -> None:
        """Own the journal from here on.  Raises `HeanError` if even that cannot be written."""
        self._loop = asyncio.get_running_loop()
        self._step(started)
        if self.journal_why:
            raise HeanError(f"the journal cannot be written: {self.journal_why}")
        self.started = True

    async def run(self) -> None:
        """Drive the engine by books and by time, until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._arm()
        try:
            while True:
                groups = await self.market.changed()
                pairs = tuple(
                    pair for pair in self.market.pairs if not pair.settle and _in(pair, groups)
                )
                if pairs:
                    self._step(BooksMoved(pairs))
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def sink(self, venue: str, account: str) -> Callable[[DeskEvent], None]:
        """Where a desk tells what it learned."""

        def take(event: DeskEvent) -> None:
            if isinstance(event, Sent):
                tick_ns = self._ticks.pop(event.key, 0)
                if self._sent is not None:
                    self._sent(event, tick_ns)
            elif isinstance(event, FeesSeen):
                if self._fees is not None:
                    self._fees(venue, account, event)
            elif not isinstance(event, PermissionsSeen):
                self._step(DeskTold(venue, account, event))

        return take

    # ------------------------------------------------------------------------- one step

    def _step(self, event: Event) -> Answer:
        if self._busy:  # a desk that answers within the call: taken in turn
            self._queue.append(event)
            return None
        self._busy = True
        try:
            answer = self._one(event)
            while self._queue:
                self._one(self._queue.popleft())
        finally:
            self._busy = False
        self._arm()
        return answer

    def _one(self, event: Event) -> Answer:
        began_ns = self.clock()
        step = self.engine.step(event, began_ns)
        self._wake_at_ns = step.wake_at_ns
        answer = step.answer
        planned_ns = self.clock()
        written = not step.rows or self._commit(step)
        if not written and isinstance(answer, Placed) and not answer.existing:
            answer = self._no_journal()
        committed_ns = self.clock()
        ordered = False
        for command in step.commands:
            match command:
                case PlaceOrder():
                    ordered = True
                    self._place(command, event, committed_ns)
                case CancelOrder():
                    self._desk(command).cancel(
                        command.instrument, command.key, command.venue_order_id
                    )
                case AskDesk():
                    self._ask(command)
                case GrantNonces(venue=venue, account=account, below=below):
                    if not self.journal_why:
                        self.desks[venue, account].grant_nonces(below)
                case SetGate(venue=venue, account=account, why=why):
                    if why:
                        self.gate.shut((venue, account), why)
                    else:
                        self.gate.open((venue, account))
        if ordered:
            self._timing("plan", planned_ns - began_ns)
            self._timing("commit", committed_ns - planned_ns)
        return answer

    def _commit(self, step: Step) -> bool:
        rows = [*self._unwritten, *step.rows]
        try:
            seq = self.journal.append(rows)
        except HeanError as fault:
            first = not self.journal_why
            self.journal_why = str(fault)
            if first:
                log.error("the journal cannot be written: %s %s", fault, fault.fix)
            self._unwritten = rows
            keys = tuple(row.key for row in step.rows if isinstance(row, ChildIntended))
            parents = tuple(row.parent for row in step.rows if isinstance(row, ParentPlaced))
            if keys or parents:
                self._queue.append(CommitFailed(keys, parents, str(fault)))
            return False
        if self.journal_why:
            log.warning("the journal can be written again")
        self.journal_why, self._unwritten = "", []
        for row in rows:
            self.gate.apply(row)
        self._publish(rows)
        self._committed(seq)
        self._hear_gate()
        return True

    def _hear_gate(self) -> None:
        """What the gate found in what is on disk becomes a row, and so everybody's business."""
        if found := self.gate.take_incidents():
            self._queue.append(GateFound(tuple(found)))

    def _place(self, command: PlaceOrder, event: Event, now_ns: int) -> None:
        intended = command.intended
        if self.journal_why:
            return  # its step could not be written: it is being withdrawn
        if verdict := self.gate.check(intended, now_ns):
            self._queue.append(GateRefused(intended.key, verdict))
            self._hear_gate()
            return
        if isinstance(event, BooksMoved):
            self._ticks[intended.key] = max(
                (
                    live.confirmed_ns
                    for pair in event.pairs
                    for live in self.market.book(pair).live().values()
                ),
                default=0,
            )
        self.desks[intended.venue, intended.account].place(command.approved)

    def _desk(self, command: CancelOrder | AskDesk) -> OrderDesk:
        return self.desks[command.venue, command.account]

    def _ask(self, command: AskDesk) -> None:
        desk = self._desk(command)
        match command.what:
            case "order":
                assert command.instrument is not None, "an order is of an instrument"
                desk.ask_order(command.instrument, command.key, command.venue_order_id)
            case "fills":
                assert command.instrument is not None, "trades are of an instrument"
                desk.ask_fills(command.instrument, command.since_ns)
            case "open":
                desk.ask_open(
                    [
                        of
                        for (venue, pair), of in self.market.listed.items()
                        if venue == command.venue and pair.part is Part.SPOT
                    ]
                )
            case "balances":
                desk.ask_balances()
            case other:
                raise AssertionError(f"nobody asks for {other}")

    def _arm(self) -> None:
        """Wake when the engine wants to."""
        if self._loop is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        wait_s = max(0.0005, (self._wake_at_ns - self.clock()) / SECOND)
        self._timer = self._loop.call_later(min(wait_s, 1.0), self._due)

    def _due(self) -> None:
        self._timer = None
        if self.journal_why:
            # Nobody may ask for anything while we are not ready: try it ourselves.
            self._flush()
        self._step(Due())

    # ------------------------------------------------------------------------- who listens

    def _publish(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if isinstance(row, ParentEnded):
                for waiter in self._waiting.pop(row.parent, ()):
                    if not waiter.done():
                        waiter.set_result(None)
            if self._hear is not None:
                self._hear(row, row.at_ns)
            for one in self._subscriptions:
                one.tell(row)

    def subscribe(self) -> Subscription:
        """Rows from now on."""
        one = Subscription(self._left)
        self._subscriptions.append(one)
        return one

    def _left(self, one: Subscription) -> None:
        if one in self._subscriptions:
            self._subscriptions.remove(one)

    async def wait(self, parent_id: str, timeout_s: float) -> None:
        """Wait until the parent has ended, or the time is over."""
        parent = self.engine.core.oms.parents[parent_id]
        if parent.ended is not None or timeout_s <= 0:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(parent_id, []).append(waiter)
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            pass
        finally:
            left = self._waiting.get(parent_id, [])
            if waiter in left:
                left.remove(waiter)
                if not left:
                    del self._waiting[parent_id]

    # ------------------------------------------------------------------------- what people ask

    def submit(self, intents: Sequence[Intent], by: str) -> Placed | Refused:
        """Place parents, all or none; durable when it returns."""
        if self.journal_why and not self._flush():
            return self._no_journal()
        began_ns = self.clock()
        answer = self._step(Submit(tuple(intents), by))
        self._timing("submit", self.clock() - began_ns)
        assert isinstance(answer, Placed | Refused), "a submit is answered"
        if isinstance(answer, Refused):
            self._denied(answer.code)
        return answer

    def _no_journal(self) -> Refused:
        return Refused(
            code="journal_unavailable",
            reason=f"orders cannot be written down: {self.journal_why}",
            fix="nothing was sent; free the disk of the state folder, then try again",
        )

    def _flush(self) -> bool:
        """Try to write what could not be written."""
        try:
            seq = self.journal.append(self._unwritten)
        except HeanError as fault:
            self.journal_why = str(fault)
            return False
        log.warning("the journal can be written again")
        rows, self._unwritten, self.journal_why = self._unwritten, [], ""
        for row in rows:
            self.gate.apply(row)
        self._publish(rows)
        self._committed(seq)
        return True

    def cancel(self, parent_id: str, by: str, why: str) -> bool:
        """Cancel what is left of a parent; False if nothing is."""
        return bool(self._step(CancelParent(parent=parent_id, why=why, by=by)))

    def kill(self, reason: str, by: str) -> None:
        """Stop new orders, take ours back everywhere; stays so until it is reset."""
        self._step(SetRisk(state="halted", reason=reason, by=by))

    def reduce_only(self, reason: str, by: str) -> None:
        """Let only orders through that bring positions nearer to nothing."""
        self._step(SetRisk(state="reduce_only", reason=reason, by=by))

    def reset(self, reason: str, by: str) -> None:
        """Trade again."""
        self._step(SetRisk(state="normal", reason=reason, by=by))

    def start_strategy(self, strategy: str, params: Mapping[str, str], by: str) -> bool:
        """Run a strategy; False if there is none.  Raises `CommandError` for bad parameters."""
        return bool(self._step(StartStrategy(strategy=strategy, params=params, by=by)))

    def stop_strategy(self, strategy: str, by: str, why: str = "asked to") -> bool:
        """Let it place nothing more; False if there is none of that name."""
        return bool(self._step(StopStrategy(strategy=strategy, by=by, why=why)))

    def make_key(self, account: str, scopes: Sequence[str], name: str = "") -> tuple[str, str]:
        """A new API key: its id, and the token that is told once and never again.

        Raises `CommandError` for scopes that do not exist.
        """
        good = checked_scopes(tuple(scopes))
        key_id, token = make_token(self._entropy(RANDOM_BYTES))
        self._step(
            AddKey(
                key_id=key_id,
                digest=digest_of(token),
                account=account,
                scopes=tuple(sorted(good)),
                name=name,
            )
        )
        return key_id, token

    def revoke_key(self, key_id: str, why: str = "") -> None:
        """A key is good no more."""
        self._step(DropKey(key_id, why))

    # ------------------------------------------------------------------------- how it stands

    def ready(self) -> str:
        """Why orders cannot be taken now; empty if they can: a desk that is open, a LIVE book."""
        if not self.started:
            return "starting"
        if self.journal_why:
            return f"journal: {self.journal_why}"
        desks = self.engine.core.desks
        if not desks:
            return "no account at any venue"
        standing = [where for where, health in desks.items() if not health.why]
        if not standing:
            return "; ".join(f"{v} {a}: {one.why}" for (v, a), one in sorted(desks.items()))
        for pair in self.market.pairs:
            live = set(self.market.book(pair).live())
            if any(VenueId(venue) in live for venue, _ in standing):
                return ""
        return "no venue that takes orders has a live book"

    def health(self) -> dict[str, Any]:
        """What stands and what is shut, and why."""
        core = self.engine.core
        unknown = sum(1 for child in core.oms.live.values() if child.status.value == "unknown")
        return {
            "ready": not self.ready(),
            "why": self.ready(),
            "risk": core.risk.state,
            "journal": {"sync": self.journal.sync, "why": self.journal_why},
            "venues": {
                venue: health.why or "ready" for (venue, _), health in sorted(core.desks.items())
            },
            "gate": {
                f"{venue} {account}".strip() or "everywhere": why
                for (venue, account), why in sorted(self.gate.standing().items())
                if why
            },
            "orders": {
                "working": len(self.engine.conduct.work),
                "children": len(core.oms.live),
                "unknown": unknown,
            },
        }


def _in(pair: Pair, groups: frozenset[Any]) -> bool:
    return any(
        (pair.base, pair.quote, pair.settle) == (group[0], group[1], group[2]) for group in groups
    )
