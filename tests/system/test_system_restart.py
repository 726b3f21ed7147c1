"""From a dead process to the first order taken, on a journal with a long past.

The past is made (`past.py`), 200 orders are brought to rest at four venues, the router is killed,
and the next one is timed: until its API answers, until every venue takes orders, until an order of
ours is taken.  The figures are printed; the bound is twice what is promised, since nobody knows how
busy this machine is.
"""

import asyncio
import time
from decimal import Decimal

import pytest

from hean_router.client import AsyncClient
from hean_router.client.calls import ApiError
from tests.system.past import write_past
from tests.system.rig import Rig, mids, until, wind_up, working

RESTING = 200
LIMITS = {
    "HEAN_LIMITS__EACH_ACCOUNT__OPEN_ORDERS_MAX": "400",
    "HEAN_LIMITS__EACH_VENUE__OPEN_ORDERS_MAX": "400",
}


async def bring_to_rest(rig: Rig, client: AsyncClient) -> None:
    """Fifty at each venue, away from the market."""
    mid = (await mids(client, ["BTC/USDT"]))["BTC/USDT"]
    for number in range(RESTING):
        px = mid * (1 - Decimal(80 + number) / 10_000)
        await client.submit(
            "BTC/USDT",
            "buy",
            client_order_id=f"rest-{number}",
            quantity="0.001",
            limit_price=px.quantize(Decimal("0.1")),
            include=[rig.venues[number % len(rig.venues)]],
        )

    async def rest() -> bool:
        return await resting(client) == RESTING

    await until(rest, 60, f"{RESTING} orders to rest", rig)


async def resting(client: AsyncClient) -> int:
    """How many of ours work, one child at its venue each."""
    return sum(one.endswith("new ['open']") for one in await working(client))


async def first_order(rig: Rig, client: AsyncClient, name: str) -> None:
    """Ask until one is taken."""
    while True:
        try:
            order = await client.submit(
                "BTC/USDT", "buy", client_order_id=name, quantity="0.002", time_in_force="IOC"
            )
        except ApiError as refusal:
            if refusal.status != 503:  # anything but "not yet"
                raise
        else:
            assert order.id
            return
        assert rig.router is not None
        assert rig.router.process.poll() is None, rig.router.said()
        await asyncio.sleep(0.02)


async def timed(rig: Rig, name: str, began: float) -> dict[str, float]:
    """A router that has just been started, watched until it trades."""
    took = {"API": time.monotonic() - began}
    async with rig.client() as client:
        await first_order(rig, client, name)
        took["first order"] = time.monotonic() - began
        await rig.ready(client)
        took["every venue"] = time.monotonic() - began
        assert await resting(client) == RESTING, "each of them is known and rests"
        order = await client.order(name, by="client")
        assert order.filled_quantity > 0, "it trades"
    return took


def restarted(rig: Rig, name: str, within_s: float) -> dict[str, float]:
    """Start it and watch."""
    began = time.monotonic()
    rig.start_router(within_s=within_s)
    return asyncio.run(timed(rig, name, began))


@pytest.mark.storm
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("rows", "promised_s"),
    [
        (100_000, 5),
        (1_000_000, 30),
    ],
)
def test_a_long_past_is_taken_up_in_seconds(rows, promised_s, tmp_path):
    with Rig(tmp_path, seed=31, env=LIMITS) as rig:
        began = time.monotonic()
        end_ns = time.time_ns() - 2 * 3600 * 1_000_000_000
        count = write_past(rig.journal, rows=rows, end_ns=end_ns)
        print(f"{count} rows written in {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        rig.start_router(within_s=600)  # nobody has ever read this: all of it, from the first row
        print(f"taken in whole in {time.monotonic() - began:.1f} s")

        async def prepare() -> None:
            async with rig.client() as client:
                await rig.ready(client)
                await bring_to_rest(rig, client)

        asyncio.run(prepare())
        rig.router.stop()
        after_stop = restarted(rig, "first-a", 600)
        rig.router.kill()
        after_kill = restarted(rig, "first-b", 600)
        for how, took in (("Ctrl-C", after_stop), ("kill -9", after_kill)):
            times = ", ".join(f"{what} {seconds:.2f} s" for what, seconds in took.items())
            print(f"{count} rows, {RESTING} open orders, restart after {how}: {times}")

        async def end() -> None:
            async with rig.client() as client:
                await wind_up(client, rig)

        asyncio.run(end())
        rig.router.stop()
        for took in (after_stop, after_kill):
            assert took["first order"] < 2 * promised_s, took
