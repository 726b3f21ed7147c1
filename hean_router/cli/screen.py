"""The demo's screen: a ladder of all venues, their health, and the story."""

import asyncio
from decimal import Decimal
from itertools import islice
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from hean_router.app import Router
from hean_router.book import BookState, ConsolidatedBook, PricedLevel
from hean_router.domain.errors import NotLive
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.scale import plain

LEVELS = 10
STORY_LINES_MIN = 3
REST_LINES = 22  # above the story, its frame, and a line of it that is too long for one
COLOURS = {"binance": "yellow", "bybit": "dark_orange", "kraken": "medium_purple", "okx": "cyan"}
STATES = {
    BookState.LIVE: "green",
    BookState.SYNCING: "yellow",
    BookState.STALE: "yellow",
    BookState.CROSSED: "magenta",
    BookState.LOST: "red",
}


class Show(Protocol):
    """What the screen paints."""

    seed: int
    lines: list[str]  # the story so far

    @property
    def url(self) -> str:
        """Where the API is."""

    @property
    def router(self) -> Router:
        """The running router."""


async def paint(demo: Show) -> None:
    """Repaint five times a second until cancelled."""
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(demo, console.height), refresh=True)
            await asyncio.sleep(0.2)


def picture(demo: Show, height: int) -> Group:
    """Everything on one screen of so many lines."""
    router = demo.router
    pair = router.market.pairs[0]
    now_ns = router.clock()
    title = Text.assemble(
        ("HEAN Router ", "bold"),
        f"demo, seed {demo.seed}: four simulated venues on this machine, no keys, no network.  ",
        (f"{demo.url}  ", "dim"),
        ("Ctrl-C ends it.", "dim"),
    )
    top = Table.grid(padding=(0, 1))
    top.add_row(ladder(router.market.book(pair), pair, now_ns), venues(demo, now_ns))
    return Group(title, top, story(demo, max(STORY_LINES_MIN, height - REST_LINES)))


def ladder(book: ConsolidatedBook, pair: Pair, now_ns: int, depth: int = LEVELS) -> Panel:
    """The best `depth` bids and asks of all venues, by price after our fee."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("venue", "qty", "bid", "after fee", "after fee", "ask", "qty", "venue"):
        table.add_column(name, justify="left" if name == "venue" else "right", no_wrap=True)
    try:
        sides = [list(islice(book.priced(side), depth)) for side in (Side.SELL, Side.BUY)]
    except NotLive:
        sides = [[], []]
    for row in range(depth):
        bid, ask = (side[row] if row < len(side) else None for side in sides)
        table.add_row(*_cells(bid), *reversed(_cells(ask)))
    mid, micro = book.mid(), book.micro_px()
    subtitle = f"mid {_round(mid)}  micro-price {_round(micro)}  v{book.version}"
    if crosses := book.crosses():
        best = crosses[0]
        ages = f"{best.buy.age_ns(now_ns) // 10**6}/{best.sell.age_ns(now_ns) // 10**6} ms"
        subtitle += (
            f"  crossed: {best.buy.venue} under {best.sell.venue}, "
            f"{_round(best.edge)} after fees, {ages} old"
        )
    return Panel(table, title=f"{pair}, all venues as one book", subtitle=subtitle)


def _cells(level: PricedLevel | None) -> list[Text]:
    if level is None:
        return [Text("")] * 4
    colour = COLOURS.get(level.venue, "white")
    return [
        Text(level.venue, style=colour),
        Text(_round(level.quantity, 5)),
        Text(plain(level.price), style="bold"),
        Text(_round(level.all_in), style="dim"),
    ]


def venues(demo: Show, now_ns: int) -> Panel:
    """Each venue's books and connection."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("venue", "book", "state", "age ms", "frames", "gaps", "resyncs"):
        table.add_column(name, justify="left" if name in {"venue", "book", "state"} else "right")
    for feed in demo.router.metrics.readings():
        for book in feed.books:
            age = (now_ns - book.confirmed_ns) // 10**6 if book.confirmed_ns else None
            table.add_row(
                Text(feed.venue, style=COLOURS.get(feed.venue, "white")),
                str(book.instrument.pair),
                Text(book.state.value, style=STATES[book.state]),
                "" if age is None else str(age),
                str(feed.totals.frames),
                str(book.counts.gaps),
                str(book.counts.resyncs),
            )
    metrics = demo.router.metrics
    subtitle = (
        f"a frame: {metrics.apply.quantile_ns(0.5) / 1e3:g} µs median, "
        f"{metrics.apply.quantile_ns(0.99) / 1e3:g} µs 99 % (up to)"
    )
    return Panel(table, title="venues", subtitle=subtitle)


def story(demo: Show, lines: int) -> Panel:
    """What was shown so far, the latest last."""
    told = Table.grid()
    for line in demo.lines[-lines:]:
        style = {"ok ": "green", "NO ": "red"}.get(line[:3], "")
        told.add_row(Text(line, style=style))
    return Panel(told, title="the story", subtitle="hean submit, in another terminal, joins in")


def _round(number: Decimal | None, decimals: int = 2) -> str:
    return "" if number is None else f"{number:.{decimals}f}"
