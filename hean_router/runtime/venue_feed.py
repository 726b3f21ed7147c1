"""Market data of one part of one venue, over as many connections as it takes."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import fields
from functools import partial
from random import Random
from socket import AF_INET
from typing import TypeAlias

from msgspec import Struct

from hean_router.book import BookState
from hean_router.domain.errors import Unreachable, VenueError
from hean_router.domain.feed import Notice, NoticeKind
from hean_router.domain.instrument import Instrument, Pair, Part, Trading, VenueId
from hean_router.runtime.clock import Clock
from hean_router.runtime.http import Http
from hean_router.runtime.listener import Listener
from hean_router.runtime.listing_watch import ListingWatch
from hean_router.runtime.sockets import FeedSocket
from hean_router.telemetry import BookReading, FeedReading, Timing
from hean_router.venue import (
    BookCounts,
    Connector,
    FeedPair,
    FeedSession,
    Policy,
    SessionCounts,
    SessionEvent,
    StateChanged,
    by_symbol,
    gone,
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
DOUBT_NS = 60 * SECOND  # between two questions about a halt that stands
AGAIN_NS = 10 * SECOND  # between two tries to change; between two looks at the rules
OFF_LIST = "not listed any more"

# By notice, so that a notice must take it back; None = the venue itself.
Halts: TypeAlias = dict[tuple[VenueId, str] | None, Instrument | None]


class FeedCounts(Struct):
    """What happened to one venue's connections."""

    connects: int = 0  # tried
    failures: int = 0  # that could not be opened
    reconnects: int = 0  # that stood and were lost
    rotations: int = 0  # that were changed in time
    faults: int = 0  # exceptions of our own: each is a bug, told in the log


class VenueFeed:
    """A `VenueGateway` over sessions and codecs, for every venue with a native connector.

    `tell(text)` hears of connections that fail, by step.  `fault` is why the last one could not be
    opened, None once one stands.  `trouble` is what was last told of a line that still does not
    stand, empty when there is none.
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
        self.watch = ListingWatch(self)
        self.fault: VenueError | None = None
        self._clock, self._rng, self._policy = clock, rng, policy
        self._tell = tell or (lambda text: log.warning("%s", text))
        self._listener, self._timing = listener, timing
        self._family = 0  # of addresses; 0 = as the system prefers
        self._totals = SessionCounts()  # of connections that have ended
        self._book_totals: dict[tuple[VenueId, str], BookCounts] = {}
        # Told of when it ran last, and not taken back: whoever heard holds them still.
        self._halts: Halts = {}

    async def instruments(self) -> Sequence[Instrument]:
        return await self.http.ask(self.part, self.connector.instruments(self.part))

    async def run(self, instruments: Sequence[Instrument], sink: EventSink) -> None:
        """Those that are not listed are waited for, over a connection of their own."""
        listed = [one for one in instruments if one.trading is not Trading.UNLISTED]
        unlisted = [one for one in instruments if one.trading is Trading.UNLISTED]
        groups = [*self._groups(listed), *self._groups(unlisted)]
        self.lines = [Line(self, group, sink, self._halts) for group in groups]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.watch.run())
                for line in self.lines:
                    group.create_task(line.run())
        finally:
            self._halts = {key: of for line in self.lines for key, of in line.halted.items()}
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
        return bool(self.lines) and all(line.connected or line.idle for line in self.lines)

    @property
    def trouble(self) -> str:
        """Why a line does not stand, as last told; empty if none is known."""
        return next((line.trouble for line in self.lines if line.trouble), "")

    def reading(self) -> FeedReading:
        """Everything counted so far, and how the books stand."""
        totals = SessionCounts()
        totals.add(self._totals)
        books = []
        for line in self.lines:
            for session in line.pair.sessions:
                totals.add(session.counts)
            books += [
                self._book_reading(line.pair, each)
                for each in line.instruments
                if each.trading is not Trading.UNLISTED or each.key in self._book_totals
            ]
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
        """A session with a codec of its own, for what is listed: nothing else has a book."""
        instruments = [one for one in instruments if one.trading is not Trading.UNLISTED]
        codec = self.connector.feed(self.part, by_symbol(instruments))
        return FeedSession(self.connector.spec, codec, instruments, self._rng, self._policy)

    def socket(self, session: FeedSession, sink: "Line") -> FeedSocket:
        """A connection for `session`."""
        return FeedSocket(
            self.connector.feed_url(self.part, self.http.hosts),
            session,
            self.part,
            self.http,
            self._clock,
            sink.hear,
            relist=sink.relist,
            listener=self._listener,
            timing=self._timing,
            family=self._family,
        )

    async def turn(self) -> None:
        """Wait until the venue's limit allows one more connection."""
        url = self.connector.feed_url(self.part, self.http.hosts)
        await self.http.limits.connects(url).wait(1)

    def failed(self, fault: VenueError) -> None:
        """A connection could not be opened."""
        self.counts.failures += 1
        self.fault = fault
        # One kind of address may be a road to nowhere: take turns with the kind that all have.
        lost = isinstance(fault, Unreachable) and fault.step == "connect"
        self._family = AF_INET if lost and not self._family else 0

    def stood(self) -> None:
        """A connection stands."""
        self.fault = None

    def now_ns(self) -> int:
        """The clock."""
        return self._clock()

    def jitter_ns(self, bound_ns: int) -> int:
        """Full jitter: anything below `bound_ns`."""
        return self._rng.randrange(max(1, bound_ns))

    def own_fault(self, fault: Exception) -> None:
        """Count and log a bug of ours."""
        self.counts.faults += 1
        log.error("%s: a fault of our own", self.id, exc_info=fault)

    def tell(self, text: str) -> None:
        """Say what failed."""
        self._tell(f"{self.id} {self.part}: {text}")


