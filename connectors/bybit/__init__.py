"""Bybit v5: spot, and linear perpetuals (USDT and USDC).

`facts` (limits, fees, hosts), `listing` (instruments), `feed` (books and trades), `ask` (REST);
of orders, on spot: `orders` (REST), `private` (the sockets), `words`, `sign`, `errors`.
"""

from connectors.bybit.ask import book_in, server_time, status
from connectors.bybit.facts import SPEC, feed_url, part_of
from connectors.bybit.feed import Feed
from connectors.bybit.listing import instruments, listed_in, spell
from connectors.bybit.orders import Codec
from hean_router import kit

CONNECTOR = kit.Connector(
    spec=SPEC,
    instruments=instruments,
    feed=Feed,
    feed_url=feed_url,
    server_time=server_time,
    status=status,
    spell=spell,
    part_of=part_of,
    listed_in=listed_in,
    book_in=book_in,
    orders=Codec,
)
