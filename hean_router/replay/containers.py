"""The containers captures come in: telling them apart by content, and a reader for each.

* our own recording (`record.py`): NDJSON with a header line and an end mark;
* `<receive time> <frame>`: hftbacktest's collector, seconds to nanoseconds told by their digits; a
  bare REST depth answer stands among the frames;
* cryptofeed's JSON lines, and its older text (`<seconds>: <frame>`, `<url> <-> <seconds>`,
  `<url> <- <seconds>: <what we sent>`);
* one bare frame a line, without times;
* `{"rx_ns": …, "frame": <frame>}` lines, whose frame is JSON inside JSON and is cut out as text;
* the mixed replay: `{"t", "venue", "conn", "kind", "src_t", "loop", "raw"}`;
* one frame or REST answer as a whole file, over as many lines as it likes.

A container's own JSON is decoded; a frame's JSON is cut out as text and never written anew.
A reader raises `Damage`, or ValueError, ArithmeticError or msgspec's errors, at a line that makes
no sense; `capture.py` says to whom.
"""

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from enum import StrEnum
from typing import Literal, TypeAlias

import msgspec

from hean_router.replay.stream import LINE_MAX, Damage, Lines
from hean_router.replay.wire import REST_STARTS, wire_of

Kind: TypeAlias = Literal["recv", "sent", "http", "connect", "note"]

OWN_FORMAT = "hean-capture"
OWN_VERSION = 1

_TIME_MAX_S = 10**11  # the year 5138; a larger number of seconds is no time
SHOWN = 60  # bytes of a bad line that an error shows


