"""What is asked of every executor, and what goes wrong meanwhile: one list from one seed."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Any
from unittest.mock import patch

from hean_router.sim.virtual import World
from hean_router.sim.virtual_wire import Stream
from tests.storm.house import House

VENUES = ("binance", "bybit")
SYMBOL = "BTC/USDT"
PLACING = (b"POST /v5/order/create", b"POST /api/v3/order?", b"order.create", b"order.place")
FAULTS = {
    "": "nothing",
    "ack lost": "the order is done, the answer never comes",
    "perhaps, done": "the order is done, the answer is the venue's `perhaps`",
    "perhaps, undone": "it is not done, the answer is the same",
    "not seen yet": "as `ack lost`, and questions about it are answered as if it were not there",
    "late": "the request is four seconds on its way",
    "cut": "every connection is reset while the order is on its way",
    "outage": "for fifteen seconds nothing gets there or back",
    "kill": "the executor dies while the order is on its way, and is started again",
}
DEMANDS = {
    "ack lost": ("acklost",),
    "perhaps, done": ("unknown",),
    "perhaps, undone": ("undone",),
    "not seen yet": ("acklost", "lag", "lag", "lag", "lag"),
}
LATE_S, OUTAGE_S, DOWN_S = 4.0, 15.0, 1.5


@dataclass(frozen=True)
class Ask:
    """One thing that is wanted: `qty` at a venue, now; or resting there for `rests_s` at most."""

    name: str
    at_s: float
    venue: str
    side: str
    qty: Decimal
    rests_s: float
    fault: str


def script(seed: int, asks: int = 18, every_s: float = 6.0) -> list[Ask]:
    """Every fault twice, in another order for every seed; every third ask rests."""
    rng = Random(f"rivals {seed}")
    faults = [*FAULTS] * (asks // len(FAULTS) + 1)
    faults = faults[:asks]
    rng.shuffle(faults)
    return [
        Ask(
            name=f"a{number:02d}",
            at_s=2 + number * every_s + rng.uniform(0, 2),
            venue=rng.choice(VENUES),
            side=rng.choice(("buy", "sell")),
            qty=Decimal("0.0100") + Decimal(rng.randint(0, 200)) / 10_000,
            rests_s=rng.choice((0, 0, 5)),
            fault=fault,
        )
        for number, fault in enumerate(faults)
    ]


# As venues and wires count them.
STRUCK = ("acklost", "unknown", "undone", "late", "cut", "outage", "kill")


class Mischief:
    """Carries the script's faults out, for whoever is asked.  `struck` counts."""

    def __init__(self, world: World, home: House) -> None:
        self.world, self.home = world, home
        self.late: str = ""  # the venue whose next order is slow
        self.dead = False  # the executor: nothing of it leaves any more
        self.hits: Counter[str] = Counter()

    def before(self, ask: Ask) -> None:
        """As it is asked."""
        simulator = self.home.venues[ask.venue].simulator
        for word in DEMANDS.get(ask.fault, ()):
            simulator.order_faults.demand(word)
        self.late = ask.venue if ask.fault == "late" else ""

    async def during(self, ask: Ask, sleep: Any, kill: Any) -> None:
        """While its order is on its way, some thirty milliseconds later."""
        link = self.world.net.link("router", ask.venue)
        await sleep(0.03)
        match ask.fault:
            case "cut":
                link.cut()
            case "outage":
                link.blackhole()
                await sleep(OUTAGE_S)
                link.heal()
            case "kill":
                await kill()
        if ask.fault in ("cut", "outage", "kill"):
            self.hits[ask.fault] += 1

    def struck(self) -> dict[str, int]:
        """How often each fault has struck, by the venues' own count where they do it."""
        found = Counter(self.hits)
        for name in VENUES:
            found += self.home.venues[name].simulator.order_faults.counts
        return dict(found)

    @contextmanager
    def death(self) -> Iterator[None]:
        """kill -9, as far as the world can tell; the block takes down what is left of a process."""
        self.dead = True
        self._cut_all()
        try:
            yield
        finally:
            self._cut_all()
            self.dead = False

    def _cut_all(self) -> None:
        for connection in self.world.net.connections("router"):
            connection.cut()

    @contextmanager
    def on_the_wire(self) -> Iterator[None]:
        """Requests to the venue that is `late` wait on their way; the dead send nothing."""
        send, loop = Stream.send, self.world.loop

        def slowly(stream: Stream, data: bytes) -> None:
            if self.dead and stream is stream.conn.up:
                return
            if self.late and stream.conn.server == self.late and _orders(data):
                self.late, stream.hole = "", True
                self.hits["late"] += 1

                def arrive() -> None:
                    stream.hole = False
                    stream.release()

                loop.call_later(LATE_S, arrive)
            send(stream, data)

        with patch.object(Stream, "send", slowly):
            yield


def _orders(data: bytes) -> bool:
    """Whether it is a request to place an order, by REST or in a WebSocket's masked frame."""
    if data[:1] in (b"\x81", b"\x82") and data[1] & 0x80:
        at = 2 + {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
        mask, said = data[at : at + 4], data[at + 4 :]
        data = bytes(byte ^ mask[number % 4] for number, byte in enumerate(said))
    return any(words in data for words in PLACING)
