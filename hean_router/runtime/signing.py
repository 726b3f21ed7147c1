"""One lane per key: requests are signed in the order in which they leave, with rising nonces."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from heapq import heappop, heappush

from hean_router.domain.order import Stamp
from hean_router.runtime.clock import Clock
from hean_router.runtime.http import NeverLeft
from hean_router.runtime.limits import SECOND
from hean_router.venue import HttpRequest
from hean_router.venue.order_contract import OrderCodec

BLOCK = 10_000  # nonces that are reserved at once; the next block is asked for half-way


class NonceLane:
    """Nonces of one key, and whose turn it is to use one.

    They begin at the time in microseconds, or at what the journal granted last where that is more,
    and rise by one: so they rise over restarts, and over a lost journal too.  Where the venue wants
    them in order (`rising`), one request is under way at a time, urgent ones first, and none uses
    a nonce that is not on disk as reserved (`moved` asks for that, `grant` allows it).
    """

    def __init__(
        self, now_ns: int, granted: int, moved: Callable[[int], None], *, rising: bool
    ) -> None:
        self._next = max(granted, now_ns // 1_000, 1)
        self._below = self._next
        self._asked = self._next
        self._moved, self._rising = moved, rising
        self._room = asyncio.Event()
        self._busy = False
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def reserve(self) -> None:
        """Ask for room, if it runs short."""
        if self._rising and self._asked - self._next < BLOCK // 2:
            self._asked = self._next + BLOCK
            self._moved(self._asked)

    def grant(self, below: int) -> None:
        """Nonces below that may be used."""
        self._below = max(self._below, below)
        if self._next < self._below:
            self._room.set()

    def take(self) -> int:
        """The next nonce.  Where they must be granted: only within `turn`."""
        assert not self._rising or self._next < self._below, "a nonce that is not on disk"
        nonce, self._next = self._next, self._next + 1
        if self._rising:
            if self._next >= self._below:
                self._room.clear()
            self.reserve()
        return nonce

    def leap(self, now_ns: int) -> None:
        """The venue has seen a higher nonce (another program uses the key): go on from now."""
        self._next = max(self._next, now_ns // 1_000)
        if self._rising:
            if self._next >= self._below:
                self._room.clear()
            self.reserve()

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncIterator[None]:
        """Until its block ends nobody else signs; no bound where order does not matter."""
        if not self._rising:
            yield
            return
        await self._acquire(0 if urgent else 1)
        try:
            await self._room.wait()
            yield
        finally:
            self._release()

    async def _acquire(self, rank: int) -> None:
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heappush(self._waiting, (rank, self._count, mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._release()  # it was our turn: pass it on
            raise

    def _release(self) -> None:
        while self._waiting:
            _, _, after = heappop(self._waiting)
            if not after.done():
                after.set_result(None)
                return
        self._busy = False


class Signing:
    """Signs what one order, one cancel or one question sends, at the moment it leaves.

    `left_ns` is when the first request left (0: none has), `deadline_ms` what the last one said.
    """

    def __init__(
        self,
        codec: OrderCodec,
        lane: NonceLane,
        stamp: Callable[[], Stamp],
        clock: Clock,
        *,
        urgent: bool = False,
        leave_by_ns: int = 0,
    ) -> None:
        self.left_ns = 0
        self.deadline_ms = 0
        self.leave_s = max(0.001, (leave_by_ns - clock()) / SECOND) if leave_by_ns else 0.0
        self._codec, self._lane, self._stamp, self._clock = codec, lane, stamp, clock
        self._urgent, self._leave_by_ns = urgent, leave_by_ns

    def lane(self) -> AbstractAsyncContextManager[None]:
        return self._lane.turn(urgent=self._urgent)

    def sign(self, request: HttpRequest) -> HttpRequest:
        now_ns = self._clock()
        if self._leave_by_ns and now_ns > self._leave_by_ns:
            raise NeverLeft("late", f"{request.path}: too late to leave")
        stamp = self._stamp()
        signed = self._codec.sign(request, stamp)
        self.deadline_ms = stamp.deadline_ms
        self.left_ns = self.left_ns or now_ns
        return signed
