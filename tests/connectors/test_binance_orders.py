"""Binance's orders: signatures, refusals, questions, recorded life cycles.

Exact frames and what events mean: `golden/binance/orders`, run by `test_promises.py`.
"""

import base64
import gzip
import json
import os
import re
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from connectors.binance import CONNECTOR, errors, words
from hean_router import kit
from tests.connectors import order_text
from tests.connectors.order_text import STAMP

RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / "binance"
KIND = kit.RejectKind
DAY_MS = 24 * 3600 * 1000

# The venue's own example key (rest-api/request-security), good for nothing else.
EXAMPLE = {
    "key": "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A",
    "secret": "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j",
}


def listed(symbol: str = "BTCUSDT", tick: int = 10**6, lot: int = 1000) -> kit.Instrument:
    return kit.Instrument(
        venue=kit.VenueId("binance"),
        pair=kit.Pair(symbol[:-4], symbol[-4:]),
        symbol=symbol,
        px_decimals=8,
        qty_decimals=8,
        tick=tick,
        lot=lot,
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
        "px": 61_000 * 10**8,
    }
    return kit.Approved(kit.ChildOrder(**facts | changed))


def answer(value: object, status: int = 200, **headers: str) -> kit.Answer:
    return kit.Answer(status, headers, json.dumps(value).encode())


def refusal(code: int, text: str = "no", status: int = 400, **headers: str) -> kit.Answer:
    return answer({"code": code, "msg": text}, status, **headers)


def drive(ask, *answers: kit.Answer):
    """Answer a dialogue; its requests as (path, parameters), and what it returns."""
    requests = [next(ask), *map(ask.send, answers[:-1])]
    with pytest.raises(StopIteration) as end:
        ask.send(answers[-1])
    assert all(request.signed for request in requests)
    return [(r.path, dict(parse_qsl(r.query))) for r in requests], end.value.value


# ---------------------------------------------------------------------------------- signing


def test_the_documented_rest_signature():
    payload = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    signer = codec(**EXAMPLE)._signer
    signature = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert signer.of(payload) == signature
    stamp = kit.Stamp(venue_ms=1499827319559, deadline_ms=1499827324559, nonce=1)
    asked = payload.rpartition("&recvWindow")[0]
    assert signer.query(asked, stamp) == f"{payload}&signature={signature}"


def test_the_documented_socket_signature():
    socket = codec(**EXAMPLE).sockets()[0]
    stamp = kit.Stamp(venue_ms=1645423376532, deadline_ms=1645423376632, nonce=1)
    params = {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": "0.01000000",
        "price": "52000.00",
    }
    said = json.loads(socket._request("p1", "order.place", params, stamp).data)["params"]
    assert said["recvWindow"] == 100
    assert said["signature"] == "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"


def test_what_must_be_encoded_is_encoded_before_it_is_signed():
    strange = listed("币安人生USDT")
    request = codec(strange).place(order(instrument=strange))
    assert request.query.isascii()
    assert "symbol=%E5%B8%81" in request.query
    signed = codec(strange).sign(request, STAMP)
    payload, _, signature = signed.query.rpartition("&signature=")
    assert signature == codec(strange)._signer.of(payload)
    said = json.loads(codec(strange).sockets()[0].place(order(instrument=strange), STAMP).data)
    assert said["params"]["symbol"] == "币安人生USDT", "the socket wants it as it stands"


@pytest.mark.parametrize(
    ("ahead_ms", "window_ms"),
    [(1, 1), (2_000, 2_000), (60_000, 60_000), (90_000, 60_000)],  # more is refused: -1131
)
def test_the_window_ends_at_the_deadline_or_before(ahead_ms, window_ms):
    stamp = kit.Stamp(venue_ms=10**12, deadline_ms=10**12 + ahead_ms, nonce=1, request_id="r")
    said = json.loads(codec().sockets()[0].place(order(), stamp).data)["params"]
    assert said["recvWindow"] == window_ms
    assert f"recvWindow={window_ms}&" in codec().sign(codec().place(order()), stamp).query


