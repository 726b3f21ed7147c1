"""Floor 2: how to say it.  What a venue must say, and what is true of all of them."""

from hean_router.venue.contract import Answer, Ask, Connector, Dice, FeedCodec, Frame, HttpRequest
from hean_router.venue.feed_events import (
    BookCounts,
    BookMoved,
    Command,
    Drop,
    FetchBook,
    Freshness,
    Policy,
    ProbeTop,
    Relist,
    Send,
    SessionCounts,
    SessionEvent,
    StateChanged,
)
from hean_router.venue.feed_pair import FeedPair
from hean_router.venue.feed_session import FeedSession, by_symbol
from hean_router.venue.limiter import Limiter
from hean_router.venue.unlisted import gone, stand_in

__all__ = [
    "Answer",
    "Ask",
    "BookCounts",
    "BookMoved",
    "Command",
    "Connector",
    "Dice",
    "Drop",
    "FeedCodec",
    "FeedPair",
    "FeedSession",
    "FetchBook",
    "Frame",
    "Freshness",
    "HttpRequest",
    "Limiter",
    "Policy",
    "ProbeTop",
    "Relist",
    "Send",
    "SessionCounts",
    "SessionEvent",
    "StateChanged",
    "by_symbol",
    "gone",
    "stand_in",
]
