"""The watch in the running router: what is broken is a row, shuts its place, and stays so."""

import asyncio

import pytest

from hean_router.domain.record import Incident
from hean_router.engine import Placed, Refused
from hean_router.sim import virtual
from tests.mutants.seeded import parents_filled_stands_still
from tests.storm.house import plot
from tests.storm.test_house_storm import Kept


async def broken_once(world):
    journal = Kept()
    async with plot(world, ("BTC/USDT", "USDT/USD"), venues=("binance", "kraken")) as home:
        bug = parents_filled_stands_still()
        async with home.moved_in(journal.opened()):
            with bug[0]:
                assert isinstance(home.submit("buy", "0.2"), Placed)
                await asyncio.sleep(2)
            shut = dict(home.trading.watch.standing)
            assert shut
            assert set(shut) <= set(home.engine.core.gated)
            for place, why in shut.items():
                assert "broken_I" in why
                assert home.engine.core.why_not(*place)
        told = {row.what for _, row in journal.rows() if isinstance(row, Incident)}
        assert "broken_I1" in told
        sent = len(home.resting())
        async with home.moved_in(journal.opened()):
            assert home.engine.oms.parents  # and what the rows say has been whole all the time
            home.trading.kill("looked at", "test")
            home.trading.reset("looked at", "test")
            assert not home.trading.watch.standing
            answer = home.submit("buy", "0.2")
            assert isinstance(answer, Placed), answer
            await home.done(home.engine.oms.parents[answer.parents[0]])
        return told, sent


def test_a_counter_that_stands_still_shuts_its_place_until_a_person_has_looked():
    told, sent = virtual.run(broken_once, 3).value
    assert not [what for what in told if what == "audit_failed"]
    assert sent == 0


async def broken_rows(world):
    """Rows that are broken by themselves shut the place of the next process too."""
    journal = Kept()
    async with plot(world, ("BTC/USDT", "USDT/USD"), venues=("binance", "kraken")) as home:
        async with home.moved_in(journal.opened()):
            await home.done(home.place("buy", "0.2"))
            await asyncio.sleep(1)
        rows = [row for _, row in journal.rows()]
        again = next(row for row in reversed(rows) if type(row).__name__ == "Filled")
        journal.append([again])  # as one that books twice would have left it
        async with home.moved_in(journal.opened(), wait=False):
            await asyncio.sleep(5)
            why = home.trading.watch.why(again.venue, again.account)
            answer = home.submit("buy", "0.2", venues=home.only(again.venue))
            return why, answer, home.trading.health()


def test_a_journal_that_books_twice_shuts_that_account_at_the_next_start(monkeypatch):
    from hean_router.domain.parent import VenueChoice
    from tests.storm.house import House

    monkeypatch.setattr(
        House, "only", lambda _self, venue: VenueChoice(include=(venue,)), raising=False
    )
    why, answer, health = virtual.run(broken_rows, 3).value
    assert why.startswith("broken_I15")
    assert isinstance(answer, Refused)
    assert "broken_I15" in answer.reason
    assert any("broken_I15" in text for text in health["gate"].values())


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_storm_leaves_the_watch_of_the_running_router_silent():
    from tests.storm.test_house_storm import storm

    journal = Kept()
    told, *_ = virtual.run(lambda world: storm(world, 4, journal=journal, lives=2), 4).value
    assert not [what for what in told if what.startswith(("broken", "audit"))]
