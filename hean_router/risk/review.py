"""Whether one order may leave for one venue.  The only maker of `Approved`."""

from collections.abc import Sequence

from hean_router.domain.instrument import Side
from hean_router.domain.limits import Bounds
from hean_router.domain.order import Approved, ChildOrder, Tif
from hean_router.domain.record import ParentPlaced
from hean_router.risk import rules
from hean_router.risk.exact import share_up
from hean_router.risk.exposure import Gauge, measure
from hean_router.risk.folded import Folded
from hean_router.risk.model import Denied, RiskView
from hean_router.risk.scopes import Scopes, paced, priced


def review(
    child: ChildOrder,
    placed: ParentPlaced,
    view: RiskView,
    folded: Folded,
    scopes: Scopes,
    ahead: Sequence[ChildOrder] = (),
) -> Approved | Denied:
    """Approve the child, or say why not.

    `ahead` are children approved in this step whose rows have not been applied yet: they count.
    """
    assert child.account == placed.intent.account, "a child trades for its parent's account"
    look = _Look(child, placed, view, folded, scopes, ahead)
    for rule in _RULES:
        if denied := rule(look):
            return denied
    return Approved(child)


class _Look:
    """A child with what its rules need."""

    __slots__ = (
        "account", "ahead", "bounds", "child", "folded", "placed", "px", "qty", "reducing",
        "scopes", "side", "symbol", "venue", "view",
    )  # fmt: skip

    def __init__(
        self,
        child: ChildOrder,
        placed: ParentPlaced,
        view: RiskView,
        folded: Folded,
        scopes: Scopes,
        ahead: Sequence[ChildOrder],
    ) -> None:
        of = child.instrument
        self.child, self.placed, self.view = child, placed, view
        self.folded, self.scopes, self.ahead = folded, scopes, ahead
        self.account, self.side, self.venue = child.account, child.side, str(of.venue)
        self.symbol, pair = folded.pair(placed.intent.symbol)
        assert of.pair == pair, f"{of.pair} for a parent of {pair}"
        self.qty = of.qty_decimal(child.qty)
        # A market order may trade down to what its parent was let through with.
        self.px = placed.worst_px if child.px is None else of.px_decimal(child.px)
        self.bounds = scopes.order(self.account, self.symbol, self.venue)
        cell = folded.cell(self.account, self.symbol)
        more = self.qty
        for one in ahead:
            if (one.account, one.side, one.instrument.pair) == (self.account, self.side, of.pair):
                more += one.instrument.qty_decimal(one.qty)
        self.reducing = cell.reduces_out(self.side, more)


def _state(at: _Look) -> Denied | None:
    rests = at.child.tif is Tif.GTC
    return rules.state(at.folded.state, at.folded.reason, at.reducing, rests)


def _health(at: _Look) -> Denied | None:
    return rules.venue_health(at.venue, at.view.venue_why.get((at.venue, at.account)))


def _rate(at: _Look) -> Denied | None:
    more = 1
    for one in at.ahead:
        more += one.account == at.account
    bounds = at.scopes.account(at.account)
    return paced("orders", at.account, bounds, at.folded, more, at.view.now_ns)


def _open(at: _Look) -> Denied | None:
    folded, scopes = at.folded, at.scopes
    here, mine = folded.live_venue.get(at.venue, 0), folded.live_account.get(at.account, 0)
    for one in at.ahead:
        here += one.instrument.venue == at.venue
        mine += one.account == at.account
    of_account, of_venue = scopes.account(at.account), scopes.venue(at.venue)
    live, limit = folded.live_total + len(at.ahead), scopes.portfolio.open_orders_max
    return (
        rules.open_orders("the", "portfolio", limit, live, 1)
        or rules.open_orders("account", at.account, of_account.open_orders_max, mine, 1)
        or rules.open_orders("venue", at.venue, of_venue.open_orders_max, here, 1)
    )


def _price(at: _Look) -> Denied | None:
    denied, _ = priced(at.bounds, at.symbol, at.side, at.px, at.view)
    return denied or rules.within_parent(at.side, at.px, at.placed.worst_px)


def _notional(at: _Look) -> Denied | None:
    # Its part of what was reserved: no rate is needed, none that moved meanwhile can surprise.
    placed = at.placed
    return rules.order_notional(at.bounds, share_up(placed.worst_usd, at.qty, placed.qty))


def _crossing(at: _Look) -> Denied | None:
    other = Side.SELL if at.side is Side.BUY else Side.BUY
    return rules.self_cross(at.side, at.px, at.folded.resting(at.symbol, other))


def _loss(at: _Look) -> Denied | None:
    if at.reducing:
        return None
    limit = at.scopes.account(at.account).daily_loss_max
    total = at.scopes.portfolio.daily_loss_max
    return rules.daily_loss(at.account, limit, total, at.view.day_pnl)


def _venue_exposure(at: _Look) -> Denied | None:
    """Only here is it known at which venue a position will be."""
    bounds = at.scopes.venue(at.venue)
    if bounds.gross_max is None and bounds.net_max is None:
        return None
    worth = at.scopes.worth(at.folded, at.view)
    cell = at.folded.venue_cell(at.venue, at.account, at.symbol)
    cells = at.folded.at_venue[at.venue]
    moved = [(cell, at.side, at.qty)]
    for one in at.ahead:
        of = one.instrument
        if of.venue == at.venue:
            where = at.folded.venue_cell(at.venue, one.account, str(of.pair))
            moved.append((where, one.side, of.qty_decimal(one.qty)))
    for where, side, qty in moved:
        where.open(side, qty)
    try:
        after = measure(cells.values(), worth)
        if not after.lacking and _within(after, bounds):
            return None
        cell.open(at.side, -at.qty)
        before = measure(cells.values(), worth)
        cell.open(at.side, at.qty)
    finally:
        for where, side, qty in moved:
            where.open(side, -qty)
    scope = f"venue {at.venue}"
    if after.lacking:
        if at.reducing:
            return None
        return Denied("no_rate", f"no rate that is fresh enough to value {scope}")
    gross = "limit_gross_exposure", scope, before.gross, after.gross, bounds.gross_max
    net = "limit_net_exposure", scope, before.net, after.net, bounds.net_max
    return rules.exposure(*gross) or rules.exposure(*net)


def _within(gauge: Gauge, bounds: Bounds) -> bool:
    return (bounds.gross_max is None or gauge.gross <= bounds.gross_max) and (
        bounds.net_max is None or gauge.net <= bounds.net_max
    )


# In this order: what stops everything, what the world forbids, what this order does.
_RULES = (
    _state, _health, _rate, _open, _price, _notional, _crossing, _loss, _venue_exposure,
)  # fmt: skip
