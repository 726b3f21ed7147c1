"""All of Bybit's streams of one category: what is pushed, when, and to whom."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple, TypeAlias
from uuid import NAMESPACE_OID, uuid5

import orjson

from hean_router.sim.contract import MS, Conn, FrameKind
from hean_router.sim.exchange import Exchange, Side, Step, Trade
from hean_router.sim.faces.bybit.books import BookStream, Message
from hean_router.sim.faces.bybit.facts import (
    BOOK_NS,
    FULLEST,
    PRICE_LIMIT_NS,
    REPEAT_NS,
    TRADES_MAX,
    Category,
    Instrument,
    Instruments,
)
from hean_router.sim.faces.bybit.tickers import Ticker, changed, direction
from hean_router.sim.pacing import Timers

Timer: TypeAlias = tuple[str, str]
"""What to do, and for which topic: a `beat` or a `repeat`."""

_TOPIC = re.compile(
    r"(publicTrade|tickers|priceLimit|allLiquidation|orderbook\.(\d+))\.([0-9A-Z]+)"
)
_TRADES_KEPT = 1_000
_SPOT_TRADE_ID = 2_290_000_000_000_000_000  # recorded ids have 19 digits


@dataclass(eq=False)
class Topic:
    """A topic somebody asked for."""

    name: str
    what: str
    instrument: Instrument
    interval_ns: int
    phase_ns: int
    book: BookStream | None = None
    told: dict[str, str] = field(default_factory=dict)  # what a ticker or price limit said last
    listeners: dict[Conn, None] = field(default_factory=dict)


class Print(NamedTuple):
    """A trade as it was printed."""

    trade: Trade
    time_ns: int
    seq: int
    direction: str
    id: str


class Push(NamedTuple):
    """A message, and who hears it."""

    conns: tuple[Conn, ...]
    message: Message


class Feed:
    """One category's streams.

    Every topic keeps a beat of its own and is looked at only when something happened that it could
    show.
    """

    def __init__(self, exchange: Exchange, category: Category, rng: Random) -> None:
        self.category = category
        self.instruments = Instruments(category, exchange.listings.values())
        self.timers: Timers[Timer] = Timers()
        self.tickers: dict[str, Ticker] = {}
        self.trades: dict[str, deque[Print]] = {}
        self._exchange = exchange
        self._rng = rng
        self._topics: dict[str, Topic] = {}
        self._live: dict[str, dict[str, Topic]] = {}  # by symbol, those with listeners
        self._books: dict[tuple[str, int], BookStream] = {}
        self._moved_ns: dict[str, int] = {}
        for instrument in self.instruments.by_name.values():
            symbol = instrument.symbol
            interest = rng.randrange(100_000, 100_000_000)
            self.tickers[symbol] = Ticker(exchange, instrument, interest)
            self.trades[symbol] = deque(maxlen=_TRADES_KEPT)
            self._live[symbol] = {}
            for depth in BOOK_NS:
                first_u = rng.randrange(10**7, 10**8)
                self._books[symbol, depth] = BookStream(exchange, instrument, depth, first_u)

    # Listening

    def topic(self, name: str) -> Topic | None:
        """A topic by name; None if there is no such thing."""
        topic = self._topics.get(name)
        if topic is None and (topic := self._make(name)) is not None:
            self._topics[name] = topic
        return topic

    def _make(self, name: str) -> Topic | None:
        match = _TOPIC.fullmatch(name)
        if match is None:
            return None
        what, depth, symbol = match.groups()
        instrument = self.instruments.by_name.get(symbol)
        if instrument is None or (what == "allLiquidation" and self.category.spot):
            return None
        book = None
        if depth is not None:
            book = self._books.get((instrument.symbol, int(depth)))
            if book is None or book.topic != name:  # no such depth, or spelled as `050`
                return None
            what, interval_ns = "orderbook", book.interval_ns
        else:
            interval_ns = PRICE_LIMIT_NS if what == "priceLimit" else self.category.ticker_ns
        phase_ns = sum(name.encode()) * 1_000_003 % interval_ns
        return Topic(name, what, instrument, interval_ns, phase_ns, book)

    def subscribe(self, conn: Conn, topic: Topic, now_ns: int) -> list[Message]:
        """Let a connection listen; what it is told at once."""
        symbol = topic.instrument.symbol
        self._live[symbol][topic.name] = topic
        asleep = not topic.listeners
        topic.listeners[conn] = None
        if topic.book is not None:
            if asleep and topic.book.depth == 1:
                self.timers.set(("repeat", topic.name), now_ns + REPEAT_NS)
            return topic.book.join(now_ns, self.moved(symbol, now_ns))
        if topic.what in ("tickers", "priceLimit"):
            if asleep:
                topic.told = self._values(topic, now_ns)
            return [self._told(topic, topic.told, now_ns)]
        return []

    def unsubscribe(self, conn: Conn, topic: Topic) -> None:
        """Stop listening; harmless if it never did."""
        topic.listeners.pop(conn, None)
        if not topic.listeners:
            self._rest(topic)

    def _rest(self, topic: Topic) -> None:
        """Nobody listens any more."""
        self._live[topic.instrument.symbol].pop(topic.name, None)
        if topic.book is not None:
            topic.book.sleep()
        for what in ("beat", "repeat"):
            self.timers.drop((what, topic.name))

    # What happens

    def market(self, step: Step) -> Iterator[Push]:
        """What an engine action makes the streams say at once; the rest is planned."""
        symbol, time_ns = step.symbol, step.time_ns
        self._moved_ns[symbol] = time_ns
        prints = self._print(step) if step.trades else []
        for topic in self._live[symbol].values():
            if topic.what == "publicTrade":
                for start in range(0, len(prints), TRADES_MAX):
                    yield self._trades(topic, prints[start : start + TRADES_MAX], time_ns)
            elif topic.book is None or topic.book.touch(step.levels):
                self._plan(topic, time_ns)

    def due(self, timer: Timer, now_ns: int) -> Iterator[Push]:
        """Say what a topic has to say by its beat."""
        what, name = timer
        topic = self._topics[name]
        message = self._again(topic, now_ns) if what == "repeat" else self._beat(topic, now_ns)
        if message is None:
            return
        if topic.book is not None and topic.book.depth == 1:
            self.timers.set(("repeat", name), now_ns + REPEAT_NS)
        yield self._push(topic, message)

    def _again(self, topic: Topic, now_ns: int) -> Message:
        assert topic.book is not None, "only a book repeats itself"
        return topic.book.repeat(now_ns)

    def _beat(self, topic: Topic, now_ns: int) -> Message | None:
        if topic.book is not None:
            return topic.book.advance(now_ns, self.moved(topic.instrument.symbol, now_ns))
        before, topic.told = topic.told, self._values(topic, now_ns)
        if before == topic.told:
            return None
        if topic.what == "tickers" and not self.category.spot:
            return self._told(topic, changed(before, topic.told), now_ns, delta=True)
        return self._told(topic, topic.told, now_ns)

    def _plan(self, topic: Topic, now_ns: int) -> None:
        """Look at the topic at its next beat."""
        timer = ("beat", topic.name)
        if topic.what != "allLiquidation" and timer not in self.timers:
            interval_ns, phase_ns = topic.interval_ns, topic.phase_ns
            beats = (now_ns - phase_ns) // interval_ns + 1
            self.timers.set(timer, beats * interval_ns + phase_ns)

    # What can be asked of it

    def books(self) -> list[Topic]:
        """Live book topics, in the order of their symbols and of their subscription."""
        live = (topic for topics in self._live.values() for topic in topics.values())
        return [topic for topic in live if topic.book is not None]

    def restart(self, now_ns: int) -> Iterator[Push]:
        """The book service restarts: `u` begins at 1 everywhere, with the whole book.

        Whether the message calls itself a snapshot or a delta is left to the dice: a client must
        not care.
        """
        listened = {topic.name: topic for topic in self.books()}
        for book in self._books.values():
            topic = listened.get(book.topic)
            if topic is None:
                book.sleep(forget=True)
                continue
            moved_ns = self.moved(topic.instrument.symbol, now_ns)
            as_delta = self._rng.random() < 0.5
            yield self._push(topic, book.restart(now_ns, moved_ns, as_delta=as_delta))

    def snapshot(self, topic: Topic, now_ns: int) -> Push:
        """A snapshot in mid-stream to all who listen to a live book topic."""
        assert topic.book is not None, "only books have snapshots"
        moved_ns = self.moved(topic.instrument.symbol, now_ns)
        return self._push(topic, topic.book.snapshot(now_ns, moved_ns))

    def stop(self) -> None:
        """The service stops: nobody listens, and `u` will begin at 1."""
        for topic in self._topics.values():
            topic.listeners.clear()
            self._rest(topic)
        for book in self._books.values():
            book.sleep(forget=True)

    def full_book(self, symbol: str) -> BookStream:
        """The stream whose `u` REST tells."""
        return self._books[symbol, FULLEST]

    def moved(self, symbol: str, now_ns: int) -> int:
        """When the engine last did something here; now, if it never did."""
        return self._moved_ns.get(symbol, now_ns)

    # Words

    def _push(self, topic: Topic, message: Message) -> Push:
        return Push(tuple(topic.listeners), message)

    def _values(self, topic: Topic, now_ns: int) -> dict[str, str]:
        ticker = self.tickers[topic.instrument.symbol]
        if topic.what == "tickers":
            return ticker.values(now_ns)
        highest, lowest = ticker.limits()
        return {"symbol": topic.instrument.name, "buyLmt": highest, "sellLmt": lowest}

    def _told(
        self, topic: Topic, data: dict[str, str], now_ns: int, *, delta: bool = False
    ) -> Message:
        ts, cs = now_ns // MS, self._exchange.update_id(topic.instrument.symbol)
        frame: dict[str, Any] = {"topic": topic.name}
        if topic.what == "priceLimit":
            frame |= {"data": data, "ts": ts}
        elif self.category.spot:
            frame |= {"ts": ts, "type": "snapshot", "cs": cs, "data": data}
        else:
            frame |= {"type": "delta" if delta else "snapshot", "data": data, "cs": cs, "ts": ts}
        return Message(topic.name, orjson.dumps(frame).decode(), FrameKind.DATA)

    def _print(self, step: Step) -> list[Print]:
        """Trades of one action share the action's sequence number."""
        instrument = self.instruments.by_symbol[step.symbol]
        day = self.tickers[step.symbol].day
        seq = self._exchange.update_id(step.symbol)
        prints = []
        for trade in step.trades:
            tick = direction(trade.px, day.last, day.direction)
            day.add(trade, step.time_ns)
            prints.append(Print(trade, step.time_ns, seq, tick, trade_id(instrument, trade)))
        self.trades[step.symbol].extend(prints)
        return prints

    def _trades(self, topic: Topic, prints: Iterable[Print], now_ns: int) -> Push:
        instrument, spot = topic.instrument, self.category.spot
        data = [
            _spot_print(instrument, p) if spot else _linear_print(instrument, p) for p in prints
        ]
        ts = now_ns // MS
        head = {"ts": ts, "type": "snapshot"} if spot else {"type": "snapshot", "ts": ts}
        text = orjson.dumps({"topic": topic.name, **head, "data": data}).decode()
        return self._push(topic, Message(topic.name, text, FrameKind.DATA))


def side_text(side: Side) -> str:
    """The taker's side, as Bybit says it."""
    return "Buy" if side is Side.BUY else "Sell"


def trade_id(instrument: Instrument, trade: Trade) -> str:
    """A long number on spot, a UUID on linear; the same whenever it is asked for."""
    if instrument.spot:
        return str(_SPOT_TRADE_ID + trade.id)
    return str(uuid5(NAMESPACE_OID, f"{instrument.name}/{trade.id}"))


def _spot_print(instrument: Instrument, p: Print) -> dict[str, Any]:
    return {
        "i": p.id,
        "T": p.time_ns // MS,
        "p": instrument.px(p.trade.px),
        "v": instrument.qty(p.trade.qty),
        "S": side_text(p.trade.side),
        "seq": p.seq,
        "s": instrument.name,
        "BT": False,
        "RPI": False,
    }


def _linear_print(instrument: Instrument, p: Print) -> dict[str, Any]:
    return {
        "T": p.time_ns // MS,
        "s": instrument.name,
        "S": side_text(p.trade.side),
        "v": instrument.qty(p.trade.qty),
        "p": instrument.px(p.trade.px),
        "L": p.direction,
        "i": p.id,
        "BT": False,
        "RPI": False,
        "seq": p.seq,
    }
