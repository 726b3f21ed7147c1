"""Bybit's market side: what it asks, what it reads, and the recorded minute it must get right."""

import gzip
import json
import os
from decimal import Decimal
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import MsgspecError

from connectors.bybit import CONNECTOR
from hean_router import kit
from hean_router.book import Book, BookState
from hean_router.venue import FeedSession, Freshness, Policy, Send

RECORDING = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / (
    "bybit/v5_public_20260809.jsonl.gz"
)
SPOT, LINEAR = kit.Part.SPOT, kit.Part.LINEAR
CALM = Policy(fresh=Freshness(late_ns=0))  # the frames' clock is not the test's


def listed(symbol: str = "BTCUSDT", part: kit.Part = SPOT) -> kit.Instrument:
    settle = symbol[-4:] if part is LINEAR else ""
    return kit.Instrument(
        venue=kit.VenueId("bybit"),
        pair=kit.Pair(symbol[:-4], symbol[-4:], settle),
        symbol=symbol,
        px_decimals=4,
        qty_decimals=8,
    )


def codec(*instruments: kit.Instrument) -> kit.FeedCodec:
    return CONNECTOR.feed(instruments[0].part, {each.symbol: each for each in instruments})


def drive(ask, *answers: kit.Answer):
    """Answer a dialogue; its requests, and what it returns."""
    requests = [next(ask), *map(ask.send, answers[:-1])]
    with pytest.raises(StopIteration) as end:
        ask.send(answers[-1])
    return requests, end.value.value


def good(result: object) -> kit.Answer:
    envelope = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": 1}
    return kit.Answer(200, {}, json.dumps(envelope).encode())


def refused(code: int, text: str, status: int = 200) -> kit.Answer:
    return kit.Answer(status, {}, json.dumps({"retCode": code, "retMsg": text}).encode())


def sent(frames) -> list[dict]:
    return [json.loads(frame.data) for frame in frames]


def book_frame(kind: str, u: int, bids=(), asks=(), symbol: str = "BTCUSDT", depth: int = 200):
    data = {"s": symbol, "b": list(bids), "a": list(asks), "u": u, "seq": 10 * u}
    topic = f"orderbook.{depth}.{symbol}"
    frame = {"topic": topic, "type": kind, "ts": 5, "data": data, "cts": 4}
    return json.dumps(frame).encode()


# ---------------------------------------------------------------------------------- asking


@given(st.integers(1, 170))
@settings(max_examples=30)
def test_every_topic_is_asked_for_once_in_legal_chunks(count):
    instruments = [listed(f"A{number}USDT") for number in range(count)]
    feed = codec(*instruments)
    frames = sent(feed.subscribe(instruments))
    topics = [topic for frame in frames for topic in frame["args"]]
    assert sorted(topics) == sorted(
        f"{kind}.A{number}USDT"
        for number in range(count)
        for kind in ("orderbook.200", "orderbook.1", "publicTrade")
    )
    assert len(topics) == feed.topics(instruments)
    assert all(len(frame["args"]) <= 10 for frame in frames)  # spot takes no more
    assert len({frame["req_id"] for frame in frames}) == len(frames)
    ended = [topic for frame in sent(feed.unsubscribe(instruments)) for topic in frame["args"]]
    assert sorted(ended) == sorted(topics)


def test_a_full_socket_s_topics_stay_under_the_venue_s_21000_characters():
    longest = listed("1000000BABYDOGEUSDT")  # of 1357 recorded symbols
    topics = [
        topic for frame in sent(codec(longest).subscribe([longest])) for topic in frame["args"]
    ]
    written = len(json.dumps(topics, separators=(",", ":"))) / len(topics)
    assert written * CONNECTOR.spec.topics_max < 21_000


def test_a_lost_book_is_ended_and_asked_for_again():
    btc = listed()
    off, on = sent(codec(btc).resubscribe(btc))
    assert (off["op"], on["op"]) == ("unsubscribe", "subscribe")
    assert off["args"] == on["args"]
    assert "orderbook.200.BTCUSDT" in on["args"]


