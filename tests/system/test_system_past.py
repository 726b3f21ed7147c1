"""The past that restarts are measured on is one that the router could have had."""

from collections import Counter

import pytest

from hean_router.domain.limits import RiskLimits
from hean_router.gate import Gate
from hean_router.oms import Orders
from hean_router.portfolio import Ledger
from hean_router.risk import Risk
from hean_router.store import Journal, verify
from tests.system.past import write_past

END_NS = 1_700_000_000_000_000_000


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    path = tmp_path_factory.mktemp("past") / "journal.sqlite3"
    count = write_past(path, rows=3_000, end_ns=END_NS)
    return path, count


def test_every_part_takes_it_in_without_a_breach(journal):
    path, count = journal
    assert 3_000 <= count < 3_200
    assert verify(path)[0] == count
    orders, risk, ledger, gate = Orders(), Risk(RiskLimits()), Ledger(), Gate()
    opened = Journal.open(path)
    kinds = Counter()
    for _, row in opened.rows():
        for part in (orders, risk, ledger, gate):
            part.apply(row)
        kinds[type(row).__name__] += 1
    opened.close()
    orders.check()
    assert not orders.breaches
    assert not orders.live
    assert not orders.unsettled
    assert not gate.take_incidents()
    assert risk.reserved_total() == 0
    assert all(line.qty == 0 for line in ledger.positions()), "what was bought was sold"
    assert len(orders.parents) > 250
    assert all(parent.ended is not None for parent in orders.parents.values())
    assert kinds["ChildRejected"] > 10
    assert kinds["CancelAnswered"] > 20


def rows_of(path):
    """What was written, but for the installation's own three letters."""
    journal = Journal.open(path)
    rows = [str(row).replace(journal.tag, "tag") for _, row in journal.rows()]
    journal.close()
    return rows


def test_the_same_seed_writes_the_same_past(tmp_path):
    first, again, other = (tmp_path / name / "journal.sqlite3" for name in ("1", "2", "3"))
    for path, seed in ((first, 1), (again, 1), (other, 2)):
        write_past(path, rows=500, end_ns=END_NS, seed=seed)
    assert rows_of(first) == rows_of(again)
    assert rows_of(first) != rows_of(other)
