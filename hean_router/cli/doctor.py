"""`hean doctor`: the installation, and every venue from its name to its answer to a ping."""

import asyncio
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

import typer

from hean_router import __version__, native
from hean_router.app import Target, targets
from hean_router.cli.checkup import Check, Checkup, Status
from hean_router.cli.live import go
from hean_router.cli.output import Exit, emit, say
from hean_router.config import FILES, Settings, folder, load
from hean_router.domain.errors import CommandError, ConfigError
from hean_router.domain.instrument import Pair
from hean_router.runtime.clock import steady_clock
from hean_router.venue import registry

RECORDINGS = Path("../shared/data/real")  # where the tests look unless HEAN_RECORDINGS says
MARKS = {Status.OK: "ok  ", Status.WARN: "WARN", Status.FAIL: "FAIL"}


def doctor(
    *,
    venue: str,
    env: str,
    symbol: str,
    seconds: float,
    config: Path | None,
    venues_from: Path | None,
    as_json: bool,
) -> None:
    """Look everything over.  Exit 3 for a bad configuration, 6 for a bad venue, 1 for ourselves."""
    installation = _installation()
    try:
        settings = load(config)
        chosen = _chosen(settings, venue, env, venues_from)
        pair = Pair.parse(symbol or settings.feeds.symbols[0])
        clock = steady_clock()
        passed = {target.venue: why for target in chosen if (why := _passed_over(target, pair))}
        checkups = [
            Checkup(target, pair, settings, clock, seconds)
            for target in chosen
            if target.venue not in passed
        ]
        installation.append(_configured(config))
    except ConfigError as fault:
        installation.append(Check("configuration", Status.FAIL, str(fault), fault.fix))
        _tell(installation, {}, as_json=as_json)
        raise typer.Exit(Exit.CONFIG) from None
    if not as_json:
        _show("installation", installation)
        for name, check in passed.items():
            _show(name, [check])
    found = {name: [check] for name, check in passed.items()}
    found |= go(_look(checkups, as_json=as_json))
    if as_json:
        _tell(installation, found, as_json=True)
    raise typer.Exit(_code(installation, found))


def _passed_over(target: Target, pair: Pair) -> Check | None:
    """Why there is nothing to look at, if so."""
    if target.venue.startswith("ccxt:"):
        text = "a library speaks to it: its steps cannot be seen from here"
        return Check("steps", Status.WARN, text, f"hean book {pair} --venues {target.venue}")
    if pair.part not in registry.connector(target.venue).spec.parts:
        text = f"no {pair.part} market, so no {pair}"
        return Check("instruments", Status.WARN, text, "hean doctor --symbol BTC/USDT")
    return None


def _chosen(settings: Settings, venue: str, env: str, venues_from: Path | None) -> Sequence[Target]:
    chosen = targets(settings, [venue] if venue else [], venues_from)
    if not env:
        return chosen
    if venues_from is not None:
        raise CommandError("--env and --venues-from exclude each other", "the file says where")
    if not venue:
        raise CommandError("--env needs --venue", "such as: hean doctor --venue okx --env demo")
    hosts = registry.connector(venue).spec.hosts
    if env not in hosts:
        raise CommandError(
            f"{venue} has no environment {env!r}{registry.nearest(env, sorted(hosts))}",
            f"known: {', '.join(sorted(hosts))}",
        )
    own = settings.venues.get(venue)
    return [Target(venue, env, hosts[env], own and own.taker_fee, own and own.fee_in)]


async def _look(checkups: Sequence[Checkup], *, as_json: bool) -> dict[str, list[Check]]:
    """All venues at once; each is told when it is done."""
    found: dict[str, list[Check]] = {}

    async def one(checkup: Checkup) -> None:
        name = checkup.target.venue
        found[name] = await checkup.run()
        if not as_json:
            _show(f"{name} ({checkup.target.env}), {checkup.pair}", found[name])
            sys.stdout.flush()

    async with asyncio.TaskGroup() as group:
        for checkup in checkups:
            group.create_task(one(checkup))
    return dict(sorted(found.items()))


