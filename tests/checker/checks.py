"""What must hold between the venues' histories and what the router says: a check for each promise.

A check is a function from a `History` to what is wrong, one sentence each; its name is what a
failure is called by.  Invariants in brackets are those of the project's reliability plan.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from tests.checker.router_side import (
    FINAL,
    LIVE_CHILD,
    NEVER_STOOD,
    STOOD,
    Api,
    ApiParent,
    JournalRow,
)
from tests.checker.venue_logs import EXACT, ZERO, Fill, Order, VenueLog, total

KEY_LEN, PARENT_AT = 17, slice(4, 12)  # h, 3 of the installation, 8 parent, 3 number, 2 attempt
_LETTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyz")


@dataclass
class History:
    """Everything that is known of a run."""

    logs: dict[str, VenueLog]
    api: Api
    journal: list[JournalRow] | None = None

    @property
    def orders(self) -> list[Order]:
        """Every order that any venue has taken."""
        return [order for log in self.logs.values() for order in log.orders.values()]

    @property
    def fills(self) -> list[Fill]:
        """Every match at any venue."""
        return [fill for log in self.logs.values() for fill in log.fills]

    def at_venue(self) -> dict[str, list[Order]]:
        """Orders by the client id they came with."""
        out: dict[str, list[Order]] = {}
        for order in self.orders:
            out.setdefault(order.client_id, []).append(order)
        return out


Check = Callable[[History], Iterator[str]]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Enlist it."""
    CHECKS[function.__name__] = function
    return function


def run(history: History) -> list[str]:
    """What is wrong, as `check: sentence`; empty if nothing is."""
    return [f"{name}: {text}" for name, one in CHECKS.items() for text in one(history)]


# ------------------------------------------------------------------------- the logs themselves


@check
def venue_log_whole(history: History) -> Iterator[str]:
    """Numbered without a gap, in order of time, each order's rows make sense."""
    for log in history.logs.values():
        yield from log.faults


@check
def venue_books_balance(history: History) -> Iterator[str]:
    """[I16] At each balance the venue told: opening + fills - fees, to the last unit."""
    for log in history.logs.values():
        running = {account: dict(amounts) for account, amounts in log.opening.items()}
        fills, at = log.fills, 0
        for held in log.held:
            while at < len(fills) and fills[at].seq < held.seq:
                _book(running[fills[at].account], fills[at])
                at += 1
            for asset, (told, _) in held.amounts.items():
                ours = running[held.account].get(asset, ZERO)
                if told != ours:
                    yield (
                        f"{log.venue} row {held.seq}: {held.account} has {told} {asset}, "
                        f"its fills and fees make {ours}"
                    )


def _book(amounts: dict[str, Decimal], fill: Fill) -> None:
    base, _, quote = fill.symbol.partition("/")
    sign = 1 if fill.side == "buy" else -1
    for asset, amount in (
        (base, sign * fill.qty),
        (quote, -sign * EXACT.multiply(fill.px, fill.qty)),
        (fill.fee_asset, -fill.fee),
    ):
        amounts[asset] = EXACT.add(amounts.get(asset, ZERO), amount)


# ------------------------------------------------------------------------- identity


@check
def client_id_decodes(history: History) -> Iterator[str]:
    """[I10] The client id of each venue order is one of ours and names the parent it belongs to."""
    tags = set()
    for order in history.orders:
        key = order.client_id
        if len(key) != KEY_LEN or not set(key) <= _LETTERS or key[0] != "h":
            yield f"{name_of(order)}: client id {key!r} is none of ours"
            continue
        tags.add(key[1:4])
        found = history.api.children.get(key)
        if found is not None and found[0].id != key[PARENT_AT]:
            yield f"{name_of(order)}: {key} names parent {key[PARENT_AT]}, it is of {found[0].id}"
    if len(tags) > 1:
        yield f"one installation has several tags: {', '.join(sorted(tags))}"


