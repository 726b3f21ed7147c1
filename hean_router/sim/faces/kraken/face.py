"""Kraken's connections: requests and their acks, heartbeats, limits, the engine's state.

What wants a key or a token, by REST or on the private socket, is `private.Private`'s.
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
    Pong,
    Request,
    Response,
    Send,
    Trouble,
)
from hean_router.sim.exchange import Exchange, Step
from hean_router.sim.faces.kraken.facts import (
    BAN_NS,
    BEAT_NS,
    BUSY_NS,
    CONNECTS_MAX,
    CONNECTS_NS,
    DEPTH_DEFAULT,
    DEPTHS,
    IDLE_NS,
    MESSAGES_PER_S,
    SYSTEMS,
    VERSION,
    rfc3339,
)
from hean_router.sim.faces.kraken.feed import INSTRUMENTS, Feed, Payload, Topic
from hean_router.sim.faces.kraken.private import PATH as PRIVATE_PATH
from hean_router.sim.faces.kraken.private import Private
from hean_router.sim.faces.kraken.private_access import Refusal
from hean_router.sim.faces.kraken.rest import Rest
from hean_router.sim.pacing import RollingWindow, Timers

PATH = "/v2"
_SYMBOL_CHANNELS = ("book", "trade", "ticker")
_PRIVATE_CHANNELS = ("executions", "balances", "level3")
_PRIVATE_METHODS = (
    "add_order",
    "amend_order",
    "edit_order",
    "cancel_order",
    "cancel_all",
    "cancel_all_orders_after",
    "batch_add",
    "batch_cancel",
)
_PRIVATE = "Private data and trading are unavailable on this endpoint. Try ws-auth.kraken.com"
_TRIGGERS = ("trades", "bbo")

Timer: TypeAlias = tuple[str, Conn]


@dataclass
class _Client:
    """One WebSocket."""

    id: int
    messages: RollingWindow
    heard_ns: int  # when the client last said something
    told_ns: int = 0  # when a channel last said something to it
    topics: dict[str, Topic] = field(default_factory=dict)
    private: bool = False  # the socket at ws-auth


class KrakenFace:
    """Spot: REST below `/0/`, WebSocket v2 at `/v2`, the private one at `/auth/v2`.

    The venue has the private socket on a host of its own, at `/v2` too.

    Kraken announces no shutdown, has no sequence to restart and sends no snapshot unasked.
    """

    venue = "kraken"

    def __init__(self, exchange: Exchange, rng: Random, options: Options) -> None:
        self.exchange = exchange
        self._rng = rng
        self._options = options
        self._feed = Feed(exchange, rng)
        self._rest = Rest(exchange, self._feed.tape, options)
        self.private = Private(exchange, rng, options, self._push_step, self._text)
        self._clients: dict[Conn, _Client] = {}
        self._connects: dict[str, RollingWindow] = {}
        self._banned_until_ns: dict[str, int] = {}
        self._timers: Timers[Timer] = Timers()

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        """REST base without a path; the WebSockets with their own."""
        return {"rest": http, "ws": ws + PATH, "orders.ws": ws + PRIVATE_PATH}

    def request(self, request: Request, now_ns: int) -> Response:
        if self.private.serves(request.path):
            return self.private.request(request, self._rest.system, now_ns)
        return self._rest.request(request, now_ns)

    # Connections

    def accept(self, request: Request, now_ns: int) -> Response | None:
        peer = request.peer
        if request.path not in (PATH, PRIVATE_PATH):
            return Response(404, b"", {})
        if peer not in self._connects:
            limit = self._options.limit(CONNECTS_MAX)
            self._connects[peer] = RollingWindow(limit, CONNECTS_NS)
        banned_until_ns = self._banned_until_ns.get(peer, 0)
        if now_ns >= banned_until_ns and self._connects[peer].take(now_ns):
            return None
        if now_ns >= banned_until_ns:
            banned_until_ns = self._banned_until_ns[peer] = now_ns + BAN_NS
        wait_s = -(-(banned_until_ns - now_ns) // SECOND)
        return Response(429, b"error code: 1015", {"Retry-After": str(wait_s)})

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        messages = RollingWindow(self._options.limit(MESSAGES_PER_S), SECOND)
        # Above 2^53, as recorded: whoever keeps it in a float loses digits.
        id_ = self._rng.randrange(2**60, 2**64)
        client = self._clients[conn] = _Client(
            id_, messages, now_ns, private=request.path == PRIVATE_PATH
        )
        self._timers.set(("idle", conn), now_ns + IDLE_NS)
        self._timers.set(("beat", conn), now_ns + self._rng.randint(1, BEAT_NS))
        if self._options.session_life_ns is not None:
            self._timers.set(("end", conn), now_ns + self._options.session_life_ns)
        return [Send(conn, self._status_text(client))]

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        client.heard_ns = now_ns
        message: dict[str, Any] = {}
        try:
            message = _parsed(data)
            if not client.messages.take(now_ns):
                raise Refusal("Exceeded msg rate")
            if client.private and message["method"] != "ping":
                earlier = self.private.flush(now_ns, all_pushes=True)
                answers = self.private.received(conn, message, data, self._rest.system, now_ns)
                return self._told([*earlier, *answers], now_ns)
            return self._answer(conn, client, message, now_ns)
        except Refusal as refusal:
            return [Send(conn, self._refused(message, refusal, now_ns))]

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is not None:
            client.heard_ns = now_ns
        return [Pong(conn, data)]

    def ponged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        return ()

    def closed(self, conn: Conn, now_ns: int) -> None:
        client = self._clients.pop(conn, None)
        if client is None:
            return
        self.private.closed(conn)
        for topic in client.topics.values():
            self._feed.unsubscribe(conn, topic)
        for timer in ("idle", "beat", "end"):
            self._timers.drop((timer, conn))

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        return self._end(conn, 1008, "Slow consumer")

    def topics(self, conn: Conn) -> Sequence[str]:
        client = self._clients.get(conn)
        return (*client.topics, *self.private.topics(conn)) if client else ()

    # Requests

    def _answer(self, conn: Conn, client: _Client, message: dict[str, Any], now_ns: int) -> Outputs:
        method, params = message["method"], message.get("params", {})
        if method == "ping":
            return [Send(conn, self._text({"method": "pong", **_req_id(message)}, now_ns))]
        if method in _PRIVATE_METHODS:
            raise Refusal(_PRIVATE)
        if method not in ("subscribe", "unsubscribe"):
            raise Refusal(f"Unsupported method {method}")
        if not isinstance(params, dict):
            raise Refusal("Malformed request")
        outputs: list[Output] = []
        new: list[Topic] = []
        for symbol in self._symbols(params):
            try:
                topic = self._topic(params, symbol)
                if method == "subscribe":
                    outputs += self._subscribe(conn, client, topic, now_ns)
                    new.append(topic)
                else:
                    topic = self._unsubscribe(conn, client, topic)
                outputs.append(Send(conn, self._ack(message, topic, params, now_ns)))
            except Refusal as refusal:
                outputs.append(Send(conn, self._refused(message, refusal, now_ns)))
        for topic in new:
            if params.get("snapshot", topic.channel != "trade") is True:
                client.told_ns = now_ns
                outputs.append(_pushed(conn, topic, self._feed.snapshot(topic, now_ns)))
        return outputs

    def _symbols(self, params: dict[str, Any]) -> list[str]:
        """The symbols asked for, one empty if the channel has none.

        Refusal: nothing of the request can be meant.
        """
        channel, symbols = params.get("channel"), params.get("symbol")
        if channel == INSTRUMENTS.channel:
            return [""]
        if channel in _PRIVATE_CHANNELS:
            raise Refusal(_PRIVATE)
        if channel not in _SYMBOL_CHANNELS:
            raise Refusal("Subscription name invalid")
        if not isinstance(symbols, list) or not symbols:
            raise Refusal("Symbol field must be an array")
        return [str(symbol) for symbol in symbols]

    def _topic(self, params: dict[str, Any], symbol: str) -> Topic:
        """What is asked for, for one symbol.  Refusal: there is no such thing."""
        channel = params["channel"]
        if not symbol:
            return INSTRUMENTS
        listing = self.exchange.listings.get(symbol)
        if listing is None:
            raise Refusal(f"Currency pair not supported {symbol}", symbol)
        if channel == "trade":
            return Topic(channel, listing)
        if channel == "ticker":
            trigger = params.get("event_trigger", _TRIGGERS[0])
            if trigger not in _TRIGGERS:
                raise Refusal("Subscription event_trigger not supported", symbol)
            return Topic(channel, listing, trigger=trigger)
        depth = params.get("depth", DEPTH_DEFAULT)
        if type(depth) is not int:
            raise Refusal("Subscription book depth must be an integer", symbol)
        if depth not in DEPTHS:
            raise Refusal("Subscription depth not supported", symbol)
        return Topic(channel, listing, depth)

    def _subscribe(self, conn: Conn, client: _Client, topic: Topic, now_ns: int) -> list[Output]:
        if topic.name in client.topics:  # of whatever depth
            raise Refusal("Already subscribed", topic.symbol)
        outputs = self._push(self._feed.settle(topic), now_ns)
        self._feed.subscribe(conn, topic)
        client.topics[topic.name] = topic
        return outputs

    def _unsubscribe(self, conn: Conn, client: _Client, topic: Topic) -> Topic:
        """Ends the channel of that symbol, whatever its depth; answers with what it was."""
        found = client.topics.pop(topic.name, None)
        if found is None:
            raise Refusal("Subscription Not Found", topic.symbol)
        self._feed.unsubscribe(conn, found)
        return found

    # Answers: keys in alphabetical order, as recorded

    def _ack(
        self, message: dict[str, Any], topic: Topic, params: dict[str, Any], now_ns: int
    ) -> str:
        result: dict[str, Any] = {"channel": topic.channel}
        if topic.depth:
            result["depth"] = topic.depth
        if topic.trigger:
            result["event_trigger"] = topic.trigger
        if message["method"] == "subscribe":
            result["snapshot"] = params.get("snapshot", topic.channel != "trade") is True
            if topic is INSTRUMENTS:
                result["warnings"] = ["tick_size is deprecated, use price_increment"]
        if topic.symbol is not None:
            result["symbol"] = topic.symbol
        head = {"method": message["method"], **_req_id(message), "result": result, "success": True}
        return self._text(head, now_ns)

    def _refused(self, message: dict[str, Any], refusal: Refusal, now_ns: int) -> str:
        head: dict[str, Any] = {"error": refusal.error}
        if "method" in message:
            head["method"] = message["method"]
        head |= {**_req_id(message), "success": False}
        if refusal.symbol is not None:
            head["symbol"] = refusal.symbol
        return self._text(head, now_ns)

    def _text(self, head: dict[str, Any], now_ns: int) -> str:
        """An answer with its times: received, and sent some µs later."""
        out_ns = now_ns + self._rng.randrange(20_000, 60_000)
        times = {"time_in": rfc3339(now_ns), "time_out": rfc3339(out_ns)}
        return orjson.dumps({**head, **times}).decode()

    def _status_text(self, client: _Client) -> str:
        return (
            f'{{"channel":"status","type":"update","data":[{{"version":"{VERSION}",'
            f'"system":"{self._rest.system}","api_version":"v2",'
            f'"connection_id":{client.id}}}]}}'
        )

    # Time

    def market(self, step: Step, now_ns: int) -> Outputs:
        outputs = self.private.flush(now_ns, all_pushes=True)
        outputs += self._push_step(step)
        return self._told([*outputs, *self.private.market(step, now_ns)], now_ns)

    def _push_step(self, step: Step) -> list[Output]:
        """What an engine step means for the public channels."""
        return self._push(self._feed.market(step), step.time_ns)

    def _told(self, outputs: list[Output], now_ns: int) -> list[Output]:
        """A push of a private channel takes the place of a heartbeat, as any other does."""
        for output in outputs:
            if isinstance(output, Send) and output.topic and output.conn in self._clients:
                self._clients[output.conn].told_ns = now_ns
        return outputs

    @property
    def wake_at_ns(self) -> int | None:
        times = (
            self._timers.wake_at_ns,
            self._feed.timers.wake_at_ns,
            self.private.wake_at_ns,
        )
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def due(self, now_ns: int) -> Outputs:
        outputs = self._told(self.private.due(now_ns), now_ns)
        while popped := self._feed.timers.pop(now_ns):
            outputs += self._push(self._feed.flush(popped[1]), popped[0])
        while timer := self._timers.pop(now_ns):
            when_ns, (what, conn) = timer
            if what == "beat":
                outputs += self._beat(conn, when_ns)
            elif what == "idle":
                outputs += self._idle(conn, when_ns)
            else:
                outputs += self._end(conn, 1001, "")
        return outputs

    def _beat(self, conn: Conn, now_ns: int) -> list[Output]:
        """Recorded: on a fixed beat, and after an update too if that is 69 ms old."""
        client = self._clients[conn]
        self._timers.set(("beat", conn), now_ns + BEAT_NS)
        if not self.topics(conn) or now_ns - client.told_ns < BUSY_NS:
            return []
        return [Send(conn, '{"channel":"heartbeat"}')]

    def _idle(self, conn: Conn, now_ns: int) -> list[Output]:
        """A socket on which nobody says anything; heartbeats count."""
        client = self._clients[conn]
        since_ns = now_ns if self.topics(conn) else client.heard_ns
        if now_ns - since_ns >= IDLE_NS:
            return self._end(conn, 1000, "")
        self._timers.set(("idle", conn), since_ns + IDLE_NS)
        return []

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        if trouble is Trouble.MAINTENANCE:
            return self.set_system("maintenance", now_ns)
        if trouble is Trouble.RESUME:
            return self.set_system("online", now_ns)
        if trouble is Trouble.SESSION:
            if self._clients:
                self._timers.set(("end", next(iter(self._clients))), now_ns)
            return ()
        return None

    def set_system(self, system: str, now_ns: int) -> list[Output]:
        """Put the engine into a state (`online`, `post_only`, `cancel_only`, `maintenance`).

        The books stand still in maintenance.  KeyError: no such state.
        """
        status = SYSTEMS[system]
        self._rest.system = system
        outputs: list[Output] = [
            Send(conn, self._status_text(client)) for conn, client in self._clients.items()
        ]
        for symbol in self.exchange.listings:
            step = self.exchange.set_status(symbol, status, now_ns=now_ns)
            outputs += self._push(self._feed.market(step), now_ns)
        return outputs

    # Out

    def _push(self, payloads: Iterable[Payload], now_ns: int) -> list[Output]:
        outputs: list[Output] = []
        for payload in payloads:
            for conn in self._feed.listeners(payload.topic):
                self._clients[conn].told_ns = now_ns
                outputs.append(_pushed(conn, payload.topic, payload))
        return outputs

    def _end(self, conn: Conn, code: int, reason: str) -> list[Output]:
        self.closed(conn, 0)
        return [Close(conn, code, reason)]


def _pushed(conn: Conn, topic: Topic, payload: Payload) -> Send:
    return Send(conn, payload.text, topic.name, payload.kind)


def _parsed(data: str | bytes) -> dict[str, Any]:
    """A request with a method.  Refusal: it is none."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Refusal("Malformed request") from error
    if not isinstance(message, dict) or not isinstance(message.get("method"), str):
        raise Refusal("Malformed request")
    return message


def _req_id(message: dict[str, Any]) -> dict[str, Any]:
    """The request's id as it came: an integer, but some clients send text."""
    return {"req_id": message["req_id"]} if "req_id" in message else {}
