"""A real third-party client, unmodified but for its URLs, on Kraken's simulator."""

import asyncio
import time
from functools import partial

import pytest

from hean_router.sim import server
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

SYMBOLS = ("BTC/USDT", "ETH/USD", "DOGE/USD")


def trade_on(body, *, pro):
    async def main():
        import ccxt.async_support
        import ccxt.pro

        simulator, exchange = simulate(
            "kraken", 5, time.time_ns(), symbols=SYMBOLS, pace=Pace(updates_per_s=60)
        )
        (one,) = await server.start([simulator], time.time_ns)
        hosts = one.hosts()
        client = (ccxt.pro if pro else ccxt.async_support).kraken({"enableRateLimit": False})
        client.urls["api"]["public"] = hosts["rest"]
        if pro:
            client.urls["api"]["ws"]["publicV2"] = hosts["ws"]
        try:
            async with asyncio.timeout(30):
                await body(client, one, exchange)
        finally:
            await client.close()
            await server.stop([one])

    asyncio.run(main())


def test_ccxt_reads_markets_and_books():
    async def body(kraken, one, exchange):
        markets = await kraken.load_markets()
        assert set(markets) == set(SYMBOLS)
        one.simulator.market = None  # a pause, to compare
        for symbol in SYMBOLS:
            listing, market = exchange.listings[symbol], markets[symbol]
            assert market["precision"]["price"] == float(listing.tick)
            assert market["precision"]["amount"] == float(listing.lot)
            assert market["limits"]["amount"]["min"] == float(listing.min_qty)
            assert market["limits"]["cost"]["min"] == float(listing.min_notional)
            assert (market["taker"], market["maker"]) == (0.004, 0.0025)
            assert market["active"] is True
            book = await kraken.fetch_order_book(symbol, 50)
            for side, levels in zip(("bids", "asks"), exchange.book(symbol, 50), strict=True):
                assert [level[:2] for level in book[side]] == [
                    [float(listing.px(x.px)), float(f"{listing.qty(x.qty):.3f}")] for x in levels
                ], "three decimals of quantities, as Kraken's REST has"
        assert abs(await kraken.fetch_time() - time.time_ns() // 1_000_000) < 5_000
        assert (await kraken.fetch_status())["status"] == "ok"

    trade_on(body, pro=False)


class Digits(float):
    """A float that remembers how it was written."""

    def __new__(cls, text):
        digits = super().__new__(cls, text)
        digits.text = str(text)
        return digits

    def __str__(self):
        return self.text

    def split(self, by):
        return self.text.split(by)


@pytest.fixture
def keeps_digits(monkeypatch):
    """ccxt's checksum of a Kraken book takes numbers for texts, as its JavaScript has them.

    In Python they are floats: on the real venue and here it ends with AttributeError at the first
    frame.  With numbers that keep their digits, its code runs as it is written.
    """
    import json

    from ccxt.async_support.base.ws import client

    class Parser:
        dumps = staticmethod(client.json_parser.dumps)
        loads = staticmethod(partial(json.loads, parse_float=str))

    monkeypatch.setattr(client, "json_parser", Parser)
    return Digits


def follow(symbol, number=None):
    async def body(kraken, one, exchange):
        await kraken.load_markets()
        if number is not None:
            kraken.options["watchOrderBook"]["checksum"] = True
            kraken.number = number
        for _ in range(60):
            book = await kraken.watch_order_book(symbol)
        one.simulator.market = None
        listing = exchange.listings[symbol]
        truth = [
            [[float(listing.px(x.px)), float(listing.qty(x.qty))] for x in side]
            for side in exchange.book(symbol, 10)
        ]
        deadline = time.monotonic() + 5
        while [[list(map(float, x)) for x in book[side]] for side in ("bids", "asks")] != truth:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)

    trade_on(body, pro=True)


def test_ccxt_pro_follows_the_book():
    follow("BTC/USDT")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "DOGE/USD"])
def test_ccxt_pro_verifies_every_checksum(symbol, keeps_digits):
    follow(symbol, keeps_digits)


def test_ccxt_pro_would_notice_a_wrong_checksum(keeps_digits, monkeypatch):
    from ccxt.base.errors import ChecksumError

    monkeypatch.setattr("hean_router.sim.faces.kraken.feed._Book.checksum", lambda _book: 1)
    with pytest.raises(ChecksumError):
        follow("BTC/USDT", keeps_digits)


def test_ccxt_pro_follows_trades():
    async def body(kraken, one, exchange):
        seen = {}
        while len(seen) < 6:
            for trade in await kraken.watch_trades("BTC/USDT"):
                seen[int(trade["id"])] = trade
        ids = sorted(seen)
        assert ids == list(range(ids[0], ids[0] + len(ids))), "none is missing"
        tape = {trade.id: trade for _, trade in one.simulator.face._feed.tape.trades["BTC/USDT"]}
        listing = exchange.listings["BTC/USDT"]
        for id_, trade in seen.items():
            assert trade["price"] == float(listing.px(tape[id_].px))
            assert trade["amount"] == float(listing.qty(tape[id_].qty))
            assert trade["side"] == tape[id_].side

    trade_on(body, pro=True)
