"""The asyncio side of the virtual network: transports and servers.

Behaves as `asyncio.selector_events` does on Linux, down to what a peer sees of a close: an end of
stream, or a reset if something was left unread or arrives afterwards.
"""

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import Context, copy_context
from typing import Any, Protocol, cast

from hean_router.sim.virtual_socket import Address, VirtualSocket
from hean_router.sim.virtual_wire import FIN, Connection, Stream

# What the two kernels of a connection hold for one direction before a writer must wait.
WINDOW = 256 * 1024
_READ_MAX = 256 * 1024  # as asyncio reads at once
_HIGH_WATER = 64 * 1024  # asyncio's default
_WRITES_TOLERATED = 5  # after the connection is lost, before asyncio warns

_log = logging.getLogger("asyncio")


class VirtualTransport(asyncio.Transport):
    """One end of a virtual connection."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        conn: Connection,
        outgoing: Stream,
        incoming: Stream,
        sockname: Address,
        peername: Address,
    ) -> None:
        self.sock = VirtualSocket.connected(sockname, peername)
        super().__init__({"socket": self.sock, "sockname": sockname, "peername": peername})
        self.conn = conn
        self.peer: VirtualTransport
        self.on_gone: Callable[[], None] | None = None  # told when the socket is closed
        self._loop = loop
        self._out = outgoing
        outgoing.sender = self
        incoming.receiver = self
        self._context: Context | None = None
        self._protocol: Any = None
        self._server: VirtualServer | None = None
        # reading
        self._inbox: deque[bytes | object] = deque()  # bytes, FIN, or the OSError that ended it
        self._started = False
        self._paused = False
        self._frozen = False
        self._eof_seen = False
        self._open_to_read = False  # all of the above in one: asked for every arrival
        self._buffered_protocol = False
        # writing
        self._buffer: deque[bytes | memoryview] = deque()
        self._buffer_size = 0
        self._room = WINDOW
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._write_paused = False
        self._eof_asked = False
        self._fin_sent = False
        # ending
        self._closing = False
        self._lost = 0  # connection_lost is scheduled; counts writes in vain from there
        self._gone = False  # the socket is closed
        self._broken: OSError | None = None  # the connection is dead, and nobody has noticed yet

    def __repr__(self) -> str:
        state = "gone" if self._gone else "closing" if self._closing else "open"
        return f"<VirtualTransport {self._out.label} {state} unsent={self._buffer_size}>"

    def served_by(self, server: "VirtualServer") -> bool:
        """Whether `server` accepted it and it is not closed yet."""
        return self._server is server

    # -- beginning -------------------------------------------------------------------------

    def start(
        self,
        protocol: Any,
        context: Context,
        *,
        server: "VirtualServer | None" = None,
        waiter: asyncio.Future[None] | None = None,
    ) -> None:
        """Hand the connection to `protocol`; its callbacks run in `context`."""
        self._context = context
        self._server = server
        if server is not None:
            server.attach()
        self.set_protocol(protocol)
        self._soon(protocol.connection_made, self)
        self._soon(self._start_reading)  # not before connection_made
        if waiter is not None:
            self._soon(_set_if_waiting, waiter)

    def _start_reading(self) -> None:
        self._started = True
        self._readable_changed()
        self._read_inbox()

    def _soon(self, callback: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon(callback, *args, context=self._context)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._buffered_protocol = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._protocol)

    # -- reading ---------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if self.is_reading():
            self._paused = True
            self._readable_changed()

    def resume_reading(self) -> None:
        if not self._closing and self._paused:
            self._paused = False
            self._readable_changed()
            self._soon(self._read_inbox)

    def freeze(self, frozen: bool) -> None:
        """A fault: this end's process is stopped, it reads nothing; what it writes still leaves."""
        self._frozen = frozen
        self._readable_changed()
        if not frozen:
            self._soon(self._read_inbox)

    def _readable_changed(self) -> None:
        self._open_to_read = (
            self._started
            and not self._paused
            and not self._frozen
            and not self._closing
            and not self._eof_seen
        )

    def wire_data(self, data: bytes) -> None:
        """Bytes arrived."""
        if self._gone:
            self._out.rst()  # nobody is here to read
        elif self._open_to_read and not self._inbox:
            self.peer.read_by_peer(len(data))
            self._enter(self._deliver, data)
        else:
            self._inbox.append(data)

    def wire_eof(self) -> None:
        """The other end will send no more."""
        if self._gone:
            return
        if self._open_to_read and not self._inbox:
            self._enter(self._deliver_eof)
        else:
            self._inbox.append(FIN)

    def wire_lost(self, exc: OSError) -> None:
        """The connection is dead.  Who neither reads nor writes does not notice, as on Linux."""
        if self._gone or self._lost or self._broken is not None:
            return
        self._broken = exc
        if (self._open_to_read and not self._inbox) or self._buffer:
            self._force_close(exc)
        else:
            self._inbox.append(exc)

    def _read_inbox(self) -> None:
        while self._inbox and self._open_to_read:
            item = self._inbox.popleft()
            if isinstance(item, bytes):
                self._deliver(self._joined(item))
            elif item is FIN:
                self._deliver_eof()
            else:
                self._force_close(cast(OSError, item))

    def _joined(self, first: bytes) -> bytes:
        """What one read returns: all that is there, up to a bound."""
        parts, size, inbox = [first], len(first), self._inbox
        while inbox and isinstance(inbox[0], bytes) and size + len(inbox[0]) <= _READ_MAX:
            part = cast(bytes, inbox.popleft())
            parts.append(part)
            size += len(part)
        self.peer.read_by_peer(size)
        return first if len(parts) == 1 else b"".join(parts)

    def _deliver(self, data: bytes) -> None:
        try:
            if self._buffered_protocol:
                self._fill(data)
            else:
                self._protocol.data_received(data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001  as asyncio: reported, and the connection ends
            self._fatal(exc, "Fatal error: protocol.data_received() call failed.")

    def _fill(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            if not self._open_to_read:  # paused or closed in between: what is left stays unread
                self._inbox.appendleft(bytes(rest))
                self.peer.unread_by_peer(len(rest))
                return
            buffer = self._protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            size = min(len(buffer), len(rest))
            memoryview(buffer).cast("B")[:size] = rest[:size]
            self._protocol.buffer_updated(size)
            rest = rest[size:]

    def _deliver_eof(self) -> None:
        self._eof_seen = True
        self._readable_changed()
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001  as asyncio: reported, and the connection ends
            self._fatal(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if not keep_open:
            self.close()

    def _enter(self, callback: Callable[..., object], *args: object) -> object:
        """Call in this end's context, from the loop's own depth: an arrival."""
        assert self._context is not None
        return self._context.run(callback, *args)

    # -- writing ---------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes):
            if not isinstance(data, bytearray | memoryview):
                raise TypeError(
                    f"data argument must be a bytes-like object, not {type(data).__name__!r}"
                )
            data = bytes(data)
        if self._eof_asked:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._lost:
            if self._lost >= _WRITES_TOLERATED:
                _log.warning("socket.send() raised exception.")
            self._lost += 1
            return
        if self._broken is not None:
            self._force_close(self._broken)
            return
        size = len(data)
        if size <= self._room:  # then nothing waits before it: what waits fills the room first
            self._room -= size
            self._out.send(data)
            return
        self._buffer.append(data)
        self._buffer_size += size
        self._flush()
        self._maybe_pause()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def read_by_peer(self, size: int) -> None:
        """The other end has read `size` bytes: so many more may be on the way."""
        self._room += size
        if self._buffer:
            self._flush()
            self._maybe_resume()

    def unread_by_peer(self, size: int) -> None:
        """It had to put `size` bytes back."""
        self._room -= size

    def _flush(self) -> None:
        buffer = self._buffer
        while buffer and self._room > 0:
            data = buffer.popleft()
            if len(data) > self._room:
                whole = memoryview(data)  # a view: a huge write is not copied again and again
                buffer.appendleft(whole[self._room :])
                data = whole[: self._room]
            self._room -= len(data)
            self._buffer_size -= len(data)
            self._out.send(bytes(data))
        if not buffer:
            if self._eof_asked:
                self._send_fin()
            if self._closing and not self._lost:
                self._lose(None)

    def _maybe_resume(self) -> None:
        if self._write_paused and self._buffer_size <= self._low:
            self._write_paused = False
            resume = self._protocol.resume_writing
            self._enter(self._tell_flow, resume, "protocol.resume_writing() failed")

    def _tell_flow(self, callback: Callable[[], object], message: str) -> None:
        try:
            callback()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001  as asyncio: reported, the connection lives
            self._report(exc, message)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._closing or self._eof_asked:
            return
        self._eof_asked = True
        if not self._buffer:
            self._send_fin()

    def _send_fin(self) -> None:
        if not self._fin_sent:
            self._fin_sent = True
            self._out.fin()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low
        self._maybe_pause()

    def _maybe_pause(self) -> None:
        if self._buffer_size > self._high and not self._write_paused:
            self._write_paused = True
            self._tell_flow(self._protocol.pause_writing, "protocol.pause_writing() failed")

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._buffer_size

    # -- ending ----------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._readable_changed()
            if not self._buffer:
                self._lose(None)

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, exc: BaseException | None) -> None:
        if not self._lost:
            self._buffer.clear()
            self._buffer_size = 0
            self._closing = True
            self._readable_changed()
            self._lose(exc)

    def _lose(self, exc: BaseException | None) -> None:
        self._lost += 1
        self._soon(self._call_connection_lost, exc)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(exc)
        finally:
            self._close_socket()

    def _close_socket(self) -> None:
        self._gone = True
        self._protocol = None
        unread = any(isinstance(item, bytes) for item in self._inbox)
        self._inbox.clear()
        if self._broken is None:
            if unread:
                self._out.rst()
            else:
                self._send_fin()
        if self._server is not None:
            self._server.detach()
            self._server = None
        if self.on_gone is not None:
            self.on_gone()
        self.conn.ended()

    def _fatal(self, exc: BaseException, message: str) -> None:
        if not isinstance(exc, OSError):
            self._report(exc, message)
        self._force_close(exc)

    def _report(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )


def _set_if_waiting(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Listening(Protocol):
    """What a server needs of the host it is on."""

    name: str

    def unlisten(self, server: "VirtualServer") -> None:
        """Answer no more on its addresses."""

    def ends(self) -> list[VirtualTransport]:
        """The host's ends of all connections."""


class VirtualServer(asyncio.AbstractServer):
    """What `create_server` returns; waits as the running Python's own does."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        host: Listening,
        addresses: list[Address],
        factory: Callable[[], asyncio.BaseProtocol],
    ) -> None:
        self.host = host
        self.addresses = addresses
        self._loop = loop
        self._factory = factory
        self._context = copy_context()
        self._sockets: list[VirtualSocket] | None = [VirtualSocket.listening(a) for a in addresses]
        self._serving = False
        self._active = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._forever: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<VirtualServer {self.host.name} {self.addresses}>"

    def accept(self, transport: VirtualTransport) -> None:
        """A connection arrived: its protocol is made and told, in the server's context."""
        context = self._context.copy()
        try:
            protocol = context.run(self._factory)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # noqa: BLE001  as asyncio: one connection fails, no more
            message = "Error on transport creation for incoming connection"
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": transport}
            )
            transport.abort()
            return
        transport.start(protocol, context, server=self)

    def attach(self) -> None:
        """A connection begins."""
        self._active += 1

    def detach(self) -> None:
        """A connection has ended."""
        self._active -= 1
        if not self._active and self._sockets is None:
            self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            _set_if_waiting(waiter)

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets; none once closed."""
        return tuple(self._sockets or ())

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def is_serving(self) -> bool:
        return self._serving

    def close(self) -> None:
        if self._sockets is None:
            return
        self._sockets = None
        self._serving = False
        self.host.unlisten(self)
        if self._forever is not None and not self._forever.done():
            self._forever.cancel()
            self._forever = None
        if not self._active:
            self._wake()

    def close_clients(self) -> None:
        """Close every connection of this server (asyncio has it since 3.13)."""
        for transport in self._clients():
            transport.close()

    def abort_clients(self) -> None:
        """Abort every connection of this server (asyncio has it since 3.13)."""
        for transport in self._clients():
            transport.abort()

    def _clients(self) -> list[VirtualTransport]:
        return [end for end in self.host.ends() if end.served_by(self)]

    async def start_serving(self) -> None:
        if self._sockets is None:
            raise RuntimeError(f"server {self!r} is closed")
        self._serving = True
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        if self._forever is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        await self.start_serving()
        self._forever = self._loop.create_future()
        try:
            await self._forever
        except asyncio.CancelledError:
            try:
                self.close()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._forever = None

    async def wait_closed(self) -> None:
        # Before 3.12 a closed server did not wait for its connections (python/cpython#79033).
        if self._sockets is None and (sys.version_info < (3, 12) or not self._active):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter
