"""The simulators' back office: nothing appears, nothing is lost, every lock is let go."""

from decimal import ROUND_FLOOR, Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.accounts import (
    Accepted,
    AccountSpec,
    BalancesChanged,
    Ended,
    Filled,
    KeyStyle,
    Reduced,
    Terms,
    Why,
    ed25519_seed,
    open_accounts,
)
from hean_router.sim.desk import Desk
from hean_router.sim.exchange import (
    Exchange,
    Listing,
    OrderState,
    Reason,
    Side,
    Status,
    Stp,
    Tif,
)
from hean_router.sim.history_file import HistoryFiles
from hean_router.sim.market import Market
from hean_router.sim.rules import Reuse, Rules
from hean_router.sim.simulator import simulate

D = Decimal
BUY, SELL = Side
PAIR = "BTC/USDT"
LISTING = Listing(
    "BTC",
    "USDT",
    tick=D("0.01"),
    lot=D("0.00001"),
    min_qty=D("0.00001"),
    max_qty=D(100),
    min_notional=D(5),
)
NOW = 1_700_000_000_000_000_000


class World:
    """A desk with two accounts, and a book made by the market itself."""

    def __init__(self, rules=None, balances=None, listings=(LISTING,)):
        self.rows = []
        self.exchange = Exchange("test", listings)
        balances = balances or {"BTC": D(5), "USDT": D(100_000)}
        specs = [AccountSpec(name, n, (), balances) for n, name in enumerate(("me", "you"))]
        self.desk = Desk(
            self.exchange,
            rules or Rules(),
            specs,
            self.rows.append,
            lambda event: {"is": type(event).__name__},
        )
        self.me, self.you = self.desk.accounts.values()
        self.now = NOW

    def makes(self, side, px, qty):
        step = self.exchange.place(
            PAIR, side, LISTING.lots(D(qty)), LISTING.ticks(D(px)), now_ns=self.now
        )
        return self.desk.market(step, self.now)

    def place(self, side, qty=None, px=None, account=None, **more):
        terms = Terms(PAIR, side, D(qty) if qty else None, D(px) if px else None, **more)
        outcome = self.desk.place(account or self.me, terms, self.now)
        self.desk.check()
        return outcome

    def has(self, asset, account=None):
        balance = (account or self.me).balance(asset)
        return balance.free, balance.locked


def kinds(events):
    return [type(event).__name__ for event in events]


# Locks and settlement


def test_a_limit_buy_holds_its_value_and_a_sell_its_quantity():
    world = World()
    world.place(BUY, "0.5", "50000")
    assert world.has("USDT") == (D(75_000), D(25_000))
    world.place(SELL, "2", "60000")
    assert world.has("BTC") == (D(3), D(2))


def test_a_better_fill_frees_the_difference_and_the_fee_comes_out_of_what_is_received():
    world = World()
    world.makes(SELL, "49000", "0.3")
    outcome = world.place(BUY, "0.5", "50000")
    assert kinds(outcome.events) == ["Accepted", "Filled", "BalancesChanged"]
    assert outcome.order.leaves == 20_000
    assert world.has("USDT") == (D(100_000) - 14_700 - 10_000, D(10_000))
    assert world.has("BTC") == (D("5.3") - D("0.0003"), D(0))
    fill = outcome.order.fills[0]
    assert (fill.fee_asset, fill.fee, fill.maker) == ("BTC", D("0.0003"), False)
    assert fill.totals["USDT"] == D(85_300)


def test_a_resting_order_is_settled_whoever_takes_it():
    world = World()
    order = world.place(SELL, "1", "50000").order
    events = world.makes(BUY, "50000", "0.4")
    assert kinds(events) == ["Filled", "BalancesChanged"]
    assert events[0].fill.maker
    assert world.has("BTC") == (D(4), D("0.6"))
    assert world.has("USDT") == (D(100_000) + 20_000 - 20, D(0))
    events = world.makes(BUY, "50000", "0.6")
    assert order.state is OrderState.FILLED
    assert events[0].fill.leaves == 0
    world.desk.check()


