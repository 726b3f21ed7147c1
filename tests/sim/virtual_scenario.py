"""A busy run for the determinism tests: `python virtual_scenario.py SEED` prints its hash.

Everything that could differ from process to process is in it: many connections closed at once,
sets of tasks and futures, cancelled groups, jitter, fragments, faults, REST beside sockets.
"""

import asyncio
import json
import logging
import os
import sys

import aiohttp
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, WebSocketException

from hean_router.sim.virtual import run, virtual_connector

VENUES = ("binance", "bybit", "okx", "kraken")
FEEDS = 8  # connections a venue


class Venue:
    """A feed that counts, and its depth over REST; restarted now and then."""

    def __init__(self, world, name):
        self.world, self.name = world, name
        self.rng = world.seeds.rng(name)
        self.number = 0

    async def feed(self, ws):
        try:
            while True:
                self.number += self.rng.randrange(3)
                clock_ms = self.world.net.clock(self.name)() // 1_000_000
                await ws.send(json.dumps({"u": self.number, "T": clock_ms, "v": self.name}))
                await asyncio.sleep(self.rng.expovariate(10))
        except ConnectionClosed:
            self.world.note(self.name, f"reader gone at {self.number}")

    async def depth(self, _):
        await asyncio.sleep(self.rng.random() / 100)
        return web.json_response({"u": self.number})

    async def run(self):
        app = web.Application()
        app.add_routes([web.get("/depth", self.depth)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", 80).start()
        while True:
            async with serve(self.feed, "0.0.0.0", 443):
                await asyncio.sleep(self.rng.uniform(15, 40))
            await asyncio.sleep(self.rng.uniform(0, 3))


async def follow(world, venue, number):
    me, rng = f"router/{venue}/{number}", world.seeds.rng(f"router/{venue}/{number}")
    while True:
        try:
            async with connect(f"ws://{venue}/", proxy=None, ping_interval=5, ping_timeout=5) as ws:
                async for message in ws:
                    world.note(me, message)
        except (OSError, WebSocketException, EOFError) as exc:
            world.note(me, type(exc).__name__)
        await asyncio.sleep(rng.uniform(0.1, 2))


async def poll(world):
    async with aiohttp.ClientSession(connector=virtual_connector()) as http:

        async def ask(venue):
            timeout = aiohttp.ClientTimeout(total=2)
            async with http.get(f"http://{venue}/depth", timeout=timeout) as got:
                return await got.text()

        while True:
            asked = {asyncio.create_task(ask(venue), name=venue) for venue in VENUES}
            done, _ = await asyncio.wait(asked)
            for task in done:  # a set: its order must be the same everywhere
                outcome = type(task.exception()).__name__ if task.exception() else task.result()
                world.note("rest", f"{task.get_name()} {outcome}")
            await asyncio.sleep(1)


async def chaos(world):
    rng, net = world.seeds.rng("chaos"), world.net
    while True:
        await asyncio.sleep(rng.uniform(1, 8))
        link = net.link("router", rng.choice(VENUES))
        match rng.randrange(7):
            case 0:
                link.cut()
            case 1:
                link.cut("hole")
            case 2:
                link.clog(rng.uniform(0, 4))
            case 3:
                link.blackhole()
                world.loop.call_later(rng.uniform(1, 15), link.heal)
            case 4:
                link.cut_after(rng.randrange(500), sender="router")
            case 5:
                net.clock(rng.choice(VENUES)).jump(rng.randrange(-(10**9), 10**9))
            case 6:
                link.shape(jitter_ns=rng.randrange(10**7), segment=rng.randrange(1, 500))


async def herd(world):
    """Groups that fail and are cancelled: whose end comes first must not depend on addresses."""

    async def sheep(number):
        try:
            await asyncio.sleep(100)
        finally:
            world.note("herd", f"{number} ends")

    async def wolf():
        await asyncio.sleep(0.5)
        raise LookupError

    while True:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(10):
                    group.create_task(sheep(number))
                group.create_task(wolf())
        except* LookupError:
            pass
        await asyncio.sleep(7)


async def crowd(world):
    """Many connections that end at one instant, on a link without jitter.

    `websockets` walks a set of them, ordered by address.
    """

    async def wait(ws):
        await ws.wait_closed()
        world.note("crowd", f"server's {ws.remote_address[1]} ends")

    async def join(number):
        async with connect("ws://quiet/", proxy=None) as ws:
            await ws.wait_closed()
            world.note("crowd", f"client {number} ends")

    while True:
        with world.net.on("quiet"):
            server = await serve(wait, "0.0.0.0", 80)
        joined = [asyncio.create_task(join(number)) for number in range(25)]
        await asyncio.sleep(5)
        server.close()
        await server.wait_closed()
        await asyncio.gather(*joined)


async def main(world):
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    for venue in VENUES:
        world.net.link("router", venue).latency(5_000_000, jitter_ns=2_000_000)
        world.spawn(venue, Venue(world, venue).run())
    for venue in VENUES:
        for number in range(FEEDS):
            world.spawn("router", follow(world, venue, number))
    for part in (poll, chaos, herd, crowd):
        world.spawn("router", part(world))
    await asyncio.sleep(50)


if __name__ == "__main__":
    junk = [bytearray(100) for _ in range(os.getpid() % 5000)]  # other addresses every time
    outcome = run(main, int(sys.argv[1]))
    print(outcome.digest, outcome.events)
