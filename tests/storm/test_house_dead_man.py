"""The router is killed with orders resting: a venue with a dead man's switch ends them itself."""

import asyncio
from decimal import Decimal

from hean_router.config import Settings
from hean_router.domain.parent import VenueChoice
from hean_router.sim import virtual
from hean_router.store import Journal
from tests.storm.disk import Disk
from tests.storm.house import LIMITS, plot

SWITCHES = {"okx": 20, "kraken": 45}


async def rest(home, venue):
    core = home.engine.core
    found = core.mid(core.pair_of["BTC/USDT"])
    core._mids.clear()
    far = (found[0] * Decimal("0.97")).quantize(Decimal("0.1"))
    home.place("buy", f"0.0{len(venue)}", limit=far, venues=VenueChoice(include=(venue,)))
    await home.until(lambda: at(home, venue), 10, "an order that rests")


def at(home, venue):
    return [one for one in home.books_of(venue).open_orders() if one.first_client_id]


async def story(world, path):
    async with plot(world, ("BTC/USDT", "USDT/USD")) as home:
        venues = {name: {"dead_man_s": seconds} for name, seconds in SWITCHES.items()}
        home.settings = Settings(venues=venues, limits=LIMITS, strategies={})
        disk = Disk(path)
        pen = disk.opened()
        async with home.moved_in(pen):
            for venue in ("okx", "kraken", "bybit"):
                await rest(home, venue)
            await asyncio.sleep(60)  # longer than either switch: it is renewed
            assert all(at(home, venue) for venue in ("okx", "kraken", "bybit"))
            health = home.trading.health()["dead_man"]
            assert {
                (one["venue"], one["seconds"]) for one in health if one["account"] == "main"
            } == {
                ("okx", 20),
                ("kraken", 45),
            }
            assert all(one["held_until_ns"] > home.office.clock() for one in health)
            before = dict(home.engine.oms.live)
            pen.kill()
            for venue in home.venues:
                world.net.link("router", venue).blackhole(sender="router")
        for venue in home.venues:
            world.net.link("router", venue).heal()
        await asyncio.sleep(5)
        assert at(home, "okx"), "not before the time that was asked for"
        assert at(home, "kraken")
        await asyncio.sleep(20)
        assert not at(home, "okx")
        assert at(home, "kraken"), "not before the time that was asked for"
        await asyncio.sleep(25)
        assert not at(home, "kraken")
        assert at(home, "bybit"), "it has no switch"
        async with home.moved_in(disk.opened()):
            ours = {child.venue: child.key for child in before.values()}
            children = home.engine.oms.children
            await home.until(
                lambda: not any(children[ours[venue]].is_live for venue in SWITCHES),
                90,  # Kraken lets an account ask little
                "what the venues have ended has ended here",
            )
            assert {venue: str(children[key].status) for venue, key in ours.items()} == {
                "okx": "canceled",
                "kraken": "expired",
                "bybit": "open",
            }


def test_a_killed_routers_orders_are_ended_by_the_venue_where_that_was_configured(tmp_path):
    virtual.run(lambda world: story(world, tmp_path / "journal.sqlite3"), 5)


async def nothing_asked(world):
    async with plot(world, ("BTC/USDT", "USDT/USD"), venues=("okx", "kraken")) as home:
        async with home.moved_in(Journal.memory()):
            await rest(home, "okx")
            assert home.trading.health()["dead_man"] == []
        await asyncio.sleep(150)
        assert at(home, "okx")


def test_it_is_off_unless_configured():
    virtual.run(nothing_asked, 5)
