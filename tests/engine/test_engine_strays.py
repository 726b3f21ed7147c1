"""Orders that are ours by their key and that no row explains: told once, taken back until gone."""

import pytest

from hean_router.domain.desk import (
    BalancesSeen,
    CancelAnswered,
    DeskStanding,
    OpenSeen,
    Told,
)
from hean_router.domain.instrument import Side
from hean_router.domain.order import Accepted, OrderReport, OrderState
from hean_router.domain.record import ForeignOrder, Incident, Opened, RiskSet
from hean_router.engine import AskDesk, CancelOrder
from hean_router.engine.core import REPAIRED
from hean_router.engine.strays import AGAIN_NS
from tests.engine.bench import BTC, ETH, SECOND, Bench, listing

STANDS = DeskStanding(ready=True, fresh=True)
OURS, THEIRS = "htst0000009900100", "web-17"
OPENED = Opened(at_ns=1, epoch=1, tag="tst", version="0", config_digest="", mode="live")


def order(key, state=OrderState.OPEN):
    return OrderReport(
        instrument=listing("a"),
        key=key,
        venue_order_id=f"v-{key}",
        state=state,
        qty=10,
        px=100,
        side=Side.BUY,
    )


def listed(bench, *orders):
    bench.told("a", OpenSeen(instruments=(listing("a"),), reports=orders, asked_ns=bench.now_ns))


def stands(*orders, rows=(OPENED,)):
    """A desk that has told these open orders, and all else that it is asked for at its start."""
    bench = Bench()
    bench.started(*rows)
    bench.told("a", STANDS)
    bench.told("a", BalancesSeen(balances=(), asked_ns=bench.now_ns))
    listed(bench, *orders)
    return bench


def cancels(bench):
    return [one for one in bench.taken() if isinstance(one, CancelOrder)]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (OURS, [OURS]),  # sent by rows that are lost
        ("hxyz0000009900100", []),  # another installation's
        (THEIRS, []),  # a person's: seen, counted, left alone
        ("", []),
    ],
)
def test_an_order_that_no_row_explains_is_taken_back_if_it_is_ours(key, expected):
    bench = stands(order(key))
    assert [one.key for one in cancels(bench)] == expected
    incidents = [row for row in bench.rows if isinstance(row, Incident)]
    assert [row.what for row in incidents] == ["orphan_order"] * len(expected)


def test_it_is_taken_back_again_until_the_venue_says_that_it_is_gone():
    bench = stands(order(OURS))
    bench.taken()
    bench.wait(AGAIN_NS / SECOND + 2)
    asked = [one for one in bench.taken() if isinstance(one, AskDesk) and one.what == "open"]
    assert asked, "a cancel may be lost"
    listed(bench, order(OURS))
    assert [one.key for one in cancels(bench)] == [OURS]
    bench.told("a", CancelAnswered(key=OURS, outcome=Accepted()))
    bench.told("a", Told(order(OURS, OrderState.CANCELED)))
    bench.taken()
    bench.wait(2 * AGAIN_NS / SECOND)
    listed(bench)
    assert not cancels(bench)
    incidents = [row.what for row in bench.rows if isinstance(row, Incident)]
    assert incidents == ["orphan_order"], "told once; its cancel's answer is no stray one"
    assert [row.open for row in bench.rows if isinstance(row, ForeignOrder)] == [True, False]


REPAIR = Incident(at_ns=900 * SECOND, what=REPAIRED, text="lost")
RESET = RiskSet(at_ns=950 * SECOND, state="normal", reason="looked", by="me")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([OPENED], {}),  # nothing was ever ordered there
        ([OPENED, REPAIR], {"BTC/USDT": 900, "ETH/USDT": 900}),  # or nobody knows
        ([OPENED, REPAIR, RESET], {}),  # until a person has looked
    ],
)
def test_after_a_repair_trades_are_asked_for_since_the_rows_end(rows, expected):
    bench = Bench()
    bench.started(*rows)
    bench.told("a", STANDS)
    overlap_ns = bench.engine.core.policy.overlap_ns
    asked = {
        str(one.instrument.pair): one.since_ns
        for one in bench.taken()
        if isinstance(one, AskDesk) and one.what == "fills" and one.venue == "a"
    }
    assert asked == {pair: max(0, at * SECOND - overlap_ns) for pair, at in expected.items()}
    assert not asked or {str(BTC), str(ETH)} == set(asked)
