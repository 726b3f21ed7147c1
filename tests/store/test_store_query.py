"""Questions: an account sees its own, pages join without a seam, filters narrow; on both."""

import asyncio

import pytest

from hean_router.domain.errors import CommandError
from hean_router.domain.parent import Status
from hean_router.store import schema
from hean_router.store.lines import Filter
from hean_router.store.query import QueryStore
from hean_router.store.urls import read_url
from tests.store.journal_rows import ACCOUNTS, Rows, Story
from tests.store.test_store_tables import feed

SOURCE = Rows(Story(21).until(500))


@pytest.fixture(scope="module")
def fed_sqlite(tmp_path_factory):
    return _fed(read_url(f"sqlite:///{tmp_path_factory.mktemp('fed') / 'query.sqlite3'}"))


@pytest.fixture(scope="module")
def fed_postgres(postgres):
    return _fed(asyncio.run(postgres.database()))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    """Fed once: here it is only read."""
    return request.getfixturevalue(f"fed_{request.param}")


def _fed(url):
    async def main():
        await schema.upgrade(url)
        await feed(SOURCE, url, 200)

    asyncio.run(main())
    return url


def asked(url, questions):
    async def main():
        store = QueryStore(url)
        try:
            return await questions(store)
        finally:
            await store.close()

    return asyncio.run(main())


async def pages(question, limit):
    lines, cursor = [], ""
    while True:
        page = await question(cursor=cursor, limit=limit)
        assert len(page.lines) <= limit
        lines += page.lines
        if not (cursor := page.next):
            return lines


def test_pages_join_without_a_seam(url):
    async def questions(store):
        for account in ACCOUNTS:
            for ask in (
                store.orders,
                store.fills,
                store.balance_history,
                store.incidents,
                store.risk_events,
            ):

                async def one(ask=ask, account=account, **more):
                    return await ask(account, **more)

                whole = (await one(limit=1000)).lines
                assert len(whole) > 5
                assert await pages(one, 7) == list(whole)
                assert await pages(one, 1) == list(whole)
                marks = [line.seq for line in whole]
                assert marks == sorted(marks, reverse=True)

    asked(url, questions)


def test_an_account_sees_its_own_and_nothing_else(url):
    async def questions(store):
        of = {account: (await store.orders(account, limit=1000)).lines for account in ACCOUNTS}
        assert all(line.account == name for name, lines in of.items() for line in lines)
        theirs = of["other"][0]
        assert await store.order("main", theirs.id) is None
        assert await store.order_by_client_id("main", theirs.client_order_id) is None
        assert await store.decisions("main", theirs.id) == ()
        assert (await store.fills("main", Filter(order=theirs.id))).lines == ()
        assert (await store.order("other", theirs.id)).order == theirs
        assert (await store.order_by_client_id("other", theirs.client_order_id)).order == theirs
        for ask in (store.positions, store.balances):
            assert {line.account for line in await ask("main")} == {"main"}
        for ask in (store.incidents, store.risk_events):
            # What is of the whole installation is everybody's to know.
            assert {line.account for line in (await ask("main", limit=1000)).lines} == {"main", ""}
        assert (await store.orders("nobody")).lines == ()
        with pytest.raises(AssertionError, match="of an account"):
            await store.orders("")

    asked(url, questions)


@pytest.mark.parametrize(
    ("which", "holds"),
    [
        (Filter(symbol="ETH/USDT"), lambda line: line.symbol == "ETH/USDT"),
        (Filter(side="sell"), lambda line: line.side == "sell"),
        (Filter(strategy="arb"), lambda line: line.strategy == "arb"),
        (
            Filter(status=("unknown", "pending_new")),
            lambda line: line.status in {"unknown", "pending_new"},
        ),
        (Filter(open_only=True), lambda line: not Status(line.status).is_final),
        (
            Filter(symbol="BTC/USDT", side="buy"),
            lambda line: (line.symbol, line.side) == ("BTC/USDT", "buy"),
        ),
    ],
)
def test_filters_narrow_orders_to_those_that_fit(url, which, holds):
    async def questions(store):
        whole = (await store.orders("main", limit=1000)).lines
        found = (await store.orders("main", which, limit=1000)).lines
        assert found
        assert list(found) == [line for line in whole if holds(line)]

    asked(url, questions)


def test_times_and_venues_narrow_fills(url):
    async def questions(store):
        whole = (await store.fills("main", limit=1000)).lines
        middle = whole[len(whole) // 2]
        which = Filter(since_ns=middle.at)
        late = (await store.fills("main", which, limit=1000)).lines
        assert list(late) == [line for line in whole if line.at >= middle.at]
        early = (await store.fills("main", Filter(until_ns=middle.at), limit=1000)).lines
        assert list(early) == [line for line in whole if line.at < middle.at]
        assert (
            middle
            not in (await store.fills("main", Filter(since_ns=middle.at + 1), limit=1000)).lines
        )
        at = (await store.fills("main", Filter(venue=middle.venue), limit=1000)).lines
        assert list(at) == [line for line in whole if line.venue == middle.venue]

    asked(url, questions)


def test_an_order_adds_up(url):
    async def questions(store):
        traded = 0
        for line in (await store.orders("main", limit=1000)).lines:
            detail = await store.order("main", line.id)
            assert detail.order == line
            fills = (await store.fills("main", Filter(order=line.id), limit=1000)).lines
            assert sum(fill.qty for fill in fills) == line.filled
            assert sum(child.filled for child in detail.children) == line.filled
            for asset, fee in line.fees.items():
                assert fee == sum(fill.fee for fill in fills if fill.fee_asset == asset)
                assert fee == sum(child.fees.get(asset, 0) for child in detail.children)
            assert len(detail.children) == line.children
            traded += bool(line.filled)
        assert traded > 5

    asked(url, questions)


@pytest.mark.parametrize(
    "cursor",
    ["x", "1", "-1.", "1.BTC", "99999999999999999999.", "9223372036854775808.", "١.", "1.\0"],
)
def test_a_cursor_that_is_none_of_ours_is_the_callers_mistake(url, cursor):
    async def questions(store):
        with pytest.raises(CommandError, match="none of ours"):
            await store.orders("main", cursor=cursor)

    asked(url, questions)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_a_page_is_bounded(fed_sqlite, limit):
    async def questions(store):
        with pytest.raises(CommandError, match="out of bounds"):
            await store.fills("main", limit=limit)

    asked(fed_sqlite, questions)


@pytest.mark.parametrize("nasty", ["'; DROP TABLE orders; --", "x" * 10_000, "\ud800", "a\0b", "%"])
def test_whatever_is_asked_for_is_a_value_and_never_a_fault(url, nasty):
    async def questions(store):
        assert (await store.orders("main", Filter(client_order_id=nasty))).lines == ()
        assert (await store.fills(nasty or "main", Filter(venue=nasty))).lines == ()
        assert await store.order("main", nasty) is None
        assert len((await store.orders("main")).lines) > 5

    asked(url, questions)
