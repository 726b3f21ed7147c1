"""Orders over wires that cut, swallow, trickle and reorder: real sockets, the proxy between.

What a venue has is what its own log says; what the router says of it is held against that by the
checker in the end.  Waits are bounds: a busy machine is slower, a lost order never comes.
"""

import asyncio
import time
from collections import Counter
from decimal import Decimal
from typing import Any, NamedTuple

import pytest

from hean_router.domain.record import ChildAcked, Filled
from tests.checker.venue_logs import read_logs
from tests.system.flow import Crowd, Ordered
from tests.system.harm import go_on, halt
from tests.system.rig import collect, mids, refused, until, wind_up
from tests.system.test_system_kill import FAR
from tests.wire.dice import Dice
from tests.wire.journal import rows_of
from tests.wire.wires import ORDERS, WiredRig

SILENCE_S = 12  # every connector's: a socket that says nothing for so long is dead
SLACK_S = 6  # timers, and a busy machine
FRAME = 90  # bytes; an order's frame has more, a ping and a heartbeat fewer
MINUTES_S = 120


# To a venue whose private stream, or market, is known to be dead nothing is sent.
DENIED = {
    "okx": {"not_reconciled", "venue_unhealthy", "nothing_to_route"},
    "binance": {"no_live_book", "stale_data", "nothing_to_route", "not_reconciled"},
}


class Strike(NamedTuple):
    """What happens to the order of one venue, and whether it gets there."""

    fault: str
    way: str
    after: int
    arrives: bool
    where: str = ""  # its order socket
    holding: str = ""


# V1: cut before the venue has all of it: at the first byte, in the middle, before the last one.
BEFORE = {
    "binance": Strike("reset", "up", 0, False),
    "kraken": Strike("cut", "up", 60, False),
}
# V2, V3: the venue has it, its answer is lost; so are the events that came on the same socket.
AFTER = {
    "binance": Strike("reset", "down", 0, True),
    "bybit": Strike("cut", "down", 0, True),
    "kraken": Strike("cut", "down", 1, True),
    "okx": Strike("reset", "down", -1, True),
}
BY_REST = [
    Strike("cut", "up", -1, False, "bybit rest", "order/create"),
    Strike("swallow", "down", 0, True, "bybit rest", "order/create"),
    Strike("cut", "down", 30, True, "bybit rest", "order/create"),
]


