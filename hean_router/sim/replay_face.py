"""`--replay`: a capture played as its venue's stream.

The venue's own simulator face answers for the connection (acks, errors, pings, heartbeats, limits),
over an exchange that lists what the capture holds and never trades; market frames and REST answers
come from the capture, byte for byte.  What a client subscribes selects what it hears:

* each subscription plays its topic from the beginning, at the recorded distances (`speed` divides
  them), from the moment it is made;
* a topic the capture does not hold is acknowledged, or refused, as the venue would, and is silent.
  On Binance a stream's speed does not count (what was recorded at 0 ms answers who asks for
  100 ms); elsewhere depth is part of the topic (Kraken's is read off the recorded snapshot);
* REST questions answered in the capture are answered with that text, whatever `limit` is asked;
* when a connection has heard all it asked for, it is torn down a second later, so that the client
  comes back and hears the next take, or the same one again: `loops` counts how often.  A take is
  what lies between two connects of the capture.  With `loop=False` it stays open and silent.

A capture without times plays a frame every 10 ms.  Captures whose loops are marked (the mixed
replay) are played from their first loop.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any, Protocol, TypeAlias
from urllib.parse import parse_qsl, urlsplit

import orjson

from hean_router.sim import faces
from hean_router.sim.contract import (
    MS,
    SECOND,
    Conn,
    Face,
    FrameKind,
    Options,
    Output,
    Outputs,
    Request,
    Reset,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.exchange import Exchange, Listing, Step
from hean_router.sim.faces.binance import BinanceFace
from hean_router.sim.pacing import Timers
from hean_router.sim.replay_dialects import DIALECTS, Filed, Key, digits, kraken_depth, levels

_PACE_NS = 10 * MS
_PAUSE_NS = SECOND  # between the last frame and the tear-down
_VOLATILE = frozenset({"limit", "sz", "count", "timestamp", "cursor", "status"})
_RULES_FROM = 200  # frames of a symbol whose digits are looked at
_KRAKEN_DEPTH = 10  # if none is asked for


class Record(Protocol):
    """What is read of a capture's record; `kind` is recv, http, connect, or of no interest."""

    @property
    def at_ns(self) -> int:
        """The recorder's clock; 0: it had none."""

    @property
    def kind(self) -> str:
        """`recv`, `http`, `connect`; others are skipped."""

    @property
    def conn(self) -> str:
        """Which connection of the capture."""

    @property
    def raw(self) -> bytes:
        """The frame or body, as it was on the wire."""

    @property
    def url(self) -> str:
        """Address of the connection or question; may be empty."""

    @property
    def venue(self) -> str:
        """The venue's id; empty where the capture does not say."""

    @property
    def loop(self) -> int:
        """From 0, where a capture repeats itself."""

    @property
    def binary(self) -> bool:
        """Whether it was a binary frame."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """A recorded frame and how long after its connection's first one it came."""

    after_ns: int
    data: str | bytes
    kind: FrameKind


_Take: TypeAlias = list[_Frame]


@dataclass(frozen=True, slots=True)
class _Answer:
    """A recorded REST answer."""

    path: str
    params: Mapping[str, str]
    body: bytes


@dataclass
class _Life:
    """One connection of the capture, while it is read."""

    take: int = 0
    began_ns: int | None = None
    last_ns: int = 0
    heard: bool = False


@dataclass
class Recording:
    """A capture, filed: frames by topic and take, REST answers, instruments with their digits."""

    frames: dict[Key, dict[int, _Take]] = field(default_factory=dict)
    answers: list[_Answer] = field(default_factory=list)
    rules: dict[Key, tuple[int, int]] = field(default_factory=dict)  # (part, symbol) -> decimals
    takes: int = 1
    unanswerable: int = 0  # REST answers without an address

    @property
    def topics(self) -> list[str]:
        """What can be heard, for people: `spot btcusdt@depth`."""
        return [" ".join(part for part in key if part) for key in self.frames]


def read(venue: str, records: Iterable[Record]) -> Recording:
    """File a capture.  ValueError: no such venue, or nothing of it in the capture."""
    if venue not in DIALECTS:
        raise ValueError(f"no replay for {venue!r}; there is for: {', '.join(DIALECTS)}")
    reader = _Reader(venue)
    for record in records:
        if record.venue in ("", venue) and record.loop == 0:
            reader.take(record)
    return reader.finish()


