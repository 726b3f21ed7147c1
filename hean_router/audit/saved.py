"""What the watch knows, as bytes: beside a checkpoint, so that a restart need not read every row.

Closed and versioned: bytes of another version are refused, and then every row is read.
"""

from decimal import Decimal

import msgspec
from msgspec import Struct

from hean_router.audit.facts import Child, Facts, Parent
from hean_router.domain.record import ChildIntended, Decided, Filled, ParentPlaced

VERSION = 1


class SavedChild(Struct, frozen=True, array_like=True):
    """An order; what can be worked out from it is."""

    row: ChildIntended
    state: str
    ghost: bool
    alarmed: bool
    filled: Decimal
    told: Decimal | None
    order: tuple[str, str, str, str] | None
    hold: Decimal


class SavedParent(Struct, frozen=True, array_like=True):
    """A parent and its orders, in the order in which they were intended."""

    row: ParentPlaced
    by_parent: Decimal
    by_children: Decimal
    spent: Decimal
    ended: str
    decided: Decided | None
    sent: dict[str, Decimal]
    children: list[SavedChild]


class Saved(Struct, frozen=True, kw_only=True):
    """All of it."""

    version: int = VERSION
    seq: int
    blind: bool
    epoch: int
    tags: list[str]
    last_parent: str
    risk: tuple[str, str, int]
    positions: list[tuple[str, str, Decimal, Decimal]]  # account, symbol, base, quote
    balances: list[tuple[str, str, dict[str, Decimal]]]
    trades: list[tuple[str, str, str, str]]
    clients: list[tuple[str, str, str]]
    nonces: list[tuple[str, str, int]]
    orphans: list[Filled]
    parents: list[SavedParent]
    standing: list[tuple[str, str, str]]


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Saved)


def save(facts: Facts, seq: int, standing: dict[tuple[str, str], str]) -> bytes:
    """The same bytes for the same state."""
    places = sorted({*facts.positions, *facts.flows})
    zero = Decimal(0)
    saved = Saved(
        seq=seq,
        blind=facts.blind,
        epoch=facts.epoch,
        tags=sorted(facts.tags),
        last_parent=facts.last_parent,
        risk=(facts.state, facts.state_why, facts.state_ns),
        positions=[
            (*place, facts.positions.get(place, zero), facts.flows.get(place, zero))
            for place in places
        ],
        balances=[(*place, held) for place, held in sorted(facts.balances.items())],
        trades=facts.recent_trades(),
        clients=[(*who, parent) for who, parent in facts.clients.items()],
        nonces=[(*place, below) for place, below in sorted(facts.nonces.items())],
        orphans=[row for rows in facts.orphans.values() for row in rows],
        parents=[_parent(parent) for parent in facts.parents.values()],
        standing=[(*scope, why) for scope, why in sorted(standing.items())],
    )
    return _ENCODER.encode(saved)


def _parent(parent: Parent) -> SavedParent:
    return SavedParent(
        parent.row,
        parent.by_parent,
        parent.by_children,
        parent.spent,
        parent.ended,
        parent.decided,
        parent.sent,
        [_child(child) for child in parent.children.values()],
    )


def _child(child: Child) -> SavedChild:
    return SavedChild(
        child.row,
        child.state,
        child.ghost,
        child.alarmed,
        child.filled,
        child.told,
        child.order,
        child.hold,
    )


def restore(facts: Facts, data: bytes) -> tuple[int, dict[tuple[str, str], str]]:
    """Fill empty `facts`; the number of the last row in them, and what stood.

    Raises `ValueError` for bytes of another version, `msgspec.MsgspecError` for others.
    """
    if msgspec.json.decode(data, type=_Version).version != VERSION:
        raise ValueError("written by another version")
    saved = _DECODER.decode(data)
    facts.blind, facts.epoch, facts.last_parent = saved.blind, saved.epoch, saved.last_parent
    facts.tags |= set(saved.tags)
    facts.state, facts.state_why, facts.state_ns = saved.risk
    for account, symbol, base, quote in saved.positions:
        facts.positions[account, symbol], facts.flows[account, symbol] = base, quote
    for venue, account, held in saved.balances:
        facts.balances[venue, account] = held
    for trade in saved.trades:
        facts.remember(trade)
    facts.clients.update({(account, name): parent for account, name, parent in saved.clients})
    facts.nonces.update({(venue, account): below for venue, account, below in saved.nonces})
    for row in saved.orphans:
        order = (row.venue, row.account, row.symbol, row.venue_order_id)
        facts.orphans.setdefault(order, []).append(row)
    for one in saved.parents:
        _restore_parent(facts, one)
    return saved.seq, {(venue, account): why for venue, account, why in saved.standing}


class _Version(Struct):
    version: int = 0


def _restore_parent(facts: Facts, saved: SavedParent) -> None:
    parent = facts.parents[saved.row.parent] = Parent(saved.row)
    for one in saved.children:
        child = Child(one.row, parent)
        child.state, child.ghost, child.alarmed = one.state, one.ghost, one.alarmed
        child.filled, child.told, child.order = one.filled, one.told, one.order
        parent.children[one.row.key] = facts.children[one.row.key] = child
        if child.order is not None:
            facts.orders[child.order] = child
        facts.adopt(child, one.hold)
    parent.by_parent, parent.by_children = saved.by_parent, saved.by_children
    parent.spent, parent.ended, parent.decided = saved.spent, saved.ended, saved.decided
    parent.sent = dict(saved.sent)


__all__ = ["restore", "save"]
