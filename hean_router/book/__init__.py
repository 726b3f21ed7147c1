"""Floor 1: what there is.  One venue's book, and all venues' books of a pair as one view."""

from hean_router.book.book import Book, BookState, LiveBook
from hean_router.book.ladder import Ladder

__all__ = ["Book", "BookState", "Ladder", "LiveBook"]
