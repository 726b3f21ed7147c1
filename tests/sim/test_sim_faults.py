"""Faults: the words, each strike on frames that can be followed, and that they all end."""

import json
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.sim.contract import (
    HOUR,
    MINUTE,
    MS,
    SECOND,
    Close,
    FrameKind,
    Pause,
    Request,
    Reset,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.fault_spec import BY_NAME, ORDERS, SHARES, TIMES, FaultSpecError, parse, words
from hean_router.sim.faults import Faults, broken, misread
from hean_router.sim.simulator import Simulator, simulate

ORIGIN = 1_700_000_000 * SECOND


class Counting:
    """A face whose topics count: every 10 ms one book change and one trade on each connection."""

    venue = "counting"

    def __init__(self):
        self.conns = {}
        self.number = 0
        self.next_ns = ORIGIN
        self.troubles = []
        self.next_reset = False

    wake_at_ns = property(lambda self: self.next_ns)

    def hosts(self, http, ws):
        return {"rest": http}

    def accept(self, request, now_ns):
        return None

    def opened(self, conn, request, now_ns):
        self.conns[conn] = ["book", "trade"]
        return [Send(conn, '{"hello":1}')]

    def received(self, conn, data, now_ns):
        verb, topic = data.split(" ")
        if verb == "subscribe" and topic not in self.conns[conn]:
            self.conns[conn].append(topic)
        if verb == "unsubscribe":
            self.conns[conn].remove(topic)
        return [Send(conn, f'{{"ok":"{data}"}}')]

    def pinged(self, conn, data, now_ns):
        return []

    def ponged(self, conn, data, now_ns):
        return []

    def closed(self, conn, now_ns):
        self.conns.pop(conn, None)

    def overflowed(self, conn, now_ns):
        return [Close(conn, 1008)]

    def request(self, request, now_ns):
        return Response(200, b'{"answer":42,"more":[1,2,3]}')

    def market(self, step, now_ns):
        return []

    def due(self, now_ns):
        self.next_ns = now_ns + 10 * MS
        self.number += 1
        reset, self.next_reset = self.next_reset, False
        kinds = {"book": FrameKind.DELTA, "trade": FrameKind.DATA}
        return [
            Send(
                conn,
                json.dumps({"n": self.number, "p": f"{self.number}.5"}),
                topic,
                kinds[topic],
                reset and topic == "book",
            )
            for conn, topics in self.conns.items()
            for topic in topics
        ]

    def trouble(self, trouble, now_ns):
        self.troubles.append(trouble)
        if trouble is Trouble.INSIDE:
            return None
        if trouble is Trouble.RESTART:
            self.next_reset = True
        return [Send(conn, '{"trouble":1}') for conn in self.conns]

    def topics(self, conn):
        return tuple(self.conns.get(conn, ()))


class Stage:
    """The faults between a counting face and clients that write down what they get, and when."""

    def __init__(self, spec, conns=1, seed=1):
        self.face = Counting()
        self.faults = Faults(self.face, parse(spec), seed, ORIGIN)
        self.sim = Simulator(self.faults)
        self.now_ns = ORIGIN
        self.got = {}
        for conn in range(1, conns + 1):
            self.got[conn] = []
            self.keep(self.faults.opened(conn, Request("GET", "/"), ORIGIN))

    def keep(self, outputs):
        for output in outputs:
            self.got.setdefault(output.conn, []).append((self.now_ns, output))

    def run(self, ns):
        end_ns = self.now_ns + ns
        while (wake_ns := self.sim.wake_at_ns) is not None and wake_ns <= end_ns:
            self.now_ns = wake_ns
            self.keep(self.sim.due(wake_ns))
        self.now_ns = end_ns

    def frames(self, conn=1, topic="book"):
        return [
            (at, output)
            for at, output in self.got[conn]
            if isinstance(output, Send) and output.topic == topic
        ]

    def numbers(self, conn=1, topic="book"):
        return [json.loads(send.data)["n"] for _, send in self.frames(conn, topic)]

    def ends(self, conn):
        return [out for _, out in self.got[conn] if isinstance(out, Close | Reset | Pause)]


# The words


@pytest.mark.parametrize(
    ("text", "shares", "every", "until", "seed"),
    [
        ("drop:0.01", {"drop": 10_000}, {}, None, None),
        (" drop : 1 , cut : 30s ", {"drop": 1_000_000}, {"cut": 30 * SECOND}, None, None),
        (
            "cut:250ms,stall:5m,slow:2h",
            {},
            {"cut": 250 * MS, "stall": 5 * MINUTE, "slow": 2 * HOUR},
            None,
            None,
        ),
        ("cut:1.5s,until:2h,seed:7", {}, {"cut": 1_500 * MS}, 2 * HOUR, 7),
        ("drop:0.1,drop:0", {}, {}, None, None),  # 0 takes it back
        ("drop:0.000001", {"drop": 1}, {}, None, None),
    ],
)
def test_spec(text, shares, every, until, seed):
    spec = parse(text)
    assert (spec.shares, spec.every_ns, spec.until_ns, spec.seed) == (shares, every, until, seed)


def test_storm_is_everything_but_what_is_asked_for_by_name():
    spec = parse("storm")
    assert set(spec.shares) == {*SHARES, *ORDERS} - BY_NAME
    assert set(spec.every_ns) == set(TIMES) - BY_NAME
    assert {*SHARES, *ORDERS, *TIMES} >= BY_NAME
    double = parse("storm:2,cut:0,digits:0.1")
    assert double.shares["drop"] == 2 * spec.shares["drop"]
    assert double.every_ns["stall"] == spec.every_ns["stall"] // 2
    assert "cut" not in double.every_ns
    assert double.shares["digits"] == 100_000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no fault ''"),
        ("dorp:0.1", "did you mean 'drop'"),
        ("drop", "drop:0.01"),
        ("cut", "cut:30s"),
        ("drop:2", "share"),
        ("drop:-1", "share"),
        ("drop:x", "not a number"),
        ("drop:nan", "not a number"),
        ("drop:0.0000001", "share"),
        ("cut:30", "duration"),
        ("cut:s", "duration"),
        ("cut:0s", "above 0"),
        ("cut:-1s", "above 0"),
        ("cut:1d", "duration"),
        ("storm:0", "above 0"),
        ("storm:x", "not a number"),
        ("seed:x", "whole number"),
        ("until:", "like 250ms"),
    ],
)
def test_a_bad_spec_says_what_is_allowed(text, complaint):
    with pytest.raises(FaultSpecError, match=complaint) as error:
        parse(text)
    if "no fault" in str(error.value):
        assert all(word in str(error.value) for word in (*SHARES, *ORDERS, *TIMES))


