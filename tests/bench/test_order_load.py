"""A hundred parents, about three hundred children, a second, over four venues on loopback.

Parents are due by a schedule that waits for nothing (open loop): one that is kept waiting counts
from when it was due.  Its time ends when the bytes of its last child are written; every row is on
disk by then (FULL).  The venues are ours with `--limits off`: with theirs, four accounts let far
fewer through.  15 s, or 60 s with HEAN_BENCH_LONG=1.  Wall time: what else the machine does counts.
"""

import asyncio
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from msgspec import Struct

from hean_router.domain.desk import Sent
from hean_router.domain.instrument import Side
from hean_router.domain.parent import Intent, Life, OrderKind, VenueChoice
from hean_router.domain.record import ChildIntended, Incident, ParentEnded, Row
from hean_router.engine import Placed
from hean_router.office import Office
from hean_router.store import Journal
from tests.bench import floor, meter

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

RATE, SECONDS = 100, 60 if floor.LONG else 15
WARM_S = 2
QTY, SHARE = Decimal("0.03"), Decimal("0.4")  # no venue takes more: at least three do
AIM_P99_MS = 10.0
FLOOR_P50_MS, FLOOR_P99_MS = 10.0, 100.0  # what no busy machine excuses
BUSY_MS = 1.5  # a commit takes longer: somebody else has the disk, and the delays are not ours
ATTEMPTS = 2  # a disk or a core that somebody else holds is not ours to judge
WIDTHS = (34, 9, 9, 9, 9)


class Order(Struct):
    """One parent's times, ns of the router's clock."""

    due_ns: int
    began_ns: int
    durable_ns: int = 0
    written_ns: int = 0
    ended_ns: int = 0
    children: int = 0
    sent: int = 0


class Ledger:
    """What became of every parent, from rows and from desks."""

    def __init__(self, office: Office) -> None:
        self.orders: dict[str, Order] = {}
        self.incidents: list[str] = []
        self._office = office
        self._parent_of: dict[str, str] = {}
        self._heard_row, self._heard_sent = office.metrics.row, office.metrics.sent
        office.metrics.row = self.row  # type: ignore[method-assign]
        office.metrics.sent = self.sent  # type: ignore[method-assign]
        self.rows = 0
        self.commits_ns: list[int] = []
        self._append = office.journal.append
        office.journal.append = self.append  # type: ignore[method-assign]

    def append(self, rows: Sequence[Row]) -> int:
        began_ns = self._office.clock()
        seq = self._append(rows)
        self.commits_ns.append(self._office.clock() - began_ns)
        return seq

    def row(self, row: Row, at_ns: int) -> None:
        self._heard_row(row, at_ns)
        self.rows += 1
        match row:
            case ChildIntended():
                self._parent_of[row.key] = row.parent
            case ParentEnded() if row.parent in self.orders:
                self.orders[row.parent].ended_ns = self._office.clock()
            case Incident():
                self.incidents.append(f"{row.what}: {row.text}")

    def sent(self, event: Sent, tick_ns: int) -> None:
        self._heard_sent(event, tick_ns)
        order = self.orders.get(self._parent_of.get(event.key, ""))
        if order is not None:
            order.sent += 1
            if order.sent <= order.children:  # of the first round
                order.written_ns = max(order.written_ns, event.at_ns)


def intent(number: int, account: str) -> Intent:
    return Intent(
        account=account,
        client_order_id=f"load{number}",
        symbol=floor.SYMBOL,
        side=Side.SELL if number % 2 else Side.BUY,
        kind=OrderKind.MARKET,
        life=Life.IOC,
        qty=QTY,
        venues=VenueChoice(max_share=SHARE),
    )


