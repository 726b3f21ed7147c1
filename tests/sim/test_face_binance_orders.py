"""Binance's private side: signatures, methods, events, refusals and limits in its own words."""

import hashlib
import hmac
import json
from base64 import b64encode
from decimal import Decimal
from urllib.parse import quote, urlencode

import pytest

from hean_router.sim.accounts import Permission
from hean_router.sim.contract import MS, SECOND, Options, Request, Send, Trouble
from hean_router.sim.exchange import Side
from hean_router.sim.faces.binance.private_access import parse_frame, socket_call, verified
from hean_router.sim.fault_spec import parse
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN = 1_700_000_000 * SECOND
DOC_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
QUIET = Pace(updates_per_s=1, taker_permille=0)


def signature(key, payload):
    if key.scheme == "hmac":
        return hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return b64encode(
        load_pem_private_key(key.secret.encode(), None).sign(payload.encode())
    ).decode()


class World:
    """A Binance simulator and its customers, without sockets."""

    def __init__(self, seed=1, options=None, pace=QUIET, symbols=("BTC/USDT", "ETH/USDT"), **more):
        self.rows = []
        self.sim, self.exchange = simulate(
            "binance",
            seed,
            ORIGIN,
            symbols=symbols,
            options=options,
            pace=pace,
            history=self.rows.append,
            **more,
        )
        self.face = self.sim.face
        inner = getattr(self.face, "inner", self.face)
        self.private = inner.private
        self.desk = self.private.desk
        self.faults = self.private.orders.faults
        self.now_ns = ORIGIN
        self.inbox = {}
        main, second = self.sim.accounts
        self.hmac, self.ed25519, self.withdraw, self.read = main.keys
        (self.other,) = second.keys
        self.ids = 0

    @property
    def ms(self):
        return self.now_ns // MS

    def px(self, side, away=0):
        """The best price of a side, `away` ticks further from the other."""
        best = self.exchange.best("BTC/USDT", Side(side)).px
        ticks = best - away if side == "buy" else best + away
        return f"{self.exchange.listings['BTC/USDT'].px(ticks):f}"

    def run(self, ns):
        self.now_ns += ns
        self.keep(self.sim.due(self.now_ns))

    def keep(self, outputs):
        for output in outputs:
            if output.conn in self.inbox and isinstance(output, Send):
                self.inbox[output.conn].append(json.loads(output.data))

    # REST

    def rest(self, method, path, key=None, at="query", now_ms=None, sign=True, **params):
        params = {name: text for name, text in params.items() if text is not None}
        key = key or self.hmac
        if sign:
            params["timestamp"] = now_ms if now_ms is not None else self.ms
        text = urlencode(params)
        if sign:
            text += "&signature=" + quote(signature(key, text), safe="")
        query, body = (text, b"") if at == "query" else ("", text.encode())
        request = Request(method, path, query, {"x-mbx-apikey": key.key}, body)
        response = self.face.request(request, self.now_ns)
        return response.status, json.loads(response.body or "null"), response

    def place(self, side="BUY", px=None, qty="0.01", key=None, **more):
        params = {"symbol": "BTCUSDT", "side": side, "type": "LIMIT", "timeInForce": "GTC"}
        params |= {"price": px or self.px(side.lower(), 100), "quantity": qty} | more
        return self.rest("POST", "/api/v3/order", key, **params)[:2]

    # WS API

    def open(self, query=""):
        conn = len(self.inbox) + 1
        request = Request("GET", "/ws-api/v3", query)
        assert self.face.accept(request, self.now_ns) is None
        self.inbox[conn] = []
        self.keep(self.face.opened(conn, request, self.now_ns))
        return conn

    def frames(self, conn):
        frames, self.inbox[conn] = self.inbox[conn], []
        return frames

    def say(self, conn, text):
        self.keep(self.face.received(conn, text, self.now_ns))
        return self.frames(conn)

    def ask(self, conn, method, key=None, sign=True, id_=None, **params):
        if sign:
            key = key or self.hmac
            params |= {"apiKey": key.key, "timestamp": self.ms}
            texts = {k: json.dumps(v) if not isinstance(v, str) else v for k, v in params.items()}
            payload = "&".join(f"{name}={texts[name]}" for name in sorted(texts))
            params["signature"] = signature(key, payload)
        self.ids += 1
        message = {"id": id_ if id_ is not None else f"q{self.ids}", "method": method}
        return self.say(conn, json.dumps({**message, "params": params}))

    def listener(self, key=None):
        conn = self.open()
        (answer,) = self.ask(conn, "userDataStream.subscribe.signature", key)
        assert answer["result"] == {"subscriptionId": 0}
        return conn

    def order(self, conn, key=None, **more):
        params = {
            "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
            "price": self.px("buy", 100), "quantity": "0.01000",
        }  # fmt: skip
        params |= more
        params = {name: value for name, value in params.items() if value is not None}
        return self.ask(conn, "order.place", key, **params)


def events(frames):
    return [frame["event"] for frame in frames if "event" in frame]


def kinds(frames):
    return [event.get("x", event["e"]) for event in events(frames)]


# Signatures


def test_known_answers_of_the_documentation():
    key = World().hmac.__class__("k", DOC_SECRET, "hmac", frozenset(Permission))
    rest = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    assert verified(key, rest, "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71")
    assert not verified(key, rest + "0", signature(key, rest))
    frame = parse_frame(
        '{"apiKey":"vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",'
        '"price":"52000.00","quantity":"0.01000000","recvWindow":100,"side":"SELL",'
        '"symbol":"BTCUSDT","timeInForce":"GTC","timestamp":1645423376532,"type":"LIMIT"}'
    )
    payload = socket_call(frame, "", 0).payload
    assert verified(
        key, payload, "AA1B5712C094BC4E57C05A1A5C1FD8D88DCD628338EA863FEC7B88E59FE2DB24"
    ), "hex of any case"


