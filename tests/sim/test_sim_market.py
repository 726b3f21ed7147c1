"""The seeded market: the same events for the same seed, whoever else runs, however time is cut."""

import hashlib
import os
import subprocess
import sys
from decimal import Decimal

import pytest

from hean_router.sim.exchange import Exchange, Listing, OrderState, Side
from hean_router.sim.market import Market, Pace, Walk, fair_px, listed, split, start_px

SECOND = 1_000_000_000
ORIGIN = 1_700_000_000 * SECOND


def listings():
    return [
        Listing(
            base,
            "USDT",
            tick=Decimal(tick),
            lot=Decimal(lot),
            min_qty=Decimal(lot),
            max_qty=Decimal(lot) * 10**9,
            min_notional=Decimal(5),
        )
        for base, tick, lot in (
            ("BTC", "0.01", "0.00001"),
            ("ETH", "0.01", "0.0001"),
            ("PEPE", "0.00000001", "1"),  # a coarse tick: few levels, many orders each
        )
    ]


def build(venue="alpha", seed=7, pace=None):
    exchange = Exchange(venue, listings())
    market = Market(exchange, seed, ORIGIN, pace)
    market.open(ORIGIN)
    return exchange, market


def run(market, seconds=20, cut_ns=SECOND):
    """Hash of every event up to a time."""
    digest = hashlib.sha256()
    for now_ns in range(ORIGIN, ORIGIN + seconds * SECOND + 1, cut_ns):
        for step in market.step(now_ns):
            trades = [(trade.id, trade.px, trade.qty, trade.side) for trade in step.trades]
            digest.update(repr((step.symbol, step.time_ns, step.levels, trades)).encode())
    return digest.hexdigest()


def test_same_seed_same_events_however_time_is_cut():
    hashes = {run(build()[1], cut_ns=cut) for cut in (SECOND, SECOND // 8, 10 * SECOND)}
    assert len(hashes) == 1
    assert run(build(seed=8)[1]) not in hashes
    assert run(build(venue="beta")[1]) not in hashes


def test_other_venues_change_nothing():
    """Alone, or stepped in turn with others: the same."""
    alone = run(build()[1])
    others = [build(venue=name)[1] for name in ("beta", "gamma")]
    _, market = build()
    digest = hashlib.sha256()
    for now_ns in range(ORIGIN, ORIGIN + 20 * SECOND + 1, SECOND):
        for other in others:
            list(other.step(now_ns))
        for step in market.step(now_ns):
            trades = [(trade.id, trade.px, trade.qty, trade.side) for trade in step.trades]
            digest.update(repr((step.symbol, step.time_ns, step.levels, trades)).encode())
    assert digest.hexdigest() == alone


def test_same_events_under_another_hash_seed():
    code = (
        "import importlib.util as u, sys;"
        f"s = u.spec_from_file_location('m', {__file__!r}); m = u.module_from_spec(s);"
        "s.loader.exec_module(m); print(m.run(m.build()[1], seconds=5))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.strip() == run(build()[1], seconds=5)


def test_the_fair_price_is_one_for_all():
    """At any time, asked in any order of venues and at any times before."""
    one, two = (fair_px(1, listings()[0], ORIGIN, 5_000) for _ in range(2))
    one.at(ORIGIN + 17 * SECOND)
    times = [ORIGIN + n * 7 * SECOND for n in range(3, 40)]
    assert [one.at(t) for t in times] == [two.at(t) for t in times]


def test_a_walk_remembers_a_little_and_says_when_it_does_not():
    walk = Walk(split(1, "w"), 10**12, 0, 100, 10_000, 0)
    assert walk.at(-5) == 10**12, "before its origin it stands still"
    values = [walk.at(n * 100) for n in range(Walk.KEEP * 2)]
    assert len(set(values)) > Walk.KEEP
    recent = Walk.KEEP * 2 - 10
    assert walk.at(recent * 100 + 99) == values[recent]
    with pytest.raises(ValueError, match="forgotten"):
        walk.at(0)


def test_books_stay_deep_and_sound():
    exchange, market = build()
    for second in range(120):
        for _ in market.step(ORIGIN + second * SECOND):
            pass
        exchange.check()
        for symbol in exchange.listings:
            for side in Side:
                assert exchange.depth(symbol, side) >= 80, f"{symbol} {side} has run dry"


def test_rate_and_takers_are_about_what_was_asked():
    pace = Pace(updates_per_s=50, taker_permille=200)
    exchange, market = build(pace=pace)
    steps = list(market.step(ORIGIN + 60 * SECOND))
    per_s = len(steps) / 60 / len(exchange.listings)
    assert 45 <= per_s <= 80, "actions, and now and then quotes pulled before them"
    taking = sum(1 for step in steps if step.trades) / len(steps)
    assert 0.1 <= taking <= 0.25


def test_venues_quote_around_the_same_price():
    mids = []
    for venue in ("alpha", "beta", "gamma", "delta"):
        exchange, market = build(venue=venue)
        list(market.step(ORIGIN + 60 * SECOND))
        mids.append(sum(exchange.best("BTC/USDT", side).px for side in Side) / 2)
    assert max(mids) / min(mids) < 1.001
    assert len(set(mids)) == 4, "alike, not the same"


def test_a_quote_left_behind_is_picked_off():
    """An account's bid above the market's ask edge is sold into; its owner is not forgotten."""
    exchange, market = build()
    best = exchange.best("BTC/USDT", Side.SELL)
    step = exchange.place(
        "BTC/USDT", Side.BUY, 5 * 10**6, best.px + 3_000, now_ns=ORIGIN, owner="slow"
    )
    assert step.order.state is OrderState.OPEN, "it swept what was there and rests above the market"
    list(market.step(ORIGIN + 5 * SECOND))
    assert step.order.state is OrderState.FILLED
    exchange.check()


def test_after_a_sleep_the_market_goes_on_from_now():
    exchange, market = build()
    later = ORIGIN + 3_600 * SECOND
    market.skip_to(later)
    assert market.wake_at_ns == later
    steps = list(market.step(later + SECOND))
    assert steps
    assert all(step.time_ns >= later for step in steps)
    exchange.check()


@pytest.mark.parametrize("text", ["BTC", "BTC/", "/USDT", "BTC/USDT:", "BTC/USDT:USDC", "BTC-USDT"])
def test_a_bad_symbol_is_named(text):
    if text == "BTC/USDT:":
        assert listed([text]) == [("BTC", "USDT", False)]  # an empty settlement is none
        return
    with pytest.raises(ValueError, match=text):
        listed([text])


def test_an_unknown_asset_is_named():
    with pytest.raises(ValueError, match="NOSUCH"):
        start_px("NOSUCH", "USDT")
    assert start_px("ETH", "BTC") == Decimal(2650) / Decimal(61800)


@pytest.mark.parametrize(
    "bad", [{"updates_per_s": 0}, {"levels": 0}, {"taker_permille": 1001}, {"taker_permille": -1}]
)
def test_a_bad_pace_is_refused(bad):
    with pytest.raises(ValueError, match=r"market|share"):
        Pace(**bad)
