"""Floor 1: what there is.  One venue's book, and all venues' books of a pair as one view."""

from hean_router.book.book import Book, BookState, LiveBook
from hean_router.book.consolidated import (
    BookSource,
    ConsolidatedBook,
    Cross,
    Group,
    PricedLevel,
    group_of,
)
from hean_router.book.depth_stream import (
    DepthDelta,
    DepthFeed,
    DepthFollower,
    DepthMessage,
    DepthSnapshot,
    Took,
    depth_message,
)
from hean_router.book.sweep import Sweep
from hean_router.book.twin import (
    COMPILED,
    UNTOLD,
    Ladder,
    Pairs,
    Rows,
    digits,
    levels,
    rows,
    spelled,
    state_hash,
)

__all__ = [
    "COMPILED",
    "UNTOLD",
    "Book",
    "BookSource",
    "BookState",
    "ConsolidatedBook",
    "Cross",
    "DepthDelta",
    "DepthFeed",
    "DepthFollower",
    "DepthMessage",
    "DepthSnapshot",
    "Group",
    "Ladder",
    "LiveBook",
    "Pairs",
    "PricedLevel",
    "Rows",
    "Sweep",
    "Took",
    "depth_message",
    "digits",
    "group_of",
    "levels",
    "rows",
    "spelled",
    "state_hash",
]
