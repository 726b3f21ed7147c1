"""How far a journal has come, in a small file beside it.

A write-ahead log that is deleted or cut takes rows with it that SQLite does not miss.  This file
is written after each commit and not flushed: it never tells of a row that is not on the disk, and
after a power cut it may tell of fewer, which proves less and wrongs nobody.
"""

import os
from contextlib import suppress

SUFFIX = ".head"
_LENGTH = 20 + 1 + 64 + 1  # number, space, hash in hex, end of line: well within one sector


def opened(path: str) -> int | None:
    """The file beside the journal at `path`, to write to; None if there can be none."""
    try:
        return os.open(path + SUFFIX, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None  # a witness the fewer: no reason to stop trading


def note(file: int | None, seq: int, found: bytes) -> None:
    """Row `seq`, whose hash is `found`, is on the disk.  2 µs."""
    if file is not None:
        with suppress(OSError):
            os.pwrite(file, f"{seq:020d} {found.hex()}\n".encode(), 0)


def read(path: str) -> tuple[int, bytes] | None:
    """What was noted beside the journal at `path`; None if nothing was, or it cannot be told."""
    try:
        with open(path + SUFFIX, "rb") as file:
            text = file.read(_LENGTH + 1)
    except OSError:
        return None
    if len(text) != _LENGTH:
        return None
    seq, _, found = text.decode("ascii", "replace").partition(" ")
    try:
        return int(seq), bytes.fromhex(found.strip())
    except ValueError:
        return None


def away(path: str) -> None:
    """For a journal that was put in another's place."""
    with suppress(FileNotFoundError):
        os.unlink(path + SUFFIX)
