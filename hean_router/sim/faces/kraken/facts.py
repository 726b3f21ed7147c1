"""What Kraken says of itself: limits, names, rules of pairs, the texts of its numbers.

Sources: documentation of 2026, instrument snapshot of 2024, books of 2023 and August 2026.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

from hean_router.sim.contract import MINUTE, MS, SECOND
from hean_router.sim.exchange import BookLevel, Listing, Status
from hean_router.sim.market import listed, start_px

VERSION = "2.0.10"
DEPTHS = (10, 25, 100, 500, 1000)
DEPTH_DEFAULT = 10
CHECKSUM_LEVELS = 10
TRADES_IN_SNAPSHOT = 50

CONNECTS_MAX = 150
CONNECTS_NS = 10 * MINUTE
BAN_NS = 10 * MINUTE
IDLE_NS = 60 * SECOND
BEAT_NS = SECOND
BUSY_NS = 50 * MS  # a heartbeat is left out if something else went out just before
MESSAGES_PER_S = 50  # no number is published; clients send some 20
REST_CALLS = 15  # about one a second, with some patience
REST_NS = 15 * SECOND

SYSTEMS = {
    "online": Status.TRADING,
    "post_only": Status.POST_ONLY,
    "cancel_only": Status.CANCEL_ONLY,
    "maintenance": Status.HALT,
}
"""The engine's states, and what each allows."""
PAIR_STATES = {status: name for name, status in SYSTEMS.items()}

TAKER_FEES = (
    (0, 0.4), (10_000, 0.35), (50_000, 0.24), (100_000, 0.22), (250_000, 0.2), (500_000, 0.18),
    (1_000_000, 0.16), (2_500_000, 0.14), (5_000_000, 0.12), (10_000_000, 0.1),
)  # fmt: skip
MAKER_FEES = (
    (0, 0.25), (10_000, 0.2), (50_000, 0.14), (100_000, 0.12), (250_000, 0.1), (500_000, 0.08),
    (1_000_000, 0.06), (2_500_000, 0.04), (5_000_000, 0.02), (10_000_000, 0.0),
)  # fmt: skip
"""Volume in USD -> percent, as listed in November 2025."""

# asset -> REST id, REST altname, where they are not simply the asset's name
_LEGACY: Mapping[str, tuple[str, str]] = {
    "BTC": ("XXBT", "XBT"),
    "DOGE": ("XXDG", "XDG"),
    **{asset: (f"X{asset}", asset) for asset in ("ETH", "XRP", "LTC", "XLM", "ETC", "ZEC")},
    **{asset: (f"Z{asset}", asset) for asset in ("USD", "EUR", "GBP")},
}
_FIAT = ("USD", "EUR", "GBP")
# base -> decimals of prices, smallest quantity; of the pair with USDT or USD
_RULES: Mapping[str, tuple[int, str]] = {
    "BTC": (1, "0.00005"),
    "ETH": (2, "0.001"),
    "SOL": (2, "0.06"),
    "XRP": (5, "3"),
    "DOGE": (5, "50"),
    "ADA": (6, "10"),
    "TRX": (6, "45"),
    "AVAX": (2, "0.1"),
    "LINK": (5, "0.2"),
    "DOT": (4, "0.6"),
    "LTC": (2, "0.05"),
    "BCH": (2, "0.025"),
    "XLM": (6, "40"),
    "PEPE": (9, "500000"),
    "SHIB": (8, "300000"),
}
_LOT = Decimal("0.00000001")
_QTY_MAX = Decimal(1_000_000_000)
_COST_MIN = Decimal("0.5")


def listings(symbols: Iterable[str]) -> list[Listing]:
    """Kraken's rules for these symbols.

    ValueError: an asset without a start price, or a perpetual (another venue of the house).
    """
    return [_listing(base, quote, linear=linear) for base, quote, linear in listed(symbols)]


def _listing(base: str, quote: str, *, linear: bool) -> Listing:
    if linear:
        raise ValueError(f"{base}/{quote}:{quote}: Kraken is simulated for spot only")
    px = start_px(base, quote)
    # Five digits of price, and a smallest order of some quote units, if we know no better.
    decimals, least = max(0, 4 - px.adjusted()), f"{Decimal(5).scaleb(-px.adjusted()):f}"
    if base in _RULES and quote in ("USDT", "USDC", "USD"):
        decimals, least = _RULES[base]
    return Listing(
        base,
        quote,
        tick=Decimal(1).scaleb(-decimals),
        lot=_LOT,
        min_qty=Decimal(least).quantize(_LOT),
        max_qty=_QTY_MAX,
        min_notional=_COST_MIN,
        taker_fee_e8=400_000,
        maker_fee_e8=250_000,
    )


