"""The REST and WebSocket face: typed in, typed out, every error of one shape."""

from hean_router.api.access import Caps
from hean_router.api.app import make_app
from hean_router.api.history import Fills
from hean_router.api.office import Desk, Kpi, Trading
from hean_router.api.server import serve

__all__ = ["Caps", "Desk", "Fills", "Kpi", "Trading", "make_app", "serve"]
