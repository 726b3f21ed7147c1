"""Paper: money is conserved, only what is displayed is filled, a restart forgets nothing."""

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from decimal import Decimal
from random import Random

import pytest

from hean_router.domain.instrument import Side
from hean_router.domain.parent import Life, Status
from hean_router.domain.record import BalanceBreak, Filled, Incident
from hean_router.engine import Placed
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.storm.house import LIMITS, plot
from tests.storm.test_house_storm import Kept

START = {"BTC": Decimal(5), "USDT": Decimal(500_000), "USD": Decimal(1_000)}
ALIKE = {**LIMITS, "duplicate_window_ms": 0}


@asynccontextmanager
async def paper(world, journal=None, *, pace=None):
    async with (
        plot(
            world,
            ("BTC/USDT", "USDT/USD"),
            venues=("binance", "kraken"),
            pace=pace or Pace(updates_per_s=4),
            limits=ALIKE,
            paper={"balances": START},
        ) as home,
        home.moved_in(journal or Kept().opened(), paper=True),
    ):
        yield home


def place(home, *args, **more):
    return home.place(*args, account="paper", **more)


def level(home, away="1"):
    found = home.engine.core.mid(home.engine.core.pair_of["BTC/USDT"])
    home.engine.core._mids.clear()
    return (found[0] * Decimal(away)).quantize(Decimal("0.1"))


def rows_of(home, *kinds):
    return [row for _, row in home.office.journal.rows() if isinstance(row, kinds)]


def conserved(home):
    """What each desk has is what it began with and its fills, fees off; and so is our ledger."""
    have = defaultdict(lambda: dict(START))
    for fill in rows_of(home, Filled):
        money, sign = have[fill.venue], 1 if fill.side is Side.BUY else -1
        money["BTC"] += fill.qty * sign
        money["USDT"] -= fill.qty * fill.px * sign
        money[fill.fee_asset] -= fill.fee
    ours = home.engine.ledger.balances()
    for (venue, account), desk in home.office.desks.items():
        for asset, want in have[venue].items():
            assert desk.balances[asset] == want == ours[venue, account][asset], (venue, asset)
            assert want >= 0, (venue, asset, want)
            locked = desk._locked(asset)
            assert 0 <= locked <= want or not locked
    assert not rows_of(home, BalanceBreak)
    assert {row.what for row in rows_of(home, Incident)} <= {"order_denied"}


@pytest.mark.parametrize("seed", [1, 2])
def test_money_is_conserved_over_orders_of_every_kind(seed):
    async def main(world):
        rng = Random(seed)
        async with paper(world) as home:
            placed = []
            for _ in range(60):
                side, qty = rng.choice(("buy", "sell")), f"0.{rng.randint(1, 9)}"
                limit = level(home, rng.choice(("0.99", "0.999", "1", "1.001", "1.01")))
                kind = rng.randrange(5)
                more = [
                    {},
                    {"limit": limit},
                    {"limit": limit, "post_only": True},
                    {"limit": limit, "life": Life.IOC},
                    {"limit": limit, "life": Life.FOK},
                ][kind]
                answer = home.submit(side, qty, account="paper", **more)
                if isinstance(answer, Placed):
                    placed.append(home.engine.oms.parents[answer.parents[0]])
                if placed and rng.random() < 0.3:
                    home.trading.cancel(rng.choice(placed).id, "test", "changed my mind")
                await asyncio.sleep(rng.random() * 2)
                conserved(home)
            for one in placed:
                home.trading.cancel(one.id, "test", "the end")
                await home.done(one)
            await asyncio.sleep(40)
            conserved(home)
            assert home.engine.risk.reserved_total() == 0
            assert sum(bool(one.filled) for one in placed) >= 5

    virtual.run(main, seed)


def test_no_more_is_filled_than_is_displayed_however_often_one_asks():
    """The market stands still: what has been taken once is not there again."""

    async def main(world):
        async with paper(world) as home:
            for venue in home.venues.values():
                venue.simulator.market = None
            await asyncio.sleep(2)
            limit = level(home, "1.0005")
            shown = Decimal(0)
            for live in home.market.book(home.engine.core.pair_of["BTC/USDT"]).live().values():
                of = live.instrument
                for px, qty in live.facing(Side.BUY):
                    if of.px_decimal(px) > limit:
                        break
                    shown += of.qty_decimal(qty)
            got = Decimal(0)
            for _ in range(40):
                answer = home.submit("buy", "0.5", limit=limit, life=Life.IOC, account="paper")
                if isinstance(answer, Placed):
                    parent = home.engine.oms.parents[answer.parents[0]]
                    await home.done(parent)
                    got += parent.filled
                await asyncio.sleep(0.5)
            assert 0 < got <= shown
            conserved(home)

    virtual.run(main, 3)


