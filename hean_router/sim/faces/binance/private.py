"""Binance's private side on both wires: the WS API with its sessions and user streams, and REST.

Order of work: refuse (an answer and nothing else), or execute; the events of one engine action are
pushed in rising execution ids, its `outboundAccountPosition` last.  The answer comes before them;
where it comes otherwise is not documented, so a fault (`early`) puts it after or among them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from hean_router.sim.accounts import Accepted, ApiKey, Event, OrderRecord, Permission
from hean_router.sim.contract import (
    MS,
    Conn,
    FrameKind,
    Options,
    Output,
    Request,
    Response,
    Send,
)
from hean_router.sim.desk import Outcome
from hean_router.sim.exchange import Exchange, Step
from hean_router.sim.faces.binance.feed import Clock, micros, millis
from hean_router.sim.faces.binance.meter import JSON, ApiError
from hean_router.sim.faces.binance.private_access import (
    Call,
    NumberText,
    authorise,
    denied,
    parse_frame,
    rest_call,
    socket_call,
)
from hean_router.sim.faces.binance.private_orders import Done, Orders
from hean_router.sim.faces.binance.rest import Rest
from hean_router.sim.lies import Liar

PATH = "/ws-api/v3"
CONNECT_WEIGHT = 2
_SESSION_WEIGHT = 2
_SUBSCRIPTIONS_MAX = 1_000
_SUBSCRIPTIONS_EVER_MAX = 65_535
_PUSHED_LATER_NS = MS  # what a REST request pushes, after its answer
_ROUTES = {
    ("POST", "/api/v3/order"): "order.place",
    ("POST", "/api/v3/order/test"): "order.test",
    ("DELETE", "/api/v3/order"): "order.cancel",
    ("GET", "/api/v3/order"): "order.status",
    ("GET", "/api/v3/openOrders"): "openOrders.status",
    ("DELETE", "/api/v3/openOrders"): "openOrders.cancelAll",
    ("PUT", "/api/v3/order/amend/keepPriority"): "order.amend.keepPriority",
    ("GET", "/api/v3/allOrders"): "allOrders",
    ("GET", "/api/v3/myTrades"): "myTrades",
    ("GET", "/api/v3/account"): "account.status",
    ("GET", "/api/v3/account/commission"): "account.commission",
    ("GET", "/api/v3/rateLimit/order"): "account.rateLimits.orders",
    ("GET", "/sapi/v1/account/apiRestrictions"): "sapi.restrictions",
    ("GET", "/sapi/v1/capital/config/getall"): "sapi.coins",
    ("GET", "/sapi/v1/asset/tradeFee"): "sapi.fees",
}
_PUBLIC = {
    "ping": "ping",
    "time": "time",
    "exchangeInfo": "exchangeInfo",
    "depth": "depth",
    "trades.recent": "trades",
    "trades.aggregate": "aggTrades",
    "ticker.book": "ticker/bookTicker",
    "ticker.price": "ticker/price",
}


@dataclass
class _Subscription:
    """One account's events on one connection; `logged_on` ends with the session."""

    account: str
    logged_on: bool


@dataclass
class _Socket:
    """One WS API connection."""

    address: str
    clock: Clock
    rate_limits: bool
    connected_ns: int
    session: ApiKey | None = None
    since_ns: int = 0
    subscriptions: dict[int, _Subscription] = field(default_factory=dict)
    subscribed: int = 0  # ever


