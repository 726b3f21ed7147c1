"""Binance's snapshot and events in every order: the book is the oracle's, or is asked for again.

The oracle knows the true book at every single id, also inside an event: a list of changes, one an
id.  Events gather several, a snapshot stands at any.
"""

import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import msgspec
import pytest

from connectors.binance import CONNECTOR
from hean_router import kit
from hean_router.domain.venue import RateLimit
from hean_router.venue import FeedSession, FetchBook, Freshness, Policy
from tests.integrity.harness import SEED
from tests.integrity.naive import Naive
from tests.integrity.streams import LINEAR, MS, ORIGIN, SPOT, carried
from tests.integrity.wires import Said

SPEC = msgspec.structs.replace(CONNECTOR.spec, frames=RateLimit(1_000_000, 1_000))
POLICY = Policy(retry_ns=40 * MS, retry_max_ns=80 * MS, fresh=Freshness(late_ns=0))


def instrument_of(part):
    return kit.Instrument(
        venue=CONNECTOR.spec.id,
        pair=kit.Pair("BTC", "USDT", "USDT" if part is LINEAR else ""),
        symbol="BTCUSDT",
        px_decimals=2,
        qty_decimals=3,
    )


INSTRUMENTS = {part: instrument_of(part) for part in (SPOT, LINEAR)}


@dataclass
class Event:
    """`first`..`last` as they are on the wire; `prev` is the event's before."""

    first: int
    last: int
    prev: int
    raw: bytes


class Market:
    """Changes with an id each, gathered into events."""

    def __init__(self, part: kit.Part, rng: Random, events: int = 12) -> None:
        self.part = part
        start = rng.randrange(1_000, 9_000)
        self.changes: list[tuple[int, bool, str, str]] = []  # id, whether a bid, price, quantity
        self.begin = Naive()
        for _ in range(6):
            self._set(self.begin, rng)
        self.events: list[Event] = []
        at = last = start
        for _ in range(events):
            # The futures share their ids with other symbols: some are nobody's here.
            first = last + 1 + (rng.randrange(3) if part is LINEAR else 0)
            ids = list(range(first, first + rng.choice([1, 1, 2, 3, 5])))
            told: dict[tuple[bool, str], str] = {}
            for each in ids:
                bid, px, qty = self._draw(rng)
                self.changes.append((each, bid, px, qty))
                told[bid, px] = qty
            self.events.append(Event(first, ids[-1], last, self._frame(first, ids[-1], last, told)))
            last = ids[-1]
        self.start, self.end = at, last
        self._tell()

    @staticmethod
    def _draw(rng: Random) -> tuple[bool, str, str]:
        bid = rng.random() < 0.5
        px = f"{rng.randrange(90, 100) if bid else rng.randrange(100, 110)}.00"
        return bid, px, rng.choice(["0.000", f"{rng.randrange(1, 9)}.000", "2.500"])

    def _set(self, book: Naive, rng: Random) -> None:
        bid, px, qty = self._draw(rng)
        side = ((px, qty),)
        book.apply(Said("BTCUSDT", "D", side if bid else (), () if bid else side))

    def _frame(self, first, last, prev, told) -> bytes:
        event = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": first, "u": last}
        if self.part is LINEAR:
            event |= {"T": 1, "pu": prev}
        event |= {
            "b": [[px, qty] for (bid, px), qty in told.items() if bid],
            "a": [[px, qty] for (bid, px), qty in told.items() if not bid],
        }
        return json.dumps({"stream": "btcusdt@depth@100ms", "data": event}).encode()

    def at(self, seq: int) -> Naive:
        """The true book right after the change `seq`."""
        return self._books[bisect_right(self._ids, seq)]

    def _tell(self) -> None:
        """Write down the true book after each change."""
        self._ids = [each for each, *_ in self.changes]
        self._books = [self.begin]
        for _, bid, px, qty in self.changes:
            book, side = self._books[-1].copy(), ((px, qty),)
            book.apply(Said("BTCUSDT", "D", side if bid else (), () if bid else side))
            self._books.append(book)

    def answer(self, seq: int) -> kit.Answer:
        bids, asks = self.at(seq).best(500)
        body: dict[str, object] = {"lastUpdateId": seq}
        if self.part is LINEAR:
            body |= {"E": 1, "T": 1}
        return kit.Answer(200, {}, json.dumps({**body, "bids": bids, "asks": asks}).encode())


class Client:
    """The real codec and session; after each step a LIVE book is the true one at its number."""

    def __init__(self, market: Market) -> None:
        self.market, self.instrument = market, INSTRUMENTS[market.part]
        self.codec = CONNECTOR.feed(market.part, {"BTCUSDT": self.instrument})
        self.session = FeedSession(SPEC, self.codec, [self.instrument], Random(1), POLICY)
        self.now_ns = ORIGIN
        self.asked = 0
        self.heard = 0  # the last number that was heard
        self.session.opened(self.now_ns)
        self._check()

    @property
    def book(self):
        return self.session.book(self.instrument)

    def hear(self, event: Event) -> None:
        self._pass()
        self.session.received(event.raw, self.now_ns)
        self.heard = max(self.heard, event.last)
        self._check()

    def fetched(self, seq: int) -> None:
        self._pass()
        answer = self.market.answer(seq)
        self.session.fetched(
            carried(self.codec.snapshot(self.instrument), lambda _: answer), self.now_ns
        )
        self._check()
        if self.book.live is not None:
            assert self.book.seq >= self.heard, "LIVE behind what was heard"

    def _pass(self) -> None:
        self.now_ns += 30 * MS
        self.session.due(self.now_ns)
        self._check()

    def _check(self) -> None:
        self.asked += sum(isinstance(command, FetchBook) for command in self.session.take())
        self.book.check()
        if self.book.live is not None:
            assert self.levels() == self.market.at(self.book.seq), f"wrong at {self.book.seq}"

    def levels(self) -> Naive:
        book, instrument = Naive(), self.instrument
        sides = [
            tuple(
                (f"{instrument.px_decimal(px)}", f"{instrument.qty_decimal(qty)}")
                for px, qty in side
            )
            for side in (self.book.bids, self.book.asks)
        ]
        book.apply(Said("BTCUSDT", "S", *sides))
        return book

    def converge(self) -> int:
        """The last event comes (again), and good answers from now on; how many it took."""
        if self.book.live is not None and self.book.seq < self.market.end:
            self.hear(self.market.events[-1])
        for count in range(20):
            if self.book.live is not None:
                assert self.book.seq >= self.market.end
                return count
            waited = 0
            while not self._waits() and waited < 200:
                self._pass()
                waited += 1
            self.fetched(self.market.end)
        raise AssertionError(f"never LIVE again: {self.book.state}, {self.book.reason}")

    def _waits(self) -> bool:
        """Whether a request is under way."""
        return bool(self.session._slots[self.instrument].asked_ns)


