"""What committed rows say, counted anew and apart from every other count of the program.

Bounded: what has ended and is settled is forgotten at once.  Quantities are base, money is quote;
sums are exact.
"""

from collections import deque
from decimal import ROUND_FLOOR, Context, Decimal
from typing import TypeAlias

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState
from hean_router.domain.record import (
    BalancesSet,
    ChildAcked,
    ChildIntended,
    ChildReported,
    Decided,
    Filled,
    FillUndone,
    ParentPlaced,
)

ZERO = Decimal(0)
EXACT = Context(prec=400)
_DOWN = Context(prec=60, rounding=ROUND_FLOOR)

Place: TypeAlias = tuple[str, str]  # venue, account
Trade: TypeAlias = tuple[str, str, str, str]  # venue, account, symbol, trade id
Order: TypeAlias = tuple[str, str, str, str]  # venue, account, symbol, the venue's id

TRADES_KEPT = 5_000
ORPHANS_KEPT = 2_000
CLIENTS_KEPT = 5_000

# Lives and ends, as names; of two ends the later in this list stands.
INTENDED, UNKNOWN, OPEN = "intended", "unknown", "open"
ENDS = ("withdrawn", "absent", "rejected", "canceled", "expired", "filled")
WITHDRAWN, ABSENT, REJECTED, CANCELED, EXPIRED, FILLED = ENDS
LIVING = frozenset({INTENDED, UNKNOWN, OPEN})
NEVER = frozenset({WITHDRAWN, ABSENT, REJECTED})
TOLD = {
    OrderState.OPEN: OPEN,
    OrderState.FILLED: FILLED,
    OrderState.CANCELED: CANCELED,
    OrderState.EXPIRED: EXPIRED,
    OrderState.REJECTED: REJECTED,
}


class Child:
    """An order that may exist.  `told` is the venue's own word for what is filled in all."""

    __slots__ = (
        "alarmed",
        "filled",
        "ghost",
        "high",
        "hold",
        "low",
        "order",
        "out",
        "parent",
        "row",
        "state",
        "told",
        "worst_px",
    )

    def __init__(self, row: ChildIntended, parent: "Parent") -> None:
        self.row, self.parent, self.state = row, parent, INTENDED
        self.ghost = False  # ended, and then heard of as if it were not
        self.alarmed = False  # somebody was told that something is wrong with it
        self.filled = ZERO
        self.told: Decimal | None = None
        self.order: Order | None = None
        self.out = self.hold = ZERO  # what may still be traded: ghosts counted, and not
        self.high = self.low = ZERO  # bounds of what must be reserved for it
        self.worst_px = row.worst_px if row.px is None else max(row.px, row.worst_px)

    @property
    def lives(self) -> bool:
        """Whether it may still trade, by what the rows say."""
        return self.state in LIVING

    @property
    def settled(self) -> bool:
        """Whether it has ended and all of its trades are here."""
        if self.state in LIVING or self.ghost:
            return False
        return self.filled >= (self.row.qty if self.told is None else self.told)


class Parent:
    """What was asked for, and what its trades add up to."""

    __slots__ = (
        "by_children",
        "by_parent",
        "children",
        "decided",
        "ended",
        "may_spend",
        "out",
        "row",
        "sent",
        "spent",
    )

    def __init__(self, row: ParentPlaced) -> None:
        self.row = row
        self.children: dict[str, Child] = {}
        # Its trades by the parent that each names, and by the orders that each names.
        self.by_parent = self.by_children = ZERO
        self.spent = ZERO
        self.out = self.may_spend = ZERO  # what its children may still trade, and cost at worst
        self.ended = ""
        self.decided: Decided | None = None  # the last one that sends anything
        self.sent: dict[str, Decimal] = {}  # venue -> what it has been sent for that decision


