"""Kraken: its names, requests and answers, and recorded books through the codec."""

import gzip
import json
import os
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.kraken import CONNECTOR, SPEC
from connectors.kraken import feed as kraken
from hean_router import kit
from hean_router.book import BookState
from hean_router.venue import FeedSession, Freshness, Policy

RECORDED = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / "kraken"
SPOT = kit.Part.SPOT


def ok(result: object) -> kit.Answer:
    return kit.Answer(200, {}, json.dumps({"error": [], "result": result}).encode())


def end_of(ask, *answers):
    """Drive an Ask to its end; returns its requests and its result."""
    requests = [next(ask)]
    for number, answer in enumerate(answers, 1):
        try:
            requests.append(ask.send(answer))
        except StopIteration as end:
            assert number == len(answers), "it ended early"
            return requests, end.value
    raise AssertionError("it wants more answers")


def instrument(symbol="BTC/USD", **facts) -> kit.Instrument:
    facts = {"px_decimals": 1, "qty_decimals": 8} | facts
    return kit.Instrument(venue=SPEC.id, pair=kit.Pair.parse(symbol), symbol=symbol, **facts)


def feed(*instruments: kit.Instrument, **facts) -> kraken.Feed:
    return kraken.Feed({each.symbol: each for each in instruments}, **facts)


# ------------------------------------------------------------------------------------- names

XBT = {
    "altname": "XBTUSD",
    "wsname": "XBT/USD",
    "aclass_base": "currency",
    "base": "XXBT",
    "quote": "ZUSD",
    "cost_decimals": 5,
    "pair_decimals": 1,
    "lot_decimals": 8,
    "lot_multiplier": 1,
    "fees": [[0, 0.4]],
    "ordermin": "0.00005",
    "costmin": "0.5",
    "tick_size": "0.1",
    "status": "online",
}
PAIRS = {
    "XXBTZUSD": XBT,
    "XDGUSD": XBT | {"altname": "XDGUSD", "wsname": "XDG/USD", "pair_decimals": 7, "tick_size": ""},
    "XETHXXBT": XBT | {"altname": "ETHXBT", "wsname": "ETH/XBT", "pair_decimals": 5},
    "XETHXXBT.d": {k: v for k, v in XBT.items() if k != "wsname"} | {"altname": "ETHXBT.d"},
}


def test_instruments_and_their_three_names():
    requests, found = end_of(CONNECTOR.instruments(SPOT), ok(PAIRS))
    assert [r.path for r in requests] == ["/0/public/AssetPairs"]
    btc, doge, eth = found  # dark pools have no name on the socket
    assert (str(btc.pair), btc.symbol) == ("BTC/USD", "BTC/USD")
    assert btc.aliases == ("XBT/USD", "XBTUSD", "XXBTZUSD")
    assert (str(doge.pair), doge.aliases[0]) == ("DOGE/USD", "XDG/USD")
    assert str(eth.pair) == "ETH/BTC"
    assert (btc.px_decimals, btc.qty_decimals, btc.tick, btc.lot) == (1, 8, 1, 1)
    assert btc.qty_decimal(btc.min_qty) == Decimal("0.00005")
    assert btc.min_notional == Decimal("0.5")
    assert (doge.px_decimals, doge.tick) == (7, 1)


def test_a_tick_may_be_coarser_than_the_digits():
    pair = XBT | {"pair_decimals": 2, "tick_size": "0.5"}
    _, (btc,) = end_of(CONNECTOR.instruments(SPOT), ok({"XXBTZUSD": pair}))
    assert (btc.px_decimals, btc.tick) == (2, 50)


