"""kill -9 in the middle of working parents, again and again, on one state folder.

Each cycle: restart, ask for everything that was ordered before by the same client order ids, bring
20 parents to work, let orders and cancels fly, do harm (`harm.Harm`), kill.  The venues trade on
meanwhile, each a process of its own.  In the end the checker holds all of it against what the
venues wrote down.
"""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from hean_router.client import AsyncClient
from tests.checker.venue_logs import read_logs
from tests.system.flow import Crowd, Ordered
from tests.system.harm import Disk, Harm, disk, go_on, halt, mixed
from tests.system.rig import SYMBOLS, Child, Rig, collect, mids, pages, until, wind_up, working

WORKING = 20
TOO_MANY = 60  # working orders; the oldest beyond are taken back
# Two hundred lives at random drift far, and pay many fees: limits are tested elsewhere.
FAR = {
    f"HEAN_LIMITS__{scope}{name}": "off"
    for scope, names in {
        "": ("GROSS_MAX", "NET_MAX", "DAILY_LOSS_MAX"),
        "EACH_ACCOUNT__": ("GROSS_MAX", "NET_MAX", "DAILY_LOSS_MAX"),
        "EACH_VENUE__": ("GROSS_MAX", "NET_MAX"),
        "EACH_SYMBOL__": ("POSITION_MAX", "GROSS_MAX", "NET_MAX"),
    }.items()
    for name in names
}
# An order's end in a venue's own words: filled on the way counts too.
OVER = re.compile(rb'"(cancell?ed|filled)"', re.IGNORECASE)
# Answers lost, answers that say perhaps, news twice and early, young orders not found yet.
LYING = "acklost:0.05,unknown:0.05,undone:0.05,early:0.2,twice:0.2,lag:0.2,until:90s"


