"""Bugs that other programs had with orders, each by the number of its report.

The whole router on four simulated venues in virtual time; the venues' own accounts are the judge.
`test_peers_table` says where every row of the list of peers' bugs is held.
"""

import asyncio
from decimal import Decimal

import pytest

from hean_router.domain.instrument import Side
from hean_router.domain.order import Approved, ChildOrder, OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind, Status, VenueChoice
from hean_router.domain.record import BalanceBreak, Filled, ForeignOrder, Incident
from hean_router.engine import Placed, Refused
from hean_router.oms import orders as folded
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.storm.house import house, plot
from tests.storm.test_house import Kept, mid, quantized, rows_of, settled

SECOND = 1_000_000_000
VENUES = ("binance", "bybit", "kraken", "okx")
SLOW = Pace(updates_per_s=1)


def lived(main, seed=1):
    return virtual.run(main, seed).value


def away(home, bps, symbol="BTC/USDT"):
    """A price so far from the middle."""
    return quantized(mid(home, symbol) * (1 + Decimal(bps) / 10_000))


def rest(home, venue, side="buy", bps=-40, qty=None, **more):
    """An order that rests at one venue; each of another quantity, or it is taken for a mistake."""
    qty = qty or f"0.1{len(home.engine.oms.parents):02d}"
    return home.place(side, qty, limit=away(home, bps), venues=only(venue), **more)


def only(venue):
    return VenueChoice(include=(venue,))


async def stands(parent, home):
    await home.until(lambda: parent.status is Status.NEW, 10, f"{parent.id} at its venue")


async def wound_up(home):
    for parent in list(home.engine.oms.working.values()):
        home.trading.cancel(parent.id, "test", "the end")
    await settled(home)


def bad(home):
    return [row for row in rows_of(home, Incident) if row.what != "order_denied"]


def at_venue(home, venue, account="main"):
    return list(home.books_of(venue, account).open_orders())


def silence(home):
    for venue in home.venues:
        home.world.net.dns[f"{venue}.sim"] = home.world.net.dns.failure()
        home.world.net.link("router", venue).cut("reset")


def speech(home):
    for venue in home.venues:
        home.world.net.dns[f"{venue}.sim"] = venue


@pytest.mark.slow
def test_hummingbot_8457_ten_minutes_without_names_forget_no_order():
    """hummingbot/hummingbot#8457: a DNS outage ended tracking; an unknown short was left."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            orders = [rest(home, venue) for venue in VENUES] + [
                rest(home, venue, "sell", 40) for venue in ("okx", "bybit")
            ]
            for parent in orders:
                await stands(parent, home)
            silence(home)
            await asyncio.sleep(600)
            assert all(parent.ended is None for parent in orders), "no news is no end"
            speech(home)
            await home.stands(60)
            live = {child.venue_order_id for child in home.engine.oms.live.values()}
            assert live == {order.venue_id for order in home.resting()}
            await wound_up(home)
            assert not bad(home)

    lived(main)


@pytest.mark.parametrize(
    "venue", ["kraken", *(pytest.param(v, marks=pytest.mark.slow) for v in VENUES if v != "kraken")]
)
def test_hummingbot_3374_a_cancel_that_meets_a_dead_network_is_not_forgotten(venue):
    """hummingbot/hummingbot#3374: orders were forgotten at a failed cancel, and filled hours on."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            parent = rest(home, venue)
            await stands(parent, home)
            link = world.net.link("router", venue)
            link.blackhole()
            home.trading.cancel(parent.id, "test", "away with it")
            await asyncio.sleep(20)
            assert parent.ended is None, "nobody has said that it ended"
            link.cut("reset")
            link.heal()
            await home.done(parent, 60)
            assert not at_venue(home, venue)
            await settled(home)

    lived(main)


