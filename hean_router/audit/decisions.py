"""Decisions: I29, I30 and I36, from rows alone."""

from collections.abc import Sequence

from hean_router.audit.checker import Findings, checks
from hean_router.audit.facts import EXACT, ZERO, Facts, Parent
from hean_router.audit.family import Family
from hean_router.domain.order import Tif
from hean_router.domain.record import ChildIntended, Decided, ParentPlaced

STALE_MS = 3_700_000  # beyond what any setting lets a book go unproved; simulations know better


class Decisions(Family):
    """What was decided is what is sent, and it was decided on what was seen."""

    def __init__(self, facts: Facts, findings: Findings, stale_ms: int = STALE_MS) -> None:
        super().__init__(facts, findings)
        self.stale_ms = stale_ms
        self._legs: dict[str, list[str]] = {}  # group -> parents placed in this transaction

    @checks("I29", "rows")
    def as_decided(self, row: ChildIntended, parent: Parent) -> None:
        """A decision records the books it used, and no more is sent to a venue than it says."""
        decided = parent.decided
        if row.tif is Tif.GTC:
            return  # what rests is no part of a sweep
        self.counts["I29"] += 1
        if decided is None or decided.round != row.round:
            self.broken("I29", row, row.key, f"sent for round {row.round}, which decided nothing")
            return
        most = next((one.qty for one in decided.seen if one.venue == row.venue), None)
        total = EXACT.add(parent.sent.get(row.venue, ZERO), row.qty)
        if most is None:
            self.broken("I29", row, row.key, f"the book of {row.venue} was not looked at")
        elif total > most:
            self.broken("I29", row, row.key, f"{total} to {row.venue}, {most} was decided")

    @checks("I30", "rows")
    def fresh(self, row: Decided) -> None:
        """No plan uses a level older than its limit, or sends more than it found."""
        self.counts["I30"] += 1
        total = ZERO
        for one in row.seen:
            if not one.qty:
                continue
            total = EXACT.add(total, one.qty)
            if one.age_ms > self.stale_ms:
                text = f"{row.parent}: the book of {one.venue} was {one.age_ms} ms old"
                self.broken("I30", row, row.parent, text)
        if total > row.wanted:
            text = f"{row.parent}: {total} decided, {row.wanted} wanted"
            self.broken("I30", row, row.parent, text)

    def placed(self, row: ParentPlaced) -> None:
        """Legs of one group that are placed together."""
        if row.intent.group:
            self._legs.setdefault(row.intent.group, []).append(row.parent)

    @checks("I36", "rows")
    def together(self, last: ParentPlaced | None, legs: dict[str, list[str]]) -> None:
        """Both legs pass every check before the first leaves: all that is sent, or nothing.

        Judged at the end of the transaction that places them: none of it has left before.
        """
        for group, parents in legs.items():
            if len(parents) < 2 or last is None:
                continue
            self.counts["I36"] += 1
            out = [
                any(child.lives for child in parent.children.values())
                for one in parents
                if (parent := self.facts.parents.get(one)) is not None
            ]
            if any(out) and (not all(out) or len(out) < len(parents)):
                self.broken("I36", last, group, "one leg may leave, and another may not")

    def committed(self, rows: Sequence[object]) -> None:
        """The transaction is whole."""
        if not self._legs:
            return
        legs, self._legs = self._legs, {}
        placed = [one for one in rows if isinstance(one, ParentPlaced)]
        self.together(placed[-1] if placed else None, legs)
