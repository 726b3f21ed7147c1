"""Kraken's private side: nonces, tokens, orders, channels, counters and what goes wrong."""

import json
from decimal import ROUND_HALF_UP, Decimal
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.accounts import ApiKey
from hean_router.sim.contract import MINUTE, MS, SECOND, Close, Options, Request, Send
from hean_router.sim.exchange import Side
from hean_router.sim.faces.kraken.facts import rfc3339
from hean_router.sim.faces.kraken.private_access import signed
from hean_router.sim.faces.kraken.private_words import kraken_id
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.simulator import simulate

ORIGIN = 1_772_445_600 * SECOND
D = Decimal
PAIR, REST_PAIR = "BTC/USDT", "XBTUSDT"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


class Venue:
    """A frozen market, the first account's key, one private socket and a token."""

    def __init__(self, *, symbols=(PAIR, "ETH/USD"), balances=None, limits=1.0):
        self.rows = []
        self.faults = OrderFaults("kraken")
        self.sim, self.exchange = simulate(
            "kraken",
            7,
            ORIGIN,
            symbols=symbols,
            options=Options(limits=limits, order_faults=self.faults),
            balances=balances,
            history=self.rows.append,
        )
        self.face = self.sim.face
        self.desk = self.face.private.desk
        self.keys = self.sim.accounts[0].keys
        self.listing = self.exchange.listings[symbols[0]]
        self.now_ns = ORIGIN
        self.nonce = 0
        self.conns = 0
        self.out = []
        self.conn = self.open()
        self.token = self.post("GetWebSocketsToken")["result"]["token"]

    # REST

    def post(self, name, params=None, *, key=None, form=True, raw=False, **more):
        """The parsed answer; `more` changes the request's own fields."""
        key = key or self.keys[0]
        self.nonce += 1
        params = {"nonce": more.get("nonce", self.nonce), **(params or {})}
        body = (urlencode(params) if form else json.dumps(params)).encode()
        path = f"/0/private/{name}"
        headers = {
            "api-key": more.get("api_key", key.key),
            "api-sign": more.get("sign", signed(key, path, str(params["nonce"]), body)),
            "content-type": FORM if form else JSON,
        }
        request = Request(more.get("method", "POST"), path, "", headers, body)
        response = self.face.request(request, self.now_ns)
        if raw:
            return response
        assert response.status == 200
        return json.loads(response.body)

    # Sockets

    def open(self, path="/auth/v2"):
        self.conns += 1
        request = Request("GET", path, peer=f"10.0.0.{self.conns}")
        assert self.face.accept(request, self.now_ns) is None
        self.keep(self.face.opened(self.conns, request, self.now_ns))
        return self.conns

    def keep(self, outputs):
        for output in outputs:
            if isinstance(output, Send):
                parsed = json.loads(output.data, parse_float=D)
                self.out.append((output.conn, {**parsed, "text": output.data}))
            elif isinstance(output, Close):
                self.out.append((output.conn, output.code))

    def say(self, method, conn=None, req_id=1, token=True, **params):
        """What this connection is told."""
        self.out.clear()
        conn = conn or self.conn
        if token:
            params["token"] = self.token if token is True else token
        message = {"method": method, "params": params, "req_id": req_id}
        self.keep(self.face.received(conn, dump(message), self.now_ns))
        return [each for at, each in self.out if at == conn]

    def answers(self, method, **params):
        return [each for each in self.say(method, **params) if each.get("method") == method]

    def answer(self, method, **params):
        (only,) = self.answers(method, **params)
        return only

    def subscribe(self, channel, conn=None, **more):
        return self.say("subscribe", conn=conn, channel=channel, **more)

    def add(self, side="buy", qty="0.01", px=None, **more):
        """The answer."""
        return self.answer("add_order", **self.order(side, qty, px, **more))

    def order(self, side="buy", qty="0.01", px=None, **more):
        params = {"order_type": "market" if px is None else "limit", "side": side, "symbol": PAIR}
        if qty is not None:
            params["order_qty"] = D(qty)
        if px is not None:
            params["limit_price"] = px
        return {**params, **more}

    def pushed(self, channel="executions", conn=None):
        """Rows of a channel in what came last."""
        return [
            row
            for at, each in self.out
            if at == (conn or self.conn) and isinstance(each, dict)
            if each.get("channel") == channel
            for row in each["data"]
        ]

    # Time and the market

    def wait(self, ns):
        self.out.clear()
        end_ns = self.now_ns + ns
        while (wake_ns := self.face.wake_at_ns) is not None and wake_ns <= end_ns:
            self.now_ns = max(self.now_ns, wake_ns)
            self.keep(self.face.due(self.now_ns))
        self.now_ns = end_ns

    def others(self, side, px, qty):
        self.out.clear()
        step = self.exchange.place(
            PAIR, side, self.listing.lots(D(qty)), self.listing.ticks(D(px)), now_ns=self.now_ns
        )
        self.keep(self.face.market(step, self.now_ns))

    def best(self, side):
        return self.listing.px(self.exchange.best(PAIR, side).px)

    def far(self, side="buy"):
        best = self.best(Side(side))
        return (best * D("0.98" if side == "buy" else "1.02")).quantize(self.listing.tick)

    def near(self, side="buy"):
        best = self.best(Side(side).other)
        return (best * D("1.02" if side == "buy" else "0.98")).quantize(self.listing.tick)

    def has(self, asset):
        balance = self.desk.accounts["main"].balance(asset)
        return balance.total, balance.locked

    def count(self):
        """The engine's counter."""
        account = self.desk.accounts["main"]
        return self.face.private.orders.counter(account, PAIR).value(self.now_ns)


def dump(message):
    """JSON with bare decimals."""
    if isinstance(message, dict):
        return "{" + ",".join(f"{json.dumps(k)}:{dump(v)}" for k, v in message.items()) + "}"
    if isinstance(message, list):
        return "[" + ",".join(dump(each) for each in message) + "]"
    return f"{message:f}" if isinstance(message, Decimal) else json.dumps(message)


