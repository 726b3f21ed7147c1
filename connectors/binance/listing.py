"""Binance's instruments, from `exchangeInfo`."""

from collections.abc import Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import msgspec
from msgspec import Struct

from connectors.binance.ask import body_of, read, request
from connectors.binance.facts import VENUE
from hean_router import kit

_WEIGHT = {kit.Part.SPOT: 20, kit.Part.LINEAR: 1}

# What is not here takes no orders, whatever it may mean.
_TRADING = {"TRADING": kit.Trading.OPEN, "CANCEL_ONLY": kit.Trading.CANCEL_ONLY}

# Spot prints eight decimals whatever the tick; the futures those of `pricePrecision` and
# `quantityPrecision`.  Tick and lot do not bound the digits in a book: when they grow coarser,
# orders that rest keep theirs (seen 2024: BTC quantities of 6 decimals under a lot of 5).
_SPOT_DECIMALS = 8
_SPARE_DECIMALS = 2


class _Filter(Struct, rename="camel"):
    filter_type: str
    tick_size: Decimal = Decimal(0)
    min_price: Decimal = Decimal(0)
    max_price: Decimal = Decimal(0)
    step_size: Decimal = Decimal(0)
    min_qty: Decimal = Decimal(0)
    max_qty: Decimal = Decimal(0)
    min_notional: Decimal = Decimal(0)
    max_notional: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)


class _Symbol(Struct, rename="camel"):
    symbol: str
    status: str
    base_asset: str
    quote_asset: str
    filters: list[_Filter]
    is_spot_trading_allowed: bool = True
    margin_asset: str = ""
    contract_type: str = ""
    price_precision: int = 0
    quantity_precision: int = 0


class _Info(Struct):
    symbols: list[_Symbol]


def instruments(part: kit.Part) -> kit.Ask[Sequence[kit.Instrument]]:
    """All of `part`; of the futures, perpetuals settled in what they are quoted in."""
    answer = yield request(part, "exchangeInfo", cost=_WEIGHT[part])
    info: _Info = read(body_of(answer, "exchangeInfo"), _Info, "exchangeInfo")
    return [_instrument(symbol) for symbol in info.symbols if _is_ours(part, symbol)]


def _is_ours(part: kit.Part, symbol: _Symbol) -> bool:
    if part is kit.Part.SPOT:
        return not symbol.margin_asset
    return "PERPETUAL" in symbol.contract_type and symbol.margin_asset == symbol.quote_asset


def listed_in(part: kit.Part, raw: bytes, url: str) -> Sequence[kit.Instrument]:
    """What a recorded `exchangeInfo` lists, dated futures too; () for anything else."""
    if b'"symbols"' not in raw or (url and "exchangeInfo" not in url):
        return ()
    try:
        info = msgspec.json.decode(raw, type=_Info)
    except kit.UNREADABLE:
        return ()
    futures = part is kit.Part.LINEAR
    return [_instrument(symbol) for symbol in info.symbols if bool(symbol.margin_asset) == futures]


def _pair(symbol: _Symbol) -> kit.Pair:
    """Dated ones carry their day in the symbol (`BTCUSDT_260925`), as ccxt spells them."""
    settle = symbol.margin_asset
    if settle and (day := symbol.symbol.partition("_")[2]):
        settle += f"-{day}"
    return kit.Pair(symbol.base_asset, symbol.quote_asset, settle)


def _instrument(symbol: _Symbol) -> kit.Instrument:
    pair = _pair(symbol)
    rules = {rule.filter_type: rule for rule in symbol.filters}
    none = _Filter("")  # a rule that is missing is not enforced, like one that is zero
    price, lot = rules.get("PRICE_FILTER", none), rules.get("LOT_SIZE", none)
    worth = rules.get("NOTIONAL") or rules.get("MIN_NOTIONAL", none)
    if pair.part is kit.Part.SPOT:
        px_decimals = qty_decimals = _SPOT_DECIMALS
    else:
        px_decimals = symbol.price_precision + _SPARE_DECIMALS
        qty_decimals = symbol.quantity_precision + _SPARE_DECIMALS
    px_decimals = max(px_decimals, kit.decimals_of(price.tick_size))
    qty_decimals = max(qty_decimals, kit.decimals_of(lot.step_size))
    trading = _TRADING.get(symbol.status, kit.Trading.HALTED)
    return kit.Instrument(
        venue=VENUE,
        pair=pair,
        symbol=symbol.symbol,
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=kit.grid(price.tick_size, px_decimals) or 1,
        lot=kit.grid(lot.step_size, qty_decimals) or 1,
        min_qty=_up(lot.min_qty, qty_decimals),
        max_qty=_down(lot.max_qty, qty_decimals) or None,
        min_notional=worth.min_notional or worth.notional,
        max_notional=worth.max_notional or None,
        px_min=_up(price.min_price, px_decimals),
        px_max=_down(price.max_price, px_decimals) or None,
        trading=trading if symbol.is_spot_trading_allowed else kit.Trading.HALTED,
    )


def _up(number: Decimal, decimals: int) -> int:
    """Scaled, rounded up: bounds need not lie on the grid."""
    return int(number.scaleb(decimals).to_integral_value(ROUND_CEILING))


def _down(number: Decimal, decimals: int) -> int:
    """Scaled, rounded down."""
    return int(number.scaleb(decimals).to_integral_value(ROUND_FLOOR))


def spell(pair: kit.Pair) -> str:
    """The symbol in market data, upper case; streams are named in lower case.

    >>> [spell(kit.Pair.parse(text)) for text in ("BTC/USDT", "BTC/USDT:USDT")]
    ['BTCUSDT', 'BTCUSDT']
    >>> [spell(kit.Pair.parse(text)) for text in ("BTC/USDT:USDT-260925", "BTC/USD:BTC")]
    ['BTCUSDT_260925', 'BTCUSD_PERP']
    """
    settle, _, day = pair.settle.partition("-")
    symbol = pair.base + pair.quote
    if settle and settle != pair.quote:
        return f"{symbol}_{day or 'PERP'}"
    return f"{symbol}_{day}" if day else symbol
