"""The journal: what is on disk before an order leaves.

One table of rows, gap-free and chained by hash, in SQLite: WAL, every commit flushed (`full`) or
left to the system (`relaxed`: survives kill -9, not a power failure).  One process owns it, by a
lock on a file beside it; a process that has lost it is refused by its epoch.
"""

import errno
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import msgspec

from hean_router.domain.errors import HeanError
from hean_router.domain.record import Row, decode, encode, kind_of

FORMAT = 1  # of the file
START = bytes(32)
SLICE = 1_000  # rows read at once
_SCHEMA = """
CREATE TABLE rows (
    seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class JournalError(HeanError):
    """Rows could not be written or read; what was there is as it was."""


class JournalDamaged(JournalError):
    """The file is not what was written; `seq` is the first row that does not hold."""

    def __init__(self, what: str, seq: int) -> None:
        super().__init__(
            what, "put a copy back with `hean db restore`; see how far it holds: hean db check"
        )
        self.seq = seq


class JournalOwned(JournalError):
    """Another process owns the journal."""


def chained(before: bytes, seq: int, kind: str, body: bytes) -> bytes:
    """The hash of a row: of the one before it, its number, its kind and its bytes."""
    found = hashlib.sha256(before)
    found.update(seq.to_bytes(8, "big"))
    found.update(kind.encode())
    found.update(b"\0")
    found.update(body)
    return found.digest()


class Journal:
    """An open journal that this process owns.

    `tag` are the installation's three letters, made with the file; `epoch` rises with every owner.
    """

    def __init__(self, db: sqlite3.Connection, sync: str, lock: int | None, path: str) -> None:
        self.sync, self.path = sync, path
        self._db, self._lock = db, lock
        self.tag = self._meta("tag")
        self.epoch = int(self._meta("epoch"))
        last = db.execute("SELECT seq, hash FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
        self.seq: int = 0 if last is None else last[0]
        self._hash: bytes = START if last is None else bytes(last[1])

    # ------------------------------------------------------------------------- opening

    @classmethod
    def open(cls, path: Path, *, sync: str = "full", entropy: bytes = b"") -> Self:
        """Own the journal at `path`, made if it is not there; `entropy` makes its tag.

        Raises `JournalOwned` if another process does, `JournalError` for a file that cannot be
        used.  The chain is proven as `rows` are read, not here.
        """
        lock = _own(path.with_name(path.name + ".lock"))
        try:
            db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            return cls._opened(db, sync, lock, str(path), entropy or os.urandom(8))
        except sqlite3.Error as fault:
            os.close(lock)
            raise JournalError(f"{path}: {fault}", "name another --state, or mend it") from None
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def memory(cls, *, entropy: bytes = b"journal.") -> Self:
        """One that ends with the process, for tests and simulation."""
        db = sqlite3.connect(":memory:", isolation_level=None)
        return cls._opened(db, "full", None, ":memory:", entropy)

    @classmethod
    def _opened(
        cls, db: sqlite3.Connection, sync: str, lock: int | None, path: str, entropy: bytes
    ) -> Self:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {'FULL' if sync == 'full' else 'NORMAL'}")
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise JournalError(
                f"{path}: written by a newer program (format {found}, this one knows {FORMAT})",
                "use that program, or a newer one",
            )
        db.execute("BEGIN IMMEDIATE")
        if found == 0:
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                db.execute("ROLLBACK")
                raise JournalError(f"{path}: a database, but no journal", "name another --state")
            for statement in filter(str.strip, _SCHEMA.split(";")):
                db.execute(statement)
            db.execute("INSERT INTO meta VALUES ('tag', ?), ('epoch', '0')", (_tag(entropy),))
            db.execute(f"PRAGMA user_version = {FORMAT}")
        db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'epoch'")
        db.execute("COMMIT")
        return cls(db, sync, lock, path)

    def _meta(self, name: str) -> str:
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise JournalDamaged(f"{self.path}: has no {name}", 0)
        return str(found[0])

    # ------------------------------------------------------------------------- writing

    def append(self, rows: Sequence[Row]) -> int:
        """Write `rows` in one transaction; the number of the last.

        Raises `JournalError`, and then has written none of them: they may be given again.
        """
        if not rows:
            return self.seq
        seq, found = self.seq, self._hash
        values: list[tuple[int, int, str, bytes, bytes]] = []
        for row in rows:
            seq += 1
            kind, body = kind_of(row), encode(row)
            found = chained(found, seq, kind, body)
            values.append((seq, row.at_ns, kind, body, found))
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            owner = db.execute("SELECT value FROM meta WHERE name = 'epoch'").fetchone()
            if int(owner[0]) != self.epoch:
                raise JournalOwned(
                    f"{self.path}: taken over by another process (epoch {owner[0]}, "
                    f"ours is {self.epoch})",
                    "one router owns a journal: stop this one",
                )
            db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
            db.execute("COMMIT")
        except (sqlite3.Error, JournalOwned) as fault:
            self._roll_back()
            if isinstance(fault, JournalOwned):
                raise
            raise JournalError(f"{self.path}: {fault}", _fix(fault)) from None
        self.seq, self._hash = seq, found
        return seq

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            return  # SQLite has rolled back by itself

    def close(self) -> None:
        """Let it go."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ------------------------------------------------------------------------- reading

    def rows(self, after: int = 0) -> Iterator[tuple[int, Row]]:
        """Rows above `after` with their numbers, proven against the chain as they are read.

        Raises `JournalDamaged` at the first that does not hold.
        """
        yield from read(self._db, self.path, after)


