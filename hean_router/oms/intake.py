"""What a desk tells, as rows: once each, nothing that says nothing new, and never an exception.

Contradictions become incidents and change nothing.  A trade that no order of ours explains is
booked with an empty key, because it has moved our balance whoever sent it.
"""

from decimal import Decimal
from typing import Final

from hean_router.book.sweep import EXACT
from hean_router.domain import desk
from hean_router.domain.desk import (
    DeskEvent,
    FillsSeen,
    NotSent,
    OpenSeen,
    OrderSeen,
    PlaceAnswered,
    Told,
)
from hean_router.domain.instrument import Instrument, Side
from hean_router.domain.order import (
    Accepted,
    Fill,
    Limited,
    OrderReport,
    OrderState,
    Outcome,
    Rejected,
    RejectKind,
    Unknown,
)
from hean_router.domain.record import (
    CancelAnswered,
    ChildAcked,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Filled,
    ForeignOrder,
    Incident,
    Row,
)
from hean_router.oms.model import Child
from hean_router.oms.orders import Orders
from hean_router.oms.rebook import FeesOf, replaced
from hean_router.oms.states import NEVER_STOOD, SAW, ChildStatus, Learned, after

# An answer asked for this long after an order's end can no longer be old news about it.
OLD_NEWS_NS: Final = 5_000_000_000
# A venue that stamps its trades may be this far behind our clock.
CLOCKS_APART_NS: Final = 5_000_000_000


def intake(
    orders: Orders,
    venue: str,
    account: str,
    event: DeskEvent,
    now_ns: int,
    *,
    fees: FeesOf | None = None,
) -> list[Row]:
    """Rows for what `event` says beyond what `orders` knows; `orders` is only read.

    The rows are to be applied before the next event is taken in.  `fees` lets trades carry what
    they should have cost.
    """
    return _Intake(orders, venue, account, now_ns, fees).take(event)


def own_trade(orders: Orders, venue: str, account: str, fill: Fill) -> bool:
    """Whether a trade that names no order of ours may yet turn out to be ours.

    So it is while an order there lives whose venue order id we have not learned and whose trade
    it can be by side, quantity, limit and time: then the trade waits until that order is found or
    proven absent (`Resolver` asks for it again).  A key names its order, or nobody of ours.
    """
    symbol = str(fill.instrument.pair)
    if fill.key or (venue, account, symbol, fill.venue_order_id) in orders.foreign:
        return False
    nameless = orders.nameless.get((venue, account, symbol), {})
    return any(_can_be_of(child, fill) for child in nameless.values())


def _can_be_of(child: Child, fill: Fill) -> bool:
    """Whether the trade fits what is left of the order, its limit, and its time if it is told."""
    if fill.side is not child.side:
        return False
    if fill.instrument.qty_decimal(fill.qty) > EXACT.subtract(child.qty, child.filled):
        return False
    if 0 < fill.sent_ns < child.intended.at_ns - CLOCKS_APART_NS:
        return False
    if child.px is None:
        return True
    px = fill.instrument.px_decimal(fill.px)
    return px <= child.px if child.side is Side.BUY else px >= child.px


