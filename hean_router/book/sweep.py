"""What taking levels one after the other would cost."""

from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Context, Decimal
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Side, VenueId
from hean_router.domain.scale import to_decimal

PRECISE = Context(prec=28, rounding=ROUND_HALF_EVEN)  # for quotients: nothing else is rounded
EXACT = Context(prec=400, rounding=ROUND_HALF_EVEN)  # products and sums of money never reach it


# A level on the pair scale: venue, price, quantity, and its venue's charge factors, quote and base.
Taken: TypeAlias = tuple[VenueId, int, int, int, int]


class Sweep(Struct, frozen=True, eq=False):
    """The result of a walk through the consolidated book.

    `qty` was there to take, `short` was wanted and was not.  `quote` is what is paid (a buy) or
    got (a sell), quote fees in; `net_qty` what arrives or is given, base fees in.  All exact; the
    averages are quotients of 28 digits.
    """

    side: Side
    qty: Decimal
    short: Decimal
    net_qty: Decimal
    notional: Decimal
    quote: Decimal
    worst_px: Decimal | None  # displayed
    levels: int
    venues: Mapping[VenueId, Decimal]  # quantity by venue

    @property
    def avg_px(self) -> Decimal | None:
        """VWAP as displayed; None if nothing is there."""
        return PRECISE.divide(self.notional, self.qty) if self.qty else None

    @property
    def avg_all_in_px(self) -> Decimal | None:
        """Quote per unit received or given; None if nothing is there."""
        return PRECISE.divide(self.quote, self.net_qty) if self.net_qty else None


def scaled(number: Decimal, decimals: int, *, up: bool) -> int:
    """Count of 10**-`decimals` in `number`, rounded in the direction said."""
    rounding = ROUND_CEILING if up else ROUND_FLOOR
    return int(EXACT.scaleb(number, decimals).to_integral_value(rounding))


def sweep(
    side: Side,
    levels: Iterable[Taken],
    decimals: tuple[int, int, int],
    qty: Decimal | None,
) -> Sweep:
    """Take `levels` (best all-in first; price, quantity and fee `decimals`) until `qty` is had.

    None takes all.  A quantity finer than the scale is rounded down, the rest stays `short`.
    """
    px_decimals, qty_decimals, fee_decimals = decimals
    buying = side is Side.BUY
    room = None if qty is None else scaled(qty, qty_decimals, up=False)
    taken = net = notional = quote = count = 0
    worst_px: int | None = None
    venues: dict[VenueId, int] = {}
    for venue, px, size, quote_factor, base_factor in levels:
        if room is not None:
            size = min(size, room - taken)  # noqa: PLW2901 - the part of the level that we take
            if not size:
                break
        value = px * size
        taken += size
        net += size * base_factor
        notional += value
        quote += value * quote_factor
        count += 1
        venues[venue] = venues.get(venue, 0) + size
        if worst_px is None or (px > worst_px if buying else px < worst_px):
            worst_px = px
    return Sweep(
        side=side,
        qty=to_decimal(taken, qty_decimals),
        short=Decimal(0) if qty is None else EXACT.subtract(qty, to_decimal(taken, qty_decimals)),
        net_qty=to_decimal(net, qty_decimals + fee_decimals),
        notional=to_decimal(notional, px_decimals + qty_decimals),
        quote=to_decimal(quote, px_decimals + qty_decimals + fee_decimals),
        worst_px=None if worst_px is None else to_decimal(worst_px, px_decimals),
        levels=count,
        venues={venue: to_decimal(size, qty_decimals) for venue, size in venues.items()},
    )