@pytest.mark.parametrize("late_ms", [0, 1])
def test_what_is_late_already_is_not_even_built(late_ms):
    stamp = kit.Stamp(venue_ms=10**12, deadline_ms=10**12 - late_ms, nonce=1, request_id="r")
    with pytest.raises(AssertionError, match="deadline"):
        codec().sockets()[0].place(order(), stamp)
    with pytest.raises(AssertionError, match="deadline"):
        codec().sign(codec().place(order()), stamp)


def ed25519() -> tuple[Ed25519PrivateKey, str]:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return key, pem.decode()


def test_an_ed25519_key_logs_the_session_on_and_signs_no_more():
    key, pem = ed25519()
    socket = codec(scheme="ed25519", secret=pem).sockets()[0]
    (frame,) = socket.login(STAMP)
    said = json.loads(frame.data)
    assert said["method"] == "session.logon"
    params = said["params"]
    payload = f"apiKey=simkey01&recvWindow=2000&timestamp={STAMP.venue_ms}"
    key.public_key().verify(base64.b64decode(params["signature"]), payload.encode())
    on = b'{"id":"hean-logon","status":200,"result":{"apiKey":"simkey01","authorizedSince":1}}'
    assert list(socket.decode(on)) == [kit.LoggedIn(ready=False)]
    (frame,) = socket.subscribe(STAMP)
    assert json.loads(frame.data) == {"id": "hean-events", "method": "userDataStream.subscribe"}
    on = b'{"id":"hean-events","status":200,"result":{"subscriptionId":0}}'
    assert list(socket.decode(on)) == [kit.LoggedIn(ready=True)]
    params = json.loads(socket.place(order(), STAMP).data)["params"]
    assert params.keys().isdisjoint({"apiKey", "signature"})
    assert params["timestamp"] == STAMP.venue_ms


def test_an_ed25519_signature_is_fit_for_an_url():
    key, pem = ed25519()
    request = codec(scheme="ed25519", secret=pem)
    for number in range(20):  # some signature has a + or a /
        signed = request.sign(request.place(order(key=f"a{number}")), STAMP).query
        payload, _, signature = signed.rpartition("&signature=")
        assert re.fullmatch(r"[0-9A-Za-z%]+", signature)
        key.public_key().verify(base64.b64decode(unquote(signature)), payload.encode())


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        ("ed25519", order_text.CANARY),  # no PEM
        ("ed25519", f"-----BEGIN PRIVATE KEY-----\n{order_text.CANARY}\n-----END PRIVATE KEY-----"),
        ("rsa", order_text.CANARY),  # not spoken
        ("", order_text.CANARY),
    ],
)
def test_a_key_that_cannot_sign_is_the_callers_mistake(scheme, secret):
    with pytest.raises(kit.CommandError) as caught:
        codec(scheme=scheme, secret=secret)
    told = f"{caught.value!r} {caught.value.fix} {caught.value.__cause__!r}"
    assert order_text.CANARY not in told
    assert caught.value.__cause__ is None


# ---------------------------------------------------------------------------------- numbers


@given(
    decimals=st.integers(0, 12),
    digits=st.integers(0, 12),
    factor=st.sampled_from([1, 2, 5, 25]),
    count=st.integers(1, 10**9),
)
def test_numbers_have_the_steps_decimals_and_no_exponent(decimals, digits, factor, count):
    step = factor * 10 ** max(0, decimals - digits)
    text = words.number(count * step, decimals, step)
    assert re.fullmatch(r"([0-9]{1,20})(\.[0-9]{1,20})?", text), text
    assert Decimal(text) == Decimal(count * step).scaleb(-decimals)
    wanted = kit.decimals_of(Decimal(step).scaleb(-decimals))
    assert len(text.partition(".")[2]) == wanted, "exactly the step's"


