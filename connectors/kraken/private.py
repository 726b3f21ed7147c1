"""Kraken's private socket, v2: orders out; their answers, executions and balances in."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from connectors.kraken import errors, listing, times, words
from connectors.kraken.sign import Keys, deadline
from hean_router import kit

_HEARTBEAT = b'{"channel":"heartbeat"}'
_ENDED_MAX = 4096  # ended orders remembered, for what comes late
_CHANNELS = {
    "executions": {"snap_orders": True, "snap_trades": False, "order_status": True},
    "balances": {"snapshot": True},
}
_READ = {*_CHANNELS, "status"}
_OURS = ("spot", "main")  # the wallet that orders are paid from


# ---------------------------------------------------------------------------------- wire


class _Fee(Struct, gc=False):
    asset: str
    qty: Any


class _Wallet(Struct, gc=False):
    type: str
    id: str
    balance: Any


class _Row(Struct, gc=False):
    """A row of any channel that we read; numbers are texts, or ints where there is no point."""

    order_id: str = ""
    cl_ord_id: str | None = None
    symbol: str = ""
    side: kit.Side | None = None
    order_type: str = ""
    order_qty: Any = None
    limit_price: Any = None
    time_in_force: str = ""
    exec_type: str = ""
    order_status: str = ""
    exec_id: str = ""
    last_qty: Any = None
    last_price: Any = None
    liquidity_ind: str = ""
    cum_qty: Any = None
    fees: list[_Fee] | None = None
    reason: str | None = None
    timestamp: str = ""
    asset: str = ""
    balance: Any = None
    wallets: list[_Wallet] | None = None
    wallet_type: str = ""
    wallet_id: str = ""
    system: str = ""


class _Result(Struct, gc=False):
    channel: str = ""
    order_id: str = ""
    cl_ord_id: str | None = None
    maxratecount: Any = None


class _Message(Struct, gc=False):
    channel: str = ""
    type: str = ""
    data: list[_Row] | None = None
    sequence: int | None = None
    method: str = ""
    success: bool | None = None
    error: str = ""
    result: _Result | None = None
    req_id: Any = None
    time_out: str = ""


class _Head(Struct):
    channel: str = ""


_decode = msgspec.json.Decoder(_Message, float_hook=str).decode
_decode_head = msgspec.json.Decoder(_Head).decode

_STATES = {
    "pending_new": kit.OrderState.OPEN,
    "new": kit.OrderState.OPEN,
    "partially_filled": kit.OrderState.OPEN,
    "filled": kit.OrderState.FILLED,
    "canceled": kit.OrderState.CANCELED,
    "expired": kit.OrderState.EXPIRED,
}


def plain(number: Any) -> str:
    """A number of theirs as plain digits; small steps may come as `1e-08`.

    Raises `ValueError`.
    """
    text = str(number)
    if "e" in text or "E" in text:
        return format(kit.amount(text), "f")
    return text


def ended(reason: str, *, at_once: bool) -> kit.OrderState:
    """Who ended a cancelled order: we, or a rule of its own (`at_once`) or of the venue's."""
    if reason == "User requested" or not (reason or at_once):
        return kit.OrderState.CANCELED
    if reason.removeprefix("EOrder:") == "Post only order":  # seen in clients
        return kit.OrderState.REJECTED
    return kit.OrderState.EXPIRED


# ---------------------------------------------------------------------------------- one order


class _Order:
    """What this socket has heard of an order: events tell only what they change.

    `instrument` is None for one that we do not follow.
    """

    __slots__ = ("at_once", "final", "instrument", "key", "px", "qty", "side")

    def __init__(self, instrument: kit.Instrument | None) -> None:
        self.instrument = instrument
        self.key = ""
        self.side: kit.Side | None = None
        self.qty: int | None = None
        self.px: int | None = None
        self.at_once = False  # market, IOC or FOK: what is left goes by itself
        self.final: kit.OrderState | None = None

    def hear(self, row: _Row, instrument: kit.Instrument) -> None:
        """Take what `row` tells; raises `ValueError`."""
        self.key = row.cl_ord_id or self.key
        self.side = row.side or self.side
        if row.order_qty is not None:
            self.qty = instrument.qty(plain(row.order_qty))
        if row.limit_price is not None and row.order_type != "market":
            self.px = instrument.px(plain(row.limit_price))
        if row.order_type == "market" or row.time_in_force.lower() in {"ioc", "fok"}:
            self.at_once = True


