"""Our own recording: bit for bit, without secrets, and readable after every kind of death."""

import gzip
import io
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.replay import (
    NO_END_MARK,
    SECRET_KEYS,
    Captured,
    CaptureError,
    Recorder,
    open_capture,
    read_header,
    redact,
    redact_answer,
    redact_url,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
words = st.text(max_size=12)
events = st.builds(
    Captured,
    at_ns=INT64,
    kind=st.sampled_from(["recv", "http", "connect", "note"]),
    conn=words,
    raw=st.binary() | st.text().map(str.encode) | st.just(b'{"a":1.00,"b":"\\u00e9"}\r\n'),
    url=st.sampled_from(["", "wss://ws.okx.com:8443/ws/v5/public", "https://h/a?b=%20c&d"]),
    venue=words,
    loop=st.integers(0, 2**31),
    status=st.integers(0, 599),
    binary=st.booleans(),
)


def read_back(path: Path) -> list[Captured]:
    with open_capture(path) as capture:
        return list(capture)


def read_until_error(path: Path) -> tuple[list[Captured], CaptureError | None]:
    records: list[Captured] = []
    try:
        with open_capture(path) as capture:
            for record in capture:
                records.append(record)  # noqa: PERF402  (what came before the error counts)
    except CaptureError as error:
        return records, error
    return records, None


def in_memory(data: bytes) -> list[Captured]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return read_back(Path(file.name))


@given(st.lists(events))
def test_reads_back_bit_for_bit(records: list[Captured]) -> None:
    out = io.BytesIO()
    with Recorder(out, now_ns=5, venue="okx", env="live", versions={"hean": "0.1.0"}) as recorder:
        for record in records:
            recorder.write(record)
    assert in_memory(out.getvalue()) == records
    lines = out.getvalue().splitlines()
    assert len(lines) == len(records) + 2
    assert all(isinstance(json.loads(line), dict) for line in lines)  # NDJSON to any other reader


@pytest.mark.parametrize("name", ["okx.ndjson", "okx.ndjson.gz"])
def test_every_kind_of_event(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with Recorder(path, now_ns=100, venue="okx", env="demo", versions={"hean": "9"}) as recorder:
        assert recorder.path == path
        recorder.connected(101, "ws1", "wss://h/ws")
        recorder.sent(102, "ws1", '{"op":"subscribe"}')
        recorder.received(103, "ws1", '{"px":1.50}\n')
        recorder.received(104, "ws1", b"\xff\0\n", venue="kraken")
        recorder.received(105, "ws1", b"text in a binary frame")
        recorder.answered(106, "rest", "https://h/x?limit=5", 429, b"slow down")
        recorder.noted(107, "cut by fault 7")
    with open_capture(path) as capture:
        header = read_header(capture.header)
        records = list(capture)
    assert (header.venue, header.env, header.started_ns, header.part) == ("okx", "demo", 100, 1)
    assert header.versions == {"hean": "9"}
    assert records == [
        Captured(101, "connect", "ws1", b"", "wss://h/ws", "okx"),
        Captured(102, "sent", "ws1", b'{"op":"subscribe"}', "", "okx"),
        Captured(103, "recv", "ws1", b'{"px":1.50}\n', "", "okx"),
        Captured(104, "recv", "ws1", b"\xff\0\n", "", "kraken", binary=True),
        Captured(105, "recv", "ws1", b"text in a binary frame", "", "okx", binary=True),
        Captured(106, "http", "rest", b"slow down", "https://h/x?limit=5", "okx", status=429),
        Captured(107, "note", "", b"cut by fault 7", "", "okx"),
    ]
    assert path.read_bytes()[:2] == (b"\x1f\x8b" if name.endswith("gz") else b'{"')


# --- death and disk ------------------------------------------------------------------------------

ENDLESS = """
import sys
from hean_router.replay import Recorder
recorder = Recorder(sys.argv[1], now_ns=0, venue="okx")
for number in range(10**9):
    recorder.received(number, "ws", '{"n":%d,"pad":"%s"}' % (number, "x" * (number % 300)))
    if number % 100 == 0:
        print(number, flush=True)
"""


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz"])
def test_kill_9_tears_at_most_the_last_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if (promised := int(line)) >= 500:
                break
        child.send_signal(signal.SIGKILL)
    records, error = read_until_error(path)
    if error is None:
        assert records.pop().raw == NO_END_MARK
    else:
        assert "cut off" in str(error)
    assert [r.at_ns for r in records] == list(range(len(records)))
    assert len(records) > promised  # what was recorded before it said so is there


def test_a_torn_last_line_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    with Recorder(path, now_ns=0) as recorder:
        for number in range(3):
            recorder.received(number, "ws", "{}")
    whole = path.read_bytes()
    mark = whole.rindex(b'{"kind":"end"')
    path.write_bytes(whole[: mark - 5])
    records, error = read_until_error(path)
    assert [r.at_ns for r in records] == [0, 1]
    assert error is not None
    assert (error.line, error.records) == (4, 2)
    assert "cut off in the middle of a line" in str(error)
    path.write_bytes(whole[:mark])
    assert [r.kind for r in read_back(path)] == ["recv", "recv", "recv", "note"]


def test_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"precious")
    with pytest.raises(CaptureError, match="never overwrites"):
        Recorder(path, now_ns=0)
    assert path.read_bytes() == b"precious"


def test_needs_its_folder(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be created") as caught:
        Recorder(tmp_path / "missing" / "a.ndjson", now_ns=0)
    assert "folder" in caught.value.fix


class Full(io.BytesIO):
    """A disk with room for so many bytes."""

    room = 600

    def write(self, data: object) -> int:
        piece = bytes(data)[: self.room - self.tell()]  # type: ignore[call-overload]
        if not piece:
            raise OSError(28, "No space left on device")
        return super().write(piece)


def test_a_full_disk_is_one_clear_error_and_what_was_written_can_be_read() -> None:
    disk = Full()
    recorder = Recorder(disk, now_ns=0)

    def fill() -> None:
        for number in range(100):
            recorder.received(number, "ws", "{}")

    with pytest.raises(CaptureError, match="No space left") as caught:
        fill()
    assert caught.value.records == recorder.records > 3
    assert "make room" in caught.value.fix
    with pytest.raises(ValueError, match="closed"):
        recorder.received(0, "ws", "{}")
    recorder.close()
    whole = disk.getvalue().rpartition(b"\n")[0] + b"\n"
    assert [r.at_ns for r in in_memory(whole) if r.kind == "recv"] == list(range(recorder.records))


def test_a_given_file_stays_open() -> None:
    out = io.BytesIO()
    with Recorder(out, now_ns=0) as recorder:
        recorder.received(0, "ws", "{}")
    recorder.close()
    assert not out.closed
    with pytest.raises(ValueError, match="closed"):
        recorder.noted(1, "too late")
    with pytest.raises(ValueError, match="path"):
        Recorder(out, now_ns=0, rotate_bytes=100)


# --- rotation and flushing -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["okx.v5.ndjson", "okx.v5.ndjson.gz", "okx"])
def test_rotation_never_splits_a_line(tmp_path: Path, name: str) -> None:
    frames = [f'{{"n":{n},"pad":"{"x" * (n * 7 % 400)}"}}'.encode() for n in range(300)]
    with Recorder(tmp_path / name, now_ns=0, venue="okx", rotate_bytes=2_000) as recorder:
        for number, frame in enumerate(frames):
            recorder.received(number, "ws", frame.decode())
    parts = sorted(tmp_path.iterdir(), key=lambda path: read_header(open_capture(path).header).part)
    assert [read_header(open_capture(path).header).part for path in parts] == list(
        range(1, len(parts) + 1)
    )
    assert len(parts) == recorder.part > 3
    assert parts[0].name == name
    assert recorder.path == parts[-1]
    assert [r.raw for path in parts for r in read_back(path)] == frames
    assert all(path.stat().st_size < 2_000 + 800 for path in parts)
    (tmp_path / "all").write_bytes(b"".join(path.read_bytes() for path in parts))
    assert [r.raw for r in read_back(tmp_path / "all")] == frames


def test_flushes_at_once_or_as_seldom_as_told(tmp_path: Path) -> None:
    eager, lazy = tmp_path / "eager.gz", tmp_path / "lazy.gz"
    with Recorder(eager, now_ns=0) as at_once, Recorder(lazy, now_ns=0, flush_ns=1_000) as seldom:
        for recorder in (at_once, seldom):
            recorder.received(10, "ws", "{}")

        def seen(path: Path) -> list[int]:
            records, error = read_until_error(path)
            assert error is not None
            assert "has no end" in str(error)
            return [record.at_ns for record in records]

        assert seen(eager) == [10]
        assert seen(lazy) == []
        seldom.received(999, "ws", "{}")
        assert seen(lazy) == []
        seldom.received(1_000, "ws", "{}")
        assert seen(lazy) == [10, 999, 1_000]
        seldom.received(900, "ws", "{}")  # the clock was set back
        assert seen(lazy) == [10, 999, 1_000, 900]
        seldom.received(901, "ws", "{}")
        seldom.flush()
        assert seen(lazy) == [10, 999, 1_000, 900, 901]
    assert len(read_back(lazy)) == 5


# --- secrets -------------------------------------------------------------------------------------

CANARY = "CANARYcanary0123456789"
LONG = "A7b" * 21 + "Q"  # 64 characters: a listen key, a hex signature

SENT = [
    ("Bybit login", '{"op":"auth","args":["%s",1662350400000,"%s"]}'),
    ("OKX login", '{"op":"login","args":[{"apiKey":"%s","passphrase":"%s","sign":"x"}]}'),
    ("Binance logon", '{"method":"session.logon","params":{"apiKey":"%s","signature":"%s"}}'),
    ("Binance order", '{"method":"order.place","params":{"signature":"%s","apiKey":"%s"}}'),
    ("Kraken token", '{"method":"add_order","params":{"token":"%s","order_qty":1.50,"a":"%s"}}'),
    ("Kraken Futures", '{"event":"x","api_key":"%s","signed_challenge":"%s"}'),
    ("any case", '{"APIKEY":"%s","Secret":"%s"}'),
    ("punctuation", '{"api-key":"%s","X-BAPI-SIGN":"%s"}'),
    ("headers", '{"OK-ACCESS-KEY":"%s","OK-ACCESS-PASSPHRASE":"%s"}'),
    ("deep", '[[{"a":[{"b":{"listenKey":"%s","password":["%s"]}}]}]]'),
    ("JSON in a string", '{"payload":"{\\"secretKey\\":\\"%s\\",\\"token\\":\\"%s\\"}"}'),
    ("header pairs", '[["API-Key","%s"],["API-Sign","%s"]]'),
    ("the key twice", '{"apiKey":"%s","apiKey":"","x":{"token":"%s"},"x":1}'),
    ("escaped name", '{"api\\u004bey":"%s","sign":"%s"}'),
    ("a number for a secret", '{"apiKey":"%s","otp":"%s"}'),
    ("half a login", '{"op":"login","args":[{"apiKey":"%s","passphrase":"%s'),
    ("half an order", '{"params":{"token":"%s","a":["%s"'),
    ("a form", "nonce=1616492376594&apiKey=%s&signature=%s"),
    ("an encoded form", "a=1&api%%4Bey=%s&b=2&SIGN=%s"),
    ("header lines", "GET / HTTP/1.1\r\nAPI-Key: %s\r\nAPI-Sign: x %s"),
]  # fmt: skip


def canaries_in(data: bytes) -> bool:
    return CANARY.encode() in data or LONG.encode() in data


@pytest.mark.parametrize("frame", [row[1] for row in SENT], ids=[row[0] for row in SENT])
def test_no_canary_survives_in_what_we_send(frame: str, tmp_path: Path) -> None:
    a = "x" if '"a":"%s"' in frame else CANARY  # one row has room for one secret only
    frame %= (CANARY, a)
    assert not canaries_in(redact(frame.encode()))
    path = tmp_path / "a.ndjson.gz"
    with Recorder(path, now_ns=0) as recorder:
        recorder.sent(1, "ws", frame)
        recorder.write(Captured(1, "sent", "ws", frame.encode()))
    assert not canaries_in(gzip.decompress(path.read_bytes()))


@pytest.mark.parametrize(
    "frame",
    [
        '{"method":"SUBSCRIBE","params":["%s"],"id":1}',  # Binance: a listen key as a stream
        '{"x":"%s"}',
        "x=%s",
    ],
)
def test_what_is_too_long_for_a_name_is_hidden(frame: str) -> None:
    assert not canaries_in(redact((frame % LONG).encode()))


@pytest.mark.parametrize(
    "frame",
    [
        b'{"op": "subscribe", "args": [{"channel": "books", "instId": "BTC-USDT"}]}',
        b'{"method":"SUBSCRIBE","params":["btcusdt@depth@100ms","ethusdt@bookTicker"],"id":1}',
        b'{"method":"subscribe","params":{"channel":"book","depth":25,"symbol":["MINA/GBP"]}}',
        b'{"id":"1","op":"order","args":[{"clOrdId":"h1abc00000001","px":"1.00","sz":2.50}]}',
        b'{"reqId":"x","header":{"X-BAPI-TIMESTAMP":"1711001595207"},"op":"order.create"}',
        b"ping",
        b"",
        b"\xff\xfe\x00",
        b"pair=XBTUSD&type=buy&ordertype=limit&price=1.00",
        b'{"broken": [1,',
    ],
)
def test_what_holds_no_secret_is_sent_into_the_file_untouched(frame: bytes) -> None:
    assert redact(frame) == frame


def test_redaction_keeps_every_other_digit() -> None:
    raw = b'{"params":{"order_qty":1.50,"px":2e-05,"token":"abc","n":100000000000000000001}}'
    assert redact(raw) == raw.replace(b'"abc"', b'"[redacted]"')


def test_nesting_beyond_reason_is_hidden_whole() -> None:
    deep = b'{"a":' * 5_000 + b'"%s"' % CANARY.encode() + b"}" * 5_000
    assert not canaries_in(redact(deep))


def test_secrets_may_be_named_otherwise() -> None:
    frame = b'{"apiKey":"a","pin":"b"}'
    assert redact(frame, ["pin"]) == b'{"apiKey":"a","pin":"[redacted]"}'
    assert redact(frame, {*SECRET_KEYS, "pin"}) == b'{"apiKey":"[redacted]","pin":"[redacted]"}'
    out = io.BytesIO()
    with Recorder(out, now_ns=0, secrets={"pin"}) as recorder:
        recorder.sent(1, "ws", f'{{"pin":"{CANARY}"}}')
    assert not canaries_in(out.getvalue())


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://h/a?symbol=BTCUSDT&signature=%s&timestamp=1", "https://h/a?symbol=BTCUSDT"),
        ("https://h/a?API_KEY=%s", "https://h/a"),
        ("https://h/a?api%%4bey=%s", "https://h/a"),
        ("wss://h/ws?listenKey=%s&events=x", "&events=x"),
        ("wss://user:%s@h/ws", "@h/ws"),
        ("wss://h/ws#token=%s", "wss://h/ws#token="),
    ],
)
def test_urls(url: str, kept: str) -> None:
    clean = redact_url(url % CANARY)
    assert not canaries_in(clean.encode())
    assert kept in clean
    out = io.BytesIO()
    with Recorder(out, now_ns=0) as recorder:
        recorder.connected(1, "ws", url % CANARY)
        recorder.answered(2, "rest", url % CANARY, 200, b"{}")
        recorder.sent(3, "rest", b"{}", url=url % CANARY)
        recorder.write(Captured(4, "recv", "ws", b"{}", url % CANARY))
    assert not canaries_in(out.getvalue())


