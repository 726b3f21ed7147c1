"""What comes in and what goes out.  Input and output are models of their own."""

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from hean_router.api.reading import decimal_in, symbol_in, time_in
from hean_router.domain.instrument import Side
from hean_router.domain.parent import Intent, Life, OrderKind, Status, VenueChoice
from hean_router.oms import ChildStatus

_NUMBER = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}
_AMOUNT = {
    "type": "string",
    "pattern": r"^[0-9]{1,15}(\.[0-9]{1,18})?$",
    "description": "A plain decimal in quotes, above 0.",
    "examples": ["0.25"],
}
_SPOT = {
    "type": "string",
    "pattern": r"^[A-Za-z0-9.$_]{1,20}[/-][A-Za-z][A-Za-z0-9.$_]{0,19}$",
    "examples": ["BTC/USDT"],
}
_TIME = {"type": "string", "format": "date-time", "examples": ["2030-01-31T12:00:00Z"]}

AmountIn = Annotated[Decimal, BeforeValidator(decimal_in), WithJsonSchema(_AMOUNT)]
SymbolIn = Annotated[str, BeforeValidator(symbol_in), WithJsonSchema(_SPOT)]
TimeIn = Annotated[int, BeforeValidator(time_in), WithJsonSchema(_TIME)]
Number = Annotated[str, WithJsonSchema(_NUMBER)]
Moment = Annotated[str, WithJsonSchema(_TIME)]
Venue = Annotated[str, Field(pattern=r"^[a-z0-9_:-]{1,40}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")]
Words = Annotated[str, Field(min_length=1, max_length=500)]


class In(BaseModel):
    """Nothing is taken for something else, nothing is ignored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class VenuesIn(In):
    """Which venues may be used; `max_share` is of the quantity at any one of them, up to 1."""

    include: Annotated[list[Venue], Field(max_length=32)] = []
    exclude: Annotated[list[Venue], Field(max_length=32)] = []
    max_share: AmountIn | None = None


class OrderIn(In):
    """A parent order.  Exactly one of `quantity` (base) and `quote_quantity` (quote) is given."""

    client_order_id: Annotated[Name, Field(description="The idempotency key.")]
    symbol: SymbolIn
    side: Literal["buy", "sell"]
    type: Literal["market", "limit"]
    time_in_force: Annotated[
        Literal["GTC", "GTD", "IOC", "FOK"] | None,
        Field(description="IOC for market, GTC for limit where it is not given."),
    ] = None
    post_only: bool = False
    quantity: AmountIn | None = None
    quote_quantity: AmountIn | None = None
    limit_price: AmountIn | None = None
    expire_time: TimeIn | None = None
    venues: VenuesIn = VenuesIn()
    strategy: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,64}$")] = ""
    dry_run: bool = False

    def intent(self, account: str) -> Intent:
        """The same for the engine, in the name of `account`."""
        kind = OrderKind(self.type)
        life = self.time_in_force or ("IOC" if kind is OrderKind.MARKET else "GTC")
        return Intent(
            account=account,
            client_order_id=self.client_order_id,
            symbol=self.symbol,
            side=Side(self.side),
            kind=kind,
            life=Life(life.lower()),
            qty=self.quantity,
            quote_qty=self.quote_quantity,
            limit_px=self.limit_price,
            post_only=self.post_only,
            expire_ns=self.expire_time,
            venues=VenueChoice(
                include=tuple(self.venues.include),
                exclude=tuple(self.venues.exclude),
                max_share=self.venues.max_share,
            ),
            strategy=self.strategy,
        )


class ReasonIn(In):
    """Why; kept in the journal."""

    reason: Words


class StartIn(In):
    """Parameters over the strategy's own; all are text."""

    params: Annotated[
        dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=500)]],
        Field(max_length=64),
    ] = {}


class StopIn(In):
    """Why; may be left away."""

    reason: Annotated[str, Field(max_length=500)] = "asked to"


class KeyIn(In):
    """A key to be made."""

    account: Name
    scopes: Annotated[
        list[Literal["read", "trade", "cancel", "risk", "admin"]],
        Field(min_length=1, max_length=5),
    ]
    name: Annotated[str, Field(max_length=64)] = ""


# ------------------------------------------------------------------------- answers


