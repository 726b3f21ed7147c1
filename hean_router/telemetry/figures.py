"""What the key figures are worked out from, kept as it happens: one object for a running router."""

from collections import deque
from collections.abc import Callable, Sequence
from decimal import Decimal

from hean_router.book.sweep import EXACT
from hean_router.domain.desk import Sent
from hean_router.domain.rates import Rates
from hean_router.domain.record import ChildAcked, ChildReported, Row
from hean_router.engine import Engine
from hean_router.portfolio import (
    EquityCurve,
    Kpi,
    KpiInputs,
    Latency,
    OrderCounts,
    RoundTrips,
    Uptime,
    kpis,
    value_of,
)
from hean_router.telemetry.stages import StageReading, Stages

ACKS_KEPT = 200  # of each venue, for its p95
_SENT_MAX = 10_000


class Figures:
    """Told every committed row, every order sent, and once a second how it stands.

    `messages` counts frames of market data so far.
    """

    def __init__(
        self, engine: Engine, stages: Stages, messages: Callable[[], int], now_ns: int
    ) -> None:
        self._engine, self._stages, self._messages = engine, stages, messages
        self._since_ns = now_ns
        self._orders, self._trips = OrderCounts(), RoundTrips()
        self._uptime = Uptime(now_ns)
        self._equity: dict[str, EquityCurve] = {}
        self._sent_ns: dict[str, int] = {}
        self._acks: dict[str, deque[int]] = {}

    def resume(self, rows: Sequence[Row]) -> None:
        """Take in an earlier process's trades: round trips go on over restarts."""
        for row in rows:
            self._trips.apply(row)

    @property
    def trips(self) -> RoundTrips:
        """Round trips of all time, the last of them whole."""
        return self._trips

    def row(self, row: Row) -> None:
        """Count a committed row."""
        self._orders.apply(row)
        self._trips.apply(row)
        if isinstance(row, ChildAcked | ChildReported):
            self._acked(row.key, row.at_ns)

    def sent(self, event: Sent) -> None:
        """An order's bytes have left."""
        if len(self._sent_ns) >= _SENT_MAX:
            del self._sent_ns[next(iter(self._sent_ns))]
        self._sent_ns[event.key] = event.at_ns

    def _acked(self, key: str, at_ns: int) -> None:
        sent_ns = self._sent_ns.pop(key, None)
        child = self._engine.oms.children.get(key)
        if sent_ns is None or child is None:
            return
        acks = self._acks.setdefault(child.venue, deque(maxlen=ACKS_KEPT))
        acks.append(max(0, at_ns - sent_ns))
        p95 = sorted(acks)[len(acks) * 95 // 100]
        self._engine.crew.latencies[child.venue] = p95

    def sample(self, now_ns: int, *, ready: bool) -> None:
        """How it stands now: whether orders could be routed, and what each account is worth."""
        self._uptime.set(now_ns, ready=ready)
        core = self._engine.core
        rates = core.rates()
        for account in {account for _, account in core.desks}:
            amounts: dict[str, Decimal] = {}
            for (_, owner), held in core.ledger.balances().items():
                for asset, amount in held.items() if owner == account else ():
                    amounts[asset] = EXACT.add(amounts.get(asset, Decimal(0)), amount)
            worth = value_of(amounts, rates)
            curve = self._equity.setdefault(account, EquityCurve())
            curve.sample(now_ns, worth.whole if amounts else None)

    def kpis(self, account: str, now_ns: int) -> list[Kpi]:
        """Every key figure, for one account where it has one."""
        core = self._engine.core
        rates: Rates = core.rates()
        reading = self._stages.reading
        return kpis(
            KpiInputs(
                now_ns=now_ns,
                since_ns=self._since_ns,
                tick_to_trade=_latency(reading("tick_to_trade")),
                submit=_latency(reading("submit")),
                messages=self._messages(),
                orders=self._orders,
                uptime=self._uptime,
                day=[core.day_pnl.read(account, rates, now_ns)],
                equity=self._equity.get(account) or EquityCurve(),
                trips=self._trips.closed(account=account),
                rates=rates,
                reporting=core.reporting,
            )
        )


def _latency(found: StageReading) -> Latency:
    return Latency(found.count, found.p50_ns, found.p99_ns)