@pytest.mark.slow
@pytest.mark.parametrize("venue", VENUES)
def test_hummingbot_493_fifty_lost_answers_leave_no_order_behind(venue):
    """hummingbot/hummingbot#493: a timeout was a failure, so each cycle placed one more."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            faults = home.venues[venue].simulator.order_faults
            for cycle in range(50):
                faults.demand(("acklost", "unknown", "undone")[cycle % 3])
                answer = home.submit("buy", "0.01", limit=away(home, -40), venues=only(venue))
                if isinstance(answer, Refused):
                    await asyncio.sleep(5)
                    continue
                parent = home.engine.oms.parents[answer.parents[0]]
                await asyncio.sleep(1)
                assert len(at_venue(home, venue)) <= 1
                home.trading.cancel(parent.id, "test", "next")
                await home.done(parent, 200)
            faults._demanded.clear()
            await settled(home)

    lived(main)


@pytest.mark.parametrize("venue", VENUES)
def test_hummingbot_905_filled_before_it_was_acknowledged(venue):
    """hummingbot/hummingbot#905: the fill came before the order was known, and all stood still."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            home.venues[venue].simulator.order_faults.demand("early", 4)
            parent = home.place("buy", "0.05", venues=only(venue))
            await home.done(parent, 20)
            assert parent.status is Status.FILLED
            await settled(home)

    lived(main)


def test_hummingbot_4990_no_fill_is_booked_again_after_a_restart():
    """hummingbot/hummingbot#4990, #2945, #3862: what a restart was told again was counted again."""

    async def main(world):
        journal = Kept()
        async with plot(world, pace=SLOW) as home:
            async with home.moved_in(journal.opened()):
                for number, venue in enumerate(VENUES):
                    await home.done(home.place("buy", f"0.05{number}", venues=only(venue)))
                before = len(rows_of(home, Filled))
                assert before >= 4
            for _ in range(3):
                async with home.moved_in(journal.opened()):
                    await asyncio.sleep(8)
                    assert len(rows_of(home, Filled)) == before
                    await settled(home)

    lived(main)


@pytest.mark.slow
def test_hummingbot_1663_socket_and_questions_race_and_no_trade_counts_twice():
    """hummingbot/hummingbot#1663, #2642: two ways to hear of one trade, and one was missed."""

    async def main(world):
        async with house(world, pace=SLOW, faults="twice:1,lag:0.5,early:0.5,cut:9s") as home:
            for number in range(30):
                home.submit(("buy", "sell")[number % 2], "0.05", venues=only(VENUES[number % 4]))
                await asyncio.sleep(2)
            await wound_up(home)

    lived(main)


@pytest.mark.parametrize("venue", ["binance", "bybit", "okx"])
def test_hummingbot_7098_a_clock_that_is_wrong_does_not_keep_a_cancel(venue):
    """hummingbot/hummingbot#7098, #1388: -1021 made cancels fail, and the orders stayed."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            parent = rest(home, venue)
            await stands(parent, home)
            world.net.clock(venue).jump(40 * SECOND)
            world.net.link("router", venue).cut("reset")  # cancels go by REST, which tells times
            home.trading.cancel(parent.id, "test", "away with it")
            await home.done(parent, 40)
            assert not at_venue(home, venue)

    lived(main)


@pytest.mark.parametrize(
    "venue", ["okx", *(pytest.param(v, marks=pytest.mark.slow) for v in VENUES if v != "okx")]
)
def test_hummingbot_8250_a_private_stream_that_says_nothing_is_found(venue):
    """hummingbot/hummingbot#8250: subscribed again after a close, and no data ever came."""

    async def main(world):
        async with house(world, pace=SLOW, faults="until:10000h") as home:
            place = home.venues[venue]
            parent = rest(home, venue)
            await stands(parent, home)
            place.simulator.face.deafen(world.net.clock(venue)() + 60 * SECOND)
            place.server.carry_out(())
            desk = home.engine.core.desks[venue, "main"]
            await home.until(lambda: bool(desk.why), 45, "the silence to be noticed")
            answer = home.submit("buy", "0.05", venues=only(venue))
            assert isinstance(answer, Refused), "nothing is sent where nothing is heard"
            await home.stands(120)
            assert parent.ended is None
            await wound_up(home)

    lived(main)


