"""The gate's own limits, one by one: what passes, what is refused, what shuts a place."""

from decimal import Decimal

import pytest
from msgspec import structs

from hean_router.domain import record as r
from hean_router.domain.instrument import Side
from hean_router.domain.limits import EACH_ACCOUNT, GATE_OFF, PORTFOLIO, GateLimits
from hean_router.gate import BLIND, REFUSED, Gate, Look
from tests.gate.test_gate_rules import HERE, NOW, child, code, fill, opened, placed, risk, withdrawn

MS = 1_000_000
SECOND = 1_000_000_000
SEEN = Look(
    mid=Decimal(100), mid_ns=NOW, good=Decimal(100), good_ns=NOW, rate=Decimal(1), rate_ns=NOW
)
WIDE = placed(qty="1000000", worst="1000000")


def only(**limits):
    return structs.replace(GATE_OFF, **limits)


def gate_of(limits, *rows, opened=(HERE,)):
    gate = Gate(limits)
    for row in rows:
        gate.apply(row)
    for scope in opened:
        gate.open(scope)
    return gate


def send(gate, row, now_ns=NOW, look=SEEN):
    """Write it down and show it to the gate: the code of its verdict."""
    gate.apply(row)
    verdict = gate.check(row, now_ns, look)
    if verdict:
        gate.apply(withdrawn(row.key))
    return code(verdict)


def test_every_limit_is_on_and_wider_than_risks_own():
    gate = GateLimits()
    off = {name for name in gate.__struct_fields__ if getattr(gate, name) in (None, 0)}
    assert not off
    assert gate.collar_bps > PORTFOLIO.collar_bps
    assert gate.stale_ms > PORTFOLIO.stale_ms
    assert gate.order_notional_max > PORTFOLIO.order_notional_max
    assert gate.orders_per_second > EACH_ACCOUNT.orders_per_second
    assert gate.duplicate_window_ms < PORTFOLIO.duplicate_window_ms
    assert gate.fills_max > EACH_ACCOUNT.orders_per_minute


# ------------------------------------------------------------------------- price


def seen(**other):
    return structs.replace(SEEN, **{k: Decimal(v) if k in _MONEY else v for k, v in other.items()})


_MONEY = {"mid", "good", "rate"}
B, S = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("side", "px", "look", "verdict"),
    [
        (B, "110", SEEN, ""),  # ten of a hundred, at the edge
        (B, "110.01", SEEN, "collar"),
        (S, "90", SEEN, ""),
        (S, "89.99", SEEN, "collar"),
        (B, "1", SEEN, ""),  # a low bid gives nothing away
        (S, "9999", SEEN, ""),
        (B, "109", seen(good="90"), "collar"),  # the mid was led away; the last good price holds
        (B, "109", seen(mid="90"), "collar"),
        (S, "95", seen(good="120"), "collar"),
        (S, "95", seen(mid="120"), "collar"),
        (B, "100", BLIND, "no_reference"),
        (B, "100", structs.replace(SEEN, mid=None), "no_reference"),
        (B, "100", structs.replace(SEEN, good=None), "no_reference"),
        (B, "100", seen(mid_ns=NOW - SECOND), ""),
        (B, "100", seen(mid_ns=NOW - SECOND - 1), "no_reference"),
        (B, "100", seen(good_ns=NOW - SECOND - 1), "no_reference"),
    ],
)
def test_no_price_far_from_both_references_and_none_without_them(side, px, look, verdict):
    parent = structs.replace(placed(qty="10", worst=px, side=side))
    gate = gate_of(only(collar_bps=Decimal(1_000), stale_ms=1_000), parent)
    assert send(gate, child(side=side, px=px), look=look) == verdict


@pytest.mark.parametrize(
    ("limits", "look", "verdict"),
    [
        (only(collar_bps=Decimal(1_000)), seen(mid_ns=0, good_ns=0), ""),  # age lifted, price not
        (only(collar_bps=Decimal(1_000)), BLIND, "no_reference"),
        (only(stale_ms=1_000), seen(mid="1", good="1"), ""),  # price lifted, age not
        (only(stale_ms=1_000), BLIND, "no_reference"),
        (GATE_OFF, BLIND, ""),
    ],
)
def test_either_may_be_lifted_alone(limits, look, verdict):
    assert send(gate_of(limits, placed()), child(), look=look) == verdict


