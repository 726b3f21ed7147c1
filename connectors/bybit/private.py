"""Bybit's two private sockets: one that takes orders, one that tells what becomes of them.

The first answers "accepted for processing"; only the second (or a question) knows the result.
https://bybit-exchange.github.io/docs/v5/websocket/trade/guideline
https://bybit-exchange.github.io/docs/v5/ws/connect
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw, Struct

from connectors.bybit import errors, words
from connectors.bybit.facts import private_url, trade_url
from connectors.bybit.sign import Signer, window_ms
from hean_router import kit

_LOGIN, _EVENTS = "hean-login", "hean-events"
_REQUEST_ID_MAX = 36
_LOGGED_IN_ALREADY = 20001
_BAD_LOGINS = frozenset({10001, 10004, 10005, 10010, 33004})  # the same again would fail again
_BAD_KEY = 10003  # or, on the trade socket, too many sessions: the text tells

_encode = msgspec.json.Encoder().encode
_orders = msgspec.json.Decoder(list[words.Order]).decode
_executions = msgspec.json.Decoder(list[words.Execution]).decode
_wallets = msgspec.json.Decoder(list[words.Wallet]).decode


class _Frame(Struct, rename="camel"):
    """A topic's message, or an answer; the trade socket writes camel case, the other snake."""

    topic: str = ""
    creation_time: int = 0
    data: Raw = Raw()
    op: str = ""
    req_id: str | None = None
    ret_code: int | None = None
    ret_msg: str = ""
    header: dict[str, Any] | None = None
    success: bool | None = None
    snake_msg: str = msgspec.field(name="ret_msg", default="")


_frame = msgspec.json.Decoder(_Frame).decode


class _Socket(kit.OrderSocket):
    """What both have in common."""

    ping_every_ms = 5_000
    silence_ms = 12_000  # two pings unanswered, and a little

    def __init__(self, signer: Signer, instruments: Mapping[str, kit.Instrument]) -> None:
        self._signer = signer
        self._instruments = instruments

    def ping(self, stamp: kit.Stamp) -> kit.Frame:
        return kit.Frame(b'{"op":"ping"}', cost=0)


