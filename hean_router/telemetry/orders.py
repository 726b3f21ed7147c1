"""Metrics of the order side: counted from committed rows, and read off when somebody scrapes.

No label holds an account, a key or an order: who may read the page may not learn whose it is.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal

from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from hean_router.domain.desk import Sent
from hean_router.domain.order import OrderState
from hean_router.domain.record import (
    BalanceBreak,
    BalancesSet,
    CancelIntended,
    Checkpoint,
    ChildAbsent,
    ChildAcked,
    ChildIntended,
    ChildRejected,
    ChildReported,
    ChildUnknown,
    ChildWithdrawn,
    Filled,
    FillUndone,
    Incident,
    Opened,
    ParentEnded,
    ParentPlaced,
    Row,
)
from hean_router.telemetry.metrics import REASONS_MAX
from hean_router.telemetry.stages import Stages

RISK_STATES = ("normal", "reduce_only", "halted")
_GONE_MAX = 1_000  # ended orders of which more may still be told
_SENT_MAX = 10_000  # ended orders whose first fill may still come

# By the counter's own name: its help and labels.
_COUNTERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "parents_placed": ("Parent orders accepted", ()),
    "parents_ended": ("Parent orders ended, by where they ended", ("status",)),
    "orders_placed": ("Orders written down to be sent", ("venue",)),
    "orders_acked": ("Orders that the venue has taken", ("venue",)),
    "orders_rejected": ("Orders that the venue has refused", ("venue", "kind")),
    "orders_unknown": ("Orders whose fate was not known", ("venue",)),
    "orders_absent": ("Unknown orders proven never to have existed", ("venue",)),
    "orders_withdrawn": ("Orders that never left, by who held them", ("venue", "by")),
    "cancels": ("Cancels written down to be sent", ("venue",)),
    "fills": ("Trades of ours", ("venue", "liquidity")),
    "fills_undone": ("Trades, or parts, that were booked otherwise afterwards", ("venue", "why")),
    "denials": ("Parents or orders that we did not let through", ("code",)),
    "incidents": ("What a person must look at", ("what",)),
    "balance_breaks": ("Balances that differ from the venue's without a reason", ("venue",)),
}


class OrderStanding(Struct, frozen=True, kw_only=True):
    """What only the running program knows, as it stands at a scrape.

    `gates_shut` counts shut accounts by venue, 0 for a venue whose gates are all open.
    `exposure_net` and `exposure_gross` are by asset, the others single, in the reporting currency;
    None where they cannot be told.  `journal_why` is why rows cannot be written.
    """

    ready: bool
    risk_state: str
    journal_sync: str
    journal_why: str = ""
    gates_shut: Mapping[str, int] = {}
    clock_offset_ns: Mapping[str, int] = {}  # by venue, the widest of its accounts
    exposure_net: Mapping[str, Decimal | None] = {}
    exposure_gross: Mapping[str, Decimal | None] = {}
    exposure_complete: bool = True
    reserved: Decimal | None = None
    day_pnl: Decimal | None = None
    unknown_oldest_ns: int = 0  # how long ago the oldest order of unknown fate was intended
    disk_free: float | None = None  # share of the state folder's disk; None: no folder
    shut: Mapping[str, int] = {}  # things that keep orders back now, by what they are


class _Live(Struct):
    """An order that may still trade."""

    venue: str
    leaves: Decimal  # base
    unknown: bool = False


class FollowedState(Struct, frozen=True, kw_only=True):
    """What `OrderMetrics` has learned of rows that it did not count."""

    live: list[tuple[str, str, Decimal, bool]]  # key, venue, leaves, unknown
    gone: dict[str, str]
    breaks: list[tuple[tuple[str, str, str], str]]
    epoch: int


class OrderMetrics:
    """Hand it every committed row (`row`), every `Sent` and every duration; add it to `Metrics`.

    `standing` may be set to a function that is asked at each scrape.  Rows are counted once they
    are committed; what an earlier process did is told by `resume` and not counted.
    """

    def __init__(self) -> None:
        self.stages = Stages()
        self.standing: Callable[[], OrderStanding] | None = None
        self._counts: dict[str, Counter[tuple[str, ...]]] = {name: Counter() for name in _COUNTERS}
        self._labels: dict[str, set[str]] = {}
        self._live: dict[str, _Live] = {}
        self._gone: dict[str, str] = {}  # filled lately -> venue: the ack may come after the fill
        self._sent_ns: dict[str, int] = {}  # until the first fill
        self._acked: set[str] = set()
        self._breaks: dict[tuple[str, str, str], str] = {}
        self._drift: dict[tuple[str, str], Decimal] = {}
        self._assumed: dict[tuple[str, str], Decimal] = {}
        self._epoch = 0

    # ------------------------------------------------------------------------- being told

    def resume(self, rows: Iterable[Row]) -> None:
        """Learn which orders and breaks an earlier process left; counts nothing."""
        for row in rows:
            self._follow(row)

    def dump(self) -> FollowedState:
        """Which orders and breaks there are; counts are a process's own."""
        return FollowedState(
            live=[(key, one.venue, one.leaves, one.unknown) for key, one in self._live.items()],
            gone=dict(self._gone),
            breaks=list(self._breaks.items()),
            epoch=self._epoch,
        )

    def load(self, state: FollowedState) -> None:
        """Make this, which is new, what was dumped."""
        for key, venue, leaves, unknown in state.live:
            self._live[key] = _Live(venue, leaves, unknown)
        self._gone.update(state.gone)
        self._breaks.update(state.breaks)
        self._epoch = state.epoch

    def row(self, row: Row, at_ns: int) -> None:
        """Count a committed row; `at_ns` is when, our clock."""
        self._count(row)
        self._time(row, at_ns)
        self._follow(row)

    def sent(self, event: Sent, tick_ns: int) -> None:
        """An order's bytes have left.  `tick_ns`: when the frame was read that led to it, or 0."""
        if len(self._sent_ns) >= _SENT_MAX:
            del self._sent_ns[next(iter(self._sent_ns))]  # the oldest has long ended unfilled
        self._sent_ns[event.key] = event.at_ns
        self.stages.observe("bytes", event.at_ns - event.built_ns)
        if tick_ns:
            self.stages.observe("tick_to_trade", event.at_ns - tick_ns)

    def stage(self, name: str, took_ns: int) -> None:
        """One duration of a stage (`STAGES`), of `tick_to_trade` or of `submit`."""
        self.stages.observe(name, took_ns)

    def denied(self, code: str) -> None:
        """A parent was refused before there was a row of it; `code` is stable."""
        self._add("denials", code)

    def _add(self, name: str, *labels: str) -> None:
        self._counts[name][tuple(map(self._bounded(name), labels))] += 1

    def _bounded(self, name: str) -> Callable[[str], str]:
        """Labels are stable codes; should one not be, it is no memory leak."""
        seen = self._labels.setdefault(name, set())

        def bounded(label: str) -> str:
            if label not in seen and len(seen) >= REASONS_MAX:
                return "other"
            seen.add(label)
            return label

        return bounded

    def _venue(self, key: str) -> str:
        live = self._live.get(key)
        return self._gone.get(key, "") if live is None else live.venue

    def _count(self, row: Row) -> None:
        match row:
            case ParentPlaced():
                self._add("parents_placed")
            case ParentEnded():
                self._add("parents_ended", row.status.value)
            case ChildIntended():
                self._add("orders_placed", row.venue)
            case ChildAcked():
                self._add("orders_acked", self._venue(row.key))
            case ChildRejected():
                self._add("orders_rejected", self._venue(row.key), row.reject.lower())
            case ChildUnknown():
                self._add("orders_unknown", self._venue(row.key))
            case ChildAbsent():
                self._add("orders_absent", self._venue(row.key))
            case ChildWithdrawn():
                self._add("orders_withdrawn", self._venue(row.key), row.by)
                if row.by in {"risk", "gate"}:
                    self._add("denials", row.code)
            case CancelIntended():
                self._add("cancels", self._venue(row.key))
            case Filled():
                liquidity = {True: "maker", False: "taker", None: "untold"}[row.maker]
                self._add("fills", row.venue, liquidity)
                self._note_drift(row)
            case FillUndone():
                self._add("fills_undone", row.venue, row.why)
            case Incident():
                self._add("incidents", row.what)
            case BalanceBreak():
                self._add("balance_breaks", row.venue)
            case _:
                pass

    def _note_drift(self, row: Filled) -> None:
        if row.fee_assumed is None:
            return
        where = (row.venue, row.fee_asset)
        if where in self._drift or len(self._drift) < REASONS_MAX:
            before = self._drift.get(where, Decimal(0))
            self._drift[where] = before + row.fee - row.fee_assumed
            self._assumed[where] = self._assumed.get(where, Decimal(0)) + row.fee_assumed

    def _time(self, row: Row, at_ns: int) -> None:
        match row:
            case ChildAcked() | ChildReported(state=OrderState.OPEN):
                sent_ns = self._sent_ns.get(row.key)
                if sent_ns is not None and row.key not in self._acked:
                    self._acked.add(row.key)
                    self.stages.observe("ack", at_ns - sent_ns)
            case Filled():
                if (sent_ns := self._sent_ns.pop(row.key, None)) is not None:
                    self.stages.observe("fill", at_ns - sent_ns)
            case _:
                pass

    def _follow(self, row: Row) -> None:
        """Keep what is alive: it is read off as gauges."""
        match row:
            case ChildIntended():
                self._live[row.key] = _Live(row.venue, row.qty)
            case ChildUnknown():
                if (live := self._live.get(row.key)) is not None:
                    live.unknown = True
            case ChildAcked() | ChildReported(state=OrderState.OPEN):
                if (live := self._live.get(row.key)) is not None:
                    live.unknown = False
            case ChildRejected() | ChildWithdrawn() | ChildAbsent() | ChildReported():
                self._live.pop(row.key, None)
                self._acked.discard(row.key)
                if not isinstance(row, ChildReported):
                    self._sent_ns.pop(row.key, None)  # of these there will be no fill
            case Filled():
                self._follow_fill(row)
            case FillUndone():
                if (live := self._live.get(row.key)) is not None:
                    live.leaves += row.qty
            case BalanceBreak():
                self._breaks[row.venue, row.account, row.asset] = row.venue
            case BalancesSet():
                for key in [key for key in self._breaks if key[:2] == (row.venue, row.account)]:
                    del self._breaks[key]
            case Opened():
                self._epoch = row.epoch
            case Checkpoint():
                gone = set(row.parents)  # of a journal that contradicts itself
                for left in [key for key in self._live if key[4:12] in gone]:
                    del self._live[left]
            case _:
                pass

    def _follow_fill(self, row: Filled) -> None:
        """It exists; and the last fill ends it: no report may follow that says so."""
        if (live := self._live.get(row.key)) is None:
            return
        live.leaves -= row.qty
        live.unknown = False
        if live.leaves <= 0:
            del self._live[row.key]
            self._acked.discard(row.key)
            if len(self._gone) >= _GONE_MAX:
                del self._gone[next(iter(self._gone))]
            self._gone[row.key] = live.venue

    # ------------------------------------------------------------------------- being read

    def collect(self) -> Iterator[Metric]:
        """Read everything off."""
        for name, (text, labels) in _COUNTERS.items():
            counts = self._counts[name]
            family = CounterMetricFamily(f"hean_{name}", text, labels=labels)
            if not labels:
                family.add_metric((), counts[()])
            else:
                for values, count in sorted(counts.items()):
                    family.add_metric(values, count)
            yield family
        yield from self._orders()
        yield from self.stages.collect()
        if self.standing is not None:
            yield from _standing(self.standing())

    def _orders(self) -> Iterator[Metric]:
        venues = sorted({live.venue for live in self._live.values()})
        venues = sorted({*venues, *(key[0] for key in self._counts["orders_placed"])})
        for name, text, unknown in (
            ("hean_orders_open", "Orders that may still trade", False),
            ("hean_orders_unknown_now", "Orders whose fate is not known", True),
        ):
            family = GaugeMetricFamily(name, text, labels=("venue",))
            for venue in venues:
                found = [one for one in self._live.values() if one.venue == venue]
                family.add_metric((venue,), sum(one.unknown or not unknown for one in found))
            yield family
        yield _gauge(
            "hean_balance_breaks_now", "Breaks that nothing has answered yet", len(self._breaks)
        )
        yield _gauge("hean_journal_epoch", "How often the journal was opened", self._epoch)
        # Both, since the venues round their fees: only a drift against what was assumed says much.
        for name, text, amounts in (
            ("hean_fee_drift", "Fees charged minus assumed, in units", self._drift),
            ("hean_fee_assumed", "Fees by the rates planned with, in units", self._assumed),
        ):
            fees = GaugeMetricFamily(name, text, labels=("venue", "asset"))
            for where, amount in sorted(amounts.items()):
                fees.add_metric(where, float(amount))
            yield fees


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _by(name: str, text: str, label: str, values: Sequence[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values:
        family.add_metric((value,), number)
    return family


def _standing(now: OrderStanding) -> Iterator[Metric]:
    yield _gauge("hean_ready", "1 if orders can be routed", now.ready)
    yield _by(
        "hean_risk_state",
        "1 for the state that risk is in",
        "state",
        [(state, float(state == now.risk_state)) for state in RISK_STATES],
    )
    yield _by(
        "hean_journal_sync", "1 for how the journal is written", "mode", [(now.journal_sync, 1.0)]
    )
    yield _gauge("hean_journal_failing", "1 if rows cannot be written", bool(now.journal_why))
    yield _by(
        "hean_gate_shut",
        "Accounts whose gate is shut",
        "venue",
        [(venue, float(count)) for venue, count in sorted(now.gates_shut.items())],
    )
    yield _by(
        "hean_clock_offset_seconds",
        "The venue's clock minus ours",
        "venue",
        [(venue, offset / 1e9) for venue, offset in sorted(now.clock_offset_ns.items())],
    )
    for name, text, values in (
        ("net", "Net exposure in the reporting currency", now.exposure_net),
        ("gross", "Gross exposure in the reporting currency", now.exposure_gross),
    ):
        known = [(asset, float(one)) for asset, one in sorted(values.items()) if one is not None]
        yield _by(f"hean_exposure_{name}", text, "asset", known)
    yield _gauge(
        "hean_exposure_complete", "1 if every asset has a rate", float(now.exposure_complete)
    )
    yield _gauge(
        "hean_unknown_oldest_seconds",
        "Age of the oldest order whose fate is not known",
        now.unknown_oldest_ns / 1e9,
    )
    yield _by(
        "hean_shut",
        "Things that keep orders back, see GET /v1/health",
        "what",
        [(what, float(count)) for what, count in sorted(now.shut.items())],
    )
    disk = GaugeMetricFamily("hean_disk_free_share", "Of the disk that holds the journal")
    if now.disk_free is not None:
        disk.add_metric((), now.disk_free)
    yield disk
    for name, text, amount in (
        ("hean_reserved", "Worst case that risk has reserved, reporting currency", now.reserved),
        ("hean_day_pnl", "Profit since midnight UTC, reporting currency", now.day_pnl),
    ):
        family = GaugeMetricFamily(name, text)
        if amount is not None:
            family.add_metric((), float(amount))
        yield family
