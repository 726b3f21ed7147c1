"""The board and the alarms name what /metrics exports, labels too, and nothing else."""

import json
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hean_router.book import BookState
from hean_router.domain import record as r
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.order import Tif
from hean_router.domain.parent import Status
from hean_router.telemetry import BookReading, FeedReading, Metrics, OrderMetrics, OrderStanding
from hean_router.telemetry.process import LogMetrics
from hean_router.venue import BookCounts, SessionCounts, StateChanged

FOLDER = Path(__file__).parents[2] / "config" / "grafana"
BOARD = json.loads((FOLDER / "board.json").read_text())
ALARMS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
RULES = [rule for group in ALARMS["groups"] for rule in group["rules"]]
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
NAME = re.compile(r"\bhean_[a-z_]+")


def exported():
    """Every sample's name with its labels, from a page on which everything has happened."""
    one = Instrument(
        venue="okx", pair=Pair("BTC", "USDT"), symbol="x", px_decimals=2, qty_decimals=2
    )
    book = BookReading(one, BookState.LIVE, 1, BookCounts())
    feed = FeedReading("okx", "spot", SessionCounts(), [book], 0, 0, 0, 0, 0, 0)
    metrics, orders = Metrics(lambda: [feed], lambda: 5), OrderMetrics()
    metrics.changed(StateChanged(one, BookState.LIVE, BookState.LOST, "cut", 5))
    metrics.add(orders)
    orders.standing = lambda: OrderStanding(
        ready=True, risk_state="normal", journal_sync="full", gates_shut={"okx": 0},
        clock_offset_ns={"okx": 1}, exposure_net={"BTC": 1}, exposure_gross={"BTC": 1},
        reserved=1, day_pnl=1, disk_free=0.5, shut={"risk": 1},
    )  # fmt: skip
    metrics.add(LogMetrics(lambda: (0, 0, 0)))
    key = {"at_ns": 1, "key": "h1"}
    place = {"venue": "okx", "account": "a"}
    for row in [
        r.ChildIntended(
            **key, **place, parent="p", symbol="BTC/USDT", side=Side.BUY, qty=1, px=1, tif=Tif.IOC,
            post_only=False, round=1, reserve_asset="USDT", reserve=1, worst_px=1,
        ),
        r.ChildAcked(**key, venue_order_id="7"),
        r.ChildUnknown(**key, why="", until_ns=1),
        r.CancelIntended(**key, why=""),
        r.Filled(
            **key, **place, symbol="BTC/USDT", trade_id="", parent="", strategy="",
            venue_order_id="", side=Side.BUY, px=1, qty=1, fee=1, fee_asset="USDT", maker=True,
            sent_ns=0, fee_assumed=1,
        ),
        r.ChildRejected(**key, reject="FUNDS", code="", text=""),
        r.ChildWithdrawn(**key, by="gate", code="collar", why=""),
        r.ChildAbsent(**key, proof=""),
        r.Incident(at_ns=1, what="overfill", text=""),
        r.BalanceBreak(at_ns=1, **place, asset="BTC", ours=1, theirs=2),
        r.ParentEnded(at_ns=1, parent="p", status=Status.FILLED, why=""),
    ]:  # fmt: skip
        orders.row(row, 1)
    names = {}
    for family in text_string_to_metric_families(metrics.text().decode()):
        for sample in family.samples:
            names.setdefault(sample.name, set()).update(sample.labels)
    return names


NAMES = exported()
QUERIES = [
    *((rule["alert"], rule["expr"], text) for rule in RULES
      for text in [" ".join(rule["annotations"].values())]),
    *((panel["title"], target["expr"], target["legendFormat"])
      for panel in PANELS for target in panel["targets"]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "query", "words"), QUERIES)
def test_every_metric_exists_with_the_labels_that_are_read(where, query, words):
    found = NAME.findall(query)
    assert found, f"{where} reads nothing of ours"
    for name in found:
        assert name in NAMES, f"{where}: {name} is not exported"
    labels = set().union(*(NAMES[name] for name in found))
    wanted = {
        label.strip() for group in re.findall(r"\bby \(([^)]*)\)", query)
        for label in group.split(",")
    }  # fmt: skip
    wanted |= set(re.findall(r"[{,]\s*(\w+)\s*=", query))
    wanted |= set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", words))
    assert wanted <= labels, f"{where}: no label {wanted - labels}"
    # What was added up is gone: words may only name what the query keeps.
    if kept := re.findall(r"\bby \(([^)]*)\)", query):
        named = set(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", words))
        assert named <= {label.strip() for label in kept[0].split(",")}, where


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alarm_says_what_to_do_and_pages_or_not(rule):
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert set(rule["annotations"]) == {"summary", "action"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))


def test_the_alarms_that_must_not_be_missing_are_there():
    """What a production alarm list of this house names, as far as it is measured."""
    read = " ".join(rule["expr"] for rule in RULES)
    for name in [
        "hean_orders_unknown_now", "hean_balance_breaks_now", "hean_gate_shut", "hean_book_live",
        "hean_book_age_seconds", "hean_loop_lag_seconds_bucket", "hean_clock_offset_seconds",
        "hean_reserved", "hean_feed_queue_frames", "hean_journal_epoch", "hean_feed_notices_total",
        "hean_journal_failing", "hean_risk_state", "hean_unknown_oldest_seconds", "hean_shut",
        "hean_disk_free_share", "hean_loop_stalls_total", "hean_incidents_total",
    ]:  # fmt: skip
        assert name in read, name


def test_names_are_told_apart():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def test_panels_do_not_lie_upon_each_other():
    taken = set()
    for panel in BOARD["panels"]:
        at = panel["gridPos"]
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert x < 24
                assert (x, y) not in taken, panel["title"]
                taken.add((x, y))


def test_no_label_tells_whose_it_is():
    for name, labels in NAMES.items():
        assert not labels & {"account", "key", "parent", "client_order_id", "api_key"}, name
