"""Kraken's orders: signatures, error texts, questions, and what its socket remembers."""

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.kraken import CONNECTOR, SPEC, errors, private, sign, times, words
from hean_router import kit

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
TOKEN = "canary-token"
OWN = kit.Credentials(account="main", key="canary-key", secret=SECRET)
STAMP = kit.Stamp(
    venue_ms=1_772_445_600_000,
    deadline_ms=1_772_445_602_000,
    nonce=1_616_492_376_594,
    request_id="r1",
    token=TOKEN,
)
Kind = kit.RejectKind


def instrument(pair="BTC/USD", names=("XBT/USD", "XBTUSD", "XXBTZUSD"), **facts) -> kit.Instrument:
    facts = {"px_decimals": 1, "qty_decimals": 8, "aliases": names} | facts
    return kit.Instrument(venue=SPEC.id, pair=kit.Pair.parse(pair), symbol=pair, **facts)


BTC = instrument()
ETH = instrument("ETH/USDT", ("ETH/USDT", "ETHUSDT", "ETHUSDT"), px_decimals=2)


def codec(*instruments: kit.Instrument):
    return CONNECTOR.orders(OWN, {each.symbol: each for each in instruments or (BTC, ETH)})


def socket_in() -> kit.OrderSocket:
    """A socket whose subscriptions are acknowledged."""
    (socket,) = codec().sockets()
    list(socket.login(STAMP))
    for number, channel in ((1, "executions"), (2, "balances")):
        list(socket.decode(ack("subscribe", number, channel=channel)))
    return socket


def ack(method: str, number: int, **result) -> bytes:
    return json.dumps(
        {"method": method, "req_id": number, "success": True, "result": result}
    ).encode()


def nack(method: str, number: int, error: str) -> bytes:
    told = {"method": method, "req_id": number, "success": False, "error": error}
    return json.dumps(told | {"time_out": "2026-03-02T10:00:00.124001Z"}).encode()


def executions(sequence: int, *rows: dict, kind="update") -> bytes:
    told = {"channel": "executions", "type": kind, "data": rows, "sequence": sequence}
    return json.dumps(told).encode()


def limit(**changed) -> kit.Approved:
    facts = {"key": "k7a1b2", "account": "main", "instrument": BTC, "side": kit.Side.BUY}
    return kit.Approved(kit.ChildOrder(**facts | {"qty": 1_000_000, "px": 600_001} | changed))


def ok(result: object) -> kit.Answer:
    return kit.Answer(200, {}, json.dumps({"error": [], "result": result}).encode())


def refused(*texts: str, status: int = 200) -> kit.Answer:
    return kit.Answer(status, {}, json.dumps({"error": texts}).encode())


def end_of(ask, *answers):
    """Drive an Ask to its end; returns its requests and its result."""
    requests = [next(ask)]
    for number, answer in enumerate(answers, 1):
        try:
            requests.append(ask.send(answer))
        except StopIteration as end:
            assert number == len(answers), "it ended early"
            return requests, end.value
    raise AssertionError(f"it wants more answers: {requests[-1].path}")


# ------------------------------------------------------------------------------------- signing