# ------------------------------------------------------------------------- size


@pytest.mark.parametrize(
    ("limits", "row", "look", "verdict"),
    [
        (only(order_notional_max=Decimal(1_000)), child(qty="10"), SEEN, ""),
        (only(order_notional_max=Decimal(1_000)), child(qty="10.01"), SEEN, "size"),
        (only(order_notional_max=Decimal(1_000)), child(qty="10"), seen(rate="1.01"), "size"),
        # two prices in one row: the dearer counts
        (only(order_notional_max=Decimal(1_000)), child(worst_px=Decimal(101)), SEEN, "size"),
        (only(order_notional_max=Decimal(1_000)), child(), BLIND, "no_rate"),
        (only(order_notional_max=Decimal(1_000)), child(), seen(rate_ns=0), ""),  # no age limit
        (
            only(order_notional_max=Decimal(1_000), stale_ms=1_000),
            child(),
            seen(rate_ns=NOW - 4 * SECOND),
            "",
        ),
        (
            only(order_notional_max=Decimal(1_000), stale_ms=1_000),
            child(),
            seen(rate_ns=NOW - 4 * SECOND - 1),
            "no_rate",
        ),
        (only(qty_max={"BTC/USDT": Decimal(5)}), child(qty="5"), SEEN, ""),
        (only(qty_max={"BTC/USDT": Decimal(5)}), child(qty="5.1"), SEEN, "size"),
        (only(qty_max={"ETH/USDT": Decimal(5)}), child(qty="5.1"), SEEN, ""),
        (only(order_notional_max=Decimal(0)), child(qty="0.1"), SEEN, "size"),  # 0 forbids all
    ],
)  # fmt: skip
def test_no_order_larger_than_one_may_be(limits, row, look, verdict):
    assert send(gate_of(limits, WIDE), row, look=look) == verdict


# ------------------------------------------------------------------------- pace


def test_an_account_at_a_venue_sends_so_many_in_any_second():
    gate = gate_of(only(orders_per_second=3), WIDE, opened=(HERE, ("kraken", "main")))
    at = [NOW, NOW + 400 * MS, NOW + 800 * MS]
    for number, now_ns in enumerate(at):
        assert send(gate, child(f"h{number}", "1", at_ns=now_ns), now_ns) == ""
    late = NOW + 999 * MS
    assert send(gate, child("h3", "1", at_ns=late), late) == "throttle"
    assert send(gate, child("h4", "1", at_ns=late, venue="kraken"), late) == "", "its own pace"
    free = NOW + SECOND  # the first is a second old
    assert send(gate, child("h5", "1", at_ns=free), free) == ""
    assert send(gate, child("h6", "1", at_ns=free), free) == "throttle"


def test_a_parent_sends_so_many_in_any_second_over_all_venues():
    other = placed("p2", qty="1000000", worst="1000000")
    gate = gate_of(only(parent_orders_per_second=2), WIDE, other, opened=(HERE, ("kraken", "main")))
    assert send(gate, child("h1", "1")) == ""
    assert send(gate, child("h2", "1", venue="kraken")) == ""
    assert send(gate, child("h3", "1")) == "throttle"
    assert send(gate, child("h4", "1", parent="p2")) == ""
    later = NOW + SECOND
    assert send(gate, child("h5", "1", at_ns=later), later) == ""


def test_what_paces_are_kept_for_is_bounded():
    gate = gate_of(only(parent_orders_per_second=2))
    for number in range(2_500):
        now_ns = NOW + number * 2 * SECOND // 1_000
        parent = f"p{number}"
        gate.apply(placed(parent, qty="5"))
        assert send(gate, child(f"h{number}", "1", parent=parent, at_ns=now_ns), now_ns) == ""
    assert len(gate._net._parents) <= 1_000


def test_none_at_all_may_be_let_through():
    assert send(gate_of(only(orders_per_second=0), WIDE), child(qty="1")) == "throttle"
    assert send(gate_of(only(parent_orders_per_second=0), WIDE), child(qty="1")) == "throttle"


# ------------------------------------------------------------------------- the same again

P2 = placed("p2")


