"""Bybit's books and trades.

A book's topic begins with a snapshot and then counts its messages: `u` rises by one.  A second
topic, the best level alone, repeats itself every 3 s when nothing moves: proof of life.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from connectors.bybit.ask import Maintenance, ask_top, notice_of
from hean_router import kit

DEPTH = "200"

_BOOK, _TOP, _TRADES = f"orderbook.{DEPTH}.", "orderbook.1.", "publicTrade."
_TOPICS = (_BOOK, _TOP, _TRADES)

# Whether the good topics of a request with a bad one are subscribed is not documented, so few
# share a request.  Spot takes ten topics in one; three of ours per instrument make nine.
_INSTRUMENTS_A_REQUEST = 3

_OURS = re.compile(r"orderbook\.\d|publicTrade\.|system\.")  # not .rpi and .full: other books
_SIDES = {"Buy": kit.Side.BUY, "Sell": kit.Side.SELL}
_NAMED = re.compile(rb'"topic"\s*:\s*"[^"\\]{1,40}\.([^".\\]{1,40})"|"s"\s*:\s*"([^"\\]{1,40})"')


class _Book(Struct, gc=False):
    """What a book's topic carries; tickers fit too, and leave everything empty."""

    s: str = ""
    b: kit.Pairs = kit.UNTOLD
    a: kit.Pairs = kit.UNTOLD
    u: int = 0


class _Item(Maintenance, gc=False):
    """One trade, or one entry of the system's status; candles fit too, and leave it empty."""

    s: str = ""
    S: str = ""
    T: int = 0
    v: str = ""
    p: str = ""
    i: str = ""


class _Frame(Struct, gc=False):
    """A topic's message, or the answer to a request of ours."""

    topic: str = ""
    type: str = ""
    ts: int = 0
    cts: int = 0
    data: _Book | list[_Item] | None = None
    op: str = ""
    success: bool = True
    ret_msg: str = ""
    req_id: str = ""


class _Head(Struct):
    """As much of a frame as tells whether it is one that we read."""

    topic: str = ""
    op: str = ""


_frame = msgspec.json.Decoder(_Frame).decode
_head = msgspec.json.Decoder(_Head).decode


