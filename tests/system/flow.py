"""Orders in flight over many lives of one router: what was asked, what was answered, and again."""

import asyncio
import time
from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

from hean_router.client import AsyncClient
from hean_router.client.calls import ApiError, NotRunning
from tests.system.rig import FINAL, SYMBOLS, Rig, mids

LOTS = {"BTC/USDT": Decimal("0.001"), "ETH/USDT": Decimal("0.01"), "SOL/USDT": Decimal("0.1")}
# Nothing was placed, and by the same words nothing will be: the market moved, or orders of ours
# stand in the way.
NEVER = {
    "collar",
    "self_cross",
    "limit_open_orders",
    "below_minimum",
    "nothing_to_route",
    "insufficient_funds",
}
# Nothing was placed at this moment; the same words may be sent again.
NOT_NOW = {
    "journal_unavailable",
    "no_live_book",
    "stale_data",
    "venue_unhealthy",
    "not_reconciled",
    "no_rate",
    "clock_unsure",
    "no_budget",
}


class Ordered:
    """What was asked for and what was answered, over all lives of the router."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.bodies: dict[str, dict[str, Any]] = {}
        self.ids: dict[str, str] = {}  # client order id -> ours, where an answer came
        self.ended: dict[str, tuple[str, str]] = {}  # client order id -> status, filled
        self.made = self.taken = self.lost_answers = self.canceled = 0
        self.refused: Counter[str] = Counter()

    def fresh(self, mid: dict[str, Decimal], bps: tuple[int, int]) -> str:
        """Words for one more: `bps` beyond the mid, below zero it rests."""
        symbol, side = self.rng.choice(SYMBOLS), self.rng.choice(("buy", "sell"))
        sign = 1 if side == "buy" else -1
        px = mid[symbol] * (1 + Decimal(sign * self.rng.randint(*bps)) / 10_000)
        self.made += 1
        name = f"k{self.made}"
        self.bodies[name] = {
            "symbol": symbol,
            "side": side,
            "quantity": LOTS[symbol] * self.rng.randint(2, 20),
            "limit_price": px.quantize(Decimal("0.1") if mid[symbol] > 1000 else Decimal("0.01")),
            "time_in_force": "GTC" if bps[1] <= 0 else self.rng.choice(("GTC", "IOC")),
        }
        return name

    def going(self) -> list[str]:
        """All that may still work or was never answered, the oldest first."""
        return [name for name in self.bodies if name not in self.ended]

    def never_answered(self) -> list[str]:
        """What was asked and never taken, the latest first."""
        return [name for name in reversed(self.bodies) if name not in self.ids]

    def some_ended(self, most: int = 20) -> list[str]:
        """A few of what has ended."""
        return self.rng.sample(sorted(self.ended), min(len(self.ended), most))

    async def submit(self, client: AsyncClient, name: str) -> str:
        """By the same id and words as ever: the same order, or a new one if it was never there.

        The order's id; empty if nothing was placed, or nobody answered.
        """
        try:
            order = await client.submit(client_order_id=name, **self.bodies[name])
        except NotRunning as fault:
            self.lost_answers += fault.sent
            return ""
        except ApiError as refusal:
            self._refused(name, refusal)
            return ""
        known = self.ids.setdefault(name, order.id)
        assert order.id == known, f"{name} was {known}, now it is {order.id}"
        self.taken += 1
        if name in self.ended:
            assert (order.status, str(order.filled_quantity)) == self.ended[name], name
        if order.status in FINAL:
            self.ended[name] = (order.status, str(order.filled_quantity))
        return order.id

    def _refused(self, name: str, refusal: ApiError) -> None:
        self.refused[refusal.code] += 1
        assert name not in self.ids, f"{name} was {self.ids[name]}, now: {refusal.code}"
        if refusal.code in NEVER:
            del self.bodies[name]
        elif refusal.code not in NOT_NOW:
            raise refusal

    async def cancel(self, client: AsyncClient, order_id: str) -> None:
        """Take it back, if it is there to be taken."""
        try:
            await client.cancel(order_id)
            self.canceled += 1
        except NotRunning:
            pass
        except ApiError as refusal:
            if refusal.code not in {"order_ended", *NOT_NOW}:
                raise

    def said(self) -> str:
        """In one line."""
        return (
            f"{len(self.ids)} orders answered, {self.canceled} cancels, "
            f"{self.lost_answers} answers lost, refused: {dict(self.refused)}"
        )


class Crowd:
    """Callers who order and cancel as fast as they are answered, until `over`."""

    def __init__(self, rig: Rig, client: AsyncClient, ordered: Ordered, size: int = 6) -> None:
        self._rig, self._client, self._ordered = rig, client, ordered
        self._size, self._over = size, asyncio.Event()
        self._mid: dict[str, Decimal] = {}
        self.told: list[str] = []  # codes of refusals since anybody cleared it
        self.taken = 0

    async def __aenter__(self) -> "Crowd":
        self._mid = await mids(self._client, SYMBOLS)
        self._tasks = [asyncio.create_task(self._trade()) for _ in range(self._size)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over.set()
        for end in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(end, BaseException):
                raise end

    def end(self) -> None:
        """Ask for nothing more; what is asked is waited for by leaving the block."""
        self._over.set()

    async def _trade(self) -> None:
        ordered, rng, client = self._ordered, self._ordered.rng, self._client
        while not self._over.is_set():
            name = ordered.fresh(self._mid, rng.choice(((2, 15), (-10, -1))))
            before = ordered.refused.copy()
            if await ordered.submit(client, name):
                self.taken += 1
            elif not self._over.is_set():
                self.told += (ordered.refused - before).elements()
                await asyncio.sleep(0.05)
            if rng.random() < 0.3 and ordered.ids and not self._over.is_set():
                await ordered.cancel(client, rng.choice(list(ordered.ids.values())))

    async def until_taken(self, more: int, within_s: float) -> None:
        """Wait until so many more orders were placed."""
        wanted = self.taken + more
        await self._wait(lambda: self.taken >= wanted, within_s, f"{more} more orders")

    async def until_told(self, code: str, within_s: float) -> None:
        """Wait until somebody is refused with `code`."""
        self.told.clear()
        await self._wait(lambda: code in self.told, within_s, f"a refusal: {code}")

    async def _wait(self, true, within_s: float, what: str) -> None:
        router, end = self._rig.router, time.monotonic() + within_s
        assert router is not None
        while not true():
            for task in self._tasks:
                if task.done():
                    task.result()
            assert router.process.poll() is None, f"the router has ended: {router.said()}"
            assert time.monotonic() < end, (
                f"waited {within_s} s for {what}; told {Counter(self.told)}; {router.said()}"
            )
            await asyncio.sleep(0.02)
