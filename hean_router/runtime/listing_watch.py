"""Whether a venue still lists what we follow, and lists by now what it did not."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from hean_router.domain.errors import VenueError
from hean_router.domain.instrument import Instrument, Pair, Trading

SECOND = 1_000_000_000
EVERY_NS = 300 * SECOND  # while all is listed; a venue need not tell that a pair has gone
FIRST_NS = 15 * SECOND  # until the first look for one that is not; then twice as long each time
LATE_NS = 600 * SECOND
AGAIN_NS = 10 * SECOND  # between any two looks: the dearest list costs a second of a venue's budget


class Lists(Protocol):
    """A connection's instruments."""

    instruments: Sequence[Instrument]

    def listed(self, now: Mapping[Pair, Instrument], sure: Collection[Pair]) -> bool:
        """Heed the venue's present list; whether anything has changed."""
        ...


class Watched(Protocol):
    """A venue's feed, as far as it is asked here."""

    @property
    def lines(self) -> Sequence[Lists]:
        """Its connections."""
        ...

    async def instruments(self) -> Sequence[Instrument]:
        """The venue's list.  Raises `VenueError`."""
        ...

    def tell(self, text: str) -> None:
        """Say what failed."""
        ...

    def own_fault(self, fault: Exception) -> None:
        """A fault of our own."""
        ...


class ListingWatch:
    """Reads one venue's list again and again, at growing delays while something is missing.

    A pair that one answer leaves out, and of which no stream has told that it is halted, is gone
    when the next leaves it out too.
    """

    def __init__(self, feed: Watched) -> None:
        self._feed = feed
        self._soon = asyncio.Event()
        self._missing: frozenset[Pair] = frozenset()
        self._tries = 0

    def soon(self) -> None:
        """Look as soon as may be: something was heard of a pair."""
        self._soon.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._pause()
            try:
                changed = await self._look()
            except VenueError as fault:
                changed = False
                self._feed.tell(f"instruments: {fault}")
            except Exception as fault:  # noqa: BLE001 - logged and counted
                changed = False
                self._feed.own_fault(fault)
            self._tries = 0 if changed else self._tries + 1

    async def _pause(self) -> None:
        """Until the next look; a word of `soon` shortens it, but to `AGAIN_NS`."""
        wait_ns = self.wait_ns()
        await asyncio.sleep(AGAIN_NS / SECOND)
        try:
            async with asyncio.timeout((wait_ns - AGAIN_NS) / SECOND):
                await self._soon.wait()
        except TimeoutError:
            pass
        self._soon.clear()

    def wait_ns(self) -> int:
        """How long until the next look, where nothing is heard."""
        if self._missing - self._off:
            return AGAIN_NS  # the second look
        if not self._off:
            return EVERY_NS
        return min(LATE_NS, FIRST_NS << min(self._tries, 10))

    @property
    def _off(self) -> frozenset[Pair]:
        """What is known to be off the list."""
        return frozenset(
            one.pair
            for line in self._feed.lines
            for one in line.instruments
            if one.trading is Trading.UNLISTED
        )

    async def _look(self) -> bool:
        listed = {one.pair: one for one in await self._feed.instruments()}
        if not listed:
            raise VenueError("a list of nothing")
        ours = {one.pair for line in self._feed.lines for one in line.instruments}
        missing = frozenset(ours - set(listed))
        sure, self._missing = missing & self._missing, missing
        changed = False
        for line in self._feed.lines:
            changed |= line.listed(listed, sure)
        return changed
