"""Runs dialogues (`Ask`) with a venue's REST face, inside its limits."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TypeVar

import aiohttp
from msgspec import MsgspecError
from yarl import URL

from hean_router.domain.errors import Unreachable, VenueError
from hean_router.domain.instrument import Part
from hean_router.domain.venue import VenueSpec
from hean_router.runtime.clock import Clock
from hean_router.runtime.listener import Listener
from hean_router.venue import Answer, Ask, HttpRequest, Limiter

T = TypeVar("T")

NO_NETWORK = "check the network, or the venue's hosts in config/venues.toml"
NO_TRUST = "check this machine's clock and certificates, and any proxy that breaks into TLS"

TIMEOUT_S = 10.0
BODY_MAX = 64 << 20  # bytes after decompression; the longest honest answer is about 20 MB
WAIT_MAX_NS = 30_000_000_000
# How long to hold back after such an answer, where the venue does not say (Bybit bans an address
# that asks too much for ten minutes by 403; Binance's 418 always says).
_HOLD_S = {403: 600, 418: 120, 429: 10}


class Http:
    """One venue's REST face.  `connector` makes aiohttp's connector (the virtual loop has its own).

    `direct` keeps the environment's proxy out, for sockets too: simulators are on this machine, or
    in this process.

    Raises `VenueError` for anything that is not an answer; what an answer means is the dialogue's
    business.
    """

    def __init__(
        self,
        spec: VenueSpec,
        hosts: Mapping[str, str],
        clock: Clock,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
        headers: Mapping[str, str] | None = None,
        listener: Listener | None = None,
        *,
        direct: bool = False,
    ) -> None:
        self.spec, self.hosts = spec, hosts
        self.direct = direct or connector is not None
        self.requests = 0
        self._clock = clock
        self._connector, self._listener = connector, listener
        self._headers = dict(headers or {})  # what this environment wants on every request
        self._session: aiohttp.ClientSession | None = None
        self._limits = {name: Limiter(limit, 0.8) for name, limit in spec.rest_limits.items()}

    async def ask(self, part: Part, ask: Ask[T], timeout_s: float = TIMEOUT_S) -> T:
        """Carry `ask` to its end and return what it returns."""
        request = next(ask)
        try:
            while True:
                answer = await self._answer(part, request, timeout_s)
                try:
                    request = ask.send(answer)
                except (MsgspecError, ValueError, KeyError, IndexError, TypeError) as fault:
                    why = f"{request.path}: unreadable answer ({type(fault).__name__}: {fault})"
                    raise VenueError(f"{why}: {answer.status} {answer.body[:120]!r}") from fault
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            ask.close()

    async def _answer(self, part: Part, request: HttpRequest, timeout_s: float) -> Answer:
        await self._pay(request)
        url = self.url(part, request)
        self.requests += 1
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client().request(
                    request.method,
                    url,
                    headers={**self._headers, **request.headers},
                    data=request.body or None,
                    allow_redirects=False,
                ) as response,
            ):
                body = await response.content.read(BODY_MAX + 1)
                while not response.content.at_eof() and len(body) <= BODY_MAX:
                    body += await response.content.read(BODY_MAX + 1 - len(body))
        except TimeoutError:
            raise VenueError(f"{request.path}: no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            raise _named(fault, request.path) from fault
        if len(body) > BODY_MAX:
            raise VenueError(f"{request.path}: answer larger than {BODY_MAX >> 20} MiB")
        if self._listener is not None:
            self._listener.answered(str(url), response.status, body, self._clock())
        headers = {name.lower(): value for name, value in response.headers.items()}
        if response.status in _HOLD_S:
            self._hold(request.bucket, response.status, headers.get("retry-after", ""))
        return Answer(response.status, headers, body)

    def url(self, part: Part, request: HttpRequest) -> URL:
        """Where `request` goes; the query is kept to the letter."""
        base = self.spec.host(self.hosts, part, request.host).rstrip("/")
        query = f"?{request.query}" if request.query else ""
        return URL(f"{base}{request.path}{query}", encoded=True)

    async def _pay(self, request: HttpRequest) -> None:
        """Wait for the request's turn; refuse where that would be longer than it is worth."""
        limiter = self._limits.get(request.bucket)
        if limiter is None:
            return
        while wait_ns := limiter.take(request.cost, self._clock()):
            if wait_ns > WAIT_MAX_NS:
                seconds = wait_ns / 1e9
                raise VenueError(
                    f"{request.path}: held back by the venue's limit for {seconds:.0f} s"
                )
            await asyncio.sleep(wait_ns / 1e9)

    def _hold(self, bucket: str, status: int, retry_after: str) -> None:
        """The venue says to wait: nobody asks meanwhile."""
        seconds = int(retry_after) if retry_after.isdecimal() else _HOLD_S[status]
        if limiter := self._limits.get(bucket):
            limiter.block(self._clock() + min(seconds, 3 * 86_400) * 1_000_000_000)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector() if self._connector else None,
                auto_decompress=True,
                trust_env=not self.direct,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def words_of(fault: OSError) -> str:
    """What the system says of `fault`; asyncio puts an address in its place."""
    return os.strerror(fault.errno) if fault.errno else str(fault)


def _named(fault: Exception, path: str) -> VenueError:
    """What went wrong, by the step it happened in."""
    match fault:
        case aiohttp.ClientConnectorDNSError():
            return Unreachable("DNS", f"{fault.host} is not found", NO_NETWORK)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Unreachable("TLS", str(fault), NO_TRUST)
        case aiohttp.ClientConnectorError():
            why = words_of(fault.os_error)
            return Unreachable("connect", f"{fault.host}:{fault.port}: {why}", NO_NETWORK)
        case _:
            return VenueError(f"{path}: {type(fault).__name__}: {fault}")
