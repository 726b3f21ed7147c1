"""The tables against the machinery of orders and the ledger, on both databases."""

import asyncio
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from hean_router.domain import record as r
from hean_router.domain.scale import plain
from hean_router.oms import Orders
from hean_router.portfolio.ledger import Ledger
from hean_router.store import fold, schema
from hean_router.store import tables as t
from hean_router.store.feeder import Feeder
from hean_router.store.lines import Page
from hean_router.store.query import QueryStore
from hean_router.store.urls import StoreError
from tests.store.journal_rows import ACCOUNTS, START, Rows, Story, ended, intended, placed


async def dump(url):
    engine = schema.make_engine(url)
    async with engine.connect() as connection:
        found = {}
        for table in t.metadata.sorted_tables:
            lines = (await connection.execute(select(table))).mappings().all()
            found[table.name] = sorted((dict(line) for line in lines), key=repr)
    await engine.dispose()
    return found


async def feed(source, url, batch=50):
    feeder = Feeder(source, url, batch=batch)
    try:
        while await feeder.once():
            pass
    finally:
        await feeder.close()


def folded(rows, sizes):
    """The fold alone, its tables kept in dicts, cut into batches of `sizes`, over and over."""
    kept = {table: {} for table in t.metadata.sorted_tables}
    numbered, n = list(enumerate(rows, 1)), 0
    while numbered:
        batch, numbered = numbered[: sizes[n % len(sizes)]], numbered[sizes[n % len(sizes)] :]
        n += 1
        work = fold.Fold()
        for table, lines in kept.items():
            work.load(table, lines.values())
        for seq, row in batch:
            work.apply(seq, row)
        for table, lines in work.changed():
            for line in lines:
                key = tuple(line[column.name] for column in table.primary_key)
                kept[table][key] = dict(line)
        for key in work.gone():
            kept[t.fills].pop(tuple(key[one.name] for one in t.fills.primary_key), None)
    return {table.name: lines for table, lines in kept.items()}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_any_cut_into_batches_comes_to_the_same(seed, sizes):
    rows = Story(seed).until(150)
    assert folded(rows, sizes) == folded(rows, [len(rows)])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 100_000))
def test_the_tables_agree_with_the_machinery_of_orders_and_with_the_ledger(seed):
    rows = Story(seed).until(200)
    orders, ledger = Orders(), Ledger()
    seen = set()
    for row in rows:
        orders.apply(row)
        if isinstance(row, r.Filled):
            trade = (row.venue, row.account, row.symbol, row.trade_id)
            if trade in seen:  # the ledger trusts that a trade comes once
                continue
            seen.add(trade)
        elif isinstance(row, r.FillUndone) and row.whole:
            seen.discard((row.venue, row.account, row.symbol, row.trade_id))
        ledger.apply(row)
    late = [parent for parent in orders.parents.values() if parent.can_end and not parent.ended]
    more = [ended(parent.id, START + 10**15) for parent in late]
    for row in more:
        orders.apply(row)
    kept = folded(rows + more, [17])
    for parent in orders.parents.values():
        line = kept["orders"][parent.id,]
        assert (line["status"], line["filled"], line["notional"]) == (
            parent.status,
            parent.filled,
            parent.notional,
        )
    for child in orders.children.values():
        line = kept["children"][child.key,]
        assert line["status"] == child.status
        assert (line["filled"], line["notional"]) == (child.filled, child.notional)
        assert (line["venue_order_id"], line["acked_at"]) == (child.venue_order_id, child.acked_ns)
        assert line["ended_at"] == child.ended_ns
    for position in ledger.positions():
        key = (position.account, position.venue, position.symbol, position.strategy)
        line = kept["positions"][key]
        for name in ("qty", "cost", "realised", "fees_quote", "bought", "sold", "fills"):
            assert line[name] == getattr(position, name), name
        assert line["fees"] == {a: plain(fee) for a, fee in sorted(position.fees.items())}
    assert len(kept["positions"]) == len(ledger.positions())
    held = {key: line["total"] for key, line in kept["balances"].items() if line["total"]}
    assert held == {
        (account, venue, asset): total
        for (venue, account), totals in ledger.balances().items()
        for asset, total in totals.items()
        if total
    }
    for key, line in kept["balances"].items():  # and the history adds up to what there is
        changes = [
            one["change"]
            for one in kept["balance_history"].values()
            if (one["account"], one["venue"], one["asset"]) == key
        ]
        assert sum(changes) == line["total"]


def test_both_databases_hold_the_same_and_answer_the_same(sqlite_url, postgres_url):
    rows = Story(3).until(600)

    async def main():
        dumps, answers = [], []
        for url, batch in ((sqlite_url, 37), (postgres_url, 200)):
            await schema.upgrade(url)
            await feed(Rows(rows), url, batch)
            dumps.append(await dump(url))
            store = QueryStore(url)
            await store.ready()
            for account in ACCOUNTS:
                page = await store.orders(account, limit=1000)
                answers.append(
                    [
                        page,
                        [await store.order(account, line.id) for line in page.lines],
                        [await store.decisions(account, line.id) for line in page.lines],
                        await store.fills(account, limit=1000),
                        await store.positions(account),
                        await store.balances(account),
                        await store.balance_history(account, limit=1000),
                        await store.incidents(account),
                        await store.risk_events(account),
                    ]
                )
            await store.close()
        return dumps, answers

    dumps, answers = asyncio.run(main())
    assert dumps[0] == dumps[1]
    # As text too: equal decimals may be spelled differently, and an answer must not.
    assert repr(answers[:2]) == repr(answers[2:])
    assert all(part.lines if isinstance(part, Page) else part for part in answers[0])
    assert len(answers[0][0].lines) > 30