def test_fees_round_up_at_eight_decimals():
    world = World()
    world.makes(SELL, "50000", "0.00123")
    order = world.place(BUY, "0.00123", "50000").order
    assert order.fills[0].fee == D("0.00000123")
    world.makes(BUY, "12345.67", "0.01234")
    order = world.place(SELL, "0.01234", "12345.67").order
    exact = D("12345.67") * D("0.01234") * D("0.001")
    assert order.fills[0].fee == D("0.15234557") >= exact


@pytest.mark.parametrize(
    ("fee_in", "side", "spent"),
    [("USDT", BUY, "USDT"), ("BTC", SELL, "BTC")],
)
def test_a_fee_in_the_asset_spent_is_held_too(fee_in, side, spent):
    class Odd(Rules):
        def fee_asset(self, account, listing, side, *, maker):
            return fee_in

    world = World(Odd())
    need = D(1) if spent == "BTC" else D(20_000)
    world.place(side, "1", "20000")
    assert world.has(spent)[1] == need * D("1.001")
    assert world.place(side, "4.999", "20000").refusal.why is Why.FUNDS
    world.makes(side.other, "20000", "1")
    assert world.has(spent)[1] == 0
    world.desk.check()


def test_an_account_with_nothing_to_spare_still_pays_its_fees():
    class Odd(Rules):
        def fee_asset(self, account, listing, side, *, maker):
            return "USDT"

        fee_decimals = 2

    world = World(Odd(), {"USDT": D("50.05"), "BTC": D(0)})
    for _ in range(10):
        world.makes(SELL, "50000", "0.0001")
    order = world.place(BUY, "0.001", "50000").order
    assert order.state is OrderState.FILLED
    assert world.has("USDT") == (D(0), D(0)), "ten fees of 0.01 do not make it negative"


# Kinds of orders


def test_ioc_fok_and_market_end_at_once():
    world = World()
    world.makes(SELL, "50000", "0.1")
    ioc = world.place(BUY, "0.3", "50000", tif=Tif.IOC)
    assert kinds(ioc.events) == ["Accepted", "Filled", "Ended", "BalancesChanged"]
    assert (ioc.order.state, ioc.order.reason) == (OrderState.EXPIRED, Reason.NO_LIQUIDITY)
    assert (ioc.order.filled, ioc.order.leaves) == (10_000, 20_000)
    world.makes(SELL, "50000", "0.1")
    fok = world.place(BUY, "0.3", "50000", tif=Tif.FOK)
    assert kinds(fok.events) == ["Accepted", "Ended", "BalancesChanged"]
    assert fok.order.reason is Reason.FOK
    market = world.place(BUY, "0.3")
    assert market.order.state is OrderState.EXPIRED
    assert market.order.filled == 10_000
    assert world.has("USDT")[1] == 0


def test_a_market_buy_by_value_spends_no_more():
    world = World()
    world.makes(SELL, "50000", "0.1")
    world.makes(SELL, "50100", "1")
    order = world.place(BUY, quote_qty=D("10000")).order
    assert order.state is OrderState.FILLED
    assert order.cum_quote <= 10_000 < order.cum_quote + D("0.51")
    assert order.qty == order.filled


def test_a_market_sell_by_value_brings_no_more():
    world = World()
    world.makes(BUY, "50000", "0.1")
    world.makes(BUY, "49000", "1")
    order = world.place(SELL, quote_qty=D("10000")).order
    assert order.state is OrderState.FILLED
    assert order.cum_quote <= 10_000 < order.cum_quote + D("0.5")


