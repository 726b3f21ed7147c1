"""Bybit's words: the keys, their order, the number texts, held against frames of the real venue.

Twice: against frames written down from the protocol sheet, which every clone has, and against the
recordings where they are.
"""

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from hean_router.sim.contract import SECOND, Request, Send, Trouble
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_786_310_800 * SECOND
RECORDINGS = Path(
    os.environ.get("HEAN_RECORDINGS") or Path(__file__).parents[3] / "shared" / "data" / "real"
)
RECORDING = RECORDINGS / "bybit" / "v5_public_20260809.jsonl.gz"
FIXTURES = RECORDINGS / "fixtures"


def shape(value):
    """What is left when the market is taken out: keys in order, types, decimals of linear texts."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        shapes = {json.dumps(shape(item)) for item in value}
        return [json.loads(one) for one in sorted(shapes)]
    if isinstance(value, str):
        if re.fullmatch(r"-?\d+(\.\d+)?", value):
            return "9"
        return "uuid" if re.fullmatch(r"[0-9a-f-]{36}", value) else value
    return value if isinstance(value, bool) or value is None else type(value).__name__


def same(ours, theirs, *, words=()):
    """Equal shapes, key order included; texts may differ only where named in `words`."""
    ours, theirs = json.loads(ours), json.loads(theirs)
    for name in words:
        for one in (ours, theirs):
            for place in (one, one.get("data"), *one.get("data", ())):
                if isinstance(place, dict) and name in place:
                    place[name] = name
    assert json.dumps(shape(ours)) == json.dumps(shape(theirs))


class World:
    """Spot and linear sockets on one busy simulator."""

    def __init__(self):
        symbols = ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT", "ETH/USDT:USDT"]
        pace = Pace(updates_per_s=60, levels=220, taker_permille=200)
        self.simulator, self.exchange = simulate("bybit", 4, ORIGIN_NS, symbols=symbols, pace=pace)
        self.face = self.simulator.face
        self.frames = {}
        for conn, part in ((1, "spot"), (2, "linear")):
            self.face.opened(conn, Request("GET", f"/v5/public/{part}"), ORIGIN_NS)
            self.part = part
            names = ["orderbook.200.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT"]
            names += ["orderbook.1.BTCUSDT", "priceLimit.BTCUSDT"]
            self.take(
                self.face.received(conn, json.dumps({"op": "subscribe", "args": names}), ORIGIN_NS)
            )
            refused = json.dumps({"op": "subscribe", "args": ["nope"], "req_id": "9"})
            self.take(self.face.received(conn, refused, ORIGIN_NS))
            self.take(self.face.received(conn, '{"op":"ping","req_id":"9"}', ORIGIN_NS))
        self.take(self.simulator.due(ORIGIN_NS + 4 * SECOND))

    def take(self, outputs):
        for output in outputs:
            assert isinstance(output, Send)
            part = ("spot", "linear")[output.conn - 1]
            frame = json.loads(output.data)
            self.frames.setdefault((part, *name(frame)), []).append(output.data)

    def rest(self, url):
        path, _, query = url.partition("?")
        return self.face.request(Request("GET", path, query), ORIGIN_NS + 4 * SECOND).body.decode()


def name(frame):
    """What kind of frame it is."""
    if "topic" not in frame:
        return frame["op"], frame["success"]
    what = frame["topic"].rsplit(".", 1)[0]
    data = frame["data"]
    both = isinstance(data, dict) and "b" in data and bool(data["b"]) and bool(data["a"])
    return what, frame.get("type"), *((both,) if "orderbook" in what else ())


@pytest.fixture(scope="module")
def world():
    return World()


# Written down from the protocol sheet (July and August 2026).
SHEET = [
    (
        ("linear", "subscribe", True),
        '{"success":true,"ret_msg":"","conn_id":"c","req_id":"","op":"subscribe"}',
    ),
    (
        ("spot", "subscribe", True),
        '{"success":true,"ret_msg":"subscribe","conn_id":"c","op":"subscribe"}',
    ),
    (
        ("spot", "subscribe", False),
        '{"success":false,"ret_msg":"error:handler not found,topic:nope","conn_id":"c",'
        '"req_id":"9","op":"subscribe"}',
    ),
    (
        ("spot", "ping", True),
        '{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"9","op":"ping"}',
    ),
    (
        ("linear", "ping", True),
        '{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"9","op":"ping"}',
    ),
    (
        ("linear", "orderbook.200", "delta", True),
        '{"topic":"orderbook.200.BTCUSDT","type":"delta","ts":1,"data":{"s":"BTCUSDT",'
        '"b":[["1.10","0.100"],["1.00","0"]],"a":[["1.20","2.000"]],"u":2,"seq":3},"cts":1}',
    ),
    (
        ("spot", "orderbook.200", "delta", True),
        '{"topic":"orderbook.200.BTCUSDT","ts":1,"type":"delta","data":{"s":"BTCUSDT",'
        '"b":[["1.1","0.1"],["1","0"]],"a":[["1.2","2"]],"u":2,"seq":3},"cts":1}',
    ),
    (
        ("linear", "orderbook.1", "snapshot", True),
        '{"topic":"orderbook.1.BTCUSDT","ts":1,"type":"snapshot","data":{"s":"BTCUSDT",'
        '"b":[["1.10","0.100"]],"a":[["1.20","2.000"]],"u":2,"seq":3},"cts":1}',
    ),
    (
        ("spot", "publicTrade", "snapshot"),
        '{"topic":"publicTrade.BTCUSDT","ts":1,"type":"snapshot","data":[{"i":"2290000001","T":1,'
        '"p":"1.1","v":"0.1","S":"Buy","seq":3,"s":"BTCUSDT","BT":false,"RPI":false}]}',
    ),
    (
        ("linear", "publicTrade", "snapshot"),
        '{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"T":1,"s":"BTCUSDT",'
        '"S":"Buy","v":"0.100","p":"1.10","L":"PlusTick",'
        '"i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":false,"seq":3}]}',
    ),
    (
        ("spot", "tickers", "snapshot"),
        '{"topic":"tickers.BTCUSDT","ts":1,"type":"snapshot","cs":3,"data":{"symbol":"BTCUSDT",'
        '"lastPrice":"1","highPrice24h":"1","lowPrice24h":"1","prevPrice24h":"1",'
        '"volume24h":"1","turnover24h":"1","price24hPcnt":"0.1","usdIndexPrice":"1"}}',
    ),
    (
        ("linear", "priceLimit", None),
        '{"topic":"priceLimit.BTCUSDT","data":{"symbol":"BTCUSDT","buyLmt":"1","sellLmt":"1"},'
        '"ts":1}',
    ),
]
LOOSE = ("conn_id", "S", "L")  # values that vary from frame to frame


@pytest.mark.parametrize(("key", "frame"), SHEET, ids=[" ".join(map(str, k)) for k, _ in SHEET])
def test_words_of_the_sheet(world, key, frame):
    same(world.frames[key][-1], frame, words=LOOSE)


def test_words_of_the_recording(world):
    """Every kind of frame recorded, spot and linear: the same keys, order and texts."""
    compared = set()
    for part, raw in recorded_frames():
        key = (part, *name(json.loads(raw)))
        if key in compared or key[1] == "kline.1" or (len(key) == 4 and not key[3]):
            continue  # candles are not simulated; of one-sided deltas one side has no shape
        if key == ("linear", "tickers", "delta"):
            continue  # compared below: it has only what changed
        compared.add(key)
        same(world.frames[key][-1], raw, words=(*LOOSE, "tickDirection"))
    assert len(compared) == 10, compared


def test_linear_ticker_deltas_keep_the_recorded_order(world):
    ours = [json.loads(raw) for raw in world.frames["linear", "tickers", "delta"]]
    theirs = [
        json.loads(raw)
        for part, raw in recorded_frames()
        if (part, *name(json.loads(raw))) == ("linear", "tickers", "delta")
    ]
    assert {tuple(frame) for frame in ours} == {tuple(frame) for frame in theirs}
    before = {
        (first, second)
        for frame in theirs
        for at, first in enumerate(frame["data"])
        for second in list(frame["data"])[at + 1 :]
    }
    for frame in ours:
        names = list(frame["data"])
        for at, first in enumerate(names):
            for second in names[at + 1 :]:
                assert (second, first) not in before, f"{second} comes before {first}"


@pytest.mark.parametrize("part", ["spot", "linear"])
def test_number_texts_are_the_venues(world, part):
    """Linear prints every decimal of the step, spot none that is 0; nothing is "0"."""
    decimals = {}
    sources = {
        "ours": [raw for key, raws in world.frames.items() if key[0] == part for raw in raws],
        "theirs": [raw for where, raw in recorded_frames() if where == part],
    }
    for who, raws in sources.items():
        seen = decimals[who] = {"px": set(), "qty": set()}
        for raw in raws:
            frame = json.loads(raw)
            if frame.get("topic") != "orderbook.200.BTCUSDT":
                continue
            for px, qty in frame["data"]["b"] + frame["data"]["a"]:
                seen["px"].add(len(px.partition(".")[2]))
                if qty != "0":
                    seen["qty"].add(len(qty.partition(".")[2]))
                    assert part == "linear" or "." not in qty or qty[-1] != "0"
    ours, theirs = decimals["ours"], decimals["theirs"]
    assert ours["px"] == theirs["px"] == ({0, 1} if part == "spot" else {2})
    # How round the sizes are is the market's taste, how fine they can be is the venue's rule.
    assert max(ours["qty"]) == max(theirs["qty"])
    assert len(ours["qty"]) > 1 if part == "spot" else ours["qty"] == theirs["qty"] == {3}


@pytest.mark.parametrize("part", ["spot", "linear"])
def test_instruments_have_the_recorded_shape(world, part):
    ours = json.loads(world.rest(f"/v5/market/instruments-info?category={part}"))
    for recorded in recorded_answers():
        if recorded["result"]["category"] == part:
            theirs = recorded
    assert shape({**ours, "result": None}) == shape({**theirs, "result": None})
    assert set(ours["result"]) == set(theirs["result"])
    rows = {row["symbol"]: row for row in theirs["result"]["list"]}
    for row in ours["result"]["list"]:
        real = rows[row["symbol"]]
        assert json.dumps(shape(row)) == json.dumps(shape(real))
        for place in ("priceFilter", "lotSizeFilter"):
            for key, text in row[place].items():
                # Limits of size differ; steps, minimums and the price range do not.
                if "max" not in key.lower() or key == "maxPrice":
                    assert text == real[place][key], (row["symbol"], key)
    if part == "linear":
        for who in (ours, theirs):
            names = [row["symbol"] for row in who["result"]["list"]]
            assert names == sorted(names)


@pytest.mark.parametrize(
    ("fixture", "url"),
    [
        ("http_get_orderbook", "/v5/market/orderbook?category=linear&symbol=BTCUSDT&limit=3"),
        (
            "http_get_trades_recent",
            "/v5/market/recent-trade?category=linear&symbol=BTCUSDT&limit=1",
        ),
    ],
)
def test_rest_answers_have_the_documented_shape(world, fixture, url):
    path = FIXTURES / "nautilus" / "bybit" / f"{fixture}.json"
    if not path.exists():
        pytest.skip(f"no fixture {path}: set HEAN_RECORDINGS to the folder that has it")
    theirs, ours = json.loads(path.read_text())["result"], json.loads(world.rest(url))["result"]
    assert list(ours) == list(theirs)
    for key in ("category", "s"):
        assert ours.get(key) == theirs.get(key)
    if "list" in theirs:
        assert list(theirs["list"][0]) == [
            key for key in ours["list"][0] if key in theirs["list"][0]
        ]
    else:
        assert json.dumps(shape(ours)) == json.dumps(shape(theirs))


def test_the_status_notice_has_the_documented_shape(world):
    path = FIXTURES / "jkorf" / "bybit" / "Subscriptions" / "V5" / "Spot" / "SystemStatus.txt"
    if not path.exists():
        pytest.skip(f"no fixture {path}: set HEAN_RECORDINGS to the folder that has it")
    theirs = json.loads(path.read_text().split("= ", 1)[1])
    face = World().face
    face.opened(9, Request("GET", "/v5/public/misc/status"), ORIGIN_NS)
    face.received(9, '{"op":"subscribe","args":["system.status"]}', ORIGIN_NS)
    notice = next(output for output in face.trouble(Trouble.MAINTENANCE, ORIGIN_NS))
    ours = json.loads(notice.data)
    assert list(ours) == list(theirs)
    assert list(ours["data"][0]) == list(theirs["data"][0])
    assert shape({**ours["data"][0], "title": "", "state": ""}) == {
        **shape({**theirs["data"][0], "title": "", "state": ""})
    }


def lines():
    if not RECORDING.exists():
        pytest.skip(f"no recording {RECORDING}: set HEAN_RECORDINGS to the folder that has it")
    with gzip.open(RECORDING, "rt") as file:
        yield from map(json.loads, file)


def recorded_frames():
    """(category, raw frame) for everything the venue pushed; by the URL of its socket."""
    parts = {}
    for line in lines():
        if line["t"] == "connect":
            parts[line["conn"]] = line["addr"].rsplit("/", 1)[1]
        elif line["t"] == "recv":
            yield parts[line["conn"]], line["data"]


def recorded_answers():
    return [json.loads(line["data"]) for line in lines() if line["t"] == "http"]
