"""What goes into a plan and what comes out of it: plain values."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from hean_router.book.all_in import Charge
from hean_router.book.sweep import EXACT, PRECISE
from hean_router.domain.errors import CommandError
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.scale import plain

WHOLE_DIGITS_MAX = 15  # of a price, a quantity or a balance: beyond it somebody mistyped
DECIMALS_MAX = 18

Balances: TypeAlias = Mapping[VenueId, Mapping[str, Decimal]]


def decimal_of(text: object, what: str, *, zero: bool = False) -> Decimal:
    """The number in plain decimal `text`; raises `CommandError` that names `what`.

    Positive, or zero where that makes sense; no exponent, sign or blanks; of a size that money
    has (15 digits before the point, 18 behind).
    """
    fix = f'write {what} as a plain decimal in quotes, such as "0.25"'
    if not isinstance(text, str):
        raise CommandError(f"{what} is {_kind(text)}, not decimal text", fix)
    whole, dot, part = text.partition(".")
    shown = repr(text[:40])
    if text[:1] == "-" and text[1:].replace(".", "", 1).isdecimal():
        raise CommandError(f"{what} is negative: {shown}", fix)
    if not (whole + part).isascii() or not (whole + part).isdecimal() or not whole:
        raise CommandError(f"{what} is not a plain decimal: {shown}", fix)
    if dot and not part:
        raise CommandError(f"{what} is not a plain decimal: {shown}", fix)
    if len(whole.lstrip("0")) > WHOLE_DIGITS_MAX or len(part.rstrip("0")) > DECIMALS_MAX:
        raise CommandError(
            f"{what} is absurd: {shown}",
            f"use at most {WHOLE_DIGITS_MAX} digits before the point and {DECIMALS_MAX} behind",
        )
    number = Decimal(text)
    if not number and not zero:
        raise CommandError(f"{what} is zero", f"{what} must be more than zero")
    return number


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float() | Decimal():
            return f"the bare number {value}"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__


class ParentOrder(Struct, frozen=True, kw_only=True):
    """What is wanted: `qty` base to be ordered (fees in base come off it on arrival).

    Without `limit_px` a market order.  The limit is on displayed prices; with `limit_all_in` on
    quote per unit received or given, fees in.
    """

    pair: Pair
    side: Side
    qty: Decimal
    limit_px: Decimal | None = None
    limit_all_in: bool = False

    @classmethod
    def parse(
        cls, symbol: str, side: str, qty: str, limit: str | None = None, *, all_in: bool = False
    ) -> "ParentOrder":
        """Read what a person typed; raises `CommandError`."""
        pair = Pair.parse(symbol)
        try:
            way = Side(side.strip().lower())
        except ValueError:
            raise CommandError(
                f"side {side!r} is neither buy nor sell", "say buy or sell"
            ) from None
        return cls(
            pair=pair,
            side=way,
            qty=decimal_of(qty, "quantity"),
            limit_px=None if limit is None else decimal_of(limit, "limit"),
            limit_all_in=all_in,
        )


class Limits(Struct, frozen=True, kw_only=True):
    """What a plan may use, beside the order's own limit price."""

    venues: frozenset[VenueId] | None = None  # only these; None = all
    exclude: frozenset[VenueId] = frozenset()
    max_share: Decimal | None = None  # of the order's quantity at any one venue, 0 to 1


class VenueBook(Struct, frozen=True, eq=False):
    """A venue's levels (best first, in the instrument's units) under its rules.

    Only the side that the order meets is read, and no deeper than the order's quantity.
    """

    instrument: Instrument
    bids: Sequence[Level] = ()
    asks: Sequence[Level] = ()

    @property
    def venue(self) -> VenueId:
        """Where it stands."""
        return self.instrument.venue


class LeftOut(Struct, frozen=True):
    """A venue that has no book to offer, and why."""

    venue: VenueId
    reason: str


class Child(Struct, frozen=True, kw_only=True):
    """One order to one venue: `qty` at `limit_px` or better.

    Amounts are what the displayed levels give, exact and unrounded: what the venue rounds is
    known only from the fill.
    """

    venue: VenueId
    side: Side
    qty: Decimal
    limit_px: Decimal
    notional: Decimal
    charge: Charge
    fee_asset: str

    @property
    def net_qty(self) -> Decimal:
        """Base that arrives (a buy) or leaves (a sell), base fee in."""
        return _factored(self.qty, self.charge.base, self.charge.decimals)

    @property
    def quote(self) -> Decimal:
        """Quote paid (a buy) or got (a sell), quote fee in."""
        return _factored(self.notional, self.charge.quote, self.charge.decimals)

    @property
    def avg_px(self) -> Decimal:
        """Expected average as displayed, fees apart; 28 digits."""
        return PRECISE.divide(self.notional, self.qty)

    @property
    def fee(self) -> Decimal:
        """The fee, in `fee_asset`; negative for a rebate."""
        # One of the two differences is zero: a fee is taken in one asset.
        quote = EXACT.subtract(self.quote, self.notional)
        base = EXACT.subtract(self.qty, self.net_qty)
        return (
            EXACT.add(quote, base) if self.side is Side.BUY else EXACT.minus(EXACT.add(quote, base))
        )

    def to_json(self) -> dict[str, str]:
        """As `hean route` shows it."""
        return {
            "venue": self.venue,
            "qty": plain(self.qty),
            "net_qty": plain(self.net_qty),
            "limit_px": plain(self.limit_px),
            "avg_px": plain(self.avg_px),
            "notional": plain(self.notional),
            "fee": plain(self.fee),
            "fee_asset": self.fee_asset,
        }


