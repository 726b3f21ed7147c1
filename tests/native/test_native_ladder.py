"""The compiled ladder beside the specification, step by step."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.book import state_hash
from hean_router.book.ladder import Ladder
from tests.native.twins import compiled_ladder, core, needs_native

pytestmark = needs_native

MOST = (1 << 127) - 1
near = st.integers(0, 30)
edges = st.sampled_from([1, 1 << 31, (1 << 63) - 1, 1 << 63, 1 << 64, 10**30, MOST])
numbers = st.one_of(near, edges, st.integers(-MOST, MOST))
levels = st.lists(st.tuples(numbers, st.one_of(st.just(0), numbers)), max_size=12)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), levels),
        st.tuples(st.just("replace"), levels),
        st.tuples(st.just("cut"), st.integers(0, 8)),
    ),
    max_size=8,
)


def seen(ladder, px, depth):
    """All that a ladder says."""
    return (
        list(ladder), len(ladder), ladder.version, ladder.best(), ladder.best_px(),
        ladder.top(depth), ladder.columns(depth), ladder.qty_at(px), ladder.better_than(px),
    )  # fmt: skip


@pytest.mark.parametrize("bids", [True, False])
@given(steps=steps, px=numbers, depth=st.integers(0, 20), kept=st.booleans())
def test_both_say_the_same_after_every_step(bids, steps, px, depth, kept):
    spec, twin = Ladder(bids=bids), compiled_ladder(bids=bids)
    for verb, what in steps:
        getattr(spec, verb)(what)
        # As a codec gives them, and as anybody else does.
        getattr(twin, verb)(core.Levels(what) if kept and verb != "cut" else what)
        assert seen(twin, px, depth) == seen(spec, px, depth)
        assert state_hash(twin) == state_hash(spec)


def _said(ladder):
    try:
        ladder.check()
    except AssertionError as fault:
        return str(fault)
    return ""


@given(levels)
def test_both_check_themselves_alike(levels):
    spec, twin = Ladder(bids=True), compiled_ladder(bids=True)
    spec.apply(levels)
    twin.apply(levels)
    assert _said(twin) == _said(spec)


def test_a_hundred_thousand_updates_leave_the_same_books():
    rng = Random(20261125)
    pairs = [(Ladder(bids=bids), compiled_ladder(bids=bids)) for bids in (True, False)]
    mid, count = 6_000_000, 0
    while count < 100_000:
        mid += rng.randrange(-3, 4)
        for (spec, twin), sign in zip(pairs, (-1, 1), strict=True):
            change = []
            for _ in range(rng.randrange(25)):
                away = int(rng.expovariate(0.02))
                qty = rng.choice((0, 0, rng.randrange(1, 10**9), rng.randrange(1, 10**26)))
                change.append((mid + sign * away, qty))
            count += len(change)
            if rng.random() < 0.002:
                spec.replace(change)
                twin.replace(core.Levels(change))
            else:
                spec.apply(change)
                twin.apply(core.Levels(change))
            if rng.random() < 0.05:
                depth = rng.randrange(200, 400)
                spec.cut(depth)
                twin.cut(depth)
            assert (twin.version, twin.best(), len(twin)) == (
                spec.version, spec.best(), len(spec),
            )  # fmt: skip
        if rng.random() < 0.01:
            assert state_hash(*(twin for _, twin in pairs)) == state_hash(
                *(spec for spec, _ in pairs)
            )
    for spec, twin in pairs:
        assert len(spec) > 100
        assert state_hash(twin) == state_hash(spec)
        twin.check()


@pytest.mark.parametrize(("wrong", "fault"), [
    ([(1 << 127, 1)], ValueError),          # one more than fits
    ([(1, -(1 << 127))], ValueError),       # its sign could not be turned
    ([(10**60, 1)], ValueError),
    ([(1.5, 1)], TypeError),                # money is never a float
    ([("1", 1)], TypeError),
    ([(1, 2, 3)], ValueError),
    ([(1,)], ValueError),
    ([7], TypeError),
    (7, TypeError),
])  # fmt: skip
@pytest.mark.parametrize("verb", ["apply", "replace"])
def test_what_cannot_be_held_is_refused_whole_and_never_wraps(verb, wrong, fault):
    ladder = compiled_ladder(bids=True)
    ladder.apply([(5, 1), (6, 2)])
    before = seen(ladder, 5, 5)
    given = [(9, 9), *wrong] if isinstance(wrong, list) else wrong
    with pytest.raises(fault):
        getattr(ladder, verb)(given)
    assert seen(ladder, 5, 5) == before, "changed by what it refused"


def test_eighteen_decimals_of_a_large_quantity_fit():
    ladder = compiled_ladder(bids=False)
    px, qty = 10**5 * 10**18, 10**20 * 10**18 - 1  # a hundred quintillion coins less one wei
    ladder.apply([(px, qty)])
    assert ladder.best() == (px, qty)
    assert ladder.columns(1) == ([-px], [qty])


def test_a_walk_ends_where_a_ladder_has_shrunk():
    ladder = compiled_ladder(bids=True)
    ladder.apply([(px, 1) for px in range(10)])
    walk = iter(ladder)
    assert [next(walk), next(walk)] == [(9, 1), (8, 1)]
    ladder.replace([])
    assert list(walk) == []


@pytest.mark.parametrize("make", [Ladder, compiled_ladder])
def test_a_ladder_may_be_given_its_own_levels(make):
    ladder = make(bids=True)
    ladder.apply([(1, 1), (2, 2)])
    ladder.replace(ladder)
    ladder.apply(ladder.top(5))
    assert ladder.top(5) == [(2, 2), (1, 1)]
    version = ladder.version
    ladder.apply([])
    ladder.apply(())
    assert ladder.version == version, "nothing was said of this side"
    ladder.apply(level for level in ())
    assert ladder.version == version + 1, "nobody could know"


def test_levels_are_a_sequence_like_a_list():
    from collections.abc import Sequence

    listed = [(3, 1), (2, 0), (3, 7)]
    levels = core.Levels(listed)
    assert isinstance(levels, Sequence)
    assert levels == listed == [*levels]
    assert levels == core.Levels(listed)
    assert levels != listed[:2]
    assert levels != "abc"
    assert (len(levels), bool(levels), bool(core.Levels([]))) == (3, True, False)
    assert (levels[0], levels[-1], levels[:2], levels[::-1]) == (
        (3, 1), (3, 7), listed[:2], listed[::-1],
    )  # fmt: skip
    assert [*reversed(levels)] == listed[::-1]
    assert (2, 0) in levels
    assert (2, 1) not in levels
    assert (levels.index((3, 7)), levels.count((3, 1))) == (2, 1)
    assert repr(levels) == "Levels([(3, 1), (2, 0), (3, 7)])"
    for index in (3, -4):
        with pytest.raises(IndexError):
            levels[index]
