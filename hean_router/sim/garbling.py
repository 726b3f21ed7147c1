"""REST answers that are no answers, and the refusals a venue gives for rate, in its own words."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from random import Random

import orjson

from hean_router.sim.contract import MS, SECOND, Request, Response

_HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
_HUGE = 4_000_000
_BOMB = 64_000_000
_TYPE = {"Content-Type": "application/json"}
# How paths that place and change orders begin, by venue; at others they are POSTs and DELETEs of
# everything that wants a key.
_ORDER_PATHS: Mapping[str, tuple[str, ...]] = {
    "kraken": tuple(
        f"/0/private/{name}" for name in ("AddOrder", "AmendOrder", "CancelOrder", "CancelAll")
    ),
    "okx": ("/api/v5/trade/",),
    "bybit": ("/v5/order/",),
    "binance": ("/api/v3/order", "/api/v3/openOrders"),
}
WAYS = ("html", "empty", "cut", "misnamed", "huge", "bomb")


def about_orders(venue: str, request: Request) -> bool:
    """Whether a request is to place, change or cancel orders."""
    return request.method != "GET" and request.path.startswith(_ORDER_PATHS.get(venue, ()))


def garbled(response: Response, request: Request, way: str, rng: Random) -> Response:
    """What comes instead of an answer; a bomb only to who says that it takes gzip."""
    body = response.body
    match way:
        case "html":
            return Response(rng.choice((200, 502, 503)), _HTML, {"Content-Type": "text/html"})
        case "empty":
            return Response(rng.choice((200, 500, 504)), b"", _TYPE)
        case "cut":
            return replace(response, status=200, body=body[: len(body) // 2])
        case "misnamed":  # an answer under another name, and one that is not what its name says
            return Response(200, rng.choice((_HTML, b"\xff\xfe\x00{", b"null", b"[[[")), _TYPE)
        case "bomb" if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(200, _bomb(), {**_TYPE, "Content-Encoding": "gzip"})
        case _:
            return Response(200, b'{"data":"' + b"0" * _HUGE + b'"}', _TYPE)


@lru_cache(maxsize=1)
def _bomb() -> bytes:
    return gzip.compress(b" " * _BOMB, mtime=0)


def refused_for_rate(venue: str, now_ns: int, until_ns: int) -> Response:
    """What a venue answers by REST to an address, or a key, that asks too much."""
    wait_s = max(1, -(-(until_ns - now_ns) // SECOND))
    match venue:
        case "binance":
            text = (
                f"Way too much request weight used; IP banned until {until_ns // MS}. "
                "Please use WebSocket Streams for live updates to avoid bans."
            )
            body = orjson.dumps({"code": -1003, "msg": text})
            return Response(418, body, {**_TYPE, "Retry-After": str(wait_s)})
        case "bybit":
            return Response(403, b"access too frequent", {"Content-Type": "text/plain"})
        case "okx":
            body = orjson.dumps({"msg": "Too Many Requests", "code": "50011", "data": []})
            return Response(429, body, _TYPE)
        case _:
            return Response(200, orjson.dumps({"error": ["EAPI:Rate limit exceeded"]}), _TYPE)


def crowded(venue: str) -> Response:
    """What a venue answers to one WebSocket too many."""
    match venue:
        case "bybit":
            return Response(403, b"access too frequent", {"Content-Type": "text/plain"})
        case "kraken":
            return Response(429, b"error code: 1015", {"Retry-After": "1"})
        case "binance":
            return Response(429, b"", {"Retry-After": "1"})
        case _:
            return Response(429, b"", {})
