"""Kraken's books: a follower that knows the documented rules, and nothing else, keeps up.

There is no sequence: each frame must bring the follower, cut to its depth, to the checksum.
"""

import gzip
import json
import os
import re
import zlib
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.contract import MS, SECOND, Options, Request, Send, Trouble
from hean_router.sim.exchange import Exchange, Side
from hean_router.sim.faces.kraken import KrakenFace, listings
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_772_445_600 * SECOND
RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))
SIDES = ("bids", "asks")


class Broken(AssertionError):
    pass


def crc(bids, asks):
    """From the sheet's words: ten asks, then ten bids, without points and leading zeros."""
    text = "".join(
        number.replace(".", "").lstrip("0") for level in asks[:10] + bids[:10] for number in level
    )
    return zlib.crc32(text.encode())


def loads(text):
    """JSON with numbers as they stand: their trailing zeros matter."""
    return json.loads(text, parse_float=str, parse_int=str)


class Follower:
    """Keeps books as the documentation says, from texts alone."""

    def __init__(self):
        self.books = {}
        self.depths = {}
        self.seen = Counter()

    def hear(self, text):
        frame = loads(text)
        if frame.get("method") == "subscribe" and frame.get("success"):
            result = frame["result"]
            if result["channel"] == "book":
                self.depths[result["symbol"]] = int(result["depth"])
        if frame.get("channel") != "book":
            return
        (data,) = frame["data"]
        symbol = data["symbol"]
        depth = self.depths[symbol]
        if frame["type"] == "snapshot":
            self.books[symbol] = ({}, {})
        else:
            assert not (data["bids"] and data["asks"]), "recorded: one side a frame"
            assert data["bids"] or data["asks"]
        for levels, name in zip(self.books[symbol], SIDES, strict=True):
            pxs = [entry["price"] for entry in data[name]]
            self.seen["twice"] += len(pxs) != len(set(pxs))
            for entry in data[name]:
                if Decimal(entry["qty"]) == 0:
                    levels.pop(entry["price"], None)
                else:
                    levels[entry["price"]] = entry["qty"]
        bids, asks = self.sides(symbol)
        self.seen["cut"] += len(bids) > depth or len(asks) > depth
        self.books[symbol] = (dict(bids[:depth]), dict(asks[:depth]))
        self.seen[frame["type"]] += 1
        if crc(*self.sides(symbol)) != int(data["checksum"]):
            raise Broken(symbol)
        if bids and asks:
            assert Decimal(bids[0][0]) < Decimal(asks[0][0]), "no frame leaves a crossed book"

    def sides(self, symbol):
        bids, asks = self.books[symbol]
        return (
            sorted(bids.items(), key=lambda level: -Decimal(level[0])),
            sorted(asks.items(), key=lambda level: Decimal(level[0])),
        )


class Venue:
    """A simulator, clients with followers, and time."""

    def __init__(self, seed=1, symbols=("BTC/USDT",), pace=None, options=None):
        self.sim, self.exchange = simulate(
            "kraken", seed, ORIGIN_NS, symbols=symbols, pace=pace, options=options
        )
        self.face = self.sim.face
        self.now_ns = ORIGIN_NS
        self.followers = {}
        self.outputs = []

    def open(self, depth=None, *symbols):
        conn = len(self.followers) + 1
        self.followers[conn] = Follower()
        request = Request("GET", "/v2")
        assert self.face.accept(request, self.now_ns) is None
        self.hear(self.face.opened(conn, request, self.now_ns))
        if symbols:
            self.say(conn, "subscribe", symbols, depth)
        return conn

    def say(self, conn, method, symbols, depth=None):
        params = {"channel": "book", "symbol": list(symbols)}
        params |= {} if depth is None else {"depth": depth}
        text = json.dumps({"method": method, "params": params})
        self.hear(self.face.received(conn, text, self.now_ns))

    def hear(self, outputs):
        for output in outputs:
            self.outputs.append(output)
            if isinstance(output, Send):
                self.followers[output.conn].hear(output.data)

    def run(self, ns):
        self.now_ns += ns
        self.hear(self.sim.due(self.now_ns))

    def pause(self):
        """Stand still until what waits is told."""
        market, self.sim.market = self.sim.market, None
        self.run(25 * MS)
        return market

    def check(self, conn, *symbols):
        for symbol in symbols:
            listing, follower = self.exchange.listings[symbol], self.followers[conn]
            truth = tuple(
                [(listing.px_text(x.px), listing.qty_text(x.qty)) for x in side]
                for side in self.exchange.book(symbol, follower.depths[symbol])
            )
            assert follower.sides(symbol) == truth, "to the last digit"


