"""Named checkers of the invariants, I1 to I40: what must hold, looked at all the time."""

from hean_router.audit.arithmetic import Arithmetic
from hean_router.audit.caution import Caution
from hean_router.audit.checker import Broken, Checker, Findings, checkers_of, checks
from hean_router.audit.claims import Claims
from hean_router.audit.decisions import Decisions
from hean_router.audit.facts import Facts
from hean_router.audit.identity import Identity
from hean_router.audit.money import Money
from hean_router.audit.watch import FAILED, Watch

CHECKERS = checkers_of(Arithmetic, Identity, Money, Caution, Decisions, Claims)

__all__ = [
    "CHECKERS",
    "FAILED",
    "Broken",
    "Checker",
    "Facts",
    "Findings",
    "Watch",
    "checkers_of",
    "checks",
]
