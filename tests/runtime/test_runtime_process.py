"""What only a real process, a real clock or a real socket shows: signals, clocks, the page."""

import asyncio
import json
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from hean_router.domain.errors import CommandError
from hean_router.runtime import clock
from hean_router.runtime.loop import loop_factory, run
from hean_router.runtime.metrics_page import serving
from hean_router.telemetry import Metrics

ROOT = Path(__file__).parent.parent.parent

# ------------------------------------------------------------------ signals

PROGRAM = """
import asyncio, sys
from hean_router.runtime import loop
if {plain}:
    loop.loop_factory = lambda: None

async def main():
    print("up", type(asyncio.get_running_loop()).__module__, flush=True)
    try:
        await asyncio.sleep(30)
    finally:
        {ending}
        print("wound up", flush=True)
    {after}

try:
    loop.run(main())
    print("returned", flush=True)
except loop.Interrupted as why:
    print("interrupted", why, flush=True)
except ValueError as why:
    print("raised", why, flush=True)
"""

LOOPS = [True] + ([False] if loop_factory() else [])


def started(plain, ending="pass", after=""):
    code = textwrap.dedent(PROGRAM).format(plain=plain, ending=ending, after=after)
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = child.stdout.readline()
    assert line.startswith("up "), child.stderr.read()
    assert ("uvloop" in line) != plain
    return child


def ended(child):
    out, err = child.communicate(timeout=10)
    return out.split("\n")[:-1], err, child.returncode


@pytest.mark.parametrize("plain", LOOPS, ids=lambda plain: "asyncio" if plain else "uvloop")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_winds_up_in_order(plain, number):
    child = started(plain, ending="await asyncio.sleep(0.05)")
    child.send_signal(number)
    assert ended(child) == (["wound up", f"interrupted {number.name}"], "", 0)


@pytest.mark.parametrize("plain", LOOPS, ids=lambda plain: "asyncio" if plain else "uvloop")
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (signal.SIGINT, signal.SIGINT),
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_the_second_signal_ends_at_once(plain, first, second):
    """Winding up may hang: who asks twice means it."""
    child = started(plain, ending="print('winding', flush=True); await asyncio.sleep(60)")
    child.send_signal(first)
    assert child.stdout.readline() == "winding\n"
    began = time.monotonic()
    child.send_signal(second)
    out, _, code = ended(child)
    assert time.monotonic() - began < 2
    assert code == -second
    assert "wound up" not in out


def test_what_main_raises_while_it_winds_up_is_not_hidden():
    child = started(True, ending="raise ValueError('while closing')")
    child.send_signal(signal.SIGINT)
    assert ended(child)[0] == ["raised while closing"]


def test_a_main_that_ends_well_in_spite_of_a_signal_has_ended_well():
    code = """
    import asyncio
    from hean_router.runtime import loop

    async def main():
        print("up", flush=True)
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return 7

    print(loop.run(main()), flush=True)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "up\n"
    child.send_signal(signal.SIGTERM)
    assert child.communicate(timeout=10)[0] == "7\n"


def test_main_runs_to_its_end_and_its_value_and_fault_come_out():
    async def fine():
        await asyncio.sleep(0)
        return 5

    async def broken():
        raise KeyError("mine")

    async def cancelled():
        raise asyncio.CancelledError

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    assert run(fine()) == 5
    with pytest.raises(KeyError, match="mine"):
        run(broken())
    with pytest.raises(asyncio.CancelledError):
        run(cancelled())
    after = {number: signal.getsignal(number) for number in before}
    assert after[signal.SIGTERM] == before[signal.SIGTERM], "handlers do not stay behind"
    assert after[signal.SIGINT] in {before[signal.SIGINT], signal.default_int_handler}


def test_a_stopped_program_finds_its_books_old_when_it_goes_on():
    """SIGSTOP and SIGCONT, for real: every book is STALE first."""
    code = """
    import asyncio, json, sys
    from random import Random
    from hean_router.runtime.clock import steady_clock
    from hean_router.domain.instrument import Instrument, Pair
    from hean_router.venue import FeedSession, Freshness, Policy
    from tests.runtime.acme import SPEC, Feed, encode

    btc = Instrument(venue="acme", pair=Pair("BTC", "USDT"), symbol="BTC/USDT",
                     px_decimals=0, qty_decimals=0)
    clock = steady_clock()
    session = FeedSession(SPEC, Feed(None, {"BTC/USDT": btc}), [btc], Random(1),
                          Policy(fresh=Freshness(stall_ns=400_000_000)))

    async def main():
        session.opened(clock())
        session.received(encode(kind="snapshot", symbol="BTC/USDT", seq=1).encode(), clock())
        print(json.dumps(session.book(btc).state.value), flush=True)
        while True:
            await asyncio.sleep(0.02)
            if events := [e for e in session.due(clock()) if hasattr(e, "new")]:
                print(json.dumps([events[0].new.value, events[0].reason]), flush=True)
                return

    asyncio.run(main())
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert json.loads(child.stdout.readline()) == "live"
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.6)
        child.send_signal(signal.SIGCONT)
        state, reason = json.loads(child.stdout.readline())
        assert state == "stale"
        assert reason.startswith("this program slept for 0.")
    finally:
        child.kill()
        child.communicate()


