"""A capture played as its venue's stream: the recorded bytes, at the recorded distances."""

import json
import os
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from hean_router.replay.capture import open_capture
from hean_router.sim.contract import MS, SECOND, FrameKind, Ping, Request, Reset, Send
from hean_router.sim.replay_dialects import DIALECTS, levels
from hean_router.sim.replay_face import read, replay
from hean_router.sim.simulator import Simulator

ORIGIN = 1_800_000_000 * SECOND
RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))


@dataclass
class Line:
    kind: str
    raw: bytes = b""
    at_ns: int = 0
    conn: str = "ws"
    url: str = ""
    venue: str = ""
    loop: int = 0
    binary: bool = False


class Player:
    """A replay and its clients, without sockets."""

    def __init__(self, venue, records, **options):
        self.face = replay(venue, records, Random(1), **options)
        self.sim = Simulator(self.face)
        self.now_ns = ORIGIN
        self.conns = 0
        self.got = {}

    def open(self, url):
        path, _, query = url.partition("?")
        request = Request("GET", path, query)
        assert self.face.accept(request, self.now_ns) is None
        self.conns += 1
        self.got[self.conns] = []
        self.keep(self.face.opened(self.conns, request, self.now_ns))
        return self.conns

    def say(self, conn, message):
        data = message if isinstance(message, str) else json.dumps(message)
        self.keep(self.face.received(conn, data, self.now_ns))

    def keep(self, outputs):
        for output in outputs:
            if isinstance(output, Ping):
                self.keep(self.face.ponged(output.conn, output.data, self.now_ns))
            else:
                self.got[output.conn].append((self.now_ns - ORIGIN, output))

    def run(self, ns):
        end_ns = self.now_ns + ns
        while (wake_ns := self.sim.wake_at_ns) is not None and wake_ns <= end_ns:
            self.now_ns = wake_ns
            self.keep(self.sim.due(wake_ns))
        self.now_ns = end_ns

    def get(self, path, query=""):
        return self.face.request(Request("GET", path, query), self.now_ns)

    def frames(self, conn, topic):
        return [
            (at, output.data)
            for at, output in self.got[conn]
            if isinstance(output, Send) and output.topic == topic
        ]


def depth(number, wrapped=True):
    body = (
        f'{{"e":"depthUpdate","E":{number},"s":"BTCUSDT","U":{number},"u":{number},'
        f'"b":[["60000.10000000","1.00000000"]],"a":[]}}'
    )
    return (f'{{"stream":"btcusdt@depth@100ms","data":{body}}}' if wrapped else body).encode()


BINANCE = [
    Line("connect", at_ns=5 * SECOND),
    Line("recv", b'{"result":null,"id":1}', at_ns=5 * SECOND),
    Line("recv", depth(1), at_ns=6 * SECOND),
    Line("recv", depth(2), at_ns=6 * SECOND + 100 * MS),
    Line("http", b'{"lastUpdateId":1,"bids":[],"asks":[]}', at_ns=6 * SECOND + 150 * MS),
    Line("recv", depth(3), at_ns=6 * SECOND + 300 * MS),
    Line(
        "recv",
        b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","p":"1.0","q":"2.000","M":true}}',
        at_ns=6 * SECOND + 200 * MS,
    ),
]
"""Times of one connection: frames 1, 2, 3 after 0, 100 and 300 ms; a trade in between is late."""


def test_frames_come_at_their_distances_bare_or_wrapped():
    player = Player("binance", BINANCE)
    raw, combined = player.open("/ws/btcusdt@depth@100ms"), player.open("/stream")
    player.say(combined, {"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": 9})
    player.run(500 * MS)
    assert player.frames(raw, "btcusdt@depth@100ms") == [
        (0, depth(1, wrapped=False).decode()),
        (100 * MS, depth(2, wrapped=False).decode()),
        (300 * MS, depth(3, wrapped=False).decode()),
    ]
    got = player.frames(combined, "btcusdt@depth")
    assert [at for at, _ in got] == [0, 100 * MS, 300 * MS]
    assert json.loads(got[0][1]) == {
        "stream": "btcusdt@depth",  # the name asked for, the body recorded
        "data": json.loads(depth(1, wrapped=False)),
    }
    assert player.got[combined][0][1] == Send(combined, '{"result":null,"id":9}')


