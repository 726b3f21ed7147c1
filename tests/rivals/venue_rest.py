"""Two venues' REST faces, as small as a bot's own client of them: place, ask, cancel."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp

from hean_router.sim.virtual import virtual_connector

MS = 1_000_000


class Unsure(Exception):
    """No answer, or one that is none: what ccxt calls a NetworkError."""


class Refused(Exception):
    """The venue says no: what ccxt calls an ExchangeError."""


@dataclass(frozen=True)
class Found:
    """An order as the venue tells it."""

    filled: Decimal
    open: bool


class Venue(Protocol):
    """What a bot wants of a venue.  Each raises `Unsure` and `Refused`."""

    async def place(
        self, client_id: str, side: str, qty: Decimal, px: Decimal, *, ioc: bool
    ) -> None: ...
    async def order(self, client_id: str) -> Found | None: ...
    async def cancel(self, client_id: str) -> None: ...
    async def close(self) -> None: ...


class _Rest:
    def __init__(
        self, host: str, key: Any, symbol: str, clock: Callable[[], int], timeout_s: float
    ) -> None:
        self.host, self.key, self.symbol, self.clock = host, key, symbol, clock
        self.timeout = aiohttp.ClientTimeout(total=timeout_s)
        self.http = aiohttp.ClientSession(connector=virtual_connector())

    def sign(self, text: str) -> str:
        """HMAC-SHA256, hex."""
        return hmac.new(self.key.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    async def ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        """Status and JSON of one request."""
        try:
            async with self.http.request(
                method, self.host + path, timeout=self.timeout, **more
            ) as answer:
                return answer.status, json.loads(await answer.read())
        except (TimeoutError, aiohttp.ClientError, ValueError, OSError) as fault:
            raise Unsure(repr(fault)) from None

    async def close(self) -> None:
        await self.http.close()


class Binance(_Rest):
    """Spot; https://developers.binance.com/docs/binance-spot-api-docs/rest-api."""

    async def _signed(self, method: str, path: str, **params: Any) -> Any:
        stamped = {"symbol": self.symbol, **params, "recvWindow": 5_000}
        query = urlencode({**stamped, "timestamp": self.clock() // MS})
        url = f"{path}?{query}&signature={self.sign(query)}"
        status, told = await self.ask(method, url, headers={"X-MBX-APIKEY": self.key.key})
        if status >= 500 or told.get("code") in (-1006, -1007):
            raise Unsure(str(told))
        if status >= 400:
            raise Refused(str(told["code"]))
        return told

    async def place(
        self, client_id: str, side: str, qty: Decimal, px: Decimal, *, ioc: bool
    ) -> None:
        words = {"side": side.upper(), "type": "LIMIT", "timeInForce": "IOC" if ioc else "GTC"}
        size = {"quantity": f"{qty:f}", "price": f"{px:f}", "newClientOrderId": client_id}
        await self._signed("POST", "/api/v3/order", **words, **size)

    async def order(self, client_id: str) -> Found | None:
        try:
            told = await self._signed("GET", "/api/v3/order", origClientOrderId=client_id)
        except Refused as no:
            if str(no) == "-2013":
                return None
            raise
        return Found(Decimal(told["executedQty"]), told["status"] in ("NEW", "PARTIALLY_FILLED"))

    async def cancel(self, client_id: str) -> None:
        await self._signed("DELETE", "/api/v3/order", origClientOrderId=client_id)


class Bybit(_Rest):
    """V5, spot; https://bybit-exchange.github.io/docs/v5/order/create-order."""

    # What ccxt takes for an exchange that is not available.
    UNSURE = frozenset({10000, 10016, 10019, 170007, 170146, 170147, 170149, 170150})

    async def _signed(self, method: str, path: str, **words: Any) -> Any:
        words = {"category": "spot", **words}
        body = json.dumps(words) if method == "POST" else ""
        query = "" if body else urlencode(words)
        stamp = str(self.clock() // MS)
        headers = {
            "X-BAPI-API-KEY": self.key.key,
            "X-BAPI-TIMESTAMP": stamp,
            "X-BAPI-RECV-WINDOW": "5000",
            "X-BAPI-SIGN": self.sign(f"{stamp}{self.key.key}5000{body or query}"),
        }
        if body:
            headers["Content-Type"] = "application/json"
        status, told = await self.ask(
            method, f"{path}?{query}" if query else path, headers=headers, data=body or None
        )
        if status >= 500 or told["retCode"] in self.UNSURE:
            raise Unsure(str(told))
        if status >= 400 or told["retCode"]:
            raise Refused(str(told["retCode"]))
        return told["result"]

    async def place(
        self, client_id: str, side: str, qty: Decimal, px: Decimal, *, ioc: bool
    ) -> None:
        words = {"side": side.capitalize(), "orderType": "Limit", "symbol": self.symbol}
        size = {"qty": f"{qty:f}", "price": f"{px:f}", "orderLinkId": client_id}
        life = {"timeInForce": "IOC" if ioc else "GTC"}
        await self._signed("POST", "/v5/order/create", **words, **size, **life)

    async def order(self, client_id: str) -> Found | None:
        words = {"symbol": self.symbol, "orderLinkId": client_id}
        for path in ("/v5/order/realtime", "/v5/order/history"):
            if rows := (await self._signed("GET", path, **words))["list"]:
                filled, status = rows[0]["cumExecQty"], rows[0]["orderStatus"]
                return Found(Decimal(filled), status in ("New", "PartiallyFilled"))
        return None

    async def cancel(self, client_id: str) -> None:
        words = {"symbol": self.symbol, "orderLinkId": client_id}
        await self._signed("POST", "/v5/order/cancel", **words)


VENUES: dict[str, type[_Rest]] = {"binance": Binance, "bybit": Bybit}
