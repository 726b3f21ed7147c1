"""The shell around the engine: failing disks, broken desks and listeners, faults of our own."""

import asyncio
import logging
from decimal import Decimal

import pytest

from hean_router.domain.desk import DeskStanding
from hean_router.domain.errors import HeanError
from hean_router.domain.order import Approved
from hean_router.domain.parent import Life, Status, VenueChoice
from hean_router.domain.record import (
    ChildIntended,
    ChildWithdrawn,
    Incident,
    ParentEnded,
    ParentPlaced,
    RiskSet,
    StrategySet,
)
from hean_router.engine import GrantNonces, Placed, Refused
from hean_router.oms import Orders, Parent
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from hean_router.strategy.contract import Group, Reaction
from tests.storm.house import LIMITS, house, plot
from tests.storm.test_house_storm import Kept

VENUES = ("binance", "kraken")
CALM = Pace(updates_per_s=1)
ALIKE = {**LIMITS, "duplicate_window_ms": 0}


class Failing(Kept):
    """A disk that is full from its n-th transaction on, for so many."""

    def __init__(self, at, times=1):
        super().__init__()
        self.epoch, self.count, self.bad = 1, 0, range(at, at + times)
        self.failed = 0

    def append(self, rows):
        self.count += 1
        if self.count in self.bad:
            self.failed += 1
            raise HeanError("the disk is full", "free some")
        return super().append(rows)


def small(world, **more):
    return house(world, ("BTC/USDT", "USDT/USD"), venues=VENUES, pace=CALM, **more)


def level(home, away="1"):
    found = home.engine.core.mid(home.engine.core.pair_of["BTC/USDT"])
    home.engine.core._mids.clear()
    return (found[0] * Decimal(away)).quantize(Decimal("0.1"))


def rows_of(home, *kinds):
    return [row for _, row in home.office.journal.rows() if isinstance(row, kinds)]


def arrived(home):
    """Keys of every order that any venue has ever seen."""
    return {
        order.first_client_id
        for venue in home.venues
        for account in ("main", "second")
        for order in home.books_of(venue, account).orders
        if order.first_client_id
    }


def same_after_replay(home):
    replayed = Orders()
    for _, row in home.office.journal.rows():
        replayed.apply(row)
    assert replayed.state_hash() == home.engine.oms.state_hash()


async def ended(home, within_s=90):
    await home.until(
        lambda: not home.engine.conduct.work and not home.engine.oms.live, within_s, "an end"
    )
    await asyncio.sleep(5)
    assert not home.engine.oms.unsettled
    assert home.engine.risk.reserved_total() == 0
    for account in ("main", "second"):
        home.check_balances(account)
    assert not home.resting()


@pytest.mark.slow
def test_a_disk_that_fails_at_any_step_sends_nothing_without_its_row_and_loses_no_row():
    """Fail the n-th append, for every n that a few orders need, and for one or three in a row."""

    async def main(world, at, times):
        journal = Failing(at, times)
        async with small(world, journal=journal) as home:
            answers = [
                home.submit("buy", "0.3", client="a"),
                home.submit("buy", "0.2", limit=level(home, "0.999"), client="b"),
            ]
            await asyncio.sleep(1)
            answers.append(
                home.submit("sell", "0.1", client="c", limit=level(home, "0.99"), life=Life.IOC)
            )
            await asyncio.sleep(3)
            for answer in answers:
                if isinstance(answer, Refused):
                    assert answer.code == "journal_unavailable", answer
                else:
                    home.trading.cancel(answer.parents[0], "test", "the end")
            await ended(home)
            assert home.trading.journal_why == ""
            written = {row.key for row in rows_of(home, ChildIntended)}
            withdrawn = {row.key for row in rows_of(home, ChildWithdrawn)}
            assert arrived(home) <= written - withdrawn
            assert not rows_of(home, RiskSet), "a disk is no fault of ours"
            same_after_replay(home)
            return journal.failed, journal.count, [type(one).__name__ for one in answers]

    whole = virtual.run(lambda world: main(world, 0, 0), 3).value[1]
    assert whole > 15
    refused = 0
    for times in (1, 3):
        for at in range(4, whole, 1 if times == 1 else 3):
            failed, _, answers = virtual.run(lambda world: main(world, at, times), 3).value  # noqa: B023
            assert failed
            refused += answers.count("Refused")
    assert refused > 2


