"""`hean book --frames`: every figure of the recordings' index, and every kind of bad capture."""

import gzip
import lzma
from bisect import bisect_right
from decimal import Decimal
from itertools import pairwise

import orjson
import pytest

BINANCE = [  # file, symbol, all lines, depth events, trades (INDEX.md, section 2), last update id
    ("spot_btcusdt_20240808", "BTC/USDT", 41_249, 3_451, 9_757, 50093421584),
    ("spot_ethusdt_20240808", "ETH/USDT", 33_618, 3_434, 6_106, 35346671849),
    # The two long ones are read for their tops too: once is enough in a hurry.
    pytest.param(
        *("usdm_btcusdt_20240808", "BTC/USDT:USDT", 93_954, 6_551, 21_313, 5123135475514),
        marks=pytest.mark.slow,
    ),
    pytest.param(
        *("usdm_ethusdt_20240808", "ETH/USDT:USDT", 74_655, 6_586, 14_076, 5123135545737),
        marks=pytest.mark.slow,
    ),
    ("usdm_btcusdt_20230404", "BTC/USDT:USDT", 13_384, 4_322, 2_197, 2710249412032),
]
BOOK = ("--json",)


@pytest.mark.parametrize(("name", "symbol", "frames", "deltas", "trades", "seq"), BINANCE)
def test_binance_has_no_gap_behind_its_snapshot(
    hean, recording, name, symbol, frames, deltas, trades, seq
):
    path = recording(f"binance/{name}.txt.gz")
    told = hean("book", "--venue", "binance", "--symbol", symbol, "--frames", path, *BOOK).json()
    assert told["gaps"] == told["malformed"] == told["checksums_ok"] == told["checksums_bad"] == 0
    assert (told["frames"], told["snapshots"], told["deltas"]) == (frames, 1, deltas)
    assert (told["trades"], told["ignored"]) == (trades, frames - 1 - deltas - trades)
    assert (told["seq"], told["state"], told["damaged"]) == (seq, "live", None)
    well_formed(told)


def well_formed(told):
    """Ten levels a side, plain decimals, in order and not crossed."""
    bids, asks = ([Decimal(px) for px, _ in told[side]] for side in ("bids", "asks"))
    assert len(bids) == len(asks) == 10
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    texts = [text for side in ("bids", "asks") for level in told[side] for text in level]
    assert all(text == format(Decimal(text).normalize(), "f") for text in texts)


@pytest.mark.parametrize(
    ("name", "symbol", "same_id", "in_step", "every"),
    [
        # `same_id`: bookTicker and depth event end at one update id.  `in_step`: the depth event
        # came right behind that bookTicker (the futures' figures of INDEX.md).  `every`: at a
        # depth event's end the last bookTicker at or before it rules.
        ("spot_btcusdt_20240808", "BTC/USDT", 564, 560, 3_449),
        ("spot_ethusdt_20240808", "ETH/USDT", 577, 550, 3_433),
        ("usdm_btcusdt_20240808", "BTC/USDT:USDT", 629, 447, None),
        pytest.param(
            *("usdm_ethusdt_20240808", "ETH/USDT:USDT", 551, 426, None), marks=pytest.mark.slow
        ),
    ],
)
def test_the_top_is_what_book_ticker_says_at_the_same_update_id(
    hean, recording, name, symbol, same_id, in_step, every
):
    path = recording(f"binance/{name}.txt.gz")
    told = hean("book", "--venue", "binance", "--symbol", symbol, "--frames", path, "--tops")
    assert "1 snapshots" in told.err
    assert "0 malformed; gaps 0" in told.err
    tops = told.lines()
    seqs = [top["seq"] for top in tops]
    assert seqs == sorted(set(seqs)), "one change of the top an update at most"
    assert all(a != b for a, b in pairwise(tops))

    def top_at(seq):
        top = tops[bisect_right(seqs, seq) - 1]
        return [Decimal(text) for side in ("bid", "ask") for text in top[side]]

    last, ids, tickers, compared, stepped = None, [], {}, [], []
    with gzip.open(path) as lines:
        for line in lines:
            said = orjson.loads(line.partition(b" ")[2]).get("data", {})
            if said.get("e") == "depthUpdate":
                ids.append(said["u"])
                if last is not None and last["u"] == said["u"] >= seqs[0]:
                    stepped.append(said["u"])
            elif "B" in said:
                last = tickers[said["u"]] = said
    for seq in ids:
        if seq in tickers and seq >= seqs[0]:
            assert top_at(seq) == ticker_top(tickers[seq]), seq
            compared.append(seq)
    assert (len(compared), len(stepped)) == (same_id, in_step)
    if every is not None:
        order = sorted(tickers)
        after = [seq for seq in ids if seq >= seqs[0]]
        for seq in after:
            ruling = tickers[order[bisect_right(order, seq) - 1]]
            assert top_at(seq) == ticker_top(ruling), seq
        assert len(after) == every


