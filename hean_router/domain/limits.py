"""How far we may go: plain values, built by `config` from `config/limits.toml`.

`risk` keeps the first, the gate the last.

Money is in the reporting currency.  None means no such limit.  Where several apply, the tightest
rules.
"""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct


class Bounds(Struct, frozen=True, kw_only=True):
    """The limits of one scope: the whole portfolio, an account, a venue or a symbol.

    For each order: `order_notional_max`, `parent_notional_max`, `collar_bps`, `stale_ms` and
    `duplicate_window_ms` (0 = off).  For one symbol in one account: `position_max`, and
    `position_qty_max` in base.  For the scope as a whole, everything that is open or unknown
    filled: `gross_max`, `net_max`.  The rates count what one account sends.
    """

    order_notional_max: Decimal | None = None
    parent_notional_max: Decimal | None = None
    collar_bps: Decimal | None = None
    stale_ms: int | None = None
    duplicate_window_ms: int | None = None
    position_max: Decimal | None = None
    position_qty_max: Decimal | None = None
    gross_max: Decimal | None = None
    net_max: Decimal | None = None
    open_orders_max: int | None = None
    daily_loss_max: Decimal | None = None
    orders_per_second: int | None = None
    orders_per_minute: int | None = None
    parents_per_second: int | None = None
    parents_per_minute: int | None = None

    def tightened(self, other: "Bounds") -> "Bounds":
        """Both at once: the smaller of each limit, the longer of the duplicate windows.

        >>> Bounds(collar_bps=Decimal(50)).tightened(Bounds(collar_bps=Decimal(20))).collar_bps
        Decimal('20')
        """
        fields = {}
        for name in self.__struct_fields__:
            given = [
                limit for limit in (getattr(self, name), getattr(other, name)) if limit is not None
            ]
            if given:
                fields[name] = max(given) if name == "duplicate_window_ms" else min(given)
        return Bounds(**fields)


PORTFOLIO = Bounds(
    order_notional_max=Decimal(50_000),
    parent_notional_max=Decimal(250_000),
    collar_bps=Decimal(200),
    stale_ms=5_000,
    duplicate_window_ms=500,
    gross_max=Decimal(2_000_000),
    net_max=Decimal(1_000_000),
    open_orders_max=400,
    daily_loss_max=Decimal(25_000),
)
EACH_ACCOUNT = Bounds(
    gross_max=Decimal(1_000_000),
    net_max=Decimal(500_000),
    open_orders_max=200,
    daily_loss_max=Decimal(10_000),
    orders_per_second=100,
    orders_per_minute=2_000,
    parents_per_second=50,
    parents_per_minute=1_000,
)
EACH_VENUE = Bounds(
    gross_max=Decimal(500_000),
    net_max=Decimal(500_000),
    open_orders_max=100,
)
EACH_SYMBOL = Bounds(
    position_max=Decimal(250_000),
    gross_max=Decimal(500_000),
    net_max=Decimal(500_000),
)


class RiskLimits(Struct, frozen=True, kw_only=True):
    """All limits; what nobody sets stands as it is here.

    `portfolio` holds for the whole and for every order; `each_…` for every account, venue, symbol;
    `account`, `venue`, `symbol` tighten it for those that are named.  A rate of exchange older
    than `rate_stale_ms` is none.
    """

    reporting: str = "USD"
    rate_stale_ms: int = 60_000
    portfolio: Bounds = PORTFOLIO
    each_account: Bounds = EACH_ACCOUNT
    each_venue: Bounds = EACH_VENUE
    each_symbol: Bounds = EACH_SYMBOL
    account: Mapping[str, Bounds] = {}
    venue: Mapping[str, Bounds] = {}
    symbol: Mapping[str, Bounds] = {}

    def of_account(self, name: str) -> Bounds:
        """What holds for that account as a whole."""
        return self.each_account.tightened(self.account.get(name, Bounds()))

    def of_venue(self, name: str) -> Bounds:
        """What holds for that venue as a whole."""
        return self.each_venue.tightened(self.venue.get(name, Bounds()))

    def of_symbol(self, name: str) -> Bounds:
        """What holds for that symbol as a whole."""
        return self.each_symbol.tightened(self.symbol.get(name, Bounds()))

    def of_order(self, account: str, symbol: str, venue: str = "") -> Bounds:
        """What holds for one order; of its result only the limits on single orders mean something.

        Without `venue`: for a parent, which may go to any.
        """
        bounds = self.portfolio.tightened(self.of_account(account))
        bounds = bounds.tightened(self.of_symbol(symbol))
        return bounds.tightened(self.of_venue(venue)) if venue else bounds


class GateLimits(Struct, frozen=True, kw_only=True):
    """What the last gate lets through at most; None = no such limit.

    Each is wider than risk's own of the same kind, so that risk speaks first and a hit here says
    that something above has failed.  Only the repeated-execution limits have no twin in risk.

    `collar_bps` holds against the mid and against the last good price, `stale_ms` says how old
    both may be.  `order_notional_max` and `turnover_max` are in the reporting currency; `qty_max`
    is base, by symbol.  Orders per second are counted for each account at each venue, and for each
    parent.  The same order of a twin parent, of the same quantity and placed within
    `duplicate_window_ms` of the first, is refused (0 = off).

    `fills_max` trades or `turnover_max` of one strategy in one account and symbol within
    `fills_window_s` shut the account, `refusals_max` refusals within `refusals_window_s` the
    place, until a person resets it.
    """

    collar_bps: Decimal | None = Decimal(1_000)
    stale_ms: int | None = 15_000
    order_notional_max: Decimal | None = Decimal(200_000)
    qty_max: Mapping[str, Decimal] = {}
    orders_per_second: int | None = 200
    parent_orders_per_second: int | None = 100
    duplicate_window_ms: int | None = 200
    fills_max: int | None = 5_000
    turnover_max: Decimal | None = Decimal(10_000_000)
    fills_window_s: int = 60
    refusals_max: int | None = 5
    refusals_window_s: int = 60


# No limits at all: the recount alone.
GATE_OFF = GateLimits(
    collar_bps=None,
    stale_ms=None,
    order_notional_max=None,
    orders_per_second=None,
    parent_orders_per_second=None,
    duplicate_window_ms=None,
    fills_max=None,
    turnover_max=None,
    refusals_max=None,
)