def _code(installation: Sequence[Check], found: Mapping[str, Sequence[Check]]) -> Exit:
    if any(check.status is Status.FAIL for check in installation):
        return Exit.FAILURE
    if any(check.status is Status.FAIL for checks in found.values() for check in checks):
        return Exit.VENUE
    return Exit.OK


# ------------------------------------------------------------------------------- ourselves


def _installation() -> list[Check]:
    return [_python(), *_packages(), _books(), _loop(), _recordings()]


def _python() -> Check:
    text = f"{platform.python_version()}, {platform.platform(terse=True)}"
    return Check("python", Status.OK, f"{text}; hean-router {__version__}")


def _packages() -> list[Check]:
    """What we stand on, as our own distribution names it."""
    try:
        needed = [line for line in requires("hean-router") or () if "extra ==" not in line]
    except PackageNotFoundError:
        return [
            Check("packages", Status.WARN, "not installed, run from its source", "pip install -e .")
        ]
    names = [_name(line) for line in needed]
    missing, there = [], []
    for name in names:
        try:
            there.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        fix = f"pip install {' '.join(missing)}"
        return [Check("packages", Status.FAIL, f"missing: {', '.join(missing)}", fix)]
    return [Check("packages", Status.OK, ", ".join(there))]


def _name(requirement: str) -> str:
    """The distribution's name.

    >>> _name("uvloop>=0.21; platform_system != 'Windows'")
    'uvloop'
    """
    for at, letter in enumerate(requirement):
        if not (letter.isalnum() or letter in "-_."):
            return requirement[:at]
    return requirement


def _books() -> Check:
    """Which twin of the hot path runs, and why."""
    runs, why = native.status()
    return Check("books", Status.OK, why if runs else f"in Python: {why}")


def _loop() -> Check:
    try:
        return Check("event loop", Status.OK, f"uvloop {version('uvloop')}")
    except PackageNotFoundError:
        fix = "for a faster one: pip install 'hean-router[speed]'"
        return Check("event loop", Status.OK, "asyncio", fix)


def _recordings() -> Check:
    named = os.environ.get("HEAN_RECORDINGS")
    place = Path(named) if named else RECORDINGS
    if (place / "INDEX.md").is_file():
        return Check("recordings", Status.OK, f"in {place}")
    if named:
        fix = "name the folder that holds INDEX.md, or unset HEAN_RECORDINGS"
        return Check("recordings", Status.WARN, f"HEAN_RECORDINGS={named}: none there", fix)
    return Check("recordings", Status.OK, "none; only tests want them (HEAN_RECORDINGS)")


def _configured(config: Path | None) -> Check:
    home = folder(config)
    if home is None:
        return Check("configuration", Status.OK, "defaults; no folder config/ here")
    files = [name for name in FILES if (home / name).is_file()]
    return Check("configuration", Status.OK, f"{home}: {', '.join(files) or 'defaults'}")


# ------------------------------------------------------------------------------- telling


def _tell(
    installation: Sequence[Check], found: Mapping[str, Sequence[Check]], *, as_json: bool
) -> None:
    if not as_json:
        _show("installation", installation)
        return
    checks = [*installation, *(check for each in found.values() for check in each)]
    summary: dict[str, Any] = {
        "ok": all(check.status is not Status.FAIL for check in checks),
        "installation": [check.to_json() for check in installation],
        "venues": {name: [check.to_json() for check in each] for name, each in found.items()},
    }
    emit(summary)


def _show(title: str, checks: Sequence[Check]) -> None:
    say(title)
    for check in checks:
        say(f"  {MARKS[check.status]} {check.name:13} {check.text}")
        if check.fix and check.status is not Status.OK:
            say(f"       {'':13} fix: {check.fix}")
    say("")
