"""Bybit's book streams: a follower that knows the documented rules, and nothing else, keeps up."""

import json
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.contract import MS, SECOND, FrameKind, Request, Send, Trouble
from hean_router.sim.exchange import Side
from hean_router.sim.fault_spec import parse
from hean_router.sim.faults import Faults
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_786_310_800 * SECOND
DEPTHS = (1, 50, 200, 1_000)
BUSY = Pace(updates_per_s=100, levels=70)


class Gap(AssertionError):
    pass


class Follower:
    """Keeps the books of one socket as the venue's documentation says, from texts alone."""

    def __init__(self):
        self.books = {}
        self.u = {}
        self.seq = {}
        self.kinds = Counter()

    def hear(self, text):
        frame = json.loads(text)
        topic = frame.get("topic", "")
        if not topic.startswith("orderbook."):
            return
        data, depth = frame["data"], int(topic.split(".")[1])
        u = data["u"]
        bids, asks = ([Decimal(px) for px, _ in data[side]] for side in "ba")
        assert bids == sorted(bids, reverse=True), "best first, also in deltas (recorded)"
        assert asks == sorted(asks)
        self.kinds[topic, frame["type"]] += 1
        if frame["type"] == "snapshot" or u == 1:
            if depth == 1 and self.u.get(topic) == u:
                assert self.books[topic] == tuple(map(dict, (data["b"], data["a"]))), "a repeat"
            self.books[topic] = tuple(dict(levels) for levels in (data["b"], data["a"]))
        else:
            assert depth != 1, "level 1 sends snapshots only"
            if u != self.u[topic] + 1:
                raise Gap(topic, self.u[topic], u)
            assert data["b"] or data["a"], "an empty delta is no delta"
            for side, levels in zip(self.books[topic], (data["b"], data["a"]), strict=True):
                for px, qty in levels:
                    if qty == "0":
                        del side[px]
                    else:
                        assert side.get(px) != qty, "nothing changed"
                        side[px] = qty
        assert all(len(side) <= depth for side in self.books[topic]), "the window is exact"
        assert u == 1 or data["seq"] >= self.seq.get(topic, 0), "seq never falls"
        self.u[topic], self.seq[topic] = u, data["seq"]


class Venue:
    """A simulator, one client, and time."""

    def __init__(self, seed=1, part="spot", pace=BUSY, symbol=None, follower=None):
        symbol = symbol or ("BTC/USDT" if part == "spot" else "BTC/USDT:USDT")
        self.simulator, self.exchange = simulate(
            "bybit", seed, ORIGIN_NS, symbols=[symbol], pace=pace
        )
        self.face = self.simulator.face
        self.symbol, self.name, self.part = symbol, symbol.split("/")[0] + "USDT", part
        self.now_ns = ORIGIN_NS
        self.conns = 0
        self.heard = {}
        self.outputs = []

    def connect(self):
        self.conns += 1
        request = Request("GET", f"/v5/public/{self.part}")
        assert self.face.accept(request, self.now_ns) is None
        self.face.opened(self.conns, request, self.now_ns)
        self.heard[self.conns] = Follower()
        return self.conns

    def ask(self, conn, op, *topics):
        text = json.dumps({"op": op, "args": list(topics)})
        self.take(self.face.received(conn, text, self.now_ns))

    def take(self, outputs):
        self.outputs += outputs
        for output in outputs:
            if isinstance(output, Send):
                self.heard[output.conn].hear(output.data)

    def run(self, duration_ns, step_ns=7 * MS):
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            self.now_ns = min(end_ns, self.now_ns + step_ns)
            self.take(self.simulator.due(self.now_ns))

    def pause(self):
        """Nothing happens at the engine any more; the streams say what they have."""
        self.now_ns += SECOND
        self.take(self.face.due(self.now_ns))

    def truth(self, depth):
        """The engine's book, in numbers."""
        listing = self.exchange.listings[self.symbol]
        return tuple(
            {listing.px(level.px): listing.qty(level.qty) for level in side}
            for side in self.exchange.book(self.symbol, depth)
        )

    def check(self, conn, *depths):
        follower = self.heard[conn]
        for depth in depths:
            book = follower.books[f"orderbook.{depth}.{self.name}"]
            numbers = tuple({Decimal(p): Decimal(q) for p, q in side.items()} for side in book)
            assert numbers == self.truth(depth)


def topics(venue, *depths):
    return [f"orderbook.{depth}.{venue.name}" for depth in depths]


