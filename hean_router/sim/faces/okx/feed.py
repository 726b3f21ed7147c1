"""OKX's public channels: what is pushed, when, and in which words.

A book channel is one sequence for all who listen: `seqId` is the same on every connection, a
snapshot is the state at the last push, and the next push builds on it for everyone.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from itertools import groupby, zip_longest
from operator import attrgetter
from random import Random
from typing import Any
from zlib import crc32

import orjson

from hean_router.sim.contract import MINUTE, MS, Conn, FrameKind
from hean_router.sim.exchange import BookLevel, Exchange, Kind, Level, Listing, Side, Step, Trade
from hean_router.sim.faces.okx.facts import (
    BAND_PERMILLE,
    CHANNELS,
    CHECKSUM_LEVELS,
    QUIET_NS,
    TYPES,
    Channel,
    Form,
    Symbols,
    instrument,
    trim,
)
from hean_router.sim.pacing import Timers
from hean_router.sim.tape import Tape

_FUNDING_NS = 8 * 60 * MINUTE
_MATCH_KEYS = ("instId", "tradeId", "px", "sz", "side", "ts", "source")


@dataclass(frozen=True)
class Topic:
    """A channel with its argument: what is subscribed."""

    channel: Channel
    value: str  # instId or instType; empty where there is none
    listing: Listing | None = None

    @cached_property
    def name(self) -> str:
        """`books:BTC-USDT`."""
        return f"{self.channel.name}:{self.value}" if self.value else self.channel.name

    @cached_property
    def arg(self) -> str:
        """The argument as pushed with data."""
        arg = {"channel": self.channel.name}
        if self.channel.names:
            arg[self.channel.names] = self.value
        return orjson.dumps(arg).decode()


@dataclass(frozen=True, slots=True)
class Payload:
    """One push, for everyone who listens to its topic."""

    topic: Topic
    text: str
    kind: FrameKind = FrameKind.DATA
    reset: bool = False


@dataclass
class _Book:
    """A book channel of one instrument: what its listeners were told, and what changed since."""

    exchange: Exchange
    topic: Topic
    seq: int = 0
    pushed_ns: int = 0
    levels: dict[Side, dict[int, BookLevel]] = field(default_factory=dict)
    touched: dict[Side, dict[int, Level]] = field(
        default_factory=lambda: {side: {} for side in Side}
    )

    @property
    def listing(self) -> Listing:
        assert self.topic.listing is not None, "a book is of an instrument"
        return self.topic.listing

    @property
    def repeats(self) -> bool:
        """Whether a level is told that changed and changed back."""
        return self.topic.channel.form is Form.DELTA

    def load(self) -> None:
        """Start over from the exchange."""
        depth = self.topic.channel.depth
        book = self.exchange.book(self.listing.symbol, depth)
        for side, levels in zip(Side, book, strict=True):
            self.levels[side] = {level.px: level for level in levels}
            self.touched[side].clear()

    def touch(self, levels: Iterable[Level]) -> None:
        """Take note of what an action changed."""
        for level in levels:
            self.touched[level.side][level.px] = level

    def take(self) -> dict[Side, list[BookLevel]]:
        """What to tell, best first: levels changed, come in or gone out of the window (`qty` 0).

        Of a stream of changes, a level that changed and changed back is told too, as recorded.
        """
        book: tuple[list[BookLevel], list[BookLevel]] | None = None
        told: dict[Side, list[BookLevel]] = {}
        for index, side in enumerate(Side):
            if self._whole(side):
                told[side] = self._touched(side)
            else:
                book = book or self.exchange.book(self.listing.symbol, self.topic.channel.depth)
                told[side] = self._differing(side, book[index])
            told[side].sort(reverse=side is Side.BUY)
            self.touched[side].clear()
        return told

    def _touched(self, side: Side) -> list[BookLevel]:
        """What to tell of a side that is in the window whole: what was touched."""
        had, told = self.levels[side], []
        for px, level in self.touched[side].items():
            now = BookLevel(px, level.qty, level.orders)
            if now.qty == 0:
                if had.pop(px, None):
                    told.append(now)
            elif self.repeats or had.get(px) != now:
                had[px] = now
                told.append(now)
        return told

    def _differing(self, side: Side, levels: list[BookLevel]) -> list[BookLevel]:
        """What to tell of a side of which the window shows a part."""
        had, now = self.levels[side], {level.px: level for level in levels}
        self.levels[side] = now
        touched: Collection[int] = self.touched[side] if self.repeats else ()
        told = [level for px, level in now.items() if px in touched or had.get(px) != level]
        return told + [BookLevel(px, 0, 0) for px in had if px not in now]

    def _whole(self, side: Side) -> bool:
        """Whether the window holds the whole side, before and now: then only touches count."""
        depth, before = self.topic.channel.depth, len(self.levels[side])
        coming = len(self.touched[side])
        return before + coming <= depth and self.exchange.depth(self.listing.symbol, side) <= depth

    def snapshot(self) -> dict[Side, list[BookLevel]]:
        """All that was told, best first."""
        return {
            side: sorted(levels.values(), reverse=side is Side.BUY)
            for side, levels in self.levels.items()
        }

    def checksum(self) -> int:
        """CRC32 over the best 25 levels, bid and ask in turn, as it was until 2025."""
        snapshot = self.snapshot()
        bids, asks = (
            [":".join(self.texts(level)) for level in snapshot[side][:CHECKSUM_LEVELS]]
            for side in Side
        )
        parts = [part for pair in zip_longest(bids, asks) for part in pair if part]
        unsigned = crc32(":".join(parts).encode())
        return unsigned - (1 << 32) if unsigned >> 31 else unsigned

    def texts(self, level: BookLevel) -> tuple[str, str]:
        """Price and size as printed."""
        listing = self.listing
        return trim(listing.px_text(level.px)), trim(listing.qty_text(level.qty))


class Feed:
    """All channels, and who listens."""

    def __init__(self, exchange: Exchange, rng: Random, *, checksums: bool) -> None:
        self.symbols = Symbols(exchange.listings.values())
        self.tape = Tape(exchange.listings)
        self.timers: Timers[tuple[str, str]] = Timers()
        self.status: list[dict[str, str]] = []
        self._exchange = exchange
        self._rng = rng
        self._checksums = checksums
        self._zero = dict.fromkeys(exchange.listings, 0)  # engine id that is printed as seqId 0
        self._listeners: dict[str, dict[Conn, None]] = {}
        self._topics: dict[str, dict[str, Topic]] = {symbol: {} for symbol in exchange.listings}
        self._live: dict[str, Topic] = {}  # what anyone listens to
        self._books: dict[str, _Book] = {}
        self._summaries: dict[str, dict[str, Any]] = {}

    # Listening

    def topic(self, path: str, arg: dict[str, Any]) -> Topic | None:
        """An argument understood; None if this path has no such channel or instrument."""
        channel = CHANNELS.get(str(arg.get("channel")))
        if channel is None or channel.path != path:
            return None
        value = str(arg.get(channel.names, "")) if channel.names else ""
        if channel.names == "instType":
            return Topic(channel, value) if value in TYPES.values() else None
        if not channel.names:
            return Topic(channel, "")
        listing = self.symbols.by_id.get(value)
        if listing is None or listing.kind not in channel.kinds:
            return None
        return Topic(channel, value, listing)

    def subscribe(self, conn: Conn, topic: Topic, now_ns: int) -> list[Payload]:
        """Let a connection listen; what it is told at once.  Nothing if it listens already."""
        listeners = self._listeners.setdefault(topic.name, {})
        if conn in listeners:
            return []
        listeners[conn] = None
        listing, form = topic.listing, topic.channel.form
        self._live[topic.name] = topic
        if listing is None:
            latest = self.status[-1:] if topic.channel.name == "status" else []
            return [_rows(topic, [row]) for row in latest]
        self._topics[listing.symbol][topic.name] = topic
        if topic.channel.depth:
            return list(self._open_book(topic, now_ns))
        if form is Form.SUMMARY:
            row = self._summaries[topic.name] = self.summary(topic.channel.name, listing, now_ns)
            if topic.channel.name == "funding-rate":
                self._plan(topic, now_ns)
            return [_rows(topic, [row])]
        # Recorded: the last trade comes at once, however old.
        latest_trades = self.tape.last(listing.symbol, 1)
        return [
            payload
            for time_ns, trade in latest_trades
            for payload in self._trades(topic, [trade], time_ns)
        ]

    def unsubscribe(self, conn: Conn, topic: Topic) -> None:
        """Stop listening; harmless if it never did."""
        listeners = self._listeners.get(topic.name, {})
        listeners.pop(conn, None)
        if listeners:
            return
        for timer in ("push", "quiet"):
            self.timers.drop((timer, topic.name))
        if topic.listing is not None:
            self._topics[topic.listing.symbol].pop(topic.name, None)
        self._live.pop(topic.name, None)
        self._books.pop(topic.name, None)
        self._summaries.pop(topic.name, None)

    def listeners(self, topic: Topic) -> Sequence[Conn]:
        """Who listens, longest first."""
        return tuple(self._listeners.get(topic.name, ()))

    # What happens

    def market(self, step: Step) -> Iterator[Payload]:
        """What an engine action makes the channels say at once; the rest is planned."""
        self.tape.record(step)
        for topic in self._topics[step.symbol].values():
            if topic.channel.depth:
                if step.levels:
                    self._books[topic.name].touch(step.levels)
                    self._plan(topic, step.time_ns)
            elif topic.channel.form is not Form.SUMMARY:
                yield from self._trades(topic, step.trades, step.time_ns)
            elif topic.channel.name != "funding-rate":
                self._plan(topic, step.time_ns)
        if step.status is not None:
            yield from self._changed(step)

    def flush(self, now_ns: int) -> Iterator[Payload]:
        """Say what is due, in the order of times; at one time in the documented order."""
        while popped := self.timers.pop(now_ns):
            when_ns, key = popped
            keys = [key]
            while more := self.timers.pop(when_ns):
                keys.append(more[1])
            due = [(self._live[name], what) for what, name in keys]
            due.sort(key=lambda pair: (pair[0].value, pair[0].channel.rank, pair[1]))
            for topic, what in due:
                yield from self._push(topic, what, when_ns)

    def restart(self, now_ns: int) -> Iterator[Payload]:
        """Every instrument's `seqId` starts again: an update with `seqId` below `prevSeqId`.

        What happened since the last push is in it.  An instrument whose sequence is at 0 cannot
        go below and is left alone.
        """
        for symbol, topics in self._topics.items():
            books = [self._books[name] for name, topic in topics.items() if topic.channel.depth]
            lowest = min((book.seq for book in books), default=0)
            if lowest == 0:
                continue
            new = self._rng.randrange(min(lowest, 1_000))
            self._zero[symbol] = self._exchange.update_id(symbol) - new
            for book in sorted(books, key=lambda book: book.topic.channel.rank):
                if book.topic.channel.form is Form.DELTA:
                    yield from self._tell(book, now_ns, reset=True)

    def announce(self, row: dict[str, str]) -> Iterator[Payload]:
        """A maintenance, told on the `status` channel and kept for REST."""
        self.status.append(row)
        if "status" in self._live:
            yield _rows(self._live["status"], [row])

    def seq(self, symbol: str) -> int:
        """`seqId` of the state as it stands."""
        return self._exchange.update_id(symbol) - self._zero[symbol]

    # Books

    def _open_book(self, topic: Topic, now_ns: int) -> Iterator[Payload]:
        book = self._books.get(topic.name)
        if book is None:
            book = self._books[topic.name] = _Book(self._exchange, topic)
            book.load()
            book.seq, book.pushed_ns = self.seq(book.listing.symbol), now_ns
            self.timers.set(("quiet", topic.name), now_ns + QUIET_NS)
        yield self._state(book)

    def _push(self, topic: Topic, what: str, now_ns: int) -> Iterator[Payload]:
        if topic.channel.form is Form.SUMMARY:
            yield from self._summarise(topic, now_ns)
            return
        book = self._books[topic.name]
        if what == "push":
            yield from self._tell(book, now_ns)
            return
        self.timers.set(("quiet", topic.name), now_ns + QUIET_NS)
        if topic.channel.form is Form.FULL:
            yield self._state(book)
        else:
            text = self._book_text(book, {side: [] for side in Side}, book.seq, now_ns, "update")
            yield Payload(topic, text, FrameKind.DELTA)

    def _tell(self, book: _Book, now_ns: int, *, reset: bool = False) -> Iterator[Payload]:
        """Push what changed in the window, if anything did or the sequence restarts."""
        told, prev = book.take(), book.seq
        if not (reset or any(told.values())):
            return
        book.seq, book.pushed_ns = self.seq(book.listing.symbol), now_ns
        self.timers.set(("quiet", book.topic.name), now_ns + QUIET_NS)
        if book.topic.channel.form is Form.FULL:
            yield self._state(book)
        else:
            text = self._book_text(book, told, prev, now_ns, "update")
            yield Payload(book.topic, text, FrameKind.DELTA, reset)

    def _state(self, book: _Book) -> Payload:
        """The book as last told, whole."""
        delta = book.topic.channel.form is Form.DELTA
        text = self._book_text(
            book,
            book.snapshot(),
            -1 if delta else None,
            book.pushed_ns,
            "snapshot" if delta else "",
        )
        return Payload(book.topic, text, FrameKind.SNAPSHOT)

    def _book_text(
        self,
        book: _Book,
        levels: dict[Side, list[BookLevel]],
        prev: int | None,
        now_ns: int,
        action: str,
    ) -> str:
        """A book frame; keys in the documented order, `action` and `prevSeqId` where there are."""
        asks, bids = (
            ",".join(
                '["{}","{}","0","{}"]'.format(*book.texts(level), level.orders)
                for level in levels[side]
            )
            for side in (Side.SELL, Side.BUY)
        )
        if prev is None:
            chain = ""
        else:
            checksum = book.checksum() if self._checksums else 0
            chain = f',"checksum":{checksum},"prevSeqId":{prev}'
        verb = f',"action":"{action}"' if action else ""
        return (
            f'{{"arg":{book.topic.arg}{verb},"data":[{{"asks":[{asks}],"bids":[{bids}],'
            f'"ts":"{now_ns // MS}"{chain},"seqId":{book.seq}}}]}}'
        )

    def _plan(self, topic: Topic, now_ns: int) -> None:
        """Push at the channel's next beat.

        The beats of one instrument's channels fall together, those of two instruments do not.
        """
        key = ("push", topic.name)
        if key in self.timers:
            return
        interval_ns = topic.channel.interval_ns
        seed = crc32(topic.value.encode())
        phase_ns = (seed % 10 + seed // 10 % 10 * 10) * MS % interval_ns
        beats = (now_ns - phase_ns) // interval_ns + 1
        self.timers.set(key, beats * interval_ns + phase_ns)

    # Rows

    def summary(self, channel: str, listing: Listing, now_ns: int) -> dict[str, Any]:
        """The row of a summary channel; REST has the same."""
        build = {
            "tickers": self._ticker,
            "mark-price": self._mark,
            "price-limit": self._limits,
            "funding-rate": self._funding,
        }[channel]
        return build(listing, now_ns)

    def _summarise(self, topic: Topic, now_ns: int) -> Iterator[Payload]:
        assert topic.listing is not None, "a summary is of an instrument"
        row = self.summary(topic.channel.name, topic.listing, now_ns)
        funding = topic.channel.name == "funding-rate"  # told every minute, changed or not
        if funding:
            self._plan(topic, now_ns)
        last = self._summaries[topic.name]
        if funding or any(row[key] != last[key] for key in row if key != "ts"):
            self._summaries[topic.name] = row
            yield _rows(topic, [row])

    def _ticker(self, listing: Listing, now_ns: int) -> dict[str, Any]:
        symbol, spot = listing.symbol, listing.kind is Kind.SPOT
        hour = now_ns // (60 * MINUTE) % 24
        day = self.tape.span(symbol, now_ns)
        row: dict[str, Any] = {"instType": TYPES[listing.kind], "instId": self.symbols.ids[symbol]}
        last = self._exchange.last_trade(symbol)
        row["last"], row["lastSz"] = self._texts(listing, last)
        for name, side in (("ask", Side.SELL), ("bid", Side.BUY)):
            best = self._exchange.best(symbol, side)
            row[f"{name}Px"], row[f"{name}Sz"] = self._texts(listing, best)
        for name, px in (
            ("open24h", day.open if day else None),
            ("high24h", day.high if day else None),
            ("low24h", day.low if day else None),
            ("sodUtc0", self._open(symbol, now_ns, hour + 1)),
            ("sodUtc8", self._open(symbol, now_ns, (hour + 8) % 24 + 1)),
        ):
            row[name] = "" if px is None else trim(listing.px_text(px))
        qty = listing.qty(day.qty) if day else Decimal(0)
        value = day.value * listing.tick * listing.lot if day else Decimal(0)
        coins = value if spot else qty * listing.contract_size
        row["volCcy24h"], row["vol24h"] = trim(f"{coins:f}"), trim(f"{qty:f}")
        return {**row, "ts": str(now_ns // MS)}

    def _open(self, symbol: str, now_ns: int, hours: int) -> int | None:
        span = self.tape.span(symbol, now_ns, hours)
        return span.open if span else None

    def _texts(self, listing: Listing, at: BookLevel | Trade | None) -> tuple[str, str]:
        """Price and size of a level or trade; both empty if there is none."""
        if at is None:
            return "", ""
        return trim(listing.px_text(at.px)), trim(listing.qty_text(at.qty))

    def _mid(self, listing: Listing) -> int:
        """The middle of the book in ticks; of one side if the other is empty, 0 if both are."""
        sides = (self._exchange.best(listing.symbol, side) for side in Side)
        pxs = [best.px for best in sides if best is not None]
        return sum(pxs) // len(pxs) if pxs else 0

    def _mark(self, listing: Listing, now_ns: int) -> dict[str, Any]:
        return {
            "instType": TYPES[listing.kind],
            "instId": self.symbols.ids[listing.symbol],
            "markPx": trim(listing.px_text(self._mid(listing))),
            "ts": str(now_ns // MS),
        }

    def _limits(self, listing: Listing, now_ns: int) -> dict[str, Any]:
        mid = self._mid(listing)
        return {
            "instId": self.symbols.ids[listing.symbol],
            "buyLmt": trim(listing.px_text(mid + mid * BAND_PERMILLE // 1000)),
            "sellLmt": trim(listing.px_text(mid - mid * BAND_PERMILLE // 1000)),
            "ts": str(now_ns // MS),
            "enabled": True,
        }

    def _funding(self, listing: Listing, now_ns: int) -> dict[str, Any]:
        next_ns = (now_ns // _FUNDING_NS + 1) * _FUNDING_NS
        return {
            "formulaType": "withRate",
            "fundingRate": "0.0001000000000000",
            "fundingTime": str(next_ns // MS),
            "impactValue": "20000.0000000000000000",
            "instId": self.symbols.ids[listing.symbol],
            "instType": TYPES[listing.kind],
            "interestRate": "0.0001000000000000",
            "maxFundingRate": "0.00375",
            "method": "current_period",
            "minFundingRate": "-0.00375",
            "nextFundingRate": "",
            "nextFundingTime": str((next_ns + _FUNDING_NS) // MS),
            "premium": "0.0000000000000000",
            "prevFundingTime": str((next_ns - _FUNDING_NS) // MS),
            "settFundingRate": "0.0001000000000000",
            "settState": "settled",
            "ts": str(now_ns // MS),
        }

    def _trade(self, topic: Topic, trades: Sequence[Trade], time_ns: int) -> dict[str, Any]:
        """Matches of one taker order at one price as one row; the id is that of the last."""
        listing = topic.listing
        assert listing is not None, "trades are of an instrument"
        last = trades[-1]
        return {
            "instId": topic.value,
            "tradeId": str(last.id),
            "px": trim(listing.px_text(last.px)),
            "sz": trim(listing.qty_text(sum(trade.qty for trade in trades))),
            "side": last.side.value,
            "ts": str(time_ns // MS),
            "count": str(len(trades)),
            "source": "0",
            "seqId": self.seq(listing.symbol),
        }

    def _trades(self, topic: Topic, trades: Sequence[Trade], time_ns: int) -> Iterator[Payload]:
        if topic.channel.form is Form.TRADES:
            for _, merged in groupby(trades, key=attrgetter("px")):
                yield _rows(topic, [self._trade(topic, list(merged), time_ns)])
        else:
            for trade in trades:
                row = self._trade(topic, [trade], time_ns)
                yield _rows(topic, [{key: row[key] for key in _MATCH_KEYS}])

    def _changed(self, step: Step) -> Iterator[Payload]:
        """Tell of an instrument's new state."""
        listing = self._exchange.listings[step.symbol]
        topic = self._live.get(f"instruments:{TYPES[listing.kind]}")
        if topic is not None and step.status is not None:
            yield _rows(topic, [instrument(self._exchange.told(step.symbol), step.status)])


def _rows(topic: Topic, rows: list[dict[str, Any]]) -> Payload:
    return Payload(topic, f'{{"arg":{topic.arg},"data":{orjson.dumps(rows).decode()}}}')
