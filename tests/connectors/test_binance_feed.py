"""Binance's market side: what it asks, what it reads, and the recorded days it must get right."""

import gzip
import json
import os
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import MsgspecError

from connectors.binance import CONNECTOR
from hean_router import kit
from hean_router.book import BookState
from hean_router.venue import FeedSession, FetchBook, Freshness, Policy, ProbeTop, Send

RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / "binance"
SPOT, LINEAR = kit.Part.SPOT, kit.Part.LINEAR
JSON = {"content-type": "application/json"}


def listed(symbol: str = "BTCUSDT", part: kit.Part = SPOT) -> kit.Instrument:
    pair = kit.Pair(symbol[:-4], symbol[-4:], symbol[-4:] if part is LINEAR else "")
    decimals = {SPOT: (8, 8), LINEAR: (4, 5)}[part]
    return kit.Instrument(
        venue=kit.VenueId("binance"),
        pair=pair,
        symbol=symbol,
        px_decimals=decimals[0],
        qty_decimals=decimals[1],
    )


def codec(*instruments: kit.Instrument) -> kit.FeedCodec:
    return CONNECTOR.feed(instruments[0].part, {each.symbol: each for each in instruments})


def drive(ask, *answers: kit.Answer):
    """Answer a dialogue; its requests, and what it returns."""
    requests = [next(ask), *map(ask.send, answers[:-1])]
    with pytest.raises(StopIteration) as end:
        ask.send(answers[-1])
    return requests, end.value.value


def good(value: object) -> kit.Answer:
    return kit.Answer(200, JSON, json.dumps(value).encode())


def sent(frames) -> list[dict]:
    return [json.loads(frame.data) for frame in frames]


# ---------------------------------------------------------------------------------- asking


@given(st.integers(1, 512))
@settings(max_examples=30)
def test_every_stream_is_asked_for_once_in_legal_chunks(count):
    instruments = [listed(f"A{number}USDT") for number in range(count)]
    feed = codec(*instruments)
    frames = sent(feed.subscribe(instruments))
    names = [name for frame in frames for name in frame["params"]]
    assert sorted(names) == sorted(
        f"a{number}usdt@{kind}" for number in range(count) for kind in ("depth@100ms", "trade")
    )
    assert len(names) == feed.topics(instruments)
    assert len({frame["id"] for frame in frames}) == len(frames)
    # A full socket (1024 streams) is asked for in what may be sent in one second.
    assert len(frames) <= CONNECTOR.spec.frames.capacity - 1
    assert {frame["method"] for frame in frames} == {"SUBSCRIBE"}
    ended = [n for frame in sent(feed.unsubscribe(instruments)) for n in frame["params"]]
    assert sorted(ended) == sorted(names)


def test_a_dead_subscription_is_ended_and_asked_for_again():
    btc = listed()
    off, on = sent(codec(btc).resubscribe(btc))
    assert (off["method"], on["method"]) == ("UNSUBSCRIBE", "SUBSCRIBE")
    assert off["params"] == on["params"] == ["btcusdt@depth@100ms", "btcusdt@trade"]


def test_a_ping_is_a_question_that_the_server_answers_and_that_counts():
    feed = codec(listed())
    frame = feed.ping()
    assert json.loads(frame.data)["method"] == "LIST_SUBSCRIPTIONS"
    assert frame.cost == 1
    answer = {"result": ["btcusdt@trade"], "id": json.loads(frame.data)["id"]}
    assert list(feed.decode(json.dumps(answer).encode())) == []


def test_an_acknowledgement_names_what_it_is_about():
    btc, eth = listed(), listed("ETHUSDT")
    feed = codec(btc, eth)
    (both,), (one,) = sent(feed.subscribe([btc, eth])), sent(feed.subscribe([eth]))
    ack = b'{"result":null,"id":%d}'
    (notice,) = feed.decode(ack % both["id"])
    assert notice.kind is kit.NoticeKind.SUBSCRIBED
    assert (notice.text, notice.instrument) == ("BTCUSDT, ETHUSDT", None)
    (notice,) = feed.decode(ack % one["id"])
    assert notice.instrument is eth
    assert list(feed.decode(ack % one["id"])) == []  # nobody asked twice


