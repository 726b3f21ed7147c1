"""The watch: every row that is on disk, before every checker that rows alone can satisfy.

It shares no line with the order management, risk or the gate; it reads the rows and counts for
itself.  It never raises: a checker that fails is a finding too, told once, and the rest go on.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hean_router.audit.arithmetic import CHILDREN_MAX, Arithmetic
from hean_router.audit.caution import Caution
from hean_router.audit.checker import Broken, Findings
from hean_router.audit.claims import Books, Claims, Orders, Reserves
from hean_router.audit.decisions import STALE_MS, Decisions
from hean_router.audit.facts import ABSENT, EXACT, REJECTED, UNKNOWN, WITHDRAWN, ZERO, Child, Facts
from hean_router.audit.identity import Identity
from hean_router.audit.money import Money
from hean_router.audit.saved import restore, save
from hean_router.domain.limits import RiskLimits
from hean_router.domain.record import (
    BalanceBreak,
    BalancesSet,
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Decided,
    Filled,
    FillUndone,
    Incident,
    NonceReserved,
    Opened,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
)

FAILED = "audit"  # what a finding about a checker itself is called


class Watch:
    """Folds committed rows and holds them against the invariants.

    `standing` says what is broken where, (venue, account) -> why, until a person sets risk back to
    normal; `("", "")` is everywhere.  Memory is bounded: what has ended is dropped.
    """

    def __init__(
        self,
        limits: RiskLimits | None = None,
        *,
        children_max: int = CHILDREN_MAX,
        stale_ms: int = STALE_MS,
    ) -> None:
        self.facts, self.findings = Facts(), Findings()
        parts = (self.facts, self.findings)
        self.arithmetic = Arithmetic(*parts, children_max)
        self.identity, self.money = Identity(*parts), Money(*parts)
        self.caution = Caution(*parts, limits)
        self.decisions = Decisions(*parts, stale_ms)
        self.counts = self.findings.counts
        self.seq = 0
        self.standing: dict[tuple[str, str], str] = {}
        self._begun = False
        self.claims = Claims(*parts)
        self._takes: dict[type, Callable[[Any], None]] = {
            Opened: self._opened,
            NonceReserved: self._nonces,
            Incident: self._incident,
            ParentPlaced: self._placed,
            Decided: self._decided,
            ParentEnded: self._ended,
            ChildIntended: self._intended,
            ChildWithdrawn: self._withdrawn,
            ChildAcked: self._acked,
            ChildRejected: self._rejected,
            ChildUnknown: self._unknown,
            ChildReported: self._reported,
            ChildAbsent: self._absent,
            Filled: self._filled,
            FillUndone: self._undone,
            BalancesSet: self.facts.balances_set,
            BalanceBreak: self._break,
            RiskSet: self._risk,
        }

    # ------------------------------------------------------------------------- in and out

    def apply(self, seq: int, row: Row) -> tuple[Broken, ...]:
        """Take in one committed row with its number; what is broken by it."""
        try:
            if self._begun:
                self.identity.follows(row, seq, self.seq)
            elif seq > 1:
                self.facts.blind = True
            self.seq, self._begun = seq, True
            if (take := self._takes.get(type(row))) is not None:
                take(row)
        except Exception as fault:  # noqa: BLE001 - a checker must never stop an order
            self._failed(row.at_ns, fault)
        return self._found()

    def committed(self, seq: int, rows: Sequence[Row]) -> tuple[Broken, ...]:
        """Take in a whole transaction, `seq` the number of its last row."""
        found: tuple[Broken, ...] = ()
        first = seq - len(rows) + 1
        for number, row in enumerate(rows, first):
            found += self.apply(number, row)
        try:
            self.decisions.committed(rows)
        except Exception as fault:  # noqa: BLE001 - as above
            self._failed(rows[-1].at_ns, fault)
        return found + self._found()

    def agree(
        self, rows: Sequence[Row], orders: Orders, risk: Reserves, ledger: Books
    ) -> tuple[Broken, ...]:
        """After `committed`: hold what the process believes against it."""
        try:
            self.claims.agree(rows, orders, risk, ledger)
        except Exception as fault:  # noqa: BLE001 - as above
            self._failed(rows[-1].at_ns, fault)
        return self._found()

    def sent(self, key: str, at_ns: int, venue: str, account: str) -> tuple[Broken, ...]:
        """Bytes of an order were handed to the system."""
        self.claims.sent(key, at_ns, venue, account)
        return self._found()

    def save(self) -> bytes:
        """What it knows, for beside a checkpoint; the same bytes for the same rows."""
        return save(self.facts, self.seq, self.standing)

    def restore(self, data: bytes) -> None:
        """Go on from what was saved: the next row is the one after it.

        Raises `ValueError` or `msgspec.MsgspecError` for bytes that are not of this version; the
        watch is then to be made anew.
        """
        assert not self._begun, "only a new one can be filled"
        self.seq, standing = restore(self.facts, data)
        self.standing.update(standing)
        self._begun = True

    def why(self, venue: str, account: str) -> str:
        """Why no order may leave for there; empty if nothing is broken."""
        standing = self.standing
        if not standing:
            return ""
        for scope in (("", ""), (venue, ""), ("", account), (venue, account)):
            if why := standing.get(scope):
                return why
        return ""

    def _failed(self, at_ns: int, fault: Exception) -> None:
        text = f"{type(fault).__name__}: {fault}"[:500]
        kind = type(fault).__name__
        self.findings.tell(Broken(invariant=FAILED, subject=kind, text=text, at_ns=at_ns))

    def _found(self) -> tuple[Broken, ...]:
        found = self.findings.take()
        for one in found:
            if one.invariant != FAILED:
                text = f"broken_{one.invariant}: {one.subject} {one.text}"
                self.standing.setdefault((one.venue, one.account), text)
        return found

    # ------------------------------------------------------------------------- rows

    def _opened(self, row: Opened) -> None:
        self.identity.owner(row)
        self.facts.epoch = max(row.epoch, self.facts.epoch)
        self.facts.tags.add(row.tag)

    def _nonces(self, row: NonceReserved) -> None:
        self.identity.rises(row)
        self.facts.nonces[row.venue, row.account] = row.below

    def _incident(self, row: Incident) -> None:
        if (child := self.facts.children.get(row.subject)) is not None:
            child.alarmed = True

    def _risk(self, row: RiskSet) -> None:
        facts = self.facts
        facts.state, facts.state_why, facts.state_ns = row.state, row.reason, row.at_ns
        if row.state == "normal":
            self.standing.clear()
            self.findings.forget()

    def _break(self, row: BalanceBreak) -> None:
        self.money.breaks(row)

    def _placed(self, row: ParentPlaced) -> None:
        self.identity.once(row)
        self.arithmetic.limit(row)
        self.caution.parent_fits(row)
        self.decisions.placed(row)
        if row.parent not in self.facts.parents:
            self.facts.placed(row)

    def _decided(self, row: Decided) -> None:
        if not row.allocated:
            return
        self.decisions.fresh(row)
        if (parent := self.facts.parents.get(row.parent)) is not None:
            parent.decided = row
            parent.sent.clear()

    def _ended(self, row: ParentEnded) -> None:
        parent = self.facts.parents.get(row.parent)
        if not self.caution.released_once(row, parent) or parent is None:
            return
        self.arithmetic.whole(row, parent)
        self.arithmetic.over(row, parent)
        self.facts.ended(parent, str(row.status))

    def _intended(self, row: ChildIntended) -> None:
        facts = self.facts
        parent = facts.parents.get(row.parent)
        if parent is None and facts.blind:
            return
        if parent is None:
            self.arithmetic.broken("I2", row, row.key, f"of parent {row.parent}, which is none")
            return
        if parent.ended:
            self.arithmetic.broken("I7", row, row.parent, f"{row.key} after it ended")
        self.money.exact(row)
        self.identity.decodes(row, parent)
        self.arithmetic.committed(row, parent)
        self.arithmetic.bounded(row, parent)
        self.arithmetic.priced(row, parent)
        self.caution.count_fits(row)
        self.caution.only_reduces(row)
        self.decisions.as_decided(row, parent)
        if row.key in facts.children:
            return
        parent.sent[row.venue] = EXACT.add(parent.sent.get(row.venue, ZERO), row.qty)
        facts.intended(row, parent)

    def _child(self, row: Any) -> Child | None:
        """The order that a row may speak of, if the table allows it."""
        child = self.facts.children.get(row.key)
        return child if self.arithmetic.allowed(row, row.key, child) else None

    def _withdrawn(self, row: ChildWithdrawn) -> None:
        if child := self._child(row):
            self.facts.ends(child, WITHDRAWN, child.filled)

    def _rejected(self, row: ChildRejected) -> None:
        if child := self._child(row):
            self.facts.ends(child, REJECTED, child.filled)

    def _absent(self, row: ChildAbsent) -> None:
        if child := self._child(row):
            self.facts.ends(child, ABSENT, child.filled)

    def _unknown(self, row: ChildUnknown) -> None:
        if child := self._child(row):
            child.state = UNKNOWN

    def _acked(self, row: ChildAcked) -> None:
        if child := self._child(row):
            self.facts.acked(child, row)

    def _reported(self, row: ChildReported) -> None:
        if child := self._child(row):
            self.arithmetic.stays_ended(row, child)
            self.arithmetic.never_falls(row, child)
            self.facts.reported(child, row)

    def _filled(self, row: Filled) -> None:
        if not self.money.counted_once(row):
            return
        self.money.exact(row)
        self.money.fee(row)
        child = self.facts.children.get(row.key) if row.key else None
        if row.key and child is None and not self.facts.past(row.key):
            self.arithmetic.broken("I5", row, row.key, "a trade of an order never intended")
        if child is not None:
            self.arithmetic.stays_ended(row, child)
        self.facts.filled(row, child)
        if child is not None:
            self.arithmetic.sums(row, child)
            self.arithmetic.not_over(row, child)
            self.arithmetic.within(row, child)
            self.arithmetic.traded(row, child)

    def _undone(self, row: FillUndone) -> None:
        if self.money.known(row):
            self.facts.undone(row)
