"""Copies of the journal, which is the authority: made while a router writes it, checked, put back.

The query store needs no copy: it is made again from the journal.
"""

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.store import head_file
from hean_router.store.urls import StoreError

PAGES = 1024  # copied at a time; between two turns a router can write


class Copied(Struct, frozen=True):
    """A copy that was checked after it was made."""

    path: str
    bytes: int
    rows: int


Check = Callable[[Path], int]
"""Reads a whole journal, proves its chain, and returns its rows; raises where it does not hold."""


def backup(journal: Path, target: Path, check: Check, *, force: bool = False) -> Copied:
    """Copy `journal` to `target` as of one moment, and check the copy; a router may be writing.

    What stood at `target` is replaced only when the new copy has been checked, and only by `force`.
    """
    if not journal.is_file():
        raise CommandError(f"there is no journal at {journal}", "name it with --journal or --state")
    _must_not_overwrite(target, force)
    fresh = target.with_name(f".{target.name}.part")
    try:
        copy(journal, fresh)
        rows = check(fresh)
        size = fresh.stat().st_size
        _settle(fresh, target)
    except sqlite3.Error as fault:
        raise StoreError(
            f"{journal} cannot be copied: {fault}", "see `hean db check`, and the disk"
        ) from None
    finally:
        _away(fresh)
    return Copied(str(target), size, rows)


def restore(
    source: Path,
    journal: Path,
    check: Check,
    *,
    force: bool = False,
    renew: Callable[[Path], object] = lambda _fresh: None,
) -> Copied:
    """Put the copy at `source` in the place of `journal`, after it was checked.

    `renew` is given what will stand there, before it does.  The caller sees to it that no router
    owns the journal.  What stood there is kept beside it as `….before-restore`.
    """
    if not source.is_file():
        raise CommandError(f"there is no copy at {source}", "name a file that `db backup` made")
    _must_not_overwrite(journal, force)
    journal.parent.mkdir(parents=True, exist_ok=True)
    fresh = journal.with_name(f".{journal.name}.part")
    try:
        copy(source, fresh)
        rows = check(fresh)
        renew(fresh)
        size = fresh.stat().st_size
        if journal.exists():
            _set_aside(journal)
        head_file.away(str(journal))  # what stood there had come further, perhaps
        _settle(fresh, journal)
    except sqlite3.Error as fault:
        raise StoreError(f"{source} cannot be restored: {fault}", "try another copy") from None
    finally:
        _away(fresh)
    return Copied(str(journal), size, rows)


def _set_aside(journal: Path) -> None:
    kept = journal.with_name(journal.name + ".before-restore")
    try:
        # With what stands in its write-ahead log: that is part of it.
        copy(journal, kept)
    except sqlite3.Error:
        # Spoiled beyond SQLite: byte for byte, for whoever may still read something out of it.
        _away(kept)
        for suffix in ("", "-wal"):
            part = journal.with_name(journal.name + suffix)
            if part.exists():
                shutil.copy2(part, kept.with_name(kept.name + suffix))
    _away(journal)


def _must_not_overwrite(target: Path, force: bool) -> None:
    if target.exists() and not force:
        raise CommandError(f"{target} is there already", "name another file, or give --force")


def copy(source: Path, target: Path) -> None:
    """Copy as SQLite does it: of one moment, what its write-ahead log holds included."""
    _away(target)
    # Made before SQLite opens it: a journal holds all there is to know of an account.
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    # Read only, it would leave the files beside a journal in WAL mode behind, perhaps as another
    # user's than the router's, which could then not open its own.
    mode = "rw" if os.access(source, os.W_OK) else "ro"
    from_url = f"file:{quote(str(source.resolve()))}?mode={mode}"
    with (
        closing(sqlite3.connect(from_url, uri=True, timeout=10)) as old,
        closing(sqlite3.connect(target, timeout=10)) as new,
    ):
        # Held from here on: else each commit of a router's would begin the copy anew.
        old.execute("BEGIN")
        old.execute("SELECT count(*) FROM sqlite_master").fetchone()
        old.backup(new, pages=PAGES, sleep=0.005)
        old.execute("ROLLBACK")
        # A single file, so that nothing of it can be left behind.
        new.execute("PRAGMA journal_mode=DELETE")


def _settle(fresh: Path, target: Path) -> None:
    """On the disk first, then under its name: a power cut leaves the old one or the new one."""
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    fresh.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _away(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm", f"{path.name}-journal"):
        path.with_name(name).unlink(missing_ok=True)
