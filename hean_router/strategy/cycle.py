"""What an arbitrage remembers: its cycles, their legs, and what fills have made of it.

Everything is counted from fills: a `ParentView` carries sums, and what a leg shows beyond what it
showed before is what is added.  So nothing is counted twice, and a late fill still counts.
"""

from decimal import Decimal
from itertools import islice

import msgspec
from msgspec import Struct

from hean_router.book.sweep import EXACT
from hean_router.domain.instrument import Pair, Side
from hean_router.domain.scale import plain
from hean_router.strategy.contract import ParentView

ZERO = Decimal(0)
CLOSED_MAX = 4_096  # legs that are remembered after their cycle, for fills that come late
NOTED_MAX = 32  # of these on the note: what a crash could have cut off
TOLD_MAX = 20  # cycles that `status` shows


class Leg(Struct):
    """One parent of a cycle and what of it is counted: `net` base, `notional` quote, fees."""

    id: str  # client_order_id
    symbol: str
    venue: str  # empty: any
    side: Side
    qty: Decimal
    why: str = "cycle"  # or complete, hedge, reverse, deadline
    parent: str = ""
    net: Decimal = ZERO
    notional: Decimal = ZERO
    fees: dict[str, Decimal] = {}
    done: bool = False
    asked_back_ns: int = 0  # when its cancel was asked for


class Tally(Struct):
    """What fills did: `base` and `quote` with the fees in them; fees by asset, beside that.

    A fee in a third asset is in `fees` alone.
    """

    base: Decimal = ZERO
    quote: Decimal = ZERO
    fees: dict[str, Decimal] = {}
    bought: Decimal = ZERO  # net base
    sold: Decimal = ZERO

    def add(self, other: "Tally") -> None:
        """Sums; exact."""
        self.base = EXACT.add(self.base, other.base)
        self.quote = EXACT.add(self.quote, other.quote)
        self.bought = EXACT.add(self.bought, other.bought)
        self.sold = EXACT.add(self.sold, other.sold)
        for asset, fee in other.fees.items():
            self.fees[asset] = EXACT.add(self.fees.get(asset, ZERO), fee)

    def at(self, mark: Decimal) -> Decimal:
        """Profit in quote with what is left of base worth `mark`; third-asset fees apart.

        The ledger's realised + open - `fees_quote` of the same fills, to the last unit.
        """
        return EXACT.add(self.quote, EXACT.multiply(self.base, mark))


class Cycle(Struct):
    """A buy here and a sell there, and whatever it takes until base is flat again.

    `carry` is what earlier cycles left over and this one works off.  Times are our clock;
    `deadline_ns` 0: it was found on a note, and runs from when a venue can be used again.
    """

    number: int
    symbol: str
    buy_venue: str
    sell_venue: str
    promised: Decimal  # quote
    began_ns: int
    deadline_ns: int
    carry: Decimal = ZERO
    legs: list[Leg] = []
    tally: Tally = msgspec.field(default_factory=Tally)
    next_leg: int = 0
    again_ns: int = 0  # no other repair before
    last_tries: int = 0  # after the deadline
    alarmed: bool = False  # that a leg was still out at the deadline
    spent: Decimal = ZERO  # quote taken from the day's budget

    @property
    def open(self) -> list[Leg]:
        """Legs that may still trade."""
        return [leg for leg in self.legs if not leg.done]

    @property
    def imbalance(self) -> Decimal:
        """Base that is too much (or, negative, too little)."""
        return EXACT.add(self.carry, self.tally.base)


class Told(Struct, frozen=True, kw_only=True):
    """A finished cycle, for `status`."""

    number: int
    symbol: str
    buy_venue: str
    sell_venue: str
    bought: Decimal
    sold: Decimal
    quote: Decimal
    base: Decimal
    fees: dict[str, Decimal]
    promised: Decimal
    took_ms: int
    repairs: tuple[str, ...]


