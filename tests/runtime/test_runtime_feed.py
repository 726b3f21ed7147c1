"""Sockets and the feed over them: every way a connection can fail, in virtual time."""

import asyncio
import gc
import logging
import socket
from contextlib import suppress
from itertools import pairwise

import pytest
from websockets.exceptions import ConnectionClosed

from hean_router import kit
from hean_router.domain.errors import Unreachable
from hean_router.domain.venue import RateLimit
from hean_router.runtime import sockets
from hean_router.sim.virtual import run
from hean_router.venue import Policy
from tests.runtime.acme import (
    Heard,
    S,
    Venue,
    connector,
    encode,
    feed_of,
    feeding,
    http,
    until,
    wires,
)

PAIRS = ["BTC/USDT", "ETH/USDT"]
BTC, ETH = PAIRS


@pytest.fixture(autouse=True)
def _quiet():
    logger = logging.getLogger("websockets")
    level, logger.level = logger.level, logging.CRITICAL
    yield
    logger.level = level


def tried(main, pairs=PAIRS, *, seed=1, limit_s=2_000, strict=True, **options):
    """Run `main(world, venue, feed, heard, told)` on a feed; nothing is left open behind it."""

    async def whole(world):
        told = []
        async with feeding(world, pairs, told=told, **options) as (venue, feed, heard):
            value = await main(world, venue, feed, heard, told)
        await asyncio.sleep(3)
        left = world.net.connections("router")
        assert not left, f"left open: {left}"
        return value

    ran = run(whole, seed, limit_s=limit_s, strict=strict)
    assert not ran.left_open, ran.left_open
    return ran.value


async def live(feed, within_s=5):
    return await until(
        lambda: feed.lines and all(line_live(line) for line in feed.lines), within_s, "all live"
    )


def line_live(line):
    return any(session.all_live for session in line.pair.sessions)


def losses(heard, symbol=BTC):
    return [reason for state, reason in heard.states(symbol) if state != "live"]


# ------------------------------------------------------------------ not getting in


def test_a_refused_handshake_is_told_and_tried_again():
    async def main(world, venue, feed, heard, told):
        await until(lambda: feed.counts.failures >= 3, 60, "three failures")
        assert isinstance(feed.fault, Unreachable)
        assert feed.fault.step == "connect"
        assert "HTTP 503" in feed.trouble
        assert all("HTTP 503" in text for text in told)
        assert not feed.connected
        assert feed.counts.reconnects == 0, "what never stood is not lost"
        venue.refuse = False
        await live(feed, 40)
        await asyncio.sleep(1)
        assert feed.fault is None
        assert feed.trouble == ""
        assert feed.connected

    tried(main, prepare=refuse_all)


def refuse_all(venue):
    venue.refuse = True


def test_a_handshake_that_is_told_to_wait_waits():
    """A 429 with its time: nobody knocks before."""

    async def whole(world):
        def limited(conn, request):
            venue_dialled.append(world.now_ns)
            answer = conn.respond(429, "")
            answer.headers["Retry-After"] = "45"
            return answer

        venue_dialled = []
        async with feeding(
            world, PAIRS, told=[], prepare=lambda venue: setattr(venue, "handshake", limited)
        ):
            await asyncio.sleep(200)
        return [b - a for a, b in pairwise(venue_dialled)]

    gaps_ns = run(whole, 1, limit_s=600).value
    assert 3 <= len(gaps_ns) <= 4
    assert min(gaps_ns) >= 45 * S


