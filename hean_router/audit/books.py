"""Books: I25, I26, I27 and what a decision saw of them (I29, I30).  Looks at views, keeps nothing.

Works on anything that has the shape of a consolidated book and of a LIVE one: the checkers import
neither.
"""

from decimal import Decimal
from itertools import islice
from typing import Any

from hean_router.audit.checker import Broken, Findings, checks
from hean_router.domain.instrument import Side
from hean_router.domain.record import Decided, ParentPlaced

DEPTH = 25  # levels of each side that are compared
SECOND = 1_000_000_000
STALE_NS = 70 * SECOND  # beyond any bound on how long a book may go unconfirmed


class Books:
    """Judges a consolidated book as it stands."""

    def __init__(self, findings: Findings, stale_ns: int = STALE_NS) -> None:
        self.findings, self.counts, self.stale_ns = findings, findings.counts, stale_ns

    def _broken(self, invariant: str, subject: str, text: str, at_ns: int, venue: str = "") -> None:
        self.findings.tell(
            Broken(invariant=invariant, subject=subject, text=text, at_ns=at_ns, venue=venue)
        )

    @checks("I25", "books")
    def only_live(self, view: Any, sources: Any, now_ns: int) -> None:
        """A venue's book is used only while LIVE: whole, uncrossed, proved current in time."""
        live = view.live()
        for source in sources:
            self.counts["I25"] += 1
            of, state = source.instrument, str(source.state.value)
            name = f"{of.venue} {of.pair}"
            if source.live is not None and state != "live":
                self._broken("I25", name, f"is {state}, and can be read", now_ns, of.venue)
            if of.venue not in live:
                continue
            if state != "live":
                self._broken("I25", name, f"is {state}, and is used", now_ns, of.venue)
            elif now_ns - live[of.venue].confirmed_ns > self.stale_ns:
                age_s = (now_ns - live[of.venue].confirmed_ns) // SECOND
                text = f"nothing has proved it for {age_s} s, and it is used"
                self._broken("I25", name, text, now_ns, of.venue)

    @checks("I26", "books")
    def exactly_live(self, view: Any, now_ns: int) -> None:
        """The consolidated book is exactly the LIVE venues' levels, each with its venue and age."""
        self.counts["I26"] += 1
        live, subject = view.live(), str(view.pair)
        for side in Side:
            shown: dict[str, list[tuple[int, int]]] = {}
            last: Decimal | None = None
            for level in islice(view.priced(side), DEPTH):
                shown.setdefault(level.venue, []).append((level.px, level.qty))
                cost = level.all_in if side is Side.BUY else -level.all_in
                if last is not None and cost < last:
                    self._broken("I26", subject, f"{side}: a better level comes later", now_ns)
                last = cost
                if level.seen_ns != getattr(live.get(level.venue), "confirmed_ns", None):
                    self._broken("I26", subject, f"{level.venue}: a level of no known age", now_ns)
            for venue, levels in shown.items():
                own = live.get(venue)
                theirs = [] if own is None else list(islice(own.facing(side), len(levels)))
                if [tuple(one) for one in theirs] != levels:
                    text = f"{side}: {venue} shows {theirs[:2]}, the view {levels[:2]}"
                    self._broken("I26", subject, text, now_ns, venue)
            if sum(map(len, shown.values())) < DEPTH:  # then all there is has been shown
                for venue, own in live.items():
                    if venue not in shown and own.best(side) is not None:
                        self._broken("I26", subject, f"{side}: {venue} is missing", now_ns, venue)

    @checks("I27", "books")
    def uncrossed(self, view: Any, now_ns: int) -> None:
        """No single venue's book is crossed or locked once a message is whole."""
        for venue, own in view.live().items():
            self.counts["I27"] += 1
            bid, ask = own.best(Side.SELL), own.best(Side.BUY)
            if bid is not None and ask is not None and bid[0] >= ask[0]:
                text = f"bid {bid[0]} meets ask {ask[0]}"
                self._broken("I27", f"{venue} {view.pair}", text, now_ns, venue)

    @checks("I29", "books")
    def versions(self, row: Decided, view: Any) -> None:
        """A decision records the versions of the books as they were when it was made."""
        self.counts["I29"] += 1
        live = view.live()
        for seen in row.seen:
            now = live[seen.venue].version if seen.venue in live else None
            if now != seen.version:
                text = f"{seen.venue}: version {seen.version} is recorded, it was {now}"
                self._broken("I29", row.parent, text, row.at_ns, seen.venue)

    @checks("I30", "books")
    def seen(self, row: Decided, placed: ParentPlaced, view: Any) -> None:
        """What is sent to a venue stands there, within the price, as the decision saw it."""
        self.counts["I30"] += 1
        side, worst, live = placed.intent.side, placed.worst_px, view.live()
        for one in row.seen:
            if not one.qty or one.venue not in live:
                continue
            of, there = live[one.venue].instrument, 0
            want = one.qty
            for px, qty in live[one.venue].facing(side):
                at = of.px_decimal(px)
                if (at > worst if side is Side.BUY else at < worst) or of.qty_decimal(there) > want:
                    break
                there += qty
            if of.qty_decimal(there) < want:
                text = f"{want} to {one.venue}, {of.qty_decimal(there)} stands there"
                self._broken("I30", row.parent, text, row.at_ns, one.venue)
