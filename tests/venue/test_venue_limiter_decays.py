"""A count that decays, as Kraken keeps it: held against the venue's own arithmetic."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.venue import RateLimit
from hean_router.venue import Limiter

SECOND = 1_000_000_000


@given(
    asks=st.lists(st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 6)), max_size=60),
    share=st.sampled_from([1.0, 0.8]),
)
def test_the_venues_count_is_never_passed_and_nobody_waits_longer_than_it_takes(asks, share):
    limiter = Limiter(RateLimit(15, 45_000, decays=True), share)
    each = Fraction(3 * SECOND)  # ns a token takes to decay
    now_ns, count, top = 0, Fraction(0), limiter.capacity
    for after_ns, cost in asks:
        now_ns += after_ns
        count = max(Fraction(0), count - after_ns / each)
        wait_ns = limiter.wait_ns(cost, now_ns)
        assert limiter.take(cost, now_ns) == wait_ns
        if wait_ns:
            assert count + cost > top, "it would have been let through"
            assert count + cost - Fraction(wait_ns) / each <= top
            assert count + cost - Fraction(wait_ns - 1) / each > top, "not a ns too long"
        else:
            count += cost
            assert count <= top
        assert 0 <= limiter.left(now_ns) <= top - count


def test_it_recovers_token_by_token_and_not_all_at_once_after_a_window():
    decays = Limiter(RateLimit(15, 45_000, decays=True))
    window = Limiter(RateLimit(15, 45_000))
    for limiter in (decays, window):
        assert limiter.take(15, SECOND) == 0
    assert (decays.left(7 * SECOND), window.left(7 * SECOND)) == (2, 0)
    assert decays.wait_ns(3, 7 * SECOND) == 3 * SECOND
    assert window.wait_ns(3, 7 * SECOND) == 39 * SECOND


def test_a_venue_that_says_to_wait_is_waited_for():
    limiter = Limiter(RateLimit(15, 45_000, decays=True))
    limiter.block(9 * SECOND)
    assert (limiter.wait_ns(1, 2 * SECOND), limiter.left(2 * SECOND)) == (7 * SECOND, 0)
    assert limiter.left(9 * SECOND) == 15
