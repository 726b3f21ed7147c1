"""Kraken's public channels: what is pushed, when, and in which words.

Recorded: a book frame speaks of one side only and usually of one event, some 20 µs to seconds
after the one before; now and then two events share a frame, and then a price may stand in it twice.
A level that leaves lets the next one in, in the same frame; a level pushed out is not mentioned.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from random import Random
from zlib import crc32

from hean_router.sim.contract import MS, Conn, FrameKind
from hean_router.sim.exchange import BookLevel, Exchange, Listing, Side, Step, Trade
from hean_router.sim.faces.kraken.facts import (
    CHECKSUM_LEVELS,
    TRADES_IN_SNAPSHOT,
    asset_text,
    checksum_part,
    level_text,
    pair_text,
    rfc3339,
)
from hean_router.sim.pacing import Timers
from hean_router.sim.tape import Tape

_MERGED_ONE_IN = 8
_MERGE_NS = 20 * MS


@dataclass(frozen=True)
class Topic:
    """What is subscribed.  `depth` is a book's; `trigger` a ticker's."""

    channel: str
    listing: Listing | None = None
    depth: int = 0
    trigger: str = ""

    @property
    def symbol(self) -> str | None:
        """As in ccxt, which is how WebSocket v2 says it too."""
        return None if self.listing is None else self.listing.symbol

    @cached_property
    def name(self) -> str:
        """`book:BTC/USD`: a connection has a channel of a symbol once."""
        return f"{self.channel}:{self.symbol}" if self.symbol else self.channel

    @cached_property
    def key(self) -> str:
        """What its listeners share."""
        return f"{self.name}:{self.depth}{self.trigger}"


@dataclass(frozen=True, slots=True)
class Payload:
    """One push, for everyone who listens to its topic."""

    topic: Topic
    text: str
    kind: FrameKind = FrameKind.DATA


@dataclass
class _Book:
    """A book of one depth: what its listeners have, and what they are to be told next."""

    exchange: Exchange
    topic: Topic
    listing: Listing
    levels: dict[Side, list[BookLevel]] = field(default_factory=dict)
    entries: list[BookLevel] = field(default_factory=list)
    side: Side = Side.BUY  # of the entries
    before: list[BookLevel] = field(default_factory=list)  # that side, before the entries
    moved_ns: int = 0
    parts: dict[int, tuple[int, str]] = field(default_factory=dict)  # of checksums, by price

    def __post_init__(self) -> None:
        book = self.exchange.book(self.listing.symbol, self.topic.depth)
        self.levels = dict(zip(Side, book, strict=True))

    def add(self, side: Side, now: list[BookLevel], touched: dict[int, int], time_ns: int) -> None:
        """Note what an action did to one side; `now` is that side's window after it."""
        had = self.levels[side]
        then, there = {level.px: level for level in had}, {level.px: level for level in now}
        entries: list[BookLevel] = []
        for px, qty in touched.items():
            if px in there:
                if px not in then or then[px].qty != qty:
                    entries.append(there[px])
            elif px in then and qty == 0:
                entries.append(BookLevel(px, 0, 0))
        entries += [level for px, level in there.items() if px not in then and px not in touched]
        if entries:
            if not self.entries:
                self.before = had
            self.side, self.moved_ns = side, time_ns
            self.entries += entries
        self.levels[side] = now

    def take(self) -> list[BookLevel]:
        """The entries of the next frame.

        Whoever applies them and cuts to depth has the window.  Only of several events together, a
        level pushed out by one, then cancelled unseen, would slip back in: it is deleted.
        """
        entries, self.entries = self.entries, []
        has = {level.px: level.qty for level in self.before}
        has.update((entry.px, entry.qty) for entry in entries)
        pxs = sorted((px for px, qty in has.items() if qty), reverse=self.side is Side.BUY)
        window = [(level.px, level.qty) for level in self.levels[self.side]]
        kept = {px for px, _ in window}
        if any(px not in kept for px in pxs[: self.topic.depth]):
            stale = [px for px in pxs if px not in kept]
            entries += [BookLevel(px, 0, 0) for px in stale]
            pxs = [px for px in pxs if px in kept]
        follower = [(px, has[px]) for px in pxs[: self.topic.depth]]
        assert follower == window, "who applies the entries must have the window"
        return entries

    def unseen(self, side: Side, pxs: Iterable[int]) -> bool:
        """Whether the window is full and all these prices lie behind it."""
        levels = self.levels[side]
        if len(levels) < self.topic.depth:
            return False
        worst = levels[-1].px
        return all(px < worst if side is Side.BUY else px > worst for px in pxs)

    def checksum(self) -> int:
        """CRC32 over the ten best asks, then the ten best bids."""
        text = "".join(
            self._part(level)
            for side in (Side.SELL, Side.BUY)
            for level in self.levels[side][:CHECKSUM_LEVELS]
        )
        return crc32(text.encode())

    def _part(self, level: BookLevel) -> str:
        """A level's part, kept as long as the level stands: most do from frame to frame."""
        qty, part = self.parts.get(level.px, (0, ""))
        if qty != level.qty:
            part = checksum_part(self.listing, level)
            if len(self.parts) > 1_000:
                self.parts.clear()
            self.parts[level.px] = level.qty, part
        return part