class Story:
    """Orders one by one, each to one venue, and what was done to them."""

    def __init__(self, rig: WiredRig, client: Any) -> None:
        assert rig.wires is not None
        self.rig, self.client, self.wires = rig, client, rig.wires
        self.expected: dict[str, tuple[str, bool]] = {}  # our child's id -> venue, it arrives
        self.names: list[str] = []
        self.hits: Counter[str] = Counter()
        self.began = time.monotonic()

    def note(self, text: str) -> None:
        """With the time."""
        print(f"{time.monotonic() - self.began:6.1f} s {text}")

    async def order(self, venue: str, *, rests: bool = False) -> str:
        """One that does not rest takes what is there; no two are alike.  The child's id."""
        mid = (await mids(self.client, ["BTC/USDT"]))["BTC/USDT"]
        self.names.append(f"w{len(self.names)}")
        order = await self.client.submit(
            "BTC/USDT",
            "buy",
            client_order_id=self.names[-1],
            quantity=Decimal("0.01") + Decimal(len(self.names)) / 10_000,
            limit_price=(mid * Decimal("0.99" if rests else "1.003")).quantize(Decimal("0.1")),
            time_in_force="GTC" if rests else "IOC",
            include=[venue],
        )
        assert order.children, f"{venue}: {order}"
        return order.children[0].id

    async def struck(self, venue: str, strike: Strike) -> None:
        """One order, and what happens to it."""
        by_rest = bool(strike.where)
        rule = self.wires.strike(
            strike.fault,
            strike.where or ORDERS[venue],
            strike.way,
            after=strike.after,
            least=0 if by_rest else FRAME,
            holding=strike.holding,
            times=1,
        )
        key = await self.order(venue)
        self.expected[key] = (venue, strike.arrives)

        async def hit() -> bool:
            return self.wires.struck(rule) == 1

        await until(hit, 15, f"{strike} at {venue}", self.rig)
        self.hits[f"{strike.fault} {strike.way} {'rest' if by_rest else 'socket'}"] += 1
        if strike.fault != "swallow":
            self.wires.lift(rule)

    async def all_stand(self, what: str) -> None:
        """Every venue takes orders again, and had time to notice what was done to it."""
        for _ in range(2):
            await asyncio.sleep(0.5)
            await self.rig.ready(self.client)
        self.note(f"{what}: every venue stands again")

    async def venue(self, name: str) -> Any:
        """As the API shows it, of the account that trades."""
        found = (await self.client.read("venues"))["venues"]
        (one,) = [each for each in found if each["venue"] == name and each["account"] == "main"]
        return one

    # ------------------------------------------------------------------------- parts

    async def cut(self, row: dict[str, Strike]) -> None:
        """On the sockets that take orders, these venues at once."""
        await asyncio.gather(*(self.struck(venue, how) for venue, how in row.items()))

    async def by_rest(self) -> None:
        """The same where no socket takes orders: its upgrade is reset again and again."""
        rule = self.wires.strike("reset", ORDERS["bybit"], "up")
        self.wires.ask("reset", where=ORDERS["bybit"])
        for strike in BY_REST:
            await self.struck("bybit", strike)
        self.wires.lift(rule)
        self.note("orders by REST: cut before, cut and swallowed after")

    async def news_first(self) -> str:
        """V4: the answer to an order is later than its fill on the other socket."""
        rule = self.wires.strike("latency", ORDERS["bybit"], "down", ms=600, jitter_ms=100)
        await self._trade_socket_stands()
        key = await self.order("bybit")
        await asyncio.sleep(1)
        self.expected[key] = ("bybit", True)
        assert self.wires.struck(rule), "no answer was late"
        self.wires.lift(rule)
        self.hits["latency down socket"] += 1
        return key

    async def _trade_socket_stands(self) -> None:
        async def stands() -> bool:
            return self.wires.ask("told")["stands"].get(ORDERS["bybit"], 0) >= 2

        await until(stands, 20, "Bybit's socket for orders", self.rig)
        await asyncio.sleep(0.3)  # its login

    async def half_open(self) -> None:
        """V15 for a private stream and a market's; meanwhile V1 for the others' orders."""
        rules = {
            "okx": self.wires.strike("swallow", ORDERS["okx"]),
            "binance": self.wires.strike("swallow", "binance /ws", "down"),
        }
        began = time.monotonic()
        # One that the dead socket takes without a word.
        self.expected[await self.order("okx")] = ("okx", False)
        await asyncio.gather(self.cut(BEFORE), self.by_rest())
        seen: dict[str, float] = {}

        async def noticed() -> bool:
            if "okx" not in seen and not (await self.venue("okx"))["ready"]:
                seen["okx"] = time.monotonic() - began
            books = (await self.venue("binance"))["books"]
            if "binance" not in seen and "live" not in books.values():
                seen["binance"] = time.monotonic() - began
            return len(seen) == 2

        await until(noticed, SILENCE_S + SLACK_S, f"{seen}: two dead sockets", self.rig)
        self.note(f"half-open: noticed after {seen}")
        for venue, codes in DENIED.items():
            denied = await refused(self.order(venue))
            assert denied.code in codes, denied
            self.names.pop()
        for name, rule in rules.items():
            assert self.wires.struck(rule), f"{name}: nothing was struck"
            self.hits[f"{name}: half-open"] += 1
        self.wires.lift()
        await self.all_stand("half-open")

    async def trickle(self) -> None:
        """V16: answers come byte by byte, questions later still."""
        rules = [
            self.wires.strike("slice", ORDERS["kraken"], "down", size=1, ms=10),
            self.wires.strike("pause", "kraken rest", "down", ms=1_500),
        ]
        self.expected[await self.order("kraken")] = ("kraken", True)
        await asyncio.sleep(3)
        assert self.wires.struck(rules[0]), "nothing trickled"
        self.wires.lift()
        self.hits["trickle"] += 1

    # ------------------------------------------------------------------------- the end

    async def told(self) -> dict[str, Any]:
        """When everything has ended: what became of the orders that were struck."""
        began = time.monotonic()
        await wind_up(self.client, self.rig)
        self.note(f"all is known, {time.monotonic() - began:.1f} s after the last")
        return await collect(self.client, submitted=self.names)

    def check(self, answers: dict[str, Any]) -> None:
        """Each order that was struck is at its venue, or never was; and the router says so."""
        logs = read_logs(self.rig.logs)
        children = {child["id"]: child for one in answers["orders"] for child in one["children"]}
        for key, (venue, arrives) in self.expected.items():
            there = [one for one in logs[venue].orders.values() if one.client_id == key]
            assert len(there) == arrives, f"{key} at {venue}: {len(there)} times"
            child = children[key]
            assert (child["status"] not in {"absent", "withdrawn"}) == arrives, child
            filled = there[0].filled if there else Decimal(0)
            assert Decimal(child["filled_quantity"]) == filled, child


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_wire_loses_or_doubles_an_order(tmp_path):
    async def main(rig: WiredRig) -> tuple[Story, str, dict[str, Any]]:
        async with rig.client() as client:
            story = Story(rig, client)
            await rig.ready(client)
            story.note("ready")
            await story.half_open()
            await story.cut(AFTER)
            await story.all_stand("answers lost")
            late = await story.news_first()
            await story.trickle()
            return story, late, await story.told()

    with WiredRig(tmp_path, seed=41, env=FAR) as rig:
        rig.start_router()
        story, late, answers = asyncio.run(main(rig))
        print(rig.judge(answers))
        story.check(answers)
        rig.router.stop()
        assert "Traceback" not in rig.router.said(), rig.router.said()
        rows = rows_of(rig.journal)
    first = {
        type(row): seq
        for seq, row in reversed(rows)
        if isinstance(row, (ChildAcked, Filled)) and row.key == late
    }
    assert first[Filled] < first.get(ChildAcked, len(rows) + 1), "its fill was to come first"
    print(dict(story.hits))