def test_numbers_sign_over_their_text_and_booleans_as_words():
    frame = parse_frame('{"b":0.10,"a":1e3,"c":true,"d":[0.50,"x",{"y":null}],"signature":"s"}')
    assert socket_call(frame, "", 0).payload == 'a=1e3&b=0.10&c=true&d=[0.50,"x",{"y":null}]'


@pytest.mark.parametrize("name", ["hmac", "ed25519"])
@pytest.mark.parametrize("at", ["query", "body"])
def test_rest_takes_either_key_in_query_or_body(name, at):
    world = World()
    status, answer, _ = world.rest("GET", "/api/v3/account", getattr(world, name), at)
    assert (status, answer["accountType"]) == (200, "SPOT")


def test_the_query_wins_over_the_body_and_both_are_signed():
    world = World()
    query = f"symbol=ETHUSDT&timestamp={world.ms}"
    body = "symbol=BTCUSDT"
    text = f"{query}&signature={signature(world.hmac, query + body)}"
    request = Request("GET", "/api/v3/account/commission", text, {"x-mbx-apikey": world.hmac.key})
    request = Request(request.method, request.path, text, request.headers, body.encode())
    assert json.loads(world.face.request(request, world.now_ns).body)["symbol"] == "ETHUSDT"


ACCESS = [
    ({"sign": False}, 400, -1102, "no timestamp"),
    ({"now_ms": 0}, 400, -1021, "ages ago"),
    ({"late": 5_001}, 400, -1021, "a ms older than the window"),
    ({"late": 5_000}, 200, None, "just inside"),
    ({"late": -999}, 200, None, "less than a second ahead"),
    ({"late": -1_000}, 400, -1021, "a second ahead"),
    ({"late": 10, "recvWindow": "9.5"}, 400, -1021, "a window of its own"),
    ({"recvWindow": "60001"}, 400, -1131, "too wide a window"),
    ({"recvWindow": "x"}, 400, -1100, "no number"),
    ({"micros": True}, 200, None, "µs count too"),
    ({"forged": True}, 400, -1022, "another's signature"),
    ({"nobody": True}, 401, -2015, "no such key"),
    ({"empty": True}, 401, -2014, "no key at all"),
    ({"encoded": True}, 400, -1022, "signed before it was percent-encoded"),
]


@pytest.mark.parametrize(("case", "status", "code", "because"), ACCESS, ids=[r[3] for r in ACCESS])
def test_access(case, status, code, because):
    world = World()
    stamp = case.get("now_ms", world.ms - case.get("late", 0))
    if case.get("micros"):
        stamp = world.ms * 1_000
    params = {"omitZeroBalances": "tr ue" if case.get("encoded") else "true"}
    if case.get("sign", True):
        params["timestamp"] = stamp
    if "recvWindow" in case:
        params["recvWindow"] = case["recvWindow"]
    text = urlencode(params)
    signed = "&".join(f"{k}={v}" for k, v in params.items()) if case.get("encoded") else text
    key = world.other if case.get("forged") else world.hmac
    text += f"&signature={signature(key, signed)}"
    name = "x" * 64 if case.get("nobody") else "" if case.get("empty") else world.hmac.key
    request = Request("GET", "/api/v3/account", text, {"x-mbx-apikey": name})
    response = world.face.request(request, world.now_ns)
    body = json.loads(response.body)
    if case.get("empty"):
        status = 400
    assert (response.status, body.get("code")) == (status, code), because


def test_permissions_are_told_and_kept():
    world = World()
    for key, withdraw, trade in [
        (world.hmac, False, True), (world.withdraw, True, True), (world.read, False, False),
    ]:  # fmt: skip
        _, account, _ = world.rest("GET", "/api/v3/account", key)
        _, may, _ = world.rest("GET", "/sapi/v1/account/apiRestrictions", key)
        assert (account["canWithdraw"], account["canTrade"]) == (withdraw, trade)
        assert (may["enableWithdrawals"], may["enableSpotAndMarginTrading"]) == (withdraw, trade)
        status, answer = world.place(key=key)
        assert (status == 200) is trade
        assert trade or answer["code"] == -2015


# Placing


def test_a_limit_order_rests_and_is_found():
    world = World()
    px = world.px("buy", 100)
    status, placed = world.place(px=px, newClientOrderId="a-17", newOrderRespType="RESULT")
    assert status == 200
    assert placed == {
        "symbol": "BTCUSDT", "orderId": placed["orderId"], "orderListId": -1,
        "clientOrderId": "a-17", "transactTime": world.ms, "price": f"{Decimal(px):.8f}",
        "origQty": "0.01000000", "executedQty": "0.00000000",
        "origQuoteOrderQty": "0.00000000", "cummulativeQuoteQty": "0.00000000", "status": "NEW",
        "timeInForce": "GTC", "type": "LIMIT", "side": "BUY", "workingTime": world.ms,
        "selfTradePreventionMode": "EXPIRE_MAKER",
    }  # fmt: skip
    for query in ({"orderId": placed["orderId"]}, {"origClientOrderId": "a-17"}):
        _, found, _ = world.rest("GET", "/api/v3/order", symbol="BTCUSDT", **query)
        assert list(found) == [
            "symbol", "orderId", "orderListId", "clientOrderId", "price", "origQty", "executedQty",
            "cummulativeQuoteQty", "status", "timeInForce", "type", "side", "stopPrice",
            "icebergQty", "time", "updateTime", "isWorking", "workingTime", "origQuoteOrderQty",
            "selfTradePreventionMode",
        ]  # fmt: skip
        assert found["orderId"] == placed["orderId"]
    _, account, _ = world.rest("GET", "/api/v3/account", omitZeroBalances="true")
    usdt = next(row for row in account["balances"] if row["asset"] == "USDT")
    assert Decimal(usdt["locked"]) == Decimal(px) * Decimal("0.01")


