"""Exposure: every line says by which rate, how old it is, and what it lacks."""

import json
from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.instrument import Side
from hean_router.domain.rates import Rate
from hean_router.domain.record import BalancesSet, Filled
from hean_router.portfolio import Ledger, exposure, to_json

D = Decimal
S = 1_000_000_000
NOW = 100 * S
RATES = {
    "USD": Rate(D(1), NOW, ""),
    "USDT": Rate(D("0.5"), NOW - S, "USDT/USD"),
    "BTC": Rate(D(1000), NOW - 2 * S, "BTC/USDT USDT/USD"),
    "ETH": Rate(D(10), NOW - 60 * S, "ETH/USD"),
}


def have(ledger, venue, account, **amounts):
    amounts = {asset: D(amount) for asset, amount in amounts.items()}
    ledger.apply(
        BalancesSet(at_ns=1, venue=venue, account=account, balances=amounts, why="opening")
    )


def trade(ledger, side, qty, px, symbol="BTC/USDT", venue="okx", account="a", strategy=""):
    ledger.apply(
        Filled(
            at_ns=2, venue=venue, account=account, symbol=symbol, trade_id="", key="", parent="",
            strategy=strategy, venue_order_id="", side=Side(side), px=D(px), qty=D(qty), fee=D(0),
            fee_asset="USDT", maker=None, sent_ns=0,
        )
    )  # fmt: skip


def world():
    ledger = Ledger()
    have(ledger, "okx", "a", BTC="2", USDT="100", DOGE="0")
    have(ledger, "kraken", "a", BTC="-0.5", USD="7")
    have(ledger, "kraken", "b", ETH="3")
    return ledger


def lines(found):
    return {line.name: line for line in found}


def test_by_asset_gross_and_net_with_the_rate_it_stands_on():
    found = exposure(world(), RATES, {}, NOW)
    assets = lines(found.assets)
    assert list(assets) == ["BTC", "ETH", "USD", "USDT"], "a balance of 0 is no exposure"
    btc = assets["BTC"]
    assert (btc.net_qty, btc.gross_qty, btc.net, btc.gross) == (D("1.5"), D("2.5"), 1500, 2500)
    assert (btc.rate, btc.age_ms, btc.via) == ("live", 2000, ("BTC/USDT USDT/USD",))
    assert (assets["ETH"].rate, assets["ETH"].age_ms, assets["ETH"].net) == ("old", 60_000, 30)
    assert (assets["USD"].rate, assets["USD"].age_ms, assets["USD"].via) == ("live", 0, ())
    assert (found.net, found.gross) == (1587, 2587)
    assert (found.complete, found.missing, found.old) == (True, (), ("ETH",))
    assert found.largest_asset == "BTC"
    assert found.asset_concentration == (D(2500) / D(2587))


def test_by_venue_and_account():
    found = exposure(world(), RATES, {}, NOW)
    venues = lines(found.venues)
    assert (venues["kraken"].net, venues["kraken"].gross) == (-463, 537)
    assert (venues["kraken"].rate, venues["kraken"].age_ms) == ("old", 60_000)
    assert (venues["okx"].net, venues["okx"].net_qty) == (2050, None)
    assert found.largest_venue == "okx"
    assert lines(found.accounts)["b"].net == 30
    only = exposure(world(), RATES, {}, NOW, account="b")
    assert (only.net, [line.name for line in only.venues]) == (30, ["kraken"])
    assert [line.name for line in only.holdings] == ["kraken b ETH"]


def test_an_asset_without_a_rate_is_named_and_never_counted_as_one():
    ledger = world()
    have(ledger, "bybit", "a", XYZ="1000", USDT="2")
    found = exposure(ledger, RATES, {}, NOW)
    xyz = lines(found.assets)["XYZ"]
    assert (xyz.net, xyz.gross, xyz.rate, xyz.age_ms, xyz.missing) == (
        None, None, "none", None, ("XYZ",),
    )  # fmt: skip
    assert xyz.net_qty == 1000
    assert (found.complete, found.missing, found.net) == (False, ("XYZ",), 1588)
    bybit = lines(found.venues)["bybit"]
    assert (bybit.net, bybit.rate, bybit.missing) == (1, "none", ("XYZ",))


