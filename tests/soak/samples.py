"""What two processes take and how the router stands, sampled from outside."""

import asyncio
import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hean_router.client import AsyncClient
from tests.soak.flow import Flow
from tests.system.rig import Rig

MB = 1_000_000
_LINE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """Of one process: memory in MB (`own` is what no file is behind), descriptors, threads."""

    rss: float
    own: float
    fds: int
    threads: int
    cpu_s: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """As the system tells it now."""
        folder = Path(f"/proc/{pid}")
        told = dict(
            line.split(":", 1)
            for line in (folder / "status").read_text().splitlines()
            if ":" in line
        )
        ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
        return cls(
            rss=int(told["VmRSS"].split()[0]) * 1024 / MB,
            own=int(told["RssAnon"].split()[0]) * 1024 / MB,
            fds=len(list((folder / "fd").iterdir())),
            threads=int(told["Threads"]),
            cpu_s=sum(map(int, ticks)) / 100,
        )


@dataclass(frozen=True)
class Sample:
    """One moment.  Sizes in MB, latencies in ms; `updates` and `parents` are since the start."""

    at_s: float
    router: Process
    sim: Process
    tasks: int
    journal: float
    query: float
    log: float  # what the simulators have written of their history
    updates: int
    parents: int
    unknown: int
    open: int
    not_live: int  # books
    latency: dict[str, tuple[float, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class Page:
    """`/metrics`, read."""

    def __init__(self, text: str) -> None:
        self._found = _LINE.findall(text)

    def sum(self, name: str) -> float:
        """Over all labels; 0 if it is not there."""
        return sum(float(value) for found, _, value in self._found if found == name)

    def count(self, name: str, value: float) -> int:
        """How many of the family have that value."""
        return sum(found == name and float(told) == value for found, _, told in self._found)


def _size(*paths: Path) -> float:
    return sum(path.stat().st_size for path in paths if path.exists()) / MB


class Sampler:
    """Takes a sample every so often until cancelled."""

    def __init__(self, rig: Rig, client: AsyncClient, flow: Flow, every_s: float) -> None:
        self._rig, self._client, self._flow, self._every_s = rig, client, flow, every_s
        self.began = time.monotonic()
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Sample; the first at once."""
        due = self.began
        while True:
            self.samples.append(await self.take())
            _tell(self.samples)
            due += self._every_s
            await asyncio.sleep(max(0, due - time.monotonic()))

    async def take(self) -> Sample:
        """How it stands now."""
        rig = self._rig
        assert rig.router is not None
        page = Page(await self._client.metrics())
        state, query = rig.journal, rig.state / "query.sqlite3"
        return Sample(
            at_s=time.monotonic() - self.began,
            router=Process.of(rig.router.process.pid),
            sim=Process.of(next(iter(rig.sims.values())).process.pid),
            tasks=int(page.sum("hean_process_tasks")),
            journal=_size(state, state.with_name(state.name + "-wal")),
            query=_size(query, query.with_name(query.name + "-wal")),
            log=_size(*rig.logs.glob("*.ndjson")),
            updates=int(page.sum("hean_book_deltas_total") + page.sum("hean_book_snapshots_total")),
            parents=int(page.sum("hean_parents_placed_total")),
            unknown=int(page.sum("hean_orders_unknown_now")),
            open=int(page.sum("hean_orders_open")),
            not_live=page.count("hean_book_live", 0.0),
            latency=self._flow.latency.window(),
        )


def _tell(samples: list[Sample]) -> None:
    now, last = samples[-1], samples[-2] if len(samples) > 1 else samples[-1]
    took = max(1e-9, now.at_s - last.at_s)
    p50, p99 = now.latency.get("submit", (0.0, 0.0))
    print(
        f"{now.at_s:6.0f} s  router {now.router.rss:6.1f} MB {now.router.fds} fds "
        f"{now.router.threads} threads {now.tasks} tasks {now.router.cpu_s:.0f} s CPU, "
        f"sim {now.sim.rss:6.1f} MB, {(now.updates - last.updates) / took:4.0f} updates/s, "
        f"{(now.parents - last.parents) / took:3.1f} parents/s, submit {p50:.1f}/{p99:.1f} ms, "
        f"{now.open} open, {now.unknown} unknown, {now.not_live} books not live, "
        f"journal {now.journal:.1f} MB",
        flush=True,
    )
