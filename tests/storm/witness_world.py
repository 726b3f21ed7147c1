"""Checkers that see the venues' own truth: what came to them, what rests there, what is held."""

from collections import deque
from decimal import Decimal
from typing import Any

from hean_router.audit import Broken, Findings, Watch, checks
from hean_router.domain.parent import Life
from hean_router.domain.record import Filled, ParentPlaced
from hean_router.portfolio.positions import View

SECOND = 1_000_000_000
ZERO = Decimal(0)
# Orders of one account that a venue takes in a window: as published, of which a fifth is for
# cancels.  OKX counts each pair by itself; Kraken's counter decays and is its own business.
PUBLISHED = {"binance": (100, 10 * SECOND), "bybit": (20, SECOND), "okx": (60, 2 * SECOND)}
LATE_NS = 15 * SECOND  # no venue takes an order that was decided so long ago
CANCELLED_NS = 25 * SECOND  # after a kill, at a desk that stands
ENDS_NS = 200 * SECOND  # beyond its own time, every desk standing; where questions are dear
ALONE_NS = 90 * SECOND  # a leg


class World:
    """What all of them share."""

    def __init__(self, home: Any, rows: Watch, findings: Findings) -> None:
        self.home, self.rows, self.facts = home, rows, rows.facts
        self.findings, self.counts = findings, findings.counts

    def broken(self, invariant: str, subject: str, text: str, venue="", account="") -> None:
        self.findings.tell(
            Broken(
                invariant=invariant,
                subject=subject,
                text=text,
                at_ns=self.home.world.now_ns,
                venue=venue,
                account=account,
            )
        )


class Arrivals(World):
    """Looks at each order as the venue's back office gets it."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.came: set[tuple[str, str]] = set()
        self._times: dict[tuple[str, str, str], deque[int]] = {}
        self._listed: dict[tuple[str, str], Any] = {}

    def listen(self) -> None:
        """From now on, for as long as the venues last."""
        for name in self.home.venues:
            desk = self.home.desk_of(name)
            for symbol, listing in desk.exchange.listings.items():
                self._listed[name, symbol] = listing
            place = desk.place

            def placed(account, terms, now_ns, *, name=name, desk=desk, place=place):
                self.arrived(name, account.name, terms, desk.exchange)
                return place(account, terms, now_ns)

            desk.place = placed

    def arrived(self, venue: str, account: str, terms: Any, exchange: Any) -> None:
        key = terms.client_id
        self.on_disk(venue, account, key)
        self.known_once(venue, account, key)
        self.fits(venue, account, terms, exchange)
        self.in_time(venue, account, key)

    @checks("I9", "world")
    def on_disk(self, venue: str, account: str, key: str) -> None:
        """What arrives at a venue has its intent on disk."""
        self.counts["I9"] += 1
        if key not in self.facts.children and not self.facts.past(key):
            self.broken("I9", key, "arrived, and is not on disk", venue, account)

    @checks("I10", "world")
    def known_once(self, venue: str, account: str, key: str) -> None:
        """Each venue order carries an id that is one row's, and comes once."""
        self.counts["I10"] += 1
        child = self.facts.children.get(key)
        if child is not None and (child.row.venue, child.row.account) != (venue, account):
            self.broken("I10", key, f"was meant for {child.row.venue}", venue, account)
        self.counts["I11"] += 1
        if (venue, key) in self.came:
            self.broken("I11", key, "came twice", venue, account)
        self.came.add((venue, key))

    @checks("I19", "world")
    def fits(self, venue: str, account: str, terms: Any, exchange: Any) -> None:
        """Quantity in lots, price in ticks, worth enough, in the venue's own unit."""
        listing = exchange.listings.get(terms.symbol)
        if listing is None or listing != self._listed.get((venue, terms.symbol)):
            return  # its rules have just changed: it refuses by itself
        self.counts["I19"] += 1
        qty, px = terms.qty, terms.px
        wrong = ""
        if qty is None:
            wrong = "given by value"
        elif qty % listing.lot or not listing.min_qty <= qty <= listing.max_qty:
            wrong = f"quantity {qty}, lots of {listing.lot}, {listing.min_qty} at least"
        elif px is not None and px % listing.tick:
            wrong = f"price {px}, ticks of {listing.tick}"
        elif px is not None and px * qty < listing.min_notional:
            wrong = f"worth {px * qty}, {listing.min_notional} at least"
        child = self.facts.children.get(terms.client_id)
        if not wrong and child is not None and (child.row.qty, child.row.px) != (qty, px):
            wrong = f"{qty} at {px}, decided was {child.row.qty} at {child.row.px}"
        if wrong:
            self.broken("I19", terms.client_id, wrong, venue, account)

    @checks("I23", "world")
    def in_time(self, venue: str, account: str, key: str) -> None:
        """After the kill switch nothing that was decided before it leaves late."""
        child, facts = self.facts.children.get(key), self.facts
        if facts.state != "halted" or child is None:
            return
        self.counts["I23"] += 1
        before = child.row.at_ns < facts.state_ns
        if before and self.home.office.clock() > facts.state_ns + LATE_NS:
            self.broken("I23", key, "came long after the kill switch", venue, account)

    @checks("I24", "world")
    def paced(self, venue: str, account: str, symbol: str, at_ns: int) -> None:
        """Orders that leave in any window: within the limit, less what cancels keep."""
        if venue not in PUBLISHED:
            return
        self.counts["I24"] += 1
        most, span_ns = PUBLISHED[venue]
        where = (venue, account, symbol if venue == "okx" else "")
        times = self._times.setdefault(where, deque())
        times.append(at_ns)
        while times[0] <= at_ns - span_ns:
            times.popleft()
        if len(times) > int(most * 0.8):
            text = f"{len(times)} orders within {span_ns // SECOND} s"
            self.broken("I24", " ".join(where), text, venue, account)


