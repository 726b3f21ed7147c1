"""Who asks, and may they: keys, nonces, signatures, tokens, as Kraken checks them.

REST: API-Sign is base64 of HMAC-SHA512, keyed with the decoded secret, of the path followed by
SHA-256 of nonce and body as sent.  Sockets: a token in every message.  Sources: documentation 2026.
"""

import binascii
import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import orjson

from hean_router.sim.accounts import Account, ApiKey, Permission
from hean_router.sim.contract import SECOND, Request
from hean_router.sim.desk import Desk

TOKEN_LIFE_S = 900
_NONCE_MAX = 2**64
_TOKEN_BYTES = 32
_TOKENS_KEPT = 1_000


class Refusal(Exception):
    """A request is answered with an error, for one symbol or as a whole; REST says it alike."""

    def __init__(self, error: str, symbol: str | None = None) -> None:
        super().__init__(error)
        self.error = error
        self.symbol = symbol


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose key or token it is."""

    account: Account
    key: ApiKey

    def may(self, permission: Permission) -> None:
        """Refusal: it may not."""
        if permission not in self.key.permissions:
            raise Refusal("EGeneral:Permission denied")


def signed(key: ApiKey, path: str, nonce: str, body: bytes) -> str:
    """The signature of a REST request by this key."""
    inner = hashlib.sha256(nonce.encode() + body).digest()
    digest = hmac.new(b64decode(key.secret), path.encode() + inner, hashlib.sha512).digest()
    return b64encode(digest).decode()


def parsed_body(request: Request) -> dict[str, Any]:
    """Parameters of a form or JSON body.  Refusal: it is neither."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as error:
            raise Refusal("EAPI:Bad request") from error
        if not isinstance(body, dict):
            raise Refusal("EAPI:Bad request")
        return body
    text = request.body.decode("utf-8", "replace")
    return dict(parse_qsl(text, keep_blank_values=True))


class Gate:
    """Keys with their last nonces, and tokens."""

    def __init__(self, desk: Desk, rng: Random) -> None:
        self._desk = desk
        self._rng = rng
        self._nonces: dict[str, int] = {}
        self._tokens: dict[str, tuple[Holder, int]] = {}  # -> until when it may first be used

    def authorise(self, request: Request, params: Mapping[str, Any]) -> Holder:
        """Whose REST request this is.  Refusal: nobody's, wrongly signed, or an old nonce."""
        known = self._desk.key(request.headers.get("api-key", ""))
        if known is None:
            raise Refusal("EAPI:Invalid key")
        account, key = known
        nonce = str(params.get("nonce", ""))
        if not (nonce.isascii() and nonce.isdigit() and int(nonce) < _NONCE_MAX):
            raise Refusal("EAPI:Invalid nonce")
        try:
            b64decode(request.headers.get("api-sign", ""), validate=True)
        except (binascii.Error, ValueError) as error:
            raise Refusal("EAPI:Invalid signature") from error
        wanted = signed(key, request.path, nonce, request.body)
        if not hmac.compare_digest(wanted, request.headers.get("api-sign", "")):
            raise Refusal("EAPI:Invalid signature")
        late = self._desk.faults is not None and self._desk.faults.strikes("nonce", 0)
        if late or int(nonce) <= self._nonces.get(key.key, -1):
            raise Refusal("EAPI:Invalid nonce")
        self._nonces[key.key] = int(nonce)
        return Holder(account, key)

    def issue(self, holder: Holder, now_ns: int) -> dict[str, Any]:
        """A new token."""
        token = b64encode(self._rng.randbytes(_TOKEN_BYTES)).decode().replace("/", "+")
        self._tokens[token] = holder, now_ns + TOKEN_LIFE_S * SECOND
        while len(self._tokens) > _TOKENS_KEPT:
            del self._tokens[next(iter(self._tokens))]
        return {"token": token, "expires": TOKEN_LIFE_S}

    def holder(self, token: Any, now_ns: int, *, alive: bool) -> Holder:
        """Whose token it is; `alive`: a private subscription of this connection keeps it valid.

        Refusal: nobody's, or it has expired.
        """
        known = self._tokens.get(token) if isinstance(token, str) else None
        if known is None:
            raise Refusal("ESession:Invalid session")
        holder, until_ns = known
        if now_ns >= until_ns and not alive:
            raise Refusal("ESession:Invalid session")
        return holder
