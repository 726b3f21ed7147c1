"""The consolidated book over four venues of 200 levels: its top, its depth, its price for a size.

Beside it what one would write without it: every venue's levels with the fee on them as floats,
sorted again for each question.
"""

from decimal import Decimal
from itertools import islice
from random import Random
from statistics import median
from time import thread_time_ns

import pytest

from hean_router.domain.instrument import Side
from tests.bench import meter, worlds

pytestmark = [pytest.mark.bench, pytest.mark.timeout(300)]

DEPTH, TIMES = 200, 400
WIDTHS = (44, 10, 10, 10)
ALL = "all levels of both sides in all-in order"
NOT_HELD = {ALL}  # nobody asks for it on the way to an order


def timed(ask, times=TIMES):
    def run():
        began = thread_time_ns()
        for _ in range(times):
            ask()
        return (thread_time_ns() - began) / times / 1_000

    return run


@pytest.fixture(scope="module")
def world():
    rng = Random(5)
    books = worlds.live_books(rng, DEPTH)
    return rng, books, worlds.consolidated(books)


def naive(books, side):
    """All levels of a side as `(all-in price, qty)` floats, best first."""
    levels = []
    for rules, book in zip(worlds.TYPICAL, books, strict=True):
        of, fee = book.instrument, float(rules.fee)
        factor = 1 + fee if side is Side.BUY else 1 - fee
        px_unit, qty_unit = 10.0**-of.px_decimals * factor, 10.0**-of.qty_decimals
        for px, qty in book.asks if side is Side.BUY else book.bids:
            levels.append((px * px_unit, qty * qty_unit))
    levels.sort(reverse=side is Side.SELL)
    return levels


def naive_price(books, side, size):
    cost, left = 0.0, size
    for px, qty in naive(books, side):
        part = min(qty, left)
        cost += px * part
        left -= part
        if left <= 0:
            break
    return cost / size


def test_reading(world):
    _, books, view = world
    small, large = Decimal("0.5"), Decimal(12)
    asked = {
        "best bid and ask": (
            lambda: (view.best(Side.BUY), view.best(Side.SELL)),
            lambda: (naive(books, Side.BUY)[0], naive(books, Side.SELL)[0]),
        ),
        "ten best of both sides": (
            lambda: [list(islice(view.priced(side), 10)) for side in Side],
            lambda: [naive(books, side)[:10] for side in Side],
        ),
        f"price for {small} BTC": (
            lambda: view.price_for_size(Side.BUY, small),
            lambda: naive_price(books, Side.BUY, float(small)),
        ),
        f"price for {large} BTC": (
            lambda: view.price_for_size(Side.BUY, large),
            lambda: naive_price(books, Side.BUY, float(large)),
        ),
        ALL: (
            lambda: [sum(1 for _ in view.ranked(side)) for side in Side],
            lambda: [len(naive(books, side)) for side in Side],
        ),
    }
    head = ("µs, four venues x 200 levels", "ours", "sorting", "ratio")
    print("\n\n" + meter.row(*head, widths=WIDTHS))
    slow = []
    for name, (ours, theirs) in asked.items():
        figures = meter.rounds({"ours": timed(ours, 100), "naive": timed(theirs, 100)}, 9)
        times = meter.ratio(figures, "naive", "ours")
        print(meter.row(
            name, median(figures["ours"]), median(figures["naive"]), times, widths=WIDTHS
        ))  # fmt: skip
        slow += [name] if times < 1 - meter.NOISE and name not in NOT_HELD else []
    assert not slow, f"sorting everything each time is quicker for {slow}"


def test_the_same_prices(world):
    _, books, view = world
    for size in ("0.5", "12"):
        swept = view.price_for_size(Side.BUY, Decimal(size))
        theirs = naive_price(books, Side.BUY, float(size))
        # px / (1 - f) where the fee is taken in base, px (1 + f) in quote: f² apart.
        assert float(swept.avg_all_in_px) == pytest.approx(theirs, rel=1e-5)


def test_update_and_top(world):
    rng, books, view = world
    book = books[0]
    changes = worlds.deltas(rng, book, 4_000)
    turns = iter(changes)

    def update():
        book.delta(next(turns), 2)
        view.best(Side.BUY)
        view.best(Side.SELL)

    figures = meter.rounds({"ours": timed(update, 400)}, 8)
    name = "one venue's update, then best bid and ask"
    print(meter.row(name, median(figures["ours"]), "", "", widths=WIDTHS))
