"""Every order, folded from rows: what was asked, what was sent, what became of it."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import structs

from hean_router.book.sweep import EXACT
from hean_router.domain.order import OrderState
from hean_router.domain.record import (
    BalancesSet,
    CancelAnswered,
    CancelIntended,
    Checkpoint,
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
    ForeignOrder,
    Opened,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    Row,
    kind_of,
)
from hean_router.oms import keys
from hean_router.oms.model import ZERO, Child, Parent, credit, take_back
from hean_router.oms.states import LIVE, SAW, ChildStatus, Learned, after

FillId = tuple[str, str, str, str]  # venue, account, symbol, trade id
VenueOrder = tuple[str, str, str, str]  # venue, account, symbol, the venue's order id
BREACHES_KEPT: Final = 1_000


class Breach(NamedTuple):
    """A row that the table does not allow, or that speaks of nothing we know; it changed nothing.

    `venue` is empty where the row did not lead to a child.  A breach shuts that venue's gate (I5).
    """

    at_ns: int
    kind: str
    subject: str
    venue: str
    account: str
    text: str


class Orders:
    """The fold.

    `apply` is O(1) but for `ParentEnded`, which looks at its parent's children, and `Checkpoint`,
    which looks at what it drops and at what is old and not dropped.

    Nothing here refuses a row because a venue has contradicted itself: what the table does not
    know is kept in `breaches` and changes nothing else, so that a journal can always be read.
    """

    def __init__(self) -> None:
        self.tag = ""
        self.tags: set[str] = set()  # and those before it: a journal put back got another
        self.epoch = 0
        self.parents: dict[str, Parent] = {}
        # By name, in the order in which they were placed.
        self.by_account: dict[str, dict[str, Parent]] = {}
        self.children: dict[str, Child] = {}
        self.by_client: dict[tuple[str, str], str] = {}
        self.by_venue_id: dict[VenueOrder, str] = {}
        self.working: dict[str, Parent] = {}  # parents that have not ended
        self.past: dict[str, Parent] = {}  # those that have, in the order of their ends
        self.forgotten = 0  # how many have been dropped: what is not here may have been
        self.trades_before_ns = 0  # ids of trades booked before that may have been dropped
        self.live: dict[str, Child] = {}
        self.unsettled: dict[str, Child] = {}
        self.to_cancel: dict[str, Child] = {}  # ended for us, open there
        # Living children whose venue order id we do not know, by (venue, account, symbol): what
        # comes without our key may be theirs.
        self.nameless: dict[tuple[str, str, str], dict[str, Child]] = {}
        self.fills: dict[FillId, tuple[int, str]] = {}  # when booked, and to which parent
        self.orphans: dict[VenueOrder, list[Filled]] = {}
        # Orders of ours that turned out to be those of orphans: `intake.claims` books them anew.
        self.claimed: dict[VenueOrder, str] = {}
        self.foreign: dict[VenueOrder, ForeignOrder] = {}
        self.balances_ns: dict[tuple[str, str], int] = {}
        self.breaches: deque[Breach] = deque(maxlen=BREACHES_KEPT)
        self.touched: dict[str, Child] = {}  # since the resolver last looked
        self.last_parent = 0
        self._appliers: dict[type[Row], Callable[[Row], None]] = {
            Opened: self._opened,
            ParentPlaced: self._placed,
            Decided: self._decided,
            ParentCancelAsked: self._cancel_asked,
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
            CancelIntended: self._cancel_intended,
            CancelAnswered: self._cancel_answered,
            ForeignOrder: self._foreign,
            Checkpoint: self._checkpoint,
            BalancesSet: self._balances,
        }

    def apply(self, row: Row) -> None:
        """Fold one row.  Rows that concern no order change nothing."""
        applier = self._appliers.get(type(row))
        if applier is not None:
            applier(row)

    # --------------------------------------------------------------------- names

    def next_parent_id(self) -> str:
        """A name never given before: 8 of [0-9a-z].  Each call gives another."""
        self.last_parent += 1
        return keys.base36(self.last_parent, keys.PARENT_LEN)

    def child_key(self, parent_id: str, number: int, attempt: int = 0) -> str:
        """The key of a parent's child; the journal's first row must have been applied."""
        return keys.child_key(self.tag, parent_id, number, attempt)

    def key_of(self, text: str) -> bool:
        """Whether `text` is a key that this installation may have made, under any of its tags."""
        return any(keys.is_ours(tag, text) for tag in self.tags)

    def find(self, venue: str, account: str, symbol: str, key: str, order_id: str) -> Child | None:
        """The child that a venue means, by our key or else by the venue's id; None if none is."""
        child = self.children.get(key) if key else None
        if child is None and order_id:
            own = self.by_venue_id.get((venue, account, symbol, order_id))
            child = self.children.get(own) if own else None
        if child is None or (child.venue, child.account, child.symbol) != (venue, account, symbol):
            return None
        return child

    # --------------------------------------------------------------------- parents

    def _opened(self, row: Row) -> None:
        assert isinstance(row, Opened)
        assert len(row.tag) == keys.TAG_LEN, f"tag {row.tag!r}"
        assert keys.is_base36(row.tag), f"tag {row.tag!r}"
        self.tag = row.tag
        self.tags.add(row.tag)
        self.epoch = row.epoch

    def _placed(self, row: Row) -> None:
        assert isinstance(row, ParentPlaced)
        assert row.parent not in self.parents, f"parent {row.parent} placed twice"
        parent = self.parents[row.parent] = self.working[row.parent] = Parent(row)
        self.by_account.setdefault(row.intent.account, {})[parent.id] = parent
        self.by_client[row.intent.account, row.intent.client_order_id] = parent.id
        if keys.is_base36(row.parent):
            self.last_parent = max(self.last_parent, int(row.parent, 36))

    def _decided(self, row: Row) -> None:
        assert isinstance(row, Decided)
        if (parent := self.parents.get(row.parent)) is not None:
            parent.decisions.append(row)
            parent.learned(row.at_ns)

    def _cancel_asked(self, row: Row) -> None:
        assert isinstance(row, ParentCancelAsked)
        if (parent := self.parents.get(row.parent)) is None:
            self._breach(row, row.parent, None, "no such parent")
        elif parent.cancel is None:  # the first reason stands
            parent.cancel = row
            parent.learned(row.at_ns)

    def _ended(self, row: Row) -> None:
        assert isinstance(row, ParentEnded)
        if (parent := self.parents.get(row.parent)) is None:
            self._breach(row, row.parent, None, "no such parent")
            return
        assert row.status.is_final, row.status
        for child in parent.children:
            assert child.settled, f"{row.parent} ended with {child.key} {child.status}"
        if parent.ended is None:
            parent.ended = row
            parent.learned(row.at_ns)
            self.working.pop(parent.id, None)
            self.past[parent.id] = parent

    # --------------------------------------------------------------------- children

    def _intended(self, row: Row) -> None:
        assert isinstance(row, ChildIntended)
        parent = self.parents.get(row.parent)
        assert parent is not None, f"{row.key} of no parent"
        assert row.key not in self.children, f"key {row.key} used twice"
        child = Child(row, parent)
        parent.children.append(child)
        parent.learned(row.at_ns)
        self.children[row.key] = self.live[row.key] = self.touched[row.key] = child
        self.nameless.setdefault((row.venue, row.account, row.symbol), {})[row.key] = child

    def _withdrawn(self, row: Row) -> None:
        assert isinstance(row, ChildWithdrawn)
        if (child := self._child(row, row.key)) and self._learn(row, child, Learned.WITHDRAWN):
            child.why = row.why

    def _acked(self, row: Row) -> None:
        assert isinstance(row, ChildAcked)
        if (child := self._child(row, row.key)) and self._learn(row, child, Learned.ACKED):
            self._stands(row, child)
            self._named(child, row.venue_order_id)

    def _rejected(self, row: Row) -> None:
        assert isinstance(row, ChildRejected)
        if (child := self._child(row, row.key)) and self._learn(row, child, Learned.REJECTED):
            child.why = row.text or row.reject

    def _unknown(self, row: Row) -> None:
        assert isinstance(row, ChildUnknown)
        if (child := self._child(row, row.key)) and self._learn(row, child, Learned.UNKNOWN):
            child.why = row.why
            if child.unknown_ns is None:
                child.unknown_ns = row.at_ns
            # It may be carried out until the latest moment that anyone has named.
            child.until_ns = max(row.until_ns, child.until_ns or 0)

    def _absent(self, row: Row) -> None:
        assert isinstance(row, ChildAbsent)
        if (child := self._child(row, row.key)) and self._learn(row, child, Learned.ABSENT):
            child.why = row.proof

    def _reported(self, row: Row) -> None:
        assert isinstance(row, ChildReported)
        if (child := self._child(row, row.key)) is None:
            return
        if not self._learn(row, child, SAW[row.state]):
            return
        self._stands(row, child)
        self._named(child, row.venue_order_id)
        cum = row.cum_qty
        if cum is None and row.state is OrderState.FILLED:
            cum = child.qty  # what FILLED means
        if cum is not None and (child.cum is None or cum > child.cum):
            child.cum = cum
        if row.state is not OrderState.OPEN:
            child.why = row.reason or child.why
            child.ghost = False
        self._sort_in(child)

    def _filled(self, row: Row) -> None:
        assert isinstance(row, Filled)
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade in self.fills:
            return
        self.fills[trade] = (row.at_ns, row.parent)
        child = self.children.get(row.key) if row.key else None
        if child is None:
            if row.key:
                self._breach(row, row.key, None, "a fill for no child of ours")
            order = (row.venue, row.account, row.symbol, row.venue_order_id)
            if own := self.by_venue_id.get(order) if row.venue_order_id else None:
                child = self.children[own]
            else:
                self.orphans.setdefault(order, []).append(row)
                return
        self._credit(row, child)
        self._named(child, row.venue_order_id)

    def _credit(self, row: Filled, child: Child) -> None:
        credit(child, row)
        credit(child.parent, row)
        last = child.filled >= child.qty
        allowed = self._learn(row, child, Learned.LAST_FILL if last else Learned.FILL)
        assert allowed, "a fill is allowed in every status"
        if row.inferred:
            child.inferred.append(row)
        else:
            self._stands(row, child)
        if last:
            child.ghost = False
        self._sort_in(child)

    def _undone(self, row: Row) -> None:
        """The rows that put a truer trade in its place come in the same transaction."""
        assert isinstance(row, FillUndone)
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade not in self.fills:
            self._breach(row, row.trade_id, None, "no such trade")
            return
        if row.whole:
            del self.fills[trade]
        child = self.children.get(row.key) if row.key else None
        if child is None:
            order = (row.venue, row.account, row.symbol, row.venue_order_id)
            left = [one for one in self.orphans.pop(order, ()) if one.trade_id != row.trade_id]
            if left:
                self.orphans[order] = left
            else:
                self.claimed.pop(order, None)
            return
        take_back(child, row)
        take_back(child.parent, row)
        child.inferred = [
            structs.replace(
                one, qty=EXACT.subtract(one.qty, row.qty), fee=EXACT.subtract(one.fee, row.fee)
            )
            if one.trade_id == row.trade_id
            else one
            for one in child.inferred
            if not (row.whole and one.trade_id == row.trade_id)
        ]
        child.parent.learned(row.at_ns)
        self.touched[child.key] = child
        self._sort_in(child)

    def _cancel_intended(self, row: Row) -> None:
        assert isinstance(row, CancelIntended)
        if child := self._child(row, row.key):
            child.cancel_ns = row.at_ns
            child.cancel_answer = ""
            child.cancel_answered_ns = None
            child.parent.learned(row.at_ns)
            self.touched[child.key] = child

    def _cancel_answered(self, row: Row) -> None:
        assert isinstance(row, CancelAnswered)
        if child := self._child(row, row.key):
            child.cancel_answer = row.answer
            child.cancel_answered_ns = row.at_ns
            self.touched[child.key] = child

    # --------------------------------------------------------------------- others

    def _foreign(self, row: Row) -> None:
        assert isinstance(row, ForeignOrder)
        order = (row.venue, row.account, row.symbol, row.venue_order_id)
        if row.open:
            self.foreign[order] = row
        else:
            self.foreign.pop(order, None)
            if order not in self.orphans:
                self.claimed.pop(order, None)

    def _balances(self, row: Row) -> None:
        assert isinstance(row, BalancesSet)
        self.balances_ns[row.venue, row.account] = row.at_ns

    # --------------------------------------------------------------------- what is let go of

    def may_forget(self, parent: Parent) -> bool:
        """Whether a `Checkpoint` may name it: it has ended, and nothing of it is in doubt."""
        if parent.ended is None or not parent.can_end:
            return False
        if any(child.inferred for child in parent.children):
            return False  # the real trades may still come, and take their place
        return not self.claimed or not any(c.key in self.claimed.values() for c in parent.children)

    def _checkpoint(self, row: Row) -> None:
        assert isinstance(row, Checkpoint)
        for name in row.parents:
            parent = self.parents.get(name)
            if parent is None or not self.may_forget(parent):
                self._breach(row, name, None, "cannot be forgotten")
            else:
                self._forget(parent)
        self.trades_before_ns = max(self.trades_before_ns, row.trades_before_ns)
        # What no order explains is kept for as long as it may turn out to be a nameless one's.
        for order in [order for order, fills in self.orphans.items() if self._stale(order, fills)]:
            del self.orphans[order]
        waiting = {
            (*order[:3], fill.trade_id) for order, fills in self.orphans.items() for fill in fills
        }
        stale = [
            trade
            for trade, parent in self._old_trades()
            if parent not in self.parents and trade not in waiting
        ]
        for trade in stale:
            del self.fills[trade]

    def _old_trades(self) -> Iterator[tuple[FillId, str]]:
        for trade, (at_ns, parent) in self.fills.items():
            if at_ns < self.trades_before_ns:
                yield trade, parent

    def _stale(self, order: VenueOrder, fills: list[Filled]) -> bool:
        if order in self.claimed or order[:3] in self.nameless:
            return False
        return all(fill.at_ns < self.trades_before_ns for fill in fills)

    def _forget(self, parent: Parent) -> None:
        self.forgotten += 1
        del self.parents[parent.id], self.past[parent.id]
        intent = parent.intent
        del self.by_account[intent.account][parent.id]
        if self.by_client.get((intent.account, intent.client_order_id)) == parent.id:
            del self.by_client[intent.account, intent.client_order_id]
        for child in parent.children:
            del self.children[child.key]
            self.touched.pop(child.key, None)
            for order_id in (child.venue_order_id, *child.other_ids):
                order = (child.venue, child.account, child.symbol, order_id)
                if self.by_venue_id.get(order) == child.key:
                    del self.by_venue_id[order]

    # --------------------------------------------------------------------- how it is kept

    def _child(self, row: Row, key: str) -> Child | None:
        child = self.children.get(key)
        if child is None:
            self._breach(row, key, None, "no such child")
        else:
            child.parent.packed = None
        return child

    def _learn(self, row: Row, child: Child, learned: Learned) -> bool:
        status = after(child.status, learned)
        if status is None:
            self._breach(row, child.key, child, f"{child.status} cannot be: {learned.value}")
            return False
        self.touched[child.key] = child
        child.parent.learned(row.at_ns)
        if status is child.status:
            return True
        was_live = child.is_live
        assert was_live or status not in LIVE, "no end leads back"
        child.status = status
        child.is_live = status in LIVE
        if was_live and not child.is_live:
            child.ended_ns = row.at_ns
            self.live.pop(child.key)
            self._no_longer_nameless(child)
        if status in {ChildStatus.REJECTED, ChildStatus.WITHDRAWN, ChildStatus.ABSENT}:
            # Nothing was done; if a fill says otherwise, it says how much.
            child.cum = child.filled if child.cum is None else child.cum
        self._sort_in(child)
        return True

    def _stands(self, row: Row, child: Child) -> None:
        """The venue spoke of it: it exists, and if it had ended it is a ghost until it ends."""
        child.news_ns = row.at_ns
        if child.acked_ns is None:
            child.acked_ns = row.at_ns
        if child.is_live or child.ghost:
            return
        surprise = child.status in {
            ChildStatus.WITHDRAWN,
            ChildStatus.ABSENT,
            ChildStatus.REJECTED,
        } and not (isinstance(row, ChildReported) and row.state is OrderState.REJECTED)
        if surprise or (isinstance(row, ChildReported) and row.state is OrderState.OPEN):
            child.ghost = True
            self._sort_in(child)

    def _named(self, child: Child, order_id: str) -> None:
        if not order_id or child.venue_order_id == order_id:
            return
        order = (child.venue, child.account, child.symbol, order_id)
        self.by_venue_id[order] = child.key
        if not child.venue_order_id:
            child.venue_order_id = order_id
        elif order_id not in child.other_ids:
            child.other_ids += (order_id,)
        self._no_longer_nameless(child)
        if order in self.orphans or order in self.foreign:  # before anyone could tell whose it was
            self.claimed[order] = child.key

    def _no_longer_nameless(self, child: Child) -> None:
        place = (child.venue, child.account, child.symbol)
        if (there := self.nameless.get(place)) and there.pop(child.key, None) and not there:
            del self.nameless[place]

    def _sort_in(self, child: Child) -> None:
        if child.is_live or child.settled:
            self.unsettled.pop(child.key, None)
        else:
            self.unsettled[child.key] = child
        if child.ghost:
            self.to_cancel[child.key] = child
        else:
            self.to_cancel.pop(child.key, None)

    def _breach(self, row: Row, subject: str, child: Child | None, text: str) -> None:
        venue, account = (child.venue, child.account) if child else ("", "")
        self.breaches.append(Breach(row.at_ns, kind_of(row), subject, venue, account, text))

    # --------------------------------------------------------------------- what can be checked

    def state_hash(self) -> str:
        """SHA-256 of all that the rows have said, the same for the same rows."""
        state = {
            "tag": self.tag,
            "epoch": self.epoch,
            "parents": {name: _dump_parent(parent) for name, parent in self.parents.items()},
            "by_client": sorted((*both, name) for both, name in self.by_client.items()),
            "by_venue_id": sorted((*order, key) for order, key in self.by_venue_id.items()),
            "fills": sorted((*trade, *booked) for trade, booked in self.fills.items()),
            "orphans": sorted(
                (*order, fill.trade_id) for order, fills in self.orphans.items() for fill in fills
            ),
            "foreign": {"|".join(order): row for order, row in self.foreign.items()},
            "balances_ns": sorted((*both, at) for both, at in self.balances_ns.items()),
            "breaches": [tuple(breach) for breach in self.breaches],
            "last_parent": self.last_parent,
            "forgotten": [self.forgotten, self.trades_before_ns],
        }
        text: Final = msgspec.json.encode(state, order="deterministic", enc_hook=str)
        return hashlib.sha256(text).hexdigest()

    def check(self) -> None:
        """Assert every invariant.  O(all orders); for tests and for the doctor."""
        for parent in self.parents.values():
            total = ZERO
            for child in parent.children:
                total = EXACT.add(total, child.filled)
                _check_child(self, child)
            assert total == parent.filled, f"{parent.id}: its children traded {total}"
            assert (parent.id in self.working) == (parent.ended is None), parent.id
            assert (parent.id in self.past) == (parent.ended is not None), parent.id
        assert sum(len(parent.children) for parent in self.parents.values()) == len(self.children)


