"""Words for a terminal, a pipe or a file, written by a thread of their own.

A pipe that nobody reads, a full disk behind a log, a terminal that was stopped: a write to it waits
for ever, and an event loop that writes to it by itself waits with it, orders and cancels too.  Here
the line goes into a bounded queue and that is all; where it is full, lines are dropped and counted
(`hean_log_dropped_total`), and the next one that is written says how many.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

LINES_MAX = 10_000
LINE_MAX = 16_384  # characters of one: a trace fits, a page of HTML need not


class LogSink:
    """Lines on their way to a file descriptor.  `put` never waits and never fails.

    Made by whoever owns the descriptor; lines of one sink keep their order.
    """

    def __init__(self, fd: int, lines_max: int = LINES_MAX) -> None:
        self.dropped = 0  # lines that found no place
        self.failed = 0  # writes that the system refused: a full disk, a reader that has gone
        self._fd, self._max = fd, lines_max
        self._lines: deque[str] = deque()
        self._unsaid = 0  # of those dropped, not told of yet
        self._some = threading.Condition()
        self._closing = False
        # As a daemon: a write that never returns must not keep the process from its end.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Have a line written, some time."""
        with self._some:
            if len(self._lines) >= self._max:
                self.dropped += 1
                self._unsaid += 1
                return
            self._lines.append(line[:LINE_MAX])
            self._some.notify()

    @property
    def waiting(self) -> int:
        """How many lines wait."""
        return len(self._lines)

    def close(self, within_s: float = 1.0) -> None:
        """Write what waits, if it can be written in that time."""
        with self._some:
            self._closing = True
            self._some.notify()
        self._thread.join(within_s)

    def _run(self) -> None:
        while True:
            with self._some:
                while not self._lines and not self._closing:
                    self._some.wait()
                if not self._lines:
                    return
                lines, unsaid = list(self._lines), self._unsaid
                self._lines.clear()
                self._unsaid = 0
            if unsaid:
                lines.append(f"({unsaid} lines were dropped here: nobody read them)")
            self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, view) :]
            except OSError:
                self.failed += 1
                return


class SinkHandler(logging.Handler):
    """What is logged, as lines of a sink."""

    def __init__(self, sink: LogSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Never waits, never raises."""
        try:
            line = self.format(record)
        except Exception as fault:  # noqa: BLE001 - said in its place: a log is no reason to fail
            line = f"{record.name}: a line that could not be put into words: {fault!r}"
        self._sink.put(line)


@contextmanager
def logging_to(sink: LogSink, level: int = logging.WARNING) -> Iterator[None]:
    """Everything that is logged goes there for as long as the block lasts."""
    handler, root = SinkHandler(sink), logging.getLogger()
    handler.setLevel(level)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    try:
        yield
    finally:
        with suppress(ValueError):
            root.removeHandler(handler)
