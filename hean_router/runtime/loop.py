"""Running a program to its end: uvloop where it is installed, signals as an orderly stop."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

# After the first signal, until the end: a task that does not end, or a loop that hangs, must not
# leave a process behind that neither trades nor ends.  The journal is as after kill -9, that is
# whole.
END_S = 30
TELL_S = 25  # when to say what it still waits for


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the program has been wound up in order."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end.  Raises `Interrupted` when a signal ended it.

    The first signal cancels `main`, which winds up; a second one ends the process at once, and so
    does the system's alarm (exit by SIGALRM) should it not have ended `END_S` later.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_until_signal(main))


def loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    """The loop of uvloop where that is installed; None for asyncio's own."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return factory


async def _until_signal(main: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.get_running_loop()
    task = loop.create_task(main)
    came: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        came.append(number)
        if len(came) > 1:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        signal.alarm(END_S)  # of the system: it comes even if this loop never has its turn again
        loop.call_later(TELL_S, _tell_who_waits)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if came:
            raise Interrupted(came[0].name) from None
        raise
    finally:
        signal.alarm(0)
        # uvloop leaves its handlers behind: what comes after us would be deaf.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def _tell_who_waits() -> None:
    """The end is late: say what does not end, and where it is."""
    tasks = sorted(f"{task.get_name()} at {_where(task)}" for task in asyncio.all_tasks())
    log.error("winding up takes long; what has not ended: %s", "; ".join(tasks)[:4_000])


def _where(task: "asyncio.Task[Any]") -> str:
    """The innermost of what a task awaits."""
    at: Any = task.get_coro()
    found = []
    while at is not None and (frame := getattr(at, "cr_frame", None)) is not None:
        found.append(f"{at.__qualname__}:{frame.f_lineno}")
        at = at.cr_await
    return " > ".join(found) or "its end"
