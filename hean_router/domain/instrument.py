"""What is traded: pairs, and how one venue lists them."""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum, StrEnum
from functools import lru_cache
from typing import NewType

from msgspec import Struct

from hean_router.domain.errors import CommandError
from hean_router.domain.scale import to_decimal, to_scaled

VenueId = NewType("VenueId", str)

_SYMBOL = re.compile(r"([A-Z0-9.$_-]{1,20})/([A-Z0-9.$_-]{1,20})(?::([A-Z0-9.$_-]{1,20}))?")
_SYMBOL_MAX = 62  # letters of the longest there can be
# Texts remembered per column; beyond it the memo starts anew.  Several books deep, and no more than
# 0.6 MB: fifty symbols at four venues have 400 columns, and quantities hardly ever come again.
_MEMO_MAX = 1 << 12


class Side(StrEnum):
    """Which way an order goes; for a trade, the taker's way."""

    BUY = "buy"
    SELL = "sell"


class Part(StrEnum):
    """One of a venue's markets: its own symbols, sockets and wallets."""

    SPOT = "spot"
    LINEAR = "linear"  # perpetual futures settled in the quote currency


class Trading(Enum):
    """Whether an instrument takes orders."""

    OPEN = "open"
    CANCEL_ONLY = "cancel only"
    POST_ONLY = "post only"
    LIMITED = "limited"  # some order kinds only: an auction, reduce-only
    HALTED = "halted"
    UNLISTED = "not listed"  # the venue's list has it no more, or not yet


class Pair(Struct, frozen=True, order=True):
    """Base and quote, wherever they trade; `settle` is empty for spot.

    >>> Pair.parse("BTC/USDT:USDT").part, str(Pair("BTC", "USDT"))
    (<Part.LINEAR: 'linear'>, 'BTC/USDT')
    """

    base: str
    quote: str
    settle: str = ""

    @classmethod
    def parse(cls, symbol: str) -> "Pair":
        """Read a symbol as ccxt spells it: `BTC/USDT`, or `BTC/USDT:USDT` for a perpetual."""
        # Symbols are few, and read many times for each order; strangers may send any text.
        return _parsed(symbol) if len(symbol) <= _SYMBOL_MAX else cls._parse(symbol)

    @classmethod
    def _parse(cls, symbol: str) -> "Pair":
        if not (match := _SYMBOL.fullmatch(symbol.strip().upper())):
            raise CommandError(
                f"symbol {symbol!r} is not BASE/QUOTE",
                "write it as BTC/USDT (spot) or BTC/USDT:USDT (perpetual)",
            )
        return cls(match[1], match[2], match[3] or "")

    @property
    def part(self) -> Part:
        """The market that lists it."""
        return Part.LINEAR if self.settle else Part.SPOT

    def __str__(self) -> str:
        return f"{self.base}/{self.quote}" + (f":{self.settle}" if self.settle else "")


_parsed = lru_cache(1_024)(Pair._parse)  # noqa: SLF001 - of the same file


class Digits(dict[str, int]):
    """Decimal text -> scaled int, remembered: the same prices come again and again.

    Raises what `to_scaled` raises.  Bounded: it forgets everything when it is full.  Who must see
    every text takes a subclass: past this very class a compiled reader may go its own way.
    """

    __slots__ = ("_worth", "decimals", "factor")

    def __init__(self, decimals: int, factor: int = 1) -> None:
        self.decimals, self.factor = decimals, factor
        # What the last of some digits is worth, by how many decimals they lack.
        self._worth: list[int] = [factor * 10**lack for lack in range(decimals + 1)]

    def __missing__(self, text: str) -> int:
        whole, _, part = text.partition(".")
        digits, lack = whole + part, self.decimals - len(part)
        if lack >= 0 and whole and part and digits.isdecimal() and digits.isascii():
            value = int(digits) * self._worth[lack]  # as `to_scaled`, for what is usual
        else:
            value = to_scaled(text, self.decimals) * self.factor
        if len(self) >= _MEMO_MAX:
            self.clear()
        self[text] = value
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Instrument:
    """A pair as one venue lists it.

    `px` counts 10**-`px_decimals` quote per base; `qty` counts 10**-`qty_decimals` base.  A
    venue that counts contracts says how much base one is (`contract_size`); its wire quantities
    become base quantities when read and nowhere else.  `tick` and `lot` are in these units.
    Compared by identity: a refreshed rule makes another instrument.
    """

    venue: VenueId
    pair: Pair
    symbol: str  # as the venue spells it in market data
    px_decimals: int
    qty_decimals: int  # of base quantity, contract size included
    tick: int = 1
    lot: int = 1
    min_qty: int = 0
    max_qty: int | None = None
    min_notional: Decimal = Decimal(0)  # in quote
    max_notional: Decimal | None = None
    px_min: int = 0
    px_max: int | None = None
    contract_size: Decimal = Decimal(1)  # base per wire unit of quantity
    trading: Trading = Trading.OPEN
    code: int | None = None  # the venue's number for it, where orders want one
    aliases: tuple[str, ...] = ()  # the venue's other spellings (Kraken has three)
    px_of: Digits = field(init=False, repr=False)  # the venue's price text -> px
    qty_of: Digits = field(init=False, repr=False)  # the venue's quantity text -> base qty

    def __post_init__(self) -> None:
        assert self.tick > 0, f"{self.symbol}: tick {self.tick}"
        assert self.lot > 0, f"{self.symbol}: lot {self.lot}"
        sign, digits, exponent = self.contract_size.normalize().as_tuple()
        assert isinstance(exponent, int), f"{self.symbol}: {self.contract_size} is no number"
        assert not sign, f"{self.symbol}: contract of {self.contract_size}"
        factor = int("".join(map(str, digits))) * 10 ** max(0, exponent)
        wire_decimals = self.qty_decimals - max(0, -exponent)
        assert wire_decimals >= 0, f"{self.symbol}: qty_decimals hide the contract size"
        object.__setattr__(self, "px_of", Digits(self.px_decimals))
        object.__setattr__(self, "qty_of", Digits(wire_decimals, factor))

    @property
    def key(self) -> tuple[VenueId, str]:
        """What stays when rules are refreshed: the venue, and the symbol as ccxt has it."""
        return (self.venue, str(self.pair))

    @property
    def part(self) -> Part:
        """The market that lists it."""
        return self.pair.part

    def px(self, text: str) -> int:
        """Scaled price from the venue's text; raises `ValueError`, `TooFine`."""
        return self.px_of[text]

    def qty(self, text: str) -> int:
        """Scaled base quantity from the venue's text (contracts are multiplied out)."""
        return self.qty_of[text]

    def px_decimal(self, px: int) -> Decimal:
        """`px` in quote per base."""
        return to_decimal(px, self.px_decimals)

    def qty_decimal(self, qty: int) -> Decimal:
        """`qty` in base."""
        return to_decimal(qty, self.qty_decimals)