class Captured(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened on a connection.

    `at_ns` is the recorder's clock, in ns; its origin is the container's (most: 1970; the mixed
    replay: its start; `rx_ns`: the machine's), and it is 0 where the container has no times.
    `raw` is the frame or the body as it was on the wire.  `url` is the address of a `connect` or
    `http`, and for frames that of their connection, where the container tells.

    Kinds: `recv` and `sent` frames; `http`, an answer of the venue's (`status` 0: not recorded);
    `connect`, a connection that begins, so that all state of `conn` is void; `note`, the
    recorder's own words.  A connection's first frame may come without a `connect`: not every
    container has it.
    """

    at_ns: int
    kind: Kind
    conn: str
    raw: bytes
    url: str = ""
    venue: str = ""
    loop: int = 0
    status: int = 0
    binary: bool = False


class Format(StrEnum):
    """The containers, by the name an error or a report uses."""

    OWN = "a HEAN recording"
    STAMPED = "lines of receive time and frame"
    CRYPTOFEED = "cryptofeed JSON lines"
    CRYPTOFEED_TEXT = "cryptofeed text"
    FRAMES = "one bare frame a line"
    RX = "rx_ns lines"
    MIXED = "a mixed replay"
    DOCUMENT = "one JSON document"


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of our own recording.  `part` counts the files of a rotated one, from 1."""

    format: str
    version: int
    venue: str = ""
    env: str = ""
    started_ns: int = 0
    part: int = 1
    versions: dict[str, str] = {}


# --- telling the container -----------------------------------------------------------------------

_STAMP = re.compile(rb"\d{9,19} [\[{p]")
_TEXT_FRAME = re.compile(rb"(\d{9,11}(?:\.\d{1,9})?): ")
_TEXT_MARK = re.compile(rb"(\S+://\S+) (<->|<-|->) (\d{9,11}(?:\.\d{1,9})?)(?:: )?")
_CRYPTOFEED_KINDS = frozenset({"header", "http", "connect", "send", "recv"})


class _Shape(msgspec.Struct):
    """The fields by which a container's JSON lines are told apart."""

    t: str | int | float | msgspec.UnsetType = msgspec.UNSET
    format: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    raw: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    rx_ns: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    captured_at: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    at_ns: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    kind: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_shape = msgspec.json.Decoder(_Shape)
_anything = msgspec.json.Decoder(msgspec.Raw)


def format_of(first: bytes) -> Format:
    """The container whose first line this is.  Raises `Damage` for none."""
    if _STAMP.match(first):
        return Format.STAMPED
    if _TEXT_FRAME.match(first) or _TEXT_MARK.match(first):
        return Format.CRYPTOFEED_TEXT
    if first.lstrip()[:1] not in {b"{", b"["}:
        raise _no_capture(first)
    try:
        _anything.decode(first)
    except (msgspec.DecodeError, RecursionError):
        return Format.DOCUMENT  # a document over several lines, or half a line: its reader will see
    try:
        shape = _shape.decode(first)
    except msgspec.MsgspecError:  # a list, or fields of other kinds: some venue's frame
        shape = _Shape()
    if bytes(shape.format or b"").startswith(b'"' + OWN_FORMAT.encode()) or (
        shape.at_ns and shape.kind
    ):
        return Format.OWN
    if shape.t in _CRYPTOFEED_KINDS:
        return Format.CRYPTOFEED
    if isinstance(shape.t, int | float) and shape.raw:
        return Format.MIXED
    if shape.rx_ns or shape.captured_at:
        return Format.RX
    if wire_of(first) or first.startswith(REST_STARTS):
        return Format.FRAMES
    raise _no_capture(first)


def _no_capture(first: bytes) -> Damage:
    known = "; ".join(form.value for form in Format)
    return Damage(
        f"not a capture: its first line is none of: {known}: {first[:SHOWN]!r}",
        "give a file that `hean record` wrote, or one of these containers, plain, gzip or xz;"
        " where only the beginning was cut off, drop the broken first line",
    )


HEADED = frozenset({Format.OWN, Format.CRYPTOFEED, Format.RX})


def is_header(first: bytes) -> bool:
    """Whether the first line of a `HEADED` container speaks of the file, not of an event."""
    shape = _shape.decode(first)
    return bool(shape.t == "header" or shape.captured_at or (shape.format and not shape.kind))


# --- reading each --------------------------------------------------------------------------------


def _chain(first: bytes, lines: Lines) -> Iterator[bytes]:
    yield first
    yield from lines


def _checked(frame: bytes) -> bytes:
    """`frame`, if it is whole: in a container without quotes only the JSON itself can tell.

    Raises ValueError or msgspec's error otherwise.
    """
    if frame[:1] in {b"{", b"["}:
        _anything.decode(frame)
        if not frame.isascii():
            frame.decode()
    elif frame not in {b"ping", b"pong"}:  # the two words that venues say without quotes
        raise ValueError("no JSON object or list")
    return frame


def _ns(seconds: Decimal) -> int:
    """Seconds as ns, exactly; digits below are cut off.  Raises ValueError for what is no time."""
    if not (seconds.is_finite() and 0 <= seconds < _TIME_MAX_S):
        raise ValueError(f"{seconds} is no time in seconds")
    return int(seconds.scaleb(9))


def _stamp_ns(stamp: bytes) -> int:
    """A time since 1970 whose unit its size tells: s, ms, µs or ns.

    >>> _stamp_ns(b"1680652700423575"), _stamp_ns(b"1723161253937085768")
    (1680652700423575000, 1723161253937085768)
    """
    if not stamp.isdigit():
        raise ValueError("no receive time")
    time = int(stamp[:20])
    for limit, factor in ((10**11, 10**9), (10**14, 10**6), (10**17, 1000)):
        if time < limit:
            return time * factor
    return time


class _VenueOnce:
    """The venue of a capture that does not say it, from the first frame that shows it."""

    def __init__(self) -> None:
        self.venue = ""

    def see(self, raw: bytes, url: str = "") -> str:
        if not self.venue and (wire := wire_of(raw, url)):
            self.venue = wire.venue
        return self.venue


def _read_stamped(first: bytes, lines: Lines) -> Iterator[Captured]:
    see = _VenueOnce().see
    for line in _chain(first, lines):
        stamp, _, raw = line.partition(b" ")
        at_ns = _stamp_ns(stamp)
        _checked(raw)
        if raw.startswith(REST_STARTS[0]):
            yield Captured(at_ns, "http", "rest", raw, venue=see(raw))
        else:
            yield Captured(at_ns, "recv", "ws", raw, venue=see(raw))


def _read_frames(first: bytes, lines: Lines) -> Iterator[Captured]:
    see = _VenueOnce().see
    for raw in _chain(first, lines):
        _checked(raw)
        if raw.startswith(REST_STARTS):
            yield Captured(0, "http", "rest", raw, venue=see(raw))
        else:
            yield Captured(0, "recv", "ws", raw, venue=see(raw))


def _read_document(first: bytes, lines: Lines) -> Iterator[Captured]:
    place = lines.number, lines.offset
    raw = _whole(first, lines)
    try:
        _checked(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as why:
        if lines.damage or lines.number == place[0]:  # cut: the caller says so
            raise
        lines.number, lines.offset = place
        raise Damage(
            f"neither its first line nor the whole file is JSON ({why}): {first[:SHOWN]!r}",
            "give a capture whose first line is whole; copy it again if it was cut",
        ) from None
    answer = _is_answer(raw)
    wire = wire_of(raw)
    if wire is None and not answer:
        lines.number, lines.offset = place
        raise _no_capture(first)
    kind: Kind = "http" if answer else "recv"
    yield Captured(0, kind, "rest" if answer else "ws", raw, venue=wire.venue if wire else "")


def _whole(first: bytes, lines: Lines) -> bytes:
    """The whole file, to the byte but for its last newline."""
    parts = [lines.current]
    size = 0
    lines.verbatim = True
    for line in lines:
        parts.append(line)
        size += len(line) + 1
        if size > LINE_MAX:  # no document: a long capture whose first line is broken
            lines.number, lines.offset = 1, 0
            raise Damage(
                f"damaged first line: {first[:SHOWN]!r}", "copy the file again, or drop that line"
            )
    return b"\n".join(parts)


def _is_answer(raw: bytes) -> bool:
    """Whether a document is an answer to a REST question, not a frame."""
    if raw[:1] != b"{":
        return False
    keys = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).keys()
    named = not keys.isdisjoint({"code", "retCode", "lastUpdateId", "timezone"})
    return named or keys >= {"error", "result"}


class _Cryptofeed(msgspec.Struct):
    t: str
    conn: str = ""
    ts: Decimal = Decimal(0)
    data: str = ""
    url: str = ""
    addr: str = ""
    exchange: str = ""


_CRYPTOFEED_RECORD: dict[str, Kind] = {
    "recv": "recv", "send": "sent", "http": "http", "connect": "connect"
}  # fmt: skip


def _read_cryptofeed(first: bytes, lines: Lines) -> Iterator[Captured]:
    decode = msgspec.json.Decoder(_Cryptofeed).decode
    venue = ""
    address: dict[str, str] = {}
    for line in _chain(first, lines):
        entry = decode(line)
        kind = _CRYPTOFEED_RECORD.get(entry.t)
        if entry.t == "header":
            venue = _venue_of_exchange(entry.exchange)
            continue
        at_ns = _ns(entry.ts)
        if kind is None:  # a later cryptofeed may say more than we know
            yield Captured(at_ns, "note", entry.conn, line, venue=venue)
            continue
        if entry.addr:
            address[entry.conn] = entry.addr
        url = entry.url or address.get(entry.conn, "")
        yield Captured(at_ns, kind, entry.conn, entry.data.encode(), url, venue)


def _venue_of_exchange(name: str) -> str:
    venue = name.partition("_")[0].lower()  # BINANCE_FUTURES, KRAKEN_FUTURES
    return {"okex": "okx"}.get(venue, venue)


def _read_cryptofeed_text(first: bytes, lines: Lines) -> Iterator[Captured]:
    see = _VenueOnce().see
    url = ""
    marks: dict[bytes, Kind] = {b"<->": "connect", b"<-": "sent", b"->": "http"}
    for line in _chain(first, lines):
        if found := _TEXT_FRAME.match(line):
            raw = _checked(line[found.end() :])
            yield Captured(
                _ns(Decimal(found[1].decode())), "recv", url or "ws", raw, url, see(raw, url)
            )
        elif found := _TEXT_MARK.match(line):
            kind = marks[found[2]]
            raw = line[found.end() :]
            if raw or kind != "connect":
                _checked(raw)
            elif lines.torn:
                raise ValueError("half a time looks like a time")
            place = found[1].decode()
            if kind != "http":
                url = place
            at_ns = _ns(Decimal(found[3].decode()))
            yield Captured(at_ns, kind, place, raw, place, see(raw, place))
        else:
            raise ValueError("no time or connection mark at its beginning")


class _Rx(msgspec.Struct):
    rx_ns: int
    frame: msgspec.Raw
    dir: Literal["rx", "tx"] = "rx"


class _RxHeader(msgspec.Struct):
    url: str = ""
    venue: str = ""


def _read_rx(first: bytes, lines: Lines) -> Iterator[Captured]:
    decode = msgspec.json.Decoder(_Rx).decode
    begins: tuple[_RxHeader, bytes] | None = None
    url = venue = ""
    see = _VenueOnce().see
    for line in _chain(first, lines):
        if not line.isascii():
            line.decode()
        if _shape.decode(line).captured_at:
            head = msgspec.json.decode(line, type=_RxHeader)
            begins, url, venue = (head, line), head.url, head.venue
            continue
        entry = decode(line)
        if begins:  # its own time is another clock's: the connection begins when it is first used
            yield Captured(entry.rx_ns, "connect", "ws", begins[1], url, venue)
            begins = None
        raw = bytes(entry.frame)
        kind: Kind = "sent" if entry.dir == "tx" else "recv"
        yield Captured(entry.rx_ns, kind, "ws", raw, url, venue or see(raw, url))


class _Mixed(msgspec.Struct):
    t: Decimal
    venue: str
    conn: str
    kind: Literal["ws", "rest"]
    raw: str
    loop: int = 0


def _read_mixed(first: bytes, lines: Lines) -> Iterator[Captured]:
    decode = msgspec.json.Decoder(_Mixed).decode
    loops: dict[str, int] = {}
    for line in _chain(first, lines):
        entry = decode(line)
        at_ns, conn, loop = _ns(entry.t), entry.conn, entry.loop
        if loops.get(conn) != loop:  # the recording begins again: to a client, a reconnect
            loops[conn] = loop
            yield Captured(at_ns, "connect", conn, b"", "", entry.venue, loop)
        kind: Kind = "recv" if entry.kind == "ws" else "http"
        yield Captured(at_ns, kind, conn, entry.raw.encode(), "", entry.venue, loop)


class _Own(msgspec.Struct, kw_only=True):
    kind: Literal["recv", "sent", "http", "connect", "note", "end"]
    at_ns: int
    conn: str = ""
    text: str | None = None
    base64: bytes = b""
    venue: str | None = None
    url: str = ""
    loop: int = 0
    status: int = 0
    binary: bool = False
    records: int = 0


def read_header(line: bytes) -> Header:
    """The header of our own recording (`Capture.header`).  Raises `Damage` for another version."""
    header = msgspec.json.decode(line, type=Header)
    if header.format != OWN_FORMAT or header.version != OWN_VERSION:
        raise Damage(
            f"{header.format} version {header.version} is not read, only version {OWN_VERSION}",
            "read it with the HEAN Router that wrote it (see `versions` in its first line)",
        )
    return header


def _read_own(first: bytes, lines: Lines) -> Iterator[Captured]:
    decode = msgspec.json.Decoder(_Own).decode
    venue = ""
    count = at_ns = 0
    open_part = False  # between a header and its end mark
    for line in _chain(first, lines):
        if line.startswith(b'{"format":'):  # also in mid-file: parts put one behind the other
            venue, count, open_part = read_header(line).venue, 0, True
            continue
        entry = decode(line)
        at_ns = entry.at_ns
        if entry.kind == "end":
            if entry.records != count:
                raise Damage(
                    f"{entry.records} records were written, but {count} are here",
                    "copy the file again: lines are missing or were added",
                )
            open_part = False
            continue
        count += 1
        raw = entry.base64 if entry.text is None else entry.text.encode()
        yield Captured(
            at_ns, entry.kind, entry.conn, raw, entry.url,
            venue if entry.venue is None else entry.venue, entry.loop, entry.status, entry.binary,
        )  # fmt: skip
    if open_part:
        # Not an error: a recording that was killed is good up to here.  But somebody should know.
        yield Captured(at_ns, "note", "", NO_END_MARK, venue=venue)


NO_END_MARK = b"the recording has no end mark: it was killed, or cut between two lines"

READERS: dict[Format, Callable[[bytes, Lines], Iterator[Captured]]] = {
    Format.OWN: _read_own,
    Format.STAMPED: _read_stamped,
    Format.CRYPTOFEED: _read_cryptofeed,
    Format.CRYPTOFEED_TEXT: _read_cryptofeed_text,
    Format.FRAMES: _read_frames,
    Format.RX: _read_rx,
    Format.MIXED: _read_mixed,
    Format.DOCUMENT: _read_document,
}
