"""No secret in anything that the router writes, prints or answers; no account sees another's.

The secrets are those of simulated accounts: long random words, found nowhere by accident.
"""

import asyncio
import json
import logging
import re
import sys
from base64 import b64decode, b64encode
from urllib.parse import quote

import httpx
import pytest

from hean_router.client.calls import ApiError
from tests.system.rig import ROOT, Child, Rig, refused, until, wind_up

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LOUD = (sys.executable, str(ROOT / "tests" / "system" / "loud_run.py"))
# Every kind of bad day between a request and its answer; the books are left alone.
FAULTS = "rest:0.02,late:0.02,acklost:0.05,unknown:0.05,undone:0.05,twice:0.05,cutall:15s"
READ = ("orders", "fills", "instruments", "fees", "venues", "risk", "portfolio/exposure",
        "portfolio/positions", "portfolio/balances", "strategies", "arbitrage/opportunities",
        "kpis", "keys")  # fmt: skip


def secrets_of(venues):
    """Every word that somebody could log in with: `what it is -> bytes that must be nowhere`."""
    out = {}
    for venue, entry in venues.items():
        for account in entry["accounts"]:
            for number, key in enumerate(account["keys"]):
                name = f"{venue} {account['name']} {number}"
                secret = key["secret"]
                if "PRIVATE KEY" in secret:
                    secret = "".join(secret.splitlines()[1:-1])
                out[f"{name} secret"] = secret
                if "passphrase" in key:
                    out[f"{name} passphrase"] = key["passphrase"]
    return out


def leaks(secrets, texts):
    """`{where: [what]}`: secrets found, as they are or as somebody would have dressed them."""
    found = {}
    for what, secret in secrets.items():
        raw = secret.encode()
        dressed = {raw, json.dumps(secret)[1:-1].encode(), quote(secret, safe="").encode()}
        dressed |= {b64encode(raw).rstrip(b"="), raw.hex().encode()}
        if secret.endswith("="):  # a secret that is base64 of the key itself
            key = b64decode(secret)
            dressed |= {key, key.hex().encode()}
        for where, text in texts.items():
            if any(each in text for each in dressed):
                found.setdefault(where, []).append(what)
    return found


def written(rig):
    """All that the router has written down or said; what announces the secrets is left out."""
    files = [path for path in rig.folder.rglob("*") if path.is_file()]
    ours = [
        path
        for path in files
        if path != rig.venues_file and not path.name.startswith(("sim-", "spoiled"))
    ]
    return {str(path.relative_to(rig.folder)): path.read_bytes() for path in ours}


def start_loud(rig):
    """The router, with every logger at DEBUG."""
    words = ["run", "--mode", "live", "--venues-from", str(rig.venues_file)]
    words += ["--state", str(rig.state), "--json"]
    whole = {"WEBSOCKETS_MAX_LOG_SIZE": "100000"}  # frames as they are, not their ends
    rig.router = Child(rig.folder, "router", words, {**rig.env, **whole}, LOUD)
    rig.api = rig.router.first_line()["api"]
    rig.key = json.loads((rig.state / "router.json").read_text())["key"]


def order(number, account, **more):
    return {
        "client_order_id": f"{account}-{number}", "symbol": "BTC/USDT", "side": "buy",
        "type": "market", "quantity": "0.02", **more,
    }  # fmt: skip


class Tenant:
    """A key of an account, and every answer it ever got."""

    def __init__(self, rig, account, key, answers):
        self.account, self.answers = account, answers
        self.http = httpx.AsyncClient(
            base_url=rig.api, headers={"Authorization": f"Bearer {key}"}, trust_env=False,
            timeout=30,
        )  # fmt: skip

    async def ask(self, method, path, **more):
        found = await self.http.request(method, path, **more)
        where = f"{self.account}: {method} {path}"
        self.answers[where] = self.answers.get(where, b"") + found.content + repr(found).encode()
        self.answers[where] += str(found.headers).encode()
        return found

    async def placed(self, number, **more):
        url = "/v1/orders?wait_ms=2000"
        found = await self.ask("POST", url, json=order(number, self.account, **more))
        assert found.status_code in {200, 201}, found.text
        return found.json()


async def tenants(rig, admin, answers):
    """A trader's key in each account."""
    out = []
    for account in ("main", "second"):
        made = await admin.make_key(account, ["read", "trade", "cancel", "risk"])
        out.append(Tenant(rig, account, made["key"], answers))
    return out