def test_each_subscription_begins_at_the_beginning():
    player = Player("binance", BINANCE, loop=False)
    player.run(10 * SECOND)
    late = player.open("/ws")
    player.run(SECOND)
    assert player.got[late] == [], "nothing is asked for yet"
    player.say(late, {"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": 1})
    player.run(SECOND)
    assert [at for at, _ in player.frames(late, "btcusdt@depth")] == [
        11 * SECOND,
        11 * SECOND + 100 * MS,
        11 * SECOND + 300 * MS,
    ]
    player.say(late, {"method": "UNSUBSCRIBE", "params": ["btcusdt@depth"], "id": 2})
    player.say(late, {"method": "SUBSCRIBE", "params": ["btcusdt@depth"], "id": 3})
    player.say(late, {"method": "UNSUBSCRIBE", "params": ["btcusdt@depth"], "id": 4})
    player.run(10 * SECOND)
    assert len(player.frames(late, "btcusdt@depth")) == 3


@pytest.mark.parametrize(
    ("speed", "last_ns"),
    [(Fraction(1), 300 * MS), (Fraction(3), 100 * MS), (Fraction(1, 2), 600 * MS)],
)
def test_speed(speed, last_ns):
    player = Player("binance", BINANCE, speed=speed)
    conn = player.open("/ws/btcusdt@depth")
    player.run(SECOND)
    assert player.frames(conn, "btcusdt@depth")[-1][0] == last_ns


def test_the_end_is_a_cut_and_then_it_begins_again():
    player = Player("binance", BINANCE)
    conn = player.open("/ws/btcusdt@depth/btcusdt@trade/nosuch@trade")
    player.run(1_299 * MS)
    assert not any(isinstance(out, Reset) for _, out in player.got[conn])
    player.run(2 * MS)
    assert player.got[conn][-1] == (1_300 * MS, Reset(conn))
    assert player.face.loops == 1
    again = player.open("/ws/btcusdt@depth")
    player.run(500 * MS)
    assert len(player.frames(again, "btcusdt@depth")) == 3
    silent = Player("binance", BINANCE, loop=False)
    conn = silent.open("/ws/btcusdt@depth")
    silent.run(100 * SECOND)
    assert not any(isinstance(out, Reset) for _, out in silent.got[conn])
    assert silent.face.loops == 0


def test_a_reconnect_in_the_capture_is_one_for_the_client():
    second = [Line("connect", at_ns=9 * SECOND), Line("recv", depth(77), at_ns=10 * SECOND)]
    player = Player("binance", [*BINANCE, *second])
    numbers = []
    for _ in range(3):
        conn = player.open("/ws/btcusdt@depth")
        player.run(2 * SECOND)
        numbers.append([json.loads(data)["u"] for _, data in player.frames(conn, "btcusdt@depth")])
        assert isinstance(player.got[conn][-1][1], Reset)
    assert numbers == [[1, 2, 3], [77], [1, 2, 3]]


