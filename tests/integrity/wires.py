"""What a frame says about a book, read a second time: by other means than the connectors'.

Written from the protocol sheets, with the standard library's `json`, no struct, no scale: prices
and quantities stay the texts that were sent.  A book's frame that is not whole is `Broken`; what is
no book's is nothing.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")


class Broken(Exception):
    """A frame that claims to be a book's, and is not whole; or that is no JSON at all."""


class Said(NamedTuple):
    """One message about one book: `S` replaces it, `D` changes it."""

    symbol: str
    kind: str
    bids: tuple[tuple[str, str], ...]
    asks: tuple[tuple[str, str], ...]
    seq: int | None = None
    prev: int | None = None
    checksum: int | None = None


Reader = Callable[[bytes, frozenset[str]], list[Said]]


def _json(raw: bytes, **hooks: Any) -> Any:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        # Where a text that nobody reads is no UTF-8, the rest may still be read.
        text = raw.decode(errors="replace")
    try:
        return json.loads(text, parse_constant=_no_number, **hooks)
    except (ValueError, RecursionError) as why:
        raise Broken(f"no JSON: {why}") from None


def _no_number(text: str) -> Any:
    raise ValueError(text)


def _int(value: Any, least: int | None = None) -> int:
    if type(value) is not int or (least is not None and value < least):
        raise Broken(f"{value!r} is no number of ours")
    return value


def _number(value: Any) -> str:
    if not isinstance(value, str) or not PLAIN.fullmatch(value):
        raise Broken(f"{value!r} is no plain decimal")
    return value


def _pairs(side: Any, exact: int | None) -> tuple[tuple[str, str], ...]:
    if not isinstance(side, list):
        raise Broken("a side is no list")
    out = []
    for level in side:
        if not isinstance(level, list) or len(level) < 2 or (exact and len(level) != exact):
            raise Broken("a level is no pair")
        out.append((_number(level[0]), _number(level[1])))
    return tuple(out)


def _text(value: Any) -> str:
    """A name; one that is missing is nobody's."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Broken(f"{value!r} is no name")
    return value


def _dict(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Broken(f"{what} is no object")
    return value


# ------------------------------------------------------------------------------ Binance


def _binance(raw: bytes, symbols: frozenset[str], *, spot: bool) -> list[Said]:
    frame = _json(raw)
    if isinstance(frame, list) and frame and all(isinstance(one, dict) for one in frame):
        return []  # the raw all-market streams: none is a book's
    frame = _dict(frame, "the frame")
    event = frame.get("data") or frame
    if not isinstance(event, dict) or event.get("e") != "depthUpdate":
        return []
    if _text(event.get("s")) not in symbols:
        return []
    first, last = _int(event.get("U"), 1), _int(event.get("u"), 1)
    if last < first:
        raise Broken("it ends before it begins")
    prev = first - 1
    if not spot:
        prev = _int(event.get("pu"))
        if prev >= first:
            raise Broken("it builds on itself")
    bids, asks = _pairs(event.get("b"), 2), _pairs(event.get("a"), 2)
    return [Said(event["s"], "D", bids, asks, last, prev)]


def binance_spot(raw: bytes, symbols: frozenset[str]) -> list[Said]:
    return _binance(raw, symbols, spot=True)


def binance_linear(raw: bytes, symbols: frozenset[str]) -> list[Said]:
    return _binance(raw, symbols, spot=False)


# ------------------------------------------------------------------------------ Bybit


def bybit(raw: bytes, symbols: frozenset[str]) -> list[Said]:
    frame = _dict(_json(raw), "the frame")
    topic = frame.get("topic")
    if not isinstance(topic, str) or not topic.startswith("orderbook.200."):
        return []
    symbol = topic.removeprefix("orderbook.200.")
    if symbol not in symbols:
        return []
    data = _dict(frame.get("data"), "data")
    if data.get("s") != symbol:
        raise Broken("topic and data speak of two symbols")
    count = _int(data.get("u"), 1)
    bids, asks = _pairs(data.get("b"), 2), _pairs(data.get("a"), 2)
    kind = frame.get("type", "")
    if kind == "snapshot" or count == 1:
        return [Said(symbol, "S", bids, asks, count)]
    if kind != "delta":
        raise Broken(f"type {kind!r}")
    return [Said(symbol, "D", bids, asks, count, count - 1)]


# ------------------------------------------------------------------------------ OKX


def okx(raw: bytes, symbols: frozenset[str]) -> list[Said]:
    if raw == b"pong":
        return []
    frame = _dict(_json(raw), "the frame")
    arg = frame.get("arg")
    if frame.get("event") or not isinstance(arg, dict):
        return []
    if _text(arg.get("channel")) not in {"books", "books-l2-tbt"}:
        return []
    if _text(arg.get("instId")) not in symbols:
        return []
    rows = frame.get("data")
    if not isinstance(rows, list) or not rows:
        raise Broken("no rows")
    return [_okx_row(arg["instId"], frame.get("action"), _dict(row, "a row")) for row in rows]


def _okx_row(symbol: str, action: Any, row: Mapping[str, Any]) -> Said:
    bids, asks = _pairs(row.get("bids"), None), _pairs(row.get("asks"), None)
    seq, prev, checksum = (row.get(name) for name in ("seqId", "prevSeqId", "checksum"))
    seq = None if seq is None else _int(seq)
    prev = None if prev is None else _int(prev)
    checksum = None if checksum is None else _int(checksum) or None
    if seq is None and checksum is None:
        raise Broken("nothing proves it")
    try:
        int(_text(row.get("ts")))
    except ValueError:
        raise Broken("no time") from None
    if action == "snapshot":
        return Said(symbol, "S", bids, asks, seq, None, checksum)
    if action != "update":
        raise Broken(f"action {action!r}")
    if (seq is None) is not (prev is None):
        raise Broken("half a chain")
    return Said(symbol, "D", bids, asks, seq, prev, checksum)


# ------------------------------------------------------------------------------ Kraken


def kraken(raw: bytes, symbols: frozenset[str]) -> list[Said]:
    frame = _dict(_json(raw, parse_float=str), "the frame")
    if frame.get("channel") != "book":
        return []
    rows = frame.get("data")
    if not isinstance(rows, list) or not rows:
        raise Broken("no rows")
    return list(_kraken_rows(frame.get("type"), rows, symbols))


def _kraken_rows(kind: Any, rows: list[Any], symbols: frozenset[str]) -> Iterator[Said]:
    for row in rows:
        symbol = _dict(row, "a row").get("symbol", "")
        if _text(symbol) not in symbols:
            continue
        bids, asks = (_kraken_side(row.get(name, [])) for name in ("bids", "asks"))
        checksum = _int(row.get("checksum"))
        if _text(kind) not in {"snapshot", "update"}:
            raise Broken(f"type {kind!r}")
        yield Said(symbol, "S" if kind == "snapshot" else "D", bids, asks, checksum=checksum)


def _kraken_side(side: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(side, list):
        raise Broken("a side is no list")
    levels = []
    for level in side:
        px, qty = (_dict(level, "a level").get(name) for name in ("price", "qty"))
        levels.append(
            tuple(_number(str(n) if type(n) is int else n) for n in (px, qty))  # whole ones
        )
    return tuple(levels)
