"""Seeds of whole days: a hundred in every check of everything, a thousand in `make storm`."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.storm.evidence import record
from tests.storm.kept_seeds import KEPT
from tests.storm.menu import MENU, TEXTS
from tests.storm.weather import CALM_S, Plan, run

# A life that is killed closes nothing: what it left behind is collected some time later.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROOT = Path(__file__).resolve().parents[2]
HUNDRED, THOUSAND = range(1, 101), range(101, 1_001)
# Faults of the specification that no simulation can hit, and what stands in for them.
ELSEWHERE = {
    "V21": "units are fixed per venue: tests/connectors/test_*_orders.py",
    "P4": "a limit of memory ends a process as kill -9 does",
    "P11": "configuration is read once, at the start: tests/test_config.py",
    "P12": "needs two processes: tests/store/test_store_journal.py",
    "P13": "needs two programs: tests/store/test_store_tables.py",
}


def weathered(seed):
    outcome, digest = run(seed)
    record(outcome, digest)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", HUNDRED)
def test_a_hundred_seeds_add_up(seed):
    weathered(seed)


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", THOUSAND)
def test_a_thousand_seeds_add_up(seed):
    weathered(seed)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", sorted(set(KEPT) - {*HUNDRED}))
def test_a_seed_that_once_failed_holds(seed):
    weathered(seed)


SHORT = [seed for seed in range(1, 200) if Plan.of(seed).minutes < 2.4][:20]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_same_seed_is_the_same_run_in_another_process():
    def lines(hash_seed):
        words = [sys.executable, "-m", "tests.storm.weather", ",".join(map(str, SHORT)), "--lines"]
        env = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.Popen(
            words, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    first, again = lines("1"), lines("2")
    told, again_told = first.communicate()[0], again.communicate()[0]
    assert first.returncode == again.returncode == 0, told
    assert len(told.splitlines()) == len(SHORT) == 20
    assert told == again_told


def test_every_fault_of_the_specification_is_on_the_menu_or_accounted_for():
    named = {f"V{n}" for n in range(1, 27)} | {f"P{n}" for n in range(1, 15)}
    assert set(MENU) | set(ELSEWHERE) == named
    assert not set(MENU) & set(ELSEWHERE)
    assert set(TEXTS) == set(MENU)


def test_plans_are_as_promised():
    plans = [Plan.of(seed) for seed in range(1, 1_001)]
    counts = Counter(code for plan in plans for _, code, _ in plan.faults)
    for plan in plans:
        assert 2 <= plan.minutes <= 10
        assert 3 <= len(plan.faults) <= 12
        assert plan.updates_per_s <= 3
        assert all(at_s < plan.minutes * 60 - CALM_S for at_s, *_ in plan.faults)
    assert min(counts[code] for code in MENU) > 50
    hundred = {code for seed in HUNDRED for _, code, _ in Plan.of(seed).faults}
    assert hundred == set(MENU)
