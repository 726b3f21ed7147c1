"""Answers that are no answers, and the refusals a venue gives for rate, in its own words."""

import gzip
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from random import Random
from typing import Any

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
# How a socket's requests for orders are named: the field, and how the name begins.
_ORDER_WORDS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "binance": ("method", ("order.place", "order.cancel", "order.amend", "openOrders.cancelAll")),
    "bybit": ("op", ("order.",)),
    "okx": ("op", ("order", "batch-", "cancel-", "amend-")),
    "kraken": ("method", ("add_order", "batch_", "amend_order", "cancel_order", "cancel_all")),
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


def order_message(venue: str, data: str | bytes) -> dict[str, Any] | None:
    """A socket's request for an order; None if a frame is none."""
    name, words = _ORDER_WORDS.get(venue, ("", ()))
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict) or not str(message.get(name, "")).startswith(words):
        return None
    return message


def garbled_frame(answer: str | bytes, way: str, rng: Random) -> str | bytes:
    """What comes on a socket instead of an answer."""
    match way:
        case "html":
            return _HTML.decode()
        case "empty":
            return ""
        case "cut":
            return answer[: len(answer) // 2]
        case "misnamed":
            return rng.choice((b"\xff\xfe\x00{", "null", "[[["))
        case _:
            return '{"data":"' + "0" * _HUGE + '"}'


def frame_refused_for_rate(
    venue: str, message: Mapping[str, Any], now_ns: int, until_ns: int
) -> dict[str, Any]:
    """As `refused_for_rate`, on a socket; Bybit has another limit there."""
    match venue:
        case "binance":
            text = f"Way too much request weight used; IP banned until {until_ns // MS}."
            again = {"serverTime": now_ns // MS, "retryAfter": until_ns // MS}
            error = {"code": -1003, "msg": text, "data": again}
            return {"id": message.get("id"), "status": 418, "error": error}
        case "bybit":
            text = "Exceed IP rate limit. 3000 requests per second per IP"
            told = {"retCode": 10403, "retMsg": text, "data": {}}
            head = {"reqId": message.get("reqId", ""), "op": message["op"]}
            return {**head, **told, "retExtInfo": {}, "header": {}, "connId": ""}
        case "okx":
            head = {"id": message.get("id", ""), "op": message["op"]}
            return {**head, "data": [], "code": "50011", "msg": "Too Many Requests"}
        case _:
            head = {"method": message["method"], "success": False}
            if "req_id" in message:
                head["req_id"] = message["req_id"]
            return {**head, "error": "EAPI:Rate limit exceeded"}


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