def test_a_ping_does_not_wait_behind_subscriptions():
    feed = codec(listed())
    frame = feed.ping()
    assert json.loads(frame.data)["op"] == "ping"
    assert frame.cost == 0


def answer_to(request: dict, *, success: bool, text: str = "") -> bytes:
    answer = {"success": success, "ret_msg": text, "conn_id": "c", "op": request["op"]}
    return json.dumps(answer | {"req_id": request["req_id"]}).encode()


def test_an_acknowledgement_names_what_it_is_about():
    btc, eth = listed(), listed("ETHUSDT")
    feed = codec(btc, eth)
    (both,) = sent(feed.subscribe([btc, eth]))
    _, one = sent(feed.resubscribe(eth))
    (notice,) = feed.decode(answer_to(both, success=True))
    assert notice.kind is kit.NoticeKind.SUBSCRIBED
    assert (notice.text, notice.instrument) == ("BTCUSDT, ETHUSDT", None)
    (notice,) = feed.decode(answer_to(one, success=True, text="subscribe"))
    assert notice.instrument is eth


def test_all_of_a_refused_request_count_as_refused():
    btc, eth = listed(), listed("ETHUSDT")
    feed = codec(btc, eth)
    (request,) = sent(feed.subscribe([btc, eth]))
    text = "error:handler not found,topic:orderbook.200.ETHUSDT"
    notices = list(feed.decode(answer_to(request, success=False, text=text)))
    assert [notice.instrument for notice in notices] == [btc, eth]
    assert all(notice.kind is kit.NoticeKind.REFUSED and text in notice.text for notice in notices)


def test_a_refused_instrument_is_asked_for_alone():
    """Through the session: the good ones of a refused request come back, one by one."""
    btc, eth = listed(), listed("ETHUSDT")
    session = FeedSession(CONNECTOR.spec, codec(btc, eth), [btc, eth], Random(0), CALM)
    session.opened(1)
    (request,) = [json.loads(c.frame.data) for c in session.take() if isinstance(c, Send)]
    session.received(answer_to(request, success=False, text="bad topic"), 2)
    again = [json.loads(c.frame.data) for c in session.take() if isinstance(c, Send)]
    asked = [frame["args"] for frame in again if frame["op"] == "subscribe"]
    assert len(asked) == 2
    assert all(len({topic.rpartition(".")[2] for topic in args}) == 1 for args in asked)
    session.received(book_frame("snapshot", 7, [["99", "1"]], [["101", "1"]]), 3)
    assert session.book(btc).state is BookState.LIVE


# ---------------------------------------------------------------------------------- reading

levels = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**12)), max_size=20)


def text_of(value: int, decimals: int) -> str:
    return format(Decimal(value).scaleb(-decimals).normalize(), "f")


@given(levels, levels, st.integers(2, 2**53), st.sampled_from(["snapshot", "delta"]))
def test_what_a_book_says_is_read_to_the_last_digit(bids, asks, u, kind):
    btc = listed()
    sides = ([[text_of(px, 4), text_of(qty, 8)] for px, qty in side] for side in (bids, asks))
    (event,) = codec(btc).decode(book_frame(kind, u, *sides))
    assert (event.bids, event.asks, event.seq, event.sent_ns) == (bids, asks, u, 4_000_000)
    assert getattr(event, "prev_seq", u - 1) == u - 1
    assert isinstance(event, kit.Snapshot) is (kind == "snapshot")


FRAME = book_frame("delta", 15076953, [["65095.30", "0.005"]], [["65116.60", "0"]])


@given(st.integers(0, len(FRAME) - 1), st.binary(max_size=3))
def test_a_damaged_frame_is_read_or_refused_and_nothing_else(at, bytes_):
    btc, eth = listed(), listed("ETHUSDT")
    feed = codec(btc, eth)
    damaged = FRAME[:at] + bytes_ + FRAME[at + len(bytes_) :]
    try:
        events = list(feed.decode(damaged))
    except (MsgspecError, ValueError):
        events = []
    assert all(isinstance(event, kit.Delta | kit.Snapshot | kit.Top) for event in events)
    assert feed.about(damaged) in {btc, None}


