"""OKX: its requests and answers, and 2022's recorded books through the codec."""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.okx import CONNECTOR, SPEC
from connectors.okx import listing as okx
from hean_router import kit
from hean_router.book import BookState
from hean_router.venue import FeedSession, Freshness, Policy

RECORDED = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real")) / "okx"
SPOT, LINEAR = kit.Part.SPOT, kit.Part.LINEAR


def ok(*rows: object) -> kit.Answer:
    return kit.Answer(200, {}, json.dumps({"code": "0", "msg": "", "data": rows}).encode())


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


def instrument(symbol="BTC-USDT", pair="BTC/USDT", **facts) -> kit.Instrument:
    facts = {"px_decimals": 1, "qty_decimals": 8} | facts
    return kit.Instrument(venue=SPEC.id, pair=kit.Pair.parse(pair), symbol=symbol, **facts)


def feed(*instruments: kit.Instrument, part=SPOT):
    return CONNECTOR.feed(part, {each.symbol: each for each in instruments})


# ------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("pair", "symbol"),
    [
        ("BTC/USDT", "BTC-USDT"),
        ("BTC/USDT:USDT", "BTC-USDT-SWAP"),
        ("UNI/USD:UNI", "UNI-USD-SWAP"),  # inverse
        ("BTC/USD:USD", "BTC-USD_UM-SWAP"),  # settled in USD: another than the inverse one
        ("BTC/USD:BTC-220527", "BTC-USD-220527"),  # dated
        ("ETH/USD:ETH-220624-20000-C", "ETH-USD-220624-20000-C"),  # option
    ],
)
def test_spells(pair, symbol):
    assert CONNECTOR.spell(kit.Pair.parse(pair)) == symbol


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("https://www.okx.com/api/v5/public/instruments?instType=SPOT", SPOT),
        ("https://www.okx.com/api/v5/public/instruments?instType=SWAP", LINEAR),
        ("https://www.okx.com/api/v5/public/instruments?instType=OPTION&uly=BTC-USD", LINEAR),
        ("https://openapi.okx.com/api/v5/market/books?instId=BTC-USDT&sz=400", SPOT),
        ("https://openapi.okx.com/api/v5/market/books?instId=BTC-USDT-SWAP", LINEAR),
        ("wss://ws.okx.com:8443/ws/v5/public", None),  # serves both
        ("https://openapi.okx.com/api/v5/public/time", None),
    ],
)
def test_parts_of_urls(url, part):
    assert CONNECTOR.part_of(url) is part


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("wss://ws.okx.com:8443", "wss://ws.okx.com:8443/ws/v5/public"),
        ("ws://127.0.0.1:9000/", "ws://127.0.0.1:9000/ws/v5/public"),
        ("ws://127.0.0.1:9000/own/path", "ws://127.0.0.1:9000/own/path"),
    ],
)
def test_socket_url(host, url):
    assert CONNECTOR.feed_url(SPOT, {"ws": host}) == url


def test_demo_is_told_by_a_header():
    assert SPEC.headers["demo"] == {"x-simulated-trading": "1"}
    assert SPEC.hosts["demo"]["rest"] == SPEC.hosts["live"]["rest"]
    assert SPEC.hosts["demo"]["ws"] != SPEC.hosts["live"]["ws"]


# ------------------------------------------------------------------------------------- listing

BTC = {
    "instId": "BTC-USDT",
    "instType": "SPOT",
    "instIdCode": 3,
    "baseCcy": "BTC",
    "quoteCcy": "USDT",
    "settleCcy": "",
    "tickSz": "0.1",
    "lotSz": "0.00000001",
    "minSz": "0.00001",
    "ctVal": "",
    "ctMult": "",
    "ctType": "",
    "maxLmtSz": "9999999999",
    "maxLmtAmt": "20000000",
    "state": "live",
    "futureSettlement": False,
}
SWAP = BTC | {
    "instId": "BTC-USDT-SWAP",
    "instType": "SWAP",
    "instIdCode": 10459,
    "settleCcy": "USDT",
    "lotSz": "0.01",
    "minSz": "0.01",
    "ctVal": "0.01",
    "ctMult": "1",
    "ctType": "linear",
    "maxLmtSz": "100000000",
}
INVERSE = SWAP | {
    "instId": "BTC-USD-SWAP",
    "settleCcy": "BTC",
    "ctVal": "100",
    "ctType": "inverse",
    "lotSz": "1",
    "minSz": "1",
}


