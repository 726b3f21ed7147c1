"""OKX's connections: operations, logins, the 30 s rule, limits, notices.

What wants a key, by REST or on `/ws/v5/private`, is `private.Private`'s.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, TypeAlias

import orjson

from hean_router.sim.accounts import Account, ApiKey
from hean_router.sim.contract import (
    HOUR,
    MS,
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
from hean_router.sim.exchange import Exchange, Status, Step
from hean_router.sim.faces.okx.facts import (
    CHANNEL_BYTES_MAX,
    CONNECTS_MAX,
    CONNECTS_NS,
    FRAME_BYTES_MAX,
    NOTICE_NS,
    OPS_PER_HOUR,
    PATHS,
    SILENCE_NS,
    TOGETHER_FORBIDDEN,
)
from hean_router.sim.faces.okx.feed import Feed, Payload, Topic
from hean_router.sim.faces.okx.private import PATH as PRIVATE_PATH
from hean_router.sim.faces.okx.private import Private
from hean_router.sim.faces.okx.private_access import Refusal, log_in
from hean_router.sim.faces.okx.private_orders import OPERATIONS
from hean_router.sim.faces.okx.rest import Rest
from hean_router.sim.pacing import RollingWindow, Timers

_GOING_AWAY = 1001
_ID_MAX = 32
_REASONS = {
    4001: "Login Failed",
    1009: "Request message exceeds the maximum frame length",
    4004: "No data received in 30s",
    4005: "Buffer is full, cannot write data",
    4009: "The number of subscription channels for this connection exceeds the limit",
    _GOING_AWAY: "",
}
_UPGRADE = "The connection will soon be closed for a service upgrade. Please reconnect."
_EXAMPLE = "Please use the correct URL, channel and parameters referring to API document."

Timer: TypeAlias = tuple[str, Conn]


@dataclass
class _Client:
    """One WebSocket.  `vip` is the fee tier of the account logged in; None before a login."""

    path: str
    id: str
    ops: RollingWindow
    sent_ns: int
    topics: dict[str, Topic] = field(default_factory=dict)
    vip: int | None = None
    who: tuple[Account, ApiKey] | None = None  # after a login


class OkxFace:
    """Spot and swaps on one port: `/ws/v5/public`, `/ws/v5/business`, `/ws/v5/private`."""

    venue = "okx"

    def __init__(self, exchange: Exchange, rng: Random, options: Options) -> None:
        self.exchange = exchange
        self._rng = rng
        self._options = options
        self._feed = Feed(exchange, rng, checksums=options.checksums)
        self._rest = Rest(exchange, self._feed, options)
        self.private = Private(exchange, self._feed.symbols, options, self._push_step)
        self._clients: dict[Conn, _Client] = {}
        self._connects: dict[str, RollingWindow] = {}
        self._timers: Timers[Timer] = Timers()

    def hosts(self, http: str, ws: str) -> Mapping[str, str]:
        """REST base without a path; WebSockets with theirs, as documented."""
        paths = {"ws": "/ws/v5/public", "ws.business": "/ws/v5/business", "orders.ws": PRIVATE_PATH}
        return {"rest": http, **{name: ws + path for name, path in paths.items()}}

    def request(self, request: Request, now_ns: int) -> Response:
        if self.private.serves(request.path):
            return self.private.request(request, now_ns)
        return self._rest.request(request, now_ns)

    # Connections

    def accept(self, request: Request, now_ns: int) -> Response | None:
        if request.path not in PATHS and request.path != PRIVATE_PATH:
            return Response(404, b"", {})
        if self._rest.maintenance:
            return Response(503, b"", {})
        if request.peer not in self._connects:
            limit = self._options.limit(CONNECTS_MAX)
            self._connects[request.peer] = RollingWindow(limit, CONNECTS_NS)
        if not self._connects[request.peer].take(now_ns):
            return Response(429, b"", {})
        return None

    def opened(self, conn: Conn, request: Request, now_ns: int) -> Outputs:
        id_ = f"{self._rng.getrandbits(32):08x}"
        ops = RollingWindow(self._options.limit(OPS_PER_HOUR), HOUR)
        self._clients[conn] = _Client(request.path, id_, ops, now_ns)
        self._timers.set(("silence", conn), now_ns + SILENCE_NS)
        if self._options.session_life_ns is not None:
            self._timers.set(("end", conn), now_ns + self._options.session_life_ns)
        return ()

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> Outputs:
        client = self._clients.get(conn)
        if client is None:
            return ()
        if len(data) > FRAME_BYTES_MAX:
            return self._end(conn, 1009)
        if data in ("ping", b"ping"):
            return self._send(conn, "pong", now_ns)
        try:
            message = _parsed(data, private=client.path == PRIVATE_PATH)
        except Refusal as refusal:
            return self._send(conn, _error(client, {}, refusal), now_ns)
        earlier = self.private.flush(now_ns, all_pushes=True)
        return [*earlier, *self._understand(conn, client, message, now_ns)]

    def _understand(
        self, conn: Conn, client: _Client, message: dict[str, Any], now_ns: int
    ) -> Outputs:
        if message["op"] in OPERATIONS:
            client.sent_ns = now_ns
            return self._heard(self.private.operate(conn, client.who, message, now_ns), now_ns)
        try:
            return self._operate(conn, client, message, now_ns)
        except Refusal as refusal:
            return self._send(conn, _error(client, message, refusal), now_ns)

    def pinged(self, conn: Conn, data: bytes, now_ns: int) -> Outputs:
        """Answered, but not counted as traffic: whether it is, no source settles."""
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
        for timer in ("silence", "end"):
            self._timers.drop((timer, conn))

    def overflowed(self, conn: Conn, now_ns: int) -> Outputs:
        return self._end(conn, 4005)

    def topics(self, conn: Conn) -> Sequence[str]:
        client = self._clients.get(conn)
        return (*client.topics, *self.private.topics(conn)) if client else ()

    # Operations

    def _operate(
        self, conn: Conn, client: _Client, message: dict[str, Any], now_ns: int
    ) -> Outputs:
        op, args = message["op"], message["args"]
        if not client.ops.take(now_ns):
            raise Refusal(60014, "Requests too frequent")
        if op == "login":
            return self._log_in(conn, client, message, now_ns)
        if client.path == PRIVATE_PATH:
            return self._operate_private(conn, client, message, now_ns)
        acks: list[str] = []
        told: list[Payload] = []
        for arg in args:
            try:
                topic = self._understood(client, arg)
                if op == "subscribe":
                    self._allow(client, topic)
                    told += self._feed.subscribe(conn, topic, now_ns)
                    client.topics[topic.name] = topic
                elif client.topics.pop(topic.name, None):
                    self._feed.unsubscribe(conn, topic)
                acks.append(_ack(client, message, arg))
            except Refusal as refusal:
                acks.append(_error(client, message, refusal))
        if sum(len(topic.arg) for topic in client.topics.values()) > CHANNEL_BYTES_MAX:
            return self._end(conn, 4009)
        client.sent_ns = now_ns
        answers = [Send(conn, ack) for ack in acks]
        return [*answers, *(_pushed(conn, payload) for payload in told)]

    def _log_in(
        self, conn: Conn, client: _Client, message: dict[str, Any], now_ns: int
    ) -> list[Output]:
        """One login a connection; one that fails ends a private connection (4001)."""
        if client.who is not None:
            raise Refusal(60031, "The WebSocket endpoint does not support multiple account login")
        try:
            client.who = log_in(self.private.desk, message["args"][0], now_ns)
        except Refusal as refusal:
            if client.path != PRIVATE_PATH:
                raise
            error = Send(conn, _error(client, message, refusal))
            return [error, *self._end(conn, 4001)]
        client.vip = 0
        ack = {"event": "login", "code": "0", "msg": "", "connId": client.id}
        return self._send(conn, orjson.dumps(_id(message) | ack).decode(), now_ns)

    def _operate_private(
        self, conn: Conn, client: _Client, message: dict[str, Any], now_ns: int
    ) -> list[Output]:
        """Subscriptions to channels of an account."""
        outputs: list[Output] = []
        for arg in message["args"]:
            try:
                if client.who is None:
                    raise Refusal(60011, "Please log in")
                account, _ = client.who
                known = self.private.understood(account, arg) if isinstance(arg, dict) else None
                if known is None:
                    raise _no_channel(arg)
            except Refusal as refusal:
                outputs += self._send(conn, _error(client, message, refusal), now_ns)
                continue
            outputs += self._send(conn, _ack(client, message, arg), now_ns)
            if message["op"] == "subscribe":
                outputs += self.private.subscribe(conn, client.id, known, now_ns)
            else:
                self.private.unsubscribe(conn, known)
        return outputs

    def _understood(self, client: _Client, arg: Any) -> Topic:
        topic = self._feed.topic(client.path, arg) if isinstance(arg, dict) else None
        if topic is None:
            raise _no_channel(arg)
        return topic

    def _allow(self, client: _Client, topic: Topic) -> None:
        """Refusal: not logged in, tier too low, or two books that exclude each other."""
        channel = topic.channel
        if channel.vip is not None:
            if client.vip is None:
                raise Refusal(60011, "Please log in")
            if client.vip < channel.vip:
                raise Refusal(
                    64003,
                    "Your trading fee tier doesn't meet the requirement to access this channel",
                )
        for one, others in TOGETHER_FORBIDDEN.items():
            for other in others:
                pair = {one: other, other: one}
                if f"{pair.get(channel.name)}:{topic.value}" in client.topics:
                    raise Refusal(
                        64004,
                        f"Subscribe to both {other} and {one} for {topic.value} is not allowed. "
                        f"Unsubscribe {pair[channel.name]} first.",
                    )

    # Time

    def market(self, step: Step, now_ns: int) -> Outputs:
        outputs = self.private.flush(now_ns, all_pushes=True)
        outputs += self._push_step(step)
        return self._heard([*outputs, *self.private.market(step, now_ns)], now_ns)

    def _push_step(self, step: Step) -> list[Output]:
        """What an engine step means for the public channels."""
        return self._push(self._feed.market(step), step.time_ns)

    def _heard(self, outputs: list[Output], now_ns: int) -> list[Output]:
        """Private pushes keep a connection alive as all others do."""
        for output in outputs:
            if isinstance(output, Send) and (client := self._clients.get(output.conn)):
                client.sent_ns = now_ns
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
        outputs = self._heard(self.private.due(now_ns), now_ns)
        outputs += self._push(self._feed.flush(now_ns), now_ns)
        while timer := self._timers.pop(now_ns):
            _, (what, conn) = timer
            client = self._clients[conn]
            silent_at_ns = client.sent_ns + SILENCE_NS
            if what == "silence" and silent_at_ns > now_ns:
                # Not armed anew with each push: that would cost more than the push.
                self._timers.set(("silence", conn), silent_at_ns)
            else:
                outputs += self._end(conn, 4004 if what == "silence" else _GOING_AWAY)
        return outputs

    def trouble(self, trouble: Trouble, now_ns: int) -> Outputs | None:
        match trouble:
            case Trouble.RESTART:
                return self._push(self._feed.restart(now_ns), now_ns)
            case Trouble.SHUTDOWN:
                return self._shut_down(now_ns)
            case Trouble.MAINTENANCE:
                self._rest.maintenance = self.private.maintenance = True
                outputs = self._announce("ongoing", now_ns) + self._set_status(Status.HALT, now_ns)
                return outputs + self._shut_down(now_ns)
            case Trouble.RESUME:
                self._rest.maintenance = self.private.maintenance = False
                outputs = self._set_status(Status.TRADING, now_ns)
                # Documented: after maintenance the numbers may start again.
                outputs += self._push(self._feed.restart(now_ns), now_ns)
                return outputs + self._announce("completed", now_ns)
            case Trouble.SESSION:
                return self._shut_down(now_ns, list(self._clients)[:1])
            case _:
                return None  # a snapshot comes after a subscription only

    def _shut_down(self, now_ns: int, conns: Iterable[Conn] | None = None) -> list[Output]:
        """Tell everyone that the service is upgraded, and cut them a minute later."""
        outputs: list[Output] = []
        for conn in list(self._clients) if conns is None else conns:
            client = self._clients[conn]
            notice = {"event": "notice", "code": "64008", "msg": _UPGRADE, "connId": client.id}
            outputs += self._send(conn, orjson.dumps(notice).decode(), now_ns)
            self._timers.set(("end", conn), now_ns + NOTICE_NS)
        return outputs

    def _announce(self, state: str, now_ns: int) -> list[Output]:
        now = str(now_ns // MS)
        row = {
            "begin": now,
            "end": "" if state == "ongoing" else now,
            "href": "",
            "preOpenBegin": "",
            "scheDesc": "",
            "serviceType": "5",
            "state": state,
            "system": "unified",
            "maintType": "2",
            "env": "1",
            "title": "Trading system maintenance",
            "ts": now,
        }
        return self._push(self._feed.announce(row), now_ns)

    def _set_status(self, status: Status, now_ns: int) -> list[Output]:
        outputs: list[Output] = []
        for symbol in self.exchange.listings:
            step = self.exchange.set_status(symbol, status, now_ns=now_ns)
            outputs += self._push(self._feed.market(step), now_ns)
        return outputs

    # Out

    def _push(self, payloads: Iterable[Payload], now_ns: int) -> list[Output]:
        outputs: list[Output] = []
        for payload in payloads:
            for conn in self._feed.listeners(payload.topic):
                self._clients[conn].sent_ns = now_ns
                outputs.append(_pushed(conn, payload))
        return outputs

    def _send(self, conn: Conn, text: str, now_ns: int) -> list[Output]:
        self._clients[conn].sent_ns = now_ns
        return [Send(conn, text)]

    def _end(self, conn: Conn, code: int) -> list[Output]:
        self.closed(conn, 0)
        return [Close(conn, code, _REASONS[code])]


def _pushed(conn: Conn, payload: Payload) -> Send:
    return Send(conn, payload.text, payload.topic.name, payload.kind, payload.reset)


def _no_channel(arg: Any) -> Refusal:
    asked = arg if isinstance(arg, dict) else {"channel": arg}
    name = ",".join(
        str(value) if key == "channel" else f"{key}:{value}" for key, value in asked.items()
    )
    return Refusal(60018, f"Wrong URL or channel:{name} doesn't exist. {_EXAMPLE}")


def _parsed(data: str | bytes, *, private: bool) -> dict[str, Any]:
    """An operation with its arguments.  Refusal: what is wrong with it."""
    text = data if isinstance(data, str) else data.decode(errors="replace")
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Refusal(60012, f"Invalid request: {text}") from error
    if not isinstance(message, dict) or not isinstance(message.get("op"), str):
        raise Refusal(60012, f"Invalid request: {text}")
    orders = private and message["op"] in OPERATIONS
    if not orders and message["op"] not in ("subscribe", "unsubscribe", "login"):
        raise Refusal(60012, f"Invalid request: {text}")
    args = message.get("args")
    if not orders and (not isinstance(args, list) or not args):
        raise Refusal(60012, f"Invalid request: {text}")
    id_ = message.get("id", "" if orders else "a")
    if not (isinstance(id_, str) and id_.isascii() and id_.isalnum() and len(id_) <= _ID_MAX):
        raise Refusal(60033, "Parameter id error")
    return message


def _ack(client: _Client, message: dict[str, Any], arg: dict[str, Any]) -> str:
    ack = {**_id(message), "event": message["op"], "arg": arg, "connId": client.id}
    return orjson.dumps(ack).decode()


def _error(client: _Client, message: dict[str, Any], refusal: Refusal) -> str:
    error = {"event": "error", "code": str(refusal.code), "msg": refusal.msg, "connId": client.id}
    return orjson.dumps({**_id(message), **error}).decode()


def _id(message: dict[str, Any]) -> dict[str, str]:
    return {"id": message["id"]} if "id" in message else {}
