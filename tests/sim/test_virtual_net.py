"""Hosts, names, clocks, and every way to hurt a connection."""

import asyncio
import errno
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.virtual import Deadlock, run
from hean_router.sim.virtual_tcp import WINDOW

MS = 1_000_000
S = 1_000_000_000


def hang_up(_, writer):
    writer.close()


class Sink(asyncio.Protocol):
    """Keeps what arrives and when; shared by the ends of a test."""

    def __init__(self, world):
        self.world = world
        self.got = b""
        self.arrivals = []
        self.lost = world.loop.create_future()
        self.eof = asyncio.Event()
        self.paused = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.got += data
        self.arrivals.append((self.world.now_ns, len(data)))

    def eof_received(self):
        self.eof.set()

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False

    def connection_lost(self, exc):
        if not self.lost.done():
            self.lost.set_result(exc)


async def pair(world, host="okx", port=443):
    """A connection from the router to `host`: near end, far end."""
    far = world.loop.create_future()

    def accept():
        far.set_result(Sink(world))
        return far.result()

    with world.net.on(host):
        server = await world.loop.create_server(accept, "0.0.0.0", port)
    _, near = await world.loop.create_connection(lambda: Sink(world), host, port)
    server.close()
    return near, await far


def in_pair(test):
    """Run `test(world, near, far)` over a fresh connection."""

    async def main(world):
        return await test(world, *(await pair(world)))

    return run(main, 1).value


# -- hosts -----------------------------------------------------------------------------------


def test_hosts_have_addresses_names_and_their_own_ports():
    async def main(world):
        names = []
        for host in ("okx", "kraken"):
            with world.net.on(host):
                await asyncio.start_server(hang_up, "0.0.0.0", 443)
        with world.net.on("okx"):
            await asyncio.start_server(hang_up, "127.0.0.1", 8080)
        for host in ("okx", "kraken"):
            _, writer = await asyncio.open_connection(host, 443)
            names.append(writer.get_extra_info("peername"))
            assert writer.get_extra_info("sockname")[0] == world.net.host("router").addresses[0]
            writer.close()
        # Another host's loopback cannot be reached; one's own can.
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("okx", 8080)
        with world.net.on("okx"):
            _, writer = await asyncio.open_connection("localhost", 8080)
            writer.close()
        with pytest.raises(OSError, match="Connect call failed") as caught:
            await asyncio.open_connection("8.8.8.8", 443)
        assert caught.value.errno == errno.ENETUNREACH
        return names

    first, second = run(main, 1).value
    assert first != second
    assert {first[1], second[1]} == {443}


def test_what_a_host_starts_runs_on_it():
    async def main(world):
        seen = []

        async def serve(reader, writer):
            seen.append(world.net.here().name)
            world.loop.call_later(1, lambda: seen.append(world.net.here().name))
            await asyncio.create_task(asyncio.sleep(2))
            writer.close()

        with world.net.on("okx"):
            await asyncio.start_server(serve, "0.0.0.0", 1)
        reader, writer = await asyncio.open_connection("okx", 1)
        await reader.read()
        writer.close()
        return [*seen, world.net.here().name]

    assert run(main, 1, home="desk").value == ["okx", "okx", "desk"]


def test_addresses_can_be_chosen_but_not_shared():
    async def main(world):
        assert world.net.host("okx", "203.0.113.7", "2001:db8::7").addresses[1] == "2001:db8::7"
        assert world.net.host("okx") is world.net.host("OKX")
        with pytest.raises(ValueError, match="okx"):
            world.net.host("kraken", "203.0.113.7")
        with pytest.raises(ValueError, match="already"):
            world.net.host("okx", "203.0.113.8")
        with pytest.raises(OSError, match="cannot assign requested address"):
            await world.loop.create_server(asyncio.Protocol, "203.0.113.7", 1)

    run(main, 1)


