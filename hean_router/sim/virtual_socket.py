"""As much of a socket as the users of asyncio ask for."""

import asyncio
import errno
import socket
from typing import Any

Address = tuple[str, int]


class VirtualSocket:
    """As much of a socket as asyncio's users ask for: names, options, closing.

    A new one may be connected by `loop.sock_connect` and given to `loop.create_connection`: that
    is how aiohttp's own connector gets its connections.
    """

    def __init__(
        self,
        family: int = socket.AF_INET,
        type: int = socket.SOCK_STREAM,
        proto: int = socket.IPPROTO_TCP,
    ) -> None:
        self.family = family
        self.type = type
        self.proto = proto
        self.transport: asyncio.Transport | None = None
        self._sockname: Address | None = None
        self._peername: Address | None = None
        self._closed = False
        self._options: dict[tuple[int, int], Any] = {}

    @classmethod
    def connected(cls, sockname: Address, peername: Address) -> "VirtualSocket":
        """The socket of an established connection."""
        sock = cls(_family(sockname))
        sock._sockname, sock._peername = sockname, peername
        return sock

    @classmethod
    def listening(cls, sockname: Address) -> "VirtualSocket":
        """The socket of a server."""
        sock = cls(_family(sockname))
        sock.bind(sockname)
        return sock

    def take(self, transport: asyncio.Transport) -> None:
        """Become the socket of `transport`."""
        self.transport = transport
        self._sockname = transport.get_extra_info("sockname")
        self._peername = transport.get_extra_info("peername")

    def __repr__(self) -> str:
        return f"<VirtualSocket {self._sockname} > {self._peername}>"

    def bind(self, address: Address) -> None:
        """Wish for this local address."""
        self._sockname = address

    @property
    def bound(self) -> Address | None:
        """What `bind` was given."""
        return self._sockname

    def getsockname(self) -> Address:
        """The local address."""
        return self._sockname or ("0.0.0.0", 0)  # noqa: S104  what a fresh socket answers

    def getpeername(self) -> Address:
        """The remote address."""
        if self._peername is None:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        return self._peername

    def setsockopt(self, level: int, option: int, value: Any) -> None:
        """Remember it; nothing here depends on options."""
        self._options[level, option] = value

    def getsockopt(self, level: int, option: int, buflen: int = 0) -> Any:
        """What was set, else 0."""
        return self._options.get((level, option), 0)

    def setblocking(self, flag: bool) -> None:
        """Nothing to do: a virtual socket never blocks."""

    def gettimeout(self) -> float:
        """0.0: non-blocking."""
        return 0.0

    def fileno(self) -> int:
        """-1: there is no file behind it."""
        return -1

    def close(self) -> None:
        """Give up a connection that no protocol has taken over."""
        if not self._closed:
            self._closed = True
            if self.transport is not None:
                self.transport.abort()


def _family(address: Address) -> int:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET
