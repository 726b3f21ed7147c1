"""Binance's words for orders, fills and balances: answers, events, rows of the history.

Prices, quantities and amounts have 8 decimals, always.  Sources: documentation of 2026-07-21.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hean_router.sim.accounts import (
    Accepted,
    Account,
    AssetChange,
    BalancesChanged,
    Ended,
    Event,
    Fill,
    Filled,
    OrderRecord,
    Reduced,
    Refused,
    Terms,
)
from hean_router.sim.exchange import OrderState, Reason, Side, Stp
from hean_router.sim.faces.binance.facts import Symbols
from hean_router.sim.faces.binance.feed import Clock, millis

_PLACES = Decimal("0.00000001")
STP_NAMES = {
    Stp.NONE: "NONE",
    Stp.MAKER: "EXPIRE_MAKER",
    Stp.TAKER: "EXPIRE_TAKER",
    Stp.BOTH: "EXPIRE_BOTH",
}
_EXPIRY = {
    Reason.NO_LIQUIDITY: "UNFILLED_IOC_QUANTITY_EXPIRED",
    Reason.FOK: "UNFILLED_FOK_ORDER_EXPIRED",
    Reason.VENUE: "EXCHANGE_CANCELED",
    Reason.DEADMAN: "EXCHANGE_CANCELED",  # spot has no dead man's switch
}
_KEPT_MAX = 1_000
EXECUTION_ID_BASE = 10_000_000_000


def amount(value: Decimal) -> str:
    """An amount with 8 decimals; never rounded (asserted).

    >>> amount(Decimal("61.5"))
    '61.50000000'
    """
    printed = f"{value:.8f}"
    assert Decimal(printed) == value, f"8 decimals do not hold {value}"
    return printed


def status(order: OrderRecord) -> str:
    """An order's status as it is now."""
    if order.open:
        return "PARTIALLY_FILLED" if order.filled else "NEW"
    if order.state is OrderState.EXPIRED and order.reason is Reason.STP:
        return "EXPIRED_IN_MATCH"
    return order.state.value.upper()


def expiry_reason(order: OrderRecord) -> str | None:
    """Why it expired; None if it did not, or by self-trade prevention."""
    if order.state is not OrderState.EXPIRED or order.reason is None:
        return None
    if order.reason is Reason.NO_LIQUIDITY and order.px is None:
        return "INSUFFICIENT_LIQUIDITY"
    return _EXPIRY.get(order.reason)


