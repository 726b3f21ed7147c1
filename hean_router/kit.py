"""Everything a connector may use, and all of the house it may import.

Words (`Instrument`, `Snapshot`), the contract (`Connector`, `FeedCodec`, `HttpRequest`), a few
helpers for reading what venues send, and, for a gateway over a library that does its own I/O, the
session that judges books (`FeedSession`).
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from hean_router.book import (
    COMPILED,
    UNTOLD,
    Book,
    BookState,
    Ladder,
    Pairs,
    Rows,
    digits,
    levels,
    rows,
    spelled,
)
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
from hean_router.domain.scale import (
    Amounts,
    TooFine,
    amount,
    decimals_of,
    plain,
    to_scaled,
    to_text,
)
from hean_router.domain.venue import FeeIn, Fees, Integrity, RateLimit, VenueSpec
from hean_router.venue.ask import UNREADABLE
from hean_router.venue.contract import (
    Answer,
    Ask,
    Connector,
    Dice,
    FeedCodec,
    Frame,
    HttpRequest,
)
from hean_router.venue.feed_events import (
    BookCounts,
    Policy,
    ProbeTop,
    Send,
    SessionCounts,
    SessionEvent,
)
from hean_router.venue.feed_session import FeedSession
from hean_router.venue.gateway import EventSink, VenueGateway
from hean_router.venue.keyed_hash import KeyedHash
from hean_router.venue.order_contract import OrderCodec, OrderLimits, OrderSocket

__all__ = [
    "COMPILED",
    "MS",
    "UNREADABLE",
    "UNTOLD",
    "US",
    "Accepted",
    "Amounts",
    "Answer",
    "Approved",
    "Ask",
    "Balance",
    "Book",
    "BookCounts",
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
    "KeyedHash",
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
    "Pairs",
    "Part",
    "Permissions",
    "Policy",
    "ProbeTop",
    "RateLimit",
    "RejectKind",
    "Rejected",
    "Reply",
    "Rows",
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
    "amount",
    "chunks",
    "decimals_of",
    "digits",
    "grid",
    "levels",
    "plain",
    "rows",
    "spelled",
    "to_scaled",
    "to_text",
]

US = 1_000  # ns
MS = 1_000_000  # ns


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
