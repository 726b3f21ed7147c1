"""A parent and its children, as folded from rows.  Changed by `Orders.apply` alone."""

from decimal import Decimal

from hean_router.book.sweep import EXACT
from hean_router.domain.instrument import Side
from hean_router.domain.parent import Intent, Status
from hean_router.domain.record import (
    ChildIntended,
    Decided,
    Filled,
    FillUndone,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
)
from hean_router.oms.states import ChildStatus

ZERO = Decimal(0)


class Child:
    """One order at one venue.

    Quantities are base, `notional` is quote (sum of px x qty), both exact.  `cum` is the venue's
    own word for what is filled, None as long as it has not said: it never falls, and is compared
    with the fills, never added to them.  Times are our clock; None for what has not happened.
    """

    __slots__ = (
        "account",
        "acked_ns",
        "cancel_answer",
        "cancel_answered_ns",
        "cancel_ns",
        "cum",
        "ended_ns",
        "fees",
        "filled",
        "ghost",
        "inferred",
        "intended",
        "is_live",
        "key",
        "news_ns",
        "notional",
        "other_ids",
        "parent",
        "px",
        "qty",
        "side",
        "status",
        "symbol",
        "unknown_ns",
        "until_ns",
        "venue",
        "venue_order_id",
        "why",
    )

    def __init__(self, row: ChildIntended, parent: "Parent") -> None:
        self.key = row.key
        self.intended = row
        self.parent = parent
        self.venue = row.venue
        self.account = row.account
        self.symbol = row.symbol
        self.side: Side = row.side
        self.qty = row.qty
        self.px = row.px
        self.status = ChildStatus.INTENDED
        self.is_live = True
        self.filled = ZERO
        self.notional = ZERO
        self.fees: dict[str, Decimal] = {}
        self.cum: Decimal | None = None
        self.venue_order_id = ""
        self.other_ids: tuple[str, ...] = ()  # by which the venue called it later on
        self.why = ""
        self.until_ns: int | None = None
        self.unknown_ns: int | None = None
        self.acked_ns: int | None = None  # first proof that it exists
        self.news_ns: int | None = None  # last row in which the venue spoke of it
        self.ended_ns: int | None = None
        self.cancel_ns: int | None = None  # when a cancel was last intended
        self.cancel_answer = ""
        self.cancel_answered_ns: int | None = None
        self.ghost = False  # ended for us, but the venue spoke of it as of a living one
        # Trades that the venue's count proved and that nobody reported, as far as they still stand.
        self.inferred: list[Filled] = []

    @property
    def is_final(self) -> bool:
        """Whether it can trade no more, as far as we know."""
        return not self.is_live

    @property
    def cancel_sent(self) -> bool:
        """Whether a cancel was intended; its answer is `cancel_answer`."""
        return self.cancel_ns is not None

    @property
    def leaves(self) -> Decimal:
        """What could still trade, base: 0 once it is final."""
        return max(ZERO, EXACT.subtract(self.qty, self.filled)) if self.is_live else ZERO

    @property
    def missing(self) -> Decimal:
        """What a final child has traded by the venue's word, and no fill has told us yet, base.

        All that is left where the venue did not say how much it traded.
        """
        if self.settled or self.is_live:
            return ZERO
        told = self.qty if self.cum is None else self.cum
        return max(ZERO, EXACT.subtract(told, self.filled))

    @property
    def behind(self) -> bool:
        """Whether the venue counts more as filled than the fills we have."""
        return self.cum is not None and self.cum > self.filled

    @property
    def settled(self) -> bool:
        """Whether it is final and the fills add up to what the venue says, or to all of it."""
        return not self.is_live and self.filled >= (self.qty if self.cum is None else self.cum)


class Parent:
    """What was asked for, and what has become of it.  `qty` and `filled` are base."""

    __slots__ = (
        "at_ns",
        "cancel",
        "children",
        "decisions",
        "ended",
        "fees",
        "filled",
        "id",
        "intent",
        "notional",
        "packed",
        "placed",
        "qty",
        "updated_ns",
    )

    def __init__(self, row: ParentPlaced) -> None:
        self.id = row.parent
        self.intent: Intent = row.intent
        self.placed = row
        self.qty = row.qty
        self.at_ns = row.at_ns
        self.updated_ns = row.at_ns  # the latest of all that was learned of it, by our clock
        self.filled = ZERO
        self.notional = ZERO
        self.fees: dict[str, Decimal] = {}
        self.children: list[Child] = []
        self.decisions: list[Decided] = []
        self.cancel: ParentCancelAsked | None = None
        self.ended: ParentEnded | None = None
        self.packed: bytes | None = None  # all of it as it is saved, since nothing has changed

    def learned(self, at_ns: int) -> None:
        """Something was, at `at_ns`; a trade may be older than what named its order."""
        self.updated_ns = max(self.updated_ns, at_ns)
        self.packed = None

    @property
    def leaves(self) -> Decimal:
        """Not filled yet, base; never below 0."""
        return max(ZERO, EXACT.subtract(self.qty, self.filled))

    @property
    def working(self) -> Decimal:
        """What its living children could still trade, base: open, unknown and not answered."""
        total = ZERO
        for child in self.children:
            if child.is_live:
                total = EXACT.add(total, child.leaves)
        return total

    @property
    def missing(self) -> Decimal:
        """What its final children have traded, or may have, without a fill so far, base."""
        total = ZERO
        for child in self.children:
            if not child.is_live:
                total = EXACT.add(total, child.missing)
        return total

    @property
    def free(self) -> Decimal:
        """What new children may be sent for: fills, living, missing and ghosts counted; >= 0."""
        taken = EXACT.add(self.working, self.missing)
        for child in self.children:
            if child.ghost:
                rest = max(ZERO, EXACT.subtract(child.qty, child.filled))
                taken = EXACT.add(taken, EXACT.subtract(rest, min(rest, child.missing)))
        return max(ZERO, EXACT.subtract(self.leaves, taken))

    @property
    def can_end(self) -> bool:
        """Whether no child lives, lacks fills, or is told to be open though ended (I7)."""
        return all(child.settled and not child.ghost for child in self.children)

    @property
    def status(self) -> Status:
        """Where it stands, as the API says it; final from `ParentEnded` alone."""
        if self.ended is not None:
            return Status.FILLED if self.filled >= self.qty else self.ended.status
        acked = False
        for child in self.children:
            if child.status is ChildStatus.UNKNOWN:
                return Status.UNKNOWN
            acked = acked or child.acked_ns is not None
        if self.cancel is not None:
            return Status.PENDING_CANCEL
        if self.filled:
            return Status.PARTIALLY_FILLED
        return Status.NEW if acked else Status.PENDING_NEW


def credit(to: Child | Parent, row: Filled) -> None:
    """Add a trade, exactly."""
    to.filled = EXACT.add(to.filled, row.qty)
    to.notional = EXACT.fma(row.px, row.qty, to.notional)
    _charge(to.fees, row.fee_asset, row.fee)


def take_back(of: Child | Parent, row: FillUndone) -> None:
    """The opposite of `credit`, exactly."""
    of.filled = EXACT.subtract(of.filled, row.qty)
    of.notional = EXACT.subtract(of.notional, EXACT.multiply(row.px, row.qty))
    _charge(of.fees, row.fee_asset, EXACT.minus(row.fee))


def _charge(fees: dict[str, Decimal], asset: str, fee: Decimal) -> None:
    """What adds up to nothing is not kept."""
    total = EXACT.add(fees.get(asset, ZERO), fee)
    if total:
        fees[asset] = total
    else:
        fees.pop(asset, None)
