"""What the contenders are given: one connection's bytes, in order, and where its books begin.

From the recordings where they are (`HEAN_RECORDINGS`), else from our own simulators on the virtual
loop, whose frames follow the same protocol sheets.
"""

import asyncio
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

from hean_router.app import Router, Target
from hean_router.book import BookState
from hean_router.config import Settings
from hean_router.domain.feed import Delta, Snapshot
from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.replay import open_capture
from hean_router.replay.containers import Captured
from hean_router.replay.frames import read_frames
from hean_router.sim import server
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate
from hean_router.sim.virtual import World, run, virtual_connector
from hean_router.venue import Connector, FeedSession, by_symbol, registry

RECORDINGS = Path(
    os.environ.get("HEAN_RECORDINGS")
    or Path(__file__).resolve().parents[3] / "shared" / "data" / "real"
)
START_NS = 1_700_000_000_000_000_000
FRAMES_MAX = 12_000  # of one tape: enough for a steady state, few enough for many rounds


@dataclass(frozen=True)
class Tape:
    """One connection.  `lead` ends with the record that makes the last book LIVE."""

    name: str
    source: str
    url: str
    part: Part
    instruments: tuple[Instrument, ...]
    lead: tuple[Captured, ...]
    frames: tuple[bytes, ...]
    book_of: tuple[str, ...]  # by frame: the symbol whose book it changes, "" for none

    @property
    def connector(self) -> Connector:
        return registry.connector(self.instruments[0].venue)

    def session(self) -> FeedSession:
        """A session whose instruments have read nothing yet: no text is remembered."""
        fresh = [replace(one) for one in self.instruments]
        codec = self.connector.feed(self.part, by_symbol(fresh))
        session = FeedSession(self.connector.spec, codec, fresh, Random(1))
        session.opened(START_NS)
        return session

    def books_only(self) -> "Tape":
        """The same without the frames that change no book."""
        kept = [(raw, of) for raw, of in zip(self.frames, self.book_of, strict=True) if of]
        return replace(
            self,
            frames=tuple(raw for raw, _ in kept),
            book_of=tuple(of for _, of in kept),
        )


def lead_in(session: FeedSession, tape: Tape, records: Iterable[Captured]) -> bool:
    """Give `records` to the session until all its books are LIVE; whether they are."""
    named = {one.symbol: one for one in session.instruments}
    for record in records:
        if record.kind == "recv":
            session.received(record.raw, START_NS)
        elif record.kind == "http":
            book = tape.connector.book_in(record.raw, record.url, named)
            if book is not None:
                session.fetched(book, START_NS)
        session.take()
        if session.all_live:
            return True
    return False


def _tape(
    name: str,
    source: str,
    url: str,
    instruments: Sequence[Instrument],
    records: Iterable[Captured],
) -> Tape:
    whole = [record for record in records if record.kind in {"recv", "http"}]
    empty = Tape(name, source, url, instruments[0].part, tuple(instruments), (), (), ())
    session, ahead = empty.session(), iter(whole)
    assert lead_in(session, empty, ahead), f"{source}: not all books of {name} come up"
    frames = [record.raw for record in ahead if record.kind == "recv"]
    lead = whole[: len(whole) - len(frames)]
    assert [record.raw for record in whole[len(lead) :]] == frames, "an answer among the frames"
    frames = frames[:FRAMES_MAX]
    codec = session.codec
    book_of = []
    for raw in frames:
        moved = {
            event.instrument.symbol
            for event in codec.decode(raw)
            if isinstance(event, Delta | Snapshot)
        }
        assert len(moved) <= 1, "a frame of several books"
        book_of.append(moved.pop() if moved else "")
    return replace(empty, lead=tuple(lead), frames=tuple(frames), book_of=tuple(book_of))


# ------------------------------------------------------------------------------ recordings


def _instruments(path: Path, venue: str, symbols: Iterable[str]) -> list[Instrument]:
    connector = registry.connector(venue)
    return [read_frames(path, connector, symbol).instrument for symbol in symbols]


