"""Binance's order side, spot: what is asked by REST, how it is signed, what the key may do.

There is no dead-man switch on spot, and no cancel on disconnect.
https://developers.binance.com/docs/binance-spot-api-docs/rest-api/trading-endpoints
"""

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from connectors.binance import errors, words
from connectors.binance.ask import body_of, read
from connectors.binance.facts import SPEC
from connectors.binance.private import Socket
from connectors.binance.sign import Signer
from hean_router import kit

T = TypeVar("T")

_DAY_MS = 24 * 3600 * 1000  # the longest span that `myTrades` takes
_SPANS_MAX = 30  # of a day; what is older is quicker found by reading from the first trade
_PAGE = 1000
_PAGES_MAX = 1000  # a million trades

_NOT_FOUND, _ARCHIVED = -2013, -2026
_ZERO = Decimal(0)
_PLAIN = re.compile(r"[0-9A-Za-z.=&_-]*").fullmatch


class Codec(kit.OrderCodec):
    """One account's orders on spot."""

    limits = kit.OrderLimits(
        buckets={
            "rest": SPEC.rest_limits["rest"],  # one weight for REST and the socket
            # Per account; as `exchangeInfo` said in 2025-08 (documentation examples: 50, 160,000).
            "orders_10s": kit.RateLimit(100, 10_000),
            "orders_1d": kit.RateLimit(200_000, 24 * 3600 * 1000),
        },
        place={"rest": 1, "orders_10s": 1, "orders_1d": 1},
        cancel={"rest": 1},
    )
    visibility_ms = 1_000
    engine_ms = 10_000  # the engine's own time limit (-1007)

    def __init__(
        self, credentials: kit.Credentials, instruments: Mapping[str, kit.Instrument]
    ) -> None:
        self._signer = Signer(credentials)
        self._instruments = instruments

    def sockets(self) -> Sequence[kit.OrderSocket]:
        return [Socket(self._signer, self._instruments)]

    def sign(self, request: kit.HttpRequest, stamp: kit.Stamp) -> kit.HttpRequest:
        """Everything goes in the query, `POST` too; it is percent-encoded before it is signed."""
        assert request.signed, f"{request.path} is public"
        return kit.HttpRequest(
            path=request.path,
            method=request.method,
            host=request.host,
            query=self._signer.query(request.query, stamp),
            headers={**request.headers, "X-MBX-APIKEY": self._signer.key},
            bucket=request.bucket,
            cost=request.cost,
            signed=True,
        )

    def place(self, order: kit.Approved) -> kit.HttpRequest:
        return _request("order", words.placing(order.order), method="POST")

    def cancel(self, instrument: kit.Instrument, key: str, venue_order_id: str) -> kit.HttpRequest:
        params = words.canceling(instrument, key, venue_order_id)
        return _request("order", params, method="DELETE")

    def outcome(self, answer: kit.Answer) -> kit.Outcome:
        return errors.outcome(answer)

    # ---------------------------------------------------------------------- orders

    def order(
        self, instrument: kit.Instrument, key: str, venue_order_id: str
    ) -> kit.Ask[kit.OrderReport | None]:
        """By the venue's id where it is known; else by our key, then by the key a cancel left."""
        if venue_order_id:
            return (yield from self._order(instrument, key, {"orderId": venue_order_id}))
        for client_id in (key, words.renamed(key)):
            found = yield from self._order(instrument, key, {"origClientOrderId": client_id})
            if found is not None:
                return found
        return None

    def _order(
        self, instrument: kit.Instrument, key: str, which: dict[str, str]
    ) -> kit.Ask[kit.OrderReport | None]:
        answer = yield _request("order", {**which, "symbol": instrument.symbol}, cost=4)
        match errors.code_of(answer):
            case code if code == _NOT_FOUND:
                return None
            case code if code == _ARCHIVED:  # ended without a fill, over 90 days ago
                return kit.OrderReport(
                    instrument=instrument,
                    key=key,
                    venue_order_id=which.get("orderId", ""),
                    state=kit.OrderState.EXPIRED,
                    cum_qty=0,
                    reason="archived",
                )
        what = f"order of {instrument.symbol}"
        order: words.Order = read(body_of(answer, what), words.Order, what)
        if order.symbol != instrument.symbol:
            raise kit.VenueError(f"binance {what}: answered with one of {order.symbol[:20]!r}")
        return _said(what, lambda: words.report(order, instrument))

    def open_orders(
        self, instruments: Sequence[kit.Instrument]
    ) -> kit.Ask[Sequence[kit.OrderReport]]:
        """All symbols at once (weight 80), as they stand at one moment; it has no pages."""
        answer = yield _request("openOrders", {}, cost=80)
        what = "open orders"
        orders: list[words.Order] = read(body_of(answer, what), list[words.Order], what)
        known = words.by_symbol(instruments, self._instruments)
        return _said(
            what,
            lambda: [words.report(o, known[o.symbol]) for o in orders if o.symbol in known],
        )

    # ---------------------------------------------------------------------- fills

    def fills(self, instrument: kit.Instrument, since_ns: int) -> kit.Ask[Sequence[kit.Fill]]:
        """Trades name the venue's order id, never ours.

        The latest thousand come first.  If they do not reach back far enough, the first trade
        since then is looked for day by day, and everything after it is read by trade id.
        """
        latest = yield from _trades(instrument, {})
        if len(latest) < _PAGE or latest[0].time * kit.MS < since_ns:
            trades = latest
        else:
            trades = yield from _trades_from(instrument, since_ns // kit.MS, latest[0].time)
        fills = [trade for trade in trades if trade.time * kit.MS >= since_ns]
        what = f"trades of {instrument.symbol}"
        return _said(what, lambda: [trade.fill(instrument) for trade in fills])

    # ---------------------------------------------------------------------- the account

    def balances(self) -> kit.Ask[Sequence[kit.Balance]]:
        answer = yield _request("account", {"omitZeroBalances": "true"}, cost=20)
        account: _Account = read(body_of(answer, "account"), _Account, "account")
        return [
            kit.Balance(asset=each.asset, total=each.free + each.locked, locked=each.locked)
            for each in account.balances
        ]

    def fees(self, instruments: Sequence[kit.Instrument]) -> kit.Ask[Mapping[str, kit.Fees]]:
        """Undiscounted: whether a discount applies to a fill is known by the fill alone."""
        fees = {}
        for instrument in instruments:
            answer = yield _request("account/commission", {"symbol": instrument.symbol}, cost=20)
            what = f"commission of {instrument.symbol}"
            told: _Commission = read(body_of(answer, what), _Commission, what)
            fees[instrument.symbol] = told.fees()
        return fees

    def permissions(self) -> kit.Ask[kit.Permissions]:
        """What the key itself may do; where nobody tells (testnet), what the account may."""
        answer = yield kit.HttpRequest(path="/sapi/v1/account/apiRestrictions", signed=True)
        if answer.status == 404:
            return (yield from self._account_permissions())
        what = "key's restrictions"
        told: _Restrictions = read(body_of(answer, what), _Restrictions, what)
        return kit.Permissions(
            read=told.enable_reading,
            trade=told.enable_spot_and_margin_trading,
            withdraw=told.enable_withdrawals,
            ip_bound=told.ip_restrict,
        )

    def _account_permissions(self) -> kit.Ask[kit.Permissions]:
        answer = yield _request("account", {"omitZeroBalances": "true"}, cost=20)
        account: _Account = read(body_of(answer, "account"), _Account, "account")
        # The account's right is no key's; without it, no key has it either.
        withdraw = None if account.can_withdraw else False
        return kit.Permissions(read=True, trade=account.can_trade, withdraw=withdraw)


def _request(
    name: str, params: Mapping[str, str | int], method: str = "GET", cost: int = 1
) -> kit.HttpRequest:
    query = "&".join([f"{key}={value}" for key, value in params.items()])
    if not _PLAIN(query):  # percent-encoded before it is signed: some symbols need it
        query = urlencode(params)
    return kit.HttpRequest(
        path=f"/api/v3/{name}", method=method, query=query, cost=cost, signed=True
    )


def _said(what: str, tell: Callable[[], T]) -> T:
    """What `tell` makes of an answer; raises `VenueError` where it is made of other words."""
    try:
        return tell()
    except (ValueError, KeyError) as why:
        raise kit.VenueError(f"binance {what}: {why!r}"[:300]) from None


class _Trade(kit.Amounts, rename="camel"):
    id: int
    order_id: int
    price: str
    qty: str
    commission: Decimal
    commission_asset: str | None
    time: int
    is_buyer: bool
    is_maker: bool

    def fill(self, instrument: kit.Instrument) -> kit.Fill:
        return kit.Fill(
            instrument=instrument,
            key="",
            venue_order_id=str(self.order_id),
            trade_id=str(self.id),
            side=kit.Side.BUY if self.is_buyer else kit.Side.SELL,
            px=instrument.px(self.price),
            qty=instrument.qty(self.qty),
            fee=self.commission,
            fee_asset=self.commission_asset or "",
            maker=self.is_maker,
            sent_ns=self.time * kit.MS,
        )


def _trades(instrument: kit.Instrument, which: Mapping[str, str]) -> kit.Ask[list[_Trade]]:
    """One page, oldest first: from an id, within a span, or else the latest."""
    params = {"symbol": instrument.symbol, "limit": str(_PAGE), **which}
    answer = yield _request("myTrades", params, cost=20)
    what = f"trades of {instrument.symbol}"
    trades: list[_Trade] = read(body_of(answer, what), list[_Trade], what)
    return sorted(trades, key=lambda trade: trade.id)


def _trades_from(instrument: kit.Instrument, since_ms: int, until_ms: int) -> kit.Ask[list[_Trade]]:
    """Every trade since then; one at `until_ms` is known to be among them."""
    start = since_ms
    page: list[_Trade] = []
    if until_ms - since_ms > _SPANS_MAX * _DAY_MS:
        start = until_ms + 1
        page = yield from _trades(instrument, {"fromId": "0"})
    while not page and start <= until_ms:
        end = min(start + _DAY_MS - 1, until_ms)
        span = {"startTime": str(start), "endTime": str(end)}
        page = yield from _trades(instrument, span)
        start = end + 1
    if not page:
        raise kit.VenueError(f"binance trades of {instrument.symbol}: those of before are gone")
    trades = page
    for _ in range(_PAGES_MAX):
        page = yield from _trades(instrument, {"fromId": str(trades[-1].id + 1)})
        trades += page
        if len(page) < _PAGE:
            return trades
    raise kit.VenueError(f"binance trades of {instrument.symbol}: pages without end")


class _Asset(kit.Amounts):
    asset: str
    free: Decimal
    locked: Decimal


class _Account(Struct, rename="camel"):
    balances: list[_Asset]
    can_trade: bool = False
    can_withdraw: bool = True


class _Rates(kit.Amounts):
    maker: Decimal = _ZERO
    taker: Decimal = _ZERO
    buyer: Decimal = _ZERO
    seller: Decimal = _ZERO

    @property
    def side(self) -> Decimal:
        """What the dearer side pays on top."""
        return max(self.buyer, self.seller)


class _Commission(Struct, rename="camel"):
    standard_commission: _Rates
    special_commission: _Rates = msgspec.field(default_factory=_Rates)
    tax_commission: _Rates = msgspec.field(default_factory=_Rates)

    def fees(self) -> kit.Fees:
        kinds = (self.standard_commission, self.special_commission, self.tax_commission)
        return kit.Fees(
            taker=sum((kind.taker + kind.side for kind in kinds), _ZERO),
            maker=sum((kind.maker + kind.side for kind in kinds), _ZERO),
            fee_in=kit.FeeIn.RECEIVED,
        )


class _Restrictions(Struct, rename="camel"):
    """https://developers.binance.com/docs/wallet/account/api-key-permission."""

    enable_reading: bool
    enable_withdrawals: bool | None = None
    enable_spot_and_margin_trading: bool | None = None
    ip_restrict: bool | None = None
