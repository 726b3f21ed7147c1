"""Who asks, and may they: keys, passphrases, signatures, timestamps, as OKX checks them.

Both wires sign with HMAC-SHA256 as base64: REST the timestamp, method, path with query and body;
a socket's login the timestamp in seconds and a fixed path.  Sources: v5 documentation of June 2026.
"""

import hashlib
import hmac
import re
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from hean_router.sim.accounts import Account, ApiKey, Permission
from hean_router.sim.contract import MS, SECOND, Request, Response
from hean_router.sim.desk import Desk

_VALID_NS = 30 * SECOND
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# what must be there, and the code if it is not
_HEADERS = {
    "OK-ACCESS-KEY": 50103,
    "OK-ACCESS-SIGN": 50106,
    "OK-ACCESS-TIMESTAMP": 50107,
    "OK-ACCESS-PASSPHRASE": 50104,
}
_LOGIN = "GET/users/self/verify"


class Refusal(Exception):
    """An operation on a socket, or one of its arguments, is answered with a code and a text."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg


class ApiError(Exception):
    """An answer of the form `{"code":"51001","data":[],"msg":"…"}`; `status` is REST's."""

    def __init__(self, code: int, msg: str, status: int = 200) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.status = status

    def response(self) -> Response:
        """The error as a REST answer."""
        body = {"code": str(self.code), "data": [], "msg": self.msg}
        return Response(self.status, orjson.dumps(body))


def too_frequent() -> ApiError:
    """A limit is used up."""
    return ApiError(50011, "Too Many Requests", 429)


def may_not() -> ApiError:
    """The key lacks a permission."""
    return ApiError(50120, "This API key doesn't have permission to use this function", 401)


def signed(key: ApiKey, text: str) -> str:
    """The signature of `text` by this key."""
    digest = hmac.new(key.secret.encode(), text.encode(), hashlib.sha256).digest()
    return b64encode(digest).decode()


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def authorise(
    desk: Desk, request: Request, permission: Permission, now_ns: int
) -> tuple[Account, ApiKey]:
    """Whose request this is.  ApiError: why it is nobody's, or not allowed."""
    headers = request.headers
    for name, code in _HEADERS.items():
        if not headers.get(name.lower()):
            raise ApiError(code, f"Request header {name} can not be empty.", 401)
    stamp = headers["ok-access-timestamp"]
    known = desk.key(headers["ok-access-key"])
    if known is None:
        raise ApiError(50119, "API key doesn't exist", 401)
    account, key = known
    sent_ns = _iso_ns(stamp)
    if sent_ns is None:
        raise ApiError(50112, "Invalid OK-ACCESS-TIMESTAMP", 401)
    if abs(now_ns - sent_ns) > _VALID_NS:
        raise ApiError(50102, "Timestamp request expired", 401)
    if not _equal(headers["ok-access-passphrase"], key.passphrase):
        raise ApiError(50105, "Request header OK-ACCESS-PASSPHRASE incorrect.", 401)
    query = f"?{request.query}" if request.query else ""
    body = request.body.decode("utf-8", "replace")
    text = f"{stamp}{request.method}{request.path}{query}{body}"
    if not _equal(headers["ok-access-sign"], signed(key, text)):
        raise ApiError(50113, "Invalid signature.", 401)
    if permission not in key.permissions:
        raise may_not()
    return account, key


def _iso_ns(stamp: str) -> int | None:
    """`2020-12-08T09:08:57.715Z`; None if it is no such time."""
    if not _ISO.fullmatch(stamp):
        return None
    try:
        when = datetime.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return int(when.timestamp()) * SECOND + int(stamp[20:23]) * MS


def log_in(desk: Desk, arg: Any, now_ns: int) -> tuple[Account, ApiKey]:
    """Whose login this is.  Refusal: 60004 to 60007, 60024, 60032, 60013."""
    if not isinstance(arg, Mapping):
        raise Refusal(60013, "Invalid args")
    texts = {}
    for name, code in (("apiKey", 60005), ("passphrase", 60024), ("sign", 60007)):
        value = arg.get(name)
        if not isinstance(value, str) or not value:
            raise Refusal(code, _LOGIN_TEXTS[code])
        texts[name] = value
    known = desk.key(texts["apiKey"])
    if known is None:
        raise Refusal(60032, "API key doesn't exist")
    account, key = known
    # Documented as text; a recorded client sends a number.
    stamp = str(arg.get("timestamp", ""))
    if not re.fullmatch(r"\d{1,12}(\.\d{1,9})?", stamp):
        raise Refusal(60004, "Invalid timestamp")
    whole, _, part = stamp.partition(".")
    sent_ns = int(whole) * SECOND + int(part.ljust(9, "0") or 0)
    if abs(now_ns - sent_ns) > _VALID_NS:
        raise Refusal(60006, "Timestamp request expired")
    if not _equal(texts["passphrase"], key.passphrase):
        raise Refusal(60024, "Wrong passphrase")
    if not _equal(texts["sign"], signed(key, f"{stamp}{_LOGIN}")):
        raise Refusal(60007, "Invalid sign")
    if Permission.READ not in key.permissions:
        raise Refusal(60009, "Login failed.")
    return account, key


_LOGIN_TEXTS = {60005: "Invalid apiKey", 60024: "Wrong passphrase", 60007: "Invalid sign"}