def test_every_word_is_explained():
    assert all(word in words() for word in (*SHARES, *ORDERS, *TIMES))


# Each strike


def test_no_faults_changes_nothing():
    stage = Stage("seed:1")
    stage.run(SECOND)
    assert stage.numbers() == list(range(1, 102))
    assert stage.got[1][0][1].data == '{"hello":1}'


def missing(numbers):
    return sorted(set(range(1, max(numbers) + 1)) - set(numbers))


def test_drop():
    stage = Stage("drop:0.1")
    stage.run(20 * SECOND)
    sent = set(range(1, stage.face.number + 1))
    lost = [n for topic in ("book", "trade") for n in sent - set(stage.numbers(topic=topic))]
    assert len(lost) == stage.faults.counts["drop"]
    assert 300 < len(lost) < 500


def test_repeat():
    stage = Stage("repeat:0.1")
    stage.run(20 * SECOND)
    numbers = stage.numbers()
    twice = [n for n, count in Counter(numbers).items() if count == 2]
    assert len(twice) > 100
    assert numbers == sorted(numbers), "the repeat follows at once"


def test_reorder():
    stage = Stage("reorder:0.1")
    stage.run(20 * SECOND)
    numbers = stage.numbers()
    assert missing(numbers) == []
    late = [b for a, b in pairwise(numbers) if b < a]
    assert len(late) > 100
    assert all(a - b <= 2 for a, b in pairwise(numbers))


