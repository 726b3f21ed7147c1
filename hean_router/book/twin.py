"""Which twin runs: the compiled one where it is there, else the specification itself.

The only place that asks.  Types are the specification's either way.
"""

from collections.abc import Iterable
from hashlib import sha256

from hean_router import native
from hean_router.book.ladder import Ladder
from hean_router.book.wire import UNTOLD, Pairs, Rows, digits, levels, rows, spelled
from hean_router.domain.feed import Level

COMPILED = native.Ladder is not None

if native.Ladder is not None:
    from hean_router.book.compiled import (  # type: ignore[assignment]  # as tests/native shows
        UNTOLD,
        Pairs,
        Rows,
        digits,
        levels,
        rows,
        spelled,
    )

    Ladder = native.Ladder  # type: ignore[misc, assignment]  # the same

__all__ = [
    "COMPILED",
    "UNTOLD",
    "Ladder",
    "Pairs",
    "Rows",
    "digits",
    "levels",
    "rows",
    "spelled",
    "state_hash",
]


def state_hash(*sides: Iterable[Level]) -> str:
    """One word for what ladders hold, whichever twin they are.

    >>> bids, asks = Ladder(bids=True), Ladder(bids=False)
    >>> bids.apply([(1, 2)])
    >>> state_hash(bids, asks) == state_hash([(1, 2)], []) != state_hash([], [(1, 2)])
    True
    """
    return sha256(repr([[*side] for side in sides]).encode()).hexdigest()
