"""Parents of every kind at their bounds: what ends, why, and that nothing spins or piles up."""

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import pytest

from hean_router.domain.desk import PlaceAnswered
from hean_router.domain.instrument import Side
from hean_router.domain.order import Rejected, RejectKind, Tif
from hean_router.domain.parent import Intent, Life, Status, VenueChoice
from hean_router.domain.record import ChildIntended, ChildWithdrawn, Decided, Incident
from hean_router.engine import Placed, Refused
from hean_router.oms import ChildStatus
from hean_router.risk import Denied
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.storm.house import LIMITS, house

SECOND = 1_000_000_000
CALM = Pace(updates_per_s=1)
ALIKE = {**LIMITS, "duplicate_window_ms": 0}  # the same order may be placed twice


def small(world, **more):
    more.setdefault("limits", ALIKE)
    return house(world, ("BTC/USDT", "USDT/USD"), venues=("binance", "kraken"), pace=CALM, **more)


def level(home, away="1", unit="0.1"):
    found = home.engine.core.mid(home.engine.core.pair_of["BTC/USDT"])
    home.engine.core._mids.clear()
    return (found[0] * Decimal(away)).quantize(Decimal(unit))


def rows(home):
    return [row for _, row in home.office.journal.rows()]


def counted(home):
    return Counter(type(row).__name__ for row in rows(home))


@pytest.mark.slow
def test_an_order_that_rests_for_an_hour_writes_nothing_and_steps_cost_nothing():
    async def main(world):
        async with small(world) as home:
            parents = [home.place("buy", "0.1", limit=level(home, "0.9", "0.1")) for _ in range(5)]
            await asyncio.sleep(10)
            before, steps = counted(home), []
            step = home.engine.step
            home.engine.step = lambda *args: steps.append(1) or step(*args)
            await asyncio.sleep(3_600)
            more = counted(home) - before
            assert not more, more
            assert len(steps) < 3_600 * 30, "books and one look a second; nothing spins"
            assert all(one.status is Status.NEW for one in parents)
            return len(steps)

    virtual.run(main, 3)


def test_what_is_denied_for_an_hour_is_said_once():
    """A parent that risk lets in and whose orders it then denies, again and again."""

    async def main(world):
        limits = {**LIMITS, "each_account": {**LIMITS["each_account"], "open_orders_max": 1}}
        async with small(world, limits=limits) as home:
            first = home.place("buy", "0.1", limit=level(home, "0.95"))
            await asyncio.sleep(1)
            answer = home.submit("buy", "0.1", limit=level(home, "0.95"))
            if isinstance(answer, Refused):
                assert answer.code == "limit_open_orders"
                return 0
            await asyncio.sleep(600)
            told = [row for row in rows(home) if isinstance(row, Incident)]
            assert 1 <= len(told) <= len(home.venues), told
            decided = [row for row in rows(home) if isinstance(row, Decided)]
            assert len(decided) <= 4
            home.trading.cancel(first.id, "test", "room for the other")
            other = home.engine.oms.parents[answer.parents[0]]
            await home.until(lambda: other.status is Status.NEW, 10, "the other's turn")
            return len(told)

    virtual.run(main, 4)


def test_a_remainder_that_no_venue_takes_ends_and_says_why():
    async def main(world):
        async with small(world) as home:
            parent = home.place("buy", "0.5", limit=level(home, "1.01"))
            of = home.market.listing(home.engine.core.pair_of["BTC/USDT"])
            least = min(one.qty_decimal(max(one.min_qty, one.lot)) for one in of.values())
            # All but a crumb of it is filled, and the crumb is below every minimum.
            await home.done(parent)
            assert parent.status is Status.FILLED
            crumb = least / 2 if least > Decimal("0.00000002") else None
            assert crumb
            conduct = home.engine.conduct
            other = home.place("buy", "0.1", limit=level(home, "0.95"))
            await asyncio.sleep(1)
            other.qty = other.filled + least / 10  # as if the rest had been filled
            home.trading.desks[other.children[0].venue, "main"].cancel(
                of[other.children[0].venue],
                other.children[0].key,
                other.children[0].venue_order_id,
            )
            await home.done(other, 10)
            assert "smallest order anywhere" in other.ended.why
            assert other.id not in conduct.work

    virtual.run(main, 5)


def test_a_parent_that_every_venue_refuses_for_good_ends_with_what_they_said():
    async def main(world):
        async with small(world) as home:
            parent = home.place("sell", "0.1", limit=level(home, "1.05"))
            await asyncio.sleep(1)
            work = home.engine.conduct.work[parent.id]
            work.barred.update(dict.fromkeys(home.venues, "it refused: funds"))
            child = parent.children[0]
            of = home.market.listing(home.engine.core.pair_of["BTC/USDT"])[child.venue]
            home.trading.desks[child.venue, "main"].cancel(of, child.key, child.venue_order_id)
            await home.done(parent, 10)
            assert parent.status is Status.REJECTED
            assert parent.ended.why.startswith("no venue takes it: binance: it refused: funds")

    virtual.run(main, 6)