@pytest.mark.parametrize(
    ("kind", "asked", "shape"),
    [
        ("LIMIT", None, "FULL"),
        ("LIMIT", "ACK", "ACK"),
        ("LIMIT", "RESULT", "RESULT"),
        ("MARKET", None, "FULL"),
        ("LIMIT_MAKER", None, "ACK"),
        ("LIMIT_MAKER", "FULL", "FULL"),
    ],
)
def test_the_response_is_as_long_as_asked(kind, asked, shape):
    world = World()
    more = {"type": kind, "newOrderRespType": asked}
    if kind != "LIMIT":
        more["timeInForce"] = None
    px = None if kind == "MARKET" else world.px("buy", 100)
    params = {"symbol": "BTCUSDT", "side": "BUY", "timeInForce": "GTC", "price": px}
    params |= {"quantity": "0.01"} | more
    status, answer, _ = world.rest("POST", "/api/v3/order", **params)
    assert status == 200
    assert ("status" in answer, "fills" in answer) == (shape != "ACK", shape == "FULL")
    if kind == "MARKET":
        fill = answer["fills"][0]
        assert list(fill) == ["price", "qty", "commission", "commissionAsset", "tradeId"]
        assert fill["commissionAsset"] == "BTC"
        assert answer["price"] == "0.00000000"


def test_ioc_and_fok_without_fill_are_successes_that_expired():
    world = World()
    for tif, reason in [
        ("IOC", "UNFILLED_IOC_QUANTITY_EXPIRED"), ("FOK", "UNFILLED_FOK_ORDER_EXPIRED"),
    ]:  # fmt: skip
        status, answer = world.place(timeInForce=tif)
        assert (status, answer["status"], answer["expiryReason"]) == (200, "EXPIRED", reason)
        assert answer["fills"] == []


def test_a_market_buy_by_value_and_a_sell():
    world = World()
    params = {"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quoteOrderQty": "1000"}
    _, bought, _ = world.rest("POST", "/api/v3/order", **params)
    assert bought["status"] == "FILLED"
    assert bought["origQuoteOrderQty"] == "1000.00000000"
    assert Decimal(0) <= 1000 - Decimal(bought["cummulativeQuoteQty"]) < Decimal("0.7")
    params = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.01"}
    _, sold, _ = world.rest("POST", "/api/v3/order", **params)
    assert sold["fills"][0]["commissionAsset"] == "USDT"
    fee = sum(Decimal(fill["commission"]) for fill in sold["fills"])
    assert fee >= Decimal(sold["cummulativeQuoteQty"]) / 1000
    world.desk.check()


BAD = [
    ({"symbol": "NOPE"}, -1121, "no such symbol"),
    ({"symbol": None}, -1102, "no symbol"),
    ({"side": "HOLD"}, -1117, "no such side"),
    ({"side": None}, -1102, "no side"),
    ({"type": "STOP"}, -1116, "no such type"),
    ({"timeInForce": "GTX"}, -1115, "futures' post-only"),
    ({"timeInForce": None}, -1102, "a limit order needs one"),
    ({"price": None}, -1102, "and a price"),
    ({"quantity": None}, -1102, "and a quantity"),
    ({"quantity": ""}, -1105, "sent empty"),
    ({"price": "1e4"}, -1100, "no exponents"),
    ({"price": "-1"}, -1100, "no signs"),
    ({"price": ".5"}, -1100, "no bare dot"),
    ({"quantity": "0.000000001"}, -1111, "too many decimals"),
    ({"quantity": "0"}, -1013, "zero"),
    ({"quantity": "0.000011"}, -1013, "off the step"),
    ({"price": "50000.001"}, -1013, "off the tick"),
    ({"price": "1"}, -1013, "far below the band"),
    ({"price": "900000"}, -1013, "far above the band"),
    ({"price": "2000000"}, -1013, "above the highest price"),
    ({"quantity": "0.00001"}, -1013, "worth less than 5"),
    ({"quantity": "100000"}, -1013, "more than the largest lot"),
    ({"quantity": "17"}, -2010, "insufficient balance"),
    ({"newClientOrderId": "a b"}, -1100, "a client id with a space"),
    ({"newClientOrderId": "x" * 37}, -1100, "a long client id"),
    ({"newClientOrderId": "used"}, -2010, "a client id of an open order"),
    ({"type": "LIMIT_MAKER"}, -1106, "post-only takes no timeInForce"),
    ({"type": "LIMIT_MAKER", "timeInForce": None, "price": "CROSS"}, -2010, "post-only that takes"),
    ({"type": "MARKET"}, -1106, "market takes no timeInForce"),
    ({"type": "MARKET", "timeInForce": None}, -1106, "market takes no price"),
    ({"type": "MARKET", "timeInForce": None, "price": None, "quoteOrderQty": "9"}, -1128, "both"),
    (
        {"type": "MARKET", "timeInForce": None, "price": None, "quantity": None}, -1102, "neither",
    ),
    (
        {
            "type": "MARKET", "timeInForce": None, "price": None, "quantity": None,
            "quoteOrderQty": "4",
        },
        -1013, "a value below the least",
    ),
    ({"quoteOrderQty": "9"}, -1106, "only market orders go by value"),
    ({"selfTradePreventionMode": "NONE"}, -1013, "no self-trades here"),
    ({"newOrderRespType": "ALL"}, -1130, "no such response"),
    ({"icebergQty": "0.001"}, -1013, "no icebergs here"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "code", "because"), BAD, ids=[row[2] for row in BAD])
