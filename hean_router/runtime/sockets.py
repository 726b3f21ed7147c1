"""Pumps: bytes between a WebSocket and a session.

A frame is read, decoded, applied and passed on in one callback: what is seen together never depends
on scheduling.
"""

import asyncio
import socket as socket_names
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from hean_router.domain.errors import Unreachable, VenueError
from hean_router.domain.instrument import Instrument, Part
from hean_router.runtime.clock import Clock
from hean_router.runtime.http import NO_NETWORK, NO_TRUST, Http, words_of
from hean_router.runtime.limits import SECOND, held_s
from hean_router.runtime.listener import Listener
from hean_router.telemetry import Timing
from hean_router.venue import (
    Command,
    Drop,
    FeedSession,
    FetchBook,
    Frame,
    ProbeTop,
    Relist,
    Send,
    SessionEvent,
)

OPEN_S = 10.0
SEND_S = 5.0  # a frame of ours that the peer's system does not take in this time: it is gone
CLOSE_S = 2.0
LOOK_S = 1.0  # at least this often are timers looked at
OURS = "a fault of our own"
FRAME_MAX = 16 << 20  # bytes; the longest honest frame (Kraken's instruments) is about 0.5 MB
Sink: TypeAlias = Callable[[FeedSession, Sequence[SessionEvent], int], None]


