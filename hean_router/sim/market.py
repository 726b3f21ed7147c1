"""A seeded market: one fair price for all venues, and at each venue makers and takers around it.

Everything follows from (seed, venue, symbol, time): the fair price of a pair is the same walk
whichever venues run and in whatever order they are stepped, and each component draws from a
generator of its own, so that a draw added in one place shifts nothing elsewhere.  Actions happen at
their own due times, not at the time `step` is called, so the granularity of the clock changes
nothing either.  Integers throughout: the same on every machine.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from heapq import heapify, heapreplace
from random import Random

from hean_router.sim.exchange import Exchange, Listing, OrderState, Side, Step, Tif

_PX_SCALE = 12  # fair prices are counted in 1e-12 of the quote
_MS = 1_000_000
_SECOND = 1_000_000_000

START_PX = {
    asset: Decimal(px)
    for asset, px in {
        "BTC": "61800", "ETH": "2650", "SOL": "145.2", "XRP": "0.5712", "BNB": "523.4",
        "DOGE": "0.1034", "ADA": "0.3391", "TRX": "0.1297", "AVAX": "22.31", "LINK": "10.44",
        "DOT": "4.532", "LTC": "61.27", "BCH": "342.6", "XLM": "0.0987", "ATOM": "4.431",
        "ETC": "18.62", "FIL": "3.541", "NEAR": "4.012", "APT": "5.871", "ARB": "0.5428",
        "OP": "1.362", "INJ": "18.11", "SUI": "0.8912", "AAVE": "101.7", "UNI": "5.893",
        "ALGO": "0.1221", "HBAR": "0.0543", "ICP": "7.512", "GRT": "0.1513", "SAND": "0.2517",
        "MANA": "0.2719", "AXS": "4.621", "CRV": "0.2912", "SNX": "1.291", "COMP": "43.12",
        "MKR": "1921", "XTZ": "0.6512", "EOS": "0.4831", "ZEC": "31.4", "DASH": "23.7",
        "KSM": "18.91", "ENJ": "0.1432", "CHZ": "0.0571", "BAT": "0.1612", "ZRX": "0.2921",
        "LDO": "1.072", "PEPE": "0.00000772", "SHIB": "0.00001341", "WIF": "1.612",
        "TIA": "5.213", "SEI": "0.2713", "JUP": "0.8321", "FET": "0.8912", "IMX": "1.121",
        "PAXG": "2431", "EUR": "1.0921", "GBP": "1.2757",
        "USD": "1", "USDT": "1", "USDC": "1",
    }.items()
}  # fmt: skip
"""Where each asset's walk starts, in USD.  Plausible, nothing more."""


def split(seed: int, *names: str) -> Random:
    """A generator of its own for one component: the same in every process and hash seed."""
    return Random("/".join((str(seed), *names)))


def start_px(base: str, quote: str) -> Decimal:
    """Where the pair's fair price starts.  ValueError: an asset we know no price of."""
    for asset in (base, quote):
        if asset not in START_PX:
            raise ValueError(f"no start price for {asset}; known: {', '.join(sorted(START_PX))}")
    return START_PX[base] / START_PX[quote]


