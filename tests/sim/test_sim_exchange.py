"""The matching engine against a model too simple to be wrong, and its rules as tables."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.sim.exchange import (
    Exchange,
    Kind,
    Listing,
    OrderState,
    Reason,
    Side,
    Status,
    Tif,
    text,
)

BUY, SELL = Side.BUY, Side.SELL


def listing(**changes):
    facts = {
        "base": "BTC",
        "quote": "USDT",
        "tick": Decimal("0.5"),
        "lot": Decimal("0.001"),
        "min_qty": Decimal("0.001"),
        "max_qty": Decimal(1),
    }
    return Listing(**{**facts, **changes})


def make(**changes):
    one = listing(**changes)
    return Exchange("test", [one]), one.symbol


class Naive:
    """Orders in one list; the best is found by looking at all of them."""

    def __init__(self):
        self.orders = []  # [id, side, px, leaves]
        self.trades = []  # (maker id, taker id, px, qty)

    def _next(self, side, limit):
        there = [o for o in self.orders if o[1] is not side]
        if limit is not None:
            there = [o for o in there if (o[2] <= limit if side is BUY else o[2] >= limit)]
        return min(there, key=lambda o: (o[2] if side is BUY else -o[2], o[0]), default=None)

    def place(self, id_, side, qty, px, tif, post_only):
        if post_only and self._next(side, px):
            return
        if tif is Tif.FOK:
            there = [o for o in self.orders if o[1] is not side]
            if px is not None:
                there = [o for o in there if (o[2] <= px if side is BUY else o[2] >= px)]
            if sum(o[3] for o in there) < qty:
                return
        while qty and (maker := self._next(side, px)):
            took = min(qty, maker[3])
            self.trades.append((maker[0], id_, maker[2], took))
            qty -= took
            maker[3] -= took
            if not maker[3]:
                self.orders.remove(maker)
        if qty and px is not None and tif is Tif.GTC:
            self.orders.append([id_, side, px, qty])

    def shrink(self, id_, qty):
        for order in self.orders:
            if order[0] == id_:
                order[3] -= qty
        self.orders = [o for o in self.orders if o[3]]

    def book(self, side):
        sums = {}
        for _, where, px, leaves in self.orders:
            if where is side:
                qty, count = sums.get(px, (0, 0))
                sums[px] = (qty + leaves, count + 1)
        return [(px, *sums[px]) for px in sorted(sums, reverse=side is BUY)]


actions = st.one_of(
    st.tuples(
        st.just("place"),
        st.sampled_from(Side),
        st.integers(1, 30),
        st.one_of(st.none(), st.integers(95, 105)),
        st.sampled_from(Tif),
        st.booleans(),
    ),
    st.tuples(st.just("cancel"), st.integers(1, 40)),
    st.tuples(st.just("reduce"), st.integers(1, 40), st.integers(1, 10)),
)


@given(st.lists(actions, max_size=60))
@settings(max_examples=300, deadline=None)
def test_engine_agrees_with_a_list(history):
    exchange, symbol = make()
    naive, trades, copy, last_id = Naive(), [], {BUY: {}, SELL: {}}, 0
    for now_ns, action in enumerate(history):
        match action:
            case ("place", side, qty, px, tif, post_only):
                step = exchange.place(
                    symbol, side, qty, px, now_ns=now_ns, tif=tif, post_only=post_only
                )
                naive.place(step.order.id, side, qty, px, tif, post_only)
            case ("cancel", order_id):
                order = exchange.order(order_id)
                leaves = order.leaves if order else 0
                step = exchange.cancel(order_id, now_ns=now_ns)
                naive.shrink(order_id, leaves)
            case ("reduce", order_id, qty):
                order = exchange.order(order_id)
                if order is None or order.leaves <= qty:
                    continue
                step = exchange.reduce(order_id, qty, now_ns=now_ns)
                naive.shrink(order_id, qty)
        if step is None:
            continue
        trades += [(t.maker.id, t.taker.id, t.px, t.qty) for t in step.trades]
        for level in step.levels:
            assert level.update_id == last_id + 1, "ids are contiguous"
            last_id = level.update_id
            copy[level.side][level.px] = (level.qty, level.orders)
            if not level.qty:
                del copy[level.side][level.px]
        exchange.check()
        for side, levels in zip(Side, exchange.book(symbol), strict=True):
            assert [tuple(level) for level in levels] == naive.book(side)
            assert {px: (qty, n) for px, qty, n in levels} == copy[side]
    assert trades == naive.trades
    assert exchange.update_id(symbol) == last_id


@given(st.lists(actions, max_size=60))
@settings(deadline=None)
def test_no_quantity_appears_from_nothing(history):
    """Per order: what it was for = what traded + what is left; both sides of a trade agree."""
    exchange, symbol = make()
    orders, traded = {}, {}
    for now_ns, action in enumerate(history):
        if action[0] != "place":
            exchange.cancel(action[1], now_ns=now_ns)
            continue
        _, side, qty, px, tif, post_only = action
        step = exchange.place(symbol, side, qty, px, now_ns=now_ns, tif=tif, post_only=post_only)
        orders[step.order.id] = step.order
        for trade in step.trades:
            assert trade.maker.side is trade.taker.side.other
            for order in (trade.maker, trade.taker):
                traded[order.id] = traded.get(order.id, 0) + trade.qty
                assert order.px is None or (
                    trade.px <= order.px if order.side is BUY else trade.px >= order.px
                ), "nobody trades beyond the limit"
    for order in orders.values():
        assert order.qty == traded.get(order.id, 0) + order.leaves
        assert (order.state is OrderState.FILLED) == (order.leaves == 0)
    bought = sum(qty for id_, qty in traded.items() if orders[id_].side is BUY)
    assert bought == sum(qty for id_, qty in traded.items() if orders[id_].side is SELL)


@pytest.mark.parametrize(
    ("side", "px", "qty", "fills"),
    [  # asks: 101 (A 5, then B 5), 102 (C 5); bids: 100 (D 5, then E 5)
        (BUY, 101, 3, [("A", 101, 3)]),  # the older first
        (BUY, 101, 7, [("A", 101, 5), ("B", 101, 2)]),  # then the younger
        (BUY, 105, 12, [("A", 101, 5), ("B", 101, 5), ("C", 102, 2)]),  # at the makers' prices
        (BUY, 101, 12, [("A", 101, 5), ("B", 101, 5)]),  # never beyond its limit
        (BUY, None, 20, [("A", 101, 5), ("B", 101, 5), ("C", 102, 5)]),  # market: until dry
        (SELL, 100, 6, [("D", 100, 5), ("E", 100, 1)]),
        (SELL, 101, 6, []),  # does not reach
    ],
)
def test_price_then_time(side, px, qty, fills):
    exchange, symbol = make()
    for name, where, at in [
        ("A", SELL, 101),
        ("C", SELL, 102),
        ("B", SELL, 101),
        ("D", BUY, 100),
        ("E", BUY, 100),
    ]:
        exchange.place(symbol, where, 5, at, now_ns=0, owner=name)
    step = exchange.place(symbol, side, qty, px, now_ns=1, owner="me")
    assert [(t.maker.owner, t.px, t.qty) for t in step.trades] == fills


@pytest.mark.parametrize(
    ("terms", "state", "reason"),
    [  # the best ask is 101 for 5 lots; the listing: 2 to 100 lots, notional at least 0.3
        ({"px": 100}, OrderState.OPEN, None),
        ({"px": 101, "post_only": True}, OrderState.REJECTED, Reason.POST_ONLY),
        ({"px": 100, "post_only": True}, OrderState.OPEN, None),
        ({"px": 101, "qty": 6, "tif": Tif.FOK}, OrderState.EXPIRED, Reason.FOK),
        ({"px": 101, "qty": 5, "tif": Tif.FOK}, OrderState.FILLED, None),
        ({"px": 101, "qty": 6, "tif": Tif.IOC}, OrderState.EXPIRED, Reason.NO_LIQUIDITY),
        ({"px": None, "qty": 9}, OrderState.EXPIRED, Reason.NO_LIQUIDITY),
        ({"px": 100, "qty": 1}, OrderState.REJECTED, Reason.QTY_MIN),
        ({"px": 100, "qty": 0}, OrderState.REJECTED, Reason.QTY_MIN),
        ({"px": 100, "qty": 101}, OrderState.REJECTED, Reason.QTY_MAX),
        ({"px": 0}, OrderState.REJECTED, Reason.PX),
        ({"px": 99}, OrderState.REJECTED, Reason.NOTIONAL_MIN),  # 49.5 x 0.006 = 0.297
        ({"px": None, "qty": 5}, OrderState.REJECTED, Reason.NOTIONAL_MIN),  # at the best price
    ],
)
def test_terms(terms, state, reason):
    exchange, symbol = make(
        min_qty=Decimal("0.002"), max_qty=Decimal("0.1"), min_notional=Decimal("0.298")
    )
    exchange.place(symbol, SELL, 100, 101, now_ns=0)
    exchange.reduce(1, 95, now_ns=0)
    if terms == {"px": 101, "qty": 5, "tif": Tif.FOK}:
        # 50.5 x 0.005 = 0.2525 is below the minimum: this row asks for a listing without one.
        exchange, symbol = make()
        exchange.place(symbol, SELL, 5, 101, now_ns=0)
    step = exchange.place(symbol, BUY, now_ns=1, **{"qty": 6, **terms})
    assert (step.order.state, step.order.reason) == (state, reason)
    assert bool(step.levels) == (state is not OrderState.REJECTED and reason is not Reason.FOK)


@pytest.mark.parametrize(
    ("status", "rests", "takes", "cancels"),
    [
        (Status.TRADING, True, True, True),
        (Status.POST_ONLY, True, False, True),
        (Status.CANCEL_ONLY, False, False, True),
        (Status.HALT, False, False, False),
    ],
)
def test_status(status, rests, takes, cancels):
    exchange, symbol = make()
    exchange.place(symbol, SELL, 5, 101, now_ns=0)
    assert exchange.set_status(symbol, status, now_ns=1).status is status
    resting = exchange.place(symbol, BUY, 5, 100, now_ns=2)
    assert (resting.order.state is OrderState.OPEN) == rests
    taking = exchange.place(symbol, BUY, 5, 101, tif=Tif.IOC, now_ns=3)
    assert bool(taking.trades) == takes
    other = exchange.first_order(symbol, BUY if rests else SELL)
    assert (exchange.cancel(other.id, now_ns=4) is not None) == cancels


def test_owners_and_ends():
    exchange, symbol = make()
    step = exchange.place(symbol, BUY, 5, 100, now_ns=0, owner="me", client_id="a-1")
    assert exchange.open_orders("me") == [step.order]
    exchange.place(symbol, SELL, 2, 100, now_ns=1)
    canceled = exchange.cancel(step.order.id, now_ns=2).order
    assert (canceled.state, canceled.leaves, canceled.client_id) == (OrderState.CANCELED, 3, "a-1")
    assert exchange.open_orders("me") == []
    assert exchange.cancel(step.order.id, now_ns=3) is None
    assert exchange.reduce(step.order.id, 1, now_ns=3) is None


@pytest.mark.parametrize("qty", [0, 5, 6])
def test_reduce_leaves_something(qty):
    exchange, symbol = make()
    order = exchange.place(symbol, BUY, 5, 100, now_ns=0).order
    with pytest.raises(ValueError, match="1 to 4"):
        exchange.reduce(order.id, qty, now_ns=1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"tick": Decimal(0)}, "tick"),
        ({"lot": Decimal(-1)}, "lot"),
        ({"min_qty": Decimal("0.0015")}, "whole lots"),
        ({"max_qty": Decimal(0)}, "max_qty"),
    ],
)
def test_bad_listing(changes, complaint):
    with pytest.raises(ValueError, match=complaint):
        listing(**changes)


def test_listing_speaks_both_ways():
    one = listing(kind=Kind.LINEAR, contract_size=Decimal("0.01"))
    assert one.symbol == "BTC/USDT:USDT"
    assert (one.px_text(201), one.px_text(201, 8), one.qty_text(15)) == (
        "100.5",
        "100.50000000",
        "0.015",
    )
    assert (one.ticks(Decimal("100.5")), one.lots(Decimal("0.015"))) == (201, 15)
    assert one.notional(201, 15) == Decimal("0.015075")
    with pytest.raises(ValueError, match="tick"):
        one.ticks(Decimal("100.3"))
    with pytest.raises(ValueError, match="lot"):
        one.lots(Decimal("0.0001"))


@given(st.integers(0, 10**15), st.integers(0, 12), st.integers(0, 4))
def test_text_is_the_decimal(units, scale, more):
    printed = text(units, scale, scale + more)
    assert Decimal(printed) == Decimal(units).scaleb(-scale)
    assert len(printed.partition(".")[2]) == scale + more


# Out of turn, crumbs, other steps


def test_somebody_trades_with_one_order_out_of_its_turn():
    exchange, symbol = make()
    first, second = (
        exchange.place(symbol, BUY, 5, 100, now_ns=0, owner=owner).order for owner in ("x", "y")
    )
    exchange.place(symbol, BUY, 7, 101, now_ns=0)
    step = exchange.hit(second.id, 2, now_ns=1)
    assert [(t.px, t.qty, t.side, t.maker) for t in step.trades] == [(100, 2, SELL, second)]
    assert [(level.px, level.qty) for level in step.levels] == [(100, 8)]
    assert (first.leaves, second.leaves) == (5, 3)
    exchange.check()
    exchange.hit(second.id, 3, now_ns=2)
    assert second.state is OrderState.FILLED
    assert exchange.hit(second.id, 1, now_ns=3) is None, "it is gone"
    exchange.set_status(symbol, Status.HALT, now_ns=4)
    assert exchange.hit(first.id, 1, now_ns=5) is None, "nothing trades"
    assert exchange.cancel(first.id, now_ns=5) is None, "its owner cannot"
    assert exchange.cancel(first.id, now_ns=5, by_venue=True) is not None
    exchange.check()


@pytest.mark.parametrize(
    ("tif", "least", "qtys"),
    [
        (Tif.IOC, "0", [1, 1, 1, 16]),  # nothing is below no minimum: one lot is left
        (Tif.IOC, "0.16", [1, 1, 1, 14]),  # three lots at 0.05 are below it
        (Tif.IOC, "0.15", [1, 1, 1, 15]),  # three lots are the minimum: two are left
        (Tif.GTC, "0.16", [1, 1, 1, 17]),  # what rests would cross: all of it trades
    ],
)
def test_crumbs(tif, least, qtys):
    exchange, symbol = make(min_notional=Decimal(least))
    exchange.place(symbol, SELL, 30, 100, now_ns=0)
    step = exchange.place(symbol, BUY, 20, 100, now_ns=1, tif=tif, crumbs=3)
    assert [trade.qty for trade in step.trades] == qtys
    left = 20 - sum(qtys)
    assert step.order.leaves == left
    assert step.order.state is (OrderState.EXPIRED if left else OrderState.FILLED)
    exchange.check()


def test_coarser_steps_are_told_and_leave_the_engine_alone():
    exchange, symbol = make(min_qty=Decimal("0.003"))
    exchange.place(symbol, BUY, 3, 101, now_ns=0)
    step = exchange.set_steps(symbol, 5, 10, now_ns=1)
    told = exchange.told(symbol)
    assert step.status is Status.TRADING
    assert (told.tick, told.lot, told.min_qty) == tuple(map(Decimal, ("2.5", "0.010", "0.010")))
    assert exchange.listings[symbol] == listing(min_qty=Decimal("0.003"))
    assert exchange.best(symbol, BUY).px == 101
    exchange.set_steps(symbol, 1, 1, now_ns=2)
    assert exchange.told(symbol) == exchange.listings[symbol]


def test_a_listing_that_is_gone_does_not_trade_and_comes_back():
    exchange, symbol = make()
    exchange.set_gone(symbol, True, now_ns=0)
    assert exchange.gone(symbol)
    assert exchange.status(symbol) is Status.HALT
    exchange.set_gone(symbol, False, now_ns=1)
    assert not exchange.gone(symbol)
    assert exchange.status(symbol) is Status.TRADING