class Venues(World):
    """Looks at what stands at the venues, now and then and at the end."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.well_since: dict[tuple[str, str], int] = {}
        self._alone: dict[tuple[str, str, str], int] = {}
        self.base: dict[tuple[str, str, str], Decimal] = {}  # (account, strategy, symbol)

    def look(self) -> None:
        """At everything, as it stands."""
        self.desks()
        self.resting_known()
        self.killed()
        self.times()
        self.queues()
        self.alone()

    def desks(self) -> None:
        """Since when each desk has stood."""
        now_ns = self.home.world.now_ns
        for place, health in self.home.engine.core.desks.items():
            if health.why:
                self.well_since.pop(place, None)
            else:
                self.well_since.setdefault(place, now_ns)

    def _stood(self, venue: str, account: str, for_ns: int) -> bool:
        since = self.well_since.get((venue, account))
        return since is not None and self.home.world.now_ns - since > for_ns

    @checks("I11", "world")
    def resting_known(self) -> None:
        """What rests at a venue under an id of ours is alive in the journal."""
        for venue in self.home.venues:
            for account in ("main", "second"):
                for order in self.home.books_of(venue, account).open_orders():
                    key = order.first_client_id
                    if len(key) != 17 or key[0] != "h":
                        continue  # somebody else's
                    self.counts["I11"] += 1
                    child = self.facts.children.get(key)
                    if child is None:
                        self.broken("I11", key, "rests, and is forgotten", venue, account)
                    elif not child.lives and not child.ghost and not child.alarmed:
                        text = f"rests, and is {child.state} for us"
                        self.broken("I11", key, text, venue, account)

    @checks("I23", "world")
    def killed(self) -> None:
        """After the kill switch what rests is cancelled, or its desk is told to be shut."""
        if self.facts.state != "halted":
            return
        for venue in self.home.venues:
            for account in ("main", "second"):
                for order in self.home.books_of(venue, account).open_orders():
                    child = self.facts.children.get(order.first_client_id)
                    if child is None or child.row.at_ns >= self.facts.state_ns:
                        continue
                    self.counts["I23"] += 1
                    since_ns = self.home.office.clock() - self.facts.state_ns
                    if since_ns > CANCELLED_NS and self._stood(venue, account, CANCELLED_NS):
                        text = f"rests {since_ns // SECOND} s after the kill switch"
                        self.broken("I23", child.row.key, text, venue, account)

    @checks("I32", "world")
    def times(self) -> None:
        """Each parent that is to end by itself does, within its time and a bound."""
        now_ns, policy = self.home.office.clock(), self.home.engine.core.policy
        for name, parent in self.facts.parents.items():
            intent = parent.row.intent
            if intent.life in {Life.IOC, Life.FOK}:
                ends_ns = parent.row.at_ns + policy.work_ns
            elif intent.expire_ns is not None:
                ends_ns = intent.expire_ns
            else:
                continue
            self.counts["I32"] += 1
            if parent.ended or now_ns < ends_ns + ENDS_NS:
                continue
            places = [place for place in self.home.engine.core.desks if place[1] == intent.account]
            if all(self._stood(*place, ENDS_NS) for place in places):
                late_s = (now_ns - ends_ns) // SECOND
                self.broken("I32", name, f"{late_s} s beyond its time, every desk stands")

    @checks("I33", "world")
    def queues(self) -> None:
        """Every queue is bounded and far from full."""
        trading = self.home.trading
        self.counts["I33"] += 1
        if len(trading._queue) > 1_000:
            self.broken("I33", "trading", f"{len(trading._queue)} events wait")
        for one in trading._subscriptions:
            if one._queue.maxsize <= 0:
                self.broken("I33", "subscription", "a reader may lag behind without end")

    @checks("I35", "world")
    def alone(self) -> None:
        """A leg that stands alone is hedged within its time, or somebody is told."""
        core, now_ns = self.home.engine.core, self.home.world.now_ns
        for place, base in self.base.items():
            self.counts["I35"] += 1
            found = core.mid(core.pair_of[place[2]])
            core._mids.clear()
            if found is None or abs(base) * found[0] < 50:  # less than venues take as an order
                self._alone.pop(place, None)
                continue
            since_ns = self._alone.setdefault(place, now_ns)
            if now_ns - since_ns > ALONE_NS and not self._told(place[1]):
                text = f"{base} stands alone for {(now_ns - since_ns) // SECOND} s"
                self.broken("I35", " ".join(place), text)

    def _told(self, strategy: str) -> bool:
        one = self.home.engine.crew.strategies.get(strategy)
        cycles = getattr(getattr(one, "state", None), "cycles", [])
        return any(getattr(cycle, "alarmed", False) for cycle in cycles)

    def traded(self, row: Filled) -> None:
        """Keep what a strategy's legs add up to."""
        if not row.strategy:
            return
        base, _ = self.facts.assets(row.symbol)
        moved = row.qty if row.side.value == "buy" else -row.qty
        if row.fee_asset == base:
            moved -= row.fee
        where = (row.account, row.strategy, row.symbol)
        self.base[where] = self.base.get(where, ZERO) + moved

    @checks("I20", "world")
    def exposed(self, row: ParentPlaced) -> None:
        """With all that is out filled the worst way, exposure is within each limit."""
        core, limits = self.home.engine.core, self.home.engine.risk.limits
        self.counts["I20"] += 1
        account = row.intent.account
        after, before = self._gross(account, None), self._gross(account, row.parent)
        core._mids.clear()
        if after is None or before is None:
            return
        most = limits.of_account(account).gross_max
        if most is not None and after > most and after > before:
            text = f"account {account}: gross {after:.2f}, {most} is allowed"
            self.broken("I20", row.parent, text)

    def _gross(self, account: str, without: str | None) -> Decimal | None:
        """Gross exposure of an account in the reporting currency; None without a rate."""
        core = self.home.engine.core
        worst: dict[str, list[Decimal]] = {}
        for (whose, symbol), qty in self.facts.positions.items():
            if whose == account:
                worst[symbol] = [qty, qty]
        for name, parent in self.facts.parents.items():
            intent = parent.row.intent
            if intent.account != account or name == without or parent.ended:
                continue
            ways = worst.setdefault(intent.symbol, [ZERO, ZERO])
            leaves = max(ZERO, parent.row.qty - parent.by_children)
            if intent.side.value == "buy":
                ways[0] += leaves
            else:
                ways[1] -= leaves
        total, rates = ZERO, core.rates()
        for symbol, (up, down) in worst.items():
            found = core.mid(core.pair_of[symbol])
            quote = rates.get(self.facts.assets(symbol)[1])
            if found is None or quote is None:
                return None
            total += max(up, -down) * found[0] * quote.px
        return total

    # ------------------------------------------------------------------------- the end

    def settled(self, lied: set[str]) -> None:
        """Faults have ended and all is over: hold everything against the venues."""
        self.all_well()
        self.conserved()
        for venue in self.home.venues:
            if venue not in lied:
                for account in ("main", "second"):
                    self.held(venue, account)
                    self.filled(venue, account)

    @checks("I31", "world")
    def all_well(self) -> None:
        """Once faults stop every book is LIVE, every desk stands, nothing is unknown."""
        core = self.home.engine.core
        self.counts["I31"] += 1
        unknown = [k for k, child in core.oms.live.items() if child.status.value == "unknown"]
        if unknown:
            self.broken("I31", unknown[0], f"{len(unknown)} orders of unknown fate at the end")

    @checks("I12", "world")
    def replays(self) -> None:
        """Reading the journal from its first row gives the state that the process has."""
        office, engine = self.home.office, self.home.engine
        if office.trading._unwritten:
            return  # memory is ahead of what could be written
        self.counts["I12"] += 1
        fresh = type(engine.oms)(), type(engine.risk)(engine.risk.limits), type(engine.ledger)()
        for _, row in office.journal.rows():
            for part in fresh:
                part.apply(row)
        parts = (engine.oms, engine.risk, engine.ledger)
        for name, there, here in zip(("orders", "risk", "ledger"), fresh, parts, strict=True):
            if there.state_hash() != here.state_hash():
                self.broken("I12", name, "the journal gives another state")

    @checks("I17", "world")
    def conserved(self) -> None:
        """No value is created: what fills did to base and quote is the booked profit and fees."""
        for line in self.home.engine.ledger.positions(View.SYMBOL):
            if any(line.fees_third.values()):
                continue
            self.counts["I17"] += 1
            where = (line.account, line.symbol)
            base, quote = self.facts.positions.get(where, ZERO), self.facts.flows.get(where, ZERO)
            booked = line.realised - line.cost - line.fees_quote
            if (line.qty, booked) != (base, quote):
                text = f"{booked} and {line.qty} are booked, trades moved {quote} and {base}"
                self.broken("I17", " ".join(where), text)

    @checks("I16", "world")
    def held(self, venue: str, account: str) -> None:
        """Balances are the venue's own, to the last unit."""
        ours = self.home.engine.ledger.balances().get((venue, account))
        if ours is None:
            return
        self.counts["I16"] += 1
        theirs = self.home.balances(venue, account)
        for asset in sorted({*ours, *theirs}):
            a, b = ours.get(asset, ZERO), theirs.get(asset, ZERO)
            if a != b:
                self.broken("I16", f"{venue} {account} {asset}", f"ours {a}, theirs {b}", venue)

    @checks("I15", "world")
    def filled(self, venue: str, account: str) -> None:
        """The venue's fills are ours: each of them, once."""
        self.counts["I15"] += 1
        fills = self.home.books_of(venue, account).fills
        theirs = sum(1 for order, _ in fills if order.first_client_id.startswith("h"))
        ours = self.booked.get((venue, account), 0)
        if ours != theirs:
            self.broken("I15", f"{venue} {account}", f"{ours} booked, {theirs} made", venue)

    booked: dict[tuple[str, str], int]