@pytest.mark.parametrize(
    ("first", "second", "clash"),
    [
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.1", True),  # a wildcard covers every address
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "10.0.0.2", False),  # two addresses of one host
    ],
)
def test_ports_in_use(first, second, clash):
    async def main(world):
        await world.loop.create_server(asyncio.Protocol, first, 443)
        try:
            await world.loop.create_server(asyncio.Protocol, second, 443)
        except OSError as exc:
            return exc.errno
        return None

    assert run(main, 1).value == (errno.EADDRINUSE if clash else None)


def test_client_ports_come_back():
    async def main(world):
        await asyncio.start_server(hang_up, "0.0.0.0", 443)
        ports = set()
        for _ in range(100):
            reader, writer = await asyncio.open_connection("127.0.0.1", 443)
            ports.add(writer.get_extra_info("sockname")[1])
            await reader.read()
            writer.close()
            await writer.wait_closed()
        # As many again as there are ports, did they not come back.
        host = world.net.host("router")
        return len(ports), len(host._ports_held)

    assert run(main, 1).value == (100, 0)


# -- names -----------------------------------------------------------------------------------


def test_names():
    async def main(world):
        net, lookup = world.net, world.loop.getaddrinfo
        net.host("okx", "203.0.113.7", "2001:db8::7")
        net.dns["ws.OKX.com"] = "okx"
        net.dns["both.example"] = ["okx", "198.51.100.1"]
        net.dns["broken.example"] = net.dns.failure()
        net.dns["silent.example"] = None

        async def ips(name, **kwargs):
            return [info[4][0] for info in await lookup(name, 443, **kwargs)]

        assert await ips("WS.okx.com") == ["203.0.113.7", "2001:db8::7"]
        assert await ips("ws.okx.com", family=socket.AF_INET) == ["203.0.113.7"]
        assert await ips("both.example") == ["203.0.113.7", "2001:db8::7", "198.51.100.1"]
        assert await ips("okx") == await ips("okx.") == ["203.0.113.7", "2001:db8::7"]
        assert await ips("192.0.2.1") == ["192.0.2.1"]
        with pytest.raises(socket.gaierror) as caught:
            await ips("nowhere.example")
        assert caught.value.errno == socket.EAI_NONAME
        for _ in range(2):
            with pytest.raises(socket.gaierror) as caught:
                await ips("broken.example")
            assert caught.value.errno == socket.EAI_AGAIN
        before_ns = world.now_ns
        with pytest.raises(socket.gaierror):
            await ips("silent.example")
        assert world.now_ns - before_ns >= 10 * S
        net.dns["broken.example"] = "okx"  # the outage is over
        assert await ips("broken.example")
        assert "broken.example" in net.dns
        del net.dns["broken.example"]
        with pytest.raises(socket.gaierror):
            await ips("broken.example")

    run(main, 1)


def test_connecting_tries_every_address():
    async def main(world):
        net = world.net
        net.host("okx", "2001:db8::7", "203.0.113.7")
        with net.on("okx"):
            await asyncio.start_server(hang_up, "203.0.113.7", 443)
        _, writer = await asyncio.open_connection("okx", 443)
        assert writer.get_extra_info("peername") == ("203.0.113.7", 443)
        writer.close()
        with pytest.raises(OSError, match=r"Multiple exceptions: .*2001:db8::7.*203\.0\.113\.7"):
            await asyncio.open_connection("okx", 444)
        with pytest.raises(ExceptionGroup):
            await asyncio.open_connection("okx", 444, all_errors=True)

    run(main, 1)


def test_happy_eyeballs_race_past_a_dead_address():
    async def main(world):
        net = world.net
        net.host("dead")
        with net.on("okx"):
            await asyncio.start_server(hang_up, "0.0.0.0", 443)
        net.dns["ws.okx.com"] = ["dead", "okx"]
        net.link("router", "dead").blackhole()
        before_ns = world.now_ns
        _, writer = await asyncio.open_connection("ws.okx.com", 443, happy_eyeballs_delay=0.25)
        writer.close()
        return (world.now_ns - before_ns) / S

    assert run(main, 1).value == pytest.approx(0.25, abs=0.01)


