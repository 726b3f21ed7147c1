"""Judge a run from outside: what the venues wrote down against what the router says.

    python tests/checker/history.py --logs DIR --api FILE [--journal FILE]

`DIR` is what `hean sim --log` wrote, `FILE` the API's answers as `router_side.Api` describes them.
Prints what is wrong, one sentence a line with the name of the check; exit code 0: nothing is, 1:
something is, 2: a file cannot be read.  Imports nothing of the router.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # run as a program: the project's root is not where Python looks
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.checker import discipline
from tests.checker.checks import CHECKS, History, run
from tests.checker.router_side import read_api, read_journal
from tests.checker.venue_logs import Unreadable, read_logs

SHOWN = 50
assert discipline.CLOCKS_NS  # imported for the checks that it enlists


def read(logs: Path, api: Path, journal: Path | None = None) -> History:
    """Everything there is.  Raises `Unreadable`."""
    return History(
        read_logs(logs), read_api(api), None if journal is None else read_journal(journal)
    )


def summary(history: History) -> str:
    """What was looked at, in one line."""
    journal = "no journal" if history.journal is None else f"{len(history.journal)} rows"
    return (
        f"{len(history.logs)} venues, {len(history.api.parents)} parents, "
        f"{len(history.api.children)} children, {len(history.orders)} venue orders, "
        f"{len(history.fills)} fills, {journal}, {len(CHECKS)} checks"
    )


def main(words: Sequence[str] | None = None) -> int:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--logs", type=Path, required=True, help="folder of *.orders.ndjson")
    parser.add_argument("--api", type=Path, required=True, help="the API's answers, as JSON")
    parser.add_argument("--journal", type=Path, help="the router's journal file")
    args = parser.parse_args(words)
    try:
        history = read(args.logs, args.api, args.journal)
    except Unreadable as fault:
        print(f"cannot judge: {fault}", file=sys.stderr)
        return 2
    found = run(history)
    for text in found[:SHOWN]:
        print(text)
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")
    print(("all is well: " if not found else f"{len(found)} wrong: ") + summary(history))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
