"""Does a figure rise?  A straight line through samples over time, with its bounds of confidence.

Samples of a process's memory follow each other closely, so that the common formula would be far
too sure of itself: the count of samples is lowered by how much each tells of the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from statistics import NormalDist, fmean

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Slope:
    """Of the line, with bounds, in units of the figure per hour; `count` samples over `hours`."""

    per_hour: float
    low: float
    high: float
    count: int
    hours: float

    def rises(self, by: float = 0.0) -> bool:
        """Whether it surely rises, and by more than `by` an hour."""
        return self.low > 0 and self.per_hour > by


def slope(at_s: Sequence[float], figure: Sequence[float]) -> Slope | None:
    """The line of least squares; None of fewer than eight samples, which tell nothing."""
    count = len(at_s)
    assert count == len(figure), "a figure for each time"
    if count < 8:
        return None
    hours = [at / 3600 for at in at_s]
    mean_x, mean_y = fmean(hours), fmean(figure)
    spread = sum((x - mean_x) ** 2 for x in hours)
    if not spread:
        return None
    per_hour = sum((x - mean_x) * (y - mean_y) for x, y in zip(hours, figure, strict=True)) / spread
    rest = [y - mean_y - per_hour * (x - mean_x) for x, y in zip(hours, figure, strict=True)]
    freedom = max(1.0, _told_apart(rest) - 2)
    # As if there were only so many samples: the same scatter, fewer of them.
    scatter = sum(one * one for one in rest) / count
    error = sqrt(scatter / (freedom * spread / count))
    reach = _t(1 - (1 - CONFIDENCE) / 2, freedom) * error
    return Slope(per_hour, per_hour - reach, per_hour + reach, count, hours[-1] - hours[0])


def _told_apart(rest: Sequence[float]) -> float:
    """How many independent samples these are worth (n (1-r) / (1+r), r of neighbours)."""
    power = sum(one * one for one in rest)
    if not power:
        return len(rest)
    likeness = min(0.95, max(0.0, sum(a * b for a, b in pairwise(rest)) / power))
    return len(rest) * (1 - likeness) / (1 + likeness)


def _t(share: float, freedom: float) -> float:
    """Student's t, by the expansion of Cornish and Fisher: 1 % off at four, better above."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
