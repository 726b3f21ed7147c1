"""Floor 4: one event in; rows and commands out.

admission   may a parent be taken: sense, books, sizes, money, risk     -> ParentPlaced
conduct     what a parent does next; routing: one round of it           -> Decided, ChildIntended
desks       do we agree with the venues; opens and shuts their gates    -> BalancesSet, …
hearing     what desks tell, taken in; what is to be asked of them, passed on
crew        strategies: what they hear, and what they want
safety      what becomes of a fault of our own: trading halts, cancels go
memory      what is forgotten, by rows; and that it is not taken for new when it comes back
engine      `step(event, now_ns)`: where they meet
"""

from hean_router.engine.command import (
    Answer,
    AskDesk,
    CancelOrder,
    Command,
    GrantNonces,
    Placed,
    PlaceOrder,
    Refused,
    SetGate,
    Step,
)
from hean_router.engine.engine import Engine
from hean_router.engine.event import (
    AddKey,
    BooksMoved,
    CancelParent,
    CommitFailed,
    DeskFailed,
    DeskTold,
    DropKey,
    Due,
    Ending,
    Event,
    GateFound,
    GateRefused,
    JournalBack,
    SetRisk,
    Started,
    StartStrategy,
    StopStrategy,
    Submit,
    TaskDied,
)
from hean_router.engine.memory import Keep
from hean_router.engine.past import Past
from hean_router.engine.world import Policy, World

__all__ = [
    "AddKey",
    "Answer",
    "AskDesk",
    "BooksMoved",
    "CancelOrder",
    "CancelParent",
    "Command",
    "CommitFailed",
    "DeskFailed",
    "DeskTold",
    "DropKey",
    "Due",
    "Ending",
    "Engine",
    "Event",
    "GateFound",
    "GateRefused",
    "GrantNonces",
    "JournalBack",
    "Keep",
    "Past",
    "PlaceOrder",
    "Placed",
    "Policy",
    "Refused",
    "SetGate",
    "SetRisk",
    "StartStrategy",
    "Started",
    "Step",
    "StopStrategy",
    "Submit",
    "TaskDied",
    "World",
]
