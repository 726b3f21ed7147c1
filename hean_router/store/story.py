"""The story of one order, from the journal alone: who asked, what was seen, what became of it.

The story is plain values, ready for JSON: decimals are text, times both nanoseconds of our clock
and UTC.  Every event names its row, so that it can be looked up and proven.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from hean_router.book.sweep import EXACT
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.record import (
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Decided,
    Filled,
    FillUndone,
    ForeignOrder,
    Incident,
    Opened,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    Row,
    kind_of,
)
from hean_router.domain.scale import plain
from hean_router.oms import Child, Orders, Parent
from hean_router.oms.keys import KEY_LEN, PARENT_LEN, PREFIX, TAG_LEN
from hean_router.store.look import Seen, looked_at

_PARENT_AT = slice(len(PREFIX) + TAG_LEN, len(PREFIX) + TAG_LEN + PARENT_LEN)
AROUND_NS = 60_000_000_000  # what else happened at its venues is told until this long after its end
ZERO = Decimal(0)


class _Context(Struct):
    """What held when it was placed."""

    opened: Opened | None = None
    risk: RiskSet | None = None


class _Told(Struct):
    """The rows of one order, in order, with their numbers; and what else happened there."""

    parent: str
    context: _Context
    rows: list[tuple[int, Row]] = field(default_factory=list)
    nameless: list[tuple[int, Row]] = field(default_factory=list)  # trades that name no order
    around: list[tuple[int, Row]] = field(default_factory=list)


def explain(path: Path, order: str, account: str = "") -> dict[str, Any]:
    """The story of `order`: a parent's id or a child's, a client order id, or a venue's own id.

    `account` tells orders of one client order id apart.  Raises `CommandError` for one that is not
    there, or that may be several; `JournalError` for a journal that cannot be read.
    """
    with looked_at(path) as seen:
        parents, strangers = _find(seen, order, account)
        if len(parents) > 1:
            raise CommandError(
                f"{order} may be any of {', '.join(sorted(parents))}",
                "name one of these; or give --account with a client order id",
            )
        if parents:
            return _story(_collect(seen, next(iter(parents))))
        if strangers:
            return {"foreign": [_event(seq, row) for seq, row in strangers]}
    raise CommandError(
        f"the journal knows no order {order}" + (f" of {account}" if account else ""),
        "give an order's id, a venue order's client id or id, or a client order id",
    )


# ------------------------------------------------------------------------- finding it


def _find(seen: Seen, order: str, account: str) -> tuple[dict[str, None], list[tuple[int, Row]]]:
    """Parents that may be meant; and rows of an order of nobody's that has this id."""
    needle = msgspec.json.encode(order)
    exact: dict[str, None] = {}
    named: dict[str, None] = {}
    strangers: list[tuple[int, Row]] = []
    for seq, _, kind, body, _ in seen.proven():
        if needle not in body:
            continue
        row = seen.decoded(seq, kind, body)
        if isinstance(row, ParentPlaced):
            if row.parent == order:
                exact[order] = None
            elif row.intent.client_order_id == order and account in {"", row.intent.account}:
                named[row.parent] = None
        elif isinstance(row, ChildIntended) and row.key == order:
            exact[row.parent] = None
        elif order in {getattr(row, "venue_order_id", ""), getattr(row, "trade_id", "")}:
            key = getattr(row, "key", "")
            if isinstance(row, ForeignOrder) or not key:
                strangers.append((seq, row))
            elif account in {"", getattr(row, "account", account)}:
                named[parent_of(key)] = None
    return exact or named, strangers


def parent_of(key: str) -> str:
    """The parent that an order's client id names; empty for what is no key of ours.

    >>> parent_of("habc0000001f00200"), parent_of("web-17")
    ('0000001f', '')
    """
    return key[_PARENT_AT] if len(key) == KEY_LEN and key.startswith(PREFIX) else ""


