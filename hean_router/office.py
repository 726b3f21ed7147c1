"""Wiring of the order side: router, journal, desks, engine and API as one running thing.

`app` makes the market; this adds what trades on it.
"""

import asyncio
import logging
import os
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from shutil import disk_usage
from typing import Any

import aiohttp

import hean_router
from hean_router.api import Desk, Fills
from hean_router.app import Router, Target
from hean_router.config import Settings
from hean_router.domain.desk import DeskStanding, FeesSeen, Sent
from hean_router.domain.errors import ConfigError, HeanError
from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.domain.order import ChildOrder, Credentials
from hean_router.domain.record import Checkpoint, Row
from hean_router.domain.venue import Fees
from hean_router.engine import Engine, Keep, Policy, Started
from hean_router.oms import ChildStatus
from hean_router.portfolio import exposure
from hean_router.risk.scopes import duplicate_span_ns
from hean_router.runtime.clock import Clock, steady_clock, wall_ns
from hean_router.runtime.clock_offset import ClockOffset
from hean_router.runtime.http import Http
from hean_router.runtime.limits import KeyLimits, Limits
from hean_router.runtime.order_budget import limits_factor, scaled
from hean_router.runtime.order_desk import DeskPolicy, NativeDesk
from hean_router.runtime.paper_desk import PaperDesk
from hean_router.runtime.saved import StateError, dump, layout_of, load, read
from hean_router.runtime.standing import shut as shut_lines
from hean_router.runtime.supervisor import ended, kept
from hean_router.runtime.trading import MarketWorld, Trading
from hean_router.store import Journal, states
from hean_router.store.feeder import Feeder
from hean_router.store.past import Archive
from hean_router.store.query import QueryStore
from hean_router.store.schema import upgrade
from hean_router.store.urls import JOURNAL_FILE, beside, read_url
from hean_router.strategy import Arbitrage, Opportunity, ScanParams, Strategy, make, scan
from hean_router.telemetry import Figures, OrderMetrics, OrderStanding
from hean_router.venue import registry
from hean_router.venue.gateway import OrderDesk

log = logging.getLogger(__name__)

