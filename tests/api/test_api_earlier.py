"""What memory has let go of is answered as before: same body, same pages, same refusals."""

import asyncio

import pytest

from hean_router.api import earlier
from hean_router.domain.record import Checkpoint
from hean_router.engine import Keep
from tests.api.house import in_house, order, until

KEEP = Keep(parents=2, parent_ns=0, trade_ns=0, at_once=3, every_ns=0)
COUNT = 12


async def flow(house, http):
    """Twelve orders, each to its end; one that rests from the start; all but a few forgotten."""
    answers = []
    resting = order(0, limit_price="50000", time_in_force="GTC")
    answers.append((await http.post("/v1/orders", json=resting)).json())
    for number in range(1, COUNT + 1):
        symbol = "ETH/USDT" if number % 3 == 0 else "BTC/USDT"
        px = "3030" if number % 3 == 0 else "60100"
        body = order(number, symbol=symbol, limit_price=px)
        found = await http.post("/v1/orders?wait_ms=5000", json=body)
        assert found.json()["status"] == "filled", found.text
        answers.append(found.json())
    oms = house.engine.oms
    await until(lambda: len(oms.past) <= KEEP.parents and not oms.unsettled)
    assert oms.forgotten == COUNT - KEEP.parents
    assert len(oms.parents) == KEEP.parents + 1
    return answers


def with_flow(test):
    async def main(house):
        async with house.client(house.key()) as http:
            await test(house, http, await flow(house, http))

    in_house(main, keep=KEEP)


def test_each_order_is_answered_by_id_and_by_client_id_as_it_was_when_it_ended():
    async def test(house, http, answers):
        for number, body in enumerate(answers):
            for path in (f"/v1/orders/{body['id']}", f"/v1/orders/c-{number}?by=client"):
                found = (await http.get(path)).json()
                if not number:
                    assert found["status"] == "new"
                    continue
                # Reports that followed the last fill have moved no amount.
                found["updated_at"] = body["updated_at"]
                for one, was in zip(found["children"], body["children"], strict=True):
                    one["status"], one["why"] = was["status"], was["why"]
                assert found == body, path
        async with house.client(house.key("other")) as other:
            for path in (f"/v1/orders/{answers[1]['id']}", "/v1/orders/c-1?by=client"):
                assert (await other.get(path)).status_code == 404, "nobody else's business"

    with_flow(test)


def test_the_same_order_again_is_the_same_parent_however_long_ago_and_another_body_a_conflict():
    async def test(house, http, answers):
        for number in range(1, COUNT + 1):
            old = answers[number]
            body = order(
                number, symbol=old["symbol"], limit_price=old["limit_price"], quantity="0.010"
            )
            again = await http.post("/v1/orders?wait_ms=100", json=body)
            assert again.status_code == 200
            assert again.json()["id"] == old["id"]
            other = await http.post("/v1/orders", json={**body, "quantity": "0.02"})
            assert other.status_code == 409
            assert other.json()["error"]["code"] == "duplicate_client_order_id"
        new = await http.post("/v1/orders", json=order(99))
        assert new.json()["id"] > max(one["id"] for one in answers), "no name is given twice"

    with_flow(test)


@pytest.mark.parametrize("limit", [1, 3, 5, 100])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", range(COUNT, -1, -1)),
        ("&symbol=ETH/USDT", (12, 9, 6, 3)),
        ("&status=filled", range(COUNT, 0, -1)),
        ("&status=new", (0,)),  # it rests, older than all that is forgotten
        ("&strategy=nobody", ()),
    ],
)
def test_pages_go_on_from_memory_into_the_journal(limit, query, expected):
    async def test(_house, http, _answers):
        names, cursor = [], ""
        for _ in range(50):
            found = (await http.get(f"/v1/orders?limit={limit}{query}{cursor}")).json()
            names += [one["client_order_id"] for one in found["orders"]]
            assert len(found["orders"]) <= limit
            if found["next_cursor"] is None:
                break
            cursor = f"&cursor={found['next_cursor']}"
        assert names == [f"c-{number}" for number in expected]

    with_flow(test)


def test_a_page_that_has_looked_its_fill_says_where_to_go_on(monkeypatch):
    """Those of other strategies were passed over, and with them where the page had come to."""

    async def test(_house, http, answers):
        monkeypatch.setattr(earlier, "LOOKED_MAX", 4)
        cursors = [""]
        while cursors[-1] is not None and len(cursors) < 20:
            more = cursors[-1] and f"&cursor={cursors[-1]}"
            found = (await http.get(f"/v1/orders?strategy=nobody{more}")).json()
            assert not found["orders"]
            cursors.append(found["next_cursor"])
        names = [one["id"] for one in reversed(answers)]
        assert cursors == ["", *names[3::4], None]

    with_flow(test)


def test_fills_go_on_into_the_journal_too_and_by_order():
    async def test(house, http, answers):
        trades, cursor = [], ""
        for _ in range(50):
            found = (await http.get(f"/v1/fills?limit=2{cursor}")).json()
            trades += found["fills"]
            if found["next_cursor"] is None:
                break
            cursor = f"&cursor={found['next_cursor']}"
        assert [one["order_id"] for one in trades] == [one["id"] for one in reversed(answers[1:])]
        assert len({one["trade_id"] for one in trades}) == COUNT
        for body in answers[1:]:
            found = (await http.get(f"/v1/fills?order_id={body['id']}")).json()["fills"]
            assert [one["order_id"] for one in found] == [body["id"]]
        assert house.desk.fills.forgotten("main"), "some are in the journal alone"

    with_flow(test)


def test_what_has_ended_and_is_forgotten_cannot_be_cancelled():
    async def test(_house, http, answers):
        found = await http.delete(f"/v1/orders/{answers[1]['id']}")
        assert found.status_code == 409
        assert found.json()["error"]["code"] == "order_ended"

    with_flow(test)


def test_a_journal_that_cannot_be_read_takes_no_order_for_new():
    async def test(house, http, answers):
        house.journal.db.execute("ALTER TABLE ix_parents RENAME TO gone")
        again = await http.post("/v1/orders", json=order(1))
        assert again.status_code == 503
        assert again.json()["error"]["code"] == "journal_unavailable"
        found = await http.get(f"/v1/orders/{answers[1]['id']}")
        assert found.status_code == 200, "its rows can be read still"
        assert (await http.get("/v1/orders/c-1?by=client")).status_code == 503
        assert (await http.get("/v1/orders")).status_code == 503
        going = await http.get("/v1/orders?status=new")
        assert going.status_code == 200, "what goes on is in memory: the past is not looked at"
        assert [one["client_order_id"] for one in going.json()["orders"]] == ["c-0"]
        house.journal.db.execute("ALTER TABLE gone RENAME TO ix_parents")
        assert (await http.post("/v1/orders", json=order(1))).status_code == 200
        await asyncio.sleep(0)

    with_flow(test)


def test_it_forgets_no_more_at_once_than_it_says_and_tells_so_by_rows():
    async def test(house, _http, _answers):
        rows = [row for _, row in house.journal.rows() if isinstance(row, Checkpoint)]
        assert sum(len(row.parents) for row in rows) == COUNT - KEEP.parents
        assert max(len(row.parents) for row in rows) <= KEEP.at_once

    with_flow(test)