def test_questions_answered_in_the_capture():
    info = b'{"timezone":"UTC","symbols":[]}'
    player = Player(
        "binance",
        [*BINANCE, Line("http", info, url="https://api.binance.com/api/v3/exchangeInfo")],
    )
    for limit in (5, 1000, 5000):  # whatever is asked, there is only the recorded one
        answer = player.get("/api/v3/depth", f"symbol=BTCUSDT&limit={limit}")
        assert answer.body == b'{"lastUpdateId":1,"bids":[],"asks":[]}'
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == "305", "weights are counted all the same"
    assert player.get("/api/v3/exchangeInfo").body == info
    assert json.loads(player.get("/api/v3/depth", "symbol=ETHUSDT").body)["code"] == -1121
    assert json.loads(player.get("/api/v3/time").body) == {"serverTime": ORIGIN // MS}
    for _ in range(24):
        limited = player.get("/api/v3/depth", "symbol=BTCUSDT&limit=5000")
    assert limited.status == 429, "a refusal is not papered over"


def test_rules_without_an_answer_come_from_the_finest_digits():
    player = Player("binance", BINANCE)
    (symbol,) = json.loads(player.get("/api/v3/exchangeInfo").body)["symbols"]
    filters = {one["filterType"]: one for one in symbol["filters"]}
    assert (symbol["symbol"], symbol["baseAsset"]) == ("BTCUSDT", "BTC")
    assert filters["PRICE_FILTER"]["tickSize"] == "0.00000001"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00000001"


def test_without_times_a_frame_every_10_ms():
    lines = [Line("recv", depth(number)) for number in range(5)]
    player = Player("binance", lines)
    conn = player.open("/ws/btcusdt@depth")
    player.run(SECOND)
    times = [at for at, _ in player.frames(conn, "btcusdt@depth")]
    assert {b - a for a, b in pairwise(times)} == {10 * MS}
    assert len(times) == 5


def test_other_venues_and_later_loops_are_left_out():
    lines = [
        Line("recv", depth(1), venue="binance"),
        Line("recv", depth(2), venue="binance", loop=1),
        Line("recv", b'{"topic":"orderbook.1.X","type":"delta"}', venue="bybit"),
        Line("recv", b"pong"),
        Line("sent", depth(9)),
        Line("note", b"words"),
    ]
    recording = read("binance", lines)
    assert recording.topics == ["spot btcusdt@depth"]
    assert recording.takes == 1
    ((takes),) = recording.frames.values()
    assert [len(take) for take in takes.values()] == [1]


@pytest.mark.parametrize(
    ("venue", "lines", "complaint"),
    [
        ("nosuch", BINANCE, "no replay for 'nosuch'; there is for: binance, bybit, okx, kraken"),
        ("okx", BINANCE, "nothing of okx"),
        ("binance", [], "nothing of binance"),
    ],
)
def test_what_cannot_be_replayed_is_said(venue, lines, complaint):
    with pytest.raises(ValueError, match=complaint):
        replay(venue, lines, Random(1))


def test_a_speed_above_zero():
    with pytest.raises(ValueError, match="speed"):
        replay("binance", BINANCE, Random(1), speed=Fraction(0))


def kraken_book(kind, symbol="BTC/USD", count=12):
    asks = ",".join(f'{{"price":1{n:02}.50,"qty":1.0000}}' for n in range(count))
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[],'
        f'"asks":[{asks}],"checksum":1}}]}}'
    ).encode()


@pytest.mark.parametrize(("asked", "heard"), [(25, 2), (10, 0), (None, 0)])
def test_kraken_depth_is_part_of_the_topic(asked, heard):
    """A book recorded at another depth cannot be cut to this one: its checksums would not hold."""
    lines = [Line("recv", kraken_book("snapshot")), Line("recv", kraken_book("update", count=1))]
    player = Player("kraken", lines)
    conn = player.open("/v2")
    params = {"channel": "book", "symbol": ["BTC/USD"]} | ({"depth": asked} if asked else {})
    player.say(conn, {"method": "subscribe", "params": params, "req_id": 1})
    player.run(500 * MS)
    frames = player.frames(conn, "book:BTC/USD")
    assert len(frames) == heard
    if heard:
        assert frames[0][1].encode() == lines[0].raw
    acks = [json.loads(out.data) for _, out in player.got[conn] if isinstance(out, Send)]
    assert any(ack.get("success") for ack in acks)


def test_levels_are_found_wherever_they_stand():
    found = levels({"data": [{"a": [["1.5", "2"], ["x", "y"]], "sub": {"p": "3.25", "v": "4"}}]})
    assert list(found) == [("1.5", "2"), ("3.25", "4")]
    assert DIALECTS["okx"].pair("BTC-USD-220527", "") is None, "dated futures are not listed"


# Real captures


def recorded(name):
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"no recording at {path}; set HEAN_RECORDINGS")
    return path


def original(path, wanted):
    with open_capture(path) as capture:
        return [one.raw.decode() for one in capture if one.kind == "recv" and wanted(one.raw)]


