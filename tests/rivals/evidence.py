"""What the comparisons have shown, for the evidence page: written by the tests, read by the page.

Runs append to `build/evidence/rivals-PID.jsonl`; where a seed was run more than once its last run
counts.
"""

import json
import os
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.rivals.script import FAULTS

FOLDER = Path(__file__).resolve().parents[2] / "build" / "evidence"
NAMES = {
    "hean": "HEAN Router",
    "retry on timeout": "sends again on a timeout or 5xx",
    "three not found": "three \u201cnot found\u201d means failed",
}


def record(rows: Sequence[dict[str, Any]], folder: Path = FOLDER) -> None:
    """Write the rows of one seed down."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"rivals-{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps(rows, default=str, sort_keys=True) + "\n")


def read(folder: Path = FOLDER) -> dict[int, list[dict[str, Any]]]:
    """The last run of every seed."""
    found = {}
    for path in sorted(folder.glob("rivals-*.jsonl"), key=lambda path: path.stat().st_mtime):
        for line in path.read_text().splitlines():
            rows = json.loads(line)
            found[rows[0]["seed"]] = rows
    return found


def page(runs: dict[int, list[dict[str, Any]]]) -> list[str]:
    """Lines of Markdown: one row for each executor, summed over the seeds."""
    if not runs:
        return ["No comparison was run."]
    lines = [
        f"{len(runs)} seeds, the same asks and faults for each: {'; '.join(list(FAULTS)[1:])}.",
        "",
        "| Executor | asks | BTC asked | orders sent | BTC traded | asks doubled | asks lost "
        "| position off by, BTC |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, text in NAMES.items():
        rows = [row for run in runs.values() for row in run if row["executor"] == name]
        sums = {
            key: sum((Decimal(row[key]) for row in rows), Decimal(0))
            for key in ("asks", "asked", "sent", "traded", "position_error")
        }
        doubled, lost = (sum(len(row[key]) for row in rows) for key in ("doubled", "lost"))
        lines.append(
            f"| {text} | {sums['asks']} | {sums['asked']:.4f} | {sums['sent']} "
            f"| {sums['traded']:.4f} | {doubled} | {lost} | {sums['position_error']:.4f} |"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(page(read())))
