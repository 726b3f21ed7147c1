"""ccxt and ccxt.pro, unmodified but for their URLs, on all four simulators: a whole market at once.

Books and trades of several symbols are followed together, and what ccxt holds is compared with what
the exchange behind the simulator held *at the same sequence number*, answer by answer, while it
trades on.  Kraken has no sequence: there it is equality at a pause (and the checksum, which ccxt
can only verify with some help: `tests/sim/test_sim_ccxt_kraken.py`).  What else is one venue's own
is tested beside its face, too.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from connectors.ccxt_any.library import moved
from hean_router.sim import server
from hean_router.sim.contract import FrameKind, Send
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ALL = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")
SPOT = ALL[:2]


@dataclass(frozen=True)
class Venue:
    """What differs from venue to venue."""

    name: str
    symbols: tuple[str, ...]
    depth: int | None  # levels a side that ccxt's default channel keeps; None: all
    # What tells which state a book is in: in a frame, and in ccxt's book.  None: nothing does.
    in_frame: Callable[[Any], int] | None = None
    in_book: str = "nonce"
    linear: Callable[[str, str], bool] = lambda _path, _topic: False  # whose frame it is
    rest_decimals: int | None = None  # of quantities in REST books; None: all


VENUES = [
    Venue(
        "binance",
        ALL,
        None,
        lambda frame: frame.get("data", frame)["u"],
        linear=lambda path, _: "/public" in path,
    ),
    Venue(
        "bybit",
        ALL,
        50,
        lambda frame: frame["ts"],  # ccxt forgets `u`; the server's time is a sequence as well
        "timestamp",
        linear=lambda path, _: path.endswith("linear"),
    ),
    Venue(
        "okx",
        ALL,
        400,
        lambda frame: frame["data"][0]["seqId"],
        linear=lambda _, topic: "-SWAP" in topic,
    ),
    Venue("kraken", SPOT, 10, rest_decimals=3),
]
each = pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)


class Witness:
    """A face that remembers how the exchange stood at each book frame, and every trade."""

    def __init__(self, face, exchange, venue):
        self.face, self.exchange, self.venue = face, exchange, venue
        self.stood: dict[tuple[str, int], Any] = {}  # symbol, sequence -> both sides
        self.trades: list[tuple[str, int, Any]] = []  # symbol, ms, trade
        self.paths: dict[int, str] = {}  # of connections

    def __getattr__(self, name):
        return getattr(self.face, name)

    def opened(self, conn, request, now_ns):
        self.paths[conn] = request.path
        return self.face.opened(conn, request, now_ns)

    def market(self, step, now_ns):
        self.trades += [(step.symbol, step.time_ns // 1_000_000, one) for one in step.trades]
        return self._seen(self.face.market(step, now_ns))

    def due(self, now_ns):
        return self._seen(self.face.due(now_ns))

    def received(self, conn, data, now_ns):
        return self._seen(self.face.received(conn, data, now_ns))

    def _seen(self, outputs):
        for output in outputs:
            if isinstance(output, Send) and output.kind in {FrameKind.SNAPSHOT, FrameKind.DELTA}:
                self._note(output)
        return outputs

    def _note(self, output):
        venue = self.venue
        if venue.in_frame is None:
            return
        text = f"{output.topic} {output.data[:200]}".upper()
        base = next(base for base in ("BTC", "ETH") if base in text)
        linear = venue.linear(self.paths[output.conn], output.topic)
        symbol = f"{base}/USDT" + (":USDT" if linear else "")
        place = venue.in_frame(json.loads(output.data))
        self.stood[symbol, place] = book_of(self.exchange, symbol, venue.depth)


def book_of(exchange, symbol, depth):
    listing = exchange.listings[symbol]
    return [
        [[float(listing.px(level.px)), float(listing.qty(level.qty))] for level in side]
        for side in exchange.book(symbol, depth)
    ]


def told(book, depth=None):
    """Price and quantity as numbers; ccxt keeps more beside them, and texts for checksums."""
    return [
        [list(map(float, level[:2])) for level in book[side][:depth]] for side in ("bids", "asks")
    ]


class Stage:
    """One venue's simulator, ccxt on it, and the witness between."""

    def __init__(self, venue, simulator, exchange, one, ccxt):
        self.venue, self.simulator, self.exchange = venue, simulator, exchange
        self.server, self.ccxt = one, ccxt
        self.witness = simulator.face

    def volumes(self, symbol, after_ms):
        """What the exchange traded after that millisecond, by side and price."""
        listing, out = self.exchange.listings[symbol], Counter()
        for of, at_ms, one in self.witness.trades:
            if of == symbol and at_ms > after_ms:
                out[one.side.value, listing.px(one.px)] += listing.qty(one.qty)
        return out


