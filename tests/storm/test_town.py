"""The whole program in virtual time: books come up, stay true, and come back."""

import asyncio


from hean_router.sim.market import Pace
from hean_router.sim.virtual import run
from tests.storm.town import town

QUIET = Pace(updates_per_s=3, levels=120)
SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT")


def test_every_book_comes_up_and_is_the_venues_own():
    async def main(world):
        async with town(world, SYMBOLS, pace=Pace(updates_per_s=20)) as here:
            up_s = await here.until(lambda: here.router.market.all_live, 10, "all live")
            await asyncio.sleep(60)
            here.freeze()
            await asyncio.sleep(2)
            here.check()
            return up_s

    ran = run(main, 1, limit_s=300)
    assert ran.value < 5


async def storm(world, minutes, pace, faults):
    """Faults for `minutes`, then rest: everything LIVE again, everything true."""
    async with town(world, SYMBOLS, pace=pace, faults=f"{faults},until:{minutes}m") as here:
        await here.until(lambda: here.router.market.all_live, 120, "all live")
        await asyncio.sleep(minutes * 60)
        back_s = await here.until(lambda: here.router.market.all_live, 180, "all live again")
        await asyncio.sleep(5)
        await here.until(lambda: here.router.market.all_live, 60, "still live")
        here.freeze()
        await asyncio.sleep(2)
        here.check()
        hits = {
            f"{name}.{word}": count
            for name, venue in here.venues.items()
            for word, count in sorted(venue.simulator.face.counts.items())
        }
        faults_of_ours = {feed.id: feed.counts.faults for feed in here.router.feeds}
        return back_s, hits, faults_of_ours


def run_storm(seed, minutes, pace=QUIET, faults="storm"):
    return run(lambda world: storm(world, minutes, pace, faults), seed, limit_s=minutes * 60 + 600)


def test_ten_minutes_of_faults():
    ran = run_storm(7, 10)
    back_s, hits, ours = ran.value
    print(f"seed 7: {ran.events} events, back after {back_s:.1f} s, {sum(hits.values())} faults")
    assert not any(ours.values()), f"faults of our own: {ours}"
