"""OKX's words for orders, fills and balances: rows of channels and answers, rows of the history.

All numbers are text without trailing zeros, exact.  `fee` is negative when charged.  Keys of the
`orders` channel come in the order recorded in September 2024.
"""

from collections.abc import Iterable, Mapping
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
from hean_router.sim.exchange import Exchange, Listing, OrderState, Reason, Side, Stp
from hean_router.sim.faces.okx.facts import Symbols, trim

STP_NAMES = {Stp.MAKER: "cancel_maker", Stp.TAKER: "cancel_taker", Stp.BOTH: "cancel_both"}
_SOURCES = {Reason.FOK: "13", Reason.NO_LIQUIDITY: "14", Reason.POST_ONLY: "31", Reason.STP: "32"}
_SOURCES |= {Reason.VENUE: "0", Reason.DEADMAN: "20"}
_SOURCE_TEXTS = {
    "0": "Order was canceled by system",
    "1": "Order was canceled by the user.",
    "13": "FOK order was canceled due to incompletely filled",
    "14": "The IOC order was partially canceled due to incompletely filled",
    "20": "Cancel all after triggered",
    "31": "The post-only order will take liquidity in maker orders",
    "32": "Self trade prevention",
}
_USD = frozenset({"USDT", "USDC", "USD"})
_AVERAGE = Context(prec=16)
BILL_ID_BASE = 1_750_000_000_000_000_000

