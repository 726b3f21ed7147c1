"""Binance's REST face, as far as market data goes: errors, time, status, depth."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
from msgspec import Struct, field

from connectors.binance.facts import part_of
from hean_router import kit

SNAPSHOT_DEPTH = 500  # weighs half of 1000: fifty books cut twice within a minute fit the limit

_PATH = {kit.Part.SPOT: "/api/v3", kit.Part.LINEAR: "/fapi/v1"}
_BUCKET = {kit.Part.SPOT: "rest", kit.Part.LINEAR: "linear.rest"}
# What `limit` costs: the smallest bound that holds it.
_WEIGHT = {
    kit.Part.SPOT: ((100, 5), (500, 25), (1000, 50), (5000, 250)),
    kit.Part.LINEAR: ((50, 2), (100, 5), (500, 10), (1000, 20)),
}


class _Error(Struct):
    code: int
    msg: str = ""


def request(part: kit.Part, name: str, query: str = "", cost: int = 1) -> kit.HttpRequest:
    """`GET` of one of the public endpoints; the shell picks `part`'s own host."""
    return kit.HttpRequest(
        path=f"{_PATH[part]}/{name}", query=query, bucket=_BUCKET[part], cost=cost
    )


def body_of(answer: kit.Answer, what: str) -> bytes:
    """The body of a good answer; raises `VenueError` that says what was refused, and why."""
    if answer.status == 200:
        return answer.body
    try:
        error = msgspec.json.decode(answer.body, type=_Error)
        why = f"{error.code} {error.msg}"
    except kit.UNREADABLE:  # a firewall's or a proxy's page
        why = f"no JSON: {answer.body[:80]!r}"
    raise kit.VenueError(f"binance {what}: HTTP {answer.status}: {why}", _fix(answer))


def _fix(answer: kit.Answer) -> str:
    match answer.status:
        case 418 | 429:  # 418: went on after 429s, so the address is banned for a while
            return f"wait {answer.headers.get('retry-after', 'some')} s before any request"
        case 403:
            return "wait 5 minutes: the firewall has had enough of this address"
        case 451:
            return "not served where you are; set env to one that is, or the hosts yourself"
        case status if status >= 500:
            return "try again later; `hean doctor --venue binance` tells when it is back"
    return ""


def read(body: bytes, shape: Any, what: str) -> Any:
    """`body` as `shape`; raises `VenueError` if it is not."""
    try:
        return msgspec.json.decode(body, type=shape)
    except kit.UNREADABLE as why:
        raise kit.VenueError(
            f"binance {what}: not what its documentation promises: {why}: {body[:80]!r}"
        ) from None


class _Time(Struct, rename="camel"):
    server_time: int


def server_time() -> kit.Ask[int]:
    """The venue's clock, epoch ns."""
    answer = yield from _either("time")
    time: _Time = read(body_of(answer, "time"), _Time, "time")
    return time.server_time * kit.MS


def _either(name: str) -> kit.Ask[kit.Answer]:
    """What both parts have, of whichever this host serves: the question names no part."""
    answer = yield request(kit.Part.SPOT, name)
    if answer.status == 404:
        answer = yield request(kit.Part.LINEAR, name)
    return answer


class _Status(Struct):
    status: int
    msg: str = ""


def status() -> kit.Ask[list[kit.Notice]]:
    """Whether the venue says it is down for maintenance; it announces none by this road.

    https://developers.binance.com/docs/wallet/others/system-status: 0 normal, 1 maintenance.
    Only the live exchange has it; elsewhere a ping has to do.
    """
    answer = yield kit.HttpRequest(path="/sapi/v1/system/status")
    if answer.status == 404:
        body_of((yield from _either("ping")), "ping")
        return []
    told: _Status = read(body_of(answer, "status"), _Status, "status")
    return [kit.Notice(kit.NoticeKind.HALTED, told.msg or "maintenance")] if told.status else []


class _Depth(Struct):
    seq: int = field(name="lastUpdateId")
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    E: int = 0


def ask_depth(part: kit.Part, instrument: kit.Instrument, limit: int) -> kit.Ask[kit.Snapshot]:
    """The best `limit` levels a side (spot: up to 5000; futures: 5, 10, 20, 50, 100, 500, 1000)."""
    cost = next(weight for bound, weight in _WEIGHT[part] if limit <= bound)
    query = f"symbol={quote(instrument.symbol)}&limit={limit}"
    answer = yield request(part, "depth", query, cost)
    what = f"depth of {instrument.symbol}"
    depth: _Depth = read(body_of(answer, what), _Depth, what)
    try:
        return _snapshot(depth, instrument, limit)
    except ValueError as why:
        raise kit.VenueError(f"binance {what}: {why}") from None


def _snapshot(depth: _Depth, instrument: kit.Instrument, window: int) -> kit.Snapshot:
    return kit.Snapshot(
        instrument,
        kit.levels(depth.bids, instrument),
        kit.levels(depth.asks, instrument),
        seq=depth.seq,
        sent_ns=depth.E * kit.MS,
        fetched=True,
        window=window,
    )


def book_in(raw: bytes, url: str, instruments: Mapping[str, kit.Instrument]) -> kit.Snapshot | None:
    """The book that a recorded depth answer holds; None if it is none, or of no one we follow.

    Without an address the only instrument there is must be meant, and how many levels were asked
    for is not known: as many as came, so that the book is taken to go on behind them.
    """
    if b'"lastUpdateId"' not in raw[:200] or (url and not _is_depth(url)):
        return None
    query = parse_qs(urlsplit(url).query)
    named = query.get("symbol")
    if named:
        instrument = instruments.get(named[0])
    else:
        instrument = next(iter(instruments.values())) if len(instruments) == 1 else None
    if instrument is None:
        return None
    try:
        depth = msgspec.json.decode(raw, type=_Depth)
    except kit.UNREADABLE:
        return None
    came = max(len(depth.bids), len(depth.asks))
    asked = query.get("limit", [""])[0]
    return _snapshot(depth, instrument, int(asked) if asked.isdigit() else came)


def _is_depth(url: str) -> bool:
    return part_of(url) is not None and urlsplit(url).path.endswith("/depth")
