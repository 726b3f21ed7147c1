"""The gate's rules one by one: what passes, what does not, and what shuts a place for good."""

from decimal import Decimal

import pytest

from hean_router.domain import record as r
from hean_router.domain.instrument import Side
from hean_router.domain.limits import GATE_OFF
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind, Status, VenueChoice
from hean_router.gate import CHILDREN_MAX, FRESH_NS, Gate

NOW = 1_000_000_000_000
HERE = ("binance", "main")


def placed(parent="p1", qty="10", worst="100", side=Side.BUY, quote_max=None, **intent):
    asked = {
        "account": "main",
        "client_order_id": parent,
        "symbol": "BTC/USDT",
        "side": side,
        "qty": Decimal(qty),
        "limit_px": Decimal(worst),
    } | intent
    return r.ParentPlaced(
        at_ns=NOW,
        parent=parent,
        intent=Intent(**asked),
        digest="d",
        qty=Decimal(qty),
        quote_max=None if quote_max is None else Decimal(quote_max),
        worst_px=Decimal(worst),
        worst_usd=Decimal(1),
    )


def child(key="h1", qty="10", px="100", **other):
    row = {
        "at_ns": NOW,
        "key": key,
        "parent": "p1",
        "account": "main",
        "venue": "binance",
        "symbol": "BTC/USDT",
        "side": Side.BUY,
        "qty": Decimal(qty),
        "px": None if px is None else Decimal(px),
        "tif": Tif.IOC,
        "post_only": False,
        "round": 1,
        "reserve_asset": "USDT",
        "reserve": Decimal(1),
        "worst_px": Decimal(px or "100"),
    } | other
    return r.ChildIntended(**row)


def fill(key="h1", qty="1", px="100", trade="t1", **other):
    row = {
        "at_ns": NOW,
        "venue": "binance",
        "account": "main",
        "symbol": "BTC/USDT",
        "trade_id": trade,
        "key": key,
        "parent": "p1",
        "strategy": "",
        "venue_order_id": "",
        "side": Side.BUY,
        "px": Decimal(px),
        "qty": Decimal(qty),
        "fee": Decimal(0),
        "fee_asset": "USDT",
        "maker": None,
        "sent_ns": 0,
    } | other
    return r.Filled(**row)


def told(key, state, cum=None, order_id=""):
    cum = None if cum is None else Decimal(cum)
    return r.ChildReported(at_ns=NOW, key=key, state=state, cum_qty=cum, venue_order_id=order_id)


def acked(key, order_id="v1"):
    return r.ChildAcked(at_ns=NOW, key=key, venue_order_id=order_id)


def withdrawn(key):
    return r.ChildWithdrawn(at_ns=NOW, key=key, by="desk", code="late", why="late")


def rejected(key):
    return r.ChildRejected(at_ns=NOW, key=key, reject="FUNDS", code="-2010", text="")


def absent(key):
    return r.ChildAbsent(at_ns=NOW, key=key, proof="asked twice")


def unknown(key):
    return r.ChildUnknown(at_ns=NOW, key=key, why="lost", until_ns=NOW)


def risk(state):
    return r.RiskSet(at_ns=NOW, state=state, reason="because", by="me")


def opened(epoch=2, tag=""):
    return r.Opened(at_ns=NOW, epoch=epoch, tag=tag, version="1", config_digest="", mode="paper")


def cancel_asked():
    return r.ParentCancelAsked(at_ns=NOW, parent="p1", why="asked to")


def ended():
    return r.ParentEnded(at_ns=NOW, parent="p1", status=Status.CANCELED, why="")


def gate_of(*rows, opened=(HERE,)):
    gate = Gate(GATE_OFF)
    for row in rows:
        gate.apply(row)
    for scope in opened:
        gate.open(scope)
    return gate


def code(verdict):
    return verdict.partition(":")[0]


def look(rows, of, now_ns=NOW):
    """The code of the verdict on `of`, folded last."""
    verdict = gate_of(*rows, of).check(of, now_ns)
    assert not verdict or ": " in verdict
    return code(verdict)


P = placed()


