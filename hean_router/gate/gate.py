"""The gate: recounts, from what is on disk, whether an order may leave.

It knows nothing of the planner, the OMS or risk, and shares no line with them: their bugs are what
it is for (a router whose "already filled" counter stood still sent four million orders in 2012).
It fails closed: what it does not understand shuts it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from hean_router.domain.instrument import Side
from hean_router.domain.order import Tif
from hean_router.domain.parent import Life
from hean_router.domain.record import ChildIntended, Incident, RiskSet, Row
from hean_router.gate.count import EXACT, ZERO, Child, Count, Parent, Scope

CHILDREN_MAX = 400  # of one parent: beyond it something runs in circles
# An intention older than this is not sent any more.  A desk is stricter (250 ms to the wire);
# this one holds when a desk's clockwork is what fails.
FRESH_NS = 2_000_000_000
EVERYWHERE: Scope = ("", "")

_Rule: TypeAlias = Callable[[ChildIntended, Parent, int], str]


class Gate:
    """Folds committed rows; lets each order through at most once.

    Two things shut a place: whoever reconciles it (`shut`, lifted by `open`), and a fault: a trade
    that no rule allows, an exception in here.  A fault stays through any number of `open`s until
    a person sets risk back to normal, and comes back from the journal after a restart.
    """

    def __init__(self) -> None:
        self._count = Count()
        self._opened: set[Scope] = set()
        self._shut: dict[Scope, str] = {}
        self._faults: dict[Scope, str] = {}
        self._incidents: deque[Incident] = deque(maxlen=1_000)

    # ------------------------------------------------------------------------- opening

    def open(self, scope: Scope) -> None:
        """Let orders through there: we agree with the venue.  Lifts `shut`, never a fault."""
        self._opened.add(scope)
        self._shut.pop(scope, None)

    def shut(self, scope: Scope, why: str) -> None:
        """Let none through there; ("", "") is everywhere, (venue, "") all accounts of it.

        Each is lifted by opening the same scope; a place is open only if opened itself.
        """
        self._opened.discard(scope)
        self._shut[scope] = why or "shut"

    def standing(self) -> dict[Scope, str]:
        """Why each place is shut; empty where it is open."""
        return dict.fromkeys(self._opened, "") | self._shut | self._faults

    def take_incidents(self) -> list[Incident]:
        """The faults since this was last asked, as rows for the journal."""
        taken = list(self._incidents)
        self._incidents.clear()
        return taken

    # ------------------------------------------------------------------------- rows

    def apply(self, row: Row) -> None:
        """Take in a row that is on disk.  Raises nothing: what cannot be counted is a fault."""
        try:
            self._count.apply(row)
        except Exception as error:  # noqa: BLE001 - fails closed, whatever it is
            scope = (getattr(row, "venue", ""), getattr(row, "account", ""))
            if not scope[0]:
                scope = self._place_of(row)
            self._fault(scope, "gate_failed", f"{type(error).__name__}: {error}", row.at_ns)
        if self._count.faults:
            for where, code, why in self._count.faults:
                self._fault(where, code, why, row.at_ns)
            self._count.faults.clear()
        if isinstance(row, RiskSet) and row.state == "normal":
            self._faults.clear()

    def _place_of(self, row: Row) -> Scope:
        child = self._count.children.get(getattr(row, "key", ""))
        return EVERYWHERE if child is None else (child.row.venue, child.row.account)

    def _fault(self, scope: Scope, code: str, why: str, at_ns: int) -> None:
        self._faults.setdefault(scope, f"{code}: {why}")
        what = code if code.startswith("gate_") else f"gate_{code}"
        self._incidents.append(
            Incident(at_ns=at_ns, what=what, text=why, venue=scope[0], account=scope[1])
        )

    # ------------------------------------------------------------------------- the look

    def check(self, intended: ChildIntended, now_ns: int) -> str:
        """Empty: it may leave, once, and counts as left.  Else "code: reason"."""
        try:
            why = self._verdict(intended, now_ns)
            if not why:
                self._count.children[intended.key].passed = True
        except Exception as error:  # noqa: BLE001 - fails closed, whatever it is
            text = f"{type(error).__name__}: {error}"
            scope = (getattr(intended, "venue", ""), getattr(intended, "account", ""))
            self._fault(scope, "gate_failed", text, now_ns)
            return f"gate_failed: {text}"
        return why

    def _verdict(self, intended: ChildIntended, now_ns: int) -> str:
        child = self._count.children.get(intended.key)
        if why := self._on_disk(intended, child, now_ns):
            return why
        parent = self._count.parents.get(intended.parent)
        if parent is None:
            return "no_parent: nobody asked for this order"
        if parent.closed:
            return f"parent_closed: {parent.closed}"
        rules: Sequence[_Rule] = (
            self._as_asked,
            self._as_long,
            self._within_quantity,
            self._within_money,
            self._within_price,
            self._by_state,
            self._by_scope,
        )
        for rule in rules:
            if why := rule(intended, parent, now_ns):
                return why
        return ""

    def _on_disk(self, intended: ChildIntended, child: Child | None, now_ns: int) -> str:
        if child is None or child.row != intended:
            return "not_journaled: this order is not on disk as it is to be sent"
        if child.passed:
            return "sent_before: each order leaves once"
        if not child.live or child.filled:
            return "over: it has ended, or traded, already"
        age_ns = now_ns - intended.at_ns
        if age_ns > FRESH_NS:
            return "late: it was decided too long ago"
        return "" if age_ns >= 0 else "early: it was decided in a time to come"

    def _as_asked(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        asked = parent.row.intent
        if (asked.side, asked.symbol, asked.account) != (
            intended.side,
            intended.symbol,
            intended.account,
        ):
            return "not_as_asked: side, symbol or account differ from the parent's"
        chosen = asked.venues
        if intended.venue in chosen.exclude or (
            chosen.include and intended.venue not in chosen.include
        ):
            return f"not_as_asked: {intended.venue} was not among the venues asked for"
        if len(parent.children) > CHILDREN_MAX:
            return f"throttle: more than {CHILDREN_MAX} orders for one parent"
        return ""

    def _as_long(self, intended: ChildIntended, parent: Parent, now_ns: int) -> str:
        """It rests only where resting was asked for, and is not sent after its time."""
        asked = parent.row.intent
        if asked.expire_ns is not None and now_ns >= asked.expire_ns:
            return "expired: the time it was good for is over"
        if asked.post_only and not intended.post_only:
            return "not_as_asked: it was to rest, and this order could take"
        if asked.life is Life.FOK and intended.tif is not Tif.FOK:
            return "not_as_asked: all or nothing, and this order could fill in part"
        if asked.life is Life.IOC and intended.tif is Tif.GTC:
            return "not_as_asked: it was to trade at once, and this order would rest"
        return ""

    def _within_quantity(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        """Filled + open + unknown + this one is no more than was asked for (I2)."""
        total = EXACT.add(parent.filled, parent.out(intended.key))
        if EXACT.add(total, intended.qty) > parent.row.qty:
            return (
                f"over_quantity: {intended.qty} more on {total} filled or out, "
                f"of {parent.row.qty} asked for"
            )
        return ""

    def _within_money(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        most = parent.row.quote_max
        if most is None:
            return ""
        total = EXACT.add(parent.spent, parent.may_spend(intended.key))
        worst_px = self._count.children[intended.key].worst_px
        total = EXACT.fma(intended.qty, worst_px, total)
        return "" if total <= most else f"over_money: up to {total} of {most} given"

    def _within_price(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        """No price worse than the parent allows (I8); so none without a limit either."""
        worst = parent.row.worst_px
        if intended.px is None:
            return "no_price: an order that the venue may fill at any price"
        for one in (intended.px, intended.worst_px):
            if one > worst if intended.side is Side.BUY else one < worst:
                return f"over_price: {one} is worse than {worst}"
        return ""

    def _by_state(self, intended: ChildIntended, _parent: Parent, _now_ns: int) -> str:
        """Reduce-only and the kill switch let pass what brings the position nearer to nothing."""
        if self._count.state == "normal":
            return ""
        held = self._count.positions.get((intended.account, intended.symbol), ZERO)
        room = EXACT.minus(held) if intended.side is Side.BUY else held
        if EXACT.add(self._out_too(intended), intended.qty) <= room:
            return ""
        return f"risk_{self._count.state}: {self._count.reason}"

    def _out_too(self, intended: ChildIntended) -> Decimal:
        """What other orders the same way may still trade, at all venues."""
        total = ZERO
        for child in self._count.children.values():
            row = child.row
            same = (
                row.account == intended.account
                and row.symbol == intended.symbol
                and row.side is intended.side
            )
            if same and row.key != intended.key:
                total = EXACT.add(total, child.out)
        return total

    def _by_scope(self, intended: ChildIntended, _parent: Parent, _now_ns: int) -> str:
        place = (intended.venue, intended.account)
        for scope in (EVERYWHERE, (intended.venue, ""), ("", intended.account), place):
            if why := self._faults.get(scope) or self._shut.get(scope):
                return f"gate_shut: {why}"
        return "" if place in self._opened else "gate_shut: not reconciled yet"
