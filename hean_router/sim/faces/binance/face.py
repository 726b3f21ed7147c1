"""Binance's connections: control messages, pings, ages, limits, notices.

Requests for orders and accounts, by REST or on `/ws-api/v3`, are `private.Private`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import orjson

from hean_router.sim.contract import (
    SECOND,
    Close,
    Conn,
    Options,
    Output,
    Outputs,
    Ping,
    Pong,
    Request,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.exchange import Exchange, Status, Step
from hean_router.sim.faces.binance.facts import (
    CONNECTS_MAX,
    CONNECTS_NS,
    LINEAR,
    SESSION_LIFE_NS,
    SPOT,
    STREAMS_MAX,
)
from hean_router.sim.faces.binance.feed import Clock, Feed, Payload, Topic, micros, millis
from hean_router.sim.faces.binance.meter import ApiError
from hean_router.sim.faces.binance.private import CONNECT_WEIGHT, Private
from hean_router.sim.faces.binance.private import PATH as API_PATH
from hean_router.sim.faces.binance.rest import Rest
from hean_router.sim.pacing import RollingWindow, Timers

_POLICY = 1008
_GOING_AWAY = 1001
_EMPTY_LISTS = frozenset(
    {"/sapi/v1/margin/allPairs", "/sapi/v1/margin/isolated/allPairs"}  # asked for by ccxt
)
_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_ID_MAX = 36
_INT64 = range(-(2**63), 2**63)

Timer: TypeAlias = tuple[str, Conn]


@dataclass(frozen=True)
class _Place:
    """What a WebSocket path means."""

    feed: Feed
    combined: bool
    shelf: str  # "", or on USD-M "public" or "market"
    streams: tuple[str, ...]
    clock: Clock
    api: bool = False  # the WS API


@dataclass
class _Client:
    """One WebSocket."""

    feed: Feed
    combined: bool
    shelf: str
    clock: Clock
    messages: RollingWindow
    streams: dict[str, None] = field(default_factory=dict)
    pings: dict[bytes, int] = field(default_factory=dict)  # unanswered -> when sent
    api: bool = False


class BadRequest(Exception):
    """A control message that is answered with a code and a text."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(code, msg)
        self.answer = {"code": code, "msg": msg}


