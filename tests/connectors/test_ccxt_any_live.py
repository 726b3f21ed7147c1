"""The same book tests for OKX's own connector and for `ccxt:okx`, over real sockets.

One body each, run over both: what the generic connector gives must be as good a book.  Then the
other three venues through ccxt.
"""

import asyncio
import time
from random import Random

import pytest

from hean_router.app import Router, Target, targets
from hean_router.book import BookState
from hean_router.config import Settings
from hean_router.domain.errors import CommandError
from hean_router.domain.instrument import Pair
from hean_router.sim import server
from hean_router.sim.contract import FrameKind, Pause, Send, Trouble
from hean_router.sim.market import Pace
from hean_router.sim.simulator import simulate

SYMBOLS = ("BTC/USDT", "BTC/USDT:USDT")
PAIRS = [Pair.parse(symbol) for symbol in SYMBOLS]
DEPTH = 400  # OKX's `books`
both = pytest.mark.parametrize("venue", ["okx", "ccxt:okx"])
# Silence is doubted soon, so that a test need not wait for it long.
QUICK = {"doubt_min_s": 0.4, "doubt_max_s": 0.8, "again_s": 0.2, "sync_s": 2}
QUICK_BOUND_S = 0.8 + 2 * 0.2 + 1  # doubt_max + 2 x again + two round trips, on a busy machine


class Stage:
    """A venue's simulator on a port, and a router on it."""

    def __init__(self, venue, pairs, depth):
        self.venue, self.pairs, self.depth = venue, pairs, depth
        self.simulator, self.exchange = simulate(
            venue.removeprefix("ccxt:"),
            5,
            time.time_ns(),
            symbols=[str(pair) for pair in pairs],
            pace=Pace(updates_per_s=60),
        )
        self.server = None
        self.changes = []

    async def open(self, port=0):
        self.server = server.Server(self.simulator, time.time_ns, port=port)
        await self.server.start()

    def reader(self, settings):
        target = Target(self.venue, "sim", self.server.hosts())
        self.router = Router(settings, [target], self.pairs, rng=Random(3))
        self.router.market.on_change.append(self.changes.append)
        return self.router

    def live(self, pair):
        seat = self.router.market.seat(self.venue, pair)
        return seat.live if seat else None

    def all_live(self):
        return all(self.live(pair) for pair in self.pairs)

    def equal(self, pair):
        """Whether the book is LIVE and the exchange's: every level, digit for digit."""
        if (book := self.live(pair)) is None:
            return False
        listing, one = self.exchange.listings[str(pair)], book.instrument
        ours = [
            [(one.px_decimal(px), one.qty_decimal(qty)) for px, qty in levels]
            for levels in (book.bids(self.depth), book.asks(self.depth))
        ]
        theirs = [
            [(listing.px(x.px), listing.qty(x.qty) * listing.contract_size) for x in side]
            for side in self.exchange.book(str(pair), self.depth)
        ]
        return ours == theirs

    async def until(self, true, within_s, what):
        deadline = time.monotonic() + within_s
        while not true():
            said = [(str(c.instrument.pair), c.new.value, c.reason) for c in self.changes]
            assert time.monotonic() < deadline, f"{what} not within {within_s} s: {said}"
            await asyncio.sleep(0.005)

    async def true_at_a_pause(self):
        """Every book equals its exchange's, while that stands still for a moment."""
        await self.until(self.all_live, 15, "every book live")
        market, self.simulator.market = self.simulator.market, None
        await self.until(lambda: all(self.equal(pair) for pair in self.pairs), 5, "equal books")
        self.simulator.market = market
        market.skip_to(time.time_ns())
        self.server._advance()

    def states(self, pair):
        return [change.new.value for change in self.changes if change.instrument.pair == pair]


def on_stage(venue, body, *, pairs=PAIRS, depth=DEPTH, **freshness):
    async def main():
        stage = Stage(venue, pairs, depth)
        await stage.open()
        settings = Settings(venues={}, feeds={"freshness": freshness})
        try:
            async with asyncio.timeout(40), stage.reader(settings).running():
                await body(stage)
        finally:
            await stage.server.stop()

    asyncio.run(main())


@both
def test_books_come_live_and_are_true_again_and_again(venue):
    trades = []

    async def body(on):
        on.router.market.on_trade.append(trades.append)
        for _ in range(3):
            await on.true_at_a_pause()
        assert all(on.states(pair) == ["live"] for pair in PAIRS)
        await on.until(lambda: len(trades) >= 3, 10, "trades")

    on_stage(venue, body)
    ids = [(trade.instrument.pair, trade.trade_id) for trade in trades]
    assert len(set(ids)) == len(ids), "none twice"


