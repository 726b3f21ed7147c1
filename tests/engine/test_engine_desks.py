"""Desks that flap, answer late, in part, or never: a gate opens when nothing is missing."""

from decimal import Decimal

import pytest

from hean_router.domain.desk import (
    AskFailed,
    BalancesSeen,
    DeskStanding,
    FillsSeen,
    OpenSeen,
    StreamLost,
)
from hean_router.domain.instrument import Side
from hean_router.domain.order import Balance, Tif
from hean_router.domain.parent import Intent
from hean_router.domain.record import (
    BalancesSet,
    ChildIntended,
    ChildWithdrawn,
    Opened,
    ParentEnded,
    ParentPlaced,
    Status,
)
from hean_router.engine import AskDesk, CancelParent
from tests.engine.bench import BTC, ETH, SECOND, Bench, Nowhere, listing

STANDS = DeskStanding(ready=True, fresh=True)
MONEY = [Balance(asset="USDT", total=Decimal(5), locked=Decimal(0))]


def opened():
    return Opened(at_ns=1, epoch=1, tag="tst", version="0", config_digest="", mode="live")


def past_order(venue="a", symbol="BTC/USDT", at_ns=999 * SECOND, *, over=True):
    """An order of an earlier life."""
    intent = Intent(
        account="main",
        client_order_id="c",
        symbol=symbol,
        side=Side.BUY,
        qty=Decimal(1),
        limit_px=Decimal(100),
    )
    rows = [
        opened(),
        ParentPlaced(
            at_ns=at_ns,
            parent="00000001",
            intent=intent,
            digest=intent.digest(),
            qty=Decimal(1),
            quote_max=None,
            worst_px=Decimal(100),
            worst_usd=Decimal(100),
        ),
        ChildIntended(
            at_ns=at_ns,
            key="htst0000000100100",
            parent="00000001",
            account="main",
            venue=venue,
            symbol=symbol,
            side=Side.BUY,
            qty=Decimal(1),
            px=Decimal(100),
            tif=Tif.GTC,
            post_only=False,
            round=1,
            reserve_asset="USDT",
            reserve=Decimal(100),
            worst_px=Decimal(100),
        ),
    ]
    if over:
        rows += [
            ChildWithdrawn(at_ns=at_ns, key="htst0000000100100", by="gate", code="late", why=""),
            ParentEnded(at_ns=at_ns, parent="00000001", status=Status.CANCELED, why=""),
        ]
    return rows


def asks(bench, venue="a"):
    return [
        one.what if one.what != "fills" else f"fills {one.instrument.pair}"
        for one in bench.taken()
        if isinstance(one, AskDesk) and one.venue == venue
    ]


def open_seen(bench, asked_ns=None):
    of = [listing("a"), listing("a", ETH)]
    return OpenSeen(instruments=of, reports=[], asked_ns=asked_ns or bench.now_ns)


def fills_seen(bench, pair=BTC, asked_ns=None):
    return FillsSeen(
        instrument=listing("a", pair), since_ns=0, fills=[], asked_ns=asked_ns or bench.now_ns
    )


def test_a_gate_opens_once_orders_trades_and_balances_are_told_and_others_do_not_wait():
    bench = Bench().started()
    bench.told("a", STANDS)
    assert asks(bench) == ["open"], "nothing was ever ordered: no trades can be missing"
    bench.told("a", open_seen(bench))
    assert asks(bench) == ["balances"]
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    assert (bench.why("a"), bench.why("b")) == ("", "not connected")


def test_what_was_answered_is_not_asked_again_and_counts_however_late_the_rest_is():
    bench = Bench().started(*past_order())
    bench.told("a", STANDS)
    asked_ns = bench.now_ns
    assert asks(bench) == ["open", "fills BTC/USDT"]
    bench.wait(10)
    bench.told("a", open_seen(bench, asked_ns))
    bench.wait(10)
    assert asks(bench) == ["fills BTC/USDT"], "the open orders were told"
    bench.told("a", fills_seen(bench, asked_ns=asked_ns))  # 20 s old, and after it began
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    assert bench.why("a") == ""


@pytest.mark.parametrize("what", ["open", "fills", "balances"])
def test_a_question_that_fails_at_once_is_not_asked_at_once(what):
    """A desk that does not run fails every question within the call: that must not spin."""
    bench = Bench().started(*past_order())
    bench.told("a", STANDS)
    if what == "balances":
        bench.told("a", open_seen(bench))
        bench.told("a", fills_seen(bench))
    bench.taken()
    failed = AskFailed(what=what, why="the desk does not run", instrument=listing("a"))
    for _ in range(5):
        bench.told("a", failed)
    assert asks(bench) == []
    bench.wait(60)
    assert 1 <= asks(bench).count("fills BTC/USDT" if what == "fills" else what) <= 12
    assert bench.why("a"), "and the gate stays shut"