@pytest.mark.parametrize(
    ("body", "expected"),
    [
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
    ids=["form", "json"],
)
def test_published_signatures(body, expected):
    code = kit.KeyedHash(base64.b64decode(SECRET), "sha512")
    assert sign.signature(code, "/0/private/AddOrder", b"1616492376594", body) == expected


def test_a_request_is_signed_over_the_bytes_that_are_sent():
    fields = b"ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    bare = kit.HttpRequest(path="/0/private/Other", method="POST", body=fields, signed=True)
    signed = codec().sign(bare, STAMP)
    assert signed.body == b"nonce=1616492376594&" + fields
    assert signed.headers["API-Key"] == "canary-key"
    assert signed.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert len(signed.headers["API-Sign"]) == 88


@pytest.mark.parametrize(
    ("order", "fields"),
    [
        (limit(), "ordertype=limit&type=buy&volume=0.01&pair=XBTUSD&price=60000.1&timeinforce=GTC"
                  "&oflags=fciq"),
        (limit(post_only=True), "ordertype=limit&type=buy&volume=0.01&pair=XBTUSD&price=60000.1"
                                "&timeinforce=GTC&oflags=post,fciq"),
        (limit(tif=kit.Tif.IOC, side=kit.Side.SELL),
         "ordertype=limit&type=sell&volume=0.01&pair=XBTUSD&price=60000.1&timeinforce=IOC"
         "&oflags=fciq"),
        (limit(tif=kit.Tif.FOK, qty=100_000_000),
         "ordertype=limit&type=buy&volume=1&pair=XBTUSD&price=60000.1&timeinforce=FOK&oflags=fciq"),
        (limit(tif=kit.Tif.IOC, px=None, qty=1),
         "ordertype=market&type=buy&volume=0.00000001&pair=XBTUSD&oflags=fciq"),
    ],
    ids=["gtc", "post-only", "ioc", "fok", "market"],
)  # fmt: skip
def test_orders_by_rest(order, fields):
    orders = codec()
    request = orders.sign(orders.place(order), STAMP)
    assert (request.method, request.path) == ("POST", "/0/private/AddOrder")
    assert request.body.decode() == (
        f"nonce=1616492376594&{fields}&stptype=cancel-newest&cl_ord_id=k7a1b2"
        "&deadline=2026-03-02T10%3A00%3A02.000Z"
    )


def test_cancels_by_rest():
    orders = codec()
    ours = orders.sign(orders.cancel(BTC, "k7a1b2", "OABC"), STAMP)
    assert ours.body == b"nonce=1616492376594&cl_ord_id=k7a1b2"
    foreign = orders.sign(orders.cancel(BTC, "", "OABCDE-12345-FGHIJK"), STAMP)
    assert foreign.body == b"nonce=1616492376594&txid=OABCDE-12345-FGHIJK"


@pytest.mark.parametrize(
    ("ahead_ms", "said", "why"),
    [
        (2_000, "2026-03-02T10:00:02.000Z", "ours"),
        (90_000, "2026-03-02T10:01:00.000Z", "a minute is the most"),
        (100, "2026-03-02T10:00:00.100Z", "refused, but never later than ours"),
    ],
)
def test_deadlines(ahead_ms, said, why):
    at = kit.Stamp(venue_ms=STAMP.venue_ms, deadline_ms=STAMP.venue_ms + ahead_ms, nonce=1)
    assert sign.deadline(at) == said, why


@pytest.mark.parametrize("secret", ["not base64!", "abc", "§"])
def test_a_secret_that_is_none_is_told_at_once_and_not_repeated(secret):
    with pytest.raises(kit.CommandError, match="base64") as caught:
        CONNECTOR.orders(kit.Credentials(account="main", key="k", secret=secret), {})
    assert secret not in str(caught.value).replace("not base64", "")


@given(st.integers(0, 4_000_000_000_000))
def test_times_come_back(epoch_ms):
    assert times.ns(times.iso(epoch_ms)) == epoch_ms * kit.MS


@pytest.mark.parametrize(
    ("text", "epoch_ns"),
    [("1688585840.8921", 1_688_585_840_892_100_000), ("1688585840", 1_688_585_840 * 10**9)],
)
def test_times_of_rest(text, epoch_ns):
    assert times.of_seconds(text) == epoch_ns


@pytest.mark.parametrize("text", ["", "now", "-1", "1e9", "1.0000000001", "1.2.3"])
def test_times_that_are_none(text):
    with pytest.raises(ValueError, match="not a time"):
        times.of_seconds(text)


# ------------------------------------------------------------------------------------- errors

TEXTS = [
    ("EOrder:Insufficient funds", Kind.FUNDS, "balance"),
    ("EOrder:Order minimum not met", Kind.FILTER, "quantity"),
    ("EOrder:Cost minimum not met", Kind.FILTER, "notional"),
    ("EOrder:Tick size check failed", Kind.FILTER, "price"),
    ("EOrder:Invalid price", Kind.FILTER, "price"),
    ("EOrder:Post only order", Kind.WOULD_TRADE, "post-only"),
    ("EOrder:Reduce only:Non-PC", Kind.REQUEST, "of margin, which we never ask for"),
    ("EOrder:Reduce only", Kind.REQUEST, "of margin"),
    ("EOrder:Margin allowance exceeded", Kind.REQUEST, "of margin"),
    ("EOrder:Margin level too low", Kind.REQUEST, "of margin"),
    ("EOrder:Margin position size exceeded", Kind.REQUEST, "of margin"),
    ("EOrder:Insufficient margin", Kind.FUNDS, "the exchange's own funds"),
    ("EOrder:Cannot open position", Kind.REQUEST, "of margin"),
    ("EOrder:Cannot open opposing position", Kind.REQUEST, "of margin"),
    ("EOrder:Positions limit exceeded", Kind.REQUEST, "of margin"),
    ("EOrder:Unknown position", Kind.REQUEST, "of margin"),
    ("EOrder:Orders limit exceeded", Kind.TOO_MANY, "open orders"),
    ("EOrder:Scheduled orders limit exceeded", Kind.TOO_MANY, "open orders"),
    ("EGeneral:Invalid arguments", Kind.REQUEST, "our bug"),
    ("EGeneral:Invalid arguments:volume", Kind.REQUEST, "our bug, in detail"),
    ("EGeneral:Invalid arguments:cl_ord_id", Kind.REQUEST, "a key of a bad form"),
    ("EQuery:Unknown asset pair", Kind.REQUEST, "our bug"),
    ("EQuery:Unknown asset", Kind.REQUEST, "our bug"),
    ("ETrade:Invalid request", Kind.REQUEST, "our bug"),
    ("Currency pair not supported XBT/USD", Kind.REQUEST, "a name of REST's on the socket"),
    ("EAPI:Invalid key", Kind.ACCESS, "key"),
    ("EAPI:Invalid signature", Kind.ACCESS, "signature"),
    ("EAPI:Invalid nonce", Kind.CLOCK, "a nonce that has not risen: not executed"),
    ("EAPI:Bad request", Kind.ACCESS, "headers"),
    ("EGeneral:Permission denied", Kind.ACCESS, "permission"),
    ("EAccount:Invalid permissions", Kind.ACCESS, "permission"),
    ("EAuth:Account temporary disabled", Kind.ACCESS, "account"),
    ("EAuth:Account unconfirmed", Kind.ACCESS, "account"),
    ("ESession:Invalid session", Kind.ACCESS, "a stale token"),
    ("EBM:limit exceeded:CAL", Kind.ACCESS, "account"),
    ("EService:Market in cancel_only mode", Kind.HALTED, "the venue's state"),
    ("EService:Market in post_only mode", Kind.HALTED, "the venue's state"),
    ("EOrder:Rate limit exceeded", "limited", "the engine's counter"),
    ("EOrder:Domain rate limit exceeded", "limited", "with the sub-accounts"),
    ("EAPI:Rate limit exceeded", "limited", "REST's counter"),
    ("EService: Throttled: 1772445606", "limited", "until then"),
    ("EService:Throttled: 1772445606", "limited", "without the blank"),
    ("EService:Throttled:soon", "limited", "when it can not be read"),
    ("EGeneral:Too many requests", "limited", "seen"),
    ("EAuth:Rate limit exceeded", "limited", "logins"),
    ("EAuth:Too many requests", "limited", "logins"),
    ("Exceeded msg rate", "limited", "the socket's"),
    ("EGeneral:Temporary lockout", "limited", "after wrong keys"),
    ("EGeneral:Invalid arguments:cl_ord_id not unique", None, "perhaps this very order"),
    ("EService:Unavailable", None, "orders have been placed behind it"),
    ("EService:Busy", None, "the same"),
    ("EService:Timeout", None, "the same"),
    ("EService:Deadline elapsed", None, "it may have matched just before"),
    ("EGeneral:Internal error", None, "a fault of the venue's"),
    ("EGeneral:Internal error[7]", None, "a fault of the venue's"),
    ("EGeneral:Internal error:7", None, "a fault of the venue's"),
    ("EOrder:Something new", None, "not in the table"),
    ("", None, "no reason given"),
]
IDS = [text or "none" for text, _, _ in TEXTS]


def meant(outcome: kit.Outcome) -> Kind | str | None:
    match outcome:
        case kit.Rejected(kind=kind):
            return kind
        case kit.Limited():
            return "limited"
        case kit.Unknown():
            return None
    return "accepted"


def answered(method: str, text: str) -> kit.Outcome:
    socket = socket_in()
    if method == "add_order":
        socket.place(limit(), STAMP)
    else:
        socket.cancel(BTC, "k7a1b2", "", STAMP)
    (reply,) = socket.decode(nack(method, 3, text))
    assert reply.request_id == "r1"
    return reply.outcome


@pytest.mark.parametrize(("text", "kind", "why"), TEXTS, ids=IDS)
def test_texts(text, kind, why):
    assert meant(answered("add_order", text)) == kind, why
    assert meant(answered("cancel_order", text)) == kind, why
    assert meant(codec().outcome(refused(text))) == kind, why


@pytest.mark.parametrize(
    ("text", "placing", "cancelling", "rest", "why"),
    [
        ("EOrder:Unknown order", None, Kind.GONE, Kind.GONE, "filled or cancelled: ask which"),
        ("EOrder:Invalid order", Kind.FILTER, Kind.GONE, Kind.FILTER, "an id never issued (seen)"),
    ],
)
def test_texts_that_mean_another_thing_to_a_cancel(text, placing, cancelling, rest, why):
    assert meant(answered("add_order", text)) == placing, why
    assert meant(answered("cancel_order", text)) == cancelling, why
    assert meant(codec().outcome(refused(text))) == rest, why


def test_the_tables_hold_nothing_but_these():
    named = {text for text, kind, _ in TEXTS if isinstance(kind, Kind)}
    assert set(errors.TO_PLACE) <= named | {"EOrder:Invalid order"}
    assert set(errors.TO_CANCEL) - set(errors.TO_PLACE) == {"EOrder:Unknown order"}


@given(
    st.sampled_from([text for text, kind, _ in TEXTS if kind is not None]),
    st.text("abcXYZ :.0129", min_size=1, max_size=9),
    st.booleans(),
)
def test_a_text_that_is_not_the_tables_is_unknown(text, more, before):
    """Texts are compared whole: what is longer, or stands behind something, is another."""
    other = more + text if before else text + more
    if any(other.startswith(code + ":") for code in (
        "EGeneral:Invalid arguments", "EOrder:Reduce only", "ETrade:Invalid request",
    )):  # fmt: skip
        return
    if other.replace("EService: ", "EService:").startswith(
        ("EService:Throttled", "Currency pair not supported ")
    ) or other in {known for known, _, _ in TEXTS}:
        return
    assert meant(errors.outcome(other, errors.TO_CANCEL)) is None


@given(st.text(max_size=40))
def test_any_text_at_all_is_unknown(text):
    known = {told for told, _, _ in TEXTS} | {"EOrder:Unknown order", "EOrder:Invalid order"}
    if text not in known and not text.startswith(errors._NO_PAIR):
        assert meant(codec().outcome(refused(text or "E"))) is None


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (ok({"descr": {"order": "buy"}, "txid": ["OABC"]}), "accepted", "placed"),
        (ok({"count": 1}), "accepted", "cancelled"),
        (ok({"count": 0, "pending": True}), "accepted", "the cancel is under way"),
        (ok({"count": 0}), None, "nothing was cancelled, and nothing says why"),
        (ok({"descr": {"order": "buy"}}), None, "checked only: no order came of it"),
        (ok({"txid": []}), None, "no order came of it"),
        (ok({"txid": ["A", "B"]}), None, "two for one"),
        (ok(None), None, "nothing"),
        (refused("EOrder:Insufficient funds", status=502), None, "a status is not the engine's"),
        (refused("EOrder:Insufficient funds", status=429), None, "a status is not the engine's"),
        (refused("EOrder:Insufficient funds", "EService:Busy"), None, "one leaves doubt"),
        (refused("EOrder:Insufficient funds", "EAPI:Invalid key"), Kind.FUNDS, "both are sure"),
        (refused("WGeneral:Old", "EOrder:Insufficient funds"), Kind.FUNDS, "a warning is none"),
        (refused("WGeneral:Old"), None, "a warning and nothing else"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answers_by_rest(answer, kind, why):
    assert meant(codec().outcome(answer)) == kind, why


@pytest.mark.parametrize(
    ("text", "wait_ms"),
    [
        ("EService: Throttled: 1772445606", 5_875),
        ("EService: Throttled: 1", 0),
        ("EService: Throttled: x", 0),
        ("EGeneral:Temporary lockout", 900_000),
        ("EOrder:Rate limit exceeded", 0),
    ],
)
def test_how_long_to_wait(text, wait_ms):
    """Against the venue's clock in the same answer."""
    assert answered("add_order", text).wait_ns // kit.MS == wait_ms


# ------------------------------------------------------------------------------------- socket


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        (SPEC.hosts["live"], "wss://ws-auth.kraken.com/v2"),
        (SPEC.hosts["beta"], "wss://beta-ws-auth.kraken.com/v2"),
        ({"ws": "ws://127.0.0.1:9/"}, "ws://127.0.0.1:9/v2"),
        ({"ws": "ws://127.0.0.1:9/own"}, "ws://127.0.0.1:9/own"),
        ({"ws": "ws://a", "orders.ws": "ws://b"}, "ws://b/v2"),
    ],
)
def test_where_the_private_socket_is(hosts, url):
    (socket,) = codec().sockets()
    assert socket.url(hosts) == url


