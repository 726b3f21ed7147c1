"""Bybit's words for orders, fills and balances: rows of topics and answers, rows of the history.

All numbers are text without trailing zeros.  Keys of an order come as recorded in November 2024,
without those of positions and triggers that spot orders do not use.  Ended orders have no leaves.
"""

from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
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
    Why,
)
from hean_router.sim.contract import MS
from hean_router.sim.exchange import Listing, OrderState, Reason, Side, Stp
from hean_router.sim.faces.bybit.facts import Instrument, Instruments, plain

SMP_NAMES = {
    Stp.NONE: "None",
    Stp.MAKER: "CancelMaker",
    Stp.TAKER: "CancelTaker",
    Stp.BOTH: "CancelBoth",
}
_REASONS = {
    Reason.FOK: "EC_CancelForNoFullFill",
    Reason.NO_LIQUIDITY: "EC_NoImmediateQtyToFill",
    Reason.POST_ONLY: "EC_PostOnlyWillTakeLiquidity",
    Reason.STP: "EC_BySelfMatch",
    Reason.VENUE: "EC_Others",
    Reason.DEADMAN: "EC_Others",
}
_CANCEL_TYPES = {
    Reason.STP: "CancelBySmp",
    Reason.VENUE: "CancelByAdmin",
    Reason.DEADMAN: "CancelByDCP",
}
_USD = frozenset({"USDT", "USDC", "USD"})
_AVERAGE = Context(prec=16)
_ZERO = Decimal(0)
_EXEC_ID_BASE = 2_100_000_000_000_000_000

REFUSALS: Mapping[Why, tuple[int, str]] = {
    Why.SYMBOL: (170121, "Invalid symbol."),
    Why.NOT_TRADING: (170151, "This trading pair is not available for API trading."),
    Why.PX_TICK: (170134, "Order price has too many decimals."),
    Why.PX_MIN: (170133, "Order price lower than the minimum."),
    Why.PX_MAX: (170132, "Order price too high."),
    Why.PX_BAND: (170193, "Order price is beyond the limit."),
    Why.QTY_STEP: (170137, "Order volume decimal too long"),
    Why.QTY_MIN: (170136, "Order quantity exceeded lower limit."),
    Why.QTY_MAX: (170124, "Order amount too large."),
    Why.NOTIONAL_MIN: (170140, "Order value exceeded lower limit."),
    Why.NOTIONAL_MAX: (170124, "Order amount too large."),
    Why.OPEN_MAX: (170810, "Cannot exceed maximum of 500 conditional, TP/SL and active orders."),
    Why.CLIENT_ID: (170141, "Duplicate clientOrderId"),
    Why.FUNDS: (170131, "Insufficient balance."),
    Why.POST_ONLY: (170218, "The LIMIT-MAKER order is rejected due to invalid price."),
    Why.NO_LIQUIDITY: (170210, "New order rejected."),
    Why.UNKNOWN_ORDER: (170213, "Order does not exist."),
    Why.NO_CHANGE: (170312, "Order modification unavailable for this order."),
}
"""Refusals of the desk in Bybit's words."""


def num(value: Decimal) -> str:
    """A number as Bybit prints it.

    >>> num(Decimal("0.010")), num(Decimal("1E+3")), num(Decimal("0E-9"))
    ('0.01', '1000', '0')
    """
    return plain(value) if value else "0"


