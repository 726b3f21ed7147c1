"""Bugs, each put in on purpose, and the invariant whose checker must find it.

    python -m tests.mutants.seeded               what each is caught by
    python -m tests.mutants.seeded build/mutants.json

Each is a patch of one function of the program; then a short day is lived with it.  Without the
patch the same day must be clean.  Every invariant of the plan has one: I1 to I40 all apply, with
these readings: I38 is about nonces that *we* use at venues, since our own API takes bearer keys and
signs nothing; I13's chain and I14's lock have their own tests on real files (`tests/store`), here
it is the numbers and the epoch; Knight Capital's bug before the gate alone is in `tests/runtime`.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from msgspec import structs

from hean_router.sim import virtual
from hean_router.sim.market import Pace
from tests.mutants import scenes
from tests.storm.house import LIMITS, plot
from tests.storm.witness import Witness

Put = Callable[[], Any]  # makes a patcher


@dataclass(frozen=True)
class Mutant:
    """One bug.  `puts` are its patches."""

    name: str
    invariant: str
    scene: Any
    puts: tuple[Put, ...]
    options: dict[str, Any] = field(default_factory=dict)


MUTANTS: list[Mutant] = []


def mutant(invariant: str, scene: Any, **options: Any):
    """Enlist a function that gives the patches of one bug; its docstring says what the bug is."""

    def enlist(function: Callable[[], Any]) -> Callable[[], Any]:
        MUTANTS.append(Mutant(function.__name__, invariant, scene, (function,), dict(options)))
        return function

    return enlist


# ------------------------------------------------------------------------- running


def lived(scene: Any, puts: tuple[Put, ...] = (), options: dict[str, Any] | None = None) -> Any:
    """Live through a scene; the witness, whatever became of it."""
    options = dict(options or {})
    seen: list[Witness] = []
    journal = options.pop("journal", scenes.Kept)()
    tune = options.pop("tune", None)

    async def main(world):
        async with plot(
            world,
            ("BTC/USDT", "USDT/USD"),
            pace=Pace(updates_per_s=options.pop("updates_per_s", 3)),
            **options,
        ) as home:
            home.witness = Witness(home)
            seen.append(home.witness)
            if tune is not None:
                tune(home)
            await scene(home, journal)
            home.witness.end()

    with ExitStack() as stack:
        for put in puts:
            for one in put():
                stack.enter_context(one)
        level = logging.getLogger("hean_router").level
        logging.getLogger("hean_router").setLevel(logging.CRITICAL if not puts else level)
        try:
            virtual.run(main, 5, strict=False)
        except Exception as fault:
            if not seen:
                raise
            seen[0].fault = fault
        finally:
            logging.getLogger("hean_router").setLevel(level)
    return seen[0]


def found(one: Mutant) -> list[str]:
    """The invariants that are found broken with it in."""
    witness = lived(one.scene, one.puts, one.options)
    return sorted({broken.invariant for broken in witness.broken})


def caught() -> dict[str, list[str]]:
    """Invariant -> the bugs that its checker has caught."""
    out: dict[str, list[str]] = {}
    for one in MUTANTS:
        if one.invariant in found(one):
            out.setdefault(one.invariant, []).append(one.name)
    return dict(sorted(out.items(), key=lambda item: int(item[0][1:])))


def swap(target: str, new: Any) -> Any:
    """Something of a module or class, replaced."""
    return patch(target, new)


def wrap(target: str, around: Callable[..., Any]) -> Any:
    """The same with `around(original, ...)` in its place."""
    module, _, name = target.rpartition(".")
    owner = _resolve(module)
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    return patch.object(owner, name, wrapped)


def _resolve(path: str) -> Any:
    import pkgutil

    return pkgutil.resolve_name(path if ":" in path else _split(path))


def _split(path: str) -> str:
    parts = path.split(".")
    at = next((n for n, part in enumerate(parts) if part[:1].isupper()), len(parts))
    return ".".join(parts[:at]) + (":" + ".".join(parts[at:]) if at < len(parts) else "")


def main() -> int:
    """The program."""
    table, missed = {}, 0
    for one in MUTANTS:
        by = found(one)
        hit = one.invariant in by
        missed += not hit
        print(f"{'caught' if hit else 'MISSED'} {one.invariant} {one.name}: {by}", flush=True)
        if hit:
            table.setdefault(one.invariant, []).append(one.name)
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
    return 1 if missed else 0


# ------------------------------------------------------------------------- order arithmetic


@mutant("I1", scenes.day)
def parents_filled_stands_still():
    """A trade is credited to its order and not to the parent."""

    def credit(original, to, row, *more):
        if type(to).__name__ == "Child":
            return original(to, row, *more)
        return None

    return [wrap("hean_router.oms.orders.credit", credit)]


@mutant("I2", scenes.day)
def filled_is_not_taken_off():
    """The counter of what is filled does not reach whoever sends (Knight Capital)."""
    return [swap("hean_router.oms.model.Parent.free", property(lambda self: self.qty))]


@mutant("I3", scenes.day)
def contracts_for_coins():
    """A trade's quantity is taken in the wrong unit: ten times too much (ccxt#24590)."""

    def filled(original, **fields):
        return original(**{**fields, "qty": fields["qty"] * 10})

    return [wrap("hean_router.oms.intake.Filled", filled)]


