"""A damaged journal: told where, never read wrongly, and built anew as far as it can be proven."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from hean_router.domain.errors import CommandError, HeanError
from hean_router.domain.record import (
    ChildIntended,
    Incident,
    Opened,
    ParentCancelAsked,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    StrategySet,
    encode,
)
from hean_router.engine.core import REPAIRED
from hean_router.oms import Orders
from hean_router.store import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalOwned,
    head_file,
    journal_file,
    verify,
)
from hean_router.store.carve import carve
from hean_router.store.repair import repair
from tests.store.journal_rows import Story

PAGE = 4096
ALL = object()  # rows
STORY = Story(5).until(120)
# One row is longer than a page: its end lies in pages of its own.
LONG = Incident(at_ns=1, what="long", text="x" * 9_000)


def write(path, rows=STORY, *, batch=7, close=True):
    """A journal, in transactions of `batch` rows; as a killed process leaves it if not closed."""
    journal = Journal.open(path, entropy=b"damage")
    for start in range(0, len(rows), batch):
        journal.append(rows[start : start + batch])
    if close:
        journal.close()
    else:
        died(journal)
    return journal


def died(journal):
    """What a killed process leaves: no note of the head in the file, its log not taken in."""
    twin = f"{journal.path}.as-it-was"
    for suffix in ("", "-wal"):
        shutil.copyfile(journal.path + suffix, twin + suffix)
    journal.close()
    for suffix in ("", "-wal"):
        os.replace(twin + suffix, journal.path + suffix)
    for suffix in ("-shm",):
        if os.path.exists(journal.path + suffix):
            os.unlink(journal.path + suffix)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal.sqlite3"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A closed journal and one whose process died, to be copied and harmed."""
    folder = tmp_path_factory.mktemp("sound")
    rows = [*STORY[:60], LONG, *STORY[60:]]
    write(folder / "closed.sqlite3", rows)
    write(folder / "killed.sqlite3", rows, close=False)
    return folder, rows


def put(sound, which, path):
    folder, rows = sound
    for suffix in ("", "-wal", ".head"):
        source = folder / f"{which}.sqlite3{suffix}"
        if source.exists():
            shutil.copyfile(source, f"{path}{suffix}")
    return rows


def shell(path, *statements):
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def read(path):
    """What a router that starts on it reads; None if it refuses."""
    try:
        journal = Journal.open(path)
    except JournalError:
        return None
    try:
        return [row for _, row in journal.rows()]
    except JournalError:
        return None
    finally:
        journal.close()


def told_by(path):
    """What `verify` says; nothing but a fault of the journal, and how to mend it."""
    try:
        verify(path)
    except JournalError as fault:
        return fault.fix or pytest.fail(f"no way out of: {fault}")
    return ""


def same(ours, theirs):
    return [encode(row) for row in ours] == [encode(row) for row in theirs]


def kept_of(path, rows, done):
    """Hold the new journal against what must be in it; the rows after the ones kept."""
    found = read(path)
    assert same(found[: done.rows], rows[: done.rows])
    return found[done.rows :]


# ------------------------------------------------------------------------- told, or harmless


def flips(path, seed, count, suffix=""):
    """`count` copies of the file with one bit of one byte turned."""
    whole = (path.parent / (path.name + suffix)).read_bytes()
    rng = Random(f"flips {seed}")
    for _ in range(count):
        at, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        spoiled = bytearray(whole)
        spoiled[at] ^= bit
        yield at, bytes(spoiled)


def never_wrong(sound, which, suffix, tmp_path, seed, count):
    """How many were told; whatever is read without a word is what was written."""
    told = 0
    folder, rows = sound
    for number, (at, spoiled) in enumerate(flips(folder / f"{which}.sqlite3", seed, count, suffix)):
        path = tmp_path / f"{number}.sqlite3"
        put(sound, which, path)
        (tmp_path / (path.name + suffix)).write_bytes(spoiled)
        told_by(path)
        found = read(path)
        if found is None:
            told += 1
        else:
            assert same(found, rows), f"byte {at}"
        for one in tmp_path.iterdir():
            one.unlink()
    return told


