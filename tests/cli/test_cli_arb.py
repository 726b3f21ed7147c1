"""`hean arb scan` over simulated venues, and all that is no scan."""

from decimal import Decimal

import pytest


def test_every_two_venues_are_compared_without_keys(hean, town):
    told = hean("arb", "scan", "BTC/USDT", "--venues-from", town, "--json")
    assert told.code == 0, told
    answer = told.json()
    pairs = {(one["buy_venue"], one["sell_venue"]) for one in answer["opportunities"]}
    names = ("binance", "bybit", "kraken", "okx")
    seen = {name for pair in pairs for name in pair}
    left_out = set(answer["left_out"].get("BTC/USDT", {}))
    assert seen | left_out == set(names)
    assert len(pairs) == len(seen) * (len(seen) - 1) > 0
    nets = [Decimal(one["net_bps"]) for one in answer["opportunities"]]
    assert nets == sorted(nets, reverse=True)
    for one in answer["opportunities"]:
        assert one["symbol"] == "BTC/USDT"
        assert not one["taken"]
        assert one["why_not"]
        assert 0 <= one["buy_age_ms"] < 60_000
        # The lowest tiers take far more than simulated venues are apart.
        assert Decimal(one["net_bps"]) < Decimal(one["gross_bps"])


def test_a_looser_guard_and_no_hurdle_change_the_reason_only(hean, town):
    told = hean(
        "arb", "scan", "BTC/USDT", "--venues-from", town, "--param", "rebalance_bps=0",
        "--param", "z=0", "--param", "max_age_ms=600000", "--json",
    )  # fmt: skip
    answer = told.json()
    assert answer["params"]["rebalance_bps"] == "0"
    assert answer["params"]["max_age_ms"] == "600000"
    codes = {one["code"] for one in answer["opportunities"]}
    assert codes <= {"not_crossed", "fees", "venue"}, "nothing is sent without keys"


def test_people_get_a_table(hean, town):
    told = hean("arb", "scan", "--venues-from", town)
    assert told.code == 0, told
    for word in ("buy at", "net bps", "capacity", "why not", "kraken"):
        assert word in told.out


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--param", "z"), "name=value"),
        (("--param", "zz=1"), "no parameter"),
        (("--param", "z=-1"), "z"),
        (("BTC/USDT:USDT",), "spot"),
        (("BTC-USDT",), "BASE/QUOTE"),
    ],
)
def test_what_is_no_scan_is_one_error_with_its_fix(hean, town, args, word):
    told = hean("arb", "scan", *args, "--venues-from", town)
    assert told.code == 2, told
    assert word in told.err
    assert "fix: " in told.err
