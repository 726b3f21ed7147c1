"""A cancel is not over until the order is: whatever the venue says of it, and in whatever order."""

import pytest
from msgspec.structs import replace

from hean_router.domain.desk import CancelAnswered, DeskStanding, OrderSeen, PlaceAnswered, Told
from hean_router.domain.order import (
    Accepted,
    OrderReport,
    OrderState,
    Rejected,
    RejectKind,
    Unknown,
)
from hean_router.domain.parent import Life, Status
from hean_router.engine import CancelOrder, CancelParent, SetRisk
from tests.engine.bench import SECOND, Bench, listing
from tests.engine.test_engine_desks import past_order

KEY = "htst0000000100100"
GONE = CancelAnswered(key=KEY, outcome=Rejected(RejectKind.GONE, "gone", "no such order"))
LIMITED = CancelAnswered(key=KEY, outcome=Rejected(RejectKind.CLOCK, "clock", "try again"))
NOBODY_KNOWS = CancelAnswered(key=KEY, outcome=Unknown("no answer"))


def report(state=OrderState.OPEN, cum=0):
    of = listing("a")
    return OrderReport(
        instrument=of,
        key=KEY,
        venue_order_id="v1",
        state=state,
        cum_qty=cum,
        qty=of.qty_of["1"],
        px=of.px_of["100"],
        side=None,
        sent_ns=0,
    )


def acked(bench):
    until_ns = bench.now_ns + 5 * SECOND
    return PlaceAnswered(key=KEY, outcome=Accepted("v1"), until_ns=until_ns)


def flying():
    """An order that has just left, and is to be cancelled."""
    bench = Bench()
    bench.engine.replay(past_order(at_ns=bench.now_ns, over=False))
    bench.engine.conduct.resume()
    bench.told("a", DeskStanding(ready=True, fresh=True))
    bench.taken()
    bench.step(CancelParent(parent="00000001", why="changed my mind", by="test"))
    assert cancels(bench) == 1, "it may exist: it can be cancelled by our key"
    return bench


def cancels(bench):
    return sum(isinstance(one, CancelOrder) for one in bench.taken())


@pytest.mark.parametrize("first", ["gone", "ack"])
def test_a_cancel_that_overtook_its_order_is_said_again(first):
    bench = flying()
    events = [GONE, acked(bench)] if first == "gone" else [acked(bench), GONE]
    for event in events:
        bench.told("a", event, 0.01)
    said = cancels(bench)
    for _ in range(20):
        bench.wait(1)
        of = listing("a")
        bench.told("a", OrderSeen(instrument=of, key=KEY, report=report(), asked_ns=bench.now_ns))
        said += cancels(bench)
    assert said >= 1, "it rests at the venue, and nobody would ever take it back"
    assert said <= 20, "nor is the venue hammered at"
    bench.told("a", Told(report(OrderState.CANCELED)))
    parent = bench.engine.oms.parents["00000001"]
    assert parent.status is Status.CANCELED


@pytest.mark.parametrize("answer", [LIMITED, NOBODY_KNOWS])
def test_a_cancel_that_was_not_taken_is_said_again(answer):
    bench = flying()
    bench.told("a", acked(bench), 0.01)
    bench.told("a", answer, 0.01)
    bench.wait(10)
    assert 1 <= cancels(bench) <= 20


def test_an_order_that_time_runs_out_on_while_nobody_knows_of_it_is_cancelled_and_asked_about():
    bench = Bench()
    rows = past_order(at_ns=bench.now_ns, over=False)
    intent = rows[1].intent
    rows[1] = replace(
        rows[1], intent=replace(intent, life=Life.GTD, expire_ns=bench.now_ns + 5 * SECOND)
    )
    bench.engine.replay(rows)
    bench.engine.conduct.resume()
    bench.told("a", DeskStanding(ready=True, fresh=True))
    until_ns = bench.now_ns + 60 * SECOND
    bench.told("a", PlaceAnswered(key=KEY, outcome=Unknown("cut"), until_ns=until_ns))
    parent = bench.engine.oms.parents["00000001"]
    assert parent.status is Status.UNKNOWN
    bench.taken()
    bench.wait(10)
    assert cancels(bench) >= 1
    assert parent.ended is None, "it may still come to be: what it reserves stays reserved"
    bench.told("a", Told(report(OrderState.CANCELED)))
    assert parent.status is Status.EXPIRED


def test_a_transition_that_cannot_be_stops_orders_there_until_a_person_resets_it():
    bench = flying()
    bench.told("a", acked(bench), 0.01)
    refused = Rejected(RejectKind.FUNDS, "no", "refused, after it was taken")
    bench.told("a", PlaceAnswered(key=KEY, outcome=refused, until_ns=bench.now_ns), 0.01)
    core = bench.engine.core
    core.desks["a", "main"].why = core.desks["b", "main"].why = ""
    assert "illegal_transition" in core.why_not("a", "main")
    assert core.why_not("b", "main") == ""
    again = Bench().started(*past_order(over=False), *bench.rows)
    again.engine.core.desks["a", "main"].why = ""
    assert "illegal_transition" in again.engine.core.why_not("a", "main"), "after a restart too"
    bench.step(SetRisk(state="normal", reason="looked at", by="test"))
    assert core.why_not("a", "main") == ""
