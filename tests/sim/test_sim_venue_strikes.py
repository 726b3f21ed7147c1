"""What venues do wrong to orders, each fault at each venue, read by our own codecs.

After each the venue's books are exact: accounts add up, and the history, read by who knows nothing
of the simulator, contradicts itself nowhere.
"""

import json
from decimal import Decimal

import pytest

from hean_router.domain.instrument import Side
from hean_router.domain.order import (
    Accepted,
    Fill,
    Limited,
    OrderReport,
    OrderState,
    Rejected,
    RejectKind,
    Reply,
    Unknown,
)
from hean_router.domain.order import Tif as OurTif
from hean_router.sim.accounts import Why
from hean_router.sim.contract import SECOND, Close, Request, Reset, Send
from hean_router.sim.fault_spec import ONLY, FaultSpec
from hean_router.sim.garbling import WAYS as GARBLINGS
from hean_router.sim.lies import WAYS as LIES
from tests.checker.venue_logs import _Reader
from tests.connectors.test_orders_on_simulators import MS, VENUES, Desk


class Town(Desk):
    """A venue with faults, a history, and our private sockets open."""

    def __init__(self, venue):
        self.rows, self.ended, self.heard = [], [], []
        super().__init__(venue, faults=FaultSpec(), history=self.rows.append)
        self.venue = venue
        opened = [(socket, *self.open(socket)) for socket in self.codec.sockets()]
        self.sockets = [(socket, conn) for socket, conn, _ in opened]
        self.tokens = {conn: token for _, conn, token in opened}
        self.everywhere()

    def pass_time(self, ms=1_100):
        for _ in range(ms // 20):
            self.now_ns += 20 * MS
            self.take(self.simulator.due(self.now_ns))

    def hear(self, socket, conn, ms=1_100):
        told = super().hear(socket, conn, ms)
        self.heard += told
        return told

    def take(self, outputs):
        self.pushed += [one for one in outputs if isinstance(one, Send)]
        self.ended += [one for one in outputs if isinstance(one, Close | Reset)]

    def strike(self, word, **how):
        outputs = self.simulator.strike(word, self.now_ns, **how)
        assert outputs is not None
        self.take(outputs)

    def everywhere(self, ms=1_100):
        self.pass_time(ms)
        told = []
        for socket, conn in self.sockets:
            told += self.hear(socket, conn, 0)
        return told

    def rest(self, key, **how):
        """An order that rests; its venue id."""
        assert isinstance(self.send(self.codec.place(self.order(key, **how))), Accepted)
        self.everywhere()
        return self.found(key).venue_order_id

    def found(self, key, venue_order_id=""):
        return self.ask(self.codec.order(self.btc, key, venue_order_id))

    def cancel(self, key, venue_order_id):
        return self.send(self.codec.cancel(self.btc, key, venue_order_id))

    @property
    def record(self):
        """The one order, by the venue's own word."""
        (order,) = self.face.inner.private.desk.accounts["main"].orders
        return order

    def struck(self, word):
        return self.simulator.struck()[word]

    def check(self):
        """The venue's books are exact; what its history says."""
        self.face.inner.private.desk.check()
        self.exchange.check()
        reader = _Reader(self.venue)
        for row in self.rows:
            reader.take(json.loads(json.dumps(row), parse_float=Decimal))
        assert reader.log.faults == []
        return reader.log


@pytest.fixture(params=VENUES)
def town(request):
    return Town(request.param)


ENDED = (OrderState.EXPIRED, OrderState.CANCELED)  # by nobody's wish, or by a switch we had set


def of(events, kind, key="hk1a"):
    return [event for event in events if isinstance(event, kind) and event.key in (key, "")]


def states(events):
    return [event.state for event in of(events, OrderReport)]


# A cancel and a fill


def test_a_cancel_loses_its_race_against_a_fill(town):
    venue_id = town.rest("hk1a")
    town.strike("race", way="whole")
    outcome = town.cancel("hk1a", venue_id)
    told = town.everywhere()
    if town.venue == "bybit":  # takes the cancel, then tells the fill once more
        assert isinstance(outcome, Accepted)
        assert states(told) == [OrderState.FILLED, OrderState.FILLED]
    else:
        assert isinstance(outcome, Rejected)
        assert outcome.kind is RejectKind.GONE
    assert len({fill.trade_id for fill in of(told, Fill)}) == 1
    assert town.found("hk1a", venue_id).state is OrderState.FILLED
    assert town.struck("race") == 1
    (order,) = town.check().orders.values()
    assert order.filled == order.qty


def test_a_cancel_meets_a_part_of_a_fill(town):
    venue_id = town.rest("hk1a")
    town.strike("race", way="part")
    assert isinstance(town.cancel("hk1a", venue_id), Accepted)
    told = town.everywhere()
    (fill,) = {fill.trade_id: fill for fill in of(told, Fill)}.values()
    ended = town.found("hk1a", venue_id)
    assert (ended.state, ended.cum_qty) == (OrderState.CANCELED, fill.qty)
    (order,) = town.check().orders.values()
    assert 0 < order.filled < order.qty


# Crumbs


def test_what_takes_is_filled_lot_by_lot_and_leaves_a_rest_below_the_minimum(town):
    town.strike("dust")
    order = town.order("hk1a", away="1.002", tif=OurTif.IOC)
    assert isinstance(town.send(town.codec.place(order)), Accepted)
    told = town.everywhere()
    fills = {fill.trade_id: fill for fill in of(told, Fill)}
    lot = town.btc.lot
    assert sum(fill.qty == lot for fill in fills.values()) >= 3
    record = town.record
    listing = town.exchange.listings["BTC/USDT"]
    assert record.leaves > 0
    assert record.leaves == 1 or (
        listing.notional(record.fills[-1].px, record.leaves) < listing.min_notional
    )
    assert town.found("hk1a").cum_qty == sum(fill.qty for fill in fills.values())
    town.check()


@pytest.mark.slow
def test_what_rests_crumbles(town):
    town.rest("hk1a")
    town.strike("crumble")
    told = town.everywhere()
    assert len({fill.trade_id for fill in of(told, Fill)}) >= 4
    record, listing = town.record, town.exchange.listings["BTC/USDT"]
    assert record.open
    assert record.leaves == 1 or listing.notional(record.px, record.leaves) < listing.min_notional
    town.check()


# Orders that end by themselves


def test_a_strike_waits_for_something_to_strike(town):
    town.strike("vanish", way="cancelled")
    town.pass_time()
    assert town.struck("vanish") == 0
    assert isinstance(town.send(town.codec.place(town.order("hk1a"))), Accepted)
    town.pass_time()
    assert town.struck("vanish") == 1
    assert not town.record.open


@pytest.mark.parametrize(
    ("way", "state"), [("cancelled", OrderState.EXPIRED), ("filled", OrderState.FILLED)]
)
def test_an_order_vanishes_and_only_questions_find_out(town, way, state):
    venue_id, since_ns = town.rest("hk1a"), town.now_ns
    town.strike("vanish", way=way)
    assert states(town.everywhere()) == []
    assert town.ask(town.codec.open_orders([town.btc])) == []
    assert town.found("hk1a", venue_id).state is state
    fills = town.ask(town.codec.fills(town.btc, since_ns))
    assert len(fills) == (way == "filled")
    town.check()


def test_a_dead_mans_switch_ends_what_the_account_has(town):
    keys = {"hk1a": town.rest("hk1a"), "hk1b": town.rest("hk1b", side=Side.SELL, away="1.003")}
    town.strike("deadman", way="main")
    told = town.everywhere()
    for key, venue_id in keys.items():
        ends = [e for e in told if isinstance(e, OrderReport) and e.venue_order_id == venue_id]
        assert [e.state for e in ends] in ([state] for state in ENDED), key
        assert town.found(key, venue_id).state in ENDED
    town.check()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["told", "silent"])
