"""Bybit's answers about an account: orders, fills, balances, fees, the key itself.

Lists come youngest first, a page at a time; `nextPageCursor` names where the next page begins.
Source: v5 documentation of 2026-07-24.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, unquote

from hean_router.sim.accounts import Account, ApiKey, Fill, OrderRecord, Permission
from hean_router.sim.contract import HOUR, MS, SECOND
from hean_router.sim.faces.bybit.facts import Instrument
from hean_router.sim.faces.bybit.private_access import OrderError, may_not, parameter
from hean_router.sim.faces.bybit.private_orders import CATEGORIES, Orders
from hean_router.sim.faces.bybit.private_words import amounts, num

Params: TypeAlias = Mapping[str, str]
_Row = TypeVar("_Row")
_PAGE = 20
_DAY = 24 * HOUR
_SPAN_MAX_MS = 7 * _DAY // MS  # between `startTime` and `endTime`, and the default
_UNFILLED_KEPT_NS = _DAY  # of orders that ended without any fill
_CLOSED_MAX = 500  # ended orders `realtime` still knows
_YOUNG_NS = 2 * SECOND  # how long a query may lag


@dataclass(frozen=True)
class Asker:
    """Who asks, and when."""

    account: Account
    key: ApiKey
    now_ns: int


Answer: TypeAlias = Callable[[Asker, Params], Any]


class Queries:
    """Answers to GET requests with a key."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._words = orders.words
        self._restarted_ns = 0
        # path -> requests allowed in a second, answer; counted by user
        self.routes: dict[str, tuple[int, Answer]] = {
            "/v5/order/realtime": (50, self._realtime),
            "/v5/order/history": (50, self._history),
            "/v5/execution/list": (50, self._executions),
            "/v5/account/wallet-balance": (50, self._wallet),
            "/v5/account/fee-rate": (10, self._fee_rate),
            "/v5/account/info": (50, self._info),
            "/v5/account/query-dcp-info": (5, lambda _asker, _params: {"dcpInfos": []}),
            "/v5/position/list": (50, self._positions),
            "/v5/user/query-api": (10, self._key),
            "/v5/asset/coin/query-info": (5, self._coins),
        }

    def restart(self, now_ns: int) -> None:
        """The venue restarts: `realtime` forgets every ended order."""
        self._restarted_ns = now_ns

    # Parameters

    def _instrument(self, params: Params, *, needed: bool = False) -> Instrument | None:
        name = params.get("symbol", "")
        if not name and not needed:
            return None
        instrument = self._orders.instruments.by_name.get(name)
        if instrument is None:
            raise OrderError(170121, "Invalid symbol.")
        return instrument

    @staticmethod
    def _spot(params: Params) -> bool:
        """Whether spot is asked for: nothing of an account is anywhere else."""
        category = params.get("category", "")
        if category not in CATEGORIES:
            raise parameter("Illegal category")
        return category == "spot"

    def _wanted(self, asker: Asker, params: Params) -> Callable[[OrderRecord], bool]:
        """Whether an order is the one, or of the symbol or base coin, asked for."""
        instrument, base = self._instrument(params), params.get("baseCoin", "")
        by_id = _by_id(params)
        one = self._orders.find(asker.account, params) if by_id else None

        def wanted(order: OrderRecord) -> bool:
            if by_id and order is not one:
                return False
            if instrument is not None:
                return order.symbol == instrument.symbol
            return not base or self._words.instrument(order).listing.base == base

        return wanted

    def _lags(self, order: OrderRecord, asker: Asker) -> bool:
        young = asker.now_ns - order.created_ns < _YOUNG_NS
        return young and self._orders.faults.strikes("lag", asker.now_ns)

    # Orders

    def _realtime(self, asker: Asker, params: Params) -> Any:
        """Open orders; with `openOnly=1` ended ones; with an id either."""
        only = params.get("openOnly", "0")
        if only not in ("0", "1", "2"):
            raise parameter("params error: openOnly invalid")
        if not self._spot(params):
            return _nothing(params)
        wanted = self._wanted(asker, params)
        since_ns = self._restarted_ns
        ended = [
            order
            for order in asker.account.orders
            if not order.open and order.updated_ns >= since_ns
        ][-_CLOSED_MAX:]
        found = [*asker.account.open.values()] if _by_id(params) or only == "0" else []
        if _by_id(params) or only != "0":
            found += ended
        return self._page_of(found, wanted, asker, params)

    def _history(self, asker: Asker, params: Params) -> Any:
        """Ended orders."""
        if not self._spot(params):
            return _nothing(params)
        wanted = self._wanted(asker, params)
        status = params.get("orderStatus", "")
        begin_ms, end_ms = _span(params, asker, bounded=not _by_id(params))
        found = [
            order
            for order in asker.account.orders
            if not order.open
            and begin_ms <= order.created_ns // MS <= end_ms
            and (order.filled or asker.now_ns - order.updated_ns <= _UNFILLED_KEPT_NS)
            and (not status or self._words.now(order)["orderStatus"] == status)
        ]
        return self._page_of(found, wanted, asker, params)

    def _page_of(
        self,
        orders: Iterable[OrderRecord],
        wanted: Callable[[OrderRecord], bool],
        asker: Asker,
        params: Params,
    ) -> Any:
        found = sorted(
            (order for order in orders if wanted(order) and not self._lags(order, asker)),
            key=lambda order: -order.id,
        )
        page, cursor = _page(found, params, 50, _PAGE, lambda order: order.venue_id)
        rows = [self._words.now(order) for order in page]
        return {"category": "spot", "list": rows, "nextPageCursor": cursor}

    def _executions(self, asker: Asker, params: Params) -> Any:
        if not self._spot(params):
            return _nothing(params)
        wanted = self._wanted(asker, params)
        if params.get("execType", "Trade") not in ("", "Trade"):
            return _nothing(params)
        begin_ms, end_ms = _span(params, asker, bounded=True)
        found = [
            (order, fill)
            for order, fill in reversed(asker.account.fills)
            if begin_ms <= fill.time_ns // MS <= end_ms
            and wanted(order)
            and not self._lags(order, asker)
        ]
        page, cursor = _page(found, params, 100, 50, self._exec_id)
        rows = [self._words.fill(order, fill) for order, fill in page]
        rows = [{**row, "seq": str(row["seq"])} for row in rows]
        return {"category": "spot", "list": rows, "nextPageCursor": cursor}

    def _exec_id(self, each: tuple[OrderRecord, Fill]) -> str:
        return self._words.exec_id(each[1])

    # The account

    def _wallet(self, asker: Asker, params: Params) -> Any:
        if params.get("accountType") != "UNIFIED":
            raise parameter("accountType only support UNIFIED.")
        account = asker.account
        names = params.get("coin", "")
        assets: Iterable[str] = names.split(",") if names else account.balances
        told = amounts(account, assets)
        if not names:  # what is empty is not told unless asked for
            told = {asset: each for asset, each in told.items() if each[0]}
        return {"list": [self._words.wallet(account, told)]}

    def _fee_rate(self, _asker: Asker, params: Params) -> Any:
        if not self._spot(params):
            return _nothing(params)
        instrument = self._instrument(params)
        chosen = [instrument] if instrument else self._orders.instruments.by_name.values()
        rows = [
            {
                "symbol": each.name,
                "takerFeeRate": _rate(each.listing.taker_fee_e8),
                "makerFeeRate": _rate(each.listing.maker_fee_e8),
            }
            for each in chosen
        ]
        return {"category": "spot", "list": rows}

    @staticmethod
    def _info(_asker: Asker, _params: Params) -> Any:
        return {
            "marginMode": "REGULAR_MARGIN",
            "updatedTime": "1697078946000",
            "unifiedMarginStatus": 6,
            "dcpStatus": "OFF",
            "timeWindow": 10,
            "smpGroup": 0,
            "isMasterTrader": False,
            "spotHedgingStatus": "OFF",
        }

    def _positions(self, _asker: Asker, params: Params) -> Any:
        if self._spot(params):
            raise parameter("Illegal category")
        return _nothing(params)

    @staticmethod
    def _key(asker: Asker, _params: Params) -> Any:
        """What the key may do.  `Wallet` holds `Withdraw` if it can take money away."""
        key, uid = asker.key, asker.account.spec.uid
        trades = Permission.TRADE in key.permissions
        wallet = ["AccountTransfer", "Withdraw"] if Permission.WITHDRAW in key.permissions else []
        return {
            "id": str(uid),
            "note": "simulated",
            "apiKey": key.key,
            "readOnly": 0 if trades else 1,
            "secret": "",
            "permissions": {
                "ContractTrade": [],
                "Spot": ["SpotTrade"],
                "Wallet": wallet,
                "Options": [],
                "Derivatives": [],
                "CopyTrading": [],
                "BlockTrade": [],
                "Exchange": [],
                "NFT": [],
                "Affiliate": [],
                "Earn": [],
            },
            "ips": ["*"],
            "type": 1,
            "deadlineDay": 83,
            "expiredAt": "2099-01-01T00:00:00Z",
            "createdAt": "2023-01-01T00:00:00Z",
            "unified": 0,
            "uta": 1,
            "userID": uid,
            "inviterID": 0,
            "vipLevel": "No VIP",
            "mktMakerLevel": "0",
            "affiliateID": 0,
            "rsaPublicKey": "",
            "isMaster": True,
            "parentUid": "0",
            "kycLevel": "LEVEL_DEFAULT",
            "kycRegion": "",
        }

    def _coins(self, asker: Asker, params: Params) -> Any:
        """Assets of the account; nothing is ever deposited or withdrawn here."""
        if Permission.READ not in asker.key.permissions:
            raise may_not()
        wanted = params.get("coin", "")
        rows = [
            {"name": asset, "coin": asset, "remainAmount": "0", "chains": []}
            for asset in asker.account.balances
            if wanted in ("", asset)
        ]
        return {"rows": rows}


