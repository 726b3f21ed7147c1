"""Bybit's connections: subscriptions, acknowledgements, pings, limits, notices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from re import compile as pattern
from typing import Any, TypeAlias

import orjson

from hean_router.sim.contract import (
    MINUTE,
    MS,
    SECOND,
    Close,
    Conn,
    FrameKind,
    Options,
    Output,
    Outputs,
    Pong,
    Request,
    Reset,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.exchange import Exchange, Step
from hean_router.sim.faces.bybit.books import Message
from hean_router.sim.faces.bybit.facts import (
    ARGS_TEXT_MAX,
    CONNECTIONS_MAX,
    CONNECTS_MAX,
    CONNECTS_NS,
    IDLE_NS,
    LINEAR,
    SPOT,
    STATUS_PATH,
    STATUS_TOPIC,
    UNHEARD_NS,
    UNHEARD_TICK_NS,
)
from hean_router.sim.faces.bybit.feed import Feed, Push, Topic
from hean_router.sim.faces.bybit.private import PATHS, Private
from hean_router.sim.faces.bybit.rest import Rest
from hean_router.sim.pacing import RollingWindow, Timers

_GOING_AWAY = 1001  # no source tells the code of an orderly end; clients must not care
_BASE32 = "0123456789abcdefghijklmnopqrstuv"
_BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
_ACTIVE = pattern(r"(\d{1,4})([sm])")
_MAINTENANCE_NS = 30 * MINUTE  # announced length; RESUME may come sooner or later

Timer: TypeAlias = tuple[str, Conn]


@dataclass
class _Client:
    """One WebSocket.  `feed` is None on the status socket."""

    id: str
    path: str
    peer: str
    feed: Feed | None
    opened_ns: int
    heard_ns: int
    topics: dict[str, Topic | None] = field(default_factory=dict)
    silence_ns: int = UNHEARD_NS

    @property
    def linear(self) -> bool:
        """Whether it speaks as linear sockets do: always a `req_id`, data before the ack."""
        return self.feed is not None and not self.feed.category.spot


class Refusal(Exception):
    """A client's message that is answered with `success:false`."""


