"""What every venue's face promises the server, and that every face bears every fault."""

import json
from random import Random

import pytest

from hean_router.sim.contract import (
    MINUTE,
    MS,
    SECOND,
    Close,
    FrameKind,
    Options,
    Pause,
    Ping,
    Request,
    Reset,
    Send,
    Trouble,
)
from hean_router.sim.exchange import Side
from hean_router.sim.fault_spec import parse
from hean_router.sim.faults import Faults
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN = 1_700_000_000 * SECOND

# venue -> path, subscription to a book and trades of BTC/USDT, a keep-alive, a REST question
WAYS = {
    "binance": (
        "/stream",
        {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms", "btcusdt@trade"], "id": 1},
        None,
        ("/api/v3/depth", "symbol=BTCUSDT&limit=100"),
    ),
    "bybit": (
        "/v5/public/spot",
        {"op": "subscribe", "args": ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT"]},
        '{"op":"ping"}',
        ("/v5/market/orderbook", "category=spot&symbol=BTCUSDT&limit=50"),
    ),
    "okx": (
        "/ws/v5/public",
        {
            "id": "1",
            "op": "subscribe",
            "args": [
                {"channel": "books", "instId": "BTC-USDT"},
                {"channel": "trades", "instId": "BTC-USDT"},
            ],
        },
        "ping",
        ("/api/v5/market/books", "instId=BTC-USDT&sz=50"),
    ),
    "kraken": (
        "/v2",
        {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"]}},
        '{"method":"ping"}',
        ("/0/public/Depth", "pair=XBTUSDT&count=50"),
    ),
}

every_venue = pytest.mark.parametrize("venue", WAYS)


class Crowd:
    """Clients that subscribe, keep alive, answer pings and come back when they are cut."""

    def __init__(self, venue, faults=None, clients=3, seed=1, pace=None):
        self.sim, self.exchange = simulate(
            venue,
            seed,
            ORIGIN,
            symbols=["BTC/USDT"],
            pace=pace,
            options=Options(limits=10.0),
            faults=faults and parse(faults),
        )
        self.face = self.sim.face
        self.path, self.ask, self.alive, self.question = WAYS[venue]
        self.now_ns = ORIGIN
        self.conns = 0
        self.live = {}
        self.log = []
        self.ended = set()
        for _ in range(clients):
            self.come()

    def come(self):
        request = Request("GET", self.path, peer=f"10.0.0.{self.conns % 250}")
        if self.face.accept(request, self.now_ns) is not None:
            return
        self.conns += 1
        conn = self.conns
        self.live[conn] = self.now_ns
        self.keep(self.face.opened(conn, request, self.now_ns))
        if conn in self.live:
            self.say(conn, json.dumps(self.ask))

    def say(self, conn, data):
        self.keep(self.face.received(conn, data, self.now_ns))

    def keep(self, outputs):
        for output in outputs:
            assert output.conn not in self.ended, f"{output} after the end"
            self.log.append((self.now_ns, output))
            if isinstance(output, Close | Reset):
                self.live.pop(output.conn, None)
                self.ended.add(output.conn)
                self.face.closed(output.conn, self.now_ns)
            elif isinstance(output, Pause):
                self.live.pop(output.conn, None)
            elif isinstance(output, Ping):
                self.keep(self.face.ponged(output.conn, output.data, self.now_ns))

    def run(self, ns, *, clients=3):
        """To the time, and as many clients as wanted all the while."""
        end_ns, next_ns = self.now_ns + ns, self.now_ns + 15 * SECOND
        while (wake_ns := self.sim.wake_at_ns) is not None and wake_ns <= end_ns:
            assert wake_ns >= self.now_ns - MS or self.now_ns == ORIGIN
            self.now_ns = max(self.now_ns, wake_ns)
            self.keep(self.sim.due(self.now_ns))
            if self.now_ns >= next_ns:
                next_ns += 15 * SECOND
                for conn in list(self.live):
                    if self.alive and conn in self.live:
                        self.say(conn, self.alive)
                while len(self.live) < clients and self.conns < 500:
                    before = self.conns
                    self.come()
                    if self.conns == before:
                        break
                self.face.request(Request("GET", *self.question), self.now_ns)
        self.now_ns = end_ns


@every_venue
def test_frames_say_what_they_are(venue):
    """Faults choose victims by topic and kind, so every pushed frame must carry them."""
    crowd = Crowd(venue, pace=Pace(updates_per_s=40, taker_permille=300))
    crowd.run(10 * SECOND)
    sends = [output for _, output in crowd.log if isinstance(output, Send)]
    kinds = {send.kind for send in sends if send.topic}
    assert FrameKind.DELTA in kinds
    assert FrameKind.CONTROL not in kinds
    topics = set(crowd.face.topics(1))
    assert topics
    assert {send.topic for send in sends if send.topic} <= topics
    books = [send for send in sends if send.kind is FrameKind.DELTA]
    assert len(books) > 50
    for send in sends[:200]:
        assert isinstance(send.data, str), "all four speak text"


@every_venue
def test_a_rest_book_is_the_exchange_s(venue):
    crowd = Crowd(venue)
    path, query = crowd.question
    response = crowd.face.request(Request("GET", path, query), ORIGIN)
    assert response.status == 200
    listing = crowd.exchange.listings["BTC/USDT"]
    best = crowd.exchange.best("BTC/USDT", Side.BUY)
    text = listing.px_text(best.px).rstrip("0").rstrip(".")
    assert text in response.body.decode()


@every_venue
@pytest.mark.parametrize(
    "garbage",
    ["", "{", "[]", "null", "1", '"x"', "{}", b"\xff\xfe", b"{}", "\x00", "[" * 5_000,
     '{"op":1}', '{"op":"subscribe"}', '{"op":"subscribe","args":null}',
     '{"op":"subscribe","args":[null,1,{},[]]}', '{"method":[]}', '{"method":"subscribe"}',
     '{"method":"subscribe","params":[]}', '{"method":"subscribe","params":{"channel":1}}',
     '{"method":"subscribe","params":{"channel":"book","symbol":"BTC/USDT","depth":"x"}}',
     '{"method":"SUBSCRIBE","params":{"a":1},"id":1e999}'],
)  # fmt: skip
def test_garbage_is_answered_or_ended_never_fatal(venue, garbage):
    crowd = Crowd(venue, clients=1)
    crowd.say(1, garbage)
    crowd.run(5 * SECOND)
    if 1 in crowd.live:
        crowd.say(1, json.dumps(crowd.ask))


@every_venue
def test_random_garbage(venue):
    rng = Random(9)
    crowd = Crowd(venue, clients=1)
    crowd.sim.market = None
    for _ in range(500):
        text = list(json.dumps(crowd.ask))
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = chr(rng.randrange(32, 127))
        crowd.now_ns += SECOND
        if not crowd.live:
            crowd.come()
        for conn in list(crowd.live):
            crowd.say(conn, "".join(text))
    assert crowd.log


@every_venue
def test_nothing_is_said_to_who_left(venue):
    crowd = Crowd(venue, clients=2)
    crowd.run(2 * SECOND)
    crowd.face.closed(1, crowd.now_ns)
    crowd.face.closed(1, crowd.now_ns)
    del crowd.live[1]
    crowd.log.clear()
    crowd.run(2 * MINUTE, clients=1)
    assert {output.conn for _, output in crowd.log} == {2}
    assert tuple(crowd.face.topics(1)) == ()
    assert list(crowd.face.received(1, json.dumps(crowd.ask), crowd.now_ns)) == []
    assert list(crowd.face.ponged(1, b"", crowd.now_ns)) == []


@every_venue
@pytest.mark.parametrize("trouble", list(Trouble))
def test_every_trouble_is_borne(venue, trouble):
    crowd = Crowd(venue)
    crowd.run(2 * SECOND)
    crowd.keep(crowd.face.trouble(trouble, crowd.now_ns) or ())
    crowd.run(3 * MINUTE)
    crowd.keep(crowd.face.trouble(Trouble.RESUME, crowd.now_ns) or ())
    before = crowd.exchange.update_id("BTC/USDT")
    crowd.run(40 * SECOND)
    assert crowd.exchange.update_id("BTC/USDT") > before, "the market goes on"
    frames = [output for at, output in crowd.log if at > crowd.now_ns - 5 * SECOND]
    assert any(isinstance(out, Send) and out.kind is FrameKind.DELTA for out in frames)


@every_venue
def test_every_fault_is_borne_and_ends(venue):
    crowd = Crowd(venue, "storm:6,digits:0.001,until:6m", clients=6, pace=Pace(updates_per_s=8))
    faults = crowd.face
    assert isinstance(faults, Faults)
    crowd.run(6 * MINUTE, clients=6)
    struck = {word for word, count in faults.counts.items() if count}
    assert struck >= {"drop", "repeat", "reorder", "corrupt", "gap", "refuse", "rest",
                      "cut", "stall", "halfopen", "slow", "cutall"}  # fmt: skip
    if venue in ("bybit", "okx"):
        assert struck >= {"restart", "lostreset"}, "these restart their sequences in band"
    after = dict(faults.counts)
    crowd.run(2 * MINUTE, clients=6)
    assert dict(faults.counts) == after
    crowd.exchange.check()
    late = [output for at, output in crowd.log if at > crowd.now_ns - 10 * SECOND]
    heard = {out.conn for out in late if isinstance(out, Send) and out.kind is FrameKind.DELTA}
    assert heard == set(crowd.live), "everyone hears the book again"
    for out in late:
        if isinstance(out, Send) and out.data != "pong":
            json.loads(out.data)


@every_venue
def test_same_seed_same_storm(venue):
    def trace(seed):
        crowd = Crowd(venue, "storm:6", seed=seed)
        crowd.run(MINUTE)
        return crowd.log

    assert trace(4) == trace(4)
    assert trace(4) != trace(5)
