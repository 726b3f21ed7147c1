"""Risk: I20, I21 and I22, from rows alone."""

from hean_router.audit.checker import Findings, checks
from hean_router.audit.facts import EXACT, ZERO, Facts, Parent
from hean_router.audit.family import Family
from hean_router.domain.instrument import Side
from hean_router.domain.limits import Bounds, RiskLimits
from hean_router.domain.record import ChildIntended, ParentEnded, ParentPlaced


class Caution(Family):
    """Limits, reservations, the kill switch.  Without `limits` none is checked."""

    def __init__(self, facts: Facts, findings: Findings, limits: RiskLimits | None) -> None:
        super().__init__(facts, findings)
        self.limits = limits
        self._accounts: dict[str, Bounds] = {}
        self._venues: dict[str, Bounds] = {}
        self._orders: dict[tuple[str, str], Bounds] = {}

    @checks("I20", "rows")
    def parent_fits(self, row: ParentPlaced) -> None:
        """At every instant exposure, with all that is out filled, is within each limit.

        From rows: what a parent is worth at worst, and how many orders are out at once; exposures
        are valued at prices that rows do not have, and are checked in simulation.
        """
        if self.limits is None:
            return
        self.counts["I20"] += 1
        of = (row.intent.account, row.intent.symbol)
        if (bounds := self._orders.get(of)) is None:
            bounds = self._orders[of] = self.limits.of_order(*of)
        most = bounds.parent_notional_max
        if most is not None and row.worst_usd > most:
            self.broken("I20", row, row.parent, f"worth {row.worst_usd}, {most} is allowed")

    @checks("I20", "rows")
    def count_fits(self, row: ChildIntended) -> None:
        """No more orders are out than may be, anywhere, for an account or at a venue."""
        if self.limits is None:
            return
        self.counts["I20"] += 1
        facts, limits = self.facts, self.limits
        if (account := self._accounts.get(row.account)) is None:
            account = self._accounts[row.account] = limits.of_account(row.account)
        if (venue := self._venues.get(row.venue)) is None:
            venue = self._venues[row.venue] = limits.of_venue(row.venue)
        for live, most, name in (
            (facts.live_total, limits.portfolio.open_orders_max, "in all"),
            (facts.live_account.get(row.account, 0), account.open_orders_max, row.account),
            (facts.live_venue.get(row.venue, 0), venue.open_orders_max, row.venue),
        ):
            if most is not None and live + 1 > most:
                self.broken("I20", row, row.key, f"{live + 1} orders out {name}, of {most} allowed")

    @checks("I21", "rows")
    def released_once(self, row: ParentEnded, parent: Parent | None) -> bool:
        """Each reservation is released exactly once."""
        self.counts["I21"] += 1
        if parent is None:
            if row.parent > self.facts.last_parent and not self.facts.blind:
                self.broken("I21", row, row.parent, "ended, and was never placed")
            return False
        if parent.ended:
            self.broken("I21", row, row.parent, f"ended twice: {parent.ended}, {row.status}")
            return False
        return True

    @checks("I22", "rows")
    def only_reduces(self, row: ChildIntended) -> None:
        """A reduce-only or kill-switch state never increases absolute exposure."""
        facts = self.facts
        if facts.state == "normal" or facts.blind:
            return
        self.counts["I22"] += 1
        held = facts.positions.get((row.account, row.symbol), ZERO)
        room = held.copy_negate() if row.side is Side.BUY else held
        out = facts.holds.get((row.account, row.symbol, row.side), ZERO)
        if EXACT.add(out, row.qty) > room:
            text = f"{facts.state}: {row.side} {row.qty}, {out} out, with a position of {held}"
            self.broken("I22", row, row.key, text)