class BybitFace:
    """Spot, linear and the status socket on one port: paths tell them apart.

    A request with one bad topic, or one already subscribed, subscribes nothing (observed in 2026).
    """

    venue = "bybit"

    def __init__(self, exchange: Exchange, rng: Random, options: Options) -> None:
        self.exchange = exchange
        self._rng = rng
        self._options = options
        self._feeds = {part.name: Feed(exchange, part, rng) for part in (SPOT, LINEAR)}
        self._places: dict[str, Feed | None] = {
            feed.category.path: feed for feed in self._feeds.values()
        }
        self._places |= dict.fromkeys((STATUS_PATH, *PATHS))
        self._rest = Rest(exchange, self._feeds, options)
        self.private = Private(exchange, self._feeds[SPOT.name], rng, options, self._push_step)
        self._clients: dict[Conn, _Client] = {}
        self._open: dict[tuple[str, str], int] = {}  # peer, path -> connections
        self._connects: dict[str, RollingWindow] = {}
        self._timers: Timers[Timer] = Timers()

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        """Bases without paths: one host carries REST, another all sockets, told apart by path."""
        return {"rest": http, "ws": ws}

    # REST

    def request(self, request: Request, now_ns: int) -> Response:
        if self._rest.banned(request.peer, now_ns):
            return Response(403, b"access too frequent", {"Content-Type": "text/plain"})
        if self.private.serves(request.path):
            return self.private.request(request, now_ns)
        return self._rest.request(request, now_ns)

    # Connections

    def accept(self, request: Request, now_ns: int) -> Response | None:
        if request.path not in self._places:
            return Response(404, b"", {})
        if self._rest.down and request.path != STATUS_PATH:
            return Response(503, b"", {})
        window = self._connects.get(request.peer)
        if window is None:
            limit = self._options.limit(CONNECTS_MAX)
            window = self._connects[request.peer] = RollingWindow(limit, CONNECTS_NS)
        most = self._options.limit(CONNECTIONS_MAX)
        full = most is not None and self._open.get((request.peer, request.path), 0) >= most
        if full or not window.take(now_ns):
            return Response(403, b"access too frequent", {"Content-Type": "text/plain"})
        return None

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        path = request.path
        feed = self._places[path]
        client = _Client(self._conn_id(), path, request.peer, feed, now_ns, now_ns)
        self._clients[conn] = client
        place = (client.peer, client.path)
        self._open[place] = self._open.get(place, 0) + 1
        idle_ns = IDLE_NS
        if path in PATHS:
            client.silence_ns = idle_ns = _max_active_ns(request)
            self.private.opened(conn, client.id, request)
        self._timers.set(("silence", conn), now_ns + idle_ns)
        if self._options.session_life_ns is not None:
            self._timers.set(("end", conn), now_ns + self._options.session_life_ns)
        return ()

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        client.heard_ns = now_ns
        if client.path in PATHS:
            outputs = self.private.flush(now_ns, all_pushes=True)
            return self._heard([*outputs, *self.private.received(conn, data, now_ns)], now_ns)
        op, req_id = "", ""
        try:
            message = _message(data)
            op, req_id = _text(message, "op"), _text(message, "req_id")
            word, told = self._obey(conn, client, op, message, now_ns)
        except Refusal as refusal:
            return [self._answer(conn, client, str(refusal), req_id, op, success=False)]
        ack = self._answer(conn, client, word, req_id, op)
        # Recorded: on linear what a topic says first comes before the acknowledgement.
        return [*told, ack] if client.linear else [ack, *told]

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        client.heard_ns = now_ns
        return [Pong(conn, data)]

    def ponged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        return ()

    def closed(self, conn: Conn, now_ns: int) -> None:
        client = self._clients.pop(conn, None)
        if client is None:
            return
        self._open[client.peer, client.path] -= 1
        self.private.closed(conn)
        for topic in client.topics.values():
            if topic is not None and client.feed is not None:
                client.feed.unsubscribe(conn, topic)
        for timer in ("silence", "end"):
            self._timers.drop((timer, conn))

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        self.closed(conn, now_ns)
        return [Reset(conn)]

    def topics(self, conn: Conn) -> Sequence[str]:
        client = self._clients.get(conn)
        return (*client.topics, *self.private.topics(conn)) if client else ()

    # Time

    def market(self, step: Step, now_ns: int) -> Outputs:
        outputs = self.private.flush(now_ns, all_pushes=True)
        outputs += [*self._push_step(step), *self.private.market(step, now_ns)]
        return self._heard(outputs, now_ns)

    def _push_step(self, step: Step) -> list[Output]:
        """What an engine step means for the public streams."""
        for feed in self._feeds.values():
            if step.symbol in feed.instruments.by_symbol:
                return self._send(feed.market(step))
        return []

    def _heard(self, outputs: list[Output], now_ns: int) -> list[Output]:
        """What is pushed keeps a private socket alive, as its client's pings do."""
        for output in outputs:
            client = self._clients.get(output.conn)
            private = isinstance(output, Send) and output.kind is FrameKind.PRIVATE
            if client is not None and private:
                client.heard_ns = now_ns
        return outputs

    @property
    def wake_at_ns(self) -> int | None:
        clocks: list[Timers[Any]] = [self._timers, *(feed.timers for feed in self._feeds.values())]
        times = (self.private.wake_at_ns, *(timers.wake_at_ns for timers in clocks))
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def due(self, now_ns: int) -> Outputs:
        outputs = self._heard(self.private.flush(now_ns), now_ns)
        for feed in self._feeds.values():
            while popped := feed.timers.pop(now_ns):
                when_ns, timer = popped
                outputs += self._send(feed.due(timer, when_ns))
        while ended := self._timers.pop(now_ns):
            when_ns, (what, conn) = ended
            outputs += self._end(conn) if what == "end" else self._watch(conn, when_ns)
        return outputs

    def _watch(self, conn: Conn, now_ns: int) -> Outputs:
        """Drop who subscribes to nothing, and who has not been heard of for long."""
        client = self._clients[conn]
        if client.topics or client.path in PATHS:
            dies_ns = client.heard_ns + client.silence_ns
            ticks = -(-(dies_ns - client.opened_ns) // UNHEARD_TICK_NS)
            dies_ns = client.opened_ns + ticks * UNHEARD_TICK_NS
        else:
            dies_ns = client.heard_ns + IDLE_NS
        if now_ns >= dies_ns:
            self.closed(conn, now_ns)
            return [Reset(conn)]
        # Not later than an idle client's end: it may unsubscribe meanwhile.
        self._timers.set(("silence", conn), min(dies_ns, now_ns + IDLE_NS))
        return ()

    def _end(self, conn: Conn) -> Outputs:
        self.closed(conn, 0)
        return [Close(conn, _GOING_AWAY)]

    # Trouble

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        match trouble:
            case Trouble.RESTART:
                return self.restart(now_ns)
            case Trouble.SNAPSHOT:
                return self.snapshot(now_ns)
            case Trouble.MAINTENANCE:
                return self.maintain(now_ns)
            case Trouble.RESUME:
                return self.resume(now_ns)
            case Trouble.SESSION:
                if self._clients:
                    self._timers.set(("end", next(iter(self._clients))), now_ns)
                return ()
            case Trouble.SHUTDOWN | Trouble.INSIDE:
                # Sockets are not told when they will be cut, and books need nothing from REST.
                return None

    def restart(self, now_ns: int) -> Outputs:
        """The venue restarts: every live book begins again with `u` 1, ended orders are history."""
        outputs: list[Output] = []
        self.private.restart(now_ns)
        for feed in self._feeds.values():
            outputs += self._send(feed.restart(now_ns))
        return outputs

    def snapshot(self, now_ns: int) -> Outputs:
        """A snapshot in mid-stream for one live book topic, chosen by the dice."""
        live = [(feed, topic) for feed in self._feeds.values() for topic in feed.books()]
        if not live:
            return ()
        feed, topic = self._rng.choice(live)
        return self._send([feed.snapshot(topic, now_ns)])

    def maintain(self, now_ns: int) -> Outputs:
        """Maintenance begins: a notice on the status socket, then the market is gone.

        All other sockets are closed and refused (503), REST answers 10016.
        """
        if self._rest.down:
            return ()
        self._rest.down = self.private.down = True
        begin_ms = now_ns // MS
        notice = {
            "id": self._uuid(),
            "title": "System maintenance",
            "state": "ongoing",
            "begin": str(begin_ms),
            "end": str(begin_ms + _MAINTENANCE_NS // MS),
            "href": "",
            "serviceTypes": [1, 2, 3, 4, 5],
            "product": [1, 2],
            "uidSuffix": [],
            "maintainType": 1,
            "env": 1,
        }
        self._rest.notices.insert(0, notice)
        outputs = self._tell_status(now_ns)
        gone = [conn for conn, client in self._clients.items() if client.path != STATUS_PATH]
        for conn in gone:
            outputs += self._end(conn)
        for feed in self._feeds.values():
            feed.stop()
        return outputs

    def resume(self, now_ns: int) -> Outputs:
        """Maintenance ends: the notice says so, and every book's `u` begins again."""
        if not self._rest.down:
            return ()
        self._rest.down = self.private.down = False
        self.private.restart(now_ns)
        self._rest.notices[0] |= {"state": "completed", "end": str(now_ns // MS)}
        return self._tell_status(now_ns)

    def _tell_status(self, now_ns: int) -> list[Output]:
        frame = {"topic": STATUS_TOPIC, "ts": now_ns // MS, "data": self._rest.notices[:1]}
        text = orjson.dumps(frame).decode()
        return [
            Send(conn, text, STATUS_TOPIC, FrameKind.DATA)
            for conn, client in self._clients.items()
            if STATUS_TOPIC in client.topics
        ]

    # Messages

    def _obey(
        self, conn: Conn, client: _Client, op: str, message: Mapping[str, Any], now_ns: int
    ) -> tuple[str, list[Output]]:
        """The `ret_msg` of the answer, and what is told besides.  Refusal: why not."""
        category = client.feed.category if client.feed else SPOT
        if op == "ping":
            return "pong", []
        if op == "subscribe":
            told = self._subscribe(conn, client, self._args(category.args_max, message), now_ns)
            return category.subscribed, told
        if op == "unsubscribe":
            for name in self._args(category.args_max, message):
                topic = client.topics.pop(name, None)
                if topic is not None and client.feed is not None:
                    client.feed.unsubscribe(conn, topic)
            return f"un{category.subscribed}" if category.subscribed else "", []
        raise Refusal("error:invalid op")

    def _args(self, venue_max: int | None, message: Mapping[str, Any]) -> list[str]:
        args = message.get("args")
        if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
            raise Refusal("Failed to decode incoming data:args: expect an array of strings")
        if not args:
            raise Refusal("error:args is empty")
        most = None if venue_max is None else self._options.limit(venue_max)
        if most is not None and len(args) > most:
            raise Refusal(f"args size >{most}")
        longest = self._options.limit(ARGS_TEXT_MAX)
        if longest is not None and len(orjson.dumps(args)) >= longest:
            raise Refusal(f"error:args length >={longest}")
        return args

    def _subscribe(
        self, conn: Conn, client: _Client, names: Iterable[str], now_ns: int
    ) -> list[Output]:
        wanted: dict[str, Topic | None] = {}
        for name in names:
            topic = client.feed.topic(name) if client.feed else None
            if topic is None and (client.feed is not None or name != STATUS_TOPIC):
                raise Refusal(f"error:handler not found,topic:{name}")
            if name in client.topics or name in wanted:
                raise Refusal(f"error:already subscribed,topic:{name}")
            wanted[name] = topic
        told: list[Output] = []
        for name, topic in wanted.items():
            client.topics[name] = topic
            if topic is not None and client.feed is not None:
                messages = client.feed.subscribe(conn, topic, now_ns)
                told += [_frame(conn, message) for message in messages]
        return told

    def _answer(
        self, conn: Conn, client: _Client, msg: str, req_id: str, op: str, *, success: bool = True
    ) -> Send:
        """An acknowledgement.  Without a `req_id` linear says it is empty, spot leaves it out."""
        answer: dict[str, Any] = {"success": success, "ret_msg": msg, "conn_id": client.id}
        if req_id or client.linear:
            answer["req_id"] = req_id
        text = orjson.dumps({**answer, "op": op}).decode()
        # The venue's encoder escapes what HTML would mind: `args size \u003e10`.
        for char in "<>&":
            text = text.replace(char, f"\\u{ord(char):04x}")
        return Send(conn, text)

    def _send(self, pushes: Iterable[Push]) -> list[Output]:
        return [_frame(conn, message) for conns, message in pushes for conn in conns]

    def _conn_id(self) -> str:
        """As recorded: 20 characters, a dash, 5 more."""
        head, tail = self._rng.choices(_BASE32, k=20), self._rng.choices(_BASE36, k=5)
        return f"{''.join(head)}-{''.join(tail)}"

    def _uuid(self) -> str:
        digits = f"{self._rng.getrandbits(128):032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _max_active_ns(request: Request) -> int:
    """How long a private socket may be silent: `?max_active_time=`, `30s` to `600s` or `1m`."""
    asked = _ACTIVE.fullmatch(request.params.get("max_active_time", ""))
    if asked is None:
        return UNHEARD_NS
    span_ns = int(asked[1]) * (MINUTE if asked[2] == "m" else SECOND)
    return min(UNHEARD_NS, max(30 * SECOND, span_ns))


def _frame(conn: Conn, message: Message) -> Send:
    return Send(conn, message.text, message.topic, message.kind, message.reset)


def _message(data: str | bytes) -> dict[str, Any]:
    """A client's message.  Refusal: it is not a JSON object; the socket stays open (observed)."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Refusal(f"Failed to decode incoming data:{error}") from None
    if not isinstance(message, dict):
        raise Refusal("Failed to decode incoming data:readObjectStart: expect { or n")
    return message


def _text(message: Mapping[str, Any], name: str) -> str:
    """A field as text; a number is taken too, as clients send it.  Refusal: it is neither."""
    value = message.get(name, "")
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Refusal(f"Failed to decode incoming data:{name}: expect a string")
    return str(value)