@pytest.mark.parametrize(
    "body",
    ['{"code":2,"msg":"no","id":%d}', '{"error":{"code":2,"msg":"no"},"id":%d}'],
)
def test_a_refusal_names_every_instrument_of_its_request(body):
    btc, eth = listed(), listed("ETHUSDT")
    feed = codec(btc, eth)
    (request,) = sent(feed.subscribe([btc, eth]))
    notices = list(feed.decode((body % request["id"]).encode()))
    assert [notice.instrument for notice in notices] == [btc, eth]
    assert {(notice.kind, notice.text) for notice in notices} == {(kit.NoticeKind.REFUSED, "2 no")}


# ---------------------------------------------------------------------------------- reading

levels = st.lists(st.tuples(st.integers(0, 10**14), st.integers(0, 10**14)), max_size=20)


def text_of(value: int, decimals: int) -> str:
    return format(Decimal(value).scaleb(-decimals), f".{decimals}f")


@given(levels, levels, st.integers(1, 2**53), st.integers(0, 1000), st.booleans())
def test_what_a_delta_says_is_read_to_the_last_digit(bids, asks, first, more, wrapped):
    btc = listed()
    sides = [[[text_of(px, 8), text_of(qty, 8)] for px, qty in side] for side in (bids, asks)]
    event = {"e": "depthUpdate", "E": 5, "s": "BTCUSDT", "U": first, "u": first + more}
    event |= {"b": sides[0], "a": sides[1]}
    frame = {"stream": "btcusdt@depth@100ms", "data": event} if wrapped else event
    (delta,) = codec(btc).decode(json.dumps(frame).encode())
    assert (delta.bids, delta.asks) == (bids, asks)
    assert (delta.prev_seq, delta.seq, delta.sent_ns) == (first - 1, first + more, 5_000_000)


FRAME = (
    b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1767000000108,"s":"BTCUSDT",'
    b'"U":1001,"u":1005,"b":[["61837.63000000","3.78826000"]],"a":[["61837.64000000","1.6"]]}}'
)


@given(st.integers(0, len(FRAME) - 1), st.binary(max_size=3))
def test_a_damaged_frame_is_read_or_refused_and_nothing_else(at, bytes_):
    btc, eth = listed(), listed("ETHUSDT")
    feed = codec(btc, eth)
    damaged = FRAME[:at] + bytes_ + FRAME[at + len(bytes_) :]
    try:
        events = list(feed.decode(damaged))
    except (MsgspecError, ValueError):
        events = []
    assert all(isinstance(event, kit.Delta | kit.Notice) for event in events)
    assert feed.about(damaged) in {btc, None}


@given(st.integers(1, len(FRAME) - 1))
def test_a_frame_cut_anywhere_is_noticed(at):
    with pytest.raises(MsgspecError):
        list(codec(listed()).decode(FRAME[:at]))


@pytest.mark.parametrize(
    ("frame", "about"),
    [
        (b'{"e":"depthUpdate","s":"BTCUSDT","U":1,', "BTCUSDT"),
        (b'{"stream":"btcusdt@trade","data":{"e":', "BTCUSDT"),
        (b'{"stream":"btcusdt@trade","data":{"s" : "BTCUSDT"', "BTCUSDT"),
        (b'{"stream":"btcusdt@trade","data":{"s":"ETHUSDT"', None),  # two: could be either
        (b'{"e":"depthUpdate","s":"LTCUSDT"', None),  # not ours: the damage may be in the name
        (b'{"e":"depthUpdate","s":"BTC', None),
        (b"\xff\xfe", None),
    ],
)
def test_an_unreadable_frame_costs_one_book_only_if_it_names_exactly_one(frame, about):
    instruments = {"BTCUSDT": listed(), "ETHUSDT": listed("ETHUSDT")}
    assert codec(*instruments.values()).about(frame) is instruments.get(about)