@pytest.mark.parametrize(
    ("hurt", "step", "within_s"),
    [
        ("refused", "connect", 1),
        ("unknown", "DNS", 1),
        ("resolver", "DNS", 1),
        ("silent resolver", "", 10.5),
        ("silent network", "connect", 10.5),
        ("silent server", "connect", 10.5),
        ("garbage", "connect", 1),
        ("hangs up", "connect", 1),
        ("endless answer", "connect", 10.5),
        ("redirect to nowhere", "", 10.5),
    ],
)
def test_a_connection_that_cannot_be_opened_fails_in_time_at_its_step(hurt, step, within_s):
    async def whole(world):
        async def mute(reader, writer):
            await asyncio.sleep(100)

        async def garbage(reader, writer):
            writer.write(b"SSH-2.0-OpenSSH_9.0\r\n" * 3)
            await asyncio.sleep(0.1)
            writer.close()

        async def hang_up(reader, writer):
            writer.close()

        async def endless(reader, writer):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n")
            while True:
                writer.write(b"x")
                await asyncio.sleep(1)

        async def away(reader, writer):
            writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://nowhere/\r\n\r\n")

        servers = {
            "silent server": mute,
            "garbage": garbage,
            "hangs up": hang_up,
            "endless answer": endless,
            "redirect to nowhere": away,
        }
        with world.net.on("other"):
            if talk := servers.get(hurt):
                await asyncio.start_server(talk, "0.0.0.0", 81)
        match hurt:
            case "refused":
                pass
            case "unknown":
                world.net.dns["other"] = socket.gaierror(socket.EAI_NONAME, "not known")
            case "resolver":
                world.net.dns["other"] = world.net.dns.failure()
            case "silent resolver":
                world.net.dns["other"] = None
            case "silent network":
                world.net.link("router", "other").blackhole()
        told = []
        feed = feed_of(world, told=told, hosts={"rest": "http://acme", "ws": "ws://other:81"})
        btc = one(BTC)
        task = asyncio.create_task(feed.run([btc], Heard()))
        took_s = await until(lambda: feed.counts.failures, 20, "a failure", 0.01)
        assert isinstance(feed.fault, Unreachable)
        if step:
            assert feed.fault.step == step, feed.fault
        assert feed.fault.fix
        assert took_s < within_s
        assert told[0].startswith("acme spot: ")
        assert "\n" not in told[0]
        await asyncio.sleep(100)
        assert feed.counts.failures > 3, "it is tried for ever"
        assert feed.counts.faults == 0
        task.cancel()
        await asyncio.wait({task})

    run(whole, 1, limit_s=600)


@pytest.mark.parametrize(
    "url",
    [
        "http://acme",
        "ws://",
        "ws://acme:x",
        "ws://acme:99999",
        f"ws://{'a' * 70}.com",
        "ws://[x",
        "",
    ],
)
def test_an_address_that_is_none_is_told_and_no_fault_of_ours(url):
    async def whole(world):
        told = []
        feed = feed_of(world, told=told, hosts={"rest": "http://acme", "ws": url})
        task = asyncio.create_task(feed.run([one(BTC)], Heard()))
        await until(lambda: feed.counts.failures > 1, 20, "failures")
        assert feed.counts.faults == 0
        task.cancel()
        await asyncio.wait({task})

    run(whole, 1, limit_s=600)


def one(symbol, **fields):
    pair = kit.Pair.parse(symbol)
    return kit.Instrument(
        venue="acme", pair=pair, symbol=symbol, px_decimals=0, qty_decimals=0, **fields
    )


def test_a_road_to_nowhere_for_one_kind_of_address_is_left():
    """IPv6 that swallows everything, before IPv4 that works: the second try takes the other."""

    async def whole(world):
        world.net.host("acme", "10.0.0.7")
        world.net.host("acme6", "fd00::7")
        world.net.link("router", "acme6").blackhole()
        world.net.dns["stream"] = ["fd00::7", "10.0.0.7"]
        venue = Venue(world, PAIRS)
        async with venue.open():
            feed = feed_of(world, hosts={"rest": "http://acme", "ws": "ws://stream:81"})
            task = asyncio.create_task(feed.run([one(BTC)], Heard()))
            took_s = await until(lambda: feed.connected, 30, "connected")
            task.cancel()
            await asyncio.wait({task})
        return took_s

    assert run(whole, 1, limit_s=600).value < 12


