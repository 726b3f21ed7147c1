"""OKX's private side on both wires: orders and channels of the private socket, and REST.

Order per request: the answer, then for each engine action one `orders` frame per event, then
`balance_and_position`, then `account` up to 50 ms later with its changes merged.  Where the answer
comes otherwise, a fault (`early`) puts it after or among the events.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from hean_router.sim.accounts import (
    Account,
    ApiKey,
    BalancesChanged,
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
from hean_router.sim.exchange import Exchange, Step
from hean_router.sim.faces.okx.facts import NO_SUCH_LISTED, TYPES, Symbols
from hean_router.sim.faces.okx.private_access import (
    ApiError,
    Refusal,
    authorise,
    may_not,
    too_frequent,
)
from hean_router.sim.faces.okx.private_orders import OPERATIONS, Call, Done, OrderError, Orders
from hean_router.sim.faces.okx.private_queries import Asker, Queries
from hean_router.sim.faces.okx.private_words import ms, num
from hean_router.sim.lies import Liar
from hean_router.sim.pacing import Timers

PATH = "/ws/v5/private"
CHANNELS = frozenset(
    {"orders", "account", "balance_and_position", "positions", "fills", "account-greeks"}
)
_LISTENERS_MAX = 30  # connections per private channel
_MERGED_NS = 50 * MS
_REGULAR_NS = 5 * SECOND
_PUSHED_LATER_NS = MS  # what a REST request pushes, after its answer
_SWEEP_NS = 20 * MS  # between two cancels of a dead man's switch
_TAGS_MAX = 20
_TIERED = "Your trading fee tier doesn't meet the requirement to access this channel"
_POSTS = {
    "/api/v5/trade/order": "order",
    "/api/v5/trade/batch-orders": "batch-orders",
    "/api/v5/trade/cancel-order": "cancel-order",
    "/api/v5/trade/cancel-batch-orders": "batch-cancel-orders",
    "/api/v5/trade/amend-order": "amend-order",
    "/api/v5/trade/amend-batch-orders": "batch-amend-orders",
}
_MESSAGES = {0: "", 1: "All operations failed", 2: "Bulk operation partially succeeded"}


@dataclass(frozen=True)
class Subscription:
    """A private channel with its argument, of one account."""

    account: Account
    channel: str
    arg: Mapping[str, Any]
    inst_type: str = "ANY"
    inst_id: str = ""
    ccy: str = ""
    regular: bool = False  # `account`: snapshots now and then too

    @property
    def name(self) -> str:
        """What tells it from others of its connection."""
        parts = (self.channel, self.inst_type, self.inst_id, self.ccy)
        return ":".join(part for part in parts if part)

    def wants(self, inst_id: str) -> bool:
        """Whether an order of a spot instrument is told here."""
        return self.inst_type in ("ANY", "SPOT") and self.inst_id in ("", inst_id)

    def frame(self, data: list[Any], **more: Any) -> str:
        """A push."""
        arg = {**self.arg, "uid": str(self.account.spec.uid)}
        return orjson.dumps({"arg": arg, **more, "data": data}).decode()


class Private:
    """Everything that wants a key.

    `push_step` prints an engine step for the public channels; frames that a REST request causes
    wait in an outbox until `flush`.
    """

    def __init__(
        self,
        exchange: Exchange,
        symbols: Symbols,
        options: Options,
        push_step: Callable[[Step], list[Output]],
    ) -> None:
        self.orders = Orders(exchange, symbols, options)
        self.desk = self.orders.desk
        self._liar = Liar("okx", self.desk, self.orders.faults)
        self.maintenance = False
        self._options = options
        self._queries = Queries(exchange, self.orders)
        self._push_step = push_step
        self._subscriptions: dict[Conn, dict[str, Subscription]] = {}
        self._outbox: deque[tuple[int, Output]] = deque()
        self._changed: dict[str, dict[str, None]] = {}  # account -> assets to tell
        self._switches: dict[tuple[str, str], int] = {}  # (account, tag) -> when it fires
        self._doomed: dict[tuple[str, str], list[OrderRecord]] = {}
        self._timers: Timers[tuple[Any, ...]] = Timers()

    # Time

    @property
    def wake_at_ns(self) -> int | None:
        """When something waits to be sent or done."""
        times = [self._outbox[0][0] if self._outbox else None, self._timers.wake_at_ns]
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def flush(self, now_ns: int, *, all_pushes: bool = False) -> list[Output]:
        """Pushes that are due; with `all_pushes` those soon due: nothing may overtake them."""
        outputs: list[Output] = []
        while self._outbox and (all_pushes or self._outbox[0][0] <= now_ns):
            outputs.append(self._outbox.popleft()[1])
        return outputs

    def due(self, now_ns: int) -> list[Output]:
        """What is due: pushes, merged balances, dead men's switches."""
        outputs = self.flush(now_ns)
        while popped := self._timers.pop(now_ns):
            when_ns, (what, *of) = popped
            match what:
                case "merged":
                    outputs += self._merged(of[0], when_ns)
                case "regular":
                    outputs += self._regular(of[0], of[1], when_ns)
                case "switch":
                    del self._switches[of[0], of[1]]
                    orders = self.desk.accounts[of[0]].open_orders()
                    doomed = [order for order in orders if of[1] in ("", order.note["tag"])]
                    self._doomed[of[0], of[1]] = doomed
                    outputs += self._sweep(of[0], of[1], when_ns)
                case _:
                    outputs += self._sweep(of[0], of[1], when_ns)
        return outputs

    def market(self, step: Step, now_ns: int) -> list[Output]:
        """Others traded with orders of accounts."""
        return self._tell(self.desk.market(step, now_ns), now_ns)

    # REST

    def serves(self, path: str) -> bool:
        """Whether a path wants a key."""
        return path.startswith(
            ("/api/v5/account/", "/api/v5/asset/", "/api/v5/trade/", "/api/v5/users/")
        )

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer; what it pushes comes with the next `flush`."""
        try:
            if self.maintenance:
                raise ApiError(50001, _UNAVAILABLE, 503)
            trades = request.method == "POST"
            permission = Permission.TRADE if trades else Permission.READ
            account, key = authorise(self.desk, request, permission, now_ns)
            if not trades:
                data = self._asked(request, Asker(account, key, now_ns))
            else:
                posted = self._posted(request, account, now_ns)
                if isinstance(posted, Response):
                    return posted
                data = posted
        except ApiError as error:
            return error.response()
        return Response(200, orjson.dumps({"code": "0", "data": data, "msg": ""}))

    def _asked(self, request: Request, asker: Asker) -> list[Any]:
        if request.path not in self._queries.routes:
            raise ApiError(404, "Not Found", 404)
        limit, span_s, answer = self._queries.routes[request.path]
        key = ("ask", request.path, asker.account.name)
        if not self.orders.window(key, limit, span_s * SECOND).take(asker.now_ns):
            raise too_frequent()
        params = {name: value for name, value in request.params.items() if value}
        return answer(asker, params)

    def _posted(self, request: Request, account: Account, now_ns: int) -> Response | list[Any]:
        op = _POSTS.get(request.path)
        if op is None and request.path not in _SETTINGS:
            raise ApiError(404, "Not Found", 404)
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind != "application/json":
            raise ApiError(
                50006, "Invalid Content-Type, please use the application/json format", 400
            )
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise ApiError(50002, "JSON syntax error", 400) from error
        if op is not None:
            args = body if isinstance(body, list) else [body]
            if isinstance(body, list) is not OPERATIONS[op].batch:
                raise ApiError(50002, "JSON syntax error", 400)
            exp_time = request.headers.get("exptime", "")
            return self._traded(op, Call(account, args, now_ns, "instId", exp_time))
        if not isinstance(body, dict):
            raise ApiError(50002, "JSON syntax error", 400)
        body = {name: value for name, value in body.items() if value not in ("", None)}
        if request.path == "/api/v5/account/set-fee-type":
            return self._set_fee_type(account, body)
        return self._set_switch(account, body, now_ns)

    def _traded(self, op: str, call: Call) -> Response:
        done = self.orders.act(op, call)
        when_ns = call.now_ns + (0 if done.early else _PUSHED_LATER_NS)
        pushes = self._push(done.outcomes, call.now_ns)
        self._outbox += ((when_ns, output) for output in pushes)
        if done.lost:
            return Response(0, b"")
        if done.error is not None:
            return done.error.response()
        answer = {"code": str(done.code), "data": done.rows, "msg": _MESSAGES[done.code]}
        return Response(200, orjson.dumps({**answer, **_times(call.now_ns)}))

    def _set_fee_type(self, account: Account, body: Mapping[str, Any]) -> list[Any]:
        fee_type = body.get("feeType")
        if fee_type not in ("0", "1"):
            raise ApiError(51000, "Parameter feeType error", 400)
        if account.open:
            raise ApiError(59000, "Settings failed: close or cancel open orders first")
        names = self.orders.rules.quote_fees
        names.add(account.name) if fee_type == "1" else names.discard(account.name)
        return [{"feeType": fee_type}]

    def _set_switch(self, account: Account, body: Mapping[str, Any], now_ns: int) -> list[Any]:
        """Cancel all after `timeOut` seconds, all or those of a tag; 0 calls it off."""
        text, tag = str(body.get("timeOut", "")), body.get("tag", "")
        seconds = int(text) if text.isascii() and text.isdigit() else -1
        if not (seconds == 0 or 10 <= seconds <= 120):
            raise ApiError(51000, "Parameter timeOut error", 400)
        if not (isinstance(tag, str) and len(tag) <= 16 and (tag.isalnum() or not tag)):
            raise ApiError(51000, "Parameter tag error", 400)
        if not self.orders.window(("switch", account.name, tag), 1, SECOND).take(now_ns):
            raise too_frequent()
        key = (account.name, tag)
        at_ns = now_ns + seconds * SECOND
        if seconds == 0:
            self._switches.pop(key, None)
            self._timers.drop(("switch", *key))
        else:
            live = {name for owner, name in self._switches if owner == account.name and name}
            if tag and tag not in live and len(live) >= _TAGS_MAX:
                raise ApiError(51071, f"The number of tags exceeds the upper limit of {_TAGS_MAX}")
            self._switches[key] = at_ns
            self._timers.set(("switch", *key), at_ns)
        trigger = "0" if seconds == 0 else str(at_ns // SECOND)
        return [{"triggerTime": trigger, "tag": tag, "ts": str(now_ns // SECOND)}]

    def _sweep(self, name: str, tag: str, now_ns: int) -> list[Output]:
        """Cancel the next order of a switch that fired."""
        account, doomed = self.desk.accounts[name], self._doomed[name, tag]
        while doomed and not doomed[0].open:
            del doomed[0]
        if not doomed:
            del self._doomed[name, tag]
            return []
        self._timers.set(("sweep", name, tag), now_ns + _SWEEP_NS)
        try:
            outcome = self.orders.end(account, doomed.pop(0), now_ns, "20")
        except OrderError:
            return []  # the instrument is halted
        return self._push([outcome], now_ns)

    # Operations on the socket

    def operate(
        self,
        conn: Conn,
        who: tuple[Account, ApiKey] | None,
        message: Mapping[str, Any],
        now_ns: int,
    ) -> list[Output]:
        """An operation with orders: its answer, and what it pushes, in the order they leave."""
        pushes: list[Output] = []
        try:
            done = self._operated(who, message, now_ns)
        except ApiError as error:
            done = Done(error=error)
        pushes = self._push(done.outcomes, now_ns)
        if done.lost:
            return pushes
        head = {"id": message["id"], "op": message["op"]}
        if done.error is not None:
            tail: dict[str, Any] = {"data": [], "code": str(done.error.code), "msg": done.error.msg}
        else:
            tail = {"data": done.rows, "code": str(done.code), "msg": ""}
        answer = Send(conn, orjson.dumps({**head, **tail, **_times(now_ns)}).decode())
        at = {0: 0, 1: len(pushes), 2: (len(pushes) + 1) // 2}[done.early]
        return [*pushes[:at], answer, *pushes[at:]]

    def _operated(
        self, who: tuple[Account, ApiKey] | None, message: Mapping[str, Any], now_ns: int
    ) -> Done:
        if self.maintenance:
            raise ApiError(50001, _UNAVAILABLE)
        if who is None:
            raise ApiError(60011, "Please log in")
        account, key = who
        if Permission.TRADE not in key.permissions:
            raise may_not()
        args, exp_time = message.get("args"), message.get("expTime")
        if not isinstance(args, list):
            raise ApiError(60013, "Invalid args")
        texts = "" if exp_time is None else str(exp_time)
        call = Call(account, args, now_ns, "instIdCode", texts)
        return self.orders.act(message["op"], call)

    # Channels

    def understood(self, account: Account, arg: Mapping[str, Any]) -> Subscription | None:
        """What a subscription means; None if there is no such channel.

        Refusal: one of its parameters is wrong, or the fee tier is too low.
        """
        channel = arg.get("channel")
        if channel not in CHANNELS:
            return None
        if channel == "fills":
            raise Refusal(64003, _TIERED)
        inst_type, inst_id, ccy = (str(arg.get(name, "")) for name in _NAMES)
        if channel in ("orders", "positions"):
            if inst_type not in ("ANY", *TYPES.values(), *NO_SUCH_LISTED):
                raise Refusal(60018, f"Wrong URL or channel:{channel},instType:{inst_type}")
        else:
            inst_type = inst_id = ""
        regular = channel == "account" and '"updateInterval":"0"' not in _compact(arg)
        return Subscription(account, str(channel), arg, inst_type, inst_id, ccy, regular)

    def subscribe(
        self, conn: Conn, conn_id: str, subscription: Subscription, now_ns: int
    ) -> list[Output]:
        """What follows the acknowledgement: the count of connections, and a snapshot."""
        live = self._subscriptions.setdefault(conn, {})
        new = subscription.name not in live
        live[subscription.name] = subscription
        count = sum(
            any(self._alike(each, subscription) for each in other.values())
            for other in self._subscriptions.values()
        )
        event = {
            "event": "channel-conn-count",
            "channel": subscription.channel,
            "connCount": str(count),
            "connId": conn_id,
        }
        limit = self._options.limit(_LISTENERS_MAX)
        if limit is not None and count > limit:
            del live[subscription.name]
            return [_control(conn, {**event, "event": "channel-conn-count-error"})]
        outputs: list[Output] = [_control(conn, event)]
        if new and subscription.regular:
            self._timers.set(("regular", conn, subscription.name), now_ns + _REGULAR_NS)
        if new and (frame := self._snapshot(subscription, now_ns)) is not None:
            outputs.append(Send(conn, frame, subscription.name, FrameKind.DATA))
        return outputs

    @staticmethod
    def _alike(one: Subscription, other: Subscription) -> bool:
        return one.account is other.account and one.channel == other.channel

    def unsubscribe(self, conn: Conn, subscription: Subscription) -> None:
        """Forget it; harmless if it was not there."""
        self._subscriptions.get(conn, {}).pop(subscription.name, None)
        self._timers.drop(("regular", conn, subscription.name))

    def closed(self, conn: Conn) -> None:
        """The connection is gone."""
        for name in self._subscriptions.pop(conn, {}):
            self._timers.drop(("regular", conn, name))

    def topics(self, conn: Conn) -> list[str]:
        """Names of its subscriptions."""
        return list(self._subscriptions.get(conn, ()))

    def _snapshot(self, subscription: Subscription, now_ns: int) -> str | None:
        """What a new subscription is told at once: `orders` tells nothing."""
        account = subscription.account
        match subscription.channel:
            case "account":
                assets = subscription.ccy.split(",") if subscription.ccy else None
                data = self.orders.words.balances(account, assets, now_ns)
                page = {"eventType": "snapshot", "curPage": 1, "lastPage": True}
                return subscription.frame([data], **page)
            case "balance_and_position":
                assets = [asset for asset, each in account.balances.items() if each.total]
                return subscription.frame([self._totals(account, "snapshot", assets, [], now_ns)])
            case "positions":
                return subscription.frame([], eventType="snapshot", curPage=1, lastPage=True)
            case _:
                return None

    @staticmethod
    def _totals(
        account: Account, kind: str, assets: Iterable[str], trades: list[Any], now_ns: int
    ) -> dict[str, Any]:
        time = ms(now_ns)
        return {
            "pTime": time,
            "eventType": kind,
            "balData": [
                {"ccy": asset, "cashBal": _total(account, asset), "uTime": time} for asset in assets
            ],
            "posData": [],
            "trades": trades,
        }

    # Out

    def carried(self, outcome: Outcome, now_ns: int, *, told: bool = True) -> list[Output]:
        """What an act of the venue's own pushes; if it is not `told`, accounts hear nothing."""
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
        """Frames for everyone who listens."""
        outputs: list[Output] = []
        trades: dict[str, list[dict[str, str]]] = {}
        for event in events:
            if isinstance(event, BalancesChanged):
                outputs += self._changes(event, trades.pop(event.account, []), now_ns)
                continue
            inst_id = self.orders.words.inst_id(event.order)
            if isinstance(event, Filled):
                trade = {"instId": inst_id, "tradeId": str(event.fill.id)}
                trades.setdefault(event.account, []).append(trade)
            for row in self.orders.words.events(event):
                outputs += self._send(event.account, "orders", row, inst_id, now_ns)
        return outputs

    def _send(
        self, account: str, channel: str, row: dict[str, Any], inst_id: str, now_ns: int
    ) -> list[Output]:
        outputs: list[Output] = []
        for conn, name, each in self._listeners(account, channel):
            if inst_id and not each.wants(inst_id):
                continue
            outputs.append(Send(conn, each.frame([row]), name, FrameKind.PRIVATE))
            if self.orders.faults.strikes("twice", now_ns):
                if "uTime" in row and self.orders.faults.pick("twice", 2):
                    row = {**row, "uTime": str(int(row["uTime"]) + 1)}  # documented
                outputs.append(Send(conn, each.frame([row]), name, FrameKind.PRIVATE))
            if (lie := self._liar.lie(account, row, now_ns)) is not None:
                outputs.append(Send(conn, each.frame([lie]), name, FrameKind.PRIVATE))
        return outputs

    def _listeners(self, account: str, channel: str) -> Iterable[tuple[Conn, str, Subscription]]:
        for conn, live in self._subscriptions.items():
            for name, each in live.items():
                if each.account.name == account and each.channel == channel:
                    yield conn, name, each

    def _changes(
        self, event: BalancesChanged, trades: list[dict[str, str]], now_ns: int
    ) -> list[Output]:
        """Totals at once; the rest is collected for the `account` channel."""
        if event.account not in self._changed:
            self._changed[event.account] = {}
            self._timers.set(("merged", event.account), now_ns + _MERGED_NS)
        self._changed[event.account].update(dict.fromkeys(event.changes))
        moved = [asset for asset, change in event.changes.items() if change.delta]
        if not moved:
            return []
        account = self.desk.accounts[event.account]
        kind = "filled" if trades else "transferred"
        row = self._totals(account, kind, moved, trades, now_ns)
        return self._send(event.account, "balance_and_position", row, "", now_ns)

    def _merged(self, name: str, now_ns: int) -> list[Output]:
        """Balances that changed in the last 50 ms, as they are now."""
        assets, account = self._changed.pop(name), self.desk.accounts[name]
        outputs: list[Output] = []
        for conn, topic, each in self._listeners(name, "account"):
            wanted = each.ccy.split(",") if each.ccy else list(assets)
            told = [asset for asset in assets if asset in wanted]
            if told:
                data = self.orders.words.balances(account, told, now_ns)
                frame = each.frame([data], eventType="event_update", curPage=1, lastPage=True)
                outputs.append(Send(conn, frame, topic, FrameKind.PRIVATE))
                if (lie := self._liar.lie(name, data, now_ns)) is not None:
                    frame = each.frame([lie], eventType="event_update", curPage=1, lastPage=True)
                    outputs.append(Send(conn, frame, topic, FrameKind.PRIVATE))
        return outputs

    def _regular(self, conn: Conn, name: str, now_ns: int) -> list[Output]:
        self._timers.set(("regular", conn, name), now_ns + _REGULAR_NS)
        frame = self._snapshot(self._subscriptions[conn][name], now_ns)
        assert frame is not None, "the account channel has snapshots"
        return [Send(conn, frame, name, FrameKind.DATA)]


_NAMES = ("instType", "instId", "ccy")
_SETTINGS = frozenset({"/api/v5/account/set-fee-type", "/api/v5/trade/cancel-all-after"})
_UNAVAILABLE = "Service temporarily unavailable. Please try again later."


def _compact(arg: Mapping[str, Any]) -> str:
    """`extraParams`, a JSON text, without blanks."""
    return str(arg.get("extraParams", "")).replace(" ", "")


def _control(conn: Conn, event: Mapping[str, Any]) -> Send:
    return Send(conn, orjson.dumps(event).decode())


def _total(account: Account, asset: str) -> str:
    return num(account.balance(asset).total)


def _times(now_ns: int) -> dict[str, str]:
    """When a request came and its answer left, in µs."""
    return {"inTime": str(now_ns // 1_000), "outTime": str(now_ns // 1_000 + 1_000)}
