"""The same asks and the same faults for three executors on the same simulated venues; a table.

    python -m tests.rivals.bench 1 2 3      # seeds; without any, 1 to 4

What each has done is read from the venues' own accounts, and held against what it believes.
"""

import asyncio
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Protocol

from hean_router.domain.errors import HeanError
from hean_router.domain.parent import Life, VenueChoice
from hean_router.engine import Placed
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from hean_router.sim.virtual import World
from tests.rivals.plain import Plain, RetryOnTimeout, ThreeNotFound
from tests.rivals.script import DOWN_S, SYMBOL, VENUES, Ask, Mischief, script
from tests.rivals.venue_rest import VENUES as RESTS
from tests.storm.house import LIMITS, House, plot
from tests.storm.test_house_storm import Kept

QUIET_S = 60  # without faults, at the end
AGAIN_S = 0.5
PACE = Pace(updates_per_s=2)
ROOM = {**LIMITS, "reporting": "USDT"}  # no venue here knows dollars


class Life_(Protocol):  # noqa: N801 - a life of an executor; `Life` is an order's
    """An executor that lives, dies and lives again."""

    async def start(self) -> None: ...
    async def kill(self) -> None: ...
    def begin(self, ask: Ask, px: Decimal) -> None: ...
    def believes(self, ask: Ask) -> Decimal: ...
    def ask_of(self, client_id: str) -> str: ...


class _Lives:
    """What is given to do, and done again after a death if it was not finished."""

    def __init__(self, world: World, home: House) -> None:
        self.world, self.home = world, home
        self.given: dict[str, tuple[Ask, Decimal]] = {}
        self.done: set[str] = set()  # told to whoever asked: remembered by them
        self.tasks: set[asyncio.Task[None]] = set()
        self.up = False

    def begin(self, ask: Ask, px: Decimal) -> None:
        """Now, or as soon as it lives."""
        self.given[ask.name] = (ask, px)
        if self.up:
            self._spawn(ask, px)

    def resume(self) -> None:
        """It lives: what was not finished is asked for again."""
        self.up = True
        for name, (ask, px) in self.given.items():
            if name not in self.done:
                self._spawn(ask, px)

    async def drop(self) -> None:
        """It dies with all that it was doing."""
        self.up = False
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _spawn(self, ask: Ask, px: Decimal) -> None:
        task = asyncio.create_task(self._do(ask, px))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _do(self, ask: Ask, px: Decimal) -> None:
        await self.carry_out(ask, px)
        self.done.add(ask.name)

    async def carry_out(self, ask: Ask, px: Decimal) -> None:
        raise NotImplementedError


class Bot(_Lives):
    """A plain executor."""

    def __init__(self, world: World, home: House, kind: type[Plain]) -> None:
        super().__init__(world, home)
        self.kind, self.disk = kind, dict[str, Any]()

    async def start(self) -> None:
        venues = {}
        for name, rest in RESTS.items():
            (main, *_) = self.home.venues[name].simulator.accounts
            key = next(one for one in main.keys if one.scheme == "hmac")
            clock = self.world.net.clock("router")
            symbol = SYMBOL.replace("/", "")
            host = f"http://{name}.sim"
            venues[name] = rest(host, key, symbol, clock, self.kind.timeout_s)
        self.bot = self.kind(venues, self.disk)
        self.resume()

    async def kill(self) -> None:
        await self.drop()
        for venue in self.bot.venues.values():
            await venue.close()

    async def carry_out(self, ask: Ask, px: Decimal) -> None:
        await self.bot.do(ask, px)

    def believes(self, ask: Ask) -> Decimal:
        return self.bot.believes(ask)

    def ask_of(self, client_id: str) -> str:
        return client_id.partition("x")[0]


class Mortal(Kept):
    """A journal into which a dead process writes nothing."""

    dead = False

    def append(self, rows: Any) -> int:
        if self.dead:
            raise HeanError("this process is dead")
        return super().append(rows)


class Ours(_Lives):
    """The router, asked as its callers ask: again by the same id until it has said yes."""

    def __init__(self, world: World, home: House) -> None:
        super().__init__(world, home)
        self.journal = Mortal()

    async def start(self) -> None:
        self.journal.dead = False
        self.over, up = asyncio.Event(), asyncio.Event()

        async def live() -> None:
            async with self.home.moved_in(self.journal.opened(), wait=False):
                up.set()
                await self.over.wait()

        self.life = asyncio.create_task(live())
        await up.wait()
        self.resume()

    async def kill(self) -> None:
        self.journal.dead = True
        await self.drop()
        self.over.set()
        await self.life

    async def carry_out(self, ask: Ask, px: Decimal) -> None:
        home = self.home
        while True:
            answer = home.submit(
                ask.side,
                f"{ask.qty}",
                limit=f"{px}",
                life=Life.GTC,
                client=ask.name,
                venues=VenueChoice(include=(ask.venue,)),
            )
            if isinstance(answer, Placed):
                break
            await asyncio.sleep(AGAIN_S)
        parent = home.engine.oms.parents[answer.parents[0]]
        if ask.rests_s:
            await asyncio.sleep(ask.rests_s)
            home.trading.cancel(parent.id, "test", "long enough")
        while parent.ended is None:  # noqa: ASYNC110 - the router may die meanwhile
            await asyncio.sleep(AGAIN_S)

    def believes(self, ask: Ask) -> Decimal:
        parents = self.home.engine.oms.parents.values()
        return sum((one.filled for one in parents if one.intent.client_order_id == ask.name),
                   Decimal(0))  # fmt: skip

    def ask_of(self, client_id: str) -> str:
        oms = self.home.engine.oms
        key = oms.by_client.get(("main", client_id), client_id)
        return oms.children[key].parent.intent.client_order_id if key in oms.children else ""


