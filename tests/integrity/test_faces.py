"""Codec and session on the simulators' faces: no socket, virtual time, faults by seed.

The exchange behind the face is the oracle: once the faults are over, each book is LIVE and level by
level what the exchange has; and at any time a LIVE book whose number is the exchange's own is it.
"""

import heapq
from functools import partial
from random import Random

import msgspec
import pytest

from hean_router import kit
from hean_router.book import BookState
from hean_router.domain.errors import VenueError
from hean_router.domain.venue import RateLimit
from hean_router.sim.contract import Close, Options, Pause, Ping, Request, Reset, Trouble
from hean_router.sim.contract import Send as Sent
from hean_router.sim.exchange import Side
from hean_router.sim.fault_spec import parse
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate
from hean_router.venue import (
    Drop,
    FeedSession,
    FetchBook,
    ProbeTop,
    Send,
    StateChanged,
)
from tests.integrity.harness import SEED, scaled
from tests.integrity.streams import LINEAR, MS, ORIGIN, SECOND, SPOT, carried, connector

pytestmark = pytest.mark.slow  # make test is a user's command; check-all runs these

PATHS = {
    ("binance", SPOT): "/stream",
    ("binance", LINEAR): "/public/stream",
    ("bybit", SPOT): "/v5/public/spot",
    ("bybit", LINEAR): "/v5/public/linear",
    ("okx", SPOT): "/ws/v5/public",
    ("okx", LINEAR): "/ws/v5/public",
    ("kraken", SPOT): "/v2",
}
DEPTHS = {"binance": 500, "bybit": 200, "kraken": 100, "okx": 400}
LATENCY_NS = 20 * MS


