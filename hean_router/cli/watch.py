"""The consolidated book of one pair, live: once, or for as long as one likes."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from hean_router.app import Router, Target
from hean_router.book import ConsolidatedBook, Cross, DepthFeed, PricedLevel
from hean_router.cli import live
from hean_router.cli.live import Trouble
from hean_router.cli.output import emit, say, tell
from hean_router.config import Settings
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.scale import plain

DEPTH = 10  # levels a side unless told otherwise
PUBLISH_S = 0.05  # changes within it become one message
BEAT_S = 5.0  # a quiet book is proved current this often
PAINT_S = 0.2


class Look:
    """One look at a pair's consolidated book, over the venues `chosen`."""

    def __init__(
        self,
        settings: Settings,
        chosen: Sequence[Target],
        pair: Pair,
        *,
        depth: int,
        timeout_s: float,
        as_json: bool,
        in_terminal: bool,
    ) -> None:
        self.chosen, self.pair, self.depth, self.timeout_s = chosen, pair, depth, timeout_s
        self.as_json, self.in_terminal = as_json, in_terminal
        # A venue that fails is named with the result, at its place; not in the middle of it.
        self.router = Router(settings, chosen, [pair], tell=lambda _: None)

    @property
    def book(self) -> ConsolidatedBook:
        """The book."""
        return self.router.market.book(self.pair)

    async def once(self) -> None:
        """Wait for the venues, print the book, name those left out."""
        async with self.router.running():
            found = await live.settle(self.router, self.chosen, self.pair, self.timeout_s)
            if self.as_json:
                emit(self._snapshot(found))
            else:
                self._print(found)

    async def watch(self, seconds: float | None) -> None:
        """Print every change, or paint the ladder, for `seconds` or until cancelled."""
        async with self.router.running():
            await live.settle(self.router, self.chosen, self.pair, self.timeout_s, first=True)
            try:
                async with asyncio.timeout(seconds):
                    if self.as_json:
                        await self._stream()
                    elif self.in_terminal:
                        await self._paint()
                    else:
                        await self._lines()
            except TimeoutError:
                pass

    # ------------------------------------------------------------------------- once

    def _snapshot(self, found: Mapping[str, Trouble]) -> dict[str, Any]:
        """A depth snapshot that also says what the book as a whole says."""
        book, now_ns = self.book, self.router.clock()
        message = DepthFeed(book, f"{now_ns:x}", self.depth).snapshot().to_json()
        message["left_out"] |= {venue: str(trouble) for venue, trouble in found.items()}
        return message | {
            "at_ns": now_ns,
            "mid": _text(book.mid()),
            "micro_px": _text(book.micro_px()),
            "imbalance": _text(book.imbalance()),
            "best": {
                name: _level(book.best(side), now_ns)
                for name, side in (("bid", Side.SELL), ("ask", Side.BUY))
            },
            "crosses": [_cross(cross, now_ns) for cross in book.crosses()],
            "steps": {venue: one.step.lower() for venue, one in found.items()},
        }

    def _print(self, found: Mapping[str, Trouble]) -> None:
        from hean_router.cli.screen import ladder

        _console(self.in_terminal).print(
            ladder(self.book, self.pair, self.router.clock(), self.depth or DEPTH)
        )
        for venue, trouble in found.items():
            say(f"left out: {venue:10} {trouble}")

    # ------------------------------------------------------------------------- watch

    async def _stream(self) -> None:
        """NDJSON: a snapshot, then deltas that each name what they build on."""
        feed = DepthFeed(self.book, f"{self.router.clock():x}", self.depth)
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    await self.router.market.changed()
                message = feed.poll()
            except TimeoutError:
                message = feed.poll(heartbeat=True)
            if message is not None:
                emit(message.to_json())
            await asyncio.sleep(PUBLISH_S)

    async def _paint(self) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        from hean_router.cli.screen import ladder

        market = self.router.market
        with Live(console=_console(True), auto_refresh=False) as screen:
            while True:
                now_ns = self.router.clock()
                found = live.troubles(self.router, self.chosen, self.pair, self.timeout_s)
                left = [Text(f"left out: {venue:10} {why}") for venue, why in found.items()]
                picture = ladder(market.book(self.pair), self.pair, now_ns, self.depth or DEPTH)
                screen.update(Group(picture, *left), refresh=True)
                await asyncio.sleep(PAINT_S)

    async def _lines(self) -> None:
        """A line whenever the best bid or ask, or who is left out, has changed."""
        last, left = "", ""
        while True:
            line = (
                f"bid {_words(self.book.best(Side.SELL))}   ask {_words(self.book.best(Side.BUY))}"
            )
            if line != last:
                last = line
                say(line, now=True)
            out = ", ".join(f"{venue} ({why})" for venue, why in self.book.left_out().items())
            if out != left:
                left = out
                tell(f"left out: {out or 'nobody'}")
            await self.router.market.changed()
            await asyncio.sleep(PUBLISH_S)


def _console(in_terminal: bool) -> Any:
    """A console; where nobody looks, wide enough for every column."""
    from rich.console import Console

    return Console(highlight=False) if in_terminal else Console(highlight=False, width=120)


def _text(number: Any) -> str | None:
    return None if number is None else plain(number)


def _words(level: PricedLevel | None) -> str:
    if level is None:
        return "none"
    return f"{plain(level.price)} x {plain(level.quantity)} {level.venue}"


def _level(level: PricedLevel | None, now_ns: int) -> dict[str, Any] | None:
    if level is None:
        return None
    return {
        "venue": level.venue,
        "px": plain(level.price),
        "qty": plain(level.quantity),
        "all_in_px": plain(level.all_in),
        "age_ns": level.age_ns(now_ns),
    }


def _cross(cross: Cross, now_ns: int) -> dict[str, Any]:
    return {
        "buy": _level(cross.buy, now_ns),
        "sell": _level(cross.sell, now_ns),
        "edge": plain(cross.edge),
    }