# Signatures, nonces, tokens

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="


@pytest.mark.parametrize(
    ("body", "signature"),
    [  # known answers of the protocol sheet
        (
            b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25",
            "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ==",
        ),
        (
            b'{"nonce":1616492376594,"ordertype":"limit","pair":"XBTUSD","price":"37500",'
            b'"type":"buy","volume":"1.25"}',
            "kMkTQfyYJH05IdnWQ9TIqL9Kq+dKqcD5O/TGPPLRwwy1is/YvqEYtMAHf7tXsqwfbLwp7pbzJzWHxzKPnL8rfA==",
        ),
    ],
)
def test_signature_known_answers(body, signature):
    key = ApiKey("k", SECRET, "kraken", frozenset())
    assert signed(key, "/0/private/AddOrder", "1616492376594", body) == signature


REFUSED_BY_REST = [
    ({"api_key": ""}, "EAPI:Invalid key", "no key"),
    ({"api_key": "unknown"}, "EAPI:Invalid key", "no such key"),
    ({"sign": "AAAA"}, "EAPI:Invalid signature", "wrong"),
    ({"sign": "?"}, "EAPI:Invalid signature", "no base64"),
    ({"nonce": "x"}, "EAPI:Invalid nonce", "no number"),
    ({"nonce": 2**64}, "EAPI:Invalid nonce", "64 bits"),
    ({"method": "GET"}, "EGeneral:Unknown method", "private calls are posted"),
]


@pytest.mark.parametrize(("more", "error", "why"), REFUSED_BY_REST)
def test_rest_refuses_who_it_does_not_know(more, error, why):
    assert Venue().post("BalanceEx", **more) == {"error": [error]}, why


def test_nonces_rise_strictly_for_each_key():
    venue = Venue()
    assert venue.post("BalanceEx", nonce=10**18)["error"] == []
    for nonce in (10**18, 10**18 - 1, 5):
        assert venue.post("BalanceEx", nonce=nonce)["error"] == ["EAPI:Invalid nonce"]
    assert venue.post("BalanceEx", nonce=10**18 + 1)["error"] == []
    assert venue.post("BalanceEx", nonce=7, key=venue.keys[2])["error"] == [], "one lane a key"
    assert venue.post("BalanceEx", nonce=10**18 + 9, sign="AAAA")["error"], "a wrong signature"
    assert venue.post("BalanceEx", nonce=10**18 + 5)["error"] == [], "spends no nonce"


def test_what_keys_may():
    venue = Venue()
    trades, withdraws, reads = venue.keys
    info = venue.post("GetApiKeyInfo", key=trades)["result"]
    assert "withdraw-funds" not in info["permissions"]
    assert "withdraw-funds" in venue.post("GetApiKeyInfo", key=withdraws)["result"]["permissions"]
    denied = {"error": ["EGeneral:Permission denied"]}
    assert venue.post("WithdrawMethods", key=trades) == denied
    assert venue.post("WithdrawMethods", key=withdraws)["result"]
    order = {"pair": REST_PAIR, "type": "buy", "ordertype": "market", "volume": "0.01"}
    assert venue.post("AddOrder", order, key=reads) == denied
    token = venue.post("GetWebSocketsToken", key=reads)["result"]["token"]
    assert venue.add(token=token)["error"] == "EGeneral:Permission denied"


def test_tokens_live_15_minutes_or_as_long_as_their_subscription():
    venue = Venue()
    assert venue.add(token="stale")["error"] == "ESession:Invalid session"
    assert venue.add(token=False)["error"] == "ESession:Invalid session"
    assert venue.subscribe("executions")[0]["success"]
    venue.now_ns += 16 * MINUTE
    assert venue.add("sell")["success"], "kept alive by the subscription"
    other = venue.open()
    (refused,) = venue.subscribe("executions", conn=other)
    assert refused["error"] == "ESession:Invalid session", "but not for a new connection"
    venue.face.closed(venue.conn, venue.now_ns)
    assert venue.post("GetWebSocketsToken")["result"]["expires"] == 900


# Orders on the socket


def test_the_answer_then_the_life_of_a_resting_order():
    venue = Venue()
    ack, snapshot = venue.subscribe("executions")
    assert ack["result"] == {
        "channel": "executions",
        "maxratecount": 125,
        "snap_orders": True,
        "snap_trades": False,
    }
    assert (snapshot["type"], snapshot["data"], snapshot["sequence"]) == ("snapshot", [], 1)
    answer = venue.add(px=venue.far(), cl_ord_id="k7a1b2", post_only=True, req_id=42)
    assert (answer["req_id"], answer["success"]) == (42, True)
    order_id = answer["result"]["order_id"]
    assert answer["result"] == {"order_id": order_id, "cl_ord_id": "k7a1b2"}
    assert [len(part) for part in order_id.split("-")] == [6, 5, 6]
    frames = [each for _, each in venue.out]
    assert "method" in frames[0], "the answer is first"
    assert [each["sequence"] for each in frames[1:]] == [2, 3]
    pending, new = venue.pushed()
    assert (pending["exec_type"], pending["order_status"]) == ("pending_new", "pending_new")
    assert (pending["order_qty"], pending["limit_price"]) == (D("0.01"), venue.far())
    assert '"order_qty":0.01000000,' in frames[1]["text"], "bare, with every digit"
    assert '"cum_cost":0.00000' in frames[1]["text"]
    assert set(new) == {"exec_type", "order_status", "order_id", "cl_ord_id", "timestamp"}
    answer = venue.answer("cancel_order", cl_ord_id=["k7a1b2"])
    assert answer["result"] == {"order_id": order_id, "cl_ord_id": "k7a1b2"}
    (row,) = venue.pushed()
    assert (row["exec_type"], row["reason"], row["cancel_reason"], row["cum_qty"]) == (
        "canceled",
        "User requested",
        "User requested",
        0,
    )


