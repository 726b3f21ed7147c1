"""Bybit's REST answers, market side: paging, limits, errors.

Every answer is `{"retCode","retMsg","result","retExtInfo","time"}`, also a refusal, with HTTP 200.
Texts of refusals that no source gives are ours; the codes are the documented ones.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import quote, unquote

import orjson

from hean_router.sim.contract import MS, SECOND, Options, Request, Response
from hean_router.sim.exchange import Exchange, Listing, Status
from hean_router.sim.faces.bybit.books import levels_text
from hean_router.sim.faces.bybit.facts import (
    BAN_NS,
    REQUESTS_MAX,
    REQUESTS_NS,
    Instrument,
    plain,
)
from hean_router.sim.faces.bybit.feed import Feed, side_text
from hean_router.sim.pacing import RollingWindow

Params: TypeAlias = Mapping[str, str]

_PARAMETER = 10001
_DOWN = 10016
_PAGE_MAX, _PAGE = 1_000, 500
_FOREIGN = ("inverse", "option")  # known to the venue, none listed here
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_LISTED = "1584230400000"  # `launchTime`; when ours were listed is nobody's concern
_STATUS = {
    Status.TRADING: "Trading",
    Status.POST_ONLY: "PreLaunch",  # quoting, no matching
    Status.CANCEL_ONLY: "Delivering",
    Status.HALT: "Closed",
}


class ApiError(Exception):
    """A refusal: `{"retCode":10001,...}` with HTTP 200."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(code, msg)
        self.code = code
        self.msg = msg


@dataclass
class _Peer:
    """What one address has used."""

    requests: RollingWindow
    banned_until_ns: int = 0


