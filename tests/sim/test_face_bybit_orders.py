"""Bybit's private side: signatures, operations, events, refusals and limits in its own words."""

import hashlib
import hmac
import json
from decimal import Decimal
from random import Random
from urllib.parse import urlencode

import pytest

from hean_router.sim.accounts import ApiKey
from hean_router.sim.contract import MINUTE, MS, SECOND, Options, Request, Reset, Send, Trouble
from hean_router.sim.exchange import Side
from hean_router.sim.faces.bybit.private_access import signed
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN = 1_700_000_000 * SECOND
QUIET = Pace(updates_per_s=1, taker_permille=0)
PRIVATE, TRADE = "/v5/private", "/v5/trade"
D = Decimal


def sign(key, text):
    return hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class World:
    """A Bybit simulator and its customers, without sockets."""

    def __init__(self, seed=1, options=None, pace=QUIET, symbols=("BTC/USDT", "ETH/USDT"), **more):
        self.rows = []
        self.sim, self.exchange = simulate(
            "bybit",
            seed,
            ORIGIN,
            symbols=symbols,
            options=options,
            pace=pace,
            history=self.rows.append,
            **more,
        )
        self.face = self.sim.face
        self.private = self.face.private
        self.desk = self.private.desk
        self.faults = self.private.orders.faults
        self.now_ns = ORIGIN
        self.inbox = {}
        main, second = self.sim.accounts
        self.key, self.withdraw, self.read = main.keys
        (self.other,) = second.keys
        self.ids = 0

    @property
    def ms(self):
        return self.now_ns // MS

    def px(self, side, away=0):
        """The best price of a side, `away` ticks further from the other."""
        best = self.exchange.best("BTC/USDT", Side(side)).px
        ticks = best - away if side == "buy" else best + away
        return f"{self.exchange.listings['BTC/USDT'].px(ticks).normalize():f}"

    def run(self, ns):
        self.now_ns += ns
        self.keep(self.sim.due(self.now_ns))

    def keep(self, outputs):
        for output in outputs:
            if output.conn in self.inbox and isinstance(output, Send):
                self.inbox[output.conn].append(json.loads(output.data))

    def frames(self, conn):
        frames, self.inbox[conn] = self.inbox[conn], []
        return frames

    # REST

    def raw(self, method, path, key=None, query="", body="", stamp=None, window="5000", sig=None):
        key = key or self.key
        stamp = str(self.ms if stamp is None else stamp)
        payload = query if method == "GET" else body
        headers = {
            "x-bapi-api-key": key.key,
            "x-bapi-timestamp": stamp,
            "x-bapi-recv-window": window,
            "x-bapi-sign": sig or sign(key, f"{stamp}{key.key}{window}{payload}"),
        }
        headers = {name: text for name, text in headers.items() if text}
        request = Request(method, path, query, headers, body.encode())
        return self.face.request(request, self.now_ns)

    def get(self, path, key=None, **params):
        response = self.raw("GET", path, key, urlencode(params))
        return json.loads(response.body)

    def post(self, name, key=None, **body):
        response = self.raw("POST", f"/v5/order/{name}", key, body=json.dumps(body))
        return json.loads(response.body) if response.status else None

    def order(self, **more):
        order = {
            "category": "spot", "symbol": "BTCUSDT", "side": "Buy", "orderType": "Limit",
            "qty": "0.01", "price": self.px("buy", 100), "timeInForce": "GTC",
        } | more  # fmt: skip
        return {name: value for name, value in order.items() if value is not None}

    def place(self, key=None, **more):
        return self.post("create", key, **self.order(**more))

    def found(self, **by):
        return self.get("/v5/order/realtime", category="spot", **by)["result"]["list"]

    # Sockets

    def open(self, path, query="", key=None, auth=True):
        conn = len(self.inbox) + 1
        request = Request("GET", path, query)
        assert self.face.accept(request, self.now_ns) is None
        self.inbox[conn] = []
        self.keep(self.face.opened(conn, request, self.now_ns))
        if auth:
            (answer,) = self.login(conn, key)
            assert answer.get("success") or answer["retCode"] == 0
        return conn

    def login(self, conn, key=None, expires=None, sig=None):
        key, expires = key or self.key, expires or self.ms + 5_000
        sig = sig or sign(key, f"GET/realtime{expires}")
        return self.say(conn, {"op": "auth", "args": [key.key, expires, sig]})

    def say(self, conn, message):
        text = message if isinstance(message, str) else json.dumps(message)
        self.keep(self.face.received(conn, text, self.now_ns))
        return self.frames(conn)

    def listener(self, *topics, key=None):
        conn = self.open(PRIVATE, key=key)
        topics = topics or ("order", "execution", "wallet")
        (answer,) = self.say(conn, {"op": "subscribe", "args": topics})
        assert answer == {
            "success": True, "ret_msg": "", "op": "subscribe", "conn_id": answer["conn_id"],
        }  # fmt: skip
        return conn

    def ask(self, conn, op, *args, stamp=None, window="5000", **more):
        self.ids += 1
        header = {"X-BAPI-TIMESTAMP": str(stamp or self.ms), "X-BAPI-RECV-WINDOW": window}
        message = {"reqId": f"r{self.ids}", "header": header, "op": op, "args": list(args), **more}
        return self.say(conn, message)


