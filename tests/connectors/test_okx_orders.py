"""OKX's orders: signatures, codes, questions, and recorded lives of orders."""

import json
import os
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.okx import CONNECTOR, SPEC, errors, sign, words
from hean_router import kit

RECORDED = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / "okx"
SECRET = "22582BD0CFF14C41EDBF1AB98506286D"
PASSPHRASE = "canary-passphrase"
OWN = kit.Credentials(account="main", key="canary-key", secret=SECRET, passphrase=PASSPHRASE)
STAMP = kit.Stamp(
    venue_ms=1_772_445_600_000, deadline_ms=1_772_445_602_000, nonce=1, request_id="r1"
)
Kind = kit.RejectKind


def instrument(symbol="BTC-USDT", pair="BTC/USDT", **facts) -> kit.Instrument:
    facts = {"px_decimals": 1, "qty_decimals": 8, "code": 3} | facts
    return kit.Instrument(venue=SPEC.id, pair=kit.Pair.parse(pair), symbol=symbol, **facts)


BTC = instrument()
ETH = instrument("ETH-USDT", "ETH/USDT", px_decimals=2, qty_decimals=6, code=4)
ETH_BTC = instrument("ETH-BTC", "ETH/BTC", px_decimals=5, qty_decimals=6, code=5)


def codec(*instruments: kit.Instrument):
    return CONNECTOR.orders(OWN, {each.symbol: each for each in instruments or (BTC, ETH)})


def limit(**changed) -> kit.Approved:
    facts = {"key": "k7a1", "account": "main", "instrument": BTC, "side": kit.Side.BUY}
    return kit.Approved(kit.ChildOrder(**facts | {"qty": 100_000, "px": 600_001} | changed))


def ok(*rows: object) -> kit.Answer:
    return kit.Answer(200, {}, json.dumps({"code": "0", "msg": "", "data": rows}).encode())


def refused(code: str, status: int = 200, msg: str = "no") -> kit.Answer:
    return kit.Answer(status, {}, json.dumps({"code": code, "msg": msg, "data": []}).encode())


def end_of(ask, *answers):
    """Drive an Ask to its end; returns its requests and its result."""
    requests = [next(ask)]
    for number, answer in enumerate(answers, 1):
        try:
            requests.append(ask.send(answer))
        except StopIteration as end:
            assert number == len(answers), "it ended early"
            return requests, end.value
    raise AssertionError(f"it wants more answers: {requests[-1].path}?{requests[-1].query}")


def row(**changed) -> dict[str, str]:
    """An order as REST tells it."""
    return {
        "instType": "SPOT",
        "instId": "BTC-USDT",
        "ordId": "2510789768709120",
        "clOrdId": "k7a1",
        "px": "60000.1",
        "sz": "0.001",
        "ordType": "limit",
        "side": "buy",
        "tgtCcy": "",
        "state": "partially_filled",
        "accFillSz": "0.0004",
        "cancelSource": "",
        "uTime": "1772445600123",
    } | changed


# ------------------------------------------------------------------------------------- signing


@pytest.mark.parametrize(
    ("prehash", "expected"),
    [
        (
            "2020-12-08T09:08:57.715ZGET/api/v5/account/balance?ccy=BTC",
            "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY=",
        ),
        (
            '2026-03-02T10:00:00.000ZPOST/api/v5/trade/order{"instId":"BTC-USDT","tdMode":"cash",'
            '"side":"buy","ordType":"limit","px":"60000.1","sz":"0.001","clOrdId":"k7a1"}',
            "drItoFZIL8KWQGM6DMS1MeYJxQqVuSGpppppNH+B8nI=",
        ),
        ("1538054050GET/users/self/verify", "+LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M="),
    ],
    ids=["get", "post", "login"],
)
def test_published_signatures(prehash, expected):
    assert sign.signature(kit.KeyedHash(SECRET.encode()), prehash.encode()) == expected


def test_a_request_is_signed_as_it_is_sent():
    at = kit.Stamp(venue_ms=1_607_418_537_715, deadline_ms=0, nonce=1)
    asked = kit.HttpRequest(path="/api/v5/account/balance", query="ccy=BTC", signed=True)
    headers = codec().sign(asked, at).headers
    assert headers["OK-ACCESS-SIGN"] == "HiZhvSfMtWJA3uUIVXV3a/bSXNPCWvYFXoGCVS8V4zY="
    assert headers["OK-ACCESS-TIMESTAMP"] == "2020-12-08T09:08:57.715Z"
    assert "expTime" not in headers


