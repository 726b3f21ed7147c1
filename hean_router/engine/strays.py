"""Orders at a venue that are ours by their key and that the journal does not know: taken back.

The journal lost its last rows, or was put back from an old copy, or has forgotten the order
long since.  Nobody's limits hold such an order and no parent waits for it, so it is cancelled until
the venue says that it is gone; what it traded is booked as everybody's trade of no order is.
"""

from hean_router.domain.desk import CancelAnswered, DeskEvent, OpenSeen
from hean_router.domain.instrument import Pair
from hean_router.domain.record import ForeignOrder
from hean_router.engine.command import CancelOrder
from hean_router.engine.core import Core

AGAIN_NS = 10_000_000_000  # a cancel may be lost, as any message


class Strays:
    """Each was told once, as an incident: `orphan_order`."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def of(self, venue: str, account: str) -> list[ForeignOrder]:
        """Those that are open there."""
        oms = self.core.oms
        return [
            row
            for (at, whose, _, _), row in oms.foreign.items()
            if (at, whose) == (venue, account) and row.key and oms.key_of(row.key)
        ]

    def about_one(self, event: DeskEvent) -> bool:
        """Whether it is the answer to a cancel of ours for one: no order learns from it."""
        oms = self.core.oms
        return (
            isinstance(event, CancelAnswered)
            and event.key not in oms.children
            and oms.key_of(event.key)
        )

    def take_back(self, venue: str, account: str, event: DeskEvent, *, new: bool) -> None:
        """Cancel them when one has come to light, and whenever the venue lists them again."""
        if not new and not isinstance(event, OpenSeen):
            return
        core = self.core
        for row in self.of(venue, account):
            of = core.instrument(venue, Pair.parse(row.symbol))
            if of is not None:
                core.commands.append(
                    CancelOrder(
                        venue=venue,
                        account=account,
                        instrument=of,
                        key=row.key,
                        venue_order_id=row.venue_order_id,
                    )
                )
