"""One simulated venue, whole and pure: exchange, market and face, in the order of their times."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal

from hean_router.sim import faces
from hean_router.sim.accounts import AccountSpec, History, open_accounts, opening_rows
from hean_router.sim.contract import Face, Options, Output, Outputs
from hean_router.sim.exchange import Exchange
from hean_router.sim.fault_spec import ONLY, ORDERS, SHARES, TIMES, FaultSpec
from hean_router.sim.faults import Faults
from hean_router.sim.market import Market, Pace, split
from hean_router.sim.order_faults import OrderFaults


class Simulator:
    """A venue that trades by itself and speaks through its face.

    Deterministic: the same (venue, seed, origin, settings) and the same inputs at the same times
    give the same outputs, however finely time is cut.  `market` is None for a replayed capture.
    """

    def __init__(
        self,
        face: Face,
        market: Market | None = None,
        accounts: tuple[AccountSpec, ...] = (),
        order_faults: OrderFaults | None = None,
        limits: float | None = 1.0,
    ) -> None:
        self.face = face
        self.market = market
        self.accounts = accounts
        self.order_faults = order_faults
        self.limits = limits

    @property
    def venue(self) -> str:
        """The venue's name."""
        return self.face.venue

    def balances(self) -> dict[str, dict[str, str]]:
        """What each account has, free and locked, by the venue's own count: plain decimals."""
        face = self.face.inner if isinstance(self.face, Faults) else self.face
        private = getattr(face, "private", None)  # a replayed capture has none
        if private is None:
            return {}
        return {
            name: {asset: f"{held.total:f}" for asset, held in sorted(account.balances.items())}
            for name, account in private.desk.accounts.items()
        }

    def strike(self, word: str, now_ns: int, *, way: str = "", times: int = 1) -> Outputs | None:
        """Let a fault of `fault_spec` strike now, or at its next chance; `struck` says if it has.

        What it sends at once is the answer, for `Server.carry_out`; None: not at this venue.
        `way` chooses among a word's several ways (see `WAYS` of `venue_strikes`, `garbling`,
        `lies`), else its dice do.  `times` is for words of `ORDERS` and `SHARES`.  Deterministic
        from the seed.  KeyError: no such word.  ValueError: made without faults.
        """
        if word in ORDERS:
            if self.order_faults is None or self.venue not in ONLY.get(word, {self.venue}):
                return None
            self.order_faults.demand(word, times, way)
            return ()
        if not isinstance(self.face, Faults):
            raise ValueError(f"{self.venue}: made without faults")
        if word in SHARES:
            if self.venue not in ONLY.get(word, {self.venue}):
                return None
            self.face.demand(word, times, way)
            return ()
        if word not in TIMES:
            raise KeyError(word)
        return self.face.strike(word, now_ns, way)

    def struck(self) -> Counter[str]:
        """How often each fault has struck: of books, connections and orders."""
        found: Counter[str] = Counter()
        if isinstance(self.face, Faults):
            found += self.face.counts
        if self.order_faults is not None:
            found += self.order_faults.counts
        return found

    def calm(self, now_ns: int) -> Outputs:
        """All faults are over; what they hold is let go, what was asked for is forgotten."""
        if self.order_faults is not None:
            self.order_faults.calm()
        return self.face.calm(now_ns) if isinstance(self.face, Faults) else ()

    @property
    def wake_at_ns(self) -> int | None:
        """When `due` next has something to do."""
        times = [self.face.wake_at_ns, self.market.wake_at_ns if self.market else None]
        return min((time_ns for time_ns in times if time_ns is not None), default=None)

    def due(self, now_ns: int) -> Outputs:
        """Let everything up to `now_ns` happen, oldest first.

        At equal times the market acts before the face: a batch holds what happened by its time.
        """
        outputs: list[Output] = []
        while (wake_ns := self.wake_at_ns) is not None and wake_ns <= now_ns:
            if self.market is not None and self.market.wake_at_ns == wake_ns:
                for step in self.market.step(wake_ns):
                    outputs += self.face.market(step, step.time_ns)
            else:
                outputs += self.face.due(wake_ns)
                moved_ns = self.face.wake_at_ns
                assert moved_ns is None or moved_ns > wake_ns, "a face must do what is due"
        return outputs


def simulate(
    venue: str,
    seed: int,
    origin_ns: int,
    *,
    symbols: Iterable[str] | None = None,
    pace: Pace | None = None,
    options: Options | None = None,
    faults: FaultSpec | None = None,
    balances: Mapping[str, Decimal] | None = None,
    history: History | None = None,
    fees_e8: tuple[int, int] | None = None,
) -> tuple[Simulator, Exchange]:
    """A venue with a seeded market, its books filled, ready at `origin_ns`; and its exchange.

    With `faults`, `Simulator.face` is the misbehaving one: `Faults.counts` says what it did, and
    `Simulator.order_faults.counts` what was done to requests for orders.
    The exchange is the oracle: what any client of this venue should have in its book.
    A venue that takes orders has accounts (`Simulator.accounts`), each with `balances` or plenty of
    everything; `history` gets all that becomes of their orders, in the venue's terms.
    `fees_e8` is the tier of every account, taker and maker, in 1e-8 of notional, instead of the
    venue's lowest.
    ValueError: no such venue, or a symbol it cannot list.
    """
    module = faces.load(venue)
    listings = module.listings(module.SYMBOLS if symbols is None else symbols)
    if fees_e8 is not None:
        taker, maker = fees_e8
        listings = [replace(one, taker_fee_e8=taker, maker_fee_e8=maker) for one in listings]
    ids = split(seed, "ids", venue)
    exchange = Exchange(
        venue,
        listings,
        first_update_id=ids.randrange(10**9, 10**10),
        first_trade_id=ids.randrange(10**8, 10**9),
    )
    market = Market(exchange, seed, origin_ns, pace)
    market.open(origin_ns)
    options = options or Options()
    styles = getattr(module, "KEY_STYLES", ())
    if styles and not options.accounts:
        accounts = open_accounts(seed, venue, listings, styles, balances)
        options = replace(options, accounts=accounts)
    if history is not None:
        options = replace(options, history=history)
    if options.order_faults is None:
        order_faults = OrderFaults(venue, seed, faults, origin_ns)
        options = replace(options, order_faults=order_faults)
    if options.history is not None:
        for row in opening_rows(options.accounts, origin_ns):
            options.history(row)
    face = module.face(exchange, split(seed, "face", venue), options)
    if faults is not None:
        face = Faults(face, faults, seed, origin_ns)
    made = Simulator(face, market, options.accounts, options.order_faults, options.limits)
    return made, exchange
