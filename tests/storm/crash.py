"""A process that dies at a chosen point, and what is found after it starts again.

A point is an instant before or after something leaves the process: a commit of the journal, or
bytes on the wire.  A scene is played once to count its points, then once for each of them with the
process dying there: nothing more is written, nothing more is sent; what had been given to the
system before is still delivered.  Then the router starts again on the same file, at the same
venues.

    python -m tests.storm.crash SCENE [POINTS]     # 7, 1-20 or 3,9: all of them if left out
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

from hean_router.domain.instrument import Pair, Side, VenueId
from hean_router.domain.parent import VenueChoice
from hean_router.domain.record import BalanceBreak, ChildIntended, Filled, Incident, Row
from hean_router.engine import Placed
from hean_router.oms import Orders
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from hean_router.sim.virtual import World
from hean_router.sim.virtual_wire import Stream, reset_error
from hean_router.store.journal_file import JournalError
from tests.checker.checks import CHECKS, History
from tests.checker.history import discipline
from tests.checker.router_side import api_of, read_journal
from tests.checker.venue_logs import read_logs
from tests.storm.disk import Disk, Pen
from tests.storm.house import House, plot
from tests.storm.people import People

assert discipline.CLOCKS_NS  # enlists checks
ROUTER = "router"
SYMBOLS = ("BTC/USDT", "USDT/USD")
HEARD_S, RESTART_S = 0.2, 0.3
SURE_S = 90.0


class Death:
    """Counts points while it is armed, and kills the process at one of them.

    `heard`: the venues carry out what had been sent; else they drop what came right before the end.
    """

    def __init__(self, world: World, at: int, *, heard: bool = True) -> None:
        self.world, self.at, self.heard = world, at, heard
        self.points: list[str] = []
        self.armed = self.dead = False
        self.came = asyncio.Event()

    def point(self, name: str) -> None:
        """Something is about to leave, or has just left."""
        if not self.armed or self.dead:
            return
        self.points.append(name)
        if len(self.points) == self.at:
            self._die()

    def _die(self) -> None:
        self.dead = True
        self.world.note(ROUTER, f"dies {self.points[-1]}")
        loop = asyncio.get_running_loop()
        for connection in self.world.net.connections(ROUTER):
            if connection.client == ROUTER:
                # As the system closes what a dead process had open: behind the last byte.  A venue
                # carries out what came before that, or finds nobody there and lets it be.
                wait_s = HEARD_S if self.heard else 0
                loop.call_later(wait_s, _PLAIN["fin"], connection.up)
                loop.call_soon(connection.down.receiver.wire_lost, reset_error())
        self.came.set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every byte that the router sends passes here until the block ends."""

        def send(stream: Stream, data: bytes) -> None:
            if not _of_router(stream):
                _PLAIN["send"](stream, data)
                return
            what = f"{len(data)} bytes to {stream.conn.server}"
            self.point(f"before {what}")
            if not self.dead:
                _PLAIN["send"](stream, data)
            self.point(f"after {what}")

        def unless_dead(name: str) -> Callable[[Stream], None]:
            def act(stream: Stream) -> None:
                if not (self.dead and _of_router(stream)):
                    _PLAIN[name](stream)

            return act

        Stream.send = send  # type: ignore[method-assign]
        Stream.fin, Stream.rst = unless_dead("fin"), unless_dead("rst")  # type: ignore[method-assign]
        try:
            yield
        finally:
            for name, plain in _PLAIN.items():
                setattr(Stream, name, plain)


_PLAIN: dict[str, Callable[..., None]] = {
    "send": Stream.send,
    "fin": Stream.fin,
    "rst": Stream.rst,
}


def _of_router(stream: Stream) -> bool:
    return stream.conn.client == ROUTER and stream is stream.conn.up


class Mortal(Pen):
    """A journal whose process may die right before or right after a commit, never within one."""

    def __init__(self, disk: Disk, pen: Pen, death: Death) -> None:
        super().__init__(disk, pen._journal)
        self._death = death

    def append(self, rows: Sequence[Row]) -> int:
        """Write, unless the process has died."""
        what = f"commit of {len(rows)} rows, {type(rows[-1]).__name__} last" if rows else "commit"
        self._death.point(f"before {what}")
        self._must_live()
        seq = super().append(rows)
        self._death.point(f"after {what}")
        return seq

    def close(self) -> None:
        """As the system does it for the dead."""
        if self._death.dead:
            self.kill()
        super().close()

    def _must_live(self) -> None:
        if self._death.dead:
            self.kill()
            raise JournalError("this process is dead", "nothing of it is written any more")


class Late(Mortal):
    """One on a disk that only says that it has written: each commit waits for the next one."""

    waiting: tuple[Row, ...] = ()

    def append(self, rows: Sequence[Row]) -> int:
        """Write what came before."""
        self._must_live()
        if self.waiting:
            super().append(self.waiting)
        self.waiting = tuple(rows)
        return int(self.seq) + len(rows)


