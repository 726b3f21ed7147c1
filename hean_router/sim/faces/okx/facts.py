"""What OKX says of itself: limits, channels, rules of instruments, the texts of its numbers.

Sources: v5 documentation of June 2026, instruments recorded in April 2026, streams of 2022.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zlib import crc32

from hean_router.sim.contract import MS, SECOND
from hean_router.sim.exchange import Kind, Listing, Status
from hean_router.sim.market import listed, start_px

CONNECTS_MAX = 3
CONNECTS_NS = SECOND
OPS_PER_HOUR = 480  # subscribe, unsubscribe and login together, per connection
FRAME_BYTES_MAX = 65_536
CHANNEL_BYTES_MAX = 65_536  # all subscribed channel names of a connection together
SILENCE_NS = 30 * SECOND
QUIET_NS = 60 * SECOND  # a book without changes shows a sign of life
NOTICE_NS = 60 * SECOND  # from the notice of an upgrade to the cut
CHECKSUM_LEVELS = 25
BAND_PERMILLE = 50  # price limits lie this far from the middle (the venue's own formula differs)


class Form(StrEnum):
    """How a channel speaks."""

    DELTA = "delta"  # a snapshot, then changes
    FULL = "full"  # the whole (short) book each time
    TRADES = "trades"  # merged by taker order and price
    MATCHES = "matches"  # each match by itself
    SUMMARY = "summary"  # a row that follows the market: tickers, marks, limits
    NEWS = "news"  # rows when something happens: instruments, status


@dataclass(frozen=True)
class Channel:
    """A channel as documented.

    `rank` is the documented order of pushes that are due together; `vip` the fee tier needed after
    login, None for everyone; `names` what an argument must carry besides the channel.
    """

    name: str
    form: Form
    interval_ns: int = 0
    depth: int = 0
    rank: int = 9
    vip: int | None = None
    path: str = "/ws/v5/public"
    names: str = "instId"
    kinds: tuple[Kind, ...] = (Kind.SPOT, Kind.LINEAR)


CHANNELS: Mapping[str, Channel] = {
    channel.name: channel
    for channel in (
        Channel("bbo-tbt", Form.FULL, 10 * MS, depth=1, rank=0),
        Channel("books-l2-tbt", Form.DELTA, 10 * MS, depth=400, rank=1, vip=4),
        Channel("books50-l2-tbt", Form.DELTA, 10 * MS, depth=50, rank=2, vip=4),
        Channel("books", Form.DELTA, 100 * MS, depth=400, rank=3),
        Channel("books5", Form.FULL, 100 * MS, depth=5, rank=5),
        Channel("tickers", Form.SUMMARY, 100 * MS),
        Channel("mark-price", Form.SUMMARY, 200 * MS),
        Channel("price-limit", Form.SUMMARY, 200 * MS),
        Channel("funding-rate", Form.SUMMARY, 60 * SECOND, kinds=(Kind.LINEAR,)),
        Channel("trades", Form.TRADES),
        Channel("trades-all", Form.MATCHES, path="/ws/v5/business"),
        Channel("instruments", Form.NEWS, names="instType"),
        Channel("status", Form.NEWS, names=""),
    )
}
PATHS = frozenset(channel.path for channel in CHANNELS.values())

TOGETHER_FORBIDDEN = {"books-l2-tbt": ("books50-l2-tbt", "books")}
"""Books that one connection cannot have of one instrument beside the one named (64004)."""

STATES = {
    Status.TRADING: "live",
    Status.POST_ONLY: "post_only",
    Status.CANCEL_ONLY: "suspend",
    Status.HALT: "suspend",
}

# base -> code, tick, lot, minimum, as listed against USDT in April 2026
_SPOT: Mapping[str, tuple[int, str, str, str]] = {
    "BTC": (3, "0.1", "0.00000001", "0.00001"),
    "ETH": (4, "0.01", "0.000001", "0.0001"),
    "SOL": (1514, "0.01", "0.000001", "0.01"),
    "XRP": (42, "0.0001", "0.000001", "1"),
    "BNB": (110845, "0.1", "0.000001", "0.001"),
    "DOGE": (988, "0.00001", "0.000001", "10"),
    "ADA": (1, "0.0001", "0.0001", "10"),
    "TRX": (11, "0.00001", "0.000001", "1"),
    "AVAX": (1501, "0.001", "0.000001", "0.1"),
    "LINK": (140, "0.001", "0.000001", "0.1"),
    "DOT": (1426, "0.001", "0.000001", "0.1"),
    "LTC": (7, "0.01", "0.000001", "0.01"),
    "BCH": (667, "0.1", "0.000001", "0.01"),
    "PEPE": (120636, "0.000000001", "1", "100000"),
    "SHIB": (20937, "0.000000001", "1", "100000"),
}
# base -> code, tick, lot (also the minimum, in contracts), base per contract
_SWAP: Mapping[str, tuple[int, str, str, str]] = {
    "BTC": (10459, "0.1", "0.01", "0.01"),
    "ETH": (10461, "0.01", "0.01", "0.1"),
    "SOL": (10530, "0.01", "0.01", "1"),
    "XRP": (10471, "0.001", "0.01", "100"),
    "BNB": (111061, "0.1", "1", "0.01"),
    "DOGE": (10502, "0.00001", "0.01", "1000"),
    "ADA": (10483, "0.0001", "0.1", "100"),
    "TRX": (10473, "0.0001", "0.01", "1000"),
    "AVAX": (10491, "0.001", "0.1", "1"),
    "LINK": (10519, "0.001", "0.1", "1"),
    "DOT": (10504, "0.001", "1", "1"),
    "LTC": (10463, "0.01", "0.1", "1"),
    "BCH": (10465, "0.1", "0.1", "0.1"),
    "PEPE": (120775, "0.000000001", "0.1", "10000000"),
    "SHIB": (21073, "0.000000001", "0.1", "1000000"),
}
_SPOT_QTY_MAX = Decimal(9999999999)
_SWAP_QTY_MAX = Decimal(100000000)


def listings(symbols: Iterable[str]) -> list[Listing]:
    """OKX's rules for these symbols.  There is no minimum notional, only a minimum size.

    ValueError: an asset without a start price, or a perpetual not settled in USDT.
    """
    return [_listing(base, quote, linear=linear) for base, quote, linear in listed(symbols)]


def _listing(base: str, quote: str, *, linear: bool) -> Listing:
    px = start_px(base, quote)
    if linear:
        if quote != "USDT":
            raise ValueError(f"{base}/{quote}:{quote}: only USDT-settled swaps are simulated")
        _, tick, lot, size = _SWAP.get(base, ("", _tick(px), "1", _contract(px)))
        return Listing(
            base,
            quote,
            tick=Decimal(tick),
            lot=Decimal(lot),
            min_qty=Decimal(lot),
            max_qty=_SWAP_QTY_MAX,
            kind=Kind.LINEAR,
            contract_size=Decimal(size),
            taker_fee_e8=50_000,
            maker_fee_e8=20_000,
        )
    rules = _SPOT.get(base) if quote in ("USDT", "USDC") else None
    _, tick, lot, least = rules or (0, _tick(px), "0.000001", _least(px))
    return Listing(
        base,
        quote,
        tick=Decimal(tick),
        lot=Decimal(lot),
        min_qty=Decimal(least),
        max_qty=_SPOT_QTY_MAX,
        taker_fee_e8=100_000,
        maker_fee_e8=80_000,
    )


def _tick(px: Decimal) -> str:
    """A few 1/10,000 of the price."""
    return f"{Decimal(1).scaleb(px.adjusted() - 3):f}"


def _least(px: Decimal) -> str:
    """Worth about a quote unit."""
    return f"{Decimal(1).scaleb(max(-6, -px.adjusted())):f}"


def _contract(px: Decimal) -> str:
    """Worth some ten quote units."""
    return f"{Decimal(1).scaleb(1 - px.adjusted()):f}"


def trim(text: str) -> str:
    """Without trailing zeros, as OKX prints all numbers.

    >>> trim("30236.0"), trim("0.05426064"), trim("100")
    ('30236', '0.05426064', '100')
    """
    return text.rstrip("0").rstrip(".") if "." in text else text


class Symbols:
    """Instruments under the names clients use, and the texts of their numbers."""

    def __init__(self, listings: Iterable[Listing]) -> None:
        self.by_id = {inst_id(listing): listing for listing in listings}
        self.ids = {listing.symbol: name for name, listing in self.by_id.items()}

    def of_type(self, inst_type: str) -> list[Listing]:
        """All instruments of a type."""
        return [listing for listing in self.by_id.values() if TYPES[listing.kind] == inst_type]


TYPES = {Kind.SPOT: "SPOT", Kind.LINEAR: "SWAP"}
NO_SUCH_LISTED = frozenset({"MARGIN", "FUTURES", "OPTION"})  # types the simulator lists none of


def inst_id(listing: Listing) -> str:
    """`BTC-USDT`, `BTC-USDT-SWAP`."""
    pair = f"{listing.base}-{listing.quote}"
    return pair if listing.kind is Kind.SPOT else f"{pair}-SWAP"


def inst_id_code(listing: Listing) -> int:
    """The instrument's number, which orders over WebSocket name."""
    codes = _SPOT if listing.kind is Kind.SPOT else _SWAP
    if listing.base in codes and listing.quote == "USDT":
        return codes[listing.base][0]
    return 300_000 + crc32(inst_id(listing).encode()) % 100_000


