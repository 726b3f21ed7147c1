"""The loop itself: time, what it finds wrong, how it ends."""

import asyncio
import contextvars
import gc
import random
import signal
import threading
import time
import warnings

import pytest

from hean_router.sim.virtual import (
    Deadlock,
    Livelock,
    OutOfTime,
    Seeds,
    TaskDeaths,
    Trace,
    Undying,
    run,
)

HOUR_S = 3600


# -- time ------------------------------------------------------------------------------------


def test_a_year_of_sleep_takes_no_time():
    async def main(world):
        start = world.loop.time()
        await asyncio.sleep(365 * 24 * HOUR_S)
        return world.loop.time() - start

    before = time.perf_counter()
    assert run(main, 1).value == pytest.approx(365 * 24 * HOUR_S, abs=1e-6)
    assert time.perf_counter() - before < 1


@pytest.mark.parametrize(
    ("delays_s", "woken_ns"),
    [
        ([0.1], [100_000_000]),  # a fraction no float holds exactly: still the whole nanosecond
        ([0.3, 0.1, 0.2], [100_000_000, 200_000_000, 300_000_000]),
        ([1e-9], [1]),  # the smallest step
        ([86_400.000_001], [86_400_000_001_000]),
    ],
)
def test_timers_fire_at_their_nanosecond_in_order(delays_s, woken_ns):
    async def main(world):
        start_ns, woken = world.now_ns, []

        async def sleeper(delay_s):
            await asyncio.sleep(delay_s)
            woken.append(world.now_ns - start_ns)

        async with asyncio.TaskGroup() as group:
            for delay_s in delays_s:
                group.create_task(sleeper(delay_s))
        return woken

    assert run(main, 1).value == woken_ns


def test_timeouts_are_virtual():
    async def main(world):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10 * HOUR_S):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 5)

    assert run(main, 1).elapsed_ns >= 10 * HOUR_S * 10**9


# -- what it finds wrong ---------------------------------------------------------------------


def test_a_deadlock_names_who_waits_and_where():
    async def consumer(queue):
        await queue.get()

    async def main(world):
        task = asyncio.create_task(consumer(asyncio.Queue()), name="books of okx")
        await task

    with pytest.raises(Deadlock, match=r"books of okx: .*consumer > .*get at queues.py:\d+"):
        run(main, 1)


def test_a_live_timer_is_no_deadlock_but_a_limit_ends_it():
    async def main(world):
        async def heartbeat():
            while True:  # noqa: ASYNC110  it is what is tested
                await asyncio.sleep(1)

        world.spawn("router", heartbeat(), name="heartbeat")
        await asyncio.Event().wait()

    with pytest.raises(OutOfTime, match=r"heartbeat"):
        run(main, 1, limit_s=100)


def test_a_livelock_is_found():
    async def main(world):
        while True:  # noqa: ASYNC110  it is what is tested
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match=r"time stands still .*\n.*main"):
        run(main, 1)


def test_a_task_that_dies_unseen_fails_the_run():
    async def reader():
        raise LookupError("book of okx")

    async def main(world):
        world.spawn("router", reader(), name="reader")
        await asyncio.sleep(1)
        return "fine"

    with pytest.raises(TaskDeaths) as caught:
        run(main, 1)
    (death,) = caught.value.exceptions
    assert isinstance(death, LookupError)
    assert "task reader" in death.__notes__[0]
    outcome = run(main, 1, strict=False)
    assert outcome.value == "fine"
    assert ["reader" in fault.message for fault in outcome.faults] == [True]


def test_a_task_that_dies_seen_does_not():
    async def reader():
        raise LookupError

    async def main(world):
        task = world.spawn("router", reader())
        await asyncio.sleep(1)
        with pytest.raises(LookupError):
            await task
        assert isinstance((await asyncio.gather(reader(), return_exceptions=True))[0], LookupError)

    assert run(main, 1).faults == ()


def test_a_callback_that_fails_fails_the_run():
    async def main(world):
        world.loop.call_later(5, lambda: 1 / 0)
        await asyncio.sleep(10)

    with pytest.raises(TaskDeaths):
        run(main, 1)


