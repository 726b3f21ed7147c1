"""A virtual day of the whole router, orders too, thinned: what it holds does not grow.

One change of a book in ten seconds at each venue, some parents a minute, and the limits of venues:
Binance ends every socket after 24 hours.  What can be reached from the router is counted every two
hours, without the simulators; so are tasks and connections.
"""

import asyncio
import gc
import types
from collections import Counter
from fractions import Fraction
from random import Random
from typing import Any

import pytest

from hean_router.domain.record import Incident
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from hean_router.store import Journal
from tests.storm.house import LIMITS, House, plot
from tests.storm.test_house_storm import any_order

HOUR_S = 3600
RESTING_MAX = 50  # orders
EVERY_S = 2 * HOUR_S
SYMBOLS = ("BTC/USDT", "ETH/USDT", "USDT/USD")


class Thin(Pace):
    """One action in ten seconds and listing: less than a busy market ever has."""

    def __post_init__(self) -> None:
        assert self.levels >= 1


# Some thousand orders at random pay their fees and win nothing.
POOR = {**LIMITS, "daily_loss_max": "off"}
POOR["each_account"] = {**LIMITS["each_account"], "daily_loss_max": "off"}
PACE = Thin(updates_per_s=Fraction(1, 10), levels=20)
# Not what the router holds: programs, the world it stands in, and what the counting itself makes.
_OUTSIDE = (
    types.ModuleType,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.FrameType,
    type,
)


def held(root: Any) -> Counter[str]:
    """Everything that can be reached from `root`, by type; simulators and the world left out."""
    seen = {id(root)}
    left, counts = [root], Counter[str]()
    while left:
        one = left.pop()
        counts[type(one).__qualname__] += 1
        for other in gc.get_referents(one):
            if id(other) in seen or isinstance(other, _OUTSIDE):
                continue
            seen.add(id(other))
            if not type(other).__module__.startswith(("hean_router.sim", "tests.")):
                left.append(other)
    return counts


class Mark:
    """What there was at one moment of the day."""

    def __init__(self, home: House, past_s: float) -> None:
        gc.collect()
        net = home.world.net
        self.hours = past_s / HOUR_S
        self.held = held(home.office)
        self.objects = self.held.total()
        self.tasks = len(asyncio.all_tasks())
        self.connections = sum(len(list(net.connections("router", one))) for one in home.venues)
        self.parents = len(home.engine.oms.parents)

    def __str__(self) -> str:
        return (
            f"{self.hours:5.1f} h: {self.objects} objects held, {self.parents} parents kept, "
            f"{self.tasks} tasks, {self.connections} connections"
        )


async def day(world, hours, *, per_minute):
    """So many hours with `per_minute` wishes; the marks, connections changed in time, the rows."""
    rng, asked, marks = Random("day"), {}, []
    async with (
        plot(world, SYMBOLS, pace=PACE, limits=POOR) as home,
        home.moved_in(Journal.memory(), 300),
    ):
        loop = asyncio.get_running_loop()
        began, next_mark = loop.time(), EVERY_S
        while (past := loop.time() - began) < hours * HOUR_S:
            any_order(home, rng, asked)
            while len(asked) > RESTING_MAX:  # what was placed long ago is over, or is taken back
                oldest = next(iter(asked))
                home.trading.cancel(oldest, "test", "long enough")
                del asked[oldest]
            if past >= next_mark:
                marks.append(Mark(home, past))
                print(marks[-1], flush=True)
                next_mark += EVERY_S
            await asyncio.sleep(rng.uniform(0, 120 / per_minute))
        await home.stands(60)
        for parent in asked:
            home.trading.cancel(parent, "test", "the end")
        await home.until(
            lambda: not home.engine.conduct.work and not home.engine.oms.live, 180, "an end"
        )
        await asyncio.sleep(60)  # long enough for balances to be compared
        readings = home.office.router.metrics.readings()
        changed = {one.venue: one.rotations + one.reconnects for one in readings}
        return marks, changed, ended(home)


def ended(home):
    """All of it is accounted for; how many rows of each kind there are."""
    engine = home.engine
    engine.oms.check()
    assert not engine.oms.unsettled
    assert not home.resting(), "nothing of ours rests anywhere"
    assert engine.risk.reserved_total() == 0
    assert not [why for why in home.trading.gate.standing().values() if why]
    for account in ("main", "second"):
        home.check_balances(account)
    rows = [row for _, row in home.office.journal.rows()]
    told = Counter(row.what for row in rows if isinstance(row, Incident))
    assert not set(told) - {"order_denied"}, told
    return Counter(type(row).__name__ for row in rows)


@pytest.mark.storm
@pytest.mark.timeout(3600)
def test_a_day_of_orders_leaves_nothing_behind():
    marks, changed, kinds = virtual.run(
        lambda world: day(world, 24.5, per_minute=20), 24, limit_s=26 * HOUR_S
    ).value
    print(f"changed in time: {changed}; rows: {dict(kinds)}")
    assert kinds["ParentPlaced"] == kinds["ParentEnded"] > 5_000
    assert not kinds["BalanceBreak"]
    assert changed["binance"], "its sockets last 24 hours"
    late = [mark for mark in marks if mark.hours >= 12]
    grown = Counter(late[-1].held)
    grown.subtract(late[0].held)
    assert late[-1].objects <= 1.03 * late[0].objects, grown.most_common(20)
    assert max(mark.tasks for mark in marks) <= min(mark.tasks for mark in marks) + 10
    assert max(one.connections for one in marks) <= min(one.connections for one in marks) + 5
