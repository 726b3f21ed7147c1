"""Binance's methods for orders and accounts, whichever wire they come by.

`Orders.run` checks, pays, acts and answers; what it did to the engine is in `Done.outcomes`, for
whoever pushes it.  Sources: spot documentation of 2026-07-21, error texts quoted in public issues.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, TypeAlias

from hean_router.sim.accounts import (
    Account,
    ApiKey,
    Event,
    Filled,
    KeyStyle,
    OrderRecord,
    Permission,
    Refusal,
    Terms,
    Why,
)
from hean_router.sim.contract import HOUR, SECOND, Options
from hean_router.sim.desk import Desk, Outcome
from hean_router.sim.exchange import Exchange, Listing, Side, Stp, Tif
from hean_router.sim.faces.binance.facts import SPOT, Symbols
from hean_router.sim.faces.binance.feed import Clock
from hean_router.sim.faces.binance.meter import ApiError, Meter, OrderCount
from hean_router.sim.faces.binance.private_access import Call, authorise, missing
from hean_router.sim.faces.binance.private_words import STP_NAMES, Words
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.rules import Rules

KEY_STYLES = (KeyStyle("hmac"), KeyStyle("ed25519"))
ENGINE_WAIT_NS = 10 * SECOND  # then the answer is -1007
_ORDER_ID_BASE = 28_000_000_000
_YOUNG_NS = 2 * SECOND  # how long a query may lag
_DECIMALS_MAX = 8
_LIMIT_DEFAULT, _LIMIT_MAX = 500, 1_000
_DAY_NS = 24 * HOUR
_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}
_TIFS = {"GTC": Tif.GTC, "IOC": Tif.IOC, "FOK": Tif.FOK}
_TYPES = {name: name for name in ("LIMIT", "MARKET", "LIMIT_MAKER")}
_RESPONSES = {name: name for name in ("ACK", "RESULT", "FULL")}
_STPS = {name: stp for stp, name in STP_NAMES.items() if stp is not Stp.NONE}
_RESTRICTIONS = {"ONLY_NEW": False, "ONLY_PARTIALLY_FILLED": True}

_FUNDS = "Account has insufficient balance for requested action."
_REFUSALS: dict[Why, tuple[int, str]] = {
    Why.SYMBOL: (-1121, "Invalid symbol."),
    Why.NOT_TRADING: (-1013, "Market is closed."),
    Why.PX_TICK: (-1013, "Filter failure: PRICE_FILTER"),
    Why.PX_MIN: (-1013, "Filter failure: PRICE_FILTER"),
    Why.PX_MAX: (-1013, "Filter failure: PRICE_FILTER"),
    Why.PX_BAND: (-1013, "Filter failure: PERCENT_PRICE_BY_SIDE"),
    Why.QTY_STEP: (-1013, "Filter failure: LOT_SIZE"),
    Why.QTY_MIN: (-1013, "Filter failure: LOT_SIZE"),
    Why.QTY_MAX: (-1013, "Filter failure: LOT_SIZE"),
    Why.NOTIONAL_MIN: (-1013, "Filter failure: NOTIONAL"),
    Why.NOTIONAL_MAX: (-1013, "Filter failure: NOTIONAL"),
    Why.OPEN_MAX: (-1013, "Filter failure: MAX_NUM_ORDERS"),
    Why.CLIENT_ID: (-2010, "Duplicate order sent."),
    Why.FUNDS: (-2010, _FUNDS),
    Why.POST_ONLY: (-2010, "Order would immediately match and take."),
    Why.NO_LIQUIDITY: (
        -2010,
        "Order book liquidity is less than LOT_SIZE filter minimum quantity.",
    ),
}


class BinanceRules(Rules):
    """Fees of what is received, no fee held, own orders expire rather than trade."""

    stp = Stp.MAKER
    band = (Decimal("0.2"), Decimal(5))
    notional_max = Decimal(9_000_000)
    px_max = Decimal(1_000_000)
    open_max = 200

    def order_id(self, engine_id: int) -> str:
        return str(_ORDER_ID_BASE + engine_id)


@dataclass
class Done:
    """What became of a request.

    `answer` None: it was never sent.  `wait_ns`: how much later it comes.  `before` of the events'
    frames come before the answer (by default none).
    """

    answer: Any = None
    error: ApiError | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    counts_orders: bool = False
    lost: bool = False
    wait_ns: int = 0
    early: int = 0  # 0: answer first, 1: events first, 2: the answer among them


Handler: TypeAlias = "Callable[[Call, Clock, Done], Any]"


@dataclass(frozen=True)
class Method:
    """One method: what it costs, who may, what it does."""

    handler: Handler
    permission: Permission
    weight: Callable[[Call], int]
    acts: bool = False  # it changes orders: then success is free, and order faults strike


def refused(refusal: Refusal, *, market: bool = False) -> ApiError:
    """A refusal in Binance's words."""
    code, msg = _REFUSALS[refusal.why]
    if market and refusal.why is Why.QTY_MAX:
        msg = "Filter failure: MARKET_LOT_SIZE"
    return ApiError(code, msg)


