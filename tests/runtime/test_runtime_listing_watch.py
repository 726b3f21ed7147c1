"""How often a venue's list is read, and when a pair that it lacks is gone."""

import asyncio
from types import SimpleNamespace

import pytest

from hean_router.domain.errors import VenueError
from hean_router.domain.instrument import Pair, Trading
from hean_router.runtime.listing_watch import AGAIN_NS, EVERY_NS, LATE_NS, ListingWatch
from hean_router.sim.virtual import run

S = 1_000_000_000
BTC, ETH = Pair.parse("BTC/USDT"), Pair.parse("ETH/USDT")


class Feed:
    """A venue's list, and one connection that heeds it as a real one does."""

    def __init__(self, world, off=()):
        self.world, self.there, self.fault = world, {BTC, ETH}, None
        self.instruments_ = [
            SimpleNamespace(pair=pair, trading=Trading.UNLISTED if pair in off else Trading.OPEN)
            for pair in (BTC, ETH)
        ]
        self.lines = [SimpleNamespace(instruments=self.instruments_, listed=self.listed)]
        self.looks, self.told, self.sure = [], [], []

    async def instruments(self):
        self.looks.append(self.world.now_ns)
        if self.fault:
            raise self.fault
        return [SimpleNamespace(pair=pair) for pair in sorted(self.there)]

    def listed(self, now, sure):
        changed = False
        self.sure.append(set(sure))
        for one in self.instruments_:
            was = one.trading
            if one.pair in now:
                one.trading = Trading.OPEN
            elif one.pair in sure:
                one.trading = Trading.UNLISTED
            changed |= one.trading is not was
        return changed

    def tell(self, text):
        self.told.append(text)

    def own_fault(self, fault):
        self.told.append(f"ours: {fault!r}")


def looks(for_s, *, off=(), there=(BTC, ETH), soon_s=(), fault=None, change=()):
    """Seconds between looks; and the feed.  `change`: (after s, what is then there)."""

    async def main(world):
        feed = Feed(world, off)
        feed.there, feed.fault = set(there), fault
        watch = ListingWatch(feed)
        task, began_ns = asyncio.create_task(watch.run()), world.now_ns
        plan = sorted([(at, None) for at in soon_s] + list(change), key=lambda one: one[0])
        for at_s, now in plan:
            await asyncio.sleep(max(0, at_s - (world.now_ns - began_ns) / S))
            if now is None:
                watch.soon()
            else:
                feed.there = set(now)
        await asyncio.sleep(for_s - (world.now_ns - began_ns) / S)
        task.cancel()
        await asyncio.wait({task})
        at_s = [(one - began_ns) / S for one in feed.looks]
        waits = [round(b - a) for a, b in zip([0, *at_s], at_s, strict=False)]
        return waits, feed

    return run(main, 1, limit_s=100_000).value


@pytest.mark.parametrize(
    ("case", "waits"),
    [
        ({"for_s": 1_000}, [300] * 3),  # all is listed: now and then
        # One is missing from the start: at growing delays, to ten minutes.
        ({"for_s": 2_200, "off": {ETH}, "there": {BTC}}, [15, 30, 60, 120, 240, 480, 600, 600]),
        # It is back at 200 s: found at the next look, and then now and then.
        ({"for_s": 900, "off": {ETH}, "there": {BTC}, "change": [(200, {BTC, ETH})]},
         [15, 30, 60, 120, 300, 300]),
        # A word brings it forward, once, and ten of them in a row bring nothing more.
        ({"for_s": 400, "soon_s": [50]}, [50, 300]),
        ({"for_s": 65, "soon_s": [30 + 0.1 * n for n in range(200)]}, [30, 10, 10]),
        # One answer lacks it: asked again after ten seconds; the second says it all.
        ({"for_s": 350, "change": [(1, {BTC})]}, [300, 10, 15]),
        # And if the second has it again, nothing has happened.
        ({"for_s": 640, "change": [(1, {BTC}), (305, {BTC, ETH})]}, [300, 10, 300]),
        # A venue that does not answer, or tells of nothing at all, is asked no more often.
        ({"for_s": 1_000, "fault": VenueError("down")}, [300] * 3),
        ({"for_s": 1_000, "there": ()}, [300] * 3),
    ],
)  # fmt: skip
def test_when_the_list_is_read(case, waits):
    assert looks(**case)[0] == waits


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ([(1, {BTC})], True),  # two answers without it
        ([(1, {BTC}), (305, {BTC, ETH})], False),  # one: an answer that was not whole
        ([(1, ())], False),  # a list of nothing is no list
    ],
)
def test_what_is_gone(change, gone):
    _, feed = looks(400, change=change)
    assert (feed.instruments_[1].trading is Trading.UNLISTED) == gone
    assert feed.instruments_[0].trading is Trading.OPEN


def test_a_fault_of_ours_is_told_and_looked_past():
    waits, feed = looks(1_000, fault=KeyError("x"))
    assert len(waits) == len(feed.told) == 3
    assert all(text.startswith("ours: KeyError") for text in feed.told)


def test_the_bounds():
    assert AGAIN_NS < EVERY_NS < LATE_NS
