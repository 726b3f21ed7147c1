"""Whoever sees everything: the checkers of I1 to I40 on a whole simulated world.

    witness = Witness(home)     # before anybody moves in
    ...                         # lives of the router, of any number
    witness.end()               # nothing may have been broken: raises AssertionError

`counts` says how often each invariant was looked at, `broken` what did not hold.  A venue that was
made to say what is not so (`lied`) is not held to it.
"""

import asyncio
import logging
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import Any

from hean_router.audit import Books, Broken, Faces, Watch
from hean_router.domain.record import Decided, Filled, ParentPlaced, encode
from tests.storm.witness_books import Oracle
from tests.storm.witness_world import Arrivals, Venues

SECOND = 1_000_000_000
EVERY_S = 1.0  # how often books and venues are looked at


class Witness:
    """Looks at the house's journal, parts and venues for as long as the run lasts."""

    def __init__(self, home: Any) -> None:
        self.home = home
        self.rows = Watch(home.settings.limits.limits(), stale_ms=70_000)
        findings = self.rows.findings
        self.books, self.oracle = Books(findings), Oracle(home, findings)
        self.arrivals = Arrivals(home, self.rows, findings)
        self.venues = Venues(home, self.rows, findings)
        self.venues.booked = {}
        self.faces = Faces(findings, _secrets(home))
        self.broken: list[Broken] = []
        self.lied: set[str] = set()  # venues that were made to say what is not so
        self.life: Any = None  # the office that is looked at
        self._read = 0
        self._log = _Lines(self)
        home.desk_of = self._desk_of
        self.arrivals.listen()
        self.oracle.listen()
        home.moving_in.append(self.attach)
        self._moved_in = home.moved_in
        home.moved_in = self._watched

    @property
    def counts(self) -> Counter[str]:
        """How often each invariant was looked at."""
        return Counter(self.rows.counts)

    def _desk_of(self, venue: str) -> Any:
        face = self.home.venues[venue].simulator.face
        face = getattr(face, "inner", face)
        return getattr(face.private, "orders", face.private).desk

    # ------------------------------------------------------------------------- one life

    @asynccontextmanager
    async def _watched(self, journal: Any, *args: Any, **options: Any):
        """The house's `moved_in`, looked at."""
        self.read(journal)
        logging.getLogger().addHandler(self._log)
        loop = asyncio.get_running_loop()
        began_s = 0.0
        try:
            async with self._moved_in(journal, *args, **options) as office:
                try:
                    yield office
                finally:
                    if not getattr(journal, "dead", False):
                        self.venues.replays()
                    began_s = loop.time()
        finally:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking
            logging.getLogger().removeHandler(self._log)
        self._ended(journal, loop.time() - began_s)

    def attach(self, office: Any) -> None:
        """Look at this life of the router."""
        self.life, trading = office, office.trading
        written, sent, make_key = trading._written, trading._sent, trading.make_key

        def kept(rows, seq):
            self.committed(rows, seq)
            written(rows, seq)

        def left(event, tick_ns):
            self._left(event.key)
            sent(event, tick_ns)

        def made(*args, **more):
            key_id, token = make_key(*args, **more)
            self.faces.secrets.add(token)
            return key_id, token

        def changed(change):
            view = office.router.market.book(change.instrument.pair)
            # Its own book alone: after a pause the timers of the others are still to come.
            own = [
                one.source for one in view._members if one.source.instrument is change.instrument
            ]
            self.books.only_live(view, own, office.clock())

        trading._written, trading._sent, trading.make_key = kept, left, made
        office.router.market.on_change.append(changed)
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def _left(self, key: str) -> None:
        if (child := self.rows.facts.children.get(key)) is not None:
            row = child.row
            now_ns = self.home.world.now_ns
            self.arrivals.paced(row.venue, row.account, row.symbol, now_ns)

    def _ended(self, journal: Any, took_s: float) -> None:
        """An orderly end (a killed process has none to speak of)."""
        if getattr(journal, "dead", False):
            return
        self.rows.counts["I34"] += 1
        trading = self.life.trading
        if took_s > 30 + self.home.stood_s:  # what the process stood still is nobody's delay
            self.venues.broken("I34", "end", f"it took {took_s:.0f} s")
        if trading._unwritten and not trading.journal_why:
            self.venues.broken("I34", "end", f"{len(trading._unwritten)} rows were not written")
        self.venues.resting_known()
        self._found()

    # ------------------------------------------------------------------------- what is seen

    def read(self, journal: Any) -> None:
        """Take in what the journal has beyond what was read."""
        for seq, row in journal.rows(self._read):
            self._take(seq, row)

    def committed(self, rows: Any, last: int) -> None:
        """Rows that were written this moment: the books are as the decision saw them."""
        for seq, row in enumerate(rows, last - len(rows) + 1):
            self._take(seq, row)
        self.rows.decisions.committed(rows)
        engine = self.home.engine
        self.broken += self.rows.agree(rows, engine.oms, engine.risk, engine.ledger)
        now_ns = self.life.clock()
        for row in rows:
            if isinstance(row, ParentPlaced) and row.at_ns == now_ns:
                self.venues.exposed(row)
            elif isinstance(row, Decided) and row.allocated and row.at_ns == now_ns:
                self._decided(row)
        self._found()

    def _take(self, seq: int, row: Any) -> None:
        self._read = seq
        self.broken += self.rows.apply(seq, row)
        if isinstance(row, Filled):
            self.venues.traded(row)
            if row.key:
                place = (row.venue, row.account)
                self.venues.booked[place] = self.venues.booked.get(place, 0) + 1
        self.faces.clean("journal", encode(row).decode(), row.at_ns)

    def _decided(self, row: Decided) -> None:
        placed = self.home.engine.oms.parents[row.parent].placed
        view = self.home.engine.core.world.book(placed.intent.pair)
        self.books.versions(row, view)
        self.books.seen(row, placed, view)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_s = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            if loop.time() > due_s + EVERY_S:
                # The process stood still: everyone's timers are late, and theirs come first.
                await asyncio.sleep(EVERY_S / 4)
            self.look()

    def look(self) -> None:
        """At books and venues, as they stand."""
        now_ns, market = self.life.clock(), self.home.market
        for pair in market.pairs:
            view = market.book(pair)
            self.books.only_live(view, [one.source for one in view._members], now_ns)
            self.books.exactly_live(view, now_ns)
            self.books.uncrossed(view, now_ns)
            self.oracle.same(view)
        self.venues.look()
        self._found()

    def hear(self, people: Any) -> None:
        """What people are answered, from now on."""
        call = people.call

        async def heard(account, method, path, **more):
            answer = await call(account, method, path, **more)
            if answer is not None:
                self.answered(account, answer.text)
            return answer

        people.call = heard

    def answered(self, account: str, text: str) -> None:
        """An answer of the API to a key of that account."""
        import json

        now_ns = self.home.world.now_ns
        self.faces.clean("answer", text, now_ns)
        with suppress(ValueError):
            self.faces.answered(account, json.loads(text), now_ns)
        self._found()

    def _found(self) -> None:
        self.broken += self.rows._found()

    # ------------------------------------------------------------------------- the end

    def end(self) -> None:
        """The run is over, and quiet: nothing may have been broken."""
        self.venues.settled(self.lied)
        if self.life is not None:
            text = self.life.router.metrics.text()
            self.faces.clean("metrics", text if isinstance(text, str) else text.decode(), 0)
            self.faces.clean("health", str(self.life.trading.health()), 0)
        self._found()
        wrong = [one for one in self.broken if not self._of_a_lie(one)]
        assert not wrong, "\n".join(f"{one.invariant} {one.subject}: {one.text}" for one in wrong)

    def _of_a_lie(self, broken: Any) -> bool:
        """Whether it comes from what a venue that lied told: of itself, or of a part of a whole.

        A whole is found to be beyond its quantity when the next trade comes, wherever that is.
        """
        if broken.venue in self.lied:
            return True
        return broken.invariant == "I2" and any(
            one.invariant == "I3" and one.venue in self.lied and broken.subject in one.subject
            for one in self.broken
        )


class _Lines(logging.Handler):
    """Every line that is logged."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(logging.DEBUG)
        self.witness = witness
        self.formatter = logging.Formatter("%(message)s")

    def emit(self, record: logging.LogRecord) -> None:
        self.witness.faces.clean("log", self.format(record), self.witness.home.world.now_ns)


def _secrets(home: Any) -> set[str]:
    """Whatever nobody may ever read: of every key of every account."""
    out = set()
    for target in home.targets:
        for credentials in target.accounts.values():
            out |= {credentials.secret, credentials.passphrase}
    return out
