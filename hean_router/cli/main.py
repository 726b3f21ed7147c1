"""The commands, each in a file of its own; heavy imports happen inside them."""

import os
import sys
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
