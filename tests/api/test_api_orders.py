"""Orders over HTTP, against a real engine on paper."""

import asyncio
from decimal import Decimal

import orjson
import pytest

from hean_router.api.schemas import OrderOut, OrdersOut, PreviewOut, StandingOut
from tests.api.house import PAIRS, in_house, order

TERMINAL = {"filled", "canceled", "rejected", "expired"}


def test_an_order_is_placed_waited_for_and_accounted_for():
    async def test(house):
        async with house.client(house.key()) as http:
            # 9 lie within the limit: split over both venues, dearer fees or not.
            found = await http.post(
                "/v1/orders?wait_ms=5000", json=order(quantity="0.8", limit_price="60300")
            )
            assert found.status_code == 201, found.text
            body = found.json()
            OrderOut.model_validate(body)
            assert body["status"] == "filled"
            assert body["filled_quantity"] == "0.8"
            assert body["leaves_quantity"] == "0"
            total = sum(Decimal(one["filled_quantity"]) for one in body["children"])
            assert total == Decimal("0.8")
            quote = sum(
                Decimal(one["filled_quantity"]) * Decimal(one["average_price"])
                for one in body["children"]
                if one["average_price"]
            )
            assert quote == Decimal(body["filled_quote"])
            fills = (await http.get(f"/v1/fills?order_id={body['id']}")).json()["fills"]
            assert sum(Decimal(one["quantity"]) for one in fills) == Decimal("0.8")
            assert {one["child_id"] for one in fills} == {one["id"] for one in body["children"]}
            fee = sum(Decimal(one["fee"]) for one in fills)
            assert [fee] == [Decimal(one["amount"]) for one in body["fees"]]
            # By our id, and by the client's.
            for path in (f"/v1/orders/{body['id']}", "/v1/orders/c-1?by=client"):
                assert (await http.get(path)).json() == body
            positions = (await http.get("/v1/portfolio/positions?by=symbol")).json()["positions"]
            assert positions[0]["quantity"] == "0.8"

    in_house(test)


def test_the_same_order_again_is_the_same_answer_and_another_body_is_a_conflict():
    async def test(house):
        async with house.client(house.key()) as http:
            first = await http.post("/v1/orders?wait_ms=5000", json=order())
            # The same number spelled otherwise is the same order.
            again = await http.post("/v1/orders", json=order(quantity="0.010"))
            assert (first.status_code, again.status_code) == (201, 200)
            assert first.json() == again.json()
            other = await http.post("/v1/orders", json=order(quantity="0.02"))
            assert other.status_code == 409
            assert other.json()["error"]["code"] == "duplicate_client_order_id"
            assert len(house.engine.oms.parents) == 1
        # Another account has its own names.
        async with house.client(house.key("other")) as http:
            assert (await http.post("/v1/orders", json=order(quantity="0.02"))).status_code == 201

    in_house(test)


def test_ten_times_at_once_is_one_order():
    async def test(house):
        async with house.client(house.key()) as http:
            found = await asyncio.gather(
                *(http.post("/v1/orders", json=order()) for _ in range(10))
            )
            assert sorted(one.status_code for one in found) == [200] * 9 + [201]
            assert len({one.json()["id"] for one in found}) == 1

    in_house(test)


def test_a_resting_order_waits_its_time_and_is_cancelled_once():
    async def test(house):
        async with house.client(house.key()) as http:
            body = order(limit_price="59000", time_in_force=None)  # GTC where nothing is said
            found = (await http.post("/v1/orders?wait_ms=30", json=body)).json()
            assert found["time_in_force"] == "GTC"
            assert found["status"] in {"new", "pending_new"}
            path = f"/v1/orders/{found['id']}"
            gone = await http.delete(path)
            assert gone.status_code == 200
            assert gone.json()["status"] in {"pending_cancel", "canceled"}
            await house.trading.wait(found["id"], 5)
            assert (await http.get(path)).json()["status"] == "canceled"
            assert (await http.delete(path)).status_code == 200  # asked again: the same
            # One that ended by itself cannot be cancelled.
            done = (await http.post("/v1/orders?wait_ms=5000", json=order(2))).json()
            late = await http.delete(f"/v1/orders/{done['id']}")
            assert (late.status_code, late.json()["error"]["code"]) == (409, "order_ended")

    in_house(test)


