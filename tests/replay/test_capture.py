"""Captures: every container, real and by hand; what is damaged, and what is none."""

import errno
import gc
import gzip
import json
import lzma
import os
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from hean_router.replay import (
    NO_END_MARK,
    Captured,
    CaptureError,
    Format,
    Wire,
    open_capture,
    part_of_record,
    protocol_of,
    protocols_in,
    read_header,
    stream,
    topic_of,
)
from hean_router.replay.wire import part_of, wire_of

RECORDINGS = Path(
    os.environ.get("HEAN_RECORDINGS") or Path(__file__).parents[3] / "shared" / "data" / "real"
)


def recording(name: str) -> Path:
    path = RECORDINGS / name
    if not path.exists():
        pytest.skip(f"no recording {path}: set HEAN_RECORDINGS to the folder that has it")
    return path


def unpacked(path: Path) -> list[bytes]:
    """The lines of a recording, by other means than ours."""
    reader = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with reader(path, "rb") as file:
        return file.read().split(b"\n")[:-1]


# --- the real files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "lines", "streams"),
    [
        ("spot_btcusdt_20240808", 41_249, {"depth": 3_451, "bookTicker": 28_040, "trade": 9_757}),
        ("spot_ethusdt_20240808", 33_618, {"depth": 3_434, "bookTicker": 24_077, "trade": 6_106}),
        ("usdm_btcusdt_20240808", 93_954, {"depth": 6_551, "bookTicker": 66_089, "trade": 21_313}),
        ("usdm_ethusdt_20240808", 74_655, {"depth": 6_586, "bookTicker": 53_992, "trade": 14_076}),
        # Receive times in µs; the funding fields' stream too.
        (
            "usdm_btcusdt_20230404",
            13_384,
            {"depth": 4_322, "bookTicker": 6_765, "trade": 2_197, "markPrice": 99},
        ),
    ],
)
def test_binance_lines(name: str, lines: int, streams: dict[str, int]) -> None:
    path = recording(f"binance/{name}.txt.gz")
    records = list(open_capture(path))
    kept = unpacked(path)
    assert len(records) == len(kept) == lines
    # The whole line is receive time, blank, raw: nothing else, nothing lost.
    scale = 1000 if "2023" in name else 1
    assert all(
        b"%d %b" % (r.at_ns // scale, r.raw) == k for r, k in zip(records, kept, strict=True)
    )
    answers = [r for r in records if r.kind == "http"]
    assert [topic_of(r) for r in answers] == ["depth"]
    assert len(json.loads(answers[0].raw)["bids"]) == 1000
    seen = Counter(
        r.raw.split(b"@")[1].split(b'"')[0].decode() for r in records if r.kind == "recv"
    )
    assert seen == streams
    assert {r.venue for r in records} == {"binance"}
    assert protocols_in(path) == {Wire.BINANCE}
    part = "spot" if name.startswith("spot") else "linear"
    assert {part_of_record(r) for r in records} - {""} == {part}


@pytest.mark.parametrize(
    ("name", "wire", "received", "topics"),
    [
        ("binance/spot_multi_20211012", Wire.BINANCE, 265, {"instruments": 1, "depth": 4}),
        ("binance/usdm_multi_20210722", Wire.BINANCE, 1_535, {"instruments": 1, "depth": 4}),
        ("bybit/v5_public_20260809", Wire.BYBIT, 1_689, {"instruments": 2}),
        ("okx/v5_public_20220513", Wire.OKX, 410, {"instruments": 25}),
        # Readable, but of protocols that nobody here speaks.
        ("kraken/v1_public_20210417", Wire.KRAKEN_V1, 4_430, {"instruments": 1}),
        ("kraken/futures_20210722", Wire.KRAKEN_FUTURES, 7_175, {"instruments": 1}),
    ],
)
def test_cryptofeed_lines(name: str, wire: Wire, received: int, topics: dict[str, int]) -> None:
    path = recording(f"{name}.jsonl.gz")
    capture = open_capture(path)
    records = list(capture)
    kept = [json.loads(line) for line in unpacked(path)]
    assert capture.format is Format.CRYPTOFEED
    assert json.loads(capture.header) == kept[0]
    kinds = {"recv": "recv", "send": "sent", "http": "http", "connect": "connect"}
    for record, entry in zip(records, kept[1:], strict=True):
        assert record.kind == kinds[entry["t"]]
        assert record.conn == entry["conn"]
        assert record.raw.decode() == entry.get("data", "")
        assert abs(record.at_ns - entry["ts"] * 1e9) < 1000  # a float has no ns
    assert sum(r.kind == "recv" for r in records) == received
    assert Counter(topic_of(r) for r in records if topic_of(r)) == topics
    assert {r.venue for r in records} == {wire.venue}
    assert protocols_in(path) == {wire}
    assert bool(wire.refusal) == (wire in {Wire.KRAKEN_V1, Wire.KRAKEN_FUTURES})


def test_bybit_lists_its_instruments_and_names_the_part_of_each_connection() -> None:
    records = list(open_capture(recording("bybit/v5_public_20260809.jsonl.gz")))
    answers = [json.loads(r.raw)["result"] for r in records if topic_of(r) == "instruments"]
    assert [(a["category"], len(a["list"])) for a in answers] == [("linear", 800), ("spot", 557)]
    deltas = Counter(
        part_of_record(r)
        for r in records
        if r.raw.startswith(b'{"topic":"orderbook.200.BTCUSDT"') and b'"type":"delta"' in r.raw
    )
    assert deltas == {"linear": 413, "spot": 299}


def test_okx_text() -> None:
    path = recording("okx/v5_public_20220227_books_l2_tbt.txt.gz")
    records, kept = list(open_capture(path)), unpacked(path)
    assert len(records) == len(kept)
    assert [r.kind for r in records[:4]] == ["connect", "sent", "sent", "sent"]
    assert all(line.endswith(r.raw) for r, line in zip(records[1:], kept[1:], strict=True))
    received = [r for r in records if r.kind == "recv"]
    assert sum(b'"action":' in r.raw for r in received) == 3_679
    seconds, raw = kept[4].split(b": ", 1)
    assert (received[0].at_ns, received[0].raw) == (int(float(seconds) * 1e6) * 1000, raw)
    assert {(r.venue, r.url) for r in records} == {("okx", "wss://ws.okx.com:8443/ws/v5/public")}


def test_kraken_bare_frames() -> None:
    path = recording("kraken/v2_book_btcusd_d10_20230730.ndjson.gz")
    records = list(open_capture(path))
    assert [r.raw for r in records] == unpacked(path)
    assert len(records) == 340 + 1
    assert {(r.kind, r.at_ns, r.venue) for r in records} == {("recv", 0, "kraken")}


def test_kraken_rx_lines_keep_every_digit() -> None:
    path = recording("kraken/v2_book_minagbp_d25_20260816.ndjson")
    records, kept = list(open_capture(path)), unpacked(path)
    assert len(records) == len(kept) == 94
    assert Counter(r.kind for r in records) == {"connect": 1, "sent": 1, "recv": 92}
    assert records[0].url == "wss://ws.kraken.com/v2"
    frames = [line[line.index(b'"frame": ') + 9 : -1] for line in kept[1:]]
    assert [r.raw for r in records[1:]] == frames
    assert sum(b'"type":"update"' in f and b'"channel":"book"' in f for f in frames) == 29
    times = [r.at_ns for r in records]
    assert times == sorted(times)
    assert max(b - a for a, b in pairwise(times)) < 2_000_000_000


def test_mixed_replay_reconnects_with_every_loop() -> None:
    path = recording("mixed/mixed_replay_btc_eth.jsonl.xz")
    lines: Counter[str] = Counter()
    connects: Counter[str] = Counter()
    with lzma.open(path, "rb") as file:
        for record in open_capture(path):
            if record.kind == "connect":
                connects[record.conn] += 1
                continue
            lines[record.conn] += 1
            line = file.readline()
            if lines[record.conn] % 250 == 1:  # our own copy costs more than the reading
                entry = json.loads(line)
                assert record.raw == entry["raw"].encode()
                assert (record.conn, record.venue, record.loop) == (
                    entry["conn"], entry["venue"], entry["loop"],
                )  # fmt: skip
                assert record.at_ns == round(entry["t"] * 1e9)
                assert record.kind == {"ws": "recv", "rest": "http"}[entry["kind"]]
        assert file.readline() == b""
    assert lines.total() == 270_499
    assert lines == {
        "binance-spot-btcusdt": 41_249, "binance-spot-ethusdt": 33_618,
        "binance-usdm-btcusdt": 93_954, "binance-usdm-ethusdt": 74_655,
        "bybit-linear": 10_667, "bybit-spot": 2_992, "okx-public": 9_445, "kraken-v2": 3_919,
    }  # fmt: skip
    assert connects == {
        "binance-spot-btcusdt": 1, "binance-spot-ethusdt": 1, "binance-usdm-btcusdt": 1,
        "binance-usdm-ethusdt": 1, "bybit-linear": 9, "bybit-spot": 8, "okx-public": 31,
        "kraken-v2": 12,
    }  # fmt: skip
    assert protocols_in(path) == {Wire.BINANCE, Wire.BYBIT, Wire.OKX, Wire.KRAKEN}


@pytest.mark.parametrize(
    ("name", "venue", "messages"),
    [
        ("binance/private_executionReport.jsonl", "binance", 59),
        ("binance/private_balanceUpdate.jsonl", "binance", 2),
        ("binance/private_ORDER_TRADE_UPDATE.jsonl", "binance", 64),
        ("bybit/private_order_stream.jsonl", "bybit", 28),
        ("okx/private_orders.jsonl", "okx", 54),
    ],
)
def test_private_streams(name: str, venue: str, messages: int) -> None:
    path = recording(name)
    records = list(open_capture(path))
    assert [r.raw for r in records] == unpacked(path)
    assert len(records) == messages
    assert {(r.kind, r.venue) for r in records} == {("recv", venue)}


@pytest.mark.parametrize(
    ("name", "kind", "venue", "topic"),
    [
        ("kraken/v2_instrument_snapshot.json.gz", "recv", "kraken", "instruments"),
        ("okx/rest_instruments_spot_20260427.json.gz", "http", "okx", "instruments"),
        ("okx/rest_instruments_swap_20260427.json.gz", "http", "okx", "instruments"),
        ("okx/rest_funding_rate_any_20260427.json.gz", "http", "okx", ""),
    ],
)
def test_documents(name: str, kind: str, venue: str, topic: str) -> None:
    path = recording(name)
    (record,) = open_capture(path)
    with gzip.open(path) as file:
        whole = file.read()
    assert record.raw == whole.removesuffix(b"\n")
    assert (record.kind, record.venue, topic_of(record)) == (kind, venue, topic)


@pytest.mark.parametrize(
    "name",
    [
        "binance/rest_recorded.json.gz",  # a catalogue by route, not what a connection said
        "kraken/v2_checksum_known_answer.json",
        "INDEX.md",
    ],
)
def test_other_files_are_no_captures(name: str) -> None:
    with pytest.raises(CaptureError, match="not a capture"):
        list(open_capture(recording(name)))


def test_a_real_one_cut_anywhere_gives_what_is_whole() -> None:
    whole = recording("kraken/v2_book_minagbp_d25_20260816.ndjson").read_bytes()
    expected, _ = read_all(whole)
    for at in range(1, len(whole), 97):
        records, error = read_all(whole[:at])
        assert records == expected[: len(records)]
        assert error is not None or whole[at - 1 : at + 1].count(b"\n") == 1


# --- the same containers by hand, for a clone without recordings ---------------------------------

BOOK = b'{"channel":"book","type":"update","data":[{"bids":[{"price":0.0280,"qty":4.00000000}]}]}'
WORD = '{"topic":"tickers.BTCUSDT","data":{"note":"é\u2028 \\n \\u00e9","x":1.50}}'.encode()
DEPTH = b'{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"U":2,"u":3,"b":[]}}'
ANSWER = b'{"lastUpdateId":2,"bids":[["1.00","2"]],"asks":[]}'
OKX = b'{"arg":{"channel":"books"},"action":"update","data":[{"checksum":-5}]}'
RX_HEAD = b'{"captured_at": "2026-08-16", "url": "wss://ws.kraken.com/v2", "venue": "kraken"}'
URL = "wss://ws.okx.com:8443/ws/v5/public"


def text(raw: bytes) -> str:
    return json.dumps(raw.decode())


def own(*lines: str, header: str = '{"format":"hean-capture","version":1,"venue":"okx"}') -> bytes:
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


TWINS: dict[Format, tuple[bytes, list[Captured]]] = {
    Format.STAMPED: (
        b"1723161253937085768 %b\n1680652700423575 %b\n1723161253 pong\n" % (DEPTH, ANSWER),
        [
            Captured(1723161253937085768, "recv", "ws", DEPTH, "", "binance"),
            Captured(1680652700423575000, "http", "rest", ANSWER, "", "binance"),
            Captured(1723161253000000000, "recv", "ws", b"pong", "", "binance"),
        ],
    ),
    Format.CRYPTOFEED: (
        (
            '{"t":"header","format":2,"exchange":"BYBIT","recorded":1.5}\n'
            f'{{"t":"http","conn":"h","ts":1786310817.601629,"url":"https://x/a?b=c","data":{text(ANSWER)}}}\n'
            '{"t":"connect","conn":"w","ts":1786310818.2235148,"addr":"wss://x/v5/public/linear"}\n'
            f'{{"t":"send","conn":"w","ts":1786310819,"addr":"wss://x/v5/public/linear","data":{text(OKX)}}}\n'
            f'{{"t":"recv","conn":"w","ts":1786310819.5,"data":{text(WORD)}}}\n'
        ).encode(),
        [
            Captured(1786310817601629000, "http", "h", ANSWER, "https://x/a?b=c", "bybit"),
            Captured(1786310818223514800, "connect", "w", b"", "wss://x/v5/public/linear", "bybit"),
            Captured(1786310819000000000, "sent", "w", OKX, "wss://x/v5/public/linear", "bybit"),
            Captured(1786310819500000000, "recv", "w", WORD, "wss://x/v5/public/linear", "bybit"),
        ],
    ),
    Format.CRYPTOFEED_TEXT: (
        b"%(u)b <-> 1646003666.6408682\n%(u)b <- 1646003667.399285: %(f)b\n"
        b"1646003667.645451: %(f)b\n"
        b"https://www.okx.com/api -> 1646003668.5: %(f)b\n" % {b"u": URL.encode(), b"f": OKX},
        [
            Captured(1646003666640868200, "connect", URL, b"", URL, "okx"),
            Captured(1646003667399285000, "sent", URL, OKX, URL, "okx"),
            Captured(1646003667645451000, "recv", URL, OKX, URL, "okx"),
            Captured(
                1646003668500000000,
                "http",
                "https://www.okx.com/api",
                OKX,
                "https://www.okx.com/api",
                "okx",
            ),
        ],
    ),
    Format.FRAMES: (
        BOOK + b"\n" + b'{"channel":"heartbeat"}\r\n\n' + BOOK + b"\n",
        [
            Captured(0, "recv", "ws", raw, "", "kraken")
            for raw in (BOOK, b'{"channel":"heartbeat"}', BOOK)
        ],
    ),
    Format.RX: (
        RX_HEAD + b'\n{"rx_ns": 42890204228400, "dir": "tx", "frame": {"method": "subscribe"}}\n'
        b'{"rx_ns": 42890204502000, "frame":  ' + BOOK + b" }\n",
        [
            Captured(
                42890204228400,
                "connect",
                "ws",
                RX_HEAD,
                "wss://ws.kraken.com/v2",
                "kraken",
            ),
            Captured(
                42890204228400,
                "sent",
                "ws",
                b'{"method": "subscribe"}',
                "wss://ws.kraken.com/v2",
                "kraken",
            ),
            Captured(42890204502000, "recv", "ws", BOOK, "wss://ws.kraken.com/v2", "kraken"),
        ],
    ),
    Format.MIXED: (
        "".join(
            f'{{"t":{t},"venue":"okx","conn":"{c}","kind":"{k}","src_t":1.5,"loop":{n},"raw":{text(raw)}}}\n'
            for t, c, k, n, raw in [
                ("0.0", "a", "ws", 0, OKX),
                ("4.4e-05", "b", "rest", 0, WORD),
                ("1.5", "a", "ws", 1, OKX),
            ]
        ).encode(),
        [
            Captured(0, "connect", "a", b"", "", "okx"),
            Captured(0, "recv", "a", OKX, "", "okx"),
            Captured(44_000, "connect", "b", b"", "", "okx"),
            Captured(44_000, "http", "b", WORD, "", "okx"),
            Captured(1_500_000_000, "connect", "a", b"", "", "okx", 1),
            Captured(1_500_000_000, "recv", "a", OKX, "", "okx", 1),
        ],
    ),
    Format.OWN: (
        own(
            '{"kind":"connect","at_ns":1,"conn":"c","url":"wss://h/ws"}',
            f'{{"kind":"recv","at_ns":2,"conn":"c","text":{text(WORD)}}}',
            '{"kind":"recv","at_ns":3,"conn":"c","base64":"/w0KAA==","binary":true,"venue":"x"}',
            '{"kind":"http","at_ns":4,"conn":"h","url":"https://h/","status":429,"text":"no"}',
            '{"kind":"end","at_ns":4,"records":4}',
        ),
        [
            Captured(1, "connect", "c", b"", "wss://h/ws", "okx"),
            Captured(2, "recv", "c", WORD, "", "okx"),
            Captured(3, "recv", "c", b"\xff\r\n\0", "", "x", binary=True),
            Captured(4, "http", "h", b"no", "https://h/", "okx", status=429),
        ],
    ),
    Format.DOCUMENT: (
        b'{\n  "channel": "instrument",\r\n\n  "data": {"x": 1.00}\n}\n',
        [
            Captured(
                0,
                "recv",
                "ws",
                b'{\n  "channel": "instrument",\r\n\n  "data": {"x": 1.00}\n}',
                "",
                "kraken",
            )
        ],
    ),
}
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "two gzip members": lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:]),
    "two xz streams": lambda data: lzma.compress(data[:40]) + lzma.compress(data[40:]),
    "padded gzip": lambda data: gzip.compress(data) + bytes(512),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
}
every_container = pytest.mark.parametrize("container", TWINS)


