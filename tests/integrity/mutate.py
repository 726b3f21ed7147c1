"""Ways to spoil a frame.  All dice are the caller's."""

import re
from random import Random

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
KEY = re.compile(rb'"(?:[^"\\]|\\.)*"\s*:\s*')
PAIR = re.compile(rb'\["(\d+(?:\.\d+)?)","(\d+(?:\.\d+)?)"')
NAMED = re.compile(rb'"price":(\d+(?:\.\d+)?),"qty":(\d+(?:\.\d+)?)')
ODD = (
    b"null", b"true", b"false", b"0", b"1", b"-1", b"17", b"1.5", b"1e5", b"1e400", b"[]", b"{}",
    b'""', b'"x"', b'"-5"', b'"1e5"', b'" 1"', b'"1,5"', b'"NaN"', b'"1."', b'".5"', b'"0x10"',
    b'"+1"', b"NaN", b"9" * 25, b'"' + b"9" * 40 + b'"', b'"1.' + b"1" * 30 + b'"',
    '"١٢"'.encode(), '"½"'.encode(), b'[["1"]]', b'[["1","2","3","4","5"]]', b'[[1,2]]', b"[null]",
)  # fmt: skip


def cut(raw: bytes, rng: Random) -> bytes:
    """Its end is missing."""
    return raw[: rng.randrange(len(raw))]


def garbage(raw: bytes, rng: Random) -> bytes:
    """Some bytes are others, too many, or missing."""
    out = bytearray(raw)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(out))
        match rng.randrange(4):
            case 0:
                out[at] = rng.randrange(256)
            case 1:
                out.insert(at, rng.randrange(256))
            case 2:
                del out[at]
                if not out:
                    return b"\x00"
            case _:
                out[at : at + rng.randrange(1, 20)] = rng.randbytes(rng.randrange(1, 8))
    if rng.randrange(50) == 0:
        return rng.randbytes(rng.randrange(1, 200))
    return bytes(out)


def wrong_type(raw: bytes, rng: Random) -> bytes:
    """A value is of another kind."""
    tokens = [m for m in TOKEN.finditer(raw) if raw[m.end() : m.end() + 1] != b":"]
    if not tokens:
        return garbage(raw, rng)
    token = rng.choice(tokens)
    return raw[: token.start()] + rng.choice(ODD) + raw[token.end() :]


def missing_key(raw: bytes, rng: Random) -> bytes:
    """A key and its value are not there."""
    keys = list(KEY.finditer(raw))
    if not keys:
        return garbage(raw, rng)
    key = rng.choice(keys)
    end = _end_of_value(raw, key.end())
    start = key.start()
    if raw[end : end + 1] == b",":
        end += 1
    elif raw[start - 1 : start] == b",":
        start -= 1
    return raw[:start] + raw[end:]


def _end_of_value(raw: bytes, at: int) -> int:
    depth = 0
    while at < len(raw):
        char = raw[at : at + 1]
        if char in b"[{":
            depth += 1
        elif char in b"]}":
            depth -= 1
            if depth < 0:
                return at
        elif char == b",":
            if not depth:
                return at
        elif token := TOKEN.match(raw, at):
            at = token.end()
            if not depth:
                return at
            continue
        at += 1
        if not depth and char in b"]}":
            return at
    return at


def other_digit(raw: bytes, rng: Random) -> bytes:
    """A digit of a price or a quantity in a book is another; the frame itself if it has none."""
    pairs = list((NAMED if b'"price":' in raw else PAIR).finditer(raw))
    if not pairs:
        return raw
    start, end = rng.choice(pairs).span(rng.choice((1, 1, 2)))
    at = rng.choice([i for i in range(start, end) if raw[i : i + 1] != b"."])
    old = raw[at] - 48
    new = (old + rng.randrange(1, 10)) % 10
    return raw[:at] + b"%d" % new + raw[at + 1 :]


SYNTAX = (cut, garbage, wrong_type, missing_key)
