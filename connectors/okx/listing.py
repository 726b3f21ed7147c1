"""What OKX answers over REST: instruments, tops, its clock and its maintenance."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Struct

from hean_router import kit

VENUE = kit.VenueId("okx")
T = TypeVar("T")


class _Envelope(Struct):
    code: str
    data: msgspec.Raw = msgspec.Raw(b"[]")
    msg: str = ""


_ENVELOPE = msgspec.json.Decoder(_Envelope)
# Codes that say "too frequent": nothing was done.
_LIMITED = {"50011", "50040", "50061"}


def rows(answer: kit.Answer, what: str, decoder: msgspec.json.Decoder[list[T]]) -> list[T]:
    """The rows in an answer; raises `VenueError` unless it is a success and of that shape."""
    said = f"okx {what}: HTTP {answer.status}"
    try:
        envelope = _ENVELOPE.decode(answer.body)
    except kit.UNREADABLE:
        raise kit.VenueError(
            f"{said} and no answer of OKX's: {answer.body[:120]!r}",
            "a proxy or OKX's own front door answered; try again later",
        ) from None
    if envelope.code != "0" or answer.status != HTTPStatus.OK:
        limited = envelope.code in _LIMITED or answer.status == HTTPStatus.TOO_MANY_REQUESTS
        raise kit.VenueError(
            f"{said}, code {envelope.code}: {envelope.msg or 'no reason given'}",
            "too many requests from this address: wait" if limited else "",
        )
    try:
        return decoder.decode(envelope.data)
    except kit.UNREADABLE as fault:
        raise kit.VenueError(f"{said}, not of the documented shape: {fault}") from None


# ---------------------------------------------------------------------------------- instruments


class Listed(Struct):
    """A row of `public/instruments`; numbers are texts, empty where they do not apply."""

    instId: str  # noqa: N815 - OKX's own name, as are the next
    instType: str  # noqa: N815
    tickSz: str  # noqa: N815
    lotSz: str  # noqa: N815
    minSz: str = ""  # noqa: N815
    state: str = ""
    settleCcy: str = ""  # noqa: N815
    ctType: str = ""  # noqa: N815
    ctVal: str = ""  # noqa: N815
    ctMult: str = ""  # noqa: N815
    maxLmtSz: str = ""  # noqa: N815
    maxLmtAmt: str = ""  # noqa: N815
    instIdCode: int | None = None  # noqa: N815


_LISTED = msgspec.json.Decoder(list[Listed])
TRADING = {
    "live": kit.Trading.OPEN,
    "post_only": kit.Trading.POST_ONLY,
}  # suspend, rebase, preopen, test, and what may come: halted
_TYPES = {kit.Part.SPOT: "SPOT", kit.Part.LINEAR: "SWAP"}
_DOLLARS = {"USD", "USDT", "USDC", "USDG"}


def instruments(part: kit.Part) -> kit.Ask[Sequence[kit.Instrument]]:
    """All of a part, in one answer (OKX does not page them)."""
    answer = yield kit.HttpRequest(
        path="/api/v5/public/instruments",
        query=f"instType={_TYPES[part]}",
        bucket="instruments",
    )
    listed = _instruments(rows(answer, f"{part} instruments", _LISTED))
    # Inverse perpetuals settle in the base: not ours to trade.
    return [each for each in listed if each.pair.settle in {"", each.pair.quote}]


def listed_in(part: kit.Part, raw: bytes, _url: str) -> Sequence[kit.Instrument]:
    """All that a recorded answer lists, dated, inverse and options too; of either part.

    What settles in another currency than its quote counts contracts: how much base one is depends
    on the price.  Frames of the `instruments` channel are read like answers.
    """
    if b'"instId"' not in raw or b'"tickSz"' not in raw:
        return ()
    try:
        envelope = msgspec.json.decode(raw, type=_Listing)
    except kit.UNREADABLE:
        return ()
    return [each for each in _instruments(envelope.data) if each.part is part]


class _Listing(Struct):
    data: list[Listed]


def _instruments(listed: Iterable[Listed]) -> Sequence[kit.Instrument]:
    """Those that have a tick and a lot; before its listing a row may lack them."""
    try:
        return [_instrument(row) for row in listed if row.tickSz and row.lotSz]
    except (ValueError, InvalidOperation) as fault:
        raise kit.VenueError(f"okx instruments: a number that is none: {fault!r}") from None


def _instrument(row: Listed) -> kit.Instrument:
    contract = Decimal(1)
    if row.ctType == "linear":
        contract = Decimal(row.ctVal) * Decimal(row.ctMult or 1)
    tick, lot = Decimal(row.tickSz), Decimal(row.lotSz)
    px_decimals = kit.decimals_of(tick)
    qty_decimals = kit.decimals_of(contract) + kit.decimals_of(lot)
    pair = _pair(row)

    def base(contracts: str) -> int:
        return kit.grid(Decimal(contracts) * contract, qty_decimals)

    return kit.Instrument(
        venue=VENUE,
        pair=pair,
        symbol=row.instId,
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=kit.grid(tick, px_decimals),
        lot=base(row.lotSz),
        min_qty=base(row.minSz or "0"),
        max_qty=base(row.maxLmtSz) if row.maxLmtSz else None,
        # The largest order is given in dollars, whatever the quote is.
        max_notional=Decimal(row.maxLmtAmt) if row.maxLmtAmt and pair.quote in _DOLLARS else None,
        contract_size=contract,
        trading=TRADING.get(row.state, kit.Trading.HALTED),
        code=row.instIdCode,
    )


def _pair(row: Listed) -> kit.Pair:
    """The pair as ccxt spells it: the way back from `spell`."""
    base, quote, *dated = row.instId.split("-")
    quote = quote.partition("_")[0]  # BTC-USD_UM-SWAP settles in USD, BTC-USD-SWAP in BTC
    if row.instType == "SPOT":
        return kit.Pair(base, quote)
    return kit.Pair(base, quote, "-".join([row.settleCcy, *(d for d in dated if d != "SWAP")]))


def spell(pair: kit.Pair) -> str:
    """The `instId` of a pair: spot, perpetual, dated (`BTC/USD:BTC-220527`) or option."""
    if not pair.settle:
        return f"{pair.base}-{pair.quote}"
    settle, _, dated = pair.settle.partition("-")
    united = "_UM" if settle == pair.quote == "USD" else ""
    return f"{pair.base}-{pair.quote}{united}-{dated or 'SWAP'}"


def part_of(url: str) -> kit.Part | None:
    """The part a request was about; None for the sockets, which serve both."""
    query = parse_qs(urlsplit(url).query)
    kind = (query.get("instType") or [""])[0]
    name = (query.get("instId") or [""])[0]
    if kind in {"SPOT", "MARGIN"} or name.count("-") == 1:
        return kit.Part.SPOT
    return kit.Part.LINEAR if kind or name else None


def book_in(_raw: bytes, _url: str, _listed: Mapping[str, kit.Instrument]) -> kit.Snapshot | None:
    """Never any: the stream brings its own snapshot, and an answer would cut into its chain."""
    return None


# ---------------------------------------------------------------------------------- the rest


class _Level(Struct, array_like=True):
    px: str
    sz: str


class _Book(Struct):
    asks: list[_Level]
    bids: list[_Level]
    ts: str


_BOOK = msgspec.json.Decoder(list[_Book])


def probe(instrument: kit.Instrument) -> kit.Ask[kit.Top]:
    """Best bid and ask over REST."""
    answer = yield kit.HttpRequest(
        path="/api/v5/market/books", query=f"instId={instrument.symbol}&sz=1", bucket="books"
    )
    what = f"top of {instrument.symbol}"
    found = rows(answer, what, _BOOK)
    if not found:
        raise kit.VenueError(f"okx {what}: an empty answer")
    try:
        bid, ask = (
            (instrument.px(side[0].px), instrument.qty(side[0].sz)) if side else None
            for side in (found[0].bids, found[0].asks)
        )
        return kit.Top(instrument, bid, ask, int(found[0].ts) * kit.MS)
    except ValueError as fault:
        raise kit.VenueError(f"okx {what}: {fault}") from None


class _Time(Struct):
    ts: str


_TIME = msgspec.json.Decoder(list[_Time])


def server_time() -> kit.Ask[int]:
    """OKX's clock, good to 1 ms."""
    answer = yield kit.HttpRequest(path="/api/v5/public/time", bucket="time")
    found = rows(answer, "time", _TIME)
    if not found or not found[0].ts.isdecimal():
        raise kit.VenueError(f"okx time: no time in {answer.body[:120]!r}")
    return int(found[0].ts) * kit.MS


