"""`hean book`: one venue's book out of a capture, or all venues' as one, live."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path

import typer

from hean_router.app import Target
from hean_router.cli.output import Exit, emit, say, tell
from hean_router.config import Settings
from hean_router.domain.errors import CommandError
from hean_router.domain.feed import Level
from hean_router.domain.instrument import Instrument, Pair
from hean_router.replay.frames import FramesReport, TopMoved, level_texts, read_frames
from hean_router.venue import registry


def from_frames(path: Path, venue: str, symbol: str, *, tops: bool, as_json: bool) -> None:
    """Read the capture at `path` and print its book, or every change of the best bid and ask.

    A capture that breaks off is printed as far as it goes, then told of: exit 1.
    """
    if not venue or not symbol:
        missing = "--venue" if not venue else "--symbol"
        raise CommandError(
            f"--frames needs {missing}",
            f"hean book --venue okx --symbol BTC/USDT --frames {path}",
        )
    if venue.startswith("ccxt:"):
        raise CommandError(
            f"{venue} is read by a library, which knows no captures",
            f"native venues: {', '.join(registry.names())}",
        )
    connector = registry.connector(venue)
    with _file(path) as file:
        report = read_frames(file, connector, symbol, _tell_top if tops else None)
    if as_json and not tops:
        emit(report.to_json())
    elif tops:
        tell(_counts(report))
    else:
        _show(report)
    if report.damage is not None:
        # Said once more, apart from the result, which is as good as it can be.
        tell(f"error: {report.damage}\n  fix: {report.damage.fix}")
        raise typer.Exit(Exit.FAILURE)


@contextmanager
def _file(path: Path) -> Iterator[Path]:
    """A file that can be read twice: rules first, then frames; a pipe is written down for it."""
    if not path.exists():
        raise CommandError(f"{path}: there is no such file", "check the path after --frames")
    if path.is_dir():
        raise CommandError(f"{path}: this is a directory", "name one capture file in it")
    if path.is_file():
        yield path
        return
    with tempfile.NamedTemporaryFile(prefix="hean-", suffix=".capture") as copy:
        with path.open("rb") as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield Path(copy.name)


def _tell_top(instrument: Instrument, top: TopMoved) -> None:
    emit(
        {
            "at_ns": top.at_ns,
            "seq": top.seq,
            "bid": _level(instrument, top.bid),
            "ask": _level(instrument, top.ask),
        }
    )


def _level(instrument: Instrument, level: Level | None) -> list[str] | None:
    return None if level is None else level_texts(instrument, [level])[0]


def _counts(report: FramesReport) -> str:
    counts = report.counts
    proof = f"gaps {counts.gaps}"
    if counts.checksums_ok or counts.checksums_bad:
        proof += f", checksums {counts.checksums_ok} good and {counts.checksums_bad} bad"
    return (
        f"{report.instrument.venue} {report.symbol}: {report.frames} frames: "
        f"{counts.snapshots} snapshots, {counts.deltas} deltas, {counts.trades} trades, "
        f"{report.ignored} others, {report.malformed} malformed; {proof}"
    )


def _show(report: FramesReport) -> None:
    from rich.console import Console
    from rich.table import Table

    instrument = report.instrument
    state = report.state.value + (f": {report.reason}" if report.reason else "")
    seq = "" if report.seq is None else f", at {report.seq}"
    table = Table(title=f"{instrument.venue} {report.symbol}, {state}{seq}", title_justify="left")
    for name in ("bid qty", "bid", "ask", "ask qty"):
        table.add_column(name, justify="right", no_wrap=True)
    bids, asks = level_texts(instrument, report.bids), level_texts(instrument, report.asks)
    for bid, ask in zip_longest(bids, asks, fillvalue=("", "")):
        table.add_row(bid[1], bid[0], ask[0], ask[1])
    if bids or asks:
        Console(highlight=False).print(table)
    else:
        say(f"{instrument.venue} {report.symbol}, {state}: no book that may be read")
    say(_counts(report))


def live_book(
    symbol: str,
    using: tuple[Settings, Sequence[Target]],
    *,
    depth: int,
    timeout_s: float,
    watch: bool,
    seconds: float | None,
    as_json: bool,
) -> None:
    """Print the consolidated book of `symbol`, once or for as long as it is watched."""
    from hean_router.cli.live import go
    from hean_router.cli.watch import Look

    if not symbol:
        raise CommandError("which symbol?", "such as: hean book BTC/USDT --watch")
    settings, chosen = using
    look = Look(
        settings,
        chosen,
        Pair.parse(symbol),
        depth=depth,
        timeout_s=timeout_s,
        as_json=as_json,
        in_terminal=sys.stdout.isatty(),
    )
    go(look.watch(seconds) if watch else look.once())
