"""A real third-party client, unmodified but for its URLs, trades on Binance's simulator.

What it says is held against the simulator's history, which knows nothing of the client.
"""

import asyncio
import time
from decimal import Decimal

import pytest

from hean_router.sim import server
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

SYMBOL = "BTC/USDT"


def client(hosts, key, *, pro):
    """ccxt's own class; every URL of production points at the simulator."""
    import ccxt.async_support
    import ccxt.pro

    made = (ccxt.pro if pro else ccxt.async_support).binance(
        {"enableRateLimit": False, "apiKey": key.key, "secret": key.secret}
    )
    api = made.urls["api"]
    for name, url in api.items():
        if isinstance(url, str):
            path = url.split("/", 3)[3] if url.count("/") > 2 else ""
            api[name] = f"{hosts['rest']}/{path}"
    if pro:
        api["ws"]["spot"] = hosts["ws"] + "/stream/ws"
        api["ws"]["ws-api"]["spot"] = hosts["orders.ws"]
    return made


class Log:
    """The simulator's history of the account `main`."""

    def __init__(self):
        self.rows = []

    def data(self, what):
        return [
            row["data"] for row in self.rows if row["what"] == what and row["account"] == "main"
        ]

    def balances(self):
        """Totals, from what there was and every trade since."""
        totals = {asset: Decimal(x) for asset, x in self.data("opening")[0]["balances"].items()}
        for fill in self.data("fill"):
            sign = 1 if fill["S"] == "BUY" else -1
            totals["BTC"] += sign * Decimal(fill["l"])
            totals["USDT"] -= sign * Decimal(fill["Y"])
            totals[fill["N"]] -= Decimal(fill["n"])
        return totals

    def order(self, order_id):
        """An order's last state."""
        rows = [
            row
            for what in ("order", "fill", "end")
            for row in self.data(what)
            if row["i"] == int(order_id)
        ]
        return max(rows, key=lambda row: row["I"])


def trade_on(body, *, pro, key=0):
    async def main():
        log = Log()
        simulator, exchange = simulate(
            "binance",
            5,
            time.time_ns(),
            symbols=[SYMBOL],
            pace=Pace(updates_per_s=40, taker_permille=300),
            balances={"BTC": Decimal(100), "USDT": Decimal(10_000_000)},
            history=log.rows.append,
        )
        (one,) = await server.start([simulator], time.time_ns)
        ccxt = client(one.hosts(), simulator.accounts[0].keys[key], pro=pro)
        try:
            async with asyncio.timeout(60):
                await ccxt.load_markets()
                await body(ccxt, simulator, exchange, log)
            simulator.face.private.desk.check()
        finally:
            await ccxt.close()
            await server.stop([one])

    asyncio.run(main())


def agree(order, log):
    """One order of ccxt's and the log's last word on it."""
    said = log.order(order["id"])
    states = {"NEW": "open", "PARTIALLY_FILLED": "open", "FILLED": "closed", "CANCELED": "canceled",
              "EXPIRED": "expired"}  # fmt: skip
    assert order["status"] == states[said["X"]]
    assert order["side"] == said["S"].lower()
    assert Decimal(str(order["amount"])) == Decimal(said["q"])
    assert Decimal(str(order["filled"])) == Decimal(said["z"])
    assert Decimal(str(order["cost"])) == Decimal(said["Z"])
    if said["o"] != "MARKET":
        assert Decimal(str(order["price"])) == Decimal(said["p"])


def match(trade, log):
    """One trade of ccxt's and the log's."""
    fills = {(fill["t"], fill["i"]): fill for fill in log.data("fill")}
    fill = fills[int(trade["id"]), int(trade["order"])]
    assert Decimal(str(trade["amount"])) == Decimal(fill["l"])
    assert Decimal(str(trade["price"])) == Decimal(fill["L"])
    assert Decimal(str(trade["cost"])) == Decimal(fill["Y"])
    assert Decimal(str(trade["fee"]["cost"])) == Decimal(fill["n"])
    assert trade["fee"]["currency"] == fill["N"]
    assert (trade["takerOrMaker"] == "maker") is fill["m"]
    assert trade["timestamp"] == fill["T"]


def balance_agrees(balance, log):
    for asset, total in log.balances().items():
        assert Decimal(str(balance[asset]["total"])) == Decimal(str(float(total)))


def raw_balance_agrees(balance, log):
    """ccxt reads no coin out of its own `account.status` by WebSocket; the answer has them."""
    totals = {
        row["asset"]: Decimal(row["free"]) + Decimal(row["locked"])
        for row in balance["info"]["balances"]
    }
    assert totals == log.balances()


async def until(true, seconds=10):
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - the simulator has no event for it
            await asyncio.sleep(0.01)


def prices(exchange):
    listing = exchange.listings[SYMBOL]
    bids, asks = exchange.book(SYMBOL, 1)
    return float(listing.px(bids[0].px)), float(listing.px(asks[0].px))