def ms(time_ns: int) -> str:
    """A time in milliseconds, as text."""
    return str(time_ns // MS)


class Words:
    """Prints what happens to orders.

    `last_px` tells a listing's last price, for what balances are worth.
    """

    def __init__(
        self, instruments: Instruments, last_px: Callable[[Listing], Decimal | None]
    ) -> None:
        self._instruments = instruments
        self._last_px = last_px

    def instrument(self, order: OrderRecord) -> Instrument:
        """What the order trades."""
        return self._instruments.by_symbol[order.symbol]

    # Orders

    def now(self, order: OrderRecord) -> dict[str, Any]:
        """The order as it is."""
        return self._order(order, _Now.latest(order))

    def after(self, event: Accepted | Filled | Ended | Reduced) -> dict[str, Any]:
        """The order as an event left it."""
        return self._order(event.order, _Now.after(event))

    def late_cancel(self, order: OrderRecord) -> dict[str, Any]:
        """A filled order once more, for a cancel that lost the race (recorded)."""
        return {**self.now(order), "rejectReason": "EC_OrigClOrdIDDoesNotExist"}

    def _order(self, order: OrderRecord, now: "_Now") -> dict[str, Any]:
        instrument, terms = self.instrument(order), order.terms
        listing = instrument.listing
        asked = terms.quote_qty if terms.quote_qty is not None else terms.qty
        if order.px is not None:
            asked = listing.qty(now.lots)
        assert asked is not None, "by quantity or by value"
        leaves = listing.qty(now.lots - now.filled) if now.open else _ZERO
        px = listing.px(order.px) if order.px is not None else order.note["price"]
        market = order.px is None
        average = _AVERAGE.divide(now.cum_quote, listing.qty(now.filled)) if now.filled else None
        return {
            "category": "spot",
            "symbol": instrument.name,
            "orderId": order.venue_id,
            "orderLinkId": order.client_id,
            "blockTradeId": "",
            "side": _side(order.side),
            "positionIdx": 0,
            "orderStatus": now.status,
            "cancelType": now.cancel_type,
            "rejectReason": now.reject_reason,
            "timeInForce": order.note["timeInForce"],
            "isLeverage": "0",
            "price": num(px),
            "qty": num(asked),
            "avgPrice": "" if average is None else num(average),
            "leavesQty": num(leaves),
            "leavesValue": num(_ZERO if market else leaves * px),
            "cumExecQty": instrument.qty(now.filled),
            "cumExecValue": num(now.cum_quote),
            "cumExecFee": num(sum(now.fees.values(), _ZERO)),
            "cumFeeDetail": {asset: num(fee) for asset, fee in now.fees.items()},
            "orderType": "Market" if market else "Limit",
            "stopOrderType": "",
            "triggerPrice": "",
            "triggerBy": "",
            "triggerDirection": 0,
            "placeType": "",
            "lastPriceOnCreated": order.note["lastPrice"],
            "closeOnTrigger": False,
            "reduceOnly": False,
            "smpGroup": 0,
            "smpType": SMP_NAMES[order.stp],
            "smpOrderId": order.note.get("smpOrderId", ""),
            "createType": "CreateByUser",
            "marketUnit": order.note["marketUnit"],
            "createdTime": ms(order.created_ns),
            "updatedTime": ms(now.time_ns),
            "feeCurrency": "",
            "closedPnl": "0",
            "extraFees": "",
        }

    # Fills

    def exec_id(self, fill: Fill) -> str:
        """One id for each side of each match of each symbol."""
        number = self._instruments.by_symbol[fill.symbol].number
        assert number < 256, "ids leave room for so many"
        return str(_EXEC_ID_BASE + fill.id * 512 + number * 2 + fill.maker)

    def fill(self, order: OrderRecord, fill: Fill) -> dict[str, Any]:
        """A row of `execution`."""
        instrument = self.instrument(order)
        listing = instrument.listing
        rate = listing.maker_fee_e8 if fill.maker else listing.taker_fee_e8
        now = self.now(order)
        return {
            "category": "spot",
            "symbol": instrument.name,
            "closedSize": "",
            "execFee": num(fill.fee),
            "execId": self.exec_id(fill),
            "execPrice": instrument.px(fill.px),
            "execQty": instrument.qty(fill.qty),
            "execType": "Trade",
            "execValue": num(fill.quote),
            "feeRate": num(Decimal(rate).scaleb(-8)),
            "feeCurrency": fill.fee_asset,
            "tradeIv": "",
            "markIv": "",
            "blockTradeId": "",
            "markPrice": "",
            "indexPrice": "",
            "underlyingPrice": "",
            "leavesQty": instrument.qty(fill.leaves),
            "orderId": order.venue_id,
            "orderLinkId": order.client_id,
            "orderPrice": now["price"],
            "orderQty": now["qty"],
            "orderType": now["orderType"],
            "stopOrderType": "",
            "side": _side(fill.side),
            "execTime": ms(fill.time_ns),
            "isLeverage": "0",
            "isMaker": fill.maker,
            "seq": fill.id,
            "marketUnit": now["marketUnit"],
            "execPnl": "0",
            "createType": "CreateByUser",
            "extraFees": "",
        }

    def fast(self, order: OrderRecord, fill: Fill) -> dict[str, Any]:
        """A row of `execution.fast`: no fee, and of a maker no `orderLinkId`."""
        row = self.fill(order, fill)
        row["orderLinkId"] = "" if fill.maker else row["orderLinkId"]
        return {name: row[name] for name in _FAST}

    # Balances

    def wallet(self, account: Account, amounts: Mapping[str, tuple[Decimal, Decimal]]) -> Any:
        """The account with these assets' totals and what is locked of them."""
        worth = available = _ZERO
        for asset, balance in account.balances.items():
            px = self._usd_px(asset) or _ZERO
            worth += balance.total * px
            available += balance.free * px
        total, free = _usd(worth), _usd(available)
        return {
            "accountType": "UNIFIED",
            "accountIMRate": "0",
            "accountMMRate": "0",
            "accountLTV": "0",
            "totalEquity": total,
            "totalWalletBalance": total,
            "totalMarginBalance": total,
            "totalAvailableBalance": free,
            "totalPerpUPL": "0",
            "totalInitialMargin": "0",
            "totalMaintenanceMargin": "0",
            "coin": [self._coin(asset, *each) for asset, each in amounts.items()],
        }

    def _coin(self, asset: str, total: Decimal, locked: Decimal) -> dict[str, Any]:
        px = self._usd_px(asset)
        return {
            "coin": asset,
            "equity": num(total),
            "usdValue": "" if px is None else _usd(total * px),
            "walletBalance": num(total),
            "availableToWithdraw": "",
            "availableToBorrow": "",
            "borrowAmount": "0",
            "accruedInterest": "0",
            "totalOrderIM": "0",
            "totalPositionIM": "0",
            "totalPositionMM": "0",
            "unrealisedPnl": "0",
            "cumRealisedPnl": "0",
            "bonus": "0",
            "collateralSwitch": True,
            "marginCollateral": True,
            "locked": num(locked),
            "spotHedgingQty": "0",
            "spotBorrow": "0",
        }

    def _usd_px(self, asset: str) -> Decimal | None:
        """What an asset is worth, by its own listing; None if none tells."""
        if asset in _USD:
            return Decimal(1)
        for instrument in self._instruments.by_symbol.values():
            listing = instrument.listing
            if listing.base == asset and listing.quote in _USD:
                return self._last_px(listing)
        return None

    # History

    def row(self, event: Event | Refused) -> Mapping[str, Any]:
        """An event for the history: what topics say, or would say."""
        if isinstance(event, Refused):
            return self._refused(event)
        if isinstance(event, BalancesChanged):
            return {
                "orderId": event.order.venue_id if event.order else "",
                "coin": [_changed(asset, change) for asset, change in event.changes.items()],
                "updatedTime": ms(event.time_ns),
            }
        if isinstance(event, Filled):
            return self.fill(event.order, event.fill)
        return self.after(event)

    def _refused(self, event: Refused) -> dict[str, Any]:
        refusal = event.refusal
        shown: dict[str, Any] = {"why": refusal.why.value}
        shown["retCode"] = REFUSALS[refusal.why][0]
        if refusal.order is not None:
            shown["orderId"] = refusal.order.venue_id
        return {**shown, **self._asked(event.terms)} if event.terms is not None else shown

    def _asked(self, terms: Terms) -> dict[str, Any]:
        size = terms.qty if terms.qty is not None else terms.quote_qty
        return {
            "symbol": self._instruments.by_symbol[terms.symbol].name,
            "side": _side(terms.side),
            "orderType": "Market" if terms.px is None else "Limit",
            "timeInForce": terms.note["timeInForce"],
            "marketUnit": terms.note["marketUnit"],
            "qty": "" if size is None else num(size),
            "price": "" if terms.px is None else num(terms.px),
            "orderLinkId": terms.client_id,
        }


_FAST = (
    "category",
    "symbol",
    "execId",
    "execPrice",
    "execQty",
    "orderId",
    "isMaker",
    "orderLinkId",
    "side",
    "execTime",
    "seq",
)


def amounts(account: Account, assets: Iterable[str]) -> dict[str, tuple[Decimal, Decimal]]:
    """Total of each asset, and what is locked of it."""
    found = {asset: account.balances[asset] for asset in assets if asset in account.balances}
    return {asset: (balance.total, balance.locked) for asset, balance in found.items()}


def _side(side: Side) -> str:
    return "Buy" if side is Side.BUY else "Sell"


def _usd(value: Decimal) -> str:
    return num(value.quantize(Decimal("1e-8"), "ROUND_DOWN"))


def _changed(asset: str, change: AssetChange) -> dict[str, str]:
    return {
        "coin": asset,
        "walletBalance": num(change.total),
        "locked": num(change.locked),
        "free": num(change.free),
        "change": num(change.delta),
    }


class _Now:
    """An order as it was right after an event; printed before the next engine action happens."""

    def __init__(self, order: OrderRecord, time_ns: int) -> None:
        self.order = order
        self.time_ns = time_ns
        self.open = True
        self.lots = order.qty
        self.filled, self.cum_quote = order.filled, order.cum_quote
        self.fees: Mapping[str, Decimal] = order.fees
        self.status = "PartiallyFilled" if order.filled else "New"
        self.cancel_type, self.reject_reason = "UNKNOWN", "EC_NoError"

    @classmethod
    def latest(cls, order: OrderRecord) -> "_Now":
        """As it is."""
        now = cls(order, order.updated_ns)
        if order.state is OrderState.FILLED:
            now._fill()
        elif not order.open:
            now._end()
        return now

    @classmethod
    def after(cls, event: Accepted | Filled | Ended | Reduced) -> "_Now":
        """As the event left it."""
        order = event.order
        now = cls(order, event.time_ns)
        match event:
            case Accepted():
                now.filled, now.cum_quote, now.fees, now.status = 0, _ZERO, {}, "New"
            case Filled(fill=fill):
                now.filled, now.cum_quote = fill.cum_qty, fill.cum_quote
                now.lots = fill.cum_qty + fill.leaves
                now.fees = _fees_until(order, fill)
                now.status = "PartiallyFilled"
                if fill.leaves == 0:
                    now._fill()
            case Reduced(qty=lots, leaves=leaves):
                now.lots, now.filled = lots, lots - leaves
                now.status = "PartiallyFilled" if now.filled else "New"
            case Ended():
                now._end()
        return now

    def _fill(self) -> None:
        """Done; a market order by value that keeps some change could not spend it."""
        self.open, self.status = False, "Filled"
        asked = self.order.terms.quote_qty
        if asked is not None and self.cum_quote < asked:
            self.status = "PartiallyFilledCanceled"
            self.reject_reason = "EC_NoImmediateQtyToFill"

    def _end(self) -> None:
        self.open = False
        self.status = "PartiallyFilledCanceled" if self.filled else "Cancelled"
        reason = self.order.reason
        if reason is None:
            self.cancel_type, self.reject_reason = "CancelByUser", "EC_PerCancelRequest"
            return
        self.reject_reason = _REASONS[reason]
        self.cancel_type = _CANCEL_TYPES.get(reason, self.cancel_type)


def _fees_until(order: OrderRecord, last: Fill) -> dict[str, Decimal]:
    """Fees up to a match: later matches of the same action are not charged yet."""
    fees: dict[str, Decimal] = {}
    for fill in order.fills[: order.fills.index(last) + 1]:
        fees[fill.fee_asset] = fees.get(fill.fee_asset, _ZERO) + fill.fee
    return fees
