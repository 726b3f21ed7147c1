"""The same API answers from memory, from SQLite and from PostgreSQL; and orders wait for none."""

import asyncio
from decimal import Decimal

import pytest

from hean_router.api import stored, views
from hean_router.api.history import Fills
from hean_router.domain.record import Filled
from hean_router.oms import Orders
from hean_router.store.feeder import Feeder
from hean_router.store.query import QueryStore
from hean_router.store.schema import upgrade
from tests.api.house import in_house, order
from tests.store.journal_rows import ACCOUNTS, Rows, Story
from tests.store.test_store_tables import feed


class Numbered:
    """The house's journal with numbers, as the feeder reads it."""

    def __init__(self, journal):
        self.journal = journal

    def rows(self, after=0):
        return [(n + 1, row) for n, row in enumerate(self.journal.rows) if n >= after]


async def trade(http):
    """Orders of several kinds, to their ends."""
    bodies = [
        order(1, quantity="0.8", limit_price="60300"),
        order(2, side="sell", limit_price="59900", quantity="7"),
        order(3, type="market", limit_price=None, quantity=None, quote_quantity="900"),
        order(4, time_in_force="GTC", limit_price="59000"),
        order(5, time_in_force="FOK", quantity="9000", limit_price="60001"),
        order(6, venues={"include": ["alpha"], "max_share": "0.5"}, limit_price="60300"),
    ]
    for body in bodies:
        wait_ms = 50 if body["time_in_force"] == "GTC" else 3000  # one that rests does not end
        answer = await http.post(f"/v1/orders?wait_ms={wait_ms}", json=body)
        assert answer.status_code in {201, 422}, answer.text
    await http.delete("/v1/orders")
    await asyncio.sleep(0.2)


def same(one, other):
    """Equal in every field; of prices worked out by division, in value."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert same(value, other[name]), (name, value, other[name])
        return True
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_memory_and_both_stores_answer_alike(url):
    async def test(house):
        feeder = Feeder(Numbered(house.journal), url)
        await upgrade(url)
        house.desk.store = store = QueryStore(url)
        task = asyncio.create_task(feeder.run())
        try:
            async with house.client(house.key()) as http, house.client(house.key("other")) as alien:
                await trade(http)
                feeder.committed(len(house.journal.rows))
                await feeder.caught_up(len(house.journal.rows))
                for path in ("/v1/orders?limit=100", "/v1/fills?limit=100"):
                    memory = (await http.get(path)).json()
                    stored = (await http.get(f"{path}&source=store")).json()
                    rows = "orders" if "orders" in path else "fills"
                    assert len(memory[rows]) >= 3
                    for one, other in zip(memory[rows], stored[rows], strict=True):
                        assert same(one, other)
                    nothing = (await alien.get(f"{path}&source=store")).json()
                    assert nothing[rows] == []
                for one in (await http.get("/v1/orders")).json()["orders"]:
                    answer = await http.get(f"/v1/orders/{one['id']}?source=store")
                    assert same(one, answer.json())
                    mine = f"/v1/orders/{one['client_order_id']}?by=client&source=store"
                    assert same(one, (await http.get(mine)).json())
                    hidden = await alien.get(f"/v1/orders/{one['id']}?source=store")
                    assert hidden.status_code == 404
                await paged(http)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await feeder.close()
            await store.close()

    in_house(test)


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_whatever_became_of_an_order_both_answer_alike(url, seed):
    """Stories in which trades come without our key, before their order's name, twice, or late."""
    rows = Story(seed).until(250)
    orders, kept = Orders(), Fills()
    for row in rows:
        orders.apply(row)
        kept.apply(row)

    def whose(row):
        return orders.find(row.venue, row.account, row.symbol, row.key, row.venue_order_id)

    async def main():
        await upgrade(url)
        await feed(Rows(rows), url)
        store = QueryStore(url)
        for account in ACCOUNTS:
            memory = [views.order(one) for one in reversed(orders.by_account[account].values())]
            lines = (await store.orders(account, limit=500)).lines
            found = [await stored.one(store, account, line.id, "id") for line in lines]
            assert [views.order(one) for one in found] == memory
            assert len(memory) > 5
            rows_, _ = kept.page(account, lambda _row: True, None, 500)
            memory = [views.fill(row, whose(row)) for row in rows_]
            lines = (await store.fills(account, limit=500)).lines
            assert [views.fill(stored.fill_of(line)) for line in lines] == memory
        await store.close()

    asyncio.run(main())
    assert any(not row.key for row in rows if isinstance(row, Filled))


async def paged(http):
    """Page by page it is the same list."""
    for what in ("orders", "fills"):
        whole = (await http.get(f"/v1/{what}?source=store&limit=100")).json()[what]
        found, cursor = [], ""
        while True:
            page = (await http.get(f"/v1/{what}?source=store&limit=2{cursor}")).json()
            found += page[what]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == whole


def test_without_a_store_or_with_a_dead_one_it_is_said_and_orders_go_on():
    from hean_router.store.urls import read_url

    async def test(house):
        async with house.client(house.key()) as http:
            answer = await http.get("/v1/orders?source=store")
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "store_unavailable"
            dead = QueryStore(read_url("postgresql://nobody:secret@127.0.0.1:9/none"))
            house.desk.store = dead
            for path in ("orders", "fills", "orders/00000001"):
                answer = await http.get(f"/v1/{path}?source=store")
                assert answer.status_code == 503, answer.text
                assert "secret" not in answer.text
            placed = await http.post("/v1/orders?wait_ms=3000", json=order(9))
            assert placed.status_code == 201
            assert Decimal(placed.json()["filled_quantity"]) > 0
            await dead.close()

    in_house(test)
