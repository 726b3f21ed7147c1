"""OKX's public socket: 400 levels as snapshot and updates, trades, halts, maintenance."""

import re
from collections.abc import Iterable, Mapping, Sequence
from weakref import WeakKeyDictionary
from zlib import crc32

import msgspec
from msgspec import Struct

from connectors.okx import listing
from hean_router import kit

_REMEMBERED_MAX = 1 << 14  # texts kept for checksums, per book and column
_DIGEST_LEVELS = 25
_INSTRUMENTS_A_FRAME = 50  # about 5 KB; no limit is documented

# All three carry snapshot, updates, chain and checksum; we ask for the first.
_BOOKS = {"books", "books-l2-tbt", "books50-l2-tbt"}
_TOPS = {"bbo-tbt", "books5"}
_READ = _BOOKS | _TOPS | {"trades", "status", "instruments"}


# ---------------------------------------------------------------------------------- wire


class _Row(Struct, gc=False):
    """A row of any channel that we read."""

    # Price and size; a dead field and the number of orders follow and are not read.
    asks: kit.Rows = kit.UNTOLD
    bids: kit.Rows = kit.UNTOLD
    ts: str = ""
    checksum: int = 0
    seqId: int | None = None  # noqa: N815 - OKX's own name, as are the next
    prevSeqId: int | None = None  # noqa: N815
    px: str = ""
    sz: str = ""
    side: kit.Side | None = None
    tradeId: str = ""  # noqa: N815
    instId: str = ""  # noqa: N815
    state: str = ""
    title: str = ""
    begin: str = ""
    end: str = ""
    serviceType: str = ""  # noqa: N815
    env: str = ""


class _Arg(Struct, gc=False):
    channel: str = ""
    instId: str = ""  # noqa: N815


class _Head(Struct):
    arg: _Arg | None = None


class _Message(Struct, gc=False):
    arg: _Arg | None = None
    action: str = ""
    data: list[_Row] | None = None
    event: str = ""
    id: str = ""
    code: str = ""
    msg: str = ""
    channel: str = ""


_decode = msgspec.json.Decoder(_Message).decode
_decode_head = msgspec.json.Decoder(_Head).decode
# `channel:books,instId:BTC-USDTX doesn't exist` (60018), or our own request quoted (60012).
_NAMED = re.compile(r'channel"?\s*:\s*"?([\w-]+)"?\s*,\s*"?instId"?\s*:\s*"?([\w-]+)')
_INST_ID = re.compile(rb'"instId"\s*:\s*"([^"]*)"')


# ---------------------------------------------------------------------------------- one book


class _Texts(dict[int, str]):
    """The texts that the numbers of one column were sent as; the best come again and again.

    A key below zero is an ask's price: ladders keep them so.
    """

    __slots__ = ("_digits",)

    def __init__(self, digits: kit.Digits) -> None:
        self._digits = digits

    def __missing__(self, key: int) -> str:
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        self[key] = text = _spelled(abs(key), self._digits)
        return text