class Feed(kit.FeedCodec):
    """The best 200 levels every 100 ms, the best one every 10 ms, and trades."""

    integrity = kit.Integrity.CHAIN

    def __init__(self, part: kit.Part, instruments: Mapping[str, kit.Instrument]) -> None:
        self._part, self._by_symbol = part, instruments
        # Full topic -> instrument.  Which depth is a symbol's book: the one we ask for; in a
        # capture the first that shows, for two would each break the other's count.
        self._books: dict[str, kit.Instrument] = {}
        self._depths: dict[str, str] = {}
        self._asked: dict[str, Sequence[kit.Instrument]] = {}  # subscriptions not yet answered
        self._id = 0

    # ------------------------------------------------------------------------------ asking

    def subscribe(self, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        for some in _chunks(instruments):
            for instrument in some:
                self._depths[instrument.symbol] = DEPTH
            yield self._request("subscribe", _topics(some, _TOPICS), some)

    def unsubscribe(self, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        for some in _chunks(instruments):
            yield self._request("unsubscribe", _topics(some, _TOPICS))

    def resubscribe(self, instrument: kit.Instrument) -> Iterable[kit.Frame]:
        """All its topics off and on: a refused request may have left it without any of them."""
        self._depths[instrument.symbol] = DEPTH
        topics = _topics([instrument], _TOPICS)
        yield self._request("unsubscribe", topics)
        yield self._request("subscribe", topics, [instrument])

    def topics(self, instruments: Sequence[kit.Instrument]) -> int:
        return len(_TOPICS) * len(instruments)

    def ping(self) -> kit.Frame:
        # Not counted by the venue, and of no use behind a queue of subscriptions.
        return kit.Frame(self._request("ping", ()).data, cost=0)

    def _request(
        self, op: str, topics: Sequence[str], about: Sequence[kit.Instrument] = ()
    ) -> kit.Frame:
        self._id += 1
        if about:
            self._asked[str(self._id)] = about
        body: dict[str, object] = {"req_id": str(self._id), "op": op}
        if topics:
            body["args"] = topics
        return kit.Frame(msgspec.json.encode(body))

    def probe(self, instrument: kit.Instrument) -> kit.Ask[kit.Top]:
        return ask_top(self._part, instrument)

    # ------------------------------------------------------------------------------ reading

    def decode(self, data: bytes) -> Iterable[kit.FeedEvent]:
        try:
            frame = _frame(data)
        except msgspec.ValidationError:
            if _is_foreign(data):
                return ()
            raise
        topic = frame.topic
        if (instrument := self._books.get(topic)) is not None:
            return self._book(frame, instrument)
        if topic.startswith("orderbook."):
            return self._other_book(frame)
        if topic.startswith(_TRADES):
            return self._trades(frame)
        if not topic:
            return self._reply(frame)
        if topic == "system.status" and isinstance(frame.data, list):
            return [notice_of(entry) for entry in frame.data]
        return ()

    def _book(self, frame: _Frame, instrument: kit.Instrument) -> Iterable[kit.FeedEvent]:
        bids, asks, book = _sides(frame, instrument)
        sent_ns = (frame.cts or frame.ts) * kit.MS
        count = book.u
        # A service that has restarted counts from 1, whatever `type` says.
        if frame.type == "snapshot" or count == 1:
            return (kit.Snapshot(instrument, bids, asks, count, sent_ns),)
        if frame.type != "delta":
            raise ValueError(f"a book's message of type {frame.type!r}")
        return (kit.Delta(instrument, bids, asks, count, count - 1, sent_ns),)

    def _other_book(self, frame: _Frame) -> Iterable[kit.FeedEvent]:
        """A book's first message, or one of another depth."""
        _, depth, symbol = frame.topic.split(".", 2)
        if (instrument := self._by_symbol.get(symbol)) is None or not depth.isdigit():
            return ()  # `orderbook.rpi` and `.full` are other books
        if depth == "1":
            return self._top(frame, instrument)
        if self._depths.setdefault(symbol, depth) != depth:
            return ()
        self._books[frame.topic] = instrument
        return self._book(frame, instrument)

    def _top(self, frame: _Frame, instrument: kit.Instrument) -> Iterable[kit.FeedEvent]:
        """The best level; pushed again with the same `u` after 3 s without change."""
        bids, asks, _ = _sides(frame, instrument)
        sent_ns = (frame.cts or frame.ts) * kit.MS
        best_bid, best_ask = (bids[0] if bids else None), (asks[0] if asks else None)
        return (kit.Top(instrument, best_bid, best_ask, sent_ns),)

    def _trades(self, frame: _Frame) -> Iterable[kit.FeedEvent]:
        symbol = frame.topic.partition(".")[2]
        if (instrument := self._by_symbol.get(symbol)) is None:
            return ()
        if not isinstance(frame.data, list):
            raise ValueError(f"{frame.topic} without trades")
        return [_trade(item, instrument) for item in frame.data]

    def _reply(self, frame: _Frame) -> Iterable[kit.FeedEvent]:
        if not frame.op:
            raise ValueError("neither a topic nor an answer")
        asked = self._asked.pop(frame.req_id, ())
        if not frame.success:
            return self._refused(frame, asked)
        if frame.op != "subscribe":
            return ()  # a pong, in any of its forms, or that something has ended
        only = asked[0] if len(asked) == 1 else None
        text = ", ".join(instrument.symbol for instrument in asked) or "not by us"
        return (kit.Notice(kit.NoticeKind.SUBSCRIBED, text, only),)

    def _refused(self, frame: _Frame, asked: Sequence[kit.Instrument]) -> Iterable[kit.FeedEvent]:
        """All of a refused request count as refused, whichever topic was the bad one."""
        text = f"{frame.op}: {frame.ret_msg}"
        if frame.op == "unsubscribe":  # it was not there: that is what we wanted
            return (kit.Notice(kit.NoticeKind.INFO, text),)
        return [kit.Notice(kit.NoticeKind.REFUSED, text, about) for about in asked or (None,)]

    def about(self, data: bytes) -> kit.Instrument | None:
        named = {topic or plain for topic, plain in _NAMED.findall(data)}
        symbol = named.pop().decode(errors="replace") if len(named) == 1 else ""
        return self._by_symbol.get(symbol)


def _sides(
    frame: _Frame, instrument: kit.Instrument
) -> tuple[Sequence[kit.Level], Sequence[kit.Level], _Book]:
    book = frame.data
    if not isinstance(book, _Book) or book.u <= 0:
        raise ValueError(f"{frame.topic} without its number")
    if book.b is kit.UNTOLD or book.a is kit.UNTOLD:
        raise ValueError(f"{frame.topic} without one of its sides")
    if book.s != instrument.symbol:
        raise ValueError(f"{frame.topic} speaks of {book.s!r}")
    return kit.levels(book.b, instrument), kit.levels(book.a, instrument), book


def _trade(item: _Item, instrument: kit.Instrument) -> kit.Trade:
    if item.s != instrument.symbol:
        raise ValueError(f"a trade of {item.s!r} among those of {instrument.symbol}")
    px, qty = instrument.px(item.p), instrument.qty(item.v)
    return kit.Trade(instrument, px, qty, _SIDES[item.S], item.T * kit.MS, item.i)


def _chunks(instruments: Sequence[kit.Instrument]) -> Iterable[Sequence[kit.Instrument]]:
    size = _INSTRUMENTS_A_REQUEST
    return (instruments[start : start + size] for start in range(0, len(instruments), size))


def _topics(instruments: Sequence[kit.Instrument], kinds: Sequence[str]) -> Sequence[str]:
    return [kind + instrument.symbol for instrument in instruments for kind in kinds]


def _is_foreign(data: bytes) -> bool:
    """Whether a frame of another shape is of a topic that we do not read.  The slow path."""
    head = _head(data)
    return not _OURS.match(head.topic) if head.topic else head.op == "pong"
