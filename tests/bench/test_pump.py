"""The whole pump: a sender's socket, websockets, sessions, the consolidated book.

Another process sends the recorded mix over loopback sockets at 5,000 frames a second.  For each
frame that moves a book: the time from handing it to the sender's socket to having the best bid and
ask of the consolidated book, both by the machine's monotonic clock.  This is wall time: what else
the machine does counts.  Aim: p99 within 5 ms.
"""

import asyncio
import contextlib
import gc
import pickle
import sys
import time
from array import array
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from hean_router.domain.errors import VenueError
from hean_router.domain.instrument import Side
from hean_router.domain.venue import Fees
from hean_router.runtime.market import Market
from hean_router.runtime.sockets import FeedSocket
from hean_router.telemetry import Timing
from hean_router.venue import BookMoved, FeedSession, by_symbol, registry
from tests.bench import meter, mixed

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

RATE, SECONDS = 5_000, 8
BARE = "uvloop, websockets only"  # reads every frame and does nothing: what the rest of it costs
ATTEMPTS = 2
CPU_MAX = 0.8
AIM_P99_MS = 5.0
FEES = Fees(taker=Decimal("0.001"), maker=Decimal(0))
BUSY = 0.02  # of the time spent waiting for a core: then the delays are not ours to judge
WIDTHS = (24, 9, 9, 9, 9, 9, 11, 13, 9)
TITLES = (
    "pump at 5,000 a second", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "frames", "µs a frame",
    "cpu, sender", "waited",
)  # fmt: skip
EARLY_S = 1.0  # a connection is opened this long before its first frame is due


class Answers:
    """In the place of `Http`: a depth answer is the recorded one, anything else fails."""

    direct = True

    def __init__(self, stream: mixed.Stream) -> None:
        self._stream = stream

    async def ask(self, part: Any, ask: Any, timeout_s: float = 0) -> Any:
        request = next(ask)
        ask.close()
        asked = request.path.endswith("/depth") and ask.__name__ != "probe"
        if not asked or not self._stream.answers:
            raise VenueError(f"{request.path}: not recorded")
        (one,) = self._stream.instruments
        book_in = registry.connector(one.venue).book_in
        return book_in(self._stream.answers[0], "", {one.symbol: one})


class Counter:
    """Hears the frames of one connection: which of them is being read."""

    def __init__(self) -> None:
        self.frame = -1

    def connected(self, url: str, now_ns: int) -> str:
        return url

    def received(self, conn: str, data: bytes, now_ns: int) -> None:
        self.frame += 1

    def sent(self, conn: str, data: bytes, now_ns: int) -> None: ...

    def closed(self, conn: str, why: str, now_ns: int) -> None: ...

    def answered(self, url: str, status: int, body: bytes, now_ns: int) -> None: ...


@dataclass
class Result:
    latencies_ns: list[int]
    frames: int
    moved: int
    cpu: float  # of one core
    sender_cpu: float
    took_s: float
    applied_us: float  # a frame, from its read to its end; wall time
    waited: float  # of the time: ready to run, and others had the cores

    def part_ms(self, part: float) -> float:
        """The latency that `part` of the frames stayed within."""
        return self.latencies_ns[min(int(len(self.latencies_ns) * part), self.moved - 1)] / 1e6


class Pump:
    """Everything behind the sockets."""

    def __init__(self, mix: mixed.Mix, port: int, *, bare: bool) -> None:
        self.mix, self.port, self._only_read = mix, port, bare
        self.seen = [array("q") for _ in mix.streams]  # per stream: frame, time, by turns
        self.timing = Timing()
        self.market = Market(sorted({
            one.pair for stream in mix.streams for one in stream.instruments
        }))  # fmt: skip
        seats: dict[Any, dict[Any, Any]] = {}
        for stream in mix.streams:
            for one in stream.instruments:
                seats.setdefault((one.venue, one.part), {})[one.pair] = one
        for (venue, part), listed in seats.items():
            self.market.join(venue, part, list(listed.values()), FEES)

    def socket(self, number: int) -> FeedSocket:
        """The connection of a stream, as a venue's feed makes it."""
        stream = self.mix.streams[number]
        connector = registry.connector(stream.instruments[0].venue)
        # The mix is quicker than the venues are, and its connections short: no dead ones to find.
        spec = msgspec.structs.replace(connector.spec, silence_ms=0, ping_every_ms=0)
        codec = connector.feed(stream.part, by_symbol(stream.instruments))
        session = FeedSession(spec, codec, stream.instruments, Random(number))
        counter, seen = Counter(), self.seen[number]
        tell, books = self.market.sink(spec.id), self.market
        clock = time.monotonic_ns

        def sink(_session: FeedSession, events: Any, now_ns: int) -> None:
            tell(events, now_ns)
            for event in events:
                if type(event) is BookMoved:
                    view = books.book(event.instrument.pair)
                    view.best(Side.BUY)
                    view.best(Side.SELL)
                    seen.append(counter.frame)
                    seen.append(clock())
                    break

        return FeedSocket(
            f"ws://127.0.0.1:{self.port}/{number}",
            session,
            stream.part,
            Answers(stream),
            clock,
            sink,
            listener=counter,
            timing=self.timing,
        )

    async def bare(self, number: int) -> None:
        """A connection that is read and no more."""
        seen, clock, frame = self.seen[number], time.monotonic_ns, 0
        url = f"ws://127.0.0.1:{self.port}/{number}"
        async with connect(url, compression=None, max_queue=256, ping_interval=None) as socket:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await socket.recv(decode=False)
                    seen.append(frame)
                    seen.append(clock())
                    self.timing.observe(0)
                    frame += 1

    async def open_in_time(self, group: asyncio.TaskGroup, began: "asyncio.Future[float]") -> None:
        """Open each connection shortly before its first frame is due."""
        loop = asyncio.get_running_loop()
        start: float | None = None
        for number, stream in sorted(enumerate(self.mix.streams), key=lambda one: one[1].first):
            due = stream.first / RATE - EARLY_S
            if due > 0:
                start = await began if start is None else start
                await asyncio.sleep(max(0.0, start + due - loop.time()))
            group.create_task(self.bare(number) if self._only_read else self.socket(number).run())


