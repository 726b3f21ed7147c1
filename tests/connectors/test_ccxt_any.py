"""The generic connector: what it reads out of ccxt, and how it keeps books over it.

The streams run over a fake of ccxt in virtual time, so that hours of silence take none.  The real
library is in `test_ccxt_any_live.py` and in `tests/third_party`.
"""

import asyncio
import socket
import subprocess
import sys
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import aiohttp
import ccxt
import pytest
from ccxt.base.errors import error_hierarchy
from hypothesis import given
from hypothesis import strategies as st

from connectors import ccxt_any
from connectors.ccxt_any import feed
from connectors.ccxt_any.feed import AnyGateway
from connectors.ccxt_any.library import ERRORS, moved, venue_error
from connectors.ccxt_any.listing import digits, instrument_of, widened
from hean_router import kit
from hean_router.domain.errors import CommandError, Unreachable, VenueError
from hean_router.sim.virtual import run
from hean_router.venue import BookMoved, StateChanged, registry

SPOT, LINEAR = kit.Part.SPOT, kit.Part.LINEAR
SECOND = 1_000_000_000
VENUE = kit.VenueId("ccxt:fake")


# ------------------------------------------------------------------------------------ the library


def test_the_library_is_loaded_only_when_it_is_used():
    program = (
        "import sys; import hean_router.app, connectors.ccxt_any;"
        "assert 'ccxt' not in sys.modules; from connectors.ccxt_any import library;"
        "library.venue_class('okx'); assert 'ccxt.pro' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    ("asked", "nearest"),
    [("okex", "okx"), ("Kraken", "kraken"), ("binanse", "binance"), ("zzzz9", None)],
)
def test_an_unknown_venue_is_named_with_the_nearest(asked, nearest):
    with pytest.raises(CommandError) as fault:
        registry.foreign_gateway(f"ccxt:{asked}", SPOT, {}, lambda: 0, None)
    assert asked in str(fault.value)
    assert (f'did you mean "ccxt:{nearest}"?' in str(fault.value)) == (nearest is not None)
    assert "kucoin" in fault.value.fix


@pytest.mark.parametrize(
    ("id_", "env", "hosts", "why"),
    [
        ("okx", "sim", {}, "no URL of its own"),  # it would have gone to the live venue
        ("upbit", "testnet", {}, "no 'testnet'"),  # ccxt has no test URLs for it
    ],
)
def test_an_environment_that_is_not_there(id_, env, hosts, why):
    with pytest.raises(CommandError, match=why):
        ccxt_any.gateway(id_, SPOT, hosts, lambda: 0, None, env=env)


def test_a_test_environment_is_gone_to_and_a_simulator_past_every_proxy():
    live, test, sim = (
        ccxt_any.gateway("binance", SPOT, hosts, lambda: 0, None, env=env).rest
        for env, hosts in (("live", {}), ("testnet", {}), ("sim", {"rest": "http://127.0.0.1:1"}))
    )
    assert "testnet" in test.urls["api"]["public"]
    assert "testnet" not in live.urls["api"]["public"]
    assert sim.urls["api"]["public"] == "http://127.0.0.1:1/api/v3"
    assert [one.aiohttp_trust_env for one in (live, test, sim)] == [True, True, False]


@pytest.mark.parametrize(
    ("id_", "part", "there"),
    [
        ("okx", SPOT, True),
        ("okx", LINEAR, True),
        ("kraken", LINEAR, False),
        ("hyperliquid", SPOT, True),
    ],
)
def test_a_part_that_a_venue_lacks(id_, part, there):
    made = ccxt_any.gateway(id_, part, {}, lambda: 0, None)
    assert (made is not None) == there
    if made is not None:
        assert (made.id, made.part) == (f"ccxt:{id_}", part)


@pytest.mark.parametrize(
    ("id_", "part", "types"),
    [
        ("okx", SPOT, ["spot"]),
        ("okx", LINEAR, ["swap"]),
        ("bybit", LINEAR, ["linear"]),
        ("htx", SPOT, {"spot": True, "linear": True, "inverse": True}),  # left as it is
    ],
)
def test_only_markets_of_the_part_are_listed(id_, part, types):
    rest = ccxt_any.gateway(id_, part, {}, lambda: 0, None).rest
    assert rest.options["fetchMarkets"]["types"] == types


