"""What desks tell, taken in; what is to be asked of them, passed on."""

from collections.abc import Sequence

from msgspec import structs

from hean_router.domain.desk import (
    DeskEvent,
    DeskStanding,
    FeesSeen,
    FillsSeen,
    NonceMoved,
    OrderSeen,
    PermissionsSeen,
    Sent,
    StreamLost,
    Told,
)
from hean_router.domain.instrument import Pair, VenueId
from hean_router.domain.order import Balance, Fill, OrderReport, OrderState
from hean_router.domain.record import Filled, ForeignOrder, Incident
from hean_router.domain.venue import Fees
from hean_router.engine.claims import Counts
from hean_router.engine.command import AskDesk, CancelOrder
from hean_router.engine.conduct import Conduct
from hean_router.engine.core import Core
from hean_router.engine.desks import Desks
from hean_router.engine.event import DeskFailed, DeskTold
from hean_router.engine.strays import Strays
from hean_router.oms import Child, Question, Resolver, claims, intake

TOLD_MAX = 1_000  # impossible trades that are told of once each
LIES_EVERY_NS = 3_600_000_000_000


class Hearing:
    """Between the desks and the order management."""

    def __init__(self, core: Core, conduct: Conduct, desks: Desks, resolver: Resolver) -> None:
        self.core, self.conduct, self.desks, self.resolver = core, conduct, desks, resolver
        self._impossible: set[tuple[str, str, str, str]] = set()
        self._lies_ns: dict[tuple[str, str], int] = {}
        self.counts = Counts(core)
        core.on_row.append(self.counts.booked)
        self.strays = Strays(core)
        resolver.fees = self._fees_of

    def heard(self, told: DeskTold) -> None:
        """Take in what a desk told: rows first, then what follows from them for the desk."""
        core, venue, account, event = self.core, told.venue, told.account, told.event
        if (venue, account) not in core.desks:
            return
        match event:
            case DeskStanding():
                self.desks.standing(venue, account, event)
                return
            case NonceMoved():
                self.desks.nonces(venue, account, event)
                return
            case FeesSeen() | PermissionsSeen() | Sent():
                return  # the shell's
            case StreamLost():
                if event.lie:
                    self._lie(venue, account, event.why)
                self.desks.lost(venue, account, event)
            case Told(event=Balance() as word):
                self.desks.holdings.words.said(venue, account, word)
            case _ if self.strays.about_one(event):
                return
            case _:
                pass
        if (possible := self._possible(venue, account, event)) is None:
            return
        event, health = possible, core.desks[venue, account]
        well, before = not health.why, len(core.rows)
        vanished = self._vanished(event)
        for row in intake(core.oms, venue, account, event, core.now_ns, fees=self._fees_of):
            core.write(row)
        for row in self.resolver.saw(venue, account, event, core.now_ns):
            core.write(row)
        self.claim()
        if isinstance(event, Told) and isinstance(event.event, OrderReport):
            self.counts.said(venue, account, event.event)
        if len(core.rows) > before:
            health.active_ns = core.now_ns
        if vanished is not None and not vanished.is_live and well:
            self._told_too_late(vanished)
        if well and isinstance(event, FillsSeen):
            fills = [row for row in core.rows[before:] if isinstance(row, Filled) and row.key]
            self.desks.missed(venue, account, fills, event.asked_ns)
        found = any(isinstance(row, ForeignOrder) and row.open for row in core.rows[before:])
        self.strays.take_back(venue, account, event, new=found)
        if isinstance(event, OrderSeen) and event.report is not None:
            self._still_open(event.key, event.report, event.asked_ns)
        self.desks.answered(venue, account, event)

    def _possible(self, venue: str, account: str, event: DeskEvent) -> DeskEvent | None:
        """The event without trades at no price or of no quantity; None if that was all of it.

        Nobody can book such a thing, and whoever says so is not to be believed further: a person
        must look, and nothing is planned there until then.
        """
        match event:
            case Told(event=Fill() as fill):
                fills: Sequence[Fill] = (fill,)
            case FillsSeen():
                fills = event.fills
            case _:
                return event
        good = [fill for fill in fills if fill.px > 0 and fill.qty > 0]
        if len(good) == len(fills):
            return event
        for fill in fills:
            name = (venue, account, str(fill.instrument.pair), fill.trade_id)
            if (fill.px > 0 and fill.qty > 0) or name in self._impossible:
                continue
            if len(self._impossible) < TOLD_MAX:
                self._impossible.add(name)
            of = fill.instrument
            text = (
                f"trade {fill.trade_id} of {of.qty_decimal(fill.qty)} at {of.px_decimal(fill.px)}: "
                "not booked"
            )
            self.core.write(
                Incident(
                    at_ns=self.core.now_ns,
                    what="impossible_trade",
                    text=text,
                    venue=venue,
                    account=account,
                    subject=fill.key or fill.trade_id,
                )
            )
            self.core.gated.setdefault((venue, account), f"impossible_trade: {text}")
        return structs.replace(event, fills=good) if isinstance(event, FillsSeen) else None

    def _lie(self, venue: str, account: str, why: str) -> None:
        """A message that was whole said what cannot be: told, once an hour for an account."""
        told_ns = self._lies_ns.get((venue, account))
        if told_ns is not None and self.core.now_ns < told_ns + LIES_EVERY_NS:
            return
        self._lies_ns[venue, account] = self.core.now_ns
        self.core.write(
            Incident(
                at_ns=self.core.now_ns,
                what="impossible_message",
                text=f"the stream told {why}: not booked; everything is asked for anew",
                venue=venue,
                account=account,
                subject=venue,
            )
        )

    def claim(self) -> None:
        """Book trades of nobody's again for the orders that they turned out to be of."""
        if self.core.oms.claimed:
            for row in claims(self.core.oms, self.core.now_ns):
                self.core.write(row)

    def _vanished(self, event: DeskEvent) -> Child | None:
        """The order that is asked about because it was open here, and not there."""
        if not isinstance(event, OrderSeen) or event.report is None:
            return None
        child = self.core.oms.children.get(event.key)
        if child is None or not child.is_live or child.cancel_sent:
            return None
        return child if self.resolver.is_lost(child.key) else None

    def _told_too_late(self, child: Child) -> None:
        """It had ended, and no stream has told."""
        self.core.write(
            Incident(
                at_ns=self.core.now_ns,
                what="order_break",
                text=f"open here and {child.status} there, found by asking: no stream told",
                venue=child.venue,
                account=child.account,
                subject=child.key,
            )
        )

    def _still_open(self, key: str, report: OrderReport, asked_ns: int) -> None:
        """A cancel was answered by "no such order", and there it is: say it again."""
        child = self.core.oms.children.get(key)
        if child is None or not child.is_live or child.cancel_answer != "GONE":
            return
        if report.state is OrderState.OPEN and asked_ns > (child.cancel_answered_ns or 0):
            self.conduct.cancel_child(child, "it is open still")

    def _fees_of(self, venue: str, _account: str, symbol: str) -> Fees | None:
        """The rates we plan with: what a fill was charged is compared with them."""
        book = self.core.world.book(Pair.parse(symbol))
        return None if book is None else book.fees().get(VenueId(venue))

    def desk_failed(self, event: DeskFailed) -> None:
        """A row that says so; what it was about is asked about."""
        core = self.core
        core.write(
            Incident(
                at_ns=core.now_ns,
                what="desk_failed",
                text=event.why,
                venue=event.venue,
                account=event.account,
                subject=event.key,
            )
        )

    def ask(self, question: Question) -> None:
        """Pass a question on to its desk."""
        core = self.core
        of = core.instrument(question.venue, Pair.parse(question.symbol))
        if of is None:
            return
        child = core.oms.children.get(question.key)
        health = core.desks.get((question.venue, question.account))
        if health is None:
            return  # an account that is configured no more
        if question.what == "cancel":
            if child is not None and child.is_live:
                self.conduct.cancel_child(child, "asked again")
            elif child is not None:  # it should not be there at all
                core.commands.append(
                    CancelOrder(
                        venue=child.venue,
                        account=child.account,
                        instrument=of,
                        key=child.key,
                        venue_order_id=child.venue_order_id,
                    )
                )
            return
        if not health.began_ns:
            return  # it has not stood yet: what it may ask for, it needs for that
        core.commands.append(
            AskDesk(
                venue=question.venue,
                account=question.account,
                what=question.what,
                instrument=of,
                key=question.key,
                venue_order_id=child.venue_order_id if child is not None else "",
                since_ns=question.since_ns,
            )
        )
