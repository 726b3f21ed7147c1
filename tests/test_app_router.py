"""The router, whole, in virtual time: one venue's trouble is no other's; clocks, stalls, ends."""

import asyncio
import gc
import logging
from contextlib import suppress
from decimal import Decimal

import pytest

from hean_router.app import Router, Target
from hean_router.book import BookState
from hean_router.config import Settings, VenueSettings
from hean_router.domain.errors import CommandError, ConfigError, VenueError
from hean_router.domain.instrument import Pair, Part
from hean_router.domain.venue import FeeIn
from hean_router.sim.contract import Response, Trouble
from hean_router.sim.market import Pace
from hean_router.sim.virtual import run, virtual_connector
from hean_router.venue import registry
from tests.storm.town import VENUES, town

S = 1_000_000_000
BTC = Pair.parse("BTC/USDT")
PACE = Pace(updates_per_s=5, levels=60)


@pytest.fixture(autouse=True)
def _quiet():
    logger = logging.getLogger("websockets")
    level, logger.level = logger.level, logging.CRITICAL
    yield
    logger.level = level


def tried(main, symbols=("BTC/USDT",), venues=VENUES, *, seed=1, limit_s=600, **options):
    """Run `main(world, here)` in a town that is up; nothing is left open, nothing was a bug."""

    async def whole(world):
        async with town(world, symbols, venues=venues, pace=PACE, **options) as here:
            await here.until(lambda: here.router.market.all_live, 15, "all live")
            value = await main(world, here)
            faults = {feed.id: feed.counts.faults for feed in here.router.feeds}
            assert not any(faults.values()), faults
            return value

    ran = run(whole, seed, limit_s=limit_s)
    assert not ran.left_open, ran.left_open
    return ran.value


def not_live(here):
    """Venues whose book of BTC/USDT is not LIVE."""
    return sorted(here.state().get("BTC/USDT", {}))


# ------------------------------------------------------------------ one venue down


@pytest.mark.parametrize(
    ("victim", "hurt"),
    [
        *((venue, "refuse") for venue in VENUES),
        *(("okx", hurt) for hurt in ("dns", "blackhole", "cut for ever", "dies")),
    ],
)
def test_one_venue_down_is_nobody_elses_trouble(victim, hurt):
    async def main(world, here):
        market, changes = here.router.market, []
        market.on_change.append(changes.append)
        link = world.net.link("router", victim)
        match hurt:
            case "dns":
                world.net.dns[f"{victim}.sim"] = world.net.dns.failure()
                link.cut()
            case "refuse":
                link.refuse()
                link.cut()
            case "blackhole":
                link.blackhole()
            case "cut for ever":
                cutting = asyncio.create_task(cut_for_ever(link))
            case "dies":
                await here.venues[victim].server.stop()
        await here.until(lambda: not_live(here) == [victim], 20, "one is lost")
        await asyncio.sleep(40)
        assert not_live(here) == [victim]
        assert {change.instrument.venue for change in changes} == {victim}
        failed = here.router.failed
        assert list(failed) == [victim]
        assert failed[victim], "at which step"
        if hurt == "dns":
            assert failed[victim].startswith("DNS: ")
        if hurt in {"refuse", "dies", "blackhole"}:
            assert failed[victim].startswith("connect: ")
        if hurt == "dies":
            return
        if hurt == "cut for ever":
            cutting.cancel()
        world.net.dns[f"{victim}.sim"] = victim
        link.heal()
        await here.until(lambda: market.all_live, 60, "all live again")
        await asyncio.sleep(1)
        assert here.router.failed == {}, "who is back has not failed"

    async def cut_for_ever(link):
        while True:
            link.cut()
            await asyncio.sleep(0.15)

    tried(main)


def test_a_venue_whose_list_fails_is_named_and_asked_again():
    """Three ways in which a list fails; then it comes; the others never waited for it."""

    async def whole(world):
        told = []
        async with town(world, ["BTC/USDT"], pace=PACE, prepare=sick) as here:
            router, market = here.router, here.router.market
            router._tell = told.append
            await here.until(lambda: not_live(here) == ["okx"], 15, "three of four")
            assert router.failed["okx"].startswith("instruments: ")
            assert isinstance(router.faults["okx"], VenueError)
            assert market.standing(BTC)["okx"].startswith("instruments: ")
            assert market.book(BTC).left_out()["okx"].startswith("instruments: ")
            await asyncio.sleep(20)
            assert 3 <= len([text for text in told if text.startswith("okx spot: instr")]) <= 8
            here.venues["okx"].simulator.face.sick = False
            await here.until(lambda: not not_live(here), 70, "all live")
            assert market.all_live
            assert router.failed == {}
            assert router.faults == {}
            assert "okx" not in market.book(BTC).left_out()
            assert (("okx"), Part.SPOT) in router.listings

    def sick(venues):
        face = venues["okx"].simulator.face
        face.sick = True
        ask = face.request

        def request(asked, now_ns):
            return Response(503, b"<html>") if face.sick else ask(asked, now_ns)

        face.request = request

    run(whole, 1, limit_s=600)


