"""A journal on a real file that can be killed, filled up and left unsure, in virtual time."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hean_router.domain.record import Row
from hean_router.store import Journal
from hean_router.store.journal_file import JournalError


class Disk:
    """The file behind all lives of a router: `opened()` is the journal of the next one.

    `full` makes every append fail before it writes; `unsure` makes it fail after it has written,
    once (a sync that fails: what was written may be found again by whoever opens it next).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full = self.unsure = False
        self.failed = self.torn = self.lives = 0
        self.journal: Pen | None = None

    def opened(self) -> "Pen":
        """The next process's journal; whatever held it before is dead."""
        self.lives += 1
        entropy = b"storm.."
        self.journal = Pen(self, Journal.open(self.path, sync="relaxed", entropy=entropy))
        return self.journal


class Pen:
    """What one process writes with."""

    def __init__(self, disk: Disk, journal: Journal) -> None:
        self._disk, self._journal = disk, journal
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def append(self, rows: Sequence[Row]) -> int:
        """Write, unless something is in the way."""
        disk = self._disk
        if self.dead:
            raise JournalError("this process is dead", "nothing of it is written any more")
        if disk.full:
            disk.failed += 1
            raise JournalError("no space left on device", "free some")
        if disk.unsure and rows:
            disk.unsure = False
            disk.torn += 1
            # As an error of the last flush: the file may have it, and nobody has been told so.
            self._journal._unsure = True
            seq, found = self._journal.seq, self._journal._hash
            self._journal.append(rows)
            self._journal.seq, self._journal._hash = seq, found
            self._journal._unsure = True
            raise JournalError("input/output error", "look at the disk")
        return self._journal.append(rows)

    def kill(self) -> None:
        """No byte is written by this process any more."""
        self.dead = True

    def close(self) -> None:
        """The end of the process: orderly, or as the system does it for the dead."""
        if not self.dead:
            self._journal.close()
            return
        self._journal._db.close()
        if self._journal._lock is not None:
            os.close(self._journal._lock)
            self._journal._lock = None
