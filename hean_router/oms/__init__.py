"""Floor 2: what became of every order.  State changes by `apply(row)` alone."""

from hean_router.oms.intake import intake
from hean_router.oms.model import Child, Parent
from hean_router.oms.orders import Breach, Orders
from hean_router.oms.rebook import FeesOf, claims
from hean_router.oms.resolver import Question, Resolver
from hean_router.oms.states import LIVE, NEXT, SAW, ChildStatus, Learned, after

__all__ = [
    "LIVE",
    "NEXT",
    "SAW",
    "Breach",
    "Child",
    "ChildStatus",
    "FeesOf",
    "Learned",
    "Orders",
    "Parent",
    "Question",
    "Resolver",
    "after",
    "claims",
    "intake",
]