REFUSALS: Mapping[Why, tuple[int, str]] = {
    Why.SYMBOL: (51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist."),
    Why.NOT_TRADING: (51022, "Instrument suspended"),
    Why.PX_TICK: (51000, "Parameter px error"),
    Why.PX_MIN: (51000, "Parameter px error"),
    Why.PX_BAND: (51006, "Order price is not within the price limit"),
    Why.QTY_STEP: (51121, "Order quantity must be a multiple of the lot size."),
    Why.QTY_MIN: (51020, "Your order should meet or exceed the minimum order amount."),
    Why.QTY_MAX: (51005, "Your order amount exceeds the max order amount."),
    Why.OPEN_MAX: (51025, "Order count exceeds the limit"),
    Why.CLIENT_ID: (51016, "Client order ID already exists."),
    Why.FUNDS: (51008, "Order failed. Insufficient {asset} balance in account"),
    Why.NO_LIQUIDITY: (51131, "Insufficient balance"),
}
"""Refusals of the desk in OKX's words.

What a market order meets in an empty book is not documented; the nearest refusal is answered.
"""


def num(value: Decimal) -> str:
    """A number as OKX prints it.

    >>> num(Decimal("-0.010")), num(Decimal("1E+3")), num(Decimal("-0.0"))
    ('-0.01', '1000', '0')
    """
    return trim(f"{value:f}") if value else "0"


def ms(time_ns: int) -> str:
    """A time in milliseconds, as text."""
    return str(time_ns // MS)


class Words:
    """Prints what happens to orders."""

    def __init__(self, exchange: Exchange, symbols: Symbols) -> None:
        self._exchange = exchange
        self._symbols = symbols

    def listing(self, order: OrderRecord) -> Listing:
        """The order's instrument."""
        return self._exchange.listings[order.symbol]

    def inst_id(self, order: OrderRecord) -> str:
        """Its name at OKX."""
        return self._symbols.ids[order.symbol]

    # Orders

    def _shared(self, order: OrderRecord, now: "_Now") -> dict[str, Any]:
        """What channel and answers tell alike."""
        listing = self.listing(order)
        buy = order.side is Side.BUY
        return {
            "instType": "SPOT",
            "instId": self.inst_id(order),
            "tgtCcy": order.note["tgtCcy"],
            "ccy": "",
            "ordId": order.venue_id,
            "clOrdId": order.client_id,
            "algoClOrdId": "",
            "algoId": "",
            "tag": order.note["tag"],
            "px": "" if order.px is None else trim(listing.px_text(order.px)),
            "sz": self._size(order, listing, now.lots),
            "ordType": order.note["ordType"],
            "side": order.side.value,
            "posSide": "",
            "tdMode": "cash",
            "accFillSz": trim(listing.qty_text(now.filled)),
            "state": now.state,
            "lever": "",
            "pnl": "0",
            "feeCcy": now.fee_asset or (listing.base if buy else listing.quote),
            "fee": num(-now.fee),
            "rebateCcy": listing.quote if buy else listing.base,
            "rebate": "0",
            "category": "normal",
            "uTime": ms(now.time_ns),
            "cTime": ms(order.created_ns),
            "source": "",
            "reduceOnly": "false",
            "cancelSource": now.cancel_source,
            "quickMgnType": "",
            "stpId": "",
            "stpMode": STP_NAMES[order.stp],
            "attachAlgoClOrdId": "",
            "isTpLimit": "false",
            "slTriggerPx": "",
            "slTriggerPxType": "",
            "tpOrdPx": "",
            "tpTriggerPx": "",
            "tpTriggerPxType": "",
            "slOrdPx": "",
            "pxType": "",
            "pxUsd": "",
            "pxVol": "",
            "linkedAlgoOrd": {"algoId": ""},
            "attachAlgoOrds": [],
        }

    @staticmethod
    def _size(order: OrderRecord, listing: Listing, lots: int) -> str:
        """As asked for; of a market order also where it was silently made smaller."""
        terms = order.terms
        if terms.quote_qty is not None:
            return num(terms.quote_qty)
        if order.px is None and terms.qty is not None:
            return num(terms.qty)
        return trim(listing.qty_text(lots))

    @staticmethod
    def _average(listing: Listing, now: "_Now") -> Decimal:
        if not now.filled:
            return Decimal(0)
        return _AVERAGE.divide(now.cum_quote, listing.qty(now.filled))

    def _value(self, listing: Listing, value: Decimal | None) -> str:
        """In USD, where the quote is as good as that."""
        return num(value) if value is not None and listing.quote in _USD else ""

    def pushed(self, order: OrderRecord, now: "_Now") -> dict[str, Any]:
        """A row of the `orders` channel: `fill…` are of this event alone."""
        listing = self.listing(order)
        fill = now.fill
        last = self._exchange.last_trade(order.symbol)
        asked = order.terms.quote_qty
        if asked is None and order.px is not None:
            asked = listing.notional(order.px, now.lots)
        done = now.cum_quote if now.filled else None
        return {
            **self._shared(order, now),
            "notionalUsd": self._value(listing, asked),
            "fillNotionalUsd": self._value(listing, done),
            "avgPx": num(self._average(listing, now)),
            "lastPx": trim(listing.px_text(last.px)) if last else "",
            "fillPx": trim(listing.px_text(fill.px)) if fill else "",
            "tradeId": str(fill.id) if fill else "",
            "fillSz": trim(listing.qty_text(fill.qty)) if fill else "0",
            "fillTime": ms(fill.time_ns) if fill else "",
            "fillPnl": "0",
            "fillFee": num(-fill.fee) if fill else "0",
            "fillFeeCcy": fill.fee_asset if fill else "",
            "execType": _liquidity(fill),
            "fillPxVol": "",
            "fillPxUsd": "",
            "fillMarkVol": "",
            "fillFwdPx": "",
            "fillMarkPx": "",
            "amendSource": "1" if now.amended else "",
            "reqId": order.note.get("reqId", "") if now.amended else "",
            "amendResult": "0" if now.amended else "",
            "code": "0",
            "msg": "",
        }

    def queried(self, order: OrderRecord) -> dict[str, Any]:
        """A row of REST's answers: `fill…` are of the last fill."""
        listing, now = self.listing(order), _Now.latest(order)
        fill = order.fills[-1] if order.fills else None
        return {
            **self._shared(order, now),
            "avgPx": num(self._average(listing, now)) if fill else "",
            "fillPx": trim(listing.px_text(fill.px)) if fill else "",
            "fillSz": trim(listing.qty_text(fill.qty)) if fill else "0",
            "tradeId": str(fill.id) if fill else "",
            "fillTime": ms(fill.time_ns) if fill else "",
            "cancelSourceReason": _SOURCE_TEXTS.get(now.cancel_source, ""),
            "tradeQuoteCcy": listing.quote,
        }

    def events(self, event: Accepted | Filled | Ended | Reduced) -> list[dict[str, Any]]:
        """What the channel says of an event: one row, or two.

        A market buy by value that keeps some change is `partially_filled` by its last match; a row
        without a match then says that it is `filled` (recorded).
        """
        order = event.order
        now = _Now.after(event)
        rest = order.terms.quote_qty
        if now.state == "filled" and now.fill and rest is not None and now.cum_quote < rest:
            now.state = "partially_filled"
            rows = [self.pushed(order, now)]
            now.state, now.fill = "filled", None
            return [*rows, self.pushed(order, now)]
        return [self.pushed(order, now)]

    def fill(self, account: Account, index: int) -> dict[str, Any]:
        """A row of `fills`; `index` is the fill's place in the account's."""
        order, fill = account.fills[index]
        listing = self.listing(order)
        rate = listing.maker_fee_e8 if fill.maker else listing.taker_fee_e8
        return {
            "instType": "SPOT",
            "instId": self.inst_id(order),
            "tradeId": str(fill.id),
            "ordId": order.venue_id,
            "clOrdId": order.client_id,
            "billId": str(BILL_ID_BASE + index),
            "subType": "1" if fill.side is Side.BUY else "2",
            "tag": order.note["tag"],
            "fillPx": trim(listing.px_text(fill.px)),
            "fillSz": trim(listing.qty_text(fill.qty)),
            "fillIdxPx": "",
            "fillPnl": "0",
            "fillPxVol": "",
            "fillPxUsd": "",
            "fillMarkVol": "",
            "fillFwdPx": "",
            "fillMarkPx": "",
            "side": fill.side.value,
            "posSide": "net",
            "execType": _liquidity(fill),
            "feeCcy": fill.fee_asset,
            "fee": num(-fill.fee),
            "feeRate": num(Decimal(-rate).scaleb(-8)),
            "fillTime": ms(fill.time_ns),
            "ts": ms(fill.time_ns),
            "tradeQuoteCcy": listing.quote,
        }

    # Balances

    def balances(self, account: Account, assets: Iterable[str] | None, now_ns: int) -> Any:
        """`data[0]` of the balance answer and of the `account` channel.

        `assets` None: all that are not zero.
        """
        names = list(account.balances) if assets is None else list(assets)
        rows = [
            self._detail(name, balance.total, balance.locked, now_ns)
            for name in names
            for balance in [account.balance(name)]
            if assets is not None or balance.total
        ]
        return {
            "adjEq": "",
            "availEq": "",
            "borrowFroz": "",
            "details": rows,
            "imr": "",
            "isoEq": "",
            "mgnRatio": "",
            "mmr": "",
            "notionalUsd": "",
            "ordFroz": "",
            "totalEq": self._worth(account),
            "uTime": ms(now_ns),
            "upl": "",
        }

    def _usd_px(self, asset: str) -> Decimal | None:
        """What an asset is worth, by its own listing; None if none tells."""
        if asset in _USD:
            return Decimal(1)
        for listing in self._exchange.listings.values():
            if listing.base == asset and listing.quote in _USD:
                last = self._exchange.last_trade(listing.symbol)
                best = self._exchange.best(listing.symbol, Side.BUY)
                if last or best:
                    return listing.px(last.px if last else best.px if best else 0)
        return None

    def _worth(self, account: Account) -> str:
        worth = Decimal(0)
        for asset, balance in account.balances.items():
            px = self._usd_px(asset)
            worth += balance.total * px if px is not None else 0
        return num(worth)

    def _detail(self, asset: str, total: Decimal, locked: Decimal, now_ns: int) -> dict[str, Any]:
        px = self._usd_px(asset)
        return {
            "accAvgPx": "",
            "availBal": num(total - locked),
            "availEq": "",
            "borrowFroz": "",
            "cashBal": num(total),
            "ccy": asset,
            "crossLiab": "",
            "disEq": "0",
            "eq": num(total),
            "eqUsd": "" if px is None else num(total * px),
            "fixedBal": "0",
            "frozenBal": num(locked),
            "imr": "",
            "interest": "",
            "isoEq": "",
            "isoLiab": "",
            "isoUpl": "",
            "liab": "",
            "maxLoan": "",
            "mgnRatio": "",
            "mmr": "",
            "notionalLever": "",
            "ordFrozen": num(locked),
            "spotInUseAmt": "",
            "stgyEq": "0",
            "twap": "0",
            "uTime": ms(now_ns),
            "upl": "",
            "uplLiab": "",
        }

    # History

    def row(self, event: Event | Refused) -> Mapping[str, Any]:
        """An event for the history: what channels say, or would say.

        Of a market buy by value the row of its last match says `filled` already: the history has
        one row for each event.
        """
        if isinstance(event, Refused):
            refusal = event.refusal
            shown: dict[str, Any] = {"why": refusal.why.value}
            if refusal.why in REFUSALS:
                shown["sCode"] = str(REFUSALS[refusal.why][0])
            if refusal.order is not None:
                shown["ordId"] = refusal.order.venue_id
            if event.terms is not None:
                shown |= self._asked(event.terms)
            return shown
        if isinstance(event, BalancesChanged):
            return {
                "ordId": event.order.venue_id if event.order else "",
                "details": [_changed(asset, change) for asset, change in event.changes.items()],
                "uTime": ms(event.time_ns),
            }
        return self.pushed(event.order, _Now.after(event))

    def _asked(self, terms: Terms) -> dict[str, Any]:
        size = terms.qty if terms.qty is not None else terms.quote_qty
        return {
            "instId": self._symbols.ids.get(terms.symbol, terms.symbol),
            "side": terms.side.value,
            "ordType": terms.note["ordType"],
            "tgtCcy": terms.note["tgtCcy"],
            "sz": None if size is None else num(size),
            "px": None if terms.px is None else num(terms.px),
            "clOrdId": terms.client_id,
        }


def _changed(asset: str, change: AssetChange) -> dict[str, str]:
    return {
        "ccy": asset,
        "cashBal": num(change.total),
        "availBal": num(change.free),
        "frozenBal": num(change.locked),
        "balChg": num(change.delta),
    }


def _liquidity(fill: Fill | None) -> str:
    """`execType`: maker, taker, or no fill."""
    return "" if fill is None else "M" if fill.maker else "T"


class _Now:
    """An order as it was right after an event; printed before the next engine action happens."""

    def __init__(self, order: OrderRecord, time_ns: int) -> None:
        self.time_ns = time_ns
        self.fill: Fill | None = None
        self.amended = False
        self.cancel_source = ""
        self.lots = order.qty
        self.filled, self.cum_quote = order.filled, order.cum_quote
        self.fee_asset = order.fills[-1].fee_asset if order.fills else ""
        self.fee = sum(order.fees.values(), Decimal(0))
        self.state = "partially_filled" if order.filled else "live"

    @classmethod
    def latest(cls, order: OrderRecord) -> "_Now":
        """As it is."""
        now = cls(order, order.updated_ns)
        if order.state is OrderState.FILLED:
            now.state = "filled"
        elif not order.open:
            now._end(order)
        return now

    @classmethod
    def after(cls, event: Accepted | Filled | Ended | Reduced) -> "_Now":
        """As the event left it."""
        order = event.order
        now = cls(order, event.time_ns)
        match event:
            case Accepted():
                now.filled, now.cum_quote, now.fee = 0, Decimal(0), Decimal(0)
                now.fee_asset, now.state = "", "live"
            case Filled(fill=fill):
                now.fill, now.fee_asset = fill, fill.fee_asset
                now.filled, now.cum_quote = fill.cum_qty, fill.cum_quote
                # Fees of later matches of the same action are not charged yet.
                upto = order.fills.index(fill) + 1
                now.fee = sum((each.fee for each in order.fills[:upto]), Decimal(0))
                now.state = "partially_filled" if fill.leaves else "filled"
                now.lots = fill.cum_qty + fill.leaves
            case Reduced(qty=lots, leaves=leaves):
                now.amended = True
                now.lots, now.filled = lots, lots - leaves
                now.state = "partially_filled" if now.filled else "live"
            case Ended():
                now._end(order)
        return now

    def _end(self, order: OrderRecord) -> None:
        self.state = "canceled"
        known = _SOURCES.get(order.reason) if order.reason is not None else None
        self.cancel_source = known or order.note.get("cancelSource", "1")
