"""Time that went on without us: what is found, and what follows from it for the whole router."""

import asyncio
import logging
from decimal import Decimal

import pytest

from hean_router.domain.record import ChildIntended, Incident
from hean_router.engine import Placed, Refused
from hean_router.runtime.heart import STEADY, Beat, Heart
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.runtime.test_runtime_trading import arrived, ended, level, rows_of, small
from tests.storm.house import LIMITS, house

S = 1_000_000_000
MS = 1_000_000


@pytest.mark.parametrize(
    ("beats", "found"),
    [
        # (ours ns, the loop's s, the wall's ns, when the next beat is due s) after a beat at 100 s
        ([(101 * S, 101.0, None, None)], [STEADY]),
        ([(100 * S + 249 * MS, 100.249, None, 100.0)], [STEADY]),
        ([(100 * S + 250 * MS, 100.25, None, 100.0)], [Beat(250 * MS, 0)]),
        ([(131 * S, 131.0, None, 101.0)], [Beat(30 * S, 0)]),  # SIGSTOP: both clocks go on
        ([(131 * S, 131.0, None, None)], [STEADY]),  # nothing was due: it was quiet
        ([(161 * S, 101.0, None, 101.0)], [Beat(60 * S, 60 * S)]),  # the machine slept
        ([(31 * S, 101.0, None, 101.0)], [Beat(0, -70 * S)]),  # set back: nobody stood still
        ([(101 * S + 900 * MS, 101.0, None, None)], [STEADY]),  # two clocks may drift apart
        # the wall's clock
        ([(101 * S, 101.0, 101 * S, None)], [STEADY]),
        ([(101 * S, 101.0, 171 * S, None), (102 * S, 102.0, 172 * S, None)],
         [Beat(0, 70 * S), STEADY]),
        ([(101 * S, 101.0, 31 * S, None)], [Beat(0, -70 * S)]),
        # corrected by little and little: told once it is a second
        ([(101 * S, 101.0, 101 * S + 600 * MS, None), (102 * S, 102.0, 103 * S, None)],
         [STEADY, Beat(0, S)]),
    ],
)  # fmt: skip
def test_what_is_found(beats, found):
    heart = Heart()
    assert heart.beat(100 * S, 100.0, 100 * S) == STEADY
    told = []
    for now_ns, loop_s, wall_ns, due_s in beats:
        if due_s is not None:
            heart.expect("timer", due_s)
        told.append(heart.beat(now_ns, loop_s, wall_ns))
    assert told == found


async def rests(home):
    parent = home.place("buy", "0.1", limit=level(home, "0.99"))
    await asyncio.sleep(1)
    assert home.resting()
    return parent


@pytest.mark.parametrize("seconds", [3, 21, 600])
def test_after_a_stall_nothing_leaves_on_what_was_known_before(seconds, caplog):
    """SIGSTOP, a paused machine, a callback that hangs: they look alike from here."""
    caplog.set_level(logging.CRITICAL)

    async def main(world):
        async with small(world) as home:
            parent = await rests(home)
            before, decided = arrived(home), len(rows_of(home, ChildIntended))
            world.loop.stall(seconds)
            # The first thing that happens then: somebody asks, before any news has been read.
            answer = home.submit("buy", "0.1", client="now")
            if seconds > 20:
                assert isinstance(answer, Refused), answer
                assert arrived(home) == before
                assert len(rows_of(home, ChildIntended)) == decided
                standing = home.trading.gate.standing()
                shut = {where for where, why in standing.items() if "stood still" in why}
                assert shut == set(home.trading.desks)
            told = [row.what for row in rows_of(home, Incident)]
            assert told.count("stalled") == 1
            health = home.trading.health()
            assert health["loop"]["stalls"] == 1
            assert health["loop"]["worst_ms"] >= (seconds - 0.2) * 1000
            if seconds > 20:
                assert any("stood still" in one["why"] for one in health["shut"])
            await home.stands(120)
            if isinstance(answer, Placed):
                await home.done(home.engine.oms.parents[answer.parents[0]])
            await home.done(home.place("sell", "0.1", client="after"))
            home.trading.cancel(parent.id, "test", "the end")
            await ended(home)

    virtual.run(main, 31)


def test_what_was_decided_before_a_stall_is_not_sent_after_it():
    """The disk took three seconds for the row of the order."""

    async def main(world):
        async with small(world) as home:
            before, append = arrived(home), home.office.journal.append

            def slow(rows):
                if any(isinstance(row, ChildIntended) for row in rows):
                    world.loop.stall(3)
                return append(rows)

            home.office.journal.append = home.trading.journal.append = slow
            parent = home.place("buy", "0.1")
            assert not parent.working
            home.office.journal.append = home.trading.journal.append = append
            held = {child.intended.key for child in parent.children}
            await home.done(parent)
            await ended(home)
            assert held
            assert not held & (arrived(home) - before)

    virtual.run(main, 32)


@pytest.mark.parametrize("by_s", [70, -5])
def test_a_clock_that_is_moved_shuts_every_venue_until_its_time_is_known_anew(by_s, caplog):
    caplog.set_level(logging.CRITICAL)

    async def main(world):
        pace = Pace(updates_per_s=2)
        async with house(
            world, ("BTC/USDT", "USDT/USD"), venues=("binance", "kraken"), pace=pace, limits=LIMITS
        ) as home:
            parent = await rests(home)
            clock = world.net.clock("router")
            clock.jump(by_s * S)
            offsets = [desk.offset for desk in home.trading.desks.values()]
            home.trading.cancel(parent.id, "test", "the first that happens")
            assert not any(offset.known for offset in offsets), "doubted before anything is signed"
            assert [row.what for row in rows_of(home, Incident)].count("clock_moved") == 1
            await home.until(lambda: all(one.known for one in offsets), 30, "a new measurement")
            await home.until(lambda: parent.ended is not None, 120, "its end")
            clock.jump(-by_s * S)
            await home.stands(200)
            assert home.engine.ledger.balance("kraken", "main", "USDT") > Decimal(0)

    virtual.run(main, 33)
