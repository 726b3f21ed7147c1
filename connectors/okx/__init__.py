"""OKX v5: spot, and perpetuals settled in their quote currency.

Every fact is from OKX's API documentation (https://www.okx.com/docs-v5/en/) unless a remark says
otherwise.  `feed` reads the public socket, `private` the account's, `listing` and `orders` ask over
REST; `words`, `rows`, `errors` and `sign` are how orders are said, read, refused and signed.  This
file holds the facts.
"""

from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from connectors.okx import listing
from connectors.okx.feed import Feed
from connectors.okx.orders import Orders
from hean_router import kit


def _hosts(rest: str, socket: str) -> Mapping[str, str]:
    return {"rest": f"https://{rest}", "ws": f"wss://{socket}:8443"}


SPEC = kit.VenueSpec(
    id=listing.VENUE,
    name="OKX",
    parts=frozenset({kit.Part.SPOT, kit.Part.LINEAR}),
    hosts={
        "live": _hosts("openapi.okx.com", "ws.okx.com"),
        "demo": _hosts("openapi.okx.com", "wspap.okx.com"),
        # Accounts of these regions trade on hosts of their own (seen in ccxt).
        "eea": _hosts("eea.okx.com", "wseea.okx.com"),
        "us": _hosts("us.okx.com", "wsus.okx.com"),
    },
    headers={"demo": {"x-simulated-trading": "1"}},
    fees={
        kit.Part.SPOT: kit.Fees(taker=Decimal("0.001"), maker=Decimal("0.0008")),
        # Commonly quoted, not documented: the account's own rates override them.
        kit.Part.LINEAR: kit.Fees(
            taker=Decimal("0.0005"), maker=Decimal("0.0002"), fee_in=kit.FeeIn.QUOTE
        ),
    },
    rest_limits={  # by endpoint and address
        "instruments": kit.RateLimit(20, 2_000),
        "books": kit.RateLimit(40, 2_000),
        "time": kit.RateLimit(10, 2_000),
        "status": kit.RateLimit(1, 5_000),
        # By user; placing and cancelling by instrument too: `orders.LIMITS` counts them.
        "place": kit.RateLimit(60, 2_000),
        "cancel": kit.RateLimit(60, 2_000),
        "order": kit.RateLimit(60, 2_000),
        "orders-pending": kit.RateLimit(60, 2_000),
        "orders-history": kit.RateLimit(40, 2_000),
        "fills": kit.RateLimit(60, 2_000),
        "fills-history": kit.RateLimit(10, 2_000),
        "balance": kit.RateLimit(10, 2_000),
        "config": kit.RateLimit(5, 2_000),
        "trade-fee": kit.RateLimit(5, 2_000),
        "cancel-all-after": kit.RateLimit(1, 1_000),
    },
    connects=kit.RateLimit(3, 1_000),
    # Subscriptions and their ends count, whatever they hold; the text `ping` does not.
    frames=kit.RateLimit(480, 3_600_000),
    # The names of all channels may take 64 KB; an argument with the longest has 70 bytes.  Half of
    # that, and two channels about the venue itself beside the instruments' own.
    topics_max=478,
    # OKX closes after 30 s without a push (4004).  An idle socket answers our `ping` at once.
    ping_every_ms=5_000,
    silence_ms=12_000,
    dead_man_s=(10, 120),
    dead_man="orders that carry this router's tag",
    docs="https://www.okx.com/docs-v5/en/",
)


def feed_url(part: kit.Part, hosts: Mapping[str, str]) -> str:
    """The public socket; a host that has a path already is taken as it stands."""
    url = SPEC.host(hosts, part, "ws")
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/ws/v5/public"


CONNECTOR = kit.Connector(
    spec=SPEC,
    instruments=listing.instruments,
    feed=Feed,
    feed_url=feed_url,
    server_time=listing.server_time,
    status=listing.status,
    spell=listing.spell,
    part_of=listing.part_of,
    listed_in=listing.listed_in,
    book_in=listing.book_in,
    orders=Orders,
)
