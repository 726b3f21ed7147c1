"""The proxy does what it says, and nothing else: held against an echo over real sockets."""

import asyncio
import socket
import time
from contextlib import asynccontextmanager

import pytest

from tests.wire.proxy import Proxy, Rule

WHOLE = b"0123456789" * 100
# As a WebSocket introduces itself; the echo answers it like anything else.
HELLO = b"GET /private?token=1 HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"
PLAIN = b"POST /order HTTP/1.1\r\nContent-Length: 9\r\n\r\n"


@asynccontextmanager
async def wire(*rules, seed=1):
    """An echo behind a proxy: what it heard, how to call it, and the proxy."""
    heard, opened = [], []

    async def echo(reader, writer):
        heard.append(b"")
        at = len(heard) - 1
        try:
            while piece := await reader.read(65_536):
                heard[at] += piece
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            heard[at] += b"!"
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    proxy = Proxy(seed)
    port = await proxy.listen("echo", *server.sockets[0].getsockname()[:2])
    for rule in rules:
        proxy.strike(rule)

    async def call(head=HELLO):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        writer.write(head)
        await writer.drain()
        return reader, writer

    try:
        yield heard, call, proxy
    finally:
        await proxy.close()
        for writer in opened:
            writer.close()
        server.close()
        await asyncio.sleep(0.01)  # transports close in the loop's next rounds


async def all_of(reader, size, within_s=5.0):
    async with asyncio.timeout(within_s):
        return await reader.readexactly(size)


def test_without_rules_nothing_changes():
    async def main():
        async with wire() as (heard, call, proxy):
            reader, writer = await call()
            writer.write(WHOLE)
            assert await all_of(reader, len(HELLO + WHOLE)) == HELLO + WHOLE
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            assert heard == [HELLO + WHOLE]
            assert (proxy.counts, dict(proxy.opened)) == ({}, {"echo /private": 1})

    asyncio.run(main())


@pytest.mark.parametrize(
    ("fault", "reset"),
    [("cut", False), ("reset", True)],  # FIN, or RST
)
@pytest.mark.parametrize("after", [0, 1, 400, 999])
def test_a_cut_lets_so_many_bytes_through(fault, reset, after):
    async def main():
        rule = Rule(fault, "echo /private", "up", after=after, least=500, times=1)
        async with wire(rule) as (heard, call, proxy):
            reader, writer = await call()
            await all_of(reader, len(HELLO))
            writer.write(b"ping")  # too small to be struck
            await all_of(reader, 4)
            writer.write(WHOLE)
            got, end = b"", None
            try:
                async with asyncio.timeout(5):
                    while piece := await reader.read(65_536):
                        got += piece
            except ConnectionResetError as why:
                end = why
            assert len(got) <= after
            assert (end is not None) == reset
            await asyncio.sleep(0.05)
            assert heard[0].rstrip(b"!") == HELLO + b"ping" + WHOLE[:after]
            assert (rule.struck, proxy.counts[fault]) == (1, 1)
            again, writer = await call()  # once was enough
            writer.write(WHOLE)
            await all_of(again, len(HELLO + WHOLE))

    asyncio.run(main())


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_request_is_known_by_its_words_and_so_is_its_answer(way):
    async def main():
        rule = Rule("reset", "echo rest", way, holding="POST /order", times=1)
        async with wire(rule) as (heard, call, _proxy):
            ask, order = (await call(b"GET /time HTTP/1.1\r\n\r\n")), None
            await all_of(ask[0], 22)
            order = await call(PLAIN[:20])  # the words come in two pieces
            order[1].write(PLAIN[20:])
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await all_of(order[0], len(PLAIN))
            assert (rule.struck, heard[1].startswith(PLAIN[:20])) == (1, way == "down")
            ask[1].write(b"GET /time HTTP/1.1\r\n\r\n")
            await all_of(ask[0], 22)

    asyncio.run(main())