def test_spot_instruments():
    requests, found = end_of(CONNECTOR.instruments(SPOT), ok(BTC))
    assert [(r.path, r.query) for r in requests] == [
        ("/api/v5/public/instruments", "instType=SPOT")
    ]
    (btc,) = found
    assert (str(btc.pair), btc.symbol, btc.code) == ("BTC/USDT", "BTC-USDT", 3)
    assert (btc.px_decimals, btc.tick, btc.qty_decimals, btc.lot) == (1, 1, 8, 1)
    assert btc.qty_decimal(btc.min_qty) == Decimal("0.00001")
    assert btc.qty_decimal(btc.max_qty) == 9999999999
    assert btc.max_notional == 20000000
    assert btc.trading is kit.Trading.OPEN


def test_linear_instruments_count_base():
    requests, found = end_of(CONNECTOR.instruments(LINEAR), ok(SWAP, INVERSE))
    assert requests[0].query == "instType=SWAP"
    (swap,) = found  # the inverse one is not ours to trade
    assert (str(swap.pair), swap.contract_size) == ("BTC/USDT:USDT", Decimal("0.01"))
    assert swap.qty_decimal(swap.lot) == Decimal("0.0001"), "0.01 contracts of 0.01 BTC"
    assert swap.qty_decimal(swap.qty("150")) == Decimal("1.5")
    assert swap.qty_decimal(swap.max_qty) == 1_000_000


@pytest.mark.parametrize(
    ("facts", "size", "lot", "wire", "base"),
    [
        ({"ctVal": "10000000", "lotSz": "0.1"}, "10000000", "1000000", "2.5", "25000000"),
        ({"ctVal": "0.01", "ctMult": "10"}, "0.1", "0.001", "0.01", "0.001"),
        ({"ctVal": "1", "lotSz": "1", "minSz": "1"}, "1", "1", "7", "7"),
    ],
)
def test_contract_sizes(facts, size, lot, wire, base):
    _, (swap,) = end_of(CONNECTOR.instruments(LINEAR), ok(SWAP | facts))
    assert swap.contract_size == Decimal(size)
    assert swap.qty_decimal(swap.lot) == Decimal(lot)
    assert swap.qty_decimal(swap.qty(wire)) == Decimal(base)


@pytest.mark.parametrize(
    ("state", "trading"),
    [
        ("live", kit.Trading.OPEN),
        ("post_only", kit.Trading.POST_ONLY),
        ("suspend", kit.Trading.HALTED),
        ("preopen", kit.Trading.HALTED),
        ("rebase", kit.Trading.HALTED),
        ("test", kit.Trading.HALTED),
        ("sleeping", kit.Trading.HALTED),  # closed by default
    ],
)
def test_states(state, trading):
    _, (btc,) = end_of(CONNECTOR.instruments(SPOT), ok(BTC | {"state": state}))
    assert btc.trading is trading


def test_rows_without_a_grid_are_passed_over():
    rows = [BTC | {"tickSz": "", "state": "preopen"}, BTC | {"instId": "ETH-USDT"}]
    _, found = end_of(CONNECTOR.instruments(SPOT), ok(*rows))
    assert [each.symbol for each in found] == ["ETH-USDT"]


def test_the_largest_order_is_in_dollars():
    _, (btc,) = end_of(CONNECTOR.instruments(SPOT), ok(BTC | {"instId": "ETH-BTC"}))
    assert btc.max_notional is None


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"tickSz": "tiny"}, "number"),
        ({"instId": "BTCUSDT"}, "number"),
        ({"instId": 7}, "shape"),
        ({"instIdCode": "three"}, "shape"),
    ],
)
def test_rows_of_another_shape_are_the_venues_fault(facts, why):
    ask = CONNECTOR.instruments(SPOT)
    next(ask)
    with pytest.raises(kit.VenueError, match=why):
        ask.send(ok(BTC | facts))


