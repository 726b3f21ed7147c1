"""Random orders at random rules: what the engine sends, no venue's filter refuses.

The judge is the simulators' own check of an order (`sim.desk.Desk.prepare`), which was written from
the venues' words and knows nothing of the engine.
"""

from dataclasses import replace
from decimal import Decimal
from random import Random

import pytest

from hean_router.book import Book, BookState, ConsolidatedBook
from hean_router.domain.desk import (
    BalancesSeen,
    Budget,
    DeskStanding,
    FillsSeen,
    OpenSeen,
    PlaceAnswered,
    Told,
)
from hean_router.domain.feed import Snapshot
from hean_router.domain.instrument import Instrument, Pair, Side, VenueId
from hean_router.domain.limits import Bounds, RiskLimits
from hean_router.domain.order import Accepted, Balance, OrderReport, OrderState, Tif
from hean_router.domain.parent import Intent, Life, OrderKind
from hean_router.domain.record import ChildIntended
from hean_router.domain.venue import FeeIn, Fees
from hean_router.engine import (
    AskDesk,
    CancelParent,
    DeskTold,
    Due,
    Engine,
    PlaceOrder,
    Started,
    Submit,
)
from hean_router.sim.accounts import AccountSpec, Refusal, Terms, Why
from hean_router.sim.desk import Desk
from hean_router.sim.exchange import Exchange
from hean_router.sim.exchange import Side as SimSide
from hean_router.sim.exchange import Tif as SimTif
from hean_router.sim.listing import Listing
from hean_router.sim.rules import Rules

SECOND = 1_000_000_000
BTC, RATE = Pair.parse("BTC/USDT"), Pair.parse("USDT/USD")
WIDE = RiskLimits(
    portfolio=Bounds(stale_ms=10_000_000),
    each_account=Bounds(),
    each_venue=Bounds(),
    each_symbol=Bounds(),
)
FILTERS = {
    Why.PX_TICK, Why.PX_MIN, Why.PX_MAX, Why.QTY_STEP, Why.QTY_MIN, Why.QTY_MAX,
    Why.NOTIONAL_MIN, Why.NOTIONAL_MAX,
}  # fmt: skip


def random_listing(rng, pair=BTC):
    """Rules as venues have them, and stranger ones."""
    tick = rng.choice((1, 2, 5, 25)) * Decimal(1).scaleb(-rng.randint(0, 3))
    lot = rng.choice((1, 2, 5)) * Decimal(1).scaleb(-rng.randint(2, 8))
    return Listing(
        base=pair.base,
        quote=pair.quote,
        tick=tick,
        lot=lot,
        min_qty=lot * rng.choice((1, 3, 10, 1_000)),
        max_qty=lot * rng.choice((5_000, 100_000, 10**9)),
        min_notional=Decimal(rng.choice(("0", "1", "5", "10", "99.5"))),
    )


def instrument_of(venue, listing, notional_max):
    """The same rules in the router's words."""
    px_decimals, qty_decimals = listing.px_decimals, listing.qty_decimals
    return Instrument(
        venue=VenueId(venue),
        pair=Pair(listing.base, listing.quote),
        symbol=listing.symbol,
        px_decimals=px_decimals,
        qty_decimals=qty_decimals,
        tick=int(listing.tick.scaleb(px_decimals)),
        lot=int(listing.lot.scaleb(qty_decimals)),
        min_qty=int(listing.min_qty.scaleb(qty_decimals)),
        max_qty=int(listing.max_qty.scaleb(qty_decimals)),
        min_notional=listing.min_notional,
        max_notional=notional_max,
    )


