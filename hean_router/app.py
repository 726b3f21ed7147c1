"""Wiring: configuration in, a running market out.  The only place that knows everything."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
from msgspec import Struct, structs

from hean_router.config import Settings, VenueSettings, wrong_host
from hean_router.domain.errors import CommandError, ConfigError, VenueError
from hean_router.domain.instrument import Instrument, Pair, Part, VenueId
from hean_router.domain.order import Credentials
from hean_router.domain.venue import Fees
from hean_router.runtime import foreign
from hean_router.runtime.clock import Clock, steady_clock
from hean_router.runtime.http import Http
from hean_router.runtime.limits import Limits
from hean_router.runtime.listener import Listener
from hean_router.runtime.market import Market
from hean_router.runtime.supervisor import Died, kept
from hean_router.runtime.venue_feed import VenueFeed
from hean_router.telemetry import FeedReading, Metrics
from hean_router.venue import Connector, registry, stand_in
from hean_router.venue.gateway import VenueGateway

log = logging.getLogger(__name__)

LAG_S = 0.1  # between two looks at how late the event loop is


class Target(Struct, frozen=True):
    """A venue to be used: where it is, what it charges us, and our accounts there.

    `limits` is what simulators announce: the venue's own, a multiple (x10), or off.
    """

    venue: str
    env: str
    hosts: Mapping[str, str]
    taker_fee: Any = None
    fee_in: Any = None
    accounts: Mapping[str, Credentials] = {}
    limits: str = "venue"


def targets(
    settings: Settings, venues: Sequence[str] = (), venues_from: Path | None = None
) -> Sequence[Target]:
    """The venues to use: of `venues_from` if given, else of the configuration; in order of name.

    `venues` picks some.  Raises `CommandError` for a name that is not there.
    """
    if venues_from is not None:
        known = _from_file(venues_from)
        for name in venues:
            # The same place, spoken to through ccxt.
            if name not in known and (there := known.get(name.removeprefix("ccxt:"))):
                known[name] = structs.replace(there, venue=name)
    else:
        known = {
            name: _target(name, venue) for name, venue in settings.venues.items() if venue.enabled
        }
        for name in venues:  # one that is switched off is still configured
            if name not in known and (name.startswith("ccxt:") or name in registry.names()):
                known[name] = _target(name, settings.venues.get(name, VenueSettings()))
    if not known:
        raise CommandError(
            f"{venues_from or 'the configuration'} names no venue to use",
            "enable one in venues.toml, or name some with --venues",
        )
    for name in venues:
        if name not in known:
            prefix = "ccxt:" if name.startswith("ccxt:") else ""
            near = registry.nearest(name, sorted({*known, *(prefix + one for one in known)}))
            where = f"in {venues_from}" if venues_from else "in the configuration"
            raise CommandError(
                f"unknown venue {name!r}{near}",
                f"{where}: {', '.join(sorted(known))}; any other by ccxt:ID, such as ccxt:kucoin",
            )
    return [known[name] for name in sorted(set(venues or known))]


def _target(name: str, venue: VenueSettings) -> Target:
    hosts = dict(venue.hosts)
    if not name.startswith("ccxt:"):
        hosts = {**registry.connector(name).spec.hosts.get(venue.env, {}), **hosts}
    return Target(name, venue.env, hosts, venue.taker_fee, venue.fee_in)


def _from_file(path: Path) -> dict[str, Target]:
    """The first line of `hean sim`, kept in a file."""
    fix = "write the first line of `hean sim` into it: hean sim okx kraken > venues.json &"
    try:
        text = path.read_bytes()
    except OSError as fault:
        raise CommandError(f"{path}: cannot be read: {fault.strerror}", fix) from None
    try:
        first = next(iter(text.splitlines()), b"")
        try:
            found = orjson.loads(first)
        except orjson.JSONDecodeError:
            found = orjson.loads(text)  # somebody has laid it out over several lines
        known = announced(found)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as fault:
        why = f"{type(fault).__name__}: {fault}"
        raise CommandError(
            f'{path}: not {{"venues":{{NAME:{{"env":…,"hosts":{{…}}}}}}}} ({why})', fix
        ) from None
    for name, target in known.items():
        for host, url in target.hosts.items():
            if wrong := wrong_host(host, url):
                raise CommandError(f"{path}: {name}: {wrong}", fix)
    return known


def announced(found: Mapping[str, Any]) -> dict[str, Target]:
    """Venues as simulators announce them, with keys that may trade and not withdraw.

    Raises `KeyError`, `TypeError` or `AttributeError` for anything else.
    """
    return {
        name: Target(
            name,
            str(entry["env"]),
            {host: str(url) for host, url in entry["hosts"].items()},
            accounts={
                account["name"]: credentials
                for account in entry.get("accounts", ())
                if (credentials := _trading_key(account)) is not None
            },
            limits=str(entry.get("limits", "venue")),
        )
        for name, entry in found["venues"].items()
    }


def _trading_key(account: Mapping[str, Any]) -> Credentials | None:
    for key in account["keys"]:
        if "trade" in key["permissions"] and "withdraw" not in key["permissions"]:
            return Credentials(
                account=account["name"],
                key=key["key"],
                secret=key["secret"],
                passphrase=key.get("passphrase", ""),
                scheme="ed25519" if key["scheme"] == "ed25519" else "hmac",
            )
    return None


class Router:
    """A running market: gateways of every target, one consolidated book a pair.

    `failed` names each venue that is not in use now and the step at which it last failed.
    """

    def __init__(
        self,
        settings: Settings,
        chosen: Sequence[Target],
        pairs: Sequence[Pair],
        *,
        clock: Clock | None = None,
        rng: Random | None = None,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
        listener: Callable[[Target, Part], Listener] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.clock = clock or steady_clock()
        self.market = Market(pairs)
        self.metrics = Metrics(self._readings, self.clock)
        self.market.on_change.append(self.metrics.changed)
        self._unlisted: dict[tuple[str, Part], VenueError] = {}  # why instruments are not had
        self.listings: dict[tuple[VenueId, Part], Sequence[Instrument]] = {}
        self.feeds: list[VenueGateway] = []
        self.on_beat: list[Callable[[float], None]] = []  # whom to call so often, in seconds
        self.on_death: list[Died] = []  # who else hears of a task that had to be started again
        self._settings, self._targets = settings, chosen
        self.limits: dict[str, Limits] = {}  # a venue counts by our address, whatever the part
        self._rng = rng or Random()
        self._connector, self._listener = connector, listener
        self._tell = tell or (lambda text: log.warning("%s", text))

    @property
    def faults(self) -> Mapping[str, VenueError]:
        """Why a venue's instruments could not be had, where they still are not."""
        return {venue: fault for (venue, _), fault in self._unlisted.items()}

    @property
    def failed(self) -> Mapping[str, str]:
        """Venues that are not in use now, and the step at which each last failed."""
        out = {venue: f"instruments: {fault}" for venue, fault in self.faults.items()}
        for feed in self.feeds:
            if isinstance(feed, VenueFeed) and feed.trouble:
                out.setdefault(feed.id, feed.trouble)
        return out

    def _readings(self) -> list[FeedReading]:
        found = []
        for feed in self.feeds:
            match feed:
                case VenueFeed():
                    found.append(feed.reading())
                case foreign.Counted():
                    found.append(foreign.reading(feed))
                case _:
                    pass  # counts nothing
        return found

    async def run(self) -> None:
        """Keep every book current until cancelled.

        Raises `ConfigError` and `CommandError` for what can never run, before anything does.
        """
        parts = sorted({pair.part for pair in self.market.pairs})
        seats = [
            (target, part, self._gateway(target, part))
            for target in self._targets
            for part in parts
        ]
        self.feeds = [gateway for _, _, gateway in seats if gateway is not None]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(kept("the watch over the loop", self._watch_lag, self._died))
                for target, part, gateway in seats:
                    group.create_task(self._keep_part(target, part, gateway))
        finally:
            closing = asyncio.gather(*(feed.close() for feed in self.feeds), return_exceptions=True)
            for fault in await asyncio.shield(closing):
                if isinstance(fault, Exception):
                    log.error("a fault of our own while closing", exc_info=fault)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Router"]:
        """Run in the background for as long as the block lasts; a fault of ours ends both."""
        try:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(self.run())
                yield self
                task.cancel()
        except BaseExceptionGroup as faults:
            raise _first(faults) from None

    async def _keep_part(self, target: Target, part: Part, gateway: VenueGateway | None) -> None:
        """Keep a venue's part: should it die, its books are no books until it lives again."""

        def died(name: str, why: str, *, often: bool) -> None:
            for pair in self.market.pairs:
                if pair.part is part:
                    self.market.leave_out(VenueId(target.venue), pair, f"a fault of our own: {why}")
            self._died(name, why, often=often)

        name = f"the feed of {target.venue} {part}"
        await kept(name, lambda: self._run_part(target, part, gateway), died)

    def _died(self, name: str, why: str, *, often: bool) -> None:
        """Something of ours had to be started again."""
        self._tell(f"a fault of our own: {name} died: {why}")
        for hear in self.on_death:
            hear(name, why, often=often)

    async def _run_part(self, target: Target, part: Part, gateway: VenueGateway | None) -> None:
        """One venue's part: list its instruments, seat it, keep its books."""
        wanted_pairs = [pair for pair in self.market.pairs if pair.part is part]
        if gateway is None:
            for pair in wanted_pairs:
                self.market.leave_out(VenueId(target.venue), pair, f"no {part} market")
            return
        listed = await self._list(gateway, target, wanted_pairs)
        wanted = list(self.market.join(gateway.id, part, listed, self._fees(target, part)))
        if isinstance(gateway, VenueFeed):
            there = {of.pair for of in wanted}
            missing = [
                stand_in(gateway.connector, pair) for pair in wanted_pairs if pair not in there
            ]
            self.market.miss(missing)
            wanted += missing  # its books are taken up once it is listed
        if wanted:
            await gateway.run(wanted, self.market.sink(gateway.id))

    async def _list(
        self, gateway: VenueGateway, target: Target, pairs: Sequence[Pair]
    ) -> Sequence[Instrument]:
        """The venue's instruments, asked for until it answers."""
        wait_s = 1.0
        while True:
            try:
                listed = await gateway.instruments()
            except Exception as why:
                # A bug in reading one venue's list is no reason to stop the others.
                fault = why if isinstance(why, VenueError) else VenueError(_of_ours(why))
                if fault is not why:
                    log.exception("%s: a fault of our own", target.venue)
                self._unlisted[target.venue, gateway.part] = fault
                self._tell(f"{target.venue} {gateway.part}: instruments: {fault}")
                for pair in pairs:
                    self.market.leave_out(gateway.id, pair, f"instruments: {fault}")
                await asyncio.sleep(wait_s * (0.5 + self._rng.random() / 2))
                wait_s = min(60.0, wait_s * 2)
            else:
                self._unlisted.pop((target.venue, gateway.part), None)
                self.listings[gateway.id, gateway.part] = listed
                return listed

    def _gateway(self, target: Target, part: Part) -> VenueGateway | None:
        if target.venue.startswith("ccxt:"):
            return self._foreign(target, part)
        connector = registry.connector(target.venue)
        if part not in connector.spec.parts:
            return None
        self._check_hosts(connector, target, part)
        listener = self._listener(target, part) if self._listener else None
        limits = self.limits.setdefault(target.venue, Limits(connector.spec, self.clock))
        http = Http(
            connector.spec,
            target.hosts,
            self.clock,
            self._connector,
            connector.spec.headers.get(target.env),
            listener,
            direct=target.env == "sim",
            limits=limits,
        )
        return VenueFeed(
            connector,
            part,
            http,
            self.clock,
            Random(self._rng.getrandbits(64)),
            policy=self._settings.feeds.freshness.policy(),
            tell=self._tell,
            listener=listener,
            timing=self.metrics.apply,
        )

    def _foreign(self, target: Target, part: Part) -> VenueGateway | None:
        """Any venue that ccxt knows; the library is loaded here and not before."""
        return registry.foreign_gateway(
            target.venue,
            part,
            target.hosts,
            self.clock,
            Random(self._rng.getrandbits(64)),
            env=target.env,
            policy=self._settings.feeds.freshness.policy(),
        )

    def _check_hosts(self, connector: Connector, target: Target, part: Part) -> None:
        for name in ("rest", "ws"):
            try:
                connector.spec.host(target.hosts, part, name)
            except KeyError:
                known = ", ".join(sorted(target.hosts)) or "none"
                raise ConfigError(
                    f"{target.venue}: environment {target.env!r} has no {name!r} host for {part}",
                    f"give hosts.{name} (known: {known})",
                ) from None

    def _fees(self, target: Target, part: Part) -> Fees:
        """Our tier where configured, else the venue's lowest."""
        if target.venue.startswith("ccxt:"):
            base = registry.foreign_fees(target.venue, part)
        else:
            base = registry.connector(target.venue).spec.fees[part]
        return Fees(
            taker=base.taker if target.taker_fee is None else target.taker_fee,
            maker=base.maker,
            fee_in=target.fee_in or base.fee_in,
        )

    async def _watch_lag(self) -> None:
        """Measure how late the loop is; the only sign of a stall that nothing else shows."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_S
            await asyncio.sleep(LAG_S)
            self.metrics.lag(max(0, int((loop.time() - due) * 1e9)))
            for beat in self.on_beat:
                beat(LAG_S)


def _of_ours(fault: Exception) -> str:
    return f"a fault of our own: {type(fault).__name__}: {fault}"


def _first(faults: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of several faults that ended tasks together."""
    fault: BaseException = faults
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return fault
