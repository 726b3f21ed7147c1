"""All venues' books of a pair as one view.  It owns no levels: it reads them where they are."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from heapq import merge
from typing import NamedTuple, Protocol, TypeAlias

from msgspec import Struct

from hean_router.book.all_in import Charge, charge, check_fee, fee_decimals, weights
from hean_router.book.book import BookState, LiveBook
from hean_router.book.sweep import EXACT, PRECISE, Sweep, scaled, sweep
from hean_router.domain.instrument import Instrument, Pair, Side, Trading, VenueId
from hean_router.domain.scale import to_decimal
from hean_router.domain.venue import Fees

Ranked: TypeAlias = tuple[int, int, int, int, "_Member"]  # key, rank, px, qty (instrument's), whose


class BookSource(Protocol):
    """What the view holds of a venue: the book while it is LIVE, else why it is not.

    `Book` is one.  Its ladders are out of reach by type: levels are read through `live` alone.
    """

    @property
    def instrument(self) -> Instrument:
        """What the book is of."""

    @property
    def live(self) -> LiveBook | None:
        """The readable book, None when it is not LIVE."""

    @property
    def state(self) -> BookState:
        """Whether it may be used."""

    @property
    def reason(self) -> str:
        """Why it is in that state."""


class Group(NamedTuple):
    """What is pooled in one consolidated book: a base, and what it is paid and settled in."""

    base: str
    quote: str
    settle: str


def group_of(pair: Pair) -> Group:
    """The consolidated book that `pair` belongs to.

    The seam for peg-aware pooling (USD, USDT, USDC at an executable rate): until it comes a quote
    currency converts into itself only, never 1:1 into another.
    """
    return Group(pair.base, pair.quote, pair.settle)


class PricedLevel(Struct, frozen=True, eq=False):
    """A level with its venue, its age and its cost after our taker fee.

    `px` and `qty` are in the instrument's units, so the level means the same after the pair scale
    is rebuilt.  `key` orders levels of one view at one moment and is not to be kept.
    """

    key: int
    instrument: Instrument
    px: int
    qty: int
    seen_ns: int  # our clock when the book was last proved current
    charge: Charge

    @property
    def venue(self) -> VenueId:
        """Where it stands."""
        return self.instrument.venue

    @property
    def price(self) -> Decimal:
        """Quote per base, as displayed."""
        return self.instrument.px_decimal(self.px)

    @property
    def quantity(self) -> Decimal:
        """Base."""
        return self.instrument.qty_decimal(self.qty)

    @property
    def all_in(self) -> Decimal:
        """Quote per unit received or given, fee in; 28 digits, half to even."""
        return PRECISE.divide(self.price * self.charge.quote, Decimal(self.charge.base))

    def age_ns(self, now_ns: int) -> int:
        """How long ago its book was last proved current."""
        return now_ns - self.seen_ns


class Cross(Struct, frozen=True, eq=False):
    """One venue bids more than another asks: information, not an error.

    `edge` is quote per unit after both fees, selling what arrived; it may well be negative.
    """

    buy: PricedLevel
    sell: PricedLevel
    edge: Decimal


class _Member:
    """A source with what is worked out once, whenever members or fees change."""

    __slots__ = ("charges", "fees", "instrument", "px_mul", "qty_mul", "source", "weight")

    def __init__(self, source: BookSource, fees: Fees) -> None:
        self.source, self.fees, self.instrument = source, fees, source.instrument
        self.px_mul = self.qty_mul = 1
        self.charges: dict[Side, Charge] = {}
        self.weight: dict[Side, int] = {}  # instrument's px -> order key, lower is better

    def live(self) -> LiveBook | None:
        """The readable book, if orders can be sent there at all."""
        if self.instrument.trading is not Trading.OPEN:
            return None
        return self.source.live

    def absent(self) -> str:
        """Why it has no levels here."""
        if self.instrument.trading is not Trading.OPEN:
            return f"not trading: {self.instrument.trading.value}"
        source = self.source
        return f"not live: {source.state.value}" + (f", {source.reason}" if source.reason else "")


class ConsolidatedBook:
    """Levels of all LIVE venues of one pair, by exact all-in price under our fee tier.

    Ties go by venue name: by age, the order would flap with every message.  Private scales (the
    finest decimals of the members' instruments) are rebuilt when members or fees change; reads
    are lazy and must be finished within the step that began them: a walk over a book that changed
    meanwhile raises `NotLive`.
    """

    def __init__(self, pair: Pair) -> None:
        self.pair, self.group = pair, group_of(pair)
        self.layout = 0  # rises when members, fees or scales change
        self.px_decimals = self.qty_decimals = self.fee_decimals = 0
        self.units: dict[Side, int] = {Side.BUY: 1, Side.SELL: 1}
        self._members: list[_Member] = []  # by venue name
        self._unfit: dict[VenueId, str] = {}
        self._version = 0
        self._seen: tuple[object, ...] = ()

    # Who is in.

    def add(self, source: BookSource, fees: Fees) -> bool:
        """Take in a venue's book, LIVE or not yet; False if it can never be pooled here.

        Replaces what the venue had (a refreshed instrument, another tier).  Raises `CommandError`
        for a fee that is no fraction.
        """
        instrument = source.instrument
        check_fee(fees.taker, instrument.venue)
        self.remove(instrument.venue)
        if group_of(instrument.pair) != self.group:
            self._unfit[instrument.venue] = f"{instrument.pair}: no conversion"
            return False
        self._members.append(_Member(source, fees))
        self._members.sort(key=lambda member: member.instrument.venue)
        self._rescale()
        return True

    def remove(self, venue: VenueId, reason: str = "") -> None:
        """Let a venue go; with a `reason`, it is named among those left out.

        Also for a venue that never had a book: not listed there, not reached.
        """
        self._members = [one for one in self._members if one.instrument.venue != venue]
        self._unfit.pop(venue, None)
        if reason:
            self._unfit[venue] = reason
        self._rescale()

    def _rescale(self) -> None:
        members = self._members
        self.px_decimals = max((one.instrument.px_decimals for one in members), default=0)
        self.qty_decimals = max((one.instrument.qty_decimals for one in members), default=0)
        self.fee_decimals = fee_decimals([one.fees.taker for one in members])
        for one in members:
            one.px_mul = 10 ** (self.px_decimals - one.instrument.px_decimals)
            one.qty_mul = 10 ** (self.qty_decimals - one.instrument.qty_decimals)
        for side in Side:
            charges = [charge(one.fees, side, self.pair.part, self.fee_decimals) for one in members]
            factors, self.units[side] = weights(charges)
            sign = 1 if side is Side.BUY else -1  # the dearest bid comes first
            for one, cost, factor in zip(members, charges, factors, strict=True):
                one.charges[side] = cost
                one.weight[side] = sign * factor * one.px_mul
        self.layout += 1
        self._version += 1
        self._seen = ()

    def left_out(self) -> dict[VenueId, str]:
        """Venues without levels here, by name, and why."""
        out = dict(self._unfit)
        for one in self._members:
            if one.live() is None:
                out[one.instrument.venue] = one.absent()
        return dict(sorted(out.items()))

    def live(self) -> dict[VenueId, LiveBook]:
        """The books that are in, by venue name."""
        return {
            one.instrument.venue: live for one in self._members if (live := one.live()) is not None
        }

    def fees(self) -> dict[VenueId, Fees]:
        """Our tier at each member."""
        return {one.instrument.venue: one.fees for one in self._members}

    def order_weights(self) -> dict[VenueId, tuple[int, int]]:
        """Per member `(buy, sell)`: all-in price = price × weight / `units[side]`, exactly."""
        return {
            one.instrument.venue: (
                one.weight[Side.BUY] // one.px_mul,
                -one.weight[Side.SELL] // one.px_mul,
            )
            for one in self._members
        }

    @property
    def version(self) -> int:
        """Rises with every change of a member's book or state, of members and of fees."""
        seen = tuple(
            (one.source.state, one.source.reason) if (live := one.live()) is None else live.version
            for one in self._members
        )
        if seen != self._seen:
            self._seen = seen
            self._version += 1
        return self._version

    def versions(self) -> dict[VenueId, int]:
        """Version of each LIVE book: what a decision saw."""
        return {venue: book.version for venue, book in self.live().items()}

    # What it says.  "side" is always the taker's: a buy meets asks.

    def best(self, side: Side) -> PricedLevel | None:
        """The cheapest level after fees that an order on `side` would meet."""
        best_key, found = 0, None
        for one in self._members:
            if (book := one.live()) is None or (level := book.best(side)) is None:
                continue
            key = level[0] * one.weight[side]
            if found is None or key < best_key:
                best_key, found = key, (one, level, book.confirmed_ns)
        if found is None:
            return None
        one, (px, qty), seen_ns = found
        return PricedLevel(best_key, one.instrument, px, qty, seen_ns, one.charges[side])

    def priced(self, side: Side) -> Iterator[PricedLevel]:
        """What an order on `side` could take, cheapest first, lazily.  O(log venues) a level."""
        for key, _, px, qty, one in self.ranked(side):
            book = one.live()
            assert book is not None, "the walk would have raised"
            yield PricedLevel(key, one.instrument, px, qty, book.confirmed_ns, one.charges[side])

    def ranked(self, side: Side, edge: int | None = None) -> Iterator[Ranked]:
        """The same as plain tuples, for sweeps; no price worse than `edge` (pair scale)."""
        walks = [
            _walk(rank, one, book, side, edge)
            for rank, one in enumerate(self._members)
            if (book := one.live()) is not None
        ]
        return walks[0] if len(walks) == 1 else merge(*walks)

    def price_for_size(self, side: Side, qty: Decimal) -> Sweep:
        """What taking `qty` base would cost, cheapest first, without lots and minimums."""
        return self._sweep(side, qty, None)

    def size_for_price(self, side: Side, worst: Decimal) -> Sweep:
        """What could be taken at displayed prices no worse than `worst`."""
        return self._sweep(side, None, worst)

    def depth_within(self, side: Side, bps: Decimal) -> Sweep | None:
        """What stands within `bps` of the mid on `side`, and at which VWAP; None without a mid."""
        if (mid := self.mid()) is None:
            return None
        whole = Decimal(10_000)
        away = EXACT.add(whole, bps) if side is Side.BUY else EXACT.subtract(whole, bps)
        return self._sweep(side, None, EXACT.divide(EXACT.multiply(mid, away), whole))

    def _sweep(self, side: Side, qty: Decimal | None, worst: Decimal | None) -> Sweep:
        decimals = (self.px_decimals, self.qty_decimals, self.fee_decimals)
        buying = side is Side.BUY
        edge = None if worst is None else scaled(worst, self.px_decimals, up=not buying)
        facts = [
            (
                one.instrument.venue,
                one.px_mul,
                one.qty_mul,
                one.charges[side].quote,
                one.charges[side].base,
            )
            for one in self._members
        ]
        levels = (
            (venue, px * px_mul, size * qty_mul, quote, base)
            for _, rank, px, size, _ in self.ranked(side, edge)
            for venue, px_mul, qty_mul, quote, base in (facts[rank],)
        )
        return sweep(side, levels, decimals, qty)

    def displayed(self, side: Side) -> tuple[Decimal, Decimal] | None:
        """Best price as displayed (fees apart) and all that stands there, over all venues."""
        sign = 1 if side is Side.BUY else -1
        best = total = None
        for one in self._members:
            if (book := one.live()) is None or (level := book.best(side)) is None:
                continue
            px, qty = sign * level[0] * one.px_mul, level[1] * one.qty_mul
            if best is None or total is None or px < best:
                best, total = px, qty
            elif px == best:
                total += qty
        if best is None or total is None:
            return None
        return to_decimal(sign * best, self.px_decimals), to_decimal(total, self.qty_decimals)

    def mid(self) -> Decimal | None:
        """Half-way between the displayed bests; exact; None while a side is empty."""
        ask, bid = self.displayed(Side.BUY), self.displayed(Side.SELL)
        return None if ask is None or bid is None else EXACT.divide(ask[0] + bid[0], Decimal(2))

    def micro_px(self) -> Decimal | None:
        """The mid weighted by the other side's size: near the ask when bids outweigh.

        28 digits, half to even; None while a side is empty.
        """
        ask, bid = self.displayed(Side.BUY), self.displayed(Side.SELL)
        if ask is None or bid is None:
            return None
        return PRECISE.divide(
            EXACT.add(EXACT.multiply(bid[0], ask[1]), EXACT.multiply(ask[0], bid[1])),
            ask[1] + bid[1],
        )

    def imbalance(self) -> Decimal | None:
        """(bid size - ask size) / (both) at the displayed bests, -1 to 1; None if a side is empty.

        28 digits, half to even.
        """
        ask, bid = self.displayed(Side.BUY), self.displayed(Side.SELL)
        if ask is None or bid is None:
            return None
        return PRECISE.divide(bid[1] - ask[1], ask[1] + bid[1])

    def crosses(self) -> list[Cross]:
        """Every two venues of which one bids more than the other asks; best edge first.

        Displayed prices decide; `edge` then says whether anything is left after fees.
        """
        asks, bids = self._tops(Side.BUY), self._tops(Side.SELL)
        found = [
            Cross(ask, bid, bid.all_in - ask.all_in)
            for ask_px, ask in asks
            for bid_px, bid in bids
            if bid_px > ask_px
        ]
        return sorted(found, key=lambda one: (-one.edge, one.buy.venue, one.sell.venue))

    def _tops(self, side: Side) -> list[tuple[int, PricedLevel]]:
        tops = []
        for one in self._members:
            if (book := one.live()) is not None and (level := book.best(side)) is not None:
                px, qty = level
                priced = PricedLevel(
                    px * one.weight[side],
                    one.instrument,
                    px,
                    qty,
                    book.confirmed_ns,
                    one.charges[side],
                )
                tops.append((px * one.px_mul, priced))
        return tops

    def check(self) -> None:
        """Assert every invariant.  O(n log n); for tests."""
        names = [one.instrument.venue for one in self._members]
        assert names == sorted(set(names)), "a venue twice, or out of order"
        assert not set(names) & set(self._unfit), "in and left out at once"
        live = self.live()
        for side in Side:
            levels = list(self.ranked(side))
            assert [one[:2] for one in levels] == sorted(one[:2] for one in levels), "out of order"
            held = {(one.instrument.venue, px): qty for _, _, px, qty, one in levels}
            assert len(held) == len(levels), "a level twice"
            assert held == {
                (venue, px): qty for venue, book in live.items() for px, qty in book.facing(side)
            }, "not exactly the LIVE venues' levels"


def _walk(
    rank: int, one: _Member, book: LiveBook, side: Side, edge: int | None
) -> Iterator[Ranked]:
    weight, sign = one.weight[side], 1 if side is Side.BUY else -1
    # Stopping at the displayed price is per venue: in all-in order a dearer price at a venue with
    # a low fee may stand before a better one.
    last = None if edge is None else sign * edge // one.px_mul
    for px, qty in book.facing(side):  # itself raises NotLive once the book has changed
        if last is not None and sign * px > last:
            return
        yield (px * weight, rank, px, qty, one)


def by_pair(books: Mapping[Group, ConsolidatedBook], pair: Pair) -> ConsolidatedBook | None:
    """The consolidated book that serves `pair`."""
    return books.get(group_of(pair))