class Out(BaseModel):
    """An answer; documented here, built by `views`."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Out):
    """What went wrong: branch on `code`, show `message`, do what `fix` says."""

    code: str
    message: str
    fix: str
    details: list[dict[str, str]]


class ErrorOut(Out):
    """The one shape of every error."""

    error: ErrorBody


class FeeOut(Out):
    """A fee as charged; negative for a rebate."""

    asset: str
    amount: Number


class ChildOut(Out):
    """One order at one venue."""

    id: str
    venue: str
    venue_order_id: str
    status: ChildStatus
    quantity: Number
    limit_price: Number | None
    filled_quantity: Number
    average_price: Number | None
    fees: list[FeeOut]
    round: int
    why: str


class SeenOut(Out):
    """A venue's book as a decision saw it."""

    venue: str
    version: int
    age_ms: int
    best_price: Number | None
    quantity: Number


class DecisionOut(Out):
    """One round of routing: prices are all-in averages per unit received or given."""

    round: int
    at: Moment
    wanted: Number
    allocated: Number
    why: str
    expected_price: Number | None
    single_venue: str
    single_price: Number | None
    greedy_price: Number | None
    mid: Number | None
    proved: bool
    gap: Number
    books: list[SeenOut]
    left_out: dict[str, str]


class VenuesOut(Out):
    """Which venues may be used."""

    include: list[str]
    exclude: list[str]
    max_share: Number | None


class OrderOut(Out):
    """A parent order.

    `saved_quote` and `saved_bps` compare what its fills cost, all-in, with the best single venue on
    the books that the decisions saw, for the `saved_on_quantity` for which there was one; negative
    when negative, null where there is nothing to compare.  `saved_vs_greedy_…`: with taking the
    best displayed prices.
    """

    id: str
    client_order_id: str
    account: str
    symbol: str
    side: Side
    type: OrderKind
    time_in_force: Literal["GTC", "GTD", "IOC", "FOK"]
    post_only: bool
    quantity: Number
    quote_quantity: Number | None
    limit_price: Number | None
    expire_time: Moment | None
    venues: VenuesOut
    strategy: str
    status: Status
    filled_quantity: Number
    leaves_quantity: Number
    filled_quote: Number
    average_price: Number | None
    fees: list[FeeOut]
    children: list[ChildOut]
    why: str
    saved_quote: Number | None
    saved_bps: Number | None
    saved_on_quantity: Number
    saved_vs_greedy_quote: Number | None
    saved_vs_greedy_bps: Number | None
    decisions: list[DecisionOut]
    created_at: Moment
    updated_at: Moment


class OrdersOut(Out):
    """A page; `next_cursor` null: there is no more."""

    orders: list[OrderOut]
    next_cursor: str | None


class CancelledOut(Out):
    """Orders whose cancel was begun; each goes on to a terminal status by itself."""

    cancelled: list[str]


class FillOut(Out):
    """A trade of ours, as the venue told it."""

    venue: str
    account: str
    symbol: str
    trade_id: str
    order_id: str
    child_id: str
    strategy: str
    side: Side
    price: Number
    quantity: Number
    fee: Number
    fee_asset: str
    maker: bool | None
    at: Moment


class FillsOut(Out):
    """A page, the latest first."""

    fills: list[FillOut]
    next_cursor: str | None


class PlannedOut(Out):
    """What would go to one venue."""

    venue: str
    qty: Number
    net_qty: Number
    limit_px: Number
    avg_px: Number
    notional: Number
    fee: Number
    fee_asset: str


class PreviewOut(Out):
    """What the first round would do now; nothing was kept or reserved."""

    dry_run: Literal[True]
    symbol: str
    side: Side
    requested: Number
    allocated: Number
    unallocated: Number
    unallocated_reason: str | None
    children: list[PlannedOut]
    average_all_in_price: Number | None
    best_single_venue: str | None
    saved_quote: Number | None
    saved_bps: Number | None
    venues: dict[str, str]


class InstrumentOut(Out):
    """A pair as one venue lists it; steps and minimums in base and quote."""

    venue: str
    symbol: str
    venue_symbol: str
    tick: Number
    lot: Number
    min_quantity: Number
    max_quantity: Number | None
    min_notional: Number
    max_notional: Number | None
    trading: str


class InstrumentsOut(Out):
    """Every pair that is followed, by symbol and venue."""

    instruments: list[InstrumentOut]


class VenueFeeOut(Out):
    """Our tier; fractions of notional."""

    venue: str
    symbol: str
    taker: Number
    maker: Number
    fee_in: str