def test_a_frame_held_for_reordering_is_not_kept_for_ever():
    stage = Stage("reorder:1")
    stage.run(10 * MS)
    stage.face.conns[1].clear()
    stage.run(2 * SECOND)
    assert stage.numbers() == [2, 1]


def test_gap():
    stage = Stage("gap:0.01")
    stage.run(20 * SECOND)
    lost = missing(stage.numbers())
    runs = sum(1 for n in lost if n - 1 not in lost)
    assert runs > 5
    assert len(lost) > 2 * runs, "several in a row"


def test_corrupt():
    stage = Stage("corrupt:0.1")
    stage.run(20 * SECOND)
    bad = 0
    for _, send in stage.frames() + stage.frames(topic="trade"):
        try:
            json.loads(send.data)
        except ValueError:
            bad += 1
    assert bad == stage.faults.counts["corrupt"] > 100


def test_digits():
    stage = Stage("digits:0.1")
    stage.run(20 * SECOND)
    wrong = 0
    for _, send in stage.frames() + stage.frames(topic="trade"):
        data = json.loads(send.data)
        wrong += data["p"] != f"{data['n']}.5"
    assert wrong == stage.faults.counts["digits"] > 100


def test_hush():
    stage = Stage("hush:1")
    stage.keep(stage.faults.received(1, "subscribe book", ORIGIN))
    stage.run(SECOND)
    assert stage.numbers() == list(range(1, 102))
    assert all(send.topic for _, send in stage.got[1])
    assert stage.faults.counts["hush"] == 2


def test_refuse():
    stage = Stage("refuse:0.5")
    answers = [stage.faults.accept(Request("GET", "/"), ORIGIN) for _ in range(100)]
    refused = [answer.status for answer in answers if answer]
    assert 30 < len(refused) == stage.faults.counts["refuse"] < 70
    assert set(refused) == {429, 503, 403}


def test_rest():
    stage = Stage("rest:0.5")
    answers = [stage.faults.request(Request("GET", "/"), ORIGIN) for _ in range(400)]
    good = [
        answer for answer in answers if answer == Response(200, b'{"answer":42,"more":[1,2,3]}')
    ]
    assert len(answers) - len(good) == stage.faults.counts["rest"]
    assert {answer.status for answer in answers} == {0, 200, 429, 502, 503}
    assert b"" in {answer.body for answer in answers}
    assert any(answer.delay_ns for answer in answers)
    assert any(answer.status == 200 and b"<html>" in answer.body for answer in answers)


@pytest.mark.parametrize(
    ("word", "least", "most"), [("late", 50 * MS, 2 * SECOND), ("hang", HOUR, HOUR)]
)
def test_late_answers(word, least, most):
    stage = Stage(f"{word}:1")
    for _ in range(20):
        answer = stage.faults.request(Request("GET", "/"), ORIGIN)
        assert least <= answer.delay_ns <= most
        assert answer.body == b'{"answer":42,"more":[1,2,3]}'


def test_inside_counts_only_where_the_venue_does_it():
    stage = Stage("inside:1")
    stage.faults.request(Request("GET", "/"), ORIGIN)
    assert stage.face.troubles == [Trouble.INSIDE]
    assert stage.faults.counts["inside"] == 0