# ---------------------------------------------------------------------------------- REST

SYMBOL = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "isSpotTradingAllowed": True,
    "filters": [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": "0.015",
            "maxPrice": "112.389",
            "tickSize": "0.01",
        },
        {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
        {"filterType": "MARKET_LOT_SIZE", "minQty": "0", "maxQty": "99", "stepSize": "0"},
        {"filterType": "NOTIONAL", "minNotional": "5", "maxNotional": "9000000"},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ],
}
CONTRACT = {
    "symbol": "BTCUSDT",
    "status": "TRADING",
    "contractType": "PERPETUAL",
    "baseAsset": "BTC",
    "quoteAsset": "USDT",
    "marginAsset": "USDT",
    "pricePrecision": 2,
    "quantityPrecision": 3,
    "filters": [
        {
            "filterType": "PRICE_FILTER",
            "minPrice": "556.80",
            "maxPrice": "4529764",
            "tickSize": "0.10",
        },
        {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "1000", "stepSize": "0.001"},
        {"filterType": "MIN_NOTIONAL", "notional": "100"},
    ],
}


def test_a_spot_instrument_s_rules():
    (request,), (btc,) = drive(CONNECTOR.instruments(SPOT), good({"symbols": [SYMBOL]}))
    assert (request.path, request.bucket, request.cost) == ("/api/v3/exchangeInfo", "rest", 20)
    assert (btc.pair, btc.symbol, btc.trading) == (
        kit.Pair("BTC", "USDT"),
        "BTCUSDT",
        kit.Trading.OPEN,
    )
    assert (btc.px_decimals, btc.qty_decimals) == (8, 8)  # what the wire carries
    assert (btc.px_decimal(btc.tick), btc.qty_decimal(btc.lot)) == (
        Decimal("0.01"),
        Decimal("0.00001"),
    )
    assert (btc.min_notional, btc.max_notional) == (Decimal(5), Decimal(9_000_000))
    assert (btc.qty_decimal(btc.min_qty), btc.qty_decimal(btc.max_qty)) == (
        btc.qty_decimal(1000),
        9000,
    )
    assert (btc.px_decimal(btc.px_min), btc.px_decimal(btc.px_max)) == (
        Decimal("0.015"),
        Decimal("112.389"),
    )


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ({"status": "BREAK"}, "trading", kit.Trading.HALTED),
        ({"status": "HALT"}, "trading", kit.Trading.HALTED),
        ({"status": "CANCEL_ONLY"}, "trading", kit.Trading.CANCEL_ONLY),
        ({"status": "WHATEVER_2027"}, "trading", kit.Trading.HALTED),  # unknown: fail closed
        ({"isSpotTradingAllowed": False}, "trading", kit.Trading.HALTED),
        ({"filters": []}, "tick", 1),  # a missing rule is not enforced
        ({"filters": []}, "max_qty", None),
        (
            {"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0", "maxPrice": "0"}]},
            "px_max",  # zero disables
            None,
        ),
        (
            {"filters": [{"filterType": "MIN_NOTIONAL", "minNotional": "10"}]},
            "min_notional",  # the older form
            Decimal(10),
        ),
        (
            {"filters": [{"filterType": "PRICE_FILTER", "tickSize": "0.0000000001"}]},
            "px_decimals",  # a tick finer than the wire used to be
            10,
        ),
    ],
)
def test_a_spot_instrument_s_exceptions(change, field, value):
    _, (btc,) = drive(CONNECTOR.instruments(SPOT), good({"symbols": [SYMBOL | change]}))
    assert getattr(btc, field) == value


