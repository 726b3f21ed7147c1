"""Captures: what a connection said and heard, read from every container we know.

`open_capture` tells the container by its content, never by its name, and streams `Captured`
records in the order of the file (`containers.py`).  Frames are given as the very bytes that were on
the wire.  A file may be plain, gzip (also several members) or xz.  One that is damaged or cut gives
every record before the damage, then one `CaptureError`.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

import msgspec

from hean_router.domain.errors import HeanError
from hean_router.replay.containers import (
    HEADED,
    READERS,
    SHOWN,
    Captured,
    Format,
    format_of,
    is_header,
)
from hean_router.replay.stream import Damage, Lines
from hean_router.replay.wire import REST_STARTS, Wire, part_of, wire_of


class CaptureError(HeanError):
    """A capture that cannot be read or written (further).

    Its text says which file, where in it, what and why; `fix` how to mend it.  `line` counts from
    1, `offset` bytes of the uncompressed file to that line (both 0: no place in it); `records` is
    how many whole records were given before.
    """

    def __init__(
        self,
        path: Path | str,
        what: str,
        fix: str,
        *,
        line: int = 0,
        offset: int = 0,
        records: int = 0,
    ) -> None:
        place = f" line {line} (byte {offset:,}):" if line else ""
        before = f" The {records:,} records before it are whole." if records else ""
        super().__init__(f"{path}:{place} {what}" + (f".{before}" if before else ""), fix)
        self.path, self.line, self.offset, self.records = str(path), line, offset, records
        self.what = what


class Capture(Iterator[Captured]):
    """An open capture: its records in order, once.

    `format` says the container, `header` the bytes of its own first line (empty where it has none).
    Closes itself at the end, at an error, and when it is forgotten; `with` closes it sooner.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.count = 0  # records given
        # The generator knows nothing of this object: a circle would keep a forgotten file open.
        self._records = _run(self.path, _opened(self.path))
        opening = next(self._records)
        assert isinstance(opening, tuple)
        self.format, self.header = opening

    def __iter__(self) -> Iterator[Captured]:
        return self

    def __next__(self) -> Captured:
        record = next(self._records)
        assert isinstance(record, Captured)
        self.count += 1
        return record

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; no records follow."""
        self._records.close()


def _opened(path: Path) -> Lines:
    try:
        return Lines(path)
    except FileNotFoundError:
        raise CaptureError(path, "there is no such file", "check the path") from None
    except IsADirectoryError:
        raise CaptureError(path, "this is a directory", "name one capture file in it") from None
    except PermissionError:
        raise CaptureError(
            path, "not allowed to read it", f"give yourself the right: chmod u+r {path}"
        ) from None
    except (OSError, ValueError) as why:  # ValueError: a path with a zero byte
        raise CaptureError(path, f"it cannot be opened ({why})", "check the path") from None


def _run(path: Path, lines: Lines) -> Generator[tuple[Format, bytes] | Captured, None, None]:
    """First the format and the header, then the records; closes `lines` whatever happens."""
    count = 0

    def error(what: str, fix: str) -> CaptureError:
        return CaptureError(path, what, fix, line=lines.number, offset=lines.offset, records=count)

    try:
        first = next(iter(lines), None)
        if first is None:
            raise CaptureError(path, "the file is empty", "record it again, or copy it in full")
        form = format_of(first)
        yield form, first if form in HEADED and is_header(first) else b""
        for record in READERS[form](first, lines):
            yield record
            count += 1
    except Damage as damage:
        # Half a line is what a cut stream leaves: the stream is what is wrong.
        cause = lines.damage or damage
        raise error(cause.what, cause.fix) from None
    except (msgspec.MsgspecError, ValueError, ArithmeticError, RecursionError) as why:
        cause = lines.damage or _bad_line(lines, why)
        raise error(cause.what, cause.fix) from None
    except OSError as why:
        raise error(
            f"reading it failed ({why.strerror})", "check the disk, then try again"
        ) from None
    finally:
        lines.close()


def _bad_line(lines: Lines, why: Exception) -> Damage:
    text = lines.current
    if lines.torn:
        return Damage(
            f"cut off in the middle of a line, which ends …{text[-SHOWN:]!r} ({why})",
            "copy the file again in full; if its recorder was killed, nothing more of it exists",
        )
    return Damage(
        f"damaged line: {why}: {text[:SHOWN]!r}",
        "copy the file again, or delete the line if a gap in the data may stand",
    )


def open_capture(path: Path | str) -> Capture:
    """The records of the capture at `path`, lazily, in the order of the file.

    Raises `CaptureError`: at once where the file cannot be opened or is no capture, and during
    iteration, after all whole records before it, where it is damaged or cut.  A last line that
    lacks nothing but its newline is whole.  A cut exactly between two lines shows in our own
    recordings only (a last `note`, `NO_END_MARK`) and in compressed files.
    """
    return Capture(path)


def protocol_of(record: Captured) -> Wire | None:
    """The protocol that `record` speaks, where it shows.  `Wire.refusal` says why we do not."""
    if record.kind == "note":
        return None
    return wire_of(
        b"" if record.kind in {"http", "connect"} and record.url else record.raw, record.url
    )


def protocols_in(path: Path | str, records_max: int = 2000) -> frozenset[Wire]:
    """The protocols that show in the first `records_max` records; raises as `open_capture`.

    >>> protocols_in("nowhere")
    Traceback (most recent call last):
    ...
    hean_router.replay.capture.CaptureError: nowhere: there is no such file
    """
    found: set[Wire] = set()
    decided: set[str] = set()  # a connection speaks one protocol
    with open_capture(path) as capture:
        for record in capture:
            if record.conn not in decided and (wire := protocol_of(record)):
                decided.add(record.conn)
                found.add(wire)
            if capture.count >= records_max:
                break
    return frozenset(found)


def part_of_record(record: Captured) -> str:
    """Which part of the venue: `spot`, `linear`, `inverse`, `option`, or empty: see `part_of`."""
    return part_of(record.raw, record.url, record.conn)


_INSTRUMENTS = ("/exchangeinfo", "/instruments-info", "/public/instruments", "/assetpairs",
                "/v3/instruments")  # fmt: skip

# What only an answer that lists instruments says near its beginning: per venue, one sign.
_LISTED = (b'{"timezone":', b'"lotSizeFilter":', b'"baseCcy":', b'"wsname":')


def topic_of(record: Captured) -> Literal["instruments", "depth", ""]:
    """What a REST answer (or Kraken's `instrument` channel) is about, as far as a book needs it.

    >>> topic_of(Captured(0, "http", "rest", b'{"lastUpdateId":1,"bids":[],"asks":[]}'))
    'depth'
    """
    if record.kind == "recv":
        head = record.raw[:200].replace(b" ", b"").replace(b"\n", b"")
        return "instruments" if b'"channel":"instrument"' in head and record.raw[:1] == b"{" else ""
    if record.kind != "http":
        return ""
    path = urlsplit(record.url).path.lower()
    if path.endswith(_INSTRUMENTS):
        return "instruments"
    if path.endswith(("/depth", "/orderbook", "/books")) or record.raw.startswith(REST_STARTS[0]):
        return "depth"
    if path:
        return ""
    head = record.raw[:4000].replace(b" ", b"").replace(b"\n", b"")
    return "instruments" if any(sign in head for sign in _LISTED) else ""