class _Asked(Struct, gc=False):
    """A request that is still to be answered."""

    request_id: str
    table: Mapping[str, kit.RejectKind]
    key: str
    instrument: kit.Instrument
    cancels: bool


# ---------------------------------------------------------------------------------- the socket


class Socket(kit.OrderSocket):
    """One private connection: what it has asked, where its streams stand, the orders it knows.

    A trade may come without our key, and a change without its symbol, so orders are remembered by
    the venue's id.  What can not be placed so is reported as `Missed`.
    """

    # A heartbeat comes every second without other news, once there is a subscription.
    ping_every_ms = 5_000
    silence_ms = 12_000

    def __init__(self, keys: Keys, instruments: Mapping[str, kit.Instrument]) -> None:
        self._keys, self._instruments = keys, instruments
        self._count = 0
        self._asked: dict[int, _Asked] = {}
        self._subscribing: dict[int, str] = {}
        self._awaited = set(_CHANNELS)
        self._sequence: dict[str, int] = {}  # channel -> the last
        self._orders: dict[str, _Order] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._token = ""
        self._token_json = words.json("")

    def url(self, hosts: Mapping[str, str]) -> str:
        """The host beside the public one; one with a path of its own is taken as it stands."""
        if "orders.ws" in hosts:
            url = hosts["orders.ws"]
        else:
            url = hosts["spot.ws"] if "spot.ws" in hosts else hosts["ws"]
            url = url.replace("ws.kraken.com", "ws-auth.kraken.com")
        return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v2"

    # ---------------------------------------------------------------------- asking

    def token(self) -> kit.Ask[str]:
        """A new one for each connection; it lives as long as the subscriptions that used it."""
        answer = yield kit.HttpRequest(
            path="/0/private/GetWebSocketsToken", method="POST", bucket="private", signed=True
        )
        return _token_in(answer, self._keys)

    def login(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        """There is no login but the token: the subscriptions are it."""
        self._use(stamp.token)
        for channel, options in _CHANNELS.items():
            number = self._next()
            self._subscribing[number] = channel
            params = {"channel": channel, **options, "token": stamp.token}
            request = {"method": "subscribe", "params": params, "req_id": number}
            yield kit.Frame(msgspec.json.encode(request), secret=True)

    def place(self, order: kit.Approved, stamp: kit.Stamp) -> kit.Frame:
        child, number = order.order, self._next()
        params = words.order(child, deadline(stamp), self._use(stamp.token))
        self._asked[number] = _Asked(
            stamp.request_id, errors.TO_PLACE, child.key, child.instrument, cancels=False
        )
        return _frame("add_order", number, params)

    def cancel(
        self, instrument: kit.Instrument, key: str, venue_order_id: str, stamp: kit.Stamp
    ) -> kit.Frame:
        """By our key; a cancel has no deadline."""
        number = self._next()
        params = words.cancel(key, venue_order_id, self._use(stamp.token))
        self._asked[number] = _Asked(
            stamp.request_id, errors.TO_CANCEL, key, instrument, cancels=True
        )
        return _frame("cancel_order", number, params)

    def ping(self, stamp: kit.Stamp) -> kit.Frame:
        return kit.Frame(b'{"method":"ping"}')

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _use(self, token: str) -> str:
        """`token` as JSON; the same over and over."""
        if token != self._token:
            self._token, self._token_json = token, words.json(token)
        return self._token_json

    # ---------------------------------------------------------------------- reading

    def decode(self, data: bytes) -> Iterable[kit.OrderEvent]:
        if data == _HEARTBEAT:
            return ()
        try:
            message = _decode(data)
        except msgspec.ValidationError:
            if (channel := _decode_head(data).channel) and channel not in _READ:
                return ()  # rows of a shape that we need not know
            raise
        channel = message.channel
        if not channel:
            return self._answered(message)
        if channel not in _READ:
            return ()
        if (rows := message.data) is None:
            raise ValueError(f"{channel} without its data")
        if channel == "status":
            return [listing.told(row.system) for row in rows]
        missed = list(self._follow(message))
        # Whole before any of it is told: a row that can not be read takes its message with it.
        if channel == "executions":
            return [*missed, *self._executions(rows)]
        return [*missed, *_balances(rows)]

    def _follow(self, message: _Message) -> Iterator[kit.Missed]:
        """`sequence` begins at a snapshot and rises by 1 in each channel."""
        channel, number = message.channel, message.sequence
        if number is None:
            if channel == "executions":
                raise ValueError("executions without a sequence")
            return
        last = self._sequence.get(channel)
        self._sequence[channel] = number
        if message.type == "snapshot" or number == (last or 0) + 1:
            return
        after = "before any snapshot" if last is None else f"after {last}"
        yield kit.Missed(f"{channel}: sequence {number} {after}")

    # ---------------------------------------------------------------------- executions

    def _executions(self, rows: Iterable[_Row]) -> Iterator[kit.OrderEvent]:
        for row in rows:
            if (order := self._known(row)) is None:
                yield kit.Missed(f"{row.exec_type} of order {row.order_id}, never heard of")
            elif order.instrument is not None:
                order.hear(row, order.instrument)
                if row.exec_type == "trade":
                    yield from self._fill(row, order, order.instrument)
                yield self._report(row, order, order.instrument)
            elif _STATES[row.order_status] is not kit.OrderState.OPEN:
                self._forget_some(row.order_id)  # nobody's concern, but they add up

    def _known(self, row: _Row) -> _Order | None:
        """The order a row is about; None where it names one that nothing places."""
        if not row.order_id:
            raise ValueError("an execution without its order")
        order = self._orders.get(row.order_id)
        if order is None and row.symbol:
            order = self._remember(row.order_id, self._instruments.get(row.symbol))
        return order

    def _remember(self, order_id: str, instrument: kit.Instrument | None) -> _Order:
        order = self._orders[order_id] = _Order(instrument)
        return order

    def _fill(
        self, row: _Row, order: _Order, instrument: kit.Instrument
    ) -> Iterator[kit.Fill | kit.Missed]:
        """One trade.  Its id is what REST's history calls it too."""
        side = row.side or order.side
        if side is None or not row.exec_id or row.fees is None:
            raise ValueError("a trade without its side, its id or its fees")
        fees = [(fee.asset, kit.amount(fee.qty)) for fee in row.fees]
        asset = fees[0][0] if fees else instrument.pair.quote
        yield kit.Fill(
            instrument=instrument,
            key=order.key,
            venue_order_id=row.order_id,
            trade_id=row.exec_id,
            side=side,
            px=instrument.px(plain(row.last_price)),
            qty=instrument.qty(plain(row.last_qty)),
            fee=sum((fee for paid_in, fee in fees if paid_in == asset), Decimal(0)),
            fee_asset=asset,
            maker={"m": True, "t": False}.get(row.liquidity_ind),
            sent_ns=times.ns(row.timestamp),
        )
        if others := sorted({paid_in for paid_in, _ in fees} - {asset}):
            yield kit.Missed(f"trade {row.exec_id}: a fee in {', '.join(others)} too")

    def _report(self, row: _Row, order: _Order, instrument: kit.Instrument) -> kit.OrderReport:
        """A trade may say `partially_filled` though it completes: `filled` comes apart."""
        state, reason = _STATES[row.order_status], row.reason or ""
        if state is kit.OrderState.CANCELED:
            state = ended(reason, at_once=order.at_once)
        if order.final is not None:
            state = order.final  # what comes late opens nothing again
        elif state is not kit.OrderState.OPEN:
            order.final = state
            self._forget_some(row.order_id)
        return kit.OrderReport(
            instrument=instrument,
            key=order.key,
            venue_order_id=row.order_id,
            state=state,
            cum_qty=None if row.cum_qty is None else instrument.qty(plain(row.cum_qty)),
            qty=order.qty,
            px=order.px,
            side=order.side,
            reason=reason,
            sent_ns=times.ns(row.timestamp),
        )

    def _forget_some(self, order_id: str) -> None:
        self._ended[order_id] = None
        if len(self._ended) > _ENDED_MAX:
            oldest, _ = self._ended.popitem(last=False)
            del self._orders[oldest]

    # ---------------------------------------------------------------------- answers

    def _answered(self, message: _Message) -> Iterable[kit.OrderEvent]:
        number = message.req_id if isinstance(message.req_id, int) else 0
        if message.method == "pong":
            return ()
        if (asked := self._asked.pop(number, None)) is not None:
            return (kit.Reply(asked.request_id, self._outcome(message, asked)),)
        error = self._keys.clean(message.error, self._token)
        if (channel := self._subscribing.pop(number, "")) or message.method == "subscribe":
            return self._subscribed(channel, message, error)
        if message.method or message.success is not None:
            if not error:
                return ()  # another answer to what has been answered
            return (kit.Notice(kit.NoticeKind.REFUSED, f"{message.method} {error}".strip()),)
        raise ValueError("neither a channel nor an answer that we know")

    def _outcome(self, message: _Message, asked: _Asked) -> kit.Outcome:
        if message.success is not True or message.error:
            if message.success is not False:
                return kit.Unknown(f"success {message.success}: {message.error}")
            error = self._keys.clean(message.error, self._token)
            return errors.outcome(error, asked.table, times.ns(message.time_out))
        result = message.result or _Result()
        if asked.cancels:
            return kit.Accepted(result.order_id)
        if not result.order_id:
            return kit.Unknown("accepted, but without an order id")
        if result.order_id not in self._orders:  # its first event may yet come
            self._remember(result.order_id, asked.instrument).key = asked.key
        return kit.Accepted(result.order_id)

    def _subscribed(
        self, channel: str, message: _Message, error: str
    ) -> Iterable[kit.LoggedIn | kit.LoginFailed]:
        """Ready with the last acknowledgement."""
        if message.success is not True:
            final = error.startswith(errors.FINAL)
            return (kit.LoginFailed(f"subscribe {channel}: {error or 'refused'}", final),)
        if channel not in self._awaited:
            return ()
        self._awaited.discard(channel)
        return () if self._awaited else (kit.LoggedIn(ready=True),)


def _frame(method: str, number: int, params: str) -> kit.Frame:
    data = f'{{"method":"{method}","req_id":{number},"params":{params}}}'
    return kit.Frame(data.encode(), secret=True)


def _balances(rows: Iterable[_Row]) -> Iterator[kit.Balance]:
    """The wallet we trade from, spot's main one; what orders hold is not told."""
    for row in rows:
        if row.wallets is not None:  # a snapshot: the row's own balance counts every wallet
            own = [w.balance for w in row.wallets if (w.type, w.id) == _OURS]
        else:
            own = [row.balance] if (row.wallet_type, row.wallet_id) == _OURS else []
        for total in own:
            yield kit.Balance(
                asset=row.asset, total=kit.amount(total), sent_ns=times.ns(row.timestamp)
            )


# ---------------------------------------------------------------------------------- the token


class _Token(Struct):
    token: str


class _TokenAnswer(Struct):
    error: list[str]
    result: _Token | None = None


_TOKEN = msgspec.json.Decoder(_TokenAnswer)


def _token_in(answer: kit.Answer, keys: Keys) -> str:
    """The token; raises `VenueError`, which quotes nothing: the answer may hold one."""
    what = f"kraken GetWebSocketsToken: HTTP {answer.status}"
    try:
        told = _TOKEN.decode(answer.body)
    except kit.UNREADABLE:
        raise kit.VenueError(f"{what} and no answer of Kraken's") from None
    if texts := errors.serious(told.error):
        raise kit.VenueError(f"{what}: {keys.clean(', '.join(texts))}")
    if answer.status != HTTPStatus.OK or told.result is None or not told.result.token:
        raise kit.VenueError(f"{what} without a token")
    return told.result.token
