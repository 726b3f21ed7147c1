"""What a simulator face is: the server's side of one venue's wire, without the wire.

A face is a plain object.  It has no socket, no clock, no task and no die: bytes and times go in,
outputs come out, and what must happen later is `wake_at_ns`.  `sim/server.py` gives it loopback
sockets (or in-memory ones); a test just calls it.  `sim/faults.py` wraps a face in another face
that misbehaves; the server cannot tell the difference.

The order of calls for one connection is `accept` -> `opened` -> (`received` | `pinged` | `ponged`)*
-> `closed`.  `closed` comes exactly once, also after the face itself asked for a `Close` or
`Reset`; the face should already have forgotten the connection then and must not mind.
An output for a connection that is gone is ignored by the server.

All times are nanoseconds since the epoch, `now_ns` never falls between two calls.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Protocol, TypeAlias
from urllib.parse import parse_qsl

from hean_router.sim.accounts import AccountSpec, History
from hean_router.sim.exchange import Exchange, Listing, Step
from hean_router.sim.order_faults import OrderFaults

MS = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

Conn: TypeAlias = int
"""A connection, numbered by the server from 1; never used twice."""


# What comes in


@dataclass(frozen=True, slots=True)
class Request:
    """A REST request, or the request that opens a WebSocket.

    `path` is decoded and without query; `query` is the raw text after `?` (signing needs it raw);
    `headers` have lower-case names; `peer` is the client's address, for limits per IP.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: str = "127.0.0.1"

    @property
    def params(self) -> dict[str, str]:
        """The query as a mapping; the last of a repeated name wins.

        >>> Request("GET", "/depth", "symbol=BTCUSDT&limit=5").params
        {'symbol': 'BTCUSDT', 'limit': '5'}
        """
        return dict(parse_qsl(self.query, keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Response:
    """A REST answer.

    `delay_ns` asks the server to wait before it sends it (faults use it).  Status 0 is no answer at
    all: the connection is torn down instead.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    delay_ns: int = 0


# What goes out


class FrameKind(StrEnum):
    """What a pushed frame is, so that a fault can choose its victim without reading it."""

    CONTROL = "control"  # acks, errors, pongs, heartbeats, notices
    SNAPSHOT = "snapshot"  # a whole book; replaces what the client has
    DELTA = "delta"  # book changes that build on the frame before
    DATA = "data"  # trades, tickers, statuses: stands alone
    PRIVATE = "private"  # an account's event: nothing but its connection's end loses it


@dataclass(frozen=True, slots=True)
class Send:
    """One frame to a client: `str` goes as a text frame, `bytes` as a binary one.

    `topic` is the subscription it belongs to, spelled as the client spelled it; empty for control
    frames.  `reset` marks a frame that restarts a sequence (Bybit `u=1`, OKX `seqId < prevSeqId`):
    the one a "lost reset" fault loses.
    """

    conn: Conn
    data: str | bytes
    topic: str = ""
    kind: FrameKind = FrameKind.CONTROL
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """A WebSocket ping frame from the server."""

    conn: Conn
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a client's WebSocket ping frame.  The server never answers by itself."""

    conn: Conn
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class Close:
    """An orderly end: a close frame with `code` and `reason`, then the socket."""

    conn: Conn
    code: int = 1000
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reset:
    """A disorderly end: the TCP connection is torn down without a close frame."""

    conn: Conn


@dataclass(frozen=True, slots=True)
class Pause:
    """The server stops reading from and writing to the socket, but keeps it open (half-open)."""

    conn: Conn


Output: TypeAlias = Send | Ping | Pong | Close | Reset | Pause
Outputs: TypeAlias = Sequence[Output]


# What can be asked of a face


class Trouble(StrEnum):
    """What a venue sometimes does to its clients, each face in its venue's own way."""

    RESTART = "restart"
    """The feed service restarts: sequences begin again (Bybit `u=1` snapshots, OKX a `seqId` below
    its `prevSeqId`); where a venue has no in-band restart, nothing."""
    SNAPSHOT = "snapshot"
    """A fresh snapshot in mid-stream, unasked, for one live book subscription (Bybit)."""
    SHUTDOWN = "shutdown"
    """Planned shutdown notice (Binance `serverShutdown`, OKX 64008); the cut itself follows from
    the face's own `due` after the venue's lead time."""
    MAINTENANCE = "maintenance"
    """Maintenance begins: notices on the sockets, REST answers as the venue's do meanwhile."""
    RESUME = "resume"
    """Maintenance ends."""
    SESSION = "session"
    """One connection has lived for as long as the venue lets it; told before, where it is."""
    INSIDE = "inside"
    """The next book asked for by REST falls inside the id range of a stream's event (Binance; it
    also happens by itself)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a face departs from its venue's own figures.

    `limits`: factor on the venue's connection, subscription, message and weight limits; None turns
    them off (load tests; never hide it).  `session_life_ns`: None is the venue's own.
    `checksums` brings back book checksums that a venue has given up (OKX).  `accounts` are the
    customers a face that takes orders serves; `history` gets what becomes of their orders;
    `order_faults` decides what goes wrong with requests for them (None: nothing).
    """

    limits: float | None = 1.0
    session_life_ns: int | None = None
    checksums: bool = False
    accounts: tuple[AccountSpec, ...] = ()
    history: History | None = None
    order_faults: OrderFaults | None = None

    def limit(self, venue_limit: int) -> int | None:
        """The venue's limit, scaled; None for "no limit"."""
        return None if self.limits is None else max(1, int(venue_limit * self.limits))


class Face(Protocol):
    """The server's side of one venue's wire."""

    venue: str

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        """URLs a client needs, by name, below the bases `http://host:port` and `ws://host:port`.

        Names every venue has are `rest` (base of REST paths as the venue documents them) and `ws`
        (public market data, spot).  Perpetuals and private sockets add their own.
        """

    def accept(self, request: Request, now_ns: int) -> Response | None:
        """Before a WebSocket opens: None lets it in, a `Response` refuses it (404, 429, ...)."""

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        """A WebSocket is open; `request.path` and `.query` say where."""

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        """A client's frame, whole: `str` if text, `bytes` if binary."""

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        """A client's WebSocket ping frame; usually answered with a `Pong`."""

    def ponged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        """A client's WebSocket pong frame."""

    def closed(self, conn: Conn, now_ns: int) -> None:
        """The connection is gone, whoever ended it."""

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        """The client reads so slowly that its write queue is full: end it as the venue does."""

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer a REST request.

        What it pushes to sockets is due at once: `wake_at_ns` is then `now_ns`.
        """

    def market(self, step: Step, now_ns: int) -> Outputs:
        """One engine action happened at `step.time_ns`; the exchange stands right after it."""

    def due(self, now_ns: int) -> Outputs:
        """Do what is due: batches, pings, heartbeats, session ends.  Harmless if nothing is."""

    @property
    def wake_at_ns(self) -> int | None:
        """When `due` next has something to do; None for "nothing planned"."""

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        """Misbehave as the venue sometimes does.  None: this venue does not do that."""

    def topics(self, conn: Conn) -> Sequence[str]:
        """Live subscriptions of a connection in the order they were made (`Send.topic` texts)."""


class FaceModule(Protocol):
    """What `hean_router.sim.faces.<venue>` offers.  A new venue is a new module, nothing else."""

    SYMBOLS: Sequence[str]
    """Symbols listed when the caller names none, as in ccxt (`BTC/USDT`, `BTC/USDT:USDT`)."""

    def listings(self, symbols: Iterable[str]) -> list[Listing]:
        """The venue's rules (tick, lot, minimums, fees) for these symbols.

        ValueError: it lists no such kind of instrument.
        """

    def face(self, exchange: Exchange, rng: Random, options: Options) -> Face:
        """A face over this exchange.  `rng` is its own: nobody else draws from it."""

    # A module whose face takes orders also has `KEY_STYLES: Sequence[KeyStyle]`: then `simulate`
    # opens accounts with such keys, and passes them in `Options.accounts`.
