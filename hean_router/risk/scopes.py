"""The limits, resolved once for each name and kept."""

from decimal import Decimal

from hean_router.domain.instrument import Side
from hean_router.domain.limits import Bounds, RiskLimits
from hean_router.risk import rules
from hean_router.risk.exposure import Worth
from hean_router.risk.folded import Folded
from hean_router.risk.model import Denied, RiskView


class Scopes:
    """What holds for whom; answers are remembered, names are few."""

    def __init__(self, limits: RiskLimits) -> None:
        self.limits = limits
        self.portfolio = limits.portfolio
        self._orders: dict[tuple[str, str, str], Bounds] = {}
        self._accounts: dict[str, Bounds] = {}
        self._venues: dict[str, Bounds] = {}
        self._symbols: dict[str, Bounds] = {}
        self._worth: tuple[RiskView, Worth] | None = None

    def order(self, account: str, symbol: str, venue: str = "") -> Bounds:
        """For one order, or for one parent."""
        if (known := self._orders.get((account, symbol, venue))) is None:
            known = self.limits.of_order(account, symbol, venue)
            self._orders[account, symbol, venue] = known
        return known

    def account(self, name: str) -> Bounds:
        """For the account as a whole."""
        if (known := self._accounts.get(name)) is None:
            known = self._accounts[name] = self.limits.of_account(name)
        return known

    def venue(self, name: str) -> Bounds:
        """For the venue as a whole."""
        if (known := self._venues.get(name)) is None:
            known = self._venues[name] = self.limits.of_venue(name)
        return known

    def symbol(self, name: str) -> Bounds:
        """For the symbol as a whole."""
        if (known := self._symbols.get(name)) is None:
            known = self._symbols[name] = self.limits.of_symbol(name)
        return known

    def worth(self, folded: Folded, view: RiskView) -> Worth:
        """What things are worth at `view`; found anew for another view."""
        if self._worth is None or self._worth[0] is not view:
            worth = Worth(
                folded,
                view.rates,
                view.mids,
                view.now_ns,
                reporting=self.limits.reporting,
                stale_ms=self.limits.rate_stale_ms,
            )
            self._worth = view, worth
        return self._worth[1]


def duplicate_span_ns(limits: RiskLimits) -> int:
    """The longest window that any scope has."""
    every = [limits.portfolio, limits.each_account, limits.each_venue, limits.each_symbol]
    every += [*limits.account.values(), *limits.venue.values(), *limits.symbol.values()]
    return max(bounds.duplicate_window_ms or 0 for bounds in every) * rules.MS


def priced(
    bounds: Bounds, symbol: str, side: Side, px: Decimal, view: RiskView
) -> tuple[Denied | None, Decimal]:
    """Whether the data is good and the price within its collar; and the mid."""
    mid, last_good = view.mids.get(symbol), view.last_good.get(symbol)
    if denied := rules.stale(bounds, symbol, mid, last_good, view.now_ns):
        return denied, px
    assert mid is not None, "a missing mid is stale"
    assert last_good is not None, "a missing reference is stale"
    return rules.collar(bounds, side, px, mid[0], last_good), mid[0]


def paced(
    what: str, account: str, bounds: Bounds, folded: Folded, more: int, now_ns: int
) -> Denied | None:
    """Whether the account may send `more` parents or orders now."""
    if what == "parents":
        pace = folded.pace(folded.placed, account)
        second, minute = bounds.parents_per_second, bounds.parents_per_minute
    else:
        pace = folded.pace(folded.orders, account)
        second, minute = bounds.orders_per_second, bounds.orders_per_minute
    count = pace.second.count(now_ns) + more
    return rules.order_rate(what, account, count, second, "second") or rules.order_rate(
        what, account, pace.minute.count(now_ns) + more, minute, "minute"
    )
