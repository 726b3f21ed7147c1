"""The gate: recounts, from what is on disk, whether an order may leave.

It knows nothing of the planner, the OMS or risk, and shares no line with them: their bugs are what
it is for (a router whose "already filled" counter stood still sent four million orders in 2012).
It fails closed: what it does not understand shuts it.
"""

from collections.abc import Callable
from decimal import Context, Decimal
from typing import TypeAlias

from hean_router.domain.instrument import Side
from hean_router.domain.record import (
    ChildAbsent,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildWithdrawn,
    Filled,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
)

Scope: TypeAlias = tuple[str, str]  # (venue, account); empty parts mean every one

CHILDREN_MAX = 400  # of one parent: beyond it something runs in circles
FRESH_NS = 2_000_000_000  # an intention older than this is not sent any more
_EXACT = Context(prec=400)
_ZERO = Decimal(0)


class _Child:
    __slots__ = ("filled", "live", "row", "spent", "told")

    def __init__(self, row: ChildIntended) -> None:
        self.row, self.live = row, True
        self.told: Decimal | None = None  # what it has filled in all, once the venue says it ended
        self.filled = self.spent = _ZERO


class _Parent:
    __slots__ = ("children", "closed", "row")

    def __init__(self, row: ParentPlaced) -> None:
        self.row, self.closed = row, ""
        self.children: list[_Child] = []


