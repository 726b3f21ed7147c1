"""What goes wrong between a request for an order and its answer: dice for the faces that take them.

A face asks before it acts.  Shares come from `--faults`; `demand` lets a test have one at once.
Each fault draws from a generator of its own.
"""

from collections import Counter

from hean_router.sim.fault_spec import ORDERS, FaultSpec
from hean_router.sim.market import split

_PPM = 1_000_000


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

    def demand(self, word: str, times: int = 1) -> None:
        """Let `word` strike the next `times` it can.  KeyError: no such word."""
        if word not in ORDERS:
            raise KeyError(word)
        self._demanded[word] += times

    def calm(self) -> None:
        """Nothing more strikes: neither by its share nor because it was demanded."""
        self._shares.clear()
        self._demanded.clear()

    def strikes(self, word: str, now_ns: int) -> bool:
        """Whether it strikes here and now."""
        struck = self._demanded[word] > 0
        if struck:
            self._demanded[word] -= 1
        elif self._until_ns is None or now_ns < self._until_ns:
            ppm = self._shares.get(word)
            struck = ppm is not None and self._rngs[word].randrange(_PPM) < ppm
        self.counts[word] += struck
        return struck

    def pick(self, word: str, count: int) -> int:
        """Which of `count` ways it takes, having struck."""
        return self._rngs[word].randrange(count)