# ------------------------------------------------------------------ the clock


class FakeTime:
    CLOCK_BOOTTIME = 7

    def __init__(self):
        self.wall, self.mono, self.boot = 1_000, 50, 500

    def time_ns(self):
        return self.wall

    def monotonic_ns(self):
        return self.mono

    def clock_gettime_ns(self, which):
        assert which == self.CLOCK_BOOTTIME
        return self.boot


def test_the_clock_begins_at_the_walls_time_and_never_follows_it(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(clock, "time", fake)
    now_ns = clock.steady_clock()
    assert now_ns() == 1_000
    fake.wall -= 700  # somebody sets it back
    assert now_ns() == 1_000
    fake.wall += 10**12
    assert now_ns() == 1_000
    fake.boot += 3
    assert now_ns() == 1_003


def test_the_clock_goes_on_while_the_machine_sleeps(monkeypatch):
    """A suspended machine's monotonic clock stands still: books would have looked young."""
    fake = FakeTime()
    monkeypatch.setattr(clock, "time", fake)
    now_ns = clock.steady_clock()
    fake.boot += 600 * 10**9  # ten minutes of sleep, of which monotonic_ns knows nothing
    assert now_ns() == 1_000 + 600 * 10**9


def test_without_such_a_clock_the_monotonic_one_serves(monkeypatch):
    class Lesser(FakeTime):
        CLOCK_BOOTTIME = None

    fake = Lesser()
    monkeypatch.setattr(clock, "time", fake)
    now_ns = clock.steady_clock()
    fake.mono += 5
    assert now_ns() == 1_005


def test_the_real_clock_never_goes_back_and_is_near_the_walls():
    now_ns = clock.steady_clock()
    seen = [now_ns() for _ in range(20_000)]
    assert seen == sorted(seen)
    assert abs(now_ns() - clock.wall_ns()) < 10**9


# ------------------------------------------------------------------ the page


def page(work):
    """Serve an empty page on a free port and do `work(url)`."""

    async def main():
        async with serving(Metrics(list, time.monotonic_ns), "127.0.0.1", 0) as url:
            return await work(url)

    return asyncio.run(main())


async def get(url, path="/metrics", method="GET"):
    host, port = url.split("/")[2].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 2)
    writer.close()
    return answer


def test_the_page_is_served_as_prometheus_wants_it():
    async def work(url):
        return await get(url), await get(url, "/"), await get(url, "/metrics", "POST")

    ok, elsewhere, posted = page(work)
    assert ok.startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Type: text/plain; version=" in ok
    assert b"# TYPE hean_feed_frames_total counter" in ok
    assert elsewhere.startswith(b"HTTP/1.1 404")
    assert posted.startswith(b"HTTP/1.1 405")


def test_a_port_in_use_is_one_clear_error():
    async def work(url):
        port = int(url.rpartition(":")[2].partition("/")[0])
        with pytest.raises(CommandError) as caught:
            async with serving(Metrics(list, lambda: 0), "127.0.0.1", port):
                pass
        return caught.value, port

    fault, port = page(work)
    assert str(fault) == f"cannot serve metrics on 127.0.0.1:{port}: Address already in use"
    assert "metrics.port" in fault.fix


def test_an_address_that_is_not_ours_is_one_clear_error():
    async def main():
        async with serving(Metrics(list, lambda: 0), "192.0.2.1", 0):
            pass

    with pytest.raises(CommandError, match=r"cannot serve metrics on 192\.0\.2\.1:0: "):
        asyncio.run(main())


def test_readers_that_do_not_read_do_not_keep_the_program_from_ending():
    async def main():
        async with serving(Metrics(list, time.monotonic_ns), "127.0.0.1", 0) as url:
            host, port = url.split("/")[2].split(":")
            slow = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
            slow[0][1].write(b"GET /metrics HTTP/1.1\r\n")  # and never the rest
            slow[1][1].write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 2_000)  # and reads none
            await asyncio.sleep(0.1)
            began = time.monotonic()
        took_s = time.monotonic() - began
        for _, writer in slow:
            writer.close()
        return took_s

    assert asyncio.run(main()) < 1.8


def test_a_page_that_fails_does_not_fail_for_ever():
    broken = [True]

    def read():
        if broken:
            broken.pop()
            raise ZeroDivisionError("a reading")
        return []

    async def main():
        async with serving(Metrics(read, time.monotonic_ns), "127.0.0.1", 0) as url:
            return await get(url), await get(url)

    first, second = asyncio.run(main())
    assert first.startswith(b"HTTP/1.1 500")
    assert second.startswith(b"HTTP/1.1 200")