@pytest.mark.parametrize(
    ("again", "after_ms", "verdict"),
    [
        (child("h2", "1", parent="p2"), 199, "duplicate"),
        (child("h2", "1", parent="p2"), 200, ""),  # the window is over
        (child("h2", "1.0", parent="p2", px="100.00"), 199, "duplicate"),  # the same number
        (child("h2", "1"), 199, ""),  # a parent may try again what was not filled
        (child("h2", "2", parent="p2"), 0, ""),
        (child("h2", "1", parent="p2", px="99"), 0, ""),
        (child("h2", "1", parent="p3", side=S), 0, ""),
        (child("h2", "1", parent="p2", venue="kraken"), 0, ""),
        (child("h2", "1", parent="p4", symbol="ETH/USDT"), 0, ""),
        (child("h2", "1", parent="p5"), 0, ""),  # another order that takes the same level
        (child("h2", "1", parent="p6"), 0, ""),  # one of long ago that goes on
        (child("h2", "1", parent="p7"), 0, ""),  # as large, and asked for otherwise
    ],
)
def test_the_same_order_of_another_parent_is_refused_for_a_while(again, after_ms, verdict):
    rows = [placed(), P2, placed("p3", side=S), placed("p4", symbol="ETH/USDT")]
    rows += [
        placed("p7", limit_px=Decimal(101)),
        placed("p5", qty="9"),
        structs.replace(P2, parent="p6", at_ns=NOW - 200 * MS),
    ]
    gate = gate_of(only(duplicate_window_ms=200), *rows, opened=(HERE, ("kraken", "main")))
    assert send(gate, child("h1", "1")) == ""
    now_ns = NOW + after_ms * MS
    assert send(gate, structs.replace(again, at_ns=now_ns), now_ns) == verdict


def test_the_window_forgets():
    gate = gate_of(only(duplicate_window_ms=200), WIDE)
    for number in range(390):
        now_ns = NOW + number * MS
        row = child(f"h{number}", "1", px=str(100 + number % 300), at_ns=now_ns)
        assert send(gate, row, now_ns) == ""
    assert len(gate._net._left) <= 201
    assert len(gate._net._last) <= 201


def test_a_router_that_makes_the_same_parent_again_and_again_is_stopped():
    """Each parent is new and within its quantity: the recount has nothing to say."""
    gate, left = gate_of(GateLimits()), 0
    for number in range(1_000):
        now_ns = NOW + number * MS
        gate.apply(placed(f"p{number}", qty="1"))
        row = child(f"h{number}", "1", parent=f"p{number}", at_ns=now_ns)
        look = structs.replace(SEEN, mid_ns=now_ns, good_ns=now_ns, rate_ns=now_ns)
        left += send(gate, row, now_ns, look) == ""
    assert left == 1
    assert gate.standing()[HERE].startswith("circles")


# ------------------------------------------------------------------------- what repeats


def trade(number, *, at_ns=NOW, px="100", qty="1", **other):
    return fill("", qty, px, trade=f"t{number}", at_ns=at_ns, parent="", **other)


def test_so_many_trades_of_one_strategy_in_a_while_shut_its_account_until_a_person_resets():
    gate = gate_of(only(fills_max=3, fills_window_s=10), WIDE, opened=(HERE, ("kraken", "main")))
    for number in range(3):
        gate.apply(trade(number, at_ns=NOW + number))
    gate.apply(trade(2, at_ns=NOW))  # told twice: one trade
    gate.apply(trade(3, at_ns=NOW, strategy="arb"))  # another's
    gate.apply(trade(4, at_ns=NOW, symbol="ETH/USDT"))
    gate.apply(trade(5, at_ns=NOW, account="other"))
    assert send(gate, child("h1", "1")) == ""
    gate.apply(trade(6, at_ns=NOW + 3))
    (told,) = gate.take_incidents()
    assert (told.what, told.venue, told.account) == ("gate_repeated", "", "main")
    assert send(gate, child("h2", "1", venue="kraken")) == "gate_shut", "at every venue"
    gate.open(HERE)
    assert send(gate, child("h3", "1")) == "gate_shut"
    gate.apply(risk("normal"))
    assert send(gate, child("h4", "1")) == ""
    gate.apply(trade(7, at_ns=NOW + 4))
    assert gate.take_incidents() == [], "counted anew"


def test_trades_long_ago_do_not_count():
    gate = gate_of(only(fills_max=3, fills_window_s=10), WIDE)
    for number in range(50):
        gate.apply(trade(number, at_ns=NOW + number * 4 * SECOND))
    assert gate.take_incidents() == []


