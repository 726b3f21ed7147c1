"""Both databases, each test with tables of its own; PostgreSQL is started once, by our script."""

import asyncio
import os
import subprocess
import uuid
from pathlib import Path

import pytest
from sqlalchemy import text

from hean_router.store import schema
from hean_router.store.urls import read_url

SCRIPT = Path(__file__).parents[2] / "config" / "postgres-for-tests.sh"
MISSING = 77


class Postgres:
    """A server of our own, in a folder of its own."""

    def __init__(self, folder, url):
        self.folder, self.url = folder, url

    @classmethod
    def make(cls):
        got = subprocess.run(["sh", SCRIPT, "start"], capture_output=True, text=True, timeout=300)
        if got.returncode == MISSING and not os.environ.get("CI"):
            pytest.skip(got.stderr.strip())
        assert got.returncode == 0, got.stderr
        folder, url = got.stdout.split()
        return cls(folder, url)

    def run(self, *words):
        subprocess.run(["sh", SCRIPT, *words], check=True, timeout=60)

    def stop(self):
        self.run("stop", self.folder, "immediate")

    def start(self):
        self.run("start", self.folder)

    def drop(self):
        self.run("drop", self.folder)

    async def database(self):
        """The URL of a new, empty database."""
        name = f"t{uuid.uuid4().hex}"
        engine = schema.make_engine(read_url(self.url), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(f"CREATE DATABASE {name}"))
        await engine.dispose()
        return read_url(self.url).set(database=name)


@pytest.fixture(scope="session")
def postgres():
    server = Postgres.make()
    yield server
    server.drop()


@pytest.fixture
def sqlite_url(tmp_path):
    return read_url(f"sqlite:///{tmp_path / 'query.sqlite3'}")


@pytest.fixture
def postgres_url(postgres):
    return asyncio.run(postgres.database())


@pytest.fixture(params=["sqlite", "postgres"])
def url(request):
    """Empty, without tables."""
    return request.getfixturevalue(f"{request.param}_url")
