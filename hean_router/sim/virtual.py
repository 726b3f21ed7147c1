r"""A whole program in virtual time: one seed, one trace, hours in seconds, no threads, no sockets.

`run` gives a coroutine an asyncio loop whose clock jumps to the next thing that will happen, and
whose TCP lives in memory between named hosts.  `websockets` and `aiohttp`, clients and servers,
run on it unmodified.  The same seed gives the same run, event by event, in any process:

    >>> import asyncio
    >>> async def venue(reader, writer):
    ...     writer.write(await reader.readline())
    >>> async def main(world):
    ...     with world.net.on("okx"):                       # what starts here runs on host okx
    ...         await asyncio.start_server(venue, "0.0.0.0", 443)
    ...     world.net.dns["ws.okx.com"] = "okx"             # its name, as clients know it
    ...     world.net.link("router", "okx").latency(30_000_000, jitter_ns=5_000_000)
    ...     await asyncio.sleep(86_400)                     # a day: no time at all
    ...     reader, writer = await asyncio.open_connection("ws.okx.com", 443)
    ...     writer.write(b"hello\n")
    ...     answer = await reader.readline()
    ...     writer.close()
    ...     return answer
    >>> first, again, other = run(main, 1), run(main, 1), run(main, 2)
    >>> first.value, first.digest == again.digest, first.digest == other.digest
    (b'hello\n', True, False)

The whole program under it
--------------------------
Start each venue's simulator under `with world.net.on("okx"):`, with `world.net.clock("okx")` as
its clock and `world.seeds.rng("okx")` as its randomness; point the venue's host names at it in
`world.net.dns`.  Start the router outside (host `router`, or what `home` says) with
`world.net.clock("router")`, `world.seeds.rng("router")`, and `virtual_connector` for its aiohttp
sessions.  Tasks, callbacks and accepted connections inherit the host of whoever started them.
Servers bind `0.0.0.0` to be reached from other hosts; `127.0.0.1` is the host's own loopback.

Hurt it through `world.net`: `link(a, b)` and `connections(a, b)` have `cut`, `cut_after`,
`blackhole`, `heal`; a link has `latency`, `shape`, `clog`, `refuse` besides, a connection
`stop_reading`; `dns[name]` may be an error or silence; `clock(host)` may `jump`, `drift` or
be `set`; `freeze(host)` stops a host's reading; `world.signal(host, SIGTERM)` calls what
`loop.add_signal_handler` was given there; `world.loop.stall(seconds)` blocks everything.

What a run raises
-----------------
What `main` raises; `Deadlock` when nothing will ever happen again, `Livelock` when time stands
still, `OutOfTime` past `limit_s`, each naming what waits and where; `TaskDeaths` when main went
well but a task or callback failed and nobody looked; `Undying` when a task does not end though
cancelled.  At the end every task is cancelled, the net closed, the loop drained and closed.

Rules for what runs here
------------------------
- Clocks, randomness and connectors are handed in.  `random`'s own generator is seeded for the run
  (`websockets` and `aiohttp` draw from it) and restored after it.
- Nothing may depend on the order of a set of objects hashed by address.  Tasks and futures made by
  this loop hash by number, so sets of them are safe; so is closing many connections at once.
- Garbage is collected by the loop at fixed rounds, so that finalizers run at the same moment too.
- No threads: an executor's function runs inline, at once; `call_soon_threadsafe` from another
  thread raises.  No TLS: use `ws://` and `http://`.
- Pass `proxy=None` to `websockets.connect`: by default it obeys the environment's proxy.
- aiohttp asks the real clock whether a pooled connection or DNS answer is too old;
  `virtual_connector` switches both off, so connections stay pooled until a side closes them.
- Do not trace bytes that libraries make random: frame masks, handshake keys, `Date` headers.  Their
  sizes are constant, so byte counts, which the net traces by itself, are safe.
"""

import asyncio
import contextlib
import gc
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from hean_router.sim.virtual_loop import (
    START_NS,
    Deadlock,
    Fault,
    Livelock,
    OutOfTime,
    VirtualLoop,
    where,
)
from hean_router.sim.virtual_net import EPOCH_NS, Host, Net
from hean_router.sim.virtual_seed import Seeds, Trace
from hean_router.sim.virtual_socket import VirtualSocket
from hean_router.sim.virtual_wire import SECOND_NS, Connection

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "Connection",
    "Deadlock",
    "Fault",
    "Host",
    "Livelock",
    "Net",
    "OutOfTime",
    "Run",
    "Seeds",
    "TaskDeaths",
    "Trace",
    "Undying",
    "VirtualLoop",
    "World",
    "run",
    "virtual_connector",
]

T = TypeVar("T")
_QUIET_S = 300.0  # how long, in virtual seconds, cancelled tasks may take to end
_CLOSING_S = 1.0  # for closes that are under way when the last task has ended
_ROUNDS = 3


class Undying(RuntimeError):
    """Tasks went on though they were cancelled."""