def test_so_much_traded_in_a_while_shuts_too():
    gate = gate_of(only(turnover_max=Decimal(1_000), fills_window_s=10), WIDE)
    gate.apply(trade(0, qty="100"))  # before anybody said what it is worth
    assert send(gate, child("h1", "1"), look=seen(rate="0.5")) == ""
    gate.apply(trade(1, qty="10", at_ns=NOW + 11 * SECOND))
    gate.apply(trade(2, qty="10", at_ns=NOW + 12 * SECOND))
    assert gate.take_incidents() == [], "2000 of quote, at a half"
    gate.apply(trade(3, qty="0.1", at_ns=NOW + 13 * SECOND))
    assert [one.what for one in gate.take_incidents()] == ["gate_repeated"]


def test_what_rows_alone_do_not_tell_comes_back_by_its_incident():
    gate = gate_of(only(turnover_max=Decimal(1), fills_window_s=10), WIDE)
    assert send(gate, child("h1", "1")) == ""
    gate.apply(trade(0))
    (told,) = gate.take_incidents()
    again = gate_of(GATE_OFF, WIDE, told, opened())
    assert again.standing()[("", "main")].startswith("repeated: ")
    assert send(again, child("h1", "1")) == "gate_shut"
    again.apply(risk("normal"))
    assert send(again, child("h2", "1")) == ""
    assert gate_of(GATE_OFF, r.Incident(at_ns=NOW, what=REFUSED, text="x")).standing() == {HERE: ""}
    failed = r.Incident(at_ns=NOW, what="gate_failed", text="x", venue="binance", account="main")
    assert gate_of(GATE_OFF, failed).standing()[HERE] == "gate_failed: x"


# ------------------------------------------------------------------------- refusals


def over(number, *, venue="binance", at_ns=NOW):
    return child(f"h{number}", "11", venue=venue, at_ns=at_ns)


def test_a_planner_that_asks_again_and_again_shuts_the_place_and_then_everything():
    places = (HERE, ("kraken", "main"), ("okx", "main"))
    gate = gate_of(only(refusals_max=3, refusals_window_s=60), placed(), P2, opened=places)
    for number in range(3):
        assert send(gate, over(number)) == "over_quantity"
    told = gate.take_incidents()
    assert [one.what for one in told] == [REFUSED] * 3 + ["gate_circles"]
    assert told[0].subject == "h0"
    assert told[0].text.startswith("over_quantity")
    assert send(gate, child("h10", "1", parent="p2")) == "gate_shut"
    assert send(gate, over(11)) == "over_quantity", "and nothing is told twice"
    assert gate.take_incidents() == []
    assert send(gate, child("h12", "1", parent="p2", venue="okx")) == "", "others go on"
    for number in range(20, 23):
        send(gate, over(number, venue="kraken"))
    assert gate.standing()[("", "")].startswith("circles"), "a second place: not a venue's doing"
    assert send(gate, child("h30", "1", parent="p2", venue="okx")) == "gate_shut"
    gate.apply(risk("normal"))
    assert send(gate, child("h31", "1", parent="p2", venue="okx")) == ""


def test_refusals_now_and_then_are_told_and_shut_nothing():
    gate = gate_of(only(refusals_max=3, refusals_window_s=60), placed())
    for number in range(10):
        now_ns = NOW + number * 30 * SECOND
        assert send(gate, over(number, at_ns=now_ns), now_ns) == "over_quantity"
    assert {one.what for one in gate.take_incidents()} == {REFUSED}
    assert gate.standing() == {HERE: ""}


@pytest.mark.parametrize("how", ["late", "cancel", "halted", "blind", "shut"])
def test_what_the_world_brings_about_is_no_circle(how):
    limits = only(refusals_max=1, stale_ms=1_000)
    gate = gate_of(limits, placed())
    now_ns, look = NOW, SEEN
    match how:
        case "late":
            now_ns = NOW + 60 * SECOND
        case "cancel":
            gate.apply(r.ParentCancelAsked(at_ns=NOW, parent="p1", why="asked to"))
        case "halted":
            gate.apply(risk("halted"))
        case "blind":
            look = BLIND
        case "shut":
            gate.shut(HERE, "maintenance")
    for number in range(5):
        assert send(gate, child(f"h{number}", "1"), now_ns, look)
    assert gate.take_incidents() == []


