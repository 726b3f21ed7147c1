"""Parents of every kind over four venues from a seed, driven by HTTP, judged from outside.

Real processes on loopback: what is wrong between the API's answers, the journal and what the venues
wrote down is found by `tests/checker`, which imports nothing of the router.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from random import Random

import pytest

from hean_router.client.calls import ApiError
from tests.checker.router_side import read_journal
from tests.system.rig import SYMBOLS, VENUES, Rig, collect, mids, pages, refused, until, wind_up

WORKERS = 12
LOTS = {"BTC/USDT": Decimal("0.001"), "ETH/USDT": Decimal("0.01"), "SOL/USDT": Decimal("0.1")}
TICKS = {"BTC/USDT": Decimal("0.1"), "ETH/USDT": Decimal("0.1"), "SOL/USDT": Decimal("0.01")}
USD = (60, 4_000)  # a parent's size
FINAL = {"filled", "canceled", "rejected", "expired"}
# As config/limits.toml has them; a dollar is a tether to within a fiftieth.
LIMITS = {"open_orders_venue": "100", "open_orders_account": "200", "order_quote": "51000"}
# Refusals that this traffic may earn: the market moved, or a limit held.  Anything else is a fault.
EARNED = {
    "collar",
    "below_minimum",
    "nothing_to_route",
    "no_live_book",
    "insufficient_funds",
    "limit_open_orders",
    "limit_position",
    "limit_gross_exposure",
    "limit_net_exposure",
    "self_cross",
}


class Dice:
    """What is ordered, from the seed; prices are made from the mid of the moment."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)

    def qty(self, symbol: str, mid: Decimal) -> Decimal:
        lot, usd = LOTS[symbol], Decimal(self.rng.randint(*USD))
        return max(lot, (usd / mid).quantize(lot, ROUND_DOWN))

    def px(self, symbol: str, mid: Decimal, side: str, bps: int) -> str:
        """A limit that is `bps` better for the other side than the mid; below zero: it rests."""
        sign = 1 if side == "buy" else -1
        return str((mid * (1 + Decimal(sign * bps) / 10_000)).quantize(TICKS[symbol]))

    def side(self, number: int) -> str:
        """Mostly one side for a while, then the other: our own orders stand in each other's way,
        and what is denied for it (`self_cross`) is no traffic.
        """
        turn = number // 60 % 2 if self.rng.random() < 0.85 else self.rng.randrange(2)
        return ("buy", "sell")[turn]

    def order(self, number: int, symbol: str, mid: Decimal) -> tuple[str, dict]:
        """Its kind, and the words for it."""
        kind = self.rng.choice(sorted(KINDS))
        side = self.side(number)
        fields = {"symbol": symbol, "side": side} | KINDS[kind](self, symbol, mid, side)
        if self.rng.random() < 0.15:
            fields["exclude"] = [self.rng.choice(VENUES)]
        elif self.rng.random() < 0.15:
            fields["include"] = self.rng.sample(VENUES, 2)
        elif self.rng.random() < 0.1:
            fields["max_share"] = Decimal("0.5")
        return kind, fields


def _limit(bps: tuple[int, int], life: str, **more) -> Callable:
    def words(dice: Dice, symbol: str, mid: Decimal, side: str) -> dict:
        return {
            "quantity": dice.qty(symbol, mid),
            "limit_price": dice.px(symbol, mid, side, dice.rng.randint(*bps)),
            "time_in_force": life,
            **more,
        }

    return words


def _gtd(dice: Dice, symbol: str, mid: Decimal, side: str) -> dict:
    soon = datetime.now(UTC) + timedelta(seconds=dice.rng.uniform(1.5, 4))
    return _limit((-20, 2), "GTD", expire_time=soon)(dice, symbol, mid, side)


def _by_qty(dice: Dice, symbol: str, mid: Decimal, side: str) -> dict:
    return {"quantity": dice.qty(symbol, mid)}


def _by_quote(dice: Dice, symbol: str, mid: Decimal, side: str) -> dict:
    return {"quote_quantity": Decimal(dice.rng.randint(*USD))}


def _limit_by_quote(dice: Dice, symbol: str, mid: Decimal, side: str) -> dict:
    return {
        "quote_quantity": Decimal(dice.rng.randint(*USD)),
        "limit_price": dice.px(symbol, mid, side, 15),
        "time_in_force": "IOC",
    }


KINDS: dict[str, Callable] = {
    "market": _by_qty,
    "market by quote": _by_quote,
    "limit by quote": _limit_by_quote,
    "ioc": _limit((-2, 20), "IOC"),
    "fok": _limit((0, 20), "FOK"),
    "gtc that takes": _limit((5, 20), "GTC"),
    "gtc near": _limit((-3, 2), "GTC"),
    "gtc far": _limit((-60, -20), "GTC"),
    "gtd": _gtd,
    "post-only near": _limit((-4, 0), "GTC", post_only=True),
    "post-only that would take": _limit((8, 20), "GTC", post_only=True),
}


