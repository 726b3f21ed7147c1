"""Accounts at venues: are they there, do we agree with them, what must be asked.

A desk's gate opens when the venue has told its open orders, our trades and balances, and orders
there of unknown fate are found, proven absent, or known to take long.  A venue that does not answer
keeps its own gate shut and nobody else's.  A gate that stands open is looked behind now and then;
what does not add up shuts it again, until it has been asked about.
"""

from collections.abc import Sequence

from hean_router.domain.desk import (
    AskFailed,
    BalancesSeen,
    DeskEvent,
    DeskStanding,
    FillsSeen,
    NonceMoved,
    OpenSeen,
    StreamLost,
)
from hean_router.domain.instrument import Instrument, Pair, Trading
from hean_router.domain.record import (
    ChildIntended,
    ChildUnknown,
    Filled,
    Incident,
    NonceReserved,
)
from hean_router.domain.scale import plain
from hean_router.engine.command import AskDesk, GrantNonces, SetGate
from hean_router.engine.core import Core, DeskHealth
from hean_router.engine.holdings import Holdings, told
from hean_router.engine.strays import AGAIN_NS, Strays
from hean_router.oms import ChildStatus

SECOND = 1_000_000_000
RETRY_MAX_NS = 30 * SECOND
LOST_NS = SECOND // 2  # for a stream that was lost to come back by itself
DOUBT_NS = 2 * SECOND  # between two looks at balances that differ
LOOKS_RARE = 5  # times less often is a desk looked at where questions are dear
LATE_NS = 5 * SECOND  # a stream that has not told of a trade by then has lost it
TRIES_OFF_LIST = 3  # questions that failed, until one about a pair off the list is given up
ANSWER_NS = 15 * SECOND  # what was not answered by then is asked again


