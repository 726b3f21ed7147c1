"""Binance's REST answers, market side: weights, limits, bans, errors."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

import orjson

from hean_router.sim.contract import Options, Request, Response
from hean_router.sim.exchange import Exchange, Listing, Side, Status, decimals_of, text
from hean_router.sim.faces.binance.facts import RAW_REQUESTS_MAX, Part
from hean_router.sim.faces.binance.feed import Clock, Feed, micros, millis
from hean_router.sim.faces.binance.meter import JSON, ApiError, Meter

Params: TypeAlias = Mapping[str, str]
Answer: TypeAlias = Callable[[Params, int, Clock], Any]

_TRADES_MAX = 1_000
_STATUS = {
    Status.TRADING: "TRADING",
    Status.POST_ONLY: "TRADING",  # Binance has no such status
    Status.CANCEL_ONLY: "CANCEL_ONLY",
    Status.HALT: "BREAK",
}


class Rest:
    """REST of one part."""

    def __init__(self, exchange: Exchange, feed: Feed, options: Options) -> None:
        self._exchange = exchange
        self._feed = feed
        self._part: Part = feed.part
        self.symbols = feed.symbols
        self.meter = Meter(feed.part, options)
        prefix = self._part.prefix
        self._routes: dict[str, tuple[Callable[[Params], int], Answer]] = {
            f"{prefix}/ping": (_flat(1), lambda _params, _now_ns, _clock: {}),
            f"{prefix}/time": (_flat(1), self._time),
            f"{prefix}/exchangeInfo": (_flat(20 if self._part.spot else 1), self._exchange_info),
            f"{prefix}/depth": (self._depth_weight, self._depth),
            f"{prefix}/trades": (_flat(25 if self._part.spot else 5), self._trades),
            f"{prefix}/aggTrades": (_flat(4 if self._part.spot else 20), self._agg_trades),
            f"{prefix}/ticker/bookTicker": (self._ticker_weight, self._book_tickers),
            f"{prefix}/ticker/price": (self._ticker_weight, self._prices),
        }

    def serves(self, path: str) -> bool:
        """Whether this part has such a path."""
        return path.startswith(self._part.prefix + "/")

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer, and count what it cost."""
        peer = self.meter.peer(request.peer)
        params = request.params
        try:
            if request.path in self._routes and request.method != "GET":
                raise ApiError(-1000, f"Request method '{request.method}' is not supported.", 405)
            unit = request.headers.get("x-mbx-time-unit", params.get("timeUnit", "")).upper()
            clock = micros if unit == "MICROSECOND" else millis
            answer = self.answer(request.path, params, request.peer, now_ns, clock)
        except ApiError as error:
            return error.response(peer.headers)
        return Response(200, orjson.dumps(answer), {**JSON, **peer.headers})

    def answer(self, path: str, params: Params, address: str, now_ns: int, clock: Clock) -> Any:
        """What a path answers, before it is printed.  ApiError: what is wrong with the request."""
        route = self._routes.get(path)
        self.meter.pay(address, route[0](params) if route else 1, now_ns)
        if route is None:
            raise ApiError(-5000, f"Path {path}, Method GET is invalid", 404)
        return route[1](params, now_ns, clock)

    # Weights

    def _depth_weight(self, params: Params) -> int:
        limit = params.get("limit", "")
        levels = int(limit) if _is_number(limit) else 100
        weights = self._part.depth_weights
        return next((weight for most, weight in weights if levels <= most), weights[-1][1])

    def _ticker_weight(self, params: Params) -> int:
        return 2 if "symbol" in params else 4 if self._part.spot else 5

    # Parameters

    def _listing(self, params: Params) -> Listing:
        name = params.get("symbol", "")
        if not name:
            raise ApiError(
                -1102,
                "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.",
            )
        return self._named(name)

    def _named(self, name: str) -> Listing:
        listing = self.symbols.by_name.get(name)
        if listing is None:
            raise ApiError(-1121, "Invalid symbol.")
        return listing

    def _limit_of(self, params: Params, default: int, most: int) -> int:
        limit = params.get("limit", str(default))
        if not _is_number(limit):
            raise ApiError(
                -1100,
                "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
            )
        if int(limit) == 0:
            raise ApiError(-1105, "Parameter 'limit' was empty.")
        return min(int(limit), most)

    def _chosen(self, params: Params) -> list[Listing]:
        """`symbol`, or `symbols` as a JSON list, or all."""
        if "symbol" in params:
            return [self._listing(params)]
        if "symbols" in params and self._part.spot:
            try:
                names = orjson.loads(params["symbols"])
            except orjson.JSONDecodeError:
                names = None
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ApiError(
                    -1100,
                    "Illegal characters found in parameter 'symbols'; legal range is "
                    '\'^\\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\\]$\'.',
                )
            return [self._named(name) for name in names]
        return list(self.symbols.by_name.values())

    # Answers

    def _time(self, _params: Params, now_ns: int, clock: Clock) -> Any:
        return {"serverTime": clock(now_ns)}

    def _depth(self, params: Params, now_ns: int, clock: Clock) -> Any:
        listing = self._listing(params)
        weights = self._part.depth_weights
        limit = self._limit_of(params, 100 if self._part.spot else 500, weights[-1][0])
        if not self._part.spot and limit not in {most for most, _ in weights}:
            raise ApiError(-4021, f"Invalid depth limit. '{limit}' is not valid depth limit.")
        bids, asks = self._exchange.book(listing.symbol, limit)
        last_id = self._part.last_id(self._exchange.update_id(listing.symbol))
        self._feed.fetched(listing.symbol)
        times = {} if self._part.spot else {"E": clock(now_ns), "T": clock(now_ns)}
        return {
            "lastUpdateId": last_id,
            **times,
            "bids": self._feed.levels(listing, bids),
            "asks": self._feed.levels(listing, asks),
        }

    def _trades(self, params: Params, _now_ns: int, clock: Clock) -> Any:
        listing = self._listing(params)
        limit = self._limit_of(params, 500, _TRADES_MAX)
        spot, symbols = self._part.spot, self.symbols
        return [
            {
                "id": trade.id,
                "price": symbols.px(listing, trade.px),
                "qty": symbols.qty(listing, trade.qty),
                "quoteQty": _quote_text(listing, trade.px, trade.qty, spot=spot),
                "time": clock(time_ns),
                "isBuyerMaker": trade.side is Side.SELL,
                **({"isBestMatch": True} if spot else {}),
            }
            for time_ns, trade in _last(self._feed.trades[listing.symbol], limit)
        ]

    def _agg_trades(self, params: Params, _now_ns: int, clock: Clock) -> Any:
        listing = self._listing(params)
        limit = self._limit_of(params, 500, _TRADES_MAX)
        spot, symbols = self._part.spot, self.symbols
        return [
            {
                "a": agg.id,
                "p": symbols.px(listing, agg.px),
                "q": symbols.qty(listing, agg.qty),
                "f": agg.first,
                "l": agg.last,
                "T": clock(agg.time_ns),
                "m": agg.side is Side.SELL,
                **({"M": True} if spot else {}),
            }
            for agg in _last(self._feed.agg_trades[listing.symbol], limit)
        ]

    def _book_tickers(self, params: Params, now_ns: int, clock: Clock) -> Any:
        tickers = [self._book_ticker(listing, now_ns, clock) for listing in self._chosen(params)]
        return tickers[0] if "symbol" in params else tickers

    def _book_ticker(self, listing: Listing, now_ns: int, clock: Clock) -> dict[str, Any]:
        ticker: dict[str, Any] = {"symbol": self.symbols.names[listing.symbol]}
        for name, side in (("bid", Side.BUY), ("ask", Side.SELL)):
            best = self._exchange.best(listing.symbol, side)
            px, qty = (best.px, best.qty) if best else (0, 0)
            ticker[f"{name}Price"] = self.symbols.px(listing, px)
            ticker[f"{name}Qty"] = self.symbols.qty(listing, qty)
        return ticker if self._part.spot else {**ticker, "time": clock(now_ns)}

    def _prices(self, params: Params, now_ns: int, clock: Clock) -> Any:
        prices: list[dict[str, Any]] = []
        for listing in self._chosen(params):
            trade = self._exchange.last_trade(listing.symbol)
            price: dict[str, Any] = {
                "symbol": self.symbols.names[listing.symbol],
                "price": self.symbols.px(listing, trade.px if trade else 0),
            }
            prices.append(price if self._part.spot else {**price, "time": clock(now_ns)})
        return prices[0] if "symbol" in params else prices

    def _exchange_info(self, params: Params, now_ns: int, clock: Clock) -> Any:
        part = self._part
        limits: list[tuple[str, str, int, int]] = [
            ("REQUEST_WEIGHT", "MINUTE", 1, part.weight_per_min),
            *(("ORDERS", *limit) for limit in part.order_limits),
        ]
        if part.spot:
            limits.append(("RAW_REQUESTS", "MINUTE", 5, RAW_REQUESTS_MAX))
        head: dict[str, Any] = {"timezone": "UTC", "serverTime": clock(now_ns)}
        if not part.spot:
            head |= {"futuresType": "U_MARGINED"}
        head["rateLimits"] = [
            {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}
            for kind, interval, count, limit in limits
        ]
        head["exchangeFilters"] = []
        describe = self._spot_symbol if part.spot else self._linear_symbol
        if not part.spot:
            head["assets"] = [
                {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}
            ]
        listed = (each for each in self._chosen(params) if not self._exchange.gone(each.symbol))
        head["symbols"] = [describe(self._exchange.told(each.symbol)) for each in listed]
        return head

    def _spot_symbol(self, listing: Listing) -> dict[str, Any]:
        px, qty = self.symbols.px, self.symbols.qty
        max_ticks = int(1_000_000 / listing.tick)
        lot_size = {
            "minQty": qty(listing, listing.min_lots),
            "maxQty": qty(listing, listing.max_lots),
            "stepSize": qty(listing, 1),
        }
        price = {"minPrice": px(listing, 1), "maxPrice": px(listing, max_ticks)}
        band = {"MultiplierUp": "5", "MultiplierDown": "0.2"}
        return {
            "symbol": self.symbols.names[listing.symbol],
            "status": _STATUS[self._exchange.status(listing.symbol)],
            "baseAsset": listing.base,
            "baseAssetPrecision": 8,
            "quoteAsset": listing.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
            "icebergAllowed": False,
            "ocoAllowed": False,
            "otoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": False,
            "amendAllowed": True,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": [
                {"filterType": "PRICE_FILTER", **price, "tickSize": px(listing, 1)},
                {"filterType": "LOT_SIZE", **lot_size},
                {
                    "filterType": "MARKET_LOT_SIZE",
                    "minQty": "0.00000000",
                    "maxQty": lot_size["maxQty"],
                    "stepSize": "0.00000000",
                },
                {
                    "filterType": "PERCENT_PRICE_BY_SIDE",
                    **{f"{side}{name}": x for side in ("bid", "ask") for name, x in band.items()},
                    "avgPriceMins": 5,
                },
                {
                    "filterType": "NOTIONAL",
                    "minNotional": f"{listing.min_notional:.8f}",
                    "applyMinToMarket": True,
                    "maxNotional": "9000000.00000000",
                    "applyMaxToMarket": False,
                    "avgPriceMins": 5,
                },
                {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
            ],
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER", "EXPIRE_BOTH"],
        }

    def _linear_symbol(self, listing: Listing) -> dict[str, Any]:
        px_decimals = self.symbols.px_decimals(listing)
        max_lots = listing.qty_text(listing.max_lots)
        trading = self._exchange.status(listing.symbol) is not Status.HALT
        lot_size = {
            "minQty": listing.qty_text(listing.min_lots),
            "maxQty": max_lots,
            "stepSize": listing.qty_text(1),
        }
        return {
            "symbol": self.symbols.names[listing.symbol],
            "pair": self.symbols.names[listing.symbol],
            "contractType": "PERPETUAL",
            "deliveryDate": 4133404800000,
            "onboardDate": 1569398400000,
            "status": "TRADING" if trading else "PENDING_TRADING",
            "maintMarginPercent": "2.5000",
            "requiredMarginPercent": "5.0000",
            "baseAsset": listing.base,
            "quoteAsset": listing.quote,
            "marginAsset": listing.quote,
            "pricePrecision": px_decimals,
            "quantityPrecision": listing.qty_decimals,
            "baseAssetPrecision": 8,
            "quotePrecision": 8,
            "underlyingType": "COIN",
            "underlyingSubType": [],
            "triggerProtect": "0.0500",
            "liquidationFee": "0.012500",
            "marketTakeBound": "0.05",
            "maxMoveOrderLimit": 10000,
            "filters": [
                {
                    "filterType": "PRICE_FILTER",
                    "minPrice": self.symbols.px(listing, 1),
                    "maxPrice": self.symbols.px(listing, int(10_000_000 / listing.tick)),
                    "tickSize": self.symbols.px(listing, 1),
                },
                {"filterType": "LOT_SIZE", **lot_size},
                {"filterType": "MARKET_LOT_SIZE", **lot_size},
                {"filterType": "MAX_NUM_ORDERS", "limit": 200},
                {"filterType": "MIN_NOTIONAL", "notional": f"{listing.min_notional.normalize():f}"},
                {
                    "filterType": "PERCENT_PRICE",
                    "multiplierUp": "1.0500",
                    "multiplierDown": "0.9500",
                    "multiplierDecimal": "4",
                },
            ],
            "orderTypes": ["LIMIT", "MARKET"],
            "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        }


def _flat(weight: int) -> Callable[[Params], int]:
    return lambda _params: weight


def _is_number(limit: str) -> bool:
    return limit.isascii() and limit.isdigit()


def _last(items: Sequence[Any] | Any, limit: int) -> list[Any]:
    return list(items)[-limit:]


def _quote_text(listing: Listing, px: int, qty: int, *, spot: bool) -> str:
    """Quote value: 8 decimals on spot, on USD-M as many as the price needs."""
    value: Decimal = listing.notional(px, qty)
    scale = decimals_of(listing.tick) + decimals_of(listing.lot)
    if spot:
        return f"{value:.8f}"
    return text(int(value.scaleb(scale)), scale, scale)
