"""Orders whose fate we do not know: whom to ask, when, and when the answers suffice.

Nothing is guessed.  An order is `ABSENT` only if questions that left after its last possible
moment, plus the time the venue takes to show things, found it neither by its key nor among the
open orders, each twice and a second apart, nor among the trades.  By the same evidence an order
that did exist has ended, and what it traded is in its fills.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct

from hean_router.domain.desk import DeskEvent, FillsSeen, OpenSeen, OrderSeen, Told
from hean_router.domain.order import Fill, OrderReport, OrderState, Tif
from hean_router.domain.record import ChildAbsent, ChildReported, ChildUnknown, Incident, Row
from hean_router.oms.intake import own_trade
from hean_router.oms.model import Child
from hean_router.oms.orders import Orders
from hean_router.oms.rebook import FeesOf, inferred
from hean_router.oms.states import NEVER_STOOD, ChildStatus

MS: Final = 1_000_000
SECOND: Final = 1_000 * MS

UNKNOWN_NS: Final = 200 * MS  # the private stream mostly answers within that
UNANSWERED_NS: Final = 3 * SECOND
SETTLE_NS: Final = 300 * MS  # fills come after the report that counts them
CANCEL_NS: Final = 2 * SECOND
LINGER_NS: Final = 2 * SECOND  # an IOC is over at once
GONE_NS: Final = 100 * MS
WAIT_MAX_NS: Final = 5 * SECOND
APART_NS: Final = SECOND  # two looks this close count as one
LOOKS: Final = 2
STRANGER_LOOKS: Final = 6  # where a trade stands by that names no order of ours
OVERLAP_NS: Final = 60 * SECOND  # trades are asked from this long before the order
SILENT_NS: Final = 30 * SECOND  # a desk that has not answered by then never will
SILENT_UNTIL_NS: Final = 90 * SECOND  # beyond every deadline a venue accepts
# The venue's count proves a trade whose report has not come in all that time, though its trades
# were asked for thrice: it is inferred.  Venues show a trade within two seconds, so this is fifteen
# times as long; a real one that comes later still takes its place.
INFER_NS: Final = 30 * SECOND
INFER_LOOKS: Final = 3
LOOKS_KEPT: Final = 8
NEVER_NS: Final = 1 << 62

Visibility: TypeAlias = int | Mapping[str, int] | Callable[[str], int]


class Question(Struct, frozen=True, kw_only=True):
    """What a desk is to be asked, or told again: order, open, fills or cancel.

    `key` is empty for open and fills; `since_ns` is for fills alone.
    """

    venue: str
    account: str
    what: str
    symbol: str
    key: str = ""
    since_ns: int = 0


class _Look:
    """When a place was looked at in vain: the last time that counted, and how many did."""

    __slots__ = ("times",)

    def __init__(self) -> None:
        self.times: list[int] = []

    def add(self, asked_ns: int) -> None:
        if not self.times or asked_ns >= self.times[-1] + APART_NS:
            self.times = [*self.times[-LOOKS_KEPT + 1 :], asked_ns]

    @property
    def done(self) -> bool:
        return len(self.times) >= LOOKS


class _Watch:
    """A child that is asked about."""

    __slots__ = (
        "alarmed",
        "basis",
        "child",
        "fills",
        "next_ns",
        "open",
        "order",
        "proving",
        "reason",
        "refusals",
        "wait_ns",
    )

    def __init__(self, child: Child) -> None:
        self.child = child
        self.reason = ""
        self.next_ns = self.wait_ns = self.refusals = 0
        self.alarmed = False
        self.basis = _basis(child)
        self.forget()

    def forget(self) -> None:
        """Begin looking anew: it was seen."""
        self.order, self.open, self.fills = _Look(), _Look(), _Look()
        self.proving = 0  # rounds of questions whose answers can prove something


class Resolver:
    """Asks about orders until the venue's answers settle them.

    Its memory is not state: a restart only asks again.  `visibility_ns`, by venue, is how late an
    accepted order may first be seen by a question; `question_ns` how far apart questions about one
    order are to be, at least, where a venue counts them dearly (and looks for an order among the
    open and the ended alike).  The work is O(what has changed).
    """

    def __init__(
        self,
        orders: Orders,
        visibility_ns: Visibility = 2 * SECOND,
        question_ns: Callable[[str], int] = lambda _venue: 0,
    ) -> None:
        self._orders = orders
        self.fees: FeesOf | None = None  # what an inferred trade is taken to have cost
        self._visibility, self._question_ns = visibility_ns, question_ns
        self._watches: dict[str, _Watch] = {}
        self._heap: list[tuple[int, str]] = []
        self._lost: set[str] = set()  # open here, not among the open orders there
        # Trades that may have been ours, until nobody is left whose they could be.
        self._deferred: dict[tuple[str, str, str], dict[str, tuple[Fill, int]]] = {}
        for group in (orders.live, orders.unsettled, orders.to_cancel):
            orders.touched.update(group)

    # --------------------------------------------------------------------- when, what

    @property
    def wake_at_ns(self) -> int:
        """When `due` next has something to ask; far away if never."""
        self._look_around()
        while self._heap:
            at_ns, key = self._heap[0]
            watch = self._watches.get(key)
            if watch is not None and watch.next_ns == at_ns:
                break
            heapq.heappop(self._heap)
        at_ns = self._heap[0][0] if self._heap else NEVER_NS
        return 0 if self._unclaimed() else at_ns

    def is_lost(self, key: str) -> bool:
        """Whether an order is open here and was not among those that are open there."""
        return key in self._lost

    def due(self, now_ns: int) -> list[Question]:
        """What is to be asked now; the same question for many orders once."""
        asked: dict[tuple[str, ...], Question] = {}
        for place in self._unclaimed():
            since_ns = min(since_ns for _, since_ns in self._deferred.pop(place).values())
            _merge(asked, [_fills(*place, since_ns)])
        while self.wake_at_ns <= now_ns:
            _, key = heapq.heappop(self._heap)
            watch = self._watches[key]
            _merge(asked, self._questions(watch, now_ns))
            self._set(watch, self._again_ns(watch, now_ns))
        return list(asked.values())

    def _again_ns(self, watch: _Watch, now_ns: int) -> int:
        """When to ask next, having asked now: later and later, but never past what would decide.

        A venue may let us ask only a few times a minute: what is asked before an answer can prove
        anything is taken from what proves.
        """
        watch.wait_ns = min(WAIT_MAX_NS, max(UNKNOWN_NS, watch.wait_ns * 5 // 2))
        child = watch.child
        floor_ns = self._floor(child)
        if not (child.is_live or child.ghost):
            return now_ns + max(watch.wait_ns, self._question_ns(child.venue))
        if now_ns <= floor_ns:
            return min(now_ns + watch.wait_ns, floor_ns + MS)
        watch.proving += 1
        if watch.proving <= LOOKS:  # the second look, as soon as it counts
            watch.wait_ns = max(APART_NS + 50 * MS, self._question_ns(child.venue))
        return now_ns + watch.wait_ns

    def _set(self, watch: _Watch, at_ns: int) -> None:
        watch.next_ns = at_ns
        heapq.heappush(self._heap, (at_ns, watch.child.key))

    def _look_around(self) -> None:
        touched = self._orders.touched
        if not touched:
            return
        for key, child in touched.items():
            self._consider(key, child)
        touched.clear()

    def _consider(self, key: str, child: Child) -> None:
        reason, at_ns, wait_ns = self._reason(child)
        watch = self._watches.get(key)
        if not reason:
            self._watches.pop(key, None)
            self._lost.discard(key)
            return
        if watch is None:
            watch = self._watches[key] = _Watch(child)
        if watch.basis != (basis := _basis(child)):
            watch.basis = basis
            watch.forget()  # whatever was looked at before that says nothing
        if watch.reason != reason:
            if not child.is_live:
                self._lost.discard(key)
            if reason == "cancel refused":  # a limit is not to be hammered at
                wait_ns = min(WAIT_MAX_NS, wait_ns * 17**watch.refusals // 10**watch.refusals)
                watch.refusals = min(watch.refusals + 1, 9)
            watch.reason, watch.wait_ns = reason, wait_ns
            when_ns = at_ns + wait_ns
            if reason == "unknown" and self._question_ns(child.venue):
                # Where questions are dear, none is asked before its answer can prove something.
                when_ns = max(when_ns, self._floor(child) + MS)
            self._set(watch, when_ns)

    def _reason(self, child: Child) -> tuple[str, int, int]:
        """Why a child is asked about, from when on, and after how long; '' if it is not."""
        if child.ghost:
            return "ghost", child.news_ns or 0, GONE_NS
        if not child.is_live:
            if child.settled:
                return "", 0, 0
            return "unsettled", child.ended_ns or 0, SETTLE_NS
        if child.status is ChildStatus.UNKNOWN:
            return "unknown", child.unknown_ns or 0, UNKNOWN_NS
        if child.status is ChildStatus.INTENDED:
            return "unanswered", child.intended.at_ns, UNANSWERED_NS
        return self._open_reason(child)

    def _open_reason(self, child: Child) -> tuple[str, int, int]:
        if child.cancel_ns is not None:
            answered_ns = child.cancel_answered_ns
            if answered_ns is None or child.cancel_answer in {"accepted", "UNKNOWN"}:
                return "cancel", child.cancel_ns, CANCEL_NS
            if child.cancel_answer == "GONE":
                return "gone", answered_ns, GONE_NS
            return "cancel refused", answered_ns, SETTLE_NS
        if child.key in self._lost:
            return "lost", 0, 0
        if child.behind:
            return "behind", child.news_ns or 0, SETTLE_NS
        if child.intended.tif is not Tif.GTC:
            return "lingering", child.acked_ns or 0, LINGER_NS
        return "", 0, 0

    def _questions(self, watch: _Watch, now_ns: int) -> Iterable[Question]:
        child, reason = watch.child, watch.reason
        place = (child.venue, child.account)
        missing = child.behind or reason == "unsettled"
        proving = (child.is_live or child.ghost) and now_ns > self._floor(child)
        # What was answered often enough is not asked again: the rest may be dear.
        if not (
            reason == "behind"
            or (reason == "unsettled" and child.cum is not None)
            or (proving and watch.order.done and not self._all_done(watch))
        ):
            yield Question(
                venue=child.venue,
                account=child.account,
                what="order",
                symbol=child.symbol,
                key=child.key,
            )
        dear = bool(self._question_ns(child.venue))
        if proving and reason != "behind" and not dear and not watch.open.done:
            yield Question(
                venue=child.venue, account=child.account, what="open", symbol=child.symbol
            )
        if missing or (proving and not self._fills_done(watch)):
            yield _fills(*place, child.symbol, _since_ns(child))
        # A cancel by our key is safe at any time, and turns "perhaps open" into "over".
        if reason in {"ghost", "cancel", "cancel refused"} or (
            reason == "unknown" and child.cancel_sent
        ):
            yield Question(
                venue=child.venue,
                account=child.account,
                what="cancel",
                symbol=child.symbol,
                key=child.key,
            )

    def _unclaimed(self) -> list[tuple[str, str, str]]:
        """Places with a trade that can be of no order there any more: it is asked for again."""
        return [
            (venue, account, symbol)
            for (venue, account, symbol), waiting in self._deferred.items()
            if not all(
                own_trade(self._orders, venue, account, fill) for fill, _ in waiting.values()
            )
        ]

    def _visible_ns(self, venue: str) -> int:
        match self._visibility:
            case int():
                return self._visibility
            case Mapping():
                return self._visibility[venue]
            case _:
                return self._visibility(venue)

    def _floor(self, child: Child) -> int:
        """A question that left after this would have seen it, did it exist; our clock."""
        visible_ns = self._visible_ns(child.venue)
        if not (child.is_live or child.ghost):
            return (child.ended_ns or 0) + visible_ns
        known = [at for at in (child.until_ns, child.acked_ns, child.news_ns) if at is not None]
        return max(known) + visible_ns if known else NEVER_NS

    # --------------------------------------------------------------------- evidence

    def saw(self, venue: str, account: str, event: DeskEvent, now_ns: int) -> list[Row]:
        """What the answers prove; call it when `intake`'s rows of the same event are applied."""
        self._look_around()
        match event:
            case OrderSeen():
                return self._saw_order(venue, account, event, now_ns)
            case OpenSeen():
                return self._saw_open(venue, account, event, now_ns)
            case FillsSeen():
                for fill in event.fills:
                    self._defer(venue, account, fill, event.since_ns)
                return self._saw_fills(venue, account, event, now_ns)
            case Told(event=Fill() as fill):
                sent_ns = fill.sent_ns or now_ns
                self._defer(venue, account, fill, min(sent_ns, now_ns) - OVERLAP_NS)
            case Told(event=OrderReport() as report):
                self._seen(venue, account, report, report.key)
            case _:
                pass
        return []

    def _defer(self, venue: str, account: str, fill: Fill, since_ns: int) -> None:
        symbol = str(fill.instrument.pair)
        if (venue, account, symbol, fill.trade_id) in self._orders.fills:
            return
        if own_trade(self._orders, venue, account, fill):
            place = (venue, account, symbol)
            waiting = self._deferred.setdefault(place, {})
            _, known_ns = waiting.get(fill.trade_id, (fill, since_ns))
            waiting[fill.trade_id] = (fill, min(since_ns, known_ns))

    def _seen(self, venue: str, account: str, report: OrderReport, key: str) -> Child | None:
        symbol = str(report.instrument.pair)
        child = self._orders.find(venue, account, symbol, key, report.venue_order_id)
        if child is not None:
            if (watch := self._watches.get(child.key)) is not None:
                watch.forget()
            if child.key in self._lost:
                self._lost.discard(child.key)
                self._consider(child.key, child)
        return child

    def _saw_order(self, venue: str, account: str, event: OrderSeen, now_ns: int) -> list[Row]:
        if event.report is not None:
            self._seen(venue, account, event.report, event.report.key or event.key)
            return []
        symbol = str(event.instrument.pair)
        child = self._orders.find(venue, account, symbol, event.key, "")
        watch = self._watches.get(event.key)
        if child is None or watch is None:
            return []
        if child.status is ChildStatus.INTENDED:
            return self._silent(child, now_ns)
        if event.asked_ns > self._floor(child):
            watch.order.add(event.asked_ns)
        return self._judge(watch, now_ns)

    def _silent(self, child: Child, now_ns: int) -> list[Row]:
        """A desk owes every placement an answer; one that never comes is no proof of anything."""
        if now_ns < child.intended.at_ns + SILENT_NS:
            return []
        until_ns = child.intended.at_ns + SILENT_UNTIL_NS
        why = "no answer to the placement"
        return [ChildUnknown(at_ns=now_ns, key=child.key, why=why, until_ns=until_ns)]

    def _saw_open(self, venue: str, account: str, event: OpenSeen, now_ns: int) -> list[Row]:
        present: set[str] = set()
        for report in event.reports:
            if (child := self._seen(venue, account, report, report.key)) is not None:
                present.add(child.key)
        symbols = {str(instrument.pair) for instrument in event.instruments}
        rows: list[Row] = []
        doubtful = [*self._orders.live.values(), *self._orders.to_cancel.values()]
        for child in doubtful:
            if (child.venue, child.account) != (venue, account) or child.symbol not in symbols:
                continue
            if child.key in present or event.asked_ns <= self._floor(child):
                continue
            if child.status is ChildStatus.OPEN:
                self._lost.add(child.key)
                self._consider(child.key, child)
            if (watch := self._watches.get(child.key)) is not None:
                watch.open.add(event.asked_ns)
                rows += self._judge(watch, now_ns)
        return rows

    def _saw_fills(self, venue: str, account: str, event: FillsSeen, now_ns: int) -> list[Row]:
        symbol = str(event.instrument.pair)
        # A trade that may be anybody's here proves nothing, until its order has not been found by
        # our key so often that it is not ours; then it is booked as nobody's, not dropped.
        ambiguous = any(
            own_trade(self._orders, venue, account, fill)
            and (venue, account, symbol, fill.trade_id) not in self._orders.fills
            for fill in event.fills
        )
        rows: list[Row] = []
        for watch in list(self._watches.values()):
            child = watch.child
            if (child.venue, child.account, child.symbol) != (venue, account, symbol):
                continue
            nameless = child.is_live and not child.venue_order_id
            if ambiguous and nameless and len(watch.order.times) < STRANGER_LOOKS:
                continue
            if event.since_ns <= child.intended.at_ns and event.asked_ns > self._floor(child):
                watch.fills.add(event.asked_ns)
                rows += self._judge(watch, now_ns)
        return rows

    def _judge(self, watch: _Watch, now_ns: int) -> list[Row]:
        """Rows that the evidence allows by now."""
        child = watch.child
        if child.behind:  # the venue has counted more than its trades have shown us: ask on
            return self._infer(watch, now_ns)
        if not (child.is_live or child.ghost):
            return self._judge_ended(watch, now_ns)
        if not self._all_done(watch):
            return []
        proof = self._proof(watch)
        if child.acked_ns is None:
            assert child.status is ChildStatus.UNKNOWN, child.status
            return [ChildAbsent(at_ns=now_ns, key=child.key, proof=proof)]
        incident = Incident(
            at_ns=now_ns,
            what="vanished",
            text=f"it existed, and its end was never told: {proof}",
            venue=child.venue,
            account=child.account,
            subject=child.key,
        )
        return [incident, _inferred(child, OrderState.CANCELED, proof, now_ns)]

    def _fills_done(self, watch: _Watch) -> bool:
        """Trades have been looked at often enough.

        Once, for an order of which the venue never spoke: no trade is without an order, and that
        was asked for twice, among the open and the ended.
        """
        return watch.fills.done or (watch.child.acked_ns is None and bool(watch.fills.times))

    def _all_done(self, watch: _Watch) -> bool:
        return watch.order.done and self._open_done(watch) and self._fills_done(watch)

    def _open_done(self, watch: _Watch) -> bool:
        """Whether it was looked for among the open orders often enough.

        Where questions are dear, the one about an order looks there itself, by our key, and then
        among the ended: to ask for all that is open besides would take what the proof needs.
        """
        return watch.open.done or (watch.order.done and bool(self._question_ns(watch.child.venue)))

    def _judge_ended(self, watch: _Watch, now_ns: int) -> list[Row]:
        child = watch.child
        if child.settled or child.status in NEVER_STOOD or not watch.fills.done:
            return []
        if child.cum is None:
            # How much it traded was never told, and all of its trades are in.
            return [_inferred(child, OrderState(child.status.value), "by its trades", now_ns)]
        return []

    def _infer(self, watch: _Watch, now_ns: int) -> list[Row]:
        """Book what the venue's count proves, when its trades were asked for long and in vain."""
        child = watch.child
        since_ns = max(child.ended_ns or 0, child.news_ns or 0)
        if now_ns < since_ns + INFER_NS or len(watch.fills.times) < INFER_LOOKS:
            return []
        rows: list[Row] = []
        text = (
            f"{child.cum} traded by the venue's word, {child.filled} by its trades, asked for at "
            f"{', '.join(map(str, watch.fills.times))}: "
        )
        if child.filled < child.qty:
            row = inferred(self._orders, child, now_ns, self.fees)
            rows.append(row)
            text += f"{row.qty} booked as {row.trade_id} at the limit, {row.px}, until they come"
        elif watch.alarmed:
            return []
        else:  # no order trades more than it is
            watch.alarmed = True
            text += f"nothing is booked beyond its quantity, {child.qty}"
        incident = Incident(
            at_ns=now_ns,
            what="fill_break",
            text=text,
            venue=child.venue,
            account=child.account,
            subject=child.key,
        )
        watch.forget()
        return [incident, *rows]

    def _proof(self, watch: _Watch) -> str:
        looks = (("order", watch.order), ("open", watch.open), ("fills", watch.fills))
        return f"not after {self._floor(watch.child)}: " + "; ".join(
            f"{what} asked at {', '.join(map(str, look.times[:LOOKS]))}" for what, look in looks
        )


def _inferred(child: Child, state: OrderState, reason: str, now_ns: int) -> ChildReported:
    return ChildReported(
        at_ns=now_ns,
        key=child.key,
        state=state,
        cum_qty=child.filled,
        venue_order_id=child.venue_order_id,
        reason=reason,
        via="inferred",
    )


def _basis(child: Child) -> tuple[int | None, int | None, bool]:
    """What the time depends on after which a look counts."""
    return child.until_ns, child.news_ns, child.is_live


def _since_ns(child: Child) -> int:
    return max(0, child.intended.at_ns - OVERLAP_NS)


def _fills(venue: str, account: str, symbol: str, since_ns: int) -> Question:
    return Question(
        venue=venue, account=account, what="fills", symbol=symbol, since_ns=max(0, since_ns)
    )


def _merge(asked: dict[tuple[str, ...], Question], more: Iterable[Question]) -> None:
    for one in more:
        name = (one.venue, one.account, one.what, one.symbol, one.key)
        known = asked.get(name)
        if known is None or one.since_ns < known.since_ns:
            asked[name] = one
