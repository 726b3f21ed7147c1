"""The gateway: what ccxt answers, told to the sessions that judge every venue's books."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

from msgspec import structs

from connectors.ccxt_any.library import LIMITED, UNREADABLE, kind_of, venue_error
from connectors.ccxt_any.listing import Levels, Reader, instrument_of, widened
from hean_router import kit

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
RETRY_NS = SECOND // 2  # bound of the first wait after a lost stream; doubles
RETRY_MAX_NS = 30 * SECOND
STEADY_NS = 60 * SECOND  # a stream that lived this long starts the waits anew
HOLD_NS = 10 * SECOND  # at least this long nobody asks a venue that said "too many requests"
CLOSE_S = 1.0  # for a polite end of a connection; then it is cut
POLL_NS = SECOND  # between two polls of a book, where the rate limit allows that many
REST_SHARE = 0.8  # of ccxt's rate limit; the rest is for probes
TRADES_KEPT = 2_000  # ids by which a repeated trade is known

T = TypeVar("T")


async def _close(exchange: Any) -> None:
    """Close everything `exchange` has open: politely, and where nobody answers, at once."""
    closing = asyncio.ensure_future(exchange.close())
    await asyncio.wait({closing}, timeout=CLOSE_S)
    if not closing.done() and exchange.session is not None:
        await exchange.session.connector.close()
    await asyncio.gather(closing, return_exceptions=True)


class _Codec(kit.FeedCodec):
    """Sends nothing and reads nothing: ccxt does both.  An empty frame means "ask anew"."""

    integrity = kit.Integrity.NONE

    def subscribe(self, instruments: Sequence[kit.Instrument]) -> Sequence[kit.Frame]:
        return ()

    def resubscribe(self, instrument: kit.Instrument) -> Sequence[kit.Frame]:
        return (kit.Frame(b"", cost=0),)


class _Line:
    """A ccxt object whose sockets some streams share.

    ccxt has no sure way to renew one subscription, or to forget what a broken connection left
    behind.  So whoever is in doubt moves to a fresh object, and those who are not stay.
    """

    def __init__(self, exchange: Any) -> None:
        self.exchange = exchange
        self.riders = 0
        self.stood = False  # it has carried something: what it holds now may be old


class AnyGateway:
    """A `VenueGateway` over one of ccxt's venues."""

    def __init__(
        self,
        venue: kit.VenueId,
        part: kit.Part,
        make: Callable[[], Any],
        rest: Any,
        now_ns: Callable[[], int],
        rng: kit.Dice,
        policy: kit.Policy,
    ) -> None:
        self.id, self.part = venue, part
        self.rest = rest  # lists, probes and polls; never streams
        self.streams: list[Stream] = []
        self.streaming = bool(rest.has.get("watchOrderBook"))
        self.policy, self.poll_ns = policy, POLL_NS
        self.now_ns = now_ns
        self.spec = kit.VenueSpec(
            id=venue,
            name=str(rest.name),
            parts=frozenset({part}),
            hosts={},
            fees={},
            rest_limits={},  # ccxt keeps them itself
            connects=kit.RateLimit(1, 1),
            frames=kit.RateLimit(1, 1),
            topics_max=1,
            ping_every_ms=0,
            silence_ms=0,  # a stream's silence says nothing here; its top is asked for
        )
        self.connects = 0  # lines begun
        self.failures = 0  # streams that ended by themselves
        self.faults = 0  # exceptions of our own: each is a bug, told in the log
        self._make, self._rng = make, rng
        self._line: _Line | None = None
        self._hold_until_ns = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def instruments(self) -> Sequence[kit.Instrument]:
        markets = await self.call(self.rest.load_markets(True), "markets")
        mode = self.rest.precisionMode
        found: dict[kit.Pair, kit.Instrument] = {}
        for market in markets.values():
            try:
                one = instrument_of(self.id, market, mode)
            except (ValueError, TypeError, KeyError) as fault:
                log.info("%s %s: left out: %s", self.id, market.get("symbol"), fault)
                continue
            if one is None or one.part is not self.part:
                continue
            # Two spellings of one pair (kBONK, KBONK): the one that trades.
            if one.pair not in found or found[one.pair].trading is kit.Trading.HALTED:
                found[one.pair] = one
        return list(found.values())

    async def run(self, instruments: Sequence[kit.Instrument], sink: kit.EventSink) -> None:
        if not self.streaming:
            self._pace_polls(len(instruments))
        self.streams = [Stream(self, instrument, sink) for instrument in instruments]
        async with asyncio.TaskGroup() as group:
            for stream in self.streams:
                group.create_task(stream.run())

    async def close(self) -> None:
        if self._line is not None:
            self._retire(self._line)
            self._line = None
        await asyncio.gather(_close(self.rest), *self._closing)

    def _pace_polls(self, books: int) -> None:
        """As often as ccxt's rate limit lets every book be asked for, and no doubt before that."""
        round_ns = int(books * self.rest.rateLimit * kit.MS / REST_SHARE)
        self.poll_ns = max(POLL_NS, round_ns)
        fresh = self.policy.fresh
        slow_ns = 3 * (self.poll_ns + round_ns)
        self.policy = structs.replace(
            self.policy,
            fresh=structs.replace(
                fresh,
                sync_ns=max(fresh.sync_ns, slow_ns),
                stale_ns=max(fresh.stale_ns, slow_ns),
            ),
        )

    # ---------------------------------------------------------------- for its streams

    async def call(self, asked: Awaitable[T], what: str) -> T:
        """What ccxt answers; its errors as `VenueError`."""
        try:
            return await asked
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # ccxt cancels what waits on a connection that it gives up.
            raise kit.VenueError(f"{what}: ccxt gave the connection up") from None
        except Exception as fault:
            # Whatever it is: ccxt's parsers stumble in many ways over what they do not expect.
            if kind_of(fault) in LIMITED:
                self._hold_until_ns = self.now_ns() + HOLD_NS
            raise venue_error(fault, what) from fault

    def wait_ns(self, failures: int) -> int:
        """How long to wait after so many failures: full jitter, and what the venue asked for."""
        bound_ns = min(RETRY_MAX_NS, RETRY_NS << min(failures, 10))
        held_ns = max(0, self._hold_until_ns - self.now_ns())
        return held_ns + self._rng.randrange(0, bound_ns)

    def board(self, old: _Line | None, flee: bool) -> _Line:
        """The line to stream from; `flee` if `old` is in doubt, or failed after it had stood."""
        if self._line is None or (self._line is old and flee):
            self._line = self._new_line()  # `old` is closed when its last rider leaves
        line = self._line
        line.riders += 1
        if old is not None:
            self.leave(old)
        return line

    def leave(self, line: _Line) -> None:
        """One rider less; nobody left on an old line: it is closed."""
        line.riders -= 1
        if not line.riders and line is not self._line:
            self._retire(line)

    def _new_line(self) -> _Line:
        self.connects += 1
        exchange = self._make()
        exchange.set_markets_from_exchange(self.rest)
        exchange.ssl_context = self.rest.ssl_context  # 20 ms to make
        return _Line(exchange)

    def _retire(self, line: _Line) -> None:
        task = asyncio.create_task(_close(line.exchange))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def session(self, instrument: kit.Instrument) -> kit.FeedSession:
        """The judge of one book, from one asking to the next."""
        return kit.FeedSession(self.spec, _Codec(), [instrument], self._rng, self.policy)


