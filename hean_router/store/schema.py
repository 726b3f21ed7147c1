"""The tables' versions: up, down, and where they stand; Alembic does the work.

Each way is one transaction on both databases: a process that dies in the middle leaves what was.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError as AlembicError
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from hean_router.domain.errors import CommandError
from hean_router.store.tables import metadata
from hean_router.store.urls import DATABASE_FAULTS, StoreError, explained

CONNECT_S = 5.0
COMMAND_S = 10.0


def folder() -> Path:
    """Where the migrations are: inside the package, or at the top of a source tree."""
    here = Path(__file__).resolve().parent
    for place in (here / "migrations", here.parents[1] / "migrations"):
        if (place / "env.py").is_file():
            return place
    raise StoreError("the migrations are missing", "install the package anew")


def make_engine(url: URL, *, command_s: float = COMMAND_S, **options: Any) -> AsyncEngine:
    """An engine whose every wait ends: connecting, and each statement."""
    if url.get_backend_name() == "postgresql":
        connect_args: dict[str, Any] = {
            "timeout": CONNECT_S,
            "command_timeout": command_s,
            "server_settings": {"application_name": "hean-router"},
        }
        return create_async_engine(url, connect_args=connect_args, **options)
    engine = create_async_engine(url, connect_args={"timeout": command_s}, **options)

    @event.listens_for(engine.sync_engine, "connect")
    def _opened(connection: Any, _record: object) -> None:
        # Python's module would commit before a CREATE TABLE and begin late; we say BEGIN.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        # A power cut may cost the last batches: they are fed again.
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def head() -> str:
    """The newest version there is."""
    found = ScriptDirectory.from_config(_config(None)).get_current_head()
    assert found is not None, "there is a first revision"
    return found


def current_of(connection: Connection) -> str:
    """The version of the tables behind `connection`; empty if there are none of ours."""
    return MigrationContext.configure(connection).get_current_revision() or ""


async def current(url: URL) -> str:
    """The version of the tables at `url`; empty if there are none of ours."""
    return str(await _within(url, current_of))


async def upgrade(url: URL, to: str = "head") -> tuple[str, str]:
    """Bring the tables up; returns the versions before and after.  A SQLite file is made."""
    if url.get_backend_name() == "sqlite":
        assert url.database is not None, "read_url saw to it"
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise explained(fault, url) from None
    return await _move(url, lambda config: command.upgrade(config, to))


async def downgrade(url: URL, to: str = "base") -> tuple[str, str]:
    """Take the tables down; what they held can be had from the journal again."""
    return await _move(url, lambda config: command.downgrade(config, to))


async def differences(url: URL) -> list[str]:
    """How the tables at `url` differ from `tables.py`, one line each; none if all is well."""

    def look(connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return [str(one) for one in compare_metadata(context, metadata)]

    found: list[str] = await _within(url, look)
    return found


async def _move(url: URL, way: Callable[[Config], None]) -> tuple[str, str]:
    def go(connection: Connection) -> tuple[str, str]:
        before = current_of(connection)
        try:
            way(_config(connection))
        except AlembicError as fault:
            raise CommandError(
                f"the tables cannot be moved there: {fault}",
                f"versions: {', '.join(_versions())}; also head and base",
            ) from None
        return before, current_of(connection)

    moved: tuple[str, str] = await _within(url, go)
    return moved


async def _within(url: URL, work: Callable[[Connection], Any]) -> Any:
    """Do `work` in a transaction at `url`; whatever the database says becomes a `StoreError`."""
    engine = make_engine(url, command_s=300.0, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(work)
    except DATABASE_FAULTS as fault:
        raise explained(fault, url) from None
    finally:
        await engine.dispose()


def _versions() -> list[str]:
    scripts = ScriptDirectory.from_config(_config(None)).walk_revisions()
    return sorted(script.revision for script in scripts)


def _config(connection: Connection | None) -> Config:
    config = Config()
    # Alembic reads % as the start of a name.
    config.set_main_option("script_location", str(folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
