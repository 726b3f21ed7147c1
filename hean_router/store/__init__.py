"""Floor 6: what is remembered: the journal, and the query store fed from it."""

from hean_router.store.journal_file import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalOwned,
    owner_of,
)
from hean_router.store.look import tail, verify

__all__ = [
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalOwned",
    "owner_of",
    "tail",
    "verify",
]