def rows(frames, topic):
    """What a topic told, in order."""
    return [row for frame in frames if frame["topic"] == topic for row in frame["data"]]


def states(frames):
    return [(row["orderStatus"], row["rejectReason"]) for row in rows(frames, "order")]


# Keys and times


def test_known_signatures():
    key = ApiKey("simkey01", "simsecret0123456789", "hmac", frozenset())
    body = (
        '{"category":"spot","symbol":"BTCUSDT","side":"Buy","orderType":"Limit","qty":"0.001",'
        '"price":"60000","timeInForce":"PostOnly","orderLinkId":"sim-1"}'
    )
    for text, want in [
        (
            "1700000000000simkey015000category=spot&symbol=BTCUSDT&openOnly=0",
            "34146312b253ca7d08f466d1d61a5d32aad56cff3429d7eb6a39a7a82ba8fccd",
        ),
        (
            f"1700000000000simkey015000{body}",
            "0099df112934334ef3f3e130d7ed7a9cda9219185ee81c9fe7fc8e57373bb5f9",
        ),
        (
            "GET/realtime1700000010000",
            "a97bf0d2c45f8da5526ce736b7049187ee64f98d568ca296eae339ca9870cf06",
        ),
    ]:
        assert signed(key, text) == want


ACCESS = [
    ({}, 0, "all well"),
    ({"late": 5_000}, 0, "just inside the window"),
    ({"late": 5_001}, 10002, "a ms older than the window"),
    ({"late": -999}, 0, "less than a second ahead"),
    ({"late": -1_000}, 10002, "a second ahead"),
    ({"late": 11, "window": "10"}, 10002, "a window of its own"),
    ({"window": "x"}, 10001, "no number"),
    ({"sig": "0" * 64}, 10004, "another's signature"),
    ({"nobody": True}, 10003, "no such key"),
]


@pytest.mark.parametrize(("case", "code", "because"), ACCESS, ids=[row[2] for row in ACCESS])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_access_by_rest(method, case, code, because):
    world = World()
    key = ApiKey("x" * 18, "y", "hmac", frozenset()) if case.get("nobody") else world.key
    path = "/v5/order/realtime" if method == "GET" else "/v5/order/create"
    body = json.dumps(world.order()) if method == "POST" else ""
    query = "category=spot" if method == "GET" else ""
    response = world.raw(
        method, path, key, query, body, stamp=world.ms - case.get("late", 0),
        window=case.get("window", "5000"), sig=case.get("sig"),
    )  # fmt: skip
    assert response.status == 200
    assert json.loads(response.body)["retCode"] == code, because
    assert bool(world.desk.accounts["main"].orders) is (code == 0 and method == "POST")


def test_requests_that_are_none():
    world = World()
    assert world.face.request(Request("GET", "/v5/order/realtime"), ORIGIN).status == 401
    for method, path, more, status in [
        ("GET", "/v5/order/realtime", {"body": "{}"}, 403),
        ("DELETE", "/v5/order/realtime", {}, 400),
        ("GET", "/v5/order/nothing", {}, 404),
        ("POST", "/v5/order/nothing", {"body": "{}"}, 404),
    ]:
        assert world.raw(method, path, **more).status == status, (method, path)
    response = world.raw("POST", "/v5/order/create", body="[1]")
    assert json.loads(response.body)["retCode"] == 10001


def test_permissions_are_told_and_kept():
    world = World()
    for key, wallet, read_only in [
        (world.key, False, 0), (world.withdraw, True, 0), (world.read, False, 1),
    ]:  # fmt: skip
        told = world.get("/v5/user/query-api", key)["result"]
        assert ("Withdraw" in told["permissions"]["Wallet"]) is wallet
        assert (told["readOnly"], told["uta"]) == (read_only, 1)
        assert world.place(key)["retCode"] == (10005 if read_only else 0)


def test_sockets_log_in_once_and_in_time():
    for path in (PRIVATE, TRADE):
        world = World()
        conn = world.open(path, auth=False)
        for kwargs in (
            {"expires": world.ms}, {"sig": "0" * 64}, {"key": ApiKey("z", "z", "hmac", frozenset())}
        ):  # fmt: skip
            (answer,) = world.login(conn, **kwargs)
            assert answer["op"] == "auth"
            assert answer.get("success") is False or answer.get("retCode") in (10001, 10003, 10004)
        (answer,) = world.login(conn, expires=str(world.ms + 1))  # text is as good as a number
        assert answer.get("success") or answer["retMsg"] == "OK"
        (answer,) = world.login(conn)
        assert answer.get("success") is False or answer["retCode"] == 20001


