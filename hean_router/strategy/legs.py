"""One venue's side of a trade: its ladder, lots, fees and rules, on the book's common scales.

Whole numbers where sizes and edges are decided; nothing here knows a balance or a limit of ours.
"""

from collections.abc import Iterator
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import NamedTuple

from hean_router.book import ConsolidatedBook, LiveBook
from hean_router.book.all_in import Charge, charge
from hean_router.book.sweep import EXACT, scaled
from hean_router.domain.instrument import Instrument, Side
from hean_router.domain.scale import floor_to, plain, to_decimal
from hean_router.domain.venue import Fees

ZERO, ONE, BPS = Decimal(0), Decimal(1), Decimal(10_000)
RATIO = 10**12  # hurdles are compared as whole 1e-12 of the buying price, rounded up
# For sizes out of quotients: never a lot more, or a lot less, than there is.
DOWN, UP = Context(prec=60, rounding=ROUND_FLOOR), Context(prec=60, rounding=ROUND_CEILING)


class Leg(NamedTuple):
    """One venue's side of it, on the scales of the consolidated book."""

    venue: str
    of: Instrument
    live: LiveBook
    fees: Fees
    side: Side
    charge: Charge
    px_mul: int
    qty_mul: int

    def levels(self) -> Iterator[tuple[int, int, int]]:
        """All-in price as `(numerator, denominator)`, and net base that the level moves."""
        up, down = self.charge.quote, self.charge.base
        for px, qty in self.live.facing(self.side):
            yield px * self.px_mul * up, down, qty * self.qty_mul * down

    @property
    def base_factor(self) -> Decimal:
        """Net base per base ordered: under 1 for a buy with its fee in base."""
        return to_decimal(self.charge.base, self.charge.decimals)

    @property
    def quote_factor(self) -> Decimal:
        """Quote per notional."""
        return to_decimal(self.charge.quote, self.charge.decimals)

    @property
    def lot(self) -> Decimal:
        """Its lot in base."""
        return self.of.qty_decimal(self.of.lot)


class Walk(NamedTuple):
    """How much base (net) can move before the marginal edge meets the hurdle."""

    net: int
    ended: str  # hurdle or depth


def legs(book: ConsolidatedBook) -> dict[Side, list[Leg]]:
    """Every LIVE venue with something on that side, as a leg."""
    fees, decimals = book.fees(), book.fee_decimals
    out: dict[Side, list[Leg]] = {Side.BUY: [], Side.SELL: []}
    for venue, live in book.live().items():
        rules = live.instrument
        px_mul = 10 ** (book.px_decimals - rules.px_decimals)
        qty_mul = 10 ** (book.qty_decimals - rules.qty_decimals)
        for side in Side:
            if live.best(side) is not None:
                cost = charge(fees[venue], side, book.pair.part, decimals)
                out[side].append(
                    Leg(str(venue), rules, live, fees[venue], side, cost, px_mul, qty_mul)
                )
    return out


def best_px(leg: Leg) -> int:
    """Its best price on the pair scale."""
    level = leg.live.best(leg.side)
    assert level is not None, "a leg has levels"
    return level[0] * leg.px_mul


def top_px(leg: Leg) -> Decimal:
    """Its best price, as displayed."""
    level = leg.live.best(leg.side)
    assert level is not None, "a leg has levels"
    return leg.of.px_decimal(level[0])


def walk(buy: Leg, sell: Leg, hurdle: Decimal) -> Walk:
    """Largest net base of which every unit brings more than `hurdle` bps beyond both fees."""
    more = RATIO + scaled(hurdle / BPS, 12, up=True)
    asks, bids = buy.levels(), sell.levels()
    ask, bid = next(asks, None), next(bids, None)
    total = ask_used = bid_used = 0
    while ask is not None and bid is not None:
        # bid all-in > ask all-in × (1 + hurdle), without a division
        if bid[0] * ask[1] * RATIO <= ask[0] * bid[1] * more:
            return Walk(total, "hurdle")
        step = min(ask[2] - ask_used, bid[2] - bid_used)
        total, ask_used, bid_used = total + step, ask_used + step, bid_used + step
        if ask_used == ask[2]:
            ask, ask_used = next(asks, None), 0
        if bid_used == bid[2]:
            bid, bid_used = next(bids, None), 0
    return Walk(total, "depth")


def floor_lot(rules: Instrument, qty: Decimal) -> Decimal:
    """`qty` on the lot, rounded down; not below 0."""
    units = floor_to(scaled(max(ZERO, qty), rules.qty_decimals, up=False), rules.lot)
    return rules.qty_decimal(units)


class Taking(NamedTuple):
    """What taking so much of one venue's ladder does: quote moved, fee in; the worst price."""

    quote: Decimal
    worst: Decimal
    qty: Decimal  # as much as there was


def taking(leg: Leg, qty: Decimal) -> Taking:
    """Walk one venue's ladder for `qty` base."""
    want, value, worst = scaled(qty, leg.of.qty_decimals, up=False), 0, 0
    left = want
    for px, size in leg.live.facing(leg.side):
        take = min(size, left)
        value, worst, left = value + px * take, px, left - take
        if not left:
            break
    notional = to_decimal(value, leg.of.px_decimals + leg.of.qty_decimals)
    return Taking(
        EXACT.multiply(notional, leg.quote_factor),
        leg.of.px_decimal(worst),
        leg.of.qty_decimal(want - left),
    )


def refused_by(rules: Instrument, qty: Decimal, px: Decimal) -> str:
    """Why a venue would refuse that order by its own rules; empty if it would not."""
    units, px_units = (
        scaled(qty, rules.qty_decimals, up=False),
        scaled(px, rules.px_decimals, up=False),
    )
    if units <= 0 or units < rules.min_qty:
        return f"below its minimum of {plain(rules.qty_decimal(max(rules.min_qty, rules.lot)))}"
    if rules.max_qty is not None and units > rules.max_qty:
        return f"above its maximum of {plain(rules.qty_decimal(rules.max_qty))}"
    notional = EXACT.multiply(qty, px)
    if notional < rules.min_notional:
        return f"worth less than its minimum of {plain(rules.min_notional)}"
    if rules.max_notional is not None and notional > rules.max_notional:
        return f"worth more than its maximum of {plain(rules.max_notional)}"
    if px_units < rules.px_min or (rules.px_max is not None and px_units > rules.px_max):
        return f"price {plain(px)} is outside its bounds"
    return ""
