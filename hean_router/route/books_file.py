"""Books from a file: `{"symbol": …, "venues": {name: {"bids": …, …}}}`.

Strict, with one error for the first mistake: what, where, and how to mend it.  Levels may stand in
any order; two at one price, an empty or crossed market, a price off the tick are mistakes.
"""

import json
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Never

from msgspec import Struct

from hean_router.book.all_in import FEE_DECIMALS_MAX, check_fee
from hean_router.book.sweep import EXACT
from hean_router.domain.errors import CommandError
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Instrument, Pair, VenueId
from hean_router.domain.scale import decimals_of, plain, to_scaled
from hean_router.domain.venue import FeeIn, Fees
from hean_router.route.model import Balances, VenueBook, decimal_of

_TOP = ("symbol", "venues")
_NEEDED = (
    "bids",
    "asks",
    "taker_fee",
    "fee_in",
    "lot",
    "tick",
    "min_qty",
    "max_qty",
    "min_notional",
    "balances",
)
_OPTIONAL = ("max_notional",)
_LEVELS_MAX = 100_000  # a side


class BooksFile(Struct, frozen=True, eq=False):
    """What a books file says, ready for `plan`."""

    pair: Pair
    books: tuple[VenueBook, ...]
    balances: Balances
    fees: Mapping[VenueId, Fees]

    def expect(self, pair: Pair) -> None:
        """Raise `CommandError` unless these are books of `pair`."""
        if pair != self.pair:
            raise CommandError(
                f"the file holds books of {self.pair}, not of {pair}", f"route {self.pair}"
            )


