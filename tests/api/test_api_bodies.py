"""Bodies that will not do: one typed error each, nothing placed."""

import orjson
import pytest

from hean_router.api.schemas import ErrorOut
from tests.api.house import in_house, order

G = orjson.dumps(order()).decode()


def raw(**fields: str) -> bytes:
    """The good body with fields spelled as given, quotes and all."""
    body = {name: orjson.dumps(value).decode() for name, value in order().items()} | fields
    return ("{" + ",".join(f'"{name}":{value}' for name, value in body.items()) + "}").encode()


def but(**fields: object) -> bytes:
    return orjson.dumps(order(**fields))


BAD = [
    # --- not JSON, or not one that everybody reads the same
    (b"", 400, "malformed_json"),
    (b" ", 400, "malformed_json"),
    (b"{", 400, "malformed_json"),
    (G[:-1].encode(), 400, "malformed_json"),  # cut short
    (G.encode() + b"x", 400, "malformed_json"),
    (G.encode() * 2, 400, "malformed_json"),
    (b"[]", 400, "malformed_json"),
    (b"null", 400, "malformed_json"),
    (b"17", 400, "malformed_json"),
    (b'"text"', 400, "malformed_json"),
    (b"NaN", 400, "malformed_json"),
    (raw(quantity="NaN"), 400, "malformed_json"),
    (raw(quantity="Infinity"), 400, "malformed_json"),
    (raw(quantity="-Infinity"), 400, "malformed_json"),
    (b"\xff\xfe{}", 400, "malformed_json"),  # UTF-16
    (b"\xef\xbb\xbf" + G.encode(), 400, "malformed_json"),  # a byte order mark
    (b'{"symbol":"\xff"}', 400, "malformed_json"),  # not UTF-8
    (G[:-1].encode() + b',"side":"sell"}', 400, "malformed_json"),  # a name twice
    (G[:-1].encode() + b',"venues":{"include":[],"include":[]}}', 400, "malformed_json"),
    (b"[" * 30_000 + b"]" * 30_000, 400, "malformed_json"),  # deep
    (b'{"a":' * 9 + b"1" + b"}" * 9, 400, "malformed_json"),
    (G.replace('"', "'").encode(), 400, "malformed_json"),
    (G[:-1].encode() + b",}", 400, "malformed_json"),  # a comma too many
    (raw(quantity="1" * 5000), 400, "malformed_json"),  # an integer that Python does not read
    (b"<order/>", 400, "malformed_json"),
    (b"symbol=BTC/USDT&side=buy", 400, "malformed_json"),
    (b" " * 70_000, 413, "body_too_large"),
    (b'{"client_order_id":"' + b"a" * 70_000 + b'"}', 413, "body_too_large"),
    # --- numbers are text
    (raw(quantity="0.01"), 422, "invalid_field"),
    (raw(quantity="1"), 422, "invalid_field"),
    (raw(quantity="1e400"), 422, "invalid_field"),
    (raw(limit_price="60100.5"), 422, "invalid_field"),
    (raw(quantity="true"), 422, "invalid_field"),
    (raw(quantity='["0.01"]'), 422, "invalid_field"),
    (raw(quantity='{"v":"0.01"}'), 422, "invalid_field"),
    (but(quantity=""), 422, "invalid_field"),
    (but(quantity="0"), 422, "invalid_field"),
    (but(quantity="0.000"), 422, "invalid_field"),
    (but(quantity="-1"), 422, "invalid_field"),
    (but(quantity="+1"), 422, "invalid_field"),
    (but(quantity="1e3"), 422, "invalid_field"),
    (but(quantity="1E-3"), 422, "invalid_field"),
    (but(quantity="NaN"), 422, "invalid_field"),
    (but(quantity="Infinity"), 422, "invalid_field"),
    (but(quantity=" 1"), 422, "invalid_field"),
    (but(quantity="1 "), 422, "invalid_field"),
    (but(quantity="1\n"), 422, "invalid_field"),
    (but(quantity="1_000"), 422, "invalid_field"),
    (but(quantity="1,5"), 422, "invalid_field"),
    (but(quantity=".5"), 422, "invalid_field"),
    (but(quantity="5."), 422, "invalid_field"),
    (but(quantity="0x10"), 422, "invalid_field"),
    (but(quantity="١٢"), 422, "invalid_field"),  # digits of another alphabet
    (but(quantity="1" * 16), 422, "invalid_field"),  # absurd
    (but(quantity="0." + "1" * 19), 422, "invalid_field"),
    (but(quantity="0" * 10_000 + "1"), 422, "invalid_field"),
    # --- fields
    (b"{}", 422, "invalid_field"),
    (but(client_order_id=None), 422, "invalid_field"),
    (but(client_order_id=""), 422, "invalid_field"),
    (but(client_order_id="a" * 65), 422, "invalid_field"),
    (but(client_order_id="a b"), 422, "invalid_field"),
    (but(client_order_id="a\n"), 422, "invalid_field"),
    (but(client_order_id="ü"), 422, "invalid_field"),
    (but(client_order_id="a\u0000b"), 422, "invalid_field"),
    (raw(client_order_id=r'"\ud800"'), 422, "invalid_field"),  # half a surrogate pair
    (raw(client_order_id="7"), 422, "invalid_field"),
    (but(symbol=None), 422, "invalid_field"),
    (but(symbol=""), 422, "invalid_field"),
    (but(symbol="BTC"), 422, "invalid_field"),
    (but(symbol="BTC/USDT/EUR"), 422, "invalid_field"),
    (but(symbol="A" * 30 + "/USDT"), 422, "invalid_field"),
    (but(symbol="ВТС/USDT"), 422, "invalid_field"),  # Cyrillic that looks like BTC
    (but(symbol="../../etc/passwd"), 422, "invalid_field"),
    (but(symbol="'; DROP TABLE orders;--/USDT"), 422, "invalid_field"),
    (but(side="BUY"), 422, "invalid_field"),
    (but(side="hold"), 422, "invalid_field"),
    (but(side=1), 422, "invalid_field"),
    (but(type="stop"), 422, "invalid_field"),
    (but(time_in_force="DAY"), 422, "invalid_field"),
    (but(time_in_force="ioc"), 422, "invalid_field"),
    (but(post_only="true"), 422, "invalid_field"),
    (but(post_only=1), 422, "invalid_field"),
    (but(dry_run="yes"), 422, "invalid_field"),
    (but(venues=["alpha"]), 422, "invalid_field"),
    (but(venues={"include": "alpha"}), 422, "invalid_field"),
    (but(venues={"only": ["alpha"]}), 422, "invalid_field"),
    (but(venues={"include": ["alpha"] * 33}), 422, "invalid_field"),
    (but(venues={"max_share": 0.5}), 422, "invalid_field"),
    (but(venues={"max_share": "0"}), 422, "invalid_field"),
    (but(strategy="a b"), 422, "invalid_field"),
    (but(account="other"), 422, "invalid_field"),  # nobody says whose order it is
    (but(id="00000001"), 422, "invalid_field"),
    (but(filled_quantity="1"), 422, "invalid_field"),
    (but(qty="1"), 422, "invalid_field"),
    (but(**{"<script>": "x"}), 422, "invalid_field"),
    (but(**{"a" * 300: "x"}), 422, "invalid_field"),
    # --- times
    (but(time_in_force="GTD", expire_time="soon"), 422, "invalid_field"),
    (but(time_in_force="GTD", expire_time=1900000000), 422, "invalid_field"),
    (but(time_in_force="GTD", expire_time="2030-01-31"), 422, "invalid_field"),
    (but(time_in_force="GTD", expire_time="2030-01-31T12:00:00"), 422, "invalid_field"),  # zone?
    (but(time_in_force="GTD", expire_time="2030-02-30T12:00:00Z"), 422, "invalid_field"),
    (but(time_in_force="GTD", expire_time="2030-01-31T25:00:00Z"), 422, "invalid_field"),
    (but(time_in_force="GTD", expire_time="9999-12-31T23:59:59-23:59"), 422, "invalid_field"),
    (but(time_in_force="GTD", expire_time="0001-01-01T00:00:00+23:59"), 422, "invalid_field"),
    # --- each field alone will do, together they contradict
    (but(quote_quantity="100"), 422, "invalid_order"),  # both quantities
    (but(quantity=None), 422, "invalid_order"),  # none
    (but(limit_price=None), 422, "invalid_order"),
    (but(type="market"), 422, "invalid_order"),  # with a limit
    (but(type="market", limit_price=None, time_in_force="GTC"), 422, "invalid_order"),
    (but(post_only=True), 422, "invalid_order"),  # and IOC
    (but(post_only=True, time_in_force="FOK"), 422, "invalid_order"),
    (but(time_in_force="GTC", quantity=None, quote_quantity="9"), 422, "invalid_order"),
    (but(time_in_force="GTD"), 422, "invalid_order"),  # until when?
    (but(expire_time="2030-01-31T12:00:00Z"), 422, "invalid_order"),  # without GTD
    (but(time_in_force="GTD", expire_time="2020-01-31T12:00:00Z"), 422, "invalid_order"),  # past
    (but(venues={"max_share": "1.5"}), 422, "invalid_order"),
]