def test_cancelling_many_respects_filter_and_account():
    async def test(house):
        mine, theirs = house.client(house.key()), house.client(house.key("other"))
        async with mine, theirs:
            rest = {"limit_price": "59000", "time_in_force": "GTC"}
            for number, symbol in enumerate(("BTC/USDT", "BTC/USDT", "ETH/USDT")):
                px = "59000" if symbol[0] == "B" else "2900"
                fields = {**rest, "symbol": symbol, "limit_price": px, "side": "buy"}
                fields["quantity"] = f"0.0{number + 1}"
                assert (await mine.post("/v1/orders", json=order(number, **fields))).is_success
            assert (await theirs.post("/v1/orders", json=order(**rest))).is_success
            done = (await mine.delete("/v1/orders", params={"symbol": "BTC/USDT"})).json()
            assert len(done["cancelled"]) == 2
            assert len((await mine.delete("/v1/orders")).json()["cancelled"]) == 1
            assert (await mine.delete("/v1/orders")).json() == {"cancelled": []}
            left = (await theirs.get("/v1/orders")).json()["orders"]
            assert [one["status"] for one in left if one["status"] in TERMINAL] == []

    in_house(test)


def test_a_dry_run_keeps_nothing():
    async def test(house):
        async with house.client(house.key()) as http:
            rows = len(house.journal.rows)
            body = order(quantity="0.8", limit_price="60300")
            one = await http.post("/v1/orders", json={**body, "dry_run": True})
            two = await http.post("/v1/orders/preview", json=body)
            assert (one.status_code, two.status_code) == (200, 200)
            PreviewOut.model_validate(one.json())
            assert one.json() == two.json()
            assert one.json()["allocated"] == "0.8"
            assert len(house.journal.rows) == rows
            assert not house.engine.oms.parents
            refused = await http.post("/v1/orders/preview", json=order(quantity="0.00001"))
            assert refused.status_code == 422

    in_house(test)


def test_paging_meets_every_order_once():
    async def test(house):
        async with house.client(house.key()) as http:
            for number in range(25):
                body = order(number, quantity=f"0.0{number + 10}")
                assert (await http.post("/v1/orders?wait_ms=5000", json=body)).is_success
            for size in (1, 7, 25, 500):
                names, cursor = [], None
                while True:
                    params = {"limit": size} | ({"cursor": cursor} if cursor else {})
                    page = (await http.get("/v1/orders", params=params)).json()
                    OrdersOut.model_validate(page)
                    assert len(page["orders"]) <= size
                    names += [one["client_order_id"] for one in page["orders"]]
                    if (cursor := page["next_cursor"]) is None:
                        break
                assert names == [f"c-{n}" for n in reversed(range(25))]
            fills, cursor = [], None
            while True:
                params = {"limit": 4} | ({"cursor": cursor} if cursor else {})
                page = (await http.get("/v1/fills", params=params)).json()
                fills += [(one["venue"], one["trade_id"]) for one in page["fills"]]
                if (cursor := page["next_cursor"]) is None:
                    break
            assert len(fills) == len(set(fills)) >= 25
            since = (await http.get("/v1/orders?limit=3")).json()["orders"][-1]["created_at"]
            found = (await http.get("/v1/orders", params={"since": since})).json()["orders"]
            assert len(found) == 3
            for status, count in (("filled", 25), ("rejected", 0)):
                found = (await http.get(f"/v1/orders?status={status}")).json()["orders"]
                assert len(found) == count

    in_house(test)


def test_savings_are_the_realised_average_against_the_alternatives():
    async def test(house):
        # A thin best price at each venue: either alone would have to go deeper.
        for venue in ("alpha", "beta"):
            house.show(
                venue,
                PAIRS[0],
                bids=[(59_990_00, 5_0000)],
                asks=[(60_000_00, 4000), (61_000_00, 5_0000)],
            )
        async with house.client(house.key()) as http:
            body = order(quantity="0.8", limit_price="61000")
            found = (await http.post("/v1/orders?wait_ms=5000", json=body)).json()
            assert found["status"] == "filled"
            # Alone, alpha: 0.4 at 60000 and 0.4 at 61000, fee 0.1 %; together 0.4 each at 60000.
            alone = (Decimal("0.4") * 60_000 + Decimal("0.4") * 61_000) * Decimal("1.001")
            paid = Decimal("0.4") * 60_000 * (Decimal("1.001") + Decimal("1.002"))
            assert abs(Decimal(found["saved_quote"]) - (alone - paid)) < Decimal("1e-15")
            bps = (alone - paid) / alone * 10_000
            assert abs(Decimal(found["saved_bps"]) - bps) < Decimal("1e-15")
            assert found["saved_on_quantity"] == "0.8"
            assert Decimal(found["saved_vs_greedy_quote"]) == 0

    in_house(test)