def test_only_placing_has_a_deadline():
    orders = codec()
    placed = orders.sign(orders.place(limit()), STAMP)
    assert placed.headers["expTime"] == "1772445602000"
    assert placed.method == "POST"
    assert placed.body == (
        b'{"instId":"BTC-USDT","tdMode":"cash","side":"buy","ordType":"limit","px":"60000.1",'
        b'"sz":"0.001","clOrdId":"k7a1","stpMode":"cancel_taker","tag":"hean"}'
    )
    cancelled = orders.sign(orders.cancel(BTC, "k7a1", "99"), STAMP)
    assert cancelled.body == b'{"instId":"BTC-USDT","clOrdId":"k7a1"}'
    asked = orders.sign(next(orders.order(BTC, "k7a1", "")), STAMP)
    assert "expTime" not in {**cancelled.headers, **asked.headers}


def test_login_is_in_whole_seconds():
    (socket,) = codec().sockets()
    at = kit.Stamp(venue_ms=1_538_054_050_999, deadline_ms=0, nonce=1)
    (frame,) = socket.login(at)
    (args,) = json.loads(frame.data)["args"]
    assert args == {
        "apiKey": "canary-key",
        "passphrase": PASSPHRASE,
        "timestamp": "1538054050",
        "sign": "+LdIr8lkkvhr5hoA3g9TMC0+uQJ849ftAcocA/ouu4M=",
    }


# ------------------------------------------------------------------------------------- codes

CODES = [
    ("51008", Kind.FUNDS, "balance"),
    ("51127", Kind.FUNDS, "available balance is 0"),
    ("51131", Kind.FUNDS, "available balance too small"),
    *((c, Kind.REQUEST, "a parameter: our bug") for c in (
        "51000", "50014", "50015", "50016", "50024", "50002", "51003", "51204",
        "60012", "60013", "60019", "60027", "60033")),
    *((c, Kind.HALTED, "not traded, or not by us") for c in (
        "51001", "51015", "51021", "51022", "51024", "51087", "51155")),
    *((c, Kind.FILTER, "size") for c in (
        "51005", "51020", "51120", "51121", "51150", "51185", "51201", "51202", "51203")),
    *((c, Kind.FILTER, "price") for c in ("51006", "51116", "51122", "51137", "51138")),
    *((c, Kind.TOO_MANY, "pending orders") for c in ("51025", "51102", "51174")),
    *((c, Kind.HALTED, "limit orders only, now") for c in (
        "51110", "51124", "51196", "51197", "51507")),
    ("54084", Kind.WOULD_NOT_FILL, "slippage exceeded"),
    ("54085", Kind.REQUEST, "slippage out of range: our bug"),
    ("50036", Kind.CLOCK, "expTime passed"),
    ("50037", Kind.CLOCK, "expTime passed"),
    *((c, Kind.ACCESS, "mode, permission, restriction") for c in (
        "51010", "50030", "50120", "50027", "50028", "50029", "50007", "50008", "50009",
        "50010", "50012", "50032", "50033", "50059", "50060")),
    *((str(c), Kind.ACCESS, "key") for c in range(50_100, 50_115) if c != 50_102),
    ("50102", Kind.CLOCK, "timestamp expired"),
    ("50119", Kind.ACCESS, "key does not exist"),
    ("60004", Kind.CLOCK, "timestamp"),
    ("60006", Kind.CLOCK, "timestamp expired"),
    *((c, Kind.ACCESS, "login") for c in (
        "60005", "60007", "60008", "60009", "60011", "60024", "60031", "60032")),
    *((c, "limited", "too frequent: not done") for c in ("50011", "50040", "60014", "50061")),
    *((c, None, "an id in use: perhaps by this very order") for c in ("51016", "50071")),
    *((c, None, "neither success nor failure is implied") for c in (
        "50013", "50004", "51149", "51054", "51412")),
    *((c, None, "a fault of the venue's") for c in ("50001", "50005", "50026", "63999", "64007")),
    *((c, None, "an amend's code, which we never send") for c in (
        "51503", "51509", "51510", "51502", "51506", "51508", "51511", "51513", "51514")),
    ("51603", None, "a query's code"),
]  # fmt: skip
GONE = [
    ("51400", Kind.GONE, "filled, cancelled or never there"),
    ("51401", Kind.GONE, "documented for spreads: the same"),
    ("51402", Kind.GONE, "documented for spreads: the same"),
    ("51405", Kind.GONE, "no pending order"),
    ("51410", Kind.GONE, "another cancel is under way: ask"),
    ("51407", Kind.REQUEST, "an id is missing: our bug"),
]


