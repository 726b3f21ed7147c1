"""`hean record`: raw frames of live venues, one file a venue, read back bit for bit."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer

from hean_router import __version__
from hean_router.app import Router, Target
from hean_router.cli import live
from hean_router.cli.output import Exit, emit, say, tell
from hean_router.config import Settings
from hean_router.domain.errors import CommandError, HeanError
from hean_router.domain.instrument import Pair, Part
from hean_router.replay import CaptureError, Recorder
from hean_router.runtime.clock import wall_ns
from hean_router.runtime.loop import Interrupted, run

PROGRESS_S = 5.0
LIBRARIES = ("aiohttp", "websockets")


@dataclass
class Counts:
    """What has been written of one venue."""

    connections: int = 0
    received: int = 0
    sent: int = 0
    answers: int = 0
    bytes: int = 0  # of received frames and answers, before compression


class Tape:
    """One venue's recording.  Its file is made with the first thing there is to write."""

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self.target = path, target
        self.counts = Counts()
        self.fault: CaptureError | None = None
        self.failed = asyncio.Event()
        self._recorder: Recorder | None = None

    def write(self, kind: str, now_ns: int, *rest: Any) -> None:
        """One line, by the `Recorder`'s own verbs.  A disk that is full ends the recording."""
        if self.fault is not None:
            return
        try:
            if self._recorder is None:
                self._recorder = Recorder(
                    self.path,
                    now_ns=now_ns,
                    venue=self.target.venue,
                    env=self.target.env,
                    versions={
                        "hean-router": __version__,
                        **{name: version(name) for name in LIBRARIES},
                    },
                )
            getattr(self._recorder, kind)(now_ns, *rest)
        except CaptureError as fault:
            # Whoever calls pumps a socket: the recording's own task tells and ends.
            self.fault = fault
            self.failed.set()

    def close(self) -> None:
        """Write the end mark."""
        if self._recorder is not None and self.fault is None:
            self._recorder.close()

    def discard(self) -> None:
        """Forget a recording in which nothing was heard."""
        self.close()
        self.path.unlink(missing_ok=True)


class PartTape:
    """A `Listener` that writes what one part of a venue says.

    Connections are named `venue.part.number`, so that a reader can tell the parts apart whatever
    the addresses are.
    """

    def __init__(self, tape: Tape, part: Part) -> None:
        self._tape, self._part = tape, part

    def connected(self, url: str, now_ns: int) -> str:
        counts = self._tape.counts
        counts.connections += 1
        conn = f"{self._tape.target.venue}.{self._part}.{counts.connections}"
        self._tape.write("connected", now_ns, conn, url)
        return conn

    def received(self, conn: str, data: bytes, now_ns: int) -> None:
        counts = self._tape.counts
        counts.received += 1
        counts.bytes += len(data)
        self._tape.write("received", now_ns, conn, _text(data))

    def sent(self, conn: str, data: bytes, now_ns: int) -> None:
        self._tape.counts.sent += 1
        self._tape.write("sent", now_ns, conn, _text(data))

    def closed(self, conn: str, why: str, now_ns: int) -> None:
        self._tape.write("noted", now_ns, f"{conn}: {why}")

    def answered(self, url: str, status: int, body: bytes, now_ns: int) -> None:
        counts = self._tape.counts
        counts.answers += 1
        counts.bytes += len(body)
        rest = f"{self._tape.target.venue}.{self._part}.rest"
        self._tape.write("answered", now_ns, rest, url, status, body)


