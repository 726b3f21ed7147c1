"""Bad input and bad days: one typed error each, nothing lost, no order half-sent.

By HTTP and by command line at a router in a process of its own; what reached the venues is told by
their logs.  Errors have one shape: `{"error": {"code", "message", "fix", "details"}}`.
"""

import asyncio
import json
import resource
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from hean_router.client.calls import ApiError
from tests.checker.venue_logs import read_logs
from tests.system.rig import Rig, collect, refused, until, wind_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GOOD = {
    "client_order_id": "bad-1",
    "symbol": "BTC/USDT",
    "side": "buy",
    "type": "market",
    "quantity": "0.01",
}
LIMIT = {**GOOD, "type": "limit", "limit_price": "61000"}
# So that funds run out before a limit does; one symbol keeps a limit of its own.
ROOM = {
    f"HEAN_LIMITS__{name}": "off"
    for name in (
        *("ORDER_NOTIONAL_MAX", "GATE__ORDER_NOTIONAL_MAX"),
        *("PARENT_NOTIONAL_MAX", "GROSS_MAX", "NET_MAX"),
        *("EACH_ACCOUNT__GROSS_MAX", "EACH_ACCOUNT__NET_MAX"),
        *("EACH_VENUE__GROSS_MAX", "EACH_VENUE__NET_MAX"),
        *("EACH_SYMBOL__POSITION_MAX", "EACH_SYMBOL__GROSS_MAX", "EACH_SYMBOL__NET_MAX"),
    )
} | {"HEAN_LIMITS__SYMBOL": json.dumps({"SOL/USDT": {"parent_notional_max": 10_000}})}


def without(body: dict, *names: str) -> dict:
    return {name: value for name, value in body.items() if name not in names}


