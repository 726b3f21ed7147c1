"""The demo's simulated venues: a child process that takes orders about what shall go wrong."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from msgspec import structs

from hean_router.app import Target, announced
from hean_router.cli.demo_config import VENUES, DemoConfig
from hean_router.domain.errors import HeanError

START_S = 30.0  # for the child to listen
ANSWER_S = 10.0
ACCOUNT = "main"


class SimulatorsFailed(HeanError):
    """The child that simulates the venues did not start, or ended."""


class Venues:
    """Simulated venues that run."""

    def __init__(self, child: asyncio.subprocess.Process, targets: Sequence[Target]) -> None:
        self.targets = targets
        self._child = child
        self._lock = asyncio.Lock()

    async def order(self, line: str) -> dict[str, Any]:
        """One line of `sim.control`, and its answer; raises `SimulatorsFailed`."""
        assert self._child.stdin is not None, "a pipe was asked for"
        assert self._child.stdout is not None, "a pipe was asked for"
        async with self._lock:
            try:
                self._child.stdin.write(line.encode() + b"\n")
                await self._child.stdin.drain()
                async with asyncio.timeout(ANSWER_S):
                    answer: dict[str, Any] = orjson.loads(await self._child.stdout.readline())
            except (OSError, TimeoutError, orjson.JSONDecodeError) as fault:
                raise SimulatorsFailed(f"{line}: no answer ({type(fault).__name__})") from None
        if "error" in answer:
            raise SimulatorsFailed(answer["error"])
        return answer

    async def balances(self) -> dict[str, dict[str, str]]:
        """What our account has at every venue, by the venue's own count."""
        told = (await self.order("balances"))["balances"]
        return {venue: accounts[ACCOUNT] for venue, accounts in told.items()}


@asynccontextmanager
async def simulators(seed: int, config: DemoConfig, log: Path) -> AsyncIterator[Venues]:
    """Simulated venues in a child process; it ends with us, however we end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "hean_router.cli", "sim", *VENUES, "--seed", str(seed), "--control"),
        *("--tiers", config.tiers_text, "--stray-bps", str(config.stray_bps), "--log", str(log)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # A Ctrl-C in the terminal reaches the whole group: the venues must outlive our winding up.
        start_new_session=True,
        limit=1 << 20,
    )
    assert child.stdin is not None, "a pipe was asked for"
    assert child.stdout is not None, "a pipe was asked for"
    try:
        try:
            async with asyncio.timeout(START_S):
                known = announced(orjson.loads(await child.stdout.readline()))
        except (TimeoutError, orjson.JSONDecodeError) as fault:
            raise SimulatorsFailed(
                f"the simulators did not start ({type(fault).__name__})",
                f"try them alone: hean sim {' '.join(VENUES)}",
            ) from None
        yield Venues(child, [_ours(known[venue]) for venue in VENUES])
    finally:
        child.stdin.close()
        try:
            async with asyncio.timeout(5):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


def _ours(target: Target) -> Target:
    """One customer is enough here; the others of the simulator have no part in the story."""
    return structs.replace(target, accounts={ACCOUNT: target.accounts[ACCOUNT]})