def test_a_full_disk_is_503_and_nothing_leaves():
    async def test(house):
        async with house.client(house.key()) as http:
            house.journal.broken = True
            found = await http.post("/v1/orders", json=order())
            assert (found.status_code, found.json()["error"]["code"]) == (
                503,
                "journal_unavailable",
            )
            assert (await http.get("/ready")).status_code == 503
            house.journal.broken = False
            assert (await http.post("/v1/orders?wait_ms=5000", json=order(2))).status_code == 201
            assert (await http.get("/ready")).status_code == 200

    in_house(test)


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"symbol": "DOGE/USDT"}, 422, "unknown_symbol"),  # not followed
        ({"quantity": "0.00001"}, 422, "off_lot"),
        ({"quantity": "0.0001", "limit_price": "1"}, 422, None),  # minimum, or the collar
        ({"quantity": "100"}, 422, None),  # over the limits on money
        ({"venues": {"include": ["nowhere"]}}, 422, "unknown_venue"),
        ({"symbol": "BTC/USDT:USDT"}, 422, "invalid_order"),  # no spot pair
    ],
)
def test_what_a_rule_refuses_is_told_with_its_code(fields, status, code):
    async def test(house):
        async with house.client(house.key()) as http:
            found = await http.post("/v1/orders", json=order(**fields))
            assert found.status_code == status, found.text
            wrong = found.json()["error"]
            assert code in {None, wrong["code"]}
            assert wrong["message"]
            assert not house.engine.oms.parents

    in_house(test)


def test_the_way_through_the_face_is_short():
    """In-process: framework, reading, checking, answering; the engine's own time taken off."""

    async def test(house):
        from time import perf_counter_ns

        inside = []
        submit = house.trading.submit

        def timed(*args):
            began = perf_counter_ns()
            try:
                return submit(*args)
            finally:
                inside.append(perf_counter_ns() - began)

        house.trading.submit = timed
        sent = []

        async def send(message):
            sent.append(message)

        headers = [
            (b"authorization", f"Bearer {house.key()}".encode()),
            (b"content-type", b"application/json"),
        ]
        took = []
        for number in range(60):
            data = orjson.dumps(order(number, limit_price="59000", quantity=f"0.0{100 + number}"))

            async def receive(data=data):
                return {"type": "http.request", "body": data, "more_body": False}

            scope = {
                "type": "http", "method": "POST", "path": "/v1/orders", "raw_path": b"/v1/orders",
                "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
                "server": ("api", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
            }  # fmt: skip
            began = perf_counter_ns()
            await house.app(scope, receive, send)
            took.append(perf_counter_ns() - began - inside[-1])
        assert {one["status"] for one in sent if "status" in one} == {201}
        assert sorted(took)[len(took) // 2] < 3_000_000, "three times what a quiet machine needs"
        print("overhead p50", sorted(took)[len(took) // 2] / 1e3, "us")

    in_house(test)


def test_health_says_of_each_thing_that_is_shut_why_since_when_and_what_lifts_it():
    async def test(house):
        async with house.client(house.key()) as http:
            found = (await http.get("/v1/health")).json()
            StandingOut.model_validate(found)
            assert found["ready"] is True
            assert found["shut"] == []
            house.trading.kill("prices look wrong", "me")
            house.trading.gate.shut(("alpha", "main"), "reconciling", house.clock())
            house.trading.gate.shut(("alpha", "other"), "not yours", house.clock())
            found = (await http.get("/v1/health")).json()
            StandingOut.model_validate(found)
            lines = {(one["what"], one["where"]): one for one in found["shut"]}
            assert lines["risk", "everywhere"]["why"] == "halted: prices look wrong"
            assert "reset" in lines["risk", "everywhere"]["lifted_by"]
            assert lines["gate", "alpha main"]["since"].endswith("Z")
            assert "by itself" in lines["gate", "alpha main"]["lifted_by"]
            assert "not yours" not in str(found), "what another account's are is its own"
            assert found["shut"][0]["where"] == "everywhere", "what is wide comes first"

    in_house(test)
