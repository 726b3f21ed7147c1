"""Fills as they were told, in order, for paging: a fold over rows, kept within bounds."""

from collections import deque
from collections.abc import Callable
from itertools import islice

from msgspec import structs

from hean_router.book.sweep import EXACT
from hean_router.domain.record import Filled, FillUndone, Row

KEPT = 4_000  # of an account, some 1 kB each; older ones are read from the journal


class Fills:
    """Every account's trades, the latest first.  Nothing here answers without an account.

    It must be told every row, in order: a trade's number is that of its row in the journal.  `seq`
    is the number of the last row before the first that it is told.
    """

    def __init__(self, kept: int = KEPT, *, seq: int = 0) -> None:
        self._kept = kept
        self.seq = self._begun = seq
        self._dropped: dict[str, int] = {}  # account -> the latest that is remembered no more
        self._seen: set[tuple[str, str, str, str]] = set()
        self._by_account: dict[str, deque[tuple[int, Filled]]] = {}

    def apply(self, row: Row) -> None:
        """Take a committed row; those that are no fills, or were told before, change nothing."""
        self.seq += 1
        if isinstance(row, FillUndone):
            self._undo(row)
        if not isinstance(row, Filled):
            return
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        if trade in self._seen:
            return
        mine = self._by_account.setdefault(row.account, deque())
        if len(mine) >= self._kept:
            self._dropped[row.account], old = mine.popleft()
            self._seen.discard((old.venue, old.account, old.symbol, old.trade_id))
        self._seen.add(trade)
        mine.append((self.seq, row))

    def _undo(self, row: FillUndone) -> None:
        """Show what is left of a trade that was taken back in part; all of it: none."""
        trade = (row.venue, row.account, row.symbol, row.trade_id)
        mine = self._by_account.get(row.account, deque())
        if trade not in self._seen:
            return  # too old to be shown
        for at in range(len(mine) - 1, -1, -1):
            number, fill = mine[at]
            if (fill.venue, fill.account, fill.symbol, fill.trade_id) != trade:
                continue
            if row.whole:
                self._seen.discard(trade)
                del mine[at]
            else:
                mine[at] = (
                    number,
                    structs.replace(
                        fill,
                        qty=EXACT.subtract(fill.qty, row.qty),
                        fee=EXACT.subtract(fill.fee, row.fee),
                    ),
                )
            return

    def forgotten(self, account: str) -> int:
        """The number of the row up to which that account's trades are in the journal alone."""
        return self._dropped.get(account, self._begun)

    def page(
        self, account: str, fits: Callable[[Filled], bool], before: int | None, limit: int
    ) -> tuple[list[Filled], int | None]:
        """Up to `limit` fills of `account`, latest first, older than `before`; where to go on."""
        found = (
            (number, row)
            for number, row in reversed(self._by_account.get(account, ()))
            if (before is None or number < before) and fits(row)
        )
        page = list(islice(found, limit + 1))
        more = len(page) > limit
        page = page[:limit]
        return [row for _, row in page], page[-1][0] if more else None
