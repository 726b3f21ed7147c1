"""The whole router with orders, on four simulated venues in virtual time: it adds up."""

import asyncio
from collections import Counter
from decimal import Decimal
from random import Random

import pytest

from hean_router.domain.parent import Life, Status
from hean_router.domain.record import BalanceBreak, Incident, ParentEnded, decode, encode
from hean_router.engine import Placed, Refused
from hean_router.oms import Orders
from hean_router.sim import virtual
from tests.storm.house import house, plot

SECOND = 1_000_000_000


def rows_of(home, *kinds):
    return [row for _, row in home.office.journal.rows() if isinstance(row, kinds)]


def quantized(number, step="0.1"):
    return number.quantize(Decimal(step))


def mid(home, symbol="BTC/USDT"):
    found = home.engine.core.mid(home.engine.core.pair_of[symbol])
    home.engine.core._mids.clear()
    return found[0]


async def settled(home):
    """Nothing lives, and every venue agrees with us to the last unit."""
    await home.until(
        lambda: not home.engine.conduct.work and not home.engine.oms.live, 120, "an end of orders"
    )
    await asyncio.sleep(5)
    assert not home.engine.oms.unsettled
    assert home.engine.risk.reserved_total() == 0
    for account in ("main", "second"):
        home.check_balances(account)
    home.engine.oms.check()
    assert not rows_of(home, BalanceBreak)


def test_orders_of_every_kind_come_back_and_add_up():
    async def main(world):
        async with house(world) as home:
            level = mid(home)
            orders = [
                home.place("buy", "0.9"),
                home.place("sell", "0.3", account="second"),
                home.place("buy", "0.2", limit=quantized(level * Decimal("0.999"))),
                home.place("buy", "0.2", limit=quantized(level * Decimal("1.001")), post_only=True),
                home.place("sell", "2", symbol="ETH/USDT", life=Life.FOK),
                home.place("buy", quote_qty=Decimal(7_000)),
                home.place("buy", "0.5", limit=quantized(level * Decimal("1.001")), life=Life.IOC),
            ]
            await asyncio.sleep(10)
            for parent in orders:
                home.trading.cancel(parent.id, "test", "enough")
            for parent in orders:
                await home.done(parent)
            await settled(home)
            assert orders[0].status is Status.FILLED
            assert orders[4].status in {Status.FILLED, Status.EXPIRED, Status.CANCELED}
            assert orders[5].notional <= 7_000
            return [(one.status.value, one.filled) for one in orders]

    first, again = virtual.run(main, 11), virtual.run(main, 11)
    assert first.digest == again.digest, "the same seed gives the same run"
    assert first.value == again.value


def test_what_cannot_be_done_is_refused_by_name_and_nothing_is_sent():
    rows = [
        # how it is placed -> the code of the refusal
        (("buy", "1"), {"symbol": "DOGE/USDT"}, "unknown_symbol"),
        (("buy", "0.0000000001"), {}, "off_lot"),
        (("buy", "0.00000001"), {"limit": "60000"}, "below_minimum"),
        (("buy", "999"), {"symbol": "ETH/USDT", "account": "nobody"}, "nothing_to_route"),
        (("sell", "100"), {}, "insufficient_funds"),
        (("buy", "1"), {"limit": "90000"}, "collar"),
        (("buy", "1"), {"life": Life.GTC}, "invalid_order"),
    ]

    async def main(world):
        async with house(world) as home:
            before = sum(len(history) for history in home.histories.values())
            for args, more, code in rows:
                answer = home.submit(*args, **more)
                assert isinstance(answer, Refused), (args, more, answer)
                assert answer.code == code, (args, more, answer)
                assert answer.reason
            await asyncio.sleep(3)
            assert sum(len(history) for history in home.histories.values()) == before
            assert not home.engine.oms.parents

    virtual.run(main, 5)


def test_the_same_id_is_the_same_order_and_another_body_is_a_conflict():
    async def main(world):
        async with house(world) as home:
            first = home.submit("buy", "0.1", client="mine")
            assert isinstance(first, Placed)
            again = home.submit("buy", "0.10", client="mine")
            assert again == Placed(first.parents, existing=True)
            other = home.submit("buy", "0.2", client="mine")
            assert isinstance(other, Refused)
            assert other.code == "duplicate_client_order_id"
            stranger = home.submit("buy", "0.1", client="mine", account="second")
            assert isinstance(stranger, Placed)
            assert stranger.parents != first.parents
            await settled(home)

    virtual.run(main, 6)


def test_the_kill_switch_cancels_everywhere_and_latches():
    async def main(world):
        async with house(world) as home:
            level = mid(home)
            resting = [
                home.place("buy", "0.1", limit=quantized(level * Decimal(away)))
                for away in ("0.990", "0.991", "0.992")
            ]
            await home.until(
                lambda: all(one.status is Status.NEW for one in resting), 10, "orders that rest"
            )
            home.trading.kill("prices look wrong", "test")
            for parent in resting:
                await home.done(parent, 10)
                assert parent.status is Status.CANCELED
            answer = home.submit("buy", "0.1")
            assert isinstance(answer, Refused)
            assert answer.code == "risk_halted"
            home.trading.reset("a test", "test")
            assert isinstance(home.submit("buy", "0.1"), Placed)
            await settled(home)

    virtual.run(main, 7)