class _Reader:
    """Files records one by one."""

    def __init__(self, venue: str) -> None:
        self.venue = venue
        self.recording = Recording()
        self._dialect = DIALECTS[venue]
        self._lives: dict[str, _Life] = {}
        self._depths: dict[str, int] = {}  # Kraken: symbol -> depth
        self._symbols: dict[str, dict[Key, None]] = {}  # conn -> what its books are of
        self._nameless: list[tuple[str, bytes]] = []  # REST answers without an address
        self._looked: dict[Key, int] = {}

    def take(self, record: Record) -> None:
        life = self._lives.setdefault(record.conn, _Life())
        if record.kind == "connect":
            if life.heard:
                self._lives[record.conn] = _Life(take=life.take + 1)
                self.recording.takes = max(self.recording.takes, life.take + 2)
        elif record.kind == "http":
            self._answer(record)
        elif record.kind == "recv":
            self._frame(record, life)

    def finish(self) -> Recording:
        if not self.recording.frames and not self.recording.answers:
            raise ValueError(f"nothing of {self.venue} in this capture")
        for conn, body in self._nameless:
            self._name(conn, body)
        return self.recording

    def _frame(self, record: Record, life: _Life) -> None:
        try:
            frame = orjson.loads(record.raw)
        except orjson.JSONDecodeError:
            return  # bare words like `pong`, or damage
        filed = self._dialect.file(frame, record.url or record.conn) if _is_object(frame) else None
        if filed is None:
            return  # acks and the like are the face's business
        key = self._key(filed, frame)
        life.heard = True
        if record.at_ns:
            if life.began_ns is None:
                life.began_ns = record.at_ns
            after_ns = max(life.last_ns, record.at_ns - life.began_ns)
        else:
            after_ns = life.last_ns + _PACE_NS
        life.last_ns = after_ns
        data: str | bytes = record.raw if record.binary else record.raw.decode()
        take = self.recording.frames.setdefault(key, {}).setdefault(life.take, [])
        take.append(_Frame(after_ns, data, filed.kind))
        self._learn(filed, key, record)

    def _key(self, filed: Filed, frame: Mapping[str, Any]) -> Key:
        part, topic = filed.key
        if self.venue != "kraken" or not topic.startswith("book:"):
            return filed.key
        if filed.kind is FrameKind.SNAPSHOT:
            self._depths[filed.symbol] = kraken_depth(frame)
        return part, f"{topic}:{self._depths.get(filed.symbol, _KRAKEN_DEPTH)}"

    def _learn(self, filed: Filed, key: Key, record: Record) -> None:
        """The finest digits seen of a symbol's prices and quantities."""
        if not filed.symbol:
            return
        name = key[0], filed.symbol
        if filed.kind is not FrameKind.DATA:
            self._symbols.setdefault(record.conn, {})[name] = None
        self._looked[name] = self._looked.get(name, 0) + 1
        if self._looked[name] > _RULES_FROM and filed.kind is not FrameKind.SNAPSHOT:
            return
        px_decimals, qty_decimals = self.recording.rules.get(name, (0, 0))
        for px, qty in levels(digits(record.raw.decode())):
            px_decimals = max(px_decimals, len(px.partition(".")[2]))
            qty_decimals = max(qty_decimals, len(qty.partition(".")[2]))
        self.recording.rules[name] = px_decimals, qty_decimals

    def _answer(self, record: Record) -> None:
        url = urlsplit(record.url)
        if url.scheme in ("http", "https"):
            params = {name: value for name, value in parse_qsl(url.query) if name not in _VOLATILE}
            self.recording.answers.append(_Answer(url.path, params, record.raw))
        else:
            self._nameless.append((record.conn, record.raw))

    def _name(self, conn: str, body: bytes) -> None:
        """Which question a bare answer belongs to: only Binance's books can be told."""
        if self.venue != "binance" or not body.startswith(b'{"lastUpdateId"'):
            self.recording.unanswerable += 1
            return
        part = "linear" if {"E", "T"} & orjson.loads(body).keys() else "spot"
        known = self._symbols.get(conn) or {
            name: None for names in self._symbols.values() for name in names
        }
        symbols = [symbol for where, symbol in known if where == part]
        if len(symbols) != 1:
            self.recording.unanswerable += 1
            return
        path = "/api/v3/depth" if part == "spot" else "/fapi/v1/depth"
        self.recording.answers.append(_Answer(path, {"symbol": symbols[0]}, body))


