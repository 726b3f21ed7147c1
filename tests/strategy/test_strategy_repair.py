"""Which ways out there are of a leg that stands alone, and what each is taken to cost."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hean_router.domain.venue import FeeIn
from hean_router.strategy.repair import RepairParams, last_way, too_small, ways

D = Decimal


def params(**changes):
    return RepairParams(**({"z": D(0), "slip_bps": D(0)} | changes))


def out(desk, market, excess, **changes):
    return ways(
        market, params(**changes), "main", desk.PAIR, D(excess), short_venue="b", long_venue="a"
    )


def market_of(desk, **bids):
    """Bids (and asks one higher) at venues a, b, c; 2 base a level."""
    market = desk.Market()
    for venue, px in bids.items():
        levels = [(D(px) - n, "2") for n in range(3)]
        market.venue(venue, levels, [(D(px) + 1 + n, "2") for n in range(3)])
    return market


def test_the_dearest_bid_comes_first_and_each_way_has_its_name(desk):
    market = market_of(desk, a="100", b="100.2", c="100.4")
    found = out(desk, market, "2")
    assert [(way.what, way.venue) for way in found] == [
        ("hedge", "c"), ("complete", "b"), ("reverse", "a"),
    ]  # fmt: skip
    mid = (D("100.4") + D("101")) / 2
    assert [way.cost for way in found] == [2 * (mid - D(px)) for px in ("100.4", "100.2", "100")]
    assert [way.what for way in out(desk, market, "-2")] == ["reverse", "complete", "hedge"]


def test_depth_fees_and_latency_are_in_the_cost(desk):
    market = market_of(desk, a="99", b="100", c="100")
    assert out(desk, market, "2")[0].venue == "b"  # a tie goes by name of the way
    market.books["b"].bids.replace([(1000, 100), (980, 9_000)])  # 0.1 at 100, the rest at 98
    assert out(desk, market, "2", max_loss_bps=D(1_000))[0].venue == "c"
    slow = market_of(desk, a="99", b="100", c="100")
    slow.latencies = {"b": 9_000_000_000, "c": 1_000_000}
    assert out(desk, slow, "2", z=D(1), sigma_bps=D(10))[0].venue == "c"
    dear = desk.Market()
    for venue, fee in (("a", "0.01"), ("b", "0.002"), ("c", "0.001")):
        dear.venue(venue, [("100", "5")], [("100.1", "5")], tier=desk.fees(fee))
    assert [way.venue for way in out(desk, dear, "2", max_loss_bps=D(500))] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("spoil", "left"),
    [
        (lambda _: None, {"a", "b", "c"}),
        (lambda market: market.broken.update(c="down"), {"a", "b"}),
        (lambda market: market.money.update({("c", "BTC"): None}), {"a", "b"}),
        (lambda market: market.money.update({("c", "BTC"): D(0)}), {"a", "b"}),
        (lambda market: setattr(market.books["c"], "confirmed_ns", -(10**12)), {"a", "b"}),
        # 98 is more than 1 % below the mid of about 100.5
        (lambda market: market.set("c", [("98", "9")], [("101", "9")]), {"a", "b"}),
    ],
)
def test_a_way_that_is_shut_is_none(desk, spoil, left):
    market = market_of(desk, a="100", b="100", c="100")
    spoil(market)
    assert {way.venue for way in out(desk, market, "2")} == left


def test_keeping_needs_leave_and_has_its_price(desk):
    market = market_of(desk, a="100", b="100", c="100")
    assert all(way.what != "keep" for way in out(desk, market, "2"))
    cheap = out(desk, market, "2", max_inventory_quote=D(500), keep_bps=D(1))
    assert cheap[0].what == "keep"
    assert cheap[0].cost == 2 * D("100.5") * D("0.0001")
    assert out(desk, market, "2", max_inventory_quote=D(500), keep_bps=D(100))[-1].what == "keep"
    assert all(w.what != "keep" for w in out(desk, market, "2", max_inventory_quote=D(200)))


def test_what_no_venue_takes_is_too_small(desk):
    market = desk.Market()
    market.venue("a", [("100", "5")], [("101", "5")], of=desk.rules("a", min_qty=10))
    market.venue("b", [("100", "5")], [("101", "5")], of=desk.rules("b", min_notional=D(5)))
    mid = D("100.5")
    assert too_small(market, desk.PAIR, D("0.009"), mid)
    assert not too_small(market, desk.PAIR, D("-0.010"), mid)  # a takes it
    market.venue("a", [("100", "5")], [("101", "5")], of=desk.rules("a", min_qty=1_000))
    assert too_small(market, desk.PAIR, D("0.050"), mid)  # 4.97 at b in the worst case
    assert not too_small(market, desk.PAIR, D("0.051"), mid)


def test_the_last_way_takes_any_venue_up_to_the_bound(desk):
    market = market_of(desk, a="100", b="100", c="100")
    market.money["a", "BTC"] = D("0.5")
    market.money["b", "BTC"] = D("0.25")
    market.broken["c"] = "down"
    way = last_way(market, params(max_loss_bps=D(50)), "main", desk.PAIR, D(2))
    assert (way.venue, way.qty) == ("", D("0.75"))  # what is there to sell
    assert way.limit == D("100.0")  # 100.5 less half a per cent is 99.9975: up to the tick
    assert last_way(market, params(), "main", desk.PAIR, D("-2")).qty == 2
    market.broken |= {"a": "down", "b": "down"}
    assert last_way(market, params(), "main", desk.PAIR, D(2)) is None


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    excess=st.integers(-3_000, 3_000).filter(bool),
    levels=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 900)), min_size=1, max_size=5),
    lot=st.sampled_from([1, 3, 10]),
    fee_in=st.sampled_from(FeeIn),
)
def test_a_repair_never_passes_flat(desk, excess, levels, lot, fee_in):
    """However deep, coarse or charged: what it moves is no more than what is out of balance."""
    market = desk.Market()
    bid, ask, bids, asks = 1_000, 1_002, [], []
    for step, qty in levels:
        bid, ask = bid - step, ask + step
        bids.append((D(bid) / 10, D(qty) / 1000))
        asks.append((D(ask) / 10, D(qty) / 1000))
    tier = desk.fees("0.001", fee_in)
    market.venue("a", bids, asks, tier=tier, of=desk.rules("a", lot=lot))
    size = D(excess) / 1000 + D("0.0003")
    for way in out(desk, market, size, max_loss_bps=D(5_000)):
        in_base = fee_in is FeeIn.BASE or (fee_in is FeeIn.RECEIVED and way.side == "buy")
        fee = D("0.001") if in_base else D(0)
        moved = way.qty * (1 - fee if way.side == "buy" else 1 + fee)
        assert 0 < moved <= abs(size)
        assert way.qty % (D(lot) / 1000) == 0
        assert way.qty <= sum(qty for _, qty in bids)
