"""OKX's answers about an account: orders, fills, balances, fees, settings.

Lists come youngest first, a page at a time: `after` an id means older, `before` an id younger.
Sources: v5 documentation of June 2026.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from hean_router.sim.accounts import Account, ApiKey, OrderRecord, Permission, Why
from hean_router.sim.contract import HOUR, MS, SECOND
from hean_router.sim.exchange import Exchange, Kind, Listing, OrderState
from hean_router.sim.faces.okx.facts import NO_SUCH_LISTED, TYPES, instrument
from hean_router.sim.faces.okx.private_access import ApiError
from hean_router.sim.faces.okx.private_orders import Orders, find
from hean_router.sim.faces.okx.private_words import BILL_ID_BASE, REFUSALS, num

Params: TypeAlias = Mapping[str, str]
_PAGE_MAX = 100
_DAY = 24 * HOUR
_UNFILLED_KEPT_NS = 2 * HOUR
_YOUNG_NS = 2 * SECOND  # how long a query may lag
_STATES = {"live": (OrderState.OPEN, False), "partially_filled": (OrderState.OPEN, True)}
_PERMISSIONS = {
    Permission.READ: "read_only",
    Permission.WITHDRAW: "withdraw",
    Permission.TRADE: "trade",
}


@dataclass(frozen=True)
class Asker:
    """Who asks, and when."""

    account: Account
    key: ApiKey
    now_ns: int


Answer: TypeAlias = Callable[[Asker, Params], list[Any]]


class Queries:
    """Answers to GET requests with a key."""

    def __init__(self, exchange: Exchange, orders: Orders) -> None:
        self._exchange = exchange
        self._orders = orders
        self._words = orders.words
        # path -> requests allowed, in how many seconds, answer; counted by user
        self.routes: dict[str, tuple[int, int, Answer]] = {
            "/api/v5/trade/order": (60, 2, self._order),
            "/api/v5/trade/orders-pending": (60, 2, self._pending),
            "/api/v5/trade/orders-history": (40, 2, self._history(7 * _DAY)),
            "/api/v5/trade/orders-history-archive": (20, 2, self._history(90 * _DAY)),
            "/api/v5/trade/fills": (60, 2, self._fills(3 * _DAY, typed=False)),
            "/api/v5/trade/fills-history": (10, 2, self._fills(90 * _DAY, typed=True)),
            "/api/v5/trade/account-rate-limit": (1, 1, self._rate_limit),
            "/api/v5/account/balance": (10, 2, self._balance),
            "/api/v5/account/positions": (10, 2, self._nothing),
            "/api/v5/account/config": (5, 2, self._config),
            "/api/v5/account/trade-fee": (5, 2, self._trade_fee),
            "/api/v5/account/instruments": (20, 2, self._instruments),
            "/api/v5/asset/currencies": (6, 1, self._currencies),
            "/api/v5/asset/balances": (6, 1, self._nothing),
        }

    # Parameters

    def _listing(self, params: Params) -> Listing | None:
        if "instId" not in params:
            return None
        listing = self._orders.symbols.by_id.get(params["instId"])
        if listing is None:
            raise ApiError(*REFUSALS[Why.SYMBOL])
        return listing

    def _matches(self, params: Params) -> Callable[[OrderRecord], bool]:
        """Whether an order is of the type and instrument asked for; all orders are of spot."""
        listing, kind = self._listing(params), params.get("instType", "SPOT")
        if kind not in TYPES.values() and kind not in NO_SUCH_LISTED:
            raise ApiError(51000, "Parameter instType  error", 400)
        order_type = params.get("ordType")
        return lambda order: (
            kind == "SPOT"
            and (listing is None or order.symbol == listing.symbol)
            and order_type in (None, order.note["ordType"])
        )

    # Orders

    def _order(self, asker: Asker, params: Params) -> list[Any]:
        listing = self._listing(params)
        if listing is None:
            raise _empty("instId")
        if "ordId" not in params and "clOrdId" not in params:
            raise ApiError(51407, "Either order ID or client order ID is required", 400)
        order = find(asker.account, params)
        absent = order is None or order.symbol != listing.symbol or self._forgotten(order, asker)
        if order is None or absent or self._lags(order, asker):
            raise ApiError(51603, "Order does not exist")
        return [self._words.queried(order)]

    def _lags(self, order: OrderRecord, asker: Asker) -> bool:
        young = asker.now_ns - order.created_ns < _YOUNG_NS
        return young and self._orders.faults.strikes("lag", asker.now_ns)

    @staticmethod
    def _forgotten(order: OrderRecord, asker: Asker) -> bool:
        """Orders cancelled without any fill are kept for two hours."""
        kept = order.open or order.filled
        return not kept and asker.now_ns - order.updated_ns > _UNFILLED_KEPT_NS

    def _pending(self, asker: Asker, params: Params) -> list[Any]:
        matches, state = self._matches(params), params.get("state")
        found = [
            order
            for order in asker.account.open_orders()
            if matches(order)
            and (state is None or _STATES.get(state) == (order.state, bool(order.filled)))
            and not self._lags(order, asker)
        ]
        return [self._words.queried(order) for order in _page(found, params, _order_id)]

    def _history(self, kept_ns: int) -> Answer:
        def answer(asker: Asker, params: Params) -> list[Any]:
            if "instType" not in params:
                raise _empty("instType")
            matches, state = self._matches(params), params.get("state")
            since, until = _between(params)
            found = [
                order
                for order in asker.account.orders
                if not order.open
                and matches(order)
                and asker.now_ns - order.updated_ns <= kept_ns
                and not self._forgotten(order, asker)
                and (state is None or (state == "filled") is (order.state is OrderState.FILLED))
                and since <= order.created_ns // MS <= until
            ]
            return [self._words.queried(order) for order in _page(found, params, _order_id)]

        return answer

    def _fills(self, kept_ns: int, *, typed: bool) -> Answer:
        def answer(asker: Asker, params: Params) -> list[Any]:
            if typed and "instType" not in params:
                raise _empty("instType")
            matches, order_id = self._matches(params), params.get("ordId")
            since, until = _between(params)
            found = [
                index
                for index, (order, fill) in enumerate(asker.account.fills)
                if matches(order)
                and order_id in (None, order.venue_id)
                and asker.now_ns - fill.time_ns <= kept_ns
                and since <= fill.time_ns // MS <= until
            ]
            page = _page(found, params, lambda index: BILL_ID_BASE + index)
            return [self._words.fill(asker.account, index) for index in page]

        return answer

    # The account

    def _rate_limit(self, asker: Asker, params: Params) -> list[Any]:
        ts = str(asker.now_ns // MS)
        return [
            {"accRateLimit": "1000", "fillRatio": "", "mainFillRatio": "", "nextAccRateLimit": ""}
            | {"ts": ts}
        ]

    def _balance(self, asker: Asker, params: Params) -> list[Any]:
        assets = params["ccy"].split(",") if "ccy" in params else None
        if assets is not None:
            assets = [asset for asset in assets if asset in asker.account.balances]
        return [self._words.balances(asker.account, assets, asker.now_ns)]

    def _nothing(self, asker: Asker, params: Params) -> list[Any]:
        """No positions, and nothing in the funding account."""
        return []

    def _config(self, asker: Asker, params: Params) -> list[Any]:
        quote_fees = asker.account.name in self._orders.rules.quote_fees
        uid = str(asker.account.spec.uid)
        may = asker.key.permissions
        return [
            {
                "acctLv": "1",
                "acctStpMode": "cancel_maker",
                "autoLoan": False,
                "ctIsoMode": "automatic",
                "enableSpotBorrow": False,
                "feeType": "1" if quote_fees else "0",
                "greeksType": "PA",
                "ip": "",
                "kycLv": "3",
                "label": asker.account.name,
                "level": "Lv1",
                "levelTmp": "",
                "liquidationGear": "-1",
                "mainUid": uid,
                "mgnIsoMode": "automatic",
                "opAuth": "0",
                "perm": ",".join(text for each, text in _PERMISSIONS.items() if each in may),
                "posMode": "net_mode",
                "roleType": "0",
                "spotOffsetType": "",
                "spotRoleType": "0",
                "spotTraderInsts": [],
                "traderInsts": [],
                "type": "0",
                "uid": uid,
            }
        ]

    def _trade_fee(self, asker: Asker, params: Params) -> list[Any]:
        if "instType" not in params:
            raise _empty("instType")
        kinds = {name: kind for kind, name in TYPES.items()}
        kind = kinds.get(params["instType"])
        if kind is None:
            raise ApiError(51000, "Parameter instType  error", 400)
        listing = self._listing(params)
        if listing is None:
            listings = self._exchange.listings.values()
            listing = next((each for each in listings if each.kind is kind), None)
        if listing is None or listing.kind is not kind:
            raise ApiError(*REFUSALS[Why.SYMBOL])
        maker, taker = (
            num(Decimal(-fee).scaleb(-8)) for fee in (listing.maker_fee_e8, listing.taker_fee_e8)
        )
        group = instrument(listing, self._exchange.status(listing.symbol))["groupId"]
        spot = kind is Kind.SPOT
        return [
            {
                "category": "1",
                "delivery": "",
                "exercise": "",
                "feeGroup": [{"groupId": group, "maker": maker, "taker": taker}],
                "fiat": [],
                "instType": params["instType"],
                "isSpecial": "0",
                "level": "Lv1",
                "maker": maker if spot else "",
                "makerU": "" if spot else maker,
                "makerUSDC": maker,
                "ruleType": "normal",
                "taker": taker if spot else "",
                "takerU": "" if spot else taker,
                "takerUSDC": taker,
                "ts": str(asker.now_ns // MS),
            }
        ]

    def _instruments(self, asker: Asker, params: Params) -> list[Any]:
        if "instType" not in params:
            raise _empty("instType")
        wanted = self._listing(params)
        return [
            instrument(self._exchange.told(listing.symbol), self._exchange.status(listing.symbol))
            for listing in self._orders.symbols.of_type(params["instType"])
            if wanted in (None, listing) and not self._exchange.gone(listing.symbol)
        ]

    def _currencies(self, asker: Asker, params: Params) -> list[Any]:
        wanted = params["ccy"].split(",") if "ccy" in params else None
        return [
            {
                "ccy": asset,
                "chain": f"{asset}-{asset}",
                "name": asset,
                "canDep": True,
                "canInternal": True,
                "canWd": True,
                "fee": "0.0001",
                "logoLink": "",
                "mainNet": True,
                "maxWd": "1000000",
                "minDep": "0.0001",
                "minWd": "0.001",
                "needTag": False,
                "wdTickSz": "8",
            }
            for asset in asker.account.balances
            if wanted is None or asset in wanted
        ]


def _empty(name: str) -> ApiError:
    return ApiError(50014, f"Parameter {name} can not be empty.", 400)


def _order_id(order: OrderRecord) -> int:
    return int(order.venue_id)


def _whole(params: Params, name: str) -> int | None:
    value = params.get(name)
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()):
        raise ApiError(51000, f"Parameter {name} error", 400)
    return int(value)


def _between(params: Params) -> tuple[int, int]:
    """`begin` and `end` in ms, both included."""
    begin, end = _whole(params, "begin"), _whole(params, "end")
    return begin or 0, 2**63 if end is None else end


def _page(found: Sequence[Any], params: Params, id_of: Callable[[Any], int]) -> list[Any]:
    """Youngest first; `found` is oldest first."""
    after, before, limit = (_whole(params, name) for name in ("after", "before", "limit"))
    if limit is not None and not 1 <= limit <= _PAGE_MAX:
        raise ApiError(51000, "Parameter limit error", 400)
    within = [
        each
        for each in found
        if (after is None or id_of(each) < after) and (before is None or id_of(each) > before)
    ]
    return within[::-1][: limit or _PAGE_MAX]
