"""A book as two dicts of texts: too simple to be wrong, too slow to be used."""

from decimal import Decimal
from functools import lru_cache
from zlib import crc32

from tests.integrity.wires import Said


@lru_cache(maxsize=1 << 18)
def plain(text: str) -> str:
    """One spelling for one number."""
    whole, _, part = text.partition(".")
    whole, part = whole.lstrip("0") or "0", part.rstrip("0")
    return f"{whole}.{part}" if part else whole


class _Values(dict[str, Decimal]):
    """Texts as numbers, remembered."""

    def __missing__(self, text: str) -> Decimal:
        if len(self) > 1 << 18:
            self.clear()
        self[text] = number = Decimal(text)
        return number


class _Roughly(dict[str, float]):
    """The same as floats: quicker to compare, and no two prices of a book are that near."""

    def __missing__(self, text: str) -> float:
        if len(self) > 1 << 18:
            self.clear()
        self[text] = number = float(text)
        return number


value = _Values().__getitem__
rough = _Roughly().__getitem__


@lru_cache(maxsize=1 << 18)
def digits(text: str, decimals: int) -> str:
    """Digits as Kraken sums them: so many decimals, no point, no zeros in front."""
    whole, _, part = text.partition(".")
    return (whole + part.ljust(decimals, "0")).lstrip("0")


class Naive:
    """Price text -> quantity text, each in its one spelling."""

    def __init__(self, depth: int = 0) -> None:
        self.depth = depth
        self.bids: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self._top: tuple[str | None, str | None] | None = None  # forgotten when it may change

    def copy(self) -> "Naive":
        other = Naive(self.depth)
        other.bids, other.asks = dict(self.bids), dict(self.asks)
        return other

    def apply(self, said: Said) -> None:
        if said.kind == "S":
            self.bids, self.asks = {}, {}
            self._top = None
        for side, changes in ((self.bids, said.bids), (self.asks, said.asks)):
            for px, qty in changes:
                if self._top and self._touches(side, px):
                    self._top = None
                if (amount := plain(qty)) == "0":
                    side.pop(plain(px), None)
                else:
                    side[plain(px)] = amount
        if self.depth:
            for side, worst in ((self.bids, min), (self.asks, max)):
                while len(side) > self.depth:
                    del side[worst(side, key=value)]

    def cut_to(self, count: int) -> "Naive":
        """Another book with the best levels only."""
        other = Naive()
        other.bids, other.asks = map(dict, self.best(count))
        return other

    def window(self, count: int) -> tuple[Decimal | None, Decimal | None]:
        """The worst prices that so many levels reach; None where there are no more."""
        bids, asks = self.best(count)
        low = value(bids[-1][0]) if len(bids) >= count else None
        return low, value(asks[-1][0]) if len(asks) >= count else None

    def within(self, window: tuple[Decimal | None, Decimal | None]) -> "Naive":
        """Another book with the levels inside a window only."""
        low, high = window
        other = Naive()
        other.bids = {p: q for p, q in self.bids.items() if low is None or value(p) >= low}
        other.asks = {p: q for p, q in self.asks.items() if high is None or value(p) <= high}
        return other

    def best(self, count: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The best levels of bids and asks, best first."""
        bids = sorted(self.bids, key=value, reverse=True)[:count]
        asks = sorted(self.asks, key=value)[:count]
        return [(px, self.bids[px]) for px in bids], [(px, self.asks[px]) for px in asks]

    @property
    def top(self) -> tuple[str | None, str | None]:
        if self._top is None:
            bid = max(self.bids, key=rough, default=None)
            self._top = bid, min(self.asks, key=rough, default=None)
        return self._top

    def _touches(self, side: dict[str, str], px: str) -> bool:
        """Whether a change at `px` may change the top."""
        assert self._top is not None
        best = self._top[side is self.asks]
        if best is None:
            return True
        return value(px) <= value(best) if side is self.asks else value(px) >= value(best)

    @property
    def crossed(self) -> bool:
        bid, ask = self.top
        return bid is not None and ask is not None and value(bid) >= value(ask)

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Naive)
        return self.bids == other.bids and self.asks == other.asks

    __hash__ = None  # type: ignore[assignment]

    # ------------------------------------------------------------------ digests

    def kraken_digest(self, px_decimals: int, qty_decimals: int) -> int:
        bids, asks = self.best(10)
        words = [digits(px, px_decimals) + digits(qty, qty_decimals) for px, qty in (*asks, *bids)]
        return crc32("".join(words).encode())

    def okx_digest(self) -> int:
        bids, asks = self.best(25)
        words = []
        for index in range(25):
            for side in (bids, asks):
                words += side[index : index + 1]
        digest = crc32(":".join(f"{px}:{qty}" for px, qty in words).encode())
        return digest - (1 << 32) if digest >= 1 << 31 else digest
