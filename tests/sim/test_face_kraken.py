"""Kraken's face: words as documented and recorded, limits that bite, ends as the venue ends."""

import gzip
import hashlib
import json
import os
import re
import zlib
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

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
    Send,
    Trouble,
)
from hean_router.sim.exchange import Exchange, Side, Status
from hean_router.sim.faces import load
from hean_router.sim.faces.kraken import KrakenFace, listings
from hean_router.sim.market import START_PX, Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_772_445_600 * SECOND
RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))
HEARTBEAT = '{"channel":"heartbeat"}'
PRIVATE = "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"


def recorded(name):
    """A recording's text; the test is skipped where there is none."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}; set HEAN_RECORDINGS")
    return gzip.open(path, "rt").read() if path.suffix == ".gz" else path.read_text()


class Venue:
    """A simulator without sockets, and what it said to each connection."""

    def __init__(self, seed=1, symbols=("BTC/USDT", "ETH/USDT"), pace=None, options=None):
        self.sim, self.exchange = simulate(
            "kraken", seed, ORIGIN_NS, symbols=symbols, pace=pace, options=options
        )
        self.face = self.sim.face
        self.now_ns = ORIGIN_NS
        self.inbox = {}

    def open(self):
        conn = len(self.inbox) + 1
        request = Request("GET", "/v2")
        assert self.face.accept(request, self.now_ns) is None
        self.inbox[conn] = []
        self.keep(self.face.opened(conn, request, self.now_ns))
        return conn

    def keep(self, outputs):
        for output in outputs:
            self.inbox[output.conn].append(output)

    def run(self, ns):
        self.now_ns += ns
        self.keep(self.sim.due(self.now_ns))

    def say(self, conn, message):
        data = message if isinstance(message, str | bytes) else json.dumps(message)
        self.keep(self.face.received(conn, data, self.now_ns))

    def subscribe(self, conn, channel, symbols=("BTC/USDT",), method="subscribe", req_id=None, **p):
        params = {"channel": channel, **({"symbol": list(symbols)} if symbols else {}), **p}
        extra = {} if req_id is None else {"req_id": req_id}
        self.say(conn, {"method": method, "params": params, **extra})

    def take(self, conn):
        outputs, self.inbox[conn] = self.inbox[conn], []
        return outputs

    def texts(self, conn):
        return [output.data for output in self.take(conn) if isinstance(output, Send)]

    def frames(self, conn):
        return [json.loads(text) for text in self.texts(conn)]

    def get(self, name, query="", **more):
        request = Request(more.pop("method", "GET"), f"/0/public/{name}", query, **more)
        response = self.face.request(request, self.now_ns)
        assert response.status == 200, "errors too"
        return json.loads(response.body)


def skeleton(text):
    """A text with its values gone: names, order and forms of numbers are left."""
    text = re.sub(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z"', '"TIME"', text)
    text = re.sub(r'"connection_id":\d{17,20}', '"connection_id":ID', text)
    text = re.sub(r'"checksum":\d{1,10}', '"checksum":CRC', text)
    text = re.sub(r'"qty":\d+\.\d{8}(?!\d)', '"qty":QTY', text)
    text = re.sub(r'"price":\d+\.\d+', '"price":PX', text)
    text = re.sub(r'"[A-Z]+/[A-Z]+"', '"PAIR"', text)
    return re.sub(r'(\{"price":PX,"qty":QTY\},?)+', "LEVELS", text)


# Words


def test_golden_frames():
    """Frame for frame, from a market made by hand."""
    exchange = Exchange("kraken", listings(["BTC/USDT"]), first_trade_id=500)
    face = KrakenFace(exchange, Random(1), Options())

    def place(side, qty, px, now_ns=ORIGIN_NS):
        return face.market(exchange.place("BTC/USDT", side, qty, px, now_ns=now_ns), now_ns)

    place(Side.BUY, 18_967_538, 618_000)
    place(Side.BUY, 10_000_000, 617_999)
    place(Side.SELL, 635_000_000, 618_010)
    (status,) = face.opened(1, Request("GET", "/v2"), ORIGIN_NS)
    assert re.fullmatch(
        r'\{"channel":"status","type":"update","data":\[\{"version":"2.0.10","system":"online",'
        r'"api_version":"v2","connection_id":\d{19,20}\}\]\}',
        status.data,
    )
    assert json.loads(status.data)["data"][0]["connection_id"] > 2**53
    ask = {"channel": "book", "symbol": ["BTC/USDT"], "depth": 25, "snapshot": True}
    said = face.received(1, json.dumps({"method": "subscribe", "params": ask}), ORIGIN_NS)
    text = re.sub(r'"time_out":"2026-03-02T10:00:00.0000\d\dZ"', '"time_out":"…"', said[0].data)
    assert text == (
        '{"method":"subscribe","result":{"channel":"book","depth":25,"snapshot":true,'
        '"symbol":"BTC/USDT"},"success":true,"time_in":"2026-03-02T10:00:00.000000Z",'
        '"time_out":"…"}'
    )
    assert said[1].data == (
        '{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USDT","bids":['
        '{"price":61800.0,"qty":0.18967538},{"price":61799.9,"qty":0.10000000}],"asks":['
        '{"price":61801.0,"qty":6.35000000}],"checksum":CRC,'
        '"timestamp":"2026-03-02T10:00:00.000000Z"}]}'
    ).replace("CRC", str(_crc("618010", "635000000", "618000", "18967538", "617999",
                                     "10000000")))  # fmt: skip
    ask = {"channel": "trade", "symbol": ["BTC/USDT"]}
    face.received(1, json.dumps({"method": "subscribe", "params": ask}), ORIGIN_NS)
    face._feed._rng.randrange = lambda *_: 1  # nothing waits for the next
    # One taker: a bid and part of the next; the first bid leaves.
    said = place(Side.SELL, 20_000_000, 617_999, ORIGIN_NS + 123_456_789)
    crc = _crc("618010", "635000000", "617999", "8967538")
    assert [output.data for output in said] == [
        '{"channel":"book","type":"update","data":[{"symbol":"BTC/USDT","bids":['
        '{"price":61800.0,"qty":0.00000000},{"price":61799.9,"qty":0.08967538}],"asks":[],'
        f'"checksum":{crc},"timestamp":"2026-03-02T10:00:00.123456Z"}}]}}',
        '{"channel":"trade","type":"update","data":['
        '{"symbol":"BTC/USDT","side":"sell","price":61800.0,"qty":0.18967538,"ord_type":"limit",'
        '"trade_id":501,"timestamp":"2026-03-02T10:00:00.123456Z"},'
        '{"symbol":"BTC/USDT","side":"sell","price":61799.9,"qty":0.01032462,"ord_type":"limit",'
        '"trade_id":502,"timestamp":"2026-03-02T10:00:00.123456Z"}]}',
    ]


def _crc(*parts):
    return zlib.crc32("".join(parts).encode())


def test_a_session_looks_as_recorded():
    """Status, ack, snapshot, updates, heartbeats of August 2026: the same skeletons."""
    real = {}
    for line in recorded("kraken/v2_book_minagbp_d25_20260816.ndjson").splitlines()[2:]:
        text = re.fullmatch(r'\{"rx_ns": \d+, "frame": (.*)\}', line)[1]
        real.setdefault(skeleton(text), text)
    venue = Venue(symbols=("MANA/USD",), pace=Pace(updates_per_s=4, levels=30))
    conn = venue.open()
    venue.subscribe(conn, "book", ["MANA/USD"], depth=25, snapshot=True)
    venue.run(60 * SECOND)
    ours = {skeleton(text) for text in venue.texts(conn)}
    assert set(real) <= ours, "all that Kraken said, we say"
    assert len(ours - set(real)) <= 1, "and asks move here too"


def test_old_updates_look_as_recorded():
    lines = recorded("kraken/v2_book_btcusd_d10_20230730.ndjson.gz").splitlines()
    real = {skeleton(line) for line in lines[1:]}
    venue = Venue(symbols=("BTC/USD",), pace=Pace(updates_per_s=50))
    conn = venue.open()
    venue.subscribe(conn, "book", ["BTC/USD"], depth=10)
    venue.run(5 * SECOND)
    ours = {skeleton(text) for text in venue.texts(conn) if '"type":"update","data":[{"sym' in text}
    assert ours == real


def test_instruments_look_as_recorded():
    real = json.loads(recorded("kraken/v2_instrument_snapshot.json.gz"), parse_float=str)
    pairs = {pair["symbol"]: pair for pair in real["data"]["pairs"]}
    venue = Venue(symbols=("BTC/USDT", "ETH/USDT", "BTC/USD"))
    conn = venue.open()
    venue.subscribe(conn, "instrument", ())
    ack, text = venue.texts(conn)[1:]
    assert json.loads(ack)["result"] == {
        "channel": "instrument",
        "snapshot": True,
        "warnings": ["tick_size is deprecated, use price_increment"],
    }
    ours = json.loads(text, parse_float=str)
    assert list(ours) == list(real)
    assert list(ours["data"]) == ["assets", "pairs"]
    keys = {tuple(asset) for asset in real["data"]["assets"]}
    for asset in ours["data"]["assets"]:
        assert tuple(asset) in keys
    for pair in ours["data"]["pairs"]:
        there = pairs[pair["symbol"]]
        assert list(pair) == list(there)
        for name in ("base", "quote", "status", "qty_precision", "price_precision"):
            assert pair[name] == there[name]
        for name in ("qty_increment", "price_increment", "tick_size", "cost_min"):
            assert Decimal(pair[name]) == Decimal(there[name])
        assert pair["qty_increment"] == "1e-08", "documented: small steps come like this"
        assert len(pair["qty_min"]) == len(there["qty_min"]), "every digit"


@pytest.mark.parametrize(
    ("fixture", "channel", "params"),
    [
        ("ws_book_snapshot", "book", {}),
        ("ws_ticker_snapshot", "ticker", {}),
        ("ws_trade_update", "trade", {}),
    ],
)
def test_frames_have_the_documented_fields(fixture, channel, params):
    real = json.loads(recorded(f"fixtures/nautilus/kraken/{fixture}.json"))
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=300))
    conn = venue.open()
    venue.run(SECOND)
    venue.subscribe(conn, channel, **params)
    venue.run(SECOND)
    mine = next(
        frame
        for frame in venue.frames(conn)
        if frame.get("channel") == channel and frame["type"] == real["type"]
    )
    assert list(mine) == list(real)
    assert list(mine["data"][0]) == list(real["data"][0])
    for name, value in real["data"][0].items():
        assert type(value) is type(mine["data"][0][name]), name


def test_rest_looks_as_recorded():
    venue = Venue(symbols=("BTC/USDT",), pace=Pace(updates_per_s=100, taker_permille=300))
    venue.run(2 * SECOND)
    for name, fixture, query in [
        ("AssetPairs", "http_asset_pairs", "pair=XBTUSDT"),
        ("Depth", "http_order_book", "pair=XBTUSDT&count=5"),
        ("Trades", "http_trades", "pair=XBTUSDT"),
        ("Ticker", "http_ticker", "pair=XBTUSDT"),
        ("Time", "http_server_time", ""),
        ("SystemStatus", "http_system_status", ""),
    ]:
        real = json.loads(recorded(f"fixtures/nautilus/kraken/{fixture}.json"))
        assert _form(venue.get(name, query)) == _form(real), name
    real = json.loads(recorded("fixtures/nautilus/kraken/http_asset_pairs.json"))
    mine = venue.get("AssetPairs", "pair=XBTUSDT")
    assert mine == real, "to the last letter"


def _form(value):
    """Keys in their order, kinds of values, decimals of numbers in texts."""
    if isinstance(value, dict):
        return [(key, _form(each)) for key, each in value.items()]
    if isinstance(value, list):
        rows = value[:1] if value and isinstance(value[0], list) else value
        return [_form(each) for each in rows]
    if not isinstance(value, str):
        return type(value).__name__
    if value in ("b", "s", "m", "l"):
        return "letter"
    text = re.sub(r"\.(\d+)", lambda match: "." + "d" * len(match[1]), value)
    return re.sub(r"[A-Z][a-z]{2}", "Abc", re.sub(r"\d+", "0", text))


def test_acks_per_symbol_and_the_request_id_back():
    venue = Venue()
    conn = venue.open()
    venue.take(conn)
    venue.subscribe(conn, "book", ["BTC/USDT", "XBT/USD", "ETH/USDT"], req_id=7, depth=25)
    texts = venue.texts(conn)
    acks = [json.loads(text) for text in texts[:3]]
    assert [ack["req_id"] for ack in acks] == [7, 7, 7]
    assert [ack["success"] for ack in acks] == [True, False, True]
    assert list(acks[0]) == ["method", "req_id", "result", "success", "time_in", "time_out"]
    assert list(acks[1]) == [
        "error", "method", "req_id", "success", "symbol", "time_in", "time_out",
    ]  # fmt: skip
    assert acks[1]["error"] == "Currency pair not supported XBT/USD"
    assert acks[1]["symbol"] == "XBT/USD"
    assert [json.loads(text)["type"] for text in texts[3:]] == ["snapshot", "snapshot"]
    for ack in acks:
        took = datetime.fromisoformat(ack["time_out"]) - datetime.fromisoformat(ack["time_in"])
        assert 0 < took.microseconds < 100
    venue.subscribe(conn, "trade", req_id="text, as some clients send")
    assert venue.frames(conn)[0]["req_id"] == "text, as some clients send"


@pytest.mark.parametrize("more", [{}, {"req_id": 42}])
def test_ping(more):
    venue = Venue()
    conn = venue.open()
    venue.take(conn)
    venue.say(conn, {"method": "ping", **more})
    (pong,) = venue.frames(conn)
    assert list(pong) == ["method", *more, "time_in", "time_out"]
    assert pong["method"] == "pong"


ERRORS = [
    ("not json", "Malformed request", None, "not JSON at all"),
    ("[]", "Malformed request", None, "no object"),
    ('{"params":{}}', "Malformed request", None, "no method"),
    ('{"method":"subscribe","params":[]}', "Malformed request", None, "params is no object"),
    ('{"method":"fetch"}', "Unsupported method fetch", None, "no such method"),
    ('{"method":"subscribe","params":{"channel":"books","symbol":["BTC/USDT"]}}',
     "Subscription name invalid", None, "no such channel"),
    ('{"method":"subscribe","params":{"channel":"book","symbol":"BTC/USDT"}}',
     "Symbol field must be an array", None, "text for a list"),
    ('{"method":"subscribe","params":{"channel":"book"}}',
     "Symbol field must be an array", None, "no symbol"),
    ('{"method":"subscribe","params":{"channel":"book","symbol":["XBT/USDT"]}}',
     "Currency pair not supported XBT/USDT", "XBT/USDT", "a name of version 1"),
    ('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"],"depth":11}}',
     "Subscription depth not supported", "BTC/USDT", "recorded; the socket stays open"),
    ('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"],"depth":"10"}}',
     "Subscription book depth must be an integer", "BTC/USDT", "text for a number"),
    ('{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USDT"],"depth":true}}',
     "Subscription book depth must be an integer", "BTC/USDT", "true is no number"),
    ('{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USDT"],'
     '"event_trigger":"x"}}', "Subscription event_trigger not supported", "BTC/USDT", "no such"),
    ('{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USDT"]}}',
     "Subscription Not Found", "BTC/USDT", "was never subscribed"),
    ('{"method":"subscribe","params":{"channel":"executions","token":"x"}}', PRIVATE, None, "data"),
    ('{"method":"subscribe","params":{"channel":"balances","token":"x"}}', PRIVATE, None, "data"),
    ('{"method":"add_order","params":{}}', PRIVATE, None, "orders"),
    ('{"method":"cancel_all","params":{}}', PRIVATE, None, "orders"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error", "symbol", "why"), ERRORS)
def test_errors(text, error, symbol, why):
    venue = Venue()
    conn = venue.open()
    venue.take(conn)
    venue.say(conn, text)
    (frame,) = venue.frames(conn)
    assert (frame["error"], frame["success"], frame.get("symbol")) == (error, False, symbol), why
    assert list(frame) == sorted(frame), "recorded: in alphabetical order"
    assert venue.face.topics(conn) == ()
    venue.say(conn, {"method": "ping"})
    assert venue.frames(conn)[0]["method"] == "pong", "the socket stays open"


def test_a_symbol_has_one_book_of_whatever_depth():
    venue = Venue()
    conn = venue.open()
    venue.subscribe(conn, "book", depth=10)
    venue.take(conn)
    for depth in (10, 25):
        venue.subscribe(conn, "book", depth=depth)
        (frame,) = venue.frames(conn)
        assert (frame["error"], frame["symbol"]) == ("Already subscribed", "BTC/USDT")
    assert venue.face.topics(conn) == ("book:BTC/USDT",)
    venue.subscribe(conn, "book", method="unsubscribe", depth=25)
    (ack,) = venue.frames(conn)
    assert ack["result"] == {"channel": "book", "depth": 10, "symbol": "BTC/USDT"}
    assert venue.face.topics(conn) == ()
    venue.subscribe(conn, "book", depth=25)
    assert venue.face.topics(conn) == ("book:BTC/USDT",)


# Trades, tickers, statuses


def test_trades_are_all_told():
    venue = Venue(pace=Pace(updates_per_s=200, taker_permille=400))
    conn = venue.open()
    venue.subscribe(conn, "trade")
    before = venue.exchange.trade_id("BTC/USDT")
    venue.run(5 * SECOND)
    frames = [frame for frame in venue.frames(conn) if frame.get("channel") == "trade"]
    assert {frame["type"] for frame in frames} == {"update"}, "no snapshot unless asked for"
    ids = [row["trade_id"] for frame in frames for row in frame["data"]]
    assert ids == list(range(before + 1, venue.exchange.trade_id("BTC/USDT") + 1))
    late = venue.open()
    venue.subscribe(late, "trade", snapshot=True)
    snapshot = venue.frames(late)[2]
    assert snapshot["type"] == "snapshot"
    assert [row["trade_id"] for row in snapshot["data"]] == ids[-50:]


def test_market_orders_are_told_as_such():
    venue = Venue(symbols=("BTC/USDT",))
    conn = venue.open()
    venue.subscribe(conn, "trade")
    venue.take(conn)
    step = venue.exchange.place("BTC/USDT", Side.BUY, 10_000, now_ns=venue.now_ns)
    venue.keep(venue.face.market(step, venue.now_ns))
    assert venue.frames(conn)[0]["data"][0]["ord_type"] == "market"


def test_tickers_follow_their_trigger():
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=20))
    trades, bbo = venue.open(), venue.open()
    venue.subscribe(trades, "ticker")
    venue.subscribe(bbo, "ticker", event_trigger="bbo")
    venue.run(20 * SECOND)
    by_trades, by_bbo = (
        [frame["data"][0] for frame in venue.frames(conn) if frame.get("channel") == "ticker"]
        for conn in (trades, bbo)
    )
    matched = {time_ns for time_ns, _ in venue.face._feed.tape.trades["BTC/USDT"]}
    assert len(by_trades) == 1 + len(matched), "at once, then one a taker"
    assert len(by_bbo) > 2 * len(by_trades)
    for before, after in pairwise(by_bbo):
        top = [(row["bid"], row["bid_qty"], row["ask"], row["ask_qty"]) for row in (before, after)]
        assert top[0] != top[1] or before["volume"] != after["volume"], "something changed"
    listing = venue.exchange.listings["BTC/USDT"]
    all_trades = [trade for _, trade in venue.face._feed.tape.trades["BTC/USDT"]]
    last = by_trades[-1]
    pxs = [float(listing.px(trade.px)) for trade in all_trades]
    assert (last["last"], last["low"], last["high"]) == (pxs[-1], min(pxs), max(pxs))
    assert last["volume"] == float(sum(listing.qty(trade.qty) for trade in all_trades))
    assert last["change"] == pytest.approx(pxs[-1] - pxs[0])
    assert last["low"] <= last["vwap"] <= last["high"]


def test_instrument_updates_tell_of_a_pair():
    venue = Venue()
    conn = venue.open()
    venue.subscribe(conn, "instrument", (), snapshot=False)
    venue.take(conn)
    step = venue.exchange.set_status("ETH/USDT", Status.CANCEL_ONLY, now_ns=venue.now_ns)
    venue.keep(venue.face.market(step, venue.now_ns))
    (frame,) = venue.frames(conn)
    assert frame["type"] == "update"
    assert frame["data"]["assets"] == []
    assert [(pair["symbol"], pair["status"]) for pair in frame["data"]["pairs"]] == [
        ("ETH/USDT", "cancel_only")
    ]


# Heartbeats and ends


def test_heartbeats_each_idle_second_once_something_is_subscribed():
    venue = Venue(symbols=("BTC/USDT",), pace=Pace(updates_per_s=1))
    market, venue.sim.market = venue.sim.market, None
    bare, quiet = venue.open(), venue.open()
    venue.subscribe(quiet, "book")
    venue.take(quiet)
    venue.run(10 * SECOND)
    assert len(venue.texts(bare)) == 1, "the status"
    assert venue.texts(quiet) == [HEARTBEAT] * 10
    venue.subscribe(quiet, "book", method="unsubscribe")
    venue.take(quiet)
    venue.run(5 * SECOND)
    assert venue.texts(quiet) == []
    # A quiet pair has updates and heartbeats, as recorded; a busy one hardly any heartbeat.
    venue.subscribe(quiet, "book")
    venue.sim.market = market
    market.skip_to(venue.now_ns)
    venue.run(60 * SECOND)
    texts = venue.texts(quiet)
    assert texts.count(HEARTBEAT) > 50
    assert len(texts) - texts.count(HEARTBEAT) > 10
    busy = Venue(symbols=("BTC/USDT",), pace=Pace(updates_per_s=400))
    conn = busy.open()
    busy.subscribe(conn, "book")
    busy.run(20 * SECOND)
    assert busy.texts(conn).count(HEARTBEAT) <= 2


def test_an_idle_socket_is_closed_after_a_minute():
    venue = Venue(symbols=("BTC/USDT",))
    venue.sim.market = None
    idle, pinging, framing, listening = (venue.open() for _ in range(4))
    venue.subscribe(listening, "book")
    for _ in range(8):
        venue.run(20 * SECOND)
        venue.say(pinging, {"method": "ping"})
        venue.keep(venue.face.pinged(framing, b"x", venue.now_ns))
    assert venue.take(idle)[1:] == [Close(idle, 1000, "")]
    assert Pong(framing, b"x") in venue.inbox[framing]
    for conn in (pinging, framing, listening):
        assert not [output for output in venue.take(conn) if isinstance(output, Close)]


def test_slow_readers_are_dropped():
    venue = Venue()
    conn = venue.open()
    venue.subscribe(conn, "book")
    assert venue.face.overflowed(conn, venue.now_ns) == [Close(conn, 1008, "Slow consumer")]
    venue.face.closed(conn, venue.now_ns)  # as the server does afterwards
    venue.take(conn)
    venue.run(2 * SECOND)
    assert venue.take(conn) == []


def test_a_session_life_can_be_set():
    venue = Venue(options=Options(session_life_ns=5 * SECOND))
    conn = venue.open()
    venue.run(5 * SECOND)
    assert venue.take(conn)[-1] == Close(conn, 1001, "")


# Limits


def test_150_connections_in_ten_minutes_then_a_ban():
    face = Venue().face
    request = Request("GET", "/v2")
    times = [ORIGIN_NS + n * SECOND for n in range(150)]
    assert all(face.accept(request, now_ns) is None for now_ns in times)
    late_ns = times[-1] + SECOND
    refusal = face.accept(request, late_ns)
    assert (refusal.status, refusal.headers["Retry-After"]) == (429, "600")
    assert face.accept(Request("GET", "/v2", peer="10.0.0.2"), late_ns) is None
    assert face.accept(request, late_ns + 9 * MINUTE).status == 429, "banned, though others are old"
    assert face.accept(request, late_ns + 10 * MINUTE) is None
    unlimited = Venue(options=Options(limits=None)).face
    assert all(unlimited.accept(request, ORIGIN_NS) is None for _ in range(500))


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/", "/ws"])
def test_no_such_place(path):
    assert Venue().face.accept(Request("GET", path), ORIGIN_NS).status == 404


def test_messages_too_fast_are_not_done():
    venue = Venue()
    conn, other = venue.open(), venue.open()
    for _ in range(50):
        venue.say(conn, {"method": "ping"})
    venue.take(conn)
    venue.subscribe(conn, "book", req_id=3)
    (frame,) = venue.frames(conn)
    assert (frame["error"], frame["req_id"]) == ("Exceeded msg rate", 3)
    assert venue.face.topics(conn) == ()
    venue.subscribe(other, "book")
    assert venue.face.topics(other)
    venue.now_ns += SECOND
    venue.subscribe(conn, "book")
    assert venue.face.topics(conn)


# The engine's state


@pytest.mark.parametrize(
    ("system", "pair"),
    [
        ("maintenance", "maintenance"),
        ("cancel_only", "cancel_only"),
        ("post_only", "post_only"),
        ("online", "online"),
    ],
)
def test_systems(system, pair):
    venue = Venue(symbols=("BTC/USDT",))
    conn = venue.open()
    first = venue.frames(conn)[0]["data"][0]
    venue.subscribe(conn, "instrument", (), snapshot=False)
    venue.take(conn)
    venue.keep(venue.face.set_system(system, venue.now_ns))
    status, instrument = venue.frames(conn)
    assert status["data"] == [{**first, "system": system}], "the same connection"
    assert instrument["data"]["pairs"][0]["status"] == pair
    assert venue.get("SystemStatus")["result"]["status"] == system
    late = venue.open()
    assert venue.frames(late)[0]["data"][0]["system"] == system


def test_maintenance():
    venue = Venue(symbols=("BTC/USDT",))
    conn = venue.open()
    venue.take(conn)
    venue.keep(venue.face.trouble(Trouble.MAINTENANCE, venue.now_ns))
    assert [frame["data"][0]["system"] for frame in venue.frames(conn)] == ["maintenance"]
    assert venue.get("Depth", "pair=XBTUSDT") == {"error": ["EService:Unavailable"]}
    assert venue.get("Time")["error"] == []
    venue.keep(venue.face.trouble(Trouble.RESUME, venue.now_ns))
    assert [frame["data"][0]["system"] for frame in venue.frames(conn)] == ["online"]
    assert venue.get("Depth", "pair=XBTUSDT")["error"] == []


@pytest.mark.parametrize(
    "trouble", [Trouble.RESTART, Trouble.SNAPSHOT, Trouble.SHUTDOWN, Trouble.INSIDE]
)
def test_what_kraken_does_not_do(trouble):
    assert Venue().face.trouble(trouble, ORIGIN_NS) is None


# REST


@pytest.mark.parametrize("name", ["XXBTZUSD", "XBTUSD"])
def test_rest_knows_key_and_altname(name):
    venue = Venue(symbols=("BTC/USD", "DOGE/USD", "SOL/USDT"), pace=Pace(updates_per_s=100))
    venue.run(SECOND)
    (key, book) = next(iter(venue.get("Depth", f"pair={name}&count=500")["result"].items()))
    assert key == "XXBTZUSD"
    listing = venue.exchange.listings["BTC/USD"]
    for side, levels in zip(("bids", "asks"), venue.exchange.book("BTC/USD"), strict=True):
        assert [px for px, _, _ in book[side]] == [listing.px_text(x.px, 5) for x in levels]
        assert [qty for _, qty, _ in book[side]] == [f"{listing.qty(x.qty):.3f}" for x in levels]
    pairs = venue.get("AssetPairs")["result"]
    assert {k: (p["altname"], p["wsname"], p["base"], p["quote"]) for k, p in pairs.items()} == {
        "XXBTZUSD": ("XBTUSD", "XBT/USD", "XXBT", "ZUSD"),
        "XDGUSD": ("XDGUSD", "XDG/USD", "XXDG", "ZUSD"),
        "SOLUSDT": ("SOLUSDT", "SOL/USDT", "SOL", "USDT"),
    }
    assets = venue.get("Assets")["result"]
    assert {k: a["altname"] for k, a in assets.items()} == {
        "XXBT": "XBT", "ZUSD": "USD", "XXDG": "XDG", "SOL": "SOL", "USDT": "USDT",
    }  # fmt: skip
    assert list(venue.get("Assets", "asset=XBT,USDT")["result"]) == ["XXBT", "USDT"]


REST_ERRORS = [
    ("Depth", "", "EGeneral:Invalid arguments", "which pair?"),
    ("Depth", "pair=BTCUSD", "EQuery:Unknown asset pair", "no such name"),
    ("Depth", "pair=BTC/USDT", "EQuery:Unknown asset pair", "the name of WebSockets"),
    ("Depth", "pair=XBTUSDT&count=501", "EGeneral:Invalid arguments:count", "at most 500"),
    ("Depth", "pair=XBTUSDT&count=0", "EGeneral:Invalid arguments:count", "at least one"),
    ("Depth", "pair=XBTUSDT&count=x", "EGeneral:Invalid arguments:count", "a number"),
    ("Trades", "pair=NO", "EQuery:Unknown asset pair", "no such pair"),
    ("Trades", "pair=XBTUSDT&since=x", "EGeneral:Invalid arguments:since", "a number"),
    ("Ticker", "pair=XBTUSDT,NO", "EQuery:Unknown asset pair", "one of them"),
    ("AssetPairs", "pair=NO", "EQuery:Unknown asset pair", "no such pair"),
    ("Assets", "asset=NO", "EQuery:Unknown asset", "no such asset"),
    ("Nothing", "", "EGeneral:Unknown method", "no such path"),
]


@pytest.mark.parametrize(("name", "query", "error", "why"), REST_ERRORS)
def test_rest_errors(name, query, error, why):
    assert Venue().get(name, query) == {"error": [error]}, why


def test_rest_private_needs_a_key():
    response = Venue().face.request(Request("POST", "/0/private/BalanceEx"), ORIGIN_NS)
    assert (response.status, json.loads(response.body)) == (200, {"error": ["EAPI:Invalid key"]})


def test_rest_takes_forms_too():
    venue = Venue()
    answer = venue.get("Depth", method="POST", body=b"pair=XBTUSDT&count=3")
    assert len(answer["result"]["XBTUSDT"]["asks"]) == 3


def test_rest_limit():
    venue = Venue()
    for _ in range(15):
        assert venue.get("Time")["error"] == []
    assert venue.get("Time") == {"error": ["EGeneral:Too many requests"]}
    assert venue.get("Time", peer="10.0.0.2")["error"] == []
    venue.now_ns += 15 * SECOND
    assert venue.get("Time")["error"] == []


def test_rest_trades_since():
    venue = Venue(pace=Pace(updates_per_s=200, taker_permille=400))
    venue.run(2 * SECOND)
    first = venue.get("Trades", "pair=XBTUSDT&count=5")["result"]
    assert [row[6] for row in first["XBTUSDT"]] == [
        trade.id for _, trade in venue.face._feed.tape.last("BTC/USDT", 5)
    ]
    venue.run(SECOND)
    after = venue.get("Trades", f"pair=XBTUSDT&since={first['last']}")["result"]["XBTUSDT"]
    assert after[0][6] == first["XBTUSDT"][-1][6] + 1, "the next one"


# The whole


def test_hosts_and_module():
    module = load("kraken")
    made = module.face(Exchange("kraken", []), Random(1), Options())
    assert made.hosts("http://h:1", "ws://h:1") == {
        "rest": "http://h:1",
        "ws": "ws://h:1/v2",
        "orders.ws": "ws://h:1/auth/v2",
    }
    with pytest.raises(ValueError, match="spot only"):
        module.listings(["BTC/USDT:USDT"])
    with pytest.raises(ValueError, match="no start price"):
        module.listings(["NOPE/USDT"])


def test_everything_with_a_price_can_be_listed():
    made = listings(f"{base}/USD" for base in START_PX if base != "USD")
    for listing in made:
        px = START_PX[listing.base]
        assert listing.tick < px / 100, listing
        assert listing.min_qty * px < 1_000, listing
    assert len(made) > 50


def trace(step_ns):
    """Everything a busy time says, time cut into steps."""
    venue = Venue(seed=4, symbols=load("kraken").SYMBOLS, pace=Pace(updates_per_s=60))
    digest = hashlib.sha256()
    conn = venue.open()
    venue.subscribe(conn, "book", venue.exchange.listings, depth=25)
    venue.subscribe(conn, "trade", venue.exchange.listings)
    venue.subscribe(conn, "ticker", ["ETH/USDT"], event_trigger="bbo")
    at = {3 * SECOND: Trouble.MAINTENANCE, 6 * SECOND: Trouble.RESUME}
    for now_ns in range(step_ns, 12 * SECOND + 1, step_ns):
        venue.run(step_ns)
        if now_ns in at:
            venue.keep(venue.face.trouble(at[now_ns], venue.now_ns))
    for output in venue.take(conn):
        digest.update(repr(output).encode())
    return digest.hexdigest()


def test_same_seed_same_words_however_time_is_cut():
    assert trace(SECOND) == trace(SECOND)
    assert trace(SECOND) == trace(50 * MS)


def test_kinds_let_faults_choose():
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=300))
    conn = venue.open()
    venue.subscribe(conn, "book")
    venue.subscribe(conn, "trade")
    venue.run(SECOND)
    kinds = {(o.topic, o.kind) for o in venue.take(conn)}
    assert kinds == {
        ("", FrameKind.CONTROL),
        ("book:BTC/USDT", FrameKind.SNAPSHOT),
        ("book:BTC/USDT", FrameKind.DELTA),
        ("trade:BTC/USDT", FrameKind.DATA),
    }