@check
def no_order_without_parent(history: History) -> Iterator[str]:
    """[I11] Each venue order is exactly one child that the API shows, at that venue and account."""
    for order in history.orders:
        found = history.api.children.get(order.client_id)
        if found is None:
            yield f"{name_of(order)}: the API shows no child {order.client_id!r}"
            continue
        parent, child = found
        for what, here, there in (
            ("venue", order.venue, child.venue),
            ("account", order.account, parent.account),
            ("symbol", order.symbol, parent.symbol),
            ("side", order.side, parent.side),
            ("quantity", order.qty, child.qty),
            ("price", order.px, child.px),
        ):
            if here != there:
                yield f"{name_of(order)}: {what} {here} at the venue, {there} in child {child.key}"
        if child.venue_order_id not in {"", order.order_id}:
            yield f"{name_of(order)}: child {child.key} says it is {child.venue_order_id}"


@check
def nothing_doubled(history: History) -> Iterator[str]:
    """[I11, I37] No two orders, children or parents of one name, and nothing sent twice."""
    for key, orders in history.at_venue().items():
        if len(orders) > 1:
            yield f"client id {key!r} came {len(orders)} times: {', '.join(map(name_of, orders))}"
    at_venue = history.at_venue()
    refused = Counter(
        (log.venue, refusal.client_id)
        for log in history.logs.values()
        for refusal in log.refusals
        if refusal.client_id
    )
    for (venue, key), times in refused.items():
        sent = times + sum(order.venue == venue for order in at_venue.get(key, ()))
        if sent > 1:
            yield f"child {key} was sent to {venue} {sent} times"
    shown = Counter(child.key for parent in history.api.parents for child in parent.children)
    yield from (f"the API shows child {key} {n} times" for key, n in shown.items() if n > 1)
    ids = Counter((parent.account, parent.client_order_id) for parent in history.api.parents)
    for (account, name), n in ids.items():
        if n > 1:
            yield f"client_order_id {name} of {account} made {n} parents"
    trades = Counter(fill.name for fill in history.api.fills)
    yield from (
        f"the API counts fill {trade_of(name)} {n} times" for name, n in trades.items() if n > 1
    )


@check
def nothing_lost(history: History) -> Iterator[str]:
    """[I11] What the API says of a child's life is what the venue saw; no submit is forgotten."""
    at_venue = history.at_venue()
    for key, (_, child) in history.api.children.items():
        orders = at_venue.get(key, [])
        if child.status in STOOD and not orders:
            yield f"child {key} is {child.status}, and {child.venue} never saw it"
        if child.status in NEVER_STOOD and any(_stood(order) for order in orders):
            yield f"child {key} is {child.status}, and {child.venue} had it: {name_of(orders[0])}"
        if child.status in {"canceled", "expired"} and any(order.leaves for order in orders):
            yield f"child {key} is {child.status}, and {name_of(orders[0])} is open"
        if child.status == "filled" and any(order.ended_ns is not None for order in orders):
            yield f"child {key} is filled, and {name_of(orders[0])} ended before it was"
    names = {parent.client_order_id for parent in history.api.parents}
    for name in history.api.submitted:
        if name not in names:
            yield f"client_order_id {name} was answered, and the API shows no such order"


def _stood(order: Order) -> bool:
    """Whether it did anything: a post-only order that would have taken ends as it arrives."""
    return bool(order.fills) or order.ended_ns != order.arrived_ns


# ------------------------------------------------------------------------- arithmetic


@check
def fills_agree(history: History) -> Iterator[str]:
    """[I1] The API's fills are the venues' fills: each of them, once, with every figure."""
    theirs = {fill.name: fill for fill in history.fills if fill.account in history.api.accounts}
    ours = {fill.name: fill for fill in history.api.fills}
    client_ids = {(order.venue, order.order_id): order.client_id for order in history.orders}
    for name, fill in theirs.items():
        if (told := ours.get(name)) is None:
            yield f"fill {trade_of(name)} of {fill.qty} is lost: the API does not show it"
            continue
        for what in ("side", "px", "qty", "fee", "fee_asset", "maker"):
            here, there = getattr(fill, what), getattr(told, what)
            if here != there:
                yield f"fill {trade_of(name)}: {what} {here} at the venue, {there} at the API"
        key = client_ids[fill.venue, fill.order_id]
        if history.api.fill_child[name] != (key[PARENT_AT], key):
            yield f"fill {trade_of(name)} is of {key}, the API says {history.api.fill_child[name]}"
    for name in ours.keys() - theirs.keys():
        yield f"fill {trade_of(name)} of {ours[name].qty} is invented: no venue made it"


