"""`hean audit`, as it is called, on the journal of a router that has had some bad luck."""

import asyncio
import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal

import msgspec
import pytest
from msgspec import structs
from typer.testing import CliRunner

from hean_router.cli import audit
from hean_router.cli.audit import app
from hean_router.config import Settings
from hean_router.domain.errors import CommandError
from hean_router.domain.parent import VenueChoice
from hean_router.domain.record import (
    ChildIntended,
    Decided,
    Filled,
    ForeignOrder,
    Incident,
    Opened,
    ParentEnded,
    ParentPlaced,
)
from hean_router.oms import Orders
from hean_router.sim import virtual
from hean_router.store import Journal, JournalError, verify
from hean_router.store import story as story_of
from tests.storm.house import LIMITS, plot


async def luck(world, path):
    """Orders that fill, rest, vanish and are refused, at four simulated venues."""
    async with plot(world, ("BTC/USDT", "USDT/USD"), faults="until:10000h") as home:
        journal = Journal.open(path, sync="relaxed", entropy=b"audit")
        async with home.moved_in(journal):
            half = VenueChoice(max_share=Decimal("0.5"))
            await home.done(home.place("buy", "0.4", venues=half, client="split"))
            home.venues["okx"].simulator.order_faults.demand("undone")
            only = VenueChoice(include=("okx",))
            await home.done(home.place("buy", "0.01", venues=only, client="lost"), 60)
            far = (await mid(home) * Decimal("0.97")).quantize(Decimal("0.1"))
            rests = home.place("buy", "0.02", limit=far, client="rests")
            home.place("sell", "0.03", client="twin")
            home.place("sell", "0.03", client="twin", account="second")
            await asyncio.sleep(2)
            home.trading.cancel(rests.id, "me", "changed my mind")
            await home.done(rests)
            await asyncio.sleep(1)


async def mid(home):
    core = home.engine.core
    found = core.mid(core.pair_of["BTC/USDT"])
    core._mids.clear()
    return found[0]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "journal.sqlite3"
    virtual.run(lambda world: luck(world, path), 3)
    return path


@pytest.fixture
def path(lived, tmp_path):
    """A copy to be harmed."""
    target = tmp_path / "journal.sqlite3"
    shutil.copyfile(lived, target)
    target.chmod(0o600)
    return target


@pytest.fixture(scope="module")
def rows(lived):
    journal = Journal.open(shutil.copyfile(lived, lived.with_name("read.sqlite3")))
    found = dict(journal.rows())
    journal.close()
    return found