def test_a_swallowed_way_stays_open_and_silent_until_it_is_lifted():
    async def main():
        async with wire() as (heard, call, proxy):
            reader, writer = await call()
            other, _ = await call(PLAIN)
            await all_of(reader, len(HELLO))
            rule = proxy.strike(Rule("swallow", "echo /private", "down"))
            for _ in range(20):
                writer.write(b"still there?")
                await writer.drain()  # taken: nobody is told that nothing comes back
            with pytest.raises(TimeoutError):
                await all_of(reader, 1, 0.1)
            assert heard[0].endswith(b"still there?"), "up goes on"
            assert await all_of(other, len(PLAIN)) == PLAIN, "others go on"
            proxy.lift(rule)
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await all_of(reader, 1)
            # A new one has no hole.
            assert await all_of((await call())[0], len(HELLO)) == HELLO

    asyncio.run(main())


def test_late_pieces_keep_their_order_and_others_overtake_them():
    async def main():
        slow = Rule("latency", "echo rest", "down", ms=150, jitter_ms=50)
        async with wire(slow) as (_, call, _proxy):
            rest, private = (await call(PLAIN))[0], (await call())[0]
            began = time.monotonic()
            first, second = (
                asyncio.create_task(all_of(private, len(HELLO))),
                asyncio.create_task(all_of(rest, len(PLAIN))),
            )
            done, _ = await asyncio.wait({first, second}, return_when=asyncio.FIRST_COMPLETED)
            assert done == {first}, "asked first, answered last"
            assert await second == PLAIN
            assert time.monotonic() - began >= 0.15
            reader, writer = await call(PLAIN)
            for number in range(50):
                writer.write(b"%04d" % number)
                await asyncio.sleep(0)
            told = (await all_of(reader, len(PLAIN) + 200))[len(PLAIN) :]
            assert told == b"".join(b"%04d" % number for number in range(50))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("rule", "least_s"),
    [
        (Rule("slice", "echo *", "down", size=1, ms=2), 0.2),  # a byte at a time
        (Rule("rate", "echo *", "down", size=500), 0.2),  # bytes a second
    ],
)
def test_slow_ways_lose_nothing(rule, least_s):
    async def main():
        async with wire(rule) as (_, call, _proxy):
            began = time.monotonic()
            reader, writer = await call(PLAIN)
            writer.write(WHOLE[:100])
            assert await all_of(reader, len(PLAIN) + 100) == PLAIN + WHOLE[:100]
            assert time.monotonic() - began >= least_s

    asyncio.run(main())


def test_a_paused_reader_fills_the_senders_buffers_and_loses_nothing():
    async def main():
        rule = Rule("pause", "echo *", "up", least=1_000)
        async with wire(rule) as (heard, call, proxy):
            reader, writer = await call()
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            await all_of(reader, len(HELLO))
            sent = 0

            async def send():
                nonlocal sent
                for _ in range(80):
                    writer.write(WHOLE * 64)
                    await writer.drain()
                    sent += 64 * len(WHOLE)

            sending = asyncio.create_task(send())
            eating = asyncio.create_task(all_of(reader, 80 * 64 * len(WHOLE), 30))
            await asyncio.sleep(0.2)
            stuck = sent
            await asyncio.sleep(0.1)
            assert sent == stuck < 80 * 64 * len(WHOLE), "somebody reads on"
            proxy.lift(rule)
            await sending
            await eating
            assert len(heard[0]) == len(HELLO) + sent

    asyncio.run(main())


def test_refused_and_reset_at_once():
    async def main():
        async with wire(Rule("refuse", "echo*", times=1)) as (heard, call, proxy):
            reader, _ = await call()
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await all_of(reader, 1)
            assert heard == []
            readers = [(await call())[0], (await call(PLAIN))[0]]
            await all_of(readers[0], len(HELLO))
            assert proxy.reset("echo rest") == 1
            with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                await all_of(readers[1], len(PLAIN) + 1)
            await asyncio.sleep(0.02)
            assert len(proxy.links) == 1, "the other one stands"

    asyncio.run(main())


def test_what_it_cannot_do_it_says():
    proxy = Proxy()
    for words in (
        {"do": "dance"},
        {"do": "strike", "fault": "dance"},
        {"do": "strike", "fault": "cut", "way": "left"},
        {"do": "strike"},
        {"do": "lift"},
    ):
        answer = proxy.obey(words)
        assert ("error" in answer) == (words != {"do": "lift"}), answer
    made = proxy.obey({"do": "strike", "fault": "latency", "ms": 1})
    assert proxy.obey({"do": "told"})["rules"][str(made["rule"])]["fault"] == "latency"
    assert proxy.obey({"do": "lift", "rule": "*"}) == {}
    assert proxy.rules == []
