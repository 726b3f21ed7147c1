"""`hean db` on real journals: copied while written, put back with care, damage named by its row."""

import asyncio
import json
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from typer.testing import CliRunner

from hean_router.cli.db import app
from hean_router.domain.record import Opened, ParentPlaced
from hean_router.oms import Orders
from hean_router.store import backup as backup_file
from hean_router.store import journal_file, look, schema
from hean_router.store.feeder import Feeder
from hean_router.store.journal_file import Journal, JournalDamaged, JournalError, JournalOwned
from hean_router.store.urls import beside, read_url
from tests.store.journal_rows import START, Story, intended, placed
from tests.store.test_store_tables import dump


def hean(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def told(*words):
    done = hean(*words, "--json")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.output)


def opened(journal):
    return Opened(
        at_ns=START,
        epoch=journal.epoch,
        tag=journal.tag,
        version="0",
        config_digest="",
        mode="paper",
    )


def run(path, parents=1, entropy=b"first", keep=False):
    """A router's life: what it found, what it placed and under which keys; the journal closed."""
    journal = Journal.open(path, sync="relaxed", entropy=entropy)
    orders = Orders()
    for _, row in journal.rows():
        orders.apply(row)

    def write(row):
        journal.append([row])
        orders.apply(row)

    write(opened(journal))
    keys = []
    for _ in range(parents):
        parent = orders.next_parent_id()
        key = orders.child_key(parent, 1)
        write(placed(parent))
        write(intended(parent, key=key))
        keys.append(key)
    if keep:
        return journal, orders, keys
    journal.close()
    return None, orders, keys


CHANGED = "UPDATE rows SET body = CAST(replace(body, '\"at_ns\"', '\"at_nx\"') AS BLOB)"


def damage(path, seq, sql=CHANGED):
    with closing(sqlite3.connect(path)) as db:
        assert db.execute(f"{sql} WHERE seq = ?", (seq,)).rowcount == 1
        db.commit()


@pytest.fixture
def state(tmp_path):
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def file(state):
    return state / "journal.sqlite3"


def test_a_journal_is_copied_whole_while_a_router_writes_it(state, file, tmp_path):
    story = Story(1).until(3000)
    stop, ready, longest, count = threading.Event(), threading.Event(), [0.0], [0]

    def router():
        journal = Journal.open(file, sync="relaxed")
        journal.append(story)
        ready.set()
        while not stop.is_set():
            began = time.perf_counter()
            journal.append([placed(f"{count[0]:08}")])
            longest[0] = max(longest[0], time.perf_counter() - began)
            count[0] += 1
        journal.close()

    writer = threading.Thread(target=router)
    writer.start()
    try:
        assert ready.wait(30)
        before = count[0]
        code, done = told("backup", tmp_path / "copy", "--state", state)
        during = count[0] - before
    finally:
        stop.set()
        writer.join()
    assert code == 0
    assert during > 10  # it did go on, and each row is whole or not there
    assert len(story) <= done["rows"] <= len(story) + count[0]
    assert look.verify(tmp_path / "copy")[0] == done["rows"]
    assert look.verify(file)[0] == len(story) + count[0]
    print(f"{during} commits during the copy, the longest took {longest[0] * 1e3:.1f} ms")


def test_a_commit_between_any_two_turns_does_not_begin_the_copy_anew(file, tmp_path, monkeypatch):
    journal = Journal.open(file, sync="relaxed")
    at_first = journal.append(Story(1).until(500))
    turns = []

    class Slow(sqlite3.Connection):
        def backup(self, target, **how):
            def between(_status, left, total):
                turns.append((left, total))
                assert len(turns) < 1_000, "it begins again and again"
                journal.append([placed(f"{len(turns):08}")])

            super().backup(target, progress=between, **how)

    real = sqlite3.connect
    monkeypatch.setattr(
        backup_file.sqlite3, "connect", lambda *of, **how: real(*of, factory=Slow, **how)
    )
    monkeypatch.setattr(backup_file, "PAGES", 1)
    backup_file.copy(file, tmp_path / "copy")
    journal.close()
    assert len(turns) > 20
    assert look.verify(tmp_path / "copy")[0] == at_first  # as of the moment it began


def test_nothing_is_put_back_under_a_router(state, file, tmp_path):
    run(file)
    told("backup", tmp_path / "copy", "--state", state)
    journal, _, _ = run(file, keep=True)
    try:
        words = ("restore", tmp_path / "copy", "--state", state, "--force")
        fault = hean(*words).exception
        assert isinstance(fault, JournalOwned)
        assert "stop it" in fault.fix
        journal.append([placed("0000000z")])  # it has noticed nothing
    finally:
        journal.close()
    assert told(*words)[0] == 0  # and once it has ended, it can be


