"""OKX's REST answers, market side: limits, parameters, errors."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import orjson

from hean_router.sim.contract import MS, SECOND, Options, Request, Response
from hean_router.sim.exchange import BookLevel, Exchange, Kind, Listing
from hean_router.sim.faces.okx.facts import NO_SUCH_LISTED, TYPES, instrument, trim
from hean_router.sim.faces.okx.feed import Feed
from hean_router.sim.faces.okx.private_access import ApiError, too_frequent
from hean_router.sim.pacing import RollingWindow

Params: TypeAlias = Mapping[str, str]
Answer: TypeAlias = Callable[[Params, int], list[Any]]

BOOK_LEVELS_MAX = 400
TRADES_MAX = 500


class Rest:
    """Public REST; paths that want a key are `private.Private`'s."""

    def __init__(self, exchange: Exchange, feed: Feed, options: Options) -> None:
        self.maintenance = False
        self._exchange = exchange
        self._feed = feed
        self._symbols = feed.symbols
        self._options = options
        self._used: dict[tuple[str, str], RollingWindow] = {}
        # path -> requests allowed, in how many seconds, answer
        self._routes: dict[str, tuple[int, int, Answer]] = {
            "/api/v5/public/time": (10, 2, self._time),
            "/api/v5/public/instruments": (20, 2, self._instruments),
            "/api/v5/public/price-limit": (20, 2, self._row("price-limit")),
            "/api/v5/public/mark-price": (10, 2, self._row("mark-price")),
            "/api/v5/public/funding-rate": (10, 2, self._row("funding-rate")),
            "/api/v5/market/books": (40, 2, self._books),
            "/api/v5/market/trades": (100, 2, self._trades),
            "/api/v5/market/ticker": (20, 2, self._row("tickers")),
            "/api/v5/market/tickers": (20, 2, self._tickers),
            "/api/v5/system/status": (1, 5, self._status),
        }

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer, and count it.  Keys in the order recorded: code, data, msg."""
        try:
            data = self._answer(request, now_ns)
        except ApiError as error:
            return error.response()
        return Response(200, orjson.dumps({"code": "0", "data": data, "msg": ""}))

    def _answer(self, request: Request, now_ns: int) -> list[Any]:
        if request.path not in self._routes:
            raise ApiError(404, "Not Found", 404)
        limit, span_s, answer = self._routes[request.path]
        if request.method != "GET":
            raise ApiError(50115, "Invalid request method.", 405)
        key = (request.peer, request.path)
        if key not in self._used:
            self._used[key] = RollingWindow(self._options.limit(limit), span_s * SECOND)
        if not self._used[key].take(now_ns):
            raise too_frequent()
        if self.maintenance and request.path != "/api/v5/system/status":
            raise ApiError(50001, "Service temporarily unavailable. Please try again later.", 503)
        # Recorded clients send parameters they leave empty: as if absent.
        params = {name: value for name, value in request.params.items() if value}
        return answer(params, now_ns)

    # Parameters

    def _listing(self, params: Params) -> Listing:
        if "instId" not in params:
            raise _empty("instId")
        listing = self._symbols.by_id.get(params["instId"])
        if listing is None:
            raise _no_instrument()
        return listing

    def _number(self, params: Params, name: str, default: int, most: int) -> int:
        value = params.get(name, str(default))
        if not (value.isascii() and value.isdigit() and 1 <= int(value) <= most):
            raise ApiError(51000, f"Parameter {name} error", 400)
        return int(value)

    def _of_type(self, params: Params) -> list[Listing]:
        inst_type = params.get("instType")
        if inst_type is None:
            raise _empty("instType")
        if inst_type in NO_SUCH_LISTED:
            return []
        if inst_type not in TYPES.values():
            raise ApiError(51000, "Parameter instType  error", 400)
        return self._symbols.of_type(inst_type)

    # Answers

    def _time(self, _params: Params, now_ns: int) -> list[Any]:
        return [{"ts": str(now_ns // MS)}]

    def _instruments(self, params: Params, _now_ns: int) -> list[Any]:
        listings = self._of_type(params)
        if "instId" in params:
            listings = [self._listing(params)] if self._listing(params) in listings else []
            if not listings:
                raise _no_instrument()
        exchange = self._exchange
        symbols = [each.symbol for each in listings if not exchange.gone(each.symbol)]
        return [instrument(exchange.told(name), exchange.status(name)) for name in symbols]

    def _books(self, params: Params, now_ns: int) -> list[Any]:
        listing = self._listing(params)
        depth = self._number(params, "sz", 1, BOOK_LEVELS_MAX)
        bids, asks = self._exchange.book(listing.symbol, depth)
        return [
            {
                "asks": [_level(listing, level) for level in asks],
                "bids": [_level(listing, level) for level in bids],
                "ts": str(now_ns // MS),
                "seqId": self._feed.seq(listing.symbol),
            }
        ]

    def _trades(self, params: Params, _now_ns: int) -> list[Any]:
        listing = self._listing(params)
        limit = self._number(params, "limit", 100, TRADES_MAX)
        return [
            {
                "instId": params["instId"],
                "side": trade.side.value,
                "sz": trim(listing.qty_text(trade.qty)),
                "px": trim(listing.px_text(trade.px)),
                "tradeId": str(trade.id),
                "ts": str(time_ns // MS),
            }
            for time_ns, trade in reversed(self._feed.tape.last(listing.symbol, limit))
        ]

    def _tickers(self, params: Params, now_ns: int) -> list[Any]:
        return [self._feed.summary("tickers", each, now_ns) for each in self._of_type(params)]

    def _row(self, channel: str) -> Answer:
        def answer(params: Params, now_ns: int) -> list[Any]:
            listing = self._listing(params)
            if channel == "funding-rate" and listing.kind is not Kind.LINEAR:
                raise _no_instrument()
            row = self._feed.summary(channel, listing, now_ns)
            return [row if "instType" in row else {"instType": TYPES[listing.kind], **row}]

        return answer

    def _status(self, _params: Params, _now_ns: int) -> list[Any]:
        return self._feed.status[-1:] if self.maintenance else []


def _level(listing: Listing, level: BookLevel) -> tuple[str, str, str, str]:
    px, qty = trim(listing.px_text(level.px)), trim(listing.qty_text(level.qty))
    return px, qty, "0", str(level.orders)


def _empty(name: str) -> ApiError:
    return ApiError(50014, f"Parameter {name} can not be empty.", 400)


def _no_instrument() -> ApiError:
    return ApiError(51001, "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")