def test_a_token_is_asked_for():
    (socket,) = codec().sockets()
    requests, token = end_of(socket.token(), ok({"token": TOKEN, "expires": 900}))
    assert (requests[0].method, requests[0].path, requests[0].signed) == (
        "POST",
        "/0/private/GetWebSocketsToken",
        True,
    )
    assert token == TOKEN


@pytest.mark.parametrize(
    "answer",
    [
        refused("EAPI:Invalid nonce"),
        ok({"token": ""}),
        ok({"token": TOKEN, "cut": 1}).body[:-9],
        kit.Answer(502, {}, ok({"token": TOKEN}).body),
        ok({"token": [TOKEN]}),
    ],
    ids=["refused", "empty", "cut", "502", "shape"],
)
def test_a_token_that_does_not_come_is_not_told_of(answer):
    if isinstance(answer, bytes):
        answer = kit.Answer(200, {}, answer)
    (socket,) = codec().sockets()
    ask = socket.token()
    next(ask)
    with pytest.raises(kit.VenueError, match="kraken") as caught:
        ask.send(answer)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "final", "why"),
    [
        ("ESession:Invalid session", False, "the next connection has a new token"),
        ("EService:Unavailable", False, "the venue's own fault"),
        ("EGeneral:Permission denied", True, "the key may not"),
        ("EAccount:Invalid permissions", True, "the key may not"),
        ("EAuth:Account temporary disabled", True, "the account may not"),
    ],
)
def test_subscriptions_that_fail(error, final, why):
    (socket,) = codec().sockets()
    list(socket.login(STAMP))
    (event,) = socket.decode(nack("subscribe", 1, error))
    assert event == kit.LoginFailed(f"subscribe executions: {error}", final), why