def test_an_order_that_could_not_be_written_is_refused_ended_and_never_sent():
    async def main(world):
        journal = Failing(0)
        async with small(world, journal=journal) as home:
            resting = home.place("buy", "0.1", limit=level(home, "0.99"))
            await asyncio.sleep(1)
            journal.bad = range(journal.count + 1, 10_000)
            answer = home.submit("buy", "0.1", client="x")
            assert isinstance(answer, Refused)
            assert answer.code == "journal_unavailable"
            assert "journal" in home.trading.ready()
            home.trading.cancel(resting.id, "test", "cancels still go")
            await asyncio.sleep(2)
            assert not home.resting(), "it was cancelled without a disk"
            await asyncio.sleep(60)
            assert resting.ended is not None, "rows are kept in mind meanwhile"
            before = len(journal.kept)
            journal.bad = range(0)
            await asyncio.sleep(3)
            assert len(journal.kept) > before, "written by itself, as soon as the disk takes rows"
            assert home.trading.ready() == ""
            assert [row.status for row in rows_of(home, ParentEnded)] == [Status.CANCELED] * 2
            same_after_replay(home)
            again = home.submit("buy", "0.1", client="x")
            assert isinstance(again, Placed)
            assert again.existing, "the same id and body: the same, which was never sent"
            await home.done(home.place("buy", "0.1"))
            await ended(home)

    virtual.run(main, 4)


def test_a_working_parent_spends_no_tries_while_the_disk_is_full_and_goes_on_after():
    async def main(world):
        journal = Failing(0)
        async with small(world, journal=journal) as home:
            parent = home.place("buy", "0.1", limit=level(home, "0.99"))
            await asyncio.sleep(1)
            venue = parent.children[0].venue
            journal.bad = range(journal.count + 1, 1_000_000)
            of = home.market.listing(home.engine.core.pair_of["BTC/USDT"])[venue]
            child = parent.children[0]
            home.trading.desks[venue, "main"].cancel(of, child.key, child.venue_order_id)
            await asyncio.sleep(120)
            assert len(parent.children) <= 3, "no order was made for nothing, again and again"
            assert parent.ended is None
            journal.bad = range(0)
            await home.until(lambda: home.resting(), 20, "an order that rests again")
            home.trading.cancel(parent.id, "test", "the end")
            await ended(home)

    virtual.run(main, 5)


def test_nonces_that_could_not_be_written_are_granted_once_they_are():
    """A lane asks for room once: a grant that is forgotten stops the venue for good."""

    class Lane:
        below = 0

        def grant_nonces(self, below):
            self.below = below

    async def main(world):
        journal = Failing(0)
        async with small(world, journal=journal) as home:
            where, lane = ("kraken", "main"), Lane()
            home.trading.desks = {**home.trading.desks, where: lane}
            journal.bad = range(journal.count + 1, 10_000)
            home.trading.kill("writes a row", "test")
            assert home.trading.journal_why
            home.trading._do(GrantNonces(*where, 7_000), None, 0)
            assert lane.below == 0
            journal.bad = range(0)
            home.trading.reset("writes them all", "test")
            assert lane.below == 7_000

    virtual.run(main, 6)


@pytest.mark.parametrize("where", ["go_on", "step", "apply"])
def test_a_fault_of_our_own_halts_trading_and_lets_cancels_go(where, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL)

    async def main(world):
        async with small(world) as home:
            resting = home.place("buy", "0.1", limit=level(home, "0.99"))
            await asyncio.sleep(1)
            assert home.resting()
            before = arrived(home)
            engine = home.engine

            def broken(*_args, **_more):
                raise ZeroDivisionError("as it happens")

            match where:
                case "go_on":  # one parent cannot be driven: right after it was written
                    good = engine.conduct.go_on
                    monkeypatch.setattr(
                        engine.conduct,
                        "go_on",
                        lambda parent: good(parent) if parent is resting else broken(),
                    )
                case "step":
                    monkeypatch.setattr(engine.desks, "due", broken)
                case "apply":
                    good = engine.risk.apply
                    monkeypatch.setattr(
                        engine.core.risk,
                        "apply",
                        lambda row: broken() if isinstance(row, ChildIntended) else good(row),
                    )
            answer = home.submit("buy", "0.1")
            await asyncio.sleep(30)
            assert engine.risk.state == "halted"
            assert not home.resting(), "cancels go"
            assert arrived(home) == before, "and nothing else"
            assert resting.ended is not None
            told = [row for row in rows_of(home, Incident) if row.what == "engine_failed"]
            assert 1 <= len(told) <= 2, "told once, though it goes on"
            assert "ZeroDivisionError" in told[0].text
            again = home.submit("buy", "0.1")
            assert isinstance(again, Refused)
            assert again.code in {"risk_halted", "not_reconciled"}
            monkeypatch.undo()
            if where != "step":
                assert isinstance(answer, Placed | Refused)
            home.trading.reset("it was looked at", "test")
            await home.done(home.place("sell", "0.1"))
            if (
                where != "apply"
            ):  # that parent's reservation was never taken in: risk is to be restarted
                await ended(home)
                same_after_replay(home)

    virtual.run(main, 7)