async def measure(mix: mixed.Mix, folder: Path, *, bare: bool) -> Result:
    file, times = folder / "mix", folder / "times"
    file.write_bytes(pickle.dumps((len(mix.streams), mix.frames)))
    sender = await asyncio.create_subprocess_exec(
        sys.executable, str(Path(__file__).with_name("pump_sender.py")), str(file), str(RATE),
        str(times), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert sender.stdin is not None
    assert sender.stdout is not None
    try:
        pump = Pump(mix, int(await sender.stdout.readline()), bare=bare)
        loop = asyncio.get_running_loop()
        began: asyncio.Future[float] = loop.create_future()
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as group:
                opener = group.create_task(pump.open_in_time(group, began))
                await asyncio.sleep(1.0)
                gc.collect()
                gc.freeze()
                cpu, waited_ns = time.process_time(), _waited_ns()
                sender.stdin.write(b"go\n")
                began.set_result(loop.time())
                took_ns, sender_cpu_ns = map(int, (await sender.stdout.readline()).split())
                cpu, waited_ns = time.process_time() - cpu, _waited_ns() - waited_ns
                await asyncio.sleep(0.5)  # what is still under way
                sender.stdin.write(b"end\n")
                opener.cancel()
                await sender.wait()
    finally:
        gc.unfreeze()
        if sender.returncode is None:
            sender.kill()
            await sender.wait()
    sent = array("q")
    sent.frombytes(times.read_bytes())
    return _result(mix, pump, sent, took_ns / 1e9, (cpu, sender_cpu_ns / 1e9, waited_ns / 1e9))


def _waited_ns() -> int:
    """How long this thread has waited for a core so far; 0 where the system does not say."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def _result(
    mix: mixed.Mix, pump: Pump, sent: "array[int]", took_s: float, spent: tuple[float, ...]
) -> Result:
    cpu, sender_cpu, waited = (seconds / took_s for seconds in spent)
    places: list[list[int]] = [[] for _ in mix.streams]  # by stream and frame: which of the mix
    for number, (stream, _) in enumerate(mix.frames):
        places[stream].append(number)
    latencies, moved = [], 0
    for place, seen in zip(places, pump.seen, strict=True):
        for frame, at_ns in zip(seen[::2], seen[1::2], strict=True):
            moved += 1
            if frame >= 0:
                latencies.append(at_ns - sent[place[frame]])
    count = pump.timing.count
    return Result(
        sorted(latencies), count, moved, cpu, sender_cpu, took_s,
        pump.timing.total_ns / max(1, count) / 1_000, waited,
    )  # fmt: skip


@cache
def _mix() -> mixed.Mix:
    return mixed.mix(RATE * SECONDS)


def _uvloop() -> Any:
    return pytest.importorskip("uvloop").Loop


@pytest.mark.parametrize("name", ["uvloop", "asyncio", BARE])
def test_pump(name, tmp_path):
    mix = _mix()
    if name == "uvloop":
        count = f"{len(mix.frames):,} frames, {len(mix.streams)} connections"
        print(f"\n\n{mix.source}: {count}, {mixed.told(mix)}")
        print(meter.row(*TITLES, widths=WIDTHS))
    factory = None if name == "asyncio" else pytest.importorskip("uvloop").Loop
    for attempt in range(ATTEMPTS):
        with asyncio.Runner(loop_factory=factory) as runner:
            done = runner.run(measure(mix, tmp_path, bare=name == BARE))
        assert done.frames == len(mix.frames), "not every frame was read"
        assert done.moved > len(mix.frames) / 50, "hardly a book moved: nothing was measured"
        p99 = done.part_ms(0.99)
        print(meter.row(
            name, done.part_ms(0.5), p99, done.part_ms(0.999), done.part_ms(1), done.moved,
            done.applied_us, f"{done.cpu:.0%} {done.sender_cpu:.0%}", f"{done.waited:.1%}",
            widths=WIDTHS,
        ))  # fmt: skip
        # A pump that just keeps up has no bound on its delay.
        assert done.cpu < CPU_MAX, f"{done.cpu:.0%} of a core"
        if name != "uvloop":
            return  # said, not held: where uvloop is installed it runs
        if p99 <= AIM_P99_MS:
            print(f"{'':24}p99 of {AIM_P99_MS:g} ms met")
            return
        if attempt == ATTEMPTS - 1:
            busy = done.waited > BUSY
            print(f"{'':24}p99 of {AIM_P99_MS:g} ms NOT met" + ": others had the cores" * busy)
            assert busy, f"p99 {p99:.1f} ms on a quiet machine"
