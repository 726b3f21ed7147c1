"""Balances and positions: tables by hand, and a ledger of fractions that cannot be wrong."""

from collections import defaultdict
from decimal import Decimal, Inexact
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.instrument import Pair, Side
from hean_router.domain.record import BalanceBreak, BalancesSet, Filled, Incident, decode, encode
from hean_router.portfolio import Ledger, View, worth
from hean_router.portfolio.positions import Position, effect_of

D = Decimal


def fill(side, qty, px, fee="0", fee_asset="USDT", at_ns=1, **fields):
    fields = {
        "venue": "okx", "account": "main", "symbol": "BTC/USDT", "trade_id": f"t{at_ns}",
        "key": "h1", "parent": "p1", "strategy": "", "venue_order_id": "7", "maker": False,
        "sent_ns": 0, **fields,
    }  # fmt: skip
    return Filled(
        at_ns=at_ns, side=Side(side), qty=D(qty), px=D(px), fee=D(fee), fee_asset=fee_asset,
        **fields,
    )  # fmt: skip


def balances(venue="okx", account="main", at_ns=1, **amounts):
    amounts = {asset: D(amount) for asset, amount in amounts.items()}
    return BalancesSet(at_ns=at_ns, venue=venue, account=account, balances=amounts, why="opening")


def ledger_of(*rows):
    ledger = Ledger()
    for row in rows:
        ledger.apply(row)
    return ledger


# ------------------------------------------------------------------ average cost

POSITIONS = [
    # fills, quantity, cost, realised, fees in quote
    ([("buy", 1, 100)], 1, 100, 0, 0),
    ([("buy", 1, 100), ("buy", 3, 120)], 4, 460, 0, 0),  # the average moves
    ([("buy", 4, 115), ("sell", 1, 120)], 3, 345, 5, 0),  # closing keeps the average
    ([("buy", 1, 100), ("sell", 1, 90)], 0, 0, -10, 0),  # flat costs nothing
    ([("sell", 2, 100), ("buy", 1, 90)], -1, -100, 10, 0),  # short, half of it bought back
    ([("buy", 1, 100), ("sell", 3, 110)], -2, -220, 10, 0),  # through zero: the rest opens anew
    ([("sell", 1, 100), ("buy", 3, 90)], 2, 180, 10, 0),  # and the other way
    ([("buy", 1, 100, "0.1")], 1, 100, 0, "0.1"),  # a quote fee stays apart
    # A base fee is never bought: it costs what the trade's price says, and is a fee.
    ([("buy", 1, 100, "0.001", "BTC")], "0.999", "99.9", 0, "0.1"),
    ([("sell", 1, 100, "0.001", "BTC")], "-1.001", "-100.1", 0, "0.1"),
    ([("buy", 1, 100, "-0.001", "BTC")], "1.001", "100.1", 0, "-0.1"),  # a rebate in base
    ([("buy", 1, 100, "0.01", "BNB")], 1, 100, 0, 0),  # a third asset is no money of this pair
    ([("buy", 3, 100), ("sell", 1, 100), ("sell", 1, 100), ("sell", 1, 100)], 0, 0, 0, 0),
]


@pytest.mark.parametrize(("fills", "qty", "cost", "realised", "fees"), POSITIONS)
def test_average_cost(fills, qty, cost, realised, fees):
    [line] = ledger_of(*(fill(*one) for one in fills)).positions()
    assert (line.qty, line.cost, line.realised, line.fees_quote) == (
        D(qty), D(cost), D(realised), D(fees),
    )  # fmt: skip
    assert line.avg_px == (D(cost) / D(qty) if line.qty else None)


def test_a_third_of_a_cost_is_rounded_and_nothing_is_lost():
    position = Position()
    for one in [fill("buy", 3, "33.33"), fill("buy", 4, "0.01"), fill("sell", 1, 0)]:
        position.fill(one, effect_of(one))
    assert position.realised == -(D("100.03") / 7).quantize(D("1E-24"))
    assert position.realised.as_tuple().exponent == -24
    assert position.cost - position.realised == D("100.03")


@pytest.mark.parametrize("sold", ["1E-18", "2E-18"])
def test_who_is_flat_has_no_cost_left_however_fine_it_was(sold):
    position = Position()
    for one in [fill("buy", "1E-18", "7E-18"), fill("sell", sold, "8E-18")]:
        position.fill(one, effect_of(one))
    assert position.realised == D("1E-36")
    assert position.cost == position.qty * D("8E-18")


