"""Plans by hand: what a person would check with a pencil, and what each venue is told."""

import json
from decimal import Decimal
from fractions import Fraction

import pytest

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Instrument, Pair, Trading, VenueId
from hean_router.domain.venue import Fees
from hean_router.route import (
    LeftOut,
    Limits,
    ParentOrder,
    Plan,
    VenueBook,
    known_venues,
    plan,
    read_books,
)

FREE = {
    "bids": [],
    "asks": [],
    "taker_fee": "0",
    "fee_in": "quote",
    "lot": "0.00001",
    "tick": "0.01",
    "min_qty": "0",
    "max_qty": None,
    "min_notional": "0",
    "balances": {"BTC": "1000", "USDT": "100000000"},
}


def routed(
    venues: dict[str, dict],
    side: str,
    qty: str,
    limit: str | None = None,
    limits: Limits | None = None,
    all_in: bool = False,
    symbol: str = "BTC/USDT",
) -> Plan:
    file = read_books(
        json.dumps({"symbol": symbol, "venues": {k: {**FREE, **v} for k, v in venues.items()}})
    )
    order = ParentOrder.parse(symbol, side, qty, limit, all_in=all_in)
    return plan(order, file.books, file.balances, file.fees, limits or Limits())


def got(result: Plan) -> dict[str, str]:
    return {child["venue"]: child["qty"] for child in result.to_json()["children"]}


A = {"asks": [["100.00", "0.96"], ["101.00", "1.0"]], "min_notional": "10"}
B = {"asks": [["100.10", "0.5"]], "min_notional": "10"}


@pytest.mark.parametrize(
    ("lot", "split", "notional"),
    [
        ("0.01", {"a": "0.9", "b": "0.1"}, "100.01"),  # ALGORITHMS 4.1, to the letter
        # The smallest lot that is worth 10 at 100.10 leaves 0.00009 more for A.
        ("0.00001", {"a": "0.90009", "b": "0.09991"}, "100.009991"),
    ],
)
def test_greedy_and_repair_is_not_the_best(lot, split, notional):
    result = routed({"a": {**A, "lot": lot}, "b": {**B, "lot": lot}}, "buy", "1")
    assert got(result) == split
    answer = result.to_json()
    assert answer["notional"] == notional
    assert answer["best_single"] == {"venue": "a", "allocated": "1", "all_in_cost": "100.04"}
    assert answer["saved_quote"] == str(Decimal("100.04") - Decimal(notional))
    assert result.certificate.proved
    assert "b takes no less" in answer["venues"]["a"]
    assert "its minimum" in answer["venues"]["b"]


def test_the_answer_has_exactly_its_fields():
    answer = routed({"a": {**A, "taker_fee": "0.001"}}, "buy", "0.5").to_json()
    assert list(answer) == [
        "symbol",
        "side",
        "requested",
        "allocated",
        "unallocated",
        "unallocated_reason",
        "children",
        "notional",
        "all_in_cost",
        "avg_all_in_px",
        "best_single",
        "saved_quote",
        "saved_bps",
        "venues",
    ]
    assert answer["children"] == [
        {
            "venue": "a",
            "qty": "0.5",
            "net_qty": "0.5",
            "limit_px": "100",
            "avg_px": "100",
            "notional": "50",
            "fee": "0.05",
            "fee_asset": "USDT",
        }
    ]
    assert (answer["all_in_cost"], answer["avg_all_in_px"]) == ("50.05", "100.1")
    assert (answer["saved_quote"], answer["saved_bps"]) == ("0", "0")
    assert answer["venues"] == {"a": "filled 0.5 of 0.5 at 100"}
    assert answer["unallocated_reason"] is None
    json.dumps(answer)


