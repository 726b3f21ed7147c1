"""States beside the rows: one that holds is taken, any other is passed over and told."""

import sqlite3
import zlib

import pytest

from hean_router.store import Journal, JournalError, states
from hean_router.store.states import KEPT, PART, Saving, newest
from tests.store.journal_rows import Story

LAYOUT = "layout-1"
ROWS = Story(1).until(120)


def journal(count=60):
    made = Journal.memory()
    made.append(ROWS[:count])
    return made


def saved(made, data=b"state" * 200_000, layout=LAYOUT):
    Saving(made, layout, data).all()
    return data


def test_what_was_saved_is_found_with_its_row():
    made = journal()
    data = saved(made)
    assert len(data) > 3 * PART
    assert newest(made, LAYOUT) == states.Found(60, data, (), 0)


def test_the_newest_counts_and_older_ones_go():
    made = journal()
    for count in range(60, 65):
        saved(made, b"%d" % count)
        made.append(ROWS[count : count + 1])
    assert newest(made, LAYOUT).data == b"64"
    assert newest(made, LAYOUT, 64).data == b"63"
    kept = made.db.execute("SELECT count(*), count(DISTINCT seq) FROM state_parts").fetchone()
    assert kept == (KEPT, KEPT)


def test_one_that_was_not_finished_is_none_and_its_parts_are_taken_away():
    made = journal()
    saved(made, b"old")
    made.append(ROWS[60:70])
    parts = Saving(made, LAYOUT, b"x" * 3 * PART).parts()
    next(parts)
    next(parts)
    assert newest(made, LAYOUT).data == b"old", "a process that died now"
    parts.close()
    made.append(ROWS[70:75])
    saved(made, b"new")
    assert newest(made, LAYOUT).data == b"new"
    seqs = {seq for (seq,) in made.db.execute("SELECT DISTINCT seq FROM state_parts")}
    assert seqs == {60, 75}


def test_rows_go_on_while_a_state_is_written():
    made = journal()
    saving = Saving(made, LAYOUT, b"x" * 4 * PART)
    for number, _ in enumerate(saving.parts()):
        made.append(ROWS[60 + number : 61 + number])
    found = newest(made, LAYOUT)
    assert (found.seq, made.seq) == (60, 64)
    assert [seq for seq, _ in made.rows(found.seq)] == [61, 62, 63, 64]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        ("UPDATE state_parts SET body = x'0102030405' WHERE seq = 70 AND part = 1", "header"),
        ("UPDATE state_parts SET body = substr(body, 1, 40) WHERE seq = 70", "cut off"),
        ("DELETE FROM state_parts WHERE seq = 70 AND part = 2", "lacks a part"),
        ("UPDATE state_parts SET part = 9 WHERE seq = 70 AND part = 2", "lacks a part"),
        ("UPDATE states SET parts = 2 WHERE seq = 70", "lacks a part"),
        ("UPDATE states SET sha = zeroblob(32) WHERE seq = 70", "not what was written"),
        ("UPDATE states SET hash = zeroblob(32) WHERE seq = 70", "not those"),
        ("UPDATE rows SET hash = zeroblob(32) WHERE seq = 70", "not those"),
        ("DELETE FROM rows WHERE seq >= 70", "not those"),
        ("DROP TABLE state_parts", "lacks a part"),
    ],
)  # fmt: skip
def test_one_that_does_not_hold_is_told_and_an_older_one_serves(spoil, told):
    made = journal()
    saved(made, b"old" if "DROP" not in spoil else b"")
    made.append(ROWS[60:70])
    saved(made)
    made.db.execute(spoil)
    found = newest(made, LAYOUT)
    assert (found.seq, len(found.faults)) == (60, 1)
    assert told in found.faults[0]
    assert "row 70" in found.faults[0]


def test_of_another_layout_is_no_damage():
    made = journal()
    saved(made, b"old", "layout-0")
    made.append(ROWS[60:70])
    saved(made, b"older program", "layout-0")
    assert newest(made, LAYOUT) == states.Found(0, b"", (), 2)


def test_a_file_that_cannot_be_read_has_no_state():
    made = journal()
    saved(made)
    made.db.execute("ALTER TABLE states RENAME COLUMN sha TO ash")
    found = newest(made, LAYOUT)
    assert found.seq == 0
    assert "cannot be read" in found.faults[0]


def test_a_journal_that_another_owns_takes_no_state():
    made = journal()
    made.db.execute("UPDATE meta SET value = '99' WHERE name = 'epoch'")
    with pytest.raises(JournalError):
        next(Saving(made, LAYOUT, b"x").parts())
    assert newest(made, LAYOUT).seq == 0


def test_a_part_that_unpacks_to_more_than_a_part_is_refused():
    made = journal()
    saved(made, b"small")
    bomb = zlib.compress(bytes(50 * PART), 9)
    made.db.execute("UPDATE state_parts SET body = ?", (bomb,))
    found = newest(made, LAYOUT)
    assert found.seq == 0
    assert "too large" in found.faults[0]


def test_the_file_is_closed_to_what_is_no_bytes():
    made = journal()
    saved(made)
    with pytest.raises(sqlite3.IntegrityError):
        made.db.execute("UPDATE state_parts SET body = 'text'")
