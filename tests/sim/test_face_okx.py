"""OKX's face: words as documented and recorded, limits that bite, ends as the venue ends."""

import gzip
import hashlib
import json
import os
import re
import sys
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from hean_router.sim.contract import (
    HOUR,
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
from hean_router.sim.faces.okx import OkxFace, listings
from hean_router.sim.market import START_PX, Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_772_445_600 * SECOND
RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))
PUBLIC, BUSINESS = "/ws/v5/public", "/ws/v5/business"


def recorded(name):
    """A recording's text; the test is skipped where there is none."""
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}; set HEAN_RECORDINGS")
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig").read()
    return path.read_text()


class Venue:
    """A simulator without sockets, and what it said to each connection."""

    def __init__(self, seed=1, symbols=("BTC/USDT", "BTC/USDT:USDT"), pace=None, options=None):
        self.sim, self.exchange = simulate(
            "okx", seed, ORIGIN_NS, symbols=symbols, pace=pace, options=options
        )
        self.face = self.sim.face
        self.now_ns = ORIGIN_NS
        self.inbox = {}

    def open(self, path=PUBLIC, vip=None):
        conn = len(self.inbox) + 1
        request = Request("GET", path, peer=str(conn))
        assert self.face.accept(request, self.now_ns) is None
        self.inbox[conn] = []
        self.keep(self.face.opened(conn, request, self.now_ns))
        self.face._clients[conn].vip = vip  # as after a login
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

    def subscribe(self, conn, *args, op="subscribe", **more):
        self.say(conn, {**more, "op": op, "args": list(args)})

    def take(self, conn):
        outputs, self.inbox[conn] = self.inbox[conn], []
        return outputs

    def frames(self, conn):
        return [json.loads(output.data) for output in self.take(conn) if isinstance(output, Send)]

    def get(self, path, query="", **more):
        response = self.face.request(Request("GET", path, query, **more), self.now_ns)
        return response.status, json.loads(response.body)


def arg(channel, inst_id="BTC-USDT"):
    return {"channel": channel, "instId": inst_id}