def test_nothing_without_login():
    world = World()
    conn = world.open(PRIVATE, auth=False)
    (answer,) = world.say(conn, {"op": "subscribe", "args": ["order"]})
    assert answer["success"] is False
    conn = world.open(TRADE, auth=False)
    (answer,) = world.ask(conn, "order.create", world.order())
    assert answer["retCode"] == 10003
    assert world.desk.accounts["main"].orders == []


def test_each_socket_has_its_pong():
    world = World()
    private, trade = (world.open(path, auth=False) for path in (PRIVATE, TRADE))
    assert world.say(private, {"op": "ping", "req_id": "7"}) == [
        {"req_id": "7", "op": "pong", "args": [str(world.ms)], "conn_id": world.face._clients[1].id}
    ]
    (pong,) = world.say(trade, {"op": "ping"})
    assert (pong["retCode"], pong["op"], pong["data"]) == (0, "pong", [str(world.ms)])
    assert "connId" in pong


# Placing


def test_a_limit_order_rests_is_told_and_found():
    world = World()
    listener, trade = world.listener(), world.open(TRADE)
    px = world.px("buy", 100)
    (answer,) = world.ask(trade, "order.create", world.order(price=px, orderLinkId="a-17"))
    order_id = answer["data"]["orderId"]
    assert answer == {
        "reqId": "r1", "retCode": 0, "retMsg": "OK", "op": "order.create",
        "data": {"orderId": order_id, "orderLinkId": "a-17"}, "retExtInfo": {},
        "header": answer["header"], "connId": answer["connId"],
    }  # fmt: skip
    assert answer["header"]["X-Bapi-Limit"] == "20"
    assert answer["header"]["X-Bapi-Limit-Status"] == "19"
    frames = world.frames(listener)
    assert states(frames) == [("New", "EC_NoError")]
    (wallet,) = rows(frames, "wallet")
    (coin,) = wallet["coin"]
    assert (coin["coin"], D(coin["locked"])) == ("USDT", D(px) * D("0.01"))
    for by in ({"orderId": order_id}, {"orderLinkId": "a-17"}, {"symbol": "BTCUSDT"}):
        (found,) = world.found(**by)
        assert found == rows(frames, "order")[0]
        assert (found["price"], found["qty"], found["leavesQty"]) == (px, "0.01", "0.01")
        assert (found["avgPrice"], found["cumFeeDetail"]) == ("", {})
    (told,) = [row["data"] for row in world.rows if row["what"] == "order"]
    assert told == rows(frames, "order")[0]


def test_a_market_order_is_told_once_and_each_fill():
    world = World()
    listener = world.listener("order", "execution", "execution.fast", "wallet")
    assert world.place(orderType="Market", qty="1000", price=None)["retCode"] == 0
    world.run(10 * MS)
    frames = world.frames(listener)
    (order,) = rows(frames, "order")
    fills = rows(frames, "execution")
    assert (order["orderType"], order["timeInForce"], order["qty"]) == ("Market", "IOC", "1000")
    assert D("999") < D(order["cumExecValue"]) <= 1000, "qty counts quote"
    assert order["orderStatus"] == "PartiallyFilledCanceled", "some change is left"
    assert sum(D(fill["execQty"]) for fill in fills) == D(order["cumExecQty"])
    fee = sum(D(fill["execFee"]) for fill in fills)
    assert order["cumFeeDetail"] == {"BTC": f"{fee:f}"}
    for fill in fills:
        assert (fill["feeCurrency"], fill["feeRate"], fill["isMaker"]) == ("BTC", "0.001", False)
        assert D(fill["execFee"]) >= D(fill["execQty"]) / 1000
    fast = rows(frames, "execution.fast")
    assert [each["execId"] for each in fast] == [each["execId"] for each in fills]
    assert all("execFee" not in each for each in fast)
    assert [row["data"] for row in world.rows if row["what"] == "fill"] == fills
    world.desk.check()


UNITS = [
    ("Buy", None, "1000", "quote", "a buy counts quote"),
    ("Buy", "quoteCoin", "1000", "quote", "said so"),
    ("Buy", "baseCoin", "0.01", "base", "unless told otherwise"),
    ("Sell", None, "0.01", "base", "a sell counts base"),
    ("Sell", "baseCoin", "0.01", "base", "said so"),
    ("Sell", "quoteCoin", "1000", "quote", "unless told otherwise"),
]


@pytest.mark.parametrize(("side", "unit", "qty", "counts", "because"), UNITS)
def test_units_of_market_orders(side, unit, qty, counts, because):
    world = World()
    placed = world.place(side=side, orderType="Market", qty=qty, price=None, marketUnit=unit)
    (order,) = world.found(orderId=placed["result"]["orderId"])
    got = D(order["cumExecQty" if counts == "base" else "cumExecValue"])
    assert D(qty) - got < 1, because
    assert got <= D(qty)
    assert order["marketUnit"] == (unit or "")
    world.desk.check()