LIVES = [
    # side, qty, where, more, states of the end
    ("sell", "0.02", None, {}, "filled"),
    ("buy", "0.02", "near", {}, "filled"),
    ("buy", "0.02", "near", {"time_in_force": "ioc"}, "filled"),
    ("buy", "0.02", "far", {"time_in_force": "IOC"}, "canceled"),
    ("sell", "9", "touch", {"time_in_force": "ioc"}, "canceled"),
    ("sell", "0.02", "near", {"time_in_force": "fok"}, "filled"),
    ("sell", "9", "touch", {"time_in_force": "fok"}, "canceled"),
    ("buy", "0.02", "near", {"post_only": True}, "canceled"),
    ("buy", "0.02", "far", {"post_only": True}, "new"),
]


@pytest.mark.parametrize(("side", "qty", "where", "more", "end"), LIVES)
def test_lives(side, qty, where, more, end):
    venue = Venue()
    venue.subscribe("executions")
    at = {
        None: lambda _: None,
        "near": venue.near,
        "far": venue.far,
        "touch": lambda s: venue.best(Side(s).other),
    }
    answer = venue.add(side, qty, at[where](side), **more)
    assert answer["success"], "whatever becomes of it, it is accepted"
    rows = venue.pushed()
    assert [row["exec_type"] for row in rows[:2]] == ["pending_new", "new"]
    trades = [row for row in rows if row["exec_type"] == "trade"]
    assert {row["order_status"] for row in trades} <= {"partially_filled"}, "also the last"
    assert all("cl_ord_id" not in row for row in trades)
    assert rows[-1]["exec_type"] == end
    if end == "filled":
        assert "exec_id" not in rows[-1], "not a further fill"
        assert [row["exec_type"] for row in rows].count("filled") == 1
    done, cost = D(0), D(0)
    for row in trades:
        done, cost = done + row["last_qty"], cost + row["cost"]
        assert (row["cum_qty"], row["cum_cost"]) == (done, cost)
        assert row["cost"] == row["last_qty"] * row["last_price"]
        assert (row["liquidity_ind"], row["fees"][0]["asset"]) == ("t", "USDT")
    assert len({row["exec_id"] for row in trades}) == len(trades)
    if end != "new":
        assert (rows[-1]["cum_qty"], rows[-1]["cum_cost"]) == (done, cost)
    order_id = answer["result"]["order_id"]
    row = venue.post("QueryOrders", {"txid": order_id, "trades": True})["result"][order_id]
    assert row["status"] == {"filled": "closed", "new": "open"}.get(end, end)
    assert D(row["vol_exec"]) == done
    assert row.get("trades", []) == [trade["exec_id"] for trade in trades]
    venue.desk.check()


def test_a_market_buy_by_cash():
    venue = Venue()
    venue.subscribe("executions")
    assert venue.add("buy", None, cash_order_qty=D("1000.05"))["success"]
    pending, _, *trades, done = venue.pushed()
    assert pending["cash_order_qty"] == D("1000.05")
    assert "order_qty" not in pending
    assert done["exec_type"] == "filled"
    assert D("1000.05") - D("0.001") < done["cum_cost"] <= D("1000.05")
    assert done["cum_cost"] == sum(row["cost"] for row in trades)


def test_post_only_that_takes_may_be_an_error_instead():
    venue = Venue()
    venue.face.private.orders.rules.post_only_refused = True
    assert venue.add(px=venue.near(), post_only=True)["error"] == "EOrder:Post only order"