class Maintenance(Struct):
    """A row of `system/status`, on REST and on the socket."""

    title: str = ""
    state: str = ""
    begin: str = ""
    end: str = ""
    serviceType: str = ""  # noqa: N815
    env: str = ""


_STATUS = msgspec.json.Decoder(list[Maintenance])
# Sockets (0) and trading (5, in batches 8 and 9); not bots, blocks, spreads or copies.
_OURS = {"", "0", "5", "8", "9"}


def told(row: Maintenance) -> kit.Notice:
    """What a maintenance asks of us.  One of the demo (`env` 2) stops nobody live: it is news."""
    text = f"{row.title or 'maintenance'} ({row.state}, {row.begin}..{row.end} ms)"
    if row.env == "2":
        return kit.Notice(kit.NoticeKind.INFO, f"demo: {text}")
    if row.serviceType in _OURS and row.state == "ongoing":
        return kit.Notice(kit.NoticeKind.HALTED, text)
    if row.serviceType in _OURS and row.state in {"completed", "canceled"}:
        return kit.Notice(kit.NoticeKind.RESUMED, text)
    return kit.Notice(kit.NoticeKind.INFO, text)


def status() -> kit.Ask[Sequence[kit.Notice]]:
    """Maintenance under way, opening or announced."""
    answer = yield kit.HttpRequest(path="/api/v5/system/status", bucket="status")
    return [
        told(row)
        for row in rows(answer, "status", _STATUS)
        if row.state not in {"completed", "canceled"}
    ]
