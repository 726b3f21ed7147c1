"""What trading has made of us: quantity, cost and profit by average cost, fees apart.

A position starts at nothing with the journal: it is what our fills add up to, not what an account
holds.  Fees charged in base change the quantity, so they count as a fee worth `fee × price of the
trade`; the rest of the trade moves the position at its price.  Hence, to the last unit and in
quote: realised + open at a mark − `fees_quote` = what fills did to the quote balance + what they
did to the base balance × mark, as far as fees were charged in these two.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum

from msgspec import Struct

from hean_router.domain.instrument import Pair, Side
from hean_router.domain.record import Filled, FillUndone
from hean_router.portfolio.money import EXACT, PRECISE, ZERO, add_to, part_of


class View(Enum):
    """What a position is kept by.  Each is an average-cost account of its own, not a sum.

    Buying at one venue and selling at another leaves two open lines by `VENUE`, and a realised
    profit by `STRATEGY` and `SYMBOL`.  Accounts never net against each other.
    """

    VENUE = "venue"  # account, venue, symbol, strategy
    STRATEGY = "strategy"  # account, symbol, strategy: over venues
    SYMBOL = "symbol"  # account, symbol: over venues and strategies


class Effect(Struct, frozen=True):
    """What one fill does: `qty` is the signed change of base, fee in; `fee_quote` its fee in quote.

    `fee_quote` holds fees charged in quote, and in base at the price of the trade; a fee in a third
    asset is left out of it.
    """

    pair: Pair
    qty: Decimal
    fee_quote: Decimal
    fee_is_third: bool


def effect_of(row: Filled | FillUndone) -> Effect:
    """Read a fill, or what was one; spot only."""
    pair = Pair.parse(row.symbol)
    assert not pair.settle, f"{row.symbol} is no spot pair"
    qty = row.qty if row.side is Side.BUY else EXACT.minus(row.qty)
    if row.fee_asset == pair.base:
        fee = EXACT.multiply(row.fee, row.px)
        return Effect(pair, EXACT.subtract(qty, row.fee), fee, fee_is_third=False)
    if row.fee_asset == pair.quote:
        return Effect(pair, qty, row.fee, fee_is_third=False)
    return Effect(pair, qty, ZERO, fee_is_third=bool(row.fee))


class PositionLine(Struct, frozen=True, kw_only=True):
    """One position as it stands; `venue` and `strategy` are empty where the view adds them up.

    `cost` is signed like `qty` (negative for a short): what the open quantity was bought or sold
    for, fees apart.  `fees` is as charged, by asset, `fees_quote` those of base and quote in
    quote, `fees_third` the others by asset.  `bought` and `sold` are base as traded, `turnover` is
    Σ qty × px.
    """

    account: str
    venue: str
    symbol: str
    strategy: str
    qty: Decimal
    cost: Decimal
    realised: Decimal
    fees: Mapping[str, Decimal]
    fees_quote: Decimal
    fees_third: Mapping[str, Decimal]
    bought: Decimal
    sold: Decimal
    turnover: Decimal
    fills: int
    since_ns: int  # of the first fill
    at_ns: int  # of the last one

    @property
    def pair(self) -> Pair:
        """Its base and quote."""
        return Pair.parse(self.symbol)

    @property
    def avg_px(self) -> Decimal | None:
        """Average cost in quote per base, 28 digits; None when flat."""
        return PRECISE.divide(self.cost, self.qty) if self.qty else None

    def open_pnl(self, mark: Decimal | None) -> Decimal | None:
        """Profit in quote if all of it were closed at `mark`; exact.  None without a mark."""
        if not self.qty:
            return EXACT.minus(self.cost)  # 0: a flat position costs nothing
        if mark is None:
            return None
        return EXACT.subtract(EXACT.multiply(self.qty, mark), self.cost)

    def pnl(self, mark: Decimal | None) -> Decimal | None:
        """Realised + open − `fees_quote`, in quote; exact.  Fees in third assets come off apart."""
        if (unrealised := self.open_pnl(mark)) is None:
            return None
        return EXACT.subtract(EXACT.add(self.realised, unrealised), self.fees_quote)


class Position:
    """Average-cost accounting of one stream of fills; changes by `fill` alone.

    What is added moves the cost by its price; what is closed takes its share of the cost along, to
    a unit of 1e-24 of quote, and the last of it takes all that is left, so nothing is ever lost.
    """

    __slots__ = (
        "at_ns",
        "bought",
        "cost",
        "fees",
        "fees_quote",
        "fees_third",
        "fills",
        "qty",
        "realised",
        "since_ns",
        "sold",
        "turnover",
    )

    def __init__(self) -> None:
        self.qty = self.cost = self.realised = self.fees_quote = ZERO
        self.bought = self.sold = self.turnover = ZERO
        self.fees: dict[str, Decimal] = {}
        self.fees_third: dict[str, Decimal] = {}
        self.fills = self.since_ns = self.at_ns = 0

    def fill(self, row: Filled, effect: Effect) -> None:
        """Count one trade."""
        self._move(effect.qty, row.px)
        self.fees_quote = EXACT.add(self.fees_quote, effect.fee_quote)
        if row.fee:
            add_to(self.fees, row.fee_asset, row.fee)
        if effect.fee_is_third:
            add_to(self.fees_third, row.fee_asset, row.fee)
        if row.side is Side.BUY:
            self.bought = EXACT.add(self.bought, row.qty)
        else:
            self.sold = EXACT.add(self.sold, row.qty)
        self.turnover = EXACT.add(self.turnover, EXACT.multiply(row.qty, row.px))
        self.since_ns = self.since_ns or row.at_ns
        self.at_ns = row.at_ns
        self.fills += 1

    def undo(self, row: FillUndone, effect: Effect) -> None:
        """Count a trade, or a part of it, no more.

        Quantity, fees and what was paid are as if it had never been; how the profit is divided into
        realised and open may differ, as it does by the order of trades.
        """
        self._move(EXACT.minus(effect.qty), row.px)
        self.fees_quote = EXACT.subtract(self.fees_quote, effect.fee_quote)
        if row.fee:
            add_to(self.fees, row.fee_asset, EXACT.minus(row.fee))
        if effect.fee_is_third:
            add_to(self.fees_third, row.fee_asset, EXACT.minus(row.fee))
        if row.side is Side.BUY:
            self.bought = EXACT.subtract(self.bought, row.qty)
        else:
            self.sold = EXACT.subtract(self.sold, row.qty)
        self.turnover = EXACT.subtract(self.turnover, EXACT.multiply(row.qty, row.px))
        self.at_ns = row.at_ns
        self.fills -= row.whole

    def _move(self, qty: Decimal, px: Decimal) -> None:
        """Move by signed `qty` at `px`: first what closes, then what opens, through zero."""
        if self.qty and qty and (self.qty > 0) != (qty > 0):
            whole = qty.copy_abs() >= self.qty.copy_abs()
            closed = self.qty if whole else EXACT.minus(qty)
            cost = self.cost if whole else part_of(self.cost, closed, self.qty)
            gain = EXACT.subtract(EXACT.multiply(closed, px), cost)
            self.realised = EXACT.add(self.realised, gain)
            self.qty = EXACT.subtract(self.qty, closed)
            self.cost = EXACT.subtract(self.cost, cost)
            qty = EXACT.add(qty, closed)
        if qty:
            self.qty = EXACT.add(self.qty, qty)
            self.cost = EXACT.add(self.cost, EXACT.multiply(qty, px))
        assert self.qty or not self.cost, f"flat, and yet it costs {self.cost}"

    def line(self, account: str, venue: str, symbol: str, strategy: str) -> PositionLine:
        """As a value."""
        return PositionLine(
            account=account,
            venue=venue,
            symbol=symbol,
            strategy=strategy,
            qty=self.qty,
            cost=self.cost,
            realised=self.realised,
            fees=dict(self.fees),
            fees_quote=self.fees_quote,
            fees_third=dict(self.fees_third),
            bought=self.bought,
            sold=self.sold,
            turnover=self.turnover,
            fills=self.fills,
            since_ns=self.since_ns,
            at_ns=self.at_ns,
        )
