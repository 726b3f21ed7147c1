"""A damaged journal built anew: as many rows from the first one on as their chain proves.

Never in place: what stood there is kept, byte for byte, under another name.  What came after the
last row that can be proven is lost; what follows from that is in `gap`.  New orders get keys that
no venue has seen, and those of the lost rows carry the old tag, by which they are known as ours.
"""

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.domain.record import ChildIntended, Opened, ParentPlaced, Row
from hean_router.store import head_file, index
from hean_router.store.carve import Carved, carve
from hean_router.store.gap import close_off
from hean_router.store.journal_file import (
    FAULTS,
    FORMAT,
    START,
    TAG_LEN,
    Journal,
    JournalError,
    chained,
    decoded,
    give_new_tag,
    held,
)
from hean_router.store.look import looked_at, verify

_SLICE = 1_000
_SUFFIXES = ("", "-wal", "-shm", head_file.SUFFIX)


class Lost(Struct, frozen=True):
    """A row that is not kept: it can be read, but nothing proves that it is what was written."""

    seq: int
    kind: str
    row: Row


class Mended(Struct, frozen=True):
    """What came of a repair.

    `lost_to` is the last row that is known to have been there, 0 if nothing is lost; of those that
    are lost, `lost` can be read.  `kept` are the damaged files under their new names.
    """

    path: str
    rows: int
    lost_from: int
    lost_to: int
    lost: tuple[Lost, ...]
    old_tag: str
    tag: str
    kept: tuple[str, ...]
    listed: str  # the file with the rows that can be read and are lost

    @property
    def kinds(self) -> dict[str, int]:
        """The lost rows that can be read, by kind."""
        return dict(sorted(Counter(one.kind for one in self.lost).items()))

    @property
    def parents(self) -> list[str]:
        """Orders that lost rows have placed, by our own ids."""
        return sorted({one.row.parent for one in self.lost if isinstance(one.row, ParentPlaced)})

    @property
    def keys(self) -> list[str]:
        """Orders that lost rows have placed, by their client ids at the venues."""
        return sorted({one.row.key for one in self.lost if isinstance(one.row, ChildIntended)})


class _Found(Struct):
    """What is in a damaged journal."""

    formats: list[tuple[int, int]]
    tag: str = ""
    epoch: int = 0
    reached: int = 0
    rows: int = 0


def repair(path: Path, *, dry_run: bool = False, entropy: bytes = b"") -> Mended:
    """Build the journal at `path` anew from what of it can be proven; `dry_run` only looks.

    Raises `CommandError` where there is nothing to repair, `JournalOwned` while a router runs,
    `JournalError` for what is no journal, or a newer program's.
    """
    if not path.is_file():
        raise CommandError(f"there is no journal at {path}", "name it with --state")
    with held(path):
        if (whole := _whole(path)) is not None:
            raise CommandError(
                f"{path}: {whole} rows, the chain holds: there is nothing to repair",
                "see hean audit verify",
            )
        fresh = path.with_name(f".{path.name}.mended")
        _away(fresh)
        try:
            if (mended := _indexed(path, fresh, dry_run=dry_run)) is not None:
                return mended
            _away(fresh)
            found, lost = _rebuild(path, fresh)
            if not (found.rows or lost or found.reached):
                raise JournalError(
                    f"{path}: nothing of it is of a journal",
                    "name another --state; or move it away, and the next start makes a new one",
                )
            lost_to = max([found.reached, *(one.seq for one in lost)])
            if lost_to <= found.rows:
                lost_to = 0
            done = Mended(
                str(path), found.rows, found.rows + 1, lost_to, tuple(lost), found.tag, "", (), ""
            )
            if dry_run:
                return done
            close_off(fresh, said(done), _tags(found, lost))
            tag = give_new_tag(fresh, besides=path, entropy=entropy)
            verify(fresh)
            kept = _keep(path)
            listed = _list(kept[0], lost)
            _put(fresh, path)
            return msgspec.structs.replace(done, tag=tag, kept=kept, listed=listed)
        finally:
            _away(fresh)


def _whole(path: Path) -> int | None:
    """How many rows it has, if nothing is wrong with it."""
    try:
        with looked_at(path) as seen:
            if seen.faults() or seen.index_faults():
                return None
        count = verify(path)[0]
        # What a router says that is to own it: a note beside the rows may be spoiled.
        twin = path.with_name(f".{path.name}.look")
        _copy(path, twin)
        try:
            Journal.open(twin, sync="relaxed").close()
        finally:
            _away(twin)
    except JournalError:
        return None
    return count


