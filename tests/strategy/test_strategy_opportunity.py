"""What is worth it, how much of it, and why not."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair
from hean_router.domain.venue import FeeIn
from hean_router.strategy import Room, ScanParams, scan
from hean_router.strategy.params import described, read, spelled

D = Decimal
FREE = {"rebalance_bps": D(0), "z": D(0), "slip_bps": D(0)}


NO_ROOM = Room()


def only(found, buy, sell):
    return next(one for one in found if (one.buy_venue, one.sell_venue) == (buy, sell))


def look(desk, market, *, room=NO_ROOM, **params):
    return scan(desk.PAIR, market, ScanParams(**(FREE | params)), "main", room=room)


def two(desk, **changes):
    """Buy at a for 100, sell at b for 101."""
    market = desk.Market()
    a = {"bids": [("99", "5")], "asks": [("100", "5")]} | changes.get("a", {})
    b = {"bids": [("101", "5")], "asks": [("102", "5")]} | changes.get("b", {})
    market.venue("a", **a)
    market.venue("b", **b)
    return market


@pytest.mark.parametrize(
    ("taker", "taken", "code"),
    [
        ("0", True, ""),
        ("0.004", True, ""),  # 100.4 against 100.596
        ("0.005", False, "fees"),  # 100.5 against 100.495: fees eat it
        ("-0.001", True, ""),  # a rebate helps
    ],
)
def test_fees_are_inside_both_prices(desk, taker, taken, code):
    tier = desk.fees(taker)
    market = two(desk, a={"tier": tier}, b={"tier": tier})
    one = only(look(desk, market), "a", "b")
    assert (one.taken, one.code) == (taken, code), one.why_not
    if taken:
        assert one.qty == one.sell_qty == 5
        assert one.edge_quote == 5 * (101 * (1 - D(taker)) - 100 * (1 + D(taker)))
    assert only(look(desk, market), "b", "a").code == "not_crossed"


def test_equal_books_without_fees_are_worth_nothing(desk):
    market = desk.Market()
    for venue in "abcd":
        market.venue(venue, [("99", "5")], [("100", "5")])
    assert not any(one.taken for one in look(desk, market))
    market.set("a", [("100", "5")], [("100.1", "5")])  # touching is not crossing
    assert not any(one.taken for one in look(desk, market))


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"rebalance_bps": D(100)}, "hurdle"),  # exactly the edge does not exceed it
        ({"rebalance_bps": D("99.9")}, ""),
        ({"haircut_bps": D(60), "rebalance_bps": D(40)}, "hurdle"),  # they add up
        # z σ √(0.1 + 0.1 s) = 2 × 100 × 0.447 = 89.4 bps, and 10.6 are left for rebalancing
        ({"z": D(2), "sigma_bps": D(100), "rebalance_bps": D("10.5")}, ""),
        ({"z": D(2), "sigma_bps": D(100), "rebalance_bps": D("10.6")}, "hurdle"),
        ({"too_good_bps": D(99)}, "too_good"),
        ({"too_good_bps": D(100)}, ""),
        ({"min_profit_quote": D(5)}, ""),
        ({"min_profit_quote": D("5.01")}, "min_profit"),
    ],
)
def test_hurdles_and_bounds(desk, params, code):
    one = only(look(desk, two(desk), **params), "a", "b")
    assert one.code == code, one.why_not


def test_a_known_latency_replaces_the_assumed_one(desk):
    market = two(desk)
    market.latencies = {"a": 4_000_000_000, "b": 5_000_000_000}
    one = only(look(desk, market, z=D(1), sigma_bps=D(10)), "a", "b")
    assert one.hurdle_bps == 30  # 10 × √9


def test_it_stops_where_the_marginal_edge_meets_the_hurdle(desk):
    market = two(
        desk,
        a={"asks": [("100", "1"), ("100.4", "2"), ("100.8", "4")]},
        b={"bids": [("101", "2"), ("100.6", "3"), ("100.5", "9")]},
    )
    one = only(look(desk, market), "a", "b")
    # 1 at 100/101, 1 at 100.4/101, 1 at 100.4/100.6; then 100.8 meets 100.6
    assert (one.qty, one.capacity, one.limited_by) == (3, 3, "hurdle")
    assert (one.buy_px, one.sell_px) == (D("100.4"), D("100.6"))
    assert one.edge_quote == D("1") + D("0.6") + D("0.2")


@pytest.mark.parametrize(
    ("a", "b", "qty", "sell_qty", "limited"),
    [
        # The coarser lot rules both.
        ({"of": {"lot": 1}}, {"of": {"lot": 400}}, "4.8", "4.8", "depth"),
        ({"of": {"lot": 400}}, {"of": {"lot": 300}}, "4.8", "4.8", "depth"),
        # Fee in base at the buy: sells what arrived, and less than a lot stays.
        ({"tier": ("0.001", FeeIn.BASE)}, {}, "5", "4.995", "depth"),
        # A fee in base at the sell comes on top of what is sold.
        ({}, {"tier": ("0.001", FeeIn.BASE)}, "5", "4.995", "depth"),
        # Money at either venue.
        ({"usdt": "250"}, {}, "2.5", "2.5", "USDT at a"),
        ({"usdt": "250", "tier": ("0.001", FeeIn.QUOTE)}, {}, "2.497", "2.497", "USDT at a"),
        ({}, {"btc": "1.2345"}, "1.234", "1.234", "BTC at b"),
        ({"of": {"max_qty": 2_000}}, {}, "2", "2", "largest order at a"),
    ],
)
def test_size_fits_both_venues(desk, a, b, qty, sell_qty, limited):
    def made(name, given):
        given = dict(given)
        if "of" in given:
            given["of"] = desk.rules(name, **given["of"])
        if "tier" in given:
            given["tier"] = desk.fees(*given["tier"])
        return given

    one = only(look(desk, two(desk, a=made("a", a), b=made("b", b))), "a", "b")
    assert one.taken, one.why_not
    assert (one.qty, one.sell_qty, one.limited_by) == (D(qty), D(sell_qty), limited)


@pytest.mark.parametrize(
    ("change", "code", "word"),
    [
        ({"b": {"of": {"min_notional": D(600)}}}, "rules", "b:"),  # the second leg fails
        ({"a": {"of": {"min_qty": 6_000}}}, "rules", "a:"),
        ({"b": {"of": {"px_max": 900}}}, "rules", "b:"),
        ({"b": {"btc": None}}, "balance_unknown", "BTC at b"),
        ({"a": {"usdt": None}}, "balance_unknown", "USDT at a"),
        ({"b": {"btc": "0"}}, "below_lot", "BTC at b"),
        ({"a": {"usdt": "0"}}, "below_lot", "USDT at a"),
    ],
)
def test_a_leg_that_would_fail_stops_both(desk, change, code, word):
    change = {
        name: made | ({"of": desk.rules(name, **made["of"])} if "of" in made else {})
        for name, made in change.items()
    }
    one = only(look(desk, two(desk, **change)), "a", "b")
    assert (one.taken, one.code) == (False, code)
    assert word in one.why_not


def test_what_is_old_or_far_off_is_not_believed(desk):
    market = two(desk)
    market.now_ns += 3_001 * desk.MS
    assert only(look(desk, market), "a", "b").code == "aged"
    market.set("a", [("99", "5")], [("100", "5")])
    found = only(look(desk, market), "a", "b")
    assert (found.code, found.buy_age_ms, found.sell_age_ms) == ("aged", 0, 3_001)

    market = two(desk)
    market.venue("c", [("99", "5")], [("101", "5")])
    market.set("b", [("104", "5")], [("105", "5")])
    assert only(look(desk, market, off_median_bps=D(300)), "a", "b").code == "off_median"
    assert only(look(desk, market, off_median_bps=D(500)), "a", "b").taken


def test_a_venue_that_takes_no_orders_is_named(desk):
    market = two(desk)
    market.broken["b"] = "no keys"
    one = only(look(desk, market), "a", "b")
    assert (one.code, one.why_not) == ("venue", "b: no keys")
    assert one.qty == 5  # and still said how much it would be


def test_a_slip_never_costs_more_than_the_edge(desk):
    tier = desk.fees("0.001", FeeIn.RECEIVED)
    market = two(desk, a={"tier": tier}, b={"tier": tier})
    for slip in ("0", "1", "20", "100"):
        one = only(look(desk, market, slip_bps=D(slip)), "a", "b")
        assert one.buy_limit >= one.buy_px
        assert one.sell_limit <= one.sell_px
        assert one.buy_limit / (1 - D("0.001")) <= one.sell_limit * (1 - D("0.001"))
    assert one.buy_limit > one.buy_px


@pytest.mark.parametrize(
    ("carry", "buys", "sells"),
    [
        ("0", "5", "4.995"),
        ("0.0045", "4.996", "4.995"),  # left over from before: bought that much less
        ("-0.002", "5", "4.993"),  # sold too much before: sells that much less
    ],
)
def test_what_is_left_over_is_worked_off(desk, carry, buys, sells):
    market = two(desk, a={"tier": desk.fees("0.001", FeeIn.BASE)})
    one = only(look(desk, market, room=Room(D(carry))), "a", "b")
    assert (one.qty, one.sell_qty) == (D(buys), D(sells))
    left = D(carry) + one.qty * D("0.999") - one.sell_qty
    assert 0 <= left < D("0.001")


# ------------------------------------------------------------------------- against brute force

ladders = st.lists(st.tuples(st.integers(1, 8), st.integers(1, 12)), min_size=1, max_size=4)


def ladder(steps, start, sign):
    out = []
    for step, qty in steps:
        start += sign * step
        out.append((D(start) / 10, D(qty) / 1000))
    return out


def brute(asks, bids, f_buy, f_sell, buy_base, sell_base, hurdle, lots):
    """Every pair of whole lots: the largest sell of which even the last crumb pays."""

    def marginal(levels, net, scale):
        for px, qty in levels:
            if net <= qty * scale:
                return px
            net -= qty * scale
        return None

    b_base = 1 - f_buy if buy_base else D(1)
    b_quote = D(1) if buy_base else 1 + f_buy
    s_base = 1 + f_sell if sell_base else D(1)
    s_quote = D(1) if sell_base else 1 - f_sell
    best = D(0)
    sold = lots[1]
    while True:
        given_base = sold * s_base
        bought = lots[0]
        while bought * b_base < given_base:
            bought += lots[0]
        ask = marginal(asks, bought * b_base, b_base)
        bid = marginal(bids, max(given_base, bought * b_base), s_base)
        if ask is None or bid is None:
            return best
        if bid * s_quote / s_base <= ask * b_quote / b_base * (1 + hurdle / 10_000):
            return best
        best, sold = sold, sold + lots[1]


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    asks=ladders,
    bids=ladders,
    gap=st.integers(0, 40),
    f_buy=st.sampled_from(["0", "0.001", "0.0007"]),
    f_sell=st.sampled_from(["0", "0.001", "-0.0002"]),
    fee_in=st.tuples(*[st.sampled_from(FeeIn)] * 2),
    hurdle=st.sampled_from(["0", "5", "12.5"]),
    lots=st.tuples(st.sampled_from([1, 2, 5]), st.sampled_from([1, 2, 3])),
)
def test_size_is_the_largest_that_pays(desk, asks, bids, gap, f_buy, f_sell, fee_in, hurdle, lots):
    market = desk.Market()
    up, down = ladder(asks, 10_000, 1), ladder(bids, 10_010 + gap, -1)
    market.venue("a", [], up, tier=desk.fees(f_buy, fee_in[0]), of=desk.rules("a", lot=lots[0]))
    market.venue("b", down, [], tier=desk.fees(f_sell, fee_in[1]), of=desk.rules("b", lot=lots[1]))
    one = only(look(desk, market, rebalance_bps=D(hurdle)), "a", "b")
    in_base = (fee_in[0] is not FeeIn.QUOTE, fee_in[1] is FeeIn.BASE)
    units = (D(lots[0]) / 1000, D(lots[1]) / 1000)
    fee = (D(f_buy), D(f_sell))
    want = brute(up, down, *fee, *in_base, D(hurdle), units)
    assert one.sell_qty == want, one.why_not
    if one.qty:
        b_base = 1 - fee[0] if in_base[0] else D(1)
        s_base = 1 + fee[1] if in_base[1] else D(1)
        assert one.qty * b_base <= one.capacity
        assert one.sell_qty * s_base <= one.capacity
        kept = one.qty * b_base - one.sell_qty * s_base
        assert 0 <= kept < units[0]


# ------------------------------------------------------------------------- parameters


def test_parameters_are_read_and_spelled():
    given = {"pairs": "ETH/USDT, BTC/USDT", "z": "1.50"}
    found = read(ScanParams, given)
    assert found.pairs == (Pair("ETH", "USDT"), Pair("BTC", "USDT"))
    assert found.z == D("1.5")
    assert read(ScanParams, spelled(found)) == found
    assert set(described(ScanParams)) == set(spelled(found))


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"slip_bp": "1"}, "slip_bps"),  # near enough to be meant
        ({"z": "many"}, "deviations"),
        ({"z": "NaN"}, "deviations"),
        ({"z": "-1"}, "from 0 to 10"),
        ({"pairs": ""}, "BTC/USDT"),
        ({"pairs": "BTC/USDT:USDT"}, "BTC/USDT"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_fix(given, word):
    with pytest.raises(CommandError) as caught:
        read(ScanParams, given)
    assert word in caught.value.fix