# ------------------------------------------------------------------ being closed


@pytest.mark.parametrize(
    ("close", "reason"),
    [
        (lambda line: line.ws.close(1000, "bye"), "closed by the venue (1000 bye)"),
        (lambda line: line.ws.close(1001, ""), "closed by the venue (1001 )"),
        (lambda line: line.ws.close(1008, "30002 limit"), "closed by the venue (1008 30002 limit)"),
        (lambda line: line.ws.close(1012, "restart"), "closed by the venue (1012 restart)"),
        (lambda line: line.ws.close(4004, "no data"), "closed by the venue (4004 no data)"),
        (lambda line: abort(line), "cut"),
        (lambda line: raw(line, b"\x88\x00"), "closed by the venue (1005 )"),
        (lambda line: raw(line, b"\xff\xff\xff"), "given up by us (1002"),
        (lambda line: raw(line, b"\x81\x7f" + bytes([0x7F]) + bytes(7)), "given up by us (1009"),
        (lambda line: raw(line, b"\x88\x05\x03\xe8\xff\xfe\xfd"), "given up by us (1007"),
    ],
)
def test_a_close_is_told_with_its_reason_and_the_book_comes_back(close, reason):
    async def main(world, venue, feed, heard, told):
        await live(feed)
        await close(venue.lines[0])
        took_s = await until(lambda: losses(heard), 5, "the loss is seen", 0.001)
        assert took_s < 0.1
        assert losses(heard)[0].startswith(reason)
        await live(feed)
        assert len(told) == 1
        assert told[0].startswith(f"acme spot: connection ended: {reason}")
        assert feed.counts.reconnects == 1
        assert feed.counts.failures == feed.counts.faults == 0
        await asyncio.sleep(0.5)
        assert feed.trouble == ""

    tried(main)


async def abort(line):
    line.ws.transport.abort()


async def raw(line, data):
    line.ws.transport.write(data)


@pytest.mark.parametrize(
    ("every_s", "reason", "least_s", "most_s"),
    [
        # A lively venue: its top moves on, and is asked for over another connection.
        (0.2, "dead subscription: the top moved, the book did not", 3, 8),
        # A quiet one agrees with its book; but it does not answer our pings either.
        (0, "silent for 12 s", 12, 12.2),
    ],
)
def test_a_half_open_connection_is_found_within_the_stated_bound(every_s, reason, least_s, most_s):
    async def main(world, venue, feed, heard, told):
        await live(feed)
        await asyncio.sleep(10)
        venue.every_s = every_s
        (connection,) = wires(world)
        connection.blackhole()
        took_s = await until(lambda: losses(heard), 30, "the loss is seen", 0.01)
        assert losses(heard)[0] == reason
        assert least_s <= took_s <= most_s
        await until(lambda: len(venue.all_lines) == 2, 15, "a new connection")
        await live(feed, 3)

    tried(main)


def test_a_quiet_but_live_connection_is_left_alone():
    async def main(world, venue, feed, heard, told):
        await live(feed)
        venue.every_s = 0
        await asyncio.sleep(600)
        assert len(venue.all_lines) == 1
        assert not losses(heard)
        pings = [said for said in venue.lines[0].heard if said.kind == "ping"]
        assert 115 <= len(pings) <= 125

    tried(main)


def test_a_peer_that_takes_nothing_is_given_up():
    """Its system's buffers are full: whoever waited there looked at no timer any more."""

    async def main(world, venue, feed, heard, told):
        await live(feed)
        (session,) = feed.sessions
        wires(world)[0].stop_reading("acme")
        big = kit.Frame(b"x" * 4_000_000)
        session._out.append(sockets.Send(big))
        gone = "takes nothing that we send, for 5 s"
        took_s = await until(lambda: ("lost", gone) in heard.states(BTC), 30, "lost", 0.01)
        # Whoever waits looks at no timers: that is not readable either.
        assert "this program slept for 2.1 s" in losses(heard)
        assert took_s < 5.5
        await live(feed)

    tried(main)


