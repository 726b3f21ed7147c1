"""Kraken spot: WebSocket v2, and REST for what it does not say.

Every fact is from Kraken's API documentation (https://docs.kraken.com/api/) unless a remark says
otherwise.  `feed` reads the public socket, `private` the account's, `listing` and `orders` ask over
REST; `words`, `errors` and `sign` are how orders are said, refused and signed.  This file holds the
facts.
"""

from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from connectors.kraken import listing
from connectors.kraken.feed import Feed
from connectors.kraken.orders import Orders
from hean_router import kit

SPEC = kit.VenueSpec(
    id=listing.VENUE,
    name="Kraken",
    parts=frozenset({kit.Part.SPOT}),
    hosts={
        "live": {"rest": "https://api.kraken.com", "ws": "wss://ws.kraken.com"},
        # The same engine behind newer software; Kraken has no sandbox for spot.
        "beta": {"rest": "https://api.kraken.com", "ws": "wss://beta-ws.kraken.com"},
    },
    # A copy of the 2026 schedule, seen in clients.  The quote is what we ask to be charged in.
    fees={
        kit.Part.SPOT: kit.Fees(
            taker=Decimal("0.0040"), maker=Decimal("0.0025"), fee_in=kit.FeeIn.QUOTE
        )
    },
    # Public requests share about one a second and address (known, not documented).
    rest_limits={
        "rest": kit.RateLimit(1, 1_000),
        # By key: the counter of the lowest tier, which decays by 0.33 a second.
        "private": kit.RateLimit(15, 45_000, decays=True),
        # Not counted there but by the engine (`orders.LIMITS`); clients pace them like this.
        "trade": kit.RateLimit(10, 1_000),
    },
    by_key=frozenset({"private", "trade"}),
    connects=kit.RateLimit(150, 600_000),
    # No number is published; clients send about 20 a second.
    frames=kit.RateLimit(20, 1_000),
    # No number is published for this either.
    topics_max=400,
    # A heartbeat comes every second without other news; our `ping` covers the time before the
    # first subscription, when there is none.
    ping_every_ms=5_000,
    silence_ms=12_000,
    # Kraken recommends 60 s, renewed every 15 to 30; more often eats up what a key may ask.
    dead_man_s=(45, 86_399),
    dead_man="every order of the account, whoever placed it",
    docs="https://docs.kraken.com/api/",
)


def feed_for(_part: kit.Part, instruments: Mapping[str, kit.Instrument]) -> Feed:
    """A codec for books of the default depth."""
    return Feed(instruments)


def feed_url(part: kit.Part, hosts: Mapping[str, str]) -> str:
    """The public v2 socket; a host that has a path already is taken as it stands."""
    url = SPEC.host(hosts, part, "ws")
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v2"


CONNECTOR = kit.Connector(
    spec=SPEC,
    instruments=listing.instruments,
    feed=feed_for,
    feed_url=feed_url,
    server_time=listing.server_time,
    status=listing.status,
    spell=listing.spell,
    aliases=listing.aliases,
    part_of=listing.part_of,
    listed_in=listing.listed_in,
    book_in=listing.book_in,
    orders=Orders,
)