def ticker_top(said):
    return [Decimal(said[key]) for key in ("b", "B", "a", "A")]


@pytest.mark.parametrize(
    ("symbol", "deltas", "trades", "seq"),
    [
        ("BTC/USDT:USDT", 413, 56, 15077365),
        ("ETH/USDT:USDT", 420, 23, 14768880),
        ("BTC/USDT", 299, 11, 62505723),  # spot, in the same file, under the same name BTCUSDT
    ],
)
def test_bybit_counts_without_a_gap(hean, recording, symbol, deltas, trades, seq):
    path = recording("bybit/v5_public_20260809.jsonl.gz")
    told = hean("book", "--venue", "bybit", "--symbol", symbol, "--frames", path, *BOOK).json()
    assert (told["snapshots"], told["deltas"], told["gaps"]) == (1, deltas, 0)
    assert (told["trades"], told["seq"], told["malformed"]) == (trades, seq, 0)
    well_formed(told)


OKX_2022_02 = (  # ten instruments: spot, perpetual, dated, inverse
    "v5_public_20220227_books_l2_tbt.txt.gz"
)


def test_okx_proves_290_books_by_their_checksums(hean, recording):
    path = recording("okx/v5_public_20220513.jsonl.gz")
    proved = {}
    for symbol in ("BTC/USDT", "UNI/USD:UNI", "BTC/USD:BTC-220527"):
        told = hean("book", "--venue", "okx", "--symbol", symbol, "--frames", path, *BOOK).json()
        assert (told["symbol"], told["seq"], told["checksums_bad"]) == (symbol, None, 0)
        assert told["snapshots"] == 1
        assert told["checksums_ok"] == 1 + told["deltas"]
        proved[symbol] = told["checksums_ok"]
        well_formed(told)
    assert proved == {"BTC/USDT": 98, "UNI/USD:UNI": 93, "BTC/USD:BTC-220527": 99}
    assert sum(proved.values()) == 290


def test_okx_proves_3679_books_of_ten_instruments(hean, recording):
    path = recording(f"okx/{OKX_2022_02}")
    messages = {}
    with gzip.open(path) as lines:
        for line in lines:
            if b'"action"' in line:
                said = orjson.loads(line.partition(b": ")[2])
                name = said["arg"]["instId"]
                messages[name] = messages.get(name, 0) + len(said["data"])
    assert (len(messages), sum(messages.values())) == (10, 3_679)
    for name, count in messages.items():
        told = hean("book", "--venue", "okx", "--symbol", name, "--frames", path, *BOOK).json()
        assert (told["checksums_ok"], told["checksums_bad"], told["gaps"]) == (count, 0, 0)
        assert told["snapshots"] + told["deltas"] == count
        assert told["state"] == "live"


@pytest.mark.parametrize(
    ("name", "symbol", "checksums"),
    [
        ("v2_book_btcusd_d10_20230730.ndjson.gz", "BTC/USD", 341),
        ("v2_book_minagbp_d25_20260816.ndjson", "MINA/GBP", 30),  # with 26 s of silence: LIVE
    ],
)
def test_kraken_proves_every_book_by_its_checksum(hean, recording, name, symbol, checksums):
    path = recording(f"kraken/{name}")
    told = hean("book", "--venue", "kraken", "--symbol", symbol, "--frames", path, *BOOK).json()
    assert (told["checksums_ok"], told["checksums_bad"]) == (checksums, 0)
    assert (told["snapshots"], told["deltas"]) == (1, checksums - 1)
    assert (told["state"], told["seq"]) == ("live", None)
    well_formed(told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("venue", "symbol", "alone", "loops"),
    [
        ("binance", "BTC/USDT", "binance/spot_btcusdt_20240808.txt.gz", 1),
        ("binance", "ETH/USDT", "binance/spot_ethusdt_20240808.txt.gz", 1),
        ("binance", "BTC/USDT:USDT", "binance/usdm_btcusdt_20240808.txt.gz", 1),
        # Its snapshot has no address and no symbol; the other pair's stands before it.
        ("binance", "ETH/USDT:USDT", "binance/usdm_ethusdt_20240808.txt.gz", 1),
        ("bybit", "BTC/USDT", "bybit/v5_public_20260809.jsonl.gz", 8),
        ("bybit", "BTC/USDT:USDT", "bybit/v5_public_20260809.jsonl.gz", 9),
        ("okx", "BTC/USDT", "okx/v5_public_20220513.jsonl.gz", 31),
        ("kraken", "BTC/USD", "kraken/v2_book_btcusd_d10_20230730.ndjson.gz", 12),
    ],
)
def test_a_mixed_replay_holds_every_venues_book(hean, recording, venue, symbol, alone, loops):
    path = recording("mixed/mixed_replay_btc_eth.jsonl.xz")
    asked = ("book", "--venue", venue, "--symbol", symbol, "--json", "--frames")
    told = hean(*asked, path).json()
    assert (told["gaps"], told["checksums_bad"], told["malformed"]) == (0, 0, 0)
    assert (told["snapshots"], told["state"]) == (loops, "live")
    if loops == 1:
        assert told == hean(*asked, recording(alone)).json()


