"""Which protocol a captured frame speaks, told by its shape; and which we do not speak.

Only for captures: a live session knows whom it called.  Shapes are those of the venues' public
documentation and of recorded frames.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import orjson


class Wire(StrEnum):
    """A protocol found in captures.  `venue` is whose it is; `refusal` why we do not read it."""

    BINANCE = "binance"
    BYBIT = "bybit"
    OKX = "okx"
    KRAKEN = "kraken"  # WebSocket v2
    KRAKEN_V1 = "kraken-v1"
    KRAKEN_FUTURES = "kraken-futures"

    @property
    def venue(self) -> str:
        """The venue's id: two protocols may be one venue's."""
        return self.value.partition("-")[0]

    @property
    def refusal(self) -> str:
        """Why no connector speaks this protocol; empty where one does."""
        return _REFUSALS.get(self, "")


_REFUSALS = {
    Wire.KRAKEN_V1: "Kraken WebSocket v1 is not spoken, only v2 (wss://ws.kraken.com/v2)",
    Wire.KRAKEN_FUTURES: "Kraken Futures is not spoken, only Kraken spot (wss://ws.kraken.com/v2)",
}

# In this order: "futures.kraken.com" is a "kraken.com" too.
_HOSTS = (
    ("futures.kraken.com", Wire.KRAKEN_FUTURES),
    ("binance.", Wire.BINANCE),
    ("bybit.", Wire.BYBIT),
    ("bytick.", Wire.BYBIT),
    ("okx.", Wire.OKX),
    ("okex.", Wire.OKX),
)

_V1_EVENTS = frozenset({"systemStatus", "subscriptionStatus", "heartbeat", "ping", "pong"})

# How the answers to the REST questions that a market-data client asks begin.
REST_STARTS = (b'{"lastUpdateId":', b'{"timezone":', b'{"retCode":', b'{"code":', b'{"error":[')


def wire_of(raw: bytes, url: str = "") -> Wire | None:
    """The protocol of a frame, or of the connection to `url`; None where neither tells.

    >>> wire_of(b'{"channel":"heartbeat"}')
    <Wire.KRAKEN: 'kraken'>
    >>> wire_of(b'[1665,[["0.1","2"]],"trade","WAVES/EUR"]').refusal[:34]
    'Kraken WebSocket v1 is not spoken,'
    """
    if url and (named := _of_url(url)):
        return named
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    match value:
        case [int(), *_, str()]:  # [channel, data…, "book-10", "XBT/USD"]
            return Wire.KRAKEN_V1
        case [dict() as first, *_]:  # Binance's raw "all market" streams
            return _of_object(first)
        case dict():
            return _of_object(value)
        case _:
            return None


def _of_url(url: str) -> Wire | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    for name, wire in _HOSTS:
        if name in host:
            return wire
    if "kraken.com" in host and parts.scheme in {"ws", "wss"}:
        return Wire.KRAKEN if parts.path.rstrip("/").endswith("/v2") else Wire.KRAKEN_V1
    return None  # Kraken's REST serves both of its protocols; a loopback address serves anyone's


def _of_object(frame: Mapping[str, Any]) -> Wire | None:
    keys = frame.keys()
    event = frame.get("event")
    method = frame.get("method")
    if "feed" in keys or event in {"challenge", "alert"} or (event == "info" and "version" in keys):
        return Wire.KRAKEN_FUTURES
    if event in _V1_EVENTS or (event and not keys.isdisjoint({"pair", "subscription"})):
        return Wire.KRAKEN_V1
    if event or "arg" in keys or keys >= {"code", "data"}:
        return Wire.OKX
    if "channel" in keys:
        return Wire.KRAKEN
    if isinstance(method, str):  # SUBSCRIBE, session.logon | subscribe, add_order
        return Wire.BINANCE if method.isupper() or "." in method else Wire.KRAKEN
    if "op" in keys:
        args = frame.get("args")
        objects = isinstance(args, list) and args and isinstance(args[0], dict)
        # Both say {"op", "args"}.  OKX's arguments are objects; so are those of Bybit's orders,
        # but these have a header.
        return Wire.OKX if objects and "header" not in keys else Wire.BYBIT
    if not keys.isdisjoint({"topic", "retCode", "ret_msg"}):
        return Wire.BYBIT
    if keys >= {"e", "E"} or keys >= {"stream", "data"} or "lastUpdateId" in keys:
        return Wire.BINANCE
    if keys >= {"timezone", "symbols"} or keys >= {"id", "result"} or keys >= {"id", "status"}:
        return Wire.BINANCE
    if keys >= {"u", "s", "b", "a"}:  # bookTicker of a raw stream
        return Wire.BINANCE
    return None


_WORDS = re.compile(r"[.\-]")
_PARTS = (
    ("linear", ("linear", "usdm", "fapi", "fstream", "swap", "perp")),
    ("inverse", ("inverse", "coinm", "dapi", "dstream")),
    ("option", ("option", "eapi")),
    ("spot", ("spot", "api.binance.", "stream.binance.", "data-api.binance.", "kraken.com/v2")),
)


def part_of(raw: bytes, url: str = "", conn: str = "") -> str:
    """Spot, linear, inverse or option; empty where it does not show.

    Two parts of a venue may list one symbol (`BTCUSDT`) and say the same topic: only the address,
    the connection's name or a field that one part alone has tells them apart.  OKX's instrument
    ids tell it themselves (`BTC-USDT-SWAP`).
    """
    named = _WORDS.split(conn.lower())  # as our own recordings name connections: binance.spot.1
    for part, _ in _PARTS:
        if part in named:
            return part
    place = f"{url} {conn}".lower()
    for part, words in _PARTS:
        if any(word in place for word in words):
            return part
    return _part_of_binance(raw)


def _part_of_binance(raw: bytes) -> str:
    if b'"e":"depthUpdate"' in raw:  # spot's events say U and u, the futures' say pu too
        return "linear" if b'"pu":' in raw else "spot"
    if b'"e":"bookTicker"' in raw:  # spot's has no type
        return "linear"
    if b"@bookTicker" in raw:
        return "spot"
    if b'"e":"trade"' in raw or b'"e":"aggTrade"' in raw:
        return "spot" if b'"M":' in raw else "linear"
    if raw.startswith(b'{"lastUpdateId":'):  # the futures' snapshot says when it was taken
        return "linear" if b'"E":' in raw[:80] else "spot"
    return ""
