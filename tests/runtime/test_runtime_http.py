"""REST dialogues against answers of every bad kind, in virtual time."""

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from email.utils import formatdate

import aiohttp
import pytest

from hean_router import kit
from hean_router.domain.errors import Unreachable, VenueError
from hean_router.domain.venue import RateLimit
from hean_router.runtime import http as http_module
from hean_router.runtime.http import Http
from hean_router.runtime.limits import Limits, held_s
from hean_router.sim.virtual import run, virtual_connector
from tests.runtime.acme import CONNECTOR, HOSTS, S, Venue, connector, http

SPOT, LINEAR = kit.Part.SPOT, kit.Part.LINEAR


def one(path="/x", **fields):
    """A dialogue of one question, which returns the answer."""
    return (yield kit.HttpRequest(path=path, **fields))


def face_of(world, made=CONNECTOR, hosts=HOSTS, **options):
    clock = world.net.clock("router")
    return Http(made.spec, hosts, clock, virtual_connector, **options)


def tried(main, seed=1, limit_s=4_000):
    """Run `main(world, venue, face)`; nothing is left open behind it."""

    async def whole(world):
        venue = Venue(world, ["BTC/USDT"])
        async with venue.open():
            face = face_of(world)
            try:
                return await main(world, venue, face)
            finally:
                await face.close()
                await asyncio.sleep(0.5)

    ran = run(whole, seed, limit_s=limit_s)
    assert not ran.left_open, ran.left_open
    return ran.value


async def timed(world, work):
    """What came of it: its result or its fault, and how long it took in seconds."""
    began_ns = world.now_ns
    try:
        value = await work
    except VenueError as fault:
        value = fault
    return value, (world.now_ns - began_ns) / S


# ------------------------------------------------------------------ being told to wait


@pytest.mark.parametrize(
    ("status", "header", "wait_s"),
    [
        (429, "Retry-After: 7", 7),
        (429, "Retry-After: 0", 0),  # the venue says: at once
        (429, "", 10),
        (429, "Retry-After: soon", 10),
        (429, "Retry-After: -5", 10),
        (429, "Retry-After: 1.5", 10),
        (429, "Retry-After: ٣", 10),  # a digit, but of no header
        (429, f"Retry-After: {'9' * 5000}", 3 * 86_400),  # more than Python reads as a number
        (418, "Retry-After: 25", 25),
        (418, "", 120),
        (403, "", 600),
        (403, "Retry-After: 20", 20),
        (503, "Retry-After: 9", 9),
        (503, "", 0),  # an ordinary failure: the session's own backoff is enough
        (500, "Retry-After: 9", 0),
        (200, "Retry-After: 9", 0),
    ],
)
def test_nobody_asks_while_the_venue_says_wait(status, header, wait_s):
    async def main(world, venue, face):
        venue.answers["/x"] = http(
            status, b"no", [header.encode().decode("latin1")] if header else []
        )
        answer = await face.ask(SPOT, one())
        assert answer.status == status, "what it means is the dialogue's business"
        venue.answers["/x"] = http(200, b"ok")
        asked = len(venue.asked)
        got, took_s = await timed(world, face.ask(SPOT, one()))
        if wait_s > 30:
            assert isinstance(got, VenueError)
            assert took_s == 0, "it fails at once: nobody waits that long"
            assert f"held back by the venue's limit (HTTP {status}) for {wait_s} s" in str(got)
            assert len(venue.asked) == asked, "and nothing was sent"
            if wait_s > 1_000:
                return
            await asyncio.sleep(wait_s)
            got = await face.ask(SPOT, one())
        else:
            assert wait_s <= took_s < wait_s + 0.1
        assert got.status == 200

    tried(main)


