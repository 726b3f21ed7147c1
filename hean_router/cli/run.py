"""`hean run`: the router with its order side, until Ctrl-C."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hean_router.api import make_app, serve
from hean_router.app import Target
from hean_router.cli.output import emit, say, say_later, tell, through
from hean_router.client import Running, announce, withdraw
from hean_router.config import Settings, StrategySettings
from hean_router.domain.errors import CommandError, ConfigError, HeanError
from hean_router.domain.instrument import Pair
from hean_router.office import PAPER, Office
from hean_router.runtime.clock import Clock, steady_clock
from hean_router.runtime.log_sink import LogSink, logging_to
from hean_router.runtime.loop import Interrupted, run
from hean_router.telemetry.process import LogMetrics, ProcessMetrics

AGAIN_NS = 60 * 1_000_000_000
TOLD_MAX = 1_000
POLL_S = 0.1
STEADY = 15  # polls

SCOPES = ("read", "trade", "cancel", "risk", "admin")  # whoever reads our state file is us
TRADE = ("read", "trade", "cancel")  # what is printed
THIS_RUN = "this run"  # keys of that name end with it


def start(
    settings: Settings,
    chosen: Sequence[Target],
    *,
    mode: str,
    arm: bool,
    state: Path,
    port: int | None = None,
    as_json: bool,
) -> None:
    """Run until SIGINT or SIGTERM, which is how it ends well: exit code 0."""
    paper = pretends(settings, chosen, mode, arm)
    targets = list(chosen) if paper else [with_keys(settings, one) for one in chosen]
    usable(state)
    settings = with_arbitrage(settings)
    with suppress(Interrupted):  # what it leaves is told as it winds up
        run(_run(settings, targets, paper, state, port, as_json))


def usable(state: Path) -> None:
    """Make the folder of the journal; raises `ConfigError` where it cannot be written."""
    fix = "name a folder that you may write: hean run --state DIR, or state in router.toml"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as fault:
        why = "a file is in its way" if isinstance(fault, FileExistsError) else fault.strerror
        raise ConfigError(f"the state folder {state} cannot be made: {why}", fix) from None
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"the state folder {state} cannot be written", fix)


def with_arbitrage(settings: Settings) -> Settings:
    """The settings with `arb`, at rest until `hean arb run`, where none of that name is set up."""
    if "arb" in settings.strategies:
        return settings
    arb = StrategySettings(kind="arbitrage")
    return settings.model_copy(update={"strategies": {**settings.strategies, "arb": arb}})


def pretends(settings: Settings, chosen: Sequence[Target], mode: str, arm: bool) -> bool:
    """Whether orders only pretend.  Simulators count as armed; live wants arming in two steps."""
    simulated = [one for one in chosen if one.env == "sim"]
    if mode == "paper" or (not mode and not simulated and settings.mode == "paper"):
        return True
    if len(simulated) == len(chosen):
        return False
    if simulated:
        raise CommandError(
            f"simulated and real venues together: {', '.join(one.venue for one in simulated)}",
            "use one kind; or --mode paper for both",
        )
    if not arm:
        raise CommandError(
            "live orders were asked for and nothing is armed",
            "set armed = true for each venue in venues.toml, and start with --arm",
        )
    for one in chosen:
        venue = settings.venues.get(one.venue)
        if venue is None or not venue.armed:
            raise ConfigError(
                f"{one.venue} is not armed", f"set venues.{one.venue}.armed = true, or leave it out"
            )
    if settings.mode != "live":
        raise ConfigError("mode is paper in router.toml", 'set mode = "live" there')
    return False


def with_keys(settings: Settings, target: Target) -> Target:
    """The target with the accounts that the configuration has keys for, beside its own."""
    from msgspec import structs

    from hean_router.domain.order import Credentials

    accounts = dict(target.accounts)
    for account, venues in settings.accounts.items():
        if (found := venues.get(target.venue)) is None:
            continue
        secret = found.secret.get_secret_value()
        if found.secret_file is not None:
            try:
                secret = found.secret_file.read_text(encoding="utf-8").strip()
            except OSError as fault:
                raise ConfigError(
                    f"{found.secret_file}: cannot be read: {fault.strerror}",
                    f"name the file that holds the secret of {account} at {target.venue}",
                ) from None
        accounts[account] = Credentials(
            account=account,
            key=found.key.get_secret_value(),
            secret=secret,
            passphrase=found.passphrase.get_secret_value(),
            scheme=found.scheme,
        )
    return structs.replace(target, accounts=accounts)


def pairs_of(settings: Settings) -> list[Pair]:
    """What is followed: the symbols, and books for conversion."""
    names = (*settings.feeds.symbols, *settings.feeds.rates)
    return [Pair.parse(name) for name in names]


async def _run(
    settings: Settings,
    targets: Sequence[Target],
    paper: bool,
    state: Path,
    port: int | None,
    as_json: bool,
) -> None:
    """Run, and let nobody who does not read what we say keep an order from its way."""
    err, out = LogSink(2), LogSink(1)
    try:
        with logging_to(err), through(err.put, out.put):
            await _run_office(settings, targets, paper, state, port, as_json, err)
    finally:
        out.close()
        err.close()


async def _run_office(
    settings: Settings,
    targets: Sequence[Target],
    paper: bool,
    state: Path,
    port: int | None,
    as_json: bool,
    err: LogSink,
) -> None:
    office = Office(
        settings, targets, pairs_of(settings), state=state, paper=paper, tell=Teller().tell
    )
    office.router.metrics.add(LogMetrics(lambda: (err.waiting, err.dropped, err.failed)))
    taken_up = standing(office)
    try:
        async with running(office, settings, state, port=port) as here:
            if as_json:
                trade = office.trading.make_key(office.account, TRADE, THIS_RUN)[1]
                emit({"api": here.api, "key": str(trade)})
            else:
                _greet(office, here, state)
            if taken_up:
                tell(f"from the last run: {taken_up}; the venues are asked how they stand")
            await _tell_readiness(office, as_json)
    except asyncio.CancelledError:  # by a signal
        left = standing(office)
        where = f"stopped; the journal is in {state}"
        tell(f"{where}; {left}: hean run takes them up again" if left else where)
        raise


def standing(office: Office) -> str:
    """What may still trade at the venues, in words; '' if nothing.

    Orders of paper venues live in this process, but rest again at the next start.
    """
    by_venue = Counter(child.venue for child in office.engine.oms.live.values())
    if not by_venue:
        return ""
    where = ", ".join(f"{count} at {venue}" for venue, count in sorted(by_venue.items()))
    one = by_venue.total() == 1
    return f"{by_venue.total()} {'order' if one else 'orders'} left open ({where})"


class Teller:
    """Says what the venues' connections report; the same line not again within a minute."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or steady_clock()
        self._told: dict[str, int] = {}

    def tell(self, line: str) -> None:
        """Say it, unless it was said just now."""
        now_ns = self._clock()
        if now_ns - self._told.get(line, -AGAIN_NS) < AGAIN_NS:
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()
        self._told[line] = now_ns
        tell(line)


