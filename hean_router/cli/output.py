"""What commands print, and how they end."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, NoReturn

import orjson
import typer

from hean_router.domain.errors import CommandError, ConfigError, HeanError, VenueError


class ReaderGone(Exception):
    """Whoever reads our output has seen enough (`| head`): no error, but nothing left to do."""


class Exit(IntEnum):
    """What a command's exit code means."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    CONFIG = 3
    AUTH = 4
    RISK = 5
    VENUE = 6
    UNKNOWN = 7
    INTERRUPTED = 8


def code_of(fault: BaseException) -> Exit:
    """The exit code for what went wrong."""
    match fault:
        case CommandError():
            return Exit.USAGE
        case ConfigError():
            return Exit.CONFIG
        case VenueError():
            return Exit.VENUE
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case _:
            return Exit.FAILURE


def emit(value: Mapping[str, Any]) -> None:
    """One object on a line of its own, at once: the reader may be a pipe."""
    say(orjson.dumps(value).decode(), now=True)


class _Through:
    """Where lines go while a program runs that must not wait for who reads them."""

    err: Callable[[str], None] | None = None
    out: Callable[[str], None] | None = None


@contextmanager
def through(err: Callable[[str], None], out: Callable[[str], None]) -> Iterator[None]:
    """Hand what is told and said `later` to those, for as long as the block lasts."""
    _Through.err, _Through.out = err, out
    try:
        yield
    finally:
        _Through.err = _Through.out = None


def say_later(text: str) -> None:
    """A line for people, from a program that goes on whether they read it or not."""
    if _Through.out is not None:
        _Through.out(text)
    else:
        say(text, now=True)


def say(text: str = "", *, now: bool = False) -> None:
    """A line for people; `now` for one that somebody waits for."""
    try:
        sys.stdout.write(text + "\n")
        if now:
            sys.stdout.flush()
    except BrokenPipeError:
        # Under a name of our own: typer makes exit code 1 of the system's.
        raise ReaderGone from None


def tell(text: str) -> None:
    """A line about the work, apart from its result."""
    if _Through.err is not None:
        _Through.err(text)
        return
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def error(code: Exit, what: str, fix: str = "", **more: Any) -> dict[str, Any]:
    """The object that stands for a failed command's result."""
    return {"error": {"code": code.name.lower(), "what": what, "fix": fix, **more}}


def fail(fault: HeanError | OSError, *, as_json: bool) -> NoReturn:
    """Say what, why and how to mend it, once; end with the right code."""
    code = code_of(fault)
    fix = getattr(fault, "fix", "")
    if as_json:
        emit(error(code, str(fault), fix, **getattr(fault, "details", {})))
    tell(f"error: {fault}" + (f"\n  fix: {fix}" if fix else ""))
    raise typer.Exit(code)
