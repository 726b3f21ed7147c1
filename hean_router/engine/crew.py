"""Runs strategies: tells them what happened, places what they want, remembers what they note."""

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal

from hean_router.book import ConsolidatedBook
from hean_router.book.sweep import EXACT, PRECISE
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.rates import Rates
from hean_router.domain.record import Incident, StrategyNoted, StrategySet
from hean_router.domain.venue import Fees
from hean_router.engine.admission import placed_as
from hean_router.engine.command import Placed
from hean_router.engine.core import Core
from hean_router.oms import Parent
from hean_router.strategy import contract
from hean_router.strategy.contract import ParentView, Reaction, Strategy

log = logging.getLogger(__name__)

BOUND = 64  # reactions to reactions in one step; more is a strategy running in circles


def snapshot(parent: Parent) -> ParentView:
    """A parent as strategies see it."""
    base = parent.intent.pair.base
    fee_in_base = parent.fees.get(base, Decimal(0))
    buying = parent.intent.side is Side.BUY
    return ParentView(
        id=parent.id,
        client_order_id=parent.intent.client_order_id,
        group=parent.intent.group,
        symbol=parent.intent.symbol,
        side=parent.intent.side,
        venues=parent.intent.venues.include,
        qty=parent.qty,
        filled=parent.filled,
        net=(EXACT.subtract if buying else EXACT.add)(parent.filled, fee_in_base),
        notional=parent.notional,
        avg_px=PRECISE.divide(parent.notional, parent.filled) if parent.filled else None,
        fees=dict(parent.fees),
        status=parent.status,
        why=parent.ended.why if parent.ended is not None else "",
    )


class Look:
    """What a strategy may see; a thin window on the core."""

    def __init__(self, core: Core, latencies: Mapping[str, int]) -> None:
        self._core, self._latencies = core, latencies

    @property
    def now_ns(self) -> int:
        """The step's time."""
        return self._core.now_ns

    def book(self, pair: Pair) -> ConsolidatedBook | None:
        """All venues' books of `pair`."""
        return self._core.world.book(pair)

    def instruments(self, pair: Pair) -> Mapping[str, Instrument]:
        """How each venue lists it."""
        return self._core.world.instruments(pair)

    def fees(self, pair: Pair) -> Mapping[str, Fees]:
        """Our tier by venue."""
        book = self._core.world.book(pair)
        return {} if book is None else {str(venue): fees for venue, fees in book.fees().items()}

    def free(self, venue: str, account: str, asset: str) -> Decimal | None:
        """Balance minus what is reserved."""
        return self._core.free(venue, account, asset)

    def why_not(self, venue: str, account: str) -> str:
        """Why no order can be sent there; empty if one can."""
        return self._core.why_not(venue, account)

    def rates(self) -> Rates:
        """What assets are worth."""
        return self._core.rates()

    def latency_ns(self, venue: str) -> int:
        """How long that venue takes to answer an order, p95; 0 while unknown."""
        return self._latencies.get(venue, 0)

    def parent(self, account: str, client_order_id: str) -> ParentView | None:
        """The parent of that id as it stands now."""
        found = placed_as(self._core, account, client_order_id)
        return None if found is None else snapshot(found)


class Crew:
    """Every strategy there is, running or not."""

    def __init__(
        self,
        core: Core,
        strategies: Sequence[Strategy],
        params: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.core = core
        self.strategies = {one.name: one for one in strategies}
        self.params = params or {}  # as configured; a start may say more
        # Stopped, but what they had out may still have to be mended: told of their parents.
        self.winding: set[str] = set()
        self.running: dict[str, StrategySet] = {}
        self.notes: dict[str, str] = {}
        self.latencies: dict[str, int] = {}
        self.look = Look(core, self.latencies)
        self._by_pair: dict[Pair, list[Strategy]] = {}

    def take(self, row: StrategySet | StrategyNoted) -> None:
        """Fold a row."""
        match row:
            case StrategySet(running=True):
                self.running[row.strategy] = row
            case StrategySet():
                self.running.pop(row.strategy, None)
            case StrategyNoted():
                self.notes[row.strategy] = row.state
        self._by_pair = {}
        for name in self.running:
            if (one := self.strategies.get(name)) is not None:
                for pair in one.pairs:
                    self._by_pair.setdefault(pair, []).append(one)

    def hears(self, name: str) -> bool:
        """Whether a strategy is told of its parents: it runs, or winds up."""
        return name in self.running or name in self.winding

    @property
    def idle(self) -> bool:
        """Whether no strategy runs."""
        return not self.running

    def concerned(self, pair: Pair) -> Sequence[Strategy]:
        """Running strategies that look at `pair`."""
        return self._by_pair.get(pair, ())

    def tell(self, strategy: Strategy, event: contract.Event) -> Reaction | None:
        """Tell one strategy; a fault of its own stops it, and nothing else."""
        try:
            return strategy.on_event(event, self.look)
        except Exception as fault:
            log.exception("strategy %s failed", strategy.name)
            self.failed(strategy, fault)
            return None

    def failed(self, strategy: Strategy, fault: Exception) -> None:
        """A row that says so."""
        self.core.write(
            Incident(
                at_ns=self.core.now_ns,
                what="strategy_failed",
                text=f"{type(fault).__name__}: {fault}"[:500],
                subject=strategy.name,
            )
        )


__all__ = ["BOUND", "Crew", "Look", "Placed", "snapshot"]