@given(st.integers(1, len(FRAME) - 1))
def test_a_frame_cut_anywhere_is_noticed(at):
    with pytest.raises(MsgspecError):
        list(codec(listed()).decode(FRAME[:at]))


@pytest.mark.parametrize(
    ("frame", "about"),
    [
        (b'{"topic":"orderbook.200.BTCUSDT","type":"del', "BTCUSDT"),
        (b'{"topic":"orderbook.200.BTCUSDT","data":{"s":"BTCUSDT","b":[["1', "BTCUSDT"),
        (b'{"topic" : "publicTrade.BTCUSDT","data":[{"s" : "BTCUSDT"', "BTCUSDT"),
        (b'{"topic":"tickers.BTCUSDT","data":{', "BTCUSDT"),
        (b'{"topic":"orderbook.200.BTCUSDT","data":{"s":"ETHUSDT"', None),  # two
        (b'{"topic":"orderbook.200.LTCUSDT","data":{"s":"LTCUSDT"', None),  # not ours
        (b'{"topic":"orderbook.200.BTC', None),
        (b'{"topic":"system.status"', None),
        (b"\xff\xfe", None),
    ],
)
def test_an_unreadable_frame_costs_one_book_only_if_it_names_exactly_one(frame, about):
    instruments = {"BTCUSDT": listed(), "ETHUSDT": listed("ETHUSDT")}
    assert codec(*instruments.values()).about(frame) is instruments.get(about)


# ---------------------------------------------------------------------------------- the count

SNAP = ("snapshot", 100, [["99", "1"]], [["101", "1"]])


@pytest.mark.parametrize(
    ("frames", "state", "seq"),
    [
        ([SNAP, ("delta", 101, [["98", "2"]])], BookState.LIVE, 101),
        # One is missing: lost, and asked for at once.
        ([SNAP, ("delta", 102, [["98", "2"]])], BookState.SYNCING, 100),
        # The same again is no gap; the one before again is.
        ([SNAP, ("delta", 101), ("delta", 101)], BookState.LIVE, 101),
        ([SNAP, ("delta", 101), ("delta", 102), ("delta", 101)], BookState.SYNCING, 102),
        # A snapshot in mid-stream replaces, wherever it stands.
        ([SNAP, ("snapshot", 50, [["97", "1"]], [["98", "1"]])], BookState.LIVE, 50),
        # The service has restarted; later deltas build on that.
        ([SNAP, ("delta", 1, [["97", "1"]], [["98", "1"]]), ("delta", 2)], BookState.LIVE, 2),
        # The reset itself was lost: everything behind it looks old, and must not be passed over.
        ([SNAP, ("delta", 101), ("delta", 2)], BookState.SYNCING, 101),
        # Changes of a book that nobody has seen whole.
        ([("delta", 101, [["98", "2"]])], BookState.SYNCING, None),
    ],
)
def test_the_gap_rule(frames, state, seq):
    btc = listed()
    session = FeedSession(CONNECTOR.spec, codec(btc), [btc], Random(0), CALM)
    session.opened(1)
    for now, frame in enumerate(frames, 2):
        session.received(book_frame(*frame), now)
    assert (session.book(btc).state, session.book(btc).seq) == (state, seq)


def test_the_best_level_confirms_a_quiet_book_and_convicts_a_dead_one():
    btc, second = listed(), 10**9
    session = FeedSession(CONNECTOR.spec, codec(btc), [btc], Random(0), CALM)
    session.opened(1)
    session.received(book_frame(*SNAP), second)
    repeat = book_frame("snapshot", 7, [["99", "5"]], [["101", "5"]], depth=1)
    for now in range(2, 40, 3):
        session.received(repeat, now * second)
        session.due(now * second)
    assert session.book(btc).state is BookState.LIVE
    assert session.book_counts(btc).resyncs == 0
    moved = book_frame("snapshot", 8, [["99.5", "5"]], [["101", "5"]], depth=1)
    for now in (40, 41, 42, 43):
        session.received(moved, now * second)
    assert session.book(btc).state is BookState.SYNCING  # asked for anew
    assert session.book_counts(btc).resyncs == 1


