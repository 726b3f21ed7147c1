"""Closed round trips, for statistics of trades."""

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal

from msgspec import Struct

from hean_router.domain.instrument import Pair
from hean_router.domain.rates import Rates
from hean_router.domain.record import Filled, FillUndone, Row
from hean_router.portfolio.money import EXACT, ZERO
from hean_router.portfolio.pnl import value_of
from hean_router.portfolio.positions import Position, effect_of
from hean_router.portfolio.saved import PositionState, dump_position, load_position

DUST = 100  # a hundredth of the largest position counts as flat: fees leave parts of a lot


class RoundTrip(Struct, frozen=True, kw_only=True, array_like=True):
    """From flat to flat, by (account, symbol, strategy) over all venues.

    It opens with the first fill of a flat position and closes when the position is back at zero,
    has crossed it (which opens the next), or is down to a hundredth of its largest.  `pnl` is
    realised − fees in quote; fees in third assets are apart in `fees_third`.
    """

    account: str
    symbol: str
    strategy: str
    opened_ns: int
    closed_ns: int
    pnl: Decimal
    fees_third: Mapping[str, Decimal]

    def worth(self, rates: Rates) -> Decimal | None:
        """Profit in the reporting currency at `rates`; None if one is missing."""
        amounts = {asset: EXACT.minus(fee) for asset, fee in self.fees_third.items()}
        quote = Pair.parse(self.symbol).quote
        amounts[quote] = EXACT.add(amounts.get(quote, ZERO), self.pnl)
        return value_of(amounts, rates).whole


class TripState(Struct, frozen=True, array_like=True):
    """A position by (account, symbol, strategy), and where its present trip began."""

    account: str
    symbol: str
    strategy: str
    position: PositionState
    opened_ns: int | None
    largest: Decimal
    pnl: Decimal
    thirds: dict[str, Decimal]


class TripsState(Struct, frozen=True, kw_only=True):
    """As `RoundTrips`."""

    count: int
    closed: list[RoundTrip]
    trips: list[TripState]


class _Trip:
    """A position, and where its present trip began."""

    __slots__ = ("largest", "opened_ns", "pnl", "position", "thirds")

    def __init__(self) -> None:
        self.position = Position()
        self.opened_ns: int | None = None
        self.largest = self.pnl = ZERO
        self.thirds: dict[str, Decimal] = {}

    def begin(self, at_ns: int, *, pnl: Decimal, thirds: Mapping[str, Decimal]) -> None:
        self.opened_ns, self.pnl, self.thirds = at_ns, pnl, dict(thirds)
        self.largest = ZERO


class RoundTrips:
    """The last `kept` round trips, from rows; bounded."""

    __slots__ = ("_closed", "_trips", "count")

    def __init__(self, kept: int = 10_000) -> None:
        self._closed: deque[RoundTrip] = deque(maxlen=kept)
        self._trips: dict[tuple[str, str, str], _Trip] = {}
        self.count = 0  # of all time

    def apply(self, row: Row) -> None:
        """Take a committed row; only trades count."""
        if isinstance(row, FillUndone):
            # No trip opens or closes by it: the trade that takes its place follows at once.
            undone = self._trips.setdefault((row.account, row.symbol, row.strategy), _Trip())
            undone.position.undo(row, effect_of(row))
            return
        if not isinstance(row, Filled):
            return
        key = (row.account, row.symbol, row.strategy)
        trip = self._trips.setdefault(key, _Trip())
        position = trip.position
        before = position.qty
        pnl = EXACT.subtract(position.realised, position.fees_quote)
        thirds = dict(position.fees_third)
        position.fill(row, effect_of(row))
        after = position.qty
        if trip.opened_ns is None:
            if not after:
                return  # the dust of an earlier trip is gone: no trip of its own
            trip.begin(row.at_ns, pnl=pnl, thirds=thirds)
        size = after.copy_abs()
        trip.largest = max(trip.largest, size)
        crossed = before and after and (before > 0) != (after > 0)
        if crossed or EXACT.multiply(size, Decimal(DUST)) <= trip.largest:
            self._close(key, trip, row.at_ns)
            if crossed:
                trip.begin(
                    row.at_ns,
                    pnl=EXACT.subtract(position.realised, position.fees_quote),
                    thirds=position.fees_third,
                )
                trip.largest = size

    def _close(self, key: tuple[str, str, str], trip: _Trip, at_ns: int) -> None:
        assert trip.opened_ns is not None, "only what was opened is closed"
        position = trip.position
        now = EXACT.subtract(position.realised, position.fees_quote)
        fees = {
            asset: EXACT.subtract(fee, trip.thirds.get(asset, ZERO))
            for asset, fee in position.fees_third.items()
        }
        self._closed.append(
            RoundTrip(
                account=key[0],
                symbol=key[1],
                strategy=key[2],
                opened_ns=trip.opened_ns,
                closed_ns=at_ns,
                pnl=EXACT.subtract(now, trip.pnl),
                fees_third={asset: fee for asset, fee in fees.items() if fee},
            )
        )
        self.count += 1
        trip.opened_ns = None

    def dump(self) -> TripsState:
        """What rows have made of it; mutable parts are not copied: encode it at once."""
        return TripsState(
            count=self.count,
            closed=list(self._closed),
            trips=[
                TripState(
                    *key,
                    dump_position(one.position),
                    one.opened_ns,
                    one.largest,
                    one.pnl,
                    one.thirds,
                )
                for key, one in self._trips.items()
            ],
        )

    def load(self, state: TripsState) -> None:
        """Make this, which is new, what was dumped."""
        self.count = state.count
        self._closed.extend(state.closed)
        for one in state.trips:
            trip = self._trips[one.account, one.symbol, one.strategy] = _Trip()
            trip.position, trip.opened_ns = load_position(one.position), one.opened_ns
            trip.largest, trip.pnl, trip.thirds = one.largest, one.pnl, one.thirds

    def closed(
        self, *, account: str | None = None, strategy: str | None = None
    ) -> Sequence[RoundTrip]:
        """Those that are remembered, oldest first."""
        return [
            trip
            for trip in self._closed
            if account in {None, trip.account} and strategy in {None, trip.strategy}
        ]