def test_it_is_ready_when_both_streams_are():
    (socket,) = codec().sockets()
    list(socket.login(STAMP))
    assert list(socket.decode(ack("subscribe", 2, channel="balances"))) == []
    assert list(socket.decode(ack("subscribe", 1, channel="executions", maxratecount=125))) == [
        kit.LoggedIn(ready=True)
    ]
    assert list(socket.decode(ack("subscribe", 1, channel="executions"))) == []


def test_an_event_before_its_answer_and_after():
    """The two travel apart; either may come first, and `new` names no symbol."""
    for answer_first in (True, False):
        socket = socket_in()
        list(socket.decode(executions(1, kind="snapshot")))
        socket.place(limit(), STAMP)
        answer = ack("add_order", 3, order_id="OABC", cl_ord_id="k7a1b2")
        new = {"exec_type": "new", "order_status": "new", "order_id": "OABC"}
        stamped = {"timestamp": "2026-03-02T10:00:00Z"}
        pending = {
            "order_id": "OABC",
            "cl_ord_id": "k7a1b2",
            "symbol": "BTC/USD",
            "exec_type": "pending_new",
            "order_status": "pending_new",
        }
        first = () if answer_first else (pending | stamped,)
        frames = [executions(2, *first, new | stamped)]
        frames.insert(0 if answer_first else 1, answer)
        events = [event for data in frames for event in socket.decode(data)]
        (reply,) = [e for e in events if isinstance(e, kit.Reply)]
        assert reply.outcome == kit.Accepted("OABC")
        reports = [e for e in events if isinstance(e, kit.OrderReport)]
        assert {(r.key, r.venue_order_id) for r in reports} == {("k7a1b2", "OABC")}
        assert len(reports) + 1 == len(events), "nothing was missed"