def test_hummingbot_7388_no_leg_leaves_where_the_other_can_not():
    """hummingbot/hummingbot#7388, #855, #5299: one leg was sent, the other below its minimum."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            before = sum(len(history) for history in home.histories.values())

            def leg(name, side, venue, qty):
                return Intent(
                    account="main",
                    client_order_id=name,
                    symbol="BTC/USDT",
                    side=Side(side),
                    kind=OrderKind.LIMIT,
                    life=Life.IOC,
                    qty=Decimal(qty),
                    limit_px=away(home, 20 if side == "buy" else -20),
                    venues=only(venue),
                    group="both",
                )

            legs = [leg("a", "buy", "binance", "0.1"), leg("b", "sell", "okx", "0.00000001")]
            answer = home.trading.submit(legs, "test")
            await asyncio.sleep(3)
            assert isinstance(answer, Refused) or not any(
                child.acked_ns for child in home.engine.oms.children.values()
            )
            assert sum(len(history) for history in home.histories.values()) == before

    lived(main)


def test_hummingbot_2896_cancelling_all_leaves_orders_of_others_alone():
    """hummingbot/hummingbot#2896: cancel-all took the user's own orders with it."""

    async def main(world):
        async with plot(world, pace=SLOW) as home:
            async with home.moved_in(Kept().opened()):
                for venue in VENUES:
                    of = home.market.listed[venue, home.engine.core.pair_of["BTC/USDT"]]
                    by_hand = ChildOrder(
                        key="manual1",
                        account="main",
                        instrument=of,
                        side=Side.BUY,
                        qty=of.qty_of["0.01"],
                        px=of.px_of["60000"],
                        tif=Tif.GTC,
                        post_only=False,
                    )
                    home.trading.desks[venue, "main"].place(Approved(by_hand))
                await home.until(lambda: len(home.resting()) == len(VENUES), 10, "orders by hand")
            async with home.moved_in(Kept().opened()):
                seen = {row.venue for row in rows_of(home, ForeignOrder)}
                assert seen == set(VENUES), "seen"
                mine = [rest(home, venue) for venue in VENUES]
                for parent in mine:
                    await stands(parent, home)
                home.trading.kill("a test", "test")
                for parent in mine:
                    await home.done(parent, 20)
                left = [order.client_id for order in home.resting()]
                assert len(left) == len(VENUES), "left alone"

    lived(main)


def private(home, venue):
    face = home.venues[venue].simulator.face
    face = getattr(face, "inner", face).private
    return getattr(face, "orders", face)


@pytest.mark.slow
def test_nautilus_3493_reconciling_while_fills_fly_never_overfills():
    """nautechsystems/nautilus_trader#3493: a fill was inferred, then the real one came."""

    async def main(world):
        faults = "early:1,lag:1,twice:0.5,cut:6s"
        async with house(world, pace=SLOW, faults=faults) as home:
            placed = []
            for number in range(30):
                answer = home.submit("buy", "0.05", venues=only(VENUES[number % 4]))
                placed += answer.parents if isinstance(answer, Placed) else ()
                await asyncio.sleep(1)
            await wound_up(home)
            for parent in placed:
                assert home.engine.oms.parents[parent].filled <= Decimal("0.05")
            assert not [row for row in bad(home) if "overfill" in row.what]

    lived(main)


def test_nautilus_3046_trades_told_again_raise_nothing():
    """nautechsystems/nautilus_trader#3046: fills replayed at a restart were duplicate ids."""

    async def main(world):
        journal = Kept()
        async with plot(world, pace=SLOW, faults="twice:1") as home:
            for _ in range(3):
                async with home.moved_in(journal.opened()):
                    await home.done(home.place("buy", "0.05", venues=only("kraken")))
                    await home.done(home.place("sell", "0.02", venues=only("okx")))
                    await settled(home)
                    assert not bad(home)
            ids = [(r.venue, r.symbol, r.trade_id) for r in rows_of(home, Filled)]
            assert len(ids) == len(set(ids)) >= 6

    lived(main)


def test_nautilus_4736_a_restart_with_a_position_invents_no_trade():
    """nautechsystems/nautilus_trader#4736: a warm restart put in an opposite fill: we were flat."""

    async def main(world):
        journal = Kept()
        async with plot(world, pace=SLOW) as home:
            async with home.moved_in(journal.opened()):
                await home.done(home.place("buy", "0.3"))
                await settled(home)
                held = dict(home.engine.ledger.balances())
                fills = len(rows_of(home, Filled))
            for warm in (True, False):
                async with home.moved_in(journal.opened() if warm else Kept().opened()):
                    await asyncio.sleep(5)
                    assert len(rows_of(home, Filled)) == (fills if warm else 0)
                    assert dict(home.engine.ledger.balances()) == held
                    await settled(home)

    lived(main)


