"""Four simulated venues and the router on them, in one virtual world from one seed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from hean_router.app import Router, Target, announced
from hean_router.book import BookState
from hean_router.config import Settings
from hean_router.domain.instrument import Pair, Trading
from hean_router.sim import server
from hean_router.sim.contract import Options
from hean_router.sim.exchange import Exchange, Side
from hean_router.sim.fault_spec import parse
from hean_router.sim.market import Pace
from hean_router.sim.simulator import Simulator, simulate
from hean_router.sim.virtual import World, virtual_connector

VENUES = ("binance", "bybit", "kraken", "okx")
SECOND = 1_000_000_000
# How deep our books of each venue go, for comparing with the whole book of its exchange.
DEPTHS = {"binance": 200, "bybit": 200, "kraken": 100, "okx": 400}
# Of Kraken only the ten best levels are proven, by the checksum: where frames are lost, one that
# changes nothing among them cannot be noticed before its level gets there.
PROVEN = {**DEPTHS, "kraken": 10}
SETTINGS = Settings(venues={})


@dataclass
class Venue:
    """One simulated venue and the oracle behind it."""

    simulator: Simulator
    exchange: Exchange
    server: server.Server


class Town:
    """The venues, the router, and what to ask of them."""

    def __init__(self, world: World, venues: dict[str, Venue], router: Router) -> None:
        self.world, self.venues, self.router = world, venues, router
        self.pairs = router.market.pairs

    def freeze(self) -> None:
        """No venue trades any more, so that books can be compared at rest."""
        for venue in self.venues.values():
            venue.simulator.market = None

    async def until(self, true, within_s: float, what: str) -> float:
        """Wait until `true()`; how long it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not true():
            assert loop.time() - began < within_s, f"{what} not within {within_s} s: {self.state()}"
            await asyncio.sleep(0.05)
        return loop.time() - began

    def state(self) -> dict[str, dict[str, str]]:
        """Every book's state that is not LIVE, in words."""
        market = self.router.market
        return {
            str(pair): missing
            for pair in self.pairs
            if (missing := {v: s for v, s in market.standing(pair).items() if s != "live"})
        }

    def check(self, depths: Mapping[str, int] = DEPTHS) -> None:
        """Every LIVE book of ours is its exchange's book, as deep as we keep it (or `depths`)."""
        for feed in self.router.feeds:
            for line in feed.lines:
                for instrument in line.instruments:
                    if instrument.trading is Trading.UNLISTED:
                        continue
                    session = line.pair.leader(instrument)
                    assert session is not None, f"nobody leads {instrument.pair}"
                    book = session.book(instrument)
                    assert book.state is BookState.LIVE, (instrument.venue, book.state, book.reason)
                    book.check()
                    compare(self.venues[feed.id].exchange, book, depths[feed.id])


def compare(exchange: Exchange, book, depth: int) -> None:
    """Our levels are the exchange's best ones, price by price and quantity by quantity."""
    instrument = book.instrument
    listing = exchange.listings[str(instrument.pair)]
    for side, ladder in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
        theirs = [
            (listing.px(level.px), listing.qty(level.qty) * listing.contract_size)
            for level in exchange.book(listing.symbol, depth)[0 if side is Side.BUY else 1]
        ]
        ours = [
            (instrument.px_decimal(px), instrument.qty_decimal(qty))
            for px, qty in ladder.top(depth)
        ]
        differs = [pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]]
        assert ours == theirs, (
            f"{instrument.venue} {instrument.pair} {side}: {len(ours)} levels against "
            f"{len(theirs)}, first difference {differs[:1]}"
        )


@asynccontextmanager
async def town(
    world: World,
    symbols: Iterable[str],
    *,
    venues: Iterable[str] = VENUES,
    pace: Pace | None = None,
    faults: str = "",
    options: Options | None = None,
    settings: Settings = SETTINGS,
    prepare: Callable[[dict[str, Venue]], None] | None = None,
) -> AsyncIterator[Town]:
    """Build it, run it for the block, take it down.  `prepare(venues)` comes before the router."""
    symbols = list(symbols)
    built, targets = await build(world, symbols, venues, pace, faults, options)
    if prepare:
        prepare(built)
    router = Router(
        settings,
        targets,
        [Pair.parse(symbol) for symbol in symbols],
        clock=world.net.clock("router"),
        rng=world.seeds.rng("router"),
        connector=virtual_connector,
        tell=lambda text: world.note("router", text),
    )
    hear(world, router)
    async with router.running():
        yield Town(world, built, router)
    for venue in built.values():
        await venue.server.stop()


async def build(
    world: World,
    symbols: list[str],
    venues: Iterable[str] = VENUES,
    pace: Pace | None = None,
    faults: str = "",
    options: Options | None = None,
    histories=None,
    fees_e8=None,
) -> tuple[dict[str, Venue], list[Target]]:
    """Simulated venues on their hosts, and where they are; only Kraken knows USD."""
    built: dict[str, Venue] = {}
    found = {}
    for name in venues:
        clock = world.net.clock(name)
        listed = [
            s
            for s in symbols
            if (":" not in s or name != "kraken") and (not s.endswith("/USD") or name == "kraken")
        ]
        simulator, exchange = simulate(
            name,
            world.seeds.number("market"),
            clock(),
            symbols=listed,
            pace=pace,
            options=options,
            faults=parse(faults) if faults else None,
            history=histories.get(name) if histories else None,
            fees_e8=(fees_e8 or {}).get(name),
        )
        with world.net.on(name):
            served = server.Server(simulator, clock, host="0.0.0.0", port=80)
            await served.start()
        world.net.dns[f"{name}.sim"] = name
        world.net.link("router", name).latency(20_000_000, jitter_ns=5_000_000)
        built[name] = Venue(simulator, exchange, served)
        hosts = simulator.face.hosts(f"http://{name}.sim", f"ws://{name}.sim")
        found[name] = {
            "env": "sim",
            "hosts": dict(hosts),
            "accounts": [account.announced() for account in simulator.accounts],
        }
    return built, list(announced({"venues": found}).values())


def hear(world: World, router: Router) -> None:
    """Every change of a book's state is an event of the trace."""

    def changed(change) -> None:
        instrument = change.instrument
        world.note(
            "book",
            f"{instrument.venue} {instrument.pair} {change.old.value}->{change.new.value} "
            f"{change.reason}",
        )

    router.market.on_change.append(changed)


__all__ = ["DEPTHS", "PROVEN", "SECOND", "VENUES", "Town", "compare", "town"]