ENDS = [
    ({"timeInForce": "IOC"}, "EC_NoImmediateQtyToFill", "an IOC finds nothing"),
    ({"timeInForce": "FOK"}, "EC_CancelForNoFullFill", "a FOK finds nothing"),
    ({"timeInForce": "PostOnly", "price": "CROSS"}, "EC_PostOnlyWillTakeLiquidity", "it crosses"),
]


@pytest.mark.parametrize(("change", "reason", "because"), ENDS, ids=[row[2] for row in ENDS])
def test_accepted_first_then_cancelled(change, reason, because):
    world = World()
    listener, trade = world.listener(), world.open(TRADE)
    change = {**change, "price": world.px("sell")} if "price" in change else change
    (answer,) = world.ask(trade, "order.create", world.order(**change))
    assert answer["retCode"] == 0, "taken for processing"
    frames = world.frames(listener)
    assert states(frames) == [("Cancelled", reason)]
    (order,) = rows(frames, "order")
    assert (order["leavesQty"], order["cumExecQty"], order["cancelType"]) == ("0", "0", "UNKNOWN")
    assert world.found(orderId=answer["data"]["orderId"]) == [order]
    assert world.found(symbol="BTCUSDT") == []


def test_an_ioc_with_a_part_filled():
    world = World()
    listener = world.listener()
    world.place(side="Sell", qty="9", price=world.px("buy"), timeInForce="IOC")
    world.run(10 * MS)
    frames = world.frames(listener)
    assert states(frames) == [("PartiallyFilledCanceled", "EC_NoImmediateQtyToFill")]
    assert rows(frames, "execution")[0]["feeCurrency"] == "USDT"


BAD = [
    ({"category": None}, 10001, "no category"),
    ({"category": "linear"}, 10005, "the keys are for spot"),
    ({"symbol": None}, 170105, "no symbol"),
    ({"symbol": "NOPE"}, 170121, "no such symbol"),
    ({"side": "buy"}, 170117, "sides are capitalised"),
    ({"orderType": "Stop"}, 170116, "no such type"),
    ({"timeInForce": "GTX"}, 170115, "another venue's"),
    ({"qty": None}, 170105, "no quantity"),
    ({"qty": 0.01}, 10001, "numbers are texts"),
    ({"qty": "1e-2"}, 170130, "no exponents"),
    ({"qty": "-1"}, 170130, "no signs"),
    ({"qty": "0"}, 170130, "nothing"),
    ({"qty": "0.0000001"}, 170137, "off the step"),
    ({"price": None}, 170105, "a limit order needs a price"),
    ({"price": "60000.001"}, 170134, "off the tick"),
    ({"price": "HIGH"}, 170193, "above the limit for buys"),
    ({"price": "LOW", "side": "Sell"}, 170194, "below the limit for sells"),
    ({"qty": "0.000001"}, 170140, "worth less than 5"),
    ({"qty": "100000"}, 170124, "more than the largest order"),
    ({"qty": "17"}, 170131, "insufficient balance"),
    ({"orderLinkId": "a b"}, 10001, "a client id with a space"),
    ({"orderLinkId": "x" * 37}, 10001, "a long client id"),
    ({"orderLinkId": "used"}, 170141, "a client id of another order"),
    ({"smpType": "Cancel"}, 10001, "no such prevention"),
    ({"isLeverage": 1}, 10001, "no margin here"),
    ({"orderFilter": "StopOrder"}, 10001, "no stops here"),
    ({"triggerPrice": "1"}, 10001, "nor triggers"),
    ({"orderType": "Market", "qty": "4"}, 170140, "a value below the least"),
    ({"orderType": "Market", "qty": "10.00000000001"}, 170148, "an amount too fine"),
    ({"orderType": "Market", "qty": "6000000"}, 170124, "an amount too large"),
    ({"orderType": "Market", "qty": "9", "marketUnit": "x"}, 10001, "no such unit"),
    ({"orderType": "Market", "qty": "1500000"}, 170131, "beyond the funds"),
]


@pytest.mark.parametrize(("change", "code", "because"), BAD, ids=[row[2] for row in BAD])
def test_what_is_refused_does_nothing(change, code, because):
    world = World()
    listener, trade = world.listener(), world.open(TRADE)
    world.place(orderLinkId="used")
    world.run(10 * MS)
    world.frames(listener)
    placed = list(world.desk.accounts["main"].orders)
    bounds = {"HIGH": world.px("buy", -6_000), "LOW": world.px("sell", -6_000)}
    change = {name: bounds.get(str(value), value) for name, value in change.items()}
    answer = world.place(**change)
    assert (answer["retCode"], answer["result"]) == (code, {}), because
    (answer,) = world.ask(trade, "order.create", world.order(**change))
    want = 10404 if because == "no category" else code
    assert (answer["retCode"], answer["data"]) == (want, {}), because
    world.run(10 * MS)
    assert world.frames(listener) == []
    assert world.desk.accounts["main"].orders == placed
    world.desk.check()


