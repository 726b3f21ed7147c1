"""Bybit's orders: signatures, refusals, questions, recorded life cycles.

Exact frames and what events mean: `golden/bybit/orders`, run by `test_promises.py`.
"""

import json
import os
import re
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.bybit import CONNECTOR, errors, words
from hean_router import kit
from tests.connectors import order_text

RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / "bybit"
KIND = kit.RejectKind
WEEK_MS = 7 * 24 * 3600 * 1000
NOW_MS = 1_767_000_000_000

# Known answers of the protocol sheet, computed apart from this code.
EXAMPLE = {"key": "simkey01", "secret": "simsecret0123456789"}
EXAMPLE_STAMP = kit.Stamp(venue_ms=1_700_000_000_000, deadline_ms=1_700_000_005_000, nonce=1)


def listed(symbol: str = "BTCUSDT") -> kit.Instrument:
    return kit.Instrument(
        venue=kit.VenueId("bybit"),
        pair=kit.Pair(symbol[:-4], symbol[-4:]),
        symbol=symbol,
        px_decimals=4,
        qty_decimals=8,
        tick=1000,
        lot=100,
    )


BTC = listed()


def codec(*instruments: kit.Instrument, **changed: str) -> kit.OrderCodec:
    by_symbol = {each.symbol: each for each in instruments or (BTC,)}
    return CONNECTOR.orders(order_text.credentials(**changed), by_symbol)


def order(**changed: object) -> kit.Approved:
    facts = {
        "key": "a17",
        "account": "main",
        "instrument": BTC,
        "side": kit.Side.BUY,
        "qty": 100_000,
        "px": 600_000_000,
    }
    return kit.Approved(kit.ChildOrder(**facts | changed))


def answer(result: object = None, code: int = 0, text: str = "OK", status: int = 200) -> kit.Answer:
    told = {"retCode": code, "retMsg": text, "result": result or {}, "time": NOW_MS}
    return kit.Answer(status, {}, json.dumps(told).encode())


def drive(ask, *answers: kit.Answer):
    """Answer a dialogue; its requests as (path, parameters), and what it returns."""
    requests = [next(ask), *map(ask.send, answers[:-1])]
    with pytest.raises(StopIteration) as end:
        ask.send(answers[-1])
    assert not any(request.body for request in requests), "a GET with a body is answered 403"
    return [(r.path, dict(parse_qsl(r.query))) for r in requests], end.value.value


# ---------------------------------------------------------------------------------- signing


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (
            kit.HttpRequest(path="/", query="category=spot&symbol=BTCUSDT&openOnly=0", signed=True),
            "34146312b253ca7d08f466d1d61a5d32aad56cff3429d7eb6a39a7a82ba8fccd",
        ),
        (
            kit.HttpRequest(
                path="/",
                method="POST",
                body=b'{"category":"spot","symbol":"BTCUSDT","side":"Buy","orderType":"Limit",'
                b'"qty":"0.001","price":"60000","timeInForce":"PostOnly","orderLinkId":"sim-1"}',
                signed=True,
            ),
            "0099df112934334ef3f3e130d7ed7a9cda9219185ee81c9fe7fc8e57373bb5f9",
        ),
    ],
    ids=["GET", "POST"],
)
def test_known_rest_signatures(request_, signature):
    signed = codec(**EXAMPLE).sign(request_, EXAMPLE_STAMP)
    assert signed.headers["X-BAPI-SIGN"] == signature
    assert signed.headers["X-BAPI-RECV-WINDOW"] == "5000"
    assert (signed.query, signed.body) == (request_.query, request_.body), "as it was signed"


def test_known_socket_signature():
    for socket in codec(**EXAMPLE).sockets():
        (frame,) = socket.login(EXAMPLE_STAMP)
        assert json.loads(frame.data)["args"] == [
            "simkey01",
            1_700_000_010_000,
            "a97bf0d2c45f8da5526ce736b7049187ee64f98d568ca296eae339ca9870cf06",
        ]