@pytest.mark.parametrize("part", ["spot", "linear"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_naive_follower_has_the_engines_book(part, seed):
    venue = Venue(seed, part)
    conn = venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, *DEPTHS))
    venue.run(6 * SECOND)
    venue.pause()
    venue.check(conn, *DEPTHS)
    kinds = venue.heard[conn].kinds
    for depth in DEPTHS[1:]:
        topic = f"orderbook.{depth}.{venue.name}"
        assert kinds[topic, "snapshot"] == 1, "only the first is a snapshot"
        assert kinds[topic, "delta"] > 20


@pytest.mark.parametrize(("depth", "interval_ms"), [(1, 10), (50, 20), (200, 100), (1_000, 200)])
def test_pushed_at_most_once_in_its_interval(depth, interval_ms):
    venue = Venue(pace=Pace(updates_per_s=400, levels=70))
    conn = venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, depth))
    venue.run(2 * SECOND)
    times = [
        json.loads(output.data)["ts"]
        for output in venue.outputs
        if isinstance(output, Send) and output.topic
    ][1:]
    assert len(times) > (20 if depth == 1 else 2_000 // interval_ms // 2)
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) >= interval_ms
    assert {gap % interval_ms for gap in gaps} == {0}, "on a beat of its own"


@pytest.mark.parametrize("part", ["spot", "linear"])
def test_newcomers_join_the_same_sequence(part):
    venue = Venue(3, part)
    first = venue.connect()
    venue.ask(first, "subscribe", *topics(venue, 50, 200))
    venue.run(5 * SECOND)
    mark = len(venue.outputs)
    second = venue.connect()
    venue.ask(second, "subscribe", *topics(venue, 50, 200))
    burst = [output for output in venue.outputs[mark:] if output.topic == topics(venue, 50)[0]]
    # Recorded: an older snapshot, then everything since at once.
    assert [output.kind for output in burst[:2]] == [FrameKind.SNAPSHOT, FrameKind.DELTA]
    assert venue.now_ns // MS - json.loads(burst[0].data)["ts"] < 3_000
    assert venue.heard[second].books == venue.heard[first].books
    assert venue.heard[second].u == venue.heard[first].u
    venue.run(3 * SECOND)
    venue.pause()
    assert venue.heard[second].books == venue.heard[first].books
    venue.check(second, 50, 200)


def test_an_unchanged_level_1_repeats_its_u_every_3_seconds():
    venue = Venue()
    conn = venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, 1, 50))
    venue.run(SECOND)
    venue.pause()
    mark, u = len(venue.outputs), dict(venue.heard[conn].u)
    for _ in range(9):  # the engine rests, the face does not
        venue.now_ns += SECOND
        venue.take(venue.face.due(venue.now_ns))
    repeats = [json.loads(output.data) for output in venue.outputs[mark:]]
    assert len(repeats) == 3
    assert {frame["topic"] for frame in repeats} == {f"orderbook.1.{venue.name}"}
    assert {frame["data"]["u"] for frame in repeats} == {u[f"orderbook.1.{venue.name}"]}
    assert len({frame["cts"] for frame in repeats}) == 1
    assert repeats[1]["ts"] - repeats[0]["ts"] == 3_000
    venue.run(2 * SECOND)
    venue.pause()
    venue.check(conn, 1, 50)


@pytest.mark.parametrize("part", ["spot", "linear"])
def test_a_restart_begins_again_with_u_1_whatever_its_type(part):
    types = set()
    for seed in range(6):
        venue = Venue(seed, part)
        conn = venue.connect()
        venue.ask(conn, "subscribe", *topics(venue, *DEPTHS))
        venue.run(SECOND)
        outputs = venue.face.trouble(Trouble.RESTART, venue.now_ns)
        assert all(output.reset and output.kind is FrameKind.SNAPSHOT for output in outputs)
        frames = [json.loads(output.data) for output in outputs]
        assert [frame["topic"] for frame in frames] == topics(venue, *DEPTHS)
        assert {frame["data"]["u"] for frame in frames} == {1}
        assert frames[0]["type"] == "snapshot", "level 1 knows nothing else"
        types |= {frame["type"] for frame in frames}
        venue.take(outputs)
        venue.run(SECOND)
        venue.pause()
        venue.check(conn, *DEPTHS)
    assert types == {"snapshot", "delta"}