@pytest.mark.parametrize(
    "url",
    [f"wss://stream.binance.com:9443/ws/{LONG}", f"wss://h/stream?streams={LONG}/a@trade"],
)
def test_listen_keys_in_urls(url: str) -> None:
    assert not canaries_in(redact_url(url).encode())


@pytest.mark.parametrize(
    "url",
    [
        "wss://fstream.binance.com/stream?streams=btcusdt@depth@100ms/ethusdt@depth@100ms",
        "https://api.bybit.com/v5/market/instruments-info?&category=linear&limit=1000",
        "https://api.binance.com/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHUSDT%22%5D",
        "",
    ],
)
def test_public_urls_stay(url: str) -> None:
    assert redact_url(url) == url


@pytest.mark.parametrize(
    "body",
    [
        b'{"listenKey":"%s"}' % LONG.encode(),
        b'{"error":[],"result":{"token":"%s","expires":900}}' % CANARY.encode(),
        b'{"result":{"apiKey":"%s","secret":"%s"}}' % (CANARY.encode(), CANARY.encode()),
        b'{"token":"%s' % CANARY.encode(),  # cut: nothing of it is safe
    ],
)
def test_session_keys_in_answers(body: bytes) -> None:
    assert not canaries_in(redact_answer(body))
    out = io.BytesIO()
    with Recorder(out, now_ns=0) as recorder:
        recorder.answered(1, "rest", "https://h/", 200, body)
        recorder.write(Captured(2, "http", "rest", body))
    assert not canaries_in(out.getvalue())


@pytest.mark.parametrize(
    "body",
    [
        b'{"symbols": [{"baseAsset":"TOKEN","sign":1.00}]}',
        b'{"data": [{"token":"BTC"}]}',  # a short word is a name, not a key
        b"<html>token</html>",
        b"",
    ],
)
def test_public_answers_stay(body: bytes) -> None:
    assert redact_answer(body) == body


@given(raw=st.binary() | st.text().map(str.encode))
def test_what_is_received_is_never_changed(raw: bytes) -> None:
    out = io.BytesIO()
    frame = b'{"token":"%s","raw":' % CANARY.encode() + raw
    with Recorder(out, now_ns=0) as recorder:
        recorder.received(1, "ws", frame)
    assert [r.raw for r in in_memory(out.getvalue())] == [frame]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))  # fmt: skip
def test_redaction_never_fails_and_leaves_json(value: object) -> None:
    for raw in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        out = redact(raw.encode())
        if b"[redacted]" not in out:
            assert out == raw.encode()  # to the byte, however it was written
        else:
            json.loads(out)
