"""Market data of one part of one venue, over as many connections as it takes."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from random import Random

from msgspec import Struct

from hean_router.book import BookState
from hean_router.domain.errors import VenueError
from hean_router.domain.instrument import Instrument, Part, Trading, VenueId
from hean_router.runtime.clock import Clock
from hean_router.runtime.http import Http
from hean_router.runtime.listener import Listener
from hean_router.runtime.sockets import FeedSocket
from hean_router.telemetry import BookReading, FeedReading, Timing
from hean_router.venue import (
    BookCounts,
    Connector,
    FeedPair,
    FeedSession,
    Limiter,
    Policy,
    SessionCounts,
    SessionEvent,
    by_symbol,
)
from hean_router.venue.gateway import EventSink

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
RETRY_NS = SECOND // 2  # bound of the first wait after a lost connection; doubles
RETRY_MAX_NS = 30 * SECOND
STEADY_NS = 60 * SECOND  # a connection that lived this long starts the waits anew
# A session is changed this long before the venue would cut it, or sooner by up to as much again,
# so that many sessions do not change at once.
ROTATE_EARLY_NS = 300 * SECOND
HAND_OVER_NS = 30 * SECOND  # at most this long do two connections run side by side


class FeedCounts(Struct):
    """What happened to one venue's connections."""

    connects: int = 0
    failures: int = 0
    reconnects: int = 0
    rotations: int = 0
    faults: int = 0  # exceptions of our own: each is a bug, told in the log


