"""What is saved beside a checkpoint is all that rows have made; and what is forgotten stays so."""

import random
from collections import deque
from decimal import Decimal
from enum import Enum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hean_router.domain.limits import GateLimits, RiskLimits
from hean_router.domain.parent import Status
from hean_router.domain.record import Checkpoint, Filled, FillUndone, ParentPlaced
from hean_router.engine import Engine
from hean_router.engine import saved as engine_saved
from hean_router.gate import Gate
from hean_router.oms import Child, Parent
from hean_router.portfolio import RoundTrips
from hean_router.runtime import saved
from hean_router.telemetry import OrderMetrics
from tests.engine.bench import Nowhere
from tests.store.journal_rows import ACCOUNTS, VENUES, Story, ended

PLACES = [(venue, account) for venue in VENUES for account in ACCOUNTS]
# Of the moment, of a process, or derived from the rest where it is asked for.
VOLATILE = {
    "_appliers", "_folds", "_pairs", "touched", "_marks", "_shut", "_opened", "_holds", "_killed",
    "_lost", "_incidents", "_rates", "_paces", "_parents", "_last", "_left", "_refused", "limits",
    "_kept", "packed", "faults", "_scopes", "parent",
}  # fmt: skip


class Parts:
    """Everything that a router folds rows into, without a router."""

    def __init__(self):
        self.engine = Engine(Nowhere(), RiskLimits(), desks=dict.fromkeys(PLACES, ""))
        self.gate, self.trips, self.metrics = Gate(), RoundTrips(), OrderMetrics()

    def fold(self, rows):
        for row in rows:
            self.engine.replay((row,))
            self.gate.apply(row)
            self.trips.apply(row)
            self.metrics.resume((row,))
        self.gate.take_incidents()
        return self

    def bytes(self):
        return saved._ENCODER.encode(
            saved.State(
                engine=engine_saved.dump(self.engine),
                gate=self.gate.dump(),
                trips=self.trips.dump(),
                followed=self.metrics.dump(),
                watch=b"",
            )
        )

    @classmethod
    def of(cls, data):
        parts, state = cls(), saved.read(data)
        engine_saved.load(parts.engine, state.engine)
        parts.gate.load(state.gate)
        parts.trips.load(state.trips)
        parts.metrics.load(state.followed)
        return parts

    def seen(self):
        """All of it as plain values: every field of every part, whoever adds one."""
        core, crew = self.engine.core, self.engine.crew
        followed = {
            name: getattr(self.metrics, name) for name in ("_live", "_gone", "_breaks", "_epoch")
        }
        return plain(
            {
                "orders": core.oms,
                "hashes": (core.oms.state_hash(), core.risk.state_hash(), core.ledger.state_hash()),
                "risk": core.risk,
                "ledger": core.ledger,
                "day": core.day_pnl,
                "keys": core.keyring,
                "core": (core.nonces, core.gated, core.gap_ns, self.engine.desks.last_ns),
                "crew": (crew.running, crew.notes),
                "opened": self.engine.opened,
                "memory": (self.engine.memory.rows, self.engine.memory.last_ns),
                "gate": self.gate,
                "trips": self.trips,
                "followed": followed,
            }
        )


def plain(value):
    """A value that `==` compares, with the type and the digits of each number."""
    match value:
        case Decimal():
            return ("decimal", str(value))
        case None | bool() | int() | str() | bytes() | Enum():
            return value
        case dict():
            # What adds up to nothing may be kept as such, or not at all.
            found = {plain(key): plain(one) for key, one in value.items()}
            return {key: one for key, one in found.items() if one not in (0, ()) and not _none(one)}
        case set() | frozenset():
            return sorted(map(repr, value))
        case list() | tuple() | deque():
            return tuple(plain(one) for one in value)
    names = [
        *getattr(value, "__struct_fields__", ()),
        *getattr(type(value), "__slots__", ()),
        *getattr(value, "__dict__", ()),
    ]
    return (
        type(value).__name__,
        {
            name: plain(getattr(value, name))
            for name in dict.fromkeys(names)
            if name not in VOLATILE
        },
    )


def _none(one):
    return isinstance(one, tuple) and one[0] == "decimal" and not Decimal(one[1])


def history(seed, count):
    """Rows of all fates; parents end, and are forgotten now and then; some tell of them later."""
    dice, out, parts = random.Random(seed), [], Parts()
    late = []

    def write(row):
        parts.fold([row])
        out.append(row)

    oms = parts.engine.oms
    for row in Story(seed).until(count):
        if isinstance(row, FillUndone):
            if (row.venue, row.account, row.symbol, row.trade_id) in oms.fills:
                write(row)
            continue
        if isinstance(row, ParentPlaced) or (row_parent := about(row)) in {"", *oms.working}:
            write(row)
        elif row_parent not in oms.parents or dice.random() < 0.1:
            late.append(row)
        else:
            write(row)
        if dice.random() < 0.1:
            for parent in list(oms.working.values()):
                if parent.can_end and dice.random() < 0.5:
                    write(
                        ended(parent.id, row.at_ns, dice.choice((Status.CANCELED, Status.FILLED)))
                    )
        if dice.random() < 0.02:
            names = [name for name, one in oms.past.items() if oms.may_forget(one)]
            gone = tuple(names[: dice.randrange(len(names) + 1)])
            before_ns = row.at_ns - dice.randrange(1_000_000_000)
            write(Checkpoint(at_ns=row.at_ns, parents=gone, trades_before_ns=before_ns))
    return out, late


