"""A capture through the real codec, session and book of one instrument.

What live traffic goes through, recorded traffic goes through: nothing here reads a venue's bytes
itself.  Rules (decimals, contract size) come from the capture's own lists of instruments; where it
has none, from the finest digits it writes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from msgspec import MsgspecError, Struct

from hean_router.book import Book, BookState
from hean_router.domain.errors import CommandError, VenueError
from hean_router.domain.feed import Delta, FeedEvent, Level, Notice, Snapshot, Top, Trade
from hean_router.domain.instrument import Digits, Instrument, Pair, Part
from hean_router.domain.scale import plain
from hean_router.replay.capture import CaptureError, open_capture, part_of_record, protocol_of
from hean_router.replay.containers import Captured
from hean_router.venue import (
    Ask,
    BookCounts,
    BookMoved,
    Connector,
    FeedCodec,
    FeedSession,
    Frame,
    Freshness,
    Policy,
    SessionEvent,
)

# Recorded clocks may stand still, or be somebody else's: nothing is judged late by them.
RECORDED = Policy(fresh=Freshness(late_ns=0))
FINEST = 18  # decimals that any venue writes at most, while we look for how many it does
DEPTH = 10  # levels a side in the report
UNTOLD = "?"  # the quote of a pair that only the venue's own name is known of

_UNREADABLE = (
    VenueError,
    MsgspecError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    RecursionError,
)


class TopMoved(Struct, frozen=True):
    """A new best bid or ask."""

    at_ns: int
    seq: int | None
    bid: Level | None
    ask: Level | None


class FramesReport(Struct, frozen=True):
    """What a capture held of one instrument, and the book it ends with."""

    instrument: Instrument
    state: BookState
    reason: str
    frames: int  # frames and answers that speak of the instrument
    ignored: int  # of these, those that are neither book nor trade
    malformed: int
    counts: BookCounts
    seq: int | None
    bids: Sequence[Level]
    asks: Sequence[Level]
    damage: CaptureError | None = None  # where the capture breaks off; all before it is counted

    @property
    def symbol(self) -> str:
        """As ccxt spells it; as the venue does, where the capture does not tell the quote."""
        pair = self.instrument.pair
        return self.instrument.symbol if pair.quote == UNTOLD else str(pair)

    def to_json(self) -> dict[str, Any]:
        """Plain decimals; `seq` is null where the venue's proof is no chain."""
        counts = self.counts
        return {
            "venue": self.instrument.venue,
            "symbol": self.symbol,
            "state": self.state.value,
            "reason": self.reason,
            "frames": self.frames,
            "snapshots": counts.snapshots,
            "deltas": counts.deltas,
            "trades": counts.trades,
            "ignored": self.ignored,
            "malformed": self.malformed,
            "gaps": counts.gaps,
            "checksums_ok": counts.checksums_ok,
            "checksums_bad": counts.checksums_bad,
            "seq": self.seq,
            "bids": level_texts(self.instrument, self.bids),
            "asks": level_texts(self.instrument, self.asks),
            "damaged": str(self.damage) if self.damage else None,
        }


def level_texts(instrument: Instrument, levels: Iterable[Level]) -> list[list[str]]:
    """`[price, quantity]` in plain decimals."""
    return [
        [plain(instrument.px_decimal(px)), plain(instrument.qty_decimal(qty))] for px, qty in levels
    ]


def read_frames(
    path: Path,
    connector: Connector,
    symbol: str,
    on_top: Callable[[Instrument, TopMoved], None] | None = None,
) -> FramesReport:
    """Read the whole capture at `path` for `symbol` (ccxt's spelling, or the venue's own).

    One that is cut or damaged is read up to there, and the report says so.  Raises `CaptureError`
    for a file of which nothing can be read, `VenueError` where it speaks a protocol that we do
    not, `CommandError` where it says nothing of `symbol`.
    """
    name, pair = _named(connector, symbol)
    instrument = _rules(path, connector, name, pair)
    reader = _Reader(connector, instrument, on_top)
    damage = None
    try:
        for record in _records(path, connector):
            reader.take(record)
    except CaptureError as fault:
        damage = fault
    report = reader.report(damage)
    if not report.frames:
        if damage is not None:
            raise damage
        raise CommandError(
            f"{path}: nothing about {symbol} ({name} at {connector.spec.id})",
            "check --symbol and --venue against the capture",
        )
    return report


