"""What KPIs are fed with over time: equity, readiness, orders.  Bounded memory."""

from collections.abc import Sequence
from decimal import Decimal

from hean_router.domain.order import OrderState, Tif
from hean_router.domain.record import (
    Checkpoint,
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildWithdrawn,
    Filled,
    FillUndone,
    ParentPlaced,
    Row,
)
from hean_router.portfolio.money import EXACT, PRECISE, ZERO

_PENDING_MAX = 100_000


class EquityCurve:
    """Equity in the reporting currency over time.

    Peak and drawdown see every sample.  The curve keeps at most `kept` samples, the last of each
    stretch of `step_ns`; when it is full the stretch doubles.  Feed what results alone move: a
    start plus profit; or balances, with `flow` for what was put in (+) or taken out (−).
    """

    __slots__ = ("_flows", "_kept", "_points", "drawdown", "peak", "samples", "step_ns")

    def __init__(self, step_ns: int = 1_000_000_000, kept: int = 4096) -> None:
        assert step_ns > 0 and kept >= 2, (step_ns, kept)  # noqa: PT018 - one bound of the shape
        self.step_ns, self._kept = step_ns, kept
        self._points: list[tuple[int, Decimal]] = []
        self._flows = ZERO
        self.peak: Decimal | None = None
        self.drawdown: Decimal | None = None  # largest fall from a peak, as a share of it
        self.samples = 0

    def flow(self, amount: Decimal) -> None:
        """Money from outside: no result."""
        self._flows = EXACT.add(self._flows, amount)

    def sample(self, now_ns: int, equity: Decimal | None) -> None:
        """Equity at `now_ns`; None (unknown) is left out, as is a time that goes back."""
        points = self._points
        if equity is None or (points and now_ns < points[-1][0]):
            return
        equity = EXACT.subtract(equity, self._flows)
        self.samples += 1
        self.peak = equity if self.peak is None else max(self.peak, equity)
        if self.peak > 0:
            fall = PRECISE.divide(EXACT.subtract(self.peak, equity), self.peak)
            self.drawdown = fall if self.drawdown is None else max(self.drawdown, fall)
        if points and points[-1][0] // self.step_ns == now_ns // self.step_ns:
            points[-1] = (now_ns, equity)
            return
        points.append((now_ns, equity))
        while len(points) > self._kept:
            self.step_ns *= 2
            last = {at_ns // self.step_ns: (at_ns, value) for at_ns, value in points}
            points[:] = last.values()

    @property
    def points(self) -> Sequence[tuple[int, Decimal]]:
        """(time, equity) as remembered, oldest first; flows from outside are off."""
        return tuple(self._points)


class Uptime:
    """How long orders could have been routed."""

    __slots__ = ("_ready", "_ready_ns", "_seen_ns", "since_ns")

    def __init__(self, since_ns: int) -> None:
        self.since_ns = self._seen_ns = since_ns
        self._ready, self._ready_ns = False, 0

    def set(self, now_ns: int, *, ready: bool) -> None:
        """Say how it stands from now on; may be said as often as one likes."""
        if self._ready:
            self._ready_ns += max(0, now_ns - self._seen_ns)
        self._seen_ns = max(self._seen_ns, now_ns)
        self._ready = ready

    def ready_ns(self, now_ns: int) -> int:
        """Time ready so far."""
        return self._ready_ns + (max(0, now_ns - self._seen_ns) if self._ready else 0)


class _Resting:
    __slots__ = ("filled", "maker", "qty", "until")

    def __init__(self, qty: Decimal) -> None:
        self.qty = qty
        self.filled = self.maker = ZERO
        self.until: Decimal | None = None  # ended by the venue's word once fills reach this


class OrderCounts:
    """Orders and fills counted from rows, for throughput and the maker fill rate.

    An order rests if it is GTC and was acknowledged.  When it has ended and its fills are in, the
    share of its quantity that filled as maker counts once; of refused ones nothing does.
    """

    __slots__ = ("_resting", "children", "fills", "maker_share", "parents", "rested")

    def __init__(self) -> None:
        self.parents = self.children = self.fills = self.rested = 0
        self.maker_share = ZERO  # Σ over `rested` of maker quantity / quantity, 28 digits each
        self._resting: dict[str, _Resting] = {}

    def apply(self, row: Row) -> None:
        """Take a committed row."""
        match row:
            case ParentPlaced():
                self.parents += 1
            case ChildIntended():
                if row.tif is Tif.GTC and len(self._resting) < _PENDING_MAX:
                    self._resting[row.key] = _Resting(row.qty)
            case ChildAcked():
                self.children += 1
            case ChildRejected() | ChildWithdrawn() | ChildAbsent():
                self._resting.pop(row.key, None)
            case ChildReported() if row.state is OrderState.REJECTED:
                self._resting.pop(row.key, None)
            case ChildReported() if row.state is not OrderState.OPEN:
                if (resting := self._resting.get(row.key)) is not None:
                    resting.until = resting.filled if row.cum_qty is None else row.cum_qty
                    self._settle(row.key, resting)
            case Filled():
                self.fills += 1
                if (resting := self._resting.get(row.key)) is not None:
                    resting.filled = EXACT.add(resting.filled, row.qty)
                    if row.maker:
                        resting.maker = EXACT.add(resting.maker, row.qty)
                    self._settle(row.key, resting)
            case Checkpoint():  # of those nothing more will come
                gone = set(row.parents)
                for key in [key for key in self._resting if key[4:12] in gone]:
                    del self._resting[key]
            case FillUndone():
                self.fills -= row.whole
                if (resting := self._resting.get(row.key)) is not None:
                    resting.filled = EXACT.subtract(resting.filled, row.qty)
            case _:
                pass

    def _settle(self, key: str, resting: _Resting) -> None:
        if resting.until is None or resting.filled < resting.until:
            return
        self.rested += 1
        share = PRECISE.divide(resting.maker, resting.qty)
        self.maker_share = EXACT.add(self.maker_share, share)
        del self._resting[key]
