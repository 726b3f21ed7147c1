"""Every rule as a table: what stands, what is asked, the verdict, and why it is right."""

from decimal import Decimal

import pytest

from hean_router.domain.limits import RiskLimits
from hean_router.domain.order import Approved, Tif
from hean_router.domain.parent import Life
from hean_router.domain.rates import Rate
from hean_router.risk import Denied, Risk
from tests.risk.risk_kit import (
    BTC,
    BUY,
    ETH,
    MS,
    NOW,
    SECOND,
    SELL,
    child,
    code,
    ended,
    enter,
    fill,
    hold,
    intended,
    lists,
    only,
    placed,
    send,
    some,
    switch,
    told,
    view,
    want,
)  # fmt: skip

# ---------------------------------------------------------------------------- one parent

PARENTS = [
    # limits of the portfolio, what is wanted, code, why
    ({"parent_notional_max": 1000}, (BUY, 10, 100), "", "exactly the limit is allowed"),
    ({"parent_notional_max": 1000}, (BUY, "10.0001", 100), "limit_parent_notional", "a lot above"),
    ({"parent_notional_max": 1000}, (SELL, "10.0001", 99), "limit_parent_notional",
     "a sale is worth the mid, however low its worst price"),
    ({"parent_notional_max": 1000}, (SELL, "9.99", 101), "limit_parent_notional", "... or its own"),
    ({"parent_notional_max": 0}, (BUY, "0.0001", 1), "limit_parent_notional", "0 forbids all"),
    ({"collar_bps": 100}, (BUY, 1, 101), "", "on the edge"),
    ({"collar_bps": 100}, (BUY, 1, "101.01"), "collar", "beyond it"),
    ({"collar_bps": 100}, (SELL, 1, 99), "", "on the edge below"),
    ({"collar_bps": 100}, (SELL, 1, "98.99"), "collar", "beyond it below"),
    ({"collar_bps": 100}, (BUY, 1, 1), "", "a passive price gives nothing away"),
    ({"collar_bps": 100}, (SELL, 1, 5000), "", "nor does a passive sale"),
    ({}, (BUY, 1, 5000), "", "no limit, no denial"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "wanted", "expected", "why"), PARENTS)
def test_a_parent_by_itself(limits, wanted, expected, why):
    risk = Risk(only(portfolio=some(**limits)))
    assert code(risk.admit([want(*wanted)], view())) == expected, why


REFERENCES = [
    # mid, last good, side, px, code, why
    (100, 100, BUY, 101, "", "both agree"),
    (120, 100, BUY, 120, "collar", "the mid ran away in a thin book; the reference holds it"),
    (100, 120, BUY, 120, "collar", "... and the other way round"),
    (80, 100, SELL, 80, "collar", "the mid fell through an empty side"),
    (100, 80, SELL, 80, "collar", "... and the other way round"),
]


@pytest.mark.parametrize(("mid", "good", "side", "px", "expected", "why"), REFERENCES)
def test_the_collar_holds_against_both_references(mid, good, side, px, expected, why):
    risk = Risk(only(portfolio=some(collar_bps=100)))
    seen = view(mids={BTC: (Decimal(mid), NOW)}, last_good={BTC: Decimal(good)})
    assert code(risk.admit([want(side, 1, px)], seen)) == expected, why
    edge = risk.collar_px("main", BTC, side, seen)
    assert code(risk.admit([want(side, 1, edge)], seen)) == "", "the edge itself is inside"
    step = Decimal("0.0001") * (1 if side is BUY else -1)
    assert code(risk.admit([want(side, 1, edge + step)], seen)) == "collar"


DATA = [
    # changes of the view, code, why
    ({}, "", "fresh"),
    ({"mids": {}}, "stale_data", "no mid at all"),
    ({"mids": {BTC: (Decimal(100), NOW - 1000 * MS)}}, "", "exactly as old as allowed"),
    ({"mids": {BTC: (Decimal(100), NOW - 1000 * MS - 1)}}, "stale_data", "older"),
    ({"last_good": {}}, "stale_data", "nothing to hold the mid against"),
    ({"rates": {}}, "no_rate", "a tether is not taken for a dollar"),
    ({"rates": {"USDT": Rate(Decimal(1), NOW - 60_000 * MS, "")}}, "", "exactly as old as allowed"),
    (
        {"rates": {"USDT": Rate(Decimal(1), NOW - 60_001 * MS, "")}},
        "no_rate",
        "an old rate is none",
    ),
]