def test_a_client_id_is_used_up_for_ever():
    world = World()
    assert world.place(orderLinkId="a")["retCode"] == 0
    assert world.post("cancel", category="spot", symbol="BTCUSDT", orderLinkId="a")["retCode"] == 0
    assert world.place(orderLinkId="a")["retCode"] == 170141, "cancelled, and still taken"
    assert world.place(world.other, orderLinkId="a")["retCode"] == 0, "but another's own"


def test_no_more_than_500_open_orders():
    world = World(options=Options(limits=None))
    px = world.px("buy", 100)
    for _ in range(500):
        assert world.place(price=px, qty="0.001")["retCode"] == 0
    assert world.place(price=px, qty="0.001")["retCode"] == 170810
    assert world.place(price=px, qty="0.001", timeInForce="IOC")["retCode"] == 0


def test_an_account_meets_itself_unless_told_otherwise():
    for smp, ended in [(None, None), ("CancelMaker", 0), ("CancelTaker", 1)]:
        world = World()
        listener = world.listener()
        px = world.px("sell", -1)
        first = world.place(side="Sell", price=px)["result"]["orderId"]
        second = world.place(price=px, timeInForce="IOC", smpType=smp)["result"]["orderId"]
        world.run(10 * MS)
        by_smp = [
            row for row in rows(world.frames(listener), "order")
            if row["rejectReason"] == "EC_BySelfMatch"
        ]  # fmt: skip
        if ended is None:
            fills = world.desk.accounts["main"].fills
            ids = [world.private.orders.words.exec_id(fill) for _, fill in fills]
            assert len(set(ids)) == len(ids) == 2, "two fills of one trade are told apart"
        else:
            (row,) = by_smp
            assert (row["orderId"], row["cancelType"]) == ((first, second)[ended], "CancelBySmp")
            assert row["smpOrderId"] == (second if ended == 0 else "")
        world.desk.check()


# Cancelling, amending, batches


def test_a_cancel_is_told():
    world = World()
    listener = world.listener()
    order_id = world.place(orderLinkId="a")["result"]["orderId"]
    answer = world.post("cancel", category="spot", symbol="BTCUSDT", orderLinkId="a")
    assert answer["result"] == {"orderId": order_id, "orderLinkId": "a"}
    world.run(10 * MS)
    frames = world.frames(listener)
    assert states(frames) == [("New", "EC_NoError"), ("Cancelled", "EC_PerCancelRequest")]
    assert rows(frames, "order")[-1]["cancelType"] == "CancelByUser"
    assert rows(frames, "wallet")[-1]["coin"][0]["locked"] == "0"


def test_cancels_that_find_nothing():
    world = World()
    order_id = world.place(orderLinkId="a")["result"]["orderId"]
    for change, key, code, because in [
        ({}, None, 10001, "neither id"),
        ({"orderId": "1"}, None, 170213, "no such id"),
        ({"orderId": "1", "orderLinkId": "a"}, None, 170213, "the venue's id wins"),
        ({"orderLinkId": "b"}, None, 170213, "no such client id"),
        ({"orderId": order_id, "symbol": "ETHUSDT"}, None, 170213, "another symbol's"),
        ({"orderId": order_id}, world.other, 170213, "another account's"),
        ({"orderId": order_id}, None, 0, "there it is"),
        ({"orderId": order_id}, None, 170213, "gone"),
    ]:
        body = {"category": "spot", "symbol": "BTCUSDT"} | change
        assert world.post("cancel", key, **body)["retCode"] == code, because


def test_a_cancel_that_loses_the_race_tells_the_fill_again():
    world = World()
    listener = world.listener("order")
    placed = world.place(price=world.px("sell"), qty="0.0001")["result"]
    world.run(10 * MS)
    answer = world.post("cancel", category="spot", symbol="BTCUSDT", **placed)
    assert answer["retCode"] == 0
    world.run(10 * MS)
    told = states(world.frames(listener))
    assert told == [
        ("New", "EC_NoError"),
        ("Filled", "EC_NoError"),
        ("Filled", "EC_OrigClOrdIDDoesNotExist"),
    ]
    world.run(SECOND)
    answer = world.post("cancel", category="spot", symbol="BTCUSDT", **placed)
    assert answer["retCode"] == 170213, "no race any more"


def test_cancel_all_of_one_account():
    world = World()
    for symbol, px in (("BTCUSDT", None), ("BTCUSDT", None), ("ETHUSDT", "AT")):
        best = world.exchange.best("ETH/USDT", Side.BUY).px
        at = world.exchange.listings["ETH/USDT"].px(best)
        assert world.place(symbol=symbol, **({"price": f"{at:f}"} if px else {}))["retCode"] == 0
    world.place(world.other)
    answer = world.post("cancel-all", category="spot", symbol="BTCUSDT")
    assert (len(answer["result"]["list"]), answer["result"]["success"]) == (2, "1")
    assert len(world.post("cancel-all", category="spot")["result"]["list"]) == 1
    assert world.found() == []
    assert len(world.desk.accounts["second"].open) == 1


