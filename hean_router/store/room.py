"""Room on the disk: SQLite is not asked to write where there is next to none.

SQLite in write-ahead mode keeps an index in a file mapped into memory.  Where the system gives a
page of it its place on disk only as it is first written (ext4 with blocks under 4 KiB, as on small
volumes; btrfs), a full disk is no error there but SIGBUS: the process dies, and nobody takes back
its orders.  So the disk counts as full a little before it is.
"""

import errno
import os

LEAST = 1_000_000  # bytes that must be left


def left(folder: str | os.PathLike[str]) -> int:
    """Bytes that we may still write to the disk of `folder`; raises `OSError`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def must_have(folder: str | os.PathLike[str]) -> None:
    """Raise `OSError` (ENOSPC) where less than `LEAST` is left; 1 µs otherwise."""
    if left(folder) < LEAST:
        raise OSError(errno.ENOSPC, "the disk is full", os.fspath(folder))