def rest_id(asset: str) -> str:
    """`XXBT`, `ZUSD`, `USDT`."""
    return _LEGACY.get(asset, (asset, asset))[0]


def altname(asset: str) -> str:
    """`XBT`, `USD`, `USDT`."""
    return _LEGACY.get(asset, (asset, asset))[1]


def pair_key(listing: Listing) -> str:
    """REST's own key of a pair: `XXBTZUSD`, `XBTUSDT`, `XDGUSD`."""
    if listing.base in _LEGACY and listing.quote in _LEGACY and listing.base != "DOGE":
        return rest_id(listing.base) + rest_id(listing.quote)
    return pair_altname(listing)


def pair_altname(listing: Listing) -> str:
    """`XBTUSD`."""
    return altname(listing.base) + altname(listing.quote)


def asset_decimals(asset: str) -> tuple[int, int]:
    """Decimals of balances, and of those shown."""
    return (4, 2) if asset in _FIAT else (8, 4) if asset == "USDT" else (10, 5)


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}"


def rfc3339(time_ns: int) -> str:
    """A time as printed on WebSockets: UTC with microseconds.

    >>> rfc3339(1_786_923_424_849_274_999)
    '2026-08-16T23:37:04.849274Z'
    """
    second, rest_ns = divmod(time_ns, SECOND)
    return f"{_second(second)}.{rest_ns // 1_000:06d}Z"


def level_text(listing: Listing, level: BookLevel) -> str:
    """A level as printed: numbers with every digit the pair has."""
    return f'{{"price":{listing.px_text(level.px)},"qty":{listing.qty_text(level.qty)}}}'


def checksum_part(listing: Listing, level: BookLevel) -> str:
    """Price and quantity without point and leading zeros.

    >>> checksum_part(_listing("BTC", "USD", linear=False), BookLevel(294302, 18967538, 1))
    '29430218967538'
    """
    px, qty = listing.px_text(level.px), listing.qty_text(level.qty)
    return px.replace(".", "").lstrip("0") + qty.replace(".", "").lstrip("0")


def asset_text(asset: str) -> str:
    """A row of the instrument channel's assets."""
    precision, shown = asset_decimals(asset)
    return (
        f'{{"id":"{asset}","status":"enabled","precision":{precision},"precision_display":{shown},'
        f'"borrowable":true,"collateral_value":1.00,"margin_rate":0.020000}}'
    )


def pair_text(listing: Listing, status: Status) -> str:
    """A row of the instrument channel's pairs, keys and numbers as recorded.

    Small increments come in exponent form, as documented.
    """
    steps = [
        f"{int(step.scaleb(places))}e-{places:02d}" if places > 5 else f"{step:f}"
        for step, places in (
            (listing.lot, listing.qty_decimals),
            (listing.tick, listing.px_decimals),
        )
    ]
    return (
        f'{{"symbol":"{listing.symbol}","base":"{listing.base}","quote":"{listing.quote}",'
        f'"status":"{PAIR_STATES[status]}","qty_precision":{listing.qty_decimals},'
        f'"qty_increment":{steps[0]},"price_precision":{listing.px_decimals},"cost_precision":5,'
        f'"marginable":true,"has_index":true,"cost_min":{listing.min_notional:.4f},'
        f'"margin_initial":0.33,"position_limit_long":43,"position_limit_short":40,'
        f'"tick_size":{steps[1]},"price_increment":{steps[1]},'
        f'"qty_min":{listing.qty_text(listing.min_lots)}}}'
    )


def asset_row(asset: str) -> dict[str, Any]:
    """An entry of REST's `Assets`."""
    decimals, shown = asset_decimals(asset)
    return {
        "aclass": "currency",
        "altname": altname(asset),
        "decimals": decimals,
        "display_decimals": shown,
        "collateral_value": 1.0,
        "status": "enabled",
        "margin_rate": 0.02,
    }


def pair_row(listing: Listing, status: Status) -> dict[str, Any]:
    """An entry of REST's `AssetPairs`, keys as recorded in November 2025."""
    return {
        "altname": pair_altname(listing),
        "wsname": f"{altname(listing.base)}/{altname(listing.quote)}",
        "aclass_base": "currency",
        "base": rest_id(listing.base),
        "aclass_quote": "currency",
        "quote": rest_id(listing.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": listing.px_decimals,
        "lot_decimals": listing.qty_decimals,
        "lot_multiplier": 1,
        "leverage_buy": list(range(2, 11)),
        "leverage_sell": list(range(2, 11)),
        "fees": TAKER_FEES,
        "fees_maker": MAKER_FEES,
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": f"{listing.min_qty.normalize():f}",
        "costmin": f"{listing.min_notional.normalize():f}",
        "tick_size": f"{listing.tick:f}",
        "status": PAIR_STATES[status],
        "long_position_limit": 80,
        "short_position_limit": 80,
    }
