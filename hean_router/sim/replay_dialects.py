"""How the venues' recorded frames name themselves: which topic, which instrument, which digits.

Only for `replay_face`: enough of each protocol to file a frame under what a client subscribes.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hean_router.sim.contract import FrameKind
from hean_router.sim.exchange import Kind

Key: TypeAlias = tuple[str, str]
"""A part of the venue (`spot`, `linear`, or "" where one socket serves all) and a topic."""

_QUOTES = ("USDT", "USDC", "FDUSD", "BUSD", "TUSD", "USD", "EUR", "GBP", "TRY", "BTC", "ETH", "BNB")


@dataclass(frozen=True)
class Filed:
    """A recorded frame, filed."""

    key: Key
    symbol: str  # as the venue spells it; empty where there is none
    kind: FrameKind


@dataclass(frozen=True)
class Pair:
    """An instrument, taken apart."""

    base: str
    quote: str
    kind: Kind


@dataclass(frozen=True)
class Dialect:
    """One venue's way to name things.

    `file` a frame, given its JSON and where it was recorded; `part` of a client's path; `wanted`:
    the key of a topic a client has, given its part and what it last asked of depth; `pair` of a
    symbol, None for what is neither spot nor a perpetual.
    """

    file: Callable[[Mapping[str, Any], str], Filed | None]
    part: Callable[[str], str]
    wanted: Callable[[str, str, int], Key]
    pair: Callable[[str, str], Pair | None]


def levels(frame: Any) -> Iterator[tuple[str, str]]:
    """Every (price, quantity) text in a frame, wherever it stands; numbers must be texts already.

    >>> list(levels({"b": [["1.50", "2"]], "data": [{"price": "7.0", "qty": "0.10"}]}))
    [('1.50', '2'), ('7.0', '0.10')]
    """
    if isinstance(frame, dict):
        for px_name, qty_name in (("price", "qty"), ("p", "q"), ("p", "v"), ("px", "sz")):
            px, qty = frame.get(px_name), frame.get(qty_name)
            if isinstance(px, str) and isinstance(qty, str):
                yield px, qty
        for value in frame.values():
            yield from levels(value)
    elif isinstance(frame, list):
        match frame:
            case [str(px), str(qty), *_] if _is_number(px) and _is_number(qty):
                yield px, qty
            case _:
                for value in frame:
                    yield from levels(value)


def digits(text: str) -> Any:
    """A frame's JSON with every number as the text it was."""
    return json.loads(text, parse_float=str, parse_int=str)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


def _split(name: str) -> tuple[str, str] | None:
    for quote in _QUOTES:
        if name.endswith(quote) and len(name) > len(quote):
            return name[: -len(quote)], quote
    return None


def _joined(symbol: str, part: str) -> Pair | None:
    """`BTCUSDT`, as Binance and Bybit spell."""
    pair = _split(symbol)
    return pair and Pair(*pair, Kind.LINEAR if part == "linear" else Kind.SPOT)


# Binance


def _binance_file(frame: Mapping[str, Any], _where: str) -> Filed | None:
    stream, data = frame.get("stream", ""), frame.get("data", frame)
    if not isinstance(data, dict):
        return None
    event, symbol = data.get("e", ""), data.get("s", "")
    if stream:
        name, _, what = str(stream).partition("@")
        what = what.partition("@")[0]
        symbol = symbol or name.upper()
    elif event:
        what = "depth" if event == "depthUpdate" else str(event)
    elif {"u", "b", "B", "a", "A"} <= data.keys():
        what = "bookTicker"
    else:
        return None
    if not symbol or not what:
        return None
    kind = FrameKind.DATA
    if what.startswith("depth"):
        kind = FrameKind.DELTA if what == "depth" else FrameKind.SNAPSHOT
    return Filed((_binance_part(data, what), f"{symbol.lower()}@{what}"), symbol, kind)


def _binance_part(data: Mapping[str, Any], what: str) -> str:
    """Told by the fields that only one of the two products has."""
    if what == "bookTicker":
        return "linear" if "e" in data else "spot"
    if what in ("trade", "aggTrade"):
        return "spot" if "M" in data else "linear"
    return "linear" if {"pu", "r", "ps"} & data.keys() else "spot"