@pytest.mark.parametrize(
    ("depth", "levels"),
    [
        (None, 40),  # ten is the default
        (10, 10),  # about as deep as the window
        (10, 4),  # thin: the window is never full
        (25, 40),
        (100, 110),
        (500, 60),
        (1000, 60),
    ],
)
def test_every_depth_rebuilds_the_book(depth, levels):
    venue = Venue(pace=Pace(updates_per_s=120, levels=levels), seed=levels)
    conn = venue.open(depth, "BTC/USDT")
    for _ in range(12):
        venue.run(777 * MS)
        market = venue.pause()
        venue.check(conn, "BTC/USDT")
        venue.sim.market = market
        market.skip_to(venue.now_ns)
    assert venue.followers[conn].seen["snapshot"] == 1
    assert venue.followers[conn].seen["update"] > 200


def test_frames_as_the_recordings_have_them():
    """One side, mostly one event; now and then a price twice; the cut is needed."""
    venue = Venue(pace=Pace(updates_per_s=200, levels=40))
    conn = venue.open(10, "BTC/USDT")
    venue.run(30 * SECOND)
    seen = venue.followers[conn].seen
    assert seen["update"] > 2_000
    assert seen["twice"] >= 5
    assert seen["cut"] >= 100, "levels pushed out are not mentioned"
    entries = Counter()
    for output in venue.outputs:
        if '"type":"update"' in output.data and '"book"' in output.data:
            (data,) = json.loads(output.data)["data"]
            entries[len(data["bids"]) + len(data["asks"])] += 1
    assert entries[1] > sum(entries.values()) / 2, "250 of 340 recorded"
    assert entries[2] > entries[3] > 0


def test_without_the_cut_the_checksum_breaks():
    """What a client that forgets rule 2 would notice."""
    venue = Venue(pace=Pace(updates_per_s=200, levels=40))
    conn = venue.open(10, "BTC/USDT")
    broken = Follower()
    broken.depths = {"BTC/USDT": 1_000}
    venue.run(10 * SECOND)
    books = [output.data for output in venue.outputs if output.topic]
    with pytest.raises(Broken):
        list(map(broken.hear, books))
    assert conn


def test_a_lost_frame_breaks_the_checksum():
    venue = Venue(pace=Pace(updates_per_s=100))
    conn = venue.open(10, "BTC/USDT")
    venue.run(SECOND)
    venue.now_ns += 200 * MS
    lost = [o for o in venue.sim.due(venue.now_ns) if '"update"' in o.data]
    assert lost
    with pytest.raises(Broken):
        venue.run(2 * SECOND)
    assert conn


def test_two_depths_side_by_side_and_latecomers():
    venue = Venue(symbols=("BTC/USDT", "ETH/USDT"), pace=Pace(updates_per_s=150, levels=30))
    conns = [venue.open(depth, "BTC/USDT", "ETH/USDT") for depth in (10, 25)]
    for depth in (10, 10, 25, 100):
        venue.run(531 * MS)
        conns.append(venue.open(depth, "BTC/USDT", "ETH/USDT"))
    venue.run(SECOND)
    venue.pause()
    for conn in conns:
        venue.check(conn, "BTC/USDT", "ETH/USDT")


