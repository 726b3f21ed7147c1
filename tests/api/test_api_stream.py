"""The stream and the server, over real sockets on loopback."""

import asyncio
import contextlib
import json
import ssl

import httpx
import pytest
import websockets

from hean_router.api import Caps, serve
from hean_router.domain.errors import CommandError
from tests.api.house import PAIRS, in_house, order, until


async def told(socket, topic, fits=lambda _data: True):
    """The next message of `topic` that fits."""
    async with asyncio.timeout(5):
        while True:
            message = json.loads(await socket.recv())
            if message.get("topic") == topic and fits(message["data"]):
                return message["data"]


async def drained(socket):
    """Read until it is closed."""
    async with asyncio.timeout(10):
        while True:
            await socket.recv()


def over_sockets(test, **options):
    async def inner(house):
        async with serve(house.app) as url:
            await test(house, url, url.replace("http", "ws") + "/v1/stream")

    in_house(inner, **options)


async def entered(ws, key, *topics):
    socket = await websockets.connect(ws)
    await socket.send(json.dumps({"op": "auth", "key": key}))
    await told(socket, "ready")
    await socket.send(json.dumps({"op": "subscribe", "topics": topics}))
    await told(socket, "subscribed")
    return socket


def test_orders_fills_risk_and_books_are_told_as_they_happen():
    async def test(house, url, ws):
        key = house.key()
        socket = await entered(ws, key, "orders", "fills", "risk", "books:BTC-USDT")
        book = await told(socket, "books:BTC/USDT")
        assert book["asks"][0]["price"] == "60001"
        house.show("alpha", PAIRS[0], bids=[(59_000_00, 100)], asks=[(59_500_00, 5_0000)])
        book = await told(socket, "books:BTC/USDT", lambda b: b["asks"][0]["price"] == "59500")
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as http:
            found = (await http.post(url + "/v1/orders?wait_ms=5000", json=order())).json()
            fill = await told(socket, "fills")
            assert (fill["order_id"], fill["quantity"]) == (found["id"], "0.01")
            ended = await told(socket, "orders", lambda one: one["status"] == "filled")
            assert ended["id"] == found["id"]
            await http.post(url + "/v1/risk/kill", json={"reason": "seen"})
            assert (await told(socket, "risk"))["state"] == "halted"
        await socket.close()

    over_sockets(test)


def test_one_account_hears_nothing_of_the_other():
    async def test(house, url, ws):
        socket = await entered(ws, house.key("other"), "orders", "fills")
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {house.key()}"}) as http:
            assert (await http.post(url + "/v1/orders?wait_ms=5000", json=order())).is_success
        await socket.send(json.dumps({"op": "subscribe", "topics": ["risk"]}))
        async with asyncio.timeout(5):
            message = json.loads(await socket.recv())  # the first thing heard since
        assert message["topic"] == "subscribed"
        await socket.close()

    over_sockets(test)


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ({"op": "auth", "key": "nonsense"}, "bad_key"),
        ({"op": "subscribe", "topics": ["orders"]}, "invalid_field"),
        ({"op": "auth", "key": 7}, "invalid_field"),
        ([], "malformed_json"),
        ("{", "malformed_json"),
    ],
)
def test_without_a_key_nothing_is_heard(first, code):
    async def test(house, url, ws):
        async with websockets.connect(ws) as socket:
            await socket.send(first if isinstance(first, str) else json.dumps(first))
            async with asyncio.timeout(5):
                wrong = json.loads(await socket.recv())["error"]
                assert wrong["code"] == code
                with pytest.raises(websockets.ConnectionClosedError) as closed:
                    await socket.recv()
            assert closed.value.rcvd.code == 4401
            assert code in closed.value.rcvd.reason
        assert not house.trading._subscriptions

    over_sockets(test)


def test_a_header_is_as_good_and_a_scope_is_needed():
    async def test(house, url, ws):
        good = {"Authorization": f"Bearer {house.key(scopes=['read'])}"}
        async with websockets.connect(ws, additional_headers=good) as socket:
            assert (await told(socket, "ready"))["account"] == "main"
        bad = {"Authorization": f"Bearer {house.key(scopes=['trade'])}"}
        async with websockets.connect(ws, additional_headers=bad) as socket:
            assert json.loads(await socket.recv())["error"]["code"] == "missing_scope"

    over_sockets(test)