class Wired:
    """One session after another on one face, as a shell would run them."""

    def __init__(self, venue, part, seed, faults=None):
        settle = ":USDT" if part is LINEAR else ""
        self.venue, self.part = venue, part
        self.wanted = [f"BTC/USDT{settle}", f"ETH/USDT{settle}"]
        self.simulator, self.exchange = simulate(
            venue,
            seed,
            ORIGIN,
            symbols=self.wanted,
            pace=Pace(updates_per_s=15, levels=30, taker_permille=150),
            options=Options(limits=20.0),
            faults=parse(faults) if faults else None,
        )
        self.face, self.link = self.simulator.face, connector(venue)
        self.spec = msgspec.structs.replace(self.link.spec, frames=RateLimit(1_000_000, 1_000))
        self.now_ns, self.rng = ORIGIN, Random(seed)
        self.instruments = self._list()
        self.conn, self.session = 0, None
        self.queue: list[tuple[int, int, object]] = []  # what arrives when
        self.order = 0
        self.paused = False
        self.changes: list[StateChanged] = []
        self.sessions = 0
        self._open_at(self.now_ns)

    def _list(self):
        for _ in range(50):
            try:
                return carried(self.link.instruments(self.part), self._rest)
            except (VenueError, msgspec.MsgspecError, ValueError):
                continue  # a fault struck; ask again
        raise AssertionError("no list of instruments")

    def _rest(self, request):
        response = self.face.request(
            Request(request.method, request.path, request.query, dict(request.headers)),
            self.now_ns,
        )
        if response.status == 0 or response.delay_ns > 5 * SECOND:
            raise VenueError("no answer")
        return kit.Answer(response.status, {}, response.body)

    # ------------------------------------------------------------------ time

    def _later(self, at_ns, what):
        self.order += 1
        heapq.heappush(self.queue, (at_ns, self.order, what))

    def run(self, seconds, check=None):
        end = self.now_ns + round(seconds * SECOND)
        while True:
            times = [self.simulator.wake_at_ns, self.queue[0][0] if self.queue else None]
            times.append(self.session.wake_at_ns if self.session else None)
            at = min((t for t in times if t is not None), default=end)
            if at > end:
                break
            self.now_ns = max(self.now_ns, at)
            self._outputs(self.simulator.due(self.now_ns))
            while self.queue and self.queue[0][0] <= self.now_ns:
                heapq.heappop(self.queue)[2]()
                if check:
                    check(self)
            if self.session and self.session.wake_at_ns <= self.now_ns:
                self._after(self.session, self.session.due(self.now_ns))
        self.now_ns = end

    # ------------------------------------------------------------------ the socket

    def _open_at(self, at_ns):
        self.session = None
        self._later(at_ns, self._open)

    def _open(self):
        if self.session is not None:
            return
        request = Request("GET", PATHS[self.venue, self.part], peer=f"10.0.{self.rng.random()}")
        if self.face.accept(request, self.now_ns) is not None:
            self._open_at(self.now_ns + SECOND)
            return
        self.conn += 1
        self.sessions += 1
        by_symbol = {each.symbol: each for each in self.instruments}
        codec = self.link.feed(self.part, by_symbol)
        self.session = FeedSession(self.spec, codec, self.instruments, Random(self.conn))
        self._outputs(self.face.opened(self.conn, request, self.now_ns))
        if self.session is not None:
            self._after(self.session, self.session.opened(self.now_ns))

    def _outputs(self, outputs):
        for output in outputs:
            if output.conn != self.conn or self.session is None:
                continue
            session = self.session
            match output:
                case Sent(data=data):
                    raw = data.encode() if isinstance(data, str) else data
                    self._later(self.now_ns + LATENCY_NS, partial(self._receive, session, raw))
                case Ping(data=data):
                    self._outputs(self.face.ponged(self.conn, data, self.now_ns))
                case Close() | Reset():
                    self.face.closed(self.conn, self.now_ns)
                    self._later(self.now_ns + LATENCY_NS, partial(self._closed, session))
                case Pause():
                    pass  # half-open: nothing comes any more, and the silence shows it

    def _receive(self, session, raw):
        if session is self.session:
            self._after(session, session.received(raw, self.now_ns))

    def _closed(self, session):
        if session is self.session:
            self._note(session.closed("cut", self.now_ns))
            self._open_at(self.now_ns + 200 * MS)

    def _note(self, events):
        self.changes += [event for event in events if isinstance(event, StateChanged)]

    def _after(self, session, events):
        self._note(events)
        for command in session.take():
            match command:
                case Send(frame=frame):
                    text = frame.data if frame.binary else frame.data.decode()
                    self._outputs(self.face.received(self.conn, text, self.now_ns))
                case FetchBook(instrument=instrument):
                    self._later(self.now_ns + LATENCY_NS, partial(self._fetch, session, instrument))
                case ProbeTop(instrument=instrument):
                    self._later(self.now_ns + LATENCY_NS, partial(self._probe, session, instrument))
                case Drop():
                    self.face.closed(self.conn, self.now_ns)
                    self._closed(session)

    def _fetch(self, session, instrument):
        self._ask(session, instrument, session.codec.snapshot, session.fetched, session.failed)

    def _probe(self, session, instrument):
        failed = session.probe_failed
        self._ask(session, instrument, session.codec.probe, session.probed, failed)

    def _ask(self, session, instrument, ask, good, bad):
        if session is not self.session:
            return
        try:
            answer = carried(ask(instrument), self._rest)
        except (VenueError, msgspec.MsgspecError, ValueError, KeyError) as fault:
            then = partial(bad, instrument, str(fault))
        else:
            then = partial(good, answer)
        self._later(self.now_ns + LATENCY_NS, partial(self._answered, session, then))

    def _answered(self, session, then):
        if session is self.session:
            self._after(session, then(self.now_ns))

    # ------------------------------------------------------------------ the oracle

    def check_numbers(self):
        """A LIVE Binance book at the exchange's own number is the exchange's book."""
        for instrument in self.instruments:
            book = self.session.book(instrument) if self.session else None
            if book is None or book.live is None:
                continue
            assert not book.crossed
            if self.venue == "binance" and self.part is SPOT:
                symbol = str(instrument.pair)
                if book.seq == self.exchange.update_id(symbol):
                    self.compare(instrument)

    def compare(self, instrument, depth=0):
        listing = self.exchange.listings[str(instrument.pair)]
        depth = depth or DEPTHS[self.venue]
        book = self.session.book(instrument)
        told = self.exchange.book(str(instrument.pair), depth)
        for ours, theirs, side in zip((book.bids, book.asks), told, Side, strict=True):
            expected = [
                (
                    scaled(listing.px_text(level.px), instrument.px_decimals, ONE),
                    scaled(
                        listing.qty_text(level.qty),
                        instrument.qty_decimals,
                        instrument.contract_size,
                    ),
                )
                for level in theirs
            ]
            assert ours.top(depth) == expected, f"{instrument.symbol} {side}"