REFUSED = [
    ({"symbol": "XBT/USDT"}, "Currency pair not supported XBT/USDT", "the name of REST"),
    ({"side": "hold"}, "EGeneral:Invalid arguments:side", "no such side"),
    ({"order_type": "iceberg"}, "EGeneral:Invalid arguments:ordertype", "not simulated"),
    ({"time_in_force": "day"}, "EGeneral:Invalid arguments:timeinforce", "no such word"),
    ({"order_type": "market", "time_in_force": "fok"}, "EGeneral:Invalid arguments:timeinforce",
     "limit orders only"),
    ({"limit_price": None}, "EGeneral:Invalid arguments:price", "a limit order without"),
    ({"limit_price": D("60000.15")}, "EOrder:Tick size check failed", "off the tick"),
    ({"limit_price": D(-1)}, "EOrder:Invalid price", "negative"),
    ({"limit_price": "60000"}, "EGeneral:Invalid arguments:limit_price must be a number", "text"),
    ({"order_qty": "0.01"}, "EGeneral:Invalid arguments:order_qty must be a number", "text"),
    ({"order_qty": None}, "EGeneral:Invalid arguments:volume", "no quantity"),
    ({"order_qty": D("0.00001")}, "EOrder:Order minimum not met", "below qty_min"),
    ({"order_qty": D("0.010000001")}, "EGeneral:Invalid arguments:volume", "too many decimals"),
    ({"order_qty": D("0.0001"), "limit_price": D(1000)}, "EOrder:Cost minimum not met",
     "below cost_min"),
    ({"order_qty": D(20)}, "EOrder:Insufficient funds", "more than there is"),
    ({"cash_order_qty": D(5)}, "EGeneral:Invalid arguments:volume", "one of the two"),
    ({"cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id", "free text up to 18"),
    ({"cl_ord_id": "k1", "order_userref": 5}, "EGeneral:Invalid arguments:cl_ord_id", "or"),
    ({"stp_type": "cancel_all"}, "EGeneral:Invalid arguments:stp_type", "no such word"),
    ({"fee_preference": "usd"}, "EGeneral:Invalid arguments:fee_preference", "quote or base"),
    ({"deadline": "tomorrow"}, "EGeneral:Invalid arguments:deadline", "no time"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "error", "why"), REFUSED)
def test_refusals(more, error, why):
    venue = Venue(balances={"USDT": D(1_000_000), "BTC": D(1)})
    venue.subscribe("executions")
    params = {**venue.order(px=venue.far()), **more}
    params = {name: value for name, value in params.items() if value is not None}
    if params.get("order_type") == "market":
        del params["limit_price"]
    answer = venue.answer("add_order", **params)
    assert (answer["success"], answer["error"]) == (False, error), why
    assert len(venue.out) == 1, "a refused order causes no event"
    assert venue.has("USDT") == (1_000_000, 0)


@pytest.mark.parametrize(
    "client_id",
    ["6d1b345e-2821-40e2-ad83-4ecb18a06876", "da8e4ad59b78481c93e589746b0cf91f", "k7a1b2", "a-b c"],
)
def test_client_ids_have_three_forms(client_id):
    venue = Venue()
    answer = venue.add(px=venue.far(), cl_ord_id=client_id)
    assert answer["result"]["cl_ord_id"] == client_id


def test_a_client_id_is_unique_among_open_orders_only():
    venue = Venue()
    assert venue.add(px=venue.far(), cl_ord_id="k1")["success"]
    again = venue.add(px=venue.far(), cl_ord_id="k1")
    assert again["error"] == "EGeneral:Invalid arguments:cl_ord_id not unique"
    venue.answer("cancel_order", cl_ord_id=["k1"])
    ids = {venue.add("sell", cl_ord_id="k1")["result"]["order_id"] for _ in range(2)}
    assert len(ids) == 2, "a resend after an immediate fill is a second order"
    closed = venue.post("ClosedOrders", {"cl_ord_id": "k1"})["result"]["closed"]
    assert len(closed) == 3
    assert ids < set(closed)
    assert set(venue.post("QueryOrders", {"cl_ord_id": "k1"})["result"]) == set(closed)


def test_deadlines():
    venue = Venue()
    for ahead_ns, ok in [(-MS, False), (500 * MS, True), (60 * SECOND, True)]:
        deadline = rfc3339(venue.now_ns + ahead_ns)
        answer = venue.add(px=venue.far(), deadline=deadline)
        assert answer["success"] is ok
        if not ok:
            assert answer["error"] == "EService:Deadline elapsed"
        form = {"pair": REST_PAIR, "type": "buy", "ordertype": "limit", "volume": "0.01"}
        got = venue.post("AddOrder", {**form, "price": str(venue.far()), "deadline": deadline})
        assert (got["error"] == []) is ok
    answer = venue.add(px=venue.far(), deadline=rfc3339(venue.now_ns + 62 * SECOND))
    assert answer["error"] == "EGeneral:Invalid arguments:deadline"


def test_validate_places_nothing():
    venue = Venue()
    venue.subscribe("executions")
    assert venue.add(px=venue.far(), validate=True)["success"]
    assert not venue.add(px=venue.far(), qty="0.00001", validate=True)["success"]
    assert venue.pushed() == []
    form = {"pair": REST_PAIR, "type": "buy", "ordertype": "limit", "volume": "0.01"}
    got = venue.post("AddOrder", {**form, "price": "60000.1", "validate": True})
    assert got["result"] == {"descr": {"order": "buy 0.01000000 XBTUSDT @ limit 60000.1"}}
    assert venue.post("OpenOrders")["result"] == {"open": {}}


def test_a_cancel_of_many_is_answered_one_by_one_with_one_id():
    venue = Venue()
    first = venue.add(px=venue.far(), cl_ord_id="a")["result"]["order_id"]
    venue.add(px=venue.far(), cl_ord_id="b")
    answers = venue.answers(
        "cancel_order",
        order_id=[first, "OAAAAA-BBBBB-CCCCCC"],
        cl_ord_id=["b", "a"],
        req_id=9,
    )
    assert {each["req_id"] for each in answers} == {9}
    assert [each.get("error") for each in answers] == [
        None,
        "EOrder:Invalid order",  # never issued
        None,
        "EOrder:Unknown order",  # cancelled just now
    ]


def test_batches():
    venue = Venue(balances={"USDT": D(1_000), "BTC": D(0)})
    px = venue.far()
    good = {"order_type": "limit", "side": "buy", "order_qty": D("0.01"), "limit_price": px}
    dear, wrong = {**good, "order_qty": D(1)}, {**good, "order_qty": D("0.00001")}
    got = venue.answer("batch_add", symbol=PAIR, orders=[good, wrong])
    assert got["error"] == "EOrder:Order minimum not met", "the whole batch"
    assert venue.has("USDT") == (1_000, 0)
    got = venue.answer("batch_add", symbol=PAIR, orders=[good, dear])
    one, other = got["result"]["orders"]
    assert (one["success"], other["error"]) == (True, "EOrder:Insufficient funds")
    twins = [{**good, "cl_ord_id": "k"}, {**good, "cl_ord_id": "k"}]
    got = venue.answer("batch_add", symbol=PAIR, orders=twins)
    assert got["error"] == "EGeneral:Invalid arguments:cl_ord_id not unique"
    for rows in ([good], [good] * 16):
        assert not venue.answer("batch_add", symbol=PAIR, orders=rows)["success"]
    venue.add(px=px, qty="0.0001")
    ids = [one["order_id"], "OAAAAA-BBBBB-CCCCCC"]
    assert venue.answer("batch_cancel", orders=ids)["result"] == {"count": 1}
    assert venue.answer("cancel_all")["result"] == {"count": 1}
    assert venue.answer("cancel_all")["result"] == {"count": 0}


def test_amend_makes_smaller_in_place():
    venue = Venue()
    venue.subscribe("executions")
    order_id = venue.add(px=venue.far(), qty="0.02", cl_ord_id="k")["result"]["order_id"]
    answer = venue.answer("amend_order", cl_ord_id="k", order_qty=D("0.015"))
    assert answer["result"]["order_id"] == order_id
    assert answer["result"]["amend_id"].startswith("T")
    (row,) = venue.pushed()
    assert (row["exec_type"], row["order_qty"], row["amended"]) == ("amended", D("0.015"), True)
    assert venue.has("USDT")[1] == D("0.015") * venue.far()
    for more, error in [
        ({"order_qty": D("0.02")}, "EOrder:Invalid order"),
        ({"order_qty": D("0.01"), "limit_price": venue.far() - 1}, "EOrder:Invalid order"),
        ({"cl_ord_id": "other", "order_qty": D("0.01")}, "EOrder:Unknown order"),
    ]:
        assert venue.answer("amend_order", **{"cl_ord_id": "k", **more})["error"] == error


def test_an_amendment_below_what_is_filled_ends_the_order():
    venue = Venue()
    venue.subscribe("executions")
    bid = venue.best(Side.SELL) - venue.listing.tick
    venue.add(px=bid, qty="0.02", cl_ord_id="k", post_only=True)
    venue.others(Side.SELL, bid, "0.01")
    assert venue.answer("amend_order", cl_ord_id="k", order_qty=D("0.005"))["success"]
    (row,) = venue.pushed()
    assert (row["exec_type"], row["cum_qty"]) == ("canceled", D("0.01"))


def test_own_orders_do_not_meet():
    venue = Venue()
    venue.subscribe("executions")
    bid = venue.best(Side.SELL) - venue.listing.tick
    maker = venue.add(px=bid, post_only=True)["result"]["order_id"]
    taker = venue.add("sell", px=bid)["result"]["order_id"]
    ends = {row["order_id"]: row for row in venue.pushed() if row["exec_type"] == "canceled"}
    assert set(ends) == {taker}, "cancel_newest is the default"
    venue.add("sell", px=bid, stp_type="cancel_oldest", time_in_force="ioc")
    assert maker in {row["order_id"] for row in venue.pushed() if row["exec_type"] == "canceled"}
    venue.desk.check()


# Fees, locks, balances


def test_a_maker_is_filled_by_others_and_two_balances_follow_each_trade():
    venue = Venue()
    venue.subscribe("executions")
    _, snapshot = venue.subscribe("balances")
    assert {row["asset"] for row in snapshot["data"]} == set(venue.sim.accounts[0].balances)
    assert snapshot["data"][0]["wallets"][0]["id"] == "main"
    bid = venue.best(Side.SELL) - venue.listing.tick
    venue.add(px=bid, qty="0.02", post_only=True)
    assert venue.pushed("balances") == [], "a lock is not told"
    assert venue.has("USDT")[1] == D("0.02") * bid, "without the fee"
    before = {asset: venue.has(asset)[0] for asset in ("BTC", "USDT")}
    venue.others(Side.SELL, bid, "0.02")
    trade, filled = venue.pushed()
    assert (trade["exec_type"], trade["liquidity_ind"], filled["exec_type"]) == (
        "trade",
        "m",
        "filled",
    )
    frames = [each for _, each in venue.out if each["channel"] == "balances"]
    assert [len(each["data"]) for each in frames] == [1, 1], "separate messages"
    assert [each["sequence"] for each in frames] == [2, 3]
    base, quote = venue.pushed("balances")
    assert base["ref_id"] == quote["ref_id"] == trade["exec_id"]
    assert base["ledger_id"] != quote["ledger_id"]
    assert (base["asset"], base["amount"], base["fee"]) == ("BTC", D("0.02"), 0)
    cost = D("0.02") * bid
    assert (quote["asset"], quote["amount"], quote["fee"]) == (
        "USDT",
        -cost,
        trade["fees"][0]["qty"],
    )
    assert quote["fee"] == (cost * D("0.0025")).quantize(D("1e-8"))
    for row in (base, quote):
        assert row["balance"] == before[row["asset"]] + row["amount"] - row["fee"]
        assert row["balance"] == venue.has(row["asset"])[0]


def test_fees_are_rounded_at_the_assets_decimals():
    venue = Venue(symbols=("ETH/USD",))
    venue.subscribe("executions")
    ask = venue.exchange.best("ETH/USD", Side.SELL)
    px = venue.exchange.listings["ETH/USD"].px(ask.px)
    answer = venue.answer(
        "add_order", order_type="limit", side="buy", symbol="ETH/USD",
        order_qty=D("0.01234567"), limit_price=px, time_in_force="ioc",
    )  # fmt: skip
    assert answer["success"]
    trades = [row for row in venue.pushed() if row["exec_type"] == "trade"]
    for row in trades:
        fee = row["fees"][0]
        assert fee["asset"] == "USD"
        assert abs(fee["qty"] - row["cost"] * D("0.004")) <= D("0.00005")
        assert fee["qty"] == fee["qty"].quantize(D("0.0001"))
    assert '"qty":0.' in venue.out[3][1]["text"]


def test_fees_in_base_if_preferred():
    venue = Venue()
    venue.subscribe("executions")
    venue.add("buy", "0.01", fee_preference="base")
    venue.add("sell", "0.01", fee_preference="base")
    (last, *_) = [row for row in venue.pushed() if row["exec_type"] == "trade"]
    fee = (last["last_qty"] * D("0.004")).quantize(D("1e-10"), ROUND_HALF_UP)
    assert last["fees"][0] == {"asset": "BTC", "qty": fee}
    venue.desk.check()
    poor = Venue(balances={"USDT": D(0), "BTC": D("0.01")})
    poor.subscribe("executions")
    poor.add("sell", "0.01", fee_preference="base")
    trades = [row for row in poor.pushed() if row["exec_type"] == "trade"]
    assert {row["fees"][0]["asset"] for row in trades} == {"USDT"}, "a preference only"
    poor.desk.check()


def test_a_buy_must_be_able_to_pay_its_fee():
    px = Venue().far()
    venue = Venue(balances={"USDT": px / 100, "BTC": D(0)})
    assert venue.add(px=px)["error"] == "EOrder:Insufficient funds"
    assert venue.add(px=px, qty="0.0099")["success"]


# Channels


def test_executions_without_states_tells_openings_and_ends():
    venue = Venue()
    venue.subscribe("executions", order_status=False)
    venue.add("sell")
    assert [row["exec_type"] for row in venue.pushed()] == ["new", "filled"]


def test_the_counter_is_told_if_asked_for():
    venue = Venue()
    venue.subscribe("executions", ratecounter=True)
    venue.add(px=venue.far())
    assert [row["ratecount"] for row in venue.pushed()] == [1, 1]


def test_snapshots_hold_open_orders_and_trades():
    venue = Venue()
    order_id = venue.add(px=venue.far(), cl_ord_id="k")["result"]["order_id"]
    venue.add("sell", "0.01")
    _, snapshot = venue.subscribe("executions", snap_trades=True)
    first, *trades = snapshot["data"]
    assert (first["order_id"], first["cl_ord_id"], first["order_status"]) == (order_id, "k", "new")
    assert trades
    assert {row["exec_type"] for row in trades} == {"trade"}
    (again,) = venue.subscribe("executions")
    assert again["error"] == "Already subscribed"
    (gone,) = venue.say("unsubscribe", channel="executions")
    assert gone["success"]
    ack, *none = venue.subscribe("executions", snap_orders=False)
    assert (ack["success"], none) == (True, [])
    venue.add(px=venue.far())
    sequences = [each["sequence"] for _, each in venue.out if "sequence" in each]
    assert sequences == [1, 2], "a subscription counts for itself"


def test_only_the_account_hears_of_it():
    venue = Venue()
    other = venue.open()
    key = venue.sim.accounts[1].keys[0]
    token = venue.post("GetWebSocketsToken", key=key)["result"]["token"]
    venue.subscribe("executions", conn=other, token=token)
    venue.subscribe("executions")
    order_id = venue.add("sell")["result"]["order_id"]
    assert {at for at, _ in venue.out} == {venue.conn}
    got = venue.post("QueryOrders", {"txid": order_id}, key=key)
    assert got["error"] == ["EOrder:Unknown order"]


def test_the_private_socket_is_private_and_the_public_one_public():
    venue = Venue()
    (refused,) = venue.say("subscribe", channel="book", symbol=[PAIR])
    assert refused["error"] == "Subscription name invalid"
    (refused,) = venue.say("edit_order")
    assert refused["error"] == "Unsupported method edit_order"
    public = venue.open("/v2")
    (refused,) = venue.say("add_order", conn=public)
    assert "ws-auth" in refused["error"]
    (pong,) = venue.say("ping", token=False)
    assert pong["method"] == "pong"


def test_a_private_subscription_keeps_a_socket_open():
    venue = Venue()
    venue.wait(61 * SECOND)
    assert (venue.conn, 1000) in venue.out, "without one it is closed"
    conn = venue.open()
    venue.subscribe("executions", conn=conn)
    venue.wait(120 * SECOND)
    beats = [each for at, each in venue.out if at == conn]
    assert {each["channel"] for each in beats} == {"heartbeat"}
    assert 118 <= len(beats) <= 121


# REST


def test_rest_trades_too_and_pushes_after_its_answer():
    venue = Venue()
    venue.subscribe("executions")
    venue.out.clear()
    px = venue.far()
    form = {"ordertype": "limit", "type": "buy", "volume": "0.01", "pair": REST_PAIR}
    got = venue.post(
        "AddOrder",
        {**form, "price": str(px), "oflags": "post,fciq", "cl_ord_id": "k7", "timeinforce": "GTC",
         "stptype": "cancel-newest", "starttm": 0, "reduce_only": False},
    )["result"]  # fmt: skip
    (txid,) = got["txid"]
    assert got["descr"]["order"] == f"buy 0.01000000 XBTUSDT @ limit {px}"
    assert venue.out == []
    venue.wait(2 * MS)
    assert [row["exec_type"] for row in venue.pushed()] == ["pending_new", "new"]
    row = venue.post("OpenOrders", {"cl_ord_id": "k7"})["result"]["open"][txid]
    assert (row["status"], row["vol"], row["oflags"]) == ("open", "0.01000000", "fciq,post")
    assert (row["descr"]["price"], row["cl_ord_id"]) == (str(px), "k7")
    got = venue.post("AmendOrder", {"cl_ord_id": "k7", "order_qty": "0.005"}, form=False)
    assert got["result"]["amend_id"]
    got = venue.post("CancelOrder", {"cl_ord_id": "k7"})
    assert got["result"] == {"count": 1}
    got = venue.post("CancelOrder", {"txid": txid})
    assert got["error"] == ["EOrder:Unknown order"]
    got = venue.post("CancelOrder", {"txid": "OAAAAA-BBBBB-CCCCCC"})
    assert got["error"] == ["EOrder:Invalid order"]
    row = venue.post("ClosedOrders")["result"]["closed"][txid]
    assert (row["status"], row["reason"], row["vol"]) == (
        "canceled",
        "User requested",
        "0.00500000",
    )


def test_rest_batches_references_and_all():
    venue = Venue()
    order = {"ordertype": "limit", "type": "buy", "volume": "0.01", "price": str(venue.far())}
    rows = [{**order, "userref": 7}, {**order, "userref": 7}, order]
    got = venue.post("AddOrderBatch", {"pair": REST_PAIR, "orders": rows}, form=False)["result"]
    ids = [each["txid"] for each in got["orders"]]
    assert len(set(ids)) == 3
    assert venue.post("CancelOrder", {"txid": 7})["result"] == {"count": 2}
    assert venue.post("CancelOrderBatch", {"orders": ids}, form=False)["result"] == {"count": 1}
    venue.post("AddOrder", {**order, "pair": "BTC/USDT"})
    assert venue.post("CancelAll")["result"] == {"count": 1}


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"pair": None}, "EGeneral:Invalid arguments:pair"),
        ({"pair": "NO"}, "EQuery:Unknown asset pair"),
        ({"price": "60000.15"}, "EOrder:Tick size check failed"),
        ({"volume": "1e3x"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "20"}, "EOrder:Insufficient funds"),
    ],
)
def test_rest_refusals(more, error):
    form = {"ordertype": "limit", "type": "buy", "volume": "0.01", "pair": REST_PAIR}
    form = {**form, "price": "60000.1", **more}
    form = {name: value for name, value in form.items() if value is not None}
    assert Venue().post("AddOrder", form) == {"error": [error]}


