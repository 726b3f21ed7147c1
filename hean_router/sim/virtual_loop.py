"""The event loop of virtual time: sleeping is jumping, connecting is the `Net`'s business."""

import asyncio
import gc
import signal
import socket
import threading
from asyncio import base_events, staggered
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from functools import partial
from heapq import heappush
from itertools import count
from typing import Any, Never, TypeVar, TypeVarTuple, cast

from hean_router.sim.virtual_net import Net
from hean_router.sim.virtual_seed import Seeds, Trace
from hean_router.sim.virtual_socket import Address, VirtualSocket
from hean_router.sim.virtual_tcp import VirtualServer, VirtualTransport
from hean_router.sim.virtual_wire import SECOND_NS, Agenda

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
START_NS = 1_000 * SECOND_NS  # loop.time() at the start: not 0, which code may take for "never"
_GC_ROUNDS = 4_096  # loop rounds between collections of what is young
_GC_FULL = 64  # of which every so manieth is of everything
_RESOLVER_S = 10.0  # glibc asks a silent server twice, 5 s each, and gives up
_SPINS_MAX = 100_000  # loop rounds at one instant: no honest burst needs so many


class Deadlock(RuntimeError):
    """Nothing is scheduled and nothing is under way: what waits would wait for ever."""


class Livelock(RuntimeError):
    """The program is busy without end at one instant."""


class OutOfTime(RuntimeError):
    """The run went on past its limit of virtual time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something the loop's exception handler was told."""

    now_ns: int
    message: str
    exception: BaseException | None


class _Numbered:
    """Hash by order of first use, not by address: sets of these iterate alike in every process."""

    __slots__ = ()

    def __hash__(self) -> int:
        number: int | None = getattr(self, "_number", None)
        if number is None:
            loop = cast(VirtualLoop, cast("asyncio.Future[Any]", self).get_loop())
            number = loop.next_number()
            setattr(self, "_number", number)  # noqa: B010  the slot is the subclass's
        return number


class _Future(_Numbered, asyncio.Future[Any]):
    __slots__ = ("_number",)


class _Task(_Numbered, asyncio.Task[Any]):
    __slots__ = ("_number",)


class _Timer(asyncio.TimerHandle):
    """Timers of one instant fire in the order they were set: in real time no two are that equal."""

    __slots__ = ("order",)
    order: int

    def __lt__(self, other: object) -> bool:
        assert isinstance(other, _Timer)
        mine, others = self.when(), other.when()
        return mine < others or (mine == others and self.order < other.order)


