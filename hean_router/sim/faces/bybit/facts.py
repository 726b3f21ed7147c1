"""What Bybit says of itself: limits, rules of instruments, the texts of its numbers.

Sources: v5 documentation of 2026-07-24; instruments-info and frames recorded 2026-08-09.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from hean_router.sim.contract import MINUTE, MS, SECOND
from hean_router.sim.exchange import Kind, Listing
from hean_router.sim.market import listed, start_px

CONNECTS_MAX = 500  # per domain
CONNECTS_NS = 5 * MINUTE
CONNECTIONS_MAX = 1_000  # open at once, public, per address and category
REQUESTS_MAX = 600  # REST, per address
REQUESTS_NS = 5 * SECOND
BAN_NS = 10 * MINUTE  # what going over that costs
ARGS_TEXT_MAX = 21_000  # characters of one request's `args`
TRADES_MAX = 1_024  # trades per message

# A socket on which nothing is subscribed and nothing heard was seen to die after 61 s without a
# close frame (September 2026).  Ten minutes are documented for private sockets ("neither ping nor
# data", looked at every 30 s); that public ones bear a client that never pings no longer is a guess
# on the strict side.
IDLE_NS = 61 * SECOND
UNHEARD_NS = 10 * MINUTE
UNHEARD_TICK_NS = 30 * SECOND

BOOK_NS: Mapping[int, int] = {1: 10 * MS, 50: 20 * MS, 200: 100 * MS, 1_000: 200 * MS}
"""Depth of a book topic -> how often it is pushed at most."""
FULLEST = 1_000  # the depth whose `u` REST tells
REPEAT_NS = 3 * SECOND  # an unchanged `orderbook.1` is said again
PRICE_LIMIT_NS = 300 * MS


@dataclass(frozen=True)
class Category:
    """Spot or linear: where two products of one venue differ."""

    kind: Kind
    name: str
    args_max: int | None  # topics per request
    subscribed: str  # `ret_msg` of an acknowledgement
    ticker_ns: int
    book_limit: int  # levels REST answers with when not told
    recent_limit: tuple[int, int]  # trades REST answers with: when not told, and at most

    @property
    def spot(self) -> bool:
        """Whether this is spot."""
        return self.kind is Kind.SPOT

    @property
    def path(self) -> str:
        """Where its socket is."""
        return f"/v5/public/{self.name}"


SPOT = Category(
    kind=Kind.SPOT,
    name="spot",
    args_max=10,
    subscribed="subscribe",
    ticker_ns=50 * MS,
    book_limit=1,
    recent_limit=(60, 60),
)
LINEAR = Category(
    kind=Kind.LINEAR,
    name="linear",
    args_max=None,
    subscribed="",
    ticker_ns=100 * MS,
    book_limit=25,
    recent_limit=(500, 1_000),
)
STATUS_PATH = "/v5/public/misc/status"
STATUS_TOPIC = "system.status"

# base -> tick in dollars, as printed, and lot, where the rule of thumb is not the recorded one
_SPOT_TICKS = {"BTC": "0.1", "ETH": "0.01", "XRP": "0.0001", "ADA": "0.0001"}
_LINEAR_TICKS = {"BTC": "0.10", "ETH": "0.01", "SOL": "0.010", "XRP": "0.0001", "ADA": "0.0001"}
_SPOT_LOTS = {"XRP": "0.01", "DOGE": "0.1", "ADA": "0.01", "SHIB": "1", "PEPE": "1"}
_LINEAR_LOTS = {"XRP": "0.1"}
_DOLLARS = ("USD", "USDT", "USDC", "EUR")


def listings(symbols: Iterable[str]) -> list[Listing]:
    """Bybit's rules for these symbols.

    The ticks and lots of linear listings keep the decimals the venue prints them with ("0.10").
    ValueError: an asset without a start price, or a perpetual not settled in USDT.
    """
    return [_listing(base, quote, linear=linear) for base, quote, linear in listed(symbols)]


def _listing(base: str, quote: str, *, linear: bool) -> Listing:
    if linear and quote != "USDT":
        raise ValueError(f"{base}/{quote}:{quote}: only USDT-settled perpetuals are simulated")
    # Five digits of a price; a lot worth some cents, on linear a thousand times that.
    dollar = start_px(quote, "USDT")
    tick = Decimal(1).scaleb(start_px(base, quote).adjusted() - 4)
    lot = Decimal(1).scaleb(min(0, (1 if linear else -2) - start_px(base, "USDT").adjusted()))
    ticks, lots = (_LINEAR_TICKS, _LINEAR_LOTS) if linear else (_SPOT_TICKS, _SPOT_LOTS)
    lot = Decimal(lots.get(base, lot))
    if quote in _DOLLARS:
        tick = Decimal(ticks.get(base, tick))
    max_qty = 10_000_000 / start_px(base, "USDT") // lot * lot
    return Listing(
        base,
        quote,
        tick=tick,
        lot=lot,
        min_qty=lot,
        max_qty=max(lot, max_qty),
        min_notional=(5 / dollar).quantize(Decimal("1.000000")).normalize(),
        kind=Kind.LINEAR if linear else Kind.SPOT,
        taker_fee_e8=55_000 if linear else 100_000,
        maker_fee_e8=20_000 if linear else 100_000,
    )


def plain(number: Decimal) -> str:
    """A decimal without exponent and trailing zeros.

    >>> plain(Decimal("1E+2")), plain(Decimal("0.50"))
    ('100', '0.5')
    """
    return f"{number.normalize():f}"


def places(step: Decimal) -> int:
    """Decimals a step is written with, trailing zeros counted.

    >>> places(Decimal("0.10")), places(Decimal("1"))
    (2, 0)
    """
    exponent = step.as_tuple().exponent
    assert isinstance(exponent, int), f"a step must be finite, not {step}"
    return max(0, -exponent)


class Instrument:
    """One listing under its venue name, and the texts of its numbers.

    Recorded: linear prints every decimal of the step ("65114.20" at a tick of 0.10), spot drops
    trailing zeros ("65140").
    """

    def __init__(self, listing: Listing, number: int) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.name = listing.base + listing.quote
        self.number = number  # `symbolId`
        self.spot = listing.kind is Kind.SPOT
        self.px_places = places(listing.tick)
        self.qty_places = places(listing.lot)
        self.px = lru_cache(4_096)(self._px)
        self.qty = lru_cache(4_096)(self._qty)
        # How far from the last price an order may be (`riskParameters`).
        self.band = Decimal("0.005" if self.spot else "0.01")

    def _px(self, ticks: int) -> str:
        """A price as printed."""
        text = self.listing.px_text(ticks, self.px_places)
        return _trimmed(text) if self.spot else text

    def _qty(self, lots: int) -> str:
        """A size as printed; nothing is always "0"."""
        if lots == 0:
            return "0"
        text = self.listing.qty_text(lots, self.qty_places)
        return _trimmed(text) if self.spot else text


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


class Instruments:
    """One category's instruments by venue name, in the order given."""

    def __init__(self, category: Category, listings: Iterable[Listing]) -> None:
        self.category = category
        own = [listing for listing in listings if listing.kind is category.kind]
        every = [Instrument(listing, number) for number, listing in enumerate(own, start=1)]
        self.by_name = {instrument.name: instrument for instrument in every}
        self.by_symbol = {instrument.symbol: instrument for instrument in every}
