"""The only file that reads a clock."""

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]  # -> ns since the epoch, never backwards


def steady_clock() -> Clock:
    """A clock that starts at the wall's time and never jumps, whoever sets the wall clock.

    Durations stay true when the machine's time is corrected; the offset to a venue's clock is
    measured against it all the same.
    """
    start_ns = time.time_ns() - time.monotonic_ns()

    def now_ns() -> int:
        return start_ns + time.monotonic_ns()

    return now_ns


def wall_ns() -> int:
    """The wall's time, for file names and reports."""
    return time.time_ns()
