"""Timers and rate windows against models too simple to be wrong."""

from hypothesis import given
from hypothesis import strategies as st

from hean_router.sim.pacing import FixedWindow, RollingWindow, Timers

steps = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 3)), max_size=60)


@given(steps, st.integers(1, 8), st.integers(1, 50))
def test_rolling_window_is_a_sum_over_the_span(history, limit, span_ns):
    window, taken, now_ns = RollingWindow(limit, span_ns), [], 0
    for wait_ns, cost in history:
        now_ns += wait_ns
        used = sum(c for t, c in taken if t > now_ns - span_ns)
        fits = used + cost <= limit
        assert window.take(now_ns, cost) == fits
        if fits:
            taken.append((now_ns, cost))
        elif cost <= limit:
            free_ns = window.free_at_ns(now_ns, cost)
            assert free_ns > now_ns
            for at_ns, expected in ((free_ns - 1, False), (free_ns, True)):
                used = sum(c for t, c in taken if t > at_ns - span_ns)
                assert (used + cost <= limit) == expected


@given(steps, st.integers(1, 8), st.integers(1, 50))
def test_fixed_window_is_a_sum_over_the_bucket(history, limit, span_ns):
    window, taken, now_ns = FixedWindow(limit, span_ns), [], 0
    for wait_ns, cost in history:
        now_ns += wait_ns
        taken.append((now_ns // span_ns, cost))  # refused ones count too
        used = sum(c for bucket, c in taken if bucket == now_ns // span_ns)
        assert window.take(now_ns, cost) == (used <= limit)
        assert window.used == used
        ends_ns = window.ends_at_ns(now_ns)
        assert now_ns < ends_ns <= now_ns + span_ns
        assert ends_ns % span_ns == 0


def test_no_limit_is_no_limit():
    for window in (RollingWindow(None, 1), FixedWindow(None, 1)):
        assert all(window.take(0, 1_000) for _ in range(1_000))
    assert RollingWindow(None, 1).free_at_ns(5) == 5


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.sampled_from("abcd"), st.integers(0, 20)),
            st.tuples(st.just("drop"), st.sampled_from("abcd")),
            st.tuples(st.just("due"), st.integers(0, 20)),
        ),
        max_size=50,
    )
)
def test_timers_agree_with_a_list(history):
    timers, model, count = Timers(), {}, 0
    for step in history:
        match step:
            case ("set", key, when_ns):
                count += 1
                timers.set(key, when_ns)
                model[key] = (when_ns, count)
            case ("drop", key):
                timers.drop(key)
                model.pop(key, None)
            case ("due", now_ns):
                due = sorted((at, key) for key, at in model.items() if at[0] <= now_ns)
                assert timers.due(now_ns) == [key for _, key in due]
                for _, key in due:
                    del model[key]
        first = min(model.values(), default=None)
        assert timers.wake_at_ns == (first and first[0])
        assert set(timers) == set(model)
        assert all((key in timers) == (key in model) for key in "abcd")
