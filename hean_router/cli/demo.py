"""`hean demo`: four simulated venues in a child process, the router on them, sample routes."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from random import Random
from typing import Any

import orjson

from hean_router.app import Router, Target
from hean_router.book import BookState
from hean_router.cli.output import Exit, emit, say
from hean_router.cli.tally import Tally
from hean_router.config import Settings
from hean_router.domain.errors import HeanError, NotLive
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.scale import plain
from hean_router.route import ParentOrder, live_books, plan
from hean_router.runtime.loop import Interrupted, run
from hean_router.runtime.metrics_page import serving

VENUES = ("binance", "bybit", "kraken", "okx")
PAIRS = (Pair("BTC", "USDT"), Pair("ETH", "USDT"))
# What a trader of this size might send; larger than any one venue's best level.
SAMPLES = (
    (PAIRS[0], Side.BUY, Decimal(2)),
    (PAIRS[1], Side.SELL, Decimal(40)),
    (PAIRS[0], Side.SELL, Decimal("0.75")),
    (PAIRS[1], Side.BUY, Decimal(15)),
    (PAIRS[0], Side.BUY, Decimal(8)),
)
START_S = 30.0  # for the child to listen and for every book to be LIVE
ROUTE_EVERY_S = 2.0


class SimulatorsFailed(HeanError):
    """The child that simulates the venues did not start, or ended."""


def demo(
    settings: Settings, *, seconds: float | None, seed: int, headless: bool, as_json: bool
) -> int:
    """Run until Ctrl-C in a terminal, `seconds` (30) without one; then sum up."""
    in_terminal = sys.stdout.isatty() and not headless and not as_json
    if seconds is None and not in_terminal:
        seconds = 30.0
    show = Demo(settings, seed)
    with suppress(Interrupted):  # the usual way to end a demo
        run(show.run(seconds, in_terminal))
    summary = show.summary()
    if as_json:
        emit(summary)
    else:
        tell_summary(summary)
    return Exit.OK if show.was_live else Exit.VENUE


class Demo:
    """One demonstration."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.seed = seed
        self.tally = Tally()
        self.was_live = False
        self.live_after_s: float | None = None
        self.ran_s = 0.0
        self.url = ""
        self._settings = settings
        self._router: Router | None = None
        self._summary: dict[str, Any] = {}

    @property
    def router(self) -> Router:
        """The router, once it runs."""
        assert self._router is not None, "not started yet"
        return self._router

    async def run(self, seconds: float | None, in_terminal: bool) -> None:
        """Start the venues and the router, show them, stop them."""
        async with simulators(self.seed) as targets:
            self._router = Router(self._settings, targets, PAIRS, rng=Random(self.seed))
            metrics = self.router.metrics
            async with self.router.running(), serving(metrics, "127.0.0.1", 0) as self.url:
                began_ns = self.router.clock()
                try:
                    async with asyncio.timeout(seconds):
                        await self._show(began_ns, in_terminal)
                except TimeoutError:
                    pass
                finally:
                    self.ran_s = (self.router.clock() - began_ns) / 1e9
                    self._summary = self._sum_up()

    async def _show(self, began_ns: int, in_terminal: bool) -> None:
        clock, market = self.router.clock, self.router.market
        routes = asyncio.create_task(self._route())
        try:
            while not market.all_live:
                if clock() - began_ns > START_S * 1e9:
                    states = {pair: market.standing(pair) for pair in PAIRS}
                    raise SimulatorsFailed(f"not every book came up: {states}")
                await asyncio.sleep(0.02)
            self.was_live = True
            self.live_after_s = (clock() - began_ns) / 1e9
            if in_terminal:
                from hean_router.cli.screen import paint

                await paint(self)
            else:
                await asyncio.Event().wait()
        finally:
            routes.cancel()

    async def _route(self) -> None:
        """Plan a sample order now and then, on whatever the books say at that moment."""
        turn = 0
        while True:
            await asyncio.sleep(ROUTE_EVERY_S if turn else 0.5)
            if not self.was_live:
                continue
            pair, side, qty = SAMPLES[turn % len(SAMPLES)]
            turn += 1
            self.route(pair, side, qty)

    def route(self, pair: Pair, side: Side, qty: Decimal) -> None:
        """One plan through the book as it stands."""
        book = self.router.market.book(pair)
        order = ParentOrder(pair=pair, side=side, qty=qty)
        try:
            made = plan(order, live_books(book, order), None, book.fees())
        except NotLive:
            self.tally.skipped += 1
            return
        self.tally.add(made)

    # ------------------------------------------------------------------------- the end

    def summary(self) -> dict[str, Any]:
        """What there was to see, in one object."""
        return self._summary

    def _sum_up(self) -> dict[str, Any]:
        router, tally = self.router, self.tally
        readings = [feed for feed in router.metrics.readings() if feed.books]
        return {
            "seed": self.seed,
            "seconds": round(self.ran_s, 1),
            "all_live_after_s": self.live_after_s and round(self.live_after_s, 2),
            "metrics": self.url,
            "venues": {
                feed.venue: {
                    "live": sum(book.state is BookState.LIVE for book in feed.books),
                    "books": len(feed.books),
                    "frames": feed.totals.frames,
                    "frames_per_s": round(feed.totals.frames / self.ran_s) if self.ran_s else 0,
                    "gaps": sum(book.counts.gaps for book in feed.books),
                    "resyncs": sum(book.counts.resyncs for book in feed.books),
                    "checksums_ok": sum(book.counts.checksums_ok for book in feed.books),
                    "reconnects": feed.reconnects,
                }
                for feed in readings
            },
            "books": {str(pair): self._top(pair) for pair in PAIRS},
            "apply_p50_us": router.metrics.apply.quantile_ns(0.5) / 1e3,
            "apply_p99_us": router.metrics.apply.quantile_ns(0.99) / 1e3,
            "routes": {
                "planned": tally.planned,
                "split": tally.split,
                "skipped": tally.skipped,
                "saved_quote": plain(tally.saved.quantize(Decimal("0.01"))),
                "saved_bps": plain(tally.saved_bps),
                "last": tally.recent[-1].to_json() if tally.recent else None,
            },
        }

    def _top(self, pair: Pair) -> dict[str, Any]:
        book = self.router.market.book(pair)
        out: dict[str, Any] = {}
        for name, side in (("bid", Side.SELL), ("ask", Side.BUY)):
            level = book.best(side)
            out[name] = level and {
                "venue": level.venue,
                "px": plain(level.price),
                "qty": plain(level.quantity),
                "all_in_px": plain(level.all_in.quantize(Decimal("0.0001"))),
            }
        return out


