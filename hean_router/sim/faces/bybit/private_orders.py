"""Bybit's orders: placing, cancelling, amending, alone or in batches, whichever wire they come by.

`Orders.act` counts, checks, acts and answers; what it did to the engine is in `Done.outcomes`, for
whoever pushes it.  An answer of 0 means taken for processing: a post-only order that would take, or
an IOC that finds nothing, ends by an event afterwards.  Source: v5 documentation of 2026-07-24.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from re import compile as pattern
from typing import Any, TypeAlias

from hean_router.sim.accounts import Account, Ended, OrderRecord, Refusal, Terms, Why
from hean_router.sim.contract import MS, SECOND, Options
from hean_router.sim.desk import Desk, Outcome
from hean_router.sim.exchange import Exchange, Listing, OrderState, Reason, Side, Stp, Tif
from hean_router.sim.faces.bybit.facts import Instrument, places
from hean_router.sim.faces.bybit.feed import Feed
from hean_router.sim.faces.bybit.private_access import OrderError, may_not, parameter
from hean_router.sim.faces.bybit.private_words import REFUSALS, SMP_NAMES, Words, ms
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.pacing import RollingWindow
from hean_router.sim.rules import Reuse, Rules

BATCH_MAX = 10  # spot
OPEN_MAX = 500  # open orders of an account on spot, all symbols together
CATEGORIES = ("spot", "linear", "inverse", "option")
_ORDER_ID_BASE = 1_900_000_000_000_000_000
_LOST_RACE_NS = 20 * MS  # a cancel that comes so soon after the last fill was under way before it
_MARKET_PARTS = 2  # a market order may be half of the largest order (`maxMarketOrderQty`)
_NUMBER = pattern(r"\d{1,20}(\.\d{1,20})?")
_LINK_ID = pattern(r"[A-Za-z0-9_-]{1,36}")
_SIDES = {"Buy": Side.BUY, "Sell": Side.SELL}
_TIFS = {"GTC": Tif.GTC, "IOC": Tif.IOC, "FOK": Tif.FOK, "PostOnly": Tif.GTC}
_SMPS = {name: stp for stp, name in SMP_NAMES.items()}
_UNITS = ("baseCoin", "quoteCoin")
_FEATURES = (  # of spot orders too, not simulated: refused rather than ignored
    "triggerPrice",
    "takeProfit",
    "stopLoss",
    "slippageTolerance",
    "slippageToleranceType",
    "bboSideType",
)

Arg: TypeAlias = Mapping[str, Any]


class BybitRules(Rules):
    """Ids for ever; accounts may meet themselves; prices near the last one."""

    reuse = Reuse.NEVER
    stp = Stp.NONE
    post_only_refused = False
    whims = Rules.whims | {Why.NOTIONAL_MIN, Why.PX_TICK, Why.QTY_STEP}

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    def order_id(self, engine_id: int) -> str:
        return str(_ORDER_ID_BASE + engine_id)

    def limits(self, symbol: str) -> tuple[Decimal, Decimal]:
        """Highest buy and lowest sell allowed, as the `priceLimit` topic tells them."""
        highest, lowest = self._feed.tickers[symbol].limits()
        return Decimal(highest), Decimal(lowest)

    def px_band(
        self, exchange: Exchange, listing: Listing, side: Side
    ) -> tuple[Decimal, Decimal] | None:
        highest, lowest = self.limits(listing.symbol)
        if side is Side.BUY:
            return Decimal(0), highest
        return lowest, Decimal("Infinity")


@dataclass
class Done:
    """What became of a request for orders.

    `result` is REST's and a socket's `data`; `codes` of a batch.  `error`: the whole request.
    `lost`: it is never answered.  `early`: 0 answer first, 1 events first, 2 the answer among them.
    `again`: filled orders told once more, as a cancel came too late.
    """

    result: dict[str, Any] = field(default_factory=dict)
    codes: list[dict[str, Any]] | None = None
    error: OrderError | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    again: list[OrderRecord] = field(default_factory=list)
    lost: bool = False
    early: int = 0
    window: RollingWindow | None = None

    @property
    def extra(self) -> dict[str, Any]:
        """`retExtInfo`."""
        return {} if self.codes is None or self.error else {"list": self.codes}


@dataclass(frozen=True)
class Call:
    """A request for orders: the one order, or the batch; `socket` words some refusals otherwise."""

    account: Account
    body: Arg
    now_ns: int
    socket: bool = False


@dataclass(frozen=True)
class Operation:
    """`verb` is what it does; `per_s` its budget; a batch has its own, counted in orders."""

    verb: str
    per_s: int
    batch: bool = False


OPERATIONS: Mapping[str, Operation] = {
    "create": Operation("create", 20),
    "amend": Operation("amend", 10),
    "cancel": Operation("cancel", 20),
    "cancel-all": Operation("cancel-all", 20),
    "create-batch": Operation("create", 20, batch=True),
    "amend-batch": Operation("amend", 20, batch=True),
    "cancel-batch": Operation("cancel", 20, batch=True),
}
"""By the last part of REST paths and of `order.…` on the socket."""
REST_ONLY = frozenset({"cancel-all"})

_PERHAPS: Mapping[str, tuple[tuple[int, str], ...]] = {
    "create": ((170146, "Order creation timeout"), (170149, "Create order failed")),
    "amend": ((170310, "Order modification timeout"), (170311, "Order modification failed")),
    "cancel": ((170147, "Order cancellation timeout"), (170150, "Cancel order failed")),
}
_ALWAYS_PERHAPS = (
    (10000, "Server Timeout"),
    (10016, "Internal server error."),
    (170007, "Timeout waiting for response from backend server."),
)


class Orders:
    """Everything that changes orders."""

    def __init__(self, exchange: Exchange, feed: Feed, options: Options) -> None:
        self._exchange = exchange
        self._options = options
        self.instruments = feed.instruments
        self.rules = BybitRules(feed)
        self.faults = options.order_faults or OrderFaults("bybit")
        self.words = Words(
            feed.instruments, lambda listing: self.rules.reference_px(exchange, listing)
        )
        self.desk = Desk(exchange, self.rules, options.accounts, options.history, self.words.row)
        self.desk.faults = self.faults
        self._windows: dict[tuple[str, ...], RollingWindow] = {}
        self._verbs: dict[str, Callable[[Call, Arg, Done], OrderRecord]] = {
            "create": self._create,
            "amend": self._amend,
            "cancel": self._cancel,
        }

    # Requests

    def act(self, name: str, call: Call) -> Done:
        """Do what is asked.  KeyError: no such operation."""
        operation, done = OPERATIONS[name], Done()
        done.window = self.window(("order", name, call.account.name), operation.per_s)
        try:
            self._category(call)
            items = self._items(operation, call)
            if not operation.batch and not done.window.take(call.now_ns):
                raise too_many()
            if operation.verb == "create" and self.faults.strikes("limited", call.now_ns):
                raise too_many()
            if self.faults.strikes("undone", call.now_ns):
                done.error = self._perhaps(operation)
                return done
            if name in REST_ONLY:
                self._cancel_all(call, done)
            elif operation.batch:
                self._batch(operation, call, items, done)
            else:
                order = self._verbs[operation.verb](call, call.body, done)
                done.result = _ids(order)
        except OrderError as error:
            done.error = error
            return done
        if done.outcomes:
            self._confuse(operation, call, done)
        return done

    def window(self, key: tuple[str, ...], per_s: int) -> RollingWindow:
        """The window of a second under a key, made if need be."""
        if key not in self._windows:
            self._windows[key] = RollingWindow(self._options.limit(per_s), SECOND)
        return self._windows[key]

    @staticmethod
    def _category(call: Call) -> None:
        """Only spot is traded here: the keys lack the permission for the others."""
        category = call.body.get("category")
        if category not in CATEGORIES:
            if call.socket:
                raise OrderError(10404, "category is not correct or not supported")
            raise parameter("Illegal category")
        if category != "spot":
            raise may_not()

    @staticmethod
    def _items(operation: Operation, call: Call) -> Sequence[Arg]:
        if not operation.batch:
            return ()
        items = call.body.get("request")
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise parameter("params error: request invalid")
        if not 1 <= len(items) <= BATCH_MAX:
            raise parameter(f"The number of orders must be between 1 and {BATCH_MAX}")
        return items

    def _batch(self, operation: Operation, call: Call, items: Sequence[Arg], done: Done) -> None:
        """One by one; what is beyond the limit fails by itself."""
        rows: list[dict[str, Any]] = []
        done.codes = []
        assert done.window is not None, "set by act"
        for item in items:
            row = {"category": "spot", "symbol": str(item.get("symbol", "")), "orderId": ""}
            row["orderLinkId"] = str(item.get("orderLinkId", ""))
            if operation.verb == "create":
                row["createAt"] = ""
            try:
                if not done.window.take(call.now_ns):
                    raise too_many()
                order = self._verbs[operation.verb](call, item, done)
                row |= _ids(order)
                if operation.verb == "create":
                    row["createAt"] = ms(order.created_ns)
                done.codes.append({"code": 0, "msg": "OK"})
            except OrderError as error:
                done.codes.append({"code": error.code, "msg": error.msg})
            rows.append(row)
        done.result = {"list": rows}

    # Faults

    def _confuse(self, operation: Operation, call: Call, done: Done) -> None:
        """Let what was done be answered badly, if that is to be."""
        if self.faults.strikes("early", call.now_ns):
            done.early = 1 + self.faults.pick("early", 2)
        if self.faults.strikes("acklost", call.now_ns):
            done.lost = True
        elif self.faults.strikes("unknown", call.now_ns):
            done.error = self._perhaps(operation)

    def _perhaps(self, operation: Operation) -> OrderError:
        """An answer that leaves open whether the request was executed."""
        ways = (*_PERHAPS.get(operation.verb, ()), *_ALWAYS_PERHAPS)
        return OrderError(*ways[self.faults.pick("unknown", len(ways))])

    # Placing

    def _create(self, call: Call, arg: Arg, done: Done) -> OrderRecord:
        terms = self._terms(arg)
        if terms.px is not None and len(call.account.open) >= OPEN_MAX and terms.tif is Tif.GTC:
            raise OrderError(*REFUSALS[Why.OPEN_MAX])
        outcome = self.desk.place(call.account, terms, call.now_ns)
        if outcome.refusal is not None:
            raise _refused(outcome.refusal, terms)
        assert outcome.order is not None, "not refused"
        self._note_self_match(outcome)
        done.outcomes += [outcome, *self.desk.dust(outcome.order, call.now_ns)]
        return outcome.order

    @staticmethod
    def _note_self_match(outcome: Outcome) -> None:
        """Which order an order met that ended because both are of one account."""
        taker = outcome.order
        for event in outcome.events:
            ended = isinstance(event, Ended) and event.reason is Reason.STP
            if ended and event.order is not taker and taker is not None:
                assert isinstance(event, Ended), "just seen"
                event.order.note["smpOrderId"] = taker.venue_id

    def _terms(self, arg: Arg) -> Terms:
        """The order as asked for.  OrderError: what is wrong with it."""
        instrument = self._instrument(arg)
        listing = instrument.listing
        side = _one_of(arg, "side", _SIDES, 170117, "Invalid side.")
        kind = _one_of(arg, "orderType", _KINDS, 170116, "Invalid orderType.")
        _plain_order(arg)
        market = kind == "Market"
        tif_name = "IOC" if market else arg.get("timeInForce") or "GTC"
        if tif_name not in _TIFS:
            raise OrderError(170115, "Invalid timeInForce.")
        unit = arg.get("marketUnit") or ""
        if unit and unit not in _UNITS:
            raise parameter("params error: marketUnit invalid")
        by_value = market and (unit or ("quoteCoin" if side is Side.BUY else "")) == "quoteCoin"
        size = _number(arg, "qty")
        _check_size(instrument, size, market=market, by_value=by_value)
        px = None if market else _number(arg, "price")
        if px is not None and _decimals(arg["price"]) > places(listing.tick):
            raise OrderError(*REFUSALS[Why.PX_TICK])
        last = self.rules.reference_px(self._exchange, listing)
        highest, lowest = self.rules.limits(listing.symbol)
        return Terms(
            symbol=listing.symbol,
            side=side,
            qty=None if by_value else size,
            px=px,
            quote_qty=size if by_value else None,
            tif=_TIFS[tif_name],
            post_only=tif_name == "PostOnly",
            client_id=_link_id(arg),
            stp=_one_of(arg, "smpType", _SMPS, 10001, "params error: smpType invalid", "None"),
            note={
                "timeInForce": tif_name,
                "marketUnit": unit if market else "",
                # a market order's own limit; what the engine takes is not bound by it
                "price": highest if side is Side.BUY else lowest,
                "lastPrice": "" if last is None else f"{last.normalize():f}",
            },
        )

    def _instrument(self, arg: Arg) -> Instrument:
        name = arg.get("symbol")
        if not isinstance(name, str) or not name:
            raise OrderError(170105, "Parameter 'symbol' was empty.")
        instrument = self.instruments.by_name.get(name)
        if instrument is None:
            raise OrderError(*REFUSALS[Why.SYMBOL])
        return instrument

    # Ending and changing

    def find(self, account: Account, arg: Mapping[str, Any]) -> OrderRecord | None:
        """By `orderId`, else by `orderLinkId`."""
        if arg.get("orderId"):
            return account.by_venue_id.get(str(arg["orderId"]))
        return account.by_client_id(str(arg.get("orderLinkId") or ""))

    def _known(self, call: Call, arg: Arg) -> OrderRecord:
        """The order meant.  OrderError: neither id, or there is none of this symbol."""
        instrument = self._instrument(arg)
        if not arg.get("orderId") and not arg.get("orderLinkId"):
            raise parameter("params error: orderId or orderLinkId is required")
        order = self.find(call.account, arg)
        if order is None or order.symbol != instrument.symbol:
            raise OrderError(*REFUSALS[Why.UNKNOWN_ORDER])
        return order

    def _cancel(self, call: Call, arg: Arg, done: Done) -> OrderRecord:
        order = self._known(call, arg)
        if (raced := self.desk.race(order, call.now_ns)) is not None:
            done.outcomes.append(raced)
            done.early = self.faults.pick("race", 3)
        if (
            order.state is OrderState.FILLED
            and call.now_ns - order.updated_ns <= _LOST_RACE_NS
            and order.px is not None
        ):
            done.again.append(order)  # accepted; the event tells that it was too late
            return order
        done.outcomes.append(self._end(call.account, order, call.now_ns))
        return order

    def _end(self, account: Account, order: OrderRecord, now_ns: int) -> Outcome:
        outcome = self.desk.cancel(account, order, now_ns)
        if outcome.refusal is not None:
            raise OrderError(*REFUSALS[outcome.refusal.why])
        return outcome

    def _cancel_all(self, call: Call, done: Done) -> None:
        """All of spot, of a symbol, or of a base coin."""
        body = call.body
        instrument = self._instrument(body) if body.get("symbol") else None
        base = body.get("baseCoin") or ""
        orders = call.account.open_orders(instrument.symbol if instrument else None)
        if instrument is None and base:
            by_symbol = self.instruments.by_symbol
            orders = [each for each in orders if by_symbol[each.symbol].listing.base == base]
        rows = []
        for order in orders:
            done.outcomes.append(self._end(call.account, order, call.now_ns))
            rows.append(_ids(order))
        done.result = {"list": rows, "success": "1"}

    def _amend(self, call: Call, arg: Arg, done: Done) -> OrderRecord:
        """A smaller quantity, of which more than what is filled remains; the order keeps its place.

        Anything else is refused here (170312), though the venue does it: no source settles what
        becomes of the order's place then.
        """
        order = self._known(call, arg)
        if not order.open:
            raise OrderError(*REFUSALS[Why.UNKNOWN_ORDER])
        _plain_order(arg)
        listing = self.words.instrument(order).listing
        size = _number(arg, "qty") if arg.get("qty") else None
        px = _number(arg, "price") if arg.get("price") else None
        if size is None and px is None:
            raise parameter("params error: nothing to amend")
        if size is not None and _decimals(arg["qty"]) > places(listing.lot):
            raise OrderError(*REFUSALS[Why.QTY_STEP])
        if size is not None and size < listing.qty(order.filled):
            raise OrderError(170313, "The quantity is less than what has been filled.")
        same_px = px is None or (order.px is not None and px == listing.px(order.px))
        if not same_px or size is None:
            raise OrderError(*REFUSALS[Why.NO_CHANGE])
        outcome = self.desk.reduce(call.account, order, size, call.now_ns)
        if outcome.refusal is not None:
            raise OrderError(*REFUSALS[outcome.refusal.why])
        done.outcomes.append(outcome)
        return order


_KINDS = {"Limit": "Limit", "Market": "Market"}


def too_many() -> OrderError:
    """A limit is used up."""
    return OrderError(10006, "Too many visits. Exceeded the API Rate Limit.")


def _ids(order: OrderRecord) -> dict[str, Any]:
    return {"orderId": order.venue_id, "orderLinkId": order.client_id}


def _refused(refusal: Refusal, terms: Terms) -> OrderError:
    """A refusal in Bybit's words."""
    code, msg = REFUSALS[refusal.why]
    if refusal.why is Why.PX_BAND and refusal.limit is not None:
        bound = f"{refusal.limit.normalize():f}"
        if terms.side is Side.BUY:
            return OrderError(170193, f"Buy order price cannot be higher than {bound}.")
        return OrderError(170194, f"Sell order price cannot be lower than {bound}.")
    if refusal.why is Why.QTY_MIN and terms.quote_qty is not None:
        return OrderError(*REFUSALS[Why.NOTIONAL_MIN])
    return OrderError(code, msg)


