"""Made-up books of four venues for the consolidated book and the plan, from a seed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from random import Random

from hean_router.book import Book, BookState, ConsolidatedBook
from hean_router.domain.feed import Delta, Level, Snapshot
from hean_router.domain.instrument import Instrument, Pair, VenueId
from hean_router.domain.venue import FeeIn, Fees
from hean_router.route import Balances, ParentOrder, VenueBook

PAIR = Pair("BTC", "USDT")
MID = Decimal(61_800)


@dataclass(frozen=True)
class Rules:
    """A venue's grid and price: decimals, lot and minimum in whole units of them."""

    venue: str
    px_decimals: int
    qty_decimals: int
    fee: str
    fee_in: FeeIn
    lot: int = 1
    min_qty: int = 0
    min_notional: str = "5"

    def instrument(self) -> Instrument:
        return Instrument(
            venue=VenueId(self.venue),
            pair=PAIR,
            symbol="BTCUSDT",
            px_decimals=self.px_decimals,
            qty_decimals=self.qty_decimals,
            lot=self.lot,
            min_qty=self.min_qty,
            min_notional=Decimal(self.min_notional),
        )

    def fees(self) -> Fees:
        return Fees(taker=Decimal(self.fee), maker=Decimal(0), fee_in=self.fee_in)


# As the four venues list BTC/USDT.
TYPICAL = (
    Rules("binance", 8, 8, "0.001", FeeIn.RECEIVED, lot=1_000, min_qty=1_000),
    Rules("bybit", 2, 6, "0.001", FeeIn.RECEIVED, lot=1, min_qty=48),
    Rules("kraken", 1, 8, "0.0026", FeeIn.QUOTE, lot=1, min_qty=10_000),
    Rules("okx", 1, 8, "0.001", FeeIn.RECEIVED, lot=1, min_qty=1_000),
)
# Lots that do not divide each other, minimums of the size of the order, fees that reorder levels.
ADVERSARIAL = (
    Rules("binance", 8, 8, "0.00075", FeeIn.BASE, lot=7_000_000, min_qty=21_000_000),
    Rules("bybit", 2, 6, "0.0018", FeeIn.RECEIVED, lot=50_000, min_qty=450_000),
    Rules("kraken", 1, 8, "0.0026", FeeIn.QUOTE, lot=3_000_000, min_notional="40000"),
    Rules("okx", 1, 8, "-0.0001", FeeIn.RECEIVED, lot=11_000_000, min_notional="25000"),
)


def side(rng: Random, rules: Rules, depth: int, sign: int, away_bps: int = 2) -> list[Level]:
    """`depth` levels from about the mid outwards, best first."""
    one = 10**rules.px_decimals
    px = int(MID * one)
    px += sign * px * rng.randrange(0, away_bps + 1) // 10_000
    step = max(1, px // 200_000)
    levels, unit = [], 10**rules.qty_decimals
    for _ in range(depth):
        px += sign * rng.randrange(1, 2 * step + 1)
        levels.append((px, rng.randrange(unit // 500, unit // 4)))
    return levels


def venue_books(rng: Random, world: Sequence[Rules], depth: int) -> list[VenueBook]:
    return [
        VenueBook(
            rules.instrument(), bids=side(rng, rules, depth, -1), asks=side(rng, rules, depth, 1)
        )
        for rules in world
    ]


# Base; of some 25 on a side of four venues of 50 levels.
USUAL = ("0.05", "0.31357", "1.2", "2.71828")  # from half a level to some twenty
DEEP = ("6", "11.5")  # a quarter and half of all that is shown


def orders(rng: Random, count: int, sizes: Sequence[str]) -> Iterator[ParentOrder]:
    for _ in range(count):
        yield ParentOrder.parse("BTC/USDT", rng.choice(("buy", "sell")), rng.choice(sizes))


def balances(world: Sequence[Rules], quote: str, base: str) -> Balances:
    return {VenueId(rules.venue): {"USDT": Decimal(quote), "BTC": Decimal(base)} for rules in world}


def live_books(rng: Random, depth: int) -> list[Book]:
    """LIVE books of the four, apart enough not to cross themselves."""
    books = []
    for rules in TYPICAL:
        book = Book(rules.instrument())
        bids, asks = side(rng, rules, depth, -1), side(rng, rules, depth, 1)
        book.snapshot(Snapshot(book.instrument, bids, asks, 1), 1)
        book.enter(BookState.LIVE, "whole", 1)
        books.append(book)
    return books


def consolidated(books: Sequence[Book]) -> ConsolidatedBook:
    view = ConsolidatedBook(PAIR)
    for rules, book in zip(TYPICAL, books, strict=True):
        assert view.add(book, rules.fees())
    return view


def deltas(rng: Random, book: Book, count: int, changes: int = 4) -> list[Delta]:
    """Messages that change `changes` quantities near the top, and now and then the top itself."""
    made = []
    for number in range(1, count + 1):
        sides = []
        for ladder in (book.bids, book.asks):
            near = ladder.top(20)
            picked = rng.sample(near, changes // 2)
            sides.append([(px, qty % 1_000_000 + number) for px, qty in picked])
        made.append(Delta(book.instrument, sides[0], sides[1], number + 1, number))
    return made
