"""Balances by venue and positions, from rows alone: reading the journal again gives the same."""

import hashlib
from collections.abc import Iterator, Mapping
from decimal import Decimal

from hean_router.domain.instrument import Pair, Side
from hean_router.domain.record import BalanceBreak, BalancesSet, Filled, FillUndone, Row
from hean_router.domain.scale import plain
from hean_router.portfolio.money import EXACT, ZERO, Marks, add_to
from hean_router.portfolio.pnl import PnlLine, pnl_line
from hean_router.portfolio.positions import Effect, Position, PositionLine, View, effect_of
from hean_router.portfolio.saved import LedgerState, dump_position, load_position

_Key = tuple[str, str, str, str]  # account, venue, symbol, strategy


class Ledger:
    """What we have where, and what trading has made of it.

    Changes by `apply` alone.  Amounts are decimals of the asset, sums exact (`Inexact` is raised
    rather than a digit lost).  Every `Filled` row counts: that a trade comes once is the part of
    whoever writes the row.  `BalancesSet` replaces all balances of its venue and account (an asset
    it does not name is 0); whoever writes it does so only while no order is under way there, so
    that no fill is both in it and still to come.
    """

    __slots__ = ("_balances", "_breaks", "_flows", "_positions", "_set_ns")

    def __init__(self) -> None:
        self._balances: dict[tuple[str, str], dict[str, Decimal]] = {}
        self._flows: dict[tuple[str, str], dict[str, Decimal]] = {}
        self._set_ns: dict[tuple[str, str], int] = {}
        self._breaks: dict[tuple[str, str, str], BalanceBreak] = {}
        self._positions: dict[View, dict[_Key, Position]] = {view: {} for view in View}

    def apply(self, row: Row) -> None:
        """Take a committed row; those that move no money change nothing."""
        match row:
            case Filled():
                self._fill(row, effect_of(row))
            case FillUndone():
                self._undo(row, effect_of(row))
            case BalancesSet():
                place = (row.venue, row.account)
                self._balances[place] = dict(row.balances)
                self._set_ns[place] = row.at_ns
                for key in [key for key in self._breaks if key[:2] == place]:
                    del self._breaks[key]
            case BalanceBreak():
                self._breaks[row.venue, row.account, row.asset] = row
            case _:
                pass

    def _fill(self, row: Filled, effect: Effect) -> None:
        self._flow(row, effect.pair, back=False)
        for view, key in _places(row):
            positions = self._positions[view]
            if (position := positions.get(key)) is None:
                position = positions[key] = Position()
            position.fill(row, effect)

    def _undo(self, row: FillUndone, effect: Effect) -> None:
        self._flow(row, effect.pair, back=True)
        for view, key in _places(row):
            self._positions[view][key].undo(row, effect)

    def _flow(self, row: Filled | FillUndone, pair: Pair, *, back: bool) -> None:
        place = (row.venue, row.account)
        flows = self._flows.setdefault(place, {})
        value = EXACT.multiply(row.qty, row.px)
        buying = (row.side is Side.BUY) is not back
        fee = row.fee if back else EXACT.minus(row.fee)
        # Asset by asset and not by `effect`: a fee may be in any asset, base and quote among them.
        for asset, amount in (
            (pair.base, row.qty if buying else EXACT.minus(row.qty)),
            (pair.quote, EXACT.minus(value) if buying else value),
            (row.fee_asset, fee),
        ):
            if amount:
                add_to(flows, asset, amount)
                balances = None if row.in_balances else self._balances.get(place)
                if balances is not None:
                    add_to(balances, asset, amount)

    # --------------------------------------------------------------------- balances

    def balance(self, venue: str, account: str, asset: str) -> Decimal | None:
        """What we have there, locked in; None until its balances were set once."""
        balances = self._balances.get((venue, account))
        return None if balances is None else balances.get(asset, ZERO)

    def balances(self) -> Mapping[tuple[str, str], Mapping[str, Decimal]]:
        """All that is known, by (venue, account), then asset.  A view: do not keep it."""
        return self._balances

    def balances_set_ns(self, venue: str, account: str) -> int | None:
        """When its balances were last set from the venue's word; None: never."""
        return self._set_ns.get((venue, account))

    def flows(self) -> Mapping[tuple[str, str], Mapping[str, Decimal]]:
        """What fills alone have done, by (venue, account), then asset.  A view: do not keep it."""
        return self._flows

    def breaks(self) -> list[BalanceBreak]:
        """Breaks that no later `BalancesSet` has answered, by venue, account and asset."""
        return [self._breaks[key] for key in sorted(self._breaks)]

    # --------------------------------------------------------------------- positions

    def positions(
        self,
        by: View = View.VENUE,
        *,
        account: str | None = None,
        symbol: str | None = None,
        strategy: str | None = None,
    ) -> list[PositionLine]:
        """Positions, flat ones too, in the order of their names."""
        positions = self._positions[by]
        return [
            positions[key].line(*key)
            for key in sorted(positions)
            if account in {None, key[0]} and symbol in {None, key[2]} and strategy in {None, key[3]}
        ]

    def position(self, account: str, symbol: str) -> Decimal:
        """Base held by our fills over venues and strategies, signed."""
        position = self._positions[View.SYMBOL].get((account, "", symbol, ""))
        return ZERO if position is None else position.qty

    def pnl(
        self,
        marks: Marks,
        by: View = View.STRATEGY,
        *,
        account: str | None = None,
        symbol: str | None = None,
        strategy: str | None = None,
    ) -> list[PnlLine]:
        """Profit of every position at `marks`, in its quote."""
        lines = self.positions(by, account=account, symbol=symbol, strategy=strategy)
        return [pnl_line(line, marks.get(line.symbol)) for line in lines]

    # --------------------------------------------------------------------- saved

    def dump(self) -> LedgerState:
        """What rows have made of it; mutable parts are not copied: encode it at once."""
        return LedgerState(
            balances=list(self._balances.items()),
            flows=list(self._flows.items()),
            set_ns=list(self._set_ns.items()),
            breaks=list(self._breaks.values()),
            positions=[
                (view, key, dump_position(one))
                for view, positions in self._positions.items()
                for key, one in positions.items()
            ],
        )

    def load(self, state: LedgerState) -> None:
        """Make this, which is new, what was dumped."""
        self._balances.update(state.balances)
        self._flows.update(state.flows)
        self._set_ns.update(state.set_ns)
        self._breaks.update(((row.venue, row.account, row.asset), row) for row in state.breaks)
        for view, key, one in state.positions:
            self._positions[view][key] = load_position(one)

    # --------------------------------------------------------------------- proof

    def state_hash(self) -> str:
        """Equal for equal states, however they were reached; 32 hex digits."""
        return hashlib.sha256("\n".join(self._spelled()).encode()).hexdigest()[:32]

    def _spelled(self) -> Iterator[str]:
        for name, amounts in (("balance", self._balances), ("flow", self._flows)):
            for place in sorted(amounts):
                yield f"{name} {place}"
                for asset, amount in sorted(amounts[place].items()):
                    if amount:
                        yield f"{asset} {plain(amount)}"
        for view in View:
            for key, position in sorted(self._positions[view].items()):
                numbers = (position.qty, position.cost, position.realised, position.fees_quote)
                fees = sorted(f"{a} {plain(fee)}" for a, fee in position.fees.items() if fee)
                yield f"{view.value} {key} {[plain(n) for n in numbers]} {fees} {position.fills}"


def _places(row: Filled | FillUndone) -> tuple[tuple[View, _Key], ...]:
    """Under which name each view keeps the position that a trade moves."""
    return (
        (View.VENUE, (row.account, row.venue, row.symbol, row.strategy)),
        (View.STRATEGY, (row.account, "", row.symbol, row.strategy)),
        (View.SYMBOL, (row.account, "", row.symbol, "")),
    )
