"""What a venue says we have, held against what our trades make of it."""

from collections.abc import Mapping
from decimal import Decimal

from hean_router.book.sweep import EXACT
from hean_router.domain.desk import BalancesSeen
from hean_router.domain.record import BalanceBreak, BalancesSet, Incident
from hean_router.domain.scale import plain
from hean_router.engine.claims import Words
from hean_router.engine.core import Core

ZERO = Decimal(0)


class Holdings:
    """Compares where it is quiet: nothing under way can explain a difference then."""

    def __init__(self, core: Core) -> None:
        self.core, self.words = core, Words(core)
        core.on_row.append(self.words.booked)

    def quiet(self, venue: str, account: str, asked_ns: int) -> bool:
        """Whether nothing of ours moved there for a while before `asked_ns`, nor is out."""
        core, health = self.core, self.core.desks[venue, account]
        if health.active_ns + core.policy.quiet_ns > asked_ns:
            return False
        return not any(
            child.venue == venue and child.account == account
            for group in (core.oms.live, core.oms.unsettled)
            for child in group.values()
        )

    def differences(
        self, venue: str, account: str, event: BalancesSeen
    ) -> dict[str, tuple[Decimal, Decimal]]:
        """Assets of which the venue has another total than we: ours, theirs."""
        theirs = _totals(event)
        ours = self.core.ledger.balances().get((venue, account), {})
        both = {
            asset: (ours.get(asset, ZERO), theirs.get(asset, ZERO))
            for asset in sorted({*ours, *theirs})
        }
        return {asset: two for asset, two in both.items() if two[0] != two[1]}

    def take(self, venue: str, account: str, event: BalancesSeen, why: str) -> None:
        """The venue's totals are the truth from here on."""
        self.core.write(
            BalancesSet(
                at_ns=self.core.now_ns,
                venue=venue,
                account=account,
                balances=_totals(event),
                why=why,
            )
        )

    def broken(
        self, venue: str, account: str, found: Mapping[str, tuple[Decimal, Decimal]]
    ) -> None:
        """Name what does not add up, asset by asset, and position by position."""
        core = self.core
        for asset, (ours, theirs) in found.items():
            core.write(
                BalanceBreak(
                    at_ns=core.now_ns,
                    venue=venue,
                    account=account,
                    asset=asset,
                    ours=ours,
                    theirs=theirs,
                )
            )
        text = f"theirs are taken, after a second look: {told(found)}"
        inferred = sum(
            len(child.inferred)
            for child in core.oms.children.values()
            if child.inferred and (child.venue, child.account) == (venue, account)
        )
        if inferred:
            text += f"; {inferred} trades there are inferred, with prices and fees that we assumed"
        self._incident("balance_break", venue, account, "", text)
        for line in core.ledger.positions(account=account):
            two = found.get(line.pair.base)
            if two is None or line.venue != venue:
                continue
            ours, theirs = two
            text = (
                f"{line.symbol}: our trades make a position of {plain(line.qty)} here; "
                f"the venue has {_signed(EXACT.subtract(theirs, ours))} {line.pair.base} against it"
            )
            self._incident("position_break", venue, account, line.symbol, text)

    def _incident(self, what: str, venue: str, account: str, subject: str, text: str) -> None:
        self.core.write(
            Incident(
                at_ns=self.core.now_ns,
                what=what,
                text=text,
                venue=venue,
                account=account,
                subject=subject,
            )
        )


def told(found: Mapping[str, tuple[Decimal, Decimal]]) -> str:
    """Differences in words."""
    return "; ".join(
        f"{asset} {plain(ours)} by our trades, {plain(theirs)} at the venue "
        f"({_signed(EXACT.subtract(theirs, ours))})"
        for asset, (ours, theirs) in found.items()
    )


def _signed(amount: Decimal) -> str:
    return plain(amount) if amount < 0 else f"+{plain(amount)}"


def _totals(event: BalancesSeen) -> dict[str, Decimal]:
    return {one.asset: one.total for one in event.balances}