class FeedSocket:
    """One market-data connection, from opening to closing.

    `family` restricts it to addresses of one kind (`socket.AF_INET`); 0 = as the system prefers.
    """

    def __init__(
        self,
        url: str,
        session: FeedSession,
        part: Part,
        http: Http,
        clock: Clock,
        sink: Sink,
        *,
        relist: Callable[[Instrument], None] | None = None,
        listener: Listener | None = None,
        timing: Timing | None = None,
        family: int = 0,
    ) -> None:
        self.url, self.session = url, session
        self.opened_ns = 0  # when the connection stood; 0 = not yet
        self._part, self._http, self._clock, self._sink = part, http, clock, sink
        self._relist, self._listener = relist, listener
        self._conn = ""  # what the listener calls this connection
        self._family = family
        self._tasks: set[asyncio.Task[None]] = set()  # timers, and requests under way
        self._drop = ""
        self._fault: BaseException | None = None
        self._socket: ClientConnection | None = None
        self._timing = timing or Timing()

    @property
    def queued(self) -> int:
        """Frames received and not yet read."""
        return len(self._socket.recv_messages.frames) if self._socket else 0

    async def run(self) -> str:
        """Connect and pump until the connection ends; returns why it ended.

        Raises `VenueError` if it could not be opened, and whatever fault of our own, of any of its
        tasks, made it end.  Cancelling closes it.
        """
        socket = self._socket = await self._connect()
        reason = OURS
        self.opened_ns = self._clock()
        if self._listener is not None:
            self._conn = self._listener.connected(self.url, self.opened_ns)
        self._spawn(self._timers(socket))
        try:
            reason = await self._pump(socket)
        except asyncio.CancelledError:
            reason = "closed by us"
            raise
        finally:
            # First what needs no waiting: it is done whoever cancels us meanwhile.
            tasks = tuple(self._tasks)
            for task in tasks:
                task.cancel()
            try:
                self._say_closed(reason)
            finally:
                await self._close(socket)
                await asyncio.gather(*tasks, return_exceptions=True)
        if self._fault is not None:
            raise self._fault
        return reason

    def _say_closed(self, reason: str) -> None:
        now_ns = self._clock()
        if self._listener is not None:
            self._listener.closed(self._conn, reason, now_ns)
        self._sink(self.session, self.session.closed(reason, now_ns), now_ns)

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self.url,
                max_size=FRAME_MAX,
                max_queue=256,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                compression=None,  # costs more time than it saves where the books are
                proxy=None if self._http.direct else True,  # True: the environment's, if any
                family=self._family,
                # The session's own pings and silence bound find a dead peer sooner.
                ping_interval=None,
            )
        except TimeoutError:
            raise Unreachable(
                "connect", f"{self.url}: not within {OPEN_S:g} s", NO_NETWORK
            ) from None
        except InvalidStatus as fault:
            self._heed(fault)
            raise _named(fault, self.url) from fault
        except Exception as fault:
            # Of many kinds: a name that is none, a peer that hangs up, a proxy we cannot speak to;
            # and what the library makes of garbage, down to its own assertions.
            raise _named(fault, self.url) from fault

    def _heed(self, refused: InvalidStatus) -> None:
        """Where the venue says to wait, nobody knocks meanwhile."""
        status, now_ns = refused.response.status_code, self._clock()
        headers = {name.lower(): value for name, value in refused.response.headers.raw_items()}
        if wait_s := held_s(status, headers, now_ns):
            gate = self._http.limits.connects(self.url)
            gate.block(now_ns + wait_s * SECOND, f"HTTP {status}")

    async def _pump(self, socket: ClientConnection) -> str:
        session, clock, sink = self.session, self._clock, self._sink
        hear = self._listener.received if self._listener else None
        observe = self._timing.observe
        try:
            await self._after(socket, session.opened(self.opened_ns), self.opened_ns)
            while not self._drop:
                data = await socket.recv(decode=False)
                now_ns = clock()
                if hear is not None:
                    hear(self._conn, data, now_ns)
                if events := session.received(data, now_ns):
                    sink(session, events, now_ns)
                observe(clock() - now_ns)
                await self._carry_out(socket)
        except ConnectionClosed as end:
            return self._drop or _ending(end)
        return self._drop

    async def _timers(self, socket: ClientConnection) -> None:
        """Call `due` on time."""
        session, clock = self.session, self._clock
        while True:
            wait_s = (session.wake_at_ns - clock()) / SECOND
            # Bounded, so that no clock that is set can keep them from being looked at.
            await asyncio.sleep(min(max(0.0, wait_s), LOOK_S))
            now_ns = clock()
            await self._after(socket, session.due(now_ns), now_ns)

    async def _after(
        self, socket: ClientConnection, events: Sequence[SessionEvent], now_ns: int = 0
    ) -> None:
        if events:
            self._sink(self.session, events, now_ns or self._clock())
        await self._carry_out(socket)

    async def _carry_out(self, socket: ClientConnection) -> None:
        for command in self.session.take():
            await self._do(socket, command)

    async def _do(self, socket: ClientConnection, command: Command) -> None:
        match command:
            case Send(frame=frame):
                await self._send(socket, frame)
            case FetchBook(instrument=instrument):
                self._spawn(self._fetch(socket, instrument))
            case ProbeTop(instrument=instrument):
                self._spawn(self._probe(socket, instrument))
            case Relist(instrument=instrument):
                if self._relist is not None:
                    self._relist(instrument)
            case Drop(reason=reason):
                self._abort(socket, reason)

    async def _send(self, socket: ClientConnection, frame: Frame) -> None:
        if self._listener is not None:
            self._listener.sent(self._conn, frame.data, self._clock())
        try:
            async with asyncio.timeout(SEND_S):
                await socket.send(frame.data, text=not frame.binary)
        except TimeoutError:  # whoever waits here neither reads nor looks at its timers
            self._abort(socket, f"takes nothing that we send, for {SEND_S:g} s")

    def _abort(self, socket: ClientConnection, reason: str) -> None:
        """End at once: a peer that is gone does not answer a closing handshake."""
        self._drop = self._drop or reason
        socket.transport.abort()

    async def _close(self, socket: ClientConnection) -> None:
        try:
            if not self._drop:
                # The library's own bound begins when the peer has taken what was sent before.
                async with asyncio.timeout(CLOSE_S):
                    await socket.close()
        except (TimeoutError, ConnectionClosed):
            pass  # it was told; more cannot be done
        finally:
            socket.transport.abort()  # whatever is left of it

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A fault of a timer or a request ends the connection, loudly: it would never be made up.

        A closed connection is no fault: the pump sees it too, and says why.
        """
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is None or isinstance(fault, ConnectionClosed):
            return
        self._fault = self._fault or fault
        if self._socket is not None:
            self._abort(self._socket, OURS)

    async def _fetch(self, socket: ClientConnection, instrument: Instrument) -> None:
        session = self.session
        try:
            book = await self._http.ask(self._part, session.codec.snapshot(instrument))
        except VenueError as fault:
            now_ns = self._clock()
            await self._after(socket, session.failed(instrument, str(fault), now_ns), now_ns)
        else:
            now_ns = self._clock()
            await self._after(socket, session.fetched(book, now_ns), now_ns)

    async def _probe(self, socket: ClientConnection, instrument: Instrument) -> None:
        session = self.session
        try:
            top = await self._http.ask(self._part, session.codec.probe(instrument))
        except VenueError as fault:
            now_ns = self._clock()
            events = session.probe_failed(instrument, str(fault), now_ns)
        else:
            now_ns = self._clock()
            events = session.probed(top, now_ns)
        await self._after(socket, events, now_ns)


def _ending(end: ConnectionClosed) -> str:
    """Why a connection ended, in words: who closed it, and what was said."""
    if end.rcvd is not None and (end.sent is None or end.rcvd_then_sent):
        return f"closed by the venue ({end.rcvd.code} {end.rcvd.reason})"
    if end.sent is not None:  # what came broke the protocol, or was too much
        return f"given up by us ({end.sent.code} {end.sent.reason})"
    return "cut"


def _named(fault: Exception, url: str) -> Unreachable:
    """What went wrong, by the step it happened in."""
    match fault:
        case socket_names.gaierror():
            return Unreachable("DNS", f"{urlsplit(url).hostname} is not found", NO_NETWORK)
        case ssl.SSLError():
            return Unreachable("TLS", f"{url}: {fault}", NO_TRUST)
        case OSError():
            return Unreachable("connect", f"{url}: {words_of(fault)}", NO_NETWORK)
        case ConnectionClosed():
            return Unreachable("connect", f"{url}: it hung up during the handshake", NO_NETWORK)
        case _:
            what = f"{url}: {type(fault).__name__}: {' '.join(str(fault).split())}"
            return Unreachable("connect", what, NO_NETWORK)
