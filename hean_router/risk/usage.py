"""How far each limit is used, and how far it would be if all that is open or unknown filled."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from hean_router.domain.limits import Bounds
from hean_router.risk.exact import ZERO, share_up
from hean_router.risk.exposure import Gauge, Worth, measure
from hean_router.risk.folded import Cell, Folded, Pace
from hean_router.risk.model import LimitUse, RiskView
from hean_router.risk.rules import MS
from hean_router.risk.scopes import Scopes


def usage(view: RiskView, folded: Folded, scopes: Scopes) -> list[LimitUse]:
    """All limits, the portfolio's first; for every account, venue and symbol known so far."""
    worth, unit = scopes.worth(folded, view), scopes.limits.reporting
    every = list(folded.cells.values())
    out = [*_each_order(view, folded, scopes, unit)]
    out += _whole("portfolio", scopes.portfolio, every, worth, unit)
    out += _count("portfolio", scopes.portfolio, folded.live_total)
    out += _loss("portfolio", scopes.portfolio, list(view.day_pnl.values()), unit)
    for name in _names(
        scopes.limits.account, (cell.account for cell in every), folded.live_account, view.day_pnl
    ):
        scope, bounds = f"account {name}", scopes.account(name)
        out += _whole(scope, bounds, [c for c in every if c.account == name], worth, unit)
        out += _count(scope, bounds, folded.live_account.get(name, 0))
        out += _loss(scope, bounds, [view.day_pnl.get(name)], unit)
        out += _paces(scope, bounds, folded, name, view.now_ns)
    for name in _names(scopes.limits.venue, folded.at_venue, folded.live_venue):
        scope, bounds = f"venue {name}", scopes.venue(name)
        out += _whole(scope, bounds, folded.at_venue.get(name, {}).values(), worth, unit)
        out += _count(scope, bounds, folded.live_venue.get(name, 0))
    for name in _names(scopes.limits.symbol, (cell.symbol for cell in every), view.mids):
        cells = [cell for cell in every if cell.symbol == name]
        out += _whole(f"symbol {name}", scopes.symbol(name), cells, worth, unit)
        out += [use for cell in cells for use in _position(cell, scopes, worth, unit)]
    return out


def _names(*sources: Iterable[str]) -> list[str]:
    return sorted({name for source in sources for name in source})


def _each_order(view: RiskView, folded: Folded, scopes: Scopes, unit: str) -> Iterator[LimitUse]:
    """What bounds a single order: used is the largest or the oldest that there is now."""
    bounds = scopes.portfolio
    orders = [
        share_up(parent.notional, child.row.qty, parent.qty)
        for child in folded.children.values()
        if child.live and (parent := folded.parents.get(child.row.parent))
    ]
    parents = [parent.notional for parent in folded.parents.values()]
    for name, limit, amounts in (
        ("order_notional_max", bounds.order_notional_max, orders),
        ("parent_notional_max", bounds.parent_notional_max, parents),
    ):
        if limit is not None:
            most = max(amounts, default=ZERO).quantize(Decimal("1E-8"))
            yield _use(name, "portfolio", most, limit, most, unit, "the largest that is live")
    if bounds.collar_bps is not None:
        note = "how far a price may go beyond the mid and the last good price"
        yield _use("collar_bps", "portfolio", None, bounds.collar_bps, None, "bps", note)
    if bounds.stale_ms is not None:
        limit = Decimal(bounds.stale_ms)
        for symbol, (_, at_ns) in sorted(view.mids.items()):
            age = Decimal((view.now_ns - at_ns) // MS)
            yield _use("stale_ms", f"symbol {symbol}", age, limit, age, "ms", "age of the mid")
    if bounds.duplicate_window_ms:
        limit, note = Decimal(bounds.duplicate_window_ms), "the same order twice is denied"
        yield _use("duplicate_window_ms", "portfolio", None, limit, None, "ms", note)


def _whole(
    scope: str, bounds: Bounds, cells: Iterable[Cell], worth: Worth, unit: str
) -> Iterator[LimitUse]:
    """Gross and net: of what has filled, and of the worst case."""
    if bounds.gross_max is None and bounds.net_max is None:
        return
    cells = list(cells)
    now, worst = measure([cell.filled() for cell in cells], worth), measure(cells, worth)
    for name, limit, used, most in (
        ("gross_max", bounds.gross_max, now.gross, worst.gross),
        ("net_max", bounds.net_max, now.net, worst.net),
    ):
        if limit is not None:
            yield LimitUse(
                name=name,
                scope=scope,
                used=_known(now, used),
                limit=limit,
                worst=_known(worst, most),
                unit=unit,
                note=f"no fresh rate for {worst.lacking}" if worst.lacking else "",
            )


def _known(gauge: Gauge, amount: Decimal) -> Decimal | None:
    return None if gauge.lacking else amount


def _position(cell: Cell, scopes: Scopes, worth: Worth, unit: str) -> Iterator[LimitUse]:
    bounds, scope = scopes.order(cell.account, cell.symbol), f"{cell.symbol} in {cell.account}"
    if bounds.position_qty_max is not None:
        limit = bounds.position_qty_max
        yield _use("position_qty_max", scope, abs(cell.pos), limit, cell.worst, "base")
    if bounds.position_max is not None:
        px = worth.base(cell.symbol) if cell.worst else ZERO
        used, worst = (None, None) if px is None else (abs(cell.pos) * px, cell.worst * px)
        note = f"no fresh rate for {cell.symbol}" if px is None else ""
        yield _use("position_max", scope, used, bounds.position_max, worst, unit, note)


def _count(scope: str, bounds: Bounds, live: int) -> Iterator[LimitUse]:
    if bounds.open_orders_max is not None:
        count, limit = Decimal(live), Decimal(bounds.open_orders_max)
        yield _use("open_orders_max", scope, count, limit, count, "orders")


def _loss(scope: str, bounds: Bounds, pnl: list[Decimal | None], unit: str) -> Iterator[LimitUse]:
    if bounds.daily_loss_max is None:
        return
    lost = None if None in pnl else max(ZERO, -sum((one or ZERO for one in pnl), start=ZERO))
    note = "this day's profit is not known" if lost is None else ""
    yield _use("daily_loss_max", scope, lost, bounds.daily_loss_max, lost, unit, note)


def _paces(
    scope: str, bounds: Bounds, folded: Folded, account: str, now_ns: int
) -> Iterator[LimitUse]:
    orders = folded.orders.get(account) or Pace()
    parents = folded.placed.get(account) or Pace()
    for name, limit, window, unit in (
        ("orders_per_second", bounds.orders_per_second, orders.second, "orders/s"),
        ("orders_per_minute", bounds.orders_per_minute, orders.minute, "orders/min"),
        ("parents_per_second", bounds.parents_per_second, parents.second, "parents/s"),
        ("parents_per_minute", bounds.parents_per_minute, parents.minute, "parents/min"),
    ):
        if limit is not None:
            count = Decimal(window.count(now_ns))
            yield _use(name, scope, count, Decimal(limit), count, unit)


def _use(
    name: str,
    scope: str,
    used: Decimal | None,
    limit: Decimal,
    worst: Decimal | None,
    unit: str,
    note: str = "",
) -> LimitUse:
    return LimitUse(
        name=name, scope=scope, used=used, limit=limit, worst=worst, unit=unit, note=note
    )
