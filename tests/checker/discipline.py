"""What must hold between what came to the venues and what allowed it: limits, kill switch, journal.

Checks like those of `checks`, enlisted there when this is imported.
"""

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import accumulate

from tests.checker.checks import History, check, name_of, trade_of
from tests.checker.router_side import JournalRow, chained
from tests.checker.venue_logs import EXACT, ZERO, Order, total

CLOCKS_NS = 50_000_000  # how far clocks of two processes on one machine may be apart


@check
def kill_switch_holds(history: History) -> Iterator[str]:
    """[I22, I23] While the kill switch was on, only what brings a position nearer to nothing came.

    All of it filled, and whatever else was open with it, the position must not change its sign.
    """
    for killed in history.api.killed:
        for order in history.orders:
            if not killed.from_ns + CLOCKS_NS < order.arrived_ns < killed.to_ns - CLOCKS_NS:
                continue
            position, open_ = _stood_at(history, order)
            qty = order.filled if order.qty is None else order.qty
            reduces = position > 0 if order.side == "sell" else position < 0
            if not reduces or EXACT.add(qty, open_) > abs(position):
                yield (
                    f"{name_of(order)} came while the kill switch was on: {order.side} {qty} with "
                    f"{open_} open and a position of {position}"
                )


def _stood_at(history: History, order: Order) -> tuple[Decimal, Decimal]:
    """When it came: its account's position in its symbol, and what else was open on its side."""
    position = open_ = ZERO
    base = order.symbol.partition("/")[0]
    for other in history.orders:
        if (other.account, other.symbol) != (order.account, order.symbol) or other is order:
            continue
        before = [fill for fill in other.fills if fill.time_ns < order.arrived_ns]
        for fill in before:
            position = EXACT.add(position, fill.qty if fill.side == "buy" else -fill.qty)
            if fill.fee_asset == base:
                position = EXACT.subtract(position, fill.fee)
        over = other.ended_ns is not None and other.ended_ns <= order.arrived_ns
        if other.side == order.side and other.arrived_ns < order.arrived_ns and not over:
            left = ZERO if other.qty is None else other.qty
            open_ = EXACT.add(open_, EXACT.subtract(left, total(fill.qty for fill in before)))
    return position, open_


@check
def limits_held(history: History) -> Iterator[str]:
    """[I20] At no instant were more orders open, and none was larger, than was allowed."""
    limits = history.api.limits
    largest = limits.get("order_quote")
    scopes: dict[tuple[str, str], list[Order]] = {}
    for order in history.orders:
        scopes.setdefault(("open_orders_venue", f"{order.venue} {order.account}"), []).append(order)
        scopes.setdefault(("open_orders_account", order.account), []).append(order)
        px = order.px or max((fill.px for fill in order.fills), default=ZERO)
        worth = EXACT.multiply(px, order.filled if order.qty is None else order.qty)
        if largest is not None and worth > largest:
            yield f"{name_of(order)} is worth {worth}, {largest} is allowed"
    for (name, where), orders in scopes.items():
        most = _most_open(orders)
        if name in limits and most > limits[name]:
            yield f"{where}: {most} orders were open at once, {limits[name]} are allowed"


def _most_open(orders: list[Order]) -> int:
    """How many of them stood at the same time."""
    changes = []
    for order in orders:
        last_ns = order.fills[-1].time_ns if order.fills and not order.leaves else None
        over_ns = order.ended_ns if order.ended_ns is not None else last_ns
        if over_ns != order.arrived_ns:  # else it never stood
            changes.append((order.arrived_ns, 1))
            if over_ns is not None:
                changes.append((over_ns, -1))
    return max(accumulate(change for _, change in sorted(changes)), default=0)


