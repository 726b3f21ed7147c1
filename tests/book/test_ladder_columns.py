"""What digests are computed from: columns of the best levels, and a version that tells change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.twins import LADDERS

changes = st.lists(
    st.lists(st.tuples(st.integers(1, 20), st.integers(0, 5)), max_size=6), max_size=12
)


@pytest.mark.parametrize("make", LADDERS)
@given(changes=changes, bids=st.booleans(), cut=st.integers(0, 8), depth=st.integers(1, 25))
def test_columns_are_the_top_and_an_equal_version_means_equal_levels(
    make, changes, bids, cut, depth
):
    ladder = make(bids=bids)
    seen: dict[int, list] = {}
    for number, levels in enumerate(changes):
        ladder.replace(levels) if number % 5 == 0 else ladder.apply(levels)
        if cut:
            ladder.cut(cut)
        keys, qtys = ladder.columns(depth)
        assert [(abs(key), qty) for key, qty in zip(keys, qtys, strict=True)] == ladder.top(depth)
        assert all((key > 0) == bids for key in keys)
        assert seen.setdefault(ladder.version, list(ladder)) == list(ladder)