# ---------------------------------------------------------------------------------- outcomes

# Each code of the sheet's table, and what an order or a cancel is told by it.
UNKNOWN = [
    (-1000, "the catch-all of errors"),
    (-1001, "disconnected inside the venue"),
    (-1006, "unexpected answer: execution status unknown, in its own words"),
    (-1007, "the engine did not answer within 10 s: status unknown"),
    (-1008, "overloaded: the spot text does not promise that nothing was done"),
    (-1016, "service shutting down"),
    (-2013, "an answer to a question, never to an order"),
    (-2026, "likewise"),
    (-2021, "half of a cancel-replace, which we never send"),
    (-2022, "likewise"),
    (-2038, "an amendment, which we never send"),
    (-2039, "likewise"),
]
REFUSED = [
    *[(code, KIND.REQUEST) for code in (-1014, -1020, -1128, -1130, -1131, -1134, -1135, -1145)],
    *[(code, KIND.REQUEST) for code in range(-1108, -1099)],
    *[(code, KIND.REQUEST) for code in range(-1120, -1113)],
    (-1220, KIND.REQUEST),
    (-1111, KIND.FILTER),
    (-1121, KIND.HALTED),
    (-1021, KIND.CLOCK),
    *[(code, KIND.ACCESS) for code in (-1002, -1022, -1099, -2014, -2015)],
    (-2011, KIND.GONE),
]
TEXTS = [
    (-2010, "Account has insufficient balance for requested action.", KIND.FUNDS),
    (-2010, "Order would immediately match and take.", KIND.WOULD_TRADE),
    (-2010, "Market is closed.", KIND.HALTED),
    (-2010, "This action is disabled on this account.", KIND.ACCESS),
    (-2010, "This symbol is not permitted for this account.", KIND.HALTED),
    (-2010, "Price * QTY is zero or less.", KIND.FILTER),
    (-2010, "Order book liquidity is less than quoteOrderQty.", KIND.WOULD_NOT_FILL),
    (-1010, "Account has insufficient balance for requested action.", KIND.FUNDS),
    (-1013, "Filter failure: PRICE_FILTER", KIND.FILTER),
    (-1013, "Filter failure: LOT_SIZE", KIND.FILTER),
    (-1013, "Filter failure: MARKET_LOT_SIZE", KIND.FILTER),
    (-1013, "Filter failure: NOTIONAL", KIND.FILTER),
    (-1013, "Filter failure: MIN_NOTIONAL", KIND.FILTER),
    (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE", KIND.FILTER),
    (-1013, "Filter failure: MAX_POSITION", KIND.FILTER),
    (-1013, "Filter failure: MAX_NUM_ORDERS", KIND.TOO_MANY),
    (-1013, "Filter failure: EXCHANGE_MAX_NUM_ORDERS", KIND.TOO_MANY),
    (-1013, "Market is closed.", KIND.HALTED),  # to a cancel, when the symbol does not trade
]
LISTED = {-2010, -1010, -1013, -1003, -1015, -1034, *(code for code, _ in REFUSED)}


@pytest.mark.parametrize(("code", "why"), UNKNOWN)
def test_codes_that_prove_nothing(code, why):
    assert isinstance(codec().outcome(refusal(code)), kit.Unknown), why


@pytest.mark.parametrize(("code", "kind"), REFUSED)
def test_sure_refusals(code, kind):
    assert codec().outcome(refusal(code)) == kit.Rejected(kind, str(code), "no")


@pytest.mark.parametrize(("code", "text", "kind"), TEXTS)
def test_refusals_that_speak_through_their_text(code, text, kind):
    assert codec().outcome(refusal(code, text)) == kit.Rejected(kind, str(code), text)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-2010, "Duplicate order sent."),  # an order of that id is open: ours
        (-2010, "Something that nobody has documented."),
        (-1010, ""),
    ],
)
def test_texts_that_prove_nothing(code, text):
    assert isinstance(codec().outcome(refusal(code, text)), kit.Unknown)