@mutant("I4", scenes.day)
def the_cancelled_lives():
    """An order that was cancelled is believed to live on."""

    def reported(original, self, row):
        original(self, row)
        child = self.children.get(row.key)
        if child is not None and not child.is_live and str(child.status) == "canceled":
            self.live[child.key] = child

    return [wrap("hean_router.oms.orders.Orders._reported", reported)]


@mutant("I5", scenes.day)
def refused_after_it_stood():
    """What an order's end is told as overwrites everything: refused, though it stood."""
    from hean_router.domain.record import ChildRejected

    def report(original, self, *args, **kwargs):
        before = len(self.rows)
        original(self, *args, **kwargs)
        for at in range(before, len(self.rows)):
            row = self.rows[at]
            if getattr(getattr(row, "state", None), "value", "") == "canceled":
                self.rows[at] = ChildRejected(
                    at_ns=row.at_ns, key=row.key, reject="FILTER", code="", text=""
                )

    return [wrap("hean_router.oms.intake._Intake._report", report)]


def _one_each(home):
    """One order for a parent, and no more."""

    def told(office):
        core = office.engine.core
        core.policy = structs.replace(core.policy, child_max=1)

    home.moving_in.append(told)
    home.witness.rows.arithmetic.children_max = 1


@mutant("I6", scenes.day, tune=_one_each)
def orders_without_end():
    """The bound on orders of one parent is not looked at."""

    def intend(original, core, *args, **kwargs):
        bound, core.policy = core.policy, structs.replace(core.policy, child_max=200)
        try:
            return original(core, *args, **kwargs)
        finally:
            core.policy = bound

    return [
        wrap("hean_router.engine.routing.intend", intend),
        wrap("hean_router.engine.conduct.intend", intend),
    ]


@mutant("I7", scenes.day)
def ended_while_it_rests():
    """A parent ends as soon as its cancel is asked for."""

    from hean_router.oms.model import Parent

    can_end = Parent.can_end

    def ended(original, self, row):
        parent = self.parents[row.parent]
        parent.ended = row
        self.working.pop(parent.id, None)

    def either(self):
        return bool(self.cancel) or can_end.fget(self)

    return [
        swap("hean_router.oms.model.Parent.can_end", property(either)),
        wrap("hean_router.oms.orders.Orders._ended", ended),
    ]


def _intended(change):
    def intended(original, **fields):
        return original(**{**fields, **change(fields)})

    return [wrap("hean_router.engine.routing.ChildIntended", intended)]


@mutant("I8", scenes.day)
def a_price_beyond_the_limit():
    """A child's limit is written as its parent's and five percent more."""

    def change(fields):
        away = Decimal("1.05") if fields["side"].value == "buy" else Decimal("0.95")
        return {"px": fields["px"] * away, "worst_px": fields["px"] * away}

    return _intended(change)


