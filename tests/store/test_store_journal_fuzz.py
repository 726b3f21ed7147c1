"""Any bytes at all in a journal's place: an error of the journal's, soon, and never another."""

import sqlite3
from contextlib import closing, suppress
from random import Random
from time import perf_counter

import msgspec
import pytest

from hean_router.domain.errors import CommandError
from hean_router.domain.record import encode, kind_of
from hean_router.store import Journal, JournalError, verify
from hean_router.store.carve import carve
from hean_router.store.journal_file import chained
from hean_router.store.look import looked_at
from hean_router.store.repair import repair
from tests.store.journal_rows import Story

ROW_S = 0.05  # the most that a row may take to be read, or refused
STORY = Story(11).until(80)
NASTY = (
    b"", b"null", b"[]", b"{}", b'{"row":"filled"}', b"\xff\xfe", b"[" * 5_000, b'{"a":' * 5_000,
    b'"' + b"\\u0000" * 9_999 + b'"', b"9" * 9_999, b"1e999999999", b"\x00" * 99,
)  # fmt: skip


def mutated(rng, data):
    """Other bytes, a few to many of them spoiled, missing, moved or doubled."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 2, 5, 50))):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        end = min(end, at + rng.choice((1, 4, 40, 5_000)))
        match rng.randrange(6):
            case 0:
                data[at:end] = rng.randbytes(end - at)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:end] = bytes(end - at)
            case 4:
                other = rng.randrange(len(data) + 1)
                data[at:end] = data[other : other + end - at]
            case 5 if end > at:
                data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(data)


def body_of(rng, row):
    """The row's JSON, spoiled as text or as a value: the chain will hold all the same."""
    body = encode(row)
    match rng.randrange(4):
        case 0:
            return mutated(rng, body)
        case 1:
            return rng.choice(NASTY)
        case 2:
            fields = msgspec.json.decode(body)
            name = rng.choice(list(fields))
            value = rng.choice(
                (None, [], {}, 1e308, -1, 2**70, "x" * 2_000, "NaN", "1E+999999", True)
            )
            return msgspec.json.encode(fields | {name: value})
        case _:
            fields = msgspec.json.decode(body)
            fields.pop(rng.choice(list(fields)))
            return msgspec.json.encode(fields)


def forged(path, rng):
    """A journal whose chain holds over bodies that no program wrote."""
    journal = Journal.open(path, sync="relaxed", entropy=b"fuzz")
    journal.close()
    before, values = bytes(32), []
    bad = rng.randrange(len(STORY))
    for seq, row in enumerate(STORY, 1):
        body = body_of(rng, row) if seq - 1 == bad else encode(row)
        kind = kind_of(row) if rng.random() < 0.98 else rng.choice(("", "filled", "x" * 999, "\0"))
        before = chained(before, seq, kind, body)
        values.append((seq, row.at_ns, kind, body, before))
    with closing(sqlite3.connect(path)) as db, db:
        db.executemany("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)


def spoiled(path, rng, whole):
    path.write_bytes(mutated(rng, whole))
    if rng.random() < 0.3:
        path.with_name(path.name + "-wal").write_bytes(mutated(rng, whole[:9_000]))


def read_all(path):
    """Every way there is to read it; how long the slowest row took, in seconds."""
    slowest = 0.0
    try:
        with looked_at(path) as seen:
            rows, began = seen.rows(), perf_counter()
            for _ in rows:
                slowest, began = max(slowest, perf_counter() - began), perf_counter()
    except JournalError as fault:
        assert fault.fix  # noqa: PT017 - whatever is raised, if anything is
        slowest = max(slowest, perf_counter() - began if "began" in locals() else 0)
    for use in (verify, lambda path: list(carve(path)), lambda path: Journal.open(path).close()):
        try:
            use(path)
        except JournalError as fault:
            assert fault.fix  # noqa: PT017 - the same
    return slowest


def mended(path):
    """A repair ends in a journal that can be read, or says why not."""
    with suppress(JournalError, CommandError):  # a newer program's rows; nothing to repair
        repair(path)
        assert verify(path)[0] >= 2


def campaign(folder, seed, count):
    """`count` journals of each kind; the slowest row of all."""
    whole_path = folder / "whole.sqlite3"
    journal = Journal.open(whole_path, sync="relaxed", entropy=b"fuzz")
    journal.append(STORY)
    journal.close()
    whole, slowest = whole_path.read_bytes(), []
    for number in range(count):
        rng = Random(f"journal {seed} {number}")
        path = folder / "one.sqlite3"
        if number % 2:
            spoiled(path, rng, whole)
        else:
            forged(path, rng)
        slowest.append(read_all(path))
        if number % 5 < 2:
            mended(path)
        for one in folder.glob("*one.sqlite3*"):
            one.unlink()
    return sorted(slowest)


def test_no_bytes_make_the_reader_fail_in_any_way_but_its_own(tmp_path):
    campaign(tmp_path, 1, 14)


@pytest.mark.storm
@pytest.mark.timeout(900)
def test_a_long_search_for_bytes_that_do(tmp_path):
    slowest = campaign(tmp_path, 2, 1_500)
    # One stall of the machine is not the reader's: what is slow is so each time.
    assert slowest[-5] < ROW_S, slowest[-10:]