@pytest.mark.parametrize(
    ("side", "fee_in", "net_qty", "fee", "asset", "quote", "average"),
    [  # 1 at 100 and 1 %
        ("buy", "quote", "1", "1", "USDT", "101", Fraction(101)),
        ("buy", "base", "0.99", "0.01", "BTC", "100", Fraction(10000, 99)),
        ("buy", "received", "0.99", "0.01", "BTC", "100", Fraction(10000, 99)),
        ("sell", "quote", "1", "1", "USDT", "99", Fraction(99)),
        ("sell", "base", "1.01", "0.01", "BTC", "100", Fraction(10000, 101)),
        ("sell", "received", "1", "1", "USDT", "99", Fraction(99)),
    ],
)
def test_fees(side, fee_in, net_qty, fee, asset, quote, average):
    levels = {"asks" if side == "buy" else "bids": [["100", "2"]]}
    answer = routed({"a": {**levels, "taker_fee": "0.01", "fee_in": fee_in}}, side, "1").to_json()
    (child,) = answer["children"]
    assert (child["net_qty"], child["fee"], child["fee_asset"]) == (net_qty, fee, asset)
    assert answer["all_in_cost" if side == "buy" else "all_in_proceeds"] == quote
    assert abs(Fraction(answer["avg_all_in_px"]) - average) < Fraction(1, 10**20)


def test_a_rebate_is_a_negative_fee():
    (child,) = routed({"a": {**A, "taker_fee": "-0.001"}}, "buy", "0.5").to_json()["children"]
    assert child["fee"] == "-0.05"


def test_venues_compare_per_unit_received():
    """100.00 less 0.1 % of the coins is dearer than 100.09 without a fee, though it costs less."""
    dear = {"asks": [["100.00", "1"]], "taker_fee": "0.001", "fee_in": "received"}
    fair = {"asks": [["100.09", "1"]]}
    assert got(routed({"a": dear, "b": fair}, "buy", "1")) == {"b": "1"}
    fair = {"asks": [["100.11", "1"]]}  # 100 / 0.999 = 100.1001…
    assert got(routed({"a": dear, "b": fair}, "buy", "1")) == {"a": "1"}


@pytest.mark.parametrize(
    ("entry", "side", "qty", "told"),
    [
        ({"asks": []}, "buy", "1", "no asks"),
        ({"bids": []}, "sell", "1", "no bids"),
        ({"balances": {"BTC": "1"}}, "buy", "1", "no USDT balance"),
        ({"balances": {"USDT": "0"}}, "buy", "1", "no USDT balance"),
        ({"balances": {"USDT": "9"}}, "sell", "1", "no BTC balance"),
        (
            {"min_notional": "10"},
            "buy",
            "0.05",
            "the order is below its minimum notional 10",
        ),
        ({"min_qty": "0.5"}, "buy", "0.05", "the order is below its minimum quantity 0.5"),
        ({"lot": "0.1"}, "buy", "0.05", "the order is less than its lot 0.1"),
        (
            {"min_notional": "10", "balances": {"USDT": "9"}},
            "buy",
            "1",
            "what its balance of 9 USDT pays for is below its minimum notional 10",
        ),
        (
            {"min_notional": "500"},
            "buy",
            "9",
            "all its depth is below its minimum notional 500",
        ),
        (
            {"max_qty": "0.1", "min_notional": "20"},
            "buy",
            "1",
            "its maximum of 0.1 an order is below its minimum notional 20",
        ),
    ],
)
def test_what_a_venue_that_takes_no_part_is_told(entry, side, qty, told):
    market = {"asks": [["100", "2"]], "bids": [["99", "2"]]}
    result = routed({"a": {**market, **entry}}, side, qty)
    assert result.venues == {"a": told}
    assert (result.children, result.allocated, result.best_single) == ((), 0, None)
    assert result.unallocated == Decimal(qty)
    assert told in result.unallocated_reason
    answer = result.to_json()
    assert answer["best_single"] is answer["saved_quote"] is answer["avg_all_in_px"] is None


