"""Strict readers: JSON without ambiguity, decimals as text, times with a zone."""

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

from hean_router.api.errors import ApiError, seen
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair
from hean_router.route import decimal_of

DEPTH_MAX = 8  # a body of ours has three levels
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9})[0-9]{0,20})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MAX_NS = 2**63 - 1  # what the tables hold: the year 2262


def read_json(body: bytes) -> Any:
    """The JSON in `body`; raises `ApiError`.

    Told apart from Python's reader: no NaN, no name twice in an object (who wins would be up to
    whoever reads), no nesting beyond use, UTF-8 only.
    """
    if not body:
        raise ApiError("malformed_json", "the body is empty", "send a JSON object")
    if _depth(body) > DEPTH_MAX:
        raise ApiError(
            "malformed_json", f"the body is nested deeper than {DEPTH_MAX}", "send a flat object"
        )
    try:
        return json.loads(body.decode("utf-8"), parse_constant=_constant, object_pairs_hook=_object)
    except UnicodeDecodeError as fault:
        raise ApiError(
            "malformed_json", f"the body is not UTF-8 at byte {fault.start}", "encode it as UTF-8"
        ) from None
    except json.JSONDecodeError as fault:
        raise ApiError(
            "malformed_json",
            f"the body is not JSON: {fault.msg} at line {fault.lineno}, column {fault.colno}",
            "send one JSON object",
        ) from None
    except ValueError as fault:  # a number of more digits than Python reads
        raise ApiError("malformed_json", f"the body is not usable: {fault}") from None


def _depth(body: bytes) -> int:
    if body.count(b"{") + body.count(b"[") <= DEPTH_MAX:
        return 0
    depth = deepest = 0
    for byte in _TEXT.sub(b"", body):
        if byte in b"{[":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"}]":
            depth -= 1
    return deepest


def _constant(text: str) -> NoReturn:
    raise ApiError("malformed_json", f"{text} is no JSON number", "send decimals as text")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ApiError("malformed_json", f"{seen(twice)} is given twice", "give each name once")
    return out


def decimal_in(value: object) -> Decimal:
    """A positive decimal from text; raises `ValueError` with a sentence."""
    try:
        if isinstance(value, str) and len(value) > 40:
            raise CommandError("it has more than 40 characters")
        return decimal_of(value, "it")
    except CommandError as fault:
        raise ValueError(f"{fault}; {fault.fix}" if fault.fix else str(fault)) from None


def symbol_in(value: object) -> str:
    """A spot pair's name, `BTC/USDT` or `BTC-USDT`; raises `ValueError`."""
    if not isinstance(value, str):
        raise ValueError("it is not text; write BASE/QUOTE, such as BTC/USDT")
    if len(value) > 64 or not value.isascii():
        raise ValueError("it is no BASE/QUOTE, such as BTC/USDT")
    try:
        pair = Pair.parse(value if "/" in value else value.replace("-", "/", 1))
    except CommandError as fault:
        raise ValueError(f"{fault}; {fault.fix}") from None
    if not pair.quote[0].isalpha():  # a number such as 5.9e-08 is no BASE-QUOTE
        raise ValueError("it is no BASE/QUOTE, such as BTC/USDT")
    return str(pair)


def time_in(value: object) -> int:
    """Nanoseconds since the epoch from RFC 3339 text with a zone; raises `ValueError`.

    >>> time_in("1970-01-01T01:00:00.5+01:00")
    500000000
    """
    fix = "write RFC 3339 with a zone, such as 2030-01-31T12:00:00Z"
    if not isinstance(value, str):
        raise ValueError(f"it is not text; {fix}")
    if not (match := _TIME.fullmatch(value)):
        extra = " ('+' must be sent as %2B in a URL)" if " " in value else ""
        raise ValueError(f"it is no time: {seen(value)}{extra}; {fix}")
    zone = "+00:00" if match[4] in "Zz" else match[4]
    clock, leap = match[2], 0
    if clock.endswith(":60"):  # a leap second: the one after :59
        clock, leap = clock[:-2] + "59", 1
    try:
        moment = datetime.fromisoformat(f"{match[1]}T{clock}{zone}")
        whole = (moment - _EPOCH) // timedelta(seconds=1) + leap
    except (ValueError, OverflowError):
        raise ValueError(f"there is no such time: {seen(value)}; {fix}") from None
    ns = whole * 1_000_000_000 + int((match[3] or "0").ljust(9, "0"))
    if not 0 <= ns <= TIME_MAX_NS:
        raise ValueError(f"{value} is out of range; give a time between 1970 and 2262")
    return ns


def time_out(at_ns: int) -> str:
    """RFC 3339 in UTC, to the microsecond.

    >>> time_out(500_000_000)
    '1970-01-01T00:00:00.500000Z'
    """
    moment = _EPOCH + timedelta(microseconds=at_ns // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