# ---------------------------------------------------------------------------------- REST

CONTRACT = {
    "symbol": "BTCUSDT",
    "contractType": "LinearPerpetual",
    "status": "Trading",
    "baseCoin": "BTC",
    "quoteCoin": "USDT",
    "settleCoin": "USDT",
    "deliveryTime": "0",
    "priceScale": "2",
    "priceFilter": {"minPrice": "0.10", "maxPrice": "1999999.80", "tickSize": "0.10"},
    "lotSizeFilter": {
        "maxOrderQty": "1500.000",
        "minOrderQty": "0.001",
        "qtyStep": "0.001",
        "maxMktOrderQty": "150.000",
        "minNotionalValue": "5",
    },
}
SYMBOL = {
    "symbol": "ETHBTC",
    "baseCoin": "ETH",
    "quoteCoin": "BTC",
    "status": "Trading",
    "lotSizeFilter": {
        "basePrecision": "0.00001",
        "quotePrecision": "0.00000000001",
        "minOrderQty": "7",
        "maxOrderQty": "7",
        "minOrderAmt": "0.000065",
        "maxOrderAmt": "10",
        "maxLimitOrderQty": "1542.6000000000001",
        "maxMarketOrderQty": "514.2",
    },
    "priceFilter": {"tickSize": "0.000001"},
}


def test_a_contract_s_rules():
    page = {"category": "linear", "list": [CONTRACT], "nextPageCursor": ""}
    (request,), (btc,) = drive(CONNECTOR.instruments(LINEAR), good(page))
    assert request.path == "/v5/market/instruments-info"
    assert request.query == "category=linear&limit=1000"
    assert (str(btc.pair), btc.symbol, btc.trading) == (
        "BTC/USDT:USDT",
        "BTCUSDT",
        kit.Trading.OPEN,
    )
    assert btc.px_decimal(btc.tick) == Decimal("0.1")
    assert btc.qty_decimal(btc.lot) == btc.qty_decimal(btc.min_qty) == Decimal("0.001")
    assert btc.qty_decimal(btc.max_qty) == 1500
    assert (btc.px_decimal(btc.px_min), btc.px_decimal(btc.px_max)) == (
        Decimal("0.1"),
        Decimal("1999999.8"),
    )
    assert btc.min_notional == 5
    assert btc.px("65114.25")  # off today's steps: orders from before
    assert btc.qty("0.0015")


def test_a_spot_instrument_s_rules():
    page = {"category": "spot", "list": [SYMBOL]}
    (request,), (eth,) = drive(CONNECTOR.instruments(SPOT), good(page))
    assert request.query == "category=spot&limit=1000"
    assert (str(eth.pair), eth.min_notional) == ("ETH/BTC", Decimal("0.000065"))
    # `minOrderQty` and `maxOrderQty` are out of use; the bound that is not need not lie on a lot.
    assert eth.qty_decimal(eth.min_qty) == eth.qty_decimal(eth.lot) == Decimal("0.00001")
    assert eth.qty_decimal(eth.max_qty) == Decimal("1542.6")
    assert eth.px_max is None


@pytest.mark.parametrize("status", ["PreLaunch", "Delivering", "Closed", "Whatever2027"])
def test_what_does_not_trade_takes_no_orders(status):
    page = {"category": "spot", "list": [SYMBOL | {"status": status}]}
    _, (eth,) = drive(CONNECTOR.instruments(SPOT), good(page))
    assert eth.trading is kit.Trading.HALTED


def test_pages_are_followed_to_the_last_and_dated_contracts_left_out():
    dated = CONTRACT | {"symbol": "BTCUSDT-25DEC26", "contractType": "LinearFutures"}
    usdc = CONTRACT | {"symbol": "BTCPERP", "quoteCoin": "USDC", "settleCoin": "USDC"}
    first = {"category": "linear", "list": [CONTRACT, dated], "nextPageCursor": "a=b&c"}
    last = {"category": "linear", "list": [usdc], "nextPageCursor": None}
    requests, found = drive(CONNECTOR.instruments(LINEAR), good(first), good(last))
    assert requests[1].query == "category=linear&limit=1000&cursor=a%3Db%26c"
    assert [str(each.pair) for each in found] == ["BTC/USDT:USDT", "BTC/USDC:USDC"]
    assert [CONNECTOR.spell(each.pair) for each in found] == ["BTCUSDT", "BTCPERP"]