@pytest.mark.parametrize(
    ("url", "at"),
    [
        ("https://{hostname}", "http://h:1"),
        ("https://api.{hostname}/v5?x=1", "http://h:1/v5?x=1"),
        ("wss://ws.okx.com:443/ws/v5", "ws://ws.okx.com@h:2/ws/v5"),
        # Binance's sockets are told apart by "/stream" in the URL.
        ("wss://stream.binance.com:9443/ws", "ws://stream.binance.com@h:2/ws"),
        ("", ""),
        (None, None),
    ],
)
def test_urls_move_to_other_hosts(url, at):
    nested = {"a": {"b": [url]}, "c": url}
    wanted = {"a": {"b": [at]}, "c": at}
    assert moved(nested, "http://h:1/base", "ws://h:2/ws/v5/public") == wanted
    assert moved(nested, None, None) == nested, "what is not given stays"


@pytest.mark.parametrize("id_", ["binance", "bybit", "okx", "kraken", "gate", "kucoin", "bitget"])
def test_no_url_of_a_moved_venue_leaves_this_machine(id_):
    hosts = {"rest": "http://127.0.0.1:1", "ws": "ws://127.0.0.1:1"}
    moved_to = ccxt_any.gateway(id_, SPOT, hosts, lambda: 0, None, env="sim").rest.urls["api"]

    def leaves(urls):
        if isinstance(urls, dict):
            return [leaf for url in urls.values() for leaf in leaves(url)]
        return [urls]

    urls = [url for url in leaves(moved_to) if isinstance(url, str)]
    assert urls
    assert [url for url in urls if "127.0.0.1:1" not in url] == []


def every_error(tree=None):
    for name, below in (tree or error_hierarchy).items():
        yield name
        yield from every_error(below) if below else ()


@pytest.mark.parametrize("name", list(every_error()))
def test_every_error_of_ccxt_has_words(name):
    fault = getattr(ccxt, name)("okx <html>\n too  long" + "x" * 999)
    ours = venue_error(fault, "order book")
    assert type(ours) is VenueError
    assert str(ours).startswith("order book: ")
    assert "stumbled" not in str(ours)
    assert "okx <html> too long" in str(ours)
    assert len(str(ours)) < 300


def test_the_special_errors_come_before_the_general_ones():
    classes = [getattr(ccxt, name) for name in ERRORS]
    for place, kind in enumerate(classes):
        assert not any(issubclass(later, kind) for later in classes[place + 1 :]), kind


def connector_error(kind, os_error):
    key = SimpleNamespace(host="ws.okx.com", port=443, ssl=True, is_ssl=True)
    return kind(key, os_error)


@pytest.mark.parametrize(
    ("cause", "step"),
    [
        (connector_error(aiohttp.ClientConnectorDNSError, socket.gaierror(-2, "no name")), "DNS"),
        (connector_error(aiohttp.ClientConnectorError, OSError(111, "refused")), "connect"),
        (connector_error(aiohttp.ClientConnectorSSLError, OSError(1, "TLS")), "TLS"),
    ],
)
@pytest.mark.parametrize("wrapped_as", ["cause", "argument"])  # REST chains it, sockets wrap it
def test_where_nobody_is_reached_the_step_is_named(cause, step, wrapped_as):
    if wrapped_as == "cause":
        fault = ccxt.ExchangeNotAvailable("okx GET https://…")
        fault.__cause__ = cause
    else:
        fault = ccxt.NetworkError(cause)
    ours = venue_error(fault, "order book")
    assert isinstance(ours, Unreachable)
    assert ours.step == step


@pytest.mark.parametrize(
    "fault", [aiohttp.ClientConnectionResetError("Cannot write"), ConnectionError("closed before")]
)
def test_what_the_network_does_is_not_a_stumble(fault):
    assert str(venue_error(fault, "order book")) == f"order book: connection failed: {fault}"


def test_a_library_that_stumbles_is_the_venues_fault():
    assert "ccxt stumbled: KeyError: 'data'" in str(venue_error(KeyError("data"), "markets"))


@pytest.mark.parametrize(
    ("id_", "part", "taker", "maker", "fee_in"),
    [
        ("binance", SPOT, "0.001", "0.001", "received"),
        ("binance", LINEAR, "0.0005", "0.0002", "quote"),
        ("bitget", SPOT, "0.002", "0.002", "received"),  # told per kind only
        ("bitget", LINEAR, "0.0006", "0.0004", "quote"),
        ("extended", LINEAR, "0.002", "0.002", "quote"),  # told at the top only
        ("toobit", SPOT, "0.002", "0.002", "received"),  # told nowhere: too dear rather than free
    ],
)
def test_fees(id_, part, taker, maker, fee_in):
    told = registry.foreign_fees(f"ccxt:{id_}", part)
    assert (told.taker, told.maker, told.fee_in.value) == (Decimal(taker), Decimal(maker), fee_in)


# ------------------------------------------------------------------------------------ instruments

TICKS, PLACES, SIGNIFICANT = 4, 2, 3


