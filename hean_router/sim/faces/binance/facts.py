"""What Binance says of itself: limits, rules of instruments, the texts of its numbers.

Sources: spot documentation of 2026-07-21, USD-M documentation, exchangeInfo recorded 2025-08.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from hean_router.sim.contract import MINUTE, MS, SECOND
from hean_router.sim.exchange import Kind, Listing
from hean_router.sim.market import listed, start_px

SESSION_LIFE_NS = 24 * 60 * MINUTE
STREAMS_MAX = 1_024
CONNECTS_MAX = 300
CONNECTS_NS = 5 * MINUTE
RAW_REQUESTS_MAX = 300_000  # since April 2026
RAW_REQUESTS_NS = 5 * MINUTE


@dataclass(frozen=True)
class Part:
    """Spot or USD-M: where two products of one venue differ."""

    kind: Kind
    prefix: str  # of REST paths
    ping_ns: int
    pong_ns: int
    messages_per_s: int
    weight_per_min: int
    order_limits: tuple[tuple[str, int, int], ...]  # interval, how many of it, limit
    depth_weights: tuple[tuple[int, int], ...]  # up to this many levels -> weight
    speeds_ns: tuple[int, ...]  # of diff depth and partial depth; the first is the default
    id_step: int  # printed ids per engine id

    @property
    def spot(self) -> bool:
        """Whether this is the spot part."""
        return self.kind is Kind.SPOT

    def last_id(self, update_id: int) -> int:
        """An engine id as printed in `u` and `lastUpdateId`."""
        return update_id * self.id_step

    def first_id(self, update_id: int) -> int:
        """An engine id as printed in `U`.

        On futures ids are not consecutive: recorded distances of `U` from the `u` before run from
        1 to hundreds of thousands.  On spot it is always 1.
        """
        return update_id * self.id_step - update_id % self.id_step


SPOT = Part(
    kind=Kind.SPOT,
    prefix="/api/v3",
    ping_ns=20 * SECOND,
    pong_ns=60 * SECOND,
    messages_per_s=5,
    weight_per_min=6_000,
    order_limits=(("SECOND", 10, 100), ("DAY", 1, 200_000)),
    depth_weights=((100, 5), (500, 25), (1_000, 50), (5_000, 250)),
    speeds_ns=(1_000 * MS, 100 * MS),
    id_step=1,
)

LINEAR = Part(
    kind=Kind.LINEAR,
    prefix="/fapi/v1",
    ping_ns=3 * MINUTE,
    pong_ns=10 * MINUTE,
    messages_per_s=10,
    weight_per_min=2_400,
    order_limits=(("MINUTE", 1, 1_200), ("SECOND", 10, 300)),
    depth_weights=((5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1_000, 20)),
    # 0 ms is undocumented, but recorded in 2023 and 2024.
    speeds_ns=(250 * MS, 500 * MS, 100 * MS, 0),
    id_step=7,
)

# asset -> (tick, lot) where the rule of thumb below would be far from the real one
_SPOT_RULES: Mapping[str, tuple[str, str]] = {
    "BTC": ("0.01", "0.00001"),
    "ETH": ("0.01", "0.0001"),
    "SOL": ("0.01", "0.001"),
    "BNB": ("0.01", "0.001"),
    "XRP": ("0.0001", "0.1"),
}
_LINEAR_RULES: Mapping[str, tuple[str, str, str]] = {
    "BTC": ("0.1", "0.001", "100"),
    "ETH": ("0.01", "0.001", "20"),
}
_LINEAR_PX_DECIMALS = {"BTC": 2}  # "61800.20", although the tick is 0.10


def listings(symbols: Iterable[str]) -> list[Listing]:
    """Binance's rules for these symbols.

    ValueError: an asset without a start price, or a perpetual not settled in USDT.
    """
    return [_listing(base, quote, linear=linear) for base, quote, linear in listed(symbols)]


def _listing(base: str, quote: str, *, linear: bool) -> Listing:
    px = start_px(base, quote)
    tick, lot = _rule_of_thumb(px)
    min_notional = Decimal(5) / start_px(quote, "USDT")
    if linear:
        if quote != "USDT":
            raise ValueError(f"{base}/{quote}:{quote}: only USDT-settled perpetuals are simulated")
        ticks, lots, notional = _LINEAR_RULES.get(base, (str(tick), str(lot), "5"))
        tick, lot, min_notional = Decimal(ticks), Decimal(lots), Decimal(notional)
    elif base in _SPOT_RULES and quote in ("USDT", "USDC"):
        tick, lot = (Decimal(text) for text in _SPOT_RULES[base])
    return Listing(
        base,
        quote,
        tick=tick,
        lot=lot,
        min_qty=lot,
        max_qty=(10_000_000 / (start_px(base, "USDT") * lot)).to_integral_value() * lot,
        min_notional=round(min_notional, 8),
        kind=Kind.LINEAR if linear else Kind.SPOT,
        taker_fee_e8=50_000 if linear else 100_000,
        maker_fee_e8=20_000 if linear else 100_000,
    )


def _rule_of_thumb(px: Decimal) -> tuple[Decimal, Decimal]:
    """Tick a few 1/10,000 of the price, lot worth about a tenth of a quote unit."""
    magnitude = px.adjusted()
    tick = Decimal(1).scaleb(max(-8, magnitude - 3))
    lot = Decimal(1).scaleb(min(0, -magnitude - 1))
    return tick, max(lot, Decimal("0.00000001"))


class Symbols:
    """One part's instruments under the names clients use, and the texts of their numbers."""

    def __init__(self, part: Part, listings: Iterable[Listing]) -> None:
        self.part = part
        self.by_name = {
            listing.base + listing.quote: listing
            for listing in listings
            if listing.kind is part.kind
        }
        self.names = {listing.symbol: name for name, listing in self.by_name.items()}

    def px_decimals(self, listing: Listing) -> int:
        """Decimals of printed prices: always 8 on spot, those of the tick or one more on USD-M."""
        if self.part.spot:
            return 8
        return _LINEAR_PX_DECIMALS.get(listing.base, listing.px_decimals)

    def px(self, listing: Listing, ticks: int) -> str:
        """A price as printed."""
        return listing.px_text(ticks, self.px_decimals(listing))

    def qty(self, listing: Listing, lots: int) -> str:
        """A quantity as printed: 8 decimals on spot, those of the lot on USD-M."""
        return listing.qty_text(lots, 8 if self.part.spot else None)