@pytest.mark.parametrize(
    ("status", "trading"),
    [
        ("online", kit.Trading.OPEN),
        ("cancel_only", kit.Trading.CANCEL_ONLY),
        ("post_only", kit.Trading.POST_ONLY),
        ("limit_only", kit.Trading.LIMITED),
        ("reduce_only", kit.Trading.LIMITED),
        ("maintenance", kit.Trading.HALTED),
        ("delisted", kit.Trading.HALTED),
        ("work_in_progress", kit.Trading.HALTED),
        ("haunted", kit.Trading.HALTED),  # closed by default
    ],
)
def test_states(status, trading):
    _, (btc,) = end_of(CONNECTOR.instruments(SPOT), ok({"X": XBT | {"status": status}}))
    assert btc.trading is trading


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("wss://ws.kraken.com/v2", SPOT),
        ("wss://uws.kraken.com/v2/public", SPOT),
        ("ws://127.0.0.1:9000/v2", SPOT),
        ("https://api.kraken.com/0/public/AssetPairs", SPOT),
        ("wss://ws.kraken.com", None),  # v1
        ("wss://futures.kraken.com/ws/v1", None),
        ("https://futures.kraken.com/derivatives/api/v3/tickers", None),
    ],
)
def test_parts_of_urls(url, part):
    assert CONNECTOR.part_of(url) is part


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("wss://ws.kraken.com", "wss://ws.kraken.com/v2"),
        ("ws://127.0.0.1:9000/", "ws://127.0.0.1:9000/v2"),
        ("ws://127.0.0.1:9000/v2", "ws://127.0.0.1:9000/v2"),
    ],
)
def test_socket_url(host, url):
    assert CONNECTOR.feed_url(SPOT, {"ws": host}) == url


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"tick_size": "tiny"}, "number"),
        ({"tick_size": "0.01"}, "number"),  # finer than the digits of the pair
        ({"pair_decimals": "one"}, "shape"),
        ({"altname": None}, "shape"),
    ],
)
def test_rows_of_another_shape_are_the_venues_fault(facts, why):
    ask = CONNECTOR.instruments(SPOT)
    next(ask)
    with pytest.raises(kit.VenueError, match=why):
        ask.send(ok({"XXBTZUSD": XBT | facts}))


# ------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("answer", "words", "fix"),
    [
        ({"error": ["EQuery:Unknown asset pair"]}, "EQuery:Unknown asset pair", ""),
        ({"error": ["EAPI:Rate limit exceeded"]}, "Rate limit", "wait"),
        ({"error": ["EService: Throttled: 1772445600"]}, "Throttled", "wait"),
        ({"error": ["EGeneral:Too many requests"]}, "Too many", "wait"),
        ({"error": ["EService:Unavailable"], "result": None}, "Unavailable", ""),
        ({"error": []}, "shape", ""),
    ],
)
def test_refusals_say_what_and_why(answer, words, fix):
    ask = feed(instrument()).probe(instrument())
    next(ask)
    with pytest.raises(kit.VenueError, match="BTC/USD") as caught:
        ask.send(kit.Answer(200, {}, json.dumps(answer).encode()))
    assert words in str(caught.value)
    assert fix in caught.value.fix


def test_a_warning_is_no_refusal():
    answer = {"error": ["WGeneral:Something"], "result": {"unixtime": 7, "rfc1123": ""}}
    _, now_ns = end_of(CONNECTOR.server_time(), kit.Answer(200, {}, json.dumps(answer).encode()))
    assert now_ns == 7 * 10**9


@pytest.mark.parametrize(
    ("bids", "asks", "bid", "ask"),
    [
        ([["105944.20000", "0.002", 1]], [["105944.30000", "0.136", 2]], (1059442, 200_000), True),
        ([], [["105944.30000", "0.136", 2]], None, True),
        ([], [], None, False),
    ],
)
def test_probe_by_the_name_that_rest_knows(bids, asks, bid, ask):
    btc = instrument(aliases=("XBT/USD", "XBTUSD", "XXBTZUSD"))
    answer = ok({"XXBTZUSD": {"bids": bids, "asks": asks}})
    requests, top = end_of(feed(btc).probe(btc), answer)
    assert (requests[0].path, requests[0].query) == ("/0/public/Depth", "pair=XBTUSD&count=1")
    assert top.bid == bid
    assert top.ask == ((1059443, 13_600_000) if ask else None)


