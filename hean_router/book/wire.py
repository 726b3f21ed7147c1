"""Levels as venues write them, and as digests spell them: the specification.

A codec declares a side of a book as `Pairs` or `Rows`, with `UNTOLD` where it is missing, and gives
it to `levels` or `rows`.  Nobody else looks inside: with the compiled twin it is another thing.
"""

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, TypeAlias

from msgspec import Struct

from hean_router.book.ladder import Ladder
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Instrument
from hean_router.domain.scale import plain, to_decimal


class Row(Struct, array_like=True, gc=False):
    """Price and quantity; what follows is not read."""

    px: str
    qty: str


Pairs: TypeAlias = list[tuple[str, str]]
Rows: TypeAlias = list[Row]
UNTOLD: Any = None


def levels(pairs: Iterable[Sequence[str]], instrument: Instrument) -> Sequence[Level]:
    """Levels from `Pairs`, or from any `[price, quantity, …]` texts; what follows is ignored.

    Raises `ValueError` (`TooFine`) on text that is not a plain decimal of the instrument's scale.
    """
    if not pairs:
        return []  # most messages change one side only
    px_of, qty_of = instrument.px_of, instrument.qty_of
    return [(px_of[pair[0]], qty_of[pair[1]]) for pair in pairs]


def rows(side: Iterable[Row], instrument: Instrument) -> Sequence[Level]:
    """Levels from `Rows`; `Digits` remembers texts with needless zeros.

    For venues whose digest is over texts as sent.  Raises what `levels` raises.
    """
    if not side:
        return []
    px_of, qty_of = instrument.px_of, instrument.qty_of
    return [(px_of[row.px], qty_of[row.qty]) for row in side]


def digits(ladder: Ladder, depth: int) -> bytes:
    """Digits of the best `depth` levels, price and quantity by turns, without zeros in front."""
    keys, qtys = ladder.columns(depth)
    numbers = [0] * (2 * len(keys))
    numbers[::2], numbers[1::2] = keys, qtys
    # The quickest of eight ways tried: one format for all, then the asks' signs away.
    return ("%d" * len(numbers) % tuple(numbers)).replace("-", "").encode()


def spelled(bids: Ladder, asks: Ladder, depth: int, instrument: Instrument) -> bytes:
    """`px:qty` of the best `depth` bids and asks by turns, as on the wire but for needless zeros.

    Where one side is shorter the other's go on alone.
    """
    wire_qty = instrument.qty_of

    def texts(ladder: Ladder) -> list[str]:
        return [
            f"{_plain(px, instrument.px_decimals)}:"
            f"{_plain(qty // wire_qty.factor, wire_qty.decimals)}"
            for px, qty in ladder.top(depth)
        ]

    turns = zip_longest(texts(bids), texts(asks))
    return ":".join(text for turn in turns for text in turn if text).encode()


def _plain(value: int, decimals: int) -> str:
    return plain(to_decimal(abs(value), decimals))
