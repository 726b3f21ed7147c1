"""The client, waiting and not, against a router on four simulated venues."""

import asyncio
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from hean_router.client import ApiError, AsyncClient, Client, NotRunning
from hean_router.client.clients import _Base
from tests.client import running


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """The router of this module."""
    with running.house(tmp_path_factory.mktemp("house")) as found:
        yield found


@pytest.fixture(params=["waiting", "awaited"])
def client(request, house):
    """Either client, spoken to in one way."""
    if request.param == "waiting":
        with Client(house.api, house.key) as found:
            yield found
        return
    with asyncio.Runner() as runner:
        found = AsyncClient(house.api, house.key)
        yield Waiting(found, runner)
        runner.run(found.close())


class Waiting:
    """An `AsyncClient` whose every answer is waited for."""

    def __init__(self, client, runner):
        self._client, self._runner = client, runner

    def __getattr__(self, name):
        method = getattr(self._client, name)

        def call(*args, **options):
            found = method(*args, **options)
            return self._runner.run(listed(found) if hasattr(found, "__aiter__") else found)

        return call


async def listed(found):
    """All of it."""
    return [one async for one in found]


def test_an_order_is_whole(client):
    order = client.submit("BTC/USDT", "buy", quantity="0.05", wait_ms=5000)
    assert (order.status, order.is_final, order.type) == ("filled", True, "market")
    assert order.quantity == order.filled_quantity == Decimal("0.05")
    assert order.leaves_quantity == 0
    assert sum(child.filled_quantity for child in order.children) == order.filled_quantity
    assert all(child.venue_order_id for child in order.children if child.filled_quantity)
    assert {fee.asset for fee in order.fees} == {
        fee.asset for child in order.children for fee in child.fees
    }
    for fee in order.fees:
        of = [
            one.amount for child in order.children for one in child.fees if one.asset == fee.asset
        ]
        assert sum(of) == fee.amount
    first = order.decisions[0]
    assert {child.venue for child in order.children} <= {seen.venue for seen in first.books}
    assert sum(seen.quantity for seen in first.books) == first.allocated
    assert order.created_at <= order.updated_at
    assert client.order(order.id) == client.order(order.client_order_id, by="client") == order


def test_the_same_id_places_nothing_twice_and_another_body_is_refused(client):
    of = {"quantity": "0.01", "wait_ms": 5000, "client_order_id": f"mine-{id(client)}"}
    first = client.submit("BTC/USDT", "buy", **of)
    assert client.submit("BTC/USDT", "buy", **of).id == first.id
    with pytest.raises(ApiError) as refused:
        client.submit("BTC/USDT", "sell", **of)
    assert (refused.value.code, refused.value.status) == ("duplicate_client_order_id", 409)


def test_what_rests_is_waited_for_in_vain_and_cancelled(client):
    order = client.submit("ETH/USDT", "buy", quantity=1, limit_price=Decimal("2000.50"))
    assert client.wait(order.id, 0.3).status in {"pending_new", "new"}
    client.cancel(order.id)
    assert client.wait(order.id).status == "canceled"
    client.submit("ETH/USDT", "buy", quantity=1, limit_price="2001", post_only=True)
    assert len(client.cancel_all(symbol="ETH/USDT")["cancelled"]) == 1


def test_pages_are_turned_until_the_last(client):
    since = datetime.now(UTC)
    ids = [client.submit("BTC/USDT", "buy", quantity="0.002", wait_ms=5000).id for _ in range(5)]
    found = [order.id for order in client.iter_orders(since=since, limit=2)]
    assert found == ids[::-1]
    fills = list(client.iter_fills(since=since, limit=1))
    assert {fill.order_id for fill in fills} == set(ids)
    assert sum(fill.quantity for fill in fills) == Decimal("0.010")
    assert len({(fill.venue, fill.trade_id) for fill in fills}) == len(fills)


def test_what_is_read_is_there(client):
    assert client.ready()
    assert client.health()
    assert "hean_" in client.metrics()
    for what in ("instruments", "fees", "venues", "strategies", "opportunities", "keys"):
        assert isinstance(getattr(client, what)(), dict), what
    assert client.risk()["state"] == "normal"
    assert client.book("BTC/USDT", depth=2)["bids"]
    assert client.positions()["positions"]
    assert client.balances()["balances"]
    assert client.exposure()["reporting"] == "USD"
    assert client.kpis()["kpis"]
    assert client.preview("BTC/USDT", "buy", quote_quantity=1000)["children"]