def test_maintenance_takes_orders_back_refuses_new_ones_and_ends(town, way):
    venue_id = town.rest("hk1a")
    town.strike("wipe", way=way)
    told = town.everywhere(100)
    assert (OrderState.EXPIRED in states(told)) == (way == "told")
    assert not isinstance(town.send(town.codec.place(town.order("hk1b"))), Accepted)
    town.pass_time(62_000)
    assert isinstance(town.send(town.codec.place(town.order("hk1c"))), Accepted)
    assert town.found("hk1a", venue_id).state is OrderState.EXPIRED
    assert town.struck("wipe") == town.struck("maintenance") == 1
    town.check()


# Refusals

KINDS = {  # a refusal of the desk -> what we may make of it
    Why.FUNDS: {RejectKind.FUNDS},
    Why.NOT_TRADING: set(RejectKind) - {RejectKind.FUNDS},
    Why.POST_ONLY: set(RejectKind) - {RejectKind.FUNDS},
}


@pytest.mark.slow
def test_refusals_by_class(town):
    for why in sorted(town.face.inner.private.desk.rules.whims):
        town.strike("reject", way=why)
        outcome = town.send(town.codec.place(town.order("hk1a")))
        if (
            town.venue == "kraken" and why is Why.NOT_TRADING
        ):  # `EService:Unavailable` says too little
            assert isinstance(outcome, Unknown), outcome
            continue
        assert isinstance(outcome, Rejected), (why, outcome)
        assert outcome.kind in KINDS.get(why, set(RejectKind) - {RejectKind.FUNDS}), (why, outcome)
    log = town.check()
    assert [one.why for one in log.refusals] == sorted(town.face.inner.private.desk.rules.whims)
    assert log.orders == {}


