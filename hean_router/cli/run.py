"""`hean run`: the router with its order side, until Ctrl-C."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hean_router.api import make_app, serve
from hean_router.app import Target
from hean_router.cli.output import emit, say, tell
from hean_router.client import Running, announce, withdraw
from hean_router.config import Settings
from hean_router.domain.errors import CommandError, ConfigError
from hean_router.domain.instrument import Pair
from hean_router.office import PAPER, Office
from hean_router.runtime.loop import Interrupted, run

SCOPES = ("read", "trade", "cancel", "risk", "admin")


def start(
    settings: Settings,
    chosen: Sequence[Target],
    *,
    mode: str,
    arm: bool,
    state: Path,
    as_json: bool,
) -> None:
    """Run until interrupted."""
    paper = pretends(settings, chosen, mode, arm)
    targets = list(chosen) if paper else [with_keys(settings, one) for one in chosen]
    try:
        run(_run(settings, targets, paper, state, as_json))
    except Interrupted:
        tell("stopped; what is open at the venues is in the journal and taken up again")


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
    settings: Settings, targets: Sequence[Target], paper: bool, state: Path, as_json: bool
) -> None:
    office = Office(settings, targets, pairs_of(settings), state=state, paper=paper)
    async with running(office, settings, state) as running_:
        if as_json:
            emit({"api": running_.api, "key": running_.key})
        else:
            _greet(office, running_, state)
        await _tell_readiness(office, as_json)
        await asyncio.Event().wait()


@asynccontextmanager
async def running(
    office: Office, settings: Settings, state: Path | None, *, port: int | None = None
) -> AsyncIterator[Running]:
    """The office with its API, found by clients here for as long as the block lasts."""
    async with office.running():
        app = make_app(office.face(), with_docs=settings.api.docs)
        _, token = office.trading.make_key(office.account, SCOPES, "this run")
        listen = settings.api.port if port is None else port
        async with serve(
            app,
            settings.api.host,
            listen,
            cert=settings.api.tls_cert,
            key=settings.api.tls_key,
            expose=settings.api.insecure_public,
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
    """Say once that orders are taken; say why they are not, as long as it changes."""
    last = ""
    while why := office.trading.ready():
        if why != last and not as_json:
            tell(f"not ready: {why}")
        last = why
        await asyncio.sleep(0.2)
    if not as_json:
        say("ready: orders are taken", now=True)


def health_of(office: Office) -> dict[str, Any]:
    """What stands and what is shut."""
    return office.trading.health()
