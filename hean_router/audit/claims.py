"""What the running process believes, held against what its rows say: I1, I4, I9, I15, I16, I21.

Rows alone cannot show that a counter in memory stands still.  These look at what a transaction
has touched, right after it, when memory and journal must be the same.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol

from hean_router.audit.checker import Broken, checks
from hean_router.audit.facts import ZERO
from hean_router.audit.family import Family
from hean_router.domain.record import ChildIntended, Filled, ParentEnded, Row


class Orders(Protocol):
    """The order management, as far as it can be asked."""

    @property
    def parents(self) -> Mapping[str, Any]:
        """By id; each has `filled`."""

    @property
    def live(self) -> Mapping[str, Any]:
        """Orders that may still trade, by key."""


class Reserves(Protocol):
    """Risk, as far as it can be asked."""

    def reserved(self, venue: str, account: str, asset: str) -> Decimal:
        """What is kept for orders."""

    def reserved_total(self) -> Decimal:
        """What is kept for parents."""

    def position(self, account: str, symbol: str) -> Decimal:
        """Base, over venues."""


class Books(Protocol):
    """The ledger, as far as it can be asked."""

    def balance(self, venue: str, account: str, asset: str) -> Decimal | None:
        """What we have."""

    def position(self, account: str, symbol: str) -> Decimal:
        """Base, over venues."""


class Claims(Family):
    """The parts of the process, one against another."""

    def agree(self, rows: Sequence[Row], orders: Orders, risk: Reserves, ledger: Books) -> None:
        """After a transaction: whatever it touched is believed as it was written."""
        for row in rows:
            if (key := getattr(row, "key", "")) and self.facts.past(key):
                self.ended_stays(row, key, orders)
            if isinstance(row, Filled):
                self.filled(row, orders)
                self.position(row, risk, ledger)
                self.balance(row, ledger)
            elif isinstance(row, ChildIntended):
                self.reserved(row, risk)
            elif isinstance(row, ParentEnded):
                self.nothing_left(row, risk)

    @checks("I1", "claims")
    def filled(self, row: Filled, orders: Orders) -> None:
        """What a parent is believed to have filled is the sum of its trades."""
        parent, known = self.facts.parents.get(row.parent), orders.parents.get(row.parent)
        if parent is None or known is None:
            return
        self.counts["I1"] += 1
        if known.filled != parent.by_children:
            text = f"believed to have filled {known.filled}, its trades make {parent.by_children}"
            self.broken("I1", row, row.parent, text)

    @checks("I4", "claims")
    def ended_stays(self, row: Row, key: str, orders: Orders) -> None:
        """What has ended is believed to have ended, and what lives to live."""
        self.counts["I4"] += 1
        child = self.facts.children.get(key)
        lives = child is not None and child.lives
        if (key in orders.live) != lives:
            text = f"is believed to {'have ended' if lives else 'live'}, and does not"
            self.broken("I4", row, key, text, child)

    @checks("I9", "claims")
    def sent(self, key: str, at_ns: int, venue: str, account: str) -> None:
        """No byte of an order leaves the process before its intent is on disk."""
        self.counts["I9"] += 1
        if key in self.facts.children or self.facts.past(key) or self.facts.blind:
            return
        self.findings.tell(
            Broken(
                invariant="I9",
                subject=key,
                text="left, and is not on disk",
                at_ns=at_ns,
                venue=venue,
                account=account,
            )
        )

    @checks("I15", "claims")
    def position(self, row: Filled, risk: Reserves, ledger: Books) -> None:
        """The position that risk and the ledger believe in is the one that trades make."""
        if self.facts.blind:
            return
        self.counts["I15"] += 1
        ours = self.facts.positions.get((row.account, row.symbol), ZERO)
        for name, believed in (
            ("risk", risk.position(row.account, row.symbol)),
            ("the ledger", ledger.position(row.account, row.symbol)),
        ):
            if believed != ours:
                text = f"{name} believes in {believed} {row.symbol}, trades make {ours}"
                self.broken("I15", row, f"{row.account} {row.symbol}", text)

    @checks("I16", "claims")
    def balance(self, row: Filled, ledger: Books) -> None:
        """The balances that the ledger believes in are what trades and fees make of the last word.

        The difference to the venue's own figure is a break: raised by reconciliation, and compared
        with the venue itself in simulation.
        """
        held = self.facts.balances.get((row.venue, row.account))
        if held is None or self.facts.blind:
            return
        self.counts["I16"] += 1
        for asset in (*self.facts.assets(row.symbol), row.fee_asset):
            believed = ledger.balance(row.venue, row.account, asset)
            if believed != held.get(asset, ZERO):
                text = f"{asset}: believed {believed}, rows make {held.get(asset, ZERO)}"
                self.broken("I16", row, f"{row.venue} {row.account} {asset}", text)

    @checks("I21", "claims")
    def reserved(self, row: ChildIntended, risk: Reserves) -> None:
        """What is reserved at a venue is no less than living orders need, no more than they had."""
        if self.facts.blind:
            return
        self.counts["I21"] += 1
        where = (row.venue, row.account, row.reserve_asset)
        kept = risk.reserved(*where)
        low, high = self.facts.low.get(where, ZERO), self.facts.high.get(where, ZERO)
        if not low <= kept <= high:
            text = f"{kept} {row.reserve_asset} reserved, living orders need {low} to {high}"
            self.broken("I21", row, " ".join(where), text)

    @checks("I21", "claims")
    def nothing_left(self, row: Row, risk: Reserves) -> None:
        """The sum of reservations is nothing when nothing lives."""
        if self.facts.blind or self.facts.parents:
            return
        self.counts["I21"] += 1
        if left := risk.reserved_total():
            self.broken("I21", row, "total", f"nothing lives, and {left} is reserved")
        for where in self.facts.high:
            if left := risk.reserved(*where):
                self.broken("I21", row, " ".join(where), f"nothing lives, and {left} is reserved")


__all__ = ["Books", "Claims", "Orders", "Reserves"]