# -- clocks ----------------------------------------------------------------------------------


def test_wall_clocks_belong_to_hosts():
    async def main(world):
        net, epoch_ns = world.net, 1_700_000_000 * S
        clock, other = net.clock("router"), net.clock("okx")
        assert clock() == other() == epoch_ns
        await asyncio.sleep(10)
        assert clock() == epoch_ns + 10 * S
        assert net.clock("late")() == epoch_ns + 10 * S, "a host made later shows the same time"
        clock.jump(-70 * S)  # NTP sets it back
        assert clock() == epoch_ns - 60 * S
        clock.drift(50_000)  # 50 ppm fast: 50 µs a second
        assert clock() == epoch_ns - 60 * S, "drifting makes no step"
        await asyncio.sleep(1000)
        assert clock() == epoch_ns + 940 * S + 50 * MS
        clock.drift(-100_000)
        await asyncio.sleep(1000)
        assert clock() == epoch_ns + 1940 * S + 50 * MS - 100 * MS
        clock.set(5)
        clock.drift(0)
        await asyncio.sleep(1)
        assert clock() == S + 5
        assert other() == epoch_ns + 2011 * S, "nobody else noticed"
        assert world.loop.time() == pytest.approx(1000 + 2011), "nor did timers"

    run(main, 1, epoch_ns=1_700_000_000 * S)


# -- shape of a link -------------------------------------------------------------------------


def test_latency_both_ways():
    async def test(world, near, far):
        link = world.net.link("okx", "router")
        assert link is world.net.link("router", "okx")
        link.latency(30 * MS)
        link.latency(70 * MS, sender="okx")
        start_ns = world.now_ns
        near.transport.write(b"x")
        far.transport.write(b"y")
        await asyncio.sleep(1)
        return far.arrivals[0][0] - start_ns, near.arrivals[0][0] - start_ns

    assert in_pair(test) == (30 * MS, 70 * MS)


def test_a_link_grown_quicker_lets_nothing_overtake():
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        link.latency(S)
        near.transport.write(b"a")
        link.latency(MS)
        near.transport.write(b"b")
        await asyncio.sleep(0.5)
        assert far.got == b""
        await asyncio.sleep(1)
        return far.got

    assert in_pair(test) == b"ab"


def test_what_arrives_while_resuming_waits_its_turn():
    async def test(world, near, far):
        far.transport.pause_reading()
        near.transport.write(b"a")
        await asyncio.sleep(1)
        near.transport.write(b"b")
        far.transport.resume_reading()
        world.loop.stall(1)  # "b" is due before the resumed reader's turn
        await asyncio.sleep(1)
        return far.got

    assert in_pair(test) == b"ab"


def test_jitter_is_bounded_repeatable_and_never_reorders():
    async def test(world, near, far):
        world.net.link("router", "okx").latency(10 * MS, jitter_ns=50 * MS)
        sent = bytes(range(200))
        start_ns = world.now_ns
        for byte in sent:
            near.transport.write(bytes([byte]))
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        assert far.got == sent
        delays = [at - start_ns - i * MS for i, (at, _) in enumerate(far.arrivals)]
        assert len(set(delays)) > 20
        assert min(delays) >= 10 * MS
        assert max(delays) <= 60 * MS
        return delays

    assert in_pair(test) == in_pair(test)


def test_links_jitter_apart():
    def arrival_ns(traffic_elsewhere):
        async def main(world):
            one, _ = await pair(world, "okx")
            two, far = await pair(world, "kraken")
            for host in ("okx", "kraken"):
                world.net.link("router", host).latency(10 * MS, jitter_ns=50 * MS)
            for _ in range(traffic_elsewhere):
                one.transport.write(b"x")
            two.transport.write(b"x")
            await asyncio.sleep(1)
            return far.arrivals[0][0]

        return run(main, 1).value

    assert arrival_ns(0) == arrival_ns(10)


