"""What a router's journal says, read while nobody writes it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from hean_router.domain.record import decode


def rows_of(path: Path) -> list[tuple[int, Any]]:
    """All rows with their numbers."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT seq, body FROM rows ORDER BY seq").fetchall()
    return [(seq, decode(body)) for seq, body in found]
