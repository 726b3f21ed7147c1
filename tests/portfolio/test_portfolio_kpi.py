"""Key figures: golden vectors, and "not enough data" where there is not enough."""

from decimal import Decimal
from itertools import pairwise
from math import sqrt
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.rates import Rate
from hean_router.domain.record import (
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    Filled,
)
from hean_router.portfolio import (
    DayResult,
    EquityCurve,
    KpiInputs,
    Latency,
    OrderCounts,
    RoundTrip,
    RoundTrips,
    Uptime,
    kpis,
)

D = Decimal
S = 1_000_000_000
YEAR_S = 365 * 86_400
RATES = {"USDT": Rate(D(1), 1, "")}
NAMES = [
    "tick_to_trade_p50", "tick_to_trade_p99", "submission_latency_p50", "submission_latency_p99",
    "message_rate", "order_throughput", "maker_fill_rate", "uptime", "daily_pnl", "sharpe",
    "max_drawdown", "win_rate", "profit_factor", "trade_duration_avg",
]  # fmt: skip


def fill(side, qty, px=100, fee="0", fee_asset="USDT", at_ns=1, key="", maker=None, strategy=""):
    return Filled(
        at_ns=at_ns, venue="okx", account="a", symbol="BTC/USDT", trade_id="", key=key, parent="",
        strategy=strategy, venue_order_id="", side=Side(side), px=D(px), qty=D(qty), fee=D(fee),
        fee_asset=fee_asset, maker=maker, sent_ns=0,
    )  # fmt: skip


def inputs(now_s=0, **fields):
    return KpiInputs(
        **{
            "now_ns": now_s * S, "since_ns": 0, "tick_to_trade": Latency(0, 0, 0),
            "submit": Latency(0, 0, 0), "messages": 0, "orders": OrderCounts(),
            "uptime": Uptime(0), "day": (), "equity": EquityCurve(), "trips": (), "rates": RATES,
            **fields,
        }
    )  # fmt: skip


def found(data):
    return {one.name: one for one in kpis(data)}


def trip(pnl, opened_s=0, closed_s=10, **thirds):
    thirds = {asset: D(fee) for asset, fee in thirds.items()}
    return RoundTrip(
        account="a", symbol="BTC/USDT", strategy="", opened_ns=opened_s * S,
        closed_ns=closed_s * S, pnl=D(pnl), fees_third=thirds,
    )  # fmt: skip


def test_nothing_is_known_of_nothing_and_every_figure_says_so():
    every = kpis(inputs())
    assert [one.name for one in every] == NAMES
    assert all(one.value is None and one.note.startswith("not enough data") for one in every)


def test_speed_needs_enough_observations():
    few = found(inputs(tick_to_trade=Latency(19, 200_000, 2_000_000)))["tick_to_trade_p99"]
    assert (few.value, few.note) == (None, "not enough data: 19 of at least 20 observations")
    enough = found(inputs(60, tick_to_trade=Latency(20, 200_000, 2_000_000)))
    assert (enough["tick_to_trade_p50"].value, enough["tick_to_trade_p99"].value) == (D("0.2"), 2)
    assert enough["tick_to_trade_p50"].window == "60 s"
    assert enough["submission_latency_p50"].value is None


def test_rates_and_uptime():
    up = Uptime(0)
    up.set(2 * S, ready=True)
    up.set(4 * S, ready=True)  # said twice, counted once
    up.set(7 * S, ready=False)
    up.set(9 * S, ready=True)
    seen = found(inputs(10, messages=50, uptime=up))
    assert (seen["message_rate"].value, seen["order_throughput"].value) == (5, 0)
    assert (seen["uptime"].value, seen["uptime"].samples) == (D("0.6"), 6)
    assert found(inputs(4, messages=50))["message_rate"].value is None


def intended(key, qty, tif=Tif.GTC):
    return ChildIntended(
        at_ns=1, key=key, parent="p", account="a", venue="okx", symbol="BTC/USDT", side=Side.BUY,
        qty=D(qty), px=D(100), tif=tif, post_only=False, round=1, reserve_asset="USDT",
        reserve=D(1), worst_px=D(100),
    )  # fmt: skip


