"""Floor 2: how to get it.  Pure: an order, books, balances, fees and limits in, a plan out.

    books_file, live  ->  VenueBook, LeftOut  ->  plan: cost -> split -> lots, reasons  ->  Plan

It imports `domain` and `book`.  A later proof of optimality stands on `Certificate`.
"""

from hean_router.route.books_file import BooksFile, load_books, read_books
from hean_router.route.live import live_books
from hean_router.route.model import (
    Balances,
    Certificate,
    Child,
    LeftOut,
    Limits,
    ParentOrder,
    Plan,
    Single,
    VenueBook,
    decimal_of,
)
from hean_router.route.plan import known_venues, plan

__all__ = [
    "Balances",
    "BooksFile",
    "Certificate",
    "Child",
    "LeftOut",
    "Limits",
    "ParentOrder",
    "Plan",
    "Single",
    "VenueBook",
    "decimal_of",
    "known_venues",
    "live_books",
    "load_books",
    "plan",
    "read_books",
]
