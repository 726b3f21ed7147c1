"""Binance's WebSocket API: orders, and what becomes of them, on one socket.

An HMAC key signs each request; an Ed25519 key logs the session on and signs no more.
https://developers.binance.com/docs/binance-spot-api-docs/websocket-api
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache

import msgspec
from msgspec import Struct, field

from connectors.binance import errors, words
from connectors.binance.facts import orders_url
from connectors.binance.sign import Signer, window_ms
from hean_router import kit

# Requests of the socket's own; those of orders carry the stamp's id.
_LOGON, _EVENTS, _PING = "hean-logon", "hean-events", "hean-ping"
_SUBSCRIBED_ALREADY = -2035

_NO_TRADE = -1  # `t` where nothing traded


@lru_cache(maxsize=64)
def _by_name(names: tuple[str, ...]) -> list[str]:
    """Sorted; there are as many ways to be as there are kinds of requests."""
    return sorted(names)


class _Balance(kit.Amounts):
    asset: str = field(name="a")
    free: Decimal = field(name="f")
    locked: Decimal = field(name="l")


class _Event(Struct):
    """The fields of all events, in one; where two events disagree on a type, both."""

    e: str
    E: int = 0
    s: str = ""
    c: str = ""
    C: str = ""
    S: str = ""
    q: str = ""
    p: str = ""
    x: str = ""
    X: str = ""
    r: str = ""
    i: int = -1
    last_qty: str = field(default="", name="l")
    z: str = ""
    L: str = ""
    n: str = "0"
    N: str | None = None
    T: int = 0
    t: int = _NO_TRADE
    m: bool = False
    expired: str | int = field(default="", name="eR")
    B: list[_Balance] | str = []  # a quantity where self-trade prevention was at work
    a: str | int = ""
    d: str | int = ""


class _Frame(Struct):
    id: str | int | None = None
    status: int = 0
    result: words.Order | None = None
    error: errors.Error | None = None
    event: _Event | None = None


_frame = msgspec.json.Decoder(_Frame).decode
_encode = msgspec.json.Encoder().encode


class Socket(kit.OrderSocket):
    """The one private connection: orders out, answers and events in."""

    ping_every_ms = 5_000
    silence_ms = 12_000  # two pings unanswered, and a little

    def __init__(self, signer: Signer, instruments: Mapping[str, kit.Instrument]) -> None:
        self._signer = signer
        self._instruments = instruments
        self._strangers: set[str] = set()

    def url(self, hosts: Mapping[str, str]) -> str:
        return orders_url(hosts)

    def login(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        """An HMAC key cannot log on: its signed subscription is the login."""
        if self._signer.logs_on:
            return [self._request(_LOGON, "session.logon", {}, stamp, signed=True)]
        method = "userDataStream.subscribe.signature"
        return [self._request(_EVENTS, method, {}, stamp, signed=True)]

    def subscribe(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        if not self._signer.logs_on:
            return []
        return [kit.Frame(_encode({"id": _EVENTS, "method": "userDataStream.subscribe"}), cost=0)]

    def place(self, order: kit.Approved, stamp: kit.Stamp) -> kit.Frame:
        assert stamp.request_id, "an order without an id could not be answered"
        return self._request(stamp.request_id, "order.place", words.placing(order.order), stamp)

    def cancel(
        self, instrument: kit.Instrument, key: str, venue_order_id: str, stamp: kit.Stamp
    ) -> kit.Frame:
        assert stamp.request_id, "a cancel without an id could not be answered"
        params = words.canceling(instrument, key, venue_order_id)
        return self._request(stamp.request_id, "order.cancel", params, stamp)

    def ping(self, stamp: kit.Stamp) -> kit.Frame:
        return kit.Frame(b'{"id":"%s","method":"ping"}' % _PING.encode(), cost=0)

    def _request(
        self,
        request_id: str,
        method: str,
        params: Mapping[str, str | int],
        stamp: kit.Stamp,
        signed: bool = False,
    ) -> kit.Frame:
        """A request with its deadline, and signed unless the session is logged on."""
        said = {**params, "recvWindow": window_ms(stamp), "timestamp": stamp.venue_ms}
        if signed or not self._signer.logs_on:
            said["apiKey"] = self._signer.key
            # All parameters by name, as text, without percent-encoding.
            names = _by_name(tuple(said))
            payload = "&".join([f"{name}={said[name]}" for name in names])
            said["signature"] = self._signer.of(payload)
        # The socket counts weights, not frames: `OrderLimits` pays.
        return kit.Frame(_encode({"id": request_id, "method": method, "params": said}), cost=0)

    # ---------------------------------------------------------------------- reading

    def decode(self, data: bytes) -> Iterable[kit.OrderEvent]:
        frame = _frame(data)
        if frame.event is not None:
            return self._told(frame.event)
        return self._answered(frame)

    def _answered(self, frame: _Frame) -> list[kit.OrderEvent]:
        match frame.id:
            case None:
                return [_unasked(frame)]
            case str(name) if name == _PING:
                return []  # that it came is all it says
            case str(name) if name in {_LOGON, _EVENTS}:
                return [_login(frame, ready=name == _EVENTS)]
        request_id = str(frame.id)
        if frame.status == 200 and frame.result is not None and frame.result.order_id >= 0:
            accepted = kit.Accepted(str(frame.result.order_id))
            return [kit.Reply(request_id, accepted), *self._result(frame.result)]
        if frame.error is None:
            why = f"status {frame.status} without an order or an error"
            return [kit.Reply(request_id, kit.Unknown(why))]
        return [kit.Reply(request_id, errors.meaning(frame.status, frame.error))]

    def _result(self, order: words.Order) -> list[kit.OrderEvent]:
        """What the answer says beside "taken": where the order stands, and what it took."""
        instrument = self._instruments.get(order.symbol)
        if instrument is None or not order.status:
            return []
        return [*words.matches(order, instrument), words.report(order, instrument)]

    def _told(self, event: _Event) -> Iterable[kit.OrderEvent]:
        match event.e:
            case "executionReport":
                return self._execution(event)
            case "outboundAccountPosition":
                return _position(event)
            case "balanceUpdate" | "externalLockUpdate":
                # A change, not a state; the state comes with `outboundAccountPosition`.
                text = f"{event.e}: {event.d} {event.a}"
                return [kit.Notice(kit.NoticeKind.INFO, text)]
            case "serverShutdown":
                return [kit.Notice(kit.NoticeKind.CLOSING, "the server is about to be restarted")]
            case "eventStreamTerminated":
                # The socket lives on, deaf: it has to be opened anew.
                why = "the venue has ended the event stream"
                return [kit.Missed(why), kit.LoginFailed(why, final=False)]
        return []

    def _execution(self, event: _Event) -> list[kit.OrderEvent]:
        instrument = self._instruments.get(event.s)
        if instrument is None:
            return self._stranger(event.s)
        # After a cancel `c` is the cancel's id, and `C` the order's.
        key, order_id = words.key_in(event.C or event.c), str(event.i)
        side, sent_ns = words.SIDES[event.S], (event.T or event.E) * kit.MS
        events: list[kit.OrderEvent] = []
        if event.x == "TRADE":
            if event.t == _NO_TRADE:
                raise ValueError(f"a trade without an id, of order {order_id}")
            events.append(
                kit.Fill(
                    instrument=instrument,
                    key=key,
                    venue_order_id=order_id,
                    trade_id=str(event.t),
                    side=side,
                    px=instrument.px(event.L),
                    qty=instrument.qty(event.last_qty),
                    fee=kit.amount(event.n),
                    fee_asset=event.N or "",
                    maker=event.m,
                    sent_ns=sent_ns,
                )
            )
        reason = str(event.expired or ("" if event.r == "NONE" else event.r))
        events.append(
            kit.OrderReport(
                instrument=instrument,
                key=key,
                venue_order_id=order_id,
                state=words.STATES[event.X],
                cum_qty=instrument.qty(event.z),
                qty=instrument.qty(event.q),
                px=instrument.px(event.p) or None,
                side=side,
                reason=reason,
                sent_ns=sent_ns,
            )
        )
        return events

    def _stranger(self, symbol: str) -> list[kit.OrderEvent]:
        """An order in what we do not list: said once, since nothing can be booked."""
        if symbol in self._strangers:
            return []
        self._strangers.add(symbol)
        return [kit.Notice(kit.NoticeKind.INFO, f"orders in {symbol}, which we do not list")]


def _position(event: _Event) -> list[kit.OrderEvent]:
    """Every asset that was touched, as it stands now."""
    if isinstance(event.B, str):
        raise ValueError("balances that are no list")
    sent_ns = event.E * kit.MS
    return [
        kit.Balance(
            asset=each.asset, total=each.free + each.locked, locked=each.locked, sent_ns=sent_ns
        )
        for each in event.B
    ]


def _login(frame: _Frame, *, ready: bool) -> kit.OrderEvent:
    error = frame.error
    if frame.status == 200 or (error is not None and error.code == _SUBSCRIBED_ALREADY):
        return kit.LoggedIn(ready=ready)
    if error is None:
        return kit.LoginFailed(f"status {frame.status}", final=False)
    return kit.LoginFailed(f"{error.code} {error.msg}", final=_is_final(frame.status, error))


def _is_final(status: int, error: errors.Error) -> bool:
    """A wrong key stays wrong, and so does a request that is malformed."""
    meant = errors.meaning(status, error)
    finals = {kit.RejectKind.ACCESS, kit.RejectKind.REQUEST}
    return isinstance(meant, kit.Rejected) and meant.kind in finals


def _unasked(frame: _Frame) -> kit.OrderEvent:
    """An error that answers nothing of ours: a revoked key, or a request that was not read."""
    error = frame.error
    if error is None:
        raise ValueError("neither an event nor an answer")
    text = f"status {frame.status}: {error.code} {error.msg}"
    if frame.status == 401:
        return kit.LoginFailed(text, final=_is_final(frame.status, error))
    return kit.Notice(kit.NoticeKind.REFUSED, text)