class Walk:
    """A random walk in buckets of time, pulled back to its start so that it stays plausible.

    The value of a bucket depends on nothing but the generator and the bucket's number.
    `step_ppb` is the largest move of a bucket; `pull_ppm` how much of the way home it goes in one.
    """

    KEEP = 64  # buckets that can still be asked for

    def __init__(
        self, rng: Random, start: int, origin_ns: int, bucket_ns: int, step_ppb: int, pull_ppm: int
    ) -> None:
        self._rng = rng
        self._start = start
        self._origin_ns = origin_ns
        self._bucket_ns = bucket_ns
        self._step_ppb = step_ppb
        self._pull_ppm = pull_ppm
        self._last = 0  # the newest bucket known
        self._values: deque[int] = deque([start], maxlen=self.KEEP)

    def at(self, now_ns: int) -> int:
        """The value at a time; before the origin it is the start.

        ValueError: longer ago than `KEEP` buckets before the latest time asked for.
        """
        bucket = max(0, (now_ns - self._origin_ns) // self._bucket_ns)
        if bucket == self._last:
            return self._values[-1]
        while self._last < bucket:
            value = self._values[-1]
            value += value * self._rng.randint(-self._step_ppb, self._step_ppb) // 1_000_000_000
            value -= (value - self._start) * self._pull_ppm // 1_000_000
            self._values.append(value)
            self._last += 1
        back = self._last - bucket
        if back >= len(self._values):
            raise ValueError("that long ago is forgotten")
        return self._values[-1 - back]


def fair_px(seed: int, listing: Listing, origin_ns: int, step_ppb: int) -> Walk:
    """The pair's fair price in 1e-12 quote: one walk for all venues, spot and perpetual."""
    start = int(start_px(listing.base, listing.quote).scaleb(_PX_SCALE))
    rng = split(seed, "fair", f"{listing.base}/{listing.quote}")
    return Walk(rng, start, origin_ns, 100 * _MS, step_ppb, pull_ppm=20)


class Premium:
    """How far a venue's makers stray from the fair price: now and then, for a few seconds.

    In ppm, 0 most of the time.  Drawn second by second, so it depends on nothing but the seed.
    """

    CHANCE_PERMILLE = 60  # that it begins in a given second

    def __init__(self, rng: Random, origin_ns: int, most_ppm: int) -> None:
        self._rng, self._origin_ns, self._most_ppm = rng, origin_ns, most_ppm
        self._second, self._ends, self._ppm = -1, 0, 0

    def at(self, now_ns: int) -> int:
        """The premium then; times must not fall."""
        if not self._most_ppm:
            return 0
        second = max(0, (now_ns - self._origin_ns) // _SECOND)
        while self._second < second:
            self._second += 1
            if self._second >= self._ends:
                self._ppm = 0
                if self._rng.randrange(1000) < self.CHANCE_PERMILLE:
                    size = self._rng.randint(self._most_ppm // 2, self._most_ppm)
                    self._ppm = size if self._rng.random() < 0.5 else -size
                    self._ends = self._second + self._rng.randint(2, 5)
        return self._ppm


@dataclass(frozen=True, slots=True)
class Pace:
    """How busy a market is.

    `updates_per_s` actions per listing and second; `levels` aimed at on each side;
    `taker_permille` of the actions take; `step_ppb` is the fair price's largest move in 100 ms;
    `stray_ppm` is how far, at most, one venue strays from the others now and then.
    """

    updates_per_s: int = 20
    levels: int = 120
    taker_permille: int = 80
    step_ppb: int = 5_000
    stray_ppm: int = 0

    def __post_init__(self) -> None:
        if self.updates_per_s < 1 or self.levels < 1:
            raise ValueError("a market needs at least one update a second and one level")
        if not 0 <= self.taker_permille <= 1000:
            raise ValueError("taker_permille is a share of 1000")


class Market:
    """Makers and takers at one venue.  It owns no orders' truth: the exchange does."""

    def __init__(
        self, exchange: Exchange, seed: int, origin_ns: int, pace: Pace | None = None
    ) -> None:
        self.exchange = exchange
        pace = pace or Pace()
        character = split(seed, "venue", exchange.venue)
        delay_ns = character.randint(0, 250) * _MS
        spread_ppm = character.randint(20, 120)
        self._traders = [
            _Trader(exchange, listing, pace, seed, origin_ns, delay_ns, spread_ppm)
            for listing in exchange.listings.values()
        ]
        self._heap = [(trader.next_ns, index) for index, trader in enumerate(self._traders)]
        heapify(self._heap)

    @property
    def wake_at_ns(self) -> int | None:
        """When the next action is due."""
        return self._heap[0][0] if self._heap else None

    def open(self, now_ns: int) -> None:
        """Fill the empty books to their usual depth, before anyone watches."""
        for trader in self._traders:
            trader.open(now_ns)

    def step(self, now_ns: int) -> Iterator[Step]:
        """Do what is due, oldest first; each `Step` is yielded before the next one happens."""
        while self._heap and self._heap[0][0] <= now_ns:
            due_ns, index = self._heap[0]
            trader = self._traders[index]
            yield from trader.act(due_ns)
            heapreplace(self._heap, (trader.next_after(due_ns), index))

    def skip_to(self, now_ns: int) -> None:
        """Leave out what should have happened before `now_ns` (a laptop that slept).

        The events after it are not those of a market that was awake: real time only.
        """
        self._heap = [(max(due_ns, now_ns), index) for due_ns, index in self._heap]
        heapify(self._heap)


class _Trader:
    """All makers and takers of one listing."""

    def __init__(
        self,
        exchange: Exchange,
        listing: Listing,
        pace: Pace,
        seed: int,
        origin_ns: int,
        delay_ns: int,
        spread_ppm: int,
    ) -> None:
        names = (exchange.venue, listing.symbol)
        self._exchange = exchange
        self._listing = listing
        self._symbol = listing.symbol
        self._pace = pace
        self._delay_ns = delay_ns
        self._half_spread_ppm = spread_ppm // 2
        self._fair = fair_px(seed, listing, origin_ns, pace.step_ppb)
        self._noise = Walk(
            split(seed, "noise", *names), 1_000_000_000, origin_ns, _SECOND, 30_000, 50_000
        )
        self._premium = Premium(split(seed, "premium", *names), origin_ns, pace.stray_ppm)
        self._clock = split(seed, "clock", *names)
        self._choice = split(seed, "choice", *names)
        self._making = split(seed, "making", *names)
        self._taking = split(seed, "taking", *names)
        self._tick_e12 = int(listing.tick.scaleb(_PX_SCALE))
        self._lot_value = listing.lot * listing.contract_size
        self._ids: dict[Side, list[int]] = {side: [] for side in Side}
        self.next_ns = self.next_after(origin_ns)

    def next_after(self, now_ns: int) -> int:
        """The next action's time: on average 1/rate later."""
        return now_ns + self._clock.randint(1, 2 * _SECOND // self._pace.updates_per_s)

    def open(self, now_ns: int) -> None:
        for _ in range(20 * self._pace.levels):  # bounded: a coarse tick may not hold so many
            short = [side for side in Side if self._depth(side) < self._pace.levels]
            if not short:
                break
            for side in short:
                self._make(side, now_ns)

    def act(self, now_ns: int) -> Iterator[Step]:
        """One action, after clearing away what the fair price has left behind."""
        view = self._view_e12(now_ns)
        for side in Side:
            yield from self._retreat(side, self._edge(side, view), now_ns)
        side = Side.BUY if self._choice.random() < 0.5 else Side.SELL
        draw = self._choice.randrange(1000)
        depth, levels = self._depth(side), self._pace.levels
        if draw < self._pace.taker_permille:
            step = self._take(side, now_ns)
        elif depth < levels * 3 // 4:
            step = self._make(side, now_ns)
        elif depth > levels * 5 // 4:
            step = self._cancel_worst(side, now_ns)
        else:
            kind = draw % 10
            if kind < 5:
                step = self._make(side, now_ns)
            elif kind < 8:
                step = self._cancel_any(side, now_ns)
            else:
                step = self._resize_any(side, now_ns)
        if step is not None and (step.levels or step.trades):
            yield step

    def _depth(self, side: Side) -> int:
        return self._exchange.depth(self._symbol, side)

    def _view_e12(self, now_ns: int) -> int:
        """The fair price as this venue sees it: late, and a little off."""
        view = self._fair.at(now_ns - self._delay_ns) * self._noise.at(now_ns) // 1_000_000_000
        return view + view * self._premium.at(now_ns) // 1_000_000

    def _edge(self, side: Side, view: int) -> int:
        """The best price, in ticks, at which makers quote a side; bids stay below asks."""
        half = view * self._half_spread_ppm // 1_000_000
        bid = max(1, (view - half) // self._tick_e12)
        if side is Side.BUY:
            return bid
        return max(bid + 1, -(-(view + half) // self._tick_e12))

    def _retreat(self, side: Side, edge: int, now_ns: int) -> Iterator[Step]:
        """Pull quotes the price ran over; pick off accounts that left theirs there."""
        for _ in range(4):
            order = self._exchange.first_order(self._symbol, side)
            if order is None or order.px is None:
                return
            if order.px <= edge if side is Side.BUY else order.px >= edge:
                return
            if order.owner is None:
                step = self._exchange.cancel(order.id, now_ns=now_ns)
            else:
                qty = max(order.leaves, self._qty_min(order.px))
                step = self._exchange.place(
                    self._symbol, side.other, qty, order.px, tif=Tif.IOC, now_ns=now_ns
                )
            if step is None or not step.levels:
                return  # the listing is halted
            yield step

    def _make(self, side: Side, now_ns: int) -> Step:
        rng = self._making
        view = self._view_e12(now_ns)
        view_ticks = view // self._tick_e12
        # Half a percent holds the levels wanted, unless the tick is coarse.
        span = max(view_ticks // 200, self._pace.levels * 3 // 2)
        near = rng.randrange(10)
        if near < 2:
            away = rng.randrange(3)
        elif near < 4:
            away = rng.randrange(max(3, span // 20))
        else:
            away = rng.randrange(span) * rng.randrange(span) // span
        edge = self._edge(side, view)
        px = max(1, edge - away) if side is Side.BUY else edge + away
        step = self._exchange.place(self._symbol, side, self._qty(rng, px, 10), px, now_ns=now_ns)
        if step.order is not None and step.order.state is OrderState.OPEN:
            self._ids[side].append(step.order.id)
        return step

    def _take(self, side: Side, now_ns: int) -> Step | None:
        best = self._exchange.best(self._symbol, side.other)
        if best is None:
            return None
        rng = self._taking
        reach = rng.randrange(1, 6) * max(1, best.px // 20_000)
        px = best.px + reach if side is Side.BUY else max(1, best.px - reach)
        qty = self._qty(rng, px, 9)
        return self._exchange.place(self._symbol, side, qty, px, tif=Tif.IOC, now_ns=now_ns)

    def _cancel_worst(self, side: Side, now_ns: int) -> Step | None:
        order = self._exchange.last_order(self._symbol, side)
        if order is None or order.owner is not None:
            return self._cancel_any(side, now_ns)
        return self._exchange.cancel(order.id, now_ns=now_ns)

    def _cancel_any(self, side: Side, now_ns: int) -> Step | None:
        order_id = self._pick(side)
        return None if order_id is None else self._exchange.cancel(order_id, now_ns=now_ns)

    def _resize_any(self, side: Side, now_ns: int) -> Step | None:
        order_id = self._pick(side)
        order = None if order_id is None else self._exchange.order(order_id)
        if order is None or order.leaves == 1:
            return None
        qty = self._making.randrange(1, order.leaves)
        return self._exchange.reduce(order.id, qty, now_ns=now_ns)

    def _pick(self, side: Side) -> int | None:
        """Any of our open orders.  Ended ones are swept out of the list as they are met."""
        ids = self._ids[side]
        while ids:
            index = self._choice.randrange(len(ids))
            if self._exchange.order(ids[index]) is not None:
                return ids[index]
            ids[index] = ids[-1]
            ids.pop()
        return None

    def _qty(self, rng: Random, px: int, doublings: int) -> int:
        """Lots worth 20 quote, doubled up to `doublings` times, and then some; always legal."""
        worth = (20 << rng.randrange(doublings + 1)) * (1000 + rng.randrange(1000))
        lots = int(worth / (1000 * self._listing.px(px) * self._lot_value))
        return min(self._listing.max_lots, max(self._qty_min(px), lots))

    def _qty_min(self, px: int) -> int:
        """The fewest lots the listing lets an order at `px` have."""
        value = self._listing.px(px) * self._lot_value
        notional_lots = -int(-self._listing.min_notional // value)
        return max(1, self._listing.min_lots, notional_lots)


def listed(symbols: Iterable[str]) -> list[tuple[str, str, bool]]:
    """Symbols taken apart: base, quote, whether it is a linear perpetual.

    ValueError: not `BASE/QUOTE` or `BASE/QUOTE:QUOTE`, or named twice.

    >>> listed(["BTC/USDT", "BTC/USDT:USDT"])
    [('BTC', 'USDT', False), ('BTC', 'USDT', True)]
    """
    parts = []
    for symbol in dict.fromkeys(symbols):
        pair, _, settle = symbol.partition(":")
        base, slash, quote = pair.partition("/")
        if not slash or not base or not quote or (settle and settle != quote):
            raise ValueError(f"{symbol!r} is not like BTC/USDT or BTC/USDT:USDT")
        parts.append((base, quote, bool(settle)))
    return parts