def test_of_the_futures_only_perpetuals_settled_in_their_quote_are_listed():
    others = [
        {"symbol": "BTCUSDT_260925", "contractType": "CURRENT_QUARTER"},
        {"symbol": "ETHUSDC", "baseAsset": "ETH", "quoteAsset": "USDC", "marginAsset": "USDC"},
        {"symbol": "XYZUSDT", "contractType": "", "status": "PENDING_TRADING"},
        {"symbol": "GOLDUSDT", "baseAsset": "GOLD", "contractType": "TRADIFI_PERPETUAL"},
        {"symbol": "ODDUSDT", "marginAsset": "BNFCR"},
    ]
    answer = good({"symbols": [CONTRACT] + [CONTRACT | other for other in others]})
    (request,), found = drive(CONNECTOR.instruments(LINEAR), answer)
    assert (request.path, request.bucket, request.cost) == (
        "/fapi/v1/exchangeInfo",
        "linear.rest",
        1,
    )
    assert [str(each.pair) for each in found] == [
        "BTC/USDT:USDT",
        "ETH/USDC:USDC",
        "GOLD/USDT:USDT",
    ]
    btc = found[0]
    assert (btc.px_decimals, btc.qty_decimals, btc.tick, btc.lot) == (4, 5, 1000, 100)
    assert btc.min_notional == 100
    assert btc.px("61800.20") == 618_002_000  # off today's tick: an order from before


def test_a_recorded_list_has_the_dated_ones_too():
    dated = CONTRACT | {"symbol": "BTCUSDT_260925", "contractType": "CURRENT_QUARTER"}
    raw = json.dumps({"symbols": [CONTRACT, dated]}).encode()
    url = "https://fapi.binance.com/fapi/v1/exchangeInfo"
    pairs = [str(each.pair) for each in CONNECTOR.listed_in(LINEAR, raw, url)]
    assert pairs == ["BTC/USDT:USDT", "BTC/USDT:USDT-260925"]
    for part, body, place in (
        (SPOT, raw, url),  # the other part's
        (LINEAR, b'{"lastUpdateId":1,"bids":[],"asks":[]}', ""),
        (LINEAR, b'{"symbols":"none"}', ""),
        (LINEAR, raw[:200], ""),
        (LINEAR, raw, "https://fapi.binance.com/fapi/v1/ticker/price"),
    ):
        assert list(CONNECTOR.listed_in(part, body, place)) == []


@pytest.mark.parametrize(
    ("part", "path", "bucket", "cost"),
    [(SPOT, "/api/v3/depth", "rest", 25), (LINEAR, "/fapi/v1/depth", "linear.rest", 10)],
)
def test_the_book_is_fetched_with_its_window_and_its_weight(part, path, bucket, cost):
    btc = listed(part=part)
    answer = good({"lastUpdateId": 7, "E": 3, "bids": [["100.5", "2"]], "asks": [["101", "0.5"]]})
    (request,), book = drive(codec(btc).snapshot(btc), answer)
    assert (request.path, request.query) == (path, "symbol=BTCUSDT&limit=500")
    assert (request.bucket, request.cost) == (bucket, cost)
    assert (book.seq, book.sent_ns, book.fetched, book.window) == (7, 3_000_000, True, 500)
    assert book.bids == [(btc.px("100.5"), btc.qty("2"))]
    assert book.asks == [(btc.px("101"), btc.qty("0.5"))]


@pytest.mark.parametrize(("part", "cost"), [(SPOT, 5), (LINEAR, 2)])
def test_a_probe_asks_for_the_least_and_takes_the_best(part, cost):
    btc = listed(part=part)
    answer = good({"lastUpdateId": 7, "bids": [["100.5", "2"], ["100", "1"]], "asks": []})
    (request,), top = drive(codec(btc).probe(btc), answer)
    assert (request.query, request.cost) == ("symbol=BTCUSDT&limit=5", cost)
    assert (top.bid, top.ask) == ((btc.px("100.5"), btc.qty("2")), None)