def test_nautilus_5000_a_working_order_stays_known_whatever_balances_say():
    """nautechsystems/nautilus_trader#5000: fills did not explain a position: orders dropped."""

    async def main(world):
        journal = Kept()
        async with plot(world, pace=SLOW) as home:
            async with home.moved_in(journal.opened()):
                orders = [rest(home, venue) for venue in VENUES]
                for parent in orders:
                    await stands(parent, home)
            for venue in VENUES:
                desk = private(home, venue).desk
                now_ns = world.net.clock(venue)()
                desk.transfer(desk.accounts["main"], "BTC", Decimal("-1.5"), now_ns)
            async with home.moved_in(journal.opened()):
                live = {child.venue_order_id for child in home.engine.oms.live.values()}
                assert live == {order.venue_id for order in home.resting()}
                for parent in orders:
                    home.trading.cancel(parent.id, "test", "the end")
                    await home.until(
                        lambda id=parent.id: home.engine.oms.parents[id].ended is not None,
                        20,
                        "end",
                    )
                await asyncio.sleep(45)
                assert {row.venue for row in rows_of(home, BalanceBreak)} == set(VENUES), "told"
                home.check_balances()

    lived(main)


def test_nautilus_3878_reconciling_again_finds_the_same():
    """nautechsystems/nautilus_trader#3878: each run of it made other ids, and another state."""

    async def main(world):
        journal, states = Kept(), []
        async with plot(world, pace=SLOW) as home:
            async with home.moved_in(journal.opened()):
                orders = [rest(home, venue) for venue in VENUES]
                await home.done(home.place("buy", "0.3"))
                for parent in orders:
                    await stands(parent, home)
                await asyncio.sleep(3)
            for _ in range(3):
                async with home.moved_in(journal.opened()):
                    await asyncio.sleep(3)
                    parents = home.engine.oms.parents.values()
                    states.append([folded._dump_parent(one) for one in parents])
                    fills = len(rows_of(home, Filled))
            assert all(len(one) == 5 for one in states)
            for later in states[1:]:
                assert [facts(one) for one in later] == [facts(one) for one in states[0]]
            assert fills == len({r.trade_id for r in rows_of(home, Filled)})

    lived(main)


def facts(parent):
    """Without the times at which it was told of again."""
    children = [
        {k: v for k, v in child.items() if k not in {"news_ns", "acked_ns"}}
        for child in parent["children"]
    ]
    return {**parent, "children": children}


@pytest.mark.slow
@pytest.mark.parametrize("after_ms", [0, 1, 15, 25, 40, 60, 100])
def test_nautilus_3869_killed_between_the_wire_and_the_answer(after_ms):
    """nautechsystems/nautilus_trader#3869, #4117, #3176: fills missed, orders doubled."""

    async def main(world):
        journal = Kept()
        async with plot(world, pace=SLOW) as home:
            async with home.moved_in(journal.opened()):
                for number, venue in enumerate(VENUES):
                    home.place("buy", f"0.05{number}", venues=only(venue))
                    rest(home, venue)
                await asyncio.sleep(after_ms / 1000)
                for venue in VENUES:
                    world.net.link("router", venue).cut("reset")
            async with home.moved_in(journal.opened(), 120):
                await asyncio.sleep(10)
                oms = home.engine.oms
                keys = [
                    order.first_client_id
                    for venue in VENUES
                    for order in home.books_of(venue).orders
                ]
                assert len(keys) == len(set(keys)), "no key twice"
                assert set(keys) <= set(oms.children)
                for parent in oms.parents.values():
                    assert parent.filled + parent.working <= parent.qty
                await wound_up(home)

    lived(main)


