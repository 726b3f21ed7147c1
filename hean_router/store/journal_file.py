"""The journal: what is on disk before an order leaves.

One table of rows, gap-free and chained by hash, in SQLite: WAL, every commit flushed (`full`) or
left to the system (`relaxed`: survives kill -9, not a power failure).  One process owns it, by a
lock on a file beside it; a process that has lost it is refused by its epoch.

The chain shows any change, removal or reordering of rows.  That the last rows were cut off is shown
by a head that is noted in the file at every opening and closing, and, where every commit is
flushed, in a file beside it after every commit: so a write-ahead log that was lost is missed too.

A later format of rows comes with a lift for each kind that changed (`LIFTS`).  Rows are never
rewritten: each is lifted as it is read, from the format in force when it was written.  A field
with a default needs no lift, and no new format.
"""

import errno
import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, get_args
from urllib.parse import quote

import msgspec

from hean_router.domain.errors import HeanError
from hean_router.domain.record import Opened, Row, decode, encode, kind_of
from hean_router.store import head_file, index, room

FORMAT = 1  # of the rows that this program writes
# What makes a row's JSON of one format a row's JSON of the next, by that format and the row's kind.
Lift: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
LIFTS: dict[int, Mapping[str, Lift]] = {}
START = bytes(32)
SLICE = 1_000  # rows read at once
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # of a row's JSON
# What reading a damaged file can raise: besides SQLite's own, a row that claims to be gigabytes
# long, and a message that quotes what is no text.
FAULTS: Final = (sqlite3.Error, MemoryError, UnicodeDecodeError)
_SCHEMA = """
CREATE TABLE rows (
    seq INTEGER PRIMARY KEY, at_ns INTEGER NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, hash BLOB NOT NULL
) STRICT;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
TAG_LEN = 3
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PRAGMAS = {"full": "FULL", "relaxed": "NORMAL"}
_KINDS: Final = frozenset(one.__struct_config__.tag for one in get_args(Row))
# Inline on the loop that keeps the books: nobody else writes, so nobody is waited for long.
_PATIENCE_S = 0.25


class JournalError(HeanError):
    """Rows could not be written or read; what was there is as it was, and it may be tried again."""


class JournalDamaged(JournalError):
    """The file is not what was written; `seq` is the first row that does not hold."""

    def __init__(self, what: str, seq: int) -> None:
        super().__init__(
            what,
            "see how far it holds: hean audit verify; build it anew up to there: "
            "hean audit repair; or put a copy back: hean db restore",
        )
        self.seq = seq


class JournalOwned(JournalError):
    """Another process owns the journal, or the file is not the one that was opened: final."""

    final = True


class JournalTaken(JournalOwned):
    """Another process has opened it since: what we know of our orders is the past."""

    stale = True


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

    `tag` are the installation's three letters, made with the file; `epoch` rises with every owner;
    `seq` numbers the last row; `sync` is `full`, `relaxed` or `memory`.
    """

    def __init__(self, db: sqlite3.Connection, sync: str, lock: int | None, path: str) -> None:
        self.sync, self.path = sync, path
        self._db, self._lock = db, lock
        self.tag = self._meta("tag")
        self.epoch = int(self._meta("epoch"))
        self.seq, self._hash = head_of(db)
        # Not where commits are left to the system: a power cut could leave this one the newer.
        self._noted = head_file.opened(path) if lock is not None and sync == "full" else None
        self._unsure = False  # whether the last append may have been written after all
        self._files = {} if lock is None else {one: _identity(one) for one in (path, f"{path}-wal")}

    # ------------------------------------------------------------------------- opening

    @classmethod
    def open(cls, path: Path, *, sync: str = "full", entropy: bytes = b"") -> Self:
        """Own the journal at `path`, made if it is not there; `entropy` makes its tag.

        Raises `JournalOwned` if another process does, `JournalDamaged` if rows were cut off,
        `JournalError` for a file that cannot be used.  The chain is proven as `rows` are read.
        """
        if sync not in _PRAGMAS:
            raise JournalError(f"no sync mode {sync!r}", f"use {' or '.join(_PRAGMAS)}")
        path = path.absolute()
        lock = _own(path.with_name(path.name + ".lock"))
        try:
            # Made before SQLite opens it: a journal holds all there is to know of an account.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            _settle(path.parent)
            room.must_have(path.parent)
            db = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE_S)
            return cls._opened(db, sync, lock, str(path), entropy or os.urandom(8))
        except OSError as fault:
            os.close(lock)
            if fault.errno == errno.ENOSPC:
                raise _full(str(path)) from None
            raise JournalError(
                f"{path}: {fault.strerror}", "name a --state folder that can be written"
            ) from None
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def memory(cls, *, entropy: bytes = b"journal.") -> Self:
        """One that ends with the process, for tests and simulation."""
        db = sqlite3.connect(":memory:", isolation_level=None)
        return cls._opened(db, "memory", None, ":memory:", entropy)

    @classmethod
    def _opened(
        cls, db: sqlite3.Connection, sync: str, lock: int | None, path: str, entropy: bytes
    ) -> Self:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            if lock is not None and mode != "wal":
                raise JournalError(
                    f"{path}: this file system has no write-ahead log", "use a local disk"
                )
            db.execute(f"PRAGMA synchronous = {_PRAGMAS.get(sync, 'OFF')}")
            db.execute("PRAGMA fullfsync = ON")  # where the system's fsync only asks the disk to
            db.execute("BEGIN IMMEDIATE")
            _prepare(db, path, entropy)
            index.prepare(db)
            prove_head(db, path, None if lock is None else head_file.read(path))
            _note_head(db)
            _must_be_sound(db, path)
            _fill_index(db, path)
            db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE name = 'epoch'")
            db.execute("COMMIT")
            return cls(db, sync, lock, path)
        except FAULTS as fault:
            db.close()
            raise error_of(path, fault, 0) from None
        except BaseException:
            db.close()
            raise

    def _meta(self, name: str) -> str:
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if found is None:
            raise JournalDamaged(f"{self.path}: has no {name}", 0)
        return str(found[0])

    # ------------------------------------------------------------------------- writing

    def append(self, rows: Sequence[Row]) -> int:
        """Write `rows` in one transaction; the number of the last.

        Raises `JournalError`, and then has written none of them: they may be given again.  (If the
        machine dies after that, rows of an append that failed at the disk may yet be found.)
        """
        if not rows:
            return self.seq
        seq, found = self.seq, self._hash
        values: list[tuple[int, int, str, bytes, bytes]] = []
        entries: list[tuple[int, str, Row]] = []
        for row in rows:
            seq += 1
            kind, body = kind_of(row), encode(row)
            found = chained(found, seq, kind, body)
            values.append((seq, row.at_ns, kind, body, found))
            entries.append((seq, kind, row))
        self._must_be_there()
        self._must_have_room()
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            self._must_own()
            db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
            index.add(db, entries)
            db.execute("COMMIT")
        except sqlite3.Error as fault:
            self._roll_back()
            raise error_of(self.path, fault, self.seq) from None
        except BaseException:  # a row that cannot be stored, an interrupt
            self._roll_back()
            raise
        self.seq, self._hash, self._unsure = seq, found, False
        head_file.note(self._noted, seq, found)
        return seq

    def _must_own(self) -> None:
        """In the transaction: nobody else has taken it over, and it ends where we left it."""
        epoch, last = self._db.execute(
            "SELECT value, (SELECT max(seq) FROM rows) FROM meta WHERE name = 'epoch'"
        ).fetchone()
        if int(epoch) != self.epoch:
            raise JournalTaken(
                f"{self.path}: taken over by another process (epoch {epoch}, ours is {self.epoch})",
                "one router owns a journal: stop this one",
            )
        if (last or 0) != self.seq:
            if not self._unsure or (last or 0) < self.seq:
                raise JournalOwned(
                    f"{self.path}: ends at row {last}, and we wrote {self.seq}",
                    "something else writes it: stop it, then see `hean db check`",
                )
            # Of an append that was told to have failed.
            self._db.execute("DELETE FROM rows WHERE seq > ?", (self.seq,))
            index.forget_after(self._db, self.seq)

    def _must_be_there(self) -> None:
        """A file that was deleted or replaced would take rows that nobody finds again."""
        for path, identity in self._files.items():
            if _identity(path) != identity:
                raise JournalOwned(
                    f"{path}: was deleted or replaced while in use",
                    "stop this router, put the file back, and start it again",
                )

    def _must_have_room(self) -> None:
        if self._lock is None:
            return  # in memory
        try:
            room.must_have(os.path.dirname(self.path))
        except OSError as fault:
            raise (
                _full(self.path)
                if fault.errno == errno.ENOSPC
                else JournalError(
                    f"{self.path}: {fault.strerror}", "see the disk of the state folder"
                )
            ) from None

    def _roll_back(self) -> None:
        self._unsure = True
        try:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
        except sqlite3.Error:
            return  # SQLite has rolled back by itself

    def close(self) -> None:
        """Note where it ends, and let it go."""
        try:
            self._must_have_room()
            self._db.execute("BEGIN IMMEDIATE")
            self._must_own()
            _note_head(self._db)
            index.note(self._db, self.seq)
            self._db.execute("COMMIT")
        except (sqlite3.Error, JournalError):
            self._roll_back()  # a mark that is missing makes nothing wrong
        self._db.close()
        if self._noted is not None:
            os.close(self._noted)
            self._noted = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ------------------------------------------------------------------------- reading

    @property
    def db(self) -> sqlite3.Connection:
        """For what else this package keeps in the file, and reads of it."""
        return self._db

    def hash_at(self, seq: int) -> bytes:
        """The hash of row `seq` as it stands there; empty if it is not there."""
        return _hash_at(self._db, seq)

    @contextmanager
    def beside(self) -> Iterator[sqlite3.Connection]:
        """A transaction for what is kept beside the rows; raises `JournalError` if it fails."""
        self._must_be_there()
        self._must_have_room()
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._must_own()
            yield self._db
            self._db.execute("COMMIT")
        except sqlite3.Error as fault:
            self._take_back()
            raise error_of(self.path, fault, self.seq) from None
        except BaseException:
            self._take_back()
            raise

    def _take_back(self) -> None:
        with suppress(sqlite3.Error):  # SQLite has rolled back by itself
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def rows(self, after: int = 0) -> Iterator[tuple[int, Row]]:
        """Rows above `after` with their numbers, proven against the chain as they are read.

        Rows may be appended meanwhile.  Raises `JournalDamaged` at the first that does not hold.
        """
        yield from read(self._db, self.path, after)


