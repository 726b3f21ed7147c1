"""Bybit's tickers: prices of the last day, from the trades that happened here.

Mark and index price are the middle of our own book: one simulated venue knows no others.  Open
interest stands still, funding is the venue's usual 0.01 % in 8 hours.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, NamedTuple

from hean_router.sim.contract import HOUR, MINUTE, MS, SECOND
from hean_router.sim.exchange import Exchange, Side, Trade
from hean_router.sim.faces.bybit.facts import Instrument, plain

_DAY_NS = 24 * HOUR
_FUNDING_NS = 8 * HOUR
_BEST = ("bid1Price", "bid1Size", "ask1Price", "ask1Size")
_SINGLE = ("singleOpenInterest", "singleOpenInterestValue")


class _Minute(NamedTuple):
    """The trades of one minute; prices in ticks, `value` in ticks x lots."""

    number: int
    high: int
    low: int
    close: int
    lots: int
    value: int


class Day:
    """What traded in the last 24 hours, by the minute; the day before the start was all calm."""

    def __init__(self, px: int) -> None:
        self.last = px
        self.high = self.low = self.day_ago = px
        self.lots = self.value = 0
        self.direction = "ZeroPlusTick"
        self._minutes: deque[_Minute] = deque()
        self._first = px
        self._hour_ago: tuple[int, int] = (-1, px)  # minute it was asked in, price

    def add(self, trade: Trade, time_ns: int) -> None:
        """Count a trade."""
        self.turn(time_ns)
        self.direction = direction(trade.px, self.last, self.direction)
        self.last = px = trade.px
        number, value = time_ns // MINUTE, px * trade.qty
        minute = self._minutes[-1] if self._minutes else None
        if minute is None or minute.number != number:
            self._minutes.append(_Minute(number, px, px, px, trade.qty, value))
        else:
            self._minutes[-1] = _Minute(
                number,
                max(minute.high, px),
                min(minute.low, px),
                px,
                minute.lots + trade.qty,
                minute.value + value,
            )
        self.high, self.low = max(self.high, px), min(self.low, px)
        self.lots += trade.qty
        self.value += value

    def turn(self, now_ns: int) -> None:
        """Forget what is older than a day."""
        oldest = (now_ns - _DAY_NS) // MINUTE
        gone = False
        while self._minutes and self._minutes[0].number <= oldest:
            minute = self._minutes.popleft()
            self.lots -= minute.lots
            self.value -= minute.value
            self.day_ago = minute.close
            gone = True
        if gone:
            self.high = max((minute.high for minute in self._minutes), default=self.last)
            self.low = min((minute.low for minute in self._minutes), default=self.last)

    def hour_ago(self, now_ns: int) -> int:
        """The price an hour ago, to the minute."""
        number = now_ns // MINUTE
        if self._hour_ago[0] != number:
            before = (
                minute.close for minute in reversed(self._minutes) if minute.number <= number - 60
            )
            self._hour_ago = (number, next(before, self.day_ago))
        return self._hour_ago[1]


def direction(px: int, before: int, direction_before: str) -> str:
    """The tick direction of a trade after one at `before`.

    >>> direction(3, 2, "MinusTick"), direction(3, 3, "MinusTick"), direction(3, 3, "ZeroPlusTick")
    ('PlusTick', 'ZeroMinusTick', 'ZeroPlusTick')
    """
    if px != before:
        return "PlusTick" if px > before else "MinusTick"
    return "ZeroPlusTick" if direction_before.endswith("PlusTick") else "ZeroMinusTick"


class Ticker:
    """One instrument's ticker, in the words of its category."""

    def __init__(self, exchange: Exchange, instrument: Instrument, open_interest: int) -> None:
        """`open_interest` in lots; only linear tells it."""
        self._exchange = exchange
        self._instrument = instrument
        self._open_interest = open_interest
        self._index: tuple[int, Decimal] = (-1, Decimal(0))  # second, price
        self._limits: tuple[int, tuple[str, str]] = (-1, ("", ""))  # last price, band
        self.day = Day(1)
        self.day = Day(max(1, int(self._mid() / instrument.listing.tick)))

    # Streams

    def values(self, now_ns: int) -> dict[str, str]:
        """What `tickers.{symbol}` tells, in its order."""
        day, instrument = self.day, self._instrument
        day.turn(now_ns)
        if instrument.spot:
            return {
                "symbol": instrument.name,
                "lastPrice": instrument.px(day.last),
                "highPrice24h": instrument.px(day.high),
                "lowPrice24h": instrument.px(day.low),
                "prevPrice24h": instrument.px(day.day_ago),
                "volume24h": self._volume(),
                "turnover24h": self._turnover(),
                "price24hPcnt": self._change(4),
                "usdIndexPrice": plain(self._index_px(now_ns).quantize(Decimal("0.000001"))),
            }
        mark, index = self._px(self._mid()), self._px(self._index_px(now_ns))
        interest = self._open_interest
        listing = instrument.listing
        return {
            "symbol": instrument.name,
            "tickDirection": day.direction,
            "price24hPcnt": self._change(6),
            "lastPrice": instrument.px(day.last),
            "prevPrice24h": instrument.px(day.day_ago),
            "highPrice24h": instrument.px(day.high),
            "lowPrice24h": instrument.px(day.low),
            "prevPrice1h": instrument.px(day.hour_ago(now_ns)),
            "markPrice": mark,
            "indexPrice": index,
            "openInterest": instrument.qty(interest),
            "openInterestValue": f"{listing.qty(interest) * Decimal(mark):.2f}",
            "turnover24h": self._turnover(),
            "volume24h": self._volume(),
            "fundingIntervalHour": str(_FUNDING_NS // HOUR),
            "fundingCap": "0.005",
            # One side's share of all contracts.
            "singleOpenInterest": instrument.qty(interest // 2),
            "singleOpenInterestValue": f"{listing.qty(interest // 2) * Decimal(mark):.2f}",
            "nextFundingTime": str((now_ns // _FUNDING_NS + 1) * _FUNDING_NS // MS),
            "fundingRate": "0.0001",
            **self._best(),
            "preOpenPrice": "",
            "preQty": "",
            "curPreListingPhase": "",
        }

    def limits(self) -> tuple[str, str]:
        """Highest bid and lowest ask allowed: `riskParameters.priceLimitRatioX` off the last price.

        The venue's exact formula is not documented for all cases; ours rounds inwards.
        """
        last = self.day.last
        if self._limits[0] != last:
            band = self._instrument.band
            highest = int((last * (1 + band)).to_integral_value(ROUND_FLOOR))
            lowest = int((last * (1 - band)).to_integral_value(ROUND_CEILING))
            px = self._instrument.px
            self._limits = (last, (px(highest), px(max(1, lowest))))
        return self._limits[1]

    # REST

    def row(self, now_ns: int) -> dict[str, Any]:
        """An entry of `GET /v5/market/tickers`."""
        values = self.values(now_ns)
        if self._instrument.spot:
            symbol = values.pop("symbol")
            return {"symbol": symbol, **self._best(), **values}
        for name in (*_SINGLE, "tickDirection"):
            del values[name]
        settling = {
            "predictedDeliveryPrice": "",
            "basisRate": "",
            "deliveryFeeRate": "",
            "deliveryTime": "0",
        }
        return {**values, **settling, "basis": ""}

    # Numbers

    def _best(self) -> dict[str, str]:
        texts: list[str] = []
        for side in Side:
            best = self._exchange.best(self._instrument.symbol, side)
            # A side without orders has no price to tell.
            texts += (
                (self._instrument.px(best.px), self._instrument.qty(best.qty)) if best else ("", "")
            )
        return dict(zip(_BEST, texts, strict=True))

    def _mid(self) -> Decimal:
        """The middle of the book; without one, the last price."""
        bid, ask = (self._exchange.best(self._instrument.symbol, side) for side in Side)
        if bid is None or ask is None:
            return self._instrument.listing.px(self.day.last)
        return self._instrument.listing.px(bid.px + ask.px) / 2

    def _index_px(self, now_ns: int) -> Decimal:
        """The index moves once a second."""
        if self._index[0] != now_ns // SECOND:
            self._index = (now_ns // SECOND, self._mid())
        return self._index[1]

    def _px(self, px: Decimal) -> str:
        """A price on the tick's decimals, which need not be on the tick."""
        return f"{px:.{self._instrument.px_places}f}"

    def _change(self, decimals: int) -> str:
        day = self.day
        change = Decimal(day.last - day.day_ago) / day.day_ago
        change = change.quantize(Decimal(1).scaleb(-decimals)) + 0  # never "-0"
        return plain(change) if self._instrument.spot else f"{change:f}"

    def _volume(self) -> str:
        volume = self._instrument.listing.qty(self.day.lots)
        return plain(volume) if self._instrument.spot else f"{volume:.4f}"

    def _turnover(self) -> str:
        listing = self._instrument.listing
        turnover = listing.tick * listing.lot * self.day.value
        return (
            plain(turnover.quantize(Decimal("1E-8")))
            if self._instrument.spot
            else f"{turnover:.4f}"
        )


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """The fields of a linear ticker delta, in the recorded order; empty if nothing changed.

    A best price and its size always come together, and half the open interest comes last.
    """
    names: Sequence[str] = [name for name in now if name not in _SINGLE] + list(_SINGLE)
    fresh = {name for name in names if before[name] != now[name]}
    for pair in (_BEST[:2], _BEST[2:]):
        if fresh & set(pair):
            fresh |= set(pair)
    if not fresh:
        return {}
    return {name: now[name] for name in names if name in fresh or name == "symbol"}