def test_a_frame_too_long_to_be_honest_ends_the_connection(monkeypatch):
    monkeypatch.setattr(sockets, "FRAME_MAX", 10_000)

    async def main(world, venue, feed, heard, told):
        await live(feed)
        await venue.tell(kind="info", text="x" * 20_000)
        await until(lambda: losses(heard), 5, "the loss is seen")
        assert losses(heard)[0].startswith("given up by us (1009 ")
        await live(feed)

    tried(main)


# ------------------------------------------------------------------ again and again


@pytest.mark.slow
def test_fifty_reconnects_leak_nothing():
    async def main(world, venue, feed, heard, told):
        await live(feed)
        sizes = []
        for number in range(51):
            for line in list(venue.lines):
                await line.ws.close(1001, f"number {number}")
            await until(lambda: not venue.lines, 5, "gone", 0.01)
            await until(lambda: venue.lines and line_live(feed.lines[0]), 40, "back")
            await asyncio.sleep(0.5)
            gc.collect()
            kinds = ("FeedSession", "FeedSocket", "ClientConnection", "_Running", "Task", "_Task")
            things = [type(each).__name__ for each in gc.get_objects()]
            sizes.append(
                (
                    {kind: things.count(kind) for kind in kinds},
                    len(asyncio.all_tasks()),
                    len(world.net.connections("router", "acme")),
                    len(feed.sessions),
                    len(feed.lines[0]._running),
                    len(feed.lines[0].pair._state),
                )
            )
        assert sizes[10] == sizes[50]
        assert feed.counts.reconnects == 51
        assert len(venue.all_lines) == 52

    tried(main)


