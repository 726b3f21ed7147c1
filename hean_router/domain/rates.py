"""What an asset is worth in the reporting currency, and how old that is."""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct


class Rate(Struct, frozen=True):
    """One unit of an asset is worth `px` of the reporting currency; `at_ns` is its oldest input.

    `via` names the books it came through, such as `BTC/USDT USDT/USD`.
    """

    px: Decimal
    at_ns: int
    via: str


# By asset.  An asset that is missing has no rate: whoever needs one must deny, never take 1.
Rates: TypeAlias = Mapping[str, Rate]
