"""Where in the journal to find what memory has let go of: parents, their rows, trades.

Tables in the journal's own file, written in the transaction that writes the rows.  They follow from
the rows, and are made of them where they are missing: after a repair, or an older program.  The
chain does not prove them; what is read by them is proven row by row, and `differences` holds all of
them against the rows.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from decimal import Context, Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct

_EXACT = Context(prec=400)
NOTE: Final = "indexed"  # in `meta`: every row up to there is in these tables
TABLES: Final = ("ix_parents", "ix_marks", "ix_trades")
_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS ix_parents (
    parent TEXT PRIMARY KEY, account TEXT NOT NULL, client_order_id TEXT NOT NULL,
    symbol TEXT NOT NULL, strategy TEXT NOT NULL, at_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS ix_clients ON ix_parents (account, client_order_id)",
    "CREATE INDEX IF NOT EXISTS ix_accounts ON ix_parents (account, parent)",
    """CREATE TABLE IF NOT EXISTS ix_marks (
    parent TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (parent, seq)
) STRICT, WITHOUT ROWID""",
    # `qty` and `fee`: what is left of a trade that was taken back in part, up to row `undone`.
    """CREATE TABLE IF NOT EXISTS ix_trades (
    seq INTEGER PRIMARY KEY, venue TEXT NOT NULL, account TEXT NOT NULL, symbol TEXT NOT NULL,
    trade_id TEXT NOT NULL, qty TEXT, fee TEXT, undone INTEGER NOT NULL DEFAULT 0
) STRICT""",
    "CREATE INDEX IF NOT EXISTS ix_trade_ids ON ix_trades (trade_id, symbol, venue, account)",
)
_ID = "trade_id = ? AND symbol = ? AND venue = ? AND account = ?"
_KEY_LEN, _PARENT_AT = 17, slice(4, 12)  # where an order's key names its parent
# Of these the key is an order's of ours; a foreign order's is anybody's.
_OF_CHILDREN: Final = frozenset(
    (
        "child_intended",
        "child_withdrawn",
        "child_acked",
        "child_rejected",
        "child_unknown",
        "child_reported",
        "child_absent",
        "cancel_intended",
        "cancel_answered",
    )
)
_OF_PARENTS: Final = frozenset(
    ("parent_placed", "decided", "parent_cancel_asked", "parent_ended", "filled", "fill_undone")
)


class _Intent(Struct):
    account: str = ""
    client_order_id: str = ""
    symbol: str = ""
    strategy: str = ""


class Brief(Struct):
    """What of any row's JSON these tables hold; a tenth of what reading all of it costs."""

    at_ns: int
    parent: str = ""
    key: str = ""
    venue: str = ""
    account: str = ""
    symbol: str = ""
    trade_id: str = ""
    whole: bool = False
    qty: Decimal | None = None
    fee: Decimal | None = None
    intent: _Intent | None = None


