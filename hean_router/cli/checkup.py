"""One venue looked over, step by step, from its name in the DNS to its answer to a ping."""

import asyncio
import json
import socket
import ssl
from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from random import Random
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from msgspec import Struct
from msgspec.structs import replace

from hean_router.app import Target
from hean_router.book import BookState
from hean_router.config import Settings
from hean_router.domain.errors import ConfigError, Unreachable, VenueError
from hean_router.domain.feed import Notice, NoticeKind
from hean_router.domain.instrument import Instrument, Pair, Trading
from hean_router.domain.venue import Integrity
from hean_router.runtime.clock import Clock, wall_ns
from hean_router.runtime.http import NO_NETWORK, NO_TRUST, Http, words_of
from hean_router.runtime.sockets import FeedSocket
from hean_router.venue import FeedSession, SessionEvent, by_symbol, registry

MS, SECOND = 1_000_000, 1_000_000_000
STEP_S = 5.0  # for a name, a connection, an answer
OFFSET_WARN_NS = 500 * MS
OFFSET_FAIL_NS = 5 * SECOND  # venues refuse signed requests that are older
ASKED = 3  # times for the clock: the quickest answer bounds it best
CERTIFICATE_WARN_DAYS = 14
PING_MS = 1_000  # a look is short: pings come sooner than usual
LATER = "try again later; see the venue's own status page"
NO_CLOCK = "set this machine's clock: chronyd or systemd-timesyncd"


