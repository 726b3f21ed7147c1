"""Which strategies there are: our own, and those of packages that name one by entry point."""

from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TypeAlias, cast

from hean_router.domain.errors import CommandError, ConfigError
from hean_router.strategy.arbitrage import Arbitrage
from hean_router.strategy.contract import Strategy
from hean_router.strategy.dca import Dca

GROUP = "hean.strategies"

Factory: TypeAlias = Callable[[str, str], Strategy]  # the instance's name, its account

_OWN: dict[str, Factory] = {"arbitrage": Arbitrage, "dca": Dca}


@cache
def _foreign() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def kinds() -> list[str]:
    """Every kind there is, sorted; ours can not be replaced."""
    return sorted({*_OWN, *_foreign()})


def make(kind: str, *, name: str = "", account: str = "main") -> Strategy:
    """An instance of `kind`, called `name` (default: as its kind).

    Raises `CommandError` for a kind that does not exist, `ConfigError` for a foreign one that can
    not be loaded.
    """
    if (own := _OWN.get(kind)) is not None:
        return own(name or kind, account)
    if (point := _foreign().get(kind)) is None:
        near = get_close_matches(kind, kinds(), n=1)
        raise CommandError(
            f"there is no strategy {kind!r}",
            f"did you mean {near[0]!r}?" if near else f"known are {', '.join(kinds())}",
        )
    try:
        factory = cast(Factory, point.load())
        return factory(name or kind, account)
    except Exception as fault:  # whatever a foreign package does while it is loaded
        raise ConfigError(
            f"strategy {kind!r} cannot be loaded: {type(fault).__name__}: {fault}",
            f"see the package that names it as {point.value}",
        ) from fault