def test_a_symbol_is_spelled_so_that_an_url_can_carry_it():
    odd = listed("币安人生USDT")
    request = next(codec(odd).snapshot(odd))
    assert request.query == "symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&limit=500"


ERRORS = [
    (kit.Answer(400, JSON, b'{"code":-1121,"msg":"Invalid symbol."}'), "-1121 Invalid symbol", ""),
    (
        kit.Answer(429, {"retry-after": "7"}, b'{"code":-1003,"msg":"Too many"}'),
        "429: -1003",
        "7 s",
    ),
    (kit.Answer(418, {"retry-after": "120"}, b'{"code":-1003,"msg":"banned"}'), "418", "120 s"),
    (kit.Answer(403, {}, b"<html>denied"), "403: no JSON: b'<html>", "firewall"),
    (kit.Answer(451, JSON, b'{"code":0,"msg":"restricted location"}'), "451", "env"),
    (kit.Answer(503, {}, b""), "503: no JSON", "later"),
    (kit.Answer(200, {}, b"<html>maintenance"), "not what its documentation promises", ""),
    (kit.Answer(200, JSON, b"[]"), "not what its documentation promises", ""),
]


@pytest.mark.parametrize(("answer", "what", "fix"), ERRORS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda: CONNECTOR.instruments(SPOT),
        lambda: codec(listed()).snapshot(listed()),
        lambda: codec(listed()).probe(listed()),
        lambda: CONNECTOR.server_time(),
        lambda: CONNECTOR.status(),
    ],
    ids=["instruments", "snapshot", "probe", "time", "status"],
)
def test_every_refusal_says_what_and_why(ask, answer, what, fix):
    dialogue = ask()
    next(dialogue)
    with pytest.raises(kit.VenueError, match="binance") as caught:
        dialogue.send(answer)
    assert what in str(caught.value)
    assert fix in caught.value.fix


def test_a_fetched_book_that_is_finer_than_its_instrument_is_the_venue_s_error():
    btc = listed()
    ask = codec(btc).snapshot(btc)
    next(ask)
    with pytest.raises(kit.VenueError, match="more than 8 decimals"):
        ask.send(good({"lastUpdateId": 1, "bids": [["1.000000001", "1"]], "asks": []}))


def test_the_clock_is_asked_for_wherever_this_host_has_it():
    _, time = drive(CONNECTOR.server_time(), good({"serverTime": 1767000000123}))
    assert time == 1767000000123_000_000
    missing = kit.Answer(404, {}, b"")
    requests, time = drive(CONNECTOR.server_time(), missing, good({"serverTime": 5}))
    assert [request.path for request in requests] == ["/api/v3/time", "/fapi/v1/time"]
    assert time == 5_000_000


def test_maintenance():
    assert drive(CONNECTOR.status(), good({"status": 0, "msg": "normal"}))[1] == []
    _, (notice,) = drive(CONNECTOR.status(), good({"status": 1, "msg": "system_maintenance"}))
    assert (notice.kind, notice.text) == (kit.NoticeKind.HALTED, "system_maintenance")
    missing = kit.Answer(404, {}, b"")  # a testnet has no such page
    requests, notices = drive(CONNECTOR.status(), missing, good({}))
    assert (requests[-1].path, notices) == ("/api/v3/ping", [])


