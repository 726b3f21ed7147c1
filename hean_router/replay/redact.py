"""Secrets out of what is written down.

Redaction errs on the side of hiding: what a client sends on a public stream holds nothing worth
keeping that looks like a secret.  Numbers keep their digits; whitespace may change where a secret
was cut out; bytes that hold no secret come back as they were.
"""

import json
import re
from collections.abc import Collection
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

HIDDEN = "[redacted]"

# Compared without case and punctuation, and as endings: `apikey` is also X-BAPI-API-KEY.
SECRET_KEYS = frozenset({
    "apikey", "accesskey", "apisign", "sign", "signature", "token", "passphrase", "password",
    "secret", "secretkey", "privatekey", "listenkey", "authorization", "cookie", "challenge", "otp",
})  # fmt: skip

# What an answer calls a secret.  Exact names and long texts only: an answer is data to be kept.
_ANSWER_KEYS = frozenset({"apikey", "listenkey", "token", "secret", "secretkey", "passphrase"})
_ANSWER_LENGTH_MIN = 8
_ANSWER_HINT = re.compile(
    rb'"(?:api_?key|listenKey|token|secret(?:_?key)?|passphrase)"', re.IGNORECASE
)

_LOGINS = frozenset({"auth", "login", "logon", "authenticate", "sessionlogon"})
# Longer than any id a client makes (36) and any name of a stream: a key or a signature.
_OPAQUE = re.compile(r"[A-Za-z0-9+/=_\-]{48,}")
_FORM_PAIR = re.compile(rb"([\w.\-%]+)(=)([^&\s]+)")
_HEADER_PAIR = re.compile(rb"^([\w\-]+)(:[ \t]*)([^\r\n]+)", re.MULTILINE)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_string = msgspec.json.Decoder(str)
_encode = msgspec.json.Encoder().encode
_HIDDEN_JSON = _encode(HIDDEN)


def redact(raw: bytes, secrets: Collection[str] = SECRET_KEYS) -> bytes:
    """`raw`, a frame or body that we send, without the values of `secrets`.

    JSON is walked, also inside strings; the arguments of a login are hidden whatever they are
    called; so is every text too long and too random to be a name.  Other text is taken as
    `key=value` pairs.

    >>> redact(b'{"op":"auth","args":["KEY",1662350400000,"SIGNATURE"],"n":1.00}')
    b'{"op":"auth","args":["[redacted]","[redacted]","[redacted]"],"n":1.00}'
    >>> redact(b"nonce=1&Signature=abc")
    b'nonce=1&Signature=[redacted]'
    """
    walk = _Walk(frozenset(map(_plain, secrets)), sent=True)
    try:
        out = walk.value(raw)
    except (msgspec.MsgspecError, ValueError):
        return walk.pairs(raw)
    except RecursionError:
        return HIDDEN.encode()
    return out if walk.hid or _repeats_a_key(raw) else raw


