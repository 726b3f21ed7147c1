"""Buy at one venue, sell at another at the same moment, and be flat again before a deadline.

A cycle is a group of two limit IOC parents, each bound to one venue, both checked against rules,
money, age and access before the first leaves.  When both have ended, fills say what is left:

* less than any venue takes: carried into the next cycle, which sells that much more or less;
* else the cheapest way out (`repair`), again and again until base is flat or the deadline is over;
* after the deadline: any venue up to the loss bound, a few tries; then it is kept, an alarm is
  raised, and no new cycle begins until somebody has seen it (parameter `alarms_seen`).

**Unknown.**  A leg of unknown fate may have filled.  As long as any leg of a cycle is not final
nothing else is sent for it, so that what filled is never hedged twice; what runs too long is
cancelled.  At the deadline it is an alarm, no new cycle begins, and the repair follows when the
leg's fate is known: late, but once.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.book.sweep import EXACT
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair, Side, VenueId
from hean_router.domain.parent import Intent, Life, OrderKind, VenueChoice
from hean_router.domain.scale import plain
from hean_router.strategy.contract import (
    NOTHING,
    BookMoved,
    Event,
    Group,
    ParentDone,
    ParentMoved,
    Reaction,
    Refused,
    Started,
    Stopping,
    View,
    Woke,
)
from hean_router.strategy.cycle import Cycle, Leg, State, Tally, note, noted
from hean_router.strategy.legs import ZERO
from hean_router.strategy.opportunity import Opportunity, Room, scan
from hean_router.strategy.params import of, read, spelled
from hean_router.strategy.repair import RepairParams, Way, last_way, too_small, ways

MS = 1_000_000
DAY_NS = 86_400_000_000_000
LAST_TRIES = 3  # after the deadline
QUIET_NS = 100 * MS  # a cross that fees eat is looked into no more often


class ArbitrageParams(RepairParams, frozen=True, kw_only=True):
    """What the runner may spend, and how often."""

    max_open_cycles: Annotated[int, of("cycles", "1", "100", "at once, over all pairs")] = 1
    daily_budget_quote: Annotated[
        Decimal, of("quote", "0", "1e12", "spent by buys in one UTC day at most")
    ] = Decimal(1_000_000)
    cooldown_ms: Annotated[
        int, of("ms", "0", "3600000", "after a cycle on a pair, until books show what it took")
    ] = 250
    alarms_seen: Annotated[
        int, of("alarms", "0", "1000000000", "goes on although so many alarms were raised")
    ] = 0


class Refusal(Struct, frozen=True):
    """Why a venue pair was last not taken."""

    code: str
    text: str
    at_ns: int


class _Shape(Struct, frozen=True):
    """What the quick look needs of a book, as long as its layout stays."""

    layout: int
    px_mul: dict[VenueId, int]
    weights: dict[VenueId, tuple[int, int]]
    buy_unit: int
    sell_unit: int


class Arbitrage:
    """Cross-exchange taker-taker on one account.  See the module for its rules."""

    def __init__(self, name: str = "arbitrage", account: str = "main") -> None:
        self.name, self.account = name, account
        self.params = ArbitrageParams()
        self.state = State()
        self.opportunities: dict[Pair, list[Opportunity]] = {}  # of the last look that found any
        self.refusals: dict[tuple[str, str, str], Refusal] = {}  # symbol, buy venue, sell venue
        self.refused: dict[str, int] = {}  # by code; a code that stays is counted once
        self.running = False
        self._shapes: dict[Pair, _Shape] = {}
        self._looked_ns: dict[Pair, int] = {}
        self._rest_until_ns: dict[str, int] = {}  # by symbol
        self._wakes_ns = 0

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Those of its parameters."""
        return self.params.pairs

    def configure(self, params: Mapping[str, str]) -> None:
        """Take parameters; raises `CommandError` for an unknown one, or one out of bounds."""
        found = read(ArbitrageParams, params)
        if found.leg_ms >= found.deadline_ms:
            raise CommandError(
                f"leg_ms {found.leg_ms} leaves no time before deadline_ms {found.deadline_ms}",
                "give a longer deadline_ms, or a shorter leg_ms",
            )
        self.params = found

    @property
    def frozen(self) -> bool:
        """Whether an alarm that nobody has seen stops new cycles."""
        return self.state.alarms > self.params.alarms_seen

    # ------------------------------------------------------------------------- events

    def on_event(self, event: Event, view: View) -> Reaction:
        """Decide."""
        out = self._decide(event, view)
        if out.wake_at_ns is None:
            return out
        # One wake-up is enough: whoever wakes looks at every cycle, and asks for the next one.
        if view.now_ns < self._wakes_ns <= out.wake_at_ns:
            return msgspec.structs.replace(out, wake_at_ns=None)
        self._wakes_ns = out.wake_at_ns
        return out

    def _decide(self, event: Event, view: View) -> Reaction:
        match event:
            case BookMoved(pair):
                return self._book(pair, view)
            case ParentMoved(parent) | ParentDone(parent):
                if (cycle := self.state.count(parent)) is None:
                    return self._idle(parent.symbol, view)
                if isinstance(event, ParentMoved) and cycle.open:
                    return NOTHING
                return self._go_on(cycle, view)
            case Woke():
                return self._woke(view)
            case Refused():
                return self._was_refused(event, view)
            case Started(state):
                return self._start(state, view)
            case Stopping():
                self.running = False
                return Reaction(
                    cancels=tuple(
                        leg.parent for one in self.state.cycles for leg in one.open if leg.parent
                    ),
                    note=note(self.state),
                )

    def _start(self, text: str, view: View) -> Reaction:
        try:
            self.state = noted(text)
        except msgspec.MsgspecError as fault:  # a note of a version that wrote it otherwise
            raise ValueError(f"the note of {self.name} cannot be read: {fault}") from fault
        self.running, self._wakes_ns = True, 0
        for cycle in list(self.state.cycles):
            cycle.deadline_ns = cycle.last_tries = 0
            for leg in cycle.open:
                if (parent := view.parent(self.account, leg.id)) is not None:
                    self.state.count(parent)
                else:
                    leg.done = True  # note and order are one transaction: it was never placed
        for leg in list(self.state.closed.values()):
            if (parent := view.parent(self.account, leg.id)) is not None:
                self.state.count(parent)
        return self._woke(view)

    def _woke(self, view: View) -> Reaction:
        out = NOTHING
        for cycle in list(self.state.cycles):
            out = _both(out, self._go_on(cycle, view))
        for symbol in list(self.state.residue):
            out = _both(out, self._idle(symbol, view))
        return out

    def _was_refused(self, event: Refused, view: View) -> Reaction:
        for cycle in list(self.state.cycles):
            ours = [leg for leg in cycle.legs if _group(self.name, cycle, leg) == event.group]
            if not ours:
                continue
            cycle.legs = [leg for leg in cycle.legs if leg not in ours]
            self._refuse(
                (cycle.symbol, cycle.buy_venue, cycle.sell_venue),
                event.code,
                event.reason,
                view.now_ns,
            )
            if ours[0].why == "cycle":
                self.state.taken -= 1
                self.state.withdraw(cycle)
                self._rest(cycle.symbol, view.now_ns)
                return Reaction(note=note(self.state))
            cycle.again_ns = view.now_ns + self.params.again_ms * MS
            return Reaction(
                note=note(self.state), wake_at_ns=min(cycle.again_ns, self._next_ns(cycle, view))
            )
        return NOTHING

    # ------------------------------------------------------------------------- new cycles

    def _book(self, pair: Pair, view: View) -> Reaction:
        out, symbol = NOTHING, str(pair)
        for cycle in list(self.state.cycles):
            if cycle.symbol == symbol and not cycle.open:
                out = _both(out, self._go_on(cycle, view))
        if not self._may_begin(symbol, view.now_ns):
            return out
        book = view.book(pair)
        if book is None or not (crossed := self._quick(pair, book)):
            return out
        now_ns = view.now_ns
        if crossed < 0 and now_ns - self._looked_ns.get(pair, -QUIET_NS) < QUIET_NS:
            return out
        self._looked_ns[pair] = now_ns
        return _both(out, self._look(pair, view))

    def _may_begin(self, symbol: str, now_ns: int) -> bool:
        return (
            self.running
            and not self.frozen
            and len(self.state.cycles) < self.params.max_open_cycles
            and now_ns >= self._rest_until_ns.get(symbol, 0)
            and all(one.symbol != symbol for one in self.state.cycles)
        )

    def _quick(self, pair: Pair, book: ConsolidatedBook) -> int:
        """0: no venue bids more than another asks; -1: one does, fees apart; 1: fees in, too.

        The best levels alone, in whole numbers: every tick comes through here.
        """
        shape = self._shapes.get(pair)
        if shape is None or shape.layout != book.layout:
            shape = self._shapes[pair] = _Shape(
                book.layout,
                {
                    venue: 10 ** (book.px_decimals - live.instrument.px_decimals)
                    for venue, live in book.live().items()
                },
                book.order_weights(),
                book.units[Side.BUY],
                book.units[Side.SELL],
            )
        px_mul, weights = shape.px_mul, shape.weights
        ask = bid = ask_key = bid_key = 0
        for venue, live in book.live().items():
            mul = px_mul.get(venue)
            if mul is None:  # it was not LIVE when the shape was taken
                mul = px_mul[venue] = 10 ** (book.px_decimals - live.instrument.px_decimals)
            buy, sell = weights[venue]
            if (level := live.best(Side.BUY)) is not None:
                px = level[0] * mul
                ask = px if not ask or px < ask else ask
                ask_key = px * buy if not ask_key or px * buy < ask_key else ask_key
            if (level := live.best(Side.SELL)) is not None:
                px = level[0] * mul
                bid = max(px, bid)
                bid_key = max(px * sell, bid_key)
        if not ask or bid <= ask:
            # With rebates a cross can pay that is none by display.
            if not ask or bid_key * shape.buy_unit <= ask_key * shape.sell_unit:
                return 0
            return 1
        return 1 if bid_key * shape.buy_unit > ask_key * shape.sell_unit else -1

    def _look(self, pair: Pair, view: View) -> Reaction:
        self._new_day(view.now_ns)
        left = max(ZERO, self.params.daily_budget_quote - self.state.day_quote)
        carry = self.state.residue.get(str(pair), ZERO)
        room = Room(carry, left, "daily_budget_quote")
        found = scan(pair, view, self.params, self.account, room=room, crossed_only=True)
        self.opportunities[pair] = found
        chosen: Opportunity | None = None
        for one in found:
            key = (str(pair), one.buy_venue, one.sell_venue)
            if not one.taken:
                self._refuse(key, one.code, one.why_not, view.now_ns)
            elif chosen is None or one.edge_quote > chosen.edge_quote:
                chosen = one
        return NOTHING if chosen is None else self._begin(chosen, view)

    def _begin(self, one: Opportunity, view: View) -> Reaction:
        now_ns, state = view.now_ns, self.state
        state.counter += 1
        symbol = str(one.pair)
        cycle = Cycle(
            number=state.counter,
            symbol=symbol,
            buy_venue=one.buy_venue,
            sell_venue=one.sell_venue,
            promised=one.edge_quote,
            began_ns=now_ns,
            deadline_ns=now_ns + self.params.deadline_ms * MS,
            spent=EXACT.multiply(one.qty, one.buy_limit),
        )
        state.begin(cycle)
        state.taken += 1
        self.refusals.pop((symbol, one.buy_venue, one.sell_venue), None)
        legs = (
            self._leg(cycle, Side.BUY, one.buy_venue, one.qty, one.buy_limit),
            self._leg(cycle, Side.SELL, one.sell_venue, one.sell_qty, one.sell_limit),
        )
        return Reaction(
            groups=(Group(f"{self.name}-{cycle.number}", legs),),
            wake_at_ns=self._next_ns(cycle, view),
            note=note(state),
        )

    def _leg(
        self,
        cycle: Cycle,
        side: Side,
        venue: str,
        qty: Decimal,
        limit: Decimal,
        why: str = "cycle",
    ) -> Intent:
        leg = Leg(
            id=f"{self.name}-{cycle.number}-{cycle.next_leg}",
            symbol=cycle.symbol,
            venue=venue,
            side=side,
            qty=qty,
            why=why,
        )
        cycle.next_leg += 1
        cycle.legs.append(leg)
        return Intent(
            account=self.account,
            client_order_id=leg.id,
            symbol=cycle.symbol,
            side=side,
            kind=OrderKind.LIMIT,
            life=Life.IOC,
            qty=qty,
            limit_px=limit,
            venues=VenueChoice(include=(venue,) if venue else ()),
            strategy=self.name,
            group=_group(self.name, cycle, leg),
        )

    # ------------------------------------------------------------------------- cycles under way

    def _go_on(self, cycle: Cycle, view: View) -> Reaction:
        if not cycle.deadline_ns:
            book = view.book(Pair.parse(cycle.symbol))
            live = () if book is None else book.live()
            if all(view.why_not(venue, self.account) for venue in live):
                return Reaction(wake_at_ns=view.now_ns + self.params.again_ms * MS)
            cycle.deadline_ns = view.now_ns + self.params.deadline_ms * MS
        if cycle.open:
            return self._wait(cycle, view)
        pair, excess = Pair.parse(cycle.symbol), cycle.imbalance
        if not excess:
            return self._finish(cycle, view)
        book = view.book(pair)
        mid = None if book is None else book.mid()
        if mid is not None and too_small(view, pair, excess, mid):
            return self._finish(cycle, view)
        if not self.running:
            return NOTHING  # what is left is on the note, and is mended when it starts again
        if view.now_ns < cycle.again_ns:
            return Reaction(wake_at_ns=cycle.again_ns)
        way = self._way(cycle, pair, excess, view)
        if way is not None and way.what == "keep":
            return self._finish(cycle, view)
        if way is not None:
            return self._mend(cycle, way, view)
        if view.now_ns >= cycle.deadline_ns and cycle.last_tries >= LAST_TRIES:
            left = f"{plain(excess)} {pair.base} of cycle {cycle.number} could not be closed"
            return _both(self._alarm(left), self._finish(cycle, view))
        cycle.again_ns = view.now_ns + self.params.again_ms * MS
        return Reaction(wake_at_ns=cycle.again_ns)

    def _way(self, cycle: Cycle, pair: Pair, excess: Decimal, view: View) -> Way | None:
        params = self.params
        short, long = cycle.sell_venue, cycle.buy_venue
        if excess < 0:
            short, long = long, short
        found = ways(view, params, self.account, pair, excess, short_venue=short, long_venue=long)
        if view.now_ns < cycle.deadline_ns:
            if not found:
                return None
            best = found[0]
            worth = best.qty * best.limit
            within = best.cost * 10_000 <= params.max_loss_bps * worth
            return best if within else None
        if cycle.last_tries >= LAST_TRIES:
            return next((way for way in found if way.what == "keep"), None)
        cycle.last_tries += 1
        return last_way(view, params, self.account, pair, excess)

    def _mend(self, cycle: Cycle, way: Way, view: View) -> Reaction:
        intent = self._leg(cycle, way.side, way.venue, way.qty, way.limit, way.what)
        cycle.again_ns = view.now_ns + self.params.again_ms * MS
        return Reaction(
            groups=(Group(intent.group, (intent,)),),
            wake_at_ns=self._next_ns(cycle, view),
            note=note(self.state),
        )

    def _wait(self, cycle: Cycle, view: View) -> Reaction:
        """Legs are out: cancel what runs too long, an alarm at the deadline, and send nothing."""
        now_ns, late_ns = view.now_ns, self.params.leg_ms * MS
        cancels = []
        for leg in cycle.open:
            since = leg.asked_back_ns or self._left_ns(cycle)
            if leg.parent and now_ns - since >= late_ns:
                leg.asked_back_ns = now_ns
                cancels.append(leg.parent)
        out = Reaction(cancels=tuple(cancels), wake_at_ns=self._next_ns(cycle, view))
        late = now_ns - self._left_ns(cycle) >= late_ns  # one that has just left may still come
        if late and now_ns >= cycle.deadline_ns and not cycle.alarmed:
            cycle.alarmed = True
            ids = ", ".join(leg.id for leg in cycle.open)
            out = _both(out, self._alarm(f"{ids} at its deadline: fate unknown or still working"))
        return out

    def _left_ns(self, cycle: Cycle) -> int:
        """When the legs that are out left: repairs leave `again_ms` before the next may."""
        return max(cycle.began_ns, cycle.again_ns - self.params.again_ms * MS)

    def _next_ns(self, cycle: Cycle, view: View) -> int:
        """When to look at it again whatever happens."""
        soon = view.now_ns + self.params.leg_ms * MS
        return min(soon, cycle.deadline_ns) if cycle.deadline_ns > view.now_ns else soon

    def _finish(self, cycle: Cycle, view: View) -> Reaction:
        self.state.end(cycle, view.now_ns)
        self._rest(cycle.symbol, view.now_ns)
        return Reaction(note=note(self.state))

    def _idle(self, symbol: str, view: View) -> Reaction:
        """What is left of a pair without a cycle: mend it if a venue takes that much."""
        residue, pair = self.state.residue.get(symbol, ZERO), Pair.parse(symbol)
        if not residue or not self.running or self.frozen:
            return NOTHING
        if any(cycle.symbol == symbol for cycle in self.state.cycles):
            return NOTHING
        book = view.book(pair)
        if book is None or (mid := book.mid()) is None or too_small(view, pair, residue, mid):
            return NOTHING
        if abs(residue) * mid <= self.params.max_inventory_quote:
            return NOTHING
        self.state.counter += 1
        cycle = Cycle(
            number=self.state.counter,
            symbol=symbol,
            buy_venue="",
            sell_venue="",
            promised=ZERO,
            began_ns=view.now_ns,
            deadline_ns=view.now_ns + self.params.deadline_ms * MS,
        )
        self.state.begin(cycle)
        return self._go_on(cycle, view)

    # ------------------------------------------------------------------------- bookkeeping

    def _alarm(self, text: str) -> Reaction:
        self.state.alarms += 1
        self.state.alarm = text
        return Reaction(note=note(self.state))

    def _rest(self, symbol: str, now_ns: int) -> None:
        self._rest_until_ns[symbol] = now_ns + self.params.cooldown_ms * MS

    def _new_day(self, now_ns: int) -> None:
        if (day := now_ns // DAY_NS) != self.state.day:
            self.state.day, self.state.day_quote = day, ZERO

    def _refuse(self, key: tuple[str, str, str], code: str, text: str, now_ns: int) -> None:
        last = self.refusals.get(key)
        if last is None or last.code != code:
            self.refused[code] = self.refused.get(code, 0) + 1
        self.refusals[key] = Refusal(code, text, now_ns)

    def pnl(self, symbol: str) -> Tally:
        """What its fills on `symbol` did."""
        return self.state.tallies.get(symbol, Tally())

    def status(self) -> Mapping[str, object]:
        """For people and the API; JSON's types, decimals as text."""
        return {
            "kind": "arbitrage",
            "state": "frozen" if self.frozen else "running" if self.running else "stopped",
            "account": self.account,
            "params": spelled(self.params),
            "budget": {
                "daily_quote": plain(self.params.daily_budget_quote),
                "used_quote": plain(self.state.day_quote),
            },
            **self.state.told_all(),
            "refused": dict(sorted(self.refused.items())),
            "refusals": [
                {
                    "symbol": symbol,
                    "buy_venue": buy,
                    "sell_venue": sell,
                    "code": one.code,
                    "reason": one.text,
                    "at_ns": one.at_ns,
                }
                for (symbol, buy, sell), one in sorted(self.refusals.items())
            ],
        }


def _group(name: str, cycle: Cycle, leg: Leg) -> str:
    """The two first legs are one group; a repair is one of its own."""
    return f"{name}-{cycle.number}" if leg.why == "cycle" else leg.id


def _both(one: Reaction, other: Reaction) -> Reaction:
    """Two reactions as one; the later note holds all."""
    if one is NOTHING:
        return other
    if other is NOTHING:
        return one
    wakes = [at for at in (one.wake_at_ns, other.wake_at_ns) if at is not None]
    return Reaction(
        groups=one.groups + other.groups,
        cancels=one.cancels + other.cancels,
        wake_at_ns=min(wakes, default=None),
        note=one.note if other.note is None else other.note,
    )
