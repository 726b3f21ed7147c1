"""What the gate knows: committed rows, counted anew and apart from everyone else's counting."""

from decimal import Clamped, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from typing import TypeAlias

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState
from hean_router.domain.record import (
    Checkpoint,
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildWithdrawn,
    Filled,
    FillUndone,
    Opened,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
)

Scope: TypeAlias = tuple[str, str]  # (venue, account); empty parts mean every one
Fault: TypeAlias = tuple[Scope, str, str]  # where, a stable code, the reason
Order: TypeAlias = tuple[str, str, str, str]  # venue, account, symbol, the venue's id

# A sum that would lose a digit is an error, and an error shuts the gate.
EXACT = Context(prec=400, traps=[Inexact, InvalidOperation, Overflow, DivisionByZero, Clamped])
ZERO = Decimal(0)


class Child:
    """An order that may exist.  Quantities are base, `spent` is quote: sum of px x qty."""

    __slots__ = (
        "filled",
        "ghost",
        "live",
        "never",
        "order",
        "parent",
        "passed",
        "row",
        "spent",
        "told",
        "worst_px",
    )

    def __init__(self, row: ChildIntended, parent: "Parent | None") -> None:
        self.row, self.parent = row, parent
        self.live, self.passed = True, False
        self.never = False  # withdrawn, refused for sure, or proven absent
        self.ghost = False  # ended, and then heard of as if it were not: counts as live
        self.told: Decimal | None = None  # what it filled in all, by the venue's word when it ended
        self.order: Order | None = None
        self.filled = self.spent = ZERO
        self.worst_px = row.worst_px  # for counting money: the dearer, if the row has two minds
        if row.px is not None:
            self.worst_px = max(row.px, row.worst_px)

    @property
    def out(self) -> Decimal:
        """What may still come to be traded by it: open, unknown, or ended and not told of yet."""
        most = self.row.qty
        if not self.live and not self.ghost and self.told is not None:
            most = self.told
        return max(ZERO, EXACT.subtract(most, self.filled))


class Parent:
    """What was asked for.  `filled` and `spent` are all its trades, whichever child had them."""

    __slots__ = ("children", "closed", "filled", "row", "spent")

    def __init__(self, row: ParentPlaced) -> None:
        self.row, self.closed = row, ""
        self.children: list[Child] = []
        self.filled = self.spent = ZERO

    def out(self, but: str) -> Decimal:
        """What its children, all but one, may still trade."""
        total = ZERO
        for child in self.children:
            if child.row.key != but:
                total = EXACT.add(total, child.out)
        return total

    def may_spend(self, but: str) -> Decimal:
        """Quote that its children, all but one, may still trade for, at their worst prices."""
        total = ZERO
        for child in self.children:
            if child.row.key != but:
                total = EXACT.fma(child.out, child.worst_px, total)
        return total