@pytest.mark.parametrize("path", ["/api/v3/order", "/api/v3/order/test"])
def test_what_is_refused_does_nothing(change, code, because, path):
    world = World()
    assert world.place(newClientOrderId="used")[0] == 200
    listener = world.listener()
    world.run(SECOND)
    world.frames(listener)
    before = list(world.desk.accounts["main"].orders)
    params = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
        "price": world.px("buy", 100), "quantity": "0.01",
    } | change  # fmt: skip
    if params["price"] == "CROSS":
        params["price"] = world.px("sell")
    status, answer, _ = world.rest("POST", path, **params)
    if because == "post-only that takes" and path.endswith("test"):
        assert (status, answer) == (200, {}), "only the engine knows"
        return
    assert (status, answer["code"]) == (400, code), because
    assert set(answer) == {"code", "msg"}
    world.run(SECOND)
    assert events(world.frames(listener)) == []
    assert list(world.desk.accounts["main"].orders) == before
    world.desk.check()


@pytest.mark.parametrize(
    ("side", "size"),
    [
        ("BUY", {"quantity": "0.01"}),
        ("SELL", {"quantity": "0.01"}),
        ("BUY", {"quoteOrderQty": 101}),
    ],
)
def test_a_market_order_beyond_the_funds_is_refused(side, size):
    world = World(balances={"BTC": Decimal("0.009"), "USDT": Decimal(100), "ETH": Decimal(0)})
    params = {"symbol": "BTCUSDT", "side": side, "type": "MARKET"} | size
    status, answer, _ = world.rest("POST", "/api/v3/order", **params)
    assert (status, answer["code"]) == (400, -2010)
    assert "insufficient balance" in answer["msg"]


def test_a_test_order_does_nothing():
    world = World()
    params = {
        "symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC",
        "price": world.px("sell"), "quantity": "0.01",
    }  # fmt: skip
    assert world.rest("POST", "/api/v3/order/test", **params)[:2] == (200, {})
    params["computeCommissionRates"] = "true"
    _, rates, _ = world.rest("POST", "/api/v3/order/test", **params)
    assert rates["standardCommissionForOrder"] == {"maker": "0.00100000", "taker": "0.00100000"}
    assert world.desk.accounts["main"].orders == []


def test_no_more_than_200_open_orders():
    world = World(options=Options(limits=None))
    px = world.px("buy", 100)
    for _ in range(200):
        assert world.place(px=px, qty="0.001")[0] == 200
    status, answer = world.place(px=px, qty="0.001")
    assert (status, answer["msg"]) == (400, "Filter failure: MAX_NUM_ORDERS")
    assert world.place(px=px, qty="0.001", timeInForce="IOC")[0] == 200, "it does not stay"


# Cancelling, amending


