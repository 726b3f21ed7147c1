"""Floor 2: the last look before an order leaves.  It folds committed rows and shares nothing."""

from hean_router.gate.gate import Gate, Scope

__all__ = ["Gate", "Scope"]
