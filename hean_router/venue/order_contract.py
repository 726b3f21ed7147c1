"""What a venue must say about orders.  Pure: requests and frames out, outcomes and events in.

Two faces: private sockets (`OrderSocket`, one object a connection, forgotten with it) and REST
(`OrderCodec`, for fall-back and for every question).  Both classify; neither decides, retries or
remembers what became of an order.

Outcomes are closed: a code that is not in the venue's table of sure refusals or limits, a 5xx, a
body that cannot be read, an answer that does not come: `Unknown`.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from hean_router.domain.instrument import Instrument
from hean_router.domain.order import (
    Approved,
    Balance,
    Fill,
    OrderEvent,
    OrderReport,
    Outcome,
    Permissions,
    Stamp,
    Tif,
)
from hean_router.domain.venue import Fees, RateLimit
from hean_router.venue.ask import Answer, Ask, Frame, HttpRequest


class OrderLimits(Struct, frozen=True, kw_only=True):
    """How the venue counts orders, shared by REST and sockets.

    `buckets` names each counter with its limit; `place` and `cancel` say what one order costs in
    which bucket.  A bucket whose name holds `{symbol}` (`place {symbol}`) is one per instrument.
    """

    buckets: Mapping[str, RateLimit]
    place: Mapping[str, int]
    cancel: Mapping[str, int]


class OrderSocket:
    """One private connection: login, private events, and orders where the venue takes them here."""

    takes_orders: bool = True
    tells_events: bool = True
    ping_every_ms: int = 0
    silence_ms: int = 0  # says nothing for this long: dead

    def url(self, hosts: Mapping[str, str]) -> str:
        """Where to connect; empty where the environment has no such socket, and REST has to do."""
        raise NotImplementedError

    def token(self) -> Ask[str] | None:
        """What must be asked for before each connection (Kraken); None where nothing must."""
        return None

    def login(self, stamp: Stamp) -> Iterable[Frame]:
        """Frames to send once the connection stands."""
        raise NotImplementedError

    def subscribe(self, stamp: Stamp) -> Iterable[Frame]:
        """Frames that ask for private events, once `LoggedIn(ready=False)` has been told."""
        return ()

    def place(self, order: Approved, stamp: Stamp) -> Frame:
        """The order in the venue's own words and units; its answer is a `Reply`."""
        raise NotImplementedError

    def cancel(self, instrument: Instrument, key: str, venue_order_id: str, stamp: Stamp) -> Frame:
        """Cancel one order, by our key (or the venue's id where the key will not do)."""
        raise NotImplementedError

    def names(self, instrument: Instrument) -> bool:
        """Whether a cancel on `instrument` can be said here; where not, REST has to do."""
        return True

    def ping(self, stamp: Stamp) -> Frame | None:
        """A frame that the venue answers."""
        return None

    def decode(self, data: bytes) -> Iterable[OrderEvent]:
        """What one frame says, in order; nothing for what concerns nobody.

        Raises `MalformedFrame`, `msgspec.MsgspecError`, `ValueError`, `KeyError` or
        `RecursionError` on a frame that is not what the protocol promises.
        """
        raise NotImplementedError


class OrderCodec:
    """Everything that is asked by REST, and how it is signed.

    A request that must be signed carries `signed=True`; whoever sends it calls `sign` at that
    moment, in one lane per key (nonces rise).  Every `Ask` raises `VenueError` on a refusal.
    """

    tifs: frozenset[Tif] = frozenset(Tif)
    limits: OrderLimits
    visibility_ms: int = 1_000  # how late an accepted order may first be seen by a question
    # How far apart questions about one order are to be: 0 = they are cheap.  Where not, `order`
    # looks among the open orders and among the ended each time: open ones are not asked for apart.
    question_ms: int = 0
    fills_of_all: bool = False  # whether one question tells the trades of all instruments
    # Requests must arrive in the order of their nonces, each above all before: so the next one is
    # not sent before the last is answered, and nonces are reserved on disk.
    rising_nonces: bool = False
    engine_ms: int = 0  # how long past the deadline the engine may still act (Binance: 10 s)

    def sockets(self) -> Sequence[OrderSocket]:
        """New sockets, one of each kind the account needs."""
        raise NotImplementedError

    def sign(self, request: HttpRequest, stamp: Stamp) -> HttpRequest:
        """The same request with time, deadline or nonce, key and signature; exact bytes."""
        raise NotImplementedError

    def place(self, order: Approved) -> HttpRequest:
        """The order by REST, unsigned yet."""
        raise NotImplementedError

    def cancel(self, instrument: Instrument, key: str, venue_order_id: str) -> HttpRequest:
        """A cancel by REST, unsigned yet."""
        raise NotImplementedError

    def outcome(self, answer: Answer) -> Outcome:
        """What an answer to `place` or `cancel` means; closed: not in the table is `Unknown`."""
        raise NotImplementedError

    def order(
        self, instrument: Instrument, key: str, venue_order_id: str
    ) -> Ask[OrderReport | None]:
        """One order, by our key where the venue can; None: not found *now*, which proves little."""
        raise NotImplementedError

    def open_orders(self, instruments: Sequence[Instrument]) -> Ask[Sequence[OrderReport]]:
        """Every open order of the account, foreign ones too, whole (paged where it pages)."""
        raise NotImplementedError

    def fills(self, instrument: Instrument, since_ns: int) -> Ask[Sequence[Fill]]:
        """Our trades since then, oldest first, whole."""
        raise NotImplementedError

    def all_fills(
        self, instruments: Sequence[Instrument], since_ns: int
    ) -> Ask[Mapping[str, Sequence[Fill]]]:
        """The same for several, by venue symbol, in one question: where `fills_of_all` says so."""
        raise NotImplementedError

    def balances(self) -> Ask[Sequence[Balance]]:
        """What the account has that can be traded with."""
        raise NotImplementedError

    def fees(self, instruments: Sequence[Instrument]) -> Ask[Mapping[str, Fees]]:
        """The account's own rates by venue symbol."""
        raise NotImplementedError

    def permissions(self) -> Ask[Permissions]:
        """What the key may do, as far as the venue says."""
        raise NotImplementedError

    def dead_man(self, seconds: int) -> Ask[Decimal] | None:
        """Ask the venue to cancel everything unless asked again in time; None: it has none.

        Returns how many seconds it has granted; 0 switches it off.
        """
        return None
