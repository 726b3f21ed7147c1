"""Who asks, and may they: parameters, keys, signatures, timestamps, as Binance checks them.

Both wires end in a `Call`: REST signs the raw query followed by the raw body, the WS API signs its
parameters sorted by name.  Sources: spot documentation of 2026-07-21, signing known answers.
"""

import hashlib
import hmac
import json
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from hean_router.sim.accounts import Account, ApiKey, Permission, ed25519_seed
from hean_router.sim.contract import MS, Request
from hean_router.sim.desk import Desk
from hean_router.sim.faces.binance.meter import ApiError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RECV_WINDOW_MS = Decimal(5_000)
RECV_WINDOW_MAX_MS = Decimal(60_000)
_AHEAD_MS = 1_000
_MICROSECONDS = 10**15  # a timestamp this big counts µs
_NUMBER = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
_WHOLE = "^[0-9]{1,20}$"
_CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"
_PATTERNS = {text: re.compile(text) for text in (_NUMBER, _WHOLE, _CLIENT_ID)}


class NumberText(str):
    """A JSON number of a WS request with its digits as sent: signatures cover them."""

    __slots__ = ()


def parse_frame(data: str | bytes) -> Any:
    """A WS request; numbers keep their text.  ValueError: no JSON."""
    return json.loads(data, parse_int=NumberText, parse_float=NumberText)


def as_text(value: Any) -> str:
    """A parameter's text, as the signature counts it: JSON, but a string goes without quotes."""
    return str(value) if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    match value:
        case NumberText():
            return str(value)
        case list():
            return f"[{','.join(map(_json, value))}]"
        case dict():
            return f"{{{','.join(f'{json.dumps(k)}:{_json(x)}' for k, x in value.items())}}}"
        case _:
            return json.dumps(value)


@dataclass
class Call:
    """One request, whichever wire it came by: parameters as text, and who asks once known."""

    params: dict[str, str]
    address: str
    now_ns: int
    api_key: str = ""
    payload: str = ""
    account: Account | None = None
    key: ApiKey | None = None
    headers: dict[str, str] = field(default_factory=dict)

    # Parameters

    def text(self, name: str) -> str:
        """ApiError -1102: it is missing or empty."""
        value = self.params.get(name, "")
        if not value:
            raise missing(name)
        return value

    def optional(self, name: str) -> str | None:
        """None if it was not sent.  ApiError -1105: it was sent empty."""
        value = self.params.get(name)
        if value == "":
            raise ApiError(-1105, f"Parameter '{name}' was empty.")
        return value

    def number(self, name: str) -> Decimal | None:
        """A price or quantity.  ApiError -1100: not in the venue's form; -1013: zero."""
        text = self._matching(name, _NUMBER)
        return None if text is None else Decimal(text)

    def whole(self, name: str) -> int | None:
        """An id, time or count.  ApiError -1100: not a whole number."""
        text = self._matching(name, _WHOLE)
        return None if text is None else int(text)

    def client_id(self, name: str) -> str | None:
        """A client order id.  ApiError -1100: not one."""
        return self._matching(name, _CLIENT_ID)

    def choice(self, name: str, choices: Mapping[str, Any], code: int, msg: str) -> Any:
        """One of `choices`, or None.  ApiError `code`: something else."""
        value = self.optional(name)
        if value is None:
            return None
        if value not in choices:
            raise ApiError(code, msg)
        return choices[value]

    def flag(self, name: str) -> bool:
        """`true` or anything else."""
        return self.params.get(name, "").lower() == "true"

    def _matching(self, name: str, pattern: str) -> str | None:
        value = self.optional(name)
        if value is not None and not _PATTERNS[pattern].match(value):
            raise ApiError(
                -1100,
                f"Illegal characters found in parameter '{name}'; legal range is '{pattern}'.",
            )
        return value


def missing(name: str) -> ApiError:
    """A parameter that must be there is not."""
    return ApiError(
        -1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
    )


def rest_call(request: Request, now_ns: int) -> Call:
    """A REST request's parameters: the query's win over the body's."""
    body = request.body.decode("utf-8", "replace")
    params = dict(parse_qsl(body, keep_blank_values=True))
    params |= dict(parse_qsl(request.query, keep_blank_values=True))
    payload = _unsigned(request.query) + _unsigned(body)
    key = request.headers.get("x-mbx-apikey", "")
    return Call(params, request.peer, now_ns, key, payload)


def _unsigned(text: str) -> str:
    return "&".join(part for part in text.split("&") if not part.startswith("signature="))


def socket_call(params: Mapping[str, Any], address: str, now_ns: int) -> Call:
    """A WS request's parameters."""
    texts = {name: as_text(value) for name, value in params.items()}
    payload = "&".join(
        f"{name}={text}" for name, text in sorted(texts.items()) if name != "signature"
    )
    return Call(texts, address, now_ns, texts.get("apiKey", ""), payload)


# Who asks


def authorise(
    desk: Desk,
    call: Call,
    permission: Permission,
    *,
    session: ApiKey | None = None,
    signed: bool = True,
) -> Account:
    """The account that asks; `call` knows it from now on.

    `session` is the key a WS connection has logged on with; a request of its own key and signature
    is judged by these.  ApiError: -1102, -2014, -2015, -1021, -1131, -1022.
    """
    own = "signature" in call.params or not session
    name = call.api_key if own or session is None else session.key
    if not name:
        raise ApiError(-2014, "API-key format invalid.")
    if signed:
        _timely(call)
        if own:
            call.text("signature")
    known = desk.key(name)
    if known is None:
        raise denied()
    account, key = known
    if signed and own and not verified(key, call.payload, call.params["signature"]):
        raise ApiError(-1022, "Signature for this request is not valid.")
    if permission not in key.permissions:
        raise denied()
    call.account, call.key = account, key
    return account


def denied() -> ApiError:
    """No such key, or it may not."""
    return ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def _timely(call: Call) -> None:
    """Refuse what is too old or too far ahead; µs count as well as ms."""
    call.text("timestamp")
    stamp = call.whole("timestamp")
    assert stamp is not None, "just read"
    sent_ms = Decimal(stamp) / 1_000 if stamp >= _MICROSECONDS else Decimal(stamp)
    window_ms = call.number("recvWindow")
    if window_ms is None:
        window_ms = RECV_WINDOW_MS
    if window_ms > RECV_WINDOW_MAX_MS:
        raise ApiError(-1131, "recvWindow must be less than 60000.")
    now_ms = Decimal(call.now_ns) / MS
    if sent_ms >= now_ms + _AHEAD_MS:
        raise ApiError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    if now_ms - sent_ms > window_ms:
        raise ApiError(-1021, "Timestamp for this request is outside of the recvWindow.")


def verified(key: ApiKey, payload: str, signature: str) -> bool:
    """Whether `signature` is this key's of `payload`: HMAC as hex of any case, Ed25519 base64."""
    if key.scheme == "hmac":
        digest = hmac.new(key.secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        return hmac.compare_digest(digest.encode(), signature.lower().encode())
    from cryptography.exceptions import InvalidSignature

    try:
        public = _public(key.secret)
        public.verify(b64decode(unquote(signature), validate=True), payload.encode())
    except (InvalidSignature, Base64Error, ValueError):
        return False
    return True


@lru_cache(maxsize=64)
def _public(secret: str) -> "Ed25519PublicKey":
    """What the venue would keep of an Ed25519 key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(ed25519_seed(secret)).public_key()