@pytest.mark.parametrize(
    "faults",
    [
        "acklost:0.2",  # done, and nobody said so
        pytest.param("unknown:0.2", marks=pytest.mark.slow),  # the venue does not know itself
        "undone:0.2",  # never done, and nobody said so
        pytest.param("early:0.5", marks=pytest.mark.slow),  # the private event before the ack
        pytest.param("twice:0.5", marks=pytest.mark.slow),  # every private event again
        pytest.param("lag:0.3", marks=pytest.mark.slow),  # shown late
        pytest.param("cut:20s", marks=pytest.mark.slow),  # every connection, now and then
    ],
)
def test_no_fault_of_a_venue_loses_or_doubles_an_order(faults):
    async def main(world):
        rng = Random(f"{faults}")
        async with house(world, faults=faults) as home:
            placed = []
            for _ in range(40):
                side = rng.choice(("buy", "sell"))
                away = Decimal(rng.choice(("0.998", "1", "1.002")))
                limit = None if rng.random() < 0.5 else quantized(mid(home) * away)
                life = rng.choice((Life.IOC, Life.GTC)) if limit is not None else Life.IOC
                answer = home.submit(side, f"0.{rng.randint(1, 9)}", limit=limit, life=life)
                if isinstance(answer, Placed):
                    placed.append(home.engine.oms.parents[answer.parents[0]])
                await asyncio.sleep(rng.random() * 2)
            assert len(placed) > 10
            for parent in placed:
                home.trading.cancel(parent.id, "test", "the end")
            await settled(home)
            return Counter(parent.status.value for parent in placed)

    virtual.run(main, 21)


class Kept:
    """A journal that outlives its process: whatever was committed, and nothing else."""

    sync, path, tag = "full", ":kept:", "kpt"

    def __init__(self):
        self.kept, self.epoch = [], 0

    def opened(self):
        self.epoch += 1
        return self

    def append(self, rows):
        self.kept += [encode(row) for row in rows]
        return len(self.kept)

    def rows(self, after=0):
        return [(n + 1, decode(row)) for n, row in enumerate(self.kept) if n >= after]

    def close(self):
        return None


@pytest.mark.parametrize(
    "seed", [41, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (42, 43))]
)
def test_dying_in_mid_flight_loses_nothing_and_doubles_nothing(seed):
    async def main(world):
        rng, journal, asked = Random(seed), Kept(), {}

        def place_some(home, how_many):
            level = mid(home)
            for _ in range(how_many):
                client = f"m{len(asked)}"
                limit = quantized(level * Decimal(rng.choice(("0.99", "0.999", "1.001"))))
                life = rng.choice((Life.GTC, Life.IOC))
                side, qty = rng.choice(("buy", "sell")), f"0.{rng.randint(1, 9)}"
                answer = home.submit(side, qty, limit=limit, life=life, client=client)
                if isinstance(answer, Placed):
                    asked[client] = (answer.parents[0], (side, qty), {"limit": limit, "life": life})

        async with plot(world) as home:
            for life in range(6):
                async with home.moved_in(journal.opened()):
                    replayed = Orders()
                    for _, row in journal.rows():
                        replayed.apply(row)
                    assert replayed.state_hash() == home.engine.oms.state_hash()
                    for client, (parent, args, more) in asked.items():
                        again = home.submit(*args, client=client, **more)
                        assert again == Placed((parent,), existing=True)
                    if life < 5:
                        place_some(home, 6)
                        await asyncio.sleep(rng.random() * 0.2)  # between the wire and the answer
                        continue
                    for parent, *_ in asked.values():
                        home.trading.cancel(parent, "test", "the end")
                    await settled(home)
                    assert len(asked) >= 25
                    bad = [r for r in rows_of(home, Incident) if r.what != "order_denied"]
                    assert not bad, bad[:3]

    virtual.run(main, seed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hundreds_of_parents_of_all_kinds_leave_nothing_open():
    async def main(world):
        rng = Random(17)
        async with house(world) as home:
            placed = []
            for _ in range(300):
                symbol = rng.choice(("BTC/USDT", "ETH/USDT"))
                level, unit = mid(home, symbol), "0.1" if symbol == "BTC/USDT" else "0.01"
                limit = quantized(level * Decimal(rng.choice(("0.995", "1", "1.005"))), unit)
                kind = rng.randrange(6)
                more = {"symbol": symbol, "account": rng.choice(("main", "second"))}
                qty = f"0.{rng.randint(1, 999):03d}"
                side = rng.choice(("buy", "sell"))
                if kind == 0:
                    answer = home.submit(side, qty, **more)
                elif kind == 1:
                    answer = home.submit(side, quote_qty=Decimal(rng.randint(50, 5_000)), **more)
                elif kind == 2:
                    answer = home.submit(side, qty, limit=limit, post_only=True, **more)
                else:
                    life = (Life.GTC, Life.IOC, Life.FOK)[kind - 3]
                    answer = home.submit(side, qty, limit=limit, life=life, **more)
                if isinstance(answer, Placed):
                    placed.append(home.engine.oms.parents[answer.parents[0]])
                if placed and rng.random() < 0.3:
                    home.trading.cancel(rng.choice(placed).id, "test", "changed my mind")
                await asyncio.sleep(rng.random())
            for parent in placed:
                home.trading.cancel(parent.id, "test", "the end")
            await settled(home)
            assert len(placed) > 200
            assert {row.parent for row in rows_of(home, ParentEnded)} == {p.id for p in placed}
            bad = [row for row in rows_of(home, Incident) if row.what != "order_denied"]
            assert not bad, bad[:3]

    virtual.run(main, 31)