@pytest.mark.parametrize(
    ("rows", "of", "verdict"),
    [
        # it leaves
        ([P], child(), ""),
        ([P], child(px="99.99"), ""),  # better than the limit
        ([P], child(tif=Tif.GTC), ""),  # a GTC parent may rest
        # of its parent
        ([], child(), "no_parent"),
        ([P], child(side=Side.SELL), "not_as_asked"),
        ([P], child(symbol="ETH/USDT"), "not_as_asked"),
        ([P], child(account="other"), "not_as_asked"),
        ([placed(venues=VenueChoice(exclude=("binance",)))], child(), "not_as_asked"),
        ([placed(venues=VenueChoice(include=("kraken",)))], child(), "not_as_asked"),
        ([placed(venues=VenueChoice(include=("binance",)))], child(), ""),
        ([P, cancel_asked()], child(), "parent_closed"),
        ([P, ended()], child(), "no_parent"),
        ([P, ended(), P], child(), "no_parent"),  # a parent's life is not lived twice
        ([P, P], child(), "parent_closed"),  # placed twice: which of the two is meant?
        # as long as was asked
        ([placed(life=Life.IOC)], child(tif=Tif.GTC), "not_as_asked"),
        ([placed(life=Life.IOC)], child(tif=Tif.FOK), ""),
        ([placed(life=Life.FOK)], child(), "not_as_asked"),
        ([placed(life=Life.FOK)], child(tif=Tif.FOK), ""),
        ([placed(post_only=True)], child(tif=Tif.GTC), "not_as_asked"),
        ([placed(post_only=True)], child(tif=Tif.GTC, post_only=True), ""),
        ([placed(life=Life.GTD, expire_ns=NOW)], child(), "expired"),
        ([placed(life=Life.GTD, expire_ns=NOW + 1)], child(), ""),
        # price
        ([P], child(px="100.01"), "over_price"),
        ([P], child(worst_px=Decimal("100.01")), "over_price"),  # the row has two minds
        ([P], child(px=None), "no_price"),  # the venue could fill it at any
        ([placed(side=Side.SELL)], child(side=Side.SELL, px="99.99"), "over_price"),
        ([placed(side=Side.SELL)], child(side=Side.SELL, px="100.01"), ""),
        (
            [placed(kind=OrderKind.MARKET, life=Life.IOC, limit_px=None)],
            child(px="101"),
            "over_price",  # a market order's collar holds as a limit does
        ),
        # money
        ([placed(quote_max="1000")], child(), ""),
        ([placed(quote_max="999.99")], child(), "over_money"),
        ([placed(quote_max="999.99")], child(px="90", worst_px=Decimal(100)), "over_money"),
    ],
)
def test_an_order_alone(rows, of, verdict):
    assert look(rows, of) == verdict


F, C, X, OPEN, J = (
    OrderState.FILLED,
    OrderState.CANCELED,
    OrderState.EXPIRED,
    OrderState.OPEN,
    OrderState.REJECTED,
)


@pytest.mark.parametrize(
    ("rows", "free"),
    [
        # The parent wants 10; its first child is 6.  -> what a second child may still ask for.
        ([], "4"),  # intended: it may exist
        ([acked("h1")], "4"),
        ([unknown("h1")], "4"),  # unknown counts in full
        ([fill(qty="2")], "4"),  # filled and open are the same six
        ([fill(qty="2"), unknown("h1")], "4"),
        ([withdrawn("h1")], "10"),
        ([rejected("h1")], "10"),
        ([unknown("h1"), absent("h1")], "10"),
        ([told("h1", J)], "10"),  # refused by its engine, after the ack
        ([told("h1", C, "0")], "10"),
        ([told("h1", X, "0"), acked("h1")], "10"),  # an ack read late revives nothing
        ([told("h1", C)], "4"),  # ended, but how much did it trade?
        ([told("h1", C), told("h1", C, "1")], "9"),  # asked, and told
        ([told("h1", C, "2")], "8"),  # the fills will come
        ([told("h1", C, "2"), fill(qty="2")], "8"),  # and count once
        ([told("h1", C, "2"), told("h1", C, "1")], "8"),  # its word never falls
        ([fill(qty="2"), told("h1", C, "2")], "8"),
        ([told("h1", F)], "4"),  # FILLED needs no number
        ([told("h1", OPEN, "1")], "4"),  # open: how much so far bounds nothing
        ([told("h1", C, "0"), told("h1", OPEN)], "4"),  # a ghost: ended, told to be open
        ([told("h1", C, "0"), told("h1", OPEN), told("h1", C, "0")], "10"),
        ([rejected("h1"), acked("h1")], "4"),  # taken after all
        ([fill(qty="2"), fill(qty="2")], "4"),  # the same trade
        ([told("h1", C, "2"), fill(qty="2"), fill(qty="2")], "8"),
        ([told("h1", C, "0"), fill(qty="2")], "8"),  # late, against the venue's own word
        ([told("h1", C, "2"), fill(qty="1"), fill(qty="1", trade="t2")], "8"),
        # told under the venue's id alone, before or after anyone could know whose it is
        ([acked("h1"), fill("", "2", venue_order_id="v1"), told("h1", C, "0")], "8"),
        ([fill("", "2", venue_order_id="v1"), acked("h1"), told("h1", C, "0")], "8"),
        ([fill("", "2", venue_order_id="v9"), acked("h1"), told("h1", C, "0")], "10"),
    ],
)
def test_what_a_child_leaves_for_the_next(rows, free):
    base = [P, child("h1", "6"), *rows]
    assert look(base, child("h2", free)) == ""
    assert look(base, child("h2", str(Decimal(free) + Decimal("0.00000001")))) == "over_quantity"