@asynccontextmanager
async def simulators(seed: int, venues: Sequence[str] = VENUES) -> AsyncIterator[list[Target]]:
    """Simulated venues in a child process; it ends with us, however we end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hean_router.cli", "sim", *venues, "--seed", str(seed), "--until-eof"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A Ctrl-C in the terminal reaches the whole group: the venues must outlive our winding up.
        start_new_session=True,
    )
    assert child.stdin is not None, "a pipe was asked for"
    assert child.stdout is not None, "a pipe was asked for"
    try:
        try:
            async with asyncio.timeout(START_S):
                line = await child.stdout.readline()
            announced = orjson.loads(line)["venues"]
        except (TimeoutError, orjson.JSONDecodeError) as fault:
            raise SimulatorsFailed(
                f"the simulators did not start ({type(fault).__name__})",
                f"try them alone: hean sim {' '.join(venues)}",
            ) from None
        yield [Target(name, entry["env"], entry["hosts"]) for name, entry in announced.items()]
    finally:
        child.stdin.close()
        try:
            async with asyncio.timeout(5):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def tell_summary(summary: dict[str, Any]) -> None:
    """The same for people."""
    if not summary:
        say("stopped before the venues were up")
        return
    routes = summary["routes"]
    say(f"demo ran {summary['seconds']} s with seed {summary['seed']}; everything was simulated")
    say(f"all books LIVE after {summary['all_live_after_s']} s")
    say("")
    say(f"{'venue':10}{'live':>7}{'frames':>9}{'per s':>7}{'gaps':>6}{'resyncs':>9}{'crc ok':>8}")
    for name, venue in summary["venues"].items():
        live = f"{venue['live']}/{venue['books']}"
        say(
            f"{name:10}{live:>7}{venue['frames']:>9}{venue['frames_per_s']:>7}"
            f"{venue['gaps']:>6}{venue['resyncs']:>9}{venue['checksums_ok']:>8}"
        )
    say("")
    for symbol, top in summary["books"].items():
        bid, ask = top["bid"], top["ask"]
        if bid and ask:
            say(
                f"{symbol:10} bid {bid['px']} {bid['venue']} ({bid['all_in_px']} after fee)   "
                f"ask {ask['px']} {ask['venue']} ({ask['all_in_px']} after fee)"
            )
    say("")
    say(
        f"routes: {routes['planned']} planned, {routes['split']} over several venues; "
        f"saved {routes['saved_quote']} USDT = {routes['saved_bps']} bps "
        "against the best venue alone"
    )
    if last := routes["last"]:
        say(f"last:   {last['side']} {last['requested']} {last['symbol']}")
        for child in last["children"]:
            px = Decimal(child["avg_px"]).quantize(Decimal("0.0001"))
            say(f"        {child['venue']:10}{child['qty']:>14} at {px}")
        for venue, reason in last["venues"].items():
            say(f"        {venue:10}{reason}")
    say(
        f"a frame took {summary['apply_p50_us']:g} µs (median, up to) / "
        f"{summary['apply_p99_us']:g} µs (99 %) to decode, apply and pass on"
    )
