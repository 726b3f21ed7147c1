"""What a venue lets one address do: shared by all that speak to it from here."""

import asyncio
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from msgspec import structs

from hean_router.domain.errors import VenueError
from hean_router.domain.venue import RateLimit, VenueSpec
from hean_router.venue import Limiter

SECOND = 1_000_000_000
SHARE = 0.8  # of what the venue allows; the rest is for what is under way, and for others here
JITTER_MS = 500  # by which two requests may come closer on their way
_UNLIMITED = RateLimit(1_000_000, 1_000)  # a bucket without a limit can still be told to wait


class Gate:
    """One limit, passed in the order of coming: a dear request is not starved by cheap ones."""

    def __init__(self, limit: RateLimit, clock: Callable[[], int]) -> None:
        # What left in time order may arrive closer together, the first over a new connection and
        # the next over one that stands: so the venue's window is taken to be a little longer.
        apart_ms = min(JITTER_MS, limit.per_ms // 4)
        self._limiter = Limiter(structs.replace(limit, per_ms=limit.per_ms + apart_ms), SHARE)
        self._clock = clock
        self._turn = asyncio.Lock()  # fair: first come, first served
        self._why = "the venue's limit"

    async def wait(self, cost: int, patience_ns: int = 0) -> None:
        """Wait for the turn.  With `patience_ns` never longer: raises `VenueError`.

        At once, where the venue has said to wait for longer than that.
        """
        if not patience_ns:
            return await self._pass(cost, 0)
        self._refuse(self._limiter.wait_ns(cost, self._clock()), patience_ns)
        try:
            async with asyncio.timeout(patience_ns / SECOND):
                await self._pass(cost, patience_ns)
        except TimeoutError:
            raise VenueError(
                f"held back by {self._why}: no turn within {patience_ns / SECOND:.0f} s"
            ) from None

    async def _pass(self, cost: int, patience_ns: int) -> None:
        async with self._turn:
            while wait_ns := self._limiter.take(cost, self._clock()):
                self._refuse(wait_ns, patience_ns)
                await asyncio.sleep(wait_ns / SECOND)

    def _refuse(self, wait_ns: int, patience_ns: int) -> None:
        if patience_ns and wait_ns > patience_ns:
            raise VenueError(f"held back by {self._why} for {wait_ns / SECOND:.0f} s")

    @property
    def capacity(self) -> int:
        """What passes in one window."""
        return self._limiter.capacity

    def left(self) -> int:
        """What could pass at once, by whoever does not queue."""
        return self._limiter.left(self._clock())

    def charge(self, cost: int) -> bool:
        """Pay for what goes another way (a socket that shares the limit), if it can pass now."""
        return self._limiter.take(cost, self._clock()) == 0

    def block(self, until_ns: int, why: str) -> None:
        """Let nobody through before `until_ns`; `why` is told to those who are refused."""
        self._limiter.block(until_ns)
        self._why = f"the venue's limit ({why})"


class Limits:
    """A venue's limits as it counts them: by our address, whatever part or purpose asks."""

    def __init__(self, spec: VenueSpec, clock: Callable[[], int]) -> None:
        self._spec, self._clock = spec, clock
        self._rest: dict[tuple[str, str], Gate] = {}
        self._connects: dict[str, Gate] = {}
        self._bans: dict[str, tuple[int, str]] = {}  # host -> until when, and why

    def rest(self, url: str, bucket: str) -> Gate:
        """The gate of requests to `url` that `bucket` pays for."""
        host = _host(url)
        if (gate := self._rest.get((host, bucket))) is None:
            limit = self._spec.rest_limits.get(bucket, _UNLIMITED)
            gate = self._rest[host, bucket] = Gate(limit, self._clock)
            if host in self._bans:
                gate.block(*self._bans[host])
        return gate

    def connects(self, url: str) -> Gate:
        """The gate of new sockets to `url`."""
        host = _host(url)
        if (gate := self._connects.get(host)) is None:
            gate = self._connects[host] = Gate(self._spec.connects, self._clock)
        return gate

    def ban(self, url: str, until_ns: int, why: str) -> None:
        """The venue shuts our address out: no bucket passes before `until_ns`."""
        host = _host(url)
        self._bans[host] = max((until_ns, why), self._bans.get(host, (0, "")))
        for (name, _), gate in self._rest.items():
            if name == host:
                gate.block(until_ns, why)


class KeyLimits(Limits):
    """What a venue lets one key do from this address: its own counters, and the shared ones."""

    def __init__(self, shared: Limits, spec: VenueSpec, clock: Callable[[], int]) -> None:
        super().__init__(spec, clock)
        self._shared = shared

    def rest(self, url: str, bucket: str) -> Gate:
        """The key's own gate where the venue counts `bucket` by key, else everybody's."""
        if bucket in self._spec.by_key:
            return super().rest(url, bucket)
        return self._shared.rest(url, bucket)

    def connects(self, url: str) -> Gate:
        """Everybody's: sockets are counted by address."""
        return self._shared.connects(url)

    def ban(self, url: str, until_ns: int, why: str) -> None:
        """An address that is shut out is so for every key."""
        super().ban(url, until_ns, why)
        self._shared.ban(url, until_ns, why)


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # no address at all, as whoever connects will say
        return url


def held_s(status: int, headers: Mapping[str, str], now_ns: int) -> int:
    """How long an answer asks us to wait, in seconds, at most three days; 0 = not at all.

    `Retry-After` counts seconds or names a moment; without a readable one, what experience says:
    Bybit bans an address that asks too much for ten minutes by 403; Binance's 418 always says.
    """
    if status not in _HOLD_S and not (status == 503 and "retry-after" in headers):
        return 0
    said = headers.get("retry-after", "").strip()
    wait_s = _HOLD_S.get(status, 0)
    if said.isascii() and said.isdecimal():
        wait_s = int(said[:9])
    elif moment := _moment(said):
        wait_s = max(0, moment - now_ns // SECOND)
    return min(wait_s, 3 * 86_400)


_HOLD_S = {403: 600, 418: 120, 429: 10}


def _moment(text: str) -> int:
    """Epoch seconds of an HTTP date; 0 if it is none."""
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return 0
