"""Copies of a journal: of one moment while it is written, checked, and put back with care."""

import hashlib
import sqlite3
import threading
from contextlib import closing

import pytest

from hean_router.domain.errors import CommandError
from hean_router.store.backup import backup, restore
from hean_router.store.urls import StoreError


class Broken(StoreError):
    pass


def make(path, count=100):
    """A hash-chained file as small as can be: what the check proves is that a copy is whole."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE rows (seq INTEGER PRIMARY KEY, body TEXT, chain TEXT)")
    add(path, count)
    return path


def add(path, count):
    with closing(sqlite3.connect(path, timeout=10)) as db:
        last = db.execute("SELECT seq, chain FROM rows ORDER BY seq DESC LIMIT 1").fetchone()
        seq, chain = last or (0, "")
        for _ in range(count):
            seq += 1
            chain = hashlib.sha256(f"{chain}{seq}".encode()).hexdigest()
            db.execute("INSERT INTO rows VALUES (?, ?, ?)", (seq, "x" * 200, chain))
        db.commit()


def check(path):
    chain, count = "", 0
    with closing(sqlite3.connect(path)) as db:
        for seq, told in db.execute("SELECT seq, chain FROM rows ORDER BY seq"):
            chain = hashlib.sha256(f"{chain}{seq}".encode()).hexdigest()
            if chain != told:
                raise Broken(f"the chain breaks at row {seq}")
            count += 1
    return count


def test_a_copy_is_whole_and_private_and_nothing_lies_about(tmp_path):
    journal = make(tmp_path / "journal.sqlite3")
    done = backup(journal, tmp_path / "copy.sqlite3", check)
    assert (done.rows, check(tmp_path / "copy.sqlite3")) == (100, 100)
    assert (tmp_path / "copy.sqlite3").stat().st_mode & 0o077 == 0
    assert done.bytes == (tmp_path / "copy.sqlite3").stat().st_size
    assert {path.name for path in tmp_path.iterdir()} == {"journal.sqlite3", "copy.sqlite3"}


def test_what_is_only_in_the_write_ahead_log_is_copied_too(tmp_path):
    journal = make(tmp_path / "journal.sqlite3", 1)
    with closing(sqlite3.connect(journal)) as router:
        router.execute("PRAGMA wal_autocheckpoint=0")
        router.execute("SELECT count(*) FROM rows").fetchone()
        add(journal, 50)
        assert backup(journal, tmp_path / "copy", check).rows == 51


def test_a_router_goes_on_writing_while_it_is_copied(tmp_path):
    journal = make(tmp_path / "journal.sqlite3", 5000)
    stop, wrote = threading.Event(), []

    def router():
        while not stop.is_set():
            add(journal, 3)
            wrote.append(3)

    writer = threading.Thread(target=router)
    writer.start()
    try:
        done = backup(journal, tmp_path / "copy", check)
    finally:
        stop.set()
        writer.join()
    assert 5000 <= done.rows <= 5000 + sum(wrote)
    assert (done.rows - 5000) % 3 == 0  # whole transactions, of one moment


def test_nothing_is_overwritten_unless_told_so(tmp_path):
    journal, target = make(tmp_path / "journal.sqlite3"), tmp_path / "copy"
    target.write_text("precious")
    with pytest.raises(CommandError, match="is there already"):
        backup(journal, target, check)
    assert target.read_text() == "precious"
    assert backup(journal, target, check, force=True).rows == 100


def test_a_journal_that_does_not_hold_gives_no_copy_and_spoils_none(tmp_path):
    journal, target = make(tmp_path / "journal.sqlite3"), tmp_path / "copy"
    backup(journal, target, check)
    good = target.read_bytes()
    with closing(sqlite3.connect(journal)) as db:
        db.execute("DELETE FROM rows WHERE seq = 40")
        db.commit()
    with pytest.raises(Broken, match="41"):
        backup(journal, target, check, force=True)
    assert target.read_bytes() == good
    assert {path.name for path in tmp_path.iterdir()} == {"journal.sqlite3", "copy"}


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_what_is_no_journal_is_told(tmp_path, content):
    (tmp_path / "copy").write_bytes(content)
    with pytest.raises((StoreError, sqlite3.Error)):
        restore(tmp_path / "copy", tmp_path / "journal.sqlite3", check)
    assert not (tmp_path / "journal.sqlite3").exists()


def test_put_back_the_old_one_is_kept_beside(tmp_path):
    journal = make(tmp_path / "journal.sqlite3")
    backup(journal, tmp_path / "copy", check)
    add(journal, 7)
    with pytest.raises(CommandError, match="is there already"):
        restore(tmp_path / "copy", journal, check)
    assert check(journal) == 107
    assert restore(tmp_path / "copy", journal, check, force=True).rows == 100
    assert check(journal) == 100
    assert check(tmp_path / "journal.sqlite3.before-restore") == 107


def test_a_copy_that_does_not_hold_is_not_put_back(tmp_path):
    journal = make(tmp_path / "journal.sqlite3")
    backup(journal, tmp_path / "copy", check)
    with closing(sqlite3.connect(tmp_path / "copy")) as db:
        db.execute("UPDATE rows SET chain = 'x' WHERE seq = 3")
        db.commit()
    with pytest.raises(Broken):
        restore(tmp_path / "copy", journal, check, force=True)
    assert check(journal) == 100


def test_what_is_not_there_is_the_callers_mistake(tmp_path):
    with pytest.raises(CommandError, match="no journal"):
        backup(tmp_path / "no", tmp_path / "copy", check)
    with pytest.raises(CommandError, match="no copy"):
        restore(tmp_path / "no", tmp_path / "journal.sqlite3", check)