class Page:
    """A live book of one level, by hand."""

    def __init__(self, of, asks):
        self.instrument, self.asks = of, asks

    def facing(self, side):
        return iter(self.asks)

    def best(self, side):
        return self.asks[0]


def test_a_level_that_shrinks_grows_or_comes_back_gives_only_what_is_new():
    rows = [
        # what is displayed, look after look, at one price -> what can be had each time
        ([10, 10, 10], [10, 0, 0]),
        ([10, 9, 10], [10, 0, 0]),  # others took of it: what is left is not new
        ([10, 15, 15], [10, 5, 0]),
        ([10, None, 10], [10, 0, 10]),  # it had gone
    ]

    async def main(world):
        async with paper(world) as home:
            desk = home.office.desks["binance", "paper"]
            parent = place(home, "buy", "0.0005", limit=level(home, "0.9"))
            await asyncio.sleep(1)
            order = next(iter(desk._open.values())).order
            real, lot = desk._book, order.instrument.lot
            for displayed, want in rows:
                desk._taken.clear()
                got = []
                for qty in displayed:
                    page = Page(order.instrument, [(order.px, qty * lot)] if qty else [])
                    desk._book = lambda _of, page=page: page
                    desk._forget()
                    can = desk._available(page, order)
                    got.append(sum(one for _, one in can) // lot)
                    for px, one in can:
                        where = (str(order.instrument.pair), order.side, px)
                        desk._taken[where] = desk._taken.get(where, 0) + one
                assert got == want, displayed
            desk._book = real
            desk._taken.clear()
            home.trading.cancel(parent.id, "test", "the end")
            await home.done(parent)

    virtual.run(main, 4)


def test_what_rests_is_there_after_a_restart_and_money_too():
    async def main(world):
        journal = Kept()
        async with plot(
            world,
            ("BTC/USDT", "USDT/USD"),
            venues=("binance", "kraken"),
            limits=ALIKE,
            paper={"balances": START},
        ) as home:
            async with home.moved_in(journal.opened(), paper=True):
                await home.done(place(home, "buy", "0.7"))
                ids = [
                    place(home, "buy", "0.2", limit=level(home, "0.98")).id,
                    place(home, "sell", "0.3", limit=level(home, "1.02"), post_only=True).id,
                ]
                await asyncio.sleep(1)
                flying = place(home, "buy", "0.2", limit=level(home, "0.98")).id
                before = {w: dict(d.balances) for w, d in home.office.desks.items()}
            async with home.moved_in(journal.opened(), 120, paper=True):
                assert {w: dict(d.balances) for w, d in home.office.desks.items()} == before
                resting = {k for d in home.office.desks.values() for k in d._open}
                assert resting == set(home.engine.oms.live)
                assert len(resting) >= 2
                lost = home.engine.oms.parents[flying]
                await asyncio.sleep(60)
                for one in ids:
                    parent = home.engine.oms.parents[one]
                    assert parent.status in {Status.NEW, Status.PARTIALLY_FILLED, Status.FILLED}
                for one in (*ids, lost.id):
                    home.trading.cancel(one, "test", "the end")
                    await home.done(home.engine.oms.parents[one])
                conserved(home)
                assert home.engine.risk.reserved_total() == 0

    virtual.run(main, 5)


def test_a_cancel_races_a_fill_and_either_wins_once():
    async def main(world):
        async with paper(world) as home:
            for number in range(30):
                parent = place(home, "buy", "0.3", limit=level(home, "1.0002"))
                await asyncio.sleep(number / 1_000)
                home.trading.cancel(parent.id, "test", "perhaps")
                await home.done(parent)
                assert (
                    parent.filled
                    + sum((child.qty - child.filled for child in parent.children), Decimal(0))
                    >= parent.filled
                )
            conserved(home)
            assert not any(desk._open for desk in home.office.desks.values())

    virtual.run(main, 6)