def test_a_success_without_an_order_is_unknown():
    socket = socket_in()
    socket.place(limit(), STAMP)
    (reply,) = socket.decode(ack("add_order", 3, warning="?"))
    assert isinstance(reply.outcome, kit.Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        {"method": "add_order", "req_id": 3},
        {"method": "add_order", "req_id": 3, "error": "EOrder:Insufficient funds"},
        {"method": "add_order", "req_id": 3, "success": True, "error": "EOrder:Insufficient funds"},
    ],
    ids=["bare", "no success", "both"],
)
def test_an_answer_that_contradicts_itself_is_unknown(answer):
    socket = socket_in()
    socket.place(limit(), STAMP)
    (reply,) = socket.decode(json.dumps(answer).encode())
    assert isinstance(reply.outcome, kit.Unknown)


@pytest.mark.parametrize(
    ("sequences", "missed", "why"),
    [
        ([1, 2, 3], 0, "whole"),
        ([1, 3], 1, "one is missing"),
        ([1, 2, 2], 1, "one came twice: what else did not come?"),
        ([2], 1, "an update before any snapshot"),
    ],
)
def test_sequences(sequences, missed, why):
    socket = socket_in()
    events = []
    for number in sequences:
        kind = "snapshot" if number == 1 else "update"
        events += socket.decode(executions(number, kind=kind))
    assert [type(e) for e in events] == [kit.Missed] * missed, why


