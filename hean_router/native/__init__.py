"""Floor 0: the compiled twin of the hot half of `book`, where it has been built.

The Python in `book` is the specification and runs everywhere; this is quicker and equal to it,
which `tests/native` proves.  `HEAN_NATIVE` decides, when the package is installed and again when
it runs: `auto` (the default) takes the twin where it can be had, `require` fails without it, `off`
leaves it.  It may import `domain` and nothing else of the house.

`core/` has no dependencies, not even Python: `cargo test --offline` there.  `src/` hands numbers
across the border.  `backend.py` builds it.
"""

import os
from shutil import which

from hean_router.domain.errors import ConfigError

MODES = ("auto", "require", "off")
INTERFACE = 2  # what we call; a binary that says another number is of other sources
FIX = "install again with cargo on the PATH and the crate registry in reach: pip install ."

try:
    from hean_router.native import _core
except ImportError as fault:
    _missing = str(fault) or "it cannot be loaded"
else:
    _missing = ""


def _choose() -> tuple[bool, str]:
    """Whether the twin runs, and why, or why not.  Raises `ConfigError`."""
    mode = os.environ.get("HEAN_NATIVE") or "auto"
    if mode not in MODES:
        raise ConfigError(f"HEAN_NATIVE is {mode!r}", f"allowed: {', '.join(MODES)}")
    if mode == "off":
        return False, "switched off by HEAN_NATIVE=off"
    why = _why_not()
    if not why:
        return True, f"compiled, interface {INTERFACE}"
    if mode == "require":
        raise ConfigError(f"HEAN_NATIVE=require, but the compiled books are not there: {why}", FIX)
    return False, why


def _why_not() -> str:
    if _missing:
        built = "cannot import name '_core'" not in _missing and "No module named" not in _missing
        if built:
            return f"built, but cannot be loaded: {_missing}"
        cargo = "there is a cargo to build it with" if which("cargo") else "there is no cargo"
        return f"not built; {cargo}"
    if getattr(_core, "INTERFACE", None) != INTERFACE:
        return "built from other sources than these"
    return ""


_RUNS, _REASON = _choose()
Ladder: "type[_core.Ladder] | None" = _core.Ladder if _RUNS else None


def status() -> tuple[bool, str]:
    """Whether the compiled twin runs, and why, or why not; for `hean doctor`."""
    return _RUNS, _REASON
