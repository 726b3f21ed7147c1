"""The index of a journal against its rows, and what is read by it against what memory had."""

import sqlite3
from contextlib import closing

import pytest

from hean_router.api import views
from hean_router.api.history import Fills
from hean_router.domain.record import Filled, FillUndone, ParentPlaced
from hean_router.oms import Orders
from hean_router.store import Journal, JournalDamaged, JournalError, index
from hean_router.store.journal_file import read
from hean_router.store.past import Archive
from tests.store.journal_rows import ACCOUNTS, Story


def told(seed, count=400):
    """Rows as a router of today writes them: each trade with its order's key, if that is known."""
    orders, out = Orders(), []
    for row in Story(seed).until(count):
        if isinstance(row, Filled) and not row.key:
            order = (row.venue, row.account, row.symbol, row.venue_order_id)
            if orders.by_venue_id.get(order):
                continue  # `intake` would have named it
        trade = isinstance(row, Filled | FillUndone) and (
            row.venue,
            row.account,
            row.symbol,
            row.trade_id,
        )
        if trade and (trade in orders.fills) is isinstance(row, Filled):
            continue  # told twice, or undone and never told
        orders.apply(row)
        out.append(row)
    return out, orders


def written(rows, path=None):
    journal = Journal.memory() if path is None else Journal.open(path, sync="relaxed")
    for at in range(0, len(rows), 7):
        journal.append(rows[at : at + 7])
    return journal


def raw(journal):
    return journal.db.execute("SELECT seq, kind, body FROM rows ORDER BY seq").fetchall()


def test_a_parent_read_from_the_journal_is_the_one_that_memory_had():
    for seed in range(3):
        rows, orders = told(seed)
        archive = Archive(written(rows))
        assert len(orders.parents) > 20
        for name, parent in orders.parents.items():
            found = archive.by_id(name)
            assert views.order(found) == views.order(parent), name
            assert found.can_end == parent.can_end
            intent = parent.intent
            again = archive.parent(intent.account, intent.client_order_id)
            assert again.id == name
            assert archive.parent("nobody", intent.client_order_id) is None
    assert archive.by_id("0000zzzz") is None
    assert archive.parent("main", "c-never") is None


def test_every_trade_that_stands_is_known_and_shown_as_it_stands():
    for seed in range(3):
        rows, orders = told(seed)
        journal = written(rows)
        archive, fills = Archive(journal), Fills()
        for row in rows:
            fills.apply(row)
        for row in rows:
            if isinstance(row, Filled):
                trade = (row.venue, row.account, row.symbol, row.trade_id)
                assert archive.trade(*trade) == (trade in orders.fills), trade
        assert not archive.trade("okx", "main", "BTC/USDT", "t-never")
        for account in ACCOUNTS:
            expected, _ = fills.page(account, lambda _row: True, None, 10_000)
            found, before = [], None
            while page := archive.fills(account, before, 7):
                found += [row for _, row in page]
                before = page[-1][0]
            assert found == expected
            assert len(found) > 10


def test_parents_are_listed_an_account_at_a_time_the_latest_first():
    rows, orders = told(5)
    archive = Archive(written(rows))
    for account in ACCOUNTS:
        found, before = [], "~"
        while page := archive.parents_of(account, before, 4):
            found += page
            before = page[-1].parent
        expected = list(reversed(orders.by_account[account].values()))
        assert [one.parent for one in found] == [one.id for one in expected]
        assert [(one.symbol, one.strategy, one.at_ns) for one in found] == [
            (one.intent.symbol, one.intent.strategy, one.at_ns) for one in expected
        ]


@pytest.mark.parametrize("how", ["none", "half", "tables gone", "note gone"])
def test_an_index_that_is_missing_is_made_of_the_rows(tmp_path, how):
    """As after a repair, or where an older program has written since."""
    path = tmp_path / "journal.db"
    rows, _ = told(7)
    journal = written(rows, path)
    if how == "half":
        index.note(journal.db, 50)
    journal.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        if how == "half":
            for table in index.TABLES[1:]:
                db.execute(f"DELETE FROM {table} WHERE seq > 50")
            index.note(db, 50)
        elif how == "tables gone":
            index.rebuild(db)
        elif how == "note gone":
            db.execute("DELETE FROM meta WHERE name = ?", (index.NOTE,))
    with closing(Journal.open(path)) as again:
        assert index.differences(again.db, raw(again)) == []
        assert index.noted(again.db) == len(rows)


@pytest.mark.parametrize(
    ("spoil", "table"),
    [
        ("DELETE FROM ix_parents WHERE parent = '00000003'", "ix_parents"),
        ("UPDATE ix_parents SET client_order_id = 'x' WHERE parent = '00000002'", "ix_parents"),
        ("DELETE FROM ix_marks WHERE seq = 40", "ix_marks"),
        ("UPDATE ix_trades SET trade_id = 'x' WHERE seq > 200", "ix_trades"),
        ("INSERT INTO ix_marks VALUES ('zzzzzzzz', 1)", "ix_marks"),
    ],
)  # fmt: skip
def test_an_index_that_is_not_as_the_rows_make_it_is_told(spoil, table):
    journal = written(told(9)[0])
    assert index.differences(journal.db, raw(journal)) == []
    assert journal.db.execute(spoil).rowcount > 0
    found = index.differences(journal.db, raw(journal))
    assert len(found) == 1
    assert found[0].startswith(table)


def test_a_row_that_is_not_what_was_written_is_not_believed():
    rows, _ = told(2)
    journal = written(rows)
    seq, placed = next(
        (seq, row) for seq, row in enumerate(rows, 1) if isinstance(row, ParentPlaced)
    )
    body = journal.db.execute("SELECT body FROM rows WHERE seq = ?", (seq,)).fetchone()[0]
    changed = body.replace(b"65000", b"64000").replace(b'"sell"', b'"buys"')
    changed = changed if changed != body else body.replace(b'"qty":"', b'"qty":"9', 1)
    journal.db.execute("UPDATE rows SET body = ? WHERE seq = ?", (changed, seq))
    with pytest.raises(JournalDamaged) as found:
        Archive(journal).by_id(placed.parent)
    assert found.value.seq == seq


def test_rows_that_were_told_to_have_failed_leave_nothing_in_the_index(tmp_path):
    rows, _ = told(4)
    journal = written(rows, tmp_path / "journal.db")
    before = {
        table: journal.db.execute(f"SELECT * FROM {table}").fetchall() for table in index.TABLES
    }
    more = told(6)[0][-60:]
    journal.append(more)
    # As if the disk had failed after the commit: the journal does not know that they are there.
    journal.seq, journal._hash, journal._unsure = len(rows), journal.hash_at(len(rows)), True
    with journal.beside():
        pass
    after = {
        table: journal.db.execute(f"SELECT * FROM {table}").fetchall() for table in index.TABLES
    }
    undone = {row.trade_id for row in more if isinstance(row, FillUndone)}
    assert undone or after == before
    assert after["ix_marks"] == before["ix_marks"]
    journal.close()


def test_a_closed_journal_is_an_error_of_the_journals():
    journal = written(told(4)[0])
    archive = Archive(journal)
    journal.close()
    with pytest.raises(JournalError):
        archive.trade("okx", "main", "BTC/USDT", "1")


def test_what_is_kept_beside_the_rows_is_not_part_of_the_chain(tmp_path):
    path = tmp_path / "journal.db"
    rows, _ = told(3)
    journal = written(rows, path)
    journal.close()
    with closing(sqlite3.connect(path)) as db:
        assert [row for _, row in read(db, str(path))] == rows