def shape(value):
    """Keys in their order, and kinds of values, of something decoded from JSON."""
    if isinstance(value, dict):
        return [(key, shape(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


# Words


def test_golden_frames():
    """Frame for frame, from a market made by hand."""
    exchange = Exchange(
        "okx", listings(["BTC/USDT", "BTC/USDT:USDT"]), first_update_id=100, first_trade_id=500
    )
    face = OkxFace(exchange, Random(1), Options())
    face.opened(1, Request("GET", PUBLIC), ORIGIN_NS)

    def place(symbol, side, qty, px, now_ns=ORIGIN_NS):
        return face.market(exchange.place(symbol, side, qty, px, now_ns=now_ns), now_ns)

    place("BTC/USDT", Side.BUY, 144_679_000, 618_000)
    place("BTC/USDT", Side.BUY, 8_000_000, 617_999)
    place("BTC/USDT", Side.SELL, 635_000_000, 618_010)
    place("BTC/USDT:USDT", Side.SELL, 250, 618_005)
    face._clients[1].id = "a4d3ae55"
    args = [arg("books"), arg("trades"), arg("bbo-tbt", "BTC-USDT-SWAP")]
    said = face.received(1, json.dumps({"id": "7", "op": "subscribe", "args": args}), ORIGIN_NS)
    assert [output.data for output in said] == [
        '{"id":"7","event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},'
        '"connId":"a4d3ae55"}',
        '{"id":"7","event":"subscribe","arg":{"channel":"trades","instId":"BTC-USDT"},'
        '"connId":"a4d3ae55"}',
        '{"id":"7","event":"subscribe","arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},'
        '"connId":"a4d3ae55"}',
        '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{'
        '"asks":[["61801","6.35","0","1"]],'
        '"bids":[["61800","1.44679","0","1"],["61799.9","0.08","0","1"]],'
        '"ts":"1772445600000","checksum":0,"prevSeqId":-1,"seqId":103}]}',
        '{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT-SWAP"},"data":[{'
        '"asks":[["61800.5","2.5","0","1"]],"bids":[],"ts":"1772445600000","seqId":101}]}',
    ]
    at_ns = ORIGIN_NS + 5 * MS
    # One taker: two makers at one price, then a third at the next.
    place("BTC/USDT", Side.BUY, 1_000_000, 618_000, at_ns)
    said = place("BTC/USDT", Side.SELL, 150_000_000, 617_999, at_ns)
    head = '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",'
    assert [output.data for output in said] == [
        head + '"tradeId":"502","px":"61800","sz":"1.45679","side":"sell","ts":"1772445600005",'
        '"count":"2","source":"0","seqId":106}]}',
        head + '"tradeId":"503","px":"61799.9","sz":"0.04321","side":"sell",'
        '"ts":"1772445600005","count":"1","source":"0","seqId":106}]}',
    ]
    said = face.due(ORIGIN_NS + 100 * MS)
    assert [re.sub(r'"ts":"\d+"', '"ts":"…"', output.data) for output in said] == [
        '{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],'
        '"bids":[["61800","0","0","0"],["61799.9","0.03679","0","1"]],'
        '"ts":"…","checksum":0,"prevSeqId":103,"seqId":106}]}'
    ]


def test_books_trades_and_tickers_look_as_recorded():
    """Keys, order, kinds and number texts of 2022; what came later is at the places documented."""
    by_channel = {}
    for line in recorded("okx/v5_public_20220513.jsonl.gz").splitlines():
        entry = json.loads(line)
        frame = json.loads(entry["data"]) if entry["t"] == "recv" else {}
        if "data" in frame and frame["arg"]["instId"] == "BTC-USDT":
            by_channel.setdefault((frame["arg"]["channel"], frame.get("action")), frame)
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=300))
    conn = venue.open()
    venue.subscribe(conn, arg("books"), arg("trades"), arg("tickers"))
    venue.run(3 * SECOND)
    ours = {}
    for frame in venue.frames(conn):
        if "data" in frame:
            ours[frame["arg"]["channel"], frame.get("action")] = frame
    assert set(by_channel) == set(ours)
    new = {"prevSeqId", "seqId", "count", "source"}
    number = re.compile(r"(0|[1-9]\d*)(\.\d*[1-9])?")
    for key, real in by_channel.items():
        mine = ours[key]
        assert list(real) == list(mine)
        assert list(real["data"][0]) == [name for name in mine["data"][0] if name not in new]
        for name, value in real["data"][0].items():
            assert type(value) is type(mine["data"][0][name]), name
        for frame in (real, mine):
            for level in frame["data"][0].get("asks", []):
                assert [type(text) for text in level] == [str] * 4
                assert all(number.fullmatch(text) for text in level), level


@pytest.mark.parametrize("kind", ["spot", "swap"])
def test_instruments_look_as_recorded(kind):
    answer = json.loads(recorded(f"okx/rest_instruments_{kind}_20260427.json.gz"))
    real = {row["instId"]: row for row in answer["data"]}
    bases = ("BTC", "ETH", "SOL", "XRP", "DOGE", "ADA", "TRX", "LTC", "PEPE", "SHIB")
    tail = "" if kind == "spot" else ":USDT"
    venue = Venue(symbols=[f"{base}/USDT{tail}" for base in bases])
    _, ours = venue.get("/api/v5/public/instruments", f"instType={kind.upper()}")
    assert list(ours) == list(answer) == ["code", "data", "msg"]
    assert len(ours["data"]) == len(bases)
    rules = [
        "instIdCode",
        "tickSz",
        "lotSz",
        "minSz",
        "ctVal",
        "ctMult",
        "ctType",
        "ctValCcy",
        "settleCcy",
        "baseCcy",
        "quoteCcy",
        "uly",
        "instFamily",
        "state",
        "instType",
    ]
    for row in ours["data"]:
        there = real[row["instId"]]
        assert list(row) == list(there)
        assert {k: type(v) for k, v in row.items()} == {k: type(v) for k, v in there.items()}
        assert {k: row[k] for k in rules} == {k: there[k] for k in rules}
    assert ours["data"][0] == {**real[ours["data"][0]["instId"]]}, "bitcoin to the last letter"


def test_funding_looks_as_recorded():
    (real, *_) = json.loads(recorded("okx/rest_funding_rate_any_20260427.json.gz"))["data"]
    venue = Venue()
    _, answer = venue.get("/api/v5/public/funding-rate", "instId=BTC-USDT-SWAP")
    (row,) = answer["data"]
    assert shape(row) == shape(real)
    assert int(row["nextFundingTime"]) - int(row["fundingTime"]) == 8 * 3_600_000
    assert int(row["fundingTime"]) > venue.now_ns // MS


@pytest.mark.parametrize(
    ("fixture", "channel"),
    [
        ("ws_bbo_tbt", "bbo-tbt"),
        ("ws_books_snapshot", "books"),
        ("ws_trades", "trades"),
        ("ws_tickers", "tickers"),
    ],
)
def test_frames_have_the_documented_fields(fixture, channel):
    real = json.loads(recorded(f"fixtures/nautilus/okx/{fixture}.json"))
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=300))
    conn = venue.open()
    venue.run(SECOND)
    venue.subscribe(conn, arg(channel))
    venue.run(SECOND)
    mine = next(frame for frame in venue.frames(conn) if "data" in frame)
    assert list(mine) == list(real)
    extra = set(mine["data"][0]) - set(real["data"][0])
    assert extra <= {"source", "seqId"}
    missing = set(real["data"][0]) - set(mine["data"][0])
    assert not missing
    for name, value in real["data"][0].items():
        assert type(value) is type(mine["data"][0][name])