def test_probe_without_aliases_asks_by_its_symbol():
    assert next(feed(instrument()).probe(instrument())).query == "pair=BTC%2FUSD&count=1"


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"A": {"bids": [], "asks": []}, "B": {"bids": [], "asks": []}},
        {"A": {"bids": []}},
        {"A": {"bids": [["105944.25", "1", 1]], "asks": []}},
        {"A": {"bids": [["105944.2"]], "asks": []}},
    ],
)
def test_probe_of_nonsense(result):
    ask = feed(instrument()).probe(instrument())
    next(ask)
    with pytest.raises(kit.VenueError):
        ask.send(ok(result))


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        ("online", []),
        ("maintenance", [kit.NoticeKind.HALTED]),
        ("cancel_only", [kit.NoticeKind.HALTED]),
        ("post_only", [kit.NoticeKind.HALTED]),
        ("haunted", [kit.NoticeKind.HALTED]),
    ],
)
def test_status(state, kinds):
    _, notices = end_of(CONNECTOR.status(), ok({"status": state, "timestamp": "…"}))
    assert [notice.kind for notice in notices] == kinds


# ------------------------------------------------------------------------------------- asking


def test_subscription_is_chunked_and_each_symbol_stands_once():
    many = [instrument(f"A{n}/USD") for n in range(150)]
    frames = [json.loads(frame.data) for frame in feed(*many).subscribe(many)]
    assert all(frame["method"] == "subscribe" for frame in frames)
    assert len({frame["req_id"] for frame in frames}) == len(frames)
    asked = Counter(
        (f["params"]["channel"], s) for f in frames for s in f["params"].get("symbol", [])
    )
    assert asked == {(c, i.symbol): 1 for i in many for c in ("book", "trade")}
    books = [frame["params"] for frame in frames if frame["params"]["channel"] == "book"]
    assert all(params["depth"] == 100 and params["snapshot"] is True for params in books)
    assert all(len(params["symbol"]) <= 100 for params in books)
    assert frames[-1]["params"] == {"channel": "instrument", "snapshot": False}


def test_one_book_anew_at_its_depth():
    btc = instrument()
    off, on = (json.loads(f.data) for f in feed(btc, depth=25).resubscribe(btc))
    assert off["method"] == "unsubscribe"
    assert off["params"] == {"channel": "book", "symbol": ["BTC/USD"], "depth": 25}
    assert on["method"] == "subscribe"
    assert on["params"] == off["params"] | {"snapshot": True}


@pytest.mark.parametrize("depth", [0, 1, 50, 5000])
def test_a_depth_that_kraken_has_not(depth):
    with pytest.raises(AssertionError):
        feed(instrument(), depth=depth)


@pytest.mark.parametrize(
    ("channel", "named"),
    [
        ("book", True),
        ("trade", False),  # the book stands: it must not be asked for anew
    ],
)
def test_a_refusal_is_known_by_its_request(channel, named):
    btc = instrument()
    codec = feed(btc)
    requests = [json.loads(frame.data) for frame in codec.subscribe([btc])]
    (request,) = [r for r in requests if r["params"]["channel"] == channel]
    refusal = {"method": "subscribe", "req_id": request["req_id"], "success": False, "error": "No"}
    (notice,) = codec.decode(json.dumps(refusal).encode())
    assert notice.kind is kit.NoticeKind.REFUSED
    assert notice.instrument is (btc if named else None)
    assert "BTC/USD" in notice.text


# ------------------------------------------------------------------------------------- numbers

LEVELS = st.dictionaries(st.integers(1, 10**7), st.integers(1, 10**17), max_size=15).map(
    lambda levels: sorted(levels.items())
)


def digits(value: int, decimals: int) -> str:
    """As Kraken writes it: all decimals, no point where there are none."""
    return format(Decimal(value).scaleb(-decimals), f".{decimals}f")


@given(bids=LEVELS, asks=LEVELS, px_decimals=st.integers(0, 10), qty_decimals=st.integers(0, 8))
def test_checksum_is_the_documented_one(bids, asks, px_decimals, qty_decimals):
    """Against the sheet's own words; with quantities that no float can hold."""
    btc = instrument(px_decimals=px_decimals, qty_decimals=qty_decimals)
    bids.reverse()
    sides = {
        name: [(digits(px, px_decimals), digits(qty, qty_decimals)) for px, qty in side]
        for name, side in (("bids", bids), ("asks", asks))
    }
    expected = crc32(
        "".join(
            text.replace(".", "").lstrip("0")
            for name in ("asks", "bids")
            for level in sides[name][:10]
            for text in level
        ).encode()
    )
    rows = {
        name: ",".join(f'{{"price":{px},"qty":{qty}}}' for px, qty in side)
        for name, side in sides.items()
    }
    frame = (
        '{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD",'
        f'"bids":[{rows["bids"]}],"asks":[{rows["asks"]}],"checksum":{expected}}}]}}'
    )
    codec, book = feed(btc), kit.Book(btc)
    (snapshot,) = codec.decode(frame.encode())
    assert snapshot.bids == bids
    assert snapshot.asks == asks
    book.snapshot(snapshot, 1)
    assert codec.checksum(book) == expected


