"""The top N levels of a book, and what changed in them since last asked."""

from hean_router.sim.exchange import BookLevel, Exchange, Side


class TopWindow:
    """A venue's depth-limited view: levels entering and leaving the window are changes too.

    Shared by all subscribers of a topic: everyone sees the same sequence.
    """

    def __init__(self, exchange: Exchange, symbol: str, depth: int) -> None:
        self.symbol = symbol
        self.depth = depth
        self._exchange = exchange
        self._seen: dict[Side, dict[int, BookLevel]] = {side: {} for side in Side}
        self.changes()

    def snapshot(self) -> tuple[list[BookLevel], list[BookLevel]]:
        """Bids and asks as last seen by `changes`, best first."""
        bids = sorted(self._seen[Side.BUY].values(), reverse=True)
        return bids, sorted(self._seen[Side.SELL].values())

    def changes(self) -> tuple[list[BookLevel], list[BookLevel]]:
        """Bids and asks that differ from the last call, best first; `qty` 0 left the window."""
        book = self._exchange.book(self.symbol, self.depth)
        bids, asks = (self._diff(side, levels) for side, levels in zip(Side, book, strict=True))
        return sorted(bids, reverse=True), sorted(asks)

    def _diff(self, side: Side, levels: list[BookLevel]) -> list[BookLevel]:
        before = self._seen[side]
        now = {level.px: level for level in levels}
        self._seen[side] = now
        changed = [level for px, level in now.items() if before.get(px) != level]
        changed += [BookLevel(px, 0, 0) for px in before if px not in now]
        return changed