def test_rest_tells_trades_balances_and_fees():
    venue = Venue()
    venue.subscribe("executions")
    venue.add("buy", "0.02")
    told = {row["exec_id"]: row for row in venue.pushed() if row["exec_type"] == "trade"}
    got = venue.post("TradesHistory")["result"]
    assert got["count"] == len(told)
    assert set(got["trades"]) == set(told)
    for id_, row in got["trades"].items():
        assert D(row["price"]) == told[id_]["last_price"]
        assert (D(row["vol"]), D(row["fee"])) == (
            told[id_]["last_qty"],
            told[id_]["fees"][0]["qty"],
        )
        assert (row["ordertxid"], row["maker"]) == (told[id_]["order_id"], False)
    some = next(iter(told))
    assert set(venue.post("QueryTrades", {"txid": some})["result"]) == {some}
    venue.add(px=venue.far())
    rows = venue.post("BalanceEx")["result"]
    for id_, asset in [("XXBT", "BTC"), ("USDT", "USDT")]:
        total, held = venue.has(asset)
        assert (D(rows[id_]["balance"]), D(rows[id_]["hold_trade"])) == (total, held)
    fees = venue.post("TradeVolume", {"pair": REST_PAIR})["result"]
    assert fees["fees"][REST_PAIR]["fee"] == "0.4000"
    assert fees["fees_maker"][REST_PAIR]["fee"] == "0.2500"