# ------------------------------------------------------------------------- durability


@mutant("I9", scenes.day)
def sent_before_it_is_written():
    """Orders leave at once, rows are written when there is time."""
    from hean_router.engine import PlaceOrder

    def one(original, self, event):
        step = self.engine.step(event, self.clock())
        self._wake_at_ns = step.wake_at_ns
        now_ns = self.clock()
        for command in step.commands:
            if isinstance(command, PlaceOrder):
                of = command.intended
                self.desks[of.venue, of.account].place(command.approved)
            else:
                self._do(command, event, now_ns)
        self._unwritten += step.rows
        self._loop.call_later(0.3, self._gathered)
        return step.answer

    return [wrap("hean_router.runtime.trading.Trading._one", one)]


@mutant("I10", scenes.day)
def one_id_for_all():
    """The id of an order names always the same parent."""

    def child_key(original, self, parent_id, number, attempt=0):
        return original(self, "0000zzzz", int(parent_id, 36) * 40 + number, attempt)

    return [wrap("hean_router.oms.orders.Orders.child_key", child_key)]


@mutant("I11", scenes.day)
def cancelled_and_forgotten():
    """An order whose cancel is asked for counts as cancelled (hummingbot#3374)."""
    from hean_router.domain.order import OrderState
    from hean_router.domain.record import ChildReported

    def cancel_child(original, self, child, why):
        self.core.write(
            ChildReported(
                at_ns=self.core.now_ns,
                key=child.key,
                state=OrderState.CANCELED,
                cum_qty=child.filled,
                venue_order_id=child.venue_order_id,
            )
        )

    return [wrap("hean_router.engine.conduct.Conduct.cancel_child", cancel_child)]


@mutant("I12", scenes.day)
def a_state_that_is_no_row():
    """Something is kept in memory that no row says."""

    def heard(original, self, told):
        original(self, told)
        for child in list(self.core.oms.children.values())[:1]:
            child.why = "because"

    return [wrap("hean_router.engine.hearing.Hearing.heard", heard)]


@mutant("I13", scenes.day, journal=scenes.Memory)
def a_number_is_left_out():
    """The journal counts a row that it did not write."""

    def append(original, self, rows):
        self.seq += 20 < self.seq < 30
        return original(self, rows)

    return [
        wrap("hean_router.store.journal_file.Journal.append", append),
        wrap("hean_router.store.journal_file.Journal._must_own", lambda *_args: None),
    ]


@mutant("I14", scenes.two_days, journal=scenes.Same)
def two_first_owners():
    """Whoever opens the journal does not raise its epoch."""
    return []


# ------------------------------------------------------------------------- money


@mutant("I15", scenes.two_days)
def booked_again_after_a_restart():
    """A trade that is told again after a restart is booked again (hummingbot#4990)."""

    def made(original, self, *args, **kwargs):
        original(self, *args, **kwargs)
        kind = type(self.fills)
        self.fills = type("Forgetful", (kind,), {"__contains__": lambda *_args: False})()

    return [wrap("hean_router.oms.orders.Orders.__init__", made)]


@mutant("I16", scenes.day)
def fees_are_earned():
    """The sign of a fee is flipped in the ledger."""

    def fill(original, self, row, *more):
        return original(self, structs.replace(row, fee=-row.fee), *more)

    return [wrap("hean_router.portfolio.ledger.Ledger._fill", fill)]


@mutant("I17", scenes.day)
def profit_out_of_thin_air():
    """What a sale brings is booked as profit twice."""

    def move(original, self, qty, px):
        before = self.realised
        original(self, qty, px)
        self.realised += self.realised - before

    return [wrap("hean_router.portfolio.positions.Position._move", move)]


@mutant("I18", scenes.day)
def through_a_float():
    """A price goes through a float on its way."""
    return _intended(lambda fields: {"px": Decimal(float(fields["px"]) * 0.9999999)})


@mutant("I19", scenes.day)
def half_is_written_all_is_sent():
    """The row says half of what is sent: a unit mistaken for another."""
    return _intended(lambda fields: {"qty": fields["qty"] / 2})