def meant(outcome: kit.Outcome) -> Kind | str | None:
    match outcome:
        case kit.Rejected(kind=kind):
            return kind
        case kit.Limited():
            return "limited"
        case kit.Unknown():
            return None
    return "accepted"


def answered(op: str, code: str, *, by_row: bool) -> kit.Outcome:
    """The answer to the first request of a socket."""
    (socket,) = codec().sockets()
    if op == "order":
        socket.place(limit(), STAMP)
    else:
        socket.cancel(BTC, "k7a1", "", STAMP)
    told = {"ordId": "", "clOrdId": "k7a1", "sCode": code, "sMsg": "no"}
    answer = {"id": "1", "op": op, "code": "1" if by_row else code, "msg": "all failed"}
    (reply,) = socket.decode(json.dumps(answer | {"data": [told] if by_row else []}).encode())
    assert reply.request_id == "r1"
    return reply.outcome


@pytest.mark.parametrize("by_row", [True, False], ids=["row", "whole"])
@pytest.mark.parametrize(("code", "kind", "why"), CODES, ids=[c for c, _, _ in CODES])
def test_codes(code, kind, why, by_row):
    assert meant(answered("order", code, by_row=by_row)) == kind, why
    assert meant(answered("cancel-order", code, by_row=by_row)) == kind, why
    for status in (200, 400, 401, 429):
        assert meant(codec().outcome(refused(code, status))) == kind, why


@pytest.mark.parametrize(("code", "kind", "why"), GONE, ids=[c for c, _, _ in GONE])
def test_codes_that_only_a_cancel_is_given(code, kind, why):
    assert meant(answered("cancel-order", code, by_row=True)) == kind, why
    assert meant(codec().outcome(refused(code))) == kind, why
    assert meant(answered("order", code, by_row=True)) is None, "an order can not be gone"


def test_the_tables_hold_nothing_but_these():
    named = {code for code, kind, _ in CODES if isinstance(kind, Kind)}
    assert set(errors.TO_PLACE) == named
    assert set(errors.TO_CANCEL) == named | {code for code, _, _ in GONE}


@given(st.one_of(st.text(max_size=8), st.integers(0, 99_999).map(lambda n: f"{n:05}")))
def test_any_other_code_is_unknown(code):
    known = {c for c, kind, _ in CODES if kind is not None} | {c for c, _, _ in GONE}
    if code in known | {"0"}:
        return
    for op in ("order", "cancel-order"):
        assert meant(answered(op, code, by_row=True)) is None
        assert meant(answered(op, code, by_row=False)) is None
    assert meant(codec().outcome(refused(code))) is None


