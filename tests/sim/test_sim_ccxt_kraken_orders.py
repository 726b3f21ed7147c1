"""A real third-party client trades on Kraken's simulator; every figure equals the history."""

import asyncio
import time
from decimal import Decimal

import pytest

from hean_router.sim import server
from hean_router.sim.contract import Options
from hean_router.sim.exchange import Side
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

PAIR = "BTC/USDT"
D = Decimal
STATUS = {"new": "open", "partially_filled": "open", "filled": "closed", "canceled": "canceled"}


class Market:
    """A simulator with its history, and a client with the first account's key."""

    def __init__(self, *, pro):
        self.rows = []
        self.simulator, self.exchange = simulate(
            "kraken",
            5,
            time.time_ns(),
            symbols=("BTC/USDT", "ETH/USD"),
            pace=Pace(updates_per_s=20),
            # Tests ask faster than the venue lets anyone.
            options=Options(limits=10.0),
            history=self.rows.append,
        )
        self.pro = pro
        self.listing = self.exchange.listings[PAIR]
        self.desk = self.simulator.face.private.desk

    def client(self, hosts):
        import ccxt.async_support
        import ccxt.pro

        client = (ccxt.pro if self.pro else ccxt.async_support).kraken({"enableRateLimit": False})
        client.urls["api"]["public"] = client.urls["api"]["private"] = hosts["rest"]
        if self.pro:
            client.urls["api"]["ws"]["private"] = hosts["orders.ws"].removesuffix("/v2")
            client.urls["api"]["ws"]["privateV2"] = hosts["orders.ws"]
        key = self.simulator.accounts[0].keys[0]
        client.apiKey, client.secret = key.key, key.secret
        return client

    def freeze(self):
        """The market stands still: prices chosen now are still good when the order arrives."""
        self.simulator.market = None

    def best(self, side):
        return float(self.listing.px(self.exchange.best(PAIR, Side(side)).px))

    def told(self, what, order_id):
        """What the history says of an order."""
        return [
            row["data"]
            for row in self.rows
            if row["what"] == what and row["data"].get("order_id") == order_id
        ]

    def balances(self):
        """As the history has them: what accounts open with, then every change."""
        totals = {}
        for row in self.rows:
            if row["account"] != "main":
                continue
            if row["what"] == "opening":
                for asset, amount in row["data"]["balances"].items():
                    totals[asset] = (D(amount), D(0))
            if row["what"] == "balance":
                for each in row["data"]["balances"]:
                    totals[each["asset"]] = (D(each["balance"]), D(each["hold_trade"]))
        return totals


def trade_on(body, *, pro=False):
    async def main():
        market = Market(pro=pro)
        (one,) = await server.start([market.simulator], time.time_ns)
        client = market.client(one.hosts())
        try:
            async with asyncio.timeout(60):
                await body(client, market)
            market.desk.check()
        finally:
            await client.close()
            await server.stop([one])

    asyncio.run(main())


def agree(order, market, *, fee=True):
    """A unified order against the rows of the history."""
    assert len(market.told("order", order["id"])) == 1, "each order is placed once"
    fills, ends = market.told("fill", order["id"]), market.told("end", order["id"])
    filled = sum((D(fill["last_qty"]) for fill in fills), D(0))
    assert D(str(order["filled"])) == filled
    whole = bool(fills) and D(fills[-1]["cum_qty"]) == D(str(order["amount"]))
    assert order["status"] == ("canceled" if ends else "closed" if whole else "open")
    if fills:
        cost = sum(D(fill["cost"]) for fill in fills)
        assert cost == D(fills[-1]["cum_cost"])
        assert order["cost"] == pytest.approx(float(cost), rel=1e-7)
        assert abs(D(str(order["average"])) - cost / filled) <= D("0.00001")
        if fee:
            charged = sum(D(fill["fees"][0]["qty"]) for fill in fills)
            assert D(str(order["fee"]["cost"])) == charged
            assert order["fee"]["currency"] == fills[0]["fees"][0]["asset"]
    return fills


async def agree_on_balances(client, market):
    balance = await client.fetch_balance()
    for asset, (total, held) in market.balances().items():
        assert balance[asset]["total"] == pytest.approx(float(total), rel=1e-13)
        assert balance[asset]["used"] == pytest.approx(float(held), rel=1e-13, abs=1e-9)


