"""A million updates leave nothing behind."""

import gc
from pathlib import Path

import pytest

from tests.native.twins import compiled_ladder, core, needs_native

STATM = Path("/proc/self/statm")
PAGE_KB = 4

pytestmark = [
    needs_native,
    pytest.mark.skipif(not STATM.exists(), reason="no /proc/self/statm to read memory from"),
]


def resident_kb():
    gc.collect()
    return int(STATM.read_text().split()[1]) * PAGE_KB


def grows(step, rounds):
    """KiB gained over `rounds`, after a first tenth in which caches fill."""
    for number in range(rounds // 10):
        step(number)
    before = resident_kb()
    for number in range(rounds):
        step(number)
    return resident_kb() - before


def test_a_million_updates_leave_memory_flat():
    ladder = compiled_ladder(bids=True)

    def step(number):
        # 50 levels a message; a window of 2,000 prices wanders: all are set, changed and removed.
        at = (number * 37) % 2_000
        ladder.apply([(10**20 + at + i, (number + i) % 3 * 10**20) for i in range(50)])

    assert grows(step, 20_000) < 1_024
    ladder.check()


def test_reading_walking_and_refusing_leave_memory_flat():
    ladder = compiled_ladder(bids=False)
    good = b'[["%d.5","1.25"],["2","340282366920938463463"],["3.75","0"]]'

    def step(number):
        levels = core.read(good % (number % 100), 2, 2, 1, False, False)
        ladder.apply(levels)
        assert core.read(b'[["1","2"', 2, 2, 1, False, False) is None
        with pytest.raises(ValueError, match="127 bits"):
            ladder.apply([(1 << 200, 1)])
        assert list(ladder) == ladder.top(1_000)
        assert levels == [*levels]
        walk = iter(ladder)  # given up on half-way
        next(walk)
        core.digits(ladder, 10)

    assert grows(step, 20_000) < 1_024
