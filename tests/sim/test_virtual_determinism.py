"""Same seed, same run: in another process, under another hash seed, at other addresses."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SCENARIO = HERE / "virtual_scenario.py"


def digest(seed, hash_seed):
    env = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(HERE.parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", SCENARIO, str(seed)],
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    hexdigest, events = done.stdout.split()
    assert int(events) > 8_000, "a run in which little happens proves little"
    return hexdigest


@pytest.mark.slow
def test_same_seed_same_trace_in_another_process():
    assert digest(1, 0) == digest(1, 1) == digest(1, 4242)


def test_another_seed_another_trace():
    assert digest(1, 0) != digest(2, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 13))
def test_same_seed_same_trace_over_seeds(seed):
    assert digest(seed, 1) == digest(seed, 2)
