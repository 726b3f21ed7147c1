"""What keeps the program simulable: no hidden clock, die or thread anywhere in the source.

`ruff` bans the clocks by name as well; this test also sees module-level randomness, threads and
libraries that bring their own.  An exception stands in the table below, with its reason.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BANNED = {
    "time.time": "the wall clock is handed in",
    "time.time_ns": "the wall clock is handed in",
    "time.monotonic": "time is the loop's, or handed in",
    "time.monotonic_ns": "time is the loop's, or handed in",
    "time.sleep": "it would stop everything",
    "datetime.datetime.now": "the wall clock is handed in",
    "datetime.datetime.utcnow": "the wall clock is handed in",
    "datetime.datetime.today": "the wall clock is handed in",
    "datetime.date.today": "the wall clock is handed in",
    "uuid.uuid1": "ids come from a passed generator",
    "uuid.uuid4": "ids come from a passed generator",
    "os.urandom": "randomness is a passed random.Random",
    "secrets": "randomness is a passed random.Random",
    "random.SystemRandom": "it cannot be seeded",
    "threading": "a thread finishes at an unknown time",
    "asyncio.to_thread": "a thread finishes at an unknown time",
    "asyncio.run_coroutine_threadsafe": "a thread finishes at an unknown time",
    "concurrent.futures": "a thread finishes at an unknown time",
    "multiprocessing": "a process finishes at an unknown time",
    "aiosqlite": "it owns a thread",
    "picows": "it resolves and connects by itself, past the virtual loop",
} | {
    f"random.{name}": "the module's generator is everybody's: pass a random.Random"
    for name in ("random", "randint", "randrange", "choice", "choices", "sample", "shuffle",
                 "uniform", "gauss", "expovariate", "getrandbits", "randbytes", "seed")
}  # fmt: skip

ALLOWED = {
    ("hean_router/runtime/clock.py", "time.time_ns"): "the one file that reads a clock",
    ("hean_router/runtime/clock.py", "time.time"): "the one file that reads a clock",
    ("hean_router/runtime/clock.py", "time.monotonic_ns"): "the one file that reads a clock",
    ("hean_router/runtime/clock.py", "time.monotonic"): "the one file that reads a clock",
    ("hean_router/sim/virtual.py", "random.seed"): "seeds libraries that use it, and restores it",
    ("hean_router/sim/virtual_loop.py", "threading"): "asks which thread it is, to refuse others",
    ("hean_router/telemetry/process.py", "threading"): "counts threads, and starts none",
    ("hean_router/runtime/log_sink.py", "threading"): "writes that may wait for ever; `run` only",
    # Secrets and names that must not be guessed or met twice; a simulation hands in its own.
    ("hean_router/office.py", "os.urandom"): "API keys; handed in by simulations",
    ("hean_router/store/journal_file.py", "os.urandom"): "an installation's tag; handed in too",
    ("hean_router/client/clients.py", "secrets"): "ids of a client's orders: another process",
    ("hean_router/client/clients.py", "time.monotonic"): "a program waits for its order",
    ("hean_router/client/clients.py", "time.sleep"): "a program waits for its order",
}


def names_used(source):
    """Dotted names that `source` imports or reaches through an import, aliases resolved."""
    tree = ast.parse(source)
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                known[alias.asname or alias.name.split(".")[0]] = (
                    alias.name if alias.asname else alias.name.split(".")[0]
                )
                yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        parts = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if parts and isinstance(node, ast.Name) and node.id in known:
            yield ".".join([known[node.id], *reversed(parts)])


def offences(source):
    """Banned names that `source` uses, the banned name itself or something inside it."""
    found = set()
    for used in names_used(source):
        pieces = used.split(".")
        prefixes = {".".join(pieces[: n + 1]) for n in range(len(pieces))}
        found |= prefixes & BANNED.keys()
    return found


def sources():
    return sorted(
        path for part in ("hean_router", "connectors") for path in (ROOT / part).rglob("*.py")
    )


def test_nothing_hides_a_clock_a_die_or_a_thread():
    wrong = [
        f"{name}: {offence}: {BANNED[offence]}"
        for path in sources()
        for name in [path.relative_to(ROOT).as_posix()]
        for offence in sorted(offences(path.read_text(encoding="utf-8")))
        if (name, offence) not in ALLOWED
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\nnow = time.time()", {"time.time"}),
        ("import time as t\nnow = t.monotonic_ns()", {"time.monotonic_ns"}),
        ("from time import time_ns as now", {"time.time_ns"}),
        ("from datetime import datetime\ndatetime.now()", {"datetime.datetime.now"}),
        ("import datetime\ndatetime.datetime.now()", {"datetime.datetime.now"}),
        ("import random\nrandom.random()", {"random.random"}),
        ("from random import shuffle", {"random.shuffle"}),
        ("import random\nrng = random.Random(1)\nrng.random()", set()),  # a passed generator
        ("from random import Random", set()),
        ("import threading\nthreading.Thread()", {"threading"}),
        ("from concurrent.futures import ThreadPoolExecutor", {"concurrent.futures"}),
        ("import secrets", {"secrets"}),
        ("import asyncio\nasyncio.to_thread(f)", {"asyncio.to_thread"}),
        ("import asyncio\nasyncio.sleep(1)", set()),  # the loop's time is virtual
        ("def f(now):\n    return now.time()", set()),  # a value, not the module
        ("import time\ntime.strftime('%Y')", set()),
    ],
)
def test_the_rules_find(source, found):
    assert offences(source) == found


def test_every_exception_is_still_needed():
    for name, offence in ALLOWED:
        path = ROOT / name
        if path.exists() and not name.endswith("clock.py"):
            assert offence in offences(path.read_text(encoding="utf-8")), (name, offence)
