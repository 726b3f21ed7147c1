"""The router as a process: how it ends, what it does when nobody reads what it says, and stalls."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import time
from decimal import Decimal

import pytest

from hean_router.client import AsyncClient
from tests.system.rig import HEAN, Rig

pytestmark = pytest.mark.timeout(180)
VENUES = ("binance", "kraken")


def rows_of(journal, kind):
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT body FROM rows WHERE kind = ? ORDER BY seq", (kind,))
        return [json.loads(body) for (body,) in found]


@contextlib.contextmanager
def rig_of(folder, seed, **env):
    with Rig(folder, seed=seed, venues=VENUES, symbols=("BTC/USDT",), env=env) as rig:
        rig.start_router()
        yield rig


async def mid_of(client):
    book = await client.book("BTC-USDT")
    return Decimal(book["asks"][0]["price"])


async def ready(client, within_s=60):
    until = time.monotonic() + within_s
    while not await client.ready():
        assert time.monotonic() < until, "not ready"
        await asyncio.sleep(0.1)


async def buy(client, quantity, **more):
    return await client.submit("BTC/USDT", "buy", quantity=quantity, **more)


async def rest_and_flow(rig, seconds):
    """Two orders that rest, and a flow of others until the router is gone."""
    async with AsyncClient(rig.api, rig.key) as client:
        await ready(client)
        far = (await mid_of(client) * Decimal("0.97")).quantize(Decimal("0.1"))
        for number in range(2):
            await client.submit(
                "BTC/USDT",
                "buy",
                quantity="0.01",
                limit_price=str(far + number),
                client_order_id=f"rest{number}",
            )
        until, number = time.monotonic() + seconds, 0
        while time.monotonic() < until:
            number += 1
            with contextlib.suppress(Exception):  # it may end under our hands
                await buy(client, "0.001", client_order_id=f"flow{number}")


def ended(rig, within_s):
    began = time.monotonic()
    code = rig.router.process.wait(within_s)
    return code, time.monotonic() - began


@pytest.mark.parametrize(
    "orders",
    [
        pytest.param("leave", marks=pytest.mark.storm),
        pytest.param("cancel", marks=pytest.mark.slow),
    ],
)
def test_sigterm_under_load_ends_in_time_with_orders_as_configured_and_written_down(
    tmp_path, orders
):
    with rig_of(tmp_path, 3, HEAN_SHUTDOWN__ORDERS=orders) as rig:

        async def main():
            flow = asyncio.create_task(rest_and_flow(rig, 4))
            await asyncio.sleep(3)
            rig.router.process.send_signal(signal.SIGTERM)
            await flow

        asyncio.run(main())
        code, took_s = ended(rig, 30)
        assert code == 0, rig.router.said()
        assert took_s < 15
        (closed,) = rows_of(rig.journal, "closed")
        assert closed["orders"] == orders
        assert closed["why"] == ""
        if orders == "leave":
            assert len(closed["left"]) >= 2, "they rest on purpose"
        else:
            assert closed["left"] == []
        last = rows_of(rig.journal, "child_intended")[-1]
        assert last["at_ns"] <= closed["at_ns"], "nothing was placed after that"


@pytest.mark.storm
def test_a_second_signal_ends_it_at_once_and_the_journal_is_whole(tmp_path):
    with rig_of(tmp_path, 4, HEAN_SHUTDOWN__ORDERS="cancel") as rig:

        async def main():
            flow = asyncio.create_task(rest_and_flow(rig, 3))
            await asyncio.sleep(2.5)
            for sim in rig.sims.values():  # no venue answers: the first signal has to wait
                sim.process.send_signal(signal.SIGSTOP)
            rig.router.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.3)
            rig.router.process.send_signal(signal.SIGTERM)
            await flow

        try:
            asyncio.run(main())
            code, took_s = ended(rig, 5)
        finally:
            for sim in rig.sims.values():
                sim.process.send_signal(signal.SIGCONT)
        assert code == -signal.SIGTERM
        assert took_s < 5
        assert rows_of(rig.journal, "closed") == [], "it was not wound up"
        done = subprocess.run(
            [*HEAN, "audit", "verify", "--state", str(rig.state)],
            capture_output=True,
            text=True,
            env={**os.environ, **rig.env},
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_log_that_nobody_reads_keeps_no_order_from_its_way(tmp_path):
    """Standard error is a pipe, full from the first byte, whose other end is never read."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65_536)
    os.set_blocking(writing, True)
    with Rig(tmp_path, seed=5, venues=VENUES, symbols=("BTC/USDT",)) as rig:
        words = ["run", "--mode", "live", "--venues-from", str(rig.venues_file)]
        words += ["--state", str(rig.state), "--json"]
        with (tmp_path / "run.out").open("wb") as out:
            child = subprocess.Popen(
                [*HEAN, *words],
                stdout=out,
                stderr=writing,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **rig.env},
            )
        try:
            until = time.monotonic() + 60
            while b"\n" not in (tmp_path / "run.out").read_bytes():
                assert time.monotonic() < until, "it did not start"
                time.sleep(0.05)
            first = json.loads((tmp_path / "run.out").read_bytes().splitlines()[0])

            async def main():
                async with AsyncClient(first["api"], first["key"]) as client:
                    await ready(client)
                    # Lines by the dozen: a venue's connection that is cut tells.
                    for sim in rig.sims.values():
                        sim.process.send_signal(signal.SIGSTOP)
                    await asyncio.sleep(0.5)
                    for sim in rig.sims.values():
                        sim.process.send_signal(signal.SIGCONT)
                    await ready(client)
                    return await buy(client, "0.01", wait_ms=10_000)

            placed = asyncio.run(main())
            assert placed.status == "filled", placed
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) == 0
        finally:
            child.kill()
            os.close(reading)
            os.close(writing)


@pytest.mark.storm
def test_after_it_stood_still_it_sends_nothing_before_it_has_asked(tmp_path):
    """SIGSTOP for longer than any book may be old."""
    with rig_of(tmp_path, 6) as rig:

        async def main():
            async with AsyncClient(rig.api, rig.key) as client:
                await ready(client)
                await buy(client, "0.01", client_order_id="a", wait_ms=5_000)
                rig.router.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(4)
                # Asked while it stands: its first deed afterwards.
                late = asyncio.create_task(buy(client, "0.01", client_order_id="b", wait_ms=20_000))
                await asyncio.sleep(0.2)
                rig.router.process.send_signal(signal.SIGCONT)
                with contextlib.suppress(Exception):  # a refusal is as good
                    await late
                await ready(client)
                await buy(client, "0.01", client_order_id="c", wait_ms=9_000)
                return await client.standing()

        found = asyncio.run(main())
        assert found["loop"]["stalls"] >= 1
        assert found["loop"]["worst_ms"] >= 3_500
        told = [row for row in rows_of(rig.journal, "incident") if row["what"] == "stalled"]
        assert len(told) == 1
        rig.router.stop()
