"""Whole lots: the finish and the reachable totals against a table of every total."""

from math import gcd

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hean_router.route.lots import (
    Box,
    bundled,
    chained,
    finish,
    nested,
    reach,
    reach_any,
    tabular,
    take,
)
from hean_router.route.split import filled

GRIDS = st.sampled_from(
    [(1,), (1, 10), (1, 2, 8), (1, 5, 20), (2, 6), (1, 7), (2, 3), (2, 3, 5), (4, 6, 9), (3, 10)]
)


@st.composite
def boxes(draw, grid) -> Box:
    mul = draw(st.sampled_from([1, 3]))
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    rises = draw(st.lists(st.integers(1, 9), min_size=len(sizes), max_size=len(sizes)))
    cum, rise, px = [0], [], draw(st.integers(-60, 60))
    for size, step in zip(sizes, rises, strict=True):
        cum.append(cum[-1] + size)
        rise.append(px)
        px += step
    lot = draw(st.sampled_from(grid))
    most = cum[-1] * mul // lot
    hi = draw(st.integers(0, most))
    lo = draw(st.integers(0, hi))
    return Box(
        cum, mul, rise, draw(st.integers(1, 3)), draw(st.integers(-5, 5)), lot, lo * lot, hi * lot
    )


def cost(box: Box, qty: int) -> int:
    units = [
        px * box.factor - box.less
        for px, first, last in zip(box.rise, box.cum, box.cum[1:], strict=False)
        for _ in range((last - first) * box.mul)
    ]
    return sum(units[:qty])


def table(market: list[Box]) -> dict[int, int]:
    """Least cost of every total that whole lots can make."""
    best = {0: 0}
    for box in market:
        counts = {qty: cost(box, qty) for qty in range(box.lo, box.hi + 1, box.lot)}
        fresh: dict[int, int] = {}
        for total, spent in best.items():
            for qty, more in counts.items():
                if spent + more < fresh.get(total + qty, 1 << 60):
                    fresh[total + qty] = spent + more
        best = fresh
    return best


@given(GRIDS.flatmap(lambda grid: st.lists(boxes(grid), min_size=1, max_size=5)), st.data())
@settings(max_examples=250, deadline=None)
def test_the_finish_is_the_cheapest_of_all(market, data):
    every = table(market)
    want = data.draw(st.integers(0, max(every) + 5))
    lots = [box.lot for box in market]
    reachable = [total for total in every if total <= want]
    exact = reach_any(market, want)
    assert exact == (max(reachable) if reachable else None)
    if nested(lots):
        assert reach(market, want) == exact
    assume(exact is not None)
    near = filled(market, exact)
    assert sum(near) == exact
    assert sum(map(cost, market, near)) <= every[exact]
    assert tabular(lots, want)
    whole = finish(market, near, exact, simple=nested(lots))
    assert whole is not None
    assert sum(whole) == exact
    assert all(
        box.lo <= qty <= box.hi and qty % box.lot == 0
        for box, qty in zip(market, whole, strict=True)
    )
    assert sum(map(cost, market, whole)) == every[exact]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_a_chain_is_legal_and_divides(lots):
    chain = chained(lots)
    assert nested(chain)
    assert all(coarse % lot == 0 for coarse, lot in zip(chain, lots, strict=True))
    if nested(lots):
        assert chain == lots


@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 7)), max_size=6).map(sorted),
    st.integers(0, 12),
    st.integers(1, 5),
)
def test_bundles_are_runs_of_single_steps(runs, skip, size):
    single = [step for step, many in runs for _ in range(many)][skip:]
    expected = [sum(single[i : i + size]) for i in range(0, len(single) - size + 1, size)]
    assert [step for step, many in bundled(runs, skip, size) for _ in range(many)] == expected


@pytest.mark.parametrize(
    ("count", "taken"),
    [(0, {}), (2, {7: 2}), (5, {7: 3, 8: 2}), (6, {7: 3, 8: 3}), (7, None)],  # 6 there are
)
def test_take(count, taken):
    assert take([(1, 7, 3), (2, 8, 3)], count) == taken


@pytest.mark.parametrize(
    ("lots", "want", "exact"),
    [
        ((2, 3), 1_000, True),
        ((7, 9, 11, 13), 1_000, False),  # 9,009 remainders at each, thousands of combinations
        ((20_000, 30_000), 10**10, True),  # in units of their divisor it is a small table
        ((2, 3), 10**9, False),
    ],
)
def test_where_exactness_ends(lots, want, exact):
    assert gcd(*lots) >= 1
    assert tabular(lots, want) is exact
