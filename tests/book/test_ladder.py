"""A ladder against a dict, which is too simple to be wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.native.twins import LADDERS

changes = st.lists(
    st.tuples(st.integers(min_value=1, max_value=40), st.integers(min_value=0, max_value=5)),
    max_size=120,
)


def best_first(levels, *, bids):
    return sorted(levels.items(), reverse=bids)


@pytest.mark.parametrize("make", LADDERS)
@pytest.mark.parametrize("bids", [True, False])
@given(start=changes, batches=st.lists(changes, max_size=6), depth=st.integers(1, 50))
def test_ladder_agrees_with_a_dict(make, bids, start, batches, depth):
    ladder, model = make(bids=bids), {px: q for px, q in dict(start).items() if q}
    ladder.replace(start)
    for batch in batches:
        ladder.apply(batch)
        for px, qty in batch:
            model[px] = qty
            if not qty:
                del model[px]
        ladder.check()
        expected = best_first(model, bids=bids)
        assert list(ladder) == expected
        assert ladder.top(depth) == expected[:depth]
        assert ladder.best() == (expected[0] if expected else None)
        assert ladder.best_px() == (expected[0][0] if expected else None)
        assert len(ladder) == len(model)
        for px in range(42):
            assert ladder.qty_at(px) == model.get(px, 0)
            assert ladder.better_than(px) == sum((p >= px) if bids else (p <= px) for p in model)
    ladder.cut(depth)
    ladder.check()
    assert list(ladder) == best_first(model, bids=bids)[:depth]


@pytest.mark.parametrize("make", LADDERS)
def test_a_price_twice_in_one_message_counts_in_order(make):
    ladder = make(bids=True)
    ladder.apply([(5, 1), (5, 0), (5, 3)])  # Kraken writes so
    assert list(ladder) == [(5, 3)]


@pytest.mark.parametrize("make", LADDERS)
def test_a_removal_of_what_never_was_there_is_no_fault(make):
    ladder = make(bids=False)
    ladder.apply([(7, 0)])  # Binance writes so
    assert ladder.best() is None