class VenueFeed:
    """A `VenueGateway` over sessions and codecs, for every venue with a native connector.

    `tell(text)` hears of connections that fail, by step.  `fault` is why the last one could not be
    opened, None once one stands.
    """

    def __init__(
        self,
        connector: Connector,
        part: Part,
        http: Http,
        clock: Clock,
        rng: Random,
        *,
        policy: Policy = Policy(),  # noqa: B008 - frozen, a value
        tell: Callable[[str], None] | None = None,
        listener: Listener | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.id, self.part = connector.spec.id, part
        self.connector, self.http = connector, http
        self.counts = FeedCounts()
        self.lines: list[Line] = []
        self.fault: VenueError | None = None
        self._clock, self._rng, self._policy = clock, rng, policy
        self._tell = tell or (lambda text: log.warning("%s", text))
        self._listener, self._timing = listener, timing
        self._connects = Limiter(connector.spec.connects, 0.8)
        self._totals = SessionCounts()  # of connections that have ended
        self._book_totals: dict[tuple[VenueId, str], BookCounts] = {}

    async def instruments(self) -> Sequence[Instrument]:
        return await self.http.ask(self.part, self.connector.instruments(self.part))

    async def run(self, instruments: Sequence[Instrument], sink: EventSink) -> None:
        self.lines = [Line(self, group, sink) for group in self._groups(instruments)]
        try:
            async with asyncio.TaskGroup() as group:
                for line in self.lines:
                    group.create_task(line.run())
        finally:
            self.lines = []

    async def close(self) -> None:
        await self.http.close()

    @property
    def sessions(self) -> Sequence[FeedSession]:
        """Every session there is now."""
        return [session for line in self.lines for session in line.pair.sessions]

    @property
    def connected(self) -> bool:
        """Whether every line has a socket that stands."""
        return bool(self.lines) and all(line.connected for line in self.lines)

    def reading(self) -> FeedReading:
        """Everything counted so far, and how the books stand."""
        totals = SessionCounts()
        totals.add(self._totals)
        books = []
        for line in self.lines:
            for session in line.pair.sessions:
                totals.add(session.counts)
            books += [self._book_reading(line.pair, i) for i in line.instruments]
        counts = self.counts
        return FeedReading(
            venue=self.id,
            part=self.part.value,
            totals=totals,
            books=books,
            queued=sum(line.queued for line in self.lines),
            connects=counts.connects,
            failures=counts.failures,
            reconnects=counts.reconnects,
            rotations=counts.rotations,
            faults=counts.faults,
        )

    def _book_reading(self, pair: FeedPair, instrument: Instrument) -> BookReading:
        counts = BookCounts()
        if past := self._book_totals.get(instrument.key):
            counts.add(past)
        sessions = [s for s in pair.sessions if instrument in s.instruments]
        for session in sessions:
            counts.add(session.book_counts(instrument))
        lead = pair.leader(instrument) or (sessions[0] if sessions else None)
        if lead is None:
            return BookReading(instrument, BookState.LOST, 0, counts)
        book = lead.book(instrument)
        return BookReading(instrument, book.state, book.confirmed_ns, counts)

    def ended(self, session: FeedSession) -> None:
        """Keep what an ended session has counted."""
        self._totals.add(session.counts)
        for instrument in session.instruments:
            total = self._book_totals.setdefault(instrument.key, BookCounts())
            total.add(session.book_counts(instrument))

    def _groups(self, instruments: Sequence[Instrument]) -> Sequence[Sequence[Instrument]]:
        """Instruments by connection: as many on one as the venue takes topics."""
        codec = self.connector.feed(self.part, by_symbol(instruments))
        each = max(1, codec.topics(instruments[:1])) if instruments else 1
        size = max(1, self.connector.spec.topics_max // each)
        return [instruments[start : start + size] for start in range(0, len(instruments), size)]

    # -------------------------------------------------------------------- for its lines

    def session(self, instruments: Sequence[Instrument]) -> FeedSession:
        """A session with a codec of its own."""
        codec = self.connector.feed(self.part, by_symbol(instruments))
        return FeedSession(self.connector.spec, codec, instruments, self._rng, self._policy)

    def socket(self, session: FeedSession, sink: "Line") -> FeedSocket:
        """A connection for `session`."""
        url = self.connector.feed_url(self.part, self.http.hosts)
        return FeedSocket(
            url,
            session,
            self.part,
            self.http,
            self._clock,
            sink.hear,
            relist=sink.relist,
            listener=self._listener,
            timing=self._timing,
        )

    async def turn(self) -> None:
        """Wait until the venue's limit allows one more connection."""
        while wait_ns := self._connects.take(1, self._clock()):  # noqa: ASYNC110 - a timed wait
            await asyncio.sleep(wait_ns / SECOND)

    def now_ns(self) -> int:
        """The clock."""
        return self._clock()

    def jitter_ns(self, bound_ns: int) -> int:
        """Full jitter: anything below `bound_ns`."""
        return self._rng.randrange(max(1, bound_ns))

    def tell(self, text: str) -> None:
        """Say what failed."""
        self._tell(f"{self.id} {self.part}: {text}")


class Line:
    """One group of instruments and the connection that carries it, renewed for ever."""

    def __init__(self, feed: VenueFeed, instruments: Sequence[Instrument], sink: EventSink) -> None:
        self.feed, self.instruments = feed, instruments
        self.pair = FeedPair()
        self._sink = sink
        self._rotate_at_ns = 0
        self._stale_rules = False
        self._running: list[_Running] = []

    def hear(self, session: FeedSession, events: Sequence[SessionEvent], now_ns: int) -> None:
        """What a session says goes through the pair, which knows who leads."""
        if passed := self.pair.pass_on(session, events):
            self._sink(passed, now_ns)

    @property
    def queued(self) -> int:
        """Frames that wait in its sockets."""
        return sum(running.socket.queued for running in self._running)

    def relist(self, instrument: Instrument) -> None:
        """A frame did not fit the rules we hold: the next connection begins with new ones."""
        self._stale_rules = True
        self.feed.tell(f"{instrument.pair}: rules have changed")

    @property
    def connected(self) -> bool:
        """Whether one of its sockets stands."""
        return any(one.socket.opened_ns and not one.done() for one in self._running)

    def rotate(self) -> None:
        """Change connections as soon as may be, without a gap."""
        self._rotate_at_ns = 1

    async def run(self) -> None:
        """Keep one connection up until cancelled."""
        feed, failures = self.feed, 0
        while True:
            began_ns = feed.now_ns()
            try:
                await self._carry()
            except VenueError as fault:
                feed.counts.failures += 1
                feed.fault = fault
                feed.tell(str(fault))
            except Exception:
                # A bug must neither end the program nor pass in silence: the books are lost, the
                # log says why, and the connection is made anew.
                feed.counts.faults += 1
                log.exception("%s: a fault of our own", feed.id)
            feed.counts.reconnects += 1
            if feed.now_ns() - began_ns > STEADY_NS:
                failures = 0
            bound_ns = min(RETRY_MAX_NS, RETRY_NS << min(failures, 10))
            failures += 1
            await asyncio.sleep(feed.jitter_ns(bound_ns) / SECOND)

    async def _carry(self) -> None:
        """One connection and, where it is changed in time, its successors, until one breaks."""
        current = await self._open()
        try:
            while not current.done() and not self._stale_rules:
                await asyncio.wait({current.task}, timeout=0.5)
                if not current.done() and self._should_rotate(current):
                    current = await self._hand_over(current)
        finally:
            await self._end(current)
        if why := current.why():
            self.feed.fault = None  # it stood, and then ended
            self.feed.tell(f"connection ended: {why}")

    async def _open(self) -> "_Running":
        feed = self.feed
        await feed.turn()
        if self._stale_rules:
            await self._renew_rules()
        feed.counts.connects += 1
        session = feed.session(self.instruments)
        self.pair.add(session)
        self._rotate_at_ns = 0
        running = _Running(feed.socket(session, self))
        self._running.append(running)
        return running

    async def _renew_rules(self) -> None:
        """Take the venue's present rules for our instruments; what it no longer lists is halted."""
        listed = {instrument.symbol: instrument for instrument in await self.feed.instruments()}
        self.instruments = [listed.get(old.symbol, old) for old in self.instruments]
        self._stale_rules = False

    def _should_rotate(self, running: "_Running") -> bool:
        socket, spec = running.socket, self.feed.connector.spec
        if not socket.opened_ns:
            return False
        if socket.session.closing:
            return True
        if not self._rotate_at_ns:
            if not spec.session_max_ms:
                return False
            early_ns = ROTATE_EARLY_NS + self.feed.jitter_ns(ROTATE_EARLY_NS)
            life_ns = spec.session_max_ms * 1_000_000
            self._rotate_at_ns = socket.opened_ns + max(life_ns // 2, life_ns - early_ns)
        return self.feed.now_ns() >= self._rotate_at_ns

    async def _hand_over(self, old: "_Running") -> "_Running":
        """Open another connection, let it take over, close the old one."""
        feed, pair = self.feed, self.pair
        feed.counts.rotations += 1
        try:
            new = await self._open()
        except VenueError as fault:
            feed.tell(f"no second connection to change to: {fault}")
            self._rotate_at_ns = feed.now_ns() + 10 * SECOND
            old.socket.session.closing = ""
            return old
        deadline_ns = feed.now_ns() + HAND_OVER_NS
        pair.retire(old.socket.session)
        try:
            while not new.done() and feed.now_ns() < deadline_ns:
                if events := pair.settle():
                    self._sink(events, feed.now_ns())
                if pair.retired(old.socket.session) and new.socket.session.all_live:
                    break
                # Of the two only those that still run: to wait for one that has ended is no wait.
                running = {one.task for one in (new, old) if not one.done()}
                await asyncio.wait(running, timeout=0.1, return_when="FIRST_COMPLETED")
                if old.done() and new.socket.session.all_live:
                    break
        except BaseException:
            await self._end(new)
            raise
        loser, winner = old, new
        if not old.done() and (new.done() or new.socket.session.live < old.socket.session.live):
            # The new one is no better: stay, and try again before long.
            loser, winner = new, old
            pair.keep(old.socket.session)
            self._rotate_at_ns = feed.now_ns() + HAND_OVER_NS
        await self._end(loser)
        return winner

    async def _end(self, running: "_Running") -> None:
        await running.end()
        self._running.remove(running)
        self.pair.remove(running.socket.session)
        self.feed.ended(running.socket.session)


class _Running:
    """A socket and the task that runs it."""

    def __init__(self, socket: FeedSocket) -> None:
        self.socket = socket
        self.task = asyncio.create_task(socket.run())

    def done(self) -> bool:
        return self.task.done()

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})
        if not self.task.cancelled() and (fault := self.task.exception()):
            log.info("%s ended with %s", self.socket.url, fault)

    def why(self) -> str:
        """Why it ended by itself; raises what it raised; empty if we ended it."""
        return "" if self.task.cancelled() else self.task.result()


def tradable(instruments: Sequence[Instrument]) -> Mapping[str, Instrument]:
    """By symbol as ccxt spells it, those that take orders."""
    return {str(i.pair): i for i in instruments if i.trading is Trading.OPEN}
