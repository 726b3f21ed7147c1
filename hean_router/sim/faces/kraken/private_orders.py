"""Kraken's orders: placing, cancelling, amending, whichever wire they come by.

Both wires end in `Ask`s; what they did to the engine is in `Done.outcomes`, for whoever pushes it.
Sources: documentation of 2026, error texts as quoted by clients.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from hean_router.sim.accounts import Account, OrderRecord, Permission, Terms, Why
from hean_router.sim.accounts import Refusal as DeskRefusal
from hean_router.sim.contract import SECOND, Options
from hean_router.sim.desk import Desk, Outcome
from hean_router.sim.exchange import Exchange, Listing, Side, Status, Stp, Tif
from hean_router.sim.faces.kraken.facts import asset_decimals
from hean_router.sim.faces.kraken.private_access import Holder, Refusal
from hean_router.sim.faces.kraken.private_words import REFUSALS, Words, kraken_id
from hean_router.sim.order_faults import OrderFaults
from hean_router.sim.rules import Rules

RATE_MAX = 125  # the counter's threshold at the Intermediate tier
_DECAY_CENTI_PER_S = 234
_RATE_EXCEEDED = "EOrder:Rate limit exceeded"
_UNIT = 10**9
_DEADLINE_MAX_NS = 60 * SECOND
_AHEAD_NS = SECOND  # a client's clock may be this far ahead
# age of an order -> what cancelling, or amending, it costs beside the fixed count
_CANCEL_COSTS = ((5, 8), (10, 6), (15, 5), (45, 4), (90, 2), (300, 1))
_AMEND_COSTS = ((5, 3), (10, 2), (15, 1))
_CLIENT_ID = re.compile(
    r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32}|[ -~]{1,18}"
)
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
_SIDES = {side.value: side for side in Side}
_TIFS = {"gtc": Tif.GTC, "ioc": Tif.IOC, "fok": Tif.FOK}
_TYPES = ("limit", "market")
_STPS = {"cancel_newest": Stp.TAKER, "cancel_oldest": Stp.MAKER, "cancel_both": Stp.BOTH}
_FEES = ("quote", "base")
_USERREF_MAX = 2**31
_PERHAPS = (
    "EService:Unavailable",
    "EService:Busy",
    "EService:Timeout",
    "EService:Deadline elapsed",
    "EGeneral:Internal error",
)


class KrakenRules(Rules):
    """Fees in quote unless asked for in base, on top; none held; own orders do not meet.

    Documentation says that a sell's fee is in base by default, but every sell on record says
    `fciq` and has its fee in quote: so here.  Fees are rounded half up at the asset's decimals
    (132.9995 at 0.26 % is 0.3458; half up or up is unverified).
    """

    stp = Stp.TAKER
    post_only_refused = False
    open_max = 80
    # There is no price band at the venue.
    whims = frozenset({Why.FUNDS, Why.NOT_TRADING, Why.QTY_MIN, Why.NOTIONAL_MIN, Why.PX_TICK})

    def order_id(self, engine_id: int) -> str:
        return kraken_id("O", engine_id)

    def fee_asset(self, account: Account, listing: Listing, side: Side, *, maker: bool) -> str:
        return listing.quote

    def fee(
        self,
        account: Account,
        listing: Listing,
        side: Side,
        quote: Decimal,
        base: Decimal,
        *,
        maker: bool,
    ) -> tuple[str, Decimal]:
        return listing.quote, self._fee(account, listing, listing.quote, quote, maker=maker)

    def _fee(
        self, account: Account, listing: Listing, asset: str, amount: Decimal, *, maker: bool
    ) -> Decimal:
        rate = Decimal(self.fee_rate_e8(account, listing, maker=maker)).scaleb(-8)
        step = Decimal(1).scaleb(-asset_decimals(asset)[0])
        return (amount * rate).quantize(step, ROUND_HALF_UP)

    def charge(
        self,
        account: Account,
        listing: Listing,
        terms: Terms,
        quote: Decimal,
        base: Decimal,
        *,
        maker: bool,
    ) -> tuple[str, Decimal]:
        """In base if that is preferred, and there is enough of it."""
        if terms.note["fee"] == "base":
            fee = self._fee(account, listing, listing.base, base, maker=maker)
            # What a market order has still to sell is not locked.
            selling = terms.qty if terms.px is None and terms.qty is not None else Decimal(0)
            spare = account.balance(listing.base).free - selling
            if terms.side is Side.BUY or spare >= fee:
                return listing.base, fee
        return self.fee(account, listing, terms.side, quote, base, maker=maker)

    def lock(
        self, account: Account, listing: Listing, side: Side, px: int, lots: int
    ) -> tuple[str, Decimal]:
        """As documented: a buy its value, a sell its quantity, without any fee."""
        if side is Side.BUY:
            return listing.quote, listing.notional(px, lots)
        return listing.base, listing.qty(lots)

    def need(
        self, account: Account, listing: Listing, side: Side, px: int, lots: int
    ) -> tuple[str, Decimal]:
        """With the fee: an order that could not pay it is refused."""
        return self.cost(account, listing, side, listing.notional(px, lots), listing.qty(lots))


class Counter:
    """Rises with actions, decays all the time: the trading engine's of an account and pair.

    `decay_centi_per_s` in 1/100 a second; counts in 1e-9, so that decay is exact in whole ns.
    """

    def __init__(
        self,
        limit: int | None,
        decay_centi_per_s: int = _DECAY_CENTI_PER_S,
        exceeded: str = _RATE_EXCEEDED,
    ) -> None:
        self._limit = limit
        self._decay_centi_per_s = decay_centi_per_s
        self._exceeded = exceeded
        self._value = 0
        self._at_ns = 0

    def value(self, now_ns: int) -> Decimal:
        """What it stands at."""
        self._decay(now_ns)
        return Decimal(self._value) / _UNIT

    def _decay(self, now_ns: int) -> None:
        gone = (now_ns - self._at_ns) * self._decay_centi_per_s // 100
        self._value = max(0, self._value - gone)
        self._at_ns = now_ns

    def check(self, now_ns: int) -> None:
        """Refusal: it is above its threshold."""
        self._decay(now_ns)
        if self._limit is not None and self._value >= self._limit * _UNIT:
            raise Refusal(self._exceeded)

    def add(self, cost: Decimal, now_ns: int) -> None:
        """Count an action."""
        self._decay(now_ns)
        self._value += int(cost * _UNIT)


@dataclass(frozen=True)
class Ask:
    """An order as asked for, from either wire; texts as sent."""

    listing: Listing
    params: Mapping[str, Any]  # by the socket's names

    def text(self, name: str) -> str:
        """Lower case, for words; empty if absent."""
        value = self.params.get(name)
        return "" if value is None else str(value).lower()

    def flag(self, name: str) -> bool:
        """True, `true` or `True`."""
        return self.text(name) == "true"


@dataclass
class Done:
    """What a request did.

    `lost`: it is never answered.  `early`: 0 answer first, 1 events first, 2 the answer among them.
    `perhaps`: the error it is answered with, whatever happened.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    lost: bool = False
    early: int = 0
    perhaps: str = ""