def test_post_only_is_refused_or_accepted_and_cancelled():
    world = World()
    world.makes(SELL, "50000", "0.1")
    refused = world.place(BUY, "0.1", "50000", post_only=True)
    assert (refused.refusal.why, refused.events) == (Why.POST_ONLY, [])

    class Late(Rules):
        post_only_refused = False

    world = World(Late())
    world.makes(SELL, "50000", "0.1")
    late = world.place(BUY, "0.1", "50000", post_only=True)
    assert kinds(late.events)[:2] == ["Accepted", "Ended"]
    assert (late.order.state, late.order.reason) == (OrderState.CANCELED, Reason.POST_ONLY)
    assert world.has("USDT") == (D(100_000), D(0))
    assert world.place(BUY, "0.1", "49999", post_only=True).order.open


def test_market_orders_beyond_the_funds_are_refused_or_made_smaller():
    world = World()
    world.makes(SELL, "50000", "10")
    world.makes(BUY, "40000", "10")
    assert world.place(BUY, "3").refusal.why is Why.FUNDS
    assert world.place(SELL, "6").refusal.why is Why.FUNDS

    class Shrinks(Rules):
        market_shrinks = True

    world = World(Shrinks())
    world.makes(SELL, "50000", "10")
    world.makes(BUY, "40000", "10")
    assert world.place(BUY, "3").order.cum_quote == 100_000
    world = World(Shrinks())
    world.makes(BUY, "40000", "10")
    assert world.place(SELL, "6").order.filled == 500_000


# Refusals

BAND = (D("0.5"), D("2"))
REFUSALS = [
    ({"qty": "1", "px": "50000.001"}, Why.PX_TICK, "off the tick"),
    ({"qty": "1", "px": "0.001"}, Why.PX_MIN, "below one tick"),
    ({"qty": "1", "px": "1000001"}, Why.PX_MAX, "above the highest price"),
    ({"qty": "0.001", "px": "20000"}, Why.PX_BAND, "below the band"),
    ({"qty": "0.001", "px": "100010"}, Why.PX_BAND, "above the band"),
    ({"qty": "0.000011", "px": "50000"}, Why.QTY_STEP, "off the lot"),
    ({"qty": "0.000001", "px": "50000"}, Why.QTY_MIN, "less than a lot"),
    ({"qty": "101", "px": "50000"}, Why.QTY_MAX, "more than allowed"),
    ({"qty": "0.00009", "px": "50000"}, Why.NOTIONAL_MIN, "worth too little"),
    ({"qty": "0.00009"}, Why.NOTIONAL_MIN, "worth too little at the market"),
    ({"quote_qty": D(4)}, Why.NOTIONAL_MIN, "spends too little"),
    ({"qty": "60", "px": "50000"}, Why.NOTIONAL_MAX, "worth too much"),
    ({"qty": "3", "px": "50000"}, Why.FUNDS, "too little quote"),
    ({"qty": "0.001", "px": "50000", "client_id": "used"}, Why.CLIENT_ID, "the id is open"),
]


@pytest.mark.parametrize(("ask", "why", "because"), REFUSALS, ids=[row[2] for row in REFUSALS])
def test_what_is_refused_changes_nothing(ask, why, because):
    class Strict(Rules):
        band = BAND
        px_max = D(1_000_000)
        notional_max = D(1_000_000)

    world = World(Strict())
    world.makes(SELL, "50000", "1")
    world.makes(BUY, "50000", "0.1")
    world.place(BUY, "0.001", "49000", client_id="used")
    before = {asset: world.has(asset) for asset in ("BTC", "USDT")}
    count = len(world.me.orders)
    outcome = world.place(BUY, **ask)
    assert outcome.refusal.why is why, because
    assert outcome.events == []
    assert {asset: world.has(asset) for asset in before} == before
    assert len(world.me.orders) == count
    assert world.rows[-1]["what"] == "refusal"


def test_too_many_open_orders_halts_and_unknown_symbols():
    class Few(Rules):
        open_max = 2

    world = World(Few())
    for _ in range(2):
        assert world.place(BUY, "0.001", "49000").order
    assert world.place(BUY, "0.001", "49000").refusal.why is Why.OPEN_MAX
    terms = Terms("XRP/USDT", BUY, D(1), D(1))
    assert world.desk.place(world.me, terms, NOW).refusal.why is Why.SYMBOL
    world.exchange.set_status(PAIR, Status.HALT, now_ns=NOW)
    assert world.place(BUY, "0.001", "49000").refusal.why is Why.NOT_TRADING
    order = world.me.open_orders()[0]
    assert world.desk.cancel(world.me, order, NOW).refusal.why is Why.NOT_TRADING
    assert order.open