@both
def test_a_cut_is_survived(venue):
    async def body(on):
        await on.true_at_a_pause()
        on.changes.clear()
        for client in list(on.server._clients.values()):
            client.transport.abort()
        await on.until(lambda: not any(map(on.live, PAIRS)), 2, "every book lost")
        await on.true_at_a_pause()
        assert all(on.states(pair)[0] == "lost" for pair in PAIRS)
        for feed in on.router.metrics.readings():
            assert (feed.venue, feed.faults) == (venue, 0)
            assert feed.connects == 2
            assert feed.reconnects == 1
            assert feed.totals.frames >= 4
            (book,) = feed.books
            assert book.state is BookState.LIVE
            assert book.counts.snapshots >= 2, "one a connection at least"
        assert b"hean_book_live" in on.router.metrics.text()

    on_stage(venue, body)


@both
def test_sequences_that_begin_again_are_followed(venue):
    async def body(on):
        await on.true_at_a_pause()
        on.server._dispatch(on.simulator.face.trouble(Trouble.RESTART, time.time_ns()))
        await asyncio.sleep(0.1)
        await on.true_at_a_pause()

    on_stage(venue, body)


@both
def test_a_frame_that_cannot_be_read_costs_a_moment(venue, caplog):
    async def body(on):
        await on.true_at_a_pause()
        on.changes.clear()
        on.server._dispatch([Send(conn, '{"arg":{"channel":') for conn in on.server._clients])
        await on.until(lambda: all(map(on.states, PAIRS)), 1, "every book lost")
        assert {on.states(pair)[0] for pair in PAIRS} == {"lost"}
        await on.true_at_a_pause()

    on_stage(venue, body)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@both
def test_a_venue_that_goes_away_and_comes_back(venue):
    async def body(on):
        await on.true_at_a_pause()
        port = on.server.port
        await on.server.stop()
        await on.until(lambda: not any(map(on.live, PAIRS)), 2, "every book lost")
        await on.open(port)
        await on.true_at_a_pause()

    on_stage(venue, body)


@both
def test_a_subscription_that_dies_in_silence_is_found(venue):
    dead = PAIRS[0]

    async def body(on):
        await on.true_at_a_pause()
        dispatch, muted = on.server._dispatch, set()

        def without_deltas(outputs):
            """The server forgets that `dead` is subscribed to; a new subscription it remembers."""
            passed = []
            for output in outputs:
                of_dead = isinstance(output, Send) and '"instId":"BTC-USDT"' in str(output.data)
                key = (output.conn, output.topic) if of_dead else None
                if of_dead and output.kind is FrameKind.SNAPSHOT:
                    muted.discard(key)
                if key not in muted:
                    passed.append(output)
            dispatch(passed)

        for conn in on.server._clients:
            muted |= {(conn, topic) for topic in on.simulator.face.topics(conn)}
        on.server._dispatch = without_deltas
        on.changes.clear()
        await on.until(lambda: on.states(dead), QUICK_BOUND_S, "the dead book found")
        assert on.states(dead)[0] == "lost"
        on.server._dispatch = dispatch
        await on.true_at_a_pause()
        assert on.states(PAIRS[1]) == [], "its neighbour did not notice"

    on_stage(venue, body, **QUICK)


@both
def test_a_connection_that_is_open_and_dead_is_found(venue):
    async def body(on):
        await on.true_at_a_pause()
        on.changes.clear()
        on.server._dispatch([Pause(conn) for conn in on.server._clients])
        await on.until(
            lambda: all(on.states(pair) for pair in PAIRS), QUICK_BOUND_S, "dead books found"
        )
        if venue != "okx":  # our own gives the socket up when it has been silent for 12 s
            await on.true_at_a_pause()

    on_stage(venue, body, **QUICK)


@both
def test_the_environments_proxy_is_not_asked_about_a_simulator(venue, monkeypatch):
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def body(on):
        await on.true_at_a_pause()

    on_stage(venue, body)


@pytest.mark.parametrize(
    ("venue", "pairs", "depth"),  # the depth that ccxt asks for by itself
    [
        ("ccxt:binance", PAIRS, 200),
        ("ccxt:bybit", PAIRS, 50),
        ("ccxt:kraken", PAIRS[:1], 10),
    ],
)
def test_the_other_venues_through_ccxt(venue, pairs, depth):
    async def body(on):
        for _ in range(2):
            await on.true_at_a_pause()
        assert all(on.states(pair) == ["live"] for pair in pairs)

    on_stage(venue, body, pairs=pairs, depth=depth)


def test_a_venue_in_a_file_is_found_through_ccxt_too(tmp_path):
    path = tmp_path / "venues.json"
    path.write_text(
        '{"venues":{"okx":{"env":"sim","hosts":{"rest":"http://h:1","ws":"ws://h:1"}}}}'
    )
    (native,) = targets(Settings(), ["okx"], path)
    (foreign,) = targets(Settings(), ["ccxt:okx"], path)
    assert (foreign.venue, foreign.env, foreign.hosts) == ("ccxt:okx", native.env, native.hosts)
    assert [one.venue for one in targets(Settings(), (), path)] == ["okx"]
    with pytest.raises(CommandError, match="ccxt:okx"):
        targets(Settings(), ["ccxt:okex"], path)
