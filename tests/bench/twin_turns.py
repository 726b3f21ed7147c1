"""One twin's turns: `python -m tests.bench.twin_turns` under a `HEAN_NATIVE`.

Reads `name<tab>mix` a line and answers each with one line of JSON: ns a frame, and the best prices
at the end.
"""

import gc
import json
import sys

from hean_router import native
from tests.bench.contenders import Ours
from tests.bench.tapes import tape

REPEATS_UP_TO = 3_000  # a capture of a second is read several times


def turn(name: str, mix: str) -> dict[str, object]:
    """Read a tape once, or as often as it takes."""
    whole = tape(name)
    one = whole if mix == "all" else whole.books_only()
    count = len(one.frames)
    repeats = max(1, REPEATS_UP_TO // count)
    gc.collect()
    taken = 0
    for _ in range(repeats):
        ours = Ours(one)
        taken += ours.read(one.frames, one.book_of)
    return {
        "native": native.status()[0],
        "frames": count,
        "us": taken / repeats / count / 1_000,
        "tops": ours.tops(),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(turn(*line.rstrip("\n").split("\t"))), flush=True)
