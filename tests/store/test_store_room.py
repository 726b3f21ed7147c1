"""A disk that is nearly full counts as full: SQLite would die of a signal on one that is."""

import errno
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hean_router.store import Journal, JournalError, room, verify
from tests.store.test_store_journal import some

ROOT = Path(__file__).resolve().parents[2]


def test_below_the_least_it_is_full(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "left", lambda _: room.LEAST)
    room.must_have(tmp_path)
    monkeypatch.setattr(room, "left", lambda _: room.LEAST - 1)
    with pytest.raises(OSError, match="the disk is full") as found:
        room.must_have(tmp_path)
    assert found.value.errno == errno.ENOSPC


def test_what_is_left_is_what_the_system_says(tmp_path):
    assert abs(room.left(tmp_path) - shutil.disk_usage(tmp_path).free) < 50_000_000


def test_a_journal_is_neither_opened_nor_written_without_room(monkeypatch, tmp_path):
    path = tmp_path / "journal.sqlite3"
    journal = Journal.open(path)
    journal.append(some(5))
    monkeypatch.setattr(room, "left", lambda _: 0)
    for _ in range(2):
        with pytest.raises(JournalError, match="the disk is full") as found:
            journal.append(some(5))
        assert "free some disk" in found.value.fix
    monkeypatch.undo()
    assert journal.append(some(5)) == 10, "and goes on where it was"
    monkeypatch.setattr(room, "left", lambda _: 0)
    journal.close()  # without its mark: nothing is wrong
    with pytest.raises(JournalError, match="the disk is full"):
        Journal.open(path)
    monkeypatch.undo()
    Journal.open(path).close()
    assert verify(path)[0] == 10


# Is killed and takes its journal up again, on a disk with so many KiB left: how each of them ends.
LIVES = """
import os, sys
from pathlib import Path
from hean_router.store import Journal, JournalError
from tests.store.test_store_journal import some
folder = Path(sys.argv[1])
ends = []
for spare in range(0, 60, 2):
    if not os.fork():
        journal = Journal.open(folder / "journal")
        journal.append(some(50))
        journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os._exit(0)
    os.wait()
    with (folder / "ballast").open("wb") as ballast:
        at = 0
        for size in (65_536, 4_096, 1_024):
            while True:
                try:
                    os.posix_fallocate(ballast.fileno(), at, size)
                except OSError:
                    break
                at += size
        os.ftruncate(ballast.fileno(), at - 1_024 * spare)
    if not os.fork():
        try:
            journal = Journal.open(folder / "journal")
            for _ in range(40):
                journal.append(some(1))
            os._exit(0)
        except JournalError as fault:
            os._exit(7 if "the disk is full" in str(fault) else 8)
    ends.append(os.wait()[1])
    os.unlink(folder / "ballast")
print(sorted(set(ends)), Journal.open(folder / "journal").seq)
"""


@pytest.mark.slow
@pytest.mark.parametrize("block", [1024, 4096])
def test_on_a_disk_that_is_full_to_the_last_byte_it_lives(block, tmp_path):
    image, place = tmp_path / "image", tmp_path / "place"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(40_000_000)
    for words in (
        ["mkfs.ext4", "-q", "-F", "-m", "0", "-b", str(block), str(image)],
        ["mount", "-o", "loop", str(image), str(place)],
    ):
        if not shutil.which(words[0]) or subprocess.run(words, capture_output=True).returncode:
            pytest.skip(f"{words[0]}: not permitted here")
    try:
        done = subprocess.run(
            [sys.executable, "-c", LIVES, str(place)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    assert done.stdout == "[1792] 1500\n", "each is refused, none dies of a signal"