class Orders:
    """Everything a key can ask for."""

    def __init__(
        self, exchange: Exchange, symbols: Symbols, meter: Meter, rng: Random, options: Options
    ) -> None:
        self._symbols = symbols
        self._meter = meter
        self._rng = rng
        self._options = options
        self.words = Words(symbols)
        self.faults = options.order_faults or OrderFaults("binance")
        self.desk = Desk(
            exchange, BinanceRules(), options.accounts, options.history, self.words.row
        )
        self._counts = {name: OrderCount(SPOT, options) for name in self.desk.accounts}
        read, trade = Permission.READ, Permission.TRADE
        self.methods: dict[str, Method] = {
            "order.place": Method(self._place, trade, _flat(1), acts=True),
            "order.test": Method(self._test, trade, self._test_weight),
            "order.cancel": Method(self._cancel, trade, _flat(1), acts=True),
            "openOrders.cancelAll": Method(self._cancel_all, trade, _flat(1), acts=True),
            "order.amend.keepPriority": Method(self._amend, trade, _flat(4), acts=True),
            "order.status": Method(self._status, read, _flat(4)),
            "openOrders.status": Method(self._open, read, _by_symbol(6, 80)),
            "allOrders": Method(self._all, read, _flat(20)),
            "myTrades": Method(self._trades, read, _trades_weight),
            "account.status": Method(self._account, read, _flat(20)),
            "account.commission": Method(self._commission, read, _flat(20)),
            "account.rateLimits.orders": Method(self._rate_limits, read, _flat(40)),
            "sapi.restrictions": Method(self._restrictions, read, _flat(1)),
            "sapi.coins": Method(self._coins, read, _flat(10)),
            "sapi.fees": Method(self._fees, read, _flat(1)),
        }

    def count(self, account: Account) -> OrderCount:
        """Unfilled orders of an account."""
        return self._counts[account.name]

    def run(self, name: str, call: Call, clock: Clock, session: ApiKey | None = None) -> Done:
        """Do what is asked.  KeyError: no such method."""
        method = self.methods[name]
        done = Done()
        try:
            cost = method.weight(call)
            self._meter.pay(call.address, cost, call.now_ns)
            account = authorise(self.desk, call, method.permission, session=session)
            if method.acts and self.faults.strikes("undone", call.now_ns):
                raise self._perhaps(done)
            done.answer = method.handler(call, clock, done)
            if method.acts:
                self._meter.refund(call.address, cost)  # what succeeds is free since 2026-04
                self._confuse(call, done)
        except ApiError as error:
            done.error = error
            return done
        done.counts_orders = name == "order.place"
        if done.counts_orders:
            call.headers |= self.count(account).headers(call.now_ns)
        return done

    def _confuse(self, call: Call, done: Done) -> None:
        """Let what was done be answered badly, if that is to be."""
        if self.faults.strikes("early", call.now_ns):
            done.early = 1 + self.faults.pick("early", 2)
        if self.faults.strikes("acklost", call.now_ns):
            done.lost = True
        elif self.faults.strikes("unknown", call.now_ns):
            done.error = self._perhaps(done)

    def _perhaps(self, done: Done) -> ApiError:
        """Answers that leave open whether the request was executed."""
        if self.faults.pick("unknown", 2):
            return ApiError(
                -1006,
                "An unexpected response was received from the message bus. "
                "Execution status unknown.",
                500,
            )
        done.wait_ns = ENGINE_WAIT_NS
        return ApiError(
            -1007,
            "Timeout waiting for response from backend server. "
            "Send status unknown; execution status unknown.",
            504,
        )

    def settled(self, events: Iterable[Event], now_ns: int) -> None:
        """Give slots back for orders that had their first fill."""
        for event in events:
            if isinstance(event, Filled) and event.fill.cum_qty == event.fill.qty:
                self._counts[event.account].give_back(event.order.created_ns, now_ns)

    # Placing

    def _terms(self, call: Call) -> tuple[Terms, str]:
        """The order as asked for, and the response wanted.  ApiError: what is wrong with it."""
        listing = self._listing(call)
        call.text("side")
        side = call.choice("side", _SIDES, -1117, "Invalid side.")
        call.text("type")
        kind = call.choice("type", _TYPES, -1116, "Invalid orderType.")
        if "icebergQty" in call.params:
            raise ApiError(-1013, "Iceberg orders are not supported for this symbol.")
        tif = call.choice("timeInForce", _TIFS, -1115, "Invalid timeInForce.")
        px, qty = _number(call, "price"), _number(call, "quantity")
        quote_qty = _number(call, "quoteOrderQty")
        _check_given(kind, tif is not None, px, qty, quote_qty)
        stp = call.choice(
            "selfTradePreventionMode",
            _STPS,
            -1013,
            "This symbol does not allow the specified self-trade prevention (STP) mode.",
        )
        response = call.choice(
            "newOrderRespType",
            _RESPONSES,
            -1130,
            "Data sent for parameter 'newOrderRespType' is not valid.",
        )
        terms = Terms(
            symbol=listing.symbol,
            side=side,
            qty=qty,
            px=px,
            quote_qty=quote_qty,
            tif=tif or Tif.GTC,
            post_only=kind == "LIMIT_MAKER",
            client_id=call.client_id("newClientOrderId") or self._random_id(),
            stp=stp,
            note={"type": kind},
        )
        return terms, response or ("ACK" if kind == "LIMIT_MAKER" else "FULL")

    def _place(self, call: Call, clock: Clock, done: Done) -> Any:
        account = _account(call)
        terms, response = self._terms(call)
        count = self.count(account)
        count.check(call.now_ns)
        outcome = self.desk.place(account, terms, call.now_ns)
        if outcome.refusal is not None:
            raise refused(outcome.refusal, market=terms.px is None)
        order = outcome.order
        assert order is not None, "not refused"
        count.take(call.now_ns)
        done.outcomes.append(outcome)
        self.settled(outcome.events, call.now_ns)
        printed = {
            "ACK": self.words.ack,
            "RESULT": self.words.result,
            "FULL": self.words.full,
        }[response]
        return printed(order, call.now_ns, clock)

    def _test(self, call: Call, clock: Clock, done: Done) -> Any:
        """Every check but the engine's; nothing happens."""
        terms, _ = self._terms(call)
        prepared = self.desk.prepare(_account(call), terms)
        if isinstance(prepared, Refusal):
            raise refused(prepared, market=terms.px is None)
        if not call.flag("computeCommissionRates"):
            return {}
        rates = self._rates(self._listing(call))
        return {
            "standardCommissionForOrder": {"maker": rates["maker"], "taker": rates["taker"]},
            "specialCommissionForOrder": {"maker": "0.00000000", "taker": "0.00000000"},
            "taxCommissionForOrder": {"maker": "0.00000000", "taker": "0.00000000"},
            "discount": _discount(),
        }

    @staticmethod
    def _test_weight(call: Call) -> int:
        return 20 if call.flag("computeCommissionRates") else 1

    # Ending and changing

    def _find(self, call: Call, prefix: str = "origClientOrderId") -> OrderRecord | None:
        """An order by id, by client id, or by both: then the id is looked up and the other checked.

        ApiError -1102: neither was sent.
        """
        account, listing = _account(call), self._listing(call)
        order_id, client_id = call.whole("orderId"), call.client_id(prefix)
        if order_id is None and client_id is None:
            raise ApiError(
                -1102, f"Param '{prefix}' or 'orderId' must be sent, but both were empty/null!"
            )
        if order_id is None:
            order = account.by_client_id(client_id or "")
        else:
            order = account.by_venue_id.get(str(order_id))
            if order is not None and client_id not in (None, order.client_id):
                return None
        return order if order is not None and order.symbol == listing.symbol else None

    def _cancel(self, call: Call, clock: Clock, done: Done) -> Any:
        restriction = call.choice(
            "cancelRestrictions", _RESTRICTIONS, -1145, "Invalid cancelRestrictions."
        )
        order = self._find(call)
        if order is None or not order.open:
            raise _unknown_order()
        if restriction is not None and bool(order.filled) is not restriction:
            raise ApiError(-2011, "Order was not canceled due to cancel restrictions.")
        name = call.client_id("newClientOrderId") or self._random_id()
        return self._end(call, order, name, clock, done)

    def _cancel_all(self, call: Call, clock: Clock, done: Done) -> Any:
        orders = _account(call).open_orders(self._listing(call).symbol)
        if not orders:
            raise _unknown_order()
        return [self._end(call, order, self._random_id(), clock, done) for order in orders]

    def _end(self, call: Call, order: OrderRecord, name: str, clock: Clock, done: Done) -> Any:
        was = order.note["was"] = order.client_id
        outcome = self.desk.cancel(_account(call), order, call.now_ns, name)
        if outcome.refusal is not None:
            raise refused(outcome.refusal)
        done.outcomes.append(outcome)
        return self.words.canceled(order, was, call.now_ns, clock)

    def _amend(self, call: Call, clock: Clock, done: Done) -> Any:
        call.text("newQty")
        qty = _number(call, "newQty")
        assert qty is not None, "just read"
        both = "orderId" in call.params and "origClientOrderId" in call.params
        order = self._find(call)
        if order is None or not order.open:
            if both and order is None:
                raise ApiError(-2039, "Client order ID is not correct for this order ID.")
            raise ApiError(-2013, "Order does not exist.")
        was = order.note["was"] = order.client_id
        name = call.client_id("newClientOrderId") or self._random_id()
        outcome = self.desk.reduce(_account(call), order, qty, call.now_ns, name)
        if outcome.refusal is not None:
            why = outcome.refusal.why
            if why is Why.NO_CHANGE:
                raise ApiError(-2038, "Order amend (quantity decrease) is not supported.")
            raise refused(outcome.refusal)
        done.outcomes.append(outcome)
        return {
            "transactTime": clock(call.now_ns),
            "executionId": 10_000_000_000 + outcome.events[0].seq,
            "amendedOrder": self.words.amended(order, was, clock),
        }

    # Asking

    def _status(self, call: Call, clock: Clock, done: Done) -> Any:
        order = self._find(call)
        if order is not None:
            young = call.now_ns - order.created_ns < _YOUNG_NS
            if young and self.faults.strikes("lag", call.now_ns):
                order = None  # memory first, then the database, which lags
        if order is None:
            raise ApiError(-2013, "Order does not exist.")
        return self.words.queried(order, clock)

    def _open(self, call: Call, clock: Clock, done: Done) -> Any:
        symbol = self._listing(call).symbol if "symbol" in call.params else None
        return [self.words.queried(order, clock) for order in _account(call).open_orders(symbol)]

    def _all(self, call: Call, clock: Clock, done: Done) -> Any:
        symbol = self._listing(call).symbol
        first, limit = call.whole("orderId"), _limit(call)
        since_ns, until_ns = _between(call)
        found = [
            order
            for order in _account(call).orders
            if order.symbol == symbol
            and (first is None or int(order.venue_id) >= first)
            and since_ns <= order.created_ns <= until_ns
        ]
        page = found[-limit:] if first is None and "startTime" not in call.params else found[:limit]
        return [self.words.queried(order, clock) for order in page]

    def _trades(self, call: Call, clock: Clock, done: Done) -> Any:
        symbol = self._listing(call).symbol
        order_id, first, limit = call.whole("orderId"), call.whole("fromId"), _limit(call)
        if first is not None and ("startTime" in call.params or "endTime" in call.params):
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        since_ns, until_ns = _between(call)
        found = [
            (order, fill)
            for order, fill in _account(call).fills
            if order.symbol == symbol
            and order_id in (None, int(order.venue_id))
            and (first is None or fill.id >= first)
            and since_ns <= fill.time_ns <= until_ns
        ]
        page = found[-limit:] if first is None and "startTime" not in call.params else found[:limit]
        return [self.words.trade(order, fill, clock) for order, fill in page]

    def _account(self, call: Call, clock: Clock, done: Done) -> Any:
        account, key = _account(call), call.key
        assert key is not None, "authorised"
        rates = self._rates(next(iter(self._symbols.by_name.values())))
        return {
            "makerCommission": int(Decimal(rates["maker"]) * 10_000),
            "takerCommission": int(Decimal(rates["taker"]) * 10_000),
            "buyerCommission": 0,
            "sellerCommission": 0,
            "commissionRates": rates,
            "canTrade": Permission.TRADE in key.permissions,
            "canWithdraw": Permission.WITHDRAW in key.permissions,
            "canDeposit": True,
            "brokered": False,
            "requireSelfTradePrevention": False,
            "preventSor": False,
            "updateTime": clock(max((order.updated_ns for order in account.orders), default=0)),
            "accountType": "SPOT",
            "balances": self.words.account(account, omit_zero=call.flag("omitZeroBalances")),
            "permissions": ["SPOT"],
            "uid": account.spec.uid,
        }

    def _commission(self, call: Call, clock: Clock, done: Done) -> Any:
        listing = self._listing(call)
        none = dict.fromkeys(("maker", "taker", "buyer", "seller"), "0.00000000")
        return {
            "symbol": self._symbols.names[listing.symbol],
            "standardCommission": self._rates(listing),
            "specialCommission": none,
            "taxCommission": none,
            "discount": _discount(),
        }

    def _rate_limits(self, call: Call, clock: Clock, done: Done) -> Any:
        return self.count(_account(call)).rate_limits(call.now_ns)

    @staticmethod
    def _rates(listing: Listing) -> dict[str, str]:
        maker, taker = (
            f"{Decimal(fee).scaleb(-8):.8f}" for fee in (listing.maker_fee_e8, listing.taker_fee_e8)
        )
        return {"maker": maker, "taker": taker, "buyer": "0.00000000", "seller": "0.00000000"}

    # Wallet paths of REST

    def _restrictions(self, call: Call, clock: Clock, done: Done) -> Any:
        assert call.key is not None, "authorised"
        may = call.key.permissions
        return {
            "ipRestrict": False,
            "createTime": 1_600_000_000_000,
            "enableReading": Permission.READ in may,
            "enableWithdrawals": Permission.WITHDRAW in may,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enableSpotAndMarginTrading": Permission.TRADE in may,
            "enablePortfolioMarginTrading": False,
        }

    def _coins(self, call: Call, clock: Clock, done: Done) -> Any:
        balances = self.words.account(_account(call), omit_zero=False)
        return [
            {
                "coin": row["asset"],
                "depositAllEnable": True,
                "free": row["free"],
                "freeze": "0",
                "ipoable": "0",
                "ipoing": "0",
                "isLegalMoney": False,
                "locked": row["locked"],
                "name": row["asset"],
                "networkList": [],
                "storage": "0",
                "trading": True,
                "withdrawAllEnable": True,
                "withdrawing": "0",
            }
            for row in balances
        ]

    def _fees(self, call: Call, clock: Clock, done: Done) -> Any:
        wanted = call.optional("symbol")
        return [
            {
                "symbol": name,
                "makerCommission": self._rates(listing)["maker"],
                "takerCommission": self._rates(listing)["taker"],
            }
            for name, listing in self._symbols.by_name.items()
            if wanted in (None, name)
        ]

    # Small things

    def _listing(self, call: Call) -> Listing:
        listing = self._symbols.by_name.get(call.text("symbol"))
        if listing is None:
            raise ApiError(-1121, "Invalid symbol.")
        return listing

    def _random_id(self) -> str:
        return "".join(self._rng.choice(_ALNUM) for _ in range(22))