def test_a_key_is_made_used_and_revoked(client, house):
    made = client.make_key("main", ["read"], "a reader")
    with Client(house.api, made["key"]) as reader:
        assert reader.orders(limit=1)
        with pytest.raises(ApiError) as refused:
            reader.submit("BTC/USDT", "buy", quantity="0.01")
        assert refused.value.status == 403
        client.revoke_key(made["id"])
        with pytest.raises(ApiError) as refused:
            reader.orders()
        assert refused.value.status == 401


def test_a_strategy_is_started_and_stopped_and_the_switch_turned(client):
    client.start("arb", {"min_profit_quote": "1000000"})
    client.stop("arb")
    assert client.kill("a test")["state"] == "halted"
    assert client.reset("over")["state"] == "normal"


def test_orders_and_their_fills_are_heard_as_they_happen(house):
    async def hear():
        heard = []
        async with AsyncClient(house.api, house.key) as client, asyncio.timeout(10):
            stream = client.stream("orders", "fills")
            assert (await anext(stream))["topic"] == "ready"
            assert (await anext(stream))["topic"] == "subscribed"
            order = await client.submit("BTC/USDT", "buy", quantity="0.01", wait_ms=5000)
            while sum(fill["quantity"] for fill in fills(heard)) < order.filled_quantity:
                heard.append(await anext(stream))
            await stream.aclose()
        return order, heard

    order, heard = asyncio.run(hear())
    assert [one["seq"] for one in heard] == list(range(heard[0]["seq"], heard[-1]["seq"] + 1))
    assert {fill["order_id"] for fill in fills(heard)} == {order.id}
    last = [one["data"] for one in heard if one["topic"] == "orders"][-1]
    assert (last["id"], last["status"]) == (order.id, "filled")


def fills(heard):
    """Those that were heard."""
    found = [one["data"] for one in heard if one["topic"] == "fills"]
    return [{**one, "quantity": Decimal(one["quantity"])} for one in found]


@pytest.mark.parametrize(
    ("key", "topics", "code"),
    [(None, ["weather"], "unknown_topic"), ("hean_wrong", ["orders"], "bad_key")],
    ids=["a topic that there is not", "a key that nobody made"],
)
def test_a_stream_that_cannot_be_is_an_error_of_the_router(house, key, topics, code):
    async def hear():
        async with AsyncClient(house.api, key or house.key) as client:
            async with asyncio.timeout(5):
                return [message async for message in client.stream(*topics)]

    with pytest.raises(ApiError) as refused:
        asyncio.run(hear())
    assert refused.value.code == code


def test_a_stream_where_nobody_listens_says_so():
    async def hear():
        async with AsyncClient("http://127.0.0.1:1", "k") as client:
            await anext(client.stream("orders"))

    with pytest.raises(NotRunning):
        asyncio.run(hear())


def test_both_clients_do_the_same_things():
    def names(of):
        return {name for name in vars(of) if not name.startswith("_")}

    assert names(AsyncClient) - names(Client) == {"stream"}
    assert names(Client) <= names(AsyncClient)
    assert issubclass(Client, _Base)


# Where a method is beside the point, its reason.
ELSEWHERE = {
    ("GET", "/v1/stream"): "AsyncClient.stream",
    ("GET", "/docs"): "for people",
}


def test_every_route_is_reached_by_a_method(house, monkeypatch):
    """Ask for all that the client can, without sending; compare with what the router offers."""
    asked = []

    def note(self, call, timeout_s=0.0):
        asked.append((call.method, call.path))
        return {"orders": [], "fills": [], "next_cursor": None}

    with Client(house.api, house.key) as client:
        offered = client.call(running.OPENAPI)["paths"]
        monkeypatch.setattr(Client, "call", note)
        monkeypatch.setattr("hean_router.client.clients.order_of", lambda found: found)
        for name, args in {
            "submit": ("BTC/USDT", "buy"), "preview": ("BTC/USDT", "buy"), "order": ("X",),
            "orders": (), "cancel": ("X",), "cancel_all": (), "fills": (), "instruments": (),
            "fees": (), "venues": (), "risk": (), "strategies": (), "opportunities": (),
            "keys": (), "revoke_key": ("X",), "make_key": ("X", []), "book": ("X",),
            "exposure": (), "positions": (), "balances": (), "kpis": (), "start": ("X",),
            "stop": ("X",), "kill": ("X",), "reset": ("X",), "health": (), "ready": (),
            "metrics": (), "standing": (),
        }.items():  # fmt: skip
            getattr(client, name)(*args)
    routes = {
        (
            method.upper(),
            path.partition("{")[0] + ("X" + path.partition("}")[2] if "{" in path else ""),
        )
        for path, methods in offered.items()
        for method in methods
    }
    assert routes - set(ELSEWHERE) - set(asked) == set()