class Lives:
    """The lives of one router: how each goes, and what was done in all of them."""

    def __init__(self, rig: Rig, place: Disk, ordered: Ordered) -> None:
        self.rig, self.disk, self.ordered = rig, place, ordered
        self.rng = ordered.rng
        self.done: Counter[str] = Counter()
        self.in_vain = self.taken_back_when_full = self.taken_without = self.taken_on_full = 0
        self.still: Child | None = None  # the venue that stands still
        self.ready_s = 0.0

    def run(self, number: int, harm: Harm) -> None:
        """One life of the router, until it is killed."""
        began = time.monotonic()
        self.rig.start_router()
        up = time.monotonic()
        asyncio.run(self._live(harm))
        self._afterwards(harm)
        self.done[harm] += 1
        print(
            f"cycle {number}: {harm}, {up - began:.1f} s to its API, "
            f"{self.ready_s:.1f} s to orders, {time.monotonic() - began:.1f} s in all"
        )

    async def _live(self, harm: Harm) -> None:
        began = time.monotonic()
        async with self.rig.client() as client:
            # One or two venues will do: the others are killed while they still find out what became
            # of orders that may never have left, which takes a venue's whole deadline.
            await self.rig.ready(client, at_least=self.rng.choice((1, 1, 2)))
            self.ready_s = time.monotonic() - began
            await self._take_up(client)
            crowd = Crowd(self.rig, client, self.ordered)
            async with crowd:
                await asyncio.sleep(self.rng.uniform(0.02, 0.4))
                await self._harm(harm, client, crowd)
                assert self.rig.router is not None
                assert self.rig.router.process.poll() is None, self.rig.router.said()
                # Nobody has waited for anything: requests, commits and frames are under way.
                crowd.end()
                await asyncio.to_thread(self.rig.router.kill)

    async def _take_up(self, client: AsyncClient) -> None:
        """Ask again for all that was asked, and see to it that enough works and not too much."""
        ordered = self.ordered
        await _at_once(
            ordered.submit(client, one) for one in ordered.going() + ordered.some_ended()
        )
        old = [ordered.ids[one] for one in ordered.going()[:-TOO_MANY] if one in ordered.ids]
        await _at_once(ordered.cancel(client, one) for one in old)
        mid = await mids(client, SYMBOLS)

        async def enough() -> bool:
            found = await working(client)
            for _ in range(WORKING - len(found)):
                await ordered.submit(client, ordered.fresh(mid, (-40, -5)))
            return len(found) >= WORKING

        await until(enough, 60, f"{WORKING} working parents", self.rig)

    # ------------------------------------------------------------------------- harms

    async def _harm(self, harm: Harm, client: AsyncClient, crowd: Crowd) -> None:
        match harm:
            case Harm.KILL:
                pass
            case Harm.STOP:
                await self._stopped(_some_seconds(self.rng, 12))
                if self.rng.random() < 0.5:  # else it dies while it finds out what it has missed
                    await self.rig.ready(client, at_least=1)
                    await crowd.until_taken(3, 30)
                await asyncio.sleep(self.rng.uniform(0.02, 0.4))
            case Harm.STOP_KILL:
                halt(self._router)
                await asyncio.sleep(_some_seconds(self.rng, 6))
            case Harm.VENUE | Harm.VENUE_KILL:
                await self._without_a_venue(harm, crowd)
            case Harm.FULL | Harm.FULL_KILL:
                await self._full(harm, client, crowd)

    @property
    def _router(self) -> Child:
        assert self.rig.router is not None
        return self.rig.router

    async def _stopped(self, seconds: float) -> None:
        halt(self._router)
        await asyncio.sleep(seconds)
        go_on(self._router)

    async def _without_a_venue(self, harm: Harm, crowd: Crowd) -> None:
        """One venue stands still; the others take orders on."""
        self.still = self.rig.sims[self.rng.choice(sorted(self.rig.sims))]
        halt(self.still)
        before = crowd.taken
        await asyncio.sleep(_some_seconds(self.rng, 5))
        self.taken_without += crowd.taken - before
        if harm is Harm.VENUE:
            self._let_go()
            await asyncio.sleep(self.rng.uniform(0.02, 0.4))

    def _let_go(self) -> None:
        if self.still is not None:
            go_on(self.still)
            self.still = None

    async def _full(self, harm: Harm, client: AsyncClient, crowd: Crowd) -> None:
        """No row can be written: orders are refused, cancels go."""
        self.disk.fill(self.rig, forbid=harm is Harm.FULL and self.rng.random() < 0.5)
        await crowd.until_told("journal_unavailable", 20)
        await self._cancel_on_full_disk(client)
        for name in self.ordered.never_answered()[:3]:
            # The same words are refused once more; but a log that begins anew finds room where its
            # old rows were, and what is taken then is on disk, as the next life has to show.
            self.taken_on_full += bool(await self.ordered.submit(client, name))
        await asyncio.sleep(self.rng.uniform(0.0, 0.5))
        if harm is Harm.FULL:
            self.disk.free(self.rig)
            await crowd.until_taken(3, 30)
            await asyncio.sleep(self.rng.uniform(0.02, 0.4))

    async def _cancel_on_full_disk(self, client: AsyncClient) -> None:
        """An order that rests is taken back at its venue, though no row can be written."""
        resting = [
            (order["id"], child)
            for order in await pages(client, "orders", status="new")
            for child in order["children"]
            if child["status"] == "open"
        ]
        order_id, child = self.rng.choice(resting)
        log = self.rig.logs / f"{child['venue']}.orders.ndjson"
        at = log.stat().st_size
        await self.ordered.cancel(client, order_id)

        async def over() -> bool:
            with log.open("rb") as file:
                file.seek(at)
                mine = [line for line in file if child["id"].encode() in line]
            return any(OVER.search(line) for line in mine)

        await until(over, 15, f"{child['venue']} to take back {child['id']}", self.rig)
        self.taken_back_when_full += 1

    def _afterwards(self, harm: Harm) -> None:
        """The router is dead; what else stands still goes on."""
        if harm is Harm.VENUE_KILL:
            time.sleep(self.rng.uniform(0, 1.5))
        self._let_go()
        if harm is Harm.FULL_KILL and self.disk.is_full:
            self.rig.start_router_in_vain("the disk is full")
            self.in_vain += 1
        self.disk.free(self.rig)

    def said(self) -> str:
        """What was done, in one line."""
        done = ", ".join(f"{count} {harm}" for harm, count in sorted(self.done.items()))
        full = ", ".join(f"{count} by {how}" for how, count in sorted(self.disk.filled.items()))
        return (
            f"{self.done.total()} kills ({done}; full disks: {full}); "
            f"{self.ordered.said()}; {self.taken_back_when_full} taken back on a full disk, "
            f"{self.in_vain} starts refused on one, {self.taken_on_full} orders taken on one whose "
            f"log found room after all, {self.taken_without} while a "
            "venue stood still"
        )