class Place:
    """One venue: its rules twice over, its book, and its judge."""

    def __init__(self, venue, rng):
        self.listing = random_listing(rng)
        self.rules = Rules()
        self.rules.notional_max = rng.choice((None, None, Decimal(9_000), Decimal(500_000)))
        self.of = instrument_of(venue, self.listing, self.rules.notional_max)
        rich = {"BTC": Decimal(10**9), "USDT": Decimal(10**12)}
        self.desk = Desk(
            Exchange(venue, [self.listing]), self.rules, [AccountSpec("main", 1, (), rich)]
        )
        self.book = Book(self.of)
        self.fill(rng)

    def fill(self, rng):
        of = self.of
        mid = int(Decimal(1_000 + rng.randint(-2, 2)).scaleb(of.px_decimals)) // of.tick * of.tick
        sides = []
        for sign in (-1, 1):
            px, levels = mid, []
            for _ in range(rng.randint(1, 6)):
                px += sign * of.tick * rng.randint(1, 4)
                if px <= 0:
                    break
                lots = max(1, int(rng.choice((0.001, 0.05, 1, 20)) * 10**of.qty_decimals / of.lot))
                levels.append((px, lots * of.lot))
            sides.append(levels or [(of.tick if sign < 0 else mid + of.tick, of.lot)])
        self.book.snapshot(Snapshot(of, *sides, seq=1), SECOND)
        self.book.enter(BookState.LIVE, "", SECOND)

    def judge(self, order):
        of = order.instrument
        terms = Terms(
            symbol=self.listing.symbol,
            side=SimSide(order.side.value),
            qty=of.qty_decimal(order.qty),
            px=of.px_decimal(order.px),
            tif=SimTif(order.tif.value),
        )
        return self.desk.prepare(self.desk.accounts["main"], terms), terms


class World:
    """Two to four such venues, and a rate for the reporting currency."""

    def __init__(self, rng):
        self.places = {name: Place(name, rng) for name in "abcd"[: rng.randint(2, 4)]}
        self.pairs = (BTC, RATE)
        view, rates = ConsolidatedBook(BTC), ConsolidatedBook(RATE)
        for place in self.places.values():
            taker = Decimal(rng.choice(("0", "0.0004", "0.001", "0.004")))
            fee_in = rng.choice(list(FeeIn))
            view.add(place.book, Fees(taker=taker, maker=taker / 2, fee_in=fee_in))
        listing = replace(random_listing(rng, RATE), tick=Decimal("0.0001"), lot=Decimal("0.01"),
                          min_qty=Decimal("0.01"), max_qty=Decimal(10**6))  # fmt: skip
        usd = Book(instrument_of("a", listing, None))
        usd.snapshot(Snapshot(usd.instrument, [(9_999, 100)], [(10_001, 100)], seq=1), SECOND)
        usd.enter(BookState.LIVE, "", SECOND)
        rates.add(usd, Fees(taker=Decimal(0), maker=Decimal(0)))
        self.books = {BTC: view, RATE: rates}

    def book(self, pair):
        return self.books.get(pair)

    def instruments(self, pair):
        return {name: place.of for name, place in self.places.items()} if pair is BTC else {}

    def unlisted(self, venue, pair):
        return None

    def budget(self, venue, account, instrument):
        return Budget(1_000)

    def visibility_ns(self, venue):
        return SECOND

    def flight_ns(self, venue):
        return 4_000_000_000

    def question_ns(self, venue):
        return 0


