"""A router that forgets within seconds, and starts from states, loses and doubles nothing."""

import asyncio
from decimal import Decimal
from random import Random

import pytest

from hean_router import office
from hean_router.domain.record import BalanceBreak, Incident
from hean_router.engine import Keep, Placed
from hean_router.gate import Gate
from hean_router.oms import Orders
from hean_router.portfolio import Ledger
from hean_router.risk import Risk
from hean_router.sim import virtual
from hean_router.store import Journal
from hean_router.store.past import Archive
from tests.storm.house import plot
from tests.storm.test_house_storm import FAULTS, any_order

SECOND = 1_000_000_000
# So little that nearly everything that a venue tells again is of what is forgotten.
SMALL = Keep(
    parents=3, parent_ns=4 * SECOND, trade_ns=10 * SECOND, at_once=3, rows=150, every_ns=5 * SECOND
)
# An order or a trade that nobody knows is not what a storm brings about.  (An answer that comes
# after those four seconds is: `stray_answer`.)
NEVER = {"orphan_order", "orphan_fill", "overfill", "state_spoiled", "engine_failed"}


def sure(journal):
    """Every part as all rows make it, from the first on."""
    orders, risk, ledger, gate = Orders(), Risk(), Ledger(), Gate()
    for _, row in journal.rows():
        for part in (orders, risk, ledger, gate):
            part.apply(row)
    return orders, risk, ledger, gate


async def forgetful(world, seed, path, *, lives=3, life_s=15):
    """Lives of one router on one journal, and a last one in calm weather; what is left."""
    rng, asked, states = Random(f"forgetting {seed}"), {}, 0
    async with plot(world, faults=FAULTS.format(until=lives * (life_s + 1))) as home:
        for _ in range(lives):
            journal = Journal.open(path, sync="relaxed", entropy=b"forgets")
            async with home.moved_in(journal, wait=False):
                states += home.office._saved_seq > 0
                orders, *_ = sure(journal)
                assert orders.state_hash() == home.engine.oms.state_hash()
                ends = asyncio.get_running_loop().time() + life_s
                while asyncio.get_running_loop().time() < ends:
                    any_order(home, rng, asked)
                    await asyncio.sleep(rng.random() / 2)
        async with home.moved_in(Journal.open(path, sync="relaxed"), 300):
            states += home.office._saved_seq > 0
            for parent in list(home.engine.oms.working):
                home.trading.cancel(parent, "test", "the end")
            engine = home.engine
            await home.until(lambda: not engine.conduct.work and not engine.oms.live, 180, "an end")
            await asyncio.sleep(45)  # long enough for balances to be compared
            return found(home, asked, states)


def found(home, asked, states):
    """Hold the end against what must be."""
    engine, journal = home.engine, home.office.journal
    rows = [row for _, row in journal.rows()]
    told = {row.what for row in rows if isinstance(row, Incident)}
    assert not told & NEVER, [row for row in rows if getattr(row, "what", "") in NEVER]
    assert not [row for row in rows if isinstance(row, BalanceBreak)]
    for account in ("main", "second"):
        home.check_balances(account)
    assert not home.resting()
    assert engine.risk.reserved_total() == 0
    orders, risk, ledger, gate = sure(journal)
    assert orders.state_hash() == engine.oms.state_hash(), "I12"
    assert risk.state_hash() == engine.risk.state_hash()
    assert ledger.state_hash() == engine.ledger.state_hash()
    assert gate._count.positions == home.trading.gate._count.positions
    archive = Archive(journal)
    for name, qty in asked.items():
        parent = archive.by_id(name)
        assert parent.ended is not None, name
        assert parent.filled <= qty
        intent = parent.intent
        again = home.trading.submit([intent], "test")
        assert again == Placed((name,), existing=True), "the same order, whenever it was"
    assert sum(one.filled for one in map(archive.by_id, asked)) > Decimal(0)
    return engine.oms.forgotten, len(asked), states


def seeds(first, *rest):
    late = [pytest.param(one, marks=pytest.mark.storm) for one in rest]
    return [pytest.param(first, marks=pytest.mark.slow), *late]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", seeds(*range(1, 7)))
def test_what_is_forgotten_is_neither_lost_nor_taken_for_new(seed, tmp_path, monkeypatch):
    monkeypatch.setattr(office, "Keep", lambda: SMALL)
    monkeypatch.setattr(office, "SAVED_EVERY", 100)
    monkeypatch.setattr(office, "SAVED_LEAST", 10)
    path = tmp_path / "journal.sqlite3"
    run = virtual.run(lambda world: forgetful(world, seed, path), seed)
    forgotten, asked, states = run.value
    assert asked > 40
    assert forgotten > asked // 2
    assert states == 3, "every life but the first began with a state"
