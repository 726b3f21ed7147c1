"""Bybit's sockets: what is acknowledged, what refused, what is cut, what is announced."""

import json
import re
from decimal import Decimal

import pytest

from hean_router.sim.contract import (
    MINUTE,
    MS,
    SECOND,
    Close,
    FrameKind,
    Options,
    Pong,
    Request,
    Reset,
    Trouble,
)
from hean_router.sim.exchange import Side, Status, Trade
from hean_router.sim.faces import load
from hean_router.sim.faces.bybit.tickers import Day
from hean_router.sim.market import START_PX, Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_786_310_800 * SECOND
SPOT, LINEAR, STATUS = "/v5/public/spot", "/v5/public/linear", "/v5/public/misc/status"
SYMBOLS = ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"]


def venue(seed=1, *, options=None, symbols=SYMBOLS, pace=None):
    return simulate(
        "bybit", seed, ORIGIN_NS, symbols=symbols, options=options, pace=pace or Pace(levels=20)
    )


def face_of(**how):
    return venue(**how)[0].face


def connect(face, path=SPOT, conn=1, now_ns=ORIGIN_NS, peer="127.0.0.1"):
    request = Request("GET", path, peer=peer)
    refusal = face.accept(request, now_ns)
    if refusal is None:
        face.opened(conn, request, now_ns)
    return refusal


def ask(face, message, conn=1, now_ns=ORIGIN_NS):
    """The answer to a message, and what else came: (answer, others)."""
    text = message if isinstance(message, str | bytes) else json.dumps(message)
    outputs = face.received(conn, text, now_ns)
    (answer,) = [output for output in outputs if output.kind is FrameKind.CONTROL]
    others = [output for output in outputs if output is not answer]
    return json.loads(answer.data), others


def refused(face, message, path=SPOT):
    connect(face, path)
    answer, others = ask(face, message)
    assert answer["success"] is False
    assert not others
    assert face.topics(1) == ()
    return answer["ret_msg"]


def subscribe(*args):
    return {"op": "subscribe", "args": list(args)}


# Acknowledgements


@pytest.mark.parametrize(
    ("path", "message", "expected"),
    [
        # spot says what it did and leaves out an id that was not sent (recorded)
        (SPOT, subscribe("publicTrade.BTCUSDT"), [True, "subscribe", "C", "subscribe"]),
        (
            SPOT,
            {"req_id": "7", **subscribe("publicTrade.BTCUSDT")},
            [True, "subscribe", "C", "7", "subscribe"],
        ),
        # linear says nothing, and an empty id (recorded)
        (LINEAR, subscribe("publicTrade.BTCUSDT"), [True, "", "C", "", "subscribe"]),
        (
            LINEAR,
            {"req_id": "7", **subscribe("publicTrade.BTCUSDT")},
            [True, "", "C", "7", "subscribe"],
        ),
        # ccxt sends numbers
        (LINEAR, {"req_id": 7, **subscribe("tickers.BTCUSDT")}, [True, "", "C", "7", "subscribe"]),
        (STATUS, subscribe("system.status"), [True, "subscribe", "C", "subscribe"]),
        # a pong calls itself ping on public sockets
        (SPOT, {"op": "ping"}, [True, "pong", "C", "ping"]),
        (SPOT, {"req_id": "p1", "op": "ping"}, [True, "pong", "C", "p1", "ping"]),
        (LINEAR, {"op": "ping"}, [True, "pong", "C", "", "ping"]),
        (STATUS, {"op": "ping"}, [True, "pong", "C", "ping"]),
    ],
)
def test_acknowledged_as_recorded(path, message, expected):
    face = face_of()
    connect(face, path)
    answer, _ = ask(face, message)
    assert re.fullmatch(r"[0-9a-v]{20}-[0-9a-z]{5}", answer["conn_id"])
    conn_id = answer["conn_id"]
    values = [conn_id if value == "C" else value for value in expected]
    names = ["success", "ret_msg", "conn_id", "req_id", "op"]
    if len(expected) == 4:
        names.remove("req_id")
    assert list(answer.items()) == list(zip(names, values, strict=True))
    assert ask(face, {"op": "ping"})[0]["conn_id"] == conn_id, "one id per socket"


