"""The commands, each in a file of its own; heavy imports happen inside them."""

import os
import sys
from pathlib import Path
from typing import Annotated

import click
import typer

from hean_router import __version__
from hean_router.cli.output import Exit, emit, fail, say, tell
from hean_router.domain.errors import HeanError

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
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object; NDJSON where it streams.")]


def main() -> None:
    """Run the command line; every error becomes one message and an exit code."""
    as_json = "--json" in sys.argv
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as end:
        code = end.exit_code
    except click.exceptions.Abort:
        code = _interrupted()
    except KeyboardInterrupt:
        code = _interrupted()
    except click.ClickException as fault:
        fault.show()
        code = Exit.USAGE
    except BrokenPipeError:
        # The reader has seen enough (`| head`): nothing to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    except (HeanError, OSError) as fault:
        try:
            fail(fault, as_json=as_json)
        except typer.Exit as end:
            code = end.exit_code
    sys.exit(int(code or 0))


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
        port_base=port_base,
        until_eof=until_eof,
    )