# ------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("status", "body", "words", "fix"),
    [
        (200, {"code": "51001", "msg": "Instrument ID does not exist", "data": []}, "51001", ""),
        (200, {"code": "50011", "msg": "Too Many Requests", "data": []}, "50011", "wait"),
        (429, {"code": "50011", "msg": "Too Many Requests"}, "429", "wait"),
        (503, {"code": "50001", "msg": "Service unavailable"}, "503", ""),
        (500, {"code": "0", "msg": "", "data": []}, "HTTP 500", ""),
    ],
)
def test_refusals_say_what_and_why(status, body, words, fix):
    ask = feed(instrument()).probe(instrument())
    next(ask)
    with pytest.raises(kit.VenueError, match="BTC-USDT") as caught:
        ask.send(kit.Answer(status, {}, json.dumps(body).encode()))
    assert words in str(caught.value)
    assert fix in caught.value.fix


@pytest.mark.parametrize(
    ("bids", "asks", "bid", "ask"),
    [
        ([["60000", "2", "0", "1"]], [["60000.1", "1", "0", "1"]], (600000, 2 * 10**8), True),
        ([], [["60000.1", "1", "0", "1"]], None, True),
        ([], [], None, False),
    ],
)
def test_probe(bids, asks, bid, ask):
    btc = instrument()
    requests, top = end_of(feed(btc).probe(btc), ok({"asks": asks, "bids": bids, "ts": "7"}))
    assert (requests[0].path, requests[0].query) == (
        "/api/v5/market/books",
        "instId=BTC-USDT&sz=1",
    )
    assert top.instrument is btc
    assert top.bid == bid
    assert top.ask == ((600001, 10**8) if ask else None)
    assert top.sent_ns == 7 * kit.MS


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"asks": [["60000.15", "1"]], "bids": [], "ts": "7"}],  # finer than a tick
        [{"asks": [["60000"]], "bids": [], "ts": "7"}],
        [{"asks": [], "bids": [], "ts": ""}],
        [{"asks": [], "ts": "7"}],
    ],
)
def test_probe_of_nonsense(rows):
    ask = feed(instrument()).probe(instrument())
    next(ask)
    with pytest.raises(kit.VenueError):
        ask.send(ok(*rows))


def test_server_time():
    _, now_ns = end_of(CONNECTOR.server_time(), ok({"ts": "1597026383085"}))
    assert now_ns == 1597026383085 * kit.MS


@pytest.mark.parametrize("rows", [[], [{"ts": ""}], [{"ts": "-5"}], [{}]])
def test_server_time_of_nonsense(rows):
    ask = CONNECTOR.server_time()
    next(ask)
    with pytest.raises(kit.VenueError):
        ask.send(ok(*rows))


def test_status():
    row = {"title": "T", "begin": "1", "end": "2", "serviceType": "5", "env": "1"}
    states = ["ongoing", "scheduled", "pre_open", "completed", "canceled"]
    _, notices = end_of(CONNECTOR.status(), ok(*(row | {"state": state} for state in states)))
    kinds = [notice.kind for notice in notices]
    assert kinds == [kit.NoticeKind.HALTED, kit.NoticeKind.INFO, kit.NoticeKind.INFO]
    _, notices = end_of(CONNECTOR.status(), ok())
    assert notices == []


# ------------------------------------------------------------------------------------- asking


def test_subscription_is_chunked_and_each_argument_stands_once():
    many = [instrument(f"A{n}-USDT", f"A{n}/USDT") for n in range(120)]
    frames = [json.loads(frame.data) for frame in feed(*many).subscribe(many)]
    assert [len(frame["args"]) for frame in frames] == [100, 100, 40, 2]
    assert len({frame["id"] for frame in frames}) == len(frames)
    assert all(frame["id"].isalnum() and len(frame["id"]) <= 32 for frame in frames)
    asked = Counter((a["channel"], a.get("instId")) for f in frames[:-1] for a in f["args"])
    assert asked == {(c, i.symbol): 1 for i in many for c in ("books", "trades")}
    assert frames[-1]["args"] == [
        {"channel": "instruments", "instType": "SPOT"},
        {"channel": "status"},
    ]