def hean(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def told(*words):
    code, text = hean(*words, "--json")
    return code, json.loads(text)


def shell(path, *statements):
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def of(rows, kind, **fields):
    """Rows of a kind, by number."""
    return {
        seq: row
        for seq, row in rows.items()
        if isinstance(row, kind) and all(getattr(row, k) == v for k, v in fields.items())
    }


def parent_of(rows, client, account="main"):
    return next(
        row.parent
        for row in of(rows, ParentPlaced).values()
        if (row.intent.client_order_id, row.intent.account) == (client, account)
    )


# ------------------------------------------------------------------------- verify


def test_a_sound_journal_holds_and_adds_up(path, rows):
    code, found = told("verify", "--journal", path)
    assert (code, found["ok"], found["findings"]) == (0, True, [])
    assert found["rows"] == len(rows)
    assert found["head"] == verify(path)[1]
    orders = Orders()
    for row in rows.values():
        orders.apply(row)
    assert found["state"]["orders"] == orders.state_hash()
    assert set(found["state"]) == {"orders", "ledger", "risk"}
    names = {one["name"] for one in found["checks"]}
    assert names >= {"file", "chain", "database", "state", "positions", "reserves", "invariants"}
    code, text = hean("verify", "--journal", path)
    assert code == 0
    assert text.endswith("the journal holds\n")
    assert found["state"]["orders"] in text


def test_it_may_be_proven_while_a_router_writes_it(path):
    journal = Journal.open(path, sync="relaxed")
    journal.append([Incident(at_ns=1, what="x", text="")])
    assert told("verify", "--journal", path, "--chain-only")[1]["ok"]
    assert told("verify", "--journal", path)[1]["rows"] == journal.seq
    journal.close()


@pytest.mark.parametrize(
    ("harm", "row"),
    [
        ("DELETE FROM rows WHERE seq = 9", 9),
        ("UPDATE rows SET body = CAST(replace(body, 'at_ns', 'at_nz') AS BLOB) WHERE seq = 20", 20),
        ("UPDATE rows SET hash = zeroblob(32) WHERE seq = 5", 5),
        ("UPDATE rows SET at_ns = 1 WHERE seq = 7", 7),
        ("DELETE FROM rows WHERE seq > 30", 31),
    ],
)
def test_damage_is_told_with_its_row_and_what_mends_it(path, harm, row):
    shell(path, harm)
    for how in ((), ("--chain-only",)):
        code, found = told("verify", "--journal", path, *how)
        assert (code, found["ok"]) == (1, False)
        (one,) = [one for one in found["findings"] if one["check"] == "chain"]
        assert one["row"] == row
        assert "hean audit repair" in one["fix"]
        assert one["why"]
    code, text = hean("verify", "--journal", path)
    assert code == 1
    assert f"(row {row})" in text
    assert text.endswith("the journal does not hold\n")
    # What it says to do can be done.
    assert hean("repair", "--journal", path)[0] == 0
    assert told("verify", "--journal", path)[0] == 0


def test_others_eyes_and_other_owners(path, monkeypatch):
    path.chmod(0o640)
    code, found = told("verify", "--journal", path, "--chain-only")
    assert code == 1
    assert found["findings"][0]["fix"] == f"chmod 600 {path}"
    path.chmod(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    found = told("verify", "--journal", path, "--chain-only")[1]
    assert "you are 12345" in found["findings"][0]["what"]


def overfill(rows):
    trade = list(of(rows, Filled).values())[-1]
    return [structs.replace(trade, trade_id="invented", qty=Decimal(9))]


def never_meant(rows):
    trade = next(iter(of(rows, Filled).values()))
    return [structs.replace(trade, trade_id="invented", key="haud0000009900100", parent="00000099")]


def two_owners(rows):
    return [list(of(rows, Opened).values())[-1]]


def dear(rows):
    child = list(of(rows, ChildIntended).values())[-1]
    return [structs.replace(child, key=f"{child.key[:-2]}zz", px=Decimal(1), qty=Decimal(100))]


def twice(rows):
    return [next(iter(of(rows, ParentPlaced).values()))]


@pytest.mark.parametrize(
    ("forged", "check"),
    [
        (overfill, "I3"),  # more traded than was ordered
        (never_meant, "I5"),  # a trade of an order that no row intends
        (two_owners, "owners"),  # one epoch, twice
        (dear, "I2"),  # an order beyond its parent's quantity
        (twice, "state"),  # a router would not start on it
    ],
)
def test_rows_whose_chain_holds_and_that_do_not_add_up(path, rows, forged, check):
    journal = Journal.open(path)
    journal.append(forged(rows))
    journal.close()
    code, found = told("verify", "--journal", path)
    assert code == 1
    assert check in {one["check"] for one in found["findings"]}
    assert all(one["fix"] and one["why"] for one in found["findings"])
    assert told("verify", "--journal", path, "--chain-only")[0] == 0


def test_a_journal_that_is_not_there(tmp_path):
    with pytest.raises(JournalError, match="no journal"):
        hean("verify", "--state", tmp_path)


# ------------------------------------------------------------------------- explain


def test_one_order_has_one_story_whatever_it_is_called(path, rows):
    parent = parent_of(rows, "split")
    children = list(of(rows, ChildIntended, parent=parent).values())
    assert len(children) > 1
    code, story = told("explain", parent, "--journal", path)
    assert code == 0
    assert story["order"]["client_order_id"] == "split"
    assert [one["key"] for one in story["children"]] == [child.key for child in children]
    names = ["split", children[0].key, story["children"][1]["venue_order_id"]]
    names.append(next(iter(of(rows, Filled, parent=parent).values())).trade_id)
    for name in names:
        assert told("explain", name, "--journal", path)[1] == story, name


def test_the_story_is_what_the_rows_say(path, rows):
    parent = parent_of(rows, "split")
    story = told("explain", parent, "--journal", path)[1]
    (decided,) = of(rows, Decided, parent=parent).values()
    (one,) = story["rounds"]
    assert {seen["venue"]: seen["version"] for seen in one["seen"]} == {
        seen.venue: seen.version for seen in decided.seen
    }
    assert one["left_out"] == dict(decided.left_out)
    assert Decimal(one["single_price"] or 0) == (decided.single_px or 0)
    trades = of(rows, Filled, parent=parent)
    mine = {seq for seq, row in rows.items() if getattr(row, "parent", "") == parent}
    events = {event["row"] for event in story["events"]}
    assert mine <= events
    assert set(trades) <= events
    filled = sum(row.qty for row in trades.values())
    assert Decimal(story["order"]["filled"]) == filled == Decimal("0.4")
    paid = sum(row.qty * row.px for row in trades.values())
    base = sum(row.fee for row in trades.values() if row.fee_asset == "BTC")
    quote = sum(row.fee for row in trades.values() if row.fee_asset == "USDT")
    all_in = (paid + quote) / (filled - base)
    assert Decimal(story["cost"]["all_in_price"]) == pytest.approx(all_in)
    # It was planned over books that stood still: the promise was kept to the last digit but one.
    assert all_in == pytest.approx(decided.expected_px)
    if decided.greedy_px is not None:
        saved = (decided.greedy_px - all_in) * filled
        assert Decimal(story["cost"]["saved_against_greedy"]) == pytest.approx(saved)
    code, text = hean("explain", parent, "--journal", path)
    assert code == 0
    for venue, why in decided.left_out.items():
        assert f"without {venue}: {why}" in text
    for child in of(rows, ChildIntended, parent=parent).values():
        assert f"order {child.key} at {child.venue}" in text


@pytest.mark.parametrize(
    ("others", "digest", "told_as", "shown"),
    [
        ({}, None, True, "its limits as now"),
        ({"venues": {"okx": {}}}, None, True, "its limits as now"),  # only where venues are
        ({"limits": {"gross_max": "0.5"}}, None, False, "its limits not the present ones"),
        ({"venues": {"okx": {}}}, "", None, "its limits not told apart"),  # an old journal's
        ({}, "", True, "its limits as now"),  # ... of a configuration that is the same in all
    ],
)
def test_limits_are_told_where_they_are_those_of_that_time(
    path, rows, monkeypatch, others, digest, told_as, shown
):
    now = Settings(**{"venues": {}, "limits": LIMITS, "strategies": {}, **others})
    monkeypatch.setattr(audit, "_settings", lambda _: now)
    if digest is not None:
        explain = story_of.explain

        def older(*args):
            story = explain(*args)
            story["process"]["limits_digest"] = digest
            return story

        monkeypatch.setattr(story_of, "explain", older)
    name = parent_of(rows, "split")
    story = told("explain", name, "--journal", path)[1]
    assert story["limits_as_now"] is told_as
    assert ("limits" in story) is (told_as is True)
    assert shown in hean("explain", name, "--journal", path)[1]


def test_no_number_of_a_story_has_an_exponent(path, rows):
    text = json.dumps(told("explain", parent_of(rows, "split"), "--journal", path)[1])
    assert not re.findall(r"\"-?[0-9.]+E[-+]?[0-9]+\"", text)


def test_a_row_of_before_limits_were_told_apart_is_read():
    row = json.loads(
        msgspec.json.encode(
            Opened(at_ns=1, epoch=1, tag="abc", version="0", config_digest="c", mode="live")
        )
    )
    del row["limits_digest"]
    assert msgspec.convert(row, Opened).limits_digest == ""


def test_an_order_of_unknown_fate_and_the_proof_that_it_never_was(path, rows):
    text = hean("explain", parent_of(rows, "lost"), "--journal", path)[1]
    assert "nobody knows; may be carried out until" in text
    assert "was never there: " in text
    story = told("explain", parent_of(rows, "lost"), "--journal", path)[1]
    (child, *_) = story["children"]
    assert child["status"] == "absent"
    assert child["why"], "the proof"


def test_a_cancel_and_who_wanted_it(path, rows):
    text = hean("explain", "rests", "--journal", path)[1]
    assert "me wants it back: changed my mind" in text
    (ended,) = of(rows, ParentEnded, parent=parent_of(rows, "rests")).values()
    assert ended.why in text


def test_ids_of_two_accounts_and_of_nobody(path, rows):
    parents = {parent_of(rows, "twin"), parent_of(rows, "twin", "second")}
    with pytest.raises(CommandError, match="may be any of") as found:
        hean("explain", "twin", "--journal", path)
    assert all(parent in str(found.value) for parent in parents)
    story = told("explain", "twin", "--account", "second", "--journal", path)[1]
    assert story["order"]["id"] == parent_of(rows, "twin", "second")
    with pytest.raises(CommandError, match="knows no order"):
        hean("explain", "zzzzzzzz", "--journal", path)


def test_incidents_about_it_and_what_happened_meanwhile(path, rows):
    (child, *_) = of(rows, ChildIntended, parent=parent_of(rows, "split")).values()
    last = max(row.at_ns for row in rows.values())
    journal = Journal.open(path)
    for subject, venue in ((child.key, child.venue), ("other", child.venue), ("far", "nowhere")):
        journal.append(
            [
                Incident(
                    at_ns=child.at_ns if subject != "far" else last,
                    what="strange",
                    text=f"about {subject}",
                    subject=subject,
                    venue=venue,
                    account="main",
                )
            ]
        )
    journal.close()
    story = told("explain", "split", "--journal", path)[1]
    assert any(f"about {child.key}" in event["text"] for event in story["events"])
    around = [event["text"] for event in story["around"]]
    assert any("about other" in text for text in around)
    assert not any("about far" in text for text in around)


def test_a_strangers_order_has_a_story_too(path):
    journal = Journal.open(path)
    journal.append(
        [
            ForeignOrder(
                at_ns=1,
                venue="okx",
                account="main",
                symbol="BTC/USDT",
                venue_order_id="777",
                key="web-1",
                side=None,
                qty=None,
                px=None,
                open=True,
            )
        ]
    )
    journal.close()
    code, text = hean("explain", "777", "--journal", path)
    assert code == 0
    assert "no order of ours" in text


# ------------------------------------------------------------------------- repair


def test_repair_tells_what_is_kept_what_is_lost_and_what_to_do(path, rows):
    shell(path, "UPDATE rows SET hash = zeroblob(32) WHERE seq = 20")
    before = path.read_bytes()
    code, found = told("repair", "--journal", path, "--dry-run")
    assert (code, path.read_bytes()) == (0, before)
    lost = {seq: row for seq, row in rows.items() if seq >= 20}
    assert (found["rows_kept"], found["lost_from"], found["lost_to"]) == (19, 20, len(rows))
    assert found["lost_orders"] == sorted(
        row.key for row in lost.values() if isinstance(row, ChildIntended)
    )
    assert found["lost_parents"] == sorted(
        row.parent for row in lost.values() if isinstance(row, ParentPlaced)
    )
    code, text = hean("repair", "--journal", path)
    assert code == 0
    assert "rows 20 to" in text
    assert "hean reset" in text
    assert (path.parent / f"{path.name}.damaged-1").read_bytes() == before
    with pytest.raises(CommandError, match="nothing to repair"):
        hean("repair", "--journal", path)
