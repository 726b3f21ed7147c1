"""Both twins, side by side, and when there is but one."""

import os
from shutil import which
from typing import Any

import pytest

from hean_router import native
from hean_router.book import compiled, ladder, wire

try:
    from hean_router.native import _core

    core: Any = _core if _core.INTERFACE == native.INTERFACE else None
    WHY = "the compiled twin is of other sources"
except ImportError:
    core, WHY = None, "the compiled twin is not built"

# Where CI has a cargo the twin must be there: tests that want it fail instead of being skipped.
MUST = bool(os.environ.get("CI")) and which("cargo") is not None
needs_native = pytest.mark.skipif(core is None and not MUST, reason=WHY)


def compiled_ladder(*, bids: bool) -> Any:
    assert core is not None, WHY
    return core.Ladder(bids=bids)


LADDERS = [
    pytest.param(ladder.Ladder, id="python"),
    pytest.param(compiled_ladder, id="native", marks=needs_native),
]
WIRES = [
    pytest.param(wire, id="python"),
    pytest.param(compiled, id="native", marks=needs_native),
]
