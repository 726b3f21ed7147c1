"""Bybit's private side on three wires: REST with a key, `/v5/trade` for orders, `/v5/private`.

Per request: the answer, then for each account an engine action touched its `order`, `execution` and
`wallet` frames.  Within a topic they come as things happened; between topics no order is documented
and none is kept.  A fault (`early`) puts the answer after or among the events.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson

from hean_router.sim.accounts import (
    Accepted,
    Account,
    ApiKey,
    BalancesChanged,
    Ended,
    Event,
    Filled,
    OrderRecord,
    Permission,
)
from hean_router.sim.contract import (
    MS,
    SECOND,
    Conn,
    FrameKind,
    Options,
    Output,
    Request,
    Response,
    Send,
)
from hean_router.sim.desk import Outcome
from hean_router.sim.exchange import Exchange, Step, Tif
from hean_router.sim.faces.bybit.feed import Feed
from hean_router.sim.faces.bybit.private_access import (
    OrderError,
    Unauthorised,
    authorise,
    check_time,
    log_in,
    may_not,
    parameter,
    system_error,
)
from hean_router.sim.faces.bybit.private_orders import (
    OPERATIONS,
    REST_ONLY,
    Call,
    Done,
    Orders,
    too_many,
)
from hean_router.sim.faces.bybit.private_queries import Asker, Queries
from hean_router.sim.faces.bybit.private_words import ms
from hean_router.sim.lies import Liar
from hean_router.sim.pacing import RollingWindow

PRIVATE_PATH, TRADE_PATH = "/v5/private", "/v5/trade"
PATHS = (PRIVATE_PATH, TRADE_PATH)
_REST_PARTS = tuple(
    f"/v5/{part}/" for part in ("order", "execution", "account", "position", "user", "asset")
)
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_PUSHED_LATER_NS = MS  # what a REST request pushes, after its answer
_SOCKET_REQUESTS_MAX = 3_000  # a second, of an address, on trade sockets
_REQ_ID_MAX = 36
_ALL = ("order", "execution", "execution.fast", "wallet", "position", "greeks")
_PARTED = ("order", "execution", "execution.fast", "position")
_CATEGORIES = ("spot", "linear", "inverse", "option")
TOPICS = frozenset({*_ALL, *(f"{name}.{part}" for name in _PARTED for part in _CATEGORIES)})
_Frame = tuple[str, dict[str, Any] | list[dict[str, Any]]]


@dataclass
class _Client:
    """One private or trade socket."""

    id: str
    trade: bool
    peer: str
    who: tuple[Account, ApiKey] | None = None
    topics: dict[str, None] = field(default_factory=dict)
    req_ids: set[str] = field(default_factory=set)


class Private:
    """Everything that wants a key.

    `push_step` prints an engine step for the public streams; frames that a REST request causes wait
    in an outbox until `flush`.
    """

    def __init__(
        self,
        exchange: Exchange,
        feed: Feed,
        rng: Random,
        options: Options,
        push_step: Callable[[Step], list[Output]],
    ) -> None:
        self.orders = Orders(exchange, feed, options)
        self.desk = self.orders.desk
        self._liar = Liar("bybit", self.desk, self.orders.faults)
        self.down = False  # maintenance
        self._options = options
        self._rng = rng
        self._queries = Queries(self.orders)
        self._push_step = push_step
        self._clients: dict[Conn, _Client] = {}
        self._socket_windows: dict[str, RollingWindow] = {}
        self._outbox: deque[tuple[int, Output]] = deque()
        self._frames = 0

    # Time

    @property
    def wake_at_ns(self) -> int | None:
        """When something waits to be sent."""
        return self._outbox[0][0] if self._outbox else None

    def flush(self, now_ns: int, *, all_pushes: bool = False) -> list[Output]:
        """Pushes that are due; with `all_pushes` those soon due: nothing may overtake them."""
        outputs: list[Output] = []
        while self._outbox and (all_pushes or self._outbox[0][0] <= now_ns):
            outputs.append(self._outbox.popleft()[1])
        return outputs

    def market(self, step: Step, now_ns: int) -> list[Output]:
        """Others traded with orders of accounts."""
        return self._tell(self.desk.market(step, now_ns), now_ns)

    def restart(self, now_ns: int) -> None:
        """The venue restarts: ended orders are only in the history afterwards."""
        self._queries.restart(now_ns)

    # REST

    def serves(self, path: str) -> bool:
        """Whether a path wants a key."""
        return path.startswith(_REST_PARTS)

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer; what it pushes comes with the next `flush`."""
        if request.method not in ("GET", "POST"):
            return Response(400, b"", {})
        if request.method == "GET" and request.body:  # documented: even an empty JSON object
            return Response(403, b"", {})
        try:
            if self.down:
                raise system_error()
            return self._served(request, now_ns)
        except Unauthorised:
            return Response(401, b"", {})
        except OrderError as error:
            return _rest(error.code, error.msg, {}, {}, now_ns)

    def _served(self, request: Request, now_ns: int) -> Response:
        account, key = authorise(self.desk, request, now_ns)
        if request.method == "POST":
            return self._posted(request, account, key, now_ns)
        if Permission.READ not in key.permissions:
            raise may_not()
        if request.path not in self._queries.routes:
            return Response(404, b"", {})
        per_s, answer = self._queries.routes[request.path]
        window = self.orders.window(("ask", request.path, account.name), per_s)
        if not window.take(now_ns):
            error = too_many()
            return _rest(error.code, error.msg, {}, {}, now_ns, window)
        result = answer(Asker(account, key, now_ns), request.params)
        return _rest(0, "OK", result, {}, now_ns, window)

    def _posted(self, request: Request, account: Account, key: ApiKey, now_ns: int) -> Response:
        name = request.path.removeprefix("/v5/order/")
        if name == "disconnected-cancel-all":
            raise may_not()  # for institutions, switched on by their account manager
        if name not in OPERATIONS:
            return Response(404, b"", {})
        if Permission.TRADE not in key.permissions:
            raise may_not()
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise parameter("params error: the request body is not a JSON object")
        done = self.orders.act(name, Call(account, body, now_ns))
        when_ns = now_ns + (0 if done.early else _PUSHED_LATER_NS)
        self._outbox += ((when_ns, output) for output in self._pushed(done, now_ns))
        if done.lost:
            return Response(0, b"")
        if done.error is not None:
            error = done.error
            return _rest(error.code, error.msg, {}, {}, now_ns, done.window)
        return _rest(0, "OK", done.result, done.extra, now_ns, done.window)

    # Sockets

    def opened(self, conn: Conn, conn_id: str, request: Request) -> None:
        """A private or trade socket is open."""
        trade = request.path == TRADE_PATH
        self._clients[conn] = _Client(conn_id, trade, request.peer)

    def closed(self, conn: Conn) -> None:
        """The connection is gone; harmless if it was none of ours."""
        self._clients.pop(conn, None)

    def conns(self) -> list[Conn]:
        """Open private and trade sockets."""
        return list(self._clients)

    def topics(self, conn: Conn) -> tuple[str, ...]:
        """What a private socket subscribed to."""
        client = self._clients.get(conn)
        return tuple(client.topics) if client else ()

    def received(self, conn: Conn, data: str | bytes, now_ns: int) -> list[Output]:
        """A client's frame: its answer, and what it pushes, in the order they leave."""
        client = self._clients[conn]
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            message = None
        if not isinstance(message, dict):
            message = {}
        if client.trade:
            return self._trade(conn, client, message, now_ns)
        return [Send(conn, orjson.dumps(self._control(client, message, now_ns)).decode())]

    # The private socket

    def _control(self, client: _Client, message: Mapping[str, Any], now_ns: int) -> dict[str, Any]:
        op, req_id = str(message.get("op", "")), message.get("req_id", "")
        head = {"req_id": str(req_id)} if req_id not in ("", None) else {}
        if op == "ping":
            return {**head, "op": "pong", "args": [ms(now_ns)], "conn_id": client.id}
        msg = ""
        try:
            if op == "auth":
                if client.who is not None:
                    raise OrderError(20001, "Repeat auth")
                client.who = log_in(self.desk, message.get("args"), now_ns)
            elif op in ("subscribe", "unsubscribe"):
                self._subscribe(client, op, message.get("args"))
            else:
                raise parameter("error:invalid op")
        except OrderError as error:
            msg = error.msg
        answer: dict[str, Any] = {"success": not msg, "ret_msg": msg, **head, "op": op}
        if msg and op == "auth":
            answer["request"] = {"op": op, "args": message.get("args")}  # as clients expect it
        return {**answer, "conn_id": client.id}

    @staticmethod
    def _subscribe(client: _Client, op: str, args: Any) -> None:
        """Topics of one request, all or none.  OrderError: why not."""
        if client.who is None:
            raise OrderError(10003, "Request not authorized")
        if not isinstance(args, list) or not args or not all(isinstance(arg, str) for arg in args):
            raise parameter("error:args is empty")
        if op == "unsubscribe":
            for arg in args:
                client.topics.pop(arg, None)
            return
        for arg in args:
            if arg not in TOPICS:
                raise parameter(f"error:handler not found,topic:{arg}")
            if arg in client.topics or args.count(arg) > 1:
                raise parameter(f"error:already subscribed,topic:{arg}")
        parted = {arg.rpartition(".")[2] in _CATEGORIES for arg in args if arg != "wallet"}
        if len(parted) > 1:
            raise parameter("error:all-in-one and categorised topics cannot be mixed")
        client.topics.update(dict.fromkeys(args))

    # The trade socket

    def _trade(
        self, conn: Conn, client: _Client, message: Mapping[str, Any], now_ns: int
    ) -> list[Output]:
        op, req_id = str(message.get("op", "")), message.get("reqId", "")
        head: dict[str, Any] = {"reqId": str(req_id)} if req_id not in ("", None) else {}
        if op in ("ping", "auth"):
            answer = self._session(client, op, head, message, now_ns)
            return [Send(conn, orjson.dumps(answer).decode())]
        done = Done()
        try:
            done = self._operated(client, op, str(req_id or ""), message, now_ns)
        except OrderError as error:
            done.error = error
        pushes = self._pushed(done, now_ns)
        if done.lost:
            return pushes
        code, msg = (done.error.code, done.error.msg) if done.error else (0, "OK")
        limits = _limits(done.window, now_ns)
        told = {
            **head,
            "retCode": code,
            "retMsg": msg,
            "op": op,
            "data": {} if done.error else done.result,
            "retExtInfo": done.extra,
            "header": {**limits, "Traceid": f"{self._trace():032x}", "Timenow": ms(now_ns)},
            "connId": client.id,
        }
        sent = Send(conn, orjson.dumps(told).decode())
        at = {0: 0, 1: len(pushes), 2: (len(pushes) + 1) // 2}[done.early]
        return [*pushes[:at], sent, *pushes[at:]]

    def _session(
        self,
        client: _Client,
        op: str,
        head: dict[str, Any],
        message: Mapping[str, Any],
        now_ns: int,
    ) -> dict[str, Any]:
        """Answers to `ping` and `auth`."""
        if op == "ping":
            answer = {"retCode": 0, "retMsg": "OK", "op": "pong", "data": [ms(now_ns)]}
            return {**head, **answer, "connId": client.id}
        code, msg = 0, "OK"
        try:
            if client.who is not None:
                raise OrderError(20001, "Repeat auth")
            client.who = log_in(self.desk, message.get("args"), now_ns)
        except OrderError as error:
            code, msg = error.code, error.msg
        return {**head, "retCode": code, "retMsg": msg, "op": op, "connId": client.id}

    def _operated(
        self, client: _Client, op: str, req_id: str, message: Mapping[str, Any], now_ns: int
    ) -> Done:
        """An order operation.  OrderError: it never reached the orders."""
        window = self._socket_windows.get(client.peer)
        if window is None:
            limit = self._options.limit(_SOCKET_REQUESTS_MAX)
            window = self._socket_windows[client.peer] = RollingWindow(limit, SECOND)
        if not window.take(now_ns):
            raise OrderError(10403, "Exceed IP rate limit. 3000 requests per second per IP")
        name = op.removeprefix("order.")
        if name == op or name not in OPERATIONS or name in REST_ONLY:
            raise OrderError(10404, f"op type is not found: {op}")
        if len(req_id) > _REQ_ID_MAX:
            raise parameter("params error: reqId too long")
        if req_id and req_id in client.req_ids:
            raise OrderError(20006, "reqId is duplicated")
        if client.who is None:
            raise OrderError(10003, "Request not authorized")
        if req_id:
            client.req_ids.add(req_id)
        if self.down:
            raise OrderError(10019, "Websocket trade service is restarting")
        account, key = client.who
        header, args = message.get("header"), message.get("args")
        check_time(header if isinstance(header, dict) else {}, now_ns)
        if Permission.TRADE not in key.permissions:
            raise may_not()
        if not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], dict):
            raise parameter("params error: args must have one item")
        return self.orders.act(name, Call(account, args[0], now_ns, socket=True))

    def _trace(self) -> int:
        return self._rng.getrandbits(128)

    # Out

    def carried(self, outcome: Outcome, now_ns: int, *, told: bool = True) -> list[Output]:
        """What an act of the venue's own pushes; if it is not `told`, accounts hear nothing."""
        told_of = self._tell(outcome.events, now_ns) if told else []
        return [*told_of, *(output for step in outcome.steps for output in self._push_step(step))]

    def _pushed(self, done: Done, now_ns: int) -> list[Output]:
        """Everything a request pushes."""
        outputs: list[Output] = []
        for outcome in done.outcomes:
            outputs += self._told(outcome, now_ns)
        for order in done.again:
            row = self.orders.words.late_cancel(order)
            outputs += self._send(order.account, ("order", row), now_ns)
        return outputs

    def _told(self, outcome: Outcome, now_ns: int) -> list[Output]:
        outputs = self._tell(outcome.events, now_ns)
        for step in outcome.steps:
            outputs += self._push_step(step)
        return outputs

    def _tell(self, events: Iterable[Event], now_ns: int) -> list[Output]:
        """Frames of one engine action for everyone who listens."""
        by_account: dict[str, list[Event]] = {}
        for event in events:
            by_account.setdefault(event.account, []).append(event)
        outputs: list[Output] = []
        for name, own in by_account.items():
            for frame in self._disordered(self._framed(own)):
                outputs += self._send(name, frame, now_ns)
        return outputs

    def _framed(self, events: list[Event]) -> list[_Frame]:
        """What an account's events of one action are told as.

        An order that never rested is told once, as it ended (recorded), and its matches at once.
        """
        words = self.orders.words
        placed = [event.order for event in events if isinstance(event, Accepted)]
        brief = {order.id for order in placed if _brief(order)}
        frames: list[_Frame] = []
        for event in events:
            if isinstance(event, BalancesChanged):
                account = self.desk.accounts[event.account]
                amounts = {
                    asset: (change.total, change.locked) for asset, change in event.changes.items()
                }
                frames.append(("wallet", words.wallet(account, amounts)))
                continue
            order = event.order
            if order.id not in brief:
                if isinstance(event, Filled):
                    frames += self._fills(order, [event])
                frames.append(("order", words.after(event)))
                continue
            ends = isinstance(event, Ended) or (isinstance(event, Filled) and not event.fill.leaves)
            if ends:
                matched = [
                    each for each in events if isinstance(each, Filled) and each.order is order
                ]
                frames += self._fills(order, matched)
                frames.append(("order", words.now(order)))
        return frames

    def _fills(self, order: OrderRecord, matches: list[Filled]) -> list[_Frame]:
        if not matches:
            return []
        words = self.orders.words
        return [
            ("execution", [words.fill(order, each.fill) for each in matches]),
            ("execution.fast", [words.fast(order, each.fill) for each in matches]),
        ]

    def _disordered(self, frames: list[_Frame]) -> list[_Frame]:
        """Topics shuffled among each other, each in its own order; most often left as they are."""
        if self._rng.randrange(4):
            return frames
        queues: dict[str, deque[_Frame]] = {}
        for frame in frames:
            queues.setdefault(frame[0], deque()).append(frame)
        order = [frame[0] for frame in frames]
        self._rng.shuffle(order)
        return [queues[topic].popleft() for topic in order]

    def _send(self, account: str, frame: _Frame, now_ns: int) -> list[Output]:
        """One frame to all sockets that want it; a fault says it twice."""
        topic, rows = frame
        data = rows if isinstance(rows, list) else [rows]
        self._frames += 1
        outputs: list[Output] = []
        for conn, client in self._clients.items():
            if client.who is None or client.who[0].name != account:
                continue
            for name in (topic, f"{topic}.spot"):
                if name not in client.topics:
                    continue
                told: dict[str, Any] = {"topic": name}
                if topic != "execution.fast":
                    told["id"] = f"{client.who[0].spec.uid}_{topic}_{self._frames}"
                told |= {"creationTime": now_ns // MS, "data": data}
                sent = Send(conn, orjson.dumps(told).decode(), name, FrameKind.PRIVATE)
                outputs.append(sent)
                if self.orders.faults.strikes("twice", now_ns):
                    outputs.append(sent)
                if topic == "execution.fast":
                    continue
                if (lie := self._liar.lie(account, data[0], now_ns)) is not None:
                    text = orjson.dumps({**told, "data": [lie]}).decode()
                    outputs.append(Send(conn, text, name, FrameKind.PRIVATE))
        return outputs


def _brief(order: OrderRecord) -> bool:
    """Whether an order could never rest, or was not let."""
    unwanted = order.terms.post_only and not order.open and not order.filled
    return order.px is None or order.terms.tif is not Tif.GTC or unwanted


def _limits(window: RollingWindow | None, now_ns: int) -> dict[str, str]:
    """What is left of a limit, and when there is some again."""
    if window is None or window.limit is None:
        return {}
    return {
        "X-Bapi-Limit": str(window.limit),
        "X-Bapi-Limit-Status": str(window.limit - window.used),
        "X-Bapi-Limit-Reset-Timestamp": ms(window.free_at_ns(now_ns)),
    }


def _rest(
    code: int,
    msg: str,
    result: Any,
    extra: dict[str, Any],
    now_ns: int,
    window: RollingWindow | None = None,
) -> Response:
    body = {
        "retCode": code,
        "retMsg": msg,
        "result": result,
        "retExtInfo": extra,
        "time": now_ns // MS,
    }
    return Response(200, orjson.dumps(body), {**_JSON, **_limits(window, now_ns)})