def test_bandwidth_trickles_and_is_shared():
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        link.shape(bandwidth=1)  # a byte a second
        start_ns = world.now_ns
        near.transport.write(bytes(5))
        await asyncio.sleep(10)
        assert [(round((at - start_ns) / S), n) for at, n in far.arrivals] == [
            (1, 1), (2, 1), (3, 1), (4, 1), (5, 1)
        ]  # fmt: skip
        link.shape(bandwidth=1000)
        near2, far2 = await pair(world, port=444)
        start_ns = world.now_ns
        near.transport.write(bytes(1000))
        near2.transport.write(bytes(1000))
        await asyncio.sleep(10)
        assert far.arrivals[-1][0] - start_ns == pytest.approx(S, rel=0.01)
        assert far2.arrivals[-1][0] - start_ns == pytest.approx(2 * S, rel=0.01)
        link.shape(bandwidth=0)
        start_ns = world.now_ns
        near.transport.write(bytes(100_000))
        await asyncio.sleep(1)
        assert far.arrivals[-1][0] - start_ns == MS

    in_pair(test)


def test_segments_break_writes_but_lose_nothing():
    async def test(world, near, far):
        world.net.link("router", "okx").shape(segment=7)
        sent = bytes(range(256)) * 4
        near.transport.write(sent)
        await asyncio.sleep(1)
        assert far.got == sent
        sizes = [size for _, size in far.arrivals]
        assert set(sizes) == set(range(1, 8))

    in_pair(test)


# -- cuts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["link", "connection"])
def test_a_cut_resets_both_ends_and_what_was_under_way_is_lost(what):
    async def test(world, near, far):
        near.transport.write(b"lost")
        victim = (
            world.net.link("router", "okx") if what == "link" else world.net.connections("okx")[0]
        )
        victim.cut()
        assert isinstance(await near.lost, ConnectionResetError)
        assert isinstance(await far.lost, ConnectionResetError)
        assert far.got == b""
        await asyncio.sleep(1)
        assert world.net.connections() == []
        near2, far2 = await pair(world, port=444)  # the next one is not hurt
        near2.transport.write(b"well")
        await asyncio.sleep(1)
        assert far2.got == b"well"

    in_pair(test)


def test_a_cut_with_fin_looks_like_an_orderly_end():
    async def test(world, near, far):
        world.net.connections("okx")[0].cut("fin")
        assert await near.lost is None
        assert await far.lost is None
        assert near.eof.is_set()
        assert far.eof.is_set()

    in_pair(test)


def test_a_fin_from_the_middle_and_who_writes_on_is_reset():
    async def test(world, near, far):
        near.eof_received = lambda: True  # keeps its half open
        world.net.connections("okx")[0].cut("fin")
        await asyncio.sleep(1)
        assert not near.lost.done()
        near.transport.write(b"still there?")
        await asyncio.sleep(1)
        near.transport.write(b"still there?")  # the reset is noticed by writing
        assert isinstance(await near.lost, ConnectionResetError)
        assert far.got == b""

    in_pair(test)


@given(size=st.integers(0, 40), segment=st.integers(0, 9), mode=st.sampled_from(["reset", "fin"]))
@settings(max_examples=60, deadline=None)
def test_a_cut_after_n_bytes_carries_exactly_n(size, segment, mode):
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        link.shape(segment=segment)
        link.cut_after(size, sender="router", mode=mode)
        sent = bytes(range(40))
        for start in range(0, 40, 10):
            near.transport.write(sent[start : start + 10])
            await asyncio.sleep(0.1)
        # Even what the far end says at once to the last byte does not leave any more.
        assert far.got == sent[:size]
        await far.lost
        await near.lost
        assert near.got == b""

    in_pair(test)


