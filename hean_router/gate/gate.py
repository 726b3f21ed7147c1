"""The gate: recounts, from what is on disk, whether an order may leave.

It knows nothing of the planner, the OMS or risk, and shares no line with them: their bugs are what
it is for (a router whose "already filled" counter stood still sent four million orders in 2012).
It fails closed: what it does not understand shuts it.

Which bug is caught by what, beside the recount of quantity, money, price and state:

* the same order sent again from the journal of an earlier process: `sent_before`, by epoch;
* a key of another installation: `not_ours`; a process that lost the journal: `not_owner`, for good;
* a price far off, though the parent allows it: `collar`, by mid and last good price;
* an order too large by a power of ten: `size`; too many in a second: `throttle`;
* a router that makes the same order under ever new parents: `duplicate`;
* a strategy that trades in circles, every order of it in order: `repeated`, shuts its account;
* a planner that asks again and again for what is refused: `circles`, shuts the place, and where a
  second place follows, everything.

What this costs: some 70 us of CPU an order (`tests/gate/test_gate_cost.py`).
"""

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeAlias

from msgspec import Struct

from hean_router.domain.instrument import Side
from hean_router.domain.limits import GateLimits
from hean_router.domain.order import Tif
from hean_router.domain.parent import Life
from hean_router.domain.record import ChildIntended, Filled, Incident, Opened, RiskSet, Row
from hean_router.gate import saved
from hean_router.gate.count import EXACT, ZERO, Child, Count, Parent, Scope
from hean_router.gate.net import BLIND, Look, Net
from hean_router.gate.saved import GateState

CHILDREN_MAX = 400  # of one parent: beyond it something runs in circles
# An intention older than this is not sent any more.  A desk is stricter (250 ms to the wire);
# this one holds when a desk's clockwork is what fails.
FRESH_NS = 2_000_000_000
EVERYWHERE: Scope = ("", "")
REFUSED = "gate_refused"  # an incident that shuts nothing by itself
PREFIX = "h"  # of every key of ours, before the installation's tag

# Refusals that the world may bring about: time, books, people, another order's end.  Every other
# says that planner and journal disagree, and is an incident.
ORDINARY = frozenset(
    {
        "late",
        "early",
        "parent_closed",
        "expired",
        "no_reference",
        "no_rate",
        "gate_shut",
        "not_owner",
    }
    | {"risk_reduce_only", "risk_halted"}
)

_Rule: TypeAlias = Callable[[ChildIntended, Parent, int], str]


class Shut(Struct, frozen=True, kw_only=True):
    """A place that is shut: why, since when (our clock; 0: not known), and what lifts it."""

    scope: Scope
    why: str
    since_ns: int
    lifted_by: str


BY_RESET = "a person, once the cause is known: POST /v1/risk/reset"
BY_VENUE = "by itself, once we agree with the venue"
BY_RESTART = "nothing: this process has to end"