def test_rebuilt_tables_are_those_that_grew(url):
    source = Rows(Story(5).until(300))

    async def main():
        await schema.upgrade(url)
        await feed(source, url, 7)
        before = await dump(url)
        engine = schema.make_engine(url)
        async with engine.begin() as connection:
            # What somebody spoiled by hand is mended too.
            await connection.execute(text("UPDATE orders SET status = 'lost'"))
        await engine.dispose()
        feeder = Feeder(source, url)
        assert await feeder.rebuild() == len(source.all)
        await feeder.close()
        return before, await dump(url)

    before, after = asyncio.run(main())
    assert before == after


def test_cut_off_anywhere_every_row_counts_once(url, monkeypatch):
    """The commit is the one moment that counts: cancelled before or after, nothing is doubled."""
    source = Rows(Story(9).until(200))
    from random import Random

    dice = Random(4)
    real = Feeder._write
    cut = 0

    async def fragile(self, after, rows):
        nonlocal cut
        if dice.random() < 0.3:
            cut += 1
            if dice.random() < 0.5:
                await real(self, after, rows)  # committed, but nobody was told
            raise ConnectionError("cut off")
        await real(self, after, rows)

    monkeypatch.setattr(Feeder, "_write", fragile)

    async def main():
        await schema.upgrade(url)
        feeder = Feeder(source, url, batch=11)
        while True:
            try:
                if not await feeder.once():
                    break
            except ConnectionError:
                await feeder.close()
        await feeder.close()
        monkeypatch.setattr(Feeder, "_write", real)
        found = await dump(url)
        feeder = Feeder(source, url)
        await feeder.rebuild()
        await feeder.close()
        return found, await dump(url)

    found, whole = asyncio.run(main())
    assert cut > 3
    assert found == whole


def test_another_journal_or_another_past_is_noticed_and_fed_anew(sqlite_url):
    first, second = Story(1).until(120), Story(2).until(90)

    async def main():
        await schema.upgrade(sqlite_url)
        await feed(Rows(first), sqlite_url)
        await feed(Rows(second), sqlite_url)  # restored from elsewhere
        got = await dump(sqlite_url)
        await feed(Rows(second[:50]), sqlite_url)  # restored from earlier
        return got, await dump(sqlite_url)

    got, shorter = asyncio.run(main())
    assert got["feed"][0]["seq"] == len(second)
    assert {line["id"] for line in got["orders"]} == {
        row.parent for row in second if isinstance(row, r.ParentPlaced)
    }
    assert shorter["feed"][0]["seq"] == 50


def test_two_feeders_on_one_database_do_not_double_a_row(url):
    source = Rows(Story(8).until(100))

    async def main():
        await schema.upgrade(url)
        one, two = Feeder(source, url, batch=10), Feeder(source, url, batch=10)
        assert await one.once() == 10
        assert await two.once() == 10  # took over where it found the mark
        with pytest.raises(StoreError, match="another process feeds it too"):
            await one.once()
        await one.close()
        await two.close()
        return await dump(url)

    assert asyncio.run(main())["feed"][0]["seq"] == 20


EXTREME = Decimal("123456789012345678901234567890.123456789012345678901234567890")


def test_digits_beyond_every_float_and_every_default_context_are_kept(url):
    rows = [
        placed(qty=EXTREME, limit_px=Decimal("1E-18")),
        intended(qty=EXTREME, px=Decimal("0.000000000000000001")),
    ]

    async def main():
        await schema.upgrade(url)
        await feed(Rows(rows), url)
        store = QueryStore(url)
        found = await store.order("main", "00000001")
        await store.close()
        return found

    found = asyncio.run(main())
    assert found.order.qty == EXTREME.copy_abs()
    assert str(found.order.qty) == "123456789012345678901234567890.12345678901234567890123456789"
    assert found.order.limit_price == Decimal("1E-18")
    assert found.order.leaves == EXTREME
    assert found.order.created_at == START


def test_what_no_database_can_hold_does_not_stop_the_feeder(url):
    rows = [
        placed(group="a\0b"),
        r.Incident(at_ns=START, what="x", text="told: \0 and \ud800", account="main"),
        r.Incident(at_ns=-1, what="x", text="before time", account="main"),
        r.Incident(at_ns=10**30, what="x", text="after it", account="main"),
        r.Decided(
            at_ns=START,
            parent="00000001",
            round=1,
            wanted=Decimal(1),
            allocated=Decimal(0),
            why="",
            seen=(),
            left_out={"okx": "said \0"},
            expected_px=None,
        ),
    ]

    async def main():
        await schema.upgrade(url)
        work = fold.Fold()
        for seq, row in enumerate(rows, 1):
            work.apply(seq, row)
        engine = schema.make_engine(url)
        async with engine.begin() as connection:
            for table, lines in work.changed():
                await connection.execute(table.insert(), lines)
        await engine.dispose()
        store = QueryStore(url)
        found = (
            (await store.incidents("main")).lines,
            (await store.decisions("main", "00000001"))[0],
            (await store.orders("main")).lines[0],
        )
        await store.close()
        return found

    incidents, decided, order = asyncio.run(main())
    assert [line.detail for line in incidents][-1] == "told: \ufffd and \ufffd"
    assert (incidents[0].at, incidents[1].at) == (253_370_764_799_999_999_000, 0)
    assert decided.left_out == {"okx": "said \ufffd"}
    assert order.leg_group == "a\ufffdb"
