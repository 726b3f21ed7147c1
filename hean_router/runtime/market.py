"""Every venue's books as one, kept current by what the gateways tell."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from hean_router.book import BookState, ConsolidatedBook, Group, LiveBook, group_of
from hean_router.domain.feed import Notice, NoticeKind, Trade
from hean_router.domain.instrument import Instrument, Pair, Part, Trading, VenueId
from hean_router.domain.venue import Fees
from hean_router.venue import BookMoved, SessionEvent, StateChanged
from hean_router.venue.gateway import EventSink

TEXT_MAX = 500  # of a notice: a venue's text is no memory leak


class Seat:
    """A venue's place in a consolidated book: whichever session's book is LIVE there now.

    While the venue says that it takes no orders, here or anywhere, the place is empty, however good
    the book.
    """

    __slots__ = ("book", "instrument", "paused", "shut", "since_ns", "state", "why")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.book: LiveBook | None = None
        self.state, self.why = BookState.SYNCING, "connecting"
        self.since_ns = 0
        self.paused = ""  # why the instrument takes no orders
        self.shut = ""  # why the venue takes none at all: lifted by itself, not with the other

    @property
    def halted(self) -> str:
        """Why no orders are taken; empty if they are."""
        return self.shut or self.paused

    @property
    def live(self) -> LiveBook | None:
        """The readable book, None when there is none or the venue takes no orders."""
        return None if self.shut or self.paused else self.book

    @property
    def reason(self) -> str:
        """Why it is in that state."""
        return f"halted: {self.halted}" if self.halted else self.why


class Market:
    """The consolidated books of some pairs.

    Synchronous: a venue's event is taken in one call.  Readers that wait use `changed`: under load
    they see fewer versions, never other ones.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs = list(dict.fromkeys(pairs))
        self.books: dict[Group, ConsolidatedBook] = {}
        self.listed: dict[tuple[VenueId, Pair], Instrument] = {}
        # What a venue's list did not have when it was read, by a name that can be asked with.
        self.unlisted: dict[tuple[VenueId, Pair], Instrument] = {}
        self.on_listed: list[Callable[[Instrument], None]] = []  # told how a pair is listed now
        self.notices: deque[tuple[VenueId, Notice]] = deque(maxlen=100)  # the last, cut short
        self.on_change: list[Callable[[StateChanged], None]] = []
        self.on_trade: list[Callable[[Trade], None]] = []
        self._seats: dict[tuple[VenueId, str], Seat] = {}
        self._fees: dict[tuple[VenueId, Part], Fees] = {}
        self._own_fees: dict[tuple[VenueId, Pair], Fees] = {}  # what the account really pays
        self._by_pair: dict[Pair, dict[str, Instrument]] = {}
        self._shut: dict[VenueId, str] = {}  # venues that take no orders at all, and why
        self._dirty: set[Group] = set()
        self._wake = asyncio.Event()
        for pair in self.pairs:
            self.books.setdefault(group_of(pair), ConsolidatedBook(pair))

    # ------------------------------------------------------------------------- who takes part

    def join(
        self, venue: VenueId, part: Part, listed: Sequence[Instrument], fees: Fees
    ) -> Sequence[Instrument]:
        """Seat a venue that lists `listed`; returns the instruments whose books we want from it.

        Pairs that it does not list, or that cannot be pooled, are named as left out.
        """
        self._fees[venue, part] = fees
        by_pair = {instrument.pair: instrument for instrument in listed}
        wanted = []
        for pair in self.pairs:
            if pair.part is not part:
                continue
            if (instrument := by_pair.get(pair)) is None:
                others = sorted(str(i.pair) for i in listed if i.pair.base == pair.base)
                reason = f"{others[0]}: no conversion" if others else "not listed"
                self.leave_out(venue, pair, reason)
                continue
            self._sit(instrument)
            wanted.append(instrument)
        return wanted

    def set_fees(self, venue: VenueId, fees: Mapping[Pair, Fees]) -> None:
        """The account's own rates, pair by pair, in place of what was assumed."""
        for pair, tier in fees.items():
            seat = self._seats.get((venue, str(pair)))
            if seat is None or self._own_fees.get((venue, pair)) == tier:
                continue
            self._own_fees[venue, pair] = tier
            self.books[group_of(pair)].add(seat, tier)
            self._mark(pair)

    def miss(self, instruments: Sequence[Instrument]) -> None:
        """Stand-ins for what `join` left out as not listed: seated once the venue lists it."""
        for of in instruments:
            assert of.trading is Trading.UNLISTED, f"{of.pair} is listed"
            self.unlisted[of.venue, of.pair] = of

    def known(self, venue: str, part: Part) -> list[Instrument]:
        """All that can be asked about there: what is listed, and what stands in for the rest."""
        return [
            of
            for (name, pair), of in {**self.unlisted, **self.listed}.items()
            if name == venue and pair.part is part
        ]

    def leave_out(self, venue: VenueId, pair: Pair, reason: str) -> None:
        """Name a venue that has no book of `pair` here, and why."""
        self.books[group_of(pair)].remove(venue, reason)
        self._mark(pair)

    def _sit(self, instrument: Instrument) -> Seat:
        seat, old = Seat(instrument), self._seats.get(instrument.key)
        if old is not None:  # its rules were refreshed; whoever halted it has not taken that back
            seat.paused, seat.state, seat.why = old.paused, old.state, old.why
            seat.since_ns = old.since_ns
        seat.shut = self._shut.get(instrument.venue, "")
        self._seats[instrument.key] = seat
        self.listed[instrument.venue, instrument.pair] = instrument
        self.unlisted.pop((instrument.venue, instrument.pair), None)
        self._by_pair.setdefault(instrument.pair, {})[instrument.venue] = instrument
        book = self.books[group_of(instrument.pair)]
        fees = self._own_fees.get((instrument.venue, instrument.pair))
        book.add(seat, fees or self._fees[instrument.venue, instrument.part])
        self._mark(instrument.pair)
        for hear in self.on_listed:
            hear(instrument)
        return seat

    def _seat_of(self, instrument: Instrument) -> Seat:
        """Its place; a new one where its rules are new, or it was not listed before."""
        seat = self._seats.get(instrument.key)
        return seat if seat and seat.instrument is instrument else self._sit(instrument)

    def seats(self) -> Sequence[Seat]:
        """Every venue's place in every book."""
        return list(self._seats.values())

    def seat(self, venue: VenueId, pair: Pair) -> Seat | None:
        """A venue's place in the book of `pair`."""
        return self._seats.get((venue, str(pair)))

    # ------------------------------------------------------------------------- what happens

    def sink(self, venue: VenueId) -> EventSink:
        """Where a gateway of `venue` tells what happens."""

        def take(events: Sequence[SessionEvent], _now_ns: int) -> None:
            for event in events:
                self._take(venue, event)

        return take

    def _take(self, venue: VenueId, event: SessionEvent) -> None:
        match event:
            case BookMoved(instrument=instrument, book=book):
                seat = self._seat_of(instrument)
                seat.book, seat.state = book, BookState.LIVE
                self._mark(instrument.pair)
            case StateChanged(instrument=instrument):
                seat = self._seat_of(instrument)
                seat.state, seat.why, seat.since_ns = event.new, event.reason, event.at_ns
                if event.new is not BookState.LIVE:
                    seat.book = None
                self._mark(instrument.pair)
                for hear in self.on_change:
                    hear(event)
            case Trade():
                for print_ in self.on_trade:
                    print_(event)
            case Notice():
                self._note(venue, event)

    def _note(self, venue: VenueId, notice: Notice) -> None:
        if notice.kind is NoticeKind.SUBSCRIBED:
            return
        if len(notice.text) > TEXT_MAX:
            notice = structs.replace(notice, text=notice.text[:TEXT_MAX])
        self.notices.append((venue, notice))
        if notice.kind not in {NoticeKind.HALTED, NoticeKind.RESUMED}:
            return
        halted = (notice.text or "halted") if notice.kind is NoticeKind.HALTED else ""
        about = notice.instrument
        if about is None:
            self._shut[venue] = halted
        for key, seat in self._seats.items():
            if about is None and key[0] == venue:
                seat.shut = halted
            elif about is not None and key == about.key:
                seat.paused = halted
            else:
                continue
            self._mark(seat.instrument.pair)

    def _mark(self, pair: Pair) -> None:
        self._dirty.add(group_of(pair))
        self._wake.set()

    # ------------------------------------------------------------------------- who reads

    async def changed(self) -> frozenset[Group]:
        """Wait until something has changed since the last call; which books.  For one reader."""
        await self._wake.wait()
        self._wake.clear()
        dirty, self._dirty = frozenset(self._dirty), set()
        return dirty

    def book(self, pair: Pair) -> ConsolidatedBook:
        """The consolidated book that serves `pair`; `KeyError` if it was not asked for."""
        return self.books[group_of(pair)]

    def listing(self, pair: Pair) -> Mapping[str, Instrument]:
        """How each venue lists `pair`, as far as they have answered."""
        return self._by_pair.get(pair, {})

    def standing(self, pair: Pair) -> Mapping[VenueId, str]:
        """Each venue's state for `pair`, in words."""
        words = {
            seat.instrument.venue: seat.state.value
            + (f": {seat.reason}" if seat.live is None else "")
            for seat in self._seats.values()
            if seat.instrument.pair == pair
        }
        return {**self.book(pair).left_out(), **words}

    @property
    def all_live(self) -> bool:
        """Whether every seated book that may trade is LIVE."""
        return bool(self._seats) and all(
            seat.live is not None or seat.instrument.trading is not Trading.OPEN
            for seat in self._seats.values()
        )
