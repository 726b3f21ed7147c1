"""Strategies by name, the smallest one, and sums that are the ledger's."""

import ast
import inspect
from decimal import Decimal
from importlib.metadata import EntryPoint
from random import Random

import pytest

from hean_router.domain.errors import CommandError, ConfigError
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.record import Filled
from hean_router.domain.venue import FeeIn
from hean_router.portfolio import Ledger
from hean_router.strategy import Arbitrage, Started, Woke, dca, kinds, make, registry

D = Decimal
SECOND = 1_000_000_000


def test_ours_are_found_by_name():
    assert kinds() == ["arbitrage", "dca"]
    assert isinstance(make("arbitrage", name="arb-2", account="x"), Arbitrage)
    assert make("dca").name == "dca"
    with pytest.raises(CommandError) as caught:
        make("arbitrge")
    assert "arbitrage" in caught.value.fix


def test_a_foreign_one_is_found_by_its_entry_point(monkeypatch):
    good = EntryPoint("mine", "hean_router.strategy.dca:Dca", registry.GROUP)
    bad = EntryPoint("broken", "no.such.module:Thing", registry.GROUP)
    monkeypatch.setattr(registry, "_foreign", lambda: {"mine": good, "broken": bad})
    assert kinds() == ["arbitrage", "broken", "dca", "mine"]
    assert make("mine", account="x").account == "x"
    with pytest.raises(ConfigError, match="broken"):
        make("broken")


def test_thirty_lines_are_a_strategy():
    tree = ast.parse(inspect.getsource(dca.Dca))
    for node in ast.walk(tree):  # docstrings are not counted, nor what is blank
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            body.pop(0)
    assert len(ast.unparse(tree).splitlines()) <= 30
    source = inspect.getsource(dca.Dca).splitlines()
    assert len([line for line in source if line.strip() and '"""' not in line]) <= 30


def test_it_buys_once_in_an_interval_over_restarts_too(desk):
    market = desk.Market()
    plan = make("dca", name="weekly", account="main")
    plan.configure({"pairs": "BTC/USDT,ETH/USDT", "quote": "25", "every_s": "60"})
    assert plan.pairs == (Pair("BTC", "USDT"), Pair("ETH", "USDT"))
    market.now_ns = 60 * SECOND
    first = plan.on_event(Started(""), market)
    (buy,) = first.groups[0].legs
    buy.check(market.now_ns)
    assert (buy.side, buy.quote_qty, buy.strategy) == (Side.BUY, 25, "weekly")
    assert len(first.groups) == 2
    assert first.wake_at_ns == 120 * SECOND
    market.now_ns = 119 * SECOND
    assert plan.on_event(Woke(), market).groups == ()  # too early
    again = make("dca", name="weekly")
    again.configure({"every_s": "60"})
    assert again.on_event(Started(first.note), market).groups == ()  # bought before it died
    market.now_ns = 600 * SECOND
    late = again.on_event(Woke(), market)
    assert len(late.groups) == 1  # what was missed is not made up for
    assert late.groups[0].name != first.groups[0].name


def test_its_profit_is_the_ledgers(desk):
    market, rng, ledger = desk.Market(), Random(5), Ledger()
    market.venue("a", [("99.5", "9")], [("100", "2")], tier=desk.fees("0.001", FeeIn.RECEIVED))
    market.venue("b", [("101", "2")], [("101.5", "9")], tier=desk.fees("0.0005", FeeIn.BASE))
    market.venue("c", [("100.3", "9")], [("100.6", "9")], tier=desk.fees("-0.0001"))
    strategy = Arbitrage("arb", "main")
    strategy.configure({"rebalance_bps": "0", "z": "0", "cooldown_ms": "0"})
    fate = lambda _: rng.choice(["full", "full", "part", "none", "after"])  # noqa: E731
    executor = desk.Executor(market, strategy, rng, fate)
    executor.tell(Started(""))
    for _ in range(300):
        market.set("a", [("99.5", "9")], [("100", "2")])
        market.set("b", [("101", "2")], [("101.5", "9")])
        market.set("c", [("100.3", "9")], [("100.6", "9")])
        executor.book_moved()
        executor.run(market.now_ns + SECOND // 20)
    for number, (venue, side, qty, px, fee, asset) in enumerate(executor.fills):
        ledger.apply(
            Filled(
                at_ns=number, venue=venue, account="main", symbol="BTC/USDT",
                trade_id=str(number), key="", parent="", strategy="arb", venue_order_id="",
                side=side, px=px, qty=qty, fee=fee, fee_asset=asset, maker=False, sent_ns=0,
            )
        )  # fmt: skip
    mark = D("100.25")
    (line,) = ledger.pnl({"BTC/USDT": (mark, 0)}, strategy="arb")
    tally = strategy.pnl("BTC/USDT")
    assert strategy.state.repaired > 5
    assert tally.at(mark) == line.total
    assert tally.base == line.position.qty
    assert {a: f for a, f in tally.fees.items() if f} == dict(line.position.fees)