def _indexed(path: Path, fresh: Path, *, dry_run: bool) -> Mended | None:
    """Where nothing is wrong but the tables beside the rows: the same rows, with tables of them.

    Nothing is lost, so all goes on.  None where more is wrong.
    """
    try:
        with looked_at(path) as seen:
            if seen.faults() or not seen.index_faults():
                return None
        rows = verify(path)[0]
        _copy(path, fresh)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
            index.rebuild(db)
        Journal.open(fresh, sync="relaxed").close()
    except JournalError:
        return None
    tag = _meta(path).get("tag", "")
    done = Mended(str(path), rows, rows + 1, 0, (), tag, tag, (), "")
    if dry_run:
        return done
    kept = _keep(path)
    _put(fresh, path)
    return msgspec.structs.replace(done, kept=kept)


# ------------------------------------------------------------------------- what can be proven


def _rebuild(path: Path, fresh: Path) -> tuple[_Found, list[Lost]]:
    """Fill `fresh` with the longest prefix that the chain proves; and what else can be read."""
    found = _noted(path)
    Journal.open(fresh, sync="relaxed").close()
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        db.execute("BEGIN")
        last = _take(db, found, _by_sqlite(path))
        others = _by_seq(carve(path, found.rows))
        _take(db, found, _follow(found.rows, last, others))
        db.execute("DELETE FROM meta WHERE name GLOB 'format *' OR name = 'head'")
        spans = [(f"format {one}", str(first)) for first, one in found.formats]
        db.executemany("INSERT INTO meta VALUES (?, ?)", spans)
        # Above any that was given: the files kept may be looked at, never written, by anyone.
        db.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (str(found.epoch + 1),))
        db.execute("COMMIT")
    return found, list(_readable(found, others))


def _noted(path: Path) -> _Found:
    """What is noted beside the rows, as far as it can be read."""
    found = _Found([(1, FORMAT)])
    meta = _meta(path)
    found.tag = _tag(meta.get("tag", ""))
    found.epoch = _number(meta.get("epoch", ""))
    found.reached = _number(meta.get("head", "").partition(" ")[0])
    spans = {
        _number(name.partition(" ")[2]): _number(first)
        for name, first in meta.items()
        if name.startswith("format ")
    }
    if spans:
        found.formats = sorted(((first, one) for one, first in spans.items()), reverse=True)
    if (noted := head_file.read(str(path))) is not None:
        found.reached = max(found.reached, noted[0])
    if max(one for _, one in found.formats) > FORMAT:
        raise JournalError(f"{path}: written by a newer program", "use that program to repair it")
    return found


def _meta(path: Path) -> dict[str, str]:
    """By SQLite alone: what the file says of its format may be what is damaged."""
    with (
        suppress(*FAULTS),
        closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as db,
    ):
        found = db.execute("SELECT name, value FROM meta").fetchall()
        return {str(name): str(value) for name, value in found}
    return {}


