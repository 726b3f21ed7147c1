"""An engine without a venue in sight: events by hand, and a world that answers from a table."""

from decimal import Decimal

from hean_router.domain.desk import Budget
from hean_router.domain.instrument import Instrument, Pair, VenueId
from hean_router.domain.limits import RiskLimits
from hean_router.engine import DeskTold, Due, Engine, Policy, Started

SECOND = 1_000_000_000
BTC = Pair.parse("BTC/USDT")
ETH = Pair.parse("ETH/USDT")


class Nowhere:
    """A world of listings alone."""

    def __init__(self, *pairs, venues=("a", "b")):
        self.pairs = pairs or (BTC, ETH)
        self.listed = {pair: set(venues) for pair in self.pairs}

    def book(self, pair):
        return None

    def instruments(self, pair):
        return {venue: listing(venue, pair) for venue in sorted(self.listed[pair])}

    def unlisted(self, venue, pair):
        return None

    def budget(self, venue, account, instrument):
        return Budget(1)

    def visibility_ns(self, venue):
        return SECOND

    def flight_ns(self, venue):
        return 4_000_000_000

    def question_ns(self, venue):
        return 0


def listing(venue, pair=BTC):
    return Instrument(
        venue=VenueId(venue),
        pair=pair,
        symbol=str(pair),
        px_decimals=1,
        qty_decimals=4,
        tick=1,
        lot=1,
        min_qty=1,
        min_notional=Decimal(0),
    )


class Bench:
    """Steps an engine by hand; `asked` are the commands since they were last taken."""

    def __init__(self, world=None, *, desks=(("a", "main"), ("b", "main")), **more):
        self.world = world or Nowhere()
        self.engine = Engine(
            self.world, RiskLimits(), desks=dict.fromkeys(desks, ""), policy=Policy(), **more
        )
        self.now_ns, self.rows, self.commands = 1_000 * SECOND, [], []

    def started(self, *rows):
        self.engine.replay(rows)
        self.step(Started(epoch=1, tag="tst", version="0", config_digest="", mode="live"))
        return self

    def step(self, event, after_s=0.0):
        self.now_ns += round(after_s * SECOND)
        step = self.engine.step(event, self.now_ns)
        self.rows += step.rows
        self.commands += step.commands
        return step

    def told(self, venue, event, after_s=0.0):
        return self.step(DeskTold(venue, "main", event), after_s)

    def wait(self, seconds, every_s=1.0):
        for _ in range(round(seconds / every_s)):
            self.step(Due(), every_s)

    def taken(self):
        found, self.commands = self.commands, []
        return found

    def why(self, venue):
        return self.engine.core.desks[venue, "main"].why
