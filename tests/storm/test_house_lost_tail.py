"""The journal loses its last rows, is repaired, and the router starts again at the same venues."""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from decimal import Decimal

import pytest

from hean_router.domain.record import BalanceBreak, ChildIntended, Filled, Incident
from hean_router.sim import virtual
from hean_router.store import Journal, JournalDamaged, verify
from hean_router.store.repair import repair
from tests.storm.house import plot


def cut(path, rows):
    """The last `rows` rows are gone, the notes of where it ended are not."""
    with closing(sqlite3.connect(path)) as db, db:
        (last,) = db.execute("SELECT max(seq) FROM rows").fetchone()
        db.execute("DELETE FROM rows WHERE seq > ?", (last - rows,))
    return last - rows


def at_venues(home):
    """The client id of every order that any venue has ever taken, as the venues have it."""
    return sorted(
        order.client_id
        for venue in home.venues
        for account in ("main", "second")
        for order in home.books_of(venue, account).orders
    )


async def life(home, journal):
    """Orders of many fates, cut off in the middle of it: what is open is left open."""
    async with home.moved_in(journal):
        mid, _ = home.engine.core.mid(home.engine.core.pair_of["BTC/USDT"])
        far = (mid * Decimal("0.97")).quantize(Decimal("0.1"))
        await home.done(home.place("buy", "0.05"))
        home.place("buy", "0.02", limit=far)
        await asyncio.sleep(1)
        home.place("buy", "0.03", limit=far, post_only=True)
        await home.done(home.place("sell", "0.04"))
        home.place("sell", "0.6")
        await asyncio.sleep(0.4)


async def lost(world, folder, rows):
    """A life, its last `rows` rows cut off, a repair, and another life: what was found there."""
    path = folder / "journal.sqlite3"
    async with plot(world) as home:
        await life(home, Journal.open(path, sync="relaxed", entropy=b"lost"))
        with closing(sqlite3.connect(path)) as db:
            bodies = db.execute("SELECT body FROM rows ORDER BY seq DESC LIMIT ?", (rows,))
            gone = [body for (body,) in bodies.fetchall()]
        kept = cut(path, rows)
        with pytest.raises(JournalDamaged, match="last rows are missing"):
            verify(path)
        done = repair(path, entropy=b"mended")
        assert done.rows == kept
        assert done.lost_to == kept + rows
        sent, rested = at_venues(home), {order.client_id for order in home.resting()}
        journal = Journal.open(path, sync="relaxed")
        async with home.moved_in(journal, 120):
            await home.until(
                lambda: not (home.engine.conduct.work or home.engine.oms.live or home.resting()),
                60,
                "an end",
            )
            await asyncio.sleep(45)  # long enough for balances to be compared
            engine = home.engine
            engine.oms.check()
            home.check_balances()
            assert engine.risk.state == "halted"
            assert engine.risk.reserved_total() == 0
            found = [row for _, row in journal.rows()]
        assert at_venues(home) == sent, "what was ordered once is not ordered again"
        known = {row.key for row in found if isinstance(row, ChildIntended)}
        told = {row.subject for row in found if isinstance(row, Incident)}
        strangers = rested - known
        assert strangers <= told, "an order that no row explains is told of"
        return gone, found[kept:], sorted(strangers)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("rows", [3, 12, 30])
def test_nothing_is_doubled_and_everything_is_known(tmp_path, rows):
    gone, after, strangers = virtual.run(lambda world: lost(world, tmp_path, rows), 5).value
    traded = b"".join(gone).count(b'"row":"filled"')
    booked = [row for row in after if isinstance(row, Filled)]
    assert len(booked) >= traded, "every trade of the lost rows is booked again"
    assert not any(isinstance(row, BalanceBreak) for row in after), "so nothing is unexplained"
    if rows == 30:
        assert strangers, "this one must lose an order that still rests, to show anything"
        assert traded, "and one that traded"


@pytest.mark.storm
@pytest.mark.timeout(900)
@pytest.mark.parametrize("rows", range(1, 46, 4))
def test_wherever_the_end_is_lost(tmp_path, rows):
    virtual.run(lambda world: lost(world, tmp_path, rows), 5)
    shutil.rmtree(tmp_path)
