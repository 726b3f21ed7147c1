"""Kraken's signatures, and what must not be told of them.

REST: HMAC-SHA512 under the decoded secret, over the path and SHA-256 of nonce and body, in base64;
the nonce rises strictly per key.  The socket has no signature: a token, asked for over REST, goes
with every message.
"""

from base64 import b64decode, b64encode
from hashlib import sha256

from connectors.kraken import times
from hean_router import kit

_AHEAD_MAX_MS = 60_000  # a deadline may be this far ahead


def signature(code: kit.KeyedHash, path: str, nonce: bytes, body: bytes) -> str:
    """The value of `API-Sign`; `body` is what is sent, nonce included."""
    message = path.encode() + sha256(nonce + body).digest()
    return b64encode(code.digest(message)).decode("ascii")


def deadline(stamp: kit.Stamp) -> str:
    """The stamp's deadline as the venue wants it; never later than ours."""
    return times.iso(min(stamp.deadline_ms, stamp.venue_ms + _AHEAD_MAX_MS))


class Keys:
    """An account's credentials, in use."""

    __slots__ = ("_code", "_headers", "_own")

    def __init__(self, own: kit.Credentials) -> None:
        self._own = own
        self._headers = {
            "API-Key": own.key,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        try:
            self._code = kit.KeyedHash(b64decode(own.secret, validate=True), "sha512")
        except ValueError:
            raise kit.CommandError(
                f"kraken account {own.account}: the secret is not base64", "copy it whole"
            ) from None

    def __repr__(self) -> str:
        return f"Keys({self._own!r})"

    def request(
        self, request: kit.HttpRequest, stamp: kit.Stamp, *, expires: bool
    ) -> kit.HttpRequest:
        """The same request, signed; with `expires` not matched after the stamp's deadline."""
        nonce = b"%d" % stamp.nonce
        body = b"nonce=" + nonce
        if request.body:
            body += b"&" + request.body
        if expires:
            body += b"&deadline=" + deadline(stamp).replace(":", "%3A").encode()
        headers = {**request.headers, **self._headers}
        headers["API-Sign"] = signature(self._code, request.path, nonce, body)
        return kit.HttpRequest(
            path=request.path,
            method=request.method,
            host=request.host,
            query=request.query,
            headers=headers,
            body=body,
            bucket=request.bucket,
            cost=request.cost,
            signed=True,
        )

    def clean(self, text: str, token: str = "") -> str:
        """`text` without our credentials, nor `token`."""
        for secret in (self._own.secret, self._own.key, token):
            if secret:
                text = text.replace(secret, "…")
        return text
