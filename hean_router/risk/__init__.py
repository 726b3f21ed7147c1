"""Floor 2: may we.  Pure rules, worst-case reservations, the kill switch."""

from hean_router.risk.model import Denied, LimitUse, Proposed, RiskView, State
from hean_router.risk.risk import Risk

__all__ = ["Denied", "LimitUse", "Proposed", "Risk", "RiskView", "State"]