def test_an_amendment_makes_an_order_smaller():
    world = World()
    listener = world.listener("order")
    placed = world.place(qty="0.05")["result"]
    by = {"category": "spot", "symbol": "BTCUSDT", "orderId": placed["orderId"]}
    assert world.post("amend", **by, qty="0.02")["retCode"] == 0
    world.run(10 * MS)
    assert [row["qty"] for row in rows(world.frames(listener), "order")] == ["0.05", "0.02"]
    for change, code, because in [
        ({}, 10001, "nothing to amend"),
        ({"qty": "0.03"}, 170312, "larger: its place is not documented"),
        ({"price": world.px("buy", 5)}, 170312, "another price: nor then"),
        ({"qty": "0.0000001"}, 170137, "off the step"),
    ]:
        assert world.post("amend", **by, **change)["retCode"] == code, because
    world.desk.check()


def test_a_batch_fails_one_by_one():
    world = World()
    items = [world.order(orderLinkId="a"), world.order(qty="x"), world.order(orderLinkId="a")]
    answer = world.post("create-batch", category="spot", request=items)
    assert answer["retCode"] == 0
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 170130, 170141]
    placed = answer["result"]["list"]
    assert [bool(each["orderId"]) for each in placed] == [True, False, False]
    trade = world.open(TRADE)
    both = [{"symbol": "BTCUSDT", "orderLinkId": name} for name in ("a", "b")]
    (answer,) = world.ask(trade, "order.cancel-batch", {"category": "spot", "request": both})
    assert [each["code"] for each in answer["retExtInfo"]["list"]] == [0, 170213]
    answer = world.post("create-batch", category="spot", request=items * 4)
    assert answer["retCode"] == 10001, "ten at most"


# The trade socket


def test_requests_the_trade_socket_refuses():
    world = World()
    trade = world.open(TRADE)
    order = world.order()
    for op, args, more, code, because in [
        ("order.cancel-all", [order], {}, 10404, "only by REST"),
        ("order.query", [order], {}, 10404, "no such operation"),
        ("create", [order], {}, 10404, "not its name"),
        ("order.create", [order, order], {}, 10001, "one at a time"),
        ("order.create", [], {}, 10001, "none"),
        ("order.create", [order], {"stamp": world.ms - 5_001}, 10002, "too late"),
        ("order.create", [order], {"window": "10", "stamp": world.ms - 11}, 10002, "its deadline"),
        ("order.create", [order], {"header": {}}, 10001, "no timestamp"),
        ("order.create", [order], {"reqId": "x" * 37}, 10001, "a long id"),
        ("order.create", [order], {"reqId": "same"}, 0, "taken"),
        ("order.create", [order], {"reqId": "same"}, 20006, "an id twice"),
    ]:
        (answer,) = world.ask(trade, op, *args, **more)
        assert answer["retCode"] == code, because
    (answer,) = world.ask(world.open(TRADE, key=world.read), "order.create", order)
    assert answer["retCode"] == 10005
    assert len(world.desk.accounts["main"].orders) == 1


def test_rates_are_shared_by_both_wires_and_told():
    world = World()
    trade = world.open(TRADE)
    order = world.order(qty="0.001")
    for _ in range(10):
        assert world.place(qty="0.001")["retCode"] == 0
        assert world.ask(trade, "order.create", order)[0]["retCode"] == 0
    assert world.place(qty="0.001")["retCode"] == 10006
    (answer,) = world.ask(trade, "order.create", order)
    assert answer["retCode"] == 10006
    assert answer["header"]["X-Bapi-Limit-Status"] == "0"
    assert answer["header"]["X-Bapi-Limit-Reset-Timestamp"] == str(world.ms + 1_000)
    batch = world.post("create-batch", category="spot", request=[order] * 10)
    assert {each["code"] for each in batch["retExtInfo"]["list"]} == {0}, "a budget of its own"
    world.post("create-batch", category="spot", request=[order] * 5)
    batch = world.post("create-batch", category="spot", request=[order] * 10)
    codes = [each["code"] for each in batch["retExtInfo"]["list"]]
    assert codes == [0] * 5 + [10006] * 5, "what is over fails by itself"
    world.run(SECOND)
    assert world.place(qty="0.001")["retCode"] == 0


# The private socket


