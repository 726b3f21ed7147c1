"""Binance's market streams of one part: what is pushed, when, and in which words.

`depth` streams cover every engine id once: an event holds `U`..`u`, and the next begins where it
ended.  A REST snapshot is taken whenever it is asked for, so its id often falls inside an event.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import orjson

from hean_router.sim.contract import MS, Conn, FrameKind
from hean_router.sim.exchange import BookLevel, Exchange, Listing, Side, Step, Trade
from hean_router.sim.faces.binance.facts import Part, Symbols
from hean_router.sim.pacing import Timers

Printed: TypeAlias = Mapping[str, Any]
Clock: TypeAlias = Callable[[int], int]
"""Prints a time: ns to the unit the connection asked for."""

_STREAM = re.compile(r"([a-z0-9]+)@(depth(5|10|20)?|bookTicker|trade|aggTrade)(?:@(\d+)ms)?")
_TRADES_KEPT = 1_000
_HELD_BEATS_MAX = 10


def millis(time_ns: int) -> int:
    """A time in ms, the venue's default."""
    return time_ns // MS


def micros(time_ns: int) -> int:
    """A time in µs, if asked for by `timeUnit=MICROSECOND`."""
    return time_ns // 1_000


@dataclass
class Payload:
    """One event of one stream; printed once for each time unit and wrapping in use."""

    stream: str
    kind: FrameKind
    build: Callable[[Clock], Printed]
    _texts: dict[tuple[Clock, bool], str] = field(default_factory=dict)

    def text(self, clock: Clock, *, combined: bool) -> str:
        """The frame: bare, or wrapped with its stream's name."""
        text = self._texts.get((clock, combined))
        if text is None:
            body = self.build(clock)
            frame = {"stream": self.stream, "data": body} if combined else body
            text = self._texts[clock, combined] = orjson.dumps(frame).decode()
        return text


@dataclass(frozen=True)
class Topic:
    """A stream name, understood."""

    name: str
    listing: Listing
    what: str  # depth, partial, bookTicker, trade, aggTrade
    levels: int = 0
    interval_ns: int = 0

    @cached_property
    def market(self) -> bool:
        """Whether USD-M serves it below `/market` (and not below `/public`)."""
        return self.what == "aggTrade"


@dataclass
class AggTrade:
    """Matches of one taker order at one price."""

    id: int
    px: int
    qty: int
    side: Side
    first: int
    last: int
    time_ns: int


class _Batch:
    """What a depth stream will say next."""

    def __init__(self, topic: Topic, update_id: int) -> None:
        self.topic = topic
        self.pushed_id = update_id  # the last id covered by an event
        self.levels: dict[tuple[Side, int], int] = {}
        self.moved_ns = 0
        self.straddle_id = -1  # a snapshot's id that the next event must reach beyond
        self.held = 0  # beats it has waited for that

    def add(self, step: Step) -> None:
        for level in step.levels:
            self.levels[level.side, level.px] = level.qty
        self.moved_ns = step.time_ns

    def take(self, update_id: int) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
        """The id before, and the bids and asks that changed, ascending."""
        before, self.pushed_id = self.pushed_id, update_id
        levels, self.levels = self.levels, {}
        bids = sorted((px, qty) for (side, px), qty in levels.items() if side is Side.BUY)
        asks = sorted((px, qty) for (side, px), qty in levels.items() if side is Side.SELL)
        return before, bids, asks


