"""Bybit's instruments, from `instruments-info`."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from urllib.parse import quote

import msgspec
from msgspec import Struct

from connectors.bybit.ask import request, result_of
from connectors.bybit.facts import VENUE, part_of
from hean_router import kit

_PAGES_MAX = 50  # of 1000; there are two at most

# What is not here takes no orders: PreLaunch, Delivering, Closed, and what we do not know.
_TRADING = {"Trading": kit.Trading.OPEN}

# When tick or lot grow coarser, orders that rest keep their digits.
_SPARE_DECIMALS = 2

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class _Price(Struct, rename="camel"):
    tick_size: Decimal
    min_price: Decimal = Decimal(0)
    max_price: Decimal = Decimal(0)


class _Lot(Struct, rename="camel"):
    # linear
    qty_step: Decimal = Decimal(0)
    min_order_qty: Decimal = Decimal(0)  # spot has it too, out of use
    max_order_qty: Decimal = Decimal(0)
    min_notional_value: Decimal = Decimal(0)
    # spot
    base_precision: Decimal = Decimal(0)
    min_order_amt: Decimal = Decimal(0)
    max_limit_order_qty: Decimal = Decimal(0)


class _Symbol(Struct, rename="camel"):
    symbol: str
    status: str
    base_coin: str
    quote_coin: str
    price_filter: _Price
    lot_size_filter: _Lot
    settle_coin: str = ""
    contract_type: str = ""
    delivery_time: str = "0"
    price_scale: str = "0"


class _Page(Struct, rename="camel"):
    list: list[_Symbol]
    category: str = ""
    next_page_cursor: str | None = None


class _Recorded(Struct):
    result: _Page


def instruments(part: kit.Part) -> kit.Ask[Sequence[kit.Instrument]]:
    """All of `part`; of the contracts, perpetuals.  Raises `VenueError`, also on endless pages."""
    symbols: list[_Symbol] = []
    cursor = ""
    for _ in range(_PAGES_MAX):
        query = f"category={part.value}&limit=1000"
        if cursor:
            query += f"&cursor={quote(cursor, safe='')}"
        page: _Page = result_of(
            (yield request("market/instruments-info", query)), _Page, f"{part.value} instruments"
        )
        symbols += page.list
        came, cursor = cursor, page.next_page_cursor or ""
        if not cursor or part is kit.Part.SPOT:  # spot is not paged
            return [_instrument(symbol) for symbol in symbols if _is_ours(part, symbol)]
        if cursor == came:
            break
    raise kit.VenueError(f"bybit {part.value} instruments: pages without end, at {cursor[:40]!r}")


def _is_ours(part: kit.Part, symbol: _Symbol) -> bool:
    return part is kit.Part.SPOT or (
        symbol.contract_type == "LinearPerpetual" and symbol.settle_coin == symbol.quote_coin
    )


def listed_in(part: kit.Part, raw: bytes, url: str) -> Sequence[kit.Instrument]:
    """What a recorded answer lists, dated futures too; () for anything else."""
    if b'"lotSizeFilter"' not in raw or (url and part_of(url) is not part):
        return ()
    try:
        page = msgspec.json.decode(raw, type=_Recorded).result
    except kit.UNREADABLE:
        return ()
    if page.category not in {"", part.value}:
        return ()
    futures = part is kit.Part.LINEAR
    return [_instrument(symbol) for symbol in page.list if bool(symbol.contract_type) == futures]


def _instrument(symbol: _Symbol) -> kit.Instrument:
    price, lot = symbol.price_filter, symbol.lot_size_filter
    spot = not symbol.contract_type
    step = lot.base_precision if spot else lot.qty_step
    scale = int(symbol.price_scale) if symbol.price_scale.isdigit() else 0
    px_decimals = max(kit.decimals_of(price.tick_size), scale) + _SPARE_DECIMALS
    qty_decimals = kit.decimals_of(step) + _SPARE_DECIMALS
    lot_units = kit.grid(step, qty_decimals) or 1
    return kit.Instrument(
        venue=VENUE,
        pair=_pair(symbol),
        symbol=symbol.symbol,
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=kit.grid(price.tick_size, px_decimals) or 1,
        lot=lot_units,
        min_qty=lot_units if spot else _up(lot.min_order_qty, qty_decimals),
        max_qty=_down(lot.max_limit_order_qty or lot.max_order_qty, qty_decimals) or None,
        min_notional=lot.min_order_amt if spot else lot.min_notional_value,
        px_min=_up(price.min_price, px_decimals),
        px_max=_down(price.max_price, px_decimals) or None,
        trading=_TRADING.get(symbol.status, kit.Trading.HALTED),
    )


def _pair(symbol: _Symbol) -> kit.Pair:
    """Dated ones carry their day in the symbol (`BTCUSDT-25DEC26`); ccxt's is `USDT-261225`."""
    settle = symbol.settle_coin
    if symbol.contract_type and not symbol.contract_type.endswith("Perpetual"):
        settle += f"-{_day(symbol.symbol.rpartition('-')[2])}"
    return kit.Pair(symbol.base_coin, symbol.quote_coin, settle)


def _day(text: str) -> str:
    """`25DEC26` as `261225`; the text itself if it is no day."""
    day, month, year = text[:-5].rjust(2, "0"), text[-5:-2], text[-2:]
    if month not in _MONTHS:
        return text
    return f"{year}{_MONTHS.index(month) + 1:02}{day}"


def _up(number: Decimal, decimals: int) -> int:
    """Scaled, rounded up: bounds need not lie on the grid (seen: 1542.6000000000001)."""
    return int(number.scaleb(decimals).to_integral_value(ROUND_CEILING))


def _down(number: Decimal, decimals: int) -> int:
    """Scaled, rounded down."""
    return int(number.scaleb(decimals).to_integral_value(ROUND_FLOOR))


def spell(pair: kit.Pair) -> str:
    """The symbol in market data.  Perpetuals settled in USDC have names of their own.

    >>> [spell(kit.Pair.parse(text)) for text in ("BTC/USDT", "BTC/USDT:USDT", "BTC/USDC:USDC")]
    ['BTCUSDT', 'BTCUSDT', 'BTCPERP']
    >>> [spell(kit.Pair.parse(text)) for text in ("BTC/USDT:USDT-261225", "BTC/USDC:USDC-261225")]
    ['BTCUSDT-25DEC26', 'BTC-25DEC26']
    >>> spell(kit.Pair.parse("BTC/USD:BTC"))
    'BTCUSD'
    """
    settle, _, day = pair.settle.partition("-")
    if day:
        stem = pair.base if settle == "USDC" else pair.base + pair.quote
        return f"{stem}-{_spelled_day(day)}"
    return f"{pair.base}PERP" if settle == "USDC" else pair.base + pair.quote


def _spelled_day(day: str) -> str:
    year, month, date = day[:2], day[2:4], day[4:]
    if not day.isdigit() or not 1 <= int(month) <= len(_MONTHS):
        return day
    return f"{int(date)}{_MONTHS[int(month) - 1]}{year}"