def test_what_cannot_be_subscribed_is_said_and_the_stream_goes_on():
    async def test(house, url, ws):
        socket = await entered(ws, house.key(), "risk")
        for message, code in (
            ({"op": "subscribe", "topics": ["nothing"]}, "unknown_topic"),
            ({"op": "subscribe", "topics": ["books:DOGE/USDT"]}, "unknown_topic"),
            ({"op": "subscribe", "topics": []}, "invalid_field"),
            ({"op": "shout", "topics": ["risk"]}, "invalid_field"),
            ({"op": "subscribe", "topics": ["risk"], "x": 1}, "invalid_field"),
        ):
            await socket.send(json.dumps(message))
            assert (await told(socket, "error"))["code"] == code
        await socket.send("[[[")
        assert (await told(socket, "error"))["code"] == "malformed_json"
        house.trading.kill("a test", "me")
        assert (await told(socket, "risk"))["state"] == "halted"
        await socket.close()

    over_sockets(test)


def test_a_slow_reader_is_cut_and_told_why():
    async def test(house, url, ws):
        socket = await entered(ws, house.key(), "risk")
        # All in one turn of the loop: nobody could have read in between.
        for number in range(300):
            house.trading.reset(f"number {number}", "me")
        await asyncio.sleep(0)
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await drained(socket)
        assert closed.value.rcvd.code == 4408
        assert "slow_reader" in closed.value.rcvd.reason
        await until(lambda: not house.trading._subscriptions)

    over_sockets(test, caps=Caps(rate=0, stream_queue=50))


def test_streams_of_one_key_are_counted_and_given_back():
    async def test(house, url, ws):
        key = house.key()
        one, two = await entered(ws, key, "risk"), await entered(ws, key, "risk")
        async with websockets.connect(ws) as third:
            await third.send(json.dumps({"op": "auth", "key": key}))
            assert json.loads(await third.recv())["error"]["code"] == "too_many_streams"
        await one.close()
        await until(lambda: house.app.state.wall.streams.get(key.split("_")[1]) == 1)
        await (await entered(ws, key, "risk")).close()
        await two.close()

    over_sockets(test, caps=Caps(rate=0, streams=2))


def test_a_revoked_key_hears_no_more():
    async def test(house, url, ws):
        key = house.key()
        socket = await entered(ws, key, "orders")
        house.trading.revoke_key(key.split("_")[1])
        with pytest.raises(websockets.ConnectionClosedError) as closed:
            await drained(socket)
        assert closed.value.rcvd.code == 4410

    over_sockets(test)


# ------------------------------------------------------------------------- the server


def test_the_server_is_reached_and_lets_go_of_its_port():
    async def test(house):
        async with serve(house.app) as url, httpx.AsyncClient() as http:
            assert url.startswith("http://127.0.0.1:")
            assert (await http.get(url + "/health")).status_code == 200
            port = int(url.rpartition(":")[2])
            with pytest.raises(CommandError, match=str(port)):
                async with serve(house.app, port=port):
                    pass
        async with serve(house.app, port=port) as again:
            assert again == url

    in_house(test)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "router.example"])
def test_nobody_else_is_let_in_without_tls(host):
    async def test():
        with pytest.raises(CommandError, match="open to others"):
            async with serve(None, host):
                pass

    asyncio.run(test())


def test_an_explicit_flag_opens_it_and_tls_needs_both_files(tmp_path):
    async def test(house):
        async with serve(house.app, "0.0.0.0", expose=True) as url, httpx.AsyncClient() as http:
            port = url.rpartition(":")[2]
            assert (await http.get(f"http://127.0.0.1:{port}/health")).status_code == 200
        with pytest.raises(CommandError, match="certificate"):
            async with serve(house.app, "0.0.0.0", cert=tmp_path / "no.pem"):
                pass
        with pytest.raises(CommandError, match="TLS"):
            async with serve(
                house.app, "0.0.0.0", cert=tmp_path / "no.pem", key=tmp_path / "no.key"
            ):
                pass

    in_house(test)


def test_tls_serves_https(tmp_path):
    from tests.api.paper_certificate import certificate

    cert, key = certificate(tmp_path)

    async def test(house):
        trust = ssl.create_default_context(cafile=str(cert))
        async with (
            serve(house.app, "localhost", cert=cert, key=key) as url,
            httpx.AsyncClient(verify=trust) as http,
        ):
            assert url.startswith("https://")
            assert (await http.get(url + "/health")).status_code == 200

    in_house(test)


def test_headers_without_end_are_refused_and_the_server_lives():
    async def test(house):
        async with serve(house.app) as url:
            host, port = url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 40_000)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
                async with asyncio.timeout(5):
                    assert b"400" in await reader.readline()
            writer.close()
            async with httpx.AsyncClient() as http:
                assert (await http.get(url + "/health")).status_code == 200

    in_house(test)