@asynccontextmanager
async def running(
    office: Office, settings: Settings, state: Path | None, *, port: int | None = None
) -> AsyncIterator[Running]:
    """The office with its API, found by clients here for as long as the block lasts."""
    office.router.metrics.add(ProcessMetrics())
    async with office.running():
        app = make_app(office.face(), with_docs=settings.api.docs)
        olds = office.engine.keyring.keys()
        for old in olds:
            if old.name == THIS_RUN:
                office.trading.revoke_key(old.key_id, "its run is over")
        _, token = office.trading.make_key(office.account, SCOPES, THIS_RUN)
        listen = settings.api.port if port is None else port
        async with serve(
            app,
            settings.api.host,
            listen,
            cert=settings.api.tls_cert,
            key=settings.api.tls_key,
            expose=settings.api.insecure_public,
            died=office.trading.task_died,
        ) as url:
            here = Running(
                api=url,
                key=str(token),
                pid=os.getpid(),
                mode=PAPER if office.paper else "live",
                account=office.account,
            )
            paths = announce(here, state)
            try:
                yield here
            finally:
                withdraw(here, paths)


def _greet(office: Office, here: Running, state: Path) -> None:
    kind = "pretends: paper" if office.paper else "sends orders"
    if office.targets and all(one.env == "sim" for one in office.targets):
        kind += ", to simulated venues"
    say(f"HEAN Router {kind}; account {office.account}; journal in {state}", now=True)
    say(f"API {here.api}  docs {here.api}/docs", now=True)
    say("in another terminal: hean submit BTC/USDT buy 0.01", now=True)


async def _tell_readiness(office: Office, as_json: bool) -> None:
    """Say when orders are taken, and why not when that lasts; never ends.

    Raises `HeanError` when another process has taken the journal over: nothing that this one knows
    holds any more.
    """
    told, last, since = None, None, 0
    while True:
        if office.trading.taken_over:
            raise HeanError(office.trading.lost, "one router owns a journal: this one ends")
        why = office.trading.ready()
        since = since + 1 if why == last else 0
        last = why
        # The first readiness at once; whatever else has to last, so that a blink is no news.
        if why != told and (since >= STEADY or (told is None and not why)):
            if why:
                tell(f"not ready: {grouped(why)}")
            elif as_json:
                tell("ready: orders are taken")
            else:
                say_later("ready: orders are taken")
            told = why
        await asyncio.sleep(POLL_S)


def grouped(why: str) -> str:
    """Reasons by what is wrong instead of by where.

    >>> grouped("okx main: not connected; okx second: not connected; journal: full")
    'not connected (okx main, okx second); full (journal)'
    """
    where: dict[str, list[str]] = {}
    for one in why.split("; "):
        place, colon, what = one.partition(": ")
        where.setdefault(what if colon else one, []).extend([place] if colon else [])
    return "; ".join(
        f"{what} ({', '.join(places)})" if places else what for what, places in where.items()
    )