async def trade(mine, theirs):
    for number in range(12):
        for one in (mine, theirs):
            side = ("buy", "sell")[number % 2]
            await one.placed(number, side=side)
    far = {"type": "limit", "limit_price": "59000", "time_in_force": "GTC"}
    mid = (await mine.ask("GET", "/v1/books/BTC-USDT")).json()["mid"]
    far["limit_price"] = str(int(float(mid) * 0.99))  # a price, not money of ours
    return await theirs.placed(100, **far)


async def cannot_see(mine, theirs, resting):
    """With every id of the other account in hand, nothing of it is found, read or changed."""
    fills = (await theirs.ask("GET", "/v1/fills?limit=500")).json()["fills"]
    orders = (await theirs.ask("GET", "/v1/orders?limit=500")).json()["orders"]
    assert len(orders) == 13
    assert fills
    shown = {}
    for path in (f"/v1/{what}" for what in READ):
        shown[path] = (await mine.ask("GET", path)).text
        foreign = await mine.ask("GET", f"{path}?account=second")
        assert (
            foreign.status_code in {403, 422} or "account" not in foreign.request.url.query.decode()
        )
    words = [one["id"] for one in orders] + [one["client_order_id"] for one in orders]
    words += [child["id"] for one in orders for child in one["children"] if "id" in child]
    words.append("second")
    for path, text in shown.items():
        assert not [word for word in words if f'"{word}"' in text], path
    for one in orders:
        for name in (one["id"], f"{one['client_order_id']}?by=client"):
            for method in ("GET", "DELETE"):
                found = await mine.ask(method, f"/v1/orders/{name}")
                assert found.status_code == 404, (method, name, found.text)
        found = (await mine.ask("GET", f"/v1/fills?order_id={one['id']}")).json()
        assert found.get("fills", []) == []
    assert resting["id"] not in (await mine.ask("DELETE", "/v1/orders")).text
    still = (await theirs.ask("GET", f"/v1/orders/{resting['id']}")).json()
    assert still["status"] in {"new", "pending_new", "partially_filled", "filled"}, still


async def stream_is_apart(rig, admin_key, mine, theirs):
    """What one account's stream tells while the other trades."""
    from hean_router.client import AsyncClient

    heard = []
    key = mine.http.headers["Authorization"].removeprefix("Bearer ")

    async def listen():
        async with AsyncClient(rig.api, key) as client:
            async for event in client.stream("orders", "fills"):
                heard.append(event)  # noqa: PERF401 - the stream has no end

    listener = asyncio.create_task(listen())
    try:
        await until(lambda: _true(heard), 10, "the stream to stand", rig)
        await theirs.placed(200)
        await mine.placed(200, side="sell")
        await until(lambda: _true("main-200" in str(heard)), 10, "our own order to be told", rig)
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)
    assert "second" not in str(heard)
    return json.dumps(heard).encode()


async def _true(what):
    return bool(what)


async def faults_of_ours(rig, answers):
    """Errors of the client, as text, as repr, as what a traceback shows."""
    for number, key in enumerate(("hean_canary_" + "x" * 40, rig.key[:-1] + "_")):
        async with rig.client(key) as client:
            fault = await refused(client.balances())
            assert isinstance(fault, ApiError)
            answers[f"error {number}"] = f"{fault} {fault!r} {vars(fault)}".encode()
            assert key.encode() not in answers[f"error {number}"]
            assert key not in repr(client)


def test_a_client_at_debug_does_not_tell_its_key(caplog):
    """Its stream opens with the key in a header, which the library would print."""
    from websockets.asyncio.server import serve

    from hean_router.client import AsyncClient

    async def main():
        async def answer(socket):
            await socket.send('{"topic":"ready","seq":0,"data":{}}')

        apart = logging.Logger("server")  # noqa: LOG001 - what the server prints is no matter here
        async with serve(answer, "127.0.0.1", 0, logger=apart) as server:
            port = server.sockets[0].getsockname()[1]
            async with AsyncClient(f"http://127.0.0.1:{port}", "hean_canary_key") as client:
                async for event in client.stream("orders"):
                    assert event["topic"] == "ready"

    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "hean_router.client.clients.wire"):
        caplog.set_level(logging.DEBUG, logger=name)
    asyncio.run(main())
    assert "hean_canary_key" not in caplog.text


