"""What a venue must say.  Facts, pure readers and codecs; no socket, no clock, no task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from hean_router.book import Book
from hean_router.domain.feed import FeedEvent, Notice, Snapshot, Top
from hean_router.domain.instrument import Instrument, Pair, Part
from hean_router.domain.order import Credentials
from hean_router.domain.venue import Integrity, VenueSpec
from hean_router.venue.ask import Answer, Ask, Frame, HttpRequest
from hean_router.venue.order_contract import OrderCodec

__all__ = ["Answer", "Ask", "Connector", "Dice", "FeedCodec", "Frame", "HttpRequest"]


class Dice(Protocol):
    """A seeded `random.Random`, handed in: nothing below the runtime makes one."""

    def randrange(self, start: int, stop: int) -> int:
        """Any of `start` to `stop` - 1."""
        ...


class FeedCodec:
    """One socket's market data: how to ask for it, how to read it.  Forgotten with its socket.

    `decode` is the hot path.  It yields events; for what concerns nobody it yields nothing.  It
    raises `MalformedFrame`, `msgspec.MsgspecError`, `ValueError` or `KeyError` on a frame that is
    not what the protocol promises, and the session turns those into `MalformedFrame`.
    """

    integrity: Integrity = Integrity.NONE
    depth: int = 0  # cut books to it after every message; 0 = the venue removes levels itself
    fetches: bool = False  # the stream has no snapshot: `snapshot` asks for it
    window_min: int = 0  # ask for a fresh snapshot when fewer known levels remain; 0 = never

    def subscribe(self, instruments: Sequence[Instrument]) -> Iterable[Frame]:
        """Frames that ask for books and trades of `instruments`, in chunks the venue takes."""
        raise NotImplementedError

    def unsubscribe(self, instruments: Sequence[Instrument]) -> Iterable[Frame]:
        """Frames that end the same."""
        raise NotImplementedError

    def resubscribe(self, instrument: Instrument) -> Iterable[Frame]:
        """Frames after which a streamed book starts anew: the book's topic, off and on."""
        raise NotImplementedError

    def topics(self, instruments: Sequence[Instrument]) -> int:
        """How many of the socket's topics `instruments` take."""
        raise NotImplementedError

    def decode(self, data: bytes) -> Iterable[FeedEvent]:
        """What one frame says."""
        raise NotImplementedError

    def checksum(self, book: Book) -> int | None:
        """The venue's digest of `book` as it stands; None where the venue has none."""
        return None

    def snapshot(self, instrument: Instrument) -> Ask[Snapshot]:
        """Ask for a whole book (`Snapshot.fetched`); only where `fetches`."""
        raise NotImplementedError

    def probe(self, instrument: Instrument) -> Ask[Top]:
        """Ask for the best bid and ask, to tell a quiet book from a dead subscription."""
        raise NotImplementedError

    def about(self, data: bytes) -> Instrument | None:
        """Best guess which instrument an unreadable frame speaks of; None if it could be any.

        Used when `decode` fails, to lose one book instead of all: so only where the frame names
        exactly one symbol that we know.
        """
        return None

    def ping(self) -> Frame | None:
        """A frame that the venue answers; None where its own heartbeats do."""
        return None


class Connector(Struct, frozen=True, kw_only=True):
    """A venue, whole: its facts and how it speaks.  A module exports one as `CONNECTOR`."""

    spec: VenueSpec
    instruments: Callable[[Part], Ask[Sequence[Instrument]]]  # paged where the venue pages
    feed: Callable[[Part, Mapping[str, Instrument]], FeedCodec]  # by venue symbol; one a socket
    feed_url: Callable[[Part, Mapping[str, str]], str]  # the market-data socket, from the hosts
    server_time: Callable[[], Ask[int]]  # the venue's clock, epoch ns
    status: Callable[[], Ask[Sequence[Notice]]]  # maintenance now or announced; () = all is well
    spell: Callable[[Pair], str]  # the symbol in market data for a pair, listed or not
    # For reading captures: which part a recorded URL (socket or request) belongs to, and the
    # instruments that a recorded answer or frame lists (() if it lists none).
    part_of: Callable[[str], Part | None]
    listed_in: Callable[[Part, bytes, str], Sequence[Instrument]]
    # The book that a recorded REST answer (raw, url) holds; the capture has no Ask to resume.
    # Where an answer does not name its symbol, the mapping holds the only candidate.
    book_in: Callable[[bytes, str, Mapping[str, Instrument]], Snapshot | None]
    # A pair's other spellings in answers about orders, for one that is not listed now.
    aliases: Callable[[Pair], tuple[str, ...]] = lambda _pair: ()
    # Orders on spot, for one account; None where a venue is only looked at.
    orders: Callable[[Credentials, Mapping[str, Instrument]], OrderCodec] | None = None