def _plain_order(arg: Arg) -> None:
    """Refuse what is asked for besides a plain spot order."""
    if arg.get("orderFilter", "Order") not in ("", "Order"):
        raise parameter("params error: orderFilter not supported")
    if str(arg.get("isLeverage") or 0) != "0":
        raise parameter("params error: isLeverage not supported")
    for name in _FEATURES:
        if arg.get(name) not in (None, "", "0"):
            raise parameter(f"params error: {name} not supported")


def _one_of(
    arg: Arg, name: str, known: Mapping[str, Any], code: int, msg: str, default: str = ""
) -> Any:
    value = arg.get(name) or default
    if not isinstance(value, str) or value not in known:
        raise OrderError(code, msg)
    return known[value]


def _link_id(arg: Arg) -> str:
    value = arg.get("orderLinkId") or ""
    if value and not (isinstance(value, str) and _LINK_ID.fullmatch(value)):
        raise parameter("params error: orderLinkId invalid")
    return str(value)


def _number(arg: Arg, name: str) -> Decimal:
    """A plain decimal text above 0; other forms are not documented and refused."""
    value = arg.get(name)
    if value is None or value == "":
        raise OrderError(170105, f"Parameter '{name}' was empty.")
    if not isinstance(value, str):
        raise parameter(f"params error: {name} invalid")
    if not _NUMBER.fullmatch(value) or not (number := Decimal(value)):
        raise OrderError(170130, f"Data sent for parameter '{name}' is not valid.")
    return number


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])


def _check_size(instrument: Instrument, size: Decimal, *, market: bool, by_value: bool) -> None:
    """Decimals as sent (so many, even if zero), and the most a market order may be."""
    listing = instrument.listing
    step = listing.tick * listing.lot if by_value else listing.lot
    exponent = size.as_tuple().exponent
    assert isinstance(exponent, int), "a plain decimal"
    if -exponent > places(step):
        if by_value:
            raise OrderError(170148, "Market order amount decimal too long.")
        raise OrderError(*REFUSALS[Why.QTY_STEP])
    if not market:
        return
    most = listing.max_lots // _MARKET_PARTS * listing.lot
    if by_value:
        most = listing.min_notional * 1_000_000  # `maxOrderAmt`
    if size > most:
        raise OrderError(*REFUSALS[Why.QTY_MAX])
