"""Reconciliation of a desk that is open: looks, breaks by name, a gate shut in doubt."""

from decimal import Decimal

import pytest

from hean_router.domain.desk import (
    BalancesSeen,
    DeskStanding,
    FillsSeen,
    OpenSeen,
    OrderSeen,
    PlaceAnswered,
    Told,
)
from hean_router.domain.instrument import Side
from hean_router.domain.order import Accepted, Balance, Fill, OrderReport, OrderState
from hean_router.domain.record import (
    BalanceBreak,
    BalancesSet,
    ChildAbsent,
    ChildAcked,
    ChildUnknown,
    Filled,
    ForeignOrder,
    Incident,
)
from hean_router.engine import AskDesk, SetGate
from hean_router.oms import ChildStatus
from tests.engine.bench import BTC, ETH, SECOND, Bench, Nowhere, listing
from tests.engine.test_engine_desks import past_order

D = Decimal
KEY = "htst0000000100100"
STANDS = DeskStanding(ready=True, fresh=True)


def acked(at_ns=999 * SECOND):
    return ChildAcked(at_ns=at_ns, key=KEY, venue_order_id="v1")


def money(usdt=5, btc=0):
    return [Balance(asset="USDT", total=D(usdt)), Balance(asset="BTC", total=D(btc))]


def answer(bench, **have):
    """Answer every question that is out at `a`, truthfully: nothing is open, nothing traded."""
    for one in bench.taken():
        if not isinstance(one, AskDesk) or one.venue != "a":
            continue
        now_ns = bench.now_ns
        of = [listing("a"), listing("a", ETH)]
        match one.what:
            case "open":
                reports = have.get("open", [])
                bench.told("a", OpenSeen(instruments=of, reports=reports, asked_ns=now_ns))
            case "fills":
                fills = have.get("fills", [])
                event = FillsSeen(
                    instrument=one.instrument, since_ns=one.since_ns, fills=fills, asked_ns=now_ns
                )
                bench.told("a", event)
            case "balances":
                held = have.get("balances", money())
                bench.told("a", BalancesSeen(balances=held, asked_ns=now_ns))
            case "order":
                event = OrderSeen(
                    instrument=one.instrument,
                    key=one.key,
                    report=have.get("order"),
                    asked_ns=now_ns,
                )
                bench.told("a", event)


def run(bench, seconds, every_s=1.0, **have):
    for _ in range(round(seconds / every_s)):
        answer(bench, **have)
        bench.wait(every_s, every_s)


def standing(*rows, world=None):
    bench = Bench(world).started(*rows)
    bench.told("a", STANDS)
    answer(bench)
    answer(bench)
    return bench


def of_type(bench, kind):
    return [row for row in bench.rows if isinstance(row, kind)]


def incidents(bench):
    return [(row.what, row.subject) for row in of_type(bench, Incident)]


def gates(bench, venue="a"):
    return [one.why for one in bench.commands if isinstance(one, SetGate) and one.venue == venue]


# ------------------------------------------------------------------------- balances, positions


def test_a_difference_that_is_gone_at_the_second_look_is_no_break():
    bench = standing(*past_order())
    assert bench.why("a") == ""
    bench.wait(5)
    bench.taken()
    bench.told("a", BalancesSeen(balances=money(6), asked_ns=bench.now_ns))
    assert "in doubt: USDT 5 by our trades, 6 at the venue (+1)" in gates(bench)[0]
    assert bench.why("a") == "reconciling" or bench.why("a").startswith("in doubt")
    asked = [(one.what, one.instrument and one.instrument.pair) for one in asks(bench)]
    assert asked == [("open", None), ("fills", BTC)], "what it has done is asked for again"
    run(bench, 5)
    assert bench.why("a") == ""
    assert not of_type(bench, BalanceBreak)
    assert incidents(bench) == []


def asks(bench):
    return [one for one in bench.commands if isinstance(one, AskDesk) and one.venue == "a"]