def test_cut():
    stage = Stage("cut:1s", conns=20)
    stage.run(10 * SECOND)
    ends = [stage.ends(conn) for conn in stage.got]
    cut = [end for end in ends if end]
    assert len(cut) == stage.faults.counts["cut"] == 20 - len(stage.face.conns)
    assert 5 <= len(cut) <= 20
    assert all(len(end) == 1 for end in cut)
    assert {type(end[0]) for end in cut} == {Reset, Close}
    for conn in stage.got:
        assert isinstance(stage.got[conn][-1][1], Send) or stage.ends(conn) == [
            stage.got[conn][-1][1]
        ], "after the end nothing"


def test_cutall():
    stage = Stage("cutall:1s", conns=5)
    stage.run(1_500 * MS)
    assert all(stage.ends(conn) == [Reset(conn)] for conn in stage.got)
    assert stage.face.conns == {}


def test_stall_silences_one_book_until_it_is_subscribed_anew():
    stage = Stage("stall:1s", conns=2)
    while not stage.faults.counts["stall"]:
        stage.run(10 * MS)
    stage.faults._every_ns.clear()
    stage.run(500 * MS)
    (conn,) = (conn for conn in (1, 2) if len(stage.numbers(conn)) < stage.face.number)
    assert len(stage.numbers(conn, "trade")) == stage.face.number, "the socket lives"
    stage.keep(stage.faults.received(conn, "subscribe book", stage.now_ns))
    before = len(stage.numbers(conn))
    stage.run(SECOND)
    assert len(stage.numbers(conn)) == before, "asking twice does not wake it"
    stage.keep(stage.faults.received(conn, "unsubscribe book", stage.now_ns))
    stage.keep(stage.faults.received(conn, "subscribe book", stage.now_ns))
    stage.run(SECOND)
    assert len(stage.numbers(conn)) == before + 100


def test_halfopen_says_nothing_more_and_is_reset_in_the_end():
    stage = Stage("halfopen:1s", conns=1)
    stage.run(1_500 * MS)
    assert stage.ends(1) == [Pause(1)]
    count = len(stage.got[1])
    stage.faults._every_ns.clear()
    stage.run(14 * MINUTE)
    assert len(stage.got[1]) == count
    stage.run(2 * MINUTE)
    assert stage.ends(1) == [Pause(1), Reset(1)]


def test_slow_is_late_and_in_order_and_complete():
    stage = Stage("slow:10s", conns=1)
    stage.run(14 * SECOND)
    assert stage.faults.counts["slow"] == 1
    stage.faults._every_ns.clear()
    stage.run(30 * SECOND)
    numbers = stage.numbers()
    assert numbers == list(range(1, len(numbers) + 1))
    late = [
        at - (ORIGIN + (n - 1) * 10 * MS)
        for (at, _), n in zip(stage.frames(), numbers, strict=True)
    ]
    assert max(late) >= 100 * MS
    assert late[0] == late[-1] == 0, "before and after it is on time"


def test_restart_and_its_lost_reset():
    stage = Stage("restart:1s", conns=1)
    stage.run(1_500 * MS)
    assert Trouble.RESTART in stage.face.troubles
    assert (
        [send.reset for _, send in stage.frames()].count(True)
        == stage.faults.counts["restart"]
        == 1
    )
    stage = Stage("lostreset:1s", conns=2)
    stage.run(1_500 * MS)
    assert not any(send.reset for conn in (1, 2) for _, send in stage.frames(conn))
    assert stage.faults.counts["lostreset"] == 2, "each client loses its own"
    assert all(len(missing(stage.numbers(conn))) == 1 for conn in (1, 2))


@pytest.mark.parametrize("word", ["snapshot", "shutdown", "maintenance"])
def test_venue_troubles(word):
    stage = Stage(f"{word}:2m", conns=1)
    stage.run(3 * MINUTE)
    stage.faults._every_ns.clear()
    stage.run(3 * MINUTE)
    strikes = stage.faults.counts[word]
    assert strikes >= 1
    assert stage.face.troubles.count(Trouble(word)) == strikes
    assert stage.face.troubles.count(Trouble.RESUME) == (strikes if word == "maintenance" else 0)


