"""What Bybit is: hosts, limits, fees; and which part an address belongs to."""

from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

from hean_router import kit

VENUE = kit.VenueId("bybit")

_STREAM = "wss://stream.bybit.com"

SPEC = kit.VenueSpec(
    id=VENUE,
    name="Bybit",
    dead_man="Bybit has one for institutional accounts alone, which its account managers turn on",
    parts=frozenset({kit.Part.SPOT, kit.Part.LINEAR}),
    hosts={
        "live": {"rest": "https://api.bybit.com", "ws": _STREAM},
        "live-bytick": {"rest": "https://api.bytick.com", "ws": _STREAM},
        "testnet": {
            "rest": "https://api-testnet.bybit.com",
            "ws": "wss://stream-testnet.bybit.com",
        },
        # Demo has sockets of its own for private data only; its prices are the live ones.
        "demo": {
            "rest": "https://api-demo.bybit.com",
            "ws": _STREAM,
            "private.ws": "wss://stream-demo.bybit.com",
            "trade.ws": "",  # takes no orders on a socket
        },
        # Accounts registered with a regional site must use its hosts for orders.
        "eu": {"rest": "https://api.bybit.eu", "ws": "wss://stream.bybit.eu"},
        "nl": {"rest": "https://api.bybit.nl", "ws": _STREAM},
        "tr": {"rest": "https://api.bybit-tr.com", "ws": "wss://stream.bybit-tr.com"},
        "kz": {"rest": "https://api.bybit.kz", "ws": "wss://stream.bybit.kz"},
        "ge": {"rest": "https://api.bybitgeorgia.ge", "ws": "wss://stream.bybitgeorgia.ge"},
        "ae": {"rest": "https://api.bybit.ae", "ws": _STREAM},
        "id": {"rest": "https://api.bybit.id", "ws": "wss://stream.bybit.id"},
    },
    fees={
        kit.Part.SPOT: kit.Fees(
            taker=Decimal("0.001"), maker=Decimal("0.001"), fee_in=kit.FeeIn.RECEIVED
        ),
        kit.Part.LINEAR: kit.Fees(
            taker=Decimal("0.00055"), maker=Decimal("0.0002"), fee_in=kit.FeeIn.QUOTE
        ),
    },
    rest_limits={"rest": kit.RateLimit(600, 5_000)},  # per IP; beyond it: 403 for 10 minutes
    connects=kit.RateLimit(500, 300_000),
    frames=kit.RateLimit(20, 1000),  # none is documented; this is what we think polite
    # All topics' names on a socket must stay under 21,000 characters; the longest here have 40.
    topics_max=500,
    ping_every_ms=5_000,  # 20 s would do for the venue, but not for noticing a dead line
    silence_ms=12_000,  # two pings unanswered, and a little
    docs="https://bybit-exchange.github.io/docs/v5/ws/connect",
)


def feed_url(part: kit.Part, hosts: Mapping[str, str]) -> str:
    """The public socket of `part`; topics are asked for in frames."""
    return f"{SPEC.host(hosts, part, 'ws').rstrip('/')}/v5/public/{part.value}"


def private_url(hosts: Mapping[str, str]) -> str:
    """The socket that tells of orders, executions and the wallet."""
    return f"{hosts.get('private.ws', hosts['ws']).rstrip('/')}/v5/private"


def trade_url(hosts: Mapping[str, str]) -> str:
    """The socket that takes orders; empty where there is none, so that REST has to do."""
    base = hosts.get("trade.ws", hosts.get("private.ws", hosts["ws"])).rstrip("/")
    return f"{base}/v5/trade" if base else ""


def part_of(url: str) -> kit.Part | None:
    """Which part an address belongs to; None for another category, and for what has none."""
    at = urlsplit(url)
    category = parse_qs(at.query).get("category", [at.path.rpartition("/v5/public/")[2]])[0]
    return next((part for part in SPEC.parts if part.value == category.strip("/")), None)
