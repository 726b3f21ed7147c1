"""A file as lines: compression told by its first bytes, damage told by its place.

Lazy: a block at a time, so a capture of any size is read in constant memory.  What stands before
a damage is always given first; then `Damage` says what is wrong.
"""

import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 16  # bytes asked of the file at once
_BLOCK = 1 << 16  # bytes of text made at once, however well they were compressed
_XZ_MEMORY_MAX = 256 << 20
LINE_MAX = 64 << 20  # the largest honest line, an answer listing all instruments, has 3 MB

_GZIP, _XZ = b"\x1f\x8b", b"\xfd7zXZ\x00"
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": ("Zstandard", "zstd -d"),
    b"BZh": ("bzip2", "bunzip2"),
    b"PK\x03\x04": ("a ZIP archive", "unzip"),
    b"SQLite format 3\x00": ("an SQLite database", "sqlite3"),
}


class Damage(Exception):
    """The file is not what it should be from here on.  `capture` adds the place."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.fix = what, fix


class Lines:
    r"""The lines of a file, without their ends (`\n` or `\r\n`); blank ones are passed over.

    `number` (from 1) and `offset` (of uncompressed bytes) say where the current line begins;
    `torn` that it is the last one and has no end; `damage` that it is all that could be read of it.
    Raises `OSError` where the file cannot be opened or read, `Damage` where its compression ends
    early or makes no sense.
    """

    def __init__(self, path: Path) -> None:
        self.number = 0
        self.offset = 0
        self.torn = False
        self.damage: Damage | None = None
        self.verbatim = False  # set it to be given blank lines and carriage returns too
        self.current = b""  # the current line as it stands in the file
        # Unbuffered: `_blocks` asks for large pieces anyway, and a pipe gives what it has.
        self._file: BinaryIO = io.FileIO(path, "rb")
        self._lines = self._split()

    def __iter__(self) -> Iterator[bytes]:
        return self._lines

    def close(self) -> None:
        """Let go of the file.  Twice is fine."""
        self._file.close()

    def _split(self) -> Iterator[bytes]:
        begun: list[bytes] = []  # pieces of a line whose end has not been seen
        begun_size = 0
        next_offset = 0
        try:
            for block in _blocks(self._file):
                if b"\n" not in block:
                    begun.append(block)
                    begun_size += len(block)
                    if begun_size > LINE_MAX:
                        raise Damage(
                            f"a line of more than {LINE_MAX >> 20} MB",
                            "give a capture: one frame or event a line",
                        )
                    continue
                *whole, rest = b"".join((*begun, block)).split(b"\n")
                begun, begun_size = [rest], len(rest)
                for line in whole:
                    self.number += 1
                    self.offset = next_offset
                    next_offset += len(line) + 1
                    self.current = line
                    if self.verbatim:
                        yield line
                    elif line and not line.isspace():
                        yield line.removesuffix(b"\r")
        except Damage as damage:
            self.damage = damage
        rest = b"".join(begun)
        self.number += 1
        self.offset = next_offset
        if rest and (self.verbatim or not rest.isspace()):
            self.torn = True
            self.current = rest
            yield rest if self.verbatim else rest.removesuffix(b"\r")
        if self.damage is not None:
            raise self.damage


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    head = file.read(_CHUNK)
    for magic, (name, tool) in _FOREIGN.items():
        if head.startswith(magic):
            raise Damage(f"this is {name}, which is not read", f"unpack it first ({tool})")
    if head.startswith(_GZIP):
        yield from _gunzipped(file, head)
    elif head.startswith(_XZ):
        yield from _unxzed(file, head)
    else:
        yield head.removeprefix(b"\xef\xbb\xbf")  # a byte order mark is no text
        while block := file.read(_CHUNK):
            yield block


def _cut(name: str, taken: int) -> Damage:
    return Damage(
        f"cut off: the {name} stream has no end (it has {taken:,} compressed bytes)",
        "copy the file again in full; if its recorder was killed, nothing more of it exists",
    )


def _garbled(name: str, taken: int, why: Exception) -> Damage:
    return Damage(
        f"the {name} stream is damaged before its compressed byte {taken:,} ({why})",
        "copy the file again; what was read before the damage is good",
    )


def _gunzipped(file: BinaryIO, data: bytes) -> Iterator[bytes]:
    taken = len(data)
    while data:  # one turn a member: a gzip file may be several, one after another
        inflater = zlib.decompressobj(wbits=31)
        while not inflater.eof:
            if not data:
                data = file.read(_CHUNK)
                taken += len(data)
                if not data:
                    yield inflater.flush()
                    raise _cut("gzip", taken)
            before = inflater.copy()
            try:
                yield inflater.decompress(data, _BLOCK)
            except zlib.error as why:
                yield _salvaged(before, data)
                raise _garbled("gzip", taken, why) from None
            data = inflater.unconsumed_tail
        data = inflater.unused_data
        while not (data := data.lstrip(b"\0")):  # padding, as on tapes
            data = file.read(_CHUNK)
            taken += len(data)
            if not data:
                return


def _salvaged(inflater: "zlib._Decompress", data: bytes) -> bytes:
    """All that can be inflated before the damage: byte by byte, as a failing call gives nothing."""
    out = bytearray()
    try:
        while piece := inflater.decompress(data, 1):
            out += piece
            data = inflater.unconsumed_tail
    except zlib.error:
        pass
    return bytes(out)


def _unxzed(file: BinaryIO, data: bytes) -> Iterator[bytes]:
    taken = len(data)
    while data:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_MAX)
        while not decoder.eof:
            if decoder.needs_input and not data:
                data = file.read(_CHUNK)
                taken += len(data)
                if not data:
                    raise _cut("xz", taken)
            try:
                # A failing call gives nothing, and this decoder cannot be copied: small steps.
                piece = decoder.decompress(data, _BLOCK >> 4)
            except lzma.LZMAError as why:
                raise _garbled("xz", taken, why) from None
            data = b""
            yield piece
        data = decoder.unused_data
        while not (data := data.lstrip(b"\0")):
            data = file.read(_CHUNK)
            taken += len(data)
            if not data:
                return
