"""OKX's private socket: orders out; their answers, their events and our balances in."""

from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from connectors.okx import errors, rows, words
from connectors.okx.sign import Keys
from hean_router import kit

_PATH = "/ws/v5/private"
_TOPICS: list[dict[str, str]] = [
    {"channel": "orders", "instType": "SPOT"},
    # No snapshots at intervals: changes, and one at the start.
    {"channel": "account", "extraParams": '{"updateInterval":"0"}'},
]


class _Arg(Struct, gc=False):
    channel: str = ""


class _Message(Struct, gc=False):
    arg: _Arg | None = None
    data: list[rows.Row] | None = None
    event: str = ""
    id: str | None = None
    op: str = ""
    code: str = ""
    msg: str = ""
    channel: str = ""


class _Head(Struct):
    arg: _Arg | None = None


_decode = msgspec.json.Decoder(_Message).decode
_decode_head = msgspec.json.Decoder(_Head).decode
_READ = {"orders", "account"}


def answered(
    code: str,
    text: str,
    data: list[rows.Row] | None,
    table: Mapping[str, kit.RejectKind],
    keys: Keys,
) -> kit.Outcome:
    """What became of one order in an answer, REST's or the socket's: its row decides."""
    if not data:
        if code in {"", "0", "1", "2"}:  # no row, and no cause that could stand for one
            return kit.Unknown(f"code {code or 'none'} without a row: {keys.clean(text)}")
        return errors.outcome(code, keys.clean(text), table)
    (row, *more) = data
    if more or not row.s_code:
        return kit.Unknown(f"{len(data)} rows, sCode {row.s_code or 'none'}: {keys.clean(text)}")
    if row.s_code != "0":
        return errors.outcome(row.s_code, keys.clean(row.s_msg or text), table, row.sub_code)
    if not row.ord_id:
        return kit.Unknown("accepted, but without an order id")
    return kit.Accepted(row.ord_id)


