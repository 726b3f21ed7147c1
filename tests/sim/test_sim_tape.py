"""The tape against a list of all trades."""

from hypothesis import given
from hypothesis import strategies as st

from hean_router.sim.exchange import Side, Step, Trade
from hean_router.sim.tape import Span, Tape

HOUR_NS = 3_600_000_000_000
TRADES = st.lists(
    st.tuples(st.integers(0, 12 * HOUR_NS), st.integers(1, 99), st.integers(1, 9)), max_size=60
)


@given(TRADES, st.integers(0, 60 * HOUR_NS), st.integers(1, 24))
def test_span_is_the_sum_of_its_hours(waits, later_ns, hours):
    tape, said, now_ns = Tape(["A/B"]), [], 1_000 * HOUR_NS
    for wait_ns, px, qty in waits:
        now_ns += wait_ns
        trade = Trade(len(said), px, qty, Side.BUY, None, None)
        tape.record(Step("A/B", now_ns, None, trades=(trade,)))
        said.append((now_ns, px, qty))
    now_ns += later_ns
    since = now_ns // HOUR_NS - hours
    kept = [(px, qty, at // HOUR_NS) for at, px, qty in said if at // HOUR_NS > since]
    span = tape.span("A/B", now_ns, hours)
    if not kept:
        assert span is None
        return
    pxs = [px for px, _, _ in kept]
    assert span == Span(
        hour=kept[0][2],
        open=pxs[0],
        high=max(pxs),
        low=min(pxs),
        close=pxs[-1],
        qty=sum(qty for _, qty, _ in kept),
        value=sum(px * qty for px, qty, _ in kept),
        count=len(kept),
    )


def test_only_the_last_trades_are_kept():
    tape = Tape(["A/B"])
    for number in range(Tape.KEPT + 7):
        trade = Trade(number, 1, 1, Side.SELL, None, None)
        tape.record(Step("A/B", number, None, trades=(trade,)))
    assert [trade.id for _, trade in tape.last("A/B", 3)] == [1004, 1005, 1006]
    assert len(tape.last("A/B", 10_000)) == Tape.KEPT
    assert tape.last("A/B", 0) == []
