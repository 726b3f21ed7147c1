"""Rows out of the bytes of a SQLite file that SQLite itself can no longer read.

Pages are read where they lie, in the file and in its write-ahead log, whatever its tables of
contents say, so rows come out that were never committed, or twice, or spoiled.  Nothing here is
believed: the chain of hashes tells which row is which, and whoever asks follows it.

The format is SQLite's own documentation, "Database File Format" and "WAL-mode File Format".
"""

from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import NamedTuple

PAGE = 4096  # what SQLite gives a new file, and ours is never given another
_SIZES = frozenset(2**power for power in range(9, 17))
_WAL_HEADER, _FRAME_HEADER = 32, 24
_VERSIONS = 4  # of a row whose rest lies in pages that were written several times
_COLUMNS = 5
_HASH = 32


class Carved(NamedTuple):
    """What may be a row of a journal."""

    seq: int
    kind: str
    body: bytes
    hash: bytes


class _NoRow(Exception):
    """These bytes are no row of ours."""


def carve(path: Path, after: int = 0) -> Iterator[Carved]:
    """Whatever looks like a row above `after`, in no order; never raises for what it reads.

    Raises `OSError` if the files cannot be read at all.
    """
    data = path.read_bytes()
    wal_path = path.with_name(path.name + "-wal")
    wal = wal_path.read_bytes() if wal_path.is_file() else b""
    told = int.from_bytes(data[16:18], "big")
    sizes = {PAGE, 65_536 if told == 1 else told, int.from_bytes(wal[8:12], "big")} & _SIZES
    for size in sorted(sizes):
        # Bytes at the end of each page that SQLite leaves free; ours leave none.
        for usable in {size, size - data[20]} if len(data) > 20 else {size}:
            yield from _Pages(data, wal, size, usable).rows(after)


class _Pages:
    def __init__(self, data: bytes, wal: bytes, size: int, usable: int) -> None:
        self.size, self.usable = size, usable
        self.pages: dict[int, list[bytes]] = {}  # by number, every version, newest first
        for start in range(0, len(data), size):
            self._add(start // size + 1, data[start : start + size])
        frame = _FRAME_HEADER + size
        for start in range(_WAL_HEADER, len(wal), frame):
            number = int.from_bytes(wal[start : start + 4], "big")
            self._add(number, wal[start + _FRAME_HEADER : start + frame])

    def _add(self, number: int, page: bytes) -> None:
        whole = page.ljust(self.size, b"\0")  # a file that was cut within it
        self.pages.setdefault(number, []).insert(0, whole)

    def rows(self, after: int) -> Iterator[Carved]:
        for number, versions in self.pages.items():
            for page in versions:
                yield from self._page(page, 100 if number == 1 else 0, after)

    def _page(self, page: bytes, start: int, after: int) -> Iterator[Carved]:
        """The cells of a leaf; of any page, since the byte that says what it is may be spoiled."""
        cells = int.from_bytes(page[start + 3 : start + 5], "big")
        for at in range(start + 8, min(start + 8 + 2 * cells, self.size), 2):
            try:
                yield from self._cell(page, int.from_bytes(page[at : at + 2], "big"), after)
            except _NoRow:
                continue

    def _cell(self, page: bytes, at: int, after: int) -> Iterator[Carved]:
        length, at = _varint(page, at)
        seq, at = _varint(page, at)
        if seq <= after or length < _HASH:
            return
        most = self.usable - 35
        if length <= most:
            yield _row(seq, page[at : at + length])
            return
        least = (self.usable - 12) * 32 // 255 - 23
        here = least + (length - least) % (self.usable - 4)
        here = here if here <= most else least
        following = int.from_bytes(page[at + here : at + here + 4], "big")
        for rest in islice(self._overflow(following, length - here), _VERSIONS):
            try:
                yield _row(seq, page[at : at + here] + rest)
            except _NoRow:
                continue

    def _overflow(self, number: int, length: int) -> Iterator[bytes]:
        """What lies in pages chained from `number`, with every version of each of them."""
        room = self.usable - 4
        chain: list[list[bytes]] = []
        while length > len(chain) * room:
            versions = self.pages.get(number)
            if not versions or len(chain) > len(self.pages):
                raise _NoRow
            chain.append(versions)
            number = int.from_bytes(versions[0][:4], "big")
        for pages in product(*chain):
            yield b"".join(page[4 : self.usable] for page in pages)[:length]


def _row(seq: int, payload: bytes) -> Carved:
    head, at = _varint(payload, 0)
    types: list[int] = []
    while at < head:
        if len(types) == _COLUMNS:  # what is no row may claim to have thousands
            raise _NoRow
        found, at = _varint(payload, at)
        types.append(found)
    if len(types) != _COLUMNS:
        raise _NoRow
    starts = [head]
    for one in types:
        starts.append(starts[-1] + _width(one))
    kind, body, told = (payload[starts[n] : starts[n + 1]] for n in (2, 3, 4))
    texts = types[2] >= 13 and types[2] % 2 == 1 and types[3] >= 12 and types[3] % 2 == 0
    if not texts or len(told) != _HASH or len(body) != _width(types[3]):
        raise _NoRow
    try:
        return Carved(seq, kind.decode(), body, told)
    except UnicodeDecodeError:
        raise _NoRow from None


def _width(serial: int) -> int:
    """How many bytes a column of this type takes."""
    if serial >= 12:
        return (serial - 12) // 2
    return (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[serial]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, and where the next one begins."""
    value = 0
    for n, byte in enumerate(data[at : at + 9]):
        if n == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + n + 1
    raise _NoRow