class Facts:
    """The fold.  `apply`-like methods take one row each; nothing here judges."""

    def __init__(self) -> None:
        self.parents: dict[str, Parent] = {}
        self.children: dict[str, Child] = {}
        self.blind = False  # the first rows were not seen: what is not known may still be
        self.tags: set[str] = set()
        self.epoch = 0
        self.last_parent = ""
        self.state, self.state_why, self.state_ns = "normal", "", 0
        self.positions: dict[tuple[str, str], Decimal] = {}  # (account, symbol), base fees in
        self.flows: dict[tuple[str, str], Decimal] = {}  # the same -> quote, quote fees in
        self.turned: set[tuple[str, str]] = set()  # (account, symbol) that traded since last asked
        self.balances: dict[Place, dict[str, Decimal]] = {}
        self.holds: dict[tuple[str, str, Side], Decimal] = {}  # (account, symbol, side) -> out
        self.low: dict[tuple[str, str, str], Decimal] = {}  # (venue, account, asset)
        self.high: dict[tuple[str, str, str], Decimal] = {}
        self.live_total = 0
        self.live_account: dict[str, int] = {}
        self.live_venue: dict[str, int] = {}
        self.trades: set[Trade] = set()
        self._trades: deque[Trade] = deque()
        self.orders: dict[Order, Child] = {}
        self.orphans: dict[Order, list[Filled]] = {}
        self.clients: dict[tuple[str, str], str] = {}
        self.nonces: dict[Place, int] = {}
        self._held: dict[str, Child] = {}  # ended, and trades are missing
        self._assets: dict[str, tuple[str, str]] = {}

    # ------------------------------------------------------------------------- questions

    def past(self, key: str) -> bool:
        """Whether an order of that key may have been, and may be forgotten by now."""
        return self.blind or (len(key) == 17 and key[4:12] <= self.last_parent)

    @property
    def remembers_no_more(self) -> bool:
        """Whether there were trades that are forgotten, or that were never seen."""
        return self.blind or len(self._trades) >= TRADES_KEPT

    def assets(self, symbol: str) -> tuple[str, str]:
        """Base and quote of a symbol."""
        if (found := self._assets.get(symbol)) is None:
            base, _, quote = symbol.partition("/")
            found = self._assets[symbol] = base, quote.partition(":")[0]
        return found

    # ------------------------------------------------------------------------- parents

    def placed(self, row: ParentPlaced) -> None:
        """A parent."""
        self.parents[row.parent] = Parent(row)
        self.last_parent = max(row.parent, self.last_parent)
        clients = self.clients
        if len(clients) >= CLIENTS_KEPT:
            del clients[next(iter(clients))]
        clients[row.intent.account, row.intent.client_order_id] = row.parent

    def ended(self, parent: Parent, status: str) -> None:
        """It has ended; forgotten once nothing of it may trade."""
        parent.ended = status
        self._forget(parent)

    def _forget(self, parent: Parent) -> None:
        if not parent.ended or not all(child.settled for child in parent.children.values()):
            return
        del self.parents[parent.row.parent]
        for key, child in parent.children.items():
            self._count(child, ZERO, ZERO, ZERO, ZERO)
            del self.children[key]
            self._held.pop(key, None)
            if child.order is not None:
                self.orders.pop(child.order, None)

    # ------------------------------------------------------------------------- children

    def intended(self, row: ChildIntended, parent: Parent) -> None:
        """An order that may leave."""
        child = Child(row, parent)
        parent.children[row.key] = self.children[row.key] = child
        self._live(child, 1)
        self.recount(child)

    def ends(self, child: Child, end: str, told: Decimal | None) -> None:
        """It has ended; `told` is what it has traded by the venue's word, None if untold."""
        if child.lives:
            self._live(child, -1)
            child.state = end
        elif ENDS.index(end) > ENDS.index(child.state):
            child.state = end
        if told is not None and (child.told is None or told > child.told):
            child.told = told
        self.recount(child)

    def adopt(self, child: Child, hold: Decimal) -> None:
        """Count an order that was counted before: from a saved state."""
        if child.lives:
            self._live(child, 1)
        self.recount(child)
        if child.hold != hold:  # a balance of the venue has it in already
            self._count(child, child.out, hold, child.low, child.high)

    def _live(self, child: Child, by: int) -> None:
        row = child.row
        self.live_total += by
        self.live_account[row.account] = self.live_account.get(row.account, 0) + by
        self.live_venue[row.venue] = self.live_venue.get(row.venue, 0) + by

    def recount(self, child: Child) -> None:
        """Bring the sums up to date after anything happened to it."""
        row = child.row
        rest = EXACT.subtract(row.qty, child.filled)
        if rest < 0:
            rest = ZERO
        if child.lives:
            low = row.reserve if rest == row.qty else _share(row.reserve, rest, row.qty)
            self._count(child, rest, rest, low, row.reserve)
            return
        missing = rest
        if child.told is not None:
            missing = max(ZERO, EXACT.subtract(child.told, child.filled))
        out = max(rest, missing) if child.ghost else missing
        self._count(child, out, missing, ZERO, row.reserve if out else ZERO)
        if missing:
            self._held[row.key] = child
        else:
            self._held.pop(row.key, None)
            if child.parent.ended:
                self._forget(child.parent)

    def _count(
        self, child: Child, out: Decimal, hold: Decimal, low: Decimal, high: Decimal
    ) -> None:
        row, parent = child.row, child.parent
        if out != child.out:
            more = EXACT.subtract(out, child.out)
            child.out = out
            parent.out = EXACT.add(parent.out, more)
            parent.may_spend = EXACT.fma(more, child.worst_px, parent.may_spend)
        if hold != child.hold:
            more, child.hold = EXACT.subtract(hold, child.hold), hold
            where = (row.account, row.symbol, row.side)
            self.holds[where] = EXACT.add(self.holds.get(where, ZERO), more)
        if low != child.low or high != child.high:
            at = (row.venue, row.account, row.reserve_asset)
            self.low[at] = EXACT.add(self.low.get(at, ZERO), EXACT.subtract(low, child.low))
            self.high[at] = EXACT.add(self.high.get(at, ZERO), EXACT.subtract(high, child.high))
            child.low, child.high = low, high

    def acked(self, child: Child, row: ChildAcked) -> None:
        """The venue took it."""
        if child.lives:
            child.state = OPEN
        elif child.state in NEVER:
            child.ghost = True
        self.named(child, row.venue_order_id)
        self.recount(child)

    def reported(self, child: Child, row: ChildReported) -> None:
        """The venue told how it stands."""
        told, end = row.cum_qty, TOLD[row.state]
        if end is OPEN:
            if child.lives:
                child.state = OPEN
            else:
                child.ghost = True
            if told is not None and (child.told is None or told > child.told):
                child.told = told
            self.named(child, row.venue_order_id)
            self.recount(child)
            return
        if told is None and end is FILLED:
            told = child.row.qty
        if told is None and end is REJECTED:
            told = child.filled
        child.ghost = False
        self.named(child, row.venue_order_id)
        self.ends(child, end, told)

    def named(self, child: Child, order_id: str) -> None:
        """The venue's own id for it: trades that came under that id alone are its own."""
        if not order_id:
            return
        row = child.row
        order = (row.venue, row.account, row.symbol, order_id)
        if child.order != order and row.key in self.children:
            child.order, self.orders[order] = order, child
        for trade in self.orphans.pop(order, ()):
            child.parent.by_parent = EXACT.add(child.parent.by_parent, trade.qty)
            self.credit(child, trade)

    # ------------------------------------------------------------------------- trades

    def filled(self, row: Filled, child: Child | None) -> None:
        """A trade: moves money whoever it belongs to."""
        self.remember((row.venue, row.account, row.symbol, row.trade_id))
        self._move(row)
        if (parent := self.parents.get(row.parent)) is not None:
            parent.by_parent = EXACT.add(parent.by_parent, row.qty)
        if child is not None:
            self.credit(child, row)
            self.named(child, row.venue_order_id)
        elif not row.key and row.venue_order_id:
            order = (row.venue, row.account, row.symbol, row.venue_order_id)
            if (own := self.orders.get(order)) is not None:
                own.parent.by_parent = EXACT.add(own.parent.by_parent, row.qty)
                self.credit(own, row)
            else:
                if len(self.orphans) >= ORPHANS_KEPT:
                    del self.orphans[next(iter(self.orphans))]
                self.orphans.setdefault(order, []).append(row)

    def undone(self, row: FillUndone) -> None:
        """A trade, or a part of it, counts no more, wherever it was counted."""
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if row.whole:
            self.trades.discard(trade)
        self._move(row)
        order = (row.venue, row.account, row.symbol, row.venue_order_id)
        if not row.key and order in self.orphans:
            waiting = [one for one in self.orphans[order] if one.trade_id != row.trade_id]
            if len(waiting) < len(self.orphans[order]):
                self.orphans[order] = waiting
                if not waiting:
                    del self.orphans[order]
                return
        child = self.children.get(row.key) if row.key else self.orders.get(order)
        if child is None:
            return
        parent = child.parent
        child.filled = EXACT.subtract(child.filled, row.qty)
        parent.by_children = EXACT.subtract(parent.by_children, row.qty)
        parent.by_parent = EXACT.subtract(parent.by_parent, row.qty)
        parent.spent = EXACT.subtract(parent.spent, EXACT.multiply(row.px, row.qty))
        self.recount(child)

    def remember(self, trade: Trade) -> None:
        """A trade that was booked; the oldest are forgotten."""
        self.trades.add(trade)
        self._trades.append(trade)
        if len(self._trades) > TRADES_KEPT:
            self.trades.discard(self._trades.popleft())

    def recent_trades(self) -> list[Trade]:
        """Those that are remembered, oldest first."""
        return [trade for trade in self._trades if trade in self.trades]

    def credit(self, child: Child, row: Filled) -> None:
        """A trade is this order's."""
        parent = child.parent
        child.filled = EXACT.add(child.filled, row.qty)
        parent.by_children = EXACT.add(parent.by_children, row.qty)
        parent.spent = EXACT.fma(row.px, row.qty, parent.spent)
        if child.filled >= child.row.qty:
            child.ghost = False
            self.ends(child, FILLED, None)
            return
        if child.lives:
            child.state = OPEN
        elif child.state in NEVER:
            child.ghost = True
        self.recount(child)

    def _move(self, row: Filled | FillUndone) -> None:
        base, quote = self.assets(row.symbol)
        value = EXACT.multiply(row.px, row.qty)
        back = isinstance(row, FillUndone)
        fee = row.fee.copy_negate() if back else row.fee
        got, gave = row.qty, value.copy_negate()  # minus would round
        if (row.side is Side.SELL) is not back:
            got, gave = row.qty.copy_negate(), value
        held = None if row.in_balances else self.balances.get((row.venue, row.account))
        if held is not None:
            held[base] = EXACT.add(held.get(base, ZERO), got)
            held[quote] = EXACT.add(held.get(quote, ZERO), gave)
            if fee:
                held[row.fee_asset] = EXACT.subtract(held.get(row.fee_asset, ZERO), fee)
        if row.fee_asset == base:
            got = EXACT.subtract(got, fee)
        elif row.fee_asset == quote:
            gave = EXACT.subtract(gave, fee)
        where = (row.account, row.symbol)
        self.positions[where] = EXACT.add(self.positions.get(where, ZERO), got)
        self.flows[where] = EXACT.add(self.flows.get(where, ZERO), gave)

    def balances_set(self, row: BalancesSet) -> None:
        """The venue's totals are the truth from here on; what was missing is in them."""
        self.balances[row.venue, row.account] = dict(row.balances)
        for child in list(self._held.values()):
            if (child.row.venue, child.row.account) == (row.venue, row.account):
                self._count(child, child.out, ZERO, child.low, child.high)


def _share(whole: Decimal, part: Decimal, of: Decimal) -> Decimal:
    return _DOWN.divide(EXACT.multiply(whole, part), of) if part else ZERO