def test_one_acknowledgement_for_a_whole_request():
    face = face_of()
    connect(face)
    answer, others = ask(face, subscribe("tickers.BTCUSDT", "orderbook.1.ETHUSDT"))
    assert answer["success"]
    assert [output.topic for output in others] == ["tickers.BTCUSDT", "orderbook.1.ETHUSDT"]
    assert face.topics(1) == ("tickers.BTCUSDT", "orderbook.1.ETHUSDT")


@pytest.mark.parametrize(("path", "ack_first"), [(SPOT, True), (LINEAR, False)])
def test_data_before_or_after_the_ack_as_recorded(path, ack_first):
    face = face_of()
    connect(face, path)
    message = json.dumps(subscribe("orderbook.50.BTCUSDT"))
    kinds = [output.kind for output in face.received(1, message, ORIGIN_NS)]
    assert kinds == [FrameKind.CONTROL, FrameKind.SNAPSHOT][:: 1 if ack_first else -1]


def test_frames_that_are_bytes_are_read_too():
    face = face_of()
    connect(face)
    assert ask(face, b'{"op":"ping"}')[0]["ret_msg"] == "pong"


# Refusals

ELEVEN = [f"orderbook.{depth}.{name}" for depth in (1, 50, 200) for name in ("BTCUSDT", "ETHUSDT")]
ELEVEN += [
    f"{what}.{name}" for what in ("publicTrade", "tickers") for name in ("BTCUSDT", "ETHUSDT")
]
ELEVEN += ["priceLimit.BTCUSDT"]
NOT_FOUND = "error:handler not found,topic:"


@pytest.mark.parametrize(
    ("path", "message", "ret_msg"),
    [
        (SPOT, subscribe("orderbook.50.NOPEUSDT"), NOT_FOUND + "orderbook.50.NOPEUSDT"),
        (LINEAR, subscribe("orderbook.50.NOPEUSDT"), NOT_FOUND + "orderbook.50.NOPEUSDT"),
        # names are case-sensitive
        (SPOT, subscribe("orderbook.50.btcusdt"), NOT_FOUND + "orderbook.50.btcusdt"),
        # no such depths: one of options, one of old, one that only looks like a number
        (SPOT, subscribe("orderbook.25.BTCUSDT"), NOT_FOUND + "orderbook.25.BTCUSDT"),
        (LINEAR, subscribe("orderbook.500.BTCUSDT"), NOT_FOUND + "orderbook.500.BTCUSDT"),
        (SPOT, subscribe("orderbook.050.BTCUSDT"), NOT_FOUND + "orderbook.050.BTCUSDT"),
        (SPOT, subscribe("orderbook.BTCUSDT"), NOT_FOUND + "orderbook.BTCUSDT"),
        # not simulated, not of this category, not of this socket
        (SPOT, subscribe("orderbook.full.BTCUSDT"), NOT_FOUND + "orderbook.full.BTCUSDT"),
        (SPOT, subscribe("allLiquidation.BTCUSDT"), NOT_FOUND + "allLiquidation.BTCUSDT"),
        (SPOT, subscribe("order"), NOT_FOUND + "order"),
        (SPOT, subscribe("system.status"), NOT_FOUND + "system.status"),
        (STATUS, subscribe("tickers.BTCUSDT"), NOT_FOUND + "tickers.BTCUSDT"),
        # one bad topic spoils its request
        (SPOT, subscribe("tickers.BTCUSDT", "nope"), NOT_FOUND + "nope"),
        (
            SPOT,
            subscribe("tickers.BTCUSDT", "tickers.BTCUSDT"),
            "error:already subscribed,topic:tickers.BTCUSDT",
        ),
        (SPOT, subscribe(*ELEVEN), "args size >10"),
        (LINEAR, subscribe(*["x" * 99] * 205), NOT_FOUND + "x" * 99),  # 20,911 characters
        (LINEAR, subscribe(*["x" * 99] * 206), "error:args length >=21000"),
        (SPOT, subscribe(), "error:args is empty"),
        (SPOT, {"op": "subscribe"}, "Failed to decode incoming data:"),
        (SPOT, {"op": "subscribe", "args": "tickers.BTCUSDT"}, "Failed to decode incoming data:"),
        (SPOT, subscribe(7), "Failed to decode incoming data:"),
        (SPOT, {"op": "nope"}, "error:invalid op"),
        (SPOT, {"op": "auth", "args": ["key", 1, "signature"]}, "error:invalid op"),
        (SPOT, {}, "error:invalid op"),
        (SPOT, {"op": "ping", "req_id": []}, "Failed to decode incoming data:"),
        (SPOT, "hello", "Failed to decode incoming data:"),
        (SPOT, "[1]", "Failed to decode incoming data:"),
        (SPOT, "", "Failed to decode incoming data:"),
        (SPOT, b"\xff", "Failed to decode incoming data:"),
    ],
)
def test_refused(path, message, ret_msg):
    face = face_of()
    text = refused(face, message, path)
    assert text.startswith(ret_msg)
    assert ret_msg.endswith(":") or text == ret_msg
    assert ask(face, {"op": "ping"})[0]["success"], "the socket stays open"


