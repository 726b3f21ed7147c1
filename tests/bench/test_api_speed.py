"""Submitting over the API: `hean run` on simulated venues, a client in another process.

One after the other: how long a client waits until its order is durable (and has been sent).  Eight
at once: how many a second the router takes.  Venues with `--limits off`, commit FULL.  The client
is httpx's: its own part is in every figure, told apart by `GET /v1/fees`, which waits for nothing.
"""

import asyncio
import os
import time

import pytest

from hean_router.client import AsyncClient
from tests.bench import floor, meter
from tests.system.rig import Rig

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

ONE_BY_ONE, AT_ONCE, EACH = 300, 8, 60
WARM = 30
FLOOR_P50_MS, FLOOR_RATE = 100.0, 12.0  # what no busy machine excuses
WIDTHS = (34, 9, 9, 9, 9)
QTY = "0.01"
LIMITS = {
    "HEAN_LIMITS__OPEN_ORDERS_MAX": "off",
    "HEAN_LIMITS__EACH_ACCOUNT__OPEN_ORDERS_MAX": "off",
    "HEAN_LIMITS__EACH_VENUE__OPEN_ORDERS_MAX": "off",
    "HEAN_LIMITS__DAILY_LOSS_MAX": "off",
    "HEAN_LIMITS__EACH_ACCOUNT__DAILY_LOSS_MAX": "off",
}


async def submits(client: AsyncClient, count: int, name: str) -> list[int]:
    """One after the other; ns of each."""
    took = []
    for i in range(count):
        side = "sell" if i % 2 else "buy"
        began = time.perf_counter_ns()
        order = await client.submit(
            floor.SYMBOL, side, quantity=QTY, client_order_id=f"{name}{i}", time_in_force="IOC"
        )
        took.append(time.perf_counter_ns() - began)
        assert order.status != "rejected", order
    return took


async def reads(client: AsyncClient, count: int) -> list[int]:
    """The same for a question that needs no work."""
    took = []
    for _ in range(count):
        began = time.perf_counter_ns()
        await client.read("fees")
        took.append(time.perf_counter_ns() - began)
    return took


async def measured(rig: Rig) -> tuple[dict[str, list[int]], float]:
    async with rig.client() as client:
        await rig.ready(client)
        await submits(client, WARM, "warm")
        columns = {
            "GET /v1/fees": await reads(client, ONE_BY_ONE),
            "POST /v1/orders": await submits(client, ONE_BY_ONE, "one"),
        }
        began = time.perf_counter()
        many = await asyncio.gather(*(submits(client, EACH, f"m{i}x") for i in range(AT_ONCE)))
        rate = AT_ONCE * EACH / (time.perf_counter() - began)
        columns[f"POST /v1/orders, {AT_ONCE} at once"] = [ns for took in many for ns in took]
        return columns, rate


def test_submitting_over_the_api(tmp_path, capsys):
    with Rig(tmp_path, seed=7, symbols=(floor.SYMBOL,), limits="off", env=LIMITS) as rig:
        rig.start_router()
        columns, rate = floor.run(measured(rig))
    for times in columns.values():
        times.sort()
    with capsys.disabled():
        print(f"\nthe API from a client's side, market orders, commit full, {os.cpu_count()} cores")
        print(meter.row("ms", "p50", "p99", "p99.9", "max", widths=WIDTHS))
        for name, times in columns.items():
            figures = [f"{floor.part(times, share):.2f}" for share in (0.5, 0.99, 0.999, 1.0)]
            print(meter.row(name, *figures, widths=WIDTHS))
        print(f"  {rate:.0f} orders a second with {AT_ONCE} at once")
    assert floor.part(columns["POST /v1/orders"], 0.5) <= FLOOR_P50_MS
    assert rate >= FLOOR_RATE