def test_a_lost_reset_is_a_gap():
    venue = Venue()
    conn = venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, 50))
    venue.run(SECOND)
    assert [output.reset for output in venue.face.trouble(Trouble.RESTART, venue.now_ns)] == [True]
    with pytest.raises(Gap):
        venue.run(SECOND)


def test_a_snapshot_in_mid_stream_takes_the_next_u():
    venue = Venue()
    conn, other = venue.connect(), venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, 50))
    venue.ask(other, "subscribe", *topics(venue, 50))
    venue.run(SECOND)
    u = venue.heard[conn].u[f"orderbook.50.{venue.name}"]
    outputs = venue.face.trouble(Trouble.SNAPSHOT, venue.now_ns)
    assert [output.conn for output in outputs] == [conn, other], "one sequence for all"
    assert [output.reset for output in outputs] == [False, False]
    frame = json.loads(outputs[0].data)
    assert (frame["type"], frame["data"]["u"]) == ("snapshot", u + 1)
    venue.take(outputs)
    venue.run(SECOND)
    venue.pause()
    venue.check(conn, 50)
    venue.check(other, 50)


def test_a_lost_frame_is_a_gap():
    venue = Venue()
    conn = venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, 50))
    venue.run(SECOND)
    venue.now_ns += SECOND
    lost = venue.simulator.due(venue.now_ns)
    assert lost
    with pytest.raises(Gap):
        venue.run(SECOND)


def test_u_runs_on_while_nobody_listens():
    venue = Venue()
    conn = venue.connect()
    topic = f"orderbook.50.{venue.name}"
    venue.ask(conn, "subscribe", topic)
    venue.run(SECOND)
    u = venue.heard[conn].u[topic]
    venue.ask(conn, "unsubscribe", topic)
    heard = len(venue.outputs)
    venue.run(SECOND)
    assert len(venue.outputs) == heard, "silence after unsubscribe"
    venue.ask(conn, "subscribe", topic)
    assert u < venue.heard[conn].u[topic] <= u + 2 + SECOND // (20 * MS)
    venue.run(SECOND)
    venue.pause()
    venue.check(conn, 50)


def test_rest_tells_the_1000_level_stream():
    venue = Venue()
    request = Request("GET", "/v5/market/orderbook", f"category=spot&symbol={venue.name}&limit=40")
    conn = venue.connect()
    venue.ask(conn, "subscribe", *topics(venue, 50, 1_000))
    venue.run(2 * SECOND + 30 * MS)
    follower, topic = venue.heard[conn], f"orderbook.1000.{venue.name}"
    result = json.loads(venue.face.request(request, venue.now_ns).body)["result"]
    assert result["u"] == follower.u[topic] != follower.u[f"orderbook.50.{venue.name}"]
    assert result["seq"] == follower.seq[topic]
    bids, asks = follower.books[topic]
    best = sorted(bids, key=Decimal, reverse=True)[:40], sorted(asks, key=Decimal)[:40]
    assert result["b"] == [[px, bids[px]] for px in best[0]], "of the same moment as `u`"
    assert result["a"] == [[px, asks[px]] for px in best[1]]


def test_rest_tells_the_book_as_it_stands_when_nobody_listens():
    venue = Venue()
    request = Request(
        "GET", "/v5/market/orderbook", f"category=spot&symbol={venue.name}&limit=1000"
    )
    venue.run(SECOND)
    results = []
    for pause_ns in (0, 0, SECOND):
        venue.run(pause_ns)
        result = json.loads(venue.face.request(request, venue.now_ns).body)["result"]
        numbers = ({Decimal(p): Decimal(q) for p, q in result[side]} for side in "ba")
        assert tuple(numbers) == venue.truth(1_000)
        results.append(result["u"])
    assert results[0] == results[1] < results[2]