def read(db: sqlite3.Connection, path: str, after: int = 0) -> Iterator[tuple[int, Row]]:
    """Rows above `after`, each proven to follow the one before it; none if `after` is not there."""
    formats: list[tuple[int, int]] | None = None
    for seq, at_ns, kind, body, _ in proven(db, path, after):
        if formats is None:
            formats = formats_of(db, path)
        row = decoded(path, seq, kind, body, formats)
        if row.at_ns != at_ns:  # the one column that is not hashed itself
            raise JournalDamaged(f"{path}: row {seq} is not what was written", seq)
        yield seq, row


def proven(
    db: sqlite3.Connection, path: str, after: int = 0
) -> Iterator[tuple[int, int, str, bytes, bytes]]:
    """The same as they are written: number, time, kind, bytes and hash; the time is not proven."""
    expected = after + 1
    try:
        before = _hash_at(db, after)
        while before:
            slice_ = db.execute(
                "SELECT seq, at_ns, kind, body, hash FROM rows WHERE seq >= ? ORDER BY seq LIMIT ?",
                (expected, SLICE),
            ).fetchall()
            for seq, at_ns, kind, body, told in slice_:
                if seq != expected:
                    raise JournalDamaged(f"{path}: row {expected} is missing", expected)
                # A byte of a page can make a number of a text.
                if not (isinstance(kind, str) and isinstance(body, bytes)):
                    raise JournalDamaged(f"{path}: row {seq} is not what was written", seq)
                before = chained(before, seq, kind, body)
                if before != told:
                    raise JournalDamaged(f"{path}: row {seq} is not what was written", seq)
                yield seq, at_ns, kind, body, told
                expected += 1
            if len(slice_) < SLICE:
                return
    except FAULTS as fault:
        raise error_of(path, fault, expected) from None