@pytest.mark.parametrize(
    ("rows", "free"),
    [
        # 1000 of quote, limit 100, first child 6 at 100 -> what a second may ask for at 100
        ([], "4"),
        ([fill(qty="6", px="50")], "7"),  # the price was better, by 300
        ([fill(qty="2", px="50"), told("h1", C, "2")], "9"),
        ([told("h1", C, "2")], "8"),  # its fills are to come, at worst at its limit
        ([withdrawn("h1")], "10"),
    ],
)
def test_money_is_counted_as_quantity_is(rows, free):
    base = [placed(qty="100", quote_max="1000"), child("h1", "6"), *rows]
    assert look(base, child("h2", free)) == ""
    assert look(base, child("h2", str(Decimal(free) + Decimal("0.00000001")))) == "over_money"


def test_no_digit_is_lost_between_a_great_number_and_a_small_one():
    base = [placed(qty="1E+30"), child("h1", "1E+30"), told("h1", C, "1E-30")]
    assert look(base, child("h2", "1E+30")) == "over_quantity"


# ------------------------------------------------------------------------- on disk, and once


def test_what_is_not_on_disk_does_not_leave():
    gate = gate_of(P)
    assert code(gate.check(child(), NOW)) == "not_journaled"


def test_what_differs_from_what_is_on_disk_does_not_leave():
    gate = gate_of(P, child(qty="1"))
    assert code(gate.check(child(qty="2"), NOW)) == "not_journaled"
    assert code(gate.check(child(qty="1", px="99"), NOW)) == "not_journaled"
    assert gate.check(child(qty="1"), NOW) == ""


def test_each_order_leaves_once():
    gate = gate_of(P, child(qty="1"))
    assert gate.check(child(qty="1"), NOW) == ""
    assert code(gate.check(child(qty="1"), NOW)) == "sent_before"


def test_a_refusal_is_no_leaving():
    gate = gate_of(P, child(qty="1"), opened=())
    assert code(gate.check(child(qty="1"), NOW)) == "gate_shut"
    gate.open(HERE)
    assert gate.check(child(qty="1"), NOW) == ""


@pytest.mark.parametrize(
    ("now_ns", "verdict"),
    [
        (NOW + FRESH_NS, ""),
        (NOW + FRESH_NS + 1, "late"),
        (NOW - 1, "early"),  # a clock that went back
    ],
)
def test_an_intention_must_be_fresh(now_ns, verdict):
    assert look([P], child(), now_ns) == verdict


def test_what_another_process_intended_does_not_leave_from_this_one():
    gate = gate_of(P, child(qty="1"), opened())
    assert code(gate.check(child(qty="1"), NOW)) == "sent_before"


@pytest.mark.parametrize("end", [withdrawn("h1"), fill(qty="1"), told("h1", C, "0")])
def test_what_has_ended_or_traded_does_not_leave(end):
    gate = gate_of(P, child(qty="2"), end)
    assert code(gate.check(child(qty="2"), NOW)) == "over"


def test_a_parent_that_runs_in_circles_is_stopped():
    rows = [P]
    for number in range(CHILDREN_MAX - 1):
        rows += [child(f"h{number}", "1"), withdrawn(f"h{number}")]
    assert look(rows, child("last", "1")) == ""
    rows += [child("last", "1"), withdrawn("last")]
    assert look(rows, child("one_more", "1")) == "throttle"