class TaskDeaths(ExceptionGroup[Exception]):
    """Tasks or callbacks failed and nobody looked: the commonest bug there is."""


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """How a run went."""

    value: T
    digest: str  # equal digests: equal runs
    events: int
    elapsed_ns: int  # virtual, winding down included
    left_open: tuple[str, ...]  # connections open although every task had ended
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class World:
    """What a run's main coroutine is given."""

    loop: VirtualLoop
    net: Net
    seeds: Seeds
    trace: Trace

    @property
    def now_ns(self) -> int:
        """Virtual monotonic time; wall clocks are `net.clock(host)`."""
        return self.net.now_ns()

    def note(self, component: str, text: str) -> None:
        """Put an event into the trace: what is hashed is what is proven repeatable."""
        self.net.note(component, text)

    def spawn(
        self, host: str, coro: Coroutine[Any, Any, T], *, name: str | None = None
    ) -> asyncio.Task[T]:
        """Start a task on `host`."""
        with self.net.on(host):
            return self.loop.create_task(coro, name=name)

    def signal(self, host: str, sig: int) -> bool:
        """Send a signal to `host`; False if nothing there handles it."""
        return self.loop.send_signal(host, sig)


def run(
    main: Callable[[World], Coroutine[Any, Any, T]],
    seed: int | str,
    *,
    home: str = "router",
    epoch_ns: int = EPOCH_NS,
    limit_s: float | None = None,
    trace: Trace | None = None,
    strict: bool = True,
) -> Run[T]:
    """Run `main(world)` to its end in virtual time, wind everything down, and say how it went.

    `home` is the host on which main runs, `epoch_ns` what wall clocks show at the start, `limit_s`
    bounds virtual time.  Pass a `Trace` to print or keep lines.  `strict=False` reports unseen
    failures in `Run.faults` instead of raising `TaskDeaths`.
    """
    trace = Trace() if trace is None else trace
    seeds = Seeds(seed)
    limit_ns = None if limit_s is None else START_NS + round(limit_s * SECOND_NS)
    loop = VirtualLoop(seeds, trace, home=home, epoch_ns=epoch_ns, limit_ns=limit_ns)
    state, collecting = random.getstate(), gc.isenabled()
    random.seed(seeds.number("random"))
    gc.disable()  # the loop collects by itself, at the same moments in every run
    try:
        return _drive(loop, main(World(loop, loop.net, seeds, trace)), trace, strict)
    finally:
        if collecting:
            gc.enable()
        random.setstate(state)
        loop.close()


def _drive(loop: VirtualLoop, coro: Coroutine[Any, Any, T], trace: Trace, strict: bool) -> Run[T]:
    task = loop.create_task(coro, name="main")
    failure: BaseException | None = None
    left_open: list[Connection] = []
    try:
        loop.run_until_complete(task)
    except BaseException as exc:  # noqa: BLE001  raised again below, when all is wound down
        failure = exc
    try:
        left_open = _wind_down(loop)
    except BaseException as exc:
        if failure is None:
            raise
        failure.add_note(f"and winding down failed: {exc!r}")
    finally:
        _bury(loop)
    if failure is not None:
        for fault in loop.deaths():
            failure.add_note(f"besides: {fault.message}: {fault.exception!r}")
        try:
            raise failure
        finally:
            failure = None  # it holds this frame: break the circle
    faults = loop.deaths()
    if faults and strict:
        raise TaskDeaths(f"{len(faults)} failed unseen", [_as_exception(f) for f in faults])
    names = tuple(conn.up.label for conn in left_open)
    elapsed_ns = loop.agenda.now_ns - START_NS
    return Run(task.result(), trace.hexdigest(), trace.events, elapsed_ns, names, tuple(faults))


def _as_exception(fault: Fault) -> Exception:
    if isinstance(fault.exception, Exception):
        fault.exception.add_note(f"{fault.message} (at {fault.now_ns} ns)")
        return fault.exception
    return RuntimeError(f"{fault.message}: {fault.exception!r} (at {fault.now_ns} ns)")


def _wind_down(loop: VirtualLoop) -> list[Connection]:
    """Cancel every task, close the net, let every callback run; nothing may outlive the loop."""
    loop.limit_ns = None
    _end_tasks(loop)
    loop.run_until_complete(asyncio.sleep(_CLOSING_S))
    left_open = loop.net.close()
    loop.run_until_complete(_settle())
    loop.run_until_complete(loop.shutdown_asyncgens())
    _end_tasks(loop)  # callbacks of closed connections may have started some
    loop.net.close()
    loop.run_until_complete(_settle())
    return left_open


def _end_tasks(loop: VirtualLoop) -> None:
    for _ in range(_ROUNDS):
        tasks = loop.unfinished()
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=_QUIET_S))
    if tasks := loop.unfinished():
        lines = "\n".join(f"  {task.get_name()}: {where(task)}" for task in tasks)
        raise Undying(f"cancelled {_ROUNDS} times, still there:\n{lines}")


def _bury(loop: VirtualLoop) -> None:
    """Close what would not end: else it dies in the garbage collector, after its loop."""
    for task in loop.unfinished():
        with contextlib.suppress(Exception):
            cast(Any, task.get_coro()).close()


async def _settle() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


def virtual_connector(**kwargs: Any) -> "aiohttp.TCPConnector":
    """An aiohttp connector for this loop; takes what `aiohttp.TCPConnector` takes.

    aiohttp makes its own sockets and asks the real clock about pooled connections and DNS answers:
    here the sockets are virtual, connections stay pooled until a side closes them, and names are
    looked up every time.
    """
    import aiohttp

    def make_socket(info: Any) -> Any:
        return VirtualSocket(info[0], info[1], info[2])

    kwargs = {"keepalive_timeout": None, "use_dns_cache": False, **kwargs}
    return aiohttp.TCPConnector(
        resolver=aiohttp.ThreadedResolver(), socket_factory=make_socket, **kwargs
    )
