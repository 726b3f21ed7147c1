"""The whole market side under either twin: the same books, the same refusals."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native.twins import needs_native

ROOT = Path(__file__).parents[2]
pytestmark = needs_native


def traces(*args):
    """The trace of the specification and of the compiled twin, made at the same time."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.native.trace", *args],
            cwd=ROOT,
            env=os.environ | {"HEAN_NATIVE": mode},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for mode in ("off", "require")
    ]
    for run in runs:
        out, err = run.communicate()
        assert run.returncode == 0, err
        yield json.loads(out)


def equal(*args):
    spec, twin = traces(*args)
    assert (spec.pop("native"), twin.pop("native")) == (False, True)
    assert spec.keys() == twin.keys()
    for name, numbers in spec.items():
        assert len(numbers) > 300, f"{name}: hardly a trace"
        differ = [
            at for at, pair in enumerate(zip(numbers, twin[name], strict=True)) if len({*pair}) > 1
        ]
        assert not differ, f"{name}: {len(differ)} differ, the first is number {differ[0]}"


@pytest.mark.slow
def test_frames_good_and_spoilt_mean_the_same_to_both():
    equal()


@pytest.mark.slow
def test_recorded_frames_mean_the_same_to_both():
    equal("--recorded")