@pytest.mark.parametrize(
    ("entry", "allocated", "why"),
    [
        ({}, "2", "all its depth"),
        ({"max_qty": "0.7"}, "0.7", "its maximum of 0.7 an order"),
        ({"max_notional": "60.5"}, "0.605", "its maximum notional of 60.5 an order"),
        ({"max_notional": "110.1"}, "1.1", "its maximum notional"),  # 100 and 0.1 at 101
        (
            {"balances": {"USDT": "50.05"}, "taker_fee": "0.001"},  # the fee is paid from it too
            "0.5",
            "what its balance of 50.05 USDT pays for",
        ),
        (
            {"balances": {"USDT": "50.05"}, "taker_fee": "0.001", "fee_in": "base"},
            "0.5005",
            "50.05",
        ),
        ({"balances": {"USDT": "50"}, "taker_fee": "-0.001"}, "0.5", "50"),  # rebates come later
        ({"lot": "0.3", "max_qty": "1"}, "0.9", "its maximum of 1 an order"),
    ],
)
def test_what_bounds_a_venue(entry, allocated, why):
    result = routed({"a": {"asks": [["100", "1"], ["101", "1"]], **entry}}, "buy", "3")
    assert result.to_json()["allocated"] == allocated
    assert why in result.venues["a"]
    assert why in result.unallocated_reason


def test_a_sell_needs_base_and_its_fee_in_base():
    market = {"bids": [["100", "9"]], "taker_fee": "0.01", "balances": {"BTC": "2.02"}}
    assert got(routed({"a": {**market, "fee_in": "base"}}, "sell", "5")) == {"a": "2"}
    assert got(routed({"a": {**market, "fee_in": "quote"}}, "sell", "5")) == {"a": "2.02"}


def test_a_perpetual_needs_its_settlement_asset_both_ways_and_pays_its_fee_in_it():
    market = {
        "bids": [["100", "9"]],
        "taker_fee": "0.01",
        "fee_in": "received",
        "balances": {"USDT": "101"},
    }
    for side, book in (("sell", market), ("buy", {**market, "asks": [["100", "9"]], "bids": []})):
        result = routed({"a": book}, side, "5", symbol="BTC/USDT:USDT")
        (child,) = result.to_json()["children"]
        assert (child["qty"], child["fee"], child["fee_asset"]) == ("1", "1", "USDT")


@pytest.mark.parametrize(
    ("side", "limit", "all_in", "split"),
    [
        ("buy", "100", False, {"a": "1"}),
        ("buy", "99.99", False, {}),
        ("buy", "100.5", False, {"a": "1", "b": "1"}),
        ("buy", "100.5", True, {"b": "1"}),  # a's 100.00 is 101 after its fee
        ("buy", "101", True, {"a": "1", "b": "1"}),  # exactly
        ("buy", "100.999999", True, {"b": "1"}),
        ("sell", "99", False, {"a": "1"}),
        ("sell", "98.5", True, {"b": "1"}),  # a's 99.00 is 98.01
        ("sell", "98.01", True, {"a": "1", "b": "1"}),
    ],
)
def test_limits(side, limit, all_in, split):
    venues = {
        "a": {"asks": [["100", "1"], ["103", "5"]], "bids": [["99", "1"]], "taker_fee": "0.01"},
        "b": {"asks": [["100.50", "1"]], "bids": [["98.50", "1"]]},
    }
    result = routed(venues, side, "2", limit, all_in=all_in)
    assert got(result) == split
    if not split:
        assert "no depth within the limit 99.99: its best is 100" in result.unallocated_reason
    for child in result.children:
        if not all_in:
            assert child.limit_px <= Decimal(limit) if side == "buy" else child.limit_px >= 98


def test_included_excluded_and_left_out_venues_are_named():
    file = read_books(
        json.dumps({"symbol": "BTC/USDT", "venues": {k: {**FREE, **A} for k in "abc"}})
    )
    order = ParentOrder.parse("BTC/USDT", "buy", "1")
    books = [*file.books, LeftOut(VenueId("d"), "not live: stale, no news for 5 s")]
    chosen = Limits(venues=frozenset(map(VenueId, "abd")), exclude=frozenset({VenueId("a")}))
    result = plan(order, books, file.balances, file.fees, chosen)
    assert got(result) == {"b": "1"}
    assert result.venues["a"] == "excluded"
    assert result.venues["c"] == "not among the venues asked for"
    assert result.venues["d"] == "not live: stale, no news for 5 s"
    without = {venue: money for venue, money in file.balances.items() if venue != "b"}
    result = plan(order, books, without, file.fees)
    assert result.venues["b"] == "no account there: its balances are not known"