def test_a_refused_resubscription_is_known_by_its_id():
    btc, eth = instrument(), instrument("ETH-USDT", "ETH/USDT")
    codec = feed(btc, eth)
    off, on = (json.loads(frame.data) for frame in codec.resubscribe(eth))
    assert (off["op"], on["op"]) == ("unsubscribe", "subscribe")
    assert off["args"] == on["args"] == [{"channel": "books", "instId": "ETH-USDT"}]
    refusal = {"id": on["id"], "event": "error", "code": "63999", "msg": "Internal error"}
    (notice,) = codec.decode(json.dumps(refusal).encode())
    assert (notice.kind, notice.instrument) == (kit.NoticeKind.REFUSED, eth)
    (notice,) = codec.decode(json.dumps(refusal | {"id": off["id"]}).encode())
    assert notice.kind is kit.NoticeKind.INFO


def test_pings_are_free():
    ping = feed(instrument()).ping()
    assert (ping.data, ping.binary, ping.cost) == (b"ping", False, 0)


def test_linear_sockets_ask_for_swaps():
    swap = instrument("BTC-USDT-SWAP", "BTC/USDT:USDT")
    *_, last = feed(swap, part=LINEAR).subscribe([swap])
    assert json.loads(last.data)["args"][0] == {"channel": "instruments", "instType": "SWAP"}


# ------------------------------------------------------------------------------------- checksum

LEVELS = st.dictionaries(
    st.integers(1, 10**6), st.integers(1, 10**12), min_size=0, max_size=40
).map(lambda levels: sorted(levels.items()))


def text(value: int, decimals: int) -> str:
    return format(Decimal(value).scaleb(-decimals).normalize(), "f")


@given(bids=LEVELS, asks=LEVELS)
def test_checksum_is_the_documented_one(bids, asks):
    """Against the sheet's own words, bid and ask by turns, a missing side skipped."""
    btc = instrument()
    bids.reverse()
    parts = []
    for i in range(25):
        for side in (bids, asks):
            parts += [f"{text(px, 1)}:{text(qty, 8)}" for px, qty in side[i : i + 1]]
    expected = int.from_bytes(
        crc32(":".join(parts).encode()).to_bytes(4, "big"), "big", signed=True
    )
    frame = {
        "arg": {"channel": "books", "instId": "BTC-USDT"},
        "action": "snapshot",
        "data": [
            {
                "bids": [[text(px, 1), text(qty, 8), "0", "1"] for px, qty in bids],
                "asks": [[text(px, 1), text(qty, 8), "0", "1"] for px, qty in asks],
                "ts": "1",
                "checksum": expected,
                "seqId": 5,
                "prevSeqId": -1,
            }
        ],
    }
    codec, book = feed(btc), kit.Book(btc)
    (snapshot,) = codec.decode(json.dumps(frame).encode())
    book.snapshot(snapshot, 1)
    assert codec.checksum(book) == expected
    assert snapshot.checksum == (expected or None)


# ------------------------------------------------------------------------------------- recordings


def lines(name: str) -> Iterator[bytes]:
    path = RECORDED / name
    if not path.exists():
        pytest.skip(f"no recording {path}: set HEAN_RECORDINGS to their folder")
    with gzip.open(path) as file:
        yield from file


def recorded_2022_05() -> tuple[dict[str, kit.Instrument], list[bytes]]:
    """Instruments by symbol and received frames of the capture with its own REST answers."""
    listed, frames = {}, []
    for line in lines("v5_public_20220513.jsonl.gz"):
        record = json.loads(line)
        if record["t"] == "http":
            raw, url = record["data"].encode(), record["url"]
            part = CONNECTOR.part_of(url)
            listed |= {each.symbol: each for each in CONNECTOR.listed_in(part, raw, url)}
        elif record["t"] == "recv":
            frames.append(record["data"].encode())
    return listed, frames