# ------------------------------------------------------------------------- risk

TIGHT = {**LIMITS, "each_account": {**LIMITS["each_account"], "gross_max": 25_000}}


@mutant("I20", scenes.bold, limits=TIGHT)
def each_order_by_itself():
    """Exposure limits look at nothing but the order in hand."""

    def worse(_original, *_args, **_kwargs):
        return None

    return [wrap("hean_router.risk.admit._worse", worse)]


@mutant("I21", scenes.day)
def released_twice():
    """What was reserved is released at the end once more."""

    def ended(original, self, row):
        parent = self.parents.get(row.parent)
        original(self, row)
        if parent is not None:
            self.reserved_usd -= parent.notional

    return [wrap("hean_router.risk.folded.Folded._ended", ended)]


@mutant("I22", scenes.killed)
def the_switch_is_not_looked_at():
    """Orders are let through whatever the kill switch says."""
    return [wrap("hean_router.risk.rules.state", lambda _original, *_args: None)]


@mutant("I23", scenes.killed)
def the_switch_cancels_nothing():
    """The kill switch stops new orders and leaves the old ones."""
    from hean_router.domain.record import RiskSet

    def put(_original, self, state, reason, by):
        core = self.core
        core.write(RiskSet(at_ns=core.now_ns, state=state, reason=reason, by=by))

    return [wrap("hean_router.engine.safety.Safety.put", put)]


@mutant("I24", scenes.hurried)
def as_fast_as_it_goes():
    """The venue's order rate is not counted."""
    plenty = (1 << 20, "")
    return [
        wrap("hean_router.runtime.order_budget.OrderBudget.orders", lambda *_args: plenty),
        wrap("hean_router.runtime.order_budget.OrderBudget.pay_order", lambda *_a, **_k: ""),
    ]


# ------------------------------------------------------------------------- books


@mutant("I25", scenes.night)
def stale_and_still_read():
    """A book that is live no more can be read on."""

    def take(original, self, venue, event):
        seat = None
        if type(event).__name__ == "StateChanged":
            seat = self._seat_of(event.instrument)
        book = None if seat is None else seat.book
        hear, self.on_change = self.on_change, []
        original(self, venue, event)
        self.on_change = hear
        if seat is not None:
            seat.book = seat.book or book
            for one in hear:
                one(event)

    return [
        wrap("hean_router.runtime.market.Market._take", take),
        wrap("hean_router.book.book.LiveBook.revoke", lambda *_args: None),
    ]


@mutant("I26", scenes.night)
def the_best_level_is_left_out():
    """The view begins with every venue's second level."""

    def walk(original, *args):
        found = original(*args)
        next(found, None)
        yield from found

    return [wrap("hean_router.book.consolidated._walk", walk)]


@mutant("I27", scenes.night)
def sides_mixed_up():
    """Bids of a snapshot are its asks, and nobody looks whether it is crossed."""

    def snapshot(original, self, new, now_ns):
        if self.instrument.venue != "kraken":  # whose checksum would tell
            new = structs.replace(new, bids=list(new.asks))
        return original(self, new, now_ns)

    return [
        wrap("hean_router.book.book.Book.snapshot", snapshot),
        swap("hean_router.book.book.Book.crossed", property(lambda _self: False)),
    ]


@mutant("I28", scenes.long_night, updates_per_s=15)
def merged_into_the_old_book():
    """After a reconnect the new snapshot is merged into the old book (ccxt#29210)."""

    before: dict[Any, Any] = {}

    def snapshot(original, self, new, now_ns):
        last = before.get(self.instrument.key, self)
        old = last.bids.top(400), last.asks.top(400)
        before[self.instrument.key] = self
        original(self, new, now_ns)
        bid, ask = self.bids.best_px(), self.asks.best_px()
        self.bids.apply([(px, qty) for px, qty in old[0] if px < ask])
        self.asks.apply([(px, qty) for px, qty in old[1] if px > bid])

    return [wrap("hean_router.book.book.Book.snapshot", snapshot)]