@pytest.mark.parametrize("name", ["v1_public_20210417", "futures_20210722"])
def test_protocols_that_are_not_spoken_are_refused(refused, recording, name):
    path = recording(f"kraken/{name}.jsonl.gz")
    said = refused(6, "book", "--venue", "kraken", "--symbol", "BTC/USD", "--frames", path)
    assert "is not spoken" in said


# ------------------------------------------------------------------ without the recordings


def level(px, qty, crc=None):
    return {"price": px, "qty": qty}


def okx_frame(action, seq, prev, bids, asks):
    return {
        "arg": {"channel": "books", "instId": "BTC-USDT"},
        "action": action,
        "data": [
            {
                "bids": [[px, qty, "0", "1"] for px, qty in bids],
                "asks": [[px, qty, "0", "1"] for px, qty in asks],
                "ts": "1700000000000",
                "checksum": 0,
                "seqId": seq,
                "prevSeqId": prev,
            }
        ],
    }


OKX = [
    okx_frame("snapshot", 10, -1, [("100.1", "1"), ("99", "3")], [("101", "2")]),
    okx_frame("update", 12, 10, [("100.2", "0.5")], []),
    okx_frame("update", 15, 12, [("100.2", "0"), ("99", "2.5")], [("101", "0"), ("100.9", "4")]),
]


def capture(tmp_path, frames, name="capture.ndjson"):
    path = tmp_path / name
    path.write_bytes(b"".join(orjson.dumps(frame) + b"\n" for frame in frames))
    return path


def ask_okx(path, *more):
    return ("book", "--venue", "okx", "--symbol", "BTC/USDT", "--frames", path, *more)


def test_a_small_capture_to_the_last_digit(hean, tmp_path):
    told = hean(*ask_okx(capture(tmp_path, OKX), "--json")).json()
    assert told == {
        "venue": "okx",
        "symbol": "BTC/USDT",
        "state": "live",
        "reason": "whole",
        "frames": 3,
        "snapshots": 1,
        "deltas": 2,
        "trades": 0,
        "ignored": 0,
        "malformed": 0,
        "gaps": 0,
        "checksums_ok": 0,
        "checksums_bad": 0,
        "seq": 15,
        "bids": [["100.1", "1"], ["99", "2.5"]],
        "asks": [["100.9", "4"]],
        "damaged": None,
    }


def test_tops_tell_every_change_of_the_top_and_nothing_else(hean, tmp_path):
    told = hean(*ask_okx(capture(tmp_path, OKX), "--tops"))
    assert [(top["seq"], top["bid"], top["ask"]) for top in told.lines()] == [
        (10, ["100.1", "1"], ["101", "2"]),
        (12, ["100.2", "0.5"], ["101", "2"]),
        (15, ["100.1", "1"], ["100.9", "4"]),
    ]


def test_an_empty_side_is_null(hean, tmp_path):
    frames = [okx_frame("snapshot", 10, -1, [("100.1", "1")], [])]
    (top,) = hean(*ask_okx(capture(tmp_path, frames), "--tops")).lines()
    assert (top["bid"], top["ask"]) == (["100.1", "1"], None)


def test_a_gap_is_counted_and_its_book_not_shown(hean, tmp_path):
    told = hean(*ask_okx(capture(tmp_path, [OKX[0], OKX[2]]), "--json")).json()
    assert (told["gaps"], told["state"], told["bids"], told["asks"]) == (1, "syncing", [], [])


def test_people_see_a_ladder_and_the_counts(hean, tmp_path):
    told = hean(*ask_okx(capture(tmp_path, OKX)))
    assert told.code == 0
    assert "100.1" in told.out
    assert "1 snapshots, 2 deltas" in told.out


