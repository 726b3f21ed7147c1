"""OKX's orders: placing, cancelling, amending, alone or in batches, whichever wire they come by.

`Orders.act` checks, counts, acts and answers; what it did to the engine is in `Done.outcomes`, for
whoever pushes it.  Sources: v5 documentation of June 2026, error texts as quoted by clients.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from re import compile as pattern
from typing import Any, TypeAlias

from hean_router.sim.accounts import Account, OrderRecord, Refusal, Terms, Why
from hean_router.sim.contract import MS, SECOND, Options
from hean_router.sim.desk import Desk, Outcome
from hean_router.sim.exchange import Exchange, Kind, Listing, Side, Stp, Tif
from hean_router.sim.faces.okx.facts import BAND_PERMILLE, Symbols, inst_id_code
from hean_router.sim.faces.okx.private_access import ApiError, too_frequent
from hean_router.sim.faces.okx.private_words import REFUSALS, STP_NAMES, Words, ms
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.pacing import RollingWindow
from hean_router.sim.rules import Rules

BATCH_MAX = 20
_ORDER_ID_BASE = 2_510_789_768_709_120_000
_WINDOW_NS = 2 * SECOND
_SINGLES_MAX, _BATCHED_MAX, _ACCOUNT_MAX = 60, 300, 1_000
_MARKET_VALUE_MAX, _LIMIT_VALUE_MAX = Decimal(1_000_000), Decimal(20_000_000)
_VALUED = frozenset({"USDT", "USDC", "USD"})
_TEXT_MAX = 32
_NUMBER = pattern(r"\d+(\.\d*)?|\.\d+")
_WHOLE = pattern(r"\d{1,19}")
_CLIENT_ID, _TAG, _REQ_ID = (pattern(f"[A-Za-z0-9]{{1,{n}}}") for n in (32, 16, 32))
_SIDES = {side.value: side for side in Side}
_TIFS = {"ioc": Tif.IOC, "fok": Tif.FOK}
_TYPES = frozenset({"limit", "market", "post_only", "ioc", "fok"})
_STPS = {name: stp for stp, name in STP_NAMES.items()}
_UNITS = ("base_ccy", "quote_ccy")

Arg: TypeAlias = Mapping[str, Any]


class OrderError(Exception):
    """One order of a request is answered with an `sCode`."""

    def __init__(self, code: int, msg: str, sub: str = "") -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.sub = sub


class OkxRules(Rules):
    """Exact fees of what is received; price limits around the middle; ids free when not pending."""

    stp = Stp.MAKER
    post_only_refused = False
    open_max = 500
    whims = Rules.whims | {Why.QTY_STEP}

    def __init__(self) -> None:
        self.quote_fees: set[str] = set()  # accounts of fee type 1

    def order_id(self, engine_id: int) -> str:
        return str(_ORDER_ID_BASE + engine_id)

    def round_fee(self, fee: Decimal) -> Decimal:
        return fee  # documented and recorded amounts are exact products

    def fee_asset(self, account: Account, listing: Listing, side: Side, *, maker: bool) -> str:
        if account.name in self.quote_fees:
            return listing.quote
        return super().fee_asset(account, listing, side, maker=maker)

    def shrinks(self, terms: Terms) -> bool:
        return not terms.note["banAmend"]

    def px_band(
        self, exchange: Exchange, listing: Listing, side: Side
    ) -> tuple[Decimal, Decimal] | None:
        """No buy above, no sell below the limits that the `price-limit` channel tells."""
        sides = [exchange.best(listing.symbol, each) for each in Side]
        pxs = [best.px for best in sides if best is not None]
        if not pxs:
            return None
        mid = sum(pxs) // len(pxs)
        away = mid * BAND_PERMILLE // 1000
        if side is Side.BUY:
            return Decimal(0), listing.px(mid + away)
        return listing.px(mid - away), Decimal("Infinity")


@dataclass
class Done:
    """What became of a request for orders.

    `error`: the whole of it.  `lost`: it is never answered.  `early`: 0 answer first, 1 events
    first, 2 the answer among them.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    error: ApiError | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    lost: bool = False
    early: int = 0

    @property
    def code(self) -> int:
        """0 all accepted, 1 all failed, 2 partly."""
        failed = sum(row["sCode"] != "0" for row in self.rows)
        return 0 if not failed else 1 if failed == len(self.rows) else 2