class Private:
    """Everything that wants a key.

    `push_step` prints an engine step for the public streams; frames that a REST request or a late
    answer causes wait in an outbox until `flush`.
    """

    def __init__(
        self,
        exchange: Exchange,
        rest: Rest,
        rng: Random,
        options: Options,
        push_step: Callable[[Step], list[Output]],
    ) -> None:
        self.orders = Orders(exchange, rest.symbols, rest.meter, rng, options)
        self.desk = self.orders.desk
        self._liar = Liar("binance", self.desk, self.orders.faults)
        self._rest = rest
        self._push_step = push_step
        self._sockets: dict[Conn, _Socket] = {}
        self._outbox: deque[tuple[int, Output]] = deque()
        self._late: deque[tuple[int, Output]] = deque()  # answers, `ENGINE_WAIT_NS` later
        self._special = {
            "session.logon": self._logon,
            "session.status": self._session,
            "session.logout": self._logout,
            "session.subscriptions": self._subscriptions,
            "userDataStream.subscribe": self._subscribe,
            "userDataStream.subscribe.signature": self._subscribe_signed,
            "userDataStream.unsubscribe": self._unsubscribe,
        }

    # Time

    @property
    def wake_at_ns(self) -> int | None:
        """When something waits to be sent."""
        times = [queue[0][0] for queue in (self._outbox, self._late) if queue]
        return min(times, default=None)

    def flush(self, now_ns: int, *, all_pushes: bool = False) -> list[Output]:
        """What is due; with `all_pushes` also what would be soon: nothing may overtake it."""
        outputs: list[Output] = []
        while self._outbox and (all_pushes or self._outbox[0][0] <= now_ns):
            outputs.append(self._outbox.popleft()[1])
        while self._late and self._late[0][0] <= now_ns:
            outputs.append(self._late.popleft()[1])
        return outputs

    def market(self, step: Step, now_ns: int) -> list[Output]:
        """Others traded with orders of accounts."""
        events = self.desk.market(step, now_ns)
        self.orders.settled(events, now_ns)
        return self._tell(events, now_ns)

    # REST

    def serves(self, path: str) -> bool:
        """Whether a path wants a key."""
        return any(path == route for _, route in _ROUTES)

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer; what it pushes comes with the next `flush`."""
        name = _ROUTES.get((request.method, request.path))
        call = rest_call(request, now_ns)
        meter = self._rest.meter
        if name is None:
            error = ApiError(-1000, f"Request method '{request.method}' is not supported.", 405)
            return error.response(meter.peer(request.peer).headers)
        unit = request.headers.get("x-mbx-time-unit", "").upper()
        clock = micros if unit == "MICROSECOND" else millis
        done = self.orders.run(name, call, clock)
        when_ns = now_ns if done.early else now_ns + _PUSHED_LATER_NS
        self._outbox += ((when_ns, output) for output in self._push(done.outcomes, now_ns))
        if done.lost:
            return Response(0, b"")
        headers = {**meter.peer(request.peer).headers, **call.headers}
        if done.error is not None:
            response = done.error.response(headers)
            return Response(response.status, response.body, response.headers, done.wait_ns)
        return Response(200, orjson.dumps(done.answer), {**JSON, **headers})

    # The WS API

    def opened(self, conn: Conn, request: Request, now_ns: int) -> None:
        """A connection to `/ws-api/v3`."""
        params = request.params
        unit = params.get("timeUnit", "").upper()
        self._sockets[conn] = _Socket(
            request.peer,
            micros if unit == "MICROSECOND" else millis,
            params.get("returnRateLimits", "true").lower() != "false",
            now_ns,
        )

    def closed(self, conn: Conn) -> None:
        """It is gone: session, subscriptions and answers under way with it."""
        self._sockets.pop(conn, None)

    def topics(self, conn: Conn) -> list[str]:
        """Accounts whose events it gets."""
        socket = self._sockets.get(conn)
        if socket is None:
            return []
        return [f"user:{each.account}" for each in socket.subscriptions.values()]

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> list[Output]:
        """A request: its answer, and what it pushed, in the order they leave."""
        socket = self._sockets[conn]
        try:
            message = parse_frame(data)
            params = _params(message)
        except ValueError:
            error = ApiError(-1135, "Invalid JSON Request")
            return [_send(conn, _envelope(None, Done(error=error), []))]
        call = socket_call(params, socket.address, now_ns)
        done = self._run(conn, socket, message["method"], call)
        pushes = self._push(done.outcomes, now_ns)
        if done.lost:
            return pushes
        limits = self._rate_limits(socket, call, done)
        answer = _send(conn, _envelope(_plain(message.get("id")), done, limits))
        if done.wait_ns:
            self._late.append((now_ns + done.wait_ns, answer))
            return pushes
        at = {0: 0, 1: len(pushes), 2: (len(pushes) + 1) // 2}[done.early]
        return [*pushes[:at], answer, *pushes[at:]]

    def _run(self, conn: Conn, socket: _Socket, method: str, call: Call) -> Done:
        if method in self.orders.methods and not method.startswith("sapi."):
            return self.orders.run(method, call, socket.clock, socket.session)
        done = Done()
        try:
            if method in _PUBLIC:
                path = f"/api/v3/{_PUBLIC[method]}"
                done.answer = self._rest.answer(
                    path, call.params, socket.address, call.now_ns, socket.clock
                )
            elif method in self._special:
                self._rest.meter.pay(socket.address, _SESSION_WEIGHT, call.now_ns)
                done.answer = self._special[method](conn, socket, call, done)
            else:
                self._rest.meter.pay(socket.address, 1, call.now_ns)
                raise ApiError(-1020, "This operation is not supported.")
        except ApiError as error:
            done.error = error
        return done

    def _rate_limits(self, socket: _Socket, call: Call, done: Done) -> list[dict[str, Any]]:
        wanted = call.params.get("returnRateLimits")
        if wanted == "false" or (wanted is None and not socket.rate_limits):
            return []
        limits = [self._rest.meter.rate_limit(socket.address, call.now_ns)]
        if done.counts_orders and call.account is not None:
            limits = self.orders.count(call.account).rate_limits(call.now_ns) + limits
        return limits

    # Sessions

    def _logon(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        authorise(self.desk, call, Permission.READ)
        assert call.key is not None, "authorised"
        if call.key.scheme != "ed25519":
            raise ApiError(-4056, "HMAC_SHA256 API key is not supported.")
        socket.session, socket.since_ns = call.key, call.now_ns
        return self._session(conn, socket, call, done)

    def _session(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        logged_on = socket.session is not None
        return {
            "apiKey": socket.session.key if socket.session else None,
            "authorizedSince": socket.clock(socket.since_ns) if logged_on else None,
            "connectedSince": socket.clock(socket.connected_ns),
            "returnRateLimits": socket.rate_limits,
            "serverTime": socket.clock(call.now_ns),
            "userDataStream": bool(socket.subscriptions),
        }

    def _logout(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        socket.session = None
        for number, subscription in list(socket.subscriptions.items()):
            if subscription.logged_on:
                self._terminate(conn, socket, number, call.now_ns)
        return self._session(conn, socket, call, done)

    # User data streams

    def _subscriptions(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        return [{"subscriptionId": number} for number in socket.subscriptions]

    def _subscribe(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        if socket.session is None:
            raise denied()
        known = self.desk.key(socket.session.key)
        assert known is not None, "logged on"
        return self._listen(socket, known[0].name, logged_on=True)

    def _subscribe_signed(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        account = authorise(self.desk, call, Permission.READ)
        return self._listen(socket, account.name, logged_on=False)

    @staticmethod
    def _listen(socket: _Socket, account: str, *, logged_on: bool) -> dict[str, int]:
        live = socket.subscriptions
        if any(subscription.account == account for subscription in live.values()):
            raise ApiError(-2035, "User Data Stream subscription already active.")
        if len(live) >= _SUBSCRIPTIONS_MAX or socket.subscribed >= _SUBSCRIPTIONS_EVER_MAX:
            raise ApiError(-2042, "User Data Stream subscription limit reached.")
        number = socket.subscribed
        socket.subscribed += 1
        live[number] = _Subscription(account, logged_on)
        return {"subscriptionId": number}

    def _unsubscribe(self, conn: Conn, socket: _Socket, call: Call, done: Done) -> Any:
        wanted = call.whole("subscriptionId")
        numbers = list(socket.subscriptions) if wanted is None else [wanted]
        if not numbers or any(number not in socket.subscriptions for number in numbers):
            raise ApiError(-2036, "User Data Stream subscription not active.")
        for number in numbers:
            self._terminate(conn, socket, number, call.now_ns)
        return {}

    def _terminate(self, conn: Conn, socket: _Socket, number: int, now_ns: int) -> None:
        """End a subscription, and say so on its stream."""
        event = {"e": "eventStreamTerminated", "E": socket.clock(now_ns)}
        frame = _send(conn, {"subscriptionId": number, "event": event})
        self._outbox.append((now_ns, frame))
        del socket.subscriptions[number]

    # Out

    def carried(self, outcome: Outcome, now_ns: int, *, told: bool = True) -> list[Output]:
        """What an act of the venue's own pushes; if it is not `told`, accounts hear nothing."""
        self.orders.settled(outcome.events, now_ns)
        told_of = self._tell(outcome.events, now_ns) if told else []
        return [*told_of, *(output for step in outcome.steps for output in self._push_step(step))]

    def _push(self, outcomes: Iterable[Outcome], now_ns: int) -> list[Output]:
        outputs: list[Output] = []
        for outcome in outcomes:
            outputs += self._tell(outcome.events, now_ns)
            for step in outcome.steps:
                outputs += self._push_step(step)
        return outputs

    def _tell(self, events: Iterable[Event], now_ns: int) -> list[Output]:
        """Frames for everyone who listens; an order met by its own account names the other."""
        outputs: list[Output] = []
        taker: OrderRecord | None = None
        for event in events:
            if isinstance(event, Accepted):
                taker = event.order
            texts: dict[Clock, Mapping[str, Any]] = {}
            for conn, socket in self._sockets.items():
                for number, subscription in socket.subscriptions.items():
                    if subscription.account != event.account:
                        continue
                    clock = socket.clock
                    if clock not in texts:
                        texts[clock] = self.orders.words.event(event, clock, counter=taker)
                    frame = {"subscriptionId": number, "event": texts[clock]}
                    sent = _send(conn, frame, f"user:{event.account}")
                    outputs.append(sent)
                    if self.orders.faults.strikes("twice", now_ns):
                        outputs.append(sent)
                    lie = self._liar.lie(event.account, dict(texts[clock]), now_ns)
                    if lie is not None:
                        told = {"subscriptionId": number, "event": lie}
                        outputs.append(_send(conn, told, f"user:{event.account}"))
        return outputs


