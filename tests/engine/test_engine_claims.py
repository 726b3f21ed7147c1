"""What a stream says against what was traded: lies are told once, old news never."""

from decimal import Decimal

import pytest

from hean_router.domain.desk import BalancesSeen, StreamLost, Told
from hean_router.domain.instrument import Side
from hean_router.domain.order import Balance, Fill, OrderReport, OrderState
from hean_router.domain.record import Filled
from tests.engine.bench import SECOND, listing
from tests.engine.test_engine_desks import fills_seen, open_seen
from tests.engine.test_engine_reconciling import (
    KEY,
    acked,
    incidents,
    of_type,
    past_order,
    standing,
)

D = Decimal
T = 1_010 * SECOND


def fill(trade, qty, sent_ns=T):
    return Told(
        Fill(
            instrument=listing("a"),
            key=KEY,
            venue_order_id="v1",
            trade_id=trade,
            side=Side.BUY,
            px=990,
            qty=qty,
            fee=D(0),
            fee_asset="USDT",
            sent_ns=sent_ns,
        )
    )


def report(cum, sent_ns=T):
    return Told(
        OrderReport(
            instrument=listing("a"),
            key=KEY,
            venue_order_id="v1",
            state=OrderState.OPEN,
            cum_qty=cum,
            qty=10_000,
            side=Side.BUY,
            sent_ns=sent_ns,
        )
    )


LATER = T + 10 * SECOND


@pytest.mark.parametrize(
    ("said", "lie"),
    [
        ([fill("t", 4_000), report(4_000), report(2_000)], True),  # half of what it was
        ([fill("t", 4_000), report(4_000), report(2_000), report(1_000)], True),  # told once
        ([report(4_000), report(2_000), fill("t", 4_000)], True),  # trades come after
        ([fill("t", 4_000), report(4_000), report(0)], False),  # from before the trade, late
        ([fill("t", 4_000), report(4_000), report(0, LATER)], True),  # ... but not this late
        (
            [fill("t", 3_000), fill("u", 2_000), report(5_000), report(3_000)],
            False,  # said between two trades, in the same moment
        ),
        ([fill("t", 3_000), fill("u", 2_000), report(5_000), report(2_000)], False),  # or so
        ([fill("t", 3_000), fill("u", 2_000), report(5_000), report(2_500)], True),
        (
            [fill("t", 3_000), fill("u", 2_000, LATER), report(5_000, LATER), report(3_000)],
            False,  # from before the second, late
        ),
        (
            [fill("t", 3_000), fill("u", 2_000, LATER), report(5_000, LATER), report(2_000)],
            True,  # the first was long done
        ),
        (
            [fill("u", 3_000), report(1_000), fill("t", 1_000), report(4_000)],
            False,  # of the first trade, which was told after the second
        ),
        ([fill("t", 4_000), report(2_000), report(4_000)], True),  # seen once the count is known
        ([report(4_000), report(2_000)], False),  # its trades are not known: nobody can tell
        ([fill("t", 4_000), report(4_000), report(2_000, 0)], False),  # said without its time
    ],
)
def test_a_count_that_falls_is_told_where_no_trades_add_up_to_it(said, lie):
    bench = standing(*past_order(over=False), acked())
    for event in said:
        bench.told("a", event)
    assert incidents(bench) == ([("quantity_fell", KEY)] if lie else [])
    child = bench.engine.core.oms.children[KEY]
    counts = [one.event for one in said if isinstance(one.event, OrderReport)]
    most = max(listing("a").qty_decimal(one.cum_qty) for one in counts)
    assert child.cum in {most, None}, "what is counted stays"


def balances(bench, **totals):
    ledger = bench.engine.core.ledger.balances()["a", "main"]
    found = {**ledger, **totals}
    return BalancesSeen(
        balances=[Balance(asset=asset, total=total) for asset, total in found.items()],
        asked_ns=bench.now_ns,
    )


def word(bench, asset, more, late_s=0):
    """The stream's, at the present moment, or one from `late_s` ago."""
    ours = bench.engine.core.ledger.balance("a", "main", asset)
    return Told(Balance(asset=asset, total=ours + D(more), sent_ns=bench.now_ns - late_s * SECOND))


@pytest.mark.parametrize(
    ("asset", "more", "late_s", "lie"),
    [
        ("USDT", "0", 0, False),
        ("USDT", "0.01", 0, True),  # nothing came
        ("USDT", "-0.01", 0, True),  # nothing went
        ("USDT", "0.01", 30, False),  # of before the venue agreed
        ("BTC", "1000", 0, True),
        (
            "BTC",
            "1000",
            9,
            True,
        ),  # of about the time when the venue agreed: neither before nor after
        ("BTC", "0", 9, False),
    ],
)
def test_a_balance_beyond_what_trades_explain_is_told_once_the_venue_was_asked(
    asset, more, late_s, lie
):
    bench = standing(*past_order())
    bench.wait(10)
    bench.told("a", balances(bench))
    bench.wait(5)
    bench.told("a", balances(bench))
    bench.wait(10)
    before = dict(bench.engine.core.ledger.balances()["a", "main"])
    for _ in range(3):
        bench.told("a", word(bench, asset, more, late_s))
        bench.wait(5)
        bench.told("a", balances(bench))
    assert incidents(bench) == ([("impossible_balance", asset)] if lie else [])
    assert bench.engine.core.ledger.balances()["a", "main"] == before, "never booked"


def test_a_message_that_cannot_be_is_told_once_and_asked_about_each_time():
    bench = standing(*past_order(over=False), acked())
    for _ in range(5):
        bench.told("a", StreamLost("what cannot be: -0.1 is below zero", lie=True))
        assert bench.why("a")
        bench.wait(1)
    bench.told("a", StreamLost("an unreadable frame"))
    assert incidents(bench) == [("impossible_message", "a")]
    assert not of_type(bench, Filled)


@pytest.mark.parametrize("late_s", [0.2, 4])  # as ever; an answer that took its time
def test_a_deposit_that_overtakes_the_answer_to_a_question_asked_before_it_is_no_lie(late_s):
    """The stream told of it while the answer was on its way: judged by what was so before."""
    bench = standing(*past_order())
    bench.wait(10)
    bench.told("a", balances(bench))
    bench.wait(10)
    answer = balances(bench)
    bench.wait(late_s)
    total = bench.engine.core.ledger.balance("a", "main", "USDT") + 500
    bench.told("a", word(bench, "USDT", "500"))
    bench.told("a", answer)
    for _ in range(3):  # differs, is asked about, is taken
        bench.wait(5)
        bench.told("a", open_seen(bench))
        bench.told("a", fills_seen(bench))
        bench.told("a", balances(bench, USDT=total))
    assert bench.engine.core.ledger.balance("a", "main", "USDT") == total
    assert [what for what, _ in incidents(bench)] == ["balance_break"]


def test_a_lie_that_overtakes_the_answer_to_a_question_asked_before_it_is_told_by_the_next():
    bench = standing(*past_order())
    bench.wait(10)
    bench.told("a", balances(bench))
    bench.wait(10)
    answer = balances(bench)
    bench.wait(0.2)
    bench.told("a", word(bench, "USDT", "500"))
    bench.told("a", answer)
    assert not incidents(bench)
    bench.wait(10)
    bench.told("a", balances(bench))
    assert incidents(bench) == [("impossible_balance", "USDT")]
