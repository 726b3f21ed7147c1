"""The compiled twin beside the Python, over the same frames through the same real path.

Two processes, one a twin, take turns on each tape; figures are medians, the ratio is the median of
the rounds'.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.bench import meter
from tests.bench.tapes import NAMES
from tests.native.twins import needs_native

ROOT = Path(__file__).parents[2]
WIDTHS = (22, 8, 9, 9, 8)
ROUNDS, WARM = 5, 1
WORTH = 1.3  # what the twin must gain on frames that change a book, to be worth its keep

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600), needs_native]


@pytest.fixture(scope="module")
def twins():
    runs = {
        mode: subprocess.Popen(
            [sys.executable, "-m", "tests.bench.twin_turns"],
            cwd=ROOT,
            env=os.environ | {"HEAN_NATIVE": mode},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for mode in ("off", "require")
    }
    print("\n" + meter.row("µs a frame", "frames", "python", "native", "gain", widths=WIDTHS))

    def turn(mode, name, mix):
        run = runs[mode]
        run.stdin.write(f"{name}\t{mix}\n")
        run.stdin.flush()
        told = json.loads(run.stdout.readline())
        assert told["native"] == (mode == "require")
        return told

    yield turn
    for run in runs.values():
        run.stdin.close()
        run.stdout.close()
        run.wait()


@pytest.mark.parametrize("mix", ["all", "books"])
@pytest.mark.parametrize("name", NAMES)
def test_the_twin_earns_its_keep(name, mix, twins):
    python, native = [], []
    for number in range(WARM + ROUNDS):
        spec, twin = twins("off", name, mix), twins("require", name, mix)
        assert spec["tops"] == twin["tops"], "another book"
        if number >= WARM:
            python.append(spec["us"])
            native.append(twin["us"])
    gain = median(a / b for a, b in zip(python, native, strict=True))
    cells = f"{name}, {mix}", spec["frames"], median(python), median(native), gain
    print(meter.row(*cells, widths=WIDTHS))
    assert gain >= (WORTH if mix == "books" else 1) * (1 - meter.NOISE)