def _check_child(orders: Orders, child: Child) -> None:
    assert child.is_live == (child.status in LIVE), child.key
    assert (child.key in orders.live) == child.is_live, child.key
    assert (child.key in orders.unsettled) == (not child.is_live and not child.settled), child.key
    assert (child.key in orders.to_cancel) == child.ghost, child.key
    assert not (child.ghost and child.is_live), child.key
    assert (child.ended_ns is None) == child.is_live, child.key
    assert child.status is not ChildStatus.UNKNOWN or child.until_ns is not None, child.key
    there = orders.nameless.get((child.venue, child.account, child.symbol), {})
    assert (child.key in there) == (child.is_live and not child.venue_order_id), child.key


def _dump_parent(parent: Parent) -> dict[str, object]:
    return {
        "placed": parent.placed,
        "decisions": parent.decisions,
        "cancel": parent.cancel,
        "ended": parent.ended,
        "filled": parent.filled,
        "notional": parent.notional,
        "fees": parent.fees,
        "children": [_dump_child(child) for child in parent.children],
    }


_CHILD_FIELDS: Final = tuple(name for name in Child.__slots__ if name != "parent")


def _dump_child(child: Child) -> dict[str, object]:
    dump: dict[str, object] = {name: getattr(child, name) for name in _CHILD_FIELDS}
    return dump