def _account(call: Call) -> Account:
    assert call.account is not None, "authorised"
    return call.account


def _number(call: Call, name: str) -> Decimal | None:
    """A price or quantity of at most 8 decimals, above 0."""
    value = call.number(name)
    if value is None:
        return None
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > _DECIMALS_MAX:
        raise ApiError(-1111, f"Parameter '{name}' has too much precision.")
    if value == 0:
        raise ApiError(-1013, "Invalid price." if name == "price" else "Invalid quantity.")
    return value


def _check_given(
    kind: str, tif: bool, px: Decimal | None, qty: Decimal | None, quote_qty: Decimal | None
) -> None:
    """Each type wants its own parameters."""
    if kind == "MARKET":
        if tif or px is not None:
            name = "timeInForce" if tif else "price"
            raise ApiError(-1106, f"Parameter '{name}' sent when not required.")
        if qty is None and quote_qty is None:
            raise ApiError(
                -1102,
                "Param 'quantity' or 'quoteOrderQty' must be sent, but both were empty/null!",
            )
        if qty is not None and quote_qty is not None:
            raise ApiError(-1128, "Combination of optional parameters invalid.")
        return
    if kind == "LIMIT" and not tif:
        raise missing("timeInForce")
    if kind == "LIMIT_MAKER" and tif:
        raise ApiError(-1106, "Parameter 'timeInForce' sent when not required.")
    if qty is None:
        raise missing("quantity")
    if px is None:
        raise missing("price")
    if quote_qty is not None:
        raise ApiError(-1106, "Parameter 'quoteOrderQty' sent when not required.")