@pytest.mark.parametrize(("reuse", "again"), [(Reuse.OPEN, True), (Reuse.NEVER, False)])
def test_a_client_id_may_be_used_again_where_the_venue_says_so(reuse, again):
    class Some(Rules):
        pass

    Some.reuse = reuse
    world = World(Some())
    first = world.place(BUY, "0.001", "49000", client_id="a").order
    assert world.place(BUY, "0.001", "49000", client_id="a").refusal.order is first
    assert world.place(BUY, "0.001", "49000", account=world.you, client_id="a").order, "another's"
    world.desk.cancel(world.me, first, NOW)
    assert world.me.by_client_id("a") is first
    second = world.place(BUY, "0.001", "49000", client_id="a")
    assert (second.order is not None) == again
    if again:
        assert world.me.by_client_id("a") is second.order


def test_a_cancel_may_rename():
    world = World()
    order = world.place(BUY, "0.001", "49000", client_id="a").order
    outcome = world.desk.cancel(world.me, order, NOW, client_id="b")
    assert kinds(outcome.events) == ["Ended", "BalancesChanged"]
    assert (order.client_id, order.first_client_id) == ("b", "a")
    assert world.me.by_client_id("a") is None
    assert world.me.by_client_id("b") is order
    assert world.desk.cancel(world.me, order, NOW).refusal.why is Why.UNKNOWN_ORDER


def test_cancel_all_takes_only_the_accounts_own():
    world = World()
    for px in ("48000", "49000"):
        world.place(BUY, "0.1", px)
        world.place(BUY, "0.1", px, account=world.you)
    outcomes = world.desk.cancel_all(world.me, NOW)
    assert len(outcomes) == 2
    assert world.has("USDT") == (D(100_000), D(0))
    assert len(world.you.open) == 2
    world.desk.check()


def test_an_order_can_be_made_smaller_but_not_other():
    world = World()
    order = world.place(BUY, "0.5", "50000").order
    world.makes(SELL, "50000", "0.2")
    for qty, why in [("0.2", Why.NO_CHANGE), ("0.5", Why.NO_CHANGE), ("0.300001", Why.QTY_STEP)]:
        assert world.desk.reduce(world.me, order, D(qty), NOW).refusal.why is why
    outcome = world.desk.reduce(world.me, order, D("0.3"), NOW)
    assert kinds(outcome.events) == ["Reduced", "BalancesChanged"]
    assert (outcome.events[0].qty, outcome.events[0].leaves) == (30_000, 10_000)
    assert world.has("USDT")[1] == 5_000
    world.desk.check()


def test_deposits_are_moved_not_made():
    world = World()
    world.desk.transfer(world.me, "BTC", D("1.5"), NOW)
    world.desk.check()
    assert world.has("BTC") == (D("6.5"), D(0))
    with pytest.raises(ValueError, match="free"):
        world.desk.transfer(world.me, "BTC", D(-7), NOW)


# Self-trade

STP = [
    (Stp.NONE, 2, OrderState.FILLED, OrderState.FILLED, "it trades with itself"),
    (Stp.MAKER, 1, OrderState.EXPIRED, OrderState.EXPIRED, "the resting order ends"),
    (Stp.TAKER, 0, OrderState.OPEN, OrderState.EXPIRED, "the taker ends"),
    (Stp.BOTH, 0, OrderState.EXPIRED, OrderState.EXPIRED, "both end"),
]