def test_open_profit_needs_a_mark_unless_flat():
    marks = {"BTC/USDT": (D(110), 5)}
    ledger = ledger_of(fill("buy", 2, 100, "0.3"))
    [line] = ledger.pnl(marks)
    assert (line.unrealised, line.total, line.mark_at_ns) == (D(20), D("19.7"), 5)
    [line] = ledger.pnl({})
    assert (line.unrealised, line.total) == (None, None)
    ledger.apply(fill("sell", 2, 101))
    [line] = ledger.pnl({})
    assert (line.unrealised, line.total) == (0, D("1.7"))


def test_an_arbitrage_is_open_by_venue_and_realised_by_strategy():
    ledger = ledger_of(
        fill("buy", 1, 100, venue="okx", strategy="arb"),
        fill("sell", 1, 103, venue="kraken", strategy="arb"),
        fill("buy", 5, 90, venue="okx", strategy=""),
    )
    assert [(p.venue, p.strategy, p.qty, p.realised) for p in ledger.positions()] == [
        ("kraken", "arb", -1, 0), ("okx", "", 5, 0), ("okx", "arb", 1, 0),
    ]  # fmt: skip
    [arb] = ledger.positions(View.STRATEGY, strategy="arb")
    assert (arb.qty, arb.realised) == (0, 3)
    [whole] = ledger.positions(View.SYMBOL)
    assert whole.qty == 5 == ledger.position("main", "BTC/USDT")
    assert ledger.position("other", "BTC/USDT") == 0


def test_accounts_do_not_net():
    ledger = ledger_of(fill("buy", 1, 100), fill("sell", 1, 103, account="other"))
    assert [(p.account, p.qty) for p in ledger.positions(View.SYMBOL)] == [
        ("main", 1), ("other", -1),
    ]  # fmt: skip
    assert len(ledger.positions(View.SYMBOL, account="other")) == 1


# ------------------------------------------------------------------ balances


def test_a_balance_is_unknown_until_it_is_set_and_fills_count_all_the_same():
    ledger = ledger_of(fill("buy", 1, 100))
    assert ledger.balance("okx", "main", "BTC") is None
    assert ledger.flows()["okx", "main"] == {"BTC": 1, "USDT": -100}
    ledger.apply(balances(BTC="3", USDT="50", at_ns=9))
    assert ledger.balance("okx", "main", "BTC") == 3  # the fill was in it
    assert ledger.balance("okx", "main", "ETH") == 0
    assert ledger.balances_set_ns("okx", "main") == 9
    ledger.apply(fill("sell", "0.5", 100, "0.01", "BNB"))
    assert ledger.balances()["okx", "main"] == {"BTC": D("2.5"), "USDT": 100, "BNB": D("-0.01")}
    assert ledger.balance("okx", "other", "BTC") is None


def test_balances_set_replaces_all_of_the_account_and_answers_its_breaks():
    broken = BalanceBreak(at_ns=2, venue="okx", account="main", asset="BTC", ours=D(1), theirs=D(2))
    other = BalanceBreak(at_ns=2, venue="okx", account="b", asset="BTC", ours=D(1), theirs=D(2))
    ledger = ledger_of(balances(BTC="1", ETH="5"), broken, other)
    assert ledger.breaks() == [other, broken]
    ledger.apply(balances(BTC="2"))
    assert (ledger.balance("okx", "main", "ETH"), ledger.breaks()) == (0, [other])


def test_rows_that_move_no_money_change_nothing():
    ledger = ledger_of(balances(BTC="1"), fill("buy", 1, 100))
    before = ledger.state_hash()
    ledger.apply(Incident(at_ns=1, what="orphan_fill", text=""))
    assert ledger.state_hash() == before


def test_digits_beyond_all_measure_are_an_error_and_never_lost():
    ledger = ledger_of(balances(BTC="1E+300"))
    with pytest.raises(Inexact):
        ledger.apply(fill("buy", "1E-300", "1"))


def test_a_perpetual_is_not_booked_as_spot():
    with pytest.raises(AssertionError, match="no spot pair"):
        ledger_of(fill("buy", 1, 100, symbol="BTC/USDT:USDT"))


# ------------------------------------------------------------------ against fractions

