"""A journal whose last rows are gone says so, and nothing goes on that may have gone on in them."""

from contextlib import closing

import pytest
from typer.testing import CliRunner

from hean_router.cli.db import app
from hean_router.domain import record as r
from hean_router.domain.parent import Status
from hean_router.engine.core import REPAIRED
from hean_router.oms import Orders
from hean_router.store import Journal
from hean_router.store.gap import close_off
from tests.store.journal_rows import ended, intended, placed

OPENED = r.Opened(at_ns=1, epoch=3, tag="abc", version="0", config_digest="", mode="live")


def running(name, *, on=True):
    return r.StrategySet(at_ns=5, strategy=name, running=on, params={"z": "2"}, by="k1")


def cancel(parent):
    return r.ParentCancelAsked(at_ns=6, parent=parent, why="asked", by="k1")


def write(path, rows):
    with closing(Journal.open(path)) as journal:
        journal.append(rows)


def read(path):
    with closing(Journal.open(path)) as journal:
        return [row for _, row in journal.rows()]


@pytest.mark.parametrize(
    ("rows", "parents", "strategies", "notes"),
    [
        ([], [], [], []),  # an empty one is told of, too
        ([placed("00000001", 2)], ["00000001"], [], []),
        ([placed("00000001", 2), intended("00000001", 1, 3)], ["00000001"], [], []),
        ([placed("00000001", 2), ended("00000001", 4)], [], [], []),  # it is over
        ([placed("00000001", 2), cancel("00000001")], [], [], []),  # the first reason stands
        ([running("arb")], [], ["arb"], []),
        ([running("arb"), running("arb", on=False)], [], [], []),
        # What it was about may have been done: another process must not do it again.
        ([r.StrategyNoted(at_ns=4, strategy="arb", state="leg open")], [], [], ["arb"]),
        ([r.StrategyNoted(at_ns=4, strategy="arb", state="")], [], [], []),
    ],
)
def test_what_goes_on_is_ended_and_nothing_else(tmp_path, rows, parents, strategies, notes):
    path = tmp_path / "journal.sqlite3"
    write(path, [OPENED, *rows])
    close_off(path, "it lost its end", ["abc", "xyz", ""])
    added = read(path)[1 + len(rows) :]
    kinds = [type(row) for row in added]
    assert kinds[0] is r.Opened, "orders under a tag that no row names are ours too"
    assert (added[0].tag, added[0].epoch) == ("xyz", 3)
    assert (added[1].what, added[1].text) == (REPAIRED, "it lost its end")
    assert added[-1].state == "halted"
    assert [row.parent for row in added if isinstance(row, r.ParentCancelAsked)] == parents
    stopped = [row for row in added if isinstance(row, r.StrategySet)]
    assert [row.strategy for row in stopped] == strategies
    assert not any(row.running for row in stopped)
    cleared = [row for row in added if isinstance(row, r.StrategyNoted)]
    assert [(row.strategy, row.state) for row in cleared] == [(name, "") for name in notes]
    # From then on trades are asked for: nothing later than what is known.
    assert {row.at_ns for row in added} == {max(row.at_ns for row in [OPENED, *rows])}


def test_a_copy_put_back_goes_on_with_nothing_that_was_being_worked(tmp_path):
    path, copy = tmp_path / "journal.sqlite3", tmp_path / "copy.sqlite3"
    write(path, [OPENED, placed("00000001", 2), intended("00000001", 1, 3)])
    hean = CliRunner().invoke
    assert hean(app, ["backup", str(copy), "--journal", str(path)]).exit_code == 0
    write(path, [intended("00000001", 2, 4)])  # as much again, which the copy knows nothing of
    done = hean(app, ["restore", str(copy), "--journal", str(path), "--force"])
    assert done.exit_code == 0, done.output
    assert "halted" in done.output
    orders, rows = Orders(), read(path)
    for row in rows:
        orders.apply(row)
    parent = orders.parents["00000001"]
    assert parent.cancel is not None, "else it would order again what is out already"
    assert parent.cancel.becomes is Status.CANCELED
    assert isinstance(rows[-1], r.RiskSet)
    left = {one.name for one in tmp_path.iterdir()}
    assert not {one for one in left if ".part" in one}, left