@pytest.mark.parametrize(
    ("stp", "fills", "maker", "taker", "because"), STP, ids=[row[4] for row in STP]
)
def test_an_account_that_meets_itself(stp, fills, maker, taker, because):
    world = World()
    resting = world.place(SELL, "0.1", "50000").order
    world.makes(SELL, "50000", "0.1")
    order = world.place(BUY, "0.2", "50000", tif=Tif.IOC, stp=stp).order
    assert (resting.state, order.state) == (maker, taker), because
    assert len(order.fills) == fills
    if maker is OrderState.EXPIRED:
        assert resting.reason is Reason.STP
    if stp is Stp.NONE:
        assert {fill.id for fill in resting.fills} <= {fill.id for fill in order.fills}
    world.exchange.check()


@pytest.mark.parametrize(
    ("stp", "fills"), [(Stp.NONE, 2), (Stp.MAKER, 0), (Stp.TAKER, 0), (Stp.BOTH, 0)]
)
def test_a_fok_does_not_count_its_own(stp, fills):
    world = World()
    world.place(SELL, "0.1", "50000")
    world.makes(SELL, "50000", "0.1")
    order = world.place(BUY, "0.2", "50000", tif=Tif.FOK, stp=stp).order
    assert len(order.fills) == fills


# Keys


@pytest.mark.parametrize("style", [KeyStyle(), KeyStyle("ed25519"), KeyStyle("kraken", 56)])
def test_keys_and_balances_follow_from_the_seed(style):
    one, two, other = (open_accounts(seed, "test", [LISTING], [style]) for seed in (1, 1, 2))
    assert one == two != other
    keys = [key.key for account in one for key in account.keys]
    assert len(set(keys)) == len(keys)
    assert one[0].balances == {"BTC": D(10), "USDT": D(1_000_000)}
    assert one[0].keys[0].secret not in repr(one)
    if style.scheme == "ed25519":
        assert len(ed25519_seed(one[0].keys[0].secret)) == 32


# Everything at once

