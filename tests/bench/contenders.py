"""Who is measured: ours, a bare decode, what a competent programmer writes, and ccxt.pro.

Each is set up outside the measured time with the tape's lead, then reads its frames and looks at
the best bid and ask whenever a book has changed.  A contender is used once: nothing that it
remembers goes into the next round.
"""

import asyncio
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from time import thread_time_ns
from typing import Any
from zlib import crc32

import msgspec
import orjson
from aiohttp import WSMessage, WSMsgType
from sortedcontainers import SortedDict

from hean_router.domain.instrument import Instrument, Side
from hean_router.venue import BookMoved
from tests.bench.tapes import START_NS, Tape, lead_in

Tops = dict[str, tuple[float, float]]  # by symbol: best bid and ask at the end, 0 for none
NONE = (0, 0)


class Ours:
    """`FeedSession.received` and what a reader of the book does; every check on, as in service."""

    def __init__(self, tape: Tape) -> None:
        self.session = tape.session()
        assert lead_in(self.session, tape, tape.lead)

    def read(self, frames: Sequence[bytes], book_of: Sequence[str]) -> int:
        received, now_ns = self.session.received, START_NS
        buy, sell = Side.BUY, Side.SELL
        began = thread_time_ns()
        for raw in frames:
            now_ns += 1_000
            for event in received(raw, now_ns):
                if type(event) is BookMoved:
                    book = event.book
                    _ = book.best(sell), book.best(buy)
        return thread_time_ns() - began

    def tops(self) -> Tops:
        tops = {}
        for one in self.session.instruments:
            live = self.session.book(one).live
            assert live is not None, f"{one.symbol}: {self.session.book(one).reason}"
            bids, asks = live.bids(1), live.asks(1)
            bid, ask = (bids or [NONE])[0], (asks or [NONE])[0]
            tops[one.symbol] = float(one.px_decimal(bid[0])), float(one.px_decimal(ask[0]))
        return tops


class Untyped:
    """`msgspec.json.decode` into dicts and lists, and nothing else: what bytes cost anyhow."""

    def __init__(self, tape: Tape) -> None:
        self._decode = msgspec.json.Decoder().decode

    def read(self, frames: Sequence[bytes], book_of: Sequence[str]) -> int:
        decode = self._decode
        began = thread_time_ns()
        for raw in frames:
            decode(raw)
        return thread_time_ns() - began

    def tops(self) -> Tops:
        return {}


# ------------------------------------------------------------------------------ a competent one


class _Sides:
    """Two `SortedDict`s of floats, both ascending."""

    __slots__ = ("asks", "bids", "last")

    def __init__(self) -> None:
        self.bids, self.asks = SortedDict(), SortedDict()
        self.last = 0


def _apply(side: SortedDict, levels: Iterable[Sequence[str]]) -> None:
    for level in levels:
        px, qty = float(level[0]), float(level[1])
        if qty:
            side[px] = qty
        else:
            side.pop(px, None)


class Gap(Exception):
    """A message is missing, or a checksum is wrong."""


