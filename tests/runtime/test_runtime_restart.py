"""A router that starts on a long past: from a state, or from every row, it is the same router."""

import asyncio
import gc
import resource
import sqlite3
import time
from contextlib import closing
from random import Random

import pytest

from hean_router.config import Settings
from hean_router.domain.instrument import Pair
from hean_router.domain.record import Checkpoint, Incident
from hean_router.office import SAVED_LEAST, Office
from hean_router.store import Journal
from hean_router.store.urls import JOURNAL_FILE
from tests.runtime.long_journal import Flow, write

NOW_NS = 1_790_000_000_000_000_000


def past(folder, count, *, resting=0, **how):
    """A journal of so many rows; its flow, to go on with."""
    folder.mkdir(exist_ok=True)
    with closing(Journal.open(folder / JOURNAL_FILE, sync="relaxed", entropy=b"abc")) as journal:
        flow = Flow(journal.tag, NOW_NS, **how)
        write(journal, flow.opening())
        write(journal, flow.rows(count, resting=resting))
    return flow


def office(folder, now_ns=NOW_NS + 10**15):
    """One on paper, without a venue: what it makes of the journal is all that matters."""
    settings = Settings(venues={}, query={"url": "off"}, journal={"sync": "relaxed"})
    return Office(
        settings,
        [],
        [Pair.parse("BTC/USDT")],
        state=folder,
        paper=True,
        clock=lambda: now_ns,
        rng=Random(1),
        entropy=Random(2).randbytes,
    )


def lived(folder):
    """Start it, stop it, and say what it was."""

    async def main():
        made = office(folder)
        found = hashes(made)
        async with made.running():
            await asyncio.sleep(0.05)
        return made, found

    return asyncio.run(main())


def hashes(made):
    engine = made.engine
    return (
        engine.oms.state_hash(),
        engine.risk.state_hash(),
        engine.ledger.state_hash(),
        made.trading.watch.seq,
        len(made.trading.gate._count.trades),
        made.figures.trips.count,
    )


def rows_read(made):
    return made.trading.watch.seq - made._saved_seq


def test_a_start_from_a_state_is_a_start_from_every_row(tmp_path):
    flow = past(tmp_path / "a", 7_000, resting=5, kept=20)
    first, _ = lived(tmp_path / "a")
    assert first._saved_seq > SAVED_LEAST, "at its end it saved what it was"
    with closing(Journal.open(tmp_path / "a" / JOURNAL_FILE)) as journal:
        write(journal, flow.rows(400))
    made = office(tmp_path / "a")
    assert 300 < rows_read(made) < 600, "no more than what came after it"
    found = hashes(made)
    made.journal.close()
    with closing(sqlite3.connect(tmp_path / "a" / JOURNAL_FILE, isolation_level=None)) as db:
        db.execute("DELETE FROM states")
    again = office(tmp_path / "a")
    assert again._saved_seq == 0
    assert found[:3] == hashes(again)[:3]
    assert found[3:] == hashes(again)[3:]
    old = again.archive.by_id("00000001")
    assert old.ended is not None
    assert again.engine.oms.parents.get("00000001") is None
    again.journal.close()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("UPDATE states SET sha = zeroblob(32)", "is not what was written"),
        ("UPDATE states SET hash = zeroblob(32)", "the rows up to it are not those"),
        ("UPDATE states SET layout = 'another'", ""),
        ("DELETE FROM states", ""),
    ],
)
def test_a_state_that_does_not_hold_is_told_by_a_row_and_every_row_is_read(tmp_path, spoil, told):
    past(tmp_path, 2_500, kept=20)
    lived(tmp_path)
    with closing(sqlite3.connect(tmp_path / JOURNAL_FILE, isolation_level=None)) as db:
        assert db.execute(spoil).rowcount == 1
    made, _ = lived(tmp_path)
    incidents = [
        row
        for _, row in Journal.open(tmp_path / JOURNAL_FILE).rows()
        if isinstance(row, Incident) and row.what == "state_spoiled"
    ]
    assert len(incidents) == bool(told)
    assert all(told in row.text for row in incidents)
    assert made.engine.risk.state == "normal", "nothing is shut by it"


def test_a_short_past_is_worth_no_state(tmp_path):
    past(tmp_path, 500)
    made, _ = lived(tmp_path)
    assert made._saved_seq == 0


def cpu_and_wall(work):
    began, cpu = time.monotonic(), time.process_time()
    found = work()
    return found, time.monotonic() - began, time.process_time() - cpu


@pytest.mark.storm
@pytest.mark.timeout(600)
def test_a_hundred_thousand_rows_and_two_hundred_open_orders_from_a_state(tmp_path):
    """Five seconds are promised for all of a restart; this part of it is to take one."""
    flow = past(tmp_path, 80_000, resting=200)
    lived(tmp_path)
    with closing(Journal.open(tmp_path / JOURNAL_FILE)) as journal:
        write(journal, flow.rows(20_000))
    made, wall, cpu = cpu_and_wall(lambda: office(tmp_path))
    print(f"\n{rows_read(made)} rows read of {made.journal.seq}: {wall:.2f} s, {cpu:.2f} s of CPU")
    assert len(made.engine.oms.live) == 200
    assert cpu < 5
    made.journal.close()


@pytest.mark.storm
@pytest.mark.timeout(1800)
def test_a_million_rows_from_a_state_and_from_none(tmp_path):
    flow = past(tmp_path, 990_000, resting=200)
    (first, _), wall, cpu = cpu_and_wall(lambda: lived(tmp_path))
    print(f"\nevery row of {first.trading.watch.seq}: {wall:.1f} s, {cpu:.1f} s of CPU")
    with closing(Journal.open(tmp_path / JOURNAL_FILE)) as journal:
        write(journal, flow.rows(15_000))
    made, wall, cpu = cpu_and_wall(lambda: office(tmp_path))
    print(f"{rows_read(made)} rows of {made.journal.seq}: {wall:.2f} s, {cpu:.2f} s of CPU")
    assert made.journal.seq > 1_000_000
    assert cpu < 30
    made.journal.close()


def _rss_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


@pytest.mark.storm
@pytest.mark.timeout(1800)
def test_memory_does_not_grow_with_what_has_ended(tmp_path):
    """Sixty thousand parents through every fold that a running router has, and the journal."""
    made = office(past_only_opening(tmp_path))
    flow = Flow(made.journal.tag, NOW_NS)
    found = []
    for _ in range(12):
        rows, batch = flow.rows(5_000 * 11), []
        for row in rows:
            made.engine.replay((row,))
            batch.append(row)
            if len(batch) >= 50 or isinstance(row, Checkpoint):
                made.trading._written(batch, made.journal.append(batch))
                batch = []
        made.trading._written(batch, made.journal.append(batch)) if batch else None
        gc.collect()
        found.append(_rss_mb())
        print(f"{flow.parents} parents: {found[-1]:.1f} MB, {len(made.engine.oms.parents)} kept")
    assert len(made.engine.oms.parents) < 3_000
    # From thirty thousand parents on: 20 KB for each of another thirty would be 600 MB.
    assert found[-1] - found[5] < 15
    made.journal.close()


def past_only_opening(folder):
    past(folder, 0)
    return folder
