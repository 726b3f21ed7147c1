"""The limiter against a list of payments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.venue import RateLimit
from hean_router.venue import Limiter

MS = 1_000_000


@given(
    capacity=st.integers(1, 30),
    per_ms=st.integers(1, 50),
    steps=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 8)), max_size=60),
)
def test_no_stretch_of_time_holds_more_than_the_limit(capacity, per_ms, steps):
    limiter = Limiter(RateLimit(capacity, per_ms))
    paid, now_ns = [], 0
    for wait_ms, cost in steps:
        now_ns += wait_ms * MS
        wait_ns = limiter.take(cost, now_ns)
        if wait_ns:
            assert limiter.take(cost, now_ns + wait_ns - 1) > 0, "the wait is no longer than needed"
            now_ns += wait_ns
            assert limiter.take(cost, now_ns) == 0, "the wait is long enough"
        paid.append((now_ns, min(cost, capacity)))
        window = [cost for at, cost in paid if at > now_ns - per_ms * MS]
        assert sum(window) <= capacity
        assert limiter.left(now_ns) == capacity - sum(window)


def test_a_share_keeps_a_reserve():
    limiter = Limiter(RateLimit(5, 1000), 0.8)
    assert [limiter.take(1, 0) for _ in range(5)] == [0, 0, 0, 0, 1000 * MS]


def test_a_cost_beyond_the_capacity_is_paid_as_the_capacity():
    limiter = Limiter(RateLimit(5, 1000))
    assert limiter.take(50, 0) == 0
    assert limiter.take(1, 0) == 1000 * MS


def test_nothing_passes_while_the_venue_says_wait():
    limiter = Limiter(RateLimit(5, 1000))
    limiter.block(7 * MS)
    limiter.block(3 * MS)  # a shorter ban does not shorten a longer one
    assert limiter.take(1, 0) == 7 * MS
    assert limiter.left(0) == 0
    assert limiter.take(1, 7 * MS) == 0


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_a_share_is_a_share(share):
    with pytest.raises(AssertionError):
        Limiter(RateLimit(5, 1000), share)