@pytest.mark.parametrize("venue", VENUES)
def test_freqtrade_3647_cancelled_by_a_timeout_and_filled_all_the_same(venue):
    """freqtrade/freqtrade#3647: taken for cancelled, it was filled; a position nobody knew."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            for _ in range(8):
                level = away(home, 3)
                answer = home.submit("buy", "0.02", limit=level, venues=only(venue))
                if isinstance(answer, Placed):
                    # The cancel is on its way while the venue matches it.
                    home.trading.cancel(answer.parents[0], "test", "too slow")
                await asyncio.sleep(1)
            await wound_up(home)
            assert rows_of(home, Filled), "some were filled first"

    lived(main)


def test_freqtrade_6907_a_part_that_filled_before_the_timeout_is_kept():
    """freqtrade/freqtrade#6907: a timed-out order took the record of the position with it."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            exchange = home.venues["kraken"].exchange
            listing = exchange.listings["BTC/USDT"]
            best = exchange.book("BTC/USDT", 1)[1][0]
            shown = listing.qty(best.qty)
            parent = home.place(
                "buy",
                str(shown * 9),
                limit=listing.px(best.px),
                life=Life.GTD,
                expire_ns=home.office.clock() + SECOND // 4,
                venues=only("kraken"),
            )
            await home.done(parent, 30)
            assert parent.status is Status.EXPIRED
            assert 0 < parent.filled < parent.qty
            await settled(home)

    lived(main)


def test_freqtrade_2613_one_lane_of_nonces_whatever_goes_on_at_once():
    """freqtrade/freqtrade#2613, #2990: nonces of one key met each other on the way."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            world.net.link("router", "kraken").latency(60 * 1_000_000, jitter_ns=55 * 1_000_000)
            desk = home.trading.desks["kraken", "main"]
            of = home.market.listed["kraken", home.engine.core.pair_of["BTC/USDT"]]
            for number in range(6):
                rest(home, "kraken", bps=-40 - number, qty="0.01")
                desk.ask_balances()
                desk.ask_order(of, f"none{number}", "")
            await asyncio.sleep(20)
            told = home.histories["kraken"]
            assert not [row for row in told if "nonce" in str(row).lower() and "refus" in str(row)]
            assert len(at_venue(home, "kraken")) == 6
            await wound_up(home)
            assert not bad(home)

    lived(main)


@pytest.mark.slow
def test_freqtrade_13082_streams_that_fall_silent_leave_no_sockets_behind():
    """freqtrade/freqtrade#13082: each fallback left a socket, 1.3 GB an hour."""

    async def main(world):
        async with house(world, pace=SLOW, faults="until:10000h") as home:
            counts = {}
            for _ in range(8):
                for venue in VENUES:
                    place = home.venues[venue]
                    place.simulator.face.deafen(world.net.clock(venue)() + 25 * SECOND)
                    place.server.carry_out(())
                await asyncio.sleep(30)
                await home.stands(120)
                await asyncio.sleep(5)
                for venue in VENUES:
                    now = len(world.net.connections("router", venue))
                    counts.setdefault(venue, []).append(now)
            for venue, seen in counts.items():
                assert max(seen[2:]) <= max(seen[:2]) + 1, (venue, seen)
            tasks = len(asyncio.all_tasks())
            assert tasks < 200, tasks

    lived(main)


@pytest.mark.parametrize("venue", VENUES)
def test_ccxt_2599_an_order_that_timed_out_is_at_the_venue_once(venue):
    """ccxt/ccxt#2599, #7411; scrtlabs/catalyst#317: placed though timed out, and placed again."""

    async def main(world):
        async with house(world, pace=SLOW) as home:
            home.venues[venue].simulator.order_faults.demand("acklost")
            parent = rest(home, venue)
            await asyncio.sleep(8)
            found = list(home.books_of(venue).orders)
            assert len(found) == 1
            assert found[0].state is not OrderState.REJECTED
            assert parent.children[0].venue_order_id == found[0].venue_id
            await wound_up(home)

    lived(main)


def test_passivbot_lighter_3_a_subscription_that_fails_is_no_silence_for_ever():
    """djienne/passivbot_lighter#3: its error was swallowed: eight hours without orders."""

    async def main(world):
        async with house(world, pace=SLOW, faults="hush:0.4,refuse:0.4,until:40s") as home:
            for venue in VENUES:
                world.net.link("router", venue).cut("reset")
            await asyncio.sleep(41)
            await home.stands(90)
            await home.done(home.place("buy", "0.4"))
            await settled(home)

    lived(main)