@pytest.mark.parametrize(
    "seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_money_given_is_never_exceeded_and_shares_hold_over_rounds(seed):
    async def main(world):
        async with house(world, ("BTC/USDT", "USDT/USD")) as home:
            spent = [
                home.place("buy", quote_qty=Decimal(given), venues=VenueChoice(max_share=share))
                for given, share in (
                    ("150", None),
                    ("9999.99", Decimal("0.5")),
                    ("400000", Decimal("0.3")),
                )
            ]
            shared = [
                home.place(side, "3", limit=level(home, away), venues=VenueChoice(max_share=share))
                for side, away, share in (
                    ("buy", "1.002", Decimal("0.4")),
                    ("sell", "0.998", Decimal("0.34")),
                )
            ]
            await asyncio.sleep(60)
            for one in (*spent, *shared):
                home.trading.cancel(one.id, "test", "the end")
            for one in (*spent, *shared):
                await home.done(one)
                share = one.intent.venues.max_share
                if share is not None:
                    by = Counter()
                    for child in one.children:
                        by[child.venue] += child.filled
                    assert max(by.values()) <= one.qty * share, by
            for one in spent:
                assert one.notional <= one.intent.quote_qty
                assert one.filled <= one.qty
            assert any(one.filled for one in spent)
            return [str(one.filled) for one in (*spent, *shared)]

    virtual.run(main, seed)


def test_all_or_nothing_is_sent_whole_or_not_at_all_and_a_broken_set_is_kept_and_said():
    async def main(world):
        async with small(world, faults="") as home:
            whole = home.place("buy", "1", limit=level(home, "1.01"), life=Life.FOK)
            await home.done(whole)
            assert whole.status in {Status.FILLED, Status.EXPIRED, Status.CANCELED}
            assert all(child.intended.tif is Tif.FOK for child in whole.children)
            split = home.place(
                "buy",
                "1",
                limit=level(home, "1.01"),
                life=Life.FOK,
                venues=VenueChoice(max_share=Decimal("0.5")),
            )
            assert {child.venue for child in split.children} == {"binance", "kraken"}
            await home.done(split)
            if split.filled and split.filled < split.qty:
                assert split.ended.why.startswith("broken: ")
            asks = home.place("buy", "20", limit=level(home, "1.00001"), life=Life.FOK)
            assert asks.ended is not None
            assert not asks.children
            assert asks.ended.why.startswith("not whole")

    virtual.run(main, 8)


def test_a_post_only_order_that_would_trade_each_time_is_posted_a_bounded_number_of_times():
    async def main(world):
        async with small(world) as home:
            conduct = home.engine.conduct
            conduct._passive = lambda book, of, _parent: (
                of.px_decimal(live.best(Side.BUY)[0] + 50 * of.tick)
                if (live := book.live()[of.venue])
                else None
            )  # always where it would take
            parent = home.place("buy", "0.1", limit=level(home, "1.005"), post_only=True)
            await home.done(parent, 120)
            assert parent.status is Status.REJECTED
            assert "would have traded" in parent.ended.why
            assert len(parent.children) <= 2 * (home.engine.core.policy.repost_max + 1)
            assert not parent.filled

    virtual.run(main, 9)


def test_a_cancel_within_the_step_and_before_any_answer_ends_it_all():
    async def main(world):
        async with small(world) as home:
            for after_s in (0, 0.0001, 0.002, 0.02, 0.2):
                parent = home.place("buy", "0.2", limit=level(home, "0.99"))
                if after_s:
                    await asyncio.sleep(after_s)
                assert home.trading.cancel(parent.id, "test", "at once")
                assert home.trading.cancel(parent.id, "test", "again") in {True, False}
                await home.done(parent, 30)
                assert parent.status is Status.CANCELED
                assert not home.trading.cancel(parent.id, "test", "too late")
            await asyncio.sleep(5)
            assert not home.resting()
            home.check_balances()

    virtual.run(main, 10)


@pytest.mark.parametrize("wait_s", [0.001, 0.05, 0.4])
@pytest.mark.parametrize("faults", ["unknown:1", "acklost:1", "undone:1"])
def test_the_kill_switch_reaches_orders_that_nobody_knows_of(faults, wait_s):
    async def main(world):
        async with small(world, faults=faults + ",until:12s") as home:
            parents = [home.place("buy", "0.1", limit=level(home, "0.99")) for _ in range(4)]
            await asyncio.sleep(wait_s)
            home.trading.kill("a bad feeling", "test")
            assert isinstance(home.submit("buy", "0.1"), Refused)
            for one in parents:
                await home.done(one, 120)
                assert one.status is Status.CANCELED
                assert not one.filled
            await asyncio.sleep(10)
            assert not home.resting()
            assert home.engine.risk.reserved_total() == 0
            home.trading.reset("over", "test")
            assert isinstance(home.submit("buy", "0.1"), Placed)

    virtual.run(main, 11)


def test_halted_lets_through_what_brings_a_position_nearer_to_nothing():
    async def main(world):
        async with small(world) as home:
            bought = await home.done(home.place("buy", "0.5"))
            assert bought.filled == Decimal("0.5")
            for stop in (home.trading.reduce_only, home.trading.kill):
                stop("a test", "test")
                more = home.submit("buy", "0.1")
                assert isinstance(more, Refused)
                assert more.code in {"risk_halted", "risk_reduce_only"}
                less = await home.done(home.place("sell", "0.1"))
                assert less.filled == Decimal("0.1")
                beyond = home.submit("sell", "2")
                assert isinstance(beyond, Refused), "it would go through nothing and beyond"
            home.trading.reset("a test", "test")
            assert not [row for row in rows(home) if isinstance(row, Incident)]

    virtual.run(main, 12)


def test_books_that_are_lost_while_an_order_rests_or_works_change_nothing_but_the_plan():
    async def main(world):
        async with small(world, faults="cutall:5s,until:60s") as home:
            resting = home.place("buy", "0.2", limit=level(home, "0.98"))
            for _ in range(30):
                if home.engine.core.mid(home.engine.core.pair_of["BTC/USDT"]) is not None:
                    home.submit("buy", "0.05", limit=level(home, "1.001"))
                    home.submit("sell", "0.05", limit=level(home, "0.999"), life=Life.IOC)
                home.engine.core._mids.clear()
                await asyncio.sleep(2)
            await asyncio.sleep(30)
            for parent in list(home.engine.oms.parents.values()):
                home.trading.cancel(parent.id, "test", "the end")
            await home.until(lambda: not home.engine.conduct.work, 120, "an end")
            await asyncio.sleep(10)
            assert resting.ended is not None
            home.check_balances()
            assert home.engine.risk.reserved_total() == 0
            assert max(len(one.children) for one in home.engine.oms.parents.values()) < 60
            assert {r.what for r in rows(home) if isinstance(r, Incident)} <= {"order_denied"}

    virtual.run(main, 13)


def test_rules_that_are_refreshed_while_orders_are_out_change_nothing_for_them():
    """A refreshed rule is another object: whoever compared by identity would lose the order."""

    async def main(world):
        async with small(world) as home:
            resting = home.place("buy", "0.2", limit=level(home, "0.99"))
            await asyncio.sleep(1)
            listed = home.market.listed
            for where, of in list(listed.items()):
                fields = {
                    n: getattr(of, n)
                    for n in of.__dataclass_fields__
                    if n not in {"px_of", "qty_of"}
                }
                listed[where] = type(of)(**fields)
            await home.done(home.place("buy", "0.1"))
            home.trading.cancel(resting.id, "test", "the end")
            await home.done(resting, 10)
            assert resting.status is Status.CANCELED
            await asyncio.sleep(5)
            home.check_balances()
            assert not home.resting()

    virtual.run(main, 14)


@pytest.mark.slow
def test_one_order_after_another_of_one_parent_is_bounded():
    async def main(world):
        async with small(world) as home:
            parent = home.place("buy", "0.1", limit=level(home, "0.99"))
            of = home.market.listing(home.engine.core.pair_of["BTC/USDT"])

            async def taken_back():
                """Somebody at the venue cancels all that we post, for ever."""
                while parent.ended is None:
                    for child in parent.children:
                        if child.is_live and child.venue_order_id:
                            desk = home.trading.desks[child.venue, "main"]
                            desk.cancel(of[child.venue], child.key, child.venue_order_id)
                    await asyncio.sleep(0.2)

            await asyncio.wait_for(taken_back(), 1_000)
            assert len(parent.children) == home.engine.core.policy.child_max
            assert parent.ended.why == "it has had 200 orders, and no more are made for one parent"
            assert sum(isinstance(row, ChildIntended) for row in rows(home)) == 200

    virtual.run(main, 15)


def test_a_venue_that_refuses_what_is_to_rest_is_asked_ever_more_seldom():
    async def main(world):
        async with small(world) as home:
            for venue in home.venues:
                desk = home.trading.desks[venue, "main"]

                def place(approved, desk=desk):
                    refused = Rejected(RejectKind.TOO_MANY, "no", "not this time")
                    key, until_ns = approved.order.key, home.office.clock()
                    desk._tell(PlaceAnswered(key=key, outcome=refused, until_ns=until_ns))

                desk.place = place
            parent = home.place("buy", "0.1", limit=level(home, "0.95"))
            await asyncio.sleep(600)
            assert 8 <= len(parent.children) <= 30, len(parent.children)
            assert parent.ended is None

    virtual.run(main, 16)


# ------------------------------------------------------------------------- together or not at all


def sent(home):
    """What the venues have heard of: orders, whatever became of them."""
    return sum(len(history) for history in home.histories.values())


def refusing(home, monkeypatch, *, at):
    """Risk that approves nothing at one venue."""
    risk = home.engine.core.risk
    review = risk.review

    def no(order, *rest):
        found = review(order, *rest)
        return Denied("limit_order_notional", "a test") if order.instrument.venue == at else found

    monkeypatch.setattr(risk, "review", no)


def test_a_part_of_fill_or_kill_does_not_leave_without_the_others(monkeypatch):
    async def main(world):
        async with small(world) as home:
            heard = sent(home)
            depth = {  # more than one venue can have within the limit
                venue: sum(qty for px, qty in levels(home, venue) if px <= level(home, "1.0004"))
                for venue in ("binance", "kraken")
            }
            want = min(depth.values()) + max(depth.values()) * Decimal("0.9")
            qty = want.quantize(Decimal("0.00001"))
            refusing(home, monkeypatch, at="kraken")
            parent = home.place("buy", qty, limit=level(home, "1.0004"), life=Life.FOK)
            await home.done(parent)
            assert parent.status is Status.EXPIRED
            assert "limit_order_notional" in parent.ended.why
            assert [one.status.value for one in parent.children] == ["withdrawn"]
            await asyncio.sleep(5)
            assert sent(home) == heard, "nothing left"
            assert home.engine.risk.reserved_total() == 0

    virtual.run(main, 8)


def levels(home, venue):
    """The asks of a venue's book, as decimals."""
    live = home.market.book(home.engine.core.pair_of["BTC/USDT"]).live()[venue]
    of = live.instrument
    return [(of.px_decimal(px), of.qty_decimal(qty)) for px, qty in live.facing(Side.BUY)]


def test_one_leg_does_not_leave_when_the_other_cannot(monkeypatch):
    async def main(world):
        async with small(world) as home:
            heard = sent(home)
            refusing(home, monkeypatch, at="kraken")
            legs = [
                Intent(
                    account="main",
                    client_order_id=f"leg-{side}",
                    symbol="BTC/USDT",
                    side=side,
                    life=Life.IOC,
                    qty=Decimal("0.1"),
                    limit_px=level(home, away),
                    venues=VenueChoice(include=(venue,)),
                    group="both",
                )
                for side, away, venue in (
                    (Side.BUY, "1.001", "binance"),
                    (Side.SELL, "0.999", "kraken"),
                )
            ]
            answer = home.trading.submit(legs, "test")
            assert isinstance(answer, Placed), answer
            await asyncio.sleep(5)
            parents = [home.engine.oms.parents[one] for one in answer.parents]
            assert all(one.ended is not None and not one.filled for one in parents)
            assert sent(home) == heard, "neither leg left"
            (withdrawn,) = [row for row in rows(home) if isinstance(row, ChildWithdrawn)]
            assert withdrawn.code == "leg_refused"

    virtual.run(main, 9)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_money_given_is_kept_to_where_a_venues_tick_has_just_become_coarser(side):
    """The plan saw levels off the new tick: the whole went beyond the money by two cents.

    The gate refused it, again and again, and shut every venue.
    """

    async def main(world):
        async with house(world, ("BTC/USDT", "USDT/USD"), limits=ALIKE, pace=CALM) as home:
            instruments = home.engine.core.world.instruments

            def coarser(pair):
                return {v: replace(of, tick=777) for v, of in instruments(pair).items()}

            home.engine.core.world.instruments = coarser
            parents = [
                home.place(side, quote_qty=Decimal(given)) for given in ("150", "2150", "39999.99")
            ]
            await asyncio.sleep(10)
            for one in parents:
                sent = [c for c in one.children if c.status is not ChildStatus.WITHDRAWN]
                assert sent, "it is sent all the same"
                worst = sum(
                    c.notional + (c.leaves * c.intended.worst_px if c.is_live else 0)
                    for c in one.children
                )
                if side == "buy":  # a sale may bring more than its limit: the gate looks at that
                    assert worst <= one.intent.quote_qty
            told = [r.text for r in rows(home) if isinstance(r, Incident) and "gate" in r.what]
            assert not told, told
            assert not any(home.trading.gate.standing().values())
            return counted(home)

    virtual.run(main, 4)