def test_topics():
    world = World()
    conn = world.open(PRIVATE)
    for args, good, because in [
        (["order", "execution.spot"], False, "all-in-one and categorised do not mix"),
        (["order", "nothing"], False, "no such topic"),
        (["order.spot", "execution.fast.spot"], True, "by category"),
        (["order.spot"], False, "already"),
        (["wallet"], True, "has no categories"),
        ([], False, "none"),
    ]:
        (answer,) = world.say(conn, {"op": "subscribe", "args": args, "req_id": "1"})
        assert (answer["success"], answer["req_id"]) == (good, "1"), because
    other = world.listener(key=world.other)
    world.place()
    world.run(10 * MS)
    assert [frame["topic"] for frame in world.frames(conn)].count("order.spot") == 1
    assert world.frames(other) == [], "another's orders are nobody's business"
    world.say(conn, {"op": "unsubscribe", "args": ["order.spot", "wallet"]})
    world.place()
    world.run(10 * MS)
    assert world.frames(conn) == []


def test_a_maker_is_told_of_its_fill():
    world = World()
    listener = world.listener("order", "execution", "execution.fast", "wallet")
    px = world.px("sell", -1)
    world.place(side="Sell", price=px, orderLinkId="m")
    world.place(world.other, price=px, timeInForce="IOC")
    world.run(10 * MS)
    frames = world.frames(listener)
    assert [state for state, _ in states(frames)] == ["New", "Filled"]
    (fill,), (fast,) = rows(frames, "execution"), rows(frames, "execution.fast")
    assert (fill["isMaker"], fill["orderLinkId"], fill["feeCurrency"]) == (True, "m", "USDT")
    assert fast["orderLinkId"] == "", "a maker is matched by the venue's id"
    world.desk.check()


def test_a_silent_private_socket_is_dropped():
    for query, life_ns in (("", 10 * MINUTE), ("max_active_time=30s", 30 * SECOND)):
        world = World()
        conn = world.open(PRIVATE, query)
        outputs = [out for out in world.sim.due(ORIGIN + life_ns - 1) if out.conn == conn]
        assert outputs == []
        outputs = [out for out in world.sim.due(ORIGIN + life_ns) if out.conn == conn]
        assert outputs == [Reset(conn)]


def test_maintenance_and_restart():
    world = World()
    world.place(timeInForce="IOC", orderLinkId="a")
    kept = world.place(orderLinkId="b")["result"]["orderId"]
    assert [row["orderLinkId"] for row in world.found(openOnly=1)] == ["a"]
    trade = world.open(TRADE)
    world.run(SECOND)
    world.face.trouble(Trouble.MAINTENANCE, world.now_ns)
    assert world.face.received(trade, "{}", world.now_ns) == (), "it is closed"
    assert world.place()["retCode"] == 10016
    world.face.trouble(Trouble.RESUME, world.now_ns)
    assert world.found(openOnly=1) == [], "what ended before is only in the history"
    assert world.found(orderLinkId="a") == []
    told = world.get("/v5/order/history", category="spot", orderLinkId="a")["result"]["list"]
    assert [row["orderStatus"] for row in told] == ["Cancelled"]
    assert [row["orderId"] for row in world.found()] == [kept]


# Queries


def test_lists_are_paged_youngest_first():
    world = World(options=Options(limits=None))
    ids = [world.place(qty="0.001")["result"]["orderId"] for _ in range(7)]
    seen, cursor = [], ""
    for _ in range(4):
        page = world.get("/v5/order/realtime", category="spot", limit=2, cursor=cursor)["result"]
        seen += [row["orderId"] for row in page["list"]]
        cursor = page["nextPageCursor"]
    assert (seen, cursor) == (ids[::-1], "")
    for params in ({"limit": 51}, {"cursor": "x"}, {"openOnly": 5}):
        assert world.get("/v5/order/realtime", category="spot", **params)["retCode"] == 10001
    assert world.get("/v5/order/realtime", category="nope")["retCode"] == 10001
    assert world.get("/v5/order/realtime", category="linear")["result"]["list"] == []


def test_fills_balances_and_fees():
    world = World()
    listener = world.listener()
    placed = world.place(orderType="Market", side="Sell", qty="0.01", price=None)["result"]
    world.run(10 * MS)
    pushed = rows(world.frames(listener), "execution")
    listed = world.get("/v5/execution/list", category="spot", orderId=placed["orderId"])["result"]
    assert [{**row, "seq": int(row["seq"])} for row in listed["list"]] == pushed[::-1]
    now = world.get("/v5/execution/list", category="spot", startTime=world.ms)["result"]["list"]
    assert now == []
    (wallet,) = world.get("/v5/account/wallet-balance", accountType="UNIFIED")["result"]["list"]
    for coin in wallet["coin"]:
        balance = world.desk.accounts["main"].balance(coin["coin"])
        assert (D(coin["walletBalance"]), D(coin["locked"])) == (balance.total, balance.locked)
    one = world.get("/v5/account/wallet-balance", accountType="UNIFIED", coin="BTC")
    assert [coin["coin"] for coin in one["result"]["list"][0]["coin"]] == ["BTC"]
    assert world.get("/v5/account/wallet-balance", accountType="SPOT")["retCode"] == 10001
    fees = world.get("/v5/account/fee-rate", category="spot", symbol="BTCUSDT")["result"]["list"]
    assert fees == [{"symbol": "BTCUSDT", "takerFeeRate": "0.001", "makerFeeRate": "0.001"}]
    assert world.get("/v5/account/query-dcp-info")["result"] == {"dcpInfos": []}