class Gate:
    """Folds committed rows; lets each order through at most once.

    Three things shut a place: whoever reconciles it (`shut`, lifted by `open`); whoever keeps what
    it needs running (`hold`, lifted by `release`); and a fault: a trade that no rule allows, a
    limit hit too often, an exception in here.  A fault stays through any number of `open`s until
    a person sets risk back to normal, and comes back from the journal after a restart.
    """

    def __init__(self, limits: GateLimits = GateLimits()) -> None:  # noqa: B008 - frozen, a value
        self._count, self._net = Count(), Net(limits)
        self._opened: set[Scope] = set()
        self._shut: dict[Scope, str] = {}
        self._faults: dict[Scope, str] = {}
        self._holds: dict[str, Shut] = {}  # by who holds
        self._since: dict[tuple[str, Scope], int] = {}  # what and where -> since when
        self._killed = self._lost = ""
        self._epoch, self._tag = 0, ""
        self._incidents: deque[Incident] = deque(maxlen=1_000)

    # ------------------------------------------------------------------------- opening

    def open(self, scope: Scope) -> None:
        """Let orders through there: we agree with the venue.  Lifts `shut`, never a fault."""
        self._opened.add(scope)
        self._shut.pop(scope, None)

    def shut(self, scope: Scope, why: str, now_ns: int = 0) -> None:
        """Let none through there; ("", "") is everywhere, (venue, "") all accounts of it.

        Each is lifted by opening the same scope; a place is open only if opened itself.
        """
        self._opened.discard(scope)
        if scope not in self._shut:
            self._since["shut", scope] = now_ns
        self._shut[scope] = why or "shut"

    def hold(self, who: str, scope: Scope, why: str, lifted_by: str, now_ns: int = 0) -> None:
        """Let none through there until the same `who` releases it, however often it is opened."""
        self._holds[who] = Shut(scope=scope, why=why, since_ns=now_ns, lifted_by=lifted_by)

    def release(self, who: str) -> None:
        """Take back what `who` holds."""
        self._holds.pop(who, None)

    def kill(self, reason: str) -> None:
        """Halted from this moment, whatever becomes of the row that says so; a reset lifts it."""
        self._killed = reason or "killed"

    def disown(self, why: str) -> None:
        """The journal is another's: nothing leaves from this process any more, for good."""
        self._lost = why or "another process owns the journal"

    def standing(self) -> dict[Scope, str]:
        """Why each place is shut; empty where it is open."""
        held = {hold.scope: hold.why for hold in self._holds.values()}
        lost = {EVERYWHERE: f"not_owner: {self._lost}"} if self._lost else {}
        return dict.fromkeys(self._opened, "") | self._shut | held | self._faults | lost

    def reasons(self) -> list[Shut]:
        """Everything that is shut, by place; one place may be so for several reasons."""
        found = [
            Shut(scope=scope, why=why, since_ns=self._since.get((kind, scope), 0), lifted_by=lifted)
            for kind, places, lifted in (
                ("shut", self._shut, BY_VENUE),
                ("fault", self._faults, BY_RESET),
            )
            for scope, why in places.items()
        ]
        found += self._holds.values()
        if self._killed:
            found.append(Shut(scope=EVERYWHERE, why=self._killed, since_ns=0, lifted_by=BY_RESET))
        if self._lost:
            found.append(Shut(scope=EVERYWHERE, why=self._lost, since_ns=0, lifted_by=BY_RESTART))
        return sorted(found, key=lambda one: (one.scope, one.why))

    def take_incidents(self) -> list[Incident]:
        """The faults since this was last asked, as rows for the journal."""
        taken = list(self._incidents)
        self._incidents.clear()
        return taken

    # ------------------------------------------------------------------------- rows

    def apply(self, row: Row) -> None:
        """Take in a row that is on disk.  Raises nothing: what cannot be counted is a fault."""
        try:
            new = not isinstance(row, Filled) or self._count.is_new(row)
            self._count.apply(row)
            if isinstance(row, Filled) and new and (why := self._net.filled(row)):
                self._fault(("", row.account), "repeated", why, row.at_ns)
        except Exception as error:  # noqa: BLE001 - fails closed, whatever it is
            scope = (getattr(row, "venue", ""), getattr(row, "account", ""))
            if not scope[0]:
                scope = self._place_of(row)
            self._fault(scope, "gate_failed", f"{type(error).__name__}: {error}", row.at_ns)
        if self._count.faults:
            for where, code, why in self._count.faults:
                self._fault(where, code, why, row.at_ns)
            self._count.faults.clear()
        match row:
            case RiskSet(state="normal"):
                self._faults.clear()
                self._killed = ""
                self._net.reset()
            case Incident(what=what) if what.startswith("gate_") and what != REFUSED:
                # Limits that were hit cannot be worked out again from the rows: this tells them.
                code = what if what == "gate_failed" else what.removeprefix("gate_")
                self._keep((row.venue, row.account), f"{code}: {row.text}", row.at_ns)
            case Opened(epoch=epoch, tag=tag):
                if epoch < self._epoch:
                    why = f"the journal was opened as {epoch} after {self._epoch}"
                    self._fault(EVERYWHERE, "epoch", why, row.at_ns)
                self._epoch, self._tag = max(epoch, self._epoch), tag
            case _:
                pass

    def dump(self) -> GateState:
        """What rows have made of it."""
        since = self._since
        return GateState(
            count=saved.dump(self._count),
            faults=[(at, why, since.get(("fault", at), 0)) for at, why in self._faults.items()],
            epoch=self._epoch,
            tag=self._tag,
            repeated=self._net.dump(),
        )

    def load(self, state: GateState) -> None:
        """Make this, which is new, what was dumped; nothing is opened by it."""
        saved.load(self._count, state.count)
        for scope, why, at_ns in state.faults:
            self._keep(scope, why, at_ns)
        self._epoch, self._tag = state.epoch, state.tag
        self._net.load(state.repeated)

    def _place_of(self, row: Row) -> Scope:
        child = self._count.children.get(getattr(row, "key", ""))
        return EVERYWHERE if child is None else (child.row.venue, child.row.account)

    def _fault(self, scope: Scope, code: str, why: str, at_ns: int) -> None:
        self._keep(scope, f"{code}: {why}", at_ns)
        what = code if code.startswith("gate_") else f"gate_{code}"
        self._incidents.append(
            Incident(at_ns=at_ns, what=what, text=why, venue=scope[0], account=scope[1])
        )

    def _keep(self, scope: Scope, why: str, at_ns: int) -> None:
        if scope not in self._faults:
            self._faults[scope], self._since["fault", scope] = why, at_ns

    # ------------------------------------------------------------------------- the look

    def check(self, intended: ChildIntended, now_ns: int, look: Look = BLIND) -> str:
        """Empty: it may leave, once, and counts as left.  Else "code: reason".

        `look` is what the shell itself sees of that market now; without one, nothing leaves that
        a limit asks about.
        """
        try:
            why = self._verdict(intended, now_ns, look)
            if not why:
                self._count.children[intended.key].passed = True
                self._net.left(intended, self._count.parents[intended.parent].row, now_ns)
            elif why.partition(":")[0] not in ORDINARY:
                self._refused(intended, why, now_ns)
        except Exception as error:  # noqa: BLE001 - fails closed, whatever it is
            text = f"{type(error).__name__}: {error}"
            scope = (getattr(intended, "venue", ""), getattr(intended, "account", ""))
            self._fault(scope, "gate_failed", text, now_ns)
            return f"gate_failed: {text}"
        return why

    def _refused(self, intended: ChildIntended, why: str, now_ns: int) -> None:
        """An order came here that should not have: told, and shut where it goes on."""
        place = (intended.venue, intended.account)
        if place in self._faults or EVERYWHERE in self._faults:
            return  # told already; it is shut
        self._incidents.append(
            Incident(
                at_ns=now_ns,
                what=REFUSED,
                text=why,
                venue=place[0],
                account=place[1],
                subject=intended.key,
            )
        )
        if circles := self._net.refused(place, now_ns):
            others = [one for one, of in self._faults.items() if of.startswith("circles")]
            self._fault(place, "circles", f"{circles}; the last: {why}", now_ns)
            if others:  # not a venue's doing, then
                self._fault(EVERYWHERE, "circles", f"at {place[0]} as at {others[0][0]}", now_ns)

    def _verdict(self, intended: ChildIntended, now_ns: int, look: Look) -> str:
        if self._lost:
            return f"not_owner: {self._lost}"
        child = self._count.children.get(intended.key)
        if why := self._on_disk(intended, child, now_ns):
            return why
        parent = self._count.parents.get(intended.parent)
        if parent is None:
            return "no_parent: nobody asked for this order"
        if parent.closed:
            return f"parent_closed: {parent.closed}"
        rules: Sequence[_Rule] = (
            self._as_asked,
            self._as_long,
            self._within_quantity,
            self._within_money,
            self._within_price,
            self._by_state,
            self._by_scope,
        )
        for rule in rules:
            if why := rule(intended, parent, now_ns):
                return why
        return self._net.verdict(intended, parent.row, now_ns, look)

    def _on_disk(self, intended: ChildIntended, child: Child | None, now_ns: int) -> str:
        if child is None or child.row != intended:
            return "not_journaled: this order is not on disk as it is to be sent"
        if child.passed:
            return "sent_before: each order leaves once"
        if self._tag and not intended.key.startswith(PREFIX + self._tag):
            return "not_ours: its key is another installation's"
        if not child.live or child.filled:
            return "over: it has ended, or traded, already"
        age_ns = now_ns - intended.at_ns
        if age_ns > FRESH_NS:
            return "late: it was decided too long ago"
        return "" if age_ns >= 0 else "early: it was decided in a time to come"

    def _as_asked(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        asked = parent.row.intent
        if (asked.side, asked.symbol, asked.account) != (
            intended.side,
            intended.symbol,
            intended.account,
        ):
            return "not_as_asked: side, symbol or account differ from the parent's"
        chosen = asked.venues
        if intended.venue in chosen.exclude or (
            chosen.include and intended.venue not in chosen.include
        ):
            return f"not_as_asked: {intended.venue} was not among the venues asked for"
        if len(parent.children) > CHILDREN_MAX:
            return f"throttle: more than {CHILDREN_MAX} orders for one parent"
        return ""

    def _as_long(self, intended: ChildIntended, parent: Parent, now_ns: int) -> str:
        """It rests only where resting was asked for, and is not sent after its time."""
        asked = parent.row.intent
        if asked.expire_ns is not None and now_ns >= asked.expire_ns:
            return "expired: the time it was good for is over"
        if asked.post_only and not intended.post_only:
            return "not_as_asked: it was to rest, and this order could take"
        if asked.life is Life.FOK and intended.tif is not Tif.FOK:
            return "not_as_asked: all or nothing, and this order could fill in part"
        if asked.life is Life.IOC and intended.tif is Tif.GTC:
            return "not_as_asked: it was to trade at once, and this order would rest"
        return ""

    def _within_quantity(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        """Filled + open + unknown + this one is no more than was asked for (I2)."""
        total = EXACT.add(parent.filled, parent.out(intended.key))
        if EXACT.add(total, intended.qty) > parent.row.qty:
            return (
                f"over_quantity: {intended.qty} more on {total} filled or out, "
                f"of {parent.row.qty} asked for"
            )
        return ""

    def _within_money(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        most = parent.row.quote_max
        if most is None:
            return ""
        total = EXACT.add(parent.spent, parent.may_spend(intended.key))
        worst_px = self._count.children[intended.key].worst_px
        total = EXACT.fma(intended.qty, worst_px, total)
        return "" if total <= most else f"over_money: up to {total} of {most} given"

    def _within_price(self, intended: ChildIntended, parent: Parent, _now_ns: int) -> str:
        """No price worse than the parent allows (I8); so none without a limit either."""
        worst = parent.row.worst_px
        if intended.px is None:
            return "no_price: an order that the venue may fill at any price"
        for one in (intended.px, intended.worst_px):
            if one > worst if intended.side is Side.BUY else one < worst:
                return f"over_price: {one} is worse than {worst}"
        return ""

    def _by_state(self, intended: ChildIntended, _parent: Parent, _now_ns: int) -> str:
        """Reduce-only and the kill switch let pass what brings the position nearer to nothing."""
        state = "halted" if self._killed else self._count.state
        if state == "normal":
            return ""
        held = self._count.positions.get((intended.account, intended.symbol), ZERO)
        room = EXACT.minus(held) if intended.side is Side.BUY else held
        if EXACT.add(self._out_too(intended), intended.qty) <= room:
            return ""
        return f"risk_{state}: {self._killed or self._count.reason}"

    def _out_too(self, intended: ChildIntended) -> Decimal:
        """What other orders the same way may still trade, at all venues."""
        total = ZERO
        for child in self._count.children.values():
            row = child.row
            same = (
                row.account == intended.account
                and row.symbol == intended.symbol
                and row.side is intended.side
            )
            if same and row.key != intended.key:
                total = EXACT.add(total, child.out)
        return total

    def _by_scope(self, intended: ChildIntended, _parent: Parent, _now_ns: int) -> str:
        place = (intended.venue, intended.account)
        for scope in (EVERYWHERE, (intended.venue, ""), ("", intended.account), place):
            if why := self._faults.get(scope) or self._shut.get(scope):
                return f"gate_shut: {why}"
            for hold in self._holds.values():
                if hold.scope == scope:
                    return f"gate_shut: {hold.why}"
        return "" if place in self._opened else "gate_shut: not reconciled yet"
