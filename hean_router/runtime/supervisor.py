"""Tasks that must not die unheard: started again, each death named, and counted.

A task of ours that ends by a fault of our own is started again after a while that doubles, from a
second to a minute, and begins at a second once it has lived for a minute.  Whoever keeps it is
told each time; with `often` once it has died `OFTEN` times within `WITHIN_S`: then it is no
accident, and what depends on it is to be shut.  What can never run (`ConfigError`,
`CommandError`) is not tried again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from hean_router.domain.errors import CommandError, ConfigError

log = logging.getLogger(__name__)

OFTEN, WITHIN_S = 5, 60.0
FIRST_S, MOST_S = 1.0, 60.0
AGAIN_S = 1.0


class Died(Protocol):
    """Hears of a death."""

    def __call__(self, name: str, why: str, *, often: bool) -> None:
        """`why` is one line; must not raise."""
        ...


async def kept(name: str, work: Callable[[], Awaitable[None]], died: Died) -> None:
    """Run `work` until it returns or this is cancelled, however often it fails.

    Raises `ConfigError` and `CommandError` as they come.
    """
    loop = asyncio.get_running_loop()
    deaths: deque[float] = deque(maxlen=OFTEN)
    wait_s = FIRST_S
    while True:
        began_s = loop.time()
        try:
            return await work()
        except (ConfigError, CommandError):
            raise
        except Exception as fault:
            log.exception("a fault of our own: %s died", name)
            now_s = loop.time()
            deaths.append(now_s)
            often = len(deaths) == OFTEN and now_s - deaths[0] <= WITHIN_S
            died(name, f"{type(fault).__name__}: {fault}"[:300], often=often)
            if now_s - began_s >= WITHIN_S:
                wait_s = FIRST_S
        await asyncio.sleep(wait_s)
        wait_s = min(MOST_S, wait_s * 2)


async def ended(tasks: Sequence["asyncio.Task[None]"]) -> list[Exception]:
    """Cancel them until they have ended; the faults with which some did.

    Again each second: a library may make another error of a cancellation, which whoever tries
    again after errors then takes for one (a database driver, at its connect).
    """
    left = set(tasks)
    while left:
        for task in tasks:
            if task in left:
                task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    faults = [None if task.cancelled() else task.exception() for task in tasks]
    return [fault for fault in faults if isinstance(fault, Exception)]
