"""The journal: what is written stays, what is damaged is named, what fails leaves no trace."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hean_router.domain.record import Incident, NonceReserved, RiskSet, decode, encode
from hean_router.store import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalOwned,
    journal_file,
    owner_of,
    tail,
    verify,
)
from tests.store.journal_rows import intended, placed


def incident(number, text="x"):
    return Incident(at_ns=number, what="test", text=text, subject=str(number))


def some(count, start=1):
    return [incident(number) for number in range(start, start + count)]


def everything(journal, after=0):
    return list(journal.rows(after))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite3"


def shell(path, *statements):
    """What anyone with a SQLite shell can do to the file."""
    with sqlite3.connect(path) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


# ------------------------------------------------------------------------- written and read


def test_rows_come_back_as_they_went_in(path):
    rows = [placed(), intended(), RiskSet(at_ns=3, state="halted", reason="r", by="b")]
    journal = Journal.open(path)
    assert journal.append(rows[:2]) == 2
    assert journal.append(rows[2:]) == 3
    assert journal.append([]) == 3
    assert everything(journal) == list(enumerate(rows, 1))
    assert everything(journal, 2) == [(3, rows[2])]
    assert everything(journal, 3) == everything(journal, 99) == []
    seen = verify(path)  # while it is owned
    journal.close()
    again = Journal.open(path)
    assert everything(again) == list(enumerate(rows, 1))
    assert (again.seq, again.epoch, again.tag) == (3, journal.epoch + 1, journal.tag)
    again.append(some(1))
    again.close()
    assert seen[0] == 3
    assert verify(path)[0] == 4
    assert tail(path, 2) == [(3, rows[2]), (4, incident(1))]
    assert len(tail(path, 99)) == 4


def test_the_digits_of_a_decimal_are_kept(path):
    journal = Journal.open(path)
    journal.append([placed(qty=Decimal("1.500"))])
    ((_, row),) = journal.rows()
    journal.close()
    assert str(row.qty) == "1.500"


def test_rows_may_be_appended_while_they_are_read():
    journal = Journal.memory()
    journal.append(some(journal_file.SLICE + 1))
    read = []
    for seq, _ in journal.rows():
        if len(read) == 1:
            journal.append(some(1))
        read.append(seq)
    assert read == list(range(1, journal_file.SLICE + 3))
    journal.close()


@pytest.mark.parametrize(("sync", "level"), [("full", 2), ("relaxed", 1)])
def test_how_hard_a_commit_is_pressed_to_the_disk(path, sync, level):
    journal = Journal.open(path, sync=sync)
    assert journal.sync == sync
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (level,)
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    journal.close()
    with pytest.raises(JournalError, match="no sync mode"):
        Journal.open(path, sync="of course")


def test_the_tag_is_made_once_and_of_its_alphabet(tmp_path):
    tags = set()
    for number in range(30):
        journal = Journal.open(tmp_path / f"{number}.sqlite3")
        tags.add(journal.tag)
        journal.close()
    assert len(tags) > 20
    assert all(len(tag) == 3 and set(tag) <= set(journal_file._DIGITS) for tag in tags)
    assert Journal.memory(entropy=b"1").tag == Journal.memory(entropy=b"1").tag


def test_only_its_owner_may_read_it(path):
    journal = Journal.open(path)
    journal.append(some(1))
    for file in path.parent.iterdir():
        assert file.stat().st_mode & 0o077 == 0, file.name
    journal.close()


def test_memory_is_the_same_without_a_file():
    journal = Journal.memory()
    assert journal.append(some(3)) == 3
    assert everything(journal, 1) == [(2, incident(2)), (3, incident(3))]
    assert (journal.sync, journal.epoch) == ("memory", 1)
    journal.close()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(st.text(max_size=20), max_size=5), max_size=8), st.data())
def test_any_split_into_transactions_gives_the_same_chain(batches, data):
    rows = [incident(n, text) for batch in batches for n, text in enumerate(batch)]
    one, many = Journal.memory(), Journal.memory()
    one.append(rows)
    left = list(rows)
    while left:
        cut = data.draw(st.integers(1, len(left)))
        many.append(left[:cut])
        left = left[cut:]
    assert everything(one) == everything(many) == list(enumerate(rows, 1))
    assert (one.seq, one._hash) == (many.seq, many._hash)


# ------------------------------------------------------------------------- damage

OTHER = encode(incident(7, "another")).decode()


@pytest.mark.parametrize(
    ("harm", "seq"),
    [
        (f"UPDATE rows SET body = CAST('{OTHER}' AS BLOB) WHERE seq = 5", 5),
        ("UPDATE rows SET kind = 'filled' WHERE seq = 5", 5),
        ("UPDATE rows SET at_ns = 1 WHERE seq = 5", 5),
        ("UPDATE rows SET hash = zeroblob(32) WHERE seq = 5", 5),
        ("DELETE FROM rows WHERE seq = 5", 5),
        ("DELETE FROM rows WHERE seq = 1", 1),
        # two rows change places
        ("UPDATE rows SET seq = CASE seq WHEN 5 THEN -6 ELSE -5 END WHERE seq IN (5, 6)", 5),
        # one in between: all later ones move up
        ("UPDATE rows SET seq = -seq - 1 WHERE seq >= 5", 5),
    ],
)
def test_every_harm_to_the_past_is_found_where_it_was_done(path, harm, seq):
    journal = Journal.open(path)
    journal.append(some(10))
    journal.close()
    shell(path, harm, "UPDATE rows SET seq = -seq WHERE seq < 0")
    with pytest.raises(JournalDamaged) as found:
        verify(path)
    assert found.value.seq == seq
    assert "hean db" in found.value.fix
    try:
        again = Journal.open(path)
    except JournalDamaged:
        return  # the noted head is part of the harm
    with pytest.raises(JournalDamaged):
        everything(again)
    again.close()


def test_rows_cut_off_at_the_end_are_missed(path):
    journal = Journal.open(path)
    journal.append(some(10))
    journal.close()
    shell(path, "DELETE FROM rows WHERE seq > 7")
    for use in (verify, Journal.open):
        with pytest.raises(JournalDamaged, match="last rows are missing") as found:
            use(path)
        assert found.value.seq == 8


def test_a_chain_written_anew_by_another_hand_is_no_match_for_the_noted_head(path):
    journal = Journal.open(path)
    journal.append(some(3))
    journal.close()
    forged = Journal.memory()
    forged.append([incident(1, "nothing happened"), incident(2), incident(3)])
    values = forged._db.execute("SELECT * FROM rows").fetchall()
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM rows")
        db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
    db.close()
    with pytest.raises(JournalDamaged):
        Journal.open(path)


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" * 300])
def test_a_file_that_is_no_database_is_named(path, content):
    path.write_bytes(content)
    for use in (Journal.open, verify, tail):
        with pytest.raises(JournalDamaged, match="damaged"):
            use(path)
    assert path.read_bytes() == content
    assert owner_of(path) == "", "the lock was let go"


def test_a_page_torn_by_the_disk_is_found(path):
    journal = Journal.open(path)
    journal.append([incident(n, "x" * 500) for n in range(200)])
    journal.close()
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(JournalDamaged):
        verify(path)


def test_a_database_that_is_no_journal_is_left_alone(path):
    shell(path, "CREATE TABLE mine (a)")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="no journal"):
        Journal.open(path)
    with pytest.raises(JournalError, match="no journal"):
        verify(path)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM mine").fetchone() == (0,)
    assert len(before) == len(path.read_bytes())


@pytest.mark.parametrize("use", [verify, tail])
def test_what_is_not_there_is_not_made(path, use):
    with pytest.raises(JournalError, match="no journal at"):
        use(path)
    assert not path.exists()


# ------------------------------------------------------------------------- failures


def test_a_full_disk_writes_nothing_and_is_tried_again(path):
    journal = Journal.open(path)
    journal.append(some(5))
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    big = [incident(n, "x" * 3000) for n in range(5)]
    for _ in range(3):
        with pytest.raises(JournalError, match="disk is full") as found:
            journal.append(big)
        assert "free" in found.value.fix
        assert journal.seq == 5
    journal._db.execute("PRAGMA max_page_count = 100000")
    assert journal.append(big) == 10
    assert [row for _, row in journal.rows()] == [*some(5), *big]
    journal.close()
    assert verify(path)[0] == 10


FULL = """
import resource, signal, sys
from pathlib import Path
from hean_router.store import Journal, JournalError
from tests.store.test_store_journal import incident, some
path = Path(sys.argv[1])
journal = Journal.open(path)
journal.append(some(3))
size = path.with_name(path.name + "-wal").stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5000, resource.RLIM_INFINITY))
try:
    journal.append([incident(n, "y" * 1000) for n in range(50)])
