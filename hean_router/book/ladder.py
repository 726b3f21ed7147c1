"""One side of a book."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

from hean_router.domain.feed import Level


class Ladder:
    """Price levels of one side, best last.

    The best price is kept at the END of the list: markets move there, so most changes shift only
    a handful of pointers.  Asks are kept under their negative price, so that both sides read the
    same.  `apply` is O(log n) a level plus the shift; `best` is O(1).  `version` rises with every
    message that may have changed something: what is derived from it holds meanwhile.
    """

    __slots__ = ("_keys", "_qty", "_sign", "version")

    def __init__(self, *, bids: bool) -> None:
        self.version = 0
        self._sign = 1 if bids else -1
        self._keys: list[int] = []
        self._qty: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def replace(self, levels: Iterable[Level]) -> None:
        """Forget everything and hold `levels` (any order; a price twice: the later counts)."""
        sign = self._sign
        self.version += 1
        held = {px * sign: qty for px, qty in levels}
        if 0 in held.values():
            held = {key: qty for key, qty in held.items() if qty}
        self._qty = held
        self._keys = sorted(self._qty)

    def apply(self, levels: Iterable[Level]) -> None:
        """Set each level in order; quantity 0 removes it, whether or not it was there."""
        if not levels:
            return  # most messages change one side only
        self.version += 1
        sign, keys, held = self._sign, self._keys, self._qty
        for px, qty in levels:
            key = px * sign
            if qty:
                if key not in held:
                    insort(keys, key)
                held[key] = qty
            elif key in held:
                del held[key]
                del keys[bisect_left(keys, key)]

    def cut(self, depth: int) -> None:
        """Keep the best `depth` levels only."""
        if (excess := len(self._keys) - depth) > 0:
            self.version += 1
            for key in self._keys[:excess]:
                del self._qty[key]
            del self._keys[:excess]

    def best(self) -> Level | None:
        """Best `(px, qty)`, None when empty."""
        if not self._keys:
            return None
        key = self._keys[-1]
        return (key * self._sign, self._qty[key])

    def best_px(self) -> int | None:
        """Best price, None when empty."""
        return self._keys[-1] * self._sign if self._keys else None

    def qty_at(self, px: int) -> int:
        """Quantity at `px`, 0 where there is no level."""
        return self._qty.get(px * self._sign, 0)

    def __iter__(self) -> Iterator[Level]:
        """Levels best first.  The ladder must not change meanwhile."""
        sign, held = self._sign, self._qty
        for key in reversed(self._keys):
            yield (key * sign, held[key])

    def top(self, depth: int) -> list[Level]:
        """The best `depth` levels, best first."""
        sign, held = self._sign, self._qty
        return [(key * sign, held[key]) for key in self._keys[: -depth - 1 : -1]]

    def columns(self, depth: int) -> tuple[list[int], list[int]]:
        """The best `depth` levels as two lists, best first: keys and quantities.

        A key is the price, on the ask side its negative.  For digests: half the time of `top`.
        """
        keys = self._keys[: -depth - 1 : -1]
        return keys, [*map(self._qty.__getitem__, keys)]

    def better_than(self, px: int) -> int:
        """How many levels are at `px` or better.  O(log n)."""
        return len(self._keys) - bisect_left(self._keys, px * self._sign)

    def check(self) -> None:
        """Assert every invariant.  O(n log n); for tests."""
        assert self._keys == sorted(self._qty), "keys and quantities disagree"
        assert all(qty > 0 for qty in self._qty.values()), "a level without quantity"
