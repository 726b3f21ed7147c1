"""Runs dialogues (`Ask`) with a venue's REST face, inside its limits."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar

import aiohttp
from msgspec import MsgspecError, Struct
from yarl import URL

from hean_router.domain.errors import Unreachable, VenueError
from hean_router.domain.instrument import Part
from hean_router.domain.venue import VenueSpec
from hean_router.runtime.clock import Clock
from hean_router.runtime.limits import SECOND, Limits, held_s
from hean_router.runtime.listener import Listener
from hean_router.venue import Answer, Ask, HttpRequest

T = TypeVar("T")

NO_NETWORK = "check the network, or the venue's hosts in config/venues.toml"
NO_TRUST = "check this machine's clock and certificates, and any proxy that breaks into TLS"

TIMEOUT_S = 10.0
BODY_MAX = 64 << 20  # bytes after decompression; the longest honest answer is about 20 MB
WAIT_MAX_NS = 30_000_000_000
# What reading a hostile answer may raise: anything but `VenueError` is no reason to end a program.
_UNREADABLE = (
    MsgspecError,
    ArithmeticError,  # decimal's InvalidOperation
    AssertionError,  # a tick of 0
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


class NeverLeft(VenueError):
    """A request of which certainly no byte has left; `code` is stable (late, no_budget, …)."""

    def __init__(self, code: str, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.code = code


class Signature(Protocol):
    """Signs one request, or those of one question, when they leave.

    `leave_s` bounds the waiting for limits, for the lane and for a connection; 0: no bound of its
    own.
    """

    leave_s: float

    def lane(self) -> AbstractAsyncContextManager[None]:
        """The turn to leave; held until the answer has come, where nonces must arrive in order."""
        ...

    def sign(self, request: HttpRequest) -> HttpRequest:
        """The request as it leaves.  Raises `NeverLeft` when it must not any more."""
        ...


class Exchange(Struct, frozen=True):
    """One request and its answer; `sent_ns` before anything is written, `got_ns` at its headers."""

    answer: Answer
    sent_ns: int
    got_ns: int


class Http:
    """One venue's REST face.  `connector` makes aiohttp's connector (the virtual loop has its own).

    `limits` are shared with whoever else speaks to the venue from here: it counts by address.
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
        limits: Limits | None = None,
    ) -> None:
        self.spec, self.hosts = spec, hosts
        self.limits = limits or Limits(spec, clock)
        self.direct = direct or connector is not None
        self.requests = 0
        self._clock = clock
        self._connector, self._listener = connector, listener
        self._headers = dict(headers or {})  # what this environment wants on every request
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        part: Part,
        ask: Ask[T],
        timeout_s: float = TIMEOUT_S,
        signature: Signature | None = None,
    ) -> T:
        """Carry `ask` to its end and return what it returns."""
        return (await self.timed(part, ask, timeout_s, signature))[0]

    async def timed(
        self,
        part: Part,
        ask: Ask[T],
        timeout_s: float = TIMEOUT_S,
        signature: Signature | None = None,
    ) -> tuple[T, Exchange]:
        """The same, and the last exchange with its times."""
        request = next(ask)
        try:
            while True:
                exchange = await self.send(part, request, timeout_s, signature)
                answer = exchange.answer
                try:
                    request = ask.send(answer)
                except _UNREADABLE as fault:
                    # What answers a signed request may hold a token, or quote what we have sent.
                    said = "" if request.signed else f": {fault}"
                    body = b"" if request.signed else answer.body[:120]
                    why = f"{request.path}: unreadable answer ({type(fault).__name__}{said})"
                    raise VenueError(f"{why}: {answer.status} {body!r}") from (
                        None if request.signed else fault
                    )
        except StopIteration as end:
            value: T = end.value
            return value, exchange
        finally:
            ask.close()

    async def send(
        self,
        part: Part,
        request: HttpRequest,
        timeout_s: float = TIMEOUT_S,
        signature: Signature | None = None,
    ) -> Exchange:
        """One request and its answer, whatever that says; signed by `signature` if it wants that.

        Raises `NeverLeft` where certainly nothing was sent, and `VenueError` where that is open.
        """
        if request.signed and signature is None:
            raise NeverLeft("not_signed", f"{request.path} wants a key")
        leave_s = signature.leave_s if signature else 0.0
        patience_ns = int(leave_s * SECOND) or WAIT_MAX_NS
        began_ns = self._clock()
        try:
            url = str(self.url(part, request))
            gate = self.limits.rest(url, request.bucket)
        except ValueError as fault:
            raise NeverLeft("not_connected", f"{request.path}: {fault}", NO_NETWORK) from None
        try:
            await gate.wait(request.cost, patience_ns)
        except VenueError as fault:
            raise NeverLeft("no_budget", f"{request.path}: {fault}") from None
        if not request.signed or signature is None:
            return await self._exchange(part, request, timeout_s)
        try:
            async with _entered(signature.lane(), leave_s):
                left_s = leave_s - (self._clock() - began_ns) / SECOND if leave_s else 0.0
                if leave_s and left_s <= 0:
                    raise NeverLeft("late", f"{request.path}: waited too long for its turn")
                return await self._exchange(part, signature.sign(request), timeout_s, left_s)
        except _TooLate:
            raise NeverLeft("late", f"{request.path}: waited too long for its turn") from None

    async def _exchange(
        self, part: Part, request: HttpRequest, timeout_s: float, connect_s: float = 0.0
    ) -> Exchange:
        self.requests += 1
        url = self.url(part, request)
        sent_ns = self._clock()
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client().request(
                    request.method,
                    url,
                    headers={**self._headers, **request.headers},
                    data=request.body or None,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, connect=connect_s or None),
                ) as response,
            ):
                got_ns = self._clock()
                headers = {name.lower(): value for name, value in response.headers.items()}
                self._heed(str(url), request.bucket, response.status, headers)
                body = await _read(response)
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as fault:
            if not request.signed:
                raise _named(fault, request.path) from fault
            if isinstance(fault, aiohttp.ConnectionTimeoutError):  # its text holds the address
                what = f"connect: not within {connect_s:.3f} s"
            else:
                what = str(_named(fault, request.path))  # a host, and no query
            raise NeverLeft("not_connected", f"{request.path}: {what}", NO_NETWORK) from None
        except TimeoutError:
            raise VenueError(f"{request.path}: no answer within {timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as fault:
            if request.signed:  # some of them, and all of their causes, hold the whole address
                raise VenueError(f"{request.path}: {type(fault).__name__}") from None
            raise _named(fault, request.path) from fault
        if body is None:
            raise VenueError(f"{request.path}: answer larger than {BODY_MAX >> 20} MiB")
        if self._listener is not None and not request.signed:
            self._listener.answered(str(url), response.status, body, got_ns)
        return Exchange(Answer(response.status, headers, body), sent_ns, got_ns)

    def _heed(self, url: str, bucket: str, status: int, headers: Mapping[str, str]) -> None:
        """Where the venue says to wait, nobody asks meanwhile, whatever becomes of the body."""
        now_ns = self._clock()
        if not (wait_s := held_s(status, headers, now_ns)):
            return
        until_ns, why = now_ns + wait_s * SECOND, f"HTTP {status}"
        if status in {403, 418}:  # our address is shut out, not only this kind of question
            self.limits.ban(url, until_ns, why)
        else:
            self.limits.rest(url, bucket).block(until_ns, why)

    def url(self, part: Part, request: HttpRequest) -> URL:
        """Where `request` goes; the query is kept to the letter."""
        base = self.spec.host(self.hosts, part, request.host).rstrip("/")
        query = f"?{request.query}" if request.query else ""
        return URL(f"{base}{request.path}{query}", encoded=True)

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector() if self._connector else None,
                auto_decompress=True,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # ours covers all
                trust_env=not self.direct,
            )
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None


class _TooLate(Exception):
    """The turn did not come in time."""


@asynccontextmanager
async def _entered(lane: AbstractAsyncContextManager[None], within_s: float) -> AsyncIterator[None]:
    """Hold `lane`; raises `_TooLate` if the turn does not come within `within_s` (0: any time)."""
    try:
        async with asyncio.timeout(within_s or None):
            await lane.__aenter__()
    except TimeoutError:
        raise _TooLate from None
    try:
        yield
    finally:
        await lane.__aexit__(None, None, None)


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The whole body, decompressed; None if it is longer than any honest one."""
    pieces, size = [], 0
    while piece := await response.content.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > BODY_MAX:
            return None
    return b"".join(pieces)


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
            said = " ".join(str(fault).split())  # some libraries point with carets, over lines
            return VenueError(f"{path}: {type(fault).__name__}: {said}")