@check
def children_add_up(history: History) -> Iterator[str]:
    """[I1, I3] A child's filled quantity and fees are the sums of the venue's fills."""
    at_venue = history.at_venue()
    for key, (_, child) in history.api.children.items():
        fills = [fill for order in at_venue.get(key, ()) for fill in order.fills]
        filled = total(fill.qty for fill in fills)
        if child.filled != filled:
            yield f"child {key}: {child.filled} filled, {child.venue}'s fills make {filled}"
        if _some(child.fees) != (paid := _paid(fills)):
            yield f"child {key}: fees {_money(child.fees)}, {child.venue} charged {_money(paid)}"
        if filled > child.qty:
            yield f"child {key}: {filled} filled of {child.qty}"


@check
def parents_add_up(history: History) -> Iterator[str]:
    """[I1] A parent is the sum of its children, in base, quote and fees."""
    by_parent: dict[str, list[Fill]] = {}
    for order in history.orders:
        by_parent.setdefault(order.client_id[PARENT_AT], []).extend(order.fills)
    for parent in history.api.parents:
        fills = by_parent.get(parent.id, [])
        quote = total(EXACT.multiply(fill.px, fill.qty) for fill in fills)
        filled = total(fill.qty for fill in fills)
        for what, told, sum_ in (
            ("filled, its children", parent.filled, total(c.filled for c in parent.children)),
            ("filled, the venues' fills", parent.filled, filled),
            ("of quote, the venues' fills", parent.filled_quote, quote),
        ):
            if told != sum_:
                yield f"parent {parent.id}: {told} {what} make {sum_}"
        if _some(parent.fees) != (paid := _paid(fills)):
            yield f"parent {parent.id}: fees {_money(parent.fees)}, charged were {_money(paid)}"
        if parent.filled > parent.qty:
            yield f"parent {parent.id}: {parent.filled} filled of {parent.qty}"
        if parent.status == "filled" and parent.filled == 0:
            yield f"parent {parent.id} is filled with nothing"


def _paid(fills: list[Fill]) -> dict[str, Decimal]:
    """Fees by asset."""
    out: dict[str, Decimal] = {}
    for fill in fills:
        out[fill.fee_asset] = EXACT.add(out.get(fill.fee_asset, ZERO), fill.fee)
    return _some(out)


