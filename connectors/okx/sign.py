"""OKX's signatures, and what must not be told of them.

HMAC-SHA256 under the secret, in base64.  REST signs time, method, path with query and body, as
sent; the socket signs a login, once.  Either is good for 30 s.
"""

from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from hean_router import kit


def signature(code: kit.KeyedHash, message: bytes) -> str:
    """Base64 of the HMAC-SHA256 of `message`."""
    return b64encode(code.digest(message)).decode("ascii")


@lru_cache(maxsize=8)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(epoch_ms: int) -> str:
    """UTC with milliseconds, as REST wants it.

    >>> iso(1607418537715)
    '2020-12-08T09:08:57.715Z'
    """
    seconds, ms = divmod(epoch_ms, 1000)
    return f"{_second(seconds)}.{ms:03}Z"


class Keys:
    """An account's credentials, in use."""

    __slots__ = ("_code", "_headers", "_own")

    def __init__(self, own: kit.Credentials) -> None:
        self._own, self._code = own, kit.KeyedHash(own.secret.encode())
        self._headers = {
            "OK-ACCESS-KEY": own.key,
            "OK-ACCESS-PASSPHRASE": own.passphrase,
            "Content-Type": "application/json",
        }

    def __repr__(self) -> str:
        return f"Keys({self._own!r})"

    def request(
        self, request: kit.HttpRequest, stamp: kit.Stamp, *, expires: bool
    ) -> kit.HttpRequest:
        """The same request, signed; with `expires` not processed after the stamp's deadline."""
        at = iso(stamp.venue_ms)
        target = f"{request.path}?{request.query}" if request.query else request.path
        prehash = f"{at}{request.method}{target}".encode() + request.body
        headers = {**request.headers, **self._headers}
        headers["OK-ACCESS-TIMESTAMP"] = at
        headers["OK-ACCESS-SIGN"] = signature(self._code, prehash)
        if expires:
            headers["expTime"] = str(stamp.deadline_ms)
        return kit.HttpRequest(
            path=request.path,
            method=request.method,
            host=request.host,
            query=request.query,
            headers=headers,
            body=request.body,
            bucket=request.bucket,
            cost=request.cost,
            signed=True,
        )

    def login(self, stamp: kit.Stamp) -> bytes:
        """The socket's login: its time is in whole seconds."""
        at = str(stamp.venue_ms // 1000)
        args = {
            "apiKey": self._own.key,
            "passphrase": self._own.passphrase,
            "timestamp": at,
            "sign": signature(self._code, f"{at}GET/users/self/verify".encode()),
        }
        return msgspec.json.encode({"op": "login", "args": [args]})

    def clean(self, text: str) -> str:
        """`text` without our credentials: OKX quotes a request that it can not read (60012)."""
        if '"sign"' in text or "apiKey" in text:
            text = "our own request, quoted (not repeated here)"
        for secret in (self._own.secret, self._own.passphrase, self._own.key):
            if secret:
                text = text.replace(secret, "…")
        return text
