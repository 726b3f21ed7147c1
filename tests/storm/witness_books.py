"""I28: a LIVE book is the venue's own book, as it was at one of its moments."""

from collections import OrderedDict
from itertools import islice
from typing import Any

from hean_router.audit import Broken, Findings, checks
from hean_router.domain.instrument import Side

DEPTH = 6  # every venue's book proves ten
KEPT = 4_000  # moments of each listing
LOOKS = 2  # a frame that was lost is noticed by the next one


class Oracle:
    """Keeps the best levels of every venue's book after each of its steps."""

    def __init__(self, home: Any, findings: Findings) -> None:
        self.home, self.findings, self.counts = home, findings, findings.counts
        self.moments: dict[tuple[str, str], OrderedDict[Any, None]] = {}
        self._odd: dict[tuple[str, str], int] = {}  # looks, one after another

    def listen(self) -> None:
        """From now on, for as long as the venues last."""
        for name, venue in self.home.venues.items():
            exchange = venue.exchange
            for symbol in exchange.listings:
                self._keep(name, exchange, symbol)
            for what in ("place", "reduce", "cancel"):
                setattr(exchange, what, self._heard(name, exchange, getattr(exchange, what)))

    def _heard(self, name: str, exchange: Any, act: Any) -> Any:
        def acted(*args, **options):
            step = act(*args, **options)
            if step is not None and step.levels:
                self._keep(name, exchange, step.symbol)
            return step

        return acted

    def _keep(self, name: str, exchange: Any, symbol: str) -> None:
        bids, asks = exchange.book(symbol, DEPTH)
        moment = tuple((one.px, one.qty) for side in (bids, asks) for one in side)
        of = exchange.listings[symbol]
        kept = self.moments.setdefault((name, of.symbol), OrderedDict())
        kept[moment] = None
        kept.move_to_end(moment)
        if len(kept) > KEPT:
            kept.popitem(last=False)

    @checks("I28", "world")
    def same(self, view: Any) -> None:
        """Snapshot and deltas give the venue's own book, at one of its moments."""
        for venue, live in view.live().items():
            of = live.instrument
            place = (str(venue), str(of.pair))
            if place not in self.moments:
                continue
            self.counts["I28"] += 1
            exchange = self.home.venues[place[0]].exchange
            listing = exchange.listings[place[1]]
            ours = tuple(
                (listing.ticks(of.px_decimal(px)), listing.lots(of.qty_decimal(qty)))
                for side in (Side.SELL, Side.BUY)
                for px, qty in islice(live.facing(side), DEPTH)
            )
            if ours in self.moments[place]:
                self._odd.pop(place, None)
            elif self._odd.get(place, 0) >= LOOKS:
                self.findings.tell(
                    Broken(
                        invariant="I28",
                        subject=" ".join(place),
                        text=f"stands at {ours[:1]}, which {place[0]} never did",
                        at_ns=self.home.world.now_ns,
                        venue=place[0],
                    )
                )
            else:
                self._odd[place] = self._odd.get(place, 0) + 1