def test_pages_of_fifty():
    venue = Venue(limits=None)
    for _ in range(60):
        venue.add(px=venue.far(), time_in_force="ioc")
    first = venue.post("ClosedOrders")["result"]
    rest = venue.post("ClosedOrders", {"ofs": 50})["result"]
    assert (first["count"], len(first["closed"]), len(rest["closed"])) == (60, 50, 10)
    assert not set(first["closed"]) & set(rest["closed"])


# Counters


def test_the_engine_counts_by_age():
    venue = Venue()
    order_id = venue.add(px=venue.far(), qty="0.02")["result"]["order_id"]
    assert venue.count() == 1
    venue.now_ns += 7 * SECOND
    assert venue.count() == 0, "decays"
    venue.answer("amend_order", order_id=order_id, order_qty=D("0.015"))
    assert venue.count() == 3, "1 and 2 for an order of 7 s"
    venue.now_ns += 36 * SECOND
    venue.answer("cancel_order", order_id=[order_id])
    assert venue.count() == 4, "36 s since the amendment"
    venue.now_ns += SECOND
    assert venue.count() == 4 - D("2.34")


def test_above_the_threshold_only_batches_of_cancels_pass():
    venue = Venue()
    exceeded = "EOrder:Rate limit exceeded"
    kept = venue.add(px=venue.far())["result"]["order_id"]
    other = venue.add(px=venue.far())["result"]["order_id"]
    while venue.count() < 125:
        error = venue.add(px=venue.far(), qty="0.00001")["error"]
        assert error == "EOrder:Order minimum not met", "counts too"
        venue.now_ns += 25 * MS  # or there would be too many messages
    assert venue.add(px=venue.far())["error"] == exceeded
    assert venue.answer("cancel_order", order_id=[kept])["error"] == exceeded
    got = venue.answer(
        "add_order", order_type="limit", side="buy", symbol="ETH/USD",
        order_qty=D("0.01"), limit_price=D(2000),
    )  # fmt: skip
    assert got["success"], "another pair has its own"
    assert venue.answer("batch_cancel", orders=[kept, other])["result"] == {"count": 2}
    venue.now_ns += 60 * SECOND
    assert venue.add(px=venue.far())["success"]