def trades_agree(trades, market):
    fills = {
        row["data"]["exec_id"]: row["data"]
        for row in market.rows
        if row["what"] == "fill" and row["account"] == "main"
    }
    assert len(trades) == len(fills)
    for trade in trades:
        fill = fills.pop(trade["id"])
        assert trade["order"] == fill["order_id"]
        assert D(str(trade["price"])) == D(fill["last_price"])
        assert D(str(trade["amount"])) == D(fill["last_qty"])
        assert trade["side"] == fill["side"]
        assert trade["takerOrMaker"] == {"t": "taker", "m": "maker"}[fill["liquidity_ind"]]
        assert trade["fee"]["currency"] == fill["fees"][0]["asset"]
        assert D(str(trade["fee"]["cost"])) == D(fill["fees"][0]["qty"])
    assert not fills


def test_ccxt_trades_by_rest():
    async def body(kraken, market):
        await kraken.load_markets()
        await agree_on_balances(kraken, market)
        market.freeze()
        low, high = market.best("buy") * 0.98, market.best("sell") * 1.02
        ask, bid = market.best("sell"), market.best("buy")
        resting = await kraken.create_order(PAIR, "limit", "buy", 0.01, low)
        ioc, fok, post = {"timeInForce": "IOC"}, {"timeInForce": "FOK"}, {"postOnly": True}
        asked = {
            "market buy": ("market", "buy", 0.02, None, {}),
            "market sell": ("market", "sell", 0.015, None, {}),
            "ioc": ("limit", "buy", 0.03, high, ioc),
            "ioc rest": ("limit", "sell", 9, bid, ioc),
            "ioc none": ("limit", "sell", 0.01, high, ioc),
            "fok": ("limit", "buy", 0.02, high, fok),
            "fok none": ("limit", "buy", 14, ask, fok),
            "post-only": ("limit", "sell", 0.01, high, post),
            "post-only crossing": ("limit", "buy", 0.01, high, post),
        }
        placed = {name: await kraken.create_order(PAIR, *args) for name, args in asked.items()}
        orders = {name: await kraken.fetch_order(each["id"]) for name, each in placed.items()}
        fills = {name: agree(order, market) for name, order in orders.items()}
        whole = {"market buy", "market sell", "ioc", "fok"}
        assert {name for name, order in orders.items() if order["status"] == "closed"} == whole
        assert {name for name, each in fills.items() if each} == {*whole, "ioc rest"}
        assert orders["post-only"]["status"] == "open"
        for name, reason in [
            ("ioc rest", "Immediate or cancel order"),
            ("fok none", "Fill or kill order"),
            ("post-only crossing", "Post only order"),
        ]:
            assert orders[name]["info"]["reason"] == reason
        by_value = await kraken.create_market_order_with_cost(PAIR, "buy", 777.7)
        spent = sum(D(fill["cost"]) for fill in market.told("fill", by_value["id"]))
        assert D("777.7") - D("0.001") < spent <= D("777.7")
        await agree_on_balances(kraken, market)
        open_orders = await kraken.fetch_open_orders(PAIR)
        assert {order["id"] for order in open_orders} == {
            resting["id"],
            placed["post-only"]["id"],
        }
        for order in open_orders:
            agree(order, market)
        await kraken.cancel_order(resting["id"], PAIR)
        agree(await kraken.fetch_order(resting["id"]), market)
        await kraken.cancel_orders([placed["post-only"]["id"]], PAIR)
        assert await kraken.fetch_open_orders() == []
        await agree_on_balances(kraken, market)
        trades_agree(await kraken.fetch_my_trades(PAIR), market)
        closed = await kraken.fetch_closed_orders(PAIR)
        assert len(closed) == len(asked) + 2
        fee = await kraken.fetch_trading_fee(PAIR)
        assert (fee["maker"], fee["taker"]) == (0.0025, 0.004)

    trade_on(body)


def test_ccxt_amends_batches_and_finds_by_client_id():
    async def body(kraken, market):
        await kraken.load_markets()
        market.freeze()
        low = round(market.best("buy") * 0.98, 1)
        order = await kraken.create_order(
            PAIR, "limit", "buy", 0.05, low, {"clientOrderId": "mine1"}
        )
        await kraken.edit_order(order["id"], PAIR, "limit", "buy", 0.02)
        (found,) = await kraken.fetch_open_orders(PAIR, None, None, {"clientOrderId": "mine1"})
        assert (found["id"], found["amount"]) == (order["id"], 0.02)
        await agree_on_balances(kraken, market)
        await kraken.cancel_order(None, PAIR, {"clientOrderId": "mine1"})
        pair = {"symbol": PAIR, "type": "limit", "side": "buy", "amount": 0.01, "price": low}
        both = await kraken.create_orders([pair, {**pair, "price": low - 1}])
        assert len({order["id"] for order in both}) == 2
        await kraken.cancel_all_orders()
        assert await kraken.fetch_open_orders() == []
        await agree_on_balances(kraken, market)

    trade_on(body)


