"""Tick to trade: a book frame read from its socket, to the bytes of an order written to another.

A strategy answers to a frame with a market order over four venues.  Between the two times lies
everything: the frame decoded and applied, the loop, the engine's step (admission, risk, plan,
reviews, rows), the commit, the gate, the order built, signed and written.  The ways of committing
take turns within one run.  This is wall time: what else the machine does counts.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from msgspec import Struct

from hean_router.domain.desk import Sent
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.parent import Intent, Life, OrderKind
from hean_router.engine import BooksMoved, PlaceOrder
from hean_router.office import Office
from hean_router.strategy import NOTHING, BookMoved, Event, Group, Reaction, View
from tests.bench import floor, meter

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

COUNT = 5_000 if floor.LONG else 300  # of each way of committing
WARM = 60
GAP_NS = 15_000_000  # at least that long between two orders
QTY = Decimal("0.3")
AIM_MS = {"none": (0.4, 3.0), "relaxed": (0.8, 3.0), "full": (0.8, 10.0)}  # p50, p99
STAGES = ("frame and loop", "step", "commit", "gate, build, sign", "write")
WIDTHS = (24, 9, 9, 9, 9)


class Taken(Struct):
    """One order's times, ns of the router's clock; `written_ns` of the first of its children."""

    mode: str
    began_ns: int
    planned_ns: int
    children: int
    committed_ns: int = 0
    tick_ns: int = 0
    built_ns: int = 0
    written_ns: int = 0
    last_ns: int = 0
    sent: int = 0

    def stages(self) -> tuple[int, ...]:
        """Of the first child."""
        times = (
            self.tick_ns, self.began_ns, self.planned_ns, self.committed_ns, self.built_ns,
            self.written_ns,
        )  # fmt: skip
        return tuple(after - before for before, after in pairwise(times))


class OnTick:
    """A market order at a frame, now and then, by turns each way."""

    name = "tick"
    pairs = (Pair.parse(floor.SYMBOL),)

    def __init__(self, account: str, journals: floor.Journals) -> None:
        self.account, self._journals = account, journals
        self.asked = 0
        self._last_ns = 0

    def configure(self, params: Mapping[str, str]) -> None: ...

    def on_event(self, event: Event, view: View) -> Reaction:
        if not isinstance(event, BookMoved) or view.now_ns - self._last_ns < GAP_NS:
            return NOTHING
        self._last_ns = view.now_ns
        self._journals.mode = floor.MODES[self.asked % 3]
        self.asked += 1
        intent = Intent(
            account=self.account,
            client_order_id=f"t{self.asked}",
            symbol=floor.SYMBOL,
            side=Side.SELL if self.asked // 3 % 2 else Side.BUY,
            kind=OrderKind.MARKET,
            life=Life.IOC,
            qty=QTY,
            strategy=self.name,
            group=f"g{self.asked}",
        )
        return Reaction(groups=(Group(intent.group, (intent,)),))

    def status(self) -> Mapping[str, object]:
        return {}


class Stopwatch:
    """Notes the times of every step that a frame led to and that placed orders."""

    def __init__(self, office: Office, journals: floor.Journals) -> None:
        self.taken: list[Taken] = []
        self._by_key: dict[str, Taken] = {}
        self._open: Taken | None = None
        self._office, self._journals = office, journals
        self._step, self._append = office.engine.step, journals.append
        self._heard = office.metrics.sent
        office.engine.step = self.step  # type: ignore[method-assign]
        journals.append = self.append  # type: ignore[method-assign]
        office.metrics.sent = self.sent  # type: ignore[method-assign]

    def step(self, event: Any, now_ns: int) -> Any:
        done = self._step(event, now_ns)
        self._open = None
        keys = [one.intended.key for one in done.commands if isinstance(one, PlaceOrder)]
        if isinstance(event, BooksMoved) and keys:
            planned_ns = self._office.clock()
            self._open = Taken(self._journals.mode, now_ns, planned_ns, len(keys))
            self.taken.append(self._open)
            self._by_key.update(dict.fromkeys(keys, self._open))
        return done

    def append(self, rows: Any) -> int:
        seq = self._append(rows)
        if self._open is not None:
            self._open.committed_ns = self._office.clock()
            self._open = None
        return seq

    def sent(self, event: Sent, tick_ns: int) -> None:
        self._heard(event, tick_ns)
        if (one := self._by_key.pop(event.key, None)) is None:
            return
        one.sent += 1
        one.last_ns = max(one.last_ns, event.at_ns)
        if not one.written_ns or event.at_ns < one.written_ns:
            one.tick_ns, one.built_ns, one.written_ns = tick_ns, event.built_ns, event.at_ns


async def measured(folder: Any, targets: Any) -> list[Taken]:
    journals = floor.Journals(folder)
    async with floor.office(folder, targets, journals) as office:
        watch = Stopwatch(office, journals)
        strategy = OnTick(office.account, journals)
        office.engine.crew.strategies[strategy.name] = strategy
        assert office.trading.start_strategy(strategy.name, {}, "bench")
        async with asyncio.timeout(COUNT * 0.3):
            while strategy.asked < (COUNT + WARM) * 3:  # noqa: ASYNC110 - it counts, no more
                await asyncio.sleep(0.1)
        office.trading.stop_strategy(strategy.name, "bench")
        await asyncio.sleep(1.0)
        assert strategy.name not in office.engine.crew.running
    return [one for one in watch.taken if one.sent == one.children and one.tick_ns][WARM * 3 :]


def test_tick_to_trade(tmp_path, capsys):
    with floor.venues(tmp_path) as targets:
        taken = floor.run(measured(tmp_path, targets))
    by_mode: dict[str, list[Taken]] = defaultdict(list)
    for one in taken:
        by_mode[one.mode].append(one)
    with capsys.disabled():
        told(by_mode)
    for mode in floor.MODES:
        found = by_mode[mode]
        assert len(found) > COUNT * 0.9, f"{mode}: only {len(found)} orders left at a frame"
        assert sum(one.children for one in found) > 1.5 * len(found), "the orders are not split"
        for one in found:
            assert min(one.stages()) >= 0, f"stages out of order: {one}"
        p50 = floor.part(sorted(one.written_ns - one.tick_ns for one in found), 0.5)
        assert p50 <= FLOOR_MS[mode], f"{mode}: p50 of {p50:.2f} ms"


# What it must not fall back to, whatever else the machine does; the aims are printed.
FLOOR_MS = {"none": 3.0, "relaxed": 4.0, "full": 12.0}


def told(by_mode: Mapping[str, list[Taken]]) -> None:
    """Stages and whole, each way of committing."""
    for mode, found in by_mode.items():
        count, children = len(found), sum(one.children for one in found)
        print(f"\ntick to trade, commit {mode}: {count} orders, {children / count:.1f} children")
        print(meter.row("ms", "p50", "p99", "p99.9", "max", widths=WIDTHS))
        columns = {
            stage: sorted(one.stages()[i] for one in found) for i, stage in enumerate(STAGES)
        }
        columns["whole, first child"] = sorted(one.written_ns - one.tick_ns for one in found)
        columns["whole, last child"] = sorted(one.last_ns - one.tick_ns for one in found)
        for name, times in columns.items():
            figures = [f"{floor.part(times, share):.3f}" for share in (0.5, 0.99, 0.999, 1.0)]
            print(meter.row(name, *figures, widths=WIDTHS))
        whole = columns["whole, first child"]
        for what, share, aim in zip(("p50", "p99"), (0.5, 0.99), AIM_MS[mode], strict=True):
            got = floor.part(whole, share)
            print(f"  {what} {got:.3f} ms, aim {aim} ms: {'held' if got <= aim else 'short'}")