class VirtualLoop(base_events.BaseEventLoop):
    """An asyncio loop in virtual time over a `Net`; made and ended by `run`."""

    def __init__(
        self, seeds: Seeds, trace: Trace, *, home: str, epoch_ns: int, limit_ns: int | None
    ) -> None:
        super().__init__()
        self.agenda = Agenda(START_NS)
        self.net = Net(self, self.agenda, seeds, trace, home=home, epoch_ns=epoch_ns)
        self.faults: list[Fault] = []
        self.limit_ns = limit_ns
        self.next_number = count(1).__next__
        self._clock_resolution = 1e-9
        self._coarser_at_s = 2.0**22  # seconds from which a float no longer tells nanoseconds
        self._selector = self  # the base loop asks it how long to sleep: the heart of all this
        self._now_s = START_NS / SECOND_NS
        self._scheduled: list[_Timer]  # made by the base loop
        self._next_timer = count(1).__next__
        self._spins = 0
        self._rounds = 0
        self._thread = threading.get_ident()
        self._failed: list[asyncio.Task[Any]] = []
        self._signals: dict[tuple[str, int], Callable[[], object]] = {}
        self.set_task_factory(self._make_task)

    # -- time ------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual monotonic seconds."""
        return self._now_s

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's own, but for the order at equal times."""
        self._check_closed()  # type: ignore[attr-defined]  # typeshed hides the base's own
        timer = _Timer(when, callback, args, self, context)
        timer.order = self._next_timer()
        heappush(self._scheduled, timer)
        timer._scheduled = True  # type: ignore[attr-defined]  # noqa: SLF001  the base counts by it
        return timer

    def select(self, timeout: float | None) -> Sequence[Never]:
        """Jump to whatever comes next, and let what is due arrive."""
        self._rounds += 1
        if not self._rounds % _GC_ROUNDS:
            self._collect_garbage()
        agenda = self.agenda
        heap, now_ns = agenda.heap, agenda.now_ns
        if timeout is None:
            if not heap:
                raise Deadlock(f"nothing will ever happen again; {self._who_waits()}")
            next_ns = heap[0][0]
        else:
            # Half a nanosecond early is in time for the base loop, whose resolution is one.
            next_ns = now_ns + (max(1, round(timeout * SECOND_NS)) if timeout > 0 else 0)
            if heap and heap[0][0] < next_ns:
                next_ns = heap[0][0]
        if next_ns > now_ns:
            if self.limit_ns is not None and next_ns > self.limit_ns:
                self.limit_ns = None  # the tasks must still be able to end
                raise OutOfTime(f"{self._elapsed()} of virtual time; {self._who_waits()}")
            agenda.now_ns = next_ns
            self._now_s = next_ns / SECOND_NS
            self._spins = 0
            if self._now_s >= self._coarser_at_s:
                self._coarser_at_s *= 2
                self._clock_resolution *= 2  # else a timer that is due would not look due
        else:
            self._spins += 1
            if self._spins > _SPINS_MAX:
                self._spins = 0  # the tasks must still be able to end
                raise Livelock(f"time stands still at {self._elapsed()}; {self._who_waits()}")
        agenda.run_due()
        return ()

    def stall(self, seconds: float) -> None:
        """A fault: the program hangs for so long, as if a callback had blocked; all is late."""
        self.agenda.now_ns += round(seconds * SECOND_NS)
        self._now_s = self.agenda.now_ns / SECOND_NS
        self.net.note("loop", f"stall {seconds}")

    def _process_events(self, event_list: object) -> None:
        """Arrivals were delivered by `select`."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in `select`, so nobody needs waking."""

    def _collect_garbage(self) -> None:
        """At the same round in every run: finalizers may schedule things, or report them."""
        gc.collect(2 if not self._rounds % (_GC_ROUNDS * _GC_FULL) else 1)

    def _elapsed(self) -> str:
        return f"{(self.agenda.now_ns - START_NS) / SECOND_NS:.6f} s"

    def _who_waits(self) -> str:
        lines = [f"  {task.get_name()}: {where(task)}" for task in self.unfinished()]
        return "waiting:\n" + "\n".join(lines) if lines else "no task is left"

    # -- tasks -----------------------------------------------------------------------------

    def create_future(self) -> asyncio.Future[Any]:
        """A future whose place in a set is the same in every run."""
        return _Future(loop=self)

    def _make_task(
        self, _: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        # Named here: asyncio's own counter goes on from run to run.
        kwargs.setdefault("name", None)
        task = _Task(coro, loop=self, **kwargs)
        if kwargs["name"] is None:
            task.set_name(f"{self.net.here().name}-{hash(task)}")
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        if _unseen(task):
            # Kept until the end: someone may still look.  Pruned, so that long runs stay small.
            self._failed = [other for other in self._failed if _unseen(other)]
            self._failed.append(task)

    def unfinished(self) -> list[asyncio.Task[Any]]:
        """Tasks that have not ended, oldest first."""
        return sorted(asyncio.all_tasks(self), key=_age)

    def deaths(self) -> list[Fault]:
        """What failed unseen: tasks whose exception nobody asked for, and broken callbacks."""
        silent = []
        for task in filter(_unseen, self._failed):
            message = f"task {task.get_name()} ({_name(task)}) died, and nobody looked"
            silent.append(Fault(self.agenda.now_ns, message, task.exception()))
        return self.faults + silent

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what went wrong for the end of the run, where it is raised."""
        message = str(context.get("message", "unhandled exception in event loop"))
        exception = context.get("exception")
        if isinstance(exception, asyncio.CancelledError):
            return  # cancelled is not failed: asyncio.streams trips over it before Python 3.12
        self.faults.append(Fault(self.agenda.now_ns, message, exception))

    def call_soon_threadsafe(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """As `call_soon`; from another thread it cannot be repeatable, so it is an error."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("a virtual loop has one thread: two could not be repeated")
        return super().call_soon_threadsafe(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]  # returns the future itself, done
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call `func` now: a thread would finish at an unknown time."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001  carried to whoever awaits
            future.set_exception(exc)
        return future

    # -- signals ---------------------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], Any], *args: *Ts) -> None:
        """For this task's host; `send_signal` calls it, the system's signals do not."""
        context = copy_context()
        run_it = partial(self.call_soon, callback, *args, context=context)
        self._signals[self.net.here().name, int(sig)] = run_it

    def remove_signal_handler(self, sig: int) -> bool:
        """True if there was one."""
        return self._signals.pop((self.net.here().name, int(sig)), None) is not None

    def send_signal(self, host: str, sig: int) -> bool:
        """Deliver `sig` to the processes of `host`; False if none handles it."""
        handler = self._signals.get((self.net.host(host).name, int(sig)))
        self.net.note(host, f"signal {signal.Signals(sig).name}")
        if handler is not None:
            handler()
        return handler is not None

    # -- names and connections -------------------------------------------------------------

    async def getaddrinfo(  # type: ignore[override]  # narrower: what TCP needs
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[tuple[int, int, int, str, Any]]:
        """Look `host` up in `net.dns`."""
        name = host.decode() if isinstance(host, bytes) else host
        if not name:
            ips: list[str] | None = ["0.0.0.0" if flags & socket.AI_PASSIVE else "127.0.0.1"]  # noqa: S104
        elif _is_literal(name):
            ips = [name]
        else:
            await asyncio.sleep(self.net.dns.latency_ns / SECOND_NS)
            ips = self.net.dns.addresses(name)
        if ips is None:
            await asyncio.sleep(_RESOLVER_S)
            raise self.net.dns.failure()
        number = _port_number(port)
        found = [(_family_of(ip), ip) for ip in ips if family in (0, _family_of(ip))]
        if not found:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (fam, type or socket.SOCK_STREAM, proto or socket.IPPROTO_TCP, "",
             (ip, number) if fam == socket.AF_INET else (ip, number, 0, 0))
            for fam, ip in found
        ]  # fmt: skip

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """The address itself."""
        return str(sockaddr[0]), str(sockaddr[1])

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect a `VirtualSocket`."""
        if not isinstance(sock, VirtualSocket):
            raise NotImplementedError("only virtual sockets connect here; see virtual_connector")
        transport = await self.net.dial((address[0], address[1]), sock.bound)
        # Two names for one connection: closing the socket unused must end it.
        sock.take(transport)

    async def create_connection(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: object = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: Any = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[VirtualTransport, Any]:
        """Connect as asyncio does, to the first address that answers."""
        _refuse_tls(ssl)
        if sock is None:
            infos = await self.getaddrinfo(host, port, family=family, proto=proto, flags=flags)
            addresses = [(info[4][0], info[4][1]) for info in infos]
            transport = await self._dial_any(
                addresses, local_addr, happy_eyeballs_delay, all_errors
            )
        else:
            if not isinstance(sock, VirtualSocket) or sock.transport is None:
                raise ValueError(f"not a connected virtual socket: {sock!r}")
            transport = cast(VirtualTransport, sock.transport)
        try:
            protocol = protocol_factory()
        except BaseException:
            transport.abort()
            raise
        waiter = self.create_future()
        transport.start(protocol, copy_context(), waiter=waiter)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    async def _dial_any(
        self,
        addresses: list[Address],
        local: Address | None,
        delay_s: float | None,
        all_errors: bool,
    ) -> VirtualTransport:
        errors: list[Exception] = []
        if delay_s is None or len(addresses) == 1:
            for address in addresses:
                try:
                    return await self.net.dial(address, local)
                except OSError as exc:
                    errors.append(exc)
        else:
            dials = [partial(self.net.dial, address, local) for address in addresses]
            transport, _, outcomes = await staggered.staggered_race(dials, delay_s, loop=self)
            if transport is not None:
                return cast(VirtualTransport, transport)
            errors = [exc for exc in outcomes if isinstance(exc, Exception)]
        raise _combined(errors, all_errors)

    async def create_server(  # type: ignore[override]  # no TLS, no foreign sockets
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        family: int = 0,
        flags: int = socket.AI_PASSIVE,
        sock: Any = None,
        backlog: int = 100,
        ssl: object = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> VirtualServer:
        """Listen on this task's host."""
        _refuse_tls(ssl)
        if sock is not None:
            raise NotImplementedError("a virtual server takes a host and a port, not a socket")
        names: Iterable[str | None] = [host] if host is None or isinstance(host, str) else host
        ips: list[str] = []
        for name in names:
            infos = await self.getaddrinfo(name, port, family=family, flags=flags)
            ips += [info[4][0] for info in infos]
        server = self.net.serve(protocol_factory, ips, port or 0)
        if start_serving:
            await server.start_serving()
        return server

    async def start_tls(self, *args: Any, **kwargs: Any) -> Never:
        """There is none."""
        _refuse_tls(True)
        raise AssertionError("unreachable")


def _refuse_tls(ssl: object) -> None:
    if ssl:
        raise NotImplementedError("the virtual network has no TLS: use ws:// and http://")


def _port_number(port: int | str | bytes | None) -> int:
    try:
        return int(port or 0)
    except ValueError:
        raise socket.gaierror(socket.EAI_SERVICE, "Servname not supported") from None


def _is_literal(name: str) -> bool:
    try:
        socket.inet_pton(_family_of(name), name)
    except OSError:
        return False
    return True


def _family_of(ip: str) -> int:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def _combined(errors: list[Exception], all_errors: bool) -> Exception:
    """What asyncio makes of several failed addresses."""
    if all_errors:
        return ExceptionGroup("create_connection failed", errors)
    if len({str(exc) for exc in errors}) == 1:
        return errors[0]
    return OSError("Multiple exceptions: " + ", ".join(str(exc) for exc in errors))


def _unseen(task: asyncio.Task[Any]) -> bool:
    """Whether it failed and nobody has asked with what; the flag asyncio itself logs by."""
    return bool(getattr(task, "_log_traceback", False))


def _age(task: asyncio.Task[Any]) -> tuple[bool, int, str]:
    """Sorts by creation; a task that a library made by itself comes after ours, by its name."""
    name = task.get_name()
    return not isinstance(task, _Task), hash(task) if isinstance(task, _Task) else len(name), name


def _name(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", repr(task.get_coro()))


def where(task: asyncio.Task[Any]) -> str:
    """The chain of coroutines, and the line at which the innermost waits."""
    names, place, inner = [], "not started", cast(Any, task.get_coro())
    while inner is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(inner, f"{kind}_frame", None)
            if frame is not None:
                names.append(inner.__qualname__)
                place = f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}"
                inner = getattr(inner, "cr_await" if kind == "cr" else "gi_yieldfrom", None)
                break
        else:
            break
    return f"{' > '.join(names) or _name(task)} at {place}"
