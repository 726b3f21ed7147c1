"""The router's values as the API says them: decimals as text, times as RFC 3339."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from hean_router.api.reading import time_out
from hean_router.api.saved import saved
from hean_router.api.stored import StoredChild, StoredParent
from hean_router.book import ConsolidatedBook
from hean_router.book.sweep import PRECISE
from hean_router.domain.instrument import Instrument, Side
from hean_router.domain.record import Decided, Filled
from hean_router.domain.scale import plain
from hean_router.oms import Child, Parent
from hean_router.portfolio import PnlLine
from hean_router.route import Plan


def text(number: Decimal | None) -> str | None:
    """Plain decimal text."""
    return None if number is None else plain(number)


def fees(of: Mapping[str, Decimal]) -> list[dict[str, str]]:
    """By asset."""
    return [{"asset": asset, "amount": plain(fee)} for asset, fee in sorted(of.items())]


def average(notional: Decimal, qty: Decimal) -> str | None:
    """28 digits; None for nothing."""
    return plain(PRECISE.divide(notional, qty)) if qty else None


def child(one: Child | StoredChild) -> dict[str, Any]:
    """A `ChildOut`."""
    return {
        "id": one.key,
        "venue": one.venue,
        "venue_order_id": one.venue_order_id,
        "status": one.status.value,
        "quantity": plain(one.qty),
        "limit_price": text(one.px),
        "filled_quantity": plain(one.filled),
        "average_price": average(one.notional, one.filled),
        "fees": fees(one.fees),
        "round": one.intended.round,
        "why": one.why,
    }


def decision(row: Decided) -> dict[str, Any]:
    """A `DecisionOut`."""
    return {
        "round": row.round,
        "at": time_out(row.at_ns),
        "wanted": plain(row.wanted),
        "allocated": plain(row.allocated),
        "why": row.why,
        "expected_price": text(row.expected_px),
        "single_venue": row.single_venue,
        "single_price": text(row.single_px),
        "greedy_price": text(row.greedy_px),
        "mid": text(row.mid),
        "proved": row.proved,
        "gap": plain(row.gap),
        "books": [
            {
                "venue": seen.venue,
                "version": seen.version,
                "age_ms": seen.age_ms,
                "best_price": text(seen.best_px),
                "quantity": plain(seen.qty),
            }
            for seen in row.seen
        ],
        "left_out": dict(row.left_out),
    }


def order(parent: Parent | StoredParent) -> dict[str, Any]:
    """An `OrderOut`."""
    intent = parent.intent
    single = saved(parent, lambda row: row.single_px)
    greedy = saved(parent, lambda row: row.greedy_px)
    return {
        "id": parent.id,
        "client_order_id": intent.client_order_id,
        "account": intent.account,
        "symbol": intent.symbol,
        "side": intent.side.value,
        "type": intent.kind.value,
        "time_in_force": intent.life.value.upper(),
        "post_only": intent.post_only,
        "quantity": plain(parent.qty),
        "quote_quantity": text(intent.quote_qty),
        "limit_price": text(intent.limit_px),
        "expire_time": None if intent.expire_ns is None else time_out(intent.expire_ns),
        "venues": {
            "include": list(intent.venues.include),
            "exclude": list(intent.venues.exclude),
            "max_share": text(intent.venues.max_share),
        },
        "strategy": intent.strategy,
        "status": parent.status.value,
        "filled_quantity": plain(parent.filled),
        "leaves_quantity": _leaves(parent),
        "filled_quote": plain(parent.notional),
        "average_price": average(parent.notional, parent.filled),
        "fees": fees(parent.fees),
        "children": [child(one) for one in parent.children],
        "why": _why(parent),
        "saved_quote": text(single.quote),
        "saved_bps": text(single.bps),
        "saved_on_quantity": plain(single.qty),
        "saved_vs_greedy_quote": text(greedy.quote),
        "saved_vs_greedy_bps": text(greedy.bps),
        "decisions": [decision(row) for row in parent.decisions],
        "created_at": time_out(parent.at_ns),
        "updated_at": time_out(parent.updated_ns),
    }


def _leaves(parent: Parent | StoredParent) -> str:
    ended = isinstance(parent, Parent) and parent.ended is not None
    return "0" if ended else plain(parent.leaves)


def _why(parent: Parent | StoredParent) -> str:
    if isinstance(parent, StoredParent):
        return parent.why
    if parent.ended is not None:
        return parent.ended.why
    if parent.cancel is not None:
        return parent.cancel.why
    return parent.decisions[-1].why if parent.decisions else ""


def fill(row: Filled, of: Child | None = None) -> dict[str, Any]:
    """A `FillOut`; `of` is whose it is, which may have become known after it was told."""
    return {
        "venue": row.venue,
        "account": row.account,
        "symbol": row.symbol,
        "trade_id": row.trade_id,
        "order_id": row.parent if of is None else of.parent.id,
        "child_id": row.key if of is None else of.key,
        "strategy": row.strategy,
        "side": row.side.value,
        "price": plain(row.px),
        "quantity": plain(row.qty),
        "fee": plain(row.fee),
        "fee_asset": row.fee_asset,
        "maker": row.maker,
        "at": time_out(row.sent_ns or row.at_ns),
    }


def preview(plan: Plan) -> dict[str, Any]:
    """A `PreviewOut`."""
    single = plan.best_single
    return {
        "dry_run": True,
        "symbol": str(plan.order.pair),
        "side": plan.order.side.value,
        "requested": plain(plan.order.qty),
        "allocated": plain(plan.allocated),
        "unallocated": plain(plan.unallocated),
        "unallocated_reason": plan.unallocated_reason,
        "children": [one.to_json() for one in plan.children],
        "average_all_in_price": text(plan.avg_all_in_px),
        "best_single_venue": None if single is None else single.venue,
        "saved_quote": text(plan.saved_quote),
        "saved_bps": text(plan.saved_bps),
        "venues": {str(venue): why for venue, why in plan.venues.items()},
    }


def instrument(of: Instrument) -> dict[str, Any]:
    """An `InstrumentOut`."""
    return {
        "venue": of.venue,
        "symbol": str(of.pair),
        "venue_symbol": of.symbol,
        "tick": plain(of.px_decimal(of.tick)),
        "lot": plain(of.qty_decimal(of.lot)),
        "min_quantity": plain(of.qty_decimal(max(of.min_qty, of.lot))),
        "max_quantity": None if of.max_qty is None else plain(of.qty_decimal(of.max_qty)),
        "min_notional": plain(of.min_notional),
        "max_notional": text(of.max_notional),
        "trading": of.trading.value,
    }


def book(
    of: ConsolidatedBook, depth: int, now_ns: int, standing: Mapping[Any, str]
) -> dict[str, Any]:
    """A `BookOut`."""

    def levels(side: Side) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for level in of.priced(side):
            if len(found) == depth:
                break
            found.append(
                {
                    "venue": level.venue,
                    "price": plain(level.price),
                    "quantity": plain(level.quantity),
                    "all_in_price": plain(level.all_in),
                    "age_ms": max(0, level.age_ns(now_ns)) // 1_000_000,
                }
            )
        return found

    return {
        "symbol": str(of.pair),
        "version": of.version,
        "mid": text(of.mid()),
        "bids": levels(Side.SELL),
        "asks": levels(Side.BUY),
        "venues": {str(venue): state for venue, state in standing.items()},
    }


def position(line: PnlLine) -> dict[str, Any]:
    """A `PositionOut`."""
    of = line.position
    return {
        "account": of.account,
        "venue": of.venue,
        "symbol": of.symbol,
        "strategy": of.strategy,
        "quantity": plain(of.qty),
        "average_price": text(of.avg_px),
        "mark": text(line.mark),
        "mark_at": None if line.mark_at_ns is None else time_out(line.mark_at_ns),
        "realised": plain(line.realised),
        "unrealised": text(line.unrealised),
        "total": text(line.total),
        "fees": fees(of.fees),
        "fills": of.fills,
    }
