"""Who asks, and may they: keys, signatures, timestamps, as Bybit checks them.

HMAC-SHA256 in lower-case hex: REST signs timestamp, key, window and the raw query or body; a socket
signs `GET/realtime` and when its login expires.  Source: v5 documentation of 2026-07-24.  Texts of
refusals that no source gives are ours; the codes are the documented ones.
"""

import hashlib
import hmac
from collections.abc import Mapping
from re import compile as pattern
from typing import Any

from hean_router.sim.accounts import Account, ApiKey, Permission
from hean_router.sim.contract import MS, Request
from hean_router.sim.desk import Desk

WINDOW_MS = 5_000
_AHEAD_MS = 1_000  # a timestamp must be less than that ahead of the venue's clock
_WHOLE = pattern(r"\d{1,19}")
_KEY, _SIGN = "x-bapi-api-key", "x-bapi-sign"
_STAMP, _WINDOW = "X-BAPI-TIMESTAMP", "X-BAPI-RECV-WINDOW"


class OrderError(Exception):
    """A refusal: `retCode` and `retMsg`, of a whole request or of one order of a batch."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg


class Unauthorised(Exception):
    """A REST request without the headers that sign it: HTTP 401."""


def parameter(msg: str) -> OrderError:
    """A parameter is wrong."""
    return OrderError(10001, msg)


def may_not() -> OrderError:
    """The key lacks a permission."""
    return OrderError(10005, "Permission denied, please check your API key permissions.")


def system_error() -> OrderError:
    """Maintenance, or a fault: what became of the request is open."""
    return OrderError(10016, "Internal server error.")


def signed(key: ApiKey, text: str) -> str:
    """The signature of `text` by this key.

    >>> key = ApiKey("simkey01", "simsecret0123456789", "hmac", frozenset())
    >>> signed(key, "GET/realtime1700000010000")[:16]
    'a97bf0d2c45f8da5'
    """
    return hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def check_time(headers: Mapping[str, Any], now_ns: int) -> tuple[str, str]:
    """Timestamp and window as sent, when the request is in time.  OrderError: 10001, 10002.

    `headers` have their names as documented.  Texts are documented, numbers sent by clients too.
    """
    stamp, window = str(headers.get(_STAMP, "")), str(headers.get(_WINDOW, WINDOW_MS))
    if not _WHOLE.fullmatch(stamp) or not _WHOLE.fullmatch(window):
        raise parameter("params error: timestamp or recv_window invalid")
    now_ms = now_ns // MS
    if not now_ms - int(window) <= int(stamp) < now_ms + _AHEAD_MS:
        raise OrderError(
            10002,
            "invalid request, please check your server timestamp or recv_window param. "
            f"req_timestamp[{stamp}],server_timestamp[{now_ms}],recv_window[{window}]",
        )
    return stamp, window


def authorise(desk: Desk, request: Request, now_ns: int) -> tuple[Account, ApiKey]:
    """Whose request this is.  Unauthorised: no signature; OrderError: 10002 to 10004."""
    headers = request.headers
    name, sign = headers.get(_KEY, ""), headers.get(_SIGN, "")
    if not name or not sign or not headers.get(_STAMP.lower()):
        raise Unauthorised
    known = desk.key(name)
    if known is None:
        raise OrderError(10003, "API key is invalid.")
    given = {each: headers[each.lower()] for each in (_STAMP, _WINDOW) if each.lower() in headers}
    stamp, window = check_time(given, now_ns)
    payload = request.query if request.method == "GET" else request.body.decode("utf-8", "replace")
    text = f"{stamp}{name}{window if _WINDOW in given else ''}{payload}"
    if not _equal(sign, signed(known[1], text)):
        raise OrderError(10004, f"error sign! origin_string[{text}]")
    return known


def log_in(desk: Desk, args: Any, now_ns: int) -> tuple[Account, ApiKey]:
    """Whose login `[key, expires, signature]` this is.  OrderError: 10001, 10003, 10004."""
    if not isinstance(args, list) or len(args) != 3:
        raise parameter("Params Error")
    name, expires, sign = args
    if isinstance(expires, bool) or not isinstance(expires, str | int):
        raise parameter("Params Error")
    if not isinstance(name, str) or not isinstance(sign, str):
        raise parameter("Params Error")
    known = desk.key(name)
    if known is None:
        raise OrderError(10003, "API key is invalid.")
    if not _WHOLE.fullmatch(str(expires)) or int(expires) <= now_ns // MS:
        raise parameter("Params Error: expires is in the past")
    if not _equal(sign, signed(known[1], f"GET/realtime{expires}")):
        raise OrderError(10004, "error sign!")
    if Permission.READ not in known[1].permissions:
        raise may_not()
    return known
