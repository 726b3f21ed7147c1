"""Parents at a fixed pace, whatever the answers take: of every kind, some taken back."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from hean_router.client import AsyncClient
from hean_router.client.calls import ApiError, NotRunning

UNANSWERED_MAX = 100  # requests; more are not begun, and counted
CANCEL_S = 20  # how long, at most, an order rests before it is taken back
MIDS_S = 1.0
# How many of twenty; beyond the mid in 1/100 %, below zero it rests.
KINDS: tuple[tuple[int, str, tuple[int, int] | None, dict[str, Any]], ...] = (
    (4, "market", None, {}),
    (2, "by_quote", None, {}),
    (4, "resting", (-40, -3), {"time_in_force": "GTC"}),
    (3, "marketable", (1, 10), {"time_in_force": "GTC"}),
    (2, "ioc", (-2, 10), {"time_in_force": "IOC"}),
    (1, "fok", (5, 20), {"time_in_force": "FOK"}),
    (2, "post_only", (-20, -2), {"post_only": True, "time_in_force": "GTC"}),
    (2, "gtd", (-20, -1), {"time_in_force": "GTD"}),
)


class Latency:
    """Answers' times since the last look, by what was asked."""

    def __init__(self) -> None:
        self._ms: dict[str, list[float]] = {}
        self.all_ms: dict[str, list[float]] = {}

    def took(self, what: str, began: float) -> None:
        """Note one answer."""
        ms = (time.monotonic() - began) * 1e3
        self._ms.setdefault(what, []).append(ms)
        self.all_ms.setdefault(what, []).append(ms)

    def window(self) -> dict[str, tuple[float, float]]:
        """p50 and p99 in ms of each since the last call."""
        found = {what: (share(ms, 0.5), share(ms, 0.99)) for what, ms in self._ms.items()}
        self._ms = {}
        return found


def share(values: list[float], part: float) -> float:
    """The value below which `part` of them lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


class Flow:
    """`per_second` parents, mixed by `seed`, small ones: nothing runs out of money in a day."""

    def __init__(
        self, client: AsyncClient, symbols: tuple[str, ...], per_second: float, seed: int
    ) -> None:
        self._client, self._symbols, self._per_second = client, symbols, per_second
        self._rng = Random(seed)
        self._mid: dict[str, Decimal] = {}
        self._underway: set[asyncio.Task[None]] = set()
        self._resting: set[asyncio.Task[None]] = set()  # they only wait to take an order back
        self._unanswered = 0
        self._pot = [kind for kind in KINDS for _ in range(kind[0])]
        self.latency = Latency()
        self.asked = self.skipped = 0
        self.taken: list[str] = []  # client order ids
        self.kinds: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.silent: Counter[str] = Counter()
        self.faults: list[str] = []  # of our own

    async def run(self, seconds: float) -> None:
        """Order for so long; what is under way then is waited for, and resting orders are left."""
        mids = asyncio.create_task(self._follow_mids())
        began = time.monotonic()
        try:
            while (late := time.monotonic() - began) < seconds:
                if mids.done():
                    mids.result()
                for _ in range(int(late * self._per_second) - self.asked if self._mid else 0):
                    self._begin()
                await asyncio.sleep(0.5 / self._per_second)
        finally:
            mids.cancel()
            for task in self._resting:
                task.cancel()
            await asyncio.gather(mids, *self._underway, return_exceptions=True)

    def _begin(self) -> None:
        self.asked += 1
        if self._unanswered >= UNANSWERED_MAX:
            self.skipped += 1
            return
        task = asyncio.create_task(self._one(f"s{self.asked}"))
        self._underway.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._underway.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            self.faults.append(repr(fault))

    async def _follow_mids(self) -> None:
        while True:
            for symbol in self._symbols:
                began = time.monotonic()
                mid = (await self._client.book(symbol, 1))["mid"]
                self.latency.took("book", began)
                if mid is not None:
                    self._mid[symbol] = Decimal(mid)
            await asyncio.sleep(MIDS_S)

    async def _one(self, name: str) -> None:
        rng = self._rng
        _, kind, bps, more = rng.choice(self._pot)
        symbol, side = rng.choice(sorted(self._mid)), rng.choice(("buy", "sell"))
        began = time.monotonic()
        self._unanswered += 1
        try:
            order = await self._client.submit(
                symbol, side, client_order_id=name, **self._words(symbol, side, kind, bps), **more
            )
        except ApiError as refusal:
            self.refused[refusal.code] += 1
            return
        except NotRunning as fault:
            self.silent["sent" if fault.sent else "not sent"] += 1
            return
        finally:
            self._unanswered -= 1
            self.latency.took("submit", began)
        self.taken.append(name)
        self.kinds[kind] += 1
        if not order.is_final and kind in {"resting", "post_only", "marketable", "gtd"}:
            await self._rest(rng.uniform(0.5, CANCEL_S))
            await self._cancel(order.id)

    async def _rest(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._resting.add(task)
        try:
            await asyncio.sleep(seconds)
        finally:
            self._resting.discard(task)

    async def _cancel(self, order_id: str) -> None:
        began = time.monotonic()
        try:
            await self._client.cancel(order_id)
        except ApiError as refusal:
            if refusal.code != "order_ended":
                self.refused[f"cancel {refusal.code}"] += 1
        except NotRunning:
            self.silent["cancel"] += 1
        self.latency.took("cancel", began)

    def _words(
        self, symbol: str, side: str, kind: str, bps: tuple[int, int] | None
    ) -> dict[str, Any]:
        rng, mid = self._rng, self._mid[symbol]
        worth = Decimal(rng.randint(40, 300))
        if kind == "by_quote":
            return {"quote_quantity": worth}
        step = Decimal("0.0001") if mid > 1000 else Decimal("0.01")
        words: dict[str, Any] = {"quantity": max(step, (worth / mid).quantize(step))}
        if bps is not None:
            sign = 1 if side == "buy" else -1
            px = mid * (1 + Decimal(sign * rng.randint(*bps)) / 10_000)
            words["limit_price"] = px.quantize(Decimal("0.1") if mid > 1000 else Decimal("0.01"))
        if kind == "gtd":
            words["expire_time"] = datetime.now(UTC) + timedelta(seconds=rng.randint(2, 30))
        return words