class Words:
    """Prints what happens to orders of one part."""

    def __init__(self, symbols: Symbols) -> None:
        self._symbols = symbols
        self._written: dict[int, dict[str, Any]] = {}  # of the action under way, by `seq`

    def px(self, order: OrderRecord, ticks: int | None) -> str:
        """A price of the order's listing; a market order has 0."""
        return self._symbols.px(self._symbols.by_name[self.name(order)], ticks or 0)

    def qty(self, order: OrderRecord, lots: int) -> str:
        """A quantity of the order's listing."""
        return self._symbols.qty(self._symbols.by_name[self.name(order)], lots)

    def name(self, order: OrderRecord) -> str:
        """The symbol as Binance spells it."""
        return self._symbols.names[order.symbol]

    # Answers

    def ack(self, order: OrderRecord, now_ns: int, clock: Clock) -> dict[str, Any]:
        """`newOrderRespType=ACK`."""
        return {
            "symbol": self.name(order),
            "orderId": int(order.venue_id),
            "orderListId": -1,
            "clientOrderId": order.client_id,
            "transactTime": clock(now_ns),
        }

    def result(self, order: OrderRecord, now_ns: int, clock: Clock) -> dict[str, Any]:
        """`newOrderRespType=RESULT`."""
        shown = self.ack(order, now_ns, clock) | self._amounts(order)
        if order.px is not None or order.fills:
            shown["workingTime"] = clock(order.created_ns)
        return shown | self._tail(order)

    def full(self, order: OrderRecord, now_ns: int, clock: Clock) -> dict[str, Any]:
        """`newOrderRespType=FULL`: with the fills it had at once."""
        shown = self.result(order, now_ns, clock)
        tail = shown.pop("selfTradePreventionMode")
        shown["fills"] = [
            {
                "price": self.px(order, fill.px),
                "qty": self.qty(order, fill.qty),
                "commission": amount(fill.fee),
                "commissionAsset": fill.fee_asset,
                "tradeId": fill.id,
            }
            for fill in order.fills
        ]
        return {**shown, "selfTradePreventionMode": tail}

    def _amounts(self, order: OrderRecord) -> dict[str, Any]:
        return {
            "price": self.px(order, order.px),
            "origQty": self.qty(order, order.qty),
            "executedQty": self.qty(order, order.filled),
            "origQuoteOrderQty": amount(order.terms.quote_qty or Decimal(0)),
            "cummulativeQuoteQty": amount(order.cum_quote),
            "status": status(order),
            **self._kind(order),
        }

    @staticmethod
    def _kind(order: OrderRecord) -> dict[str, Any]:
        return {
            "timeInForce": order.terms.tif.value.upper(),
            "type": order.note["type"],
            "side": order.side.value.upper(),
        }

    def _tail(self, order: OrderRecord) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if order.state is OrderState.EXPIRED and order.reason is Reason.STP:
            shown["preventedQuantity"] = self.qty(order, order.leaves)
        if (reason := expiry_reason(order)) is not None:
            shown["expiryReason"] = reason
        return {**shown, "selfTradePreventionMode": STP_NAMES[order.stp]}

    def canceled(
        self, order: OrderRecord, original_id: str, now_ns: int, clock: Clock
    ) -> dict[str, Any]:
        """The answer to a cancel: the order has the cancel's client id now."""
        head = {"symbol": self.name(order), "origClientOrderId": original_id}
        return head | self.ack(order, now_ns, clock) | self._amounts(order) | self._tail(order)

    def queried(self, order: OrderRecord, clock: Clock) -> dict[str, Any]:
        """An order as `order.status` and the lists tell it."""
        shown = {
            "symbol": self.name(order),
            "orderId": int(order.venue_id),
            "orderListId": -1,
            "clientOrderId": order.client_id,
            "price": self.px(order, order.px),
            "origQty": self.qty(order, order.qty),
            "executedQty": self.qty(order, order.filled),
            "cummulativeQuoteQty": amount(order.cum_quote),
            "status": status(order),
            **self._kind(order),
            "stopPrice": "0.00000000",
            "icebergQty": "0.00000000",
            "time": clock(order.created_ns),
            "updateTime": clock(order.updated_ns),
            "isWorking": True,
            "workingTime": clock(order.created_ns),
            "origQuoteOrderQty": amount(order.terms.quote_qty or Decimal(0)),
        }
        return shown | self._tail(order)

    def amended(self, order: OrderRecord, original_id: str, clock: Clock) -> dict[str, Any]:
        """`amendedOrder` of the answer to an amendment."""
        return {
            "symbol": self.name(order),
            "orderId": int(order.venue_id),
            "orderListId": -1,
            "origClientOrderId": original_id,
            "clientOrderId": order.client_id,
            "price": self.px(order, order.px),
            "qty": self.qty(order, order.qty),
            "executedQty": self.qty(order, order.filled),
            "preventedQty": "0.00000000",
            "quoteOrderQty": "0.00000000",
            "cumulativeQuoteQty": amount(order.cum_quote),
            "status": status(order),
            **self._kind(order),
            "workingTime": clock(order.created_ns),
            "selfTradePreventionMode": STP_NAMES[order.stp],
        }

    def trade(self, order: OrderRecord, fill: Fill, clock: Clock) -> dict[str, Any]:
        """A fill as `myTrades` tells it."""
        return {
            "symbol": self.name(order),
            "id": fill.id,
            "orderId": int(order.venue_id),
            "orderListId": -1,
            "price": self.px(order, fill.px),
            "qty": self.qty(order, fill.qty),
            "quoteQty": amount(fill.quote),
            "commission": amount(fill.fee),
            "commissionAsset": fill.fee_asset,
            "time": clock(fill.time_ns),
            "isBuyer": fill.side is Side.BUY,
            "isMaker": fill.maker,
            "isBestMatch": True,
        }

    # Events

    def event(
        self, event: Event, clock: Clock, *, counter: OrderRecord | None = None
    ) -> dict[str, Any]:
        """What the account's stream says.  `counter`: the other order of a prevented self-trade."""
        if clock is millis and (written := self._written.pop(event.seq, None)) is not None:
            return written
        if isinstance(event, BalancesChanged):
            return {
                "e": "outboundAccountPosition",
                "E": clock(event.time_ns),
                "u": clock(event.time_ns),
                "B": [_position(asset, change) for asset, change in event.changes.items()],
            }
        return self._report(event, clock, counter)

    def _report(
        self,
        event: Accepted | Filled | Ended | Reduced,
        clock: Clock,
        counter: OrderRecord | None,
    ) -> dict[str, Any]:
        order = event.order
        now = _Now(self, event)
        time = clock(event.time_ns)
        shown: dict[str, Any] = {
            "e": "executionReport",
            "E": time,
            "s": self.name(order),
            "c": now.client_id,
            "S": order.side.value.upper(),
            "o": order.note["type"],
            "f": order.terms.tif.value.upper(),
            "q": now.qty,
            "p": self.px(order, order.px),
            "P": "0.00000000",
            "F": "0.00000000",
            "g": -1,
            "C": now.original_id,
            "x": now.execution,
            "X": now.status,
            "r": "NONE",
            "i": int(order.venue_id),
            "l": self.qty(order, now.fill.qty if now.fill else 0),
            "z": self.qty(order, now.filled),
            "L": self.px(order, now.fill.px if now.fill else 0),
            "n": amount(now.fill.fee) if now.fill else "0",
            "N": now.fill.fee_asset if now.fill else None,
            "T": time,
            "t": now.fill.id if now.fill else -1,
        }
        prevented = isinstance(event, Ended) and event.reason is Reason.STP
        if prevented:
            shown["v"] = event.seq
        shown |= {
            "I": EXECUTION_ID_BASE + event.seq,
            "w": now.working,
            "m": now.fill.maker if now.fill else False,
            "M": False,
            "O": clock(order.created_ns),
            "Z": amount(now.cum_quote),
            "Y": amount(now.fill.quote) if now.fill else "0.00000000",
            "Q": amount(order.terms.quote_qty or Decimal(0)),
            "W": clock(order.created_ns),
            "V": STP_NAMES[order.stp],
        }
        if prevented:
            left = self.qty(order, order.leaves)
            shown |= {"A": left, "B": left}
            if counter is not None and counter is not order:
                shown |= {"u": event.seq, "U": int(counter.venue_id), "Cs": self.name(counter)}
        elif isinstance(event, Ended) and (reason := expiry_reason(order)) is not None:
            shown["eR"] = reason
        return shown

    # History

    def row(self, event: Event | Refused) -> Mapping[str, Any]:
        """An event for the history: what the stream says, or would say."""
        if isinstance(event, Refused):
            refusal = event.refusal
            shown: dict[str, Any] = {"why": refusal.why.value}
            if refusal.order is not None:
                shown["orderId"] = int(refusal.order.venue_id)
            if event.terms is not None:
                shown |= self._asked(event.terms)
            return shown
        shown = self.event(event, millis)
        if len(self._written) > _KEPT_MAX:
            self._written.clear()  # nobody listens
        if not (isinstance(event, Ended) and event.reason is Reason.STP):
            self._written[event.seq] = shown
        return shown

    def _asked(self, terms: Terms) -> dict[str, Any]:
        return {
            "symbol": self._symbols.names.get(terms.symbol, terms.symbol),
            "side": terms.side.value.upper(),
            "type": terms.note.get("type"),
            "timeInForce": terms.tif.value.upper(),
            "quantity": None if terms.qty is None else f"{terms.qty:f}",
            "quoteOrderQty": None if terms.quote_qty is None else f"{terms.quote_qty:f}",
            "price": None if terms.px is None else f"{terms.px:f}",
            "newClientOrderId": terms.client_id,
        }

    def account(self, account: Account, *, omit_zero: bool) -> list[dict[str, str]]:
        """An account's balances."""
        return [
            {"asset": asset, "free": amount(balance.free), "locked": amount(balance.locked)}
            for asset, balance in account.balances.items()
            if balance.total or not omit_zero
        ]