# Fine and coarse together: sums that the default context would round at 28 digits.
amounts = st.builds(
    lambda digits, places: D(digits).scaleb(-places), st.integers(1, 10**12), st.integers(0, 18)
)
fees = st.builds(lambda fee, sign: fee * sign, amounts, st.sampled_from([0, 0, 1, 1, -1]))
fills = st.builds(
    fill, st.sampled_from(["buy", "sell"]), amounts, amounts, fees,
    st.sampled_from(["BTC", "USDT", "BNB", "ETH"]), st.integers(1, 100),
    venue=st.sampled_from(["okx", "kraken"]), account=st.sampled_from(["a", "b"]),
    strategy=st.sampled_from(["", "arb"]), symbol=st.sampled_from(["BTC/USDT", "ETH/BTC"]),
)  # fmt: skip


class Naive:
    """Wealth as a dictionary of fractions."""

    def __init__(self):
        self.flows = defaultdict(Fraction)

    def take(self, row):
        pair, sign = Pair.parse(row.symbol), 1 if row.side is Side.BUY else -1
        value = Fraction(row.qty) * Fraction(row.px)
        self.flows[pair.base] += sign * Fraction(row.qty)
        self.flows[pair.quote] -= sign * value
        self.flows[row.fee_asset] -= Fraction(row.fee)


@given(st.lists(fills, max_size=30), amounts)
def test_profit_is_the_change_of_wealth_to_the_last_unit(rows, mark):
    ledger = ledger_of(*rows)
    for view in View:
        for line in ledger.positions(view):
            naive = Naive()
            for row in rows:
                own = (row.account, row.venue, row.symbol, row.strategy)
                where = (line.account, line.venue, line.symbol, line.strategy)
                wanted = {View.VENUE: own, View.STRATEGY: (own[0], "", *own[2:])}.get(
                    view, (own[0], "", own[2], "")
                )
                if wanted == where:
                    naive.take(row)
            pair = line.pair
            change = naive.flows[pair.quote] + naive.flows[pair.base] * Fraction(mark)
            assert Fraction(line.pnl(mark)) == change
            assert Fraction(line.qty) == naive.flows[pair.base]
            assert {a: -f for a, f in line.fees_third.items() if f} == {
                asset: flow for asset, flow in naive.flows.items()
                if flow and asset not in {pair.base, pair.quote}
            }  # fmt: skip


@given(st.lists(fills, max_size=30))
def test_balances_are_the_opening_and_every_flow(rows):
    opening = {"BTC": "10", "USDT": "1000.5"}
    ledger = ledger_of(
        *(balances(venue, account, **opening) for venue in ("okx", "kraken") for account in "ab"),
        *rows,
    )
    for (venue, account), held in ledger.balances().items():
        naive = Naive()
        for asset, amount in opening.items():
            naive.flows[asset] += Fraction(amount)
        for row in rows:
            if (row.venue, row.account) == (venue, account):
                naive.take(row)
        assert {a: Fraction(x) for a, x in held.items() if x} == {
            asset: flow for asset, flow in naive.flows.items() if flow
        }
        flows = ledger.flows().get((venue, account), {})
        for asset, flow in flows.items():  # as fractions: a plain difference would round
            assert Fraction(held[asset]) - Fraction(opening.get(asset, 0)) == Fraction(flow)


@given(st.lists(fills, max_size=20))
def test_the_journal_read_again_gives_the_same_state(rows):
    rows = [balances("okx", "a", BTC="1"), *rows]
    again = ledger_of(*(decode(encode(row)) for row in rows))
    assert again.state_hash() == ledger_of(*rows).state_hash()
    if len(rows) > 1:
        assert again.state_hash() != ledger_of(*rows[:-1]).state_hash()


def test_profit_in_one_currency_names_what_it_lacks():
    from hean_router.domain.rates import Rate

    ledger = ledger_of(
        fill("buy", 1, 100, "0.01", "BNB"), fill("sell", 1, 103), fill("buy", 1, 9, symbol="X/BTC")
    )
    rates = {"USDT": Rate(D("0.5"), 7, ""), "BNB": Rate(D(10), 6, "")}
    found = worth(ledger.pnl({"BTC/USDT": (D(1), 1)}), rates)
    assert (found.value, found.missing, found.at_ns) == (D("1.4"), ("X/BTC",), 6)
    assert found.whole is None
    found = worth(ledger.pnl({"X/BTC": (D(10), 3)}), rates)
    assert (found.value, found.missing, found.at_ns) == (D("1.4"), ("BTC",), 3)