@pytest.mark.parametrize(
    ("status", "code", "retry_after", "wait_s"),
    [
        (429, -1003, "7", 7),
        (418, -1003, "120", 120),
        (429, -1015, "", 0),  # the venue does not say
        (429, -1034, "soon", 0),
        (429, -1003, "-5", 0),
        (429, -1003, "9" * 30, 0),
    ],
)
def test_limits(status, code, retry_after, wait_s):
    headers = {"retry-after": retry_after} if retry_after else {}
    told = codec().outcome(refusal(code, "slow down", status, **headers))
    assert told == kit.Limited(str(code), "slow down", wait_s * 10**9)


def test_the_firewall_stands_before_everything():
    assert isinstance(codec().outcome(kit.Answer(403, {}, b"<html>")), kit.Limited)


@given(
    status=st.integers(400, 499).filter(lambda status: status != 403),
    code=st.integers(-10_000, 10_000).filter(lambda code: code not in LISTED),
    text=st.text(max_size=20),
)
def test_a_code_that_is_not_listed_proves_nothing(status, code, text):
    assert isinstance(codec().outcome(refusal(code, text, status)), kit.Unknown)
    error = errors.Error(code, text)
    assert isinstance(errors.meaning(status, error), kit.Unknown)


@given(
    status=st.one_of(st.integers(100, 399), st.integers(500, 599)),
    code=st.sampled_from(sorted(LISTED)),
)
def test_status_comes_first(status, code):
    text = "Account has insufficient balance for requested action."
    assert isinstance(codec().outcome(refusal(code, text, status)), kit.Unknown)
    assert isinstance(errors.meaning(status, errors.Error(code, text)), kit.Unknown)


def test_taken():
    told = codec().outcome(answer({"symbol": "BTCUSDT", "orderId": 9001, "status": "EXPIRED"}))
    assert told == kit.Accepted("9001"), "what became of it is told by events"


@given(st.from_regex(r"[0-9A-Za-z_-]{1,36}", fullmatch=True))
def test_the_requests_id_comes_back(request_id):
    socket = codec().sockets()[0]
    stamp = kit.Stamp(venue_ms=1, deadline_ms=2, nonce=1, request_id=request_id)
    for frame in (socket.place(order(), stamp), socket.cancel(BTC, "a17", "", stamp)):
        echoed = json.dumps({"id": json.loads(frame.data)["id"], "status": 500, "error": None})
        (reply,) = socket.decode(echoed.encode())
        assert isinstance(reply, kit.Reply)
        assert (reply.request_id, type(reply.outcome)) == (request_id, kit.Unknown)


# ---------------------------------------------------------------------------------- questions

RESTING = {
    "symbol": "BTCUSDT",
    "orderId": 9001,
    "orderListId": -1,
    "clientOrderId": "a17",
    "price": "61000.00000000",
    "origQty": "0.00100000",
    "executedQty": "0.00040000",
    "cummulativeQuoteQty": "24.40000000",
    "status": "PARTIALLY_FILLED",
    "timeInForce": "GTC",
    "type": "LIMIT",
    "side": "BUY",
    "time": 1767000000012,
    "updateTime": 1767000000500,
    "isWorking": True,
}
REPORT = kit.OrderReport(
    instrument=BTC,
    key="a17",
    venue_order_id="9001",
    state=kit.OrderState.OPEN,
    cum_qty=40_000,
    qty=100_000,
    px=61_000 * 10**8,
    side=kit.Side.BUY,
    sent_ns=1767000000500 * kit.MS,
)
NOT_FOUND = refusal(-2013, "Order does not exist.")


def test_an_order_by_our_key():
    asked, found = drive(codec().order(BTC, "a17", ""), answer(RESTING))
    assert asked == [("/api/v3/order", {"origClientOrderId": "a17", "symbol": "BTCUSDT"})]
    assert found == REPORT


