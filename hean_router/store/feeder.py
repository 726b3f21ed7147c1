"""Feeds the query tables from the journal, in a task of its own, never in the way of an order.

It reads what the journal holds after the last row applied, a slice at a time, and moves the tables
and that mark in one transaction: whatever is cut off in the middle, every row counts once.  Nothing
is queued: however long the database is away, the journal is the queue, and memory stays as it is.
A database that is slow or gone is waited for, with time-outs and growing pauses; `lag` tells.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from msgspec import Struct
from sqlalchemy import Table, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from hean_router.domain import record as r
from hean_router.store import fold, room, schema
from hean_router.store import tables as t
from hean_router.store.urls import DATABASE_FAULTS, StoreError, explained, shown

log = logging.getLogger(__name__)

Numbered: TypeAlias = tuple[int, r.Row]

BATCH = 100  # journal rows a transaction
CHUNK = 25  # rows of a table a statement: what the loop is held for, about a millisecond
SLICE_S = 0.002  # reading the journal holds the loop no longer than this at a time
POLL_S = 0.25  # looks by itself that often, told or not
BATCH_S = 30.0  # a transaction that takes longer is given up and done again
PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 5.0


class RowSource(Protocol):
    """The journal, as far as the feeder needs it."""

    def rows(self, after: int = 0) -> Iterable[Numbered]:
        """Rows with their numbers, rising from the first above `after`; read lazily."""
        ...


class Lag(Struct, frozen=True):
    """How far the tables are behind the journal.

    `rows` that are known to wait, `seconds` for which some have; `why` is empty unless the database
    cannot be written.
    """

    rows: int
    seconds: float
    why: str


class Feeder:
    """Keeps the tables at `url` up with `source`.  `run` is the task; it ends when cancelled.

    `source` is read on the loop's own thread.  `committed(seq)` tells of new rows; without it they
    are found a little later.
    """

    def __init__(
        self, source: RowSource, url: URL, *, batch: int = BATCH, batch_s: float = BATCH_S
    ) -> None:
        assert batch > 0, "some rows at a time"
        self._source, self._url, self._batch, self._batch_s = source, url, batch, batch_s
        self._engine: AsyncEngine | None = None
        self._applied: int | None = None  # None: to be asked of the database
        self._head = 0  # the newest row we know of
        self._behind_since: float | None = None
        self._news = asyncio.Event()
        self._moved = asyncio.Event()
        self._why = ""

    @property
    def why(self) -> str:
        """Why the database cannot be written; empty if it can."""
        return self._why

    @property
    def applied(self) -> int:
        """The journal's row up to which the tables are known to stand; 0 before the first look."""
        return self._applied or 0

    def committed(self, seq: int) -> None:
        """The journal's newest row is `seq`.  Cheap: called after every commit."""
        if seq > self._head:
            self._head = seq
            if self._behind_since is None:
                self._behind_since = asyncio.get_running_loop().time()
        self._news.set()

    def lag(self) -> Lag:
        """Rows and seconds behind, and why."""
        rows = max(0, self._head - self.applied)
        since = self._behind_since
        waited = 0.0 if since is None else asyncio.get_running_loop().time() - since
        return Lag(rows, waited if rows else 0.0, self._why)

    async def run(self) -> None:
        """Feed until cancelled.  No fault ends it: it is told, and tried again."""
        pause = PAUSE_MIN_S
        try:
            while True:
                try:
                    while await self.once():
                        pause = PAUSE_MIN_S
                    self._told("")
                    pause = PAUSE_MIN_S
                    self._news.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), POLL_S)
                except asyncio.CancelledError:
                    raise
                # Whatever it is, the tables must go on when it has passed.
                except Exception as fault:  # noqa: BLE001 - told by `why`; nothing may end the task
                    self._told(str(self._explained(fault)))
                    await self.close()
                    await asyncio.sleep(pause)
                    pause = min(PAUSE_MAX_S, pause * 2)
        finally:
            await self.close()

    async def once(self) -> int:
        """Apply one batch; returns how many rows it had.  Raises what the database raises."""
        loop = asyncio.get_running_loop()
        self._must_have_room()
        async with asyncio.timeout(self._batch_s):
            if self._applied is None:
                await self._resume()
            assert self._applied is not None, "resumed"
            started = loop.time()
            rows = await self._read(self._applied)
            if rows:
                self._head = max(self._head, rows[-1][0])
                self._behind_since = self._behind_since or started
                after, self._applied = self._applied, None  # unknown until the commit is answered
                await self._write(after, rows)
                self._applied = rows[-1][0]
        if self.applied >= self._head:
            self._behind_since = None
        self._moved.set()
        self._moved.clear()
        return len(rows)

    async def caught_up(self, seq: int) -> None:
        """Wait until the tables stand at `seq` or later."""
        while self.applied < seq:
            await self._moved.wait()

    async def rebuild(self) -> int:
        """Empty the tables and feed them from the first row; returns how many rows there were.

        For `hean db rebuild`, and for whoever runs no `run` beside it.
        """
        await self._empty()
        count = 0
        while got := await self.once():
            count += got
        return count

    async def close(self) -> None:
        """Let the connections go; whoever feeds again opens new ones and asks where it stands."""
        engine, self._engine, self._applied = self._engine, None, None
        if engine is not None:
            # A dead server must not hold us here either.
            with suppress(*DATABASE_FAULTS):
                async with asyncio.timeout(schema.CONNECT_S):
                    await engine.dispose()

    # ------------------------------------------------------------------- where it stands

    async def _resume(self) -> None:
        """Find out where the tables stand, and whether they are of this journal and these rules."""
        async with self._open().connect() as connection:
            version = await connection.run_sync(schema.current_of)
            if version != schema.head():
                raise StoreError(
                    f"query store {shown(self._url)}: the tables are at version "
                    f"{version or 'none'}, this program is at {schema.head()}",
                    "run: hean db upgrade",
                )
            mark = (await connection.execute(select(t.feed))).mappings().one()
        if await self._is_ours(mark["seq"], mark["digest"], mark["fold"]):
            self._applied = mark["seq"]
        else:
            await self._empty()

    async def _is_ours(self, seq: int, digest: str, version: int) -> bool:
        if not seq:
            return version in {0, fold.VERSION}
        with closing(_iterator(self._source.rows(seq - 1))) as rows:
            found = next(rows, None)
        return (
            version == fold.VERSION
            and found is not None
            and found[0] == seq
            and _digest(found[1]) == digest
        )

    async def _empty(self) -> None:
        async with asyncio.timeout(self._batch_s), self._open().begin() as connection:
            await connection.execute(select(t.feed.c.seq).with_for_update())
            for table in t.metadata.sorted_tables:
                if table is not t.feed:
                    await connection.execute(delete(table))
            await connection.execute(_mark(0, "", fold.VERSION))
        self._applied = 0
        log.info("query store %s: emptied, to be fed from the first row", shown(self._url))

    # ------------------------------------------------------------------- a batch

    async def _read(self, after: int) -> list[Numbered]:
        """The next rows, read in slices: between two of them the loop does its real work."""
        loop = asyncio.get_running_loop()
        rows: list[Numbered] = []
        more = True
        while more and len(rows) < self._batch:
            until = loop.time() + SLICE_S
            more = False
            # A cursor never stays open over a wait: the journal goes on being written meanwhile.
            with closing(_iterator(self._source.rows(after))) as source:
                for numbered in source:
                    rows.append(numbered)
                    after = numbered[0]
                    if len(rows) == self._batch:
                        break
                    if loop.time() >= until:
                        more = True
                        break
            await asyncio.sleep(0)
        return rows

    def _must_have_room(self) -> None:
        """On a disk of our own; raises `OSError`."""
        if self._url.get_backend_name() == "sqlite":
            room.must_have(Path(self._url.database or "").absolute().parent)

    async def _write(self, after: int, rows: Sequence[Numbered]) -> None:
        async with self._open().begin() as connection:
            # The lock, on PostgreSQL: two feeders on one database take turns, and one finds out.
            mark = select(t.feed.c.seq).with_for_update()
            stands = (await connection.execute(mark)).scalar_one()
            if stands != after:
                raise StoreError(
                    f"query store {shown(self._url)}: another process feeds it too "
                    f"(at row {stands}, not {after})",
                    "give every router a store of its own",
                )
            work = fold.Fold()
            await _load(connection, work, fold.needs(rows))
            for number, (seq, row) in enumerate(rows, 1):
                work.apply(seq, row)
                if number % CHUNK == 0:
                    await asyncio.sleep(0)
            for table, lines in work.changed():
                for start in range(0, len(lines), CHUNK):
                    await connection.execute(
                        _upsert(table, connection.dialect.name), lines[start : start + CHUNK]
                    )
                    await asyncio.sleep(0)
            for key in work.gone():
                named = [t.fills.c[name] == value for name, value in key.items()]
                await connection.execute(t.fills.delete().where(*named))
            seq, last = rows[-1]
            await connection.execute(_mark(seq, _digest(last), fold.VERSION))

    def _open(self) -> AsyncEngine:
        if self._engine is None:
            # A connection of its own: however many read, the feeder need not wait for one.
            self._engine = schema.make_engine(self._url, pool_size=1, max_overflow=0)
        return self._engine

    def _explained(self, fault: Exception) -> Exception:
        if isinstance(fault, StoreError):
            return StoreError(f"{fault}; {fault.fix}")
        if isinstance(fault, DATABASE_FAULTS):
            found = explained(fault, self._url)
            return StoreError(f"{found}; {found.fix}")
        return StoreError(f"query store {shown(self._url)}: {type(fault).__name__}: {fault}")

    def _told(self, why: str) -> None:
        if why != self._why:
            self._why = why
            if why:
                log.warning("%s (orders go on; the tables will catch up)", why)
            else:
                log.info("query store %s: feeding again", shown(self._url))


