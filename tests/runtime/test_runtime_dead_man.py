"""The dead man's switch: armed while we live, and what was ours ends when we do not (V25)."""

import asyncio

import pytest

from hean_router.domain.errors import VenueError
from hean_router.domain.order import Accepted, OrderReport, OrderState
from hean_router.runtime.order_core import DeskPolicy
from tests.runtime.test_runtime_order_desk import _back_office, play

HAVE = ("kraken", "okx")
SWITCH = DeskPolicy(dead_man_s=30)


async def resting(town):
    await town.ready()
    order = town.order()
    answer = await town.place(order)
    assert isinstance(answer.outcome, Accepted), answer
    return order.order.key


def alive(town, key):
    orders = _back_office(town.simulator).accounts["main"].orders
    return any(one.first_client_id == key and one.open for one in orders)


@pytest.mark.parametrize("venue", HAVE)
def test_an_order_outlives_the_switch_while_we_ask_and_not_when_we_fall_silent(venue):
    async def story(town):
        key = await resting(town)
        await asyncio.sleep(120)
        assert alive(town, key)
        assert town.clock() < town.desk.dead_man_ns <= town.clock() + 31 * 10**9
        await town.stop()
        await asyncio.sleep(19)
        assert alive(town, key), "not before the time that was asked for"
        await asyncio.sleep(15)
        assert not alive(town, key)

    play(venue, story, policy=SWITCH)


@pytest.mark.parametrize("venue", HAVE)
def test_a_switch_that_fires_though_we_live_is_heard_and_armed_again(venue):
    """Nothing of ours reaches the venue for a while; its stream still tells us."""

    async def story(town):
        key = await resting(town)
        town.world.net.link("router", venue).blackhole(sender="router")
        await asyncio.sleep(60)
        assert not alive(town, key)
        town.world.net.link("router", venue).heal()
        await town.ready(120)
        town.desk.ask_order(town.btc, key, "")
        await town.until(lambda: ended(town, key), 60)
        await town.until(lambda: town.desk.dead_man_ns > town.clock() + 15 * 10**9, 60)
        again = await resting(town)
        await asyncio.sleep(60)
        assert alive(town, again)

    play(venue, story, policy=SWITCH)


def ended(town, key):
    told = town.events(OrderReport, key)
    told += [e.report for e in town.told if getattr(e, "report", None) and e.report.key == key]
    return [one for one in told if one.state in {OrderState.CANCELED, OrderState.EXPIRED}]


@pytest.mark.parametrize("venue", ["binance", "bybit"])
def test_a_venue_that_has_none_is_not_asked(venue):
    async def story(town):
        key = await resting(town)
        await asyncio.sleep(60)
        assert alive(town, key)
        assert town.desk.dead_man_ns == 0

    play(venue, story, policy=SWITCH)


@pytest.mark.parametrize("venue", HAVE)
def test_it_is_off_unless_asked_for(venue):
    async def story(town):
        key = await resting(town)
        await town.stop()
        await asyncio.sleep(300)
        assert alive(town, key)

    play(venue, story)


def test_a_long_switch_is_armed_as_soon_as_the_venue_can_be_reached():
    """One question failed: the next came after as much of an hour as it was to hold."""

    async def story(town):
        desk, ask = town.desk, town.desk._http.ask
        failed = []

        async def fails_once(part, question, timeout_s, signing):
            if not failed and question.__name__ == "dead_man":
                failed.append(timeout_s)
                raise VenueError("lost")
            return await ask(part, question, timeout_s, signing)

        desk._http.ask = fails_once
        await resting(town)
        await town.until(lambda: failed, 60)
        await town.until(lambda: desk.dead_man_ns > town.clock(), 60)

    play("kraken", story, policy=DeskPolicy(dead_man_s=3_600))