def test_ties_go_by_name_and_one_venue_goes_before_two():
    deep, shallow = {"asks": [["100", "1"]]}, {"asks": [["100", "0.4"]]}
    assert got(routed({"b": deep, "c": deep, "a": shallow}, "buy", "1")) == {"b": "1"}
    result = routed({"c": shallow, "b": shallow, "a": shallow}, "buy", "0.5")
    assert got(result) == {"a": "0.4", "b": "0.1"}
    assert result.venues["c"] == "its best 100 costs the same as the last level taken, 100 at a"


def test_reasons_name_the_level_and_the_rival():
    a = {"asks": [["100.00", "0.9"], ["101.00", "1"]]}
    b = {"asks": [["100.10", "5"]]}
    c = {"asks": [["102.00", "5"]]}
    result = routed({"a": a, "b": b, "c": c}, "buy", "1")
    assert result.venues == {
        "a": "filled 0.9 of 1 at 100; next level 101 is dearer than b at 100.1",
        "b": "filled 0.1 of 1 at 100.1; that completes the order",
        "c": "its best 102 is dearer than the last level taken, 100.1 at b",
    }


def test_reasons_name_prices_as_they_are_whatever_the_venues_scales():
    """Ticks and lots of all sizes: a price is the same price in everybody's words."""
    a = {"asks": [["100", "0.4"], ["101", "1"]], "tick": "1", "lot": "0.1"}
    b = {"asks": [["100.5", "0.25"], ["100.6", "0.25"], ["103", "1"]], "tick": "0.1", "lot": "0.01"}
    c = {"asks": [["102.0001", "5"]], "tick": "0.0001"}
    result = routed({"a": a, "b": b, "c": c}, "buy", "0.8")
    assert result.venues == {
        "a": "filled 0.4 of 0.8 at 100; next level 101 is dearer than b at 100.6",
        "b": "filled 0.4 of 0.8 at 100.5 to 100.6; that completes the order",
        "c": "its best 102.0001 is dearer than the last level taken, 100.6 at b",
    }


def test_the_remainder_below_every_lot_stays():
    result = routed({"a": {"asks": [["100", "5"]], "lot": "0.01"}}, "buy", "1.005")
    assert result.to_json()["unallocated"] == "0.005"
    assert result.unallocated_reason == "the rest is below the finest lot 0.01"
    tiny = routed({"a": {"asks": [["100", "5"]], "lot": "1"}}, "buy", "0.000000000000000001")
    assert tiny.allocated == 0
    assert tiny.venues["a"] == "the order is less than its lot 1"


def test_a_coarse_lot_leaves_its_rest_to_a_fine_one():
    coarse, fine = {"asks": [["100", "9"]], "lot": "0.3"}, {"asks": [["105", "9"]], "lot": "0.001"}
    assert got(routed({"a": coarse, "b": fine}, "buy", "1")) == {"a": "0.9", "b": "0.1"}
    # … and goes back a lot where the fine one has a minimum
    least = {**fine, "min_qty": "0.2"}
    assert got(routed({"a": coarse, "b": least}, "buy", "1")) == {"a": "0.6", "b": "0.4"}


def test_savings_are_told_only_where_they_compare():
    """A venue that could take half the order is no measure for the whole of it."""
    a, b = {"asks": [["100", "1"]]}, {"asks": [["120", "1"]]}
    answer = routed({"a": a, "b": b}, "buy", "2").to_json()
    assert answer["best_single"] == {"venue": "a", "allocated": "1", "all_in_cost": "100"}
    assert answer["saved_quote"] is None
    assert answer["saved_bps"] is None
    answer = routed(
        {"a": {"bids": [["99", "1"], ["98", "1"]]}, "b": {"bids": [["98.5", "1"]]}}, "sell", "2"
    ).to_json()
    assert answer["best_single"]["all_in_proceeds"] == "197"
    assert answer["saved_quote"] == "0.5"
    assert Decimal(answer["saved_bps"]).quantize(Decimal("0.01")) == Decimal("25.38")