@dataclass(frozen=True)
class Call:
    """A request for orders: `wire` names the instrument's field, `instId` or `instIdCode`."""

    account: Account
    args: Sequence[Any]
    now_ns: int
    wire: str
    exp_time: str = ""


@dataclass(frozen=True)
class Operation:
    """`name` is its budget's; `batch` whether it takes several."""

    name: str
    batch: bool = False


OPERATIONS: Mapping[str, Operation] = {
    "order": Operation("order"),
    "batch-orders": Operation("order", batch=True),
    "cancel-order": Operation("cancel"),
    "batch-cancel-orders": Operation("cancel", batch=True),
    "amend-order": Operation("amend"),
    "batch-amend-orders": Operation("amend", batch=True),
}
"""By their names on the socket."""

_Handler: TypeAlias = "Callable[[Call, Arg, Done], OrderRecord]"


class Orders:
    """Everything that changes orders."""

    def __init__(self, exchange: Exchange, symbols: Symbols, options: Options) -> None:
        self._options = options
        self.symbols = symbols
        self._by_code = {
            str(inst_id_code(listing)): listing
            for listing in symbols.by_id.values()
            if listing.kind is Kind.SPOT
        }
        self.words = Words(exchange, symbols)
        self.faults = options.order_faults or OrderFaults("okx")
        self.rules = OkxRules()
        self.desk = Desk(exchange, self.rules, options.accounts, options.history, self.words.row)
        self.desk.faults = self.faults
        self._windows: dict[tuple[str, ...], RollingWindow] = {}
        self._handlers: dict[str, _Handler] = {
            "order": self._place,
            "cancel": self._cancel,
            "amend": self._amend,
        }

    # Requests

    def act(self, op: str, call: Call) -> Done:
        """Do what is asked.  KeyError: no such operation."""
        operation, done = OPERATIONS[op], Done()
        try:
            self._check(operation, call)
            if operation.name == "order" and self.faults.strikes("limited", call.now_ns):
                raise too_frequent()
            if self.faults.strikes("undone", call.now_ns):
                self._perhaps(operation, call, done)
                return done
            for arg in call.args:
                done.rows.append(self._one(operation, call, arg, done))
        except ApiError as error:
            done.error = error
            return done
        if done.outcomes:
            self._confuse(operation, call, done)
        return done

    def _check(self, operation: Operation, call: Call) -> None:
        most = BATCH_MAX if operation.batch else 1
        if not call.args or not all(isinstance(arg, Mapping) for arg in call.args):
            raise ApiError(60013, "Invalid args", 400)
        if len(call.args) > most:
            raise ApiError(50025, f"Parameter args count exceeds the limit {most}", 400)
        if operation.name != "cancel" and call.exp_time:
            if not _WHOLE.fullmatch(call.exp_time):
                raise ApiError(51000, "Parameter expTime error", 400)
            if int(call.exp_time) * MS < call.now_ns:
                raise ApiError(
                    50036,
                    "The expTime can't be earlier than the current system time. "
                    "Please adjust the expTime and try again.",
                    400,
                )
        self._pay(operation, call)

    def _pay(self, operation: Operation, call: Call) -> None:
        """Count it: by user and instrument, and by user; a batch of one is a single."""
        name, count = call.account.name, len(call.args)
        kind = "batch" if count > 1 else "single"
        limit = _BATCHED_MAX if count > 1 else _SINGLES_MAX
        for arg in call.args:
            listing = self._book(call).get(str(arg.get(call.wire)))
            where = listing.symbol if listing else ""  # both wires share
            key = (kind, operation.name, name, where)
            if not self.window(key, limit).take(call.now_ns):
                raise too_frequent()
        if operation.name == "cancel":
            return
        if not self.window(("account", name), _ACCOUNT_MAX).take(call.now_ns, count):
            raise ApiError(
                50061, "You've reached the maximum order rate limit for this account.", 429
            )

    def window(self, key: tuple[str, ...], limit: int, span_ns: int = _WINDOW_NS) -> RollingWindow:
        """The window under a key, made if need be."""
        if key not in self._windows:
            self._windows[key] = RollingWindow(self._options.limit(limit), span_ns)
        return self._windows[key]

    def _one(self, operation: Operation, call: Call, arg: Arg, done: Done) -> dict[str, Any]:
        """One order of a request, answered."""
        # Recorded clients send parameters they leave empty, or null: as if absent.
        arg = {name: value for name, value in arg.items() if value not in ("", None)}
        try:
            order = self._handlers[operation.name](call, arg, done)
        except OrderError as error:
            return self._row(operation, call, arg, error=error)
        return self._row(operation, call, arg, order)

    @staticmethod
    def _row(
        operation: Operation,
        call: Call,
        arg: Arg,
        order: OrderRecord | None = None,
        error: OrderError | None = None,
    ) -> dict[str, Any]:
        asked = arg.get("clOrdId", "")
        row = {
            "ordId": order.venue_id if order else "",
            "clOrdId": order.client_id if order else asked if isinstance(asked, str) else "",
        }
        if operation.name == "order":
            row["tag"] = order.note["tag"] if order else str(arg.get("tag", ""))
        elif operation.name == "amend":
            row["reqId"] = str(arg.get("reqId", ""))
            row["ordId"] = row["ordId"] or str(arg.get("ordId", ""))
        row |= {"ts": ms(call.now_ns), "sCode": str(error.code) if error else "0"}
        row["sMsg"] = error.msg if error else ""
        if operation.name != "cancel":
            row["subCode"] = error.sub if error else ""
        return row

    # Faults

    def _confuse(self, operation: Operation, call: Call, done: Done) -> None:
        """Let what was done be answered badly, if that is to be."""
        if self.faults.strikes("early", call.now_ns):
            done.early = 1 + self.faults.pick("early", 2)
        if self.faults.strikes("acklost", call.now_ns):
            done.lost = True
        elif self.faults.strikes("unknown", call.now_ns):
            self._perhaps(operation, call, done)

    def _perhaps(self, operation: Operation, call: Call, done: Done) -> None:
        """Answers that leave open whether the request was executed."""
        way = self.faults.pick("unknown", 4)
        if way < len(_PERHAPS):
            done.error = ApiError(*_PERHAPS[way])
            return
        code, msg = (
            (51412, "Cancellation timed out, please try again later.")
            if operation.name == "cancel"
            else (51149, "Order timed out. Please try again later.")
        )
        done.rows = [
            self._row(operation, call, arg, error=OrderError(code, msg)) for arg in call.args
        ]

    # Parameters

    def _listing(self, call: Call, arg: Arg) -> Listing:
        """The instrument: REST names it, a socket says its number."""
        name = arg.get(call.wire)
        if name is None:
            raise OrderError(50014, f"Parameter {call.wire} can not be empty")
        listing = self._book(call).get(str(name))
        if listing is None or listing.kind is not Kind.SPOT:
            raise OrderError(*REFUSALS[Why.SYMBOL])
        return listing

    def _book(self, call: Call) -> Mapping[str, Listing]:
        return self._by_code if call.wire == "instIdCode" else self.symbols.by_id

    def _terms(self, call: Call, arg: Arg) -> Terms:
        """The order as asked for.  OrderError: what is wrong with it."""
        listing = self._listing(call, arg)
        if _text(arg, "tdMode") != "cash":
            if arg["tdMode"] not in ("cross", "isolated", "spot_isolated"):
                raise _wrong("tdMode")
            raise OrderError(51010, "Request unsupported under current account mode")
        if "posSide" in arg:
            raise _wrong("posSide")
        side, kind = _SIDES.get(_text(arg, "side")), _text(arg, "ordType")
        if side is None:
            raise _wrong("side")
        if kind not in _TYPES:
            raise _wrong("ordType")
        market = kind == "market"
        unit = arg.get("tgtCcy", "quote_ccy" if side is Side.BUY else "base_ccy")
        if unit not in _UNITS:
            raise _wrong("tgtCcy")
        size = _number(arg, "sz")
        if size is None:
            raise _missing("sz")
        by_value = market and side is Side.BUY and unit == "quote_ccy"
        px = None if market else _number(arg, "px")
        if px is None and not market:
            raise OrderError(51204, "The price for the limit order can not be empty")
        stp = _STPS.get(arg.get("stpMode", "cancel_maker"))
        if stp is None:
            raise _wrong("stpMode")
        if stp is Stp.BOTH and kind == "fok":
            raise OrderError(54036, "FOK order does not support cancel_both")
        _check_value(listing, px, size, by_value=by_value)
        return Terms(
            symbol=listing.symbol,
            side=side,
            qty=None if by_value else size,
            px=px,
            quote_qty=size if by_value else None,
            tif=_TIFS.get(kind, Tif.GTC),
            post_only=kind == "post_only",
            client_id=_matching(arg, "clOrdId", _CLIENT_ID),
            stp=stp,
            note={
                "ordType": kind,
                "tgtCcy": unit if market else "",
                "tag": _matching(arg, "tag", _TAG),
                "banAmend": arg.get("banAmend") in (True, "true"),
            },
        )

    def _find(self, call: Call, arg: Arg, code: int, msg: str) -> OrderRecord:
        """An open order; of both ids `ordId` wins.  OrderError: `code`, or 51407 for no id."""
        listing = self._listing(call, arg)
        if "ordId" not in arg and "clOrdId" not in arg:
            raise OrderError(51407, "Either order ID or client order ID is required")
        order = find(call.account, arg)
        if order is None or order.symbol != listing.symbol or not order.open:
            raise OrderError(code, msg)
        return order

    # Acts

    def _place(self, call: Call, arg: Arg, done: Done) -> OrderRecord:
        outcome = self.desk.place(call.account, self._terms(call, arg), call.now_ns)
        if outcome.refusal is not None:
            raise self._refused(outcome.refusal, call, arg)
        assert outcome.order is not None, "not refused"
        done.outcomes += [outcome, *self.desk.dust(outcome.order, call.now_ns)]
        return outcome.order

    def _refused(self, refusal: Refusal, call: Call, arg: Arg) -> OrderError:
        """A refusal in OKX's words."""
        code, msg = REFUSALS[refusal.why]
        market = arg.get("ordType") == "market"
        if refusal.why is Why.FUNDS:
            sub = "1020" if self._only_fee_lacks(refusal, call, arg) else "1000"
            return OrderError(code, msg.format(asset=refusal.asset), sub)
        if refusal.why is Why.QTY_MAX and market:
            return OrderError(51202, "Market order amount exceeds the maximum amount.")
        if refusal.why is Why.PX_BAND and refusal.limit is not None:
            bound = f"{refusal.limit:f}"
            if arg.get("side") == "buy":
                return OrderError(51137, f"The highest price limit for buy orders is {bound}.")
            return OrderError(51138, f"The lowest price limit for sell orders is {bound}.")
        return OrderError(code, msg)

    def _only_fee_lacks(self, refusal: Refusal, call: Call, arg: Arg) -> bool:
        """Whether a buy of an account that pays fees in quote fits but for its fee."""
        if call.account.name not in self.rules.quote_fees or arg.get("side") != "buy":
            return False
        assert refusal.limit is not None, "funds have figures"
        assert refusal.given is not None, "funds have figures"
        fee_e8 = self._listing(call, arg).taker_fee_e8
        return refusal.given <= refusal.limit * (1 + Decimal(fee_e8).scaleb(-8))

    def _cancel(self, call: Call, arg: Arg, done: Done) -> OrderRecord:
        meant = find(call.account, arg)
        raced = self.desk.race(meant, call.now_ns) if meant is not None else None
        if raced is not None:
            done.outcomes.append(raced)
            done.early = self.faults.pick("race", 3)
        order = self._find(
            call,
            arg,
            51400,
            "Cancellation failed as the order has been filled, canceled or does not exist.",
        )
        done.outcomes.append(self.end(call.account, order, call.now_ns, "1"))
        return order

    def end(self, account: Account, order: OrderRecord, now_ns: int, source: str) -> Outcome:
        """Cancel an open order; `source` says why.  OrderError: the instrument is halted."""
        order.note["cancelSource"] = source
        outcome = self.desk.cancel(account, order, now_ns)
        if outcome.refusal is not None:
            raise OrderError(*REFUSALS[outcome.refusal.why])
        return outcome

    def _amend(self, call: Call, arg: Arg, done: Done) -> OrderRecord:
        """A smaller size, of which more than what is filled remains; it keeps the order's place.

        Anything else is refused here (51506), though the venue does it: no source settles what
        becomes of the order's place then.
        """
        order = self._find(
            call, arg, 51503, "Your order has already been filled or canceled, or does not exist."
        )
        size, px = _number(arg, "newSz"), _number(arg, "newPx")
        if size is None and px is None:
            raise OrderError(51500, "You must enter a price, quantity, or TP/SL")
        if len(arg.get("newSz", "")) > _TEXT_MAX or len(arg.get("newPx", "")) > _TEXT_MAX:
            raise OrderError(51514, "The length of price or size must be at most 32 characters.")
        order.note["reqId"] = _matching(arg, "reqId", _REQ_ID)
        listing = self.words.listing(order)
        same_px = px is None or (order.px is not None and px == listing.px(order.px))
        if not same_px or size is None or size >= listing.qty(order.qty):
            raise OrderError(51506, "Order modification unavailable for the order type")
        outcome = self.desk.reduce(call.account, order, size, call.now_ns)
        if outcome.refusal is not None:
            if outcome.refusal.why is Why.NO_CHANGE:
                raise OrderError(51506, "Order modification unavailable for the order type")
            raise self._refused(outcome.refusal, call, arg)
        done.outcomes.append(outcome)
        return order


