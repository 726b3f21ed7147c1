"""What Kraken answers over REST: instruments, tops, its clock and its state; and its names.

Kraken has three names for a pair: `BTC/USD` on WebSocket v2, which is ours; `XBT/USD` (`wsname`)
and `XBTUSD` (`altname`) and `XXBTZUSD` (the key) over REST.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec
from msgspec import Struct

from hean_router import kit

VENUE = kit.VenueId("kraken")
T = TypeVar("T")
SECOND_NS = 1_000_000_000
# REST's names for two assets; v2 and everyone else say it the other way.
_RENAMED = {"XBT": "BTC", "XDG": "DOGE"}


class _Envelope(Struct):
    error: list[str]
    result: msgspec.Raw = msgspec.Raw(b"null")


_ENVELOPE = msgspec.json.Decoder(_Envelope)
# Texts that say "too frequent": nothing was done.
_LIMITED = ("EAPI:Rate limit", "EService: Throttled", "EService:Throttled", "EGeneral:Too many")


def result(answer: kit.Answer, what: str, decoder: msgspec.json.Decoder[T]) -> T:
    """What an answer holds; raises `VenueError` unless it is a success and of that shape.

    Kraken answers HTTP 200 for its own refusals; another status comes from what stands before it.
    An `error` that begins with `W` is a warning.
    """
    said = f"kraken {what}: HTTP {answer.status}"
    try:
        envelope = _ENVELOPE.decode(answer.body)
    except kit.UNREADABLE:
        raise kit.VenueError(
            f"{said} and no answer of Kraken's: {answer.body[:120]!r}",
            "a proxy or Kraken's own front door answered; try again later",
        ) from None
    errors = [text for text in envelope.error if not text.startswith("W")]
    if errors or answer.status != HTTPStatus.OK:
        limited = any(text.startswith(_LIMITED) for text in errors)
        limited = limited or answer.status == HTTPStatus.TOO_MANY_REQUESTS
        raise kit.VenueError(
            f"{said}: {', '.join(errors) or 'no reason given'}",
            "too many requests from this address: wait" if limited else "",
        )
    try:
        return decoder.decode(envelope.result)
    except kit.UNREADABLE as fault:
        raise kit.VenueError(f"{said}, not of the documented shape: {fault}") from None


# ---------------------------------------------------------------------------------- instruments


class _Pair(Struct):
    """A row of REST `AssetPairs`."""

    altname: str
    pair_decimals: int
    lot_decimals: int
    wsname: str = ""
    ordermin: str = "0"
    costmin: str = "0"
    tick_size: str = ""
    status: str = "online"


class Listed(Struct):
    """A pair in a frame of v2's `instrument` channel; its numbers may be written `1e-08`."""

    symbol: str
    status: str
    price_precision: int = 0
    qty_precision: int = 0
    price_increment: Decimal = Decimal(0)
    qty_increment: Decimal = Decimal(0)
    qty_min: Decimal = Decimal(0)
    cost_min: Decimal = Decimal(0)


class _ListedData(Struct):
    pairs: list[Listed]


class _ListedFrame(Struct):
    data: _ListedData


_PAIRS = msgspec.json.Decoder(dict[str, _Pair])
_LISTED_FRAME = msgspec.json.Decoder(_ListedFrame)
TRADING = {
    "online": kit.Trading.OPEN,
    "cancel_only": kit.Trading.CANCEL_ONLY,
    "post_only": kit.Trading.POST_ONLY,
    "limit_only": kit.Trading.LIMITED,
    "reduce_only": kit.Trading.LIMITED,
}  # maintenance, delisted, work_in_progress, and what may come: halted


def instruments(_part: kit.Part) -> kit.Ask[Sequence[kit.Instrument]]:
    """All spot pairs, in one answer (Kraken does not page them)."""
    answer = yield kit.HttpRequest(path="/0/public/AssetPairs")
    pairs = result(answer, "AssetPairs", _PAIRS)
    return _of_pairs(pairs)


def listed_in(_part: kit.Part, raw: bytes, _url: str) -> Sequence[kit.Instrument]:
    """Pairs in a recorded `AssetPairs` answer or a frame of the `instrument` channel."""
    try:
        if b'"pair_decimals"' in raw:
            return _of_pairs(_PAIRS.decode(_ENVELOPE.decode(raw).result))
        if b'"instrument"' in raw and b'"price_precision"' in raw:
            return [_of_listed(row) for row in _LISTED_FRAME.decode(raw).data.pairs]
    except kit.UNREADABLE:
        pass
    return ()


def _of_pairs(pairs: Mapping[str, _Pair]) -> Sequence[kit.Instrument]:
    """Those with a name on the socket: dark pools (`XBTUSD.d`) have none."""
    try:
        return [_of_pair(key, row) for key, row in pairs.items() if "/" in row.wsname]
    except (ValueError, InvalidOperation) as fault:
        raise kit.VenueError(f"kraken AssetPairs: a number that is none: {fault!r}") from None


def _of_pair(key: str, row: _Pair) -> kit.Instrument:
    pair = kit.Pair(*(_RENAMED.get(asset, asset) for asset in row.wsname.split("/", 1)))
    step = Decimal(row.tick_size) if row.tick_size else Decimal(1).scaleb(-row.pair_decimals)
    return kit.Instrument(
        venue=VENUE,
        pair=pair,
        symbol=spell(pair),
        # The digits on the wire, which the checksum is over; the tick may be coarser.
        px_decimals=row.pair_decimals,
        qty_decimals=row.lot_decimals,
        tick=kit.grid(step, row.pair_decimals),
        min_qty=kit.grid(Decimal(row.ordermin), row.lot_decimals),
        min_notional=Decimal(row.costmin),
        trading=TRADING.get(row.status, kit.Trading.HALTED),
        aliases=(row.wsname, row.altname, key),
    )


