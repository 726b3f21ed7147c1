"""Orders and trades that memory has let go of, read from the journal's own rows.

Each row that is read is proven to follow the one before it.  Nothing here is behind: an index is
written in the transaction of its rows.
"""

import sqlite3
from collections.abc import Iterator
from decimal import Decimal

from msgspec import Struct, structs

from hean_router.domain.record import Filled, Row
from hean_router.oms import Orders, Parent
from hean_router.store.journal_file import (
    FAULTS,
    START,
    Journal,
    JournalDamaged,
    chained,
    decoded,
    error_of,
    formats_of,
)

_ROWS = (
    "SELECT r.seq, r.at_ns, r.kind, r.body, r.hash, p.hash "
    "FROM {} JOIN rows r ON r.seq = m.seq LEFT JOIN rows p ON p.seq = r.seq - 1 "
)
SCANNED = 500  # entries that one call looks at; who needs more goes on from where it ended


class Names(Struct, frozen=True):
    """A parent as the index has it."""

    parent: str
    symbol: str
    strategy: str
    at_ns: int


class Archive:
    """The past of a journal that this process owns, or of any open one.

    Raises `JournalError` where it cannot be read.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._formats = formats_of(journal.db, journal.path)

    # ------------------------------------------------------------------------- parents

    def parent(self, account: str, client_order_id: str) -> Parent | None:
        """The parent that was placed under that id; None if none was."""
        found = self._all(
            "SELECT parent FROM ix_parents WHERE account = ? AND client_order_id = ? "
            "ORDER BY parent DESC LIMIT 1",
            (account, client_order_id),
        )
        return self.by_id(found[0][0]) if found else None

    def by_id(self, name: str) -> Parent | None:
        """The parent of that name as its rows make it, whole; None if there was none."""
        orders = Orders()
        for row in self.rows_of(name):
            orders.apply(row)
        return orders.parents.get(name)

    def rows_of(self, name: str) -> list[Row]:
        """Every row about that parent and its orders, in the journal's order."""
        query = _ROWS.format("ix_marks m") + "WHERE m.parent = ? ORDER BY m.seq"
        return [row for _, row in self._rows(query, (name,))]

    def parents_of(self, account: str, before: str, limit: int = SCANNED) -> list[Names]:
        """Parents of `account`, the latest first, placed before the one of that name."""
        found = self._all(
            "SELECT parent, symbol, strategy, at_ns FROM ix_parents "
            "WHERE account = ? AND parent < ? ORDER BY parent DESC LIMIT ?",
            (account, before, limit),
        )
        return [Names(*one) for one in found]

    # ------------------------------------------------------------------------- trades

    def trade(self, venue: str, account: str, symbol: str, trade_id: str) -> bool:
        """Whether that trade stands booked."""
        return bool(
            self._all(
                "SELECT 1 FROM ix_trades "
                "WHERE trade_id = ? AND symbol = ? AND venue = ? AND account = ? LIMIT 1",
                (trade_id, symbol, venue, account),
            )
        )

    def fills(
        self, account: str, before: int | None, limit: int = SCANNED
    ) -> list[tuple[int, Filled]]:
        """Trades of `account` that stand, the latest first, of rows before that number.

        What was taken back in part is shown as what is left of it.
        """
        query = _ROWS.format(
            "(SELECT seq FROM ix_trades WHERE account = ? AND seq < ? ORDER BY seq DESC LIMIT ?) m"
        )
        bound = self._journal.seq + 1 if before is None else before
        found: list[tuple[int, Filled]] = []
        for seq, row in self._rows(query + "ORDER BY m.seq DESC", (account, bound, limit)):
            assert isinstance(row, Filled), f"row {seq} is indexed as a trade"
            found.append((seq, row))
        if not found:
            return found
        parts = {
            seq: {"qty": Decimal(qty), "fee": Decimal(fee)}
            for seq, qty, fee in self._all(
                "SELECT seq, qty, fee FROM ix_trades "
                "WHERE seq BETWEEN ? AND ? AND qty IS NOT NULL AND fee IS NOT NULL",
                (found[-1][0], found[0][0]),
            )
        }
        return [
            (seq, structs.replace(row, **parts[seq]) if seq in parts else row) for seq, row in found
        ]

    # ------------------------------------------------------------------------- rows

    def _all(self, query: str, values: tuple[object, ...]) -> list[tuple]:  # type: ignore[type-arg] # as SQLite gives them
        try:
            return self._journal.db.execute(query, values).fetchall()
        except FAULTS as fault:
            raise error_of(self._journal.path, fault, 0) from None
        except sqlite3.ProgrammingError as fault:  # closed: the router is stopping
            raise error_of(self._journal.path, fault, 0) from None

    def _rows(self, query: str, values: tuple[object, ...]) -> Iterator[tuple[int, Row]]:
        path = self._journal.path
        for seq, at_ns, kind, body, told, before in self._all(query, values):
            good = isinstance(kind, str) and isinstance(body, bytes)
            if not good or chained(before or START, seq, kind, body) != told:
                raise JournalDamaged(f"{path}: row {seq} is not what was written", seq)
            row = decoded(path, seq, kind, body, self._formats)
            if row.at_ns != at_ns:
                raise JournalDamaged(f"{path}: row {seq} is not what was written", seq)
            yield seq, row
