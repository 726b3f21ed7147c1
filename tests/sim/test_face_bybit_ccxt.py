"""A real third-party client, unmodified but for its URLs, on Bybit's simulator."""

import asyncio
import time
from decimal import Decimal

import pytest

from hean_router.sim import server
from hean_router.sim.contract import Trouble
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

SYMBOLS = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")


def client(pro, hosts):
    """ccxt's own class; every URL of production points at the simulator."""
    import ccxt.async_support
    import ccxt.pro

    made = (ccxt.pro if pro else ccxt.async_support).bybit({"enableRateLimit": False})
    api = made.urls["api"]
    for name, url in api.items():
        if isinstance(url, str):
            api[name] = hosts["rest"]
    if pro:
        for part in ("spot", "linear", "inverse", "option"):
            api["ws"]["public"][part] = f"{hosts['ws']}/v5/public/{part}"
    return made


def trade_on(body, *, pro, pace=None):
    async def main():
        simulator, exchange = simulate(
            "bybit",
            5,
            time.time_ns(),
            symbols=SYMBOLS,
            pace=pace or Pace(updates_per_s=60, taker_permille=200),
        )
        (one,) = await server.start([simulator], time.time_ns)
        ccxt = client(pro, one.hosts())
        try:
            async with asyncio.timeout(30):
                await body(ccxt, one, exchange)
        finally:
            await ccxt.close()
            await server.stop([one])

    asyncio.run(main())


def oracle(exchange, symbol, depth=None):
    listing = exchange.listings[symbol]
    return [
        [[float(listing.px(level.px)), float(listing.qty(level.qty))] for level in side]
        for side in exchange.book(symbol, depth)
    ]


def test_ccxt_reads_markets_books_and_trades():
    async def body(ccxt, one, exchange):
        markets = await ccxt.load_markets()
        assert set(markets) == set(SYMBOLS)
        for symbol in SYMBOLS:
            listing, market = exchange.listings[symbol], markets[symbol]
            assert market["precision"]["price"] == float(listing.tick)
            assert market["precision"]["amount"] == float(listing.lot)
            assert market["limits"]["amount"]["min"] == float(listing.min_qty)
            assert market["active"] is True
            assert market["spot"] == (":" not in symbol)
            assert market["linear"] is (":" in symbol or None)
        one.simulator.market = None  # a pause, to compare
        for symbol in SYMBOLS:
            book = await ccxt.fetch_order_book(symbol, 50)
            assert [book["bids"], book["asks"]] == oracle(exchange, symbol, 50)
            ticker = await ccxt.fetch_ticker(symbol)
            assert ticker["bid"] == book["bids"][0][0]
        assert abs(await ccxt.fetch_time() - time.time_ns() // 1_000_000) < 5_000
        assert (await ccxt.fetch_status())["status"] == "ok"

    trade_on(body, pro=False)


@pytest.mark.parametrize(
    ("symbol", "depth"),
    [("BTC/USDT", 1), ("BTC/USDT", 50), ("BTC/USDT:USDT", 50), ("BTC/USDT:USDT", 200)],
)
def test_ccxt_pro_follows_the_book(symbol, depth):
    async def body(ccxt, one, exchange):
        for turn in range(20):
            book = await ccxt.watch_order_book(symbol, depth)
            if turn == 10:
                outputs = one.simulator.face.trouble(Trouble.SNAPSHOT, time.time_ns())
                assert len(outputs) == 1
                one._dispatch(outputs)
        one.simulator.market = None
        # The exchange stands still; what is not said yet comes with the last beat.
        while [list(book["bids"])[:depth], list(book["asks"])[:depth]] != oracle(
            exchange, symbol, depth
        ):
            book = await ccxt.watch_order_book(symbol, depth)

    trade_on(body, pro=True)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_ccxt_pro_follows_trades(symbol):
    async def body(ccxt, one, exchange):
        listing, seen = exchange.listings[symbol], {}
        done = exchange.trade_id(symbol)
        while len(seen) < 8:
            for trade in await ccxt.watch_trades(symbol):
                seen[trade["id"]] = trade
        one.simulator.market = None
        missing = exchange.trade_id(symbol) - done
        assert missing >= len(seen) >= 8
        last = next(reversed(seen.values()))
        assert Decimal(str(last["price"])) % listing.tick == 0
        assert last["side"] in ("buy", "sell")
        if symbol == "BTC/USDT":
            ids = sorted(map(int, seen))
            assert ids == list(range(ids[0], ids[0] + len(ids))), "none is missing"

    trade_on(body, pro=True)


def test_ccxt_pro_follows_tickers():
    async def body(ccxt, _one, exchange):
        for symbol in ("BTC/USDT", "BTC/USDT:USDT"):
            for _ in range(3):
                ticker = await ccxt.watch_ticker(symbol)
            assert Decimal(str(ticker["last"])) % exchange.listings[symbol].tick == 0

    trade_on(body, pro=True)