def test_retry_after_may_name_a_moment(monkeypatch):
    now_ns = 1_767_225_600 * S
    assert held_s(429, {"retry-after": formatdate(now_ns // S + 90, usegmt=True)}, now_ns) == 90
    assert held_s(429, {"retry-after": formatdate(now_ns // S - 90, usegmt=True)}, now_ns) == 0
    assert held_s(429, {"retry-after": "Wed, 99 Foo 2026 00:00:00 GMT"}, now_ns) == 10


def test_a_ban_shuts_every_bucket_and_a_limit_only_its_own():
    async def main(world, venue, face):
        venue.answers["/x"] = http(429)
        await face.ask(SPOT, one(bucket="slow"))
        venue.answers["/x"] = http(200)
        _, took_s = await timed(world, face.ask(SPOT, one()))
        assert took_s < 0.1, "another bucket goes on"
        venue.answers["/x"] = http(403)
        await face.ask(SPOT, one())
        for bucket in ("rest", "slow", "never used yet"):
            fault, took_s = await timed(world, face.ask(SPOT, one(bucket=bucket)))
            assert "HTTP 403" in str(fault), "an address that is banned asks nothing at all"
            assert took_s == 0

    tried(main)


def test_the_hold_counts_even_if_the_body_is_broken():
    """The status and its header were plain; what followed does not make them untrue."""

    async def main(world, venue, face):
        venue.answers["/x"] = (
            b"HTTP/1.1 429 no\r\nRetry-After: 40\r\nContent-Length: 99\r\n\r\nhalf"
        )
        fault, _ = await timed(world, face.ask(SPOT, one()))  # and then: silence
        assert isinstance(fault, VenueError)
        fault, took_s = await timed(world, face.ask(SPOT, one()))
        assert "held back" in str(fault)
        assert took_s == 0

    tried(main)


def test_who_waits_already_when_a_ban_comes_is_told_within_the_patience():
    async def main(world, venue, face):
        made = face.spec.rest_limits["slow"].capacity * 8 // 10
        await asyncio.gather(*(face.ask(SPOT, one(bucket="slow")) for _ in range(made)))
        waiting = asyncio.create_task(timed(world, face.ask(SPOT, one(bucket="slow"))))
        await asyncio.sleep(1)
        venue.answers["/x"] = http(403)
        await face.ask(SPOT, one())
        asked = len(venue.asked)
        fault, took_s = await waiting
        assert "HTTP 403" in str(fault)
        assert took_s <= 30
        assert len(venue.asked) == asked

    tried(main)


# ------------------------------------------------------------------ limits


def spaced(times_ns, capacity, per_ns):
    """No stretch of `per_ns` holds more than `capacity` of `times_ns`."""
    return all(
        sum(begin <= other < begin + per_ns for other in times_ns) <= capacity for begin in times_ns
    )


def test_concurrent_asks_share_the_limit():
    async def main(world, venue, face):
        await asyncio.gather(*(face.ask(SPOT, one(bucket="slow")) for _ in range(20)))
        return [at_ns for at_ns, _ in venue.asked]

    times_ns = tried(main)
    assert len(times_ns) == 20
    assert spaced(times_ns, 10, 10 * S), "as the venue counts them"


def test_parts_on_one_address_share_the_limit_and_other_addresses_do_not():
    """Each part once had limits of its own: together they asked 1.6 times what is allowed."""

    async def main(world, venue, face):
        limits = face.limits
        linear = face_of(world, limits=limits)
        asks = [each.ask(SPOT, one(bucket="slow")) for each in (face, linear) for _ in range(10)]
        await asyncio.gather(*asks)
        assert spaced([at_ns for at_ns, _ in venue.asked], 10, 10 * S)
        world.net.dns["other"] = "acme"
        other = face_of(world, hosts={"rest": "http://other"}, limits=limits)
        _, took_s = await timed(world, other.ask(SPOT, one(bucket="slow")))
        assert took_s < 0.1
        await linear.close()
        await other.close()

    tried(main)


def test_a_dear_request_is_not_starved_by_cheap_ones():
    async def main(world, venue, face):
        order = []

        async def ask(name, cost):
            await face.ask(SPOT, one(bucket="slow", cost=cost))
            order.append(name)

        tasks = [asyncio.create_task(ask("first", 8)), asyncio.create_task(ask("dear", 8))]
        await asyncio.sleep(1)
        for number in range(16):  # one a second, each of which fits long before the dear one
            tasks.append(asyncio.create_task(ask(number, 1)))
            await asyncio.sleep(1)
        await asyncio.gather(*tasks)
        return order

    order = tried(main)
    assert order[:2] == ["first", "dear"]
    assert order[2:] == sorted(order[2:]), "first come, first served"


def test_a_queue_longer_than_the_patience_is_refused():
    async def main(world, venue, face):
        asks = [timed(world, face.ask(SPOT, one(bucket="slow"))) for _ in range(60)]
        done = await asyncio.gather(*asks)
        served = [got for got, _ in done if not isinstance(got, VenueError)]
        refused = [got for got, _ in done if isinstance(got, VenueError)]
        assert 24 <= len(served) <= 40
        assert all("no turn within 30 s" in str(fault) for fault in refused)
        assert max(took_s for _, took_s in done) < 30.2
        assert len(venue.asked) == len(served), "who was refused has sent nothing"
        await asyncio.sleep(10)
        _, took_s = await timed(world, face.ask(SPOT, one(bucket="slow")))
        assert took_s < 0.1, "who gave up holds nobody's place"

    tried(main)


def test_a_cancelled_wait_gives_its_turn_away():
    async def main(world, venue, face):
        await face.ask(SPOT, one(bucket="slow", cost=8))
        waiting = [
            asyncio.create_task(face.ask(SPOT, one(bucket="slow", cost=8))) for _ in range(2)
        ]
        await asyncio.sleep(1)
        waiting[0].cancel()
        _, took_s = await timed(world, waiting[1])
        assert took_s < 10

    tried(main)


# ------------------------------------------------------------------ bad answers


def read(answer):
    """As connectors do."""
    import msgspec

    if answer.status != 200:
        raise VenueError(f"HTTP {answer.status}")
    return msgspec.json.decode(answer.body, type=dict[str, int])["px"]


def price():
    answer = yield kit.HttpRequest(path="/x")
    return read(answer)


BODY = b'{"px":1}'


async def cut(_head):
    return None


async def trickle():
    """A byte a second, for ever."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    while True:
        await asyncio.sleep(1)
        yield b"x"


async def late_head():
    yield b"HTTP/1.1 200 OK\r\nX-Slow: "
    while True:
        await asyncio.sleep(1)
        yield b"x"


async def bodiless(head):
    await asyncio.sleep(60)
    return http(200, BODY)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (http(500, b"{}"), "HTTP 500"),
        (http(502, b"<html>Bad Gateway</html>", ["Content-Type: text/html"]), "HTTP 502"),
        (http(504), "HTTP 504"),
        (http(301, b"", ["Location: http://acme/elsewhere"]), "HTTP 301"),
        (http(200, b"<html>busy</html>", ["Content-Type: application/json"]), "unreadable"),
        (http(200, b""), "unreadable"),
        (http(204), "HTTP 204"),
        (http(200, BODY[:-1]), "unreadable"),
        (http(200, b"[]"), "unreadable"),
        (http(200, b"{}"), "unreadable answer (KeyError"),
        (http(200, b'{"px":"\xff"}'), "unreadable"),
        (http(200, b"[" * 100_000), "unreadable"),  # deeper than any decoder likes
        (http(200, BODY, ["Content-Encoding: gzip"]), "Can not decode"),
        (http(200, gzip.compress(BODY, mtime=0)[:15], ["Content-Encoding: gzip"]), ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{}", "no answer within 10 s"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}", "chunk size"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", ""),
        (b"\x16\x03\x01\x02\x00garbage\r\n\r\n", ""),
        (b"\r\n\r\n\r\n", ""),
        (cut, "Disconnected"),
        (lambda _: trickle(), "no answer within 10 s"),
        (lambda _: late_head(), "no answer within 10 s"),
        (bodiless, "no answer within 10 s"),
    ],
)
def test_an_answer_that_is_none_is_the_venues_fault_and_bounded_in_time(answer, words):
    async def main(world, venue, face):
        venue.answers["/x"] = answer
        fault, took_s = await timed(world, face.ask(SPOT, price()))
        assert isinstance(fault, VenueError), fault
        assert words in str(fault)
        assert "\n" not in str(fault), "one line"
        assert took_s < 10.1
        assert not any("elsewhere" in head for _, head in venue.asked), "no redirect is followed"
        venue.answers["/x"] = http(200, BODY)
        assert await face.ask(SPOT, price()) == 1, "the next question is answered as ever"

    tried(main)


def test_a_wrong_content_type_or_none_does_not_matter():
    async def main(world, venue, face):
        for header in ("Content-Type: text/plain", "Content-Type: image/png; x", "X: y"):
            venue.answers["/x"] = http(200, BODY, [header])
            assert await face.ask(SPOT, price()) == 1
        venue.answers["/x"] = http(200, gzip.compress(BODY, mtime=0), ["Content-Encoding: gzip"])
        assert await face.ask(SPOT, price()) == 1
        venue.answers["/x"] = http(200, zlib.compress(BODY), ["Content-Encoding: deflate"])
        assert await face.ask(SPOT, price()) == 1

    tried(main)


def hostile(kind):
    """A dialogue that stumbles over what it reads."""
    yield kit.HttpRequest(path="/x")
    match kind:
        case "decimal":
            from decimal import Decimal

            return Decimal("NaN") < 1  # InvalidOperation is no ValueError
        case "assert":
            return kit.Instrument(
                venue="acme", pair=kit.Pair("A", "B"), symbol="AB", px_decimals=0,
                qty_decimals=0, tick=0,
            )  # fmt: skip
        case "zero":
            return 1 // 0
        case "none":
            return None.symbol
        case "index":
            return list(kind)[99]


@pytest.mark.parametrize("kind", ["decimal", "assert", "zero", "none", "index"])
def test_whatever_reading_an_answer_raises_is_a_venues_fault(kind):
    async def main(world, venue, face):
        venue.answers["/x"] = http(200, BODY)
        fault, _ = await timed(world, face.ask(SPOT, hostile(kind)))
        assert isinstance(fault, VenueError)
        assert "/x: unreadable answer" in str(fault)
        assert "px" in str(fault), "it shows what was said"

    tried(main)


def test_a_reset_in_the_middle_of_a_body():
    async def main(world, venue, face):
        venue.answers["/x"] = http(200, b"x" * 50_000)
        world.net.link("router", "acme").cut_after(10_000, sender="acme")
        fault, took_s = await timed(world, face.ask(SPOT, one()))
        assert isinstance(fault, VenueError)
        assert took_s < 1
        assert len((await face.ask(SPOT, one())).body) == 50_000

    tried(main)


def test_an_answer_after_the_deadline_is_not_taken_for_the_next_ones():
    async def main(world, venue, face):
        async def slowly(head):
            await asyncio.sleep(11)
            return http(200, b'{"px":11}')

        venue.answers["/x"] = slowly
        fault, _ = await timed(world, face.ask(SPOT, price()))
        assert "no answer within 10 s" in str(fault)
        venue.answers["/x"] = http(200, BODY)
        assert await face.ask(SPOT, price()) == 1
        await asyncio.sleep(5)
        assert await face.ask(SPOT, price()) == 1

    tried(main)


@pytest.mark.parametrize("compressed", [True, False])
def test_an_endless_answer_costs_no_more_than_the_longest_honest_one(monkeypatch, compressed):
    """A bomb of 200 MB in 200 kB, or as many plain bytes: given up at the bound."""
    monkeypatch.setattr(http_module, "BODY_MAX", 4 << 20)
    whole = 200 << 20
    bomb = gzip.compress(bytes(whole), 9, mtime=0) if compressed else b""

    async def plain():
        yield f"HTTP/1.1 200 OK\r\nContent-Length: {whole}\r\n\r\n".encode()
        for _ in range(whole >> 16):
            await asyncio.sleep(0.0001)
            yield bytes(1 << 16)

    async def main(world, venue, face):
        venue.answers["/x"] = (
            http(200, bomb, ["Content-Encoding: gzip"]) if compressed else lambda _: plain()
        )
        tracemalloc.start()
        try:
            fault, _ = await timed(world, face.ask(SPOT, one()))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert "answer larger than 4 MiB" in str(fault)
        return peak

    assert tried(main) < 24 << 20


def test_a_long_honest_answer_in_small_pieces_is_put_together_quickly():
    """20 MB in 16 kB pieces: appending each to the whole copied 12 GB."""
    import time

    size = 20_000_000

    async def main(world, venue, face):
        world.net.link("router", "acme").shape(segment=16_384, sender="acme")
        venue.answers["/x"] = http(200, bytes(size))
        began = time.process_time()
        answer = await face.ask(SPOT, one(), 600)
        assert len(answer.body) == size
        return time.process_time() - began

    assert tried(main) < 3


# ------------------------------------------------------------------ not reaching it


@pytest.mark.parametrize(
    ("hurt", "step"),
    [
        ("unknown", "DNS"),
        ("resolver", "DNS"),
        ("refused", "connect"),
        ("unroutable", "connect"),
    ],
)
def test_a_venue_that_is_not_reached_says_at_which_step(hurt, step):
    async def main(world, venue, face):
        match hurt:
            case "unknown":
                world.net.dns["acme"] = socket.gaierror(socket.EAI_NONAME, "not known")
            case "resolver":
                world.net.dns["acme"] = world.net.dns.failure()
            case "refused":
                world.net.link("router", "acme").refuse()
            case "unroutable":
                world.net.dns["acme"] = "10.9.9.9"
        fault, took_s = await timed(world, face.ask(SPOT, one()))
        assert isinstance(fault, Unreachable)
        assert fault.step == step
        assert fault.fix
        assert took_s < 10.1

    tried(main)


@pytest.mark.parametrize("hurt", ["dns", "syn", "hole"])
def test_silence_is_bounded_by_the_timeout(hurt):
    async def main(world, venue, face):
        match hurt:
            case "dns":
                world.net.dns["acme"] = None
            case "syn":
                world.net.link("router", "acme").blackhole()
            case "hole":
                await face.ask(SPOT, one())
                world.net.link("router", "acme").blackhole()
        fault, took_s = await timed(world, face.ask(SPOT, one(), 7))
        assert isinstance(fault, VenueError)
        assert took_s <= 7.1
        world.net.link("router", "acme").heal()
        world.net.dns["acme"] = "acme"
        venue.answers["/x"] = http(200, BODY)
        assert await face.ask(SPOT, price()) == 1

    tried(main)


@pytest.mark.parametrize("rest", ["None", "http://", "http://acme:x", "http://[acme", "http://:80"])
def test_an_address_that_is_none_is_no_crash(rest):
    async def main(world, venue, _):
        face = face_of(world, hosts={"rest": rest})
        fault, _ = await timed(world, face.ask(SPOT, one()))
        assert isinstance(fault, VenueError)
        await face.close()

    tried(main)


# ------------------------------------------------------------------ what is sent


@pytest.mark.parametrize(
    "query",
    [
        "symbol=BTC%2FUSDT&limit=5",
        "symbol=BTC/USDT",
        "a=%7e&b=~&c=%2B&d=+&e=%e2%82%ac&f=%E2%82%AC",
        'symbols=["BTCUSDT","ETHUSDT"]'.replace('"', "%22"),
        "z=1&a=2&z=0",
        "empty=&bare",
        "q=a%20b;c,d:e@f!$'()*",
    ],
)
def test_the_query_is_sent_to_the_letter(query):
    """Signatures are over these very bytes."""

    async def main(world, venue, face):
        await face.ask(SPOT, one(query=query))
        return venue.asked[-1][1]

    assert tried(main).startswith(f"GET /x?{query} HTTP/1.1\r\n")


def test_headers_of_the_environment_go_with_every_request():
    async def main(world, venue, _):
        face = face_of(world, headers={"x-simulated-trading": "1", "x-both": "env"})
        await face.ask(SPOT, one(headers={"x-own": "2", "x-both": "own"}))
        await face.ask(LINEAR, one("/y", method="POST", body=b"{}"))
        await face.close()
        return [head.lower() for _, head in venue.asked]

    first, second = tried(main)
    assert "\r\nx-simulated-trading: 1\r\n" in first
    assert "\r\nx-simulated-trading: 1\r\n" in second
    assert "\r\nx-own: 2\r\n" in first
    assert "\r\nx-both: own\r\n" in first, "what a request says is meant"
    assert second.startswith("post /y http/1.1\r\n")
    assert "content-length: 2\r\n" in second


def test_okx_demo_is_told_from_the_live_venue_by_its_header(monkeypatch):
    """The whole way: settings, target, router, wire."""
    from hean_router.app import Router, targets
    from hean_router.config import Settings, VenueSettings

    hosts = {"rest": "http://acme", "ws": "ws://acme:81"}
    settings = Settings(venues={"okx": VenueSettings(env="demo", hosts=hosts)})

    async def main(world, venue, face):
        router = Router(
            settings,
            targets(settings),
            [kit.Pair.parse("BTC/USDT")],
            clock=world.net.clock("router"),
            connector=virtual_connector,
            tell=lambda _: None,
        )
        async with router.running():
            await asyncio.sleep(2)
        return [head.lower() for _, head in venue.asked]

    asked = tried(main)
    assert asked
    assert all("\r\nx-simulated-trading: 1\r\n" in head for head in asked)


def test_the_parts_of_a_venue_have_their_own_hosts():
    face = Http(CONNECTOR.spec, {**HOSTS, "linear.rest": "http://other/base/"}, lambda: 0)
    request = kit.HttpRequest(path="/x", query="a=b")
    assert str(face.url(SPOT, request)) == "http://acme/x?a=b"
    assert str(face.url(LINEAR, request)) == "http://other/base/x?a=b"


def test_close_leaves_nothing_open_and_may_be_called_twice():
    async def main(world, venue, face):
        await asyncio.gather(*(face.ask(SPOT, one()) for _ in range(5)))
        assert world.net.connections("router", "acme")
        await face.close()
        await face.close()
        await asyncio.sleep(0.1)
        assert not world.net.connections("router", "acme")
        assert (await face.ask(SPOT, one())).status == 404, "and it can begin anew"

    tried(main)


def test_a_cancelled_question_leaves_nothing():
    async def main(world, venue, face):
        venue.answers["/x"] = bodiless
        asking = asyncio.create_task(face.ask(SPOT, one()))
        await asyncio.sleep(1)
        asking.cancel()
        await asyncio.wait({asking})
        assert asking.cancelled()
        (connection,) = world.net.connections("router", "acme")  # the venue does not look yet
        assert connection.up.sender.is_closing()

    tried(main)


def test_a_dialogue_is_closed_however_it_ends():
    closed = []

    def asking():
        try:
            yield kit.HttpRequest(path="/x")
            yield kit.HttpRequest(path="/x")
        finally:
            closed.append(True)

    async def main(world, venue, face):
        venue.answers["/x"] = cut
        await timed(world, face.ask(SPOT, asking()))
        assert closed == [True]

    tried(main)


def test_limits_of_a_bucket_nobody_described_still_hold_back():
    gate = Limits(connector(rest_limits={}).spec, lambda: 5).rest("http://acme/x", "odd")
    gate.block(100 * S, "HTTP 429")
    with pytest.raises(VenueError, match="HTTP 429"):
        asyncio.run(gate.wait(1, 30 * S))


def test_a_limit_of_one_is_kept_with_its_share():
    """80 % of one is none; one is what is taken."""
    limits = Limits(connector(rest_limits={"rest": RateLimit(1, 1_000)}).spec, lambda: 0)
    asyncio.run(limits.rest("http://acme/x", "rest").wait(1, S))
    with pytest.raises(VenueError, match="held back"):
        asyncio.run(limits.rest("http://acme/x", "rest").wait(1, S // 2))


# ------------------------------------------------------------------ TLS, on real sockets


def test_a_certificate_that_nobody_vouches_for(tmp_path):
    """The virtual net has no TLS: this one is on loopback."""
    import shutil
    import ssl
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=localhost", "-days", "1"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)

    async def main():
        async def talk(reader, writer):
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        clock = asyncio.get_running_loop().time
        face = Http(
            CONNECTOR.spec,
            {"rest": f"https://localhost:{port}"},
            lambda: int(clock() * S),
            direct=True,
        )
        try:
            await face.ask(SPOT, one(), 5)
        finally:
            await face.close()
            server.close()

    with pytest.raises(Unreachable) as caught:
        asyncio.run(main())
    assert caught.value.step == "TLS"
    assert "certificate" in str(caught.value).lower()


def test_the_session_of_a_real_loop_has_no_timeout_but_ours():
    async def main():
        face = Http(CONNECTOR.spec, HOSTS, lambda: 0, direct=True)
        try:
            return face._client().timeout
        finally:
            await face.close()

    assert asyncio.run(main()) == aiohttp.ClientTimeout(total=None, sock_connect=None)
