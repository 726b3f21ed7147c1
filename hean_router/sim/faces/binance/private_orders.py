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
    Why,
)
from hean_router.sim.contract import SECOND, Options
from hean_router.sim.desk import Desk, Outcome
from hean_router.sim.exchange import Exchange, OrderState, Stp
from hean_router.sim.faces.binance.facts import SPOT, Symbols
from hean_router.sim.faces.binance.feed import Clock
from hean_router.sim.faces.binance.meter import ApiError, Meter, OrderCount, again
from hean_router.sim.faces.binance.private_access import Call, authorise
from hean_router.sim.faces.binance.private_queries import Queries, discount
from hean_router.sim.faces.binance.private_terms import (
    account_of,
    find,
    listing_of,
    number,
    read_terms,
    refused,
)
from hean_router.sim.faces.binance.private_words import EXECUTION_ID_BASE, Words
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.rules import Rules

KEY_STYLES = (KeyStyle("hmac"), KeyStyle("ed25519"))
ENGINE_WAIT_NS = 10 * SECOND  # then the answer is -1007
_ORDER_ID_BASE = 28_000_000_000
_ALNUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_RESTRICTIONS = {"ONLY_NEW": False, "ONLY_PARTIALLY_FILLED": True}


class BinanceRules(Rules):
    """Fees of what is received, no fee held, own orders expire rather than trade."""

    stp = Stp.MAKER
    band = (Decimal("0.2"), Decimal(5))
    notional_max = Decimal(9_000_000)
    px_max = Decimal(1_000_000)
    open_max = 200
    taken_back = OrderState.EXPIRED
    whims = Rules.whims | {Why.NOTIONAL_MIN, Why.PX_TICK, Why.QTY_STEP}

    def order_id(self, engine_id: int) -> str:
        return str(_ORDER_ID_BASE + engine_id)