@pytest.mark.parametrize(
    ("ahead_ms", "window"), [(1, "1"), (2_000, "2000"), (60_000, "60000"), (90_000, "60000")]
)
def test_the_window_ends_at_the_deadline_or_before(ahead_ms, window):
    stamp = kit.Stamp(venue_ms=10**12, deadline_ms=10**12 + ahead_ms, nonce=1, request_id="r")
    said = json.loads(codec().sockets()[0].place(order(), stamp).data)
    assert said["header"]["X-BAPI-RECV-WINDOW"] == window
    assert codec().sign(codec().place(order()), stamp).headers["X-BAPI-RECV-WINDOW"] == window


@pytest.mark.parametrize("late_ms", [0, 1])
def test_what_is_late_already_is_not_even_built(late_ms):
    stamp = kit.Stamp(venue_ms=10**12, deadline_ms=10**12 - late_ms, nonce=1, request_id="r")
    with pytest.raises(AssertionError, match="deadline"):
        codec().sockets()[0].place(order(), stamp)
    with pytest.raises(AssertionError, match="deadline"):
        codec().sign(codec().place(order()), stamp)


@pytest.mark.parametrize("request_id", ["", "x" * 37])
def test_a_request_id_that_could_not_come_back(request_id):
    stamp = kit.Stamp(venue_ms=1, deadline_ms=2, nonce=1, request_id=request_id)
    with pytest.raises(AssertionError, match="request id"):
        codec().sockets()[0].place(order(), stamp)


def test_a_scheme_that_is_not_spoken_is_the_callers_mistake():
    with pytest.raises(kit.CommandError) as caught:
        codec(scheme="rsa")
    assert order_text.CANARY not in f"{caught.value!r} {caught.value.fix}"


# ---------------------------------------------------------------------------------- numbers


@given(decimals=st.integers(0, 12), value=st.integers(1, 10**20))
def test_numbers_are_plain_and_canonical(decimals, value):
    text = words.number(value, decimals)
    assert re.fullmatch(r"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", text), text
    assert Decimal(text) == Decimal(f"{value}E-{decimals}")


# ---------------------------------------------------------------------------------- outcomes

# Each code of the sheet's table, and what an order or a cancel is told by it.
UNKNOWN = [
    *[(code, "a time-out, or the server's own trouble") for code in (10000, 10016)],
    *[(code, "submitted, or not told") for code in (170001, 170007, 170032, 170035, 170234)],
    *[(code, "creating, cancelling, amending timed out") for code in (170146, 170147, 170310)],
    *[(code, "failed, without a reason") for code in (170149, 170150, 170311)],
    (10014, "a duplicate request: the first one counts"),
    (40004, "changed meanwhile"),
    *[(code, "that key was taken: the order is there") for code in (110072, 170141)],
    *[(code, "overload: 'retry' is all that it says") for code in (10429, 429)],
    *[(code, "busy with another request: an event tells") for code in (110079, 170191)],
    *[(code, "likewise") for code in (170212, 170144)],
    *[(code, "an amendment, which we never send") for code in (110064, 170312, 170313)],
]
LIMITED = [10006, 10403, 20003, 170005, 170222, 10019]
REFUSED = [
    *[(code, KIND.CLOCK) for code in (10002, -1)],
    *[(code, KIND.REQUEST) for code in (10001, 10404, 10017, 20006, 110032, 170105)],
    *[(code, KIND.REQUEST) for code in (170115, 170116, 170117, 170130, 170201, 170221, 170227)],
    *[(code, KIND.FILTER) for code in (110017, 170134, 170137, 170148)],
    (170121, KIND.HALTED),  # no such symbol
    *[(code, KIND.ACCESS) for code in (10003, 10004, 10005, 10007, 10008, 10009, 10010, 10024)],
    *[(code, KIND.ACCESS) for code in (10027, 10028, 10029, 33004, -2015, 110066, 110132)],
    *[(code, KIND.ACCESS) for code in (110123, 110124, 110125)],
    *[(code, KIND.ACCESS) for code in (170031, 170157, 170209, 170219, 170241, 170348)],
    *[(code, KIND.FUNDS) for code in (110004, 110006, 110007, 110012, 110014, 110044, 110045)],
    *[(code, KIND.FUNDS) for code in (110051, 110052, 110053, 170131, 170033, 170034)],
    *[(code, KIND.FILTER) for code in (110003, 110120, 110121, 30208, 30209, 170132, 170133)],
    *[(code, KIND.FILTER) for code in (170192, 170193, 170194, 170371, 170372, 110094, 170140)],
    *[(code, KIND.FILTER) for code in (170124, 170136, 170197, 170198, 170228, 170229)],
    *[(code, KIND.FILTER) for code in (170341, 170381, 170382, 110021, 110022, 110023, 110090)],
    (110118, KIND.WOULD_NOT_FILL),
    *[(code, KIND.TOO_MANY) for code in (110020, 170810)],
    *[(code, KIND.HALTED) for code in (110074, 170151, 110063, 170159, 110103, 170217, 170210)],
    (170218, KIND.WOULD_TRADE),
    *[(code, KIND.GONE) for code in (110001, 170213, 170143, 110008, 170139)],
    *[(code, KIND.GONE) for code in (110010, 170142, 170190)],
]
LISTED = {0, *LIMITED, *(code for code, _ in REFUSED)}


