"""Everything goes wrong at once, the router dies in between, and still it adds up."""

import asyncio
from collections import Counter
from decimal import Decimal
from random import Random

import pytest

from hean_router.domain.errors import HeanError
from hean_router.domain.instrument import Side
from hean_router.domain.parent import Life
from hean_router.domain.record import (
    BalanceBreak,
    ChildIntended,
    Filled,
    Incident,
    decode,
    encode,
)
from hean_router.engine import Placed
from hean_router.oms import Orders
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.storm.house import plot
from tests.storm.test_house_arbitrage import TIERS

# Whatever a venue can do to an order, and everything that happens to market data, all at once.
FAULTS = (
    "storm:3,acklost:0.08,unknown:0.05,undone:0.05,early:0.3,twice:0.2,lag:0.2,cut:25s,"
    "until:{until}s"
)
# What a person is told of in such a storm; anything else is a fault of ours.
TOLD = {"order_denied", "order_break"}
SYMBOLS = {"BTC/USDT": "0.1", "ETH/USDT": "0.01"}


class Kept:
    """A journal that outlives its process: whatever was committed, and nothing else."""

    sync, path, tag = "full", ":kept:", "kpt"

    def __init__(self):
        self.kept, self.epoch = [], 0

    def opened(self):
        self.epoch += 1
        return self

    def append(self, rows):
        self.kept += [encode(row) for row in rows]
        return len(self.kept)

    def rows(self, after=0):
        return [(n + 1, decode(row)) for n, row in enumerate(self.kept) if n >= after]

    def close(self):
        return None


class Flaky(Kept):
    """On a disk that is full now and then, for a while; what was not written dies with us."""

    def __init__(self, seed):
        super().__init__()
        self.rng, self.left, self.failed, self.calm = Random(f"disk {seed}"), 0, 0, False

    def opened(self):
        self.left, self.fresh = 0, 5  # a router does not start on a full disk at all
        return super().opened()

    def append(self, rows):
        self.fresh -= 1
        if self.fresh >= 0:
            return super().append(rows)
        if not self.left and self.rng.random() < 0.02:
            self.left = self.rng.randint(1, 30)
        if self.left and not self.calm:
            self.left, self.failed = self.left - 1, self.failed + 1
            raise HeanError("the disk is full", "free some")
        return super().append(rows)


def any_order(home, rng, asked):
    """Place one parent of any kind, or take one back."""
    if asked and rng.random() < 0.25:
        home.trading.cancel(rng.choice(list(asked)), "test", "changed my mind")
        return
    symbol = rng.choice(sorted(SYMBOLS))
    found = home.engine.core.mid(home.engine.core.pair_of[symbol])
    home.engine.core._mids.clear()
    if found is None:
        return
    away = Decimal(rng.choice(("0.99", "0.998", "1", "1.002", "1.01")))
    limit = (found[0] * away).quantize(Decimal(SYMBOLS[symbol]))
    kind, side = rng.randrange(8), rng.choice(("buy", "sell"))
    qty = f"0.{rng.randint(1, 999):03d}"
    more = {"symbol": symbol, "account": rng.choice(("main", "second"))}
    match kind:
        case 0:
            pass
        case 1:
            qty, more["quote_qty"] = None, Decimal(rng.randint(50, 5_000))
        case 2:
            more |= {"limit": limit, "post_only": True}
        case 3:
            expire_ns = home.office.clock() + rng.randint(1, 20) * 1_000_000_000
            more |= {"limit": limit, "life": Life.GTD, "expire_ns": expire_ns}
        case _:
            more |= {"limit": limit, "life": (Life.GTC, Life.GTC, Life.IOC, Life.FOK)[kind - 4]}
    answer = home.submit(side, qty, **more)
    if isinstance(answer, Placed):
        asked[answer.parents[0]] = home.engine.oms.parents[answer.parents[0]].qty


async def storm(world, seed, *, lives=4, life_s=30, journal=None):
    """Some lives of the router in a storm, and a last one in calm weather; what was told."""
    rng, journal, asked = Random(f"storm {seed}"), journal or Kept(), {}
    faults = FAULTS.format(until=lives * (life_s + 1))
    async with plot(world, faults=faults) as home:
        for _ in range(lives):
            async with home.moved_in(journal.opened(), wait=False):
                replayed = Orders()
                for _, row in journal.rows():
                    replayed.apply(row)
                assert replayed.state_hash() == home.engine.oms.state_hash()
                ends = asyncio.get_running_loop().time() + life_s * rng.uniform(0.5, 1)
                while asyncio.get_running_loop().time() < ends:
                    any_order(home, rng, asked)
                    await asyncio.sleep(rng.random())
        journal.calm = True
        async with home.moved_in(journal.opened(), 300):
            for _ in range(5):
                any_order(home, rng, asked)
            await asyncio.sleep(5)
            for parent in asked:
                home.trading.cancel(parent, "test", "the end")
            await home.until(
                lambda: not home.engine.conduct.work and not home.engine.oms.live, 180, "an end"
            )
            await asyncio.sleep(45)  # long enough for balances to be compared
            # A connection that a fault left half-open is found by its silence, perhaps just now.
            await home.until(
                lambda: not any(home.trading.gate.standing().values()), 60, "every gate open"
            )
            return accounted(home, asked)


