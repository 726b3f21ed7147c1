"""Floor 5: what happened, for people.  Counts facts; decides nothing."""

from hean_router.telemetry.metrics import BookReading, FeedReading, Metrics, Timing

__all__ = ["BookReading", "FeedReading", "Metrics", "Timing"]