def redact_answer(body: bytes) -> bytes:
    """`body`, an answer of the venue's, without a session's keys (`listenKey`, `token`).

    Any other answer, and all market data, comes back as it was.

    >>> redact_answer(b'{"listenKey":"pqia91ma19a5s61cv6a81va65sdf19v8"}')
    b'{"listenKey":"[redacted]"}'
    """
    if not _ANSWER_HINT.search(body):
        return body
    walk = _Walk(_ANSWER_KEYS, sent=False)
    try:
        out = walk.value(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return HIDDEN.encode()  # it speaks of keys and cannot be read: nothing of it is safe
    return out if walk.hid or _repeats_a_key(body) else body


def _repeats_a_key(raw: bytes) -> bool:
    """A key that stands twice is walked once, so the original may not be given back."""

    def check(pairs: list[tuple[str, object]]) -> None:
        if len(pairs) != len(dict(pairs)):
            raise ValueError("a key stands twice")

    try:
        json.loads(raw, object_pairs_hook=check, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        return True
    return False


def redact_url(url: str, secrets: Collection[str] = SECRET_KEYS) -> str:
    """`url` without secrets in its query, its path (Binance's listen keys) or before its host.

    >>> redact_url("wss://u:pw@h/ws?a=1&listenKey=XYZ&sign=")
    'wss://[redacted]@h/ws?a=1&listenKey=[redacted]&sign='
    """
    names = frozenset(map(_plain, secrets))
    try:
        parts = urlsplit(url)
    except ValueError:
        return HIDDEN
    host = parts.netloc
    if "@" in host:
        host = f"{HIDDEN}@{host.rpartition('@')[2]}"
    path = "/".join(HIDDEN if _OPAQUE.fullmatch(name) else name for name in parts.path.split("/"))
    return urlunsplit(
        (parts.scheme, host, path, _query(parts.query, names), _query(parts.fragment, names))
    )


def _query(query: str, names: frozenset[str]) -> str:
    pairs = []
    for pair in query.split("&"):
        key, equals, value = pair.partition("=")
        if value and (_secret(unquote(key), names) or _OPAQUE.search(unquote(value))):
            value = HIDDEN
        elif not equals and _OPAQUE.fullmatch(key):
            key = HIDDEN
        pairs.append(f"{key}{equals}{value}")
    return "&".join(pairs)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).lower()


def _secret(key: str, names: frozenset[str]) -> bool:
    plain = _plain(key)
    return plain.endswith(tuple(names)) if names else False


class _Walk:
    """One pass over a JSON text.  Scalars are copied as text: `1.00` stays `1.00`."""

    def __init__(self, names: frozenset[str], *, sent: bool) -> None:
        self.hid = False
        self._names, self._sent = names, sent

    def value(self, raw: bytes) -> bytes:
        """`raw` redacted.  Raises msgspec's errors, ValueError, RecursionError."""
        match raw.lstrip()[:1]:
            case b"{":
                return self._object(raw)
            case b"[":
                return self._list(raw)
            case b'"':
                return self._text(raw)
            case _:
                msgspec.json.decode(raw, type=msgspec.Raw)
                return raw

    def pairs(self, raw: bytes) -> bytes:
        """Text that is no whole JSON: a form, headers, or a broken frame, which is hidden whole."""
        if raw.lstrip()[:1] in {b"{", b"["}:
            plain = _plain(raw.decode("latin-1"))
            return HIDDEN.encode() if any(map(plain.__contains__, self._names | _LOGINS)) else raw

        def hide(found: re.Match[bytes]) -> bytes:
            key, between, value = found.groups()
            known = _secret(unquote(key.decode()), self._names)
            opaque = _OPAQUE.search(unquote(value.decode("latin-1")))
            return key + between + HIDDEN.encode() if known or opaque else found[0]

        return _FORM_PAIR.sub(hide, _HEADER_PAIR.sub(hide, raw))

    def _object(self, raw: bytes) -> bytes:
        members = _members.decode(raw)
        login = self._sent and any(
            _plain(bytes(members[name]).decode()) in _LOGINS
            for name in members
            if name.lower() in {"op", "method", "event", "type"}
        )
        out = []
        for key, value in members.items():
            text = bytes(value)
            if login and key.lower() in {"args", "params"}:
                text = self._all_hidden(text)
            elif self._is_secret(key, text):
                text = self._hide()
            else:
                text = self.value(text)
            out.append(_encode(key) + b":" + text)
        return b"{" + b",".join(out) + b"}"

    def _list(self, raw: bytes) -> bytes:
        elements = [bytes(element) for element in _elements.decode(raw)]
        pair = self._sent and len(elements) == 2 and elements[0][:1] == b'"'  # a header as a pair
        if pair and self._is_secret(_string.decode(elements[0]), elements[1]):
            elements[1] = self._hide()
        return b"[" + b",".join(map(self.value, elements)) + b"]"

    def _text(self, raw: bytes) -> bytes:
        text = _string.decode(raw)
        if not self._sent:
            return raw
        if text.lstrip()[:1] in {"{", "["}:  # JSON within a string
            inner = redact(text.encode(), self._names)
            if inner != text.encode():
                self.hid = True
                return _encode(inner.decode())
        return self._hide() if _OPAQUE.search(text) else raw

    def _is_secret(self, key: str, value: bytes) -> bool:
        if self._sent:
            return _secret(key, self._names) and value not in {b"null", b"true", b"false", b'""'}
        return _plain(key) in self._names and value[:1] == b'"' and len(value) > _ANSWER_LENGTH_MIN

    def _all_hidden(self, raw: bytes) -> bytes:
        """The same shape with every scalar hidden."""
        match raw[:1]:
            case b"{":
                pairs = _members.decode(raw).items()
                inner = [_encode(key) + b":" + self._all_hidden(bytes(text)) for key, text in pairs]
                return b"{" + b",".join(inner) + b"}"
            case b"[":
                return b"[" + b",".join(
                    self._all_hidden(bytes(text)) for text in _elements.decode(raw)
                ) + b"]"  # fmt: skip
            case _:
                return self._hide()

    def _hide(self) -> bytes:
        self.hid = True
        return _HIDDEN_JSON
