"""What a parent does next, whenever something has happened to it: the parent's life.

    immediate   round, wait, round again while anything can be had, within bounds; then expire
    resting     the same sweep first, then the rest waits at one venue; when another venue comes
                within the limit it is taken back and swept again
    fill or kill   one round, whole or not at all

A parent ends only when nothing of it can trade any more.
"""

from decimal import Decimal

from msgspec import Struct

from hean_router.book import ConsolidatedBook
from hean_router.book.sweep import EXACT, PRECISE
from hean_router.domain.instrument import Instrument, Pair, Side, Trading, VenueId
from hean_router.domain.order import RejectKind, Tif
from hean_router.domain.parent import Life, Status
from hean_router.domain.record import (
    CancelIntended,
    ChildRejected,
    ParentCancelAsked,
    ParentEnded,
)
from hean_router.domain.scale import plain
from hean_router.domain.venue import Fees
from hean_router.engine.command import CancelOrder
from hean_router.engine.core import Core
from hean_router.engine.money import fits, lot_qty, reserve_of, smallest, spends, tick_px
from hean_router.engine.routing import intend, money_left, remaining, round_of
from hean_router.oms import Child, Parent

# After these the venue is left out for the parent's rest of life; others may pass by.
_FOR_GOOD = {RejectKind.FUNDS.name, RejectKind.FILTER.name, RejectKind.REQUEST.name}
_FOR_GOOD |= {RejectKind.ACCESS.name, RejectKind.HALTED.name}


class Work(Struct):
    """What a working parent's conduct remembers; made anew after a restart."""

    barred: dict[str, str]  # venue -> why it gets no more of this parent
    swept: bool = False
    reposts: int = 0
    reroutes: int = 0
    moved_ns: int = 0  # when it last rested or was taken back
    tries: int = 0
    refusals: int = 0  # of orders that were to rest, one after another: each waits longer