def test_ccxt_knows_what_it_is_refused():
    async def body(kraken, market):
        import ccxt

        await kraken.load_markets()
        market.freeze()
        ask = market.best("sell")
        with pytest.raises(ccxt.InsufficientFunds):
            await kraken.create_order(PAIR, "limit", "buy", 40, ask * 0.99)
        with pytest.raises(ccxt.InvalidOrder):
            await kraken.create_order(PAIR, "limit", "buy", 0.00001, ask)
        with pytest.raises(ccxt.ExchangeError, match="EOrder:Invalid order"):
            await kraken.cancel_order("OAAAAA-AAAAA-AAAAAA")
        kraken.secret = market.simulator.accounts[1].keys[0].secret
        with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
            await kraken.fetch_balance()
        assert not [row for row in market.rows if row["what"] == "order"]

    trade_on(body)


def test_ccxt_pro_trades_by_socket_and_watches():
    async def body(kraken, market):
        await kraken.load_markets()
        updates, trades = [], []
        going = asyncio.Event()

        async def orders_watched():
            while True:
                updates.extend(await kraken.watch_orders())
                going.set()

        async def trades_watched():
            while True:
                trades.extend(await kraken.watch_my_trades())
                going.set()

        async def until(met):
            while not met():
                going.clear()
                await going.wait()

        await kraken.watch_balance()
        watchers = [asyncio.create_task(each()) for each in (orders_watched, trades_watched)]
        market.freeze()
        high, low = round(market.best("sell") * 1.02, 1), round(market.best("buy") * 0.98, 1)
        placed = [
            await kraken.create_order_ws(PAIR, "limit", "buy", 0.01, low),
            await kraken.create_order_ws(PAIR, "market", "buy", 0.02),
            await kraken.create_order_ws(PAIR, "market", "sell", 0.015),
            await kraken.create_order_ws(
                PAIR, "limit", "buy", 14, market.best("sell"), {"timeInForce": "IOC"}
            ),
            await kraken.create_order_ws(PAIR, "limit", "buy", 0.02, high, {"timeInForce": "FOK"}),
            await kraken.create_order_ws(PAIR, "limit", "sell", 0.01, low, {"postOnly": True}),
        ]
        await kraken.cancel_order_ws(placed[0]["id"])
        ids = {order["id"] for order in placed}

        def ended():
            return {
                order["id"]: order
                for order in updates
                if order["id"] in ids and order["status"] in ("closed", "canceled")
            }

        await until(lambda: set(ended()) == ids)
        for order in ended().values():  # what ccxt makes of an event without a symbol
            fills = market.told("fill", order["id"])
            info = order["info"]
            assert D(str(info["cum_qty"])) == sum((D(fill["last_qty"]) for fill in fills), D(0))
            assert info["cum_cost"] == pytest.approx(float(sum(D(f["cost"]) for f in fills)))
            assert order["status"] == STATUS[info["order_status"]]
        history = [row["data"] for row in market.rows if row["what"] == "fill"]
        await until(lambda: len(trades) >= len(history))
        told = {trade["id"]: trade for trade in trades}
        assert set(told) == {fill["exec_id"] for fill in history}
        for fill in history:
            trade = told[fill["exec_id"]]
            assert (trade["price"], trade["amount"]) == (
                float(fill["last_price"]),
                float(fill["last_qty"]),
            )
            assert (trade["order"], trade["side"]) == (fill["order_id"], fill["side"])
            assert trade["fee"]["cost"] == float(fill["fees"][0]["qty"])
            assert trade["fee"]["currency"] == fill["fees"][0]["asset"]
        spot = kraken.balance["spot"]
        for asset, (total, _) in market.balances().items():
            assert spot[asset]["total"] == pytest.approx(float(total), rel=1e-13)
        await agree_on_balances(kraken, market)
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)

    trade_on(body, pro=True)