@pytest.mark.parametrize(("code", "why"), UNKNOWN)
def test_codes_that_prove_nothing(code, why):
    assert isinstance(codec().outcome(answer(code=code, text="no")), kit.Unknown), why


@pytest.mark.parametrize(("code", "kind"), REFUSED)
def test_sure_refusals(code, kind):
    assert codec().outcome(answer(code=code, text="no")) == kit.Rejected(kind, str(code), "no")


@pytest.mark.parametrize("code", LIMITED)
def test_limits(code):
    assert codec().outcome(answer(code=code, text="slow")) == kit.Limited(str(code), "slow")


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({"x-bapi-limit-reset-timestamp": "1767000000900", "timenow": "1767000000100"}, 800),
        ({"x-bapi-limit-reset-timestamp": "1767000000000", "timenow": "1767000000100"}, 0),
        ({"x-bapi-limit-reset-timestamp": "1767000000900"}, 0),  # against which clock?
        ({"x-bapi-limit-reset-timestamp": "soon", "timenow": "now"}, 0),
    ],
)
def test_how_long_a_limit_lasts(headers, wait_ms):
    body = b'{"retCode":10006,"retMsg":"Too many visits!"}'
    told = codec().outcome(kit.Answer(200, headers, body))
    assert told == kit.Limited("10006", "Too many visits!", wait_ms * kit.MS)


def test_an_address_that_is_shut_out_waits_ten_minutes():
    told = codec().outcome(kit.Answer(403, {}, b"<html>"))
    assert isinstance(told, kit.Limited)
    assert told.wait_ns == 600 * 10**9


@given(
    status=st.sampled_from([200, 400, 401, 404, 429]),
    code=st.integers(-5_000, 400_000).filter(lambda code: code not in LISTED),
    text=st.text(max_size=20),
)
def test_a_code_that_is_not_listed_proves_nothing(status, code, text):
    assert isinstance(codec().outcome(answer(code=code, text=text, status=status)), kit.Unknown)
    assert isinstance(errors.meaning(code, text, b"{}", {}), kit.Unknown)


@given(status=st.integers(500, 599), code=st.sampled_from(sorted(LISTED)))
def test_status_comes_first(status, code):
    taken = {"orderId": "19001", "orderLinkId": "a17"}
    assert isinstance(codec().outcome(answer(taken, code, "x", status)), kit.Unknown)


@pytest.mark.parametrize(
    ("status", "result", "outcome"),
    [
        (200, {"orderId": "19001", "orderLinkId": "a17"}, kit.Accepted("19001")),
        (200, {}, kit.Unknown),  # taken, but what?
        (200, {"orderId": 19001}, kit.Unknown),
        (200, ["19001"], kit.Unknown),
        (404, {"orderId": "19001", "orderLinkId": "a17"}, kit.Unknown),  # who answers so?
    ],
)
def test_taken(status, result, outcome):
    told = codec().outcome(answer(result, status=status))
    assert told == outcome or told.__class__ is outcome


@given(st.from_regex(r"[0-9A-Za-z_-]{1,36}", fullmatch=True))
def test_the_requests_id_comes_back(request_id):
    socket = codec().sockets()[0]
    stamp = kit.Stamp(venue_ms=1, deadline_ms=2, nonce=1, request_id=request_id)
    for frame in (socket.place(order(), stamp), socket.cancel(BTC, "a17", "", stamp)):
        said = json.loads(frame.data)
        echoed = {"reqId": said["reqId"], "op": said["op"], "retCode": 10016, "retMsg": ""}
        (reply,) = socket.decode(json.dumps(echoed).encode())
        assert isinstance(reply, kit.Reply)
        assert (reply.request_id, type(reply.outcome)) == (request_id, kit.Unknown)