_brief: msgspec.json.Decoder[Brief] = msgspec.json.Decoder(Brief)


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables where they are not."""
    for statement in _SCHEMA:
        db.execute(statement)


def noted(db: sqlite3.Connection) -> int:
    """The row up to which they are whole; what was written since may be in them too."""
    found = db.execute("SELECT value FROM meta WHERE name = ?", (NOTE,)).fetchone()
    text = "" if found is None else str(found[0])
    return int(text) if text.isascii() and text.isdecimal() else 0


def note(db: sqlite3.Connection, seq: int) -> None:
    """They are whole up to row `seq`."""
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (NOTE, str(seq)))


def briefs(rows: Iterable[tuple[int, str, bytes]]) -> Iterator[tuple[int, str, Brief]]:
    """Number, kind and brief of rows as they are written; raises `msgspec.MsgspecError`."""
    for seq, kind, body in rows:
        if kind in _OF_CHILDREN or kind in _OF_PARENTS:
            yield seq, kind, _brief.decode(body)


def add(db: sqlite3.Connection, rows: Iterable[tuple[int, str, Any]]) -> None:
    """Enter rows (number, kind, the row or its brief), in a transaction of the caller's.

    Entering a row again changes nothing, if all after it are entered again too.
    """
    marks: list[tuple[str, int]] = []
    for seq, kind, row in rows:
        if parent := parent_of(kind, row):
            marks.append((parent, seq))
        if kind == "parent_placed":
            intent = row.intent
            names = (intent.account, intent.client_order_id, intent.symbol, intent.strategy)
            db.execute(
                "INSERT OR REPLACE INTO ix_parents VALUES (?, ?, ?, ?, ?, ?)",
                (row.parent, *names, row.at_ns),
            )
        elif kind == "filled":
            db.execute(
                "INSERT OR REPLACE INTO ix_trades (seq, venue, account, symbol, trade_id) "
                "VALUES (?, ?, ?, ?, ?)",
                (seq, row.venue, row.account, row.symbol, row.trade_id),
            )
        elif kind == "fill_undone":
            _undo(db, seq, row)
    if marks:
        db.executemany("INSERT OR IGNORE INTO ix_marks VALUES (?, ?)", marks)


def parent_of(kind: str, row: Any) -> str:
    """The parent that a row is about; empty if it is about none."""
    if kind in _OF_PARENTS and row.parent:
        return str(row.parent)
    if kind in _OF_CHILDREN and len(row.key) == _KEY_LEN:
        return str(row.key[_PARENT_AT])
    return ""


def _undo(db: sqlite3.Connection, seq: int, row: Any) -> None:
    trade = (row.trade_id, row.symbol, row.venue, row.account)
    if row.whole:
        db.execute(f"DELETE FROM ix_trades WHERE {_ID}", trade)  # noqa: S608 - a constant
        return
    found = db.execute(
        "SELECT t.seq, t.qty, t.fee, r.body FROM ix_trades t JOIN rows r ON r.seq = t.seq "  # noqa: S608
        f"WHERE {_ID} AND t.undone < ?",
        (*trade, seq),
    ).fetchone()
    if found is None:
        return
    at, qty, fee, body = found
    if qty is None:
        booked = _brief.decode(body)
        qty, fee = booked.qty or Decimal(0), booked.fee or Decimal(0)
    left = (_EXACT.subtract(Decimal(qty), row.qty), _EXACT.subtract(Decimal(fee), row.fee))
    db.execute(
        "UPDATE ix_trades SET qty = ?, fee = ?, undone = ? WHERE seq = ?",
        (str(left[0]), str(left[1]), seq, at),
    )


def forget_after(db: sqlite3.Connection, seq: int) -> None:
    """Rows after `seq` were told to have failed, and are taken out again."""
    db.execute(
        "DELETE FROM ix_parents WHERE parent IN (SELECT parent FROM ix_marks WHERE seq > ?) "
        "AND NOT EXISTS (SELECT 1 FROM ix_marks m WHERE m.parent = ix_parents.parent AND seq <= ?)",
        (seq, seq),
    )
    db.execute("DELETE FROM ix_marks WHERE seq > ?", (seq,))
    db.execute("DELETE FROM ix_trades WHERE seq > ?", (seq,))


def rebuild(db: sqlite3.Connection) -> None:
    """Throw the tables away: the next opening makes them of the rows."""
    for table in TABLES:
        db.execute(f"DROP TABLE IF EXISTS {table}")
    db.execute("DELETE FROM meta WHERE name = ?", (NOTE,))


def differences(db: sqlite3.Connection, rows: Iterable[tuple[int, str, bytes]]) -> list[str]:
    """Hold the tables against `rows`, all of the journal's; what is not as they make it, in words.

    Makes them anew in memory: some 200 bytes a row.
    """
    with sqlite3.connect(":memory:", isolation_level=None) as fresh:
        fresh.execute("CREATE TABLE rows (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
        prepare(fresh)
        for seq, kind, body in rows:
            if kind == "filled":
                fresh.execute("INSERT INTO rows VALUES (?, ?)", (seq, body))
            add(fresh, briefs(((seq, kind, body),)))
        out = []
        for table in TABLES:
            query = f"SELECT * FROM {table} ORDER BY 1, 2"  # noqa: S608 - a constant
            theirs, ours = db.execute(query), fresh.execute(query)
            for number, expected in enumerate(ours):
                if (found := theirs.fetchone()) != expected:
                    out.append(f"{table}: entry {number} is {found}, the rows make {expected}")
                    break
            else:
                if (found := theirs.fetchone()) is not None:
                    out.append(f"{table}: {found}, and no row makes it")
    fresh.close()
    return out