class Orders:
    """Everything that changes orders."""

    def __init__(self, exchange: Exchange, options: Options) -> None:
        self._exchange = exchange
        self._options = options
        self.words = Words(exchange)
        self.faults = options.order_faults or OrderFaults("kraken")
        self.rules = KrakenRules()
        self.desk = Desk(exchange, self.rules, options.accounts, options.history, self.words.row)
        self.desk.faults = self.faults
        self._counters: dict[tuple[str, str], Counter] = {}

    def counter(self, account: Account, symbol: str) -> Counter:
        """The counter of an account and pair, made if need be."""
        key = account.name, symbol
        if key not in self._counters:
            self._counters[key] = Counter(self._options.limit(RATE_MAX))
        return self._counters[key]

    # Faults

    def undone(self, now_ns: int) -> str | None:
        """An error instead of the act, if that is to be."""
        if not self.faults.strikes("undone", now_ns):
            return None
        return _PERHAPS[self.faults.pick("unknown", len(_PERHAPS))]

    def confuse(self, done: Done, now_ns: int) -> None:
        """Let what was done be answered badly, if that is to be."""
        if not done.outcomes:
            return
        if self.faults.strikes("early", now_ns):
            done.early = 1 + self.faults.pick("early", 2)
        if self.faults.strikes("acklost", now_ns):
            done.lost = True
        elif self.faults.strikes("unknown", now_ns):
            done.perhaps = _PERHAPS[self.faults.pick("unknown", len(_PERHAPS))]

    # Placing

    def terms(self, ask: Ask) -> Terms:
        """The order's terms.  Refusal: what is wrong with them."""
        kind, side = ask.text("order_type"), _SIDES.get(ask.text("side"))
        if side is None:
            raise _invalid("side")
        if kind not in _TYPES:
            raise _invalid("ordertype")
        tif = _TIFS.get(ask.text("time_in_force") or "gtc")
        stp = _STPS.get((ask.text("stp_type") or "cancel_newest").replace("-", "_"))
        fee = ask.text("fee_preference") or "quote"
        post_only = ask.flag("post_only")
        if tif is None or (kind == "market" and tif is Tif.FOK):
            raise _invalid("timeinforce")
        if stp is None or fee not in _FEES:
            raise _invalid("stp_type" if stp is None else "fee_preference")
        if post_only and (kind == "market" or tif is not Tif.GTC):
            raise _invalid("post_only")
        px = _number(ask, "limit_price") if kind == "limit" else None
        qty, value = _number(ask, "order_qty"), _number(ask, "cash_order_qty")
        if kind == "limit" and px is None:
            raise _invalid("price")
        if (qty is None) is (value is None):
            raise _invalid("volume")
        if value is not None and (kind != "market" or side is not Side.BUY):
            raise _invalid("cash_order_qty")
        return Terms(
            symbol=ask.listing.symbol,
            side=side,
            qty=qty,
            px=px,
            quote_qty=value,
            tif=tif,
            post_only=post_only,
            client_id=_client_id(ask),
            stp=stp,
            note={"order_type": kind, "fee": fee, "userref": _userref(ask)},
        )

    def add(self, holder: Holder, ask: Ask, now_ns: int, done: Done) -> OrderRecord:
        """Place it.  Refusal: why not."""
        holder.may(Permission.TRADE)
        counter = self.counter(holder.account, ask.listing.symbol)
        counter.check(now_ns)
        if self.faults.strikes("limited", now_ns):
            raise Refusal(_RATE_EXCEEDED)
        counter.add(Decimal(1), now_ns)  # also if it is refused
        return self._place(holder, ask, self.terms(ask), now_ns, done)

    def _place(
        self, holder: Holder, ask: Ask, terms: Terms, now_ns: int, done: Done
    ) -> OrderRecord:
        self._check_status(terms)
        outcome = self.desk.place(holder.account, terms, now_ns)
        if outcome.refusal is not None:
            raise self.refused(outcome.refusal, ask.listing)
        assert outcome.order is not None, "not refused"
        done.outcomes += [outcome, *self.desk.dust(outcome.order, now_ns)]
        return outcome.order

    def validate(self, holder: Holder, ask: Ask) -> Terms:
        """Every check but the engine's; nothing happens."""
        holder.may(Permission.TRADE)
        terms = self.terms(ask)
        self._check_status(terms)
        prepared = self.desk.prepare(holder.account, terms)
        if isinstance(prepared, DeskRefusal):
            raise self.refused(prepared, ask.listing)
        return terms

    def add_batch(
        self, holder: Holder, asks: Sequence[Ask], now_ns: int, done: Done
    ) -> list[OrderRecord | Refusal]:
        """Of one pair.  A fault of validation refuses them all, lack of funds only the order."""
        holder.may(Permission.TRADE)
        counter = self.counter(holder.account, asks[0].listing.symbol)
        counter.check(now_ns)
        counter.add(Decimal(len(asks)) / 2, now_ns)
        whole = []
        for ask in asks:
            terms = self.terms(ask)
            self._check_status(terms)
            prepared = self.desk.prepare(holder.account, terms)
            if isinstance(prepared, DeskRefusal) and prepared.why is not Why.FUNDS:
                raise self.refused(prepared, ask.listing)
            whole.append(terms)
        names = [terms.client_id for terms in whole if terms.client_id]
        if len(names) != len(set(names)):
            raise Refusal(REFUSALS[Why.CLIENT_ID])
        results: list[OrderRecord | Refusal] = []
        for ask, terms in zip(asks, whole, strict=True):
            try:
                results.append(self._place(holder, ask, terms, now_ns, done))
            except Refusal as refusal:
                results.append(refusal)
        return results

    def _check_status(self, terms: Terms) -> None:
        match self._exchange.status(terms.symbol):
            case Status.HALT:
                raise Refusal("EService:Unavailable")
            case Status.CANCEL_ONLY:
                raise Refusal("EService:Market in cancel_only mode")
            case Status.POST_ONLY if not terms.post_only:
                raise Refusal("EService:Market in post_only mode")
            case _:
                return

    @staticmethod
    def refused(refusal: DeskRefusal, listing: Listing) -> Refusal:
        """A refusal of the desk in Kraken's words."""
        return Refusal(REFUSALS[refusal.why], listing.symbol)

    # Ending and changing

    def find(self, account: Account, order_id: str, client_id: str) -> OrderRecord:
        """An open order by either id.

        Refusal: `Invalid order` for an order id never issued, `Unknown order` otherwise.
        """
        if order_id:
            order = account.by_venue_id.get(order_id)
            if order is None:
                raise Refusal("EOrder:Invalid order")
        else:
            order = account.by_client_id(client_id) if client_id else None
        if order is None or not order.open:
            raise Refusal("EOrder:Unknown order")
        return order

    def find_to_cancel(
        self, holder: Holder, order_id: str, client_id: str, now_ns: int, done: Done
    ) -> OrderRecord:
        """As `find`, but a fill may come before the cancel, if that is to be."""
        order = self.find(holder.account, order_id, client_id)
        if (raced := self.desk.race(order, now_ns)) is not None:
            done.outcomes.append(raced)
            done.early = self.faults.pick("race", 3)
        return self.find(holder.account, order_id, client_id)

    def cancel(
        self,
        holder: Holder,
        order: OrderRecord,
        now_ns: int,
        done: Done,
        *,
        reason: str = "",
        batch: bool = False,
    ) -> None:
        """Cancel an open order.  Refusal: the counter is full, or the engine stands still.

        A batch is accepted above the threshold; whether a single cancel is, is unverified.
        """
        holder.may(Permission.TRADE)
        counter = self.counter(holder.account, order.symbol)
        if not batch:
            counter.check(now_ns)
        if reason:
            order.note["reason"] = reason
        outcome = self.desk.cancel(holder.account, order, now_ns)
        if outcome.refusal is not None:
            raise Refusal(REFUSALS[outcome.refusal.why])
        counter.add(_aged(order, now_ns, _CANCEL_COSTS), now_ns)
        done.outcomes.append(outcome)

    def cancel_many(
        self, holder: Holder, ids: Sequence[tuple[str, str]], now_ns: int, done: Done
    ) -> int:
        """Cancel by order id or client id, as many as are open; how many were."""
        count = 0
        for order_id, client_id in ids:
            try:
                order = self.find(holder.account, order_id, client_id)
            except Refusal:
                continue
            self.cancel(holder, order, now_ns, done, batch=True)
            count += 1
        return count

    def cancel_all(self, holder: Holder, now_ns: int, done: Done) -> int:
        """Cancel everything of the account; how many that was."""
        orders = holder.account.open_orders()
        for order in orders:
            self.cancel(holder, order, now_ns, done, batch=True)
        return len(orders)

    def amend(
        self, holder: Holder, order: OrderRecord, params: Ask, now_ns: int, done: Done
    ) -> None:
        """Make an open order smaller; it keeps its place.  Below what is filled ends it.

        A new price or a larger quantity is refused here (`EOrder:Invalid order`), though the venue
        does it: the order would go to the back of its queue.
        """
        holder.may(Permission.TRADE)
        counter = self.counter(holder.account, order.symbol)
        counter.check(now_ns)
        counter.add(1 + _aged(order, now_ns, _AMEND_COSTS), now_ns)
        listing = self.words.listing(order)
        px, qty = _number(params, "limit_price"), _number(params, "order_qty")
        same_px = px is None or (order.px is not None and px == listing.px(order.px))
        if qty is None or not same_px or qty >= listing.qty(order.qty):
            raise Refusal("EOrder:Invalid order")
        if qty % listing.lot:
            raise Refusal(REFUSALS[Why.QTY_STEP])
        if listing.lots(qty) <= order.filled:
            self.cancel(holder, order, now_ns, done, batch=True)
            return
        outcome = self.desk.reduce(holder.account, order, qty, now_ns)
        if outcome.refusal is not None:
            raise Refusal(REFUSALS.get(outcome.refusal.why, "EOrder:Invalid order"))
        order.note["changed_ns"] = now_ns
        done.outcomes.append(outcome)


