"""Which database the query store lives in, and what to say when it cannot be had."""

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from hean_router.domain.errors import ConfigError, HeanError

JOURNAL_FILE = "journal.sqlite3"
QUERY_FILE = "query.sqlite3"

# What people write, and the driver that does not block the loop.
_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "sqlite+aiosqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "postgresql+asyncpg": "postgresql+asyncpg",
}
_FORMS = "use sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER:PASSWORD@HOST/DATABASE"


class StoreError(HeanError):
    """The query store cannot be used now.  Orders do not need it; people and reports do."""


def beside(journal: Path) -> str:
    """The default: a SQLite file next to the journal.

    >>> beside(Path("/var/lib/hean/journal.sqlite3"))
    'sqlite+aiosqlite:////var/lib/hean/query.sqlite3'
    """
    return f"sqlite+aiosqlite:///{journal.parent / QUERY_FILE}"


def read_url(text: str) -> URL:
    """The address, with the driver put in; raises `ConfigError`, which never shows a password.

    >>> read_url("postgres://me:secret@db/hean").drivername
    'postgresql+asyncpg'
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The library's own words would repeat the address, password and all.
        raise ConfigError("the store's URL cannot be read", _FORMS) from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise ConfigError(
            f"the store's URL names {url.drivername!r}, which is no database we keep", _FORMS
        )
    if driver.startswith("sqlite"):
        if url.host or not url.database or url.database == ":memory:":
            raise ConfigError(f"the store's URL {shown(url)} names no file", _FORMS)
    elif not url.database:
        raise ConfigError(f"the store's URL {shown(url)} names no database", _FORMS)
    return url.set(drivername=driver)


def shown(url: URL) -> str:
    """The address for people: the password, wherever it stands, as stars."""
    hidden = {key: "***" for key in url.query if "pass" in key.lower()}
    return url.update_query_dict(hidden).render_as_string(hide_password=True)


def explained(fault: BaseException, url: URL) -> StoreError:
    """What went wrong with the database at `url`, why, and what to do about it."""
    cause = fault.orig if isinstance(fault, DBAPIError) and fault.orig is not None else fault
    # Drivers wrap one another; the innermost says what happened.
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = _without_secret(str(cause).strip().partition("\n")[0] or type(cause).__name__, url)
    return StoreError(f"query store {shown(url)}: {text}", _fix(fault, cause, url))


def _without_secret(text: str, url: URL) -> str:
    secrets = [str(url.password)] if url.password else []
    secrets += [
        one
        for key, value in url.query.items()
        if "pass" in key.lower()
        for one in ([value] if isinstance(value, str) else value)
    ]
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text


def _fix(fault: BaseException, cause: BaseException, url: URL) -> str:
    kind = type(cause).__name__
    if isinstance(fault, NoSuchModuleError | ImportError):
        return "install the driver: pip install aiosqlite asyncpg"
    if isinstance(cause, TimeoutError):
        return "see that the server answers, and is not overloaded or cut off"
    if kind == "InvalidCatalogNameError":
        return f"make it: createdb {url.database}"
    if kind in {"InvalidPasswordError", "InvalidAuthorizationSpecificationError"}:
        return "mend user or password in the URL"
    if kind in {"UndefinedTableError", "UndefinedColumnError"} or "no such table" in str(cause):
        return "make the tables: hean db upgrade"
    if url.get_backend_name() == "sqlite":
        return "see that the file's folder exists and can be written"
    if isinstance(cause, OSError):
        return "start the server, or mend host and port in the URL"
    return "see the server's log"


DATABASE_FAULTS = (SQLAlchemyError, OSError, TimeoutError)
