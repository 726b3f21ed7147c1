"""ccxt's markets as instruments, and its numbers in their units."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from math import ceil
from typing import Any, TypeAlias

from hean_router import kit

Levels: TypeAlias = tuple[list[tuple[int, int]], list[tuple[int, int]]]

DECIMALS_MAX = 24  # finer than this is no price and no quantity
UNKNOWN_DECIMALS = 8  # of prices whose tick ccxt does not tell; widened when finer ones come
QTY_DECIMALS = 8  # at least: displayed quantities are often finer than the lot
# ccxt's ways to count precision: ccxt.base.decimal_to_precision.
_DECIMAL_PLACES, _TICK_SIZE = 2, 4


def _number(told: Any) -> Decimal | None:
    """A positive number in what ccxt tells, by the shortest text that names it; else None."""
    try:
        number = Decimal(str(told))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


def _step(told: Any, mode: int) -> Decimal | None:
    """A tick or lot; None where ccxt does not tell one, or only significant digits."""
    if told is None or mode == _TICK_SIZE:
        return _number(told)
    return Decimal(1).scaleb(-int(told)) if mode == _DECIMAL_PLACES else None


def instrument_of(
    venue: kit.VenueId, market: Mapping[str, Any], mode: int
) -> kit.Instrument | None:
    """One of ccxt's markets; None if it is neither spot nor a linear perpetual.

    `mode` is the exchange's `precisionMode`.  Where ccxt tells no tick, or only how many digits
    of a price count, the tick is the smallest decimal we keep.  A contract of unknown size is left
    out: its quantities would mean nothing.  `active` is None where a venue lists only what trades.
    """
    linear = bool(market.get("swap") and market.get("linear"))
    if not (market.get("spot") or (linear and market.get("settle") == market.get("quote"))):
        return None
    try:
        pair = kit.Pair.parse(market["symbol"])
    except kit.CommandError:
        return None  # dated, or in letters that are no symbol of ours
    size = _number(market.get("contractSize")) if linear else Decimal(1)
    if size is None or pair.part is not (kit.Part.LINEAR if linear else kit.Part.SPOT):
        return None
    precision, limits = market.get("precision") or {}, market.get("limits") or {}
    amount, cost, price = (limits.get(name) or {} for name in ("amount", "cost", "price"))

    tick = _step(precision.get("price"), mode)
    lot = _step(precision.get("amount"), mode)
    lot_base = None if lot is None else lot * size
    least, most = _number(amount.get("min")), _number(amount.get("max"))
    least_base = None if least is None else least * size
    px_decimals = UNKNOWN_DECIMALS if tick is None else kit.decimals_of(tick)
    fine = [number for number in (lot_base, least_base, size) if number is not None]
    qty_decimals = max(QTY_DECIMALS, *(kit.decimals_of(number) for number in fine))
    px_min, px_max = _number(price.get("min")), _number(price.get("max"))
    return kit.Instrument(
        venue=venue,
        pair=pair,
        symbol=market["symbol"],
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=1 if tick is None else kit.grid(tick, px_decimals),
        lot=1 if lot_base is None else kit.grid(lot_base, qty_decimals),
        min_qty=0 if least_base is None else kit.grid(least_base, qty_decimals),
        max_qty=None if most is None else int(most * size * 10**qty_decimals),
        min_notional=_number(cost.get("min")) or Decimal(0),
        max_notional=_number(cost.get("max")),
        px_min=0 if px_min is None else ceil(px_min * 10**px_decimals),
        px_max=None if px_max is None else int(px_max * 10**px_decimals),
        contract_size=size,
        trading=kit.Trading.HALTED if market.get("active") is False else kit.Trading.OPEN,
    )


def widened(old: kit.Instrument, px_decimals: int, qty_decimals: int) -> kit.Instrument:
    """The same rules with at least that many decimals.

    Raises `VenueError` beyond `DECIMALS_MAX`.
    """
    px_decimals = max(px_decimals, old.px_decimals)
    qty_decimals = max(qty_decimals, old.qty_decimals)
    if max(px_decimals, qty_decimals) > DECIMALS_MAX:
        raise kit.VenueError(f"{old.pair}: a number with more than {DECIMALS_MAX} decimals")
    px_by, qty_by = 10 ** (px_decimals - old.px_decimals), 10 ** (qty_decimals - old.qty_decimals)
    return replace(
        old,
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=old.tick * px_by,
        px_min=old.px_min * px_by,
        px_max=None if old.px_max is None else old.px_max * px_by,
        lot=old.lot * qty_by,
        min_qty=old.min_qty * qty_by,
        max_qty=None if old.max_qty is None else old.max_qty * qty_by,
    )


# ------------------------------------------------------------------------------------------ numbers


def digits(number: float | str) -> str:
    """Plain decimal text of a number of ccxt's: the shortest that names it.

    A float read from a venue's text with up to 15 significant digits gives that text back.

    >>> digits(65114.2), digits(1e-08), digits("0.10")
    ('65114.2', '0.00000001', '0.10')
    """
    text = str(number)
    return format(Decimal(text), "f") if "e" in text or "E" in text else text


class _Column(dict[Any, int]):
    """ccxt's number -> scaled int, remembered by the number.  Raises `ValueError`, `TooFine`."""

    def __init__(self, read: Callable[[str], int]) -> None:
        self._read = read

    def __missing__(self, number: Any) -> int:
        value = self._read(digits(number))
        if len(self) >= 1 << 16:
            self.clear()
        self[number] = value
        return value


class Reader:
    """ccxt's books and trades in an instrument's units."""

    def __init__(self, instrument: kit.Instrument) -> None:
        self.instrument = instrument
        self.px, self.qty = _Column(instrument.px), _Column(instrument.qty)

    def levels(self, book: Mapping[str, Any]) -> Levels:
        """Both sides; of a level only price and quantity (ccxt may keep more)."""
        px, qty = self.px, self.qty
        return (
            [(px[level[0]], qty[level[1]]) for level in book["bids"]],
            [(px[level[0]], qty[level[1]]) for level in book["asks"]],
        )
