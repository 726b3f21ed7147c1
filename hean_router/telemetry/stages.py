"""Where the time goes between a frame and a fill: a histogram per stage.

frame → book → plan → risk → commit → bytes → ack → fill, and two that span several: tick to trade
(frame read to order bytes handed to the system) and submit (API call to durable answer).
"""

from collections.abc import Iterator, Mapping

from msgspec import Struct
from prometheus_client import Metric
from prometheus_client.core import HistogramMetricFamily

from hean_router.telemetry.metrics import BOUNDS_NS, Timing

# What happens in here ends within half a second; what a venue answers, or a market fills, may not.
OUTSIDE_NS = (*BOUNDS_NS, *(step * 10**power for power in (9, 10) for step in (1, 2, 5)))

STAGES: Mapping[str, str] = {
    "frame": "a frame: decoded",
    "book": "its changes: laid upon the book, and told",
    "plan": "routing: what to send where",
    "risk": "the look of risk at what was planned",
    "commit": "its rows: on disk",
    "bytes": "an order: built, signed, handed to the system",
    "ack": "from there to the venue's word that it has the order",
    "fill": "from there to its first fill",
}
_WHOLES = {
    "tick_to_trade": ("hean_tick_to_trade_seconds", "From a frame read to order bytes written"),
    "submit": ("hean_submit_seconds", "From a submit asked for to its durable answer"),
}
_OUTSIDE = {"ack", "fill"}


class StageReading(Struct, frozen=True):
    """A histogram in three numbers; the quantiles are upper bounds of their buckets, 0 of none."""

    count: int
    p50_ns: int
    p99_ns: int


class Stages:
    """One `Timing` a stage; each may also be handed out and observed by whoever measures.

    >>> stages = Stages()
    >>> stages.observe("plan", 15_000)
    >>> stages.reading("plan")
    StageReading(count=1, p50_ns=20000, p99_ns=20000)
    """

    __slots__ = ("of",)

    def __init__(self) -> None:
        self.of: Mapping[str, Timing] = {
            name: Timing(OUTSIDE_NS if name in _OUTSIDE else BOUNDS_NS)
            for name in (*STAGES, *_WHOLES)
        }

    def observe(self, stage: str, took_ns: int) -> None:
        """Count one duration; raises `KeyError` for a stage that is not one.

        A negative one (clocks of two readings, set in between) counts as 0.
        """
        self.of[stage].observe(max(0, took_ns))

    def reading(self, stage: str) -> StageReading:
        """How it stands, for key figures."""
        timing = self.of[stage]
        return StageReading(timing.count, timing.quantile_ns(0.5), timing.quantile_ns(0.99))

    def collect(self) -> Iterator[Metric]:
        """As families for the page."""
        family = HistogramMetricFamily(
            "hean_stage_seconds", "Time an order spends in each stage", labels=("stage",)
        )
        for stage in STAGES:
            timing = self.of[stage]
            family.add_metric((stage,), timing.buckets(), timing.total_ns / 1e9)
        yield family
        for stage, (name, text) in _WHOLES.items():
            timing = self.of[stage]
            yield HistogramMetricFamily(
                name, text, buckets=timing.buckets(), sum_value=timing.total_ns / 1e9
            )