def test_a_cut_after_n_bytes_lets_no_answer_out():
    async def test(world, near, far):
        far.data_received = lambda _: far.transport.write(b"answer")
        world.net.connections("okx")[0].cut_after(7, sender="router")
        near.transport.write(b"request")
        assert isinstance(await near.lost, ConnectionResetError)
        return near.got

    assert in_pair(test) == b""


def test_swallowing_the_answer_leaves_the_connection_half_open():
    async def test(world, near, far):
        world.net.link("router", "okx").cut_after(0, sender="okx", mode="hole")
        near.transport.write(b"request")
        await asyncio.sleep(1)
        assert far.got == b"request"
        far.transport.write(b"answer")
        await asyncio.sleep(60)
        assert near.got == b""
        assert not near.lost.done()

    in_pair(test)


# -- black holes, clogs ----------------------------------------------------------------------


def test_a_black_hole_carries_nothing_and_tells_nobody_until_tcp_gives_up():
    async def test(world, near, far):
        world.net.link("router", "okx").blackhole()
        start_ns = world.now_ns
        near.transport.write(b"anyone?")
        await asyncio.sleep(900)
        assert not near.lost.done()
        exc = await near.lost
        assert isinstance(exc, TimeoutError)
        assert exc.errno == errno.ETIMEDOUT
        assert (world.now_ns - start_ns) / S == pytest.approx(924.6, abs=0.1)
        await asyncio.sleep(10_000)
        assert not far.lost.done(), "who sends nothing never learns"

    in_pair(test)


def test_every_outage_has_its_own_patience():
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        for _ in range(3):  # 600 s each, 924 s are too long
            link.blackhole()
            near.transport.write(b"x")
            await asyncio.sleep(600)
            link.heal()
            await asyncio.sleep(0.01)
        assert not near.lost.done()
        return far.got

    assert in_pair(test) == b"xxx"


def test_what_was_sent_into_a_short_black_hole_arrives_in_order():
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        link.latency(10 * MS)
        near.transport.write(b"a")
        link.blackhole(sender="router")
        await asyncio.sleep(1)
        near.transport.write(b"b")
        far.transport.write(b"the other way is open")
        await asyncio.sleep(1)
        assert far.got == b""
        assert near.got == b"the other way is open"
        near.transport.write(b"c")  # under way when the hole ends
        await asyncio.sleep(0.005)
        link.heal()
        near.transport.write(b"d")
        await asyncio.sleep(1)
        return far.got

    assert in_pair(test) == b"abcd"


def test_a_hole_in_one_connection_leaves_the_others():
    async def main(world):
        near, far = await pair(world)
        near2, far2 = await pair(world, port=444)
        first, second = world.net.connections("router", "okx")
        assert "router>okx#1" in repr(first)
        first.blackhole()
        near.transport.write(b"x")
        near2.transport.write(b"y")
        await asyncio.sleep(1)
        assert (far.got, far2.got) == (b"", b"y")
        near.transport.close()  # an end of stream is swallowed as well
        await asyncio.sleep(100)
        assert not far.lost.done()
        first.heal()
        await far.lost
        assert far.got == b"x"
        return second.up.carried

    assert run(main, 1).value == 1


@pytest.mark.parametrize("seconds", [3, None])
def test_a_clog_delays_and_loses_nothing(seconds):
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        link.clog(seconds)
        start_ns = world.now_ns
        near.transport.write(b"a")
        await asyncio.sleep(1)
        near.transport.write(b"b")
        assert far.got == b""
        await asyncio.sleep(2)
        if seconds is None:
            assert far.got == b""
            link.unclog()
        await asyncio.sleep(0.1)
        assert far.got == b"ab"
        assert far.arrivals[0][0] - start_ns == pytest.approx(3 * S, abs=10)

    in_pair(test)


