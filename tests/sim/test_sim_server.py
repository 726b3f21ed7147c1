"""Faces on real loopback sockets: every kind of output and input, and the ends of connections."""

import asyncio
import errno
import json
import socket
import time
from random import Random

import aiohttp
import pytest

from hean_router.sim import server
from hean_router.sim.contract import (
    Close,
    Pause,
    Ping,
    Pong,
    Reset,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.server import PortError, Server, Tuning
from hean_router.sim.simulator import Simulator, simulate


class Echo:
    """A face that does what it is told: the message says which output to make."""

    venue = "echo"

    def __init__(self):
        self.heard = []
        self.gone = []
        self.wake_ns = None
        self.flood = None

    @property
    def wake_at_ns(self):
        return self.wake_ns

    def hosts(self, http, ws):
        return {"rest": http, "ws": ws}

    def accept(self, request, now_ns):
        return Response(403, b"no", {"X-Why": "asked"}) if request.path == "/refused" else None

    def opened(self, conn, request, now_ns):
        self.heard.append(("opened", conn, request.path, request.query))
        return [Send(conn, f"hello {conn}")]

    def received(self, conn, data, now_ns):
        self.heard.append(("received", data))
        if isinstance(data, bytes):
            return [Send(conn, data[::-1])]
        return {
            "text": [Send(conn, "text")],
            "ping": [Ping(conn, b"abc")],
            "close": [Send(conn, "last"), Close(conn, 4004, "silence"), Send(conn, "too late")],
            "reset": [Reset(conn)],
            "pause": [Pause(conn)],
            "flood": [Send(conn, "x" * 10_000) for _ in range(2_000)],
        }[data]

    def pinged(self, conn, data, now_ns):
        self.heard.append(("pinged", data))
        return [Pong(conn, data)]

    def ponged(self, conn, data, now_ns):
        self.heard.append(("ponged", data))
        return [Send(conn, "thanks")]

    def closed(self, conn, now_ns):
        self.gone.append(conn)

    def overflowed(self, conn, now_ns):
        self.heard.append(("overflowed", conn))
        return [Close(conn, 4005, "too slow")]

    def request(self, request, now_ns):
        self.heard.append((request.method, request.path, request.query, request.body))
        if request.path == "/cut":
            return Response(0, b"")
        headers = {"Content-Type": "text/plain", "X-Host": request.headers["host"]}
        return Response(418 if request.path == "/tea" else 200, request.body or b"body", headers)

    def market(self, step, now_ns):
        return []

    def due(self, now_ns):
        self.wake_ns = None
        self.heard.append(("due",))
        return []

    def trouble(self, trouble, now_ns):
        return []

    def topics(self, conn):
        return ()


def run(body, face=None, tuning=None):
    """Run `body(face, hosts)` against a server, and see that nothing outlives it."""

    async def main():
        face_ = face or Echo()
        (one,) = await server.start([Simulator(face_)], time.time_ns, tuning=tuning)
        try:
            async with asyncio.timeout(20):
                await body(face_, one.hosts())
        finally:
            await server.stop([one])
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left behind: {left}"
        return face_

    return asyncio.run(main())


async def until(condition):
    while not condition():  # noqa: ASYNC110  the server's inside has no event for a test
        await asyncio.sleep(0.001)


def test_rest():
    async def body(face, hosts):
        async with aiohttp.ClientSession() as client:
            async with client.get(hosts["rest"] + "/a%20b?x=1%2B2&y") as answer:
                assert (answer.status, await answer.read()) == (200, b"body")
                assert answer.headers["X-Host"] in hosts["rest"]
                assert answer.headers["Content-Type"] == "text/plain"
            async with client.post(hosts["rest"] + "/tea", data=b"raw") as answer:
                assert (answer.status, await answer.read()) == (418, b"raw")
            with pytest.raises(aiohttp.ServerDisconnectedError):
                await client.get(hosts["rest"] + "/cut")
        assert face.heard[0] == ("GET", "/a b", "x=1%2B2&y", b"")
        assert face.heard[1] == ("POST", "/tea", "", b"raw")

    run(body)


def test_websocket_in_and_out():
    async def body(face, hosts):
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(hosts["ws"] + "/here?a=b", autoping=False) as ws,
        ):
            assert await ws.receive_str() == "hello 1"
            await ws.send_bytes(b"123")
            assert await ws.receive_bytes() == b"321"
            await ws.send_str("text")
            assert await ws.receive_str() == "text"
            await ws.send_str("ping")
            ping = await ws.receive()
            assert (ping.type, bytes(ping.data)) == (aiohttp.WSMsgType.PING, b"abc")
            await ws.pong(b"abc")
            assert await ws.receive_str() == "thanks"
            await ws.ping(b"mine")
            pong = await ws.receive()
            assert (pong.type, bytes(pong.data)) == (aiohttp.WSMsgType.PONG, b"mine")
        await until(lambda: face.gone == [1])
        assert ("opened", 1, "/here", "a=b") in face.heard
        assert ("ponged", b"abc") in face.heard

    run(body)


def test_a_refused_websocket():
    async def body(_face, hosts):
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await client.ws_connect(hosts["ws"] + "/refused")
            assert refusal.value.status == 403
            assert refusal.value.headers["X-Why"] == "asked"

    run(body)


