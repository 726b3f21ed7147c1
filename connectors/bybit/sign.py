"""Bybit's signatures: HMAC-SHA256 in hex, over the exact bytes that are sent.

https://bybit-exchange.github.io/docs/v5/guide
"""

from hean_router import kit

_WINDOW_MAX_MS = 60_000  # ours; the venue documents no maximum
_LOGIN_MS = 10_000  # a login has to end in the venue's future


class Signer:
    """A key that signs.  Prints nothing that could be used.

    Raises `CommandError` on a scheme we do not speak.
    """

    __slots__ = ("_hash", "key")

    def __init__(self, credentials: kit.Credentials) -> None:
        if credentials.scheme != "hmac":
            raise kit.CommandError(
                f"bybit account {credentials.account}: no signature scheme {credentials.scheme!r}",
                "use hmac: a system-generated key",
            )
        self.key = credentials.key
        self._hash = kit.KeyedHash(credentials.secret.encode())

    def __repr__(self) -> str:
        return f"Signer(key='{self.key[:4]}…')"

    def of(self, payload: bytes) -> str:
        """The signature of `payload`."""
        return self._hash.hex(payload)

    def headers(self, payload: bytes, stamp: kit.Stamp) -> dict[str, str]:
        """What a REST request carries; `payload` is its raw query (GET) or body (POST)."""
        time, window = str(stamp.venue_ms), str(window_ms(stamp))
        return {
            "X-BAPI-API-KEY": self.key,
            "X-BAPI-TIMESTAMP": time,
            "X-BAPI-RECV-WINDOW": window,
            "X-BAPI-SIGN": self.of(f"{time}{self.key}{window}".encode() + payload),
        }

    def login(self, stamp: kit.Stamp) -> list[str | int]:
        """Arguments of a socket's `auth`: good for ten seconds."""
        expires = stamp.venue_ms + _LOGIN_MS
        return [self.key, expires, self.of(b"GET/realtime%d" % expires)]


def window_ms(stamp: kit.Stamp) -> int:
    """How long after `venue_ms` the venue may take the request; never past the deadline.

    Valid while `server - window <= venue_ms < server + 1 s`; else 10002, not executed.
    """
    assert stamp.deadline_ms > stamp.venue_ms, "the deadline has passed: must not be sent"
    return min(stamp.deadline_ms - stamp.venue_ms, _WINDOW_MAX_MS)
