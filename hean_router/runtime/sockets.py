"""Pumps: bytes between a WebSocket and a session.

A frame is read, decoded, applied and passed on in one callback: what is seen together never depends
on scheduling.
"""

import asyncio
import logging
import socket as socket_names
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeAlias
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from hean_router.domain.errors import Unreachable, VenueError
from hean_router.domain.instrument import Instrument, Part
from hean_router.runtime.clock import Clock
from hean_router.runtime.http import NO_NETWORK, NO_TRUST, Http, words_of
from hean_router.runtime.listener import Listener
from hean_router.telemetry import Timing
from hean_router.venue import (
    Command,
    Drop,
    FeedSession,
    FetchBook,
    ProbeTop,
    Relist,
    Send,
    SessionEvent,
)

log = logging.getLogger(__name__)

OPEN_S = 10.0
FRAME_MAX = 16 << 20  # bytes; the longest honest frame (Kraken's instruments) is about 0.5 MB
Sink: TypeAlias = Callable[[FeedSession, Sequence[SessionEvent], int], None]


class FeedSocket:
    """One market-data connection, from opening to closing."""

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
    ) -> None:
        self.url, self.session = url, session
        self.opened_ns = 0  # when the connection stood; 0 = not yet
        self._part, self._http, self._clock, self._sink = part, http, clock, sink
        self._relist, self._listener = relist, listener
        self._conn = ""  # what the listener calls this connection
        self._asking: set[asyncio.Task[None]] = set()
        self._drop = ""
        self._socket: ClientConnection | None = None
        self._timing = timing or Timing()

    @property
    def queued(self) -> int:
        """Frames received and not yet read."""
        return len(self._socket.recv_messages.frames) if self._socket else 0

    async def run(self) -> str:
        """Connect and pump until the connection ends; returns why it ended.

        Raises `VenueError` if it could not be opened.  Cancelling closes it.
        """
        socket = self._socket = await self._connect()
        reason = "closed by us"
        self.opened_ns = self._clock()
        if self._listener is not None:
            self._conn = self._listener.connected(self.url, self.opened_ns)
        timers = asyncio.create_task(self._timers(socket))
        try:
            reason = await self._pump(socket)
        finally:
            timers.cancel()
            for task in self._asking:
                task.cancel()
            await asyncio.gather(timers, *self._asking, return_exceptions=True)
            now_ns = self._clock()
            if self._listener is not None:
                self._listener.closed(self._conn, reason, now_ns)
            self._sink(self.session, self.session.closed(reason, now_ns), now_ns)
            await self._close(socket)
        return reason

    async def _connect(self) -> ClientConnection:
        try:
            return await connect(
                self.url,
                max_size=FRAME_MAX,
                max_queue=256,
                open_timeout=OPEN_S,
                close_timeout=2,
                compression=None,  # costs more time than it saves where the books are
                proxy=None if self._http.direct else True,  # True: the environment's, if any
                # The session's own pings and silence bound find a dead peer sooner.
                ping_interval=None,
            )
        except TimeoutError:
            raise Unreachable("connect", f"{self.url}: not within {OPEN_S:g} s") from None
        except (OSError, InvalidHandshake, InvalidURI, EOFError) as fault:
            raise _named(fault, self.url) from fault

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
            if not self._drop:
                told = end.rcvd
                return f"closed by the venue ({told.code} {told.reason})" if told else "cut"
        return self._drop

    async def _timers(self, socket: ClientConnection) -> None:
        """Call `due` on time.  Its own faults end the connection, loudly."""
        session, clock = self.session, self._clock
        try:
            while True:
                await asyncio.sleep(max(0.0, (session.wake_at_ns - clock()) / 1e9))
                now_ns = clock()
                await self._after(socket, session.due(now_ns), now_ns)
        except ConnectionClosed:
            pass  # the pump sees it too, and says why
        except Exception:
            log.exception("timers of %s failed", self.url)
            self._abort(socket, "a fault of our own")
            raise

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
                if self._listener is not None:
                    self._listener.sent(self._conn, frame.data, self._clock())
                await socket.send(frame.data, text=not frame.binary)
            case FetchBook(instrument=instrument):
                self._spawn(self._fetch(socket, instrument))
            case ProbeTop(instrument=instrument):
                self._spawn(self._probe(socket, instrument))
            case Relist(instrument=instrument):
                if self._relist is not None:
                    self._relist(instrument)
            case Drop(reason=reason):
                self._abort(socket, reason)

    def _abort(self, socket: ClientConnection, reason: str) -> None:
        """End at once: a peer that is gone does not answer a closing handshake."""
        self._drop = reason
        socket.transport.abort()

    async def _close(self, socket: ClientConnection) -> None:
        if self._drop:
            socket.transport.abort()
        else:
            await socket.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._asking.add(task)
        task.add_done_callback(self._asked)

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not isinstance(fault, ConnectionClosed):
            log.error("a request of %s failed", self.url, exc_info=fault)

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


def _named(fault: Exception, url: str) -> Unreachable:
    """What went wrong, by the step it happened in."""
    match fault:
        case socket_names.gaierror():
            return Unreachable("DNS", f"{urlsplit(url).hostname} is not found", NO_NETWORK)
        case ssl.SSLError():
            return Unreachable("TLS", f"{url}: {fault}", NO_TRUST)
        case OSError():
            return Unreachable("connect", f"{url}: {words_of(fault)}", NO_NETWORK)
        case _:
            return Unreachable("connect", f"{url}: {type(fault).__name__}: {fault}")
