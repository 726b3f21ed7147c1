"""OKX's book channels: a follower that knows the documented chain, and nothing else, keeps up."""

import gzip
import json
import os
import zlib
from collections import Counter
from decimal import Decimal
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.contract import MS, SECOND, FrameKind, Options, Request, Send, Trouble
from hean_router.sim.exchange import Exchange, Side
from hean_router.sim.faces.okx import OkxFace, listings
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_772_445_600 * SECOND
RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))
DEPTHS = {"books": 400, "books5": 5, "bbo-tbt": 1, "books-l2-tbt": 400, "books50-l2-tbt": 50}
DELTAS = {"books", "books-l2-tbt", "books50-l2-tbt"}


class Gap(AssertionError):
    pass


def crc(bids, asks):
    """The old checksum, from the sheet's words: best 25, bid and ask in turn, texts as received."""
    parts = []
    for index in range(25):
        parts += [":".join(side[index]) for side in (bids, asks) if index < len(side)]
    unsigned = zlib.crc32(":".join(parts).encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


class Follower:
    """Keeps books as the documentation says, from texts alone."""

    def __init__(self, *, checksums=False):
        self.books = {}
        self.seq = {}
        self.kinds = Counter()
        self.checksums = checksums

    def hear(self, text):
        frame = json.loads(text)
        if frame.get("arg", {}).get("channel") not in DEPTHS or "data" not in frame:
            return
        channel = frame["arg"]["channel"]
        topic = f"{channel}:{frame['arg']['instId']}"
        (data,) = frame["data"]
        if channel not in DELTAS:
            assert "action" not in frame
            assert "prevSeqId" not in data
            self.kinds[channel, "full"] += 1
            self.books[topic] = [{px: qty for px, qty, _, _ in data[s]} for s in ("bids", "asks")]
        elif frame["action"] == "snapshot":
            assert data["prevSeqId"] == -1
            self.kinds[channel, "snapshot"] += 1
            self.books[topic] = [{px: qty for px, qty, _, _ in data[s]} for s in ("bids", "asks")]
        else:
            self._update(channel, topic, data)
        self.seq[topic] = data["seqId"]
        assert data["seqId"] >= 0
        for levels in self.books[topic]:
            assert len(levels) <= DEPTHS[channel]
        if channel in DELTAS:
            expected = crc(*self.sides(topic)) if self.checksums else 0
            assert data["checksum"] == expected

    def _update(self, channel, topic, data):
        prev, seq = data["prevSeqId"], data["seqId"]
        if prev != self.seq[topic]:
            raise Gap(topic, self.seq[topic], prev)
        for levels, name in zip(self.books[topic], ("bids", "asks"), strict=True):
            for px, qty, zero, orders in data[name]:
                assert zero == "0"
                assert (qty == "0") == (orders == "0")
                if qty == "0":
                    del levels[px]  # only what is there is deleted
                else:
                    levels[px] = qty
        empty = not data["bids"] and not data["asks"]
        kind = "reset" if seq < prev else "empty" if seq == prev else "update"
        assert empty == (kind == "empty") or kind == "reset"
        self.kinds[channel, kind] += 1

    def sides(self, topic):
        bids, asks = self.books[topic]
        return (
            sorted(bids.items(), key=lambda level: -Decimal(level[0])),
            sorted(asks.items(), key=lambda level: Decimal(level[0])),
        )


class Venue:
    """A simulator, clients with followers, and time."""

    def __init__(self, seed=1, symbols=("BTC/USDT",), pace=None, options=None, checksums=False):
        self.sim, self.exchange = simulate(
            "okx", seed, ORIGIN_NS, symbols=symbols, pace=pace, options=options
        )
        self.face = self.sim.face
        self.now_ns = ORIGIN_NS
        self.followers = {}
        self.outputs = []
        self.checksums = checksums

    def open(self, *args, vip=None):
        conn = len(self.followers) + 1
        self.followers[conn] = Follower(checksums=self.checksums)
        request = Request("GET", "/ws/v5/public", peer=str(conn))
        assert self.face.accept(request, self.now_ns) is None
        self.face.opened(conn, request, self.now_ns)
        self.face._clients[conn].vip = vip  # as after a login
        if args:
            self.say(conn, "subscribe", *args)
        return conn

    def say(self, conn, op, *topics):
        args = [dict(zip(("channel", "instId"), topic.split(":"), strict=True)) for topic in topics]
        text = json.dumps({"op": op, "args": args})
        self.hear(self.face.received(conn, text, self.now_ns))

    def hear(self, outputs):
        for output in outputs:
            self.outputs.append(output)
            if isinstance(output, Send) and output.data != "pong":
                self.followers[output.conn].hear(output.data)

    def run(self, ns):
        self.now_ns += ns
        self.hear(self.sim.due(self.now_ns))

    def pause(self):
        """Stand still until the last batch is out, and go on later as if nothing was."""
        market, self.sim.market = self.sim.market, None
        self.run(101 * MS)
        return market

    def check(self, conn, *topics):
        for topic in topics:
            channel, inst_id = topic.split(":")
            symbol = inst_id.replace("-SWAP", ":USDT").replace("-", "/")
            listing = self.exchange.listings[symbol]
            told = [
                [(Decimal(px), Decimal(qty)) for px, qty in side]
                for side in self.followers[conn].sides(topic)
            ]
            truth = [
                [(listing.px(level.px), listing.qty(level.qty)) for level in side]
                for side in self.exchange.book(symbol, DEPTHS[channel])
            ]
            assert told == truth, topic


def test_every_channel_rebuilds_the_book():
    venue = Venue(symbols=("BTC/USDT", "BTC/USDT:USDT"), pace=Pace(updates_per_s=80, levels=40))
    topics = [
        f"{channel}:{inst_id}"
        for channel in ("books", "books5", "bbo-tbt")
        for inst_id in ("BTC-USDT", "BTC-USDT-SWAP")
    ]
    conn = venue.open(*topics)
    for turn in range(20):
        venue.run((137 + 61 * turn) * MS)
        market = venue.pause()
        venue.check(conn, *topics)
        venue.sim.market = market
        market.skip_to(venue.now_ns)
    kinds = venue.followers[conn].kinds
    assert kinds["books", "snapshot"] == 2, "only after subscribing"
    assert kinds["books", "update"] > 100
    assert kinds["books5", "full"] > 50
    assert kinds["bbo-tbt", "full"] > 50


@pytest.mark.parametrize(
    ("channel", "levels"),
    [
        ("books", 700),  # more than the window: levels enter and leave at its lower end
        ("books50-l2-tbt", 90),
        ("books50-l2-tbt", 48),  # about as deep as the window: both ways of comparing meet
        ("books-l2-tbt", 30),
    ],
)
def test_windows(channel, levels):
    venue = Venue(pace=Pace(updates_per_s=150, levels=levels), seed=levels)
    topic = f"{channel}:BTC-USDT"
    conn = venue.open(topic, vip=5)
    for _ in range(8):
        venue.run(730 * MS)
        market = venue.pause()
        venue.check(conn, topic)
        venue.sim.market = market
        market.skip_to(venue.now_ns)


def test_all_connections_share_one_sequence():
    venue = Venue(pace=Pace(updates_per_s=100))
    first = venue.open("books:BTC-USDT")
    venue.run(1_234 * MS)
    second = venue.open("books:BTC-USDT")
    # Its snapshot is the state of the last push, not of now: what waits is told to both.
    assert venue.followers[second].seq == venue.followers[first].seq
    assert venue.followers[second].books == venue.followers[first].books
    venue.run(2_001 * MS)
    assert venue.followers[second].seq == venue.followers[first].seq
    assert venue.followers[second].books == venue.followers[first].books
    sends = [output for output in venue.outputs if output.kind is FrameKind.DELTA]
    assert len({output.data for output in sends if output.conn == second}) > 15
    assert {o.data for o in sends if o.conn == second} <= {o.data for o in sends if o.conn == first}


def test_resubscribing_gives_a_new_snapshot_and_repeating_does_not():
    venue = Venue(pace=Pace(updates_per_s=100))
    conn = venue.open("books:BTC-USDT")
    venue.run(500 * MS)
    venue.say(conn, "subscribe", "books:BTC-USDT")
    assert venue.followers[conn].kinds["books", "snapshot"] == 1
    venue.say(conn, "unsubscribe", "books:BTC-USDT")
    before = dict(venue.followers[conn].kinds)
    venue.run(SECOND)
    assert venue.followers[conn].kinds == before, "unsubscribed is silent"
    venue.say(conn, "subscribe", "books:BTC-USDT")
    assert venue.followers[conn].kinds["books", "snapshot"] == 2
    venue.run(SECOND)
    venue.pause()
    venue.check(conn, "books:BTC-USDT")


# Restarts


def test_restart_goes_below_the_chain_and_on_from_there():
    venue = Venue(symbols=("BTC/USDT", "ETH/USDT"), pace=Pace(updates_per_s=100))
    topics = ("books:BTC-USDT", "bbo-tbt:BTC-USDT", "books50-l2-tbt:ETH-USDT")
    conn = venue.open(*topics, vip=5)
    for turn in range(5):
        venue.run((310 + 77 * turn) * MS)
        resets = venue.face.trouble(Trouble.RESTART, venue.now_ns)
        assert [output.reset for output in resets] == [True, True], "one a chain"
        for output in resets:
            (data,) = json.loads(output.data)["data"]
            assert data["seqId"] < data["prevSeqId"]
        venue.hear(resets)
    venue.run(500 * MS)
    venue.pause()
    venue.check(conn, *topics)
    assert venue.followers[conn].kinds["books", "reset"] == 5
    assert venue.followers[conn].seq["books:BTC-USDT"] < 1_500


def test_a_lost_reset_is_a_gap_at_the_next_update():
    venue = Venue(pace=Pace(updates_per_s=100))
    venue.open("books:BTC-USDT")
    venue.run(300 * MS)
    assert venue.face.trouble(Trouble.RESTART, venue.now_ns)  # and nobody hears it
    with pytest.raises(Gap):
        venue.run(300 * MS)


def test_a_sequence_at_zero_cannot_restart():
    exchange = Exchange("okx", listings(["BTC/USDT"]))
    face = OkxFace(exchange, Random(1), Options())
    face.opened(1, Request("GET", "/ws/v5/public"), ORIGIN_NS)
    subscribe = {"op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]}
    outputs = face.received(1, json.dumps(subscribe), ORIGIN_NS)
    assert '"prevSeqId":-1,"seqId":0}' in outputs[1].data
    assert list(face.trouble(Trouble.RESTART, ORIGIN_NS)) == []


def test_resume_restarts_after_maintenance():
    venue = Venue(pace=Pace(updates_per_s=100))
    conn = venue.open("books:BTC-USDT")
    venue.run(300 * MS)
    venue.hear(venue.face.trouble(Trouble.MAINTENANCE, venue.now_ns))
    venue.run(200 * MS)
    told = len(venue.outputs)
    venue.run(10 * SECOND)
    assert len(venue.outputs) == told, "halted: no changes"
    venue.hear(venue.face.trouble(Trouble.RESUME, venue.now_ns))
    venue.run(2 * SECOND)
    venue.pause()
    venue.check(conn, "books:BTC-USDT")
    assert venue.followers[conn].kinds["books", "reset"] == 1


# Signs of life


def test_quiet_books_show_a_sign_of_life_each_minute():
    venue = Venue()
    conn = venue.open("books:BTC-USDT", "books5:BTC-USDT")
    venue.run(SECOND)
    venue.pause()
    kinds = Counter(venue.followers[conn].kinds)
    full = [o.data for o in venue.outputs if "books5" in o.topic][-1]
    for _ in range(9):  # someone must ping, or the socket is cut after 30 s
        venue.hear(venue.face.received(conn, "ping", venue.now_ns))
        venue.run(20 * SECOND)
    more = Counter(venue.followers[conn].kinds) - kinds
    assert more == {("books", "empty"): 3, ("books5", "full"): 3}
    assert [o.data for o in venue.outputs if "books5" in o.topic][-1] == full, "as it was"
    venue.check(conn, "books:BTC-USDT", "books5:BTC-USDT")


def test_pushes_due_together_come_in_the_documented_order():
    venue = Venue(pace=Pace(updates_per_s=200))
    ranks = ("bbo-tbt", "books50-l2-tbt", "books5")
    conn = venue.open(*(f"{channel}:BTC-USDT" for channel in reversed(ranks)), vip=5)
    seen = Counter()
    for _ in range(100):
        before = len(venue.outputs)
        venue.run(10 * MS)
        stamps = {}
        for output in venue.outputs[before:]:
            (data,) = json.loads(output.data)["data"]
            stamps.setdefault(data["ts"], []).append(output.topic.split(":")[0])
        for channels in stamps.values():
            assert channels == sorted(channels, key=ranks.index)
            seen[len(channels)] += 1
    assert seen[3] >= 5, "all three fell together now and then"
    assert conn


# Checksums


def test_real_checksums_are_an_option():
    venue = Venue(pace=Pace(updates_per_s=100), options=Options(checksums=True), checksums=True)
    conn = venue.open("books:BTC-USDT")
    venue.run(3 * SECOND)
    assert venue.followers[conn].kinds["books", "update"] > 20


def test_checksum_of_a_thin_side():
    exchange = Exchange("okx", listings(["BTC/USDT"]))
    exchange.place("BTC/USDT", Side.SELL, 5_000_000, 600_001, now_ns=ORIGIN_NS)
    face = OkxFace(exchange, Random(1), Options(checksums=True))
    face.opened(1, Request("GET", "/ws/v5/public"), ORIGIN_NS)
    subscribe = {"op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]}
    snapshot = face.received(1, json.dumps(subscribe), ORIGIN_NS)[1].data
    follower = Follower(checksums=True)
    follower.hear(snapshot)
    assert follower.books["books:BTC-USDT"] == [{}, {"60000.1": "0.05"}]


def test_our_checksum_is_the_recorded_one():
    path = RECORDINGS / "okx/v5_public_20220513.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no recordings at {RECORDINGS}; set HEAN_RECORDINGS")
    books, checked = {}, 0
    with gzip.open(path, "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            frame = json.loads(entry["data"]) if entry["t"] == "recv" else {}
            if frame.get("arg", {}).get("channel") != "books" or "data" not in frame:
                continue
            (data,) = frame["data"]
            if frame["action"] == "snapshot":
                books[frame["arg"]["instId"]] = ({}, {})
            book = books[frame["arg"]["instId"]]
            for side, name in zip(book, ("bids", "asks"), strict=True):
                for px, qty, _, _ in data[name]:
                    if qty == "0":
                        side.pop(px, None)
                    else:
                        side[px] = qty
            bids = sorted(book[0].items(), key=lambda level: -Decimal(level[0]))
            asks = sorted(book[1].items(), key=lambda level: Decimal(level[0]))
            assert crc(bids, asks) == data["checksum"]
            checked += 1
    assert checked == 290


# Any market at all


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell", "cancel", "wait", "restart", "join"]),
        st.integers(0, 30),
        st.integers(1, 400),
    ),
    max_size=80,
)


@settings(max_examples=60, deadline=None)
@given(ACTIONS)
def test_any_orders_at_all(actions):
    """Depths of 1, 5, 50 and 400 against the exchange, whatever happens and whenever."""
    exchange = Exchange("okx", listings(["BTC/USDT"]), first_update_id=77)
    face = OkxFace(exchange, Random(3), Options(limits=None))
    followers, now_ns = {}, ORIGIN_NS
    channels = ("bbo-tbt", "books5", "books", "books50-l2-tbt")

    def hear(outputs):
        for output in outputs:
            if isinstance(output, Send):
                followers[output.conn].hear(output.data)

    def join():
        conn = len(followers) + 1
        followers[conn] = Follower()
        face.opened(conn, Request("GET", "/ws/v5/public"), now_ns)
        face._clients[conn].vip = 5
        args = [{"channel": channel, "instId": "BTC-USDT"} for channel in channels]
        hear(face.received(conn, json.dumps({"op": "subscribe", "args": args}), now_ns))

    join()
    orders = []
    for action, px, qty in actions:
        now_ns += 3 * MS
        hear(face.due(now_ns))
        step = None
        if action in ("buy", "sell"):
            side = Side.BUY if action == "buy" else Side.SELL
            step = exchange.place("BTC/USDT", side, 1_000 * qty, 600_000 + px, now_ns=now_ns)
            orders.append(step.order.id)
        elif action == "cancel" and orders:
            step = exchange.cancel(orders[px % len(orders)], now_ns=now_ns)
        elif action == "wait":
            now_ns += qty * MS
            hear(face.due(now_ns))
        elif action == "restart":
            hear(face.trouble(Trouble.RESTART, now_ns))
        elif action == "join" and len(followers) < 4:
            join()
        if step is not None:
            hear(face.market(step, now_ns))
    hear(face.due(now_ns + 100 * MS))
    listing = exchange.listings["BTC/USDT"]
    for follower in followers.values():
        for channel in channels:
            truth = [
                [(listing.px(level.px), listing.qty(level.qty)) for level in side]
                for side in exchange.book("BTC/USDT", DEPTHS[channel])
            ]
            told = [
                [(Decimal(px), Decimal(qty)) for px, qty in side]
                for side in follower.sides(f"{channel}:BTC-USDT")
            ]
            assert told == truth
