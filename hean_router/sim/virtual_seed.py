"""What makes a run repeatable: randomness split by name, and a hash over all that happened."""

from collections import deque
from collections.abc import Callable
from hashlib import sha256
from random import Random

_BATCH = 1024  # lines hashed at once: one call into C for many events


class Seeds:
    """One seed, a generator for each name: a draw added in one place does not shift any other.

    Names are hashed with SHA-256, so neither PYTHONHASHSEED nor the order of asking matters.
    Asking twice for a name gives the same generator, gone on from where it stood.

    >>> a, b = Seeds(7), Seeds(7)
    >>> _ = b.rng("okx").random()
    >>> a.rng("kraken").random() == b.rng("kraken").random()
    True
    """

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self._rngs: dict[str, Random] = {}

    def number(self, name: str) -> int:
        """A 128-bit seed for `name`, for a component that makes its own generator."""
        return int.from_bytes(sha256(f"{self.seed}/{name}".encode()).digest()[:16])

    def rng(self, name: str) -> Random:
        """The generator of `name`."""
        rng = self._rngs.get(name)
        if rng is None:
            rng = self._rngs[name] = Random(self.number(name))
        return rng


class Trace:
    """A running SHA-256 over (time, component, text): equal hashes mean equal runs.

    `keep` remembers the last lines, `sink` gets each line as it is written: for printing two runs
    that differ, side by side.  Both cost time, the hash alone hardly any.

    >>> trace = Trace(keep=1)
    >>> trace.add(1_500_000_000, "okx", "up")
    >>> trace.events, trace.tail()
    (1, ['1.500000000 okx up'])
    """

    def __init__(self, *, keep: int = 0, sink: Callable[[str], None] | None = None) -> None:
        self.events = 0
        self._hash = sha256()
        self._fresh: list[tuple[int, str, str]] = []
        self._tail: deque[str] = deque(maxlen=keep)
        self._sink = sink
        self._told = keep > 0 or sink is not None

    def add(self, now_ns: int, component: str, text: str) -> None:
        """Something happened to `component` at `now_ns` of virtual monotonic time."""
        self.events += 1
        self._fresh.append((now_ns, component, text))
        if len(self._fresh) >= _BATCH:
            self._fold()
        if self._told:
            line = f"{now_ns // 1_000_000_000}.{now_ns % 1_000_000_000:09d} {component} {text}"
            self._tail.append(line)
            if self._sink is not None:
                self._sink(line)

    def hexdigest(self) -> str:
        """The hash so far; adding may go on."""
        self._fold()
        return self._hash.hexdigest()

    def tail(self) -> list[str]:
        """The last `keep` lines, oldest first."""
        return list(self._tail)

    def _fold(self) -> None:
        # Unit separators keep ("a", "b c") and ("a b", "c") apart.
        lines = [
            f"{now_ns}\x1f{component}\x1f{text}\x1e" for now_ns, component, text in self._fresh
        ]
        self._hash.update("".join(lines).encode())
        self._fresh.clear()
