"""Up, down, up with rows, on both databases; the tables in the code are those of the history."""

import asyncio
import traceback

import pytest
import sqlalchemy as sa

from hean_router.domain.errors import CommandError, ConfigError
from hean_router.store import schema
from hean_router.store import tables as t
from hean_router.store.query import QueryStore
from hean_router.store.urls import StoreError, beside, read_url, shown
from tests.store.journal_rows import Rows, Story
from tests.store.test_store_tables import dump, feed


async def names(url):
    engine = schema.make_engine(url)
    async with engine.connect() as connection:
        found = await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names())
    await engine.dispose()
    return set(found) - {"alembic_version"}


def test_up_down_and_up_again_with_rows_in_it(url):
    source = Rows(Story(1).until(120))

    async def main():
        assert await schema.current(url) == ""
        assert await schema.upgrade(url) == ("", schema.head())
        assert await schema.upgrade(url) == (schema.head(), schema.head())
        await feed(source, url)
        full = await dump(url)
        assert await schema.upgrade(url) == (schema.head(), schema.head())
        assert await dump(url) == full  # what is there stays
        assert await schema.downgrade(url) == (schema.head(), "")
        assert await names(url) == set()
        await schema.upgrade(url)
        await feed(source, url)
        assert await dump(url) == full

    asyncio.run(main())


def test_the_history_makes_the_tables_that_the_code_means(url):
    async def main():
        await schema.upgrade(url)
        assert await names(url) == set(t.metadata.tables)
        assert await schema.differences(url) == []
        engine = schema.make_engine(url)
        async with engine.begin() as connection:  # and a difference would be seen
            await connection.execute(sa.text("ALTER TABLE orders ADD COLUMN odd INTEGER"))
            await connection.execute(sa.text("DROP INDEX ix_orders_account_seq"))
        await engine.dispose()
        return await schema.differences(url)

    found = "\n".join(asyncio.run(main()))
    assert "odd" in found
    assert "ix_orders_account_seq" in found


def test_a_step_that_fails_leaves_what_was(url, monkeypatch):
    from alembic import op

    real = op.create_table

    def fails(name, *columns, **more):
        if name == "orders":
            raise sa.exc.OperationalError("CREATE", {}, Exception("disk full"))
        return real(name, *columns, **more)

    monkeypatch.setattr(op, "create_table", fails)

    async def main():
        with pytest.raises(StoreError, match="disk full"):
            await schema.upgrade(url)
        return await names(url)

    assert asyncio.run(main()) == set()


def test_a_version_that_is_not_there(sqlite_url):
    with pytest.raises(CommandError, match="cannot be moved there") as told:
        asyncio.run(schema.upgrade(sqlite_url, "0999"))
    assert "0001" in told.value.fix


def test_the_migrations_come_with_the_package():
    from hean_router.native import backend

    inside = backend._ROOT / "hean_router" / "store" / "migrations"
    assert not inside.exists()
    with backend._migrations_inside():
        found = {path.name for path in inside.rglob("*")}
        assert {"env.py", "script.py.mako", "0001_what_the_journal_tells.py"} <= found
    assert not inside.exists()
    assert schema.folder().name == "migrations"


# ------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("not a url", "cannot be read"),
        ("postgresql://me:s3cret@host:notaport/db", "cannot be read"),
        ("mysql://me:s3cret@host/db", "no database we keep"),
        ("postgresql://me:s3cret@host", "names no database"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_a_wrong_url_is_one_clear_error_without_the_password(text, why):
    with pytest.raises(ConfigError, match=why) as told:
        read_url(text)
    assert told.value.fix
    assert "s3cret" not in str(told.value) + told.value.fix
    assert "s3cret" not in "".join(traceback.format_exception(told.value))


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///a.db", "sqlite+aiosqlite"),
        ("postgres://h/d", "postgresql+asyncpg"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg"),
    ],
)
def test_what_people_write_gets_the_driver_that_does_not_block(text, driver):
    assert read_url(text).drivername == driver


def test_the_default_is_beside_the_journal(tmp_path):
    url = read_url(beside(tmp_path / "journal.sqlite3"))
    assert url.database == str(tmp_path / "query.sqlite3")


def test_a_password_is_never_shown():
    url = read_url("postgresql://me:s3cret@h/d?sslpassword=s3cret2")
    assert "s3cret" not in shown(url)


@pytest.mark.parametrize(
    ("change", "why", "fix"),
    [
        ({"database": "nowhere"}, "nowhere", "createdb nowhere"),
        ({"query": {"host": "/nonexistent"}}, "query store", "start the server"),
        ({"host": "127.0.0.1", "port": 1, "query": {}}, "query store", "start the server"),
    ],
)
def test_a_database_that_is_not_there_says_what_why_and_fix(postgres, change, why, fix):
    url = read_url(postgres.url).set(password="s3cret", **change)

    async def main():
        store = QueryStore(url, wait_s=2)
        try:
            await store.ready()
        finally:
            await store.close()

    for work in (main, lambda: schema.upgrade(url)):
        with pytest.raises(StoreError, match=why) as told:
            asyncio.run(work())
        assert fix in told.value.fix
        assert "s3cret" not in str(told.value) + told.value.fix


def test_a_wrong_password_is_told_without_it(postgres_url):
    """Trusted by our socket: so the server is asked for a role that is not there."""
    url = postgres_url.set(username="nobody_here", password="s3cret")
    with pytest.raises(StoreError, match="nobody_here") as told:
        asyncio.run(schema.current(url))
    assert "user or password" in told.value.fix
    assert "s3cret" not in str(told.value)


def test_a_store_without_tables_says_how_to_make_them(url):
    async def main():
        store = QueryStore(url)
        try:
            with pytest.raises(StoreError, match="version none") as told:
                await store.ready()
            assert "hean db upgrade" in told.value.fix
            with pytest.raises(StoreError) as told:
                await store.orders("main")
            assert "hean db upgrade" in told.value.fix
        finally:
            await store.close()

    asyncio.run(main())


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        asyncio.run(schema.upgrade(read_url(f"sqlite:///{tmp_path}/file/query.sqlite3")))
