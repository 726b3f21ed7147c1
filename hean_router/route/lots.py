"""The exact finish: whole lots at every venue, exactly the total wanted, at the least cost.

Without lots the cheapest split fills level after level.  With lots that differ from venue to venue
the total must still come out, so the coarse ones leave remainders to the fine ones.  Exact, by two
facts (K venues, lots where each divides the next coarser one):

* **Near.**  Some best whole-lot split differs from the split without lots by less than K + 1
  coarsest lots at each venue.  (If two of them differ by a coarsest lot upwards at some venues and
  downwards at others, parts of exactly one coarsest lot can be taken from both movements, because
  each lot divides the next; moving back by them is not dearer, as both are convex.)  So only a
  small window of each curve matters.
* **Bundles.**  Whatever the coarser venues take is a multiple of the next coarser lot, so the
  finer ones together must be congruent to the total.  After the few steps that this forces, the
  finer venues' steps in order of cost, bundled to the coarser lot, are again convex, and merge
  with the coarser venues' own.

Where lots do not divide each other the same works with the least common multiple as the coarsest
lot, once for each combination of remainders.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from math import gcd, lcm
from typing import NamedTuple, TypeAlias

Run: TypeAlias = tuple[int, int]  # cost of a step, how many such steps; costs rise from run to run
Item: TypeAlias = tuple[int, int, int]  # cost of a step, source, how many

COMBINATIONS_MAX = 4_096  # of remainders, where lots do not divide each other
REACH_BITS_MAX = 1 << 20  # of the table of reachable totals, in units of the lots' divisor


class Box(NamedTuple):
    """A venue in one problem: cumulative quantity, objective, grid, and the range open to it.

    A unit of level `i` costs `rise[i] × factor - less`, which rises from level to level; the first
    `i` levels hold `cum[i] × mul` units.
    """

    cum: Sequence[int]
    mul: int
    rise: Sequence[int]
    factor: int
    less: int
    lot: int
    lo: int
    hi: int


def nested(lots: Sequence[int]) -> bool:
    """Whether each lot divides the next coarser one."""
    grids = set(lots)
    if len(grids) == 1:
        return True
    ordered = sorted(grids)
    return all(coarse % fine == 0 for fine, coarse in pairwise(ordered))


def chained(lots: Sequence[int]) -> list[int]:
    """For each lot a multiple of it, such that they divide each other: a coarser, legal grid."""
    grid: dict[int, int] = {}
    last = 1
    for lot in sorted(set(lots)):
        grid[lot] = last = lcm(lot, last) if lot % last else lot
    return [grid[lot] for lot in lots]


def reach(boxes: Sequence[Box], want: int) -> int | None:
    """Largest total up to `want` that the boxes can make; None if their least is already more.

    Exact where the lots divide each other: filling the coarsest first leaves the least.
    """
    room = want - sum(box.lo for box in boxes)
    if room < 0:
        return None
    if sum(box.hi for box in boxes) <= want:
        return sum(box.hi for box in boxes)
    for box in sorted(boxes, key=lambda box: -box.lot):
        room -= min(box.hi - box.lo, room - room % box.lot)
    return want - room


def reach_any(boxes: Sequence[Box], want: int) -> int | None:
    """The same for any lots, by a table of totals; call it only if `tabular` says so."""
    unit = gcd(*(box.lot for box in boxes))
    room = want - sum(box.lo for box in boxes)
    if room < 0:
        return None
    mask = (1 << (room // unit + 1)) - 1
    totals = 1
    for box in boxes:
        left, chunk = (box.hi - box.lo) // box.lot, 1
        while left:  # 1, 2, 4, … lots and a rest make every count
            count = min(left, chunk)
            totals |= (totals << (count * box.lot // unit)) & mask
            left, chunk = left - count, chunk * 2
    return want - room + (totals.bit_length() - 1) * unit


def tabular(lots: Sequence[int], want: int) -> bool:
    """Whether lots that do not divide each other are few enough for an exact answer."""
    unit, whole = gcd(*lots), lcm(*lots)
    count = 1
    for lot in sorted(set(lots))[1:]:
        count *= whole // lot
    return count <= COMBINATIONS_MAX and want // unit <= REACH_BITS_MAX


def finish(
    boxes: Sequence[Box], near: Sequence[int], total: int, *, simple: bool
) -> list[int] | None:
    """The cheapest whole-lot quantities that make `total`, given the split without lots, `near`.

    `simple` says that the lots divide each other.  None if the boxes cannot make `total`.
    """
    lots = [box.lot for box in boxes]
    coarsest = max(lots) if simple else lcm(*lots)
    reach_out = (len(boxes) + 1) * coarsest
    starts, windows = [], []
    for box, qty in zip(boxes, near, strict=True):
        start = max(box.lo, (qty - reach_out) // box.lot * box.lot)
        end = min(box.hi, -(-(qty + reach_out) // box.lot) * box.lot)
        starts.append(start)
        windows.append(steps(box, start, end))
    rest = total - sum(starts)
    if rest < 0:
        return None
    taken = _by_bundles(lots, windows, rest) if simple else _by_rests(lots, windows, rest)
    if taken is None:
        return None
    return [start + taken.get(i, 0) * lots[i] for i, start in enumerate(starts)]


def steps(box: Box, start: int, end: int) -> list[Run]:
    """Costs of the lots between `start` and `end`, in order; `end - start` is a multiple of it."""
    cum, mul, rise, factor, less, lot, _, _ = box
    runs, at = [], start
    level = bisect_right(cum, at // mul) - 1
    while at < end:
        edge = cum[level + 1] * mul
        if edge <= at:
            level += 1
        elif whole := (min(edge, end) - at) // lot:
            runs.append(((rise[level] * factor - less) * lot, whole))
            at += whole * lot
        else:
            cost, goal = 0, at + lot  # this lot is taken from several levels
            while at < goal:
                upto = min(cum[level + 1] * mul, goal)
                cost += (rise[level] * factor - less) * (upto - at)
                at = upto
                level += upto < goal
            runs.append((cost, 1))
    return runs


def bundled(runs: Sequence[Run], skip: int, size: int) -> list[Run]:
    """The steps behind the first `skip`, `size` at a time; an incomplete last bundle is no step."""
    bundles: list[Run] = []
    cost = have = 0
    for step, many in runs:
        left = many
        if skip:
            skipped = min(skip, left)
            skip -= skipped
            left -= skipped
        if have and left:
            add = min(size - have, left)
            cost, have, left = cost + step * add, have + add, left - add
            if have == size:
                bundles.append((cost, 1))
                cost = have = 0
        if whole := left // size:
            bundles.append((step * size, whole))
            left -= whole * size
        if left:
            cost, have = step * left, left
    return bundles


def take(items: Sequence[Item], count: int) -> dict[int, int] | None:
    """How many of the `count` cheapest steps come from each source; None if there are fewer."""
    taken: dict[int, int] = {}
    for _, source, many in items:
        if not count:
            break
        part = min(many, count)
        taken[source] = taken.get(source, 0) + part
        count -= part
    return None if count else taken


_FINER = -1  # as a source: the bundles of all finer lots; the first among equals


def _by_bundles(
    lots: Sequence[int], windows: Sequence[list[Run]], rest: int
) -> dict[int, int] | None:
    """Steps per venue that make `rest` at the least cost, lots dividing each other."""
    grid = sorted(set(lots))
    stages: list[tuple[list[Item], int, int]] = []
    carried: list[Run] = []
    items: list[Item] = []
    for i, lot in enumerate(grid):
        items = [(cost, _FINER, many) for cost, many in carried]
        for source, runs in enumerate(windows):
            if lots[source] == lot:
                items += [(cost, source, many) for cost, many in runs]
        items.sort()
        if lot == grid[-1]:
            break
        coarser = grid[i + 1]
        skip = rest % coarser // lot
        if rest % lot or sum(item[2] for item in items) < skip:
            return None
        stages.append((items, skip, coarser // lot))
        carried = bundled([(cost, many) for cost, _, many in items], skip, coarser // lot)
        rest -= skip * lot
    if rest < 0 or rest % grid[-1] or (taken := take(items, rest // grid[-1])) is None:
        return None
    for lower, skip, size in reversed(stages):
        bundles = taken.pop(_FINER, 0)
        below = take(lower, skip + bundles * size)
        assert below is not None, "a bundle of steps that are not there"
        taken.update(below)
    return taken


def _by_rests(
    lots: Sequence[int], windows: Sequence[list[Run]], rest: int
) -> dict[int, int] | None:
    """The same for lots that do not divide each other: every combination of remainders."""
    whole, grid = lcm(*lots), sorted(set(lots))
    groups = [_Group(lot, whole, lots, windows) for lot in grid]
    best: tuple[int, dict[int, int]] | None = None
    for heads in _heads(groups, whole, rest):
        left = rest - sum(head * group.lot for head, group in zip(heads, groups, strict=True))
        items: list[Item] = []
        cost = 0
        for i, (head, group) in enumerate(zip(heads, groups, strict=True)):
            cost += group.cost(head)
            items += [(step, i, many) for step, many in group.after(head)]
        items.sort()
        if (taken := take(items, left // whole)) is None:
            continue
        cost += _cost(items, left // whole)
        if best is None or cost < best[0]:
            best = (
                cost,
                {i: head + taken.get(i, 0) * groups[i].size for i, head in enumerate(heads)},
            )
    if best is None:
        return None
    counts: dict[int, int] = {}
    for i, group in enumerate(groups):
        below = take(group.items, best[1][i])
        assert below is not None, "a step that is not there"
        counts.update(below)
    return counts


class _Group:
    """All venues of one lot: their steps in order of cost, bundled behind each remainder."""

    def __init__(
        self, lot: int, whole: int, lots: Sequence[int], windows: Sequence[list[Run]]
    ) -> None:
        self.lot, self.size = lot, whole // lot
        self.items: list[Item] = sorted(
            (cost, source, many)
            for source, runs in enumerate(windows)
            if lots[source] == lot
            for cost, many in runs
        )
        self.count = sum(many for _, _, many in self.items)
        self._after: dict[int, list[Run]] = {}

    def cost(self, head: int) -> int:
        return _cost(self.items, head)

    def after(self, head: int) -> list[Run]:
        if head not in self._after:
            runs = [(cost, many) for cost, _, many in self.items]
            self._after[head] = bundled(runs, head, self.size)
        return self._after[head]


def _cost(items: Sequence[Item], count: int) -> int:
    cost = 0
    for step, _, many in items:
        part = min(many, count)
        cost += step * part
        count -= part
    return cost


def _heads(groups: Sequence[_Group], whole: int, rest: int) -> Iterator[tuple[int, ...]]:
    """Steps of each group beyond multiples of `whole`, such that the total can come out."""
    finest = groups[0]
    choices = [range(min(group.size, group.count + 1)) for group in groups[1:]]
    for others in product(*choices):
        left = rest - sum(head * group.lot for head, group in zip(others, groups[1:], strict=True))
        head, odd = divmod(left % whole, finest.lot)
        if left >= 0 and not odd and head <= finest.count and head * finest.lot <= left:
            yield (head, *others)
