"""A live market for one command: which venues are LIVE, and at which step the others stand."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import typer
from msgspec import Struct

from hean_router.app import Router, Target
from hean_router.cli.output import Exit, tell
from hean_router.domain.errors import CommandError, Unreachable, VenueError
from hean_router.domain.instrument import Pair, VenueId
from hean_router.runtime.loop import Interrupted, run
from hean_router.runtime.venue_feed import VenueFeed

SECOND = 1_000_000_000
# A venue whose tries have only failed for this long is not waited for: the second try, which comes
# after a second at most, has failed too.
PATIENCE_NS = 3 * SECOND // 2
LOOK_S = 0.02


T = TypeVar("T")


def go(main: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end; a signal winds it up in order and is exit code 8."""
    try:
        return run(main)
    except Interrupted:
        tell("interrupted")
        raise typer.Exit(Exit.INTERRUPTED) from None


class Trouble(Struct, frozen=True):
    """Why a venue's book is not LIVE: at which step, and what the venue or the system said.

    Steps, in order: DNS, connect, TLS, instruments, listed, subscribe, snapshot, book, trading.
    """

    step: str
    reason: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.step}: {self.reason}"


class NothingLive(VenueError):
    """No venue has a LIVE book of the pair; `details` names each and its step."""

    def __init__(self, pair: Pair, troubles: Mapping[str, Trouble]) -> None:
        lines = "".join(f"\n  {venue:10} {trouble}" for venue, trouble in troubles.items())
        fixes = list(dict.fromkeys(one.fix for one in troubles.values() if one.fix))
        super().__init__(
            f"no venue has a live book of {pair}{lines}",
            "; ".join(fixes) or "wait longer (--timeout), or see: hean doctor",
        )
        self.details: Mapping[str, Any] = {"venues": as_json(troubles)}


def as_json(troubles: Mapping[str, Trouble]) -> dict[str, dict[str, str]]:
    """By venue: step and reason."""
    return {
        venue: {"step": one.step.lower(), "reason": one.reason} for venue, one in troubles.items()
    }


async def settle(
    router: Router,
    chosen: Sequence[Target],
    pair: Pair,
    timeout_s: float,
    *,
    first: bool = False,
) -> dict[str, Trouble]:
    """Wait until every venue is LIVE or has plainly failed, `timeout_s` at most; who is not LIVE.

    With `first`, one LIVE venue is enough to go on.  Raises `NothingLive` if there is none, and
    `CommandError` if every venue answered that it does not list `pair`.
    """
    clock = router.clock
    began_ns = clock()
    since: dict[str, int] = {}  # when a venue began to fail
    while True:
        now_ns = clock()
        waited_s = (now_ns - began_ns) / SECOND
        found = troubles(router, chosen, pair, waited_s)
        for target in chosen:
            if _failing(router, target, pair):
                since.setdefault(target.venue, now_ns)
            else:
                since.pop(target.venue, None)
        waiting = [
            venue
            for venue, trouble in found.items()
            if trouble.step not in {"listed", "trading"}
            and now_ns - since.get(venue, now_ns) < PATIENCE_NS
        ]
        some = len(found) < len(chosen)
        if not waiting or waited_s >= timeout_s or (first and some):
            break
        await asyncio.sleep(LOOK_S)
    if some:
        return found
    if all(trouble.step == "listed" for trouble in found.values()):
        raise _unlisted(router, pair, found)
    raise NothingLive(pair, found)


def troubles(
    router: Router, chosen: Sequence[Target], pair: Pair, waited_s: float
) -> dict[str, Trouble]:
    """Each venue whose book of `pair` is not LIVE now, and why."""
    out = {}
    for target in chosen:
        if (trouble := _trouble(router, target, pair, waited_s)) is not None:
            out[target.venue] = trouble
    return out


def _trouble(router: Router, target: Target, pair: Pair, waited_s: float) -> Trouble | None:
    venue = VenueId(target.venue)
    seat = router.market.seat(venue, pair)
    if seat is not None and seat.live is not None:
        return None
    if (fault := router.faults.get(venue)) is not None:
        return _of_fault(fault, "instruments")
    if seat is None:
        reason = router.market.book(pair).left_out().get(venue)
        if reason is not None:
            return Trouble("listed", reason, "see what it lists: hean doctor --venue " + venue)
        return Trouble("instruments", f"no answer within {waited_s:.1f} s")
    if seat.halted:
        return Trouble("trading", seat.reason)
    feed = _feed(router, target, pair)
    if feed is None:  # a library drives it: there is no finer step to name
        return Trouble("book", f"{seat.state.value}: {seat.reason}")
    if not feed.connected:
        if feed.fault is not None:
            return _of_fault(feed.fault, "connect")
        return Trouble("connect", seat.reason or f"no connection within {waited_s:.1f} s")
    frames = sum(session.counts.frames for session in feed.sessions)
    if not frames or seat.reason.startswith("refused"):
        said = seat.reason if frames else f"no frame within {waited_s:.1f} s of asking"
        return Trouble("subscribe", said)
    return Trouble("snapshot", f"{seat.state.value}: {seat.reason}")


def _of_fault(fault: VenueError, step: str) -> Trouble:
    if isinstance(fault, Unreachable):
        return Trouble(fault.step, str(fault).removeprefix(f"{fault.step}: "), fault.fix)
    return Trouble(step, str(fault), fault.fix)


def _failing(router: Router, target: Target, pair: Pair) -> bool:
    """Whether its last try to be reached has failed, and no later one has succeeded."""
    if target.venue in router.faults:
        return True
    feed = _feed(router, target, pair)
    return feed is not None and not feed.connected and feed.fault is not None


def _feed(router: Router, target: Target, pair: Pair) -> VenueFeed | None:
    for feed in router.feeds:
        if feed.id == target.venue and feed.part is pair.part and isinstance(feed, VenueFeed):
            return feed
    return None


def _unlisted(router: Router, pair: Pair, found: Mapping[str, Trouble]) -> CommandError:
    symbols = sorted({
        str(one.pair)
        for (_, part), listed in router.listings.items()
        if part is pair.part
        for one in listed
    })  # fmt: skip
    close = get_close_matches(str(pair), symbols, n=3, cutoff=0.7)
    same = [symbol for symbol in symbols if symbol.startswith(f"{pair.base}/")][:5]
    near = f"did you mean {' or '.join(close or same)}?" if close or same else ""
    said = ", ".join(f"{venue}: {one.reason}" for venue, one in found.items())
    return CommandError(
        f"no venue lists {pair} ({said})",
        near or "write it as BTC/USDT (spot) or BTC/USDT:USDT (perpetual)",
    )
