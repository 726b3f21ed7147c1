"""All that a running order side has folded from its journal, as bytes, and back.

Closed and of one layout: bytes of any other are no state here, and then every row is read.  What
is in it follows from rows alone; books, sockets, timers and counters of a process do not.
"""

import hashlib
from typing import Final

import msgspec
from msgspec import Struct

import hean_router
from hean_router.domain.limits import GateLimits
from hean_router.engine import saved as engine_saved
from hean_router.engine.saved import EngineState
from hean_router.gate.saved import GateState
from hean_router.oms.saved import ParentState
from hean_router.portfolio import RoundTrips
from hean_router.portfolio.trips import TripsState
from hean_router.runtime.trading import Trading
from hean_router.telemetry import OrderMetrics
from hean_router.telemetry.orders import FollowedState

# To be raised by whoever changes what a row does to any part, and not what the part is made of.
FOLDS: Final = 1


class State(Struct, frozen=True, kw_only=True):
    """Every part's state after the same row."""

    engine: EngineState
    gate: GateState
    trips: TripsState
    followed: FollowedState
    watch: bytes


class StateError(ValueError):
    """Bytes that are no state of this layout."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(State)


def layout_of(duplicate_ns: int, gate: GateLimits) -> str:
    """What states are like here: the shape of every part, the version, and limits that shape them.

    Another version may fold the same rows to something else; and of limits with another span, more
    would have been remembered.
    """
    shapes = msgspec.json.schema_components((State, ParentState))
    shape = msgspec.json.encode(shapes, order="deterministic")
    spans = f"{FOLDS} {hean_router.__version__} {duplicate_ns} {gate.fills_window_s}"
    return hashlib.sha256(shape + spans.encode()).hexdigest()


def dump(trading: Trading, trips: RoundTrips, metrics: OrderMetrics) -> bytes:
    """The state as it stands; only while every row that the engine wrote is on disk."""
    return _ENCODER.encode(
        State(
            engine=engine_saved.dump(trading.engine),
            gate=trading.gate.dump(),
            trips=trips.dump(),
            followed=metrics.dump(),
            watch=trading.watch.save(),
        )
    )


def read(data: bytes) -> State:
    """The state of those bytes; raises `StateError` for any that are none."""
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, RecursionError) as fault:
        raise StateError(f"no state of this program: {fault}") from None


def load(trading: Trading, state: State, trips: RoundTrips, metrics: OrderMetrics) -> None:
    """Make what is new what it was.  Raises `StateError`, and then all of it is to be made anew."""
    try:
        engine_saved.load(trading.engine, state.engine)
        trading.gate.load(state.gate)
        trips.load(state.trips)
        metrics.load(state.followed)
        trading.watch.restore(state.watch)
    except (ValueError, KeyError, AssertionError, msgspec.MsgspecError) as fault:
        raise StateError(f"{type(fault).__name__}: {fault}") from None
