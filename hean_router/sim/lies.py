"""What a venue may tell an account that is not so: `fault_spec.ORDERS`' `lie`, venue by venue.

A lie is one more row, made from one that was just told and is true.  The accounts and the rest of
the history know nothing of it; the history has a row `"what":"lie"` of its own, with the way under
`"lie"` and what was told under `"data"`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias

from hean_router.sim.desk import Desk
from hean_router.sim.order_faults import OrderFaults

WAYS = ("overfill", "negative", "free", "rebate", "stranger", "falling", "balance")
"""A fill of more than the order; of a negative quantity; at price 0; with a fee that is a huge
rebate; of an order nobody knows; a cumulative quantity that falls; a balance that is not so."""

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Dialect:
    """Where a venue's rows of fills have what lies are told about.

    `trade` names the trade's id, `order` and `client` the order's.  `cum` is empty where fills are
    told without it; `order_cum` then names it in rows of orders.  `fee` makes a row with another
    fee, of the sign that a charge has there.
    """

    trade: str
    order: str
    client: str
    qty: str
    px: str
    cum: str
    order_cum: str
    fee: Callable[[Row, Decimal], Row]
    balance: Callable[[Row], Row | None]
    another: Callable[[Any], Any]
    """An id of that form that nobody has."""

    def filled(self, row: Row) -> bool:
        """Whether a row is of a fill."""
        return row.get(self.trade) not in (None, "", -1) and self._number(row, self.qty) > 0

    @staticmethod
    def _number(row: Row, name: str) -> Decimal:
        return Decimal(str(row.get(name) or 0))

    def ways(self, row: Row) -> tuple[str, ...]:
        """How this row can be told otherwise."""
        found = WAYS[:5] if self.filled(row) else ()
        cum = self.cum or self.order_cum
        if self._number(row, cum) > 0:
            found = (*found, "falling")
        if self.balance(row) is not None:
            found = (*found, "balance")
        return found

    def told(self, row: Row, way: str) -> Row:
        """The row, otherwise.  One trade is never told twice: a false fill has an id of its own."""
        if way == "balance":
            lie = self.balance(row)
            assert lie is not None, "one of `ways`"
            return lie
        if way == "falling":
            cum = self.cum or self.order_cum
            return {**row, cum: _like(row[cum], self._number(row, cum) / 2)}
        row = {**row, self.trade: self.another(row[self.trade])}
        if self.cum == "cum_qty" and "trade_id" in row:  # Kraken numbers a trade twice
            row["trade_id"] += 500_000_000
        qty = self._number(row, self.qty)
        match way:
            case "overfill":
                return {**row, self.qty: _like(row[self.qty], qty * 1000)}
            case "negative":
                return {**row, self.qty: _like(row[self.qty], -qty)}
            case "free":
                return {**row, self.px: _like(row[self.px], Decimal(0))}
            case "rebate":
                return self.fee(row, -qty * self._number(row, self.px))
            case _:
                row[self.order] = self.another(row[self.order])
                if row.get(self.client):
                    row[self.client] = "nobodys0000"
                return row


def _like(value: Any, number: Decimal) -> Any:
    """A number in the form another one was told in: text, or text that is printed bare."""
    return type(value)(f"{number:f}")


def _further(value: Any) -> Any:
    """A whole number, as text or not, far from those that are given out."""
    return type(value)(int(value) + 500_000_000)


def _kraken_id(value: Any) -> Any:
    return f"{value[:2]}ZZZZ{value[6:]}"


def _more(rows: list[Row], *names: str) -> list[Row]:
    """The first row with twice and one more of what those names say."""
    first = dict(rows[0])
    for name in names:
        first[name] = _like(first[name], Decimal(str(first[name])) * 2 + 1)
    return [first, *rows[1:]]


def _within(name: str, *fields: str) -> Callable[[Row], Row | None]:
    """A balance that lies in a list under `name`."""

    def lie(row: Row) -> Row | None:
        rows = row.get(name)
        if not rows or not all(field in rows[0] for field in fields):
            return None
        return {**row, name: _more(rows, *fields)}

    return lie


def _okx_balance(row: Row) -> Row | None:
    return _within("balData", "cashBal")(row) or _within("details", "cashBal", "availBal")(row)


def _kraken_balance(row: Row) -> Row | None:
    return _more([row], "balance")[0] if "ledger_id" in row else None


def _kraken_fee(row: Row, fee: Decimal) -> Row:
    (first,) = row["fees"]
    return {**row, "fees": [{**first, "qty": _like(first["qty"], fee)}]}


def _fee(name: str, sign: int = 1) -> Callable[[Row, Decimal], Row]:
    return lambda row, fee: {**row, name: f"{sign * fee:f}"}


DIALECTS: Mapping[str, Dialect] = {
    "binance": Dialect(
        trade="t",
        order="i",
        client="c",
        qty="l",
        px="L",
        cum="z",
        order_cum="",
        fee=_fee("n"),
        balance=_within("B", "f"),
        another=_further,
    ),
    "bybit": Dialect(
        trade="execId",
        order="orderId",
        client="orderLinkId",
        qty="execQty",
        px="execPrice",
        cum="",
        order_cum="cumExecQty",
        fee=_fee("execFee"),
        balance=_within("coin", "walletBalance"),
        another=_further,
    ),
    "okx": Dialect(
        trade="tradeId",
        order="ordId",
        client="clOrdId",
        qty="fillSz",
        px="fillPx",
        cum="accFillSz",
        order_cum="",
        fee=_fee("fillFee", -1),
        balance=_okx_balance,
        another=_further,
    ),
    "kraken": Dialect(
        trade="exec_id",
        order="order_id",
        client="cl_ord_id",
        qty="last_qty",
        px="last_price",
        cum="cum_qty",
        order_cum="",
        fee=_kraken_fee,
        balance=_kraken_balance,
        another=_kraken_id,
    ),
}


class Liar:
    """Tells one venue's lies, when they are to be told."""

    def __init__(self, venue: str, desk: Desk, faults: OrderFaults) -> None:
        self._dialect = DIALECTS[venue]
        self._desk = desk
        self._faults = faults

    def lie(self, account: str, row: Row, now_ns: int) -> Row | None:
        """What the account is told beside this row; None for the truth alone."""
        if not self._faults.any("lie"):
            return None
        ways = [way for way in self._dialect.ways(row) if self._faults.wants("lie", way)]
        if not ways or not self._faults.strikes("lie", now_ns):
            return None
        way = self._faults.choice("lie", ways)
        told = self._dialect.told(row, way)
        self._desk.lied(account, way, told, now_ns)
        return told