def test_pages_without_end_are_the_venue_s_error():
    page = good({"category": "linear", "list": [CONTRACT], "nextPageCursor": "again"})
    ask = CONNECTOR.instruments(LINEAR)
    next(ask)
    ask.send(page)
    with pytest.raises(kit.VenueError, match="pages without end"):
        ask.send(page)


def test_a_recorded_list_has_the_dated_ones_too():
    dated = CONTRACT | {"symbol": "BTCUSDT-4SEP26", "contractType": "LinearFutures"}
    body = {"retCode": 0, "result": {"category": "linear", "list": [CONTRACT, dated]}}
    raw = json.dumps(body).encode()
    url = "https://api.bybit.com/v5/market/instruments-info?category=linear"
    found = CONNECTOR.listed_in(LINEAR, raw, url)
    assert [str(each.pair) for each in found] == ["BTC/USDT:USDT", "BTC/USDT:USDT-260904"]
    assert [CONNECTOR.spell(each.pair) for each in found] == ["BTCUSDT", "BTCUSDT-4SEP26"]
    assert len(CONNECTOR.listed_in(LINEAR, raw, "")) == 2
    for part, other, place in (
        (SPOT, raw, ""),
        (SPOT, raw, url),
        (LINEAR, raw[:200], url),
        (LINEAR, b'{"retCode":0,"result":{"list":[]}}', url),
    ):
        assert list(CONNECTOR.listed_in(part, other, place)) == []


@pytest.mark.parametrize("part", [SPOT, LINEAR])
def test_a_probe_asks_for_the_best_level(part):
    btc = listed(part=part)
    answer = good({"s": "BTCUSDT", "b": [["65140.4", "2"]], "a": [], "ts": 3, "u": 1, "seq": 2})
    (request,), top = drive(codec(btc).probe(btc), answer)
    assert request.path == "/v5/market/orderbook"
    assert request.query == f"category={part.value}&symbol=BTCUSDT&limit=1"
    assert (top.bid, top.ask, top.sent_ns) == ((btc.px("65140.4"), btc.qty("2")), None, 3_000_000)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"s": "ETHUSDT", "b": [], "a": []}, "speaks of ETHUSDT"),
        ({"s": "BTCUSDT", "b": [["0.00001", "1"]], "a": []}, "more than 4 decimals"),
        ({"s": "BTCUSDT", "b": []}, "not what its documentation promises"),
    ],
)
def test_a_probe_s_answer_must_make_sense(result, why):
    btc = listed()
    ask = codec(btc).probe(btc)
    next(ask)
    with pytest.raises(kit.VenueError, match=why):
        ask.send(good(result))


ERRORS = [
    (refused(10001, "params error: symbol invalid"), "10001 params error", "symbol"),
    (refused(10006, "Too many visits!"), "10006 Too many visits!", "wait"),
    (refused(10016, "Server error"), "10016", "later"),
    (refused(10404, "not found", 404), "HTTP 404: 10404 not found", ""),
    (kit.Answer(403, {}, b"<html>access too frequent"), "HTTP 403: no JSON", "10 minutes"),
    (kit.Answer(502, {}, b""), "HTTP 502: no JSON", "later"),
    (kit.Answer(200, {}, b"<html>maintenance"), "no JSON", ""),
    (kit.Answer(200, {}, b'{"retCode":0,"result":[]}'), "not what its documentation promises", ""),
    (kit.Answer(200, {}, b'{"retCode":0}'), "not what its documentation promises", ""),
]


