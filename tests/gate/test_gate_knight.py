"""Knight Capital, 1 August 2012: "already filled" no longer reached what sends orders.

212 parents became four million orders.  Here the OMS forgets what its parents have got, in the
whole router on simulated venues; what left is read from the venues' own books.  The planner's
bounds are lifted, and the watch over invariants is off: nothing else than the gate is asked.
"""

import asyncio
import logging
from collections import Counter
from decimal import Decimal

import pytest

from hean_router.audit import Watch
from hean_router.domain.record import ChildWithdrawn, Incident
from hean_router.gate import Gate
from hean_router.oms.model import Parent
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.storm.house import LIMITS, house

WANTED = Decimal("0.4")
VENUES = ("binance", "kraken")
TIRELESS = {"rounds_max": 100, "work_ms": 600_000}
NO_NET = {**LIMITS, "daily_loss_max": "off"}
NO_NET["each_account"] = {**LIMITS["each_account"], "daily_loss_max": "off"}


@pytest.fixture
def stuck(monkeypatch, caplog):
    """The parent's counter stands still, and no other watchman is there."""
    caplog.set_level(logging.CRITICAL)
    stands_still = property(lambda _parent: Decimal(0), lambda _parent, _value: None)
    monkeypatch.setattr(Parent, "filled", stands_still)
    for told in ("committed", "agree", "sent"):
        monkeypatch.setattr(Watch, told, lambda *_args: [])


def run_wild():
    async def main(world):
        async with house(
            world,
            ("BTC/USDT", "USDT/USD"),
            venues=VENUES,
            pace=Pace(updates_per_s=2),
            limits=NO_NET,
            routing=TIRELESS,
        ) as home:
            parent = home.place("buy", str(WANTED))
            await asyncio.sleep(60)
            traded, sent = Decimal(0), 0
            of = home.market.listing(home.engine.core.pair_of["BTC/USDT"])
            for venue in VENUES:
                for order in home.books_of(venue).orders:
                    if order.first_client_id:
                        sent += 1
                        traded += sum(
                            (fill.qty * of[venue].lot for fill in order.fills), Decimal(0)
                        ).scaleb(-of[venue].qty_decimals)
            rows = [row for _, row in home.office.journal.rows()]
            told = Counter(row.what for row in rows if isinstance(row, Incident))
            held = [row for row in rows if isinstance(row, ChildWithdrawn) and row.by == "gate"]
            health = home.trading.health()
            again = home.submit("buy", "0.1", client="another")
            home.trading.cancel(parent.id, "test", "the end")
            return traded, sent, told, held, health, again

    return virtual.run(main, 12).value


def test_without_the_gate_it_buys_far_more_than_was_asked(stuck, monkeypatch):
    monkeypatch.setattr(Gate, "check", lambda *_args: "")
    monkeypatch.setattr(Gate, "take_incidents", lambda _gate: [])
    traded, sent, _, held, _, _ = run_wild()
    assert traded > 10 * WANTED, "else the test below proves nothing"
    assert sent > 10
    assert not held


def test_the_gate_alone_lets_nothing_over_the_quantity_leave_and_shuts_the_place(stuck):
    traded, _, told, held, health, again = run_wild()
    assert Decimal(0) < traded <= WANTED
    assert {row.code for row in held} <= {"over_quantity", "gate_shut"}
    assert told["gate_refused"] >= 5
    assert told["gate_circles"]
    assert len(held) < 30, "it does not even ask for ever"
    shut = [one for one in health["shut"] if "circles" in one["why"]]
    assert shut
    assert all("reset" in one["lifted_by"] for one in shut)
    assert again is not None