def _named(connector: Connector, symbol: str) -> tuple[str, Pair]:
    """The venue's spelling of `symbol`, and the pair to call it by."""
    if "/" in symbol:
        pair = Pair.parse(symbol)
        return connector.spell(pair), pair
    name = symbol.strip().upper()
    return name, Pair(name, UNTOLD)


def _records(path: Path, connector: Connector) -> Iterator[Captured]:
    """The records of `path` that are this venue's."""
    venue = connector.spec.id
    spoken: dict[str, bool] = {}  # by connection: whether it is this venue's
    ours = others = ""
    with open_capture(path) as capture:
        for record in capture:
            if record.venue and record.venue != venue:
                others = record.venue
                continue
            if record.conn not in spoken and (wire := protocol_of(record)):
                if wire.refusal:
                    raise VenueError(f"{path}: {wire.refusal}", "record WebSocket v2, or spot")
                spoken[record.conn] = wire.venue == venue
                ours, others = (wire.venue, others) if spoken[record.conn] else (ours, wire.venue)
            if spoken.get(record.conn, True):
                yield record
    if others and not ours:
        raise CommandError(
            f"{path}: this is a capture of {others}, not of {venue}", f"say --venue {others}"
        )


def _rules(path: Path, connector: Connector, name: str, pair: Pair) -> Instrument:
    """The instrument as the capture lists it, else as fine as the digits it writes."""
    found: dict[Pair, Instrument] = {}
    finest = _Finest(connector, name, pair)
    try:
        for record in _records(path, connector):
            if record.kind not in {"http", "recv"}:
                continue
            for listed in _listed(connector, record):
                if listed.symbol == name and pair.quote in {UNTOLD, listed.pair.quote}:
                    found[listed.pair] = listed
            if not found:
                finest.take(record)
    except CaptureError as fault:
        if not fault.records:
            raise
        # What stands before the damage is read; whoever reads it for books meets the same fault.
    return _chosen(found, name, pair) or finest.instrument()


def _chosen(found: Mapping[Pair, Instrument], name: str, pair: Pair) -> Instrument | None:
    """The instrument meant, if listed; two parts of a venue may give two the same name."""
    if pair.quote != UNTOLD:
        return next((one for one in found.values() if one.pair.part is pair.part), None)
    if len(found) > 1:
        raise CommandError(
            f"{name} names {len(found)} instruments here",
            f"say which: {' or '.join(sorted(map(str, found)))}",
        )
    return next(iter(found.values()), None)


def _listed(connector: Connector, record: Captured) -> Sequence[Instrument]:
    parts = [p for p in connector.spec.parts if part_of_record(record) in {"", p.value}]
    for part in sorted(parts):
        try:
            if listed := connector.listed_in(part, record.raw, record.url):
                return listed
        except _UNREADABLE:
            continue  # a frame that is not whole lists nothing; the reading itself says so
    return ()


class _Heard(Digits):
    """Asked for every text there is: the compiled twin reads only past plain `Digits`."""


def _probing(connector: Connector, symbol: str, pair: Pair) -> Instrument:
    probe = Instrument(
        venue=connector.spec.id,
        pair=pair,
        symbol=symbol,
        px_decimals=FINEST,
        qty_decimals=FINEST,
    )
    for column in ("px_of", "qty_of"):
        object.__setattr__(probe, column, _Heard(FINEST))
    return probe


class _Anything(dict[str, Instrument]):
    """Symbols of a capture: the one asked for, and any other, as it comes."""

    def __init__(self, connector: Connector, chosen: Instrument) -> None:
        super().__init__({chosen.symbol: chosen})
        self._connector = connector

    def __missing__(self, symbol: str) -> Instrument:
        # The quote is unknown and does not matter: nobody reads this book.
        self[symbol] = _probing(self._connector, symbol, Pair(symbol.upper(), UNTOLD))
        return self[symbol]