@pytest.mark.parametrize(
    ("path", "query", "fixture"),
    [
        ("/api/v5/market/books", "instId=BTC-USDT&sz=3", "http_get_order_book"),
        ("/api/v5/market/trades", "instId=BTC-USDT", "http_get_trades"),
        ("/api/v5/public/mark-price", "instId=BTC-USDT-SWAP", "http_get_mark_price"),
    ],
)
def test_rest_rows_have_the_documented_fields(path, query, fixture):
    real = json.loads(recorded(f"fixtures/nautilus/okx/{fixture}.json"))
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=300))
    venue.run(SECOND)
    status, mine = venue.get(path, query)
    assert (status, mine["code"], mine["msg"]) == (200, "0", "")
    row = {name: value for name, value in mine["data"][0].items() if name != "seqId"}
    assert shape(row) == shape(real["data"][0])


def test_trades_are_all_told_merged_and_singly():
    venue = Venue(pace=Pace(updates_per_s=200, taker_permille=400))
    public, business = venue.open(), venue.open(BUSINESS)
    venue.subscribe(public, arg("trades"))
    venue.subscribe(business, arg("trades-all"))
    before = venue.exchange.trade_id("BTC/USDT")
    venue.run(5 * SECOND)
    merged = [frame["data"] for frame in venue.frames(public) if "data" in frame]
    single = [frame["data"] for frame in venue.frames(business) if "data" in frame]
    assert all(len(rows) == 1 for rows in merged + single), "one a message"
    matches = [row for (row,) in single]
    ids = [int(row["tradeId"]) for row in matches]
    assert ids == list(range(before + 1, venue.exchange.trade_id("BTC/USDT") + 1))
    assert list(matches[0]) == ["instId", "tradeId", "px", "sz", "side", "ts", "source"]
    position = 0
    for (row,) in merged:
        part = matches[position : position + int(row["count"])]
        position += int(row["count"])
        assert row["tradeId"] == part[-1]["tradeId"]
        assert {each["px"] for each in part} == {row["px"]}
        assert {each["side"] for each in part} == {row["side"]}
        assert sum(Decimal(each["sz"]) for each in part) == Decimal(row["sz"])
    assert position == len(matches)
    assert any(row["count"] != "1" for (row,) in merged)
    # Whoever comes later gets the last trade at once.
    late = venue.open()
    venue.subscribe(late, arg("trades"))
    assert venue.frames(late)[1]["data"][0]["tradeId"] == str(ids[-1])


def test_tickers_sum_up_the_day():
    venue = Venue(pace=Pace(updates_per_s=100, taker_permille=400))
    conn = venue.open()
    venue.subscribe(conn, arg("tickers"))
    venue.run(3 * SECOND)
    venue.sim.market = None
    venue.run(200 * MS)
    spot = [frame["data"][0] for frame in venue.frames(conn) if "data" in frame]
    trades = [trade for _, trade in venue.face._feed.tape.trades["BTC/USDT"]]
    listing = venue.exchange.listings["BTC/USDT"]
    last = spot[-1]
    pxs = [listing.px(trade.px) for trade in trades]
    assert Decimal(last["last"]) == pxs[-1]
    assert (Decimal(last["high24h"]), Decimal(last["low24h"])) == (max(pxs), min(pxs))
    assert Decimal(last["open24h"]) == pxs[0]
    assert Decimal(last["vol24h"]) == sum(listing.qty(trade.qty) for trade in trades)
    assert Decimal(last["volCcy24h"]) == sum(
        listing.notional(trade.px, trade.qty) for trade in trades
    )
    times = [int(row["ts"]) for row in spot]
    assert all(later - earlier >= 100 for earlier, later in pairwise(times[1:]))


