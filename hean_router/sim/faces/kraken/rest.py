"""Kraken's REST answers, market side: always HTTP 200, errors in the envelope."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

import orjson

from hean_router.sim.contract import SECOND, Options, Request, Response
from hean_router.sim.exchange import BookLevel, Exchange, Listing, Side, Trade
from hean_router.sim.faces.kraken.facts import (
    REST_CALLS,
    REST_NS,
    asset_row,
    pair_altname,
    pair_key,
    pair_row,
    rest_id,
)
from hean_router.sim.pacing import RollingWindow
from hean_router.sim.tape import Span, Tape

Params: TypeAlias = Mapping[str, str]
Answer: TypeAlias = Callable[[Params, int], Any]

_PREFIX = "/0/public/"
_DEPTH_MAX = 500
_TRADES_MAX = 1_000


class ApiError(Exception):
    """An answer of the form `{"error":["EClass:Text"]}`."""


class Rest:
    """Public REST; paths that want a key are `private_rest.PrivateRest`'s."""

    def __init__(self, exchange: Exchange, tape: Tape, options: Options) -> None:
        self.system = "online"
        self._exchange = exchange
        self._tape = tape
        self._options = options
        self._used: dict[str, RollingWindow] = {}
        self._pairs: dict[str, Listing] = {}
        for listing in exchange.listings.values():
            for name in (pair_key(listing), pair_altname(listing)):
                self._pairs[name] = listing
        self._routes: dict[str, Answer] = {
            "Time": self._time,
            "SystemStatus": self._system,
            "Assets": self._assets,
            "AssetPairs": self._asset_pairs,
            "Depth": self._depth,
            "Trades": self._trades,
            "Ticker": self._ticker,
        }

    def request(self, request: Request, now_ns: int) -> Response:
        """Answer, and count it."""
        try:
            answer = {"error": [], "result": self._answer(request, now_ns)}
        except ApiError as error:
            answer = {"error": [str(error)]}
        return Response(200, orjson.dumps(answer))

    def _answer(self, request: Request, now_ns: int) -> Any:
        if request.peer not in self._used:
            self._used[request.peer] = RollingWindow(self._options.limit(REST_CALLS), REST_NS)
        if not self._used[request.peer].take(now_ns):
            raise ApiError("EGeneral:Too many requests")
        name = request.path.removeprefix(_PREFIX)
        if not request.path.startswith(_PREFIX) or name not in self._routes:
            raise ApiError("EGeneral:Unknown method")
        if self.system == "maintenance" and name not in ("Time", "SystemStatus"):
            raise ApiError("EService:Unavailable")
        params = request.params
        if request.method == "POST":
            params |= dict(parse_qsl(request.body.decode(errors="replace")))
        return self._routes[name](params, now_ns)

    # Parameters

    def _listing(self, params: Params) -> Listing:
        if not params.get("pair"):
            raise ApiError("EGeneral:Invalid arguments")
        return self._named(params["pair"])

    def _named(self, name: str) -> Listing:
        if name not in self._pairs:
            raise ApiError("EQuery:Unknown asset pair")
        return self._pairs[name]

    def _chosen(self, params: Params) -> list[Listing]:
        """`pair` as a list with commas; all if there is none."""
        if params.get("pair"):
            return [self._named(name) for name in params["pair"].split(",")]
        return list(self._exchange.listings.values())

    def _count(self, params: Params, default: int, most: int) -> int:
        count = params.get("count", str(default))
        if not (count.isascii() and count.isdigit() and 1 <= int(count) <= most):
            raise ApiError("EGeneral:Invalid arguments:count")
        return int(count)

    # Answers

    def _time(self, _params: Params, now_ns: int) -> Any:
        now = datetime.fromtimestamp(now_ns // SECOND, UTC)
        return {"unixtime": now_ns // SECOND, "rfc1123": f"{now:%a, %d %b %y %H:%M:%S} +0000"}

    def _system(self, _params: Params, now_ns: int) -> Any:
        now = datetime.fromtimestamp(now_ns // SECOND, UTC)
        return {"status": self.system, "timestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}"}

    def _assets(self, params: Params, _now_ns: int) -> Any:
        rows = {
            rest_id(asset): asset_row(asset)
            for listing in self._exchange.listings.values()
            for asset in (listing.base, listing.quote)
        }
        if not params.get("asset"):
            return rows
        names = {row["altname"]: id_ for id_, row in rows.items()} | {id_: id_ for id_ in rows}
        wanted = params["asset"].split(",")
        if not all(name in names for name in wanted):
            raise ApiError("EQuery:Unknown asset")
        return {names[name]: rows[names[name]] for name in wanted}

    def _asset_pairs(self, params: Params, _now_ns: int) -> Any:
        return {
            pair_key(each): pair_row(
                self._exchange.told(each.symbol), self._exchange.status(each.symbol)
            )
            for each in self._chosen(params)
            if not self._exchange.gone(each.symbol)
        }

    def _depth(self, params: Params, now_ns: int) -> Any:
        listing = self._listing(params)
        bids, asks = self._exchange.book(listing.symbol, self._count(params, 100, _DEPTH_MAX))
        second = now_ns // SECOND
        sides = {"asks": asks, "bids": bids}
        return {
            pair_key(listing): {
                name: [_level(listing, level, second) for level in levels]
                for name, levels in sides.items()
            }
        }

    def _trades(self, params: Params, _now_ns: int) -> Any:
        listing = self._listing(params)
        count = self._count(params, _TRADES_MAX, _TRADES_MAX)
        since = params.get("since", "0")
        if not (since.isascii() and since.isdigit()):
            raise ApiError("EGeneral:Invalid arguments:since")
        # In seconds or ns, whichever it looks like; documented as "timestamp or id".
        since_ns = int(since) * (SECOND if int(since) < 10**12 else 1)
        trades = self._tape.last(listing.symbol, _TRADES_MAX)
        if since_ns:
            trades = [trade for trade in trades if trade[0] > since_ns][:count]
        last_ns = trades[-1][0] if trades else since_ns
        rows = [_trade(listing, time_ns, trade) for time_ns, trade in trades[-count:]]
        return {pair_key(listing): rows, "last": str(last_ns)}

    def _ticker(self, params: Params, now_ns: int) -> Any:
        return {
            pair_key(listing): self._ticker_row(listing, now_ns) for listing in self._chosen(params)
        }

    def _ticker_row(self, listing: Listing, now_ns: int) -> Any:
        symbol = listing.symbol
        hours = now_ns // (3_600 * SECOND) % 24 + 1
        spans = [self._tape.span(symbol, now_ns, since) for since in (hours, 24)]
        last = self._exchange.last_trade(symbol)

        def texts(of: Callable[[Span], str]) -> list[str]:
            return [of(span) if span else "0" for span in spans]

        def vwap(span: Span) -> str:
            return f"{listing.px(span.value) / span.qty:.{_px_decimals(listing)}f}"

        return {
            "a": self._best(listing, Side.SELL),
            "b": self._best(listing, Side.BUY),
            "c": [_px(listing, last.px), listing.qty_text(last.qty)] if last else ["0", "0"],
            "v": texts(lambda span: listing.qty_text(span.qty)),
            "p": texts(vwap),
            "t": [span.count if span else 0 for span in spans],
            "l": texts(lambda span: _px(listing, span.low)),
            "h": texts(lambda span: _px(listing, span.high)),
            "o": _px(listing, spans[0].open) if spans[0] else "0",
        }

    def _best(self, listing: Listing, side: Side) -> list[str]:
        best = self._exchange.best(listing.symbol, side) or BookLevel(0, 0, 0)
        qty = listing.qty(best.qty)
        return [_px(listing, best.px), f"{int(qty)}", f"{qty:.3f}"]


def _px_decimals(listing: Listing) -> int:
    """Recorded: REST prints five decimals where the pair has fewer."""
    return max(5, listing.px_decimals)


def _px(listing: Listing, ticks: int) -> str:
    return listing.px_text(ticks, _px_decimals(listing))


def _level(listing: Listing, level: BookLevel, second: int) -> tuple[str, str, int]:
    """A level of `Depth`: recorded, quantities are rounded to three decimals."""
    return _px(listing, level.px), f"{listing.qty(level.qty):.3f}", second


def _trade(listing: Listing, time_ns: int, trade: Trade) -> Iterable[Any]:
    return (
        _px(listing, trade.px),
        listing.qty_text(trade.qty),
        orjson.Fragment(f"{time_ns // SECOND}.{time_ns % SECOND // 100:07d}"),
        "b" if trade.side is Side.BUY else "s",
        "m" if trade.taker.px is None else "l",
        "",
        trade.id,
    )
