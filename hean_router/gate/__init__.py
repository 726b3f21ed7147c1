"""Floor 2: the last look before an order leaves.  It folds committed rows and shares nothing."""

from hean_router.gate.count import Scope
from hean_router.gate.gate import CHILDREN_MAX, FRESH_NS, REFUSED, Gate, Shut
from hean_router.gate.net import BLIND, Look

__all__ = ["BLIND", "CHILDREN_MAX", "FRESH_NS", "REFUSED", "Gate", "Look", "Scope", "Shut"]
