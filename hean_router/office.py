"""Wiring of the order side: a router, a journal, desks, an engine and the API, as one running thing.

`app` makes the market; this adds what trades on it.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from pathlib import Path
from random import Random

import aiohttp

import hean_router
from hean_router.app import Router, Target
from hean_router.config import Settings
from hean_router.domain.desk import FeesSeen, Sent
from hean_router.domain.errors import ConfigError
from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.domain.order import ChildOrder, Credentials
from hean_router.domain.record import NonceReserved, Row
from hean_router.domain.venue import Fees
from hean_router.engine import Engine, Policy, Started
from hean_router.runtime.clock import Clock, steady_clock
from hean_router.runtime.http import Http
from hean_router.runtime.limits import Limits
from hean_router.runtime.order_desk import VenueDesk
from hean_router.runtime.paper_desk import PaperDesk
from hean_router.runtime.trading import MarketWorld, Trading
from hean_router.store import Journal
from hean_router.store.urls import JOURNAL_FILE
from hean_router.strategy import Strategy, make_strategy
from hean_router.telemetry import OrderMetrics
from hean_router.venue import registry
from hean_router.venue.gateway import OrderDesk

log = logging.getLogger(__name__)

PAPER = "paper"  # the account of paper trading


class Office:
    """A router that trades.

    `state` is the folder of the journal and all else that must outlive the process; None keeps it
    in memory, for tests and simulation.  `paper` pretends, with the venues' real books.
    """

    def __init__(
        self,
        settings: Settings,
        chosen: Sequence[Target],
        pairs: Sequence[Pair],
        *,
        state: Path | None,
        paper: bool,
        clock: Clock | None = None,
        rng: Random | None = None,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
        tell: Callable[[str], None] | None = None,
        journal: Journal | None = None,
        policy: Policy | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.settings, self.targets, self.paper = settings, chosen, paper
        self.clock, self.rng = clock or steady_clock(), rng or Random()
        self.state = state
        self.router = Router(
            settings,
            chosen,
            pairs,
            clock=self.clock,
            rng=Random(self.rng.getrandbits(64)),
            connector=connector,
            tell=tell,
        )
        self._connector = connector
        self.journal = journal or self._open_journal()
        rows = [row for _, row in self.journal.rows()]
        self.metrics = OrderMetrics()
        self.desks: dict[tuple[str, str], OrderDesk] = {}
        self._make_desks(rows)
        market = self.router.market
        self.world = MarketWorld(market, self.desks)
        self.engine = Engine(
            self.world,
            settings.limits.limits(),
            desks=dict.fromkeys(self.desks, ""),
            strategies=self._strategies(),
            policy=policy or Policy(),
            reporting=settings.limits.reporting,
        )
        self.trading = Trading(
            market,
            self.engine,
            self.journal,
            self.desks,
            self.clock,
            hear=self.metrics.row,
            sent=self._sent,
            fees=self._fees,
            timing=self.metrics.stage,
            entropy=entropy,
        )
        self.trading.recover(rows)
        self._restore_paper()

    # ------------------------------------------------------------------------- parts

    def _open_journal(self) -> Journal:
        if self.state is None:
            return Journal.memory()
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Journal.open(self.state / JOURNAL_FILE, sync=self.settings.journal.sync)

    def _strategies(self) -> list[Strategy]:
        return [
            make_strategy(one.kind, name, one.account or self.account, one.params)
            for name, one in self.settings.strategies.items()
        ]

    @property
    def account(self) -> str:
        """The account that is meant where none is named."""
        accounts = sorted({account for _, account in self.desks})
        return "main" if "main" in accounts or not accounts else accounts[0]

    def _make_desks(self, rows: Sequence[Row]) -> None:
        nonces: dict[tuple[str, str], int] = {}
        for row in rows:
            if isinstance(row, NonceReserved):
                nonces[row.venue, row.account] = row.below
        for target in self.targets:
            if self.paper:
                self._paper_desk(target)
                continue
            for account, credentials in target.accounts.items():
                below = nonces.get((target.venue, account), 0)
                self.desks[target.venue, account] = self._venue_desk(target, credentials, below)

    def _paper_desk(self, target: Target) -> None:
        settings = self.settings.paper
        self.desks[target.venue, PAPER] = PaperDesk(
            target.venue,
            PAPER,
            self.router.market,
            self.clock,
            settings.balances,
            delay_ns=settings.delay_ms * 1_000_000,
        )

    def _venue_desk(self, target: Target, credentials: Credentials, nonces_below: int) -> OrderDesk:
        connector = registry.connector(target.venue)
        if connector.orders is None:
            raise ConfigError(f"{target.venue} is only looked at: it takes no orders here")
        http = Http(
            connector.spec,
            target.hosts,
            self.clock,
            self._connector,
            connector.spec.headers.get(target.env),
            direct=target.env == "sim",
            limits=self.router.limits.setdefault(target.venue, Limits(connector.spec, self.clock)),
        )
        return VenueDesk(
            connector,
            credentials,
            http,
            self.clock,
            Random(self.rng.getrandbits(64)),
            nonces_below=nonces_below,
        )

    def _restore_paper(self) -> None:
        """What was resting, and what we had, when the last process ended."""
        for (venue, account), desk in self.desks.items():
            if not isinstance(desk, PaperDesk):
                continue
            held = self.engine.ledger.balances().get((venue, account))
            if held:
                desk.balances = dict(held)

    # ------------------------------------------------------------------------- running

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Office"]:
        """Run in the background for as long as the block lasts."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.router.running())
            self.trading.start(
                Started(
                    epoch=self.journal.epoch,
                    tag=self.journal.tag,
                    version=hean_router.__version__,
                    config_digest=self.settings.digest(),
                    mode=PAPER if self.paper else "live",
                )
            )
            tasks = [asyncio.create_task(self.trading.run())]
            tasks += [
                asyncio.create_task(self._run_desk(venue, account, desk))
                for (venue, account), desk in self.desks.items()
            ]
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
                for found in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(found, Exception):
                        log.error("a fault of our own while closing", exc_info=found)
                self.journal.close()

    async def _run_desk(self, venue: str, account: str, desk: OrderDesk) -> None:
        """Wait until the venue has told its instruments, then keep its desk."""
        while not (listed := self._listed(venue)):
            await asyncio.sleep(0.02)
        if isinstance(desk, PaperDesk):
            self._restore_orders(desk, listed)
        await desk.run(listed, self.trading.sink(venue, account))

    def _listed(self, venue: str) -> list[Instrument]:
        return [
            of
            for (name, pair), of in self.router.market.listed.items()
            if name == venue and pair.part is Part.SPOT
        ]

    def _restore_orders(self, desk: PaperDesk, listed: Sequence[Instrument]) -> None:
        by_symbol = {str(of.pair): of for of in listed}
        for child in self.engine.oms.live.values():
            of = by_symbol.get(child.symbol)
            if (child.venue, child.account) != (desk.venue, desk.account) or of is None:
                continue
            if child.acked_ns is None or child.px is None:
                continue  # it never got there
            order = ChildOrder(
                key=child.key,
                account=child.account,
                instrument=of,
                side=child.side,
                qty=of.qty_of[_text(child.qty)],
                px=of.px_of[_text(child.px)],
                tif=child.intended.tif,
                post_only=child.intended.post_only,
            )
            desk.restore(order, of.qty_of[_text(child.filled)], child.venue_order_id)

    # ------------------------------------------------------------------------- what desks tell

    def _sent(self, event: Sent, tick_ns: int) -> None:
        self.metrics.sent(event, tick_ns)

    def _fees(self, venue: str, _account: str, event: FeesSeen) -> None:
        """The account's own rates replace what was assumed, unless the configuration says."""
        settings = self.settings.venues.get(venue)
        if settings is not None and settings.taker_fee is not None:
            return
        found: dict[Pair, Fees] = {}
        for of in self._listed(venue):
            if (tier := event.fees.get(of.symbol)) is not None:
                found[of.pair] = tier
        self.router.market.set_fees(VenueId(venue), found)


def _text(number: Decimal) -> str:
    return format(number, "f")


__all__ = ["PAPER", "Mapping", "Office"]