def reported(key, state, cum):
    return ChildReported(
        at_ns=1, key=key, state=state, cum_qty=None if cum is None else D(cum), venue_order_id=""
    )


def test_the_maker_rate_is_of_what_rested():
    counts = OrderCounts()
    for row in [
        intended("h1", 4), ChildAcked(at_ns=1, key="h1", venue_order_id=""),
        fill("buy", 1, key="h1", maker=True), fill("buy", 1, key="h1", maker=False),
        reported("h1", OrderState.OPEN, 2),  # goes on
        reported("h1", OrderState.CANCELED, 3),  # a fill is still under way
        fill("buy", 1, key="h1", maker=True),
        intended("h2", 4), reported("h2", OrderState.CANCELED, None),  # nothing of it
        intended("h3", 4, Tif.IOC), fill("buy", 4, key="h3", maker=False),
        reported("h3", OrderState.FILLED, 4),  # never meant to rest
        intended("h4", 4), ChildRejected(at_ns=1, key="h4", reject="FUNDS", code="", text=""),
        intended("h5", 4), ChildAbsent(at_ns=1, key="h5", proof=""),
        intended("h6", 4), reported("h6", OrderState.REJECTED, 0),
    ]:  # fmt: skip
        counts.apply(row)
    assert (counts.children, counts.fills, counts.rested) == (1, 4, 2)
    seen = found(inputs(10, orders=counts))["maker_fill_rate"]
    assert (seen.value, seen.samples) == (D("0.25"), 2)


def test_the_days_profit_is_the_accounts_sum_or_says_why_not():
    one = DayResult(account="a", pnl=D("1.25"), why="", since_ns=3 * S, at_ns=1)
    two = DayResult(account="b", pnl=D(-3), why="", since_ns=0, at_ns=1)
    seen = found(inputs(10, day=(one, two)))["daily_pnl"]
    assert (seen.value, seen.unit, seen.samples, seen.window_s) == (D("-1.75"), "USD", 2, 7)
    lost = DayResult(account="b", pnl=None, why="no mark for X/Y", since_ns=0, at_ns=None)
    seen = found(inputs(10, day=(one, lost)))["daily_pnl"]
    assert (seen.value, seen.note) == (None, "b: no mark for X/Y")


def curve_of(values, step_s=1, **shape):
    curve = EquityCurve(**shape)
    for number, value in enumerate(values):
        curve.sample(number * step_s * S, D(str(value)))
    return curve


def test_sharpe_is_the_textbooks():
    values = [1000 + (number * 7 % 11) + number for number in range(40)]
    seen = found(inputs(50, equity=curve_of(values)))["sharpe"]
    returns = [(b - a) / a for a, b in pairwise(values)]
    expected = fmean(returns) / stdev(returns) * sqrt(YEAR_S)
    assert float(seen.value) == pytest.approx(expected, rel=1e-9)
    assert seen.samples == 39
    short = found(inputs(50, equity=curve_of(values[:30])))["sharpe"]
    assert short.note == "not enough data: 29 of at least 30 returns"
    flat = found(inputs(50, equity=curve_of([5] * 40)))["sharpe"]
    assert (flat.value, flat.note) == (None, "not enough data: equity did not move")


def test_drawdown_is_the_largest_fall_from_a_peak():
    seen = found(inputs(50, equity=curve_of([100, 120, 90, 130, 117, 125])))["max_drawdown"]
    assert seen.value == D("0.25")
    assert found(inputs(50, equity=curve_of([100])))["max_drawdown"].value is None


def test_money_put_in_is_no_result():
    curve = curve_of([100, 90])
    curve.flow(D(50))
    curve.sample(2 * S, D(140))
    curve.sample(3 * S, None)
    curve.sample(S, D(1))  # time goes back: left out
    assert [value for _, value in curve.points] == [100, 90, 90]
    assert (curve.peak, curve.drawdown) == (100, D("0.1"))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 1000)), min_size=1, max_size=300))
