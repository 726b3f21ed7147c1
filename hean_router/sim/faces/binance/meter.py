"""What Binance counts of an address and of an account: weights, bans, unfilled orders."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from hean_router.sim.contract import MINUTE, SECOND, Options, Response
from hean_router.sim.faces.binance.facts import RAW_REQUESTS_MAX, RAW_REQUESTS_NS, Part
from hean_router.sim.pacing import FixedWindow

JSON = {"Content-Type": "application/json;charset=UTF-8"}
_BAN_AFTER = 20  # requests that go on after the first 429
_BAN_NS = 2 * MINUTE
_BAN_MAX_NS = 3 * 24 * 60 * MINUTE
_SPAN_NS = {"SECOND": SECOND, "MINUTE": MINUTE, "DAY": 24 * 60 * MINUTE}
_NO_LIMIT = 2**31 - 1  # printed where limits are off


class ApiError(Exception):
    """An answer of the form `{"code":-1121,"msg":"Invalid symbol."}`."""

    def __init__(
        self, code: int, msg: str, status: int = 400, data: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg
        self.status = status
        self.data = data

    @property
    def body(self) -> dict[str, Any]:
        """Code and text, and what the WS API adds."""
        body: dict[str, Any] = {"code": self.code, "msg": self.msg}
        return body if self.data is None else {**body, "data": self.data}

    def response(self, headers: Mapping[str, str]) -> Response:
        """The error as a REST answer, without what only the WS API adds."""
        body = orjson.dumps({"code": self.code, "msg": self.msg})
        return Response(self.status, body, {**JSON, **headers})


@dataclass
class Peer:
    """What one address has used."""

    weight: FixedWindow
    raw: FixedWindow
    ignored: int = 0  # requests since the first 429
    banned_until_ns: int = 0
    bans: int = 0
    refused_in: int = -1  # the minute of the last 429
    headers: dict[str, str] = field(default_factory=dict)


class Meter:
    """Weights by address: REST and the WS API draw on the same budget."""

    def __init__(self, part: Part, options: Options) -> None:
        self._part = part
        self._options = options
        self._peers: dict[str, Peer] = {}

    def peer(self, address: str) -> Peer:
        """What an address has used; new ones begin with nothing."""
        if address not in self._peers:
            limit = self._options.limit
            self._peers[address] = Peer(
                FixedWindow(limit(self._part.weight_per_min), MINUTE),
                FixedWindow(limit(RAW_REQUESTS_MAX), RAW_REQUESTS_NS),
            )
        return self._peers[address]

    def pay(self, address: str, weight: int, now_ns: int) -> None:
        """Pay for a request.  ApiError: 429, and 418 for who goes on regardless."""
        peer = self.peer(address)
        if now_ns < peer.banned_until_ns:
            raise self._banned(peer, now_ns)
        fits = peer.weight.take(now_ns, weight)
        fits = peer.raw.take(now_ns) and fits
        self._print(peer)
        if fits:
            return
        minute = now_ns // MINUTE
        peer.ignored = peer.ignored + 1 if peer.refused_in == minute else 1
        peer.refused_in = minute
        if peer.ignored > _BAN_AFTER:
            peer.ignored = 0
            peer.banned_until_ns = now_ns + min(_BAN_MAX_NS, _BAN_NS << peer.bans)
            peer.bans += 1
            raise self._banned(peer, now_ns)
        ends_ns = peer.weight.ends_at_ns(now_ns)
        peer.headers["Retry-After"] = str(-(-(ends_ns - now_ns) // SECOND))
        raise ApiError(
            -1003,
            f"Too many requests; current limit of IP({address}) is {peer.weight.limit} requests "
            "per minute. Please use the websocket for live updates to avoid polling the API.",
            429,
            again(now_ns, ends_ns),
        )

    def refund(self, address: str, weight: int) -> None:
        """Give back what a request cost that turned out to be free."""
        peer = self.peer(address)
        peer.weight.used = max(0, peer.weight.used - weight)
        self._print(peer)

    def rate_limit(self, address: str, now_ns: int) -> dict[str, Any]:
        """The entry in a WS answer's `rateLimits`."""
        window = self.peer(address).weight
        window.take(now_ns, 0)
        return {
            "rateLimitType": "REQUEST_WEIGHT",
            "interval": "MINUTE",
            "intervalNum": 1,
            "limit": _NO_LIMIT if window.limit is None else window.limit,
            "count": window.used,
        }

    @staticmethod
    def _print(peer: Peer) -> None:
        used = str(peer.weight.used)
        peer.headers = {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    @staticmethod
    def _banned(peer: Peer, now_ns: int) -> ApiError:
        until_ns = peer.banned_until_ns
        peer.headers["Retry-After"] = str(-(-(until_ns - now_ns) // SECOND))
        return ApiError(
            -1003,
            f"Way too much request weight used; IP banned until {until_ns // 1_000_000}. "
            "Please use WebSocket Streams for live updates to avoid bans.",
            418,
            again(now_ns, until_ns),
        )


def again(now_ns: int, until_ns: int) -> dict[str, int]:
    """What a refusal for a limit says of time, in ms."""
    return {"serverTime": now_ns // 1_000_000, "retryAfter": until_ns // 1_000_000}


class OrderCount:
    """Unfilled orders of one account, in the windows of `Part.order_limits`.

    The first fill of an order gives its slot back, if the window it was counted in still runs;
    cancel and expiry give nothing back.
    """

    def __init__(self, part: Part, options: Options) -> None:
        self._limits = part.order_limits
        self._windows = [
            FixedWindow(options.limit(limit), _SPAN_NS[interval] * count)
            for interval, count, limit in part.order_limits
        ]

    def check(self, now_ns: int) -> None:
        """ApiError -1015 if no more orders fit now."""
        for (interval, count, _), window in zip(self._limits, self._windows, strict=True):
            window.take(now_ns, 0)
            if window.limit is not None and window.used >= window.limit:
                span = f"{count} {interval}"
                raise ApiError(
                    -1015,
                    f"Too many new orders; current limit is {window.limit} orders per {span}.",
                    429,
                    again(now_ns, window.ends_at_ns(now_ns)),
                )

    def take(self, now_ns: int) -> None:
        """Count an order."""
        for window in self._windows:
            window.take(now_ns)

    def give_back(self, placed_ns: int, now_ns: int) -> None:
        """An order placed at `placed_ns` has its first fill."""
        for window in self._windows:
            if placed_ns // window.span_ns == now_ns // window.span_ns:
                window.used = max(0, window.used - 1)

    def rate_limits(self, now_ns: int) -> list[dict[str, Any]]:
        """The entries in a WS answer's `rateLimits`."""
        shown = []
        for (interval, count, _), window in zip(self._limits, self._windows, strict=True):
            window.take(now_ns, 0)
            shown.append(
                {
                    "rateLimitType": "ORDERS",
                    "interval": interval,
                    "intervalNum": count,
                    "limit": _NO_LIMIT if window.limit is None else window.limit,
                    "count": window.used,
                }
            )
        return shown

    def headers(self, now_ns: int) -> dict[str, str]:
        """`X-MBX-ORDER-COUNT-10S` and its like."""
        return {
            f"X-MBX-ORDER-COUNT-{entry['intervalNum']}{entry['interval'][0]}": str(entry["count"])
            for entry in self.rate_limits(now_ns)
        }
