"""A real third-party client trades on Bybit's simulator; every figure equals the history."""

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
            "bybit",
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

        client = (ccxt.pro if self.pro else ccxt.async_support).bybit({"enableRateLimit": False})
        api = client.urls["api"]
        for name, url in api.items():
            if isinstance(url, str):
                api[name] = hosts["rest"]
        if self.pro:
            api["ws"]["private"]["contract"] = f"{hosts['ws']}/v5/private"
            api["ws"]["private"]["trade"] = f"{hosts['ws']}/v5/trade"
        key = self.simulator.accounts[0].keys[key]
        client.apiKey, client.secret = key.key, key.secret
        return client

    def freeze(self):
        """The market stands still: prices chosen now are still good when the order arrives."""
        self.simulator.market = None

    def best(self, side):
        from hean_router.sim.exchange import Side

        return float(self.listing.px(self.exchange.best(PAIR, Side(side)).px))

    def limits(self):
        """Away from the market, but within what the venue allows."""
        return self.best("buy") * 0.998, self.best("sell") * 1.002

    def told(self, what, order_id):
        """What the history says of an order."""
        return [
            row["data"]
            for row in self.rows
            if row["what"] == what and row["data"].get("orderId") == order_id
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
                for each in row["data"]["coin"]:
                    totals[each["coin"]] = (
                        D(each["walletBalance"]),
                        D(each["free"]),
                        D(each["locked"]),
                    )
        return totals


def trade_on(body, *, pro=False, key=0):
    async def main():
        market = Market(pro=pro)
        (one,) = await server.start([market.simulator], time.time_ns)
        client = market.client(one.hosts(), key)
        try:
            async with asyncio.timeout(20):
                await body(client, market)
            market.desk.check()
        finally:
            await client.close()
            await server.stop([one])

    asyncio.run(main())


async def until(true):
    while not true():  # noqa: ASYNC110 - the simulator has no event for it
        await asyncio.sleep(0.01)


def agree(order, market):
    """A unified order against the rows of the history."""
    placed = market.told("order", order["id"])
    assert len(placed) == 1, "each order is placed once"
    fills = market.told("fill", order["id"])
    ends = market.told("end", order["id"])
    filled = sum((D(fill["execQty"]) for fill in fills), D(0))
    want = "open"
    if ends:
        # a client calls an order closed that was partly filled, then ended
        want = "closed" if filled else "canceled"
    elif fills and fills[-1]["leavesQty"] == "0":
        want = "closed"
    assert order["status"] == want
    assert D(str(order["filled"])) == filled
    if fills:
        cost = sum(D(fill["execValue"]) for fill in fills)
        assert abs(D(str(order["average"])) - cost / filled) < D("1e-6")
        charged = sum(D(fill["execFee"]) for fill in fills)
        assert abs(D(str(order["fee"]["cost"])) - charged) < D("1e-12")
        assert order["fee"]["currency"] == fills[0]["feeCurrency"]
    return fills


async def agree_on_balances(client, market):
    balance = await client.fetch_balance()
    for asset, (total, free, used) in market.balances().items():
        assert balance[asset]["total"] == pytest.approx(float(total), rel=1e-13)
        assert balance[asset]["free"] == pytest.approx(float(free), rel=1e-13)
        assert balance[asset]["used"] == pytest.approx(float(used), rel=1e-13, abs=1e-9)


def trades_agree(trades, market):
    fills = {
        (row["data"]["orderId"], row["data"]["execId"]): row["data"]
        for row in market.rows
        if row["what"] == "fill" and row["account"] == "main"
    }
    assert len(trades) == len(fills)
    for trade in trades:
        fill = fills.pop((trade["order"], trade["id"]))
        assert D(str(trade["price"])) == D(fill["execPrice"])
        assert D(str(trade["amount"])) == D(fill["execQty"])
        assert trade["side"] == fill["side"].lower()
        assert trade["takerOrMaker"] == ("maker" if fill["isMaker"] else "taker")
        assert trade["fee"]["currency"] == fill["feeCurrency"]
        assert trade["fee"]["cost"] == pytest.approx(float(D(fill["execFee"])), rel=1e-13)
        assert trade["timestamp"] == int(fill["execTime"])
    assert not fills


def test_ccxt_trades_by_rest():
    async def body(bybit, market):
        await bybit.load_markets()
        await agree_on_balances(bybit, market)
        market.freeze()
        low, high = market.limits()
        one = {"acknowledged": True}
        resting = await bybit.create_order(PAIR, "limit", "buy", 0.01, low)
        placed = {
            "market buy": await bybit.create_order(PAIR, "market", "buy", 0.02),
            "market sell": await bybit.create_order(PAIR, "market", "sell", 0.015),
            "by value": await bybit.create_market_buy_order_with_cost(PAIR, 777.77),
            "ioc": await bybit.create_order(
                PAIR, "limit", "buy", 0.03, high, {"timeInForce": "IOC"}
            ),
            "ioc rest": await bybit.create_order(
                PAIR, "limit", "sell", 9, market.best("buy"), {"timeInForce": "IOC"}
            ),
            "ioc none": await bybit.create_order(
                PAIR, "limit", "sell", 0.01, high, {"timeInForce": "IOC"}
            ),
            "fok": await bybit.create_order(
                PAIR, "limit", "buy", 0.02, high, {"timeInForce": "FOK"}
            ),
            "fok none": await bybit.create_order(
                PAIR, "limit", "buy", 14, market.best("sell"), {"timeInForce": "FOK"}
            ),
            "post-only": await bybit.create_order(
                PAIR, "limit", "sell", 0.01, high, {"postOnly": True}
            ),
            "post-only crossing": await bybit.create_order(
                PAIR, "limit", "buy", 0.01, high, {"postOnly": True}
            ),
        }
        orders = {
            name: await bybit.fetch_order(each["id"], PAIR, one) for name, each in placed.items()
        }
        fills = {name: agree(order, market) for name, order in orders.items()}
        filled = {"market buy", "market sell", "by value", "ioc", "fok", "ioc rest"}
        assert {name for name, each in fills.items() if each} == filled
        whole = filled - {"by value", "ioc rest"}
        for name in filled:
            want = "Filled" if name in whole else "PartiallyFilledCanceled"
            assert orders[name]["info"]["orderStatus"] == want
        assert orders["post-only"]["status"] == "open"
        reasons = {
            "ioc rest": "EC_NoImmediateQtyToFill",
            "ioc none": "EC_NoImmediateQtyToFill",
            "fok none": "EC_CancelForNoFullFill",
            "post-only crossing": "EC_PostOnlyWillTakeLiquidity",
        }
        for name, reason in reasons.items():
            assert orders[name]["info"]["rejectReason"] == reason
        await agree_on_balances(bybit, market)
        open_orders = await bybit.fetch_open_orders(PAIR)
        assert {order["id"] for order in open_orders} == {
            resting["id"],
            placed["post-only"]["id"],
        }
        for order in open_orders:
            agree(order, market)
        await bybit.cancel_order(resting["id"], PAIR)
        agree(await bybit.fetch_order(resting["id"], PAIR, one), market)
        await bybit.cancel_orders([placed["post-only"]["id"]], PAIR)
        assert await bybit.fetch_open_orders(PAIR) == []
        await agree_on_balances(bybit, market)
        trades_agree(await bybit.fetch_my_trades(PAIR), market)
        canceled = await bybit.fetch_canceled_orders(PAIR)
        assert {order["id"] for order in canceled} == {
            resting["id"],
            *(each["id"] for name, each in placed.items() if name not in filled),
        }
        fee = await bybit.fetch_trading_fee(PAIR)
        assert (fee["maker"], fee["taker"]) == (0.001, 0.001)

    trade_on(body)


def test_ccxt_amends_and_finds_by_client_id():
    async def body(bybit, market):
        await bybit.load_markets()
        market.freeze()
        low, _ = market.limits()
        order = await bybit.create_order(PAIR, "limit", "buy", 0.05, low, {"clientOrderId": "m-1"})
        assert order["clientOrderId"] == "m-1"
        await bybit.edit_order(order["id"], PAIR, "limit", "buy", 0.02)
        (found,) = await bybit.fetch_open_orders(PAIR, None, None, {"orderLinkId": "m-1"})
        assert (found["id"], found["amount"]) == (order["id"], 0.02)
        await agree_on_balances(bybit, market)
        (gone,) = await bybit.cancel_all_orders(PAIR)
        assert gone["id"] == order["id"]
        found = await bybit.fetch_order(order["id"], PAIR, {"acknowledged": True})
        assert found["status"] == "canceled"

    trade_on(body)


def test_ccxt_knows_what_it_is_refused():
    async def body(bybit, market):
        import ccxt

        await bybit.load_markets()
        market.freeze()
        low, high = market.limits()
        for error, amount, px in [
            (ccxt.InsufficientFunds, 40, low),
            (ccxt.InvalidOrder, 0.01, high * 1.2),  # beyond the limit for buys
        ]:
            with pytest.raises(error):
                await bybit.create_order(PAIR, "limit", "buy", amount, px)
        with pytest.raises(ccxt.OrderNotFound):
            await bybit.cancel_order("1", PAIR)
        with pytest.raises(ccxt.OrderNotFound):
            await bybit.fetch_order("1", PAIR, {"acknowledged": True})
        bybit.secret = "wrong"
        with pytest.raises(ccxt.AuthenticationError):
            await bybit.fetch_balance()
        assert not [row for row in market.rows if row["what"] == "order"]

    trade_on(body)


def test_ccxt_pro_trades_by_socket_and_watches():
    async def body(bybit, market):
        await bybit.load_markets()
        updates, trades, told = [], [], {}

        async def orders_watched():
            while True:
                updates.extend(await bybit.watch_orders(PAIR))

        async def trades_watched():
            while True:
                trades.extend(await bybit.watch_my_trades(PAIR))

        async def balance_watched():
            while True:
                told.update(await bybit.watch_balance())

        watches = (orders_watched, trades_watched, balance_watched)
        watchers = [asyncio.create_task(each()) for each in watches]
        market.freeze()
        low, high = market.limits()
        await until(lambda: len(market.simulator.face.topics(1)) == 3)
        placed = [
            await bybit.create_order_ws(PAIR, "limit", "buy", 0.01, low),
            await bybit.create_order_ws(PAIR, "market", "buy", 0.02),
            await bybit.create_order_ws(PAIR, "market", "sell", 0.015),
            await bybit.create_order_ws(
                PAIR, "limit", "buy", 14, market.best("sell"), {"timeInForce": "IOC"}
            ),
            await bybit.create_order_ws(PAIR, "limit", "buy", 0.02, high, {"timeInForce": "FOK"}),
            await bybit.create_order_ws(
                PAIR, "limit", "sell", 0.01, market.best("buy"), {"postOnly": True}
            ),
        ]
        await bybit.cancel_order_ws(placed[0]["id"], PAIR)
        ids = [order["id"] for order in placed]

        def ended():
            return {
                order["id"]: order
                for order in updates
                if order["id"] in ids and order["status"] in ("closed", "canceled")
            }

        await until(lambda: len(ended()) == len(ids))
        for order in ended().values():
            agree(order, market)
        history = [row for row in market.rows if row["what"] == "fill"]
        await until(lambda: len(trades) == len(history))
        trades_agree(trades, market)
        truth = market.balances()
        both = ("BTC", "USDT")

        def seen(name):
            return [told.get(asset, {}).get(name) for asset in both]

        await until(lambda: seen("total") == [float(truth[asset][0]) for asset in both])
        await until(lambda: seen("used") == [float(truth[asset][2]) for asset in both])
        await agree_on_balances(bybit, market)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    trade_on(body, pro=True)