@pytest.mark.parametrize(("changes", "expected", "why"), DATA)
def test_data_that_is_missing_or_old(changes, expected, why):
    risk = Risk(only(portfolio=some(stale_ms=1000)))
    assert code(risk.admit([want(BUY, 1)], view(**changes))) == expected, why


def test_the_reporting_currency_needs_no_rate_and_any_can_be_it():
    risk = Risk(RiskLimits(reporting="USDT"))
    assert risk.admit([want(BUY, 2, 99)], view(rates={})) == (Decimal(198),)
    usd = Risk(only())
    rates = {"USDT": Rate(Decimal("0.9991"), NOW, "")}
    assert usd.admit([want(BUY, 2, 99)], view(rates=rates)) == (Decimal("197.8218"),)
    third = {"USDT": Rate(Decimal(1) / 3, NOW, "")}
    assert usd.admit([want(BUY, 1, 100)], view(rates=third)) == (Decimal("33.33333334"),), "up"


LOSSES = [
    # limit of the account and of all, profits of main and other, code, why
    (100, None, -99, 0, "", "not yet"),
    (100, None, -100, 0, "limit_daily_loss", "reached"),
    (100, None, 0, -500, "", "another account's loss"),
    (None, 500, -200, -299, "", "together not yet"),
    (None, 500, -200, -300, "limit_daily_loss", "together reached"),
    (None, 500, -600, 200, "", "one gains what the other lost"),
    (100, None, None, 0, "no_rate", "nobody knows what was lost"),
    (None, 500, 0, None, "no_rate", "... somewhere"),
    (None, None, None, None, "", "and nobody asks"),
    (0, None, 1, 0, "", "0: any loss stops"),
    (0, None, 0, 0, "limit_daily_loss", "... and no gain is no room"),
]


@pytest.mark.parametrize(("mine", "all_of_us", "main", "other", "expected", "why"), LOSSES)
def test_the_daily_loss(mine, all_of_us, main, other, expected, why):
    limits = only(
        portfolio=some(**({} if all_of_us is None else {"daily_loss_max": all_of_us})),
        each_account=some(**({} if mine is None else {"daily_loss_max": mine})),
    )
    risk = Risk(limits)
    pnl = {n: None if v is None else Decimal(v) for n, v in (("main", main), ("other", other))}
    seen = view(day_pnl=pnl)
    assert code(risk.admit([want(BUY, 1)], seen)) == expected, why
    hold(risk, 5)
    assert code(risk.admit([want(SELL, 5)], seen)) == "", "out of a losing position, always"
    of = placed(want(BUY, 1), Decimal(100))
    assert code(risk.review(child(of), of, seen)) == expected, "and no more children either"


# ---------------------------------------------------------------------------- exposure

