"""Kraken's times: RFC 3339 in UTC, whole or with a fraction of up to nine digits."""

from datetime import UTC, datetime
from functools import lru_cache

SECOND_NS = 1_000_000_000


@lru_cache(maxsize=8)
def _second_ns(text: str) -> int:
    since = datetime.fromisoformat(text + "+00:00")
    return int(since.timestamp()) * SECOND_NS


def ns(text: str) -> int:
    """Epoch ns of `2023-07-30T15:29:58.343415Z`; 0 for none: books had no times before 2023-10.

    Raises `ValueError`.
    """
    if not text:
        return 0
    fraction = text[20:-1]
    if text[-1] != "Z" or text[19:20] not in {".", "Z"} or len(fraction) > 9:
        raise ValueError(f"not a time: {text[:40]!r}")
    return _second_ns(text[:19]) + int(fraction.ljust(9, "0"))


@lru_cache(maxsize=8)
def _second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(epoch_ms: int) -> str:
    """The same with milliseconds, for a deadline.

    >>> iso(1772445602000), ns(iso(1772445602001))
    ('2026-03-02T10:00:02.000Z', 1772445602001000000)
    """
    seconds, ms = divmod(epoch_ms, 1000)
    return f"{_second(seconds)}.{ms:03}Z"


def of_seconds(text: str) -> int:
    """Epoch ns of REST's seconds with a fraction, `1688585840.8921`; raises `ValueError`."""
    whole, _, fraction = text.partition(".")
    if not (whole + fraction).isdecimal() or len(fraction) > 9:
        raise ValueError(f"not a time: {text[:40]!r}")
    return int(whole) * SECOND_NS + int(fraction.ljust(9, "0"))
