"""A venue's history on disk: one NDJSON file a venue, written as things happen.

The only writer of it; who checks the client against it reads nothing else.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import orjson

from hean_router.sim.accounts import History, Row


class HistoryFiles:
    """Histories of several venues in one folder: `<venue>.orders.ndjson`.

    Each run begins its files anew: a simulator's order ids do too.  Rows are flushed to the system
    one by one, so a killed simulator has written all that it told anyone.  OSError: the folder
    cannot be made or written.
    """

    def __init__(self, folder: Path, venues: Iterable[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.paths = {venue: folder / f"{venue}.orders.ndjson" for venue in venues}
        self._files = {venue: path.open("wb", buffering=0) for venue, path in self.paths.items()}

    def writer(self, venue: str) -> History:
        """Writes one venue's rows; a full disk ends the simulator rather than the history."""
        file = self._files[venue]

        def write(row: Row) -> None:
            line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
            try:
                whole = file.write(line) == len(line)
            except OSError as fault:
                sys.exit(f"error: {self.paths[venue]}: {fault.strerror or fault}")
            if not whole:
                sys.exit(f"error: {self.paths[venue]}: no room for the next row")

        return write

    def close(self) -> None:
        """Close every file."""
        for file in self._files.values():
            file.close()