EXPOSURES = [
    # scope's limits; positions (account, symbol, qty); open parents; what is asked; code; why
    ({"each_symbol": {"position_max": 1000}}, [], [], [(BUY, 10)], "", "exactly"),
    ({"each_symbol": {"position_max": 1000}}, [], [], [(BUY, "10.01")], "limit_position", "above"),
    ({"each_symbol": {"position_max": 1000}}, [], [], [(SELL, "10.01")], "limit_position", "short"),
    ({"each_symbol": {"position_max": 1000}}, [("main", BTC, 6)], [], [(BUY, 5)],
     "limit_position", "what is held counts"),
    ({"each_symbol": {"position_max": 1000}}, [("main", BTC, 6)], [], [(SELL, 16)], "",
     "six long, then ten short"),
    ({"each_symbol": {"position_max": 1000}}, [("main", BTC, 6)], [], [(SELL, 17)],
     "limit_position", "... eleven"),
    ({"each_symbol": {"position_max": 1000}}, [], [(BUY, 6)], [(BUY, 5)], "limit_position",
     "what is open counts as filled"),
    ({"each_symbol": {"position_max": 1000}}, [], [(SELL, 6)], [(BUY, 10)], "",
     "an open sale makes no room and takes none"),
    ({"each_symbol": {"position_max": 1000}}, [], [(SELL, 6)], [(BUY, 11)], "limit_position",
     "... the sale may never fill"),
    ({"each_symbol": {"position_max": 1000}}, [("other", BTC, 9)], [], [(BUY, 10)], "",
     "a position is one account's"),
    ({"each_symbol": {"position_max": 1000}}, [("main", ETH, 99)], [], [(BUY, 10)], "",
     "... in one symbol"),
    ({"each_symbol": {"position_max": 1000}}, [], [], [(BUY, 6), (BUY, 5)], "limit_position",
     "legs count together"),
    ({"each_symbol": {"gross_max": 1000}}, [("other", BTC, -6)], [], [(BUY, 5)],
     "limit_gross_exposure", "gross does not net accounts"),
    ({"each_symbol": {"net_max": 1000}}, [("other", BTC, -6)], [], [(BUY, 15)], "",
     "net does"),
    ({"each_symbol": {"net_max": 1000}}, [("other", BTC, -6)], [], [(BUY, 17)],
     "limit_net_exposure", "... until it is too much"),
    ({"each_account": {"gross_max": 1000}}, [("main", ETH, 50)], [], [(BUY, 6)],
     "limit_gross_exposure", "all symbols of the account"),
    ({"each_account": {"gross_max": 1000}}, [("other", ETH, 50)], [], [(BUY, 10)], "",
     "another account"),
    ({"each_account": {"net_max": 1000}}, [("main", ETH, -50)], [], [(BUY, 15)], "",
     "short in one, long in the other"),
    ({"each_account": {"net_max": 1000}}, [], [], [(BUY, 15), (SELL, 15)], "limit_net_exposure",
     "each leg may fill alone"),
    ({"portfolio": {"gross_max": 1000}}, [("other", ETH, 50)], [], [(BUY, 6)],
     "limit_gross_exposure", "all accounts"),
    ({"portfolio": {"net_max": 1000}}, [("other", ETH, -50)], [], [(BUY, 15)], "", "all netted"),
    ({"portfolio": {"net_max": 1000}}, [("other", ETH, 50)], [], [(SELL, 15)], "",
     "netted the other way"),
    ({"symbol": {BTC: {"position_qty_max": 2}}}, [], [], [(BUY, 2)], "", "in base, exactly"),
    ({"symbol": {BTC: {"position_qty_max": 2}}}, [], [], [(BUY, "2.1")], "limit_position", "above"),
    ({"symbol": {ETH: {"position_qty_max": 2}}}, [], [], [(BUY, 3)], "", "another symbol's"),
    ({"account": {"main": {"gross_max": 100}}}, [], [], [(BUY, 2)], "limit_gross_exposure",
     "this account's own"),
    ({"account": {"other": {"gross_max": 100}}}, [], [], [(BUY, 2)], "", "not that one's"),
    ({"each_symbol": {"position_max": 1000}}, [("main", BTC, 20)], [], [(SELL, 5)], "",
     "what is over its limit may shrink"),
    ({"each_symbol": {"position_max": 1000}}, [("main", BTC, 20)], [], [(BUY, 1)],
     "limit_position", "... not grow"),
    ({"each_account": {"gross_max": 1000}}, [("main", ETH, 500)], [], [(BUY, 1)],
     "limit_gross_exposure", "nor may another symbol be added"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "held", "live", "asked", "expected", "why"), EXPOSURES)
def test_exposure(limits, held, live, asked, expected, why):
    bounds = {
        name: some(**value)
        if name.startswith(("each", "port"))
        else {of: some(**what) for of, what in value.items()}
        for name, value in limits.items()
    }
    risk = Risk(only(**bounds))
    for account, symbol, qty in held:
        hold(risk, qty, symbol, account)
    for side, qty in live:
        enter(risk, want(side, qty))
    before = risk.state_hash()
    assert code(risk.admit([want(*one) for one in asked], view())) == expected, why
    assert risk.state_hash() == before, "asking changes nothing"


NO_RATES = [
    # limits, positions, asked, rates that are missing, code, why
    ({"portfolio": {"gross_max": 9999}}, [("main", ETH, 1)], (BUY, 1), {"ETH"}, "no_rate",
     "what cannot be valued cannot be held against a limit"),
    ({"each_symbol": {"gross_max": 9999}}, [("main", ETH, 1)], (BUY, 1), {"ETH"}, "",
     "this limit does not ask about it"),
    ({}, [("main", ETH, 1)], (BUY, 1), {"ETH"}, "", "no limit does"),
    ({"portfolio": {"gross_max": 9999}}, [("main", ETH, 0)], (BUY, 1), {"ETH"}, "",
     "nothing of it is worth nothing"),
    ({"portfolio": {"gross_max": 9999}}, [("main", ETH, 1), ("main", BTC, 2)], (SELL, 2), {"ETH"},
     "", "what reduces is let through"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "held", "asked", "missing", "expected", "why"), NO_RATES)