def test_summaries_are_pushed_when_they_change():
    venue = Venue(pace=Pace(updates_per_s=50))
    conn = venue.open()
    swap = "BTC-USDT-SWAP"
    venue.subscribe(conn, arg("mark-price", swap), arg("price-limit"), arg("funding-rate", swap))
    venue.run(130 * SECOND)
    counts = Counter()
    for frame in venue.frames(conn):
        if "data" in frame:
            counts[frame["arg"]["channel"]] += 1
            if frame["arg"]["channel"] == "price-limit":
                row = frame["data"][0]
                assert list(row) == ["instId", "buyLmt", "sellLmt", "ts", "enabled"]
                assert Decimal(row["sellLmt"]) < 61_800 < Decimal(row["buyLmt"])
    assert counts["funding-rate"] in (3, 4), "at once, then each minute on its beat"
    assert counts["mark-price"] > 20
    assert counts["price-limit"] > 20


def test_instruments_channel_tells_of_changes_only():
    venue = Venue()
    conn = venue.open()
    venue.subscribe(conn, {"channel": "instruments", "instType": "SPOT"})
    assert [frame["event"] for frame in venue.frames(conn)] == ["subscribe"]
    for symbol in ("BTC/USDT:USDT", "BTC/USDT"):
        step = venue.exchange.set_status(symbol, Status.CANCEL_ONLY, now_ns=venue.now_ns)
        venue.keep(venue.face.market(step, venue.now_ns))
    (frame,) = venue.frames(conn)
    assert frame["arg"] == {"channel": "instruments", "instType": "SPOT"}
    assert [(row["instId"], row["state"]) for row in frame["data"]] == [("BTC-USDT", "suspend")]


# Operations


