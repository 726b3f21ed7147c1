"""The words of `--faults`.

    SPEC   = item ("," item)*
    item   = word ":" value        how often this fault strikes
           | "storm" [":" factor]  those of `STORM`, `factor` times as often; later items change
                                   single words of it
           | "until" ":" duration  then all faults end and what they hold is let go
           | "seed" ":" number     other than the simulation's own

A value is a share (`0.01` of the frames or requests) or a duration (`30s`: on average that long
between two strikes), as the word wants; `0` takes a word back out.  Durations: `250ms`, `30s`,
`5m`, `2h`.

>>> spec = parse("drop:0.01,cut:30s,until:2h")
>>> spec.shares, spec.every_ns, spec.until_ns
({'drop': 10000}, {'cut': 30000000000}, 7200000000000)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches

SHARES: Mapping[str, str] = {
    "drop": "a pushed frame is lost",
    "repeat": "a pushed frame is sent twice",
    "reorder": "a pushed frame comes after the next one of its topic",
    "corrupt": "a pushed frame is no longer JSON",
    "digits": "a digit of a pushed frame is another one (only checksums notice)",
    "gap": "several frames of one topic in a row are lost",
    "hush": "an answer, heartbeat or other control frame is lost",
    "refuse": "a WebSocket is refused at the door (429, 503 or 403)",
    "rest": "a REST request fails: 5xx, 429, HTML, cut or empty body, no answer, late",
    "late": "a REST answer is late: older than what was pushed meanwhile",
    "hang": "a REST request is never answered",
    "disorder": "an account's event comes after the next one of its stream",
    "garbled": "an answer about orders is none: HTML, empty, cut, huge; done or not",
    "inside": "a REST book falls inside the id range of a stream's event (Binance)",
}
"""Faults that strike a share of frames or requests."""

ORDERS: Mapping[str, str] = {
    "acklost": "a request for an order is done, but never answered",
    "unknown": "a request for an order is done, but answered with the venue's `perhaps`",
    "undone": "a request for an order is not done, and answered with the venue's `perhaps`",
    "early": "what a request pushes comes before its answer, or around it",
    "twice": "an event of an account is pushed twice",
    "race": "an order is filled, or a part of it, just before its cancel is carried out",
    "dust": "an order's fills come lot by lot, and leave a rest below the minimum",
    "reject": "an order is refused for no reason: funds, band, minimum, market halted, …",
    "limited": "an order is refused for the venue's rate limit, though there was room",
    "nonce": "a request's nonce is refused as if a later one had come first (Kraken)",
    "lie": 'an account is told what is not so; the history says what (`"lie"`)',
    "lag": "a question about a young order is answered as if it were not there yet",
}
"""Faults that strike a share of requests for orders, at venues that take them."""

TIMES: Mapping[str, str] = {
    "cut": "a connection is torn down, or closed, without notice",
    "cutall": "all connections are torn down at once",
    "stall": "one book subscription of a live socket goes silent",
    "halfopen": "a connection stays open and dead",
    "slow": "a connection's frames are late for a while, in order",
    "restart": "the venue's sequences begin again",
    "lostreset": "they begin again, and the frames that say so are lost",
    "snapshot": "a snapshot in mid-stream, unasked",
    "shutdown": "a planned shutdown: notices, then cuts",
    "maintenance": "maintenance with its notices, for half a minute or so",
    "wipe": "maintenance that begins with all open orders taken off the book, told or not",
    "vanish": "an open order ends, cancelled or filled, and nobody is told",
    "deadman": "all open orders of an account end, as if its dead man's switch had fired",
    "crumble": "an open order is filled lot by lot, down to a rest below the minimum",
    "throttle": "for some seconds orders and REST are refused for their rate, or placements are",
    "session": "a connection ends as one that is too old, with the venue's notice before it",
    "crowd": "for some seconds a new WebSocket is refused as one too many",
    "replay": "a private connection ends, and the next one is told old trades anew (Kraken)",
    "halt": "a pair does not trade for some seconds",
    "rules": "a pair's tick and lot are coarser for some seconds",
    "delist": "a pair is off the list for some seconds",
}
"""Faults that strike now and then."""

ONLY: Mapping[str, frozenset[str]] = {
    "inside": frozenset({"binance"}),
    "nonce": frozenset({"kraken"}),
    "restart": frozenset({"bybit", "okx"}),
    "lostreset": frozenset({"bybit", "okx"}),
    "snapshot": frozenset({"bybit"}),
    "shutdown": frozenset({"binance", "okx"}),
    "replay": frozenset({"kraken"}),
}
"""Words that not every venue knows, and which do."""

STORM = (
    "drop:0.002,repeat:0.002,reorder:0.002,corrupt:0.001,gap:0.0005,hush:0.005,refuse:0.05,"
    "rest:0.05,late:0.2,inside:0.5,"
    "acklost:0.02,unknown:0.01,undone:0.01,early:0.3,twice:0.02,lag:0.1,"
    "cut:90s,cutall:15m,stall:2m,halfopen:10m,slow:1m,restart:5m,"
    "lostreset:7m,snapshot:45s,shutdown:20m,maintenance:30m"
)
"""What `storm` stands for: all but what is asked for by name, see `BY_NAME`."""

BY_NAME = frozenset(
    {"digits", "hang", "lie", "disorder", "garbled", "race", "dust", "reject", "limited", "nonce"}
    | {"wipe", "vanish", "deadman", "crumble", "throttle", "session", "crowd", "replay", "halt"}
    | {"rules", "delist"}
)
"""Words that a storm leaves out: only checksums notice them, or whoever asks wants to know when."""

_ALL_SHARES = {**SHARES, **ORDERS}
_UNITS = {"ms": 1_000_000, "s": 1_000_000_000, "m": 60_000_000_000, "h": 3_600_000_000_000}
_PPM = 1_000_000


class FaultSpecError(ValueError):
    """A `--faults` text that cannot be understood; says which item, and what is allowed."""


@dataclass(frozen=True)
class FaultSpec:
    """Faults asked for: shares in millionths, mean times in ns."""

    shares: Mapping[str, int] = field(default_factory=dict)
    every_ns: Mapping[str, int] = field(default_factory=dict)
    until_ns: int | None = None
    seed: int | None = None


def words() -> str:
    """All words with what they do, one a line: for help texts."""
    rows = [f"  {word + ':SHARE':<22}{what}" for word, what in _ALL_SHARES.items()]
    rows += [f"  {word + ':DURATION':<22}{what}" for word, what in TIMES.items()]
    return "\n".join(rows)


def parse(text: str) -> FaultSpec:
    """Read a spec.  FaultSpecError: what is wrong with which item."""
    shares: dict[str, int] = {}
    every_ns: dict[str, int] = {}
    until_ns = seed = None
    for item in text.split(","):
        word, colon, value = (part.strip() for part in item.partition(":"))
        if word == "storm":
            factor = _number(item, value) if colon else Decimal(1)
            if factor <= 0:
                raise FaultSpecError(f"{item.strip()!r}: a storm's factor must be above 0")
            calm = parse(STORM)
            shares |= {name: min(_PPM, int(x * factor)) for name, x in calm.shares.items()}
            every_ns |= {name: max(1, int(x / factor)) for name, x in calm.every_ns.items()}
        elif word == "until":
            until_ns = _duration(item, value)
        elif word == "seed":
            if not value.isdecimal():
                raise FaultSpecError(f"{item.strip()!r}: a seed is a whole number")
            seed = int(value)
        elif word in _ALL_SHARES and not value:
            raise FaultSpecError(f"{word!r} needs a share of 1, like {word}:0.01")
        elif word in TIMES and not value:
            raise FaultSpecError(f"{word!r} needs a duration, like {word}:30s")
        elif word in _ALL_SHARES:
            _set(shares, word, _share(item, value))
        elif word in TIMES:
            _set(every_ns, word, 0 if value == "0" else _duration(item, value))
        else:
            raise _unknown(word)
    return FaultSpec(shares, every_ns, until_ns, seed)


def _set(into: dict[str, int], word: str, value: int) -> None:
    if value:
        into[word] = value
    else:
        into.pop(word, None)


def _unknown(word: str) -> FaultSpecError:
    known = [*_ALL_SHARES, *TIMES, "storm", "until", "seed"]
    near = get_close_matches(word, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return FaultSpecError(f"no fault {word!r}{hint}; allowed: {', '.join(known)}")


def _number(item: str, value: str) -> Decimal:
    try:
        number = Decimal(value)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise FaultSpecError(f"{item.strip()!r}: {value!r} is not a number")
    return number


def _share(item: str, value: str) -> int:
    ppm = _number(item, value) * _PPM
    if not 0 <= ppm <= _PPM or ppm % 1:
        raise FaultSpecError(f"{item.strip()!r}: a share is 0 to 1 in steps of 0.000001")
    return int(ppm)


def _duration(item: str, value: str) -> int:
    digits = value.rstrip("mshn")
    unit = value[len(digits) :]
    if unit not in _UNITS or not digits:
        raise FaultSpecError(f"{item.strip()!r}: a duration is like 250ms, 30s, 5m or 2h")
    ns = int(_number(item, digits) * _UNITS[unit])
    if ns <= 0:
        raise FaultSpecError(f"{item.strip()!r}: a duration must be above 0")
    return ns
