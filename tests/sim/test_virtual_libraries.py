"""`websockets` and `aiohttp`, clients and servers, unmodified, over hours of virtual time."""

import asyncio
import json
import logging
import time

import aiohttp
import pytest
from aiohttp import web
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus

from hean_router.sim.virtual import run, virtual_connector

S = 1_000_000_000


@pytest.fixture(autouse=True)
def _quiet():
    # websockets logs what the faults do to it; that is its right, not our subject.
    logger = logging.getLogger("websockets")
    level, logger.level = logger.level, logging.CRITICAL
    yield
    logger.level = level


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def echo_server(world, host="okx", handler=echo, **kwargs):
    with world.net.on(host):
        return await serve(handler, "0.0.0.0", 443, **kwargs)


def dial(host="okx", **kwargs):
    return connect(f"ws://{host}:443/", proxy=None, **kwargs)


# -- websockets ------------------------------------------------------------------------------


def test_an_hour_of_echo_through_cuts_and_black_holes():
    async def main(world):
        await echo_server(world)
        link = world.net.link("router", "okx")
        link.latency(40_000_000, jitter_ns=10_000_000)
        rng = world.seeds.rng("chaos")
        echoed = reconnects = 0

        async def chaos():
            while True:
                await asyncio.sleep(rng.uniform(30, 120))
                match rng.choice(["cut", "fin", "hole", "clog", "half", "after"]):
                    case "cut":
                        link.cut()
                    case "fin":
                        link.cut("fin")
                    case "half":  # one connection dies silently, new ones live
                        link.cut("hole")
                    case "after":
                        link.cut_after(rng.randrange(200), sender="router")
                    case "clog":
                        link.clog(rng.uniform(1, 30))
                    case "hole":
                        link.blackhole()
                        await asyncio.sleep(rng.uniform(5, 90))
                        link.heal()

        world.spawn("router", chaos())
        end_s = world.loop.time() + 3600
        while world.loop.time() < end_s:
            try:
                async with dial(ping_interval=10, ping_timeout=5, close_timeout=2) as ws:
                    while world.loop.time() < end_s:
                        await ws.send(str(echoed))
                        assert await ws.recv() == str(echoed)
                        echoed += 1
                        await asyncio.sleep(0.5)
            except (OSError, ConnectionClosed):
                reconnects += 1
                await asyncio.sleep(1)
        # Faults over, it lives.
        link.heal()
        async with dial() as ws:
            await ws.send("well")
            assert await ws.recv() == "well"
        return echoed, reconnects

    before = time.perf_counter()
    outcome = run(main, 11)
    took_s = time.perf_counter() - before
    echoed, reconnects = outcome.value
    assert echoed > 3000
    assert reconnects > 15
    assert outcome.elapsed_ns > 3600 * S
    assert took_s < 20


def test_four_venues_at_ten_messages_a_second():
    venues = ("binance", "bybit", "okx", "kraken")

    async def main(world):
        async def feed(ws):
            for number in range(1200):
                await ws.send(json.dumps({"u": number, "b": [["1.0", "2.0"]], "a": []}))
                await asyncio.sleep(0.1)

        async def follow(venue):
            async with dial(venue) as ws:
                return [json.loads(message)["u"] async for message in ws]

        for venue in venues:
            await echo_server(world, venue, feed)
        followers = [asyncio.create_task(follow(venue)) for venue in venues]
        return await asyncio.gather(*followers)

    before = time.process_time()
    outcome = run(main, 1)
    took_s = time.process_time() - before
    assert outcome.value == [list(range(1200))] * 4
    assert outcome.elapsed_ns > 120 * S
    assert took_s < 3  # about 0.15 s on the machine it was written on
    assert outcome.left_open == ()


