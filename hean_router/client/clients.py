"""The client, waiting (`Client`) and not (`AsyncClient`): the same calls."""

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from hean_router.client import calls
from hean_router.client.calls import Call, NotRunning, Number
from hean_router.client.found import find
from hean_router.client.model import Order, order_of

TIMEOUT_S = 10.0
_NOBODY = "see that it runs: hean run, or hean demo"


class _Base:
    """Where the router is, and as whom we speak."""

    def __init__(
        self,
        api: str | None = None,
        key: str | None = None,
        *,
        state: Path | None = None,
        verify: bool | str = True,
    ) -> None:
        if api is None:
            running = find(state)
            api, key = running.api, key or running.key
        self.api = api.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._verify = verify

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.api!r})"

    def _ask(self, call: Call, timeout_s: float) -> dict[str, Any]:
        headers = dict(self._headers)
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return {
            "method": call.method,
            "url": self.api + call.path,
            "params": dict(call.query),
            "content": call.content,
            "headers": headers,
            "timeout": timeout_s,
        }

    def _failed(self, fault: httpx.HTTPError) -> NotRunning:
        return NotRunning(f"{self.api}: {type(fault).__name__}: {fault}", _NOBODY)


def _fresh_id() -> str:
    return "c" + secrets.token_hex(10)


class Client(_Base):
    """Speaks to a router and waits for the answer."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = httpx.Client(verify=self._verify, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the connection go."""
        self._http.close()

    def call(self, call: Call, timeout_s: float = TIMEOUT_S) -> Any:
        """Any call; raises `ApiError` and `NotRunning`."""
        try:
            response = self._http.request(**self._ask(call, timeout_s))
        except httpx.HTTPError as fault:
            raise self._failed(fault) from None
        return calls.answer_of(response)

    def submit(
        self,
        symbol: str,
        side: str,
        *,
        wait_ms: int = 0,
        client_order_id: str | None = None,
        **fields: Any,
    ) -> Order:
        """Place an order: durable when it returns, final where `wait_ms` was long enough.

        `fields` are those of `calls.order_body`: quantity or quote_quantity, limit_price,
        time_in_force, post_only, expire_time, include, exclude, max_share, strategy.
        """
        body = calls.order_body(
            symbol, side, client_order_id=client_order_id or _fresh_id(), **fields
        )
        answer = self.call(calls.submit(body, wait_ms), TIMEOUT_S + wait_ms / 1000)
        return order_of(answer)

    def preview(self, symbol: str, side: str, **fields: Any) -> dict[str, Any]:
        """What an order would do now, by the same planner; nothing is placed."""
        body = calls.order_body(symbol, side, client_order_id=_fresh_id(), **fields)
        found: dict[str, Any] = self.call(calls.post("/v1/orders/preview", body))
        return found

    def order(self, order_id: str, *, by: str | None = None) -> Order:
        """One order, by its id or (`by="client"`) by yours."""
        return order_of(self.call(calls.get(f"/v1/orders/{calls.part(order_id)}", by=by)))

    def orders(self, **filters: Any) -> list[Order]:
        """Orders, newest first: filters status, symbol, strategy, since, limit, cursor."""
        found = self.call(calls.get("/v1/orders", **filters))
        return [order_of(one) for one in found["orders"]]

    def cancel(self, order_id: str) -> Order:
        """Cancel what is left of an order."""
        return order_of(self.call(calls.delete(f"/v1/orders/{calls.part(order_id)}")))

    def cancel_all(self, **filters: Any) -> Any:
        """Cancel what is left of every order: filters symbol, strategy."""
        return self.call(calls.delete("/v1/orders", **filters))

    def fills(self, **filters: Any) -> Any:
        """Trades: filters order, symbol, since, limit, cursor."""
        return self.call(calls.get("/v1/fills", **filters))

    def read(self, what: str, **query: Any) -> Any:
        """Anything that is read: instruments, fees, venues, risk, portfolio/exposure, kpis."""
        return self.call(calls.get(f"/v1/{what}", **query))

    def book(self, symbol: str, depth: int | None = None) -> Any:
        """The consolidated book."""
        return self.call(calls.get(f"/v1/books/{calls.part(symbol)}", depth=depth))

    def exposure(self) -> Any:
        """What we have at risk, by asset, venue, symbol, account and strategy."""
        return self.read("portfolio/exposure")

    def positions(self) -> Any:
        """Positions and their profit."""
        return self.read("portfolio/positions")

    def balances(self) -> Any:
        """What we have where."""
        return self.read("portfolio/balances")

    def kpis(self) -> Any:
        """How the router does."""
        return self.read("kpis")

    def start(self, strategy: str, params: Mapping[str, str] | None = None) -> Any:
        """Run a strategy."""
        body = {"params": dict(params or {})}
        return self.call(calls.post(f"/v1/strategies/{calls.part(strategy)}/start", body))

    def stop(self, strategy: str) -> Any:
        """Let a strategy place nothing more."""
        return self.call(calls.post(f"/v1/strategies/{calls.part(strategy)}/stop"))

    def kill(self, reason: str) -> Any:
        """Stop new orders and cancel ours everywhere, until `reset`."""
        return self.call(calls.post("/v1/risk/kill", {"reason": reason}))

    def reset(self, reason: str) -> Any:
        """Trade again."""
        return self.call(calls.post("/v1/risk/reset", {"reason": reason}))

    def make_key(self, account: str, scopes: Sequence[str], name: str = "") -> Any:
        """An API key; its token is told once."""
        body = {"account": account, "scopes": list(scopes), "name": name}
        return self.call(calls.post("/v1/keys", body))

    def health(self) -> Any:
        """What stands and what is shut, and why."""
        return self.call(calls.get("/health"))

    def ready(self) -> bool:
        """Whether orders are taken."""
        try:
            self.call(calls.get("/ready"))
        except calls.ApiError:
            return False
        return True