class Count:
    """The fold.  `faults` are contradictions in the rows themselves, to be taken by the gate."""

    def __init__(self) -> None:
        self.parents: dict[str, Parent] = {}
        self.children: dict[str, Child] = {}
        self.positions: dict[Scope, Decimal] = {}  # (account, symbol) -> base, over venues
        self.state, self.reason = "normal", ""
        self.faults: list[Fault] = []
        self.rooms: dict[str, Decimal] = {}  # ended parents -> what they asked for and did not get
        self.trades: dict[Order, tuple[int, str]] = {}  # when booked, and to which parent
        self.orders: dict[Order, Child] = {}  # the venue's ids, for trades that tell no other
        self.orphans: dict[Order, list[Filled]] = {}

    # ------------------------------------------------------------------------- rows

    def apply(self, row: Row) -> None:
        """Take in a row that is on disk.  Raises for numbers that cannot be counted."""
        match row:
            case ParentPlaced():
                self._placed(row)
            case ParentCancelAsked(parent=parent):
                if (found := self.parents.get(parent)) is not None:
                    found.closed = row.why or "it is being cancelled"
            case ParentEnded(parent=parent):
                self._ended(parent)
            case ChildIntended():
                self._intended(row)
            case ChildAcked(key=key, venue_order_id=order_id):
                if (child := self.children.get(key)) is not None:
                    self._named(child, order_id)
                    child.ghost = child.ghost or child.never
            case ChildWithdrawn(key=key) | ChildRejected(key=key) | ChildAbsent(key=key):
                if (child := self.children.get(key)) is not None:
                    self._never(child)
            case ChildReported():
                self._reported(row)
            case Filled():
                self._filled(row)
            case FillUndone():
                self._undone(row)
            case Checkpoint():
                self._checkpoint(row)
            case RiskSet():
                self.state, self.reason = row.state, row.reason
            case Opened():
                # What another process intended is its own: nothing of it leaves from here.
                for child in self.children.values():
                    child.passed = True
            case _:
                pass

    def _placed(self, row: ParentPlaced) -> None:
        _sound(row.qty, row.worst_px)
        if row.quote_max is not None:
            _sound(row.quote_max)
        if row.parent in self.rooms:
            return  # ended before: `no_parent`
        if (known := self.parents.get(row.parent)) is not None:
            known.closed = "it was placed twice"
            return
        self.parents[row.parent] = Parent(row)

    def _intended(self, row: ChildIntended) -> None:
        _sound(row.qty, row.worst_px)
        if row.px is not None:
            _sound(row.px)
        if row.key in self.children:
            self._fault(row, "key_reused", f"{row.key} was intended twice")
            return
        parent = self.parents.get(row.parent)
        child = self.children[row.key] = Child(row, parent)
        if parent is not None:
            parent.children.append(child)

    def _never(self, child: Child) -> None:
        if child.live:  # an end that the venue told stands, with what it said
            child.live, child.never, child.told = False, True, ZERO

    def _reported(self, row: ChildReported) -> None:
        child = self.children.get(row.key)
        if child is None:
            return
        self._named(child, row.venue_order_id)
        told = row.cum_qty
        if told is not None and not (told.is_finite() and told >= 0):
            raise ValueError(f"cumulative quantity {told}")
        match row.state:
            case OrderState.OPEN:
                child.ghost = not child.live
                return  # how much it has filled so far bounds nothing
            case OrderState.FILLED if told is None:
                told = child.row.qty
            case OrderState.REJECTED if told is None:
                told = ZERO
        child.live = child.ghost = False
        # An end whose fills are not all here counts by the venue's word, or in full without one.
        if told is not None:
            child.told = told if child.told is None else max(told, child.told)

    def _named(self, child: Child, order_id: str) -> None:
        """The venue's own id for it: trades that came earlier, under that id alone, are its own."""
        if not order_id:
            return
        row = child.row
        order = (row.venue, row.account, row.symbol, order_id)
        child.order, self.orders[order] = order, child
        for trade in self.orphans.pop(order, ()):
            self._credit(trade, child)

    # ------------------------------------------------------------------------- trades

    def is_new(self, row: Filled) -> bool:
        """Whether that trade has not been counted yet."""
        return (row.venue, row.account, row.symbol, row.trade_id) not in self.trades

    def _filled(self, row: Filled) -> None:
        _sound(row.qty, row.px)
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade in self.trades:
            return
        self.trades[trade] = (row.at_ns, row.parent)
        where = (row.account, row.symbol)
        signed = row.qty if row.side is Side.BUY else EXACT.minus(row.qty)
        self.positions[where] = EXACT.add(self.positions.get(where, ZERO), signed)
        order = (row.venue, row.account, row.symbol, row.venue_order_id)
        child = self.children.get(row.key) if row.key else self.orders.get(order)
        if child is not None:
            self._credit(row, child)
            self._named(child, row.venue_order_id)
        elif row.parent in self.rooms:
            room = self.rooms[row.parent] = EXACT.subtract(self.rooms[row.parent], row.qty)
            if room < 0:
                self._fault(
                    row, "overfill", f"{row.parent} has ended, and trades beyond its quantity"
                )
        elif row.key:
            self._fault(row, "unknown_order", f"a trade of {row.key}, which was never intended")
        elif row.venue_order_id:
            self.orphans.setdefault(order, []).append(row)

    def _credit(self, row: Filled, child: Child) -> None:
        asked, parent = child.row, child.parent
        child.filled = EXACT.add(child.filled, row.qty)
        child.spent = EXACT.fma(row.px, row.qty, child.spent)
        if parent is not None:
            parent.filled = EXACT.add(parent.filled, row.qty)
            parent.spent = EXACT.fma(row.px, row.qty, parent.spent)
        if (row.venue, row.account, row.symbol, row.side) != (
            asked.venue,
            asked.account,
            asked.symbol,
            asked.side,
        ):
            self._fault(row, "not_as_asked", f"a trade of {asked.key} elsewhere, or the other way")
        elif child.never:
            child.ghost = True
            self._fault(row, "after_never", f"a trade of {asked.key}, which was never to exist")
        elif parent is not None and parent.filled > parent.row.qty:
            self._fault(
                row, "overfill", f"{asked.parent}: {parent.filled} traded of {parent.row.qty}"
            )
        elif child.filled > asked.qty:
            self._fault(row, "overfill", f"{asked.key}: {child.filled} traded of {asked.qty}")
        elif asked.px is not None and _worse(row.px, asked.px, asked.side):
            self._fault(row, "price", f"{asked.key}: traded at {row.px}, its limit is {asked.px}")
        if child.filled >= asked.qty:
            child.live = child.ghost = False
            child.told = child.filled

    def _undone(self, row: FillUndone) -> None:
        """A trade, or a part of it, counts no more, wherever it was counted."""
        _sound(row.qty, row.px)
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade not in self.trades:
            self._fault(row, "undone", f"{row.trade_id} was never booked")
            return
        if row.whole:
            del self.trades[trade]
        where = (row.account, row.symbol)
        signed = EXACT.minus(row.qty) if row.side is Side.BUY else row.qty
        self.positions[where] = EXACT.add(self.positions.get(where, ZERO), signed)
        order = (row.venue, row.account, row.symbol, row.venue_order_id)
        waiting = self.orphans.get(order, ())
        if not row.key and any(one.trade_id == row.trade_id for one in waiting):
            left = [one for one in waiting if one.trade_id != row.trade_id]
            self.orphans[order] = left
            if not left:
                del self.orphans[order]
            return
        child = self.children.get(row.key) if row.key else self.orders.get(order)
        if child is None:
            if row.parent in self.rooms:
                self.rooms[row.parent] = EXACT.add(self.rooms[row.parent], row.qty)
            return
        spent = EXACT.multiply(row.px, row.qty)
        child.filled = EXACT.subtract(child.filled, row.qty)
        child.spent = EXACT.subtract(child.spent, spent)
        if (parent := child.parent) is not None:
            parent.filled = EXACT.subtract(parent.filled, row.qty)
            parent.spent = EXACT.subtract(parent.spent, spent)

    def _ended(self, parent: str) -> None:
        """What has ended takes no more orders; kept only while something of it may yet trade."""
        found = self.parents.get(parent)
        if found is None:
            return
        found.closed = "it has ended"
        if found.out("") > 0:
            return
        self.rooms[parent] = EXACT.subtract(found.row.qty, found.filled)
        del self.parents[parent]
        for child in found.children:
            self.children.pop(child.row.key, None)
            if child.order is not None:
                self.orders.pop(child.order, None)

    def _checkpoint(self, row: Checkpoint) -> None:
        """Those are forgotten; what by this count may yet trade is kept all the same."""
        for parent in row.parents:
            self.rooms.pop(parent, None)
        nameless = {
            (child.row.venue, child.row.account, child.row.symbol)
            for child in self.children.values()
            if child.order is None
        }
        for order, fills in list(self.orphans.items()):
            if order[:3] in nameless:
                continue  # may be that one's
            if all(fill.at_ns < row.trades_before_ns for fill in fills):
                del self.orphans[order]
        waiting = {
            (*order[:3], fill.trade_id) for order, fills in self.orphans.items() for fill in fills
        }
        for trade, (at_ns, parent) in list(self.trades.items()):
            if at_ns >= row.trades_before_ns or trade in waiting:
                continue
            if parent not in self.parents and parent not in self.rooms:
                del self.trades[trade]

    def _fault(self, row: ChildIntended | Filled | FillUndone, code: str, why: str) -> None:
        self.faults.append(((row.venue, row.account), code, why))


def _worse(px: Decimal, limit: Decimal, side: Side) -> bool:
    return px > limit if side is Side.BUY else px < limit


def _sound(*numbers: Decimal) -> None:
    for number in numbers:
        if not (number.is_finite() and number > 0):
            raise ValueError(f"{number} is no price and no quantity")