# ------------------------------------------------------------------------- the risk state


def of_other(parent, key, side, qty, venue="binance"):
    """A parent of the other kind and its child."""
    return [
        placed(parent, side=side),
        child(key, qty, parent=parent, side=side, venue=venue),
    ]


LONG = [P, child("h0", "5"), fill("h0", "5", trade="t0")]
SELL = placed("p2", side=Side.SELL)


@pytest.mark.parametrize("state", ["reduce_only", "halted"])
@pytest.mark.parametrize(
    ("rows", "of", "passes"),
    [
        ([], child("h1", "1"), False),  # flat: nothing reduces
        (LONG, child("h1", "1"), False),  # more of it
        (LONG, child("h1", "5", parent="p2", side=Side.SELL), True),
        (LONG, child("h1", "5.1", parent="p2", side=Side.SELL), False),  # through zero
        # another sell is out, at another venue: both could fill
        (
            [*LONG, *of_other("p3", "h9", Side.SELL, "3", "kraken")],
            child("h1", "2.1", parent="p2", side=Side.SELL),
            False,
        ),
        (
            [*LONG, *of_other("p3", "h9", Side.SELL, "3", "kraken")],
            child("h1", "2", parent="p2", side=Side.SELL),
            True,
        ),
        # the position is the account's and the symbol's own
        ([*LONG], child("h1", "1", parent="p2", side=Side.SELL, account="other"), False),
    ],
)
def test_only_what_reduces_leaves(state, rows, of, passes):
    verdict = look([*rows, *([] if P in rows else [P]), SELL, risk(state)], of)
    if passes:
        assert verdict == ""
    else:
        assert verdict in {f"risk_{state}", "not_as_asked"}


def test_the_state_ends_by_a_row_and_an_unknown_one_is_no_leave():
    assert look([P, risk("halted")], child()) == "risk_halted"
    assert look([P, risk("halted"), risk("normal")], child()) == ""
    assert look([P, risk("odd")], child()) == "risk_odd"


def test_a_position_out_of_orphans_counts_too():
    rows = [placed(side=Side.SELL), fill("", "3", parent=""), risk("reduce_only")]
    assert look(rows, child(qty="3", side=Side.SELL)) == ""
    assert look(rows, child(qty="4", side=Side.SELL)) == "risk_reduce_only"


# ------------------------------------------------------------------------- places


def test_a_gate_starts_shut_and_opens_place_by_place():
    one = child(qty="1")
    gate = gate_of(P, one, opened=(("binance", "other"), ("kraken", "main"), ("binance", "")))
    assert gate.check(one, NOW) == "gate_shut: not reconciled yet"
    gate.open(HERE)
    assert gate.check(one, NOW) == ""


@pytest.mark.parametrize("scope", [("", ""), ("binance", ""), ("", "main"), HERE])
def test_any_scope_that_holds_it_shuts_it(scope):
    one = child(qty="1")
    gate = gate_of(P, one)
    gate.shut(scope, "maintenance")
    assert gate.check(one, NOW) == "gate_shut: maintenance"
    assert gate.standing()[scope] == "maintenance"
    gate.open(scope)
    assert gate.standing()[scope] == ""
    assert gate.check(one, NOW) == ""


@pytest.mark.parametrize("scope", [("kraken", ""), ("kraken", "main"), ("binance", "other")])
def test_other_places_do_not_matter(scope):
    one = child(qty="1")
    gate = gate_of(P, one)
    gate.shut(scope, "maintenance")
    assert gate.check(one, NOW) == ""