class Sorted:
    """`orjson` and a float `SortedDict` a side, with the venue's own proof of continuity.

    Does not decode what it can tell by its first bytes that nobody asked for, as ours does.
    """

    def __init__(self, tape: Tape) -> None:
        self._venue = tape.connector.spec.id
        self.books = {one.symbol: _Sides() for one in tape.instruments}
        self._px_digits = {one.symbol: one.px_decimals for one in tape.instruments}
        self._qty_digits = {one.symbol: one.qty_decimals for one in tape.instruments}
        self._take: Callable[[bytes], _Sides | None] = getattr(self, f"_{self._venue}")
        early = []
        for record in tape.lead:
            if record.kind == "http":
                self._snapshot(record.raw, early)
            elif self._venue == "binance" and not self._started():
                early.append(record.raw)
            else:
                self._take(record.raw)

    def _started(self) -> bool:
        return any(book.last for book in self.books.values())

    def _snapshot(self, raw: bytes, early: list[bytes]) -> None:
        answer = orjson.loads(raw)
        if "lastUpdateId" not in answer:
            return
        (book,) = self.books.values()
        _apply(book.bids, answer["bids"])
        _apply(book.asks, answer["asks"])
        book.last = answer["lastUpdateId"]
        for frame in early:
            data = orjson.loads(frame)
            data = data.get("data", data)
            if data.get("e") == "depthUpdate" and data["u"] > book.last:
                _apply(book.bids, data["b"])
                _apply(book.asks, data["a"])
                book.last = data["u"]

    def read(self, frames: Sequence[bytes], book_of: Sequence[str]) -> int:
        take = self._take
        began = thread_time_ns()
        for raw in frames:
            if (book := take(raw)) is not None:
                bids, asks = book.bids, book.asks
                _ = bids and bids.peekitem(-1), asks and asks.peekitem(0)
        return thread_time_ns() - began

    def _binance(self, raw: bytes) -> _Sides | None:
        if b'bookTicker"' in raw[:64]:
            return None
        frame = orjson.loads(raw)
        data = frame.get("data", frame)
        if data.get("e") != "depthUpdate":
            return None
        book = self.books[data["s"]]
        prev = data.get("pu")
        if (data["U"] - 1 if prev is None else prev) != book.last:
            raise Gap(data["U"])
        _apply(book.bids, data["b"])
        _apply(book.asks, data["a"])
        book.last = data["u"]
        return book

    def _bybit(self, raw: bytes) -> _Sides | None:
        frame = orjson.loads(raw)
        if not frame.get("topic", "").startswith("orderbook."):
            return None
        data = frame["data"]
        book = self.books[data["s"]]
        if frame["type"] == "snapshot":
            book.bids.clear()
            book.asks.clear()
        elif data["u"] != book.last + 1:
            raise Gap(data["u"])
        _apply(book.bids, data["b"])
        _apply(book.asks, data["a"])
        book.last = data["u"]
        return book

    def _okx(self, raw: bytes) -> _Sides | None:
        frame = orjson.loads(raw)
        arg = frame.get("arg")
        if arg is None or not arg["channel"].startswith("books") or "data" not in frame:
            return None
        book = self.books[arg["instId"]]
        for row in frame["data"]:
            if frame["action"] == "snapshot":
                book.bids.clear()
                book.asks.clear()
            elif row.get("prevSeqId") is not None and row["prevSeqId"] != book.last:
                raise Gap(row["seqId"])
            _apply(book.bids, row["bids"])
            _apply(book.asks, row["asks"])
            book.last = row.get("seqId")
        return book

    def _kraken(self, raw: bytes) -> _Sides | None:
        """Each level keeps its digits for the checksum beside its quantity."""
        if raw == b'{"channel":"heartbeat"}':
            return None
        frame = orjson.loads(raw)
        if frame.get("channel") != "book":
            return None
        book = None
        for row in frame["data"]:
            symbol = row["symbol"]
            book = self.books[symbol]
            if frame["type"] == "snapshot":
                book.bids.clear()
                book.asks.clear()
                book.last = max(len(row["bids"]), len(row["asks"]))  # the depth
            px_digits, qty_digits = self._px_digits[symbol], self._qty_digits[symbol]
            for side, levels in ((book.bids, row["bids"]), (book.asks, row["asks"])):
                for level in levels:
                    px, qty = level["price"], level["qty"]
                    if qty:
                        text = f"{px:.{px_digits}f}".replace(".", "").lstrip("0")
                        text += f"{qty:.{qty_digits}f}".replace(".", "").lstrip("0")
                        side[px] = (qty, text)
                    else:
                        side.pop(px, None)
            while len(book.bids) > book.last:
                book.bids.popitem(0)
            while len(book.asks) > book.last:
                book.asks.popitem(-1)
            bids, asks = book.bids, book.asks
            text = "".join([asks[px][1] for px in islice(asks, 10)])
            text += "".join([bids[px][1] for px in islice(reversed(bids), 10)])
            if crc32(text.encode()) != row["checksum"]:
                raise Gap(f"{symbol}: checksum")
        return book

    def tops(self) -> Tops:
        return {
            symbol: (
                book.bids.peekitem(-1)[0] if book.bids else 0,
                book.asks.peekitem(0)[0] if book.asks else 0,
            )
            for symbol, book in self.books.items()
        }


class SortedWithDigest(Sorted):
    """The same, that verifies OKX's checksum too: 25 levels in texts as sent."""

    def _okx(self, raw: bytes) -> _Sides | None:
        frame = orjson.loads(raw)
        arg = frame.get("arg")
        if arg is None or not arg["channel"].startswith("books") or "data" not in frame:
            return None
        book = self.books[arg["instId"]]
        for row in frame["data"]:
            if frame["action"] == "snapshot":
                book.bids.clear()
                book.asks.clear()
            for side, levels in ((book.bids, row["bids"]), (book.asks, row["asks"])):
                for px, qty, *_ in levels:
                    size = float(qty)
                    if size:
                        side[float(px)] = (size, f"{px}:{qty}")
                    else:
                        side.pop(float(px), None)
            told = row.get("checksum")
            if told and _digest(book) != told:
                raise Gap(f"{arg['instId']}: checksum")
        return book


def _digest(book: _Sides) -> int:
    bids, asks = book.bids, book.asks
    best_bids = [bids[px][1] for px in islice(reversed(bids), 25)]
    best_asks = [asks[px][1] for px in islice(asks, 25)]
    both = min(len(best_bids), len(best_asks))
    texts = [text for pair in zip(best_bids, best_asks, strict=False) for text in pair]
    texts += best_bids[both:] + best_asks[both:]
    value = crc32(":".join(texts).encode())
    return value - (1 << 32) if value >> 31 else value


