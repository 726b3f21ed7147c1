"""A journal read by whoever does not own it: as of one moment, while a router writes it or not."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from urllib.parse import quote

from hean_router.domain.record import Row
from hean_router.store import head_file, index
from hean_router.store.journal_file import (
    FAULTS,
    START,
    UNREADABLE,
    JournalError,
    decoded,
    error_of,
    formats_of,
    head_of,
    must_know,
    noted_head,
    prove_head,
    proven,
    read,
)


def verify(path: Path) -> tuple[int, str]:
    """Read a whole journal without owning it: how many rows, and the last hash in hex.

    Raises `JournalDamaged` and `JournalError`.
    """
    with looked_at(path) as seen:
        count = sum(1 for _ in seen.rows())
        seen.prove_head()
        found = seen.head()[1]
    return count, "" if found == START else found.hex()


class Seen:
    """A journal of one moment, read by whoever does not own it."""

    def __init__(self, db: sqlite3.Connection, path: str, noted: tuple[int, bytes] | None) -> None:
        self.path, self._db, self._noted = path, db, noted

    def rows(self, after: int = 0) -> Iterator[tuple[int, Row]]:
        """As `Journal.rows`."""
        return read(self._db, self.path, after)

    def proven(self) -> Iterator[tuple[int, int, str, bytes, bytes]]:
        """Rows as they are written: number, time, kind, bytes and hash."""
        return proven(self._db, self.path)

    def decoded(self, seq: int, kind: str, body: bytes) -> Row:
        """A row of `proven`."""
        return decoded(self.path, seq, kind, body, self.formats)

    @cached_property
    def formats(self) -> list[tuple[int, int]]:
        """First rows and formats, falling."""
        return formats_of(self._db, self.path)

    def head(self) -> tuple[int, bytes]:
        """The last row's number and hash, as they stand there."""
        return head_of(self._db)

    def reached(self) -> int:
        """The last row that had been written, as far as it was noted; raises `JournalError`."""
        noted = noted_head(self._db, self.path)
        return max(noted[0] if noted else 0, self._noted[0] if self._noted else 0)

    def prove_head(self) -> None:
        """Raise `JournalDamaged` unless it reaches as far as was ever noted."""
        prove_head(self._db, self.path, self._noted)

    def meta(self) -> dict[str, str]:
        """What is noted beside the rows: tag, epoch, head, formats."""
        return {
            str(name): str(value)
            for name, value in self._db.execute("SELECT name, value FROM meta")
        }

    def index_faults(self) -> list[str]:
        """Where the tables beside the rows are not what the rows make them; reads all rows."""
        there = self._db.execute(
            "SELECT count(*) FROM sqlite_master WHERE name = ?", (index.TABLES[0],)
        ).fetchone()[0]
        if not there:
            return []  # an older program's: made at the next opening
        rows = ((seq, kind, body) for seq, _, kind, body, _ in self.proven())
        try:
            return index.differences(self._db, rows)
        except (*UNREADABLE, ArithmeticError, TypeError) as fault:
            return [f"a row cannot be entered: {fault}"]

    def faults(self) -> list[str]:
        """What SQLite itself finds wrong with the file; empty if nothing."""
        found = self._db.execute("PRAGMA integrity_check(10)").fetchall()
        return [str(one) for (one,) in found if one != "ok"]


@contextmanager
def looked_at(path: Path) -> Iterator[Seen]:
    """The journal at `path` as of one moment, whoever owns and writes it.

    Raises `JournalError`, also for what SQLite says while it is read.
    """
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}", "name it with --state")
    noted = head_file.read(str(path))  # before the moment: the file must have come as far
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
        db.execute("BEGIN")
        must_know(db, str(path))
        yield Seen(db, str(path), noted)
    except FAULTS as fault:
        raise error_of(str(path), fault, 0) from None
    finally:
        if db is not None:
            db.close()


def tail(path: Path, count: int = 20) -> list[tuple[int, Row]]:
    """The last `count` rows of a journal, owned by whomever, proven among themselves."""
    with looked_at(path) as seen:
        return list(seen.rows(max(0, seen.head()[0] - count)))