def about(row):
    return getattr(row, "parent", "") or getattr(row, "key", "")[4:12]


@given(seed=st.integers(0, 1 << 20), at=st.floats(0, 1))
@settings(max_examples=8, deadline=None)
def test_what_is_loaded_is_what_was_dumped_and_goes_on_as_if_it_never_had_been(seed, at):
    rows, _ = history(seed, 250)
    cut = round(at * len(rows))
    live = Parts().fold(rows[:cut])
    again = Parts.of(live.bytes())
    assert again.seen() == live.seen()
    assert again.bytes() == live.bytes(), "the same state, the same bytes"
    live.fold(rows[cut:])
    again.fold(rows[cut:])
    assert again.seen() == live.seen()
    assert Parts().fold(rows).seen() == live.seen(), "replay gives the same (I12)"
    again.engine.oms.check()


def test_histories_reach_what_they_are_about():
    forgotten = orphans = held = 0
    for seed in range(8):
        rows, _ = history(seed, 250)
        parts = Parts().fold(rows)
        oms = parts.engine.oms
        forgotten += oms.forgotten
        orphans += len(oms.orphans)
        held += len(oms.unsettled) + len(oms.live)
        assert not any("cannot be forgotten" in one.text for one in oms.breaches)
    assert forgotten > 50
    assert orphans > 1
    assert held > 50


def test_forgetting_moves_no_money_and_no_limit():
    """The same rows without the checkpoints: positions, balances, profit, reserves are the same."""
    for seed in range(6):
        rows, _ = history(seed, 250)
        one = Parts().fold(rows)
        other = Parts().fold([row for row in rows if not isinstance(row, Checkpoint)])
        for name in ("ledger", "day", "risk", "trips"):
            assert one.seen()[name] == other.seen()[name], name
        core, full = one.engine.core, other.engine.core
        assert plain(one.gate._count.positions) == plain(other.gate._count.positions)
        assert list(core.oms.live) == list(full.oms.live)
        assert core.oms.next_parent_id() == full.oms.next_parent_id()


def test_nothing_of_a_forgotten_parent_stays_in_memory():
    rows, _ = history(3, 300)
    parts = Parts().fold(rows)
    gone = {name for row in rows if isinstance(row, Checkpoint) for name in row.parents}
    assert gone
    found = repr(parts.engine.oms.__dict__.keys())
    assert found
    oms = parts.engine.oms
    for where in (oms.parents, oms.past, oms.by_account["main"], oms.working):
        assert not gone & set(where)
    for keys in (oms.children, oms.touched, oms.live, oms.unsettled, oms.by_venue_id.values()):
        assert not {key for key in keys if key[4:12] in gone}
    assert not gone & set(oms.by_client.values())
    assert not gone & set(parts.gate._count.rooms)
    booked = [row for row in rows if isinstance(row, Filled) and row.parent in gone]
    assert booked


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: data[:-1], "cut off"),
        (lambda data: data + b"\0", "longer"),
        (lambda _data: b"", "nothing"),
        (lambda data: data.replace(b"parents", b"persons", 1), "another layout"),
        (lambda data: b"\xc1" + data[1:], "no message"),
    ],
)
def test_bytes_that_are_no_state_are_told(spoil, why):
    data = Parts().fold(history(1, 80)[0]).bytes()
    with pytest.raises(saved.StateError):
        saved.read(spoil(data))
    assert why


def test_a_layout_is_of_this_program_and_of_limits_with_these_spans():
    first = saved.layout_of(1_000, GateLimits())
    assert first == saved.layout_of(1_000, GateLimits())
    assert first != saved.layout_of(2_000, GateLimits())
    assert first != saved.layout_of(1_000, GateLimits(fills_window_s=7))


def test_every_field_of_an_order_is_saved_or_follows_from_what_is():
    """Whoever adds a field to the model is told here to save it, and to raise `FOLDS`."""
    follows = {"key", "parent", "venue", "account", "symbol", "side", "qty", "px", "is_live"}
    from hean_router.oms.saved import ChildState, ParentState

    assert set(Child.__slots__) - follows == set(ChildState.__struct_fields__)
    follows = {"id", "intent", "qty", "at_ns", "packed"}
    assert set(Parent.__slots__) - follows == set(ParentState.__struct_fields__)