def _iterator(rows: Iterable[Numbered]) -> Any:
    """Something to close, whatever the source hands out."""
    return (numbered for numbered in rows)


async def _load(connection: AsyncConnection, work: fold.Fold, needs: fold.Needs) -> None:
    """Everything that the batch touches and that is there already."""

    async def take(table: Table, *where: Any) -> list[Any]:
        lines = (await connection.execute(select(table).where(*where))).mappings().all()
        work.load(table, [dict(line) for line in lines])
        await asyncio.sleep(0)
        return list(lines)

    parents = set(needs.parents)
    for column, wanted in (
        (t.children.c.key, needs.children),
        (t.children.c.venue_order_id, needs.named),
    ):
        if wanted:
            found = await take(t.children, column.in_(sorted(wanted)))
            parents |= {line["parent"] for line in found}
    if parents:
        await take(t.orders, t.orders.c.id.in_(sorted(parents)))
    if needs.named:
        nobody = t.fills.c.credited.is_(False)
        await take(t.fills, t.fills.c.venue_order_id.in_(sorted(needs.named)), nobody)
    # Some more than are needed, by fewer and simpler questions.
    accounts, venues = (sorted({place[n] for place in needs.places}) for n in (0, 1))

    def of(table: Table) -> Any:
        return and_(table.c.account.in_(accounts), table.c.venue.in_(venues))

    if needs.trades:
        await take(t.fills, t.fills.c.trade_id.in_(sorted(needs.trades)), of(t.fills))
    if needs.places:
        for table in (t.positions, t.wallets, t.balances):
            await take(table, of(table))
    if needs.foreign:
        name = t.foreign_orders.c.venue_order_id
        await take(t.foreign_orders, name.in_(sorted(needs.foreign)))


_UPSERTS: dict[tuple[str, str], Any] = {}


def _upsert(table: Table, dialect: str) -> Any:
    """Put whole rows, over those of the same key; one statement a table, compiled once."""
    if (dialect, table.name) not in _UPSERTS:
        make: Callable[[Table], Any] = (
            postgresql.insert if dialect == "postgresql" else sqlite.insert
        )
        statement = make(table)
        keys = [column.name for column in table.primary_key]
        _UPSERTS[dialect, table.name] = statement.on_conflict_do_update(
            index_elements=keys,
            set_={
                column.name: statement.excluded[column.name]
                for column in table.columns
                if column.name not in keys
            },
        )
    return _UPSERTS[dialect, table.name]


def _mark(seq: int, digest: str, version: int) -> Any:
    return update(t.feed).where(t.feed.c.id == 1).values(seq=seq, digest=digest, fold=version)


def _digest(row: r.Row) -> str:
    return hashlib.sha256(r.encode(row)).hexdigest()[:32]