# ---------------------------------------------------------------------------------- questions


def theirs(number: int = 1, **changed: str) -> dict[str, str]:
    return {
        "orderId": str(19000 + number),
        "orderLinkId": f"a{number}",
        "symbol": "BTCUSDT",
        "side": "Buy",
        "orderType": "Limit",
        "price": "60000",
        "qty": "0.001",
        "timeInForce": "GTC",
        "orderStatus": "PartiallyFilled",
        "cancelType": "UNKNOWN",
        "rejectReason": "EC_NoError",
        "avgPrice": "",
        "leavesQty": "0.0006",
        "cumExecQty": "0.0004",
        "createdTime": "1767000000004",
        "updatedTime": "1767000000005",
    } | changed


def page(items: list, cursor: str = "") -> kit.Answer:
    return answer({"category": "spot", "nextPageCursor": cursor, "list": items})


REPORT = kit.OrderReport(
    instrument=BTC,
    key="a1",
    venue_order_id="19001",
    state=kit.OrderState.OPEN,
    cum_qty=40_000,
    qty=100_000,
    px=600_000_000,
    side=kit.Side.BUY,
    sent_ns=1767000000005 * kit.MS,
)


def test_a_live_order_by_our_key():
    asked, found = drive(codec().order(BTC, "a1", "19001"), page([theirs()]))
    assert asked == [("/v5/order/realtime", {"category": "spot", "orderLinkId": "a1"})]
    assert found == REPORT


def test_a_closed_order_is_in_the_history():
    ended = theirs(orderStatus="Filled", cumExecQty="0.001")
    asked, found = drive(codec().order(BTC, "a1", ""), page([]), page([ended]))
    assert [path for path, _ in asked] == ["/v5/order/realtime", "/v5/order/history"]
    assert (found.state, found.cum_qty) == (kit.OrderState.FILLED, 100_000)


def test_a_foreign_order_by_the_venues_id():
    asked, found = drive(codec().order(BTC, "", "19001"), page([theirs(orderLinkId="")]))
    assert asked[0][1] == {"category": "spot", "orderId": "19001"}
    assert found.key == ""


def test_an_order_that_is_not_found_now():
    other = theirs(2)  # a venue that answers with another's has not answered
    assert drive(codec().order(BTC, "a1", ""), page([]), page([]))[1] is None
    assert drive(codec().order(BTC, "a1", ""), page([other]), page([]))[1] is None


@pytest.mark.parametrize(
    "wrong", [{"orderStatus": "Melted"}, {"cumExecQty": "4e-4"}, {"side": "Hold"}, {"price": "x"}]
)
def test_an_order_in_words_that_nobody_knows(wrong):
    ask = codec().order(BTC, "a1", "")
    next(ask)
    with pytest.raises(kit.VenueError, match="bybit order of BTCUSDT"):
        ask.send(page([theirs(**wrong)]))


@pytest.mark.parametrize(
    ("refused", "words_"),
    [
        (answer(code=10006, text="Too many visits!"), "10006 Too many visits!"),
        (answer(code=10004, text="Invalid sign"), "10004"),
        (answer(code=10016, text="error", status=503), "HTTP 503"),
    ],
)
def test_a_refused_question_is_no_answer(refused, words_):
    ask = codec().order(BTC, "a1", "")
    next(ask)
    with pytest.raises(kit.VenueError, match=words_):
        ask.send(refused)


def test_open_orders_are_read_to_the_last_page():
    pages = [
        page([theirs(1), theirs(2, symbol="DOGEUSDT")], "p2%3A1"),
        page([theirs(1), theirs(3, orderLinkId="web")], "p3"),  # the first has moved
        page([theirs(4, orderStatus="New", cumExecQty="0")]),
    ]
    asked, found = drive(codec().open_orders([BTC]), *pages)
    assert [params.get("cursor") for _, params in asked] == [None, "p2%3A1", "p3"], "as it came"
    assert asked[0][1] == {"category": "spot", "openOnly": "0", "limit": "50"}
    assert [each.key for each in found] == ["a1", "web", "a4"]