def _by_id(params: Params) -> bool:
    return bool(params.get("orderId") or params.get("orderLinkId"))


def _nothing(params: Params) -> Any:
    return {"category": params["category"], "list": [], "nextPageCursor": ""}


def _rate(fee_e8: int) -> str:
    return num(Decimal(fee_e8).scaleb(-8))


def _time_ms(params: Params, name: str) -> int | None:
    text = params.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise parameter(f"params error: {name} invalid")
    return int(text)


def _span(params: Params, asker: Asker, *, bounded: bool) -> tuple[int, int]:
    """First and last ms asked for, at most seven days; without either the last seven."""
    begin, end = _time_ms(params, "startTime"), _time_ms(params, "endTime")
    if not bounded and begin is None and end is None:
        return 0, asker.now_ns // MS
    if begin is None:
        end = asker.now_ns // MS if end is None else end
        begin = max(0, end - _SPAN_MAX_MS)
    elif end is None:
        end = begin + _SPAN_MAX_MS
    if not 0 <= end - begin <= _SPAN_MAX_MS:
        raise parameter("The time range between startTime and endTime cannot exceed 7 days")
    return begin, end


def _page(
    rows: Sequence[_Row], params: Params, most: int, default: int, key: Callable[[_Row], str]
) -> tuple[Sequence[_Row], str]:
    """A page, and the cursor of the next: the last row told, escaped once more as the venue does.

    OrderError: limit or cursor are wrong.
    """
    text = params.get("limit", "")
    if text and not (text.isascii() and text.isdigit() and 1 <= int(text) <= most):
        raise parameter("params error: limit invalid")
    limit = int(text) if text else default
    after = unquote(params.get("cursor", ""))
    if after:
        keys = [key(row) for row in rows]
        if after not in keys:
            raise parameter("params error: cursor invalid")
        rows = rows[keys.index(after) + 1 :]
    page = rows[:limit]
    return page, quote(key(page[-1]), safe="") if len(rows) > limit else ""
