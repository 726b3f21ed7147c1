"""A task that dies is started again, later and later, and never unheard."""

import asyncio
from itertools import pairwise

import pytest

from hean_router.domain.errors import ConfigError
from hean_router.runtime.supervisor import OFTEN, ended, kept
from hean_router.sim import virtual


class Ear:
    def __init__(self):
        self.heard = []

    def __call__(self, name, why, *, often):
        self.heard.append((asyncio.get_running_loop().time(), name, why, often))


def run(main):
    return virtual.run(lambda _world: main(), 1).value


def test_a_task_that_returns_is_not_started_again():
    async def main():
        ear, runs = Ear(), []

        async def work():
            runs.append(1)

        await kept("it", work, ear)
        assert (len(runs), ear.heard) == (1, [])

    run(main)


@pytest.mark.parametrize(
    ("lives_s", "pauses"),
    [
        (0.0, [1, 2, 4, 8, 16, 32, 60, 60]),  # it dies at once: later and later, a minute at most
        (61.0, [1, 1, 1, 1, 1, 1, 1, 1]),  # it lived for long: as if for the first time
    ],
)
def test_it_is_started_again_after_a_while_that_grows(lives_s, pauses):
    async def main():
        ear, begun = Ear(), []
        loop = asyncio.get_running_loop()

        async def work():
            begun.append(loop.time())
            await asyncio.sleep(lives_s)
            if len(begun) <= len(pauses):
                raise RuntimeError("oh")

        await kept("it", work, ear)
        gaps = [round(b - a - lives_s) for a, b in pairwise(begun)]
        assert gaps == pauses
        assert {(name, why) for _, name, why, _ in ear.heard} == {("it", "RuntimeError: oh")}

    run(main)


def test_who_dies_often_within_a_minute_is_told_so():
    async def main():
        ear, runs = Ear(), []

        async def work():
            runs.append(1)
            if len(runs) <= OFTEN:
                raise RuntimeError("oh")

        await kept("it", work, ear)
        assert [often for *_, often in ear.heard] == [False] * (OFTEN - 1) + [True]

    run(main)


def test_what_can_never_run_is_not_tried_again_and_who_is_cancelled_ends():
    async def main():
        ear = Ear()

        async def never():
            raise ConfigError("no such host", "name another")

        with pytest.raises(ConfigError):
            await kept("it", never, ear)
        task = asyncio.create_task(kept("it", lambda: asyncio.sleep(1e6), ear))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ear.heard

    run(main)


def test_a_task_that_takes_its_end_for_an_error_ends_all_the_same():
    async def main(_world):
        tried = []

        async def stubborn():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    tried.append(1)
                    if len(tried) > 2:
                        raise ValueError("and ends by a fault") from None

        tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.sleep(3600))]
        await asyncio.sleep(0)
        (fault,) = await ended(tasks)
        assert isinstance(fault, ValueError)
        assert len(tried) == 3

    virtual.run(main, 1)
