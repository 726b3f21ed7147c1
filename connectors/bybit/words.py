"""An order in Bybit's words, and Bybit's orders in ours.

Quantities are base everywhere: a spot market buy counts quote unless `marketUnit` says otherwise.
Numbers go out as plain decimals without trailing zeros (others are unverified).
"""

from typing import Any

from msgspec import Struct

from hean_router import kit

CATEGORY = "spot"

_SIDE = {kit.Side.BUY: "Buy", kit.Side.SELL: "Sell"}
_TIF = {kit.Tif.GTC: "GTC", kit.Tif.IOC: "IOC", kit.Tif.FOK: "FOK"}
SIDES = {"Buy": kit.Side.BUY, "Sell": kit.Side.SELL}

_STATES = {
    "New": kit.OrderState.OPEN,
    "PartiallyFilled": kit.OrderState.OPEN,
    "Untriggered": kit.OrderState.OPEN,
    "Triggered": kit.OrderState.OPEN,
    "Filled": kit.OrderState.FILLED,
    "Rejected": kit.OrderState.REJECTED,
    "Deactivated": kit.OrderState.CANCELED,
}
_ENDED = frozenset({"Cancelled", "PartiallyFilledCanceled"})  # by whom, other fields say
_BY_US = ("CancelByUser", "EC_PerCancelRequest")
_WOULD_TRADE = "EC_PostOnlyWillTakeLiquidity"
_NOTHING = frozenset({"", "UNKNOWN", "EC_NoError"})  # what a reason is called where there is none

# Executions that are no trades.
_NO_TRADES = frozenset({"Funding", "Settle", "Delivery", "SessionSettlePnL", "MovePosition"})


def number(value: int, decimals: int) -> str:
    """`value` x 10**-`decimals`, plain, without trailing zeros.

    >>> number(6_100_000, 4), number(610, 4), number(1_000, 0)
    ('610', '0.061', '1000')
    """
    if not decimals:
        return str(value)
    text = str(value).rjust(decimals + 1, "0")
    rest = text[-decimals:].rstrip("0")
    return f"{text[:-decimals]}.{rest}" if rest else text[:-decimals]


def placing(order: kit.ChildOrder) -> dict[str, str | int]:
    """An order as `order.create` wants it."""
    instrument, px = order.instrument, order.px
    said: dict[str, str | int] = {
        "category": CATEGORY,
        "symbol": instrument.symbol,
        "side": _SIDE[order.side],
        "orderType": "Market" if px is None else "Limit",
        "qty": number(order.qty, instrument.qty_decimals),
    }
    if px is None:
        said["marketUnit"] = "baseCoin"
    else:
        said["price"] = number(px, instrument.px_decimals)
        said["timeInForce"] = "PostOnly" if order.post_only else _TIF[order.tif]
    said["orderLinkId"] = order.key
    said["isLeverage"] = 0
    said["orderFilter"] = "Order"
    return said


def canceling(instrument: kit.Instrument, key: str, venue_order_id: str) -> dict[str, str | int]:
    """A cancel as `order.cancel` wants it: by our key, which is ours for ever."""
    which = {"orderLinkId": key} if key else {"orderId": venue_order_id}
    return {"category": CATEGORY, "symbol": instrument.symbol, **which}


class Order(Struct, rename="camel"):
    """An order, as the topic and the questions tell it: always how it stands as a whole."""

    order_id: str
    symbol: str
    side: str
    order_status: str
    order_link_id: str = ""
    category: str = CATEGORY  # in answers the whole page says it
    order_type: str = ""
    time_in_force: str = ""
    market_unit: str = ""
    price: str = ""
    qty: str = ""
    cum_exec_qty: str = ""
    cancel_type: str = ""
    reject_reason: str = ""
    updated_time: str = ""


def report(order: Order, instrument: kit.Instrument) -> kit.OrderReport:
    """An order of theirs.  Raises `ValueError` or `KeyError` on a word that is not known."""
    market = order.order_type == "Market"
    px = 0 if market or not order.price else instrument.px(order.price)  # its price is a bound
    reasons = (order.reject_reason, order.cancel_type)
    return kit.OrderReport(
        instrument=instrument,
        key=order.order_link_id,
        venue_order_id=order.order_id,
        state=_state(order),
        cum_qty=instrument.qty(order.cum_exec_qty) if order.cum_exec_qty else None,
        qty=_qty(order, instrument),
        px=px or None,
        side=SIDES[order.side],
        reason=next((reason for reason in reasons if reason not in _NOTHING), ""),
        sent_ns=ms(order.updated_time) * kit.MS,
    )


def _state(order: Order) -> kit.OrderState:
    if order.order_status not in _ENDED:
        return _STATES[order.order_status]
    if order.reject_reason == _WOULD_TRADE:
        return kit.OrderState.REJECTED
    if order.cancel_type == _BY_US[0] or order.reject_reason == _BY_US[1]:
        return kit.OrderState.CANCELED
    told = order.reject_reason not in _NOTHING or order.cancel_type not in _NOTHING
    immediate = order.order_type == "Market" or order.time_in_force in {"IOC", "FOK"}
    return kit.OrderState.EXPIRED if told or immediate else kit.OrderState.CANCELED


def _qty(order: Order, instrument: kit.Instrument) -> int | None:
    """Base ordered; None where the order counts quote (somebody else's: we never do)."""
    in_quote = order.order_type == "Market" and (
        order.market_unit == "quoteCoin" or (order.side == "Buy" and not order.market_unit)
    )
    return None if in_quote or not order.qty else instrument.qty(order.qty)


class Execution(Struct, rename="camel"):
    """One trade of ours, as the topic and the question tell it."""

    symbol: str
    order_id: str
    exec_id: str
    side: str
    exec_price: str
    exec_qty: str
    exec_time: str
    exec_fee: str
    order_link_id: str = ""
    category: str = CATEGORY
    exec_type: str = "Trade"
    fee_currency: str = ""
    is_maker: bool | None = None
    extra_fees: Any = None  # some regions' taxes, beside the fee

    @property
    def is_trade(self) -> bool:
        return self.exec_type not in _NO_TRADES


def fill(told: Execution, instrument: kit.Instrument) -> kit.Fill:
    """A trade; its fee is positive when charged, as the venue has it too."""
    return kit.Fill(
        instrument=instrument,
        key=told.order_link_id,
        venue_order_id=told.order_id,
        trade_id=told.exec_id,
        side=SIDES[told.side],
        px=instrument.px(told.exec_price),
        qty=instrument.qty(told.exec_qty),
        fee=kit.amount(told.exec_fee),
        fee_asset=told.fee_currency,
        maker=told.is_maker,
        sent_ns=ms(told.exec_time) * kit.MS,
    )


class Coin(Struct, rename="camel"):
    """What the wallet holds of a coin; texts may be empty."""

    coin: str
    wallet_balance: str
    locked: str = ""


class Wallet(Struct, rename="camel"):
    """One account's coins: all in an answer, the changed ones in an event."""

    coin: list[Coin]
    account_type: str = "UNIFIED"


def balance(coin: Coin, sent_ns: int = 0) -> kit.Balance:
    """A coin's balance; what is borrowed is negative.  Raises `ValueError`."""
    return kit.Balance(
        asset=coin.coin,
        total=kit.amount(coin.wallet_balance),
        locked=kit.amount(coin.locked) if coin.locked else None,
        sent_ns=sent_ns,
    )


def ms(text: str) -> int:
    """Epoch ms; 0 where it is not told.  Raises `ValueError`."""
    return int(text) if text else 0
