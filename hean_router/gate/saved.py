"""What the gate has counted, as a value: its own, taken from nobody else."""

from decimal import Decimal

from msgspec import Struct

from hean_router.domain.record import ChildIntended, Filled, ParentPlaced
from hean_router.gate.count import Child, Count, Order, Parent, Scope


class ChildState(Struct, frozen=True, array_like=True):
    """As `Child`; `parent` is empty for one of no parent."""

    row: ChildIntended
    parent: str
    live: bool
    passed: bool
    never: bool
    ghost: bool
    told: Decimal | None
    order: Order | None
    filled: Decimal
    spent: Decimal


class ParentState(Struct, frozen=True, array_like=True):
    """As `Parent`; its children are named in their order."""

    row: ParentPlaced
    closed: str
    filled: Decimal
    spent: Decimal
    children: list[str]


class CountState(Struct, frozen=True, kw_only=True):
    """As `Count`."""

    parents: list[ParentState]
    children: list[ChildState]
    positions: list[tuple[Scope, Decimal]]
    state: str
    reason: str
    rooms: dict[str, Decimal]
    trades: list[tuple[Order, tuple[int, str]]]
    orders: list[tuple[Order, str]]
    orphans: list[tuple[Order, list[Filled]]]


class GateState(Struct, frozen=True, kw_only=True):
    """As `Gate`, as far as rows have made it: nothing is open, and who held what is gone."""

    count: CountState
    faults: list[tuple[Scope, str, int]]  # where, why, since when
    epoch: int
    tag: str
    # Account, strategy, symbol, and their trades within the window: when, and worth in quote.
    repeated: list[tuple[tuple[str, str, str], list[tuple[int, Decimal]]]]


def dump(of: Count) -> CountState:
    """Its state."""
    return CountState(
        parents=[
            ParentState(
                one.row, one.closed, one.filled, one.spent, [c.row.key for c in one.children]
            )
            for one in of.parents.values()
        ],
        children=[
            ChildState(
                one.row,
                "" if one.parent is None else one.row.parent,
                one.live,
                one.passed,
                one.never,
                one.ghost,
                one.told,
                one.order,
                one.filled,
                one.spent,
            )
            for one in of.children.values()
        ],
        positions=list(of.positions.items()),
        state=of.state,
        reason=of.reason,
        rooms=of.rooms,
        trades=list(of.trades.items()),
        orders=[(order, child.row.key) for order, child in of.orders.items()],
        orphans=list(of.orphans.items()),
    )


def load(of: Count, state: CountState) -> None:
    """Make a new `of` what `state` was."""
    for parent in state.parents:
        one = of.parents[parent.row.parent] = Parent(parent.row)
        one.closed, one.filled, one.spent = parent.closed, parent.filled, parent.spent
    for child in state.children:
        found = Child(child.row, of.parents.get(child.parent))
        found.live, found.passed, found.never = child.live, child.passed, child.never
        found.ghost, found.told, found.order = child.ghost, child.told, child.order
        found.filled, found.spent = child.filled, child.spent
        of.children[child.row.key] = found
    for parent in state.parents:
        of.parents[parent.row.parent].children = [of.children[key] for key in parent.children]
    of.positions.update(state.positions)
    of.state, of.reason = state.state, state.reason
    of.rooms.update(state.rooms)
    of.trades.update(state.trades)
    of.orders.update((order, of.children[key]) for order, key in state.orders)
    of.orphans.update(state.orphans)