@pytest.fixture(autouse=True)
def _scratch(tmp_path: Path) -> None:
    Scratch.path = tmp_path / "capture"


class Scratch:
    path: Path


def read_all(data: bytes) -> tuple[list[Captured], CaptureError | None]:
    """All that `data`, as a file, gives, and the error it ends with."""
    Scratch.path.write_bytes(data)
    records: list[Captured] = []
    try:
        with open_capture(Scratch.path) as capture:
            for record in capture:
                records.append(record)  # noqa: PERF402  (what came before the error counts)
    except CaptureError as error:
        return records, error
    return records, None


def test_there_is_a_twin_of_every_container() -> None:
    assert set(TWINS) == set(Format)


@every_container
@pytest.mark.parametrize("packing", PACKED)
def test_reads_its_twin(container: Format, packing: str) -> None:
    data, expected = TWINS[container]
    assert read_all(PACKED[packing](data)) == (expected, None)
    assert open_capture(Scratch.path).format is container


@every_container
def test_a_missing_last_newline_is_no_damage(container: Format) -> None:
    data, expected = TWINS[container]
    assert read_all(data[:-1]) == (expected, None)


@every_container
def test_cut_anywhere_it_gives_what_is_whole_and_says_so(container: Format) -> None:
    data, expected = TWINS[container]
    ends = {at for at, byte in enumerate(data) if byte == ord("\n")}
    for at in range(1, len(data) - 1):
        records, error = read_all(data[:at])
        notes = [r for r in records if r.raw == NO_END_MARK]
        kept = [r for r in records if r.raw != NO_END_MARK]
        assert kept == expected[: len(kept)], at
        clean = at in ends or at - 1 in ends or data[at : at + 1] == b"\r"
        if container is Format.CRYPTOFEED_TEXT and at == min(ends):
            clean = False  # it ends with a bare time, and half a time looks like one
        if container is Format.DOCUMENT or at < min(ends):  # no line is whole: no records at all
            assert error is not None
            assert kept == []
            continue
        assert (error is None) == clean, (at, error)
        if error is not None:
            assert "cut off in the middle of a line" in str(error)
            assert error.line == data[:at].count(b"\n") + 1
            assert error.offset == data.rfind(b"\n", 0, at) + 1
        # Between two lines only our own format can tell; it does not take it for an error.
        assert len(notes) == (container is Format.OWN and error is None)


