"""From an opportunity to a flat base, whatever becomes of the legs."""

from decimal import Decimal
from random import Random
from types import SimpleNamespace

import pytest

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Side
from hean_router.domain.venue import FeeIn
from hean_router.strategy import NOTHING, Arbitrage, Started, Stopping, Woke

D = Decimal
LOT = D("0.001")
FREE = {"rebalance_bps": "0", "z": "0", "slip_bps": "5", "cooldown_ms": "0"}
SECOND = 1_000_000_000


def runner(desk, market, fate, seed=1, **params):
    strategy = Arbitrage("arb", "main")
    strategy.configure(FREE | {name: str(value) for name, value in params.items()})
    executor = desk.Executor(market, strategy, Random(seed), fate)
    executor.tell(Started(""))
    return strategy, executor


def three(desk, **tiers):
    """Buy at a for 100, sell at b for 101; c stands between."""
    market = desk.Market()
    market.venue("a", [("99.5", "9")], [("100", "2")], tier=tiers.get("a"))
    market.venue("b", [("101", "2")], [("101.5", "9")], tier=tiers.get("b"))
    market.venue("c", [("100.4", "9")], [("100.6", "9")], tier=tiers.get("c"))
    return market


def net_base(fills):
    """Σ base that came and went, fees in base too."""
    total = D(0)
    for _, side, qty, _, fee, asset in fills:
        total += (qty if side is Side.BUY else -qty) - (fee if asset == "BTC" else 0)
    return total


def net_quote(fills):
    """Σ quote that came and went, fees in quote too."""
    total = D(0)
    for _, side, qty, px, fee, asset in fills:
        total += (-qty if side is Side.BUY else qty) * px - (fee if asset == "USDT" else 0)
    return total


