"""Order arithmetic: I1 to I8, from rows alone."""

from decimal import Decimal

from hean_router.audit.checker import Findings, checks
from hean_router.audit.facts import (
    ABSENT,
    EXACT,
    INTENDED,
    NEVER,
    OPEN,
    REJECTED,
    TOLD,
    UNKNOWN,
    WITHDRAWN,
    Child,
    Facts,
    Parent,
)
from hean_router.audit.family import Family
from hean_router.domain.instrument import Side
from hean_router.domain.parent import Status
from hean_router.domain.record import (
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Filled,
    ParentEnded,
    ParentPlaced,
    Row,
)

CHILDREN_MAX = 200  # of one parent
ATTEMPTS_MAX = 36  # of one child


class Arithmetic(Family):
    """Sums of fills, quantities that may be out, the life of an order."""

    def __init__(self, facts: Facts, findings: Findings, children_max: int = CHILDREN_MAX) -> None:
        super().__init__(facts, findings)
        self.children_max = children_max

    @checks("I1", "rows")
    def sums(self, row: Filled, child: Child) -> None:
        """For each parent: the sum of its children's fills is the parent's filled quantity."""
        self.counts["I1"] += 1
        parent = child.parent
        if row.key and row.parent != parent.row.parent:
            text = f"a trade of {row.key} is booked for parent {row.parent or 'none'}"
            self.broken("I1", row, row.key, text)
        elif parent.by_children != parent.by_parent:
            text = f"its children traded {parent.by_children}, it {parent.by_parent}"
            self.broken("I1", row, parent.row.parent, text)

    @checks("I1", "rows")
    def whole(self, row: ParentEnded, parent: Parent) -> None:
        """A parent that ended as filled is filled."""
        short = parent.row.quote_max is None and parent.by_children < parent.row.qty
        if row.status is Status.FILLED and short:
            text = f"ended as filled with {parent.by_children} of {parent.row.qty}"
            self.broken("I1", row, row.parent, text)

    @checks("I2", "rows")
    def committed(self, row: ChildIntended, parent: Parent) -> None:
        """For each parent at every instant: filled + open + unknown <= what was asked for.

        Counted whenever one more order may leave, with every unknown order filled.
        """
        self.counts["I2"] += 1
        out = EXACT.add(EXACT.add(parent.by_children, parent.out), row.qty)
        if out > parent.row.qty:
            text = f"{row.key} makes it {out} filled or out of {parent.row.qty}"
            self.broken("I2", row, row.key, text)
        most = parent.row.quote_max
        if most is None or row.side is Side.SELL:
            return  # a sale may bring more than it was to
        px = row.worst_px if row.px is None else max(row.px, row.worst_px)
        worth = EXACT.fma(row.qty, px, EXACT.add(parent.spent, parent.may_spend))
        if worth > most:
            self.broken("I2", row, row.key, f"{row.key} may make it {worth} spent of {most}")

    @checks("I2", "rows")
    def not_over(self, row: Filled, child: Child) -> None:
        """No parent trades more than was asked for."""
        self.counts["I2"] += 1
        parent = child.parent
        if parent.by_children > parent.row.qty:
            text = f"{parent.by_children} traded of {parent.row.qty}"
            self.broken("I2", row, parent.row.parent, text, child)

    @checks("I3", "rows")
    def within(self, row: Filled, child: Child) -> None:
        """For each child: the sum of its fills is no more than its quantity."""
        self.counts["I3"] += 1
        if child.filled > child.row.qty:
            text = f"{child.filled} traded of {child.row.qty}"
            self.broken("I3", row, child.row.key, text, child)

    @checks("I3", "rows")
    def never_falls(self, row: ChildReported, child: Child) -> None:
        """The quantity that the venue tells as filled never falls, nor passes the order's."""
        self.counts["I3"] += 1
        told = row.cum_qty
        if told is None:
            return
        ends = TOLD[row.state] is not OPEN
        least = child.filled if child.told is None else max(child.told, child.filled)
        if told > child.row.qty:
            text = f"told {told} filled of {child.row.qty}"
            self.broken("I3", row, child.row.key, text, child)
        elif ends and told < least:  # an open order's report may be older than what we know
            text = f"ended with {told} filled by the venue's word, and {least} was before"
            self.broken("I3", row, child.row.key, text, child)

    @checks("I4", "rows")
    def stays_ended(self, row: ChildReported | Filled, child: Child) -> None:
        """A child that has ended never becomes live again; a fill may still be credited to it.

        What a venue says against it is told to a person in the same breath, and kept apart.
        """
        self.counts["I4"] += 1
        if child.lives or child.ghost or child.alarmed:
            return
        # A trade of what never was, or a word of what is over as if it lived.
        never = child.state in NEVER
        if never if isinstance(row, Filled) else TOLD[row.state] is OPEN:
            text = f"{child.state}, and heard of as open; nobody was told"
            self.broken("I4", row, child.row.key, text, child)

    @checks("I5", "rows")
    def allowed(self, row: Row, key: str, child: Child | None) -> bool:
        """State transitions follow the published table; any other stops that venue's gate."""
        self.counts["I5"] += 1
        if child is None:
            if not self.facts.past(key):
                self.broken("I5", row, key, f"{_name(row)} of an order that was never intended")
            return False
        state = child.state
        match row:
            case ChildWithdrawn():
                good = state in {INTENDED, WITHDRAWN}
            case ChildRejected():
                good = state in {INTENDED, UNKNOWN} or state in NEVER
            case ChildAbsent():
                good = state in {UNKNOWN, ABSENT}
            case ChildUnknown():
                good = child.lives
            case ChildReported(state=told) if TOLD[told] is REJECTED:
                good = child.lives or state in NEVER
            case _:
                good = isinstance(row, ChildAcked | ChildReported)
        if not good:
            self.broken("I5", row, key, f"{_name(row)} while {state}", child)
        return good

    @checks("I6", "rows")
    def bounded(self, row: ChildIntended, parent: Parent) -> None:
        """The number of children of a parent, and of attempts at a child, is bounded."""
        self.counts["I6"] += 1
        if len(parent.children) >= self.children_max:
            text = f"more than {self.children_max} orders for one parent"
            self.broken("I6", row, row.parent, text)
        if len(row.key) == 17 and row.key[15] != "0":
            self.broken("I6", row, row.key, f"more than {ATTEMPTS_MAX} attempts at one order")

    @checks("I7", "rows")
    def over(self, row: ParentEnded, parent: Parent) -> None:
        """A parent ends only when none of its children is open, unknown, or short of trades."""
        self.counts["I7"] += 1
        for key, child in parent.children.items():
            if not child.settled:
                text = f"{row.parent} ended, and {key} is {child.state}, {child.out} to come"
                self.broken("I7", row, row.parent, text, child)

    @checks("I8", "rows")
    def limit(self, row: ParentPlaced) -> None:
        """The worst price a parent may trade at is no worse than the limit that was asked for."""
        self.counts["I8"] += 1
        limit = row.intent.limit_px
        if limit is not None and _worse(row.worst_px, limit, row.intent.side):
            text = f"may trade at {row.worst_px}, its limit is {limit}"
            self.broken("I8", row, row.parent, text)

    @checks("I8", "rows")
    def priced(self, row: ChildIntended, parent: Parent) -> None:
        """Limit price honoured: no child is priced worse than its parent allows."""
        self.counts["I8"] += 1
        worst, side = parent.row.worst_px, parent.row.intent.side
        if row.side is not side:
            self.broken("I8", row, row.key, f"a {row.side} for a parent that is a {side}")
        if row.px is None:
            self.broken("I8", row, row.key, "may trade at any price")
        elif _worse(row.px, worst, side) or _worse(row.worst_px, worst, side):
            self.broken("I8", row, row.key, f"at {row.px}, its parent allows {worst}")

    @checks("I8", "rows")
    def traded(self, row: Filled, child: Child) -> None:
        """No trade is worse than the limit of its order."""
        self.counts["I8"] += 1
        limit = child.row.px
        if row.side is not child.row.side:
            self.broken("I8", row, child.row.key, f"a {child.row.side} traded as a {row.side}")
        elif limit is not None and _worse(row.px, limit, row.side):
            self.broken("I8", row, child.row.key, f"traded at {row.px}, its limit is {limit}")


def _worse(px: Decimal, limit: Decimal, side: Side) -> bool:
    return px > limit if side is Side.BUY else px < limit


def _name(row: Row) -> str:
    return type(row).__name__
