"""The journal's rows: facts, and decisions as values with what they saw.

State changes by `apply(row)` alone, so that reading the journal again gives the same state.  Rows
carry decimals and names, never scaled integers or objects: they must mean the same in a year.
Every row has `at_ns`, our clock.  `venue` and `account` are names; `symbol` is as ccxt spells it.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeAlias

import msgspec
from msgspec import Struct

from hean_router.domain.instrument import Side
from hean_router.domain.order import OrderState, Tif
from hean_router.domain.parent import Intent, Status


class _Row(Struct, frozen=True, kw_only=True, tag_field="row"):
    at_ns: int


# ------------------------------------------------------------------------- the process


class Opened(_Row, frozen=True, kw_only=True, tag="opened"):
    """A process took the journal over.  `epoch` rises by one each time."""

    epoch: int
    tag: str  # the installation's three letters, made with the journal
    version: str
    config_digest: str
    mode: str
    limits_digest: str = ""  # of the limits alone; empty in journals from before it was kept


class Closed(_Row, frozen=True, kw_only=True, tag="closed"):
    """The process winds up in order.  Without one before the next `Opened`, it was killed.

    `orders` is what was to become of those that may still trade: `cancel` or `leave`; `left` are
    the keys of those that do.  Left on purpose, or because the time for it was over (`why`).
    """

    orders: str
    left: tuple[str, ...]
    why: str = ""


class NonceReserved(_Row, frozen=True, kw_only=True, tag="nonce_reserved"):
    """Nonces below `below` may have been used: after a restart the lane goes on from there."""

    venue: str
    account: str
    below: int


class Incident(_Row, frozen=True, kw_only=True, tag="incident"):
    """Something that a person must look at; nothing is repaired by it."""

    what: str  # a stable code: orphan_fill, illegal_transition, overfill, balance_break, …
    text: str
    venue: str = ""
    account: str = ""
    subject: str = ""  # an order's key, a parent's id, an asset


# ------------------------------------------------------------------------- parents


class ParentPlaced(_Row, frozen=True, kw_only=True, tag="parent_placed"):
    """A parent was accepted and its worst case reserved.

    `qty` is base, worked out from the books where the intent gave quote; children may add up to no
    more.  `quote_max` bounds Σ qty × px of children where quote was given.  `worst_px` is the
    displayed price beyond which no child may go: the limit, or the collar of a market order.
    `worst_usd` is what risk reserves, in the reporting currency.
    """

    parent: str  # 8 of [0-9a-z]
    intent: Intent
    digest: str
    qty: Decimal
    quote_max: Decimal | None
    worst_px: Decimal
    worst_usd: Decimal
    by: str = ""  # the API key's id, or the strategy


class Seen(Struct, frozen=True, kw_only=True):
    """A venue's book as a decision saw it."""

    venue: str
    version: int
    age_ms: int
    best_px: Decimal | None
    qty: Decimal = Decimal(0)  # what the decision sends there


class Decided(_Row, frozen=True, kw_only=True, tag="decided"):
    """A round of routing: what was seen, what was chosen, and what the alternatives promised.

    Average prices are all-in quote per unit received or given, for `allocated`; None where that
    alternative could not have done as much.
    """

    parent: str
    round: int
    wanted: Decimal
    allocated: Decimal
    why: str  # why the rest found no place; empty if there is none
    seen: tuple[Seen, ...]
    left_out: Mapping[str, str]  # venue -> reason
    expected_px: Decimal | None
    single_venue: str = ""
    single_px: Decimal | None = None  # the best single venue
    greedy_px: Decimal | None = None  # displayed price alone decides, fees found out afterwards
    mid: Decimal | None = None
    proved: bool = False
    gap: Decimal = Decimal(0)


class ParentCancelAsked(_Row, frozen=True, kw_only=True, tag="parent_cancel_asked"):
    """No more children for it; those that are out are cancelled."""

    parent: str
    why: str
    by: str = ""
    becomes: Status = Status.CANCELED  # or EXPIRED, REJECTED