@dataclass
class Done:
    """What became of a request.

    `answer` or `error`; `lost`: nobody is told; `wait_ns`: how much later the answer comes.
    `counts_orders`: it comes with the counts of unfilled orders.
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
        self.desk.faults = self.faults
        self._counts = {name: OrderCount(SPOT, options) for name in self.desk.accounts}
        queries = self.queries = Queries(symbols, self.words, self.faults)
        read, trade = Permission.READ, Permission.TRADE
        self.methods: dict[str, Method] = {
            "order.place": Method(self._place, trade, _flat(1), acts=True),
            "order.test": Method(self._test, trade, self._test_weight),
            "order.cancel": Method(self._cancel, trade, _flat(1), acts=True),
            "openOrders.cancelAll": Method(self._cancel_all, trade, _flat(1), acts=True),
            "order.amend.keepPriority": Method(self._amend, trade, _flat(4), acts=True),
            "order.status": Method(_asks(queries.status), read, _flat(4)),
            "openOrders.status": Method(_asks(queries.open_orders), read, _by_symbol(6, 80)),
            "allOrders": Method(_asks(queries.all_orders), read, _flat(20)),
            "myTrades": Method(_asks(queries.trades), read, _trades_weight),
            "account.status": Method(_asks(queries.account), read, _flat(20)),
            "account.commission": Method(_asks(queries.commission), read, _flat(20)),
            "account.rateLimits.orders": Method(self._rate_limits, read, _flat(40)),
            "sapi.restrictions": Method(_asks(queries.restrictions), read, _flat(1)),
            "sapi.coins": Method(_asks(queries.coins), read, _flat(10)),
            "sapi.fees": Method(_asks(queries.fees), read, _flat(1)),
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
            if name == "order.place" and self.faults.strikes("limited", call.now_ns):
                raise ApiError(
                    -1015,
                    "Too many new orders; current limit is 100 orders per 10 SECOND.",
                    429,
                    again(call.now_ns, call.now_ns + 2 * SECOND),
                )
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

    def _place(self, call: Call, clock: Clock, done: Done) -> Any:
        account = account_of(call)
        terms, response = read_terms(call, self._symbols, self._random_id)
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
        answer = printed(order, call.now_ns, clock)
        for dust in self.desk.dust(order, call.now_ns):
            done.outcomes.append(dust)
            self.settled(dust.events, call.now_ns)
        return answer

    def _test(self, call: Call, clock: Clock, done: Done) -> Any:
        """Every check but the engine's; nothing happens."""
        terms, _ = read_terms(call, self._symbols, self._random_id)
        prepared = self.desk.prepare(account_of(call), terms)
        if isinstance(prepared, Refusal):
            raise refused(prepared, market=terms.px is None)
        if not call.flag("computeCommissionRates"):
            return {}
        rates = self.queries.rates(listing_of(call, self._symbols))
        return {
            "standardCommissionForOrder": {"maker": rates["maker"], "taker": rates["taker"]},
            "specialCommissionForOrder": {"maker": "0.00000000", "taker": "0.00000000"},
            "taxCommissionForOrder": {"maker": "0.00000000", "taker": "0.00000000"},
            "discount": discount(),
        }

    @staticmethod
    def _test_weight(call: Call) -> int:
        return 20 if call.flag("computeCommissionRates") else 1

    # Ending and changing

    def _cancel(self, call: Call, clock: Clock, done: Done) -> Any:
        restriction = call.choice(
            "cancelRestrictions", _RESTRICTIONS, -1145, "Invalid cancelRestrictions."
        )
        order = find(call, self._symbols)
        if order is not None:
            self._race(order, call, done)
        if order is None or not order.open:
            raise _unknown_order()
        if restriction is not None and bool(order.filled) is not restriction:
            raise ApiError(-2011, "Order was not canceled due to cancel restrictions.")
        name = call.client_id("newClientOrderId") or self._random_id()
        return self._end(call, order, name, clock, done)

    def _race(self, order: OrderRecord, call: Call, done: Done) -> None:
        """Let a fill come before the cancel, if that is to be; which is told first, no one says."""
        if (raced := self.desk.race(order, call.now_ns)) is not None:
            done.outcomes.append(raced)
            done.early = self.faults.pick("race", 3)
            self.settled(raced.events, call.now_ns)

    def _cancel_all(self, call: Call, clock: Clock, done: Done) -> Any:
        orders = account_of(call).open_orders(listing_of(call, self._symbols).symbol)
        if not orders:
            raise _unknown_order()
        return [self._end(call, order, self._random_id(), clock, done) for order in orders]

    def _end(self, call: Call, order: OrderRecord, name: str, clock: Clock, done: Done) -> Any:
        was = order.note["was"] = order.client_id
        outcome = self.desk.cancel(account_of(call), order, call.now_ns, name)
        if outcome.refusal is not None:
            raise refused(outcome.refusal)
        done.outcomes.append(outcome)
        return self.words.canceled(order, was, call.now_ns, clock)

    def _amend(self, call: Call, clock: Clock, done: Done) -> Any:
        call.text("newQty")
        qty = number(call, "newQty")
        assert qty is not None, "just read"
        both = "orderId" in call.params and "origClientOrderId" in call.params
        order = find(call, self._symbols)
        if order is None or not order.open:
            if both and order is None:
                raise ApiError(-2039, "Client order ID is not correct for this order ID.")
            raise ApiError(-2013, "Order does not exist.")
        was = order.note["was"] = order.client_id
        name = call.client_id("newClientOrderId") or self._random_id()
        outcome = self.desk.reduce(account_of(call), order, qty, call.now_ns, name)
        if outcome.refusal is not None:
            why = outcome.refusal.why
            if why is Why.NO_CHANGE:
                raise ApiError(-2038, "Order amend (quantity decrease) is not supported.")
            raise refused(outcome.refusal)
        done.outcomes.append(outcome)
        return {
            "transactTime": clock(call.now_ns),
            "executionId": EXECUTION_ID_BASE + outcome.events[0].seq,
            "amendedOrder": self.words.amended(order, was, clock),
        }

    # Small things

    def _rate_limits(self, call: Call, clock: Clock, done: Done) -> Any:
        return self.count(account_of(call)).rate_limits(call.now_ns)

    def _random_id(self) -> str:
        return "".join(self._rng.choices(_ALNUM, k=22))


def _unknown_order() -> ApiError:
    return ApiError(-2011, "Unknown order sent.")


def _asks(answer: Callable[[Call, Clock], Any]) -> Handler:
    return lambda call, clock, _done: answer(call, clock)


def _flat(weight: int) -> Callable[[Call], int]:
    return lambda _call: weight


def _by_symbol(one: int, every: int) -> Callable[[Call], int]:
    return lambda call: one if "symbol" in call.params else every


def _trades_weight(call: Call) -> int:
    return 5 if "orderId" in call.params else 20
