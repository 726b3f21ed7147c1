"""The judge of memory: it knows a leak, and does not cry over noise."""

from random import Random

import pytest

from tests.soak.slope import _t, slope

HALF_HOUR = [10.0 * n for n in range(180)]


def noisy(seed: int, per_hour: float, *, like: float = 0.0) -> list[float]:
    """100 MB and a slope, with noise of 1 MB in which each sample resembles the one before."""
    rng, noise, out = Random(seed), 0.0, []
    for at in HALF_HOUR:
        noise = like * noise + rng.gauss(0, 1)
        out.append(100 + per_hour * at / 3600 + noise)
    return out


def test_an_exact_line_is_found_exactly():
    found = slope(HALF_HOUR, [100 + 7 * at / 3600 for at in HALF_HOUR])
    assert found.per_hour == pytest.approx(7)
    assert found.low == pytest.approx(7)
    assert found.high == pytest.approx(7)
    assert found.rises(1)


@pytest.mark.parametrize(
    ("like", "wrongly_max"),
    [
        (0.0, 15),  # 2.5 % of 300 would be 7.5
        (0.6, 18),
        (0.9, 30),  # one MB of noise that lasts: the common formula is wrong 100 times and more
    ],
)
def test_noise_alone_is_rarely_taken_for_a_leak(like, wrongly_max):
    found = [slope(HALF_HOUR, noisy(seed, 0.0, like=like)) for seed in range(300)]
    assert sum(one.rises() for one in found) <= wrongly_max


@pytest.mark.parametrize(
    ("per_hour", "like"),
    [
        (4.0, 0.0),  # 2 MB in half an hour, in noise of 1 MB
        (20.0, 0.8),
    ],
)
def test_a_leak_is_found_in_noise(per_hour, like):
    found = [slope(HALF_HOUR, noisy(seed, per_hour, like=like)) for seed in range(50)]
    assert all(one.rises(1) for one in found)


def test_the_truth_lies_within_the_bounds_as_often_as_they_say():
    found = [slope(HALF_HOUR, noisy(seed, 3.0)) for seed in range(400)]
    within = sum(one.low <= 3.0 <= one.high for one in found)
    assert 0.91 * 400 <= within <= 0.99 * 400


@pytest.mark.parametrize(
    ("freedom", "tabled"), [(4, 2.776), (10, 2.228), (30, 2.042), (120, 1.980)]
)
def test_student_s_t_is_that_of_the_tables(freedom, tabled):
    assert _t(0.975, freedom) == pytest.approx(tabled, rel=0.01)


def test_what_falls_does_not_rise():
    assert not slope(HALF_HOUR, noisy(1, -50.0)).rises()


def test_a_handful_of_samples_tells_nothing():
    assert slope(HALF_HOUR[:7], [1.0] * 7) is None
    assert slope([5.0] * 20, [1.0] * 20) is None
