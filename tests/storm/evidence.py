"""What the seeds have shown, as a page: docs/EVIDENCE.md, made from what the runs wrote down.

    python -m tests.storm.evidence          make the page; exit code 1 if a fault was never hit

Runs append to `build/evidence/weather-PID.jsonl`; where a seed was run more than once its last run
counts.
"""

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.rivals import evidence as rivals
from tests.storm.menu import MENU, TEXTS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "evidence"
PAGE = ROOT / "docs" / "EVIDENCE.md"


def record(outcome: Any, digest: str, folder: Path = FOLDER) -> None:
    """Write one run down."""
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({**asdict(outcome), "digest": digest}, sort_keys=True)
    with (folder / f"weather-{os.getpid()}.jsonl").open("a") as file:
        file.write(f"{line}\n")


def read(folder: Path = FOLDER) -> dict[int, dict[str, Any]]:
    """The last run of every seed."""
    found: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("weather-*.jsonl"), key=lambda path: path.stat().st_mtime):
        for line in path.read_text().splitlines():
            run = json.loads(line)
            found[run["seed"]] = run
    return found


def natural(code: str) -> tuple[str, int]:
    """V2 before V10."""
    return code[0], int(code[1:])


def _sum(runs: list[dict[str, Any]], name: str) -> Counter[str]:
    out: Counter[str] = Counter()
    for run in runs:
        out.update(run[name])
    return out


def page(
    runs: list[dict[str, Any]], caught: dict[str, list[str]] | None = None
) -> tuple[str, list[str]]:
    """The page, and the faults that were never hit."""
    planned: Counter[str] = Counter(code for run in runs for code in run["planned"])
    hits = _sum(runs, "hits")
    struck: Counter[str] = Counter(c for run in runs for c, n in run["hits"].items() if n)
    missed = [code for code in sorted(MENU, key=natural) if not hits[code]]
    total = {name: sum(run[name] for run in runs) for name in ("parents", "children", "fills")}
    hours = sum(run["minutes"] for run in runs) / 60
    lines = [
        "# Evidence",
        "",
        "Made by `python -m tests.storm.evidence` from the last runs of `tests/storm`: the whole",
        "program on four simulated venues, one seed a run. A seed that is listed here ended with",
        "everything accounted for; one that did not is a failed test, and stays in",
        "`tests/storm/kept_seeds.py`. To see one again: `python -m tests.storm.weather SEED`.",
        "",
        f"- {len(runs)} seeds, {hours:.1f} virtual hours, "
        f"{sum(run['lives'] for run in runs)} lives of the router",
        f"- {total['parents']} orders, sent to venues as {total['children']}, "
        f"{total['fills']} fills; {sum(run['rows'] for run in runs)} journal rows replayed",
        f"- faults planned {sum(planned.values())}, struck {sum(hits.values())}",
        "",
        "## Faults",
        "",
        "By the names of the specification (V: a venue or the wire, P: our own process).",
        "",
        "| fault | what | planned | struck | seeds |",
        "|---|---|--:|--:|--:|",
    ]
    for code in sorted(MENU, key=natural):
        mark = "" if hits[code] else " **never: red**"
        lines.append(
            f"| {code} | {TEXTS[code]} | {planned[code]} | {hits[code]}{mark} | {struck[code]} |"
        )
    lines += ["", "## Invariants", "", "Evaluations, none of which failed.", ""]
    lines += ["| invariant | evaluated | seeds |", "|---|--:|--:|"]
    evaluated = _sum(runs, "invariants")
    where: Counter[str] = Counter(name for run in runs for name in run["invariants"])
    for name in sorted(evaluated, key=natural):
        lines.append(f"| {name} | {evaluated[name]} | {where[name]} |")
    if caught:
        lines += ["", "## Bugs put in on purpose", ""]
        lines += ["Each is found by the checker of its own invariant (`tests/mutants`).", ""]
        lines += ["| invariant | found |", "|---|---|"]
        for name in sorted(caught, key=natural):
            lines.append(f"| {name} | {', '.join(caught[name])} |")
    lines += ["", "## The history checker", "", "Imports nothing of the router.", ""]
    lines += ["| check | seeds |", "|---|--:|"]
    for name, count in sorted(_sum(runs, "checks").items()):
        lines.append(f"| {name} | {count} |")
    lines += ["", "## What people were told", "", "| incident | times |", "|---|--:|"]
    for name, count in sorted(_sum(runs, "told").items()):
        lines.append(f"| {name} | {count} |")
    return "\n".join(lines) + "\n", missed


def main() -> int:
    """The program."""
    runs = [run for _, run in sorted(read().items())]
    if not runs:
        print("no run has written anything down: make storm", file=sys.stderr)
        return 1
    mutants = FOLDER / "mutants.json"
    caught = json.loads(mutants.read_text()) if mutants.exists() else {}
    text, missed = page(runs, caught)
    if beside := rivals.read():
        text += "\n".join(["\n## Beside two plain executors\n", *rivals.page(beside), ""])
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text)
    print(f"{PAGE.relative_to(ROOT)}: {len(runs)} seeds")
    for code in missed:
        print(f"{code} was never hit: {TEXTS[code]}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
