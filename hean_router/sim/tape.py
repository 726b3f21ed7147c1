"""What was traded: the last trades, and the running day that tickers tell of."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from hean_router.sim.exchange import Step, Trade

_HOUR_NS = 3_600_000_000_000


@dataclass(slots=True)
class Span:
    """Trades of a stretch of time: prices in ticks, `qty` in lots, `value` in ticks × lots."""

    hour: int
    open: int
    high: int
    low: int
    close: int
    qty: int = 0
    value: int = 0
    count: int = 0

    def add(self, other: "Span") -> None:
        """Append a later stretch."""
        self.high = max(self.high, other.high)
        self.low = min(self.low, other.low)
        self.close = other.close
        self.qty += other.qty
        self.value += other.value
        self.count += other.count


class Tape:
    """All listings' trades.  The day is kept by the hour: its oldest hour leaves as a whole."""

    KEPT = 1_000

    def __init__(self, symbols: Iterable[str]) -> None:
        self.trades: dict[str, deque[tuple[int, Trade]]] = {}
        self._hours: dict[str, deque[Span]] = {}
        for symbol in symbols:
            self.trades[symbol] = deque(maxlen=self.KEPT)
            self._hours[symbol] = deque(maxlen=25)

    def record(self, step: Step) -> None:
        """Take note of what a step traded."""
        if not step.trades:
            return
        hours, hour = self._hours[step.symbol], step.time_ns // _HOUR_NS
        for trade in step.trades:
            self.trades[step.symbol].append((step.time_ns, trade))
            if not hours or hours[-1].hour != hour:
                hours.append(Span(hour, trade.px, trade.px, trade.px, trade.px))
            value = trade.px * trade.qty
            hours[-1].add(Span(hour, trade.px, trade.px, trade.px, trade.px, trade.qty, value, 1))

    def last(self, symbol: str, limit: int) -> list[tuple[int, Trade]]:
        """The last trades with their times, oldest first."""
        return list(self.trades[symbol])[-limit:] if limit else []

    def span(self, symbol: str, now_ns: int, hours: int = 24) -> Span | None:
        """The last `hours` by the clock, this one included; None if nothing was traded."""
        since = now_ns // _HOUR_NS - hours
        total: Span | None = None
        for span in self._hours[symbol]:
            if span.hour <= since:
                continue
            if total is None:
                total = Span(span.hour, span.open, span.high, span.low, span.close)
            total.add(span)
        return total