class TradeSocket(_Socket):
    """Orders out, answers in.  The session is signed, its requests are not."""

    tells_events = False

    def url(self, hosts: Mapping[str, str]) -> str:
        return trade_url(hosts)

    def login(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        login = {"reqId": _LOGIN, "op": "auth", "args": self._signer.login(stamp)}
        return [kit.Frame(_encode(login), cost=0)]

    def place(self, order: kit.Approved, stamp: kit.Stamp) -> kit.Frame:
        return _request("order.create", words.placing(order.order), stamp)

    def cancel(
        self, instrument: kit.Instrument, key: str, venue_order_id: str, stamp: kit.Stamp
    ) -> kit.Frame:
        said = words.canceling(instrument, key, venue_order_id)
        return _request("order.cancel", said, stamp)

    def decode(self, data: bytes) -> Iterable[kit.OrderEvent]:
        frame = _frame(data)
        if frame.op == "auth":
            return [_logged_in(frame)]
        if frame.op.startswith("order."):
            return _replied(frame)
        if frame.ret_code:  # an answer to what was not read, or the server's own
            text = f"{frame.ret_code} {frame.ret_msg}"
            return [kit.Notice(kit.NoticeKind.REFUSED, text)]
        return []  # a pong


def _request(op: str, said: dict[str, str | int], stamp: kit.Stamp) -> kit.Frame:
    # Checked here since the venue echoes an id only if there was one, and takes each but once.
    assert 0 < len(stamp.request_id) <= _REQUEST_ID_MAX, f"request id {stamp.request_id!r}"
    header = {
        "X-BAPI-TIMESTAMP": str(stamp.venue_ms),
        "X-BAPI-RECV-WINDOW": str(window_ms(stamp)),
    }
    # Orders are counted by `OrderLimits`, not as frames.
    request = {"reqId": stamp.request_id, "header": header, "op": op, "args": [said]}
    return kit.Frame(_encode(request), cost=0)


def _logged_in(frame: _Frame) -> kit.OrderEvent:
    code = frame.ret_code
    if frame.success is False or code not in {0, _LOGGED_IN_ALREADY}:
        return kit.LoginFailed(f"{code} {frame.ret_msg}", final=_is_final(frame))
    return kit.LoggedIn()


def _replied(frame: _Frame) -> list[kit.OrderEvent]:
    code, text = frame.ret_code, frame.ret_msg
    if frame.req_id is None:
        told = f"an answer without an id: {code} {text}"
        return [kit.Notice(kit.NoticeKind.REFUSED, told)]
    if code is None:
        return [kit.Reply(frame.req_id, kit.Unknown("an answer without a code"))]
    if code == _BAD_KEY and "session" in text.lower():
        return [kit.Reply(frame.req_id, kit.Limited(str(code), text))]
    outcome = errors.meaning(code, text, frame.data, frame.header or {})
    events: list[kit.OrderEvent] = [kit.Reply(frame.req_id, outcome)]
    if code == errors.RESTARTING:
        events.append(kit.Notice(kit.NoticeKind.CLOSING, f"{code} {text}"))
    return events


class EventSocket(_Socket):
    """Orders, executions and wallet of the whole account; only spot is read.

    There is no snapshot: what happened before is asked for, and merged.
    """

    takes_orders = False

    def __init__(self, signer: Signer, instruments: Mapping[str, kit.Instrument]) -> None:
        super().__init__(signer, instruments)
        self._strangers: set[str] = set()

    def url(self, hosts: Mapping[str, str]) -> str:
        return private_url(hosts)

    def login(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        login = {"req_id": _LOGIN, "op": "auth", "args": self._signer.login(stamp)}
        return [kit.Frame(_encode(login), cost=0)]

    def subscribe(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        # All-in-one topics: they cannot be mixed with those of a category, and the wallet has none.
        topics = ["order", "execution", "wallet"]
        return [kit.Frame(_encode({"req_id": _EVENTS, "op": "subscribe", "args": topics}))]

    def decode(self, data: bytes) -> Iterable[kit.OrderEvent]:
        frame = _frame(data)
        match frame.topic:
            case "order":
                return self._told_orders(frame)
            case "execution":
                return self._told_executions(frame)
            case "wallet":
                return _told_wallets(frame)
        if frame.op in {"auth", "subscribe"}:
            return [_opened(frame)]
        if frame.success is False:
            return [kit.Notice(kit.NoticeKind.REFUSED, _text(frame))]
        return []

    def _told_orders(self, frame: _Frame) -> list[kit.OrderEvent]:
        events: list[kit.OrderEvent] = []
        for order in _orders(frame.data):
            if order.category != words.CATEGORY:
                continue
            if instrument := self._instruments.get(order.symbol):
                events.append(words.report(order, instrument))
            else:
                events += self._stranger(order.symbol)
        return events

    def _told_executions(self, frame: _Frame) -> list[kit.OrderEvent]:
        events: list[kit.OrderEvent] = []
        for told in _executions(frame.data):
            if told.category != words.CATEGORY or not told.is_trade:
                continue
            if instrument := self._instruments.get(told.symbol):
                events.append(words.fill(told, instrument))
                if told.extra_fees:  # a fill has one fee: the rest is for the balances to show
                    text = f"execution {told.exec_id} has extra fees: {told.extra_fees!r}"
                    events.append(kit.Notice(kit.NoticeKind.INFO, text[:300]))
            else:
                events += self._stranger(told.symbol)
        return events

    def _stranger(self, symbol: str) -> list[kit.OrderEvent]:
        """An order in what we do not list: said once, since nothing can be booked."""
        if symbol in self._strangers:
            return []
        self._strangers.add(symbol)
        return [kit.Notice(kit.NoticeKind.INFO, f"orders in {symbol}, which we do not list")]


def _told_wallets(frame: _Frame) -> list[kit.OrderEvent]:
    sent_ns = frame.creation_time * kit.MS
    return [
        words.balance(coin, sent_ns)
        for wallet in _wallets(frame.data)
        if wallet.account_type == "UNIFIED"
        for coin in wallet.coin
    ]


def _text(frame: _Frame) -> str:
    return frame.snake_msg or frame.ret_msg or "no reason given"


def _opened(frame: _Frame) -> kit.OrderEvent:
    """Logged in, then subscribed.  How a failure is worded is not documented: none is final."""
    if frame.success is True or (frame.success is None and frame.ret_code == 0):
        return kit.LoggedIn(ready=frame.op == "subscribe")
    return kit.LoginFailed(f"{frame.op}: {_text(frame)}", final=_is_final(frame))


def _is_final(frame: _Frame) -> bool:
    wrong_key = frame.ret_code == _BAD_KEY and "session" not in _text(frame).lower()
    return wrong_key or frame.ret_code in _BAD_LOGINS