class Run:
    """An engine on such a world, whose orders are judged and mostly come to nothing."""

    def __init__(self, seed):
        self.rng = Random(seed)
        self.world = World(self.rng)
        self.now_ns, self.judged = 2 * SECOND, 0
        self.held = {}  # by venue
        desks = {(name, "main"): "" for name in self.world.places}
        self.engine = Engine(self.world, WIDE, desks=desks)
        self.step(Started(epoch=1, tag="tst", version="0", config_digest="", mode="live"))
        for name in self.world.places:
            self.step(DeskTold(name, "main", DeskStanding(ready=True, fresh=True)))
        for _ in range(5):
            self.step(Due(), 1.0)
        ready = [why.why for why in self.engine.core.desks.values()]
        assert not any(ready), ready

    def step(self, event, after_s=0.0):
        self.now_ns += int(after_s * SECOND)
        todo = [event]
        while todo:
            step = self.engine.step(todo.pop(0), self.now_ns)
            for command in step.commands:
                todo += self.answers(command)
        return step

    def answers(self, command):
        match command:
            case PlaceOrder(intended=intended, approved=approved):
                return self.sent(intended, approved.order)
            case AskDesk(what="open", venue=venue):
                event = OpenSeen(
                    instruments=[self.world.places[venue].of], reports=(), asked_ns=self.now_ns
                )
            case AskDesk(what="balances", venue=venue):
                rng = self.rng
                fresh = {"BTC": rng.choice(("0.5", "30", "90000")),
                         "USDT": rng.choice(("700", "50000", "900000000"))}  # fmt: skip
                held = self.held.setdefault(venue, fresh)  # nothing of ours trades: it stays
                found = [Balance(asset=asset, total=Decimal(one)) for asset, one in held.items()]
                event = BalancesSeen(balances=found, asked_ns=self.now_ns)
            case AskDesk(what="fills", venue=venue):
                event = FillsSeen(instrument=command.instrument, since_ns=command.since_ns,
                                  fills=(), asked_ns=self.now_ns)  # fmt: skip
            case _:
                return []
        return [DeskTold(venue, "main", event)]

    def sent(self, intended: ChildIntended, order):
        place = self.world.places[intended.venue]
        verdict, terms = place.judge(order)
        self.judged += 1
        if isinstance(verdict, Refusal) and verdict.why in FILTERS:
            raise AssertionError(f"{verdict.why}: {verdict} of {terms} at {place.listing}")
        answer = PlaceAnswered(key=order.key, outcome=Accepted("v"), until_ns=self.now_ns)
        told = [DeskTold(intended.venue, "main", answer)]
        if order.tif is not Tif.GTC:
            report = OrderReport(instrument=order.instrument, key=order.key, venue_order_id="v",
                                 state=OrderState.EXPIRED, cum_qty=0)  # fmt: skip
            told.append(DeskTold(intended.venue, "main", Told(report)))
        return told

    def order(self, number):
        rng = self.rng
        limit = None
        if rng.random() < 0.6:
            away = Decimal(rng.choice(("0.9", "0.97", "0.999", "1", "1.001", "1.03")))
            limit = (1_000 * away).quantize(Decimal(1).scaleb(-rng.randint(0, 4)))
        life = Life.IOC if limit is None else rng.choice((Life.IOC, Life.FOK, Life.GTC))
        size = Decimal(rng.choice((1, 3, 17, 999))).scaleb(-rng.randint(0, 7))
        if rng.random() < 0.5:  # a size that somebody can have
            step = rng.choice(list(self.world.places.values())).listing.lot
            size = step * rng.randint(1, 20_000)
        by_quote = life is not Life.GTC and rng.random() < 0.2
        return Intent(
            account="main",
            client_order_id=f"c{number}",
            symbol="BTC/USDT",
            side=rng.choice(list(Side)),
            kind=OrderKind.MARKET if limit is None else OrderKind.LIMIT,
            life=life,
            qty=None if by_quote else size,
            quote_qty=size * 1_000 if by_quote else None,
            limit_px=limit,
            post_only=life is Life.GTC and rng.random() < 0.3,
        )

    def run(self, parents):
        for number in range(parents):
            answer = self.step(Submit((self.order(number),), "test"), 0.2).answer
            for parent in getattr(answer, "parents", ()):
                self.step(Due(), 0.15)
                self.step(CancelParent(parent=parent, why="enough", by="test"))
                for child in self.engine.oms.parents[parent].children:
                    if child.is_live:
                        report = OrderReport(
                            instrument=self.world.places[child.venue].of, key=child.key,
                            venue_order_id="v", state=OrderState.CANCELED, cum_qty=0,
                        )  # fmt: skip
                        self.step(DeskTold(child.venue, "main", Told(report)))
        return self.judged


def many(worlds, parents):
    judged = sum(Run(seed).run(parents) for seed in range(worlds))
    assert judged > worlds * parents // 10, f"only {judged} orders were sent"
    return judged


def test_no_order_meets_a_filter():
    many(worlds=40, parents=25)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    "worlds",
    [
        pytest.param(500, marks=pytest.mark.slow),
        pytest.param(2_000, marks=pytest.mark.storm),
    ],
)
def test_so_many_worlds_of_fifty_random_orders_meet_no_filter(worlds):
    judged = many(worlds=worlds, parents=50)
    print(f"{50 * worlds} parents, {judged} orders judged")


def test_the_judge_would_notice(monkeypatch):
    monkeypatch.setattr("hean_router.engine.routing.fits", lambda *_args: "")
    monkeypatch.setattr("hean_router.engine.routing.lot_qty", lambda of, qty: 1 + int(qty) * of.lot)
    with pytest.raises(AssertionError, match=r"off the lot|qty_step|qty_min"):
        many(worlds=40, parents=25)
