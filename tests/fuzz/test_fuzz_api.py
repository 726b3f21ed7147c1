"""Whatever a caller may send: one typed error, nothing placed that was not asked for, no 5xx.

Good requests of every kind are spoilt, bodies, queries and paths alike, and sent to an API whose
exceptions are not caught on the way.  Only what says itself that it is unavailable may answer 503.
"""

import asyncio
import time
from random import Random
from urllib.parse import quote_from_bytes

import orjson
import pytest

from hean_router.api.schemas import ErrorOut
from hean_router.engine import Keep
from tests.api.house import PAIRS, House, order
from tests.fuzz.test_fuzz_private import spoilt
from tests.integrity import mutate

SLOW_S = 0.05
JSON = {"content-type": "application/json"}
WHOLE = order(
    post_only=False,
    dry_run=False,
    strategy="mine",
    venues={"include": ["alpha"], "exclude": ["beta"], "max_share": "0.5"},
)
BODIES = [  # method, path, a body that is good
    ("POST", "/v1/orders", order()),
    ("POST", "/v1/orders", WHOLE),
    ("POST", "/v1/orders", order(type="market", limit_price=None, time_in_force=None)),
    ("POST", "/v1/orders", order(quantity=None, quote_quantity="100", type="market")),
    ("POST", "/v1/orders/preview", order()),
    ("POST", "/v1/orders/preview", WHOLE),
    ("POST", "/v1/risk/kill", {"reason": "a test"}),
    ("POST", "/v1/risk/reset", {"reason": "over"}),
    ("POST", "/v1/strategies/arb/start", {"params": {"min_profit_quote": "1"}}),
    ("POST", "/v1/strategies/arb/stop", {}),
    ("POST", "/v1/keys", {"account": "main", "scopes": ["read"], "label": "a reader"}),
]
ASKED = [  # a path, and what may follow it
    ("GET", "/v1/orders", b"status=new&symbol=BTC-USDT&limit=10&since=2026-01-01T00:00:00Z"),
    ("GET", "/v1/orders", b"cursor=00000001&source=memory&account=main&strategy=mine"),
    ("DELETE", "/v1/orders", b"symbol=BTC-USDT&strategy=mine"),
    ("GET", "/v1/orders/00000001", b"by=id&source=journal"),
    ("DELETE", "/v1/orders/c-1", b"by=client"),
    ("GET", "/v1/fills", b"order_id=00000001&venue=alpha&symbol=BTC-USDT&limit=3&cursor=1"),
    ("GET", "/v1/books/BTC-USDT", b"depth=5"),
    ("GET", "/v1/instruments", b"symbol=BTC-USDT"),
    ("GET", "/v1/portfolio/positions", b"by=symbol&symbol=BTC-USDT&account=main"),
    ("DELETE", "/v1/keys/abcdef", b""),
]


def made(rng):
    """Method, URL and body of a request that is probably no good."""
    if rng.random() < 0.7:
        method, path, body = rng.choice(BODIES)
        if rng.random() < 0.3:
            return method, path, orjson.dumps(body | {"client_order_id": f"f-{rng.random()}"})
        return method, path, spoilt(orjson.dumps(body), rng)
    method, path, query = rng.choice(ASKED)
    at = path.rfind("/") + 1
    last, query = path[at:].encode(), query
    if rng.random() < 0.5:
        last = mutate.garbage(last, rng)
    if query and rng.random() < 0.7:
        query = mutate.garbage(query, rng)
    where = quote_from_bytes(last, safe=rng.choice(("", "/")))
    return method, f"{path[:at]}{where}?{quote_from_bytes(query, safe='=&')}", b""


async def sent(http, house, method, url, body):
    """Send it; what came back has to be one of what the API tells, and quickly."""
    rows = len(house.engine.oms.parents)
    took = time.process_time()
    found = await http.request(method, url, content=body or None, headers=JSON if body else {})
    took = time.process_time() - took
    what = f"{method} {url[:200]} {body[:300]!r}: {found.status_code} {found.text[:300]}"
    assert found.status_code < 500 or found.status_code == 503, what
    if found.status_code >= 400:
        ErrorOut.model_validate(found.json())
        assert len(house.engine.oms.parents) == rows, f"refused and placed: {what}"
    if took > SLOW_S and method != "DELETE":  # all orders cancelled is as much as there are
        took = time.process_time()
        await http.request(method, url, content=body or None, headers=JSON if body else {})
        assert time.process_time() - took < SLOW_S, f"slow: {what}"
    return found.status_code


async def fuzz(house, rng, on):
    """Requests for as long as `on` says; how many of each status."""
    counts = {}
    async with house.client(house.key()) as http:
        number = 0
        while on(number):
            if number % 200 == 0:
                for venue in ("alpha", "beta"):  # books that nobody renews grow old
                    for pair, px in zip(PAIRS, (60_000_00, 3_000_00, 1_0000), strict=True):
                        house.show(venue, pair, [(px - 1, 5_0000)], [(px + 1, 5_0000)])
                house.trading.reset("fuzz", "test")
            status = await sent(http, house, *made(rng))
            counts[status] = counts.get(status, 0) + 1
            number += 1
    return counts


def run(seed, on):
    found = {}

    async def main():
        async with House(keep=Keep(parents=200)).running() as house:
            found.update(await fuzz(house, Random(seed), on))

    asyncio.run(main())
    return found


def test_whatever_is_sent_one_typed_error():
    found = run("api", lambda number: number < 1_500)
    for status in (200, 201, 400, 404, 422):
        assert found.get(status), f"{status} was never told: {found}"


@pytest.mark.storm
@pytest.mark.timeout(600)
def test_a_minute_of_whatever_is_sent():
    end = time.process_time() + 60
    found = run("api minute", lambda _: time.process_time() < end)
    print(f"API: {sum(found.values())} requests {dict(sorted(found.items()))}")