class Feed:
    """All channels, and who listens."""

    def __init__(self, exchange: Exchange, rng: Random) -> None:
        self.tape = Tape(exchange.listings)
        self.timers: Timers[str] = Timers()
        self._exchange = exchange
        self._rng = rng
        self._listeners: dict[str, dict[Conn, None]] = {}
        self._topics: dict[str, dict[str, Topic]] = {symbol: {} for symbol in exchange.listings}
        self._books: dict[str, _Book] = {}
        self._tops: dict[str, list[BookLevel | None]] = {}

    # Listening

    def settle(self, topic: Topic) -> Iterator[Payload]:
        """Tell those who listen already what waits, before someone new gets a snapshot."""
        if topic.key in self._books:
            yield from self.flush(topic.key)

    def subscribe(self, conn: Conn, topic: Topic) -> None:
        """Let a connection listen; `settle` comes first."""
        listing = topic.listing
        if listing is not None:
            self._topics[listing.symbol][topic.key] = topic
            if topic.trigger:
                self._tops.setdefault(topic.key, self._top(listing.symbol))
            if topic.depth and topic.key not in self._books:
                self._books[topic.key] = _Book(self._exchange, topic, listing)
        self._listeners.setdefault(topic.key, {})[conn] = None

    def unsubscribe(self, conn: Conn, topic: Topic) -> None:
        """Stop listening; harmless if it never did."""
        listeners = self._listeners.get(topic.key, {})
        listeners.pop(conn, None)
        if listeners:
            return
        self.timers.drop(topic.key)
        self._books.pop(topic.key, None)
        self._tops.pop(topic.key, None)
        if topic.listing is not None:
            self._topics[topic.listing.symbol].pop(topic.key, None)

    def listeners(self, topic: Topic) -> Sequence[Conn]:
        """Who listens, longest first."""
        return tuple(self._listeners.get(topic.key, ()))

    def snapshot(self, topic: Topic, now_ns: int) -> Payload:
        """What a new listener is told first, if it wants to."""
        listing = topic.listing
        if listing is None:
            return self._instruments()
        if topic.depth:
            book = self._books[topic.key]
            text = self._book_text(book, "snapshot", book.levels, now_ns)
            return Payload(topic, text, FrameKind.SNAPSHOT)
        if topic.channel == "ticker":
            return self._ticker(topic, listing, "snapshot", now_ns)
        trades = self.tape.last(listing.symbol, TRADES_IN_SNAPSHOT)
        return _trades(topic, listing, "snapshot", trades)

    # What happens

    def market(self, step: Step) -> Iterator[Payload]:
        """What an engine action makes the channels say at once; some of it waits for the next."""
        self.tape.record(step)
        listing = self._exchange.listings[step.symbol]
        topics = self._topics[step.symbol]
        for topic in topics.values():
            if topic.depth:
                if step.levels:
                    yield from self._moved(self._books[topic.key], step)
            elif topic.channel == "trade":
                if step.trades:
                    trades = [(step.time_ns, trade) for trade in step.trades]
                    yield _trades(topic, listing, "update", trades)
            elif self._stirs(topic, step):
                yield self._ticker(topic, listing, "update", step.time_ns)
        if step.status is not None:
            pair = pair_text(self._exchange.told(step.symbol), step.status)
            yield _instruments("update", [], [pair])

    def flush(self, key: str) -> Iterator[Payload]:
        """Tell what a book has gathered."""
        self.timers.drop(key)
        book = self._books[key]
        if book.entries:
            sides = {book.side: book.take(), book.side.other: []}
            text = self._book_text(book, "update", sides, book.moved_ns)
            yield Payload(book.topic, text, FrameKind.DELTA)

    def _moved(self, book: _Book, step: Step) -> Iterator[Payload]:
        key = book.topic.key
        touched: dict[Side, dict[int, int]] = {}
        for level in step.levels:
            touched.setdefault(level.side, {})[level.px] = level.qty
        if all(book.unseen(side, pxs) for side, pxs in touched.items()):
            return
        windows = dict(zip(Side, self._exchange.book(step.symbol, book.topic.depth), strict=True))
        # The side that was taken from comes before the side the rest of the taker rests on, so
        # that no frame leaves a crossed book.
        for side, levels in touched.items():
            if book.entries and book.side is not side:
                yield from self.flush(key)
            book.add(side, windows[side], levels, step.time_ns)
        if not book.entries or key in self.timers:
            return
        if self._rng.randrange(_MERGED_ONE_IN):
            yield from self.flush(key)
        else:
            self.timers.set(key, step.time_ns + self._rng.randint(1, _MERGE_NS))

    def _stirs(self, topic: Topic, step: Step) -> bool:
        """Whether a ticker is told: of a trade always, of the best bid and ask if asked to."""
        before, now = self._tops[topic.key], self._top(step.symbol)
        self._tops[topic.key] = now
        return bool(step.trades) or (topic.trigger == "bbo" and _sizes(now) != _sizes(before))

    def _top(self, symbol: str) -> list[BookLevel | None]:
        return [self._exchange.best(symbol, side) for side in Side]

    # Words

    def _book_text(
        self, book: _Book, kind: str, sides: dict[Side, list[BookLevel]], now_ns: int
    ) -> str:
        bids, asks = (
            ",".join(level_text(book.listing, level) for level in sides[side]) for side in Side
        )
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{book.listing.symbol}",'
            f'"bids":[{bids}],"asks":[{asks}],"checksum":{book.checksum()},'
            f'"timestamp":"{rfc3339(now_ns)}"}}]}}'
        )

    def _ticker(self, topic: Topic, listing: Listing, kind: str, now_ns: int) -> Payload:
        px, qty = listing.px_text, listing.qty_text
        bid, ask = (level or BookLevel(0, 0, 0) for level in self._top(listing.symbol))
        day = self.tape.span(listing.symbol, now_ns)
        # A pair that never traded tells of its bid; the venue has no such pair.
        first, low, high, last = (day.open, day.low, day.high, day.close) if day else (bid.px,) * 4
        volume, value = (day.qty, day.value) if day else (0, 0)
        vwap = value // volume if volume else last
        change = px(last - first) if last >= first else f"-{px(first - last)}"
        percent = Decimal(100 * (last - first)) / max(1, first)
        text = (
            f'{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{listing.symbol}",'
            f'"bid":{px(bid.px)},"bid_qty":{qty(bid.qty)},"ask":{px(ask.px)},'
            f'"ask_qty":{qty(ask.qty)},"last":{px(last)},"volume":{qty(volume)},'
            f'"vwap":{px(vwap)},"low":{px(low)},"high":{px(high)},"change":{change},'
            f'"change_pct":{percent:.2f},"timestamp":"{rfc3339(now_ns)}"}}]}}'
        )
        return Payload(topic, text)

    def _instruments(self) -> Payload:
        listings = self._exchange.listings.values()
        assets = dict.fromkeys(asset for each in listings for asset in (each.base, each.quote))
        exchange = self._exchange
        symbols = [each.symbol for each in listings if not exchange.gone(each.symbol)]
        pairs = [pair_text(exchange.told(name), exchange.status(name)) for name in symbols]
        return _instruments("snapshot", [asset_text(asset) for asset in assets], pairs)


def _sizes(top: Iterable[BookLevel | None]) -> list[tuple[int, int] | None]:
    """What a ticker tells of the top; the number of orders is not in it."""
    return [None if level is None else (level.px, level.qty) for level in top]


INSTRUMENTS = Topic("instrument")


def _instruments(kind: str, assets: list[str], pairs: list[str]) -> Payload:
    text = (
        f'{{"channel":"instrument","type":"{kind}","data":{{"assets":[{",".join(assets)}],'
        f'"pairs":[{",".join(pairs)}]}}}}'
    )
    return Payload(INSTRUMENTS, text)


def _trades(
    topic: Topic, listing: Listing, kind: str, trades: Sequence[tuple[int, Trade]]
) -> Payload:
    rows = ",".join(
        f'{{"symbol":"{listing.symbol}","side":"{trade.side}","price":{listing.px_text(trade.px)},'
        f'"qty":{listing.qty_text(trade.qty)},'
        f'"ord_type":"{"market" if trade.taker.px is None else "limit"}","trade_id":{trade.id},'
        f'"timestamp":"{rfc3339(time_ns)}"}}'
        for time_ns, trade in trades
    )
    return Payload(topic, f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}')