def test_a_snapshot_begins_anew():
    socket = socket_in()
    for number in (1, 2, 3):
        list(socket.decode(executions(number, kind="snapshot" if number == 1 else "update")))
    assert list(socket.decode(executions(1, kind="snapshot"))) == []
    assert list(socket.decode(executions(2))) == []


def test_ended_orders_are_forgotten_in_time(monkeypatch):
    """Those of pairs that are not followed too."""
    monkeypatch.setattr(private, "_ENDED_MAX", 3)
    socket = socket_in()
    for number in range(1, 8):
        row = {
            "order_id": f"O{number}",
            "symbol": "BTC/USD" if number % 2 else "DOGE/USD",
            "exec_type": "canceled",
            "order_status": "canceled",
            "reason": "User requested",
            "timestamp": "2026-03-02T10:00:00Z",
        }
        kind = "snapshot" if number == 1 else "update"
        list(socket.decode(executions(number, row, kind=kind)))
    assert sorted(socket._orders) == ["O5", "O6", "O7"]


@pytest.mark.parametrize(
    ("number", "text"),
    [(1e-08, "0.00000001"), ("1E-8", "0.00000001"), ("0.10", "0.10"), (7, "7"), ("1e3", "1000")],
)
def test_numbers_as_plain_digits(number, text):
    assert private.plain(number) == text


@pytest.mark.parametrize("number", ["1e", "eee", "nane", None])
def test_numbers_that_are_none(number):
    with pytest.raises(ValueError, match="not"):
        BTC.qty(private.plain(number))


# ------------------------------------------------------------------------------------- questions


def order_row(**changed) -> dict:
    descr = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "price": "60000.1"}
    return {
        "status": "open",
        "cl_ord_id": "k7a1b2",
        "opentm": 1772445600.1234,
        "descr": descr | {"order": "buy 0.01000000 XBTUSD @ limit 60000.1"},
        "vol": "0.01000000",
        "vol_exec": "0.00400000",
        "cost": "240.00040",
        "fee": "0.60000",
        "price": "60000.1",
        "oflags": "fciq,post",
        "userref": None,
    } | changed


def test_an_order_by_our_key_while_it_is_open():
    requests, found = end_of(
        codec().order(BTC, "k7a1b2", "OABC"), ok({"open": {"OABC": order_row()}})
    )
    assert (requests[0].path, requests[0].body) == ("/0/private/OpenOrders", b"cl_ord_id=k7a1b2")
    assert found == kit.OrderReport(
        instrument=BTC,
        key="k7a1b2",
        venue_order_id="OABC",
        state=kit.OrderState.OPEN,
        cum_qty=400_000,
        qty=1_000_000,
        px=600_001,
        side=kit.Side.BUY,
    )


@pytest.mark.parametrize(
    ("changed", "state", "why"),
    [
        ({"status": "closed", "vol_exec": "0.01"}, "FILLED", "filled"),
        ({"status": "canceled", "reason": "User requested"}, "CANCELED", "by us"),
        ({"status": "canceled", "reason": "Post only order"}, "REJECTED", "by the engine"),
        ({"status": "canceled", "reason": "Insufficient margin"}, "EXPIRED", "by the venue"),
        ({"status": "canceled", "reason": None}, "CANCELED", "untold"),
        ({"status": "expired"}, "EXPIRED", "by time"),
        ({"status": "pending"}, "OPEN", "not in the book yet"),
    ],
)
def test_an_order_by_our_key_when_it_has_ended(changed, state, why):
    row = order_row(closetm=1772445601.5, **changed)
    requests, found = end_of(
        codec().order(BTC, "k7a1b2", ""), ok({"open": {}}), ok({"closed": {"OABC": row}})
    )
    assert requests[1].path == "/0/private/ClosedOrders"
    assert found.state.name == state, why
    assert found.sent_ns == 1_772_445_601_500 * kit.MS


def test_an_answer_about_another_order_is_none_about_ours():
    other = {"OABC": order_row(cl_ord_id="other")}
    _, found = end_of(codec().order(BTC, "k7a1b2", ""), ok({"open": other}), ok({"closed": other}))
    assert found is None


@pytest.mark.parametrize(
    ("answer", "is_there"),
    [
        (ok({"OABC": order_row(cl_ord_id=None)}), True),
        (ok({}), False),
        (refused("EOrder:Invalid order"), False),
        (refused("EOrder:Unknown order"), False),
    ],
)
def test_a_foreign_order_by_its_id(answer, is_there):
    requests, found = end_of(codec().order(BTC, "", "OABC"), answer)
    assert (requests[0].path, requests[0].body) == ("/0/private/QueryOrders", b"txid=OABC")
    assert (found is not None) == is_there
    assert found is None or found.key == ""