@dataclass
class Stage:
    """What a scene plays on, and what its people were told before the death."""

    home: House
    death: Death
    asked: dict[str, Decimal] = field(default_factory=dict)  # parent -> quantity
    submitted: list[str] = field(default_factory=list)  # client order ids that were answered

    def demand(self, venue: str, word: str, times: int = 1) -> None:
        """The venue does it to the next requests of ours."""
        self.home.venues[venue].simulator.order_faults.demand(word, times)

    def best(self, venue: str) -> Decimal:
        """What BTC/USDT is offered for there."""
        live = self.home.market.book(Pair.parse("BTC/USDT")).live()[VenueId(venue)]
        level = live.best(Side.BUY)
        assert level is not None
        return live.instrument.px_decimal(level[0])

    def submit(self, side: str, qty: str, **more: Any) -> str:
        """Place a parent; its id.  Nobody hears the answer of a dead process."""
        client = f"c{len(self.submitted) + 1}"
        answer = self.home.submit(side, qty, client=client, **more)
        if self.death.dead:
            return ""
        assert isinstance(answer, Placed), answer
        (parent,) = answer.parents
        self.asked[parent] = self.home.engine.oms.parents[parent].qty
        self.submitted.append(client)
        return parent

    async def ended(self, *parents: str) -> None:
        """Wait until they have."""
        known = self.home.engine.oms.parents
        await self.home.until(
            lambda: all(known[one].ended is not None for one in parents if one in known),
            SURE_S,
            f"the end of {parents}",
        )


Scene = Callable[[Stage], Awaitable[None]]


async def split(stage: Stage) -> None:
    """Two orders, one after the other, each as three children at three venues, and their fills."""
    third = VenueChoice(max_share=Decimal("0.34"))
    await stage.ended(stage.submit("buy", "0.6", venues=third))
    await stage.ended(stage.submit("sell", "0.5", venues=third))


async def fading(stage: Stage) -> None:
    """A resting order that trades in part; its cancel races trades, and two answers are lost."""
    asked = stage.best("okx")
    stage.demand("okx", "acklost")
    one = stage.submit("buy", "9", limit=asked, venues=VenueChoice(include=("okx",)))
    parent = stage.home.engine.oms.parents[one]
    await stage.home.until(lambda: parent.filled and parent.working, 30, "trades while it rests")
    stage.demand("okx", "acklost")
    stage.demand("okx", "early", 2)
    stage.home.trading.cancel(one, "test", "changed my mind")
    await stage.ended(one)
    assert stage.death.dead or parent.leaves, "what was cancelled had not traded whole"


async def doubtful(stage: Stage) -> None:
    """Two orders at once, at four venues; of three children nobody says what became of them."""
    for venue, word in (("bybit", "unknown"), ("okx", "undone"), ("binance", "acklost")):
        stage.demand(venue, word)
    half = VenueChoice(max_share=Decimal("0.5"))
    buy = stage.submit("buy", "0.3", venues=half)
    sell = stage.submit("sell", "0.2", account="second", venues=half)
    await stage.ended(buy, sell)


SCENES: dict[str, Scene] = {"split": split, "fading": fading, "doubtful": doubtful}


@dataclass
class Found:
    """What came of one death."""

    points: list[str]
    died: str  # at which
    told: list[str]  # incidents
    rows: int
    orders: int  # at the venues


async def play(world: World, name: str, at: int, folder: Path, **how: bool) -> Found:
    """A scene with a death at its point `at`, 0 for none; raises where it does not add up."""
    pace = Pace(updates_per_s=1)
    async with plot(world, SYMBOLS, pace=pace, faults="until:10000h") as home:
        death = Death(world, at, heard=how.get("heard", True))
        disk = Disk(folder / "journal.sqlite3")
        journal = Late if how.get("writes_late") else Mortal
        stage = Stage(home, death)
        with death.watching():
            async with home.moved_in(journal(disk, disk.opened(), death)):
                death.armed = True
                await _until_dead(SCENES[name](stage), death)
                death.armed = False
                disk.journal = None
        points = death.points
        died = points[-1] if death.dead else ""
        await asyncio.sleep(RESTART_S)
        for connection in world.net.connections(ROUTER):
            connection.cut("reset")  # what the dead process had still begun to dial
        async with home.moved_in(disk.opened(), SURE_S):
            return await _reckoning(stage, folder, points, died)


async def _until_dead(scene: Awaitable[None], death: Death) -> None:
    playing = asyncio.ensure_future(scene)
    dying = asyncio.create_task(death.came.wait())
    await asyncio.wait({playing, dying}, return_when=asyncio.FIRST_COMPLETED)
    for task in (playing, dying):
        task.cancel()
    found, _ = await asyncio.gather(playing, dying, return_exceptions=True)
    if isinstance(found, Exception) and not death.dead:
        raise found


