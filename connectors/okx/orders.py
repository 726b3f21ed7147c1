"""OKX spot orders by REST: fall-back for placing and cancelling, and every question."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from http import HTTPStatus
from typing import TypeVar

import msgspec
from msgspec import Struct

from connectors.okx import errors, listing, rows, words
from connectors.okx.private import Socket, answered
from connectors.okx.sign import Keys
from hean_router import kit

T = TypeVar("T")
_PAGE = 100
_PAGES_MAX = 200
_PLACE = "/api/v5/trade/order"
_ABSENT = frozenset({"51603"})
# Refusals come with these; another status is not the trading service's word.
_TOLD = {
    HTTPStatus.OK,
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.TOO_MANY_REQUESTS,
}


class _Answer(Struct):
    code: str
    msg: str = ""
    data: list[rows.Row] | None = None


class _Config(Struct, rename="camel"):
    acct_lv: str = ""
    fee_type: str = ""
    perm: str = ""
    ip: str | None = None


class _Group(Struct, rename="camel"):
    group_id: str
    maker: str = ""
    taker: str = ""


class _Rates(Struct, rename="camel"):
    maker: str = ""
    taker: str = ""
    fee_group: list[_Group] = []


class _Grouped(Struct, rename="camel"):
    inst_id: str
    group_id: str = ""


class _Timer(Struct, rename="camel"):
    trigger_time: str
    ts: str


_ANSWER = msgspec.json.Decoder(_Answer)
_ROWS = msgspec.json.Decoder(list[rows.Row])
_CONFIG = msgspec.json.Decoder(list[_Config])
_RATES = msgspec.json.Decoder(list[_Rates])
_GROUPED = msgspec.json.Decoder(list[_Grouped])
_TIMER = msgspec.json.Decoder(list[_Timer])

LIMITS = kit.OrderLimits(
    buckets={
        # By user and instrument, placing and cancelling apart, REST and socket together.
        "place {symbol}": kit.RateLimit(60, 2_000),
        "cancel {symbol}": kit.RateLimit(60, 2_000),
        # New orders of a sub-account (50061); cancels are free.
        "account": kit.RateLimit(1_000, 2_000),
    },
    place={"place {symbol}": 1, "account": 1},
    cancel={"cancel {symbol}": 1},
)


class Orders(kit.OrderCodec):
    """One account at OKX, spot, without credit."""

    limits = LIMITS
    visibility_ms = 2_000  # no bound is documented: ours
    engine_ms = 5_000  # `expTime` is looked at on arrival; what the engine then takes is not told

    def __init__(self, own: kit.Credentials, instruments: Mapping[str, kit.Instrument]) -> None:
        self._keys, self._instruments = Keys(own), instruments

    def sockets(self) -> Sequence[kit.OrderSocket]:
        return (Socket(self._keys, self._instruments),)

    def sign(self, request: kit.HttpRequest, stamp: kit.Stamp) -> kit.HttpRequest:
        return self._keys.request(
            request, stamp, expires=request.path == _PLACE and bool(request.body)
        )

    # ---------------------------------------------------------------------- orders

    def place(self, order: kit.Approved) -> kit.HttpRequest:
        text = words.order(order.order, words.symbol_of(order.order.instrument))
        return _post(_PLACE, text.encode(), "place")

    def cancel(self, instrument: kit.Instrument, key: str, venue_order_id: str) -> kit.HttpRequest:
        text = words.cancel(words.symbol_of(instrument), key, venue_order_id)
        return _post("/api/v5/trade/cancel-order", text.encode(), "cancel")

    def outcome(self, answer: kit.Answer) -> kit.Outcome:
        """One table for both: a code that only cancels are given can not come to an order."""
        if answer.status not in _TOLD:
            return kit.Unknown(f"HTTP {answer.status}")
        try:
            told = _ANSWER.decode(answer.body)
        except kit.UNREADABLE:
            return kit.Unknown(f"HTTP {answer.status} and no answer of OKX's")
        outcome = answered(told.code, told.msg, told.data, errors.TO_CANCEL, self._keys)
        if isinstance(outcome, kit.Accepted) and answer.status != HTTPStatus.OK:
            return kit.Unknown(f"accepted, but HTTP {answer.status}")
        return outcome

    # ---------------------------------------------------------------------- questions

    def order(
        self, instrument: kit.Instrument, key: str, venue_order_id: str
    ) -> kit.Ask[kit.OrderReport | None]:
        """By our key; a miss is looked for once more, among the open and among the ended.

        An order cancelled without a fill is gone from everywhere after two hours.
        """
        field, id_ = ("clOrdId", key) if key else ("ordId", venue_order_id)
        name = f"instId={instrument.symbol}"
        answer = yield _get(_PLACE, f"{name}&{field}={id_}", "order")
        found = self._read(answer, f"order {id_}", _ROWS, absent=_ABSENT)
        for place in ("orders-pending", "orders-history"):
            if report := self._named(found, instrument, key, venue_order_id):
                return report
            answer = yield _get(
                f"/api/v5/trade/{place}", f"instType=SPOT&{name}&limit={_PAGE}", place
            )
            found = self._read(answer, place, _ROWS)
        return self._named(found, instrument, key, venue_order_id)

    def _named(
        self, found: Sequence[rows.Row], instrument: kit.Instrument, key: str, venue_order_id: str
    ) -> kit.OrderReport | None:
        """The newest of that name: the venue lists the newest first."""
        for row in found:
            if row.inst_id != instrument.symbol:
                continue
            if (row.cl_ord_id == key) if key else (row.ord_id == venue_order_id):
                return self._readable("order", partial(rows.report, row, instrument))
        return None

    def open_orders(
        self, instruments: Sequence[kit.Instrument]
    ) -> kit.Ask[Sequence[kit.OrderReport]]:
        known = {**self._instruments, **{each.symbol: each for each in instruments}}
        found: list[rows.Row] = yield from self._paged(
            "orders-pending", "instType=SPOT", lambda row: row.ord_id
        )
        return self._readable(
            "open orders",
            lambda: [rows.report(row, known[row.inst_id]) for row in found if row.inst_id in known],
        )

    def fills(self, instrument: kit.Instrument, since_ns: int) -> kit.Ask[Sequence[kit.Fill]]:
        """From the quick list, which goes back three days, and the long one of three months."""
        query = f"instType=SPOT&instId={instrument.symbol}&begin={max(0, since_ns // kit.MS - 1)}"
        found: list[rows.Row] = []
        for place in ("fills", "fills-history"):
            found += yield from self._paged(place, query, lambda row: row.bill_id)

        def read() -> Sequence[kit.Fill]:
            ours = {row.trade_id: row for row in found if row.inst_id == instrument.symbol}
            oldest_first = sorted(ours.values(), key=_when)
            fills = (rows.past_fill(row, instrument) for row in oldest_first)
            # Their times are whole milliseconds; whether `begin` counts itself is not told.
            return [fill for fill in fills if fill.sent_ns >= since_ns // kit.MS * kit.MS]

        return self._readable("fills", read)

    def balances(self) -> kit.Ask[Sequence[kit.Balance]]:
        answer = yield _get("/api/v5/account/balance", "", "balance")
        found = self._read(answer, "balance", _ROWS)
        if len(found) != 1 or found[0].details is None:
            raise kit.VenueError(f"okx balance: {len(found)} accounts, or one without details")
        details = found[0].details
        return self._readable("balance", lambda: [rows.balance(each) for each in details])

    def fees(self, instruments: Sequence[kit.Instrument]) -> kit.Ask[Mapping[str, kit.Fees]]:
        """Rates by fee group, in three requests however many instruments there are.

        Left out is what the venue tells no rate for: pairs without fees are not shown.
        """
        config = yield from self._config()
        answer = yield _get(
            "/api/v5/public/instruments", "instType=SPOT", "instruments", signed=False
        )
        groups = {row.inst_id: row.group_id for row in self._read(answer, "instruments", _GROUPED)}
        answer = yield _get("/api/v5/account/trade-fee", "instType=SPOT", "trade-fee")
        rates = self._read(answer, "trade-fee", _RATES)
        if not rates:
            raise kit.VenueError("okx trade-fee: an empty answer")
        by_group = {group.group_id: (group.maker, group.taker) for group in rates[0].fee_group}
        whole = (rates[0].maker, rates[0].taker)
        fee_in = kit.FeeIn.QUOTE if config.fee_type == "1" else kit.FeeIn.RECEIVED

        def read() -> Mapping[str, kit.Fees]:
            told = {
                each.symbol: by_group.get(groups.get(each.symbol, ""), ("", ""))
                if by_group
                else whole
                for each in instruments
            }
            return {
                symbol: kit.Fees(
                    maker=-kit.amount(maker), taker=-kit.amount(taker), fee_in=fee_in
                )  # theirs are negative when charged
                for symbol, (maker, taker) in told.items()
                if maker and taker
            }

        return self._readable("trade-fee", read)

    def permissions(self) -> kit.Ask[kit.Permissions]:
        """Also looks at the account: in a margin mode spot orders would be on credit."""
        config = yield from self._config()
        if config.acct_lv in {"3", "4"}:
            raise kit.VenueError(
                f"okx account: mode {config.acct_lv} trades spot on credit, and refuses our orders",
                "set the account to spot mode, or give a sub-account's key",
            )
        perms = {word.strip() for word in config.perm.split(",") if word.strip()}
        return kit.Permissions(
            read=bool(perms) or None,  # any key may read, which is called `read_only`
            trade="trade" in perms if perms else None,
            withdraw="withdraw" in perms if perms else None,
            ip_bound=bool(config.ip) if config.ip is not None else None,
        )

    def dead_man(self, seconds: int) -> kit.Ask[Decimal]:
        """Ends the orders that carry our tag, and no others.  10 to 120 s, or 0 for off."""
        granted = min(120, max(10, seconds)) if seconds else 0
        body = f'{{"timeOut":"{granted}","tag":"{words.TAG}"}}'.encode()
        answer = yield _post("/api/v5/trade/cancel-all-after", body, "cancel-all-after")
        told = self._read(answer, "cancel-all-after", _TIMER)
        if len(told) != 1:
            raise kit.VenueError(f"okx cancel-all-after: {len(told)} rows")

        def read() -> Decimal:
            trigger, at = _seconds(told[0].trigger_time), _seconds(told[0].ts)
            return max(Decimal(0), trigger - at) if trigger else Decimal(0)

        return self._readable("cancel-all-after", read)

    # ---------------------------------------------------------------------- reading

    def _config(self) -> kit.Ask[_Config]:
        answer = yield _get("/api/v5/account/config", "", "config")
        found = self._read(answer, "config", _CONFIG)
        if len(found) != 1:
            raise kit.VenueError(f"okx config: {len(found)} accounts")
        return found[0]

    def _paged(
        self, place: str, query: str, mark: Callable[[rows.Row], str]
    ) -> kit.Ask[list[rows.Row]]:
        """Every row, newest first; raises `VenueError` rather than leave the rest untold."""
        found: list[rows.Row] = []
        after = ""
        for _ in range(_PAGES_MAX):
            answer = yield _get(f"/api/v5/trade/{place}", f"{query}&limit={_PAGE}{after}", place)
            page = self._read(answer, place, _ROWS)
            found += page
            if len(page) < _PAGE:
                return found
            last = mark(page[-1])
            if not last.isdecimal() or after == f"&after={last}":
                raise kit.VenueError(f"okx {place}: no way on after {last[:40]!r}")
            after = f"&after={last}"
        raise kit.VenueError(f"okx {place}: more than {_PAGES_MAX} pages")

    def _read(
        self,
        answer: kit.Answer,
        what: str,
        decoder: msgspec.json.Decoder[list[T]],
        absent: frozenset[str] = frozenset(),
    ) -> list[T]:
        """Rows of an answer, () where its code is in `absent`; raises `VenueError`."""
        if absent and answer.status == HTTPStatus.OK:
            try:
                if _ANSWER.decode(answer.body).code in absent:
                    return []
            except kit.UNREADABLE:
                pass  # told below
        try:
            return listing.rows(answer, what, decoder)
        except kit.VenueError as fault:
            raise kit.VenueError(self._keys.clean(str(fault)), fault.fix) from None

    def _readable(self, what: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except (ValueError, KeyError) as fault:
            raise kit.VenueError(self._keys.clean(f"okx {what}: {fault!r}")) from None


def _when(row: rows.Row) -> tuple[int, int, str]:
    """Order of fills: bills are numbered as they come."""
    return rows.ns(row.ts), len(row.bill_id), row.bill_id


def _seconds(text: str) -> Decimal:
    """Seconds of a time that may be in seconds or in ms; its size tells."""
    number = kit.amount(text)
    return number / 1000 if number > 100_000_000_000 else number


def _get(path: str, query: str, bucket: str, *, signed: bool = True) -> kit.HttpRequest:
    return kit.HttpRequest(path=path, query=query, bucket=bucket, signed=signed)


def _post(path: str, body: bytes, bucket: str) -> kit.HttpRequest:
    return kit.HttpRequest(path=path, method="POST", body=body, bucket=bucket, signed=True)