def test_only_absence_is_absence():
    for answer in (refused("EService:Busy"), refused("EOrder:Invalid order", status=502)):
        ask = codec().order(BTC, "", "OABC")
        next(ask)
        with pytest.raises(kit.VenueError, match="kraken QueryOrders"):
            ask.send(answer)


def test_open_orders_are_told_foreign_ones_too():
    market = {"pair": "ETHUSDT", "type": "sell", "ordertype": "market", "price": "0"}
    rows = {
        "O1": order_row(),
        "O2": order_row(cl_ord_id=None, descr=market, oflags="fciq,viqc", vol="100"),
        "O3": order_row(descr=market | {"pair": "DOGEUSD"}),
    }
    _, found = end_of(codec().open_orders([BTC]), ok({"open": rows}))
    assert [(r.venue_order_id, r.key, r.qty, r.px) for r in found] == [
        ("O1", "k7a1b2", 1_000_000, 600_001),
        ("O2", "", None, None),  # by value: the volume counts quote
    ]


def trade(number: int, pair="XXBTZUSD", **changed) -> dict:
    return {
        "ordertxid": "OABC",
        "pair": pair,
        "time": 1772445600 + number / 10,
        "type": "buy",
        "ordertype": "limit",
        "price": "60000.10000",
        "cost": "6.00001",
        "fee": "0.01500",
        "vol": "0.00010000",
        "maker": False,
        "trade_id": number,
    } | changed


def test_fills_are_whole_oldest_first_and_each_once():
    newest = {f"T{n:03}": trade(n) for n in range(119, 69, -1)}
    # Meanwhile another trade was made: the offsets moved, and T070 came twice.
    middle = {f"T{n:03}": trade(n) for n in range(70, 20, -1)}
    oldest = {f"T{n:03}": trade(n, pair="ETHUSDT" if n % 2 else "XBTUSD") for n in range(20, 0, -1)}
    since_ns = 1_772_445_600_500 * kit.MS
    requests, fills = end_of(
        codec().fills(BTC, since_ns),
        ok({"trades": newest, "count": 119}),
        ok({"trades": middle, "count": 120}),
        ok({"trades": oldest, "count": 120}),
    )
    assert [r.body.decode() for r in requests] == [
        f"start=1772445599&ofs={offset}&consolidate_taker=false" for offset in (0, 50, 100)
    ]
    assert {r.cost for r in requests} == {4}
    expected = [n for n in range(5, 120) if n > 20 or n % 2 == 0]
    assert [fill.trade_id for fill in fills] == [f"T{n:03}" for n in expected]
    assert fills[1] == kit.Fill(
        instrument=BTC,
        key="",
        venue_order_id="OABC",
        trade_id="T008",
        side=kit.Side.BUY,
        px=600_001,
        qty=10_000,
        fee=Decimal("0.015"),
        fee_asset="USD",
        maker=False,
        sent_ns=1_772_445_600_800 * kit.MS,
    )


def test_no_fills():
    _, fills = end_of(codec().fills(BTC, 0), ok({"trades": {}, "count": 0}))
    assert fills == []


def test_balances_that_can_be_traded_with():
    told = {
        "ZUSD": {"balance": "1000.0000", "hold_trade": "600.0010"},
        "XXBT": {"balance": "0.0040000000", "hold_trade": "0.0000000000"},
        "XXDG": {"balance": "7", "hold_trade": "0"},
        "SOL": {"balance": "1", "hold_trade": "0", "credit": "5", "credit_used": "2"},
        "ZETA": {"balance": "3", "hold_trade": "0"},
        "XBT.M": {"balance": "9", "hold_trade": "0"},
        "ETH2.S": {"balance": "9", "hold_trade": "0"},
    }
    _, found = end_of(codec().balances(), ok(told))
    assert [(b.asset, b.total, b.locked) for b in found] == [
        ("USD", Decimal(1000), Decimal("600.001")),
        ("BTC", Decimal("0.004"), Decimal(0)),
        ("DOGE", Decimal(7), Decimal(0)),
        ("SOL", Decimal(4), Decimal(0)),
        ("ZETA", Decimal(3), Decimal(0)),  # four letters, and none of them too many
    ]