def _is_object(frame: Any) -> bool:
    return isinstance(frame, dict)


def _listings(venue: str, recording: Recording) -> list[Listing]:
    """What the capture holds as instruments; minimums of one lot, no fees: nobody trades there."""
    found: dict[str, Listing] = {}
    for (part, symbol), (px_decimals, qty_decimals) in recording.rules.items():
        pair = DIALECTS[venue].pair(symbol, part)
        if pair is None:
            continue
        lot = Decimal(1).scaleb(-qty_decimals)
        listing = Listing(
            pair.base,
            pair.quote,
            tick=Decimal(1).scaleb(-px_decimals),
            lot=lot,
            min_qty=lot,
            max_qty=lot * 10**12,
            kind=pair.kind,
            taker_fee_e8=0,
            maker_fee_e8=0,
        )
        found.setdefault(listing.symbol, listing)
    return list(found.values())


@dataclass
class _Cursor:
    """Where a subscription is in its topic."""

    take: _Take
    began_ns: int
    at: int = 0


@dataclass
class _Client:
    """A connection and what it hears."""

    part: str
    cursors: dict[str, _Cursor | None] = field(default_factory=dict)  # None: not recorded
    depths: dict[str, int] = field(default_factory=dict)  # Kraken: topic -> depth asked for