class Single(Struct, frozen=True):
    """The most and cheapest that one venue alone could do."""

    venue: VenueId
    allocated: Decimal
    net_qty: Decimal
    quote: Decimal  # paid or got, quote fee in

    @property
    def avg_all_in_px(self) -> Decimal:
        """Quote per unit received or given; 28 digits."""
        return PRECISE.divide(self.quote, self.net_qty)


class Certificate(Struct, frozen=True):
    """How good the split is, as far as the search can say.

    `proved`: nothing was left unexamined, so no split of the same quantity is better.  `gap` is
    by how much, in quote, a split without lots and minimums could at most be better, at the
    plan's own average price: a bound that holds even where `proved` is False.
    """

    proved: bool
    gap: Decimal
    nodes: int


class Story(Protocol):
    """Tells why a plan is what it is, when somebody asks: words cost more than the plan."""

    def venues(self) -> dict[VenueId, str]:
        """Every venue, by name, and why it got what it got."""

    def untaken(self) -> dict[VenueId, str]:
        """The venues that get nothing, and why."""

    def unallocated(self) -> str:
        """Why the rest found no place."""


class Plan(Struct, frozen=True, kw_only=True, eq=False):
    """How an order is split, and why.  requested = allocated + unallocated, always."""

    order: ParentOrder
    allocated: Decimal
    unallocated: Decimal
    children: tuple[Child, ...]  # by venue name
    best_single: Single | None  # None where no venue alone could do anything
    certificate: Certificate
    story: Story

    @property
    def venues(self) -> dict[VenueId, str]:
        """Every venue, by name, and why it got what it got."""
        return self.story.venues()

    @property
    def unallocated_reason(self) -> str | None:
        """Why the rest found no place; None where there is no rest."""
        return self.story.unallocated() if self.unallocated else None

    @property
    def notional(self) -> Decimal:
        """Quote of all children as displayed, fees apart."""
        return _sum(child.notional for child in self.children)

    @property
    def quote(self) -> Decimal:
        """Quote paid (a buy) or got (a sell), quote fees in."""
        return _sum(child.quote for child in self.children)

    @property
    def net_qty(self) -> Decimal:
        """Base that arrives or leaves, base fees in."""
        return _sum(child.net_qty for child in self.children)

    @property
    def avg_all_in_px(self) -> Decimal | None:
        """Quote per unit received or given; 28 digits, None for an empty plan."""
        net = self.net_qty
        return PRECISE.divide(self.quote, net) if net else None

    @property
    def saved_quote(self) -> Decimal | None:
        """Quote saved against the best single venue on what this plan receives or gives.

        Where both move the same net quantity it is the plain difference of the two amounts; where
        fees in base make the net differ, the difference of the averages times the plan's net (28
        digits).  None where the single venue could not take as much: it would be compared on
        another, easier order.
        """
        single, net = self.best_single, self.net_qty
        if single is None or single.allocated != self.allocated:
            return None
        if single.net_qty == net:
            gain = EXACT.subtract(single.quote, self.quote)
        else:
            fair = EXACT.multiply(single.quote, net)
            gain = EXACT.subtract(fair, EXACT.multiply(self.quote, single.net_qty))
            gain = PRECISE.divide(gain, single.net_qty)
        return gain if self.order.side is Side.BUY else EXACT.minus(gain)

    @property
    def saved_bps(self) -> Decimal | None:
        """The same in 1e-4 of what the single venue would have cost or given; 28 digits."""
        single, net = self.best_single, self.net_qty
        if (saved := self.saved_quote) is None or single is None:
            return None
        whole = PRECISE.divide(EXACT.multiply(single.quote, net), single.net_qty)
        return PRECISE.divide(EXACT.multiply(saved, Decimal(10_000)), whole)

    def to_json(self) -> dict[str, Any]:
        """The answer of `hean route --json`; decimals are text."""
        total = "all_in_cost" if self.order.side is Side.BUY else "all_in_proceeds"
        single = self.best_single
        return {
            "symbol": str(self.order.pair),
            "side": self.order.side.value,
            "requested": plain(self.order.qty),
            "allocated": plain(self.allocated),
            "unallocated": plain(self.unallocated),
            "unallocated_reason": self.unallocated_reason,
            "children": [child.to_json() for child in self.children],
            "notional": plain(self.notional),
            total: plain(self.quote),
            "avg_all_in_px": _text(self.avg_all_in_px),
            "best_single": single
            and {
                "venue": single.venue,
                "allocated": plain(single.allocated),
                total: plain(single.quote),
            },
            "saved_quote": _text(self.saved_quote),
            "saved_bps": _text(self.saved_bps),
            "venues": dict(self.venues),
        }


def _factored(amount: Decimal, factor: int, decimals: int) -> Decimal:
    return EXACT.scaleb(EXACT.multiply(amount, Decimal(factor)), -decimals)


def _text(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)


def _sum(numbers: Any) -> Decimal:
    total = Decimal(0)
    for number in numbers:
        total = EXACT.add(total, number)
    return total