class Status(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(Struct, frozen=True):
    """One thing looked at."""

    name: str
    status: Status
    text: str
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return {
            "name": self.name,
            "status": self.status.value,
            "text": self.text,
            "fix": self.fix,
        }


class _Stop(Exception):
    """What failed leaves nothing to look at behind it."""


class Ear:
    """A `Listener` that remembers when things came, not what."""

    def __init__(self) -> None:
        self.opened_ns = self.first_ns = self.last_ns = 0
        self.frames = 0
        self.longest_ns = 0  # silence
        self.pinged_ns = 0
        self.pong_ns = 0  # from a ping to its answer; 0 = none yet
        self._ping: Any = None
        self._pings = b""

    def connected(self, url: str, now_ns: int) -> str:
        self.opened_ns = self.last_ns = now_ns
        return url

    def received(self, conn: str, data: bytes, now_ns: int) -> None:
        self.frames += 1
        self.first_ns = self.first_ns or now_ns
        self.longest_ns = max(self.longest_ns, now_ns - self.last_ns)
        self.last_ns = now_ns
        if self.pinged_ns and not self.pong_ns and self._answers(data):
            self.pong_ns = max(1, now_ns - self.pinged_ns)

    def expect(self, ping: bytes) -> None:
        """What the codec's pings look like, but for their numbers."""
        self._pings = _shape(ping)

    def sent(self, conn: str, data: bytes, now_ns: int) -> None:
        if self._pings and not self.pong_ns and _shape(data) == self._pings:
            self.pinged_ns, self._ping = now_ns, _id(data)

    def closed(self, conn: str, why: str, now_ns: int) -> None:
        """A socket that ends tells why by itself."""

    def answered(self, url: str, status: int, body: bytes, now_ns: int) -> None:
        """Answers are judged by whoever asked."""

    def _answers(self, data: bytes) -> bool:
        return b"pong" in data.lower() or (self._ping is not None and _id(data) == self._ping)


def _shape(frame: bytes) -> bytes:
    """A frame without its digits.

    >>> _shape(b'{"method":"ping","req_id":17}')
    b'{"method":"ping","req_id":}'
    """
    return frame.translate(None, b"0123456789")


def _id(frame: bytes) -> Any:
    """The number by which a request and its answer belong together; None without."""
    try:
        value = json.loads(frame)
    except ValueError:
        return None
    if not isinstance(value, dict):
        return None
    return value.get("id", value.get("req_id"))


class Checkup:
    """The checks of one part of one venue."""

    def __init__(
        self, target: Target, pair: Pair, settings: Settings, clock: Clock, seconds: float
    ) -> None:
        self.target, self.pair = target, pair
        self.checks: list[Check] = []
        self._settings, self._clock, self._seconds = settings, clock, seconds
        self._connector = registry.connector(target.venue)
        spec = self._connector.spec
        assert pair.part in spec.parts, f"{target.venue} has no {pair.part} market"
        try:
            self._rest = urlsplit(spec.host(target.hosts, pair.part, "rest"))
            spec.host(target.hosts, pair.part, "ws")
        except KeyError as missing:
            known = ", ".join(sorted(target.hosts)) or "none"
            raise ConfigError(
                f"{target.venue}: environment {target.env!r} has no {missing} host",
                f"give hosts.rest and hosts.ws (known: {known})",
            ) from None
        self._ws = urlsplit(self._connector.feed_url(pair.part, target.hosts))
        self._http = Http(spec, target.hosts, clock, None, spec.headers.get(target.env))

    async def run(self) -> list[Check]:
        """Everything, until something leaves nothing behind it to look at."""
        try:
            for place in self._places():
                await self._names(place)
            for place in self._places():
                await self._connects(place)
            await self._tells_time()
            await self._tells_status()
            await self._speaks(await self._lists())
        except _Stop:
            pass
        finally:
            await self._http.close()
        return self.checks

    def _say(self, name: str, status: Status, text: str, fix: str = "") -> None:
        self.checks.append(Check(name, status, text, fix))

    def _fail(self, name: str, text: str, fix: str = "") -> _Stop:
        self._say(name, Status.FAIL, text, fix)
        return _Stop()

    def _broken(self, name: str, fault: VenueError) -> _Stop:
        step = fault.step if isinstance(fault, Unreachable) else name
        return self._fail(step, str(fault).removeprefix(f"{step}: "), fault.fix or LATER)

    # ------------------------------------------------------------------------- reaching it

    def _places(self) -> Sequence[SplitResult]:
        """REST's and the socket's addresses, once where they are one."""
        places = {(place.hostname, _port(place)): place for place in (self._rest, self._ws)}
        return list(places.values())

    async def _names(self, place: SplitResult) -> None:
        host = place.hostname or ""
        if proxy := _proxy(place):
            self._say("DNS", Status.WARN, f"{host} is left to the proxy {proxy}")
            return
        began_ns = self._clock()
        try:
            async with asyncio.timeout(STEP_S):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, _port(place), type=socket.SOCK_STREAM
                )
        except TimeoutError:
            raise self._fail("DNS", f"{host}: no answer within {STEP_S:g} s", NO_NETWORK) from None
        except OSError as fault:
            raise self._fail("DNS", f"{host} is not found ({fault.strerror})", NO_NETWORK) from None
        addresses = sorted({str(one[4][0]) for one in found})
        more = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
        self._say("DNS", Status.OK, f"{host} is {addresses[0]}{more}, {self._took(began_ns)}")

    async def _connects(self, place: SplitResult) -> None:
        host, port = place.hostname or "", _port(place)
        secure = place.scheme in {"https", "wss"}
        name = "TLS" if secure else "connect"
        if proxy := _proxy(place):
            self._say(name, Status.WARN, f"{host}:{port} is left to the proxy {proxy}")
            return
        began_ns = self._clock()
        try:
            async with asyncio.timeout(STEP_S):
                _, writer = await asyncio.open_connection(
                    host, port, ssl=ssl.create_default_context() if secure else None
                )
        except TimeoutError:
            why = f"{host}:{port} does not answer within {STEP_S:g} s"
            raise self._fail(name, why, NO_NETWORK) from None
        except ssl.SSLError as fault:
            raise self._fail("TLS", f"{host}:{port}: {fault}", NO_TRUST) from None
        except OSError as fault:
            why = f"{host}:{port}: {words_of(fault)}"
            raise self._fail("connect", why, NO_NETWORK) from None
        took = self._took(began_ns)
        tls = writer.get_extra_info("ssl_object")
        writer.transport.abort()
        if tls is None:
            self._say("connect", Status.OK, f"{host}:{port} in {took}, without TLS")
            return
        days = _days_left(tls)
        status = Status.WARN if days < CERTIFICATE_WARN_DAYS else Status.OK
        text = f"{host}:{port} in {took}, {tls.version()}, certificate for {days} more days"
        self._say("TLS", status, text)

    # ------------------------------------------------------------------------- asking it

    async def _tells_time(self) -> None:
        """The venue's clock against ours: known to half a round trip."""
        seen: list[tuple[int, int, int]] = []  # round trip, our clock half-way, the venue's
        for _ in range(ASKED):
            began_ns = self._clock()
            try:
                told_ns = await self._http.ask(
                    self.pair.part, self._connector.server_time(), STEP_S
                )
            except VenueError as fault:
                raise self._broken("clock", fault) from None
            ended_ns = self._clock()
            seen.append((ended_ns - began_ns, (began_ns + ended_ns) // 2, told_ns))
        # Cut off at a second (Kraken) or a millisecond: on average half of that is missing.
        cut_ns = SECOND if all(told_ns % SECOND == 0 for *_, told_ns in seen) else MS
        trip_ns, ours_ns, told_ns = min(seen)
        offset_ns = told_ns + cut_ns // 2 - ours_ns
        bound_ns = (trip_ns + cut_ns) // 2
        text = f"the venue's clock is {offset_ns / MS:+.0f} ms ± {bound_ns / MS:.0f} ms from ours"
        sure_ns = abs(offset_ns) - bound_ns
        if sure_ns > OFFSET_FAIL_NS:
            self._say("clock", Status.FAIL, text, NO_CLOCK)
        elif sure_ns > OFFSET_WARN_NS:
            self._say("clock", Status.WARN, text, NO_CLOCK)
        else:
            self._say("clock", Status.OK, text)

    async def _tells_status(self) -> None:
        try:
            notices = await self._http.ask(self.pair.part, self._connector.status(), STEP_S)
        except VenueError as fault:
            self._say("status", Status.WARN, f"not told: {fault}", fault.fix)
            return
        if not notices:
            self._say("status", Status.OK, "no maintenance told of")
        for notice in notices:
            halted = notice.kind is NoticeKind.HALTED
            status, fix = (Status.WARN, "wait for it to end") if halted else (Status.OK, "")
            self._say("status", status, f"{notice.kind.value}: {notice.text}", fix)

    async def _lists(self) -> Instrument:
        began_ns = self._clock()
        try:
            listed = await self._http.ask(
                self.pair.part, self._connector.instruments(self.pair.part)
            )
        except VenueError as fault:
            raise self._broken("instruments", fault) from None
        found = next((one for one in listed if one.pair == self.pair), None)
        if found is None:
            close = get_close_matches(str(self.pair), sorted(str(one.pair) for one in listed), n=1)
            raise self._fail(
                "instruments",
                f"{len(listed)} listed, {self.pair} not among them",
                f"name one that is: hean doctor --symbol {close[0] if close else 'BTC/USDT'}",
            )
        text = f"{len(listed)} listed in {self._took(began_ns)}; {self.pair} is {found.symbol}"
        if found.trading is Trading.OPEN:
            self._say("instruments", Status.OK, text)
        else:
            self._say("instruments", Status.WARN, f"{text}, {found.trading.value}")
        return found

    # ------------------------------------------------------------------------- hearing it

    async def _speaks(self, instrument: Instrument) -> None:
        """A real session over a real socket, for as long as the look lasts."""
        connector = self._connector
        codec = connector.feed(self.pair.part, by_symbol([instrument]))
        spec = replace(connector.spec, ping_every_ms=PING_MS)
        policy = self._settings.feeds.freshness.policy()
        session = FeedSession(spec, codec, [instrument], Random(), policy)
        ear, heard = Ear(), asyncio.Event()
        if ping := connector.feed(self.pair.part, {}).ping():
            ear.expect(ping.data)
        refused: list[str] = []

        def sink(_: FeedSession, events: Sequence[SessionEvent], _now_ns: int) -> None:
            notices = [event for event in events if isinstance(event, Notice)]
            refused.extend(one.text for one in notices if one.kind is NoticeKind.REFUSED)
            heard.set()

        url = self._ws.geturl()
        pump = FeedSocket(url, session, self.pair.part, self._http, self._clock, sink, listener=ear)
        began_ns = self._clock()
        task = asyncio.create_task(pump.run())
        try:
            limit_s = policy.fresh.sync_ns / SECOND + STEP_S
            await self._until_live(session, instrument, task, heard, limit_s)
            self._judge_start(session, instrument, task, ear, refused, began_ns)
            await asyncio.wait({task}, timeout=self._seconds)
            self._judge_stream(session, instrument, task, ear)
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _until_live(
        self,
        session: FeedSession,
        instrument: Instrument,
        task: "asyncio.Task[str]",
        heard: asyncio.Event,
        limit_s: float,
    ) -> None:
        waiting = asyncio.create_task(heard.wait())
        try:
            async with asyncio.timeout(limit_s):
                while session.book(instrument).state is not BookState.LIVE and not task.done():
                    await asyncio.wait({waiting, task}, return_when="FIRST_COMPLETED")
                    if waiting.done():
                        heard.clear()
                        waiting = asyncio.create_task(heard.wait())
        except TimeoutError:
            pass
        finally:
            waiting.cancel()

    def _judge_start(
        self,
        session: FeedSession,
        instrument: Instrument,
        task: "asyncio.Task[str]",
        ear: Ear,
        refused: Sequence[str],
        began_ns: int,
    ) -> None:
        book = session.book(instrument)
        if not ear.opened_ns:
            fault = task.exception() if task.done() else None
            if isinstance(fault, VenueError):
                raise self._broken("subscribe", fault)
            raise self._fail("subscribe", f"no socket stands ({fault or 'still connecting'})")
        if refused:
            raise self._fail("subscribe", f"refused: {refused[0]}", "see the venue's own words")
        if not ear.frames:
            ended = task.result() if task.done() and not task.exception() else "nothing came"
            raise self._fail("subscribe", f"no frame in answer ({ended})", NO_NETWORK)
        first = (ear.first_ns - ear.opened_ns) / MS
        self._say("subscribe", Status.OK, f"first frame {first:.1f} ms after the socket stood")
        if book.state is not BookState.LIVE:
            raise self._fail("snapshot", f"{book.state.value}: {book.reason}")
        took = (book.since_ns - ear.opened_ns) / MS
        levels = f"{len(book.bids)} bids and {len(book.asks)} asks"
        self._say("snapshot", Status.OK, f"whole after {took:.1f} ms: {levels}")

    def _judge_stream(
        self, session: FeedSession, instrument: Instrument, task: "asyncio.Task[str]", ear: Ear
    ) -> None:
        counts, spec = session.book_counts(instrument), self._connector.spec
        watched = f"{self._seconds:g} s"
        if counts.deltas:
            self._say("first delta", Status.OK, f"{counts.deltas} changes within {watched}")
        else:
            self._say(
                "first delta",
                Status.WARN,
                f"no change within {watched}: a quiet book, or a dead subscription",
                "look longer: --seconds 60",
            )
        self._judge_proof(session, instrument)
        if task.done():
            fault = task.exception()
            self._say("silence", Status.FAIL, f"the socket ended: {fault or task.result()}")
            return
        silent_ns = max(ear.longest_ns, self._clock() - ear.last_ns)
        silence = f"longest silence {silent_ns / SECOND:.1f} s of {spec.silence_ms / 1000:g} s"
        if ear.pong_ns:
            self._say(
                "silence", Status.OK, f"ping answered in {ear.pong_ns / MS:.1f} ms; {silence}"
            )
        elif not ear.pinged_ns:
            self._say("silence", Status.OK, f"no ping was due; {silence}")
        else:
            self._say("silence", Status.WARN, f"a ping was not answered; {silence}", NO_NETWORK)

    def _judge_proof(self, session: FeedSession, instrument: Instrument) -> None:
        counts, integrity = session.book_counts(instrument), session.codec.integrity
        if counts.gaps or counts.checksums_bad:
            text = f"{counts.gaps} gaps, {counts.checksums_bad} bad checksums"
            self._say("integrity", Status.FAIL, text, "messages are lost or altered on the way")
        elif counts.checksums_ok:
            self._say("integrity", Status.OK, f"{counts.checksums_ok} checksums hold")
        elif integrity is Integrity.CHAIN:
            text = f"every one of {counts.deltas} changes builds on the one before"
            self._say("integrity", Status.OK, text)
        else:
            self._say("integrity", Status.WARN, "nothing proves this book")

    def _took(self, began_ns: int) -> str:
        return f"{(self._clock() - began_ns) / MS:.1f} ms"


def _port(place: SplitResult) -> int:
    return place.port or (443 if place.scheme in {"https", "wss"} else 80)


def _proxy(place: SplitResult) -> str:
    """The proxy that the environment wants for this address; empty for none."""
    host = place.hostname or ""
    scheme = {"wss": "https", "ws": "http"}.get(place.scheme, place.scheme)
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    return "" if not proxy or proxy_bypass(host) else proxy


def _days_left(tls: ssl.SSLObject) -> int:
    """Until the venue's certificate ends."""
    ends = (tls.getpeercert() or {}).get("notAfter")
    if not isinstance(ends, str):
        return 0
    return int(ssl.cert_time_to_seconds(ends) - wall_ns() / SECOND) // 86_400