def test_keepalive_finds_a_black_hole():
    async def main(world):
        lost = []

        async def handler(ws):
            try:
                await ws.recv()
            except ConnectionClosedError as exc:
                lost.append((world.now_ns, exc.rcvd, exc.sent.reason))

        await echo_server(world, handler=handler, ping_interval=20, ping_timeout=20)
        async with dial(ping_interval=20, ping_timeout=20, close_timeout=10) as ws:
            await asyncio.sleep(65)  # pings at 20, 40, 60 s are answered
            assert ws.latency == pytest.approx(0.002)
            world.net.link("router", "okx").blackhole()
            start_ns = world.now_ns
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.recv()
            # Ping at 80 s, no pong by 100 s, no close either by 110 s.
            assert caught.value.sent.reason == "keepalive ping timeout"
            assert 30 <= (world.now_ns - start_ns) / S <= 46
        await asyncio.sleep(100)
        assert [reason for _, _, reason in lost] == ["keepalive ping timeout"]

    run(main, 1)


def test_a_slow_reader_stops_the_sender_and_then_gets_everything():
    async def main(world):
        sent = 0

        async def flood(ws):
            nonlocal sent
            while sent < 2000:
                await ws.send(bytes(1000))
                sent += 1

        await echo_server(world, handler=flood, ping_interval=None, compression=None)
        async with dial(ping_interval=None, compression=None) as ws:
            await asyncio.sleep(60)
            held = sent
            got = [len(message) async for message in ws]
            return held, got == [1000] * 2000

    held, whole = run(main, 1).value
    assert 100 < held < 1000, "memory is bounded: queue, window, write buffer"
    assert whole


def test_server_close_ends_every_connection():
    async def main(world):
        server = await echo_server(world)
        clients = [await dial() for _ in range(20)]
        server.close()
        await server.wait_closed()
        codes = []
        for ws in clients:
            with pytest.raises(ConnectionClosed) as caught:
                await ws.recv()
            codes.append(caught.value.rcvd.code)
            await ws.close()
        with pytest.raises(ConnectionRefusedError):
            await dial()
        return codes

    outcome = run(main, 1)
    assert outcome.value == [1001] * 20
    assert outcome.left_open == ()


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("no server", ConnectionRefusedError),
        ("no name", OSError),
        ("hole", TimeoutError),
        ("cut in the handshake", Exception),
        ("silent name", TimeoutError),
    ],
)
def test_connecting_fails_as_it_would(trouble, expected):
    async def main(world):
        if trouble != "no server":
            await echo_server(world)
        link = world.net.link("router", "okx")
        if trouble == "no name":
            world.net.dns["okx"] = world.net.dns.failure()
        elif trouble == "silent name":
            world.net.dns["okx"] = None
        elif trouble == "hole":
            link.blackhole()
        elif trouble == "cut in the handshake":
            link.cut_after(50, sender="router")
        with pytest.raises(expected):
            await dial(open_timeout=5)

    assert run(main, 1).left_open == ()


def test_an_http_answer_instead_of_a_socket():
    async def main(world):
        async def busy(connection, request):
            return connection.respond(503, "maintenance\n")

        await echo_server(world, process_request=busy)
        with pytest.raises(InvalidStatus) as caught:
            await dial()
        return caught.value.response.status_code, caught.value.response.body

    assert run(main, 1).value == (503, b"maintenance\n")


def test_cancelled_while_connecting_at_any_moment():
    async def main(world):
        accepted = 0

        async def handler(ws):
            nonlocal accepted
            accepted += 1
            await echo(ws)

        await echo_server(world, handler=handler)
        world.net.link("router", "okx").latency(10_000_000)
        for step in range(60):
            task = asyncio.create_task(_open_and_close())
            await asyncio.sleep(step / 1000)  # through name, SYN, handshake, open, close
            task.cancel()
            await asyncio.wait([task])
        await asyncio.sleep(20)
        assert world.net.connections() == []
        return accepted

    async def _open_and_close():
        async with dial():
            pass

    assert 10 < run(main, 1).value < 60