def test_a_cancel_renames_the_order():
    world = World()
    conn = world.listener()
    world.order(conn, newClientOrderId="a-17")
    order_id = world.desk.accounts["main"].orders[-1].venue_id
    frames = world.ask(
        conn, "order.cancel", symbol="BTCUSDT", orderId=int(order_id), newClientOrderId="a-17c"
    )
    answer = frames[0]["result"]
    assert (answer["origClientOrderId"], answer["clientOrderId"]) == ("a-17", "a-17c")
    assert (answer["status"], answer["orderId"]) == ("CANCELED", int(order_id))
    report, position = events(frames)
    assert (report["c"], report["C"], report["x"], report["X"]) == (
        "a-17c", "a-17", "CANCELED", "CANCELED",
    )  # fmt: skip
    assert position["B"][0]["l"] == "0.00000000"
    status, _, _ = world.rest("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="a-17c")
    assert status == 200
    _, gone, _ = world.rest("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="a-17")
    assert gone["code"] == -2013
    assert world.place(newClientOrderId="a-17")[0] == 200, "the id is free again"


def test_cancels_that_find_nothing():
    world = World()
    world.place(newClientOrderId="a")
    order_id = world.desk.accounts["main"].orders[-1].venue_id
    for params, code, because in [
        ({}, -1102, "neither id"),
        ({"orderId": "1"}, -2011, "no such id"),
        ({"origClientOrderId": "b"}, -2011, "no such client id"),
        ({"orderId": order_id, "origClientOrderId": "b"}, -2011, "they do not agree"),
        ({"orderId": order_id, "symbol": "ETHUSDT"}, -2011, "another symbol's"),
        ({"orderId": order_id, "cancelRestrictions": "ONLY_PARTIALLY_FILLED"}, -2011, "restricted"),
        ({"orderId": order_id, "cancelRestrictions": "X"}, -1145, "no such restriction"),
        ({"orderId": "x"}, -1100, "no number"),
    ]:
        params = {"symbol": "BTCUSDT"} | params
        status, answer, _ = world.rest("DELETE", "/api/v3/order", **params)
        assert (status, answer["code"]) == (400, code), because
    status, _, _ = world.rest("DELETE", "/api/v3/order", world.other, symbol="BTCUSDT",
                              orderId=order_id)  # fmt: skip
    assert status == 400, "another account's"
    assert world.rest("DELETE", "/api/v3/order", symbol="BTCUSDT", orderId=order_id)[0] == 200


def test_cancel_all_of_a_symbol_and_of_none():
    world = World()
    for _ in range(3):
        world.place()
    world.rest("POST", "/api/v3/order", symbol="ETHUSDT", side="BUY", type="LIMIT",
               timeInForce="GTC", price="1000", quantity="0.1")  # fmt: skip
    status, answers, _ = world.rest("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    assert (status, [row["status"] for row in answers]) == (200, ["CANCELED"] * 3)
    status, answer, _ = world.rest("DELETE", "/api/v3/openOrders", symbol="BTCUSDT")
    assert (status, answer["code"]) == (400, -2011)
    _, left, _ = world.rest("GET", "/api/v3/openOrders")
    assert [row["symbol"] for row in left] == ["ETHUSDT"]


def test_an_amendment_makes_smaller_and_renames():
    world = World()
    conn = world.listener()
    world.order(conn, newClientOrderId="a")
    base = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
    for qty, code in [("0.01", -2038), ("0.02", -2038), ("0.0000001", -1013)]:
        (answer,) = world.ask(conn, "order.amend.keepPriority", newQty=qty, **base)
        assert answer["error"]["code"] == code
    frames = world.ask(
        conn, "order.amend.keepPriority", newQty="0.005", newClientOrderId="b", **base
    )
    amended = frames[0]["result"]["amendedOrder"]
    assert (amended["qty"], amended["origClientOrderId"]) == ("0.00500000", "a")
    report = events(frames)[0]
    assert (report["x"], report["c"], report["C"], report["q"]) == (
        "REPLACED", "b", "a", "0.00500000",
    )  # fmt: skip
    world.desk.check()


# Asking


def test_trades_and_orders_are_listed_and_paged():
    world = World()
    for _ in range(3):
        world.place(px=world.px("sell"), qty="0.001")
        world.run(SECOND)
    account = world.desk.accounts["main"]
    _, trades, _ = world.rest("GET", "/api/v3/myTrades", symbol="BTCUSDT")
    assert len(trades) == len(account.fills) >= 3
    assert list(trades[0]) == [
        "symbol", "id", "orderId", "orderListId", "price", "qty", "quoteQty", "commission",
        "commissionAsset", "time", "isBuyer", "isMaker", "isBestMatch",
    ]  # fmt: skip
    ids = [trade["id"] for trade in trades]
    for query, expected in [
        ({"limit": "1"}, ids[-1:]),
        ({"fromId": ids[1], "limit": "1"}, ids[1:2]),
        ({"orderId": trades[0]["orderId"]},
         [t["id"] for t in trades if t["orderId"] == trades[0]["orderId"]]),
        ({"startTime": trades[1]["time"]}, ids[1:]),
        ({"startTime": trades[0]["time"], "endTime": trades[0]["time"]}, ids[:1]),
    ]:  # fmt: skip
        _, page, _ = world.rest("GET", "/api/v3/myTrades", symbol="BTCUSDT", **query)
        assert [trade["id"] for trade in page] == expected, query
    _, answer, _ = world.rest("GET", "/api/v3/myTrades", symbol="BTCUSDT", startTime="1",
                              endTime=str(world.ms))  # fmt: skip
    assert answer["code"] == -1127
    _, orders, _ = world.rest("GET", "/api/v3/allOrders", symbol="BTCUSDT", limit="2")
    assert [str(row["orderId"]) for row in orders] == [o.venue_id for o in account.orders[-2:]]
    _, none, _ = world.rest("GET", "/api/v3/allOrders", world.other, symbol="BTCUSDT")
    assert none == []


def test_commission_fees_and_coins():
    world = World()
    _, rates, _ = world.rest("GET", "/api/v3/account/commission", symbol="BTCUSDT")
    assert rates["standardCommission"]["taker"] == "0.00100000"
    _, fees, _ = world.rest("GET", "/sapi/v1/asset/tradeFee", symbol="BTCUSDT")
    assert [row["symbol"] for row in fees] == ["BTCUSDT"]
    _, coins, _ = world.rest("GET", "/sapi/v1/capital/config/getall")
    assert {row["coin"] for row in coins} == {"BTC", "ETH", "USDT"}


def test_a_query_may_lag_behind_a_young_order():
    world = World()
    world.place(newClientOrderId="a")
    ask = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
    world.faults.demand("lag")
    assert world.rest("GET", "/api/v3/order", **ask)[1]["code"] == -2013
    assert world.rest("GET", "/api/v3/order", **ask)[0] == 200
    world.run(3 * SECOND)
    world.faults.demand("lag")
    assert world.rest("GET", "/api/v3/order", **ask)[0] == 200, "old enough to be everywhere"


# The WS API


def test_envelopes_ids_and_rate_limits():
    world = World()
    conn = world.open()
    for id_ in ("x-1", 7, 0):
        (answer,) = world.ask(conn, "account.status", id_=id_)
        assert (answer["id"], answer["status"]) == (id_, 200)
        assert type(answer["id"]) is type(id_)
        assert [row["rateLimitType"] for row in answer["rateLimits"]] == ["REQUEST_WEIGHT"]
    (answer,) = world.order(conn)
    assert [row["rateLimitType"] for row in answer["rateLimits"]] == [
        "ORDERS", "ORDERS", "REQUEST_WEIGHT",
    ]  # fmt: skip
    assert answer["rateLimits"][0] == {
        "rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 100,
        "count": 1,
    }  # fmt: skip
    (answer,) = world.ask(conn, "account.status", returnRateLimits=False)
    assert "rateLimits" not in answer
    quiet = world.open("returnRateLimits=false")
    (answer,) = world.ask(quiet, "account.status")
    assert "rateLimits" not in answer


def test_frames_that_are_no_requests():
    world = World()
    conn = world.open()
    for text in ("{", "[]", '{"id":1}', '{"method":"ping","params":[]}', '{"method":1}'):
        (answer,) = world.say(conn, text)
        assert (answer["status"], answer["error"]["code"]) == (400, -1135), text
    (answer,) = world.ask(conn, "no.such", sign=False)
    assert answer["error"]["code"] == -1020
    (answer,) = world.say(conn, '{"method":"ping"}')
    assert (answer["id"], answer["result"]) == (None, {})


def test_market_questions_on_the_api_socket():
    world = World()
    conn = world.open()
    (answer,) = world.ask(conn, "depth", sign=False, symbol="BTCUSDT", limit=5)
    assert len(answer["result"]["bids"]) == 5
    (answer,) = world.ask(conn, "time", sign=False)
    assert answer["result"] == {"serverTime": world.ms}
    micros = world.open("timeUnit=MICROSECOND")
    (answer,) = world.ask(micros, "time", sign=False)
    assert answer["result"] == {"serverTime": world.now_ns // 1_000}


def test_a_session_needs_an_ed25519_key_and_then_no_signatures():
    world = World()
    conn = world.open()
    (answer,) = world.ask(conn, "session.logon")
    assert answer["error"]["code"] == -4056
    (answer,) = world.ask(conn, "userDataStream.subscribe", sign=False)
    assert answer["error"]["code"] == -2015
    (answer,) = world.ask(conn, "session.logon", world.ed25519)
    assert answer["result"]["apiKey"] == world.ed25519.key
    (answer,) = world.ask(conn, "userDataStream.subscribe", sign=False)
    assert answer["result"] == {"subscriptionId": 0}
    (answer,) = world.ask(conn, "account.status", sign=False)
    assert answer["error"]["code"] == -1102, "a timestamp is still wanted"
    (answer,) = world.ask(conn, "account.status", sign=False, timestamp=world.ms)
    assert answer["status"] == 200
    (answer,) = world.ask(conn, "account.status", world.other)
    assert answer["result"]["uid"] == world.sim.accounts[1].uid, "its own key counts"
    (answer,) = world.ask(conn, "session.logout", sign=False)
    assert answer["result"]["apiKey"] is None
    world.run(MS)
    assert events(world.frames(conn)) == [{"e": "eventStreamTerminated", "E": world.ms - 1}]
    (answer,) = world.ask(conn, "account.status", sign=False, timestamp=world.ms)
    assert answer["error"]["code"] == -2014


def test_subscriptions():
    world = World()
    conn = world.listener()
    (answer,) = world.ask(conn, "userDataStream.subscribe.signature")
    assert answer["error"]["code"] == -2035
    (answer,) = world.ask(conn, "userDataStream.subscribe.signature", world.other)
    assert answer["result"] == {"subscriptionId": 1}
    (answer,) = world.ask(conn, "session.subscriptions", sign=False)
    assert answer["result"] == [{"subscriptionId": 0}, {"subscriptionId": 1}]
    frames = world.order(conn, world.other)
    assert {frame["subscriptionId"] for frame in frames[1:]} == {1}
    (answer,) = world.ask(conn, "userDataStream.unsubscribe", sign=False, subscriptionId=1)
    assert answer["result"] == {}
    (answer,) = world.ask(conn, "userDataStream.unsubscribe", sign=False, subscriptionId=1)[-1:]
    assert answer["error"]["code"] == -2036
    world.frames(conn)
    assert len(world.order(conn, world.other)) == 1, "nothing but the answer"


# Events


def test_the_report_has_every_field_in_its_place():
    world = World()
    conn = world.listener()
    frames = world.order(conn, price=world.px("sell"), quantity="0.00100")
    assert frames[0]["status"] == 200
    assert kinds(frames) == ["NEW", "TRADE", "outboundAccountPosition"]
    new, trade, position = events(frames)
    assert list(new) == [
        "e", "E", "s", "c", "S", "o", "f", "q", "p", "P", "F", "g", "C", "x", "X", "r", "i", "l",
        "z", "L", "n", "N", "T", "t", "I", "w", "m", "M", "O", "Z", "Y", "Q", "W", "V",
    ]  # fmt: skip
    assert (new["n"], new["N"], new["t"], new["C"]) == ("0", None, -1, "")
    assert (new["X"], new["z"], new["w"]) == ("NEW", "0.00000000", True)
    assert (trade["X"], trade["l"], trade["z"]) == ("FILLED", "0.00100000", "0.00100000")
    assert (trade["n"], trade["N"], trade["m"]) == ("0.00000100", "BTC", False)
    assert trade["I"] > new["I"]
    assert list(position) == ["e", "E", "u", "B"]
    assert {row["a"] for row in position["B"]} == {"BTC", "USDT"}
    fill = frames[0]["result"]["fills"][0]
    assert (fill["tradeId"], fill["commission"]) == (trade["t"], trade["n"])


def test_a_resting_order_is_filled_by_the_seeded_market():
    world = World(pace=Pace(updates_per_s=100, taker_permille=500))
    conn = world.listener()
    world.order(conn, price=world.px("buy"), quantity="5")
    world.frames(conn)
    world.run(20 * SECOND)
    told = events(world.frames(conn))
    trades = [event for event in told if event.get("x") == "TRADE"]
    assert trades
    assert all(trade["m"] for trade in trades)
    cumulative = [Decimal(trade["z"]) for trade in trades]
    assert cumulative == sorted(cumulative)
    assert [Decimal(trade["q"]) for trade in trades] == [5] * len(trades)
    ids = [event["I"] for event in told if "I" in event]
    assert ids == sorted(set(ids))
    order = world.desk.accounts["main"].orders[0]
    assert sum(Decimal(t["l"]) for t in trades) == world.exchange.listings["BTC/USDT"].qty(
        order.filled
    )
    last = [event for event in told if event["e"] == "outboundAccountPosition"][-1]
    _, account, _ = world.rest("GET", "/api/v3/account")
    balances = {row["asset"]: (row["free"], row["locked"]) for row in account["balances"]}
    assert all(balances[row["a"]] == (row["f"], row["l"]) for row in last["B"])
    world.desk.check()


def test_own_orders_expire_rather_than_trade():
    world = World()
    conn = world.listener()
    px = f"{(Decimal(world.px('buy')) + Decimal('0.01')):f}"
    world.order(conn, price=px, quantity="0.01")
    for mode, states in [
        ("EXPIRE_TAKER", [("TRADE_PREVENTION", "SELL")]),
        ("EXPIRE_MAKER", [("TRADE_PREVENTION", "BUY")]),
    ]:
        frames = world.order(
            conn, price=px, quantity="0.01", side="SELL", selfTradePreventionMode=mode
        )
        told = [(e["x"], e["S"]) for e in events(frames) if e.get("x") not in (None, "NEW")]
        assert told == states, mode
        prevented = next(e for e in events(frames) if e.get("x") == "TRADE_PREVENTION")
        assert (prevented["X"], prevented["A"]) == ("EXPIRED_IN_MATCH", "0.01000000")
    world.desk.check()


@pytest.mark.parametrize("early", [False, True])
def test_rest_orders_push_before_or_after_their_answer(early):
    world = World()
    conn = world.listener()
    if early:
        world.faults.demand("early")
    world.place()
    world.keep(world.sim.due(world.now_ns))
    assert bool(world.frames(conn)) is early
    world.run(MS)
    assert world.face.wake_at_ns > world.now_ns
    world.place(px=world.px("sell"), qty="0.001")
    world.run(SECOND)
    assert kinds(world.frames(conn))[-3:] == ["NEW", "TRADE", "outboundAccountPosition"]


# What goes wrong


def test_an_answer_lost_is_an_order_done():
    world = World()
    conn = world.listener()
    world.faults.demand("acklost", 2)
    frames = world.order(conn, newClientOrderId="a")
    assert kinds(frames) == ["NEW", "outboundAccountPosition"]
    assert not [frame for frame in frames if "status" in frame]
    assert world.rest("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="a")[0] == 200
    params = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
    status, _, _ = world.rest("DELETE", "/api/v3/order", **params)
    assert status == 0, "by REST the connection is torn down"
    assert world.desk.accounts["main"].open == {}


@pytest.mark.parametrize(("word", "there"), [("unknown", True), ("undone", False)])
@pytest.mark.parametrize("wire", ["rest", "ws"])
def test_perhaps_with_and_without_effect(word, there, wire):
    seen = set()
    for seed in range(6):
        world = World(seed)
        conn = world.listener()
        world.faults.demand(word)
        if wire == "rest":
            params = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
            params |= {"price": world.px("buy", 9), "quantity": "0.01", "newClientOrderId": "a"}
            status, answer, response = world.rest("POST", "/api/v3/order", **params)
            waited = response.delay_ns
        else:
            frames = world.order(conn, newClientOrderId="a")
            answers = [frame for frame in frames if "status" in frame]
            waited = 0
            if not answers:
                world.run(10 * SECOND)
                answers = [frame for frame in world.frames(conn) if "status" in frame]
                waited = 10 * SECOND
            status, answer = answers[0]["status"], answers[0]["error"]
        assert status >= 500
        assert (answer["code"] == -1007) == (waited == 10 * SECOND)
        seen.add(answer["code"])
        found = world.rest("GET", "/api/v3/order", symbol="BTCUSDT", origClientOrderId="a")[0]
        assert (found == 200) is there
        world.desk.check()
    assert seen == {-1006, -1007}


def test_an_answer_may_come_after_or_among_its_events():
    places = set()
    for seed in range(8):
        world = World(seed)
        conn = world.listener()
        world.faults.demand("early")
        frames = world.order(conn)
        places.add(next(at for at, frame in enumerate(frames) if "status" in frame))
        assert kinds(frames) == ["NEW", "outboundAccountPosition"]
    assert places == {1, 2}


def test_an_event_may_come_twice():
    world = World()
    conn = world.listener()
    world.faults.demand("twice")
    frames = world.order(conn)
    assert kinds(frames) == ["NEW", "NEW", "outboundAccountPosition"]
    assert frames[1] == frames[2]


def test_faults_by_share_strike_and_end():
    spec = parse("acklost:0.5,twice:0.5,until:5s")
    world = World(pace=QUIET, faults=spec, options=Options(limits=None))
    conn = world.open()
    for _ in range(20):
        world.order(conn)
    counts = world.sim.order_faults.counts
    assert 3 < counts["acklost"] < 17
    world.run(6 * SECOND)
    struck = counts["acklost"]
    for _ in range(10):
        assert len(world.order(conn)) == 1
    assert counts["acklost"] == struck
    world.desk.check()


# Limits


def test_orders_are_counted_until_their_first_fill():
    world = World()
    _, _, response = world.rest(
        "POST", "/api/v3/order", symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC",
        price=world.px("buy", 50), quantity="0.001",
    )  # fmt: skip
    assert response.headers["X-MBX-ORDER-COUNT-10S"] == "1"
    assert response.headers["X-MBX-ORDER-COUNT-1D"] == "1"
    world.place(px=world.px("sell"), qty="0.001")
    _, limits, _ = world.rest("GET", "/api/v3/rateLimit/order")
    assert [row["count"] for row in limits] == [1, 1], "the filled one gave its slot back"
    for _ in range(99):
        assert world.place(qty="0.001")[0] == 200
    status, answer = world.place(qty="0.001")
    assert (status, answer["code"]) == (429, -1015)
    world.run(10 * SECOND)
    assert world.place(qty="0.001")[0] == 200
    assert world.place(key=world.other, qty="0.001")[0] == 200


def test_weights_are_shared_and_free_for_orders_that_succeed():
    world = World()
    used = "X-MBX-USED-WEIGHT-1M"
    params = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    params |= {"price": world.px("buy", 50), "quantity": "0.001"}
    _, _, response = world.rest("POST", "/api/v3/order", **params)
    assert response.headers[used] == "0"
    _, _, response = world.rest("POST", "/api/v3/order", **params | {"quantity": "9000"})
    assert response.headers[used] == "1"
    conn = world.open()
    (answer,) = world.ask(conn, "account.status")
    assert answer["rateLimits"][0]["count"] == 1 + 2 + 20
    for _ in range(298):
        (answer,) = world.ask(conn, "account.status")
    assert answer["status"] == 200
    (answer,) = world.ask(conn, "account.status")
    assert (answer["status"], answer["error"]["code"]) == (429, -1003)
    assert answer["error"]["data"]["retryAfter"] > answer["error"]["data"]["serverTime"]
    status, _, response = world.rest("GET", "/api/v3/account")
    assert (status, "Retry-After" in response.headers) == (429, True)
    for _ in range(30):
        status, _, _ = world.rest("GET", "/api/v3/account")
    assert status == 418
    world.run(180 * SECOND)
    assert world.rest("GET", "/api/v3/account")[0] == 200


def test_limits_off():
    world = World(options=Options(limits=None))
    conn = world.open()
    for _ in range(400):
        (answer,) = world.ask(conn, "account.status")
    assert answer["status"] == 200
    for _ in range(150):
        assert world.place(qty="0.001")[0] == 200


# Trouble, history


def test_a_halted_market_refuses_and_keeps_orders():
    world = World()
    world.place(newClientOrderId="a")
    conn = world.listener()
    world.keep(world.face.trouble(Trouble.MAINTENANCE, world.now_ns))
    assert world.frames(conn)[-1] == {"event": {"e": "serverShutdown", "E": world.ms}}
    assert world.place()[1] == {"code": -2010, "msg": "Market is closed."}
    params = {"symbol": "BTCUSDT", "origClientOrderId": "a"}
    assert world.rest("DELETE", "/api/v3/order", **params)[1]["code"] == -1013
    world.face.trouble(Trouble.RESUME, world.now_ns)
    assert world.rest("DELETE", "/api/v3/order", **params)[0] == 200


def test_the_history_tells_everything_in_the_venues_words():
    world = World(pace=Pace(updates_per_s=100, taker_permille=500))
    conn = world.listener()
    told = []
    for n in range(20):
        side = ("buy", "sell")[n % 2]
        told += events(world.order(conn, side=side.upper(), price=world.px(side), quantity="0.01"))
        world.run(SECOND)
        told += events(world.frames(conn))
    for order in list(world.desk.accounts["main"].open.values()):
        told += events(
            world.ask(conn, "order.cancel", symbol="BTCUSDT", orderId=int(order.venue_id))
        )
    world.order(conn, quantity="9000")
    mine = [row["data"] for row in world.rows if row["account"] == "main"]
    assert [row for row in mine if "e" in row] == told, "what was pushed is what was written"
    assert [row["what"] for row in world.rows[:2]] == ["opening", "opening"]
    assert world.rows[-1]["what"] == "refusal"
    balances = {a: Decimal(x) for a, x in world.rows[0]["data"]["balances"].items()}
    for row in mine:
        if row.get("x") == "TRADE":
            sign = 1 if row["S"] == "BUY" else -1
            balances["BTC"] += sign * Decimal(row["l"])
            balances["USDT"] -= sign * Decimal(row["Y"])
            balances[row["N"]] -= Decimal(row["n"])
    _, account, _ = world.rest("GET", "/api/v3/account")
    for row in account["balances"]:
        assert balances[row["asset"]] == Decimal(row["free"]) + Decimal(row["locked"])


def test_no_secret_is_ever_written():
    world = World()
    conn = world.listener()
    world.order(conn, newClientOrderId="a")
    written = json.dumps(world.rows, default=str) + repr(world.sim.accounts)
    for account in world.sim.accounts:
        for key in account.keys:
            assert key.secret not in written
            assert key.secret.splitlines()[-1] not in written


def test_the_same_seed_and_requests_give_the_same_answers():
    def life():
        world = World(3, pace=Pace(updates_per_s=50, taker_permille=300), faults=parse("storm"))
        conn = world.open()
        seen = []
        for n in range(30):
            side = ("buy", "sell")[n % 2]
            seen += world.order(conn, side=side.upper(), price=world.px(side), quantity="0.01")
            world.run(SECOND // 3)
            seen += world.frames(conn) if conn in world.inbox else []
        return seen, world.rows

    assert life() == life()


def test_no_storm_loses_an_event_of_an_account_on_a_live_socket():
    spec = parse("drop:1,repeat:1,reorder:1,corrupt:1,digits:1,gap:1")
    world = World(faults=spec)
    conn = world.listener()
    frames = world.order(conn, price=world.px("sell"), quantity="0.001")
    told = [row["data"] for row in world.rows if row["account"] == "main" and "e" in row["data"]]
    assert events(frames) == told