def shape(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error; AssertionError for an answer of another shape."""
    body = response.json()
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"code", "message", "fix", "details"}, body
    assert body["error"]["message"], body
    return response.status_code, body["error"]["code"]


# ------------------------------------------------------------------------- bad input


@pytest.fixture(scope="module")
def strict(tmp_path_factory) -> Iterator[Rig]:
    """A router that must not place anything: whatever the tests asked, no venue has seen it."""
    with Rig(tmp_path_factory.mktemp("strict"), seed=31, env=ROOM) as rig:
        rig.start_router()

        async def stands() -> None:
            async with rig.client() as client:
                await rig.ready(client)

        async def end() -> dict[str, Any]:
            async with rig.client() as client:
                return await collect(client)

        asyncio.run(stands())
        yield rig
        answers = asyncio.run(end())
        rig.judge(answers)
        assert answers["orders"] == []
        for log in read_logs(rig.logs).values():
            assert (list(log.orders), log.refusals) == ([], []), f"{log.venue} was asked"
        rig.router.stop()
        assert "Traceback" not in rig.router.said(), rig.router.said()


MALFORMED = [  # body, headers over the usual ones, status, code
    (b"", {}, 400, "malformed_json"),
    (b"{", {}, 400, "malformed_json"),
    (b"[]", {}, 400, "malformed_json"),
    (b"\xff\xfe", {}, 400, "malformed_json"),
    (b'{"a":' * 5_000, {}, 400, "malformed_json"),  # a parser that recurses would fall
    (b'{"a": NaN}', {}, 400, "malformed_json"),  # Python's own reader takes it
    (b'{"side":"buy","side":"sell"}', {}, 400, "malformed_json"),  # which one was meant?
    (b" " * 70_000, {}, 413, "body_too_large"),
    (b"{}", {}, 422, "invalid_field"),
    (GOOD, {"Content-Type": "text/plain"}, 415, "not_json"),
    (GOOD, {"Authorization": ""}, 401, "no_key"),
    (GOOD, {"Authorization": "Basic eHg6eXk="}, 401, "no_key"),
    (GOOD, {"Authorization": "Bearer hean_nobody_knows_it"}, 401, "bad_key"),
]


@pytest.mark.parametrize(("body", "headers", "status", "code"), MALFORMED)
def test_what_cannot_be_read_is_refused(strict, body, headers, status, code):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = {"Authorization": f"Bearer {strict.key}", "Content-Type": "application/json"}
    response = httpx.post(
        f"{strict.api}/v1/orders", content=content, headers=usual | headers, trust_env=False
    )
    assert shape(response) == (status, code), response.text


REFUSED = [  # body, status, code
    # Not followed, not a pair, not spot.
    ({**GOOD, "symbol": "FOO/BAR"}, 422, "unknown_symbol"),
    ({**GOOD, "symbol": "BTCUSDT"}, 422, "invalid_field"),
    ({**GOOD, "symbol": "BTC/USDT:USDT"}, 422, "invalid_order"),
    # Quantities: no venue has that small a lot, or takes that small an order.
    ({**GOOD, "quantity": "0.00000001"}, 422, "below_minimum"),
    ({**without(GOOD, "quantity"), "quote_quantity": "0.01"}, 422, "below_minimum"),
    ({**GOOD, "quantity": "0.0000000001"}, 422, "off_lot"),
    ({**GOOD, "quantity": "0.012345678912"}, 422, "off_lot"),
    ({**GOOD, "quantity": "0"}, 422, "invalid_field"),
    ({**GOOD, "quantity": "-1"}, 422, "invalid_field"),
    ({**GOOD, "quantity": "NaN"}, 422, "invalid_field"),
    ({**GOOD, "quantity": "Infinity"}, 422, "invalid_field"),
    ({**GOOD, "quantity": "1e-2"}, 422, "invalid_field"),
    ({**GOOD, "quantity": "١"}, 422, "invalid_field"),  # a digit, but not one that venues know
    ({**GOOD, "quantity": "9" * 400}, 422, "invalid_field"),
    ({**GOOD, "quantity": 0.01}, 422, "invalid_field"),  # a float is not what was typed
    ({**GOOD, "quantity": True}, 422, "invalid_field"),
    # What contradicts itself.
    (without(GOOD, "quantity"), 422, "invalid_order"),
    ({**GOOD, "quote_quantity": "100"}, 422, "invalid_order"),
    (without(LIMIT, "limit_price"), 422, "invalid_order"),
    ({**GOOD, "time_in_force": "GTC"}, 422, "invalid_order"),
    ({**LIMIT, "time_in_force": "GTD"}, 422, "invalid_order"),
    (
        {**LIMIT, "time_in_force": "GTD", "expire_time": "2020-01-01T00:00:00Z"},
        422,
        "invalid_order",
    ),
    ({**LIMIT, "time_in_force": "IOC", "post_only": True}, 422, "invalid_order"),
    ({**GOOD, "side": "hold"}, 422, "invalid_field"),
    ({**GOOD, "colour": "red"}, 422, "invalid_field"),
    ({**GOOD, "client_order_id": "../../etc"}, 422, "invalid_field"),
    ({**GOOD, "client_order_id": "x" * 65}, 422, "invalid_field"),
    ({**GOOD, "client_order_id": "a\u0000b"}, 422, "invalid_field"),
    # Venues.
    ({**GOOD, "venues": {"include": ["nyse"]}}, 422, "unknown_venue"),
    ({**GOOD, "venues": {"include": ["okx"], "exclude": ["okx"]}}, 422, "nothing_to_route"),
    # More than there is; further than is allowed.
    ({**GOOD, "quantity": "400"}, 422, "insufficient_funds"),
    ({**GOOD, "side": "sell", "quantity": "41"}, 422, "insufficient_funds"),
    ({**GOOD, "symbol": "SOL/USDT", "quantity": "100"}, 422, "limit_parent_notional"),
    ({**LIMIT, "limit_price": "90000"}, 422, "collar"),
    ({**LIMIT, "side": "sell", "limit_price": "30000"}, 422, "collar"),
]


@pytest.mark.parametrize(("body", "status", "code"), REFUSED)
def test_what_cannot_be_done_is_refused(strict, body, status, code):
    headers = {"Authorization": f"Bearer {strict.key}"}
    response = httpx.post(f"{strict.api}/v1/orders", json=body, headers=headers, trust_env=False)
    assert shape(response) == (status, code), response.text


COMMANDS = [  # words, environment, exit code, code in the answer
    (("submit", "FOO/BAR", "buy", "1"), {}, 2, "unknown_symbol"),
    (("submit", "BTC/USDT", "buy", "0.00000001"), {}, 2, "below_minimum"),
    (("submit", "BTC/USDT", "buy", "0.0000000001"), {}, 2, "off_lot"),
    (("submit", "BTC/USDT", "buy", "much"), {}, 2, "invalid_field"),
    (("submit", "BTC/USDT", "sell", "41"), {}, 5, "insufficient_funds"),
    (("submit", "SOL/USDT", "buy", "100"), {}, 5, "limit_parent_notional"),
    (("submit", "BTC/USDT", "buy", "0.01", "--limit", "90000"), {}, 5, "collar"),
    (("submit", "BTC/USDT", "buy", "0.01"), {"HEAN_KEY": "hean_not_this_one"}, 4, "bad_key"),
    (("cancel", "zzzzzzzz"), {}, 2, "unknown_order"),
]


@pytest.mark.parametrize(("words", "env", "code", "reason"), COMMANDS)
def test_a_command_says_why_and_ends_with_its_code(strict, words, env, code, reason):
    ended, out, err = strict.hean(*words, "--json", env=env)
    assert ended == code, (out, err)
    assert json.loads(out)["error"]["reason"] == reason
    assert reason in err


def test_a_key_does_only_what_it_may(strict):
    async def body() -> None:
        async with strict.client() as client:
            made = await client.make_key("main", ["read"], "looks on")
        async with strict.client(made["key"]) as client:
            assert await client.orders() == []
            for asked in (client.submit("BTC/USDT", "buy", quantity="0.01"), client.cancel_all()):
                fault = await refused(asked)
                assert (fault.status, fault.code) == (403, "missing_scope")
            assert (await refused(client.kill("mine"))).code == "missing_scope"

    asyncio.run(body())


# ------------------------------------------------------------------------- keys at the venues


def test_without_keys_nothing_is_taken(tmp_path):
    async def body(rig: Rig) -> None:
        async with rig.client() as client:
            await asyncio.sleep(1)
            assert not await client.ready()
            fault = await refused(client.submit("BTC/USDT", "buy", quantity="0.01"))
            assert fault.code in {"nothing_to_route", "not_reconciled", "not_ready"}, fault

    with Rig(tmp_path, seed=32, venues=("okx", "bybit")) as rig:
        bare = {name: without(one, "accounts", "keys") for name, one in rig.announced.items()}
        rig.tell_venues(bare)
        rig.start_router()
        asyncio.run(body(rig))
        rig.router.stop()


def test_a_wrong_key_shuts_one_venue_and_is_told_to_nobody(tmp_path):
    async def body(rig: Rig) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client, at_least=3)
            venues = {one["venue"]: one for one in (await client.read("venues"))["venues"]}
            assert not venues["okx"]["ready"]
            assert venues["okx"]["why"]
            fault = await refused(
                client.submit("BTC/USDT", "buy", quantity="0.01", include=["okx"])
            )
            assert fault.code in {"venue_unhealthy", "not_reconciled", "nothing_to_route"}, fault
            order = await client.submit("BTC/USDT", "buy", quantity="0.01", wait_ms=5_000)
            assert order.status == "filled"
            await wind_up(client, rig)
            return await collect(client)

    with Rig(tmp_path, seed=33) as rig:
        spoiled = json.loads(json.dumps(rig.announced))
        for account in spoiled["okx"]["accounts"]:
            for key in account["keys"]:
                key["secret"] = "c0ffee" + key["secret"][6:]
        rig.tell_venues(spoiled)
        rig.start_router()
        rig.judge(asyncio.run(body(rig)))
        rig.router.stop()
        told = rig.router.said() + rig.router.out.read_text()
        secrets = [key["secret"] for one in spoiled["okx"]["accounts"] for key in one["keys"]]
        assert not [secret for secret in secrets if secret in told]
        assert "Traceback" not in told


# ------------------------------------------------------------------------- a venue that is down


def test_a_dead_venue_is_refused_and_left_out(tmp_path):
    async def body(rig: Rig) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client)
            rig.sims["okx"].kill()

            async def noticed() -> bool:
                fault = await refused(
                    client.preview("BTC/USDT", "buy", quantity="0.01", include=["okx"])
                )
                return fault.code in {"venue_unhealthy", "no_live_book", "not_reconciled"}

            await until(noticed, 30, "the dead venue to be noticed", rig)
            fault = await refused(
                client.submit("BTC/USDT", "buy", quantity="0.01", include=["okx"])
            )
            assert fault.code in {"venue_unhealthy", "no_live_book", "not_reconciled"}, fault
            assert fault.status == 503
            order = await client.submit("BTC/USDT", "buy", quantity="0.5", wait_ms=5_000)
            assert order.status == "filled", order.raw
            assert "okx" not in {child.venue for child in order.children}
            assert await client.ready()
            await wind_up(client, rig)
            return await collect(client)

    with Rig(tmp_path, seed=34, apart=True) as rig:
        rig.start_router()
        rig.judge(asyncio.run(body(rig)))
        rig.router.stop()


def test_a_venue_that_freezes_with_orders_in_it_is_told_of_when_it_thaws(tmp_path):
    """What it took before, during and after is unknown for a while, and counted once."""

    async def body(rig: Rig) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client)
            taken = []
            for number in range(40):
                if number == 10:
                    rig.sims["bybit"].process.send_signal(signal.SIGSTOP)
                try:
                    order = await client.submit(
                        "ETH/USDT",
                        "buy",
                        quantity="0.2",
                        client_order_id=f"f{number}",
                        max_share="0.5",
                        include=["bybit", "okx"],
                    )
                    taken.append(order.client_order_id)
                except ApiError as fault:
                    # Once it is known to be gone, half of an order may have nowhere to go.
                    assert fault.code in {"nothing_to_route", "no_live_book"}, fault  # noqa: PT017
                await asyncio.sleep(0.02)
            await asyncio.sleep(4)  # beyond every deadline of what was on its way
            rig.sims["bybit"].process.send_signal(signal.SIGCONT)
            assert len(taken) > 20
            await rig.ready(client)
            await wind_up(client, rig)
            return await collect(client, submitted=taken)

    with Rig(tmp_path, seed=35, apart=True) as rig:
        rig.start_router()
        answers = asyncio.run(body(rig))
        print(rig.judge(answers))
        assert "bybit" in {fill["venue"] for fill in answers["fills"]}
        rig.router.stop()


# ------------------------------------------------------------------------- clocks


def test_a_venue_whose_clock_is_a_minute_off_gets_no_orders(tmp_path):
    """Deadlines of orders would mean nothing there; the other venues trade."""

    async def body(rig: Rig) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client, at_least=2)
            venues = {one["venue"]: one for one in (await client.read("venues"))["venues"]}
            for venue, ahead_s in rig.ahead_s.items():
                assert not venues[venue]["ready"]
                assert "clock" in venues[venue]["why"], venues[venue]
                assert abs(float(venues[venue]["clock_offset_ms"]) / 1000 - ahead_s) < 2
                fault = await refused(
                    client.submit("BTC/USDT", "buy", quantity="0.01", include=[venue])
                )
                assert fault.status == 503, fault
                assert fault.code in {"clock_unsure", "venue_unhealthy", "not_reconciled"}, fault
            order = await client.submit("BTC/USDT", "buy", quantity="0.3", wait_ms=5_000)
            assert order.status == "filled", order.raw
            assert {child.venue for child in order.children} <= {"binance", "bybit"}
            await wind_up(client, rig)
            return await collect(client)

    with Rig(tmp_path, seed=39, ahead_s={"okx": 60, "kraken": -60}) as rig:
        rig.start_router()
        rig.judge(asyncio.run(body(rig)))
        rig.router.stop()
        for venue in rig.ahead_s:
            assert not read_logs(rig.logs)[venue].orders


def test_a_machine_whose_clock_is_a_minute_off_trades_nowhere(tmp_path):
    async def body(rig: Rig) -> None:
        async with rig.client() as client:

            async def told() -> bool:
                venues = (await client.read("venues"))["venues"]
                return all("clock" in one["why"] for one in venues)

            await until(told, 20, "the clock to be found off", rig)
            assert not await client.ready()
            fault = await refused(client.submit("BTC/USDT", "buy", quantity="0.01"))
            assert fault.status == 503, fault
            assert fault.code in {"clock_unsure", "venue_unhealthy", "not_reconciled"}, fault

    ahead = dict.fromkeys(("okx", "bybit"), 60)
    with Rig(tmp_path, seed=40, venues=("okx", "bybit"), ahead_s=ahead) as rig:
        rig.start_router()
        asyncio.run(body(rig))
        rig.router.stop()
        assert not _orders(rig)


# ------------------------------------------------------------------------- the disk is full


def test_a_full_disk_stops_orders_and_not_cancels(tmp_path):
    """No byte more can be written, to any file of the router; then it can again."""

    async def body(rig: Rig) -> dict[str, Any]:
        async with rig.client() as client:
            await rig.ready(client)
            resting = await client.submit(
                "BTC/USDT", "buy", quantity="0.01", limit_price="61000", wait_ms=500
            )
            taken = [resting.client_order_id]
            before = {log.venue: len(log.orders) for log in read_logs(rig.logs).values()}
            pid = rig.router.process.pid
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
            for number in range(20):
                fault = await refused(
                    client.submit(
                        "BTC/USDT", "buy", quantity="0.01", client_order_id=f"full-{number}"
                    )
                )
                assert (fault.status, fault.code) == (503, "journal_unavailable"), fault
            assert not await client.ready()
            await client.cancel(resting.id)

            async def cancelled() -> bool:
                return any(order.ended_ns for order in _orders(rig))

            await until(cancelled, 10, "the cancel to reach the venue", rig)
            after = {log.venue: len(log.orders) for log in read_logs(rig.logs).values()}
            assert after == before, "an order left without being written down"

            resource.prlimit(
                pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )
            await until(client.ready, 10, "orders to be taken again", rig)
            order = await client.submit(
                "BTC/USDT", "buy", quantity="0.01", client_order_id="again", wait_ms=5_000
            )
            assert order.status == "filled"
            await wind_up(client, rig)
            return await collect(client, submitted=[*taken, "again"])

    with Rig(tmp_path, seed=36) as rig:
        rig.start_router()
        answers = asyncio.run(body(rig))
        rig.router.stop()
        print(rig.judge(answers))
        filled = [one for one in answers["orders"] if one["filled_quantity"] != "0"]
        assert [one["client_order_id"] for one in filled] == ["again"]


def _orders(rig: Rig) -> list[Any]:
    return [order for log in read_logs(rig.logs).values() for order in log.orders.values()]


# ------------------------------------------------------------------------- nobody home


@pytest.mark.parametrize("words", [("submit", "BTC/USDT", "buy", "0.01"), ("orders",)])
def test_without_a_router_a_command_says_how_to_start_one(words, tmp_path):
    rig = Rig(tmp_path, seed=37)
    code, out, err = rig.hean(*words, "--json")
    assert code == 1, (out, err)
    assert "hean run" in json.loads(out)["error"]["fix"]


def test_a_journal_that_was_edited_is_not_traded_on(tmp_path):
    async def body(rig: Rig) -> None:
        async with rig.client() as client:
            await rig.ready(client)
            await client.submit("BTC/USDT", "buy", quantity="0.01", wait_ms=5_000)

    with Rig(tmp_path, seed=38, venues=("okx", "bybit")) as rig:
        rig.start_router()
        asyncio.run(body(rig))
        rig.router.stop()
        spoil(rig.journal)
        rig.start_router_in_vain("is not what was written")


def spoil(journal: Path) -> None:
    db = sqlite3.connect(journal)
    db.execute(
        "UPDATE rows SET body = CAST(replace(body, 'main', 'mine') AS BLOB) "
        "WHERE kind = 'parent_placed'"
    )
    db.commit()
    db.close()
