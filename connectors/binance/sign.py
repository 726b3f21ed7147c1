"""Binance's signatures: HMAC-SHA256 in hex, or Ed25519 in base64.

https://developers.binance.com/docs/binance-spot-api-docs/rest-api/request-security
"""

from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from hean_router import kit

WINDOW_MAX_MS = 60_000  # more is refused (-1131)


class Signer:
    """A key that signs.  Prints nothing that could be used.

    Raises `CommandError` on a scheme we do not speak and on a private key that cannot be read.
    """

    __slots__ = ("_sign", "key", "logs_on")

    def __init__(self, credentials: kit.Credentials) -> None:
        self.key = credentials.key
        self.logs_on = credentials.scheme == "ed25519"  # the only kind that can log a session on
        self._sign = _ed25519(credentials) if self.logs_on else _hmac(credentials)

    def __repr__(self) -> str:
        return f"Signer(key='{self.key[:4]}…')"

    def of(self, payload: str) -> str:
        """The signature of `payload`, as a parameter of a socket request."""
        return self._sign(payload.encode())

    def query(self, query: str, stamp: kit.Stamp) -> str:
        """`query`, percent-encoded already, with time, deadline and signature."""
        lead = "&" if query else ""
        signed = f"{query}{lead}recvWindow={window_ms(stamp)}&timestamp={stamp.venue_ms}"
        signature = self.of(signed)
        if self.logs_on:  # base64 has letters that an URL reads otherwise
            signature = quote(signature, safe="")
        return f"{signed}&signature={signature}"


def window_ms(stamp: kit.Stamp) -> int:
    """How long after `venue_ms` the venue may still begin; never past the deadline.

    The venue checks on arrival and again before the matching engine; late is -1021, not executed.
    """
    assert stamp.deadline_ms > stamp.venue_ms, "the deadline has passed: must not be sent"
    return min(stamp.deadline_ms - stamp.venue_ms, WINDOW_MAX_MS)


def _hmac(credentials: kit.Credentials) -> Callable[[bytes], str]:
    if credentials.scheme != "hmac":
        raise kit.CommandError(
            f"binance account {credentials.account}: no signature scheme {credentials.scheme!r}",
            "use hmac or ed25519",
        )
    return kit.KeyedHash(credentials.secret.encode()).hex


def _ed25519(credentials: kit.Credentials) -> Callable[[bytes], str]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key: object = None
    with suppress(ValueError, TypeError):  # told below, without what the library quotes of the key
        key = load_pem_private_key(credentials.secret.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise kit.CommandError(
            f"binance account {credentials.account}: the secret is no Ed25519 private key in PEM",
            "it begins with -----BEGIN PRIVATE KEY----- and has no password",
        )
    sign = key.sign
    return lambda payload: b64encode(sign(payload)).decode()