# ---------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("part", "hosts", "url"),
    [
        (SPOT, "live", "wss://stream.binance.com:9443/ws"),
        (LINEAR, "live", "wss://fstream.binance.com/public/ws"),
        (SPOT, "testnet", "wss://stream.testnet.binance.vision/ws"),
        (LINEAR, "demo", "wss://demo-fstream.binance.com/public/ws"),
        (SPOT, {"ws": "ws://127.0.0.1:9001/"}, "ws://127.0.0.1:9001/ws"),
        (LINEAR, {"ws": "ws://127.0.0.1:9001"}, "ws://127.0.0.1:9001/public/ws"),
        (LINEAR, {"linear.ws": "wss://a/old"}, "wss://a/old/ws"),  # a path of its own is kept
    ],
)
def test_where_the_books_are(part, hosts, url):
    known = CONNECTOR.spec.hosts[hosts] if isinstance(hosts, str) else hosts
    assert CONNECTOR.feed_url(part, known) == url


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://api.binance.com/api/v3/depth?symbol=A", SPOT),
        ("https://fapi.binance.com/fapi/v1/depth", LINEAR),
        ("wss://stream.binance.com:9443/stream?streams=a@trade", SPOT),
        ("wss://data-stream.binance.vision/ws", SPOT),
        ("wss://fstream.binance.com/stream?streams=a@trade", LINEAR),
        ("wss://fstream.binance.com/public/ws/a@depth", LINEAR),
        ("ws://127.0.0.1:1/public/ws", LINEAR),
        ("ws://127.0.0.1:1/ws", SPOT),
        ("https://dapi.binance.com/dapi/v1/depth", None),
        ("wss://dstream.binance.com/ws", None),
        ("", None),
    ],
)
def test_which_part_an_address_belongs_to(url, part):
    assert CONNECTOR.part_of(url) is part


DEPTH = b'{"lastUpdateId":7,"bids":[["100","1"],["99","2"]],"asks":[["101","3"]]}'


@pytest.mark.parametrize(
    ("url", "window"),
    [
        ("https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=500", 500),
        ("https://api.binance.com/api/v3/depth?symbol=BTCUSDT", 2),  # not said: what came
        ("", 2),
    ],
)
def test_a_recorded_book(url, window):
    btc = listed()
    book = CONNECTOR.book_in(DEPTH, url, {"BTCUSDT": btc})
    assert (book.instrument, book.seq, book.window, book.fetched) == (btc, 7, window, True)


@pytest.mark.parametrize(
    ("raw", "url", "symbols"),
    [
        (DEPTH, "", ["BTCUSDT", "ETHUSDT"]),  # whose?
        (DEPTH, "https://api.binance.com/api/v3/depth?symbol=LTCUSDT", ["BTCUSDT"]),
        (DEPTH, "https://api.binance.com/api/v3/trades?symbol=BTCUSDT", ["BTCUSDT"]),
        (DEPTH, "https://dapi.binance.com/dapi/v1/depth?symbol=BTCUSDT", ["BTCUSDT"]),
        (b'{"serverTime":1}', "", ["BTCUSDT"]),
        (DEPTH[:40], "", ["BTCUSDT"]),  # cut
        (b'"lastUpdateId"', "", ["BTCUSDT"]),
    ],
)
def test_no_recorded_book(raw, url, symbols):
    assert CONNECTOR.book_in(raw, url, {symbol: listed(symbol) for symbol in symbols}) is None


# ---------------------------------------------------------------------------------- the gap rule