def _binance_wanted(part: str, topic: str, _depth: int) -> Key:
    # Speeds are let go: what was recorded at 0 ms answers who asks for 100 ms.
    return part, "@".join(topic.split("@")[:2])


def _binance_path(path: str) -> str:
    return "linear" if path.startswith(("/public", "/market")) else "spot"


# Bybit


def _bybit_file(frame: Mapping[str, Any], where: str) -> Filed | None:
    topic = frame.get("topic")
    if not isinstance(topic, str):
        return None
    kind = FrameKind.DATA
    if topic.startswith("orderbook"):
        kind = FrameKind.SNAPSHOT if frame.get("type") == "snapshot" else FrameKind.DELTA
    part = "linear" if "linear" in where else "spot"
    return Filed((part, topic), topic.rpartition(".")[2], kind)


def _bybit_path(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


# OKX


def _okx_file(frame: Mapping[str, Any], _where: str) -> Filed | None:
    arg = frame.get("arg")
    if not isinstance(arg, dict) or "data" not in frame:
        return None
    channel, symbol = str(arg.get("channel", "")), str(arg.get("instId", ""))
    kind = FrameKind.DATA
    if channel.startswith("books") or channel == "bbo-tbt":
        kind = FrameKind.DELTA if frame.get("action") == "update" else FrameKind.SNAPSHOT
    value = symbol or str(arg.get("instType", ""))
    return Filed(("", f"{channel}:{value}" if value else channel), symbol, kind)


def _okx_pair(symbol: str, _part: str) -> Pair | None:
    match symbol.split("-"):
        case [base, quote]:
            return Pair(base, quote, Kind.SPOT)
        case [base, quote, "SWAP"]:
            return Pair(base, quote, Kind.LINEAR)
        case _:
            return None  # dated futures and options


# Kraken


_KRAKEN_DEPTHS = (10, 25, 100, 500, 1_000)


def _kraken_file(frame: Mapping[str, Any], _where: str) -> Filed | None:
    channel, data = frame.get("channel"), frame.get("data")
    if not isinstance(channel, str) or channel in ("status", "heartbeat"):
        return None
    if channel == "instrument":
        return Filed(("", "instrument"), "", FrameKind.DATA)
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return None
    symbol = str(data[0].get("symbol", ""))
    if channel != "book":
        return Filed(("", f"{channel}:{symbol}"), symbol, FrameKind.DATA)
    kind = FrameKind.SNAPSHOT if frame.get("type") == "snapshot" else FrameKind.DELTA
    return Filed(("", f"book:{symbol}"), symbol, kind)


def kraken_depth(snapshot: Mapping[str, Any]) -> int:
    """The depth a recorded book was subscribed at: the least that holds its snapshot."""
    data = snapshot["data"][0]
    held = max(len(data.get("bids", ())), len(data.get("asks", ())))
    return next((depth for depth in _KRAKEN_DEPTHS if held <= depth), _KRAKEN_DEPTHS[-1])


def _kraken_wanted(_part: str, topic: str, depth: int) -> Key:
    return "", f"{topic}:{depth}" if topic.startswith("book:") else topic


def _kraken_pair(symbol: str, _part: str) -> Pair | None:
    base, slash, quote = symbol.partition("/")
    return Pair(base, quote, Kind.SPOT) if slash else None


def _any_path(_path: str) -> str:
    return ""


def _as_is(part: str, topic: str, _depth: int) -> Key:
    return part, topic


DIALECTS: Mapping[str, Dialect] = {
    "binance": Dialect(_binance_file, _binance_path, _binance_wanted, _joined),
    "bybit": Dialect(_bybit_file, _bybit_path, _as_is, _joined),
    "okx": Dialect(_okx_file, _any_path, _as_is, _okx_pair),
    "kraken": Dialect(_kraken_file, _any_path, _kraken_wanted, _kraken_pair),
}
"""Venues whose captures can be replayed."""
