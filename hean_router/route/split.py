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

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from math import gcd
from typing import NamedTuple

from hean_router.route.cost import Curve
from hean_router.route.lots import Box, chained, finish, nested, reach, reach_any, tabular

NODES_MAX = 2_000
ROUNDS_MAX = 50  # of Dinkelbach; it converges faster than quadratically, so this is a fuse

_OPEN, _USED, _UNUSED = 0, 1, 2  # what a branch has decided about a venue


class Ratio(NamedTuple):
    """Quote per net base, on the plan's scales; for a sell the quote counts negative."""

    quote: int
    net: int

    def better_than(self, other: "Ratio") -> bool:
        """Less paid, or more got, per unit."""
        return self.quote * other.net < other.quote * self.net


class Found(NamedTuple):
    """A split: total quantity, its objective, and the quantity by curve."""

    total: int
    cost: int
    qty: Sequence[int]


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
    single = _best_single(curves)
    index, qty = single
    best: list[int] = [0] * len(curves)
    best[index] = qty
    search = _Search(curves, want)
    if len({curve.charge.base for curve in curves}) == 1:
        search.weigh(None)
        best = search.run(best)
        return Split(best, single, search.proved, search.gap(best), search.nodes)
    ratio = ratio_of(curves, best)
    for _ in range(ROUNDS_MAX):
        search.weigh(ratio)
        best = search.run(best)
        if (found := ratio_of(curves, best)) == ratio:
            return Split(best, single, search.proved, search.gap(best), search.nodes)
        ratio = found
        if search.stands(best, ratio):
            return Split(best, single, search.proved, 0, search.nodes)
    return Split(best, single, False, search.gap(best), search.nodes)