def test_waits_grow_have_full_jitter_and_begin_anew_after_a_steady_connection():
    waits = []

    async def whole(world):
        async with feeding(world, PAIRS, told=[], prepare=refuse_all) as (venue, feed, _):
            feed.jitter_ns = lambda bound_ns: waits.append(bound_ns) or bound_ns
            await until(lambda: len(waits) >= 12, 600, "twelve failures", 1)
            venue.refuse = False
            await live(feed, 40)
            await asyncio.sleep(50)
            cut(venue)  # before it is steady
            await asyncio.sleep(40)
            short = waits[-1]
            await live(feed, 40)
            await asyncio.sleep(61)
            cut(venue)
            await asyncio.sleep(2)
            return short, waits[-1]

    def cut(venue):
        for line in venue.lines:
            line.ws.transport.abort()

    short, steady = run(whole, 1, limit_s=2_000).value
    assert waits[:8] == [S // 2, S, 2 * S, 4 * S, 8 * S, 16 * S, 30 * S, 30 * S]
    assert short == 30 * S, "fifty seconds are no steady connection"
    assert steady == S // 2


def test_the_jitter_is_full():
    """Waits lie evenly anywhere below the bound: many lines do not come back at once."""

    async def whole(world):
        feed = feed_of(world)
        return sorted(feed.jitter_ns(1000) for _ in range(2000))

    drawn = run(whole, 1).value
    assert drawn[0] < 20
    assert drawn[-1] > 980
    assert 450 < drawn[1000] < 550


def test_the_connect_limit_holds_while_everything_fails():
    """Twenty lines, two connections a second: at the start, and when all are cut at once."""
    pairs = [f"A{number}/USDT" for number in range(20)]
    made = connector(topics_max=1, connects=RateLimit(3, 1_000))

    async def main(world, venue, feed, heard, told):
        assert len(feed.lines) == 20
        await live(feed, 30)
        for line in list(venue.lines):
            line.ws.transport.abort()
        await asyncio.sleep(1)
        await live(feed, 30)
        for begin in venue.dialled_ns:
            window = [at for at in venue.dialled_ns if begin <= at < begin + S]
            assert len(window) <= 3
        return len(venue.dialled_ns)

    assert tried(main, pairs, made=made) >= 40


def test_two_parts_on_one_address_share_the_connect_limit():
    pairs = [f"A{number}/USDT" for number in range(8)]
    made = connector(topics_max=1, connects=RateLimit(3, 1_000))

    async def whole(world):
        venue = Venue(world, [*pairs, *(f"{pair}:USDT" for pair in pairs)])
        async with venue.open():
            spot = feed_of(world, made)
            linear = feed_of(world, made, part=kit.Part.LINEAR, limits=spot.http.limits)
            tasks = [
                asyncio.create_task(feed.run(await feed.instruments(), Heard()))
                for feed in (spot, linear)
            ]
            await live(spot, 30)
            await live(linear, 30)
            for begin in venue.dialled_ns:
                assert sum(begin <= at < begin + S for at in venue.dialled_ns) <= 3
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            await spot.close()
            await linear.close()
            return len(venue.dialled_ns)

    assert run(whole, 1, limit_s=300).value == 16


def test_several_lines_where_a_socket_takes_few_topics_fail_apart():
    pairs = [f"A{number}/USDT" for number in range(7)]

    async def main(world, venue, feed, heard, told):
        assert [len(line.instruments) for line in feed.lines] == [3, 3, 1]
        await live(feed)
        assert sorted(len(line.symbols) for line in venue.lines) == [1, 3, 3]
        hurt = next(line for line in venue.lines if "A0/USDT" in line.symbols)
        gone = set(hurt.symbols)
        hurt.ws.transport.abort()
        await until(lambda: losses(heard, "A0/USDT"), 5, "the loss")
        assert not feed.connected, "one of three does not stand"
        await live(feed)
        for pair in pairs:
            assert bool(losses(heard, pair)) == (pair in gone)

    tried(main, pairs, made=connector(topics_max=3))


# ------------------------------------------------------------------ faults of our own


def faulty(feed, monkeypatch, where):
    """Break one thing inside the present session."""
    (session,) = feed.sessions

    def broken(*_):
        raise ZeroDivisionError(f"a bug in {where}")

    setattr(session if hasattr(session, where) else session.codec, where, broken)


@pytest.mark.parametrize("where", ["decode", "due", "take", "probed", "probe", "received", "about"])
def test_a_bug_of_ours_is_told_counted_and_survived(monkeypatch, caplog, where):
    """In the codec, a timer, a request: never silence, never the end of the program."""

    async def main(world, venue, feed, heard, told):
        await live(feed)
        if where in {"probed", "probe"}:
            venue.every_s = 0  # quiet: soon its top is asked for
        faulty(feed, monkeypatch, where)
        if where == "about":
            await venue.lines[0].ws.send(f"broken {BTC}")
        await until(lambda: feed.counts.faults == 1, 20, "the fault is counted")
        await until(lambda: told, 5, "told")
        assert told[0].startswith("acme spot: a fault of our own: ZeroDivisionError: a bug in ")
        assert losses(heard)[-1:] == ["a fault of our own"]
        venue.every_s = 0.2
        await live(feed)
        await asyncio.sleep(0.3)
        assert feed.counts.reconnects == 1
        assert feed.trouble == ""

    with caplog.at_level(logging.ERROR):
        tried(main)
    told = [record for record in caplog.records if record.exc_info]
    assert len(told) == 1
    assert told[0].getMessage() == "acme: a fault of our own"


@pytest.mark.parametrize("at", [3, 4, 9])
def test_a_sink_that_raises_ends_one_connection(caplog, at):
    async def main(world, venue, feed, heard, told):
        heard.raise_at = {at}
        await until(lambda: feed.counts.faults == 1, 20, "the fault is counted")
        await live(feed)
        assert "the sink broke" in told[0]

    with caplog.at_level(logging.CRITICAL):
        tried(main)


def test_a_sink_that_raises_while_a_connection_ends_leaves_no_socket_open(caplog):
    async def main(world, venue, feed, heard, told):
        await live(feed)
        heard.raise_at = {heard.calls + 1}
        venue.every_s = 0
        await venue.lines[0].ws.close(1001, "bye")
        await until(lambda: feed.counts.faults == 1, 20, "the fault is counted")
        await live(feed)
        await asyncio.sleep(1)
        assert len(wires(world)) == 1

    with caplog.at_level(logging.CRITICAL):
        tried(main)


def test_a_bug_that_stays_is_tried_with_growing_waits(caplog):
    """A frame that breaks us on every connection: no storm of connections."""

    async def main(world, venue, feed, heard, told):
        await live(feed)
        venue.greeting = encode(kind="bug")
        await venue.tell(kind="bug")
        await asyncio.sleep(300)
        return feed.counts.faults

    with caplog.at_level(logging.CRITICAL):
        assert 10 <= tried(main) <= 40


# ------------------------------------------------------------------ counters and ends


def total(reading):
    books = [sum(getattr(b.counts, n) for n in b.counts.__struct_fields__) for b in reading.books]
    counts = (reading.connects, reading.failures, reading.reconnects, reading.rotations)
    return {
        "frames": reading.totals.frames,
        "bytes": reading.totals.bytes,
        "notices": reading.totals.notices,
        "books": sum(books),
        "counts": sum(counts),
    }


def test_counters_never_fall_whatever_happens():
    async def main(world, venue, feed, heard, told):
        last = dict.fromkeys(("frames", "bytes", "notices", "books", "counts"), 0)
        rng = world.seeds.rng("trouble")

        async def trouble():
            while True:
                await asyncio.sleep(rng.uniform(1, 8))
                match rng.choice(["cut", "close", "rotate", "refuse", "rules", "closing"]):
                    case "cut":
                        for line in list(venue.lines):
                            line.ws.transport.abort()
                    case "close":
                        for line in list(venue.lines):
                            await line.ws.close(1001)
                    case "rotate":
                        for line in feed.lines:
                            line.rotate()
                    case "refuse":
                        venue.refuse = not venue.refuse
                    case "rules":
                        venue.listed[0].decimals += 1
                        await venue.move(BTC, px=f"{venue.seqs[BTC]}.{'0' * 9}1")
                    case "closing":
                        with suppress(ConnectionClosed):
                            await venue.tell(kind="closing", text="soon")

        hurting = asyncio.create_task(trouble())
        for _ in range(30_000):
            await asyncio.sleep(0.01)
            seen = total(feed.reading())
            for name, value in seen.items():
                assert value >= last[name], f"{name} fell from {last[name]} to {value}"
            last = seen
        hurting.cancel()
        assert feed.counts.reconnects > 5
        assert feed.counts.rotations > 2
        assert feed.counts.faults == 0

    tried(main)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("when", ["connecting", "live", "closing", "changing", "waiting", "asking"])
def test_a_cancelled_run_leaves_nothing(when, times):
    """No task, no socket, no event after the end; however often it is cancelled."""

    async def whole(world):
        venue, heard = Venue(world, PAIRS), Heard()
        async with venue.open():
            feed = feed_of(world, told=[])
            listed = await feed.instruments()
            before = set(asyncio.all_tasks())
            task = asyncio.create_task(feed.run(listed, heard))
            match when:
                case "connecting":
                    await asyncio.sleep(0.003)
                case "live":
                    await live(feed)
                case "closing":
                    # The venue answers no close: ours waits for it.
                    await live(feed)
                    world.net.link("router", "acme").clog(60)
                case "changing":
                    await live(feed)
                    venue.mute = {"*"}
                    feed.lines[0].rotate()
                    await until(lambda: len(feed.sessions) == 2, 5, "two connections")
                    await asyncio.sleep(0.5)
                case "waiting":
                    await live(feed)
                    venue.refuse = True
                    venue.lines[0].ws.transport.abort()
                    await until(lambda: feed.counts.failures > 2, 20, "failures")
                case "asking":
                    await live(feed)
                    venue.every_s = 0
                    venue.answers["/top"] = lambda _: asyncio.sleep(3)
                    await asyncio.sleep(8)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0.001)
            done_in_s = await until(task.done, 5, "ended", 0.01)
            assert task.cancelled()
            events = len(heard.events)
            await feed.close()
            await asyncio.sleep(0)
            mine = {
                each for each in set(asyncio.all_tasks()) - before
                if "router" in each.get_name() and not each.done()
            }  # fmt: skip
            assert not mine, mine
            await asyncio.sleep(5)
            assert len(heard.events) == events, "nobody speaks after the end"
            assert feed.lines == []
            reading = feed.reading()
            assert reading.totals.frames == feed._totals.frames
            return done_in_s

    assert run(whole, 1, limit_s=300).value <= 2.5


