"""States beside the rows: what a router had made of them, so that a start need not read them all.

A state is worth what it saves in time, and nothing else hangs on it: one that does not hold is
passed over, and an older one, or all rows, give the same.  It names the hash of its row, its own
hash, and the layout that wrote it.  Rows before it are not proven at a start: `hean audit verify`
proves them all.
"""

import hashlib
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from msgspec import Struct

from hean_router.store import index
from hean_router.store.journal_file import FAULTS, Journal, JournalError

KEPT: Final = 2  # the last may have been written over by a fault of the disk
PART: Final = 256 * 1024  # bytes that are packed and written at once: 2 to 5 ms
UNPACKED_MAX: Final = 1 << 30
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS states (
    seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, layout TEXT NOT NULL, sha BLOB NOT NULL,
    parts INTEGER NOT NULL, size INTEGER NOT NULL
) STRICT""",
    """CREATE TABLE IF NOT EXISTS state_parts (
    seq INTEGER NOT NULL, part INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (seq, part)
) STRICT, WITHOUT ROWID""",
)


class Found(Struct, frozen=True):
    """The newest state that holds, and what was said of those that do not; row 0: there is none."""

    seq: int
    data: bytes
    faults: tuple[str, ...]  # of damage: a person must look at the disk
    others: int  # states of another layout


def newest(journal: Journal, layout: str, below: int = 1 << 62) -> Found:
    """The newest state of that layout that is what was written, of a row below that.

    What is wrong with others, or with the file, is told and not raised.
    """
    faults: list[str] = []
    others = 0
    try:
        _prepare(journal.db)
        known = journal.db.execute(
            "SELECT seq, hash, layout, sha, parts, size FROM states "
            "WHERE seq < ? ORDER BY seq DESC",
            (below,),
        ).fetchall()
    except FAULTS as fault:
        return Found(0, b"", (f"states cannot be read: {fault}",), 0)
    for seq, hashed, written, sha, parts, size in known:
        if written != layout:
            others += 1
            continue
        try:
            if (journal.hash_at(seq) or None) != hashed:
                raise ValueError("the rows up to it are not those that it was made of")
            data = _read(journal.db, seq, parts, size)
            if hashlib.sha256(data).digest() != sha:
                raise ValueError("is not what was written")
        except (ValueError, TypeError, zlib.error, *FAULTS) as fault:
            faults.append(f"the state at row {seq}: {fault}")
            continue
        return Found(seq, data, tuple(faults), others)
    return Found(0, b"", tuple(faults), others)


def _prepare(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        db.execute(statement)


def _read(db: sqlite3.Connection, seq: int, parts: int, size: int) -> bytes:
    bodies = db.execute(
        "SELECT part, body FROM state_parts WHERE seq = ? ORDER BY part", (seq,)
    ).fetchall()
    if [part for part, _ in bodies] != list(range(parts)) or not 0 <= size <= UNPACKED_MAX:
        raise ValueError("lacks a part")
    return b"".join(_unpacked(body) for _, body in bodies)


def _unpacked(body: bytes) -> bytes:
    one = zlib.decompressobj()
    data = one.decompress(body, PART)
    if not one.eof:
        raise ValueError("a part is too large, or cut off")
    return data


class Saving:
    """A state that is being written, a part at a time, while rows go on being appended.

    It counts from the moment its last part is written; before that it is nothing.
    """

    def __init__(self, journal: Journal, layout: str, data: bytes) -> None:
        self._journal, self._layout, self._data = journal, layout, data
        self.seq = journal.seq
        self._hash = journal.hash_at(self.seq)

    def parts(self) -> Iterator[None]:
        """Write a part each time it is asked to go on; raises `JournalError`: give it up then."""
        with self._journal.beside() as db:
            _prepare(db)
            db.execute("DELETE FROM state_parts WHERE seq = ?", (self.seq,))
            # Of a state that was never finished.
            db.execute("DELETE FROM state_parts WHERE seq NOT IN (SELECT seq FROM states)")
        count, found = 0, hashlib.sha256()
        for at in range(0, len(self._data), PART):
            part = self._data[at : at + PART]
            found.update(part)
            body = zlib.compress(part, 1)
            with self._journal.beside() as db:
                db.execute("INSERT INTO state_parts VALUES (?, ?, ?)", (self.seq, count, body))
            count += 1
            yield
        with self._journal.beside() as db:
            db.execute(
                "INSERT OR REPLACE INTO states VALUES (?, ?, ?, ?, ?, ?)",
                (self.seq, self._hash, self._layout, found.digest(), count, len(self._data)),
            )
            index.note(db, self.seq)
            old = db.execute(
                "SELECT seq FROM states ORDER BY seq DESC LIMIT -1 OFFSET ?", (KEPT,)
            ).fetchall()
            for (seq,) in old:
                db.execute("DELETE FROM states WHERE seq = ?", (seq,))
                db.execute("DELETE FROM state_parts WHERE seq = ?", (seq,))

    def all(self) -> None:
        """Write it at once; a state that cannot be written is done without."""
        with suppress(JournalError):
            for _ in self.parts():
                pass