def test_a_difference_that_stands_is_named_with_what_where_and_how_much_and_taken():
    bench = standing(*past_order())
    fill = Fill(
        instrument=listing("a"),
        key=KEY,
        venue_order_id="v1",
        trade_id="t",
        side=Side.BUY,
        px=990,
        qty=10_000,
        fee=D(0),
        fee_asset="USDT",
        sent_ns=999 * SECOND,
    )
    bench.told("a", Told(fill))
    bench.wait(5)
    held = money(5, 3)
    bench.told("a", BalancesSeen(balances=held, asked_ns=bench.now_ns))
    shut_ns = bench.now_ns
    run(bench, 6, balances=held)
    assert bench.why("a") == ""
    assert bench.now_ns - shut_ns <= 10 * SECOND
    assert [(row.asset, row.ours, row.theirs) for row in of_type(bench, BalanceBreak)] == [
        ("BTC", D(1), D(3)),
        ("USDT", D(-94), D(5)),
    ]
    assert [what for what, _ in incidents(bench) if what.endswith("break")] == [
        "balance_break",
        "position_break",
    ]
    texts = {row.what: row.text for row in of_type(bench, Incident)}
    assert "BTC 1 by our trades, 3 at the venue (+2)" in texts["balance_break"]
    assert "a position of 1 here; the venue has +2 BTC" in texts["position_break"]
    assert [row.why for row in of_type(bench, BalancesSet)] == ["opening", "reconciled"]
    rows = len(bench.rows)
    run(bench, 120, balances=held)
    assert bench.rows[rows:] == [], "repeated looks change nothing"


def test_while_it_is_in_doubt_no_other_gate_is_shut():
    bench = standing()
    bench.told("b", STANDS)
    bench.wait(5)
    bench.taken()
    bench.told("a", BalancesSeen(balances=money(6), asked_ns=bench.now_ns))
    bench.wait(600)
    assert bench.why("a").startswith("in doubt"), "it has not answered since"
    assert gates(bench, "b") == []


# ------------------------------------------------------------------------- orders, trades


def test_an_open_desk_is_asked_for_orders_once_a_minute_and_for_trades_where_there_were_any():
    bench = standing(*past_order())
    bench.taken()
    bench.wait(600)
    asked = asks(bench)
    assert 9 <= sum(one.what == "open" for one in asked) <= 11
    trades = [one for one in asked if one.what == "fills"]
    assert 1 <= len(trades) <= 3, "the order is over: its trades can no longer be late"
    assert {one.instrument.pair for one in trades} == {BTC}


def test_an_order_that_vanished_is_found_and_the_stream_that_did_not_tell_is_named():
    """V24; nautechsystems/nautilus_trader#5000: a working order is dropped by evidence alone."""
    bench = standing(*past_order(over=False), acked())
    child = bench.engine.core.oms.children[KEY]
    ended = OrderReport(
        instrument=listing("a"),
        key=KEY,
        venue_order_id="v1",
        state=OrderState.CANCELED,
        cum_qty=0,
        side=Side.BUY,
    )
    run(bench, 50)
    assert child.status is ChildStatus.OPEN, "nobody has said otherwise yet"
    run(bench, 30, every_s=0.5, order=ended)
    assert child.status is ChildStatus.CANCELED
    assert ("order_break", KEY) in incidents(bench)
    assert not of_type(bench, ChildAbsent)


def test_a_trade_that_only_asking_found_is_named_and_everything_is_asked_for_again():
    bench = standing(*past_order(over=False), acked())
    late = Fill(
        instrument=listing("a"),
        key=KEY,
        venue_order_id="v1",
        trade_id="t",
        side=Side.BUY,
        px=990,
        qty=4_000,
        fee=D(0),
        fee_asset="USDT",
        sent_ns=1_010 * SECOND,
    )
    still = OrderReport(
        instrument=listing("a"),
        key=KEY,
        venue_order_id="v1",
        state=OrderState.OPEN,
        cum_qty=4_000,
        qty=10_000,
        side=Side.BUY,
    )
    run(bench, 60, open=[still])
    shut = []
    for _ in range(10):
        answer(bench, open=[still], fills=[late])
        bench.wait(1)
        shut += gates(bench)
    assert [row.trade_id for row in of_type(bench, Filled)] == ["t"], "once"
    assert ("fill_break", KEY) in incidents(bench)
    assert "reconciling: its stream did not tell of every trade" in shut
    assert bench.why("a") == ""
    assert bench.engine.core.oms.children[KEY].is_live, "it goes on"


def test_a_trade_that_is_found_while_its_message_is_on_the_way_is_no_break():
    bench = standing(*past_order(over=False), acked())
    bench.wait(10)
    now_ns = bench.now_ns
    fill = Fill(
        instrument=listing("a"),
        key=KEY,
        venue_order_id="v1",
        trade_id="t",
        side=Side.BUY,
        px=990,
        qty=4_000,
        fee=D(0),
        fee_asset="USDT",
        sent_ns=now_ns - SECOND,
    )
    event = FillsSeen(instrument=listing("a"), since_ns=0, fills=[fill], asked_ns=now_ns)
    bench.told("a", event)
    bench.told("a", Told(fill))
    assert len(of_type(bench, Filled)) == 1
    assert incidents(bench) == []