def test_a_bug_in_reading_one_list_stops_nobody(monkeypatch, caplog):
    from msgspec import structs

    def broken(part):
        raise ZeroDivisionError(f"a bug for {part}")
        yield

    connector = registry.connector("okx")
    monkeypatch.setattr(
        registry, "connector",
        lambda name: structs.replace(connector, instruments=broken)
        if name == "okx" else registry_connector(name),
    )  # fmt: skip

    async def whole(world):
        async with town(world, ["BTC/USDT"], pace=PACE) as here:
            await here.until(lambda: not_live(here) == ["okx"], 15, "three of four")
            assert here.router.failed["okx"] == (
                "instruments: a fault of our own: ZeroDivisionError: a bug for spot"
            )
            await asyncio.sleep(5)
            assert not_live(here) == ["okx"]

    with caplog.at_level(logging.ERROR):
        run(whole, 1, limit_s=600)
    assert any("a fault of our own" in record.getMessage() for record in caplog.records)


registry_connector = registry.connector


def test_parts_of_one_venue_fail_apart():
    """Both are told by name; the one that recovers does not speak for the other."""

    async def main(world, here):
        (spot,) = [f for f in here.router.feeds if f.part is Part.SPOT]
        (linear,) = [f for f in here.router.feeds if f.part is Part.LINEAR]
        spot._tell, linear._tell = (lambda _: None), (lambda _: None)
        spot.lines[0].trouble = "connect: refused"
        assert here.router.failed == {"okx": "connect: refused"}
        here.router._unlisted["okx", Part.LINEAR] = VenueError("HTTP 503")
        assert here.router.failed == {"okx": "instruments: HTTP 503"}, "the earlier step"
        assert linear.http.limits is spot.http.limits, "one address, one limit"

    tried(main, ("BTC/USDT", "BTC/USDT:USDT"), ("okx",))


@pytest.mark.parametrize("cut", [False, True], ids=["connected", "cut meanwhile"])
@pytest.mark.parametrize("venue", VENUES)
def test_a_maintenance_is_seen_and_its_end_too(venue, cut):
    """Also where it ends while there is no connection to say so."""

    async def main(world, here):
        market, link = here.router.market, world.net.link("router", venue)

        def trouble(what):
            now_ns = world.net.clock(venue)()
            server = here.venues[venue].server
            server._dispatch(here.venues[venue].simulator.face.trouble(what, now_ns))
            server._plan(now_ns)

        trouble(Trouble.MAINTENANCE)
        await asyncio.sleep(15)
        assert set(not_live(here)) <= {venue}, "nobody else"
        if venue in {"kraken", "okx"}:  # these say so on their sockets
            assert "halted: " in here.state()["BTC/USDT"][venue]
        if cut:
            link.refuse()
            link.cut()
            await asyncio.sleep(2)
        trouble(Trouble.RESUME)
        await asyncio.sleep(1)
        link.heal()
        await here.until(lambda: market.all_live, 75, "over and back")
        await asyncio.sleep(2)
        assert not here.router.failed
        here.freeze()
        await asyncio.sleep(2)
        here.check()

    tried(main)


# ------------------------------------------------------------------ seats


def test_seats_after_a_reconnect_are_read_from_the_new_books():
    async def main(world, here):
        market = here.router.market
        before = market.book(BTC).live()
        for venue in VENUES:
            world.net.link("router", venue).cut()
        await here.until(lambda: not market.book(BTC).live(), 5, "all lost")
        assert not any(book.usable for book in before.values()), "what was kept cannot be read"
        await here.until(lambda: market.all_live, 15, "all live")
        after = market.book(BTC).live()
        assert not set(map(id, after.values())) & set(map(id, before.values()))
        market.book(BTC).check()
        here.freeze()
        await asyncio.sleep(2)
        here.check()

    tried(main)


def test_pairs_that_a_venue_lacks_are_named_and_the_rest_runs():
    async def whole(world):
        async with town(
            world, ["BTC/USDT", "ETH/USDT"], venues=("okx", "kraken"), pace=PACE
        ) as here:
            router = here.router
            more = Router(
                router._settings,
                router._targets,
                [BTC, Pair.parse("BTC/EUR"), Pair.parse("XYZ/USDT"), Pair.parse("BTC/USDT:USDT")],
                clock=world.net.clock("router"),
                connector=virtual_connector,
                tell=lambda _: None,
            )
            async with more.running():
                await asyncio.sleep(5)
                market = more.market
                assert sorted(market.book(BTC).live()) == ["kraken", "okx"]
                assert set(market.standing(Pair.parse("XYZ/USDT")).values()) == {"not listed"}
                said = market.standing(Pair.parse("BTC/EUR"))
                assert set(said.values()) == {"BTC/USDT: no conversion"}
                perp = market.standing(Pair.parse("BTC/USDT:USDT"))
                assert perp["kraken"] == "no linear market"
                assert more.failed == {}, "not to list is no failure"

    run(whole, 1, limit_s=600)