class AsyncClient(_Base):
    """The same, to be awaited."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = httpx.AsyncClient(verify=self._verify, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Let the connection go."""
        await self._http.aclose()

    async def call(self, call: Call, timeout_s: float = TIMEOUT_S) -> Any:
        """Any call; raises `ApiError` and `NotRunning`."""
        try:
            response = await self._http.request(**self._ask(call, timeout_s))
        except httpx.HTTPError as fault:
            raise self._failed(fault) from None
        return calls.answer_of(response)

    async def submit(
        self,
        symbol: str,
        side: str,
        *,
        wait_ms: int = 0,
        client_order_id: str | None = None,
        **fields: Any,
    ) -> Order:
        """Place an order; as `Client.submit`."""
        body = calls.order_body(
            symbol, side, client_order_id=client_order_id or _fresh_id(), **fields
        )
        return order_of(await self.call(calls.submit(body, wait_ms), TIMEOUT_S + wait_ms / 1000))

    async def preview(self, symbol: str, side: str, **fields: Any) -> dict[str, Any]:
        """What an order would do now."""
        body = calls.order_body(symbol, side, client_order_id=_fresh_id(), **fields)
        found: dict[str, Any] = await self.call(calls.post("/v1/orders/preview", body))
        return found

    async def order(self, order_id: str, *, by: str | None = None) -> Order:
        """One order, by its id or (`by="client"`) by yours."""
        return order_of(await self.call(calls.get(f"/v1/orders/{calls.part(order_id)}", by=by)))

    async def orders(self, **filters: Any) -> list[Order]:
        """Orders, newest first."""
        found = await self.call(calls.get("/v1/orders", **filters))
        return [order_of(one) for one in found["orders"]]

    async def cancel(self, order_id: str) -> Order:
        """Cancel what is left of an order."""
        return order_of(await self.call(calls.delete(f"/v1/orders/{calls.part(order_id)}")))

    async def cancel_all(self, **filters: Any) -> Any:
        """Cancel what is left of every order."""
        return await self.call(calls.delete("/v1/orders", **filters))

    async def fills(self, **filters: Any) -> Any:
        """Trades."""
        return await self.call(calls.get("/v1/fills", **filters))

    async def read(self, what: str, **query: Any) -> Any:
        """Anything that is read."""
        return await self.call(calls.get(f"/v1/{what}", **query))

    async def book(self, symbol: str, depth: int | None = None) -> Any:
        """The consolidated book."""
        return await self.call(calls.get(f"/v1/books/{calls.part(symbol)}", depth=depth))

    async def exposure(self) -> Any:
        """What we have at risk."""
        return await self.read("portfolio/exposure")

    async def positions(self) -> Any:
        """Positions and their profit."""
        return await self.read("portfolio/positions")

    async def balances(self) -> Any:
        """What we have where."""
        return await self.read("portfolio/balances")

    async def kpis(self) -> Any:
        """How the router does."""
        return await self.read("kpis")

    async def start(self, strategy: str, params: Mapping[str, str] | None = None) -> Any:
        """Run a strategy."""
        body = {"params": dict(params or {})}
        return await self.call(calls.post(f"/v1/strategies/{calls.part(strategy)}/start", body))

    async def stop(self, strategy: str) -> Any:
        """Let a strategy place nothing more."""
        return await self.call(calls.post(f"/v1/strategies/{calls.part(strategy)}/stop"))

    async def kill(self, reason: str) -> Any:
        """Stop new orders and cancel ours everywhere, until `reset`."""
        return await self.call(calls.post("/v1/risk/kill", {"reason": reason}))

    async def reset(self, reason: str) -> Any:
        """Trade again."""
        return await self.call(calls.post("/v1/risk/reset", {"reason": reason}))

    async def make_key(self, account: str, scopes: Sequence[str], name: str = "") -> Any:
        """An API key; its token is told once."""
        body = {"account": account, "scopes": list(scopes), "name": name}
        return await self.call(calls.post("/v1/keys", body))

    async def health(self) -> Any:
        """What stands and what is shut, and why."""
        return await self.call(calls.get("/health"))

    async def ready(self) -> bool:
        """Whether orders are taken."""
        try:
            await self.call(calls.get("/ready"))
        except calls.ApiError:
            return False
        return True

    async def stream(self, *topics: str) -> AsyncIterator[dict[str, Any]]:
        """Events as they happen: orders, fills, risk, books:SYMBOL.  Ends when it is cut."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed

        url = "ws" + self.api.removeprefix("http") + "/v1/stream"
        async with connect(url, proxy=None, additional_headers=self._headers) as socket:
            await socket.send(orjson.dumps({"subscribe": list(topics)}).decode())
            try:
                async for message in socket:
                    yield orjson.loads(message)
            except ConnectionClosed:
                return


__all__ = ["AsyncClient", "Client", "Number"]
