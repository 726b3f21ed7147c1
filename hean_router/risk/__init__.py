"""Floor 2: may we.  Pure rules, worst-case reservations, the kill switch."""

from hean_router.risk.model import Denied, LimitUse, Proposed, RiskView, State

__all__ = ["Denied", "LimitUse", "Proposed", "RiskView", "State"]