def _of_listed(row: Listed) -> kit.Instrument:
    base, _, quoted = row.symbol.partition("/")
    return kit.Instrument(
        venue=VENUE,
        pair=kit.Pair(base, quoted),
        symbol=row.symbol,
        px_decimals=row.price_precision,
        qty_decimals=row.qty_precision,
        tick=kit.grid(row.price_increment, row.price_precision) or 1,
        lot=kit.grid(row.qty_increment, row.qty_precision) or 1,
        min_qty=kit.grid(row.qty_min, row.qty_precision),
        min_notional=row.cost_min,
        trading=TRADING.get(row.status, kit.Trading.HALTED),
        aliases=(row.symbol,),
    )


def spell(pair: kit.Pair) -> str:
    """The symbol on WebSocket v2; perpetuals are spelled too, though none is listed here."""
    return str(pair)


# Assets whose key wears a letter in front, in some pairs and not in others: `XXBTZUSD`, `USDTZUSD`.
_LETTERS = {
    **dict.fromkeys(
        ["ETC", "ETH", "LTC", "MLN", "REP", "XBT", "XDG", "XLM", "XMR", "XRP", "ZEC"], "X"
    ),
    **dict.fromkeys(["AUD", "CAD", "EUR", "GBP", "JPY", "USD"], "Z"),
}


def aliases(pair: kit.Pair) -> tuple[str, ...]:
    """What REST may call a pair: `wsname`, `altname`, and every key that there could be.

    >>> aliases(kit.Pair.parse("BTC/USD"))
    ('XBT/USD', 'XBTUSD', 'XBTZUSD', 'XXBTUSD', 'XXBTZUSD')
    """
    renamed = {ours: theirs for theirs, ours in _RENAMED.items()}
    base, quoted = (renamed.get(asset, asset) for asset in (pair.base, pair.quote))
    first, second = ({asset, _LETTERS.get(asset, "") + asset} for asset in (base, quoted))
    keys = [b + q for b in sorted(first, key=len) for q in sorted(second, key=len)]
    return (f"{base}/{quoted}", *keys)


def part_of(url: str) -> kit.Part | None:
    """Spot where the path is of v2 or of the spot REST face; v1 and Futures are neither."""
    path = urlsplit(url).path.rstrip("/")
    spot = path.endswith(("/v2", "/v2/public")) or path.startswith("/0/public/")
    return kit.Part.SPOT if spot else None


def book_in(_raw: bytes, _url: str, _listed: Mapping[str, kit.Instrument]) -> kit.Snapshot | None:
    """Never any: `Depth` rounds quantities to three decimals, which no checksum would prove."""
    return None


# ---------------------------------------------------------------------------------- the rest


class _Depth(Struct):
    asks: list[tuple[str, str, int]]
    bids: list[tuple[str, str, int]]


_DEPTH = msgspec.json.Decoder(dict[str, _Depth])


def probe(instrument: kit.Instrument) -> kit.Ask[kit.Top]:
    """Best bid and ask over REST, by its own name of the pair; without a time."""
    name = instrument.aliases[1] if len(instrument.aliases) > 1 else instrument.symbol
    answer = yield kit.HttpRequest(
        path="/0/public/Depth", query=f"pair={quote(name, safe='')}&count=1"
    )
    what = f"top of {instrument.symbol}"
    books = list(result(answer, what, _DEPTH).values())
    if len(books) != 1:
        raise kit.VenueError(f"kraken {what}: {len(books)} books in the answer")
    try:
        bid, ask = (_first(side, instrument) for side in (books[0].bids, books[0].asks))
    except ValueError as fault:
        raise kit.VenueError(f"kraken {what}: {fault}") from None
    return kit.Top(instrument, bid, ask)


def _first(side: Iterable[tuple[str, str, int]], instrument: kit.Instrument) -> kit.Level | None:
    return next(((instrument.px(px), instrument.qty(qty)) for px, qty, _ in side), None)


class _Time(Struct):
    unixtime: int


_TIME = msgspec.json.Decoder(_Time)


def server_time() -> kit.Ask[int]:
    """Kraken's clock: whole seconds, cut, so up to 1 s behind."""
    answer = yield kit.HttpRequest(path="/0/public/Time")
    return result(answer, "Time", _TIME).unixtime * SECOND_NS


class _Status(Struct):
    status: str


_STATUS = msgspec.json.Decoder(_Status)
_STATES = {
    "maintenance": "no orders, no cancels",
    "cancel_only": "cancels only, no matching",
    "post_only": "post-only limits and cancels only, no matching",
}


def told(system: str) -> kit.Notice:
    """What the state of the whole venue asks of us."""
    if system == "online":
        return kit.Notice(kit.NoticeKind.RESUMED, "kraken is online")
    what = _STATES.get(system, "a state we do not know")
    return kit.Notice(kit.NoticeKind.HALTED, f"kraken is {system or 'in no state'}: {what}")


def status() -> kit.Ask[Sequence[kit.Notice]]:
    """The state of the whole venue, where it is not online."""
    answer = yield kit.HttpRequest(path="/0/public/SystemStatus")
    state = result(answer, "SystemStatus", _STATUS).status
    return () if state == "online" else (told(state),)