def _some(fees: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Without what is nothing."""
    return {asset: fee for asset, fee in fees.items() if fee}


@check
def never_overcommitted(history: History) -> Iterator[str]:
    """[I2] At no instant do a parent's fills and open orders, over all venues, exceed it."""
    changes: dict[str, list[tuple[int, int, int, Decimal, Order]]] = {}
    for order in history.orders:
        if order.qty is None:
            continue
        mine = changes.setdefault(order.client_id[PARENT_AT], [])
        mine.append((order.arrived_ns, 1, order.seq, order.qty, order))
        if order.ended_ns is not None:
            left = EXACT.subtract(order.qty, order.filled)
            # What ended and what came in the same nanosecond: nobody can tell, so ends go first,
            # except of an order that ends as it comes.
            rank = 2 if order.ended_ns == order.arrived_ns else 0
            mine.append((order.ended_ns, rank, order.seq, -left, order))
    parents = {parent.id: parent for parent in history.api.parents}
    for parent_id, mine in changes.items():
        if (parent := parents.get(parent_id)) is None:
            continue  # no_order_without_parent says so
        committed = ZERO
        for _, _, _, change, order in sorted(mine, key=lambda one: one[:3]):
            committed = EXACT.add(committed, change)
            if committed > parent.qty:
                yield (
                    f"parent {parent.id}: {committed} was filled or open of {parent.qty} "
                    f"when {name_of(order)} came"
                )
                break


@check
def terms_honoured(history: History) -> Iterator[str]:
    """[I8] Limit, budget, post-only and the choice of venues, in what the venues really did."""
    at_venue = history.at_venue()
    for parent in history.api.parents:
        orders = [order for child in parent.children for order in at_venue.get(child.key, ())]
        fills = [fill for order in orders for fill in order.fills]
        for order in orders:
            if order.venue in parent.exclude or (
                parent.include and order.venue not in parent.include
            ):
                yield f"parent {parent.id}: {name_of(order)} is at a venue that was not to be used"
            if parent.post_only and not order.post_only:
                yield f"parent {parent.id} is post-only, {name_of(order)} is not"
        for fill in fills:
            if _beyond(parent, fill):
                yield f"parent {parent.id}: {parent.side} at {fill.px}, limit {parent.limit_px}"
            if parent.post_only and not fill.maker:
                yield f"parent {parent.id} is post-only and took: {trade_of(fill.name)}"
        quote = total(EXACT.multiply(fill.px, fill.qty) for fill in fills)
        # A sale may find better prices than it was planned with; a purchase never spends more.
        if parent.quote_qty is not None and parent.side == "buy" and quote > parent.quote_qty:
            yield f"parent {parent.id}: {quote} spent of {parent.quote_qty}"


def _beyond(parent: ApiParent, fill: Fill) -> bool:
    if parent.limit_px is None:
        return False
    return fill.px > parent.limit_px if parent.side == "buy" else fill.px < parent.limit_px


# ------------------------------------------------------------------------- money


@check
def positions_add_up(history: History) -> Iterator[str]:
    """[I15] A position is the signed sum of the venue's fills, less fees charged in its base."""
    sums: dict[tuple[str, str, str], Decimal] = {}
    for fill in history.fills:
        if fill.account in history.api.accounts:
            name = (fill.venue, fill.account, fill.symbol)
            signed = fill.qty if fill.side == "buy" else -fill.qty
            if fill.fee_asset == fill.symbol.partition("/")[0]:
                signed = EXACT.subtract(signed, fill.fee)
            sums[name] = EXACT.add(sums.get(name, ZERO), signed)
    for name in sorted(sums.keys() | history.api.positions.keys()):
        ours, theirs = history.api.positions.get(name, ZERO), sums.get(name, ZERO)
        if ours != theirs:
            yield f"position {' '.join(name)}: {ours}, the venue's fills make {theirs}"


@check
def balances_agree(history: History) -> Iterator[str]:
    """[I16] What the API says we have is what the venue says, and what fills made of it."""
    for venue, log in history.logs.items():
        for account in sorted(history.api.accounts & log.opening.keys()):
            flows = log.flows(account)
            for asset, (told, _) in sorted(log.last_held(account).items()):
                opening = log.opening[account].get(asset, ZERO)
                made = EXACT.add(opening, flows.get(asset, ZERO))
                shown = history.api.balances.get((venue, account, asset))
                if told != made:
                    yield f"{venue} {account}: {told} {asset}, opening and fills make {made}"
                if shown is None and venue in history.api.unread and told == opening:
                    continue  # nobody has looked, and nothing has happened
                if shown is None and told:
                    yield f"{venue} {account}: {told} {asset}, which the API does not show"
                elif shown is not None and shown[0] != told:
                    yield f"{venue} {account}: {told} {asset}, the API says {shown[0]}"
    for venue, account, asset in history.api.balances:
        held = history.logs[venue].last_held(account) if venue in history.logs else {}
        if asset not in held and history.api.balances[venue, account, asset][0]:
            yield f"{venue} {account}: the API shows {asset}, which is not there"


@check
def nothing_open(history: History) -> Iterator[str]:
    """[I7] At the end no order is open, locked, reserved or unknown."""
    for order in history.orders:
        if order.leaves:
            yield f"{name_of(order)} is open with {order.leaves}"
    for log in history.logs.values():
        for account in sorted(log.opening):
            for asset, (_, locked) in sorted(log.last_held(account).items()):
                if locked:
                    yield f"{log.venue} {account}: {locked} {asset} is locked"
    for parent in history.api.parents:
        if parent.status not in FINAL:
            yield f"parent {parent.id} is {parent.status}"
        elif parent.leaves:
            yield f"parent {parent.id} is {parent.status} and leaves {parent.leaves}"
    for key, (_, child) in history.api.children.items():
        if child.status in LIVE_CHILD:
            yield f"child {key} is {child.status}"
    for (venue, account, asset), (_, reserved) in history.api.balances.items():
        if reserved:
            yield f"{venue} {account}: {reserved} {asset} is reserved for nothing"


def name_of(order: Order) -> str:
    """As sentences call it."""
    return f"{order.venue} order {order.order_id}"


def trade_of(name: tuple[str, str, str, str]) -> str:
    """As sentences call it."""
    return " ".join(name)


def _money(amounts: Mapping[str, Decimal]) -> str:
    return " + ".join(f"{amount} {asset}" for asset, amount in sorted(amounts.items())) or "none"
