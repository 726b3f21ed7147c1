"""What Binance is: hosts, limits, fees; and which part an address belongs to."""

from collections.abc import Mapping
from decimal import Decimal
from urllib.parse import urlsplit

from hean_router import kit

VENUE = kit.VenueId("binance")

_DEMO_FUTURES = {  # the spot testnet has no futures; these have the same rules and play money
    "linear.rest": "https://demo-fapi.binance.com",
    "linear.ws": "wss://demo-fstream.binance.com",
}
_LIVE_FUTURES = {
    "linear.rest": "https://fapi.binance.com",
    "linear.ws": "wss://fstream.binance.com",
}

SPEC = kit.VenueSpec(
    id=VENUE,
    name="Binance",
    dead_man="Binance has none on spot",
    parts=frozenset({kit.Part.SPOT, kit.Part.LINEAR}),
    hosts={
        "live": {
            "rest": "https://api.binance.com",
            "ws": "wss://stream.binance.com:9443",
            "orders.ws": "wss://ws-api.binance.com:443/ws-api/v3",
            **_LIVE_FUTURES,
        },
        "live-gcp": {  # the same exchange by another road
            "rest": "https://api-gcp.binance.com",
            "ws": "wss://stream.binance.com:443",
            "orders.ws": "wss://ws-api.binance.com:9443/ws-api/v3",
            **_LIVE_FUTURES,
        },
        "live-data": {  # market data only; open where the others answer 451
            "rest": "https://data-api.binance.vision",
            "ws": "wss://data-stream.binance.vision",
            **_LIVE_FUTURES,
        },
        "testnet": {
            "rest": "https://testnet.binance.vision",
            "ws": "wss://stream.testnet.binance.vision",
            "orders.ws": "wss://ws-api.testnet.binance.vision/ws-api/v3",
            **_DEMO_FUTURES,
        },
        "demo": {
            "rest": "https://demo-api.binance.com",
            "ws": "wss://demo-stream.binance.com",
            "orders.ws": "wss://demo-ws-api.binance.com/ws-api/v3",
            **_DEMO_FUTURES,
        },
    },
    fees={
        kit.Part.SPOT: kit.Fees(
            taker=Decimal("0.001"), maker=Decimal("0.001"), fee_in=kit.FeeIn.RECEIVED
        ),
        kit.Part.LINEAR: kit.Fees(
            taker=Decimal("0.0005"), maker=Decimal("0.0002"), fee_in=kit.FeeIn.QUOTE
        ),
    },
    # Weights per IP and minute, as the venue's own exchangeInfo says (`REQUEST_WEIGHT`).
    rest_limits={
        "rest": kit.RateLimit(6000, 60_000),
        "linear.rest": kit.RateLimit(2400, 60_000),
    },
    connects=kit.RateLimit(300, 300_000),
    frames=kit.RateLimit(5, 1000),  # spot's; the futures take 10.  Breaking it disconnects.
    topics_max=1024,
    ping_every_ms=5_000,
    silence_ms=12_000,  # two pings unanswered, and a little
    session_max_ms=24 * 3600 * 1000,
    docs="https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams",
)


def feed_url(part: kit.Part, hosts: Mapping[str, str]) -> str:
    """A socket without streams; they are asked for in frames, and come bare, not wrapped.

    The futures' books live under `/public` since the split of 2026.  A base that has a path of its
    own is taken as it is, for the older layout or a proxy.
    """
    base = SPEC.host(hosts, part, "ws").rstrip("/")
    if part is kit.Part.LINEAR and not urlsplit(base).path:
        base += "/public"
    return f"{base}/ws"


def orders_url(hosts: Mapping[str, str]) -> str:
    """The WebSocket API: orders and private events.  It has a host of its own.

    Where none is given (a proxy, a simulator) it is under the market data's base.  An address with
    a path is taken as it is.
    """
    base = (hosts.get("orders.ws") or hosts["ws"]).rstrip("/")
    return base if urlsplit(base).path else f"{base}/ws-api/v3"


def part_of(url: str) -> kit.Part | None:
    """Which part an address belongs to; None for another product (coin-margined, options)."""
    at = urlsplit(url)
    host, path = at.hostname or "", at.path
    if path.startswith("/fapi/") or "fstream" in host or "binancefuture" in host:
        return kit.Part.LINEAR
    if path.startswith(("/api/", "/sapi/")):
        return kit.Part.SPOT
    if path.startswith(("/public/", "/market/")):
        return kit.Part.LINEAR
    if path.startswith(("/ws", "/stream")) and "dstream" not in host and "nbstream" not in host:
        return kit.Part.SPOT
    return None
