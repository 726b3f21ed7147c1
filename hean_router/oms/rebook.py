"""Trades that are booked again: nobody's that are an order's after all, and those that we infer.

Every fold of the journal counts a trade by what its row says.  So what turns out to be otherwise is
taken back by a row and booked anew by another, in one transaction.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from msgspec import structs

from hean_router.book.sweep import EXACT, PRECISE
from hean_router.domain.instrument import Pair
from hean_router.domain.record import Filled, FillUndone, Row
from hean_router.domain.scale import plain
from hean_router.domain.venue import Fees
from hean_router.oms.model import ZERO, Child
from hean_router.oms.orders import Orders

# (venue, account, symbol) -> the rates we planned with there; None where we do not know.
FeesOf: TypeAlias = Callable[[str, str, str], Fees | None]


def claims(orders: Orders, now_ns: int) -> list[Row]:
    """Trades of nobody's that a venue's order id has shown to be an order's: booked again as such.

    And what was taken for somebody else's order, and is ours, is no longer counted as foreign.

    Whoever counts by order, parent or strategy counts them there, and not only this package.
    """
    rows: list[Row] = []
    for (venue, account, symbol, order_id), key in orders.claimed.items():
        child = orders.children.get(key)
        if child is None:
            continue
        if (stranger := orders.foreign.get((venue, account, symbol, order_id))) is not None:
            rows.append(structs.replace(stranger, at_ns=now_ns, open=False))
        for fill in orders.orphans.get((venue, account, symbol, order_id), ()):
            in_balances = _in_balances(orders, fill)
            rows.append(_undone(fill, fill.qty, fill.fee, "claimed", now_ns, in_balances))
            rows.append(
                structs.replace(
                    fill,
                    at_ns=now_ns,
                    key=key,
                    parent=child.parent.id,
                    strategy=child.parent.intent.strategy,
                    in_balances=in_balances,
                )
            )
    return rows


def _in_balances(orders: Orders, fill: Filled) -> bool:
    """Whether the venue has told what we have since that trade was booked."""
    return fill.in_balances or fill.at_ns < orders.balances_ns.get((fill.venue, fill.account), 0)


def _undone(
    fill: Filled, qty: Decimal, fee: Decimal, why: str, now_ns: int, in_balances: bool
) -> FillUndone:
    return FillUndone(
        at_ns=now_ns,
        venue=fill.venue,
        account=fill.account,
        symbol=fill.symbol,
        trade_id=fill.trade_id,
        key=fill.key,
        parent=fill.parent,
        strategy=fill.strategy,
        venue_order_id=fill.venue_order_id,
        side=fill.side,
        px=fill.px,
        qty=qty,
        fee=fee,
        fee_asset=fill.fee_asset,
        whole=qty == fill.qty,
        why=why,
        in_balances=in_balances,
    )


def inferred(orders: Orders, child: Child, now_ns: int, fees: FeesOf | None) -> Filled:
    """The trade that the venue's count of `child` proves, and that none of its trades has shown.

    Its id follows from the order and the count, so that whoever infers it again infers the same.
    The price is the order's limit: no trade of it can be worse.  Never beyond the order's quantity,
    whatever the venue counts.
    """
    assert child.cum is not None, "only a count proves a trade"
    upto = min(child.cum, child.qty)
    assert upto > child.filled, "only a count above the trades proves one"
    qty = EXACT.subtract(upto, child.filled)
    px = child.intended.worst_px if child.px is None else child.px
    quote = Pair.parse(child.symbol).quote
    rates = fees(child.venue, child.account, child.symbol) if fees is not None else None
    fee = ZERO
    if rates is not None:
        fee = EXACT.multiply(EXACT.multiply(px, qty), max(ZERO, rates.taker))
    return Filled(
        at_ns=now_ns,
        venue=child.venue,
        account=child.account,
        symbol=child.symbol,
        trade_id=f"inferred:{child.key}:{plain(child.filled)}-{plain(upto)}",
        key=child.key,
        parent=child.parent.id,
        strategy=child.parent.intent.strategy,
        venue_order_id=child.venue_order_id,
        side=child.side,
        px=px,
        qty=qty,
        fee=fee,
        fee_asset=quote,
        maker=None,
        sent_ns=0,
        inferred=True,
        in_balances=(child.news_ns or now_ns)
        < orders.balances_ns.get((child.venue, child.account), 0),
    )


def replaced(
    orders: Orders, standing: Sequence[Filled], qty: Decimal, now_ns: int
) -> tuple[list[FillUndone], list[Filled]]:
    """What a real trade of `qty` takes the place of, of inferred ones; and what is left of them."""
    rows: list[FillUndone] = []
    left = list(standing)
    while qty and left:
        first = left[0]
        part = min(qty, first.qty)
        whole = part == first.qty
        fee = first.fee
        if not whole:
            fee = PRECISE.divide(EXACT.multiply(first.fee, part), first.qty)
        held = _in_balances(orders, first)
        rows.append(_undone(first, part, fee, "replaced", now_ns, held))
        qty = EXACT.subtract(qty, part)
        rest = structs.replace(
            first, qty=EXACT.subtract(first.qty, part), fee=EXACT.subtract(first.fee, fee)
        )
        left = left[1:] if whole else [rest, *left[1:]]
    return rows, left
