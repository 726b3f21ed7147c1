"""Virtual TCP is judged by real TCP: each scenario runs on both, and every callback must agree."""

import asyncio
import errno

import pytest

from hean_router.sim.virtual import run
from hean_router.sim.virtual_tcp import WINDOW


class Log(asyncio.Protocol):
    """Writes down what it is told; `says` decides what it does about it."""

    def __init__(self, keep_open=False):
        self.said = []
        self.got = b""
        self.keep_open = keep_open
        self.over = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()
        self.ended = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.said.append("made")

    def data_received(self, data):
        self.got += data
        self.changed.set()

    def eof_received(self):
        self.said.append("eof")
        self.ended.set()
        return self.keep_open

    def pause_writing(self):
        self.said.append("pause")

    def resume_writing(self):
        self.said.append("resume")

    def connection_lost(self, exc):
        # Which of the two a write into a dead socket meets is a matter of microseconds.
        name = "reset" if isinstance(exc, ConnectionResetError | BrokenPipeError) else repr(exc)
        self.said.append("lost " + name)
        self.over.set_result(None)

    async def until(self, size):
        while len(self.got) < size:
            self.changed.clear()
            await self.changed.wait()


async def pair(keep_open=False):
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def factory():
        protocol = Log(keep_open)
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(factory, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, near = await loop.create_connection(lambda: Log(keep_open), "127.0.0.1", port)
    far = await accepted
    server.close()
    return near, far


async def ends(*protocols):
    for protocol in protocols:
        await protocol.over
    return [(p.said, len(p.got), p.got == bytes(len(p.got))) for p in protocols]


async def close_after_write():
    near, far = await pair()
    near.transport.write(bytearray(500))
    near.transport.writelines([bytes(200), memoryview(bytes(300))])
    near.transport.close()
    return await ends(near, far)


async def close_with_much_unsent():
    near, far = await pair()
    far.transport.pause_reading()
    near.transport.write(bytes(20_000_000))
    near.transport.close()
    assert near.transport.is_closing()
    await asyncio.sleep(0.05)
    assert not near.over.done(), "it waits for its buffer, as the reader does not read"
    far.transport.resume_reading()
    return await ends(near, far)


async def abort_with_much_unsent():
    near, far = await pair()
    far.transport.pause_reading()
    near.transport.write(bytes(20_000_000))
    near.transport.abort()
    await near.over
    far.transport.resume_reading()
    await far.over
    assert len(far.got) < 20_000_000
    return near.said, far.said


async def half_close():
    near, far = await pair(keep_open=True)
    near.transport.write(bytes(10))
    near.transport.write_eof()
    await far.ended.wait()
    far.transport.write(bytes(20))
    await near.until(20)
    with pytest.raises(RuntimeError):
        near.transport.write(b"x")
    far.transport.close()
    await far.over
    await near.ended.wait()
    near.transport.close()
    return await ends(near, far)


async def half_close_with_much_unsent():
    near, far = await pair()
    far.transport.pause_reading()
    near.transport.write(bytes(20_000_000))
    near.transport.write_eof()
    await asyncio.sleep(0.05)
    far.transport.resume_reading()
    return await ends(near, far)


async def unread_at_close():
    near, far = await pair()
    far.transport.pause_reading()
    near.transport.write(bytes(100))
    await asyncio.sleep(0.05)
    far.transport.close()
    return await ends(near, far)


async def data_to_who_has_closed():
    near, far = await pair(keep_open=True)
    far.transport.close()
    await near.ended.wait()
    near.transport.write(bytes(10))
    await asyncio.sleep(0.05)
    near.transport.write(bytes(10))
    return await ends(near, far)


async def reset_while_not_reading():
    near, far = await pair()
    near.transport.pause_reading()
    far.transport.pause_reading()
    near.transport.write(bytes(10))
    await asyncio.sleep(0.05)
    far.transport.abort()  # unread bytes: a reset
    await asyncio.sleep(0.05)
    assert not near.over.done(), "who neither reads nor writes notices nothing"
    near.transport.resume_reading()
    return await ends(near, far)


async def flow_control():
    near, far = await pair()
    near.transport.set_write_buffer_limits(high=100_000, low=50_000)
    assert near.transport.get_write_buffer_limits() == (50_000, 100_000)
    far.transport.pause_reading()
    far.transport.pause_reading()
    assert not far.transport.is_reading()
    near.transport.write(bytes(20_000_000))
    assert near.transport.get_write_buffer_size() > 100_000
    await asyncio.sleep(0.05)
    assert near.said == ["made", "pause"]
    far.transport.resume_reading()
    await far.until(20_000_000)
    assert near.transport.get_write_buffer_size() == 0
    near.transport.close()
    return await ends(near, far)


async def writes_in_vain():
    near, far = await pair()
    near.transport.close()
    for _ in range(3):
        near.transport.write(b"nobody")
    near.transport.close()
    near.transport.abort()
    return await ends(near, far)


async def data_callback_fails():
    near, far = await pair()
    heard = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
    far.data_received = lambda _: 1 / 0
    near.transport.write(b"x")
    result = await ends(near, far)
    loop.set_exception_handler(None)
    return result, heard


async def eof_callback_fails():
    near, far = await pair()
    heard = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
    far.eof_received = lambda: 1 / 0
    near.transport.close()
    result = await ends(near, far)
    loop.set_exception_handler(None)
    return result, heard


async def made_callback_fails():
    heard = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(type(context["exception"])))

    class Broken(Log):
        def connection_made(self, transport):
            super().connection_made(transport)
            raise LookupError

    server = await loop.create_server(Log, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    transport, near = await loop.create_connection(Broken, "127.0.0.1", port)
    transport.close()
    result = await ends(near)
    server.close()
    await asyncio.sleep(0.01)
    loop.set_exception_handler(None)
    return result, heard


async def lost_callback_fails():
    near, far = await pair()
    heard = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(type(context["exception"])))
    near.connection_lost = lambda _: 1 / 0
    near.transport.close()
    result = await ends(far)
    loop.set_exception_handler(None)
    return result, heard


