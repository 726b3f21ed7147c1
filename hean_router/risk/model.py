"""What risk is asked, what it sees, and what it answers."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, TypeAlias

from msgspec import Struct

from hean_router.domain.parent import Intent
from hean_router.domain.rates import Rates

State: TypeAlias = Literal["normal", "reduce_only", "halted"]


class Proposed(Struct, frozen=True):
    """A parent, or one leg of several, that wants in.

    `qty` is base; `worst_px` the displayed price beyond which no child of it may go.
    """

    intent: Intent
    qty: Decimal
    worst_px: Decimal


class Denied(Struct, frozen=True):
    """May not be done: a stable code, and a sentence with the numbers."""

    code: str
    reason: str


class RiskView(Struct, frozen=True, kw_only=True):
    """The world as risk is to see it at `now_ns`; symbols as ccxt spells them.

    `mids` are consolidated mids and when they were last known to hold; `last_good` the last ones
    before now that were believed, which an empty or broken book cannot move.  `day_pnl` is this
    day's profit by account in the reporting currency, fees in, open positions marked; None, or an
    account that is missing: not known.  `venue_why` says why a venue is not well for an account;
    empty: it is; one that is missing is not.
    """

    now_ns: int
    rates: Rates
    mids: Mapping[str, tuple[Decimal, int]]
    last_good: Mapping[str, Decimal]
    day_pnl: Mapping[str, Decimal | None]
    venue_why: Mapping[tuple[str, str], str]


class LimitUse(Struct, frozen=True, kw_only=True):
    """How far a limit is used, for people.

    `used` counts what is so; `worst` is what it becomes if all that is open or unknown fills.
    None: not known (`note` says why), or a limit that is not used up (`note` says what it bounds).
    """

    name: str  # as config/limits.toml spells it
    scope: str  # portfolio, account main, venue kraken, symbol BTC/USDT, …
    used: Decimal | None
    limit: Decimal
    worst: Decimal | None
    unit: str  # USD, base, bps, ms, orders, orders/s, …
    note: str = ""
