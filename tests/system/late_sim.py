"""`hean sim` with a clock that is a number of seconds ahead of everybody else's.

python tests/system/late_sim.py SECONDS sim okx ...
"""

import sys

from hean_router.cli import main
from hean_router.cli import sim as command
from hean_router.runtime.clock import steady_clock


def late(seconds: int):
    """A clock maker like `steady_clock`, off by that much."""

    def make():
        true = steady_clock()
        return lambda: true() + seconds * 1_000_000_000

    return make


if __name__ == "__main__":
    command.steady_clock = late(int(sys.argv.pop(1)))
    main()