async def _at_once(calls: Iterable[Awaitable[object]], most: int = 8) -> None:
    """All of them, so many at a time."""
    left = iter(calls)

    async def some() -> None:
        for call in left:
            await call

    await asyncio.gather(*(some() for _ in range(most)))


def _some_seconds(rng: Random, most: float) -> float:
    """At least one; mostly few, sometimes many."""
    return 1 + (most - 1) * rng.random() ** 3


@pytest.mark.parametrize(
    ("seed", "cycles", "faults"),
    [
        pytest.param(21, 8, "", marks=[pytest.mark.slow, pytest.mark.timeout(420)]),
        pytest.param(22, 200, "", marks=[pytest.mark.storm]),
        pytest.param(24, 30, LYING, marks=[pytest.mark.storm]),
    ],
)
def test_nothing_is_lost_or_doubled_by_kill_9(seed, cycles, faults, tmp_path):
    ordered = Ordered(seed)
    harms = mixed(cycles, Random(seed))
    with (
        disk(tmp_path) as place,
        Rig(tmp_path, seed=seed, faults=faults, apart=True, state=place.state, env=FAR) as rig,
    ):
        lives = Lives(rig, place, ordered)
        for number, harm in enumerate(harms, 1):
            lives.run(number, harm)
        rig.start_router()
        answers = asyncio.run(_end(rig, ordered))
        print(rig.judge(answers))
        rig.router.stop()
    print(lives.said())
    assert ordered.lost_answers >= cycles / 2, "kills came between orders: nothing was tested"
    assert lives.taken_without, "no order was taken while a venue stood still"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_an_order_whose_time_ends_while_nobody_watches_is_taken_back(tmp_path):
    """One at each venue; its end comes between two lives of the router."""

    async def before(rig: Rig) -> list[str]:
        async with rig.client() as client:
            await rig.ready(client)
            mid = (await mids(client, ["BTC/USDT"]))["BTC/USDT"]
            soon = datetime.now(UTC) + timedelta(seconds=2)
            for venue in rig.venues:
                await client.submit(
                    "BTC/USDT",
                    "buy",
                    client_order_id=f"gtd-{venue}",
                    quantity="0.01",
                    limit_price=(mid * Decimal("0.995")).quantize(Decimal("0.1")),
                    time_in_force="GTD",
                    expire_time=soon,
                    include=[venue],
                )

            async def rest() -> bool:
                return sum(len(log.orders) for log in read_logs(rig.logs).values()) == 4

            await until(rest, 10, "an order at each venue", rig)
            return [f"gtd-{venue}" for venue in rig.venues]

    async def after(rig: Rig, names: list[str]) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client)

            async def over() -> bool:
                return not await working(client)

            await until(over, 20, "what has expired to be taken back", rig)
            return await collect(client, submitted=names)

    with Rig(tmp_path, seed=23) as rig:
        rig.start_router()
        names = asyncio.run(before(rig))
        rig.router.kill()
        time.sleep(2)  # its time passes at the venues' own pace
        rig.start_router()
        answers = asyncio.run(after(rig, names))
        rig.judge(answers)
        assert {one["status"] for one in answers["orders"]} == {"expired"}
        rig.router.stop()


async def _end(rig: Rig, ordered: Ordered) -> dict[str, Any]:
    async with rig.client() as client:
        await rig.ready(client)
        for name in list(ordered.bodies):
            await ordered.submit(client, name)
        await wind_up(client, rig)
        return await collect(client, submitted=list(ordered.ids))
