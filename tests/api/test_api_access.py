"""Who may do what: each route with each scope, two tenants, bad keys, caps, secrets."""

import re

import pytest

from hean_router.api import Caps
from hean_router.api.schemas import ErrorOut
from tests.api.house import ALL, in_house, order

BODY = {
    "OrderIn": order(),
    "ReasonIn": {"reason": "test"},
    "StartIn": {},
    "StopIn": {},
    "KeyIn": {"account": "main", "scopes": ["read"]},
}


def operations(app):
    """(method, path, scope, body) of every operation that is documented."""
    for path, methods in app.openapi()["paths"].items():
        for method, one in methods.items():
            body = None
            if "requestBody" in one:
                ref = one["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                body = BODY[ref.rpartition("/")[2]]
            yield method.upper(), path, one.get("x-scope"), body


def filled(path: str) -> str:
    return re.sub(r"\{symbol\}", "BTC-USDT", re.sub(r"\{(?!symbol)\w+\}", "nothing", path))


def test_each_route_with_each_scope():
    async def test(house):
        found = list(operations(house.app))
        assert len(found) > 25
        open_to_all = {path for _, path, scope, _ in found if scope is None}
        assert open_to_all == {"/health", "/ready", "/metrics"}
        for scope in ALL:
            async with house.client(house.key(scopes=[scope])) as http:
                for method, path, needed, body in found:
                    if needed is None:
                        continue
                    got = await http.request(method, filled(path), json=body)
                    told = got.json().get("error", {}).get("code")
                    allowed = needed == scope
                    assert (told != "missing_scope") is allowed, (method, path, scope, got.text)
                    assert allowed or got.status_code == 403
        async with house.client() as http:
            for method, path, needed, body in found:
                if needed is not None:
                    got = await http.request(method, filled(path), json=body)
                    assert got.status_code == 401, (method, path)
                    assert ErrorOut.model_validate(got.json()).error.code == "no_key"
                    assert got.headers["www-authenticate"] == "Bearer"

    in_house(test)


def test_no_key_comes_before_what_is_wrong_with_the_body():
    async def test(house):
        async with house.client() as http:
            found = await http.post("/v1/orders?nonsense=1", content=b"{", headers={})
            assert found.status_code == 401

    in_house(test)


def test_two_tenants_with_all_ids_swapped():
    async def test(house):
        mine, theirs = house.client(house.key()), house.client(house.key("other"))
        async with mine, theirs:
            done = (await theirs.post("/v1/orders?wait_ms=5000", json=order())).json()
            rest = order(2, limit_price="59000", time_in_force="GTC")
            resting = (await theirs.post("/v1/orders", json=rest)).json()
            assert done["status"] == "filled"
            ids = [done["id"], resting["id"]]
            for name in ids:
                for method in ("GET", "DELETE"):
                    found = await mine.request(method, f"/v1/orders/{name}")
                    # As if it had never been.
                    never = await mine.request(method, "/v1/orders/zzzzzzzz")
                    assert (found.status_code, never.status_code) == (404, 404)
                    swap = found.text.replace(name, "zzzzzzzz")
                    assert swap == never.text
            for name in ("c-1", "c-2"):
                assert (await mine.get(f"/v1/orders/{name}?by=client")).status_code == 404
                assert (await mine.delete(f"/v1/orders/{name}?by=client")).status_code == 404
            assert (await mine.get("/v1/orders")).json()["orders"] == []
            assert (await mine.get("/v1/fills")).json()["fills"] == []
            assert (await mine.get(f"/v1/fills?order_id={done['id']}")).json()["fills"] == []
            assert (await mine.get("/v1/portfolio/positions")).json()["positions"] == []
            assert (await mine.delete("/v1/orders")).json() == {"cancelled": []}
            for path in (
                "/v1/portfolio/balances",
                "/v1/portfolio/exposure",
                "/v1/venues",
                "/v1/risk",
            ):
                assert "other" not in (await mine.get(path)).text, path
            still = (await theirs.get(f"/v1/orders/{resting['id']}")).json()
            assert still["status"] in {"new", "pending_new"}

    in_house(test)


def test_another_account_is_an_admins_to_read_and_nobodys_to_trade():
    async def test(house):
        theirs = house.client(house.key("other"))
        plain = house.client(house.key(scopes=["read", "trade", "cancel"]))
        admin = house.client(house.key(scopes=["read", "admin", "cancel"]))
        async with theirs, plain, admin:
            done = (await theirs.post("/v1/orders?wait_ms=5000", json=order())).json()
            paths = [
                path
                for method, path, scope, _ in operations(house.app)
                if method == "GET"
                and scope == "read"
                and "account" in str(house.app.openapi()["paths"][path]["get"].get("parameters"))
            ]
            assert len(paths) >= 9
            for path in paths:
                url = path.replace("{order_id}", done["id"])
                found = await plain.get(url, params={"account": "other"})
                assert (found.status_code, found.json()["error"]["code"]) == (403, "other_account")
                assert (await admin.get(url, params={"account": "other"})).status_code == 200
            assert (await admin.get("/v1/orders")).json()["orders"] == []  # its own, unasked
            assert (await admin.delete(f"/v1/orders/{done['id']}")).status_code == 404

    in_house(test)


@pytest.mark.parametrize(
    "header",
    [
        "", "Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer x", "bearer hean_x_" + "a" * 43,
        "Bearer hean_" + "a" * 5000, "Bearer " + "ü", "Token abc", "Bearer a b",
    ],
)  # fmt: skip
def test_no_good_key_is_401(header):
    async def test(house):
        async with house.client() as http:
            headers = {"Authorization": header.encode()}
            found = await http.get("/v1/orders", headers=headers)
            assert found.status_code == 401, found.text
            assert ErrorOut.model_validate(found.json()).error.code in {"no_key", "bad_key"}

    in_house(test)


def test_a_revoked_key_is_good_no_more():
    async def test(house):
        admin, key = house.client(house.key()), house.key(scopes=["read"])
        async with admin, house.client(key) as http:
            assert (await http.get("/v1/orders")).status_code == 200
            key_id = key.split("_")[1]
            assert (await admin.delete(f"/v1/keys/{key_id}")).status_code == 200
            assert (await http.get("/v1/orders")).status_code == 401
            assert (await admin.delete(f"/v1/keys/{key_id}")).status_code == 404
            made = (await admin.post("/v1/keys", json=BODY["KeyIn"])).json()
            listed = await admin.get("/v1/keys")
            assert made["key"] not in listed.text
            async with house.client(made["key"]) as other:
                assert (await other.get("/v1/orders")).status_code == 200
                assert (await other.post("/v1/orders", json=order())).status_code == 403

    in_house(test)


def test_many_bad_keys_have_to_wait_and_a_good_one_does_not():
    async def test(house):
        async with house.client("hean_abc_" + "a" * 43) as bad, house.client(house.key()) as good:
            codes = [(await bad.get("/v1/orders")).status_code for _ in range(15)]
            assert codes == [401] * 10 + [429] * 5
            late = await bad.get("/v1/orders")
            assert int(late.headers["retry-after"]) >= 1
            assert late.json()["error"]["code"] == "too_many_bad_keys"
            assert (await good.get("/v1/orders")).status_code == 200

    in_house(test)


def test_a_key_is_held_to_its_rate_and_no_other_with_it():
    async def test(house):
        async with house.client(house.key()) as one, house.client(house.key()) as two:
            codes = [(await one.get("/v1/orders")).status_code for _ in range(8)]
            assert codes[:5] == [200] * 5
            assert codes[-1] == 429
            assert (await one.get("/v1/orders")).headers["retry-after"] == "1"
            assert (await two.get("/v1/orders")).status_code == 200

    in_house(test, caps=Caps(rate=1, burst=5))


def test_no_answer_and_no_log_holds_a_secret(caplog):
    caplog.set_level("DEBUG")

    async def test(house):
        key = house.key()
        secret = key.rpartition("_")[2]
        texts = []
        async with house.client(key) as http:
            for method, path, _, body in operations(house.app):
                found = await http.request(method, filled(path), json=body)
                texts.append(found.text + str(found.headers))
            for content in (b"{", key.encode(), b'{"key":"' + key.encode() + b'"}'):
                found = await http.post("/v1/orders", content=content)
                texts.append(found.text)
            texts.append((await http.get("/v1/orders", params={"cursor": "x"})).text)
        async with house.client(key[:-1] + "!") as http:
            texts.append((await http.get("/v1/orders")).text)
        texts += [repr(house.engine.keyring), str(house.journal.rows), caplog.text]
        assert not [text for text in texts if secret in text or secret[:20] in text]

    in_house(test)


def test_every_answer_carries_the_headers_of_a_closed_house():
    async def test(house):
        async with house.client() as http:
            for path in ("/health", "/v1/orders", "/nothing", "/docs", "/openapi.json"):
                found = await http.get(path, headers={"Origin": "http://evil.example"})
                assert found.headers["x-content-type-options"] == "nosniff"
                assert found.headers["x-frame-options"] == "DENY"
                assert "default-src 'none'" in found.headers["content-security-policy"]
                assert "access-control-allow-origin" not in found.headers
            found = await http.options(
                "/v1/orders", headers={"Origin": "http://e", "Access-Control-Request-Method": "GET"}
            )
            assert found.status_code == 405

    in_house(test)


def test_the_page_of_docs_loads_nothing_from_elsewhere():
    async def test(house):
        async with house.client() as http:
            page = (await http.get("/docs")).text
            names = re.findall(r'(?:src|href)="([^"]+)"', page)
            assert len(names) == 4
            for name in names:
                assert name.startswith("/docs/")
                found = await http.get(name)
                assert found.status_code == 200
            assert "//" not in re.sub(r"<!doctype[^>]*>", "", page)
            start = (await http.get("/docs/start.js")).text
            assert "://" not in start
            css = (await http.get("/docs/swagger-ui.css")).text
            assert not re.findall(r"(?:url\(|@import)\s*['\"]?https?:", css)
            assert (
                "connect-src 'self'" in (await http.get("/docs")).headers["content-security-policy"]
            )
            for name in ("../app.py", "..%2fapp.py", "index.html"):
                assert (await http.get(f"/docs/{name}")).status_code == 404

    in_house(test)


def test_what_needs_no_key_tells_of_no_account():
    async def test(house):
        async with house.client() as http:
            for path in ("/health", "/ready", "/metrics"):
                found = await http.get(path)
                assert found.status_code == 200
                assert "main" not in found.text
            assert (await http.get("/health")).json()["journal_sync"] == "full"

    in_house(test)


def test_the_kill_switch_latches_and_tells_why():
    async def test(house):
        async with house.client(house.key()) as http:
            rest = order(limit_price="59000", time_in_force="GTC")
            found = (await http.post("/v1/orders", json=rest)).json()
            done = (await http.post("/v1/risk/kill", json={"reason": "a test"})).json()
            assert (done["state"], done["reason"]) == ("halted", "a test")
            await house.trading.wait(found["id"], 5)
            after = (await http.get(f"/v1/orders/{found['id']}")).json()
            assert after["status"] == "canceled"
            refused = await http.post("/v1/orders", json=order(2))
            assert refused.json()["error"]["code"] == "risk_halted"
            assert refused.status_code == 422
            assert (await http.post("/v1/risk/reset", json={"reason": ""})).status_code == 422
            back = (await http.post("/v1/risk/reset", json={"reason": "seen to"})).json()
            assert back["state"] == "normal"
            assert (await http.post("/v1/orders", json=order(2))).status_code == 201

    in_house(test)