def _collect(seen: Seen, parent: str) -> _Told:
    """Every row that is about the parent, its orders or their trades."""
    told, needle = _Told(parent, _Context()), parent.encode()
    placed: ParentPlaced | None = None
    venues: set[tuple[str, str]] = set()
    for seq, _, kind, body, _ in seen.proven():
        about = needle in body
        if not about and kind not in {"opened", "risk_set", "incident", "filled", "fill_undone"}:
            continue
        if not about and kind in {"filled", "fill_undone"} and b'"key":""' not in body:
            continue
        row = seen.decoded(seq, kind, body)
        match row:
            case ParentPlaced() if row.parent == parent:
                placed = row
            case ChildIntended() if row.parent == parent:
                venues.add((row.venue, row.account))
            case _ if placed is None:
                if isinstance(row, Opened):
                    told.context.opened = row
                elif isinstance(row, RiskSet):
                    told.context.risk = row
                continue
            case _:
                pass
        if _concerns(row, parent):
            told.rows.append((seq, row))
        elif isinstance(row, Filled | FillUndone):
            told.nameless.append((seq, row))
        elif isinstance(row, Opened | RiskSet) or (
            isinstance(row, Incident) and (not row.venue or (row.venue, row.account) in venues)
        ):
            told.around.append((seq, row))
    return told


def _concerns(row: Row, parent: str) -> bool:
    if getattr(row, "parent", "") == parent or parent_of(getattr(row, "key", "")) == parent:
        return True
    return isinstance(row, Incident) and parent in {row.subject, parent_of(row.subject)}


# ------------------------------------------------------------------------- telling it


def _story(told: _Told) -> dict[str, Any]:
    orders = Orders()
    if told.context.opened is not None:
        orders.apply(told.context.opened)
    for _, row in told.rows:
        orders.apply(row)
    parent = orders.parents[told.parent]
    ids = {
        (child.venue, child.account, child.symbol, one)
        for child in parent.children
        for one in (child.venue_order_id, *child.other_ids)
        if one
    }
    mine = [(seq, row) for seq, row in told.nameless if _order_of(row) in ids]
    rows = sorted([*told.rows, *mine], key=lambda item: item[0])
    until_ns = None if parent.ended is None else parent.ended.at_ns + AROUND_NS
    around = [one for one in told.around if until_ns is None or one[1].at_ns <= until_ns]
    trades = [row for _, row in rows if isinstance(row, Filled)]
    return {
        "order": _order(parent),
        "process": _plain(told.context.opened),
        "risk": _plain(told.context.risk) or {"state": "normal"},
        "rounds": [_round(seq, row) for seq, row in rows if isinstance(row, Decided)],
        "children": [_child(child, rows) for child in parent.children],
        "events": [_event(seq, row) for seq, row in rows],
        "cost": _cost(parent, trades),
        "around": [_event(seq, row) for seq, row in around],
    }


def _order_of(row: Row) -> tuple[str, str, str, str]:
    assert isinstance(row, Filled | FillUndone), row
    return (row.venue, row.account, row.symbol, row.venue_order_id)


def _order(parent: Parent) -> dict[str, Any]:
    placed, intent, ended = parent.placed, parent.intent, parent.ended
    return {
        "id": parent.id,
        "client_order_id": intent.client_order_id,
        "account": intent.account,
        "symbol": intent.symbol,
        "side": str(intent.side),
        "kind": str(intent.kind),
        "life": str(intent.life),
        "quantity": _text(placed.qty),
        "quote_max": _text(placed.quote_max),
        "limit_price": _text(intent.limit_px),
        "worst_price": _text(placed.worst_px),
        "reserved_at_worst": _text(placed.worst_usd),
        "by": placed.by,
        "strategy": intent.strategy,
        "group": intent.group,
        "placed_at": _utc(placed.at_ns),
        "status": str(parent.status),
        "filled": _text(parent.filled),
        "average_price": _text(_part(parent.notional, parent.filled)),
        "fees": {asset: _text(fee) for asset, fee in sorted(parent.fees.items())},
        "ended_at": None if ended is None else _utc(ended.at_ns),
        "why": "" if ended is None else ended.why,
    }


def _round(seq: int, row: Decided) -> dict[str, Any]:
    return {
        "row": seq,
        "at": _utc(row.at_ns),
        "round": row.round,
        "wanted": _text(row.wanted),
        "allocated": _text(row.allocated),
        "why_not_all": row.why,
        "expected_price": _text(row.expected_px),
        "mid": _text(row.mid),
        "proved": row.proved,
        "gap": _text(row.gap),
        "single_venue": row.single_venue,
        "single_price": _text(row.single_px),
        "greedy_price": _text(row.greedy_px),
        "seen": [_plain(one) for one in row.seen],
        "left_out": dict(row.left_out),
    }