@pytest.mark.parametrize(("px", "qty"), [(0, 4_000), (990, 0), (-1, 4_000)])
def test_a_trade_that_cannot_be_is_not_booked_and_told_once_and_shuts_that_place_alone(px, qty):
    """V23: a venue lies; a seed of the weather found a trade at no price booked as one."""
    bench = standing(*past_order(over=False), acked())
    bench.told("b", STANDS)
    lie = Fill(
        instrument=listing("a"),
        key=KEY,
        venue_order_id="v1",
        trade_id="t",
        side=Side.BUY,
        px=px,
        qty=qty,
        fee=D(0),
        fee_asset="USDT",
        sent_ns=1_010 * SECOND,
    )
    bench.told("a", Told(lie))
    event = FillsSeen(instrument=listing("a"), since_ns=0, fills=[lie], asked_ns=bench.now_ns)
    bench.told("a", event)
    assert not of_type(bench, Filled)
    assert incidents(bench) == [("impossible_trade", KEY)]
    core = bench.engine.core
    assert "impossible_trade" in core.why_not("a", "main")
    assert "impossible_trade" not in core.why_not("b", "main")


# ------------------------------------------------------------------------- restarts


@pytest.mark.parametrize(
    ("flight_s", "gate_s"),
    [
        (3.5, 6),  # a venue that keeps to its deadline: proven absent, then open
        (12.5, 6),  # one whose engine may take ten seconds: reserved, and open meanwhile
    ],
)
def test_an_order_that_may_be_on_its_way_holds_a_restart_up_for_seconds(flight_s, gate_s):
    class Slow(Nowhere):
        def flight_ns(self, venue):
            return round(flight_s * SECOND)

    bench = Bench(Slow()).started(*past_order(over=False))
    child = bench.engine.core.oms.children[KEY]
    began_ns = bench.now_ns
    assert child.until_ns == began_ns + flight_s * SECOND
    bench.told("a", STANDS)
    opened_ns = None
    for _ in range(60):
        answer(bench)
        if opened_ns is None and not bench.why("a"):
            opened_ns = bench.now_ns
            reserved = bench.engine.core.risk.reserved("a", "main", "USDT")
            assert reserved == (100 if child.is_live else 0)
        bench.wait(0.5, 0.5)
    assert opened_ns is not None
    assert opened_ns - began_ns <= gate_s * SECOND
    assert child.status is ChildStatus.ABSENT
    assert child.ended_ns - began_ns >= (flight_s + 1) * SECOND, "never before it is proven"


def test_the_clock_of_the_process_before_does_not_prove_absence():
    """The machine's clock was an hour behind: what was sent a second ago looks an hour old."""
    rows = past_order(over=False, at_ns=SECOND)
    unknown = ChildUnknown(at_ns=2 * SECOND, key=KEY, why="cut", until_ns=5 * SECOND)
    bench = Bench().started(*rows, unknown)
    child = bench.engine.core.oms.children[KEY]
    assert child.until_ns >= bench.now_ns + 4 * SECOND


# ------------------------------------------------------------------------- others' orders


def test_a_foreign_order_is_seen_by_looking_counted_left_alone_and_gone_when_gone():
    bench = standing()
    mine = OrderReport(
        instrument=listing("a"),
        key="",
        venue_order_id="x1",
        state=OrderState.OPEN,
        cum_qty=2_500,
        qty=10_000,
        px=200,
        side=Side.BUY,
    )
    core = bench.engine.core
    assert core.free("a", "main", "USDT") == 5
    run(bench, 70, open=[mine])
    (row,) = of_type(bench, ForeignOrder)
    assert (row.qty, row.px, row.open) == (D("0.75"), D(20), True), "what is left of it"
    assert core.risk.locked("a", "main", "USDT") == 15
    assert core.free("a", "main", "USDT") == 0, "its money is not ours to spend"
    cell = core.risk._folded.cell("main", "BTC/USDT")
    assert (cell.pos, cell.up) == (0, D("0.75")), "it may become our position"
    run(bench, 70)
    assert [row.open for row in of_type(bench, ForeignOrder)] == [True, False]
    assert (core.risk.locked("a", "main", "USDT"), cell.up) == (0, 0)
    assert {type(one).__name__ for one in bench.commands} <= {"AskDesk", "SetGate"}, "left alone"


def test_an_answer_that_comes_too_late_is_told_once():
    bench = standing(*past_order())
    bench.told("a", PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=bench.now_ns))
    first = len(bench.rows)
    run(bench, 200)
    later = [row for row in bench.rows[first:] if isinstance(row, Incident)]
    assert len({(row.what, row.subject) for row in later}) == len(later)