def test_an_orderly_close_says_all_before_it():
    async def body(face, hosts):
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(hosts["ws"]) as ws,
        ):
            await ws.receive()
            await ws.send_str("close")
            assert await ws.receive_str() == "last"
            close = await ws.receive()
            assert (close.type, close.data, close.extra) == (
                aiohttp.WSMsgType.CLOSE,
                4004,
                "silence",
            )
        await until(lambda: face.gone == [1])

    run(body)


def test_a_reset_says_nothing():
    async def body(face, hosts):
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(hosts["ws"]) as ws,
        ):
            await ws.receive()
            await ws.send_str("reset")
            message = await ws.receive()
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
            assert ws.close_code == 1006
        await until(lambda: face.gone == [1])

    run(body)


def test_a_paused_socket_is_open_and_dead():
    async def body(face, hosts):
        async with aiohttp.ClientSession() as client:
            ws = await client.ws_connect(
                hosts["ws"], autoclose=False, timeout=aiohttp.ClientWSTimeout(ws_close=0.1)
            )
            await ws.receive()
            await ws.send_str("pause")
            await until(lambda: ("received", "pause") in face.heard)
            await ws.send_str("text")
            with pytest.raises(asyncio.TimeoutError):
                await ws.receive(timeout=0.1)
            assert face.gone == []
            assert ("received", "text") not in face.heard
            await ws.close()

    run(body)


def test_a_slow_reader_is_ended_as_its_venue_does():
    """Frames beyond the bound are dropped with the connection; the server keeps its memory."""

    async def body(face, hosts):
        address = hosts["ws"].removeprefix("ws://").split(":")
        reader, writer = await asyncio.open_connection(address[0], int(address[1]), limit=1_024)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await reader.readuntil(b"hello 1")
        flood = b"flood"
        writer.write(bytes([0x81, 0x80 | len(flood), 0, 0, 0, 0]) + flood)
        await until(lambda: ("overflowed", 1) in face.heard)
        await until(lambda: face.gone == [1])
        writer.close()

    run(body, tuning=Tuning(queue_max=100, close_wait_s=0.1))


def test_a_client_that_vanishes_is_noticed():
    async def body(face, hosts):
        async with aiohttp.ClientSession() as client:
            ws = await client.ws_connect(hosts["ws"])
            await ws.receive()
            ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            await until(lambda: face.gone == [1])

    run(body)


def test_wakes_when_the_face_asked():
    async def body(face, hosts):
        face.wake_ns = time.time_ns() + 20_000_000
        async with aiohttp.ClientSession() as client:
            await client.get(hosts["rest"])
        assert ("due",) not in face.heard
        await until(lambda: ("due",) in face.heard)
        assert face.wake_ns is None

    run(body)


def test_a_taken_port_is_one_clear_error():
    async def main():
        simulators = [Simulator(Echo()) for _ in range(2)]
        first = Server(simulators[0], time.time_ns)
        await first.start()
        try:
            with pytest.raises(PortError, match=rf"echo: cannot listen on 127.0.0.1:{first.port}"):
                await server.start([simulators[1]], time.time_ns, port_base=first.port)
        finally:
            await first.stop()
        with pytest.raises(PortError) as error:
            await server.start([simulators[1]], time.time_ns, host="203.0.113.1", port_base=1)
        assert isinstance(error.value.__cause__, OSError)
        assert error.value.__cause__.errno in (errno.EADDRNOTAVAIL, errno.EACCES)

    asyncio.run(main())


def test_ports_count_up_from_the_base():
    async def main():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            base = probe.getsockname()[1]
        servers = await server.start(
            [simulate("binance", 1, time.time_ns())[0], Simulator(Echo())],
            time.time_ns,
            port_base=base,
        )
        try:
            assert [one.port for one in servers] == [base, base + 1]
            line = server.announcement(servers)
            assert list(line["venues"]) == ["binance", "echo"]
            entry = line["venues"]["binance"]
            assert entry["env"] == "sim"
            assert entry["hosts"]["rest"] == f"http://127.0.0.1:{base}"
            assert entry["hosts"]["ws"] == f"ws://127.0.0.1:{base}"
            assert set(entry) >= {"env", "hosts", "keys", "balances"}
            json.dumps(line)
        finally:
            await server.stop(servers)

    asyncio.run(main())


def test_random_bytes_do_not_end_the_server():
    async def body(_face, hosts):
        host, port = hosts["ws"].removeprefix("ws://").split(":")
        rng = Random(5)
        for _ in range(20):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(rng.randbytes(200))
            writer.close()
        async with aiohttp.ClientSession() as client, client.get(hosts["rest"]) as answer:
            assert answer.status == 200

    run(body)


def test_a_real_market_reaches_a_real_client():
    """From seeded market to socket, with a planned shutdown at the end."""

    async def main():
        simulator, _ = simulate("binance", 1, time.time_ns())
        (one,) = await server.start([simulator], time.time_ns)
        try:
            async with (
                asyncio.timeout(20),
                aiohttp.ClientSession() as client,
                client.ws_connect(one.hosts()["ws"] + "/ws/btcusdt@depth@100ms") as ws,
            ):
                previous = None
                for _ in range(5):
                    event = json.loads(await ws.receive_str())
                    assert previous is None or event["U"] == previous + 1
                    previous = event["u"]
                for output in simulator.face.trouble(Trouble.SHUTDOWN, time.time_ns()):
                    assert isinstance(output, Send)
        finally:
            await server.stop([one])

    asyncio.run(main())
