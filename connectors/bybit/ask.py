"""Bybit's REST face, as far as market data goes: errors, time, status, the top of a book."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from hean_router import kit


class _Envelope(Struct, rename="camel"):
    ret_code: int
    ret_msg: str = ""
    result: Raw = Raw()
    time: int = 0


_MISSING = 10404  # path or category: also what an unknown path is answered with


def request(path: str, query: str = "") -> kit.HttpRequest:
    """`GET` of one of the public endpoints; all cost one."""
    return kit.HttpRequest(path=f"/v5/{path}", query=query)


def result_of(answer: kit.Answer, shape: Any, what: str) -> Any:
    """The result in a good answer's envelope, as `shape`.

    Raises `VenueError` that says what was refused and why.  Most refusals come with HTTP 200.
    """
    envelope = _opened(answer, what)
    if envelope.ret_code:
        raise kit.VenueError(
            f"bybit {what}: {envelope.ret_code} {envelope.ret_msg}", _fix(envelope.ret_code)
        )
    return read(bytes(envelope.result), shape, what)


def read(body: bytes, shape: Any, what: str) -> Any:
    """`body` as `shape`; raises `VenueError` if it is not."""
    try:
        return msgspec.json.decode(body, type=shape)
    except kit.UNREADABLE as why:
        raise kit.VenueError(
            f"bybit {what}: not what its documentation promises: {why}: {body[:80]!r}"
        ) from None


def _opened(answer: kit.Answer, what: str) -> _Envelope:
    try:
        envelope = msgspec.json.decode(answer.body, type=_Envelope)
    except kit.UNREADABLE:
        envelope = None
    if answer.status == 200 and envelope is not None:
        return envelope
    if envelope is not None:
        why = f"{envelope.ret_code} {envelope.ret_msg}"
    else:  # a firewall's or a proxy's page
        why = f"no JSON: {answer.body[:80]!r}"
    raise kit.VenueError(f"bybit {what}: HTTP {answer.status}: {why}", _fix(answer.status))


def _fix(code: int) -> str:
    match code:
        case 403:
            return (
                "too many requests: send none for 10 minutes; or the venue does not serve "
                "your country: set env to a region, or the hosts yourself"
            )
        case 429 | 10006 | 10429:
            return "wait a few seconds"
        case 10001 | 10404:
            return "check the symbol: it may not be listed in this part"
        case 10000 | 10016 | 500 | 502 | 503 | 504:
            return "try again later; `hean doctor --venue bybit` tells when it is back"
    return ""


class _Time(Struct, rename="camel"):
    time_nano: str


def server_time() -> kit.Ask[int]:
    """The venue's clock, epoch ns."""
    answer = yield request("market/time")
    time: _Time = result_of(answer, _Time, "time")
    if not time.time_nano.isdigit():
        raise kit.VenueError(f"bybit time: {time.time_nano[:40]!r} is no number")
    return int(time.time_nano)


class Maintenance(Struct):
    """One entry of the system status, by REST as on the socket; `begin`, `end` in epoch ms."""

    state: str = ""
    title: str = ""
    begin: str = ""
    end: str = ""


class _Status(Struct):
    list: list[Maintenance]


def status() -> kit.Ask[Sequence[kit.Notice]]:
    """Maintenance now or announced.  Where nobody answers that, the clock has to do.

    https://bybit-exchange.github.io/docs/v5/system-status
    """
    answer = yield request("system/status")
    if answer.status == 404 or _code(answer) == _MISSING:
        yield from server_time()
        return []
    told: _Status = result_of(answer, _Status, "status")
    notices = (notice_of(entry) for entry in told.list)
    return [notice for notice in notices if notice.kind is not kit.NoticeKind.RESUMED]


def _code(answer: kit.Answer) -> int:
    try:
        return msgspec.json.decode(answer.body, type=_Envelope).ret_code
    except kit.UNREADABLE:
        return 0


def notice_of(entry: Maintenance) -> kit.Notice:
    """What an entry asks of us.  Which services it names is not looked at: fail closed."""
    text = f"{entry.state} maintenance {entry.title}: {entry.begin} to {entry.end} (epoch ms)"
    match entry.state:
        case "ongoing":
            return kit.Notice(kit.NoticeKind.HALTED, text)
        case "completed" | "canceled":
            return kit.Notice(kit.NoticeKind.RESUMED, text)
    return kit.Notice(kit.NoticeKind.INFO, text)


class _Book(Struct):
    s: str
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    ts: int = 0


def ask_top(part: kit.Part, instrument: kit.Instrument) -> kit.Ask[kit.Top]:
    """The best bid and ask."""
    query = f"category={part.value}&symbol={quote(instrument.symbol)}&limit=1"
    answer = yield request("market/orderbook", query)
    what = f"top of {instrument.symbol}"
    book: _Book = result_of(answer, _Book, what)
    if book.s != instrument.symbol:
        raise kit.VenueError(f"bybit {what}: the answer speaks of {book.s}")
    try:
        bids, asks = kit.levels(book.b, instrument), kit.levels(book.a, instrument)
    except ValueError as why:
        raise kit.VenueError(f"bybit {what}: {why}") from None
    return kit.Top(
        instrument, bids[0] if bids else None, asks[0] if asks else None, book.ts * kit.MS
    )


def book_in(_raw: bytes, _url: str, _of: Mapping[str, kit.Instrument]) -> kit.Snapshot | None:
    """None: a REST book counts the 1000-level stream, so that no recorded stream continues it."""
    return None
