"""What happens to wires for minutes on end, from a seed."""

import asyncio
from collections import Counter
from random import Random
from typing import Any

from tests.system.rig import VENUES
from tests.wire.wires import ORDERS, Wires

MARKETS = {
    "binance": "binance /ws",
    "bybit": "bybit /v5/public/spot",
    "kraken": "kraken /v2",
    "okx": "okx /ws/v5/public",
}
EVENTS = {**ORDERS, "bybit": "bybit /v5/private"}


def _bytes(rng: Random) -> int:
    return rng.choice((0, 1, rng.randint(2, 250), -1))


# What may happen: how often, and the words of the rule with how long it holds, in seconds.
KINDS = {
    "order cut": 5,
    "order reset": 5,
    "answer cut": 5,
    "answer swallowed": 4,
    "question cut": 3,
    "half-open": 2,
    "market half-open": 2,
    "late rest": 3,
    "late news": 3,
    "late answers": 3,
    "trickle": 2,
    "narrow": 2,
    "pause": 2,
    "refused": 2,
    "reset of one": 2,
    "reset of all": 1,
}


class Dice:
    """Throws one thing after the other at the wires; `hits` says what has struck."""

    def __init__(self, wires: Wires, seed: int) -> None:
        self.wires, self.rng = wires, Random(f"wires {seed}")
        self.thrown: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()

    async def throw(self, seconds: float, at_once: int = 2) -> None:
        """For so long; then nothing holds any more."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*(self._one_after_another() for _ in range(at_once)))
        except TimeoutError:
            pass
        finally:
            self.wires.lift()

    async def _one_after_another(self) -> None:
        while True:
            await asyncio.sleep(self.rng.uniform(0.5, 4))
            (kind,) = self.rng.choices(list(KINDS), list(KINDS.values()))
            await self._strike(kind, self.rng.choice(VENUES))

    async def _strike(self, kind: str, venue: str) -> None:
        self.thrown[kind] += 1
        if kind.startswith("reset of"):
            where = "*" if kind == "reset of all" else f"{venue} *"
            self.hits[kind] += self.wires.ask("reset", where=where)["reset"] > 0
            return
        words, seconds = self._rule(kind, venue)
        rule = self.wires.strike(**words)
        if kind == "refused":  # nobody knocks who is in
            self.wires.ask("reset", where=f"{venue} *")
        await asyncio.sleep(seconds)
        self.hits[kind] += self.wires.struck(rule) > 0
        self.wires.lift(rule)

    def _rule(self, kind: str, venue: str) -> tuple[dict[str, Any], float]:
        rng, orders = self.rng, {"where": ORDERS[venue], "least": 90, "times": 1}
        rest = {"where": f"{venue} rest"}
        match kind:
            case "order cut" | "order reset":
                fault = kind.removeprefix("order ")
                return {"fault": fault, "way": "up", "after": _bytes(rng), **orders}, 3
            case "answer cut":
                return {"fault": "cut", "way": "down", "after": _bytes(rng), **orders}, 3
            case "answer swallowed":
                return {"fault": "swallow", "way": "down", **orders}, rng.uniform(1, 5)
            case "question cut":
                way = rng.choice(("up", "down"))
                return {"fault": "cut", "way": way, "after": _bytes(rng), **rest}, 2
            case "half-open":
                way = rng.choice(("up", "down", "both"))
                return {"fault": "swallow", "way": way, "where": EVENTS[venue]}, rng.uniform(2, 16)
            case "market half-open":
                where = MARKETS[venue]
                return {"fault": "swallow", "way": "down", "where": where}, rng.uniform(2, 16)
            case "late rest" | "late news" | "late answers":
                where = {"late rest": f"{venue} rest", "late news": EVENTS[venue]}
                late = {"ms": rng.uniform(50, 1_500), "jitter_ms": 200, "way": "down"}
                at = where.get(kind, ORDERS[venue])
                return {"fault": "latency", "where": at, **late}, rng.uniform(2, 6)
            case "trickle":
                where, ms = rng.choice((ORDERS[venue], f"{venue} rest")), rng.uniform(1, 20)
                return {"fault": "slice", "where": where, "way": "down", "ms": ms}, 4
            case "narrow":
                return {"fault": "rate", "where": f"{venue} *", "size": 2_000, "way": "down"}, 4
            case "pause":
                return {"fault": "pause", "where": f"{venue} *"}, rng.uniform(0.5, 6)
            case "refused":
                return {"fault": "refuse", "where": f"{venue} *"}, rng.uniform(1, 6)
        raise AssertionError(f"no such kind: {kind}")
