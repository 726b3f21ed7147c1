"""A pair that a venue does not list: asked about by a stand-in, no reason to shut the rest."""

from dataclasses import replace

import pytest

from hean_router.domain.desk import AskFailed, BalancesSeen, StreamLost
from hean_router.domain.instrument import Trading
from hean_router.domain.record import Incident
from hean_router.engine import AskDesk, CancelOrder
from tests.engine.bench import BTC, Bench, Nowhere, listing
from tests.engine.test_engine_desks import MONEY, STANDS, asks, fills_seen, open_seen, past_order

FAILED = AskFailed(what="fills", why="-1121 Invalid symbol.", instrument=listing("a"))


class Lacking(Nowhere):
    """`a` does not list BTC, until it does; None stands for it where it has not even answered."""

    def __init__(self, *, answered=True):
        super().__init__()
        self.listed[BTC] = {"b"}
        self.answered = answered

    def unlisted(self, venue, pair):
        if not self.answered or venue != "a" or pair != BTC:
            return None
        return replace(listing("a"), trading=Trading.UNLISTED)


def breaks(bench):
    return [row for row in bench.rows if isinstance(row, Incident) and row.what == "unlisted_break"]


def started(world):
    bench = Bench(world).started(*past_order(over=False))
    bench.told("a", STANDS)
    return bench


def test_its_trades_are_asked_for_and_its_order_is_asked_about_and_cancelled():
    bench = started(Lacking())
    assert asks(bench) == ["open", "fills BTC/USDT"]
    bench.told("a", open_seen(bench))
    bench.told("a", fills_seen(bench))
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    bench.wait(10)
    about = [one for one in bench.taken() if isinstance(one, AskDesk) and one.what == "order"]
    assert about, "of unknown fate since the restart"
    assert all(one.instrument.trading is Trading.UNLISTED for one in about)
    bench.engine.conduct.cancel_child(next(iter(bench.engine.oms.live.values())), "test")
    assert any(isinstance(one, CancelOrder) for one in bench.engine.core.commands)
    assert not breaks(bench)


@pytest.mark.parametrize(
    ("tries", "given_up"),
    [
        (2, False),  # a message may be lost, listed or not
        (6, True),  # the venue does not speak of it
    ],
)
def test_trades_that_a_venue_will_not_tell_of_keep_nothing_else_shut(tries, given_up):
    bench = started(Lacking())
    bench.told("a", open_seen(bench))
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    for _ in range(tries):
        bench.told("a", FAILED, after_s=0.1)
    bench.wait(8)  # for an order of unknown fate a gate waits no longer than five seconds
    for _ in range(3 * given_up):
        bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
        bench.wait(2)
    assert (bench.why("a") == "") == given_up
    assert len(breaks(bench)) == given_up, "told once"
    assert len(bench.engine.oms.live) == 1, "and the order is as unknown as before"


def test_what_is_not_told_of_is_an_incident_once_however_often_the_stream_is_cut():
    bench = started(Lacking())
    for told, failed in [(1, FAILED)] * 3 + [(1, None)] + [(2, FAILED)] * 2:
        bench.told("a", open_seen(bench))
        bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
        for _ in range(6):
            bench.told("a", failed or fills_seen(bench), after_s=0.5)
        assert len(breaks(bench)) == told, "again only after the venue has spoken of it"
        bench.wait(8)
        bench.told("a", StreamLost("cut"))
        bench.wait(1)


def test_of_a_pair_that_is_listed_nothing_is_given_up():
    bench = started(Nowhere())
    bench.told("a", open_seen(bench))
    for _ in range(10):
        bench.told("a", FAILED, after_s=1)
    assert bench.why("a")
    assert not breaks(bench)


def test_once_it_is_listed_again_all_is_asked_for_anew():
    world = Lacking()
    bench = started(world)
    bench.told("a", open_seen(bench))
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    for _ in range(6):
        bench.told("a", FAILED, after_s=0.1)
    bench.wait(8)
    bench.told("a", BalancesSeen(balances=MONEY, asked_ns=bench.now_ns))
    bench.taken()
    world.listed[BTC] = {"a", "b"}
    bench.wait(20)
    assert {"open", "fills BTC/USDT"} <= set(asks(bench))


def test_a_venue_that_has_not_told_its_list_is_not_asked_about_it():
    assert asks(started(Lacking(answered=False))) == ["open"]