WHERE = [
    ("closed", ""),  # all of it is pages; some bytes of a page are not used
    ("killed", "-wal"),  # SQLite drops the log from there on, and the note beside it tells
    ("killed", ".head"),  # a witness that was spoiled is none: what is there is read
]


@pytest.mark.parametrize(("which", "suffix"), WHERE)
def test_a_flipped_bit_is_told_or_changes_nothing(sound, tmp_path, which, suffix):
    never_wrong(sound, which, suffix, tmp_path, 1, 6)


@pytest.mark.slow
@pytest.mark.parametrize(("which", "suffix", "least"), [(*WHERE[0], 130), (*WHERE[1], 190)])
def test_of_hundreds_of_flipped_bits_most_are_told(sound, tmp_path, which, suffix, least):
    assert never_wrong(sound, which, suffix, tmp_path, 3, 220) >= least


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("which", "suffix"), [*WHERE, ("killed", "")])
def test_thousands_of_flipped_bits_are_told_or_change_nothing(sound, tmp_path, which, suffix):
    never_wrong(sound, which, suffix, tmp_path, 2, 2_000)


# ------------------------------------------------------------------------- built anew


def zero(at, length=PAGE):
    def harm(path):
        with path.open("rb+") as file:
            file.seek(at)
            file.write(bytes(length))

    return harm


def statements(*texts):
    return lambda path: shell(path, *texts)


def spoil_body(path):
    """One letter of a row's text."""
    data = bytearray(path.read_bytes())
    at = data.index(b'"what":"long"')
    data[at + 8] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "kept", "readable"),
    [
        (spoil_body, 60, True),  # what follows can be read, and nothing proves it
        (statements("UPDATE rows SET at_ns = 7 WHERE seq = 50"), ALL, False),  # told by its body
        (statements("DELETE FROM rows WHERE seq = 40"), 39, True),
        (statements("UPDATE rows SET hash = zeroblob(32) WHERE seq = 12"), 11, True),
        (statements("UPDATE rows SET kind = 'filled' WHERE seq = 1"), 0, True),
        (
            statements(
                "UPDATE rows SET seq = CASE seq WHEN 30 THEN -31 ELSE -30 END WHERE seq IN (30,31)",
                "UPDATE rows SET seq = -seq WHERE seq < 0",
            ),
            29,
            True,
        ),
        (statements("DELETE FROM meta"), ALL, False),  # tag, epoch and head are gone
        (statements("UPDATE meta SET value = 'x' WHERE name = 'epoch'"), ALL, False),
        (statements("UPDATE meta SET value = 'A!' WHERE name = 'tag'"), ALL, False),
        (statements("UPDATE meta SET value = 'x' WHERE name = 'head'"), ALL, False),
        (zero(0, 100), ALL, False),  # the header alone: SQLite reads nothing, the pages are there
        (zero(0), ALL, False),  # with the names of the tables
        (zero(PAGE), None, None),  # the root of the rows' tree
        (zero(3 * PAGE), None, None),
    ],
)
def test_what_can_be_proven_is_kept_and_the_rest_is_told(sound, path, harm, kept, readable):
    rows = put(sound, "closed", path)
    harm(path)
    assert read(path) is None
    before = path.read_bytes()
    looked = repair(path, dry_run=True)
    assert path.read_bytes() == before, "looking changes nothing"
    done = repair(path)
    assert (looked.rows, looked.lost_to, looked.kinds) == (done.rows, done.lost_to, done.kinds)
    if kept is not None:
        kept = len(rows) if kept is ALL else kept
        assert done.rows == kept
        assert bool(done.lost) == readable
        assert done.lost_to == (0 if kept == len(rows) else len(rows))
    after = kept_of(path, rows, done)
    said = [row for row in after if not isinstance(row, Opened)]
    assert said[0].what == REPAIRED
    assert after[-1].state == "halted", "a kill switch may be among what is lost"
    # Nothing goes on that may have gone on in the rows that are lost.
    working, running = set(), set()
    for row in read(path):
        match row:
            case ParentPlaced(parent=parent):
                working.add(parent)
            case ParentEnded(parent=parent) | ParentCancelAsked(parent=parent):
                working.discard(parent)
            case StrategySet(strategy=name, running=on):
                (running.add if on else running.discard)(name)
    assert not working
    assert not running
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert os.stat(path).st_mode & 0o077 == 0
    # What stood there can be looked at, to the last byte.
    assert (path.parent / f"{path.name}.damaged-1").read_bytes() == before
    with pytest.raises(CommandError, match="nothing to repair"):
        repair(path)


