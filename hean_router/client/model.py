"""Answers that programs compute with; everything else comes as it is sent."""

from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct


class FeePaid(Struct, frozen=True, kw_only=True):
    """What was charged, in one asset."""

    asset: str
    amount: Decimal


class ChildOrder(Struct, frozen=True, kw_only=True):
    """One order at one venue."""

    id: str
    venue: str
    status: str
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None = None
    average_price: Decimal | None = None
    why: str = ""


class Order(Struct, frozen=True, kw_only=True):
    """An order as it stands; `raw` is the whole answer."""

    id: str
    client_order_id: str
    symbol: str
    side: str
    status: str
    filled_quantity: Decimal
    leaves_quantity: Decimal
    quantity: Decimal | None = None
    average_price: Decimal | None = None
    limit_price: Decimal | None = None
    fees: tuple[FeePaid, ...] = ()
    children: tuple[ChildOrder, ...] = ()
    why: str | None = None
    saved_quote: Decimal | None = None
    saved_bps: Decimal | None = None
    raw: dict[str, Any] = {}

    @property
    def is_final(self) -> bool:
        """Whether nothing of it can trade any more."""
        return self.status in {"filled", "canceled", "rejected", "expired"}


def order_of(answer: dict[str, Any]) -> Order:
    """The answer as an order."""
    return msgspec.convert({**answer, "raw": answer}, Order, strict=False)