def test_a_desk_that_raises_keeps_nobody_elses_command_back_and_its_order_is_asked_about(caplog):
    caplog.set_level(logging.CRITICAL)

    async def main(world):
        async with small(world) as home:
            desk = home.trading.desks["binance", "main"]
            share = VenueChoice(max_share=Decimal("0.6"))
            good = desk.place

            def place(order):
                good(order)
                raise KeyError("after it was sent")

            desk.place = place
            parent = home.place("buy", "2", venues=share)
            await home.done(parent, 90)
            desk.place = good
            assert {child.venue for child in parent.children} == set(VENUES)
            told = [row for row in rows_of(home, Incident) if row.what == "desk_failed"]
            assert len(told) == 1
            assert told[0].venue == "binance"
            await ended(home)

    virtual.run(main, 8)


def test_who_only_listens_cannot_keep_an_order_from_its_way(caplog):
    caplog.set_level(logging.CRITICAL)

    async def main(world):
        async with small(world) as home:

            def broken(*_args):
                raise ValueError("a metric that does not exist")

            home.trading._hear = home.trading._sent = home.trading._committed = broken
            await home.done(home.place("buy", "0.2"))
            await ended(home)
            assert home.trading.listener_faults

    virtual.run(main, 9)


class Looping:
    """Wants the same again whatever it hears."""

    name, pairs = "looping", ()

    def configure(self, params):
        return None

    def status(self):
        return {}

    def on_event(self, event, look):
        return Reaction(groups=(Group("again", (self.leg(),)),))


def test_a_strategy_that_runs_in_circles_is_stopped_and_the_loop_lives():
    async def main(world):
        async with small(world) as home:
            intent = home.place("buy", "0.1", limit=level(home, "0.99"), client="its").intent
            strategy = Looping()
            bad = type(intent)(
                **{f: getattr(intent, f) for f in intent.__struct_fields__ if f != "qty"},
                qty=Decimal("0.7"),
            )
            strategy.leg = lambda: bad  # the same id with another body: refused each time
            home.engine.crew.strategies["looping"] = strategy
            home.trading.start_strategy("looping", {}, "test")
            await asyncio.sleep(2)
            assert "looping" not in home.engine.crew.running
            assert [r.what for r in rows_of(home, Incident)] == ["runaway"]
            assert [r.running for r in rows_of(home, StrategySet)] == [True, False]
            assert len(rows_of(home, ParentPlaced)) == 1

    virtual.run(main, 10)


@pytest.mark.parametrize("what", ["raises", "nonsense"])
def test_a_strategy_that_fails_or_wants_nonsense_is_stopped_alone(what, caplog):
    caplog.set_level(logging.CRITICAL)

    class Bad(Looping):
        def on_event(self, event, look):
            if what == "raises":
                raise KeyError("no such thing")
            return Reaction(groups=(Group("x", (None,)),))

    async def main(world):
        async with small(world) as home:
            home.engine.crew.strategies["looping"] = Bad()
            home.trading.start_strategy("looping", {}, "test")
            assert "looping" not in home.engine.crew.running
            assert [r.what for r in rows_of(home, Incident)] == ["strategy_failed"]
            assert home.engine.risk.state == "normal"
            await home.done(home.place("buy", "0.1"))

    virtual.run(main, 11)


