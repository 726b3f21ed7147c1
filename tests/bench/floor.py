"""A router that trades, in this process, with simulated venues in another, over loopback.

Everything is what runs in service: sockets, sessions, engine, journal, gate, desks, signatures.
Only the venues are ours, in one process of their own with `--limits off`: what is measured is not
how fast a venue lets one be.
"""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from hean_router.app import Target, announced
from hean_router.config import Settings
from hean_router.domain.instrument import Pair
from hean_router.domain.record import Row
from hean_router.office import Office
from hean_router.runtime.loop import loop_factory
from hean_router.store import Journal
from tests.system.rig import VENUES, Child

SYMBOL, RATES = "BTC/USDT", "USDT/USD"
LONG = os.environ.get("HEAN_BENCH_LONG", "") not in {
    "",
    "0",
}  # the issue's 60 s, not `make bench`'s
READY_S = 60.0
MODES = ("none", "relaxed", "full")
# No limit is taken away but those on how often: they are looked at all the same.
MANY, MUCH = 10**9, "1000000000000"
LIMITS: dict[str, Any] = {
    "duplicate_window_ms": 0,
    "open_orders_max": MANY,
    **dict.fromkeys(("gross_max", "net_max", "daily_loss_max"), MUCH),
    "each_account": {
        **dict.fromkeys(("gross_max", "net_max", "daily_loss_max"), MUCH),
        **dict.fromkeys(("open_orders_max", "orders_per_second", "orders_per_minute"), MANY),
        **dict.fromkeys(("parents_per_second", "parents_per_minute"), MANY),
    },
    "each_venue": {"gross_max": MUCH, "net_max": MUCH, "open_orders_max": MANY},
    "each_symbol": {"position_max": MUCH, "gross_max": MUCH, "net_max": MUCH},
}


class Journals:
    """Three journals behind one name, so that the ways of committing are compared in one run.

    `mode` says which takes the next rows; "none" drops them.  Times the commit: `at_ns`.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {
            mode: Journal.open(folder / f"{mode}.sqlite3", sync=mode)
            for mode in MODES
            if mode != "none"
        }
        self.mode, self.sync = "full", "full"
        self.epoch, self.tag = self._files["full"].epoch, self._files["full"].tag
        self._count = 0

    def append(self, rows: Sequence[Row]) -> int:
        self._count += len(rows)
        if self.mode != "none":
            self._files[self.mode].append(rows)
        return self._count

    def rows(self, after: int = 0) -> Iterator[tuple[int, Row]]:
        return iter(())

    def close(self) -> None:
        for one in self._files.values():
            one.close()


@contextmanager
def venues(folder: Path, seed: int = 7) -> Iterator[dict[str, Target]]:
    """The four, in a process of their own."""
    words = ["sim", *VENUES, "--limits", "off", "--seed", str(seed)]
    child = Child(folder, "sims", [*words, "--symbols", f"{SYMBOL},{RATES}"], {})
    try:
        yield announced(child.first_line())
    finally:
        child.kill()


@asynccontextmanager
async def office(folder: Path, targets: dict[str, Target], journal: Any) -> AsyncIterator[Office]:
    """A router on them, once every venue takes orders and shows its book."""
    settings = Settings(
        limits=LIMITS, query={"url": "off"}, feeds={"symbols": (SYMBOL,), "rates": (RATES,)}
    )
    pairs = [Pair.parse(SYMBOL), Pair.parse(RATES)]
    made = Office(settings, list(targets.values()), pairs, state=None, paper=False, journal=journal)
    async with made.running():
        async with asyncio.timeout(READY_S):
            while not _stands(made):  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.05)
        await asyncio.sleep(2.0)  # a reference price of a while ago
        gc.collect()
        gc.freeze()  # what stands now is nobody's garbage
        try:
            yield made
        finally:
            gc.unfreeze()


def _stands(made: Office) -> bool:
    desks = made.engine.core.desks
    return all(not one.why for one in desks.values()) and all(
        venue in made.router.market.book(Pair.parse(SYMBOL)).live() for venue, _ in desks
    )


def run(main: Any) -> Any:
    """As `hean run` does: on uvloop where there is one."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main)


def part(sorted_ns: Sequence[int], share: float) -> float:
    """The time, in ms, that `share` of them stayed within."""
    return sorted_ns[min(int(len(sorted_ns) * share), len(sorted_ns) - 1)] / 1e6