class Rest:
    """REST of all categories."""

    def __init__(self, exchange: Exchange, feeds: Mapping[str, Feed], options: Options) -> None:
        """`feeds` by category name."""
        self.down = False  # maintenance: only the clock and the status still answer
        self.notices: list[dict[str, Any]] = []  # of system status, newest first
        self._exchange = exchange
        self._feeds = feeds
        self._options = options
        self._peers: dict[str, _Peer] = {}
        self._always: dict[str, Callable[[Params, int], Any]] = {
            "/v5/market/time": self._time,
            "/v5/system/status": self._system_status,
        }
        self._routes: dict[str, Callable[[Params, int], Any]] = {
            "/v5/market/instruments-info": self._instruments,
            "/v5/market/orderbook": self._orderbook,
            "/v5/market/recent-trade": self._recent_trades,
            "/v5/market/tickers": self._tickers,
            "/v5/market/price-limit": self._price_limit,
        }

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer, or say why not; whoever calls has counted it (`banned`)."""
        answer = self._always.get(request.path) or self._routes.get(request.path)
        if answer is None:
            return Response(404, b"", {})
        if request.method != "GET":
            return Response(400, b"", {})
        if request.body:  # documented: even an empty JSON object
            return Response(403, b"", {})
        try:
            if self.down and request.path in self._routes:
                raise ApiError(_DOWN, "System error. Please try again later.")
            return _response(0, "OK", answer(request.params, now_ns), now_ns)
        except ApiError as error:
            return _response(error.code, error.msg, {}, now_ns)

    def banned(self, address: str, now_ns: int) -> bool:
        """Count a request.  Too many in five seconds: nothing more for ten minutes."""
        peer = self._peers.get(address)
        if peer is None:
            limit = self._options.limit(REQUESTS_MAX)
            peer = self._peers[address] = _Peer(RollingWindow(limit, REQUESTS_NS))
        if now_ns >= peer.banned_until_ns and not peer.requests.take(now_ns):
            peer.banned_until_ns = now_ns + BAN_NS
        return now_ns < peer.banned_until_ns

    # Parameters

    def _feed(self, params: Params) -> Feed | None:
        """The category's streams; None for a category where nothing is listed."""
        category = params.get("category", "")
        feed = self._feeds.get(category)
        if feed is None and category not in _FOREIGN:
            raise ApiError(_PARAMETER, "Illegal category")
        return feed

    def _chosen(self, params: Params, *, needed: bool = True) -> tuple[Feed, list[Instrument]]:
        """The category, and the instrument named; all of them if none must be."""
        feed = self._feed(params)
        if feed is None:
            raise ApiError(_PARAMETER, "Not supported symbols")
        symbol = params.get("symbol", "")
        if not symbol:
            if needed:
                raise ApiError(_PARAMETER, "params error: symbol invalid")
            return feed, list(feed.instruments.by_name.values())
        instrument = feed.instruments.by_name.get(symbol)
        if instrument is None:
            raise ApiError(_PARAMETER, "Not supported symbols")
        return feed, [instrument]

    @staticmethod
    def _limit(params: Params, default: int, most: int) -> int:
        text = params.get("limit", "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= most:
            raise ApiError(_PARAMETER, "params error: limit invalid")
        return int(text)

    # Answers

    @staticmethod
    def _time(_params: Params, now_ns: int) -> Any:
        return {"timeSecond": str(now_ns // SECOND), "timeNano": str(now_ns)}

    def _system_status(self, params: Params, _now_ns: int) -> Any:
        wanted = {name: params[name] for name in ("id", "state") if params.get(name)}
        return {
            "list": [
                notice
                for notice in self.notices
                if all(notice[name] == value for name, value in wanted.items())
            ]
        }

    def _orderbook(self, params: Params, now_ns: int) -> Any:
        """The book as the 1000-level stream last told it, under that stream's `u`."""
        feed, (instrument,) = self._chosen(params)
        limit = self._limit(params, feed.category.book_limit, 1_000)
        symbol = instrument.symbol
        picture = feed.full_book(symbol).picture(now_ns, feed.moved(symbol, now_ns))
        bids, asks, stamp = picture
        return {
            "s": instrument.name,
            "b": orjson.Fragment(levels_text(instrument, bids[:limit])),
            "a": orjson.Fragment(levels_text(instrument, asks[:limit])),
            "ts": stamp.time_ns // MS,
            "u": stamp.u,
            "seq": stamp.seq,
            "cts": stamp.moved_ns // MS,
        }

    def _recent_trades(self, params: Params, _now_ns: int) -> Any:
        feed, (instrument,) = self._chosen(params)
        limit = self._limit(params, *feed.category.recent_limit)
        prints = list(feed.trades[instrument.symbol])[-limit:]
        return {
            "category": feed.category.name,
            "list": [
                {
                    "execId": p.id,
                    "symbol": instrument.name,
                    "price": instrument.px(p.trade.px),
                    "size": instrument.qty(p.trade.qty),
                    "side": side_text(p.trade.side),
                    "time": str(p.time_ns // MS),
                    "isBlockTrade": False,
                    "isRPITrade": False,
                    "seq": str(p.seq),
                }
                for p in reversed(prints)
            ],
        }

    def _tickers(self, params: Params, now_ns: int) -> Any:
        if self._feed(params) is None:
            return {"category": params["category"], "list": []}
        feed, chosen = self._chosen(params, needed=False)
        rows = [feed.tickers[instrument.symbol].row(now_ns) for instrument in chosen]
        return {"category": feed.category.name, "list": rows}

    def _price_limit(self, params: Params, now_ns: int) -> Any:
        feed, (instrument,) = self._chosen({"category": "linear", **params})
        highest, lowest = feed.tickers[instrument.symbol].limits()
        ts = str(now_ns // MS)
        return {"symbol": instrument.name, "buyLmt": highest, "sellLmt": lowest, "ts": ts}

    def _instruments(self, params: Params, _now_ns: int) -> Any:
        """Linear is paged, by name; spot is whole, and has no cursor (recorded)."""
        if self._feed(params) is None:
            return {"category": params["category"], "list": [], "nextPageCursor": ""}
        feed, chosen = self._chosen(params, needed=False)
        base, status = params.get("baseCoin", ""), params.get("status", "")
        rows = [
            row
            for instrument in chosen
            if not self._exchange.gone(instrument.symbol)
            and (row := self._instrument(instrument))
            and base in ("", row["baseCoin"])
            and status in ("", row["status"])
        ]
        if feed.category.spot:
            return {"category": feed.category.name, "list": rows}
        limit = self._limit(params, _PAGE, _PAGE_MAX)
        after = _cursor_symbol(params.get("cursor", ""))
        rows = sorted(
            (row for row in rows if row["symbol"] > after), key=lambda row: str(row["symbol"])
        )
        page = rows[:limit]
        cursor = quote(f"after={page[-1]['symbol']}", safe="") if len(rows) > limit else ""
        return {"category": feed.category.name, "list": page, "nextPageCursor": cursor}

    def _instrument(self, instrument: Instrument) -> dict[str, Any]:
        status = _STATUS[self._exchange.status(instrument.symbol)]
        if not instrument.spot:
            return _linear_row(instrument, status)
        return _spot_row(instrument, self._exchange.told(instrument.symbol), status)


def _response(code: int, msg: str, result: Any, now_ns: int) -> Response:
    body = {
        "retCode": code,
        "retMsg": msg,
        "result": result,
        "retExtInfo": {},
        "time": now_ns // MS,
    }
    return Response(200, orjson.dumps(body), _JSON)


def _cursor_symbol(cursor: str) -> str:
    """Where a page begins.  The cursor is itself escaped once more, as the venue's is.

    ApiError: not one of ours.
    """
    if not cursor:
        return ""
    name, _, symbol = unquote(cursor).partition("=")
    if name != "after" or not symbol:
        raise ApiError(_PARAMETER, "params error: cursor invalid")
    return symbol


def _spot_row(instrument: Instrument, listing: Listing, status: str) -> dict[str, Any]:
    most = plain(listing.max_qty)
    return {
        "symbolId": instrument.number,
        "symbol": instrument.name,
        "baseCoin": listing.base,
        "quoteCoin": listing.quote,
        "innovation": "0",
        "status": status,
        "marginTrading": "utaOnly",
        "stTag": "0",
        "lotSizeFilter": {
            "basePrecision": plain(listing.lot),
            "quotePrecision": plain(listing.tick * listing.lot),
            "minOrderQty": plain(listing.min_qty),
            "maxOrderQty": most,
            "minOrderAmt": plain(listing.min_notional),
            "maxOrderAmt": plain(listing.min_notional * 1_000_000),
            "maxLimitOrderQty": most,
            "maxMarketOrderQty": plain(_share(instrument, 2)),
            "postOnlyMaxLimitOrderSize": plain(listing.max_qty * 5),
        },
        "priceFilter": {"tickSize": plain(listing.tick)},
        "riskParameters": _band(instrument),
        "symbolType": "",
        "xstockMultiplier": "1",
    }


def _linear_row(instrument: Instrument, status: str) -> dict[str, Any]:
    listing = instrument.listing
    most = instrument.qty(listing.max_lots)
    return {
        "symbol": instrument.name,
        "contractType": "LinearPerpetual",
        "status": status,
        "baseCoin": listing.base,
        "quoteCoin": listing.quote,
        "launchTime": _LISTED,
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": str(instrument.px_places),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {
            "minPrice": instrument.px(1),
            "maxPrice": instrument.px(19_999_998),
            "tickSize": instrument.px(1),
        },
        "lotSizeFilter": {
            "maxOrderQty": most,
            "minOrderQty": instrument.qty(listing.min_lots),
            "qtyStep": instrument.qty(1),
            "postOnlyMaxOrderQty": most,
            "maxMktOrderQty": instrument.qty(int(_share(instrument, 5) / listing.lot)),
            "minNotionalValue": plain(listing.min_notional),
        },
        "unifiedMarginTrade": True,
        "fundingInterval": 480,
        "settleCoin": listing.quote,
        "copyTrading": "both",
        "upperFundingRate": "0.005",
        "lowerFundingRate": "-0.005",
        "isPreListing": False,
        "preListingInfo": None,
        "riskParameters": _band(instrument),
        "displayName": "",
        "symbolType": "",
        "forbidUplWithdrawal": False,
        "symbolId": instrument.number,
    }


def _band(instrument: Instrument) -> dict[str, str]:
    return {
        "priceLimitRatioX": plain(instrument.band),
        "priceLimitRatioY": plain(instrument.band * 2),
    }


def _share(instrument: Instrument, parts: int) -> Decimal:
    """A part of the largest order, in whole lots and at least one: what a market order may be."""
    listing = instrument.listing
    return max(1, listing.max_lots // parts) * listing.lot
