"""The journal's rows folded into rows of the tables; pure.

A batch of journal rows says by `needs` which rows of the tables it touches; these are loaded, every
journal row is applied, and `changed` gives what is to be written.  Nothing is kept between batches,
so that the tables alone are the state and any cut into batches comes to the same.

It never refuses: an order that nobody placed, or a report about nothing we know, is passed over
(the order's machinery tells of it by an `Incident`, which is kept here too).
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import Struct, to_builtins
from sqlalchemy import Table

from hean_router.domain import record as r
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.order import OrderState
from hean_router.domain.parent import Status
from hean_router.domain.scale import plain
from hean_router.oms import LIVE, SAW, ChildStatus, Learned, after
from hean_router.portfolio.money import EXACT
from hean_router.portfolio.positions import Position, effect_of
from hean_router.store import tables as t

# Of the rules below and of what the columns mean: tables made by another version are made anew.
VERSION = 3

Line: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[Any, ...]
Numbered: TypeAlias = tuple[int, r.Row]

_NOTHING = Decimal(0)
# What a position's line has of `Position`, by the same names.
_COUNTED = ("qty", "cost", "realised", "fees_quote", "bought", "sold", "turnover", "fills")


class Needs(Struct, frozen=True):
    """What a batch touches of what is there: keys of children, ids of parents, trades, places."""

    children: set[str]
    parents: set[str]
    trades: set[str]
    places: set[tuple[str, str]]  # (account, venue), where money or positions move
    foreign: set[str]  # the venues' ids of orders that are not ours
    named: set[str]  # the venues' ids of orders, to find whose a trade without our key is


def needs(rows: Iterable[Numbered]) -> Needs:
    """What must be loaded before `rows` are applied."""
    found = Needs(set(), set(), set(), set(), set(), set())
    for _, row in rows:
        if key := getattr(row, "key", ""):
            found.children.add(key)
        if parent := getattr(row, "parent", ""):
            found.parents.add(parent)
        if not isinstance(row, r.ForeignOrder) and (name := getattr(row, "venue_order_id", "")):
            found.named.add(name)
        match row:
            case r.Filled() | r.FillUndone():
                found.trades.add(row.trade_id)
                found.places.add((row.account, row.venue))
            case r.BalancesSet():
                found.places.add((row.account, row.venue))
            case r.ForeignOrder():
                found.foreign.add(row.venue_order_id)
            case _:
                pass
    return found


class Fold:
    """The rows of the tables that a batch touches, as they stand."""

    def __init__(self) -> None:
        self._lines: dict[Table, dict[Key, Line]] = {
            table: {} for table in t.metadata.sorted_tables
        }
        self._changed: dict[Table, dict[Key, Line]] = {table: {} for table in self._lines}
        self._gone: dict[Key, None] = {}  # trades that were taken back wholly

    def load(self, table: Table, lines: Iterable[Mapping[str, Any]]) -> None:
        """Take over what is in the database."""
        for line in lines:
            self._lines[table][_key(table, line)] = dict(line)

    def changed(self) -> list[tuple[Table, list[Line]]]:
        """What is to be written, whole rows, table by table."""
        return [(table, list(lines.values())) for table, lines in self._changed.items() if lines]

    def gone(self) -> list[Line]:
        """What is to be deleted of the trades, by their keys."""
        names = [column.name for column in t.fills.primary_key]
        return [dict(zip(names, key, strict=True)) for key in self._gone]

    def apply(self, seq: int, row: r.Row) -> None:
        """Fold one row of the journal in."""
        match row:
            case r.ParentPlaced():
                self._placed(seq, row)
            case r.Decided():
                self._decided(seq, row)
            case r.ParentCancelAsked():
                order = self._lines[t.orders].get((row.parent,))
                if order and not order["cancelling"]:  # the first reason stands
                    self._order(row.parent, row.at_ns, cancelling=True, why=row.why)
            case r.ParentEnded():
                self._ended(row)
            case r.ChildIntended():
                self._intended(seq, row)
            case r.Filled():
                self._filled(seq, row)
            case r.FillUndone():
                self._undone(seq, row)
            case r.BalancesSet():
                self._wallet(seq, row)
            case r.ForeignOrder():
                self._foreign(row)
            case r.Incident() | r.BalanceBreak() | r.RiskSet():
                self._event(seq, row)
            case _:
                self._child_row(seq, row)

    # ------------------------------------------------------------------- parents

    def _placed(self, seq: int, row: r.ParentPlaced) -> None:
        intent = row.intent
        self._put(
            t.orders,
            {
                "id": row.parent,
                "seq": seq,
                "account": intent.account,
                "client_order_id": intent.client_order_id,
                "symbol": intent.symbol,
                "side": intent.side.value,
                "kind": intent.kind.value,
                "life": intent.life.value,
                "post_only": intent.post_only,
                "quantity": intent.qty,
                "quote_quantity": intent.quote_qty,
                "limit_price": intent.limit_px,
                "expires_at": intent.expire_ns,
                "venues": {
                    "include": list(intent.venues.include),
                    "exclude": list(intent.venues.exclude),
                    "max_share": _text(intent.venues.max_share),
                },
                "strategy": intent.strategy,
                "leg_group": intent.group,
                "placed_by": row.by,
                "qty": row.qty,
                "quote_max": row.quote_max,
                "worst_px": row.worst_px,
                "worst_usd": row.worst_usd,
                "status": Status.PENDING_NEW.value,
                "filled": _NOTHING,
                "notional": _NOTHING,
                "children": 0,
                "unknowns": 0,
                "acked": False,
                "cancelling": False,
                "ended": None,
                "why": "",
                "created_at": row.at_ns,
                "updated_at": row.at_ns,
                "ended_at": None,
            },
        )

    def _decided(self, seq: int, row: r.Decided) -> None:
        order = self._lines[t.orders].get((row.parent,))
        seen: list[Line] = to_builtins(row.seen, builtin_types=(Decimal,))
        self._put(
            t.decisions,
            {
                "seq": seq,
                "parent": row.parent,
                "account": order["account"] if order else "",
                "round": row.round,
                "wanted": row.wanted,
                "allocated": row.allocated,
                "why": row.why,
                "seen": [
                    {name: _text(v) if isinstance(v, Decimal) else v for name, v in one.items()}
                    for one in seen
                ],
                "left_out": dict(row.left_out),
                "expected_px": row.expected_px,
                "single_venue": row.single_venue,
                "single_px": row.single_px,
                "greedy_px": row.greedy_px,
                "mid": row.mid,
                "proved": row.proved,
                "gap": row.gap,
                "at": row.at_ns,
            },
        )
        if order and order["ended_at"] is None and not order["cancelling"]:
            self._order(row.parent, row.at_ns, why=row.why)
        else:
            self._order(row.parent, row.at_ns)

    def _ended(self, row: r.ParentEnded) -> None:
        order = self._lines[t.orders].get((row.parent,))
        if order is not None and order["ended_at"] is None:
            order["ended"] = row.status.value
            self._order(row.parent, row.at_ns, ended_at=row.at_ns, why=row.why)

    def _order(self, parent: str, at_ns: int, **values: Any) -> None:
        order = self._lines[t.orders].get((parent,))
        if order is None:
            return
        # A trade may be older than what named its order.
        order.update(values, updated_at=max(at_ns, order["updated_at"]))
        order["status"] = _standing(order)
        self._put(t.orders, order)

    # ------------------------------------------------------------------- children

    def _intended(self, seq: int, row: r.ChildIntended) -> None:
        order = self._lines[t.orders].get((row.parent,))
        if order:
            self._order(row.parent, row.at_ns, children=order["children"] + 1)
        self._put(
            t.children,
            {
                "key": row.key,
                "seq": seq,
                "parent": row.parent,
                "account": row.account,
                "venue": row.venue,
                "symbol": row.symbol,
                "side": row.side.value,
                "qty": row.qty,
                "px": row.px,
                "tif": row.tif.value,
                "post_only": row.post_only,
                "round": row.round,
                "reserve_asset": row.reserve_asset,
                "reserve": row.reserve,
                "worst_px": row.worst_px,
                "status": ChildStatus.INTENDED.value,
                "filled": _NOTHING,
                "notional": _NOTHING,
                "cum": None,
                "venue_order_id": "",
                "why": "",
                "intended_at": row.at_ns,
                "acked_at": None,
                "updated_at": row.at_ns,
                "ended_at": None,
            },
        )

    def _child_row(self, seq: int, row: r.Row) -> None:
        child = self._lines[t.children].get((getattr(row, "key", ""),))
        if child is None:
            return
        match row:
            case r.ChildAcked():
                if self._learn(child, Learned.ACKED, row.at_ns):
                    self._stands(child, row.at_ns)
                    self._named(child, row.venue_order_id)
            case r.ChildReported():
                self._reported(child, row)
            case r.ChildRejected():
                self._learn(child, Learned.REJECTED, row.at_ns, row.text or row.reject)
            case r.ChildUnknown():
                self._learn(child, Learned.UNKNOWN, row.at_ns, row.why)
            case r.ChildAbsent():
                self._learn(child, Learned.ABSENT, row.at_ns, row.proof)
            case r.ChildWithdrawn():
                self._learn(child, Learned.WITHDRAWN, row.at_ns, row.why)
                self._risk(seq, row.at_ns, child["account"], row.by, row.code, row.why, row.key)
            case r.CancelIntended():  # changes nothing until the venue tells the end
                self._order(child["parent"], row.at_ns)
            case _:
                pass

    def _reported(self, child: Line, row: r.ChildReported) -> None:
        if not self._learn(child, SAW[row.state], row.at_ns):
            return
        self._stands(child, row.at_ns)
        self._named(child, row.venue_order_id)
        cum = row.cum_qty
        if cum is None and row.state is OrderState.FILLED:
            cum = child["qty"]  # what FILLED means
        if cum is not None:
            child["cum"] = max(cum, child["cum"] or _NOTHING)
        if row.state is not OrderState.OPEN:
            child["why"] = row.reason or child["why"]

    def _learn(self, child: Line, learned: Learned, at_ns: int, why: str | None = None) -> bool:
        """Move it by the same table as the orders themselves; False if that cannot be."""
        before = ChildStatus(child["status"])
        status = after(before, learned)
        if status is None:
            return False
        child["status"], child["updated_at"] = status.value, at_ns
        if why is not None:
            child["why"] = why
        if before in LIVE and status not in LIVE:
            child["ended_at"] = at_ns
        self._put(t.children, child)
        if order := self._lines[t.orders].get((child["parent"],)):
            unknowns = (status is ChildStatus.UNKNOWN) - (before is ChildStatus.UNKNOWN)
            self._order(child["parent"], at_ns, unknowns=order["unknowns"] + unknowns)
        return True

    def _stands(self, child: Line, at_ns: int) -> None:
        """The venue spoke of it: it exists."""
        if child["acked_at"] is None:
            child["acked_at"] = at_ns
            self._order(child["parent"], at_ns, acked=True)

    def _named(self, child: Line, order_id: str) -> None:
        """The venue's own id is learned; trades that were nobody's are booked again by rows."""
        if order_id and not child["venue_order_id"]:
            child["venue_order_id"] = order_id

    # ------------------------------------------------------------------- fills, money

    def _filled(self, seq: int, row: r.Filled) -> None:
        if (row.venue, row.account, row.symbol, row.trade_id) in self._lines[t.fills]:
            return  # counted already
        fill: Line = {
            "venue": row.venue,
            "account": row.account,
            "symbol": row.symbol,
            "trade_id": row.trade_id,
            "seq": seq,
            "key": row.key,
            "parent": row.parent,
            "strategy": row.strategy,
            "venue_order_id": row.venue_order_id,
            "side": row.side.value,
            "px": row.px,
            "qty": row.qty,
            "fee": row.fee,
            "fee_asset": row.fee_asset,
            "fee_assumed": row.fee_assumed,
            "maker": row.maker,
            "credited": False,
            "sent_at": row.sent_ns or None,
            "at": row.at_ns,
        }
        self._put(t.fills, fill)
        self._gone.pop(_key(t.fills, fill), None)
        child = self._lines[t.children].get((row.key,))
        if child is None and row.venue_order_id:
            others = self._lines[t.children].values()
            child = next((one for one in others if _same_order(fill, one)), None)
        if child is not None:
            self._credit(fill, child)
            self._named(child, row.venue_order_id)
        self._position(row)
        self._spend(seq, row)

    def _undone(self, seq: int, row: r.FillUndone) -> None:
        """A trade, or a part of it, counts no more."""
        where = (row.venue, row.account, row.symbol, row.trade_id)
        if (fill := self._lines[t.fills].get(where)) is None:
            return
        if fill["credited"]:
            child = self._lines[t.children].get((fill["key"],))
            order = self._lines[t.orders].get((fill["parent"],))
            money = EXACT.multiply(row.px, row.qty)
            for line in (child, order):
                if line is not None:
                    line["filled"] = EXACT.subtract(line["filled"], row.qty)
                    line["notional"] = EXACT.subtract(line["notional"], money)
            if child is not None:
                child["updated_at"] = max(row.at_ns, child["updated_at"])
                self._put(t.children, child)
            self._order(fill["parent"], row.at_ns)
        if row.whole:
            del self._lines[t.fills][where]
            self._changed[t.fills].pop(where, None)
            self._gone[where] = None
        else:
            fill["qty"] = EXACT.subtract(fill["qty"], row.qty)
            fill["fee"] = EXACT.subtract(fill["fee"], row.fee)
            self._put(t.fills, fill)
        self._position(row)
        self._spend(seq, row)

    def _credit(self, fill: Line, child: Line) -> None:
        """Count a trade for its order; once, whenever it becomes known whose it is."""
        order = self._lines[t.orders].get((child["parent"],))
        money = EXACT.multiply(fill["px"], fill["qty"])
        for line in (child, order):
            if line is not None:
                line["filled"] = EXACT.add(line["filled"], fill["qty"])
                line["notional"] = EXACT.add(line["notional"], money)
        fill.update(credited=True, key=child["key"], parent=child["parent"])
        self._put(t.fills, fill)
        last = child["filled"] >= child["qty"]
        # It ended by that trade, when that came, though nobody knew yet whose it was.
        self._learn(child, Learned.LAST_FILL if last else Learned.FILL, fill["at"])
        self._stands(child, fill["at"])

    def _position(self, row: r.Filled | r.FillUndone) -> None:
        where = {
            "account": row.account,
            "venue": row.venue,
            "symbol": row.symbol,
            "strategy": row.strategy,
        }
        position = Position()
        line = self._lines[t.positions].get(tuple(where.values()))
        if line is not None:
            for name in _COUNTED:
                setattr(position, name, line[name])
            position.fees = _amounts(line["fees"])
            position.fees_third = _amounts(line["fees_third"])
            position.since_ns = line["since"]
        if isinstance(row, r.FillUndone):
            position.undo(row, effect_of(row))
        else:
            position.fill(row, effect_of(row))
        self._put(
            t.positions,
            {
                **where,
                **{name: getattr(position, name) for name in _COUNTED},
                "fees": _spelled(position.fees),
                "fees_third": _spelled(position.fees_third),
                "since": position.since_ns,
                "updated_at": row.at_ns,
            },
        )

    def _spend(self, seq: int, row: r.Filled | r.FillUndone) -> None:
        if (row.account, row.venue) not in self._lines[t.wallets]:
            return  # what was there before nobody has told
        if row.in_balances:
            return
        back = isinstance(row, r.FillUndone)
        pair = Pair.parse(row.symbol)
        money = EXACT.multiply(row.px, row.qty)
        buys = (row.side is Side.BUY) is not back
        moves = {pair.base: _NOTHING, pair.quote: _NOTHING, row.fee_asset: _NOTHING}
        # `copy_negate`, not `-`, which rounds to 28 digits.
        moves[pair.base] = row.qty if buys else row.qty.copy_negate()
        moves[pair.quote] = money.copy_negate() if buys else money
        fee = row.fee if back else row.fee.copy_negate()
        moves[row.fee_asset] = EXACT.add(moves[row.fee_asset], fee)
        for asset, change in moves.items():
            if asset and change:
                why = "undone" if back else "fill"
                self._balance(seq, row, asset, change=change, why=why, trade=row.trade_id)

    def _wallet(self, seq: int, row: r.BalancesSet) -> None:
        """All that is there, by the venue's word: what it does not name is nothing."""
        place = {"account": row.account, "venue": row.venue}
        self._put(t.wallets, {**place, "why": row.why, "set_at": row.at_ns})
        known = [key[2] for key in self._lines[t.balances] if key[:2] == tuple(place.values())]
        for asset in sorted({*known, *row.balances}):
            total = row.balances.get(asset, _NOTHING)
            self._balance(seq, row, asset, total=total, why=row.why)

    def _balance(
        self,
        seq: int,
        row: r.Filled | r.FillUndone | r.BalancesSet,
        asset: str,
        *,
        why: str,
        total: Decimal | None = None,
        change: Decimal = _NOTHING,
        trade: str = "",
    ) -> None:
        where = {"account": row.account, "venue": row.venue, "asset": asset}
        line = self._lines[t.balances].get(tuple(where.values()))
        had = line["total"] if line else _NOTHING
        if total is None:
            total = EXACT.add(had, change)
        else:
            change = EXACT.subtract(total, had)
        self._put(t.balances, {**where, "total": total, "updated_at": row.at_ns})
        if change or line is None:
            self._put(
                t.balance_history,
                {
                    **where,
                    "seq": seq,
                    "change": change,
                    "total": total,
                    "why": why,
                    "trade_id": trade,
                    "at": row.at_ns,
                },
            )

    def _foreign(self, row: r.ForeignOrder) -> None:
        where = (row.account, row.venue, row.venue_order_id)
        before = self._lines[t.foreign_orders].get(where)
        self._put(
            t.foreign_orders,
            {
                "account": row.account,
                "venue": row.venue,
                "venue_order_id": row.venue_order_id,
                "symbol": row.symbol,
                "key": row.key,
                "side": row.side.value if row.side else None,
                "qty": row.qty,
                "px": row.px,
                "is_open": row.open,
                "first_at": before["first_at"] if before else row.at_ns,
                "updated_at": row.at_ns,
            },
        )

    # ------------------------------------------------------------------- events

    def _event(self, seq: int, row: r.Incident | r.BalanceBreak | r.RiskSet) -> None:
        match row:
            case r.RiskSet():
                self._risk(seq, row.at_ns, "", "state", row.state, row.reason, "", row.by)
                return
            case r.BalanceBreak():
                what, subject = "balance_break", row.asset
                detail = f"ours {plain(row.ours)}, theirs {plain(row.theirs)}"
            case r.Incident():
                what, subject, detail = row.what, row.subject, row.text
        self._put(
            t.incidents,
            {
                "seq": seq,
                "account": row.account,
                "venue": row.venue,
                "what": what,
                "subject": subject,
                "detail": detail,
                "at": row.at_ns,
            },
        )

    def _risk(
        self,
        seq: int,
        at_ns: int,
        account: str,
        what: str,
        code: str,
        reason: str,
        subject: str,
        by: str = "",
    ) -> None:
        self._put(
            t.risk_events,
            {
                "seq": seq,
                "account": account,
                "what": what,
                "code": code,
                "reason": reason,
                "subject": subject,
                "by": by,
                "at": at_ns,
            },
        )

    def _put(self, table: Table, line: Line) -> None:
        key = _key(table, line)
        self._lines[table][key] = self._changed[table][key] = line


def _key(table: Table, line: Mapping[str, Any]) -> Key:
    return tuple(line[column.name] for column in table.primary_key)


def _standing(order: Line) -> str:
    """Where a parent stands, as `oms.Parent.status` says it."""
    ended: str | None = order["ended"]
    if ended is not None:
        return Status.FILLED.value if order["filled"] >= order["qty"] else ended
    if order["unknowns"]:
        return Status.UNKNOWN.value
    if order["cancelling"]:
        return Status.PENDING_CANCEL.value
    if order["filled"]:
        return Status.PARTIALLY_FILLED.value
    return (Status.NEW if order["acked"] else Status.PENDING_NEW).value


def _same_order(fill: Line, child: Line) -> bool:
    names = ("venue", "account", "symbol", "venue_order_id")
    return bool(fill["venue_order_id"]) and all(fill[name] == child[name] for name in names)


def _amounts(spelled: Mapping[str, str]) -> dict[str, Decimal]:
    return {asset: Decimal(amount) for asset, amount in spelled.items()}


def _spelled(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {asset: plain(amount) for asset, amount in sorted(amounts.items())}


def _text(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
