"""Running a program to its end: uvloop where it is installed, signals as an orderly stop."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the program has been wound up in order."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end.  Raises `Interrupted` when a signal ended it.

    The first signal cancels `main`, which winds up; a second one ends the process at once.
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
        # uvloop leaves its handlers behind: what comes after us would be deaf.
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