def test_a_latecomer_does_not_hear_what_its_snapshot_has():
    """What waits to be told is told to the others before the snapshot is made."""
    waiting = 0
    venue = Venue(pace=Pace(updates_per_s=100, levels=30), options=Options(limits=None))
    # All events wait for the next, 20 ms.
    venue.face._feed._rng.randrange = lambda *bounds: 0 if bounds == (8,) else bounds[-1] - 1
    venue.open(10, "BTC/USDT")
    for _ in range(30):
        venue.run(17 * MS)
        waiting += bool(venue.face._feed.timers.wake_at_ns)
        told = len(venue.outputs)
        late = venue.open(10, "BTC/USDT")
        (snapshot,) = [o.data for o in venue.outputs[told:] if '"snapshot","data"' in o.data]
        stamp = json.loads(snapshot)["data"][0]["timestamp"]
        venue.run(30 * MS)
        for output in venue.outputs[told:]:
            if output.conn == late and '"type":"update"' in output.data and output.topic:
                assert json.loads(output.data)["data"][0]["timestamp"] > stamp
    assert waiting > 5


def test_resubscribing_gives_a_new_snapshot():
    venue = Venue(pace=Pace(updates_per_s=100))
    conn = venue.open(10, "BTC/USDT")
    venue.run(SECOND)
    venue.say(conn, "unsubscribe", ["BTC/USDT"])
    before = dict(venue.followers[conn].seen)
    venue.run(SECOND)
    assert venue.followers[conn].seen == before, "unsubscribed is silent"
    venue.say(conn, "subscribe", ["BTC/USDT"], 25)
    venue.run(SECOND)
    venue.pause()
    venue.check(conn, "BTC/USDT")
    assert venue.followers[conn].seen["snapshot"] == 2


def test_without_a_snapshot_only_updates_come():
    venue = Venue(pace=Pace(updates_per_s=100))
    conn = venue.open()
    params = {"channel": "book", "symbol": ["BTC/USDT"], "snapshot": False}
    said = venue.face.received(
        conn, json.dumps({"method": "subscribe", "params": params}), venue.now_ns
    )
    (ack,) = said
    assert json.loads(ack.data)["result"]["snapshot"] is False
    venue.now_ns += SECOND
    told = [json.loads(o.data) for o in venue.sim.due(venue.now_ns)]
    assert {frame["type"] for frame in told if frame["channel"] == "book"} == {"update"}


def test_books_stand_still_in_maintenance_and_go_on_after():
    venue = Venue(pace=Pace(updates_per_s=100))
    conn = venue.open(10, "BTC/USDT")
    venue.run(SECOND)
    venue.hear(venue.face.trouble(Trouble.MAINTENANCE, venue.now_ns))
    venue.run(25 * MS)
    updates = venue.followers[conn].seen["update"]
    venue.run(10 * SECOND)
    assert venue.followers[conn].seen["update"] == updates
    venue.check(conn, "BTC/USDT")
    venue.hear(venue.face.trouble(Trouble.RESUME, venue.now_ns))
    venue.run(2 * SECOND)
    venue.pause()
    venue.check(conn, "BTC/USDT")
    assert venue.followers[conn].seen["update"] > updates


# Checksums: what we hold the face to is what Kraken computes


def test_published_known_answer():
    """Kraken's own worked example of the two levels a side in the sheet."""
    asks = [("0.05005", "0.00000500"), ("0.05010", "0.00000500")]
    bids = [("0.05000", "0.00000500"), ("0.04995", "12.00000000")]
    assert crc(bids, asks) == 2_415_266_605


@pytest.mark.parametrize(
    ("name", "depth", "frames"),
    [
        ("kraken/v2_book_btcusd_d10_20230730.ndjson.gz", 10, 341),
        ("kraken/v2_book_minagbp_d25_20260816.ndjson", 25, 30),
    ],
)
def test_the_follower_follows_kraken_itself(name, depth, frames):
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}; set HEAN_RECORDINGS")
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    follower = Follower()
    follower.depths = {"BTC/USD": depth, "MINA/GBP": depth}
    for line in text.splitlines():
        frame = re.sub(r'^\{"rx_ns": \d+, "frame": (.*)\}$', r"\1", line)
        if frame.startswith('{"channel":"book"'):
            follower.hear(frame)
    assert follower.seen["snapshot"] + follower.seen["update"] == frames


