"""The only file that reads a clock."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]  # -> ns since the epoch, never backwards


def steady_clock() -> Clock:
    """A clock that starts at the wall's time and never jumps, whoever sets the wall clock.

    Durations stay true when the machine's time is corrected; the offset to a venue's clock is
    measured against it all the same.  Where the system can tell, it goes on while the machine
    sleeps: what was held before is old then, and must look old.
    """
    ticks_ns = _ticks()
    start_ns = time.time_ns() - ticks_ns()

    def now_ns() -> int:
        return start_ns + ticks_ns()

    return now_ns


def _ticks() -> Clock:
    if (boottime := getattr(time, "CLOCK_BOOTTIME", None)) is None:
        return time.monotonic_ns
    return partial(time.clock_gettime_ns, boottime)


def wall_ns() -> int:
    """The wall's time, for file names and reports."""
    return time.time_ns()
