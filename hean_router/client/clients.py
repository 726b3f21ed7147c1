"""The client, waiting (`Client`) and not (`AsyncClient`): the same calls."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

from hean_router.client import calls
from hean_router.client.calls import ApiError, Call, NotRunning, Number
from hean_router.client.found import find, is_gone
from hean_router.client.model import Fill, Order, fill_of, order_of
from hean_router.domain.errors import CommandError, HeanError

TIMEOUT_S = 10.0
POLL_S = 0.05
REFUSALS = range(4400, 4500)  # close codes of the router: bad key, refused, too slow, gone
# The library prints headers at DEBUG, our key too: never that, whatever its level.
_quiet = logging.getLogger(f"{__name__}.wire")
_quiet.addFilter(lambda record: record.levelno > logging.DEBUG)
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
        self._pid = 0
        if api is None:
            running = find(state)
            api, key, self._pid = running.api, key or running.key, running.pid
        if not api.startswith(("http://", "https://")):
            raise CommandError(f"{api!r} is no address", "such as http://127.0.0.1:8400")
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

    def _failed(self, fault: httpx.HTTPError | httpx.InvalidURL, call: Call) -> HeanError:
        if isinstance(fault, httpx.InvalidURL | httpx.UnsupportedProtocol):
            return CommandError(f"{self.api!r} is no address: {fault}", "http://127.0.0.1:8400")
        body = call.body if isinstance(call.body, dict) else {}
        client_id = str(body.get("client_order_id", ""))
        if isinstance(fault, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            what = f"nobody answers at {self.api}: {fault}"
            if is_gone(self._pid):
                what = f"the router that ran at {self.api} (process {self._pid}) is gone"
            return NotRunning(what, _NOBODY, client_order_id=client_id)
        what = f"{self.api} fell silent: {type(fault).__name__}"
        if call.method == "GET":
            return NotRunning(what, _NOBODY)
        fix = "see whether it was done: GET /v1/orders"
        if client_id:
            what += f"; order {client_id} may have been placed"
            fix = f"submit it again with client_order_id {client_id}: that places nothing twice"
        return NotRunning(what, fix, sent=True, client_order_id=client_id)


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
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise self._failed(fault, call) from None
        return calls.answer_of(response, as_text=call.as_text)

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

    def wait(self, order_id: str, timeout_s: float = 10.0) -> Order:
        """The order once nothing of it can trade any more, or as it stands after that time."""
        deadline = time.monotonic() + timeout_s  # noqa: TID251 - a program waits, on its own clock
        while not (order := self.order(order_id)).is_final:
            if time.monotonic() >= deadline:  # noqa: TID251
                break
            time.sleep(POLL_S)
        return order

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

    def iter_orders(self, **filters: Any) -> Iterator[Order]:
        """Every order that fits, newest first, page by page: filters as `orders`."""
        while True:
            page = self.call(calls.get("/v1/orders", **filters))
            yield from map(order_of, page["orders"])
            if page["next_cursor"] is None:
                return
            filters["cursor"] = page["next_cursor"]

    def iter_fills(self, **filters: Any) -> Iterator[Fill]:
        """Every trade that fits, newest first, page by page: filters as `fills`."""
        while True:
            page = self.call(calls.get("/v1/fills", **filters))
            yield from map(fill_of, page["fills"])
            if page["next_cursor"] is None:
                return
            filters["cursor"] = page["next_cursor"]

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

    def instruments(self, **query: Any) -> Any:
        """What is listed where, with its steps and least amounts: filter symbol."""
        return self.read("instruments", **query)

    def fees(self, **query: Any) -> Any:
        """What each venue charges us: filter symbol."""
        return self.read("fees", **query)

    def venues(self, **query: Any) -> Any:
        """Each venue: ready or why not, its clock and its books."""
        return self.read("venues", **query)

    def risk(self, **query: Any) -> Any:
        """The state, and each limit: used, allowed, and the worst case."""
        return self.read("risk", **query)

    def strategies(self, **query: Any) -> Any:
        """Strategies, running or not."""
        return self.read("strategies", **query)

    def opportunities(self, **query: Any) -> Any:
        """What arbitrage sees now, and why it is not taken."""
        return self.read("arbitrage/opportunities", **query)

    def keys(self, **query: Any) -> Any:
        """API keys, without their secrets; wants the scope admin."""
        return self.read("keys", **query)

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

    def revoke_key(self, key_id: str) -> Any:
        """Let a key be good no more."""
        return self.call(calls.delete(f"/v1/keys/{calls.part(key_id)}"))

    def metrics(self) -> str:
        """What Prometheus reads, as text."""
        return str(self.call(Call(method="GET", path="/metrics", as_text=True)))

    def health(self) -> Any:
        """Whether the process answers, and is ready."""
        return self.call(calls.get("/health"))

    def standing(self) -> Any:
        """Everything that is shut: what, where, why, since when, what lifts it."""
        return self.call(calls.get("/v1/health"))

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
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise self._failed(fault, call) from None
        return calls.answer_of(response, as_text=call.as_text)

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

    async def wait(self, order_id: str, timeout_s: float = 10.0) -> Order:
        """The order once nothing of it can trade any more, or as it stands after that time."""
        deadline = time.monotonic() + timeout_s  # noqa: TID251 - a program waits, on its own clock
        while not (order := await self.order(order_id)).is_final:
            if time.monotonic() >= deadline:  # noqa: TID251
                break
            await asyncio.sleep(POLL_S)
        return order

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

    async def iter_orders(self, **filters: Any) -> AsyncIterator[Order]:
        """Every order that fits, newest first, page by page: filters as `orders`."""
        while True:
            page = await self.call(calls.get("/v1/orders", **filters))
            for one in page["orders"]:
                yield order_of(one)
            if page["next_cursor"] is None:
                return
            filters["cursor"] = page["next_cursor"]

    async def iter_fills(self, **filters: Any) -> AsyncIterator[Fill]:
        """Every trade that fits, newest first, page by page: filters as `fills`."""
        while True:
            page = await self.call(calls.get("/v1/fills", **filters))
            for one in page["fills"]:
                yield fill_of(one)
            if page["next_cursor"] is None:
                return
            filters["cursor"] = page["next_cursor"]

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

    async def instruments(self, **query: Any) -> Any:
        """What is listed where, with its steps and least amounts: filter symbol."""
        return await self.read("instruments", **query)

    async def fees(self, **query: Any) -> Any:
        """What each venue charges us: filter symbol."""
        return await self.read("fees", **query)

    async def venues(self, **query: Any) -> Any:
        """Each venue: ready or why not, its clock and its books."""
        return await self.read("venues", **query)

    async def risk(self, **query: Any) -> Any:
        """The state, and each limit: used, allowed, and the worst case."""
        return await self.read("risk", **query)

    async def strategies(self, **query: Any) -> Any:
        """Strategies, running or not."""
        return await self.read("strategies", **query)

    async def opportunities(self, **query: Any) -> Any:
        """What arbitrage sees now, and why it is not taken."""
        return await self.read("arbitrage/opportunities", **query)

    async def keys(self, **query: Any) -> Any:
        """API keys, without their secrets; wants the scope admin."""
        return await self.read("keys", **query)

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

    async def revoke_key(self, key_id: str) -> Any:
        """Let a key be good no more."""
        return await self.call(calls.delete(f"/v1/keys/{calls.part(key_id)}"))

    async def metrics(self) -> str:
        """What Prometheus reads, as text."""
        return str(await self.call(Call(method="GET", path="/metrics", as_text=True)))

    async def health(self) -> Any:
        """Whether the process answers, and is ready."""
        return await self.call(calls.get("/health"))

    async def standing(self) -> Any:
        """Everything that is shut: what, where, why, since when, what lifts it."""
        return await self.call(calls.get("/v1/health"))

    async def ready(self) -> bool:
        """Whether orders are taken."""
        try:
            await self.call(calls.get("/ready"))
        except calls.ApiError:
            return False
        return True

    async def stream(self, *topics: str) -> AsyncIterator[dict[str, Any]]:
        """Events as they happen: orders, fills, risk, books:SYMBOL.

        Each is `{"topic": …, "seq": …, "data": …}`; the first has the topic `ready`.  Raises
        `ApiError` for a bad key or topic, and where we read too slowly; `NotRunning` where nobody
        answers.

        Ends when it is cut, and is not taken up again by itself: what happened meanwhile would be
        missing unseen.  Open it again, and read what was missed with `iter_orders(since=…)` and
        `iter_fills(since=…)`.
        """
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake

        url = "ws" + self.api.removeprefix("http") + "/v1/stream"
        ask = {"op": "subscribe", "topics": list(topics)}
        try:
            async with connect(
                url, proxy=None, additional_headers=self._headers, logger=_quiet
            ) as socket:
                await socket.send(orjson.dumps(ask).decode())
                async for message in socket:
                    found = orjson.loads(message)
                    if found.get("topic") == "error":
                        found = {"error": found["data"]}
                    calls.raise_error(found)
                    yield found
        except ConnectionClosed as end:
            closed = end.rcvd
            if closed is not None and closed.code in REFUSALS:
                code, _, why = closed.reason.partition(": ")
                raise ApiError(code, why or code, status=closed.code) from None
        except (OSError, InvalidHandshake) as fault:
            raise NotRunning(f"no stream at {url}: {fault}", _NOBODY) from None


__all__ = ["AsyncClient", "Client", "Number"]