# Any market at all


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell", "cancel", "reduce", "wait", "join"]),
        st.integers(0, 40),
        st.integers(1, 40),
        st.integers(0, 3),
    ),
    max_size=120,
)


class Merging(Random):
    """A die that lets many events share a frame."""

    def randrange(self, *bounds):
        value = super().randrange(*bounds)
        return 0 if bounds == (8,) and value < 6 else value


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_any_orders_at_all(actions):
    """Depth 10 of a book of up to 40 levels, most events merged: levels are pushed out, cancelled
    unseen, and uncovered again."""
    exchange = Exchange("kraken", listings(["BTC/USDT"]))
    face = KrakenFace(exchange, Merging(3), Options(limits=None))
    followers, now_ns = {}, ORIGIN_NS

    def hear(outputs):
        for output in outputs:
            if isinstance(output, Send):
                followers[output.conn].hear(output.data)

    def join():
        conn = len(followers) + 1
        followers[conn] = Follower()
        hear(face.opened(conn, Request("GET", "/v2"), now_ns))
        params = {"channel": "book", "symbol": ["BTC/USDT"], "depth": 10}
        hear(face.received(conn, json.dumps({"method": "subscribe", "params": params}), now_ns))

    join()
    orders = []
    for action, px, qty, after_ms in actions:
        now_ns += after_ms * MS
        hear(face.due(now_ns))
        step = None
        if action in ("buy", "sell"):
            side = Side.BUY if action == "buy" else Side.SELL
            step = exchange.place("BTC/USDT", side, 10_000 * qty, 600_000 + px, now_ns=now_ns)
            orders.append(step.order.id)
        elif action == "cancel" and orders:
            step = exchange.cancel(orders[px % len(orders)], now_ns=now_ns)
        elif action == "reduce" and orders:
            order = exchange.order(orders[px % len(orders)])
            if order is not None:
                step = exchange.reduce(order.id, 1 + qty % (order.leaves - 1), now_ns=now_ns)
        elif action == "wait":
            now_ns += 20 * MS
            hear(face.due(now_ns))
        elif action == "join" and len(followers) < 4:
            join()
        if step is not None:
            hear(face.market(step, now_ns))
    hear(face.due(now_ns + 20 * MS))
    listing = exchange.listings["BTC/USDT"]
    truth = tuple(
        [(listing.px_text(level.px), listing.qty_text(level.qty)) for level in side]
        for side in exchange.book("BTC/USDT", 10)
    )
    for follower in followers.values():
        assert follower.sides("BTC/USDT") == truth


def test_a_level_cancelled_while_pushed_out_is_deleted_explicitly():
    """The one case in which silence about a level that left would leave it in a client's book."""
    exchange = Exchange("kraken", listings(["BTC/USDT"]))
    face = KrakenFace(exchange, Merging(1), Options())
    face._feed._rng.randrange = lambda *_: 0  # all events wait for the next
    ids = [
        exchange.place("BTC/USDT", Side.BUY, 10_000, 600_000 - n, now_ns=ORIGIN_NS).order.id
        for n in range(12)
    ]
    follower = Follower()
    for output in face.opened(1, Request("GET", "/v2"), ORIGIN_NS):
        follower.hear(output.data)
    ask = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USDT"]}}
    for output in face.received(1, json.dumps(ask), ORIGIN_NS):
        follower.hear(output.data)
    steps = [
        lambda: exchange.place("BTC/USDT", Side.BUY, 10_000, 600_001, now_ns=ORIGIN_NS),
        lambda: exchange.cancel(ids[9], now_ns=ORIGIN_NS),  # the one just pushed out
        lambda: exchange.cancel(ids[0], now_ns=ORIGIN_NS),  # lets the next one in
    ]
    for step in steps:
        assert not list(face.market(step(), ORIGIN_NS))
    (frame,) = face.due(ORIGIN_NS + 20 * MS)
    follower.hear(frame.data)
    assert [(e["price"], e["qty"] == 0) for e in json.loads(frame.data)["data"][0]["bids"]] == [
        (60_000.1, False), (60_000.0, True), (59_999.0, False), (59_999.1, True),
    ]  # fmt: skip