@pytest.mark.parametrize(
    ("levels", "depth"), [(0, 10), (1, 10), (10, 10), (11, 25), (25, 25), (26, 100), (1000, 1000)]
)
def test_depth_of_a_stream_whose_acknowledgement_was_not_seen(levels, depth):
    rows = ",".join(f'{{"price":{100 + n}.0,"qty":1.00000000}}' for n in range(levels))
    frame = (
        '{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD",'
        f'"bids":[],"asks":[{rows}],"checksum":1}}]}}'
    )
    (snapshot,) = feed(instrument()).decode(frame.encode())
    assert snapshot.depth == depth


@given(st.integers(1_380_000_000_000_000, 4_000_000_000_000_000))
def test_times(microseconds):
    moment = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
    row = f'{{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":0,"timestamp":"{text}"}}'
    frame = f'{{"channel":"book","type":"update","data":[{row}]}}'
    (delta,) = feed(instrument()).decode(frame.encode())
    assert delta.sent_ns == microseconds * 1000


# ------------------------------------------------------------------------------------- recordings


def present(name: str) -> Path:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"no recording {path}: set HEAN_RECORDINGS to their folder")
    return path


def recorded_btc() -> tuple[kit.Instrument, list[bytes]]:
    with gzip.open(present("v2_book_btcusd_d10_20230730.ndjson.gz")) as file:
        return instrument(), file.read().splitlines()


def recorded_mina() -> tuple[kit.Instrument, list[bytes]]:
    """Cut out as text: reading and writing the numbers anew would lose their zeros."""
    lines = present("v2_book_minagbp_d25_20260816.ndjson").read_bytes().splitlines()[1:]
    received = [line for line in lines if b'"dir": "tx"' not in line]
    frames = [line.partition(b'"frame": ')[2][:-1] for line in received]
    return instrument("MINA/GBP", px_decimals=4), frames


def replayed(listed: kit.Instrument, frames: list[bytes]) -> tuple[kit.Book, Counter[str]]:
    codec = feed(listed)
    book, seen = kit.Book(listed, codec.depth), Counter[str]()
    for frame in frames:
        events = list(codec.decode(frame))
        seen["ignored"] += not events
        for event in events:
            seen[type(event).__name__] += 1
            if not isinstance(event, kit.Snapshot | kit.Delta):
                continue
            if isinstance(event, kit.Snapshot):
                book.snapshot(event, 1)
            else:
                assert book.delta(event, 1)
            seen["ok" if codec.checksum(book) == event.checksum else "bad"] += 1
            assert not book.crossed
            book.check()
    return book, seen


@pytest.mark.parametrize(
    ("recorded", "checksums", "depth", "ignored", "notices"),
    [
        (recorded_btc, 341, 10, 0, 0),
        (recorded_mina, 30, 25, 60, 2),  # heartbeats; a status and an acknowledgement
    ],
)
def test_recorded_books(recorded, checksums, depth, ignored, notices):
    """Exact figures of the recordings' index: 341 of 341, 30 of 30, snapshots included."""
    listed, frames = recorded()
    book, seen = replayed(listed, frames)
    assert (seen["ok"], seen["bad"]) == (checksums, 0)
    assert (seen["Snapshot"], seen["Delta"]) == (1, checksums - 1)
    assert (seen["ignored"], seen["Notice"]) == (ignored, notices)
    assert book.depth == depth
    assert len(book.bids) == len(book.asks) == depth