# ------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        ([child("h1", "10"), fill(qty="11")], "overfill"),  # of the parent
        ([child("h1", "2"), fill(qty="3")], "overfill"),  # of the child alone
        (
            [child("h1", "10"), fill(qty="10"), ended(), fill(qty="1", trade="t2")],
            "overfill",  # long after
        ),
        ([child("h1"), rejected("h1"), fill()], "after_never"),
        ([child("h1"), withdrawn("h1"), fill()], "after_never"),
        ([child("h1"), unknown("h1"), absent("h1"), fill()], "after_never"),
        ([child("h1"), fill(side=Side.SELL)], "not_as_asked"),
        ([child("h1"), fill(symbol="ETH/USDT")], "not_as_asked"),
        ([child("h1"), fill(px="100.01")], "price"),  # worse than its limit
        ([fill("nobody")], "unknown_order"),
        ([child("h1"), child("h1")], "key_reused"),
        ([child("h1"), fill(qty="NaN")], "failed"),
        ([child("h1"), fill(qty="-1")], "failed"),
        ([child("h1", "NaN")], "failed"),
        ([child("h1"), told("h1", C, "NaN")], "failed"),
        # a sum that could not be exact
        ([child("h1"), fill(), fill(qty="1E-900", trade="t2")], "failed"),
    ],
)
def test_a_contradiction_shuts_the_place_until_a_person_resets_it(rows, what):
    gate = gate_of(P, *rows)
    (incident,) = gate.take_incidents()
    assert (incident.what, incident.venue, incident.account) == (f"gate_{what}", *HERE)
    assert gate.take_incidents() == []
    good = [placed("p9"), child("h9", "1", parent="p9"), child("h8", "1", parent="p9")]
    elsewhere = child("h7", "1", parent="p9", venue="kraken")
    for row in [*good, elsewhere]:
        gate.apply(row)
    gate.open(("kraken", "main"))
    gate.open(HERE)  # reconciling repairs nothing
    assert what in gate.check(good[1], NOW)
    assert code(gate.check(good[1], NOW)) == "gate_shut"
    assert gate.standing()[HERE]
    assert gate.check(elsewhere, NOW) == "", "another venue goes on"
    gate.apply(risk("normal"))
    assert gate.check(good[1], NOW) == ""


def test_faults_come_back_from_the_journal():
    rows = [P, child("h1", "10"), fill(qty="11"), opened()]
    assert gate_of(*rows).standing()[HERE].startswith("overfill")
    assert gate_of(*rows, risk("normal")).standing()[HERE] == ""


@pytest.mark.parametrize(
    "rows",
    [
        [child("h1"), told("h1", C, "0"), fill()],  # a fill crossed the cancel: ordinary
        [child("h1"), told("h1", F), acked("h1")],
        [child("h1"), unknown("h1"), told("h1", OPEN), told("h1", C, "0")],
        [child("h1"), rejected("h1"), acked("h1")],  # counted, and asked about by others
        [child("h1"), fill(), fill()],  # told twice
        [fill("", parent="")],  # by hand, on the account
        [child("h1", px="100"), fill(px="99")],  # better
        [child("h1", "4"), fill(qty="4"), ended(), fill("h1", "4"), opened()],
        [told("nobody", F), withdrawn("nobody"), acked("nobody")],
    ],
)
def test_what_the_world_does_every_day_is_no_fault(rows):
    gate = gate_of(P, *rows)
    assert gate.take_incidents() == []
    assert gate.standing() == {HERE: ""}


def test_an_error_inside_is_a_refusal_and_shuts_the_place(monkeypatch):
    one = child(qty="1")
    gate = gate_of(P, one)

    def broken(*_):
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(gate, "_within_price", broken)
        assert gate.check(one, NOW) == "gate_failed: ZeroDivisionError: a bug"
    gate.open(HERE)
    assert code(gate.check(one, NOW)) == "gate_shut"
    assert gate.take_incidents()[0].what == "gate_failed"


def test_a_thing_that_is_no_order_is_refused():
    gate = gate_of(P, child())
    assert code(gate.check(object(), NOW)) == "gate_failed"
    assert code(gate.check(child(), NOW)) == "gate_shut", "whose it was is not known: everywhere"


def test_an_ended_parent_is_counted_while_something_of_it_may_trade():
    # Ended too early, by somebody's bug: its order lives on, and bounds what else may be sold.
    rows = [*LONG, SELL, child("h1", "3", parent="p2", side=Side.SELL)]
    rows += [r.ParentEnded(at_ns=NOW, parent="p2", status=Status.CANCELED, why="")]
    rows += [placed("p3", side=Side.SELL), risk("reduce_only")]
    assert look(rows, child("h2", "2", parent="p3", side=Side.SELL)) == ""
    assert look(rows, child("h2", "3", parent="p3", side=Side.SELL)) == "risk_reduce_only"
    late = [*rows, fill("h1", "3", side=Side.SELL, trade="t9", parent="p2")]
    assert gate_of(*late).take_incidents() == []