def test_the_curve_is_bounded_and_forgets_no_fall(steps):
    curve, now, peak, fall = EquityCurve(S, kept=8), 0, D(0), D(0)
    for wait, value in steps:
        now += wait * S
        curve.sample(now, D(value))
        peak = max(peak, D(value))
        fall = max(fall, (peak - value) / peak)
    points = curve.points
    assert len(points) <= 8
    assert (curve.peak, curve.drawdown, curve.samples) == (peak, fall, len(steps))
    assert points[-1] == (now, steps[-1][1])
    buckets = [at_ns // curve.step_ns for at_ns, _ in points]
    assert buckets == sorted(set(buckets)), "one point a stretch"


def test_trades():
    trips = [trip(10), trip(-4, 0, 20), trip(6, 5, 6), trip(-1, 0, 3), trip(0, 0, 1)]
    seen = found(inputs(100, trips=trips))
    assert (seen["win_rate"].value, seen["profit_factor"].value) == (D("0.4"), D("3.2"))
    assert (seen["trade_duration_avg"].value, seen["win_rate"].samples) == (7, 5)
    few = found(inputs(100, trips=trips[:4]))["win_rate"]
    assert (few.value, few.note) == (None, "not enough data: 4 of at least 5 closed round trips")
    won = found(inputs(100, trips=[trip(1)] * 5))
    assert (won["win_rate"].value, won["profit_factor"].value) == (1, None)
    assert won["profit_factor"].note == "no round trip has lost: no factor"


def test_a_trip_without_a_rate_is_left_out_and_said():
    seen = found(inputs(100, trips=[*[trip(-1)] * 5, trip(9, BNB="1")]))["win_rate"]
    assert (seen.value, seen.samples, seen.note) == (0, 5, "1 without rate left out")
    assert trip(9, BNB="1").worth({**RATES, "BNB": Rate(D(2), 1, "")}) == 7


# ------------------------------------------------------------------ round trips


def trips_of(*rows):
    trips = RoundTrips()
    for number, row in enumerate(rows):
        trips.apply(type(row)(**{**{f: getattr(row, f) for f in row.__struct_fields__},
                                 "at_ns": (number + 1) * S}))  # fmt: skip
    return [(t.opened_ns // S, t.closed_ns // S, t.pnl) for t in trips.closed()]


@pytest.mark.parametrize(
    ("rows", "closed"),
    [
        ([fill("buy", 1)], []),  # still open
        ([fill("buy", 1), fill("sell", 1, 110, "0.5")], [(1, 2, D("9.5"))]),
        ([fill("buy", 1), fill("buy", 1, 120), fill("sell", 2, 100)], [(1, 3, -20)]),
        ([fill("sell", 1), fill("buy", 1, 90)], [(1, 2, 10)]),  # short first
        # Through zero: one ends, the next begins.
        ([fill("buy", 1), fill("sell", 3, 110), fill("buy", 2, 100)], [(1, 2, 10), (2, 3, 20)]),
        # What a base fee leaves below a lot is flat; selling it off later is no trip.
        (
            [fill("buy", 10, fee="0.01", fee_asset="BTC"), fill("sell", "9.95", 101),
             fill("sell", "0.04", 101)],
            [(1, 2, D("8.95"))],
        ),
        ([fill("buy", 1), fill("sell", "0.5", 110), fill("sell", "0.5", 90)], [(1, 3, 0)]),
    ],
)  # fmt: skip
def test_round_trips(rows, closed):
    assert trips_of(*rows) == closed


def test_round_trips_are_by_strategy_and_bounded():
    trips = RoundTrips(kept=2)
    trips.apply(fill("buy", 1, strategy="x"))
    trips.apply(fill("sell", 1, strategy="y"))
    assert trips.count == 0
    for _ in range(3):
        trips.apply(fill("buy", 1, fee="0.1", fee_asset="BNB", strategy="z"))
        trips.apply(fill("sell", 1, strategy="z"))
    assert (trips.count, len(trips.closed()), len(trips.closed(strategy="x"))) == (3, 2, 0)
    assert trips.closed(strategy="z")[1].fees_third == {"BNB": D("0.1")}