def ratio_of(curves: Sequence[Curve], qty: Sequence[int]) -> Ratio:
    """Quote per net base of a split; something is taken."""
    quote = sum(curve.sign * curve.quote(q) for curve, q in zip(curves, qty, strict=True) if q)
    net = sum(curve.charge.base * q for curve, q in zip(curves, qty, strict=True))
    shared = gcd(quote, net)
    return Ratio(quote // shared, net // shared)


def _best_single(curves: Sequence[Curve]) -> tuple[int, int]:
    """Most first, then the best price per unit, then the name; `(curve, quantity)`."""
    best, best_ratio = 0, ratio_of(curves[:1], [curves[0].hi])
    for i, curve in enumerate(curves[1:], 1):
        if curve.hi < curves[best].hi:
            continue
        ratio = ratio_of([curve], [curve.hi])
        if curve.hi > curves[best].hi or ratio.better_than(best_ratio):
            best, best_ratio = i, ratio
    return best, curves[best].hi


class _Search:
    """Branch and bound over which venues are used, for one objective at a time."""

    def __init__(self, curves: Sequence[Curve], want: int) -> None:
        self._curves, self._want = curves, want
        self.nodes, self.proved = 0, True
        lots = [curve.lot for curve in curves]
        self._nested = nested(lots)
        if self._nested or tabular(lots, want):
            self._lots = lots
        else:  # documented in lots: legal, coarser, not always the best
            self._lots, self._nested, self.proved = chained(lots), True, False
        self._scale = 1
        self._ratio: Ratio | None = None
        self._keys: list[int] = []
        self._bound: tuple[int, int] | None = None  # total, cost without lots and minimums

    def weigh(self, ratio: Ratio | None) -> None:
        """Set the objective: quote - ratio × net per unit, by level; without a ratio quote alone.

        It is multiplied by the ratio's net, to stay whole.
        """
        self._ratio = ratio
        self._scale, paid = (1, 0) if ratio is None else (ratio.net, ratio.quote)
        keys: list[int] = []
        for curve in self._curves:
            factor, less = curve.sign * curve.charge.quote * self._scale, paid * curve.charge.base
            if less:
                curve.keys = [px * factor - less for px in curve.px]
            else:
                curve.keys = [px * factor for px in curve.px]
            keys += curve.keys
        keys.sort()
        self._keys = keys
        self._bound = None

    def cost(self, qty: Sequence[int]) -> int:
        """The objective of whole quantities."""
        total = sum(
            curve.sign * curve.quote(q) for curve, q in zip(self._curves, qty, strict=True) if q
        )
        if self._ratio is None:
            return total
        net = sum(curve.charge.base * q for curve, q in zip(self._curves, qty, strict=True))
        return total * self._ratio.net - net * self._ratio.quote

    def run(self, known: Sequence[int]) -> list[int]:
        """The best split, starting from a `known` one; equal ones do not replace it."""
        best = Found(sum(known), self.cost(known), known)
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
        return list(best.qty)

    def _stuck(self, decided: Sequence[int], qty: Sequence[int]) -> int | None:
        """The open venue that falls short of its minimum the most, in proportion."""
        worst = None
        for i, (curve, q) in enumerate(zip(self._curves, qty, strict=True)):
            if decided[i] != _OPEN or not 0 < q < curve.lo:
                continue
            if worst is None or q * self._curves[worst].lo < qty[worst] * curve.lo:
                worst = i
        return worst

    def _relaxed(self, decided: Sequence[int], best: Found) -> Found | None:
        """The best whole-lot split of a branch, its open venues without minimums; None to cut."""
        boxes = []
        for curve, lot, state in zip(self._curves, self._lots, decided, strict=True):
            lo = -(-curve.lo // lot) * lot if state == _USED else 0
            hi = 0 if state == _UNUSED else curve.hi // lot * lot
            if lo > hi:
                return None
            boxes.append(Box(curve, lot, lo, hi))
        total = (reach if self._nested else reach_any)(boxes, self._want)
        if not total or total < best.total:
            return None
        near = self._filled(boxes, total)
        fluid = self.cost(near)
        if self._bound is None:
            self._bound = (total, fluid)
        # Lots only make it dearer: what does not win without them is cut before the finish.
        if total == best.total and fluid >= best.cost:
            return None
        qty = near
        if any(q % box.lot for q, box in zip(near, boxes, strict=True)):
            whole = finish(boxes, near, total)
            assert whole is not None, "a total that can be reached was not"
            qty = whole
            fluid = self.cost(qty)
            if total == best.total and fluid >= best.cost:
                return None
        return Found(total, fluid, qty)

    def _filled(self, boxes: Sequence[Box], total: int) -> list[int]:
        """The best split of `total` without lots: every level cheaper than a threshold is taken.

        Levels at the threshold itself are taken in the order of venue names.
        """
        keys, low, high = self._keys, 0, len(self._keys) - 1
        while low < high:
            middle = (low + high) // 2
            threshold = keys[middle]
            taken = 0
            for curve, _, lo, hi in boxes:
                amount = curve.cum[bisect_right(curve.keys, threshold)]
                taken += min(max(amount, lo), hi)
            if taken >= total:
                high = middle
            else:
                low = middle + 1
        threshold = keys[low]
        qty = [
            min(max(curve.cum[bisect_left(curve.keys, threshold)], lo), hi)
            for curve, _, lo, hi in boxes
        ]
        rest = total - sum(qty)
        for i, (curve, _, _, hi) in enumerate(boxes):
            if not rest:
                break
            at = curve.cum[bisect_right(curve.keys, threshold)]
            more = min(at, hi) - qty[i]
            if more > 0:
                qty[i] += min(more, rest)
                rest -= min(more, rest)
        assert not rest, "the boxes hold less than their total"
        return qty

    def stands(self, qty: Sequence[int], ratio: Ratio) -> bool:
        """Whether `qty` is plainly best for `ratio`: nothing untaken is cheaper than the taken."""
        dearest = cheapest = None
        for curve, q in zip(self._curves, qty, strict=True):
            factor = curve.sign * curve.charge.quote * ratio.net
            less = ratio.quote * curve.charge.base
            if q:
                key = curve.worst_px(q) * factor - less
                dearest = key if dearest is None else max(dearest, key)
            if q < curve.hi:
                px = curve.px[bisect_right(curve.cum, q) - 1]
                key = px * factor - less
                cheapest = key if cheapest is None else min(cheapest, key)
        return dearest is None or cheapest is None or dearest <= cheapest

    def gap(self, qty: Sequence[int]) -> int:
        """What a split without lots and minimums could gain over `qty`, in quote, rounded up."""
        total = sum(qty)
        if self._bound is None or self._bound[0] != total:
            boxes = [Box(curve, 1, 0, curve.hi) for curve in self._curves]
            self._bound = (total, self.cost(self._filled(boxes, total)))
        return -((self._bound[1] - self.cost(qty)) // self._scale)