def test_a_rate_that_a_limit_needs(limits, held, asked, missing, expected, why):
    risk = Risk(only(**{name: some(**value) for name, value in limits.items()}))
    for account, symbol, qty in held:
        if qty:
            hold(risk, qty, symbol, account)
    full = view()
    rates = {asset: rate for asset, rate in full.rates.items() if asset not in missing}
    mids = {symbol: mid for symbol, mid in full.mids.items() if symbol.split("/")[0] not in missing}
    seen = view(rates=rates, mids=mids)
    assert code(risk.admit([want(*asked)], seen)) == expected, why


def test_without_its_own_rate_an_asset_is_valued_by_its_mid():
    risk = Risk(only(portfolio=some(gross_max=1000)))
    seen = view(rates={"USDT": Rate(Decimal("0.5"), NOW, "")})
    assert code(risk.admit([want(BUY, 20)], seen)) == ""
    assert code(risk.admit([want(BUY, "20.1")], seen)) == "limit_gross_exposure"


def test_a_fee_in_base_is_no_position():
    risk = Risk(only())
    for number in range(1000):  # an arbitrage that sells what it received
        hold_fee(risk, BUY, 1, "0.001", number)
        hold_fee(risk, SELL, "0.999", 0, number)
    assert risk.position("main", BTC) == 0
    assert risk.position("main", BTC, "okx") == 0


def hold_fee(risk, side, qty, fee, number):
    of = placed(want(side, qty), Decimal(100), parent=f"q{side}{number}")
    risk.apply(of)
    row = send(risk, of)
    risk.apply(fill(row, qty, fee=fee, fee_asset="BTC"))
    risk.apply(ended(of.parent))


# ---------------------------------------------------------------------------- rates and twins


def test_the_rate_of_parents_per_second_and_per_minute():
    risk = Risk(only(each_account=some(parents_per_second=2, parents_per_minute=3)))
    enter(risk, want(BUY, 1))
    assert code(risk.admit([want(BUY, 1), want(BUY, 2)], view())) == "limit_order_rate", "legs too"
    enter(risk, want(BUY, 1))
    assert code(risk.admit([want(BUY, 1)], view())) == "limit_order_rate"
    assert code(risk.admit([want(BUY, 1, account="other")], view())) == "", "by account"
    assert code(risk.admit([want(BUY, 1)], view(NOW + SECOND - 1))) == "limit_order_rate"
    enter(risk, want(BUY, 1), NOW + SECOND)
    assert code(risk.admit([want(BUY, 1)], view(NOW + 30 * SECOND))) == "limit_order_rate", "minute"
    assert code(risk.admit([want(BUY, 1)], view(NOW + 60 * SECOND))) == ""


def test_a_clock_that_was_set_back_does_not_shut_us_out():
    risk = Risk(only(each_account=some(parents_per_minute=1)))
    enter(risk, want(BUY, 1), NOW + 3600 * SECOND)
    assert code(risk.admit([want(BUY, 1)], view(NOW))) == ""


TWINS = [
    # the second one, how long after, code, why
    ((BUY, 1, 100), {}, 499, "duplicate_window", "the same again"),
    ((BUY, 1, 100), {}, 500, "", "later it is meant"),
    ((BUY, "1.0", "100.00"), {}, 1, "duplicate_window", "the same number, spelled otherwise"),
    ((BUY, 1, 100), {"client": "first"}, 1, "", "the same id: an idempotent repeat"),
    ((SELL, 1, 100), {}, 1, "", "another side"),
    ((BUY, 2, 100), {}, 1, "", "another size"),
    ((BUY, 1, 99), {}, 1, "", "another price"),
    ((BUY, 1, 100), {"account": "other"}, 1, "", "another account"),
    ((BUY, 1, 100, ETH), {}, 1, "", "another symbol"),
    ((BUY, 1, 100), {"group": "g", "strategy": "arb"}, 1, "", "a strategy means its legs"),
]


