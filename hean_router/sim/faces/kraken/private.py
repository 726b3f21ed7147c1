"""Kraken's private side: orders and channels of the private socket, and REST with a key.

Order per request: the answer, then for each engine action its `executions` frames (`pending_new`,
`new`, a `trade` per match, `filled` by itself), then two `balances` frames per match.  Answers and
events travel apart at the venue: a fault (`early`) puts the answer after or among them.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any, TypeAlias

import orjson

from hean_router.sim.accounts import BalancesChanged, Event, Filled, OrderRecord, Permission
from hean_router.sim.contract import (
    MS,
    SECOND,
    Conn,
    FrameKind,
    Options,
    Output,
    Request,
    Reset,
    Response,
    Send,
)
from hean_router.sim.desk import Outcome
from hean_router.sim.exchange import Exchange, Listing, Step
from hean_router.sim.faces.kraken.facts import rfc3339
from hean_router.sim.faces.kraken.private_access import Gate, Holder, Refusal
from hean_router.sim.faces.kraken.private_orders import RATE_MAX, Ask, Done, Orders, check_deadline
from hean_router.sim.faces.kraken.private_rest import PREFIX, PrivateRest
from hean_router.sim.faces.kraken.private_words import fixed, wire
from hean_router.sim.lies import Liar
from hean_router.sim.pacing import Timers

PATH = "/auth/v2"
CHANNELS = ("executions", "balances")
_PUSHED_LATER_NS = MS  # what a REST request pushes, after its answer
_TRADES_IN_SNAPSHOT = 50
_SWITCH_MAX_S = 86_400
_BATCH_ADD, _BATCH_CANCEL = range(2, 16), range(2, 51)
_BRIEF = frozenset({"new", "filled", "canceled", "expired"})

Result: TypeAlias = "Mapping[str, Any] | Refusal"
Handler: TypeAlias = "Callable[[Holder, dict[str, Any], int, Done], list[Result]]"


@dataclass
class _Subscription:
    """A private channel of a connection; `sequence` is of its last frame."""

    holder: Holder
    all_states: bool = True
    rate_counter: bool = False
    sequence: int = 0


class Private:
    """Everything that wants a key or a token.

    `push_step` prints an engine step for the public channels, `text` an answer with its times.
    """

    def __init__(
        self,
        exchange: Exchange,
        rng: Random,
        options: Options,
        push_step: Callable[[Step], list[Output]],
        text: Callable[[dict[str, Any], int], str],
    ) -> None:
        self.orders = Orders(exchange, options)
        self.desk = self.orders.desk
        self._liar = Liar("kraken", self.desk, self.orders.faults)
        self._exchange = exchange
        self._options = options
        self._push_step = push_step
        self._text = text
        self._gate = Gate(self.desk, rng)
        self._rest = PrivateRest(exchange, self.orders, self._gate, options, self._set_switch)
        self._subscriptions: dict[Conn, dict[str, _Subscription]] = {}
        self._outbox: deque[tuple[int, Output]] = deque()
        self._timers: Timers[str] = Timers()  # dead men's switches, by account
        self._replays = False  # the next `executions` begins with old trades, asked for or not
        self._handlers: dict[str, Handler] = {
            "add_order": self._add,
            "batch_add": self._add_batch,
            "amend_order": self._amend,
            "cancel_order": self._cancel,
            "batch_cancel": self._cancel_batch,
            "cancel_all": self._cancel_all,
            "cancel_all_orders_after": self._switch,
        }

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
        """What is due: pushes, dead men's switches."""
        outputs = self.flush(now_ns)
        while popped := self._timers.pop(now_ns):
            when_ns, name = popped
            account = self.desk.accounts[name]
            for order in account.open_orders():
                order.note["reason"] = "Cancel all after timeout"
                outcome = self.desk.cancel(account, order, when_ns)
                outputs += self._push([outcome], when_ns)
        return outputs

    def market(self, step: Step, now_ns: int) -> list[Output]:
        """Others traded with orders of accounts."""
        return self._tell(self.desk.market(step, now_ns), now_ns)

    # REST

    def serves(self, path: str) -> bool:
        """Whether a path wants a key."""
        return path.startswith(PREFIX)

    def request(self, request: Request, system: str, now_ns: int) -> Response:
        """Answer; what it pushes comes with the next `flush`."""
        response, done = self._rest.request(request, system, now_ns)
        when_ns = now_ns + (0 if done.early else _PUSHED_LATER_NS)
        pushes = self._push(done.outcomes, now_ns)
        self._outbox += ((when_ns, output) for output in pushes)
        return response

    # Connections

    def replay(self, now_ns: int) -> list[Output] | None:
        """End who hears of executions; whoever asks for them next is told old trades anew.

        None: nobody listens, or there are no trades.
        """
        conns = [conn for conn, live in self._subscriptions.items() if "executions" in live]
        if not conns or not any(account.fills for account in self.desk.accounts.values()):
            return None
        self._replays = True
        return [Reset(conn) for conn in conns]

    def closed(self, conn: Conn) -> None:
        """The connection is gone."""
        self._subscriptions.pop(conn, None)

    def topics(self, conn: Conn) -> list[str]:
        """Names of its subscriptions."""
        return list(self._subscriptions.get(conn, ()))

    def _holder(self, conn: Conn, params: Mapping[str, Any], now_ns: int) -> Holder:
        """Whose token a message carries; it lives as long as a subscription made with it."""
        live = self._subscriptions.get(conn, {}).values()
        token = params.get("token")
        holder = self._gate.holder(token, now_ns, alive=True)
        alive = any(each.holder is holder for each in live)
        return self._gate.holder(token, now_ns, alive=alive)

    # Requests on the socket

    def received(
        self, conn: Conn, message: dict[str, Any], data: str | bytes, system: str, now_ns: int
    ) -> list[Output]:
        """A request with a known method: its answers and what it pushes.  Refusal: why not."""
        method = message["method"]
        # Numbers with every digit that was sent.
        params = json.loads(data, parse_float=Decimal).get("params", {})
        if not isinstance(params, dict):
            raise Refusal("Malformed request")
        if method in ("subscribe", "unsubscribe"):
            return self._subscribed(conn, message, params, now_ns)
        if method not in self._handlers:
            raise Refusal(f"Unsupported method {method}")
        done = Done()
        results: list[Result]
        try:
            holder = self._holder(conn, params, now_ns)
            holder.may(Permission.TRADE)
            if system == "maintenance":
                raise Refusal("EService:Unavailable")
            if (error := self.orders.undone(now_ns)) is not None:
                raise Refusal(error)
            check_deadline(params.get("deadline"), now_ns)
            results = self._handlers[method](holder, params, now_ns, done)
        except Refusal as refusal:
            results = [refusal]
        self.orders.confuse(done, now_ns)
        if done.perhaps:
            results = [Refusal(done.perhaps) for _ in results]
        pushes = self._push(done.outcomes, now_ns)
        if done.lost:
            return pushes
        answers = [Send(conn, self._answer(message, each, now_ns)) for each in results]
        at = {0: 0, 1: len(pushes), 2: (len(pushes) + 1) // 2}[done.early]
        return [*pushes[:at], *answers, *pushes[at:]]

    def _answer(self, message: Mapping[str, Any], result: Result, now_ns: int) -> str:
        head: dict[str, Any] = {"method": message["method"]}
        if "req_id" in message:
            head["req_id"] = message["req_id"]
        if isinstance(result, Refusal):
            head |= {"success": False, "error": result.error}
            if result.symbol is not None:
                head["symbol"] = result.symbol
        else:
            head |= {"result": result, "success": True}
        return self._text(head, now_ns)

    # Orders

    def _listing(self, params: Mapping[str, Any]) -> Listing:
        symbol = params.get("symbol")
        listing = self._exchange.listings.get(symbol) if isinstance(symbol, str) else None
        if listing is None:
            raise Refusal(f"Currency pair not supported {symbol}", str(symbol))
        return listing

    @staticmethod
    def _ask(listing: Listing, params: Mapping[str, Any]) -> Ask:
        """An order of the socket.  Refusal: a number came as text."""
        for name in ("order_qty", "cash_order_qty", "limit_price"):
            value = params.get(name)
            if isinstance(value, str | bool):
                raise Refusal(f"EGeneral:Invalid arguments:{name} must be a number")
        return Ask(listing, params)

    @staticmethod
    def _named(order: OrderRecord) -> dict[str, Any]:
        """An order's ids in an answer."""
        named: dict[str, Any] = {"order_id": order.venue_id}
        if order.client_id:
            named["cl_ord_id"] = order.client_id
        if order.note["userref"]:
            named["order_userref"] = order.note["userref"]
        return named

    def _add(self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done) -> list[Result]:
        ask = self._ask(self._listing(params), params)
        if params.get("validate") is True:
            terms = self.orders.validate(holder, ask)
            return [{"cl_ord_id": terms.client_id} if terms.client_id else {}]
        return [self._named(self.orders.add(holder, ask, now_ns, done))]

    def _add_batch(
        self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done
    ) -> list[Result]:
        listing, rows = self._listing(params), params.get("orders")
        if not isinstance(rows, list) or len(rows) not in _BATCH_ADD:
            raise Refusal("EGeneral:Invalid arguments:orders")
        if not all(isinstance(row, dict) for row in rows):
            raise Refusal("EGeneral:Invalid arguments:orders")
        asks = [self._ask(listing, row) for row in rows]
        if any(ask.text("time_in_force") == "fok" for ask in asks):
            raise Refusal("EGeneral:Invalid arguments:timeinforce")
        if params.get("validate") is True:
            for ask in asks:
                self.orders.validate(holder, ask)
            return [{"orders": []}]
        results = self.orders.add_batch(holder, asks, now_ns, done)
        return [
            {
                "orders": [
                    {"success": False, "error": each.error}
                    if isinstance(each, Refusal)
                    else {**self._named(each), "success": True}
                    for each in results
                ]
            }
        ]

    def _amend(
        self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done
    ) -> list[Result]:
        ids = (str(params.get(name, "")) for name in ("order_id", "cl_ord_id"))
        order = self.orders.find(holder.account, *ids)
        ask = self._ask(self.orders.words.listing(order), params)
        self.orders.amend(holder, order, ask, now_ns, done)
        amend_id = self.orders.words.amend_id(done.outcomes[-1])
        return [{"amend_id": amend_id, **self._named(order)}]

    def _cancel(
        self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done
    ) -> list[Result]:
        """One answer for each order, all with the request's id."""
        ids = [(each, "") for each in _texts(params.get("order_id"))]
        ids += [("", each) for each in _texts(params.get("cl_ord_id"))]
        refs = params.get("order_userref") or []
        wanted = set(refs if isinstance(refs, list) else [refs])
        ids += [
            (order.venue_id, "")
            for order in holder.account.open_orders()
            if order.note["userref"] and order.note["userref"] in wanted
        ]
        if not ids:
            raise Refusal("EOrder:Unknown order" if wanted else "EGeneral:Invalid arguments")
        results: list[Result] = []
        for order_id, client_id in ids:
            try:
                order = self.orders.find_to_cancel(holder, order_id, client_id, now_ns, done)
                self.orders.cancel(holder, order, now_ns, done)
                results.append(self._named(order))
            except Refusal as refusal:
                results.append(refusal)
        return results

    def _cancel_batch(
        self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done
    ) -> list[Result]:
        ids = [(each, "") for each in _texts(params.get("orders"))]
        ids += [("", each) for each in _texts(params.get("cl_ord_id"))]
        if len(ids) not in _BATCH_CANCEL:
            raise Refusal("EGeneral:Invalid arguments:orders")
        return [{"count": self.orders.cancel_many(holder, ids, now_ns, done)}]

    def _cancel_all(
        self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done
    ) -> list[Result]:
        return [{"count": self.orders.cancel_all(holder, now_ns, done)}]

    def _switch(
        self, holder: Holder, params: dict[str, Any], now_ns: int, done: Done
    ) -> list[Result]:
        return [self._set_switch(holder, params.get("timeout"), now_ns)]

    def _set_switch(self, holder: Holder, timeout: Any, now_ns: int) -> dict[str, Any]:
        """Cancel everything of the account after `timeout` seconds; 0 calls it off."""
        text = str(timeout)
        if not (text.isascii() and text.isdigit() and int(text) < _SWITCH_MAX_S):
            raise Refusal("EGeneral:Invalid arguments:timeout")
        at_ns, name = now_ns + int(text) * SECOND, holder.account.name
        if int(text):
            self._timers.set(name, at_ns)
        else:
            self._timers.drop(name)
        trigger = f"{rfc3339(at_ns)[:19]}Z" if int(text) else "0"
        return {"currentTime": f"{rfc3339(now_ns)[:19]}Z", "triggerTime": trigger}

    # Channels

    def _subscribed(
        self, conn: Conn, message: dict[str, Any], params: dict[str, Any], now_ns: int
    ) -> list[Output]:
        channel = params.get("channel")
        if channel not in CHANNELS:
            raise Refusal("Subscription name invalid")
        holder = self._holder(conn, params, now_ns)
        live = self._subscriptions.setdefault(conn, {})
        if message["method"] == "unsubscribe":
            if live.pop(channel, None) is None:
                raise Refusal("Subscription Not Found")
            return [Send(conn, self._answer(message, {"channel": channel}, now_ns))]
        if channel in live:
            raise Refusal("Already subscribed")
        live[channel] = _Subscription(
            holder,
            all_states=params.get("order_status", True) is not False,
            rate_counter=params.get("ratecounter") is True,
        )
        result: dict[str, Any] = {"channel": channel}
        snapshot: list[dict[str, Any]] | None
        words, account = self.orders.words, holder.account
        if channel == "balances":
            result["snapshot"] = params.get("snapshot", True) is not False
            snapshot = words.balances(account) if result["snapshot"] else None
        else:
            orders = params.get("snap_orders", params.get("snapshot", True)) is not False
            trades = params.get("snap_trades", False) is True or self._replays
            self._replays = False
            result |= {
                "maxratecount": self._options.limit(RATE_MAX) or RATE_MAX,
                "snap_orders": orders,
                "snap_trades": trades,
            }
            snapshot = [words.open(order) for order in account.open_orders()] if orders else []
            if trades:
                last = account.fills[-_TRADES_IN_SNAPSHOT:]
                snapshot += [words.trade(order, fill) for order, fill in reversed(last)]
            snapshot = snapshot if orders or trades else None
        outputs: list[Output] = [Send(conn, self._answer(message, result, now_ns))]
        if snapshot is not None:
            outputs.append(self._frame(conn, channel, live[channel], snapshot, "snapshot"))
        return outputs

    @staticmethod
    def _frame(
        conn: Conn,
        channel: str,
        subscription: _Subscription,
        rows: list[dict[str, Any]],
        kind: str = "update",
    ) -> Send:
        subscription.sequence += 1
        frame = {
            "channel": channel,
            "type": kind,
            "data": wire(rows),
            "sequence": subscription.sequence,
        }
        return Send(conn, orjson.dumps(frame).decode(), channel, FrameKind.PRIVATE)

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
        """Frames for everyone who listens: what happened to orders, then what it moved."""
        outputs: list[Output] = []
        moved: list[Filled] = []
        for event in events:
            if isinstance(event, BalancesChanged):
                continue
            if isinstance(event, Filled):
                moved.append(event)
            for row in self.orders.words.events(event):
                outputs += self._send(event.account, "executions", row, event.order, now_ns)
        for fill in moved:
            for row in self.orders.words.entries(fill):
                outputs += self._send(fill.account, "balances", row, fill.order, now_ns)
        return outputs

    def _send(
        self, account: str, channel: str, row: dict[str, Any], order: OrderRecord, now_ns: int
    ) -> list[Output]:
        outputs: list[Output] = []
        for conn, live in self._subscriptions.items():
            subscription = live.get(channel)
            if subscription is None or subscription.holder.account.name != account:
                continue
            brief = channel == "executions" and not subscription.all_states
            if brief and row["exec_type"] not in _BRIEF:
                continue
            told = row
            if subscription.rate_counter and channel == "executions":
                counter = self.orders.counter(subscription.holder.account, order.symbol)
                count = counter.value(now_ns).quantize(Decimal("0.01"))
                told = {**row, "ratecount": fixed(count, 0)}
            outputs.append(self._frame(conn, channel, subscription, [told]))
            if self.orders.faults.strikes("twice", now_ns):
                outputs.append(self._frame(conn, channel, subscription, [told]))
            if (lie := self._liar.lie(account, told, now_ns)) is not None:
                outputs.append(self._frame(conn, channel, subscription, [lie]))
        return outputs


def _texts(value: Any) -> list[str]:
    """A list of ids, or one alone."""
    if value is None:
        return []
    return [str(each) for each in value] if isinstance(value, list) else [str(value)]