def test_too_many_args_are_answered_as_the_venue_escapes_it():
    face = face_of()
    connect(face)
    (answer,) = face.received(1, json.dumps({"req_id": "1", **subscribe(*ELEVEN)}), ORIGIN_NS)
    assert r'"ret_msg":"args size \u003e10"' in answer.data


def test_ten_args_pass_on_spot_and_any_number_on_linear():
    face = face_of()
    connect(face)
    assert ask(face, subscribe(*ELEVEN[:10]))[0]["success"]
    connect(face, LINEAR, 2)
    assert ask(face, subscribe(*ELEVEN), 2)[0]["success"]
    assert len(face.topics(2)) == 11


def test_a_topic_subscribed_already_spoils_the_request():
    face = face_of()
    connect(face, LINEAR)
    assert ask(face, subscribe("publicTrade.BTCUSDT"))[0]["success"]
    answer, others = ask(face, subscribe("orderbook.50.ETHUSDT", "publicTrade.BTCUSDT"))
    assert answer["ret_msg"] == "error:already subscribed,topic:publicTrade.BTCUSDT"
    assert not others
    assert face.topics(1) == ("publicTrade.BTCUSDT",)


def test_off_and_on_again_is_how_a_book_is_started_anew():
    face = face_of()
    for conn, (path, word) in enumerate(((SPOT, "unsubscribe"), (LINEAR, "")), start=1):
        connect(face, path, conn)
        ask(face, subscribe("orderbook.50.BTCUSDT"), conn)
        answer, _ = ask(face, {"op": "unsubscribe", "args": ["orderbook.50.BTCUSDT"]}, conn)
        assert (answer["success"], answer["ret_msg"], answer["op"]) == (True, word, "unsubscribe")
        assert face.topics(conn) == ()
        _, (snapshot,) = ask(face, subscribe("orderbook.50.BTCUSDT"), conn)
        assert snapshot.kind is FrameKind.SNAPSHOT


# Connections


@pytest.mark.parametrize("path", ["/", "/ws", "/v5/public", "/v5/public/option", "/v5/privat"])
def test_other_sockets_do_not_exist(path):
    assert connect(face_of(), path).status == 404


@pytest.mark.parametrize(("factor", "allowed"), [(1.0, 500), (0.1, 50), (None, 600)])
def test_connections_per_five_minutes(factor, allowed):
    face = face_of(options=Options(limits=factor))
    answers = [connect(face, conn=conn) for conn in range(1, 601)]
    assert [answer is None for answer in answers] == [True] * allowed + [False] * (600 - allowed)
    if factor is not None:
        assert answers[-1].status == 403
        assert connect(face, conn=700, peer="10.0.0.2") is None, "another address, another count"
        assert connect(face, conn=701, now_ns=ORIGIN_NS + 5 * MINUTE - 1) is not None
        assert connect(face, conn=702, now_ns=ORIGIN_NS + 5 * MINUTE) is None