@pytest.mark.parametrize(("answer", "what", "fix"), ERRORS)
@pytest.mark.parametrize(
    "ask",
    [
        lambda: CONNECTOR.instruments(SPOT),
        lambda: codec(listed()).probe(listed()),
        lambda: CONNECTOR.server_time(),
    ],
    ids=["instruments", "probe", "time"],
)
def test_every_refusal_says_what_and_why(ask, answer, what, fix):
    dialogue = ask()
    next(dialogue)
    with pytest.raises(kit.VenueError, match="bybit") as caught:
        dialogue.send(answer)
    assert what in str(caught.value)
    assert fix in caught.value.fix


def test_the_clock():
    answer = good({"timeSecond": "1767000000", "timeNano": "1767000000123456789"})
    assert drive(CONNECTOR.server_time(), answer)[1] == 1767000000123456789


def entry(state: str) -> dict:
    return {"id": "x", "title": "upgrade", "state": state, "begin": "1", "end": "2"}


def test_maintenance_now_or_announced():
    states = ["completed", "scheduled", "ongoing", "canceled"]
    _, notices = drive(CONNECTOR.status(), good({"list": [entry(state) for state in states]}))
    assert [notice.kind for notice in notices] == [kit.NoticeKind.INFO, kit.NoticeKind.HALTED]
    assert all("upgrade: 1 to 2" in notice.text for notice in notices)


@pytest.mark.parametrize("missing", [kit.Answer(404, {}, b""), refused(10404, "no such path")])
def test_where_there_is_no_status_the_clock_has_to_do(missing):
    requests, notices = drive(CONNECTOR.status(), missing, good({"timeNano": "5"}))
    assert [request.path for request in requests] == ["/v5/system/status", "/v5/market/time"]
    assert notices == []


def test_a_recorded_rest_book_seeds_no_stream():
    raw = b'{"retCode":0,"result":{"s":"BTCUSDT","b":[],"a":[],"u":1}}'
    assert CONNECTOR.book_in(raw, "", {"BTCUSDT": listed()}) is None


# ---------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("part", "env", "url"),
    [
        (SPOT, "live", "wss://stream.bybit.com/v5/public/spot"),
        (LINEAR, "live", "wss://stream.bybit.com/v5/public/linear"),
        (LINEAR, "testnet", "wss://stream-testnet.bybit.com/v5/public/linear"),
        (SPOT, "demo", "wss://stream.bybit.com/v5/public/spot"),  # demo has no public socket
        (SPOT, "tr", "wss://stream.bybit-tr.com/v5/public/spot"),
        (SPOT, {"ws": "ws://127.0.0.1:9001/"}, "ws://127.0.0.1:9001/v5/public/spot"),
    ],
)
def test_where_the_books_are(part, env, url):
    hosts = CONNECTOR.spec.hosts[env] if isinstance(env, str) else env
    assert CONNECTOR.feed_url(part, hosts) == url


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://api.bybit.com/v5/market/instruments-info?&category=linear&limit=9", LINEAR),
        ("https://api.bybit.com/v5/market/orderbook?category=spot&symbol=A", SPOT),
        ("wss://stream.bybit.com/v5/public/spot", SPOT),
        ("ws://127.0.0.1:1/v5/public/linear/", LINEAR),
        ("wss://stream.bybit.com/v5/public/inverse", None),
        ("wss://stream.bybit.com/v5/public/misc/status", None),
        ("https://api.bybit.com/v5/market/time", None),
        ("https://api.bybit.com/v5/market/tickers?category=option", None),
        ("", None),
    ],
)
def test_which_part_an_address_belongs_to(url, part):
    assert CONNECTOR.part_of(url) is part


# ---------------------------------------------------------------------------------- recording


@pytest.fixture(scope="module")
def recorded() -> list[dict]:
    if not RECORDING.exists():
        pytest.skip(f"no recording {RECORDING}: set HEAN_RECORDINGS")
    with gzip.open(RECORDING) as lines:
        return [orjson.loads(line) for line in lines]