@every_container
@pytest.mark.parametrize("packing", ["gzip", "xz", "two gzip members"])
def test_a_cut_compressed_file_never_passes_for_whole(container: Format, packing: str) -> None:
    data, expected = TWINS[container]
    packed = PACKED[packing](data)
    seam = len(gzip.compress(data[:40])) if packing == "two gzip members" else 0
    for at in range(1, len(packed)):
        records, error = read_all(packed[:at])
        assert error is not None or at == seam, at
        if error is not None:
            assert error.fix
            assert [r for r in records if r.raw != NO_END_MARK] == expected[: len(records)], at


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_what_stands_before_a_compressed_damage_is_read(pack: Callable[[bytes], bytes]) -> None:
    lines = [b'%d {"e":"trade","E":%d}' % (10**18 + n, n * n) for n in range(20_000)]
    packed = bytearray(pack(b"\n".join(lines)))
    middle = len(packed) // 2
    packed[middle : middle + 64] = b"\xff" * 64
    records, error = read_all(bytes(packed))
    assert error is not None
    good = [r.raw for r in records]
    # All but at most one block of it: gzip to the last byte, xz to its last 4 KB of text.
    assert len(good) > 8_000
    same = sum(raw == line.split(b" ", 1)[1] for raw, line in zip(good, lines, strict=False))
    assert same > 8_000
    assert len(good) - same <= 2  # a line that was altered and still is JSON: only the sum knows


