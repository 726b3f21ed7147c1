"""The verdict on a soak, on one page: what rose, what was slow, what went wrong."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.soak.flow import Flow, share
from tests.soak.samples import Sample
from tests.soak.slope import Slope, slope

MEMORY_MB_PER_HOUR = 1.0  # more than that, surely, is a leak
FLAT_PER_HOUR = 2.0  # descriptors, threads, tasks


@dataclass(frozen=True)
class Figure:
    """Something that must not rise."""

    name: str
    of: Callable[[Sample], float]
    allowed: float | None  # an hour; None: told, and not judged
    unit: str = ""


FIGURES = (
    Figure("router RSS", lambda one: one.router.rss, MEMORY_MB_PER_HOUR, "MB"),
    Figure("router own memory", lambda one: one.router.own, None, "MB"),
    Figure("router descriptors", lambda one: one.router.fds, FLAT_PER_HOUR),
    Figure("router threads", lambda one: one.router.threads, FLAT_PER_HOUR),
    Figure("router tasks", lambda one: one.tasks, FLAT_PER_HOUR),
    Figure("simulators RSS", lambda one: one.sim.rss, None, "MB"),
    Figure("simulators descriptors", lambda one: one.sim.fds, None),
    Figure("journal", lambda one: one.journal, None, "MB"),
    Figure("query tables", lambda one: one.query, None, "MB"),
    Figure("venues' histories", lambda one: one.log, None, "MB"),
)


@dataclass
class Verdict:
    """What was found: `wrong` is empty if the soak passed."""

    lines: dict[str, Slope | None]
    wrong: list[str]
    notes: list[str]


def judge(samples: Sequence[Sample], warm_up_s: float, flow: Flow, checker: str) -> Verdict:
    """Hold the samples after the warm-up against what is allowed.

    `checker` is what the history checker found wrong; '' if nothing.
    """
    warm = [one for one in samples if one.at_s >= warm_up_s]
    at_s = [one.at_s for one in warm]
    lines = {one.name: slope(at_s, [one.of(sample) for sample in warm]) for one in FIGURES}
    wrong, notes = [], list[str]()
    for figure in FIGURES:
        line = lines[figure.name]
        if figure.allowed is None:
            continue
        if line is None:
            notes.append(f"{figure.name}: too few samples after the warm-up")
        elif line.rises(figure.allowed):
            wrong.append(f"{figure.name} rises: {_slope(line, figure.unit)}")
        elif line.high > figure.allowed:
            notes.append(
                f"{figure.name}: a rise of {figure.allowed:g} {figure.unit}/h cannot be excluded "
                f"({_slope(line, figure.unit)}): soak for longer"
            )
    if checker:
        wrong.append(f"the history checker: {checker}")
    wrong += [f"a fault of the soak's own: {fault}" for fault in flow.faults[:5]]
    if flow.skipped:
        wrong.append(f"{flow.skipped} parents were not even asked for: the router answers too late")
    if flow.asked and len(flow.taken) < 0.9 * flow.asked:
        wrong.append(f"only {len(flow.taken)} of {flow.asked} parents were taken")
    if flow.silent:
        wrong.append(f"no answer: {dict(flow.silent)}")
    if samples and samples[-1].unknown:
        notes.append(f"{samples[-1].unknown} orders were unknown at the last sample")
    return Verdict(lines, wrong, notes)


def _slope(line: Slope, unit: str) -> str:
    return f"{line.per_hour:+.2f} {unit}/h ({line.low:+.2f} to {line.high:+.2f})".replace(" /", "/")


def markdown(
    verdict: Verdict, samples: Sequence[Sample], warm_up_s: float, flow: Flow, checked: str
) -> str:
    """One page."""
    first, last = samples[0], samples[-1]
    took = max(1e-9, last.at_s - first.at_s)
    warm = [one for one in samples if one.at_s >= warm_up_s] or list(samples)
    out = [
        "# Soak",
        "",
        f"**{'PASSED' if not verdict.wrong else 'FAILED'}**: {last.at_s / 60:.1f} minutes, judged "
        f"after a warm-up of {warm_up_s / 60:.1f}; {(last.updates - first.updates) / took:.0f} "
        f"book updates and {(last.parents - first.parents) / took:.2f} parents a second; "
        f"{len(samples)} samples.",
        "",
        *[f"- wrong: {one}" for one in verdict.wrong],
        *[f"- note: {one}" for one in verdict.notes],
        "",
        "| figure | first | after warm-up | last | most | an hour (95 %) |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for figure in FIGURES:
        line = verdict.lines[figure.name]
        values = [figure.of(one) for one in samples]
        out.append(
            f"| {figure.name}{f', {figure.unit}' if figure.unit else ''} | {values[0]:.1f} | "
            f"{figure.of(warm[0]):.1f} | {values[-1]:.1f} | {max(values):.1f} | "
            f"{_slope(line, figure.unit) if line else 'too few samples'} |"
        )
    out += [
        "",
        "| asked over HTTP | count | p50 ms | p99 ms | longest ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for what, ms in sorted(flow.latency.all_ms.items()):
        out.append(
            f"| {what} | {len(ms)} | {share(ms, 0.5):.1f} | {share(ms, 0.99):.1f} | {max(ms):.0f} |"
        )
    parents = max(1, last.parents - first.parents)
    out += [
        "",
        f"Parents asked for: {flow.asked}, taken: {len(flow.taken)} ({_counts(flow.kinds)}); "
        f"refused: {_counts(flow.refused)}; without an answer: {_counts(flow.silent)}.",
        "",
        f"The journal grew by {(last.journal - first.journal) * 1e3 / parents:.2f} kB a parent; "
        f"the router took {(last.router.cpu_s - first.router.cpu_s) / took * 100:.0f} % of a core, "
        f"simulators {(last.sim.cpu_s - first.sim.cpu_s) / took * 100:.0f} %.  Most unknown at a "
        f"sample: {max(one.unknown for one in samples)}; samples with a book that was not live: "
        f"{sum(one.not_live > 0 for one in samples)}.",
        "",
        f"History checker: {checked}",
        "",
    ]
    return "\n".join(out)


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"


def write(
    folder: Path,
    verdict: Verdict,
    samples: Sequence[Sample],
    warm_up_s: float,
    flow: Flow,
    checked: str,
) -> Path:
    """`soak.md` and `soak.json` in `folder`; the first's path."""
    page = folder / "soak.md"
    page.write_text(markdown(verdict, samples, warm_up_s, flow, checked))
    lines = {name: vars(line) if line else None for name, line in verdict.lines.items()}
    found: dict[str, Any] = {
        "passed": not verdict.wrong,
        "wrong": verdict.wrong,
        "notes": verdict.notes,
        "slopes_per_hour": lines,
        "warm_up_s": warm_up_s,
        "asked": flow.asked,
        "taken": len(flow.taken),
        "refused": dict(flow.refused),
        "checker": checked,
        "samples": [one.to_json() for one in samples],
    }
    (folder / "soak.json").write_text(json.dumps(found, indent=1))
    return page
