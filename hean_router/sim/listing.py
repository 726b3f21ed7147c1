"""A pair as one venue lists it: steps, minimums, fees, and the texts of its numbers."""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property


class Kind(StrEnum):
    """Spot, or a USDT-settled linear perpetual."""

    SPOT = "spot"
    LINEAR = "linear"


def decimals_of(step: Decimal) -> int:
    """Decimal places of a step, trailing zeros not counted.

    >>> decimals_of(Decimal("0.010")), decimals_of(Decimal("5"))
    (2, 0)
    """
    exponent = step.normalize().as_tuple().exponent
    assert isinstance(exponent, int), f"a step must be finite, not {step}"
    return max(0, -exponent)


def text(units: int, scale: int, decimals: int) -> str:
    """Print `units` of 10^-scale with exactly `decimals` places; no rounding (asserted).

    >>> text(6183763, 2, 8), text(5, 3, 3), text(1200, 2, 0)
    ('61837.63000000', '0.005', '12')
    """
    if decimals >= scale:
        units *= 10 ** (decimals - scale)
    else:
        units, lost = divmod(units, 10 ** (scale - decimals))
        assert lost == 0, "the venue's text must hold every digit"
    if decimals == 0:
        return str(units)
    whole, part = divmod(units, 10**decimals)
    return f"{whole}.{part:0{decimals}d}"


@dataclass(frozen=True)
class Listing:
    """A pair as one venue lists it.

    `min_qty`, `max_qty` and `lot` are in what the venue counts (contracts where it counts those;
    `contract_size` is base per unit); `min_notional` is in quote, 0 for none.  Fees are in 1e-8 of
    notional, negative for a rebate.
    """

    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    min_qty: Decimal
    max_qty: Decimal
    min_notional: Decimal = Decimal(0)
    kind: Kind = Kind.SPOT
    contract_size: Decimal = Decimal(1)
    taker_fee_e8: int = 100_000
    maker_fee_e8: int = 100_000

    def __post_init__(self) -> None:
        for name in ("tick", "lot", "max_qty", "contract_size"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{self.symbol}: {name} must be above 0")
        for name in ("min_qty", "max_qty"):
            if getattr(self, name) % self.lot:
                raise ValueError(f"{self.symbol}: {name} must be whole lots of {self.lot}")

    @cached_property
    def symbol(self) -> str:
        """As in ccxt: `BTC/USDT`, `BTC/USDT:USDT`."""
        pair = f"{self.base}/{self.quote}"
        return pair if self.kind is Kind.SPOT else f"{pair}:{self.quote}"

    @cached_property
    def px_decimals(self) -> int:
        """Decimal places of the tick."""
        return decimals_of(self.tick)

    @cached_property
    def qty_decimals(self) -> int:
        """Decimal places of the lot."""
        return decimals_of(self.lot)

    @cached_property
    def _tick_units(self) -> int:
        return int(self.tick.scaleb(self.px_decimals))

    @cached_property
    def _lot_units(self) -> int:
        return int(self.lot.scaleb(self.qty_decimals))

    @cached_property
    def min_lots(self) -> int:
        """`min_qty` in lots."""
        return int(self.min_qty / self.lot)

    @cached_property
    def max_lots(self) -> int:
        """`max_qty` in lots."""
        return int(self.max_qty / self.lot)

    def px_text(self, ticks: int, decimals: int | None = None) -> str:
        """A price as text with `decimals` places; by default those of the tick."""
        places = self.px_decimals if decimals is None else decimals
        return text(ticks * self._tick_units, self.px_decimals, places)

    def qty_text(self, lots: int, decimals: int | None = None) -> str:
        """A quantity as text with `decimals` places; by default those of the lot."""
        places = self.qty_decimals if decimals is None else decimals
        return text(lots * self._lot_units, self.qty_decimals, places)

    def px(self, ticks: int) -> Decimal:
        """A price as a decimal."""
        return ticks * self.tick

    def qty(self, lots: int) -> Decimal:
        """A quantity as a decimal, in what the venue counts."""
        return lots * self.lot

    def notional(self, ticks: int, lots: int) -> Decimal:
        """Quote value."""
        return self.px(ticks) * self.qty(lots) * self.contract_size

    def ticks(self, px: Decimal) -> int:
        """Whole ticks of `px`; ValueError if it is off the tick."""
        if px % self.tick:
            raise ValueError(f"{px} is not a multiple of the tick {self.tick}")
        return int(px / self.tick)

    def lots(self, qty: Decimal) -> int:
        """Whole lots of `qty`; ValueError if it is off the lot."""
        if qty % self.lot:
            raise ValueError(f"{qty} is not a multiple of the lot {self.lot}")
        return int(qty / self.lot)