def recorded_tbt() -> tuple[dict[str, kit.Instrument], list[bytes]]:
    """The capture without answers: rules fine enough for all that is in it."""
    frames = [
        line.partition(b": ")[2].strip()
        for line in lines("v5_public_20220227_books_l2_tbt.txt.gz")
        if not line.startswith(b"wss")
    ]
    symbols = {json.loads(frame)["arg"]["instId"] for frame in frames if b'"arg"' in frame}
    listed = {}
    for symbol in symbols:
        base, quote, *rest = symbol.split("-")
        settle = "-".join([base, *(word for word in rest if word != "SWAP")]) if rest else ""
        pair = kit.Pair(base, quote, settle)
        assert CONNECTOR.spell(pair) == symbol
        listed[symbol] = kit.Instrument(
            venue=SPEC.id, pair=pair, symbol=symbol, px_decimals=12, qty_decimals=10
        )
    return listed, frames


def replayed(listed: dict[str, kit.Instrument], frames: list[bytes]):
    """Books after all frames; checksums that held and did not; what was seen."""
    codec = CONNECTOR.feed(SPOT, listed)
    books = {symbol: kit.Book(each, codec.depth) for symbol, each in listed.items()}
    seen: Counter[str] = Counter()
    for frame in frames:
        events = list(codec.decode(frame))
        seen["ignored"] += not events
        for event in events:
            seen[type(event).__name__] += 1
            if not isinstance(event, kit.Snapshot | kit.Delta):
                continue
            book = books[event.instrument.symbol]
            if isinstance(event, kit.Snapshot):
                book.snapshot(event, 1)
            else:
                assert book.delta(event, 1), "no repeats in a recording"
            holds = codec.checksum(book) == event.checksum
            seen["ok" if holds else "bad"] += 1
            assert not book.crossed
    return books, seen


@pytest.mark.parametrize("symbols", [["BTC-USDT"], ["UNI-USD-SWAP"], ["BTC-USD-220527"], []])
def test_recorded_2022_05(symbols):
    """Exact figures of the recordings' index: 290 of 290 over three books, 74 trades."""
    listed, frames = recorded_2022_05()
    listed = {symbol: listed[symbol] for symbol in symbols} if symbols else listed
    books, seen = replayed(listed, frames)
    expected = {"BTC-USDT": (98, 69), "UNI-USD-SWAP": (93, 1), "BTC-USD-220527": (99, 4)}
    wanted = [expected[symbol] for symbol in symbols or expected]
    assert (seen["ok"], seen["Trade"]) == tuple(map(sum, zip(*wanted, strict=True)))
    assert seen["bad"] == 0
    assert seen["Snapshot"] == len(wanted)
    assert len(frames) == 410
    for symbol in symbols or expected:
        books[symbol].check()
        assert len(books[symbol].bids) <= 400
        assert len(books[symbol].asks) <= 400
    if not symbols:
        # 28 tickers concern nobody; every acknowledgement is told.
        assert seen["ignored"] == 28
        assert seen["Notice"] == 410 - 290 - 74 - 28


def test_every_recorded_instrument_spells_back():
    listed, _ = recorded_2022_05()
    assert len(listed) == 513 + 166 + 104 + 346 + 350
    assert {symbol: CONNECTOR.spell(each.pair) for symbol, each in listed.items()} == {
        symbol: symbol for symbol in listed
    }


def test_recorded_tbt():
    """3,679 of 3,679, ten instruments, each with a second snapshot in mid-stream."""
    listed, frames = recorded_tbt()
    assert len(listed) == 10
    books, seen = replayed(listed, frames)
    assert (seen["ok"], seen["bad"]) == (3679, 0)
    assert seen["Snapshot"] == 20
    for book in books.values():
        book.check()


