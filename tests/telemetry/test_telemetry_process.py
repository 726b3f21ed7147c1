"""What the process takes is on the page, and moves with what it does."""

import asyncio
import os
import sys
import threading

import pytest

from hean_router.telemetry.metrics import Metrics
from hean_router.telemetry.process import ProcessMetrics


def page() -> dict[str, float]:
    """The figures without labels, by name."""
    metrics = Metrics(list, lambda: 0)
    metrics.add(ProcessMetrics())
    lines = [line for line in metrics.text().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_tasks_and_threads_are_counted():
    async def main():
        before = page()
        waiting = [asyncio.create_task(asyncio.Event().wait()) for _ in range(7)]
        release = threading.Event()
        thread = threading.Thread(target=release.wait)
        thread.start()
        after = page()
        release.set()
        thread.join()
        for task in waiting:
            task.cancel()
        return before, after

    before, after = asyncio.run(main())
    assert after["hean_process_tasks"] - before["hean_process_tasks"] == 7
    assert after["hean_process_threads"] - before["hean_process_threads"] == 1


def test_without_a_loop_there_are_no_tasks_to_count():
    assert "hean_process_tasks" not in page()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells it on Linux alone")
def test_descriptors_and_memory_are_the_systems_figures():
    before = page()
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(5)]
    after = page()
    for one in opened:
        os.close(one)
    assert after["process_open_fds"] - before["process_open_fds"] == 5
    assert after["process_resident_memory_bytes"] > 1_000_000