def test_one_placement_is_limited_and_cancels_are_not(town):
    venue_id = town.rest("hk1a")
    town.strike("throttle", way="placements")
    outcome = town.send(town.codec.place(town.order("hk1b")))
    assert isinstance(outcome, Limited), outcome
    assert isinstance(town.cancel("hk1a", venue_id), Accepted)
    town.pass_time(9_000)
    assert isinstance(town.send(town.codec.place(town.order("hk1c"))), Accepted)
    assert town.struck("limited") == 1
    town.check()


@pytest.mark.slow
def test_everything_is_limited_for_a_while(town):
    venue_id = town.rest("hk1a")
    town.strike("throttle", way="all")
    for request in (
        town.codec.place(town.order("hk1b")),
        town.codec.cancel(town.btc, "hk1a", venue_id),
    ):
        outcome = town.send(request)
        assert isinstance(outcome, Limited), outcome
    town.pass_time(9_000)
    assert isinstance(town.cancel("hk1a", venue_id), Accepted)
    assert town.struck("throttle") == 2
    town.check()


# Answers


@pytest.mark.slow
@pytest.mark.parametrize("way", GARBLINGS)
def test_a_garbled_answer_says_nothing_for_sure(town, way):
    for number in range(4):
        town.strike("garbled", way=way)
        key = f"hk{number}a"
        outcome = town.send(town.codec.place(town.order(key)))
        done = town.face.inner.private.desk.accounts["main"].by_client_id(key) is not None
        assert isinstance(outcome, Unknown), (way, done, outcome)
    assert town.struck("garbled") == 4
    town.check()


@pytest.fixture
def line(town):
    """The socket that takes orders, its connection, and what to say there."""
    socket, conn = next((s, c) for s, c in town.sockets if s.takes_orders)

    def place(key):
        frame = socket.place(town.order(key), town.stamp("9", town.tokens[conn]))
        return [frame.data if frame.binary else frame.data.decode()]

    def say(key):
        for data in place(key):
            town.take(town.face.received(conn, data, town.now_ns))
        frames = [one for one in town.pushed if one.conn == conn and not one.topic]
        town.pushed = [one for one in town.pushed if one not in frames]
        return [socket, *frames]

    return say


