"""One event in; rows and commands out.  Where the parts meet.

Synchronous and deterministic: what a step does depends on the journal so far, on the event, its
time, and the books as they stand.  The shell commits the rows, then lets the gate look, then sends.
"""

import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair
from hean_router.domain.limits import RiskLimits
from hean_router.domain.record import (
    ChildIntended,
    ChildRejected,
    ChildWithdrawn,
    Closed,
    Filled,
    Incident,
    KeyMade,
    KeyRevoked,
    Opened,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
    StrategyNoted,
    StrategySet,
)
from hean_router.engine.admission import admit
from hean_router.engine.command import (
    Answer,
    Placed,
    Refused,
    Step,
)
from hean_router.engine.conduct import Conduct
from hean_router.engine.core import Core
from hean_router.engine.crew import BOUND, Crew, snapshot
from hean_router.engine.desks import Desks
from hean_router.engine.event import (
    AddKey,
    BooksMoved,
    CancelParent,
    CommitFailed,
    DeskFailed,
    DeskTold,
    DropKey,
    Due,
    Ending,
    Event,
    GateFound,
    GateRefused,
    JournalBack,
    SetRisk,
    Started,
    StartStrategy,
    StopStrategy,
    Submit,
    TaskDied,
)
from hean_router.engine.hearing import Hearing
from hean_router.engine.keyring import KeyRing
from hean_router.engine.memory import Keep, Memory
from hean_router.engine.routing import take_back
from hean_router.engine.safety import Safety
from hean_router.engine.world import Policy, World
from hean_router.oms import Orders, Parent, Resolver
from hean_router.portfolio import Ledger
from hean_router.risk import Risk
from hean_router.strategy import contract
from hean_router.strategy.contract import Reaction, Strategy

log = logging.getLogger(__name__)

ENDING = "the router is winding up"


