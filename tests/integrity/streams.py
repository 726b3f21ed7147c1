"""Clean streams to spoil: recorded ones, and captures of our own simulators.

A stream is what a venue sent to one client, in order, and the instruments it spoke of; and all that
a venue would answer besides, made out of the true book.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest

from connectors.kraken.feed import Feed as KrakenFeed
from hean_router import kit
from hean_router.replay import open_capture
from hean_router.sim.contract import Face, FrameKind, Options, Request, Send, Trouble
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate
from tests.integrity import wires
from tests.integrity.naive import Naive
from tests.integrity.wires import Said

RECORDINGS = Path(os.environ.get("HEAN_RECORDINGS", "../shared/data/real"))
SECOND = 1_000_000_000
MS = 1_000_000
ORIGIN = 1_700_000_000 * SECOND
SPOT, LINEAR = kit.Part.SPOT, kit.Part.LINEAR


def connector(venue: str) -> kit.Connector:
    found: kit.Connector = import_module(f"connectors.{venue}").CONNECTOR
    return found


def carried(ask: kit.Ask[Any], answer: Callable[[kit.HttpRequest], kit.Answer]) -> Any:
    """Carry a question to its end."""
    request = next(ask)
    try:
        while True:
            request = ask.send(answer(request))
    except StopIteration as end:
        return end.value


# ------------------------------------------------------------------------------ venues' own words


@dataclass(frozen=True)
class Wire:
    """How a venue speaks of one true book; `read` is the second reading of what it says."""

    venue: str
    part: kit.Part
    read: wires.Reader
    depth: int = 0  # its books are cut to it
    digest: str = ""  # kraken, okx, or none

    def codec(self, instruments: Sequence[kit.Instrument]) -> kit.FeedCodec:
        by_symbol = {each.symbol: each for each in instruments}
        if self.depth:
            return KrakenFeed(by_symbol, depth=self.depth)
        return connector(self.venue).feed(self.part, by_symbol)

    def new_book(self) -> Naive:
        return Naive(self.depth)

    def digest_of(self, book: Naive, instrument: kit.Instrument) -> int:
        if self.digest == "kraken":
            return book.kraken_digest(instrument.px_decimals, instrument.qty_decimals)
        return book.okx_digest()

    def snapshot(self, symbol: str, book: Naive, seq: int | None, told: "Texts") -> bytes:
        """A whole book as the stream sends it when asked."""
        bids, asks = book.best(1 << 30)
        if self.venue == "bybit":
            texts = [_pairs(told, side) for side in (bids, asks)]
            return (
                f'{{"topic":"orderbook.200.{symbol}","type":"snapshot","ts":{told.ms},"data":'
                f'{{"s":"{symbol}","b":{texts[0]},"a":{texts[1]},"u":{seq},"seq":1}},'
                f'"cts":{told.ms}}}'
            ).encode()
        if self.venue == "okx":
            sides = [
                "[" + ",".join(f'["{px}","{qty}","0","1"]' for px, qty in side) + "]"
                for side in (bids, asks)
            ]
            chain = "" if seq is None else f',"seqId":{seq},"prevSeqId":-1'
            digest = book.okx_digest() if told.digests else 0
            return (
                f'{{"arg":{{"channel":"{told.channel}","instId":"{symbol}"}},"action":"snapshot",'
                f'"data":[{{"asks":{sides[1]},"bids":{sides[0]},"ts":"{told.ms}",'
                f'"checksum":{digest}{chain}}}]}}'
            ).encode()
        sides = [
            "[" + ",".join(f'{{"price":{told.px(px)},"qty":{told.qty(qty)}}}' for px, qty in side)
            + "]"
            for side in (bids, asks)
        ]  # fmt: skip
        digest = book.kraken_digest(told.px_decimals, told.qty_decimals)
        return (
            f'{{"channel":"book","type":"snapshot","data":[{{"symbol":"{symbol}",'
            f'"bids":{sides[0]},"asks":{sides[1]},"checksum":{digest},'
            f'"timestamp":"2023-11-14T22:13:20.000000Z"}}]}}'
        ).encode()

    def answer(self, request: kit.HttpRequest, book: Naive, seq: int | None) -> kit.Answer:
        """The best levels as REST tells them: as many as were asked for, five where none said."""
        asked = re.search(r"limit=(\d+)", request.query)
        depth = int(asked[1]) if asked else 5
        bids, asks = ([list(level) for level in side] for side in book.best(depth))
        body: Any
        match self.venue:
            case "binance":
                if self.part is LINEAR:
                    body = {"lastUpdateId": seq, "E": 1, "T": 1, "bids": bids, "asks": asks}
                else:
                    body = {"lastUpdateId": seq, "bids": bids, "asks": asks}
            case "bybit":
                symbol = request.query.partition("symbol=")[2].partition("&")[0]
                result = {"s": symbol, "b": bids, "a": asks, "ts": 1, "u": 1, "seq": 1}
                body = {"retCode": 0, "retMsg": "OK", "result": result, "time": 1}
            case "okx":
                sides = {
                    "asks": [[*a, "0", "1"] for a in asks],
                    "bids": [[*b, "0", "1"] for b in bids],
                }
                body = {"code": "0", "msg": "", "data": [{**sides, "ts": "1", "seqId": 1}]}
            case _:
                rows = {"asks": [[*a, 1] for a in asks], "bids": [[*b, 1] for b in bids]}
                body = {"error": [], "result": {"ANY": rows}}
        return kit.Answer(200, {}, json.dumps(body).encode())


@dataclass
class Texts:
    """What a venue's own words need besides the book."""

    px_decimals: int
    qty_decimals: int
    ms: int = 0
    channel: str = "books"
    digests: bool = False

    def px(self, text: str) -> str:
        return _padded(text, self.px_decimals)

    def qty(self, text: str) -> str:
        return _padded(text, self.qty_decimals)