@pytest.mark.parametrize("part", ["spot", "linear"])
@pytest.mark.parametrize("seed", range(6))
def test_the_windows_edge(part, seed):
    """About 50 levels a side, many changes between two beats, sleep in between."""
    rng = Random(seed)
    venue = Venue(seed, part, pace=Pace(levels=1))
    venue.simulator.market = None
    mid, topic = venue.exchange.best(venue.symbol, Side.BUY).px, f"orderbook.50.{venue.name}"
    conn, listens, ids, sizes = venue.connect(), False, [], set()
    for turn in range(600):
        for _ in range(rng.randrange(16) if turn else 600):
            venue.now_ns += 1
            if rng.random() < len(ids) / 416:  # so that about 50 of the 61 prices are taken
                order_id = ids.pop(rng.randrange(len(ids)))
                step = venue.exchange.cancel(order_id, now_ns=venue.now_ns)
            else:
                side = rng.choice(list(Side))
                away = rng.randint(1_000, 1_060)
                px = mid - away if side is Side.BUY else mid + away
                qty = rng.randint(1, 9) * 1_000
                step = venue.exchange.place(
                    venue.symbol, side, qty, px, now_ns=venue.now_ns, post_only=True
                )
                ids.append(step.order.id)
            venue.take(venue.face.market(step, venue.now_ns))
        if rng.random() < 0.05:
            venue.ask(conn, "unsubscribe" if listens else "subscribe", topic)
            listens = not listens
        if listens and rng.random() < 0.03:
            venue.take(venue.face.trouble(Trouble.SNAPSHOT, venue.now_ns))
        if rng.random() < 0.7:
            venue.now_ns += 20 * MS
            venue.take(venue.face.due(venue.now_ns))
            if listens:
                venue.check(conn, 50)
                sizes |= {len(side) for side in venue.exchange.book(venue.symbol)}
    assert min(sizes) < 50 < max(sizes)


@pytest.mark.parametrize("part", ["spot", "linear"])
def test_off_and_on_again_heals_whatever_the_line_did(part):
    """Frames lost, several in a row, resets lost: each is a gap, and a new subscription ends it."""
    venue = Venue(5, part)
    spec = parse("drop:0.02,gap:0.01,lostreset:4s,snapshot:3s,until:20s")
    faults = Faults(venue.face, spec, 5, ORIGIN_NS)
    venue.simulator.face = venue.face = faults
    conn, topic, healed = venue.connect(), f"orderbook.50.{venue.name}", 0
    venue.ask(conn, "subscribe", topic)
    end_ns = ORIGIN_NS + 25 * SECOND
    while venue.now_ns < end_ns:
        venue.now_ns += 7 * MS
        try:
            venue.take(venue.simulator.due(venue.now_ns))
        except (Gap, KeyError):  # a missing number, or no snapshot to build on
            healed += 1
            venue.heard[conn] = Follower()
            while topic not in venue.heard[conn].books:  # the new snapshot may be lost as well
                try:
                    venue.ask(conn, "unsubscribe", topic)
                    venue.ask(conn, "subscribe", topic)
                except (Gap, KeyError):
                    venue.heard[conn] = Follower()
    venue.pause()
    venue.check(conn, 50)
    assert healed > 5
    assert all(faults.counts[word] for word in ("drop", "gap", "lostreset", "snapshot"))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 3_000)),
        st.tuples(st.just("trouble"), st.sampled_from([Trouble.RESTART, Trouble.SNAPSHOT])),
        st.tuples(st.just("subscribe"), st.sampled_from(DEPTHS)),
        st.tuples(st.just("unsubscribe"), st.sampled_from(DEPTHS)),
        st.tuples(st.just("connect"), st.none()),
        st.tuples(st.just("leave"), st.none()),
    ),
    max_size=15,
)


@settings(max_examples=25, deadline=None)
@given(steps, st.integers(0, 1_000), st.sampled_from(["spot", "linear"]))
def test_whatever_happens_every_follower_ends_with_the_engines_book(steps, seed, part):
    venue = Venue(seed, part, pace=Pace(updates_per_s=50, levels=60))
    listening = {venue.connect(): set()}
    for what, how in steps:
        conn = max(listening, default=None)
        if what == "run":
            venue.run(how * MS, 50 * MS)
        elif what == "trouble":
            venue.take(venue.face.trouble(how, venue.now_ns))
        elif what == "connect":
            listening[venue.connect()] = set()
        elif conn is None:
            continue
        elif what == "leave":
            venue.face.closed(conn, venue.now_ns)
            del listening[conn]
        elif what == "subscribe" and how not in listening[conn]:
            venue.ask(conn, "subscribe", *topics(venue, how))
            listening[conn].add(how)
        elif what == "unsubscribe" and how in listening[conn]:
            venue.ask(conn, "unsubscribe", *topics(venue, how))
            listening[conn].discard(how)
    venue.run(300 * MS)
    venue.pause()
    for conn, depths in listening.items():
        assert set(venue.face.topics(conn)) == set(topics(venue, *depths))
        venue.check(conn, *depths)
    venue.exchange.check()