def test_an_order_that_a_cancel_of_ours_has_renamed():
    ended = {**RESTING, "clientOrderId": "cxl_a17", "status": "CANCELED"}
    asked, found = drive(codec().order(BTC, "a17", ""), NOT_FOUND, answer(ended))
    assert [params["origClientOrderId"] for _, params in asked] == ["a17", "cxl_a17"]
    assert (found.key, found.state) == ("a17", kit.OrderState.CANCELED)


def test_an_order_by_the_venues_id():
    asked, found = drive(codec().order(BTC, "a17", "9001"), answer(RESTING))
    assert asked == [("/api/v3/order", {"orderId": "9001", "symbol": "BTCUSDT"})]
    assert found == REPORT


def test_an_order_that_is_not_found_now():
    assert drive(codec().order(BTC, "a17", ""), NOT_FOUND, NOT_FOUND)[1] is None
    assert drive(codec().order(BTC, "a17", "9001"), NOT_FOUND)[1] is None


def test_an_archived_order_ended_without_a_fill():
    _, found = drive(codec().order(BTC, "a17", ""), refusal(-2026, "Order was canceled."))
    assert (found.state, found.cum_qty) == (kit.OrderState.EXPIRED, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {**RESTING, "symbol": "ETHUSDT"},  # another's order
        {**RESTING, "status": "MELTED"},
        {**RESTING, "executedQty": "4e-4"},
        {**RESTING, "side": "HOLD"},
    ],
)
def test_an_order_in_words_that_nobody_knows(wrong):
    ask = codec().order(BTC, "a17", "")
    next(ask)
    with pytest.raises(kit.VenueError, match="binance order of BTCUSDT"):
        ask.send(answer(wrong))


@pytest.mark.parametrize("status", [400, 401, 418, 429, 500, 503])
def test_a_refused_question_is_no_answer(status):
    ask = codec().order(BTC, "a17", "")
    next(ask)
    with pytest.raises(kit.VenueError, match=f"HTTP {status}: -1003"):
        ask.send(refusal(-1003, "slow down", status))


def test_a_5xx_with_not_found_in_it_is_not_not_found():
    ask = codec().order(BTC, "a17", "")
    next(ask)
    with pytest.raises(kit.VenueError, match="HTTP 503"):
        ask.send(refusal(-2013, "Order does not exist.", 503))


def test_open_orders_foreign_ones_too():
    foreign = {**RESTING, "orderId": 9002, "clientOrderId": "web_1f", "side": "SELL"}
    unlisted = {**RESTING, "symbol": "DOGEUSDT"}
    asked, found = drive(codec().open_orders([BTC]), answer([RESTING, unlisted, foreign]))
    assert asked == [("/api/v3/openOrders", {})]
    assert [(each.key, each.venue_order_id) for each in found] == [
        ("a17", "9001"),
        ("web_1f", "9002"),
    ]


def trade(number: int, time_ms: int) -> dict[str, object]:
    return {
        "symbol": "BTCUSDT",
        "id": number,
        "orderId": 9000 + number,
        "price": "61000.00000000",
        "qty": "0.00100000",
        "quoteQty": "61.00000000",
        "commission": "0.06100000",
        "commissionAsset": "USDT",
        "time": time_ms,
        "isBuyer": False,
        "isMaker": True,
        "isBestMatch": True,
    }


def test_fills_that_fit_in_one_page():
    page = [trade(3, 3000), trade(1, 1000), trade(2, 2000)]
    asked, fills = drive(codec().fills(BTC, 2000 * kit.MS), answer(page))
    assert asked == [("/api/v3/myTrades", {"symbol": "BTCUSDT", "limit": "1000"})]
    assert [fill.trade_id for fill in fills] == ["2", "3"], "oldest first, none of before"
    assert fills[0] == kit.Fill(
        instrument=BTC,
        key="",
        venue_order_id="9002",
        trade_id="2",
        side=kit.Side.SELL,
        px=61_000 * 10**8,
        qty=100_000,
        fee=Decimal("0.061"),
        fee_asset="USDT",
        maker=True,
        sent_ns=2000 * kit.MS,
    )