def _padded(text: str, decimals: int) -> str:
    whole, _, part = text.partition(".")
    return f"{whole}.{part.ljust(decimals, '0')}" if decimals else whole


def _pairs(told: Texts, side: Sequence[tuple[str, str]]) -> str:
    return "[" + ",".join(f'["{px}","{qty}"]' for px, qty in side) + "]"


WIRES = {
    ("binance", SPOT): Wire("binance", SPOT, wires.binance_spot),
    ("binance", LINEAR): Wire("binance", LINEAR, wires.binance_linear),
    ("bybit", SPOT): Wire("bybit", SPOT, wires.bybit),
    ("bybit", LINEAR): Wire("bybit", LINEAR, wires.bybit),
    ("okx", SPOT): Wire("okx", SPOT, wires.okx, digest="okx"),
    ("okx", LINEAR): Wire("okx", LINEAR, wires.okx, digest="okx"),
    ("kraken", SPOT): Wire("kraken", SPOT, wires.kraken, depth=100, digest="kraken"),
}


ALIVE = {  # frames that say nothing of books
    "binance": b'{"result":[],"id":999}',
    "bybit": b'{"success":true,"ret_msg":"pong","op":"ping"}',
    "kraken": b'{"channel":"heartbeat"}',
    "okx": b"pong",
}


def wire_of(venue: str, part: kit.Part, depth: int = 0) -> Wire:
    wire = WIRES[venue, part]
    return replace(wire, depth=depth) if depth else wire


# ------------------------------------------------------------------------------ streams


@dataclass(frozen=True)
class Clean:
    """A frame as the venue sent it, and what it says of which book."""

    at_ns: int
    raw: bytes
    said: tuple[Said, ...]
    reset: bool = False


@dataclass
class Stream:
    """Frames of one client, in order.  `begin`: true books before the first frame, by symbol."""

    name: str
    wire: Wire
    instruments: Sequence[kit.Instrument]
    frames: list[Clean]
    begin: dict[str, tuple[Naive, int | None]] = field(default_factory=dict)
    channel: str = "books"
    digests: bool = False  # whether the venue sends checksums that mean something

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(each.symbol for each in self.instruments)


def said_of(wire: Wire, raw: bytes, symbols: frozenset[str]) -> tuple[Said, ...]:
    return tuple(wire.read(raw, symbols))


# ------------------------------------------------------------------------------ simulators


