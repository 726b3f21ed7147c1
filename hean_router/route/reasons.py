"""Why each venue got what it got, in words that carry the numbers."""

from collections.abc import Mapping, Sequence

from hean_router.domain.instrument import VenueId
from hean_router.domain.scale import plain, to_decimal
from hean_router.route.cost import Ask, Curve


class Reasons:
    """The story of one plan; `others` are the venues that took no part, with the reason."""

    def __init__(
        self,
        ask: Ask,
        curves: Sequence[Curve],
        qty: Sequence[int],
        others: Mapping[VenueId, str],
    ) -> None:
        self._ask, self._curves, self._taken, self._others = ask, curves, qty, others

    def venues(self) -> dict[VenueId, str]:
        """Every venue, by name, and why it got what it got."""
        told = dict(self._others)
        for i, curve in enumerate(self._curves):
            told[curve.book.venue] = self.venue(i)
        return dict(sorted(told.items()))

    def untaken(self) -> dict[VenueId, str]:
        """The venues that get nothing, and why: what is said of the others costs more words."""
        told = dict(self._others)
        for i, curve in enumerate(self._curves):
            if not self._taken[i]:
                told[curve.book.venue] = self._nothing(i)
        return told

    def qty(self, qty: int) -> str:
        """Plain decimal text of a quantity."""
        return plain(to_decimal(qty, self._ask.scales.qty))

    def px(self, px: int) -> str:
        """Plain decimal text of a price."""
        return plain(to_decimal(px, self._ask.scales.px))

    def venue(self, i: int) -> str:
        """Why curve `i` got what it got."""
        curve, taken = self._curves[i], self._taken[i]
        if not taken:
            return self._nothing(i)
        at = self.px(curve.worst_px(taken))
        up_to = at if taken <= curve.first_qty else f"{self.px(curve.best_px)} to {at}"
        text = f"filled {self.qty(taken)} of {plain(self._ask.order.qty)} at {up_to}"
        if taken == self._ask.qty:
            return text
        if why := self._why_no_more(i):
            return f"{text}; {why}"
        return text

    def _why_no_more(self, i: int) -> str:
        curve, taken = self._curves[i], self._taken[i]
        if taken == curve.hi:
            return f"that is {curve.hi_why}" if curve.hi_why else ""
        after, other = curve.after(taken), self._dearest_elsewhere(i)
        if taken == curve.lo > curve.lot:
            return "that is its minimum"
        if after is None or other is None:
            return ""
        if sum(self._taken) == self._ask.qty and self._dearest(i, other):
            return "that completes the order"
        whose = self._curves[other]
        theirs = whose.worst_px(self._taken[other])
        at = f"{whose.book.venue} at {self.px(theirs)}{self._after_fees()}"
        if self._worse(curve, after, whose, theirs):
            next_to = "next level" if after != curve.worst_px(taken) else "more at"
            return f"{next_to} {self.px(after)} is {self._word()} than {at}"
        if not self._worse(whose, theirs, curve, after):
            return f"the rest went to {at}, which costs the same"
        for j, mine in enumerate(self._taken):
            least = self._curves[j]
            if j != i and mine == least.lo > least.lot:
                return f"{least.book.venue} takes no less than {self.qty(mine)}"
        return (
            f"more at {self.px(after)} does not fit its lot {self.qty(curve.lot)} and the others'"
        )

    def _word(self) -> str:
        return "dearer" if self._ask.sign > 0 else "lower"

    def _after_fees(self) -> str:
        return "" if len({curve.charge for curve in self._curves}) <= 1 else " after fees"

    def _nothing(self, i: int) -> str:
        curve, other = self._curves[i], self._dearest_elsewhere(i)
        if other is None:
            return "nothing was allocated"
        whose = self._curves[other]
        mine, theirs = curve.best_px, whose.worst_px(self._taken[other])
        at = f"{self.px(theirs)} at {whose.book.venue}{self._after_fees()}"
        if self._worse(curve, mine, whose, theirs):
            return f"its best {self.px(mine)} is {self._word()} than the last level taken, {at}"
        if not self._worse(whose, theirs, curve, mine):
            return f"its best {self.px(mine)} costs the same as the last level taken, {at}"
        if curve.lo > curve.lot:
            return (
                f"its least order, {self.qty(curve.lo)} from {self.px(mine)}, "
                "would not make the whole cheaper"
            )
        return f"its lot {self.qty(curve.lot)} does not fit what the others leave"

    def _dearest_elsewhere(self, i: int) -> int | None:
        """The other venue that the dearest unit comes from."""
        worst = None
        for j, taken in enumerate(self._taken):
            if j == i or not taken:
                continue
            if worst is None or self._worse(
                self._curves[j],
                self._curves[j].worst_px(taken),
                self._curves[worst],
                self._curves[worst].worst_px(self._taken[worst]),
            ):
                worst = j
        return worst

    def _dearest(self, i: int, other: int) -> bool:
        """Whether the last unit of curve `i` is the dearest of all; `other` has the next."""
        one, two = self._curves[i], self._curves[other]
        px, other_px = one.worst_px(self._taken[i]), two.worst_px(self._taken[other])
        return self._worse(one, px, two, other_px)

    def _worse(self, one: Curve, px: int, other: Curve, other_px: int) -> bool:
        mine = one.sign * px * one.charge.quote * other.charge.base
        theirs = other.sign * other_px * other.charge.quote * one.charge.base
        return mine > theirs

    def unallocated(self) -> str:
        """Why the rest found no place."""
        if not self._curves:
            told = "; ".join(f"{venue}: {why}" for venue, why in sorted(self._others.items()))
            return f"no venue can take any of it ({told})" if told else "there are no venues"
        lot = min(curve.lot for curve in self._curves)
        if self._ask.qty - sum(self._taken) < lot:
            return f"the rest is below the finest lot {self.qty(lot)}"
        if all(taken == curve.hi for curve, taken in zip(self._curves, self._taken, strict=True)):
            caps = [f"{curve.book.venue}: {curve.hi_why or 'its lots'}" for curve in self._curves]
            others = [f"{venue}: {why}" for venue, why in sorted(self._others.items())]
            return f"every venue gives all it can ({'; '.join([*caps, *others])})"
        return "the rest does not fit the venues' lots, minimums and what they have left"