@pytest.mark.parametrize(("second", "how", "after_ms", "expected", "why"), TWINS)
def test_the_same_order_twice(second, how, after_ms, expected, why):
    risk = Risk(only(portfolio=some(duplicate_window_ms=500)))
    enter(risk, want(BUY, 1, 100, client="first"))
    seen = view(NOW + after_ms * MS)
    assert code(risk.admit([want(*second, **how)], seen)) == expected, why
    off = Risk(only(portfolio=some(duplicate_window_ms=0)))
    enter(off, want(BUY, 1, 100, client="first"))
    assert code(off.admit([want(*second, **how)], seen)) == "", "0 turns it off"


def test_a_strategys_leg_is_no_twin_of_what_a_person_orders():
    risk = Risk(only(portfolio=some(duplicate_window_ms=500)))
    enter(risk, want(BUY, 1, group="g"))
    assert code(risk.admit([want(BUY, 1)], view())) == ""


def test_twins_within_one_call_and_after_many_others():
    risk = Risk(only(portfolio=some(duplicate_window_ms=500)))
    assert code(risk.admit([want(BUY, 1), want(BUY, 1)], view())) == "duplicate_window"
    assert code(risk.admit([want(BUY, 1, group="g"), want(BUY, 1, group="g")], view())) == ""
    for number in range(100):  # old ones are forgotten, the newest is not
        enter(risk, want(BUY, 1), NOW + number * SECOND)
    assert len(risk._folded.recent) == 1
    assert code(risk.admit([want(BUY, 1)], view(NOW + 99 * SECOND))) == "duplicate_window"


# ---------------------------------------------------------------------------- one child

CHILDREN = [
    # limits of the portfolio, the child, changes of the view, code, why
    ({}, {}, {}, "", "nothing against it"),
    ({"order_notional_max": 500}, {"qty": 5}, {}, "", "exactly"),
    ({"order_notional_max": 500}, {"qty": "5.0001"}, {}, "limit_order_notional", "above"),
    ({"collar_bps": 100}, {}, {"last_good": {BTC: Decimal(90)}}, "collar", "the market has moved"),
    ({"collar_bps": 100}, {"market": True}, {"last_good": {BTC: Decimal(90)}}, "collar",
     "a market order is its parent's worst price"),
    ({}, {"px": "100.01"}, {}, "collar", "worse than its parent was let through with"),
    ({}, {"px": "99.99"}, {}, "", "better is fine"),
    ({"stale_ms": 100}, {}, {"mids": {BTC: (Decimal(100), NOW - 101 * MS)}}, "stale_data", "old"),
    ({}, {}, {"mids": {}}, "stale_data", "missing"),
    ({}, {}, {"venue_why": {("okx", "main"): "no private stream"}}, "venue_unhealthy", "told"),
    ({}, {}, {"venue_why": {}}, "venue_unhealthy", "nothing known is no health"),
    ({"open_orders_max": 0}, {}, {}, "limit_open_orders", "none at all"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "how", "changes", "expected", "why"), CHILDREN)
def test_a_child_by_itself(limits, how, changes, expected, why):
    risk = Risk(only(portfolio=some(**limits)))
    of = placed(want(BUY, 10, 100), Decimal(1000))
    risk.apply(of)
    order = child(of, **how)
    verdict = risk.review(order, of, view(**changes))
    assert code(verdict) == expected, why
    assert isinstance(verdict, Denied) or verdict == Approved(order)


CROSSINGS = [
    # what rests (side, px, tif), what comes, code, why
    (SELL, 101, Tif.GTC, (BUY, 101), "self_cross", "it would trade with ourselves"),
    (SELL, 101, Tif.GTC, (BUY, 102), "self_cross", "through it"),
    (SELL, 101, Tif.GTC, (BUY, 100), "", "below it"),
    (BUY, 99, Tif.GTC, (SELL, 99), "self_cross", "a sale meets our bid"),
    (BUY, 99, Tif.GTC, (SELL, 100), "", "above it"),
    (BUY, 99, Tif.GTC, (BUY, 120), "", "our own side"),
    (SELL, 101, Tif.IOC, (BUY, 101), "", "an IOC never rests"),
]


@pytest.mark.parametrize(("side", "px", "tif", "comes", "expected", "why"), CROSSINGS)
@pytest.mark.parametrize(("venue", "account"), [("okx", "main"), ("kraken", "other")])
def test_crossing_our_own_order(side, px, tif, comes, expected, why, venue, account):
    risk = Risk(only())
    of = placed(want(side, 1, px, account=account), Decimal(100))
    risk.apply(of)
    resting = send(risk, of, venue=venue, tif=tif)
    new = placed(want(*comes[:1], 1, comes[1]), Decimal(100))
    assert code(risk.review(child(new), new, view())) == expected, why
    risk.apply(told(resting, "CANCELED", 0))
    assert code(risk.review(child(new), new, view())) == "", "gone, and out of the way"
    market = placed(want(*comes[:1], 1, comes[1]), Decimal(100))
    assert code(risk.review(child(market, market=True), market, view())) == ""