def market(symbol="BTC/USDT", **changes):
    base, _, rest = symbol.partition("/")
    quote, _, settle = rest.partition(":")
    told = {
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "settle": settle or None,
        "spot": not settle,
        "swap": bool(settle),
        "linear": (settle == quote) if settle else None,
        "active": True,
        "contractSize": 0.01 if settle else None,
        "precision": {"price": 0.1, "amount": 1.0 if settle else 1e-08},
        "limits": {"amount": {"min": 1.0 if settle else 1e-05, "max": None}, "cost": {}},
    }
    return {**told, **changes}


def test_a_spot_market():
    limits = {
        "amount": {"min": 1e-05, "max": 9000.0},
        "cost": {"min": 5.0, "max": 9e6},
        "price": {"min": 0.01, "max": 1e6},
    }
    one = instrument_of(VENUE, market(limits=limits), TICKS)
    assert (one.pair, one.symbol, one.part) == (kit.Pair("BTC", "USDT"), "BTC/USDT", SPOT)
    assert one.px_decimal(one.tick) == Decimal("0.1")
    assert one.qty_decimal(one.lot) == Decimal("0.00000001")
    assert one.qty_decimal(one.min_qty) == Decimal("0.00001")
    assert one.qty_decimal(one.max_qty) == 9000
    assert (one.min_notional, one.max_notional) == (5, 9_000_000)
    assert one.px_min == 1, "rounded up to what can be said: 0.1"
    assert one.px_decimal(one.px_max) == 1_000_000
    assert one.trading is kit.Trading.OPEN


def test_a_contract_counts_in_base():
    one = instrument_of(VENUE, market("BTC/USDT:USDT"), TICKS)
    assert (one.part, one.contract_size) == (LINEAR, Decimal("0.01"))
    assert one.qty_decimal(one.lot) == one.qty_decimal(one.min_qty) == Decimal("0.01")
    assert one.qty_decimal(one.qty("3")) == Decimal("0.03"), "three contracts on the wire"


@pytest.mark.parametrize(
    ("told", "mode", "tick", "lot"),
    [
        ({"price": 0.01, "amount": 0.001}, TICKS, "0.01", "0.001"),
        ({"price": 1e-10, "amount": 1000.0}, TICKS, "0.0000000001", "1000"),
        ({"price": 0.25, "amount": 5}, TICKS, "0.25", "5"),
        ({"price": 2, "amount": 0}, PLACES, "0.01", "1"),
        ({"price": -1, "amount": 3}, PLACES, "10", "0.001"),
        # Bitfinex counts digits: no tick can be told; the finest that we keep.
        ({"price": 5, "amount": 8}, SIGNIFICANT, "0.00000001", "0.00000001"),
        ({"price": None, "amount": None}, TICKS, "0.00000001", "0.00000001"),
        ({}, TICKS, "0.00000001", "0.00000001"),
    ],
)
def test_ticks_and_lots(told, mode, tick, lot):
    limits = {"amount": {"min": None}}
    one = instrument_of(VENUE, market(precision=told, limits=limits), mode)
    assert one.px_decimal(one.tick) == Decimal(tick)
    assert one.qty_decimal(one.lot) == Decimal(lot)


@pytest.mark.parametrize(
    "left_out",
    [
        market("BTC/USD:BTC"),  # inverse
        market("BTC/USDT:USDT-260626", swap=False, future=True),
        market("BTC/USDT:USDT-260626-90000-C", swap=False, option=True),
        market("BTC/USDT:USDC", linear=True),  # settles in a third currency
        market("BTC/USDT:USDT", contractSize=None),
        market("BTC/USDT", spot=False),
        market("₿/USDT"),
    ],
    ids=lambda one: one["symbol"],
)
def test_what_is_left_out(left_out):
    assert instrument_of(VENUE, left_out, TICKS) is None


@pytest.mark.parametrize(("active", "trading"), [(True, "open"), (None, "open"), (False, "halted")])
def test_who_trades(active, trading):
    assert instrument_of(VENUE, market(active=active), TICKS).trading.value == trading


@given(px=st.integers(0, 14), qty=st.integers(0, 14))
def test_wider_rules_are_the_same_rules(px, qty):
    limits = {"amount": {"min": 1, "max": 500.0}, "price": {"min": 0.1, "max": 1e5}}
    old = instrument_of(VENUE, market("BTC/USDT:USDT", limits=limits), TICKS)
    new = widened(old, px, qty)
    assert new.px_decimals == max(px, old.px_decimals)
    assert new.qty_decimals == max(qty, old.qty_decimals)
    for name in ("tick", "px_min", "px_max"):
        assert new.px_decimal(getattr(new, name)) == old.px_decimal(getattr(old, name)), name
    for name in ("lot", "min_qty", "max_qty"):
        assert new.qty_decimal(getattr(new, name)) == old.qty_decimal(getattr(old, name)), name
    assert new.qty_decimal(new.qty("7")) == old.qty_decimal(old.qty("7")) == Decimal("0.07")
    assert new.key == old.key


