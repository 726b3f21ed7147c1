"""Four simulated venues and the whole router on them, orders too, in one virtual world."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import count
from random import Random

from hean_router.config import Settings
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.parent import Intent, Life, OrderKind
from hean_router.engine import Placed
from hean_router.office import Office
from hean_router.sim.market import Pace
from hean_router.sim.virtual import World, virtual_connector
from hean_router.store import Journal
from tests.storm.town import VENUES, Venue, build, hear

SYMBOLS = ("BTC/USDT", "ETH/USDT", "USDT/USD")
# Wide limits: what is tested here is not the limits.
LIMITS = {
    "parent_notional_max": 1_000_000_000,
    "order_notional_max": 1_000_000_000,
    "gross_max": 1_000_000_000,
    "net_max": 1_000_000_000,
    "each_account": {
        "gross_max": 1_000_000_000,
        "net_max": 1_000_000_000,
        "parents_per_second": "off",
        "parents_per_minute": "off",
        "orders_per_second": "off",
        "orders_per_minute": "off",
    },
    "each_venue": {"gross_max": 1_000_000_000, "net_max": 1_000_000_000},
    "each_symbol": {
        "position_max": 1_000_000_000,
        "gross_max": 1_000_000_000,
        "net_max": 1_000_000_000,
    },
    # Its prices, ages and counts of what repeats stay as they are delivered.
    "gate": {"order_notional_max": "off", "turnover_max": "off"},
}


class House:
    """The venues, the office, and what to ask of them."""

    def __init__(self, world: World, venues: dict[str, Venue], histories) -> None:
        self.world, self.venues, self.histories = world, venues, histories
        self._ids = count(1)
        self.stood_s = 0.0  # how long a test has let the whole process stand still
        self.entropy = Random(world.seeds.number("entropy"))
        self.moving_in = []  # told of each office before it runs

    @asynccontextmanager
    async def moved_in(self, journal, within_s=60.0, *, wait=True, paper=False, clock=None):
        """An office on `journal`, once every desk and book stands; and until the block ends."""
        world = self.world
        office = self.office = Office(
            self.settings,
            self.targets,
            self.pairs,
            state=None,
            paper=paper,
            clock=clock or world.net.clock("router"),
            rng=Random(world.seeds.number("office")),
            connector=virtual_connector,
            tell=lambda text: world.note("router", text),
            journal=journal,
            entropy=self.entropy.randbytes,
        )
        self.trading, self.engine, self.market = (
            office.trading,
            office.engine,
            office.router.market,
        )
        hear(world, office.router)
        for told in self.moving_in:
            told(office)
        async with office.running():
            if wait:
                await self.stands(within_s)
            yield office

    async def stands(self, within_s=60.0):
        """Wait until every desk and book does."""
        await self.until(
            lambda: (
                all(not health.why for health in self.engine.core.desks.values())
                and self.market.all_live
            ),
            within_s,
            "every desk and book",
        )

    async def until(self, true, within_s: float, what: str) -> float:
        """Wait until `true()`; how long it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not true():
            assert loop.time() - began < within_s, f"{what} not within {within_s} s: {self.state()}"
            await asyncio.sleep(0.05)
        return loop.time() - began

    def state(self):
        """How desks stand, and what lives."""
        core = self.engine.core
        return {
            "desks": {f"{v} {a}": h.why for (v, a), h in core.desks.items()},
            "books": {
                f"{venue} {pair}": str(state)
                for pair in self.market.pairs
                for venue, state in self.market.standing(pair).items()
                if state != "live"
            },
            "live": {key: str(child.status) for key, child in core.oms.live.items()},
            "unsettled": list(core.oms.unsettled),
            "working": list(self.engine.conduct.work),
        }

    def submit(self, side, qty=None, *, symbol="BTC/USDT", limit=None, life=None, **more):
        """Place one parent; the engine's answer."""
        kind = OrderKind.MARKET if limit is None else OrderKind.LIMIT
        intent = Intent(
            account=more.pop("account", "main"),
            client_order_id=more.pop("client", f"c{next(self._ids)}"),
            symbol=symbol,
            side=Side(side),
            kind=kind,
            life=life or (Life.IOC if limit is None else Life.GTC),
            qty=None if qty is None else Decimal(qty),
            limit_px=None if limit is None else Decimal(limit),
            **more,
        )
        return self.trading.submit([intent], "test")

    def place(self, *args, **kwargs):
        """The same, and it must be taken: the parent."""
        answer = self.submit(*args, **kwargs)
        assert isinstance(answer, Placed), answer
        return self.engine.oms.parents[answer.parents[0]]

    async def done(self, parent, within_s=30.0):
        """Wait until it has ended."""
        await self.until(lambda: parent.ended is not None, within_s, f"the end of {parent.id}")
        return parent

    def books_of(self, venue, account="main"):
        """The account as the venue itself keeps it."""
        face = self.venues[venue].simulator.face
        face = getattr(face, "inner", face)  # behind its faults
        private = face.private
        return getattr(private, "orders", private).desk.accounts[account]

    def balances(self, venue, account="main"):
        """What the venue itself says the account has."""
        found = self.books_of(venue, account)
        return {asset: balance.total for asset, balance in found.balances.items()}

    def resting(self):
        """What the venues say is open."""
        return [
            order
            for venue in self.venues
            for account in ("main", "second")
            for order in self.books_of(venue, account).open_orders()
        ]

    def check_balances(self, account="main", but=frozenset()):
        """Ours are the venues', to the last unit; all venues but those."""
        ours = self.engine.ledger.balances()
        for venue in sorted({*self.venues} - {*but}):
            theirs = self.balances(venue, account)
            mine = ours[venue, account]
            for asset in sorted({*theirs, *mine}):
                a, b = mine.get(asset, Decimal(0)), theirs.get(asset, Decimal(0))
                assert a == b, f"{venue} {asset}: ours {a}, theirs {b}"


@asynccontextmanager
async def plot(
    world: World,
    symbols: Iterable[str] = SYMBOLS,
    *,
    venues: Iterable[str] = VENUES,
    pace: Pace | None = None,
    faults: str = "",
    limits=LIMITS,
    strategies=None,
    fees_e8=None,
    **settings,
) -> AsyncIterator[House]:
    """The venues, and a house nobody has moved into yet."""
    symbols = list(symbols)
    histories = {name: [] for name in venues}
    writers = {name: rows.append for name, rows in histories.items()}
    pace = pace or Pace(updates_per_s=5)
    built, targets = await build(
        world, symbols, venues, pace, faults, histories=writers, fees_e8=fees_e8
    )
    made = House(world, built, histories)
    made.settings = Settings(venues={}, limits=limits, strategies=strategies or {}, **settings)
    made.targets, made.pairs = targets, [Pair.parse(symbol) for symbol in symbols]
    yield made
    for venue in built.values():
        await venue.server.stop()


@asynccontextmanager
async def house(world: World, *args, journal=None, **options) -> AsyncIterator[House]:
    """Build it, run it until every desk stands, yield it, take it down."""
    async with (
        plot(world, *args, **options) as made,
        made.moved_in(journal or Journal.memory()),
    ):
        yield made