GOOD = DEPTH[:-2] + b"}}"
DAMAGE = [
    # name, file, records before, words of the error
    ("empty", b"", 0, ["is empty"]),
    ("only blank lines", b"\n \n\r\n", 0, ["is empty"]),
    ("an empty gzip", gzip.compress(b""), 0, ["is empty"]),
    ("text", b"Dear diary,\nnothing.\n", 0, ["line 1", "not a capture", "Dear diary"]),
    ("binary", bytes(range(256)) * 40, 0, ["not a capture"]),
    ("zeros", bytes(70_000), 0, ["not a capture"]),
    ("JSON of something else", b'{"hello":"world"}\n', 0, ["not a capture", "hello"]),
    ("JSON document of something else", b'{\n"hello":"world"}\n', 0, ["line 1", "not a capture"]),
    ("a list", b"[1,2,3]\n", 0, ["not a capture"]),
    ("broken JSON document", b'{\n"channel":"instrument",\n]\n', 0, ["nor the whole file is JSON"]),
    ("Zstandard", b"\x28\xb5\x2f\xfd1234", 0, ["Zstandard", "not read"]),
    ("bzip2", b"BZh91AY", 0, ["bzip2"]),
    ("ZIP", b"PK\x03\x04....", 0, ["ZIP"]),
    ("gzip and garbage", gzip.compress(b"1 {}") + b"garbage", 0, ["gzip stream is damaged"]),
    ("half a first line", b'{"t":"header","form', 0, ["cut off in the middle", '"form']),
    ("begins in mid-line", b'0"]]}}\n1723161253937085768 {}\n', 0, ["not a capture"]),
    (
        "garbage bytes between lines",
        b"1723161253937085768 %b\n\xff\xfe\x00garbage\n" % GOOD,
        1,
        ["line 2", "damaged line", "no receive time"],
    ),
    (
        "half a line, then the next",
        b"1723161253937085768 %b\n1723161253937085769 %b%b\n" % (GOOD, GOOD[:30], GOOD),
        1,
        ["line 2", "damaged line"],
    ),
    (
        "invalid UTF-8 in a frame",
        b'1723161253937085768 %b\n1723161253937085769 {"a":"\xff"}\n' % GOOD,
        1,
        ["line 2", "utf-8"],
    ),
    ("zeros at the end, after a power cut", b"1723161253937085768 {}\n" + bytes(99), 1, ["line 2"]),
    ("a time that is none", b'{"t":"recv","conn":"c","ts":1e300,"data":""}\n', 0, ["no time"]),
    ("a negative time", b'{"t":"recv","conn":"c","ts":-1,"data":""}\n', 0, ["no time"]),
    ("NaN", b'{"t":"recv","conn":"c","ts":"NaN","data":""}\n', 0, ["no time"]),
    ("a missing field", b'{"rx_ns":1,"frame":{}}\n{"rx_ns":2}\n', 1, ["line 2", "`frame`"]),
    (
        "a field of another type",
        b'{"t":0,"venue":"a","conn":"b","kind":"ws","raw":5}\n',
        0,
        ["str"],
    ),
    ("nested beyond reason", b"1723161253937085768 " + b"[" * 100_000 + b"\n", 0, ["line 1"]),
    ("another version", own(header='{"format":"hean-capture","version":2}'), 0, ["version 2"]),
    (
        "lines lost inside",
        own('{"kind":"note","at_ns":1}', '{"kind":"end","at_ns":1,"records":2}'),
        1,
        ["2 records were written, but 1 are here"],
    ),
    ("an unknown kind", own('{"kind":"joke","at_ns":1}'), 0, ["line 2", "joke"]),
    ("base64 that is none", own('{"kind":"recv","at_ns":1,"base64":"?"}'), 0, ["line 2"]),
]