@pytest.mark.parametrize("days", [0, 2, 29, 31, 400])  # within a span, several, by the first trade
def test_fills_of_many_pages_are_whole(days):
    """Against a venue that holds every trade, and answers as documented."""
    now = 1_767_000_000_000
    since = now - days * DAY_MS - 5_000
    times = [since - 1000, *(since + 2_000 + i for i in range(3_500)), now]
    held = [trade(7 * number + 5, time) for number, time in enumerate(sorted(times))]
    if days == 0:
        held = held[:-1]
    ask = codec().fills(BTC, since * kit.MS)
    request, asked = next(ask), 0
    while True:
        asked += 1
        assert asked < 60
        params = dict(parse_qsl(request.query))
        limit = int(params["limit"])
        if "fromId" in params:
            page = [each for each in held if each["id"] >= int(params["fromId"])][:limit]
        elif "startTime" in params:
            start, end = int(params["startTime"]), int(params["endTime"])
            assert 0 <= end - start < DAY_MS, "longer spans are refused"
            page = [each for each in held if start <= each["time"] <= end][:limit]
        else:
            page = held[-limit:]
        try:
            request = ask.send(answer(page))
        except StopIteration as end:
            fills = end.value
            break
    wanted = [str(each["id"]) for each in held if each["time"] >= since]
    assert [fill.trade_id for fill in fills] == wanted


def test_balances():
    account = {
        "canTrade": True,
        "balances": [{"asset": "USDT", "free": "939.00000000", "locked": "61.00000000"}],
    }
    asked, found = drive(codec().balances(), answer(account))
    assert asked == [("/api/v3/account", {"omitZeroBalances": "true"})]
    assert found == [kit.Balance(asset="USDT", total=Decimal(1000), locked=Decimal(61))]


def test_fees_are_the_sum_of_all_kinds_without_a_discount():
    rates = {"maker": "0.00075", "taker": "0.00100", "buyer": "0.00000", "seller": "0.00000"}
    told = {
        "symbol": "BTCUSDT",
        "standardCommission": rates,
        "specialCommission": {**rates, "maker": "0", "taker": "0"},
        "taxCommission": {**rates, "maker": "0.00001", "taker": "0.00002", "seller": "0.0003"},
        "discount": {"enabledForAccount": True, "discountAsset": "BNB", "discount": "0.75"},
    }
    asked, found = drive(codec().fees([BTC]), answer(told))
    assert asked == [("/api/v3/account/commission", {"symbol": "BTCUSDT"})]
    assert found == {"BTCUSDT": kit.Fees(taker=Decimal("0.00132"), maker=Decimal("0.00106"))}


def test_permissions_are_the_keys_own():
    told = {
        "ipRestrict": True,
        "enableReading": True,
        "enableWithdrawals": True,
        "enableSpotAndMarginTrading": False,
    }
    asked, found = drive(codec().permissions(), answer(told))
    assert asked == [("/sapi/v1/account/apiRestrictions", {})]
    assert found == kit.Permissions(read=True, trade=False, withdraw=True, ip_bound=True)


@pytest.mark.parametrize(
    ("account_may", "withdraw"),
    [(True, None), (False, False)],  # what the account cannot, no key of it can
)
def test_permissions_where_only_the_account_is_told(account_may, withdraw):
    account = {"canTrade": True, "canWithdraw": account_may, "balances": []}
    missing = kit.Answer(404, {}, b"<html>not found</html>")
    _, found = drive(codec().permissions(), missing, answer(account))
    assert found == kit.Permissions(read=True, trade=True, withdraw=withdraw)


def test_there_is_no_dead_man_switch_on_spot():
    assert codec().dead_man(60) is None


