"""The commands, each in a file of its own; heavy imports happen inside them."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hean_router import __version__
from hean_router.cli.output import Exit, ReaderGone, emit, error, fail, say, tell
from hean_router.domain.errors import CommandError, HeanError

if TYPE_CHECKING:  # these cost a second to import, and `--help` wants none of them
    from hean_router.app import Target
    from hean_router.config import Settings

# Newer typers carry a click of their own: its exceptions are found by kinship, not by name.
ClickException: Any = typer.BadParameter.__mro__[2]
assert ClickException.__name__ == "ClickException", typer.BadParameter.__mro__

CTRL_C = 130  # what newer typers make of a KeyboardInterrupt; no code of ours

app = typer.Typer(
    name="hean",
    help="One book from many crypto venues, and a route through it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: hean demo",
)

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="Folder of router.toml and venues.toml.")
]
VenuesOption = Annotated[
    str,
    typer.Option("--venues", help="Only these, by commas; default: those of the configuration."),
]
VenuesFrom = Annotated[
    Path | None,
    typer.Option("--venues-from", help="Use the venues that `hean sim` announced, kept in a file."),
]
Patience = Annotated[
    float, typer.Option("--timeout", min=0.1, help="Seconds to wait for every venue's book.")
]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object; NDJSON where it streams.")]


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
        if code == CTRL_C:
            code = _interrupted()
        sys.stdout.flush()
    except typer.Exit as end:
        code = end.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = _interrupted()
    except ClickException as fault:
        if as_json:
            emit(error(Exit.USAGE, fault.format_message(), "see --help of the command"))
        fault.show()
        code = Exit.USAGE
    except (ReaderGone, BrokenPipeError):
        # Nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    except (HeanError, OSError) as fault:
        try:
            fail(fault, as_json=as_json)
        except typer.Exit as end:
            code = end.exit_code
    sys.exit(int(code or 0))


def load_targets(
    config: Path | None, venues: str, venues_from: Path | None
) -> "tuple[Settings, Sequence[Target]]":
    """The settings, and the venues that the command line picks."""
    from hean_router.app import targets
    from hean_router.config import load

    settings = load(config)
    return settings, targets(settings, names(venues), venues_from)


def names(text: str) -> list[str]:
    """Names by commas.

    >>> names("okx, kraken,")
    ['okx', 'kraken']
    """
    return [name.strip() for name in text.split(",") if name.strip()]


def _interrupted() -> int:
    tell("interrupted")
    return Exit.INTERRUPTED


@app.command(epilog="Example: hean version --json")
def version(as_json: JsonFlag = False) -> None:
    """The version of this program and of what it stands on."""
    import platform
    from importlib.metadata import version as of

    names = ("aiohttp", "ccxt", "msgspec", "orjson", "pydantic", "websockets")
    facts = {
        "hean-router": __version__,
        "python": platform.python_version(),
        **{name: of(name) for name in names},
    }
    if as_json:
        emit(facts)
    else:
        for name, value in facts.items():
            say(f"{name:12} {value}")


@app.command(epilog="Example: hean venues --json")
def venues(as_json: JsonFlag = False) -> None:
    """The venues we speak natively: parts, environments, fees, what proves their books."""
    from hean_router.cli.venues import report

    report(as_json=as_json)


@app.command(
    epilog="Examples: hean book BTC/USDT --watch; "
    "hean book --venue okx --symbol BTC/USDT --frames capture.ndjson.gz --json"
)
def book(
    symbol: Annotated[str, typer.Argument(help="As ccxt spells it: BTC/USDT, BTC/USDT:USDT.")] = "",
    venues: VenuesOption = "",
    watch: Annotated[bool, typer.Option("--watch", help="Until Ctrl-C or --seconds.")] = False,
    depth: Annotated[int, typer.Option(min=0, help="Levels a side; 0 = all.")] = 10,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long to watch.")] = None,
    timeout: Patience = 15.0,
    frames: Annotated[
        Path | None, typer.Option(help="Read this capture instead of the live venues.")
    ] = None,
    venue: Annotated[str, typer.Option(help="With --frames: whose frames to read.")] = "",
    named: Annotated[
        str, typer.Option("--symbol", help="With --frames: ccxt's spelling, or the venue's.")
    ] = "",
    tops: Annotated[
        bool, typer.Option("--tops", help="With --frames: every change of the top, as NDJSON.")
    ] = False,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """All venues' books of a pair as one, live; or one venue's book out of a capture."""
    if symbol and named and symbol != named:
        raise CommandError(f"two symbols: {symbol} and {named}", "give one")
    if frames is not None:
        from hean_router.cli.book import from_frames

        from_frames(frames, venue, named or symbol, tops=tops, as_json=as_json)
        return
    from hean_router.cli.book import live_book

    if tops:
        raise CommandError("--tops needs --frames", "for a live book there is --watch --json")
    live_book(
        named or symbol,
        load_targets(config, venues or venue, venues_from),
        depth=depth,
        timeout_s=timeout,
        watch=watch or seconds is not None,
        seconds=seconds,
        as_json=as_json,
    )


@app.command(
    epilog="Example: hean route BTC/USDT buy 2.5 --limit 65100 --exclude kraken; "
    "an order that finds no place at all is an answer too: exit code 0, and why.",
    context_settings={"ignore_unknown_options": True},  # so that -1 is a quantity, if a bad one
)
def route(
    symbol: Annotated[str, typer.Argument(help="As ccxt spells it: BTC/USDT, BTC/USDT:USDT.")],
    side: Annotated[str, typer.Argument(help="buy or sell.")],
    qty: Annotated[str, typer.Argument(help="In base, as a plain decimal.")],
    limit: Annotated[str | None, typer.Option(help="Worst price, as displayed.")] = None,
    all_in: Annotated[
        bool, typer.Option("--all-in", help="The limit is per unit received or given, fees in.")
    ] = False,
    venues: VenuesOption = "",
    exclude: Annotated[str, typer.Option(help="Without these, by commas.")] = "",
    books: Annotated[
        Path | None, typer.Option(help="Plan over the books in this file instead of live ones.")
    ] = None,
    timeout: Patience = 15.0,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """How an order would be split over the venues, and why.  Nothing is sent."""
    from hean_router.cli import route as cli

    order = cli.order_of(symbol, side, qty, limit, all_in=all_in)
    if books is not None:
        answer = cli.from_file(order, books, names(venues), names(exclude))
    else:
        from hean_router.cli.live import go

        settings, chosen = load_targets(config, venues, venues_from)
        answer = go(cli.from_venues(settings, chosen, order, names(exclude), timeout))
    cli.show(answer, as_json=as_json)


@app.command(
    epilog="Example: hean record okx kraken --symbols BTC/USDT --out captures --seconds 60"
)
def record(
    venues: Annotated[list[str], typer.Argument(help="Native venues: see hean venues.")],
    out: Annotated[Path, typer.Option(help="Folder for the files, one a venue.")],
    symbols: Annotated[
        str, typer.Option(help="By commas; default: those of the configuration.")
    ] = "",
    seconds: Annotated[
        float | None, typer.Option(min=0.1, help="How long; default: until Ctrl-C (exit code 8).")
    ] = None,
    timeout: Patience = 15.0,
    gzip: Annotated[bool, typer.Option(help="Compress the files.")] = True,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Raw frames with their times, one file a venue; what we send is written without secrets."""
    from hean_router.cli.record import record as keep

    settings, chosen = load_targets(config, ",".join(venues), venues_from)
    keep(
        settings,
        chosen,
        symbols=names(symbols),
        out=out,
        seconds=seconds,
        timeout_s=timeout,
        compress=gzip,
        as_json=as_json,
    )


