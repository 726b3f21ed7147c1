"""What goes wrong between a request for an order and its answer: dice for the faces that take them.

A face asks before it acts.  Shares come from `--faults`; `demand` lets a test have one at once.
Each fault draws from a generator of its own.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import TypeVar

from hean_router.sim.fault_spec import ORDERS, FaultSpec
from hean_router.sim.market import split

_PPM = 1_000_000
_CHOOSERS = frozenset({"race", "reject", "lie"})  # they have several ways, and call `choice`
_Way = TypeVar("_Way", bound=str)


class OrderFaults:
    """Decides whether a fault of `fault_spec.ORDERS` strikes; `counts` says how often each did."""

    def __init__(
        self, venue: str, seed: int = 0, spec: FaultSpec | None = None, origin_ns: int = 0
    ) -> None:
        spec = spec or FaultSpec()
        seed = seed if spec.seed is None else spec.seed
        self.counts: Counter[str] = Counter()
        self._shares = {word: ppm for word, ppm in spec.shares.items() if word in ORDERS}
        self._rngs = {word: split(seed, "faults", venue, word) for word in ORDERS}
        self._until_ns = None if spec.until_ns is None else origin_ns + spec.until_ns
        self._demanded: Counter[str] = Counter()
        self._ways: defaultdict[str, deque[str]] = defaultdict(deque)  # of what is demanded
        self._limited_until_ns = 0

    def demand(self, word: str, times: int = 1, way: str = "") -> None:
        """Let `word` strike the next `times` it can, in that way of several if it says one.

        KeyError: no such word.
        """
        if word not in ORDERS:
            raise KeyError(word)
        self._demanded[word] += times
        if word in _CHOOSERS:
            self._ways[word].extend([way] * times)

    def limit(self, until_ns: int) -> None:
        """Let `limited` strike every placement until then."""
        self._limited_until_ns = until_ns

    def calm(self) -> None:
        """Nothing more strikes: neither by its share nor because it was demanded."""
        self._shares.clear()
        self._demanded.clear()
        self._ways.clear()
        self._limited_until_ns = 0

    def strikes(self, word: str, now_ns: int) -> bool:
        """Whether it strikes here and now."""
        struck = self._demanded[word] > 0
        if struck:
            self._demanded[word] -= 1
        elif word == "limited" and now_ns < self._limited_until_ns:
            struck = True
        elif self._until_ns is None or now_ns < self._until_ns:
            ppm = self._shares.get(word)
            struck = ppm is not None and self._rngs[word].randrange(_PPM) < ppm
        self.counts[word] += struck
        return struck

    def any(self, word: str) -> bool:
        """Whether `word` may strike at all: who has much to prepare asks this first."""
        return self._demanded[word] > 0 or word in self._shares

    def pick(self, word: str, count: int) -> int:
        """Which of `count` ways it takes, having struck."""
        return self._rngs[word].randrange(count)

    def choice(self, word: str, ways: Sequence[_Way]) -> _Way:
        """One of `ways`, having struck: the one demanded, if it is among them."""
        wanted = self._ways[word].popleft() if self._ways[word] else ""
        found = [way for way in ways if way == wanted]
        return found[0] if found else ways[self.pick(word, len(ways))]

    def wants(self, word: str, way: str) -> bool:
        """Whether `word`, striking now, may take that way."""
        wanted = self._ways[word][0] if self._ways[word] else ""
        return wanted in ("", way)