def test_a_desk_that_dies_is_not_traded_with_and_comes_back(caplog):
    caplog.set_level(logging.CRITICAL)

    async def main(world):
        async with small(world) as home:
            desk, runs = home.trading.desks["binance", "main"], []

            async def run(listed, sink):
                runs.append(1)
                if len(runs) == 1:
                    raise ZeroDivisionError("as it happens")
                sink(DeskStanding(ready=True, fresh=True))
                await asyncio.Event().wait()

            desk.run = run
            task = asyncio.create_task(home.office._run_desk("binance", "main", desk))
            await asyncio.sleep(0.1)
            health = home.engine.core.desks["binance", "main"]
            assert "fault of our own" in health.why
            bought = await home.done(home.place("buy", "0.1"))
            assert {child.venue for child in bought.children} == {"kraken"}
            assert not home.engine.core.desks["kraken", "main"].why
            await home.until(lambda: not health.why, 60, "the desk again")
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    virtual.run(main, 12)


def test_the_gate_alone_stops_a_router_that_counts_nothing(monkeypatch):
    """A counter that stands still: what is free is always all of it, however much was filled."""

    async def main(world):
        async with small(world) as home:
            monkeypatch.setattr(Parent, "free", property(lambda parent: parent.qty))
            risk = home.engine.core.risk
            monkeypatch.setattr(risk, "review", lambda order, *_args: Approved(order))
            # More than is displayed within the limit: it is swept, and the rest is to rest.
            parents = [
                home.place("buy", "25", limit=level(home, "1.0002")),
                home.place("sell", "7", limit=level(home, "0.9999")),
            ]
            for _ in range(100):
                await asyncio.sleep(0.2)
                for parent in parents:
                    keys = {child.key for child in parent.children}
                    out = sum(
                        (child.leaves for child in parent.children if child.acked_ns), Decimal(0)
                    )
                    assert parent.filled + out <= parent.qty, keys
            for parent in parents:
                home.trading.cancel(parent.id, "test", "the end")
            await home.until(lambda: not home.engine.oms.live, 60, "an end")
            return [row.code for row in rows_of(home, ChildWithdrawn) if row.by == "gate"]

    codes = virtual.run(main, 13).value
    assert codes
    assert set(codes) == {"over_quantity"}


def test_where_the_gate_does_not_add_up_nothing_is_planned_until_a_person_resets_it():
    """Else each round would make orders that the gate takes back, again and again."""

    async def main(world):
        async with plot(
            world, ("BTC/USDT", "USDT/USD"), venues=VENUES, pace=CALM, limits=ALIKE
        ) as home:
            journal = Kept()
            async with home.moved_in(journal.opened()):
                where, now_ns = ("binance", "main"), home.office.clock()
                home.trading.gate._fault(where, "overfill", "more than was asked for", now_ns)
                await home.done(home.place("buy", "0.1"))
                parent = await home.done(home.place("sell", "2"))
                assert {child.venue for child in parent.children} == {"kraken"}
                assert "overfill" in parent.decisions[-1].left_out["binance"]
                told = [row for row in rows_of(home, Incident) if row.what == "gate_overfill"]
                assert len(told) == 1
                assert home.trading.health()["gate"] == {"binance main": told_why(told[0])}
                made = sum(len(one.children) for one in home.engine.oms.parents.values())
                assert made <= 8
                home.trading.reset("it was a test", "test")
                parent = await home.done(home.place("buy", "2"))
                assert "binance" in {child.venue for child in parent.children}

    virtual.run(main, 14)


def told_why(row):
    return f"{row.what.removeprefix('gate_')}: {row.text}"


def test_what_has_closed_does_nothing_more():
    """Timers and desks that wind down must not write into a journal that somebody else owns now."""

    async def main(world):
        journal = Kept()
        async with plot(world, ("BTC/USDT", "USDT/USD"), venues=VENUES, pace=CALM) as home:
            async with home.moved_in(journal.opened()):
                home.place("buy", "0.1", limit=level(home, "0.99"))
            written, steps = len(journal.kept), []
            home.engine.step = lambda *_args: steps.append(1)
            await asyncio.sleep(60)
            assert len(journal.kept) == written
            assert not steps
            answer = home.submit("buy", "0.1")
            assert isinstance(answer, Refused)
            assert answer.code == "journal_unavailable"

    virtual.run(main, 15)
