"""Spoiled streams through the real codec and session, beside a model that decides by itself.

What must be noticed, and when, per venue:

* Chain venues (Binance, Bybit, OKX): with the first frame of that book that does not build on the
  last one that was accepted.  An exact repeat is no break, nor is, behind a fetched snapshot, what
  ends before it or straddles it.
* Kraken, and OKX where checksums mean something: with the first frame whose checksum covers the
  damage, that is, the first whose best levels differ from those that were summed.
* A frame that is not whole: with that frame, whoever it was about.

The model reads the delivered bytes a second time (`wires`), keeps dicts of texts (`naive`) and says
after each frame whether the book may be LIVE.  If it may not and is, that is `Missed`; if it may
and is not, though nothing had happened to it, that is a `FalseAlarm`.
"""

import heapq
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from random import Random

import msgspec

from hean_router import kit
from hean_router.book import BookState
from hean_router.domain.venue import RateLimit
from hean_router.venue import (
    Drop,
    FeedSession,
    FetchBook,
    Freshness,
    Policy,
    ProbeTop,
    Relist,
    Send,
    SessionEvent,
    StateChanged,
)
from tests.integrity import mutate
from tests.integrity.naive import Naive, plain
from tests.integrity.streams import (
    ALIVE,
    MS,
    SECOND,
    Clean,
    Stream,
    Texts,
    carried,
    connector,
)
from tests.integrity.wires import Broken, Said

SEED = int(os.environ.get("HEAN_INTEGRITY_SEED", "0"))
FOREVER = RateLimit(1_000_000, 1_000)
# Waits short enough that a spoiled stream spends its time LIVE.  Lateness is not looked at: a frame
# that we hold back is late, and would be found out by that instead of by what it says.
BRISK = Policy(
    retry_ns=40 * MS,
    retry_max_ns=200 * MS,
    settle_ns=SECOND,
    fresh=Freshness(late_ns=0, sync_ns=SECOND, crossed_ns=300 * MS),
)
WINDOW = 500  # levels a side that a connector asks for
KEPT = 3_000  # deltas that a fetched book may be rebuilt from


class Missed(AssertionError):
    """A book was LIVE though what it was made of did not allow it."""


class FalseAlarm(AssertionError):
    """A book was not LIVE though nothing had happened to it."""


@lru_cache(maxsize=1 << 18)
def scaled(text: str, decimals: int, size: Decimal) -> int:
    """A price or quantity in the instrument's units, by fractions: exact whatever its length."""
    number = Fraction(text) * Fraction(size) * 10**decimals
    assert number.denominator == 1, f"{text} is finer than {decimals} decimals"
    return number.numerator