class Stream:
    """One instrument's book and trades, renewed for ever."""

    def __init__(self, gate: AnyGateway, instrument: kit.Instrument, sink: kit.EventSink) -> None:
        self.gate, self.instrument = gate, instrument
        self._sink = sink
        self._past = kit.SessionCounts()  # of sessions that have ended
        self._past_book = kit.BookCounts()
        self._reader = Reader(instrument)
        self._line: _Line | None = None
        self._flee = False  # the line had stood before it failed us: it may hold old things
        self.session = gate.session(instrument)
        self._over = False  # its session has ended, and is counted in the past
        self._seq = 0
        self._held: Levels | None = None  # what the session's book was last told
        self._answer: Any = None  # ccxt's book, which it changes in place
        self._glimpse: Levels | None = None  # what was in it at the last look
        self._watch: asyncio.Task[Any] | None = None
        self._trades: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._seen: dict[str, None] = {}  # ids of trades told, oldest first

    def totals(self) -> kit.SessionCounts:
        """What its sessions have counted, past and present."""
        totals = kit.SessionCounts()
        totals.add(self._past)
        if not self._over:
            totals.add(self.session.counts)
        return totals

    def book_totals(self) -> kit.BookCounts:
        """The same of its book."""
        totals = kit.BookCounts()
        totals.add(self._past_book)
        if not self._over:
            totals.add(self.session.book_counts(self.session.instruments[0]))
        return totals

    # ---------------------------------------------------------------- a stream, and the next

    async def run(self) -> None:
        """Keep the book until cancelled."""
        gate, failures = self.gate, 0
        while True:
            began_ns = gate.now_ns()
            try:
                await self._carry()
            except kit.VenueError as fault:
                gate.failures += 1
                log.info("%s %s: %s", gate.id, self.instrument.pair, fault)
            except Exception:
                # A bug must neither end the program nor pass in silence.
                gate.faults += 1
                log.exception("%s %s: a fault of our own", gate.id, self.instrument.pair)
            if gate.now_ns() - began_ns > STEADY_NS:
                failures = 0
            await asyncio.sleep(gate.wait_ns(failures) / SECOND)
            failures += 1

    async def _carry(self) -> None:
        """One session, until its stream fails: raises what ended it."""
        reason = "a fault of our own"
        if self.gate.streaming:
            self._line = self.gate.board(self._line, self._flee)
            self._flee = False
        self._open(self.gate.now_ns())
        try:
            self._follow_trades()
            await self._pump()
        except kit.VenueError as fault:
            reason = str(fault)
            self._flee = self._line is not None and self._line.stood
            raise
        except asyncio.CancelledError:
            reason = "closed by us"
            if self._line is not None:
                self.gate.leave(self._line)
                self._line = None
            raise
        finally:
            self._abandon()
            self._shut(reason, self.gate.now_ns())
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(self, now_ns: int) -> None:
        self.session = self.gate.session(self.instrument)
        self._over = False
        self._held = self._answer = self._glimpse = None
        self._tell(self.session.opened(now_ns), now_ns)

    def _shut(self, reason: str, now_ns: int) -> None:
        self._tell(self.session.closed(reason, now_ns), now_ns)
        self._past, self._past_book = self.totals(), self.book_totals()
        self._over = True

    def _tell(self, events: Sequence[kit.SessionEvent], now_ns: int) -> None:
        if events:
            self._sink(events, now_ns)

    async def _pump(self) -> None:
        while True:
            watch = self._watch = self._watch or self._spawn(self._ask())
            wait_ns = max(0, self.session.wake_at_ns - self.gate.now_ns())
            await asyncio.wait({watch}, timeout=wait_ns / SECOND)
            now_ns = self.gate.now_ns()
            if watch.done():
                self._watch = None
                self._hear(watch.result(), now_ns)
            if now_ns >= self.session.wake_at_ns:
                self._tell(self.session.due(now_ns), now_ns)
                self._look_again(now_ns)
            for command in self.session.take():
                match command:
                    case kit.Send():
                        self._renew()
                    case kit.ProbeTop() if self.gate.streaming:
                        self._spawn(self._probe(self.session))
                    case _:
                        pass  # a poll is its own probe; nothing else is asked of us

    def _renew(self) -> None:
        """The book is asked for anew: from a fresh line, where this one has carried it before."""
        self._answer = self._glimpse = None
        if self._line is None:
            return
        old, self._line = self._line, self.gate.board(self._line, self._line.stood)
        if self._line is not old:
            for task in (self._watch, self._trades):
                if task is not None:
                    task.cancel()
            self._watch = None
            self._follow_trades()

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        fault = None if task.cancelled() else task.exception()
        if fault is not None and not isinstance(fault, kit.VenueError) and task is not self._watch:
            log.error("%s %s: a request failed", self.gate.id, self.instrument.pair, exc_info=fault)

    def _abandon(self) -> None:
        """Wait for nothing any more."""
        for task in tuple(self._tasks):
            task.cancel()
        self._watch = self._trades = None

    # ---------------------------------------------------------------- books

    async def _ask(self) -> Any:
        """The next answer: of the stream, or of a poll."""
        symbol = self.instrument.symbol
        if self._line is not None:
            return await self.gate.call(self._line.exchange.watch_order_book(symbol), "order book")
        if self._held is not None:
            await asyncio.sleep(self.gate.poll_ns / SECOND)
        return await self.gate.call(self.gate.rest.fetch_order_book(symbol), "order book")

    def _hear(self, answer: Any, now_ns: int) -> None:
        levels = self._read(answer, now_ns)
        if not levels[0] and not levels[1]:
            return  # some answer before they have the book; and an empty one is worth as much
        if self._line is not None:
            self._line.stood = True
            self._answer, self._glimpse = answer, None
        self._say(levels, answer.get("timestamp"), now_ns)

    def _read(self, answer: Any, now_ns: int) -> Levels:
        """Its levels, exact.  Finer digits than the rules allow widen the rules."""
        try:
            return self._reader.levels(answer)
        except kit.TooFine as fault:
            self._widen([*answer["bids"], *answer["asks"]], str(fault), now_ns)
            return self._reader.levels(answer)
        except UNREADABLE as fault:
            raise kit.VenueError(f"unreadable book: {type(fault).__name__}: {fault}") from fault

    def _widen(self, rows: Sequence[Sequence[Any]], why: str, now_ns: int) -> None:
        """Go on under rules that hold every digit of `rows` of price and quantity."""
        old = self.instrument
        wider = widened(
            old,
            max(kit.decimals_of(Decimal(str(row[0]))) for row in rows),
            max(kit.decimals_of(Decimal(str(row[1])) * old.contract_size) for row in rows),
        )
        self._shut(f"finer than its rules: {why}", now_ns)
        self.instrument, self._reader = wider, Reader(wider)
        self._open(now_ns)

    def _say(self, levels: Levels, sent_ms: Any, now_ns: int) -> None:
        """Tell the session what ccxt's book holds: a whole one, or that it still holds."""
        book = self.session.book(self.instrument)
        sent_ns = sent_ms * kit.MS if isinstance(sent_ms, int) and self._line is not None else 0
        bids, asks = levels
        same = levels == self._held
        if same and book.state in {kit.BookState.LIVE, kit.BookState.STALE}:
            said: kit.FeedEvent = kit.Top(
                self.instrument, book.bids.best(), book.asks.best(), sent_ns
            )
        else:
            self._seq += 1
            self._held = levels
            said = kit.Snapshot(self.instrument, bids, asks, self._seq, sent_ns)
        self._tell(self.session.told([said], now_ns), now_ns)

    def _look_again(self, now_ns: int) -> None:
        """See what came between an answer and the next question: nobody waited for that.

        ccxt changes its book first and finds a bad checksum after; so what is seen is believed when
        it still stands a tick later and no error has come.
        """
        if self._answer is None or self._watch is None or self._watch.done():
            return
        levels = self._read(self._answer, now_ns)
        if levels == self._held or not (levels[0] or levels[1]):
            self._answer = None  # no more will come unseen: somebody waits by now
        elif levels == self._glimpse:
            self._say(levels, self._answer.get("timestamp"), now_ns)
        else:
            self._glimpse = levels

    async def _probe(self, session: kit.FeedSession) -> None:
        """The top over REST, to tell a quiet book from a dead stream."""
        gate, instrument, px = self.gate, self.instrument, self._reader.px
        try:
            book = await gate.call(gate.rest.fetch_order_book(instrument.symbol), "top")
            best = [(px[side[0][0]], 1) if side else None for side in (book["bids"], book["asks"])]
        except (kit.VenueError, *UNREADABLE) as fault:
            now_ns = gate.now_ns()
            events = session.probe_failed(instrument, f"top: {fault}"[:200], now_ns)
        else:
            now_ns = gate.now_ns()
            events = session.probed(kit.Top(instrument, best[0], best[1]), now_ns)
        self._tell(events, now_ns)

    # ---------------------------------------------------------------- trades

    def _follow_trades(self) -> None:
        if self._line is not None and self.gate.rest.has.get("watchTrades"):
            self._trades = self._spawn(self._print(self._line.exchange))

    async def _print(self, exchange: Any) -> None:
        """Tell every trade once.  What ends the connection is the book's business, too."""
        gate, failures = self.gate, 0
        while True:
            try:
                batch = await gate.call(exchange.watch_trades(self.instrument.symbol), "trades")
                self._printed([one for one in batch if one.get("side") in {"buy", "sell"}])
            except (kit.VenueError, *UNREADABLE) as fault:
                log.info("%s %s: %s", gate.id, self.instrument.pair, fault)
                await asyncio.sleep(gate.wait_ns(failures) / SECOND)
                failures += 1
            else:
                failures = 0

    def _printed(self, batch: Sequence[Mapping[str, Any]]) -> None:
        """Pass on those that have not been told yet; a taker's side is known of each."""
        now_ns = self.gate.now_ns()
        new = [one for one in batch if str(one.get("id") or "") not in self._seen]
        try:
            trades = [self._trade(one) for one in new]
        except kit.TooFine as fault:
            answer = self._answer
            self._widen([(one["price"], one["amount"]) for one in new], str(fault), now_ns)
            if answer is not None:
                self._hear(answer, now_ns)
            trades = [self._trade(one) for one in new]
        for trade in trades:
            if trade.trade_id:
                self._seen[trade.trade_id] = None
        while len(self._seen) > TRADES_KEPT:
            del self._seen[next(iter(self._seen))]
        if trades:
            self._tell(self.session.told(trades, now_ns), now_ns)

    def _trade(self, told: Mapping[str, Any]) -> kit.Trade:
        return kit.Trade(
            self.instrument,
            self._reader.px[told["price"]],
            self._reader.qty[told["amount"]],
            kit.Side(told["side"]),
            sent_ns=(told.get("timestamp") or 0) * kit.MS,
            trade_id=str(told.get("id") or ""),
        )