async def drive(office: Office, ledger: Ledger, seconds: int, first: int) -> list[str]:
    """Submit by the schedule; the ids, and refusals in words."""
    loop, clock, trading = asyncio.get_running_loop(), office.clock, office.trading
    start, start_ns = loop.time(), clock()
    refused = []
    for i in range(RATE * seconds):
        due_s = i / RATE
        if (wait_s := start + due_s - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        else:
            await asyncio.sleep(0)  # the venues' answers have their turn
        began_ns = clock()
        answer = trading.submit([intent(first + i, office.account)], "bench")
        durable_ns = clock()
        if not isinstance(answer, Placed):
            refused.append(f"{answer.code}: {answer.reason}")
            continue
        children = len(office.engine.core.oms.parents[answer.parents[0]].children)
        due_ns = start_ns + int(due_s * 1e9)
        ledger.orders[answer.parents[0]] = Order(
            due_ns, began_ns, durable_ns=durable_ns, children=children
        )
    return refused


async def load(folder: Path, targets: Any) -> tuple[Ledger, list[str], float, int]:
    journal = Journal.open(folder / "journal.sqlite3", sync="full")
    async with floor.office(folder, targets, journal) as office:
        ledger = Ledger(office)
        await drive(office, ledger, WARM_S, 0)
        ledger.orders.clear()
        ledger.rows = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        refused = await drive(office, ledger, SECONDS, WARM_S * RATE)
        took_s = loop.time() - began
        rows = ledger.rows
        async with asyncio.timeout(30):
            while not all(one.ended_ns for one in ledger.orders.values()):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        core = office.engine.core
        assert not core.oms.live, "orders are open at the end"
        assert core.risk.reserved_total() == 0, "something stays reserved"
        return ledger, refused, took_s, rows


def test_a_hundred_parents_a_second(tmp_path, capsys):
    for attempt in range(ATTEMPTS):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        with floor.venues(folder) as targets:
            p50, p99, commit_ms = _attempt(folder, targets, capsys)
        if p99 <= AIM_P99_MS or commit_ms > BUSY_MS:
            break
    if commit_ms > BUSY_MS:
        pytest.skip(f"a commit takes {commit_ms:.1f} ms here: figures told, not judged")
    assert p50 <= FLOOR_P50_MS
    assert p99 <= FLOOR_P99_MS


def _attempt(folder: Path, targets: Any, capsys: Any) -> tuple[float, float, float]:
    """One run, told and checked; p50 and p99 of the whole, and p50 of a commit, in ms."""
    ledger, refused, took_s, rows = floor.run(load(folder, targets))
    orders = list(ledger.orders.values())
    assert not refused, f"{len(refused)} refused, first {refused[0]}"
    left = [one for one in orders if one.children and one.sent >= one.children]
    children = sum(one.sent for one in orders)
    columns = {
        "due to begun (the loop)": [one.began_ns - one.due_ns for one in orders],
        "submit: plan, commit, write": [one.durable_ns - one.began_ns for one in orders],
        "due to last child written": [one.written_ns - one.due_ns for one in left],
        "due to ended": [one.ended_ns - one.due_ns for one in orders],
    }
    for times in columns.values():
        times.sort()
    whole = columns["due to last child written"]
    p50, p99 = floor.part(whole, 0.5), floor.part(whole, 0.99)
    with capsys.disabled():
        print(
            f"\n{len(orders) / took_s:.0f} parents and {children / took_s:.0f} children a second "
            f"for {took_s:.0f} s, --limits off, commit full, {rows / took_s:.0f} rows a second, "
            f"{median(one.children for one in orders):.0f} children in the first round"
        )
        commit_ms = floor.part(sorted(ledger.commits_ns), 0.5)
        print(f"{len(ledger.commits_ns)} commits, p50 {commit_ms:.2f} ms")
        print(meter.row("ms", "p50", "p99", "p99.9", "max", widths=WIDTHS))
        for name, times in columns.items():
            figures = [f"{floor.part(times, share):.2f}" for share in (0.5, 0.99, 0.999, 1.0)]
            print(meter.row(name, *figures, widths=WIDTHS))
        print(
            f"  p99 {p99:.2f} ms, aim {AIM_P99_MS} ms: {'held' if p99 <= AIM_P99_MS else 'short'}"
        )
        for text in sorted(set(ledger.incidents))[:5]:
            print(f"  incident: {text}")
    assert len(orders) == RATE * SECONDS
    assert len(left) >= 0.98 * len(orders), f"of {len(orders)} parents {len(left)} left whole"
    assert children >= 2.5 * len(orders), f"only {children} children of {len(orders)} parents"
    return p50, p99, floor.part(sorted(ledger.commits_ns), 0.5)