def test_hit_strikes_when_told():
    stage = Stage("seed:1", conns=3)
    stage.keep(stage.faults.hit("cutall", stage.now_ns))
    assert all(stage.ends(conn) == [Reset(conn)] for conn in stage.got)
    with pytest.raises(KeyError):
        stage.faults.hit("drop", stage.now_ns)


# Together


def test_all_ends_at_the_time_given():
    spec = "storm:20,hush:0,until:60s,maintenance:20s,halfopen:30s,stall:10s,slow:10s,reorder:0.2"
    stage = Stage(spec, conns=30)
    stage.run(59_990 * MS)
    counts = dict(stage.faults.counts)
    assert all(counts[word] for word in ("drop", "cut", "stall", "halfopen", "slow", "reorder"))
    stage.run(SECOND)
    after = dict(stage.faults.counts)
    stage.run(10 * MINUTE)
    assert dict(stage.faults.counts) == after, "nothing strikes any more"
    assert stage.face.troubles.count(Trouble.RESUME) == stage.face.troubles.count(
        Trouble.MAINTENANCE
    )
    for conn in stage.got:
        if conn not in stage.face.conns:
            assert isinstance(stage.ends(conn)[-1], Reset | Close), "no half-open one is left"
            continue
        for topic in ("book", "trade"):
            tail = [
                (at, json.loads(send.data)["n"])
                for at, send in stage.frames(conn, topic)
                if at > ORIGIN + 61 * SECOND
            ]
            assert [n for _, n in tail] == list(range(tail[0][1], tail[0][1] + len(tail)))
            assert all(at == ORIGIN + (n - 1) * 10 * MS for at, n in tail)


@pytest.mark.parametrize("cut_ns", [SECOND, 7 * MS])
def test_same_seed_same_faults_however_time_is_cut(cut_ns):
    def trace(cut_ns, seed=1):
        stage = Stage("storm:10", conns=10, seed=seed)
        got = []
        while stage.now_ns < ORIGIN + 20 * SECOND:
            stage.now_ns += cut_ns
            got += stage.sim.due(min(stage.now_ns, ORIGIN + 20 * SECOND))
        return got

    assert trace(cut_ns) == trace(20 * SECOND)
    assert trace(20 * SECOND, seed=2) != trace(20 * SECOND)


def test_one_fault_more_does_not_move_another():
    alone, both = Stage("drop:0.1"), Stage("drop:0.1,cut:5s,rest:0.5,corrupt:0.0")
    for stage in (alone, both):
        stage.run(2 * SECOND)
    assert alone.numbers() == both.numbers()


@given(st.integers(0, 10**6), st.dictionaries(st.text(), st.integers() | st.lists(st.text())))
def test_broken_is_never_json(seed, value):
    for data in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode()):
        with pytest.raises(json.JSONDecodeError):
            json.loads(broken(data, Random(seed)))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 99), st.integers())
def test_misread_changes_one_number_and_nothing_else(seed, whole, part, id_):
    data = json.dumps({"id": id_, "p": f"{whole}.{part:02}", "t": "2026-01-01T00:00:00.123456Z"})
    changed = json.loads(misread(data, Random(seed)))
    assert changed["id"] == id_
    assert changed["t"] == "2026-01-01T00:00:00.123456Z"
    assert Decimal(changed["p"]) != Decimal(f"{whole}.{part:02}")
    assert misread('{"u":5}', Random(seed)) == '{"u":5}'


# On a venue