def _spelled(value: int, digits: kit.Digits) -> str:
    """The text that `value` was read from.

    OKX cuts trailing zeros (all of 44,408 recorded texts); should it not, `digits` remembers what
    it has read.  A number spelled now one way, now another would fail its checksum and be asked
    for again: never a false proof.
    """
    decimals, text = digits.decimals, str(value // digits.factor)
    if decimals:
        text = text.rjust(decimals + 1, "0")
        text = f"{text[:-decimals]}.{text[-decimals:]}".rstrip("0").rstrip(".")
    if text in digits:
        return text
    return next((sent for sent, read in digits.items() if read == value), text)


# Kept as long as their instrument, so that another socket need not learn them anew.
_TEXTS: WeakKeyDictionary[kit.Instrument, tuple[_Texts, _Texts]] = WeakKeyDictionary()


class _Listed:
    """An instrument, and what this socket has learned about its book."""

    __slots__ = ("chained", "instrument", "px_text", "qty_text", "told", "trading")

    def __init__(self, instrument: kit.Instrument) -> None:
        self.instrument = instrument
        if instrument not in _TEXTS:
            _TEXTS[instrument] = _Texts(instrument.px_of), _Texts(instrument.qty_of)
        self.px_text, self.qty_text = _TEXTS[instrument]
        self.chained: bool | None = None  # whether its snapshot had a sequence; None before any
        self.told: int | None = None  # the checksum of the last message
        self.trading: kit.Trading | None = None  # as last pushed


# ---------------------------------------------------------------------------------- the codec


class Feed(kit.FeedCodec):
    """Books (400 levels, every 100 ms), trades, halts and maintenance of one socket.

    Integrity is the chain `prevSeqId` -> `seqId`.  It may restart lower behind a message that
    still builds on the last, and an update with both numbers equal is a sign of life after a
    minute without change; both follow from the chain by themselves.  The checksum is 0 since 2025
    and then nothing; captures from before the chain have nothing else.
    """

    integrity = kit.Integrity.CHAIN

    def __init__(self, part: kit.Part, instruments: Mapping[str, kit.Instrument]) -> None:
        self._part = part
        self._listed = {symbol: _Listed(each) for symbol, each in instruments.items()}
        self._asked: dict[str, kit.Instrument] = {}  # request id -> the book it is about
        self._count = 0

    # ---------------------------------------------------------------------- asking

    def subscribe(self, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        yield from self._frames("subscribe", instruments)
        kind = "SPOT" if self._part is kit.Part.SPOT else "SWAP"
        about_all = [{"channel": "instruments", "instType": kind}, {"channel": "status"}]
        yield self._frame("subscribe", about_all)

    def unsubscribe(self, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        return self._frames("unsubscribe", instruments)

    def resubscribe(self, instrument: kit.Instrument) -> Iterable[kit.Frame]:
        topic = [{"channel": "books", "instId": instrument.symbol}]
        yield self._frame("unsubscribe", topic)
        yield self._frame("subscribe", topic, instrument)

    def topics(self, instruments: Sequence[kit.Instrument]) -> int:
        return 2 * len(instruments)

    def ping(self) -> kit.Frame:
        return kit.Frame(b"ping", cost=0)

    def probe(self, instrument: kit.Instrument) -> kit.Ask[kit.Top]:
        return listing.probe(instrument)

    def _frames(self, op: str, instruments: Sequence[kit.Instrument]) -> Iterable[kit.Frame]:
        for some in kit.chunks([each.symbol for each in instruments], _INSTRUMENTS_A_FRAME):
            channels = ("books", "trades")
            args = [{"channel": name, "instId": symbol} for symbol in some for name in channels]
            yield self._frame(op, args)

    def _frame(
        self, op: str, args: list[dict[str, str]], about: kit.Instrument | None = None
    ) -> kit.Frame:
        self._count += 1
        request_id = f"{op}{self._count}"
        if about is not None:
            self._asked[request_id] = about
        return kit.Frame(msgspec.json.encode({"id": request_id, "op": op, "args": args}))

    # ---------------------------------------------------------------------- reading

    def decode(self, data: bytes) -> Iterable[kit.FeedEvent]:
        if data == b"pong":
            return ()
        try:
            message = _decode(data)
        except msgspec.ValidationError:
            head = _decode_head(data)
            if head.arg is not None and head.arg.channel not in _READ:
                return ()  # rows of a shape that we need not know
            raise
        if message.event:
            return (self._said(message),)
        if (arg := message.arg) is None or not message.data:
            raise ValueError("neither an event nor data")
        channel, listed = arg.channel, self._listed.get(arg.instId)
        if listed is not None:
            if channel in _BOOKS:
                action = message.action
                return [_book(listed, action, row) for row in message.data]
            if channel == "trades":
                return [_trade(listed.instrument, row) for row in message.data]
            if channel in _TOPS:
                return [_top(listed.instrument, row) for row in message.data]
        elif channel == "status":
            return [_maintenance(row) for row in message.data]
        elif channel == "instruments":
            return self._standing(message.data)
        return ()

    def _standing(self, rows: Iterable[_Row]) -> Iterable[kit.Notice]:
        """How our instruments stand, where that is news: all of them at first."""
        for row in rows:
            if (listed := self._listed.get(row.instId)) is None:
                continue
            trading = listing.TRADING.get(row.state, kit.Trading.HALTED)
            if trading is listed.trading:
                continue
            listed.trading = trading
            is_open = trading is kit.Trading.OPEN
            kind = kit.NoticeKind.RESUMED if is_open else kit.NoticeKind.HALTED
            yield kit.Notice(kind, f"{row.instId} is {row.state}", listed.instrument)

    def _said(self, message: _Message) -> kit.Notice:
        """An event: the answer to a request of ours, or word from the venue."""
        kinds, arg = kit.NoticeKind, message.arg or _Arg()
        listed = self._listed.get(arg.instId)
        instrument = listed.instrument if listed else None
        topic = f"{arg.channel or message.channel} {arg.instId}".strip()
        text = " ".join(filter(None, [message.event, topic, message.code, message.msg]))
        match message.event:
            case "subscribe":
                return kit.Notice(kinds.SUBSCRIBED, topic, instrument)
            case "notice" if message.code == "64008":  # about a minute before a maintenance
                return kit.Notice(kinds.CLOSING, text)
            # A topic that was never there cannot be ended: no harm.
            case "error" if message.id.startswith("unsubscribe"):
                return kit.Notice(kinds.INFO, text)
            case "error" | "channel-conn-count-error":
                return kit.Notice(kinds.REFUSED, text, self._refused(message))
            case _:
                return kit.Notice(kinds.INFO, text)

    def _refused(self, message: _Message) -> kit.Instrument | None:
        """Whose book was refused: what the text names, else what the request was about."""
        arg = message.arg
        named = _NAMED.search(message.msg)
        channel, symbol = (
            named.groups() if named else (arg.channel, arg.instId) if arg else ("", "")
        )
        if channel in _BOOKS and symbol in self._listed:
            return self._listed[symbol].instrument
        return self._asked.get(message.id)

    def about(self, data: bytes) -> kit.Instrument | None:
        names = set(_INST_ID.findall(data))
        listed = (
            self._listed.get(names.pop().decode("ascii", "replace")) if len(names) == 1 else None
        )
        return listed.instrument if listed else None

    # ---------------------------------------------------------------------- proof

    def checksum(self, book: kit.Book) -> int:
        """CRC32 over the best 25 levels, bid and ask by turns, texts as received; signed."""
        listed = self._listed[book.instrument.symbol]
        if kit.COMPILED:
            text = kit.spelled(book.bids, book.asks, _DIGEST_LEVELS, listed.instrument)
            if (digest := _signed(crc32(text))) == listed.told:
                return digest  # else needless zeros may have been sent: ask who remembers them
        px, qty = listed.px_text.__getitem__, listed.qty_text.__getitem__
        bid_px, bid_qty = book.bids.columns(_DIGEST_LEVELS)
        ask_px, ask_qty = book.asks.columns(_DIGEST_LEVELS)
        both = min(len(bid_px), len(ask_px))
        texts = [""] * (4 * both)
        texts[::4], texts[1::4] = map(px, bid_px[:both]), map(qty, bid_qty[:both])
        texts[2::4], texts[3::4] = map(px, ask_px[:both]), map(qty, ask_qty[:both])
        for key, size in zip(  # of the longer side, the rest
            bid_px[both:] + ask_px[both:], bid_qty[both:] + ask_qty[both:], strict=True
        ):
            texts += (px(key), qty(size))
        return _signed(crc32(":".join(texts).encode()))


def _signed(digest: int) -> int:
    return digest - (1 << 32) if digest >> 31 else digest


def _book(listed: _Listed, action: str, row: _Row) -> kit.Snapshot | kit.Delta:
    instrument = listed.instrument
    if row.asks is kit.UNTOLD or row.bids is kit.UNTOLD:
        raise ValueError("a book without one of its sides")
    seq, prev_seq, checksum = row.seqId, row.prevSeqId, row.checksum or None
    if seq is None and checksum is None:
        raise ValueError("neither a sequence nor a checksum: nothing proves it")
    bids, asks = kit.rows(row.bids, instrument), kit.rows(row.asks, instrument)
    sent_ns, listed.told = int(row.ts) * kit.MS, checksum
    if action == "update":
        if (prev_seq is None) is not (seq is None) or listed.chained is (seq is None):
            raise ValueError("half a chain")
        return kit.Delta(instrument, bids, asks, seq, prev_seq, sent_ns, checksum)
    if action != "snapshot":
        raise ValueError(f"action {action[:20]!r}")
    listed.chained = seq is not None
    return kit.Snapshot(instrument, bids, asks, seq, sent_ns, checksum)


def _trade(instrument: kit.Instrument, row: _Row) -> kit.Trade:
    if row.side is None:
        raise ValueError("a trade without a side")
    px, qty, sent_ns = instrument.px(row.px), instrument.qty(row.sz), int(row.ts) * kit.MS
    return kit.Trade(instrument, px, qty, row.side, sent_ns, row.tradeId)


def _top(instrument: kit.Instrument, row: _Row) -> kit.Top:
    if row.asks is kit.UNTOLD or row.bids is kit.UNTOLD:
        raise ValueError("a top without one of its sides")
    bid, ask = kit.rows(row.bids, instrument), kit.rows(row.asks, instrument)
    sent_ns = int(row.ts) * kit.MS
    return kit.Top(instrument, bid[0] if bid else None, ask[0] if ask else None, sent_ns)


def _maintenance(row: _Row) -> kit.Notice:
    return listing.told(
        listing.Maintenance(
            title=row.title,
            state=row.state,
            begin=row.begin,
            end=row.end,
            serviceType=row.serviceType,
            env=row.env,
        )
    )