def test_the_finder_finds():
    here = {"secret": "c0ffee+/c0ffee", "passphrase": "open sesame"}, {"secret": "AQIDBAUGBwg="}
    venues = {"okx": {"accounts": [{"name": "main", "keys": here}]}}
    secrets = secrets_of(venues)
    for text in (b"x c0ffee+/c0ffee x", b"a=c0ffee%2B%2Fc0ffee", b"open sesame",
                 b"0102030405060708", b"\x01\x02\x03\x04\x05\x06\x07\x08"):  # fmt: skip
        assert leaks(secrets, {"there": text}), text
    assert not leaks(secrets, {"there": b"c0ffee", "here": b"sesame"})


@pytest.mark.parametrize("scheme", ["hmac", "ed25519"])
def test_no_secret_is_told_and_no_account_sees_another(tmp_path, scheme):
    answers = {}
    with Rig(tmp_path, seed=41, symbols=("BTC/USDT", "ETH/USDT"), faults=FAULTS) as rig:
        for account in rig.announced["binance"]["accounts"]:
            account["keys"].sort(key=lambda key: key["scheme"] != scheme)
        rig.tell_venues(rig.announced)
        secrets = secrets_of(rig.announced)
        start_loud(rig)

        async def drive():
            async with rig.client() as admin:
                await rig.ready(admin, 3)
                mine, theirs = await tenants(rig, admin, answers)
                async with mine.http, theirs.http:
                    resting = await trade(mine, theirs)
                    await cannot_see(mine, theirs, resting)
                    answers["stream"] = await stream_is_apart(rig, rig.key, mine, theirs)
                    for path in ("/metrics", "/health", "/ready", "/openapi.json", "/docs"):
                        await mine.ask("GET", path)
                    await mine.ask("POST", "/v1/orders", content=b"{")
                    await mine.ask("POST", "/v1/orders", json=order(900, "main", quantity="-1"))
                    keys = [one.http.headers["Authorization"][7:] for one in (mine, theirs)]
                await faults_of_ours(rig, answers)
                await wind_up(admin, rig)
            return keys

        tokens = asyncio.run(drive())
        for words in (("keys", "list"), ("orders",), ("positions",), ("exposure",), ("fills",)):
            code, out, err = rig.hean(*words, "--state", str(rig.state))
            answers["hean " + " ".join(words)] = (out + err).encode()
            assert code == 0, (words, out, err)
        rig.router.stop()
        # A bad login at every venue: what was wrong is told, what was sent is not.
        spoiled = json.loads(json.dumps(rig.announced))
        for entry in spoiled.values():
            for key in (key for account in entry["accounts"] for key in account["keys"]):
                if "PRIVATE" not in key["secret"]:
                    key["secret"] = key["secret"][4:12] + key["secret"][8:]
                if "passphrase" in key:
                    key["passphrase"] = "Wrong" + key["passphrase"][::-1]
        rig.tell_venues(spoiled)
        secrets |= {f"spoiled {name}": secret for name, secret in secrets_of(spoiled).items()}
        start_loud(rig)

        async def fail():
            async with rig.client() as admin:

                async def told():
                    found = (await admin.read("venues"))["venues"]
                    return sum(bool(one["why"]) for one in found) >= 3

                await until(told, 30, "logins to fail", rig)
                await asyncio.sleep(3)  # so that they are tried again
                mine, theirs = await tenants(rig, admin, answers)
                async with mine.http, theirs.http:
                    for path in ("/metrics", "/health", "/ready", "/v1/venues"):
                        await mine.ask("GET", path)
                    await mine.ask("POST", "/v1/orders", json=order(901, "main"))

        asyncio.run(fail())
        rig.router.stop()
        texts = {**written(rig), **answers}

    said = texts["router.err"].decode(errors="replace")
    loud = set(re.findall(r"^\S+ \S+ DEBUG (\S+)", said, re.MULTILINE))
    assert len(loud) >= 3, f"hardly anybody was loud: {loud}"
    assert any(b"main-1" in text for name, text in texts.items() if "journal" in name)
    assert not (found := leaks(secrets, texts)), found
    # Keys of people: told once by whoever made them, and nowhere else.
    theirs = {f"token {number}": token for number, token in enumerate([*tokens, rig.key])}
    allowed = {"state/router.json", "router.out"}
    found = {where: what for where, what in leaks(theirs, texts).items() if where not in allowed}
    assert not found, found
    assert not re.findall(r'"token" ?: ?"[^"*]{8,}', said), "Kraken's tokens open its sockets"
