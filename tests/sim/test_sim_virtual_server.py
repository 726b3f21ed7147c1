"""Simulators as servers in virtual time: hours in seconds, the same trace from the same seed."""

import asyncio
import hashlib
import json
from contextlib import suppress
from decimal import Decimal

import aiohttp
import pytest

from hean_router.sim import server
from hean_router.sim.contract import Options
from hean_router.sim.fault_spec import parse
from hean_router.sim.faults import Faults
from hean_router.sim.market import Pace
from hean_router.sim.server import Tuning
from hean_router.sim.simulator import simulate
from hean_router.sim.virtual import run, virtual_connector

MINUTE = 60
SYMBOLS = ("BTC/USDT", "ETH/USDT")


class Follower:
    """A client by the documentation; any doubt reconnects."""

    def __init__(self, session, digest):
        self.session, self.digest = session, digest
        self.book, self.resyncs = {}, 0

    async def follow(self):
        while True:
            with suppress(aiohttp.ClientError, ValueError, KeyError, TimeoutError, TypeError):
                await self.once()
            self.book.clear()
            self.resyncs += 1
            await asyncio.sleep(1)

    async def once(self):
        url = "ws://binance/ws/btcusdt@depth@100ms"
        async with self.session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=1)) as ws:
            first = await self.event(ws)
            url = "http://binance/api/v3/depth?symbol=BTCUSDT&limit=5000"
            async with asyncio.timeout(3), self.session.get(url) as answer:
                snapshot = await answer.json(content_type=None)
            last = snapshot["lastUpdateId"]
            if last < first["U"] - 1:
                raise ValueError("older than what was heard")
            book = {
                name: {Decimal(px): Decimal(qty) for px, qty in snapshot[side]}
                for name, side in (("b", "bids"), ("a", "asks"))
            }
            event = first
            while True:
                if event["u"] > last:
                    if event["U"] > last + 1:
                        raise ValueError("gap")
                    for name, side in book.items():
                        for px, qty in event[name]:
                            side[Decimal(px)] = Decimal(qty)
                            if not Decimal(qty):
                                del side[Decimal(px)]
                    last = event["u"]
                    self.book = book
                event = await self.event(ws)

    async def event(self, ws):
        async with asyncio.timeout(10):
            while True:
                message = await ws.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ValueError("closed")
                self.digest.update(message.data.encode())
                event = json.loads(message.data)
                if event.get("e") == "depthUpdate":
                    return event


async def follow(world, faults, minutes, *, life_s=None):
    """Serve Binance on its own host, follow one book, and compare when all is quiet."""
    digest = hashlib.sha256()
    with world.net.on("binance"):
        clock = world.net.clock("binance")
        simulator, exchange = simulate(
            "binance",
            7,
            clock(),
            symbols=SYMBOLS,
            pace=Pace(updates_per_s=5),
            options=Options(session_life_ns=life_s and life_s * 10**9),
            faults=parse(faults) if faults else None,
        )
        (one,) = await server.start(
            [simulator], clock, host="0.0.0.0", port_base=80, tuning=Tuning(quantum_ns=0)
        )
    world.net.dns["binance"] = "binance"
    async with aiohttp.ClientSession(connector=virtual_connector()) as session:
        follower = Follower(session, digest)
        task = asyncio.create_task(follower.follow())
        await asyncio.sleep(minutes * MINUTE)
        simulator.market = None  # the exchange stands still; the last batch may still come
        await asyncio.sleep(5)
        listing = exchange.listings["BTC/USDT"]
        truth = {
            name: {listing.px(level.px): listing.qty(level.qty) for level in side}
            for name, side in zip("ba", exchange.book("BTC/USDT"), strict=True)
        }
        assert follower.book == truth
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await server.stop([one])
    counts = dict(simulator.face.counts) if isinstance(simulator.face, Faults) else {}
    return digest.hexdigest(), follower.resyncs, counts


def test_ten_calm_minutes():
    outcome = run(lambda world: follow(world, "", 10), 1)
    _, resyncs, _ = outcome.value
    assert resyncs == 0


def test_sessions_end_at_their_age():
    outcome = run(lambda world: follow(world, "", 10, life_s=170), 1)
    _, resyncs, _ = outcome.value
    assert resyncs == 3


@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_passes_and_repeats_itself(seed):
    spec = "storm:4,until:12m"
    first, again = (run(lambda world: follow(world, spec, 15), seed) for _ in range(2))
    frames, resyncs, counts = first.value
    assert resyncs > 10
    assert sum(1 for count in counts.values() if count) > 10
    assert first.value == again.value
    assert first.digest == again.digest
    assert frames == again.value[0]