# Faults


@pytest.mark.parametrize("wire", ["rest", "socket"])
@pytest.mark.parametrize(
    ("word", "done"), [("acklost", True), ("unknown", True), ("undone", False)]
)
def test_answers_that_leave_it_open(word, done, wire):
    perhaps = {170146, 170149, 10000, 10016, 170007}
    for _ in range(3):
        world = World()
        listener, trade = world.listener("order"), world.open(TRADE)
        world.faults.demand(word)
        if wire == "rest":
            answer = world.place(orderLinkId="a")
            world.run(10 * MS)
        else:
            answers = world.ask(trade, "order.create", world.order(orderLinkId="a"))
            answer = answers[0] if answers else None
        assert (answer is None) is (word == "acklost")
        assert answer is None or answer["retCode"] in perhaps
        assert bool(states(world.frames(listener))) is done
        assert bool(world.found(orderLinkId="a")) is done
        assert world.place(orderLinkId="a")["retCode"] == (170141 if done else 0)


def test_events_before_the_answer_twice_and_late():
    world = World()
    trade, listener = world.open(TRADE), world.listener("order", "wallet")
    world.faults.demand("early")
    world.faults.demand("twice")
    outputs = world.face.received(
        trade,
        json.dumps({
            "op": "order.create", "args": [world.order(orderLinkId="a")],
            "header": {"X-BAPI-TIMESTAMP": world.ms},
        }),
        world.now_ns,
    )  # fmt: skip
    conns = [out.conn for out in outputs if out.conn in (trade, listener)]
    assert conns.index(listener) < conns.index(trade), "an event comes first"
    assert conns.count(listener) == 3, "one of two is told twice"
    world.faults.demand("lag")
    assert world.found(orderLinkId="a") == []
    assert len(world.found(orderLinkId="a")) == 1


def test_what_rest_pushes_comes_after_its_answer():
    world = World()
    listener = world.listener("order")
    world.place()
    assert world.frames(listener) == []
    assert world.private.wake_at_ns == world.now_ns + MS
    world.run(MS)
    assert len(world.frames(listener)) == 1


# All together


@pytest.mark.parametrize("seed", range(2))
def test_topics_keep_their_order_and_nothing_is_lost(seed):
    """Random orders of two accounts: events, queries and history agree, and twice the same."""

    def story():
        world = World(seed, Options(limits=None), Pace(updates_per_s=200, taker_permille=500))
        rng = Random(seed)
        conns = {name: world.listener(key=key) for name, key in
                 (("main", world.key), ("second", world.other))}  # fmt: skip
        for _ in range(60):
            key = rng.choice((world.key, world.other))
            side = rng.choice(("buy", "sell"))
            order = {
                "side": side.capitalize(),
                "price": world.px(side, rng.randint(-30, 30)),
                "timeInForce": rng.choice(("GTC", "GTC", "IOC", "FOK", "PostOnly")),
                "qty": f"0.{rng.randint(1, 999):03}",
            }
            if rng.random() < 0.2:
                order |= {"orderType": "Market", "marketUnit": "baseCoin", "price": None}
            world.place(key, **order)
            if rng.random() < 0.2:
                world.post("cancel-all", key, category="spot")
            world.run(rng.randint(0, 200) * MS)
        world.run(SECOND)
        world.desk.check()
        return world, {name: world.frames(conn) for name, conn in conns.items()}

    world, told = story()
    assert (story()[1], world.rows) == (told, world.rows)
    for name, frames in told.items():
        account = world.desk.accounts[name]
        last, fills, coins = {}, {}, {}
        for row in rows(frames, "order"):
            before = last.get(row["orderId"])
            if before is not None:
                assert D(before["cumExecQty"]) <= D(row["cumExecQty"]), "never backwards"
                assert before["orderStatus"] in ("New", "PartiallyFilled"), "ends are final"
            last[row["orderId"]] = row
        for row in rows(frames, "execution"):
            assert row["execId"] not in fills
            fills[row["execId"]] = row
        for row in rows(frames, "wallet"):
            coins |= {coin["coin"]: coin for coin in row["coin"]}
        assert last == {order.venue_id: world.private.orders.words.now(order)
                        for order in account.orders}  # fmt: skip
        history = {row["data"]["execId"]: row["data"] for row in world.rows
                   if row["what"] == "fill" and row["account"] == name}  # fmt: skip
        assert fills == history != {}
        for coin, row in coins.items():
            balance = account.balance(coin)
            assert (D(row["walletBalance"]), D(row["locked"])) == (balance.total, balance.locked)
