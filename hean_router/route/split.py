"""The split: how much to take from each curve.  Exact; whole numbers; no clock, no chance.

What is best, in this order:

1. the most of the order is allocated;
2. the least quote is paid (the most is got) per unit of base that arrives (is given);
3. one venue rather than several, then the order of venue names.

How: without lots and minimums, filling level after level by all-in price is optimal (exchange
argument).  That relaxation, with lots put right by `route/lots`, is solved first; where it gives a
venue less than the venue's minimum, the search branches: without that venue, and with at least
its minimum there.  A branch that cannot beat the best split known is cut.  For K venues that is at
most 2**(K + 1) small problems, in practice one; beyond `NODES_MAX` (more than eight venues of
which most are stuck at their minimum) the best found stands, never worse than the best single
venue, and the plan's certificate says that the search was cut short.

Where fees in base make some venues deliver less than others the second aim is a quotient; it is
reached by Dinkelbach's method: minimise quote - ratio × net, take the new ratio, repeat until it
stands still.  Exact, as every ratio is a pair of whole numbers.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

from hean_router.route.cost import Curve
from hean_router.route.lots import (
    Box,
    chained,
    finish,
    nested,
    reach,
    reach_any,
    tabular,
)

NODES_MAX = 2_000
ROUNDS_MAX = 50  # of Dinkelbach; it converges faster than quadratically, so this is a fuse

_OPEN, _USED, _UNUSED = 0, 1, 2  # what a branch has decided about a venue


class Found(NamedTuple):
    """A split: quantity by curve and in total; quote (negative for a sell) and net base moved."""

    qty: Sequence[int]
    total: int
    quote: int
    net: int

    def same_price_as(self, other: "Found") -> bool:
        """Whether both average the same quote per net base."""
        return self.quote * other.net == other.quote * self.net


class Split(NamedTuple):
    """The outcome: quantities by curve, the best single curve, and what the search can vouch for.

    `gap` is what a split without lots and minimums could still gain, in quote on the plan's
    finest scale (notional and fee decimals); `single` is (curve, quantity) or None.
    """

    qty: Sequence[int]
    single: tuple[int, int] | None
    proved: bool
    gap: int
    nodes: int


def split(curves: Sequence[Curve], want: int) -> Split:
    """The best split of `want` over `curves` (by venue name), each with 0 < lo <= hi."""
    if not curves:
        return Split((), None, True, 0, 0)
    search = _Search(curves, want)
    index, best = search.best_single()
    single = (index, best.total)
    alike = len({curve.charge.base for curve in curves}) == 1
    if best.total == want and search.stands(best, alike=alike):
        return Split(best.qty, single, True, 0, 0)
    if alike:
        search.weigh(None)
        best = search.run(best)
        return Split(best.qty, single, search.proved, search.gap(best), search.nodes)
    for _ in range(ROUNDS_MAX):
        search.weigh(best)
        before, best = best, search.run(best)
        if best.same_price_as(before):
            return Split(best.qty, single, search.proved, search.gap(best), search.nodes)
        if search.stands(best, alike=False):
            return Split(best.qty, single, search.proved, 0, search.nodes)
    return Split(best.qty, single, False, search.gap(best), search.nodes)


class _Search:
    """Branch and bound over which venues are used, for one objective at a time.

    The objective is quote × `scale` - net × `paid`: quote alone, or, multiplied by a net to stay
    whole, quote - ratio × net.
    """

    def __init__(self, curves: Sequence[Curve], want: int) -> None:
        self._curves, self._want = curves, want
        self.nodes, self.proved = 0, True
        lots = [curve.lot for curve in curves]
        self._nested = nested(lots)
        if self._nested or tabular(lots, want):
            self._lots = lots
        else:  # legal and coarser, not always the best
            self._lots, self._nested, self.proved = chained(lots), True, False
        self._scale, self._paid = 1, 0
        self._weights: list[tuple[int, int]] = []
        self._last: Found | None = None  # the root's split without lots, under some objective
        self._bound: tuple[int, int] | None = None  # total, cost without lots and minimums

    def found(self, qty: Sequence[int], total: int) -> Found:
        """`qty`, priced."""
        quote = net = 0
        for curve, taken in zip(self._curves, qty, strict=True):
            if taken:
                cost = curve.charge
                quote += curve.sign * curve.notional(taken) * cost.quote
                net += taken * cost.base
        return Found(qty, total, quote, net)

    def cost(self, found: Found) -> int:
        """The objective."""
        return found.quote * self._scale - found.net * self._paid

    def best_single(self) -> tuple[int, Found]:
        """Most first, then the best price per unit, then the name; which curve, and the split."""
        most = max([curve.hi for curve in self._curves])
        best = best_quote = best_net = -1
        for i, curve in enumerate(self._curves):
            if curve.hi != most:
                continue
            quote = curve.sign * curve.notional(most) * curve.charge.quote
            net = most * curve.charge.base
            if best < 0 or quote * best_net < best_quote * net:
                best, best_quote, best_net = i, quote, net
        qty = [0] * len(self._curves)
        qty[best] = most
        return best, Found(qty, most, best_quote, best_net)

    def weigh(self, paid: Found | None) -> None:
        """Set the objective: quote less net at the average of `paid`; None for quote alone."""
        if paid is None:
            self._scale, self._paid = 1, 0
        else:
            shared = gcd(paid.quote, paid.net)
            self._scale, self._paid = paid.net // shared, paid.quote // shared
        self._weights = [
            (curve.charge.quote * curve.px_mul * self._scale, curve.charge.base * self._paid)
            for curve in self._curves
        ]
        self._bound = None

    def run(self, known: Found) -> Found:
        """The best split, starting from a `known` one; equal ones do not replace it."""
        best = known
        stack = [(_OPEN,) * len(self._curves)]
        last = self.nodes + NODES_MAX
        while stack:
            if self.nodes == last:
                self.proved = False
                break
            self.nodes += 1
            decided = stack.pop()
            if (found := self._relaxed(decided, best)) is None:
                continue
            if (stuck := self._stuck(decided, found.qty)) is None:
                best = found
            else:
                stack.append((*decided[:stuck], _USED, *decided[stuck + 1 :]))
                stack.append((*decided[:stuck], _UNUSED, *decided[stuck + 1 :]))
        return best

    def _stuck(self, decided: Sequence[int], qty: Sequence[int]) -> int | None:
        """The open venue that falls short of its minimum the most, in proportion."""
        worst = None
        for i, (curve, taken) in enumerate(zip(self._curves, qty, strict=True)):
            if not 0 < taken < curve.lo or decided[i] != _OPEN:
                continue
            if worst is None or taken * self._curves[worst].lo < qty[worst] * curve.lo:
                worst = i
        return worst

    def _boxes(self, decided: Sequence[int]) -> list[Box] | None:
        boxes = []
        for curve, lot, weight, state in zip(
            self._curves, self._lots, self._weights, decided, strict=True
        ):
            lo = -(-curve.lo // lot) * lot if state == _USED else 0
            hi = 0 if state == _UNUSED else curve.hi // lot * lot
            if lo > hi:
                return None
            boxes.append(
                Box(curve.cum, curve.qty_mul, curve.rise, weight[0], weight[1], lot, lo, hi)
            )
        return boxes

    def _relaxed(self, decided: Sequence[int], best: Found) -> Found | None:
        """The best whole-lot split of a branch, its open venues without minimums; None to cut."""
        if (boxes := self._boxes(decided)) is None:
            return None
        total = (reach if self._nested else reach_any)(boxes, self._want)
        if not total or total < best.total:
            return None
        found = self._fluid(boxes, total, root=not any(decided))
        near, cost = found.qty, self.cost(found)
        if self._bound is None:
            self._bound = (total, cost)
        # Lots only make it dearer: what does not win without them is cut before the finish.
        if total == best.total and cost >= self.cost(best):
            return None
        if not any(taken % box.lot for taken, box in zip(near, boxes, strict=True)):
            return found
        whole = finish(boxes, near, total, simple=self._nested)
        assert whole is not None, "a total that can be reached was not"
        found = self.found(whole, total)
        if total == best.total and self.cost(found) >= self.cost(best):
            return None
        return found

    def _fluid(self, boxes: Sequence[Box], total: int, *, root: bool) -> Found:
        """The best split without lots; of the root, what stood under the last objective may do."""
        last = self._last
        if not root:
            return self.found(filled(boxes, total), total)
        if last is None or last.total != total or not self._plain(last):
            last = self._last = self.found(filled(boxes, total), total)
        return last

    def stands(self, best: Found, *, alike: bool) -> bool:
        """Whether `best` is plainly the best of its total: nothing untaken beats the taken.

        Weighed by quote alone where net is `alike` everywhere, else at its own average.
        """
        self.weigh(None if alike else best)
        return self._plain(best)

    def _plain(self, best: Found) -> bool:
        """The same under the objective as it is."""
        dearest = cheapest = None
        for curve, taken, (factor, less) in zip(self._curves, best.qty, self._weights, strict=True):
            if taken:
                key = curve.rise[curve.reached(taken)] * factor - less
                dearest = key if dearest is None else max(dearest, key)
            if taken < curve.hi:
                key = curve.rise[curve.reaching(taken)] * factor - less
                cheapest = key if cheapest is None else min(cheapest, key)
        return dearest is None or cheapest is None or dearest <= cheapest

    def gap(self, best: Found) -> int:
        """What a split without lots and minimums could gain over `best`, in quote, rounded up."""
        if self._bound is None or self._bound[0] != best.total:
            boxes = [
                Box(curve.cum, curve.qty_mul, curve.rise, factor, less, 1, 0, curve.hi)
                for curve, (factor, less) in zip(self._curves, self._weights, strict=True)
            ]
            fluid = self.found(filled(boxes, best.total), best.total)
            self._bound = (best.total, self.cost(fluid))
        return -((self._bound[1] - self.cost(best)) // self._scale)


def filled(boxes: Sequence[Box], total: int) -> list[int]:
    """The best split of `total` without lots: every level cheaper than a threshold is taken.

    Levels at the threshold itself are taken in the order of the boxes.  The threshold is found by
    halving, over all venues' levels at once: a level in the middle of the widest range still open
    decides on which side of it all ranges end.
    """
    low = [0] * len(boxes)  # every level before it is taken
    high = [len(box.rise) for box in boxes]  # from it on no level is needed but at the threshold
    best: int | None = None  # lowest threshold known to give enough
    while True:
        width = widest = 0
        for i, end in enumerate(high):
            if end - low[i] > width:
                widest, width = i, end - low[i]
        if not width:
            break
        middle, box = low[widest] + width // 2, boxes[widest]
        threshold = box.rise[middle] * box.factor - box.less
        taken, at = 0, []
        for (cum, mul, rise, factor, less, _, lo, hi), n, end in zip(boxes, low, high, strict=True):
            if n != end:
                # px × factor - less <= threshold, as a bound on px itself
                n = bisect_right(rise, (threshold + less) // factor, n, end)  # noqa: PLW2901 - hot
            at.append(n)
            amount = cum[n] * mul
            taken += lo if amount < lo else hi if amount > hi else amount  # noqa: FURB136 - hot
        if taken < total:
            low = at
            continue
        best, high = threshold, at
        spare = taken - total
        if spare < (box.cum[at[widest]] - box.cum[middle]) * box.mul and spare < _between(
            box, middle, at[widest]
        ):
            break  # any lower threshold is without this level, and so without enough
        high[widest] = middle
    assert best is not None, "the boxes hold less than their total"
    return _split_at(boxes, best, total)


def _between(box: Box, first: int, last: int) -> int:
    """What taking up to level `last` gives more than up to `first`."""
    below, above = box.cum[first] * box.mul, box.cum[last] * box.mul
    return min(max(above, box.lo), box.hi) - min(max(below, box.lo), box.hi)


def _split_at(boxes: Sequence[Box], threshold: int, total: int) -> list[int]:
    """What lies below the threshold, and of what lies at it as much as is wanted."""
    qty, more = [], []
    for cum, mul, rise, factor, less, _, lo, hi in boxes:
        edge, odd = divmod(threshold + less, factor)
        upto = bisect_right(rise, edge)
        below = upto if odd or not upto or rise[upto - 1] != edge else upto - 1
        amount = min(max(cum[below] * mul, lo), hi)
        qty.append(amount)
        more.append(min(max(cum[upto] * mul, lo), hi) - amount)
    rest = total - sum(qty)
    for i, room in enumerate(more):
        if rest and room:
            part = min(room, rest)
            qty[i] += part
            rest -= part
    assert not rest, "the boxes hold less than their total"
    return qty