@check
def rates_held(history: History) -> Iterator[str]:
    """[I24] No venue got more orders from an account in any window than it allows."""
    for venue, (limit, window_ms) in history.api.rates.items():
        log = history.logs[venue]
        arrivals: dict[str, list[int]] = {}
        for order in log.orders.values():
            arrivals.setdefault(order.account, []).append(order.arrived_ns)
        for refusal in log.refusals:
            if refusal.client_id:
                arrivals.setdefault(refusal.account, []).append(refusal.time_ns)
        for account, times in arrivals.items():
            times.sort()
            for first, last in zip(times, times[limit:], strict=False):
                if last - first < window_ms * 1_000_000:
                    yield f"{venue} {account}: more than {limit} orders within {window_ms} ms"
                    break


# ------------------------------------------------------------------------- the journal


def _proven(rows: list[JournalRow]) -> tuple[list[JournalRow], str]:
    """The rows that the chain proves, and why it goes no further."""
    before = bytes(32)
    for number, row in enumerate(rows):
        if row.seq != number + 1:
            return rows[:number], f"row {number + 1} is missing: {row.seq} is in its place"
        before = chained(before, row.seq, row.kind, row.body)
        if before != row.hash:
            return rows[:number], f"row {row.seq} ({row.kind}) is not what was written"
    return rows, ""


@check
def journal_chained(history: History) -> Iterator[str]:
    """[I13] Rows are numbered from 1 without a gap, each hash covers the row before it."""
    _, why = _proven(history.journal or [])
    if why:
        yield why


@check
def intent_before_order(history: History) -> Iterator[str]:
    """[I9] Whatever came to a venue had its intent on disk before, once, with the same terms."""
    if history.journal is None:
        return
    rows: dict[str, list[JournalRow]] = {}
    for row in _proven(history.journal)[0]:
        if row.kind == "child_intended":
            rows.setdefault(row.data["key"], []).append(row)
    arrivals = [(one.venue, one.client_id, one.arrived_ns) for one in history.orders]
    arrivals += [
        (log.venue, one.client_id, one.time_ns)
        for log in history.logs.values()
        for one in log.refusals
        if one.client_id
    ]
    for venue, key, at_ns in arrivals:
        found = rows.get(key, [])
        if len(found) != 1:
            yield f"{venue} got {key!r}, the journal has {len(found)} intents of it"
            continue
        data = found[0].data
        if data["venue"] != venue:
            yield f"{venue} got {key}, which was meant for {data['venue']}"
        if found[0].at_ns > at_ns + CLOCKS_NS:
            late_ms = (found[0].at_ns - at_ns) // 1_000_000
            yield f"{venue} got {key} {late_ms} ms before its intent was written"


@check
def journal_agrees(history: History) -> Iterator[str]:
    """[I11] The journal has each fill once and each parent that the API shows, and no other."""
    if history.journal is None:
        return
    fills = Counter()
    parents = Counter()
    children = set()
    for row in _proven(history.journal)[0]:
        data = row.data if row.kind in {"filled", "parent_placed", "child_intended"} else None
        if row.kind == "fill_undone" and (undone := row.data)["whole"]:
            # Booked again by another row: with its order, or as the trade that it really was.
            fills[undone["venue"], undone["account"], undone["symbol"], undone["trade_id"]] -= 1
        if row.kind == "filled":
            fills[data["venue"], data["account"], data["symbol"], data["trade_id"]] += 1
        elif row.kind == "parent_placed":
            parents[data["parent"]] += 1
        elif row.kind == "child_intended":
            children.add(data["key"])
    theirs = {fill.name for fill in history.fills if fill.account in history.api.accounts}
    for name in sorted(fills.keys() | theirs):
        if fills[name] != (name in theirs):
            yield f"fill {trade_of(name)} is {fills[name]} times in the journal"
    shown = {parent.id for parent in history.api.parents}
    for parent_id in sorted(parents.keys() | shown):
        if parents[parent_id] != (parent_id in shown):
            there = "shown" if parent_id in shown else "not shown"
            times = parents[parent_id]
            yield f"parent {parent_id} is {times} times in the journal, {there} by the API"
    for key in sorted(children ^ history.api.children.keys()):
        where = "journal" if key in children else "API"
        yield f"child {key} is only in the {where}"