def test_of_several_that_rest_the_nearest_counts():
    risk = Risk(only())
    rows = []
    for px in (103, 101, 102, 101):
        of = placed(want(SELL, 1, px), Decimal(100))
        risk.apply(of)
        rows.append(send(risk, of))
    new = placed(want(BUY, 1, 101), Decimal(100))
    for row, expected in ((rows[1], "self_cross"), (rows[3], ""), (rows[0], "")):
        risk.apply(told(row, "CANCELED", 0))
        assert code(risk.review(child(new), new, view())) == expected


def test_of_several_bids_that_rest_the_highest_counts():
    risk = Risk(only())
    for px in (98, 99):
        of = placed(want(BUY, 1, px), Decimal(100))
        risk.apply(of)
        send(risk, of)
    new = placed(want(SELL, 1, 99), Decimal(100))
    assert code(risk.review(child(new), new, view())) == "self_cross"


def test_open_orders_by_venue_account_and_in_all():
    limits = only(
        portfolio=some(open_orders_max=4),
        each_account=some(open_orders_max=3),
        each_venue=some(open_orders_max=2),
    )
    risk = Risk(limits)
    of = placed(want(BUY, 10), Decimal(1000))
    risk.apply(of)
    other = placed(want(BUY, 10, account="other"), Decimal(1000))
    risk.apply(other)
    first, second = child(of, qty=1), child(of, qty=1)
    assert code(risk.review(second, of, view(), ahead=[first])) == ""
    assert code(risk.review(child(of, qty=1), of, view(), [first, second])) == "limit_open_orders"
    rows = [intended(order, of) for order in (first, second)]
    for row in rows:
        risk.apply(row)
    assert code(risk.review(child(of, qty=1), of, view())) == "limit_open_orders", "the venue's"
    assert code(risk.review(child(of, qty=1, venue="kraken"), of, view())) == ""
    send(risk, of, qty=1, venue="kraken")
    denied = risk.review(child(of, qty=1, venue="kraken"), of, view())
    assert (code(denied), "account main" in denied.reason) == ("limit_open_orders", True)
    assert code(risk.admit([want(BUY, 1)], view())) == "limit_open_orders", "no parent either"
    send(risk, other, qty=1, venue="kraken")
    last = risk.review(
        child(other, qty=1, venue="bybit"), other, view(venue_why={("bybit", "other"): ""})
    )
    assert (code(last), "portfolio" in last.reason) == ("limit_open_orders", True)
    risk.apply(told(rows[0], "CANCELED", 0))
    assert code(risk.review(child(of, qty=1), of, view())) == "", "one has ended"


def test_the_rate_of_orders():
    risk = Risk(only(each_account=some(orders_per_second=2, orders_per_minute=3)))
    of = placed(want(BUY, 10), Decimal(1000))
    risk.apply(of)
    ahead = [child(of, qty=1) for _ in range(2)]
    assert code(risk.review(child(of, qty=1), of, view(), ahead[:1])) == ""
    assert code(risk.review(child(of, qty=1), of, view(), ahead)) == "limit_order_rate"
    for _ in range(2):
        send(risk, of, qty=1)
    assert code(risk.review(child(of, qty=1), of, view())) == "limit_order_rate"
    later = NOW + SECOND
    assert code(risk.review(child(of, qty=1), of, view(later))) == ""
    send(risk, of, qty=1, at_ns=later)
    assert code(risk.review(child(of, qty=1), of, view(later + SECOND))) == "limit_order_rate"


VENUES = [
    # limits, position there, orders that are out there, the child, code, why
    ({"gross_max": 1000}, 0, [], 10, "", "exactly"),
    ({"gross_max": 1000}, 0, [], "10.01", "limit_gross_exposure", "above"),
    ({"gross_max": 1000}, 6, [], 5, "limit_gross_exposure", "with what is there"),
    ({"gross_max": 1000}, 0, [6], 5, "limit_gross_exposure", "with what is out"),
    ({"net_max": 1000}, 6, [], 5, "limit_net_exposure", "net of one symbol is the same"),
    ({"gross_max": 1000}, -20, [], 5, "", "too much already, but this brings it down"),
]