def load_books(path: Path) -> BooksFile:
    """Read the file at `path`; raises `CommandError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandError(f"cannot read {path}: {why}", "give a JSON file of books") from error
    return read_books(text, str(path))


def read_books(text: str, where: str = "books") -> BooksFile:
    """Read the JSON `text`; `where` names it in errors.  Raises `CommandError`."""
    try:
        values = json.loads(
            text,
            object_pairs_hook=lambda pairs: _object(pairs, where),
            parse_float=Decimal,
            parse_constant=Decimal,
        )
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        at = (
            f" (line {error.lineno}: {error.msg})"
            if isinstance(error, json.JSONDecodeError)
            else ""
        )
        raise CommandError(
            f"{where} is not JSON{at}", 'write {"symbol": "BTC/USDT", "venues": {…}}'
        ) from error
    root = _mapping(values, where)
    _keys(root, where, _TOP, ())
    if not isinstance(root["symbol"], str):
        _wrong(f"{where}: symbol is not text", 'write "symbol": "BTC/USDT"')
    pair = Pair.parse(root["symbol"])
    venues = _mapping(root["venues"], f"{where}: venues")
    if not venues:
        _wrong(f"{where} names no venues", "give at least one venue with its book")
    books, fees = [], {}
    balances: dict[VenueId, Mapping[str, Decimal]] = {}
    for name, rest in venues.items():
        venue, at = VenueId(name), f"{where}: {name}"
        if not name.strip():
            _wrong(f"{where}: a venue without a name", "name every venue")
        entry = _mapping(rest, at)
        _keys(entry, at, _NEEDED, _OPTIONAL)
        books.append(_book(venue, pair, entry, at))
        fees[venue] = _fees(entry, at)
        balances[venue] = {
            asset: decimal_of(amount, f"{at}: balance of {asset}", zero=True)
            for asset, amount in _mapping(entry["balances"], f"{at}: balances").items()
        }
    return BooksFile(pair, tuple(books), balances, fees)


def _object(pairs: Iterable[tuple[str, Any]], where: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            _wrong(f"{where}: {key!r} is given twice in one object", "keep one of them")
        out[key] = value
    return out


def _wrong(what: str, fix: str) -> Never:
    raise CommandError(what, fix)


def _mapping(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _wrong(f"{at} is not an object", 'write it in braces: {"…": …}')
    return value


def _keys(entry: Mapping[str, Any], at: str, needed: Iterable[str], more: Iterable[str]) -> None:
    known = [*needed, *more]
    for key in entry:
        if key not in known:
            near = get_close_matches(key, known, 1)
            fix = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            _wrong(f"{at}: unknown key {key!r}", fix)
    for key in needed:
        if key not in entry:
            _wrong(f"{at}: {key!r} is missing", f"add {key!r}: {_EXAMPLES[key]}")


_EXAMPLES = {
    "symbol": '"BTC/USDT"',
    "venues": '{"okx": {…}}',
    "bids": '[["99.00", "1"]], or [] for an empty side',
    "asks": '[["100.00", "1"]], or [] for an empty side',
    "taker_fee": '"0.001" for 0.1 %',
    "fee_in": '"quote", "base" or "received"',
    "lot": '"0.00001", the step of quantities',
    "tick": '"0.01", the step of prices',
    "min_qty": '"0" where there is none',
    "max_qty": "null where there is none",
    "min_notional": '"0" where there is none',
    "balances": '{"BTC": "5", "USDT": "1000"}; what is not named is zero',
}


def _fees(entry: Mapping[str, Any], at: str) -> Fees:
    text = entry["taker_fee"]
    rebate = isinstance(text, str) and text.startswith("-")
    fee = decimal_of(text[1:] if rebate else text, f"{at}: taker_fee", zero=True)
    if decimals_of(fee) > FEE_DECIMALS_MAX:
        _wrong(f"{at}: taker_fee has too many decimals", "shorten it")
    fee = -fee if rebate else fee
    check_fee(fee, f"{at}: taker_fee")
    try:
        fee_in = FeeIn(entry["fee_in"])
    except ValueError:
        shown = json.dumps(entry["fee_in"], default=str)[:40]
        _wrong(f"{at}: fee_in is {shown}", "say quote, base or received")
    return Fees(taker=fee, maker=Decimal(0), fee_in=fee_in)


def _book(venue: VenueId, pair: Pair, entry: Mapping[str, Any], at: str) -> VenueBook:
    tick, lot = decimal_of(entry["tick"], f"{at}: tick"), decimal_of(entry["lot"], f"{at}: lot")
    bids, asks = _levels(entry["bids"], f"{at}: bids"), _levels(entry["asks"], f"{at}: asks")
    least = decimal_of(entry["min_qty"], f"{at}: min_qty", zero=True)
    most = _or_none(entry["max_qty"], f"{at}: max_qty")
    if most is not None and most < least:
        _wrong(f"{at}: max_qty is below min_qty", "exchange them, or set max_qty to null")
    floor = decimal_of(entry["min_notional"], f"{at}: min_notional", zero=True)
    top = _or_none(entry.get("max_notional"), f"{at}: max_notional")
    if top is not None and top < floor:
        _wrong(f"{at}: max_notional is below min_notional", "exchange them, or leave it out")
    px_decimals = decimals_of(tick)
    numbers = [lot, least, *(() if most is None else (most,)), *(qty for _, qty in bids + asks)]
    qty_decimals = max(decimals_of(number) for number in numbers)
    of = Instrument(
        venue=venue,
        pair=pair,
        symbol=str(pair),
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=_scaled(tick, px_decimals),
        lot=_scaled(lot, qty_decimals),
        min_qty=_scaled(least, qty_decimals),
        max_qty=None if most is None else _scaled(most, qty_decimals),
        min_notional=floor,
        max_notional=top,
    )
    for side, levels in (("bids", bids), ("asks", asks)):
        for px, _ in levels:
            if EXACT.remainder(px, tick):
                _wrong(
                    f"{at}: {side}: price {plain(px)} is not a multiple of its tick {plain(tick)}",
                    "correct the price or the tick",
                )
    book = VenueBook(of, _ladder(bids, of, best_last=True), _ladder(asks, of, best_last=False))
    if book.bids and book.asks and book.bids[0][0] >= book.asks[0][0]:
        bid, ask = of.px_decimal(book.bids[0][0]), of.px_decimal(book.asks[0][0])
        _wrong(
            f"{at}: the book is crossed: bid {plain(bid)} is not below ask {plain(ask)}",
            "a venue's own bids stand below its asks; are the sides exchanged?",
        )
    return book


def _or_none(value: Any, what: str) -> Decimal | None:
    return None if value is None else decimal_of(value, what)


def _scaled(number: Decimal, decimals: int) -> int:
    return to_scaled(plain(number), decimals)


def _levels(value: Any, at: str) -> list[tuple[Decimal, Decimal]]:
    shape = 'write levels as [["100.00", "0.5"], …]: price and quantity as text'
    if not isinstance(value, list):
        _wrong(f"{at} is not a list", shape)
    if len(value) > _LEVELS_MAX:
        _wrong(f"{at} has {len(value)} levels", f"give at most {_LEVELS_MAX}")
    out, seen = [], set()
    for i, level in enumerate(value):
        if not isinstance(level, list) or len(level) != 2:
            _wrong(f"{at}[{i}] is not a pair of price and quantity", shape)
        px = decimal_of(level[0], f"{at}[{i}]: price")
        qty = decimal_of(level[1], f"{at}[{i}]: quantity")
        if px in seen:
            _wrong(f"{at}: price {plain(px)} stands there twice", "join the two levels")
        seen.add(px)
        out.append((px, qty))
    return out


def _ladder(
    levels: list[tuple[Decimal, Decimal]], of: Instrument, *, best_last: bool
) -> tuple[Level, ...]:
    scaled = [(_scaled(px, of.px_decimals), _scaled(qty, of.qty_decimals)) for px, qty in levels]
    return tuple(sorted(scaled, reverse=best_last))
