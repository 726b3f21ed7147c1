"""Floor 8: a client of the REST face, for programs.

    from hean_router.client import Client
    with Client() as hean:                       # a running router here, found by its state file
        order = hean.submit("BTC/USDT", "buy", quantity="0.1", wait_ms=5000)
        print(order.status, order.average_price, order.saved_bps)

`AsyncClient` has the same methods to await, and `stream`.  Decimals go out as text and come back
as `Decimal`; an error of the router is an `ApiError` with a stable code.
"""

from hean_router.client.calls import ApiError, NotRunning
from hean_router.client.clients import AsyncClient, Client
from hean_router.client.found import Running, announce, find, state_file, withdraw
from hean_router.client.model import ChildOrder, FeePaid, Order

__all__ = [
    "ApiError",
    "AsyncClient",
    "ChildOrder",
    "Client",
    "FeePaid",
    "NotRunning",
    "Order",
    "Running",
    "announce",
    "find",
    "state_file",
    "withdraw",
]
