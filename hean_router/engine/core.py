"""The state that one engine has, and the only way to change it: `write` a row."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from heapq import heapify, heappop, heappush
from typing import Any

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.domain.instrument import Instrument, Pair, Side
from hean_router.domain.limits import RiskLimits
from hean_router.domain.rates import Rates
from hean_router.domain.record import (
    BalancesSet,
    Checkpoint,
    Filled,
    FillUndone,
    Incident,
    NonceReserved,
    RiskSet,
    Row,
)
from hean_router.domain.scale import to_decimal
from hean_router.engine.command import Command
from hean_router.engine.keyring import KeyRing
from hean_router.engine.past import NoPast, Past
from hean_router.engine.world import Policy, World
from hean_router.oms import Orders
from hean_router.portfolio import DayPnl, Ledger, rates
from hean_router.risk import Risk, RiskView

REPAIRED = "journal_repaired"  # an incident: at its time the journal ended, as far as is proven
FRESH_NS = 100_000_000  # rates are worked out anew no more often
READY_NS = 50_000_000  # but by a step that has nothing to hurry for, already after this


class DeskHealth(Struct):
    """How one account stands at one venue; volatile: worked out anew after every start."""

    why: str = "not connected"  # empty: standing and reconciled
    standing: bool = False
    waiting: set[str] | None = None  # answers that reconciliation waits for; None = not begun
    tries: int = 0
    again_ns: int = 0
    began_ns: int = 0
    since_ns: Mapping[str, int] = {}  # from when trades are asked for, by symbol
    pairs: int = 0  # how many it was asked about
    active_ns: int = 0  # when anything of ours last happened there
    balances_ns: int = 0  # when balances were last asked for
    doubted_ns: int | None = None  # when balances were found to differ, until a second look
    looked_ns: int = 0  # when open orders and trades were last asked for
    strays_ns: int = 0  # when orders that no row explains were last asked for
    clock_offset_ns: int = 0
    clock_bound_ns: int = 0


class Mids(Mapping[str, tuple[Decimal, int]]):
    """Mids by symbol, each worked out when it is asked for: most steps need one."""

    def __init__(self, core: "Core") -> None:
        self._core = core

    def __getitem__(self, symbol: str) -> tuple[Decimal, int]:
        pair = self._core.pair_of.get(symbol)
        found = None if pair is None else self._core.mid(pair)
        if found is None:
            raise KeyError(symbol)
        return found

    def get(self, symbol: str, default: Any = None) -> Any:
        pair = self._core.pair_of.get(symbol)
        found = None if pair is None else self._core.mid(pair)
        return default if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter([str(pair) for pair in self._core.mids()])

    def __len__(self) -> int:
        return len(self._core.mids())


def _mid(book: ConsolidatedBook) -> tuple[Decimal, int] | None:
    """The mid of the displayed bests, exact; None while a side is empty."""
    decimals = book.px_decimals
    ask = bid = ask_ns = bid_ns = 0
    for live in book.live().values():
        up = 10 ** (decimals - live.instrument.px_decimals)
        if (level := live.best(Side.BUY)) is not None and (not ask or level[0] * up < ask):
            ask, ask_ns = level[0] * up, live.confirmed_ns
        if (level := live.best(Side.SELL)) is not None and level[0] * up > bid:
            bid, bid_ns = level[0] * up, live.confirmed_ns
    if not ask or not bid:
        return None
    return to_decimal((ask + bid) * 5, decimals + 1), min(ask_ns, bid_ns)


class Core:
    """Everything the parts of the engine share.  `rows` and `commands` are this step's."""

    def __init__(
        self,
        world: World,
        limits: RiskLimits,
        policy: Policy,
        desks: Mapping[tuple[str, str], str],
        reporting: str = "USD",
    ) -> None:
        self.world, self.policy, self.reporting = world, policy, reporting
        self.pair_of = {str(pair): pair for pair in world.pairs if not pair.settle}
        self.oms, self.risk, self.ledger = Orders(), Risk(limits), Ledger()
        self.keyring, self.day_pnl = KeyRing(), DayPnl()
        self.past: Past = NoPast()  # what the journal knows of what was forgotten here
        self.nonces: dict[tuple[str, str], int] = {}  # those below may have been used
        self.desks = {where: DeskHealth(why=why or "not connected") for where, why in desks.items()}
        self.rows: list[Row] = []
        self.commands: list[Command] = []
        self.now_ns = 0
        self.denied: dict[str, set[tuple[str, str]]] = {}  # parent -> venue, code: told of once
        # Where something does not add up, until a person resets risk: nothing is planned there.
        self.gated: dict[tuple[str, str], str] = {}
        self.on_row: list[Callable[[Row], None]] = []  # told of each as it is written
        # When the rows that a repair could not keep began; None once a person has reset trading.
        self.gap_ns: int | None = None
        self.ending = ""  # why nothing is planned any more
        self.closed = ""  # why rows cannot be written, so that nothing may be sent anywhere
        self.references: dict[str, tuple[Decimal, int, Decimal]] = {}  # last, when, the one before
        self._timers: list[tuple[int, str]] = []
        self._view: RiskView | None = None
        self._mids: dict[Pair, tuple[Decimal, int] | None] = {}  # in this step
        self._rates: tuple[int, Rates] = (0, {})
        self._days_at, self._day_values = -1, dict[str, Decimal | None]()

    # ------------------------------------------------------------------------- rows

    def write(self, row: Row) -> None:
        """Take a row into the state and into this step's transaction."""
        self.oms.apply(row)  # what this refuses has changed nothing, and is no row
        self.rows.append(row)
        self._fold(row)
        for hear in self.on_row:
            hear(row)

    def take(self, row: Row) -> None:
        """Take a row into the state; the only thing that changes it."""
        self.oms.apply(row)
        self._fold(row)

    def _fold(self, row: Row) -> None:
        self.risk.apply(row)
        self.ledger.apply(row)
        self.keyring.apply(row)
        if isinstance(row, Filled | FillUndone | BalancesSet):
            self.day_pnl.apply(row)
            self._days_at, self._view = -1, None
        elif isinstance(row, Incident) and row.what == REPAIRED:
            self.gap_ns = row.at_ns
        elif isinstance(row, RiskSet) and row.state == "normal":
            self.gap_ns = None
        elif isinstance(row, NonceReserved):
            self.nonces[row.venue, row.account] = row.below
        elif isinstance(row, Checkpoint):
            gone = set(row.parents)  # a timer may be set for days
            self._timers = [one for one in self._timers if one[1] not in gone]
            heapify(self._timers)

    def begin(self, now_ns: int) -> None:
        """A new step."""
        self.now_ns = max(now_ns, self.now_ns)  # our clock may be set back; time does not
        self.rows, self.commands, self._view = [], [], None
        self._mids.clear()

    # ------------------------------------------------------------------------- timers

    def wake(self, at_ns: int, subject: str) -> None:
        """Look at `subject` (a parent, a strategy) again then."""
        heappush(self._timers, (at_ns, subject))

    def due(self) -> list[str]:
        """Whose time has come."""
        out: list[str] = []
        while self._timers and self._timers[0][0] <= self.now_ns:
            out.append(heappop(self._timers)[1])
        return list(dict.fromkeys(out))

    @property
    def wake_at_ns(self) -> int:
        """When the next timer ends."""
        return self._timers[0][0] if self._timers else self.now_ns + 1_000_000_000

    # ------------------------------------------------------------------------- the world

    def why_not(self, venue: str, account: str) -> str:
        """Why no order can be sent there now; empty if one can."""
        health = self.desks.get((venue, account))
        if health is None:
            return "no account there"
        gated = self._gate_why(venue, account) if self.gated else ""
        return self.ending or self.closed or health.why or gated

    def _gate_why(self, venue: str, account: str) -> str:
        for scope in (("", ""), (venue, ""), ("", account), (venue, account)):
            if why := self.gated.get(scope):
                return why
        return ""

    def free(self, venue: str, account: str, asset: str) -> Decimal | None:
        """What is there, not reserved and not held by others' orders; None while not known."""
        have = self.ledger.balance(venue, account, asset)
        if have is None:
            return None
        kept = self.risk.reserved(venue, account, asset) + self.risk.locked(venue, account, asset)
        return max(Decimal(0), have - kept)

    def instrument(self, venue: str, pair: Pair) -> Instrument | None:
        """How `venue` lists `pair`; where it does not, what stands in for it."""
        return self.world.instruments(pair).get(venue) or self.world.unlisted(venue, pair)

    def mid(self, pair: Pair) -> tuple[Decimal, int] | None:
        """Half-way between the displayed bests, and when the older of them was last confirmed."""
        if pair not in self._mids:
            book = self.world.book(pair)
            self._mids[pair] = None if book is None else _mid(book)
        return self._mids[pair]

    def mids(self) -> dict[Pair, tuple[Decimal, int]]:
        """The same for every spot pair that has one."""
        return {
            pair: found
            for pair in self.world.pairs
            if not pair.settle and (found := self.mid(pair)) is not None
        }

    def rates(self) -> Rates:
        """What assets are worth; at most a tenth of a second old."""
        made_ns, known = self._rates
        if not known or self.now_ns - made_ns >= FRESH_NS:
            known = rates(self.mids(), self.reporting, now_ns=self.now_ns)
            self._rates = (self.now_ns, known)
        return known

    def prepare(self) -> None:
        """Work out ahead what the next decision would have to wait for; for steps without orders.

        Rates and the day's profit: what is younger than `READY_NS` is left as it is.
        """
        if self.commands:
            return
        if self.now_ns - self._rates[0] >= READY_NS:
            self._rates = (0, {})
        if self._days_at != self._rates[0]:
            self._days()

    def view(self) -> RiskView:
        """What risk looks at in this step."""
        if self._view is None:
            self._view = RiskView(
                now_ns=self.now_ns,
                rates=self.rates(),
                mids=Mids(self),
                last_good={symbol: one[2] for symbol, one in self.references.items()},
                day_pnl=self._days(),
                venue_why={where: health.why for where, health in self.desks.items()},
            )
        return self._view

    def _days(self) -> dict[str, Decimal | None]:
        """The day's profit of each account: nothing for one that has not traded."""
        rates_ = self.rates()
        if self._days_at != self._rates[0]:  # as young as the rates it is valued at
            self._days_at = self._rates[0]
            self.day_pnl.mark({str(pair): mid for pair, mid in self.mids().items()}, self.now_ns)
            quiet: dict[str, Decimal | None] = {account: Decimal(0) for _, account in self.desks}
            self._day_values = quiet | self.day_pnl.all(rates_, self.now_ns)
        return self._day_values

    def note_references(self, pairs: tuple[Pair, ...], *, only_new: bool = False) -> None:
        """Keep a price from a while ago beside the present one: the second bound of the collar."""
        for pair in pairs:
            symbol = str(pair)
            last = self.references.get(symbol)
            young = last is not None and self.now_ns - last[1] < self.policy.reference_ns
            if young or (last is not None and only_new):
                continue
            if (found := self.mid(pair)) is not None:
                before = found[0] if last is None else last[0]
                self.references[symbol] = (found[0], self.now_ns, before)