def test_what_main_raises_comes_out_with_the_rest_as_notes():
    async def reader():
        raise LookupError("other")

    async def main(world):
        world.spawn("router", reader(), name="reader")
        await asyncio.sleep(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        run(main, 1)
    assert "reader" in caught.value.__notes__[0]


def test_keyboard_interrupt_still_winds_down():
    ended = []

    async def worker():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("worker")

    async def main(world):
        world.spawn("router", worker())
        await asyncio.sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(main, 1)
    assert ended == ["worker"]


# -- ending ----------------------------------------------------------------------------------


def test_the_end_cancels_every_task_and_lets_it_clean_up():
    ended = []

    async def worker(number):
        try:
            await asyncio.sleep(10**9)
        finally:
            await asyncio.sleep(30)  # cleaning up may take its (virtual) time
            ended.append(number)

    async def main(world):
        for number in range(3):
            world.spawn("router", worker(number))
        await asyncio.sleep(0)
        return world.loop

    loop = run(main, 1).value
    assert ended == [0, 1, 2]
    assert loop.is_closed()
    assert asyncio.all_tasks(loop) == set()


def test_tasks_started_while_ending_are_ended_too():
    async def child():
        await asyncio.sleep(10**9)

    async def worker(world):
        try:
            await asyncio.sleep(10**9)
        finally:
            world.spawn("router", child())

    async def main(world):
        world.spawn("router", worker(world))
        await asyncio.sleep(1)
        return world.loop

    assert asyncio.all_tasks(run(main, 1).value) == set()


def test_tasks_started_by_the_last_callbacks_are_ended_too():
    async def main(world):
        class Careful(asyncio.Protocol):
            def connection_lost(self, exc):
                world.spawn("router", asyncio.sleep(10**9))

        await world.loop.create_server(Careful, "127.0.0.1", 9)
        await world.loop.create_connection(asyncio.Protocol, "127.0.0.1", 9)
        return world.loop

    outcome = run(main, 1)
    assert outcome.left_open == ("router>router#1",)
    assert asyncio.all_tasks(outcome.value) == set()
    gc.collect()


def test_a_task_that_refuses_to_end_is_named():
    async def stubborn():
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    async def main(world):
        world.spawn("router", stubborn(), name="stubborn")
        await asyncio.sleep(1)

    with pytest.raises(Undying, match="stubborn"):
        run(main, 1)
    gc.collect()  # and nothing is left to complain in the garbage collector


def test_cancelling_from_inside_leaves_nothing():
    async def main(world):
        task = asyncio.current_task()
        world.loop.call_later(1, task.cancel)
        await asyncio.sleep(10)

    with pytest.raises(asyncio.CancelledError):
        run(main, 1)


def test_async_generators_are_closed():
    closed = []

    async def numbers():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    held = []

    async def main(world):
        stream = numbers()
        held.append(stream)
        await anext(stream)

    run(main, 1)
    assert closed == [True]


def test_two_runs_in_one_process_are_alike_and_leave_no_warning():
    async def main(world):
        tasks = {world.loop.create_task(asyncio.sleep(1, number)) for number in range(20)}
        done, _ = await asyncio.wait(tasks)
        # The order of a set of tasks: by address in asyncio, by number here.
        return [task.result() for task in done], sorted(t.get_name() for t in tasks)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = run(main, 1), run(main, 1)
        gc.collect()
    assert first.value == second.value
    assert first.digest == second.digest


def test_sets_of_futures_have_one_order():
    def order(junk):
        async def main(world):
            kept, futures = [], []
            for number in range(60):
                kept.append(bytearray(junk * number))
                futures.append(world.loop.create_future())
            for future in futures:
                future.set_result(None)
            done, _ = await asyncio.wait(set(futures))
            return [futures.index(future) for future in done]

        return run(main, 1).value

    assert order(0) == order(64) == order(1000)


def test_finalizers_run_at_the_same_moment_in_every_run():
    def collected_at(junk):
        async def main(world):
            class Cycle:
                def __init__(self):
                    self.me = self

                def __del__(self):
                    world.note("cycle", "collected")

            Cycle()
            kept = [[] for _ in range(junk)]  # would call the collector at once, or not
            for _ in range(10_000):
                await asyncio.sleep(0.1)
            assert len(kept) == junk

        return run(main, 1)

    one, other = collected_at(1), collected_at(20_000)
    assert one.events > 0
    assert one.digest == other.digest
    assert gc.isenabled()


def test_a_stall_makes_everything_late():
    async def main(world):
        loop, fired = world.loop, []
        start_s = loop.time()
        loop.call_later(1, lambda: fired.append(loop.time() - start_s))
        loop.call_later(2, lambda: fired.append(loop.time() - start_s))
        loop.stall(20)
        await asyncio.sleep(1)
        return fired

    assert run(main, 1).value == pytest.approx([20, 20])


def test_a_run_inside_a_run_is_refused():
    async def main(world):
        async def inner(_):
            return 1

        with pytest.raises(RuntimeError, match="another loop is running"):
            run(inner, 1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the inner coroutine is never awaited
        run(main, 1)


# -- executor, threads, signals, TLS ---------------------------------------------------------


def test_an_executor_runs_inline():
    async def main(world):
        before_ns = world.now_ns
        here = threading.get_ident()
        assert await asyncio.to_thread(threading.get_ident) == here
        assert await world.loop.run_in_executor(None, int, "7") == 7
        with pytest.raises(ValueError, match="invalid literal"):
            await world.loop.run_in_executor(None, int, "x")
        assert world.now_ns == before_ns

    run(main, 1)


def test_another_thread_is_refused():
    async def main(world):
        caught = []

        def other():
            try:
                world.loop.call_soon_threadsafe(print)
            except RuntimeError as exc:
                caught.append(str(exc))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        done = asyncio.Event()
        world.loop.call_soon_threadsafe(done.set)  # from its own thread it is call_soon
        await done.wait()
        return caught

    assert "one thread" in run(main, 1).value[0]


def test_signals_belong_to_a_host():
    async def main(world):
        heard = []
        loop = world.loop
        loop.add_signal_handler(signal.SIGTERM, heard.append, "router")
        with world.net.on("okx"):
            loop.add_signal_handler(signal.SIGTERM, heard.append, "okx")
        assert world.signal("okx", signal.SIGTERM)
        await asyncio.sleep(1)
        assert heard == ["okx"]
        assert world.signal("router", signal.SIGTERM)
        await asyncio.sleep(1)
        assert loop.remove_signal_handler(signal.SIGTERM)
        assert not loop.remove_signal_handler(signal.SIGTERM)
        assert not world.signal("router", signal.SIGTERM)
        return heard

    assert run(main, 1).value == ["okx", "router"]


def test_tls_is_refused_with_the_way_out():
    async def main(world):
        loop, protocol = world.loop, asyncio.Protocol
        for attempt in (
            loop.create_connection(protocol, "okx", 443, ssl=True),
            loop.create_server(protocol, "0.0.0.0", 443, ssl=object()),
            loop.start_tls(None, None, None),
        ):
            with pytest.raises(NotImplementedError, match="use ws:// and http://"):
                await attempt

    run(main, 1)


# -- randomness, trace -----------------------------------------------------------------------


def test_a_component_s_draws_do_not_shift_another_s():
    quiet, busy = Seeds(3), Seeds(3)
    for _ in range(1000):
        busy.rng("okx").random()
    assert quiet.rng("kraken").random() == busy.rng("kraken").random()
    assert Seeds(3).rng("kraken").random() != Seeds(4).rng("kraken").random()
    assert Seeds(3).rng("kraken").random() != Seeds(3).rng("okx").random()
    assert Seeds(3).rng("a") is not Seeds(3).rng("a")
    assert quiet.rng("kraken") is quiet.rng("kraken"), "asking again goes on, it does not restart"


def test_seeds_are_the_same_in_every_version():
    # Saved failing seeds must stay failing: this figure may never change.
    assert Seeds(7).number("okx") == 25002058158436605791684926548396417583


def test_the_module_s_own_generator_is_seeded_and_restored():
    async def main(world):
        return random.random()

    random.seed(99)
    before = random.getstate()
    assert run(main, 5).value == run(main, 5).value != run(main, 6).value
    assert random.getstate() == before


def test_the_trace_hash_sees_time_component_text_and_order():
    def digest(*events):
        trace = Trace()
        for event in events:
            trace.add(*event)
        return trace.hexdigest()

    base = digest((1, "a", "b"), (2, "c", "d"))
    assert base == digest((1, "a", "b"), (2, "c", "d"))
    different = {
        base,
        digest((1, "a", "b"), (3, "c", "d")),
        digest((1, "x", "b"), (2, "c", "d")),
        digest((1, "a", "b"), (2, "c", "x")),
        digest((2, "c", "d"), (1, "a", "b")),
        digest((1, "a", "b")),
        digest((1, "a b", ""), (2, "c", "d")),
        digest((1, "a", "b"), (2, "c", "d"), (2, "c", "d")),
    }
    assert len(different) == 8


def test_asking_for_the_hash_in_between_changes_nothing():
    asked, not_asked = Trace(), Trace()
    for number in range(3000):  # more than one batch
        asked.add(number, "a", "b")
        not_asked.add(number, "a", "b")
        if number % 7 == 0:
            asked.hexdigest()
    assert asked.hexdigest() == not_asked.hexdigest()


def test_lines_can_be_seen():
    lines = []
    trace = Trace(keep=2, sink=lines.append)

    async def main(world):
        for number in range(5):
            await asyncio.sleep(1)
            world.note("me", str(number))

    run(main, 1, trace=trace)
    assert lines == [f"{1001 + number}.000000000 me {number}" for number in range(5)]
    assert trace.tail() == lines[-2:]


def test_context_variables_reach_callbacks():
    variable = contextvars.ContextVar("variable")

    async def main(world):
        variable.set("mine")
        seen = []

        class Reader(asyncio.Protocol):
            def data_received(self, data):
                seen.append(variable.get("none"))

        await world.loop.create_server(Reader, "127.0.0.1", 9)
        variable.set("client's")
        transport, _ = await world.loop.create_connection(asyncio.Protocol, "127.0.0.1", 9)
        transport.write(b"x")
        await asyncio.sleep(1)
        return seen

    assert run(main, 1).value == ["mine"]