@pytest.mark.parametrize(
    ("data", "before", "words"), [row[1:] for row in DAMAGE], ids=[row[0] for row in DAMAGE]
)
def test_damage(data: bytes, before: int, words: list[str]) -> None:
    records, error = read_all(data)
    assert error is not None
    assert len(records) == error.records == before
    for word in (*words, str(Scratch.path)):
        assert word in str(error)
    assert error.fix
    assert "\n" not in str(error)
    assert len(str(error)) < 800


def test_a_line_without_end_is_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "LINE_MAX", 1000)
    _, error = read_all(b"1723161253937085768 {}\n" + b"[" * 200_000)
    assert error is not None
    assert "a line of more than" in str(error)


def test_places_where_no_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CaptureError, match="no such file"):
        open_capture(tmp_path / "nothing")
    with pytest.raises(CaptureError, match="directory") as caught:
        open_capture(tmp_path)
    assert str(tmp_path) in str(caught.value)

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(stream.io, "FileIO", refused)  # root may read all: rights cannot be taken
    with pytest.raises(CaptureError, match="not allowed") as caught:
        open_capture(tmp_path / "secret")
    assert "chmod" in caught.value.fix


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(stream.io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "a"
    path.write_bytes(b"x")
    monkeypatch.setattr(stream.io, "FileIO", Failing)
    with pytest.raises(CaptureError, match="Input/output error"):
        open_capture(path)


def test_it_is_lazy_and_closes_itself() -> None:
    Scratch.path.write_bytes(b"1723161253937085768 {}\n" * 50_000 + b"garbage")
    opened = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else None
    capture = open_capture(Scratch.path)
    assert next(capture).raw == b"{}"  # the garbage is megabytes away
    del capture
    gc.collect()  # a forgotten file would be a ResourceWarning, and so an error
    with open_capture(Scratch.path) as capture:
        next(capture)
    assert list(capture) == []
    if opened is not None:
        assert len(os.listdir("/proc/self/fd")) == opened


def test_reads_a_pipe() -> None:
    os.mkfifo(Scratch.path)
    holder = os.open(Scratch.path, os.O_RDWR)  # so that opening it waits for nobody
    os.write(holder, gzip.compress(b"1723161253937085768 {}\n"))
    with open_capture(Scratch.path) as capture:
        assert next(capture).raw == b"{}"
    os.close(holder)


# --- what a frame says of itself -----------------------------------------------------------------

WIRES = [
    (b'{"stream":"btcusdt@trade","data":{}}', Wire.BINANCE),
    (b'{"e":"executionReport","E":1}', Wire.BINANCE),
    (b'{"u":1,"s":"BTCUSDT","b":"1","B":"1","a":"2","A":"1"}', Wire.BINANCE),  # raw bookTicker
    (b'[{"e":"24hrMiniTicker","E":1}]', Wire.BINANCE),  # raw "all market" stream
    (b'{"method":"SUBSCRIBE","params":[],"id":1}', Wire.BINANCE),
    (b'{"id":"1","method":"session.logon","params":{}}', Wire.BINANCE),
    (b'{"result":null,"id":1}', Wire.BINANCE),
    (b'{"lastUpdateId":1,"bids":[],"asks":[]}', Wire.BINANCE),
    (b'{"topic":"orderbook.50.BTCUSDT","type":"snapshot"}', Wire.BYBIT),
    (b'{"success":true,"ret_msg":"","op":"auth"}', Wire.BYBIT),
    (b'{"op":"subscribe","args":["tickers.BTCUSDT"]}', Wire.BYBIT),
    (b'{"op":"order.create","header":{},"args":[{"symbol":"BTCUSDT"}]}', Wire.BYBIT),
    (b'{"op":"subscribe","args":[{"channel":"books"}]}', Wire.OKX),
    (b'{"op":"order","id":"1","args":[{"instId":"BTC-USDT"}]}', Wire.OKX),
    (b'{"event":"login","code":"0"}', Wire.OKX),
    (b'{"event":"channel-conn-count","channel":"orders"}', Wire.OKX),
    (b'{"arg":{"channel":"books"},"action":"update"}', Wire.OKX),
    (b'{"channel":"heartbeat"}', Wire.KRAKEN),
    (b'{"method":"subscribe","result":{},"success":true}', Wire.KRAKEN),
    (b'[336,{"a":[]},"book-1000","XBT/USD"]', Wire.KRAKEN_V1),
    (b'{"event":"heartbeat"}', Wire.KRAKEN_V1),
    (b'{"event":"subscribe","pair":["XBT/USD"],"subscription":{"name":"book"}}', Wire.KRAKEN_V1),
    (b'{"event":"info","version":1}', Wire.KRAKEN_FUTURES),
    (b'{"feed":"book","product_id":"PI_XBTUSD","seq":1}', Wire.KRAKEN_FUTURES),
    (b'{"event":"subscribe","feed":"book","product_ids":[]}', Wire.KRAKEN_FUTURES),
    (b"pong", None),
    (b"\xff", None),
    (b"[1,2,3]", None),
    (b'{"hello":1}', None),
]


@pytest.mark.parametrize(("raw", "wire"), WIRES)
def test_wire_of_a_frame(raw: bytes, wire: Wire | None) -> None:
    assert wire_of(raw) is wire


@pytest.mark.parametrize(
    ("url", "wire"),
    [
        ("wss://ws.kraken.com", Wire.KRAKEN_V1),
        ("wss://ws.kraken.com/v2", Wire.KRAKEN),
        ("wss://ws-auth.kraken.com/v2/", Wire.KRAKEN),
        ("wss://futures.kraken.com/ws/v1", Wire.KRAKEN_FUTURES),
        ("https://api.kraken.com/0/public/AssetPairs", None),  # serves both
        ("wss://data-stream.binance.vision/ws", Wire.BINANCE),
        ("wss://stream-testnet.bybit.com/v5/public/spot", Wire.BYBIT),
        ("wss://wspap.okx.com:8443/ws/v5/public", Wire.OKX),
        ("ws://127.0.0.1:9000/v2", None),  # a simulator may be anyone
    ],
)
def test_wire_of_an_address(url: str, wire: Wire | None) -> None:
    assert wire_of(b"", url) is wire


def test_kraken_v1_is_refused_by_name() -> None:
    record = Captured(0, "connect", "w", b"", "wss://ws.kraken.com", "kraken")
    wire = protocol_of(record)
    assert wire is not None
    assert "Kraken WebSocket v1 is not spoken" in wire.refusal
    assert wire.venue == "kraken"


@pytest.mark.parametrize(
    ("raw", "url", "conn", "part"),
    [
        (b"", "wss://stream.bybit.com/v5/public/spot", "", "spot"),
        (b"", "wss://stream.bybit.com/v5/public/inverse", "", "inverse"),
        (b"", "wss://fstream.binance.com/stream", "", "linear"),  # not "stream.binance."
        (b"", "wss://dstream.binance.com/stream", "", "inverse"),
        (b"", "wss://stream.binance.com:9443/ws", "", "spot"),
        (b"", "", "binance-usdm-btcusdt", "linear"),
        (b'{"e":"trade","M":true}', "", "", "spot"),
        (b'{"e":"trade","X":"MARKET"}', "", "", "linear"),
        (b'{"e":"depthUpdate","pu":1}', "", "", "linear"),
        (b'{"lastUpdateId":1,"E":2}', "", "", "linear"),
        (b'{"arg":{"channel":"books"}}', "wss://ws.okx.com/ws/v5/public", "", ""),  # in its ids
    ],
)
def test_part_of(raw: bytes, url: str, conn: str, part: str) -> None:
    assert part_of(raw, url, conn) == part


@pytest.mark.parametrize(
    ("kind", "raw", "url", "topic"),
    [
        ("http", b"", "https://api.binance.com/api/v3/exchangeInfo?symbol=X", "instruments"),
        (
            "http",
            b"",
            "https://api.bybit.com/v5/market/instruments-info?&category=spot",
            "instruments",
        ),
        ("http", b"", "https://www.okx.com/api/v5/public/instruments?instType=SPOT", "instruments"),
        ("http", b"", "https://api.kraken.com/0/public/AssetPairs", "instruments"),
        ("http", b"", "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT", "depth"),
        ("http", b'{"lastUpdateId":1}', "https://api.binance.com/api/v3/time", "depth"),
        ("http", b'{"serverTime":1}', "https://api.binance.com/api/v3/time", ""),
        ("http", b'{"timezone":"UTC","symbols":[]}', "", "instruments"),
        ("recv", b'{"channel":"instrument","type":"snapshot"}', "", "instruments"),
        ("recv", b'{"channel":"instruments"}', "", ""),
        ("sent", b'{"channel":"instrument"}', "", ""),
    ],
)
def test_topic_of(kind: str, raw: bytes, url: str, topic: str) -> None:
    assert topic_of(Captured(0, kind, "c", raw, url)) == topic


def test_header_of_our_own_recording() -> None:
    Scratch.path.write_bytes(TWINS[Format.OWN][0])
    with open_capture(Scratch.path) as capture:
        assert read_header(capture.header).venue == "okx"
