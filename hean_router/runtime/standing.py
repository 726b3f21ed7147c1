"""How a running router stands: for what is shut, what it is, why, since when, what lifts it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from hean_router.audit import Watch
from hean_router.domain.instrument import Pair, VenueId
from hean_router.engine import Engine
from hean_router.gate import Gate
from hean_router.oms import ChildStatus
from hean_router.runtime.clock import Clock
from hean_router.runtime.market import Market

BY_RESET = "a person, once the cause is known: POST /v1/risk/reset"
BY_DISK = "by itself, once the state folder takes rows again"
BY_VENUE = "by itself, once the venue has answered and agrees with us"
BY_BOOK = "by itself, once the book is whole again"
BY_LIST = "by itself, once the venue lists it again"
EVERYWHERE = "everywhere"


class Sync(Protocol):
    """A journal, as far as it is told of."""

    sync: str


@runtime_checkable
class Switched(Protocol):
    """A desk whose venue may end our orders by itself, should we fall silent."""

    @property
    def dead_man_s(self) -> int:
        """After so many seconds; 0: never."""
        ...

    @property
    def dead_man_ns(self) -> int:
        """Until when the venue has said to wait for us, our clock; 0: it has said nothing."""
        ...


class Running(Protocol):
    """A running router, as far as it is told of here: `runtime.trading.Trading`."""

    engine: Engine
    gate: Gate
    watch: Watch
    market: Market
    journal_why: str
    journal_since_ns: int
    lost: str
    stalls: int
    stood_ns: int
    clock: Clock

    @property
    def desks(self) -> Mapping[tuple[str, str], object]:
        """By venue and account."""
        ...

    @property
    def journal(self) -> Sync:
        """The journal."""
        ...

    def ready(self) -> str:
        """Why orders cannot be taken now."""
        ...


class ShutLine(Struct, frozen=True, kw_only=True):
    """One thing that is shut.

    `what` is gate, desk, book, risk, journal or invariant; `where` a venue and account, a venue and
    symbol, or everywhere; `account` the one that it concerns, if it is not all; `since_ns` our
    clock, 0 where it is not known.
    """

    what: str
    where: str
    why: str
    since_ns: int
    lifted_by: str
    account: str = ""


def shut(trading: Running) -> list[ShutLine]:
    """Everything that keeps orders back now; what is wide first."""
    found = [*_process(trading), *_gate(trading), *_books(trading), *_unlisted(trading)]
    return sorted(found, key=lambda one: (one.where != EVERYWHERE, one.what, one.where))


def _process(trading: Running) -> Iterator[ShutLine]:
    risk = trading.engine.core.risk
    if risk.state != "normal":
        yield ShutLine(
            what="risk",
            where=EVERYWHERE,
            why=f"{risk.state}: {risk.reason}",
            since_ns=risk.since_ns,
            lifted_by=BY_RESET,
        )
    if trading.journal_why and not trading.lost:
        yield ShutLine(
            what="journal",
            where=EVERYWHERE,
            why=trading.journal_why,
            since_ns=trading.journal_since_ns,
            lifted_by=BY_DISK,
        )
    for (venue, account), why in trading.watch.standing.items():
        yield ShutLine(
            what="invariant",
            where=_where(venue, account),
            why=why,
            since_ns=0,
            lifted_by=BY_RESET,
            account=account,
        )


def _gate(trading: Running) -> Iterator[ShutLine]:
    told = set()
    for one in trading.gate.reasons():
        told.add(one.scope)
        yield ShutLine(
            what="gate",
            where=_where(*one.scope),
            why=one.why,
            since_ns=one.since_ns,
            lifted_by=one.lifted_by,
            account=one.scope[1],
        )
    for (venue, account), health in trading.engine.core.desks.items():
        if health.why and (venue, account) not in told:
            yield ShutLine(
                what="desk",
                where=_where(venue, account),
                why=health.why,
                since_ns=0,
                lifted_by=BY_VENUE,
                account=account,
            )


def _books(trading: Running) -> Iterator[ShutLine]:
    for seat in trading.market.seats():
        if seat.live is None:
            of = seat.instrument
            yield ShutLine(
                what="book",
                where=f"{of.venue} {of.pair}",
                why=f"{seat.state.value}: {seat.reason}",
                since_ns=seat.since_ns,
                lifted_by=BY_BOOK,
            )


def _unlisted(trading: Running) -> Iterator[ShutLine]:
    """Pairs that a venue does not list, where orders of ours rest there all the same."""
    missing = trading.market.unlisted
    live = Counter(
        (VenueId(child.venue), Pair.parse(child.symbol))
        for child in trading.engine.core.oms.live.values()
    )
    for (venue, pair), count in sorted(live.items()):
        if (venue, pair) in missing:
            yield ShutLine(
                what="book",
                where=f"{venue} {pair}",
                why=f"not listed: {count} live orders of ours are there",
                since_ns=0,
                lifted_by=BY_LIST,
            )


def _where(venue: str, account: str) -> str:
    return f"{venue} {account}".strip() or EVERYWHERE


def _switches(trading: Running) -> Iterator[dict[str, Any]]:
    """Every dead man's switch that is wanted; `held_until_ns` 0 where the venue holds none now."""
    now_ns = trading.clock()
    for (venue, account), desk in sorted(trading.desks.items()):
        if isinstance(desk, Switched) and desk.dead_man_s:
            yield {
                "venue": venue,
                "account": account,
                "seconds": desk.dead_man_s,
                "held_until_ns": desk.dead_man_ns if desk.dead_man_ns > now_ns else 0,
            }


def health(trading: Running) -> dict[str, Any]:
    """What stands and what is shut, and why."""
    core = trading.engine.core
    live = core.oms.live.values()
    why = trading.ready()
    return {
        "ready": not why,
        "why": why,
        "risk": core.risk.state,
        "journal": {"sync": trading.journal.sync, "why": trading.journal_why},
        "venues": {venue: one.why or "ready" for (venue, _), one in sorted(core.desks.items())},
        "gate": {
            _where(*scope): text
            for scope, text in sorted((trading.gate.standing() | trading.watch.standing).items())
            if text
        },
        "shut": [
            {
                "what": one.what,
                "where": one.where,
                "why": one.why,
                "since_ns": one.since_ns,
                "lifted_by": one.lifted_by,
                "account": one.account,
            }
            for one in shut(trading)
        ],
        "dead_man": list(_switches(trading)),
        "loop": {"stalls": trading.stalls, "worst_ms": trading.stood_ns // 1_000_000},
        "orders": {
            "working": len(trading.engine.conduct.work),
            "children": len(core.oms.live),
            "unknown": sum(1 for child in live if child.status is ChildStatus.UNKNOWN),
        },
    }