except JournalError as fault:
    print(fault.fix)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(journal.append(some(2)))
"""


def script(code, *arguments):
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_disk_that_really_takes_no_more_bytes(path):
    with script(FULL, path) as process:
        fix, last = process.communicate(timeout=60)[0].splitlines()
    assert fix
    assert last == "5"
    assert verify(path)[0] == 5, "and the process ended without closing"


def test_a_locked_file_is_an_error_soon_not_a_wait(path):
    journal = Journal.open(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalError, match="locked"):
        journal.append(some(1))
    other.execute("ROLLBACK")
    other.close()
    assert journal.append(some(1)) == 1
    journal.close()


def test_a_row_that_cannot_be_stored_takes_none_of_its_step_with_it():
    journal = Journal.memory()
    journal.append(some(2))
    with pytest.raises(OverflowError):
        journal.append([incident(1), incident(2**63)])
    assert journal.append(some(1)) == 3
    assert [seq for seq, _ in journal.rows()] == [1, 2, 3]


@pytest.mark.parametrize("moment", ["INSERT", "COMMIT", "after"])
def test_an_interrupt_at_any_moment_leaves_it_usable(path, moment):
    journal = Journal.open(path)
    journal.append(some(2))
    inner = journal._db

    class Interrupted:
        def __getattr__(self, name):
            return getattr(inner, name)

        def execute(self, text, *arguments):
            if moment == "COMMIT" and text == "COMMIT":
                raise KeyboardInterrupt
            found = inner.execute(text, *arguments)
            if moment == "after" and text == "COMMIT":
                raise KeyboardInterrupt  # it was written, and nobody was told
            return found

        def executemany(self, *arguments):
            inner.executemany(*arguments)
            if moment == "INSERT":
                raise KeyboardInterrupt

    journal._db = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        journal.append(some(2, start=10))
    journal._db = inner
    assert journal.append(some(1, start=20)) == 3
    assert [row.at_ns for _, row in journal.rows()] == [1, 2, 20]
    journal.close()
    assert verify(path)[0] == 3


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(JournalError) as found:
        Journal.open(tmp_path / "nowhere" / "journal.sqlite3")
    assert found.value.fix
    (tmp_path / "folder").mkdir()
    with pytest.raises(JournalError) as found:
        Journal.open(tmp_path / "folder")
    assert found.value.fix


# ------------------------------------------------------------------------- owners


OWNER = """
import sys
from pathlib import Path
from hean_router.store import Journal
from tests.store.test_store_journal import some
journal = Journal.open(Path(sys.argv[1]))
print("owned", flush=True)
sys.stdin.readline()
"""


def test_a_second_process_is_told_who_has_it(path):
    with script(OWNER.replace("sys.stdin.readline()", "import time; time.sleep(60)"), path) as one:
        assert one.stdout.readline() == "owned\n"
        for _ in range(2):
            with pytest.raises(JournalOwned, match=f"process {one.pid}"):
                Journal.open(path)
        assert owner_of(path) == str(one.pid)
        one.kill()
    assert owner_of(path) == ""
    journal = Journal.open(path)  # whoever dies lets go
    assert journal.epoch == 2
    with pytest.raises(JournalOwned):
        Journal.open(path)  # the same process counts as another
    journal.close()


def test_a_stale_owner_is_refused_though_the_lock_was_lost(path):
    old = Journal.open(path)
    old.append(some(1))
    path.with_name(path.name + ".lock").unlink()  # a cleaner, a network disk
    new = Journal.open(path)
    assert new.append(some(1)) == 2
    for _ in range(2):
        with pytest.raises(JournalOwned, match="taken over"):
            old.append(some(1))
    assert new.append(some(1)) == 3
    old.close()
    assert [seq for seq, _ in new.rows()] == [1, 2, 3]
    new.close()


def test_rows_by_another_hand_are_noticed_before_any_is_added(path):
    journal = Journal.open(path)
    journal.append(some(2))
    shell(path, "INSERT INTO rows VALUES (3, 1, 'incident', x'00', x'00')")
    with pytest.raises(JournalOwned, match="ends at row 3"):
        journal.append(some(1))
    journal.close()


@pytest.mark.parametrize("suffix", ["", "-wal"])
@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_deleted_under_it_takes_no_more_rows(path, suffix, replaced):
    journal = Journal.open(path)
    journal.append(some(1))
    file = path.with_name(path.name + suffix)
    data = file.read_bytes()
    file.rename(file.with_name("away"))
    if replaced:
        file.write_bytes(data)
    with pytest.raises(JournalOwned, match="deleted or replaced"):
        journal.append(some(1))
    file.with_name("away").replace(file)
    assert journal.append(some(1)) == 2
    journal.close()


WRITER = """
import sys
from pathlib import Path
from hean_router.store import Journal
from tests.store.test_store_journal import some
journal = Journal.open(Path(sys.argv[1]), sync=sys.argv[2])
while True:
    print(journal.append(some(3)), flush=True)
