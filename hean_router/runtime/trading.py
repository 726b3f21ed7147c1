"""The shell around the engine: commit, then the gate, then the wire; and who waits for what.

Everything happens on one loop, one step at a time, so that what a step sees never depends on
scheduling.  The order within a step is the protocol (I9): no byte of an order leaves before its
row is on disk, and the gate has counted it from there.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from hean_router.audit import FAILED, Broken, Watch
from hean_router.domain.desk import DeskEvent, FeesSeen, PermissionsSeen, Sent, StreamLost
from hean_router.domain.errors import CommandError, HeanError
from hean_router.domain.instrument import Pair, Part, VenueId
from hean_router.domain.limits import GateLimits
from hean_router.domain.parent import Intent
from hean_router.domain.record import (
    ChildAcked,
    ChildIntended,
    ChildReported,
    Filled,
    Incident,
    ParentEnded,
    ParentPlaced,
    Row,
)
from hean_router.engine import (
    AddKey,
    Answer,
    AskDesk,
    BooksMoved,
    CancelOrder,
    CancelParent,
    Command,
    CommitFailed,
    DeskFailed,
    DeskTold,
    DropKey,
    Due,
    Ending,
    Engine,
    Event,
    GateFound,
    GateRefused,
    GrantNonces,
    JournalBack,
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
    TaskDied,
)
from hean_router.engine.keyring import RANDOM_BYTES, checked_scopes, digest_of, make_token
from hean_router.gate import REFUSED, Gate
from hean_router.runtime import standing
from hean_router.runtime.clock import Clock
from hean_router.runtime.heart import LONG_NS, LOST_NS, Beat, Heart
from hean_router.runtime.market import Market
from hean_router.runtime.trading_ends import MarketWorld, Subscription
from hean_router.runtime.yardstick import Yardstick
from hean_router.venue.gateway import OrderDesk

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
GATHER_S = 0.001  # how long what venues tell waits for more of it


class Log(Protocol):
    """The journal, as far as the shell needs it."""

    sync: str

    def append(self, rows: Sequence[Row]) -> int:
        """Write them in one transaction; raises `HeanError` and then has written none."""
        ...


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
        gate: GateLimits = GateLimits(),  # noqa: B008 - frozen, a value
        wall: Clock | None = None,
        entropy: Callable[[int], bytes],
    ) -> None:
        self._entropy = entropy  # for API keys: the system's own, but for simulations
        self.market, self.engine, self.journal, self.clock = market, engine, journal, clock
        self.gate = Gate(gate)
        self.yardstick = Yardstick(market, engine.core.reporting)
        self.watch = Watch(engine.risk.limits, children_max=engine.core.policy.child_max)
        self._heart, self._wall = Heart(), wall
        self.stalls, self.stood_ns = 0, 0  # how often it stood still, and the longest
        self.desks = desks
        self.journal_why = ""  # why rows cannot be written now
        self.journal_since_ns = 0  # since when
        self.lost = ""  # why the journal is ours no more: no row and no order of this process
        self.taken_over = False  # and another has it: nothing at all leaves from here
        self.started = False
        self._hear, self._sent, self._fees = hear, sent, fees
        self._committed = committed or (lambda _seq: None)
        self._denied = denied or (lambda _code: None)
        self._timing = timing or (lambda _stage, _ns: None)
        self._busy = False
        self._queue: deque[Event] = deque()
        self._unwritten: list[Row] = []
        self._gathering = False  # rows wait for others to be written with
        self._retry_ns = 0  # not before then
        self._told_why = ""  # what the engine was told of the journal
        self._grants: dict[tuple[str, str], int] = {}  # nonces to be granted once on disk
        self._desk_faults: set[tuple[str, str, str]] = set()
        self.listener_faults = 0
        self.ending = False  # winding up: nothing new is taken
        self._closed = False
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._subscriptions: list[Subscription] = []
        self._ticks: dict[str, int] = {}  # order -> when the frame was read that led to it
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at_ns = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    # ------------------------------------------------------------------------- the start

    def recover(self, rows: Iterable[tuple[int, Row]]) -> None:
        """Take in the journal, before anything else: all of it, or what came after a state."""
        for seq, row in rows:
            self.engine.replay((row,))
            self.gate.apply(row)
            self.watch.apply(seq, row)
        self.gate.take_incidents()  # told when they were new
        # Nothing is opened or shut yet: what stands are faults.
        for scope, why in self.gate.standing().items():
            self.engine.core.gated.setdefault(scope, f"gate_{why}")
        for scope, why in self.watch.standing.items():
            self.engine.core.gated.setdefault(scope, why)

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
        while True:
            groups = await self.market.changed()
            self.yardstick.note(self.clock())
            pairs = tuple(
                pair for pair in self.market.pairs if not pair.settle and _in(pair, groups)
            )
            if pairs:
                self._step(BooksMoved(pairs))

    async def wind_up(self, orders: str, within_s: float) -> None:
        """Place nothing more, take orders back or leave them, and write down which.

        `cancel` waits until nothing of ours may trade, `within_s` at most: cancels are answered by
        venues, and one that does not answer must not keep us.
        """
        if not self.started or self._closed:
            return
        self.ending = True
        self.gate.hold("ending", ("", ""), "the router is winding up", "nothing: start it again")
        why = ""
        if orders == "cancel":
            self._step(Ending(orders=orders))
            live = self.engine.core.oms.live
            for _ in range(round(within_s / 0.02)):
                if not live:
                    break
                await asyncio.sleep(0.02)
            else:
                why = f"{len(live)} not known to be cancelled within {within_s:g} s"
        self._step(Ending(orders=orders, done=True, why=why))

    def close(self) -> None:
        """Take nothing in any more: the journal is about to close."""
        if self._unwritten and not self.journal_why:
            self._commit(())
        self._closed = True
        self._arm()
        for one in list(self._subscriptions):
            one.close()

    def sink(self, venue: str, account: str) -> Callable[[DeskEvent], None]:
        """Where a desk tells what it learned."""

        def take(event: DeskEvent) -> None:
            if isinstance(event, Sent):
                self._broken(self.watch.sent(event.key, event.at_ns, venue, account))
                tick_ns = self._ticks.pop(event.key, 0)
                if self._sent is not None:
                    self._safely(self._sent, event, tick_ns)
            elif isinstance(event, FeesSeen):
                if self._fees is not None:
                    self._safely(self._fees, venue, account, event)
            elif not isinstance(event, PermissionsSeen):
                self._step(DeskTold(venue, account, event))

        return take

    # ------------------------------------------------------------------------- one step

    def _step(self, event: Event) -> Answer:
        if self._closed:
            return None
        if self._busy:  # a desk that answers within the call: taken in turn
            self._queue.append(event)
            return None
        self._busy = True
        try:
            self._beat()
            answer = self._one(event)
            while self._queue:
                self._one(self._queue.popleft())
        finally:
            self._busy = False
            self._arm()
        return answer

    def heartbeat(self, every_s: float) -> None:
        """Called so often; between two of them nothing may have stood still for long."""
        if self._loop is None or not self.started or self._closed or self._busy:
            return
        self._busy = True
        try:
            self._beat()
            while self._queue:
                self._one(self._queue.popleft())
        finally:
            self._busy = False
        self._heart.expect("watch", self._loop.time() + every_s)

    def _beat(self) -> None:
        """Before anything is decided: has time gone on without us?"""
        if self._loop is None or not self.started:
            return
        wall_ns = None if self._wall is None else self._wall()
        beat = self._heart.beat(self.clock(), self._loop.time(), wall_ns)
        if beat.stood_ns:
            self.stalls += 1
            self.stood_ns = max(self.stood_ns, beat.stood_ns)
        if beat.stood_ns >= LONG_NS:
            self._tell_of_time("stalled", f"this process stood still for {_seconds(beat.stood_ns)}")
        if beat.moved_ns:
            self._tell_of_time("clock_moved", f"a clock was moved by {_seconds(beat.moved_ns)}")
            for desk in self.desks.values():
                desk.doubt_clock()
        if beat.stood_ns >= LOST_NS:
            self._look_afresh(beat)

    def _tell_of_time(self, what: str, text: str) -> None:
        log.warning("%s", text)
        incident = Incident(at_ns=self.clock(), what=what, text=text)
        self._one(GateFound((incident,), shuts=False))

    def _look_afresh(self, beat: Beat) -> None:
        """Whatever venues said meanwhile may be lost: nothing is sent before they were asked."""
        why = f"this process stood still for {_seconds(beat.stood_ns)}"
        for venue, account in self.desks:
            self._one(DeskTold(venue, account, StreamLost(why)))

    def _one(self, event: Event) -> Answer:
        began_ns = self.clock()
        step = self.engine.step(event, began_ns)
        self._wake_at_ns = step.wake_at_ns
        answer = step.answer
        planned_ns = self.clock()
        if self._may_wait(event, step):
            self._unwritten += step.rows
            return answer
        written = not (step.rows or self._unwritten) or self._commit(step.rows)
        if not written and isinstance(answer, Placed) and not answer.existing:
            answer = self._no_journal()
        committed_ns = self.clock()
        ordered = False
        for command in step.commands:
            ordered = ordered or isinstance(command, PlaceOrder)
            try:
                self._do(command, event, committed_ns)
            except Exception as fault:  # noqa: BLE001 - logged; the other commands still go
                self._desk_failed(command, fault)
        if ordered:
            self._timing("plan", planned_ns - began_ns)
            self._timing("commit", committed_ns - planned_ns)
        return answer

    def _may_wait(self, event: Event, step: Step) -> bool:
        """Whether rows may be written together with the next ones, a moment later.

        What a venue told and nothing follows from: should the process end before, it is asked for
        again, as if it had been told after the end.  A commit for each would be nearly all that a
        busy router waits for.
        """
        if not isinstance(event, DeskTold) or step.commands or self.journal_why:
            return False
        if not all(isinstance(row, ChildAcked | ChildReported | Filled) for row in step.rows):
            return False  # an end that somebody may have seen must not be undone
        if not self._gathering and step.rows:
            if self._loop is None:
                return False
            self._gathering = True
            self._loop.call_later(GATHER_S, self._gathered)
        return True

    def _gathered(self) -> None:
        self._gathering = False
        if self._unwritten and not self.journal_why:
            self._commit(())
        while self._queue and not self._busy:
            self._step(self._queue.popleft())

    def _do(self, command: Command, event: Event, now_ns: int) -> None:
        if self.taken_over and not isinstance(command, SetGate):
            return  # whoever has the journal now knows better, and its nonces are its own
        match command:
            case PlaceOrder():
                self._place(command, event, now_ns)
            case CancelOrder():
                self._desk(command).cancel(command.instrument, command.key, command.venue_order_id)
            case AskDesk():
                self._ask(command)
            case GrantNonces(venue=venue, account=account, below=below):
                self._grants[venue, account] = below
                if not self.journal_why:
                    self._grant()
            case SetGate(venue=venue, account=account, why=why):
                if why:
                    self.gate.shut((venue, account), why, now_ns)
                else:
                    self.gate.open((venue, account))

    def _grant(self) -> None:
        """Nonces whose row is on disk; the lane asks for them once."""
        while self._grants:
            where, below = self._grants.popitem()
            self.desks[where].grant_nonces(below)

    def _desk_failed(self, command: Command, fault: Exception) -> None:
        """Whether it left nobody knows: an order is asked about, whatever else is said again."""
        text = f"{type(command).__name__}: {type(fault).__name__}: {fault}"[:500]
        log.error("a fault of our own in a desk: %s", text, exc_info=fault)
        of = command.intended if isinstance(command, PlaceOrder) else command
        place = (of.venue, of.account, text)
        if place not in self._desk_faults and len(self._desk_faults) < 1_000:
            self._desk_faults.add(place)  # one row for each: it may fail for ever
            key = getattr(of, "key", "")
            self._queue.append(DeskFailed(venue=of.venue, account=of.account, why=text, key=key))

    def _commit(self, new: Sequence[Row]) -> bool:
        """Write what is new, and what could not be written before."""
        rows = [*self._unwritten, *new]
        began_ns = self.clock()
        if began_ns < self._retry_ns:
            self._not_written(rows, new)
            return False
        try:
            seq = self.journal.append(rows)
        except Exception as fault:  # noqa: BLE001 - logged; nothing of it counts as written
            if not self.journal_why:
                self.journal_since_ns = began_ns
                log.error("the journal cannot be written: %s", _words(fault))
            self.journal_why = _words(fault)
            if isinstance(fault, HeanError) and fault.final:
                self.lost, self.taken_over = str(fault), self.taken_over or fault.stale
                self.gate.disown(self.lost)
            # A disk that takes its time to fail must not take all of ours.
            self._retry_ns = self.clock() + 4 * (self.clock() - began_ns)
            self._not_written(rows, new)
            return False
        self._written(rows, seq)
        return True

    def _not_written(self, rows: list[Row], new: Sequence[Row]) -> None:
        self._unwritten = rows
        keys = tuple(row.key for row in new if isinstance(row, ChildIntended))
        parents = tuple(row.parent for row in new if isinstance(row, ParentPlaced))
        if keys or parents or self._told_why != self.journal_why:
            self._told_why = self.journal_why
            self._queue.append(CommitFailed(keys, parents, self.journal_why))

    def _written(self, rows: Sequence[Row], seq: int) -> None:
        if self.journal_why:
            log.warning("the journal can be written again")
            self._queue.append(JournalBack())
        self.journal_why = self._told_why = ""
        self._unwritten = []
        self._grant()
        for row in rows:
            self.gate.apply(row)
        engine, watch = self.engine, self.watch
        found = watch.committed(seq, rows)
        found += watch.agree(rows, engine.oms, engine.risk, engine.ledger)
        self._broken(found)
        self._publish(rows)
        self._safely(self._committed, seq)
        self._hear_gate()

    def _hear_gate(self) -> None:
        """What the gate found in what is on disk becomes a row, and so everybody's business."""
        found = self.gate.take_incidents()
        refused = tuple(one for one in found if one.what == REFUSED)
        if refused:  # one order each: the place goes on until they are too many
            self._queue.append(GateFound(refused, shuts=False))
        if faults := tuple(one for one in found if one.what != REFUSED):
            self._queue.append(GateFound(faults))

    def _broken(self, found: Sequence[Broken]) -> None:
        """An invariant that does not hold becomes a row, and nothing is planned there any more."""
        for one in found:
            log.error("broken: %s %s: %s", one.invariant, one.subject, one.text)
            failed = one.invariant == FAILED
            incident = Incident(
                at_ns=one.at_ns,
                what="audit_failed" if failed else f"broken_{one.invariant}",
                text=one.text,
                venue=one.venue,
                account=one.account,
                subject=one.subject,
            )
            self._queue.append(GateFound((incident,), shuts=not failed))

    def _place(self, command: PlaceOrder, event: Event, now_ns: int) -> None:
        intended = command.intended
        if self.journal_why:
            return  # its step could not be written: it is being withdrawn
        look = self.yardstick.look(intended.symbol, now_ns)
        verdict = self.gate.check(intended, now_ns, look)
        if not verdict and (why := self.watch.why(intended.venue, intended.account)):
            verdict = f"audit_shut: {why}"
        if verdict:
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
                desk.ask_open(self.market.known(command.venue, Part.SPOT))
            case "balances":
                desk.ask_balances()
            case other:
                raise AssertionError(f"nobody asks for {other}")

    def _arm(self) -> None:
        """Wake when the engine wants to."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is None or self._closed:
            return
        wait_s = min(max(0.0005, (self._wake_at_ns - self.clock()) / SECOND), 1.0)
        self._timer = self._loop.call_later(wait_s, self._due)
        # Not the handle's `when`: uvloop gives one without, where the wait is below a millisecond.
        self._heart.expect("timer", self._loop.time() + wait_s)

    def _due(self) -> None:
        self._timer = None
        self.yardstick.note(self.clock())
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
                self._safely(self._hear, row, row.at_ns)
            for one in self._subscriptions:
                one.tell(row)

    def _safely(self, listener: Callable[..., None], *told: object) -> None:
        """Tell somebody who counts; what goes wrong there must not keep an order from its way."""
        try:
            listener(*told)
        except Exception:
            self.listener_faults += 1
            if self.listener_faults <= 10:
                log.exception("a fault of our own in what listens to orders")

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
        if self._closed or self.ending:
            return Refused(code="journal_unavailable", reason="the router is stopping")
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
        """Try to write what could not be written; the engine hears of it if it could."""
        self._step(Due())
        return not self.journal_why

    def cancel(self, parent_id: str, by: str, why: str) -> bool:
        """Cancel what is left of a parent; False if nothing is."""
        return bool(self._step(CancelParent(parent=parent_id, why=why, by=by)))

    def kill(self, reason: str, by: str) -> None:
        """Stop new orders, take ours back everywhere; stays so until it is reset."""
        self.gate.kill(reason)  # at once, though the disk may not take its row
        self._step(SetRisk(state="halted", reason=reason, by=by))

    def task_died(self, name: str, why: str, *, often: bool) -> None:
        """A task of the program had to be started again; see `runtime.supervisor`."""
        if self.started and not self._closed:
            self._step(TaskDied(name=name, why=why, often=often))

    def note(self, what: str, text: str) -> None:
        """A row for a person to look at; nothing is shut by it."""
        incident = Incident(at_ns=self.clock(), what=what, text=text)
        self._step(GateFound((incident,), shuts=False))

    def reduce_only(self, reason: str, by: str) -> None:
        """Let only orders through that bring positions nearer to nothing."""
        self._step(SetRisk(state="reduce_only", reason=reason, by=by))

    def reset(self, reason: str, by: str) -> None:
        """Trade again."""
        self._step(SetRisk(state="normal", reason=reason, by=by))

    def start_strategy(self, strategy: str, params: Mapping[str, str], by: str) -> bool:
        """Run a strategy; False if there is none.  Raises `CommandError` for bad parameters."""
        found = self._step(StartStrategy(strategy=strategy, params=params, by=by))
        if isinstance(found, Refused):
            raise CommandError(found.reason, found.fix)
        return bool(found)

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
        """What stands and what is shut, and why; see `runtime.standing`."""
        return standing.health(self)


__all__ = ["Log", "MarketWorld", "Subscription", "Trading"]


def _words(fault: Exception) -> str:
    if isinstance(fault, HeanError):
        return f"{fault} {fault.fix}".strip()
    return f"a fault of our own: {type(fault).__name__}: {fault}"


def _seconds(took_ns: int) -> str:
    return f"{took_ns / SECOND:.1f} s"


def _in(pair: Pair, groups: frozenset[Any]) -> bool:
    return any(
        (pair.base, pair.quote, pair.settle) == (group[0], group[1], group[2]) for group in groups
    )
