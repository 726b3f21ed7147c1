"""kill -9 in the middle of working parents, again and again, on one state folder.

Each cycle: restart, ask for everything that was ordered before by the same client order ids, bring
20 parents to work, let orders and cancels fly, kill.  The venues trade on meanwhile.  In the end
the checker holds all of it against what the venues wrote down.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from hean_router.client.calls import ApiError, NotRunning
from tests.checker.venue_logs import read_logs
from tests.system.rig import SYMBOLS, Rig, collect, mids, until, wind_up, working

WORKING = 20
LOTS = {"BTC/USDT": Decimal("0.001"), "ETH/USDT": Decimal("0.01"), "SOL/USDT": Decimal("0.1")}
FINAL = {"filled", "canceled", "rejected", "expired"}


class Ordered:
    """What was asked for and what was answered, over all lives of the router."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.bodies: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, str] = {}  # client order id -> ours, where an answer came
        self.ended: dict[str, tuple[str, str]] = {}  # client order id -> status, filled
        self.lost_answers = self.made = 0

    def fresh(self, mid: dict[str, Decimal], bps: tuple[int, int]) -> str:
        """Words for one more: `bps` beyond the mid, below zero it rests."""
        symbol, side = self.rng.choice(SYMBOLS), self.rng.choice(("buy", "sell"))
        sign = 1 if side == "buy" else -1
        px = mid[symbol] * (1 + Decimal(sign * self.rng.randint(*bps)) / 10_000)
        self.made += 1
        name = f"k{self.made}"
        self.bodies[name] = {
            "symbol": symbol,
            "side": side,
            "quantity": LOTS[symbol] * self.rng.randint(2, 20),
            "limit_price": px.quantize(Decimal("0.1") if mid[symbol] > 1000 else Decimal("0.01")),
            "time_in_force": "GTC" if bps[1] <= 0 else self.rng.choice(("GTC", "IOC")),
        }
        return name

    def sample(self) -> list[str]:
        """All that may still work or was never answered, and some of what has ended."""
        going = [name for name in self.bodies if name not in self.ended]
        return going + self.rng.sample(sorted(self.ended), min(len(self.ended), 20))

    async def submit(self, client, name: str) -> bool:
        """By the same id and words as ever: the same order, or a new one if it was never there.

        False: nobody answered.
        """
        try:
            order = await client.submit(client_order_id=name, **self.bodies[name])
        except NotRunning:
            return False
        except ApiError as refusal:
            # Nothing was placed; the market moved, or orders of ours stand in the way.
            if refusal.code not in {"collar", "self_cross", "limit_open_orders", "below_minimum"}:
                raise
            del self.bodies[name]
            return True
        known = self.ids.setdefault(name, order.id)
        assert order.id == known, f"{name} was {known}, now it is {order.id}"
        if name in self.ended:
            assert (order.status, str(order.filled_quantity)) == self.ended[name], name
        if order.status in FINAL:
            self.ended[name] = (order.status, str(order.filled_quantity))
        return True


async def live(rig: Rig, ordered: Ordered) -> None:
    """One life of the router, until it is killed."""
    rng = ordered.rng
    async with rig.client() as client:
        # Half of the venues will do: the others are killed while they still find out what became of
        # orders that may never have left, which takes a venue's whole deadline.
        await rig.ready(client, at_least=2)
        for name in ordered.sample():
            await ordered.submit(client, name)
        mid = await mids(client, SYMBOLS)

        async def enough() -> bool:
            found = await working(client)
            for _ in range(WORKING - len(found)):
                await ordered.submit(client, ordered.fresh(mid, (-40, -5)))
            return len(found) >= WORKING

        await until(enough, 60, f"{WORKING} working parents", rig)

        async def trade() -> None:
            while await ordered.submit(
                client, ordered.fresh(mid, rng.choice(((2, 15), (-10, -1))))
            ):
                if rng.random() < 0.3 and ordered.ids:
                    await _cancel(client, rng.choice(list(ordered.ids.values())))

        crowd = [asyncio.create_task(trade()) for _ in range(6)]
        await asyncio.sleep(rng.uniform(0.02, 0.4))
        assert rig.router is not None
        assert rig.router.process.poll() is None, rig.router.said()
        # Nobody has waited for anything: requests, commits and frames are under way.
        await asyncio.to_thread(rig.router.kill)
        for end in await asyncio.gather(*crowd, return_exceptions=True):
            if isinstance(end, Exception):
                raise end
            ordered.lost_answers += end is None  # it was waiting for one


async def _cancel(client, order_id: str) -> None:
    try:
        await client.cancel(order_id)
    except NotRunning:
        pass
    except ApiError as refusal:
        if refusal.code != "order_ended":
            raise


# Answers lost, answers that say perhaps, news twice and early, young orders not found yet.
LYING = "acklost:0.05,unknown:0.05,undone:0.05,early:0.2,twice:0.2,lag:0.2,until:90s"


@pytest.mark.parametrize(
    ("seed", "cycles", "faults"),
    [
        pytest.param(21, 10, "", marks=[pytest.mark.slow, pytest.mark.timeout(420)]),
        pytest.param(22, 100, "", marks=[pytest.mark.storm]),
        pytest.param(24, 30, LYING, marks=[pytest.mark.storm]),
    ],
)
def test_nothing_is_lost_or_doubled_by_kill_9(seed, cycles, faults, tmp_path):
    ordered = Ordered(seed)
    with Rig(tmp_path, seed=seed, faults=faults) as rig:
        for _ in range(cycles):
            rig.start_router()
            asyncio.run(live(rig, ordered))
        rig.start_router()
        answers = asyncio.run(_end(rig, ordered))
        print(rig.judge(answers))
        rig.router.stop()
    killed = sum(
        child["status"] != "withdrawn" for one in answers["orders"] for child in one["children"]
    )
    print(
        f"{cycles} kills, {len(ordered.ids)} orders answered, {killed} children, "
        f"{ordered.lost_answers} answers lost"
    )
    assert ordered.lost_answers >= cycles / 2, "kills came between orders: nothing was tested"


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