def _binance(symbol: str, px_decimals: int, qty_decimals: int) -> list[Instrument]:
    """As a session that has asked the venue would have it: decimals are not the tick's."""
    pair = Pair.parse(symbol)
    name = pair.base + pair.quote
    return [Instrument(
        venue=VenueId("binance"), pair=pair, symbol=name,
        px_decimals=px_decimals, qty_decimals=qty_decimals,
    )]  # fmt: skip


def _records(path: Path, conn: str = "") -> list[Captured]:
    with open_capture(path) as capture:
        kept = (
            one
            for one in capture
            if one.kind in {"recv", "http"} and (not conn or one.conn == conn)
        )
        return list(islice(kept, FRAMES_MAX + 1_000))


_OKX_TBT = (
    "ELON-USDT", "UNI-USD-SWAP", "ZEN-USDT", "PROPS-ETH", "BTC-USD-220325-40000-C",
    "ETH-USD-220325-8800-P", "ETH-USD-220624-12000-P", "ETH-USD-220429-1900-P",
    "ETH-USD-220624-20000-C", "ETH-USD-220228-3000-C",
)  # fmt: skip

_WS = {
    "binance spot": "wss://stream.binance.com:9443/stream",
    "binance usd-m": "wss://fstream.binance.com/public/ws",
    "bybit spot": "wss://stream.bybit.com/v5/public/spot",
    "bybit linear": "wss://stream.bybit.com/v5/public/linear",
    "okx": "wss://ws.okx.com:8443/ws/v5/public",
    "kraken": "wss://ws.kraken.com/v2",
}


def _recorded(name: str) -> Tape:
    """The recording behind a name of `NAMES`."""
    path = RECORDINGS / _FILES[name]
    match name:
        case "binance spot":
            instruments = _binance("BTC/USDT", 8, 8)
            records = _records(path)
        case "binance usd-m":
            instruments = _binance("BTC/USDT:USDT", 4, 5)
            records = _records(path)
        case "bybit spot":
            instruments = _instruments(path, "bybit", ["BTC/USDT"])
            records = _records(path, "BYBIT.ws.3")
        case "bybit linear":
            instruments = _instruments(path, "bybit", ["BTC/USDT:USDT", "ETH/USDT:USDT"])
            records = _records(path, "BYBIT.ws.2")
        case "okx books" | "okx chain":
            instruments = _instruments(path, "okx", ["BTC-USDT", "BTC-USD-220527", "UNI-USD-SWAP"])
            records = _records(path, "OKX.ws.1")
        case "okx tbt":
            instruments = _instruments(path, "okx", _OKX_TBT)
            records = _records(path)
        case _:
            instruments = _instruments(path, "kraken", ["BTC/USD"])
            records = _records(path)
    url = _WS.get(name) or _WS[name.partition(" ")[0]]
    if name == "okx chain":
        records = [
            _with(record, raw) for record, raw in zip(records, _chained(records), strict=True)
        ]
    return _tape(name, path.name, url, instruments, records)


def _with(record: Captured, raw: bytes) -> Captured:
    return Captured(record.at_ns, record.kind, record.conn, raw, record.url, record.venue)


_CHECKSUM = re.compile(rb'"checksum":-?\d+')


def _chained(records: Iterable[Captured]) -> Iterator[bytes]:
    """The recorded books as OKX sends them since 2025: a chain, and a checksum that is always 0.

    There is no such recording; levels, and all else of the frames, are the recorded ones.
    """
    last: dict[bytes, int] = {}
    for record in records:
        if record.kind != "recv" or b'"checksum":' not in record.raw:
            yield record.raw
            continue
        name = record.raw.partition(b'"instId":"')[2].partition(b'"')[0]
        prev = -1 if b'"action":"snapshot"' in record.raw else last[name]
        last[name] = max(prev, 0) + 7
        chain = b'"checksum":0,"prevSeqId":%d,"seqId":%d' % (prev, last[name])
        yield _CHECKSUM.sub(chain, record.raw)