def test_a_venue_that_never_answers_keeps_its_own_gate_shut_for_ever_and_writes_nothing():
    bench = Bench().started()
    bench.told("a", STANDS)
    bench.told("b", STANDS)
    bench.told("b", open_seen(bench))
    bench.told("b", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    rows = len(bench.rows)
    bench.wait(3_600)
    assert bench.why("a")
    assert not bench.why("b")
    assert len(bench.rows) == rows
    assert len(asks(bench)) <= 3_600 / 15 + 1


def test_flapping_writes_no_rows_and_every_stand_is_asked_for_anew():
    bench = Bench().started()
    rows = len(bench.rows)
    for _ in range(100):
        bench.told("a", STANDS, 0.1)
        assert asks(bench) == ["open"]
        bench.told("a", open_seen(bench))
        bench.told("a", DeskStanding(ready=False, why="socket"), 0.1)
        assert bench.why("a") == "socket"
        bench.taken()
    assert len(bench.rows) == rows


def test_an_answer_from_before_the_stream_was_lost_does_not_count():
    bench = Bench().started()
    bench.told("a", STANDS)
    asked_ns = bench.now_ns
    bench.told("a", StreamLost("cut"), 1)
    bench.told("a", open_seen(bench, asked_ns), 1)
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    assert bench.why("a")
    bench.told("a", open_seen(bench))
    assert bench.why("a") == ""


def test_a_pair_that_is_listed_late_is_asked_about_too():
    world = Nowhere()
    world.listed[ETH] = set()
    bench = Bench(world).started(*past_order(symbol="ETH/USDT", over=False))
    bench.told("a", STANDS)
    bench.told("a", open_seen(bench))
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    bench.taken()
    world.listed[ETH] = {"a"}
    bench.wait(20)
    assert "fills ETH/USDT" in asks(bench)


def test_a_venue_without_instruments_waits_for_them():
    world = Nowhere()
    world.listed = {BTC: set(), ETH: set()}
    bench = Bench(world).started()
    bench.told("a", STANDS)
    assert bench.why("a") == "its instruments are not listed yet"
    bench.wait(5)
    assert asks(bench) == []
    world.listed[BTC] = {"a"}
    bench.wait(2)
    assert "open" in asks(bench)


def test_trades_are_asked_for_where_something_can_have_traded():
    rows = [
        # venue and symbol of an order, when, whether it is over -> what is asked of venue a
        (("a", "BTC/USDT"), 999, True, ["open", "fills BTC/USDT"]),
        (("a", "ETH/USDT"), 999, True, ["open", "fills ETH/USDT"]),
        (("b", "BTC/USDT"), 999, True, ["open"]),
        (("a", "BTC/USDT"), -9_000, True, ["open"]),  # over and settled long ago
        (("a", "BTC/USDT"), -9_000, False, ["open", "fills BTC/USDT"]),  # may exist still
    ]
    for (venue, symbol), at_s, over, want in rows:
        bench = Bench()
        bench.now_ns = 20_000 * SECOND
        at_ns = bench.now_ns + (at_s - 1_000) * SECOND
        bench.started(*past_order(venue, symbol, at_ns, over=over))
        bench.taken()
        bench.told("a", STANDS)
        assert asks(bench) == want, (venue, symbol, at_s, over)


def test_balances_become_ours_at_first_and_are_compared_only_where_it_is_quiet():
    bench = Bench().started()
    bench.told("a", STANDS)
    bench.told("a", open_seen(bench))
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    assert [row.why for row in bench.rows if isinstance(row, BalancesSet)] == ["opening"]
    bench.taken()
    bench.wait(90)
    assert 2 <= asks(bench).count("balances") <= 4


def test_before_a_desk_has_stood_its_venue_is_asked_nothing():
    """What a venue lets us ask, it takes for standing up: else it might never come to that."""
    bench = Bench().started(*past_order(over=False))
    bench.wait(60)
    assert asks(bench) == []
    bench.told("a", STANDS)
    bench.wait(60)
    assert "order" in asks(bench)


def test_orders_of_an_account_that_is_configured_no_more_are_kept_and_stop_nobody():
    bench = Bench(desks=(("b", "main"),)).started(*past_order(over=False))
    bench.step(CancelParent(parent="00000001", why="test", by="test"))
    bench.wait(300)
    assert bench.taken() == []
    assert bench.engine.oms.parents["00000001"].ended is None
    assert bench.engine.risk.state == "normal"