def test_the_listener_hears_every_connection_begin_and_end():
    class Tape:
        def __init__(self):
            self.open, self.log, self.count = {}, [], 0

        def connected(self, url, now_ns):
            self.count += 1
            self.open[f"c{self.count}"] = []
            return f"c{self.count}"

        def received(self, conn, data, now_ns):
            self.open[conn].append(data)

        def sent(self, conn, data, now_ns):
            assert conn in self.open

        def closed(self, conn, why, now_ns):
            self.log.append((len(self.open.pop(conn)), why))

        def answered(self, url, status, body, now_ns):
            pass

    tape = Tape()

    async def main(world, venue, feed, heard, told):
        await live(feed)
        for line in list(venue.lines):
            await line.ws.close(1001, "bye")
        await asyncio.sleep(2)
        await live(feed)

    tried(main, listener=tape)
    assert not tape.open
    assert [why for _, why in tape.log] == ["closed by the venue (1001 bye)", "closed by us"]
    assert all(frames for frames, _ in tape.log)


def test_a_stale_answer_of_a_dead_connection_changes_nothing():
    """A probe that is answered after its connection has gone."""

    async def main(world, venue, feed, heard, told):
        await live(feed)
        venue.every_s = 0

        async def late(head):
            await asyncio.sleep(3)
            return http(200, b'"5"')

        venue.answers["/top"] = late
        await until(lambda: any("/top" in head for _, head in venue.asked), 20, "probe")
        await venue.lines[0].ws.close(1001, "bye")
        await live(feed)
        await asyncio.sleep(5)
        assert feed.counts.faults == 0
        assert losses(heard) == ["closed by the venue (1001 bye)"]

    tried(main, policy=Policy())


def test_a_flood_is_held_back_by_the_socket_not_kept_in_memory():
    """While nobody reads the queue fills to its bound and the venue must wait; nothing is lost."""

    async def main(world, venue, feed, heard, told):
        await live(feed)
        (session,) = feed.sessions
        venue.every_s = 0
        wire, frame = wires(world)[0], kit.Frame(b'{"kind":"ping"}' + b" " * 4_000_000)
        wire.stop_reading("acme")  # what we send gets nowhere: whoever sends waits, at last
        session._out.append(sockets.Send(frame))
        await venue.move(BTC)  # wakes the pump, which sends
        flood = asyncio.create_task(flooding(venue))
        await asyncio.sleep(1)
        queued = feed.reading().queued
        assert 200 <= queued <= 300
        wire.stop_reading("acme", False)
        await flood
        await until(lambda: feed.reading().queued == 0, 10, "read")
        await asyncio.sleep(1)
        btc = session.instruments[0]
        assert told == []
        assert feed.sessions == [session]
        assert session.book(btc).seq == venue.seqs[BTC], "and not one is missing"
        assert session.book_counts(btc).gaps == 0

    async def flooding(venue):
        for _ in range(3_000):
            await venue.move(BTC)

    tried(main)