def test_a_socket_is_limited_too(town, line):
    town.strike("throttle", way="all")
    socket, frame = line("hk1a")
    (reply,) = [one for one in socket.decode(frame.data.encode()) if isinstance(one, Reply)]
    assert isinstance(reply.outcome, Limited), reply
    assert reply.request_id == "9"
    assert town.struck("throttle") == 1
    assert town.check().orders == {}


@pytest.mark.slow
def test_a_sockets_garbled_answers_mean_nothing(town, line):
    for number, way in enumerate(GARBLINGS):
        town.strike("garbled", way=way)
        socket, frame = line(f"hk{number}a")
        data = frame.data.encode() if isinstance(frame.data, str) else frame.data
        try:
            told = socket.decode(data)
        except (ValueError, TypeError, LookupError):
            continue  # the connection ends
        assert not [one for one in told if isinstance(one, Reply)], (way, told)
    assert town.struck("garbled") == len(GARBLINGS)
    town.check()


def test_a_late_nonce():
    town = Town("kraken")
    town.strike("nonce")
    outcome = town.send(town.codec.place(town.order("hk1a")))
    assert not isinstance(outcome, Accepted), outcome
    assert town.struck("nonce") == 1
    assert town.check().orders == {}


# What is told


def test_an_end_comes_before_its_beginning(town):
    town.strike("disorder")
    town.send(town.codec.place(town.order("hk1a", away="0.9")))  # far away: it tells NEW alone
    town.pass_time(20)
    town.strike("deadman")
    frames = [json.loads(one.data) for one in town.pushed]
    told = states(town.everywhere(100))
    assert town.struck("disorder") == 1
    if town.venue == "kraken":  # tells of a beginning twice, and numbers its frames
        rows = [frame for frame in frames if frame.get("channel") == "executions"]
        kinds = [frame["data"][0]["exec_type"] for frame in rows]
        assert kinds == ["new", "pending_new", "canceled"]
        numbers = [frame["sequence"] for frame in rows]
        assert numbers == list(range(numbers[0], numbers[0] + 3))
    else:
        assert [state is OrderState.OPEN for state in told] == [False, True]
    town.check()


@pytest.mark.slow
def test_an_event_that_nothing_follows_is_only_late(town):
    town.strike("disorder")
    town.send(town.codec.place(town.order("hk1a", away="0.9")))
    early, late = states(town.everywhere(100)), states(town.everywhere())
    if town.venue != "kraken":  # where `new` follows `pending_new`
        assert (early, late) == ([], [OrderState.OPEN])
        assert town.struck("disorder") == 0


@pytest.mark.slow
@pytest.mark.parametrize("way", LIES)
def test_a_lie_is_told_once_and_written_down_as_one(town, way):
    town.strike("lie", way=way)
    order = town.order("hk1a", away="1.002", tif=OurTif.IOC)
    assert isinstance(town.send(town.codec.place(order)), Accepted)
    town.pass_time()
    frames = [one.data for one in town.pushed]
    log = town.check()
    assert [lie.way for lie in log.lies] == [way]
    assert town.struck("lie") == 1
    (lie,) = log.lies
    assert lie.account == "main"
    if way == "negative":  # no number that our decoder takes
        with pytest.raises(ValueError, match="below zero"):
            town.everywhere(0)
        return
    told = town.everywhere(0)
    true = {fill.trade_id for fill in log.fills}
    if way in LIES[:5]:
        assert {fill.trade_id for fill in told if isinstance(fill, Fill)} - true, frames


# Pairs


@pytest.mark.slow
def test_a_pair_halts_and_comes_back(town):
    town.rest("hk1a")
    town.strike("halt")
    assert isinstance(town.send(town.codec.place(town.order("hk1b"))), Rejected | Unknown)
    town.pass_time(31_000)
    assert isinstance(town.send(town.codec.place(town.order("hk1c"))), Accepted)
    town.check()