PAPER = "paper"  # the account of paper trading
SAVED_EVERY = 20_000  # rows between two states
SAVED_LEAST = 2_000  # rows that are worth one at the end
SAVED_MOST = 10_000  # parents in memory, 10 us each


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
        keep: Keep | None = None,
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
        self._connector, self._tell = connector, tell
        self._offsets: dict[str, ClockOffset] = {}
        self._https: list[Http] = []
        self.journal = journal or self._open_journal()
        self.archive = _archive(self.journal)
        self._at_checkpoint = False
        self.desks: dict[tuple[str, str], OrderDesk] = {}
        self.world = MarketWorld(self.router.market, self.desks)
        self.router.market.on_listed.append(self._relisted)
        self._policy, self._keep, self._entropy = policy or policy_of(settings), keep, entropy
        self._wall = None if clock is not None else wall_ns
        self._make()
        self._saved_seq = self._recover()
        self._make_desks(self.engine.core.nonces)
        self._resume()
        self._restore_paper()

    # ------------------------------------------------------------------------- parts

    def _make(self) -> None:
        """Everything that rows are folded into, new."""
        settings = self.settings
        self.metrics, self.fills = OrderMetrics(), Fills()
        self.engine = Engine(
            self.world,
            settings.limits.limits(),
            desks=dict.fromkeys(self._places(), ""),
            strategies=self._strategies(),
            strategy_params={name: one.params for name, one in settings.strategies.items()},
            policy=self._policy,
            keep=self._keep or Keep(),
            reporting=settings.limits.reporting,
        )
        if self.archive is not None:
            self.engine.core.past = self.archive
        self.trading = Trading(
            self.router.market,
            self.engine,
            self.journal,
            self.desks,
            self.clock,
            hear=self._hear,
            sent=self._sent,
            fees=self._fees,
            timing=self.metrics.stage,
            committed=self._committed,
            denied=self.metrics.denied,
            gate=settings.limits.for_gate(),
            wall=self._wall,
            entropy=self._entropy,
        )
        self.figures = Figures(self.engine, self.metrics.stages, self._messages, self.clock())

    def _places(self) -> list[tuple[str, str]]:
        """Every account at every venue, as they are configured."""
        return [
            (target.venue, account)
            for target in self.targets
            for account in ([PAPER] if self.paper else target.accounts)
        ]

    def _recover(self) -> int:
        """Take up the newest state that holds, and the rows after it; the state's row, 0 for none.

        Of a state that does not hold a row is written once we stand; then an older one serves, or
        every row.
        """
        limits = self.settings.limits
        self._layout = layout_of(duplicate_span_ns(limits.limits()), limits.for_gate())
        self._state_faults, others = list[str](), 0
        seq = 0 if self.archive is None else 1 << 62
        while seq:
            found = states.newest(self.journal, self._layout, seq)
            self._state_faults += found.faults
            seq, others = found.seq, found.others
            if seq and self._take_up(found):
                break
        if not seq and others:
            log.info("states were written by another version: every row is read")
        self.trading.recover(self._read(self.journal.rows(seq)))
        return seq

    def _take_up(self, found: states.Found) -> bool:
        """Whether that state could be taken up; if not, everything is new."""
        try:
            load(self.trading, read(found.data), self.figures.trips, self.metrics)
        except StateError as fault:
            self._state_faults.append(f"the state at row {found.seq}: {fault}")
            self._make()
            return False
        self.fills = Fills(seq=found.seq)
        return True

    def _read(self, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
        """Each row to whoever follows them beside the trading itself."""
        for seq, row in rows:
            self.figures.resume((row,))
            self.metrics.resume((row,))
            self.fills.apply(row)
            yield seq, row

    def _open_journal(self) -> Journal:
        if self.state is None:
            return Journal.memory()
        self.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Journal.open(self.state / JOURNAL_FILE, sync=self.settings.journal.sync)

    def _strategies(self) -> list[Strategy]:
        found = []
        for name, one in self.settings.strategies.items():
            strategy = make(one.kind, name=name, account=one.account or self.account)
            strategy.configure(one.params)
            found.append(strategy)
        return found

    @property
    def account(self) -> str:
        """The account that is meant where none is named."""
        accounts = sorted({account for _, account in self._places()})
        return "main" if "main" in accounts or not accounts else accounts[0]

    def _make_desks(self, nonces: Mapping[tuple[str, str], int]) -> None:
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
        factor = limits_factor(target.limits)
        spec = scaled(connector.spec, factor)
        shared = self.router.limits.setdefault(target.venue, Limits(spec, self.clock))
        http = Http(
            spec,
            target.hosts,
            self.clock,
            self._connector,
            spec.headers.get(target.env),
            direct=target.env == "sim",
            limits=KeyLimits(shared, spec, self.clock),
        )
        self._https.append(http)
        return NativeDesk(
            connector,
            credentials,
            http,
            self.clock,
            Random(self.rng.getrandbits(64)),
            policy=DeskPolicy(dead_man_s=self._dead_man_s(target.venue)),
            nonces_granted=nonces_below,
            limits_factor=factor,
            tell=self._tell,
            offset=self._offsets.setdefault(target.venue, ClockOffset()),
        )

    def _dead_man_s(self, venue: str) -> int:
        """Of our silence until the venue ends our orders; wherever that venue is, 0 for never."""
        one = self.settings.venues.get(venue)
        return 0 if one is None else one.dead_man_s

    def _resume(self) -> None:
        self._to_save, self._parts = asyncio.Event(), list[Iterator[None]]()
        self.metrics.standing = self._standing
        self.router.metrics.add(self.metrics)
        self.feeder: Feeder | None = None
        self.query: QueryStore | None = None
        url = self.settings.query.url.get_secret_value()
        if self.state is not None and url != "off":
            self.store = read_url(url or beside(self.state / JOURNAL_FILE))
            self.feeder = Feeder(self.journal, self.store)
            self.query = QueryStore(self.store)

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
                    limits_digest=self.settings.limits_digest(),
                    mode=PAPER if self.paper else "live",
                )
            )
            for name, one in self.settings.strategies.items():
                if one.start and name not in self.engine.crew.running:
                    self.trading.start_strategy(name, one.params, "configuration")
            died = self.trading.task_died
            self.router.on_death.append(died)
            self.router.on_beat.append(self.trading.heartbeat)
            work: dict[str, Callable[[], Awaitable[None]]] = {
                "the engine's timer": self.trading.run,
                "the key figures": self._sample,
            }
            for fault in self._state_faults:
                self.trading.note("state_spoiled", f"{fault}; it was passed over")
            work["the states"] = self._save_states
            if (feeder := self.feeder) is not None:
                work["the query store's feeder"] = lambda: self._feed(feeder)
            for (venue, account), desk in self.desks.items():
                name = f"the desk of {account} at {venue}"
                work[name] = partial(self._run_desk, venue, account, desk)
            tasks = [asyncio.create_task(kept(name, one, died)) for name, one in work.items()]
            try:
                yield self
            finally:
                ending = self.settings.shutdown
                await self.trading.wind_up(ending.orders, ending.within_s)
                for found in await ended(tasks):
                    log.error("a fault of our own while closing", exc_info=found)
                self.trading.close()
                self._save_last()
                for http in self._https:
                    await http.close()
                if self.query is not None:
                    await self.query.close()
                self.journal.close()

    async def _run_desk(self, venue: str, account: str, desk: OrderDesk) -> None:
        """Wait until the venue has told its instruments, then keep its desk, whatever it does."""
        market = self.router.market
        while not market.known(venue, Part.SPOT):  # noqa: ASYNC110 - once, at the start
            await asyncio.sleep(0.02)
        sink = self.trading.sink(venue, account)
        if isinstance(desk, PaperDesk):
            self._restore_orders(desk, self._listed(venue))
        wait_s = 1.0
        while True:
            try:
                await desk.run(market.known(venue, Part.SPOT), sink)
            except Exception as fault:
                log.exception("a fault of our own: the desk of %s at %s ended", account, venue)
                why = f"a fault of our own: {type(fault).__name__}"
            else:
                why = "its desk has ended"
            sink(DeskStanding(ready=False, why=why))  # nothing is sent to a desk that nobody keeps
            await asyncio.sleep(wait_s)
            wait_s = min(60.0, wait_s * 2)

    def _relisted(self, of: Instrument) -> None:
        """A pair is listed in another way than before: whoever speaks of it there has to know."""
        for (venue, _), desk in self.desks.items():
            if venue == of.venue and of.part is Part.SPOT:
                desk.relist(of)

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

    async def _sample(self) -> None:
        """Once a second: could we route, and what are we worth."""
        faults = 0
        while True:
            try:
                self.figures.sample(self.clock(), ready=not self.trading.ready())
            except Exception:
                faults += 1
                if faults <= 3:
                    log.exception("a fault of our own in the key figures")
            await asyncio.sleep(1.0)

    async def _feed(self, feeder: Feeder) -> None:
        """Keep the tables for people; whatever their database does, orders go on."""
        wait_s = 1.0
        while True:
            try:
                await upgrade(self.store)
                await feeder.run()
            except HeanError as fault:
                log.warning("%s %s", fault, fault.fix)
            except Exception:
                log.exception("a fault of our own in the query store")
            await asyncio.sleep(wait_s)
            wait_s = min(60.0, wait_s * 2)

    # ------------------------------------------------------------------------- states

    def _state(self) -> states.Saving:
        self._saved_seq = self.journal.seq
        data = dump(self.trading, self.figures.trips, self.metrics)
        return states.Saving(self.journal, self._layout, data)

    async def _save_states(self) -> None:
        """Write states as they come, a part at a time: nobody waits for them."""
        while True:
            await self._to_save.wait()
            self._to_save.clear()
            while self._parts:
                try:
                    for _ in self._parts.pop():
                        await asyncio.sleep(0.005)
                except HeanError as fault:
                    log.warning("a state could not be saved: %s", fault)

    def _save_last(self) -> None:
        """Spare the next start the rows since the last state, where they are many."""
        written = not self.trading.journal_why and not self.trading.lost
        if self.archive is None or not written:
            return
        if self.journal.seq - self._saved_seq >= SAVED_LEAST:
            self._state().all()

    # ------------------------------------------------------------------------- what is heard

    def _hear(self, row: Row, at_ns: int) -> None:
        self._at_checkpoint = self._at_checkpoint or isinstance(row, Checkpoint)
        self.metrics.row(row, at_ns)
        self.figures.row(row)
        self.fills.apply(row)

    def _committed(self, seq: int) -> None:
        if self._at_checkpoint:
            self._at_checkpoint = False
            due = self.archive is not None and seq - self._saved_seq >= SAVED_EVERY
            # While a journal from before checkpoints is being forgotten, it would take seconds.
            if due and len(self.engine.oms.parents) < SAVED_MOST:
                self._parts = [self._state().parts()]  # one that was not finished is given up
                self._to_save.set()
        if self.feeder is not None:
            self.feeder.committed(seq)

    def _sent(self, event: Sent, tick_ns: int) -> None:
        self.metrics.sent(event, tick_ns)
        self.figures.sent(event)

    def _messages(self) -> int:
        return sum(feed.totals.frames for feed in self.router.metrics.readings())

    def _standing(self) -> OrderStanding:
        core, now_ns = self.engine.core, self.clock()
        rates, marks = core.rates(), {str(pair): mid for pair, mid in core.mids().items()}
        found = exposure(core.ledger, rates, marks, now_ns, reporting=core.reporting)
        shut: dict[str, int] = {}
        offsets: dict[str, int] = {}
        for (venue, _), health in core.desks.items():
            shut[venue] = shut.get(venue, 0) + bool(health.why)
            offsets[venue] = max(offsets.get(venue, 0), abs(health.clock_offset_ns))
        days = [core.day_pnl.read(one, rates, now_ns).pnl for one in self.accounts]
        known = [day for day in days if day is not None]
        return OrderStanding(
            ready=not self.trading.ready(),
            risk_state=core.risk.state,
            journal_sync=self.journal.sync,
            journal_why=self.trading.journal_why,
            gates_shut=shut,
            clock_offset_ns=offsets,
            exposure_net={line.name: line.net for line in found.assets},
            exposure_gross={line.name: line.gross for line in found.assets},
            exposure_complete=found.complete,
            reserved=core.risk.reserved_total(),
            day_pnl=sum(known, Decimal(0)) if len(known) == len(days) else None,
            unknown_oldest_ns=max(
                (
                    now_ns - child.intended.at_ns
                    for child in core.oms.live.values()
                    if child.status is ChildStatus.UNKNOWN
                ),
                default=0,
            ),
            disk_free=self._disk_free(),
            shut=Counter(one.what for one in shut_lines(self.trading)),
        )

    def _disk_free(self) -> float | None:
        try:
            usage = None if self.state is None else disk_usage(self.state)
        except OSError:
            return None
        return None if usage is None else usage.free / usage.total

    @property
    def accounts(self) -> list[str]:
        """Every account that trades somewhere."""
        return sorted({account for _, account in self.desks})

    # ------------------------------------------------------------------------- faces

    def face(self) -> Desk:
        """The router as its API sees it."""
        return Desk(
            trading=self.trading,
            clock=self.clock,
            mode=PAPER if self.paper else "live",
            fills=self.fills,
            kpis=lambda account: self.figures.kpis(account, self.clock()),
            opportunities=self.opportunities,
            metrics=self.router.metrics.text,
            store=self.query,
            archive=self.archive,
        )

    def opportunities(self, account: str) -> list[dict[str, Any]]:
        """What arbitrage could take now, and why it does not."""
        running = [
            one
            for one in self.engine.crew.strategies.values()
            if isinstance(one, Arbitrage) and one.account == account
        ]
        params = running[0].params if running else ScanParams()
        found: list[Opportunity] = []
        for name in self.settings.feeds.symbols:
            pair = Pair.parse(name)
            if pair.part is Part.SPOT and pair in self.world.pairs:
                found += scan(pair, self.engine.crew.look, params, account)
        return [one.to_json() for one in found]

    # ------------------------------------------------------------------------- what desks tell

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


def _archive(journal: object) -> Archive | None:
    """A test's own journal may have nothing beside its rows: then all is remembered."""
    return Archive(journal) if isinstance(journal, Journal) else None


def policy_of(settings: Settings) -> Policy:
    """The engine's patience as it was set."""
    routing = settings.routing
    return Policy(
        rounds_max=routing.rounds_max,
        work_ns=routing.work_ms * 1_000_000,
        collar_bps=routing.collar_bps,
    )


def _text(number: Decimal) -> str:
    return format(number, "f")


__all__ = ["PAPER", "Office"]