# ------------------------------------------------------------------ clocks and stalls


def journal(world, here):
    """Changes from now on: (seconds from now, venue, state, reason)."""
    began, log = world.loop.time(), []
    here.router.market.on_change.append(
        lambda c: log.append(
            (round(world.loop.time() - began, 2), c.instrument.venue, c.new.value, c.reason)
        )
    )
    return log


@pytest.mark.parametrize("slept_s", [2.5, 20])
def test_after_a_stall_no_book_is_live_until_it_is_proven(slept_s):
    """Two seconds and more: what we hold is old, and so is what waits in the sockets."""

    async def main(world, here):
        await asyncio.sleep(5)
        log = journal(world, here)
        kept = here.router.market.book(BTC).live()
        world.loop.stall(slept_s)
        await asyncio.sleep(0.005)
        assert not any(book.usable for book in kept.values())
        assert here.router.market.book(BTC).live() == {}
        first = {venue: (state, reason) for _, venue, state, reason in reversed(log)}
        assert first == dict.fromkeys(VENUES, ("stale", f"this program slept for {slept_s:.1f} s"))
        await here.until(lambda: here.router.market.all_live, 5, "all live again")
        lag = here.router.metrics.loop_lag
        assert lag.quantile_ns(1) >= S // 2, "and the page says how late we were"
        assert lag.total_ns >= (slept_s - 0.1) * S
        await asyncio.sleep(1)
        here.freeze()
        await asyncio.sleep(2)
        here.check()

    tried(main)


def test_a_short_stall_costs_nothing():
    async def main(world, here):
        log = journal(world, here)
        for _ in range(5):
            world.loop.stall(1.5)
            await asyncio.sleep(3)
        assert not log

    tried(main)


def test_a_paused_machine_holds_nothing_that_it_still_believes():
    """The clock went on for ten minutes while nothing ran (see `steady_clock`)."""

    async def main(world, here):
        log = journal(world, here)
        world.net.clock("router").jump(600 * S)
        await asyncio.sleep(0.2)
        assert {venue for _, venue, state, _ in log if state == "stale"} == set(VENUES)
        assert {venue for _, venue, state, _ in log if state != "live"} == set(VENUES)
        await here.until(lambda: here.router.market.all_live, 10, "all live again")

    tried(main)


@pytest.mark.parametrize(
    ("host", "by_s", "disturbed"),
    [
        ("router", 70, {"okx", "kraken"}),
        ("router", -70, set()),  # ours never does; and if it did
        ("okx", 70, set()),  # as if it had become quicker: what came before was late, not this
        ("okx", -70, {"okx"}),  # everything of it looks late: doubted, given up, begun anew
    ],
)
def test_a_clock_that_jumps_disturbs_its_own_books_and_heals(host, by_s, disturbed):
    async def main(world, here):
        await asyncio.sleep(5)
        log = journal(world, here)
        world.net.clock(host).jump(by_s * S)
        await asyncio.sleep(150)
        assert {venue for _, venue, state, _ in log if state != "live"} == disturbed
        assert here.router.market.all_live
        last = max((at_s for at_s, *_ in log), default=0)
        assert last < 85, "and that was all"
        here.freeze()
        await asyncio.sleep(2)
        here.check()

    tried(main, venues=("okx", "kraken"))


@pytest.mark.parametrize(("host", "ppm"), [("router", 150), ("okx", 150)])
def test_a_clock_that_drifts_disturbs_nobody(host, ppm):
    async def main(world, here):
        log = journal(world, here)
        world.net.clock(host).drift(ppm * 1_000)
        await asyncio.sleep(200)
        assert not log

    tried(main, venues=("okx", "kraken"))


# ------------------------------------------------------------------ ends


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("after_s", [0, 0.001, 0.03, 0.06, 0.09, 0.15, 0.4, 3])
def test_a_cancelled_router_leaves_nothing(after_s, times):
    """At any moment of its start, and while it runs."""

    async def whole(world):
        async with town(world, ["BTC/USDT"], venues=("okx", "binance"), pace=PACE) as here:
            await here.until(lambda: here.router.market.all_live, 15, "all live")
            old = here.router
            router = Router(
                old._settings,
                old._targets,
                [BTC],
                clock=world.net.clock("router"),
                connector=virtual_connector,
                tell=lambda _: None,
            )
            before = set(asyncio.all_tasks()), len(world.net.connections("router"))
            task = asyncio.create_task(router.run())
            await asyncio.sleep(after_s)
            for _ in range(times):
                task.cancel()
                await asyncio.sleep(0)
            await asyncio.wait({task}, timeout=10)
            assert task.cancelled()
            await asyncio.sleep(2)
            left = [
                each for each in asyncio.all_tasks() - before[0] if each.get_name()[:6] == "router"
            ]
            assert not left
            assert len(world.net.connections("router")) == before[1]
            gc.collect()

    run(whole, 1, limit_s=600)