class Feed:
    """All streams of one part, and who listens."""

    def __init__(self, exchange: Exchange, part: Part) -> None:
        self.part = part
        self.symbols = Symbols(part, exchange.listings.values())
        self.timers: Timers[str] = Timers()
        self.trades: dict[str, deque[tuple[int, Trade]]] = {}
        self.agg_trades: dict[str, deque[AggTrade]] = {}
        for symbol in self.symbols.names:
            self.trades[symbol] = deque(maxlen=_TRADES_KEPT)
            self.agg_trades[symbol] = deque(maxlen=_TRADES_KEPT)
        self._exchange = exchange
        self._agg_ids = {symbol: exchange.trade_id(symbol) // 2 for symbol in self.symbols.names}
        self._listeners: dict[str, dict[Conn, None]] = {}
        self._topics: dict[str, dict[str, Topic]] = {symbol: {} for symbol in self.symbols.names}
        self._batches: dict[str, _Batch] = {}
        self._tops: dict[str, tuple[BookLevel | None, ...]] = {}
        self.straddle_next = False  # let the next snapshot fall inside an event's range

    # Listening

    def topic(self, name: str) -> Topic | None:
        """A stream name understood; None for one that will stay silent."""
        match = _STREAM.fullmatch(name)
        if match is None:
            return None
        pair, what, levels, speed = match.groups()
        listing = self.symbols.by_name.get(pair.upper())
        if listing is None:
            return None
        if not what.startswith("depth"):
            return Topic(name, listing, what) if speed is None else None
        interval_ns = self.part.speeds_ns[0] if speed is None else int(speed) * MS
        if interval_ns not in self.part.speeds_ns:
            return None
        if levels is None:
            return Topic(name, listing, "depth", 0, interval_ns)
        return Topic(name, listing, "partial", int(levels), interval_ns) if interval_ns else None

    def subscribe(self, conn: Conn, topic: Topic, now_ns: int) -> None:
        """Let a connection listen."""
        symbol = topic.listing.symbol
        self._listeners.setdefault(topic.name, {})[conn] = None
        self._topics[symbol][topic.name] = topic
        if topic.what in ("depth", "partial") and topic.name not in self._batches:
            self._batches[topic.name] = _Batch(topic, self._exchange.update_id(symbol))
        if topic.what == "partial":
            self._plan(topic, now_ns)
        if topic.what == "bookTicker":
            self._tops.setdefault(symbol, self._top(symbol))

    def unsubscribe(self, conn: Conn, name: str) -> None:
        """Stop listening; harmless if it never did."""
        self._listeners.get(name, {}).pop(conn, None)

    def listeners(self, name: str) -> Iterable[Conn]:
        """Who listens to a stream, longest first."""
        return tuple(self._listeners.get(name, ()))

    # What happens

    def market(self, step: Step) -> Iterator[Payload]:
        """What an engine action makes the streams say at once; batches are planned."""
        merged = list(self._merge(step))
        self.trades[step.symbol].extend((step.time_ns, trade) for trade in step.trades)
        self.agg_trades[step.symbol].extend(merged)
        for topic in self._topics[step.symbol].values():
            if topic.what == "trade":
                for trade in step.trades:
                    yield self._trade(topic, trade, step.time_ns)
            elif topic.what == "aggTrade":
                for agg in merged:
                    yield self._agg_trade(topic, agg)
            elif topic.what == "bookTicker":
                yield from self._book_ticker(topic, step)
            elif step.levels:
                self._batches[topic.name].add(step)
                if topic.interval_ns:
                    self._plan(topic, step.time_ns)
                else:
                    yield from self.flush(topic.name, step.time_ns)

    def flush(self, name: str, now_ns: int) -> Iterator[Payload]:
        """Say what a depth stream has gathered."""
        batch = self._batches[name]
        topic = batch.topic
        update_id = self._exchange.update_id(topic.listing.symbol)
        if topic.what == "partial":
            yield self._partial(topic, batch, update_id, now_ns)
        elif update_id == batch.straddle_id and batch.held < _HELD_BEATS_MAX:
            batch.held += 1
            self._plan(topic, now_ns)
        elif update_id > batch.pushed_id:
            batch.straddle_id, batch.held = -1, 0
            yield self._depth(topic, batch, update_id, now_ns)

    def fetched(self, symbol: str) -> None:
        """A snapshot was taken: if one is to fall inside an event, let it be this one.

        Only events that have begun, and not ended, can be made to reach around it.
        """
        if not self.straddle_next:
            return
        for topic in self._topics[symbol].values():
            batch = self._batches.get(topic.name)
            if batch is not None and batch.levels and topic.interval_ns and not topic.levels:
                batch.straddle_id = self._exchange.update_id(symbol)
                self.straddle_next = False

    def _plan(self, topic: Topic, now_ns: int) -> None:
        """Push at the stream's next beat; each stream keeps a beat of its own."""
        if topic.name not in self.timers:
            interval_ns = topic.interval_ns
            phase_ns = sum(topic.name.encode()) * 1_000_003 % interval_ns
            self.timers.set(
                topic.name,
                (now_ns - phase_ns) // interval_ns * interval_ns + interval_ns + phase_ns,
            )

    def _merge(self, step: Step) -> Iterator[AggTrade]:
        agg: AggTrade | None = None
        for trade in step.trades:
            if agg is not None and agg.px == trade.px:
                agg.qty += trade.qty
                agg.last = trade.id
                continue
            if agg is not None:
                yield agg
            self._agg_ids[step.symbol] += 1
            agg_id = self._agg_ids[step.symbol]
            agg = AggTrade(
                agg_id, trade.px, trade.qty, trade.side, trade.id, trade.id, step.time_ns
            )
        if agg is not None:
            yield agg

    def _top(self, symbol: str) -> tuple[BookLevel | None, ...]:
        return tuple(self._exchange.best(symbol, side) for side in Side)

    # Words

    def levels(
        self, listing: Listing, levels: Iterable[BookLevel | tuple[int, int]]
    ) -> list[tuple[str, str]]:
        """Levels as printed: price and quantity."""
        px, qty = self.symbols.px, self.symbols.qty
        return [(px(listing, level[0]), qty(listing, level[1])) for level in levels]

    def _depth(self, topic: Topic, batch: _Batch, update_id: int, now_ns: int) -> Payload:
        part, listing, moved_ns = self.part, topic.listing, batch.moved_ns
        before, bids, asks = batch.take(update_id)
        if part.spot:
            bids.reverse()  # recorded: spot prints bids best first, USD-M prints them ascending
        printed_bids, printed_asks = self.levels(listing, bids), self.levels(listing, asks)

        def build(clock: Clock) -> Printed:
            return {
                "e": "depthUpdate",
                "E": clock(now_ns),
                **({} if part.spot else {"T": clock(moved_ns)}),
                "s": self.symbols.names[listing.symbol],
                "U": part.first_id(before + 1),
                "u": part.last_id(update_id),
                **({} if part.spot else {"pu": part.last_id(before)}),
                "b": printed_bids,
                "a": printed_asks,
            }

        return Payload(topic.name, FrameKind.DELTA, build)

    def _partial(self, topic: Topic, batch: _Batch, update_id: int, now_ns: int) -> Payload:
        part, listing, moved_ns = self.part, topic.listing, batch.moved_ns or now_ns
        before, _, _ = batch.take(update_id)
        bids, asks = (
            self.levels(listing, side) for side in self._exchange.book(listing.symbol, topic.levels)
        )

        def build(clock: Clock) -> Printed:
            if part.spot:
                return {"lastUpdateId": part.last_id(update_id), "bids": bids, "asks": asks}
            return {
                "e": "depthUpdate",
                "E": clock(now_ns),
                "T": clock(moved_ns),
                "s": self.symbols.names[listing.symbol],
                "U": part.first_id(min(before + 1, update_id)),
                "u": part.last_id(update_id),
                "pu": part.last_id(before),
                "b": bids,
                "a": asks,
            }

        return Payload(topic.name, FrameKind.SNAPSHOT, build)

    def _book_ticker(self, topic: Topic, step: Step) -> Iterator[Payload]:
        listing, symbol, time_ns = topic.listing, step.symbol, step.time_ns
        top = self._top(symbol)
        bid, ask = top
        # Order counts are not printed: a change of them alone is none.
        if bid is None or ask is None or _sizes(top) == _sizes(self._tops[symbol]):
            return
        self._tops[symbol] = top
        (bid_px, bid_qty), (ask_px, ask_qty) = self.levels(listing, (bid, ask))
        last_id = self.part.last_id(self._exchange.update_id(symbol))
        body = {
            "u": last_id,
            "s": self.symbols.names[symbol],
            "b": bid_px,
            "B": bid_qty,
            "a": ask_px,
            "A": ask_qty,
        }

        def build(clock: Clock) -> Printed:
            if self.part.spot:
                return body
            return {"e": "bookTicker", **body, "T": clock(time_ns), "E": clock(time_ns)}

        yield Payload(topic.name, FrameKind.DATA, build)

    def _trade(self, topic: Topic, trade: Trade, time_ns: int) -> Payload:
        listing, spot = topic.listing, self.part.spot
        px, qty = self.levels(listing, ((trade.px, trade.qty),))[0]
        taker_sold = trade.side is Side.SELL

        def build(clock: Clock) -> Printed:
            at, name = clock(time_ns), self.symbols.names[listing.symbol]
            head: dict[str, Any] = {"e": "trade", "E": at}
            body = {"s": name, "t": trade.id, "p": px, "q": qty}
            if spot:
                return {**head, **body, "T": at, "m": taker_sold, "M": True}
            return {**head, "T": at, **body, "X": "MARKET", "m": taker_sold}

        return Payload(topic.name, FrameKind.DATA, build)

    def _agg_trade(self, topic: Topic, agg: AggTrade) -> Payload:
        listing, spot = topic.listing, self.part.spot
        px, qty = self.levels(listing, ((agg.px, agg.qty),))[0]

        def build(clock: Clock) -> Printed:
            at, name = clock(agg.time_ns), self.symbols.names[listing.symbol]
            who = {"s": name, "a": agg.id} if spot else {"a": agg.id, "s": name}
            body = {"p": px, "q": qty, "f": agg.first, "l": agg.last, "T": at}
            tail = {"m": agg.side is Side.SELL, **({"M": True} if spot else {})}
            return {"e": "aggTrade", "E": at, **who, **body, **tail}

        return Payload(topic.name, FrameKind.DATA, build)


def _sizes(top: Iterable[BookLevel | None]) -> list[tuple[int, int] | None]:
    return [None if level is None else (level.px, level.qty) for level in top]