@pytest.mark.parametrize("key", [0, 1], ids=["hmac", "ed25519"])
def test_ccxt_trades_by_rest(key):
    async def body(ccxt, simulator, exchange, log):
        import ccxt as errors

        balance_agrees(await ccxt.fetch_balance(), log)
        bid, ask = prices(exchange)
        far = round(bid * 0.97, 2)
        rests = await ccxt.create_order(SYMBOL, "limit", "buy", 0.01, far, {"clientOrderId": "r1"})
        assert (rests["status"], rests["clientOrderId"]) == ("open", "r1")
        market = await ccxt.create_order(SYMBOL, "market", "buy", 0.02)
        by_value = await ccxt.create_market_buy_order_with_cost(SYMBOL, 1000)
        ioc = await ccxt.create_order(
            SYMBOL, "limit", "buy", 50.0, round(ask * 1.0001, 2), {"timeInForce": "IOC"}
        )
        fok = await ccxt.create_order(SYMBOL, "limit", "buy", 90.0, far, {"timeInForce": "FOK"})
        maker = await ccxt.create_order(
            SYMBOL, "limit", "sell", 0.01, ask * 1.05, {"postOnly": True}
        )
        for order in (market, by_value, ioc, fok):
            agree(order, log)
        assert (market["status"], fok["status"]) == ("closed", "expired")
        agree(await ccxt.fetch_order(maker["id"], SYMBOL), log)
        with pytest.raises(errors.OrderImmediatelyFillable):
            await ccxt.create_order(SYMBOL, "limit", "buy", 0.01, ask * 1.02, {"postOnly": True})
        with pytest.raises(errors.InsufficientFunds):
            await ccxt.create_order(SYMBOL, "limit", "sell", 140.0, ask)
        with pytest.raises(errors.OrderNotFound):
            await ccxt.cancel_order("1", SYMBOL)
        opened = await ccxt.fetch_open_orders(SYMBOL)
        assert {order["id"] for order in opened} == {rests["id"], maker["id"]}
        canceled = await ccxt.cancel_order(rests["id"], SYMBOL)
        agree(canceled, log)
        await ccxt.cancel_all_orders(SYMBOL)
        assert await ccxt.fetch_open_orders(SYMBOL) == []
        orders = await ccxt.fetch_orders(SYMBOL)
        assert len(orders) == len(log.data("order"))
        for order in orders:
            agree(order, log)
        trades = await ccxt.fetch_my_trades(SYMBOL)
        assert len(trades) == len(log.data("fill"))
        for trade in trades:
            match(trade, log)
        balance_agrees(await ccxt.fetch_balance(), log)

    trade_on(body, pro=False, key=key)


@pytest.mark.parametrize("key", [0, 1], ids=["hmac", "ed25519"])
def test_ccxt_pro_trades_and_watches(key):
    async def body(ccxt, simulator, exchange, log):
        orders, trades, balances = {}, {}, []

        async def follow(watch, keep):
            while True:
                keep(await watch())

        def keep_orders(new):
            orders.update((order["id"], dict(order)) for order in new)

        def keep_trades(new):
            trades.update(((trade["id"], trade["order"]), trade) for trade in new)

        tasks = [
            asyncio.create_task(follow(lambda: ccxt.watch_orders(SYMBOL), keep_orders)),
            asyncio.create_task(follow(lambda: ccxt.watch_my_trades(SYMBOL), keep_trades)),
            asyncio.create_task(follow(ccxt.watch_balance, balances.append)),
        ]
        try:
            await until(lambda: any(simulator.face.topics(conn) for conn in (1, 2)))
            raw_balance_agrees(await ccxt.fetch_balance_ws(), log)
            bid, ask = prices(exchange)
            rests = await ccxt.create_order_ws(SYMBOL, "limit", "buy", 0.01, round(bid * 0.97, 2))
            await ccxt.create_order_ws(SYMBOL, "market", "buy", 0.02)
            await ccxt.create_order_ws(
                SYMBOL, "limit", "buy", 50.0, round(ask * 1.0001, 2), {"timeInForce": "IOC"}
            )
            fok = {"timeInForce": "FOK"}
            await ccxt.create_order_ws(SYMBOL, "limit", "buy", 90.0, round(bid * 0.97, 2), fok)
            maker = await ccxt.create_order_ws(
                SYMBOL, "limit", "sell", 0.5, round(bid + 0.01, 2), {"postOnly": True}
            )
            opened = await ccxt.fetch_open_orders_ws(SYMBOL)
            assert rests["id"] in {order["id"] for order in opened}
            agree(await ccxt.fetch_order_ws(rests["id"], SYMBOL), log)
            await ccxt.cancel_order_ws(rests["id"], SYMBOL)
            await until(lambda: log.order(maker["id"])["X"] in ("PARTIALLY_FILLED", "FILLED"))
            await ccxt.create_order_ws(SYMBOL, "limit", "sell", 0.01, round(ask * 1.05, 2))
            await ccxt.cancel_all_orders_ws(SYMBOL)
            last = log.data("balance")[-1]
            await until(lambda: balances and balances[-1]["info"].get("u") == last["u"])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert any(fill["m"] for fill in log.data("fill")), "the market took our resting order"
        assert set(orders) == {str(row["i"]) for row in log.data("order")}
        for order in orders.values():
            agree(order, log)
        assert len(trades) == len(log.data("fill"))
        for trade in trades.values():
            match(trade, log)
        for row in last["B"]:
            seen = balances[-1][row["a"]]
            assert (Decimal(str(seen["free"])), Decimal(str(seen["used"]))) == (
                Decimal(str(float(row["f"]))), Decimal(str(float(row["l"]))),
            )  # fmt: skip
        for trade in await ccxt.fetch_my_trades_ws(SYMBOL):
            match(trade, log)
        raw_balance_agrees(await ccxt.fetch_balance_ws(), log)

    trade_on(body, pro=True, key=key)
