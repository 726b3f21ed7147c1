"""The recorded mix for the pump: all connections' frames in the order in which they came.

Only for throughput: the venues were recorded on different dates, so prices do not fit together.
A connection that was recorded too short begins anew (`loop`), as a reconnect would: each such
part is a connection of its own here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.replay import open_capture
from hean_router.replay.containers import Captured
from tests.bench.tapes import NAMES, RECORDINGS, Tape, tape

FILE = RECORDINGS / "mixed" / "mixed_replay_btc_eth.jsonl.xz"


@dataclass
class Stream:
    """One connection from its beginning to its end."""

    name: str
    part: Part
    instruments: tuple[Instrument, ...]
    answers: list[bytes] = field(default_factory=list)  # depth over REST
    frames: int = 0
    first: int = -1  # which frame of the whole mix is its first


@dataclass
class Mix:
    source: str
    streams: list[Stream]
    frames: list[tuple[int, bytes]]  # stream, raw: in the order of sending


def _instrument(
    venue: str, pair: str, symbol: str, px_decimals: int, qty_decimals: int
) -> Instrument:
    return Instrument(
        venue=VenueId(venue), pair=Pair.parse(pair), symbol=symbol,
        px_decimals=px_decimals, qty_decimals=qty_decimals,
    )  # fmt: skip


# Kraken's BTC/USD is pooled with the others' BTC/USDT here: four venues are what is to be measured.
LISTED = {
    "binance-spot-btcusdt": (_instrument("binance", "BTC/USDT", "BTCUSDT", 8, 8),),
    "binance-spot-ethusdt": (_instrument("binance", "ETH/USDT", "ETHUSDT", 8, 8),),
    "binance-usdm-btcusdt": (_instrument("binance", "BTC/USDT:USDT", "BTCUSDT", 4, 5),),
    "binance-usdm-ethusdt": (_instrument("binance", "ETH/USDT:USDT", "ETHUSDT", 4, 5),),
    "bybit-spot": (_instrument("bybit", "BTC/USDT", "BTCUSDT", 2, 6),),
    "bybit-linear": (
        _instrument("bybit", "BTC/USDT:USDT", "BTCUSDT", 2, 3),
        _instrument("bybit", "ETH/USDT:USDT", "ETHUSDT", 2, 2),
    ),
    "okx-public": (_instrument("okx", "BTC/USDT", "BTC-USDT", 1, 8),),
    "kraken-v2": (_instrument("kraken", "BTC/USDT", "BTC/USD", 1, 8),),
}


def mix(frames_max: int) -> Mix:
    """The recorded mix, or the simulators' tapes by turns where there is none."""
    if FILE.is_file():
        with open_capture(FILE) as capture:
            return _collect(FILE.name, ((one.conn, one) for one in capture), LISTED, frames_max)
    tapes = {name: tape(name) for name in NAMES if name != "okx tbt"}
    listed = {name: one.instruments for name, one in tapes.items()}
    return _collect("our simulators", _by_turns(tapes), listed, frames_max)


def _by_turns(tapes: Mapping[str, Tape]) -> Iterator[tuple[str, Captured]]:
    """Every tape from its beginning to its end, again and again, in the order of their times."""
    loop = 0
    while True:
        at: list[tuple[float, str, Captured]] = []
        for name, one in tapes.items():
            whole = len(one.lead) + len(one.frames)
            records = [*one.lead, *(Captured(0, "recv", name, raw) for raw in one.frames)]
            at += [(i / whole, name, record) for i, record in enumerate(records)]
        at.sort(key=lambda entry: entry[:2])
        for name in tapes:
            yield name, Captured(0, "connect", name, b"", loop=loop)
        yield from ((name, record) for _, name, record in at)
        loop += 1


def _collect(
    source: str,
    records: Iterable[tuple[str, Captured]],
    listed: Mapping[str, tuple[Instrument, ...]],
    frames_max: int,
) -> Mix:
    streams: list[Stream] = []
    open_now: dict[str, int] = {}
    frames: list[tuple[int, bytes]] = []
    for name, record in records:
        if record.kind == "connect" or name not in open_now:
            instruments = listed[name]
            open_now[name] = len(streams)
            label = f"{name}/{sum(s.name.startswith(name + '/') for s in streams)}"
            streams.append(Stream(label, instruments[0].part, instruments))
        stream = streams[open_now[name]]
        if record.kind == "http":
            if b'"lastUpdateId"' in record.raw[:200]:
                stream.answers.append(record.raw)
        elif record.kind == "recv":
            stream.first = len(frames) if stream.first < 0 else stream.first
            stream.frames += 1
            frames.append((open_now[name], record.raw))
            if len(frames) == frames_max:
                break
    return Mix(source, streams, frames)


def told(mix: Mix) -> dict[str, int]:
    """Frames by connection, for people."""
    counts: Counter[str] = Counter()
    for stream in mix.streams:
        counts[stream.name.partition("/")[0]] += stream.frames
    return dict(counts)