def test_a_reset_while_flushing():
    async def main(world):
        async def handler(ws):
            ws.transport.pause_reading()
            await asyncio.sleep(10)
            ws.transport.abort()

        await echo_server(world, handler=handler, ping_interval=None)
        async with dial(ping_interval=None, compression=None) as ws:
            with pytest.raises(ConnectionClosedError):
                await ws.send([bytes(10_000)] * 1000)

    assert run(main, 1).left_open == ()


def test_a_handler_that_fails_closes_with_1011():
    async def main(world):
        async def handler(ws):
            await ws.recv()
            raise LookupError

        await echo_server(world, handler=handler)
        async with dial() as ws:
            await ws.send("x")
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.recv()
            return caught.value.rcvd.code

    assert run(main, 1).value == 1011


def test_the_end_of_a_run_closes_what_is_open():
    async def main(world):
        await echo_server(world)
        follower = asyncio.create_task(_follow())
        await asyncio.sleep(1)
        world.net.connections()[0].blackhole()
        assert not follower.done()
        return world.loop

    async def _follow():
        async with dial() as ws:
            async for _ in ws:
                pass

    loop = run(main, 1).value
    assert asyncio.all_tasks(loop) == set()
    assert loop.net.connections() == []


# -- aiohttp ---------------------------------------------------------------------------------


async def rest_server(world, host="okx", port=80, **kwargs):
    hits = []

    async def depth(request):
        hits.append(request.query.get("symbol"))
        return web.json_response({"peer": request.remote, "asks": [["1", "2"]]})

    async def order(request):
        body = await request.json()
        await asyncio.sleep(body.get("wait_s", 0))
        return web.json_response({"id": body["id"]}, status=201)

    async def big(request):
        return web.Response(body=bytes(3_000_000))

    async def feed(request):
        ws = web.WebSocketResponse(heartbeat=20)
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(message.data)
        return ws

    app = web.Application()
    app.add_routes(
        [
            web.get("/depth", depth),
            web.post("/order", order),
            web.get("/big", big),
            web.get("/ws", feed),
        ]
    )
    runner = web.AppRunner(app, access_log=None)
    with world.net.on(host):
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", port, **kwargs).start()
    return runner, hits


def session(**kwargs):
    return aiohttp.ClientSession(connector=virtual_connector(**kwargs))


def test_rest():
    async def main(world):
        runner, hits = await rest_server(world)
        world.net.dns["api.okx.com"] = "okx"
        async with session() as http:
            for symbol in ("BTC", "ETH"):
                async with http.get("http://api.okx.com/depth", params={"symbol": symbol}) as got:
                    assert got.status == 200
                    assert (await got.json())["asks"] == [["1", "2"]]
            async with http.post("http://okx/order", json={"id": 7}) as got:
                assert (got.status, await got.json()) == (201, {"id": 7})
            async with http.get("http://okx/big") as got:
                assert await got.read() == bytes(3_000_000)
            async with http.get("http://okx/none") as got:
                assert got.status == 404
            made = len(world.net.connections())
        await runner.cleanup()
        return hits, made

    outcome = run(main, 1)
    assert outcome.value == (["BTC", "ETH"], 2)  # one pooled connection a name
    assert outcome.left_open == ()


def test_many_requests_at_once():
    async def main(world):
        runner, _ = await rest_server(world)
        async with session(limit=10) as http:

            async def place(number):
                async with http.post("http://okx/order", json={"id": number, "wait_s": 1}) as got:
                    return (await got.json())["id"]

            start_ns = world.now_ns
            ids = await asyncio.gather(*[place(number) for number in range(100)])
            assert ids == list(range(100))
            took_s = (world.now_ns - start_ns) / S
        await runner.cleanup()
        return took_s

    assert run(main, 1).value == pytest.approx(10, abs=0.5)  # ten at a time, a second each


