"""The gate as a value: what is dumped and taken up again decides and counts as before."""

import msgspec
import pytest
from msgspec import structs

from hean_router.domain import record as r
from hean_router.domain.instrument import Side
from hean_router.domain.limits import GATE_OFF
from hean_router.gate import Gate
from hean_router.gate.saved import GateState
from tests.gate.test_gate_limits import only, send
from tests.gate.test_gate_rules import (
    HERE,
    LONG,
    NOW,
    SELL,
    C,
    P,
    acked,
    child,
    code,
    ended,
    fill,
    opened,
    placed,
    rejected,
    risk,
    told,
    unknown,
    withdrawn,
)


def again(gate, limits=GATE_OFF):
    """Through bytes, as a checkpoint has it."""
    data = msgspec.json.encode(gate.dump())
    found = Gate(limits)
    found.load(msgspec.json.decode(data, type=GateState))
    found.open(HERE)
    return found


SIX = [P, child("h1", "6")]


@pytest.mark.parametrize(
    "rows",
    [
        SIX,
        [*SIX, acked("h1"), fill(qty="2", px="99")],
        [*SIX, fill("", "2", venue_order_id="v1"), told("h1", C)],  # whose is it?
        [*SIX, fill("", "2", venue_order_id="v1"), acked("h1"), told("h1", C, "2")],
        [*SIX, withdrawn("h1")],
        [*SIX, rejected("h1"), acked("h1")],
        [*SIX, unknown("h1"), opened()],
        [P, child("h1", "10"), fill(qty="10"), ended()],
        [*LONG, SELL, risk("reduce_only")],
        [*SIX, fill(qty="11")],  # a fault
        [child("h1", "1", parent="nobody's")],
    ],
)
def test_what_is_taken_up_again_decides_as_before(rows):
    first = Gate(GATE_OFF)
    first.open(HERE)
    for row in rows:
        first.apply(row)
    first.take_incidents()
    second = again(first)
    assert second.standing() == first.standing()
    more = [
        child("h8", "4"),
        child("h9", "4.1"),
        child("h7", "1", parent="p2", side=Side.SELL),
        acked("h1"),
        fill("h1", "1", trade="t9"),
        fill("h1", "1", trade="t1"),  # known already, or not
        told("h1", C, "1"),
        child("h6", "5"),
        placed("p3"),
        child("h5", "1", parent="p3"),
    ]
    for row in more:
        verdicts = []
        for gate in (first, second):
            gate.apply(row)
            looked = isinstance(row, r.ChildIntended)
            verdicts.append(code(gate.check(row, NOW)) if looked else "")
            verdicts += [one.what for one in gate.take_incidents()]
        half = len(verdicts) // 2
        assert verdicts[:half] == verdicts[half:], row
    assert second.standing() == first.standing()


def test_what_repeats_goes_on_to_be_counted():
    limits = only(fills_max=3, fills_window_s=10)
    gate = Gate(limits)
    for number in range(3):
        gate.apply(fill("", trade=f"t{number}", parent=""))
    second = again(gate, limits)
    second.apply(fill("", trade="t3", parent=""))
    assert [one.what for one in second.take_incidents()] == ["gate_repeated"]


def test_an_epoch_is_kept():
    gate = Gate(GATE_OFF)
    gate.apply(opened(5, "abc"))
    second = again(gate)
    second.apply(P)
    assert send(second, child("habd1", "1")) == "not_ours"
    second.apply(opened(4, "abc"))
    assert second.standing()[("", "")].startswith("epoch")


# ------------------------------------------------------------------------- taken back


def undone(of, qty=None, **more):
    """The row that takes a trade, or `qty` of it, back."""
    return r.FillUndone(
        at_ns=NOW,
        venue=of.venue,
        account=of.account,
        symbol=of.symbol,
        trade_id=of.trade_id,
        key=of.key,
        parent=of.parent,
        strategy="",
        venue_order_id=of.venue_order_id,
        side=of.side,
        px=of.px,
        qty=of.qty if qty is None else type(of.qty)(qty),
        fee=of.fee,
        fee_asset=of.fee_asset,
        **{"whole": qty is None, "why": "replaced"} | more,
    )


@pytest.mark.parametrize(
    ("rows", "free"),
    [
        # The parent wants 10, its first child 6 and ends -> what a second may ask for.
        ([fill(qty="5"), undone(fill(qty="5"))], "10"),
        ([fill(qty="5"), undone(fill(qty="5"), "2")], "7"),  # two of five taken back
        ([fill(qty="5"), undone(fill(qty="5")), fill(qty="2", trade="real")], "8"),
        ([fill(qty="5"), undone(fill(qty="5")), fill(qty="3")], "7"),  # its id may come again
        # filled whole: the venue's count stands, and the real ones are still to come
        ([fill(qty="6"), undone(fill(qty="6"))], "4"),
    ],
)
def test_a_trade_that_is_taken_back_counts_no_more(rows, free):
    gate = Gate(GATE_OFF)
    gate.open(HERE)
    for row in [*SIX, told("h1", C, "0"), *rows]:
        gate.apply(row)
    assert gate.take_incidents() == []
    over = str(float(free) + 0.5)
    assert send(gate, child("h2", over)) == "over_quantity"
    assert send(gate, child("h3", free)) == ""


def test_what_is_taken_back_of_nobodys_is_nobodys():
    nobodys = fill("", "2", parent="", venue_order_id="v1")
    gate = Gate(GATE_OFF)
    gate.open(HERE)
    for row in [*SIX, nobodys, undone(nobodys), acked("h1"), told("h1", C, "0")]:
        gate.apply(row)
    assert send(gate, child("h2", "10")) == ""


def test_what_was_never_booked_cannot_be_taken_back():
    gate = Gate(GATE_OFF)
    for row in [*SIX, undone(fill(qty="2"))]:
        gate.apply(row)
    assert [one.what for one in gate.take_incidents()] == ["gate_undone"]


def test_a_parent_that_has_ended_gets_its_room_back():
    done = [P, child("h1", "10"), fill(qty="10"), ended()]
    gate = Gate(GATE_OFF)
    for row in [*done, undone(fill(qty="10")), structs.replace(fill(qty="10"), trade_id="t2")]:
        gate.apply(row)
    assert gate.take_incidents() == []
