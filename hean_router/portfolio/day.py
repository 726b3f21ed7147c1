"""Profit of the UTC day by account, for the daily loss limit.  Time is an argument."""

from decimal import Decimal

from msgspec import Struct

from hean_router.domain.instrument import Pair
from hean_router.domain.rates import Rates
from hean_router.domain.record import BalancesSet, Filled, FillUndone, Row
from hean_router.portfolio.money import EXACT, ZERO, Marks, add_to
from hean_router.portfolio.pnl import value_of
from hean_router.portfolio.positions import effect_of
from hean_router.portfolio.saved import AccountDay, DayState

DAY_NS = 86_400_000_000_000


class DayResult(Struct, frozen=True, kw_only=True):
    """`pnl` in the reporting currency, all fees off; None while `why` says what is missing.

    `since_ns` is midnight, or later where a position's first mark of the day was seen later: what
    it moved before that is in nobody's knowledge.  `at_ns` is the oldest mark or rate used.
    """

    account: str
    pnl: Decimal | None
    why: str
    since_ns: int
    at_ns: int | None


class _Day:
    """One account's day in one symbol."""

    __slots__ = ("cash", "qty", "start", "start_qty", "thirds")

    def __init__(self) -> None:
        self.qty = self.start_qty = ZERO  # signed base, of all time and at midnight
        self.cash = ZERO  # quote since midnight, fees in quote off
        self.thirds: dict[str, Decimal] = {}  # fees since midnight in other assets
        self.start: tuple[Decimal, int] | None = None  # the mark at midnight, and when we knew it


class DayPnl:
    """Realised + open change − fees since midnight UTC, from rows and marks.

    A position held over midnight counts from the last mark seen before it, else from the first
    seen after.  Rows and marks must come in the order of time; a time that goes back stays in the
    day that has begun.  Money put in or taken out is no profit: positions count, not balances.
    """

    __slots__ = ("_accounts", "_day", "_days", "_marks")

    def __init__(self) -> None:
        self._day = 0
        self._days: dict[tuple[str, str], _Day] = {}  # account, symbol
        self._marks: dict[str, tuple[Decimal, int]] = {}
        self._accounts: set[str] = set()

    def apply(self, row: Row) -> None:
        """Take a committed row: trades, and balances as proof that an account is there."""
        if isinstance(row, BalancesSet):
            self._accounts.add(row.account)
        if not isinstance(row, Filled | FillUndone):
            return
        self._roll(row.at_ns)
        effect = effect_of(row)
        self._accounts.add(row.account)
        day = self._days.setdefault((row.account, row.symbol), _Day())
        back = isinstance(row, FillUndone)
        qty = EXACT.minus(effect.qty) if back else effect.qty
        fee = EXACT.minus(effect.fee_quote) if back else effect.fee_quote
        day.qty = EXACT.add(day.qty, qty)
        paid = EXACT.add(EXACT.multiply(qty, row.px), fee)
        day.cash = EXACT.subtract(day.cash, paid)
        if effect.fee_is_third:
            add_to(day.thirds, row.fee_asset, EXACT.minus(row.fee) if back else row.fee)

    def dump(self) -> DayState:
        """What rows have made of it, and the marks at midnight as far as they were seen."""
        return DayState(
            day=self._day,
            days=[
                AccountDay(*key, day.qty, day.start_qty, day.cash, day.thirds, day.start)
                for key, day in self._days.items()
            ],
            accounts=sorted(self._accounts),
        )

    def load(self, state: DayState) -> None:
        """Make this, which is new, what was dumped."""
        self._day = state.day
        self._accounts.update(state.accounts)
        for one in state.days:
            day = self._days[one.account, one.symbol] = _Day()
            day.qty, day.start_qty, day.cash = one.qty, one.start_qty, one.cash
            day.thirds, day.start = one.thirds, one.start

    def mark(self, marks: Marks, now_ns: int) -> None:
        """Remember the mids as they stand at `now_ns`."""
        self._roll(now_ns)
        self._marks.update(marks)
        for (_, symbol), day in self._days.items():
            if day.start is None and day.start_qty and symbol in marks:
                day.start = (marks[symbol][0], now_ns)

    def _roll(self, now_ns: int) -> None:
        today = now_ns // DAY_NS
        if today <= self._day:
            return
        self._day = today
        for key in [key for key, day in self._days.items() if not day.qty]:
            del self._days[key]
        for (_, symbol), day in self._days.items():
            day.start_qty, day.cash, day.thirds = day.qty, ZERO, {}
            mark = self._marks.get(symbol)
            day.start = None if mark is None else (mark[0], today * DAY_NS)

    def read(self, account: str, rates: Rates, now_ns: int) -> DayResult:
        """The account's day so far, its quotes valued at `rates`."""
        self._roll(now_ns)
        amounts: dict[str, Decimal] = {}
        ages: list[int] = []
        since, why = self._day * DAY_NS, ""
        for (owner, symbol), day in sorted(self._days.items()):
            if owner != account:
                continue
            if (result := self._result(symbol, day)) is None:
                why = why or f"no mark for {symbol}"
                continue
            add_to(amounts, Pair.parse(symbol).quote, result)
            for asset, fee in day.thirds.items():
                add_to(amounts, asset, EXACT.minus(fee))
            if day.qty:
                ages.append(self._marks[symbol][1])
            if day.start_qty and day.start is not None:
                since = max(since, day.start[1])
        value = value_of(amounts, rates)
        if value.missing:
            why = why or f"no rate for {', '.join(value.missing)}"
        if value.at_ns is not None:
            ages.append(value.at_ns)
        return DayResult(
            account=account,
            pnl=None if why else value.value,
            why=why,
            since_ns=since,
            at_ns=min(ages, default=None),
        )

    def _result(self, symbol: str, day: _Day) -> Decimal | None:
        """In quote, fees in third assets not yet off."""
        result = day.cash
        if day.qty:
            if (mark := self._marks.get(symbol)) is None:
                return None
            result = EXACT.add(result, EXACT.multiply(day.qty, mark[0]))
        if day.start_qty:
            if day.start is None:
                return None
            result = EXACT.subtract(result, EXACT.multiply(day.start_qty, day.start[0]))
        return result

    def all(self, rates: Rates, now_ns: int) -> dict[str, Decimal | None]:
        """Every account that traded or told its balances, as risk wants them: 0 until a fill."""
        return {one: self.read(one, rates, now_ns).pnl for one in sorted(self._accounts)}
