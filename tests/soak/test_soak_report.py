"""The verdict on a soak: which course of figures passes, and what each failure is called."""

import json
from dataclasses import replace
from random import Random

import pytest

from tests.soak import report, soak
from tests.soak.flow import Flow
from tests.soak.samples import Page, Process, Sample

WARM_UP_S = 600.0


def course(**per_hour: float) -> list[Sample]:
    """An hour of samples; named figures of the router rise by so much an hour after the warm-up."""
    rng, out = Random(1), []
    for n in range(361):
        at_s = 10.0 * n
        hours = max(0.0, at_s - WARM_UP_S) / 3600
        warm = min(at_s, WARM_UP_S) / WARM_UP_S  # what starts up grows, and is not judged
        router = Process(
            rss=120 + 30 * warm + per_hour.get("rss", 0) * hours + rng.gauss(0, 0.05),
            own=90.0,
            fds=int(40 + rng.randint(0, 8) + per_hour.get("fds", 0) * hours),
            threads=7,
            cpu_s=0.2 * at_s,
        )
        out.append(
            Sample(
                at_s=at_s,
                router=router,
                sim=replace(router, rss=80 + 500 * at_s / 3600),
                tasks=int(98 + per_hour.get("tasks", 0) * hours),
                journal=at_s / 100,
                query=at_s / 120,
                log=at_s / 200,
                updates=int(500 * at_s),
                parents=int(5 * at_s),
                unknown=0,
                open=20,
                not_live=0,
            )
        )
    return out


def flow(*, asked=1000, taken=990, skipped=0, faults=(), silent=None) -> Flow:
    """One that is over."""
    found = Flow(None, ("BTC/USDT",), 5.0, 1)
    found.asked, found.skipped, found.faults = asked, skipped, list(faults)
    found.taken = [f"s{n}" for n in range(taken)]
    found.silent.update(silent or {})
    found.latency.took("submit", 0.0)
    return found


@pytest.mark.parametrize(
    ("per_hour", "flowed", "checker", "wrong"),
    [
        ({}, {}, "", None),
        ({"rss": 0.3}, {}, "", None),  # less than anybody would notice in a week
        ({"rss": 4.0}, {}, "", "router RSS rises"),
        ({"rss": -20.0}, {}, "", None),
        ({"fds": 12}, {}, "", "router descriptors rises"),  # a socket every five minutes
        ({"tasks": 12}, {}, "", "router tasks rises"),
        ({}, {}, "nothing_lost: child h1", "the history checker"),
        ({}, {"skipped": 3}, "", "answers too late"),
        ({}, {"taken": 800}, "", "only 800 of 1000"),
        ({}, {"silent": {"sent": 1}}, "", "no answer"),
        ({}, {"faults": ["KeyError('x')"]}, "", "fault of the soak's own"),
    ],
)
def test_what_passes_and_what_does_not(per_hour, flowed, checker, wrong, tmp_path):
    samples, driven = course(**per_hour), flow(**flowed)
    verdict = report.judge(samples, WARM_UP_S, driven, checker)
    if wrong is None:
        assert not verdict.wrong, verdict.wrong
    else:
        assert len(verdict.wrong) == 1, verdict.wrong
        assert wrong in verdict.wrong[0]
    page = report.write(tmp_path, verdict, samples, WARM_UP_S, driven, "checked").read_text()
    assert ("**PASSED**" if wrong is None else "**FAILED**") in page
    assert "| simulators RSS, MB | 80.0 |" in page, "told, and not judged"
    told = json.loads((tmp_path / "soak.json").read_text())
    assert told["passed"] is (wrong is None)
    assert len(told["samples"]) == len(samples)


def test_a_short_run_says_that_it_proves_little():
    samples = course()[:66]  # one minute after the warm-up
    verdict = report.judge(samples, WARM_UP_S, flow(), "")
    assert not verdict.wrong
    assert any("soak for longer" in note or "too few" in note for note in verdict.notes)


def test_the_page_of_metrics_is_read():
    page = Page('# HELP a b\na{x="1",y="q"} 2.0\na{x="2"} 0.0\nb 7.0\naa 100.0\n')
    assert page.sum("a") == 2
    assert page.count("a", 0.0) == 1
    assert page.sum("b") == 7
    assert page.sum("none") == 0


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_soak_of_seconds_runs_to_its_end_and_its_page(tmp_path, capsys):
    """What is soaked for an hour by hand is not broken on the day it is wanted."""
    words = ["--minutes", "0.12", "--every", "1", "--warm-up", "1", "--folder", str(tmp_path)]
    assert soak.main(words) == 0, capsys.readouterr().out[-3000:]
    found = json.loads((tmp_path / "soak.json").read_text())
    assert found["taken"] > 25
    assert found["samples"][-1]["tasks"] > 10, "the router tells its tasks"
    assert found["samples"][-1]["updates"] > found["samples"][0]["updates"]
    assert "parents" in found["checker"], "the history checker has judged it"