# ------------------------------------------------------------------------- who may send at all


def test_a_key_of_another_installation_does_not_leave():
    gate = gate_of(GATE_OFF, opened(1, "abc"), placed())
    assert send(gate, child("habd0001", "1")) == "not_ours"
    assert send(gate, child("habc0001", "1")) == ""


def test_what_an_older_epoch_intended_does_not_leave():
    one = child("habc0001", "1")
    gate = gate_of(GATE_OFF, opened(1, "abc"), placed(), one, opened(2, "abc"))
    assert code(gate.check(one, NOW)) == "sent_before"


def test_an_epoch_that_goes_back_shuts_everything():
    gate = gate_of(GATE_OFF, opened(3), opened(2), placed())
    assert gate.standing()[("", "")].startswith("epoch: ")
    assert send(gate, child(qty="1")) == "gate_shut"


def test_a_process_that_lost_the_journal_never_sends_again():
    gate = gate_of(GATE_OFF, placed())
    gate.disown("process 7 has it")
    assert send(gate, child(qty="1")) == "not_owner"
    gate.apply(risk("normal"))
    gate.open(HERE)
    gate.open(("", ""))
    assert send(gate, child("h2", "1")) == "not_owner", "for good"
    assert "process 7" in gate.standing()[("", "")]
    assert gate.take_incidents() == [], "there is no journal to tell it to"


def test_the_kill_switch_works_before_its_row_is_on_disk():
    long = [placed(), child("h0", "5"), fill("h0", "5", trade="t0"), placed("p2", side=S)]
    gate = gate_of(GATE_OFF, *long)
    gate.kill("a person")
    assert send(gate, child("h1", "1")) == "risk_halted"
    assert send(gate, child("h2", "5", parent="p2", side=S)) == "", "what reduces may pass"
    assert any(one.why == "a person" for one in gate.reasons())
    gate.apply(risk("normal"))
    assert send(gate, child("h3", "1")) == ""


def test_who_holds_a_place_must_let_go_of_it():
    gate = gate_of(GATE_OFF, placed(), opened=(HERE, ("kraken", "main")))
    gate.hold("desk", HERE, "its task dies", "by itself, once it runs", NOW)
    gate.open(HERE)
    assert send(gate, child("h1", "1")) == "gate_shut"
    assert send(gate, child("h2", "1", venue="kraken")) == ""
    gate.apply(risk("normal"))
    assert send(gate, child("h3", "1")) == "gate_shut", "nobody else's to lift"
    assert gate.standing()[HERE] == "its task dies"
    gate.release("desk")
    gate.release("desk")
    assert send(gate, child("h4", "1")) == ""


def test_everything_that_is_shut_says_why_since_when_and_what_lifts_it():
    gate = gate_of(GATE_OFF, placed(), opened=())
    gate.shut(HERE, "not connected", NOW)
    gate.shut(HERE, "reconciling", NOW + 5)
    gate.hold("run", ("", ""), "dies", "by itself", NOW + 6)
    gate.apply(structs.replace(fill("nobody"), at_ns=NOW + 7))
    gate.kill("me")
    gate.disown("")
    found = {(one.scope, one.why.partition(":")[0]): one for one in gate.reasons()}
    assert found[HERE, "reconciling"].since_ns == NOW, "since it was shut, not since the last word"
    assert "agree" in found[HERE, "reconciling"].lifted_by
    assert found[HERE, "unknown_order"].since_ns == NOW + 7
    assert "reset" in found[HERE, "unknown_order"].lifted_by
    assert found[("", ""), "dies"].lifted_by == "by itself"
    assert "reset" in found[("", ""), "me"].lifted_by
    assert found[("", ""), "another process owns the journal"].lifted_by.startswith("nothing")
    gate.shut(HERE, "again", NOW + 9)
    assert len(gate.reasons()) == len(found)


def test_the_worst_case_counts_what_it_let_through():
    """A limit asks of orders that left, not of those that were refused."""
    gate = gate_of(only(orders_per_second=2, collar_bps=Decimal(100)), WIDE)
    assert send(gate, child("h1", "1", px="200")) == "collar"
    assert send(gate, child("h2", "1", px="200")) == "collar"
    assert send(gate, child("h3", "1")) == ""
    assert send(gate, child("h4", "1")) == ""
    assert send(gate, child("h5", "1")) == "throttle"
