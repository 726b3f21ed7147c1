"""Everything a connector may use, and all of the house it may import.

Words (`Instrument`, `Snapshot`), the contract (`Connector`, `FeedCodec`, `HttpRequest`), a few
helpers for reading what venues send, and, for a gateway over a library that does its own I/O, the
session that judges books (`FeedSession`).
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from hean_router.book import Book, BookState, Ladder
from hean_router.domain.errors import CommandError, MalformedFrame, Unreachable, VenueError
from hean_router.domain.feed import (
    Delta,
    FeedEvent,
    Level,
    Notice,
    NoticeKind,
    Snapshot,
    Top,
    Trade,
)
from hean_router.domain.instrument import Digits, Instrument, Pair, Part, Side, Trading, VenueId
from hean_router.domain.order import (
    Accepted,
    Approved,
    Balance,
    ChildOrder,
    Credentials,
    Fill,
    Limited,
    LoggedIn,
    LoginFailed,
    Missed,
    OrderEvent,
    OrderReport,
    OrderState,
    Outcome,
    Permissions,
    Rejected,
    RejectKind,
    Reply,
    Stamp,
    Tif,
    Unknown,
)
from hean_router.domain.scale import TooFine, decimals_of, plain, to_scaled, to_text
from hean_router.domain.venue import FeeIn, Fees, Integrity, RateLimit, VenueSpec
from hean_router.venue.contract import (
    Answer,
    Ask,
    Connector,
    Dice,
    FeedCodec,
    Frame,
    HttpRequest,
)
from hean_router.venue.feed_events import Policy, ProbeTop, Send, SessionCounts, SessionEvent
from hean_router.venue.feed_session import FeedSession
from hean_router.venue.gateway import EventSink, VenueGateway
from hean_router.venue.order_contract import OrderCodec, OrderLimits, OrderSocket

__all__ = [
    "MS",
    "US",
    "Accepted",
    "Answer",
    "Approved",
    "Ask",
    "Balance",
    "Book",
    "BookState",
    "ChildOrder",
    "CommandError",
    "Connector",
    "Credentials",
    "Delta",
    "Dice",
    "Digits",
    "EventSink",
    "FeeIn",
    "FeedCodec",
    "FeedEvent",
    "FeedSession",
    "Fees",
    "Fill",
    "Frame",
    "HttpRequest",
    "Instrument",
    "Integrity",
    "Ladder",
    "Level",
    "Limited",
    "LoggedIn",
    "LoginFailed",
    "MalformedFrame",
    "Missed",
    "Notice",
    "NoticeKind",
    "OrderCodec",
    "OrderEvent",
    "OrderLimits",
    "OrderReport",
    "OrderSocket",
    "OrderState",
    "Outcome",
    "Pair",
    "Part",
    "Permissions",
    "Policy",
    "ProbeTop",
    "RateLimit",
    "RejectKind",
    "Rejected",
    "Reply",
    "Send",
    "SessionCounts",
    "SessionEvent",
    "Side",
    "Snapshot",
    "Stamp",
    "Tif",
    "TooFine",
    "Top",
    "Trade",
    "Trading",
    "Unknown",
    "Unreachable",
    "VenueError",
    "VenueGateway",
    "VenueId",
    "VenueSpec",
    "chunks",
    "decimals_of",
    "grid",
    "levels",
    "plain",
    "to_scaled",
    "to_text",
]

US = 1_000  # ns
MS = 1_000_000  # ns


def levels(pairs: Iterable[Sequence[str]], instrument: Instrument) -> list[Level]:
    """Levels from `[price, quantity, …]` texts; what follows the first two is ignored.

    Raises `ValueError` (`TooFine`) on text that is not a plain decimal of the instrument's scale.
    """
    px_of, qty_of = instrument.px_of, instrument.qty_of
    return [(px_of[pair[0]], qty_of[pair[1]]) for pair in pairs]


def chunks(items: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    """`items` in runs of at most `size`.

    >>> list(chunks("abcde", 2))
    ['ab', 'cd', 'e']
    """
    return (items[start : start + size] for start in range(0, len(items), size))


def grid(step: Decimal, decimals: int) -> int:
    """A tick or lot as a count of 10**-`decimals`; raises `ValueError` if it is finer.

    >>> grid(Decimal("0.10"), 2)
    10
    """
    return to_scaled(format(step, "f"), decimals)
