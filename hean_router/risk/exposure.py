"""What positions and everything open could be worth, scope by scope.  Runs within `exactly`.

Gross is Σ over symbols and accounts of the larger of both ways; net is the larger of what all of
it sums up to, everything bought or everything sold.  A position at zero needs no rate.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from types import MappingProxyType

from hean_router.domain.instrument import Pair
from hean_router.domain.rates import Rates
from hean_router.risk.exact import ONE, ZERO
from hean_router.risk.folded import Cell, Folded
from hean_router.risk.rules import MS

NOBODY: "Mapping[str, Gauge]" = MappingProxyType({})


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
        self._base: dict[str, Decimal | None] = {}

    def asset(self, asset: str) -> Decimal | None:
        """Of one unit of the asset; None without a rate that is fresh enough."""
        if asset == self._reporting:
            return ONE
        rate = self._rates.get(asset)
        return rate.px if rate is not None and rate.at_ns >= self._oldest_ns else None

    def base(self, symbol: str) -> Decimal | None:
        """Of one unit of the symbol's base: by its own rate, else by the mid and the quote's."""
        if symbol in self._base:
            return self._base[symbol]
        _, pair = self._folded.pair(symbol)
        px = self.asset(pair.base)
        if px is None:
            px = self._by_mid(symbol, pair)
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


def measure(
    cells: Iterable[Cell],
    worth: Worth,
    accounts: Mapping[str, Gauge] = NOBODY,
    symbols: Mapping[str, Gauge] = NOBODY,
) -> Gauge:
    """The whole of `cells`; what belongs to the accounts and symbols named, into theirs too."""
    whole = Gauge()
    for cell in cells:
        if not cell.up and not cell.down:
            continue
        gauges = [whole]
        if (gauge := accounts.get(cell.account)) is not None:
            gauges.append(gauge)
        if (gauge := symbols.get(cell.symbol)) is not None:
            gauges.append(gauge)
        px = worth.base(cell.symbol)
        if px is None:
            for gauge in gauges:
                gauge.lacking = cell.symbol
            continue
        up, down, gross = cell.up * px, cell.down * px, cell.worst * px
        for gauge in gauges:
            gauge.gross += gross
            gauge.up += up
            gauge.down += down
    return whole