class BinanceFace:
    """Spot and USD-M on one port: paths tell them apart.

    Spot streams live at `/ws` and `/stream`; USD-M streams below `/public` (depth, bookTicker,
    trade) and `/market` (aggTrade).  A stream asked for on the wrong shelf, or of a symbol that
    does not exist, is acknowledged and stays silent.
    """

    venue = "binance"

    def __init__(self, exchange: Exchange, rng: Random, options: Options) -> None:
        self.exchange = exchange
        self._rng = rng
        self._options = options
        self._feeds = [Feed(exchange, part) for part in (SPOT, LINEAR)]
        self._spot, self._linear = self._feeds
        self._rests = [Rest(exchange, feed, options) for feed in self._feeds]
        self.private = Private(exchange, self._rests[0], rng, options, self._push_step)
        self._clients: dict[Conn, _Client] = {}
        self._connects: dict[str, RollingWindow] = {}
        self._timers: Timers[Timer] = Timers()

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        """Bases without paths, as the venue documents its own."""
        linear = {"linear.rest": http, "linear.ws": ws}
        return {"rest": http, "ws": ws, "orders.ws": ws + API_PATH, **linear}

    # REST

    def request(self, request: Request, now_ns: int) -> Response:
        if self.private.serves(request.path):
            return self.private.request(request, now_ns)
        for rest in self._rests:
            if rest.serves(request.path):
                return rest.request(request, now_ns)
        if request.path in _EMPTY_LISTS:
            return Response(200, b"[]")
        if request.path == "/dapi/v1/exchangeInfo":  # coin-margined: none are listed here
            body = {"timezone": "UTC", "serverTime": millis(now_ns), "symbols": []}
            return Response(200, orjson.dumps({**body, "rateLimits": [], "exchangeFilters": []}))
        return ApiError(-5000, f"Path {request.path} is invalid", 404).response({})

    # Connections

    def accept(self, request: Request, now_ns: int) -> Response | None:
        if self._place(request) is None:
            return Response(404, b"", {})
        window = self._connects.get(request.peer)
        if window is None:
            limit = self._options.limit(CONNECTS_MAX)
            window = self._connects[request.peer] = RollingWindow(limit, CONNECTS_NS)
        if not window.take(now_ns):
            wait_s = -(-(window.free_at_ns(now_ns) - now_ns) // SECOND)
            return Response(429, b"", {"Retry-After": str(wait_s)})
        if request.path == API_PATH:
            meter = self._rests[0].meter
            try:
                meter.pay(request.peer, CONNECT_WEIGHT, now_ns)
            except ApiError as error:
                return error.response(meter.peer(request.peer).headers)
        return None

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        place = self._place(request)
        assert place is not None, "refused by accept"
        part = place.feed.part
        # The WS API counts weights instead of messages.
        limit = None if place.api else self._options.limit(part.messages_per_s)
        client = _Client(
            place.feed,
            place.combined,
            place.shelf,
            place.clock,
            RollingWindow(limit, SECOND),
            api=place.api,
        )
        self._clients[conn] = client
        if place.api:
            self.private.opened(conn, request, now_ns)
        life_ns = self._options.session_life_ns or SESSION_LIFE_NS
        self._timers.set(("end", conn), now_ns + life_ns)
        self._timers.set(("ping", conn), now_ns + part.ping_ns)
        return self._listen(conn, client, place.streams, now_ns)

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        if not client.messages.take(now_ns):
            return self._end(conn, _POLICY, "Too many requests")
        if client.api:
            outputs = self.private.flush(now_ns, all_pushes=True)
            return [*outputs, *self.private.received(conn, data, now_ns)]
        try:
            answer, streams = self._control(conn, client, data)
        except BadRequest as error:
            return [Send(conn, orjson.dumps(error.answer).decode())]
        return [
            Send(conn, orjson.dumps(answer).decode()),
            *self._listen(conn, client, streams, now_ns),
        ]

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        if not client.messages.take(now_ns):
            return self._end(conn, _POLICY, "Too many requests")
        return [Pong(conn, data)]

    def ponged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        if not client.messages.take(now_ns):
            return self._end(conn, _POLICY, "Too many requests")
        # Unsolicited pongs are allowed, but keep nothing alive: the payload must be a ping's.
        if data in client.pings:
            answered_ns = client.pings[data]
            client.pings = {
                ping: sent_ns for ping, sent_ns in client.pings.items() if sent_ns > answered_ns
            }
            self._timers.drop(("pong", conn))
            if client.pings:
                oldest_ns = min(client.pings.values())
                self._timers.set(("pong", conn), oldest_ns + client.feed.part.pong_ns)
        return ()

    def closed(self, conn: Conn, now_ns: int) -> None:
        client = self._clients.pop(conn, None)
        if client is None:
            return
        self.private.closed(conn)
        for stream in client.streams:
            client.feed.unsubscribe(conn, stream)
        for timer in ("end", "ping", "pong"):
            self._timers.drop((timer, conn))

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        return self._end(conn, _POLICY, "Slow consumer")

    def topics(self, conn: Conn) -> Sequence[str]:
        client = self._clients.get(conn)
        return (*client.streams, *self.private.topics(conn)) if client else ()

    def wraps(self, conn: Conn) -> bool:
        """Whether a connection gets its frames wrapped with their streams' names."""
        client = self._clients.get(conn)
        return client is not None and client.combined

    # Time

    def market(self, step: Step, now_ns: int) -> Outputs:
        outputs = self.private.flush(now_ns, all_pushes=True)
        return [*outputs, *self._push_step(step), *self.private.market(step, now_ns)]

    def _push_step(self, step: Step) -> list[Output]:
        """What an engine step means for the public streams."""
        feed = self._spot if step.symbol in self._spot.symbols.names else self._linear
        return self._push(feed, feed.market(step))

    @property
    def wake_at_ns(self) -> int | None:
        times = (self._timers.wake_at_ns, self.private.wake_at_ns)
        wake_ns = min((time_ns for time_ns in times if time_ns is not None), default=None)
        for feed in self._feeds:
            feed_ns = feed.timers.wake_at_ns
            if feed_ns is not None and (wake_ns is None or feed_ns < wake_ns):
                wake_ns = feed_ns
        return wake_ns

    def due(self, now_ns: int) -> Outputs:
        outputs = self.private.flush(now_ns)
        for feed in self._feeds:
            while popped := feed.timers.pop(now_ns):
                outputs += self._push(feed, feed.flush(popped[1], popped[0]))
        while timer := self._timers.pop(now_ns):
            when_ns, (what, conn) = timer
            if what == "ping":
                outputs.append(self._ping(conn, when_ns))
            elif what == "pong":
                outputs += self._end(conn, _POLICY, "Pong timeout")
            else:
                outputs += self._end(conn, _GOING_AWAY, "Disconnected")
        return outputs

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        if trouble is Trouble.SHUTDOWN:
            return self._shut_down(now_ns)
        if trouble is Trouble.SESSION:
            return self._shut_down(now_ns, list(self._clients)[:1])
        if trouble is Trouble.MAINTENANCE:
            for symbol in self.exchange.listings:
                self.exchange.set_status(symbol, Status.HALT, now_ns=now_ns)
            return self._shut_down(now_ns)
        if trouble is Trouble.RESUME:
            for symbol in self.exchange.listings:
                self.exchange.set_status(symbol, Status.TRADING, now_ns=now_ns)
            return ()
        if trouble is Trouble.INSIDE:
            for feed in self._feeds:
                feed.straddle_next = True
            return ()
        return None  # no sequence ever restarts here, and no stream sends a snapshot

    def _ping(self, conn: Conn, now_ns: int) -> Ping:
        client = self._clients[conn]
        data = str(millis(now_ns)).encode()
        part = client.feed.part
        if not client.pings:
            self._timers.set(("pong", conn), now_ns + part.pong_ns)
        client.pings[data] = now_ns
        self._timers.set(("ping", conn), now_ns + part.ping_ns)
        return Ping(conn, data)

    def _shut_down(self, now_ns: int, conns: Iterable[Conn] | None = None) -> Outputs:
        """Notice on every socket; each is cut a little later.  No lead time is promised."""
        outputs: list[Output] = []
        for conn in list(self._clients) if conns is None else conns:
            client = self._clients[conn]
            notice: dict[str, Any] = {"e": "serverShutdown", "E": client.clock(now_ns)}
            if client.api:
                notice = {"event": notice}
            elif client.combined:
                notice = {"stream": "!serverShutdown", "data": notice}
            outputs.append(Send(conn, orjson.dumps(notice).decode()))
            lead_ns = self._rng.randint(1, 30) * SECOND
            self._timers.set(("end", conn), now_ns + lead_ns)
        return outputs

    def _end(self, conn: Conn, code: int, reason: str) -> Outputs:
        self.closed(conn, 0)
        return [Close(conn, code, reason)]

    # Streams

    def _place(self, request: Request) -> _Place | None:
        """Read a URL: `/ws`, `/ws/<stream>`, `/stream?streams=a/b`, `/public/ws`.

        And what clients make of them: `/stream/ws`, a number at the end.
        """
        unit = request.params.get("timeUnit", "").upper()
        clock = micros if unit == "MICROSECOND" else millis
        if request.path == API_PATH:
            return _Place(self._spot, False, "", (), clock, api=True)
        parts = [part for part in request.path.split("/") if part]
        shelf = parts.pop(0) if parts and parts[0] in ("public", "market") else ""
        kinds = []
        while parts and parts[0] in ("ws", "stream"):
            kinds.append(parts.pop(0))
        if not kinds:
            return None
        streams = [part for part in parts if not part.isdigit()]
        streams += [name for name in request.params.get("streams", "").split("/") if name]
        return _Place(
            feed=self._linear if shelf else self._spot,
            combined=kinds[-1] == "stream",
            shelf=shelf,
            streams=tuple(streams),
            clock=clock,
        )

    def _listen(self, conn: Conn, client: _Client, streams: Iterable[str], now_ns: int) -> Outputs:
        for stream in streams:
            client.streams[stream] = None
            topic = client.feed.topic(stream)
            if topic is not None and _on_shelf(topic, client.shelf):
                client.feed.subscribe(conn, topic, now_ns)
        limit = self._options.limit(STREAMS_MAX)
        if limit is not None and len(client.streams) > limit:
            return self._end(conn, _POLICY, "Too many streams")
        return ()

    def _push(self, feed: Feed, payloads: Iterable[Payload]) -> list[Output]:
        outputs: list[Output] = []
        for payload in payloads:
            for conn in feed.listeners(payload.stream):
                client = self._clients[conn]
                text = payload.text(client.clock, combined=client.combined)
                outputs.append(Send(conn, text, payload.stream, payload.kind))
        return outputs

    # Control messages

    def _control(
        self, conn: Conn, client: _Client, data: str | bytes
    ) -> tuple[dict[str, Any], list[str]]:
        """The answer to a control message, and the streams to listen to from now on.

        BadRequest: what is wrong with it.
        """
        message = _message(data)
        method, params, id_ = message["method"], message.get("params", []), message.get("id")
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(client.streams), "id": id_}, []
        if method in ("SET_PROPERTY", "GET_PROPERTY"):
            return {"result": self._property(client, method, params), "id": id_}, []
        if not isinstance(params, list) or not all(isinstance(name, str) for name in params):
            raise BadRequest(2, "Invalid request: params must be an array of strings")
        if method == "SUBSCRIBE":
            return {"result": None, "id": id_}, params
        for name in params:
            client.streams.pop(name, None)
            client.feed.unsubscribe(conn, name)
        return {"result": None, "id": id_}, []

    @staticmethod
    def _property(client: _Client, method: str, params: Any) -> Any:
        if not isinstance(params, list) or not params or not isinstance(params[0], str):
            raise BadRequest(2, "Invalid request: property name must be a string")
        if params[0] != "combined":
            raise BadRequest(0, "Unknown property")
        if method == "GET_PROPERTY":
            if len(params) > 1:
                raise BadRequest(2, "Invalid request: too many parameters")
            return client.combined
        if len(params) != 2 or not isinstance(params[1], bool):
            raise BadRequest(1, "Invalid value type: expected Boolean")
        client.combined = params[1]
        return None


def _on_shelf(topic: Topic, shelf: str) -> bool:
    return shelf in ("", "market" if topic.market else "public")


def _message(data: str | bytes) -> dict[str, Any]:
    """A control message with a known method and a legal id.  BadRequest: what is wrong with it."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BadRequest(
            3, f"Invalid JSON: expected value at line {error.lineno} column {error.colno}"
        ) from error
    if not isinstance(message, dict):
        raise BadRequest(2, "Invalid request: expected an object")
    if "method" not in message:
        raise BadRequest(2, "Invalid request: missing field `method`")
    if message["method"] not in _METHODS:
        known = ", ".join(f"`{method}`" for method in _METHODS)
        raise BadRequest(
            2, f"Invalid request: unknown variant `{message['method']}`, expected one of {known}"
        )
    if not _legal_id(message.get("id")):
        raise BadRequest(2, "Invalid request: request ID must be an integer or a short string")
    return message


def _legal_id(id_: Any) -> bool:
    """A signed 64-bit integer, alphanumeric text up to 36, or null."""
    if isinstance(id_, str):
        return len(id_) <= _ID_MAX and id_.replace("-", "").isalnum()
    return id_ is None or (type(id_) is int and id_ in _INT64)