def _send(conn: Conn, frame: Mapping[str, Any], topic: str = "") -> Send:
    kind = FrameKind.PRIVATE if topic else FrameKind.CONTROL
    return Send(conn, orjson.dumps(frame).decode(), topic, kind)


def _envelope(id_: Any, done: Done, limits: list[dict[str, Any]]) -> dict[str, Any]:
    if done.error is not None:
        frame = {"id": id_, "status": done.error.status, "error": done.error.body}
    else:
        frame = {"id": id_, "status": 200, "result": done.answer}
    return {**frame, "rateLimits": limits} if limits else frame


def _params(message: Any) -> dict[str, Any]:
    """A request's parameters.  ValueError: it is none."""
    if not isinstance(message, dict) or not _legal_id(message.get("id")):
        raise ValueError("not an object with an id")
    method, params = message.get("method"), message.get("params", {})
    if not isinstance(method, str) or isinstance(method, NumberText):
        raise ValueError("no method")
    if not isinstance(params, dict):
        raise ValueError("parameters without names")
    return params


def _legal_id(id_: Any) -> bool:
    """An integer, text of up to 36, or null."""
    return id_ is None or (isinstance(id_, str) and len(id_) <= 36)


def _plain(id_: Any) -> Any:
    """An id as it was sent."""
    if isinstance(id_, NumberText):
        return int(id_) if id_.lstrip("-").isdigit() else float(id_)
    return id_
