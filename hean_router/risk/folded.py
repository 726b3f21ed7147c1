"""What the journal's rows add up to, as far as risk must know it.  Changed by `apply` alone.

Everything is kept as sums that a row moves, so that no question walks over all orders.

A quantity counts as open from the row that intends it until it is certain that it cannot become a
position any more: for a parent until it ends, for a child until it has ended and the fills add up
to what the venue says.  A fill that comes later still is counted as a position.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Self, TypeAlias

from hean_router.domain.instrument import Pair, Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent
from hean_router.domain.record import (
    BalancesSet,
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildWithdrawn,
    Filled,
    FillUndone,
    ForeignOrder,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
)
from hean_router.risk.exact import ZERO, share_up

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
# What makes two parents the same: account, symbol, side, base, quote, limit.
Asked: TypeAlias = tuple[str, str, Side, Decimal | None, Decimal | None, Decimal | None]


class Cell:
    """A position of one symbol, in base, and how far it can still go either way.

    `up` is the position if all buys that are open fill, `down` if all sells do.  Base fees are in.
    """

    __slots__ = ("account", "buys_out", "down", "pos", "sells_out", "symbol", "up")

    def __init__(self, account: str, symbol: str) -> None:
        self.account, self.symbol = account, symbol
        self.pos = self.up = self.down = ZERO
        # Of what is open: what is out at venues, as children.
        self.buys_out = self.sells_out = ZERO

    def open(self, side: Side, qty: Decimal) -> None:
        """`qty` more may be bought or sold; negative: less."""
        if side is Side.BUY:
            self.up += qty
        else:
            self.down -= qty

    def out(self, side: Side, qty: Decimal) -> None:
        """`qty` more of it is out at a venue; negative: less."""
        if side is Side.BUY:
            self.buys_out += qty
        else:
            self.sells_out += qty

    def move(self, by: Decimal) -> None:
        """The position changed."""
        self.pos += by
        self.up += by
        self.down += by

    @property
    def worst(self) -> Decimal:
        """The largest position either way; `up` is never below `down`."""
        return max(self.up, -self.down)

    def filled(self) -> "Cell":
        """The same with nothing open."""
        cell = Cell(self.account, self.symbol)
        cell.move(self.pos)
        return cell

    def reduces(self, side: Side, qty: Decimal) -> bool:
        """Whether `qty` more brings it nearer zero and not past it, all that is open filled."""
        return self.up + qty <= 0 if side is Side.BUY else self.down - qty >= 0

    def reduces_out(self, side: Side, qty: Decimal) -> bool:
        """The same for a child: what its own parent has open is not counted twice."""
        if side is Side.BUY:
            return self.pos + self.buys_out + qty <= 0
        return self.pos - self.sells_out - qty >= 0


class Window:
    """How many events fell into the last `span_ns`."""

    __slots__ = ("_span_ns", "times")

    def __init__(self, span_ns: int) -> None:
        self._span_ns = span_ns
        self.times: deque[int] = deque()

    def add(self, at_ns: int) -> None:
        """One more."""
        self.count(at_ns)
        self.times.append(at_ns)

    def count(self, now_ns: int) -> int:
        """Events later than `now_ns` - span.  Forgets older ones."""
        times = self.times
        while times and times[0] <= now_ns - self._span_ns:
            times.popleft()
        # From before the clock was set back: they would count for as long as it was.
        while times and times[-1] > now_ns + self._span_ns:
            times.pop()
        return len(times)


class Pace:
    """What one account has sent lately."""

    __slots__ = ("minute", "second")

    def __init__(self) -> None:
        self.second, self.minute = Window(SECOND_NS), Window(MINUTE_NS)

    def add(self, at_ns: int) -> None:
        """One more."""
        self.second.add(at_ns)
        self.minute.add(at_ns)


class LiveParent:
    """A parent that has not ended."""

    __slots__ = ("account", "cell", "children", "leaves", "notional", "qty", "reserved", "side")

    def __init__(self, row: ParentPlaced, cell: Cell) -> None:
        self.account, self.side, self.cell = row.intent.account, row.intent.side, cell
        self.qty = self.leaves = row.qty
        self.notional = self.reserved = row.worst_usd
        self.children: set[str] = set()  # keys of those that still hold something

    @classmethod
    def made(
        cls,
        cell: Cell,
        side: Side,
        qty: Decimal,
        leaves: Decimal,
        notional: Decimal,
        reserved: Decimal,
        children: set[str],
    ) -> Self:
        """One as it stood."""
        one = cls.__new__(cls)
        one.account, one.side, one.cell = cell.account, side, cell
        one.qty, one.leaves, one.notional, one.reserved = qty, leaves, notional, reserved
        one.children = children
        return one


class HeldChild:
    """A child that may still trade, or whose fills have not all come."""

    __slots__ = ("cum", "filled", "hold", "live", "reserved", "row", "seen")

    def __init__(self, row: ChildIntended) -> None:
        self.row = row
        self.hold = row.qty  # what may still become a position, base
        self.filled = ZERO
        self.reserved = row.reserve
        self.live = True
        self.seen = False  # the venue has spoken of it: it exists
        self.cum: Decimal | None = None  # told at its end

    @property
    def rests(self) -> bool:
        """Whether it may stand in a book and be met there."""
        return self.live and self.row.px is not None and self.row.tif is Tif.GTC


class Folded:
    """The sums."""

    def __init__(self, duplicate_span_ns: int = 0) -> None:
        self.state, self.reason, self.by, self.since_ns = "normal", "", "", 0
        self.parents: dict[str, LiveParent] = {}
        self.children: dict[str, HeldChild] = {}
        self.cells: dict[tuple[str, str], Cell] = {}  # by account, symbol
        self.by_account: dict[str, list[Cell]] = {}  # the same cells
        self.by_symbol: dict[str, list[Cell]] = {}
        self.at_venue: dict[str, dict[tuple[str, str], Cell]] = {}
        self.reserved_usd = ZERO
        self.reserved: dict[tuple[str, str, str], Decimal] = {}  # by venue, account, asset
        # Open orders that are not ours, by venue, account, symbol and the venue's id; and what they
        # hold of each asset there.
        self.foreign: dict[tuple[str, str, str, str], ForeignOrder] = {}
        self.locked: dict[tuple[str, str, str], Decimal] = {}
        self.live_total = 0
        self.live_account: dict[str, int] = {}
        self.live_venue: dict[str, int] = {}
        self.orders: dict[str, Pace] = {}  # by account
        self.placed: dict[str, Pace] = {}
        self.recent: dict[Asked, tuple[int, str]] = {}  # latest parents by what asked
        self.recent_order: deque[tuple[int, Asked]] = deque()
        self._duplicate_span_ns = duplicate_span_ns
        self._resting: dict[tuple[str, Side], list[Decimal]] = {}  # prices, rising
        self._pairs: dict[str, tuple[str, Pair]] = {}
        self._folds: dict[type, Callable[[Any], None]] = {  # each takes the rows of its type
            ParentPlaced: self._placed,
            ParentEnded: self._ended,
            ChildIntended: self._intended,
            ChildAcked: self._acked,
            ChildRejected: self._undone,
            ChildWithdrawn: self._undone,
            ChildAbsent: self._undone,
            ChildReported: self._reported,
            Filled: self._filled,
            FillUndone: self._taken_back,
            ForeignOrder: self._foreign,
            BalancesSet: self._counted,
            RiskSet: self._set,
        }

    # ------------------------------------------------------------------ questions

    def pair(self, symbol: str) -> tuple[str, Pair]:
        """The symbol as ccxt spells it, and as a pair; raises `CommandError`."""
        if (known := self._pairs.get(symbol)) is None:
            pair = Pair.parse(symbol)
            known = self._pairs[symbol] = str(pair), pair
        return known

    def cell(self, account: str, symbol: str) -> Cell:
        """All venues' position of that symbol in that account."""
        if (cell := self.cells.get((account, symbol))) is None:
            cell = self.cells[account, symbol] = Cell(account, symbol)
            self.by_account.setdefault(account, []).append(cell)
            self.by_symbol.setdefault(symbol, []).append(cell)
        return cell

    def venue_cell(self, venue: str, account: str, symbol: str) -> Cell:
        """The part of it at one venue."""
        cells = self.at_venue.setdefault(venue, {})
        if (cell := cells.get((account, symbol))) is None:
            cell = cells[account, symbol] = Cell(account, symbol)
        return cell

    def resting(self, symbol: str, side: Side) -> Decimal | None:
        """Our own best price that rests on `side`, at any venue and account."""
        prices = self._resting.get((symbol, side))
        if not prices:
            return None
        return prices[-1] if side is Side.BUY else prices[0]

    def prices(self, row: ChildIntended) -> list[Decimal]:
        """Our prices that rest in that symbol on that side, rising."""
        return self._resting.setdefault((row.symbol, row.side), [])

    def pace(self, of: dict[str, Pace], account: str) -> Pace:
        """What that account has sent lately."""
        if (pace := of.get(account)) is None:
            pace = of[account] = Pace()
        return pace

    # ------------------------------------------------------------------ rows

    def apply(self, row: Row) -> None:
        """Fold one row in; rows that change nothing here are passed over."""
        if (fold := self._folds.get(type(row))) is not None:
            fold(row)

    def _acked(self, row: ChildAcked) -> None:
        if child := self.children.get(row.key):
            child.seen = True

    def _undone(self, row: ChildRejected | ChildWithdrawn | ChildAbsent) -> None:
        child = self.children.get(row.key)
        # What has been seen to exist is not unmade by such a word; the OMS raises it.
        if child is not None and not child.seen:
            self._end(child)
            self._hold(child, ZERO)

    def _set(self, row: RiskSet) -> None:
        self.state, self.reason = row.state, row.reason
        self.by, self.since_ns = row.by, row.at_ns

    def _placed(self, row: ParentPlaced) -> None:
        assert row.parent not in self.parents, f"parent {row.parent} is placed twice"
        intent = row.intent
        symbol, _ = self.pair(intent.symbol)
        cell = self.cell(intent.account, symbol)
        self.parents[row.parent] = LiveParent(row, cell)
        cell.open(intent.side, row.qty)
        self.reserved_usd += row.worst_usd
        self.pace(self.placed, intent.account).add(row.at_ns)
        if self._duplicate_span_ns and not intent.group:
            self._remember(row)

    def _remember(self, row: ParentPlaced) -> None:
        key = self.asked(row.intent)
        self.recent[key] = row.at_ns, row.intent.client_order_id
        order = self.recent_order
        order.append((row.at_ns, key))
        while order and order[0][0] < row.at_ns - self._duplicate_span_ns:
            _, old = order.popleft()
            if (last := self.recent.get(old)) and last[0] < row.at_ns - self._duplicate_span_ns:
                del self.recent[old]

    def asked(self, intent: Intent) -> Asked:
        """What makes two parents the same order twice."""
        symbol, _ = self.pair(intent.symbol)
        return (intent.account, symbol, intent.side, intent.qty, intent.quote_qty, intent.limit_px)

    def _ended(self, row: ParentEnded) -> None:
        parent = self.parents.pop(row.parent, None)
        if parent is None:
            return  # released already, and that but once
        self.reserved_usd -= parent.reserved
        parent.cell.open(parent.side, -parent.leaves)
        for key in tuple(parent.children):
            child = self.children[key]
            if child.cum is None:  # the venue never said how much: this end is the last word
                self._end(child)
                self._hold(child, ZERO)

    def _intended(self, row: ChildIntended) -> None:
        assert row.key not in self.children, f"child {row.key} is intended twice"
        child = self.children[row.key] = HeldChild(row)
        if parent := self.parents.get(row.parent):
            parent.children.add(row.key)
        self.cell(row.account, row.symbol).out(row.side, row.qty)
        self.venue_cell(row.venue, row.account, row.symbol).open(row.side, row.qty)
        where = row.venue, row.account, row.reserve_asset
        self.reserved[where] = self.reserved.get(where, ZERO) + row.reserve
        self.count(row, 1)
        self.pace(self.orders, row.account).add(row.at_ns)
        if child.rests and row.px is not None:
            insort(self.prices(row), row.px)

    def count(self, row: ChildIntended, by: int) -> None:
        """One more order that may trade, or one less."""
        self.live_total += by
        self.live_account[row.account] = self.live_account.get(row.account, 0) + by
        self.live_venue[row.venue] = self.live_venue.get(row.venue, 0) + by

    def _filled(self, row: Filled) -> None:
        qty = row.qty
        moved = qty if row.side is Side.BUY else -qty
        _, pair = self.pair(row.symbol)
        if row.fee_asset == pair.base:
            moved -= row.fee
        cell = self.cell(row.account, row.symbol)
        cell.move(moved)
        self.venue_cell(row.venue, row.account, row.symbol).move(moved)
        if parent := self.parents.get(row.parent):
            part = min(qty, parent.leaves)
            parent.cell.open(parent.side, -part)
            parent.leaves -= part
            left = share_up(parent.notional, parent.leaves, parent.qty)
            self.reserved_usd -= parent.reserved - left
            parent.reserved = left
        if child := self.children.get(row.key):
            child.seen = True
            child.filled += qty
            hold = max(ZERO, child.hold - qty)
            if child.filled >= child.row.qty:
                self._end(child)  # nothing is left of it, whether or not that has been told
                hold = ZERO
            self._hold(child, hold)

    def _taken_back(self, row: FillUndone) -> None:
        """A trade, or a part of it, counts no more: as before it came; a truer one follows."""
        qty = row.qty
        moved = qty if row.side is Side.BUY else -qty
        _, pair = self.pair(row.symbol)
        if row.fee_asset == pair.base:
            moved -= row.fee
        self.cell(row.account, row.symbol).move(-moved)
        self.venue_cell(row.venue, row.account, row.symbol).move(-moved)
        if parent := self.parents.get(row.parent):
            part = min(qty, parent.qty - parent.leaves)
            parent.cell.open(parent.side, part)
            parent.leaves += part
            left = share_up(parent.notional, parent.leaves, parent.qty)
            self.reserved_usd -= parent.reserved - left
            parent.reserved = left
        # One that is forgotten has ended, and held nothing for this trade any more.
        if child := self.children.get(row.key):
            child.filled -= qty
            self._hold(child, min(child.row.qty, child.hold + qty))

    def _reported(self, row: ChildReported) -> None:
        child = self.children.get(row.key)
        if child is None:
            return
        child.seen = True
        if row.state is OrderState.OPEN:
            return
        self._end(child)
        told = row.cum_qty
        if told is None and row.state is OrderState.FILLED:
            told = child.row.qty
        elif told is None and row.state is OrderState.REJECTED:
            told = ZERO
        if told is not None:
            # A venue's later word may be larger, never smaller.
            child.cum = told if child.cum is None else max(told, child.cum)
            self._hold(child, max(ZERO, child.cum - child.filled))

    def _foreign(self, row: ForeignOrder) -> None:
        """Somebody else's order on our account: all of it may become our position, its money too.

        One without side or quantity cannot be counted; every venue tells both of what is open.
        """
        where = (row.venue, row.account, row.symbol, row.venue_order_id)
        if (known := self.foreign.pop(where, None)) is not None:
            self._others(known, -1)
        if row.open and row.side is not None and row.qty:
            self.foreign[where] = row
            self._others(row, 1)

    def _others(self, row: ForeignOrder, sign: int) -> None:
        assert row.side is not None, "only what has a side is counted"
        assert row.qty is not None, "only what has a quantity is counted"
        qty = sign * row.qty
        symbol, pair = self.pair(row.symbol)
        self.cell(row.account, symbol).open(row.side, qty)
        self.venue_cell(row.venue, row.account, symbol).open(row.side, qty)
        asset, amount = pair.base, qty
        if row.side is Side.BUY:
            asset, amount = pair.quote, qty * (row.px or ZERO)
        at = (row.venue, row.account, asset)
        if left := self.locked.get(at, ZERO) + amount:
            self.locked[at] = left
        else:
            self.locked.pop(at, None)

    def _counted(self, row: BalancesSet) -> None:
        """The venue's totals hold whatever fills were missing: those reserves are spent."""
        for child in [
            one
            for one in self.children.values()
            if not one.live and (one.row.venue, one.row.account) == (row.venue, row.account)
        ]:
            self._hold(child, ZERO)

    # ------------------------------------------------------------------ children

    def _end(self, child: HeldChild) -> None:
        """It is live no more; what it holds may stay."""
        if not child.live:
            return
        rested, row = child.rests, child.row
        child.live = False
        self.count(row, -1)
        if rested and row.px is not None:
            prices = self._resting[row.symbol, row.side]
            at = bisect_left(prices, row.px)
            assert prices[at] == row.px, f"{row.key} did not rest"
            del prices[at]

    def _hold(self, child: HeldChild, hold: Decimal) -> None:
        """Set what may still become a position; release what is held no more."""
        row, released = child.row, child.hold - hold
        if released:
            child.hold = hold
            self.cell(row.account, row.symbol).out(row.side, -released)
            self.venue_cell(row.venue, row.account, row.symbol).open(row.side, -released)
            left = share_up(row.reserve, hold, row.qty)
            self.reserved[row.venue, row.account, row.reserve_asset] -= child.reserved - left
            child.reserved = left
        if not hold and not child.live:
            del self.children[row.key]
            if parent := self.parents.get(row.parent):
                parent.children.discard(row.key)
