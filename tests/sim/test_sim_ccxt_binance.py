"""A real third-party client, unmodified but for its URLs, on Binance's simulator."""

import asyncio
import time
from decimal import Decimal

import pytest

from hean_router.sim import server
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

SYMBOLS = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")


def client(pro, hosts):
    """ccxt's own class; every URL of production points at the simulator."""
    import ccxt.async_support
    import ccxt.pro

    made = (ccxt.pro if pro else ccxt.async_support).binance({"enableRateLimit": False})
    # ccxt tells spot sockets from others by "/stream" in the URL.
    hosts = {**hosts, "ws": hosts["ws"] + "/stream"}
    api = made.urls["api"]
    for name, url in api.items():
        if isinstance(url, str):
            path = url.split("/", 3)[3] if url.count("/") > 2 else ""
            api[name] = f"{hosts['rest']}/{path}"
    if pro:
        api["ws"]["spot"] = hosts["ws"] + "/ws"
        api["ws"]["linear"] = hosts["linear.ws"] + "/ws"  # ccxt puts /public or /market before it
    return made


def trade_on(body, *, pro):
    async def main():
        simulator, exchange = simulate(
            "binance", 5, time.time_ns(), symbols=SYMBOLS, pace=Pace(updates_per_s=40)
        )
        (one,) = await server.start([simulator], time.time_ns)
        ccxt = client(pro, one.hosts())
        try:
            async with asyncio.timeout(60):
                await body(ccxt, simulator, exchange)
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


def test_ccxt_reads_markets_and_books():
    async def body(ccxt, simulator, exchange):
        markets = await ccxt.load_markets()
        assert set(markets) == set(SYMBOLS)
        for symbol in SYMBOLS:
            listing, market = exchange.listings[symbol], markets[symbol]
            assert market["precision"]["price"] == float(listing.tick)
            assert market["precision"]["amount"] == float(listing.lot)
            assert market["limits"]["cost"]["min"] == float(listing.min_notional)
            assert market["active"] is True
            assert market["spot"] == (":" not in symbol)
            simulator.market = None  # a pause, to compare
            book = await ccxt.fetch_order_book(symbol, 50)
            assert [book["bids"], book["asks"]] == oracle(exchange, symbol, 50)
        assert abs(await ccxt.fetch_time() - time.time_ns() // 1_000_000) < 5_000

    trade_on(body, pro=False)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_ccxt_pro_follows_the_book(symbol):
    async def body(ccxt, simulator, exchange):
        for _ in range(15):
            book = await ccxt.watch_order_book(symbol)
        market, simulator.market = simulator.market, None
        # The exchange stands still; the last batch is still to come.
        stood = exchange.update_id(symbol) * (7 if ":" in symbol else 1)
        while book["nonce"] < stood:
            book = await ccxt.watch_order_book(symbol)
        assert [list(book["bids"]), list(book["asks"])] == oracle(exchange, symbol)
        simulator.market = market

    trade_on(body, pro=True)


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_ccxt_pro_follows_trades(symbol):
    async def body(ccxt, _simulator, exchange):
        seen = {}
        while len(seen) < 5:
            for trade in await ccxt.watch_trades(symbol):
                seen[int(trade["id"])] = trade
        ids = sorted(seen)
        assert ids == list(range(ids[0], ids[0] + len(ids))), "none is missing"
        last = exchange.last_trade(symbol)
        if last.id in seen:
            assert Decimal(str(seen[last.id]["amount"])) == exchange.listings[symbol].qty(last.qty)
            assert seen[last.id]["side"] == last.side

    trade_on(body, pro=True)
