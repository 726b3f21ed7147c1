"""What the last gate measures an order by: prices and rates, read straight from the market.

Nothing here is the engine's: a mistake in its mids, references or rates must not pass the gate
because both believe it.
"""

from decimal import Decimal

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.domain.instrument import Side
from hean_router.domain.rates import Rates
from hean_router.domain.scale import to_decimal
from hean_router.gate import BLIND, Look
from hean_router.portfolio import rates
from hean_router.runtime.market import Market

SECOND = 1_000_000_000
NOTE_NS = SECOND  # between two prices that are noted
SOON_NS = SECOND // 4  # the same, while there is no good price of before
GAP_NS = 10 * SECOND  # a price noted longer ago than this is none to go on from


class _Noted(Struct):
    """Two mids, a while apart: the older is the last good price."""

    px: Decimal
    at_ns: int  # when it was known to hold
    noted_ns: int
    good: Decimal
    good_ns: int


class Yardstick:
    """Mids, last good prices and rates of the pairs that are followed.

    Call `note` now and then, at least once a second; `look` when an order is to leave.  A price is
    good once it has held for a while: after a gap there is none for a quarter of a second.
    """

    def __init__(self, market: Market, reporting: str = "USD") -> None:
        self._market, self._reporting = market, reporting
        self._pairs = {str(pair): pair for pair in market.pairs if not pair.settle}
        self._noted: dict[str, _Noted] = {}
        self._rates: tuple[int, Rates] | None = None

    def note(self, now_ns: int) -> None:
        """Keep what the books say now, where the last note is old enough."""
        for symbol, pair in self._pairs.items():
            last = self._noted.get(symbol)
            if last is not None:
                young = last.good_ns + GAP_NS > now_ns
                if last.noted_ns + (NOTE_NS if young else SOON_NS) > now_ns >= last.noted_ns:
                    continue
            if (found := _mid(self._market.book(pair))) is None:
                continue
            px, at_ns = found
            if last is None:  # the first ever: there is no before
                self._noted[symbol] = _Noted(px, at_ns, now_ns, px, at_ns)
            else:
                last.good, last.good_ns = last.px, last.at_ns
                last.px, last.at_ns, last.noted_ns = px, at_ns, now_ns

    def look(self, symbol: str, now_ns: int) -> Look:
        """What is seen of `symbol` at this moment; `BLIND` for one that is not followed."""
        if (pair := self._pairs.get(symbol)) is None:
            return BLIND
        self.note(now_ns)
        found = _mid(self._market.book(pair))
        noted = self._noted.get(symbol)
        rate = self._rates_at(now_ns).get(pair.quote)
        return Look(
            mid=None if found is None else found[0],
            mid_ns=0 if found is None else found[1],
            good=None if noted is None else noted.good,
            good_ns=0 if noted is None else noted.good_ns,
            rate=None if rate is None else rate.px,
            rate_ns=0 if rate is None else rate.at_ns,
        )

    def _rates_at(self, now_ns: int) -> Rates:
        """What assets are worth; at most a second old."""
        if self._rates is None or not 0 <= now_ns - self._rates[0] < SECOND:
            mids = {
                pair: found
                for pair in self._pairs.values()
                if (found := _mid(self._market.book(pair))) is not None
            }
            self._rates = (now_ns, rates(mids, self._reporting, now_ns=now_ns))
        return self._rates[1]


def _mid(book: ConsolidatedBook) -> tuple[Decimal, int] | None:
    """Half-way between the displayed bests, and when the older was confirmed; None if one lacks."""
    asks, bids = [], []
    for live in book.live().values():
        decimals = live.instrument.px_decimals
        if (ask := live.best(Side.BUY)) is not None:
            asks.append((to_decimal(ask[0], decimals), live.confirmed_ns))
        if (bid := live.best(Side.SELL)) is not None:
            bids.append((to_decimal(bid[0], decimals), live.confirmed_ns))
    if not asks or not bids:
        return None
    ask_px, ask_ns = min(asks)
    bid_px, bid_ns = max(bids)
    return (ask_px + bid_px) / 2, min(ask_ns, bid_ns)