@lru_cache(maxsize=32)
def simulated(
    venue: str,
    part: kit.Part,
    depth: int = 0,
    *,
    seed: int = 1,
    frames: int = 2_500,
    digests: bool = False,
) -> Stream:
    """What a simulator's face sends to a client that subscribes by the connector's own frames.

    The service restarts now and then, and sends a book anew in mid-stream, where the venue does.
    With `depth` (Kraken's) levels fall off the end of the books all the time.
    """
    wire = wire_of(venue, part, depth)
    settle = ":USDT" if part is LINEAR else ""
    wanted = [f"BTC/USDT{settle}", f"ETH/USDT{settle}"]
    pace = Pace(updates_per_s=25, levels=40, taker_permille=150)
    options = Options(limits=None, checksums=digests)
    simulator, _ = simulate(venue, seed, ORIGIN, symbols=wanted, pace=pace, options=options)
    face = simulator.face
    link = connector(venue)
    instruments = carried(link.instruments(part), partial(_rest, face, ORIGIN))
    codec = wire.codec(instruments)
    symbols = frozenset(each.symbol for each in instruments)
    out: list[Clean] = []

    def keep(outputs: Sequence[object], now_ns: int) -> None:
        for output in outputs:
            if isinstance(output, Send) and output.data != "pong":
                raw = output.data.encode() if isinstance(output.data, str) else output.data
                reset = output.reset or output.kind is FrameKind.SNAPSHOT
                said = said_of(wire, raw, symbols)
                out.append(Clean(now_ns, raw, said, reset and bool(said)))

    path = {
        "binance": "/stream" if part is SPOT else "/public/stream",
        "bybit": f"/v5/public/{part.value}",
        "okx": "/ws/v5/public",
        "kraken": "/v2",
    }[venue]
    request = Request("GET", path)
    assert face.accept(request, ORIGIN) is None
    keep(face.opened(1, request, ORIGIN), ORIGIN)
    for frame in codec.subscribe(instruments):
        keep(face.received(1, frame.data.decode(), ORIGIN), ORIGIN)
    begin = {}
    if codec.fetches:
        answer = partial(_rest, face, ORIGIN)
        for each in instruments:
            begin[each.symbol] = _fetched(wire, codec, each, answer)
    rng = Random(seed)
    alive_ns = now_ns = ORIGIN
    while len(out) < frames:
        wake_ns = simulator.wake_at_ns
        assert wake_ns is not None
        now_ns = max(now_ns, wake_ns)
        keep(simulator.due(now_ns), now_ns)
        if now_ns - alive_ns > 10 * SECOND:
            alive_ns = now_ns
            keep(face.received(1, codec.ping().data.decode(), now_ns), now_ns)
            trouble = rng.choice([Trouble.RESTART, Trouble.SNAPSHOT, None])
            if trouble is not None:
                keep(face.trouble(trouble, now_ns) or (), now_ns)
    name = f"{venue} {part.value} simulated" + (" with checksums" if digests else "")
    name += f" depth {depth}" if depth else ""
    return Stream(name, wire, instruments, out, begin, digests=digests or venue == "kraken")


def _rest(face: Face, now_ns: int, request: kit.HttpRequest) -> kit.Answer:
    response = face.request(
        Request(request.method, request.path, request.query, request.headers, request.body), now_ns
    )
    return kit.Answer(response.status, {}, response.body)


def _fetched(
    wire: Wire, codec: kit.FeedCodec, instrument: kit.Instrument, answer: Callable[..., kit.Answer]
) -> tuple[Naive, int]:
    """The true book as REST told it, by a reading of its own."""
    bodies: list[bytes] = []

    def remember(request: kit.HttpRequest) -> kit.Answer:
        told = answer(request)
        bodies.append(told.body)
        return told

    carried(codec.snapshot(instrument), remember)
    return of_depth(wire, json.loads(bodies[-1]), instrument.symbol)


def of_depth(wire: Wire, body: dict[str, Any], symbol: str) -> tuple[Naive, int]:
    book = wire.new_book()
    sides = [tuple((px, qty) for px, qty in body[name]) for name in ("bids", "asks")]
    book.apply(Said(symbol, "S", *sides))
    return book, body["lastUpdateId"]


# ------------------------------------------------------------------------------ recordings


@dataclass(frozen=True)
class Recorded:
    """A recording, and the part of it that one client could have heard."""

    path: str
    venue: str
    part: kit.Part
    conn: str = ""  # only this connection's frames
    symbols: tuple[str, ...] = ()
    channel: str = "books"
    depth: int = 0
    frames_max: int = 6_000

    @property
    def id(self) -> str:
        return f"{self.venue} {self.part.value} {Path(self.path).name.partition('.')[0]}"


RECORDED = [
    Recorded("binance/spot_btcusdt_20240808.txt.gz", "binance", SPOT, symbols=("BTCUSDT",)),
    Recorded("binance/spot_ethusdt_20240808.txt.gz", "binance", SPOT, symbols=("ETHUSDT",)),
    Recorded("binance/usdm_btcusdt_20240808.txt.gz", "binance", LINEAR, symbols=("BTCUSDT",)),
    Recorded("binance/usdm_ethusdt_20240808.txt.gz", "binance", LINEAR, symbols=("ETHUSDT",)),
    Recorded("binance/usdm_btcusdt_20230404.txt.gz", "binance", LINEAR, symbols=("BTCUSDT",)),
    Recorded("bybit/v5_public_20260809.jsonl.gz", "bybit", SPOT, symbols=("BTCUSDT",)),
    Recorded("bybit/v5_public_20260809.jsonl.gz", "bybit", LINEAR, symbols=("BTCUSDT", "ETHUSDT")),
    Recorded(
        "okx/v5_public_20220513.jsonl.gz", "okx", SPOT,
        symbols=("BTC-USDT", "UNI-USD-SWAP", "BTC-USD-220527"),
    ),
    Recorded(
        "okx/v5_public_20220227_books_l2_tbt.txt.gz", "okx", SPOT, channel="books-l2-tbt",
    ),
    Recorded("kraken/v2_book_btcusd_d10_20230730.ndjson.gz", "kraken", SPOT,
             symbols=("BTC/USD",), depth=10),
    Recorded("kraken/v2_book_minagbp_d25_20260816.ndjson", "kraken", SPOT,
             symbols=("MINA/GBP",), depth=25),
]  # fmt: skip