@pytest.mark.parametrize("pages", [*range(0, 18, 3), 20, 23])
def test_a_file_cut_at_any_page_keeps_what_is_before_it(sound, path, pages):
    rows = put(sound, "closed", path)
    whole = path.read_bytes()
    assert len(whole) > 23 * PAGE
    path.write_bytes(whole[: pages * PAGE])
    assert read(path) is None, "the note beside it tells even of a file of no bytes"
    done = repair(path)
    kept_of(path, rows, done)
    assert done.lost_to == len(rows)
    # The first sixteen hold the tables themselves: of rows, of what is found by, of states.
    assert done.rows >= max(0, (pages - 16) * 3)


@pytest.mark.parametrize("part", [0, 3, 9])
def test_a_log_that_was_cut_or_lost_is_missed(sound, path, part):
    """SQLite itself says nothing of it: it takes the log up to the last commit that is whole."""
    rows = put(sound, "killed", path)
    wal = path.with_name(path.name + "-wal")
    whole = wal.read_bytes()
    if part:
        wal.write_bytes(whole[: len(whole) * part // 10])
    else:
        wal.unlink()
    with pytest.raises(JournalDamaged, match=r"last rows are missing|no such table") as found:
        verify(path)
    done = repair(path)
    assert done.rows >= found.value.seq - 1
    assert done.lost_to == len(rows)
    kept_of(path, rows, done)


def test_a_log_that_is_spoiled_in_its_first_frame_loses_nothing_that_lies_there(sound, path):
    rows = put(sound, "killed", path)
    wal = path.with_name(path.name + "-wal")
    data = bytearray(wal.read_bytes())
    data[40] ^= 1  # a checksum: SQLite takes no frame of it
    wal.write_bytes(data)
    assert read(path) is None
    # Reading in place as a router would has taken the log away: put it back for the repair.
    put(sound, "killed", path)
    wal.write_bytes(data)
    done = repair(path)
    assert (done.rows, done.lost_to) == (len(rows), 0)
    kept_of(path, rows, done)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"", "zero bytes"), (b"not a database at all" * 500, "another file"), (bytes(9000), "zeros")],
)
def test_of_a_file_without_a_row_everything_is_lost_and_it_starts(sound, path, content, why):
    rows = put(sound, "closed", path)
    path.write_bytes(content)
    assert read(path) is None, why
    done = repair(path)
    assert (done.rows, done.lost_from, done.lost_to) == (0, 1, len(rows))
    assert [type(row) for row in read(path)] == [Incident, RiskSet]


def test_a_failed_append_beside_the_one_that_took_its_place(path):
    """Both are proven by the row before them; the journal is the one that others follow."""
    journal = Journal.open(path, entropy=b"damage")
    journal.append(STORY[:10])
    kind, stray = "incident", encode(Incident(at_ns=3, what="stray", text=""))
    told = journal_file.chained(journal._hash, 11, kind, stray)
    journal.append(STORY[10:20])
    journal.close()
    data = bytearray(path.read_bytes())
    other = path.with_name("other.sqlite3")
    with closing(sqlite3.connect(other)) as db, db:
        db.executescript(journal_file._SCHEMA)
        db.execute("INSERT INTO rows VALUES (11, 3, ?, ?, ?)", (kind, stray, told))
    pages = other.read_bytes()
    leaf = next(
        pages[at : at + PAGE] for at in range(0, len(pages), PAGE) if stray in pages[at : at + PAGE]
    )
    data[:100] = bytes(100)
    path.write_bytes(data + leaf)
    assert len([one for one in carve(path) if one.seq == 11]) > 1
    done = repair(path)
    assert done.rows == 20
    kept_of(path, STORY, done)


# ------------------------------------------------------------------------- what follows from it


