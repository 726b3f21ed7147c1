"""What a venue does to orders and pairs of its own accord.

These are the strikes of `fault_spec.TIMES` that need what lies behind a face.  Pure, like faces:
time is an argument, and what is pushed is the answer.  A strike that finds nothing to strike
answers None; `Faults` then tries again a little later.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from hean_router.sim.accounts import OrderRecord
from hean_router.sim.contract import SECOND, Face, Output
from hean_router.sim.exchange import Kind, Reason, Status, Step

WAYS: dict[str, Sequence[str]] = {
    "vanish": ("cancelled", "filled", "part"),
    "wipe": ("told", "silent"),
    "throttle": ("placements", "all"),
}
"""Words that have several ways; the first is one of them, not a default."""

OWN_WORDS = frozenset({"vanish", "wipe", "deadman", "crumble", "replay", "halt", "rules", "delist"})
_TICKS, _LOTS = 5, 10  # how much coarser a pair becomes


class VenueStrikes:
    """Of one face; `undo` is asked for again with what a strike left to undo."""

    def __init__(self, face: Face) -> None:
        self._face: Any = face
        self._by_word: dict[str, Callable[[Random, int, str], Sequence[Output] | None]] = {
            "vanish": self._vanish,
            "wipe": self._wipe,
            "deadman": self._dead_man,
            "crumble": self._crumble,
            "replay": self._replay,
            "halt": self._halt,
            "rules": self._rules,
            "delist": self._delist,
        }
        assert set(self._by_word) == OWN_WORDS, "each has its way"
        self._undo: dict[str, str] = {}  # word -> the pair it struck

    @property
    def words(self) -> frozenset[str]:
        """What this can do: nothing where a face takes no orders."""
        able = getattr(self._face, "private", None) is not None
        return OWN_WORDS if able else frozenset()

    def strike(self, word: str, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        """Do it.  None: there is nothing to do it to.  KeyError: not one of `words`."""
        return self._by_word[word](rng, now_ns, way)

    def undo(self, word: str, now_ns: int) -> Sequence[Output]:
        """The pair is as it was; nothing if it is so already."""
        symbol = self._undo.pop(word, None)
        if symbol is None:
            return ()
        if word == "rules":
            return self._tell(self._exchange.set_steps(symbol, 1, 1, now_ns=now_ns), now_ns)
        if word == "delist":
            return self._tell(self._exchange.set_gone(symbol, False, now_ns=now_ns), now_ns)
        return self._tell(self._exchange.set_status(symbol, Status.TRADING, now_ns=now_ns), now_ns)

    def lasts_ns(self, word: str, rng: Random) -> int:
        """How long until `undo`; 0 for what is done at once."""
        return rng.randint(5, 30) * SECOND if word in self._undo else 0

    # Orders

    @property
    def _exchange(self) -> Any:
        return self._face.exchange

    def _open(self) -> list[OrderRecord]:
        accounts = self._face.private.desk.accounts.values()
        return [order for account in accounts for order in account.open_orders()]

    def _hittable(self) -> list[OrderRecord]:
        return [
            order for order in self._open() if self._exchange.status(order.symbol) is Status.TRADING
        ]

    def _vanish(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        """One order ends, or is filled in part, and its account is not told."""
        private = self._face.private
        filled = way in ("filled", "part")
        orders = self._hittable() if filled else self._open()
        if not orders:
            return None
        order = rng.choice(orders)
        if filled:
            lots = order.leaves if way == "filled" else max(1, order.leaves // 2)
            outcome = private.desk.hit(order, lots, now_ns)
        else:
            outcome = private.desk.take_back(order, Reason.VENUE, now_ns)
        silent: list[Output] = private.carried(outcome, now_ns, told=False)
        return silent

    def _take_back(
        self, orders: Sequence[OrderRecord], reason: Reason, now_ns: int, *, told: bool
    ) -> list[Output]:
        private = self._face.private
        outputs: list[Output] = []
        for order in orders:
            outcome = private.desk.take_back(order, reason, now_ns)
            outputs += private.carried(outcome, now_ns, told=told)
        return outputs

    def _wipe(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        orders = self._open()
        if not orders:
            return None
        return self._take_back(orders, Reason.VENUE, now_ns, told=way != "silent")

    def _dead_man(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        orders = self._open()
        if not orders:
            return None
        names = sorted({order.account for order in orders})
        name = way if way in names else rng.choice(names)
        doomed = [order for order in orders if order.account == name]
        return self._take_back(doomed, Reason.DEADMAN, now_ns, told=True)

    def _crumble(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        private = self._face.private
        orders = [order for order in self._hittable() if order.leaves > 1]
        if not orders:
            return None
        outputs: list[Output] = []
        for outcome in private.desk.dust(rng.choice(orders), now_ns, demanded=True):
            outputs += private.carried(outcome, now_ns)
        return outputs

    def _replay(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        replay: Callable[[int], list[Output] | None] = self._face.private.replay
        return replay(now_ns)

    # Pairs

    def _pair(self, word: str, rng: Random) -> str | None:
        """A spot pair nothing else of this kind is done to; first of all one with open orders."""
        free = [
            symbol
            for symbol, listing in self._exchange.listings.items()
            if listing.kind is Kind.SPOT
            and symbol not in self._undo.values()
            and self._exchange.status(symbol) is Status.TRADING
        ]
        if word in self._undo or not free:
            return None
        busy = [symbol for symbol in free if any(each.symbol == symbol for each in self._open())]
        symbol: str = rng.choice(busy or free)
        self._undo[word] = symbol
        return symbol

    def _tell(self, step: Step, now_ns: int) -> Sequence[Output]:
        told: Sequence[Output] = self._face.market(step, now_ns)
        return told

    def _halt(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        if (symbol := self._pair("halt", rng)) is None:
            return None
        return self._tell(self._exchange.set_status(symbol, Status.HALT, now_ns=now_ns), now_ns)

    def _rules(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        if (symbol := self._pair("rules", rng)) is None:
            return None
        return self._tell(self._exchange.set_steps(symbol, _TICKS, _LOTS, now_ns=now_ns), now_ns)

    def _delist(self, rng: Random, now_ns: int, way: str) -> Sequence[Output] | None:
        if (symbol := self._pair("delist", rng)) is None:
            return None
        return self._tell(self._exchange.set_gone(symbol, True, now_ns=now_ns), now_ns)
