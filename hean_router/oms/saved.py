"""The fold of orders as a value, and back: so that a start need not read every row there is.

Loading what was dumped gives the same `Orders`, which the same further rows make the same of.
"""

from decimal import Decimal

import msgspec
from msgspec import Raw, Struct

from hean_router.domain.record import (
    ChildIntended,
    Decided,
    Filled,
    ForeignOrder,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
)
from hean_router.oms.model import Child, Parent
from hean_router.oms.orders import Breach, FillId, Orders, VenueOrder
from hean_router.oms.states import LIVE, ChildStatus


class ChildState(Struct, frozen=True, array_like=True):
    """As `Child`; without the parent, and what follows from the row and the status."""

    intended: ChildIntended
    status: ChildStatus
    filled: Decimal
    notional: Decimal
    fees: dict[str, Decimal]
    cum: Decimal | None
    venue_order_id: str
    other_ids: tuple[str, ...]
    why: str
    until_ns: int | None
    unknown_ns: int | None
    acked_ns: int | None
    news_ns: int | None
    ended_ns: int | None
    cancel_ns: int | None
    cancel_answer: str
    cancel_answered_ns: int | None
    ghost: bool
    inferred: list[Filled]


class ParentState(Struct, frozen=True, array_like=True):
    """As `Parent`."""

    placed: ParentPlaced
    updated_ns: int
    filled: Decimal
    notional: Decimal
    fees: dict[str, Decimal]
    children: list[ChildState]
    decisions: list[Decided]
    cancel: ParentCancelAsked | None
    ended: ParentEnded | None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(ParentState)


class OrdersState(Struct, frozen=True, kw_only=True):
    """As `Orders`; what stands in an order of its own is named in that order."""

    tag: str
    tags: list[str]
    epoch: int
    last_parent: int
    forgotten: int
    trades_before_ns: int
    parents: list[Raw]  # each a `ParentState`
    working: list[str]
    past: list[str]
    live: list[str]
    unsettled: list[str]
    to_cancel: list[str]
    names: list[tuple[VenueOrder, str]]
    fills: list[tuple[FillId, tuple[int, str]]]
    orphans: list[tuple[VenueOrder, list[Filled]]]
    claimed: list[tuple[VenueOrder, str]]
    foreign: list[ForeignOrder]
    balances_ns: list[tuple[tuple[str, str], int]]
    breaches: list[Breach]


def dump(orders: Orders) -> OrdersState:
    """Its state; mutable parts are not copied: encode it before anything else happens."""
    return OrdersState(
        tag=orders.tag,
        tags=sorted(orders.tags),
        epoch=orders.epoch,
        last_parent=orders.last_parent,
        forgotten=orders.forgotten,
        trades_before_ns=orders.trades_before_ns,
        parents=[Raw(packed(one)) for one in orders.parents.values()],
        working=list(orders.working),
        past=list(orders.past),
        live=list(orders.live),
        unsettled=list(orders.unsettled),
        to_cancel=list(orders.to_cancel),
        names=list(orders.by_venue_id.items()),
        fills=list(orders.fills.items()),
        orphans=list(orders.orphans.items()),
        claimed=list(orders.claimed.items()),
        foreign=list(orders.foreign.values()),
        balances_ns=list(orders.balances_ns.items()),
        breaches=list(orders.breaches),
    )


def packed(parent: Parent) -> bytes:
    """One parent as it is saved; of one that has ended it is kept until anything changes."""
    if (known := parent.packed) is not None:
        return known
    data = _ENCODER.encode(_dump_parent(parent))
    if parent.ended is not None:
        parent.packed = data
    return data


def _dump_parent(parent: Parent) -> ParentState:
    return ParentState(
        parent.placed,
        parent.updated_ns,
        parent.filled,
        parent.notional,
        parent.fees,
        [_dump_child(child) for child in parent.children],
        parent.decisions,
        parent.cancel,
        parent.ended,
    )


def _dump_child(child: Child) -> ChildState:
    return ChildState(
        child.intended,
        child.status,
        child.filled,
        child.notional,
        child.fees,
        child.cum,
        child.venue_order_id,
        child.other_ids,
        child.why,
        child.until_ns,
        child.unknown_ns,
        child.acked_ns,
        child.news_ns,
        child.ended_ns,
        child.cancel_ns,
        child.cancel_answer,
        child.cancel_answered_ns,
        child.ghost,
        child.inferred,
    )


def load(orders: Orders, state: OrdersState) -> None:
    """Make new `orders` what `state` was."""
    assert not orders.tag and not orders.parents, "only what is new can be loaded into"  # noqa: PT018 - one state
    orders.tag, orders.epoch, orders.tags = state.tag, state.epoch, set(state.tags)
    orders.last_parent, orders.forgotten = state.last_parent, state.forgotten
    orders.trades_before_ns = state.trades_before_ns
    for one in state.parents:
        parent = _load_parent(_DECODER.decode(one))
        parent.packed = bytes(one) if parent.ended is not None else None
        intent = parent.intent
        orders.parents[parent.id] = parent
        orders.by_account.setdefault(intent.account, {})[parent.id] = parent
        orders.by_client[intent.account, intent.client_order_id] = parent.id
        for child in parent.children:
            orders.children[child.key] = child
    for names, found in ((state.working, orders.working), (state.past, orders.past)):
        found.update((name, orders.parents[name]) for name in names)
    for keys, of in (
        (state.live, orders.live),
        (state.unsettled, orders.unsettled),
        (state.to_cancel, orders.to_cancel),
    ):
        of.update((key, orders.children[key]) for key in keys)
        orders.touched.update(of)  # the resolver begins anew
    for child in orders.live.values():
        if not child.venue_order_id:
            place = (child.venue, child.account, child.symbol)
            orders.nameless.setdefault(place, {})[child.key] = child
    orders.by_venue_id.update(state.names)
    orders.fills.update(state.fills)
    orders.orphans.update(state.orphans)
    orders.claimed.update(state.claimed)
    orders.foreign.update(
        ((row.venue, row.account, row.symbol, row.venue_order_id), row) for row in state.foreign
    )
    orders.balances_ns.update(state.balances_ns)
    orders.breaches.extend(state.breaches)


def _load_parent(state: ParentState) -> Parent:
    parent = Parent(state.placed)
    parent.updated_ns = state.updated_ns
    parent.filled, parent.notional, parent.fees = state.filled, state.notional, state.fees
    parent.decisions, parent.cancel, parent.ended = state.decisions, state.cancel, state.ended
    parent.children = [_load_child(one, parent) for one in state.children]
    return parent


def _load_child(state: ChildState, parent: Parent) -> Child:
    child = Child(state.intended, parent)
    child.status, child.is_live = state.status, state.status in LIVE
    child.filled, child.notional, child.fees = state.filled, state.notional, state.fees
    child.cum, child.why, child.ghost = state.cum, state.why, state.ghost
    child.venue_order_id, child.other_ids = state.venue_order_id, state.other_ids
    child.until_ns, child.unknown_ns = state.until_ns, state.unknown_ns
    child.acked_ns, child.news_ns, child.ended_ns = state.acked_ns, state.news_ns, state.ended_ns
    child.cancel_ns, child.cancel_answer = state.cancel_ns, state.cancel_answer
    child.cancel_answered_ns, child.inferred = state.cancel_answered_ns, state.inferred
    return child
