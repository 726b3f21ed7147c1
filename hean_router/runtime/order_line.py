"""Keeps one kind of an account's private sockets connected."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from hean_router.domain.errors import VenueError
from hean_router.runtime.clock import Clock
from hean_router.runtime.limits import SECOND
from hean_router.runtime.order_socket import OrderConnection

RETRY_S = 0.25  # bound of the first wait after a lost connection; doubles
RETRY_MAX_S = 30.0
REFUSED_S = 600.0  # between two logins with a key that the venue has refused for good
STEADY_S = 60.0  # a connection that lived this long starts the waits anew
HAND_OVER_S = 15.0  # how long an old connection may wait for its last answers


class SocketLine:
    """One kind of socket: `current` is the connection to use, None while there is none.

    `make` opens nothing, it builds the next connection (asking for a token where one is wanted).
    `ended(line, conn, why)` hears of every connection's end, after `current` has been put right.
    """

    def __init__(
        self,
        make: Callable[["SocketLine"], Awaitable[OrderConnection]],
        ended: Callable[["SocketLine", OrderConnection | None, str], None],
        clock: Clock,
        rng: Random,
        *,
        takes_orders: bool,
        tells_events: bool,
    ) -> None:
        self.current: OrderConnection | None = None
        self.why = "connecting"
        self.takes_orders, self.tells_events = takes_orders, tells_events
        self._make, self._said_end = make, ended
        self._clock, self._rng = clock, rng
        self._failures = 0
        self._tasks: set[asyncio.Task[str]] = set()
        self._retiring: set[asyncio.Task[None]] = set()
        self._latest: OrderConnection | None = None  # the one that was made last
        self._fault: BaseException | None = None  # of our own, while one retired

    def stood(self, conn: OrderConnection) -> None:
        """`conn` is logged in: it is the one to use from now on."""
        self.current, self.why = conn, ""

    async def run(self) -> None:
        """Stay connected until cancelled; raises what is a fault of our own."""
        try:
            while True:
                self._raise()
                await self._once()
        finally:
            running = {*self._tasks, *self._retiring}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            self.current, self.why = None, "stopped"

    async def _once(self) -> None:
        """One connection, until it ends or should be followed by another."""
        began_ns = self._clock()
        try:
            conn = await self._make(self)
        except VenueError as fault:
            await self._failed(None, str(fault))
            return
        self._latest = conn
        self._raise()  # it may have failed while nobody looked
        task = asyncio.create_task(conn.run())
        self._tasks.add(task)
        leaving = asyncio.create_task(conn.leaving.wait())
        try:
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        self._raise()
        if not task.done():  # first the next one, then this one's end
            retiring = asyncio.create_task(self._retire(conn, task))
            self._retiring.add(retiring)
            retiring.add_done_callback(self._retired)
            await self._pause(RETRY_S)  # a venue that closes all it opens is not to be hammered
            return
        if self._clock() - began_ns > STEADY_S * SECOND:
            self._failures = 0
        await self._failed(conn, self._why(task))

    async def _failed(self, conn: OrderConnection | None, why: str) -> None:
        refused = conn is not None and conn.refused is not None and conn.refused.final
        self._end(conn, why)
        if refused:
            await asyncio.sleep(REFUSED_S)
            return
        bound_s = min(RETRY_MAX_S, RETRY_S * 2 ** min(self._failures, 10))
        self._failures += 1
        await self._pause(bound_s)

    async def _pause(self, bound_s: float) -> None:
        await asyncio.sleep(bound_s * (0.5 + self._rng.random() / 2))

    async def _retire(self, conn: OrderConnection, task: asyncio.Task[str]) -> None:
        """Let `conn` go on until another is in use and its own requests are answered."""
        left_s = HAND_OVER_S
        while not task.done():
            await asyncio.wait({task}, timeout=0.25)
            if self.current is conn:
                continue
            left_s -= 0.25
            if not conn.pending or left_s <= 0:
                break
        task.cancel()
        await asyncio.wait({task})
        self._end(conn, "changed" if task.cancelled() else self._why(task))

    def _raise(self) -> None:
        """Raise what failed while a connection retired."""
        if self._fault is not None:
            raise self._fault

    def _retired(self, task: asyncio.Task[None]) -> None:
        """What fails there ends `run`, as anywhere else: nobody else looks at it."""
        self._retiring.discard(task)
        if task.cancelled() or (fault := task.exception()) is None:
            return
        self._fault = fault
        if self._latest is not None:
            self._latest.leaving.set()  # so that `run` looks

    def _why(self, task: asyncio.Task[str]) -> str:
        """Why a connection ended; raises what is a fault of our own."""
        self._tasks.discard(task)
        try:
            return task.result()
        except VenueError as fault:
            return str(fault)

    def _end(self, conn: OrderConnection | None, why: str) -> None:
        if conn is None or self.current is conn or self.current is None:
            if self.current is conn:
                self.current = None
            if self.current is None:
                self.why = why
        self._said_end(self, conn, why)