def _text(data: bytes) -> str | bytes:
    """As text, which all four venues' public frames are; bytes that are none stay bytes."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


class Recording:
    """The recording of some venues, from the first connection to the end marks.

    `options` go to the `Router`: its clock, dice and connector where they are not the usual ones.
    """

    def __init__(
        self,
        settings: Settings,
        chosen: Sequence[Target],
        pairs: Sequence[Pair],
        out: Path,
        *,
        suffix: str,
        **options: Any,
    ) -> None:
        for target in chosen:
            if target.venue.startswith("ccxt:"):
                raise CommandError(
                    f"{target.venue} is spoken to by a library, which shows no frames",
                    "record a native venue: hean venues",
                )
        stamp = datetime.fromtimestamp(wall_ns() // 1_000_000_000, UTC).strftime("%Y%m%dT%H%M%SZ")
        self.pairs, self.chosen = pairs, chosen
        self.tapes = {
            target.venue: Tape(out / f"{target.venue}-{stamp}{suffix}", target) for target in chosen
        }
        self.ran_s = 0.0
        self._told: set[str] = set()
        self._left_out: dict[str, dict[str, live.Trouble]] = {}
        self.router = Router(
            settings,
            chosen,
            pairs,
            listener=lambda target, part: PartTape(self.tapes[target.venue], part),
            tell=self._tell,
            **options,
        )

    def _tell(self, text: str) -> None:
        """Each trouble once: a venue that stays away is tried for ever."""
        if text not in self._told:
            self._told.add(text)
            tell(text)

    async def run(self, seconds: float | None, timeout_s: float) -> None:
        """Record for `seconds`, or until cancelled.

        Raises `NothingLive` and `CommandError` where there is nothing to record, and the
        `CaptureError` of a disk that takes no more.
        """
        began_ns = self.router.clock()
        heard = False
        try:
            async with self.router.running():
                for pair in self.pairs:
                    await live.settle(self.router, self.chosen, pair, timeout_s, first=True)
                heard = True
                tell(f"recording {', '.join(map(str, self.pairs))}; Ctrl-C ends it")
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._progress()
                self._left_out = self._troubles(began_ns)
        except asyncio.CancelledError:
            heard = True  # ended on purpose: what there is, is wanted
            raise
        finally:
            self.ran_s = (self.router.clock() - began_ns) / 1e9
            for tape in self.tapes.values():
                if heard:
                    tape.close()
                else:
                    tape.discard()

    async def _progress(self) -> None:
        """Tell how far it is, now and then; raises what ended a recording."""
        failures = [asyncio.create_task(tape.failed.wait()) for tape in self.tapes.values()]
        try:
            while True:
                await asyncio.wait(failures, timeout=PROGRESS_S, return_when="FIRST_COMPLETED")
                for tape in self.tapes.values():
                    if tape.fault is not None:
                        raise tape.fault
                tell(self.progress())
        finally:
            for task in failures:
                task.cancel()

    def progress(self) -> str:
        """How far it is, in one line."""
        return "; ".join(
            f"{name} {tape.counts.received:,} frames, {tape.counts.bytes / 1e6:.1f} MB"
            for name, tape in self.tapes.items()
        )

    def _troubles(self, began_ns: int) -> dict[str, dict[str, live.Trouble]]:
        """By symbol: venues whose book is not LIVE at the end, and why."""
        ran_s = (self.router.clock() - began_ns) / 1e9
        found = {
            str(pair): live.troubles(self.router, self.chosen, pair, ran_s) for pair in self.pairs
        }
        return {symbol: out for symbol, out in found.items() if out}

    def summary(self) -> dict[str, Any]:
        """What was recorded."""
        return {
            "seconds": round(self.ran_s, 3),
            "symbols": [str(pair) for pair in self.pairs],
            "files": [
                {"venue": name, "path": str(tape.path), **vars(tape.counts)}
                for name, tape in self.tapes.items()
                if tape.path.exists()
            ],
            "not_live": {symbol: live.as_json(out) for symbol, out in self._left_out.items()},
        }


def record(
    settings: Settings,
    chosen: Sequence[Target],
    *,
    symbols: Sequence[str],
    out: Path,
    seconds: float | None,
    timeout_s: float,
    compress: bool,
    as_json: bool,
) -> None:
    """Record until `seconds` are over (exit 0) or Ctrl-C (exit 8): the files are whole."""
    pairs = [Pair.parse(symbol) for symbol in symbols or settings.feeds.symbols]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise CommandError(
            f"--out {out}: cannot be made ({fault.strerror})", "name a folder that you may write to"
        ) from None
    suffix = ".ndjson.gz" if compress else ".ndjson"
    recording = Recording(settings, chosen, pairs, out, suffix=suffix)
    ended: Exit = Exit.OK
    failure: HeanError | None = None
    try:
        run(recording.run(seconds, timeout_s))
    except Interrupted:
        ended = Exit.INTERRUPTED
    except CaptureError as fault:
        failure = fault
    summary = recording.summary()
    if as_json and failure is None:
        emit(summary)
    elif not as_json:
        _show(summary)
    if failure is not None:
        raise failure
    if ended is Exit.INTERRUPTED:
        tell("interrupted")
        raise typer.Exit(ended)


def _show(summary: dict[str, Any]) -> None:
    say(f"recorded {summary['seconds']} s of {', '.join(summary['symbols'])}")
    for file in summary["files"]:
        say(
            f"  {file['path']}: {file['received']:,} frames, {file['answers']} answers, "
            f"{file['connections']} connections, {file['bytes'] / 1e6:.2f} MB"
        )
    for symbol, venues in summary["not_live"].items():
        for venue, one in venues.items():
            say(f"  not live at the end: {venue} {symbol}: {one['step']}: {one['reason']}")
    if summary["files"]:
        first = summary["files"][0]
        say(
            f"read one back: hean book --venue {first['venue']} "
            f"--symbol {summary['symbols'][0]} --frames {first['path']}"
        )