def _position(asset: str, change: AssetChange) -> dict[str, str]:
    return {"a": asset, "f": amount(change.free), "l": amount(change.locked)}


class _Now:
    """An order as it was right after an event; printed before the next engine action happens."""

    def __init__(self, words: Words, event: Accepted | Filled | Ended | Reduced) -> None:
        order = event.order
        self.fill: Fill | None = None
        self.client_id, self.original_id = order.client_id, ""
        lots = order.qty
        self.filled, self.cum_quote = order.filled, order.cum_quote
        self.working = True
        match event:
            case Accepted():
                self.execution = self.status = "NEW"
                self.filled, self.cum_quote = 0, Decimal(0)
            case Filled(fill=fill):
                self.fill = fill
                self.filled, self.cum_quote = fill.cum_qty, fill.cum_quote
                self.execution = "TRADE"
                self.status = "PARTIALLY_FILLED" if fill.leaves else "FILLED"
                self.working = fill.leaves > 0
                lots = fill.cum_qty + fill.leaves
            case Reduced(qty=lots, leaves=leaves):
                self.filled = lots - leaves
                self.execution = "REPLACED"
                self.status = "PARTIALLY_FILLED" if self.filled else "NEW"
                self.original_id = order.note["was"]
            case Ended(state=state, reason=reason):
                prevented = reason is Reason.STP
                self.execution = "TRADE_PREVENTION" if prevented else state.value.upper()
                self.status = "EXPIRED_IN_MATCH" if prevented else state.value.upper()
                self.working = False
                if reason is None:
                    self.original_id = order.note["was"]
        self.qty = words.qty(order, lots)