def test_a_thousand_connections_per_category():
    face = face_of(options=Options(limits=0.01))  # 10 at once, 5 in five minutes
    now_ns, conn = ORIGIN_NS, 0
    for _ in range(2):
        for _ in range(5):
            conn += 1
            assert connect(face, conn=conn, now_ns=now_ns) is None
        now_ns += 5 * MINUTE
    assert connect(face, conn=11, now_ns=now_ns).status == 403
    assert connect(face, LINEAR, conn=11, now_ns=now_ns) is None
    face.closed(3, now_ns)
    assert connect(face, conn=12, now_ns=now_ns) is None


def run_until_end(face, now_ns, end_ns):
    """What ends a connection, and when."""
    while (wake_ns := face.wake_at_ns) is not None and wake_ns <= end_ns:
        now_ns = wake_ns
        for output in face.due(now_ns):
            if isinstance(output, Close | Reset):
                return output, now_ns
    return None, end_ns


def test_a_socket_without_subscription_dies_after_61_seconds():
    face = face_of()
    connect(face)
    assert run_until_end(face, ORIGIN_NS, ORIGIN_NS + MINUTE) == (None, ORIGIN_NS + MINUTE)
    ask(face, {"op": "ping"}, now_ns=ORIGIN_NS + MINUTE)
    output, ended_ns = run_until_end(face, ORIGIN_NS, ORIGIN_NS + 10 * MINUTE)
    assert output == Reset(1), "without a close frame"
    assert ended_ns == ORIGIN_NS + MINUTE + 61 * SECOND
    face.closed(1, ended_ns)  # the server always says so; harmless
    assert face.received(1, '{"op":"ping"}', ended_ns) == ()


@pytest.mark.parametrize("path", [SPOT, STATUS])
def test_a_client_that_never_pings_is_cut_in_the_end(path):
    face = face_of()
    connect(face, path)
    topic = "system.status" if path == STATUS else "publicTrade.BTCUSDT"
    asked_ns = ORIGIN_NS + 7 * SECOND
    ask(face, subscribe(topic), now_ns=asked_ns)
    output, ended_ns = run_until_end(face, asked_ns, ORIGIN_NS + 20 * MINUTE)
    assert output == Reset(1)
    assert ended_ns == ORIGIN_NS + 10 * MINUTE + 30 * SECOND, "looked at every 30 s"


def test_pings_of_either_kind_keep_a_socket():
    face = face_of()
    connect(face)
    now_ns = ORIGIN_NS
    for turn in range(60):
        now_ns += 40 * SECOND
        if turn % 2:
            assert face.pinged(1, b"x", now_ns) == [Pong(1, b"x")]
        else:
            ask(face, {"op": "ping"}, now_ns=now_ns)
        assert run_until_end(face, now_ns, now_ns + 30 * SECOND)[0] is None


def test_no_session_limit_but_one_that_is_asked_for():
    face = face_of(options=Options(session_life_ns=5 * SECOND))
    connect(face)
    output, ended_ns = run_until_end(face, ORIGIN_NS, ORIGIN_NS + MINUTE)
    assert output == Close(1, 1001)
    assert ended_ns == ORIGIN_NS + 5 * SECOND


def test_who_reads_too_slowly_is_dropped():
    face = face_of()
    connect(face)
    ask(face, subscribe("orderbook.1.BTCUSDT"))
    assert face.overflowed(1, ORIGIN_NS) == [Reset(1)]
    assert face.topics(1) == ()


def test_a_closed_connection_hears_nothing_more():
    simulator, _ = venue(pace=Pace(updates_per_s=50, levels=20))
    connect(simulator.face)
    ask(simulator.face, subscribe("orderbook.1.BTCUSDT", "tickers.BTCUSDT"))
    assert simulator.due(ORIGIN_NS + SECOND)
    simulator.face.closed(1, ORIGIN_NS + SECOND)
    assert not simulator.due(ORIGIN_NS + 10 * SECOND)


# Notices