def test_a_halted_instrument_gets_nothing():
    of = Instrument(
        venue=VenueId("a"),
        pair=Pair("BTC", "USDT"),
        symbol="X",
        px_decimals=0,
        qty_decimals=0,
        trading=Trading.HALTED,
    )
    other = Instrument(
        venue=VenueId("k"), pair=Pair("BTC", "USD"), symbol="Y", px_decimals=0, qty_decimals=0
    )
    tier = Fees(taker=Decimal(0), maker=Decimal(0))
    result = plan(
        ParentOrder.parse("BTC/USDT", "buy", "1"),
        [VenueBook(of, asks=[(100, 5)]), VenueBook(other, asks=[(1, 5)])],
        None,
        {VenueId("a"): tier, VenueId("k"): tier},
    )
    assert result.venues == {"a": "not trading: halted", "k": "BTC/USD: no conversion"}


def test_a_price_band_bounds_what_may_be_taken():
    of = Instrument(
        venue=VenueId("a"),
        pair=Pair("BTC", "USDT"),
        symbol="X",
        px_decimals=0,
        qty_decimals=0,
        px_min=99,
        px_max=101,
    )
    book = VenueBook(of, asks=[(100, 1), (101, 1), (102, 1)], bids=[(99, 1), (98, 1)])
    tier = {VenueId("a"): Fees(taker=Decimal(0), maker=Decimal(0))}
    buy = plan(ParentOrder.parse("BTC/USDT", "buy", "3"), [book], None, tier)
    sell = plan(ParentOrder.parse("BTC/USDT", "sell", "3"), [book], None, tier)
    assert (buy.allocated, sell.allocated) == (2, 1)


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("BTC/USDT", "buy", "0"), "zero"),
        (("BTC/USDT", "buy", "-1"), "negative"),
        (("BTC/USDT", "buy", "1e30"), "plain decimal"),
        (("BTC/USDT", "buy", "1" + "0" * 30), "absurd"),
        (("BTC/USDT", "buy", "0." + "0" * 18 + "1"), "absurd"),
        (("BTC/USDT", "buy", "NaN"), "plain decimal"),
        (("BTC/USDT", "buy", ""), "plain decimal"),
        (("BTC/USDT", "buy", "1."), "plain decimal"),
        (("BTC/USDT", "buy", "１"), "plain decimal"),  # a digit, but not ours
        (("BTC/USDT", "hold", "1"), "neither buy nor sell"),
        (("BTCUSDT", "buy", "1"), "BASE/QUOTE"),
        (("BTC/USDT", "buy", "1", "0"), "zero"),
        (("BTC/USDT", "buy", "1", "x"), "limit"),
    ],
)
def test_an_order_that_is_none(args, word):
    with pytest.raises(CommandError, match=word) as error:
        ParentOrder.parse(*args)
    assert error.value.fix


def test_callers_mistakes():
    file = read_books(json.dumps({"symbol": "BTC/USDT", "venues": {"okx": {**FREE, **A}}}))
    order = ParentOrder.parse("BTC/USDT", "buy", "1")
    with pytest.raises(CommandError, match="twice"):
        plan(order, [*file.books, *file.books], file.balances, file.fees)
    with pytest.raises(CommandError, match="fee of okx"):
        plan(order, file.books, file.balances, {})
    with pytest.raises(CommandError, match="share"):
        plan(order, file.books, file.balances, file.fees, Limits(max_share=Decimal(2)))
    with pytest.raises(CommandError, match="not positive"):
        plan(
            ParentOrder(pair=order.pair, side=order.side, qty=Decimal(0)),
            file.books,
            None,
            file.fees,
        )
    with pytest.raises(CommandError) as error:
        known_venues(["okxx"], file.books)
    assert "okx" in error.value.fix
    assert known_venues(["okx"], file.books) == {"okx"}


def test_no_venues_at_all():
    result = plan(ParentOrder.parse("BTC/USDT", "buy", "1"), [], None, {})
    assert (result.allocated, result.unallocated_reason) == (0, "there are no venues")
