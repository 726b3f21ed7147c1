"""What a demonstration's sample routes came to."""

from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal

from hean_router.route import Plan


@dataclass
class Tally:
    """What the sample routes came to."""

    recent: deque[Plan] = field(default_factory=lambda: deque(maxlen=5))
    planned: int = 0
    split: int = 0  # over more than one venue
    skipped: int = 0  # a book was not LIVE at that moment
    notional: Decimal = Decimal(0)  # of the routes that a single venue could have done as well
    saved: Decimal = Decimal(0)  # on these, against the best single venue

    def add(self, made: Plan) -> None:
        """Count one more."""
        self.recent.append(made)
        self.planned += 1
        self.split += len(made.children) > 1
        if made.saved_quote is not None:
            self.saved += made.saved_quote
            self.notional += made.notional

    @property
    def saved_bps(self) -> Decimal:
        """Saved, in 1e-4 of notional."""
        if not self.notional:
            return Decimal(0)
        return (self.saved / self.notional * 10_000).quantize(Decimal("0.001"))
