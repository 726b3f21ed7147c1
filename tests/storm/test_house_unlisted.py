"""The whole router where a venue's list lacks a pair: at the start, and from one moment on."""

import asyncio
from decimal import Decimal

import pytest

from hean_router.domain.instrument import Pair, Trading, VenueId
from hean_router.domain.parent import VenueChoice
from hean_router.engine import Placed, Refused
from hean_router.oms import ChildStatus
from hean_router.runtime.standing import health
from hean_router.sim import virtual
from hean_router.sim.exchange import Reason, Status
from hean_router.sim.market import Pace
from hean_router.store import Journal
from tests.storm.house import plot

ETH = "ETH/USDT"
FOUR = ["binance", "bybit", "kraken", "okx"]
CALM = Pace(updates_per_s=1)


class Lister:
    """A venue's hand on its own list."""

    def __init__(self, home, venue):
        self.home, self.venue, self.there = home, venue, home.venues[venue]
        face = self.there.simulator.face
        self.face = getattr(face, "inner", face)

    def now_ns(self):
        return self.home.world.net.clock(self.venue)()

    async def gone(self, is_gone, status=None):
        """Off the list or on it; `status` is what its engine then does."""
        exchange, now_ns = self.there.exchange, self.now_ns()
        outputs = [*self.face.market(exchange.set_gone(ETH, is_gone, now_ns=now_ns), now_ns)]
        if status is not None:
            outputs += self.face.market(exchange.set_status(ETH, status, now_ns=now_ns), now_ns)
        self.there.server.carry_out(outputs)

    def take_back(self):
        """The venue ends every order there, and tells nobody."""
        private = getattr(self.face.private, "orders", self.face.private)
        for account in private.desk.accounts.values():
            for order in list(account.open_orders()):
                if order.symbol == ETH:
                    outcome = private.desk.take_back(order, Reason.VENUE, self.now_ns())
                    self.face.private.carried(outcome, self.now_ns(), told=False)
        assert not [one for one in self.home.resting() if one.symbol == ETH]


def order_of(home, venue, qty="0.05"):
    """One that rests there and nowhere else, far from the market."""
    mid, _ = home.engine.core.mid(Pair.parse(ETH))
    far = (mid * Decimal("0.97")).quantize(Decimal("0.1"))
    return home.place("buy", qty, symbol=ETH, limit=far, venues=VenueChoice(include=(venue,)))


async def rests(home, parent):
    await home.until(
        lambda: any(child.status is ChildStatus.OPEN for child in parent.children), 10, "resting"
    )
    (child,) = parent.children
    return child


def live(home, venue):
    return VenueId(venue) in home.market.book(Pair.parse(ETH)).live()


def seat(home, venue):
    return home.market.seat(VenueId(venue), Pair.parse(ETH))


async def trades_again(home, venue, within_s):
    """Its book, its fees and its account are back; nothing was restarted."""
    await home.until(lambda: live(home, venue), within_s, f"{venue}'s book")
    await asyncio.sleep(2)  # what is listed anew is asked about within a second
    await home.until(
        lambda: all(not one.why for one in home.engine.core.desks.values()), 30, "every desk"
    )
    choice = VenueChoice(include=(venue,))
    parent = await home.done(home.place("buy", "0.05", symbol=ETH, venues=choice))
    assert parent.filled == Decimal("0.05")
    own = home.market._own_fees  # as its account is charged
    assert (VenueId(venue), Pair.parse(ETH)) in own
    await asyncio.sleep(40)
    home.check_balances()
    assert home.engine.risk.reserved_total() == 0


def whole(main, seed, **options):
    async def in_it(world):
        async with plot(world, ("BTC/USDT", ETH, "USDT/USD"), pace=CALM, **options) as home:
            return await main(home)

    return virtual.run(in_it, seed).value


