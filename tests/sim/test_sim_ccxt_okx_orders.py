"""A real third-party client trades on OKX's simulator; every figure equals the history."""

import asyncio
import time
from decimal import Decimal

import pytest

from hean_router.sim import server
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

PAIR = "BTC/USDT"
D = Decimal


class Market:
    """A simulator with its history, and a client with the first account's key."""

    def __init__(self, *, pro):
        self.rows = []
        self.simulator, self.exchange = simulate(
            "okx",
            5,
            time.time_ns(),
            symbols=("BTC/USDT", "ETH/USDT"),
            pace=Pace(updates_per_s=20),
            history=self.rows.append,
        )
        self.pro = pro
        self.listing = self.exchange.listings[PAIR]
        self.desk = self.simulator.face.private.desk

    def client(self, hosts, key=0):
        import ccxt.async_support
        import ccxt.pro

        client = (ccxt.pro if self.pro else ccxt.async_support).okx({"enableRateLimit": False})
        client.urls["api"]["rest"] = hosts["rest"]
        client.urls["api"]["ws"] = hosts["orders.ws"].removesuffix("/private")
        key = self.simulator.accounts[0].keys[key]
        client.apiKey, client.secret, client.password = key.key, key.secret, key.passphrase
        return client

    def freeze(self):
        """The market stands still: prices chosen now are still good when the order arrives."""
        self.simulator.market = None

    def best(self, side):
        from hean_router.sim.exchange import Side

        return float(self.listing.px(self.exchange.best(PAIR, Side(side)).px))

    def told(self, what, order_id):
        """What the history says of an order."""
        return [
            row["data"]
            for row in self.rows
            if row["what"] == what and row["data"].get("ordId") == order_id
        ]

    def balances(self):
        """As the history has them: what accounts open with, then every change."""
        totals = {}
        for row in self.rows:
            if row["account"] != "main":
                continue
            if row["what"] == "opening":
                for asset, amount in row["data"]["balances"].items():
                    totals[asset] = (D(amount), D(amount), D(0))
            if row["what"] == "balance":
                for each in row["data"]["details"]:
                    totals[each["ccy"]] = (
                        D(each["cashBal"]),
                        D(each["availBal"]),
                        D(each["frozenBal"]),
                    )
        return totals


def trade_on(body, *, pro=False, key=0):
    async def main():
        market = Market(pro=pro)
        (one,) = await server.start([market.simulator], time.time_ns)
        client = market.client(one.hosts(), key)
        try:
            async with asyncio.timeout(60):
                await body(client, market)
            market.desk.check()
        finally:
            await client.close()
            await server.stop([one])

    asyncio.run(main())


def agree(order, market):
    """A unified order against the rows of the history."""
    placed = market.told("order", order["id"])
    assert len(placed) == 1, "each order is placed once"
    fills = market.told("fill", order["id"])
    ends = market.told("end", order["id"])
    last = (fills + ends)[-1] if fills or ends else placed[0]
    if ends:
        last = ends[-1]
    want = {"live": "open", "partially_filled": "open", "filled": "closed", "canceled": "canceled"}
    assert order["status"] == want[last["state"]]
    assert D(str(order["filled"])) == sum((D(fill["fillSz"]) for fill in fills), D(0))
    if fills:
        cost = sum(D(fill["fillSz"]) * D(fill["fillPx"]) for fill in fills)
        filled = sum(D(fill["fillSz"]) for fill in fills)
        assert abs(D(str(order["average"])) - cost / filled) < D("1e-6")
        charged = -sum(D(fill["fillFee"]) for fill in fills)
        assert abs(D(str(order["fee"]["cost"])) - charged) < D("1e-12")
        assert order["fee"]["currency"] == fills[0]["fillFeeCcy"]
    return fills


async def agree_on_balances(client, market):
    balance = await client.fetch_balance()
    for asset, (total, free, used) in market.balances().items():
        assert balance[asset]["total"] == pytest.approx(float(total), rel=1e-13)
        assert balance[asset]["free"] == pytest.approx(float(free), rel=1e-13)
        assert balance[asset]["used"] == pytest.approx(float(used), rel=1e-13, abs=1e-9)


