"""What the engine has folded from rows, as one value, and back.

Books, timers, desks' standing and whatever else a start works out anew is not in it.
"""

from msgspec import Struct

from hean_router.domain.record import Opened, StrategySet
from hean_router.engine.engine import Engine
from hean_router.engine.keyring import KeysState
from hean_router.oms import saved as orders_saved
from hean_router.oms.saved import OrdersState
from hean_router.portfolio.saved import DayState, LedgerState
from hean_router.risk.saved import FoldedState

Place = tuple[str, str]  # venue, account


class EngineState(Struct, frozen=True, kw_only=True):
    """As `Engine` and its `Core`, its parts by name."""

    orders: OrdersState
    risk: FoldedState
    ledger: LedgerState
    day: DayState
    keys: KeysState
    nonces: list[tuple[Place, int]]
    gated: list[tuple[Place, str]]
    gap_ns: int | None
    last_ns: list[tuple[tuple[Place, str], int]]
    running: list[StrategySet]
    notes: dict[str, str]
    opened: Opened | None
    rows: int
    checkpoint_ns: int


def dump(engine: Engine) -> EngineState:
    """Its state; mutable parts are not copied: encode it before anything else happens."""
    core, crew = engine.core, engine.crew
    return EngineState(
        orders=orders_saved.dump(core.oms),
        risk=core.risk.dump(),
        ledger=core.ledger.dump(),
        day=core.day_pnl.dump(),
        keys=core.keyring.dump(),
        nonces=list(core.nonces.items()),
        gated=list(core.gated.items()),
        gap_ns=core.gap_ns,
        last_ns=list(engine.desks.last_ns.items()),
        running=list(crew.running.values()),
        notes=crew.notes,
        opened=engine.opened,
        rows=engine.memory.rows,
        checkpoint_ns=engine.memory.last_ns,
    )


def load(engine: Engine, state: EngineState) -> None:
    """Make a new `engine` what `state` was; rows that came after it are replayed on it."""
    core, crew = engine.core, engine.crew
    orders_saved.load(core.oms, state.orders)
    core.risk.load(state.risk)
    core.ledger.load(state.ledger)
    core.day_pnl.load(state.day)
    core.keyring.load(state.keys)
    core.nonces.update(state.nonces)
    core.gated.update(state.gated)
    core.gap_ns = state.gap_ns
    engine.desks.last_ns.update(state.last_ns)
    for row in state.running:
        crew.take(row)
    crew.notes.update(state.notes)
    engine.opened = state.opened
    engine.memory.rows, engine.memory.last_ns = state.rows, state.checkpoint_ns