def rules_in(recorded: list[dict]) -> dict[kit.Part, dict[str, kit.Instrument]]:
    found = {}
    for one in recorded:
        if one["t"] == "http":
            part = CONNECTOR.part_of(one["url"])
            listing = CONNECTOR.listed_in(part, one["data"].encode(), one["url"])
            found[part] = {instrument.symbol: instrument for instrument in listing}
    return found


def frames_of(recorded: list[dict], part: kit.Part) -> list[bytes]:
    (conn,) = [
        one["conn"]
        for one in recorded
        if one["t"] == "connect" and CONNECTOR.part_of(one["addr"]) is part
    ]
    return [
        one["data"].encode() for one in recorded if (one["t"], one.get("conn")) == ("recv", conn)
    ]


def test_the_recorded_lists(recorded):
    rules = rules_in(recorded)
    assert {part: len(listing) for part, listing in rules.items()} == {SPOT: 557, LINEAR: 800}
    for listing in rules.values():
        assert len({each.pair for each in listing.values()}) == len(listing)
        assert all(CONNECTOR.spell(each.pair) == symbol for symbol, each in listing.items())
    answers = [one["data"].encode() for one in recorded if one["t"] == "http"]
    routable = drive(CONNECTOR.instruments(LINEAR), kit.Answer(200, {}, answers[0]))[1]
    assert len(routable) == 760


@pytest.mark.parametrize(
    ("part", "symbol", "deltas", "trades"),
    [(LINEAR, "BTCUSDT", 413, 56), (LINEAR, "ETHUSDT", 420, 23), (SPOT, "BTCUSDT", 299, 11)],
)
def test_the_recorded_minute(recorded, part, symbol, deltas, trades):
    rules = rules_in(recorded)[part]
    instrument = rules[symbol]
    only = {symbol: instrument}
    session = FeedSession(CONNECTOR.spec, CONNECTOR.feed(part, only), [instrument], Random(0), CALM)
    session.opened(1)
    feed, book = CONNECTOR.feed(part, rules), Book(instrument)
    chained = 0
    for now, raw in enumerate(frames_of(recorded, part), 2):
        session.received(raw, now)
        for event in feed.decode(raw):
            if event.instrument is not instrument:
                continue
            if isinstance(event, kit.Snapshot):
                book.snapshot(event, now)
            elif isinstance(event, kit.Delta):
                chained += book.delta(event, now)
                # The venue sends what leaves and enters: always exactly the best 200.
                assert (len(book.bids), len(book.asks), book.crossed) == (200, 200, False)
    assert chained == deltas
    counts = session.book_counts(instrument)
    assert (counts.snapshots, counts.deltas, counts.trades) == (1, deltas, trades)
    assert (counts.gaps, counts.resyncs, session.counts.malformed) == (0, 0, 0)
    held = session.book(instrument)
    assert held.state is BookState.LIVE
    assert (list(held.bids), list(held.asks)) == (list(book.bids), list(book.asks))
    held.check()


def test_the_recorded_tickers_agree_with_the_book(recorded):
    """Linear's ticker is another stream and shows the best prices: a witness nobody here wrote.

    It may run ahead of the book, so it must only agree where the book's best prices are the same
    before and after it.
    """
    instrument = rules_in(recorded)[LINEAR]["BTCUSDT"]
    feed, book = CONNECTOR.feed(LINEAR, {"BTCUSDT": instrument}), Book(instrument)
    quote: dict[str, str] = {}
    seen: list[tuple[int, int]] = []  # by tickers since the last message of the book
    before, agreed, compared = None, 0, 0
    for raw in frames_of(recorded, LINEAR):
        if b'"tickers.BTCUSDT"' in raw:
            quote |= orjson.loads(raw)["data"]
            seen.append((instrument.px(quote["bid1Price"]), instrument.px(quote["ask1Price"])))
        for event in feed.decode(raw):
            match event:
                case kit.Snapshot():
                    book.snapshot(event, 1)
                case kit.Delta():
                    book.delta(event, 1)
                case _:
                    continue
            top = (book.bids.best_px(), book.asks.best_px())
            if top == before:
                compared, agreed = compared + len(seen), agreed + seen.count(top)
            before = top
            seen.clear()
    assert (agreed, compared) == (175, 175)