def test_a_client_by_the_book_recovers_from_a_storm_on_binance():
    """Section 1.4's rules, a silence limit and reconnects are enough: so the faults are fair."""
    spec = parse("storm:8,slow:0,until:10m")
    sim, exchange = simulate("binance", 3, ORIGIN, symbols=["BTC/USDT"], faults=spec)
    faults = sim.face
    assert isinstance(faults, Faults)
    client = ByTheBook(faults)
    while client.now_ns < ORIGIN + 12 * MINUTE:
        client.now_ns = sim.wake_at_ns
        client.take(sim.due(client.now_ns))
        client.tick()
    sim.market = None
    client.now_ns += SECOND
    client.take(sim.due(client.now_ns))
    assert client.resyncs > 20
    listing = exchange.listings["BTC/USDT"]
    truth = [
        {listing.px(level.px): listing.qty(level.qty) for level in side}
        for side in exchange.book("BTC/USDT")
    ]
    assert client.book == truth
    struck = {word for word, count in faults.counts.items() if count}
    assert struck >= {
        "drop",
        "repeat",
        "reorder",
        "corrupt",
        "gap",
        "cut",
        "stall",
        "halfopen",
        "shutdown",
        "maintenance",
        "rest",
        "refuse",
        "late",
        "inside",
    }
    assert faults.counts["restart"] == faults.counts["snapshot"] == 0, "Binance has none"


class ByTheBook:
    """The documented client, no cleverer: any doubt throws the book away."""

    def __init__(self, face):
        self.face, self.now_ns = face, ORIGIN
        self.conns, self.resyncs = 0, 0
        self.connect()

    def connect(self):
        self.conns += 1
        self.book, self.last, self.backlog = None, None, []
        self.heard_ns = self.asked_ns = self.now_ns
        self.answer = None
        request = Request("GET", "/ws/btcusdt@depth@100ms", peer=str(self.conns))
        if self.face.accept(request, self.now_ns) is None:
            self.take(self.face.opened(self.conns, request, self.now_ns))

    def again(self):
        self.resyncs += 1
        self.face.closed(self.conns, self.now_ns)
        self.connect()

    def take(self, outputs):
        for output in outputs:
            if output.conn != self.conns:
                continue
            if isinstance(output, Close | Reset):
                self.again()
            elif isinstance(output, Send):
                self.frame(output.data)
            elif not isinstance(output, Pause):
                self.take(self.face.ponged(output.conn, output.data, self.now_ns))

    def frame(self, data):
        self.heard_ns = self.now_ns
        try:
            event = json.loads(data)
        except ValueError:
            self.again()
            return
        if event.get("e") != "depthUpdate":
            return
        if self.book is None:
            self.backlog.append(event)
        else:
            self.apply(event)

    def apply(self, event):
        if event["u"] <= self.last:
            return
        if event["U"] > self.last + 1:
            self.again()
            return
        for side, name in zip(self.book, "ba", strict=True):
            for px, qty in event[name]:
                side[Decimal(px)] = Decimal(qty)
                if not Decimal(qty):
                    del side[Decimal(px)]
        self.last = event["u"]

    def tick(self):
        if self.now_ns - self.heard_ns > 10 * SECOND and not halted(self.face):
            self.again()
        elif self.answer is not None and self.now_ns >= self.answer[0]:
            response, self.answer = self.answer[1], None
            self.load(response)
        elif self.book is None and self.answer is None and self.now_ns > self.asked_ns + SECOND:
            self.asked_ns = self.now_ns
            request = Request(
                "GET", "/api/v3/depth", "symbol=BTCUSDT&limit=5000", peer=str(self.now_ns)
            )
            response = self.face.request(request, self.now_ns)
            self.answer = (self.now_ns + min(response.delay_ns, 5 * SECOND), response)

    def load(self, response):
        try:
            snapshot = json.loads(response.body)
            last = snapshot["lastUpdateId"]
        except (ValueError, KeyError, TypeError):
            return
        if not self.backlog or last < self.backlog[0]["U"] - 1:
            return
        self.book = [
            {Decimal(px): Decimal(qty) for px, qty in snapshot[side]} for side in ("bids", "asks")
        ]
        self.last = last
        backlog, self.backlog = self.backlog, []
        conn = self.conns
        for event in backlog:
            if self.conns == conn:
                self.apply(event)


def halted(faults):
    return faults.inner.exchange.status("BTC/USDT") != "trading"