def test_a_longer_clog_replaces_a_shorter():
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        link.clog(1)
        link.clog(5)
        near.transport.write(b"a")
        await asyncio.sleep(4)
        assert far.got == b""
        await asyncio.sleep(2)
        assert far.got == b"a"

    in_pair(test)


@pytest.mark.parametrize(
    ("fault", "took_s"),
    [
        ("none", 0.003),  # the name, there and back
        ("clog", 0.502),  # waits for the clog to end
        ("hole", 7.003),  # healed after 5 s; SYNs leave at 0, 1, 3, 7
    ],
)
def test_connecting_through_trouble(fault, took_s):
    async def main(world):
        with world.net.on("okx"):
            await asyncio.start_server(hang_up, "0.0.0.0", 443)
        link = world.net.link("router", "okx")
        start_ns = world.now_ns
        if fault == "clog":
            link.clog(0.5)
        elif fault == "hole":
            link.blackhole()
            world.loop.call_later(5, link.heal)
        _, writer = await asyncio.open_connection("okx", 443)
        took_ns = world.now_ns - start_ns
        writer.close()
        return took_ns / S

    assert run(main, 1).value == pytest.approx(took_s, abs=0.0015)


def test_cancelled_in_the_instant_of_success():
    async def main(world):
        net, loop = world.net, world.loop
        net.link("router", "okx").latency(100 * MS)
        with net.on("okx"):
            await asyncio.start_server(hang_up, "0.0.0.0", 443)
        start_ns = world.now_ns
        dial = asyncio.create_task(net.dial((net.host("okx").addresses[0], 443)))
        await asyncio.sleep(0)
        # A byte on a younger connection arrives in the very instant of the SYN-ACK, just after it.
        near, far = await pair(world, "kraken")
        near.data_received = lambda _: dial.cancel()
        loop.call_at((start_ns + 199 * MS) / S, far.transport.write, b"x")
        with pytest.raises(asyncio.CancelledError):
            await dial
        assert world.now_ns == start_ns + 200 * MS
        await asyncio.sleep(1)
        return net.connections("okx")

    assert run(main, 1).value == []


def test_connecting_into_a_black_hole_times_out_as_linux_does():
    async def main(world):
        with world.net.on("okx"):
            await asyncio.start_server(hang_up, "0.0.0.0", 443)
        world.net.link("router", "okx").blackhole(sender="okx")  # only the answers are lost
        start_ns = world.now_ns
        with pytest.raises(TimeoutError) as caught:
            await asyncio.open_connection("okx", 443)
        assert caught.value.errno == errno.ETIMEDOUT
        return (world.now_ns - start_ns) / S

    assert run(main, 1).value == pytest.approx(127, abs=0.1)


def test_a_firewall_refuses():
    async def main(world):
        with world.net.on("okx"):
            await asyncio.start_server(hang_up, "0.0.0.0", 443)
        link = world.net.link("router", "okx")
        link.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("okx", 443)
        link.heal()
        _, writer = await asyncio.open_connection("okx", 443)
        writer.close()

    run(main, 1)


def test_nothing_left_but_a_black_hole_is_a_deadlock():
    async def main(world):
        near, _ = await pair(world)
        world.net.connections()[0].blackhole()
        await near.lost

    with pytest.raises(Deadlock, match="main"):
        run(main, 1)