def _child(child: Child, rows: Iterable[tuple[int, Row]]) -> dict[str, Any]:
    about = [
        (seq, row)
        for seq, row in rows
        if getattr(row, "key", "") == child.key
        or (isinstance(row, Incident) and row.subject == child.key)
    ]
    row = child.intended
    return {
        "key": child.key,
        "venue": child.venue,
        "account": child.account,
        "venue_order_id": child.venue_order_id,
        "round": row.round,
        "quantity": _text(child.qty),
        "price": _text(child.px),
        "tif": str(row.tif),
        "post_only": row.post_only,
        "reserved": f"{_text(row.reserve)} {row.reserve_asset}",
        "status": str(child.status),
        "why": child.why,
        "filled": _text(child.filled),
        "average_price": _text(_part(child.notional, child.filled)),
        "fees": {asset: _text(fee) for asset, fee in sorted(child.fees.items())},
        "settled": child.settled,
        "events": [seq for seq, _ in about],
    }


def _event(seq: int, row: Row) -> dict[str, Any]:
    return {"row": seq, "at": _utc(row.at_ns), "kind": kind_of(row), "text": said(row)}


def said(row: Row) -> str:
    """A row in words."""
    match row:
        case ParentPlaced(intent=intent):
            kind = f"at {_text(intent.limit_px)}" if intent.limit_px is not None else "at market"
            most = f"{_text(row.qty)} {intent.symbol} {kind}, {intent.life}"
            return (
                f"{row.by or 'somebody'} asks to {intent.side} {most}; no worse than "
                f"{_text(row.worst_px)}, {_text(row.worst_usd)} reserved at worst"
            )
        case Decided():
            to = ", ".join(f"{_text(one.qty)} to {one.venue}" for one in row.seen if one.qty)
            rest = f"; not all: {row.why}" if row.why else ""
            return f"round {row.round}: of {_text(row.wanted)} {to or 'nothing'}{rest}"
        case ChildIntended():
            px = "at market" if row.px is None else f"at {_text(row.px)}"
            held = f"{_text(row.reserve)} {row.reserve_asset} reserved"
            return f"{row.key} to {row.venue}: {row.side} {_text(row.qty)} {px} {row.tif}, {held}"
        case ChildWithdrawn():
            return f"{row.key} never left: {row.by} {row.code}: {row.why}"
        case ChildAcked():
            return f"{row.key} taken as {row.venue_order_id or 'yet unnamed'}"
        case ChildRejected():
            return f"{row.key} refused: {row.reject} {row.code} {row.text}".rstrip()
        case ChildUnknown():
            return f"{row.key}: nobody knows; may be carried out until {_utc(row.until_ns)}" + (
                f" ({row.why})" if row.why else ""
            )
        case ChildReported():
            cum = "" if row.cum_qty is None else f", {_text(row.cum_qty)} filled in all"
            why = f" ({row.reason})" if row.reason else ""
            return f"{row.key} is {row.state.value} by the venue's {row.via}{cum}{why}"
        case ChildAbsent():
            return f"{row.key} was never there: {row.proof}"
        case Filled():
            fee = f"fee {_text(row.fee)} {row.fee_asset}"
            if row.fee_assumed is not None:
                fee += f", {_text(row.fee_assumed)} assumed"
            how = "inferred from the venue's count" if row.inferred else f"trade {row.trade_id}"
            whose = row.key or f"order {row.venue_order_id or '?'}"
            return f"{whose} traded {_text(row.qty)} at {_text(row.px)} ({how}), {fee}"
        case FillUndone():
            return f"{_text(row.qty)} of trade {row.trade_id} taken back: {row.why}"
        case ParentCancelAsked():
            return f"{row.by or 'the router'} wants it back: {row.why}; becomes {row.becomes.value}"
        case ParentEnded():
            return f"{row.status.value}" + (f": {row.why}" if row.why else "")
        case Incident():
            return f"{row.what} {row.subject}: {row.text}"
        case RiskSet():
            return f"risk is {row.state} by {row.by}: {row.reason}"
        case Opened():
            return f"process {row.epoch} of version {row.version or '?'} takes over, {row.mode}"
        case _:
            fields = {
                name: one
                for name, one in msgspec.to_builtins(row).items()
                if name not in {"row", "at_ns"} and one not in ("", None)
            }
            return ", ".join(f"{name} {one}" for name, one in fields.items())