def _unknown_order() -> ApiError:
    return ApiError(-2011, "Unknown order sent.")


def _discount() -> dict[str, Any]:
    return {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": "BNB",
        "discount": "0.75000000",
    }


def _limit(call: Call) -> int:
    limit = call.whole("limit")
    if limit == 0:
        raise ApiError(-1105, "Parameter 'limit' was empty.")
    return min(_LIMIT_MAX, limit or _LIMIT_DEFAULT)


def _between(call: Call) -> tuple[int, int]:
    """The span asked for in ns: at most 24 hours if both ends are given."""
    since, until = (call.whole(name) for name in ("startTime", "endTime"))
    since_ns = 0 if since is None else since * 1_000_000
    until_ns = call.now_ns if until is None else until * 1_000_000 + 999_999
    if since is not None and until is not None:
        if until_ns < since_ns:
            raise ApiError(-1127, "Start time is after end time.")
        if (until - since) * 1_000_000 > _DAY_NS:
            raise ApiError(-1127, "More than 24 hours between startTime and endTime.")
    return since_ns, until_ns


def _flat(weight: int) -> Callable[[Call], int]:
    return lambda _call: weight


def _by_symbol(one: int, every: int) -> Callable[[Call], int]:
    return lambda call: one if "symbol" in call.params else every


def _trades_weight(call: Call) -> int:
    return 5 if "orderId" in call.params else 20