def test_maintenance_is_announced_and_ends():
    simulator, _ = venue(pace=Pace(updates_per_s=50, levels=20))
    face = simulator.face
    connect(face, STATUS, 1)
    ask(face, subscribe("system.status"))
    connect(face, SPOT, 2)
    connect(face, LINEAR, 3)
    for conn in (2, 3):
        ask(face, subscribe("orderbook.50.BTCUSDT", "tickers.BTCUSDT"), conn)
    now_ns = ORIGIN_NS + SECOND
    simulator.due(now_ns)

    notice, *ends = face.trouble(Trouble.MAINTENANCE, now_ns)
    frame = json.loads(notice.data)
    assert (notice.conn, list(frame), frame["data"][0]["state"]) == (
        1,
        ["topic", "ts", "data"],
        "ongoing",
    )
    assert ends == [Close(2, 1001), Close(3, 1001)]
    assert face.trouble(Trouble.MAINTENANCE, now_ns) == (), "once is enough"
    assert connect(face, SPOT, 4, now_ns).status == 503
    assert connect(face, STATUS, 4, now_ns) is None
    body = json.loads(rest(face, "/v5/market/tickers?category=spot", now_ns).body)
    assert (body["retCode"], body["result"]) == (10016, {})
    assert json.loads(rest(face, "/v5/market/time", now_ns).body)["retCode"] == 0
    listed = json.loads(rest(face, "/v5/system/status?state=ongoing", now_ns).body)
    assert listed["result"]["list"] == frame["data"]
    assert not simulator.due(now_ns + SECOND)

    now_ns += MINUTE
    (over,) = face.trouble(Trouble.RESUME, now_ns)
    frame = json.loads(over.data)
    assert frame["data"][0]["state"] == "completed"
    assert frame["data"][0]["end"] == str(now_ns // MS)
    assert face.trouble(Trouble.RESUME, now_ns) == ()
    assert connect(face, SPOT, 5, now_ns) is None
    _, (snapshot,) = ask(face, subscribe("orderbook.50.BTCUSDT"), 5, now_ns)
    assert json.loads(snapshot.data)["data"]["u"] == 1, "the service has restarted"


@pytest.mark.parametrize("trouble", list(Trouble))
def test_trouble_without_anybody_there_is_quiet(trouble):
    outputs = face_of().trouble(trouble, ORIGIN_NS)
    unknown = (Trouble.SHUTDOWN, Trouble.INSIDE)  # sockets get no warning, books need no REST
    assert outputs is None if trouble in unknown else list(outputs) == []


def rest(face, url, now_ns=ORIGIN_NS, method="GET", **how):
    path, _, query = url.partition("?")
    return face.request(Request(method, path, query, **how), now_ns)


# Trades and tickers


def test_trades_of_one_action_share_message_and_seq():
    simulator, exchange = venue()
    face = simulator.face
    for conn, path in ((1, SPOT), (2, LINEAR)):
        connect(face, path, conn)
        ask(face, subscribe("publicTrade.BTCUSDT"), conn)
    for conn, symbol in ((1, "BTC/USDT"), (2, "BTC/USDT:USDT")):
        third = exchange.book(symbol, 3)[1][2]
        listing = exchange.listings[symbol]
        qty = sum(level.qty for level in exchange.book(symbol, 3)[1])
        now_ns = ORIGIN_NS + 1_234_567
        step = exchange.place(symbol, Side.BUY, qty, third.px, now_ns=now_ns)
        assert len(step.trades) >= 3
        (output,) = face.market(step, now_ns)
        assert (output.conn, output.kind) == (conn, FrameKind.DATA)
        data = json.loads(output.data)["data"]
        assert len(data) == len(step.trades)
        assert {row["seq"] for row in data} == {exchange.update_id(symbol)}
        assert {row["T"] for row in data} == {now_ns // MS}
        assert {row["S"] for row in data} == {"Buy"}
        assert len({row["i"] for row in data}) == len(data)
        assert [listing.ticks(Decimal(row["p"])) for row in data] == [
            trade.px for trade in step.trades
        ]
        if conn == 2:
            assert data[-1]["L"] in ("PlusTick", "ZeroPlusTick")


def test_more_trades_than_a_message_holds_are_split():
    simulator, exchange = venue()
    symbol, face = "BTC/USDT", simulator.face
    connect(face)
    ask(face, subscribe("publicTrade.BTCUSDT"))
    bid = exchange.best(symbol, Side.BUY)
    for _ in range(1_100):
        exchange.place(symbol, Side.BUY, 1_000, bid.px, now_ns=ORIGIN_NS)
    step = exchange.place(symbol, Side.SELL, bid.qty + 1_100_000, bid.px, now_ns=ORIGIN_NS)
    sizes = [len(json.loads(output.data)["data"]) for output in face.market(step, ORIGIN_NS)]
    assert sizes == [1_024, len(step.trades) - 1_024]


@pytest.mark.parametrize(
    ("path", "interval_ms"),
    [(SPOT, 50), (LINEAR, 100)],
)
def test_tickers_add_up(path, interval_ms):
    simulator, _ = venue(pace=Pace(updates_per_s=200, levels=20, taker_permille=300))
    face = simulator.face
    connect(face, path)
    ask(face, subscribe("publicTrade.BTCUSDT"))
    _, (first,) = ask(face, subscribe("tickers.BTCUSDT"))
    ticker = json.loads(first.data)["data"]
    traded, last, stamps = Decimal(0), ticker["lastPrice"], []
    for output in simulator.due(ORIGIN_NS + 3 * SECOND):
        frame = json.loads(output.data)
        if output.topic.startswith("publicTrade"):
            traded += sum(Decimal(row["v"]) for row in frame["data"])
            last = frame["data"][-1]["p"]
            continue
        assert frame["type"] == ("snapshot" if path == SPOT else "delta")
        assert frame["data"]["symbol"] == "BTCUSDT"
        if path == LINEAR:
            assert ("bid1Price" in frame["data"]) == ("bid1Size" in frame["data"])
            assert any(ticker[name] != value for name, value in frame["data"].items())
        ticker |= frame["data"]
        stamps.append(frame["ts"])
    simulator.face.due(ORIGIN_NS + 4 * SECOND)
    assert len(stamps) > 10
    assert {(after - stamps[0]) % interval_ms for after in stamps} == {0}
    row = json.loads(
        rest(
            face,
            f"/v5/market/tickers?category={path.split('/')[-1]}&symbol=BTCUSDT",
            ORIGIN_NS + 3 * SECOND,
        ).body
    )["result"]["list"][0]
    assert Decimal(row["volume24h"]) == traded
    assert row["lastPrice"] == last
    assert float(ticker["lowPrice24h"]) <= float(last) <= float(ticker["highPrice24h"])


def trade(px, qty):
    return Trade(1, px, qty, Side.BUY, None, None)


def test_a_day_forgets_what_is_older():
    day = Day(100)
    for minutes, px, qty in ((0, 90, 1), (1, 130, 2), (1, 125, 3), (600, 110, 4), (1_439, 120, 5)):
        day.add(trade(px, qty), ORIGIN_NS + minutes * MINUTE)
    now_ns = ORIGIN_NS + 1_439 * MINUTE
    told = (day.high, day.low, day.lots, day.value, day.day_ago, day.last, day.direction)
    assert told == (130, 90, 15, 90 + 260 + 375 + 440 + 600, 100, 120, "PlusTick")
    assert day.hour_ago(now_ns) == 110
    day.turn(ORIGIN_NS + 1_441 * MINUTE)  # the first two minutes are more than a day ago
    told = (day.high, day.low, day.lots, day.value, day.day_ago, day.last)
    assert told == (120, 110, 9, 440 + 600, 125, 120)
    day.turn(ORIGIN_NS + 3_000 * MINUTE)
    told = (day.high, day.low, day.lots, day.value, day.day_ago, day.last)
    assert told == (120, 120, 0, 0, 120, 120), "nothing traded: the last price stands"
    assert day.hour_ago(ORIGIN_NS + 3_000 * MINUTE) == 120


def test_price_limits_embrace_the_last_price():
    simulator, _ = venue(pace=Pace(updates_per_s=200, levels=20, taker_permille=300))
    connect(simulator.face)
    _, (first,) = ask(simulator.face, subscribe("priceLimit.BTCUSDT"))
    frames = [first, *simulator.due(ORIGIN_NS + 2 * SECOND)]
    assert 2 < len(frames) <= 8, "every 300 ms, if it moved"
    for output in frames:
        frame = json.loads(output.data)
        assert list(frame) == ["topic", "data", "ts"]
        high, low = float(frame["data"]["buyLmt"]), float(frame["data"]["sellLmt"])
        assert high / low == pytest.approx(1.005 / 0.995, rel=1e-5)


def test_nobody_is_liquidated_here():
    simulator, _ = venue(pace=Pace(updates_per_s=50, levels=20))
    connect(simulator.face, LINEAR)
    answer, others = ask(simulator.face, subscribe("allLiquidation.BTCUSDT"))
    assert answer["success"]
    assert not others
    assert not simulator.due(ORIGIN_NS + SECOND)


# Listings and determinism


@pytest.mark.parametrize(
    ("symbol", "tick", "lot"),
    [
        # as recorded in August 2026, zeros included
        ("BTC/USDT", "0.1", "0.000001"),
        ("ETH/USDT", "0.01", "0.00001"),
        ("SOL/USDT", "0.01", "0.0001"),
        ("XRP/USDT", "0.0001", "0.01"),
        ("ETH/BTC", "0.000001", "0.00001"),
        ("DOGE/USDT", "0.00001", "0.1"),
        ("BTC/EUR", "0.1", "0.000001"),
        ("BTC/USDT:USDT", "0.10", "0.001"),
        ("ETH/USDT:USDT", "0.01", "0.01"),
        ("SOL/USDT:USDT", "0.010", "0.1"),
        ("XRP/USDT:USDT", "0.0001", "0.1"),
        ("DOGE/USDT:USDT", "0.00001", "1"),
    ],
)
def test_rules_are_the_venues(symbol, tick, lot):
    (listing,) = load("bybit").listings([symbol])
    assert (str(listing.tick), f"{listing.lot:f}") == (tick, lot)


@pytest.mark.parametrize("symbol", ["BTC/USDC:USDC", "NOPE/USDT", "BTCUSDT"])
def test_what_it_does_not_list(symbol):
    with pytest.raises(ValueError, match=symbol.split("/")[0]):
        load("bybit").listings([symbol])


def test_every_asset_with_a_price_can_be_listed():
    symbols = [f"{base}/USDT" for base in START_PX if base != "USDT"]
    assert len(load("bybit").listings(symbols)) == len(symbols)
    simulate("bybit", 1, ORIGIN_NS, symbols=symbols, pace=Pace(levels=5))


def transcript(step_ns):
    simulator, _ = venue(7, pace=Pace(updates_per_s=50, levels=20))
    face, heard = simulator.face, []
    for conn, path in ((1, SPOT), (2, LINEAR)):
        connect(face, path, conn)
        message = json.dumps(subscribe(*ELEVEN[:10]))
        heard += face.received(conn, message, ORIGIN_NS)
    now_ns = ORIGIN_NS
    for _ in range(4):
        end_ns = now_ns + SECOND
        while now_ns < end_ns:
            now_ns = min(end_ns, now_ns + step_ns)
            heard += simulator.due(now_ns)
        heard += face.trouble(Trouble.RESTART, now_ns)
    return heard


def test_the_same_seed_says_the_same_however_time_is_cut():
    whole = transcript(SECOND)
    assert len(whole) > 500
    assert whole == transcript(3 * MS)


def test_hosts_are_bases_and_paths_tell_the_sockets_apart():
    face = face_of()
    assert face.hosts("http://h:1", "ws://h:1") == {"rest": "http://h:1", "ws": "ws://h:1"}
    for conn, path in enumerate((SPOT, LINEAR, STATUS), start=1):
        assert connect(face, path, conn) is None


def test_a_halted_listing_is_closed():
    simulator, exchange = venue()
    exchange.set_status("BTC/USDT", Status.HALT, now_ns=ORIGIN_NS)
    answer = json.loads(rest(simulator.face, "/v5/market/instruments-info?category=spot").body)
    assert [(row["symbol"], row["status"]) for row in answer["result"]["list"]] == [
        ("BTCUSDT", "Closed"),
        ("ETHUSDT", "Trading"),
    ]
