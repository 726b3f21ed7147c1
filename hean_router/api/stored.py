"""Orders and fills out of the query store, in the shapes that the views read.

The store answers what the process no longer remembers, and the same from either database.  It may
be a moment behind the journal; `/v1/orders` without `source=store` never is.
"""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import Struct

from hean_router.domain.instrument import Side
from hean_router.domain.parent import Intent, Life, OrderKind, Status, VenueChoice
from hean_router.domain.record import Decided, Filled, Seen
from hean_router.oms import ChildStatus
from hean_router.store.lines import ChildLine, DecisionLine, FillLine, OrderDetail
from hean_router.store.query import QueryStore


class Meant(Struct, frozen=True):
    """What of a child's intention the views read."""

    round: int
    at_ns: int


class StoredChild(Struct, frozen=True, kw_only=True):
    """A child as the tables have it."""

    key: str
    venue: str
    venue_order_id: str
    status: ChildStatus
    qty: Decimal
    px: Decimal | None
    filled: Decimal
    notional: Decimal
    fees: dict[str, Decimal]
    intended: Meant
    why: str


class StoredParent(Struct, frozen=True, kw_only=True):
    """A parent as the tables have it."""

    id: str
    intent: Intent
    qty: Decimal
    filled: Decimal
    notional: Decimal
    fees: dict[str, Decimal]
    leaves: Decimal
    status: Status
    why: str
    children: list[StoredChild]
    decisions: list[Decided]
    at_ns: int
    updated_ns: int


def _child(line: ChildLine) -> StoredChild:
    return StoredChild(
        key=line.key,
        venue=line.venue,
        venue_order_id=line.venue_order_id,
        status=ChildStatus(line.status),
        qty=line.qty,
        px=line.px,
        filled=line.filled,
        notional=line.notional,
        fees=dict(line.fees),
        intended=Meant(line.round, line.intended_at),
        why=line.why,
    )


def _decided(line: DecisionLine) -> Decided:
    return Decided(
        at_ns=line.at,
        parent=line.parent,
        round=line.round,
        wanted=line.wanted,
        allocated=line.allocated,
        why=line.why,
        seen=tuple(
            Seen(
                venue=one["venue"],
                version=one["version"],
                age_ms=one["age_ms"],
                best_px=None if one["best_px"] is None else Decimal(one["best_px"]),
                qty=Decimal(one["qty"]),
            )
            for one in line.seen
        ),
        left_out=line.left_out,
        expected_px=line.expected_px,
        single_venue=line.single_venue,
        single_px=line.single_px,
        greedy_px=line.greedy_px,
        mid=line.mid,
        proved=line.proved,
        gap=line.gap,
    )


def parent_of(detail: OrderDetail, decisions: Sequence[DecisionLine]) -> StoredParent:
    """An order with its children and decisions."""
    line = detail.order
    chosen = line.venues
    share = chosen.get("max_share")
    return StoredParent(
        id=line.id,
        intent=Intent(
            account=line.account,
            client_order_id=line.client_order_id,
            symbol=line.symbol,
            side=Side(line.side),
            kind=OrderKind(line.kind),
            life=Life(line.life),
            qty=line.quantity,
            quote_qty=line.quote_quantity,
            limit_px=line.limit_price,
            post_only=line.post_only,
            expire_ns=line.expires_at,
            venues=VenueChoice(
                include=tuple(chosen.get("include", ())),
                exclude=tuple(chosen.get("exclude", ())),
                max_share=None if share is None else Decimal(share),
            ),
            strategy=line.strategy,
        ),
        qty=line.qty,
        filled=line.filled,
        notional=line.notional,
        fees=dict(line.fees),
        leaves=line.leaves,
        status=Status(line.status),
        why=line.why,
        children=[_child(one) for one in detail.children],
        decisions=[_decided(one) for one in decisions],
        at_ns=line.created_at,
        updated_ns=line.updated_at,
    )


def fill_of(line: FillLine) -> Filled:
    """A trade."""
    return Filled(
        at_ns=line.at,
        venue=line.venue,
        account=line.account,
        symbol=line.symbol,
        trade_id=line.trade_id,
        key=line.key,
        parent=line.parent,
        strategy=line.strategy,
        venue_order_id=line.venue_order_id,
        side=Side(line.side),
        px=line.px,
        qty=line.qty,
        fee=line.fee,
        fee_asset=line.fee_asset,
        maker=line.maker,
        sent_ns=line.sent_at or 0,
    )


async def one(store: QueryStore, account: str, order_id: str, by: str) -> StoredParent | None:
    """An order by our id or the client's; None if the account has none."""
    find = store.order_by_client_id if by == "client" else store.order
    detail = await find(account, order_id)
    if detail is None:
        return None
    return parent_of(detail, await store.decisions(account, detail.order.id))
