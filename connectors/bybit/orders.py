"""Bybit's order side, spot on a unified account: what is asked by REST and how it is signed.

An ordinary account has no dead-man switch: disconnect protection is for institutions, on request.
https://bybit-exchange.github.io/docs/v5/order/create-order
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct, structs

from connectors.bybit import errors, words
from connectors.bybit.ask import result_of, server_time
from connectors.bybit.private import EventSocket, TradeSocket
from connectors.bybit.sign import Signer
from hean_router import kit

T = TypeVar("T")

_PAGES_MAX = 200  # of one question
_SPAN_MS = 7 * 24 * 3600 * 1000  # what one question about executions may cover
_AGES_MS = 2 * 365 * 24 * 3600 * 1000  # how long the venue keeps them


class Codec(kit.OrderCodec):
    """One account's orders on spot."""

    limits = kit.OrderLimits(
        # Per account and kind of request, in any second, whichever way they come.
        buckets={"create": kit.RateLimit(20, 1_000), "cancel": kit.RateLimit(20, 1_000)},
        place={"create": 1},
        cancel={"cancel": 1},
    )
    visibility_ms = 5_000  # no bound is documented, and the closed orders' list lags: ours
    engine_ms = 10_000  # nor is one for the engine

    def __init__(
        self, credentials: kit.Credentials, instruments: Mapping[str, kit.Instrument]
    ) -> None:
        self._signer = Signer(credentials)
        self._instruments = instruments

    def sockets(self) -> Sequence[kit.OrderSocket]:
        return [
            TradeSocket(self._signer, self._instruments),
            EventSocket(self._signer, self._instruments),
        ]

    def sign(self, request: kit.HttpRequest, stamp: kit.Stamp) -> kit.HttpRequest:
        assert request.signed, f"{request.path} is public"
        payload = request.body if request.method == "POST" else request.query.encode()
        return kit.HttpRequest(
            path=request.path,
            method=request.method,
            host=request.host,
            query=request.query,
            headers={**request.headers, **self._signer.headers(payload, stamp)},
            body=request.body,
            bucket=request.bucket,
            cost=request.cost,
            signed=True,
        )

    def place(self, order: kit.Approved) -> kit.HttpRequest:
        return _post("order/create", words.placing(order.order))

    def cancel(self, instrument: kit.Instrument, key: str, venue_order_id: str) -> kit.HttpRequest:
        return _post("order/cancel", words.canceling(instrument, key, venue_order_id))

    def outcome(self, answer: kit.Answer) -> kit.Outcome:
        return errors.outcome(answer)

    # ---------------------------------------------------------------------- orders

    def order(
        self, instrument: kit.Instrument, key: str, venue_order_id: str
    ) -> kit.Ask[kit.OrderReport | None]:
        """By our key, which is never used twice, among the live and then the closed ones."""
        which = {"orderLinkId": key} if key else {"orderId": venue_order_id}
        what = f"order of {instrument.symbol}"
        for where in ("order/realtime", "order/history"):
            page = result_of((yield _get(where, which)), _Orders, what)
            for order in page.list:
                ours = order.order_link_id == key if key else order.order_id == venue_order_id
                if ours and order.symbol == instrument.symbol:
                    return _said(what, partial(words.report, order, instrument))
        return None

    def open_orders(
        self, instruments: Sequence[kit.Instrument]
    ) -> kit.Ask[Sequence[kit.OrderReport]]:
        """Page by page.  An order that moves between pages is told once."""
        known = {**self._instruments, **{each.symbol: each for each in instruments}}
        pages: list[words.Order] = yield from _paged(
            "order/realtime", {"openOnly": "0", "limit": "50"}, _Orders, "open orders"
        )
        orders = {order.order_id: order for order in pages if order.symbol in known}
        reports = _said(
            "open orders", lambda: [words.report(o, known[o.symbol]) for o in orders.values()]
        )
        return [report for report in reports if report.state is kit.OrderState.OPEN]

    # ---------------------------------------------------------------------- fills

    def fills(self, instrument: kit.Instrument, since_ns: int) -> kit.Ask[Sequence[kit.Fill]]:
        """Week by week, page by page; the venue begins with the newest, we do not."""
        now_ms = (yield from server_time()) // kit.MS
        what = f"executions of {instrument.symbol}"
        start = max(since_ns // kit.MS, now_ms - _AGES_MS)
        found: dict[str, words.Execution] = {}
        while True:
            end = start + _SPAN_MS - 1
            asked = {
                "symbol": instrument.symbol,
                "startTime": str(start),
                "endTime": str(end),
                "limit": "100",
            }
            page: list[words.Execution] = yield from _paged(
                "execution/list", asked, _Executions, what
            )
            found |= {each.exec_id: each for each in page if each.is_trade}
            start = end + 1
            if start > now_ms:
                break
        fills = _said(what, lambda: [words.fill(each, instrument) for each in found.values()])
        kept = [fill for fill in fills if fill.sent_ns >= since_ns]
        return sorted(kept, key=lambda fill: (fill.sent_ns, fill.trade_id))

    # ---------------------------------------------------------------------- the account

    def balances(self) -> kit.Ask[Sequence[kit.Balance]]:
        answer = yield _get("account/wallet-balance", {"accountType": "UNIFIED"}, category="")
        wallets = result_of(answer, _Wallets, "wallet balance").list
        return _said(
            "wallet balance", lambda: [words.balance(c) for wallet in wallets for c in wallet.coin]
        )

    def fees(self, instruments: Sequence[kit.Instrument]) -> kit.Ask[Mapping[str, kit.Fees]]:
        """All symbols at once; one by one where that leaves some out."""
        rates = _rates((yield _get("account/fee-rate", {})))
        for symbol in [each.symbol for each in instruments if each.symbol not in rates]:
            rates |= _rates((yield _get("account/fee-rate", {"symbol": symbol})))
            if symbol not in rates:
                raise kit.VenueError(f"bybit fee rate of {symbol}: not told")
        return {each.symbol: rates[each.symbol] for each in instruments}

    def permissions(self) -> kit.Ask[kit.Permissions]:
        """https://bybit-exchange.github.io/docs/v5/user/apikey-info."""
        told = result_of((yield _get("user/query-api", {}, category="")), _Key, "key's rights")
        return kit.Permissions(
            read=True,
            trade=not told.read_only and "SpotTrade" in told.permissions.get("Spot", ()),
            withdraw=_may_withdraw(told),
            ip_bound=bool(told.ips) and "*" not in told.ips if told.ips is not None else None,
        )


class _Key(Struct, rename="camel"):
    read_only: int
    permissions: dict[str, list[str]]
    ips: list[str] | None = None


def _may_withdraw(key: _Key) -> bool | None:
    """A right of the wallet; None where the wallet's rights are not told."""
    if any("withdraw" in right.lower() for rights in key.permissions.values() for right in rights):
        return True
    return False if key.read_only or "Wallet" in key.permissions else None


class _Orders(Struct, rename="camel"):
    list: list[words.Order]
    next_page_cursor: str | None = None


class _Executions(Struct, rename="camel"):
    list: list[words.Execution]
    next_page_cursor: str | None = None


class _Wallets(Struct):
    list: list[words.Wallet]


class _Rate(kit.Amounts, rename="camel"):
    symbol: str
    taker_fee_rate: Decimal
    maker_fee_rate: Decimal


class _RateList(Struct):
    list: list[_Rate]


def _rates(answer: kit.Answer) -> dict[str, kit.Fees]:
    told: _RateList = result_of(answer, _RateList, "fee rate")
    return {
        each.symbol: kit.Fees(
            taker=each.taker_fee_rate, maker=each.maker_fee_rate, fee_in=kit.FeeIn.RECEIVED
        )
        for each in told.list
    }


def _get(name: str, params: Mapping[str, str], category: str = words.CATEGORY) -> kit.HttpRequest:
    """A question; a GET must not have a body, not even an empty JSON one."""
    query = urlencode({"category": category, **params} if category else params)
    return kit.HttpRequest(path=f"/v5/{name}", query=query, signed=True)


_encode = msgspec.json.Encoder().encode
_JSON = {"Content-Type": "application/json"}


def _post(name: str, said: Mapping[str, str | int]) -> kit.HttpRequest:
    return kit.HttpRequest(
        path=f"/v5/{name}", method="POST", headers=_JSON, body=_encode(said), signed=True
    )


def _paged(name: str, params: Mapping[str, str], shape: Any, what: str) -> kit.Ask[list[Any]]:
    """All pages of an answer.  Raises `VenueError`, also on endless ones."""
    request = _get(name, params)
    whole: list[Any] = []
    cursors = {""}
    cursor = ""
    for _ in range(_PAGES_MAX):
        query = f"{request.query}&cursor={quote(cursor, safe='')}" if cursor else request.query
        page = result_of((yield structs.replace(request, query=query)), shape, what)
        whole += page.list
        cursor = page.next_page_cursor or ""
        if not cursor or not page.list:
            return whole
        if cursor in cursors:
            break
        cursors.add(cursor)
    raise kit.VenueError(f"bybit {what}: pages without end, at {cursor[:40]!r}")


def _said(what: str, tell: Callable[[], T]) -> T:
    """What `tell` makes of an answer; raises `VenueError` where it is made of other words."""
    try:
        return tell()
    except (ValueError, KeyError) as why:
        raise kit.VenueError(f"bybit {what}: {why!r}"[:300]) from None