class ParentEnded(_Row, frozen=True, kw_only=True, tag="parent_ended"):
    """Nothing of it can trade any more; what was reserved is released."""

    parent: str
    status: Status
    why: str


# ------------------------------------------------------------------------- children


class ChildIntended(_Row, frozen=True, kw_only=True, tag="child_intended"):
    """An order that may leave once this row is on disk.  From here on it may exist."""

    key: str  # prefix, tag, parent, child number, attempt: 17 of [0-9a-z]
    parent: str
    account: str
    venue: str
    symbol: str
    side: Side
    qty: Decimal
    px: Decimal | None  # the limit sent; None = the venue's market order
    tif: Tif
    post_only: bool
    round: int
    reserve_asset: str  # quote for a buy, base for a sell
    reserve: Decimal  # worst case of that asset at that venue, fee in
    worst_px: Decimal  # for counting money where px is None; else px


class ChildWithdrawn(_Row, frozen=True, kw_only=True, tag="child_withdrawn"):
    """It certainly never left: the gate refused, the budget was gone, it was too late."""

    key: str
    by: str  # risk, gate, budget, desk, journal
    code: str
    why: str


class ChildAcked(_Row, frozen=True, kw_only=True, tag="child_acked"):
    """The venue has taken the request."""

    key: str
    venue_order_id: str


class ChildRejected(_Row, frozen=True, kw_only=True, tag="child_rejected"):
    """The venue refused, and certainly did nothing."""

    key: str
    reject: str  # name of a RejectKind, or LIMITED
    code: str
    text: str


class ChildUnknown(_Row, frozen=True, kw_only=True, tag="child_unknown"):
    """It may or may not exist.  After `until_ns` of our clock the venue can no longer act on it."""

    key: str
    why: str
    until_ns: int


class ChildReported(_Row, frozen=True, kw_only=True, tag="child_reported"):
    """The venue told where it stands.  `cum_qty` None: it did not say how much is filled."""

    key: str
    state: OrderState
    cum_qty: Decimal | None
    venue_order_id: str
    reason: str = ""
    via: str = "stream"  # or query, open, inferred


class ChildAbsent(_Row, frozen=True, kw_only=True, tag="child_absent"):
    """Proven never to have existed: past every deadline, twice, neither open nor in history."""

    key: str
    proof: str


class Filled(_Row, frozen=True, kw_only=True, tag="filled"):
    """A trade of ours, counted once by (venue, account, symbol, trade_id).

    `key` is empty for a trade that no order of ours explains.  Exact, as the venue says; but for
    an `inferred` one, which the venue's count of the order proves and whose report never came: of
    a trade id that follows from the order and the count, at the order's limit, with the fee by
    the rate we planned with.  The real ones replace it (`FillUndone`).
    `in_balances`: what the venue said we have, since it was booked first, holds it already; so it
    moves positions, and no balance.
    """

    venue: str
    account: str
    symbol: str
    trade_id: str
    key: str
    parent: str
    strategy: str
    venue_order_id: str
    side: Side
    px: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool | None
    sent_ns: int
    fee_assumed: Decimal | None = None  # in `fee_asset`, by the rate we planned with
    inferred: bool = False
    in_balances: bool = False


class FillUndone(_Row, frozen=True, kw_only=True, tag="fill_undone"):
    """A booked trade, or `qty` and `fee` of it, is taken back: a truer row follows in this step.

    Either an inferred trade of which the real one has come, or a trade of nobody's that is an
    order's after all: it is booked again, with its key.  Names, price and asset are as booked;
    `whole`: nothing of it is left, and its trade id may come again.
    """

    venue: str
    account: str
    symbol: str
    trade_id: str
    key: str
    parent: str
    strategy: str
    venue_order_id: str
    side: Side
    px: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    whole: bool
    why: str  # replaced, claimed
    in_balances: bool = False


class CancelIntended(_Row, frozen=True, kw_only=True, tag="cancel_intended"):
    """A cancel may leave."""

    key: str
    why: str