def instrument(listing: Listing, status: Status) -> dict[str, Any]:
    """A row of `public/instruments` and of the channel, keys as recorded in April 2026."""
    spot = listing.kind is Kind.SPOT
    pair = f"{listing.base}-{listing.quote}"
    qty_max = trim(f"{listing.max_qty:f}")
    market_max = "1000000" if spot else "34000"
    return {
        "alias": "",
        "auctionEndTime": "",
        "baseCcy": listing.base if spot else "",
        "category": "1",
        "contTdSwTime": "" if spot else "1611916860000",
        "ctMult": "" if spot else "1",
        "ctType": "" if spot else "linear",
        "ctVal": "" if spot else trim(f"{listing.contract_size:f}"),
        "ctValCcy": "" if spot else listing.base,
        "expTime": "",
        "freq": "",
        "futureSettlement": False,
        "groupId": "12" if spot else "4",
        "instCategory": "1",
        "instFamily": "" if spot else pair,
        "instId": inst_id(listing),
        "instIdCode": inst_id_code(listing),
        "instType": TYPES[listing.kind],
        "lever": "10" if spot else "100",
        "listTime": "1611907686000" if spot else "1573557408000",
        "longPosRemainingQuota": "",
        "lotSz": trim(f"{listing.lot:f}"),
        "maxIcebergSz": f"{qty_max}.0000000000000000",
        "maxLmtAmt": "20000000",
        "maxLmtSz": qty_max,
        "maxMktAmt": "1000000" if spot else "",
        "maxMktSz": market_max,
        "maxPlatOILmt": "" if spot else "10000000000000",
        "maxStopSz": market_max,
        "maxTriggerSz": f"{qty_max}.0000000000000000",
        "maxTwapSz": f"{qty_max}.0000000000000000",
        "method": "",
        "minSz": trim(f"{listing.min_qty:f}"),
        "openType": "fix_price" if spot else "call_auction",
        "optType": "",
        "posLmtAmt": "" if spot else "250000",
        "posLmtPct": "" if spot else "30",
        "preMktSwTime": "",
        "quoteCcy": listing.quote if spot else "",
        "ruleType": "normal",
        "seriesId": "",
        "settleCcy": "" if spot else listing.quote,
        "shortPosRemainingQuota": "",
        "state": STATES[status],
        "stk": "",
        "tickSz": trim(f"{listing.tick:f}"),
        "tradeQuoteCcyList": [listing.quote] if spot else [],
        "uly": "" if spot else pair,
        "upcChg": [],
    }