class Socket(kit.OrderSocket):
    """One private connection: its numbering of requests, and which answers are still to come."""

    # The venue closes after 30 s without a push (4004); an idle socket answers `ping` at once.
    ping_every_ms = 5_000
    silence_ms = 12_000

    def __init__(self, keys: Keys, instruments: Mapping[str, kit.Instrument]) -> None:
        self._keys, self._instruments = keys, instruments
        self._count = 0
        # The id on the wire -> whose request it is, and what may refuse it.
        self._asked: dict[str, tuple[str, Mapping[str, kit.RejectKind]]] = {}
        self._awaited = {topic["channel"] for topic in _TOPICS}
        self._logged_in = False

    def url(self, hosts: Mapping[str, str]) -> str:
        """Beside the public one; a host with a path of its own is taken as it stands."""
        if "orders.ws" in hosts:
            url = hosts["orders.ws"]
        else:
            url = hosts["spot.ws"] if "spot.ws" in hosts else hosts["ws"]
        path = urlsplit(url).path.strip("/")
        if not path:
            return url.rstrip("/") + _PATH
        return url.removesuffix("/public") + "/private" if path.endswith("/public") else url

    # ---------------------------------------------------------------------- asking

    def login(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        return (kit.Frame(self._keys.login(stamp), secret=True),)

    def subscribe(self, stamp: kit.Stamp) -> Iterable[kit.Frame]:
        """Orders and balances.  There is no snapshot of orders: ask for the open ones then."""
        request = {"id": self._next(), "op": "subscribe", "args": _TOPICS}
        return (kit.Frame(msgspec.json.encode(request)),)

    def place(self, order: kit.Approved, stamp: kit.Stamp) -> kit.Frame:
        number = self._next()
        text = words.order(order.order, words.code_of(order.order.instrument))
        self._asked[number] = stamp.request_id, errors.TO_PLACE
        head = f'{{"id":"{number}","op":"order","expTime":"{stamp.deadline_ms}","args":['
        return kit.Frame(f"{head}{text}]}}".encode(), cost=0)

    def cancel(
        self, instrument: kit.Instrument, key: str, venue_order_id: str, stamp: kit.Stamp
    ) -> kit.Frame:
        """By our key; a cancel has no deadline."""
        number = self._next()
        text = words.cancel(words.code_of(instrument), key, venue_order_id)
        self._asked[number] = stamp.request_id, errors.TO_CANCEL
        data = f'{{"id":"{number}","op":"cancel-order","args":[{text}]}}'
        return kit.Frame(data.encode(), cost=0)

    def names(self, instrument: kit.Instrument) -> bool:
        """Not where its number is not known: that of a pair that is not listed now."""
        return instrument.code is not None

    def ping(self, stamp: kit.Stamp) -> kit.Frame:
        return kit.Frame(b"ping", cost=0)

    def _next(self) -> str:
        self._count += 1
        return str(self._count)

    # ---------------------------------------------------------------------- reading

    def decode(self, data: bytes) -> Iterable[kit.OrderEvent]:
        if data == b"pong":
            return ()
        try:
            message = _decode(data)
        except msgspec.ValidationError:
            head = _decode_head(data)
            if head.arg is not None and head.arg.channel not in _READ:
                return ()  # rows of a shape that we need not know
            raise
        if message.op:
            return self._answered(message)
        if message.event:
            return self._said(message)
        if message.arg is None or message.data is None:
            raise ValueError("neither an answer nor an event nor data")
        # Whole before any of it is told: a row that can not be read takes its message with it.
        if message.arg.channel == "orders":
            return list(self._orders(message.data))
        if message.arg.channel == "account":
            return [rows.balance(each) for row in message.data for each in row.details or ()]
        return ()

    def _orders(self, data: Iterable[rows.Row]) -> Iterator[kit.OrderEvent]:
        """Fills before the report that counts them."""
        for row in data:
            if (instrument := self._instruments.get(row.inst_id)) is None:
                continue
            if rows.traded(row):
                yield rows.fill(row, instrument)
            yield rows.report(row, instrument)

    def _answered(self, message: _Message) -> Iterable[kit.OrderEvent]:
        if (asked := self._asked.pop(message.id or "", None)) is None:
            return ()  # answered before, or not ours
        request_id, table = asked
        outcome = answered(message.code, message.msg, message.data, table, self._keys)
        return (kit.Reply(request_id, outcome),)

    def _said(self, message: _Message) -> Iterable[kit.OrderEvent]:
        text = self._keys.clean(" ".join(filter(None, (message.code, message.msg))))
        match message.event:
            case "login" if message.code in {"", "0"}:
                self._logged_in = True
                return (kit.LoggedIn(ready=False),)
            case "subscribe":
                return self._subscribed(message)
            case "notice" if message.code == "64008":  # about a minute before a maintenance
                return (kit.Notice(kit.NoticeKind.CLOSING, text),)
            case "error" if message.id in self._asked:  # the frame was not understood
                request_id, table = self._asked.pop(message.id)
                return (kit.Reply(request_id, errors.outcome(message.code, text, table)),)
            case "login" | "error" if not self._logged_in:
                return (kit.LoginFailed(text, final=message.code in errors.FINAL),)
            case "channel-conn-count-error":  # after its acknowledgement: the topic is gone again
                return (kit.LoginFailed(f"{message.channel}: too many connections", final=False),)
            case "error" if self._awaited:
                return (kit.LoginFailed(f"subscribe: {text}", final=False),)
            case "error":
                return (kit.Notice(kit.NoticeKind.REFUSED, text),)
            case "channel-conn-count" | "unsubscribe":
                return ()
            case _:
                return (kit.Notice(kit.NoticeKind.INFO, f"{message.event} {text}".strip()),)

    def _subscribed(self, message: _Message) -> Iterable[kit.OrderEvent]:
        """Ready with the last acknowledgement: a repeated one is no news."""
        channel = message.arg.channel if message.arg else ""
        if channel not in self._awaited:
            return ()
        self._awaited.discard(channel)
        return () if self._awaited else (kit.LoggedIn(ready=True),)