def test_a_cycle_earns_what_it_promised(desk):
    tier = desk.fees("0.001", FeeIn.RECEIVED)
    market = three(desk, a=tier, b=tier)
    strategy, executor = runner(desk, market, lambda _: "full")
    executor.book_moved()
    executor.run(market.now_ns + SECOND // 2)
    (cycle,) = strategy.state.told
    assert (cycle.buy_venue, cycle.sell_venue, cycle.repairs) == ("a", "b", ())
    assert cycle.bought == D("1.998")
    assert cycle.sold == D("1.998")  # what was received, not what was ordered
    assert cycle.quote == cycle.promised == net_quote(executor.fills)
    assert cycle.fees == {"BTC": D("0.002"), "USDT": D("0.201798")}
    status = strategy.status()
    assert status["cycles"] == {"taken": 1, "finished": 1, "open": 0, "repaired": 0}
    assert status["budget"]["used_quote"] == "200"  # at the limit: half a tick of slip is none


def test_both_legs_are_one_group_bound_to_their_venues(desk):
    market = three(desk)
    _strategy, executor = runner(desk, market, lambda _: "full")
    executor.book_moved()
    buy, sell = executor.intents.values()
    assert (buy.venues.include, sell.venues.include) == (("a",), ("b",))
    assert buy.group == sell.group == "arb-1"
    assert (buy.life, sell.life, buy.strategy) == ("ioc", "ioc", "arb")
    executor.book_moved()  # one cycle at a time
    assert len(executor.intents) == 2


def test_equal_books_without_fees_place_nothing(desk):
    market = desk.Market()
    for venue in "abcd":
        market.venue(venue, [("100", "5")], [("100.1", "5")])
    _strategy, executor = runner(desk, market, lambda _: "full")
    for step in range(500):
        for venue in "abcd":
            market.set(venue, [(100 + step, 5)], [(D("100.1") + step, 5)])
        executor.book_moved()
        executor.run(market.now_ns + SECOND // 100)
    assert not executor.intents


def test_a_refusal_for_fees_is_told(desk):
    tier = desk.fees("0.01")
    strategy, executor = runner(desk, three(desk, a=tier, b=tier, c=tier), lambda _: "full")
    for _ in range(5):
        executor.book_moved()
    assert not executor.intents
    assert strategy.status()["refused"]["fees"] == 3  # a-b, a-c, c-b: once each
    told = {(one["buy_venue"], one["sell_venue"]) for one in strategy.status()["refusals"]}
    assert told == {("a", "b"), ("a", "c"), ("c", "b")}


def test_a_refused_group_leaves_no_trace_but_its_reason(desk):
    strategy, executor = runner(desk, three(desk), lambda _: "refused")
    executor.book_moved()
    assert not strategy.state.cycles
    assert strategy.state.day_quote == 0
    assert strategy.status()["refused"] == {"risk_halted": 1}
    assert strategy.status()["cycles"]["taken"] == 0


# ------------------------------------------------------------------------- one leg alone


@pytest.mark.parametrize(
    ("ask_b", "bid_a", "bid_c", "what", "venue"),
    [
        # The buy filled and the sell did not: the best price now decides where it goes.
        ("102", "99", "100.4", "complete", "b"),
        ("102", "99", "101.2", "hedge", "c"),
        ("102", "101.4", "100.4", "reverse", "a"),
    ],
)
def test_a_naked_leg_goes_the_cheapest_way(desk, ask_b, bid_a, bid_c, what, venue):
    market = three(desk)
    fates = {"arb-1-0": "full", "arb-1-1": "none"}
    strategy, executor = runner(
        desk, market, lambda intent: fates.get(intent.client_order_id, "full"), slip_bps=0
    )
    executor.book_moved()
    market.set("a", [(bid_a, "9")], [("102", "9")])
    market.set("b", [("101", "2")], [(ask_b, "9")])
    market.set("c", [(bid_c, "9")], [("102", "9")])
    market.set("a", [(bid_a, "9")], [("100", "2"), ("102", "9")])  # the leg still fills
    executor.run(market.now_ns + SECOND)
    repair = executor.intents["arb-1-2"]
    assert repair.venues.include == (venue,)
    assert strategy.state.told[0].repairs == (what,)
    assert net_base(executor.fills) == 0
    assert strategy.pnl("BTC/USDT").quote == net_quote(executor.fills)


def test_what_may_be_kept_is_kept_where_it_is_cheaper(desk):
    market = three(desk)
    fate = {"arb-1-1": "none"}
    strategy, executor = runner(
        desk,
        market,
        lambda intent: fate.get(intent.client_order_id, "full"),
        max_inventory_quote=500,
        keep_bps=0,
        sigma_bps=10,
        z=1,
    )
    market.set("c", [("99.4", "9")], [("100.9", "9")])
    executor.book_moved()
    market.set("b", [("99.4", "2")], [("100.9", "9")])
    executor.run(market.now_ns + SECOND)
    assert len(executor.intents) == 2
    assert strategy.state.residue == {"BTC/USDT": D(2)}
    assert strategy.status()["state"] == "running"


def test_nobody_is_there_until_the_deadline_then_an_alarm_that_latches(desk):
    market = three(desk)
    fate = {"arb-1-0": "full", "arb-1-1": "none"}
    strategy, executor = runner(
        desk, market, lambda intent: fate.get(intent.client_order_id, "none"), deadline_ms=1_000
    )
    executor.book_moved()
    for _ in range(40):
        executor.run(market.now_ns + SECOND // 20)
        market.set("b", [("101", "2")], [("101.5", "9")])
    kinds = [leg.why for leg in strategy.state.closed.values() if leg.why != "cycle"]
    assert kinds.count("deadline") == 3
    assert "complete" in kinds
    assert strategy.status()["state"] == "frozen"
    assert "2 BTC of cycle 1" in strategy.status()["alarm"]
    assert strategy.state.residue == {"BTC/USDT": D(2)}
    placed = len(executor.intents)
    executor.book_moved()
    again = Arbitrage("arb", "main")  # a restart does not forget it
    again.configure(FREE)
    executor.strategy = again
    executor.tell(Started(executor.note))
    executor.run(market.now_ns + SECOND)
    executor.book_moved()
    assert again.frozen
    assert len(executor.intents) == placed
    # Seen by a person: what was left is mended first, by what works now.
    executor.fate = lambda _: "full"
    again.configure(FREE | {"alarms_seen": str(again.state.alarms)})
    for venue in "abc":
        market.set(venue, [("100", "9")], [("100.5", "9")])
    executor.tell(Woke())
    executor.run(market.now_ns + SECOND)
    assert net_base(executor.fills) == 0


def test_a_loss_beyond_the_bound_is_not_taken(desk):
    market = three(desk)
    fate = {"arb-1-1": "none"}
    strategy, executor = runner(
        desk,
        market,
        lambda intent: fate.get(intent.client_order_id, "full"),
        deadline_ms=1_000,
        max_loss_bps=10,
    )
    executor.book_moved()
    for _ in range(60):
        for venue in "abc":  # wide: half a spread is more than 10 bps
            market.set(venue, [("99", "9")], [("101", "9")])
        market.set("a", [("99", "9")], [("100", "2")])
        executor.run(market.now_ns + SECOND // 20)
    assert all(px >= D("99.9") for _, side, _, px, _, _ in executor.fills if side is Side.SELL)
    assert strategy.frozen


def test_an_unknown_leg_is_waited_for_and_never_doubled(desk):
    market = three(desk)
    fate = {"arb-1-0": "full", "arb-1-1": "late"}
    strategy, executor = runner(
        desk,
        market,
        lambda intent: fate.get(intent.client_order_id, "full"),
        seed=3,
        deadline_ms=1_000,
    )
    executor.book_moved()
    seen = set()
    for _ in range(200):
        executor.run(market.now_ns + SECOND // 20)
        for venue in "ab":
            book = market.books[venue]
            book.confirmed_ns = market.now_ns
        if strategy.state.cycles:
            assert len(executor.intents) == 2, "something was sent beside a leg of unknown fate"
            seen.add(strategy.status()["state"])
    assert seen == {"running", "frozen"}  # alarmed at the deadline
    assert strategy.state.residue == {"BTC/USDT": D(0)}
    assert strategy.frozen  # until somebody has looked at it
    assert net_base(executor.fills) == 0


def test_a_leg_that_works_too_long_is_cancelled_and_its_part_mended(desk):
    market = three(desk)
    fate = {"arb-1-0": "full", "arb-1-1": "stuck"}
    strategy, executor = runner(
        desk, market, lambda intent: fate.get(intent.client_order_id, "full"), leg_ms=200
    )
    executor.book_moved()
    executor.run(market.now_ns + SECOND)
    assert executor.intents["arb-1-2"].qty == 1
    assert net_base(executor.fills) == 0
    assert not strategy.frozen


def test_a_late_fill_is_mended_too(desk):
    market = three(desk)
    fate = {"arb-1-0": "full", "arb-1-1": "after"}
    strategy, executor = runner(
        desk, market, lambda intent: fate.get(intent.client_order_id, "full")
    )
    executor.book_moved()
    executor.run(market.now_ns + SECOND)
    assert net_base(executor.fills) == 0
    for venue in "abc":
        market.now_ns += 1
        market.set(venue, [("100.4", "9")], [("100.6", "9")])
    executor.run(market.now_ns + 4 * SECOND)
    for venue in "abc":
        market.set(venue, [("100.4", "9")], [("100.6", "9")])
    executor.tell(Woke())
    executor.run(market.now_ns + SECOND)
    assert net_base(executor.fills) == 0
    assert strategy.pnl("BTC/USDT").quote == net_quote(executor.fills)


# ------------------------------------------------------------------------- restarts, budgets


def test_a_restart_goes_on_from_the_note_and_the_orders(desk):
    market = three(desk)
    fate = {"arb-1-0": "full", "arb-1-1": "none"}
    _strategy, executor = runner(
        desk, market, lambda intent: fate.get(intent.client_order_id, "full")
    )
    executor.book_moved()
    note = executor.note
    # The process dies; both legs end meanwhile, and nobody tells it.
    executor.strategy = SimpleNamespace(on_event=lambda *_: NOTHING)
    executor.run(market.now_ns + SECOND)
    again = Arbitrage("arb", "main")
    again.configure(FREE)
    executor.strategy = again
    market.broken = dict.fromkeys("abc", "not reconciled")
    executor.tell(Started(note))
    executor.run(market.now_ns + 20 * SECOND)  # longer than its deadline: nothing could be sent
    assert not again.frozen
    market.broken = {}
    for venue in "abc":
        market.set(venue, [("100.4", "9")], [("100.6", "9")])
    executor.run(market.now_ns + SECOND)
    assert net_base(executor.fills) == 0
    assert again.pnl("BTC/USDT").quote == net_quote(executor.fills)
    assert max(int(name.split("-")[1]) for name in executor.intents) == 1


def test_an_order_that_was_never_written_is_not_waited_for(desk):
    market = three(desk)
    _strategy, executor = runner(desk, market, lambda _: "full")
    executor.book_moved()
    market.parents.clear()
    executor.queue.clear()
    again = Arbitrage("arb", "main")
    executor.strategy = again
    executor.tell(Started(executor.note))
    assert not again.state.cycles


def test_stopping_takes_back_what_is_out(desk):
    market = three(desk)
    strategy, executor = runner(desk, market, lambda _: "stuck")
    executor.book_moved()
    executor.run(market.now_ns + SECOND // 20)
    reaction = strategy.on_event(Stopping(), market)
    assert set(reaction.cancels) == {"parb-1-0", "parb-1-1"}
    executor.book_moved()
    assert len(executor.intents) == 2


@pytest.mark.parametrize(
    "params",
    [
        {"daily_budget_quote": 500},
        {"max_notional_quote": 50, "daily_budget_quote": 120},
        {"cooldown_ms": 300},
    ],
)
def test_budgets_and_pauses_hold(desk, params):
    market = three(desk)
    strategy, executor = runner(desk, market, lambda _: "full", **params)
    for _ in range(20):
        executor.book_moved()
        executor.run(market.now_ns + SECOND // 20)
        market.set("a", [("99.5", "9")], [("100", "2")])
        market.set("b", [("101", "2")], [("101.5", "9")])
    spent = sum(qty * px for _, side, qty, px, _, _ in executor.fills if side is Side.BUY)
    assert 0 < spent <= D(str(params.get("daily_budget_quote", 10**6)))
    if "daily_budget_quote" in params:
        assert spent > D(params["daily_budget_quote"]) - 1, "the budget was there to be spent"
    if "cooldown_ms" in params:
        assert strategy.state.finished <= 1 + 1_000 // 300
    market.now_ns += 86_400 * SECOND
    market.set("a", [("99.5", "9")], [("100", "2")])
    market.set("b", [("101", "2")], [("101.5", "9")])
    market.set("c", [("100.4", "9")], [("100.6", "9")])
    before = strategy.state.taken
    executor.book_moved()
    assert strategy.state.taken == before + 1  # a new day


def test_parameters_that_contradict_each_other_are_refused():
    with pytest.raises(CommandError, match="leg_ms"):
        Arbitrage().configure({"leg_ms": "3000", "deadline_ms": "3000"})


# ------------------------------------------------------------------------- a thousand cycles


def shake(market, rng, mid):
    """New books round `mid`; some venues a little off, so that they cross now and then."""
    for venue in market.books:
        off = rng.choice([-3, -2, -1, 0, 0, 1, 2, 3]) * D("0.1")
        spread = rng.randint(1, 3) * D("0.1")
        levels = range(rng.randint(2, 5))
        size = [D(rng.randint(1, 900)) / 1000 for _ in levels]
        bids = [(mid + off - spread - n * D("0.1"), size[n]) for n in levels]
        asks = [(mid + off + spread + n * D("0.1"), size[-n - 1]) for n in levels]
        market.set(venue, bids, asks)


def storm(desk, seed, fates, cycles, **params):
    """Cycles over four venues of different lots and fees; what was out of balance, how long."""
    market, rng = desk.Market(), Random(seed)
    tiers = [
        desk.fees("0.0001", FeeIn.RECEIVED), desk.fees("0.0002", FeeIn.QUOTE),
        desk.fees("-0.0001", FeeIn.QUOTE), desk.fees("0.0001", FeeIn.BASE),
    ]  # fmt: skip
    for name, tier, lot in zip("abcd", tiers, (1, 2, 1, 5), strict=True):
        market.venue(name, [], [], tier=tier, of=desk.rules(name, lot=lot, min_qty=lot))
    strategy, executor = runner(
        desk, market, lambda _: rng.choice(fates), seed, **({"max_notional_quote": 60} | params)
    )
    mid, since, naked, most, base, seen = D(100), None, [], D(0), D(0), 0
    while strategy.state.finished < cycles or strategy.state.cycles:
        mid = max(D(50), mid + rng.choice([-1, 0, 1]) * D("0.1"))
        shake(market, rng, mid)
        executor.book_moved()
        for _ in range(4):
            executor.run(market.now_ns + SECOND // 80)
            base, seen = base + net_base(executor.fills[seen:]), len(executor.fills)
            most = max(most, abs(base))
            if abs(base) >= LOT and since is None:
                since = market.now_ns
            elif abs(base) < LOT and since is not None:
                naked.append((market.now_ns - since) // desk.MS)
                since = None
        if strategy.frozen and strategy.state.finished < cycles:
            seen_by_us = {"alarms_seen": str(strategy.state.alarms)}
            strategy.configure(strategy.status()["params"] | seen_by_us)
    for _ in range(200):  # what came late comes home
        shake(market, rng, mid)
        executor.run(market.now_ns + SECOND // 20)
        executor.tell(Woke())
    return strategy, executor, naked, most


def balanced(strategy, executor):
    """Base is flat to one lot, and all sums are those of the fills."""
    tally = strategy.pnl("BTC/USDT")
    assert not strategy.state.cycles
    assert tally.base == net_base(executor.fills)
    assert tally.quote == net_quote(executor.fills)
    assert abs(tally.base) < LOT
    assert tally.base == strategy.state.residue["BTC/USDT"]
    fees: dict[str, Decimal] = {}
    for _, _, _, _, fee, asset in executor.fills:
        fees[asset] = fees.get(asset, D(0)) + fee
    assert {a: f for a, f in tally.fees.items() if f} == {a: f for a, f in fees.items() if f}


@pytest.mark.parametrize("seed", range(2))
def test_a_thousand_cycles_leave_base_flat_to_one_lot(desk, seed):
    fates = ["full"] * 12 + ["part"] * 4 + ["none", "refused"]
    strategy, executor, naked, most = storm(desk, seed, fates, 1_000)
    balanced(strategy, executor)
    assert strategy.state.alarms == 0
    assert max(naked) <= 3_000, "a leg stood alone beyond its deadline"
    assert most <= D("1.3"), "more stood alone than one cycle may buy"
    assert strategy.state.repaired > 100, "the storm was a calm"


@pytest.mark.parametrize("seed", range(2))
def test_unknown_stuck_and_late_legs_end_flat_too_and_are_told(desk, seed):
    fates = ["full"] * 8 + ["part", "part", "none", "stuck", "late", "lost", "after"]
    strategy, executor, naked, most = storm(desk, seed, fates, 200)
    balanced(strategy, executor)
    assert most <= D("2.6"), "a repair was sent twice"
    late = sum(ms > 3_000 for ms in naked)
    assert strategy.state.alarms >= late > 0, "a leg stood alone too long, and nobody was told"