def interleave(part: kit.Part, seed: int) -> dict[str, int]:
    """One random interleaving; what happened in it."""
    rng = Random(f"{part.value}/{seed}")
    market = Market(part, rng)
    client = Client(market)
    lost = rng.random() < 0.4
    answers = rng.choice([1, 1, 1, 2, 2, 3])
    moments = sorted(rng.randrange(len(market.events)) for _ in range(answers))
    live_first = None
    for number, event in enumerate(market.events):
        if not (lost and rng.random() < 0.12):
            client.hear(event)
            if rng.random() < 0.05:
                client.hear(event)
        for _ in range(moments.count(number)):
            client.fetched(stand(market, number, rng))
            live_first = live_first or client.book.live is not None
    was_live = client.book.live is not None and client.book.seq == market.end
    client.converge()
    assert client.levels() == market.at(market.end)
    return {
        "live at the first answer": bool(live_first),
        "live at the end": was_live,
        "asked again": client.asked > 1,
        "events lost": lost,
    }


def stand(market: Market, number: int, rng: Random) -> int:
    """Where a snapshot stands that is taken by the time of event `number`: before, in, after."""
    around = market.events[max(0, min(len(market.events) - 1, number + rng.randrange(-6, 3)))]
    where = rng.randrange(5)
    if where == 4:  # from before all that was heard
        return market.start - rng.randrange(1, 4)
    if where == 0:
        return around.last
    if where == 1:
        return around.prev
    if where == 2:
        return max(market.start, around.first - 1)
    return rng.randint(around.first, around.last)


@pytest.mark.parametrize("part", [SPOT, LINEAR])
@pytest.mark.slow
def test_ten_thousand_interleavings(part):
    seen = dict.fromkeys(("live at the first answer", "live at the end", "asked again",
                          "events lost"), 0)  # fmt: skip
    for seed in range(SEED, SEED + 10_000):
        try:
            for what, so in interleave(part, seed).items():
                seen[what] += so
        except AssertionError as fault:
            fault.add_note(f"again with HEAN_INTEGRITY_SEED={seed}")
            raise
    print(part.value, seen)
    # Nothing was shown if all went one way.
    assert all(1_000 < count < 9_900 for count in seen.values()), seen


@pytest.mark.parametrize("part", [SPOT, LINEAR])
def test_a_snapshot_at_every_number_and_every_moment(part):
    """All of them, with whole events: LIVE at once exactly where the protocol allows it."""
    rng = Random(f"all/{part.value}")
    market = Market(part, rng, events=6)
    count = 0
    for seq in range(market.start, market.end + 1):
        for moment in range(len(market.events)):
            client = Client(market)
            for event in market.events[: moment + 1]:
                client.hear(event)
            heard = market.events[: moment + 1]
            assert client.asked == 1
            client.fetched(seq)
            # Behind a snapshot as old as before the first event nothing links; else all does.
            links = seq >= heard[0].prev
            assert (client.book.live is not None) == links, (seq, moment)
            if links:
                assert client.book.seq == max(seq, heard[-1].last)
                assert client.asked == 1
            for event in market.events[moment + 1 :]:
                client.hear(event)
            if links:
                # What lies inside the snapshot is passed over, and the rest applies.
                assert client.book.live is not None, (seq, moment)
                assert client.book.seq == max(seq, market.end)
            client.converge()
            count += 1
    assert count > 60


@pytest.mark.parametrize("part", [SPOT, LINEAR])
@pytest.mark.parametrize("lost", range(1, 7))
def test_each_event_lost_in_the_buffer_or_behind_it(part, lost):
    """Whichever is missing, a book that would lack it is not LIVE, and is asked for again."""
    rng = Random(f"lost/{part.value}")
    market = Market(part, rng, events=8)
    missing = market.events[lost]
    for moment in range(8):
        for seq in range(market.start, market.end + 1):
            client = Client(market)
            for number, event in enumerate(market.events):
                if number != lost:
                    client.hear(event)
                if number == moment:
                    client.fetched(seq)
                book = client.book
                if book.live is not None and number > lost:
                    assert book.seq >= missing.last, "it has seen an event behind the hole"
            client.converge()


def test_events_build_upon_each_other():
    """The generator keeps Binance's own rules."""
    for part in (SPOT, LINEAR):
        market = Market(part, Random(3))
        for one, two in pairwise(market.events):
            assert two.prev == one.last
            assert two.first == one.last + 1 if part is SPOT else two.first > one.last