@pytest.mark.parametrize(
    ("answer", "kind", "why"),
    [
        (ok({"ordId": "7", "clOrdId": "k7a1", "sCode": "0", "sMsg": ""}), "accepted", "taken"),
        (ok({"ordId": "", "clOrdId": "k7a1", "sCode": "0"}), None, "taken, but without an id"),
        (ok(), None, "no row"),
        (ok({"sCode": "0", "ordId": "7"}, {"sCode": "0", "ordId": "8"}), None, "two rows for one"),
        (ok({"ordId": "7"}), None, "a row without a code"),
        (refused("51008", 500), None, "a 5xx says nothing, whatever stands in it"),
        (refused("51008", 403), None, "a status of what stands before the venue"),
        (refused("50113", 401), Kind.ACCESS, "signature"),
        (refused("1"), None, "failed, but no row says of what"),
        (kit.Answer(429, {}, b"<html>slow down"), None, "no word of OKX's"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_answers_by_rest(answer, kind, why):
    assert meant(codec().outcome(answer)) == kind, why


def test_a_taken_order_behind_a_bad_status_is_unknown():
    taken = ok({"ordId": "7", "clOrdId": "k7a1", "sCode": "0", "sMsg": ""})
    assert meant(codec().outcome(kit.Answer(429, {}, taken.body))) is None


def test_a_refusal_says_its_sub_code_and_its_text():
    told = {"ordId": "", "sCode": "51008", "sMsg": "Insufficient USDT", "subCode": "1000"}
    body = {"code": "1", "msg": "All operations failed", "data": [told]}
    outcome = codec().outcome(kit.Answer(200, {}, json.dumps(body).encode()))
    assert outcome == kit.Rejected(Kind.FUNDS, "51008_1000", "Insufficient USDT")


# ------------------------------------------------------------------------------------- socket


@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        (SPEC.hosts["live"], "wss://ws.okx.com:8443/ws/v5/private"),
        (SPEC.hosts["demo"], "wss://wspap.okx.com:8443/ws/v5/private"),
        ({"ws": "ws://127.0.0.1:9/"}, "ws://127.0.0.1:9/ws/v5/private"),
        ({"ws": "ws://127.0.0.1:9/ws/v5/public"}, "ws://127.0.0.1:9/ws/v5/private"),
        ({"ws": "ws://127.0.0.1:9/own/path"}, "ws://127.0.0.1:9/own/path"),
        ({"ws": "ws://a", "orders.ws": "ws://b"}, "ws://b/ws/v5/private"),
    ],
)
def test_where_the_private_socket_is(hosts, url):
    (socket,) = codec().sockets()
    assert socket.url(hosts) == url


@pytest.mark.parametrize(
    ("code", "final", "why"),
    [
        ("60005", True, "a key that is none"),
        ("60007", True, "a signature under a wrong secret"),
        ("60024", True, "a wrong passphrase"),
        ("60032", True, "a key that does not exist"),
        ("60009", True, "refused without a cause"),
        ("60004", False, "a bad timestamp: clocks can be set"),
        ("60006", False, "an old timestamp"),
        ("63999", False, "the venue's own fault"),
    ],
)
def test_logins_that_fail(code, final, why):
    (socket,) = codec().sockets()
    said = {"event": "error", "code": code, "msg": "Login failed.", "connId": "a"}
    (event,) = socket.decode(json.dumps(said).encode())
    assert isinstance(event, kit.LoginFailed)
    assert event.final is final, why
    assert code in event.text


def test_a_refused_subscription_is_no_login():
    (socket,) = codec().sockets()
    list(socket.decode(b'{"event":"login","code":"0","msg":""}'))
    list(socket.subscribe(STAMP))
    (event,) = socket.decode(b'{"id":"1","event":"error","code":"60011","msg":"Please log in"}')
    assert event == kit.LoginFailed("subscribe: 60011 Please log in", final=False)


def test_requests_are_told_apart_whatever_their_ids_are_made_of():
    (socket,) = codec().sockets()
    for name in ("p-1", "ä", ""):
        socket.place(limit(), kit.Stamp(venue_ms=1, deadline_ms=2, nonce=1, request_id=name))
    for number, name in ((2, "ä"), (3, ""), (1, "p-1")):
        data = {"id": str(number), "op": "order", "code": "50011", "data": []}
        (reply,) = socket.decode(json.dumps(data).encode())
        assert reply.request_id == name


def test_an_instrument_without_its_number_can_not_be_ordered_here():
    (socket,) = codec().sockets()
    with pytest.raises(kit.CommandError, match="instIdCode"):
        socket.place(limit(instrument=instrument(code=None)), STAMP)


def test_an_id_that_would_break_out_of_its_text_is_refused():
    (socket,) = codec().sockets()
    with pytest.raises(ValueError, match="order id"):
        socket.cancel(BTC, 'x","instId":"y', "", STAMP)


# ------------------------------------------------------------------------------------- questions


def test_an_order_by_our_key():
    requests, found = end_of(codec().order(BTC, "k7a1", "25"), ok(row()))
    assert [r.query for r in requests] == ["instId=BTC-USDT&clOrdId=k7a1"]
    assert found == kit.OrderReport(
        instrument=BTC,
        key="k7a1",
        venue_order_id="2510789768709120",
        state=kit.OrderState.OPEN,
        cum_qty=40_000,
        qty=100_000,
        px=600_001,
        side=kit.Side.BUY,
        sent_ns=1_772_445_600_123 * kit.MS,
    )


def test_a_foreign_order_by_its_id():
    requests, found = end_of(codec().order(BTC, "", "25"), ok(row(ordId="25", clOrdId="")))
    assert requests[0].query == "instId=BTC-USDT&ordId=25"
    assert (found.key, found.venue_order_id) == ("", "25")


def test_a_miss_is_looked_for_among_the_open_and_the_ended():
    ended = row(state="canceled", cancelSource="14", ordType="ioc")
    requests, found = end_of(
        codec().order(BTC, "k7a1", ""), refused("51603"), ok(row(clOrdId="other")), ok(ended)
    )
    assert [r.path.rpartition("/")[2] for r in requests] == [
        "order",
        "orders-pending",
        "orders-history",
    ]
    assert found.state is kit.OrderState.EXPIRED
    _, nothing = end_of(codec().order(BTC, "k7a1", ""), refused("51603"), ok(), ok())
    assert nothing is None


def test_only_absence_is_absence():
    """Else an order would be given up because the venue was busy."""
    for answer in (refused("50013"), refused("51603", 500), refused("50011", 429)):
        ask = codec().order(BTC, "k7a1", "")
        next(ask)
        with pytest.raises(kit.VenueError, match="okx order"):
            ask.send(answer)


def test_open_orders_are_paged_to_the_end():
    first = [row(ordId=str(1000 - n), clOrdId=f"k{n}") for n in range(100)]
    last = [row(ordId="5", instId="DOGE-USDT"), row(ordId="4", instId="ETH-USDT", clOrdId="")]
    requests, found = end_of(codec().open_orders([BTC]), ok(*first), ok(*last))
    assert [r.query for r in requests] == [
        "instType=SPOT&limit=100",
        "instType=SPOT&limit=100&after=901",
    ]
    assert len(found) == 101, "foreign ones too, of the instruments that we know"
    assert found[-1].instrument is ETH


def test_pages_that_lead_nowhere_end():
    same = [row(ordId="7") for _ in range(100)]
    ask = codec().open_orders([BTC])
    next(ask)
    ask.send(ok(*same))
    with pytest.raises(kit.VenueError, match="no way on"):
        ask.send(ok(*same))


def past(number: int, **changed) -> dict[str, str]:
    return {
        "instId": "BTC-USDT",
        "ordId": "25",
        "clOrdId": "k7a1",
        "tradeId": str(number),
        "billId": str(9000 + number),
        "fillPx": "60000.1",
        "fillSz": "0.0001",
        "side": "buy",
        "execType": "T",
        "fee": "-0.0000001",
        "feeCcy": "BTC",
        "fillTime": str(1_772_445_600_000 + number),
        "ts": str(1_772_445_600_000 + number),
    } | changed


def test_fills_are_whole_oldest_first_and_each_once():
    since_ms = 1_772_445_600_003
    recent = [past(n) for n in range(110, 10, -1)]
    requests, fills = end_of(
        codec().fills(BTC, since_ms * kit.MS + 17),
        ok(*recent),
        ok(*[past(n) for n in range(10, 5, -1)]),
        ok(*[past(n) for n in range(12, 0, -1)]),  # the long list overlaps, and reaches too far
    )
    assert [r.path.rpartition("/")[2] for r in requests] == ["fills", "fills", "fills-history"]
    assert requests[1].query.endswith(f"&begin={since_ms - 1}&limit=100&after=9011")
    assert [fill.trade_id for fill in fills] == [str(n) for n in range(3, 111)]
    assert fills[0] == kit.Fill(
        instrument=BTC,
        key="k7a1",
        venue_order_id="25",
        trade_id="3",
        side=kit.Side.BUY,
        px=600_001,
        qty=10_000,
        fee=Decimal("0.0000001"),
        fee_asset="BTC",
        maker=False,
        sent_ns=since_ms * kit.MS,
    )


def test_balances():
    details = [
        {"ccy": "USDT", "cashBal": "1000", "availBal": "939.9", "frozenBal": "60.1", "uTime": "7"},
        {"ccy": "BTC", "cashBal": "0.00000001", "frozenBal": "", "ordFrozen": "", "uTime": ""},
    ]
    _, found = end_of(codec().balances(), ok({"totalEq": "1", "details": details}))
    assert found == [
        kit.Balance(asset="USDT", total=Decimal(1000), locked=Decimal("60.1"), sent_ns=7 * kit.MS),
        kit.Balance(asset="BTC", total=Decimal("0.00000001")),
    ]


RATES = {
    "instType": "SPOT",
    "maker": "-0.0008",
    "taker": "-0.001",
    "feeGroup": [
        {"groupId": "1", "maker": "-0.0008", "taker": "-0.001"},
        {"groupId": "2", "maker": "0.0001", "taker": "-0.0005"},
    ],
}
GROUPS = [{"instId": "BTC-USDT", "groupId": "1"}, {"instId": "ETH-USDT", "groupId": "2"}]


@pytest.mark.parametrize(
    ("fee_type", "fee_in"), [("0", kit.FeeIn.RECEIVED), ("1", kit.FeeIn.QUOTE)]
)
def test_fees_by_group_with_the_sign_turned(fee_type, fee_in):
    asked, found = end_of(
        codec().fees([BTC, ETH, ETH_BTC]), ok({"feeType": fee_type}), ok(*GROUPS), ok(RATES)
    )
    assert [r.signed for r in asked] == [True, False, True]
    assert found == {
        "BTC-USDT": kit.Fees(maker=Decimal("0.0008"), taker=Decimal("0.001"), fee_in=fee_in),
        "ETH-USDT": kit.Fees(maker=Decimal("-0.0001"), taker=Decimal("0.0005"), fee_in=fee_in),
    }, "one without a group is left out: nothing is guessed"


def test_fees_without_groups_are_the_accounts():
    plain = {"instType": "SPOT", "maker": "-0.0008", "taker": "-0.001"}
    _, found = end_of(codec().fees([BTC]), ok({}), ok(), ok(plain))
    assert found["BTC-USDT"].taker == Decimal("0.001")


@pytest.mark.parametrize(
    ("config", "expected", "why"),
    [
        ({"perm": "read_only,trade", "ip": "1.2.3.4"}, (True, True, False, True), "as it should"),
        ({"perm": "read_only,withdraw,trade", "ip": ""}, (True, True, True, False), "too much"),
        ({"perm": "read_only"}, (True, False, False, None), "only looks"),
        ({}, (None, None, None, None), "the venue does not say"),
    ],
)
def test_permissions(config, expected, why):
    _, found = end_of(codec().permissions(), ok({"acctLv": "1"} | config))
    assert (found.read, found.trade, found.withdraw, found.ip_bound) == expected, why


@pytest.mark.parametrize("mode", ["3", "4"])
def test_an_account_that_trades_on_credit_is_refused(mode):
    ask = codec().permissions()
    next(ask)
    with pytest.raises(kit.VenueError, match="on credit"):
        ask.send(ok({"acctLv": mode, "perm": "read_only,trade"}))


@pytest.mark.parametrize(
    ("seconds", "sent", "trigger", "at", "granted"),
    [
        (60, "60", "1772445660", "1772445600", 60),
        (60, "60", "1772445660000", "1772445600000", 60),  # should they be in ms
        (3, "10", "1772445610", "1772445600", 10),
        (999, "120", "1772445720", "1772445600", 120),
        (0, "0", "0", "1772445600", 0),
    ],
)
def test_dead_man(seconds, sent, trigger, at, granted):
    requests, found = end_of(
        codec().dead_man(seconds), ok({"triggerTime": trigger, "tag": "hean", "ts": at})
    )
    assert json.loads(requests[0].body) == {"timeOut": sent, "tag": "hean"}
    assert found == granted
    assert f'"tag":"{json.loads(requests[0].body)["tag"]}"' in codec().place(limit()).body.decode()


@pytest.mark.parametrize(
    "broken",
    [
        {"accFillSz": "lots"},
        {"state": "dreaming"},
        {"uTime": "now"},
        {"px": "60000.12"},
        {"ordId": ""},
    ],
)
def test_an_order_that_can_not_be_read_is_no_absence(broken):
    ask = codec().order(BTC, "k7a1", "")
    next(ask)
    with pytest.raises(kit.VenueError, match="okx order"):
        ask.send(ok(row(**broken)))


@pytest.mark.parametrize("fee", ["", None])
def test_a_fill_without_its_fee_is_not_read_but_asked_for(fee):
    """The list has been seen to leave it out; there, a fill counts for more than its fee."""
    (socket,) = codec().sockets()
    event = row(tradeId="7", fillPx="60000.1", fillSz="0.0004", fillTime="1", execType="T")
    if fee is not None:
        event |= {"fillFee": fee, "fillFeeCcy": "BTC"}
    data = {"arg": {"channel": "orders", "instType": "SPOT"}, "data": [event]}
    with pytest.raises(ValueError, match="not a number"):
        socket.decode(json.dumps(data).encode())
    _, (found,) = end_of(codec().fills(BTC, 0), ok(past(7, fee="")), ok())
    assert (found.fee, found.fee_asset) == (0, "BTC")


# ------------------------------------------------------------------------------------- secrets


def test_what_the_venue_quotes_of_us_is_not_repeated():
    (socket,) = codec().sockets()
    (login,) = socket.login(STAMP)
    assert PASSPHRASE not in repr(login)
    quoted = {"event": "error", "code": "60012", "msg": "Illegal request: " + login.data.decode()}
    (event,) = socket.decode(json.dumps(quoted).encode())
    texts = [event.text]
    named = {"event": "error", "code": "60005", "msg": f"Invalid apiKey {OWN.key}, {SECRET}"}
    texts += [e.text for e in socket.decode(json.dumps(named).encode())]
    orders = codec()
    texts.append(repr(orders.outcome(refused("99999", msg=f"who is {PASSPHRASE}?"))))
    texts.append(repr(orders.sign(orders.place(limit()), STAMP)))
    ask = orders.balances()
    next(ask)
    with pytest.raises(kit.VenueError) as caught:
        ask.send(kit.Answer(200, {}, f"<html>{SECRET} {PASSPHRASE} {OWN.key}".encode()))
    texts += [str(caught.value), repr(caught.value)]
    for text in texts:
        for secret in (SECRET, PASSPHRASE, OWN.key, json.loads(login.data)["args"][0]["sign"]):
            assert secret not in text, text


# ------------------------------------------------------------------------------------- recorded


@pytest.fixture(scope="module")
def recorded() -> list[bytes]:
    path = RECORDED / "private_orders.jsonl"
    if not path.exists():
        pytest.skip(f"no recordings at {path}: set HEAN_RECORDINGS")
    return path.read_bytes().splitlines()


def test_recorded_lives(recorded):
    """54 messages of 2024: the answers to login and subscription, and the lives of orders."""
    assert len(recorded) == 54
    (socket,) = codec(BTC, ETH, ETH_BTC).sockets()
    events = [event for data in recorded for event in socket.decode(data)]
    assert Counter(type(event).__name__ for event in events) == {
        "LoggedIn": 1,
        "OrderReport": 30,
        "Fill": 22,
    }
    reports, filled, paid = defaultdict(list), Counter(), Counter()
    trades = set()
    for event in events:
        if isinstance(event, kit.OrderReport):
            reports[event.venue_order_id].append(event)
            # The fills came first, and the order counts them all.
            assert event.cum_qty == filled[event.venue_order_id]
        elif isinstance(event, kit.Fill):
            assert (event.instrument.symbol, event.trade_id) not in trades
            trades.add((event.instrument.symbol, event.trade_id))
            filled[event.venue_order_id] += event.qty
            paid[event.venue_order_id] += event.fee
            assert event.fee > 0, "all were charged"
            base, quote = event.instrument.pair.base, event.instrument.pair.quote
            assert event.fee_asset == (base if event.side is kit.Side.BUY else quote)
    assert len(reports) == 6
    for life in reports.values():
        assert life[0].state is kit.OrderState.OPEN, "market orders too begin live"
        assert life[0].cum_qty == 0
        assert [r.cum_qty for r in life] == sorted(r.cum_qty for r in life)
        assert [r.state for r in life[:-1]] == [kit.OrderState.OPEN] * (len(life) - 1)
        assert life[-1].state in {kit.OrderState.FILLED, kit.OrderState.CANCELED}
    ends = Counter(life[-1].state for life in reports.values())
    assert ends == {kit.OrderState.FILLED: 5, kit.OrderState.CANCELED: 1}
    # The venue's own running total of the longest life.
    assert paid["1848670189392691200"] == Decimal("157.4878235858928")
    # A market buy by value has no quantity of base; one whose fills are whole has its own.
    by_value = [life for life in reports.values() if life[0].qty is None]
    assert [life[-1].cum_qty for life in by_value] == [126_039]


# ------------------------------------------------------------------------------------- numbers


@given(st.integers(1, 10**20), st.integers(0, 18))
def test_numbers_are_said_in_plain_digits(value, decimals):
    text = words._text(value, decimals)
    assert text == kit.plain(Decimal(f"{value}E-{decimals}"))
    assert kit.to_scaled(text, decimals) == value
