"""The day's profit: known from midnight, or from the first mark, or not at all."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from hean_router.domain.instrument import Side
from hean_router.domain.rates import Rate
from hean_router.domain.record import BalancesSet, Filled
from hean_router.portfolio import DayPnl

D = Decimal
DAY = 86_400_000_000_000
RATES = {"USDT": Rate(D("0.5"), 1, "USDT/USD"), "BNB": Rate(D(10), 1, "BNB/USD")}


def fill(at_ns, side, qty, px, fee="0", fee_asset="USDT", account="a", symbol="BTC/USDT"):
    return Filled(
        at_ns=at_ns, venue="okx", account=account, symbol=symbol, trade_id="", key="", parent="",
        strategy="", venue_order_id="", side=Side(side), px=D(px), qty=D(qty), fee=D(fee),
        fee_asset=fee_asset, maker=None, sent_ns=0,
    )  # fmt: skip


def mark(px, at_ns):
    return {"BTC/USDT": (D(px), at_ns)}


def test_a_day_of_trades_needs_a_mark_only_while_something_is_open():
    day = DayPnl()
    day.apply(fill(DAY + 1, "buy", 2, 100, "0.2"))
    found = day.read("a", RATES, DAY + 2)
    assert (found.pnl, found.why) == (None, "no mark for BTC/USDT")
    day.mark(mark(110, DAY + 2), DAY + 2)
    found = day.read("a", RATES, DAY + 3)
    assert (found.pnl, found.since_ns, found.at_ns) == (D("9.9"), DAY, 1)
    day.apply(fill(DAY + 3, "sell", 2, 105, "0.01", "BNB"))
    assert day.read("a", RATES, DAY + 4).pnl == D("4.8")
    assert day.read("a", {"USDT": RATES["USDT"]}, DAY + 4).why == "no rate for BNB"
    assert day.read("a", {}, DAY + 4).pnl is None


def test_what_is_held_over_midnight_counts_from_the_last_mark_before_it():
    day = DayPnl()
    day.apply(fill(DAY + 1, "buy", 2, 100))
    day.mark(mark(110, DAY + 5), DAY + 5)
    assert day.read("a", RATES, 2 * DAY).pnl == 0  # a new day
    day.mark(mark(120, 2 * DAY + 1), 2 * DAY + 1)
    found = day.read("a", RATES, 2 * DAY + 2)
    assert (found.pnl, found.since_ns) == (10, 2 * DAY)
    day.apply(fill(2 * DAY + 3, "sell", 2, 130, "0.01", "BNB"))
    assert day.read("a", RATES, 2 * DAY + 4).pnl == D("19.9")
    assert day.read("a", RATES, 3 * DAY).pnl == 0


def test_after_a_start_without_a_mark_it_counts_from_the_first():
    day = DayPnl()
    day.apply(fill(DAY + 1, "buy", 2, 100))  # from the journal, the day before
    day.apply(fill(2 * DAY + 10, "sell", 1, 130))  # and before the first mark of this one
    assert day.read("a", RATES, 2 * DAY + 20).why == "no mark for BTC/USDT"
    day.mark(mark(120, 2 * DAY + 30), 2 * DAY + 30)
    found = day.read("a", RATES, 2 * DAY + 40)
    # Two were held at 120; one went at 130, the other stands at 120.
    assert (found.pnl, found.since_ns) == (5, 2 * DAY + 30)


def test_an_account_is_there_with_0_once_it_tells_its_balances():
    day = DayPnl()
    assert day.all(RATES, DAY) == {}
    day.apply(BalancesSet(at_ns=DAY, venue="okx", account="b", balances={}, why="opening"))
    day.apply(fill(DAY, "buy", 1, 1))
    assert day.all(RATES, DAY + 1) == {"a": None, "b": 0}


def test_time_that_goes_back_stays_in_the_day():
    day = DayPnl()
    day.apply(fill(2 * DAY, "buy", 1, 100))
    day.apply(fill(DAY, "sell", 1, 101))
    assert day.read("a", RATES, DAY).pnl == D("0.5")


events = st.lists(
    st.tuples(
        st.integers(0, DAY), st.sampled_from(["buy", "sell", "mark"]),
        st.decimals("0.001", "99", places=8), st.decimals("0.01", "9999", places=8),
        st.decimals("-1", "1", places=10), st.sampled_from(["BTC", "USDT"]),
    ), max_size=15,
)  # fmt: skip


@given(events)
def test_the_days_add_up_to_the_change_of_wealth(found):
    """Three days, read at each one's end: their sum is what fills made of nothing."""
    day, now, total = DayPnl(), DAY, Fraction(0)
    base = quote = Fraction(0)
    px = D(100)
    day.mark(mark(px, now), now)
    rates = {"USDT": Rate(D(1), 1, "")}
    for wait, kind, qty, new_px, fee, asset in found:
        if (now + wait) // DAY > now // DAY:
            total += Fraction(day.read("a", rates, now).pnl)
        now += wait
        if kind == "mark":
            px = new_px
            day.mark(mark(px, now), now)
            continue
        day.apply(fill(now, kind, qty, new_px, fee, asset))
        sign = 1 if kind == "buy" else -1
        base += sign * Fraction(qty) - (Fraction(fee) if asset == "BTC" else 0)
        quote -= sign * Fraction(qty) * Fraction(new_px) + (Fraction(fee) if asset == "USDT" else 0)
    total += Fraction(day.read("a", rates, now).pnl)
    assert total == quote + base * Fraction(px)
