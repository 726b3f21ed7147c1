"""Floor 1: what we have, from fills; what it is worth, and what was earned."""

from hean_router.portfolio.exposure import Exposure, ExposureLine, exposure, to_json
from hean_router.portfolio.ledger import Ledger
from hean_router.portfolio.money import Marks
from hean_router.portfolio.pnl import PnlLine, Worth, value_of, worth
from hean_router.portfolio.positions import PositionLine, View
from hean_router.portfolio.rates import Mids, rates

__all__ = [
    "Exposure",
    "ExposureLine",
    "Ledger",
    "Marks",
    "Mids",
    "PnlLine",
    "PositionLine",
    "View",
    "Worth",
    "exposure",
    "rates",
    "to_json",
    "value_of",
    "worth",
]
