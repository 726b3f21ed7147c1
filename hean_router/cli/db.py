"""`hean db`: the query tables up, down, anew and compared; the journal copied and put back."""

import tempfile
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from hean_router.cli.output import emit, say
from hean_router.domain.errors import CommandError

T = TypeVar("T")

app = typer.Typer(
    name="db",
    help="The query store (SQLite or PostgreSQL) and copies of the journal.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Url = Annotated[
    str,
    typer.Option(
        "--url",
        help="Of the query store: sqlite+aiosqlite:///PATH or postgresql+asyncpg://USER@HOST/DB; "
        "default: the configuration's.  One with a password belongs there, or in "
        "HEAN_QUERY__URL: others may see a command line.",
    ),
]
State = Annotated[
    Path | None, typer.Option("--state", help="The router's folder; default: the configuration's.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Folder of router.toml and the others.")
]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", help="The journal; default: the one in --state.")
]
Force = Annotated[bool, typer.Option("--force", help="Over a file that is there.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object.")]


@app.command(epilog="Example: hean db upgrade --url postgresql+asyncpg://hean@localhost/hean")
def upgrade(
    to: Annotated[str, typer.Argument(help="A version; default: the newest.")] = "head",
    url: Url = "",
    state: State = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Make the tables, or bring them to a newer version."""
    from hean_router.store import schema

    _moved(_run(schema.upgrade(_url(url, state, config), to)), as_json=as_json)


@app.command(epilog="Example: hean db downgrade base; what is taken away is in the journal still.")
def downgrade(
    to: Annotated[str, typer.Argument(help="A version, or base: no tables at all.")],
    url: Url = "",
    state: State = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Take the tables back to an older version."""
    from hean_router.store import schema

    _moved(_run(schema.downgrade(_url(url, state, config), to)), as_json=as_json)


@app.command(epilog="Example: hean db rebuild; a running router goes on feeding by itself.")
def rebuild(
    url: Url = "",
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Empty the tables and fill them from the journal's first row on."""
    from hean_router.store.feeder import Feeder
    from hean_router.store.urls import DATABASE_FAULTS, explained

    at = _url(url, state, config)

    async def work(source: Any) -> int:
        feeder = Feeder(source, at)
        try:
            return await feeder.rebuild()
        except DATABASE_FAULTS as fault:
            raise explained(fault, at) from None
        finally:
            await feeder.close()

    with _snapshot(_journal(journal, state, config)) as source:
        rows = _run(work(source))
    _told({"rows": rows}, f"rebuilt from {rows} rows of the journal", as_json=as_json)


@app.command(epilog="Example: hean db check --json; exit code 1 if anything is amiss.")
def check(
    url: Url = "",
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Whether the tables are as this program wants them, and the journal's chain is whole.

    A running router is not disturbed.
    """
    from hean_router.store import schema

    at = _url(url, state, config)
    version = _run(schema.current(at)) if _is_there(at) else ""
    # Of tables at another version it is known that they differ.
    amiss = _run(schema.differences(at)) if version == schema.head() else []
    if version != schema.head():
        amiss = [f"tables at version {version or 'none'}, not {schema.head()}: hean db upgrade"]
    lines = [f"tables: {one}" for one in amiss or ["as they should be"]]
    read = _read(_journal(journal, state, config))
    lines.append(f"journal: {read.said}")
    if read.amiss:
        amiss = [*amiss, read.amiss]
    facts = {
        "ok": not amiss,
        "version": version,
        "newest": schema.head(),
        "amiss": amiss,
        "journal_rows": read.rows,
        "journal_hash": read.hash,
        "damaged_row": read.damaged,
    }
    _told(facts, "\n".join(lines), as_json=as_json)
    if amiss:
        raise typer.Exit(1)


@app.command(epilog="Example: hean db backup /backup/journal-2026-01-31.sqlite3")
def backup(
    file: Annotated[Path, typer.Argument(help="The copy to make.")],
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Copy the journal as of one moment, while a router runs or not, and check the copy."""
    from hean_router.store.backup import backup as copy

    done = copy(_journal(journal, state, config), file, _proved, force=force)
    _told(
        {"path": done.path, "rows": done.rows, "bytes": done.bytes},
        f"{done.path}: {done.rows} rows, {done.bytes} bytes, the chain holds",
        as_json=as_json,
    )


@app.command(epilog="Example: hean db restore /backup/journal-2026-01-31.sqlite3 --force")
def restore(
    file: Annotated[Path, typer.Argument(help="A copy that `db backup` made.")],
    state: State = None,
    journal: JournalFile = None,
    config: ConfigOption = None,
    force: Force = False,
    as_json: JsonFlag = False,
) -> None:
    """Put a copy in the journal's place; never while a router owns it.

    It gets a new installation tag: orders sent after the copy was made are not in it, and no key of
    theirs must be given again.  For the same reason trading is halted until `hean reset`, parents
    that were being worked are ended, and strategies stopped; a start asks the venues what came of
    everything since, and takes such orders back.
    """
    from hean_router.store.backup import restore as put_back
    from hean_router.store.gap import close_off
    from hean_router.store.journal_file import give_new_tag, held

    def renew(fresh: Path) -> None:
        close_off(fresh, "put back from a copy: what came after it is in no row")
        tags.append(give_new_tag(fresh, besides=target))

    target = _journal(journal, state, config)
    tags: list[str] = []
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with held(target):
        done = put_back(
            file,
            target,
            _proved,
            force=force,
            renew=renew,
        )
    note = (
        "trading is halted: look at positions and incidents once it runs, then hean reset; "
        "the query store will be rebuilt from it: by itself, or now by `hean db rebuild`"
    )
    _told(
        {
            "path": done.path,
            "rows": done.rows,
            "bytes": done.bytes,
            "tag": tags[0],
            "note": note,
        },
        f"{done.path}: {done.rows} rows, the chain holds; new orders' keys begin with h{tags[0]}\n"
        f"{note}",
        as_json=as_json,
    )


# ------------------------------------------------------------------------- how


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio

    return asyncio.run(work)


def _journal(given: Path | None, state: Path | None, config: Path | None) -> Path:
    from hean_router.config import load
    from hean_router.store.urls import JOURNAL_FILE

    return given or (state or load(config).state) / JOURNAL_FILE


def _url(given: str, state: Path | None, config: Path | None) -> Any:
    from hean_router.config import load
    from hean_router.store.urls import beside, read_url

    if not given and state is None:
        given = load(config).query.url.get_secret_value()
    if given == "off":
        raise CommandError("the configuration says that there is no query store", "give --url")
    return read_url(given or beside(_journal(None, state, config)))


def _is_there(url: Any) -> bool:
    """Looking must not make an empty SQLite file."""
    return url.get_backend_name() != "sqlite" or Path(url.database).exists()


def _moved(versions: tuple[str, str], *, as_json: bool) -> None:
    before, now = (version or "none" for version in versions)
    text = f"tables at version {now}" + (f" (were at {before})" if before != now else " already")
    _told({"before": versions[0], "version": versions[1]}, text, as_json=as_json)


def _told(facts: dict[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        emit(facts)
    else:
        say(text)


@dataclass(frozen=True)
class _Read:
    """What reading a journal has shown: `amiss` is empty for one that is whole, or not there."""

    said: str
    rows: int | None = None
    hash: str = ""
    amiss: str = ""
    damaged: int | None = None


def _read(path: Path) -> _Read:
    from hean_router.store import JournalDamaged, JournalError, verify

    if not path.exists():
        return _Read("none yet")
    try:
        rows, last = verify(path)
    except JournalError as fault:
        damaged = fault.seq if isinstance(fault, JournalDamaged) else None
        return _Read(f"{fault}; {fault.fix}", amiss=f"journal: {fault}", damaged=damaged)
    return _Read(f"{rows} rows, the chain holds", rows, last)


def _proved(path: Path) -> int:
    """How many rows the journal at `path` has, every one read; raises where its chain breaks."""
    from hean_router.store import verify

    return verify(path)[0]


@contextmanager
def _snapshot(path: Path) -> Iterator[Any]:
    """The rows of a journal as of now, whoever is writing it: those of a copy."""
    from hean_router.store.backup import copy
    from hean_router.store.journal_file import Journal

    if not path.is_file():
        raise CommandError(f"there is no journal at {path}", "name it with --journal or --state")
    with tempfile.TemporaryDirectory(prefix="hean-", dir=path.parent) as folder:
        twin = Path(folder) / path.name
        copy(path, twin)
        with closing(Journal.open(twin)) as journal:
            yield journal