class CancelAnswered(_Row, frozen=True, kw_only=True, tag="cancel_answered"):
    """What the venue said to it: accepted, GONE, LIMITED, unknown…; the order's end comes apart."""

    key: str
    answer: str
    text: str = ""


class ForeignOrder(_Row, frozen=True, kw_only=True, tag="foreign_order"):
    """An order on the account that is not ours: seen, counted, left alone.  `qty`: what is left."""

    venue: str
    account: str
    symbol: str
    venue_order_id: str
    key: str
    side: Side | None
    qty: Decimal | None
    px: Decimal | None
    open: bool


class Checkpoint(_Row, frozen=True, kw_only=True, tag="checkpoint"):
    """What memory lets go of here, so that it does not grow: every fold drops just that.

    `parents` have ended, nothing of theirs can trade, and all their trades are in.  Ids of trades
    booked before `trades_before_ns` are dropped too, where no order that is remembered and no
    claim still needs them.  The rows stay; who needs what was dropped reads it there.
    """

    parents: tuple[str, ...]
    trades_before_ns: int


# ------------------------------------------------------------------------- money, risk, people


class BalancesSet(_Row, frozen=True, kw_only=True, tag="balances_set"):
    """What a venue says we have: taken as the truth from here on (opening, or after a break)."""

    venue: str
    account: str
    balances: Mapping[str, Decimal]  # totals, locked in
    why: str  # opening, reconciled, deposit…


class BalanceBreak(_Row, frozen=True, kw_only=True, tag="balance_break"):
    """Ours and the venue's differ, and no order under way explains it."""

    venue: str
    account: str
    asset: str
    ours: Decimal
    theirs: Decimal


class RiskSet(_Row, frozen=True, kw_only=True, tag="risk_set"):
    """The risk state was set, and stays over restarts until it is set again."""

    state: str  # normal, reduce_only, halted
    reason: str
    by: str


class KeyMade(_Row, frozen=True, kw_only=True, tag="key_made"):
    """An API key; only its hash is kept."""

    key_id: str
    digest: str
    account: str
    scopes: tuple[str, ...]
    name: str = ""


class KeyRevoked(_Row, frozen=True, kw_only=True, tag="key_revoked"):
    """A key that is good no more."""

    key_id: str
    why: str = ""


class StrategySet(_Row, frozen=True, kw_only=True, tag="strategy_set"):
    """A strategy was started, stopped or given parameters."""

    strategy: str
    running: bool
    params: Mapping[str, str]
    by: str
    why: str = ""


class StrategyNoted(_Row, frozen=True, kw_only=True, tag="strategy_noted"):
    """What a strategy must not forget; its own JSON."""

    strategy: str
    state: str


Row: TypeAlias = (
    Opened
    | Closed
    | NonceReserved
    | Incident
    | ParentPlaced
    | Decided
    | ParentCancelAsked
    | ParentEnded
    | ChildIntended
    | ChildWithdrawn
    | ChildAcked
    | ChildRejected
    | ChildUnknown
    | ChildReported
    | ChildAbsent
    | Filled
    | FillUndone
    | CancelIntended
    | CancelAnswered
    | ForeignOrder
    | Checkpoint
    | BalancesSet
    | BalanceBreak
    | RiskSet
    | KeyMade
    | KeyRevoked
    | StrategySet
    | StrategyNoted
)

_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER: msgspec.json.Decoder[Row] = msgspec.json.Decoder(Row)


def encode(row: Row) -> bytes:
    """The row as JSON; decimals are text, digits kept."""
    return _ENCODER.encode(row)


def decode(data: bytes) -> Row:
    """The row that `encode` wrote; raises `msgspec.MsgspecError` on anything else."""
    return _DECODER.decode(data)


def kind_of(row: Row) -> str:
    """The row's name in the journal."""
    tag = type(row).__struct_config__.tag
    assert isinstance(tag, str), "every row is tagged"
    return tag