async def _reckoning(stage: Stage, folder: Path, points: list[str], died: str) -> Found:
    """End what is left; then hold all of it against what must be."""
    home = stage.home
    engine = home.engine
    _same_again(home)
    for parent in list(engine.oms.working):
        home.trading.cancel(parent, "test", "the end")
    await home.until(lambda: not engine.conduct.work and not engine.oms.live, SURE_S, "an end")
    await home.until(lambda: not engine.oms.unsettled, SURE_S, "every trade")
    await home.until(
        lambda: not any(home.trading.gate.standing().values()), SURE_S, "every gate open"
    )
    rows = [row for _, row in home.office.journal.rows()]
    _adds_up(stage, rows)
    people = People(home, Random(1), busy_s=1)
    people.move_in()
    answers = await people.collect() | {"submitted": stage.submitted}
    orders = _judge(home, folder, answers)
    told = [row.what for row in rows if isinstance(row, Incident)]
    return Found(points, died, told, len(rows), orders)


def _same_again(home: House) -> None:
    """[I12] The rows alone give the state that the process has."""
    replayed = Orders()
    for _, row in home.office.journal.rows():
        replayed.apply(row)
    assert replayed.state_hash() == home.engine.oms.state_hash(), "I12: replay differs"


def _adds_up(stage: Stage, rows: list[Row]) -> None:
    home, engine = stage.home, stage.home.engine
    engine.oms.check()
    assert not engine.oms.to_cancel
    assert engine.risk.reserved_total() == 0, "I21"
    assert not home.resting(), "an order of ours rests somewhere"
    for account in ("main", "second"):
        home.check_balances(account)
    assert not [row for row in rows if isinstance(row, BalanceBreak)], "I16"
    for parent, qty in stage.asked.items():
        assert parent in engine.oms.parents, f"{parent} was told to be placed, and is forgotten"
        assert engine.oms.parents[parent].filled <= qty, "I2"
        assert engine.oms.parents[parent].ended is not None, "I7"
    # Nothing of ours came twice, and nothing that we do not know.
    sent = [
        order.client_id
        for venue in home.venues
        for account in ("main", "second")
        for order in home.books_of(venue, account).orders
    ]
    assert len(sent) == len(set(sent)), "a child was sent twice"
    meant = {row.key for row in rows if isinstance(row, ChildIntended)}
    assert set(sent) <= meant, "I9: an order that no row explains"
    orphans = [row for row in rows if isinstance(row, Filled) and not row.key]
    assert not orphans, "a trade that no order explains"


def _judge(home: House, folder: Path, answers: dict[str, Any]) -> int:
    """Before the history checker, which knows nothing of the router; how many orders it saw."""
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    for venue, history in home.histories.items():
        lines = "".join(f"{json.dumps(row)}\n" for row in history)
        (logs / f"{venue}.orders.ndjson").write_text(lines)
    journal = read_journal(folder / "journal.sqlite3")
    history = History(read_logs(logs), api_of(answers), journal)
    wrong = [f"{name}: {text}" for name, one in CHECKS.items() for text in one(history)]
    assert not wrong, "\n".join(wrong[:20])
    return len(history.orders)


def run(name: str, at: int, *, seed: int = 1, **how: bool) -> Found:
    """One death of one scene, in a world of its own; `heard`, `writes_late`: see there."""
    folder = Path(tempfile.mkdtemp(prefix=f"crash-{name}-{at}-"))
    try:
        return virtual.run(lambda world: play(world, name, at, folder, **how), seed).value
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scene", choices=SCENES)
    parser.add_argument("points", nargs="?", default="")
    parser.add_argument("--unheard", action="store_true", help="drop what was sent right before")
    args = parser.parse_args()
    whole = run(args.scene, 0)
    print(f"{args.scene}: {len(whole.points)} points, {whole.orders} orders, {whole.told}")
    chosen = _numbers(args.points) if args.points else list(range(1, len(whole.points) + 1))
    failed = 0
    for at in chosen:
        began = time.process_time()
        try:
            found = run(args.scene, at, heard=not args.unheard)
        except Exception as fault:  # noqa: BLE001 - told, and the next point is tried
            failed += 1
            text = str(fault)[:800]
            print(f"{at} {whole.points[at - 1]}: {type(fault).__name__}: {text}", flush=True)
            continue
        spent = time.process_time() - began
        print(f"{at} {found.died}: {found.orders} orders {found.told} {spent:.1f} s", flush=True)
    return 1 if failed else 0


def _numbers(text: str) -> list[int]:
    out: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        out += range(int(first), int(last) + 1) if dash else [int(first)]
    return out


if __name__ == "__main__":
    sys.exit(main())