# ------------------------------------------------------------------------- what is in the file


def must_know(db: sqlite3.Connection, path: str) -> int:
    """The file's format; raises `JournalError` for one that is newer or no journal's."""
    found = int(db.execute("PRAGMA user_version").fetchone()[0])
    if found > FORMAT:
        raise JournalError(
            f"{path}: written by a newer program (format {found}, this one knows {FORMAT})",
            "use that program, or a newer one",
        )
    if found == 0 and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise JournalError(f"{path}: a database, but no journal", "name another --state")
    return found


def _prepare(db: sqlite3.Connection, path: str, entropy: bytes) -> None:
    """Make the tables in a new file; in an older one, note from which row on this format holds."""
    found = must_know(db, path)
    if found == FORMAT:
        return
    if found == 0:
        for statement in filter(str.strip, _SCHEMA.split(";")):
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('tag', ?), ('epoch', '0')", (_tag(entropy),))
    first = head_of(db)[0] + 1
    # Overwrites nothing that counts: a format that was never written in has no rows.
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (f"format {FORMAT}", str(first)))
    db.execute(f"PRAGMA user_version = {FORMAT}")


def _fill_index(db: sqlite3.Connection, path: str) -> None:
    """Bring the index up to the last row; mostly it is there, all but a few rows."""
    done = index.noted(db)
    rows = proven(db, path, done) if _hash_at(db, done) else proven(db, path)
    try:
        index.add(db, index.briefs((seq, kind, body) for seq, _, kind, body, _ in rows))
    except (*UNREADABLE, ArithmeticError, TypeError) as fault:
        raise JournalError(
            f"{path}: a row cannot be read: {fault}",
            "it was written by another version of this program: use that one",
        ) from None
    index.note(db, head_of(db)[0])


