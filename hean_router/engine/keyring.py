"""API keys, folded from the journal's rows; only hashes are kept, and nothing prints a token.

A token is 256 random bits, so its SHA-256 is kept and no slow hash such as argon2: those make
guessing a person's password dear, and nobody guesses 2**256.  A slow hash would only let anyone
with a made-up token cost us its time and memory.
"""

import base64
import hmac
import re
from hashlib import sha256
from typing import Final

from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.domain.record import KeyMade, KeyRevoked, Row

READ, TRADE, CANCEL, RISK, ADMIN = "read", "trade", "cancel", "risk", "admin"
SCOPES: Final = frozenset({READ, TRADE, CANCEL, RISK, ADMIN})

SECRET_BYTES: Final = 32
_ID_BYTES: Final = 8  # 13 letters of base 32
RANDOM_BYTES: Final = SECRET_BYTES + _ID_BYTES
_TOKEN = re.compile(r"hean_([0-9a-z]{1,32})_([A-Za-z0-9_-]{43})")
# Compared with where the key's id is unknown, so that a wrong id costs what a wrong secret does.
_NOBODY = sha256(b"nobody").hexdigest()


class KeyInfo(Struct, frozen=True):
    """Who a key speaks for, and what it may do."""

    key_id: str
    account: str
    scopes: frozenset[str]
    name: str = ""


class Token(str):
    """A key as its owner sends it: the text itself, but nothing that prints it by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        match = _TOKEN.fullmatch(self)
        return f"'hean_{match[1]}_…'" if match else "'…'"


def make_token(rand: bytes) -> tuple[str, Token]:
    """A new key's id and token from `RANDOM_BYTES` random bytes; shown once, kept by its owner.

    >>> make_token(bytes(range(40)))
    ('eaqseizeeutco', 'hean_eaqseizeeutco_…')
    """
    if len(rand) != RANDOM_BYTES:
        raise CommandError(f"{len(rand)} random bytes for a key", f"give {RANDOM_BYTES}")
    key_id = base64.b32encode(rand[SECRET_BYTES:]).decode().rstrip("=").lower()
    secret = base64.urlsafe_b64encode(rand[:SECRET_BYTES]).decode().rstrip("=")
    return key_id, Token(f"hean_{key_id}_{secret}")


def digest_of(token: str) -> str:
    """What is kept of a token: the SHA-256 of all of it, in hex."""
    return sha256(token.encode()).hexdigest()


def checked_scopes(scopes: tuple[str, ...]) -> frozenset[str]:
    """The scopes as a set; raises `CommandError` for none, or for one that does not exist.

    >>> sorted(checked_scopes(("trade", "read")))
    ['read', 'trade']
    """
    if strange := sorted(set(scopes) - SCOPES):
        raise CommandError(f"no scope {strange[0]!r}", f"use {', '.join(sorted(SCOPES))}")
    if not scopes:
        raise CommandError("a key without a scope", f"give some of {', '.join(sorted(SCOPES))}")
    return frozenset(scopes)


class KeyState(Struct, frozen=True, array_like=True):
    """As `KeyInfo`, with the token's hash."""

    key_id: str
    account: str
    scopes: list[str]
    name: str
    digest: str


class KeysState(Struct, frozen=True, kw_only=True):
    """As `KeyRing`."""

    good: list[KeyState]
    seen: list[str]


class KeyRing:
    """The keys that are good now."""

    __slots__ = ("_keys", "_seen")

    def __init__(self) -> None:
        self._keys: dict[str, tuple[KeyInfo, str]] = {}
        self._seen: set[str] = set()

    def __repr__(self) -> str:
        return f"KeyRing({len(self._keys)} keys)"

    def apply(self, row: Row) -> None:
        """Take in a row; those that are not about keys say nothing here.

        An id is made once: a second `KeyMade` of it changes nothing, revoked or not.  Scopes that
        this version does not know grant nothing.
        """
        match row:
            case KeyMade(key_id=key_id) if key_id not in self._seen:
                self._seen.add(key_id)
                info = KeyInfo(key_id, row.account, SCOPES.intersection(row.scopes), row.name)
                self._keys[key_id] = (info, row.digest)
            case KeyRevoked(key_id=key_id):
                # Remembered even where it was never made: it shall not come to be good by order.
                self._seen.add(key_id)
                self._keys.pop(key_id, None)
            case _:
                pass

    def dump(self) -> KeysState:
        """What rows have made of it: hashes, no token."""
        good = [
            KeyState(info.key_id, info.account, sorted(info.scopes), info.name, digest)
            for info, digest in self._keys.values()
        ]
        return KeysState(good=good, seen=sorted(self._seen))

    def load(self, state: KeysState) -> None:
        """Make this, which is new, what was dumped."""
        self._seen.update(state.seen)
        for one in state.good:
            info = KeyInfo(one.key_id, one.account, frozenset(one.scopes), one.name)
            self._keys[one.key_id] = (info, one.digest)

    def find(self, bearer: str) -> KeyInfo | None:
        """The key of a bearer token; None for anything else.

        The id is public and looked up; hash against hash is compared in constant time.
        """
        match = _TOKEN.fullmatch(bearer)
        if match is None:
            return None
        info, digest = self._keys.get(match[1], (None, _NOBODY))
        return info if hmac.compare_digest(digest_of(bearer), digest) else None

    def keys(self) -> tuple[KeyInfo, ...]:
        """The keys that are good now, by id."""
        return tuple(self._keys[key_id][0] for key_id in sorted(self._keys))