class _Finest:
    """The most decimals that a capture writes for one instrument."""

    def __init__(self, connector: Connector, name: str, pair: Pair) -> None:
        self._probe = _probing(connector, name, pair)
        self._connector, self._pair = connector, pair
        self._codecs: dict[Part, FeedCodec] = {}
        self._px = self._qty = 0

    def take(self, record: Captured) -> None:
        part = _part(self._connector, record, self._pair)
        if part is None:
            return
        symbols = _Anything(self._connector, self._probe)
        codec = self._codecs.setdefault(part, self._connector.feed(part, symbols))
        try:
            if record.kind == "http":
                self._connector.book_in(record.raw, record.url, symbols)
            else:
                list(codec.decode(record.raw))
        except _UNREADABLE:
            return
        self._px = _most(self._probe.px_of, self._px)
        self._qty = _most(self._probe.qty_of, self._qty)

    def instrument(self) -> Instrument:
        return Instrument(
            venue=self._connector.spec.id,
            pair=self._pair,
            symbol=self._probe.symbol,
            px_decimals=self._px,
            qty_decimals=self._qty,
        )


def _most(memo: Digits, decimals: int) -> int:
    """Most decimals among the texts remembered; forgets them."""
    for text in memo:
        decimals = max(decimals, len(text.partition(".")[2]))
    memo.clear()
    return decimals


def _part(connector: Connector, record: Captured, pair: Pair) -> Part | None:
    """The part that `record` belongs to, if `pair` can be in it."""
    told = part_of_record(record)
    if pair.quote != UNTOLD:
        return pair.part if told in {"", pair.part.value} else None
    parts = sorted(connector.spec.parts)
    return next((part for part in parts if part.value == told), parts[-1] if not told else None)


class _Chosen(FeedCodec):
    """A venue's codec, deaf to all instruments but one; counts what it says of that one."""

    def __init__(self, codec: FeedCodec, chosen: Instrument) -> None:
        self._codec, self._chosen = codec, chosen
        self.integrity, self.depth = codec.integrity, codec.depth
        self.fetches, self.window_min = codec.fetches, 0
        self.frames = self.ignored = self.books = 0

    def subscribe(self, instruments: Sequence[Instrument]) -> Iterable[Frame]:
        return ()

    def resubscribe(self, instrument: Instrument) -> Iterable[Frame]:
        return ()

    def decode(self, data: bytes) -> Iterable[FeedEvent]:
        chosen = self._chosen
        events = list(self._codec.decode(data))
        ours = [event for event in events if event.instrument is chosen]
        if ours or (not events and self._codec.about(data) is chosen):
            self.frames += 1
            self.ignored += not any(isinstance(e, Snapshot | Delta | Trade) for e in ours)
            self.books += any(isinstance(e, Snapshot | Delta) for e in ours)
        return [event for event in ours if not isinstance(event, Top | Notice)]

    def about(self, data: bytes) -> Instrument | None:
        return self._codec.about(data)

    def checksum(self, book: Book) -> int | None:
        return self._codec.checksum(book)

    def snapshot(self, instrument: Instrument) -> Ask[Snapshot]:
        raise NotImplementedError("a capture answers no questions")

    def probe(self, instrument: Instrument) -> Ask[Top]:
        raise NotImplementedError("a capture answers no questions")


