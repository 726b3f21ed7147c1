"""What becomes of a fault of our own: trading halts, cancels go, and everybody hears of it.

A step that breaks has written rows that are in the state already, so they belong on disk; but none
of its orders leaves.  Then risk is halted, as by the kill switch: until a person has looked.
"""

import logging

from hean_router.domain.record import Incident, ParentPlaced, RiskSet
from hean_router.engine.conduct import Conduct
from hean_router.engine.core import Core
from hean_router.engine.routing import take_back
from hean_router.oms import Parent

log = logging.getLogger(__name__)

BY = "engine"
TOLD_MAX = 1_000  # faults that are told apart; the rest is in the log


class Safety:
    """Drives parents so that one that cannot be driven stops trading, and nothing else."""

    def __init__(self, core: Core, conduct: Conduct) -> None:
        self.core, self.conduct = core, conduct
        self._told: set[tuple[str, str]] = set()
        self._why = ""  # why trading is to be halted

    def go_on(self, parent: Parent) -> None:
        """Look at a parent; a fault in that takes its new orders back, and halts trading."""
        try:
            self.conduct.go_on(parent)
        except Exception as fault:
            log.exception("a fault of our own, with parent %s", parent.id)
            self._tell(fault, parent.id)
            self._take_back({parent.id})

    def failed(self, fault: Exception) -> None:
        """The step itself broke: nothing that it wanted to send leaves."""
        log.error("a fault of our own", exc_info=fault)
        self._tell(fault, "")
        self._take_back(None)
        for row in list(self.core.rows):
            if isinstance(row, ParentPlaced) and row.parent not in self.conduct.work:
                self.conduct.adopt(self.core.oms.parents[row.parent])

    def halt(self) -> bool:
        """Halt trading if there was a fault; whether that wrote anything."""
        why, self._why = self._why, ""
        if not why or self.core.risk.state == "halted":
            return False
        self.put("halted", f"a fault of our own: {why}", BY)
        return True

    def task_died(self, name: str, why: str, *, often: bool) -> None:
        """A task had to be started again: a row says so; one that dies and dies ends trading."""
        core = self.core
        core.write(Incident(at_ns=core.now_ns, what="task_died", text=f"{name}: {why}"))
        if often and core.risk.state != "halted":
            self.put("halted", f"{name} dies again and again: {why}", BY)

    def put(self, state: str, reason: str, by: str) -> None:
        """Set risk; halted takes everything back."""
        core = self.core
        core.write(RiskSet(at_ns=core.now_ns, state=state, reason=reason, by=by))
        if state == "normal":
            self._told.clear()
            for parent_id in self.conduct.work:  # one that a fault held up goes on
                core.wake(core.now_ns, parent_id)
        if state == "halted":
            for parent_id in list(self.conduct.work):
                parent = core.oms.parents[parent_id]
                self.conduct.stop(parent, f"risk_halted: {reason}", by=by)
                self.go_on(parent)

    def _tell(self, fault: Exception, subject: str) -> None:
        """An incident for each fault, once: a timer may run into it for ever."""
        text = f"{type(fault).__name__}: {fault}"[:500]
        self._why = self._why or text
        if (subject, text) in self._told or len(self._told) >= TOLD_MAX:
            return
        self._told.add((subject, text))
        core = self.core
        core.write(Incident(at_ns=core.now_ns, what="engine_failed", text=text, subject=subject))

    def _take_back(self, parents: set[str] | None) -> None:
        why = "the step that decided it broke"
        take_back(self.core, parents, by=BY, code="engine_failed", why=why)