class Traffic:
    """Workers that place and cancel until enough was taken."""

    def __init__(self, rig: Rig, parents: int, may: frozenset[str] = frozenset()) -> None:
        self.rig, self.parents, self.may = rig, parents, may  # `may`: refused, and tried later
        self.dice = Dice(rig.seed)
        self.taken: list[str] = []
        self.kinds: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.cancelled = 0
        self.next = 0
        self.px: dict[str, Decimal] = {}
        self.watched: set[str] = set()  # limits that were compared with their worst case

    async def drive(self, client) -> None:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch(client))
            crowd = [group.create_task(self._work(client)) for _ in range(WORKERS)]
            await asyncio.gather(*crowd)
            watch.cancel()

    async def _watch(self, client) -> None:
        while True:
            self.px |= await mids(client, SYMBOLS)
            for limit in (await client.read("risk"))["limits"]:
                if limit["worst"] is not None:
                    assert Decimal(limit["worst"]) <= Decimal(limit["limit"]), limit
                    self.watched.add(limit["name"])
            await asyncio.sleep(0.2)

    async def _work(self, client) -> None:
        rng = self.dice.rng
        while len(self.px) < len(SYMBOLS):  # noqa: ASYNC110 - the watch tells nobody
            await asyncio.sleep(0.02)
        while len(self.taken) < self.parents and self.next < 5 * self.parents:
            self.next += 1
            name = f"s{self.rig.seed}-{self.next}"
            symbol = rng.choice(SYMBOLS)
            kind, fields = self.dice.order(self.next, symbol, self.px[symbol])
            cancel, again = rng.random() < 0.6, rng.random() < 0.05
            try:
                order = await client.submit(
                    client_order_id=name, wait_ms=rng.choice((0, 0, 300)), **fields
                )
            except ApiError as refusal:
                if refusal.code in self.may:
                    await asyncio.sleep(0.3)
                elif refusal.code not in EARNED:
                    pytest.fail(f"{kind} {fields}: {refusal.status} {refusal.code} {refusal}")
                self.refusals[f"{kind}: {refusal.code}"] += 1
                continue
            self.taken.append(name)
            self.kinds[kind] += 1
            if again:  # the answer was lost, say: asked again, it is the same order
                assert (await client.submit(client_order_id=name, **fields)).id == order.id
            if cancel and not order.is_final:
                await asyncio.sleep(rng.random() * 0.3)
                await self._cancel(client, order.id)

    async def _cancel(self, client, order_id: str) -> None:
        try:
            await client.cancel(order_id)
            self.cancelled += 1
        except ApiError as refusal:
            if refusal.code != "order_ended":
                raise


def test_a_table_of_kinds_is_whole():
    """Every kind that the API takes is among them."""
    dice, seen = Dice(1), set()
    for make in KINDS.values():
        words = make(dice, "BTC/USDT", Decimal(60_000), "buy")
        seen |= {words.get("time_in_force", "market"), *(words.keys() & {"post_only"})}
        seen |= words.keys() & {"quote_quantity"}
    assert seen == {"market", "GTC", "GTD", "IOC", "FOK", "post_only", "quote_quantity"}