@app.command(epilog="Example: hean doctor --venue okx --env demo")
def doctor(
    venue: Annotated[str, typer.Option(help="Only this one; default: all configured.")] = "",
    env: Annotated[str, typer.Option(help="With --venue: live, testnet, demo or a region.")] = "",
    symbol: Annotated[
        str, typer.Option(help="Whose book to ask for; default: the first configured.")
    ] = "",
    seconds: Annotated[float, typer.Option(min=0.1, help="How long to listen.")] = 4.0,
    venues_from: VenuesFrom = None,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """What works and what does not, here and at the venues, each with its fix."""
    from hean_router.cli.doctor import doctor as look

    look(
        venue=venue,
        env=env,
        symbol=symbol,
        seconds=seconds,
        config=config,
        venues_from=venues_from,
        as_json=as_json,
    )


@app.command(epilog="Example: hean demo --seconds 60 --seed 7")
def demo(
    seconds: Annotated[
        float | None,
        typer.Option(min=1, help="How long; default: until Ctrl-C in a terminal, else 30."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the simulated market.")] = 1,
    headless: Annotated[bool, typer.Option(help="No screen, only the summary.")] = False,
    config: ConfigOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Four simulated venues, one book from them, sample routes through it: no network, no keys."""
    from hean_router.cli.demo import demo as show
    from hean_router.config import load

    settings = load(config)
    code = show(settings, seconds=seconds, seed=seed, headless=headless, as_json=as_json)
    raise typer.Exit(code)


@app.command(
    epilog="Example: hean sim okx kraken --seed 7 > venues.json & "
    "sleep 2; hean book BTC/USDT --venues-from venues.json"
)
def sim(
    venues: Annotated[list[str], typer.Argument(help="binance, bybit, kraken, okx.")],
    seed: Annotated[int, typer.Option(help="Of the market and of everything random.")] = 1,
    symbols: Annotated[
        str, typer.Option(help="Listed symbols, as ccxt spells them, by commas; default: a few.")
    ] = "",
    replay: Annotated[
        Path | None, typer.Option(help="Play this capture as the venue's stream.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            help="Misbehave: word:value,… or storm; such as drop:0.01,cut:30s,stall:2m. "
            "`--faults help` lists the words."
        ),
    ] = "",
    limits: Annotated[
        str, typer.Option(help="The venue's own limits (venue), xN of them, or off.")
    ] = "venue",
    log: Annotated[
        Path | None,
        typer.Option(help="Folder for every order, fill and balance change: a file a venue."),
    ] = None,
    tiers: Annotated[
        str,
        typer.Option(help="Fee tiers: okx=0.0005/0.0002,… (taker/maker); default: the lowest."),
    ] = "",
    stray_bps: Annotated[
        float,
        typer.Option(min=0, max=500, help="How far one venue strays from the others, at times."),
    ] = 0.0,
    port_base: Annotated[
        int, typer.Option(min=0, max=65_000, help="First port, one up a venue; 0 = any free.")
    ] = 0,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", hidden=True, help="End when standard input closes.")
    ] = False,
) -> None:
    """Simulated venues on loopback, until Ctrl-C; the first line says where they are."""
    from hean_router.cli.sim import serve

    serve(
        venues,
        seed=seed,
        symbols=[symbol for symbol in symbols.split(",") if symbol],
        replay=replay,
        faults=faults,
        limits=limits,
        log=log,
        tiers=tiers,
        stray_bps=stray_bps,
        port_base=port_base,
        until_eof=until_eof,
    )
