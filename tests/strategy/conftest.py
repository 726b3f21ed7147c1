"""A market of plain books, and an executor that fills legs wholly, partly, not at all or late."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from heapq import heappop, heappush
from random import Random
from types import SimpleNamespace

import pytest

from hean_router.book import Book, BookState, ConsolidatedBook
from hean_router.domain.feed import Snapshot
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.parent import Intent, Status
from hean_router.domain.venue import FeeIn, Fees
from hean_router.strategy import (
    BookMoved,
    ParentDone,
    ParentMoved,
    ParentView,
    Reaction,
    Refused,
    Woke,
)

D = Decimal
PAIR = Pair("BTC", "USDT")
MS = 1_000_000
START_NS = 1_000_000 * MS


def rules(venue: str, **changes: object) -> Instrument:
    """Prices with 1 decimal, quantities with 3, lot 0.001."""
    given = {"px_decimals": 1, "qty_decimals": 3, "lot": 1} | changes
    return Instrument(venue=VenueId(venue), pair=PAIR, symbol="BTCUSDT", **given)


def fees(taker: str = "0", fee_in: FeeIn = FeeIn.QUOTE) -> Fees:
    return Fees(taker=D(taker), maker=D(taker), fee_in=fee_in)


class Market:
    """The `View`: what tests set is what a strategy sees."""

    def __init__(self) -> None:
        self.now_ns = START_NS
        self.consolidated = ConsolidatedBook(PAIR)
        self.books: dict[str, Book] = {}
        self.tiers: dict[str, Fees] = {}
        self.money: dict[tuple[str, str], Decimal | None] = {}
        self.broken: dict[str, str] = {}
        self.latencies: dict[str, int] = {}
        self.parents: dict[str, ParentView] = {}

    def venue(
        self,
        name: str,
        bids: Sequence[tuple[str, str]],
        asks: Sequence[tuple[str, str]],
        *,
        tier: Fees | None = None,
        of: Instrument | None = None,
        usdt: str | None = "1000000",
        btc: str | None = "1000",
    ) -> None:
        book = self.books[name] = Book(of or rules(name))
        self.tiers[name] = tier or fees()
        self.consolidated.add(book, self.tiers[name])
        self.money[name, "USDT"] = None if usdt is None else D(usdt)
        self.money[name, "BTC"] = None if btc is None else D(btc)
        self.set(name, bids, asks)

    def set(self, name: str, bids: Sequence[tuple], asks: Sequence[tuple]) -> None:
        book = self.books[name]
        of = book.instrument

        def units(levels: Sequence[tuple]) -> list[tuple[int, int]]:
            return [
                (int(D(px).scaleb(of.px_decimals)), int(D(qty).scaleb(of.qty_decimals)))
                for px, qty in levels
            ]

        book.snapshot(Snapshot(of, units(bids), units(asks), None), self.now_ns)
        book.enter(BookState.LIVE, "", self.now_ns)

    # the View

    def book(self, pair: Pair) -> ConsolidatedBook | None:
        return self.consolidated if pair == PAIR else None

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        return {name: book.instrument for name, book in self.books.items()}

    def fees(self, pair: Pair) -> Mapping[str, Fees]:
        return self.tiers

    def free(self, venue: str, account: str, asset: str) -> Decimal | None:
        return self.money.get((venue, asset))

    def why_not(self, venue: str, account: str) -> str:
        return self.broken.get(venue, "")

    def rates(self) -> Mapping[str, object]:
        return {}

    def latency_ns(self, venue: str) -> int:
        return self.latencies.get(venue, 0)

    def parent(self, account: str, client_order_id: str) -> ParentView | None:
        return self.parents.get(client_order_id)


class Executor:
    """Carries out reactions in virtual time.  `fate(intent)` says what becomes of each leg.

    Fates: full, part, none, refused (the group), late (of unknown fate, then full), lost (of
    unknown fate, then nothing), stuck (works until cancelled), after (ends, then one more fill).
    Every trade goes into `fills`; money moves with it, and nothing else moves money.
    """

    def __init__(self, market: Market, strategy: object, rng: Random, fate) -> None:
        self.market, self.strategy, self.rng, self.fate = market, strategy, rng, fate
        self.fills: list[tuple[str, Side, Decimal, Decimal, Decimal, str]] = []
        self.queue: list[tuple[int, int, object]] = []
        self.count = 0
        self.note: str | None = None
        self.intents: dict[str, Intent] = {}
        self.sent_ns: dict[str, int] = {}
        self.working: dict[str, str] = {}  # parent id -> client id

    def at(self, delay_ms: int, what: object) -> None:
        self.count += 1
        heappush(self.queue, (self.market.now_ns + delay_ms * MS, self.count, what))

    def tell(self, event: object) -> None:
        self.carry_out(self.strategy.on_event(event, self.market))

    def carry_out(self, reaction: Reaction) -> None:
        if reaction.note is not None:
            self.note = reaction.note
        for parent in reaction.cancels:
            if (client := self.working.pop(parent, None)) is not None:
                self.at(5, lambda client=client: self.end(client, Status.CANCELED))
        for group in reaction.groups:
            fates = [self.fate(intent) for intent in group.legs]
            if "refused" in fates:
                self.tell(Refused(group.name, "risk_halted", "for the test"))
                continue
            for intent, fate in zip(group.legs, fates, strict=True):
                self.place(intent, fate)
        if reaction.wake_at_ns is not None:
            self.count += 1
            heappush(
                self.queue, (max(reaction.wake_at_ns, self.market.now_ns + 1), self.count, Woke())
            )

    def place(self, intent: Intent, fate: str) -> None:
        client = intent.client_order_id
        assert client not in self.intents, "an id twice"
        intent.check(self.market.now_ns)
        self.intents[client] = intent
        self.sent_ns[client] = self.market.now_ns
        self.market.parents[client] = ParentView(
            id=f"p{client}", client_order_id=client, group=intent.group, symbol=intent.symbol,
            side=intent.side, venues=intent.venues.include, qty=intent.qty, filled=D(0), net=D(0),
            notional=D(0), avg_px=None, fees={}, status=Status.PENDING_NEW,
        )  # fmt: skip
        ms = self.rng.randint(1, 40)
        match fate:
            case "full" | "part" | "none":
                share = {"full": D(1), "none": D(0)}.get(fate, D(self.rng.randint(1, 9)) / 10)
                self.at(ms, lambda: self.fill(client, share, Status.EXPIRED))
            case "late" | "lost":
                self.at(ms, lambda: self.moved(client, Status.UNKNOWN))
                late_ms = self.rng.randint(100, 8_000)
                share = D(1) if fate == "late" else D(0)
                self.at(ms + late_ms, lambda: self.fill(client, share, Status.EXPIRED))
            case "stuck":
                self.working[f"p{client}"] = client
                self.at(ms, lambda: self.fill(client, D("0.5"), Status.PARTIALLY_FILLED))
            case "after":
                self.at(ms, lambda: self.fill(client, D("0.5"), Status.EXPIRED))
                self.at(ms + 3_000, lambda: self.fill(client, D(1), Status.EXPIRED))
            case _:
                raise AssertionError(fate)

    def fill(self, client: str, share: Decimal, status: Status) -> None:
        """Take what the ladder has within the limit, `share` of it, in one trade a venue."""
        intent, before = self.intents[client], self.market.parents[client]
        left = intent.qty - before.filled
        for venue in intent.venues.include or tuple(self.market.books):
            book = self.market.books[venue]
            of, there, value = book.instrument, D(0), D(0)
            if self.market.broken.get(venue):
                continue
            for px_units, size in book.asks if intent.side is Side.BUY else book.bids:
                px = of.px_decimal(px_units)
                worse = px > intent.limit_px if intent.side is Side.BUY else px < intent.limit_px
                take = min(of.qty_decimal(size), left - there)
                if worse or not take:
                    break
                there, value = there + take, value + px * take
            lot = of.qty_decimal(of.lot)
            qty = there * share // lot * lot
            if qty:
                self.trade(client, venue, qty, (value / there).quantize(D("1e-9")))
                left -= qty
        self.end(client, status)

    def trade(self, client: str, venue: str, qty: Decimal, px: Decimal) -> None:
        intent, tier = self.intents[client], self.market.tiers[venue]
        buying = intent.side is Side.BUY
        in_base = tier.fee_in is FeeIn.BASE or (tier.fee_in is FeeIn.RECEIVED and buying)
        fee, asset = (qty * tier.taker, "BTC") if in_base else (qty * px * tier.taker, "USDT")
        sign = 1 if buying else -1
        self.fills.append((venue, intent.side, qty, px, fee, asset))
        self.market.money[venue, "BTC"] += sign * qty
        self.market.money[venue, "USDT"] -= sign * qty * px
        self.market.money[venue, asset] -= fee
        assert min(self.market.money.values()) >= 0, "spent what was not there"
        old = self.market.parents[client]
        charged = dict(old.fees)
        charged[asset] = charged.get(asset, D(0)) + fee
        net = old.net + qty - (fee * sign if in_base else 0)
        self.market.parents[client] = ParentView(
            id=old.id, client_order_id=client, group=old.group, symbol=old.symbol, side=old.side,
            venues=old.venues, qty=old.qty, filled=old.filled + qty, net=net,
            notional=old.notional + qty * px, avg_px=px, fees=charged, status=old.status,
        )  # fmt: skip

    def moved(self, client: str, status: Status) -> None:
        import msgspec

        old = self.market.parents[client]
        new = self.market.parents[client] = msgspec.structs.replace(old, status=status)
        self.tell((ParentDone if status.is_final else ParentMoved)(new))
        self.tell((ParentDone if status.is_final else ParentMoved)(new))  # twice changes nothing

    def end(self, client: str, status: Status) -> None:
        old = self.market.parents[client]
        self.moved(client, Status.FILLED if old.filled == old.qty else status)

    def run(self, until_ns: int) -> None:
        """Let things happen in order, up to then."""
        while self.queue and self.queue[0][0] <= until_ns:
            at_ns, _, what = heappop(self.queue)
            self.market.now_ns = max(self.market.now_ns, at_ns)
            if callable(what):
                what()
            else:
                self.tell(what)
        self.market.now_ns = until_ns

    def book_moved(self) -> None:
        self.tell(BookMoved(PAIR))


@pytest.fixture
def desk() -> SimpleNamespace:
    """The words above, for tests."""
    return SimpleNamespace(
        D=D, PAIR=PAIR, MS=MS, Market=Market, Executor=Executor, rules=rules, fees=fees
    )
