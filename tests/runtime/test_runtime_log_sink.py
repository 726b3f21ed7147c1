"""Lines for people: whoever does not read them keeps nobody waiting."""

import fcntl
import logging
import os
from contextlib import suppress

import pytest

from hean_router.runtime.log_sink import LINE_MAX, LogSink, SinkHandler, logging_to


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for fd in (reading, writing):
        with suppress(OSError):  # a test has closed it
            os.close(fd)


def all_of(reading):
    os.set_blocking(reading, False)
    found = b""
    while True:
        try:
            part = os.read(reading, 1 << 20)
        except BlockingIOError:
            return found.decode()
        if not part:
            return found.decode()
        found += part


def test_lines_come_in_order_and_whole(pipe):
    reading, writing = pipe
    sink = LogSink(writing)
    for number in range(100):
        sink.put(f"line {number}")
    sink.put("x" * (LINE_MAX + 5))
    sink.close()
    lines = all_of(reading).splitlines()
    assert lines[:100] == [f"line {number}" for number in range(100)]
    assert lines[100:] == ["x" * LINE_MAX]
    assert (sink.dropped, sink.failed, sink.waiting) == (0, 0, 0)


def test_a_pipe_that_nobody_reads_drops_lines_counts_them_and_says_so_afterwards(pipe):
    reading, writing = pipe
    room = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    sink = LogSink(writing, lines_max=100)
    for number in range(room // 50 + 10_000):
        sink.put(f"{number:099}")
    assert sink.dropped > 1_000
    assert sink.waiting <= 100
    read = b""
    for _ in range(200):  # somebody reads again
        read += os.read(reading, 1 << 20)
        if b"were dropped here" in read:
            break
        sink.put("and on")
    assert b"were dropped here: nobody read them" in read
    sink.close()


def test_the_end_waits_for_a_reader_no_longer_than_it_was_told(pipe):
    _, writing = pipe
    os.set_blocking(writing, True)
    sink = LogSink(writing, lines_max=1_000_000)
    for _ in range(20_000):
        sink.put("y" * 100)
    sink.close(within_s=0.05)  # returns, though the thread waits in its write
    assert sink.waiting or sink._thread.is_alive()


@pytest.mark.parametrize("what", ["/dev/full", "gone"])
def test_writes_that_are_refused_are_counted_and_no_more(what, pipe):
    reading, writing = pipe
    if what == "gone":
        os.close(reading)
        fd = writing
    else:
        fd = os.open(what, os.O_WRONLY)
    sink = LogSink(fd)
    sink.put("lost")
    sink.close()
    assert sink.failed == 1
    if fd != writing:
        os.close(fd)


def test_what_is_logged_goes_there_too(pipe):
    reading, writing = pipe
    sink = LogSink(writing)
    logger = logging.getLogger("hean_router.tests.sink")
    with logging_to(sink):
        logger.warning("number %d", 7)
        logger.info("not this")
        bad = logging.LogRecord("odd", logging.WARNING, __file__, 1, "%d", ("no number",), None)
        SinkHandler(sink).emit(bad)
    logger.warning("nor this")
    sink.close()
    lines = all_of(reading).splitlines()
    assert lines[0] == "WARNING hean_router.tests.sink: number 7"
    assert "could not be put into words" in lines[1]
    assert len(lines) == 2
    assert not [one for one in logging.getLogger().handlers if isinstance(one, SinkHandler)]
