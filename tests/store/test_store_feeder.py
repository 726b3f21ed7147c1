"""The feeder beside a loop that has better things to do, and a database that goes away."""

import asyncio
import time

import pytest
from sqlalchemy import text

from hean_router.store import schema
from hean_router.store import tables as t
from hean_router.store.feeder import Feeder
from hean_router.store.query import QueryStore
from tests.store.journal_rows import Rows, Story
from tests.store.test_store_tables import dump, feed


async def until(condition, seconds=20):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event to tell it by
            await asyncio.sleep(0.01)


async def pulse(longest):
    """What the loop's other work feels: how late it gets its turn, and how often."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0)
        longest.append(time.perf_counter() - began)


def test_what_is_committed_is_soon_in_the_tables_and_lag_says_how_far(sqlite_url):
    source, more = Rows(Story(1).until(100)), Story(2).until(80)

    async def main():
        await schema.upgrade(sqlite_url)
        feeder = Feeder(source, sqlite_url)
        feeder.committed(len(source.all))
        assert feeder.lag().rows == len(source.all)
        task = asyncio.create_task(feeder.run())
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 10)
        assert feeder.lag() == type(feeder.lag())(0, 0.0, "")
        feeder.committed(source.append(more))
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 10)
        source.append(more[:1])  # nobody tells of this one: it is found by looking
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_without_tables_it_says_so_and_begins_when_they_are_made(sqlite_url):
    source = Rows(Story(1).until(50))

    async def main():
        feeder = Feeder(source, sqlite_url)
        task = asyncio.create_task(feeder.run())
        await until(lambda: feeder.why)
        assert "hean db upgrade" in feeder.lag().why
        await schema.upgrade(sqlite_url)
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 10)
        await until(lambda: not feeder.why)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_a_row_that_cannot_be_read_is_told_and_waited_for(sqlite_url):
    class Broken(Rows):
        well = False

        def rows(self, after=0):
            if not self.well:
                raise RuntimeError("the disk says no")
            return super().rows(after)

    source = Broken(Story(1).until(50))

    async def main():
        await schema.upgrade(sqlite_url)
        feeder = Feeder(source, sqlite_url)
        task = asyncio.create_task(feeder.run())
        await until(lambda: "the disk says no" in feeder.why)
        source.well = True
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())


def test_feeding_leaves_the_loop_to_those_who_trade(url):
    source = Rows(Story(4).until(4000))

    async def main():
        await schema.upgrade(url)
        turns = []
        feeder = Feeder(source, url)
        beside = asyncio.create_task(pulse(turns))
        task = asyncio.create_task(feeder.run())
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 60)
        for one in (task, beside):
            one.cancel()
        await asyncio.gather(task, beside, return_exceptions=True)
        return sorted(turns)

    turns = asyncio.run(main())
    late = turns[int(len(turns) * 0.99)]
    print(f"{len(turns)} turns, p99 {late * 1e3:.2f} ms, longest {turns[-1] * 1e3:.1f} ms")
    assert late < 0.005
    # The first use of each statement is compiled; a busy machine takes turns away from all of us.
    assert sum(turn > 0.02 for turn in turns) < 10


class Trader:
    """Goes on committing rows, and measures that nothing holds it up."""

    def __init__(self, source, feeder, rows):
        self.source, self.feeder, self.rows = source, feeder, rows
        self.longest, self.done = 0.0, 0

    async def run(self, a_second):
        for row in self.rows:
            began = time.perf_counter()
            self.feeder.committed(self.source.append([row]))
            await asyncio.sleep(0)
            self.longest = max(self.longest, time.perf_counter() - began)
            self.done += 1
            await asyncio.sleep(1 / a_second)


@pytest.mark.slow
def test_postgres_stopped_under_load_orders_go_on_and_the_tables_catch_up(postgres):
    rows = Story(6).until(1500)

    async def main():
        url = await postgres.database()
        await schema.upgrade(url)
        source = Rows()
        feeder = Feeder(source, url, batch=20, batch_s=2.0)
        trader = Trader(source, feeder, rows)
        task = asyncio.create_task(feeder.run())
        trading = asyncio.create_task(trader.run(500))
        await asyncio.wait_for(feeder.caught_up(100), 10)
        await asyncio.to_thread(postgres.stop)
        try:
            await until(lambda: feeder.why)
            stuck, done = feeder.applied, trader.done
            await until(lambda: trader.done > done + 300)  # nobody waits for the database
            lag = feeder.lag()
            assert lag.rows >= 300
            assert lag.seconds > 0
            assert lag.why
            assert feeder.applied <= stuck
        finally:
            await asyncio.to_thread(postgres.start)
        await trading
        await asyncio.wait_for(feeder.caught_up(len(rows)), 30)
        assert (feeder.lag().rows, trader.done) == (0, len(rows))
        await until(lambda: not feeder.why)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        grown = await dump(url)
        again = await postgres.database()
        await schema.upgrade(again)
        await feed(Rows(rows), again, 200)
        return trader.longest, grown, await dump(again)

    longest, grown, anew = asyncio.run(main())
    print(f"a commit was held up by {longest * 1e3:.1f} ms at most")
    assert longest < 0.25  # a machine shared by several: the server's absence alone takes seconds
    assert grown == anew


def test_a_database_that_hangs_is_given_up_and_holds_nobody(postgres):
    """A lock that is never let go: to the feeder the same as a server that does not answer."""
    source = Rows(Story(7).until(60))

    async def main():
        url = await postgres.database()
        await schema.upgrade(url)
        engine = schema.make_engine(url)
        feeder = Feeder(source, url, batch_s=0.5)
        async with engine.begin() as greedy:
            await greedy.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
            task = asyncio.create_task(feeder.run())
            await until(lambda: feeder.why)
            assert feeder.lag().rows > 0
        await asyncio.wait_for(feeder.caught_up(len(source.all)), 20)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await engine.dispose()
        store = QueryStore(url)
        assert await store.applied() == len(source.all)
        await store.close()

    asyncio.run(main())


def test_every_table_is_of_an_account_but_the_mark():
    for table in t.metadata.sorted_tables:
        assert table is t.feed or "account" in table.c, table.name