async def fetch(http, method, url):
    timeout = aiohttp.ClientTimeout(total=30)
    async with http.request(method, url, timeout=timeout) as got:
        await got.read()


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("refused", aiohttp.ClientConnectorError),
        ("no name", aiohttp.ClientConnectorDNSError),
        ("hole", TimeoutError),
        ("cut in the request", aiohttp.ClientOSError),  # aiohttp repeats a GET, never a POST
        ("cut in the answer", aiohttp.ClientPayloadError),
        ("answer swallowed", TimeoutError),
        ("slow", TimeoutError),
    ],
)
def test_requests_fail_as_they_would(trouble, expected):
    async def main(world):
        runner, _ = await rest_server(world)
        link = world.net.link("router", "okx")
        method, url = "GET", "http://okx/big"
        match trouble:
            case "refused":
                link.refuse()
            case "no name":
                url = "http://nowhere/"
            case "hole":
                link.blackhole()
            case "cut in the request":
                method, url = "POST", "http://okx/order"
                link.cut_after(10, sender="router")
            case "cut in the answer":
                link.cut_after(1_000_000, sender="okx")
            case "answer swallowed":
                link.cut_after(0, sender="okx", mode="hole")
            case "slow":
                link.shape(bandwidth=1000)
        async with session() as http:
            start_ns = world.now_ns
            with pytest.raises(expected):
                await fetch(http, method, url)
            assert (world.now_ns - start_ns) / S < 31
            link.heal()
            link.shape(bandwidth=0)
            async with http.get("http://okx/depth") as got:  # and the session lives on
                assert got.status == 200
        await runner.cleanup()

    run(main, 1)


def test_a_pooled_connection_that_the_server_has_dropped():
    async def main(world):
        runner, hits = await rest_server(world)
        async with session() as http:
            for wait_s in (0, 1, 100, 4000):  # longer than the server keeps it alive
                await asyncio.sleep(wait_s)
                async with http.get("http://okx/depth", params={"symbol": str(wait_s)}) as got:
                    assert got.status == 200
        await runner.cleanup()
        return hits

    assert run(main, 1).value == ["0", "1", "100", "4000"]


def test_aiohttp_s_own_sockets():
    async def main(world):
        runner, _ = await rest_server(world)
        async with session() as http, http.ws_connect("http://okx/ws", heartbeat=10) as ws:
            for number in range(100):
                await ws.send_str(str(number))
                assert (await ws.receive()).data == str(number)
                await asyncio.sleep(60)
            world.net.link("router", "okx").blackhole()
            start_ns = world.now_ns
            message = await ws.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert (world.now_ns - start_ns) / S < 30
        await runner.cleanup()

    run(main, 1)


def test_a_server_that_stops_with_requests_open():
    async def main(world):
        runner, _ = await rest_server(world)
        async with session() as http:

            async def place():
                async with http.post("http://okx/order", json={"id": 1, "wait_s": 5}) as got:
                    return (await got.json())["id"]

            pending = asyncio.create_task(place())
            await asyncio.sleep(1)
            await runner.cleanup()  # waits for the request
            assert await pending == 1
            with pytest.raises(aiohttp.ClientConnectorError):
                await place()

    run(main, 1)


def test_a_session_left_open_is_told():
    async def main(world):
        runner, _ = await rest_server(world)
        http = session()
        async with http.get("http://okx/depth") as got:
            await got.read()
        await runner.cleanup()
        return http

    http = run(main, 1).value
    # Closed for the test's own sake: whoever forgets it hears aiohttp's warning.
    http._connector._close()
    assert http.closed


def test_wall_clocks_differ_between_client_and_server():
    async def main(world):
        async def now(request):
            return web.json_response(world.net.clock("okx")() // 1_000_000)

        app = web.Application()
        app.add_routes([web.get("/time", now)])
        runner = web.AppRunner(app, access_log=None)
        with world.net.on("okx"):
            await runner.setup()
            await web.TCPSite(runner, "0.0.0.0", 80).start()
        world.net.clock("okx").jump(70 * S)
        async with session() as http, http.get("http://okx/time") as got:
            skew_ms = await got.json() - world.net.clock("router")() // 1_000_000
        await runner.cleanup()
        return skew_ms

    assert run(main, 1).value == pytest.approx(70_000, abs=5)