class Desks:
    """Keeps every desk's standing, and reconciles it."""

    def __init__(self, core: Core) -> None:
        self.core, self.strays, self.holdings = core, Strays(core), Holdings(core)
        # When an order may have left last: by venue and account, and symbol.
        self.last_ns: dict[tuple[tuple[str, str], str], int] = {}
        # Whose trades the venue would not tell, off its list as they are: each is told of once.
        self._untold: set[tuple[str, str, Pair]] = set()

    # ------------------------------------------------------------------------- at the start

    def forget_flights(self) -> None:
        """Orders that were on their way when the last process died may exist: ask about them.

        Counted from now and not from when they were decided: the machine's clock may have been set
        between the two processes.
        """
        core = self.core
        for child in list(core.oms.live.values()):
            if child.status is ChildStatus.OPEN:
                continue
            until_ns = core.now_ns + core.world.flight_ns(child.venue)
            if child.status is ChildStatus.INTENDED or until_ns > (child.until_ns or 0):
                core.write(
                    ChildUnknown(
                        at_ns=core.now_ns, key=child.key, why="restarted", until_ns=until_ns
                    )
                )

    # ------------------------------------------------------------------------- what they tell

    def standing(self, venue: str, account: str, event: DeskStanding) -> None:
        """A desk came up, went down, or stands anew."""
        health = self.core.desks[venue, account]
        health.clock_offset_ns, health.clock_bound_ns = event.clock_offset_ns, event.clock_bound_ns
        was, health.standing = health.standing, event.ready
        if not event.ready:
            health.waiting = None
            self._shut(venue, account, event.why or "not ready")
        elif event.fresh or not was or health.waiting is None:
            self.reconcile(venue, account)

    def lost(self, venue: str, account: str, event: StreamLost) -> None:
        """Private messages may be missing: nothing is sent until we have asked.

        Mostly the stream comes back a moment later, and then has to be asked about in any case; a
        venue that lets us ask little would be asked twice for one cut.
        """
        self._shut(venue, account, f"reconciling: {event.why}")
        health = self.core.desks[venue, account]
        health.waiting, health.again_ns = None, self.core.now_ns + LOST_NS

    def reconcile(self, venue: str, account: str) -> None:
        """Begin anew: ask for open orders, trades and balances."""
        core, health = self.core, self.core.desks[venue, account]
        pairs = self._pairs(venue)
        if not pairs:
            self._shut(venue, account, "its instruments are not listed yet")
            health.waiting, health.again_ns = None, core.now_ns + SECOND
            return
        if not health.why:
            self._shut(venue, account, "reconciling")
        elif health.why.startswith("not connected"):
            health.why = "reconciling"
        health.began_ns, health.pairs = core.now_ns, self._count_listed(venue)
        health.looked_ns = core.now_ns
        health.since_ns = self._since(venue, account)
        followed = {str(pair) for pair in pairs}
        health.waiting = {"open"}
        health.waiting |= {f"fills {one}" for one in health.since_ns if one in followed}
        self._ask_missing(venue, account)
        # What was to be cancelled while the venue was not even listed waits for this moment: an
        # order whose time ended while no router ran, say.
        for child in core.oms.live.values():
            if (child.venue, child.account) == (venue, account) and not child.cancel_sent:
                core.wake(core.now_ns, child.parent.id)

    def _ask_missing(self, venue: str, account: str) -> None:
        """Ask for what has not been answered; what was answered since it began counts.

        Asking for all of it again would never end where a venue lets us ask less than that in the
        time between two tries.
        """
        core, health = self.core, self.core.desks[venue, account]
        assert health.waiting, "something is missing"
        if "open" in health.waiting:
            core.commands.append(AskDesk(venue=venue, account=account, what="open"))
        for pair in self._pairs(venue):
            if f"fills {pair}" in health.waiting:
                core.commands.append(
                    AskDesk(
                        venue=venue,
                        account=account,
                        what="fills",
                        instrument=core.instrument(venue, pair),
                        since_ns=health.since_ns[str(pair)],
                    )
                )
        health.again_ns = core.now_ns + ANSWER_NS

    def _pairs(self, venue: str) -> list[Pair]:
        """All that can be asked about there, listed now or not."""
        core = self.core
        return [
            pair
            for pair in core.world.pairs
            if not pair.settle and core.instrument(venue, pair) is not None
        ]

    def _count_listed(self, venue: str) -> int:
        """How many pairs the venue lists now."""
        core = self.core
        found = (core.instrument(venue, pair) for pair in core.world.pairs if not pair.settle)
        return sum(of is not None and of.trading is not Trading.UNLISTED for of in found)

    def _since(self, venue: str, account: str) -> dict[str, int]:
        """From when trades must be asked for, by symbol.

        Left out is what nothing of ours can have traded of: no order ever, or all of them over and
        settled for longer than any venue's news is late.
        """
        core, since_ns = self.core, dict[str, int]()
        for (place, symbol), last_ns in self.last_ns.items():
            if place == (venue, account) and last_ns + core.policy.overlap_ns > core.now_ns:
                since_ns[symbol] = last_ns
        if core.gap_ns is not None:  # what was ordered since is in no row
            for pair in self._pairs(venue):
                since_ns[str(pair)] = min(core.gap_ns, since_ns.get(str(pair), core.gap_ns))
        for group in (core.oms.live, core.oms.unsettled, core.oms.to_cancel):
            for child in group.values():
                if (child.venue, child.account) == (venue, account):
                    at_ns = child.intended.at_ns
                    since_ns[child.symbol] = min(at_ns, since_ns.get(child.symbol, at_ns))
        return {one: max(0, at - core.policy.overlap_ns) for one, at in since_ns.items()}

    def intended(self, row: ChildIntended) -> None:
        """An order may have left for there then."""
        self.last_ns[(row.venue, row.account), row.symbol] = row.at_ns

    def _shut(self, venue: str, account: str, why: str) -> None:
        self.core.desks[venue, account].why = why
        self.core.commands.append(SetGate(venue, account, why))

    # ------------------------------------------------------------------------- answers

    def answered(self, venue: str, account: str, event: DeskEvent) -> None:
        """Cross off what has been answered; compare; open the gate when nothing is missing."""
        core, health = self.core, self.core.desks[venue, account]
        match event:
            case OpenSeen(asked_ns=asked_ns) if asked_ns >= health.began_ns:
                self._cross(health, "open")
            case FillsSeen(instrument=of, asked_ns=asked_ns) if asked_ns >= health.began_ns:
                self._untold.discard((venue, account, of.pair))
                self._cross(health, f"fills {of.pair}")
            case BalancesSeen():
                self._balances(venue, account, event)
            case AskFailed(what="fills", instrument=of) if self._given_up(health, of):
                assert of is not None, "given up for what it is of"
                self._no_trades(venue, account, of, event.why)
                self._cross(health, f"fills {of.pair}")
            case AskFailed(what=what) if what in {"open", "fills", "balances"}:
                if health.standing and health.why:  # asked again when its time has come, not now
                    health.tries += 1
                    wait_ns = min(RETRY_MAX_NS, SECOND * 2 ** min(health.tries, 5))
                    health.again_ns = core.now_ns + wait_ns
                    health.why = f"reconciling: {what}: {event.why}"
                return
            case _:
                return
        if health.waiting is not None and not health.waiting and health.why:
            if core.ledger.balances_set_ns(venue, account) is not None:
                self._try_open(venue, account)
            else:
                self._ask_balances(venue, account, health)

    def _given_up(self, health: DeskHealth, asked: Instrument | None) -> bool:
        """Whether trades are waited for no longer: of a pair off the list, after some tries.

        A venue may not speak of what it does not list.  Its orders stay as they are known, nothing
        can be placed there, and once it is listed again all is asked for anew.
        """
        if asked is None or not health.standing or not health.why or health.tries < TRIES_OFF_LIST:
            return False
        of = self.core.instrument(asked.venue, asked.pair)
        return of is None or of.trading is Trading.UNLISTED

    def _no_trades(self, venue: str, account: str, of: Instrument, why: str) -> None:
        name = (venue, account, of.pair)
        missing = f"fills {of.pair}" in (self.core.desks[venue, account].waiting or ())
        if not missing or name in self._untold:
            return
        self._untold.add(name)
        self.core.write(
            Incident(
                at_ns=self.core.now_ns,
                what="unlisted_break",
                text=f"{of.pair} is not listed, and its trades are not told: {why}"[:300],
                venue=venue,
                account=account,
                subject=str(of.pair),
            )
        )

    def _cross(self, health: DeskHealth, what: str) -> None:
        if health.waiting is not None:
            health.waiting.discard(what)

    def _ask_balances(self, venue: str, account: str, health: DeskHealth) -> None:
        health.balances_ns = self.core.now_ns
        self.core.commands.append(AskDesk(venue=venue, account=account, what="balances"))

    def _try_open(self, venue: str, account: str) -> None:
        core, health = self.core, self.core.desks[venue, account]
        if not health.standing or health.waiting:
            return
        # What is missing now is looked at again a moment later.
        health.again_ns = min(health.again_ns, core.now_ns + SECOND)
        if health.doubted_ns is not None:
            return
        unknown = sum(
            child.status is ChildStatus.UNKNOWN and (child.venue, child.account) == (venue, account)
            for child in core.oms.live.values()
        )
        # One that the venue may still carry out for long is counted at its worst, as it would be
        # had it become unknown while the gate stood open.
        if unknown and core.now_ns < health.began_ns + core.policy.unknown_ns:
            health.why = f"reconciling: {unknown} orders of unknown fate"
            return
        health.why, health.tries, health.again_ns = "", 0, core.now_ns
        core.commands.append(SetGate(venue, account, ""))
        # Compare once it stands open: what was traded meanwhile is booked now.
        health.balances_ns = min(health.balances_ns, core.now_ns - core.policy.balances_every_ns)

    def _balances(self, venue: str, account: str, event: BalancesSeen) -> None:
        """Take opening balances; later compare, when nothing under way can explain a difference.

        A difference shuts the gate until the venue has been asked for orders, trades and balances
        again: only one that stands then is a break.
        """
        core, health = self.core, self.core.desks[venue, account]
        if core.ledger.balances_set_ns(venue, account) is None:
            self.holdings.take(venue, account, event, "opening")
            return
        if not self.holdings.quiet(venue, account, event.asked_ns):
            return
        found = self.holdings.differences(venue, account, event)
        if not found:
            health.doubted_ns = None
            self.holdings.words.agreed(venue, account, event.asked_ns)
        elif health.doubted_ns is None:
            health.doubted_ns = event.asked_ns
            self._shut(venue, account, f"in doubt: {told(found)}")
            self.reconcile(venue, account)
        elif not health.waiting and event.asked_ns >= health.doubted_ns + DOUBT_NS:
            health.doubted_ns = None
            self.holdings.broken(venue, account, found)
            self.holdings.take(venue, account, event, "reconciled")

    def nonces(self, venue: str, account: str, event: NonceMoved) -> None:
        """Reserve nonces on disk, then grant them."""
        core = self.core
        core.write(
            NonceReserved(at_ns=core.now_ns, venue=venue, account=account, below=event.below)
        )
        core.commands.append(GrantNonces(venue, account, event.below))

    # ------------------------------------------------------------------------- time

    def due(self) -> None:
        """Ask again where answers did not come; compare balances where it is quiet."""
        core = self.core
        for (venue, account), health in core.desks.items():
            if not health.standing or core.now_ns < health.again_ns:
                continue
            listed = self._count_listed(venue)
            health.pairs = min(health.pairs, listed)
            if health.waiting is None or listed > health.pairs:
                self.reconcile(venue, account)  # what was listed since was not asked about
            elif health.why:
                self._reconcile_on(venue, account, health)
            else:
                health.again_ns = core.now_ns + SECOND
                self._look(venue, account, health)

    def _reconcile_on(self, venue: str, account: str, health: DeskHealth) -> None:
        core = self.core
        if health.waiting:
            self._ask_missing(venue, account)
        elif core.ledger.balances_set_ns(venue, account) is None:
            health.again_ns = core.now_ns + 5 * SECOND
            self._ask_balances(venue, account, health)
        elif health.doubted_ns is not None:
            health.again_ns = core.now_ns + 2 * SECOND
            self._ask_balances(venue, account, health)
        else:
            health.again_ns = core.now_ns + SECOND
            self._try_open(venue, account)

    def _look(self, venue: str, account: str, health: DeskHealth) -> None:
        """Once a second at a desk that is open."""
        core = self.core
        if core.now_ns - health.strays_ns >= AGAIN_NS and self.strays.of(venue, account):
            health.strays_ns = core.now_ns
            core.commands.append(AskDesk(venue=venue, account=account, what="open"))
        idle_ns = core.now_ns - health.balances_ns
        if idle_ns >= core.policy.balances_every_ns and self.holdings.quiet(
            venue, account, core.now_ns
        ):
            self._ask_balances(venue, account, health)
        every_ns = core.policy.look_every_ns * (LOOKS_RARE if core.world.question_ns(venue) else 1)
        if core.now_ns - health.looked_ns >= every_ns:
            self._look_around(venue, account, health)

    def _look_around(self, venue: str, account: str, health: DeskHealth) -> None:
        """Ask for what a stream that fell silent, or lost something, would not have told.

        Open orders always: a foreign one may have come.  Trades only where an order of ours may
        have traded since the last look, from some time before it.
        """
        core, place = self.core, (venue, account)
        since_ns = max(0, health.looked_ns - core.policy.look_overlap_ns)
        health.looked_ns = core.now_ns
        core.commands.append(AskDesk(venue=venue, account=account, what="open"))
        busy = {
            symbol: since_ns
            for (where, symbol), last_ns in self.last_ns.items()
            if where == place and last_ns >= since_ns
        }
        for child in core.oms.live.values():
            if (child.venue, child.account) == place:
                busy[child.symbol] = since_ns
        for child in core.oms.children.values():
            if child.inferred and (child.venue, child.account) == place:
                # The real trades are looked for on, for as long as they are likely to come.
                began_ns = child.intended.at_ns - core.policy.look_overlap_ns
                if began_ns + core.policy.overlap_ns > core.now_ns:
                    busy[child.symbol] = max(0, min(began_ns, busy.get(child.symbol, since_ns)))
        for pair in self._pairs(venue):
            if str(pair) in busy:
                core.commands.append(
                    AskDesk(
                        venue=venue,
                        account=account,
                        what="fills",
                        instrument=core.instrument(venue, pair),
                        since_ns=busy[str(pair)],
                    )
                )

    def missed(self, venue: str, account: str, fills: Sequence[Filled], asked_ns: int) -> None:
        """Trades that were found by asking, at a desk that seemed well: its stream lost them.

        What else it has lost is asked for, with the gate shut.
        """
        core, health = self.core, self.core.desks[venue, account]
        lost = False
        for row in fills:
            child = core.oms.children.get(row.key)
            if child is None or child.unknown_ns is not None or not row.sent_ns:
                continue  # one of unknown fate is asked about before the stream has told of it
            traded_ns = row.sent_ns - health.clock_offset_ns
            if traded_ns + LATE_NS > asked_ns:
                continue
            lost = True
            text = f"trade {row.trade_id} of {plain(row.qty)} was found by asking: no stream told"
            core.write(
                Incident(
                    at_ns=core.now_ns,
                    what="fill_break",
                    text=text,
                    venue=venue,
                    account=account,
                    subject=row.key,
                )
            )
        if lost:
            self.lost(venue, account, StreamLost("its stream did not tell of every trade"))
