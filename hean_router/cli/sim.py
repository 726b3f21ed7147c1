"""`hean sim`: simulated venues in the foreground, on real loopback sockets."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from decimal import Decimal
from pathlib import Path
from random import Random

from hean_router.cli.output import emit, say, tell
from hean_router.domain.errors import CommandError, HeanError
from hean_router.replay import open_capture
from hean_router.runtime.clock import Clock, steady_clock
from hean_router.runtime.loop import Interrupted, run
from hean_router.runtime.order_budget import limits_factor
from hean_router.sim import faces, server
from hean_router.sim.contract import Face, Options
from hean_router.sim.control import Control
from hean_router.sim.fault_spec import FaultSpec, FaultSpecError, parse, words
from hean_router.sim.faults import Faults
from hean_router.sim.history_file import HistoryFiles
from hean_router.sim.market import Pace
from hean_router.sim.replay_face import replay as play
from hean_router.sim.simulator import Simulator, simulate
from hean_router.venue.registry import nearest


def serve(
    venues: Sequence[str],
    *,
    seed: int,
    symbols: Sequence[str],
    replay: Path | None,
    faults: str,
    limits: str,
    log: Path | None = None,
    tiers: str = "",
    stray_bps: float = 0,
    port_base: int,
    until_eof: bool,
    control: bool = False,
) -> None:
    """Serve `venues` until interrupted; the first line says where they are."""
    if faults == "help":
        say("words of --faults:\n" + words())
        return
    known = faces.venues()
    for venue in venues:
        if venue not in known:
            raise CommandError(
                f"unknown venue {venue!r}{nearest(venue, known)}",
                f"simulated venues: {', '.join(known)}",
            )
    if len(set(venues)) != len(venues):
        raise CommandError("a venue is named twice", "name each venue once")
    if replay is not None and log is not None:
        raise CommandError("a replayed capture takes no orders to log", "leave out --log")
    if replay is not None and len(venues) != 1:
        raise CommandError("--replay plays one venue's capture", "name the one venue it is of")
    options = Options(limits=limits_factor(limits))
    if control and replay is not None:
        raise CommandError("a replayed capture takes no --control", "leave out one of the two")
    clock, spec = steady_clock(), fault_spec(faults)
    if control and spec is None:
        spec = FaultSpec()  # none of itself; those that are asked for
    files = _history(log, venues)
    fees, pace = fee_tiers(tiers, venues), Pace(stray_ppm=int(stray_bps * 100))
    simulators = [
        _replayed(venue, replay, Random(seed), options, spec, clock())
        if replay is not None
        else _simulator(venue, seed, clock, symbols, options, spec, files, fees.get(venue), pace)
        for venue in venues
    ]
    try:
        run(_serve(simulators, clock, port_base, until_eof, control))
    except Interrupted:
        tell("simulators stopped")
    except server.PortError as fault:
        raise PortTaken(str(fault), "choose another --port-base, or 0 for any free port") from None
    finally:
        if files is not None:
            files.close()


class PortTaken(HeanError):
    """A simulator cannot listen where it was told to."""


def fee_tiers(text: str, venues: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Fees by venue, taker and maker in 1e-8, of `VENUE=TAKER/MAKER,…` as fractions.

    >>> fee_tiers("okx=0.0005/0.0002", ["okx", "kraken"])
    {'okx': (50000, 20000)}
    """
    out = {}
    for item in filter(None, text.split(",")):
        venue, _, rates = item.partition("=")
        taker, slash, maker = rates.partition("/")
        fix = "write okx=0.0005/0.0002: taker and maker, as fractions of notional"
        if venue not in venues or not slash:
            raise CommandError(f"--tiers {item!r} is not VENUE=TAKER/MAKER of a venue named", fix)
        try:
            both = [Decimal(rate).scaleb(8) for rate in (taker, maker)]
            if any(not one.is_finite() or one % 1 or abs(one) > 10_000_000 for one in both):
                raise ValueError
        except (ArithmeticError, ValueError):
            raise CommandError(f"--tiers {item!r}: no fee of at most 10 % and 1e-8", fix) from None
        out[venue] = (int(both[0]), int(both[1]))
    return out


def _history(folder: Path | None, venues: Sequence[str]) -> HistoryFiles | None:
    """Files for the venues' histories, if they are wanted."""
    if folder is None:
        return None
    try:
        return HistoryFiles(folder, venues)
    except OSError as fault:
        why = fault.strerror or str(fault)
        raise CommandError(f"--log {folder}: {why}", "name a folder that can be written") from None


def _simulator(
    venue: str,
    seed: int,
    clock: Clock,
    symbols: Sequence[str],
    options: Options,
    faults: FaultSpec | None,
    files: HistoryFiles | None,
    fees_e8: tuple[int, int] | None,
    pace: Pace,
) -> Simulator:
    try:
        simulator, _ = simulate(
            venue,
            seed,
            clock(),
            symbols=symbols or None,
            options=options,
            faults=faults,
            history=files.writer(venue) if files is not None else None,
            fees_e8=fees_e8,
            pace=pace,
        )
    except ValueError as fault:
        raise CommandError(f"{venue}: {fault}", "see --symbols in `hean sim --help`") from None
    return simulator


def _replayed(
    venue: str,
    path: Path,
    rng: Random,
    options: Options,
    faults: FaultSpec | None,
    origin_ns: int,
) -> Simulator:
    """A venue whose stream is the capture at `path`."""
    with open_capture(path) as capture:
        try:
            face: Face = play(venue, capture, rng, options=options)
        except ValueError as fault:
            raise CommandError(f"{path}: {fault}", "see --help for what can be replayed") from None
    if faults is not None:
        face = Faults(face, faults, rng.getrandbits(32), origin_ns)
    return Simulator(face)


def fault_spec(text: str) -> FaultSpec | None:
    """The faults that `--faults` asks for; None for an empty text."""
    try:
        return parse(text) if text else None
    except FaultSpecError as fault:
        raise CommandError(f"--faults: {fault}", "see `hean sim --help` for the words") from None


async def _serve(
    simulators: Sequence[Simulator], clock: Clock, port_base: int, until_eof: bool, control: bool
) -> None:
    servers = await server.start(simulators, clock, port_base=port_base)
    try:
        emit(server.announcement(servers))
        if control:
            await _obey(Control(simulators), servers, clock)
        elif until_eof:
            async for _ in _lines():
                pass
        else:
            await asyncio.Event().wait()
    finally:
        await server.stop(servers)


async def _obey(control: Control, servers: Sequence[server.Server], clock: Clock) -> None:
    """Carry out what standard input says, until it closes."""
    by_venue = {one.simulator.venue: one for one in servers}
    async for line in _lines():
        answer, venue, outputs = control.obey(line, clock())
        if venue:
            by_venue[venue].carry_out(outputs)
        emit(answer)


async def _lines() -> AsyncIterator[str]:
    """Lines of standard input, until nobody holds its other end: the parent has ended, somehow."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while True:
        try:
            line = await reader.readline()
        except ValueError:  # longer than any line of ours: what is left of it is answered as it is
            continue
        if not line:
            return
        yield line.decode(errors="replace")
