"""Answers that programs compute with; everything else comes as it is sent."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct


class FeePaid(Struct, frozen=True, kw_only=True):
    """What was charged, in one asset; negative where the venue paid us."""

    asset: str
    amount: Decimal


class ChildOrder(Struct, frozen=True, kw_only=True):
    """One order at one venue; quantities in base, prices in quote.

    `id` is ours, as the venue knows it by; `venue_order_id` is the venue's own, '' until it told.
    """

    id: str
    venue: str
    status: str
    quantity: Decimal
    filled_quantity: Decimal
    venue_order_id: str = ""
    limit_price: Decimal | None = None
    average_price: Decimal | None = None
    fees: tuple[FeePaid, ...] = ()
    round: int = 0
    why: str = ""


class Seen(Struct, frozen=True, kw_only=True):
    """A venue's book as a decision saw it, and what it was given."""

    venue: str
    version: int
    age_ms: int
    quantity: Decimal
    best_price: Decimal | None = None


class Decision(Struct, frozen=True, kw_only=True):
    """One round of planning: what was wanted, what was placed, on which books.

    Prices are per unit after fees.  `proved` says that no better split exists on those books to
    within `gap` (quote).
    """

    round: int
    at: datetime
    wanted: Decimal
    allocated: Decimal
    why: str = ""
    expected_price: Decimal | None = None
    single_venue: str = ""
    single_price: Decimal | None = None
    greedy_price: Decimal | None = None
    mid: Decimal | None = None
    proved: bool = False
    gap: Decimal = Decimal(0)
    books: tuple[Seen, ...] = ()
    left_out: dict[str, str] = {}


class Order(Struct, frozen=True, kw_only=True):
    """An order as it stands; quantities in base, prices in quote; `raw` is the whole answer.

    `saved_quote` and `saved_bps` compare what was realised, fees in, with the best venue alone on
    the books that were seen (`saved_vs_greedy_…`: with a plain greedy split); negative when worse,
    None where there is nothing to compare.
    """

    id: str
    client_order_id: str
    symbol: str
    side: str
    status: str
    filled_quantity: Decimal
    leaves_quantity: Decimal
    account: str = ""
    type: str = ""
    time_in_force: str = ""
    post_only: bool = False
    quantity: Decimal | None = None
    quote_quantity: Decimal | None = None
    limit_price: Decimal | None = None
    expire_time: datetime | None = None
    strategy: str = ""
    filled_quote: Decimal = Decimal(0)
    average_price: Decimal | None = None
    fees: tuple[FeePaid, ...] = ()
    children: tuple[ChildOrder, ...] = ()
    decisions: tuple[Decision, ...] = ()
    why: str | None = None
    saved_quote: Decimal | None = None
    saved_bps: Decimal | None = None
    saved_on_quantity: Decimal = Decimal(0)
    saved_vs_greedy_quote: Decimal | None = None
    saved_vs_greedy_bps: Decimal | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    raw: dict[str, Any] = {}

    @property
    def is_final(self) -> bool:
        """Whether nothing of it can trade any more.  `unknown` can."""
        return self.status in {"filled", "canceled", "rejected", "expired"}


class Fill(Struct, frozen=True, kw_only=True):
    """One trade of ours: price in quote, quantity in base, fee in `fee_asset`.

    `order_id` is '' for a trade that no order of ours explains; `maker` is None where the venue
    does not tell.
    """

    venue: str
    account: str
    symbol: str
    trade_id: str
    order_id: str
    child_id: str
    side: str
    price: Decimal
    quantity: Decimal
    fee: Decimal
    fee_asset: str
    at: datetime
    strategy: str = ""
    maker: bool | None = None


def order_of(answer: dict[str, Any]) -> Order:
    """The answer as an order."""
    return msgspec.convert({**answer, "raw": answer}, Order, strict=False)


def fill_of(answer: dict[str, Any]) -> Fill:
    """The answer as a trade."""
    return msgspec.convert(answer, Fill, strict=False)