class FeesOut(Out):
    """By symbol and venue."""

    fees: list[VenueFeeOut]


class LevelOut(Out):
    """A level; `all_in_price` is per unit received or given, after our taker fee."""

    venue: str
    price: Number
    quantity: Number
    all_in_price: Number
    age_ms: int


class BookOut(Out):
    """All venues' books as one, best all-in price first."""

    symbol: str
    version: int
    mid: Number | None
    bids: list[LevelOut]
    asks: list[LevelOut]
    venues: dict[str, str]


class VenueOut(Out):
    """A venue as this account may use it; `why` empty: orders can be sent there."""

    venue: str
    account: str
    ready: bool
    why: str
    clock_offset_ms: Number
    clock_bound_ms: Number
    books: dict[str, str]


class VenuesListOut(Out):
    """By name."""

    venues: list[VenueOut]


class LimitOut(Out):
    """A limit, how far it is used, and the worst case if all that is open or unknown fills."""

    name: str
    scope: str
    used: Number | None
    limit: Number
    worst: Number | None
    unit: str
    note: str


class RiskOut(Out):
    """The state and every limit that this account meets."""

    state: Literal["normal", "reduce_only", "halted"]
    reason: str
    by: str
    since: Moment | None
    limits: list[LimitOut]


class ShutOut(Out):
    """One thing that keeps orders back: what, where, why, since when, and what lifts it."""

    what: Literal["gate", "desk", "book", "risk", "journal", "invariant"]
    where: str
    why: str
    since: Moment | None
    lifted_by: str


class StallsOut(Out):
    """How often the process stood still for 250 ms or more, and the longest."""

    stalls: int
    worst_ms: int


class DeadManOut(Out):
    """A dead man's switch: the venue ends our orders when it has heard nothing for so long.

    `held_until` null: it is asked for, and the venue does not hold it now.
    """

    venue: str
    seconds: int
    held_until: Moment | None


class StandingOut(Out):
    """How the router stands for this account: everything that is shut, what is wide first."""

    ready: bool
    journal_sync: str
    shut: list[ShutOut]
    loop: StallsOut
    dead_man: list[DeadManOut]


class PositionOut(Out):
    """A position by average cost; fees apart."""

    account: str
    venue: str
    symbol: str
    strategy: str
    quantity: Number
    average_price: Number | None
    mark: Number | None
    mark_at: Moment | None
    realised: Number
    unrealised: Number | None
    total: Number | None
    fees: list[FeeOut]
    fills: int


class PositionsOut(Out):
    """By symbol, venue and strategy."""

    positions: list[PositionOut]


class BalanceOut(Out):
    """What we have at a venue, and how much of it orders hold."""

    venue: str
    account: str
    asset: str
    total: Number
    reserved: Number
    free: Number
    at: Moment | None


class BalancesOut(Out):
    """By venue and asset; `unread`: venues whose balances are not known yet."""

    balances: list[BalanceOut]
    unread: list[str]


class ExposureOut(BaseModel):
    """Gross and net in the reporting currency, by everything; see `portfolio.Exposure`."""

    model_config = ConfigDict(extra="allow")
    reporting: str
    net: Number
    gross: Number
    complete: bool


class StrategyOut(Out):
    """A strategy; `status` is its own words."""

    id: str
    account: str
    running: bool
    status: dict[str, Any]


class StrategiesOut(Out):
    """Of this account."""

    strategies: list[StrategyOut]


class OpportunitiesOut(Out):
    """Where the books cross after fees, and why each was not taken."""

    opportunities: list[dict[str, Any]]


class KpiOut(Out):
    """A figure; null: not enough data, as `note` says."""

    name: str
    value: Number | None
    unit: str
    window: str
    samples: int
    note: str


class KpisOut(Out):
    """Of this account."""

    kpis: list[KpiOut]


class KeyOut(Out):
    """A key, without anything that could be used."""

    id: str
    account: str
    scopes: list[str]
    name: str


class KeyMadeOut(KeyOut):
    """The only time that the key itself is told."""

    key: str


class KeysOut(Out):
    """Those that are good now."""

    keys: list[KeyOut]


class HealthOut(Out):
    """The process answers.  Details need a key: see /v1/venues and /v1/risk."""

    status: Literal["ok"]
    mode: str
    ready: bool
    journal_sync: str


class ReadyOut(Out):
    """Orders are taken."""

    ready: Literal[True]
