"""A real router on four real simulators, each a process, found by clients as a person's is."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from hean_router.client import Client, calls, find

HEAN = (sys.executable, "-m", "hean_router.cli")
START_S = 60  # on a busy machine
OPENAPI = calls.get("/openapi.json")


class House(NamedTuple):
    """Where it is."""

    home: Path  # XDG_STATE_HOME
    state: Path
    venues: Path
    env: dict[str, str]
    pid: int
    api: str
    key: str

    @property
    def port(self):
        """That of the API."""
        return self.api.rpartition(":")[2]


@contextmanager
def house(folder):
    """Simulators and a router for as long as the block lasts; both must end well."""
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "home"), "PYTHONWARNINGS": "default"}
    env["HEAN_LIMITS__DUPLICATE_WINDOW_MS"] = "0"  # what is tested is not how fast one types
    venues, said = folder / "venues.json", folder / "run.err"
    started = []
    try:
        with venues.open("wb") as out:
            sims = subprocess.Popen(
                [*HEAN, "sim", "binance", "bybit", "kraken", "okx", "--seed", "5"],
                stdout=out,
                env=env,
            )
        started.append(sims)
        until(lambda: venues.read_bytes().endswith(b"\n"))
        with said.open("wb") as err:
            words = ["--venues-from", venues, "--state", folder / "state", "--mode", "live"]
            router = subprocess.Popen(
                [*HEAN, "run", *words, "--port", "0", "--json"],
                stdout=subprocess.PIPE,
                stderr=err,
                env=env,
            )
        started.append(router)
        first = orjson.loads(router.stdout.readline())
        with Client(first["api"], first["key"]) as client:
            # Ready means that some venue takes orders; Kraken tells its balances a little later.
            until(lambda: client.ready() and not client.balances()["unread"])
        # What is printed may trade; what the state file holds may do everything.
        first["key"] = find(folder / "state").key
        yield House(folder / "home", folder / "state", venues, env, router.pid, **first)
    finally:
        for process in reversed(started):
            process.terminate()
            process.communicate(timeout=30)
    assert router.returncode == 0, said.read_text()
    for word in ("Traceback", "Unclosed", "never awaited", "ResourceWarning"):
        assert word not in said.read_text(), said.read_text()


def until(true):
    """Wait for it, within reason."""
    deadline = time.monotonic() + START_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)