# -- who does not read -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["pauses", "stopped by fault", "host frozen"])
def test_a_peer_that_does_not_read_stops_the_writer(how):
    async def test(world, near, far):
        conn = world.net.connections("okx")[0]
        stop, go = {
            "pauses": (far.transport.pause_reading, far.transport.resume_reading),
            "stopped by fault": (
                lambda: conn.stop_reading("okx"),
                lambda: conn.stop_reading("okx", stopped=False),
            ),
            "host frozen": (
                lambda: world.net.freeze("okx"),
                lambda: world.net.freeze("okx", frozen=False),
            ),
        }[how]
        stop()
        written = 0
        while not near.paused:
            near.transport.write(bytes(10_000))
            written += 10_000
            await asyncio.sleep(0.01)
            assert written < 10_000_000, "memory must be bounded"
        assert near.transport.get_write_buffer_size() > 64 * 1024
        await asyncio.sleep(100)
        assert far.got == b""
        go()
        await asyncio.sleep(1)
        assert not near.paused
        assert len(far.got) == written
        near.transport.write(b"and on")
        await asyncio.sleep(1)
        assert far.got.endswith(b"and on")
        assert near.transport._room == WINDOW, "all that was taken is given back"

    in_pair(test)


def test_streams_drain_waits_for_the_reader():
    async def main(world):
        async def slow(reader, writer):
            while await reader.read(100_000):  # noqa: ASYNC110  it is slow on purpose
                await asyncio.sleep(1)
            writer.close()

        with world.net.on("okx"):
            await asyncio.start_server(slow, "0.0.0.0", 443)
        _, writer = await asyncio.open_connection("okx", 443)
        start_ns = world.now_ns
        for _ in range(100):
            writer.write(bytes(100_000))
            await writer.drain()
        writer.close()
        await writer.wait_closed()
        return (world.now_ns - start_ns) / S

    # 10 MB at 100 kB a second, less what buffers hold.
    assert 50 < run(main, 1).value < 100


# -- any order of any fault ------------------------------------------------------------------

steps = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 400_000)),
    st.tuples(st.just("sleep"), st.floats(0, 2)),
    st.tuples(st.just("sleep"), st.sampled_from([0.001, 0.002, 0.01])),  # arrivals' own instants
    st.tuples(st.sampled_from(["hole", "heal", "clog", "unclog", "pause", "resume", "freeze"])),
    st.tuples(st.just("latency"), st.integers(1, 10**9), st.booleans()),
    st.tuples(st.just("latency"), st.just(1_000_000), st.just(False)),
    st.tuples(st.just("bandwidth"), st.integers(10_000, 10**7)),
    st.tuples(st.just("segment"), st.integers(50, 5000)),
)


@given(plan=st.lists(steps, max_size=25), ending=st.sampled_from(["close", "eof", "abort"]))
@settings(max_examples=300, deadline=None)
def test_whatever_happens_a_stream_is_a_prefix_and_once_healed_whole(plan, ending):
    async def test(world, near, far):
        link = world.net.link("router", "okx")
        source = bytes(range(251)) * 1600
        sent = bytearray()
        for step, *args in plan:
            match step:
                case "write":
                    near.transport.write(source[: args[0]])
                    sent += source[: args[0]]
                case "sleep":
                    await asyncio.sleep(args[0])
                case "hole":
                    link.blackhole(sender="router")
                case "heal":
                    link.heal()
                case "clog":
                    link.clog(0.7)
                case "unclog":
                    link.unclog()
                case "pause":
                    far.transport.pause_reading()
                case "resume":
                    far.transport.resume_reading()
                    world.net.freeze("okx", frozen=False)
                case "freeze":
                    world.net.freeze("okx")
                case "latency":
                    link.latency(args[0], jitter_ns=args[0] if args[1] else 0)
                case _:
                    link.shape(**{step: args[0]})
            assert sent.startswith(far.got)
        {
            "close": near.transport.close,
            "eof": near.transport.write_eof,
            "abort": near.transport.abort,
        }[ending]()
        await asyncio.sleep(1)
        link.heal()
        link.shape(bandwidth=0)
        far.transport.resume_reading()
        world.net.freeze("okx", frozen=False)
        await far.lost
        assert await near.lost is None
        if ending == "abort":
            assert sent.startswith(far.got)
        else:
            assert far.got == sent
        assert near.transport.get_write_buffer_size() == 0
        await asyncio.sleep(3)
        assert world.net.connections() == []

    in_pair(test)