class Line:
    """One group of instruments and the connection that carries it, renewed for ever."""

    def __init__(
        self, feed: VenueFeed, instruments: Sequence[Instrument], sink: EventSink, halts: Halts
    ) -> None:
        self.feed, self.instruments = feed, instruments
        self.pair = FeedPair()
        self.trouble = ""  # why it does not stand, as last told
        self._sink = sink
        self._rotate_at_ns = self._changed_ns = 0
        self._running: list[_Running] = []
        self._renewed: Sequence[Instrument] | None = None  # the next connection's, once known
        self._asking: asyncio.Task[None] | None = None  # for rules, or for how halts stand
        self._ask_after_ns = self._doubt_at_ns = 0
        self._listed_anew = asyncio.Event()
        ours = {None, *(one.key for one in instruments)}
        self.halted: Halts = {key: of for key, of in halts.items() if key in ours}
        self._doubted: set[tuple[VenueId, str] | None] = set()  # from before this connection
        self._told_of_venue = 0  # times that a stream has told how the whole venue stands

    def hear(self, session: FeedSession, events: Sequence[SessionEvent], now_ns: int) -> None:
        """What a session says goes through the pair, which knows who leads."""
        if passed := self.pair.pass_on(session, events):
            for event in passed:
                if isinstance(event, Notice):
                    self._note(event)
            self._sink(passed, now_ns)

    @property
    def queued(self) -> int:
        """Frames that wait in its sockets."""
        return sum(running.socket.queued for running in self._running)

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
        try:
            while True:
                await self._something_to_carry()
                stood_ns = await self._carry_once()
                failures = 0 if stood_ns > STEADY_NS else failures
                bound_ns = min(RETRY_MAX_NS, RETRY_NS << min(failures, 10))
                failures += 1
                await asyncio.sleep(feed.jitter_ns(bound_ns) / SECOND)
        finally:
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.wait({self._asking})

    @property
    def idle(self) -> bool:
        """Whether the venue lists nothing of what it is for."""
        return all(one.trading is Trading.UNLISTED for one in self.instruments)

    async def _something_to_carry(self) -> None:
        """Wait until there is; take up how things are listed now."""
        while True:
            self._take_up()
            if not self.idle:
                return
            self._listed_anew.clear()
            await self._listed_anew.wait()

    def _take_up(self) -> None:
        if self._renewed is None:
            return
        self.instruments, self._renewed = self._renewed, None
        try:
            self._tell_unlisted()
        except Exception as fault:  # noqa: BLE001 - logged and counted
            self._tell_fault(fault)

    async def _carry_once(self) -> int:
        """Carry, whatever happens; how long the last connection stood, ns."""
        feed = self.feed
        try:
            last = await self._carry(await self._open())
        except Exception as fault:  # noqa: BLE001 - logged and counted
            self._tell_fault(fault)
            return 0
        self._lost(last)
        opened_ns = last.socket.opened_ns
        return feed.now_ns() - opened_ns if opened_ns else 0

    def _lost(self, ended: "_Running") -> None:
        self.feed.counts.reconnects += bool(ended.socket.opened_ns)
        self._say_why(ended)

    def _say_why(self, ended: "_Running", doing: str = "") -> None:
        """Tell why a connection has ended, or could not be opened."""
        feed = self.feed
        try:
            if why := ended.why():
                self._tell(f"{doing}connection ended: {why}")
        except VenueError as fault:
            feed.failed(fault)
            self._tell(f"{doing}{fault}")
        except Exception as fault:  # noqa: BLE001 - logged and counted
            self._tell_fault(fault)

    def _tell_fault(self, fault: Exception) -> None:
        """A bug must neither end the program nor pass in silence.

        The books are lost, the log says why, and the connection is made anew.
        """
        self.feed.own_fault(fault)
        self._tell(f"a fault of our own: {type(fault).__name__}: {fault}")

    def _tell(self, text: str) -> None:
        self.trouble = "" if self.connected else text
        self.feed.tell(text)

    async def _carry(self, current: "_Running") -> "_Running":
        """A connection and, where it is changed in time, its successors; the one that broke."""
        seen = None
        try:
            while self._goes_on(current):
                await asyncio.wait({current.task}, timeout=0.25)
                if seen is not current and current.socket.opened_ns:
                    seen = current
                    self._stands()
                if current.socket.opened_ns:
                    self._look_again()
                if self._goes_on(current) and self._should_rotate(current):
                    current = await self._hand_over(current)
        finally:
            await self._end(current)
        return current

    def _goes_on(self, running: "_Running") -> bool:
        return not running.done() and self._renewed is None

    def _stands(self) -> None:
        """A connection has been opened."""
        self.trouble = ""
        self.feed.stood()
        self._doubt_at_ns = 0

    def _look_again(self) -> None:
        """Ask about halts that nobody has told anew since connections changed, until one does."""
        now_ns = self.feed.now_ns()
        if self._doubted and now_ns >= self._doubt_at_ns and self._ask(self._look_at_halts):
            self._doubt_at_ns = now_ns + DOUBT_NS

    async def _open(self) -> "_Running":
        feed = self.feed
        await feed.turn()
        if not self._running:
            self._take_up()
        # Whatever the last connection missed, stalled or half open, this one is not told either.
        # What is off the list is asked about by the list alone.
        off = {one.key for one in self.instruments if one.trading is Trading.UNLISTED}
        self._doubted = set(self.halted) - off
        feed.counts.connects += 1
        session = feed.session(self.instruments)
        self.pair.add(session)
        self._rotate_at_ns = 0
        running = _Running(feed.socket(session, self))
        self._running.append(running)
        return running

    async def _end(self, running: "_Running") -> None:
        try:
            await running.end()
        finally:
            session = running.socket.session
            self._running.remove(running)
            self.pair.remove(session)
            self.feed.ended(session)

    # ------------------------------------------------------------------- changing in time

    def _should_rotate(self, running: "_Running") -> bool:
        socket, spec, now_ns = running.socket, self.feed.connector.spec, self.feed.now_ns()
        if not socket.opened_ns:
            return False
        if not self._rotate_at_ns and spec.session_max_ms:
            early_ns = ROTATE_EARLY_NS + self.feed.jitter_ns(ROTATE_EARLY_NS)
            life_ns = spec.session_max_ms * 1_000_000
            self._rotate_at_ns = socket.opened_ns + max(life_ns // 2, life_ns - early_ns)
        if socket.session.closing and not running.warned:
            running.warned = True
            # Where every new one is warned too, changing is no hurry.
            self._rotate_at_ns = max(now_ns, self._changed_ns + AGAIN_NS)
        return bool(self._rotate_at_ns) and now_ns >= self._rotate_at_ns

    async def _hand_over(self, old: "_Running") -> "_Running":
        """Open another connection, let it take over, close the old one; the one that goes on."""
        pair, session = self.pair, old.socket.session
        new = await self._open()
        pair.retire(session)
        try:
            await self._side_by_side(old, new)
        except BaseException:
            await self._end(new)
            raise
        self._changed_ns = self.feed.now_ns()
        if old.done():
            self._lost(old)
        elif new.done() or new.socket.session.live < session.live:
            # The new one is no better: stay, and try again before long.
            pair.keep(session)
            came_up = not new.done()
            await self._end(new)
            self._say_why(new, "to change to: ")
            self.feed.stood()  # the old one does
            if came_up:
                self.feed.tell("to change to: its books did not come up")
            self._rotate_at_ns = self._changed_ns + AGAIN_NS
            return old
        else:
            self.feed.counts.rotations += 1
        await self._end(old)
        self._settle()
        return new

    def _settle(self) -> None:
        if events := self.pair.settle():
            self._sink(events, self.feed.now_ns())

    async def _side_by_side(self, old: "_Running", new: "_Running") -> None:
        """Until the new connection can stand alone, or has failed, or has had time enough."""
        feed, pair, session = self.feed, self.pair, new.socket.session
        deadline_ns = feed.now_ns() + HAND_OVER_NS
        while not new.done() and feed.now_ns() < deadline_ns:
            self._settle()
            if session.all_live and (old.done() or pair.retired(old.socket.session)):
                return
            # Of the two only those that still run: to wait for one that has ended is no wait.
            running = {one.task for one in (new, old) if not one.done()}
            await asyncio.wait(running, timeout=0.1, return_when="FIRST_COMPLETED")

    # ------------------------------------------------------------------- rules and halts

    def relist(self, instrument: Instrument) -> None:
        """A frame did not fit the rules we hold: ask for the present ones.

        Where they differ the next connection begins with them, at once; where they do not, it was
        a frame that was broken, and everything else goes on.
        """
        self._ask(partial(self._look_at_rules, instrument))

    def _note(self, notice: Notice) -> None:
        about = notice.instrument
        key = about.key if about else None
        if about is None and notice.kind in {NoticeKind.HALTED, NoticeKind.RESUMED}:
            self._told_of_venue += 1
        if notice.kind is NoticeKind.HALTED:
            self.halted[key] = about
            self._doubted.discard(key)
            if about is not None:
                self.feed.watch.soon()  # it may be for good
        elif notice.kind is NoticeKind.RESUMED:
            self.halted.pop(key, None)
            self._doubted.discard(key)
            if about is not None and about.trading is not Trading.OPEN:
                self.relist(about)  # it was listed as closed, and is not any more

    def _ask(self, question: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Ask in the background, one question at a time and not too often, until it is answered.

        False: another is being asked.
        """
        if self._asking is not None and not self._asking.done():
            return False
        self._asking = asyncio.create_task(self._asked(question))
        return True

    async def _asked(self, question: Callable[[], Coroutine[None, None, None]]) -> None:
        feed = self.feed
        while True:
            wait_ns = self._ask_after_ns - feed.now_ns()
            await asyncio.sleep(max(0, wait_ns) / SECOND)
            self._ask_after_ns = feed.now_ns() + AGAIN_NS
            try:
                return await question()
            except VenueError as fault:
                feed.tell(f"rules: {fault}")
            except Exception as fault:  # noqa: BLE001 - logged and counted
                return self._tell_fault(fault)

    async def _look_at_rules(self, about: Instrument) -> None:
        """Take the venue's present rules for our instruments; what it has not, is off the list."""
        listed = {instrument.pair: instrument for instrument in await self.feed.instruments()}
        renewed = [
            old if _same(old, new := listed.get(old.pair) or gone(old)) else new
            for old in self.instruments
        ]
        changed = [new for new in renewed if new not in self.instruments]
        if changed:
            self.feed.tell(f"rules have changed: {', '.join(str(one.pair) for one in changed)}")
            self._renewed = renewed
            self._listed_anew.set()
            for old, new in zip(self.instruments, renewed, strict=True):
                if old is not new and Trading.UNLISTED in {old.trading, new.trading}:
                    self._tell_listing(new)
        else:
            self.feed.tell(f"{about.pair}: a frame did not fit rules that have not changed")

    def listed(self, now: Mapping[Pair, Instrument], sure: Collection[Pair]) -> bool:
        """Heed the venue's present list; whether anything has come, gone, opened or shut.

        `sure` is missing in it for sure; of what else is missing only what takes no orders anyway
        is gone.  What a stream has told to be halted is opened by a stream.
        """
        if self._renewed is not None:
            return True  # it is being changed already
        renewed = [self._as_listed(old, now.get(old.pair), sure) for old in self.instruments]
        changed = [new for new in renewed if new not in self.instruments]
        if not changed:
            return False
        told = ", ".join(f"{one.pair} ({one.trading.value})" for one in changed)
        self.feed.tell(f"the list has changed: {told}")
        self._renewed = renewed
        self._listed_anew.set()
        for one in changed:
            self._tell_listing(one)
        return True

    def _as_listed(
        self, old: Instrument, new: Instrument | None, sure: Collection[Pair]
    ) -> Instrument:
        halted = old.key in self.halted
        if new is None:
            return gone(old) if halted or old.pair in sure else old
        if new.trading is old.trading or (halted and old.trading is Trading.OPEN):
            return old
        return new

    def _tell_listing(self, one: Instrument) -> None:
        """Its place in the consolidated book is shut at once, and opened with what is told next."""
        if one.trading is Trading.UNLISTED:
            notice = Notice(NoticeKind.HALTED, OFF_LIST, one)
            self.halted[one.key] = one
            self._doubted.discard(one.key)
        elif one.trading is Trading.OPEN and one.key in self.halted:
            notice = Notice(NoticeKind.RESUMED, "listed as open", one)
            self.halted.pop(one.key)
            self._doubted.discard(one.key)
        else:
            return
        self._sink([notice], self.feed.now_ns())

    def _tell_unlisted(self) -> None:
        """What has just left the list has no book any more, and has had one."""
        now_ns = self.feed.now_ns()
        lost = BookState.LOST
        events = [
            StateChanged(one, lost, lost, OFF_LIST, now_ns)
            for one in self.instruments
            if one.trading is Trading.UNLISTED and one.key in self.halted
        ]
        if events:
            self._sink(events, now_ns)

    async def _look_at_halts(self) -> None:
        """Ask how halts stand: whoever missed that they are over is not told again."""
        feed, told = self.feed, self._told_of_venue
        notices = list(await feed.http.ask(feed.part, feed.connector.status()))
        listed = {one.symbol: one for one in await feed.instruments()}
        halted = any(one.kind is NoticeKind.HALTED and one.instrument is None for one in notices)
        for key in sorted(self._doubted, key=str):  # what has been told meanwhile is sure
            about = self.halted[key]
            if about is None and not halted:
                notices.append(Notice(NoticeKind.RESUMED, "no maintenance any more"))
            elif about and (now := listed.get(about.symbol)) and now.trading is Trading.OPEN:
                notices.append(Notice(NoticeKind.RESUMED, "listed as open", about))
        if told != self._told_of_venue:  # the stream has said how the venue stands since we asked
            notices = [one for one in notices if one.instrument is not None]
        for notice in notices:
            self._note(notice)
        if notices:
            self._sink(notices, feed.now_ns())


class _Running:
    """A socket and the task that runs it."""

    def __init__(self, socket: FeedSocket) -> None:
        self.socket = socket
        self.warned = False  # that the venue will close it has been seen to
        self.task = asyncio.create_task(socket.run())

    def done(self) -> bool:
        return self.task.done()

    async def end(self) -> None:
        """End it, whole: also when we are cancelled meanwhile."""
        self.task.cancel()
        cancelled = None
        while not self.task.done():
            try:
                await asyncio.wait({self.task})
            except asyncio.CancelledError as again:
                cancelled = again
                self.task.cancel()  # no time for politeness
        if not self.task.cancelled():
            self.task.exception()  # seen; `why` raises it
        if cancelled is not None:
            raise cancelled

    def why(self) -> str:
        """Why it ended by itself; raises what it raised; empty if we ended it."""
        return "" if self.task.cancelled() else self.task.result()


def tradable(instruments: Sequence[Instrument]) -> Mapping[str, Instrument]:
    """By symbol as ccxt spells it, those that take orders."""
    return {str(i.pair): i for i in instruments if i.trading is Trading.OPEN}


def _same(old: Instrument, new: Instrument) -> bool:
    """Whether both say the same of everything that was listed."""
    return all(
        getattr(old, one.name) == getattr(new, one.name) for one in fields(Instrument) if one.init
    )