@pytest.mark.parametrize("recorded", [recorded_2022_05, recorded_tbt])
def test_a_lost_frame_of_the_recording_is_noticed_at_once_or_changes_nothing(recorded):
    """Each of 200 drops: the next checksum of that book fails, unless the best 25 are equal."""
    listed, frames = recorded()
    codec = CONNECTOR.feed(SPOT, listed)
    updates: dict[str, list] = {}
    for frame in frames:
        for event in codec.decode(frame):
            if isinstance(event, kit.Snapshot | kit.Delta):
                updates.setdefault(event.instrument.symbol, []).append(event)
    rng, noticed = Random(7), 0
    for _ in range(200):
        events = rng.choice([events for events in updates.values() if len(events) > 3])
        at = rng.randrange(1, len(events) - 1)
        if isinstance(events[at], kit.Snapshot) or isinstance(events[at + 1], kit.Snapshot):
            continue
        true_book, book = kit.Book(events[0].instrument), kit.Book(events[0].instrument)
        for number, event in enumerate(events[: at + 2]):
            for each in (true_book, book):
                if each is true_book or number != at:
                    snapshot = isinstance(event, kit.Snapshot)
                    each.snapshot(event, 1) if snapshot else each.delta(event, 1)
        same = all(
            a.top(25) == b.top(25)
            for a, b in ((book.bids, true_book.bids), (book.asks, true_book.asks))
        )
        assert (codec.checksum(book) == events[at + 1].checksum) == same
        noticed += not same
    assert noticed > 30


@pytest.mark.parametrize(("recorded", "checksums"), [(recorded_2022_05, 290), (recorded_tbt, 3679)])
def test_recordings_through_a_session(recorded, checksums):
    listed, frames = recorded()
    seen_in = {s for s in listed if any(f'"{s}"'.encode() in frame for frame in frames)}
    instruments = [listed[symbol] for symbol in sorted(seen_in)]
    codec = CONNECTOR.feed(SPOT, {each.symbol: each for each in instruments})
    policy = Policy(fresh=Freshness(late_ns=0))
    session = FeedSession(SPEC, codec, instruments, Random(1), policy)
    session.opened(1)
    for frame in frames:
        session.received(frame, 1)
    counts = [session.book_counts(each) for each in instruments]
    assert sum(each.checksums_ok for each in counts) == checksums
    assert not any(each.checksums_bad or each.gaps or each.resyncs for each in counts)
    assert session.counts.malformed == 0
    assert all(session.book(each).state is BookState.LIVE for each in instruments)


@pytest.mark.parametrize(
    ("name", "part", "count"),
    [
        ("rest_instruments_spot_20260427.json.gz", SPOT, 1218),
        ("rest_instruments_swap_20260427.json.gz", LINEAR, 297),
    ],
)
def test_recorded_instruments_of_2026(name, part, count):
    raw = b"".join(lines(name))
    document = json.loads(raw)
    rows = document["data"] if isinstance(document, dict) else document
    _, found = end_of(CONNECTOR.instruments(part), ok(*rows))
    assert len(found) == count
    for each in found:
        assert each.code is not None
        assert CONNECTOR.spell(each.pair) == each.symbol
        assert each.min_qty % each.lot == 0
    by_symbol = {each.symbol: each for each in found}
    if part is SPOT:
        btc = by_symbol["BTC-USDT"]
        assert (btc.code, btc.px_decimal(btc.tick)) == (3, Decimal("0.1"))
        assert btc.qty_decimal(btc.min_qty) == Decimal("0.00001")
    else:
        swap = by_symbol["BTC-USDT-SWAP"]
        assert (swap.code, swap.contract_size) == (10459, Decimal("0.01"))
        assert by_symbol["BTC-USD_UM-SWAP"].pair == kit.Pair("BTC", "USD", "USD")
        assert "BTC-USD-SWAP" not in by_symbol


def test_maintenance_rows_on_both_paths_mean_the_same():
    row = okx.Maintenance(title="T", state="ongoing", begin="1", end="2", serviceType="0")
    assert okx.told(row).kind is kit.NoticeKind.HALTED