# ------------------------------------------------------------------------------ ccxt.pro


class Ccxt:
    """ccxt.pro's own client and handlers with its default settings, from the text of a frame on.

    What its websocket does before (turning bytes into text) and what its user does after (awaiting
    a future) are left out: both would make it slower.
    """

    def __init__(self, tape: Tape, loop: asyncio.AbstractEventLoop) -> None:
        import ccxt.pro

        self._loop = loop
        loop.run_until_complete(self._begin(ccxt.pro, tape))

    async def _begin(self, pro: Any, tape: Tape) -> None:
        venue = tape.connector.spec.id
        exchange = self.exchange = getattr(pro, venue)()
        exchange.set_markets([_market(exchange, one) for one in tape.instruments])
        if venue == "kraken":
            exchange.options["marketsByWsName"] = {}
        self.names = {one.symbol: _unified(one) for one in tape.instruments}
        self.client = exchange.client(tape.url)
        for symbol in self.names.values():
            if venue == "binance":  # as `handle_order_book_subscription` leaves it
                exchange.orderbooks[symbol] = exchange.order_book({}, 1000)
            if venue == "okx":  # as `watch_multiple` leaves them
                for channel in ("books", "books-l2-tbt"):
                    self.client.subscriptions[f"{channel}:{symbol}"] = True
        for record in tape.lead:
            if record.kind == "recv":
                self.client.handle_message(_message(record.raw))
            elif b'"lastUpdateId"' in record.raw[:200]:
                await self._snapshot(record.raw, next(iter(self.names.values())), tape)

    async def _snapshot(self, raw: bytes, symbol: str, tape: Tape) -> None:
        """Its own snapshot routine, the request answered by what was recorded."""
        exchange = self.exchange

        async def recorded(name: str, limit: Any = None, params: Any = None) -> Any:
            answer = orjson.loads(raw)
            book = exchange.parse_order_book(answer, name, answer.get("T"))
            book["nonce"] = answer["lastUpdateId"]
            return book

        exchange.fetch_rest_order_book_safe = recorded
        kind = tape.part.value
        await exchange.fetch_order_book_snapshot(
            self.client, None, {"symbol": symbol, "type": kind, "limit": 1000, "params": {}}
        )

    def read(self, frames: Sequence[bytes], book_of: Sequence[str]) -> int:
        messages = [_message(raw) for raw in frames]
        names = [self.names.get(symbol, "") for symbol in book_of]
        return self._loop.run_until_complete(self._read(messages, names))

    async def _read(self, messages: Sequence[WSMessage], names: Sequence[str]) -> int:
        handle, books = self.client.handle_message, self.exchange.orderbooks
        began = thread_time_ns()
        for message, name in zip(messages, names, strict=True):
            handle(message)
            if name:
                book = books[name]
                bids, asks = book["bids"], book["asks"]
                _ = bids and bids[0], asks and asks[0]
        return thread_time_ns() - began

    def tops(self) -> Tops:
        books = self.exchange.orderbooks
        return {
            symbol: (
                books[name]["bids"][0][0] if books[name]["bids"] else 0,
                books[name]["asks"][0][0] if books[name]["asks"] else 0,
            )
            for symbol, name in self.names.items()
        }

    def close(self) -> None:
        self._loop.run_until_complete(self.exchange.close())


def _message(raw: bytes) -> WSMessage:
    return WSMessage(WSMsgType.TEXT, raw.decode(), None)


def _unified(one: Instrument) -> str:
    return one.symbol if one.pair.quote == "?" else str(one.pair)


def _market(exchange: Any, one: Instrument) -> Any:
    """A market as ccxt keeps it; `read_frames` may not know the quote of a dated one."""
    pair = one.pair
    swap = bool(pair.settle) or pair.quote == "?"
    return exchange.safe_market_structure({
        "id": one.symbol, "lowercaseId": one.symbol.lower(), "symbol": _unified(one),
        "base": pair.base, "quote": pair.quote, "settle": pair.settle or None,
        "baseId": pair.base, "quoteId": pair.quote, "settleId": pair.settle or None,
        "type": "swap" if swap else "spot", "spot": not swap, "swap": swap, "contract": swap,
        "linear": swap or None, "inverse": False if swap else None, "margin": False,
        "future": False, "option": False, "active": True,
        "contractSize": 1.0 if swap else None,
        "precision": {"price": 10.0**-one.px_decimals, "amount": 10.0**-one.qty_decimals},
        "limits": {}, "info": {},
    })  # fmt: skip


def quiet() -> None:
    """ccxt leaves coroutines and sockets behind that were never opened."""
    warnings.simplefilter("ignore", ResourceWarning)