class Conduct:
    """Drives every parent that is not at its end."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.work: dict[str, Work] = {}
        self.by_pair: dict[Pair, dict[str, None]] = {}  # parents that books concern

    # ------------------------------------------------------------------------- beginnings

    def resume(self) -> None:
        """After the journal was read: every parent that is not at its end."""
        for parent in self.core.oms.working.values():
            self.adopt(parent)
            # What rests has been swept before: it may be taken back for a better place again.
            rests = any(c.is_live and c.intended.tif is Tif.GTC for c in parent.children)
            self.work[parent.id].swept = rests
            self.core.wake(self.core.now_ns, parent.id)

    def adopt(self, parent: Parent) -> None:
        """A parent that was just accepted, or found in the journal: `go_on` looks at it."""
        core = self.core
        self.work[parent.id] = Work(barred={})
        self.by_pair.setdefault(parent.intent.pair, {})[parent.id] = None
        if parent.intent.expire_ns is not None:
            core.wake(parent.intent.expire_ns, parent.id)
        if parent.intent.life is Life.IOC:
            core.wake(core.now_ns + core.policy.work_ns, parent.id)

    # ------------------------------------------------------------------------- what next

    def go_on(self, parent: Parent) -> None:
        """Look at a parent after anything happened to it; ends it when nothing is left to do."""
        work = self.work.get(parent.id)
        if work is None or parent.ended is not None:
            return
        intent = parent.intent
        if intent.expire_ns is not None and self.core.now_ns >= intent.expire_ns:
            self.stop(parent, "its time is over", becomes=Status.EXPIRED)
        if parent.cancel is not None:
            self._cancel_all(parent, parent.cancel.why)
        if not parent.can_end:
            return
        if parent.filled >= parent.qty:
            self._end(parent, Status.FILLED, "")
        elif parent.cancel is not None:
            self._end(parent, parent.cancel.becomes, parent.cancel.why)
        elif intent.life is Life.FOK:
            self._fill_or_kill(parent)
        elif intent.life is Life.IOC:
            self._immediate(parent, work)
        else:
            self._rest(parent, work)

    def refused(self, row: ChildRejected) -> None:
        """A venue refused for sure: where it would again, it gets no more of this parent."""
        child = self.core.oms.children.get(row.key)
        work = self.work.get(child.parent.id) if child is not None else None
        if child is None or work is None:
            return
        if row.reject in _FOR_GOOD:
            work.barred[child.venue] = f"it refused: {row.code} {row.text}"
        elif row.reject != RejectKind.WOULD_TRADE.name:
            work.refusals += 1

    def _spent(self, parent: Parent) -> bool:
        """Whether the money given is used up but for less than the smallest order."""
        money = money_left(parent)
        if money is None:
            return False
        listed = self.core.world.instruments(parent.intent.pair)
        px = parent.placed.worst_px
        worth = [EXACT.multiply(smallest(of, px), px) for of in listed.values()]
        return bool(worth) and money < min(worth)

    def _fill_or_kill(self, parent: Parent) -> None:
        if parent.children:
            if parent.filled:
                why = f"broken: {plain(parent.filled)} of {plain(parent.qty)} filled, kept"
            else:
                why = "not filled: the venues could not any more"
            self._end(parent, Status.CANCELED if parent.filled else Status.EXPIRED, why)
            return
        if why := round_of(self.core, parent, {}):
            self._end(parent, Status.EXPIRED, f"not whole: {why}")

    def _too_soon(self, parent: Parent) -> bool:
        """Whether our books may still show what our last orders have taken; looks again later."""
        core = self.core
        ends = [child.ended_ns for child in parent.children if child.ended_ns is not None]
        if not ends or core.now_ns >= max(ends) + core.policy.pause_ns:
            return False
        core.wake(max(ends) + core.policy.pause_ns, parent.id)
        return True

    def _immediate(self, parent: Parent, work: Work) -> None:
        core = self.core
        if self._too_soon(parent):
            return
        if self._spent(parent):
            self._end(parent, Status.FILLED, "the money given is spent but for less than an order")
            return
        rounds = sum(1 for one in parent.decisions if one.allocated)
        why = ""
        if rounds >= core.policy.rounds_max:
            why = f"not filled in {rounds} rounds"
        elif core.now_ns - parent.at_ns >= core.policy.work_ns and rounds:
            why = f"not filled within {core.policy.work_ns // 1_000_000_000} s"
        else:
            why = round_of(core, parent, work.barred)
        if why:
            self._end(parent, Status.EXPIRED, why)

    # ------------------------------------------------------------------------- resting

    def _rest(self, parent: Parent, work: Work) -> None:
        """Sweep what is marketable, then rest the remainder."""
        core, intent = self.core, parent.intent
        if not intent.post_only and not work.swept:
            if self._too_soon(parent):
                return
            rounds = sum(1 for one in parent.decisions if one.allocated)
            bound = core.policy.rounds_max + work.reroutes
            if rounds < bound and not round_of(core, parent, work.barred):
                return
            work.swept = True
        again_ns = work.moved_ns + core.policy.again_ns * 2 ** min(work.refusals, 5)
        if core.now_ns < again_ns and work.tries:
            core.wake(again_ns, parent.id)
            return
        if work.reposts > core.policy.repost_max and intent.post_only:
            self._end(parent, Status.REJECTED, "it would have traded each time it was posted")
            return
        if why := self._never(parent, work):
            self._end(parent, Status.CANCELED if parent.filled else Status.REJECTED, why)
            return
        work.tries += 1
        work.moved_ns = core.now_ns
        if self._post(parent, work):
            work.reposts += 1
        else:
            core.wake(core.now_ns + core.policy.again_ns, parent.id)

    def _never(self, parent: Parent, work: Work) -> str:
        """Why no venue will ever take what is left, however long it waits; empty if one may."""
        listed = {
            venue: of
            for venue, of in self.core.world.instruments(parent.intent.pair).items()
            if _may(parent, venue) and (venue, parent.intent.account) in self.core.desks
        }
        if not listed:
            return ""  # not told yet
        if len(parent.children) >= self.core.policy.child_max:
            return f"it has had {len(parent.children)} orders, and no more are made for one parent"
        if not set(listed) - set(work.barred):
            told = "; ".join(f"{venue}: {work.barred[venue]}" for venue in sorted(listed))
            return f"no venue takes it: {told}"
        left, px = remaining(parent), parent.placed.worst_px
        least = min(smallest(of, px) for of in listed.values())
        if left < least:
            return f"{plain(left)} is left, and the smallest order anywhere is {plain(least)}"
        return ""

    def _post(self, parent: Parent, work: Work) -> bool:
        """Rest what is left, at the venue that charges a maker least; more where it has to be."""
        core, intent = self.core, parent.intent
        book = core.world.book(intent.pair)
        if book is None:
            return False
        posted = False
        for of, fees in self._makers(parent, work, book):
            left = remaining(parent)
            if left <= 0:
                break
            px = self._passive(book, of, parent)
            qty = self._fundable(parent, of, fees, min(left, self._share_left(parent, of)), px)
            size = lot_qty(of, qty)
            if px <= 0 or fits(of, size, px):
                continue
            why = intend(
                core,
                parent,
                of,
                of.qty_decimal(size),
                px,
                Tif.GTC,
                fees,
                len(parent.decisions),
                post_only=intent.post_only,
            )
            posted = posted or not why
        return posted

    def _makers(
        self, parent: Parent, work: Work, book: ConsolidatedBook
    ) -> list[tuple[Instrument, Fees]]:
        core, intent = self.core, parent.intent
        tiers = book.fees()
        out = []
        for venue, of in core.world.instruments(book.pair).items():
            usable = (
                of.trading in {Trading.OPEN, Trading.POST_ONLY}
                and VenueId(venue) in tiers
                and venue not in work.barred
                and not core.why_not(venue, intent.account)
                and _may(parent, venue)
                and core.world.budget(venue, intent.account, of).orders > 0
                and VenueId(venue) in book.live()
            )
            if usable:
                out.append((of, tiers[VenueId(venue)]))
        return sorted(out, key=lambda one: (one[1].maker, one[0].venue))

    def _passive(self, book: ConsolidatedBook, of: Instrument, parent: Parent) -> Decimal:
        """The limit; for post-only no price that would trade at that venue."""
        side, limit = parent.intent.side, parent.placed.worst_px
        px = tick_px(of, limit, side)
        if parent.intent.post_only:
            live = book.live().get(of.venue)
            best = live.best(side) if live is not None else None
            if best is not None:
                px = min(px, best[0] - of.tick) if side is Side.BUY else max(px, best[0] + of.tick)
        return of.px_decimal(px)

    def _fundable(
        self, parent: Parent, of: Instrument, fees: Fees, qty: Decimal, px: Decimal
    ) -> Decimal:
        if px <= 0:
            return Decimal(0)
        intent = parent.intent
        free = self.core.free(of.venue, intent.account, spends(intent.pair, intent.side))
        if free is None:
            return Decimal(0)
        return min(qty, PRECISE.divide(free, reserve_of(intent.side, Decimal(1), px, fees)))

    def _share_left(self, parent: Parent, of: Instrument) -> Decimal:
        share = parent.intent.venues.max_share
        if share is None:
            return parent.qty
        used = sum(
            (
                c.filled + (c.leaves if c.is_live else 0)
                for c in parent.children
                if c.venue == of.venue
            ),
            Decimal(0),
        )
        return max(Decimal(0), parent.qty * share - used)

    def books_moved(self, pairs: tuple[Pair, ...]) -> None:
        """Take a resting order back when another venue has come within its limit."""
        core = self.core
        for pair in pairs:
            waiting = self.by_pair.get(pair)
            if not waiting or (book := core.world.book(pair)) is None:
                continue
            bests = {side: book.displayed(side) for side in Side}
            for parent_id in list(waiting):
                parent = core.oms.parents[parent_id]
                side, limit, best = parent.intent.side, parent.placed.worst_px, None
                if (found := bests[side]) is not None:
                    best = found[0]
                comes = best is not None and (best <= limit if side is Side.BUY else best >= limit)
                if comes and parent.cancel is None and not parent.intent.post_only:
                    work = self.work[parent_id]
                    if work.swept:
                        self._look(parent, work, book)

    def _look(self, parent: Parent, work: Work, book: ConsolidatedBook) -> None:
        core = self.core
        if work.reroutes >= core.policy.reroute_max:
            return
        if core.now_ns - work.moved_ns < core.policy.again_ns:
            return
        resting = [child for child in parent.children if child.is_live]
        if any(not child.venue_order_id and not child.acked_ns for child in resting):
            return  # on its way still: what it does is not known yet
        there, side, limit = {c.venue for c in resting}, parent.intent.side, parent.placed.worst_px
        for venue, live in book.live().items():
            best = live.best(side)
            if best is None or venue in there or venue in work.barred:
                continue
            if core.why_not(venue, parent.intent.account) or not _may(parent, venue):
                continue
            px = live.instrument.px_decimal(best[0])
            if px <= limit if side is Side.BUY else px >= limit:
                work.reroutes += 1
                work.swept = False
                work.moved_ns = core.now_ns
                for child in resting:
                    self.cancel_child(child, f"{venue} came within the limit")
                if not resting:
                    self.go_on(parent)
                return

    # ------------------------------------------------------------------------- ends

    def stop(
        self, parent: Parent, why: str, *, by: str = "", becomes: Status = Status.CANCELED
    ) -> bool:
        """No more orders for it, and back with those that are out; False if it is over already."""
        if parent.ended is not None:
            return False
        if parent.cancel is None:
            self.core.write(
                ParentCancelAsked(
                    at_ns=self.core.now_ns, parent=parent.id, why=why, by=by, becomes=becomes
                )
            )
        return True

    def _cancel_all(self, parent: Parent, why: str) -> None:
        for child in parent.children:
            # "No such order" may have been said of one that was still on its way.
            early = child.cancel_answer == "GONE" and (
                (child.news_ns or 0) >= (child.cancel_answered_ns or 0)
            )
            if child.is_live and (early or not child.cancel_sent):
                self.cancel_child(child, why)

    def cancel_child(self, child: Child, why: str) -> None:
        """Ask the venue to cancel; repeated by the resolver until the order has ended."""
        core = self.core
        of = core.instrument(child.venue, Pair.parse(child.symbol))
        if of is None or (child.venue, child.account) not in core.desks:
            return  # asked again once the venue is there
        core.write(CancelIntended(at_ns=core.now_ns, key=child.key, why=why))
        core.commands.append(
            CancelOrder(
                venue=child.venue,
                account=child.account,
                instrument=of,
                key=child.key,
                venue_order_id=child.venue_order_id,
            )
        )

    def _end(self, parent: Parent, status: Status, why: str) -> None:
        self.core.write(
            ParentEnded(at_ns=self.core.now_ns, parent=parent.id, status=status, why=why)
        )
        self.work.pop(parent.id, None)
        self.core.denied.pop(parent.id, None)
        self.by_pair.get(parent.intent.pair, {}).pop(parent.id, None)


def _may(parent: Parent, venue: str) -> bool:
    chosen = parent.intent.venues
    return (not chosen.include or venue in chosen.include) and venue not in chosen.exclude
