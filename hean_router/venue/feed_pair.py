"""Several connections that carry the same books; the house sees one.

Used for A/B redundancy and for changing connections without a gap: the new one is opened first,
takes over book by book, and only then is the old one closed.
"""

from collections.abc import Iterable, Sequence

from hean_router.book import Book, BookState
from hean_router.domain.feed import Notice, Trade
from hean_router.domain.instrument import Instrument
from hean_router.venue.feed_events import BookMoved, SessionEvent, StateChanged
from hean_router.venue.feed_session import FeedSession


class FeedPair:
    """Passes on, for each instrument, what its leading session says, and changes leaders.

    A leader that loses its book is replaced at once by a session whose book is LIVE and not older
    (by `seq` where there is one, else by the venue's clock).  Only if there is none does the house
    hear of the loss.
    """

    def __init__(self) -> None:
        self._sessions: list[FeedSession] = []
        self._lead: dict[Instrument, FeedSession] = {}
        self._retiring: set[FeedSession] = set()
        self._state: dict[Instrument, BookState] = {}

    @property
    def sessions(self) -> Sequence[FeedSession]:
        """Every session that may still lead."""
        return tuple(self._sessions)

    def leader(self, instrument: Instrument) -> FeedSession | None:
        """Whose book the house reads."""
        return self._lead.get(instrument)

    def add(self, session: FeedSession) -> None:
        """Let `session` speak too."""
        self._sessions.append(session)

    def retire(self, session: FeedSession) -> None:
        """Let others take over from `session` as soon as their books are as new."""
        self._retiring.add(session)

    def keep(self, session: FeedSession) -> None:
        """Take back `retire`."""
        self._retiring.discard(session)

    def settle(self) -> Sequence[SessionEvent]:
        """Take over what a retiring session still leads, where another is as new.

        What nobody leads goes to any session whose book is LIVE: by number a book whose venue has
        begun to count anew looks old for ever.  Call it now and then after `retire`, and after
        `remove`: a quiet book does not move to say so itself.
        """
        out: list[SessionEvent] = []
        for session in self._sessions:
            for instrument in session.instruments:
                if instrument not in self._lead and (live := session.book(instrument).live):
                    self._hand_over(session, BookMoved(instrument, live), out)
        for instrument, lead in self._lead.items():
            if lead not in self._retiring:
                continue
            led = lead.book(instrument)
            for other in self._sessions:
                book = _book(other, instrument) if other not in self._retiring else None
                if book and book.live and _as_new(book, led):
                    self._hand_over(other, BookMoved(instrument, book.live), out)
                    break
        return out

    def retired(self, session: FeedSession) -> bool:
        """Whether `session` is retiring and leads nothing any more: it can be closed unseen."""
        return session in self._retiring and session not in self._lead.values()

    def remove(self, session: FeedSession) -> None:
        """Forget a session that has been closed (its `closed` events have been passed on)."""
        self._sessions.remove(session)
        self._retiring.discard(session)
        for instrument in [i for i, lead in self._lead.items() if lead is session]:
            del self._lead[instrument]

    def pass_on(
        self, session: FeedSession, events: Iterable[SessionEvent]
    ) -> Sequence[SessionEvent]:
        """Of what `session` says, what the house should hear."""
        out: list[SessionEvent] = []
        for event in events:
            match event:
                case BookMoved():
                    self._moved(session, event, out)
                case StateChanged():
                    self._changed(session, event, out)
                case Trade(instrument=instrument):
                    if self._lead.get(instrument, session) is session:
                        out.append(event)
                case Notice():
                    out.append(event)
        return out

    def _moved(self, session: FeedSession, event: BookMoved, out: list[SessionEvent]) -> None:
        instrument = event.instrument
        lead = self._lead.get(instrument)
        if lead is session:
            out.append(event)
            return
        led = lead.book(instrument) if lead else None
        if (
            led is None
            or led.live is None
            or (lead in self._retiring and _as_new(session.book(instrument), led))
        ):
            self._hand_over(session, event, out)

    def _hand_over(self, session: FeedSession, event: BookMoved, out: list[SessionEvent]) -> None:
        instrument = event.instrument
        self._lead[instrument] = session
        old = self._state.get(instrument, BookState.SYNCING)
        if old is not BookState.LIVE:
            book = session.book(instrument)
            self._state[instrument] = BookState.LIVE
            out.append(StateChanged(instrument, old, BookState.LIVE, book.reason, book.changed_ns))
        out.append(event)

    def _changed(self, session: FeedSession, event: StateChanged, out: list[SessionEvent]) -> None:
        instrument = event.instrument
        lead = self._lead.get(instrument)
        if event.new is BookState.LIVE:
            if lead is session or lead is None:
                self._lead[instrument] = session
                self._tell(event, out)
            return  # another leads; if it should not, the next BookMoved says so
        if lead is not None and lead is not session:
            return
        for other in self._sessions:
            book = _book(other, instrument) if other is not session else None
            if book and book.live and _as_new(book, session.book(instrument)):
                self._hand_over(other, BookMoved(instrument, book.live), out)
                return
        if event.old is BookState.LIVE:
            self._lead.pop(instrument, None)
        self._tell(event, out)

    def _tell(self, event: StateChanged, out: list[SessionEvent]) -> None:
        """Pass on a change as the house sees it: from what it last heard, if that differs."""
        old = self._state.get(event.instrument, BookState.SYNCING)
        self._state[event.instrument] = event.new
        if old is not event.new:
            out.append(StateChanged(event.instrument, old, event.new, event.reason, event.at_ns))


def _book(session: FeedSession, instrument: Instrument) -> Book | None:
    """What `session` has of `instrument`; None where its rules were refreshed between the two."""
    return session.book(instrument) if session.carries(instrument) else None


def _as_new(book: Book, than: Book) -> bool:
    """Whether `book` stands at least where `than` stands or stood."""
    if book.seq is not None and than.seq is not None:
        return book.seq >= than.seq
    return not book.sent_ns or book.sent_ns >= than.sent_ns