def trades_agree(trades, market, *, charge=-1):
    """`charge`: the sign of a fee in the venue's words that the client calls a positive cost."""
    fills = {
        (row["data"]["ordId"], row["data"]["tradeId"]): row["data"]
        for row in market.rows
        if row["what"] == "fill" and row["account"] == "main"
    }
    assert len(trades) == len(fills)
    for trade in trades:
        fill = fills.pop((trade["order"], trade["id"]))
        assert D(str(trade["price"])) == D(fill["fillPx"])
        assert D(str(trade["amount"])) == D(fill["fillSz"])
        assert trade["side"] == fill["side"]
        assert trade["takerOrMaker"] == {"T": "taker", "M": "maker"}[fill["execType"]]
        assert trade["fee"]["currency"] == fill["fillFeeCcy"]
        assert trade["fee"]["cost"] == pytest.approx(float(charge * D(fill["fillFee"])), rel=1e-13)
        assert trade["timestamp"] == int(fill["fillTime"])
    assert not fills


def test_ccxt_trades_by_rest():
    async def body(okx, market):
        await okx.load_markets()
        await agree_on_balances(okx, market)
        market.freeze()
        low, high = market.best("buy") * 0.98, market.best("sell") * 1.02
        resting = await okx.create_order(PAIR, "limit", "buy", 0.01, low)
        placed = {
            "market buy": await okx.create_order(PAIR, "market", "buy", 0.02),
            "market sell": await okx.create_order(PAIR, "market", "sell", 0.015),
            "by value": await okx.create_market_buy_order_with_cost(PAIR, 777.77),
            "ioc": await okx.create_order(PAIR, "limit", "buy", 0.03, high, {"timeInForce": "IOC"}),
            "ioc rest": await okx.create_order(
                PAIR, "limit", "sell", 9, market.best("buy"), {"timeInForce": "IOC"}
            ),
            "ioc none": await okx.create_order(
                PAIR, "limit", "sell", 0.01, high, {"timeInForce": "IOC"}
            ),
            "fok": await okx.create_order(PAIR, "limit", "buy", 0.02, high, {"timeInForce": "FOK"}),
            "fok none": await okx.create_order(
                PAIR, "limit", "buy", 14, market.best("sell"), {"timeInForce": "FOK"}
            ),
            "post-only": await okx.create_order(
                PAIR, "limit", "sell", 0.01, high, {"postOnly": True}
            ),
            "post-only crossing": await okx.create_order(
                PAIR, "limit", "buy", 0.01, high, {"postOnly": True}
            ),
        }
        orders = {name: await okx.fetch_order(each["id"], PAIR) for name, each in placed.items()}
        fills = {name: agree(order, market) for name, order in orders.items()}
        whole = {"market buy", "market sell", "by value", "ioc", "fok"}
        assert {name for name, order in orders.items() if order["status"] == "closed"} == whole
        assert {name for name, each in fills.items() if each} == {*whole, "ioc rest"}
        assert orders["post-only"]["status"] == "open"
        sources = {"ioc rest": "14", "ioc none": "14", "fok none": "13", "post-only crossing": "31"}
        for name, source in sources.items():
            assert orders[name]["status"] == "canceled"
            assert orders[name]["info"]["cancelSource"] == source
        await agree_on_balances(okx, market)
        open_orders = await okx.fetch_open_orders(PAIR)
        assert {order["id"] for order in open_orders} == {
            resting["id"],
            placed["post-only"]["id"],
        }
        for order in open_orders:
            agree(order, market)
        await okx.cancel_order(resting["id"], PAIR)
        agree(await okx.fetch_order(resting["id"], PAIR), market)
        await okx.cancel_orders([placed["post-only"]["id"]], PAIR)
        assert await okx.fetch_open_orders() == []
        await agree_on_balances(okx, market)
        trades_agree(await okx.fetch_my_trades(PAIR), market)
        closed = await okx.fetch_closed_orders(PAIR)
        assert {order["id"] for order in closed} == {placed[name]["id"] for name in whole}
        canceled = await okx.fetch_canceled_orders(PAIR)
        assert {order["id"] for order in canceled} == {
            resting["id"],
            *(each["id"] for name, each in placed.items() if name not in whole),
        }
        fee = await okx.fetch_trading_fee(PAIR)
        assert (fee["maker"], fee["taker"]) == (0.0008, 0.001)

    trade_on(body)


