"""What OKX's rows say about our orders, fills and balances; the same on REST and on the socket."""

from decimal import Decimal

from msgspec import Struct

from hean_router import kit


class Detail(Struct, gc=False, rename="camel"):
    """One currency of an account."""

    ccy: str
    cash_bal: str
    frozen_bal: str = ""
    ord_frozen: str = ""
    u_time: str = ""


class Row(Struct, gc=False, rename="camel"):
    """An order, a fill, an account, or the answer to a request: what we read of any."""

    inst_id: str = ""
    ord_id: str = ""
    cl_ord_id: str = ""
    px: str = ""
    sz: str = ""
    ord_type: str = ""
    side: kit.Side | None = None
    tgt_ccy: str = ""
    state: str = ""
    acc_fill_sz: str = ""
    fill_px: str = ""
    fill_sz: str = ""
    fill_time: str = ""
    fill_fee: str = ""  # of this fill; `fee` of an order is cumulative
    fill_fee_ccy: str = ""
    fee: str = ""
    fee_ccy: str = ""
    trade_id: str = ""
    bill_id: str = ""
    exec_type: str = ""
    cancel_source: str = ""
    u_time: str = ""
    ts: str = ""
    s_code: str = ""
    s_msg: str = ""
    sub_code: str = ""
    details: list[Detail] | None = None


_STATES = {
    "live": kit.OrderState.OPEN,
    "partially_filled": kit.OrderState.OPEN,
    "filled": kit.OrderState.FILLED,
    "canceled": kit.OrderState.CANCELED,
    "mmp_canceled": kit.OrderState.EXPIRED,
}
_BY_US = {"1", "20"}  # by request, or by the dead-man switch
_WOULD_TRADE = "31"
_CAUSES = {
    "0": "by the system",
    "1": "by the user",
    "13": "fill-or-kill without the liquidity",
    "14": "what an immediate-or-cancel left",
    "15": "price limit",
    "20": "cancel-all-after",
    "27": "counterparty's price more than 5 % away",
    "31": "post-only would have traded",
    "32": "self-trade prevention",
    "33": "met too many orders",
}
_AT_ONCE = {"ioc", "fok", "market", "optimal_limit_ioc"}


def ns(ms: str) -> int:
    """Epoch ns of ms as text; 0 for none.  Raises `ValueError`."""
    return int(ms) * kit.MS if ms else 0


def report(row: Row, instrument: kit.Instrument) -> kit.OrderReport:
    """An order as it stands; raises `ValueError`, `KeyError`."""
    state, reason = _STATES[row.state], ""
    if state is kit.OrderState.CANCELED:
        state, reason = _ended(row)
    if not row.ord_id:
        raise ValueError("an order without its id")
    # A market buy counts quote unless told otherwise; a market sell counts base.
    by_value = row.tgt_ccy == "quote_ccy"
    if row.ord_type == "market" and row.side is kit.Side.BUY:
        by_value = row.tgt_ccy != "base_ccy"
    return kit.OrderReport(
        instrument=instrument,
        key=row.cl_ord_id,
        venue_order_id=row.ord_id,
        state=state,
        cum_qty=instrument.qty(row.acc_fill_sz) if row.acc_fill_sz else None,
        qty=None if by_value or not row.sz else instrument.qty(row.sz),
        px=instrument.px(row.px) if row.px and row.ord_type != "market" else None,
        side=row.side,
        reason=reason,
        sent_ns=ns(row.u_time),
    )


def _ended(row: Row) -> tuple[kit.OrderState, str]:
    """Who ended an order: we, a rule of the order's own kind, or the venue."""
    source = row.cancel_source
    reason = f"{source}: {_CAUSES.get(source, 'by the venue')}" if source else ""
    if source in _BY_US or (not source and row.ord_type not in _AT_ONCE):
        return kit.OrderState.CANCELED, reason
    if source == _WOULD_TRADE:
        return kit.OrderState.REJECTED, reason
    return kit.OrderState.EXPIRED, reason


def traded(row: Row) -> bool:
    """Whether an order's event is about a trade: a `filled` may come alone, to end the order."""
    return bool(row.trade_id) and row.fill_sz not in {"", "0"}


def fill(row: Row, instrument: kit.Instrument) -> kit.Fill:
    """The trade in an order's event; raises `ValueError`."""
    fee = kit.amount(row.fill_fee)
    return _fill(row, instrument, fee, row.fill_fee_ccy, row.fill_time or row.u_time)


def past_fill(row: Row, instrument: kit.Instrument) -> kit.Fill:
    """A row of `fills`, where an empty fee has been seen; raises `ValueError`."""
    fee = kit.amount(row.fee or "0")
    return _fill(row, instrument, fee, row.fee_ccy, row.ts or row.fill_time)


def _fill(row: Row, instrument: kit.Instrument, fee: Decimal, asset: str, at_ms: str) -> kit.Fill:
    if row.side is None or not row.trade_id or not row.ord_id:
        raise ValueError("a fill without its side or its ids")
    if fee and not asset:
        raise ValueError("a fee without its currency")
    return kit.Fill(
        instrument=instrument,
        key=row.cl_ord_id,
        venue_order_id=row.ord_id,
        trade_id=row.trade_id,
        side=row.side,
        px=instrument.px(row.fill_px),
        qty=instrument.qty(row.fill_sz),
        fee=-fee if fee else Decimal(0),  # theirs is negative when charged
        fee_asset=asset or instrument.pair.quote,
        maker={"M": True, "T": False}.get(row.exec_type),
        sent_ns=ns(at_ms),
    )


def balance(detail: Detail) -> kit.Balance:
    """What we have of a currency; raises `ValueError`."""
    frozen = detail.frozen_bal or detail.ord_frozen
    return kit.Balance(
        asset=detail.ccy,
        total=kit.amount(detail.cash_bal),
        locked=kit.amount(frozen) if frozen else None,
        sent_ns=ns(detail.u_time),
    )