@given(st.data(), st.sampled_from([SPOT, LINEAR]), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_wherever_the_snapshot_falls_the_book_is_the_oracle_s(data, part, seed):
    """The venue: a dict, a counter, events over runs of ids; its snapshot falls inside of one."""
    rng, btc = Random(seed), listed(part=part)
    changes = [(rng.choice("ba"), rng.randrange(1, 30), rng.randrange(0, 4)) for _ in range(60)]
    frames, last, at = [], 0, 0
    while at < len(changes):
        run = rng.randrange(1, 6)
        last, prev = min(at + run, len(changes)), last
        frames.append((at + 1, last, prev, changes[at:last]))
        at = last
    fetched_at = data.draw(st.integers(0, len(changes)))  # the id the snapshot stands at
    first_seen = data.draw(  # we subscribed before we asked
        st.integers(0, next((i for i, f in enumerate(frames) if f[1] > fetched_at), len(frames)))
    )
    arrives = data.draw(st.integers(first_seen, len(frames)))
    session = FeedSession(
        CONNECTOR.spec, codec(btc), [btc], Random(1), Policy(fresh=Freshness(late_ns=0))
    )
    session.opened(1)
    now = 2
    for number, frame in enumerate([*frames[first_seen:], None], first_seen):
        if number == arrives:
            session.fetched(snapshot_of(btc, changes[:fetched_at], fetched_at), now)
        if frame is not None:
            session.received(event_of(part, *frame), now)
        now += 1
    book = session.book(btc)
    assert book.state is BookState.LIVE or book.crossed
    bids, asks = oracle(changes)
    assert dict(book.bids) == {btc.px(str(px)): btc.qty(str(qty)) for px, qty in bids.items()}
    assert dict(book.asks) == {btc.px(str(px)): btc.qty(str(qty)) for px, qty in asks.items()}
    assert session.book_counts(btc).gaps == 0


def oracle(changes) -> tuple[dict[int, int], dict[int, int]]:
    sides = {"b": {}, "a": {}}
    for side, px, qty in changes:
        px += 1000 * (side == "a")  # apart, so that nothing crosses
        if qty:
            sides[side][px] = qty
        else:
            sides[side].pop(px, None)
    return sides["b"], sides["a"]


def snapshot_of(btc, changes, seq) -> kit.Snapshot:
    bids, asks = (
        [(btc.px(str(px)), btc.qty(str(qty))) for px, qty in side.items()]
        for side in oracle(changes)
    )
    return kit.Snapshot(btc, bids, asks, seq, fetched=True)


def event_of(part, first, last, prev, changes) -> bytes:
    event = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": last, "b": [], "a": []}
    if part is LINEAR:
        event["pu"] = prev
    for side, px, qty in changes:
        event[side].append([str(px + 1000 * (side == "a")), str(qty)])
    return json.dumps(event).encode()


def test_a_dead_subscription_is_found_and_healed():
    """The socket lives, one stream has died: a fetched book alone would stand still for ever."""
    btc, second = listed(), 10**9
    policy = Policy(fresh=Freshness(late_ns=0))
    session = FeedSession(CONNECTOR.spec, codec(btc), [btc], Random(0), policy)
    session.opened(second)
    session.take()
    now, alive, seq, asked = second, True, 0, []
    lost_at = 0
    for step in range(300):
        now += second // 10
        seq += 1
        alive = alive and step != 100  # dies after 10 s
        if alive:
            session.received(event_of(SPOT, seq, seq, seq - 1, [("b", seq, 1), ("a", seq, 1)]), now)
        else:
            session.received(b'{"result":[],"id":0}', now)
        session.due(now)
        for command in session.take():
            match command:
                case FetchBook():
                    session.fetched(snapshot_of(btc, [("b", seq, 1), ("a", seq, 1)], seq), now)
                case ProbeTop():
                    one = btc.qty("1")
                    bid, ask = btc.px(str(seq)), btc.px(str(seq + 1000))
                    session.probed(kit.Top(btc, (bid, one), (ask, one)), now)
                case Send(frame=frame):
                    asked.append(json.loads(frame.data)["method"])
                    if step >= 100 and asked[-2:] == ["UNSUBSCRIBE", "SUBSCRIBE"]:
                        alive, lost_at = True, lost_at or step
    assert 100 < lost_at <= 180, "found within 8 s on a lively book"
    assert asked.count("SUBSCRIBE") == 1, "asked for again once, and that was enough"
    assert session.book(btc).seq == seq
    assert session.book(btc).state is BookState.LIVE


# ---------------------------------------------------------------------------------- recordings


def recorded(name: str) -> Iterator[bytes]:
    path = RECORDINGS / f"{name}.txt.gz"
    if not path.exists():
        pytest.skip(f"no recording {path}: set HEAN_RECORDINGS")
    with gzip.open(path) as lines:
        for line in lines:
            yield line.rstrip(b"\n").partition(b" ")[2]


def top_of(ticker: dict, instrument: kit.Instrument) -> Sequence[kit.Level]:
    return (
        (instrument.px(ticker["b"]), instrument.qty(ticker["B"])),
        (instrument.px(ticker["a"]), instrument.qty(ticker["A"])),
    )


# name, deltas, trades; comparisons of the top, all of which must hold: depth events that end at
# the id of the last bookTicker before them; and, on spot, where every change of the top has a
# bookTicker, all depth events that this last one is not newer than.
RECORDED = [
    ("spot_btcusdt_20240808", 3451, 9757, 560, 3432),
    ("spot_ethusdt_20240808", 3434, 6106, 550, 3309),
    ("usdm_btcusdt_20240808", 6551, 21313, 447, None),
    ("usdm_ethusdt_20240808", 6586, 14076, 426, None),
    ("usdm_btcusdt_20230404", 4322, 2197, None, None),
]


@pytest.mark.parametrize(("name", "deltas", "trades", "same_id", "not_newer"), RECORDED)
def test_a_recorded_day(name, deltas, trades, same_id, not_newer):
    part = SPOT if name.startswith("spot") else LINEAR
    symbol = "BTCUSDT" if "btc" in name else "ETHUSDT"
    instrument = listed(symbol, part)
    session = FeedSession(
        CONNECTOR.spec,
        codec(instrument),
        [instrument],
        Random(0),
        Policy(fresh=Freshness(late_ns=0)),
    )
    session.opened(1)
    book, ticker = session.book(instrument), None
    compared, agreed, compared_all, agreed_all = 0, 0, 0, 0
    for now, raw in enumerate(recorded(name), 1):
        if raw.startswith(b'{"lastUpdateId"'):
            session.fetched(CONNECTOR.book_in(raw, "", {symbol: instrument}), now)
            continue
        session.received(raw, now)
        if b"bookTicker" in raw[:64]:
            ticker = raw
        elif b"depthUpdate" in raw[:64] and ticker and book.state is BookState.LIVE:
            quote = orjson.loads(ticker)["data"]
            if quote["u"] > book.seq:
                continue
            same = (book.bids.best(), book.asks.best()) == top_of(quote, instrument)
            compared_all, agreed_all = compared_all + 1, agreed_all + same
            if quote["u"] == book.seq:
                compared, agreed = compared + 1, agreed + same
    counts = session.book_counts(instrument)
    assert (counts.deltas, counts.trades, counts.snapshots) == (deltas, trades, 1)
    assert (counts.gaps, session.counts.malformed, counts.crossed, counts.resyncs) == (0, 0, 0, 0)
    assert book.state is BookState.LIVE
    book.check()
    if same_id is not None:
        assert (agreed, compared) == (same_id, same_id)
    if not_newer is not None:
        assert (agreed_all, compared_all) == (not_newer, not_newer)


@pytest.mark.parametrize(
    ("name", "part", "count", "routable"),
    [("spot_multi_20211012", SPOT, 1695, 1695), ("usdm_multi_20210722", LINEAR, 122, 119)],
)
def test_a_recorded_exchange_info(name, part, count, routable):
    path = RECORDINGS / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no recording {path}: set HEAN_RECORDINGS")
    with gzip.open(path) as lines:
        entry = next(e for e in map(orjson.loads, lines) if "exchangeInfo" in e.get("url", ""))
    raw = entry["data"].encode()
    assert CONNECTOR.part_of(entry["url"]) is part
    found = CONNECTOR.listed_in(part, raw, entry["url"])
    assert (len(found), len({each.pair for each in found})) == (count, count)
    assert all(CONNECTOR.spell(each.pair) == each.symbol for each in found)
    _, asked = drive(CONNECTOR.instruments(part), kit.Answer(200, JSON, raw))
    assert len(asked) == routable
