"""The order side's metrics: counted once, from rows; nobody's name on the page."""

import time
from decimal import Decimal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hean_router.domain import record as r
from hean_router.domain.desk import Sent
from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Status
from hean_router.telemetry import STAGES, Metrics, OrderMetrics, OrderStanding, Stages
from hean_router.telemetry.metrics import REASONS_MAX

D = Decimal
MS = 1_000_000
ACCOUNT, PARENT = "secretaccount", "secretparent"


def page(orders):
    metrics = Metrics(list, lambda: 0)
    metrics.add(orders)
    out = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            out[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return out


def of(samples, name, **labels):
    return samples.get((name, tuple(sorted(labels.items()))))


def intended(key, venue="okx"):
    return r.ChildIntended(
        at_ns=1, key=key, parent=PARENT, account=ACCOUNT, venue=venue, symbol="BTC/USDT",
        side=Side.BUY, qty=D(1), px=D(100), tif=Tif.IOC, post_only=False, round=1,
        reserve_asset="USDT", reserve=D(1), worst_px=D(100),
    )  # fmt: skip


def acked(key):
    return r.ChildAcked(at_ns=1, key=key, venue_order_id="7")


def unknown(key):
    return r.ChildUnknown(at_ns=1, key=key, why="", until_ns=5)


def reported(key, state):
    return r.ChildReported(at_ns=1, key=key, state=state, cum_qty=None, venue_order_id="7")


def filled(key, fee="0.1", assumed="0.08", maker=False, qty="1"):
    return r.Filled(
        at_ns=1, venue="okx", account=ACCOUNT, symbol="BTC/USDT", trade_id="t", key=key,
        parent=PARENT, strategy="", venue_order_id="7", side=Side.BUY, px=D(100), qty=D(qty),
        fee=D(fee), fee_asset="USDT", maker=maker, sent_ns=0,
        fee_assumed=None if assumed is None else D(assumed),
    )  # fmt: skip


def told(*rows, orders=None):
    orders = orders or OrderMetrics()
    for row in rows:
        orders.row(row, row.at_ns)
    return orders


@pytest.mark.parametrize(
    ("rows", "now_open", "now_unknown"),
    [
        ([], 1, 0),
        ([acked("h1")], 1, 0),
        ([unknown("h1")], 1, 1),
        ([unknown("h1"), acked("h1")], 1, 0),  # known again
        ([unknown("h1"), reported("h1", OrderState.OPEN)], 1, 0),
        ([unknown("h1"), reported("h1", OrderState.FILLED)], 0, 0),
        ([unknown("h1"), r.ChildAbsent(at_ns=1, key="h1", proof="")], 0, 0),
        ([r.ChildRejected(at_ns=1, key="h1", reject="FUNDS", code="", text="")], 0, 0),
        ([r.ChildWithdrawn(at_ns=1, key="h1", by="budget", code="", why="")], 0, 0),
        ([filled("h1")], 0, 0),  # whole: no report need follow
        ([acked("h1"), filled("h1"), reported("h1", OrderState.FILLED)], 0, 0),
        ([filled("h1", qty="0.4")], 1, 0),
        ([unknown("h1"), filled("h1", qty="0.4")], 1, 0),  # it traded: it is there
        ([filled("h1", qty="0.4"), filled("h1", qty="0.6")], 0, 0),
        ([filled("h0")], 1, 0),  # of another
        ([reported("h1", OrderState.EXPIRED), reported("h1", OrderState.EXPIRED)], 0, 0),
    ],
)
def test_what_is_open_and_what_is_unknown(rows, now_open, now_unknown):
    samples = page(told(intended("h1"), *rows))
    assert of(samples, "hean_orders_open", venue="okx") == now_open
    assert of(samples, "hean_orders_unknown_now", venue="okx") == now_unknown
    assert of(samples, "hean_orders_placed_total", venue="okx") == 1


def test_every_counter_counts_its_row_by_venue():
    intent = Intent(account=ACCOUNT, client_order_id="x", symbol="BTC/USDT", side=Side.BUY)
    orders = told(
        r.Opened(at_ns=1, epoch=4, tag="abc", version="", config_digest="", mode=""),
        r.ParentPlaced(
            at_ns=1, parent=PARENT, intent=intent, digest="", qty=D(1), quote_max=None,
            worst_px=D(1), worst_usd=D(1),
        ),
        intended("h1"), acked("h1"), r.CancelIntended(at_ns=1, key="h1", why=""),
        filled("h1"), filled("h1", "0.1", "0.11", maker=True),
        filled("h1", assumed=None, maker=None),
        reported("h1", OrderState.FILLED),
        intended("h2", "kraken"),
        r.ChildRejected(at_ns=1, key="h2", reject="FUNDS", code="", text=""),
        intended("h3"), r.ChildWithdrawn(at_ns=1, key="h3", by="gate", code="collar", why=""),
        intended("h4"), r.ChildWithdrawn(at_ns=1, key="h4", by="budget", code="no_budget", why=""),
        intended("h5"), unknown("h5"), r.ChildAbsent(at_ns=1, key="h5", proof=""),
        r.Incident(at_ns=1, what="overfill", text=""),
        r.ParentEnded(at_ns=1, parent=PARENT, status=Status.FILLED, why=""),
    )  # fmt: skip
    orders.denied("limit_position")
    samples = page(orders)
    for name, value, labels in [
        ("hean_parents_placed_total", 1, {}),
        ("hean_parents_ended_total", 1, {"status": "filled"}),
        ("hean_orders_placed_total", 4, {"venue": "okx"}),
        ("hean_orders_placed_total", 1, {"venue": "kraken"}),
        ("hean_orders_acked_total", 1, {"venue": "okx"}),
        ("hean_orders_rejected_total", 1, {"venue": "kraken", "kind": "funds"}),
        ("hean_orders_withdrawn_total", 1, {"venue": "okx", "by": "gate"}),
        ("hean_orders_withdrawn_total", 1, {"venue": "okx", "by": "budget"}),
        ("hean_orders_unknown_total", 1, {"venue": "okx"}),
        ("hean_orders_absent_total", 1, {"venue": "okx"}),
        ("hean_cancels_total", 1, {"venue": "okx"}),
        ("hean_fills_total", 1, {"venue": "okx", "liquidity": "maker"}),
        ("hean_fills_total", 1, {"venue": "okx", "liquidity": "taker"}),
        ("hean_fills_total", 1, {"venue": "okx", "liquidity": "untold"}),
        ("hean_denials_total", 1, {"code": "collar"}),
        ("hean_denials_total", 1, {"code": "limit_position"}),
        ("hean_denials_total", None, {"code": "no_budget"}),  # held back, not denied
        ("hean_incidents_total", 1, {"what": "overfill"}),
        ("hean_journal_epoch", 4, {}),
        ("hean_fee_assumed", pytest.approx(0.19), {"venue": "okx", "asset": "USDT"}),
        ("hean_fee_drift", pytest.approx(0.01), {"venue": "okx", "asset": "USDT"}),
    ]:
        assert of(samples, name, **labels) == value, (name, labels)


def test_an_ack_after_the_last_fill_is_counted_where_it_belongs():
    samples = page(told(intended("h1"), filled("h1"), acked("h1")))
    assert of(samples, "hean_orders_acked_total", venue="okx") == 1


def test_ten_thousand_filled_orders_leave_nothing_behind():
    orders = OrderMetrics()
    for number in range(10_000):
        key = f"h{number}"
        told(intended(key), filled(key), acked(key), orders=orders)
    assert not orders._live
    assert not orders._acked
    assert len(orders._gone) == 1_000


def test_breaks_stand_until_balances_are_set():
    broken = r.BalanceBreak(
        at_ns=1, venue="okx", account=ACCOUNT, asset="BTC", ours=D(1), theirs=D(2)
    )
    orders = told(broken, broken)
    assert of(page(orders), "hean_balance_breaks_now") == 1
    assert of(page(orders), "hean_balance_breaks_total", venue="okx") == 2
    told(r.BalancesSet(at_ns=1, venue="okx", account=ACCOUNT, balances={}, why=""), orders=orders)
    assert of(page(orders), "hean_balance_breaks_now") == 0


def test_what_an_earlier_process_left_is_known_and_not_counted():
    orders = OrderMetrics()
    orders.resume([intended("h1"), unknown("h1"), intended("h2"), acked("h2")])
    samples = page(orders)
    assert of(samples, "hean_orders_unknown_now", venue="okx") == 1
    assert of(samples, "hean_orders_open", venue="okx") == 2
    assert of(samples, "hean_orders_placed_total", venue="okx") is None
    orders.row(acked("h1"), 1)
    assert of(page(orders), "hean_orders_acked_total", venue="okx") == 1


def test_time_from_the_bytes_to_the_ack_and_the_first_fill():
    orders = told(intended("h1"))
    orders.sent(Sent("h1", 10 * MS, 12 * MS), tick_ns=9 * MS)
    orders.row(acked("h1"), 15 * MS)
    orders.row(reported("h1", OrderState.OPEN), 99 * MS)  # known already
    orders.row(reported("h1", OrderState.FILLED), 17 * MS)  # the fill comes after the end
    orders.row(filled("h1"), 19 * MS)
    orders.row(filled("h1"), 99 * MS)  # only the first counts
    samples = page(orders)
    for stage, seconds in [("bytes", 0.002), ("ack", 0.003), ("fill", 0.007)]:
        assert of(samples, "hean_stage_seconds_count", stage=stage) == 1
        assert of(samples, "hean_stage_seconds_sum", stage=stage) == pytest.approx(seconds)
    assert of(samples, "hean_tick_to_trade_seconds_sum") == pytest.approx(0.003)
    assert of(samples, "hean_stage_seconds_bucket", stage="fill", le="0.01") == 1


def test_an_order_of_no_tick_has_no_time_from_it():
    orders = OrderMetrics()
    orders.sent(Sent("h1", 1, 2), tick_ns=0)
    assert of(page(orders), "hean_tick_to_trade_seconds_count") == 0


def test_the_standing_is_asked_at_the_scrape():
    orders = OrderMetrics()
    assert of(page(orders), "hean_ready") is None
    orders.standing = lambda: OrderStanding(
        ready=False, risk_state="halted", journal_sync="relaxed", journal_why="disk full",
        gates_shut={"okx": 1, "kraken": 0}, clock_offset_ns={"okx": -250 * MS},
        exposure_net={"BTC": D("-1.5"), "XYZ": None}, exposure_gross={"BTC": D(3)},
        exposure_complete=False, reserved=D(7), day_pnl=None,
    )  # fmt: skip
    samples = page(orders)
    for name, value, labels in [
        ("hean_ready", 0, {}),
        ("hean_risk_state", 1, {"state": "halted"}),
        ("hean_risk_state", 0, {"state": "normal"}),
        ("hean_journal_sync", 1, {"mode": "relaxed"}),
        ("hean_journal_failing", 1, {}),
        ("hean_gate_shut", 1, {"venue": "okx"}),
        ("hean_gate_shut", 0, {"venue": "kraken"}),
        ("hean_clock_offset_seconds", -0.25, {"venue": "okx"}),
        ("hean_exposure_net", -1.5, {"asset": "BTC"}),
        ("hean_exposure_net", None, {"asset": "XYZ"}),  # unknown is not 0
        ("hean_exposure_gross", 3, {"asset": "BTC"}),
        ("hean_exposure_complete", 0, {}),
        ("hean_reserved", 7, {}),
        ("hean_day_pnl", None, {}),
    ]:
        assert of(samples, name, **labels) == value, name


def test_no_account_no_order_and_no_parent_is_on_the_page():
    orders = told(intended("h1key"), acked("h1key"), filled("h1key"), unknown("h1key"))
    metrics = Metrics(list, lambda: 0)
    metrics.add(orders)
    text = metrics.text().decode()
    assert "okx" in text
    for name in (ACCOUNT, PARENT, "h1key"):
        assert name not in text


def test_strange_codes_are_no_memory_leak():
    orders = OrderMetrics()
    for number in range(3 * REASONS_MAX):
        orders.denied(f"code{number}")
    found = {k: v for k, v in page(orders).items() if k[0] == "hean_denials_total"}
    assert len(found) == REASONS_MAX + 1
    assert of(found, "hean_denials_total", code="other") == 2 * REASONS_MAX


def test_ended_orders_are_forgotten():
    orders = OrderMetrics()
    for number in range(20_000):
        key = f"h{number}"
        orders.row(intended(key), 1)
        orders.sent(Sent(key, 1, 2), 0)
        orders.row(acked(key), 3)
        orders.row(reported(key, OrderState.EXPIRED), 4)
    assert not orders._live
    assert not orders._acked
    assert len(orders._sent_ns) == 10_000


def test_stages_have_names_and_refuse_others():
    stages = Stages()
    for stage in (*STAGES, "tick_to_trade", "submit"):
        stages.observe(stage, -5)  # a clock set back
        assert stages.reading(stage).p99_ns == 10_000
        assert stages.of[stage].total_ns == 0
    with pytest.raises(KeyError):
        stages.observe("lunch", 1)
    stages.observe("ack", 30_000_000_000)
    assert stages.reading("ack").p99_ns == 50_000_000_000  # venues may take their time


def test_an_observation_is_cheap():
    observe, best = Stages().observe, float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for took_ns in range(0, 2_000_000, 200):
            observe("plan", took_ns)
        best = min(best, time.perf_counter() - began)
    assert best / 10_000 < 3e-6, f"{best / 10_000 * 1e9:.0f} ns"  # 0.3 µs here; busy machines