class Gate:
    """Folds committed rows; lets each order through at most once."""

    def __init__(self) -> None:
        self._parents: dict[str, _Parent] = {}
        self._children: dict[str, _Child] = {}
        self._passed: set[str] = set()
        self._positions: dict[tuple[str, str], Decimal] = {}
        self._trades: set[tuple[str, str, str, str]] = set()
        self._state, self._reason = "normal", ""
        self._opened: set[Scope] = set()
        self._shut: dict[Scope, str] = {}

    # ------------------------------------------------------------------------- opening

    def open(self, scope: Scope) -> None:
        """Let orders through there: we agree with the venue."""
        self._opened.add(scope)
        self._shut.pop(scope, None)

    def shut(self, scope: Scope, why: str) -> None:
        """Let none through there; ("", "") is everywhere, until it is opened as such."""
        self._opened.discard(scope)
        self._shut[scope] = why

    def standing(self) -> dict[Scope, str]:
        """Why each place is shut; empty where it is open."""
        return dict.fromkeys(self._opened, "") | self._shut

    # ------------------------------------------------------------------------- rows

    def apply(self, row: Row) -> None:
        """Take in a row that is on disk."""
        match row:
            case ParentPlaced():
                self._parents[row.parent] = _Parent(row)
            case ParentCancelAsked(parent=parent):
                if (found := self._parents.get(parent)) is not None:
                    found.closed = row.why or "it is being cancelled"
            case ParentEnded(parent=parent):
                self._forget(parent)
            case ChildIntended():
                child = self._children[row.key] = _Child(row)
                if (found := self._parents.get(row.parent)) is not None:
                    found.children.append(child)
            case ChildWithdrawn(key=key) | ChildRejected(key=key) | ChildAbsent(key=key):
                self._end(key)
            case ChildReported(key=key):
                if row.state.value != "open":
                    self._told_end(key, row)
            case Filled():
                self._fill(row)
            case RiskSet():
                self._state, self._reason = row.state, row.reason
            case _:
                pass

    def _end(self, key: str) -> None:
        if (child := self._children.get(key)) is not None:
            child.live = False

    def _told_end(self, key: str, row: ChildReported) -> None:
        child = self._children.get(key)
        # An end whose fills are not all here yet still counts in full: they will come.
        if child is not None and row.cum_qty is not None:
            child.told = row.cum_qty
            child.live = child.live and child.filled < row.cum_qty

    def _fill(self, row: Filled) -> None:
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade in self._trades:
            return
        self._trades.add(trade)
        where = (row.account, row.symbol)
        signed = row.qty if row.side is Side.BUY else -row.qty
        self._positions[where] = _EXACT.add(self._positions.get(where, _ZERO), signed)
        child = self._children.get(row.key)
        if child is None:
            return
        child.filled = _EXACT.add(child.filled, row.qty)
        child.spent = _EXACT.fma(row.px, row.qty, child.spent)
        if child.filled >= (child.row.qty if child.told is None else child.told):
            child.live = False

    def _forget(self, parent: str) -> None:
        """What has ended takes no more orders: "no_parent" from now on."""
        if (found := self._parents.pop(parent, None)) is not None:
            for child in found.children:
                self._children.pop(child.row.key, None)
                self._passed.discard(child.row.key)

    # ------------------------------------------------------------------------- the look

    def check(self, intended: ChildIntended, now_ns: int) -> str:
        """Empty: it may leave, once.  Else "code: reason"."""
        try:
            for rule in (
                self._on_disk,
                self._of_its_parent,
                self._within_quantity,
                self._within_money,
                self._within_price,
                self._by_state,
                self._by_scope,
            ):
                look: Callable[[ChildIntended, int], str] = rule
                if why := look(intended, now_ns):
                    return why
        except Exception as fault:  # noqa: BLE001 - fails closed, whatever it is
            why = f"gate_failed: {type(fault).__name__}: {fault}"
            self.shut((intended.venue, intended.account), why)
            return why
        self._passed.add(intended.key)
        return ""

    def _on_disk(self, intended: ChildIntended, now_ns: int) -> str:
        child = self._children.get(intended.key)
        if child is None or child.row != intended:
            return "not_journaled: this order is not on disk as it is to be sent"
        if intended.key in self._passed:
            return "sent_before: each order leaves once"
        if not child.live or child.filled:
            return "over: it has ended, or traded, already"
        if now_ns - intended.at_ns > FRESH_NS:
            return "late: it was decided too long ago"
        return ""

    def _of_its_parent(self, intended: ChildIntended, _now_ns: int) -> str:
        parent = self._parents.get(intended.parent)
        if parent is None:
            return "no_parent: nobody asked for this order"
        asked = parent.row.intent
        if parent.closed:
            return f"parent_closed: {parent.closed}"
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

    def _within_quantity(self, intended: ChildIntended, _now_ns: int) -> str:
        """Filled + open + unknown + this one is no more than was asked for (I2)."""
        parent = self._parents[intended.parent]
        total = _ZERO
        for child in parent.children:
            if child.row.key == intended.key:
                continue
            most = max(child.row.qty, child.filled) if child.live else child.filled
            total = _EXACT.add(total, most)
        if total > parent.row.qty:
            why = f"overfill: {total} of {parent.row.qty} is filled or out"
            self.shut((intended.venue, intended.account), why)
            return why
        if _EXACT.add(total, intended.qty) > parent.row.qty:
            return (
                f"over_quantity: {intended.qty} more on {total} filled or out, "
                f"of {parent.row.qty} asked for"
            )
        return ""

    def _within_money(self, intended: ChildIntended, _now_ns: int) -> str:
        parent = self._parents[intended.parent]
        most = parent.row.quote_max
        if most is None:
            return ""
        total = _EXACT.multiply(intended.qty, intended.worst_px)
        for child in parent.children:
            if child.row.key == intended.key:
                continue
            total = _EXACT.add(total, child.spent)
            if child.live:
                left = max(_ZERO, _EXACT.subtract(child.row.qty, child.filled))
                total = _EXACT.fma(left, child.row.worst_px, total)
        return "" if total <= most else f"over_money: up to {total} of {most} given"

    def _within_price(self, intended: ChildIntended, _now_ns: int) -> str:
        """No price worse than the parent allows (I8)."""
        worst = self._parents[intended.parent].row.worst_px
        px = intended.worst_px if intended.px is None else intended.px
        if px <= 0 or intended.worst_px <= 0:
            return "no_price: an order without a bound"
        for one in (px, intended.worst_px):
            if one > worst if intended.side is Side.BUY else one < worst:
                return f"over_price: {one} is worse than {worst}"
        return ""

    def _by_state(self, intended: ChildIntended, _now_ns: int) -> str:
        """Reduce-only and the kill switch let pass what brings the position nearer to nothing."""
        if self._state == "normal":
            return ""
        held = self._positions.get((intended.account, intended.symbol), _ZERO)
        out = _ZERO
        for child in self._children.values():
            row = child.row
            same = (row.account, row.symbol, row.side) == (
                intended.account,
                intended.symbol,
                intended.side,
            )
            if child.live and same and row.key != intended.key:
                out = _EXACT.add(out, max(_ZERO, _EXACT.subtract(row.qty, child.filled)))
        room = -held if intended.side is Side.BUY else held
        if _EXACT.add(out, intended.qty) <= room:
            return ""
        return f"risk_{self._state}: {self._reason}"

    def _by_scope(self, intended: ChildIntended, _now_ns: int) -> str:
        for scope in (("", ""), (intended.venue, ""), (intended.venue, intended.account)):
            if scope in self._shut:
                return f"gate_shut: {self._shut[scope]}"
        if (intended.venue, intended.account) not in self._opened:
            return "gate_shut: not reconciled yet"
        return ""