def test_an_answer_belongs_to_the_stream_it_is_told_with(hean, tmp_path):
    """Binance's snapshots name no symbol: in a mixed replay only the connection's name does."""

    def line(conn, kind, raw):
        return {
            "t": 1,
            "venue": "binance",
            "conn": conn,
            "kind": kind,
            "src_t": 1,
            "loop": 0,
            "raw": orjson.dumps(raw).decode(),
        }

    def event(symbol, first, last, bid):
        return {
            "e": "depthUpdate",
            "E": 1,
            "s": symbol,
            "U": first,
            "u": last,
            "b": [[bid, "1"]],
            "a": [],
        }

    def snapshot(seq, bid, ask):
        return {"lastUpdateId": seq, "bids": [[bid, "5"]], "asks": [[ask, "5"]]}

    lines = [
        line("binance-spot-btcusdt", "ws", event("BTCUSDT", 5, 6, "60000.00")),
        line("binance-spot-ethusdt", "ws", event("ETHUSDT", 3, 4, "2500.00")),
        line("binance-spot-btcusdt", "rest", snapshot(5, "59999.00", "60001.00")),
        line("binance-spot-ethusdt", "rest", snapshot(3, "2499.00", "2501.00")),
    ]
    path = capture(tmp_path, lines)
    for symbol, best in (("BTC/USDT", "60000"), ("ETH/USDT", "2500")):
        told = hean("book", "--venue", "binance", "--symbol", symbol, "--frames", path, "--json")
        told = told.json()
        assert (told["frames"], told["snapshots"], told["bids"][0]) == (2, 1, [best, "1"])


BAD = [  # what is wrong, options, exit code, what the error says
    ("no such file", {"path": "nowhere.ndjson"}, 2, "no such file"),
    ("a directory", {"path": "."}, 2, "directory"),
    ("no venue", {"venue": ""}, 2, "--venue"),
    ("no symbol", {"symbol": ""}, 2, "--symbol"),
    ("an unknown venue", {"venue": "okxx"}, 2, 'did you mean "okx"'),
    ("a venue behind a library", {"venue": "ccxt:kucoin"}, 2, "knows no captures"),
    ("a symbol that is none", {"symbol": "BTC/"}, 2, "not BASE/QUOTE"),
    ("a symbol that is not in it", {"symbol": "DOGE/USDT"}, 2, "nothing about DOGE/USDT"),
    ("a capture of somebody else", {"venue": "bybit"}, 2, "a capture of okx"),
    ("an empty file", {"content": b""}, 1, "the file is empty"),
    ("no capture at all", {"content": b"hello\nworld\n"}, 1, "not a capture"),
    ("a foreign compression", {"content": b"\x28\xb5\x2f\xfd0000"}, 1, "zstd -d"),
    ("two symbols", {"more": ("ETH/USDT",)}, 2, "two symbols"),
]


@pytest.mark.parametrize(
    ("options", "code", "says"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_captures_and_names_are_told_once_with_their_fix(
    refused, tmp_path, monkeypatch, options, code, says
):
    monkeypatch.chdir(tmp_path)
    path = capture(tmp_path, OKX)
    if "content" in options:
        path.write_bytes(options["content"])
    args = ["book", "--frames", options.get("path", path)]
    for name, value in (("venue", "okx"), ("symbol", "BTC/USDT")):
        if value := options.get(name, value):
            args += [f"--{name}", value]
    assert says in refused(code, *args, *options.get("more", ()))


CUTS = [  # how a copy ended early, and what is left of three frames
    ("in the middle of a line", "capture.ndjson", lambda data: data[:-40], 2),
    ("in the gzip stream", "capture.ndjson.gz", lambda data: gzip.compress(data)[:-12], None),
    ("in the xz stream", "capture.ndjson.xz", lambda data: lzma.compress(data)[:-30], None),
    ("a line of noise", "capture.ndjson", lambda data: data + b"\x00\xff{\n", 3),
]


@pytest.mark.parametrize(
    ("name", "cut", "whole"), [row[1:] for row in CUTS], ids=[row[0] for row in CUTS]
)
def test_a_capture_that_breaks_off_is_read_so_far_and_told_of(hean, tmp_path, name, cut, whole):
    path = tmp_path / name
    path.write_bytes(cut(b"".join(orjson.dumps(frame) + b"\n" for frame in OKX)))
    told = hean(*ask_okx(path, "--json"))
    assert told.code == 1
    assert told.err.count("error: ") == 1
    assert "fix: " in told.err
    report = told.json()
    if "error" in report:  # compressed, it may be that not one line can be had
        assert whole is None
        return
    assert str(path) in report["damaged"]
    assert report["frames"] == (report["frames"] if whole is None else whole)
    assert report["bids"]


def test_a_pipe_is_a_capture_too(hean, tmp_path):
    import os
    import threading

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    data = capture(tmp_path, OKX).read_bytes()
    writer = threading.Thread(target=lambda: pipe.write_bytes(data))
    writer.start()
    told = hean(*ask_okx(pipe, "--json")).json()
    writer.join()
    assert told["seq"] == 15
