"""One market-data connection, without the connection.

Bytes, answers and time go in; commands for the shell and events for the house come out.  All that
is true of every venue lives here, once: the gap rule's consequences, snapshots and their backlog,
checksums, freshness, resynchronisation, pings, silence and pacing.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec import MsgspecError

from hean_router.book import Book, BookState
from hean_router.domain.errors import Desync, MalformedFrame
from hean_router.domain.feed import Delta, FeedEvent, Notice, NoticeKind, Snapshot, Top, Trade
from hean_router.domain.instrument import Instrument
from hean_router.domain.scale import TooFine
from hean_router.domain.venue import RateLimit, VenueSpec
from hean_router.venue.contract import Dice, FeedCodec, Frame
from hean_router.venue.feed_events import (
    MS,
    SECOND,
    BookCounts,
    BookMoved,
    Command,
    Drop,
    FetchBook,
    Policy,
    ProbeTop,
    Relist,
    Send,
    SessionCounts,
    SessionEvent,
    StateChanged,
)
from hean_router.venue.feed_slot import Slot
from hean_router.venue.lateness import Lateness
from hean_router.venue.limiter import Limiter

TICK_NS = 100 * MS  # how often timers are looked at: every bound below is good to this much
OUTDATED_MAX = 3  # this many answers from caches in a row; then the venue counts anew
BACKLOG_MAX = 20_000  # deltas kept per book while its snapshot is under way: minutes of traffic

# Nothing is missing in it, whether or not it is current.
_WHOLE = frozenset({BookState.LIVE, BookState.STALE})
# What a codec may raise on a frame that is not what the protocol promises.
_UNREADABLE = (
    MalformedFrame,
    MsgspecError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,  # a number that no book can hold
    RecursionError,  # brackets by the thousand
)


class FeedSession:
    """Market data of some instruments over one connection, from opening to closing.

    The shell calls `opened`, `received`, `fetched`, `failed`, `probed`, `probe_failed`, `due` and
    `closed`, each with its clock; each returns events.  After each call it carries out `take()`.
    `due` wants to be called at `wake_at_ns`.
    """

    def __init__(
        self,
        spec: VenueSpec,
        codec: FeedCodec,
        instruments: Sequence[Instrument],
        rng: Dice,
        policy: Policy = Policy(),  # noqa: B008 - frozen, a value
    ) -> None:
        self.spec, self.codec, self.policy = spec, codec, policy
        self.counts = SessionCounts()
        self.closing = ""  # why the venue will close this socket, once it has said so
        self._rng = rng
        self._slots = {instrument: Slot(instrument, codec.depth) for instrument in instruments}
        self._out: list[Command] = []
        self._paced: deque[Frame] = deque()
        self._pace = Limiter(RateLimit(spec.frames.capacity, spec.frames.per_ms), 0.8)
        self._open = False
        self._stall_ns = policy.fresh.stall_ns
        self._heard_ns = self._pinged_ns = self._ticked_ns = 0
        self._late = Lateness(policy.fresh)

    # -------------------------------------------------------------------------- for readers

    @property
    def instruments(self) -> Sequence[Instrument]:
        """What this session was made for."""
        return list(self._slots)

    def carries(self, instrument: Instrument) -> bool:
        """Whether it was made for `instrument` (under these rules: refreshed ones are others)."""
        return instrument in self._slots

    def book(self, instrument: Instrument) -> Book:
        """The book as it stands, whatever its state; only its `live` may be read for prices."""
        return self._slots[instrument].book

    def book_counts(self, instrument: Instrument) -> BookCounts:
        """What happened to it so far."""
        return self._slots[instrument].counts

    @property
    def live(self) -> int:
        """How many books are LIVE."""
        return sum(slot.book.state is BookState.LIVE for slot in self._slots.values())

    @property
    def all_live(self) -> bool:
        """Whether every book is LIVE."""
        return self.live == len(self._slots)

    @property
    def wake_at_ns(self) -> int:
        """When to call `due` next."""
        return self._ticked_ns + TICK_NS

    def take(self) -> Sequence[Command]:
        """Commands since the last call, in order."""
        out, self._out = self._out, []
        return out

    # -------------------------------------------------------------------------- what goes in

    def opened(self, now_ns: int) -> Sequence[SessionEvent]:
        """The connection stands: ask for everything."""
        self._open = True
        self._heard_ns = self._pinged_ns = self._ticked_ns = now_ns
        self._pace_out(self.codec.subscribe(self.instruments))
        events: list[SessionEvent] = []
        for slot in self._slots.values():
            slot.asked_ns = now_ns
            slot.inbound = self.codec.fetches
            if self.codec.fetches:
                # The first event says that the stream runs; a silent one is asked for anyway.
                slot.asked_ns, slot.retry_ns = 0, now_ns + self.policy.fresh.again_ns
            self._enter(slot, BookState.SYNCING, "subscribed", now_ns, events)
        self._send_paced(now_ns)
        return events

    def received(self, data: bytes, now_ns: int) -> Sequence[SessionEvent]:
        """One frame.  Returns events in the order in which they took effect."""
        events: list[SessionEvent] = []
        if not self._open:
            return events  # given up already; what is still under way proves nothing
        counts = self.counts
        counts.frames += 1
        counts.bytes += len(data)
        if now_ns - self._ticked_ns > self._stall_ns:
            self._look_awake(now_ns, events)
        self._heard_ns = now_ns
        try:
            for event in self.codec.decode(data):
                # Nearly all are changes of a book: they take the shortest way.
                if type(event) is Delta:
                    self._on_delta(self._slots[event.instrument], event, now_ns, events)
                else:
                    self._on_event(event, now_ns, events)
        except _UNREADABLE as fault:
            self._on_malformed(data, fault, now_ns, events)
        return events

    def told(self, said: Iterable[FeedEvent], now_ns: int) -> Sequence[SessionEvent]:
        """One message that somebody else has read: a library that speaks to the venue itself."""
        events: list[SessionEvent] = []
        if not self._open:
            return events
        self.counts.frames += 1
        self._look_awake(now_ns, events)
        self._late.caught_up()  # a library reads all that waits, and tells no ages
        self._heard_ns = now_ns
        for event in said:
            self._on_event(event, now_ns, events)
        return events

    def fetched(self, snapshot: Snapshot, now_ns: int) -> Sequence[SessionEvent]:
        """The answer to `FetchBook`."""
        events: list[SessionEvent] = []
        if not self._open:
            return events
        self._look_awake(now_ns, events)
        if (slot := self._slots.get(snapshot.instrument)) and slot.inbound:
            self._on_fetched(slot, snapshot, now_ns, events)
        return events

    def failed(self, instrument: Instrument, why: str, now_ns: int) -> Sequence[SessionEvent]:
        """`FetchBook` could not be answered."""
        events: list[SessionEvent] = []
        slot = self._slots[instrument]
        if not self._open:
            return events
        slot.asked_ns = 0
        if slot.book.state in _WHOLE:
            # Only a renewal failed: the book itself is as good as before.
            slot.inbound = False
            slot.backlog.clear()
            slot.retry_ns = now_ns + self._backoff(slot)
            return events
        self._plan_resync(slot, f"snapshot failed: {why}", now_ns, events)
        return events

    def probed(self, top: Top, now_ns: int) -> Sequence[SessionEvent]:
        """The answer to `ProbeTop`."""
        events: list[SessionEvent] = []
        slot = self._slots[top.instrument]
        slot.probing = False
        slot.probe_after_ns = now_ns + self.policy.fresh.again_ns
        if not self._open:
            return events
        self._look_awake(now_ns, events)
        if slot.book.state not in _WHOLE:
            return events
        if slot.book.version != slot.probed_version:
            slot.suspicions = 0  # it moved while we asked: it is alive
        elif _agrees(top, slot.book):
            self._confirm(slot, now_ns, events)
        else:
            slot.suspicions += 1
            if slot.suspicions >= 2:  # one answer may be older than the book
                slot.renew = True
                self._lose(
                    slot, "dead subscription: the top moved, the book did not", now_ns, events
                )
        return events

    def probe_failed(self, instrument: Instrument, why: str, now_ns: int) -> Sequence[SessionEvent]:
        """`ProbeTop` could not be answered: nothing is known either way."""
        slot = self._slots[instrument]
        slot.probing = False
        slot.probe_after_ns = now_ns + self.policy.fresh.again_ns
        slot.why = why
        return []

    def closed(self, reason: str, now_ns: int) -> Sequence[SessionEvent]:
        """The connection is gone, and every book with it."""
        events: list[SessionEvent] = []
        self._end(reason, now_ns, events)
        return events

    def _end(self, reason: str, now_ns: int, events: list[SessionEvent]) -> None:
        self._open = False
        self._paced.clear()
        for slot in self._slots.values():
            self._enter(slot, BookState.LOST, reason, now_ns, events)

    def _drop(self, reason: str, now_ns: int, events: list[SessionEvent]) -> None:
        """Give the connection up; nobody reads its books while the shell closes it."""
        self._out.append(Drop(reason))
        self._end(reason, now_ns, events)

    def due(self, now_ns: int) -> Sequence[SessionEvent]:
        """Look at every timer."""
        events: list[SessionEvent] = []
        if not self._open:
            self._ticked_ns = now_ns
            return events
        spec = self.spec
        self._look_awake(now_ns, events)
        self._ticked_ns = now_ns
        if spec.silence_ms and now_ns - self._heard_ns > spec.silence_ms * MS:
            self._drop(f"silent for {spec.silence_ms / 1000:g} s", now_ns, events)
            return events
        if self._late.stays_late(now_ns, TICK_NS):
            why = "what arrives is older than it should be, and stays so"
            self._drop(why, now_ns, events)
            return events
        if spec.ping_every_ms and now_ns - self._pinged_ns >= spec.ping_every_ms * MS:
            self._pinged_ns = now_ns
            if (frame := self.codec.ping()) is not None:
                self._pace_out([frame])
        self._send_paced(now_ns)
        for slot in self._slots.values():
            self._look_at(slot, now_ns, events)
        return events

    # -------------------------------------------------------------------------- frames

    def _on_event(self, event: FeedEvent, now_ns: int, events: list[SessionEvent]) -> None:
        match event:
            case Delta(instrument=instrument):
                self._on_delta(self._slots[instrument], event, now_ns, events)
            case Trade(instrument=instrument):
                self._slots[instrument].counts.trades += 1
                events.append(event)
            case Top(instrument=instrument):
                self._on_top(self._slots[instrument], event, now_ns, events)
            case Snapshot(instrument=instrument):
                self._on_snapshot(self._slots[instrument], event, now_ns, events)
            case Notice():
                self._on_notice(event, now_ns, events)

    def _on_delta(self, slot: Slot, delta: Delta, now_ns: int, events: list[SessionEvent]) -> None:
        counts, book = slot.counts, slot.book
        counts.deltas += 1
        if slot.inbound:
            self._keep(slot, delta, now_ns, events)
        if book.live is None and book.state in {BookState.SYNCING, BookState.LOST}:
            counts.early += 1
            return
        try:
            applied = book.delta(delta, now_ns)
        except Desync as fault:
            counts.gaps += 1
            self._lose(slot, str(fault), now_ns, events)
            if slot.inbound and not (slot.backlog and slot.backlog[-1] is delta):
                slot.backlog.append(delta)
            return
        if not applied:
            counts.passed_over += 1
            return
        if delta.checksum is not None and not self._digest_holds(slot, delta.checksum):
            self._lose(slot, "checksum mismatch", now_ns, events)
            return
        self._judge(slot, now_ns, self._late.doubt_of(delta, now_ns), events)

    def _on_snapshot(
        self, slot: Slot, new: Snapshot, now_ns: int, events: list[SessionEvent]
    ) -> None:
        slot.counts.snapshots += 1
        self._replace(slot, new, now_ns)
        slot.asked_ns = slot.retry_ns = 0
        slot.inbound = False
        if new.checksum is not None and not self._digest_holds(slot, new.checksum):
            self._lose(slot, "checksum mismatch in the snapshot", now_ns, events)
            return
        # Its time is that of the book's last change, however long ago: no sign of being late.
        self._judge(slot, now_ns, self._late.doubt(now_ns), events)

    def _digest_holds(self, slot: Slot, told: int) -> bool:
        holds = self.codec.checksum(slot.book) == told
        if holds:
            slot.counts.checksums_ok += 1
        else:
            slot.counts.checksums_bad += 1
        return holds

    def _judge(self, slot: Slot, now_ns: int, doubt: str, events: list[SessionEvent]) -> None:
        """A whole message has been applied: say what the book is worth now.

        `doubt` is why it may be older than it should be; empty if it is not.
        """
        book = slot.book
        if book.crossed:
            slot.counts.crossed += book.state is not BookState.CROSSED
            self._enter(slot, BookState.CROSSED, "best bid meets best ask", now_ns, events)
            return
        if doubt:
            self._enter(slot, BookState.STALE, doubt, now_ns, events)
            return
        slot.contradicted_ns = slot.suspicions = 0
        if book.state is not BookState.LIVE:
            self._enter(slot, BookState.LIVE, "whole", now_ns, events)
        if slot.moved is None:
            assert book.live is not None, "LIVE without a reader"
            slot.moved = BookMoved(book.instrument, book.live)
        events.append(slot.moved)

    def _on_top(self, slot: Slot, top: Top, now_ns: int, events: list[SessionEvent]) -> None:
        slot.counts.tops += 1
        book = slot.book
        if book.state not in _WHOLE:
            return
        if _agrees(top, book):
            # It came through the same queue: where that is behind, both are old.
            if book.state is BookState.LIVE or not self._late.doubt(now_ns):
                self._confirm(slot, now_ns, events)
        elif not slot.contradicted_ns:
            slot.contradicted_ns = now_ns
        elif now_ns - slot.contradicted_ns > self.policy.fresh.again_ns:
            slot.renew = True
            self._lose(slot, "dead subscription: another stream moved on", now_ns, events)

    def _on_notice(self, notice: Notice, now_ns: int, events: list[SessionEvent]) -> None:
        self.counts.notices += 1
        if notice.kind is NoticeKind.CLOSING:
            self.closing = notice.text or "the venue will close it"
        elif notice.kind is NoticeKind.REFUSED and notice.instrument in self._slots:
            slot = self._slots[notice.instrument]
            slot.asked_ns, slot.renew = 0, True
            self._plan_resync(slot, f"refused: {notice.text}", now_ns, events)
        events.append(notice)

    def _on_malformed(
        self, data: bytes, fault: Exception, now_ns: int, events: list[SessionEvent]
    ) -> None:
        """A frame is lost, and with it whatever it said: of one book, or of any."""
        self.counts.malformed += 1
        why = f"malformed frame: {type(fault).__name__}: {fault}"[:200]
        about = self.codec.about(data)
        if isinstance(fault, TooFine) and about is not None:
            self._out.append(Relist(about))
        suspects: Iterable[Slot] = self._slots.values()
        if about is not None and about in self._slots:
            suspects = [self._slots[about]]
        for slot in suspects:
            self._lose(slot, why, now_ns, events)

    # -------------------------------------------------------------------------- fetched books

    def _keep(self, slot: Slot, delta: Delta, now_ns: int, events: list[SessionEvent]) -> None:
        """Keep a delta for the snapshot that is under way, and ask for that if nobody has."""
        slot.backlog.append(delta)
        if len(slot.backlog) > BACKLOG_MAX:
            slot.backlog.popleft()
        if not slot.asked_ns and slot.attempts == 0 and slot.book.state not in _WHOLE:
            self._ask(slot, now_ns, events)

    def _on_fetched(
        self, slot: Slot, new: Snapshot, now_ns: int, events: list[SessionEvent]
    ) -> None:
        """Lay the backlog on the snapshot: drop what it contains, apply the rest in order."""
        assert new.fetched, "a streamed snapshot comes through `received`"
        assert new.seq is not None, "a fetched book has a sequence"
        backlog = slot.backlog
        while backlog and (backlog[0].seq or 0) <= new.seq:
            backlog.popleft()
            slot.counts.passed_over += 1
        slot.asked_ns = 0
        if self._is_old(slot, new.seq):
            # A cache answered.  Ask again; the backlog stays.
            slot.retry_ns = now_ns + self._backoff(slot)
            return
        book = slot.book
        slot.outdated = 0
        slot.counts.snapshots += 1
        slot.retry_ns, slot.inbound = 0, False
        self._replace(slot, new, now_ns)
        while backlog:
            try:
                applied = book.delta(backlog[0], now_ns)
            except Desync as fault:
                slot.counts.gaps += 1
                self._lose(slot, str(fault), now_ns, events)
                return
            slot.counts.passed_over += not applied
            backlog.popleft()
        self._judge(slot, now_ns, self._late.doubt(now_ns), events)

    def _is_old(self, slot: Slot, seq: int) -> bool:
        """Whether a fetched book at `seq` is older than what this connection has seen.

        The backlog (events after `seq`) must link to it, and together they must reach as far as
        the book had come; only answer after answer says that the venue counts anew.
        """
        if slot.backlog and (slot.backlog[0].prev_seq or 0) > seq:
            return True
        end = (slot.backlog[-1].seq or 0) if slot.backlog else seq
        if slot.book.seq is None or end >= slot.book.seq:
            return False
        slot.outdated += 1
        return slot.book.state in _WHOLE or slot.outdated <= OUTDATED_MAX

    def _replace(self, slot: Slot, new: Snapshot, now_ns: int) -> None:
        """Put `new` in the place of whatever was there."""
        if slot.book.state not in _WHOLE:
            slot.whole_ns = now_ns
        slot.book.snapshot(new, now_ns)
        slot.seen_ns = now_ns  # how long it took says nothing of how quiet the book is

    # -------------------------------------------------------------------------- states

    def _enter(
        self,
        slot: Slot,
        state: BookState,
        reason: str,
        now_ns: int,
        events: list[SessionEvent],
    ) -> None:
        book = slot.book
        old = book.state
        if book.enter(state, reason, now_ns):
            slot.moved = None
            events.append(StateChanged(book.instrument, old, state, reason, now_ns))

    def _confirm(self, slot: Slot, now_ns: int, events: list[SessionEvent]) -> None:
        """Something has proved the book current without changing it: its silence was real."""
        slot.gap_ns = max(slot.gap_ns, now_ns - slot.book.changed_ns)
        slot.book.confirmed_ns = now_ns
        slot.suspicions = slot.contradicted_ns = 0
        if slot.book.state is BookState.STALE:
            self._judge(slot, now_ns, "", events)

    def _lose(self, slot: Slot, reason: str, now_ns: int, events: list[SessionEvent]) -> None:
        """Its proof has failed: nobody may read it, and it is asked for anew."""
        if slot.whole_ns and now_ns - slot.whole_ns > self.policy.settle_ns:
            slot.attempts = 0
        slot.whole_ns = 0
        waiting = slot.asked_ns or slot.retry_ns
        self._enter(slot, BookState.LOST, reason, now_ns, events)
        # The backlog stays: a fetched book must reach as far as what we have seen.
        slot.inbound = self.codec.fetches
        if not waiting:  # one resync in flight per book
            self._plan_resync(slot, reason, now_ns, events)

    def _plan_resync(
        self, slot: Slot, reason: str, now_ns: int, events: list[SessionEvent]
    ) -> None:
        slot.why = reason
        slot.counts.resyncs += 1
        if slot.book.state is not BookState.LOST:
            self._enter(slot, BookState.LOST, reason, now_ns, events)
        slot.inbound = self.codec.fetches
        wait = self._backoff(slot)
        slot.asked_ns, slot.retry_ns = 0, now_ns + wait
        if not wait:
            self._ask(slot, now_ns, events)

    def _backoff(self, slot: Slot) -> int:
        """Nothing for the first attempt; then full jitter under a doubling bound."""
        attempt = slot.attempts
        slot.attempts += 1
        if not attempt:
            return 0
        bound = min(self.policy.retry_max_ns, self.policy.retry_ns << min(attempt - 1, 10))
        return self._rng.randrange(bound // 4, bound)

    def _ask(self, slot: Slot, now_ns: int, events: list[SessionEvent]) -> None:
        """Ask for the book: one request under way, a bound on how long."""
        slot.asked_ns, slot.retry_ns = now_ns, 0
        if self.codec.fetches:
            slot.inbound = True
            if slot.renew:  # a fetched book would stand still: nothing would move it
                self._pace_out(self.codec.resubscribe(slot.book.instrument))
                self._send_paced(now_ns)
            self._out.append(FetchBook(slot.book.instrument))
        else:
            self._pace_out(self.codec.resubscribe(slot.book.instrument))
            self._send_paced(now_ns)
        slot.renew = False
        if slot.book.state not in _WHOLE:
            self._enter(slot, BookState.SYNCING, slot.why or "asked for", now_ns, events)

    # -------------------------------------------------------------------------- timers

    def _look_at(self, slot: Slot, now_ns: int, events: list[SessionEvent]) -> None:
        fresh, book = self.policy.fresh, slot.book
        if slot.retry_ns and now_ns >= slot.retry_ns:
            self._ask(slot, now_ns, events)
        elif slot.asked_ns and self._paced and not self.codec.fetches:
            slot.asked_ns = now_ns  # our own frames still wait for their turn: nobody is late
        elif slot.asked_ns and now_ns - slot.asked_ns > fresh.sync_ns:
            slot.asked_ns = 0
            if book.state in _WHOLE:
                slot.inbound = False
                slot.backlog.clear()
            else:
                self._plan_resync(slot, "no snapshot came", now_ns, events)
        match book.state:
            case BookState.LIVE if book.beyond_window:
                self._lose(slot, "the price has left what was fetched", now_ns, events)
            case BookState.LIVE | BookState.STALE:
                self._doubt(slot, now_ns, events)
                if (
                    book.state is BookState.LIVE
                    and self.codec.window_min
                    and not slot.asked_ns
                    and not slot.retry_ns
                    and book.within_window() < self.codec.window_min
                ):
                    slot.why = "the price nears the end of what was fetched"
                    self._ask(slot, now_ns, events)
            case BookState.CROSSED if now_ns - book.since_ns > fresh.crossed_ns:
                self._lose(slot, "crossed and stays so", now_ns, events)
            case _:
                pass

    def _doubt(self, slot: Slot, now_ns: int, events: list[SessionEvent]) -> None:
        """Ask for the top of a book that has been silent for longer than it usually is."""
        fresh, book = self.policy.fresh, slot.book
        if book.changed_ns != slot.seen_ns:
            # A silence has ended: learn its length; what was learnt fades by half in some minutes.
            ended = book.changed_ns - slot.seen_ns if slot.seen_ns else 0
            slot.gap_ns = max(ended, slot.gap_ns - (slot.gap_ns >> 11))
            slot.seen_ns = book.changed_ns
        usual = min(max(4 * slot.gap_ns, fresh.doubt_min_ns), fresh.doubt_max_ns)
        quiet_since = now_ns - max(book.changed_ns, book.confirmed_ns)
        if book.state is BookState.LIVE and quiet_since > fresh.stale_ns:
            self._enter(slot, BookState.STALE, f"unconfirmed; {slot.why}", now_ns, events)
        if (
            (quiet_since > usual or book.state is BookState.STALE)
            and not slot.probing
            and now_ns >= slot.probe_after_ns
        ):
            slot.probing = True
            slot.probed_version = book.version
            self._out.append(ProbeTop(book.instrument))

    def _look_awake(self, now_ns: int, events: list[SessionEvent]) -> None:
        """If nobody looked at the clock for too long, what we hold and what waits is old."""
        fresh = self.policy.fresh
        if now_ns - self._ticked_ns <= fresh.stall_ns or not fresh.late_ns:
            return
        slept = (now_ns - self._ticked_ns) / SECOND
        self._late.slept(now_ns)
        for slot in self._slots.values():
            slot.probed_version = -1  # an answer under way was given before, or may have been
            if slot.book.state is BookState.LIVE:
                reason = f"this program slept for {slept:.1f} s"
                self._enter(slot, BookState.STALE, reason, now_ns, events)
        self._ticked_ns = now_ns

    def _pace_out(self, frames: Iterable[Frame]) -> None:
        """Send what the venue does not count at once; queue the rest."""
        for frame in frames:
            if frame.cost:
                self._paced.append(frame)
            else:
                self._out.append(Send(frame))

    def _send_paced(self, now_ns: int) -> None:
        while self._paced and not self._pace.take(self._paced[0].cost, now_ns):
            self._out.append(Send(self._paced.popleft()))


def _agrees(top: Top, book: Book) -> bool:
    """Whether both say the same best prices; quantities change too fast to compare."""
    bid = top.bid[0] if top.bid else None
    ask = top.ask[0] if top.ask else None
    return bid == book.bids.best_px() and ask == book.asks.best_px()


def by_symbol(instruments: Sequence[Instrument]) -> Mapping[str, Instrument]:
    """The mapping a codec is made with."""
    return {instrument.symbol: instrument for instrument in instruments}