def volumes(trades, after_ms):
    """The same of ccxt's trades: some venues merge what one order took at one price."""
    out = Counter()
    for one in trades:
        if one["timestamp"] > after_ms:
            out[one["side"], Decimal(str(one["price"]))] += Decimal(str(one["amount"]))
    return out


def on_stage(venue, body, *, pro):
    async def main():
        import ccxt.async_support
        import ccxt.pro

        simulator, exchange = simulate(
            venue.name,
            11,
            time.time_ns(),
            symbols=venue.symbols,
            pace=Pace(updates_per_s=100, taker_permille=150),
        )
        simulator.face = Witness(simulator.face, exchange, venue)
        (one,) = await server.start([simulator], time.time_ns)
        kind = getattr(ccxt.pro if pro else ccxt.async_support, venue.name)
        client = kind({"enableRateLimit": False})
        hosts = one.hosts()
        client.urls["api"] = moved(client.urls["api"], hosts["rest"], hosts["ws"])
        try:
            async with asyncio.timeout(30):
                await body(Stage(venue, simulator, exchange, one, client))
        finally:
            await client.close()
            await server.stop([one])

    asyncio.run(main())


@each
def test_ccxt_reads_the_whole_market(venue):
    async def body(on):
        markets = await on.ccxt.load_markets()
        assert set(markets) == set(venue.symbols)
        while len(on.witness.trades) < 30:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
        on.simulator.market = None  # a pause
        for symbol in venue.symbols:
            listing, market = on.exchange.listings[symbol], markets[symbol]
            assert (market["spot"], market["swap"]) == (":" not in symbol, ":" in symbol)
            assert market["precision"]["price"] == float(listing.tick)
            assert market["precision"]["amount"] == float(listing.lot)
            assert market["limits"]["amount"]["min"] == float(listing.min_qty)
            assert market["active"] is True

            book = told(await on.ccxt.fetch_order_book(symbol, 20))
            truth = book_of(on.exchange, symbol, 20)
            if venue.rest_decimals is not None:
                truth = [
                    [[px, float(f"{qty:.{venue.rest_decimals}f}")] for px, qty in side]
                    for side in truth
                ]
            assert book == truth

            trades = await on.ccxt.fetch_trades(symbol)
            assert trades
            assert trades == sorted(trades, key=lambda trade: trade["timestamp"])
            oldest = trades[0]["timestamp"]  # the page may begin inside its millisecond
            assert volumes(trades, oldest) == on.volumes(symbol, oldest)

    on_stage(venue, body, pro=False)


@each
def test_ccxt_pro_holds_the_exchanges_books_and_hears_its_trades(venue):
    answers, proved = Counter(), Counter()
    heard = {symbol: {} for symbol in venue.symbols}
    began = {}

    async def books(on, symbol):
        while True:
            book = await on.ccxt.watch_order_book(symbol)
            answers[symbol] += 1
            place = book[venue.in_book]
            truth = on.witness.stood.get((symbol, place))
            if truth is not None:
                assert told(book, venue.depth) == truth, (symbol, place)
                proved[symbol] += 1

    async def trades(on, symbol):
        while True:
            for trade in await on.ccxt.watch_trades(symbol):
                heard[symbol][trade["id"] or len(heard[symbol])] = trade
            # Everything after this millisecond is heard live, not out of a history.
            began.setdefault(symbol, max(one["timestamp"] for one in heard[symbol].values()))

    def enough(on):
        return all(
            answers[symbol] >= 15
            and symbol in began
            and len(on.volumes(symbol, began[symbol])) >= 5
            for symbol in venue.symbols
        )

    def true_books(on):
        return all(
            told(on.ccxt.orderbooks[symbol], venue.depth)
            == book_of(on.exchange, symbol, venue.depth)
            for symbol in venue.symbols
        )

    def true_trades(on):
        return all(
            volumes(heard[symbol].values(), began[symbol]) == on.volumes(symbol, began[symbol])
            for symbol in venue.symbols
        )

    async def body(on):
        await on.ccxt.load_markets()
        followers = [
            asyncio.create_task(follow(on, symbol))
            for symbol in venue.symbols
            for follow in (books, trades)
        ]
        try:
            await until(followers, lambda: enough(on), 20, "enough to compare")
            on.simulator.market = None  # a pause
            await until(followers, lambda: true_books(on), 5, "true books at a pause")
            await until(followers, lambda: true_trades(on), 5, "every trade, once")
        finally:
            for task in followers:
                task.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
        if venue.in_frame is not None:
            assert all(proved[symbol] >= 8 for symbol in venue.symbols), (answers, proved)

    on_stage(venue, body, pro=True)


async def until(followers, true, within_s, what):
    """Wait until `true()`; a follower that fails fails the test."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, what
        done, _ = await asyncio.wait(followers, timeout=0.02, return_when="FIRST_EXCEPTION")
        for task in done:
            task.result()