def _number(text: str) -> int:
    """Of a note that may be damaged: 0 if it is no number."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def _tag(text: str) -> str:
    good = len(text) == TAG_LEN and text.isascii() and text.isalnum() and text == text.lower()
    return text if good else ""


def _by_sqlite(path: Path) -> Iterator[Carved]:
    """Rows from the first one on, for as long as SQLite reads them and the chain holds."""
    with suppress(JournalError), looked_at(path) as seen:
        for seq, _, kind, body, told in seen.proven():
            yield Carved(seq, kind, body, told)


def _by_seq(rows: Iterator[Carved]) -> dict[int, list[Carved]]:
    """What was carved, each once."""
    found: dict[int, dict[Carved, None]] = {}
    for row in rows:
        found.setdefault(row.seq, {})[row] = None
    return {seq: list(several) for seq, several in found.items()}


def _follow(seq: int, before: bytes, others: dict[int, list[Carved]]) -> Iterator[Carved]:
    """The longest way on from row `seq`; a row that was written twice leads two ways for a while.

    An append that failed may lie there beside the one that took its place: both are proven, and
    the one that others follow is the journal.
    """
    levels: list[dict[bytes, tuple[Carved, bytes]]] = []  # by hash: a row, and the hash before it
    heads = {before}
    while heads:
        seq += 1
        level: dict[bytes, tuple[Carved, bytes]] = {}
        for row in others.get(seq, ()):
            for head in heads:
                if chained(head, seq, row.kind, row.body) == row.hash:
                    level[row.hash] = (row, head)
        levels.append(level)
        heads = set(level)
    way: list[Carved] = []
    levels.pop()  # the empty one
    at = next(iter(levels[-1])) if levels else before
    for level in reversed(levels):
        row, at = level[at]
        way.append(row)
    yield from reversed(way)


def _take(db: sqlite3.Connection, found: _Found, rows: Iterator[Carved]) -> bytes:
    """Write rows as they are, and note what they say; the last one's hash."""
    last, batch = START, []
    if found.rows:
        last = db.execute("SELECT hash FROM rows WHERE seq = ?", (found.rows,)).fetchone()[0]
    for one in rows:
        row = decoded("the journal", one.seq, one.kind, one.body, found.formats)
        if not -(2**63) <= row.at_ns < 2**63:
            raise JournalError(
                f"row {one.seq} has a time that is none", "no program of ours wrote this file"
            )
        batch.append((one.seq, row.at_ns, one.kind, one.body, one.hash))
        found.rows, last = one.seq, one.hash
        if isinstance(row, Opened):
            found.epoch = max(found.epoch, row.epoch)
        if len(batch) == _SLICE:
            db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", batch)
            batch = []
    db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", batch)
    return last


def _readable(found: _Found, others: dict[int, list[Carved]]) -> Iterator[Lost]:
    """Rows that are not kept and make sense, one for each number."""
    for seq in sorted(others):
        if seq <= found.rows:
            continue
        for one in others[seq]:
            try:
                row = decoded("the journal", seq, one.kind, one.body, found.formats)
            except (JournalError, ValueError, RecursionError):
                continue
            yield Lost(seq, one.kind, row)
            break


# ------------------------------------------------------------------------- the new one


def _tags(found: _Found, lost: Sequence[Lost]) -> set[str]:
    """Every tag that lost rows or the file name; orders under them are ours."""
    named = {one.row.tag for one in lost if isinstance(one.row, Opened)}
    keys = {one.row.key for one in lost if isinstance(one.row, ChildIntended)}
    return {_tag(one) for one in (found.tag, *named, *(key[1 : 1 + TAG_LEN] for key in keys))}


def said(done: Mended) -> str:
    """What is lost, in words."""
    if not done.lost_to:
        return f"built anew from {done.rows} rows; no row after them is known of"
    known = ", ".join(f"{count} {kind}" for kind, count in done.kinds.items())
    text = f"built anew from {done.rows} rows; rows {done.lost_from} to {done.lost_to} are lost"
    return f"{text} ({known or 'none of them can be read'})"


def _keep(path: Path) -> tuple[str, ...]:
    """The damaged files, copied byte for byte and pressed to the disk."""
    number = 1
    while (twin := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    return tuple(_copy(path, twin))


def _copy(path: Path, twin: Path) -> list[str]:
    made = []
    for suffix in _SUFFIXES:
        source, target = Path(f"{path}{suffix}"), Path(f"{twin}{suffix}")
        if source.is_file():
            # Its owner's alone from the first byte on: it holds all there is to know of an account.
            os.close(os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
            shutil.copyfile(source, target)
            with target.open("rb+") as file:
                os.fsync(file.fileno())
            made.append(str(target))
    return made


def _list(beside: str, lost: Sequence[Lost]) -> str:
    """The rows that can be read and are lost, a line each."""
    if not lost:
        return ""
    path = Path(f"{beside}.lost.jsonl")
    with os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as file:
        for one in lost:
            file.write(msgspec.json.encode({"seq": one.seq, "row": one.row}) + b"\n")
    return str(path)


def _put(fresh: Path, path: Path) -> None:
    """In the damaged one's place: what stood there has been kept."""
    with closing(sqlite3.connect(fresh, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")  # a single file, so that nothing is left behind
    with fresh.open("rb+") as file:
        os.fsync(file.fileno())
    # The old log first: SQLite would play it onto the new file.
    for suffix in _SUFFIXES[1:]:
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _away(path: Path) -> None:
    for suffix in (*_SUFFIXES, ".lock"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