def read(db: sqlite3.Connection, path: str, after: int = 0) -> Iterator[tuple[int, Row]]:
    """Rows above `after`, each proven to follow the one before it."""
    before = START
    if after:
        found = db.execute("SELECT hash FROM rows WHERE seq = ?", (after,)).fetchone()
        if found is None:
            return
        before = bytes(found[0])
    expected = after + 1
    while True:
        slice_ = db.execute(
            "SELECT seq, kind, body, hash FROM rows WHERE seq >= ? ORDER BY seq LIMIT ?",
            (expected, SLICE),
        ).fetchall()
        for seq, kind, body, told in slice_:
            if seq != expected:
                raise JournalDamaged(f"{path}: row {expected} is missing", expected)
            before = chained(before, seq, kind, bytes(body))
            if before != bytes(told):
                raise JournalDamaged(f"{path}: row {seq} is not what was written", seq)
            yield seq, _decoded(path, seq, kind, bytes(body))
            expected += 1
        if len(slice_) < SLICE:
            return


def _decoded(path: str, seq: int, kind: str, body: bytes) -> Row:
    try:
        return decode(body)
    except msgspec.MsgspecError as fault:
        raise JournalError(
            f"{path}: row {seq} ({kind}) cannot be read: {fault}",
            "it was written by another version of this program: use that one",
        ) from None


def verify(path: Path) -> tuple[int, str]:
    """Read a whole journal without owning it: how many rows, and the last hash in hex.

    Raises `JournalDamaged` and `JournalError`.
    """
    if not path.is_file():
        raise JournalError(f"there is no journal at {path}", "name it with --state")
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        count = sum(1 for _ in read(db, str(path)))
        last = db.execute("SELECT hash FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
    except sqlite3.DatabaseError as fault:
        raise JournalDamaged(f"{path}: {fault}", 0) from None
    finally:
        db.close()
    return count, "" if last is None else bytes(last[0]).hex()


def owner_of(path: Path) -> str:
    """The process that owns the journal now; empty if none does."""
    lock = path.with_name(path.name + ".lock")
    try:
        os.close(_own(lock))
    except JournalOwned:
        return lock.read_text(errors="replace").strip() or "unknown"
    return ""


def _own(path: Path) -> int:
    """Lock the file beside the journal; the process's id is in it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as fault:
        raise JournalError(
            f"{path}: {fault.strerror}", "name a --state folder that can be written"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        if fault.errno in {errno.EAGAIN, errno.EACCES}:
            raise JournalOwned(
                f"{path.parent}: a router runs on this journal already (process {owner})",
                "stop it, or give this one another --state",
            ) from None
        raise JournalError(f"{path}: {fault.strerror}", "use a local disk") from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _tag(entropy: bytes) -> str:
    number = int.from_bytes(hashlib.sha256(entropy).digest(), "big")
    letters = []
    for _ in range(3):
        number, digit = divmod(number, len(_DIGITS))
        letters.append(_DIGITS[digit])
    return "".join(letters)


def _fix(fault: sqlite3.Error) -> str:
    words = str(fault)
    if "full" in words:
        return "free some disk; orders go on by themselves"
    if "readonly" in words or "read-only" in words:
        return "make the state folder writable"
    if "locked" in words:
        return "another program holds the file: close it"
    return "see the disk; `hean db check` tells how the journal is"
