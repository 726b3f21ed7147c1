r"""Our own recording: what a connection heard and said, written so that it reads back bit for bit.

One JSON object a line (NDJSON), plain or gzip (a name ending in `.gz`):

    {"format":"hean-capture","version":1,"part":1,"venue":"okx","env":"live","started_ns":…,"versions":{…}}
    {"kind":"connect","at_ns":…,"conn":"okx.1","url":"wss://…"}
    {"kind":"recv","at_ns":…,"conn":"okx.1","text":"{\"arg\":…}"}
    {"kind":"recv","at_ns":…,"conn":"okx.1","base64":"/9j/…"}
    {"kind":"end","at_ns":…,"records":2}

`text` is the frame as an escaped JSON string, `base64` one that is no valid UTF-8; `binary` marks
a frame that came as binary; `url`, `status` and `loop` stand where they say something.

What is never changed: received frames.  What is redacted: sent frames, URLs, and session keys in
REST answers (`redact.py`).

When it is on disk: every line goes to the operating system in one piece and at once, gzip in a
flushed block (7.5 times smaller than plain; flushing rarely makes it 9.6), so a killed process
loses nothing and tears at most its last line; `flush_ns` trades that for speed.  Only `close` and a
rotation wait for the disk itself (fsync), so a power cut may cost what the kernel still held.
"""

import io
import os
import re
import zlib
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ParamSpec, Protocol, Self

import orjson

from hean_router.replay.capture import CaptureError
from hean_router.replay.containers import OWN_FORMAT, OWN_VERSION, Captured, Kind
from hean_router.replay.redact import SECRET_KEYS, redact, redact_answer, redact_url

P = ParamSpec("P")


