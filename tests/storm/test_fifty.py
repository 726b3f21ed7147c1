"""Fifty symbols on each of four venues: all cut at once, and changed in time without a gap."""

import asyncio

import pytest

from hean_router.book import BookState
from hean_router.sim.market import START_PX, Pace
from hean_router.sim.virtual import run
from tests.storm.town import VENUES, town

SYMBOLS = [f"{asset}/USDT" for asset in START_PX if asset not in {"USD", "USDT", "USDC"}][:50]
PACE = Pace(updates_per_s=2, levels=60)


def refusals(here):
    """What the venues refused us for asking too much, too often or too fast."""
    counts = {}
    for name, venue in here.venues.items():
        face = venue.simulator.face
        for word, count in getattr(face, "refusals", {}).items():
            counts[f"{name}.{word}"] = count
    return counts


@pytest.mark.slow
def test_fifty_symbols_on_four_venues_come_back_within_ten_seconds():
    async def main(world):
        async with town(world, SYMBOLS, pace=PACE) as here:
            market = here.router.market
            up_s = await here.until(lambda: market.all_live, 10, "all live")
            assert len(market.listed) == 50 * len(VENUES)
            await asyncio.sleep(5)
            for venue in VENUES:
                for connection in world.net.connections("router", venue):
                    connection.cut()
            await here.until(lambda: not market.all_live, 2, "the loss is seen")
            back_s = await here.until(lambda: market.all_live, 10, "all live again")
            await asyncio.sleep(5)
            here.freeze()
            await asyncio.sleep(2)
            here.check()
            faults = {feed.id: feed.counts.faults for feed in here.router.feeds}
            return up_s, back_s, refusals(here), faults

    up_s, back_s, refused, faults = run(main, 3, limit_s=200).value
    print(f"200 books up in {up_s:.1f} s, back in {back_s:.1f} s after a cut of everything")
    assert not any(faults.values()), faults
    assert not refused, f"limits were hit: {refused}"


@pytest.mark.slow
def test_a_planned_rotation_leaves_no_gap():
    async def main(world):
        async with town(world, SYMBOLS[:10], pace=Pace(updates_per_s=10)) as here:
            market = here.router.market
            await here.until(lambda: market.all_live, 10, "all live")
            left = []
            market.on_change.append(
                lambda change: left.append(change) if change.new is not BookState.LIVE else None
            )
            before = {
                feed.id: [line.pair.sessions[0] for line in feed.lines]
                for feed in here.router.feeds
            }
            for feed in here.router.feeds:
                for line in feed.lines:
                    line.rotate()
            loop = asyncio.get_running_loop()
            until = loop.time() + 40
            while loop.time() < until:
                await asyncio.sleep(0.01)
                # Not for one step is a venue missing from any consolidated book.
                for pair in here.pairs:
                    assert len(market.book(pair).live()) == len(VENUES), market.standing(pair)
            for feed in here.router.feeds:
                assert feed.counts.rotations >= 1, feed.id
                after = [line.pair.sessions for line in feed.lines]
                assert all(len(sessions) == 1 for sessions in after), "one connection is left"
                assert not {s for sessions in after for s in sessions} & set(before[feed.id])
            assert not left, [f"{c.instrument.venue} {c.instrument.pair} {c.reason}" for c in left]
            here.freeze()
            await asyncio.sleep(2)
            here.check()

    run(main, 4, limit_s=200)
