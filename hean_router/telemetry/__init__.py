"""Floor 5: what happened, for people.  Counts facts; decides nothing."""

from hean_router.telemetry.figures import Figures
from hean_router.telemetry.metrics import BookReading, FeedReading, Metrics, Timing
from hean_router.telemetry.orders import OrderMetrics, OrderStanding
from hean_router.telemetry.stages import STAGES, StageReading, Stages

__all__ = [
    "STAGES",
    "BookReading",
    "FeedReading",
    "Figures",
    "Metrics",
    "OrderMetrics",
    "OrderStanding",
    "StageReading",
    "Stages",
    "Timing",
]