def test_there_is_an_end_to_widening():
    with pytest.raises(VenueError, match="more than 24 decimals"):
        widened(instrument_of(VENUE, market(), TICKS), 25, 8)


@given(st.integers(1, 10**15 - 1), st.integers(0, 20))
def test_a_float_gives_back_the_text_it_was_read_from(number, decimals):
    exact = Decimal(number).scaleb(-decimals)
    text = digits(float(format(exact, "f")))
    assert Decimal(text) == exact
    assert "e" not in text.lower()


@pytest.mark.parametrize(("number", "text"), [("0.10", "0.10"), (5, "5"), ("1E-7", "0.0000001")])
def test_digits_of_what_is_no_float(number, text):
    assert digits(number) == text


# ------------------------------------------------------------------------------ a fake of ccxt


class Fake:
    """One ccxt object, as far as the gateway uses it; its books live and change in place."""

    id, name, precisionMode, ssl_context, session = "fake", "Fake", TICKS, None, None  # noqa: N815 - its own word

    def __init__(self, venue):
        self.venue, self.books, self.waits = venue, {}, {}
        self.has = dict(venue.has)
        self.rateLimit = venue.rate_limit_ms
        self.closed = False
        self.deaf = set()  # symbols whose subscription is dead
        venue.made.append(self)

    async def load_markets(self, reload):
        assert reload
        return {symbol: market(symbol) for symbol in self.venue.truth}

    def set_markets_from_exchange(self, other):
        assert other.venue is self.venue

    async def fetch_order_book(self, symbol):
        self.venue.asked.append((asyncio.get_running_loop().time(), symbol))
        await asyncio.sleep(0.05)
        if self.venue.rest_fault:
            raise self.venue.rest_fault
        return {side: [list(x) for x in self.venue.truth[symbol][side]] for side in SIDES}

    async def watch_order_book(self, symbol):
        if symbol not in self.books:
            await asyncio.sleep(0.05)
            if self.venue.watch_fault:
                raise self.venue.watch_fault
            self.books[symbol] = {"timestamp": 1, "bids": [], "asks": []}
            self.put(symbol)
            return self.books[symbol]
        await asyncio.sleep(self.venue.dull_s)  # until it listens again
        await self.wait(symbol)
        return self.books[symbol]

    async def watch_trades(self, symbol):
        return await self.wait(("trades", symbol))

    def wait(self, what):
        if what not in self.waits or self.waits[what].cancelled():
            self.waits[what] = asyncio.get_running_loop().create_future()
        return self.waits[what]

    def put(self, symbol):
        if symbol in self.books and symbol not in self.deaf:
            for side in SIDES:
                self.books[symbol][side] = [list(x) for x in self.venue.truth[symbol][side]]

    def resolve(self, what, value=None):
        if (wait := self.waits.pop(what, None)) and not wait.done():
            wait.set_result(value)

    def drop(self, fault):
        """The connection is cut: everybody who waits hears of it, and ccxt forgets its books."""
        waits, self.waits, self.books = self.waits, {}, {}
        for wait in waits.values():
            if not wait.done():
                wait.cancel() if fault is None else wait.set_exception(fault)

    async def close(self):
        await asyncio.sleep(0.1 if self is self.venue.made[0] else 0.5)
        self.closed = True


SIDES = ("bids", "asks")


class FakeVenue:
    """The truth, and every ccxt object that follows it."""

    def __init__(self, symbols=("BTC/USDT",), *, streams=True, rate_limit_ms=50):
        self.has = {"spot": True, "watchOrderBook": streams, "watchTrades": streams}
        self.rate_limit_ms = rate_limit_ms
        self.truth = {symbol: book(100, 101) for symbol in symbols}
        self.made, self.asked = [], []
        self.rest_fault = self.watch_fault = None
        self.dull_s = 0

    @property
    def lines(self):
        """The objects that stream; the first one only asks."""
        return self.made[1:]

    def move(self, symbol="BTC/USDT", bid=100, ask=101, *, quietly=False):
        self.truth[symbol] = book(bid, ask)
        for one in self.lines:
            one.put(symbol)
            if not quietly and symbol not in one.deaf:
                one.resolve(symbol)


def book(bid, ask):
    return {"bids": [[bid, 1.5], [bid - 1, 2]], "asks": [[ask, 0.25], [ask + 1, 3e-07]]}


