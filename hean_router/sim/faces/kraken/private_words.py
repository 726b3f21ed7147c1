"""Kraken's words for orders, fills and balances: channels, REST rows, rows of the history.

Numbers keep their digits: `Num` is a text that goes on the socket as a bare number.  Costs and
balances are exact and have more than the asset's decimals where a fill makes them (the venue rounds
each; which way is unverified).  Forms: recordings of 2024 and 2026, documentation of 2026.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import orjson

from hean_router.sim.accounts import (
    Accepted,
    Account,
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
from hean_router.sim.contract import SECOND
from hean_router.sim.desk import Outcome
from hean_router.sim.exchange import Exchange, Listing, OrderState, Reason, Side, Tif
from hean_router.sim.faces.kraken.facts import (
    asset_decimals,
    pair_altname,
    pair_key,
    rest_id,
    rfc3339,
)

_USD = frozenset({"USD", "USDT", "USDC"})
_COST_DECIMALS = 5
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_GROUPS = (5, 5, 6)
_IDS = 36 ** sum(_GROUPS)
_STRIDE = 0x9E3779B97F4A7C15F39D  # odd and no multiple of 3: ids never meet
_REASONS = {
    Reason.POST_ONLY: "Post only order",
    Reason.NO_LIQUIDITY: "Immediate or cancel order",
    Reason.FOK: "Fill or kill order",
    Reason.STP: "Self trade prevention",
    Reason.VENUE: "Canceled by system",  # not on record
    Reason.DEADMAN: "Cancel all after timeout",
}
_USER = "User requested"
REFUSALS: Mapping[Why, str] = {
    Why.SYMBOL: "EQuery:Unknown asset pair",
    Why.NOT_TRADING: "EService:Unavailable",
    Why.PX_TICK: "EOrder:Tick size check failed",
    Why.PX_MIN: "EOrder:Invalid price",
    Why.QTY_STEP: "EGeneral:Invalid arguments:volume",
    Why.QTY_MIN: "EOrder:Order minimum not met",
    Why.QTY_MAX: "EGeneral:Invalid arguments:volume",
    Why.NOTIONAL_MIN: "EOrder:Cost minimum not met",
    Why.OPEN_MAX: "EOrder:Orders limit exceeded",
    Why.CLIENT_ID: "EGeneral:Invalid arguments:cl_ord_id not unique",
    Why.FUNDS: "EOrder:Insufficient funds",
    Why.POST_ONLY: "EOrder:Post only order",
    Why.NO_LIQUIDITY: "EOrder:Invalid order",  # not documented
    Why.UNKNOWN_ORDER: "EOrder:Unknown order",
}
"""Refusals of the desk in Kraken's words."""


class Num(str):
    """A number's text with every digit it has."""

    __slots__ = ()


def wire(row: Any) -> Any:
    """A row as `orjson` prints it on a socket: numbers bare."""
    match row:
        case Num():
            return orjson.Fragment(str(row))
        case dict():
            return {name: wire(value) for name, value in row.items()}
        case list():
            return [wire(value) for value in row]
        case _:
            return row


def fixed(value: Decimal, decimals: int) -> Num:
    """At least that many decimals, more if the value has more; never rounded.

    >>> fixed(Decimal("240.0004"), 5), fixed(Decimal("1E+3"), 2)
    ('240.00040', '1000.00')
    """
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int), "a finite number"
    return Num(f"{value:.{max(decimals, -exponent)}f}")


def kraken_id(letter: str, number: int) -> str:
    """An id as Kraken's look, one for each number below 36^16: `OABCDE-12345-FGHIJK`."""
    number = number * _STRIDE % _IDS
    text = ""
    for length in _GROUPS:
        group = ""
        for _ in range(length):
            number, digit = divmod(number, 36)
            group += _LETTERS[digit]
        text += ("-" if text else letter) + group
    return text