ONE = kit.Instrument.__dataclass_fields__["contract_size"].default
FAULTS = (
    "drop:0.01,repeat:0.01,reorder:0.01,corrupt:0.005,gap:0.002,hush:0.02,rest:0.1,hang:0.02,"
    "cut:20s,stall:25s,halfopen:45s,restart:15s,lostreset:22s,snapshot:12s,inside:0.3,until:{}s"
)


@pytest.mark.parametrize(("venue", "part"), PATHS, ids=lambda key: str(key))
def test_a_clean_minute_gives_no_alarm(venue, part):
    wired = Wired(venue, part, SEED + 1)
    wired.run(60, Wired.check_numbers)
    assert [change.new for change in wired.changes] == [BookState.LIVE] * 2
    assert wired.sessions == 1
    for instrument in wired.instruments:
        counts = wired.session.book_counts(instrument)
        assert (counts.gaps, counts.checksums_bad, counts.crossed, counts.resyncs) == (0, 0, 0, 0)
    settle(wired)


def settle(wired, within_s=90, depth=0):
    """No more trading; every book is LIVE before long, and the exchange's own.

    Where a lost frame is proved by a checksum alone, that covers ten levels: what was lost below
    cannot be known before it comes up.
    """
    for _ in range(within_s):
        wired.run(1)
        if wired.session and wired.session.all_live:
            break
    wired.simulator.market = None
    wired.run(3)
    for instrument in wired.instruments:
        book = wired.session.book(instrument) if wired.session else None
        assert book is not None, "no connection"
        assert book.live is not None, f"{instrument.symbol}: {book.state} {book.reason}"
        wired.compare(instrument, depth)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("venue", "part"), PATHS, ids=lambda key: str(key))
def test_two_minutes_of_faults(venue, part, seed):
    digits = ",digits:0.005" if venue == "kraken" else ""
    wired = Wired(venue, part, SEED + seed, (FAULTS + digits).format(120))
    wired.run(120, Wired.check_numbers)
    lost = [change for change in wired.changes if change.old is BookState.LIVE]
    assert len(lost) > 10
    assert wired.sessions > 1
    settle(wired, depth=10 if venue == "kraken" else 0)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("venue", "part"), PATHS, ids=lambda key: str(key))
def test_forty_seeds_of_faults(venue, part):
    digits = ",digits:0.005" if venue == "kraken" else ""
    for seed in range(SEED + 100, SEED + 140):
        wired = Wired(venue, part, seed, (FAULTS + digits).format(60))
        try:
            wired.run(60, Wired.check_numbers)
            settle(wired, depth=10 if venue == "kraken" else 0)
        except AssertionError as fault:
            fault.add_note(f"again with HEAN_INTEGRITY_SEED={seed - 100}")
            raise


@pytest.mark.parametrize("venue", ["bybit", "okx"])
def test_a_lost_reset_is_noticed_with_the_next_change(venue):
    """The service counts anew, and the message that says so is lost."""
    wired = Wired(venue, SPOT, SEED + 5, "lostreset:3s,until:60s")
    wired.run(60, Wired.check_numbers)
    reasons = {change.reason for change in wired.changes if change.new is BookState.LOST}
    assert any("does not build on" in reason for reason in reasons), reasons
    settle(wired)


@pytest.mark.parametrize("trouble", list(Trouble))
@pytest.mark.parametrize(("venue", "part"), PATHS, ids=lambda key: str(key))
def test_every_trouble_ends_live(venue, part, trouble):
    wired = Wired(venue, part, SEED + 7)
    wired.run(5)
    wired._outputs(wired.face.trouble(trouble, wired.now_ns) or ())
    wired.run(8, Wired.check_numbers)
    wired._outputs(wired.face.trouble(Trouble.RESUME, wired.now_ns) or ())
    wired.run(70, Wired.check_numbers)
    settle(wired)