def test_addresses():
    (socket,) = codec().sockets()
    hosts = CONNECTOR.spec.hosts
    assert socket.url(hosts["live"]) == "wss://ws-api.binance.com:443/ws-api/v3"
    assert socket.url(hosts["testnet"]) == "wss://ws-api.testnet.binance.vision/ws-api/v3"
    assert socket.url({"ws": "ws://127.0.0.1:1/"}) == "ws://127.0.0.1:1/ws-api/v3"


# ---------------------------------------------------------------------------------- recordings


def recorded(name: str) -> Path:
    if not (path := RECORDINGS / name).exists():
        pytest.skip(f"no recordings at {RECORDINGS}: set HEAN_RECORDINGS")
    return path


def test_recorded_market_orders_live_as_documented():
    """59 messages, 23 spot market orders: NEW, then trades up to FILLED (data index)."""
    raw = recorded("private_executionReport.jsonl").read_text().splitlines()
    symbols = {json.loads(line)["s"] for line in raw}
    socket = codec(*map(listed, symbols)).sockets()[0]
    lives, traded = defaultdict(list), Counter()
    trades = set()
    for line in raw:
        for event in socket.decode(b'{"subscriptionId":0,"event":%s}' % line.encode()):
            life = (event.instrument.symbol, event.venue_order_id)
            if isinstance(event, kit.Fill):
                assert (event.instrument, event.trade_id) not in trades, "told once"
                trades.add((event.instrument, event.trade_id))
                assert event.fee > 0
                assert event.fee_asset
                traded[life] += event.qty
            else:
                lives[life].append(event)
                assert event.cum_qty == traded[life], "cumulative, and every trade is seen"
    assert (len(raw), len(lives), len(trades)) == (59, 23, 59 - 23)
    for life, reports in lives.items():
        states = [report.state for report in reports]
        assert states[0] is kit.OrderState.OPEN
        assert states[-1] is kit.OrderState.FILLED
        assert states.count(kit.OrderState.FILLED) == 1
        assert reports[-1].cum_qty == reports[-1].qty == traded[life]
        assert {report.px for report in reports} == {None}, "a market order has no price"


def test_recorded_transfers_are_told_but_not_booked():
    lines = recorded("private_balanceUpdate.jsonl").read_bytes().splitlines()
    for line in lines:
        (event,) = codec().sockets()[0].decode(b'{"subscriptionId":0,"event":%s}' % line)
        assert isinstance(event, kit.Notice)


def test_recorded_answers():
    routes = json.loads(gzip.decompress(recorded("rest_recorded.json.gz").read_bytes()))
    seen = Counter()
    for said in routes["/api/v3/openOrders"]["GET"]:
        instruments = [listed(each["symbol"]) for each in said["data"]]
        found = drive(codec(*instruments).open_orders(instruments), answer(said["data"]))[1]
        assert len(found) == len(said["data"])
        seen["open"] += len(found)
    for said in routes["/api/v3/order"]["GET"]:
        of = listed(said["data"]["symbol"])
        found = drive(codec(of).order(of, "x1", "1"), answer(said["data"]))[1]
        assert found.venue_order_id == str(said["data"]["orderId"])
        seen["order"] += 1
    for said in routes["/api/v3/order"]["DELETE"]:
        told = codec().outcome(answer(said["data"]))
        assert told == kit.Accepted(str(said["data"]["orderId"]))
        seen["cancel"] += 1
    for said in routes["/api/v3/order"]["POST"]:  # their answers were not recorded
        assert isinstance(codec().outcome(answer(said["data"])), kit.Unknown)
        seen["place"] += 1
    for said in routes["/api/v3/account"]["GET"]:
        assert len(drive(codec().balances(), answer(said["data"]))[1]) > 5
        seen["account"] += 1
    assert min(seen.values()) > 0
    assert seen.keys() == {"open", "order", "cancel", "place", "account"}