def unix(time_ns: int) -> Num:
    """REST's times: seconds with four decimals.

    >>> unix(1_772_445_600_123_456_789)
    '1772445600.1234'
    """
    return Num(f"{time_ns // SECOND}.{time_ns % SECOND // 100_000:04d}")


class Words:
    """Prints what happens to orders."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._index = {symbol: n for n, symbol in enumerate(exchange.listings)}

    def listing(self, order: OrderRecord) -> Listing:
        """The order's pair."""
        return self._exchange.listings[order.symbol]

    def exec_id(self, order: OrderRecord, fill: Fill) -> str:
        """An execution's id: one for each side of each trade."""
        number = (fill.id * 2 + fill.maker) * len(self._index) + self._index[order.symbol]
        return kraken_id("T", number)

    @staticmethod
    def amend_id(outcome: Outcome) -> str:
        """An amendment's id."""
        return kraken_id("T", _IDS // 2 + outcome.events[0].seq)

    # Numbers

    def _px(self, order: OrderRecord, ticks: int) -> Num:
        return Num(self.listing(order).px_text(ticks))

    def _qty(self, order: OrderRecord, lots: int) -> Num:
        return Num(self.listing(order).qty_text(lots))

    def _average(self, order: OrderRecord, now: "_Now") -> Num:
        """Rounded to five decimals, or the pair's if these are more."""
        listing = self.listing(order)
        if not now.filled:
            return Num(listing.px_text(0))
        px = now.cum_quote / listing.qty(now.filled)
        step = Decimal(1).scaleb(-max(_COST_DECIMALS, listing.px_decimals))
        px = px.quantize(step, ROUND_HALF_UP).normalize()
        return fixed(px, listing.px_decimals)

    def _fee_usd(self, order: OrderRecord, fees: Mapping[str, Decimal]) -> Num:
        """Fees in USD, where the quote is as good as that; by the pair's last trade."""
        listing, usd = self.listing(order), Decimal(0)
        if listing.quote in _USD:
            last = self._exchange.last_trade(order.symbol)
            px = listing.px(last.px) if last else Decimal(0)
            usd = sum(
                (fee if asset == listing.quote else fee * px for asset, fee in fees.items()),
                Decimal(0),
            )
        return Num(f"{usd:.4f}")

    @staticmethod
    def fee(asset: str, fee: Decimal) -> Num:
        """A fee with its asset's decimals."""
        return fixed(fee, asset_decimals(asset)[0])

    # The executions channel

    @staticmethod
    def _ids(order: OrderRecord) -> dict[str, Any]:
        ids: dict[str, Any] = {"order_id": order.venue_id}
        if order.client_id:
            ids["cl_ord_id"] = order.client_id
        if order.note["userref"]:
            ids["order_userref"] = order.note["userref"]
        return ids

    def _terms(self, order: OrderRecord, lots: int) -> dict[str, Any]:
        terms = order.terms
        row: dict[str, Any] = {
            **self._ids(order),
            "symbol": order.symbol,
            "side": order.side.value,
            "order_type": order.note["order_type"],
        }
        if terms.quote_qty is not None:
            row["cash_order_qty"] = fixed(terms.quote_qty, _COST_DECIMALS)
        else:
            row["order_qty"] = self._qty(order, lots)
        if order.px is not None:
            row |= {"limit_price": self._px(order, order.px), "limit_price_type": "static"}
        if terms.post_only:
            row["post_only"] = True
        tif = terms.tif if order.px is not None else Tif.GTC
        return row | {"stop_price": Num("0.0"), "time_in_force": tif.value.upper()}

    def events(self, event: Accepted | Filled | Ended | Reduced) -> list[dict[str, Any]]:
        """What `executions` says of an event: a frame for each row.

        A trade always says `partially_filled`; `filled` comes by itself.
        """
        order, now = event.order, _Now.after(event)
        tail = {**self._ids(order), "timestamp": rfc3339(event.time_ns)}
        match event:
            case Accepted():
                pending = {
                    **self._terms(order, order.qty),
                    "cum_cost": fixed(Decimal(0), _COST_DECIMALS),
                    "exec_type": "pending_new",
                    "order_status": "pending_new",
                    "fee_usd_equiv": Num("0.0000"),
                    "fee_ccy_pref": "fcib" if order.note["fee"] == "base" else "fciq",
                    "timestamp": rfc3339(event.time_ns),
                }
                return [pending, {"exec_type": "new", "order_status": "new", **tail}]
            case Filled(fill=fill):
                rows = [self.trade(order, fill)]
                if not fill.leaves:
                    done = {"exec_type": "filled", "order_status": "filled"}
                    rows.append({**done, **self._sums(order, now), **tail})
                return rows
            case Reduced(qty=lots):
                amended: dict[str, Any] = {
                    "exec_type": "amended",
                    "order_status": "partially_filled" if now.filled else "new",
                    "amended": True,
                    "reason": _USER,
                    "order_qty": self._qty(order, lots),
                }
                if order.px is not None:
                    amended["limit_price"] = self._px(order, order.px)
                    amended["limit_price_type"] = "static"
                return [{**amended, "cum_qty": self._qty(order, now.filled), **tail}]
            case Ended():
                reason = self.reason(order)
                ended = {
                    "exec_type": "canceled",
                    "order_status": "canceled",
                    "reason": reason,
                    "cancel_reason": reason,
                }
                return [{**ended, **self._sums(order, now), **tail}]

    @staticmethod
    def reason(order: OrderRecord) -> str:
        """Why it was cancelled.  Only the user's own and post-only's are on record."""
        known = _REASONS.get(order.reason) if order.reason is not None else None
        return known or str(order.note.get("reason", _USER))

    def _sums(self, order: OrderRecord, now: "_Now") -> dict[str, Any]:
        return {
            "cum_qty": self._qty(order, now.filled),
            "cum_cost": fixed(now.cum_quote, _COST_DECIMALS),
            "avg_price": self._average(order, now),
            "fee_usd_equiv": self._fee_usd(order, now.fees),
        }

    def trade(self, order: OrderRecord, fill: Fill) -> dict[str, Any]:
        """A match; recorded ones lack the client id."""
        now = _Now.at(order, fill)
        return {
            "exec_type": "trade",
            "order_status": "partially_filled",
            "exec_id": self.exec_id(order, fill),
            "trade_id": fill.id,
            "symbol": order.symbol,
            "side": fill.side.value,
            "order_type": order.note["order_type"],
            "last_qty": self._qty(order, fill.qty),
            "last_price": self._px(order, fill.px),
            "liquidity_ind": "m" if fill.maker else "t",
            "cost": fixed(fill.quote, _COST_DECIMALS),
            "cum_qty": self._qty(order, fill.cum_qty),
            "cum_cost": fixed(fill.cum_quote, _COST_DECIMALS),
            "avg_price": self._average(order, now),
            "fees": [{"asset": fill.fee_asset, "qty": self.fee(fill.fee_asset, fill.fee)}],
            "fee_usd_equiv": self._fee_usd(order, {fill.fee_asset: fill.fee}),
            "order_id": order.venue_id,
            "timestamp": rfc3339(fill.time_ns),
        }

    def open(self, order: OrderRecord) -> dict[str, Any]:
        """An open order of a snapshot."""
        now = _Now(order.fills)
        return {
            **self._terms(order, order.qty),
            **self._sums(order, now),
            "exec_type": "new",
            "order_status": "partially_filled" if now.filled else "new",
            "fee_ccy_pref": "fcib" if order.note["fee"] == "base" else "fciq",
            "timestamp": rfc3339(order.updated_ns),
        }

    # The balances channel

    @staticmethod
    def balance(asset: str, total: Decimal) -> Num:
        """A balance with at least its asset's decimals."""
        return fixed(total, asset_decimals(asset)[0])

    def balances(self, account: Account) -> list[dict[str, Any]]:
        """The snapshot: everything there is."""
        return [
            {
                "asset": asset,
                "asset_class": "currency",
                "balance": self.balance(asset, balance.total),
                "wallets": [
                    {
                        "type": "spot",
                        "id": "main",
                        "balance": self.balance(asset, balance.total),
                    }
                ],
            }
            for asset, balance in account.balances.items()
            if balance.total
        ]

    def entries(self, event: Filled) -> list[dict[str, Any]]:
        """Ledger entries of a match: base, then quote, each a frame of its own."""
        order, fill = event.order, event.fill
        listing = self.listing(order)
        sign = 1 if fill.side is Side.BUY else -1
        amounts = {listing.base: sign * listing.qty(fill.qty), listing.quote: -sign * fill.quote}
        rows = []
        for index, (asset, amount) in enumerate(amounts.items()):
            fee = fill.fee if fill.fee_asset == asset else Decimal(0)
            rows.append(
                {
                    "ledger_id": kraken_id("L", event.seq * 2 + index),
                    "ref_id": self.exec_id(order, fill),
                    "timestamp": rfc3339(event.time_ns),
                    "type": "trade",
                    "asset": asset,
                    "asset_class": "currency",
                    "category": "trade",
                    "wallet_type": "spot",
                    "wallet_id": "main",
                    "amount": self.balance(asset, amount),
                    "fee": self.balance(asset, fee),
                    "balance": self.balance(asset, fill.totals[asset]),
                }
            )
        return rows

    # REST

    def description(self, order: OrderRecord, lots: int | None = None) -> dict[str, Any]:
        """`descr`; clients read its text."""
        listing, terms = self.listing(order), order.terms
        return describe(listing, terms, order.px, order.qty if lots is None else lots)

    def queried(self, order: OrderRecord, *, trades: bool) -> dict[str, Any]:
        """A row of OpenOrders, ClosedOrders and QueryOrders."""
        listing, now = self.listing(order), _Now(order.fills)
        by_value = order.terms.quote_qty is not None
        status = "open" if order.open else "canceled"
        if order.state is OrderState.FILLED:
            status = "closed"
        value = order.terms.quote_qty or Decimal(0)
        row: dict[str, Any] = {
            "refid": None,
            "userref": order.note["userref"] or None,
            "cl_ord_id": order.client_id or None,
            "status": status,
            "opentm": unix(order.created_ns),
            "starttm": 0,
            "expiretm": 0,
            "descr": self.description(order),
            "vol": f"{value:.8f}" if by_value else listing.qty_text(order.qty),
            "vol_exec": f"{now.cum_quote:.8f}" if by_value else listing.qty_text(now.filled),
            "cost": str(fixed(now.cum_quote, _COST_DECIMALS)),
            "fee": str(fixed(sum(now.fees.values(), Decimal(0)), _COST_DECIMALS)),
            "price": str(self._average(order, now)),
            "stopprice": "0.00000",
            "limitprice": "0.00000",
            "misc": "partial" if order.open and now.filled else "",
            "oflags": ",".join(flags(order.terms)),
        }
        if not order.open:
            filled = order.state is OrderState.FILLED
            row |= {"closetm": unix(order.updated_ns)}
            row["reason"] = None if filled else self.reason(order)
        if trades and order.fills:
            row["trades"] = [self.exec_id(order, fill) for fill in order.fills]
        return row

    def traded(self, order: OrderRecord, fill: Fill) -> dict[str, Any]:
        """A row of TradesHistory."""
        listing = self.listing(order)
        px_decimals = max(_COST_DECIMALS, listing.px_decimals)
        return {
            "ordertxid": order.venue_id,
            "postxid": "TKH2SE-M7IF5-CFI7LT",
            "pair": pair_key(listing),
            "time": unix(fill.time_ns),
            "type": fill.side.value,
            "ordertype": order.note["order_type"],
            "price": listing.px_text(fill.px, px_decimals),
            "cost": str(fixed(fill.quote, _COST_DECIMALS)),
            "fee": str(fixed(fill.fee, _COST_DECIMALS)),
            "vol": listing.qty_text(fill.qty),
            "margin": "0.00000",
            "leverage": "0",
            "misc": "",
            "trade_id": fill.id,
            "maker": fill.maker,
        }

    def held(self, account: Account) -> dict[str, Any]:
        """BalanceEx."""
        return {
            rest_id(asset): {
                "balance": str(self.balance(asset, balance.total)),
                "hold_trade": str(self.balance(asset, balance.locked)),
            }
            for asset, balance in account.balances.items()
            if balance.total
        }

    # History

    def row(self, event: Event | Refused) -> Mapping[str, Any]:
        """An event for the history: what channels say, or would say; a balance with its hold.

        Of an accepted order `pending_new`, of a last match the `trade`.
        """
        if isinstance(event, Refused):
            refusal = event.refusal
            shown: dict[str, Any] = {"why": refusal.why.value}
            if refusal.order is not None:
                shown["order_id"] = refusal.order.venue_id
            if event.terms is not None:
                shown |= _asked(event.terms)
            return shown
        if isinstance(event, BalancesChanged):
            rows = [
                {
                    "asset": asset,
                    "balance": self.balance(asset, change.total),
                    "hold_trade": self.balance(asset, change.locked),
                    "amount": self.balance(asset, change.delta),
                }
                for asset, change in event.changes.items()
            ]
            order_id = event.order.venue_id if event.order else None
            return {"order_id": order_id, "timestamp": rfc3339(event.time_ns), "balances": rows}
        row = self.events(event)[0]
        if isinstance(event, Filled) and event.order.client_id:
            row["cl_ord_id"] = event.order.client_id
        return row


def _asked(terms: Terms) -> dict[str, Any]:
    texts = {"order_qty": terms.qty, "cash_order_qty": terms.quote_qty, "limit_price": terms.px}
    return {
        "symbol": terms.symbol,
        "side": terms.side.value,
        "order_type": terms.note["order_type"],
        "time_in_force": terms.tif.value.upper(),
        **{name: f"{value:f}" for name, value in texts.items() if value is not None},
        "cl_ord_id": terms.client_id,
    }


def flags(terms: Terms) -> Iterable[str]:
    """`oflags`."""
    yield "fcib" if terms.note["fee"] == "base" else "fciq"
    if terms.post_only:
        yield "post"
    if terms.quote_qty is not None:
        yield "viqc"


def describe(listing: Listing, terms: Terms, px: int | None, lots: int) -> dict[str, Any]:
    """`descr` of an order, or of one that is only validated."""
    pair, kind = pair_altname(listing), terms.note["order_type"]
    volume = listing.qty_text(lots)
    if terms.quote_qty is not None:
        volume = f"{terms.quote_qty:.8f}"
    price = "0" if px is None else listing.px_text(px)
    at = kind if px is None else f"{kind} {price}"
    return {
        "pair": pair,
        "type": terms.side.value,
        "ordertype": kind,
        "price": price,
        "price2": "0",
        "leverage": "none",
        "order": f"{terms.side.value} {volume} {pair} @ {at}",
        "close": "",
    }


class _Now:
    """An order's sums after some of its fills."""

    def __init__(self, fills: Sequence[Fill]) -> None:
        self.filled = fills[-1].cum_qty if fills else 0
        self.cum_quote = fills[-1].cum_quote if fills else Decimal(0)
        self.fees: dict[str, Decimal] = {}
        for fill in fills:
            self.fees[fill.fee_asset] = self.fees.get(fill.fee_asset, Decimal(0)) + fill.fee

    @classmethod
    def after(cls, event: Accepted | Filled | Ended | Reduced) -> "_Now":
        """As an event left them."""
        match event:
            case Filled(order=order, fill=fill):
                return cls.at(order, fill)
            case Accepted():
                return cls(())
            case _:
                return cls(event.order.fills)

    @classmethod
    def at(cls, order: OrderRecord, fill: Fill) -> "_Now":
        """After a match; later ones of the same action are not there yet."""
        return cls(order.fills[: order.fills.index(fill) + 1])
