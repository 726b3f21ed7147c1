"""One private connection of an account: login, events in, orders out in the callback they come."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from msgspec import MsgspecError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.protocol import State

from hean_router.domain.errors import MalformedFrame, Unreachable
from hean_router.domain.order import LoggedIn, LoginFailed, Missed, OrderEvent, Stamp
from hean_router.domain.scale import BelowZero
from hean_router.domain.venue import RateLimit
from hean_router.runtime.clock import Clock
from hean_router.runtime.http import NO_NETWORK, Http
from hean_router.runtime.limits import SECOND, held_s
from hean_router.runtime.order_budget import ORDERS_SHARE, counter
from hean_router.venue import Frame
from hean_router.venue.order_contract import OrderSocket

# The library prints whole frames at DEBUG, logins and tokens too: never these, whatever its level.
_quiet = logging.getLogger(f"{__name__}.wire")
_quiet.setLevel(logging.INFO)
_quiet.addFilter(lambda record: record.levelno > logging.DEBUG)

OPEN_S = 10.0
READY_S = 15.0  # login and subscriptions must be answered within
CLOSE_S = 2.0
LOOK_S = 0.5  # how often timers are looked at
FRAME_MAX = 16 << 20  # bytes
# Whatever we write is answered, and within milliseconds.  A line on which nothing has come for so
# long after that may be dead without anybody having said so: what matters goes another way.
OVERDUE_NS = SECOND
_UNREADABLE = (MalformedFrame, MsgspecError, ValueError, KeyError, RecursionError)

# What a connection heard: its events, and when.  Empty events with a text: it could not be read.
Hear = Callable[["OrderConnection", Sequence[OrderEvent], str], None]


class OrderConnection:
    """A private connection, from opening to closing.

    `ready`: logged in and its events flow.  `leaving`: it will be closed (the venue said so, or it
    is old), and another one should stand first.  Nothing of what passes here is recorded or
    printed.
    """

    def __init__(
        self,
        socket: OrderSocket,
        url: str,
        token: str,
        http: Http,
        clock: Clock,
        stamp: Callable[[str], Stamp],
        hear: Hear,
        *,
        frames: RateLimit,
        life_ns: int = 0,
    ) -> None:
        self.socket, self.token = socket, token
        self.ready = False
        self.stood = False  # it was ready at some time
        self.refused: LoginFailed | None = None
        self.leaving = asyncio.Event()
        self.pending: set[str] = set()  # ids of requests without an answer
        self._url, self._http, self._clock = url, http, clock
        self._stamp, self._hear = stamp, hear
        self._frames = counter(frames)
        self._life_ns = life_ns
        self._opened_ns = self._heard_ns = self._pinged_ns = 0
        self._asked_ns = 0  # the first write since anything was heard; 0: none
        self._drop = ""
        self._ws: ClientConnection | None = None

    async def run(self) -> str:
        """Connect, log in and read until the connection ends; why it ended.

        Raises `VenueError` if it could not be opened.  Cancelling closes it.
        """
        ws = self._ws = await self._connect()
        self._opened_ns = self._heard_ns = self._pinged_ns = self._clock()
        timers = asyncio.create_task(self._timers())
        timers.add_done_callback(self._timed_out)
        try:
            for frame in self.socket.login(self._stamp(self.token)):
                self.write(frame)
            return await self._read(ws)
        finally:
            self.ready = False
            timers.cancel()
            await self._close(ws)
            await asyncio.gather(timers, return_exceptions=True)

    async def _connect(self) -> ClientConnection:
        host = urlsplit(self._url).netloc  # what follows may hold a key
        try:
            return await connect(
                self._url,
                max_size=FRAME_MAX,
                max_queue=1024,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
                compression=None,
                proxy=None if self._http.direct else True,
                ping_interval=None,
                logger=_quiet,
            )
        except InvalidStatus as fault:
            status, now_ns = fault.response.status_code, self._clock()
            headers = {name.lower(): value for name, value in fault.response.headers.raw_items()}
            if wait_s := held_s(status, headers, now_ns):
                gate = self._http.limits.connects(self._url)
                gate.block(now_ns + wait_s * SECOND, f"HTTP {status}")
            raise Unreachable("connect", f"{host}: HTTP {status}", NO_NETWORK) from None
        except Exception as fault:  # noqa: BLE001 - of many kinds; their texts hold the address
            what = f"{host}: {type(fault).__name__}"
            raise Unreachable("connect", what, NO_NETWORK) from None

    async def _read(self, ws: ClientConnection) -> str:
        decode = self.socket.decode
        try:
            while not self._drop:
                data = await ws.recv(decode=False)
                self._heard_ns, self._asked_ns = self._clock(), 0
                try:
                    events = list(decode(data))
                except BelowZero as fault:
                    self._hear(self, (Missed(f"what cannot be: {fault}", lie=True),), "")
                    continue
                except _UNREADABLE as fault:
                    # What it said is lost: it may have been a fill.
                    self._hear(self, (), f"an unreadable frame ({type(fault).__name__})")
                    continue
                for event in events:
                    if isinstance(event, LoggedIn):
                        self._logged_in(event)
                    elif isinstance(event, LoginFailed):
                        self.refused = event
                        self._drop = f"login: {event.text}"
                if events:
                    self._hear(self, events, "")
        except ConnectionClosed as end:
            return self._drop or _ending(end)
        return self._drop

    def _logged_in(self, event: LoggedIn) -> None:
        if event.ready:
            self.ready = self.stood = True
            return
        frames = list(self.socket.subscribe(self._stamp(self.token)))
        for frame in frames:
            self.write(frame)

    # ---------------------------------------------------------------------- out

    @property
    def writable(self) -> bool:
        """Whether it is logged in and its peer takes what we write."""
        ws = self._ws
        return (
            self.ready
            and not self._drop
            and ws is not None
            and not ws.paused
            and ws.protocol.state is State.OPEN
            and not self.overdue
        )

    @property
    def overdue(self) -> bool:
        """Whether it owes us an answer for so long that it may be dead."""
        return self._asked_ns != 0 and self._clock() - self._asked_ns > OVERDUE_NS

    @property
    def room(self) -> int:
        """How many orders the limit of frames lets out now, some kept for cancels."""
        frames = self._frames
        kept = frames.capacity - max(1, int(frames.capacity * ORDERS_SHARE))
        return max(0, frames.left(self._clock()) - kept)

    @property
    def open(self) -> bool:
        """Whether a cancel could be written now."""
        return self.writable and self._frames.left(self._clock()) > 0

    def write(self, frame: Frame) -> None:
        """Hand `frame` to the system, here and now.

        Raises `ConnectionError` when certainly nothing of it was written.  A fault after that is
        the connection's end, which whoever waits for an answer hears of.
        """
        ws = self._ws
        if ws is None or ws.protocol.state is not State.OPEN:
            raise ConnectionError("the connection is closed")
        if frame.cost:
            self._frames.take(frame.cost, self._clock())
        if frame.binary:
            ws.protocol.send_binary(frame.data)
        else:
            ws.protocol.send_text(frame.data)
        self._asked_ns = self._asked_ns or self._clock()
        # From here on bytes may have left.
        try:
            ws.send_data()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the connection is of no use
            self.drop(f"write: {type(fault).__name__}")

    def drop(self, why: str) -> None:
        """End at once: a peer that is gone answers no closing handshake."""
        self._drop = self._drop or why
        if self._ws is not None:
            self._ws.transport.abort()

    async def _timers(self) -> None:
        socket, began_ns = self.socket, self._opened_ns
        while True:
            await asyncio.sleep(LOOK_S)
            now_ns = self._clock()
            if not self.ready and now_ns - began_ns > READY_S * SECOND:
                self.drop(f"no login within {READY_S:g} s")
            quiet_ns = now_ns - self._heard_ns
            if socket.silence_ms and quiet_ns > socket.silence_ms * 1_000_000:
                self.drop(f"silent for {quiet_ns / SECOND:.0f} s")
            if self._drop:
                return
            if (
                socket.ping_every_ms
                and now_ns - self._pinged_ns >= socket.ping_every_ms * 1_000_000
            ):
                self._pinged_ns = now_ns
                self._ping()
            if self._life_ns and now_ns - began_ns > self._life_ns:
                self.leaving.set()

    def _timed_out(self, timers: asyncio.Task[None]) -> None:
        """Without timers nobody notices a dead line: a fault there ends the connection."""
        if not timers.cancelled() and (fault := timers.exception()) is not None:
            self.drop(f"a fault of our own: {type(fault).__name__}")

    def _ping(self) -> None:
        ws = self._ws
        if ws is None or ws.paused:  # it takes nothing: silence will tell
            return
        if (frame := self.socket.ping(self._stamp(self.token))) is not None:
            try:
                self.write(frame)
            except ConnectionError:
                return  # the reader sees it too

    async def _close(self, ws: ClientConnection) -> None:
        try:
            if not self._drop:
                async with asyncio.timeout(CLOSE_S):
                    await ws.close()
        except (TimeoutError, ConnectionClosed):
            pass  # it was told; more cannot be done
        finally:
            ws.transport.abort()


def _ending(end: ConnectionClosed) -> str:
    """Why a connection ended, in words."""
    if end.rcvd is not None and (end.sent is None or end.rcvd_then_sent):
        return f"closed by the venue ({end.rcvd.code})"
    return f"given up by us ({end.sent.code})" if end.sent is not None else "cut"
