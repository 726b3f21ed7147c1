"""Floor 2: the last look before an order leaves.  It folds committed rows and shares nothing."""

from hean_router.gate.count import Scope
from hean_router.gate.gate import CHILDREN_MAX, FRESH_NS, Gate

__all__ = ["CHILDREN_MAX", "FRESH_NS", "Gate", "Scope"]