# ------------------------------------------------------------------------- what it cost


def _cost(parent: Parent, trades: list[Filled]) -> dict[str, Any]:
    """Against the mid of the first decision, and against what the alternatives promised.

    In quote; positive `slippage` is what it cost more than the mid, positive `saved_…` what it cost
    less than the alternative would have, at the prices that were seen.  None where no trade was
    made, or the alternative could not have done as much.
    """
    pair, buys = parent.intent.pair, parent.intent.side is Side.BUY
    decisions = [one for one in parent.decisions if one.allocated]
    mid = next((one.mid for one in decisions if one.mid is not None), None)
    all_in = _all_in(parent, pair, buys=buys)
    out: dict[str, Any] = {
        "mid": _text(mid),
        "all_in_price": _text(all_in),
        "fees_charged": {asset: _text(fee) for asset, fee in sorted(parent.fees.items())},
        "fees_assumed": _assumed(trades),
        "slippage": None,
    }
    if parent.filled and mid is not None:
        average = _part(parent.notional, parent.filled)
        assert average is not None, "something was filled"
        apart = average - mid if buys else mid - average
        out["slippage"] = _text(apart * parent.filled)
    for name in ("single", "greedy"):
        promised = _promised(decisions, f"{name}_px")
        saved = None
        if promised is not None and all_in is not None:
            apart = promised - all_in if buys else all_in - promised
            saved = apart * parent.filled
        out[f"{name}_price"], out[f"saved_against_{name}"] = _text(promised), _text(saved)
    return out


def _all_in(parent: Parent, pair: Pair, *, buys: bool) -> Decimal | None:
    """Quote paid for each unit received, or received for each given, fees in these two in."""
    fee_base, fee_quote = (parent.fees.get(asset, ZERO) for asset in (pair.base, pair.quote))
    if buys:
        got, paid = EXACT.subtract(parent.filled, fee_base), EXACT.add(parent.notional, fee_quote)
        return _part(paid, got)
    given = EXACT.add(parent.filled, fee_base)
    return _part(EXACT.subtract(parent.notional, fee_quote), given)


def _promised(decisions: list[Decided], name: str) -> Decimal | None:
    total = value = ZERO
    for one in decisions:
        px = getattr(one, name)
        if px is None:
            return None
        total = EXACT.add(total, one.allocated)
        value = EXACT.add(value, EXACT.multiply(px, one.allocated))
    return _part(value, total)


def _assumed(trades: list[Filled]) -> dict[str, str | None] | None:
    """By asset, where the rate was known for every trade."""
    sums: dict[str, Decimal] = {}
    for row in trades:
        if row.fee_assumed is None:
            return None
        sums[row.fee_asset] = EXACT.add(sums.get(row.fee_asset, ZERO), row.fee_assumed)
    return {asset: _text(fee) for asset, fee in sorted(sums.items())}


# ------------------------------------------------------------------------- how it is spelled


def _part(value: Decimal, of: Decimal) -> Decimal | None:
    return value / of if of else None


def _text(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)


def _utc(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest // 1_000:06d}Z"


def _spelled(value: Any) -> Any:
    """Plain values with decimals as plain text; an exact zero may be kept as 0E-15."""
    match value:
        case Decimal():
            return plain(value)
        case dict():
            return {name: _spelled(one) for name, one in value.items()}
        case list() | tuple():
            return [_spelled(one) for one in value]
        case _:
            return value


def _plain(value: Struct | None) -> dict[str, Any]:
    if value is None:
        return {}
    found: dict[str, Any] = _spelled(msgspec.to_builtins(value, builtin_types=(Decimal,)))
    if "at_ns" in found:
        found["at"] = _utc(found.pop("at_ns"))
    found.pop("row", None)
    return found