async def buffered_protocol():
    near, far = await pair()

    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.buffer = bytearray(7)
            self.got = b""

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            self.got += self.buffer[:nbytes]

        def eof_received(self):
            return False

        def connection_lost(self, exc):
            far.connection_lost(exc)

    protocol = Buffered()
    far.transport.set_protocol(protocol)
    near.transport.write(bytes(range(100)))
    near.transport.close()
    await far.over
    return protocol.got == bytes(range(100)), far.transport.get_protocol() in (None, protocol)


async def buffered_protocol_that_pauses():
    near, far = await pair()
    got = bytearray()

    class Buffered(asyncio.BufferedProtocol):
        buffer = bytearray(10)

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            got.extend(self.buffer[:nbytes])
            far.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.001, far.transport.resume_reading)

        def connection_lost(self, exc):
            far.connection_lost(exc)

    far.transport.set_protocol(Buffered())
    near.transport.write(bytes(range(100)))
    near.transport.close()
    await far.over
    return bytes(got)


async def refused():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Log, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Log, "127.0.0.1", port)
    return caught.value.errno, str(caught.value).replace(str(port), "PORT")


async def not_serving_yet():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Log, "127.0.0.1", 0, start_serving=False)
    port = server.sockets[0].getsockname()[1]
    before = server.is_serving()
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Log, "127.0.0.1", port)
    await server.start_serving()
    transport, near = await loop.create_connection(Log, "127.0.0.1", port)
    transport.close()
    said = await ends(near)
    during = server.is_serving(), len(server.sockets)
    server.close()
    await asyncio.sleep(0.01)
    return before, during, server.is_serving(), server.sockets, said


async def port_in_use():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Log, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(OSError, match="address already in use") as caught:
        await loop.create_server(Log, "127.0.0.1", port)
    assert caught.value.errno == errno.EADDRINUSE
    server.close()
    server = await loop.create_server(Log, "127.0.0.1", port)
    server.close()
    return str(caught.value).split(", ")[0]  # how it goes on depends on the version


async def serve_forever_is_cancelled():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Log, "127.0.0.1", 0)
    task = loop.create_task(server.serve_forever())
    await asyncio.sleep(0.01)
    with pytest.raises(RuntimeError):
        await server.serve_forever()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return server.is_serving(), server.sockets


async def streams():
    async def echo(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, port)
    peer = writer.get_extra_info("peername")
    assert peer == (host, port)
    assert writer.get_extra_info("sockname")[0] == host
    assert writer.get_extra_info("nothing", 7) == 7
    writer.write(b"one\ntwo\n")
    lines = [await reader.readline(), await reader.readline()]
    writer.write_eof()
    rest = await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    return lines, rest


SCENARIOS = [
    close_after_write,
    close_with_much_unsent,
    abort_with_much_unsent,
    half_close,
    half_close_with_much_unsent,
    unread_at_close,
    data_to_who_has_closed,
    reset_while_not_reading,
    flow_control,
    writes_in_vain,
    data_callback_fails,
    eof_callback_fails,
    made_callback_fails,
    lost_callback_fails,
    buffered_protocol,
    buffered_protocol_that_pauses,
    refused,
    not_serving_yet,
    port_in_use,
    serve_forever_is_cancelled,
    streams,
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_as_real_tcp(scenario):
    async def real():
        async with asyncio.timeout(20):
            return await scenario()

    async def virtual(world):
        async with asyncio.timeout(20):
            return await scenario()

    assert run(virtual, 1).value == asyncio.run(real())


def test_what_a_buffered_protocol_puts_back_is_not_counted_twice():
    async def main(world):
        near, far = await pair()

        class Buffered(asyncio.BufferedProtocol):
            def get_buffer(self, sizehint):
                return bytearray(10)

            def buffer_updated(self, nbytes):
                far.transport.pause_reading()
                world.loop.call_later(0.001, far.transport.resume_reading)

        far.transport.set_protocol(Buffered())
        near.transport.write(bytes(1000))
        await asyncio.sleep(1)
        return near.transport._room

    assert run(main, 1).value == WINDOW


# Real asyncio leaks the socket in these two, so there is nothing to compare with.


def test_a_server_factory_that_fails_costs_one_connection():
    async def main(world):
        heard = []
        world.loop.set_exception_handler(lambda _, context: heard.append(context["message"]))
        server = await world.loop.create_server(lambda: 1 / 0, "127.0.0.1", 9)
        reader, writer = await asyncio.open_connection("127.0.0.1", 9)
        assert await reader.read() == b""
        writer.close()
        assert server.is_serving()
        assert heard == ["Error on transport creation for incoming connection"]

    assert run(main, 1).left_open == ()


def test_a_client_factory_that_fails_closes_the_connection():
    async def main(world):
        far = asyncio.get_running_loop().create_future()

        def factory():
            far.set_result(Log())
            return far.result()

        await world.loop.create_server(factory, "127.0.0.1", 9)
        with pytest.raises(ZeroDivisionError):
            await world.loop.create_connection(lambda: 1 / 0, "127.0.0.1", 9)
        return await ends(await far)

    assert run(main, 1).value == [(["made", "eof", "lost None"], 0, True)]
