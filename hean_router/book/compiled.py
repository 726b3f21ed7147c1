"""The twin of `wire`, of use where `native.Ladder` is there.

A side of a book stays the bytes that came until it is read, into `Levels` that a ladder takes as
they are: no Python object per number.  What is not of the plainest spelling is left to `wire`,
which reads it or says what is wrong.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from hean_router.book import wire
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Digits, Instrument

with suppress(ImportError):
    from hean_router.native import _core

Pairs: TypeAlias = Raw
Rows: TypeAlias = Raw
UNTOLD: Any = Raw()

_pairs_in = msgspec.json.Decoder(wire.Pairs).decode
_rows_in = msgspec.json.Decoder(wire.Rows).decode


def levels(pairs: Iterable[Sequence[str]] | Raw, instrument: Instrument) -> Sequence[Level]:
    """As `wire.levels`."""
    if type(pairs) is not Raw:
        return _core.Levels(wire.levels(pairs, instrument))
    found = _read(pairs, instrument, longer=False)
    return _core.Levels(wire.levels(_pairs_in(pairs), instrument)) if found is None else found


def rows(side: Iterable[wire.Row] | Raw, instrument: Instrument) -> Sequence[Level]:
    """As `wire.rows`."""
    if type(side) is not Raw:
        return _core.Levels(wire.rows(side, instrument))
    found = _read(side, instrument, longer=True)
    return _core.Levels(wire.rows(_rows_in(side), instrument)) if found is None else found


def _read(side: Raw, instrument: Instrument, *, longer: bool) -> Sequence[Level] | None:
    px_of, qty_of = instrument.px_of, instrument.qty_of
    if type(px_of) is not Digits or type(qty_of) is not Digits:
        return None  # these want to see every text
    return _core.read(side, px_of.decimals, qty_of.decimals, qty_of.factor, longer, longer)


def digits(ladder: "_core.Ladder", depth: int) -> bytes:
    """As `wire.digits`."""
    return _core.digits(ladder, depth)


def spelled(
    bids: "_core.Ladder", asks: "_core.Ladder", depth: int, instrument: Instrument
) -> bytes:
    """As `wire.spelled`."""
    of, wire_qty = instrument, instrument.qty_of
    return _core.spelled(bids, asks, depth, of.px_decimals, wire_qty.decimals, wire_qty.factor)
