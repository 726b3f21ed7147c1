"""A real order side on paper: two venues, two accounts, books that a test moves by hand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random

import httpx

from hean_router.api import Caps, Desk, Fills, make_app
from hean_router.book import Book, BookState
from hean_router.domain.errors import HeanError
from hean_router.domain.feed import Snapshot
from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.domain.limits import Bounds, GateLimits, RiskLimits
from hean_router.domain.venue import FeeIn, Fees
from hean_router.engine import Engine, Keep, Started
from hean_router.runtime.clock import steady_clock
from hean_router.runtime.market import Market
from hean_router.runtime.paper_desk import PaperDesk
from hean_router.runtime.trading import MarketWorld, Trading
from hean_router.store import Journal
from hean_router.store.past import Archive
from hean_router.venue import BookMoved

PAIRS = (Pair("BTC", "USDT"), Pair("ETH", "USDT"), Pair("USDT", "USD"))
VENUES = ("alpha", "beta")
ACCOUNTS = ("main", "other")
ALL = ("read", "trade", "cancel", "risk", "admin")


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop run until that holds; five seconds are too long."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.001)


class Rows:
    """A journal in memory; `broken` makes its disk full."""

    sync = "full"

    def __init__(self) -> None:
        self.rows, self.broken = [], False

    def append(self, rows):
        if self.broken:
            raise HeanError("no space left on device")
        self.rows += rows
        return len(self.rows)


class House:
    """Everything behind the API, and the keys to it."""

    def __init__(
        self,
        *,
        delay_ns: int = 1_000_000,
        caps: Caps | None = None,
        limits: RiskLimits | None = None,
        keep: Keep | None = None,
        gate: GateLimits = GateLimits(),  # noqa: B008 - frozen, a value
    ) -> None:
        self.clock = steady_clock()
        self.market = Market(PAIRS)
        self.books: dict[tuple[str, Pair], Book] = {}
        desks = {
            (venue, account): PaperDesk(
                venue,
                account,
                self.market,
                self.clock,
                {a: Decimal(n) for a, n in (("BTC", 50), ("ETH", 500), ("USDT", 5_000_000))},
                delay_ns=delay_ns,
            )
            for venue in VENUES
            for account in ACCOUNTS
        }
        wide = Bounds(
            orders_per_second=100_000,
            orders_per_minute=1_000_000,
            parents_per_second=100_000,
            parents_per_minute=1_000_000,
            open_orders_max=100_000,
            gross_max=Decimal("1e12"),
            net_max=Decimal("1e12"),
            position_max=Decimal("1e12"),
        )
        self.engine = Engine(
            MarketWorld(self.market, desks),
            limits
            or RiskLimits(
                portfolio=Bounds(
                    order_notional_max=Decimal(50_000),
                    parent_notional_max=Decimal(250_000),
                    collar_bps=Decimal(200),
                ),
                each_account=wide,
                each_venue=wide,
                each_symbol=wide,
            ),
            desks=dict.fromkeys(desks, ""),
            keep=keep or Keep(),
        )
        # One that forgets needs a journal that can be asked.
        self.journal = Rows() if keep is None else Journal.memory()
        self.desks = desks
        self.trading = Trading(
            self.market,
            self.engine,
            self.journal,
            desks,
            self.clock,
            hear=lambda row, _at: self.desk.fills.apply(row),
            gate=gate,
            entropy=Random(7).randbytes,
        )
        self.desk = Desk(trading=self.trading, clock=self.clock, mode="paper")
        if keep is not None:
            self.desk.archive = self.engine.core.past = Archive(self.journal)
            self.desk.fills = Fills(kept=keep.parents)
        self.app = make_app(self.desk, caps or Caps(rate=0))
        self._list()

    def _list(self) -> None:
        for venue, taker in zip(VENUES, ("0.001", "0.002"), strict=True):
            listed = [
                Instrument(
                    venue=VenueId(venue),
                    pair=pair,
                    symbol=pair.base + pair.quote,
                    px_decimals=2 if pair.base != "USDT" else 4,
                    qty_decimals=4,
                    lot=1,
                    min_qty=1,
                    min_notional=Decimal(5),
                )
                for pair in PAIRS
            ]
            fees = Fees(taker=Decimal(taker), maker=Decimal("0.0005"), fee_in=FeeIn.QUOTE)
            for of in self.market.join(VenueId(venue), Part.SPOT, listed, fees):
                self.books[venue, of.pair] = Book(of)
                px = {"BTC": 60_000_00, "ETH": 3_000_00, "USDT": 1_0000}[of.pair.base]
                step = 1 if of.pair.base == "USDT" else 100
                self.show(
                    venue,
                    of.pair,
                    bids=[(px - step * (i + 1), 5_0000) for i in range(5)],
                    asks=[(px + step * (i + 1), 5_0000) for i in range(5)],
                )

    def show(self, venue: str, pair: Pair, bids, asks) -> None:
        """Let a venue show these levels."""
        book = self.books[venue, pair]
        of = book.instrument
        now_ns = self.clock()
        book.snapshot(Snapshot(of, bids, asks, None, now_ns), now_ns)
        book.enter(BookState.LIVE, "shown", now_ns)
        self.market.sink(VenueId(venue))([BookMoved(of, book.live)], now_ns)

    def key(self, account: str = "main", scopes=ALL) -> str:
        """A key's token."""
        return str(self.trading.make_key(account, scopes)[1])

    @asynccontextmanager
    async def running(self) -> AsyncIterator["House"]:
        self.trading.start(Started(epoch=1, tag="tst", version="0", config_digest="", mode="paper"))
        tasks = [asyncio.create_task(self.trading.run())]
        for (venue, account), desk in self.desks.items():
            listed = [of for (name, _), of in self.market.listed.items() if name == venue]
            tasks.append(asyncio.create_task(desk.run(listed, self.trading.sink(venue, account))))
        try:
            await until(lambda: not any(one.why for one in self.engine.core.desks.values()))
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def client(self, key: str = "") -> httpx.AsyncClient:
        """A client of the API, with that key."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)


def in_house(test: Callable, **options) -> None:
    """Run `test(house)` against a running house."""

    async def main() -> None:
        async with House(**options).running() as house:
            await test(house)

    asyncio.run(main())


def order(number: int = 1, **fields) -> dict:
    """A good body; `None` takes a field away."""
    body = {
        "client_order_id": f"c-{number}",
        "symbol": "BTC/USDT",
        "side": "buy",
        "type": "limit",
        "quantity": "0.01",
        "limit_price": "60100",
        "time_in_force": "IOC",
        **fields,
    }
    return {name: value for name, value in body.items() if value is not None}