class _Reader:
    """Sessions over recorded connections; the last one that spoke of the instrument counts."""

    def __init__(
        self,
        connector: Connector,
        instrument: Instrument,
        on_top: Callable[[Instrument, TopMoved], None] | None,
    ) -> None:
        self.counts = BookCounts()
        self.frames = self.ignored = self.malformed = 0
        self._connector, self._instrument, self._on_top = connector, instrument, on_top
        self._symbols = _Anything(connector, instrument)
        self._sessions: dict[str, tuple[FeedSession, _Chosen]] = {}
        self._speaker: FeedSession | None = None
        self._top: tuple[Level | None, Level | None] = (None, None)
        # Answers before their stream, by connection; "" for those of no connection in particular.
        self._waiting: dict[str, Snapshot] = {}
        self._step = 0

    def take(self, record: Captured) -> None:
        """One record of the capture."""
        self._step += 1
        now_ns = record.at_ns or self._step * 1_000_000  # a capture without times has an order
        match record.kind:
            case "connect":
                self._end(record.conn)
            case "recv" if _part(self._connector, record, self._instrument.pair):
                session, codec = self._session(record.conn, now_ns)
                books = codec.books
                events = session.received(record.raw, now_ns)
                self._tell_top(session, events, now_ns)
                if codec.books != books:
                    self._speaks(session, record.conn, now_ns)
            case "http" if _part(self._connector, record, self._instrument.pair):
                self._take_answer(record, now_ns)
            case _:
                pass

    def _take_answer(self, record: Captured, now_ns: int) -> None:
        only: Mapping[str, Instrument] = {self._instrument.symbol: self._instrument}
        try:
            book = self._connector.book_in(record.raw, record.url, only)
        except _UNREADABLE:
            return
        if book is None or book.instrument is not self._instrument:
            return
        # One without an address names no symbol; beside a stream it is of that stream's, if it is
        # told under the stream's name.  Else it belongs to whichever connection speaks.
        conn = record.conn if not record.url and record.conn in self._sessions else ""
        own = self._sessions[conn][0] if conn else self._speaker
        if own is not None and own is self._speaker:
            self._adopt(own, book, now_ns)
        else:
            self._waiting[conn] = book

    def _speaks(self, session: FeedSession, conn: str, now_ns: int) -> None:
        self._speaker = session
        for name in (conn, ""):
            if (book := self._waiting.pop(name, None)) is not None:
                self._adopt(session, book, now_ns)

    def _adopt(self, session: FeedSession, book: Snapshot, now_ns: int) -> None:
        """`book` is an answer about our instrument."""
        self.frames += 1
        self._tell_top(session, session.fetched(book, now_ns), now_ns)

    def _session(self, conn: str, now_ns: int) -> tuple[FeedSession, _Chosen]:
        if conn not in self._sessions:
            inner = self._connector.feed(self._instrument.part, self._symbols)
            codec = _Chosen(inner, self._instrument)
            session = FeedSession(
                self._connector.spec, codec, [self._instrument], Random(0), RECORDED
            )
            session.opened(now_ns)
            self._sessions[conn] = (session, codec)
        return self._sessions[conn]

    def _end(self, conn: str) -> None:
        """A connection begins anew: what it had is history."""
        self._waiting.pop(conn, None)
        if conn in self._sessions:
            session, codec = self._sessions.pop(conn)
            self._add(session, codec)
            if self._speaker is session:
                self._speaker = None

    def _add(self, session: FeedSession, codec: _Chosen) -> None:
        self.counts.add(session.book_counts(self._instrument))
        self.frames += codec.frames
        self.ignored += codec.ignored
        self.malformed += session.counts.malformed

    def _tell_top(self, session: FeedSession, events: Sequence[SessionEvent], now_ns: int) -> None:
        session.take()
        if self._on_top is None or not any(isinstance(event, BookMoved) for event in events):
            return
        book = session.book(self._instrument)
        top = (book.bids.best(), book.asks.best())
        if top != self._top:
            self._top = top
            self._on_top(self._instrument, TopMoved(now_ns, book.seq, *top))

    def report(self, damage: CaptureError | None = None) -> FramesReport:
        """Everything, at the end."""
        speaker = self._speaker
        for session, codec in self._sessions.values():
            self._add(session, codec)
            speaker = speaker or session
        book = speaker.book(self._instrument) if speaker else Book(self._instrument)
        live = book.state is BookState.LIVE
        return FramesReport(
            instrument=self._instrument,
            state=book.state,
            reason=book.reason,
            frames=self.frames,
            ignored=self.ignored,
            malformed=self.malformed,
            counts=self.counts,
            seq=book.seq,
            bids=book.bids.top(DEPTH) if live else (),
            asks=book.asks.top(DEPTH) if live else (),
            damage=damage,
        )