@pytest.mark.parametrize("cursors", [["p2", "p2"], ["p2", "p3", "p2"]])
def test_pages_that_go_round_in_circles(cursors):
    ask = codec().open_orders([BTC])
    next(ask)
    for cursor in cursors[:-1]:
        ask.send(page([theirs()], cursor))
    with pytest.raises(kit.VenueError, match="without end"):
        ask.send(page([theirs()], cursors[-1]))


def execution(number: int, time_ms: int, **changed: object) -> dict[str, object]:
    return {
        "symbol": "BTCUSDT",
        "orderId": "19001",
        "orderLinkId": "a1",
        "side": "Sell",
        "execId": f"e{number:04}",
        "execPrice": "60000",
        "execQty": "0.001",
        "execFee": "0.06",
        "feeCurrency": "USDT",
        "isMaker": False,
        "execType": "Trade",
        "execTime": str(time_ms),
        "seq": number,
    } | changed


CLOCK = answer({"timeSecond": str(NOW_MS // 1000), "timeNano": str(NOW_MS * kit.MS)})


@pytest.mark.parametrize("days", [0, 6, 8, 40])
def test_fills_of_many_weeks_and_pages_are_whole(days):
    """Against a venue that holds every execution, and answers as documented: newest first."""
    since = NOW_MS - days * 24 * 3600 * 1000 - 1_000
    times = sorted([since - 1, since, *(since + 1 + i * 3 for i in range(230)), NOW_MS - 1])
    held = [execution(number, time) for number, time in enumerate(times)]
    held.append(execution(9999, since + 5, execType="Funding"))
    ask = codec().fills(BTC, since * kit.MS)
    request = next(ask)
    assert request.path == "/v5/market/time", "how far to ask is for the venue's clock to say"
    reply, asked = CLOCK, 0
    while True:
        try:
            request = ask.send(reply)
        except StopIteration as end:
            fills = end.value
            break
        asked += 1
        assert asked < 60
        params = dict(parse_qsl(request.query))
        start, end_ = int(params["startTime"]), int(params["endTime"])
        assert 0 <= end_ - start <= WEEK_MS, "longer spans are refused"
        found = [each for each in held if start <= int(each["execTime"]) <= end_][::-1]
        at, size = int(params.get("cursor", 0)), int(params["limit"])
        more = at + size < len(found)
        reply = page(found[at : at + size], str(at + size) if more else "")
    wanted = [each["execId"] for each in held if int(each["execTime"]) >= since][:-1]
    assert [fill.trade_id for fill in fills] == wanted
    assert fills[0] == kit.Fill(
        instrument=BTC,
        key="a1",
        venue_order_id="19001",
        trade_id="e0001",
        side=kit.Side.SELL,
        px=600_000_000,
        qty=100_000,
        fee=Decimal("0.06"),
        fee_asset="USDT",
        maker=False,
        sent_ns=since * kit.MS,
    )


def test_balances():
    coins = [
        {"coin": "USDT", "walletBalance": "1000", "locked": "60", "equity": "1000"},
        {"coin": "BTC", "walletBalance": "-0.25", "locked": ""},  # borrowed
    ]
    told = answer({"list": [{"accountType": "UNIFIED", "coin": coins}]})
    asked, found = drive(codec().balances(), told)
    assert asked == [("/v5/account/wallet-balance", {"accountType": "UNIFIED"})]
    assert found == [
        kit.Balance(asset="USDT", total=Decimal(1000), locked=Decimal(60)),
        kit.Balance(asset="BTC", total=Decimal("-0.25"), locked=None),
    ]


def rates(*symbols: str) -> kit.Answer:
    rate = {"takerFeeRate": "0.0010", "makerFeeRate": "-0.0001", "baseCoin": ""}
    return answer({"list": [{"symbol": symbol, **rate} for symbol in symbols]})


def test_fees_all_at_once():
    asked, found = drive(codec().fees([BTC]), rates("ETHUSDT", "BTCUSDT"))
    assert asked == [("/v5/account/fee-rate", {"category": "spot"})]
    assert found == {"BTCUSDT": kit.Fees(taker=Decimal("0.001"), maker=Decimal("-0.0001"))}


def test_fees_that_are_left_out_are_asked_for():
    asked, found = drive(codec().fees([BTC]), rates("ETHUSDT"), rates("BTCUSDT"))
    assert asked[1][1] == {"category": "spot", "symbol": "BTCUSDT"}
    assert found.keys() == {"BTCUSDT"}
    ask = codec().fees([BTC])
    next(ask)
    ask.send(rates())
    with pytest.raises(kit.VenueError, match="not told"):
        ask.send(rates())


@pytest.mark.parametrize(
    ("told", "trade", "withdraw", "ip_bound"),
    [
        # As documented: a key for spot, bound to an address.
        ({"Spot": ["SpotTrade"], "Wallet": ["AccountTransfer"]}, True, False, True),
        ({"Spot": ["SpotTrade"], "Wallet": ["AccountTransfer", "Withdraw"]}, True, True, True),
        ({"Spot": [], "Wallet": []}, False, False, True),
        ({"Spot": ["SpotTrade"]}, True, None, True),  # nothing is said: the worse is assumed
    ],
)
def test_permissions(told, trade, withdraw, ip_bound):
    key = {"readOnly": 0, "permissions": told, "ips": ["192.0.2.1"]}
    asked, found = drive(codec().permissions(), answer(key))
    assert asked == [("/v5/user/query-api", {})]
    assert found == kit.Permissions(read=True, trade=trade, withdraw=withdraw, ip_bound=ip_bound)


def test_a_read_only_key_from_anywhere():
    key = {"readOnly": 1, "permissions": {"Spot": ["SpotTrade"]}, "ips": ["*"]}
    found = drive(codec().permissions(), answer(key))[1]
    assert found == kit.Permissions(read=True, trade=False, withdraw=False, ip_bound=False)


def test_an_ordinary_account_has_no_dead_man_switch():
    assert codec().dead_man(60) is None


def test_addresses():
    trade, events = codec().sockets()
    assert (trade.takes_orders, trade.tells_events) == (True, False)
    assert (events.takes_orders, events.tells_events) == (False, True)
    hosts = CONNECTOR.spec.hosts
    assert trade.url(hosts["live"]) == "wss://stream.bybit.com/v5/trade"
    assert events.url(hosts["eu"]) == "wss://stream.bybit.eu/v5/private"
    assert events.url(hosts["demo"]) == "wss://stream-demo.bybit.com/v5/private"
    assert trade.url(hosts["demo"]) == "", "demo takes orders by REST alone"


# ---------------------------------------------------------------------------------- recordings


def test_recorded_orders_live_as_documented():
    """28 messages: 10 market orders Filled, 8 limit orders New, then Cancelled (data index).

    They were recorded on linear, whose frames say the same words: the category is changed.
    """
    path = RECORDINGS / "private_order_stream.jsonl"
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}: set HEAN_RECORDINGS")
    _, socket = codec().sockets()
    raw = path.read_bytes().splitlines()
    events = [
        event
        for line in raw
        for event in socket.decode(line.replace(b'"category":"linear"', b'"category":"spot"'))
    ]
    assert len(raw) == len(events) == 28
    assert events[:2] == [kit.LoggedIn(ready=False), kit.LoggedIn(ready=True)]
    lives = defaultdict(list)
    for event in events[2:]:
        lives[event.venue_order_id].append(event)
    kinds = Counter(tuple(report.state.value for report in life) for life in lives.values())
    assert kinds == {("filled",): 10, ("open", "canceled"): 8}
    for life in lives.values():
        last = life[-1]
        # As spot, a market buy counts quote unless it says otherwise, which linear never does.
        in_quote = last.px is None and last.side is kit.Side.BUY
        assert {report.qty for report in life} == {None if in_quote else 1_000_000}
        assert last.cum_qty == (1_000_000 if last.state is kit.OrderState.FILLED else 0)
        assert (last.px is None) == (last.state is kit.OrderState.FILLED), "no market price"
        assert all(report.sent_ns > 1.7e18 for report in life)
        assert [report.key for report in life] == [""] * len(life), "they had none"


def test_recorded_linear_orders_are_none_of_spots():
    path = RECORDINGS / "private_order_stream.jsonl"
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}: set HEAN_RECORDINGS")
    _, socket = codec().sockets()
    told = [event for line in path.read_bytes().splitlines() for event in socket.decode(line)]
    assert len(told) == 2, "the login and the subscription"