async def _clear(client: Any) -> None:
    """Now and then everything is taken back, so that there is room for more."""
    while True:
        await asyncio.sleep(10)
        await client.cancel_all()


@pytest.mark.storm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [51, 52, 53])
def test_minutes_of_bad_wires_lose_nothing(seed, tmp_path):
    """Whatever a network does, two things at a time, while six callers trade."""

    async def main(rig: WiredRig) -> tuple[Dice, Ordered, dict[str, Any]]:
        assert rig.wires is not None
        dice, ordered = Dice(rig.wires, seed), Ordered(seed)
        async with rig.client() as client:
            await rig.ready(client)
            async with Crowd(rig, client, ordered):
                clearing = asyncio.create_task(_clear(client))
                await dice.throw(MINUTES_S)
                clearing.cancel()
                await rig.ready(client)
            await wind_up(client, rig)
            return dice, ordered, await collect(client, submitted=list(ordered.ids))

    with WiredRig(tmp_path, seed=seed, env=FAR) as rig:
        rig.start_router()
        dice, ordered, answers = asyncio.run(main(rig))
        print(rig.judge(answers))
        rig.router.stop()
        assert "Traceback" not in rig.router.said(), rig.router.said()
    print(f"{ordered.said()}\nstruck: {dict(dice.hits)} of {dict(dice.thrown)}")
    assert ordered.taken > MINUTES_S, "hardly an order was taken: nothing was tested"
    never = [kind for kind, count in dice.thrown.items() if count > 5 and not dice.hits[kind]]
    assert not never, f"thrown and never struck: {never}"


@pytest.mark.storm
@pytest.mark.timeout(240)
def test_a_venue_that_stands_still_is_a_dead_peer_and_loses_nothing(tmp_path):
    """V15 without a proxy: SIGSTOP, so that its system acknowledges and nobody reads."""

    async def main(rig: WiredRig) -> tuple[Story, dict[str, Any]]:
        async with rig.client() as client:
            story = Story(rig, client)
            await rig.ready(client)
            await story.order("okx", rests=True)
            halt(rig.sims["okx"])
            began = time.monotonic()
            # What it reads when it goes on is past its deadline: the venue must refuse it.
            story.expected[await story.order("okx")] = ("okx", False)

            async def noticed() -> bool:
                one = await story.venue("okx")
                return not one["ready"] and "live" not in one["books"].values()

            await until(noticed, SILENCE_S + SLACK_S, "a dead venue", rig)
            story.note(f"noticed after {time.monotonic() - began:.1f} s")
            denied = await refused(story.order("okx"))
            assert denied.code in DENIED["okx"] | DENIED["binance"], denied
            story.names.pop()
            story.expected[await story.order("kraken")] = ("kraken", True)
            go_on(rig.sims["okx"])
            await story.all_stand("it goes on")
            return story, await story.told()

    with WiredRig(tmp_path, seed=42, env=FAR, apart=True) as rig:
        rig.start_router()
        story, answers = asyncio.run(main(rig))
        print(rig.judge(answers))
        story.check(answers)
        rig.router.stop()