class ReplayFace:
    """A capture behind its venue's face."""

    def __init__(
        self, face: Face, recording: Recording, *, speed: Fraction = Fraction(1), loop: bool = True
    ) -> None:
        if speed <= 0:
            raise ValueError(f"a replay's speed must be above 0, not {speed}")
        self.inner = face
        self.venue = face.venue
        self.recording = recording
        self.loops = 0
        self._dialect = DIALECTS[face.venue]
        self._speed = speed
        self._loop = loop
        self._take = 0
        self._clients: dict[Conn, _Client] = {}
        self._timers: Timers[tuple[Conn, str]] = Timers()

    # Connections

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        return self.inner.hosts(http, ws)

    def accept(self, request: Request, now_ns: int) -> Response | None:
        return self.inner.accept(request, now_ns)

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        self._clients[conn] = _Client(self._dialect.part(request.path))
        return self._after(conn, self.inner.opened(conn, request, now_ns), now_ns)

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is not None and self.venue == "kraken":
            client.depths |= _depths_asked(data)
        return self._after(conn, self.inner.received(conn, data, now_ns), now_ns)

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        return self._after(conn, self.inner.pinged(conn, data, now_ns), now_ns)

    def ponged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        return self._after(conn, self.inner.ponged(conn, data, now_ns), now_ns)

    def closed(self, conn: Conn, now_ns: int) -> None:
        client = self._clients.pop(conn, None)
        for topic in client.cursors if client else ():
            self._timers.drop((conn, topic))
        self._timers.drop((conn, ""))
        self.inner.closed(conn, now_ns)

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        return self.inner.overflowed(conn, now_ns)

    def market(self, step: Step, now_ns: int) -> Outputs:
        return self._strained(self.inner.market(step, now_ns))

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        outputs = self.inner.trouble(trouble, now_ns)
        return None if outputs is None else self._strained(outputs)

    def topics(self, conn: Conn) -> Sequence[str]:
        return self.inner.topics(conn)

    # REST

    def request(self, request: Request, now_ns: int) -> Response:
        """A recorded answer to this question, the take's own if there are several, or the face's.

        The face is asked in any case: it counts weights and knows when to refuse.
        """
        response = self.inner.request(request, now_ns)
        params = {name: value for name, value in request.params.items() if name not in _VOLATILE}
        found = [
            answer
            for answer in self.recording.answers
            if answer.path == request.path and answer.params == params
        ]
        limited = response.status in (403, 418, 429)
        if not found or limited or request.method != "GET":
            return response
        body = found[min(self._take, len(found) - 1)].body
        return Response(200, body, {**response.headers, "Content-Type": "application/json"})

    # Time

    @property
    def wake_at_ns(self) -> int | None:
        times = (self.inner.wake_at_ns, self._timers.wake_at_ns)
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def due(self, now_ns: int) -> Outputs:
        outputs: list[Output] = []
        while timer := self._timers.pop(now_ns):
            when_ns, (conn, topic) = timer
            if topic:
                outputs += self._play(conn, topic, when_ns)
            else:
                self._take = (self._take + 1) % self.recording.takes
                self.loops += 1
                self.closed(conn, when_ns)
                outputs.append(Reset(conn))
        wake_ns = self.inner.wake_at_ns
        if wake_ns is not None and wake_ns <= now_ns:
            outputs += self._strained(self.inner.due(now_ns))
        return outputs

    # Playing

    def _after(self, conn: Conn, outputs: Outputs, now_ns: int) -> Outputs:
        """The face's outputs without its market data, and the subscriptions as they now are."""
        strained = self._strained(outputs)
        client = self._clients.get(conn)
        if client is None:
            return strained
        topics = self.inner.topics(conn)
        for topic in [topic for topic in client.cursors if topic not in topics]:
            del client.cursors[topic]
            self._timers.drop((conn, topic))
        for topic in topics:
            if topic not in client.cursors:
                client.cursors[topic] = self._cursor(client, topic, now_ns)
                self._plan(conn, topic, client.cursors[topic])
                self._timers.drop((conn, ""))
        return strained

    def _cursor(self, client: _Client, topic: str, now_ns: int) -> _Cursor | None:
        takes = self.recording.frames.get(self._key(client, topic))
        if takes is None:
            return None
        numbers = sorted(takes)
        return _Cursor(takes[numbers[min(self._take, len(numbers) - 1)]], now_ns)

    def _key(self, client: _Client, topic: str) -> Key:
        depth = client.depths.get(topic, _KRAKEN_DEPTH)
        return self._dialect.wanted(client.part, topic, depth)

    def _plan(self, conn: Conn, topic: str, cursor: _Cursor | None) -> None:
        if cursor is not None and cursor.at < len(cursor.take):
            after_ns = int(cursor.take[cursor.at].after_ns / self._speed)
            self._timers.set((conn, topic), cursor.began_ns + after_ns)

    def _play(self, conn: Conn, topic: str, now_ns: int) -> list[Output]:
        client = self._clients[conn]
        cursor = client.cursors[topic]
        assert cursor is not None, "only what was recorded is planned"
        frame = cursor.take[cursor.at]
        cursor.at += 1
        self._plan(conn, topic, cursor)
        if self._loop and all(
            other is None or other.at == len(other.take) for other in client.cursors.values()
        ):
            self._timers.set((conn, ""), now_ns + _PAUSE_NS)
        return [Send(conn, self._worded(conn, topic, frame.data), topic, frame.kind)]

    def _worded(self, conn: Conn, topic: str, data: str | bytes) -> str | bytes:
        """Binance's frames bare or wrapped, as the connection wants them; others as they are."""
        if not isinstance(self.inner, BinanceFace) or not isinstance(data, str):
            return data
        _, mark, body = data.partition(',"data":') if data.startswith('{"stream"') else ("", "", "")
        bare = body[:-1] if mark else data
        return f'{{"stream":"{topic}","data":{bare}}}' if self.inner.wraps(conn) else bare

    def _strained(self, outputs: Iterable[Output]) -> list[Output]:
        """Without what the venue's empty simulated market says."""
        return [output for output in outputs if not self._simulated(output)]

    def _simulated(self, output: Output) -> bool:
        client = self._clients.get(output.conn)
        if client is None or not isinstance(output, Send) or not output.topic:
            return False
        if self._key(client, output.topic) in self.recording.frames:
            return True
        return output.kind is not FrameKind.DATA and output.topic != "instrument"


def _depths_asked(data: str | bytes) -> dict[str, int]:
    """Kraken: the depth of each book a message asks for."""
    try:
        params = json.loads(data).get("params", {})
        if params.get("channel") != "book":
            return {}
        depth = int(params.get("depth", _KRAKEN_DEPTH))
        return {f"book:{symbol}": depth for symbol in params.get("symbol", ())}
    except (ValueError, AttributeError, TypeError):
        return {}  # the face answers what is wrong with it


def replay(
    venue: str,
    records: Iterable[Record],
    rng: Random,
    *,
    speed: Fraction = Fraction(1),
    loop: bool = True,
    options: Options | None = None,
) -> ReplayFace:
    """A face that plays a capture.

    ValueError: no such venue, nothing of it in the capture, or a speed not above 0.
    """
    recording = read(venue, records)
    exchange = Exchange(venue, _listings(venue, recording))
    face = faces.load(venue).face(exchange, rng, options or Options())
    return ReplayFace(face, recording, speed=speed, loop=loop)


__all__ = ["Record", "Recording", "ReplayFace", "read", "replay"]