@pytest.mark.parametrize(("limits", "held", "out", "qty", "expected", "why"), VENUES)
def test_exposure_at_one_venue(limits, held, out, qty, expected, why):
    risk = Risk(only(each_venue=some(**limits)))
    if held:
        hold(risk, held)
    of = placed(want(BUY, 100), Decimal(10_000))
    risk.apply(of)
    for size in out:
        send(risk, of, qty=size)
    before = risk.state_hash()
    assert code(risk.review(child(of, qty=qty), of, view())) == expected, why
    assert risk.state_hash() == before
    if not held:
        ahead = [child(of, qty=5)]
        assert code(risk.review(child(of, qty=6), of, view(), ahead)) == next(
            iter(
                {"gross_max": "limit_gross_exposure", "net_max": "limit_net_exposure"}[k]
                for k in limits
            )
        ), "what was approved a moment ago counts"
    at_kraken = child(of, qty=9, venue="kraken")
    assert code(risk.review(at_kraken, of, view())) == "", "another venue"


def test_the_tightest_limit_rules():
    limits = only(
        portfolio=some(order_notional_max=500, parent_notional_max=5000, collar_bps=100),
        account={"main": some(order_notional_max=400)},
        venue={"kraken": some(order_notional_max=300)},
        symbol={ETH: some(order_notional_max=200, collar_bps=10), BTC: some(collar_bps=9000)},
    )
    risk = Risk(limits)
    for account, symbol, venue, most in (
        ("other", BTC, "okx", 500), ("main", BTC, "okx", 400), ("main", BTC, "kraken", 300),
        ("other", BTC, "kraken", 300), ("main", ETH, "kraken", 200), ("other", ETH, "okx", 200),
    ):  # fmt: skip
        px = 100 if symbol == BTC else 10
        of = placed(want(BUY, 1000 / px, symbol=symbol, account=account), Decimal(1000))
        assert risk.child_qty_max(of, venue) == Decimal(most) / px
        fits = child(of, qty=most / px, venue=venue)
        assert code(risk.review(fits, of, view())) == "", (account, symbol, venue)
        more = child(of, qty=most / px + 0.01, venue=venue)
        assert code(risk.review(more, of, view())) == "limit_order_notional"
    assert code(risk.admit([want(BUY, 1, "101.01")], view())) == "collar", "9000 loosens nothing"
    assert code(risk.admit([want(BUY, 1, "10.02", symbol=ETH)], view())) == "collar"
    assert risk.child_qty_max(placed(want(BUY, 1), Decimal(100)), "okx") is None


# ---------------------------------------------------------------------------- states

REDUCING = [
    # position, open parents, asked, whether it passes, why
    (5, [], [(SELL, 5)], True, "to zero"),
    (5, [], [(SELL, "5.0001")], False, "never past it"),
    (5, [], [(BUY, 1)], False, "more"),
    (-5, [], [(BUY, 5)], True, "a short is bought back"),
    (-5, [], [(SELL, 1)], False, "more short"),
    (0, [], [(BUY, 1)], False, "nothing to reduce"),
    (5, [(SELL, 3)], [(SELL, 2)], True, "what is on its way counts"),
    (5, [(SELL, 3)], [(SELL, 3)], False, "... both together would pass zero"),
    (5, [(BUY, 3)], [(SELL, 5)], True, "the buy may never fill"),
    (5, [], [(SELL, 3), (SELL, 3)], False, "two halves must not reduce the same twice"),
    (5, [], [(SELL, 3), (SELL, 2)], True, "two halves"),
    (5, [], [(SELL, 3), (BUY, 1)], False, "all or none"),
]


@pytest.mark.parametrize("state", ["reduce_only", "halted"])
@pytest.mark.parametrize(("held", "live", "asked", "passes", "why"), REDUCING)
def test_only_what_reduces_passes(state, held, live, asked, passes, why):
    risk = Risk(only())
    if held:
        hold(risk, held)
    for side, qty in live:
        enter(risk, want(side, qty))
    switch(risk, state, "too hot")
    verdict = risk.admit([want(*one, life=Life.IOC) for one in asked], view())
    assert code(verdict) == ("" if passes else f"risk_{state}"), why
    assert passes or "too hot" in verdict.reason


