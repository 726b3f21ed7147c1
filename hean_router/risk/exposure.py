"""What positions and everything open could be worth, scope by scope.  Runs within `exactly`.

Gross is Σ over symbols and accounts of the larger of both ways; net is the larger of what all of
it sums up to, everything bought or everything sold.  A position at zero needs no rate.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from hean_router.domain.instrument import Pair
from hean_router.domain.rates import Rates
from hean_router.risk.exact import ONE, ZERO
from hean_router.risk.folded import Cell, Folded
from hean_router.risk.rules import MS


class Worth:
    """What a unit of anything is worth in the reporting currency; found once, then remembered."""

    __slots__ = ("_base", "_folded", "_mids", "_now_ns", "_oldest_ns", "_rates", "_reporting")

    def __init__(
        self,
        folded: Folded,
        rates: Rates,
        mids: Mapping[str, tuple[Decimal, int]],
        now_ns: int,
        *,
        reporting: str,
        stale_ms: int,
    ) -> None:
        self._folded, self._rates, self._mids = folded, rates, mids
        self._reporting, self._oldest_ns = reporting, now_ns - stale_ms * MS
        self._base: dict[str, Decimal] = {}

    def asset(self, asset: str) -> Decimal | None:
        """Of one unit of the asset; None without a rate that is fresh enough."""
        if asset == self._reporting:
            return ONE
        rate = self._rates.get(asset)
        return rate.px if rate is not None and rate.at_ns >= self._oldest_ns else None

    def base(self, symbol: str) -> Decimal | None:
        """Of one unit of the symbol's base: by its own rate, else by the mid and the quote's."""
        if (known := self._base.get(symbol)) is not None:
            return known
        _, pair = self._folded.pair(symbol)
        px = self.asset(pair.base)
        if px is None:
            px = self._by_mid(symbol, pair)
        if px is not None:
            self._base[symbol] = px
        return px

    def _by_mid(self, symbol: str, pair: Pair) -> Decimal | None:
        mid, quote = self._mids.get(symbol), self.asset(pair.quote)
        if mid is None or mid[1] < self._oldest_ns or quote is None:
            return None
        return mid[0] * quote


class Gauge:
    """Gross and net of one scope, in the reporting currency; `lacking` names what has no rate."""

    __slots__ = ("down", "gross", "lacking", "up")

    def __init__(self) -> None:
        self.gross = self.up = self.down = ZERO
        self.lacking = ""

    @property
    def net(self) -> Decimal:
        """The larger of both ways."""
        return max(abs(self.up), abs(self.down))

    def add(self, other: "Gauge") -> None:
        """That scope is a part of this one."""
        self.gross += other.gross
        self.up += other.up
        self.down += other.down
        self.lacking = self.lacking or other.lacking


def measure(cells: Iterable[Cell], worth: Worth) -> Gauge:
    """All of `cells` together."""
    gross = ups = downs = ZERO
    gauge = Gauge()
    for cell in cells:
        up, down = cell.up, cell.down
        if not up and not down:
            continue
        px = worth.base(cell.symbol)
        if px is None:
            gauge.lacking = cell.symbol
            continue
        up, down = up * px, down * px
        gross += max(up, -down)
        ups += up
        downs += down
    gauge.gross, gauge.up, gauge.down = gross, ups, downs
    return gauge


def measure_all(folded: Folded, worth: Worth) -> tuple[dict[str, Gauge], Gauge]:
    """By account, and all of them together."""
    accounts = {name: measure(cells, worth) for name, cells in folded.by_account.items()}
    whole = Gauge()
    for gauge in accounts.values():
        whole.add(gauge)
    return accounts, whole