class Followed:
    """A gateway on a fake venue, and what it told."""

    def __init__(self, world, venue, gate, instruments):
        self.world, self.venue, self.gate = world, venue, gate
        self.instruments = {str(one.pair): one for one in instruments}
        self.events, self.books, self.best_bids = [], {}, set()

    def sink(self, events, now_ns):
        assert now_ns == self.gate.now_ns(), "told at once"
        for event in events:
            self.events.append(event)
            match event:
                case BookMoved(instrument=instrument, book=book):
                    self.best_bids.add(instrument.px_decimal(book.bids(1)[0][0]))
                    self.books[str(instrument.pair)] = book
                case StateChanged(instrument=instrument, new=new) if new.value != "live":
                    self.books.pop(str(instrument.pair), None)

    def states(self, symbol="BTC/USDT"):
        return [
            (event.new.value, event.reason)
            for event in self.events
            if isinstance(event, StateChanged) and str(event.instrument.pair) == symbol
        ]

    def moves(self):
        return sum(isinstance(event, BookMoved) for event in self.events)

    def trades(self):
        return [event for event in self.events if isinstance(event, kit.Trade)]

    def holds(self, symbol="BTC/USDT"):
        """Whether the book is LIVE and equals the truth, digit for digit."""
        if (live := self.books.get(symbol)) is None:
            return False
        one, truth = live.instrument, self.venue.truth[symbol]
        return all(
            [(one.px_decimal(px), one.qty_decimal(qty)) for px, qty in levels]
            == [(Decimal(str(px)), Decimal(str(qty))) for px, qty in truth[side]]
            for side, levels in (("bids", live.bids(99)), ("asks", live.asks(99)))
        )

    async def until(self, true, within_s, step_s=0.01):
        """Wait until `true()`; returns how long it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not true():
            assert loop.time() - began <= within_s, (self.states(), self.books)
            await asyncio.sleep(step_s)
        return loop.time() - began


def follow(body, venue=None, *, policy=None, seed=1):
    """Run `body(followed)` beside a gateway on `venue`, in virtual time; nothing may be left."""

    async def main(world):
        there = venue or FakeVenue()
        gate = AnyGateway(
            VENUE,
            SPOT,
            lambda: Fake(there),
            Fake(there),
            world.net.clock("router"),
            world.seeds.rng("router"),
            policy or kit.Policy(),
        )
        instruments = await gate.instruments()
        followed = Followed(world, there, gate, instruments)
        task = asyncio.create_task(gate.run(instruments, followed.sink))
        try:
            done = asyncio.create_task(body(followed))
            await asyncio.wait({task, done}, return_when="FIRST_COMPLETED")
            assert not task.done(), task.exception()
            await done
        finally:
            task.cancel()
            await asyncio.wait({task})
            await gate.close()
        assert all(one.closed for one in there.made), "something is left open"
        assert not followed.books, "a book is readable after the end"

    return run(main, seed)


def test_books_come_live_and_follow():
    async def body(on):
        await on.until(on.holds, 1)
        for turn in range(20):
            on.venue.move(bid=101 + turn, ask=102 + turn)
            await on.until(on.holds, 0.01, 0.001)
        book = on.books["BTC/USDT"]
        assert book.seq == book.version == 21, "a running number, one an answer"
        assert [state for state, _ in on.states()] == ["live"]

    follow(body)


def test_an_answer_that_changes_nothing_is_no_change_but_a_proof():
    async def body(on):
        await on.until(on.holds, 1)
        moves, book = on.moves(), on.books["BTC/USDT"]
        for _ in range(20):
            await asyncio.sleep(1)
            on.venue.move()
            await asyncio.sleep(0.001)
            assert on.gate.now_ns() - book.confirmed_ns < SECOND // 100
        assert (on.moves(), book.version) == (moves, 1)
        assert on.venue.asked == [], "nobody asks for the top of a book that proves itself"

    follow(body)


def test_what_comes_between_an_answer_and_the_next_question_is_seen_too():
    async def body(on):
        await on.until(on.holds, 1)
        on.venue.dull_s = 0.02
        for bid in (99, 97, 95):
            on.venue.move(bid=bid)
            await asyncio.sleep(0.01)  # the answer is read, the next question not heard yet
            assert on.holds()
            on.venue.move(bid=bid - 1)
            assert 0.09 < await on.until(on.holds, 1) <= 0.21, "two looks, a tick apart"
            await asyncio.sleep(0.5)
        assert on.venue.asked == []

    follow(body)


def test_a_book_that_ccxt_has_spoilt_is_not_believed_before_it_says_so():
    """It applies a message first, and raises when the checksum does not fit."""

    async def body(on):
        on.venue.dull_s = 0.02
        for turn in range(30):
            await on.until(on.holds, 31)
            await asyncio.sleep(0.03)  # it listens again
            on.venue.move(bid=90)
            await asyncio.sleep(0.001 + 0.003 * turn)
            on.venue.move(bid=13, quietly=True)
            await asyncio.sleep(0.08)
            on.venue.made[-1].drop(ccxt.ChecksumError("checksum"))
            on.venue.truth["BTC/USDT"] = book(100, 101)
            await on.until(lambda: not on.books, 0.05, 0.001)
        assert on.best_bids == {90, 100}

    follow(body)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (
            ccxt.NetworkError("Connection closed by remote server, closing code 1006"),
            "closing code",
        ),
        (ccxt.ChecksumError("okx"), "its checksum does not fit the book"),
        (ccxt.RequestTimeout("ping-pong keepalive missing"), "no answer in time"),
        (KeyError("data"), "ccxt stumbled: KeyError"),
        (RuntimeError("Session is closed"), "ccxt stumbled: RuntimeError"),
        (None, "ccxt gave the connection up"),  # it cancels what waits on it
    ],
    ids=str,
)
def test_a_cut_is_survived_on_a_fresh_line(fault, reason):
    async def body(on):
        for _ in range(3):
            await on.until(on.holds, 10)
            on.venue.made[-1].drop(fault)
            on.venue.move(bid=90)
            await on.until(lambda: not on.books, 0.01, 0.001)
            state, why = on.states()[-1]
            assert state == "lost"
            assert reason in why
        await on.until(on.holds, 10)
        assert len(on.venue.lines) == 4, "a new object after each, for the old may hold old things"
        await asyncio.sleep(0.6)
        assert [one.closed for one in on.venue.lines] == [True, True, True, False]

    follow(body)


def test_fifty_books_cut_at_once_come_back_over_few_connections():
    symbols = [f"C{number}/USDT" for number in range(50)]

    async def body(on):
        def all_live():
            return len(on.books) == 50

        await on.until(all_live, 2)
        on.venue.watch_fault = ccxt.NetworkError("refused")  # for a while nobody gets in again
        on.venue.lines[0].drop(ccxt.NetworkError("cut"))
        await on.until(lambda: not on.books, 0.1, 0.001)
        await asyncio.sleep(20)
        on.venue.watch_fault = None
        await on.until(all_live, 31)
        assert all(on.holds(symbol) for symbol in symbols)
        assert len(on.venue.lines) == 2, "who has not been carried yet has nothing to flee from"

    follow(body, FakeVenue(symbols))


def test_waits_grow_with_jitter_and_start_anew_after_a_steady_minute():
    async def body(on):
        await on.until(on.holds, 1)
        on.venue.watch_fault = ccxt.NetworkError("down")
        on.venue.made[-1].drop(ccxt.NetworkError("cut"))
        loop, tries = asyncio.get_running_loop(), []
        until_s = loop.time() + 400
        while loop.time() < until_s:
            before = len(on.states())
            await on.until(lambda before=before: len(on.states()) > before, 31)
            tries.append(loop.time())
            await asyncio.sleep(0.02)
        waits = [later - sooner for sooner, later in pairwise(tries)]
        assert max(waits[:2]) < 2.1
        assert 15 < max(waits) < 30.1
        assert len({round(wait, 3) for wait in waits}) > len(waits) / 2, "no two in step"
        on.venue.watch_fault = None
        await on.until(on.holds, 31)
        await asyncio.sleep(61)
        on.venue.made[-1].drop(ccxt.NetworkError("cut"))
        assert await on.until(lambda: not on.books, 0.1) < 0.1
        assert await on.until(on.holds, 31) < 1.1

    follow(body)


def test_a_stream_that_stops_in_silence_is_found_within_the_stated_bound():
    """`doubt_max_ns` + 2 x `again_ns` + two round trips; sooner where the book was lively."""

    async def body(on):
        for lively in (True, False):
            await on.until(on.holds, 1)
            for turn in range(40):
                on.venue.move(bid=60 + turn % 7)
                await asyncio.sleep(0.2 if lively else 9)
            on.venue.lines[-1].deaf.add("BTC/USDT")
            on.venue.move(bid=50)
            bound = 8 if lively else 35
            await on.until(lambda: on.books == {}, bound)
            assert on.states()[-1] == (
                "syncing",
                "dead subscription: the top moved, the book did not",
            )
            assert await on.until(on.holds, 1) < 0.5, "from a fresh line, at once"

    follow(body)


def test_a_dead_subscription_costs_its_own_book_only():
    async def body(on):
        await on.until(lambda: len(on.books) == 3, 1)
        on.venue.lines[0].deaf.add("B/USDT")
        on.venue.move("B/USDT", 50)
        await on.until(lambda: on.holds("B/USDT"), 40)
        assert len(on.venue.lines) == 2
        assert not on.venue.lines[0].closed, "the others ride on"
        assert {symbol: len(on.states(symbol)) for symbol in on.venue.truth} == {
            "A/USDT": 1,
            "B/USDT": 4,
            "C/USDT": 1,
        }
        on.venue.move("A/USDT", 42)
        on.venue.move("B/USDT", 43)
        await on.until(lambda: on.holds("A/USDT") and on.holds("B/USDT"), 0.1)

    follow(body, FakeVenue(["A/USDT", "B/USDT", "C/USDT"]))


def test_a_quiet_book_stays_live_for_an_hour():
    async def body(on):
        await on.until(on.holds, 1)
        await asyncio.sleep(3600)
        assert on.holds()
        assert [state for state, _ in on.states()] == ["live"]
        assert 3600 / 33 < len(on.venue.asked) < 3600 / 3

    follow(body)


def test_a_quiet_book_that_nothing_confirms_is_stale_until_something_does():
    async def body(on):
        await on.until(on.holds, 1)
        on.venue.rest_fault = ccxt.ExchangeNotAvailable("503")
        took = await on.until(lambda: not on.books, 70)
        assert 59 < took < 62
        state, reason = on.states()[-1]
        assert state == "stale"
        assert "503" in reason
        on.venue.rest_fault = None
        assert await on.until(on.holds, 5) < 3
        assert len(on.venue.lines) == 1, "nothing was wrong with the stream"

    follow(body)


def test_a_book_of_a_program_that_slept_is_stale_until_it_hears_again():
    async def body(on):
        await on.until(on.holds, 1)
        on.world.loop.stall(5)
        await on.until(lambda: not on.books, 0.2, 0.001)
        assert on.states()[-1][0] == "stale"
        assert "slept for 5" in on.states()[-1][1]
        on.venue.move(bid=77)
        await on.until(on.holds, 0.1)
        on.venue.move(bid=78)
        await on.until(on.holds, 0.1)

    follow(body)


def test_a_crossed_book_is_quarantined_then_asked_for_anew():
    async def body(on):
        await on.until(lambda: len(on.books) == 2, 1)
        on.venue.move("A/USDT", bid=102, ask=101)
        await on.until(lambda: "A/USDT" not in on.books, 0.01, 0.001)
        assert on.states("A/USDT")[-1][0] == "crossed"
        await on.until(lambda: len(on.venue.lines) == 2, 1.5)
        on.venue.move("A/USDT", bid=100, ask=101)
        await on.until(lambda: on.holds("A/USDT"), 10)
        assert len(on.states("B/USDT")) == 1, "the other book did not notice"

    follow(body, FakeVenue(["A/USDT", "B/USDT"]))


def test_finer_digits_widen_the_rules_and_lose_nothing():
    async def body(on):
        await on.until(on.holds, 1)
        on.venue.move(bid=99.123456, ask=0.1e3 + 1e-9)
        await on.until(on.holds, 0.01, 0.001)
        assert on.states()[-2:] == [
            ("lost", "finer than its rules: 99.123456 has more than 1 decimals"),
            ("live", "whole"),
        ]
        one = on.books["BTC/USDT"].instrument
        assert one is not on.instruments["BTC/USDT"], "other rules: another instrument"
        assert one.px_decimal(one.tick) == Decimal("0.1")
        on.venue.truth["BTC/USDT"]["bids"][0][1] = 0.1 + 0.2  # noise is kept as well: never a guess
        on.venue.lines[0].put("BTC/USDT")
        on.venue.lines[0].resolve("BTC/USDT")
        await on.until(on.holds, 0.01, 0.001)
        assert len(on.venue.lines) == 1, "the stream goes on"

    follow(body)


@pytest.mark.parametrize(
    ("level", "why"),
    [
        ([float("nan"), 1.0], "plain decimal"),
        ([float("inf"), 1.0], "plain decimal"),
        ([-1.0, 1.0], "below zero"),
        ([100.0, -2.0], "below zero"),
        ([None, 1.0], "InvalidOperation"),
        ([100.0], "IndexError"),
        (None, "TypeError"),
        ([1e-30, 1.0], "more than 24 decimals"),
    ],
    ids=str,
)
def test_a_book_that_cannot_be_read_is_lost(level, why):
    async def body(on):
        await on.until(on.holds, 1)
        on.venue.lines[0].books["BTC/USDT"]["bids"] = [level]
        on.venue.lines[0].resolve("BTC/USDT")
        await on.until(lambda: not on.books, 0.01, 0.001)
        lost = [reason for state, reason in on.states() if state == "lost"]
        assert why in lost[-1]
        await on.until(on.holds, 5)

    follow(body)


def test_an_empty_answer_is_none():
    async def body(on):
        on.venue.truth["BTC/USDT"] = {"bids": [], "asks": []}
        await asyncio.sleep(9)
        assert on.states() == []
        await on.until(lambda: ("lost", "no snapshot came") in on.states(), 3)
        on.venue.move()
        await on.until(on.holds, 30)

    follow(body)


def test_a_one_sided_book_is_a_book():
    async def body(on):
        on.venue.truth["BTC/USDT"]["asks"] = []
        await on.until(on.holds, 1)
        await asyncio.sleep(120)
        assert on.holds()

    follow(body)


@pytest.mark.parametrize("kind", [ccxt.RateLimitExceeded, ccxt.DDoSProtection])
def test_a_venue_that_says_too_much_is_left_alone(kind):
    async def body(on):
        await on.until(lambda: len(on.books) == 2, 1)
        on.venue.watch_fault = kind("429")
        on.venue.lines[-1].drop(kind("429"))
        await on.until(lambda: not on.books, 0.1, 0.001)
        before = len(on.events)
        await asyncio.sleep(feed.HOLD_NS / SECOND)
        assert len(on.events) == before, "nobody has tried"
        on.venue.watch_fault = None
        await on.until(lambda: len(on.books) == 2, 31)

    follow(body, FakeVenue(["A/USDT", "B/USDT"]))


def test_trades_are_told_once_and_exactly():
    def printed(id_, price=100.25, amount=0.5, side="buy"):
        return {"id": id_, "price": price, "amount": amount, "side": side, "timestamp": 1_700}

    async def body(on):
        await on.until(on.holds, 1)
        line = on.venue.lines[0]
        line.resolve(("trades", "BTC/USDT"), [printed("1"), printed("2", side=None)])
        await asyncio.sleep(0.01)
        line.resolve(("trades", "BTC/USDT"), [printed("1"), printed("3", side="sell")])
        await asyncio.sleep(0.01)
        line.drop(ccxt.NetworkError("cut"))
        await on.until(lambda: len(on.venue.lines) == 2, 1)
        await on.until(on.holds, 1)
        on.venue.lines[1].resolve(("trades", "BTC/USDT"), [printed("3"), printed("4", 1e-07)])
        await asyncio.sleep(0.01)
        told = [
            (
                t.trade_id,
                t.instrument.px_decimal(t.px),
                t.instrument.qty_decimal(t.qty),
                t.side.value,
            )
            for t in on.trades()
        ]
        half = Decimal("0.5")
        assert told == [
            ("1", Decimal("100.25"), half, "buy"),
            ("3", Decimal("100.25"), half, "sell"),
            ("4", Decimal("0.0000001"), half, "buy"),
        ]
        assert on.trades()[0].sent_ns == 1_700_000_000
        assert on.holds(), "finer trades have widened the rules under the book"

    follow(body)


def test_a_venue_without_streams_is_polled_within_its_limit():
    symbols = [f"C{number}/USDT" for number in range(10)]

    async def body(on):
        await on.until(lambda: len(on.books) == 10, 5)
        on.venue.asked.clear()
        await asyncio.sleep(60)
        # 10 books at 200 ms each, and no more than 80 % of that.
        assert 200 <= len(on.venue.asked) <= 240
        on.venue.move("C3/USDT", 55)
        assert await on.until(lambda: on.holds("C3/USDT"), 5) < 2.6
        on.venue.rest_fault = ccxt.ExchangeNotAvailable("502")
        await on.until(lambda: not on.books, 3)
        assert "502" in on.states("C3/USDT")[-1][1]
        on.venue.rest_fault = None
        await on.until(lambda: len(on.books) == 10, 31)
        assert on.venue.lines == []

    follow(body, FakeVenue(symbols, streams=False, rate_limit_ms=200))


def test_a_polled_book_whose_polls_hang_is_stale():
    async def body(on):
        await on.until(on.holds, 5)

        async def hang(symbol):
            await asyncio.Event().wait()

        on.venue.made[0].fetch_order_book = hang
        assert await on.until(lambda: not on.books, 70) < 62
        assert on.states()[-1][0] == "stale"

    follow(body, FakeVenue(streams=False))


def test_the_same_seed_gives_the_same_waits():
    async def body(on):
        for _ in range(4):
            await on.until(on.holds, 31)
            on.venue.made[-1].drop(ccxt.NetworkError("cut"))
            await on.until(lambda: not on.books, 0.1, 0.001)
        await on.until(on.holds, 31)
        on.world.note(
            "events", repr([(e.at_ns, e.reason) for e in on.events if hasattr(e, "at_ns")])
        )

    first, again, other = follow(body, seed=7), follow(body, seed=7), follow(body, seed=8)
    assert first.digest == again.digest != other.digest
