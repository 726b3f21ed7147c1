"""Floor 1: what we have, from fills; what it is worth, and what was earned."""

from hean_router.portfolio.curve import EquityCurve, OrderCounts, Uptime
from hean_router.portfolio.day import DayPnl, DayResult
from hean_router.portfolio.exposure import Exposure, ExposureLine, exposure, to_json
from hean_router.portfolio.kpi import Kpi, KpiInputs, Latency, kpis
from hean_router.portfolio.ledger import Ledger
from hean_router.portfolio.money import Marks
from hean_router.portfolio.pnl import PnlLine, Worth, value_of, worth
from hean_router.portfolio.positions import PositionLine, View
from hean_router.portfolio.rates import Mids, rates
from hean_router.portfolio.trips import RoundTrip, RoundTrips

__all__ = [
    "DayPnl",
    "DayResult",
    "EquityCurve",
    "Exposure",
    "ExposureLine",
    "Kpi",
    "KpiInputs",
    "Latency",
    "Ledger",
    "Marks",
    "Mids",
    "OrderCounts",
    "PnlLine",
    "PositionLine",
    "RoundTrip",
    "RoundTrips",
    "Uptime",
    "View",
    "Worth",
    "exposure",
    "kpis",
    "rates",
    "to_json",
    "value_of",
    "worth",
]
