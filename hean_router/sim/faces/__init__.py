"""Faces, one module a venue, found by name: a fifth venue is a new file here and nothing else.

Each module offers `SYMBOLS`, `listings` and `face` (see `contract.FaceModule`).
"""

from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from hean_router.sim.contract import FaceModule


def venues() -> list[str]:
    """Venues that can be simulated, sorted."""
    return sorted(module.name for module in iter_modules(__path__) if module.name[0] != "_")


NAMES = tuple(venues())
"""The same, as a constant."""


def load(venue: str) -> FaceModule:
    """The venue's module.  ValueError: there is none; the text names those there are."""
    if venue not in NAMES:
        raise ValueError(f"no simulator for {venue!r}; there are: {', '.join(NAMES)}")
    return cast(FaceModule, import_module(f"{__name__}.{venue}"))