def test_positions_against_each_other_are_gross_and_not_net():
    ledger = Ledger()
    trade(ledger, "buy", 3, 1, venue="okx", strategy="arb")
    trade(ledger, "sell", 1, 1, venue="kraken", strategy="arb")
    trade(ledger, "buy", 2, 1, symbol="ETH/BTC", strategy="arb")
    trade(ledger, "buy", 2, 1, symbol="ETH/BTC", account="b")
    trade(ledger, "buy", 2, 1, symbol="ETH/USDT")
    trade(ledger, "sell", 2, 1, symbol="ETH/USDT")  # flat: no line
    found = exposure(ledger, RATES, {"BTC/USDT": (D(3000), NOW - 5 * S)}, NOW)
    symbols = lines(found.symbols)
    assert list(symbols) == ["BTC/USDT", "ETH/BTC"]
    btc = symbols["BTC/USDT"]  # its own mark × the rate of its quote
    assert (btc.net_qty, btc.gross_qty, btc.net, btc.gross) == (2, 4, 3000, 6000)
    assert (btc.age_ms, btc.via) == (5000, ("BTC/USDT USDT/USD",))
    assert (symbols["ETH/BTC"].net, symbols["ETH/BTC"].via) == (40, ("ETH/USD",))  # no mark
    strategies = lines(found.strategies)
    assert (strategies["arb"].net, strategies["arb"].gross) == (2020, 4020)
    assert (strategies["arb"].net_qty, strategies[""].net_qty) == (None, 2)
    assert (found.unread, found.complete) == (("kraken a", "okx a", "okx b"), False)


def test_nothing_is_nothing():
    found = exposure(Ledger(), {}, {}, NOW)
    assert (found.net, found.gross, found.complete, found.asset_concentration) == (0, 0, True, None)


def test_json_has_decimals_as_text():
    shown = json.loads(json.dumps(to_json(exposure(world(), RATES, {}, NOW))))
    assert (shown["net"], shown["complete"], shown["old"]) == ("1587", True, ["ETH"])
    assert shown["assets"][0]["net_qty"] == "1.5"
    assert shown["assets"][0]["via"] == ["BTC/USDT USDT/USD"]


quantities = st.decimals("-99999", "99999", places=12)
places = st.tuples(st.sampled_from(["okx", "kraken"]), st.sampled_from(["a", "b"]))
holdings = st.dictionaries(
    places, st.dictionaries(st.sampled_from([*RATES, "XYZ"]), quantities, max_size=4), max_size=4
)


@given(holdings)
def test_every_way_of_adding_up_comes_to_the_same(held):
    ledger = Ledger()
    for (venue, account), amounts in held.items():
        have(ledger, venue, account, **amounts)
    found = exposure(ledger, RATES, {}, NOW)
    parts = [(a, x) for amounts in held.values() for a, x in amounts.items()]
    known = [Fraction(x) * Fraction(RATES[a].px) for a, x in parts if a in RATES]
    assert Fraction(found.net) == sum(known)
    assert Fraction(found.gross) == sum(map(abs, known))
    for every in (found.assets, found.venues, found.accounts, found.holdings):
        assert sum(Fraction(line.net or 0) for line in every) == sum(known)
        assert sum(Fraction(line.gross or 0) for line in every) == sum(map(abs, known))
    assert found.complete == (not any(a == "XYZ" and x for a, x in parts))


def test_a_rate_is_old_only_beyond_its_time():
    at_bound = exposure(world(), RATES, {}, NOW, max_age_ns=60 * S)
    assert (at_bound.old, lines(at_bound.assets)["ETH"].rate) == ((), "live")
    beyond = exposure(world(), RATES, {}, NOW + 1, max_age_ns=60 * S)
    assert (beyond.old, lines(beyond.assets)["ETH"].rate) == (("ETH",), "old")