def test_ccxt_amends_and_finds_by_client_id():
    async def body(okx, market):
        await okx.load_markets()
        market.freeze()
        low = market.best("buy") * 0.98
        order = await okx.create_order(PAIR, "limit", "buy", 0.05, low, {"clientOrderId": "mine1"})
        assert order["clientOrderId"] == "mine1"
        await okx.edit_order(order["id"], PAIR, "limit", "buy", 0.02)
        found = await okx.fetch_order(None, PAIR, {"clientOrderId": "mine1"})
        assert (found["id"], found["amount"]) == (order["id"], 0.02)
        await agree_on_balances(okx, market)
        await okx.cancel_order(None, PAIR, {"clientOrderId": "mine1"})
        found = await okx.fetch_order(order["id"], PAIR)
        assert found["status"] == "canceled"

    trade_on(body)


def test_ccxt_knows_what_it_is_refused():
    async def body(okx, market):
        import ccxt

        await okx.load_markets()
        market.freeze()
        ask = market.best("sell")
        for error, amount, px in [
            (ccxt.InsufficientFunds, 40, ask * 0.99),
            (ccxt.InvalidOrder, 0.01, ask * 1.2),  # beyond the limit for buys
        ]:
            with pytest.raises(error):
                await okx.create_order(PAIR, "limit", "buy", amount, px)
        with pytest.raises(ccxt.OrderNotFound):
            await okx.cancel_order("1", PAIR)
        with pytest.raises(ccxt.OrderNotFound):
            await okx.fetch_order("1", PAIR)
        okx.secret = "wrong"
        with pytest.raises(ccxt.AuthenticationError):
            await okx.fetch_balance()
        assert not [row for row in market.rows if row["what"] == "order"]

    trade_on(body)


def test_ccxt_pro_trades_by_socket_and_watches():
    async def body(okx, market):
        await okx.load_markets()
        updates, trades, balances = [], [], []
        going = asyncio.Event()

        async def watched(watch, into, *args):
            while True:
                got = await watch(*args)
                into.extend(got if isinstance(got, list) else [got])
                going.set()

        async def until(met):
            while not met():
                going.clear()
                await going.wait()

        watchers = [
            asyncio.create_task(watched(okx.watch_balance, balances)),
            asyncio.create_task(watched(okx.watch_orders, updates, PAIR)),
            asyncio.create_task(watched(okx.watch_my_trades, trades, PAIR)),
        ]
        await until(lambda: balances)
        market.freeze()
        high, low = market.best("sell") * 1.02, market.best("buy") * 0.98
        placed = [
            await okx.create_order_ws(PAIR, "limit", "buy", 0.01, low),
            await okx.create_order_ws(PAIR, "market", "buy", 0.02),
            await okx.create_order_ws(PAIR, "market", "sell", 0.015),
            await okx.create_order_ws(
                PAIR, "limit", "buy", 14, market.best("sell"), {"timeInForce": "IOC"}
            ),
            await okx.create_order_ws(PAIR, "limit", "buy", 0.02, high, {"timeInForce": "FOK"}),
            await okx.create_order_ws(PAIR, "limit", "sell", 0.01, low, {"postOnly": True}),
        ]
        await okx.cancel_order_ws(placed[0]["id"], PAIR)
        ids = {order["id"] for order in placed}

        def ended():
            return {
                order["id"]: order
                for order in updates
                if order["id"] in ids and order["status"] in ("closed", "canceled")
            }

        await until(lambda: set(ended()) == ids)
        for order in ended().values():
            agree(order, market)
        history = [row["data"] for row in market.rows if row["what"] == "fill"]
        told = {fill["tradeId"] for fill in history}
        await until(lambda: {trade["id"] for trade in trades} == told)
        # The client reads a trade out of every event of an order that names one: some come twice.
        # What it watches it gives the fee of as the venue does: a charge is negative.
        once = {(trade["order"], trade["id"]): trade for trade in trades}
        trades_agree(list(once.values()), market, charge=1)

        def totals_agree():
            return all(
                balances[-1][asset]["total"] == float(each[0])
                for asset, each in market.balances().items()
            )

        await until(totals_agree)  # merged within 50 ms
        await agree_on_balances(okx, market)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    trade_on(body, pro=True)