@pytest.mark.slow
def test_old_digits_are_refused_while_rules_are_coarser(town):
    before = town.exchange.told("BTC/USDT")
    town.strike("rules")
    now = town.exchange.told("BTC/USDT")
    assert (now.tick / before.tick, now.lot / before.lot) == (5, 10)
    order = town.order("hk1a")
    odd = order.order.px // town.btc.tick * town.btc.tick
    while odd // town.btc.tick % 5 == 0:
        odd += town.btc.tick
    outcome = town.send(town.codec.place(town.order("hk1a", px=odd)))
    assert isinstance(outcome, Rejected), outcome
    assert outcome.kind in (RejectKind.FILTER, RejectKind.REQUEST)  # OKX: `Parameter px error`
    listed = town.ask(town.connector.instruments(town.btc.part), sign=None)
    (btc,) = [one for one in listed if str(one.pair) == "BTC/USDT"]
    assert btc.px_decimal(btc.tick) == now.tick
    assert btc.qty_decimal(btc.lot) == now.lot
    town.pass_time(31_000)
    assert isinstance(town.send(town.codec.place(town.order("hk1b", px=odd))), Accepted)
    town.check()


@pytest.mark.slow
def test_a_pair_is_off_the_list_and_back(town):
    town.strike("delist")
    assert isinstance(town.send(town.codec.place(town.order("hk1b"))), Rejected | Unknown)
    listed = town.ask(town.connector.instruments(town.btc.part), sign=None)
    assert not [one for one in listed if str(one.pair) == "BTC/USDT"]
    town.pass_time(31_000)
    assert isinstance(town.send(town.codec.place(town.order("hk1c"))), Accepted)
    town.check()


# Connections


@pytest.mark.slow
def test_a_session_ends_with_its_notice(town):
    before = len(town.pushed)
    town.strike("session")
    notice = town.pushed[before:]
    assert bool(notice) == (town.venue in ("binance", "okx"))
    town.pass_time(61_000)
    assert any(isinstance(end, Close) for end in town.ended)


@pytest.mark.slow
def test_a_crowd_is_kept_out_for_a_while(town):
    door = Request("GET", {"bybit": "/v5/private", "okx": "/ws/v5/private"}.get(town.venue, ""))
    if town.venue in ("binance", "kraken"):
        door = Request("GET", {"binance": "/ws-api/v3", "kraken": "/auth/v2"}[town.venue])
    town.strike("crowd")
    assert town.face.accept(door, town.now_ns).status in (403, 429)
    assert town.face.accept(door, town.now_ns + 9 * SECOND) is None
    assert town.struck("crowd") == 1


def test_kraken_tells_old_trades_anew_to_a_new_connection():
    town = Town("kraken")
    order = town.order("hk1a", away="1.002", tif=OurTif.IOC)
    town.send(town.codec.place(order))
    first = {fill.trade_id for fill in of(town.everywhere(), Fill)}
    town.strike("replay")
    assert town.ended
    for end in town.ended:
        town.face.closed(end.conn, town.now_ns)
    town.heard.clear()
    for socket in town.codec.sockets():
        town.open(socket)
    again = [event.trade_id for event in town.heard if isinstance(event, Fill)]
    assert first
    assert set(again) == first
    town.check()


# The one call


@pytest.mark.slow
def test_words_a_venue_does_not_know_strike_nothing(town):
    for word, venues in ONLY.items():
        struck = town.simulator.strike(word, town.now_ns)
        assert (struck is None) == (town.venue not in venues), word
    with pytest.raises(KeyError):
        town.simulator.strike("nonsense", town.now_ns)


@pytest.mark.slow
def test_the_same_seed_strikes_the_same(town):
    def run():
        one = Town(town.venue)
        one.rest("hk1a")
        for word in ("vanish", "crumble", "rules", "garbled", "lie", "dust", "wipe"):
            one.strike(word)
            one.send(one.codec.place(one.order(f"hk{word}", away="1.001")))
            one.pass_time()
        return one.rows, one.simulator.struck()

    assert run() == run()