"""


@pytest.mark.parametrize("sync", ["full", "relaxed"])
def test_what_was_confirmed_is_there_after_kill_9(path, sync):
    confirmed = 0
    for round_ in range(3):
        with script(WRITER, path, sync) as writer:
            for _ in range(20 + round_ * 7):
                confirmed = int(writer.stdout.readline())
            writer.send_signal(signal.SIGKILL)
            for line in writer.stdout:
                confirmed = int(line)
        count, _ = verify(path)
        assert count in {confirmed, confirmed + 3}, "whole transactions, and no confirmed one lost"
        confirmed = count


# ------------------------------------------------------------------------- formats


def test_a_row_without_a_field_that_came_later_takes_its_default():
    body = encode(incident(5)).decode()
    old = msgspec.json.decode(body)
    for late in ("venue", "account", "subject"):
        del old[late]
    row = decode(msgspec.json.encode(old))
    assert row == Incident(at_ns=5, what="test", text="x")
    row = decode(msgspec.json.encode(old | {"dropped_since": 1}))
    assert row == Incident(at_ns=5, what="test", text="x"), "nor does one that went away harm"


def test_rows_of_an_older_format_are_lifted_as_they_are_read(path, monkeypatch):
    journal = Journal.open(path)
    journal.append([incident(1), NonceReserved(at_ns=2, venue="kraken", account="main", below=7)])
    journal.close()
    monkeypatch.setattr(journal_file, "FORMAT", 3)
    monkeypatch.setattr(
        journal_file,
        "LIFTS",
        {
            1: {"incident": lambda row: row | {"text": row["text"] + " of 1"}},
            2: {
                "incident": lambda row: row | {"text": row["text"] + " and 2"},
                "nonce_reserved": lambda row: row | {"below": row["below"] * 10},
            },
        },
    )
    new = Journal.open(path)
    new.append([incident(3)])
    rows = [row for _, row in new.rows()]
    assert [row.text for row in rows if isinstance(row, Incident)] == ["x of 1 and 2", "x"]
    assert rows[1].below == 70
    new.close()
    assert verify(path)[0] == 3, "what is on disk is as it was written"
    monkeypatch.undo()
    for use in (Journal.open, verify, tail):
        with pytest.raises(JournalError, match="newer program"):
            use(path)


def test_a_kind_that_this_program_does_not_know_is_named(path):
    journal = Journal.open(path)
    journal.append(some(1))
    kind, body = "of_the_future", b'{"row":"of_the_future","at_ns":2}'
    found = journal_file.chained(journal._hash, 2, kind, body)
    journal._db.execute("INSERT INTO rows VALUES (2, 2, ?, ?, ?)", (kind, body, found))
    with pytest.raises(JournalError, match="'of_the_future'") as fault:
        everything(journal)
    assert "newer version" in fault.value.fix
    assert not isinstance(fault.value, JournalDamaged)
    journal.close()


def test_limits_are_back():
    """The test of the full disk limits a process of its own."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