class OurFault(Exception):
    pass


@pytest.mark.parametrize("fault", [OurFault, ValueError, KeyboardInterrupt, asyncio.CancelledError])
def test_what_the_block_raises_comes_out_alone(fault):
    async def whole(world):
        async with town(world, ["BTC/USDT"], venues=("okx",), pace=PACE) as here:
            old = here.router
            router = Router(
                old._settings, old._targets, [BTC], clock=old.clock, connector=virtual_connector
            )

            async def block():
                async with router.running():
                    await asyncio.sleep(1)
                    raise fault("mine")

            with pytest.raises(fault):
                await block()
            assert all(not feed.lines for feed in router.feeds)

    run(whole, 1, limit_s=600)


@pytest.mark.parametrize("what", ["the watch", "the feed"])
def test_a_task_of_the_router_that_dies_is_started_again_and_told(what):
    """Never in silence; and the books of a feed that died are no books until it lives again."""

    async def whole(world):
        async with town(world, ["BTC/USDT"], venues=("okx",), pace=PACE) as here:
            old = here.router
            router = Router(
                old._settings, old._targets, [BTC], clock=old.clock, connector=virtual_connector
            )
            heard, lives = [], []
            router.on_death.append(lambda name, why, *, often: heard.append((name, why, often)))
            name = "_watch_lag" if what == "the watch" else "_run_part"
            alive = getattr(router, name)

            async def mortal(*args):
                lives.append(1)
                if len(lives) == 1:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(alive(*args), 3)
                    raise OurFault(name)
                await alive(*args)

            setattr(router, name, mortal)
            async with router.running():
                await asyncio.sleep(3.5)
                assert len(heard) == 1
                assert heard[0][1:] == (f"OurFault: {name}", False)
                if what == "the feed":
                    assert not router.market.all_live
                await asyncio.sleep(10)
                assert len(lives) == 2
                assert router.market.all_live

    run(whole, 1, limit_s=600)


# ------------------------------------------------------------------ what can never run


@pytest.mark.parametrize(
    ("target", "fault", "said"),
    [
        (Target("okx", "sim", {}), ConfigError, "okx: environment 'sim' has no 'rest' host"),
        (
            Target("okx", "sim", {"rest": "http://x"}),
            ConfigError,
            "okx: environment 'sim' has no 'ws' host for spot",
        ),
        (Target("okxx", "live", {}), CommandError, "unknown venue 'okxx'"),
        (Target("ccxt:nothing", "live", {}), CommandError, "nothing"),
    ],
)
def test_what_can_never_run_is_said_before_anything_does(target, fault, said):
    async def main(world):
        router = Router(
            Settings(),
            [target],
            [BTC],
            clock=world.net.clock("router"),
            connector=virtual_connector,
        )
        with pytest.raises(fault, match=said):
            async with router.running():
                await asyncio.sleep(60)
        assert not world.net.connections()

    run(main, 1, limit_s=100)


def test_our_fee_tier_reaches_the_book_and_the_lowest_tier_is_the_default():
    router = Router(Settings(venues={"okx": VenueSettings()}), [], [BTC])
    spec = registry.connector("okx").spec
    own = Target("okx", "live", {}, Decimal("-0.0001"), FeeIn.BASE)
    assert router._fees(own, Part.SPOT).taker == Decimal("-0.0001")
    assert router._fees(own, Part.SPOT).fee_in is FeeIn.BASE
    default = Target("okx", "live", {})
    assert router._fees(default, Part.LINEAR) == spec.fees[Part.LINEAR]
    free = Target("okx", "live", {}, Decimal(0))
    assert router._fees(free, Part.SPOT).taker == 0, "nothing is a tier too"


def test_the_readings_of_a_running_router():
    async def main(world, here):
        readings = here.router.metrics.readings()
        assert sorted((r.venue, r.part) for r in readings) == sorted(
            (venue, part)
            for venue in VENUES
            for part in ("spot", "linear")
            if (venue, part) != ("kraken", "linear")
        )
        for reading in readings:
            assert reading.totals.frames > 0
            assert [book.state for book in reading.books] == [BookState.LIVE]

    tried(main, ("BTC/USDT", "BTC/USDT:USDT"))