@pytest.mark.parametrize("life", [Life.GTC, Life.GTD])
def test_no_order_rests_once_the_switch_is_thrown(life):
    """Whoever threw it wants none of ours to stand; getting out at once is another matter."""
    risk = Risk(only())
    hold(risk, 5)
    expire_ns = NOW + 10**12 if life is Life.GTD else None
    resting = want(SELL, 5, life=life, expire_ns=expire_ns)
    switch(risk, "halted")
    denied = risk.admit([resting], view())
    assert (code(denied), "may rest" in denied.reason) == ("risk_halted", True)
    switch(risk, "reduce_only")
    assert code(risk.admit([resting], view())) == ""
    of = enter(risk, resting)
    assert code(risk.review(child(of), of, view())) == ""
    switch(risk, "halted")
    assert code(risk.review(child(of), of, view())) == "risk_halted"
    assert code(risk.review(child(of, tif=Tif.IOC), of, view())) == ""
    assert code(risk.review(child(of, tif=Tif.FOK), of, view())) == ""


def test_children_of_parents_from_before_the_switch():
    risk = Risk(only())
    hold(risk, 5)
    buying, selling = enter(risk, want(BUY, 4)), enter(risk, want(SELL, 8))
    switch(risk, "halted")
    assert code(risk.review(child(buying, tif=Tif.IOC), buying, view())) == "risk_halted"
    assert code(risk.review(child(selling, qty=6, tif=Tif.IOC), selling, view())) == "risk_halted"
    assert code(risk.review(child(selling, qty=5, tif=Tif.IOC), selling, view())) == ""
    first = child(selling, qty=3, tif=Tif.IOC)
    assert code(risk.review(child(selling, qty=2, tif=Tif.IOC), selling, view(), [first])) == ""
    assert (
        code(risk.review(child(selling, qty=3, tif=Tif.IOC), selling, view(), [first]))
        == "risk_halted"
    )
    row = intended(first, selling)
    risk.apply(row)
    assert code(risk.review(child(selling, qty=3, tif=Tif.IOC), selling, view())) == "risk_halted"
    risk.apply(fill(row, 1))
    assert code(risk.review(child(selling, qty=2, tif=Tif.IOC), selling, view())) == ""
    risk.apply(told(row, "CANCELED", 2))  # a fill of 1 is still to come
    assert code(risk.review(child(selling, qty=3, tif=Tif.IOC), selling, view())) == ""
    assert code(risk.review(child(selling, qty=4, tif=Tif.IOC), selling, view())) == "risk_halted"


def test_buys_that_are_out_are_not_bought_twice():
    risk = Risk(only())
    hold(risk, -5)
    buying = enter(risk, want(BUY, 5))
    switch(risk, "reduce_only")
    send(risk, buying, qty=3)
    assert code(risk.review(child(buying, qty=2), buying, view())) == ""
    assert code(risk.review(child(buying, qty=3), buying, view())) == "risk_reduce_only"


def test_a_state_stays_until_it_is_reset():
    risk = Risk()
    assert risk.state == "normal"
    switch(risk, "halted", "kill")
    assert (risk.state, risk.reason, risk.set_by, risk.since_ns) == ("halted", "kill", "test", NOW)
    assert code(risk.admit([want(BUY, 1)], view())) == "risk_halted"
    switch(risk, "normal", "looked at it")
    assert code(risk.admit([want(BUY, 1)], view())) == ""


def test_getting_out_needs_no_room():
    """Half of a hedge may be left in an emergency, though it passes the limit on net exposure."""
    risk = Risk(only(portfolio=some(net_max=10)))
    hold(risk, 5)
    hold(risk, -50, ETH)
    assert code(risk.admit([want(SELL, 5)], view())) == "limit_net_exposure"
    assert (
        code(risk.admit([want(SELL, 5), want(BUY, 50, symbol=ETH)], view())) == "limit_net_exposure"
    )
    switch(risk, "halted")
    assert code(risk.admit([want(SELL, 5, life=Life.IOC)], view())) == ""


def test_the_defaults_let_an_ordinary_order_through_and_stop_a_slip():
    risk = Risk()
    of = enter(risk, want(BUY, 3))
    order = child(of)
    assert risk.review(order, of, view()) == Approved(order)
    assert code(risk.admit([want(BUY, 30_000)], view())) == "limit_parent_notional"
    assert code(risk.admit([want(BUY, 1, 110)], view())) == "collar"
    assert lists("okx").key == ("okx", BTC)
