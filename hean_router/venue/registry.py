"""Connectors by name: those in the `connectors` package, and foreign ones by entry point.

A new venue is a new module in `connectors/` with a `CONNECTOR`, or a distribution with an entry
point in the group `hean_router.connectors`; nothing here changes.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Part
from hean_router.domain.venue import Fees
from hean_router.venue.contract import Connector, Dice
from hean_router.venue.feed_events import Policy
from hean_router.venue.gateway import VenueGateway

PACKAGE = "connectors"
GROUP = "hean_router.connectors"
ANY = "ccxt_any"  # the module that serves `ccxt:ID`, whatever the ID


@cache
def _modules() -> Mapping[str, str]:
    """Venue name -> module, without importing any."""
    package = importlib.import_module(PACKAGE)
    names = (info.name for info in pkgutil.iter_modules(package.__path__))
    return {name: f"{PACKAGE}.{name}" for name in sorted(names) if name != ANY}


@cache
def _foreign() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """Every native venue, sorted."""
    return sorted({*_modules(), *_foreign()})


def nearest(word: str, known: list[str]) -> str:
    """`; did you mean "x"?` where one of `known` is near, else nothing."""
    close = get_close_matches(word.lower(), known, n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


@cache
def connector(name: str) -> Connector:
    """The venue's connector.  Raises `CommandError` for a name that nobody answers to."""
    if module := _modules().get(name):
        found = importlib.import_module(module).CONNECTOR
    elif point := _foreign().get(name):
        found = point.load()
    else:
        raise CommandError(
            f"unknown venue {name!r}{nearest(name, names())}",
            f"known venues: {', '.join(names())}; any other by ccxt:ID, such as ccxt:kucoin",
        )
    assert isinstance(found, Connector), f"{name} exports no Connector"
    return found


def foreign_gateway(
    name: str,
    part: Part,
    hosts: Mapping[str, str],
    now_ns: Callable[[], int],
    rng: Dice,
    *,
    env: str = "live",
    policy: Policy = Policy(),  # noqa: B008 - frozen, a value
) -> VenueGateway | None:
    """The gateway of a venue that only ccxt knows (`ccxt:ID`); None if it lacks the part.

    Raises `CommandError` for an ID that ccxt does not know, or an environment that it lacks.
    """
    gateway: VenueGateway | None = importlib.import_module(f"{PACKAGE}.{ANY}").gateway(
        name.removeprefix("ccxt:"), part, hosts, now_ns, rng, env=env, policy=policy
    )
    return gateway


def foreign_fees(name: str, part: Part) -> Fees:
    """What ccxt says a venue charges at its lowest tier, taken in what is received."""
    fees = importlib.import_module(f"{PACKAGE}.{ANY}").fees(name.removeprefix("ccxt:"), part)
    assert isinstance(fees, Fees), "ccxt_any speaks the house's words"
    return fees
