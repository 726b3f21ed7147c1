"""Short days at a house, each with what some bug needs to show itself.

A scene is a coroutine of (home, journal): it moves in by itself, and leaves nothing open.
"""

import asyncio
from decimal import Decimal

from hean_router.domain.instrument import Side
from hean_router.domain.parent import Intent, Life, OrderKind, VenueChoice
from hean_router.store import Journal
from tests.storm.test_house_storm import Kept

WIDE = {"BTC/USDT": "0.1", "ETH/USDT": "0.01"}


def mid(home, symbol="BTC/USDT"):
    """The mid of now."""
    found = home.engine.core.mid(home.engine.core.pair_of[symbol])
    home.engine.core._mids.clear()
    return found[0]


def near(home, factor):
    """A limit so far from the mid."""
    return (mid(home) * Decimal(factor)).quantize(Decimal("0.1"))


async def over(home, within_s=30):
    """Everything is cancelled, and ends."""
    for parent in list(home.engine.oms.working):
        home.trading.cancel(parent, "test", "the end")
    await home.until(
        lambda: not home.engine.oms.live and not home.engine.conduct.work, within_s, ""
    )
    await asyncio.sleep(3)


async def trade(home):
    """Bought and sold again, something rests, something is taken back."""
    for side in ("buy", "sell"):
        await home.done(home.place(side, "0.3"))
    home.place("buy", "0.2", limit=near(home, "0.99"))
    # Part of it can be had at once; the rest waits.
    home.place("buy", "6", limit=near(home, "1.0005"))
    await asyncio.sleep(4)
    for parent in list(home.engine.oms.working):
        home.trading.cancel(parent, "test", "changed my mind")
    await asyncio.sleep(3)


async def day(home, journal):
    """One life."""
    async with home.moved_in(journal.opened()):
        await trade(home)
        await over(home)
    return home


async def two_days(home, journal):
    """Two lives on one journal."""
    for _ in range(2):
        async with home.moved_in(journal.opened()):
            await trade(home)
            await over(home)


async def night(home, journal):
    """A wire is cut now and then; nobody orders."""
    async with home.moved_in(journal.opened()):
        for venue in sorted(home.venues) * 2:
            home.world.net.link("router", venue).cut("reset")
            await asyncio.sleep(4)


async def long_night(home, journal):
    """Nothing comes from a venue for a while, then all of it anew."""
    async with home.moved_in(journal.opened()):
        for venue in sorted(home.venues):
            link = home.world.net.link("router", venue)
            link.blackhole(sender=venue)
            await asyncio.sleep(12)
            link.cut("reset")
            link.heal()
            await asyncio.sleep(6)


async def greedy(home, journal):
    """More than the best levels hold."""
    async with home.moved_in(journal.opened()):
        for side, factor in (("buy", "1.01"), ("sell", "0.99")):
            home.place(side, "20", limit=near(home, factor), life=Life.IOC)
            await asyncio.sleep(3)
        await over(home)


async def killed(home, journal):
    """Something rests, then the kill switch; then somebody wants to buy."""
    async with home.moved_in(journal.opened()):
        home.place("buy", "0.2", limit=near(home, "0.99"))
        await asyncio.sleep(2)
        home.trading.kill("a person", "test")
        home.submit("buy", "0.3")
        await asyncio.sleep(32)
        home.trading.reset("looked at", "test")
        await over(home)


async def hurried(home, journal):
    """As many orders as come to one's mind, at once."""
    async with home.moved_in(journal.opened()):
        for n in range(40):
            bybit = VenueChoice(include=("bybit",))
            home.submit("buy", f"0.01{n:02d}", limit=near(home, "0.99"), venues=bybit)
        await asyncio.sleep(3)
        await over(home, 90)


async def lost_answers(home, journal):
    """Orders that were not carried out, and whose answers were lost."""
    async with home.moved_in(journal.opened()):
        for venue in home.venues.values():
            venue.simulator.order_faults.demand("undone", 2)
        home.submit("buy", "0.3")
        await asyncio.sleep(25)
        for venue in home.venues.values():
            venue.simulator.order_faults.calm()
        await asyncio.sleep(40)
        if not home.engine.oms.live:
            await over(home)


async def patience(home, journal):
    """What ends by itself is given its time and more."""
    async with home.moved_in(journal.opened()):
        home.place("buy", "0.3")
        await asyncio.sleep(135)


async def readers(home, journal):
    """Somebody listens."""
    async with home.moved_in(journal.opened()):
        home.trading.subscribe()
        await trade(home)
        await over(home)


async def by_strategy(home, journal):
    """A strategy buys here and sells there."""
    async with home.moved_in(journal.opened()):
        for side in ("buy", "sell"):
            home.place(side, "0.3", strategy="pair")
            await asyncio.sleep(1)
        await over(home)
        await asyncio.sleep(95)


async def legs(home, journal):
    """Two legs of one decision; of the second nothing can be had at its price."""
    async with home.moved_in(journal.opened()):
        for n, factor in enumerate(("0.99", "1.02")):
            both = [
                Intent(
                    account="main",
                    client_order_id=f"g{n}{side}",
                    symbol="BTC/USDT",
                    side=side,
                    kind=OrderKind.LIMIT,
                    life=Life.IOC,
                    qty=Decimal("0.2"),
                    limit_px=near(home, away),
                    group=f"g{n}",
                )
                for side, away in ((Side.BUY, "1.01"), (Side.SELL, factor))
            ]
            home.trading.submit(both, "test")
            await asyncio.sleep(2)
        await over(home)


async def asked_again(home, journal):
    """The same order by the same id, twice."""
    async with home.moved_in(journal.opened()):
        for _ in range(2):
            home.submit("buy", "0.3", client="same")
            await asyncio.sleep(2)
        await over(home)


async def at_the_api(home, journal):
    """Two people ask for their orders."""
    import httpx

    from hean_router.api import Caps, make_app

    async with home.moved_in(journal.opened()) as office:
        app = make_app(office.face(), Caps(rate=0), with_docs=False)
        transport = httpx.ASGITransport(app)
        for account in ("main", "second"):
            await home.done(home.place("buy", "0.2", account=account))
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            for account in ("main", "second"):
                token = office.trading.make_key(account, ["read", "trade"])[1]
                headers = {"Authorization": f"Bearer {token}"}
                for path in ("/v1/orders", "/v1/fills", "/v1/portfolio/balances"):
                    answer = await client.get(path, headers=headers)
                    home.witness.answered(account, answer.text)
        await over(home)


async def bold(home, journal):
    """More than the limits allow."""
    async with home.moved_in(journal.opened()):
        for n in range(3):
            home.submit("buy", f"0.3{n}")
            await asyncio.sleep(1)
        await over(home)


class Memory:
    """The router's own journal, in memory."""

    def opened(self):
        return Journal.memory()


class Same(Kept):
    """A journal of which each owner thinks that he is the first."""

    def opened(self):
        self.epoch = 1
        return self