def test_fees_are_per_cent_there_and_fractions_here():
    told = {
        "fees": {"XXBTZUSD": {"fee": "0.4000"}, "ETHUSDT": {"fee": "0.2600"}},
        "fees_maker": {"XXBTZUSD": {"fee": "0.2500"}},
    }
    other = instrument("SOL/USD", ("SOL/USD", "SOLUSD", "SOLUSD"))
    requests, found = end_of(codec().fees([BTC, ETH, other]), ok(told))
    assert requests[0].body == b"pair=XBTUSD,ETHUSDT,SOLUSD"
    assert found == {
        "BTC/USD": kit.Fees(
            taker=Decimal("0.004"), maker=Decimal("0.0025"), fee_in=kit.FeeIn.QUOTE
        ),
        "ETH/USDT": kit.Fees(  # one flat rate
            taker=Decimal("0.0026"), maker=Decimal("0.0026"), fee_in=kit.FeeIn.QUOTE
        ),
    }


@pytest.mark.parametrize(
    ("answer", "expected", "why"),
    [
        (
            ok({"permissions": ["query-funds", "query-open-trades", "query-closed-trades",
                                "modify-trades", "close-trades", "create-ws-token"],
                "ipAllowlist": ["1.2.3.4"]}),
            (True, True, False, True), "as it should",
        ),
        (
            ok({"permissions": ["query-funds", "withdraw-funds", "modify-trades"],
                "ipAllowlist": []}),
            (False, False, True, False), "it may withdraw, and could not cancel",
        ),
        (ok({}), (None, None, None, None), "the venue does not say"),
        (refused("EGeneral:Unknown method"), (None, None, None, None), "it has no such question"),
    ],
)  # fmt: skip
def test_permissions(answer, expected, why):
    _, found = end_of(codec().permissions(), answer)
    assert (found.read, found.trade, found.withdraw, found.ip_bound) == expected, why


@pytest.mark.parametrize(
    ("seconds", "sent", "answer", "granted"),
    [
        (60, b"timeout=60",
         {"currentTime": "2026-03-02T10:00:00Z", "triggerTime": "2026-03-02T10:01:00Z"}, 60),
        (0, b"timeout=0", {"currentTime": "2026-03-02T10:00:00Z", "triggerTime": "0"}, 0),
        (10**6, b"timeout=86399",
         {"currentTime": "2026-03-02T10:00:00Z", "triggerTime": "2026-03-03T09:59:59Z"}, 86399),
    ],
)  # fmt: skip
def test_dead_man(seconds, sent, answer, granted):
    requests, found = end_of(codec().dead_man(seconds), ok(answer))
    assert requests[0].body == sent
    assert found == granted


@pytest.mark.parametrize(
    "broken",
    [
        {"vol": "much"},
        {"vol_exec": "-1"},
        {"status": "dreaming"},
        {"closetm": "soon"},
        {"descr": {"pair": "DOGEUSD", "type": "buy", "ordertype": "limit", "price": "1"}},
    ],
)
def test_an_order_that_can_not_be_read_is_no_absence(broken):
    ask = codec().order(BTC, "", "OABC")
    next(ask)
    with pytest.raises(kit.VenueError, match="kraken order"):
        ask.send(ok({"OABC": order_row(**broken)}))


# ------------------------------------------------------------------------------------- secrets


def test_nothing_tells_a_secret():
    orders, socket = codec(), socket_in()
    placed = socket.place(limit(), STAMP)
    (reply,) = socket.decode(nack("add_order", 3, f"EWhat:{TOKEN} {OWN.key}"))
    (notice,) = socket.decode(nack("add_order", 99, f"EWhat:{TOKEN} {SECRET}"))
    told = [
        repr(placed),
        repr(socket.cancel(BTC, "k7a1b2", "", STAMP)),
        *(repr(frame) for frame in socket.login(STAMP)),
        repr(reply),
        notice.text,
        repr(orders.sign(orders.place(limit()), STAMP)),
        repr(orders.outcome(refused(f"EWhat:{SECRET}"))),
        repr(vars(orders)),
    ]
    ask = orders.balances()
    next(ask)
    with pytest.raises(kit.VenueError) as caught:
        ask.send(kit.Answer(200, {}, f"<html>{SECRET} {OWN.key}".encode()))
    told += [str(caught.value), repr(caught.value)]
    for text in told:
        for secret in (SECRET, OWN.key, TOKEN):
            assert secret not in text, text


# ------------------------------------------------------------------------------------- numbers


@given(st.integers(1, 10**20), st.integers(0, 18))
def test_numbers_are_said_in_plain_digits(value, decimals):
    text = words._text(value, decimals)
    assert text == kit.plain(Decimal(f"{value}E-{decimals}"))
    assert kit.to_scaled(text, decimals) == value
