"""How far a journal has come, in a small file beside it.

A write-ahead log that is deleted or cut takes rows with it that SQLite does not miss.  This file
is written after each commit and not flushed: it never tells of a row that is not on the disk, and
after a power cut it may tell of fewer, which proves less and wrongs nobody.
"""

import os
import zlib
from contextlib import suppress

SUFFIX = ".head"
_LENGTH = 20 + 1 + 64 + 1 + 8 + 1  # number, hash, sum, with what parts them: well within a sector


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
            os.pwrite(file, _line(seq, found), 0)


def read(path: str) -> tuple[int, bytes] | None:
    """What was noted beside the journal at `path`; None if nothing was, or it cannot be told."""
    try:
        with open(path + SUFFIX, "rb") as file:
            text = file.read(_LENGTH + 1)
    except OSError:
        return None
    try:
        seq, hexed, _ = text.decode().split(" ")
        number, found = int(seq), bytes.fromhex(hexed)
    except ValueError:
        return None
    # A witness that was spoiled itself says nothing.
    return (number, found) if text == _line(number, found) else None


def _line(seq: int, found: bytes) -> bytes:
    text = f"{seq:020d} {found.hex()}".encode()
    return text + f" {zlib.crc32(text):08x}\n".encode()


def away(path: str) -> None:
    """For a journal that was put in another's place."""
    with suppress(FileNotFoundError):
        os.unlink(path + SUFFIX)
