"""What the process itself takes: memory, descriptors, threads, tasks; read off at each scrape."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from prometheus_client import Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily


class ProcessMetrics:
    """Add it to the `Metrics` of a program that runs for long.

    `process_resident_memory_bytes`, `process_open_fds` and the like by Prometheus' own names, where
    the system tells them (Linux); threads and asyncio tasks everywhere.  What rises for hours
    leaks.
    """

    def __init__(self) -> None:
        self._system = ProcessCollector(registry=None)

    def collect(self) -> Iterator[Metric]:
        """Read everything off; tasks are those of the loop that asks."""
        yield from self._system.collect()
        yield GaugeMetricFamily(
            "hean_process_threads", "Threads of Python's", value=threading.active_count()
        )
        tasks = GaugeMetricFamily("hean_process_tasks", "Tasks on the event loop")
        with suppress(RuntimeError):  # asked from where no loop runs
            tasks.add_metric((), len(asyncio.all_tasks()))
        yield tasks


class LogMetrics:
    """What became of lines for people; `read` gives those that wait, were dropped, were refused."""

    def __init__(self, read: Callable[[], tuple[int, int, int]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Read everything off."""
        waiting, dropped, failed = self._read()
        yield GaugeMetricFamily("hean_log_waiting", "Lines that wait to be written", value=waiting)
        for name, text, count in (
            ("hean_log_dropped", "Lines that nobody read in time", dropped),
            ("hean_log_failed", "Writes of lines that the system refused", failed),
        ):
            yield CounterMetricFamily(name, text, count)