ERRORS = [
    ("not json", "60012", "not JSON at all"),
    ("[]", "60012", "no object"),
    ('{"args":[{"channel":"books","instId":"BTC-USDT"}]}', "60012", "no op"),
    ('{"op":"subscribe","argss":[{"channel":"books","instId":"BTC-USDT"}]}', "60012", "no args"),
    ('{"op":"subscribe","args":[]}', "60012", "nothing to subscribe"),
    ('{"op":"fetch","args":[{"channel":"books"}]}', "60012", "no such op"),
    ('{"id":"a-b","op":"subscribe","args":[{"channel":"books"}]}', "60033", "letters and digits"),
    ('{"op":"subscribe","args":[{"channel":"books9","instId":"BTC-USDT"}]}', "60018", "no channel"),
    ('{"op":"subscribe","args":[{"channel":"books","instId":"NO-USDT"}]}', "60018", "no such"),
    ('{"op":"subscribe","args":[{"channel":"books"}]}', "60018", "instId is missing"),
    ('{"op":"subscribe","args":["books:BTC-USDT"]}', "60018", "not an argument"),
    ('{"op":"subscribe","args":[{"channel":"trades-all","instId":"BTC-USDT"}]}', "60018", "URL"),
    ('{"op":"subscribe","args":[{"channel":"funding-rate","instId":"BTC-USDT"}]}', "60018", "spot"),
    ('{"op":"subscribe","args":[{"channel":"instruments","instType":"X"}]}', "60018", "no type"),
    ('{"op":"subscribe","args":[{"channel":"orders","instType":"SPOT"}]}', "60018", "private"),
    ('{"op":"subscribe","args":[{"channel":"books-l2-tbt","instId":"BTC-USDT"}]}', "60011", "fast"),
    ('{"op":"login","args":[{"apiKey":"k","passphrase":"p","timestamp":"1","sign":"s"}]}', "60032",
     "no account, no key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "code", "why"), ERRORS)
def test_errors(text, code, why):
    venue = Venue()
    conn = venue.open()
    venue.say(conn, text)
    (frame,) = venue.frames(conn)
    assert (frame["event"], frame["code"]) == ("error", code), why
    assert re.fullmatch("[0-9a-f]{8}", frame["connId"])
    assert list(frame) == ["event", "code", "msg", "connId"]
    assert venue.face.topics(conn) == ()


def test_each_argument_is_answered():
    venue = Venue()
    conn = venue.open()
    venue.subscribe(conn, arg("books"), arg("books", "X-Y"), {**arg("books5"), "more": 1}, id="q9")
    acks = venue.frames(conn)[:3]
    assert [ack["event"] for ack in acks] == ["subscribe", "error", "subscribe"]
    assert {ack["id"] for ack in acks} == {"q9"}
    assert acks[2]["arg"] == {"channel": "books5", "instId": "BTC-USDT", "more": 1}, "an echo"
    assert acks[1]["msg"].startswith("Wrong URL or channel:books,instId:X-Y doesn't exist.")
    assert venue.face.topics(conn) == ("books:BTC-USDT", "books5:BTC-USDT")
    venue.subscribe(conn, arg("books"), op="unsubscribe")
    (ack,) = venue.frames(conn)
    assert list(ack) == ["event", "arg", "connId"]
    assert ack["event"] == "unsubscribe"
    assert venue.face.topics(conn) == ("books5:BTC-USDT",)


@pytest.mark.parametrize(
    ("vip", "first", "second", "code"),
    [
        (3, None, "books-l2-tbt", "64003"),  # the tier is too low
        (4, None, "books-l2-tbt", None),
        (4, "books", "books50-l2-tbt", None),  # these two go together
        (4, "books", "books-l2-tbt", "64004"),
        (4, "books-l2-tbt", "books", "64004"),
        (4, "books-l2-tbt", "books50-l2-tbt", "64004"),
        (4, "books50-l2-tbt", "books-l2-tbt", "64004"),
        (4, "books-l2-tbt", "books5", None),
    ],
)
def test_fast_books_need_a_tier_and_exclude_others(vip, first, second, code):
    venue = Venue()
    conn = venue.open(vip=vip)
    if first:
        venue.subscribe(conn, arg(first))
    venue.take(conn)
    venue.subscribe(conn, arg(second))
    frame = venue.frames(conn)[0]
    assert frame.get("code") == code
    venue.subscribe(conn, arg(second, "BTC-USDT-SWAP"))
    assert (venue.frames(conn)[0]["event"] == "subscribe") == (vip >= 4), "per instrument"


# Limits


def test_three_connections_a_second():
    face = Venue().face
    request = Request("GET", PUBLIC)
    accepts = [face.accept(request, ORIGIN_NS + at * MS) for at in (0, 100, 200, 300, 999, 1000)]
    assert [refusal.status if refusal else None for refusal in accepts] == [
        None, None, None, 429, 429, None,
    ]  # fmt: skip
    assert face.accept(Request("GET", PUBLIC, peer="10.0.0.2"), ORIGIN_NS + 300 * MS) is None
    unlimited = Venue(options=Options(limits=None)).face
    assert all(unlimited.accept(request, ORIGIN_NS) is None for _ in range(50))


@pytest.mark.parametrize("path", ["/", "/ws/v5", "/ws/v5/privat", "/ws/v5/publicx"])
def test_no_such_place(path):
    assert Venue().face.accept(Request("GET", path), ORIGIN_NS).status == 404


def test_480_operations_an_hour():
    venue = Venue()
    conn, other = venue.open(), venue.open()
    for _ in range(240):
        venue.subscribe(conn, arg("bbo-tbt"))
        venue.subscribe(conn, arg("bbo-tbt"), op="unsubscribe")
    assert not [f for f in venue.frames(conn) if f.get("event") == "error"]
    venue.subscribe(conn, arg("books"), id="no")
    (frame,) = venue.frames(conn)
    assert (frame["id"], frame["code"], frame["msg"]) == ("no", "60014", "Requests too frequent")
    assert venue.face.topics(conn) == ()
    venue.say(conn, "ping")
    assert venue.take(conn)[0].data == "pong", "pings are no operations"
    venue.subscribe(other, arg("books"))
    assert venue.frames(other)[0]["event"] == "subscribe", "each connection has its own"
    venue.now_ns += HOUR
    venue.subscribe(conn, arg("books"))
    assert venue.frames(conn)[0]["event"] == "subscribe"


def test_many_arguments_are_one_operation():
    venue = Venue(options=Options(limits=1 / 480))  # one operation
    conn = venue.open()
    venue.subscribe(conn, *(arg(c) for c in ("books", "books5", "bbo-tbt", "trades", "tickers")))
    assert len(venue.face.topics(conn)) == 5
    venue.subscribe(conn, arg("mark-price"))
    assert venue.frames(conn)[-1]["code"] == "60014"


def test_frames_and_channel_names_have_a_length(monkeypatch):
    venue = Venue()
    conn = venue.open()
    venue.say(conn, "x" * 65_537)
    assert venue.take(conn)[-1] == Close(
        conn, 1009, "Request message exceeds the maximum frame length"
    )
    symbols = [f"{base}/USDT" for base in START_PX if base != "USDT"]
    venue = Venue(symbols=symbols, pace=Pace(levels=1))
    conn = venue.open()
    channels = ("books", "books5", "bbo-tbt", "tickers", "mark-price", "price-limit", "trades")
    args = [arg(channel, f"{base}-USDT") for channel in channels for base in START_PX
            if base != "USDT"]  # fmt: skip
    size = [len(json.dumps(each, separators=(",", ":"))) for each in args]
    assert sum(size) < 65_536, "so many are allowed"
    venue.subscribe(conn, *args)
    assert not [output for output in venue.take(conn) if isinstance(output, Close)]
    monkeypatch.setattr(sys.modules[OkxFace.__module__], "CHANNEL_BYTES_MAX", sum(size[:9]))
    conn = venue.open()
    venue.subscribe(conn, *args[:9])
    assert not [output for output in venue.take(conn) if isinstance(output, Close)]
    venue.subscribe(conn, args[9])
    assert venue.take(conn)[-1].code == 4009


# Ends


def test_thirty_seconds_of_silence():
    venue = Venue(symbols=("BTC/USDT",))
    venue.sim.market = None
    idle, pinging, ws_pinging, listening = (venue.open() for _ in range(4))
    venue.subscribe(listening, arg("books"))
    for _ in range(4):
        venue.run(10 * SECOND)
        venue.say(pinging, "ping")
        venue.keep(venue.face.pinged(ws_pinging, b"x", venue.now_ns))
    reason = "No data received in 30s"
    assert venue.take(idle) == [Close(idle, 4004, reason)]
    assert [o.data for o in venue.take(pinging)] == ["pong"] * 4, "text, and not JSON"
    outputs = venue.take(ws_pinging)
    assert outputs[0] == Pong(ws_pinging, b"x")
    assert Close(ws_pinging, 4004, reason) in outputs, "ping frames keep nothing alive"
    assert venue.take(listening)[-1] == Close(listening, 4004, reason), "nothing was pushed"
    assert set(venue.face._clients) == {pinging}


def test_pushes_keep_a_socket_alive():
    venue = Venue(symbols=("BTC/USDT",), pace=Pace(updates_per_s=2))
    conn = venue.open()
    venue.subscribe(conn, arg("books"))
    venue.run(300 * SECOND)
    assert not [output for output in venue.take(conn) if isinstance(output, Close)]


def test_slow_readers_are_dropped():
    venue = Venue()
    conn = venue.open()
    venue.subscribe(conn, arg("books"))
    assert venue.face.overflowed(conn, venue.now_ns) == [
        Close(conn, 4005, "Buffer is full, cannot write data")
    ]
    venue.face.closed(conn, venue.now_ns)  # as the server does afterwards
    venue.take(conn)
    venue.run(SECOND)
    assert venue.take(conn) == []


def test_upgrade_is_announced_a_minute_ahead():
    venue = Venue(symbols=("BTC/USDT",))
    conn, other = venue.open(), venue.open()
    venue.subscribe(conn, arg("books"))
    venue.take(conn)
    venue.keep(venue.face.trouble(Trouble.SHUTDOWN, venue.now_ns))
    (notice,) = venue.frames(conn)
    assert list(notice) == ["event", "code", "msg", "connId"]
    assert (notice["event"], notice["code"]) == ("notice", "64008")
    young = venue.open()  # the new service
    for _ in range(59):
        venue.say(other, "ping")
        venue.say(young, "ping")
        venue.run(SECOND)
    assert not [
        o for each in (conn, other, young) for o in venue.take(each) if isinstance(o, Close)
    ]
    venue.run(SECOND)
    assert venue.take(conn)[-1] == Close(conn, 1001, "")
    assert venue.take(other)[-1] == Close(other, 1001, "")
    assert young in venue.face._clients


def test_maintenance():
    venue = Venue(symbols=("BTC/USDT",))
    conn = venue.open()
    venue.subscribe(conn, {"channel": "status"}, {"channel": "instruments", "instType": "SPOT"})
    venue.take(conn)
    assert venue.get("/api/v5/system/status")[1]["data"] == []
    venue.keep(venue.face.trouble(Trouble.MAINTENANCE, venue.now_ns))
    status, instrument, notice = venue.frames(conn)
    assert (status["arg"], status["data"][0]["state"]) == ({"channel": "status"}, "ongoing")
    assert instrument["data"][0]["state"] == "suspend"
    assert notice["code"] == "64008"
    code, answer = venue.get("/api/v5/market/books", "instId=BTC-USDT")
    assert (code, answer["code"]) == (503, "50001")
    venue.now_ns += 5 * SECOND
    assert venue.get("/api/v5/system/status")[1]["data"][0]["state"] == "ongoing"
    assert venue.face.accept(Request("GET", PUBLIC), venue.now_ns).status == 503
    venue.keep(venue.face.trouble(Trouble.RESUME, venue.now_ns))
    assert [frame["data"][0]["state"] for frame in venue.frames(conn)] == ["live", "completed"]
    assert venue.get("/api/v5/market/books", "instId=BTC-USDT")[0] == 200
    assert venue.face.accept(Request("GET", PUBLIC), venue.now_ns) is None


def test_what_okx_does_not_do():
    assert Venue().face.trouble(Trouble.SNAPSHOT, ORIGIN_NS) is None
    assert Venue().face.trouble(Trouble.INSIDE, ORIGIN_NS) is None


def test_a_session_life_can_be_set():
    venue = Venue(options=Options(session_life_ns=5 * SECOND))
    conn = venue.open()
    venue.run(5 * SECOND)
    assert venue.take(conn) == [Close(conn, 1001, "")]


# REST


def test_rest_book_is_the_book():
    venue = Venue(pace=Pace(updates_per_s=100))
    venue.run(SECOND)
    _, answer = venue.get("/api/v5/market/books", "instId=BTC-USDT-SWAP&sz=400")
    (book,) = answer["data"]
    listing = venue.exchange.listings["BTC/USDT:USDT"]
    for name, side in zip(("bids", "asks"), venue.exchange.book(listing.symbol), strict=True):
        told = [(Decimal(px), Decimal(qty), zero, int(n)) for px, qty, zero, n in book[name]]
        assert told == [(listing.px(x.px), listing.qty(x.qty), "0", x.orders) for x in side]
    assert book["seqId"] == venue.exchange.update_id(listing.symbol)
    assert len(venue.get("/api/v5/market/books", "instId=BTC-USDT")[1]["data"][0]["asks"]) == 1


REST_ERRORS = [
    ("/api/v5/public/instruments", "", 400, "50014", "instType is needed"),
    ("/api/v5/public/instruments", "instType=", 400, "50014", "empty is absent"),
    ("/api/v5/public/instruments", "instType=COIN", 400, "51000", "no such type"),
    ("/api/v5/public/instruments", "instType=SPOT&instId=NO-USDT", 200, "51001", "none"),
    ("/api/v5/public/instruments", "instType=SPOT&instId=BTC-USDT-SWAP", 200, "51001", "swap"),
    ("/api/v5/public/instruments", "instType=FUTURES", 200, "0", "none listed"),
    ("/api/v5/public/instruments", "instType=OPTION&uly=BTC-USD", 200, "0", "none listed"),
    ("/api/v5/market/books", "", 400, "50014", "instId is needed"),
    ("/api/v5/market/books", "instId=BTCUSDT", 200, "51001", "no such instrument"),
    ("/api/v5/market/books", "instId=BTC-USDT&sz=401", 400, "51000", "at most 400"),
    ("/api/v5/market/books", "instId=BTC-USDT&sz=0", 400, "51000", "at least 1"),
    ("/api/v5/market/books", "instId=BTC-USDT&sz=x", 400, "51000", "a number"),
    ("/api/v5/market/trades", "instId=BTC-USDT&limit=501", 400, "51000", "at most 500"),
    ("/api/v5/public/funding-rate", "instId=BTC-USDT", 200, "51001", "spot has none"),
    ("/api/v5/no/such", "", 404, "404", "no such path"),
    ("/api/v5/account/balance", "", 401, "50103", "private needs a key"),
    ("/api/v5/asset/currencies", "", 401, "50103", "private needs a key"),
]


@pytest.mark.parametrize(("path", "query", "status", "code", "why"), REST_ERRORS)
def test_rest_errors(path, query, status, code, why):
    got, answer = Venue().get(path, query)
    assert (got, answer["code"]) == (status, code), why
    assert list(answer) == ["code", "data", "msg"]
    assert answer["data"] == []


def test_rest_private_with_a_key():
    codes = {"key": "50103", "sign": "50106", "timestamp": "50107", "passphrase": "50104"}
    names = [f"ok-access-{name}" for name in codes]
    for missing, code in [*zip(names, codes.values(), strict=True), ("", "50119")]:
        headers = {name: "x" for name in names if name != missing}
        status, answer = Venue().get("/api/v5/account/balance", headers=headers)
        assert (status, answer["code"]) == (401, code)


def test_rest_methods():
    response = Venue().face.request(Request("POST", "/api/v5/public/time"), ORIGIN_NS)
    assert (response.status, json.loads(response.body)["code"]) == (405, "50115")


@pytest.mark.parametrize(
    ("path", "query", "limit", "span_s"),
    [
        ("/api/v5/public/instruments", "instType=SPOT", 20, 2),
        ("/api/v5/market/books", "instId=BTC-USDT", 40, 2),
        ("/api/v5/public/time", "", 10, 2),
        ("/api/v5/system/status", "", 1, 5),
    ],
)
def test_rest_limits(path, query, limit, span_s):
    venue = Venue()
    assert {venue.get(path, query)[0] for _ in range(limit)} == {200}
    status, answer = venue.get(path, query)
    assert (status, answer["code"], answer["msg"]) == (429, "50011", "Too Many Requests")
    assert venue.get(path, query, peer="10.0.0.9")[0] == 200, "counted by address"
    venue.now_ns += span_s * SECOND
    assert venue.get(path, query)[0] == 200


def test_time():
    venue = Venue()
    assert venue.get("/api/v5/public/time")[1] == {
        "code": "0", "data": [{"ts": "1772445600000"}], "msg": "",
    }  # fmt: skip


# The whole


def test_hosts_and_module():
    module = load("okx")
    assert "BTC/USDT:USDT" in module.SYMBOLS
    made = module.face(Exchange("okx", []), Random(1), Options())
    assert made.hosts("http://h:1", "ws://h:1") == {
        "rest": "http://h:1",
        "ws": "ws://h:1/ws/v5/public",
        "ws.business": "ws://h:1/ws/v5/business",
        "orders.ws": "ws://h:1/ws/v5/private",
    }  # fmt: skip
    with pytest.raises(ValueError, match="USDT-settled"):
        module.listings(["BTC/USDC:USDC"])
    with pytest.raises(ValueError, match="no start price"):
        module.listings(["NOPE/USDT"])


def test_everything_with_a_price_can_be_listed():
    symbols = [
        f"{base}/USDT{tail}" for base in START_PX if base != "USDT" for tail in ("", ":USDT")
    ]
    made = listings(symbols)
    assert len(made) == len(symbols)
    for listing in made:
        px = START_PX[listing.base] / START_PX[listing.quote]
        assert listing.tick < px / 100, listing
        assert listing.min_qty * listing.contract_size * px < 1_000, listing


def trace(step_ns):
    """Everything a busy minute says, time cut into steps."""
    venue = Venue(seed=4, symbols=load("okx").SYMBOLS, pace=Pace(updates_per_s=30))
    digest = hashlib.sha256()
    conn = venue.open(vip=5)
    venue.subscribe(conn, *(arg(c) for c in ("books", "books50-l2-tbt", "bbo-tbt", "trades")))
    venue.subscribe(conn, *(arg(c, "ETH-USDT-SWAP") for c in ("books", "tickers", "mark-price")))
    at = {3 * SECOND: Trouble.RESTART, 6 * SECOND: Trouble.SHUTDOWN}
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
    venue.subscribe(conn, arg("books"), arg("trades"), arg("books5"))
    venue.run(SECOND)
    kinds = {(o.topic, o.kind) for o in venue.take(conn)}
    assert kinds == {
        ("", FrameKind.CONTROL),
        ("books:BTC-USDT", FrameKind.SNAPSHOT),
        ("books:BTC-USDT", FrameKind.DELTA),
        ("books5:BTC-USDT", FrameKind.SNAPSHOT),
        ("trades:BTC-USDT", FrameKind.DATA),
    }