@pytest.mark.parametrize(
    ("spoil", "fault", "why"),
    [
        (lambda path: damage(path, 2), JournalDamaged, "a row was changed"),
        (lambda path: damage(path, 2, "DELETE FROM rows"), JournalDamaged, "a row is missing"),
        (lambda path: damage(path, 3, "DELETE FROM rows"), JournalDamaged, "the last is cut off"),
        (lambda path: path.write_bytes(b"no database" * 500), JournalError, "no database"),
        (lambda path: path.write_bytes(b""), JournalError, "nothing at all"),
    ],
)
def test_a_copy_that_does_not_hold_is_refused_and_the_journal_stays(
    state, file, tmp_path, spoil, fault, why
):
    run(file)
    told("backup", tmp_path / "copy", "--state", state)
    spoil(tmp_path / "copy")
    whole = look.verify(file)
    with pytest.raises((fault, journal_file.HeanError)):
        told("restore", tmp_path / "copy", "--state", state, "--force")
    assert look.verify(file) == whole, why
    beside_it = {f"{file.name}{suffix}" for suffix in ("", ".lock", "-wal", "-shm")}
    assert {path.name for path in state.iterdir()} <= beside_it  # no half of a copy


def test_put_back_an_old_copy_gives_no_key_a_second_time_and_knows_those_it_gave(
    state, file, tmp_path
):
    _, _, early = run(file, 2)
    told("backup", tmp_path / "copy", "--state", state)
    _, _, lost = run(file, 3)  # sent to venues, and not in the copy
    code, done = told("restore", tmp_path / "copy", "--state", state, "--force")
    assert code == 0
    journal, orders, late = run(file, 3, keep=True)
    journal.close()
    assert done["tag"] == journal.tag == orders.tag
    assert [key[4:] for key in late] == [key[4:] for key in lost]  # the same names…
    assert not set(late) & {*early, *lost}  # …under another tag
    assert all(orders.key_of(key) for key in (*early, *lost, *late))
    assert set(early) <= orders.children.keys()
    assert not orders.key_of("hzzz" + lost[0][4:]) or "zzz" in orders.tags


def test_a_tag_is_new_even_if_chance_would_have_it_otherwise(state, file, tmp_path):
    run(file, entropy=b"first")
    told("backup", tmp_path / "copy", "--state", state)
    before = Journal.memory(entropy=b"first").tag
    assert journal_file.give_new_tag(file, entropy=b"first") != before
    second = Journal.memory(entropy=b"second").tag
    assert journal_file.give_new_tag(file, entropy=b"second") == second
    run(file)
    # The copy knows nothing of the second; what is being replaced does.
    copy = tmp_path / "copy"
    assert journal_file.give_new_tag(copy, besides=file, entropy=b"second") not in {before, second}
    # One that cannot be read hinders nothing.
    file.write_bytes(b"spoiled" * 1000)
    assert journal_file.give_new_tag(copy, besides=file, entropy=b"second") == second


def test_a_journal_spoiled_beyond_reading_is_replaced_and_kept_beside(state, file, tmp_path):
    run(file)
    told("backup", tmp_path / "copy", "--state", state)
    file.write_bytes(b"spoiled" * 1000)
    assert told("restore", tmp_path / "copy", "--state", state, "--force")[0] == 0
    assert file.with_name(file.name + ".before-restore").read_bytes() == b"spoiled" * 1000
    assert run(file)[1].tag


def test_rebuilt_from_a_real_journal_the_tables_are_those_that_grew(state, file):
    rows = Story(31).until(300)
    journal = Journal.open(file, sync="relaxed")
    url = read_url(beside(file))

    async def grow():
        await schema.upgrade(url)
        feeder = Feeder(journal, url, batch=17)
        for start in range(0, len(rows), 40):
            journal.append(rows[start : start + 40])
            while await feeder.once():
                pass
        await feeder.close()
        return await dump(url)

    grown = asyncio.run(grow())
    try:  # while the router owns it
        assert told("rebuild", "--state", state) == (0, {"rows": len(rows)})
    finally:
        journal.close()
    assert asyncio.run(dump(url)) == grown
    assert len(grown["orders"]) == sum(isinstance(row, ParentPlaced) for row in rows)


def test_check_names_the_row_that_does_not_hold(state, file):
    journal, _, _ = run(file, 5, keep=True)
    told("upgrade", "--state", state)
    try:  # a running router is not disturbed by it
        code, found = told("check", "--state", state)
        assert (code, found["ok"], found["journal_rows"]) == (0, True, 11)
        assert found["damaged_row"] is None
        assert len(found["journal_hash"]) == 64
        journal.append([placed("0000000z")])
    finally:
        journal.close()
    damage(file, 7)
    code, found = told("check", "--state", state)
    assert (code, found["ok"], found["damaged_row"]) == (1, False, 7)
    assert "row 7 is not what was written" in found["amiss"][0]
    said = hean("check", "--state", state)
    assert "row 7" in said.output
    assert "hean db restore" in said.output
