"""The whole system as people run it: `hean sim` and `hean run`, processes on loopback, and a judge.

with Rig(folder, seed=7) as rig:
    rig.start_router()
    ...                       # drive it by HTTP
    rig.judge(collected)      # raises AssertionError with every sentence of the checker
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hean_router.client import AsyncClient
from hean_router.client.calls import ApiError
from tests.checker.checks import run as check
from tests.checker.history import read, summary

ROOT = Path(__file__).resolve().parents[2]
HEAN = (sys.executable, "-m", "hean_router.cli")
VENUES = ("binance", "bybit", "kraken", "okx")
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
RATES = "USDT/USD"
START_S = 60  # on a busy machine
FINAL = frozenset({"filled", "canceled", "rejected", "expired"})
GOING = ("pending_new", "new", "partially_filled", "pending_cancel", "unknown")
# What is tested is not how fast a person may type; every other limit stays as it is delivered.
HASTE = {
    "HEAN_LIMITS__DUPLICATE_WINDOW_MS": "0",
    "HEAN_LIMITS__GATE__DUPLICATE_WINDOW_MS": "0",
    "HEAN_LIMITS__EACH_ACCOUNT__PARENTS_PER_SECOND": "off",
    "HEAN_LIMITS__EACH_ACCOUNT__PARENTS_PER_MINUTE": "off",
    "HEAN_LIMITS__EACH_ACCOUNT__ORDERS_PER_SECOND": "off",
    "HEAN_LIMITS__EACH_ACCOUNT__ORDERS_PER_MINUTE": "off",
}


class Child:
    """A process of ours: its first line, what it says to standard error, its end."""

    def __init__(
        self,
        folder: Path,
        name: str,
        words: Sequence[str],
        env: Mapping[str, str],
        program: Sequence[str] = HEAN,
    ) -> None:
        self.name = name
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self._from = out.tell()
            self.process = subprocess.Popen(
                [*program, *words],
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **env},
            )

    def first_line(self, within_s: float = START_S) -> Any:
        """Wait for it."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            with self.out.open("rb") as out:
                out.seek(self._from)
                line = out.readline()
            if line.endswith(b"\n"):
                return json.loads(line)
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{self.name} did not start: {self.said()}")

    def said(self) -> str:
        """The end of its standard error."""
        return self.err.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """SIGINT, as Ctrl-C; killed where that does not help."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop: {self.said()}") from None


class Rig:
    """Simulators, a router, and everything they write, in one folder.

    `apart` gives each venue a process of its own, so that one can be killed; `ahead_s` sets the
    clocks of some, in seconds; `faults` is what the venues do wrong; `state` is where the journal
    is, if not in `folder`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        venues: Sequence[str] = VENUES,
        symbols: Sequence[str] = SYMBOLS,
        limits: str = "x50",
        apart: bool = False,
        ahead_s: Mapping[str, int] | None = None,
        faults: str = "",
        env: Mapping[str, str] | None = None,
        state: Path | None = None,
    ) -> None:
        self.folder, self.seed, self.symbols, self.limits = folder, seed, symbols, limits
        self.venues, self.apart, self.ahead_s = venues, apart or bool(ahead_s), ahead_s or {}
        self.faults = faults
        self.env = {
            "HEAN_API__PORT": "0",
            "HEAN_FEEDS__SYMBOLS": json.dumps(list(symbols)),
            "XDG_STATE_HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT),  # the code beside these tests, whatever is installed
            **HASTE,
            **(env or {}),
        }
        self.logs, self.state = folder / "logs", state or folder / "state"
        self.journal = self.state / "journal.sqlite3"
        self.venues_file = folder / "venues.json"
        self.sims: dict[str, Child] = {}
        self.announced: dict[str, Any] = {}
        self.router: Child | None = None
        self.api = self.key = ""

    def __enter__(self) -> "Rig":
        print(f"seed {self.seed}, in {self.folder}")
        try:
            for group in [[one] for one in self.venues] if self.apart else [list(self.venues)]:
                self._start_sim(group)
            self.tell_venues(self.announced)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for child in [*self.sims.values(), *([self.router] if self.router else [])]:
            if child.process.poll() is None:
                child.kill()

    def _start_sim(self, group: list[str]) -> None:
        words = ["sim", *group, "--limits", self.limits, "--log", str(self.logs)]
        words += ["--seed", str(self.seed), "--symbols", ",".join([*self.symbols, RATES])]
        words += ["--faults", self.faults] if self.faults else []
        program = HEAN
        if ahead := self.ahead_s.get(group[0]):
            program = (sys.executable, str(ROOT / "tests" / "system" / "late_sim.py"), str(ahead))
        where = self.over_there(program)
        child = Child(self.folder, "sim-" + "-".join(group), words, self.env, where)
        self.sims.update(dict.fromkeys(group, child))
        self.announced |= child.first_line()["venues"]

    def over_there(self, program: Sequence[str]) -> Sequence[str]:
        """The words that run a program where the venues are."""
        return program

    def tell_venues(self, venues: Mapping[str, Any]) -> None:
        """Write what the router is told of the venues."""
        self.venues_file.write_text(json.dumps({"venues": venues}))

    # ------------------------------------------------------------------------- the router

    def start_router(
        self, *, env: Mapping[str, str] | None = None, within_s: float = START_S
    ) -> None:
        """Run it on the state there is; returns once its API answers."""
        words = ["run", "--mode", "live", "--venues-from", str(self.venues_file)]
        words += ["--state", str(self.state), "--json"]
        self.router = Child(self.folder, "router", words, {**self.env, **(env or {})})
        first = self.router.first_line(within_s)
        assert "api" in first, first
        # What is printed may trade; what the state file holds may do everything.
        here = json.loads((self.state / "router.json").read_text())
        self.api, self.key = first["api"], here["key"]

    def start_router_in_vain(self, why: str) -> None:
        """It must not start, and must say why."""
        words = ["run", "--mode", "live", "--venues-from", str(self.venues_file)]
        code, out, err = self.hean(*words, "--state", str(self.state))
        assert code != 0, out
        assert why in err, err

    def client(self, key: str | None = None) -> AsyncClient:
        """Of the router that runs now."""
        return AsyncClient(self.api, self.key if key is None else key)

    async def ready(self, client: AsyncClient, at_least: int | None = None) -> None:
        """Wait until every venue, or that many, take orders and show all their books."""
        wanted = len(self.venues) if at_least is None else at_least

        async def stands() -> bool:
            found = (await client.read("venues"))["venues"]
            standing = {one["venue"] for one in found if one["ready"] and _live(one["books"])}
            return len(standing) >= wanted

        def _live(books: Mapping[str, str]) -> bool:
            return set(books.values()) == {"live"}

        await until(stands, START_S, f"{wanted} venues to be ready", self)

    # ------------------------------------------------------------------------- the judge

    def judge(self, answers: Mapping[str, Any], *, journal: bool = True) -> str:
        """Hold the answers against the venues' logs and the journal; what was looked at."""
        path = self.folder / "api.json"
        path.write_text(json.dumps(answers))
        history = read(self.logs, path, self.journal if journal else None)
        wrong = check(history)
        told = "\n".join(wrong[:40]) + (f"\n… {len(wrong) - 40} more" if len(wrong) > 40 else "")
        assert not wrong, f"seed {self.seed}, {self.folder}: {summary(history)}\n{told}"
        return summary(history)

    def hean(self, *words: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
        """A command of the same user: exit code, output, errors."""
        done = subprocess.run(
            [*HEAN, *words],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **self.env, **(env or {})},
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout, done.stderr


# ------------------------------------------------------------------------- by HTTP


async def until(
    stands: Callable[[], Awaitable[bool]], within_s: float, what: str, rig: Rig
) -> None:
    """Wait for something that nobody announces; AssertionError after `within_s`."""
    end = time.monotonic() + within_s
    while not await stands():
        router = rig.router
        assert router is not None, "there is a router"
        assert router.process.poll() is None, f"the router has ended: {router.said()}"
        assert time.monotonic() < end, f"waited {within_s} s for {what}; {router.said()}"
        await asyncio.sleep(0.1)


async def pages(client: AsyncClient, what: str, **filters: Any) -> list[Any]:
    """Every page of `orders` or `fills`."""
    out: list[Any] = []
    cursor = None
    while True:
        page = await client.read(what, limit=500, cursor=cursor, **filters)
        out += page[what]
        if (cursor := page["next_cursor"]) is None:
            return out


async def working(client: AsyncClient) -> list[str]:
    """Orders that have not ended, and why not; of many that have, only few are read."""
    found = [one for status in GOING for one in await pages(client, "orders", status=status)]
    if not found:  # one that changed between two of these pages may stand on neither
        found = [one for one in await pages(client, "orders") if one["status"] not in FINAL]
    return [
        f"{one['id']} {one['status']} {[c['status'] for c in one['children']]}" for one in found
    ]


async def wind_up(client: AsyncClient, rig: Rig, within_s: float = 60) -> None:
    """Cancel everything, and wait until nothing is left."""
    await client.cancel_all()
    left: list[str] = []

    async def over() -> bool:
        left[:] = await working(client)
        return not left

    try:
        await until(over, within_s, "every order to end", rig)
    except AssertionError as fault:
        raise AssertionError(f"{fault}\nleft: {left[:10]}") from None


async def collect(client: AsyncClient, **more: Any) -> dict[str, Any]:
    """What the checker wants of the API."""
    held = await client.balances()
    return {
        "orders": await pages(client, "orders"),
        "fills": await pages(client, "fills"),
        "balances": held["balances"],
        "unread": held["unread"],
        "positions": (await client.positions())["positions"],
        **more,
    }


async def refused(asked: Awaitable[Any]) -> ApiError:
    """The one typed error that a call must end with."""
    try:
        answer = await asked
    except ApiError as fault:
        return fault
    raise AssertionError(f"taken: {answer!r}")


async def mids(client: AsyncClient, symbols: Sequence[str]) -> dict[str, Decimal]:
    """What each symbol is worth now; left out where no venue has a book of it."""
    found = {one: (await client.book(one, 1))["mid"] for one in symbols}
    return {one: Decimal(mid) for one, mid in found.items() if mid is not None}
