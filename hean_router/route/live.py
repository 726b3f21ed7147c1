"""From the consolidated book to what a plan reads."""

from decimal import Decimal

from hean_router.book import ConsolidatedBook, LiveBook
from hean_router.book.sweep import scaled
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Side
from hean_router.route.model import LeftOut, ParentOrder, VenueBook


def live_books(book: ConsolidatedBook, order: ParentOrder) -> list[VenueBook | LeftOut]:
    """Every venue of `book` for `order`: levels of the LIVE ones, a reason for the others.

    Read now, and no deeper than the order: a plan made of it knows nothing of what comes later.
    Raises `NotLive` if a book was revoked between being named and being read.
    """
    out: list[VenueBook | LeftOut] = [
        LeftOut(venue, reason) for venue, reason in book.left_out().items()
    ]
    out += [venue_book(live, order.side, order.qty) for live in book.live().values()]
    return out


def venue_book(live: LiveBook, side: Side, qty: Decimal) -> VenueBook:
    """The levels of one LIVE book that an order of `qty` could need, and one beyond for its reason.

    Raises `NotLive` when the book is not.
    """
    of = live.instrument
    want, levels = scaled(qty, of.qty_decimals, up=True), list[Level]()
    for level in live.facing(side):
        levels.append(level)
        if want <= 0:
            break
        want -= level[1]
    return VenueBook(of, asks=levels) if side is Side.BUY else VenueBook(of, bids=levels)
