"""Connectors by name: those in the `connectors` package, and foreign ones by entry point.

A new venue is a new module in `connectors/` with a `CONNECTOR`, or a distribution with an entry
point in the group `hean_router.connectors`; nothing here changes.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from hean_router.domain.errors import CommandError
from hean_router.venue.contract import Connector

PACKAGE = "connectors"
GROUP = "hean_router.connectors"


@cache
def _modules() -> Mapping[str, str]:
    """Venue name -> module, without importing any."""
    package = importlib.import_module(PACKAGE)
    names = (info.name for info in pkgutil.iter_modules(package.__path__))
    return {name: f"{PACKAGE}.{name}" for name in sorted(names) if not name.startswith("ccxt")}


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