def test_eighty_open_orders_a_pair():
    venue = Venue()
    for turn in range(80):
        assert venue.add(px=venue.far(), qty="0.0001")["success"], turn
        venue.now_ns += SECOND
    assert venue.add(px=venue.far())["error"] == "EOrder:Orders limit exceeded"


def test_rest_counts_by_key_but_not_trading():
    venue = Venue()
    for _ in range(19):
        assert venue.post("BalanceEx")["error"] == []
    assert venue.post("BalanceEx")["error"] == ["EAPI:Rate limit exceeded"]
    assert venue.post("CancelAll")["error"] == []
    assert venue.post("BalanceEx", key=venue.keys[2])["error"] == []
    venue.now_ns += 2 * SECOND
    assert venue.post("BalanceEx")["error"] == []


# The dead man's switch, the engine's states


def test_cancel_all_orders_after():
    venue = Venue()
    venue.subscribe("executions")
    venue.add(px=venue.far())
    got = venue.answer("cancel_all_orders_after", timeout=60)["result"]
    assert (got["currentTime"], got["triggerTime"]) == (
        "2026-03-02T10:00:00Z",
        "2026-03-02T10:01:00Z",
    )
    venue.wait(30 * SECOND)
    assert venue.pushed() == []
    assert venue.post("CancelAllOrdersAfter", {"timeout": 60})["result"]["triggerTime"].endswith(
        "10:01:30Z"
    )
    venue.wait(59 * SECOND)
    assert venue.pushed() == []
    venue.wait(2 * SECOND)
    assert [row["exec_type"] for row in venue.pushed()] == ["canceled"]
    venue.add(px=venue.far())
    venue.answer("cancel_all_orders_after", timeout=10)
    assert venue.answer("cancel_all_orders_after", timeout=0)["result"]["triggerTime"] == "0"
    venue.wait(20 * SECOND)
    assert venue.pushed() == []
    assert not venue.answer("cancel_all_orders_after", timeout=86_400)["success"]


STATES = [
    # system, a limit order, a post-only order, a cancel
    ("maintenance", "EService:Unavailable", "EService:Unavailable", "EService:Unavailable"),
    ("cancel_only", *["EService:Market in cancel_only mode"] * 2, None),
    ("post_only", "EService:Market in post_only mode", None, None),
]


