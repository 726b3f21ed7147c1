"""Floor 8: a client of the REST face, for programs.

    from hean_router.client import Client
    with Client() as hean:                       # a running router here, found by its state file
        order = hean.submit("BTC/USDT", "buy", quantity="0.1", wait_ms=5000)
        print(order.status, order.average_price, order.saved_bps)

`AsyncClient` has the same methods to await, and `stream`.  Decimals go out as text and come back
as `Decimal`; an error of the router is an `ApiError` with a stable code.

Nothing is asked twice behind your back.  `NotRunning` with `sent` true means that the request may
have arrived: submit again with its `client_order_id` (or one of your own), which answers with the
order that exists or places it once, also after a restart of the router.

    try:
        order = hean.submit("BTC/USDT", "buy", quantity="0.1")
    except NotRunning as fault:
        order = hean.submit("BTC/USDT", "buy", quantity="0.1",
                            client_order_id=fault.client_order_id)
"""

from hean_router.client.calls import ApiError, NotRunning
from hean_router.client.clients import AsyncClient, Client
from hean_router.client.found import Running, announce, find, state_file, withdraw
from hean_router.client.model import ChildOrder, Decision, FeePaid, Fill, Order, Seen

__all__ = [
    "ApiError",
    "AsyncClient",
    "ChildOrder",
    "Client",
    "Decision",
    "FeePaid",
    "Fill",
    "NotRunning",
    "Order",
    "Running",
    "Seen",
    "announce",
    "find",
    "state_file",
    "withdraw",
]