class _Intake:
    """One event's reading: what it has said already in this event counts as known."""

    def __init__(
        self, orders: Orders, venue: str, account: str, now_ns: int, fees: FeesOf | None
    ) -> None:
        self.orders, self.venue, self.account, self.now_ns = orders, venue, account, now_ns
        self.fees = fees
        self.rows: list[Row] = []
        self._counted: set[tuple[str, str]] = set()  # symbol, trade id
        self._booked: dict[str, Decimal] = {}  # key -> filled, this event's trades in
        self._standing: dict[str, list[Filled]] = {}  # key -> what is inferred, as it is left

    def take(self, event: DeskEvent) -> list[Row]:
        match event:
            case Told(event=OrderReport() as report):
                self._report(report, "stream", None)
            case Told(event=Fill() as fill):
                self._fill(fill)
            case PlaceAnswered():
                self._placed(event)
            case NotSent():
                self._not_sent(event)
            case desk.CancelAnswered():
                self._cancelled(event)
            case OrderSeen(report=OrderReport() as report):
                self._report(report, "query", event.asked_ns, asked_key=event.key)
            case OpenSeen():
                self._open(event)
            case FillsSeen():
                for fill in event.fills:
                    self._fill(fill)
            case _:
                pass  # standing, balances, fees, permissions, nonces: not about orders
        return self.rows

    # --------------------------------------------------------------------- answers

    def _placed(self, event: PlaceAnswered) -> None:
        child = self.orders.children.get(event.key)
        if child is None:
            self._incident("stray_answer", f"to a placement: {event.outcome}", event.key)
            return
        match event.outcome:
            case Accepted(venue_order_id=order_id):
                self._acked(child, order_id)
            case Rejected(kind=RejectKind.GONE, code=code, text=text):
                # Makes no sense of a placement: so it says nothing about one.
                self._unknown(child, f"answered as gone: {code} {text}", event.until_ns)
            case Rejected(kind=kind, code=code, text=text):
                self._refused(child, kind.name, code, text)
            case Limited(code=code, text=text):
                self._refused(child, "LIMITED", code, text)
            case Unknown(why=why):
                self._unknown(child, why, event.until_ns)

    def _acked(self, child: Child, order_id: str) -> None:
        if child.status in NEVER_STOOD and child.acked_ns is None:
            self._late(child, "acknowledged")
        elif child.acked_ns is not None and (not order_id or order_id == child.venue_order_id):
            return  # a report or a trade was here first and said the same
        self.rows.append(ChildAcked(at_ns=self.now_ns, key=child.key, venue_order_id=order_id))

    def _refused(self, child: Child, reject: str, code: str, text: str) -> None:
        if child.status in NEVER_STOOD:
            return  # nothing was done: as we have it
        if after(child.status, Learned.REJECTED) is None:
            self._illegal(child, f"refused ({reject} {code} {text})")
            return
        self.rows.append(
            ChildRejected(at_ns=self.now_ns, key=child.key, reject=reject, code=code, text=text)
        )

    def _unknown(self, child: Child, why: str, until_ns: int) -> None:
        if child.status is ChildStatus.INTENDED or (
            child.status is ChildStatus.UNKNOWN and until_ns > (child.until_ns or 0)
        ):
            self.rows.append(
                ChildUnknown(at_ns=self.now_ns, key=child.key, why=why, until_ns=until_ns)
            )

    def _not_sent(self, event: NotSent) -> None:
        child = self.orders.children.get(event.key)
        if child is None:
            self._incident("stray_answer", f"not sent: {event.code} {event.why}", event.key)
        elif child.status is ChildStatus.WITHDRAWN:
            return
        elif after(child.status, Learned.WITHDRAWN) is None:
            self._illegal(child, f"never sent ({event.code} {event.why})")
        else:
            by = "budget" if event.code == "no_budget" else "desk"
            self.rows.append(
                ChildWithdrawn(
                    at_ns=self.now_ns, key=child.key, by=by, code=event.code, why=event.why
                )
            )

    def _cancelled(self, event: desk.CancelAnswered) -> None:
        if event.key not in self.orders.children:
            self._incident("stray_answer", f"to a cancel: {event.outcome}", event.key)
            return
        answer, text = _said(event.outcome)
        self.rows.append(CancelAnswered(at_ns=self.now_ns, key=event.key, answer=answer, text=text))

    # --------------------------------------------------------------------- reports

    def _report(
        self, report: OrderReport, via: str, asked_ns: int | None, asked_key: str = ""
    ) -> None:
        symbol = str(report.instrument.pair)
        key = report.key or asked_key
        child = self.orders.find(self.venue, self.account, symbol, key, report.venue_order_id)
        if child is None:
            self._stranger(report, symbol)
            return
        learned = SAW[report.state]
        status = after(child.status, learned)
        if status is None:
            self._illegal(child, f"told to be {report.state.value}")
            return
        cum = None if report.cum_qty is None else report.instrument.qty_decimal(report.cum_qty)
        if not self._is_news(child, report, status, cum, asked_ns):
            return
        self._wonder(child, report, cum)
        self.rows.append(
            ChildReported(
                at_ns=self.now_ns,
                key=child.key,
                state=report.state,
                cum_qty=cum,
                venue_order_id=report.venue_order_id,
                reason=report.reason,
                via=via,
            )
        )

    def _is_news(
        self,
        child: Child,
        report: OrderReport,
        status: ChildStatus,
        cum: Decimal | None,
        asked_ns: int | None,
    ) -> bool:
        more = cum is not None and _tells_more(child, cum)
        if report.state is OrderState.OPEN and not child.is_live:
            if child.ghost:
                return more
            if child.status in NEVER_STOOD:
                return True
            # Ordinarily old news, overtaken by the end; not if asked for long after it.
            assert child.ended_ns is not None, "what is final has ended"
            late = asked_ns is not None and asked_ns > child.ended_ns + OLD_NEWS_NS
            return late or (more and cum is not None and cum > child.filled)
        named = bool(report.venue_order_id) and not child.venue_order_id
        return more or named or child.ghost or status is not child.status

    def _wonder(self, child: Child, report: OrderReport, cum: Decimal | None) -> None:
        """Tell of what a person should look at, in a report that is taken all the same."""
        is_open = report.state is OrderState.OPEN
        if child.status in NEVER_STOOD and not child.ghost:
            if report.state is not OrderState.REJECTED:
                self._late(child, f"told to be {report.state.value}")
        elif is_open and not child.is_live and not child.ghost:
            self._incident("open_after_end", f"{child.status} here, open there", child.key)
        if cum is not None and cum > child.qty:
            self._incident("overfill", f"told {cum} filled of {child.qty}", child.key)
        if cum is not None and not is_open and cum < child.filled:
            text = f"ended with {cum} by the venue's word; its trades add up to {child.filled}"
            self._incident("quantity_mismatch", text, child.key)

    def _open(self, event: OpenSeen) -> None:
        seen: set[tuple[str, str]] = set()
        for report in event.reports:
            seen.add((str(report.instrument.pair), report.venue_order_id))
            self._report(report, "open", event.asked_ns)
        symbols = {str(instrument.pair) for instrument in event.instruments}
        for (venue, account, symbol, order_id), row in self.orders.foreign.items():
            gone = (
                (venue, account) == (self.venue, self.account)
                and symbol in symbols
                and (symbol, order_id) not in seen
                and row.at_ns < event.asked_ns
            )
            if gone:
                self.rows.append(
                    ForeignOrder(
                        at_ns=self.now_ns,
                        venue=venue,
                        account=account,
                        symbol=symbol,
                        venue_order_id=order_id,
                        key=row.key,
                        side=row.side,
                        qty=row.qty,
                        px=row.px,
                        open=False,
                    )
                )

    def _stranger(self, report: OrderReport, symbol: str) -> None:
        """An order that is not ours, or that we have forgotten; told on change alone."""
        nameless = self.orders.nameless.get((self.venue, self.account, symbol), {})
        if not report.key and any(report.side in {None, one.side} for one in nameless.values()):
            return  # may be one of those: they are asked about by key
        if report.key in self.orders.children:
            self._incident("misplaced_report", f"of another place: {symbol}", report.key)
            return
        known = self.orders.foreign.get((self.venue, self.account, symbol, report.venue_order_id))
        is_open = report.state is OrderState.OPEN
        instrument = report.instrument
        left = None if report.qty is None else max(0, report.qty - (report.cum_qty or 0))
        qty = known.qty if known and left is None else _qty(instrument, left)
        px = known.px if known and report.px is None else _px(instrument, report.px)
        if (known is None and not is_open) or (
            known is not None and is_open and (known.qty, known.px) == (qty, px)
        ):
            return
        if known is None and self.orders.key_of(report.key):
            self._incident("orphan_order", "ours by its key, unknown to the journal", report.key)
        self.rows.append(
            ForeignOrder(
                at_ns=self.now_ns,
                venue=self.venue,
                account=self.account,
                symbol=symbol,
                venue_order_id=report.venue_order_id,
                key=report.key,
                side=report.side,
                qty=qty,
                px=px,
                open=is_open,
            )
        )

    # --------------------------------------------------------------------- trades

    def _fill(self, fill: Fill) -> None:
        symbol = str(fill.instrument.pair)
        trade = (symbol, fill.trade_id)
        if trade in self._counted:
            return
        if (self.venue, self.account, symbol, fill.trade_id) in self.orders.fills:
            return
        child = self.orders.find(self.venue, self.account, symbol, fill.key, fill.venue_order_id)
        if child is None and not self._is_orphan(fill):
            return
        self._counted.add(trade)
        qty = fill.instrument.qty_decimal(fill.qty)
        px = fill.instrument.px_decimal(fill.px)
        in_balances = self._in_balances(fill)
        if child is not None:
            in_balances = self._replace(child, qty)
            self._wonder_at_fill(child, fill, qty)
        self.rows.append(
            Filled(
                at_ns=self.now_ns,
                venue=self.venue,
                account=self.account,
                symbol=symbol,
                trade_id=fill.trade_id,
                key=child.key if child else "",
                parent=child.parent.id if child else "",
                strategy=child.parent.intent.strategy if child else "",
                venue_order_id=fill.venue_order_id,
                side=fill.side,
                px=px,
                qty=qty,
                fee=fill.fee,
                fee_asset=fill.fee_asset,
                maker=fill.maker,
                sent_ns=fill.sent_ns,
                fee_assumed=self._assumed(fill, px, qty),
                in_balances=in_balances,
            )
        )
        if child is None:
            self._tell_orphan(fill, symbol, qty, px)

    def _replace(self, child: Child, qty: Decimal) -> bool:
        """A real trade stands for as much of what was inferred; whether balances hold that.

        It always does so, even where it could be one that came after: then the venue's count will
        grow, and prove again what is missing.  So nothing is ever counted beyond that count.
        """
        standing = self._standing.setdefault(child.key, list(child.inferred))
        rows, left = replaced(self.orders, standing, qty, self.now_ns)
        self._standing[child.key] = left
        for row in rows:
            before = self._booked.get(child.key, child.filled)
            self._booked[child.key] = EXACT.subtract(before, row.qty)
        self.rows += rows
        return any(row.in_balances for row in rows)

    def _is_orphan(self, fill: Fill) -> bool:
        """Whether a trade of no known order must be booked now."""
        if own_trade(self.orders, self.venue, self.account, fill):
            return False
        # One that names an order of ours, of rows that are lost or forgotten, moves our position
        # whenever it was.  Anybody else's is in the balances that were taken as the truth after it.
        return self.orders.key_of(fill.key) or not self._in_balances(fill)

    def _in_balances(self, fill: Fill) -> bool:
        """Whether balances that were taken as the truth after it have it in already."""
        return 0 < fill.sent_ns < self.orders.balances_ns.get((self.venue, self.account), 0)

    def _tell_orphan(self, fill: Fill, symbol: str, qty: Decimal, px: Decimal) -> None:
        order = (self.venue, self.account, symbol, fill.venue_order_id)
        what = "foreign_fill" if order in self.orders.foreign else "orphan_fill"
        text = f"{fill.side} {qty} {symbol} at {px}, order {fill.venue_order_id or '?'}"
        self._incident(what, text, fill.key or fill.trade_id)

    def _wonder_at_fill(self, child: Child, fill: Fill, qty: Decimal) -> None:
        before = self._booked.get(child.key, child.filled)
        total = self._booked[child.key] = EXACT.add(before, qty)
        if total > child.qty >= before:
            self._incident("overfill", f"{total} traded of {child.qty}", child.key)
        if fill.side is not child.side:
            self._incident("side_mismatch", f"a {child.side} traded as {fill.side}", child.key)
        if child.status in NEVER_STOOD and not child.ghost and not before:
            self._late(child, f"traded {qty}")

    def _assumed(self, fill: Fill, px: Decimal, qty: Decimal) -> Decimal | None:
        """The fee by the rate we planned with, in the asset it was charged in."""
        pair = fill.instrument.pair
        rates = self.fees(self.venue, self.account, str(pair)) if self.fees else None
        if rates is None:
            return None
        rate = rates.maker if fill.maker else rates.taker
        if fill.fee_asset == pair.quote:
            return EXACT.multiply(EXACT.multiply(px, qty), rate)
        return EXACT.multiply(qty, rate) if fill.fee_asset == pair.base else None

    # --------------------------------------------------------------------- incidents

    def _late(self, child: Child, how: str) -> None:
        text = f"{child.status} here ({child.why}), yet {how}: adopted, cancelled if it is open"
        self._incident("late_appearance", text, child.key)

    def _illegal(self, child: Child, how: str) -> None:
        self._incident("illegal_transition", f"{child.status} cannot be {how}", child.key)

    def _incident(self, what: str, text: str, subject: str) -> None:
        self.rows.append(
            Incident(
                at_ns=self.now_ns,
                what=what,
                text=text,
                venue=self.venue,
                account=self.account,
                subject=subject,
            )
        )


def _tells_more(child: Child, cum: Decimal) -> bool:
    """Whether the venue's count says more than we have; that nothing is filled yet does not."""
    if child.cum is not None:
        return cum > child.cum
    if child.is_live:
        return cum > 0
    return cum > child.filled or not child.settled


def _said(outcome: Outcome) -> tuple[str, str]:
    match outcome:
        case Accepted():
            return "accepted", ""
        case Rejected(kind=kind, code=code, text=text):
            return kind.name, f"{code} {text}".strip()
        case Limited(code=code, text=text):
            return "LIMITED", f"{code} {text}".strip()
        case Unknown(why=why):
            return "UNKNOWN", why


def _qty(instrument: Instrument, qty: int | None) -> Decimal | None:
    return None if qty is None else instrument.qty_decimal(qty)


def _px(instrument: Instrument, px: int | None) -> Decimal | None:
    return None if px is None else instrument.px_decimal(px)