def test_every_bad_body_is_one_typed_error_and_places_nothing():
    assert len(BAD) >= 60

    async def test(house):
        rows = len(house.journal.rows) + 1  # the key's
        async with house.client(house.key()) as http:
            for path in ("/v1/orders", "/v1/orders/preview"):
                for body, status, code in BAD:
                    found = await http.post(
                        path, content=body, headers={"Content-Type": "application/json"}
                    )
                    told = ErrorOut.model_validate(found.json()).error
                    where = f"{path} {body[:80]!r}: {found.text[:300]}"
                    assert (found.status_code, told.code) == (status, code), where
                    assert told.message, where
                    assert "Traceback" not in found.text, where
        assert not house.engine.oms.parents
        assert len(house.journal.rows) == rows

    in_house(test)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("text/plain", 415),  # what a form on another site could send
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("", 415),
    ],
)
def test_only_json_is_a_body(kind, status):
    async def test(house):
        async with house.client(house.key()) as http:
            headers = {"Content-Type": kind} if kind else {}
            found = await http.post("/v1/orders", content=G.encode(), headers=headers)
            assert found.status_code == status, found.text

    in_house(test)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/orders?statuss=new", 422, "unknown_parameter"),  # misspelled is no filter
        ("/v1/orders?status=NEW", 422, "invalid_field"),
        ("/v1/orders?limit=501", 422, "invalid_field"),
        ("/v1/orders?limit=0", 422, "invalid_field"),
        ("/v1/orders?limit=1e2", 422, "invalid_field"),
        ("/v1/orders?limit=1&limit=2", 422, "unknown_parameter"),
        ("/v1/orders?cursor=%27", 422, "invalid_field"),
        ("/v1/orders?since=yesterday", 422, "invalid_field"),
        ("/v1/orders?since=2026-01-01T00:00:00+01:00", 422, "invalid_field"),  # + is a blank
        ("/v1/orders?symbol=BTC", 422, "invalid_field"),
        ("/v1/orders/nothing", 404, "unknown_order"),
        ("/v1/orders/00000001?by=name", 422, "invalid_field"),
        ("/v1/fills?cursor=x", 422, "invalid_field"),
        ("/v1/books/BTC", 422, "unknown_symbol"),
        ("/v1/books/DOGE-USDT", 404, "not_found"),
        ("/v1/books/BTC-USDT?depth=501", 422, "invalid_field"),
        ("/v1/nothing", 404, "not_found"),
        ("/v1/orders/", 404, "not_found"),
        ("/", 404, "not_found"),
    ],
)
def test_questions_that_will_not_do(path, status, code):
    async def test(house):
        async with house.client(house.key()) as http:
            found = await http.get(path)
            told = ErrorOut.model_validate(found.json()).error
            assert (found.status_code, told.code) == (status, code), found.text

    in_house(test)


def test_a_method_that_is_not_there_names_those_that_are():
    async def test(house):
        async with house.client(house.key()) as http:
            found = await http.put("/v1/orders")
            assert (found.status_code, found.headers["allow"]) == (405, "DELETE, GET, POST")
            ErrorOut.model_validate(found.json())

    in_house(test)
