"""What the query store answers with: plain values, the same from both databases."""

from collections.abc import Mapping, Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import Any, Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

_EXACT = Context(prec=400, Emax=MAX_EMAX, Emin=MIN_EMIN)
_QUOTIENT = Context(prec=28)  # half even


class Page(Struct, Generic[T], frozen=True):
    """Some lines, and where the next ones begin."""

    lines: tuple[T, ...]
    next: str = ""


class Filter(Struct, frozen=True, kw_only=True):
    """Which lines; what is empty does not narrow.  `until_ns`, of our clock, is not in any more.

    `status` is for orders alone, `venue` and `order` for fills, `client_order_id` for orders.
    """

    symbol: str = ""
    side: str = ""
    strategy: str = ""
    status: tuple[str, ...] = ()
    open_only: bool = False
    client_order_id: str = ""
    venue: str = ""
    order: str = ""
    since_ns: int | None = None
    until_ns: int | None = None


class OrderLine(Struct, frozen=True, kw_only=True):
    """A parent order as it stands."""

    seq: int
    id: str
    account: str
    client_order_id: str
    symbol: str
    side: str
    kind: str
    life: str
    post_only: bool
    quantity: Decimal | None
    quote_quantity: Decimal | None
    limit_price: Decimal | None
    expires_at: int | None
    venues: Mapping[str, Any]
    strategy: str
    leg_group: str
    placed_by: str
    qty: Decimal
    quote_max: Decimal | None
    worst_px: Decimal
    worst_usd: Decimal
    status: str
    filled: Decimal
    notional: Decimal
    children: int
    why: str
    created_at: int
    updated_at: int
    ended_at: int | None
    fees: Mapping[str, Decimal] = {}

    @property
    def leaves(self) -> Decimal:
        """What may still be filled, base; nothing once it has ended."""
        if self.ended_at is not None:
            return Decimal(0)
        return max(Decimal(0), _EXACT.subtract(self.qty, self.filled))

    @property
    def average_px(self) -> Decimal | None:
        """Of its fills, fees apart, 28 digits, half even; None without one."""
        return _QUOTIENT.divide(self.notional, self.filled) if self.filled else None


class ChildLine(Struct, frozen=True, kw_only=True):
    """One order at one venue, as it stands."""

    seq: int
    key: str
    parent: str
    account: str
    venue: str
    symbol: str
    side: str
    qty: Decimal
    px: Decimal | None
    tif: str
    post_only: bool
    round: int
    reserve_asset: str
    reserve: Decimal
    worst_px: Decimal
    status: str
    filled: Decimal
    notional: Decimal
    cum: Decimal | None
    venue_order_id: str
    why: str
    intended_at: int
    acked_at: int | None
    updated_at: int
    ended_at: int | None
    fees: Mapping[str, Decimal] = {}


class OrderDetail(Struct, frozen=True):
    """A parent with its children, in the order in which they were meant."""

    order: OrderLine
    children: tuple[ChildLine, ...]


class FillLine(Struct, frozen=True, kw_only=True):
    """A trade of ours."""

    seq: int
    venue: str
    account: str
    symbol: str
    trade_id: str
    key: str
    parent: str
    strategy: str
    venue_order_id: str
    side: str
    px: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    fee_assumed: Decimal | None
    maker: bool | None
    credited: bool  # to an order of ours
    sent_at: int | None
    at: int


class DecisionLine(Struct, frozen=True, kw_only=True):
    """A round of routing: what it saw and chose.  `seen` holds decimals as text."""

    seq: int
    parent: str
    account: str
    round: int
    wanted: Decimal
    allocated: Decimal
    why: str
    seen: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, str]
    expected_px: Decimal | None
    single_venue: str
    single_px: Decimal | None
    greedy_px: Decimal | None
    mid: Decimal | None
    proved: bool
    gap: Decimal
    at: int


class PositionLine(Struct, frozen=True, kw_only=True):
    """What the fills of a symbol, a venue and a strategy add up to, as `portfolio` counts it."""

    account: str
    venue: str
    symbol: str
    strategy: str
    qty: Decimal
    cost: Decimal
    realised: Decimal
    fees: Mapping[str, Decimal]
    fees_quote: Decimal
    fees_third: Mapping[str, Decimal]
    bought: Decimal
    sold: Decimal
    turnover: Decimal
    fills: int
    since: int
    updated_at: int

    @property
    def average_px(self) -> Decimal | None:
        """What a unit held has cost, 28 digits, half even; None if none is held."""
        return _QUOTIENT.divide(self.cost, self.qty) if self.qty else None


class BalanceLine(Struct, frozen=True, kw_only=True):
    """What there is of an asset at a venue, locked in."""

    account: str
    venue: str
    asset: str
    total: Decimal
    updated_at: int


class BalanceChange(Struct, frozen=True, kw_only=True):
    """A balance moved: by a fill, or because the venue's word was taken."""

    seq: int
    account: str
    venue: str
    asset: str
    change: Decimal
    total: Decimal
    why: str
    trade_id: str
    at: int


class IncidentLine(Struct, frozen=True, kw_only=True):
    """Something that a person must look at; of the whole installation where `account` is empty."""

    seq: int
    account: str
    venue: str
    what: str
    subject: str
    detail: str
    at: int


class RiskLine(Struct, frozen=True, kw_only=True):
    """The risk state was set (`account` empty), or an order of the account was held back."""

    seq: int
    account: str
    what: str
    code: str
    reason: str
    subject: str
    by: str
    at: int