def check_deadline(text: Any, now_ns: int) -> None:
    """Refusal: it has passed, or is no time within a minute."""
    if text in (None, ""):
        return  # the default, 5 s from now
    if not isinstance(text, str) or not _STAMP.fullmatch(text):
        raise _invalid("deadline")
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise _invalid("deadline") from error
    deadline_ns = int(when.timestamp()) * SECOND + when.microsecond * 1_000
    if deadline_ns < now_ns:
        raise Refusal("EService:Deadline elapsed")
    if deadline_ns > now_ns + _DEADLINE_MAX_NS + _AHEAD_NS:
        raise _invalid("deadline")


def _invalid(name: str) -> Refusal:
    return Refusal(f"EGeneral:Invalid arguments:{name}")


def _aged(order: OrderRecord, now_ns: int, costs: Sequence[tuple[int, int]]) -> Decimal:
    """What an action costs by the order's age since it was placed or last amended."""
    age_ns = now_ns - int(order.note.get("changed_ns", order.created_ns))
    return Decimal(next((cost for below_s, cost in costs if age_ns < below_s * SECOND), 0))


def _number(ask: Ask, name: str) -> Decimal | None:
    """A plain decimal above 0.  Refusal: `Invalid price`, or invalid arguments."""
    value = ask.params.get(name)
    if value is None or value == "":
        return None
    error = Refusal("EOrder:Invalid price") if name == "limit_price" else _invalid("volume")
    try:
        number = Decimal(str(value))
    except InvalidOperation as fault:
        raise error from fault
    if isinstance(value, bool) or not number.is_finite() or number <= 0:
        raise error
    return number


def _client_id(ask: Ask) -> str:
    value = ask.params.get("cl_ord_id")
    if value in (None, ""):
        return ""
    if not isinstance(value, str) or not _CLIENT_ID.fullmatch(value):
        raise _invalid("cl_ord_id")
    if ask.params.get("order_userref") not in (None, "", 0):
        raise _invalid("cl_ord_id")  # one or the other
    return value


def _userref(ask: Ask) -> int:
    value = ask.params.get("order_userref")
    if value in (None, ""):
        return 0
    text = str(value)
    if not re.fullmatch(r"-?\d{1,10}", text) or abs(int(text)) >= _USERREF_MAX:
        raise _invalid("userref")
    return int(text)