@pytest.mark.parametrize("recorded", [recorded_btc, recorded_mina])
def test_a_changed_digit_of_the_recording_is_noticed_or_changes_nothing(recorded):
    """Change one digit of one book frame: the checksums say so, unless the best ten are equal."""
    listed, frames = recorded()
    rng, noticed = Random(3), 0
    for _ in range(150):
        at = rng.choice([n for n, frame in enumerate(frames) if b'"qty"' in frame])
        frame = frames[at]
        part = frame.index(b'"data"'), frame.index(b'"checksum"')
        spots = [n for n in range(*part) if chr(frame[n]).isdigit()]
        spot = rng.choice(spots)
        digit = (int(chr(frame[spot])) + rng.randrange(1, 10)) % 10
        changed = frame[:spot] + str(digit).encode() + frame[spot + 1 :]
        truth, _ = _at(listed, frames[: at + 1])
        try:
            book, checksum = _at(listed, [*frames[:at], changed])
        except (ValueError, kraken.msgspec.MsgspecError):  # a zero in front: no JSON number
            noticed += 1
            continue
        same = book.bids.top(10) == truth.bids.top(10) and book.asks.top(10) == truth.asks.top(10)
        assert (feed(listed).checksum(book) == checksum) == same
        noticed += not same
    assert noticed > 75


def _at(listed: kit.Instrument, frames: list[bytes]) -> tuple[kit.Book, int | None]:
    codec = feed(listed)
    book, checksum = kit.Book(listed, codec.depth), None
    for frame in frames:
        for event in codec.decode(frame):
            if isinstance(event, kit.Snapshot):
                book.snapshot(event, 1)
            elif isinstance(event, kit.Delta):
                book.delta(event, 1)
            else:
                continue
            checksum = event.checksum
    return book, checksum


@pytest.mark.parametrize(("recorded", "checksums"), [(recorded_btc, 341), (recorded_mina, 30)])
def test_recordings_through_a_session(recorded, checksums):
    listed, frames = recorded()
    codec = feed(listed)
    policy = Policy(fresh=Freshness(late_ns=0))
    session = FeedSession(SPEC, codec, [listed], Random(1), policy)
    session.opened(1)
    for frame in frames:
        session.received(frame, 1)
    counts = session.book_counts(listed)
    assert (counts.checksums_ok, counts.checksums_bad) == (checksums, 0)
    assert session.counts.malformed == counts.resyncs == 0
    assert session.book(listed).state is BookState.LIVE


def test_published_known_answer():
    known = json.loads(present("v2_checksum_known_answer.json").read_text())
    btc = instrument()
    sides = {
        side: [(btc.px(px), btc.qty(qty)) for px, qty in known[side]] for side in ("bids", "asks")
    }
    book = kit.Book(btc)
    book.snapshot(kit.Snapshot(btc, sides["bids"], sides["asks"], None), 1)
    assert feed(btc).checksum(book) == known["checksum"] == 3310070434


def test_recorded_instrument_snapshot():
    with gzip.open(present("v2_instrument_snapshot.json.gz")) as file:
        raw = file.read()
    found = {each.symbol: each for each in CONNECTOR.listed_in(SPOT, raw, "wss://ws.kraken.com/v2")}
    assert len(found) == 683
    states = Counter(each.trading for each in found.values())
    assert states == {
        kit.Trading.OPEN: 672,
        kit.Trading.LIMITED: 9,  # reduce only
        kit.Trading.CANCEL_ONLY: 2,
    }
    btc = found["BTC/USD"]
    assert (btc.px_decimals, btc.qty_decimals, btc.min_qty) == (1, 8, 10_000)
    assert btc.min_notional == Decimal("0.5")
    # The same frame told to a socket: news of ours only.
    notices = list(feed(btc, found["DOGE/USD"]).decode(raw))
    assert {n.instrument.symbol for n in notices} == {"BTC/USD", "DOGE/USD"}


def test_recorded_pairs_of_2021():
    """Old answers lack what came later: the smallest cost, the tick, the status."""
    with gzip.open(present("v1_public_20210417.jsonl.gz")) as file:
        answers = [r for r in map(json.loads, file) if r["t"] == "http"]
    found = CONNECTOR.listed_in(SPOT, answers[0]["data"].encode(), answers[0]["url"])
    by_symbol = {each.symbol: each for each in found}
    assert by_symbol["BTC/USD"].aliases == ("XBT/USD", "XBTUSD", "XXBTZUSD")
    assert by_symbol["DOGE/USD"].px_decimals == 7
    assert not any("XBT" in symbol or "XDG" in symbol for symbol in by_symbol)
    assert all(each.trading is kit.Trading.OPEN for each in found)
