r"""An order in Binance's words, and Binance's orders in ours.

Quantities are base everywhere; prices and quantities go out with exactly the decimals of tick and
lot, as `^([0-9]{1,20})(\.[0-9]{1,20})?$` (anything else is -1100).
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache

from msgspec import Struct

from hean_router import kit

_SIDE = {kit.Side.BUY: "BUY", kit.Side.SELL: "SELL"}
_TIF = {kit.Tif.GTC: "GTC", kit.Tif.IOC: "IOC", kit.Tif.FOK: "FOK"}
SIDES = {"BUY": kit.Side.BUY, "SELL": kit.Side.SELL}

# A cancel renames the order after the cancel's own id.  Ours keeps the key inside, and no key
# looks like it.
_RENAME = "cxl_"
_RENAMED = re.compile(rf"{_RENAME}([a-z][0-9a-z]{{1,17}})")

STATES = {
    "NEW": kit.OrderState.OPEN,
    "PENDING_NEW": kit.OrderState.OPEN,
    "PARTIALLY_FILLED": kit.OrderState.OPEN,
    "PENDING_CANCEL": kit.OrderState.OPEN,
    "FILLED": kit.OrderState.FILLED,
    "CANCELED": kit.OrderState.CANCELED,
    "REJECTED": kit.OrderState.REJECTED,
    "EXPIRED": kit.OrderState.EXPIRED,
    "EXPIRED_IN_MATCH": kit.OrderState.EXPIRED,  # self-trade prevention
}


@lru_cache(maxsize=4096)
def _cut(decimals: int, step: int) -> tuple[int, int]:
    """What to divide a scaled number by so that it has the step's decimals, and how many.

    >>> _cut(8, 1_000_000), _cut(8, 5 * 10**8), _cut(0, 1)
    ((1000000, 2), (100000000, 0), (1, 0))
    """
    divisor = 1
    while decimals and step % 10 == 0:
        decimals, step, divisor = decimals - 1, step // 10, divisor * 10
    return divisor, decimals


def number(value: int, decimals: int, step: int) -> str:
    """`value` x 10**-`decimals` with the decimals of its step, which it must be a multiple of.

    >>> number(6_100_000_000_000, 8, 1_000_000), number(100_000, 8, 1_000)
    ('61000.00', '0.00100')
    """
    divisor, digits = _cut(decimals, step)
    units, rest = divmod(value, divisor)
    assert not rest, f"{value} is off its step {step}"
    if not digits:
        return str(units)
    text = str(units).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}"


def placing(order: kit.ChildOrder) -> dict[str, str | int]:
    """Parameters of an order, sorted by name as the socket's signature wants them.

    The answer is asked for in full: what traded at once comes with it.
    """
    instrument, px = order.instrument, order.px
    params: dict[str, str | int] = {
        "newClientOrderId": order.key,
        "newOrderRespType": "FULL",
    }
    if px is not None:
        params["price"] = number(px, instrument.px_decimals, instrument.tick)
    params["quantity"] = number(order.qty, instrument.qty_decimals, instrument.lot)
    params["side"] = _SIDE[order.side]
    params["symbol"] = instrument.symbol
    if px is None:
        params["type"] = "MARKET"
    elif order.post_only:
        params["type"] = "LIMIT_MAKER"
    else:
        params["timeInForce"] = _TIF[order.tif]
        params["type"] = "LIMIT"
    return params


def canceling(instrument: kit.Instrument, key: str, venue_order_id: str) -> dict[str, str | int]:
    """Parameters of a cancel.  The venue's id is found faster, and outlives a rename."""
    params: dict[str, str | int] = {"newClientOrderId": renamed(key)} if key else {}
    if venue_order_id:
        params["orderId"] = int(venue_order_id)
    else:
        params["origClientOrderId"] = key
    params["symbol"] = instrument.symbol
    return params


def renamed(key: str) -> str:
    """What a cancel of ours makes of an order's client id."""
    return _RENAME + key


def key_in(client_id: str) -> str:
    """Our key in a client id; a foreign id as it stands.

    >>> key_in("cxl_a17"), key_in("a17"), key_in("cxl_Web-7")
    ('a17', 'a17', 'cxl_Web-7')
    """
    if client_id.startswith(_RENAME) and (found := _RENAMED.fullmatch(client_id)):
        return found[1]
    return client_id


class Match(kit.Amounts, rename="camel"):
    """One trade inside a full answer."""

    price: str
    qty: str
    commission: Decimal
    commission_asset: str | None
    trade_id: int


class Order(Struct, rename="camel"):
    """An order in an answer: placed, cancelled or asked for.  An acknowledgement has no status."""

    symbol: str = ""
    order_id: int = -1
    client_order_id: str = ""
    orig_client_order_id: str = ""
    transact_time: int = 0
    update_time: int = 0
    time: int = 0
    price: str = ""
    orig_qty: str = ""
    executed_qty: str = ""
    status: str = ""
    side: str = ""
    expiry_reason: str = ""
    fills: Sequence[Match] = ()


def report(order: Order, instrument: kit.Instrument) -> kit.OrderReport:
    """An answer's order.  Raises `ValueError` or `KeyError` on a word that is not known."""
    px = instrument.px(order.price) if order.price else 0
    return kit.OrderReport(
        instrument=instrument,
        key=key_in(order.orig_client_order_id or order.client_order_id),
        venue_order_id=str(order.order_id),
        state=STATES[order.status],
        cum_qty=instrument.qty(order.executed_qty) if order.executed_qty else None,
        qty=instrument.qty(order.orig_qty) if order.orig_qty else None,
        px=px or None,  # a market order's is 0
        side=SIDES[order.side] if order.side else None,
        reason=order.expiry_reason,
        sent_ns=(order.transact_time or order.update_time or order.time) * kit.MS,
    )


def matches(order: Order, instrument: kit.Instrument) -> list[kit.Fill]:
    """What an order took when it was placed: it was the taker."""
    return [
        kit.Fill(
            instrument=instrument,
            key=key_in(order.orig_client_order_id or order.client_order_id),
            venue_order_id=str(order.order_id),
            trade_id=str(match.trade_id),
            side=SIDES[order.side],
            px=instrument.px(match.price),
            qty=instrument.qty(match.qty),
            fee=match.commission,
            fee_asset=match.commission_asset or "",
            maker=False,
            sent_ns=order.transact_time * kit.MS,
        )
        for match in order.fills
    ]


def by_symbol(
    instruments: Sequence[kit.Instrument], known: Mapping[str, kit.Instrument]
) -> dict[str, kit.Instrument]:
    """`instruments` by symbol, and whatever else is known."""
    return {**known, **{each.symbol: each for each in instruments}}