@pytest.mark.parametrize(("system", "limit", "post_only", "cancel"), STATES)
def test_states_of_the_engine(system, limit, post_only, cancel):
    venue = Venue()
    px = venue.far()
    order_id = venue.add(px=px)["result"]["order_id"]
    venue.face.set_system(system, venue.now_ns)
    assert venue.add(px=px).get("error") == limit
    assert venue.add(px=px, post_only=True).get("error") == post_only
    assert venue.answer("cancel_order", order_id=[order_id]).get("error") == cancel


# What goes wrong


def test_an_answer_is_lost_but_the_order_is_there():
    venue = Venue()
    venue.subscribe("executions")
    venue.faults.demand("acklost")
    assert venue.answers("add_order", **venue.order(px=venue.far(), cl_ord_id="k1")) == []
    assert [row["exec_type"] for row in venue.pushed()] == ["pending_new", "new"]
    assert venue.post("OpenOrders", {"cl_ord_id": "k1"})["result"]["open"]
    venue.faults.demand("acklost")
    form = {"ordertype": "limit", "type": "buy", "volume": "0.01", "pair": REST_PAIR}
    form = {**form, "price": str(venue.far()), "cl_ord_id": "k2"}
    assert venue.post("AddOrder", form, raw=True).status == 0
    assert venue.post("OpenOrders", {"cl_ord_id": "k2"})["result"]["open"]


PERHAPS = {
    "EService:Unavailable",
    "EService:Busy",
    "EService:Timeout",
    "EService:Deadline elapsed",
    "EGeneral:Internal error",
}


@pytest.mark.parametrize("word", ["unknown", "undone"])
def test_perhaps_with_and_without_effect(word):
    venue = Venue(limits=None)
    errors = set()
    for _ in range(40):
        venue.faults.demand(word)
        errors.add(venue.add(px=venue.far())["error"])
    assert errors == PERHAPS
    there = len(venue.post("OpenOrders")["result"]["open"])
    assert there == (40 if word == "unknown" else 0)


def test_rest_may_answer_502_with_the_order_placed():
    venue = Venue(limits=None)
    form = {"ordertype": "limit", "type": "buy", "volume": "0.01", "pair": REST_PAIR}
    seen = set()
    for _ in range(40):
        venue.faults.demand("unknown")
        got = venue.post("AddOrder", {**form, "price": str(venue.far())}, raw=True)
        seen.add(got.status)
    assert seen == {200, 502}
    assert len(venue.post("OpenOrders")["result"]["open"]) == 40


def test_events_may_come_before_the_answer_or_around_it_and_twice():
    venue = Venue()
    venue.subscribe("executions")
    firsts, lasts = set(), set()
    for _ in range(12):
        venue.faults.demand("early")
        venue.add("sell", "0.001")
        order = ["answer" if "method" in each else "event" for _, each in venue.out]
        firsts.add(order[0])
        lasts.add(order[-1])
        assert order.count("answer") == 1
    assert (firsts, lasts) == ({"event"}, {"event", "answer"})
    venue.faults.demand("twice")
    venue.add(px=venue.far())
    assert [row["exec_type"] for row in venue.pushed()] == ["pending_new", "pending_new", "new"]
    sequences = [each["sequence"] for _, each in venue.out if "sequence" in each]
    assert sequences == list(range(sequences[0], sequences[0] + 3)), "no gap"


def test_a_query_may_lag():
    venue = Venue()
    order_id = venue.add(px=venue.far())["result"]["order_id"]
    for name, params in [("OpenOrders", {}), ("QueryOrders", {"txid": order_id})]:
        venue.faults.demand("lag")
        assert order_id not in str(venue.post(name, params)["result"])
        assert order_id in str(venue.post(name, params)["result"])


# Ids, and the whole against itself


def test_ids_never_meet():
    ids = {kraken_id("O", number) for number in range(20_000)}
    assert len(ids) == 20_000
    assert all(len(each) == 19 for each in ids)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["gtc", "ioc", "fok", "post", "market"]),
            st.sampled_from(["buy", "sell"]),
            st.sampled_from(["0.0005", "0.01312345", "0.4", "3"]),
            st.integers(-30, 30),
            st.sampled_from(["quote", "base"]),
            st.booleans(),
        ),
        max_size=25,
    )
)
def test_balances_follow_from_the_events_alone(orders):
    """Whoever adds up trades and fees, or ledger entries, has what the venue says it has."""
    venue = Venue(limits=None)
    venue.subscribe("executions")
    venue.subscribe("balances")
    totals = dict(venue.sim.accounts[0].balances)
    ledger = dict(totals)
    states = {}
    for kind, side, qty, away, fee, cancel in orders:
        px = None if kind == "market" else venue.best(Side(side)) + away * venue.listing.tick
        more = {"time_in_force": kind} if kind in ("gtc", "ioc", "fok") else {}
        more |= {"post_only": True} if kind == "post" else {}
        answer = venue.add(side, qty, px, fee_preference=fee, **more)
        rows, entries = venue.pushed(), venue.pushed("balances")
        if cancel and answer["success"]:
            venue.answers("cancel_order", order_id=[answer["result"]["order_id"]])
            rows += venue.pushed()
        for row in rows:
            if row["exec_type"] != "trade":
                states[row["order_id"]] = row["exec_type"]
                continue
            sign = 1 if row["side"] == "buy" else -1
            totals["BTC"] += sign * row["last_qty"]
            totals["USDT"] -= sign * row["cost"]
            for each in row["fees"]:
                totals[each["asset"]] -= each["qty"]
        for entry in entries:
            ledger[entry["asset"]] += entry["amount"] - entry["fee"]
            assert ledger[entry["asset"]] == entry["balance"]
    for asset, total in totals.items():
        assert venue.has(asset)[0] == total == ledger[asset]
    assert set(venue.post("OpenOrders")["result"]["open"]) == {
        order for order, state in states.items() if state == "new"
    }
    venue.desk.check()
