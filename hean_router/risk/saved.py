"""What risk has folded, as a value, and back."""

from bisect import insort
from decimal import Decimal

from msgspec import Struct

from hean_router.domain.instrument import Side
from hean_router.domain.record import ChildIntended, ForeignOrder
from hean_router.risk.folded import Asked, Cell, Folded, HeldChild, LiveParent, Pace


class CellState(Struct, frozen=True, array_like=True):
    """As `Cell`; `venue` is empty where it is of all venues."""

    venue: str
    account: str
    symbol: str
    pos: Decimal
    up: Decimal
    down: Decimal
    buys_out: Decimal
    sells_out: Decimal


class LiveState(Struct, frozen=True, array_like=True):
    """As `LiveParent`, with its name."""

    name: str
    account: str
    symbol: str
    side: Side
    qty: Decimal
    leaves: Decimal
    notional: Decimal
    reserved: Decimal
    children: list[str]


class HeldState(Struct, frozen=True, array_like=True):
    """As `HeldChild`."""

    row: ChildIntended
    hold: Decimal
    filled: Decimal
    reserved: Decimal
    live: bool
    seen: bool
    cum: Decimal | None


class FoldedState(Struct, frozen=True, kw_only=True):
    """As `Folded`."""

    state: str
    reason: str
    by: str
    since_ns: int
    parents: list[LiveState]
    children: list[HeldState]
    cells: list[CellState]
    reserved_usd: Decimal
    reserved: list[tuple[tuple[str, str, str], Decimal]]
    foreign: list[ForeignOrder]
    locked: list[tuple[tuple[str, str, str], Decimal]]
    orders: list[tuple[str, list[int], list[int]]]  # account, the last second, the last minute
    placed: list[tuple[str, list[int], list[int]]]
    recent: list[tuple[Asked, tuple[int, str]]]
    recent_order: list[tuple[int, Asked]]


def dump(of: Folded) -> FoldedState:
    """Its state."""
    cells = [_dump_cell("", cell) for cell in of.cells.values()]
    for venue, there in of.at_venue.items():
        cells += [_dump_cell(venue, cell) for cell in there.values()]
    return FoldedState(
        state=of.state,
        reason=of.reason,
        by=of.by,
        since_ns=of.since_ns,
        parents=[
            LiveState(
                name,
                one.account,
                one.cell.symbol,
                one.side,
                one.qty,
                one.leaves,
                one.notional,
                one.reserved,
                sorted(one.children),
            )
            for name, one in of.parents.items()
        ],
        children=[
            HeldState(one.row, one.hold, one.filled, one.reserved, one.live, one.seen, one.cum)
            for one in of.children.values()
        ],
        cells=cells,
        reserved_usd=of.reserved_usd,
        reserved=list(of.reserved.items()),
        foreign=list(of.foreign.values()),
        locked=list(of.locked.items()),
        orders=_dump_paces(of.orders),
        placed=_dump_paces(of.placed),
        recent=list(of.recent.items()),
        recent_order=list(of.recent_order),
    )


def _dump_cell(venue: str, of: Cell) -> CellState:
    return CellState(
        venue, of.account, of.symbol, of.pos, of.up, of.down, of.buys_out, of.sells_out
    )


def _dump_paces(paces: dict[str, Pace]) -> list[tuple[str, list[int], list[int]]]:
    return [(name, list(one.second.times), list(one.minute.times)) for name, one in paces.items()]


def load(of: Folded, state: FoldedState) -> None:
    """Make a new `of` what `state` was."""
    of.state, of.reason, of.by, of.since_ns = state.state, state.reason, state.by, state.since_ns
    for one in state.cells:
        cell = (
            of.venue_cell(one.venue, one.account, one.symbol)
            if one.venue
            else of.cell(one.account, one.symbol)
        )
        cell.pos, cell.up, cell.down = one.pos, one.up, one.down
        cell.buys_out, cell.sells_out = one.buys_out, one.sells_out
    for live in state.parents:
        of.parents[live.name] = LiveParent.made(
            of.cell(live.account, live.symbol),
            live.side,
            live.qty,
            live.leaves,
            live.notional,
            live.reserved,
            set(live.children),
        )
    for held in state.children:
        child = of.children[held.row.key] = HeldChild(held.row)
        child.hold, child.filled, child.reserved = held.hold, held.filled, held.reserved
        child.live, child.seen, child.cum = held.live, held.seen, held.cum
        if child.live:
            of.count(held.row, 1)
        if child.rests and held.row.px is not None:
            insort(of.prices(held.row), held.row.px)
    of.reserved_usd = state.reserved_usd
    of.reserved.update(state.reserved)
    of.foreign.update(
        ((row.venue, row.account, row.symbol, row.venue_order_id), row) for row in state.foreign
    )
    of.locked.update(state.locked)
    for paces, saved in ((of.orders, state.orders), (of.placed, state.placed)):
        for account, second, minute in saved:
            pace = of.pace(paces, account)
            pace.second.times.extend(second)
            pace.minute.times.extend(minute)
    of.recent.update(state.recent)
    of.recent_order.extend(state.recent_order)