class Engine:
    """The router's mind.

    `desks` names every (venue, account) that can trade, with a reason where it never will.
    """

    def __init__(
        self,
        world: World,
        limits: RiskLimits,
        *,
        desks: Mapping[tuple[str, str], str],
        strategies: Sequence[Strategy] = (),
        strategy_params: Mapping[str, Mapping[str, str]] | None = None,
        policy: Policy = Policy(),  # noqa: B008 - frozen, a value
        keep: Keep = Keep(),  # noqa: B008 - as above
        reporting: str = "USD",
    ) -> None:
        self.core = Core(world, limits, policy, desks, reporting)
        self.conduct, self.desks = Conduct(self.core), Desks(self.core)
        self.safety = Safety(self.core, self.conduct)
        self.memory = Memory(self.core, keep)
        self.crew = Crew(self.core, strategies, strategy_params)
        self.resolver = Resolver(self.core.oms, world.visibility_ns, world.question_ns)
        self.hearing = Hearing(self.core, self.conduct, self.desks, self.resolver)
        self.opened: Opened | None = None
        self._touched: dict[str, None] = {}  # parents that this step's rows are about
        self._seen = 0  # rows of this step that have been reacted to
        self._told: deque[tuple[Strategy, contract.Event]] = deque()

    @property
    def oms(self) -> Orders:
        """Every order."""
        return self.core.oms

    @property
    def risk(self) -> Risk:
        """The limits and what is reserved."""
        return self.core.risk

    @property
    def ledger(self) -> Ledger:
        """Balances and positions."""
        return self.core.ledger

    @property
    def keyring(self) -> KeyRing:
        """API keys."""
        return self.core.keyring

    # ------------------------------------------------------------------------- the journal

    def replay(self, rows: Iterable[Row]) -> None:
        """Take in what the journal holds, before anything else."""
        for row in rows:
            self._fold(row)

    def _fold(self, row: Row) -> None:
        self.core.take(row)
        self._fold_own(row)

    def _fold_own(self, row: Row) -> None:
        self.memory.fold(row)
        match row:
            case StrategySet() | StrategyNoted():
                self.crew.take(row)
            case ChildIntended():
                self.desks.intended(row)
            case Incident(what="illegal_transition"):  # the venue or we have it wrong (I5)
                why = f"{row.what}: {row.subject} {row.text}"
                self.core.gated.setdefault((row.venue, row.account), why)
            case RiskSet(state="normal"):
                self.core.gated.clear()
            case Opened():
                self.opened = row
            case _:
                pass

    # ------------------------------------------------------------------------- one step

    def step(self, event: Event, now_ns: int) -> Step:
        """Take one event; never waits, never raises: a fault of our own halts trading."""
        core = self.core
        core.begin(now_ns)
        self._seen = 0
        try:
            answer = self._take(event)
            self._react()
            self._due()
            self._react()
            if self.safety.halt():
                self._react()
            core.prepare()
        except Exception as fault:  # noqa: BLE001 - logged, a row, and the end of trading
            answer = self._failed(event, fault)
        return Step(
            rows=tuple(core.rows),
            commands=tuple(core.commands),
            answer=answer,
            wake_at_ns=min(core.wake_at_ns, self.resolver.wake_at_ns),
        )

    def _failed(self, event: Event, fault: Exception) -> Answer:
        """Whatever is left of a step that broke."""
        self._told.clear()
        try:
            self.safety.failed(fault)
            self.safety.halt()
            self._react()
        except Exception:
            log.exception("a fault of our own, while halting for another")
        if isinstance(event, Submit):
            return Refused(
                code="risk_halted",
                reason="a fault of our own, it was logged; trading is halted",
                fix="see /v1/risk; reset it once the cause is known",
            )
        return None

    def _take(self, event: Event) -> Answer:
        core = self.core
        match event:
            case Submit():
                return self._submit(event)
            case DeskTold():
                if (told := self.memory.unseen(event)) is not None:
                    self.hearing.heard(told)
            case BooksMoved(pairs=pairs):
                self._books(pairs)
            case Due():
                self.memory.due()
            case CancelParent():
                return self._cancel(event)
            case GateRefused(key=key, verdict=verdict):
                code, _, why = verdict.partition(": ")
                self._withdraw(key, "gate", code, why)
            case CommitFailed():
                self._commit_failed(event)
            case GateFound(incidents=incidents, shuts=shuts):
                for one in incidents:
                    core.write(structs.replace(one, at_ns=core.now_ns))
                    if not shuts:
                        continue
                    core.gated.setdefault((one.venue, one.account), f"{one.what}: {one.text}")
            case SetRisk(state=state, reason=reason, by=by):
                self.safety.put(state, reason, by)
            case JournalBack():
                self._journal_back()
            case DeskFailed():
                self.hearing.desk_failed(event)
            case TaskDied(name=name, why=why, often=often):
                self.safety.task_died(name, why, often=often)
            case StartStrategy() | StopStrategy():
                return self._strategy(event)
            case AddKey():
                core.write(
                    KeyMade(
                        at_ns=core.now_ns,
                        key_id=event.key_id,
                        digest=event.digest,
                        account=event.account,
                        scopes=event.scopes,
                        name=event.name,
                    )
                )
            case DropKey(key_id=key_id, why=why):
                core.write(KeyRevoked(at_ns=core.now_ns, key_id=key_id, why=why))
            case Started():
                self._started(event)
            case Ending():
                self._ending(event)
        return None

    def _ending(self, event: Ending) -> None:
        """Plan nothing more; what is out is taken back, or rests on purpose."""
        core = self.core
        core.ending = ENDING
        if event.done:
            left = tuple(sorted(core.oms.live))
            core.write(Closed(at_ns=core.now_ns, orders=event.orders, left=left, why=event.why))
        elif event.orders == "cancel":
            for parent_id in list(self.conduct.work):
                parent = core.oms.parents[parent_id]
                self.conduct.stop(parent, ENDING, by="shutdown")
                self.safety.go_on(parent)

    def _started(self, event: Started) -> None:
        core = self.core
        core.write(
            Opened(
                at_ns=core.now_ns,
                epoch=event.epoch,
                tag=event.tag,
                version=event.version,
                config_digest=event.config_digest,
                mode=event.mode,
                limits_digest=event.limits_digest,
            )
        )
        self.desks.forget_flights()
        self.hearing.claim()  # of a journal that was written before such rows were
        self.conduct.resume()
        for name, strategy in self.crew.strategies.items():
            running, note = self.crew.running.get(name), self.crew.notes.get(name, "")
            if running is not None:
                strategy.configure(running.params)
                self._tell(strategy, contract.Started(note))
            elif note:  # stopped, perhaps with a leg that stands alone
                self._tell(strategy, contract.Started(note))
                self._wind_up(strategy)

    # ------------------------------------------------------------------------- orders

    def _submit(self, event: Submit) -> Placed | Refused:
        answer = admit(self.core, event.intents, event.by)
        if isinstance(answer, Placed) and not answer.existing:
            parents = [self.core.oms.parents[parent] for parent in answer.parents]
            for parent in parents:
                self.conduct.adopt(parent)
                self.safety.go_on(parent)
            if len(parents) > 1:
                self._all_or_none(parents)
        return answer

    def _all_or_none(self, legs: Sequence[Parent]) -> None:
        """A leg that could order nothing keeps the others back (I36): none has left yet."""
        idle = next((leg for leg in legs if not leg.working), None)
        if idle is None:
            return
        ended = idle.ended.why if idle.ended is not None else ""
        why = f"another leg, {idle.id}, could not be sent: {ended or 'nothing to be had'}"
        take_back(self.core, {leg.id for leg in legs}, by="routing", code="leg_refused", why=why)
        for leg in legs:
            self.conduct.stop(leg, why)
            self.safety.go_on(leg)

    def _cancel(self, event: CancelParent) -> bool:
        parent = self.core.oms.parents.get(event.parent)
        if parent is None or not self.conduct.stop(
            parent, event.why, by=event.by, becomes=event.becomes
        ):
            return False
        self.safety.go_on(parent)
        return True

    def _withdraw(self, key: str, by: str, code: str, why: str) -> None:
        child = self.core.oms.children.get(key)
        if child is None or not child.is_live:
            return
        self.core.write(ChildWithdrawn(at_ns=self.core.now_ns, key=key, by=by, code=code, why=why))

    def _commit_failed(self, event: CommitFailed) -> None:
        core = self.core
        core.closed = f"journal_unavailable: {event.why}"
        for key in event.keys:
            self._withdraw(key, "journal", "journal_unavailable", event.why)
        for parent_id in event.parents:
            parent = core.oms.parents[parent_id]
            self.conduct.stop(parent, f"journal_unavailable: {event.why}")
            self.safety.go_on(parent)

    def _journal_back(self) -> None:
        """What waited for the disk goes on."""
        self.core.closed = ""
        for parent_id in self.conduct.work:
            self.core.wake(self.core.now_ns, parent_id)

    # ------------------------------------------------------------------------- books, time

    def _books(self, pairs: tuple[Pair, ...]) -> None:
        self.core.note_references(pairs)
        self.conduct.books_moved(pairs)
        if not self.crew.idle:
            for pair in pairs:
                for strategy in self.crew.concerned(pair):
                    self._tell(strategy, contract.BookMoved(pair))

    def _due(self) -> None:
        core = self.core
        for subject in core.due():
            if (parent := core.oms.parents.get(subject)) is not None:
                self.safety.go_on(parent)
            elif self.crew.hears(subject) and subject in self.crew.strategies:
                self._tell(self.crew.strategies[subject], contract.Woke())
        if core.now_ns >= self.resolver.wake_at_ns:
            for question in self.resolver.due(core.now_ns):
                self.hearing.ask(question)
        self.desks.due()

    # ------------------------------------------------------------------------- reactions

    def _react(self) -> None:
        """Let parents and strategies go on until this step has nothing new to say."""
        core = self.core
        for _ in range(BOUND):
            while self._seen < len(core.rows):
                row = core.rows[self._seen]
                self._seen += 1
                self._fold_own(row)
                if isinstance(row, ChildRejected):
                    self.conduct.refused(row)
                if (about := self._about(row)) is not None:
                    self._touched[about] = None
            if not self._touched and not self._told:
                return
            touched, self._touched = list(self._touched), {}
            for parent_id in touched:
                if (parent := core.oms.parents.get(parent_id)) is not None:
                    self.safety.go_on(parent)
                    self._say(parent)
            for _ in range(len(self._told)):  # what they answer with is another round
                strategy, event = self._told.popleft()
                self._tell(strategy, event)
        core.write(
            Incident(
                at_ns=core.now_ns,
                what="runaway",
                text=f"one step led to more than {BOUND} rounds of reactions; the rest waits",
            )
        )
        for name in {strategy.name for strategy, _ in self._told}:
            self.crew.winding.discard(name)
            self._halt_strategy(name, "engine", "it runs in circles")
        self._told.clear()

    def _about(self, row: Row) -> str | None:
        """The parent that a row is about and that may have to go on because of it."""
        match row:
            case ParentPlaced() | ChildIntended():
                return None  # whoever wrote it goes on by himself
            case Filled(parent=parent) | ParentEnded(parent=parent):
                return parent or None
            case _:
                key = getattr(row, "key", "")
                child = self.core.oms.children.get(key) if key else None
                return None if child is None else child.parent.id

    def _say(self, parent: Parent) -> None:
        """Tell a parent's strategy how it stands."""
        strategy = self.crew.strategies.get(parent.intent.strategy)
        if strategy is None or not self.crew.hears(parent.intent.strategy):
            return
        view = snapshot(parent)
        event = contract.ParentDone(view) if parent.ended else contract.ParentMoved(view)
        self._told.append((strategy, event))

    def _tell(self, strategy: Strategy, event: contract.Event) -> None:
        reaction = self.crew.tell(strategy, event)
        if reaction is None:
            self.crew.winding.discard(strategy.name)
            self._halt_strategy(strategy.name, "engine", "it failed")
            return
        try:
            self._carry_out(strategy, reaction)
        except Exception as fault:
            log.exception("what strategy %s wants cannot be done", strategy.name)
            self.crew.failed(strategy, fault)
            self.crew.winding.discard(strategy.name)
            self._halt_strategy(strategy.name, "engine", "it wants what cannot be done")

    def _carry_out(self, strategy: Strategy, reaction: Reaction) -> None:
        core = self.core
        if reaction.note is not None:  # before its orders: a counter must never be used twice
            core.write(
                StrategyNoted(at_ns=core.now_ns, strategy=strategy.name, state=reaction.note)
            )
        for parent_id in reaction.cancels:
            if (parent := core.oms.parents.get(parent_id)) is not None:
                self.conduct.stop(parent, "its strategy wants it back", by=strategy.name)
                self.safety.go_on(parent)
        for group in reaction.groups:
            answer = self._submit(Submit(group.legs, strategy.name))
            if isinstance(answer, Refused):
                self._told.append(
                    (strategy, contract.Refused(group.name, answer.code, answer.reason))
                )
        if reaction.wake_at_ns is not None:
            core.wake(max(reaction.wake_at_ns, core.now_ns + 1), strategy.name)

    # ------------------------------------------------------------------------- strategies

    def _strategy(self, event: StartStrategy | StopStrategy) -> bool | Refused:
        strategy = self.crew.strategies.get(event.strategy)
        if strategy is None:
            return False
        if isinstance(event, StopStrategy):
            if event.strategy in self.crew.running:
                self._halt_strategy(event.strategy, event.by, event.why)
                self._wind_up(strategy)
            return True
        params = {**self.crew.params.get(event.strategy, {}), **event.params}
        try:
            strategy.configure(params)
        except CommandError as fault:  # the caller's fault, not ours: nothing is halted for it
            return Refused(code="invalid_parameter", reason=str(fault), fix=fault.fix)
        self.crew.winding.discard(event.strategy)
        core = self.core
        row = StrategySet(
            at_ns=core.now_ns,
            strategy=event.strategy,
            running=True,
            params=params,
            by=event.by,
        )
        core.write(row)
        self.crew.take(row)
        self._tell(strategy, contract.Started(self.crew.notes.get(event.strategy, "")))
        return True

    def _wind_up(self, strategy: Strategy) -> None:
        """Tell it that it is to end; from here on it hears of its parents alone."""
        self.crew.winding.add(strategy.name)
        self._tell(strategy, contract.Stopping())

    def _halt_strategy(self, name: str, by: str, why: str) -> None:
        core = self.core
        running = self.crew.running.get(name)
        row = StrategySet(
            at_ns=core.now_ns,
            strategy=name,
            running=False,
            params=dict(running.params) if running is not None else {},
            by=by,
            why=why,
        )
        core.write(row)
        self.crew.take(row)