@pytest.mark.parametrize(
    ("venue", "name", "url", "subscribe", "topic", "wanted"),
    [
        (
            "bybit",
            "bybit/v5_public_20260809.jsonl.gz",
            "/v5/public/linear",
            {"op": "subscribe", "args": ["orderbook.200.BTCUSDT"], "req_id": "1"},
            "orderbook.200.BTCUSDT",
            lambda raw: (
                b'"orderbook.200.BTCUSDT"' in raw and raw.find(b'"type"') < raw.find(b'"ts"')
            ),
        ),
        (
            "bybit",
            "bybit/v5_public_20260809.jsonl.gz",
            "/v5/public/spot",
            {"op": "subscribe", "args": ["orderbook.200.BTCUSDT"], "req_id": "1"},
            "orderbook.200.BTCUSDT",
            lambda raw: (
                b'"orderbook.200.BTCUSDT"' in raw and raw.find(b'"type"') > raw.find(b'"ts"')
            ),
        ),
        (
            "okx",
            "okx/v5_public_20220513.jsonl.gz",
            "/ws/v5/public",
            {"id": "1", "op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]},
            "books:BTC-USDT",
            lambda raw: b'"channel":"books","instId":"BTC-USDT"' in raw and b'"data"' in raw,
        ),
        (
            "kraken",
            "kraken/v2_book_minagbp_d25_20260816.ndjson",
            "/v2",
            {
                "method": "subscribe",
                "params": {"channel": "book", "symbol": ["MINA/GBP"], "depth": 25},
            },
            "book:MINA/GBP",
            lambda raw: b'"channel":"book","type"' in raw,
        ),
        (
            "kraken",
            "kraken/v2_book_btcusd_d10_20230730.ndjson.gz",
            "/v2",
            {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}},
            "book:BTC/USD",
            lambda raw: b'"channel":"book","type"' in raw,
        ),
    ],
)
def test_recorded_bytes_reach_the_client(venue, name, url, subscribe, topic, wanted):
    path = recorded(name)
    with open_capture(path) as capture:
        player = Player(venue, capture, loop=False)
    conn = player.open(url)
    player.say(conn, subscribe)
    keep_alive = {"bybit": '{"op":"ping"}', "okx": "ping", "kraken": '{"method":"ping"}'}[venue]
    for _ in range(15):
        player.run(5 * SECOND)
        player.say(conn, keep_alive)
    frames = [data for _, data in player.frames(conn, topic)]
    assert frames == original(path, wanted)
    assert len(frames) > 25
    kinds = [
        out.kind for _, out in player.got[conn] if isinstance(out, Send) and out.topic == topic
    ]
    assert kinds[0] is FrameKind.SNAPSHOT
    assert set(kinds[1:]) == {FrameKind.DELTA}


@pytest.mark.parametrize(
    ("name", "url", "rest"),
    [
        ("spot_btcusdt_20240808", "/ws/btcusdt@depth@100ms", "/api/v3/depth"),
        ("usdm_btcusdt_20230404", "/public/ws/btcusdt@depth@100ms", "/fapi/v1/depth"),
    ],
)
def test_a_recorded_binance_book_can_be_built_from_the_replay(name, url, rest):
    """The documented way, with the REST answer asked for while events already come."""
    path = recorded(f"binance/{name}.txt.gz")
    with open_capture(path) as capture:
        player = Player("binance", capture, loop=False)
    conn = player.open(url)
    player.run(200 * MS)
    snapshot = json.loads(player.get(rest, "symbol=BTCUSDT&limit=1000").body)
    assert len(snapshot["bids"]) == 1000
    player.run(400 * SECOND)
    events = [json.loads(data) for _, data in player.frames(conn, url.rpartition("/")[2])]
    last, spot = snapshot["lastUpdateId"], rest.startswith("/api")
    kept = [event for event in events if event["u"] >= last + spot]
    assert events[0]["U"] <= last, "the capture begins before its snapshot"
    assert kept[0]["U"] <= last + spot <= kept[0]["u"]
    for before, event in pairwise(kept):
        assert event["U"] == before["u"] + 1 if spot else event["pu"] == before["u"]
    assert len(kept) > 3_000
    (symbol,) = json.loads(player.get(rest.replace("depth", "exchangeInfo")).body)["symbols"]
    assert symbol["symbol"] == "BTCUSDT"
    tick = Decimal(symbol["filters"][0]["tickSize"])
    assert tick == (Decimal("0.00000001") if spot else Decimal("0.01")), "the finest digits sent"