ASKS = st.tuples(
    st.sampled_from(["me", "you"]),
    st.sampled_from(list(Side)),
    st.integers(1, 40),  # hundredths of BTC
    st.one_of(st.none(), st.integers(-30, 30)),  # distance from 50,000
    st.sampled_from(list(Tif)),
    st.sampled_from(list(Stp)),
    st.booleans(),
)
DEEDS = st.lists(
    st.one_of(
        ASKS,
        st.tuples(st.just("cancel"), st.integers(0, 99)),
        st.tuples(st.just("reduce"), st.integers(0, 99), st.integers(1, 40)),
        st.tuples(
            st.just("market"), st.sampled_from(list(Side)), st.integers(1, 40), st.integers(-30, 30)
        ),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(DEEDS)
def test_books_and_balances_agree_whatever_happens(deeds):
    world = World(balances={"BTC": D(2), "USDT": D(60_000)})
    events = []
    for deed in deeds:
        world.now += 1
        match deed:
            case ("cancel", pick):
                account = (world.me, world.you)[pick % 2]
                if orders := account.open_orders():
                    order = orders[pick % len(orders)]
                    events += world.desk.cancel(account, order, world.now).events
            case ("reduce", pick, size):
                account = (world.me, world.you)[pick % 2]
                if orders := account.open_orders():
                    order = orders[pick % len(orders)]
                    outcome = world.desk.reduce(account, order, D(size) / 100, world.now)
                    events += outcome.events
            case ("market", side, size, away):
                events += world.makes(side, D(50_000 + away), D(size) / 100)
            case (name, side, size, away, tif, stp, post_only):
                px = None if away is None else D(50_000 + away)
                terms = Terms(
                    PAIR, side, D(size) / 100, px, tif=tif if px else Tif.GTC, stp=stp,
                    post_only=post_only and px is not None and tif is Tif.GTC,
                )  # fmt: skip
                events += world.desk.place(world.desk.accounts[name], terms, world.now).events
        world.desk.check()
        world.exchange.check()
    follow(world, events)


def follow(world, events):
    """Someone who believes only events ends with the same orders and balances."""
    numbers = [event.seq for event in events]
    assert numbers == sorted(set(numbers))
    totals = {name: {"BTC": D(2), "USDT": D(60_000)} for name in world.desk.accounts}
    leaves = {}
    for event in events:
        match event:
            case Accepted(order=order):
                assert order.id not in leaves
                leaves[order.id] = None
            case Filled(order=order, fill=fill):
                assert leaves[order.id] in (None, fill.leaves + fill.qty)
                leaves[order.id] = fill.leaves
            case Reduced(order=order):
                leaves[order.id] = event.leaves
            case Ended(order=order):
                assert leaves.pop(order.id, 0) != 0, "nothing was left to end"
            case BalancesChanged(account=name, changes=changes):
                for asset, change in changes.items():
                    totals[name][asset] += change.delta
                    assert totals[name][asset] == change.total
    for account in world.desk.accounts.values():
        for order in account.open_orders():
            assert leaves[order.id] in (None, order.leaves)
        for asset, total in totals[account.name].items():
            assert account.balance(asset).total == total


def test_the_seeded_market_trades_against_accounts():
    world = World(balances={"BTC": D(5), "USDT": D(500_000)})
    market = Market(world.exchange, 3, NOW)
    market.open(NOW)
    rng = Random(4)
    now = NOW
    for _ in range(200):
        now += 100_000_000
        for step in market.step(now):
            world.desk.market(step, step.time_ns)
        side = rng.choice(list(Side))
        best = world.exchange.best(PAIR, side)
        terms = Terms(PAIR, side, D("0.01"), LISTING.px(best.px))
        world.desk.place(world.me, terms, now)
    world.desk.check()
    makers = [fill for _, fill in world.me.fills if fill.maker]
    assert len(makers) > 20, "its takers and its retreats reach our orders"
    value = sum(Fraction(fill.fee) for fill in makers if fill.fee_asset == "USDT")
    exact = sum(Fraction(fill.quote) / 1000 for fill in makers if fill.fee_asset == "USDT")
    assert exact <= value < exact + len(makers) * Fraction(1, 10**8)
    assert {row["what"] for row in world.rows} >= {"order", "fill", "balance"}
    assert [row["seq"] for row in world.rows] == list(range(1, len(world.rows) + 1))


def test_a_rule_may_round_down():
    class Kind(Rules):
        def round_fee(self, fee):
            return fee.quantize(D("0.01"), ROUND_FLOOR)

    world = World(Kind())
    world.makes(BUY, "50000", "0.00033")
    order = world.place(SELL, "0.00033", "50000").order
    assert order.fills[0].fee == D("0.01")
    assert isinstance(world.rows[-1], dict)
    assert isinstance(order.fills[0].totals, dict)
    assert BalancesChanged in {type(event) for event in world.place(BUY, "0.1", "100").events}


# On disk


def test_histories_are_files_begun_anew(tmp_path):
    for run in range(2):
        files = HistoryFiles(tmp_path / "logs", ["binance", "okx"])
        for n in range(3):
            files.writer("okx")({"seq": n, "run": run})
        written = [orjson.loads(line) for line in files.paths["okx"].read_bytes().splitlines()]
        assert written == [{"seq": n, "run": run} for n in range(3)], "before it is closed"
        files.close()
    assert files.paths["binance"].read_bytes() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_ends_the_simulator_not_the_history(tmp_path):
    (tmp_path / "okx.orders.ndjson").symlink_to("/dev/full")
    files = HistoryFiles(tmp_path, ["okx"])
    with pytest.raises(SystemExit, match="No space left"):
        files.writer("okx")({"seq": 1})
    files.close()


def test_a_simulated_venue_writes_what_it_began_with(tmp_path):
    files = HistoryFiles(tmp_path, ["binance"])
    simulator, _ = simulate("binance", 1, NOW, history=files.writer("binance"))
    files.close()
    rows = [orjson.loads(line) for line in files.paths["binance"].read_bytes().splitlines()]
    assert [row["account"] for row in rows] == [spec.name for spec in simulator.accounts]
    assert rows[0]["data"]["balances"] == simulator.accounts[0].announced()["balances"]