# ------------------------------------------------------------------------- one run


async def _run(world: World, make: Any, asks: Sequence[Ask]) -> dict[str, Any]:
    async with plot(world, [SYMBOL], venues=VENUES, pace=PACE, limits=ROOM) as home:
        mischief = Mischief(world, home)
        with mischief.on_the_wire():
            life = make(world, home)
            await life.start()
            await asyncio.sleep(15)  # it may find its feet
            began = asyncio.get_running_loop().time()
            aside = set()

            async def reborn() -> None:
                with mischief.death():
                    await life.kill()
                await asyncio.sleep(DOWN_S)
                await life.start()

            for ask in asks:
                await asyncio.sleep(began + ask.at_s - asyncio.get_running_loop().time())
                mischief.before(ask)
                life.begin(ask, _px(home, ask))
                aside.add(asyncio.create_task(mischief.during(ask, asyncio.sleep, reborn)))
            await asyncio.gather(*aside)
            await asyncio.sleep(QUIET_S)
            told = _judged(home, life, asks)
            await life.kill()
            return {**told, "struck": mischief.struck()}


def _px(home: House, ask: Ask) -> Decimal:
    """A price that takes what is there, or one that rests well below."""
    exchange = home.venues[ask.venue].exchange
    listing = exchange.listings[SYMBOL]
    bids, offers = exchange.book(listing.symbol, 1)
    sign = 1 if ask.side == "buy" else -1
    if ask.rests_s:
        best, away = (bids if ask.side == "buy" else offers)[0], Decimal("-0.015")
    else:
        best, away = (offers if ask.side == "buy" else bids)[0], Decimal("0.003")
    return (listing.px(best.px) * (1 + sign * away)).quantize(Decimal("0.1"))


def _judged(home: House, life: Life_, asks: Sequence[Ask]) -> dict[str, Any]:
    """By the venues' own accounts; quantities in base.

    `doubled`: asks of which more was traded, or rested at a time, than was asked.  `lost`: asks of
    which an order still stands, or was traded, and the executor does not know.
    """
    sent, traded_all, doubled, lost, error = 0, Decimal(0), [], [], Decimal(0)
    for ask in asks:
        exchange = home.venues[ask.venue].exchange
        listing = exchange.listings[SYMBOL]
        mine = [
            order
            for order in home.books_of(ask.venue).orders
            if life.ask_of(order.first_client_id) == ask.name
        ]
        traded = sum((listing.qty(order.filled) for order in mine), Decimal(0))
        sent += len(mine)
        traded_all += traded
        if traded > ask.qty or _at_once(mine, listing, ask.qty):
            doubled.append(f"{ask.name} {ask.fault}")
        if any(order.open for order in mine) or traded != life.believes(ask):
            lost.append(f"{ask.name} {ask.fault}")
        error += abs(traded - life.believes(ask))
    strangers = [
        order.first_client_id
        for venue in VENUES
        for order in home.books_of(venue).orders
        if not life.ask_of(order.first_client_id)
    ]
    takes = [ask for ask in asks if not ask.rests_s]
    return {
        "asks": len(asks),
        "asked": sum((ask.qty for ask in takes), Decimal(0)),
        "sent": sent,
        "traded": traded_all,
        "doubled": doubled,
        "lost": lost,
        "position_error": error,
        "strangers": strangers,
    }


def _at_once(orders: Sequence[Any], listing: Any, most: Decimal) -> bool:
    """Whether at some instant more could have traded than was asked for."""
    for one in orders:
        at_ns = one.created_ns
        there = Decimal(0)
        for order in orders:
            if order.created_ns <= at_ns:
                alive = order.open or order.updated_ns > at_ns
                there += listing.qty(order.qty if alive else order.filled)
        if there > most:
            return True
    return False


EXECUTORS = {
    "hean": Ours,
    "retry on timeout": lambda world, home: Bot(world, home, RetryOnTimeout),
    "three not found": lambda world, home: Bot(world, home, ThreeNotFound),
}


def table(seed: int) -> list[dict[str, Any]]:
    """One row for each executor, of the same asks and faults."""
    asks = script(seed)
    rows = []
    for name, make in EXECUTORS.items():
        told = virtual.run(lambda world, make=make: _run(world, make, asks), seed).value
        rows.append({"executor": name, "seed": seed, **told})
    return rows


def shown(rows: Sequence[dict[str, Any]]) -> str:
    """As people read it."""
    lines = [
        f"{'executor':<18}{'seed':>5}{'asks':>6}{'asked':>9}{'orders':>8}{'traded':>9}"
        f"{'doubled':>9}{'lost':>6}{'position off':>14}"
    ]
    lines += [
        f"{row['executor']:<18}{row['seed']:>5}{row['asks']:>6}{row['asked']:>9f}"
        f"{row['sent']:>8}{row['traded']:>9f}{len(row['doubled']):>9}{len(row['lost']):>6}"
        f"{row['position_error']:>14f}"
        for row in rows
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    found = [row for seed in map(int, sys.argv[1:] or "1234") for row in table(seed)]
    print(shown(found))
    for row in found:
        print(row["executor"], row["seed"], "doubled:", row["doubled"], "lost:", row["lost"])