class State(Struct):
    """All that must survive a restart; the note."""

    counter: int = 0
    alarms: int = 0
    alarm: str = ""
    day: int = 0  # since 1970, UTC
    day_quote: Decimal = ZERO  # spent by buys of that day
    cycles: list[Cycle] = []
    closed: dict[str, Leg] = {}  # by id, the latest last
    residue: dict[str, Decimal] = {}  # by symbol
    tallies: dict[str, Tally] = {}
    taken: int = 0
    finished: int = 0
    repaired: int = 0
    told: list[Told] = []

    def count(self, view: ParentView) -> Cycle | None:
        """Take in how one of our parents stands; its cycle, None if that is over (or not ours)."""
        for cycle in self.cycles:
            for leg in cycle.legs:
                if leg.id == view.client_order_id:
                    news = _news(leg, view)
                    cycle.tally.add(news)
                    self._tally(leg.symbol).add(news)
                    leg.done = leg.done or view.status.is_final
                    return cycle
        if (old := self.closed.get(view.client_order_id)) is not None:
            news = _news(old, view)
            self._tally(old.symbol).add(news)
            self._leave(old.symbol, news.base)
        return None

    def begin(self, cycle: Cycle) -> None:
        """Open a cycle; it takes over what is left of earlier ones."""
        cycle.carry = self.residue.pop(cycle.symbol, ZERO)
        self.cycles.append(cycle)
        self.day_quote = EXACT.add(self.day_quote, cycle.spent)

    def end(self, cycle: Cycle, now_ns: int) -> None:
        """Close a cycle; what it leaves goes to the next one."""
        assert not cycle.open, "a leg may still trade"
        self.cycles.remove(cycle)
        self._leave(cycle.symbol, cycle.imbalance)
        self.closed.update((leg.id, leg) for leg in cycle.legs)
        while len(self.closed) > CLOSED_MAX:
            del self.closed[next(iter(self.closed))]
        self.finished += 1
        repairs = tuple(leg.why for leg in cycle.legs if leg.why != "cycle")
        self.repaired += bool(repairs)
        told = Told(
            number=cycle.number,
            symbol=cycle.symbol,
            buy_venue=cycle.buy_venue,
            sell_venue=cycle.sell_venue,
            bought=cycle.tally.bought,
            sold=cycle.tally.sold,
            quote=cycle.tally.quote,
            base=cycle.tally.base,
            fees=dict(cycle.tally.fees),
            promised=cycle.promised,
            took_ms=(now_ns - cycle.began_ns) // 1_000_000,
            repairs=repairs,
        )
        self.told = [*self.told, told][-TOLD_MAX:]

    def withdraw(self, cycle: Cycle) -> None:
        """A cycle whose group was refused never was; its budget is free again."""
        self.cycles.remove(cycle)
        self._leave(cycle.symbol, cycle.imbalance)
        self.day_quote = max(ZERO, EXACT.subtract(self.day_quote, cycle.spent))

    def told_all(self) -> dict[str, object]:
        """What people want to know of it; JSON's types, decimals as text."""
        return {
            "alarm": self.alarm,
            "alarms": self.alarms,
            "cycles": {
                "taken": self.taken,
                "finished": self.finished,
                "open": len(self.cycles),
                "repaired": self.repaired,
            },
            "pnl": {
                symbol: {
                    "quote": plain(tally.quote),
                    "base": plain(tally.base),
                    "fees": {asset: plain(fee) for asset, fee in sorted(tally.fees.items())},
                }
                for symbol, tally in sorted(self.tallies.items())
            },
            "residue": {symbol: plain(base) for symbol, base in sorted(self.residue.items())},
            "last_cycles": msgspec.to_builtins(self.told),
        }

    def _tally(self, symbol: str) -> Tally:
        return self.tallies.setdefault(symbol, Tally())

    def _leave(self, symbol: str, base: Decimal) -> None:
        self.residue[symbol] = EXACT.add(self.residue.get(symbol, ZERO), base)


def _news(leg: Leg, view: ParentView) -> Tally:
    """What `view` shows beyond what is counted of `leg`, and count it."""
    pair = Pair.parse(leg.symbol)
    net, notional = EXACT.subtract(view.net, leg.net), EXACT.subtract(view.notional, leg.notional)
    fees = {
        asset: EXACT.subtract(fee, leg.fees.get(asset, ZERO)) for asset, fee in view.fees.items()
    }
    leg.net, leg.notional, leg.fees, leg.parent = view.net, view.notional, dict(view.fees), view.id
    quote_fee = fees.get(pair.quote, ZERO)
    if leg.side is Side.BUY:
        quote = EXACT.minus(EXACT.add(notional, quote_fee))
        return Tally(base=net, quote=quote, fees=fees, bought=net)
    quote = EXACT.subtract(notional, quote_fee)
    return Tally(base=EXACT.minus(net), quote=quote, fees=fees, sold=net)


_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[State] = msgspec.json.Decoder(State)


def note(state: State) -> str:
    """The state as JSON, without what only people read; decimals are text, digits kept."""
    latest = list(islice(reversed(state.closed.items()), NOTED_MAX))
    short = msgspec.structs.replace(state, told=[], closed=dict(reversed(latest)))
    return _ENCODER.encode(short).decode()


def noted(text: str) -> State:
    """The state that `note` wrote; a new one for an empty note.  Raises `msgspec.MsgspecError`."""
    return _DECODER.decode(text) if text else State()
