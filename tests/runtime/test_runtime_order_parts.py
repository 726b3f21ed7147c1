"""Parts of the desk, each by itself: the clock's offset, the nonce lane, the account's counters."""

import asyncio
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.order import Limited
from hean_router.domain.venue import RateLimit
from hean_router.runtime.clock_offset import ClockOffset
from hean_router.runtime.limits import KeyLimits, Limits
from hean_router.runtime.order_budget import OrderBudget
from hean_router.runtime.order_line import SocketLine
from hean_router.runtime.signing import BLOCK, NonceLane
from hean_router.sim import virtual
from hean_router.venue import registry
from hean_router.venue.order_contract import OrderLimits

SECOND, MS = 1_000_000_000, 1_000_000
BTC = SimpleNamespace(symbol="BTC-USDT")
ETH = SimpleNamespace(symbol="ETH-USDT")

trips = st.lists(
    st.tuples(
        st.integers(0, 40 * SECOND),  # until the question
        st.integers(0, 300 * MS),  # there
        st.integers(0, 300 * MS),  # and back
    ),
    min_size=1,
    max_size=12,
)


@given(
    trips, st.integers(-90 * SECOND, 90 * SECOND), st.sampled_from([1, MS, SECOND]),
    st.integers(-90, 90),
)  # fmt: skip
def test_the_true_offset_is_always_within_the_bound(trips, offset_ns, step_ns, ppm):
    """Whatever the way there and back takes, whatever the venue's clock shows, and drifts."""
    clock, began = ClockOffset(), 1_000_000 * SECOND
    now = began
    for wait_ns, there_ns, back_ns in trips:
        sent = now + wait_ns
        read = sent + there_ns
        got = read + back_ns
        true = read + offset_ns + (read - began) * ppm // 1_000_000
        clock.heard(sent, got, true // step_ns * step_ns)
        now = got
        told = clock.at(now)
        # Drift between reading and hearing is far below the resolution of what is asserted.
        real = offset_ns + (now - began) * ppm // 1_000_000
        assert abs(real - told.offset_ns) <= told.bound_ns + 100_000


def test_a_clock_of_whole_seconds_is_known_well_after_a_few_questions():
    clock, offset, now = ClockOffset(), 333_000_000, 1_000 * SECOND + 123 * MS
    for _ in range(6):
        there = now + 10 * MS
        clock.heard(now, now + 20 * MS, (there + offset) // SECOND * SECOND)
        now += 20 * MS
        now += clock.wait_ns(now)
    told = clock.at(now)
    assert told.bound_ns < 60 * MS
    assert abs(told.offset_ns - offset) <= told.bound_ns


def test_a_doubted_clock_believes_the_next_answer_alone():
    clock, now = ClockOffset(), 1_000 * SECOND
    clock.heard(now, now + MS, now + 1)
    clock.doubt()
    assert not clock.known
    assert abs(clock.offset_ns) < 2 * MS, "what was known still stamps cancels"
    clock.heard(now + SECOND, now + SECOND + MS, now + 9 * SECOND + 1)
    assert clock.known
    assert abs(clock.offset_ns - 8 * SECOND) < 2 * MS


def lane(granted=0, rising=True):
    asked = []
    made = NonceLane(1_000 * SECOND, granted, asked.append, rising=rising)
    made.reserve()
    return made, asked


def test_no_nonce_is_used_that_was_not_granted():
    async def story():
        made, asked = lane()
        taken = []

        async def use():
            async with made.turn(urgent=False):
                taken.append(made.take())

        first = asyncio.create_task(use())
        await asyncio.sleep(0)
        assert not taken
        made.grant(asked[-1])
        await first
        for _ in range(3 * BLOCK):
            async with made.turn(urgent=False):
                taken.append(made.take())
            made.grant(asked[-1])
        assert taken == sorted(set(taken))
        assert len(asked) > 3
        again, _ = lane(granted=asked[-1])
        again.grant(asked[-1] + BLOCK)
        assert again.take() > taken[-1], "a restart goes on above"

    asyncio.run(story())


def test_one_at_a_time_and_the_urgent_first():
    async def story():
        made, asked = lane()
        made.grant(asked[-1])
        order, gates = [], {}

        async def use(name, urgent):
            async with made.turn(urgent=urgent):
                order.append(name)
                gates[name] = asyncio.Event()
                await gates[name].wait()

        tasks = [asyncio.create_task(use("first", False))]
        await asyncio.sleep(0)
        tasks += [
            asyncio.create_task(use("question", False)),
            asyncio.create_task(use("gone", True)),
        ]
        tasks.append(asyncio.create_task(use("order", True)))
        await asyncio.sleep(0)
        tasks[2].cancel()
        for name in ("first", "order", "question"):
            await asyncio.sleep(0.001)
            assert order[-1] == name
            gates[name].set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert order == ["first", "order", "question"]

    asyncio.run(story())


def counters(now, factor=1.0, cost=1):
    limits = OrderLimits(
        buckets={"place {symbol}": RateLimit(10, 1_000), "all": RateLimit(15, 1_000)},
        place={"place {symbol}": 1, "all": 1},
        cancel={"all": cost},
    )
    return OrderBudget(limits, lambda: now[0], {}, factor)


def place_all(budget, instrument):
    count = 0
    while not budget.pay_order(instrument, by_rest=False):
        count += 1
    return count


@pytest.mark.parametrize(
    ("factor", "first", "second"),
    [
        (1.0, 8, 4),  # four fifths of its own 10; then of the 15 of all
        (2.0, 16, 8),
        (0.5, 4, 1),  # 7 of all
    ],
)
def test_instruments_have_counters_of_their_own_and_one_together(factor, first, second):
    budget = counters([SECOND], factor)
    assert (place_all(budget, BTC), place_all(budget, ETH)) == (first, second)


def test_cancels_have_what_orders_leave_and_time_brings_it_back():
    now = [SECOND]
    budget = counters(now)
    place_all(budget, BTC)
    place_all(budget, ETH)
    free = [budget.pay_cancel(BTC, by_rest=False) for _ in range(4)]
    assert [one is None for one in free] == [True, True, True, False]
    assert 0 < free[-1].wait_ns <= 1_250 * MS
    now[0] += 1_251 * MS
    assert budget.orders(BTC) == (8, "place {symbol}")
    assert budget.pay_cancel(BTC, by_rest=False) is None


def test_what_the_venue_limits_rests_and_the_other_kind_goes_on():
    now = [SECOND]
    budget = counters(now)
    budget.limited(BTC, Limited("10006", "too many", 3 * SECOND), cancel=False)
    assert budget.pay_order(BTC, by_rest=False)
    assert budget.pay_cancel(BTC, by_rest=False) is None
    now[0] += 3 * SECOND + 1
    assert not budget.pay_order(BTC, by_rest=False)


def test_no_limits_at_all():
    budget = counters([SECOND], None)
    assert all(not budget.pay_order(BTC, by_rest=False) for _ in range(1_000))


def test_what_a_venue_counts_by_key_is_shared_by_nobody_and_the_rest_by_all():
    spec = registry.connector("kraken").spec
    shared = Limits(spec, lambda: 0)
    mine, yours = KeyLimits(shared, spec, lambda: 0), KeyLimits(shared, spec, lambda: 0)
    url = "https://api.kraken.com"
    assert mine.rest(url, "private") is not yours.rest(url, "private")
    assert mine.rest(url, "private") is mine.rest(url, "private")
    assert mine.rest(url, "rest") is yours.rest(url, "rest") is shared.rest(url, "rest")
    assert mine.connects(url) is yours.connects(url) is shared.connects(url)


# ------------------------------------------------------------------ a line of sockets


class Connected:
    """A connection that lasts until it is cancelled."""

    def __init__(self):
        self.leaving, self.pending, self.refused, self.ended = asyncio.Event(), {}, None, False

    async def run(self):
        try:
            await asyncio.Event().wait()
        finally:
            self.ended = True


@pytest.mark.parametrize("after_s", [1, 0.01])  # while the next stands; before it is made
def test_what_fails_while_a_connection_retires_ends_the_line(after_s):
    """Nobody looked at it: the old connection stayed for ever, and nothing was told."""

    async def main(world):
        made = []

        async def make(line):
            made.append(Connected())
            line.stood(made[-1])
            return made[-1]

        async def fails(conn, task):
            await asyncio.sleep(after_s)
            raise RuntimeError("a fault of our own")

        loop = asyncio.get_running_loop()
        line = SocketLine(
            make,
            lambda *_: None,
            lambda: int(loop.time() * SECOND),
            Random(1),
            takes_orders=True,
            tells_events=True,
        )
        line._retire = fails
        running = asyncio.create_task(line.run())
        await asyncio.sleep(1)
        made[0].leaving.set()
        with pytest.raises(RuntimeError, match="of our own"):
            await asyncio.wait_for(running, 5)
        assert len(made) == 1 + (after_s == 1)
        assert all(one.ended for one in made)
        assert line.current is None

    assert not virtual.run(main, 1).left_open