_FILES = {
    "binance spot": "binance/spot_btcusdt_20240808.txt.gz",
    "binance usd-m": "binance/usdm_btcusdt_20240808.txt.gz",
    "bybit spot": "bybit/v5_public_20260809.jsonl.gz",
    "bybit linear": "bybit/v5_public_20260809.jsonl.gz",
    "okx books": "okx/v5_public_20220513.jsonl.gz",
    "okx chain": "okx/v5_public_20220513.jsonl.gz",
    "okx tbt": "okx/v5_public_20220227_books_l2_tbt.txt.gz",
    "kraken d10": "kraken/v2_book_btcusd_d10_20230730.ndjson.gz",
}
NAMES = tuple(_FILES)


# ------------------------------------------------------------------------------ simulators


class _Ear:
    """Hears one part of one venue."""

    def __init__(self) -> None:
        self.records: list[Captured] = []

    def connected(self, url: str, now_ns: int) -> str:
        return "ws"

    def received(self, conn: str, data: bytes, now_ns: int) -> None:
        self.records.append(Captured(now_ns, "recv", conn, data))

    def sent(self, conn: str, data: bytes, now_ns: int) -> None: ...

    def closed(self, conn: str, why: str, now_ns: int) -> None: ...

    def answered(self, url: str, status: int, body: bytes, now_ns: int) -> None:
        self.records.append(Captured(now_ns, "http", "rest", body, url, status=status))


_SIMULATED = {
    "binance spot": ("binance", "BTC/USDT"),
    "binance usd-m": ("binance", "BTC/USDT:USDT"),
    "bybit spot": ("bybit", "BTC/USDT"),
    "bybit linear": ("bybit", "BTC/USDT:USDT"),
    "okx books": ("okx", "BTC/USDT"),
    "okx chain": ("okx", "ETH/USDT"),
    "okx tbt": ("okx", "BTC/USDT:USDT"),
    "kraken d10": ("kraken", "BTC/USDT"),
}
_SECONDS = 60  # virtual
_BUSY = Pace(updates_per_s=60)


async def _simulate(world: World, venue: str, symbol: str) -> tuple[Instrument, list[Captured]]:
    ear = _Ear()
    clock = world.net.clock(venue)
    simulator, _ = simulate(
        venue, world.seeds.number("market"), clock(), symbols=[symbol], pace=_BUSY
    )
    with world.net.on(venue):
        served = server.Server(simulator, clock, host="0.0.0.0", port=80)
        await served.start()
    world.net.dns[f"{venue}.sim"] = venue
    hosts = simulator.face.hosts(f"http://{venue}.sim", f"ws://{venue}.sim")
    pair = Pair.parse(symbol)
    router = Router(
        Settings(venues={}),
        [Target(venue, "sim", dict(hosts))],
        [pair],
        clock=world.net.clock("router"),
        rng=world.seeds.rng("router"),
        connector=virtual_connector,
        listener=lambda _target, _part: ear,
    )
    async with router.running():
        await asyncio.sleep(_SECONDS)
        seat = router.market.seat(VenueId(venue), pair)
        assert seat is not None
        assert seat.state is BookState.LIVE
        instrument = seat.instrument
    await served.stop()
    return instrument, ear.records


def _simulated(name: str) -> Tape:
    venue, symbol = _SIMULATED[name]
    instrument, records = run(lambda world: _simulate(world, venue, symbol), 1, limit_s=600).value
    # The others follow one book a symbol: Bybit's best level is a second one to them.  OKX's pong
    # is no JSON.
    skipped = (b'{"topic":"orderbook.1.', b"pong")
    records = [one for one in records if not one.raw.startswith(skipped)]
    url = _WS.get(name) or _WS[venue]
    return _tape(name, f"our simulator, {_SECONDS} virtual s", url, [instrument], records)


# ------------------------------------------------------------------------------ either


def recorded(name: str) -> bool:
    """Whether the recording behind `name` is there."""
    return (RECORDINGS / _FILES[name]).is_file()


@cache
def tape(name: str) -> Tape:
    """The recording, or its twin from our simulators where it is missing."""
    return _recorded(name) if recorded(name) else _simulated(name)


def told(tape: Tape) -> str:
    """What is on it, for people."""
    kinds = Counter(bool(of) for of in tape.book_of)
    return (
        f"{tape.name}: {tape.source}, {len(tape.instruments)} instruments, "
        f"{len(tape.frames):,} frames, {kinds[True]:,} of them books"
    )