def accounted(home, asked, least=10):
    """Hold the end against what must be; what incidents there were."""
    engine = home.engine
    engine.oms.check()
    assert not engine.oms.unsettled
    assert not engine.oms.to_cancel
    assert engine.risk.reserved_total() == 0
    assert not [why for why in home.trading.gate.standing().values() if why]
    for venue in home.venues:
        for account in ("main", "second"):
            for asset in ("BTC", "ETH", "USDT", "USD"):
                assert engine.risk.reserved(venue, account, asset) == 0
    for account in ("main", "second"):
        home.check_balances(account)
    rows = [row for _, row in home.office.journal.rows()]
    assert not [row for row in rows if isinstance(row, BalanceBreak)]
    assert not home.resting(), "nothing of ours rests anywhere"
    for parent, qty in asked.items():
        if parent not in engine.oms.parents:
            assert isinstance(home.office.journal, Flaky), "told to be placed, and forgotten"
            continue
        assert engine.oms.parents[parent].filled <= qty
        assert engine.oms.parents[parent].ended is not None
    told = Counter(row.what for row in rows if isinstance(row, Incident))
    placed = sum(isinstance(row, ChildIntended) for row in rows)
    assert placed > least
    return dict(told), len(asked), placed, len(rows)


# One of each in every check of everything; the hundred days of test_weather are what runs there.
def few(first, *rest):
    """The first in `make check-all`, the others in `make storm`."""
    late = [pytest.param(one, marks=pytest.mark.storm) for one in rest]
    return [pytest.param(first, marks=pytest.mark.slow), *late]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", few(*range(1, 7)))
def test_a_storm_with_deaths_in_it_ends_and_adds_up(seed):
    told, asked, *_ = virtual.run(lambda world: storm(world, seed), seed).value
    assert asked > 20
    assert not set(told) - TOLD, told


@pytest.mark.storm
@pytest.mark.timeout(600)
def test_the_same_storm_is_the_same_to_the_last_event():
    first, again = (virtual.run(lambda world: storm(world, 77, lives=2), 77) for _ in range(2))
    assert first.digest == again.digest
    assert first.value == again.value


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", few(51, 52, 53))
def test_a_storm_on_a_disk_that_is_full_now_and_then_adds_up_as_well(seed):
    journal = Flaky(seed)
    told, asked, *_ = virtual.run(lambda world: storm(world, seed, journal=journal), seed).value
    assert asked > 20
    assert journal.failed > 5
    assert not set(told) - TOLD, told


async def arbitrage_storm(world, seed, *, lives=3, life_s=60):
    """The arbitrage in bad weather, dying in between: its cycles, what is left, what was told."""
    rng, journal = Random(f"arbitrage {seed}"), Kept()
    faults = FAULTS.format(until=lives * (life_s + 1)).replace("storm:3", "storm")
    strategies = {"arb": {"kind": "arbitrage", "start": True}}
    pace = Pace(updates_per_s=4, stray_ppm=2_500)
    async with plot(world, faults=faults, pace=pace, fees_e8=TIERS, strategies=strategies) as home:
        for _ in range(lives):
            async with home.moved_in(journal.opened(), wait=False):
                await asyncio.sleep(life_s * rng.uniform(0.5, 1))
        async with home.moved_in(journal.opened(), 300):
            await asyncio.sleep(60)
            home.trading.stop_strategy("arb", "test")
            await home.until(
                lambda: not home.engine.conduct.work and not home.engine.oms.live, 120, "an end"
            )
            await asyncio.sleep(45)
            base = Decimal(0)
            for _, row in journal.rows():
                if isinstance(row, Filled) and row.symbol == "BTC/USDT":
                    base += row.qty if row.side is Side.BUY else -row.qty
                    base -= row.fee if row.fee_asset == "BTC" else 0
            told, *_ = accounted(home, {}, least=0)
            return home.engine.crew.strategies["arb"].status()["cycles"], base, told


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", few(1, 3))
def test_an_arbitrage_in_a_storm_with_deaths_in_it_is_left_flat(seed):
    cycles, base, told = virtual.run(lambda world: arbitrage_storm(world, seed), seed).value
    assert cycles["open"] == 0
    assert cycles["finished"] >= 1
    # What no venue takes as an order is kept: less than their smallest, of some 10 USDT.
    assert abs(base) < Decimal("0.0002"), base
    assert not set(told) - TOLD, told


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_strategies_on_one_pair_share_money_and_neither_is_left_with_a_leg():
    async def main(world):
        strategies = {name: {"kind": "arbitrage", "start": True} for name in ("one", "two")}
        pace = Pace(updates_per_s=4, stray_ppm=2_500)
        async with plot(world, pace=pace, fees_e8=TIERS, strategies=strategies) as home:
            journal = Kept()
            async with home.moved_in(journal.opened()):
                await asyncio.sleep(120)
                for name in strategies:
                    home.trading.stop_strategy(name, "test")
                await home.until(lambda: not home.engine.conduct.work, 60, "an end")
                await asyncio.sleep(45)
                told, *_ = accounted(home, {}, least=0)
                crew = home.engine.crew.strategies
                assert not set(told) - TOLD, told
                finished = [crew[name].status()["cycles"] for name in strategies]
                assert all(one["open"] == 0 for one in finished)
                assert sum(one["finished"] for one in finished) > 2
                return [one["finished"] for one in finished]

    virtual.run(main, 4)
