"""`hean arb scan`: what buying at one venue and selling at another would bring; sends nothing."""

import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from hean_router.app import Router, Target
from hean_router.book import ConsolidatedBook
from hean_router.cli import live
from hean_router.cli.output import emit, say
from hean_router.config import Settings
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Instrument, Pair
from hean_router.domain.rates import Rates
from hean_router.domain.scale import plain
from hean_router.domain.venue import Fees
from hean_router.strategy import ParentView, ScanParams, scan
from hean_router.strategy.params import read, spelled

NO_KEYS = "no keys: only looked at"


class Onlooker:
    """What can be seen without keys: books, rules and fees, and nobody's money."""

    def __init__(self, router: Router, now_ns: int) -> None:
        self._market, self._now_ns = router.market, now_ns

    @property
    def now_ns(self) -> int:
        """When the books were read."""
        return self._now_ns

    def book(self, pair: Pair) -> ConsolidatedBook | None:
        """All venues' books of `pair`."""
        return self._market.book(pair)

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        """How the LIVE venues list it."""
        live_books = self._market.book(pair).live()
        return {str(venue): book.instrument for venue, book in live_books.items()}

    def fees(self, pair: Pair) -> Mapping[str, Fees]:
        """The tiers of the configuration, else each venue's lowest."""
        return {str(venue): fees for venue, fees in self._market.book(pair).fees().items()}

    def free(self, venue: str, account: str, asset: str) -> Decimal | None:
        """Not known."""
        return None

    def why_not(self, venue: str, account: str) -> str:
        """Nothing can be sent."""
        return NO_KEYS

    def rates(self) -> Rates:
        """None."""
        return {}

    def latency_ns(self, venue: str) -> int:
        """Not known: no order was ever answered."""
        return 0

    def parent(self, account: str, client_order_id: str) -> ParentView | None:
        """There is none."""
        return None


def params_of(texts: Sequence[str], symbols: Sequence[str]) -> ScanParams:
    """`name=value` texts as parameters; raises `CommandError`."""
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandError(f"--param {text[:80]!r} is not name=value", "such as z=2")
        given[name.strip()] = value
    if symbols:
        given["pairs"] = ",".join(symbols)
    return read(ScanParams, given)


def spot(symbols: Sequence[str]) -> list[str]:
    """Those of `symbols` that are spot.

    >>> spot(["BTC/USDT", "BTC/USDT:USDT"])
    ['BTC/USDT']
    """
    return [symbol for symbol in symbols if not Pair.parse(symbol).settle]


async def from_venues(
    settings: Settings, chosen: Sequence[Target], params: ScanParams, timeout_s: float
) -> dict[str, Any]:
    """Every ordered pair of venues of every symbol, over books read in one moment.

    Raises `NothingLive` if a symbol has no LIVE book at all, `CommandError` if nobody lists it.
    """
    pairs = params.pairs
    router = Router(settings, chosen, pairs, tell=lambda _: None)
    async with router.running():
        troubles = {str(pair): await live.settle(router, chosen, pair, timeout_s) for pair in pairs}
        # From here on nothing waits: all is of one moment's books.
        view = Onlooker(router, router.clock())
        found = [one for pair in pairs for one in scan(pair, view, params, "")]
    return {
        "params": spelled(params),
        "opportunities": [one.to_json() for one in found],
        "left_out": {symbol: live.as_json(one) for symbol, one in troubles.items() if one},
    }


def show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was found."""
    if as_json:
        emit(answer)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(header_style="bold")
    for name in ("symbol", "buy at", "sell at"):
        table.add_column(name, no_wrap=True)
    for name in ("gross bps", "net bps", "size", "edge", "capacity", "age ms"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why not")
    for one in answer["opportunities"]:
        table.add_row(
            one["symbol"],
            f"{one['buy_venue']} {one['buy_px']}",
            f"{one['sell_venue']} {one['sell_px']}",
            _short(one["gross_bps"], 2),
            _short(one["net_bps"], 2),
            one["qty"],
            _short(one["edge_quote"], 4),
            _short(one["capacity"], 8),
            f"{one['buy_age_ms']}/{one['sell_age_ms']}",
            one["why_not"],
        )
    if not answer["opportunities"]:
        say("fewer than two venues have a live book: nothing to compare")
    else:
        width = None if sys.stdout.isatty() else 160
        Console(highlight=False, width=width).print(table)
    for symbol, venues in answer["left_out"].items():
        for venue, one in venues.items():
            say(f"left out: {venue} {symbol}: {one['step']}: {one['reason']}")


def _short(text: str, decimals: int) -> str:
    return plain(round(Decimal(text), decimals))
