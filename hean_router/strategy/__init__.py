"""Floor 3: opinions: what to want, and when.

contract   what a strategy is told, sees and answers
arbitrage  buy here, sell there: opportunity -> cycle -> repair
dca        the smallest one
registry   which there are, by name
"""

from hean_router.strategy.arbitrage import Arbitrage, ArbitrageParams
from hean_router.strategy.contract import (
    NOTHING,
    BookMoved,
    Event,
    Group,
    ParentDone,
    ParentMoved,
    ParentView,
    Reaction,
    Refused,
    Started,
    Stopping,
    Strategy,
    View,
    Woke,
)
from hean_router.strategy.dca import Dca
from hean_router.strategy.opportunity import Opportunity, Room, ScanParams, scan
from hean_router.strategy.registry import kinds, make

__all__ = [
    "NOTHING",
    "Arbitrage",
    "ArbitrageParams",
    "BookMoved",
    "Dca",
    "Event",
    "Group",
    "Opportunity",
    "ParentDone",
    "ParentMoved",
    "ParentView",
    "Reaction",
    "Refused",
    "Room",
    "ScanParams",
    "Started",
    "Stopping",
    "Strategy",
    "View",
    "Woke",
    "kinds",
    "make",
    "scan",
]
