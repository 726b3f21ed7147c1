"""The consolidated book against a list that is sorted by fractions."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.book import Book, BookState, ConsolidatedBook, group_of
from hean_router.book.all_in import charge, check_fee
from hean_router.domain.errors import CommandError, NotLive
from hean_router.domain.feed import Snapshot
from hean_router.domain.instrument import Instrument, Pair, Part, Side, Trading, VenueId
from hean_router.domain.venue import FeeIn, Fees

BTC = Pair.parse("BTC/USDT")


def fees(taker: str, fee_in: FeeIn = FeeIn.QUOTE) -> Fees:
    return Fees(taker=Decimal(taker), maker=Decimal(0), fee_in=fee_in)


def listing(
    venue: str, px_decimals: int = 2, qty_decimals: int = 3, pair: Pair = BTC, **more: object
) -> Instrument:
    return Instrument(
        venue=VenueId(venue),
        pair=pair,
        symbol=str(pair),
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        **more,  # type: ignore[arg-type]
    )


def book_of(
    instrument: Instrument,
    bids: Sequence[tuple[str, str]] = (),
    asks: Sequence[tuple[str, str]] = (),
    now_ns: int = 1,
) -> Book:
    book = Book(instrument)
    fill(book, bids, asks, now_ns)
    return book


def fill(
    book: Book,
    bids: Sequence[tuple[str, str]],
    asks: Sequence[tuple[str, str]],
    now_ns: int = 1,
) -> None:
    of = book.instrument
    book.snapshot(
        Snapshot(
            of,
            [(of.px(px), of.qty(qty)) for px, qty in bids],
            [(of.px(px), of.qty(qty)) for px, qty in asks],
            seq=1,
        ),
        now_ns,
    )
    book.enter(BookState.LIVE, "", now_ns)


def pooled(*members: tuple[Book, Fees]) -> ConsolidatedBook:
    view = ConsolidatedBook(BTC)
    for book, tier in members:
        assert view.add(book, tier)
    view.check()
    return view


def rows(view: ConsolidatedBook, side: Side) -> list[tuple[str, str, str]]:
    return [(str(one.price), str(one.quantity), one.venue) for one in view.priced(side)]


def test_levels_meet_on_one_scale_in_all_in_order():
    coarse = book_of(listing("coarse", 1, 1), [("99.9", "1")], [("100.0", "2.5")])
    fine = book_of(listing("fine", 4, 6), [("99.95", "0.25")], [("100.0001", "1"), ("100.2", "3")])
    # 100.0 at 0.1 % costs 100.1; 100.0001 without fee is cheaper, and so is 100.0999.
    view = pooled((coarse, fees("0.001")), (fine, fees("0")))
    assert rows(view, Side.BUY) == [
        ("100.0001", "1.000000", "fine"),
        ("100.0", "2.5", "coarse"),
        ("100.2000", "3.000000", "fine"),
    ]
    assert rows(view, Side.SELL)[0] == ("99.9500", "0.250000", "fine")


@pytest.mark.parametrize(
    ("tier_a", "tier_b", "first"),
    [  # both show 100.00; the price alone cannot tell
        (fees("0.001"), fees("0.0010000001"), "a"),  # ten decimals of fee are kept, not rounded
        (fees("0.0010000001"), fees("0.001"), "b"),
        # px (1 + f) = 100.1 against px / (1 - f) = 100.1001001…: fee in base is dearer on a buy
        (fees("0.001", FeeIn.BASE), fees("0.001", FeeIn.QUOTE), "b"),
        (fees("0.001", FeeIn.RECEIVED), fees("0.001", FeeIn.QUOTE), "b"),
        (fees("-0.0001"), fees("0"), "a"),  # a rebate
        (fees("0.001"), fees("0.001"), "a"),  # equal: by name
    ],
)
def test_order_is_by_exact_cost_per_unit_received(tier_a, tier_b, first):
    a = book_of(listing("a"), asks=[("100.00", "1")])
    b = book_of(listing("b"), asks=[("100.00", "1")])
    best = pooled((a, tier_a), (b, tier_b)).best(Side.BUY)
    assert best is not None
    assert best.venue == first


@pytest.mark.parametrize(
    ("fee_in", "side", "part", "all_in"),
    [  # at 100 with 1 %
        (FeeIn.QUOTE, Side.BUY, Part.SPOT, Fraction(101)),
        (FeeIn.BASE, Side.BUY, Part.SPOT, Fraction(10000, 99)),
        (FeeIn.RECEIVED, Side.BUY, Part.SPOT, Fraction(10000, 99)),
        (FeeIn.QUOTE, Side.SELL, Part.SPOT, Fraction(99)),
        (FeeIn.BASE, Side.SELL, Part.SPOT, Fraction(10000, 101)),  # a hundredth more is given
        (FeeIn.RECEIVED, Side.SELL, Part.SPOT, Fraction(99)),
        (FeeIn.RECEIVED, Side.BUY, Part.LINEAR, Fraction(101)),  # in the settlement asset
    ],
)
def test_charges(fee_in, side, part, all_in):
    cost = charge(fees("0.01", fee_in), side, part, 8)
    assert Fraction(100 * cost.quote, cost.base) == all_in


@pytest.mark.parametrize("fee", ["0.5", "-1", "NaN", "0.0000000000000000001"])
def test_a_fee_that_is_no_fraction_is_refused(fee):
    with pytest.raises(CommandError):
        check_fee(Decimal(fee), "okx")


def test_only_live_books_are_in_and_the_others_are_named():
    good = book_of(listing("okx"), [("99", "1")], [("100", "1")])
    bad = book_of(listing("binance"), [("98", "1")], [("99", "1")])
    view = pooled((good, fees("0.001")), (bad, fees("0.001")))
    dollars = Book(listing("kraken", pair=Pair.parse("BTC/USD")))
    assert not view.add(dollars, fees("0"))
    view.remove(VenueId("bybit"), "BTC/USDT is not listed")
    version = view.version
    bad.enter(BookState.STALE, "no news for 5 s", 7)
    assert view.version > version
    assert rows(view, Side.BUY) == [("100.00", "1.000", "okx")]
    assert view.left_out() == {
        "binance": "not live: stale, no news for 5 s",
        "bybit": "BTC/USDT is not listed",
        "kraken": "BTC/USD: no conversion",
    }
    bad.enter(BookState.LIVE, "", 8)
    assert rows(view, Side.BUY)[0][2] == "binance"
    view.check()


def test_a_perpetual_and_another_quote_are_other_books():
    assert len({group_of(Pair.parse(one)) for one in ("BTC/USDT", "BTC/USD", "BTC/USDT:USDT")}) == 3
    perpetual = book_of(listing("okx", pair=Pair.parse("BTC/USDT:USDT")), asks=[("100", "1")])
    view = ConsolidatedBook(BTC)
    assert not view.add(perpetual, fees("0"))
    assert view.best(Side.BUY) is None
    assert view.left_out() == {"okx": "BTC/USDT:USDT: no conversion"}


def test_a_halted_instrument_is_left_out_though_its_book_is_live():
    halted = book_of(listing("okx", trading=Trading.HALTED), asks=[("100", "1")])
    view = pooled((halted, fees("0")))
    assert view.best(Side.BUY) is None
    assert view.left_out() == {"okx": "not trading: halted"}


def test_a_walk_over_a_book_that_moved_or_was_revoked_ends_in_an_error():
    book = book_of(listing("okx"), asks=[("100", "1"), ("101", "1")])
    view = pooled((book, fees("0")))
    walk = view.priced(Side.BUY)
    next(walk)
    fill(book, [], [("90", "1"), ("91", "1")])
    with pytest.raises(NotLive):
        next(walk)
    walk = view.priced(Side.BUY)
    next(walk)
    book.enter(BookState.LOST, "gap", 3)
    with pytest.raises(NotLive):
        next(walk)
    assert list(view.priced(Side.BUY)) == []


def test_the_scale_follows_the_instruments():
    coarse = book_of(listing("a", 0, 0), asks=[("100", "1")])
    view = pooled((coarse, fees("0")))
    kept = view.best(Side.BUY)
    view.add(book_of(listing("b", 6, 6), asks=[("99.999999", "1")]), fees("0"))
    assert rows(view, Side.BUY)[0] == ("99.999999", "1.000000", "b")
    assert kept is not None
    assert (kept.price, kept.all_in) == (
        Decimal(100),
        Decimal(100),
    )  # what was handed out still holds
    view.remove(VenueId("b"))
    view.check()
    assert rows(view, Side.BUY) == [("100", "1", "a")]


def test_a_cross_is_information_with_both_ages_and_the_edge_after_fees():
    cheap = book_of(listing("a"), [("99.00", "1")], [("100.00", "1")], now_ns=1_000)
    dear = book_of(listing("b"), [("100.50", "2")], [("101.00", "1")], now_ns=3_000)
    view = pooled((cheap, fees("0.001")), (dear, fees("0.001")))
    (cross,) = view.crosses()
    assert (cross.buy.venue, cross.sell.venue) == ("a", "b")
    assert (cross.buy.age_ns(5_000), cross.sell.age_ns(5_000)) == (4_000, 2_000)
    assert cross.edge == Decimal("100.50") * Decimal("0.999") - Decimal("100.00") * Decimal("1.001")
    view.add(dear, fees("0.01"))  # another tier: still a cross, no longer worth anything
    (cross,) = view.crosses()
    assert cross.edge < 0
    fill(dear, [("100.00", "2")], [("101.00", "1")])
    assert view.crosses() == []  # locked is not crossed


def test_sizes_and_prices():
    a = book_of(listing("a"), [("99", "3")], [("100", "1"), ("102", "1")])
    b = book_of(listing("b"), [("98", "1")], [("100", "2"), ("101", "1")])
    view = pooled((a, fees("0.001")), (b, fees("0.001", FeeIn.BASE)))
    sweep = view.price_for_size(Side.BUY, Decimal("3.5"))
    assert sweep.notional == Decimal("350.5")
    assert sweep.quote == 100 * Decimal("1.001") + 200 + Decimal("50.5")
    assert sweep.net_qty == 1 + Decimal("2.5") * Decimal("0.999")
    assert sweep.venues == {"a": 1, "b": Decimal("2.5")}
    assert (sweep.worst_px, sweep.short, sweep.levels) == (101, 0, 3)
    assert view.price_for_size(Side.BUY, Decimal(9)).short == 4
    assert view.size_for_price(Side.BUY, Decimal("101.99")).qty == 4
    assert view.size_for_price(Side.SELL, Decimal("98.5")).qty == 3
    assert view.mid() == Decimal("99.5")
    assert view.micro_px() == Decimal("99.5")  # 3 on either side
    assert view.imbalance() == 0
    depth = view.depth_within(Side.BUY, Decimal(151))  # to 101.00245
    assert depth is not None
    assert (depth.qty, depth.avg_px) == (4, Decimal("100.25"))
    assert view.displayed(Side.BUY) == (100, 3)


def test_an_empty_view_answers_nothing():
    view = ConsolidatedBook(BTC)
    assert view.best(Side.BUY) is None
    assert [view.mid(), view.micro_px(), view.imbalance()] == [None] * 3
    assert view.depth_within(Side.BUY, Decimal(10)) is None
    nothing = view.price_for_size(Side.SELL, Decimal(1))
    assert (nothing.qty, nothing.short, nothing.avg_px) == (0, 1, None)


NAMES = ("a", "b", "c", "d")
LEVELS = st.dictionaries(st.integers(1, 60), st.integers(1, 9), max_size=5)
TIERS = st.tuples(st.integers(-200, 300), st.sampled_from(FeeIn))


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(LEVELS, st.integers(0, 3), TIERS, st.booleans()),
        max_size=4,
    ),
    st.sampled_from(Side),
    st.integers(0, 40),
)
@settings(max_examples=200, deadline=None)
def test_agrees_with_sorted_fractions(
    venues: Mapping[str, tuple[dict[int, int], int, tuple[int, FeeIn], bool]],
    side: Side,
    wanted: int,
):
    view, model = ConsolidatedBook(BTC), []
    for name, (levels, decimals, (fee, fee_in), live) in venues.items():
        of = listing(name, decimals, decimals)
        book = Book(of)
        facing = list(levels.items())
        bids, asks = ([], facing) if side is Side.BUY else (facing, [])
        book.snapshot(Snapshot(of, bids, asks, seq=1), 1)
        if live:
            book.enter(BookState.LIVE, "", 1)
        rate = Fraction(fee, 100_000)
        view.add(book, fees(str(Decimal(fee) / 100_000), fee_in))
        for px, qty in facing if live else ():
            price, size = Fraction(px, 10**decimals), Fraction(qty, 10**decimals)
            base = fee_in is FeeIn.BASE or (fee_in is FeeIn.RECEIVED and side is Side.BUY)
            sign = 1 if side is Side.BUY else -1
            quote_factor = 1 if base else 1 + sign * rate
            base_factor = 1 - sign * rate if base else Fraction(1)
            key = sign * price * quote_factor / base_factor
            model.append((key, name, price, size, quote_factor, base_factor))
    view.check()
    model.sort()
    found = list(view.priced(side))
    assert [(Fraction(one.price), one.venue, Fraction(one.quantity)) for one in found] == [
        (price, name, size) for _, name, price, size, *_ in model
    ]
    best = view.best(side)
    assert (
        (best and (best.key, best.venue)) == (found[0].key, found[0].venue) if found else not best
    )
    room, quote, net = Fraction(wanted, 10), Fraction(0), Fraction(0)
    for _, _, price, size, quote_factor, base_factor in model:
        took = min(size, room)
        room, quote, net = (
            room - took,
            quote + took * price * quote_factor,
            net + took * base_factor,
        )
    sweep = view.price_for_size(side, Decimal(wanted) / 10)
    coarse = view.qty_decimals == 0  # tenths are finer than the scale: rounded down
    if not coarse:
        assert (Fraction(sweep.quote), Fraction(sweep.net_qty)) == (quote, net)
        assert Fraction(sweep.short) == room