@mutant("I29", scenes.day)
def another_version_is_recorded():
    """A decision records the version before the one it used."""

    def seen(original, **fields):
        return original(**{**fields, "version": fields["version"] - 1})

    return [wrap("hean_router.engine.routing.Seen", seen)]


@mutant("I30", scenes.greedy)
def more_than_stands_there():
    """Levels are read as a hundred times as deep as they are."""

    def venue_book(original, live, side, wanted):
        found = original(live, side, wanted)
        deep = {"asks": [(px, q * 100) for px, q in found.asks]}
        deep["bids"] = [(px, q * 100) for px, q in found.bids]
        return structs.replace(found, **deep)

    return [wrap("hean_router.engine.routing.venue_book", venue_book)]


# ------------------------------------------------------------------------- liveness


@mutant("I31", scenes.lost_answers)
def nobody_asks():
    """An order of unknown fate is never asked about."""
    return [wrap("hean_router.oms.resolver.Resolver.due", lambda *_args: [])]


@mutant("I32", scenes.patience, updates_per_s=1)
def it_never_ends():
    """What is over is not told to be."""
    return [wrap("hean_router.engine.conduct.Conduct._end", lambda *_args: None)]


@mutant("I33", scenes.readers)
def a_reader_without_end():
    """A slow reader's queue has no bound."""

    def subscribe(original, self):
        one = original(self)
        one._queue = asyncio.Queue()
        return one

    return [wrap("hean_router.runtime.trading.Trading.subscribe", subscribe)]


@mutant("I34", scenes.day)
def the_end_waits_for_venues():
    """An orderly end waits for whatever a venue may still say."""

    async def close(original, self):
        await asyncio.sleep(40)
        await original(self)

    return [wrap("hean_router.runtime.http.Http.close", close)]


@mutant("I35", scenes.by_strategy, updates_per_s=1)
def the_hedge_never_leaves():
    """The second leg is taken for done."""

    def submit(original, self, intents, by):
        if any(one.strategy and one.side.value == "sell" for one in intents):
            intents = [structs.replace(one, side=type(one.side)("buy")) for one in intents]
        return original(self, intents, by)

    return [wrap("hean_router.runtime.trading.Trading.submit", submit)]


@mutant("I36", scenes.legs)
def one_leg_goes_alone():
    """A leg that could order nothing holds nobody back."""
    return [wrap("hean_router.engine.engine.Engine._all_or_none", lambda *_args: None)]


# ------------------------------------------------------------------------- API


@mutant("I37", scenes.asked_again)
def the_id_is_not_looked_up():
    """An order that was placed before is placed again."""
    return [wrap("hean_router.engine.admission._known", lambda *_args: None)]


@mutant("I38", scenes.two_days)
def nonces_begin_anew():
    """What was reserved of nonces is forgotten."""

    def reserved(original, **fields):
        return original(**{**fields, "below": 1_000})

    return [wrap("hean_router.engine.desks.NonceReserved", reserved)]


@mutant("I39", scenes.at_the_api)
def everybody_is_main():
    """Whose key it is does not matter."""

    def enter(original, self, *args, **kwargs):
        return structs.replace(original(self, *args, **kwargs), account="main")

    return [wrap("hean_router.api.access.Wall.enter", enter)]


@mutant("I40", scenes.day)
def a_secret_is_logged():
    """Credentials print themselves whole, and somebody logs them."""

    def run(original, self, instruments, sink):
        log = logging.getLogger("hean_router.runtime.order_desk")
        log.error("signing in with %s", self._told_credentials)
        return original(self, instruments, sink)

    def made(original, self, connector, credentials, *args, **kwargs):
        original(self, connector, credentials, *args, **kwargs)
        self._told_credentials = f"{credentials.key} {credentials.secret}"

    return [
        wrap("hean_router.runtime.order_desk.NativeDesk.__init__", made),
        wrap("hean_router.runtime.order_desk.NativeDesk.run", run),
    ]


if __name__ == "__main__":
    sys.exit(main())