@dataclass
class Tally:
    """What a trial did."""

    frames: int = 0
    mutants: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    breaks: int = 0  # frames that the model said must be noticed
    alarms: int = 0
    compared: int = 0
    resyncs: int = 0

    def add(self, other: "Tally") -> None:
        for name in ("frames", "mutants", "breaks", "alarms", "compared", "resyncs"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count


class Watch:
    """The model of one book: what was accepted, and whether that may be LIVE."""

    def __init__(self, trial: "Trial", instrument: kit.Instrument) -> None:
        self.trial, self.instrument = trial, instrument
        self.book = trial.wire.new_book()
        self.whole = False
        self.seq: int | None = None
        self.last: Said | None = None
        self.draining = False
        self.tainted = False  # a spoiled frame was accepted since the last clean snapshot
        self.misled = False  # a spoiled answer to a request of ours was believed
        self.window: tuple[Decimal | None, Decimal | None] = (None, None)  # what was fetched
        # Only where books are fetched: what was heard, and whether it was as it was sent.
        self.delivered: deque[tuple[Said, bool]] = deque(maxlen=KEPT)
        self.newest = 0  # of what was delivered as it was sent

    @property
    def may_live(self) -> bool:
        return self.whole and not self.book.crossed

    def take(self, said: Said, *, spoiled: bool) -> bool:
        """One message, read whole.  False if it must lose the book."""
        if self.trial.fetches:
            self.delivered.append((said, spoiled))
            if not spoiled:
                self.newest = max(self.newest, said.seq or 0)
        if said.kind == "S":
            self.replace(said, tainted=spoiled)
            return self._proven(said)
        if not self.whole:
            return True
        if said.prev is not None and said.prev != self.seq:
            if self._is_repeat(said):
                return True
            if self.draining and (said.seq or 0) <= (self.seq or 0):
                return True
            if not (self.draining and said.prev < (self.seq or 0)):
                self.whole = False
                return False
        self.book.apply(said)
        self.seq, self.last, self.draining = said.seq, said, False
        self.tainted = self.tainted or spoiled
        return self._proven(said)

    def is_what(self, true: Naive) -> bool:
        """Whether it is the true book, as far as it was ever told."""
        if self.window == (None, None):
            return self.book == true
        return self.book.within(self.window) == true.within(self.window)

    def _is_repeat(self, said: Said) -> bool:
        last = self.last
        if last is None or (last.seq, last.prev) != (said.seq, said.prev):
            return False
        return _canonical(last) == _canonical(said)

    def replace(self, said: Said, *, tainted: bool) -> None:
        self.book = self.trial.wire.new_book()
        self.book.apply(said)
        self.seq, self.last, self.whole = said.seq, None, True
        self.tainted, self.draining = tainted or self.misled, False

    def _proven(self, said: Said) -> bool:
        if said.checksum is None:
            return True
        self.whole = self.trial.wire.digest_of(self.book, self.instrument) == said.checksum
        return self.whole

    def rebuild(self, base: Naive, start: int, end: int) -> None:
        """Behind a fetched snapshot that made the session's book LIVE: lay what was heard on it."""
        self.book = base.copy()
        self.window = base.window(WINDOW)
        at, first, self.tainted = start, True, False
        while at < end:
            nexts = [
                (said, spoiled)
                for said, spoiled in self.delivered
                if said.prev is not None
                and (said.prev == at or (first and said.prev < at < (said.seq or 0)))
            ]
            if not nexts:
                raise Missed(f"LIVE at {end}, but nothing heard leads there from {at}")
            said, spoiled = nexts[-1]
            self.book.apply(said)
            self.last, self.tainted = said, self.tainted or spoiled
            at, first = said.seq or 0, False
        if at != end:
            raise Missed(f"LIVE at {end}, but what was heard leads to {at}")
        if start == end:
            self.last = None
        self.seq, self.whole, self.draining = end, True, start == end
        if end < self.newest:
            raise Missed(f"LIVE at {end}, though {self.newest} has been heard")


def _canonical(said: Said) -> tuple[list[tuple[str, str]], ...]:
    return tuple([(plain(px), plain(qty)) for px, qty in side] for side in (said.bids, said.asks))


class Trial:
    """One client, one stream, one seed."""

    def __init__(
        self,
        stream: Stream,
        seed: int,
        *,
        rate: float = 0.25,
        policy: Policy = BRISK,
        digits: bool | None = None,
        tail: int = 250,
        frames_max: int = 1 << 30,
    ) -> None:
        self.frames = stream.frames[:frames_max]
        self.stream, self.wire, self.seed, self.rate = stream, stream.wire, seed, rate
        self.rng = Random(f"{stream.name}/{seed}")
        self.tail = min(tail, len(self.frames) // 3)
        # Digits are spoiled where something proves them.
        self.digits = stream.digests if digits is None else digits
        link = connector(self.wire.venue)
        by_symbol = {each.symbol: each for each in stream.instruments}
        self.codec = self.wire.codec(stream.instruments)
        self.fetches = self.codec.fetches
        spec = msgspec.structs.replace(link.spec, frames=FOREVER)
        self.session = FeedSession(spec, self.codec, stream.instruments, Random(seed), policy)
        self.truth: dict[str, tuple[Naive, int | None]] = {
            each.symbol: (self.wire.new_book(), None) for each in stream.instruments
        }
        for symbol, (book, seq) in stream.begin.items():
            self.truth[symbol] = (book.copy(), seq)
        self.watches = {each.symbol: Watch(self, each) for each in stream.instruments}
        self.by_symbol = by_symbol
        self.tally = Tally()
        self.now_ns = stream.frames[0].at_ns
        # Where lateness is not looked at, time may go faster than it went: waits end sooner.
        self.step_ns = 0 if policy.fresh.late_ns else 15 * MS
        self.changes: list[StateChanged] = []
        self._errands: list[tuple[int, int, str, object]] = []  # frame, order, what, of whom
        self._order = 0
        self._late: list[tuple[int, int, Clean, bytes]] = []
        self._caches: dict[str, tuple[Naive, int | None]] = {}
        self._spoiling = False
        self.since = 0  # frames since the last mutant

    # ------------------------------------------------------------------ running

    def run(self) -> Tally:
        frames, last = self.frames, len(self.frames) - self.tail
        self._after(self.session.opened(self.now_ns))
        for number, clean in enumerate(frames):
            self.tally.frames += 1
            self._spoiling = bool(self.rate) and number < last
            self._to(max(clean.at_ns, self.now_ns + self.step_ns))
            self._tell_truth(clean)
            for what, raw in self._spoiled(clean, number):
                self.deliver(clean, raw, spoiled=what != "")
            while self._late and self._late[0][0] <= number:
                _, _, late, raw = heapq.heappop(self._late)
                self.deliver(late, raw, spoiled=False)
            self._run_errands(number)
        self._settle(len(frames))
        return self.tally

    def _to(self, at_ns: int) -> None:
        """Let time pass, looking at the timers."""
        while self.session.wake_at_ns <= at_ns:
            self.now_ns = self.session.wake_at_ns
            self._after(self.session.due(self.now_ns))
        self.now_ns = max(self.now_ns, at_ns)

    def _settle(self, number: int) -> None:
        """The stream is over: whatever is still asked for is answered, then all must be well."""
        for step in range(1_000):
            if self.session.all_live and not self._errands:
                break
            self._run_errands(1 << 30)
            self._to(self.now_ns + 100 * MS)
            if not step % 20:  # pings are answered: the socket is alive
                self.deliver(None, ALIVE[self.wire.venue], spoiled=False)
        for symbol, watch in self.watches.items():
            book = self.session.book(watch.instrument)
            if not book.live:
                raise FalseAlarm(f"{symbol} never came back: {book.state}, {book.reason}")
            self.compare(watch)
            self._compare_truth(watch)

    # ------------------------------------------------------------------ the venue

    def _tell_truth(self, clean: Clean) -> None:
        for said in clean.said:
            book, _ = self.truth[said.symbol]
            book.apply(said)
            self.truth[said.symbol] = (book, said.seq)
            if self.fetches and self.rng.random() < 0.02:
                self._caches[said.symbol] = (book.copy(), said.seq)

    def _spoiled(self, clean: Clean, number: int) -> Sequence[tuple[str, bytes]]:
        """What arrives now in the place of one frame: (what was done to it, bytes)."""
        rng, raw = self.rng, clean.raw
        if not self._spoiling:
            return [("", raw)]
        if clean.reset and number and rng.random() < 0.5:
            return self._note("lost reset", [])
        if rng.random() >= self.rate:
            return [("", raw)]
        kinds = ["drop", "repeat", "late repeat", "delay", "syntax", "syntax"]
        if self.digits and clean.said:
            kinds += ["digits", "digits"]
        match rng.choice(kinds):
            case "drop":
                return self._note("drop", [])
            case "repeat":
                return self._note("repeat", [("", raw), ("", raw)])
            case "late repeat":
                self._hold(number + rng.randrange(1, 6), clean, raw)
                return self._note("late repeat", [("", raw)])
            case "delay":
                self._hold(number + rng.randrange(1, 5), clean, raw)
                return self._note("delay", [])
            case "digits":
                return self._note("digits", [("digits", mutate.other_digit(raw, rng))])
            case _:
                how = rng.choice(mutate.SYNTAX)
                return self._note(how.__name__, [(how.__name__, how(raw, rng))])

    def _note(self, what: str, arrives: Sequence[tuple[str, bytes]]) -> Sequence[tuple[str, bytes]]:
        self.tally.mutants += 1
        self.tally.kinds[what] = self.tally.kinds.get(what, 0) + 1
        self.since = 0
        return arrives

    def _hold(self, until: int, clean: Clean, raw: bytes) -> None:
        self._order += 1
        heapq.heappush(self._late, (until, self._order, clean, raw))

    # ------------------------------------------------------------------ the client

    def deliver(self, clean: Clean | None, raw: bytes, *, spoiled: bool) -> None:
        """One frame arrives: the session and the model hear it, then they are held together."""
        session = self.session
        malformed = session.counts.malformed
        events = session.received(raw, self.now_ns)
        alarmed = session.counts.malformed > malformed
        spoiled = spoiled and (clean is None or raw != clean.raw)
        broken, said = "", clean.said if clean is not None and not spoiled else ()
        if clean is None or spoiled:
            try:
                said = tuple(self.wire.read(raw, self.stream.symbols))
                self._fits(said)
            except Broken as why:
                broken, said = str(why), ()
        if broken:
            self.tally.breaks += 1
            self._lost_now(clean, raw, broken, alarmed=alarmed)
        elif alarmed and not spoiled and not any(self.watches[s.symbol].tainted for s in said):
            raise FalseAlarm(f"taken for broken: {raw[:300]!r}")
        elif alarmed:
            self._adopt()  # stricter than the model: it asks for the book again, no harm
        else:
            if spoiled and clean is not None and not clean.said and b'"method"' in raw:
                self._taint()  # an acknowledgement that tells another depth, perhaps
            for each in said:
                watch = self.watches[each.symbol]
                if not watch.take(each, spoiled=spoiled):
                    self.tally.breaks += 1
        self._after(events)
        self.since += 1
        for each in {each.symbol: None for each in said}:
            self.hold_together(self.watches[each], raw)

    def _taint(self) -> None:
        for watch in self.watches.values():
            watch.tainted = watch.misled = True

    def _fits(self, said: Sequence[Said]) -> None:
        """Numbers finer than the rules allow are no numbers of this book."""
        for each in said:
            instrument = self.by_symbol[each.symbol]
            size = instrument.contract_size.normalize()
            wire_decimals = instrument.qty_decimals - max(0, -int(size.as_tuple().exponent))
            for px, qty in (*each.bids, *each.asks):
                for text, decimals in ((px, instrument.px_decimals), (qty, wire_decimals)):
                    if len(plain(text).partition(".")[2]) > decimals:
                        raise Broken(f"{text} is too fine")

    def _lost_now(self, clean: Clean | None, raw: bytes, why: str, *, alarmed: bool) -> None:
        """A frame that is not whole: the book it was about must be lost by now."""
        symbols = {said.symbol for said in clean.said} if clean else set(self.watches)
        for symbol in symbols:
            if self.session.book(self.by_symbol[symbol]).live is not None:
                raise Missed(f"{why}, and {symbol} is LIVE: {raw[:400]!r}")
        if not alarmed and symbols:
            raise Missed(f"{why}, and nobody counted it: {raw[:400]!r}")
        self._adopt()

    def _adopt(self) -> None:
        """What the session has given up, the model gives up."""
        for watch in self.watches.values():
            state = self.session.book(watch.instrument).state
            if state in {BookState.LOST, BookState.SYNCING}:
                watch.whole = False

    def hold_together(self, watch: Watch, raw: bytes = b"") -> None:
        """LIVE exactly where the model allows it."""
        book = self.session.book(watch.instrument)
        live = book.live is not None
        if live and not watch.may_live:
            raise Missed(
                f"{watch.instrument.symbol} is LIVE at {book.seq}, the model stands at "
                f"{watch.seq} ({'crossed' if watch.whole else 'lost'}): {raw[:400]!r}"
            )
        if not live and watch.may_live:
            if not (watch.tainted or self._is_behind(watch)):
                raise FalseAlarm(f"{watch.instrument.symbol}: {book.reason}: {raw[:400]!r}")
            self._adopt()
        if live and (self.since in {1, 3} or self.tally.frames % 64 == 0):
            self.compare(watch)

    def _is_behind(self, watch: Watch) -> bool:
        """Whether something of this book is missing, noticed or not."""
        book, seq = self.truth[watch.instrument.symbol]
        return watch.seq != seq or watch.book.top != book.top

    def compare(self, watch: Watch) -> None:
        """The session's book is the model's, level by level."""
        book, instrument = self.session.book(watch.instrument), watch.instrument
        self.tally.compared += 1
        for ours, theirs in ((book.bids, watch.book.bids), (book.asks, watch.book.asks)):
            expected = {
                scaled(px, instrument.px_decimals, Decimal(1)): scaled(
                    qty, instrument.qty_decimals, instrument.contract_size
                )
                for px, qty in theirs.items()
            }
            if dict(ours) != expected:
                wrong = dict(dict(ours).items() ^ expected.items())
                raise Missed(f"{instrument.symbol} at {book.seq} differs at {list(wrong)[:10]}")
        if not watch.tainted and watch.seq is not None:
            true, seq = self.truth[instrument.symbol]
            if seq == watch.seq and not watch.is_what(true):
                raise Missed(f"{instrument.symbol} at {seq} is not what the venue has")

    def _compare_truth(self, watch: Watch) -> None:
        if watch.misled:
            return
        true, seq = self.truth[watch.instrument.symbol]
        if watch.seq != seq:
            raise Missed(f"{watch.instrument.symbol} stands at {watch.seq}, the venue at {seq}")
        if self.stream.digests:
            count = 25 if self.wire.digest == "okx" else 10
            assert watch.book.best(count) == true.best(count), "what a checksum covers is right"

    # ------------------------------------------------------------------ what the session wants

    def _after(self, events: Sequence[SessionEvent]) -> None:
        for event in events:
            if isinstance(event, StateChanged):
                self.changes.append(event)
                if event.old is BookState.LIVE:
                    self.tally.alarms += 1
        for command in self.session.take():
            match command:
                case Send(frame=frame):
                    self._sent(frame.data)
                case FetchBook(instrument=instrument):
                    self._errand("fetch", instrument)
                case ProbeTop(instrument=instrument):
                    self._errand("probe", instrument)
                case Relist():
                    pass
                case Drop(reason=reason):
                    raise FalseAlarm(f"dropped: {reason}")

    def _errand(self, what: str, instrument: kit.Instrument) -> None:
        self._order += 1
        due = self.tally.frames + self.rng.randrange(0, 5) * bool(self.rate)
        heapq.heappush(self._errands, (due, self._order, what, instrument))

    def _sent(self, data: bytes) -> None:
        """A resubscription is answered with the book as it stands."""
        if (
            b'"subscribe"' not in data
            or self.fetches
            or b'"books"'
            not in data.replace(b"orderbook.200", b'"books"').replace(
                b'"channel":"book"', b'"books"'
            )
        ):
            return
        if self.tally.frames == 0:
            return  # the first subscription: the stream itself answers it
        for symbol, instrument in self.by_symbol.items():
            if b'"' + symbol.encode() + b'"' in data or b"200." + symbol.encode() + b'"' in data:
                self._errand("snapshot", instrument)

    def _run_errands(self, number: int) -> None:
        while self._errands and self._errands[0][0] <= number + 1:
            _, _, what, instrument = heapq.heappop(self._errands)
            assert isinstance(instrument, kit.Instrument)
            match what:
                case "snapshot":
                    self._answer_stream(instrument)
                case "fetch":
                    self._answer_fetch(instrument)
                case _:
                    self._answer_probe(instrument)

    def _answer_stream(self, instrument: kit.Instrument) -> None:
        self.tally.resyncs += 1
        book, seq = self.truth[instrument.symbol]
        told = Texts(
            instrument.px_decimals,
            instrument.qty_decimals,
            self.now_ns // MS,
            self.stream.channel,
            self.stream.digests,
        )
        raw = self.wire.snapshot(instrument.symbol, book, seq, told)
        chance = self.rng.random() if self._spoiling else 1.0
        if chance < 0.03:
            return  # it never comes
        if chance < 0.06:
            how = self.rng.choice(mutate.SYNTAX)
            clean = Clean(self.now_ns, raw, tuple(self.wire.read(raw, self.stream.symbols)))
            self.deliver(clean, how(raw, self.rng), spoiled=True)
            return
        self.deliver(None, raw, spoiled=False)

    def _answer_fetch(self, instrument: kit.Instrument) -> None:
        self.tally.resyncs += 1
        symbol = instrument.symbol
        base, seq = self.truth[symbol]
        chance = self.rng.random() if self._spoiling else 1.0
        if chance < 0.05:
            self._after(self.session.failed(instrument, "503", self.now_ns))
            self._adopt()
            return
        if chance < 0.20:  # a cache answers; none is that old twice in a row
            base, seq = self._caches.pop(symbol, (base, seq))
        snapshot = carried(
            self.codec.snapshot(instrument),
            lambda request: self.wire.answer(request, base, seq),
        )
        watch, counts = self.watches[symbol], self.session.book_counts(instrument)
        taken = counts.snapshots
        events = self.session.fetched(snapshot, self.now_ns)
        book = self.session.book(instrument)
        if counts.snapshots > taken and book.live is not None:
            watch.rebuild(base.cut_to(WINDOW), seq or 0, book.seq or 0)
        self._after(events)
        if counts.snapshots > taken and book.live is None:
            watch.whole = book.state is BookState.CROSSED
        self.hold_together(watch)

    def _answer_probe(self, instrument: kit.Instrument) -> None:
        book, seq = self.truth[instrument.symbol]
        top = carried(
            self.codec.probe(instrument), lambda request: self.wire.answer(request, book, seq)
        )
        self._after(self.session.probed(top, self.now_ns))
        watch = self.watches[instrument.symbol]
        if watch.may_live and self.session.book(instrument).live is None:
            if not (watch.tainted or self._is_behind(watch)):
                raise FalseAlarm(f"{instrument.symbol}: {self.session.book(instrument).reason}")
            self._adopt()


def storm(stream: Stream, mutants: int, *, seed: int | None = None, **facts: object) -> Tally:
    """Trials of one stream until so many mutants have been sent.  A failure names its seed."""
    total = Tally()
    seed = SEED if seed is None else seed
    facts.setdefault("frames_max", 6 * mutants + 500)
    while total.mutants < mutants:
        trial = Trial(stream, seed, **facts)  # type: ignore[arg-type]
        try:
            total.add(trial.run())
        except Exception as fault:
            fault.add_note(
                f"{stream.name}, seed {seed}, after {total.mutants + trial.tally.mutants} mutants;"
                f" again with HEAN_INTEGRITY_SEED={seed}"
            )
            raise
        seed += 1
    return total