class Recorder:
    """Writes one recording, line by line.  Reads no clock: every call is told the time, in ns.

    `out` is a path, which must not exist yet (a recording is never overwritten), or an open binary
    file, which is written plain and left open.  `rotate_bytes`, with a path only, begins a new file
    before the first line after that many bytes: `okx.ndjson.gz`, `okx.2.ndjson.gz`, …; each has its
    own header and end mark.  A line is never split, and `cat` of all parts is a capture again.

    Raises `CaptureError` where it cannot write (the disk is full, no right to); the recorder is
    then closed, and what was written before is a readable capture.  `ValueError` for a use after
    `close` and for a rotation without a path.
    """

    def __init__(
        self,
        out: Path | str | BinaryIO,
        *,
        now_ns: int,
        venue: str = "",
        env: str = "",
        versions: Mapping[str, str] | None = None,
        rotate_bytes: int = 0,
        flush_ns: int = 0,
        secrets: Collection[str] = SECRET_KEYS,
    ) -> None:
        self.part = 1
        self.records = 0  # of all parts
        self._head = {
            "format": OWN_FORMAT, "version": OWN_VERSION, "part": 0, "venue": venue, "env": env,
            "started_ns": now_ns, "versions": dict(versions or {}),
        }  # fmt: skip
        self._venue = venue
        self._secrets = frozenset(secrets)
        self._rotate_bytes = rotate_bytes
        self._flush_ns = flush_ns
        self._flushed_ns = self._last_ns = now_ns
        self._path = Path(out) if isinstance(out, str | Path) else None
        self._sink: _Sink | None = None
        if self._path is None:
            if rotate_bytes:
                raise ValueError("only a recording with a path can rotate")
            assert not isinstance(out, str | Path)
            self._begin_part(_Given(out), now_ns)
        else:
            self._begin_part(_created(self._path), now_ns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def path(self) -> Path | None:
        """The file being written, if it is ours."""
        return self._path and _part_path(self._path, self.part)

    def received(
        self, now_ns: int, conn: str, frame: bytes | str, *, venue: str | None = None
    ) -> None:
        """A frame as it came: `str` for text, `bytes` for binary."""
        raw, binary = _as_bytes(frame)
        self._line("recv", now_ns, conn, raw, venue, binary=binary)

    def sent(
        self, now_ns: int, conn: str, frame: bytes | str, *, url: str = "", venue: str | None = None
    ) -> None:
        """A frame, or the body of a request to `url`, that we sent; without its secrets."""
        raw, binary = _as_bytes(frame)
        self._line("sent", now_ns, conn, redact(raw, self._secrets), venue, url=url, binary=binary)

    def answered(
        self,
        now_ns: int,
        conn: str,
        url: str,
        status: int,
        body: bytes,
        *,
        venue: str | None = None,
    ) -> None:
        """A REST answer to what was asked of `url`, without session keys."""
        self._line("http", now_ns, conn, redact_answer(body), venue, url=url, status=status)

    def connected(self, now_ns: int, conn: str, url: str, *, venue: str | None = None) -> None:
        """`conn` begins anew: whatever it said before no longer counts."""
        self._line("connect", now_ns, conn, b"", venue, url=url)

    def noted(self, now_ns: int, text: str, *, conn: str = "", venue: str | None = None) -> None:
        """Our own words: why a connection was cut, what a fault did."""
        self._line("note", now_ns, conn, text.encode("utf-8", "replace"), venue)

    def write(self, record: Captured) -> None:
        """`record` of another capture, redacted as if it happened here."""
        raw = record.raw
        if record.kind == "sent":
            raw = redact(raw, self._secrets)
        elif record.kind == "http":
            raw = redact_answer(raw)
        self._line(
            record.kind, record.at_ns, record.conn, raw, record.venue, url=record.url,
            status=record.status, loop=record.loop, binary=record.binary,
        )  # fmt: skip

    def flush(self) -> None:
        """Hand to the operating system all that `flush_ns` held back."""
        sink = self._open_sink()
        self._guarded(sink, sink.flush)

    def close(self) -> None:
        """Write the end mark and wait for the disk.  Twice is fine."""
        if self._sink is not None:
            self._end_part()

    def _line(
        self, kind: Kind, at_ns: int, conn: str, raw: bytes, venue: str | None, *,
        url: str = "", status: int = 0, loop: int = 0, binary: bool = False,
    ) -> None:  # fmt: skip
        sink = self._open_sink()
        entry: dict[str, Any] = {"kind": kind, "at_ns": at_ns}
        if conn:
            entry["conn"] = conn
        if venue is not None and venue != self._venue:
            entry["venue"] = venue
        if url:
            entry["url"] = redact_url(url, self._secrets)
        facts = (("status", status), ("loop", loop), ("binary", binary))
        entry |= {name: value for name, value in facts if value}
        try:
            entry["text"] = raw.decode()
        except UnicodeDecodeError:
            entry["base64"] = b64encode(raw).decode()
        line = _as_line(entry)
        if self._rotate_bytes and self._part_records and sink.size >= self._rotate_bytes:
            self._end_part()
            sink = self._begin_next_part(at_ns)
        self._guarded(sink, sink.write, line)
        self.records += 1
        self._part_records += 1
        self._last_ns = at_ns
        # A clock that was set back flushes too: waiting for it to come round again would be long.
        if not 0 <= at_ns - self._flushed_ns < self._flush_ns:
            self._flushed_ns = at_ns
            self._guarded(sink, sink.flush)

    def _open_sink(self) -> "_Sink":
        if self._sink is None:
            raise ValueError("the recording is closed")
        return self._sink

    def _begin_next_part(self, now_ns: int) -> "_Sink":
        assert self._path is not None
        self.part += 1
        return self._begin_part(_created(_part_path(self._path, self.part)), now_ns)

    def _begin_part(self, sink: "_Sink", now_ns: int) -> "_Sink":
        self._sink = sink
        self._part_records = 0
        self._head |= {"part": self.part, "started_ns": now_ns}
        self._guarded(sink, sink.write, _as_line(self._head))
        self._guarded(sink, sink.flush)
        return sink

    def _end_part(self) -> None:
        sink = self._open_sink()
        mark = {"kind": "end", "at_ns": self._last_ns, "records": self._part_records}
        self._guarded(sink, sink.write, _as_line(mark))
        self._guarded(sink, sink.close)
        self._sink = None

    def _guarded(
        self, sink: "_Sink", step: "Callable[P, None]", *args: P.args, **kw: P.kwargs
    ) -> None:
        """`step` of `sink`; where the system refuses it, the recording ends here."""
        try:
            step(*args, **kw)
        except OSError as why:
            self._sink = None
            sink.abandon()
            raise CaptureError(
                self.path or "the recording", f"cannot be written ({why.strerror})",
                "make room on the disk; what was written before is a readable capture",
                records=self.records,
            ) from None  # fmt: skip


def _created(path: Path) -> "_Sink":
    try:
        return _Gzipped(path) if path.suffix == ".gz" else _Plain(path)
    except FileExistsError:
        raise CaptureError(
            path, "it exists already, and a recording never overwrites", "choose another name"
        ) from None
    except OSError as why:
        raise CaptureError(
            path, f"cannot be created ({why.strerror})", "check the folder and its rights"
        ) from None


def _as_line(entry: Mapping[str, Any]) -> bytes:
    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _as_bytes(frame: bytes | str) -> tuple[bytes, bool]:
    """The bytes of a frame, and whether it was a binary one."""
    return (frame.encode(), False) if isinstance(frame, str) else (bytes(frame), True)


_SUFFIXES = re.compile(r"(?:\.(?:ndjson|jsonl|json|gz))+$")


def _part_path(path: Path, part: int) -> Path:
    """The name of a part: the first has the name that was asked for.

    >>> _part_path(Path("a/okx.v5.ndjson.gz"), 2).name
    'okx.v5.2.ndjson.gz'
    """
    if part <= 1:
        return path
    found = _SUFFIXES.search(path.name)
    end = found[0] if found else ""
    return path.with_name(f"{path.name.removesuffix(end)}.{part}{end}")


class _Sink(Protocol):
    """Where lines go.  `size` is what has been handed to the system, in bytes."""

    size: int

    def write(self, line: bytes) -> None: ...
    def flush(self) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class _Plain:
    """A new file, written through: no buffer of ours can be lost with the process."""

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115  (closed by `close`)

    def write(self, line: bytes) -> None:
        _write_whole(self._file, line)
        self.size += len(line)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        self._file.close()


class _Gzipped(_Plain):
    """The same through gzip: a flush ends a block, so that all before it can be read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._deflater = zlib.compressobj(6, zlib.DEFLATED, 31)

    def write(self, line: bytes) -> None:
        if data := self._deflater.compress(line):
            super().write(data)

    def flush(self) -> None:
        super().write(self._deflater.flush(zlib.Z_SYNC_FLUSH))

    def close(self) -> None:
        super().write(self._deflater.flush())
        super().close()


class _Given:
    """Somebody else's file: written and flushed, never closed."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = 0
        self._file = file

    def write(self, line: bytes) -> None:
        _write_whole(self._file, line)
        self.size += len(line)

    def flush(self) -> None:
        self._file.flush()

    close = abandon = flush


def _write_whole(file: BinaryIO | io.RawIOBase, line: bytes) -> None:
    """The system may take less than the whole; the next piece follows at once."""
    rest = memoryview(line)
    while rest:
        taken = file.write(rest)
        assert taken is not None, "a recording goes to a file that blocks"
        rest = rest[taken:]