def _must_be_sound(db: sqlite3.Connection, path: str) -> None:
    """What is noted beside the rows can be what was noted."""
    found = dict(db.execute("SELECT name, value FROM meta WHERE name IN ('tag', 'epoch')"))
    tag, epoch = str(found.get("tag", "")), str(found.get("epoch", ""))
    if len(tag) != TAG_LEN or not set(tag) <= set(_DIGITS):
        raise JournalDamaged(f"{path}: its tag is no tag", 0)
    if not (epoch.isascii() and epoch.isdecimal()):
        raise JournalDamaged(f"{path}: its epoch is no number", 0)
    formats_of(db, path)


def head_of(db: sqlite3.Connection) -> tuple[int, bytes]:
    """The last row's number and hash, as they stand there."""
    last = db.execute("SELECT seq, hash FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
    return (0, START) if last is None else (last[0], _bytes(last[1]))


def _bytes(value: object) -> bytes:
    """A hash; empty, which is none, for what a damaged page has in its place."""
    return value if isinstance(value, bytes) else b""


def _hash_at(db: sqlite3.Connection, seq: int) -> bytes:
    """The hash of a row, empty if it is not there."""
    if seq == 0:
        return START
    found = db.execute("SELECT hash FROM rows WHERE seq = ?", (seq,)).fetchone()
    return b"" if found is None else _bytes(found[0])


def _note_head(db: sqlite3.Connection) -> None:
    seq, found = head_of(db)
    db.execute("INSERT OR REPLACE INTO meta VALUES ('head', ?)", (f"{seq} {found.hex()}",))


def noted_head(db: sqlite3.Connection, path: str) -> tuple[int, bytes] | None:
    """The last row when it was last opened or closed; raises `JournalDamaged` for no such note."""
    noted = db.execute("SELECT value FROM meta WHERE name = 'head'").fetchone()
    if noted is None:
        return None
    seq, _, found = str(noted[0]).partition(" ")
    try:
        number, hashed = int(seq), bytes.fromhex(found)
        if 0 <= number < 2**63:
            return number, hashed
        raise ValueError(number)
    except ValueError:
        raise JournalDamaged(f"{path}: its note of the last row is no note", 0) from None


def prove_head(db: sqlite3.Connection, path: str, beside: tuple[int, bytes] | None) -> None:
    """It reaches at least as far as when it was last opened or closed, and as noted `beside` it."""
    for noted in (noted_head(db, path), beside):
        if noted is None:
            continue
        seq, found = noted
        if _hash_at(db, seq) != (found or START):
            last = head_of(db)[0]
            raise JournalDamaged(
                f"{path}: its last rows are missing or changed (ends at {last}, had reached {seq})",
                min(last + 1, seq),
            )


def formats_of(db: sqlite3.Connection, path: str) -> list[tuple[int, int]]:
    """First rows and formats, falling."""
    noted = db.execute("SELECT name, value FROM meta WHERE name GLOB 'format *'").fetchall()
    try:
        spans = {int(name.partition(" ")[2]): int(first) for name, first in noted}
    except ValueError:
        raise JournalDamaged(f"{path}: its note of formats is no note", 0) from None
    return sorted(((first, one) for one, first in spans.items()), reverse=True)


def _format_of(seq: int, formats: list[tuple[int, int]]) -> int:
    return next((one for first, one in formats if seq >= first), 1)


def decoded(path: str, seq: int, kind: str, body: bytes, formats: list[tuple[int, int]]) -> Row:
    """A row from its bytes; raises `JournalError` for one that this program does not know."""
    written = _format_of(seq, formats)
    try:
        if written < FORMAT:
            body = _lifted(kind, body, written)
        elif kind not in _KINDS:
            raise JournalError(
                f"{path}: row {seq} is a {kind!r}, which this program does not know",
                "it was written by a newer version: use that one",
            )
        row = decode(body)
    except UNREADABLE as fault:
        raise JournalError(
            f"{path}: row {seq} ({kind}) cannot be read: {fault}",
            "it was written by another version of this program: use that one",
        ) from None
    if written == FORMAT and kind_of(row) != kind:
        raise JournalDamaged(f"{path}: row {seq} is a {kind_of(row)}, told to be a {kind}", seq)
    return row


def _lifted(kind: str, body: bytes, written: int) -> bytes:
    row: dict[str, Any] = msgspec.json.decode(body)
    for one in range(written, FORMAT):
        lift = LIFTS.get(one, {}).get(kind)
        if lift is not None:
            row = lift(row)
            kind = str(row["row"])
    return msgspec.json.encode(row)


# ------------------------------------------------------------------------- who owns it


def owner_of(path: Path) -> str:
    """The process that owns the journal now; empty if none does."""
    lock = path.with_name(path.name + ".lock")
    try:
        os.close(_own(lock))
    except JournalOwned:
        return lock.read_text(errors="replace").strip() or "unknown"
    return ""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the journal's place, whatever stands there: no router has it, and none takes it.

    Raises `JournalOwned` if a process does, `JournalError` if the folder cannot be written.
    """
    lock = _own(path.with_name(path.name + ".lock"))
    try:
        yield
    finally:
        os.close(lock)


def give_new_tag(path: Path, *, besides: Path | None = None, entropy: bytes = b"") -> str:
    """Give the journal at `path` another installation tag, and return it; for one put back.

    What was written after the copy is forgotten, so its parents' names will be given again: under
    the old tag an order's key could be one that a venue has seen.  The new tag is none that this
    journal, or the one at `besides` (as far as that can be read), ever had.  Keys made before stay
    ours: every `Opened` row names the tag of its time.  The caller holds the journal.

    Raises `JournalError` for a file that cannot be used.
    """
    used = _tags(path)
    if besides is not None and besides.is_file():
        with suppress(JournalError):  # spoiled: that is what one puts a copy back for
            used |= _tags(besides)
    seed = entropy or os.urandom(8)
    while (tag := _tag(seed)) in used:
        seed = hashlib.sha256(seed).digest()
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE_S)) as db:
            db.execute("PRAGMA synchronous = FULL")
            db.execute("UPDATE meta SET value = ? WHERE name = 'tag'", (tag,))
    except FAULTS as fault:
        raise error_of(str(path), fault, 0) from None
    return tag


def _tags(path: Path) -> set[str]:
    """Every tag that the journal at `path` has had."""
    db = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    try:
        must_know(db, str(path))
        found = {str(one) for (one,) in db.execute("SELECT value FROM meta WHERE name = 'tag'")}
        formats = formats_of(db, str(path))
        opened = db.execute("SELECT seq, kind, body FROM rows WHERE kind = 'opened'")
        for seq, kind, body in opened:
            if not (isinstance(kind, str) and isinstance(body, bytes)):
                continue
            row = decoded(str(path), seq, kind, body, formats)
            if isinstance(row, Opened):
                found.add(row.tag)
    except FAULTS as fault:
        raise error_of(str(path), fault, 0) from None
    finally:
        db.close()
    return found


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
    with suppress(OSError):  # who it is can be told only where there is room for it
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _tag(entropy: bytes) -> str:
    number = int.from_bytes(hashlib.sha256(entropy).digest(), "big")
    letters = []
    for _ in range(TAG_LEN):
        number, digit = divmod(number, len(_DIGITS))
        letters.append(_DIGITS[digit])
    return "".join(letters)


def _identity(path: str) -> tuple[int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


def _settle(folder: Path) -> None:
    """A file that was made is found again after a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _full(path: str) -> JournalError:
    return JournalError(
        f"{path}: the disk is full (less than {room.LEAST // 1_000_000} MB is left)",
        "free some disk; orders go on by themselves",
    )


# Of a statement of ours, over a sound file, SQLite says none of these; 0: text that is no text.
_DAMAGE = frozenset(
    (
        0,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
    )
)


def error_of(path: str, fault: Exception, seq: int) -> JournalError:
    """What SQLite says, in words, and what to do."""
    code = getattr(fault, "sqlite_errorcode", 0) & 0xFF
    match code:
        case sqlite3.SQLITE_FULL:
            what, fix = "the disk is full", "free some disk; orders go on by themselves"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            what, fix = "it may not be written", "make the state folder and its files writable"
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            what, fix = "another program holds it locked", "close that program"
        case sqlite3.SQLITE_CANTOPEN:
            what, fix = "it cannot be opened", "make the state folder writable"
        case sqlite3.SQLITE_IOERR:
            what, fix = "the disk failed", "see the disk; orders go on when it takes rows again"
        case _ if code in _DAMAGE:
            return JournalDamaged(f"{path}: the file is damaged ({fault})", seq)
        case _:
            what, fix = "it cannot be used", "see the disk; `hean db check` tells how it is"
    return JournalError(f"{path}: {what} ({fault})", fix)
