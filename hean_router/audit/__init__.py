"""Named checkers of the invariants, I1 to I40: what must hold, looked at all the time."""

from hean_router.audit.arithmetic import Arithmetic
from hean_router.audit.books import Books
from hean_router.audit.caution import Caution
from hean_router.audit.checker import Broken, Checker, Findings, checkers_of, checks, joined
from hean_router.audit.claims import Claims
from hean_router.audit.decisions import Decisions
from hean_router.audit.faces import Faces
from hean_router.audit.facts import Facts
from hean_router.audit.identity import Identity
from hean_router.audit.money import Money
from hean_router.audit.watch import FAILED, Watch
from hean_router.audit.world import WORLD

CHECKERS = joined(
    checkers_of(Arithmetic, Identity, Money, Caution, Decisions, Claims, Books, Faces), WORLD
)

__all__ = [
    "CHECKERS",
    "FAILED",
    "Books",
    "Broken",
    "Checker",
    "Faces",
    "Facts",
    "Findings",
    "Watch",
    "checkers_of",
    "checks",
]
