"""Bybit's REST answers, market side: every refusal, paging, the ban."""

import json
from urllib.parse import quote

import pytest

from hean_router.sim.contract import MINUTE, MS, SECOND, Options, Request
from hean_router.sim.market import START_PX, Pace
from hean_router.sim.simulator import simulate

ORIGIN_NS = 1_786_310_800 * SECOND
BTC = "category=spot&symbol=BTCUSDT"


def face_of(symbols=("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"), options=None):
    return simulate("bybit", 1, ORIGIN_NS, symbols=symbols, options=options, pace=Pace(levels=30))[
        0
    ].face


@pytest.fixture(scope="module")
def face():
    return face_of()


def get(face, url, now_ns=ORIGIN_NS, method="GET", **how):
    path, _, query = url.partition("?")
    return face.request(Request(method, path, query, **how), now_ns)


def body(face, url):
    response = get(face, url)
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("application/json")
    answer = json.loads(response.body)
    assert list(answer) == ["retCode", "retMsg", "result", "retExtInfo", "time"]
    assert (answer["retExtInfo"], answer["time"]) == ({}, ORIGIN_NS // MS)
    return answer


def result(face, url):
    answer = body(face, url)
    assert (answer["retCode"], answer["retMsg"]) == (0, "OK")
    return answer["result"]


@pytest.mark.parametrize(
    ("url", "msg"),
    [
        ("/v5/market/orderbook", "Illegal category"),
        ("/v5/market/orderbook?category=SPOT&symbol=BTCUSDT", "Illegal category"),
        ("/v5/market/orderbook?category=spot", "params error: symbol invalid"),
        ("/v5/market/orderbook?category=spot&symbol=", "params error: symbol invalid"),
        ("/v5/market/orderbook?category=spot&symbol=NOPEUSDT", "Not supported symbols"),
        ("/v5/market/orderbook?category=spot&symbol=btcusdt", "Not supported symbols"),
        # listed on spot only
        ("/v5/market/orderbook?category=linear&symbol=ETHUSDT", "Not supported symbols"),
        ("/v5/market/orderbook?category=inverse&symbol=BTCUSD", "Not supported symbols"),
        (f"/v5/market/orderbook?{BTC}&limit=0", "params error: limit invalid"),
        (f"/v5/market/orderbook?{BTC}&limit=1001", "params error: limit invalid"),
        (f"/v5/market/orderbook?{BTC}&limit=-5", "params error: limit invalid"),
        (f"/v5/market/orderbook?{BTC}&limit=many", "params error: limit invalid"),
        (f"/v5/market/recent-trade?{BTC}&limit=61", "params error: limit invalid"),
        ("/v5/market/recent-trade?category=linear", "params error: symbol invalid"),
        ("/v5/market/tickers?category=spot&symbol=NOPEUSDT", "Not supported symbols"),
        ("/v5/market/price-limit?symbol=NOPEUSDT", "Not supported symbols"),
        ("/v5/market/instruments-info", "Illegal category"),
        ("/v5/market/instruments-info?category=spot&symbol=X", "Not supported symbols"),
        ("/v5/market/instruments-info?category=linear&limit=1001", "params error: limit invalid"),
        ("/v5/market/instruments-info?category=linear&cursor=x", "params error: cursor invalid"),
    ],
)
def test_refused_with_10001_and_http_200(face, url, msg):
    answer = body(face, url)
    assert (answer["retCode"], answer["retMsg"], answer["result"]) == (10001, msg, {})


@pytest.mark.parametrize(
    ("url", "how", "status"),
    [
        ("/v5/market/nope", {}, 404),
        ("/", {}, 404),
        ("/v3/public/time", {}, 404),
        ("/v5/market/time", {"method": "POST"}, 400),
        ("/v5/market/time", {"body": b"{}"}, 403),  # a GET with an empty JSON body
    ],
)
def test_refused_by_http_status(face, url, how, status):
    assert get(face, url, **how).status == status


def test_the_clock(face):
    now_ns = ORIGIN_NS + 1_234_567_890
    answer = json.loads(get(face, "/v5/market/time", now_ns).body)
    assert answer["result"] == {"timeSecond": str(now_ns // SECOND), "timeNano": str(now_ns)}
    assert answer["time"] == now_ns // MS


@pytest.mark.parametrize(
    ("query", "levels"),
    [
        (BTC, 1),  # what spot answers when not told
        ("category=linear&symbol=BTCUSDT", 25),
        (f"{BTC}&limit=7", 7),
        (f"{BTC}&limit=1000", 30),  # as many as there are
        (f"&{BTC}", 1),  # clients write stray ampersands (recorded)
    ],
)
def test_the_book_has_as_many_levels_as_asked_for(face, query, levels):
    book = result(face, f"/v5/market/orderbook?{query}")
    assert list(book) == ["s", "b", "a", "ts", "u", "seq", "cts"]
    for side in "ba":
        assert len(book[side]) >= levels if levels == 30 else len(book[side]) == levels
        prices = [float(px) for px, _ in book[side]]
        assert prices == sorted(prices, reverse=side == "b")


def test_linear_instruments_are_paged():
    symbols = [f"{base}/USDT:USDT" for base in START_PX if base not in ("USD", "USDT")][:25]
    face = face_of(symbols=symbols)
    names, cursor, pages = [], "", 0
    while True:
        query = f"category=linear&limit=10&cursor={quote(cursor)}"
        page = result(face, f"/v5/market/instruments-info?{query}")
        names += [row["symbol"] for row in page["list"]]
        cursor, pages = page["nextPageCursor"], pages + 1
        if not cursor:
            break
    assert pages == 3
    assert names == sorted(symbol.replace("/USDT:USDT", "USDT") for symbol in symbols)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("category=spot", ["BTCUSDT", "ETHUSDT"]),
        ("category=spot&limit=1", ["BTCUSDT", "ETHUSDT"]),  # spot is not paged
        ("category=spot&symbol=ETHUSDT", ["ETHUSDT"]),
        ("category=spot&baseCoin=BTC", ["BTCUSDT"]),
        ("category=spot&status=Trading", ["BTCUSDT", "ETHUSDT"]),
        ("category=spot&status=Closed", []),
        ("category=linear", ["BTCUSDT"]),
        ("category=inverse", []),
        ("category=option&baseCoin=BTC", []),
    ],
)
def test_instruments_are_chosen(face, query, names):
    answer = result(face, f"/v5/market/instruments-info?{query}")
    assert [row["symbol"] for row in answer["list"]] == names
    assert ("nextPageCursor" in answer) == ("spot" not in query)


def test_recent_trades_are_newest_first():
    simulator, exchange = simulate(
        "bybit", 1, ORIGIN_NS, symbols=["BTC/USDT"], pace=Pace(levels=30, taker_permille=500)
    )
    simulator.due(ORIGIN_NS + 20 * SECOND)
    answer = result(simulator.face, f"/v5/market/recent-trade?{BTC}&limit=20")
    ids = [int(row["execId"]) for row in answer["list"]]
    assert ids == list(range(ids[0], ids[0] - 20, -1))
    last = exchange.last_trade("BTC/USDT")
    newest = answer["list"][0]
    listing = exchange.listings["BTC/USDT"]
    assert float(newest["price"]) == float(listing.px(last.px))
    assert float(newest["size"]) == float(listing.qty(last.qty))
    assert newest["side"].lower() == last.side


@pytest.mark.parametrize("category", ["spot", "linear"])
def test_tickers_tell_the_best_prices(face, category):
    book = result(face, f"/v5/market/orderbook?category={category}&symbol=BTCUSDT&limit=1")
    rows = result(face, f"/v5/market/tickers?category={category}")["list"]
    ticker = next(row for row in rows if row["symbol"] == "BTCUSDT")
    assert [[ticker["bid1Price"], ticker["bid1Size"]]] == book["b"]
    assert [[ticker["ask1Price"], ticker["ask1Size"]]] == book["a"]
    assert ticker["price24hPcnt"] == ("0" if category == "spot" else "0.000000")
    limits = result(face, f"/v5/market/price-limit?category={category}&symbol=BTCUSDT")
    assert list(limits) == ["symbol", "buyLmt", "sellLmt", "ts"]
    assert float(limits["sellLmt"]) < float(ticker["lastPrice"]) < float(limits["buyLmt"])


def test_status_is_empty_when_all_is_well(face):
    assert result(face, "/v5/system/status") == {"list": []}


@pytest.mark.parametrize(("factor", "allowed"), [(1.0, 600), (0.5, 300), (None, 700)])
def test_too_many_requests_are_banned_for_ten_minutes(factor, allowed):
    face = face_of(options=Options(limits=factor))
    statuses = [get(face, "/v5/market/time").status for _ in range(700)]
    assert statuses == [200] * allowed + [403] * (700 - allowed)
    if factor is None:
        return
    response = get(face, "/v5/market/time")
    assert (response.status, response.body) == (403, b"access too frequent")
    assert get(face, "/v5/market/time", peer="10.0.0.2").status == 200
    assert get(face, "/v5/market/time", ORIGIN_NS + 10 * MINUTE - 1).status == 403
    assert get(face, "/v5/market/time", ORIGIN_NS + 10 * MINUTE).status == 200


def test_a_steady_rate_below_the_limit_is_never_banned():
    face = face_of()
    for turn in range(2_000):
        assert get(face, "/v5/market/time", ORIGIN_NS + turn * 9 * MS).status == 200