@lru_cache(maxsize=32)
def recorded(which: Recorded) -> Stream:
    path = RECORDINGS / which.path
    if not path.exists():
        pytest.skip(f"no recording {path}: set HEAN_RECORDINGS")
    wire = wire_of(which.venue, which.part, which.depth)
    taken = list(_heard(which, path))
    symbols = which.symbols or tuple(sorted(set(_named(taken))))
    instruments = [_as_fine_as_it_is(which, symbol, taken) for symbol in symbols]
    frames, begin = [], {}
    for at_ns, raw, rest in taken:
        if rest:
            (symbol,) = symbols
            begin[symbol] = of_depth(wire, json.loads(raw), symbol)
            continue
        said = said_of(wire, raw, frozenset(symbols))
        at_ns = at_ns or _told_ns(raw, frames[-1].at_ns if frames else ORIGIN)
        frames.append(Clean(at_ns, raw, said, any(each.kind == "S" for each in said)))
    if which.venue == "binance":
        (base,) = begin.values()
        frames = [f for f in frames if not f.said or (f.said[0].seq or 0) > (base[1] or 0)]
    digests = which.venue in {"okx", "kraken"}
    return Stream(which.id, wire, instruments, frames, begin, which.channel, digests)


def _told_ns(raw: bytes, before_ns: int) -> int:
    """When a frame arrived, where its container has no times: 50 ms after the venue's own."""
    told = re.search(rb'"timestamp":"([^"]+)Z"', raw)
    if told is None:
        return before_ns
    since = datetime.fromisoformat(told[1].decode() + "+00:00")
    return round(since.timestamp() * 1e6) * 1_000 + 50 * MS


def _heard(which: Recorded, path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Frames of books and trades; and the book that was asked for."""
    link = connector(which.venue)
    count = 0
    with open_capture(path) as capture:
        for record in capture:
            raw = record.raw
            if which.venue == "bybit" and record.kind in {"connect", "recv", "http"}:
                place = f"{record.url} {record.conn}"
                if record.url and link.part_of(record.url) not in {None, which.part}:
                    continue
                if not record.url and which.part.value not in place:
                    continue
            if record.kind == "http" and raw.startswith(b'{"lastUpdateId"'):
                yield record.at_ns, raw, True
            if record.kind != "recv":
                continue
            if which.venue == "binance" and not (b"@depth" in raw[:40] or b"@trade" in raw[:40]):
                continue
            if which.venue == "okx" and not (b'"books' in raw[:60] or b'"trades"' in raw[:60]):
                continue
            count += 1
            if count > which.frames_max:
                return
            yield record.at_ns, raw, False


def _named(taken: Sequence[tuple[int, bytes, bool]]) -> Iterator[str]:
    for _, raw, _ in taken:
        if b'"books' in raw[:60]:
            yield raw.partition(b'"instId":"')[2].partition(b'"')[0].decode()


def _as_fine_as_it_is(
    which: Recorded, symbol: str, taken: Sequence[tuple[int, bytes, bool]]
) -> kit.Instrument:
    """The instrument, as fine as the digits that are written of it."""
    wire = WIRES[which.venue, which.part]
    px = qty = 0
    for _, raw, rest in taken:
        if rest:
            body = json.loads(raw)
            levels = [tuple(level) for level in (*body["bids"], *body["asks"])]
        else:
            levels = [
                level
                for said in wire.read(raw, frozenset((symbol,)))
                for level in (*said.bids, *said.asks)
            ]
        for price, amount in levels:
            px = max(px, len(price.partition(".")[2]))
            qty = max(qty, len(amount.partition(".")[2]))
    settle = "USDT" if which.part is LINEAR else ""
    return kit.Instrument(
        venue=kit.VenueId(which.venue),
        pair=kit.Pair(symbol, "USDT", settle),
        symbol=symbol,
        px_decimals=px,
        qty_decimals=qty,
    )