def test_keys_are_new_and_the_lost_ones_are_known_as_ours(path):
    rows = [  # the first of all
        Opened(at_ns=1, epoch=1, tag="abc", version="0", config_digest="", mode="live")
    ]
    first = write(path, [*rows, *STORY[1:]]).tag
    shell(path, "UPDATE rows SET hash = zeroblob(32) WHERE seq = 1")
    done = repair(path)
    assert done.rows == 0
    orders = Orders()
    for row in read(path):
        orders.apply(row)
    # Of the file, of the row that named it, and of the orders' own keys.
    assert orders.tags >= {first, "abc", "tag"}
    assert done.tag not in orders.tags
    journal = Journal.open(path)
    assert journal.tag == done.tag
    journal.close()


def test_lost_orders_are_listed_by_their_ids_at_the_venues(sound, path):
    rows = put(sound, "closed", path)
    shell(path, "UPDATE rows SET hash = zeroblob(32) WHERE seq = 30")
    done = repair(path)
    lost = [row for row in rows[30:] if isinstance(row, ChildIntended)]
    assert lost
    assert done.keys == sorted({row.key for row in rows[29:] if isinstance(row, ChildIntended)})
    lines = Path(done.listed).read_bytes().splitlines()
    assert len(lines) == len(done.lost) == len(rows) - 29
    assert os.stat(done.listed).st_mode & 0o077 == 0


def test_tables_beside_the_rows_are_made_anew_and_all_goes_on(sound, path):
    rows = put(sound, "closed", path)
    shell(path, "UPDATE ix_parents SET client_order_id = 'another'")
    tag = verify(path) and repair(path, dry_run=True).old_tag
    done = repair(path)
    assert (done.rows, done.lost_to, done.tag) == (len(rows), 0, tag)
    assert same(read(path), rows), "no halt, no new tag: nothing is lost"
    with pytest.raises(CommandError, match="nothing to repair"):
        repair(path)


def test_its_epoch_is_above_every_one_before(path):
    for _ in range(5):
        journal = write(path, STORY[:3])
    shell(path, "DELETE FROM rows WHERE seq = 2")
    repair(path)
    again = Journal.open(path)
    assert again.epoch > journal.epoch
    again.close()


def test_a_second_repair_keeps_both_damaged_files(path):
    write(path)
    for number in (1, 2):
        shell(path, "DELETE FROM rows WHERE seq = 5")
        done = repair(path)
        assert done.rows == 4
        assert path.with_name(f"{path.name}.damaged-{number}").exists()
        assert done.kept[0].endswith(f"damaged-{number}")


def test_what_needs_no_repair_or_cannot_have_one_is_left_alone(path):
    with pytest.raises(CommandError, match="no journal"):
        repair(path)
    journal = Journal.open(path)
    journal.append(STORY[:5])
    with pytest.raises(JournalOwned):
        repair(path)
    journal.close()
    with pytest.raises(CommandError, match="5 rows, the chain holds"):
        repair(path)
    shell(path, "PRAGMA user_version = 9", "INSERT INTO meta VALUES ('format 9', '3')")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="newer program"):
        repair(path)
    assert path.read_bytes() == before


def test_another_database_is_not_taken_for_a_journal(path):
    shell(path, "CREATE TABLE mine (a)")
    before = path.read_bytes()
    with pytest.raises(HeanError, match="nothing of it is of a journal"):
        repair(path)
    assert path.read_bytes() == before


def test_a_version_that_was_flipped_is_no_newer_program(sound, path):
    rows = put(sound, "closed", path)
    shell(path, "PRAGMA user_version = 65")
    assert read(path) is None
    assert repair(path).rows == len(rows)


def test_the_note_beside_tells_no_row_that_is_not_there(path):
    journal = Journal.open(path)
    for row in STORY[:5]:
        journal.append([row])
        assert head_file.read(str(path))[0] == journal.seq
    journal.close()
    relaxed = Journal.open(path, sync="relaxed")
    relaxed.append(STORY[5:6])
    # A power cut could leave the note and take the row.
    assert head_file.read(str(path))[0] == 5
    relaxed.close()
