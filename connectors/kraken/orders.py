"""Kraken spot orders by REST: fall-back for placing and cancelling, and every question."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from connectors.kraken import errors, listing, times, words
from connectors.kraken.private import Socket, ended
from connectors.kraken.sign import Keys
from hean_router import kit

T = TypeVar("T")
_PLACE = "/0/private/AddOrder"
_HISTORY_COST = 4  # the older documentation's count; the newer says 2
_PAGES_MAX = 200
_NO_ORDER = {"EOrder:Invalid order", "EOrder:Unknown order"}
_NO_METHOD = {"EGeneral:Unknown method"}
_DEAD_MAN_MAX_S = 86_399

# Assets with a letter in front from older days; all others have one name.
_ASSETS = {
    "XXBT": "BTC",
    "XBT": "BTC",
    "XXDG": "DOGE",
    "XDG": "DOGE",
    **{
        f"X{name}": name for name in ("ETC", "ETH", "LTC", "MLN", "REP", "XLM", "XMR", "XRP", "ZEC")
    },
    **{f"Z{name}": name for name in ("AUD", "CAD", "EUR", "GBP", "JPY", "USD")},
}


class _Taken(Struct):
    """The result of either: what they hold does not overlap."""

    txid: list[str] | None = None
    count: int | None = None
    pending: bool = False


class _Answer(Struct):
    error: list[str]
    result: _Taken | None = None


class _Descr(Struct):
    pair: str
    type: kit.Side
    ordertype: str
    price: str = "0"


class _Order(Struct):
    status: str
    vol: str
    vol_exec: str
    descr: _Descr
    cl_ord_id: str | None = None
    reason: str | None = None
    oflags: str = ""
    opentm: Any = None
    closetm: Any = None


class _Open(Struct):
    open: dict[str, _Order]


class _Closed(Struct):
    closed: dict[str, _Order]


class _Trade(Struct):
    ordertxid: str
    pair: str
    time: Any
    type: kit.Side
    price: str
    vol: str
    fee: str
    maker: bool | None = None
    cl_ord_id: str | None = None


class _Trades(Struct):
    trades: dict[str, _Trade]
    count: int = 0


class _Held(Struct):
    balance: str
    hold_trade: str = "0"
    credit: str = "0"
    credit_used: str = "0"


class _Rate(Struct):
    fee: str


class _Volume(Struct):
    fees: dict[str, _Rate] | None = None
    fees_maker: dict[str, _Rate] | None = None


class _KeyInfo(Struct, rename="camel"):
    permissions: list[str] | None = None
    ip_allowlist: list[str] | None = None


class _Timer(Struct, rename="camel"):
    current_time: str
    trigger_time: str = ""


_ANSWER = msgspec.json.Decoder(_Answer)
_ORDERS = msgspec.json.Decoder(dict[str, _Order], float_hook=str)
_OPEN = msgspec.json.Decoder(_Open, float_hook=str)
_CLOSED = msgspec.json.Decoder(_Closed, float_hook=str)
_TRADES = msgspec.json.Decoder(_Trades, float_hook=str)
_BALANCES = msgspec.json.Decoder(dict[str, _Held])
_VOLUME = msgspec.json.Decoder(_Volume)
_KEY_INFO = msgspec.json.Decoder(_KeyInfo)
_TIMER = msgspec.json.Decoder(_Timer)

_STATES = {
    "pending": kit.OrderState.OPEN,
    "open": kit.OrderState.OPEN,
    "closed": kit.OrderState.FILLED,
    "canceled": kit.OrderState.CANCELED,
    "expired": kit.OrderState.EXPIRED,
}

LIMITS = kit.OrderLimits(
    # A counter per account and pair that decays; the lowest tier's.  Filled orders cost their add;
    # a cancel costs the more the younger the order: 8 within 5 s, nothing after 5 minutes.
    buckets={"engine {symbol}": kit.RateLimit(60, 60_000)},
    place={"engine {symbol}": 1},
    cancel={"engine {symbol}": 8},
)


class Orders(kit.OrderCodec):
    """One account at Kraken, spot."""

    limits = LIMITS
    rising_nonces = True
    visibility_ms = 5_000  # no bound is documented: ours
    # An order, among the open and the ended, costs two of the counter: it lets 0.33 a second pass.
    question_ms = 2_000
    fills_of_all = True
    engine_ms = 1_000  # it does not match past the deadline, by its own clock

    def __init__(self, own: kit.Credentials, instruments: Mapping[str, kit.Instrument]) -> None:
        self._keys, self._instruments = Keys(own), instruments

    @property
    def _by_name(self) -> Mapping[str, kit.Instrument]:
        """As they are listed now: what stands behind it may be told anew."""
        return _by_name(self._instruments.values())

    def sockets(self) -> Sequence[kit.OrderSocket]:
        return (Socket(self._keys, self._instruments),)

    def sign(self, request: kit.HttpRequest, stamp: kit.Stamp) -> kit.HttpRequest:
        return self._keys.request(request, stamp, expires=request.path == _PLACE)

    # ---------------------------------------------------------------------- orders

    def place(self, order: kit.Approved) -> kit.HttpRequest:
        return _post("AddOrder", words.order_form(order.order), bucket="trade")

    def cancel(self, instrument: kit.Instrument, key: str, venue_order_id: str) -> kit.HttpRequest:
        body = words.form(cl_ord_id=key) if key else words.form(txid=venue_order_id)
        return _post("CancelOrder", body, bucket="trade")

    def outcome(self, answer: kit.Answer) -> kit.Outcome:
        """Kraken refuses with HTTP 200; another status is not the engine's word."""
        if answer.status != HTTPStatus.OK:
            return kit.Unknown(f"HTTP {answer.status}")
        try:
            told = _ANSWER.decode(answer.body)
        except kit.UNREADABLE:
            return kit.Unknown("HTTP 200 and no answer of Kraken's")
        if texts := [self._keys.clean(text) for text in errors.serious(told.error)]:
            return errors.of_all(texts, errors.TO_EITHER)
        match told.result:
            case _Taken(txid=[order_id]) if order_id:
                return kit.Accepted(order_id)
            case _Taken(txid=None, count=int(count), pending=pending) if count > 0 or pending:
                return kit.Accepted()
            case _:
                return kit.Unknown("no error, but neither an order nor a cancel")

    # ---------------------------------------------------------------------- questions

    def order(
        self, instrument: kit.Instrument, key: str, venue_order_id: str
    ) -> kit.Ask[kit.OrderReport | None]:
        """By our key among the open, then among the ended: an order moves that way only."""
        if not key:
            answer = yield _post("QueryOrders", words.form(txid=venue_order_id))
            rows = self._read(answer, "QueryOrders", _ORDERS, absent=_NO_ORDER)
            found = [(id_, row) for id_, row in (rows or {}).items() if id_ == venue_order_id]
            return self._newest(found, instrument)
        answer = yield _post("OpenOrders", words.form(cl_ord_id=key))
        is_open = self._told(answer, "OpenOrders", _OPEN).open
        found = [(id_, row) for id_, row in is_open.items() if row.cl_ord_id == key]
        if not found:
            answer = yield _post("ClosedOrders", words.form(cl_ord_id=key))
            closed = self._told(answer, "ClosedOrders", _CLOSED).closed
            found = [(id_, row) for id_, row in closed.items() if row.cl_ord_id == key]
        return self._newest(found, instrument)

    def _newest(
        self, found: Sequence[tuple[str, _Order]], asked: kit.Instrument
    ) -> kit.OrderReport | None:
        """A key may name several ended orders, though ours never do."""
        if not found:
            return None

        def read() -> kit.OrderReport:
            id_, row = max(found, key=lambda each: times.of_seconds(str(each[1].opentm or 0)))
            known = {**_by_name([asked]), **self._by_name}
            return _report(id_, row, known[row.descr.pair])

        return self._readable("order", read)

    def open_orders(
        self, instruments: Sequence[kit.Instrument]
    ) -> kit.Ask[Sequence[kit.OrderReport]]:
        """All in one answer: Kraken does not page the open ones."""
        known = {**self._by_name, **_by_name(instruments)}
        answer = yield _post("OpenOrders")
        found = self._told(answer, "OpenOrders", _OPEN).open
        return self._readable(
            "OpenOrders",
            lambda: [
                _report(id_, row, known[row.descr.pair])
                for id_, row in found.items()
                if row.descr.pair in known
            ],
        )

    def fills(self, instrument: kit.Instrument, since_ns: int) -> kit.Ask[Sequence[kit.Fill]]:
        """Out of the whole account's history: it can not be asked for one pair."""
        found = yield from self.all_fills([instrument], since_ns)
        return found[instrument.symbol]

    def all_fills(
        self, instruments: Sequence[kit.Instrument], since_ns: int
    ) -> kit.Ask[Mapping[str, Sequence[kit.Fill]]]:
        """The account's history, once for all pairs.

        It comes newest first, 50 at a time, by offset: a trade in between moves the rest on, so
        some may come twice, and none is passed over.
        """
        found: dict[str, _Trade] = {}
        offset = 0
        # `start` is exclusive, and a trade's time is told to 0.1 ms.
        start = str(max(0, since_ns // times.SECOND_NS - 1))
        for _ in range(_PAGES_MAX):
            # Each trade by itself, under the id that the socket gave it.
            body = words.form(start=start, ofs=str(offset), consolidate_taker="false")
            answer = yield _post("TradesHistory", body, cost=_HISTORY_COST)
            page = self._told(answer, "TradesHistory", _TRADES)
            found |= page.trades
            offset += len(page.trades)
            if not page.trades or offset >= page.count:
                break
        else:
            raise kit.VenueError(f"kraken TradesHistory: more than {_PAGES_MAX} pages")

        def read(instrument: kit.Instrument) -> Sequence[kit.Fill]:
            names = {instrument.symbol, *instrument.aliases}
            ours = [(id_, row) for id_, row in found.items() if row.pair in names]
            fills = sorted((_fill(id_, row, instrument) for id_, row in ours), key=_when)
            return [fill for fill in fills if fill.sent_ns >= since_ns]

        return self._readable(
            "TradesHistory", lambda: {each.symbol: read(each) for each in instruments}
        )

    def balances(self) -> kit.Ask[Sequence[kit.Balance]]:
        """What can be traded with: assets with a suffix are staked, lent or tokenised."""
        answer = yield _post("BalanceEx")
        found = self._told(answer, "BalanceEx", _BALANCES)
        return self._readable(
            "BalanceEx",
            lambda: [_balance(name, row) for name, row in found.items() if "." not in name],
        )

    def fees(self, instruments: Sequence[kit.Instrument]) -> kit.Ask[Mapping[str, kit.Fees]]:
        """Rates in per cent there; a pair without a maker's rate has one for both."""
        pairs = ",".join(words.rest_name(each) for each in instruments)
        answer = yield _post("TradeVolume", words.form(pair=pairs))
        told = self._told(answer, "TradeVolume", _VOLUME)
        takers, makers = told.fees or {}, told.fees_maker or {}

        def read() -> Mapping[str, kit.Fees]:
            rates = {}
            for each in instruments:
                names = (each.symbol, *each.aliases)
                taker = next((takers[name] for name in names if name in takers), None)
                maker = next((makers[name] for name in names if name in makers), taker)
                if taker is not None and maker is not None:
                    rates[each.symbol] = kit.Fees(
                        taker=kit.amount(taker.fee) / 100,
                        maker=kit.amount(maker.fee) / 100,
                        fee_in=kit.FeeIn.QUOTE,  # as we ask to be charged
                    )
            return rates

        return self._readable("TradeVolume", read)

    def permissions(self) -> kit.Ask[kit.Permissions]:
        """From `GetApiKeyInfo`, which any key may ask (documented since 2026)."""
        answer = yield _post("GetApiKeyInfo")
        told = self._read(answer, "GetApiKeyInfo", _KEY_INFO, absent=_NO_METHOD)
        if told is None or told.permissions is None:
            return kit.Permissions(read=None, trade=None, withdraw=None)
        may = set(told.permissions)
        return kit.Permissions(
            read={"query-funds", "query-open-trades", "query-closed-trades"} <= may,
            trade={"modify-trades", "close-trades"} <= may,
            withdraw="withdraw-funds" in may,
            ip_bound=bool(told.ip_allowlist) if told.ip_allowlist is not None else None,
        )

    def dead_man(self, seconds: int) -> kit.Ask[Decimal]:
        """Ends every order of the account, foreign ones too: there is no other kind."""
        timeout = min(_DEAD_MAN_MAX_S, max(0, seconds))
        answer = yield _post("CancelAllOrdersAfter", words.form(timeout=str(timeout)))
        told = self._told(answer, "CancelAllOrdersAfter", _TIMER)

        def read() -> Decimal:
            if told.trigger_time in {"", "0"}:
                return Decimal(0)
            return (
                Decimal(times.ns(told.trigger_time) - times.ns(told.current_time)) / times.SECOND_NS
            )

        return self._readable("CancelAllOrdersAfter", read)

    # ---------------------------------------------------------------------- reading

    def _told(self, answer: kit.Answer, what: str, decoder: msgspec.json.Decoder[T]) -> T:
        """What an answer holds; raises `VenueError`."""
        try:
            return listing.result(answer, what, decoder)
        except kit.VenueError as fault:
            raise kit.VenueError(self._keys.clean(str(fault)), fault.fix) from None

    def _read(
        self,
        answer: kit.Answer,
        what: str,
        decoder: msgspec.json.Decoder[T],
        absent: Collection[str],
    ) -> T | None:
        """The same, None where the one error is among `absent`."""
        if answer.status == HTTPStatus.OK:
            try:
                (text,) = errors.serious(_ERRORS.decode(answer.body).error)
                if text in absent:
                    return None
            except kit.UNREADABLE:
                pass  # told below
        return self._told(answer, what, decoder)

    def _readable(self, what: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, KeyError) as fault:
            raise kit.VenueError(self._keys.clean(f"kraken {what}: {fault!r}")) from None


class _Errors(Struct):
    error: list[str]


_ERRORS = msgspec.json.Decoder(_Errors)


def _by_name(instruments: Iterable[kit.Instrument]) -> Mapping[str, kit.Instrument]:
    """By each of the three names that REST may use."""
    return {name: each for each in instruments for name in (each.symbol, *each.aliases)}


def _report(id_: str, row: _Order, instrument: kit.Instrument) -> kit.OrderReport:
    state, reason = _STATES[row.status], row.reason or ""
    is_limit = row.descr.ordertype == "limit"
    if state is kit.OrderState.CANCELED:
        state = ended(reason, at_once=not is_limit)
    by_value = "viqc" in row.oflags
    return kit.OrderReport(
        instrument=instrument,
        key=row.cl_ord_id or "",
        venue_order_id=id_,
        state=state,
        cum_qty=instrument.qty(row.vol_exec),
        qty=None if by_value else instrument.qty(row.vol),
        px=instrument.px(row.descr.price) if is_limit else None,
        side=row.descr.type,
        reason=reason,
        sent_ns=times.of_seconds(str(row.closetm)) if row.closetm else 0,
    )


def _fill(id_: str, row: _Trade, instrument: kit.Instrument) -> kit.Fill:
    """The history tells no currency of the fee: its documentation says quote."""
    return kit.Fill(
        instrument=instrument,
        key=row.cl_ord_id or "",
        venue_order_id=row.ordertxid,
        trade_id=id_,
        side=row.type,
        px=instrument.px(row.price),
        qty=instrument.qty(row.vol),
        fee=kit.amount(row.fee),
        fee_asset=instrument.pair.quote,
        maker=row.maker,
        sent_ns=times.of_seconds(str(row.time)),
    )


def _when(fill: kit.Fill) -> tuple[int, str]:
    return fill.sent_ns, fill.trade_id


def _balance(name: str, row: _Held) -> kit.Balance:
    total = kit.amount(row.balance) + kit.amount(row.credit) - kit.amount(row.credit_used)
    return kit.Balance(
        asset=_ASSETS.get(name, name), total=total, locked=kit.amount(row.hold_trade)
    )


def _post(
    method: str, body: bytes = b"", bucket: str = "private", cost: int = 1
) -> kit.HttpRequest:
    return kit.HttpRequest(
        path=f"/0/private/{method}", method="POST", body=body, bucket=bucket, cost=cost, signed=True
    )
