"""Money: I15, I16 and I18, from rows alone."""

from decimal import Decimal

from hean_router.audit.checker import checks
from hean_router.audit.facts import ZERO
from hean_router.audit.family import Family
from hean_router.domain.record import BalanceBreak, ChildIntended, Filled, FillUndone

DIGITS_MAX = 40  # a decimal that was a float once has some fifty


class Money(Family):
    """Every trade once, every figure exact."""

    @checks("I15", "rows")
    def counted_once(self, row: Filled) -> bool:
        """A position is the signed sum of its fills: each trade is booked once."""
        self.counts["I15"] += 1
        if (row.venue, row.account, row.symbol, row.trade_id) in self.facts.trades:
            self.broken("I15", row, row.trade_id, f"trade {row.trade_id} is booked twice")
            return False
        return True

    @checks("I15", "rows")
    def known(self, row: FillUndone) -> bool:
        """Only what was booked is taken back; of what is older nobody can tell."""
        self.counts["I15"] += 1
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade in self.facts.trades or self.facts.remembers_no_more:
            return True
        self.broken("I15", row, row.trade_id, f"trade {row.trade_id} is undone, and never was")
        return False

    @checks("I16", "rows")
    def breaks(self, row: BalanceBreak) -> None:
        """A balance is what the venue said last, and fills and fees since; a difference is told.

        Told of our own figure, the break must name the one that the rows make.
        """
        self.counts["I16"] += 1
        held = self.facts.balances.get((row.venue, row.account))
        if held is None and self.facts.blind:
            return
        ours = ZERO if held is None else held.get(row.asset, ZERO)
        if ours != row.ours:
            text = f"{row.asset}: rows make {ours}, we believed {row.ours}"
            self.broken("I16", row, f"{row.venue} {row.account} {row.asset}", text)

    @checks("I18", "rows")
    def exact(self, row: ChildIntended | Filled) -> None:
        """Prices and quantities are exact decimals on every path that decides or books."""
        self.counts["I18"] += 1
        numbers = (row.qty, row.px)
        subject = row.key
        for number in numbers:
            if number is None:
                continue
            if type(number) is not Decimal or not number.is_finite() or number <= 0:
                self.broken("I18", row, subject, f"{number!r} is no price and no quantity")
            elif len(number.as_tuple().digits) > DIGITS_MAX:
                self.broken("I18", row, subject, f"{number} went through a float")

    def fee(self, row: Filled) -> None:
        """A fee is a number."""
        if type(row.fee) is not Decimal or not row.fee.is_finite():
            self.broken("I18", row, row.trade_id, f"a fee of {row.fee!r}")