@pytest.mark.parametrize(
    ("seed", "parents"),
    [
        pytest.param(11, 150, marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
        pytest.param(12, 1_000, marks=[pytest.mark.storm, pytest.mark.timeout(480)]),
        pytest.param(13, 1_000, marks=[pytest.mark.storm]),
        pytest.param(14, 1_000, marks=[pytest.mark.storm]),
    ],
)
def test_parents_of_all_kinds_add_up(seed, parents, tmp_path):
    async def body(rig: Rig) -> None:
        async with rig.client() as client:
            await rig.ready(client)
            began = time.monotonic()
            traffic = Traffic(rig, parents)
            await traffic.drive(client)
            took_s = time.monotonic() - began
            assert len(traffic.taken) >= parents, traffic.refusals
            await wind_up(client, rig)
            answers = await collect(client, submitted=traffic.taken, limits=LIMITS)
        print(rig.judge(answers))
        print(f"{len(traffic.taken)} parents in {took_s:.1f} s: {dict(traffic.kinds)}")
        print(f"{traffic.cancelled} cancelled; refused: {dict(traffic.refusals)}")
        ends = Counter(one["status"] for one in answers["orders"])
        split = sum(len(one["children"]) > 1 for one in answers["orders"])
        venues = Counter(child["venue"] for one in answers["orders"] for child in one["children"])
        print(f"ends: {dict(ends)}; children: {dict(venues)}; over several: {split}")
        # A test that nothing happened in would pass as well.
        assert set(traffic.kinds) == set(KINDS)
        assert set(venues) == set(VENUES)
        assert ends.keys() >= {"filled", "canceled", "expired"}
        assert ends["filled"] > parents / 3
        assert split > parents / 20
        assert traffic.watched >= {"open_orders_max", "gross_max", "net_max", "daily_loss_max"}, (
            traffic.watched
        )

    with Rig(tmp_path, seed=seed) as rig:
        rig.start_router()
        asyncio.run(body(rig))
        rig.router.stop()
        assert "Traceback" not in rig.router.said(), rig.router.said()


# ------------------------------------------------------------------------- venues at their worst

# Answers lost, answers that say perhaps, news twice and out of turn, books torn, sockets cut: for
# the first half minute, so that everything can be found out in the end.
AWAY = frozenset({"not_reconciled", "venue_unhealthy", "stale_data", "no_rate", "clock_unsure"})
WORST = (
    "acklost:0.05,unknown:0.04,undone:0.04,early:0.2,twice:0.2,lag:0.2,hush:0.01,rest:0.03,"
    "late:0.05,drop:0.01,repeat:0.02,cut:4s,halfopen:15s,until:30s"
)


@pytest.mark.parametrize(
    ("seed", "parents"),
    [
        pytest.param(16, 150, marks=[pytest.mark.storm, pytest.mark.timeout(300)]),
        *(pytest.param(seed, 600, marks=[pytest.mark.storm]) for seed in range(100, 110)),
    ],
)
def test_parents_add_up_at_venues_that_lie_lose_and_repeat(seed, parents, tmp_path):
    async def body(rig: Rig) -> dict:
        async with rig.client() as client:
            await rig.ready(client, at_least=2)
            traffic = Traffic(rig, parents, AWAY)
            await traffic.drive(client)
            print(f"{dict(traffic.kinds)}, refused {dict(traffic.refusals)}")
            await asyncio.sleep(max(0.0, began + 31 - time.monotonic()))
            await rig.ready(client)
            await wind_up(client, rig, 120)
            return await collect(client, submitted=traffic.taken, limits=LIMITS)

    began = time.monotonic()
    with Rig(tmp_path, seed=seed, faults=WORST) as rig:
        rig.start_router()
        answers = asyncio.run(body(rig))
        print(rig.judge(answers))
        rig.router.stop()
        said = rig.router.said()
        assert "Traceback" not in said, said
    kinds = Counter(row.kind for row in read_journal(rig.journal))
    print({kind: n for kind, n in kinds.items() if kind.startswith("child_")})
    assert kinds["child_unknown"] > 3, "no answer was lost: nothing was tested"


# ------------------------------------------------------------------------- the kill switch


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_after_the_kill_no_order_leaves_until_it_is_reset(tmp_path):
    """Pressed in the middle of traffic: all of ours is taken back; a restart changes nothing."""
    killed: dict[str, int] = {}

    async def life(rig: Rig) -> list[str]:
        async with rig.client() as client:
            await rig.ready(client)
            traffic = Traffic(rig, 10_000, frozenset({"risk_halted"}))
            drive = asyncio.create_task(traffic.drive(client))
            await asyncio.sleep(1.5)
            await client.kill("a drill")
            killed["from_ns"] = time.time_ns()
            await asyncio.sleep(1)
            drive.cancel()
            await asyncio.gather(drive, return_exceptions=True)
            assert any("risk_halted" in name for name in traffic.refusals), traffic.refusals

            async def over() -> bool:
                found = await pages(client, "orders")
                return all(one["status"] in FINAL for one in found if one["created_at"] < before)

            before = datetime.fromtimestamp(killed["from_ns"] / 1e9 - 0.1, UTC).isoformat()
            await until(over, 20, "everything to be taken back", rig)
            return traffic.taken

    async def after(rig: Rig, taken: list[str]) -> dict:
        async with rig.client() as client:
            await rig.ready(client)
            held = (await client.positions())["positions"]
            long = sum(Decimal(one["quantity"]) for one in held if one["symbol"] == "BTC/USDT") >= 0
            # What would bring a position nearer to nothing may still leave.
            fault = await refused(
                client.submit("BTC/USDT", "buy" if long else "sell", quantity="0.01")
            )
            assert fault.code == "risk_halted", fault
            killed["to_ns"] = time.time_ns()
            await client.reset("the drill is over")
            order = await client.submit("BTC/USDT", "buy", quantity="0.01", wait_ms=5_000)
            assert order.status == "filled"
            await wind_up(client, rig)
            return await collect(client, submitted=taken, limits=LIMITS, killed=[killed])

    with Rig(tmp_path, seed=15) as rig:
        rig.start_router()
        taken = asyncio.run(life(rig))
        rig.router.stop()
        rig.start_router()
        print(rig.judge(asyncio.run(after(rig, taken))))
        rig.router.stop()
