"""Binance: spot, and USD-M perpetuals.

`facts` (limits, fees, hosts), `listing` (instruments), `feed` (books and trades), `ask` (REST);
of orders, on spot: `orders` (REST), `private` (the socket), `words`, `sign`, `errors`.
Two venues in one: the futures have hosts, paths, weights and a gap rule of their own.
"""

from connectors.binance.ask import book_in, server_time, status
from connectors.binance.facts import SPEC, feed_url, part_of
from connectors.binance.feed import Feed
from connectors.binance.listing import instruments, listed_in, spell
from connectors.binance.orders import Codec
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