_PERHAPS = (
    (
        50004,
        "API endpoint request timeout (does not mean that the request was successful or failed, "
        "please check the request result).",
        400,
    ),
    (50026, "System error. Try again later.", 500),
    (50001, "Service temporarily unavailable. Please try again later.", 503),
)


def find(account: Account, arg: Arg) -> OrderRecord | None:
    """By `ordId`, or by `clOrdId`: then the youngest that has it."""
    if "ordId" in arg:
        return account.by_venue_id.get(str(arg["ordId"]))
    return account.by_client_id(str(arg.get("clOrdId", "")))


def _check_value(listing: Listing, px: Decimal | None, size: Decimal, *, by_value: bool) -> None:
    """The most an order may be worth, where the quote is USD or as good."""
    if listing.quote not in _VALUED:
        return
    if by_value and size > _MARKET_VALUE_MAX:
        raise OrderError(51201, f"Value of per market order cannot exceed {_MARKET_VALUE_MAX} USDT")
    if px is not None and px * size > _LIMIT_VALUE_MAX:
        raise OrderError(51203, f"Order amount exceeds the limit {_LIMIT_VALUE_MAX}")


def _wrong(name: str) -> OrderError:
    return OrderError(51000, f"Parameter {name} error")


def _missing(name: str) -> OrderError:
    return OrderError(50014, f"Parameter {name} can not be empty")


def _text(arg: Arg, name: str) -> str:
    value = arg.get(name)
    if value is None:
        raise _missing(name)
    if not isinstance(value, str):
        raise _wrong(name)
    return value


def _matching(arg: Arg, name: str, form: Any) -> str:
    value = arg.get(name, "")
    if value and not (isinstance(value, str) and form.fullmatch(value)):
        raise _wrong(name)
    return str(value)


def _number(arg: Arg, name: str) -> Decimal | None:
    """A plain decimal text above 0."""
    value = arg.get(name)
    if value is None:
        return None
    if not (isinstance(value, str) and len(value) <= _TEXT_MAX and _NUMBER.fullmatch(value)):
        raise _wrong(name)
    number = Decimal(value)
    if number == 0:
        raise _wrong(name)
    return number
