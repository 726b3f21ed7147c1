"""A real third-party client, unmodified but for its URLs, on OKX's simulator."""

import asyncio
import time

import pytest

from hean_router.sim import server
from hean_router.sim.contract import Trouble
from hean_router.sim.exchange import Side
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

SYMBOLS = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")


def trade_on(body, *, pro):
    async def main():
        import ccxt.async_support
        import ccxt.pro

        simulator, exchange = simulate(
            "okx", 5, time.time_ns(), symbols=SYMBOLS, pace=Pace(updates_per_s=60)
        )
        (one,) = await server.start([simulator], time.time_ns)
        hosts = one.hosts()
        client = (ccxt.pro if pro else ccxt.async_support).okx({"enableRateLimit": False})
        client.urls["api"]["rest"] = hosts["rest"]
        client.urls["api"]["ws"] = hosts["ws"].removesuffix("/public")
        try:
            async with asyncio.timeout(30):
                await body(client, one, exchange)
        finally:
            await client.close()
            await server.stop([one])

    asyncio.run(main())


def oracle(exchange, symbol, depth):
    listing = exchange.listings[symbol]
    return [
        [[float(listing.px(level.px)), float(listing.qty(level.qty))] for level in side]
        for side in exchange.book(symbol, depth)
    ]


def told(book):
    """Price and amount; of whole books ccxt keeps a third column too."""
    return [[list(level[:2]) for level in book[side]] for side in ("bids", "asks")]


def test_ccxt_reads_markets_and_books():
    async def body(okx, one, exchange):
        markets = await okx.load_markets()
        assert set(markets) == set(SYMBOLS)
        one.simulator.market = None  # a pause, to compare
        for symbol in SYMBOLS:
            listing, market = exchange.listings[symbol], markets[symbol]
            assert market["precision"]["price"] == float(listing.tick)
            assert market["precision"]["amount"] == float(listing.lot)
            assert market["limits"]["amount"]["min"] == float(listing.min_qty)
            assert market["active"] is True
            assert market["spot"] == (":" not in symbol)
            if market["swap"]:
                assert market["linear"] is True
                assert market["contractSize"] == float(listing.contract_size)
            book = await okx.fetch_order_book(symbol, 50)
            assert told(book) == oracle(exchange, symbol, 50)
        assert abs(await okx.fetch_time() - time.time_ns() // 1_000_000) < 5_000
        assert (await okx.fetch_status())["status"] == "ok"
        ticker = await okx.fetch_ticker("BTC/USDT")
        assert ticker["bid"] == oracle(exchange, "BTC/USDT", 1)[0][0][0]
        rate = await okx.fetch_funding_rate("BTC/USDT:USDT")
        assert rate["fundingRate"] == 0.0001

    trade_on(body, pro=False)


@pytest.mark.parametrize(
    ("symbol", "limit", "depth"),
    [
        ("BTC/USDT", None, 400),  # books: a chain
        ("BTC/USDT:USDT", None, 400),
        ("BTC/USDT", 5, 5),  # books5 and bbo-tbt: whole each time
        ("BTC/USDT:USDT", 1, 1),
    ],
)
def test_ccxt_pro_follows_the_book(symbol, limit, depth):
    async def body(okx, one, exchange):
        for turn in range(12):
            book = await okx.watch_order_book(symbol, limit)
            if turn == 6:  # it takes the restart for what it is
                one._dispatch(one.simulator.face.trouble(Trouble.RESTART, time.time_ns()))
        market, one.simulator.market = one.simulator.market, None
        # The exchange stands still; the last batch is still to come, or was the last.
        deadline = time.monotonic() + 5
        truth = oracle(exchange, symbol, depth)
        while told(book) != truth:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
            book = okx.orderbooks[symbol]
        one.simulator.market = market

    trade_on(body, pro=True)


def test_ccxt_pro_follows_trades():
    async def body(okx, one, exchange):
        seen = {}
        while len(seen) < 6:
            for trade in await okx.watch_trades("BTC/USDT"):
                seen[int(trade["id"])] = trade
        truth = {
            trade.id: (time_ns // 1_000_000, trade)
            for time_ns, trade in one.simulator.face._feed.tape.trades["BTC/USDT"]
        }
        listing = exchange.listings["BTC/USDT"]
        for id_, trade in seen.items():
            at_ms, real = truth[id_]
            assert trade["timestamp"] == at_ms
            assert trade["price"] == float(listing.px(real.px))
            assert trade["side"] == ("buy" if real.side is Side.BUY else "sell")
            assert trade["amount"] >= float(listing.qty(real.qty)), "merged"

    trade_on(body, pro=True)