# ------------------------------------------------------------------ missing at the start


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("venue", FOUR)
@pytest.mark.parametrize(
    "fate",
    [
        "cancelled by us",  # asked for while the pair is not listed: it is heard, and obeyed
        "ended by the venue",  # while no router ran; nobody told: found by asking
    ],
)
def test_an_order_on_a_pair_that_is_missing_at_the_start_is_not_out_of_reach(venue, fate, tmp_path):
    path = tmp_path / "journal.sqlite"
    others = ["kraken" if venue != "kraken" else "okx"]  # Kraken knows what USDT is worth

    async def main(home):
        lister = Lister(home, venue)
        journal = Journal.open(path, sync="relaxed", entropy=b"unlisted")
        async with home.moved_in(journal):
            parent = order_of(home, venue)
            key = (await rests(home, parent)).key
            await asyncio.sleep(20)  # no question can have come too early for it to be seen
        await lister.gone(True, Status.CANCEL_ONLY)
        if fate == "ended by the venue":
            lister.take_back()
        async with home.moved_in(Journal.open(path, sync="relaxed"), wait=False):
            core = home.engine.core
            await home.until(
                lambda: all(not one.why for one in core.desks.values()), 40, "every desk"
            )
            child = core.oms.children[key]
            assert home.market.standing(Pair.parse(ETH))[VenueId(venue)] == "not listed"
            assert not live(home, venue)
            assert live(home, others[0]), "nobody else's book is shut"
            answer = home.submit("buy", "0.05", symbol=ETH, venues=VenueChoice(include=(venue,)))
            assert isinstance(answer, Refused), answer
            if fate == "cancelled by us":
                assert child.status is ChildStatus.OPEN
                told = [one for one in health(home.trading)["shut"] if "not listed" in one["why"]]
                assert [one["where"] for one in told] == [f"{venue} {ETH}"]
                assert home.trading.cancel(child.parent.id, "test", "")
            await home.until(lambda: child.is_final, 60, "its end")
            assert child.status in {ChildStatus.CANCELED, ChildStatus.EXPIRED}
            assert not home.resting()
            if fate == "ended by the venue":  # the parent waits for a venue to take it
                assert home.trading.cancel(child.parent.id, "test", "")
            await home.until(lambda: child.parent.ended is not None, 30, "the parent's end")
            assert core.risk.reserved_total() == 0
            await lister.gone(False)
            await trades_again(home, venue, 130)

    whole(main, 11, venues=[venue, *others])


# ------------------------------------------------------------------ gone while it runs


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("venue", "within_s"),
    [
        ("binance", 320),  # its streams tell nothing: its list is read now and then, and twice
        ("bybit", 320),  # so it is there
        ("kraken", 30),  # the stream tells of a halt, and the list that it is for good
        ("okx", 30),
    ],
)
def test_a_pair_that_is_delisted_is_shut_and_comes_back(venue, within_s):
    others = ["kraken" if venue != "kraken" else "okx"]  # Kraken knows what USDT is worth

    async def main(home):
        lister = Lister(home, venue)
        async with home.moved_in(Journal.memory()):
            parent = order_of(home, venue)
            child = await rests(home, parent)
            await lister.gone(True)
            await home.until(
                lambda: seat(home, venue).instrument.trading is Trading.UNLISTED,
                within_s,
                "off the list",
            )
            assert not live(home, venue)
            assert live(home, others[0]) or await home.until(
                lambda: live(home, others[0]), 5, "the other's book"
            )
            await home.until(lambda: home.market.book(Pair.parse("BTC/USDT")).live().keys() >= {
                VenueId(venue)}, 10, "its other book")  # fmt: skip
            told = [one for one in health(home.trading)["shut"] if one["what"] == "book"]
            (line,) = [one for one in told if one["where"] == f"{venue} {ETH}"]
            assert "not listed any more" in line["why"]
            before = len(home.engine.oms.children)
            answer = home.submit("buy", "0.05", symbol=ETH, venues=VenueChoice(include=(venue,)))
            assert isinstance(answer, Refused), answer
            assert isinstance(home.submit("buy", "0.05", symbol=ETH), Placed)
            await asyncio.sleep(5)
            assert all(
                one.venue != venue for one in list(home.engine.oms.children.values())[before:]
            ), "no order goes there"
            assert child.is_live, "it rests there, for all that anybody knows"
            lister.take_back()
            await home.until(lambda: child.is_final, 330, "its end, by evidence")
            home.trading.cancel(parent.id, "test", "")
            await home.until(lambda: parent.ended is not None, 10, "the parent's end")
            await lister.gone(False)
            await trades_again(home, venue, 310)

    whole(main, 12, venues=[venue, *others])
