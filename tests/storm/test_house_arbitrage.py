"""Ten virtual minutes of arbitrage on a market that strays: flat, and accounted for."""

import asyncio
from decimal import Decimal

import pytest

from hean_router.domain.instrument import Side
from hean_router.domain.record import BalanceBreak, Filled, Incident
from hean_router.portfolio import View
from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.storm.house import house

SECOND = 1_000_000_000
# Taker and maker by venue, in 1e-8: a large trader's tiers, below which the market strays.
TIERS = {
    "binance": (30_000, 10_000),
    "bybit": (40_000, 20_000),
    "okx": (40_000, 20_000),
    "kraken": (80_000, 20_000),
}
LOT = Decimal("0.00001")  # the coarsest of the four
DEADLINE_NS = 3 * SECOND  # the strategy's own, for a leg that stands alone
GRACE_NS = 2 * SECOND  # for what was sent by then to come back


def naked_ns(fills):
    """The longest time for which the strategy's base was off by more than a lot."""
    held = base = Decimal(0)
    since, longest = None, 0
    for fill in fills:
        sign = 1 if fill.side is Side.BUY else -1
        base += fill.qty * sign - (fill.fee if fill.fee_asset == "BTC" else 0)
        held, naked = base, abs(base) > LOT
        if naked and since is None:
            since = fill.at_ns
        elif not naked and since is not None:
            longest, since = max(longest, fill.at_ns - since), None
    assert since is None, f"still naked at the end: {held}"
    return longest


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1, marks=pytest.mark.slow),
        *(pytest.param(seed, marks=pytest.mark.storm) for seed in (2, 3, 4, 5)),
    ],
)
def test_ten_minutes_are_flat_and_accounted_for(seed):
    async def main(world):
        pace = Pace(updates_per_s=4, stray_ppm=2_500)
        strategies = {"arb": {"kind": "arbitrage", "start": True}}
        async with house(world, pace=pace, fees_e8=TIERS, strategies=strategies) as home:
            await asyncio.sleep(600)
            home.trading.stop_strategy("arb", "test")
            await home.until(lambda: not home.engine.conduct.work, 30, "an end of orders")
            await asyncio.sleep(10)
            home.check_balances()
            assert home.engine.risk.reserved_total() == 0
            rows = [row for _, row in home.office.journal.rows()]
            assert not [row for row in rows if isinstance(row, BalanceBreak)]
            bad = [row for row in rows if isinstance(row, Incident) and row.what != "order_denied"]
            assert not bad, bad[:3]
            fills = [row for row in rows if isinstance(row, Filled) and row.strategy == "arb"]
            status = home.engine.crew.strategies["arb"].status()
            assert status["cycles"]["finished"] > 10, status["cycles"]
            assert status["cycles"]["open"] == 0
            assert naked_ns(fills) <= DEADLINE_NS + GRACE_NS
            told(home, fills, status)
            return status["cycles"]["finished"]

    virtual.run(main, seed)


def told(home, fills, status):
    """What the strategy says it made is what the fills and the ledger make of it, exactly."""
    quote = base = Decimal(0)
    for fill in fills:
        sign = 1 if fill.side is Side.BUY else -1
        quote -= fill.px * fill.qty * sign + (fill.fee if fill.fee_asset == "USDT" else 0)
        base += fill.qty * sign - (fill.fee if fill.fee_asset == "BTC" else 0)
    (line,) = home.engine.ledger.positions(View.STRATEGY, strategy="arb")
    pnl = status["pnl"]["BTC/USDT"]
    assert Decimal(pnl["quote"]) == quote
    assert Decimal(pnl["base"]) == base == line.qty
    assert abs(base) <= LOT, "flat to one lot"
    assert line.realised - line.fees_quote == quote + line.cost


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_market_that_does_not_stray_beyond_fees_gives_nothing_to_take():
    async def main(world):
        strategies = {"arb": {"kind": "arbitrage", "start": True}}
        async with house(world, strategies=strategies) as home:  # the venues' lowest tiers
            await asyncio.sleep(120)
            assert not home.engine.oms.parents
            assert home.engine.crew.strategies["arb"].status()["refused"]

    virtual.run(main, 9)
